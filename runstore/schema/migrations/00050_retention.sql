-- What retention needs: how far back nothing is inserted any more, and what is over,
-- in the order in which it was over.

-- +goose Up

-- One row. Instants in us; they only ever grow.
create table retention (
  only_row  boolean primary key default true check (only_row),
  horizon   bigint  not null default 0,    -- no run that was accepted before this is inserted
  removable bigint  not null default 0,    -- what lies before this may be removed: a horizon that every statement under way knows
  moved_at  bigint  not null default 0     -- when the horizon was moved
);
insert into retention default values;

-- Runs that have ended, and tombstones, by when all of it was over: the run, its key,
-- and what was merged into it. A row that waits is in none of it.
create index runs_over on runs (env_id, greatest(accepted_at, finished_at, key_until, key_last + 1), id)
  where kind = 2 or (kind = 0 and finished_at is not null);
create index batches_created on batches (env_id, created_at, id);

-- +goose Down

drop index batches_created;
drop index runs_over;
drop table retention;
