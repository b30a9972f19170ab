-- Locks the row of an id itself, be it a run or an alias.
-- Parameters: environment, id.
-- Replies: whether it is an alias, and the version of its buffer entry that it has.
select a.kind = 1, a.buffer_ver from runs as a
where a.env_id = $1 and a.id = $2 and a.kind <> 2
for update
