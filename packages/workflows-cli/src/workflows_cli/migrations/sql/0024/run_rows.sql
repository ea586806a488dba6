-- A run that a bare client started has no row: its first write brings it. Later writes do not repeat which version it is of,
-- nor the hash of its definition: should the row be gone, such as in a database that was restored, whoever writes has to find that
-- out, and comes again, with the run that has started it: that one waits to be told of the end.
CREATE OR REPLACE FUNCTION workflow_ensure_run(p_write jsonb, p_semantics integer) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM workflow_runs r
                WHERE r.tenant = p_write->>'tenant' AND r.run_id = p_write->>'run_id') THEN
        RETURN;
    END IF;
    IF p_write->>'workflow_id' IS NULL THEN
        RAISE EXCEPTION 'run % of tenant % has no row', p_write->>'run_id', p_write->>'tenant' USING ERRCODE = 'WF003';
    END IF;
    INSERT INTO workflow_runs
        (tenant, run_id, workflow_id, workflow_version, status, trigger_type, temporal_workflow_id,
         definition_hash, runtime_semantics_version, parent_run_id, root_run_id)
    VALUES (p_write->>'tenant', p_write->>'run_id', p_write->>'workflow_id', (p_write->>'workflow_version')::integer,
            'RUNNING', p_write->>'trigger_type', 'workflow-runtime-v2:run:' || (p_write->>'run_id'),
            coalesce(p_write->>'definition_hash',
                     (SELECT v.definition_hash FROM workflow_definition_versions v
                       WHERE v.tenant = p_write->>'tenant' AND v.workflow_id = p_write->>'workflow_id'
                         AND v.version = (p_write->>'workflow_version')::integer)),
            p_semantics, p_write->>'parent_run_id',
            coalesce((SELECT r.root_run_id FROM workflow_runs r
                       WHERE r.tenant = p_write->>'tenant' AND r.run_id = p_write->>'parent_run_id'),
                     p_write->>'parent_run_id', p_write->>'run_id'))
    ON CONFLICT (tenant, run_id) DO NOTHING;
END $$;
