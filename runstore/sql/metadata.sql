-- Sets the metadata of a locked run.
-- Parameters: environment, id, metadata, its type.
-- Replies: the columns of the run.
update runs as w set metadata = $3, metadata_type = $4
where w.env_id = $1 and w.id = $2
returning :columns
