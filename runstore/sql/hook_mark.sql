-- Writes that the deployment's rows are handed to a hook, unless it has been written.
insert into deployment_hook default values on conflict do nothing
