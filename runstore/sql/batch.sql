-- Writes a batch's header, unless its id or its key is taken, and links the runs
-- that were stored before it.
-- Parameters: id, environment, items, created at (0 for this server's clock),
--   hash of the key (null for none) and how long it holds, the key as it was
--   given, request digest, whether all items are known now, parent, whether
--   the parent waits.
-- Replies: created at, sealed at (0 for not yet), if it was written.
with made as (
insert into batches (
  id, env_id, items, created_at, key_hash, key_until, idempotency_key, request_hash, sealed_at, parent_id, resume_parent)
select
  $1, $2, $3, born.at, $5, case when $5::bytea is not null then born.at + $6 end, nullif($7, ''), $8,
  case when $9 then born.at end, nullif($10, ''), $11
from (select coalesce(nullif($4::bigint, 0), now_us()) as at) as born
on conflict do nothing
returning env_id, id, created_at, sealed_at
), linked as (
insert into batch_items (env_id, batch_id, item_index, run_id)
select r.env_id, r.batch_id, r.batch_index, r.id
from made as m
join runs as r on r.env_id = m.env_id and r.batch_id = m.id
order by r.batch_index, r.accepted_at, r.id
on conflict do nothing
)
select created_at, coalesce(sealed_at, 0) from made
