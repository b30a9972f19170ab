-- Lets delayed runs whose time has come be taken.
-- Parameters: how many at most.
with due as materialized (
  select r.env_id, r.id from runs as r
  where r.status = 'DELAYED' and r.delay_until <= (select now_us())
  order by r.delay_until, r.id
  limit $1
  for update skip locked
)
update runs as w set status = 'QUEUED'
from due as t where w.env_id = t.env_id and w.id = t.id
