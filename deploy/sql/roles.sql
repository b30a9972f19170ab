-- The two roles of a deployment. Run it once, as a superuser, in the database that the
-- nodes will use, before the first migration; to run it again does no harm.
--
--   mollifier_owner  owns the tables. `node migrate`, and `node env`, which
--                    write tenants and their keys, go as it; no serving node does.
--   mollifier_app    what nodes serve as. It owns nothing and can not make, change or drop
--                    anything; grants.sql says what it may read and write.
--
-- Then give both a password of their own (\password mollifier_app in psql keeps it out of
-- logs and histories), migrate as the owner and run grants.sql. Whoever keeps the tables
-- in another schema than public changes the name here and there.

do $$
begin
  if not exists (select from pg_roles where rolname = 'mollifier_owner') then
    create role mollifier_owner login nosuperuser nocreatedb nocreaterole;
  end if;
  if not exists (select from pg_roles where rolname = 'mollifier_app') then
    create role mollifier_app login nosuperuser nocreatedb nocreaterole;
  end if;
  -- Nobody else, and no temporary tables: a name in the schema is one that the owner made.
  execute format('revoke all on database %I from public', current_database());
  execute format('grant connect, temporary on database %I to mollifier_owner', current_database());
  execute format('grant connect on database %I to mollifier_app', current_database());
end $$;

revoke all on schema public from public;
grant usage, create on schema public to mollifier_owner;
grant usage on schema public to mollifier_app;

alter role mollifier_owner set search_path = public;
alter role mollifier_app set search_path = public;
-- A node bounds its statements itself; this ends the transaction of one that hangs.
alter role mollifier_app set idle_in_transaction_session_timeout = '30s';
