-- The overrides that are in force.
-- Answers: env_id, kind, window_us, threshold, hold_us (0 where not set), force ('' where
-- not set), set_by, reason, set_at, and for how many seconds more it holds (null: until cleared).
select env_id, kind, coalesce(window_us, 0), coalesce(threshold, 0), coalesce(hold_us, 0), coalesce(force, ''),
       set_by, reason, set_at, extract(epoch from ends_at - now())::float8
from overrides
where ends_at is null or ends_at > now()
order by env_id, kind
