-- Which runs have a row, and how far their changes are in it.
-- Parameters: environment, ids.
-- Replies, for each row of one of the ids, in no order: id, and the version of its
--   buffer entry that it has. An alias is a row of its own.
select r.id, r.buffer_ver from runs as r
where r.env_id = $1 and r.id = any ($2::text[]) and r.kind <> 2
