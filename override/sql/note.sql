-- Adds a line to the audit.
-- $1 actor, $2 node, $3 action, $4 env_id, $5 why, $6 the document of details.
insert into admin_audit (actor, node, action, env_id, reason, detail)
values ($1, $2, $3, $4, $5, $6::text::jsonb)
