-- Instants and spans are bigint microseconds, as in Go and in Redis.
-- The customer's bytes are bytea: they come back as they were sent.

-- +goose Up

-- +goose StatementBegin
create function now_us() returns bigint language sql volatile as
$$ select (extract(epoch from clock_timestamp()) * 1000000)::bigint $$;
-- +goose StatementEnd

-- What every node of the deployment has to agree on. One row, written once.
create table deployment (
  only_row     boolean  primary key default true check (only_row),
  id           text     not null default gen_random_uuid()::text,
  partitions   integer  not null check (partitions between 1 and 1024),
  hash_version integer  not null check (hash_version > 0)
);

create table runs (
  id             text     primary key check (id <> ''),
  env_id         text     not null check (env_id <> ''),
  org_id         text     not null default '',                -- empty, like the task, only in a tombstone
  task           text     not null default '',
  -- 0 a run; 1 an alias, another name of alias_of; 2 a tombstone, which a reset leaves in the slot
  kind           smallint not null default 0 check (kind in (0, 1, 2)),
  alias_of       text,

  -- The key. The slot belongs to at most one row of a key, and once a row has
  -- held it, some row always does: a slot is handed over, never left empty.
  -- key_past is the hash of a row that held the slot and handed it over.
  key_kind       text     check (key_kind in ('k', 'q', 'b')),
  key_slot       bytea    check (octet_length(key_slot) = 32),
  key_past       bytea    check (octet_length(key_past) = 32),
  accepted_at    bigint   not null check (accepted_at > 0),   -- created-at; never changes
  key_until      bigint   check (key_until >= accepted_at),   -- end of the key's interval; only ever moves earlier
  key_last       bigint,                                      -- latest acceptance that became an alias of this row

  status         text     not null,
  queue_at       bigint   not null default 0,                 -- its turn: when accepted or due, less its priority
  ttl_until      bigint,                                      -- not taken by then, it expires
  started_at     bigint,
  finished_at    bigint,
  expired_at     bigint,
  updated_at     bigint   not null default now_us(),
  attempts       integer  not null default 0,

  payload        bytea,
  payload_type   text     not null default '',
  payload_size   bigint   not null default 0,
  payload_hash   bytea    check (octet_length(payload_hash) = 16),
  request_hash   bytea    check (octet_length(request_hash) = 16),
  metadata       bytea,
  metadata_type  text     not null default '',
  context        bytea,
  buffer_ver     bigint   not null default 0,                 -- latest version of its buffer entry that is applied here

  idempotency_key text,
  tags           text[]   not null default '{}',
  queue          text     not null default '',
  concurrency_key text    not null default '',
  machine        text     not null default '',
  region         text     not null default '',
  version        text     not null default '',
  test           boolean  not null default false,
  batch_id       text,
  batch_index    integer,
  delay_until    bigint,
  ttl            bigint,
  priority       bigint   not null default 0,
  parent_id      text,
  root_id        text,
  depth          integer  not null default 0,
  options        text     not null default '{}',              -- what is neither filtered nor sorted by: a document of ours

  output         bytea,
  output_type    text     not null default '',
  error          text,                                        -- why it ended badly: a document of ours

  unique (env_id, id),
  -- both columns, so that no alias can cross environments
  foreign key (env_id, alias_of) references runs (env_id, id),
  check ((kind = 1) = (alias_of is not null)),
  check (kind = 2 or (org_id <> '' and task <> '')),
  check (kind <> 0 or payload_hash is not null),
  check (kind <> 1 or key_slot is null),
  check (key_slot is null or key_past is null),
  check (key_slot is null or (key_kind is not null and key_until is not null)),
  check (status in ('PENDING_VERSION', 'DELAYED', 'QUEUED', 'DEQUEUED', 'EXECUTING', 'WAITING',
                    'COMPLETED', 'CANCELED', 'FAILED', 'CRASHED', 'SYSTEM_FAILURE', 'EXPIRED', 'TIMED_OUT',
                    'ALIAS', 'RESET')),
  check ((status = 'ALIAS') = (kind = 1)),
  check ((status = 'RESET') = (kind = 2))
);

create unique index runs_slot on runs (env_id, key_slot) where key_slot is not null;
create index runs_past on runs (env_id, key_past) where key_past is not null;
create index runs_alias_of on runs (env_id, alias_of) where alias_of is not null;
create index runs_turn on runs (queue_at, id) where status = 'QUEUED';
create index runs_ttl on runs (ttl_until, id) where status in ('QUEUED', 'DELAYED', 'PENDING_VERSION') and ttl_until is not null;
create index runs_due on runs (delay_until, id) where status = 'DELAYED';

-- Whoever writes a status, this package or a worker with plain SQL, gets its
-- consequences: the moments that go with it, and for a status that clears an
-- idempotency key the end of the key's interval. The end lies after the run's
-- own acceptance and after every acceptance that was merged into it, and never
-- moves later. The slot stays occupied: the next trigger takes it over.
-- +goose StatementBegin
create function runs_consequences() returns trigger language plpgsql as $$
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

create trigger runs_consequences_of_update before update on runs
  for each row execute function runs_consequences();
-- A row is nearly always born waiting: then the function is not even called.
create trigger runs_consequences_of_insert before insert on runs
  for each row when (new.status not in ('QUEUED', 'DELAYED', 'ALIAS', 'RESET'))
  execute function runs_consequences();

-- A batch: its header, and which run each of its places became. A place is
-- written in the transaction that inserts its run, so it never names a run
-- that is not there.
create table batches (
  id         text    primary key check (id <> ''),
  env_id     text    not null check (env_id <> ''),
  items      integer not null check (items >= 0),
  created_at bigint  not null,
  unique (env_id, id)
);

create table batch_items (
  env_id     text    not null,
  batch_id   text    not null,
  item_index integer not null check (item_index >= 0),
  run_id     text    not null,
  primary key (env_id, batch_id, item_index),
  foreign key (env_id, batch_id) references batches (env_id, id),
  foreign key (env_id, run_id) references runs (env_id, id)
);

-- +goose Down

drop table batch_items;
drop table batches;
drop table runs;
drop function runs_consequences();
drop table deployment;
drop function now_us();
