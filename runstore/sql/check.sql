-- Whether runs still sit in the slots of their keys, aliases followed.
-- Parameters: environments, ids, key hashes; equal lengths.
-- Replies, per element and in order: whether the run sits in the slot, and the run,
--   all null if there is none.
select coalesce(w.key_slot = t.h, false),
  w.id, w.alias_of, w.kind, w.key_kind, w.accepted_at, w.key_until, w.key_last, w.status, w.payload_hash, w.request_hash
from unnest($1::text[], $2::text[], $3::bytea[]) with ordinality as t (env_id, id, h, n)
left join lateral (
  select coalesce(r.alias_of, r.id) as id from runs as r where r.env_id = t.env_id and r.id = t.id and r.kind <> 2 limit 1
) as c on true
left join lateral (select * from runs as r where r.env_id = t.env_id and r.id = c.id limit 1) as w on true
order by t.n
