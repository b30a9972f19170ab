-- Reads a batch's header.
-- Parameters: environment, id.
-- Replies: items, created at.
select items, created_at from batches where env_id = $1 and id = $2
