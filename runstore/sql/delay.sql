-- Moves the delay of a locked run that is DELAYED.
-- Parameters: environment, id, delay.
-- Replies: the columns of the run.
update runs as w set
  delay_until = $3,
  status = case when $3::bigint > now_us() then 'DELAYED' else 'QUEUED' end,
  queue_at = greatest(w.accepted_at, $3) - w.priority,
  ttl_until = greatest(w.accepted_at, $3) + w.ttl
where w.env_id = $1 and w.id = $2
returning :columns
