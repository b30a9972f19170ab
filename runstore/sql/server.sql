-- Replies: the server's version number, its encoding, and whether it refuses writes.
select current_setting('server_version_num')::integer, current_setting('server_encoding'),
  pg_is_in_recovery() or current_setting('transaction_read_only')::boolean
