-- What the reconciler needs: open runs that nothing was heard of for a while, and the end of one that cannot tell
-- its end itself.

GRANT SELECT (tenant, run_id, status, updated_at) ON workflow_runs TO workflow_definer;

-- In the order of tenant and id, after a given one, so that passes go round.
CREATE FUNCTION workflow_quiet_runs(p_quiet_seconds double precision, p_tenant text, p_run text, p_limit integer)
RETURNS TABLE (tenant text, run_id text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT r.tenant, r.run_id
      FROM workflow_runs r
     WHERE r.status IN ('STARTING', 'RUNNING', 'WAITING')
       AND r.updated_at < now() - make_interval(secs => p_quiet_seconds)
       AND (r.tenant, r.run_id) > (p_tenant, p_run)
     ORDER BY r.tenant, r.run_id
     LIMIT p_limit
$$;

GRANT CREATE ON SCHEMA public TO workflow_definer;
ALTER FUNCTION workflow_quiet_runs(double precision, text, text, integer) OWNER TO workflow_definer;
REVOKE CREATE ON SCHEMA public FROM workflow_definer;
REVOKE ALL ON FUNCTION workflow_quiet_runs(double precision, text, text, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION workflow_quiet_runs(double precision, text, text, integer) TO workflow_runtime;

-- Ends an open run by the same write that a run ends itself with: waits, deliveries, tasks and a waiting parent get
-- their due. False when it has ended meanwhile.
CREATE FUNCTION workflow_end_run(p_tenant text, p_run text, p_status text, p_error jsonb, p_execution text)
RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    r     workflow_runs;
    known text;
BEGIN
    PERFORM set_config('workflows.tenant', p_tenant, true);
    SELECT * INTO r FROM workflow_runs w WHERE w.tenant = p_tenant AND w.run_id = p_run FOR NO KEY UPDATE;
    IF r.run_id IS NULL OR workflow_is_final(r.status) THEN
        RETURN false;
    END IF;
    known := CASE WHEN r.generation = 0 THEN r.temporal_run_id ELSE r.executions[r.generation] END;
    PERFORM workflow_write_run(
        jsonb_build_object(
            'tenant', p_tenant, 'run_id', p_run, 'workflow_id', r.workflow_id, 'workflow_version', r.workflow_version,
            'definition_hash', r.definition_hash, 'trigger_type', r.trigger_type, 'generation', r.generation,
            'sequence', r.sequence + 1, 'status', p_status, 'node_path', r.node_path, 'waiting_for', NULL,
            'steps', '[]'::jsonb, 'consumed', '[]'::jsonb, 'closed', '[]'::jsonb, 'waits', '[]'::jsonb,
            'logs', jsonb_build_array(jsonb_build_object(
                'level', 'ERROR', 'message', p_error->>'message', 'step_path', NULL, 'context_json', NULL,
                'at', (extract(epoch FROM clock_timestamp()) * 1000)::bigint)),
            'result_json', NULL, 'error_json', p_error),
        coalesce(known, p_execution), r.runtime_semantics_version);
    RETURN true;
END $$;
