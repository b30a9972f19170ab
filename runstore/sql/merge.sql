-- Tells runs which acceptances were merged into them, and adds the tags of the
-- others to theirs, as many as fit.
-- Parameters: environments, ids (no pair twice), latest acceptances, tags;
--   equal lengths; then the most tags that a run may have.
update runs as w set
  key_last = greatest(coalesce(w.key_last, 0), t.last), -- mutant no-key-last: key_last = w.key_last,
  tags = case when cardinality(t.tags::text[]) = 0 then w.tags else (
    select coalesce(array_agg(u.tag order by u.n), '{}') from (
      select x.tag, min(x.n) as n from unnest(w.tags || t.tags::text[]) with ordinality as x (tag, n)
      group by x.tag order by min(x.n) limit $5
    ) as u) end
from unnest($1::text[], $2::text[], $3::bigint[], $4::text[]) as t (env_id, id, last, tags)
where w.env_id = t.env_id and w.id = t.id
