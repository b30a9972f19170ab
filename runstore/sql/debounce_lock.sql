-- Keeps everybody else who triggers under a debounce key waiting until this
-- transaction ends, whether a run holds its slot or not.
-- Parameters: 64 bits of the debounce key's hash. A collision costs a wait.
select pg_advisory_xact_lock($1)
