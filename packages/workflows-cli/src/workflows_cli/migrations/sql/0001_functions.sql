-- Functions of revision 0001. The narrow ones run as workflow_definer and return identifiers only.

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

-- The lock of (tenant, event name, key): publish takes none, router and run writes take all they
-- touch, in sorted order, before any event row.
CREATE FUNCTION workflow_lock_keys(p_tenant text, p_names text[], p_keys text[])
RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    k bigint;
BEGIN
    FOR k IN
        SELECT DISTINCT hashtextextended(p_tenant || E'\x1f' || n || E'\x1f' || coalesce(v, ''), 7)
          FROM unnest(p_names, p_keys) AS pairs(n, v)
         ORDER BY 1
    LOOP
        PERFORM pg_advisory_xact_lock(k);
    END LOOP;
END $$;

-- For the application's own transaction, in any language: the event is published if and only if that
-- transaction commits. Answers false when (tenant, event_id) was published before.
CREATE FUNCTION workflow_publish_event(
    p_tenant text,
    p_event_id text,
    p_event_name text,
    p_payload jsonb DEFAULT '{}',
    p_correlation_key text DEFAULT NULL,
    p_correlation_keys text[] DEFAULT NULL,
    p_payload_schema_ref text DEFAULT NULL,
    p_occurred_at timestamptz DEFAULT NULL)
RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    inserted integer;
    keys text[] := coalesce(p_correlation_keys,
                            CASE WHEN p_correlation_key IS NULL THEN '{}' ELSE ARRAY[p_correlation_key] END);
    before text := current_setting('workflows.tenant', true);
BEGIN
    IF coalesce(p_tenant, '') = '' OR coalesce(p_event_id, '') = '' OR coalesce(p_event_name, '') = '' THEN
        RAISE EXCEPTION 'EVENT_INVALID: tenant, event id and event name must not be empty'
            USING ERRCODE = 'check_violation';
    END IF;
    PERFORM set_config('workflows.tenant', p_tenant, true);
    INSERT INTO workflow_runtime_events
        (tenant, event_id, event_name, correlation_key, correlation_keys, payload, payload_schema_ref, occurred_at)
    VALUES (p_tenant, p_event_id, p_event_name, keys[1], keys, p_payload, p_payload_schema_ref, p_occurred_at)
    ON CONFLICT (tenant, event_id) DO NOTHING;
    GET DIAGNOSTICS inserted = ROW_COUNT;
    PERFORM set_config('workflows.tenant', coalesce(before, ''), true);
    IF inserted = 1 THEN
        PERFORM pg_notify('workflow_events', '');
    END IF;
    RETURN inserted = 1;
END $$;

-- The new owner of a function needs CREATE on its schema for this moment.
GRANT CREATE ON SCHEMA public TO workflow_definer;
ALTER FUNCTION workflow_pending_events(integer) OWNER TO workflow_definer;
ALTER FUNCTION workflow_ready_deliveries(integer) OWNER TO workflow_definer;
REVOKE CREATE ON SCHEMA public FROM workflow_definer;
REVOKE ALL ON FUNCTION workflow_pending_events(integer), workflow_ready_deliveries(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION workflow_pending_events(integer), workflow_ready_deliveries(integer) TO workflow_runtime;
