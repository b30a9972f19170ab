-- Reads the audit, the newest first.
-- $1 only lines before this id (0: from the newest on), $2 of this environment ('': of all), $3 how many.
select id, at, actor, node, action, env_id, reason, detail::text
from admin_audit
where ($1::bigint = 0 or id < $1) and ($2::text = '' or env_id = $2)
order by id desc limit $3
