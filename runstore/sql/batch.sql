-- Writes a batch's header, unless it is there.
-- Parameters: id, environment, items, created at (0 for this server's clock).
insert into batches (id, env_id, items, created_at)
values ($1, $2, $3, coalesce(nullif($4::bigint, 0), now_us()))
on conflict do nothing
