-- Puts a tombstone in a slot.
-- Parameters: environment, key hash, cut.
-- Replies: one row, or none if somebody took the slot meanwhile.
insert into runs (id, env_id, kind, key_kind, key_slot, accepted_at, key_until, status)
values ('rst_' || replace(gen_random_uuid()::text, '-', ''), $1, 2, 'k', $2, $3, $3, 'RESET')
on conflict do nothing
returning id
