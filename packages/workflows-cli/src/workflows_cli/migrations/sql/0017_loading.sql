-- What an execution of a run begins with, in one round trip; one row always. A run that a bare client started has no row, and
-- begins now.
CREATE FUNCTION workflow_load_run(p_tenant text, p_run_id text)
RETURNS TABLE (
    recorded boolean, started_at bigint, definition_hash text, input_json jsonb, trigger_metadata_json jsonb,
    runtime_semantics_version integer)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('workflows.tenant', p_tenant, true);
    RETURN QUERY
        SELECT r.run_id IS NOT NULL, trunc(extract(epoch FROM coalesce(r.started_at, clock_timestamp())) * 1000)::bigint,
               r.definition_hash, r.input_json, r.trigger_metadata_json, r.runtime_semantics_version
          FROM (VALUES (p_run_id)) AS wanted(run_id)
          LEFT JOIN workflow_runs r ON r.tenant = p_tenant AND r.run_id = wanted.run_id;
END $$;
