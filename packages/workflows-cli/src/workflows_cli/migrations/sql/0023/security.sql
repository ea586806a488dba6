-- Row-level security, forced on every table with tenant data, so that the owner is bound by it as well; and who may do what.

DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY[
        'business_hours_schedules', 'event_catalog', 'tenant_workflow_schedule', 'workflow_action_invocations',
        'workflow_api_tokens', 'workflow_claim_positions', 'workflow_data_store', 'workflow_definition_versions',
        'workflow_definitions', 'workflow_entity_links', 'workflow_event_claims', 'workflow_event_deliveries',
        'workflow_payload_schemas', 'workflow_redaction', 'workflow_run_logs', 'workflow_run_positions',
        'workflow_run_steps', 'workflow_run_waits', 'workflow_runs', 'workflow_runtime_events', 'workflow_tasks'
    ] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
        -- A setting that a session has once had is empty afterwards, not absent.
        EXECUTE format(
            'CREATE POLICY tenant_only ON %I TO workflow_runtime
                USING (tenant = nullif(current_setting(''workflows.tenant'', true), ''''))
                WITH CHECK (tenant = nullif(current_setting(''workflows.tenant'', true), ''''))', t);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO workflow_runtime', t);
    END LOOP;
END $$;

-- What was published is never changed, and an answered task is not forgotten.
REVOKE UPDATE, DELETE ON workflow_definition_versions FROM workflow_runtime;
REVOKE DELETE ON workflow_tasks FROM workflow_runtime;
REVOKE ALL ON workflow_api_tokens FROM workflow_runtime;
GRANT SELECT, INSERT, UPDATE ON workflow_api_tokens TO workflow_application;

GRANT SELECT, INSERT, UPDATE, DELETE ON workflow_processes TO workflow_runtime;
-- Processes ask which revision the schema has.
GRANT SELECT ON workflow_schema_revision TO workflow_runtime;
