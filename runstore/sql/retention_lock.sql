-- Makes this transaction the only one that removes, or says that another one does.
-- Parameters: the lock's number. Replies: whether it is this one.
select pg_try_advisory_xact_lock($1)
