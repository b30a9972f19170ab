-- Links places of a batch with runs that are there. A place that is linked
-- stays as it is.
-- Parameters: environment, batch, indices, run ids; the last two of equal length.
-- Replies: the indices that are linked now.
with linked as (
insert into batch_items (env_id, batch_id, item_index, run_id)
select $1, $2, t.item_index, r.id
from unnest($3::integer[], $4::text[]) as t (item_index, run_id)
join runs as r on r.env_id = $1 and r.id = t.run_id and r.kind <> 2
join batches as h on h.env_id = $1 and h.id = $2
order by t.item_index
on conflict do nothing
returning item_index
)
select item_index from linked
union
select b.item_index from batch_items as b where b.env_id = $1 and b.batch_id = $2 and b.item_index = any ($3::integer[])
