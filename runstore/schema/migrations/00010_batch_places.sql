-- A place in a batch says what its item was answered with, from the answer on:
-- a run, which may still be in a buffer, or why there is none. So it refers to
-- the run by name only.

-- +goose Up

alter table batch_items drop constraint batch_items_env_id_run_id_fkey;
alter table batch_items alter column run_id drop not null;
alter table batch_items add column task text not null default '';   -- of an item that has no run
alter table batch_items add column error text;
alter table batch_items add column error_code text not null default '';
alter table batch_items add check ((run_id is null) = (error is not null));

-- The key of a batch, and until when it holds its batch. An expired one is
-- taken away by the next batch of the key.
alter table batches add column key_hash bytea check (octet_length(key_hash) = 32);
alter table batches add column key_until bigint;
alter table batches add check ((key_hash is null) or (key_until is not null));
alter table batches add column idempotency_key text;
alter table batches add column request_hash bytea check (octet_length(request_hash) = 16);
alter table batches add column sealed_at bigint;                     -- when all of its items were in
alter table batches add column parent_id text;
alter table batches add column resume_parent boolean not null default false;
create unique index batches_key on batches (env_id, key_hash) where key_hash is not null;

-- +goose Down

drop index batches_key;
alter table batches drop column resume_parent;
alter table batches drop column parent_id;
alter table batches drop column sealed_at;
alter table batches drop column request_hash;
alter table batches drop column idempotency_key;
alter table batches drop column key_until;
alter table batches drop column key_hash;
delete from batch_items as i
where i.run_id is null or not exists (select from runs as r where r.env_id = i.env_id and r.id = i.run_id);
alter table batch_items drop column error_code;
alter table batch_items drop column error;
alter table batch_items drop column task;
alter table batch_items alter column run_id set not null;
alter table batch_items add constraint batch_items_env_id_run_id_fkey
  foreign key (env_id, run_id) references runs (env_id, id);
