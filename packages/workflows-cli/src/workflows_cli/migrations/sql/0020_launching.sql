-- Temporal has the run: STARTING becomes RUNNING. One that has written its own status already keeps it, and so does a first
-- execution that is known. One statement, one round trip; no row where there is none.
CREATE FUNCTION workflow_mark_running(p_tenant text, p_run text, p_execution text) RETURNS SETOF workflow_runs
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('workflows.tenant', p_tenant, true);
    RETURN QUERY
        UPDATE workflow_runs r SET
            status          = CASE r.status WHEN 'STARTING' THEN 'RUNNING' ELSE r.status END,
            temporal_run_id = coalesce(r.temporal_run_id, p_execution),
            launch_json     = NULL,
            updated_at      = clock_timestamp()
         WHERE r.tenant = p_tenant AND r.run_id = p_run
        RETURNING r.*;
END $$;

-- Launches that were cut short: few among the open runs, and not to be found by going round through all of them.
CREATE FUNCTION workflow_quiet_launches(p_quiet_seconds double precision, p_limit integer)
RETURNS TABLE (tenant text, run_id text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT r.tenant, r.run_id
      FROM workflow_runs r
     WHERE r.status = 'STARTING'
       AND r.updated_at < now() - make_interval(secs => p_quiet_seconds)
     ORDER BY r.updated_at
     LIMIT p_limit
$$;

GRANT CREATE ON SCHEMA public TO workflow_definer;
ALTER FUNCTION workflow_quiet_launches(double precision, integer) OWNER TO workflow_definer;
REVOKE CREATE ON SCHEMA public FROM workflow_definer;

SET LOCAL ROLE workflow_definer;
REVOKE ALL ON FUNCTION workflow_quiet_launches(double precision, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION workflow_quiet_launches(double precision, integer) TO workflow_runtime;
RESET ROLE;
