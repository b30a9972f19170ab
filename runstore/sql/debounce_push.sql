-- Pushes a locked debounced run: its delay begins again, as far as the longest
-- delay (0: none) since its acceptance allows. With trailing it takes on what the
-- trigger has: always the payload, the rest where the trigger gives it.
-- Parameters: environment, id, delay, longest delay, trailing, payload, its type,
--   its size, metadata or null, its type, tags or null, machine or empty, options.
update runs as w set
  delay_until = due.at,
  queue_at = due.at - w.priority,
  ttl_until = due.at + w.ttl,
  payload = case when $5 then $6::bytea else w.payload end,
  payload_type = case when $5 then $7 else w.payload_type end,
  payload_size = case when $5 then $8 else w.payload_size end,
  metadata = case when $5 then coalesce($9::bytea, w.metadata) else w.metadata end,
  metadata_type = case when $5 and $9::bytea is not null then $10 else w.metadata_type end,
  tags = case when $5 then coalesce($11::text[], w.tags) else w.tags end,
  machine = case when $5 then coalesce(nullif($12, ''), w.machine) else w.machine end,
  options = case when $5 then (w.options::jsonb || $13::jsonb)::text else w.options end
from (
  select greatest(r.accepted_at, least(now_us() + $3::bigint, case when $4::bigint > 0 then r.accepted_at + $4 end)) as at
  from runs as r where r.env_id = $1 and r.id = $2
) as due
where w.env_id = $1 and w.id = $2
