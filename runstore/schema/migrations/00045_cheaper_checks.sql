-- What each insert pays for without anybody gaining by it.
--
-- A place in a batch is written only by statements that have found the batch's header
-- (sql/insert.sql, alias.sql, batch_place.sql, debounce_join.sql, and batch.sql, which
-- has just written it), and nothing deletes a header. A foreign key looked for it
-- again, one query for each place, which was a third of what a batch cost Postgres.
--
-- A check of the status against a list of fifteen was read and compiled anew by every
-- statement, a tenth of what a lone insert cost. The trigger that sees each change of a
-- status, and each row that is born with another one than those four, refuses it now.

-- +goose Up

alter table batch_items drop constraint batch_items_env_id_batch_id_fkey;

-- +goose StatementBegin
do $$
declare
  c text;
begin
  select conname into strict c from pg_constraint
  where conrelid = 'runs'::regclass and contype = 'c' and pg_get_constraintdef(oid) like '%PENDING_VERSION%';
  execute format('alter table runs drop constraint %I', c);
end $$;
-- +goose StatementEnd

-- +goose StatementBegin
create or replace function runs_consequences() returns trigger language plpgsql as $$
declare
  at bigint := now_us();
begin
  new.updated_at := at;
  if tg_op = 'UPDATE' and new.status = old.status then
    return new;
  end if;
  if new.status not in ('PENDING_VERSION', 'DELAYED', 'QUEUED', 'DEQUEUED', 'EXECUTING', 'WAITING',
                        'COMPLETED', 'CANCELED', 'FAILED', 'CRASHED', 'SYSTEM_FAILURE', 'EXPIRED', 'TIMED_OUT',
                        'ALIAS', 'RESET') then
    raise check_violation using message = 'no such status of a run', table = 'runs', column = 'status';
  end if;
  if new.status = 'EXECUTING' then
    new.started_at := coalesce(new.started_at, at);
  end if;
  if new.status = 'EXPIRED' then
    new.expired_at := coalesce(new.expired_at, at);
  end if;
  if new.status in ('COMPLETED', 'CANCELED', 'FAILED', 'CRASHED', 'SYSTEM_FAILURE', 'EXPIRED', 'TIMED_OUT') then
    new.finished_at := coalesce(new.finished_at, at);
  end if;
  if new.key_kind = 'k' and new.status in ('FAILED', 'CRASHED', 'SYSTEM_FAILURE', 'EXPIRED', 'TIMED_OUT') then
    new.key_until := least(new.key_until, greatest(at, new.key_last + 1, new.accepted_at + 1));
  end if;
  return new;
end $$;
-- +goose StatementEnd

-- +goose Down

-- +goose StatementBegin
create or replace function runs_consequences() returns trigger language plpgsql as $$
declare
  at bigint := now_us();
begin
  new.updated_at := at;
  if tg_op = 'UPDATE' and new.status = old.status then
    return new;
  end if;
  if new.status = 'EXECUTING' then
    new.started_at := coalesce(new.started_at, at);
  end if;
  if new.status = 'EXPIRED' then
    new.expired_at := coalesce(new.expired_at, at);
  end if;
  if new.status in ('COMPLETED', 'CANCELED', 'FAILED', 'CRASHED', 'SYSTEM_FAILURE', 'EXPIRED', 'TIMED_OUT') then
    new.finished_at := coalesce(new.finished_at, at);
  end if;
  if new.key_kind = 'k' and new.status in ('FAILED', 'CRASHED', 'SYSTEM_FAILURE', 'EXPIRED', 'TIMED_OUT') then
    new.key_until := least(new.key_until, greatest(at, new.key_last + 1, new.accepted_at + 1));
  end if;
  return new;
end $$;
-- +goose StatementEnd
alter table runs add check (status in ('PENDING_VERSION', 'DELAYED', 'QUEUED', 'DEQUEUED', 'EXECUTING', 'WAITING',
                    'COMPLETED', 'CANCELED', 'FAILED', 'CRASHED', 'SYSTEM_FAILURE', 'EXPIRED', 'TIMED_OUT',
                    'ALIAS', 'RESET'));
alter table batch_items add foreign key (env_id, batch_id) references batches (env_id, id);
