-- Whether the rows of the deployment are handed to a hook in their transaction: a node
-- that has none must not write any. One row, or none.

-- +goose Up

create table deployment_hook (
  one   boolean primary key default true check (one),
  since timestamptz not null default now()
);

-- +goose Down

drop table deployment_hook;
