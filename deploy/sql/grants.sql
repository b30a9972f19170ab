-- What the role of the nodes may do. Run it as mollifier_owner after each migration,
-- before the nodes of the new version start; to run it again does no harm.

-- All or nothing: no node sees the moment between the two.
begin;

revoke all on all tables in schema public from mollifier_app;

-- Runs and batches. Nothing here deletes a run: grants-retention.sql does, if you want it.
grant select, insert, update on runs, batches, batch_items to mollifier_app;
grant select on retention to mollifier_app;
grant select on key_slots to mollifier_app;

-- Tokens for one use; those whose time is over are removed.
grant select, insert, update, delete on spent_tokens to mollifier_app;

-- Written once, read at each start.
grant select, insert on deployment to mollifier_app;
grant select, insert, delete on deployment_hook to mollifier_app;
grant select on schema_version to mollifier_app;

-- What can not be drained is kept for a person. Nodes never read it: it holds payloads.
grant insert on dead_letters to mollifier_app;

-- Operators' overrides, and who made them: the record is only ever added to.
grant select, insert, update, delete on overrides to mollifier_app;
grant select, update on override_version to mollifier_app;
grant select, insert on admin_audit to mollifier_app;

-- Who may trigger. Keys are made and revoked by the owner.
grant select on organisations, environments, api_keys, tenant_version to mollifier_app;

commit;
