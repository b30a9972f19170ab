-- How long an environment's runs are kept after they are over, in us: 0 for ever, null
-- as long as the deployment says.

-- +goose Up
ALTER TABLE environments ADD COLUMN keep_us bigint CHECK (keep_us >= 0);

-- +goose Down
ALTER TABLE environments DROP COLUMN keep_us;
