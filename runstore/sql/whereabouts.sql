-- Finds the environment of a run by its id alone, for operators: what is shown to an
-- environment is always asked for by both.
-- $1 the id. Answers env_id.
select env_id from runs where id = $1
