-- Locks the slots of keys, in the one order that everybody locks them in.
-- Parameters: environments, key hashes; equal lengths, no pair twice.
-- Replies: the key hash, this server's clock, and the holder; an alias stands for
--   its run as in the view key_slots, which can not be locked: what is not of the
--   locked row may be as old as this statement. A key whose holder changed while
--   this statement waited for it is left out.
select s.env_id, s.key_slot, now_us(),
  s.id, s.alias_of, (case when s.kind = 1 then 0 else s.kind end)::smallint, s.key_kind, s.accepted_at,
  case when s.key_kind = 'k' and w.status in ('FAILED', 'CRASHED', 'SYSTEM_FAILURE', 'EXPIRED', 'TIMED_OUT')
    then least(s.key_until, greatest(w.finished_at, s.accepted_at + 1)) else s.key_until end,
  s.key_last, coalesce(w.status, s.status), s.payload_hash, s.request_hash
from runs as s
join unnest($1::text[], $2::bytea[]) as t (env_id, h) on s.env_id = t.env_id and s.key_slot = t.h
left join lateral (
  select r.status, r.finished_at from runs as r where s.kind = 1 and r.env_id = s.env_id and r.id = s.alias_of limit 1
) as w on true
where s.key_slot is not null
order by s.env_id collate "C", s.key_slot
for update of s
