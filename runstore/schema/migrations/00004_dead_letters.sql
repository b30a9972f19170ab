-- +goose Up

-- What a buffered run was, byte for byte, when Postgres would not store it as a
-- row. Its visible row, a SYSTEM_FAILURE, has no payload; whoever looks into the
-- failure finds the snapshot here, in its stored form with its version byte.
create table dead_letters (
  env_id    text   not null,
  run_id    text   not null,
  snapshot  bytea  not null,
  reason    text   not null,
  buried_at bigint not null default now_us(),
  primary key (env_id, run_id)
);

-- +goose Down

drop table dead_letters;
