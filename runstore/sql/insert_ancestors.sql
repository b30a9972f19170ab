-- Part of insert.sql: the root and the depth of each row that has an ancestor.
-- limits keep this two probes of one index entry each for each row that has a parent:
-- a join of the two could read the whole environment by a kept plan
left join lateral (
  select r.root, r.depth
  from (
    select coalesce(a.alias_of, a.id) as id from runs as a
    where t.ancestor_id <> '' and a.env_id = t.env_id and a.id = t.ancestor_id limit 1
  ) as n
  cross join lateral (
    select coalesce(own.root_id, own.id) as root, own.depth from runs as own
    where own.env_id = t.env_id and own.id = n.id limit 1
  ) as r
) as ancestor on true
