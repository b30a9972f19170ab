-- Replies: what the deployment agreed on.
select partitions, hash_version from deployment
