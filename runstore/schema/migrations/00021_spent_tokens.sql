-- Public tokens that may be used once, and were: for what, and until when that has
-- to be remembered. The tables that all nodes hold in memory are others: this one
-- is written by triggers.

-- +goose Up
CREATE TABLE spent_tokens (
    token_hash bytea       PRIMARY KEY CHECK (octet_length(token_hash) = 32),
    env_id     text        NOT NULL,
    use_hash   bytea       NOT NULL CHECK (octet_length(use_hash) = 32),
    until      timestamptz NOT NULL
);
CREATE INDEX spent_tokens_until ON spent_tokens (until);

-- +goose Down
DROP TABLE spent_tokens;
