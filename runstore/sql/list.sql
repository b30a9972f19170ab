-- A page of runs, in the order of their ids' bytes; aliases and tombstones are hidden.
-- Parameters: environment; an id that the page lies beyond (empty for none);
--   how many at most; then what runs are filtered by, each empty or null for
--   everything: statuses, tasks, versions, tags (any of them), regions, queues,
--   machines, whether tests, first and last acceptance (0 for none), bulk
--   action; the batch; and an id that none is older than (empty for none).
-- Replies: the columns of each run.
select :columns
from runs as w
where w.env_id = $1 and w.kind = 0 and w.id >= $16 :beyond :batch
  and (cardinality($4::text[]) = 0 or w.status = any ($4))
  and (cardinality($5::text[]) = 0 or w.task = any ($5))
  and (cardinality($6::text[]) = 0 or w.version = any ($6))
  and (cardinality($7::text[]) = 0 or w.tags && $7)
  and (cardinality($8::text[]) = 0 or w.region = any ($8))
  and (cardinality($9::text[]) = 0 or w.queue = any ($9))
  and (cardinality($10::text[]) = 0 or w.machine = any ($10))
  and ($11::boolean is null or w.test = $11)
  and ($12::bigint = 0 or w.accepted_at >= $12)
  and ($13::bigint = 0 or w.accepted_at <= $13)
  and ($14::text = '' or w.options::json ->> 'bulkAction' = $14)
order by w.id :order
limit $3
