-- Runs of one environment by id, aliases followed, tombstones hidden. One index
-- probe per id, whatever the length of the list.
-- Parameters: environment; ids.
-- Replies: the id that was asked for, and the columns of the run it stands for.
select t.id, :columns
from unnest($2::text[]) as t (id)
cross join lateral (
  select coalesce(r.alias_of, r.id) as id from runs as r where r.env_id = $1 and r.id = t.id and r.kind <> 2 limit 1
) as c
cross join lateral (select * from runs as r where r.env_id = $1 and r.id = c.id limit 1) as w
