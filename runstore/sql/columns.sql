-- The columns of a run, of the row named w, in the order in which rows.go
-- scans them. Other statements take this list in.
  w.id, w.env_id, w.org_id, w.task, w.status,
  w.accepted_at, coalesce(w.key_until, 0), w.updated_at,
  coalesce(w.started_at, 0), coalesce(w.finished_at, 0), coalesce(w.expired_at, 0), w.attempts,
  w.payload, w.payload_type, w.payload_size, w.payload_hash, w.request_hash,
  w.metadata, w.metadata_type, w.context,
  coalesce(w.idempotency_key, ''), w.tags, w.queue, w.concurrency_key, w.machine, w.region, w.version, w.test,
  coalesce(w.batch_id, ''), coalesce(w.batch_index, 0), coalesce(w.delay_until, 0), coalesce(w.ttl, 0), w.priority,
  coalesce(w.parent_id, ''), coalesce(w.root_id, ''), w.depth, w.options,
  w.output, w.output_type, coalesce(w.error, ''), w.queue_at
