-- Lets locked debounced runs whose delay has passed be taken; their slots are empty then.
-- Parameters: environments, ids; equal lengths.
update runs as w set status = 'QUEUED'
from unnest($1::text[], $2::text[]) as t (env_id, id) where w.env_id = t.env_id and w.id = t.id
