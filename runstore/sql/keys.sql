-- Who sits in the slots of keys.
-- Parameters: environments, key hashes; equal lengths.
-- Replies, per key and in order: the holder, all null if there is none.
select
  s.id, s.alias_of, s.kind, s.key_kind, s.accepted_at, s.key_until, s.key_last, s.status, s.payload_hash, s.request_hash
from unnest($1::text[], $2::bytea[]) with ordinality as t (env_id, h, n)
left join lateral (select * from runs as r where r.env_id = t.env_id and r.key_slot = t.h limit 1) as s on true
order by t.n
