-- Records which version of its buffer entry a locked row has. An alias keeps
-- the tags, metadata and delay that its own entry had.
-- Parameters: environment, id, version, tags, metadata, its type, delay.
update runs as w set
  buffer_ver = greatest(w.buffer_ver, $3),
  tags = case when w.kind = 1 then $4::text[] else w.tags end,
  metadata = case when w.kind = 1 then $5 else w.metadata end,
  metadata_type = case when w.kind = 1 then $6 else w.metadata_type end,
  delay_until = case when w.kind = 1 then nullif($7::bigint, 0) else w.delay_until end
where w.env_id = $1 and w.id = $2
