-- What runs that come through a buffer need: a key's past is searched by time,
-- a batch is found by its runs, and lists are ordered as the ids' bytes are, in
-- every database and in every store alike.

-- +goose Up
alter table runs alter column id type text collate "C";

drop index runs_past;
create index runs_past on runs (env_id, key_past, key_until) where key_past is not null;
create index runs_batch on runs (env_id, batch_id, id) where batch_id is not null;

-- +goose Down
drop index runs_batch;
drop index runs_past;
create index runs_past on runs (env_id, key_past) where key_past is not null;
alter table runs alter column id type text collate "default";
