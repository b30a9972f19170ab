-- Takes the key from the batch that holds it, if its time is over.
-- Parameters: environment, hash of the key.
update batches set key_hash = null
where env_id = $1 and key_hash = $2 and key_until <= now_us()
