-- Locks the run in the slot of a debounce key.
-- Parameters: environment, hash of the debounce key.
-- Replies: its id, and whether its delay has passed already; no row if the slot is empty.
select w.id, w.delay_until <= now_us() from runs as w
where w.env_id = $1 and w.debounce_slot = $2
for update
