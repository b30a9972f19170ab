-- Links a batch with those of its runs that were stored before its header.
-- Parameters: environment, batch.
insert into batch_items (env_id, batch_id, item_index, run_id)
select r.env_id, r.batch_id, r.batch_index, r.id
from runs as r
where r.env_id = $1 and r.batch_id = $2
order by r.batch_index, r.accepted_at, r.id
on conflict do nothing
