-- Replies: whether the deployment's rows are handed to a hook.
select exists (select from deployment_hook)
