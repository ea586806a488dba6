-- Row-level security: forced on every tenant table, so that the owner is bound by it as well.
-- workflow_runtime is what processes log in with (or inherit); workflow_definer owns the narrow
-- functions that may see across tenants and nothing else. Roles belong to the whole server, so they may
-- be there already, or appear this very moment.

DO $$
DECLARE
    r text;
BEGIN
    FOREACH r IN ARRAY ARRAY['workflow_runtime', 'workflow_definer'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', r);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
        END;
    END LOOP;
END $$;

-- A migrating role that is no superuser must be able to give functions to workflow_definer (0001_functions).
-- Without INHERIT, so that the tables' owner does not see what workflow_definer sees.
DO $$
BEGIN
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        EXECUTE format('GRANT workflow_definer TO %I WITH INHERIT FALSE, SET TRUE', current_user);
    END IF;
END $$;

GRANT USAGE ON SCHEMA public TO workflow_runtime, workflow_definer;

DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY[
        'workflow_definitions', 'workflow_definition_versions', 'workflow_runs', 'workflow_run_steps',
        'workflow_action_invocations', 'workflow_run_waits', 'workflow_run_logs', 'workflow_runtime_events',
        'workflow_event_deliveries', 'workflow_data_store'
    ] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
        -- A setting that a session has once had is empty afterwards, not absent.
        EXECUTE format(
            'CREATE POLICY tenant_only ON %I TO workflow_runtime
                USING (tenant = nullif(current_setting(''workflows.tenant'', true), ''''))
                WITH CHECK (tenant = nullif(current_setting(''workflows.tenant'', true), ''''))', t);
        EXECUTE format('CREATE POLICY narrow_functions ON %I TO workflow_definer USING (true) WITH CHECK (true)', t);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO workflow_runtime', t);
    END LOOP;
END $$;

REVOKE DELETE ON workflow_definition_versions FROM workflow_runtime;
REVOKE UPDATE ON workflow_definition_versions FROM workflow_runtime;
GRANT SELECT, INSERT, UPDATE, DELETE ON workflow_processes TO workflow_runtime;

-- What the narrow functions need and nothing more.
GRANT SELECT (tenant, event_id, status, next_attempt_at, created_at) ON workflow_runtime_events TO workflow_definer;
GRANT SELECT (tenant, delivery_id, event_id, run_id, target_kind, target_id, key, status, next_attempt_at, ordinal)
    ON workflow_event_deliveries TO workflow_definer;

-- Processes ask which revision the schema has.
GRANT SELECT ON workflow_schema_revision TO workflow_runtime;
