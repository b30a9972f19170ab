-- Sets the tags of a locked run.
-- Parameters: environment, id, tags.
-- Replies: the columns of the run.
update runs as w set tags = $3
where w.env_id = $1 and w.id = $2
returning :columns
