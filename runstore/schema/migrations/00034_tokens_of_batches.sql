-- The batch that a token which may be used once has opened: its items come under the
-- same token, and no other batch's do.

-- +goose Up
ALTER TABLE spent_tokens ADD COLUMN batch_id text;

-- +goose Down
ALTER TABLE spent_tokens DROP COLUMN batch_id;
