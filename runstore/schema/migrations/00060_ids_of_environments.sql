-- A run is named by its environment and its id, and nothing looks for one by its id
-- alone but an operator (sql/whereabouts.sql). A second unique index, over the id, cost
-- each insert one look and one entry more, an eighth of what Postgres spent on a row.
--
-- Logical replication goes by the index that stays.

-- +goose Up

alter table runs drop constraint runs_pkey;
alter table runs alter column id set not null;
alter table runs replica identity using index runs_env_id_id_key;

-- +goose Down

alter table runs replica identity default;
alter table runs add primary key (id);
