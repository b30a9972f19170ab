-- Makes ids other names of runs, with their places in their batches.
-- Parameters: arrays of equal length, in the order of the names after "as t".
-- Replies: id of each alias that was made; an id that is taken is left out.
with born as (
insert into runs (
  id, env_id, org_id, task, kind, alias_of, key_kind, accepted_at, status,
  payload_type, payload_size, payload_hash, request_hash, metadata, metadata_type,
  idempotency_key, tags, batch_id, batch_index, delay_until, buffer_ver)
select
  t.id, t.env_id, t.org_id, t.task, 1, t.alias_of, nullif(t.key_kind, ''), t.accepted_at, 'ALIAS',
  t.payload_type, t.payload_size, t.payload_hash, t.request_hash, t.metadata, t.metadata_type,
  nullif(t.idempotency_key, ''), t.tags::text[], nullif(t.batch_id, ''), t.batch_index::integer,
  nullif(t.delay_until, 0), t.buffer_ver
from unnest(
  $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[],
  $8::text[], $9::bigint[], $10::bytea[], $11::bytea[], $12::bytea[], $13::text[],
  $14::text[], $15::text[], $16::text[], $17::bigint[], $18::bigint[], $19::bigint[]
) as t (
  id, env_id, org_id, task, alias_of, key_kind, accepted_at,
  payload_type, payload_size, payload_hash, request_hash, metadata, metadata_type,
  idempotency_key, tags, batch_id, batch_index, delay_until, buffer_ver)
order by t.env_id, t.id
on conflict do nothing
returning env_id, id, batch_id, batch_index
), linked as (
insert into batch_items (env_id, batch_id, item_index, run_id, answered)
select b.env_id, b.batch_id, b.batch_index, b.id, false
from born as b
join batches as h on h.env_id = b.env_id and h.id = b.batch_id
order by b.env_id, b.batch_id, b.batch_index
on conflict do nothing
)
select id from born
