-- A debounced run holds the slot of its debounce key for as long as it is
-- DELAYED; whoever moves it on, this package or plain SQL, empties the slot.
-- Triggers that are merged into it leave an alias behind, and that alias holds
-- the trigger's own key: a key may be held through another name of a run.

-- +goose Up

alter table runs add column debounce_slot bytea check (octet_length(debounce_slot) = 32);
alter table runs add constraint runs_debounce_delayed check (debounce_slot is null or status = 'DELAYED');
create unique index runs_debounce on runs (env_id, debounce_slot) where debounce_slot is not null;

-- +goose StatementBegin
create function runs_debounced() returns trigger language plpgsql as $$
begin
  new.debounce_slot := null;
  return new;
end $$;
-- +goose StatementEnd
create trigger runs_debounced_moves_on before update of status on runs
  for each row when (old.debounce_slot is not null and new.status <> 'DELAYED') execute function runs_debounced();

-- +goose StatementBegin
do $$
declare
  c text;
begin
  select conname into strict c from pg_constraint
  where conrelid = 'runs'::regclass and contype = 'c' and pg_get_constraintdef(oid) like '%kind <> 1%key_slot IS NULL%';
  execute format('alter table runs drop constraint %I', c);
end $$;
-- +goose StatementEnd

-- Who sits in the slots of keys. An alias stands for its run: it has the run's
-- kind and status, and where that status clears the key, the interval ends with it.
create view key_slots as
select
  s.env_id, s.key_slot, s.id, s.alias_of, (case when s.kind = 1 then 0 else s.kind end)::smallint as kind, s.key_kind, s.accepted_at,
  case when s.kind = 1 and s.key_kind = 'k' and w.status in ('FAILED', 'CRASHED', 'SYSTEM_FAILURE', 'EXPIRED', 'TIMED_OUT')
    then least(s.key_until, greatest(w.finished_at, s.accepted_at + 1)) else s.key_until end as key_until,
  s.key_last, coalesce(w.status, s.status) as status, s.payload_hash, s.request_hash
from runs as s
left join runs as w on s.kind = 1 and w.env_id = s.env_id and w.id = s.alias_of
where s.key_slot is not null;

-- +goose Down

drop view key_slots;
update runs set key_slot = null, key_past = key_slot where kind = 1 and key_slot is not null;
alter table runs add constraint runs_alias_slot check (kind <> 1 or key_slot is null);
drop trigger runs_debounced_moves_on on runs;
drop function runs_debounced();
drop index runs_debounce;
alter table runs drop constraint runs_debounce_delayed;
alter table runs drop column debounce_slot;
