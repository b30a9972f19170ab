-- Takes back that the deployment's rows are handed to a hook.
delete from deployment_hook
