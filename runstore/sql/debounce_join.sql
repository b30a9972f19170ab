-- Makes the ids of triggers other names of the debounced runs that they pushed. A
-- name holds its trigger's key.
-- Parameters: arrays of equal length, in the order of the names after "as t" (kind
--   and hash of the key empty and null without one, and the end of its interval
--   0); then whether the caller of the batch has been told of it.
-- Replies: the ids; one that is taken, or whose key's slot is, is left out, and so is one
--   that was accepted before retention's horizon.
with born as (
insert into runs (
  id, env_id, org_id, task, kind, alias_of, key_kind, key_slot, accepted_at, key_until, status,
  payload_type, payload_size, payload_hash, request_hash, idempotency_key, batch_id, batch_index)
select
  t.id, t.env_id, t.org_id, t.task, 1, t.alias_of, nullif(t.key_kind, ''), t.key_slot, t.accepted_at, nullif(t.key_until, 0), 'ALIAS',
  t.payload_type, t.payload_size, t.payload_hash, t.request_hash, nullif(t.idempotency_key, ''),
  nullif(t.batch_id, ''), t.batch_index::integer
from unnest(
  $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bytea[], $8::bigint[], $9::bigint[],
  $10::text[], $11::bigint[], $12::bytea[], $13::bytea[], $14::text[], $15::text[], $16::bigint[]
) as t (
  id, env_id, org_id, task, alias_of, key_kind, key_slot, accepted_at, key_until,
  payload_type, payload_size, payload_hash, request_hash, idempotency_key, batch_id, batch_index)
where t.accepted_at >= (select r.horizon from retention as r)
order by t.env_id, t.key_slot, t.id
on conflict do nothing
returning env_id, id, batch_id, batch_index
), linked as (
insert into batch_items (env_id, batch_id, item_index, run_id, answered)
select b.env_id, b.batch_id, b.batch_index, b.id, $17
from born as b
join batches as h on h.env_id = b.env_id and h.id = b.batch_id
order by b.env_id, b.batch_id, b.batch_index
on conflict do nothing
)
select id from born
