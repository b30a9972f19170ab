-- Takes locked rows out of their slots; the same transaction fills the slots again.
-- The interval of an alias whose run was cleared ends as it was judged to.
-- Parameters: environments, ids, key hashes; equal lengths.
update runs as s set key_slot = null, key_past = t.h,
  key_until = least(s.key_until, (
    select greatest(w.finished_at, s.accepted_at + 1) from runs as w
    where s.kind = 1 and s.key_kind = 'k' and w.env_id = s.env_id and w.id = s.alias_of
      and w.status in ('FAILED', 'CRASHED', 'SYSTEM_FAILURE', 'EXPIRED', 'TIMED_OUT')))
from unnest($1::text[], $2::text[], $3::bytea[]) as t (env_id, id, h)
where s.env_id = t.env_id and s.id = t.id and s.key_slot = t.h
