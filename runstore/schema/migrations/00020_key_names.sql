-- Additional keys have names, for people to rotate and revoke them by.

-- +goose Up
ALTER TABLE api_keys ADD COLUMN name text CHECK (length(name) BETWEEN 1 AND 64);
ALTER TABLE api_keys ADD CONSTRAINT api_keys_name_kind CHECK (kind = 'additional' OR name IS NULL);

-- A name has one key that does not end; rotation gives the old one an end in the
-- statement before the new one is stored.
CREATE UNIQUE INDEX api_keys_current_name ON api_keys (env_id, name) WHERE expires_at IS NULL;

-- +goose Down
ALTER TABLE api_keys DROP COLUMN name;
