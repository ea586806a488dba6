-- As of before, with the workflow of each, and without those of the workflows that the caller leaves out: somebody holds them, and
-- others' runs stand behind theirs.
GRANT CREATE ON SCHEMA public TO workflow_definer;
SET LOCAL ROLE workflow_definer;
CREATE FUNCTION workflow_startable_runs(p_limit integer, p_left_tenants text[], p_left_workflows text[])
RETURNS TABLE (tenant text, run_id text, workflow_id text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT d.tenant, q.run_id, d.workflow_id
      FROM (SELECT DISTINCT r.tenant, r.workflow_id FROM workflow_runs r WHERE r.status = 'QUEUED') AS n
      JOIN workflow_definitions d ON d.tenant = n.tenant AND d.workflow_id = n.workflow_id
     CROSS JOIN LATERAL (
           SELECT CASE WHEN d.concurrency_limit IS NULL THEN p_limit ELSE greatest(0, d.concurrency_limit - (
                      SELECT count(*) FROM workflow_runs o
                       WHERE o.tenant = d.tenant AND o.workflow_id = d.workflow_id
                         AND o.status IN ('STARTING', 'RUNNING', 'WAITING')))::integer END AS room) AS f
     CROSS JOIN LATERAL (
           SELECT w.run_id, w.started_at FROM workflow_runs w
            WHERE w.tenant = d.tenant AND w.workflow_id = d.workflow_id AND w.status = 'QUEUED'
            ORDER BY w.started_at, w.run_id
            LIMIT f.room) AS q
     WHERE NOT d.is_paused
       AND NOT EXISTS (SELECT 1 FROM unnest(p_left_tenants, p_left_workflows) AS l(tenant, workflow_id)
                        WHERE l.tenant = d.tenant AND l.workflow_id = d.workflow_id)
     ORDER BY q.started_at, q.run_id
     LIMIT p_limit
$$;
REVOKE ALL ON FUNCTION workflow_startable_runs(integer, text[], text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION workflow_startable_runs(integer, text[], text[]) TO workflow_runtime;
RESET ROLE;
REVOKE CREATE ON SCHEMA public FROM workflow_definer;
