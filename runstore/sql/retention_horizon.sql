-- Moves the horizon before which no run is inserted, and lets be removed what lies before
-- the one that has stood for long enough; until then, nothing.
-- Parameters: how long runs are kept at the least; the other clock that they are kept by;
--   the oldest acceptance that the buffer may hold (null for none); how long a horizon stands.
-- Replies: what lies before this may be removed; this server's clock.
with clock as materialized (select now_us() as now), moved as (
update retention as r set
  removable = r.horizon,
  horizon = greatest(r.horizon, least(least(clock.now, $2) - $1, $3)),
  moved_at = clock.now
from clock where r.moved_at + $4 <= clock.now
returning r.removable
)
select coalesce((select removable from moved), (select r.removable from retention as r)), clock.now from clock
