-- The runs that were triggered in a run.

-- +goose Up
CREATE INDEX runs_parent ON runs (env_id, parent_id, id) WHERE parent_id IS NOT NULL;

-- +goose Down
DROP INDEX runs_parent;
