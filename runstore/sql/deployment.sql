-- Writes what the deployment agrees on, unless it has been written.
-- Parameters: partitions, hash version.
insert into deployment (partitions, hash_version) values ($1, $2) on conflict do nothing
