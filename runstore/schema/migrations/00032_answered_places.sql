-- Whether whoever sent the item of a place was told of it. A drainer may write the
-- row of a buffered run, and its place with it, before the node that accepted the
-- run writes the place itself: who comes then did not send the item a second time.

-- +goose Up
ALTER TABLE batch_items ADD COLUMN answered boolean NOT NULL DEFAULT true;

-- +goose Down
ALTER TABLE batch_items DROP COLUMN answered;
