-- Hands the runs whose turn comes first to a worker. Runs that another worker
-- is just taking are skipped, not waited for; a run whose time to be taken has
-- passed is left for the sweep.
-- Parameters: how many.
-- Replies: the columns of each run, in no order.
with turn as materialized (
  select r.env_id, r.id from runs as r
  where r.status = 'QUEUED' and (r.ttl_until is null or r.ttl_until > (select now_us()))
  order by r.queue_at, r.id
  limit $1
  for update skip locked
)
update runs as w set status = 'EXECUTING', attempts = w.attempts + 1
from turn as t where w.env_id = t.env_id and w.id = t.id
returning :columns
