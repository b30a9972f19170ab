-- Inserts what is new, in one statement.
-- Parameters: of one row, the columns in insert.go; of more, an array a column, in which
--   what is the same in all rows is one element (but bytes that are not null). Rows
--   are in the order of environment, slot and id, so that two batches wait for
--   each other in one direction only. An acceptance of 0 means this server's clock;
--   span is how long the key is held from the acceptance on; ended is a final
--   status that the row is born with, or empty; a row stands that distance below
--   its ancestor, and takes the root and the depth from there (no ancestor: it is
--   a root). Last, whether the rows come from the buffer: those that were not taken
--   in time are born expired, and whoever triggered them is told by somebody else.
-- Replies: insert_replies.sql; a row whose id or slot is taken is left out; whoever
--   inserted it has committed by then, so the next statement sees it. So is one that was
--   accepted before retention's horizon.
-- :rows are the parameters as rows t, numbered by n; :ancestors is
--   insert_ancestors.sql, or insert_roots.sql where no row has an ancestor: to set up
--   what finds nothing was a quarter of what a lone insert cost. :arbiter is nothing, or
--   the slot alone: then a row whose id is taken, but not its slot, is an error.
insert into runs (
  id, env_id, org_id, task, key_kind, key_slot, key_past, accepted_at, key_until, status, queue_at, ttl_until, updated_at,
  payload, payload_type, payload_size, payload_hash, request_hash, metadata, metadata_type, context,
  idempotency_key, tags, queue, concurrency_key, machine, region, version, test,
  batch_id, batch_index, delay_until, ttl, priority, parent_id, root_id, depth, options,
  buffer_ver, finished_at, error)
select
  t.id, t.env_id, t.org_id, t.task, nullif(t.key_kind, ''), t.key_slot, t.key_past,
  born.at, case when t.key_kind <> '' then born.at + t.span end,
  case
    when t.ended <> '' then t.ended
    when $39 and t.ttl > 0 and born.due + t.ttl <= clock.now then 'EXPIRED'
    when t.delay_until > clock.now then 'DELAYED'
    else 'QUEUED'
  end,
  born.due - t.priority,
  born.due + nullif(t.ttl, 0),
  -- a run that nothing happened to in the buffer was last changed when it was accepted
  case
    when not $39 or t.ended <> '' or t.buffer_ver > 0 or born.due < clock.now and born.due > born.at
      or t.ttl > 0 and born.due + t.ttl <= clock.now then clock.now
    else born.at
  end,
  t.payload, t.payload_type, t.payload_size, t.payload_hash, t.request_hash, t.metadata, t.metadata_type, t.context,
  nullif(t.idempotency_key, ''), t.tags::text[], t.queue, t.concurrency_key, t.machine, t.region, t.version, t.test,
  nullif(t.batch_id, ''), t.batch_index::integer, nullif(t.delay_until, 0), nullif(t.ttl, 0), t.priority,
  nullif(t.parent_id, ''),
  coalesce(ancestor.root, nullif(t.ancestor_id, '')),
  coalesce(ancestor.depth, 0) + t.distance::integer,
  t.options,
  t.buffer_ver, nullif(t.ended_at, 0), nullif(t.failure, '')
from (
:rows
) as t
cross join (select now_us() as now offset 0) as clock
cross join lateral (
  select a.at, greatest(a.at, t.delay_until) as due
  from (select case when t.accepted_at > 0 then t.accepted_at else clock.now end as at) as a
) as born
:ancestors
-- What was accepted before the horizon may have been here and been removed: never again,
-- but as a run that has ended and holds nothing.
where t.accepted_at = 0 or t.accepted_at >= (select r.horizon from retention as r)
  or (t.ended <> '' and t.key_slot is null)
order by t.n
on conflict :arbiter do nothing
