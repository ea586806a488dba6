-- Roles belong to the whole server, so they may be there already, or appear this very moment.
--
-- workflow_runtime      what executing runs needs; processes log in as members of it
-- workflow_application  that, and the tokens of the HTTP API, which a worker has no business with; operators are members too
-- workflow_definer      owns the narrow functions, which may see across tenants, and nothing else

DO $$
DECLARE
    r text;
BEGIN
    FOREACH r IN ARRAY ARRAY['workflow_runtime', 'workflow_application', 'workflow_definer'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', r);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
        END;
    END LOOP;
END $$;

GRANT workflow_runtime TO workflow_application;

-- A migrating role that is no superuser must be able to give functions to workflow_definer (across_tenants.sql).
-- Without INHERIT, so that the tables' owner does not see what workflow_definer sees.
DO $$
BEGIN
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        EXECUTE format('GRANT workflow_definer TO %I WITH INHERIT FALSE, SET TRUE', current_user);
    END IF;
END $$;

GRANT USAGE ON SCHEMA public TO workflow_runtime, workflow_definer;
