-- Who sits in the slots of keys, and whether runs have rows.
-- Parameters: environments, key hashes, ids ('' to not ask); equal lengths.
-- Replies, per key and in order: whether that id has a row, of whatever kind; the
--   holder, all null if there is none.
select
  k.known is not null,
  s.id, s.alias_of, s.kind, s.key_kind, s.accepted_at, s.key_until, s.key_last, s.status, s.payload_hash, s.request_hash
from unnest($1::text[], $2::bytea[], $3::text[]) with ordinality as t (env_id, h, id, n)
left join lateral (select * from key_slots as r where r.env_id = t.env_id and r.key_slot = t.h limit 1) as s on true
left join lateral (select true as known from runs as r where t.id <> '' and r.env_id = t.env_id and r.id = t.id limit 1) as k on true
order by t.n
