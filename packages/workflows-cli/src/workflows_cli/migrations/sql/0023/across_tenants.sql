-- The narrow functions: they see all tenants and return identifiers or numbers only. See docs/adr/0005.

-- What they need and nothing more.
DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY[
        'tenant_workflow_schedule', 'workflow_api_tokens', 'workflow_definitions', 'workflow_event_claims',
        'workflow_event_deliveries', 'workflow_runs', 'workflow_runtime_events', 'workflow_tasks'
    ] LOOP
        EXECUTE format('CREATE POLICY narrow_functions ON %I TO workflow_definer USING (true)', t);
    END LOOP;
END $$;
GRANT SELECT (tenant, id, revision, synced_revision) ON tenant_workflow_schedule TO workflow_definer;
GRANT SELECT (tenant, token_id, name, role, token_hash, expires_at, revoked_at, last_used_at), UPDATE (last_used_at)
    ON workflow_api_tokens TO workflow_definer;
GRANT SELECT (tenant, workflow_id, is_paused, concurrency_limit) ON workflow_definitions TO workflow_definer;
GRANT SELECT (tenant, parked) ON workflow_event_claims TO workflow_definer;
GRANT SELECT (tenant, delivery_id, event_id, run_id, target_kind, target_id, key, status, next_attempt_at, ordinal)
    ON workflow_event_deliveries TO workflow_definer;
GRANT SELECT (tenant, run_id, workflow_id, status, started_at, updated_at) ON workflow_runs TO workflow_definer;
GRANT SELECT (tenant, event_id, status, next_attempt_at, created_at) ON workflow_runtime_events TO workflow_definer;
GRANT SELECT (tenant, task_id, status, remind_at) ON workflow_tasks TO workflow_definer;

-- Events that wait to be routed, oldest first.
CREATE FUNCTION workflow_pending_events(p_limit integer)
RETURNS TABLE (tenant text, event_id text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT e.tenant, e.event_id
      FROM workflow_runtime_events e
     WHERE e.status = 'pending' AND e.next_attempt_at <= now()
     ORDER BY e.created_at, e.event_id
     LIMIT p_limit
$$;

-- Deliveries that wait to be sent. One is ready once the earlier ones of its key to the same target
-- run have left `new`, so a wedged run blocks neither its key for others nor other keys.
CREATE FUNCTION workflow_ready_deliveries(p_limit integer)
RETURNS TABLE (tenant text, delivery_id text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT d.tenant, d.delivery_id
      FROM workflow_event_deliveries d
     WHERE d.status = 'new' AND d.next_attempt_at <= now()
       AND NOT EXISTS (
           SELECT 1 FROM workflow_event_deliveries e
            WHERE e.tenant = d.tenant AND e.run_id = d.run_id AND e.key IS NOT DISTINCT FROM d.key
              AND e.status = 'new' AND e.ordinal < d.ordinal)
     ORDER BY d.ordinal
     LIMIT p_limit
$$;

-- What waits and what needs an operator, of all tenants: numbers only. A count stops at 100,000. Overdue is the time for which the
-- next one could have been taken: what waits for its next attempt, or behind an earlier one, is not.
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

-- How many runs are QUEUED, for a metric.
CREATE FUNCTION workflow_queued_runs()
RETURNS integer
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT count(*)::integer FROM (SELECT 1 FROM workflow_runs WHERE status = 'QUEUED' LIMIT 100000) AS x
$$;

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

-- Open runs that nothing was heard of for a while. In the order of tenant and id, after a given one, so that passes go round.
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

-- Schedules whose Temporal Schedule is behind; with `p_all` every one, since somebody may have deleted that by hand.
CREATE FUNCTION workflow_schedules_behind(p_all boolean, p_limit integer)
RETURNS TABLE (tenant text, id text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT s.tenant, s.id FROM tenant_workflow_schedule s
     WHERE p_all OR s.synced_revision < s.revision
     ORDER BY s.tenant, s.id
     LIMIT p_limit
$$;

-- Open tasks whose people are to be reminded now.
CREATE FUNCTION workflow_tasks_to_remind(p_limit integer)
RETURNS TABLE (tenant text, task_id text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT t.tenant, t.task_id FROM workflow_tasks t
     WHERE t.remind_at <= now() AND t.status IN ('pending', 'claimed')
     ORDER BY t.remind_at
     LIMIT p_limit
$$;

-- Whose token has this hash, while it is good: a request has no tenant before this answers.
CREATE FUNCTION workflow_api_token(p_hash bytea)
RETURNS TABLE (tenant text, token_id text, name text, role text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE workflow_api_tokens t SET last_used_at = now()
     WHERE t.token_hash = p_hash AND t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > now())
       AND (t.last_used_at IS NULL OR t.last_used_at < now() - interval '1 minute');
    RETURN QUERY
        SELECT t.tenant, t.token_id, t.name, t.role FROM workflow_api_tokens t
         WHERE t.token_hash = p_hash AND t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > now());
END $$;

-- Their new owner needs CREATE on the schema for this moment. Who may call them is said as that owner: a migrating role that is
-- no superuser cannot take from everybody what is not its own, and is told so by a warning only.
GRANT CREATE ON SCHEMA public TO workflow_definer;
DO $$
DECLARE
    f regprocedure;
BEGIN
    FOR f IN SELECT p.oid::regprocedure FROM pg_proc p
              WHERE p.prosecdef AND p.proname LIKE 'workflow\_%' AND p.pronamespace = 'public'::regnamespace LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO workflow_definer', f);
    END LOOP;
END $$;
REVOKE CREATE ON SCHEMA public FROM workflow_definer;

SET LOCAL ROLE workflow_definer;
DO $$
DECLARE
    f regprocedure;
BEGIN
    FOR f IN SELECT p.oid::regprocedure FROM pg_proc p
              WHERE p.proowner = 'workflow_definer'::regrole AND p.pronamespace = 'public'::regnamespace LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', f,
            CASE WHEN f = 'workflow_api_token(bytea)'::regprocedure THEN 'workflow_application' ELSE 'workflow_runtime' END);
    END LOOP;
END $$;
RESET ROLE;
