-- What nodes with -keep or -keep-audit may do besides grants.sql. Run it as mollifier_owner
-- after that, each time: grants.sql takes it back.

begin;

grant update on retention to mollifier_app;
grant delete on runs, batches, batch_items to mollifier_app;
grant select (env_id, run_id), delete on dead_letters to mollifier_app;
grant delete, update (id) on admin_audit to mollifier_app;

commit;
