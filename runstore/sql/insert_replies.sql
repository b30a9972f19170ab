-- Part of insert.sql: id, accepted_at, key_until, status of each row that was inserted.
returning id, accepted_at, coalesce(key_until, 0), status
