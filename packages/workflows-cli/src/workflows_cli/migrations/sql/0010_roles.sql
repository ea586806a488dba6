-- workflow_runtime is what executing runs needs. The application, and operators, may read and write API tokens as well, which
-- a worker has no business with. Roles belong to the whole server, so this one may be there already.

DO $$
BEGIN
    CREATE ROLE workflow_application NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$;

GRANT workflow_runtime TO workflow_application;
REVOKE ALL ON workflow_api_tokens FROM workflow_runtime;
GRANT SELECT, INSERT, UPDATE ON workflow_api_tokens TO workflow_application;

-- As their owner: a migrating role that is no superuser could not take from everybody what is not its own, and was told so by
-- a warning only.
SET LOCAL ROLE workflow_definer;
DO $$
DECLARE
    f   regprocedure;
    who text;
BEGIN
    FOR f IN SELECT p.oid::regprocedure FROM pg_proc p
              WHERE p.proowner = 'workflow_definer'::regrole AND p.pronamespace = 'public'::regnamespace LOOP
        who := CASE WHEN f = 'workflow_api_token(bytea)'::regprocedure THEN 'workflow_application' ELSE 'workflow_runtime' END;
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC, workflow_runtime', f);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', f, who);
    END LOOP;
END $$;
RESET ROLE;
