-- Locks the run that an id stands for, aliases followed.
-- Parameters: environment, id.
-- Replies: its columns.
select :columns
from runs as a
join runs as w on w.env_id = $1 and w.id = coalesce(a.alias_of, a.id)
where a.env_id = $1 and a.id = $2 and a.kind <> 2
for update of w
