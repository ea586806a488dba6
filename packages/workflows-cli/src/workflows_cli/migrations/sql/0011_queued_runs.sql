-- Starts that wait for another run of their workflow to end, and what a start needs beyond its row until it has started.

-- Not validated: what is there kept to the narrower one.
ALTER TABLE workflow_runs DROP CONSTRAINT workflow_runs_status_check;
ALTER TABLE workflow_runs ADD CONSTRAINT workflow_runs_status_check
    CHECK (status IN ('QUEUED', 'STARTING', 'RUNNING', 'WAITING', 'SUCCEEDED', 'FAILED', 'CANCELED')) NOT VALID;
ALTER TABLE workflow_runs ADD COLUMN launch_json jsonb;           -- (+) null once the run has started
CREATE INDEX workflow_runs_queued ON workflow_runs (tenant, workflow_id, started_at, run_id) WHERE status = 'QUEUED';

GRANT SELECT (workflow_id, started_at) ON workflow_runs TO workflow_definer;
GRANT SELECT (tenant, workflow_id, is_paused, concurrency_limit) ON workflow_definitions TO workflow_definer;

-- The longest waiting runs for which there seems to be room; whether there is, their start decides.
CREATE FUNCTION workflow_startable_runs(p_limit integer)
RETURNS TABLE (tenant text, run_id text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT d.tenant, q.run_id
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
     ORDER BY q.started_at, q.run_id
     LIMIT p_limit
$$;

CREATE FUNCTION workflow_queued_runs()
RETURNS integer
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT count(*)::integer FROM (SELECT 1 FROM workflow_runs WHERE status = 'QUEUED' LIMIT 100000) AS x
$$;

GRANT CREATE ON SCHEMA public TO workflow_definer;
ALTER FUNCTION workflow_startable_runs(integer) OWNER TO workflow_definer;
ALTER FUNCTION workflow_queued_runs() OWNER TO workflow_definer;
REVOKE CREATE ON SCHEMA public FROM workflow_definer;
-- As their owner: a migrating role that is no superuser cannot take from everybody what is not its own.
SET LOCAL ROLE workflow_definer;
REVOKE ALL ON FUNCTION workflow_startable_runs(integer), workflow_queued_runs() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION workflow_startable_runs(integer), workflow_queued_runs() TO workflow_runtime;
RESET ROLE;
