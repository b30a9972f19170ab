-- Moves a locked run on. What goes with the new status follows in the database.
-- Parameters: environment, id, status, output, its type, error (null for none).
-- Replies: the columns of the run.
update runs as w set status = $3, output = $4, output_type = $5, error = $6
where w.env_id = $1 and w.id = $2
returning :columns
