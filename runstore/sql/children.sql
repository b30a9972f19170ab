-- The runs that were triggered in a run, the newest first; aliases are hidden.
-- Parameters: environment, the run's names, how many at most.
-- Replies: the columns of each run.
select :columns
from runs as w
where w.env_id = $1 and w.parent_id = any ($2) and w.kind = 0
order by w.id desc
limit $3
