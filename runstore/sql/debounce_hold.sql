-- Puts a run that was just inserted into the slot of its debounce key, if it is delayed.
-- Parameters: environment, id, hash of the debounce key.
update runs as w set debounce_slot = $3 where w.env_id = $1 and w.id = $2 and w.status = 'DELAYED'
