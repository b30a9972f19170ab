-- Locks the slots of keys, in the one order that everybody locks them in.
-- Parameters: environments, key hashes; equal lengths, no pair twice.
-- Replies: the key hash, this server's clock, and the holder. A key whose
--   holder changed while this statement waited for it is left out.
select s.env_id, s.key_slot, now_us(),
  s.id, s.alias_of, s.kind, s.key_kind, s.accepted_at, s.key_until, s.key_last, s.status, s.payload_hash, s.request_hash
from runs as s
join unnest($1::text[], $2::bytea[]) as t (env_id, h) on s.env_id = t.env_id and s.key_slot = t.h
where s.key_slot is not null
order by s.env_id, s.key_slot
for update of s
