-- Whether a spent token has opened a batch.
-- Parameters: token hash, environment, batch.
-- Replies: one row.
select exists (select from spent_tokens where token_hash = $1 and env_id = $2 and batch_id = $3)
