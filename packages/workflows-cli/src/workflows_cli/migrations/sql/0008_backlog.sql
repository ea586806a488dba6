-- What waits and what needs an operator, of all tenants: numbers only. A count stops at 100,000. Overdue is the time for
-- which the next one could have been taken: what waits for its next attempt, or behind an earlier one, is not.

CREATE INDEX workflow_runtime_events_dead ON workflow_runtime_events (tenant) WHERE status = 'dead';
CREATE INDEX workflow_event_deliveries_dead ON workflow_event_deliveries (tenant) WHERE status = 'dead';
CREATE INDEX workflow_event_claims_parked ON workflow_event_claims (tenant) WHERE parked;
CREATE INDEX workflow_runs_open ON workflow_runs (status) WHERE status IN ('STARTING', 'RUNNING', 'WAITING');

GRANT SELECT (tenant, parked) ON workflow_event_claims TO workflow_definer;
CREATE POLICY narrow_functions ON workflow_event_claims TO workflow_definer USING (true);

CREATE FUNCTION workflow_backlog()
RETURNS TABLE (
    events_pending integer, event_overdue_seconds double precision, events_dead integer,
    deliveries_new integer, delivery_overdue_seconds double precision, deliveries_dead integer, claims_parked integer,
    runs_starting integer, runs_running integer, runs_waiting integer)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT
        (SELECT count(*) FROM (SELECT 1 FROM workflow_runtime_events WHERE status = 'pending' LIMIT 100000) AS x)::integer,
        coalesce((SELECT extract(epoch FROM clock_timestamp() - e.next_attempt_at) FROM workflow_runtime_events e
                   WHERE e.status = 'pending' AND e.next_attempt_at <= now()
                   ORDER BY e.created_at, e.event_id LIMIT 1), 0)::double precision,
        (SELECT count(*) FROM (SELECT 1 FROM workflow_runtime_events WHERE status = 'dead' LIMIT 100000) AS x)::integer,
        (SELECT count(*) FROM (SELECT 1 FROM workflow_event_deliveries WHERE status = 'new' LIMIT 100000) AS x)::integer,
        coalesce((SELECT extract(epoch FROM clock_timestamp() - d.next_attempt_at) FROM workflow_event_deliveries d
                   WHERE d.status = 'new' AND d.next_attempt_at <= now() AND NOT EXISTS (
                       SELECT 1 FROM workflow_event_deliveries e
                        WHERE e.tenant = d.tenant AND e.run_id = d.run_id AND e.key IS NOT DISTINCT FROM d.key
                          AND e.status = 'new' AND e.ordinal < d.ordinal)
                   ORDER BY d.ordinal LIMIT 1), 0)::double precision,
        (SELECT count(*) FROM (SELECT 1 FROM workflow_event_deliveries WHERE status = 'dead' LIMIT 100000) AS x)::integer,
        (SELECT count(*) FROM (SELECT 1 FROM workflow_event_claims WHERE parked LIMIT 100000) AS x)::integer,
        (SELECT count(*) FROM (SELECT 1 FROM workflow_runs WHERE status = 'STARTING' LIMIT 100000) AS x)::integer,
        (SELECT count(*) FROM (SELECT 1 FROM workflow_runs WHERE status = 'RUNNING' LIMIT 100000) AS x)::integer,
        (SELECT count(*) FROM (SELECT 1 FROM workflow_runs WHERE status = 'WAITING' LIMIT 100000) AS x)::integer
$$;

GRANT CREATE ON SCHEMA public TO workflow_definer;
ALTER FUNCTION workflow_backlog() OWNER TO workflow_definer;
REVOKE CREATE ON SCHEMA public FROM workflow_definer;
REVOKE ALL ON FUNCTION workflow_backlog() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION workflow_backlog() TO workflow_runtime;
