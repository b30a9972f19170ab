-- Whose payload a debounced run has: the acceptance of the newest trigger that gave
-- it one. Triggers come out of a buffer in no order, and an older one must not
-- take the place of a newer.

-- +goose Up

alter table runs add column debounced_at bigint;

-- +goose Down

alter table runs drop column debounced_at;
