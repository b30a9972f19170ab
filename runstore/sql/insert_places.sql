-- Part of insert.sql: places in batches.
), linked as (
insert into batch_items (env_id, batch_id, item_index, run_id, answered)
select b.env_id, b.batch_id, b.batch_index, b.id, not $39
from born as b
-- limit, here too: a join could read all batches by a plan that was made when there were none
cross join lateral (select from batches as h where h.env_id = b.env_id and h.id = b.batch_id limit 1) as header
order by b.env_id, b.batch_id, b.batch_index
on conflict do nothing
