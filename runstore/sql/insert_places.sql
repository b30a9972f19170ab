-- Around insert.sql: the place of each row in its batch, if the batch has its header.
-- Replies: as insert_replies.sql.
with born as (
:insert
returning env_id, id, accepted_at, key_until, status, batch_id, batch_index
), linked as (
insert into batch_items (env_id, batch_id, item_index, run_id, answered)
select b.env_id, b.batch_id, b.batch_index, b.id, not $39
from born as b
-- limit, here too: a join could read all batches by a plan that was made when there were none
cross join lateral (select from batches as h where h.env_id = b.env_id and h.id = b.batch_id limit 1) as header
order by b.env_id, b.batch_id, b.batch_index
on conflict do nothing
)
select id, accepted_at, coalesce(key_until, 0), status from born
