-- Whether an environment wants a trigger refused whose idempotency key holds a run
-- of another payload; else the answer merely says so.

-- +goose Up
ALTER TABLE environments ADD COLUMN refuse_mismatch boolean NOT NULL DEFAULT false;

-- +goose Down
ALTER TABLE environments DROP COLUMN refuse_mismatch;
