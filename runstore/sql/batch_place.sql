-- Writes what items were answered with. A place that is taken stays as it is, but
-- one that a drainer has written for this very run is free once more: to be told of.
-- Parameters: environment, batch; then of equal length, no index twice: indices, run
--   ids (empty for none), and where there is none its task, the error and its code.
-- Replies: the indices that were free.
insert into batch_items as i (env_id, batch_id, item_index, run_id, task, error, error_code)
select
  h.env_id, h.id, t.item_index, nullif(t.run_id, ''), t.task,
  case when t.run_id = '' then t.error end, t.error_code
from unnest($3::integer[], $4::text[], $5::text[], $6::text[], $7::text[])
  as t (item_index, run_id, task, error, error_code)
join batches as h on h.env_id = $1 and h.id = $2
order by t.item_index
on conflict (env_id, batch_id, item_index) do update set answered = true
where not i.answered and i.run_id = excluded.run_id
returning item_index
