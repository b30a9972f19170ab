-- Puts runs that were just inserted into the slots of their debounce keys, if they
-- are delayed.
-- Parameters: environments, ids, hashes of the debounce keys, whose payload they
--   have; equal lengths.
update runs as w set debounce_slot = t.h, debounced_at = t.fresh
from unnest($1::text[], $2::text[], $3::bytea[], $4::bigint[]) as t (env_id, id, h, fresh)
where w.env_id = t.env_id and w.id = t.id and w.status = 'DELAYED'
