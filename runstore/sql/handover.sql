-- Takes locked rows out of their slots; the same transaction fills the slots again.
-- Parameters: environments, ids, key hashes; equal lengths.
update runs as s set key_slot = null, key_past = t.h
from unnest($1::text[], $2::text[], $3::bytea[]) as t (env_id, id, h)
where s.env_id = t.env_id and s.id = t.id and s.key_slot = t.h
