-- The places of a batch that have a run, aliases followed.
-- Parameters: environment, batch.
-- Replies, by index: the index, the run's id, the id it stands for, and its status.
select b.item_index, b.run_id, w.id, w.status
from batch_items as b
join runs as a on a.env_id = b.env_id and a.id = b.run_id
join runs as w on w.env_id = b.env_id and w.id = coalesce(a.alias_of, a.id)
where b.env_id = $1 and b.batch_id = $2
order by b.item_index
