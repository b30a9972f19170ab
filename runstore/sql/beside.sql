-- The columns of a run that is shown beside another one, of the row named w: its
-- metadata, but neither payload nor context, output or error. Order and number are
-- those of columns.sql.
  w.id, w.env_id, w.org_id, w.task, w.status,
  w.accepted_at, coalesce(w.key_until, 0), w.updated_at,
  coalesce(w.started_at, 0), coalesce(w.finished_at, 0), coalesce(w.expired_at, 0), w.attempts,
  null::bytea, w.payload_type, w.payload_size, w.payload_hash, w.request_hash,
  w.metadata, w.metadata_type, null::bytea,
  coalesce(w.idempotency_key, ''), w.tags, w.queue, w.concurrency_key, w.machine, w.region, w.version, w.test,
  coalesce(w.batch_id, ''), coalesce(w.batch_index, 0), coalesce(w.delay_until, 0), coalesce(w.ttl, 0), w.priority,
  coalesce(w.parent_id, ''), coalesce(w.root_id, ''), w.depth, w.options,
  null::bytea, w.output_type, '', w.queue_at
