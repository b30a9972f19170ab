-- Lets a locked debounced run whose delay has passed be taken; its slot is empty then.
-- Parameters: environment, id.
update runs as w set status = 'QUEUED' where w.env_id = $1 and w.id = $2
