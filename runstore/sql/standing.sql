-- Reads, without a lock, what stands in the way of rows that were not inserted.
-- Parameters: ids, environments, key hashes (null without a key); equal lengths.
-- Replies, per row and in order: this server's clock; the horizon before which no run is
--   inserted any more; the buffer version that
--   the row of the same id has, 0 if absent; then twice a holder, the row of the
--   same id (its alias followed) and the row in the key's slot, each all null if
--   absent.
select now_us(), (select k.horizon from retention as k), coalesce(m.buffer_ver, 0),
  m.id, m.alias_of, w.kind, w.key_kind, w.accepted_at, w.key_until, w.key_last, w.status, w.payload_hash, w.request_hash,
  s.id, s.alias_of, s.kind, s.key_kind, s.accepted_at, s.key_until, s.key_last, s.status, s.payload_hash, s.request_hash
from unnest($1::text[], $2::text[], $3::bytea[]) with ordinality as t (id, env_id, h, n)
left join lateral (select * from runs as r where r.env_id = t.env_id and r.id = t.id limit 1) as m on true
left join lateral (select * from runs as r where r.env_id = m.env_id and r.id = coalesce(m.alias_of, m.id) limit 1) as w on true
left join lateral (select * from key_slots as r where r.env_id = t.env_id and r.key_slot = t.h limit 1) as s on true
order by t.n
