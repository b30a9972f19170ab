-- Notes the batch that a spent token has opened. The first one stays.
-- Parameters: token hash, environment, batch.
update spent_tokens set batch_id = $3
where token_hash = $1 and env_id = $2 and batch_id is null
