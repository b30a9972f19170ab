-- Spends a token that may be used once, or tells what it was spent on.
-- Parameters: token hash, environment, use hash, until when to remember it.
-- Replies: one row, the use that the token is spent on: the one given, if the
-- token was not spent before.
-- Tokens that need not be remembered any longer are removed on the way, a few at
-- a time, so that there are never more than were spent of late.
with past as (
    delete from spent_tokens where token_hash in (
        select token_hash from spent_tokens where until < now() and token_hash <> $1
        order by until limit 8 for update skip locked)
)
insert into spent_tokens as t (token_hash, env_id, use_hash, until) values ($1, $2, $3, $4)
on conflict (token_hash) do update set until = greatest(t.until, excluded.until)
returning use_hash
