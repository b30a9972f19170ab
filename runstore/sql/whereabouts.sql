-- Finds the environment of a run by its id alone, for operators: what is shown to an
-- environment is always asked for by both. The only index of ids is of environments
-- and ids, so this goes from one environment to the next, and looks into each.
-- $1 the id. Answers env_id.
with recursive env as (
  (select env_id from runs order by env_id limit 1)
  union all
  select (select n.env_id from runs as n where n.env_id > env.env_id order by n.env_id limit 1)
  from env where env.env_id is not null
)
select r.env_id from env
cross join lateral (select r.env_id from runs as r where r.env_id = env.env_id and r.id = $1 limit 1) as r
limit 1
