-- Cancels a locked run that is not final.
-- Parameters: environment, id, error, when (0 for this server's clock).
-- Replies: the columns of the run.
update runs as w set status = 'CANCELED', error = $3, finished_at = coalesce(w.finished_at, nullif($4::bigint, 0))
where w.env_id = $1 and w.id = $2
returning :columns
