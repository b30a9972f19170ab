-- Removes the batches of one environment that are over: their keys' time is, they were
-- sealed before, or nobody has sealed them for long, and so is every run of theirs that
-- has a row. It looks at the next few in the order in which they were made.
-- Parameters: environment; what lies before this instant is over; the instant and the id
--   behind which to look; how many to look at; how long an unsealed batch is waited for.
-- Replies: batches and places removed; how many were looked at; the instant and the id of
--   the last of them.
with seen as materialized (
  select b.id, b.created_at from batches as b
  where b.env_id = $1 and b.created_at < $2 and (b.created_at, b.id) > ($3::bigint, $4::text)
  order by b.created_at, b.id
  limit $5
), chosen as materialized (
  select b.id from batches as b
  where b.env_id = $1 and b.id in (select id from seen)
    and coalesce(b.sealed_at, b.created_at + $6) < $2 and coalesce(b.key_until, 0) < $2
    and not exists (
      select from batch_items as i
      join runs as a on a.env_id = i.env_id and a.id = i.run_id
      join runs as w on w.env_id = a.env_id and w.id = coalesce(a.alias_of, a.id)
      where i.env_id = b.env_id and i.batch_id = b.id
        and (w.finished_at is null
          or greatest(w.accepted_at, w.finished_at, w.key_until, w.key_last + 1, a.accepted_at, a.key_until) >= $2))
  order by b.id
  for update of b skip locked
), places as (
  delete from batch_items as i where i.env_id = $1 and i.batch_id in (select id from chosen)
  returning i.batch_id
), gone as (
  delete from batches as b where b.env_id = $1 and b.id in (select id from chosen)
  returning b.id
)
select
  (select count(*) from gone), (select count(*) from places), (select count(*) from seen),
  coalesce((select created_at from seen order by created_at desc, id desc limit 1), 0),
  coalesce((select id from seen order by created_at desc, id desc limit 1), '')
