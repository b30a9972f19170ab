-- Puts one override in force, in place of the one of the same environment and kind.
-- $1 env_id, $2 kind, $3 window_us, $4 threshold, $5 hold_us (0: not set), $6 force ('': not set),
-- $7 who, $8 why, $9 seconds that it holds (0: until it is cleared).
insert into overrides (env_id, kind, window_us, threshold, hold_us, force, set_by, reason, ends_at)
values ($1, $2, nullif($3::bigint, 0), nullif($4::integer, 0), nullif($5::bigint, 0), nullif($6::text, ''), $7, $8,
        case when $9::float8 > 0 then now() + make_interval(secs => $9::float8) end)
on conflict (env_id, kind) do update set
  window_us = excluded.window_us, threshold = excluded.threshold, hold_us = excluded.hold_us, force = excluded.force,
  set_by = excluded.set_by, reason = excluded.reason, set_at = excluded.set_at, ends_at = excluded.ends_at
