-- Keeps everybody else who triggers under these debounce keys waiting until this
-- transaction ends, whether runs hold their slots or not.
-- Parameters: 64 bits of the hash of each debounce key, ascending, so that nobody
--   waits in a circle. A collision costs a wait.
select pg_advisory_xact_lock(t.bits) from unnest($1::bigint[]) with ordinality as t (bits, n) order by t.n
