-- Removes the runs and tombstones of one environment that are over, with the other names
-- of the runs and their dead letters. It looks at the next few in the order in which they
-- were over.
-- Parameters: environment; what lies before this instant is over; the instant and the id
--   behind which to look; how many to look at.
-- Replies: runs, aliases, tombstones and dead letters removed; how many were looked at;
--   the instant and the id of the last of them.
with seen as materialized (
  select r.id, greatest(r.accepted_at, r.finished_at, r.key_until, r.key_last + 1) as over from runs as r
  where r.env_id = $1 and (r.kind = 2 or (r.kind = 0 and r.finished_at is not null))
    and greatest(r.accepted_at, r.finished_at, r.key_until, r.key_last + 1) < $2
    and (greatest(r.accepted_at, r.finished_at, r.key_until, r.key_last + 1), r.id) > ($3::bigint, $4::text)
  order by greatest(r.accepted_at, r.finished_at, r.key_until, r.key_last + 1), r.id
  limit $5
), chosen as materialized (
  select r.id, r.kind from runs as r
  where r.env_id = $1 and r.id in (select id from seen)
    and r.status in ('COMPLETED', 'CANCELED', 'FAILED', 'CRASHED', 'SYSTEM_FAILURE', 'EXPIRED', 'TIMED_OUT', 'RESET')
    and greatest(r.accepted_at, r.finished_at, r.key_until, r.key_last + 1) < $2
    -- a name of it that is younger, or that holds a key for longer
    and not exists (
      select from runs as a where a.env_id = r.env_id and a.alias_of = r.id
        and greatest(a.accepted_at, a.key_until, a.key_last + 1) >= $2)
    -- children, under any of its names: they go first
    and not exists (select from runs as c where c.env_id = r.env_id and c.parent_id = r.id)
    and not exists (
      select from runs as a join runs as c on c.env_id = a.env_id and c.parent_id = a.id
      where a.env_id = r.env_id and a.alias_of = r.id)
    -- a batch whose places name it: that goes first
    and (r.batch_id is null or not exists (select from batches as b where b.env_id = r.env_id and b.id = r.batch_id))
    and not exists (
      select from runs as a join batches as b on b.env_id = a.env_id and b.id = a.batch_id
      where a.env_id = r.env_id and a.alias_of = r.id)
  order by r.id
  for update of r skip locked
), gone as (
  delete from runs as r
  where r.env_id = $1
    and (r.id in (select id from chosen) or r.alias_of in (select id from chosen where kind = 0))
  returning r.id, r.kind
), letters as (
  delete from dead_letters as d where d.env_id = $1 and d.run_id in (select id from gone)
  returning d.run_id
)
select
  (select count(*) from gone where kind = 0), (select count(*) from gone where kind = 1),
  (select count(*) from gone where kind = 2), (select count(*) from letters),
  (select count(*) from seen),
  coalesce((select over from seen order by over desc, id desc limit 1), 0),
  coalesce((select id from seen order by over desc, id desc limit 1), '')
