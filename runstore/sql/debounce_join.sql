-- Makes the id of a trigger another name of the debounced run that it pushed. The
-- name holds the trigger's key.
-- Parameters: id, environment, organisation, task, run, kind and hash of the key
--   (empty and null without one), acceptance, end of the key's interval or null,
--   payload's type, size, hash, request hash, idempotency key, batch, index.
-- Replies: the id, or nothing if it or the key's slot is taken.
with born as (
insert into runs (
  id, env_id, org_id, task, kind, alias_of, key_kind, key_slot, accepted_at, key_until, status,
  payload_type, payload_size, payload_hash, request_hash, idempotency_key, batch_id, batch_index)
values ($1, $2, $3, $4, 1, $5, nullif($6, ''), $7, $8, $9, 'ALIAS', $10, $11, $12, $13, nullif($14, ''), nullif($15, ''), $16)
on conflict do nothing
returning env_id, id, batch_id, batch_index
), linked as (
insert into batch_items (env_id, batch_id, item_index, run_id)
select b.env_id, b.batch_id, b.batch_index, b.id
from born as b
join batches as h on h.env_id = b.env_id and h.id = b.batch_id
on conflict do nothing
)
select id from born
