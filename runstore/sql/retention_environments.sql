-- The environments that have something which may be over, one index probe for each.
-- Replies: environments, in order.
with recursive known as (
  (select env_id from runs where kind = 2 or (kind = 0 and finished_at is not null) order by env_id limit 1)
  union all
  select (
    select r.env_id from runs as r
    where (r.kind = 2 or (r.kind = 0 and r.finished_at is not null)) and r.env_id > k.env_id
    order by r.env_id limit 1)
  from known as k where k.env_id is not null
)
select env_id from known where env_id is not null
