-- Ends the interval of a locked holder and takes it out of its slot; the same
-- transaction puts a tombstone there.
-- Parameters: environment, id, key hash, cut.
update runs as s set key_slot = null, key_past = $3,
  key_until = least(s.key_until, $4) -- mutant no-cut: key_until = greatest(s.key_until, least(s.key_until, $4))
where s.env_id = $1 and s.id = $2 and s.key_slot = $3
