-- Keeps what a run was that can not be stored as a row, unless it is kept already.
-- Parameters: environment, id, snapshot, reason.
insert into dead_letters (env_id, run_id, snapshot, reason) values ($1, $2, $3, $4)
on conflict do nothing
