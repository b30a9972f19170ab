-- The places of a batch that are taken, aliases followed.
-- Parameters: environment, batch.
-- Replies, by index: the index; the run's id, and if it has a row the id that it
--   stands for, its status, when it was accepted and when it last changed; else
--   empty or 0. Where there is no run: the task, the error and its code.
select
  b.item_index, coalesce(b.run_id, ''), coalesce(w.id, ''), coalesce(w.status, ''), coalesce(a.accepted_at, 0),
  coalesce(w.updated_at, 0), b.task, coalesce(b.error, ''), b.error_code
from batch_items as b
left join runs as a on a.env_id = b.env_id and a.id = b.run_id
left join runs as w on w.env_id = b.env_id and w.id = coalesce(a.alias_of, a.id)
where b.env_id = $1 and b.batch_id = $2
order by b.item_index
