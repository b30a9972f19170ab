-- What lies in a key's past and may meet an interval.
-- Parameters: environments, key hashes, starts and ends of the intervals; equal lengths.
-- Replies, per element and in order: the first reset after the start (0 if
--   none), and the earliest run out of the slot that the interval, ended by
--   that reset, overlaps; all null if there is none.
select coalesce(cut.at, 0),
  w.id, w.alias_of, w.kind, w.key_kind, w.accepted_at, w.key_until, w.key_last, w.status, w.payload_hash, w.request_hash
from unnest($1::text[], $2::bytea[], $3::bigint[], $4::bigint[]) with ordinality as t (env_id, h, start, stop, n)
left join lateral (
  select min(u.at) as at from (
    select min(r.key_until) as at from runs as r
    where r.env_id = t.env_id and r.key_past = t.h and r.kind = 2 and r.key_until > t.start
    union all
    select r.key_until from runs as r
    where r.env_id = t.env_id and r.key_slot = t.h and r.kind = 2 and r.key_until > t.start
  ) as u
) as cut on true
left join lateral (
  select * from runs as r
  where r.env_id = t.env_id and r.key_past = t.h and r.kind <> 2 and r.key_until > t.start
    and r.accepted_at < least(t.stop, cut.at)
  order by r.accepted_at
  limit 1
) as w on true
order by t.n
