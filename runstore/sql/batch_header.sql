-- Reads a batch's header, by its id, or by the key that it holds.
-- Parameters: environment, id, hash of the key (null for none).
-- Replies: id, items, created at, sealed at (0 for not yet), the key as it was
--   given, request digest, parent, whether the parent waits, whether its key's
--   time is over, and the places that are taken.
select
  b.id, b.items, b.created_at, coalesce(b.sealed_at, 0), coalesce(b.idempotency_key, ''), b.request_hash,
  coalesce(b.parent_id, ''), b.resume_parent, coalesce(b.key_until <= now_us(), false),
  array(select i.item_index from batch_items as i where i.env_id = b.env_id and i.batch_id = b.id order by i.item_index)
from batches as b
where b.env_id = $1 and (b.id = $2 or b.key_hash = $3)
order by b.id = $2 desc
limit 1
