-- Expires runs that were not taken in time.
-- Parameters: how many at most.
with late as materialized (
  select r.env_id, r.id from runs as r
  where r.status in ('QUEUED', 'DELAYED', 'PENDING_VERSION') and r.ttl_until is not null and r.ttl_until <= (select now_us())
  order by r.ttl_until, r.id
  limit $1
  for update skip locked
)
update runs as w set status = 'EXPIRED'
from late as t where w.env_id = t.env_id and w.id = t.id
