-- Locks the runs in the slots of debounce keys.
-- Parameters: environments, hashes of the debounce keys; equal lengths, no pair twice.
-- Replies: of each slot that is taken its environment and hash, the run, its
--   acceptance, the end of its delay, and whose payload it has: an acceptance.
select w.env_id, w.debounce_slot, w.id, w.accepted_at, w.delay_until, greatest(w.accepted_at, w.debounced_at)
from runs as w
join unnest($1::text[], $2::bytea[]) as t (env_id, h) on w.env_id = t.env_id and w.debounce_slot = t.h
where w.debounce_slot is not null
order by w.env_id, w.debounce_slot
for update of w
