-- Pushes locked debounced runs: the delay ends at another instant. With trailing a
-- run takes on what its triggers had: always the payload, the rest where they gave it.
-- Parameters: arrays of equal length, in the order of the names after "as t". Empty
--   metadata, tags, machine and options, and a type without metadata, say nothing.
update runs as w set
  delay_until = t.due,
  queue_at = t.due - w.priority,
  ttl_until = t.due + w.ttl,
  payload = case when t.trails then t.payload else w.payload end,
  payload_type = case when t.trails then t.payload_type else w.payload_type end,
  payload_size = case when t.trails then t.payload_size else w.payload_size end,
  metadata = case when t.trails then coalesce(t.metadata, w.metadata) else w.metadata end,
  metadata_type = case when t.trails and t.metadata is not null then t.metadata_type else w.metadata_type end,
  tags = case when t.trails then coalesce(nullif(t.tags::text[], '{}'), w.tags) else w.tags end,
  machine = case when t.trails then coalesce(nullif(t.machine, ''), w.machine) else w.machine end,
  options = case when t.trails then (w.options::jsonb || t.options::jsonb)::text else w.options end,
  debounced_at = t.fresh
from unnest(
  $1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::boolean[], $6::bytea[], $7::text[], $8::bigint[],
  $9::bytea[], $10::text[], $11::text[], $12::text[], $13::text[]
) as t (
  env_id, id, due, fresh, trails, payload, payload_type, payload_size,
  metadata, metadata_type, tags, machine, options)
where w.env_id = t.env_id and w.id = t.id
