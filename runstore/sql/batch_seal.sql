-- Seals a batch whose places are all taken.
-- Parameters: environment, id.
-- Replies: items, how many places are taken, whether it is sealed.
with counted as (
select b.env_id, b.id, b.items, b.sealed_at,
  (select count(*)::integer from batch_items as i where i.env_id = b.env_id and i.batch_id = b.id) as taken
from batches as b
where b.env_id = $1 and b.id = $2
), sealed as (
update batches as b set sealed_at = now_us()
from counted as c
where b.env_id = c.env_id and b.id = c.id and b.sealed_at is null and c.taken >= c.items
)
select items, taken, sealed_at is not null or taken >= items from counted
