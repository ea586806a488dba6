-- The sender's two statements, one round trip each. It waits for nobody's rows: a run writes what it took in its own order, so that
-- the two would wait for each other where several deliveries of a run are on their way at once. What is passed over here is
-- somebody else's at this moment; should it stay `new`, it is sent when its lease is over.

-- Takes deliveries for a while.
CREATE FUNCTION workflow_take_deliveries(p_tenant text, p_ids text[], p_lease double precision)
RETURNS TABLE (
    delivery_id text, event_id text, target_kind text, target_id text, run_id text, key text, attempts integer,
    event_name text, correlation_key text, payload jsonb, payload_schema_ref text, created_at timestamptz,
    occurred_at timestamptz)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    PERFORM set_config('workflows.tenant', p_tenant, true);
    RETURN QUERY
        WITH free AS MATERIALIZED (
            SELECT f.delivery_id AS id FROM workflow_event_deliveries f
             WHERE f.tenant = p_tenant AND f.delivery_id = ANY (p_ids)
               AND f.status = 'new' AND f.next_attempt_at <= clock_timestamp()
               FOR NO KEY UPDATE SKIP LOCKED)
        UPDATE workflow_event_deliveries d SET next_attempt_at = clock_timestamp() + make_interval(secs => p_lease)
          FROM free, workflow_runtime_events e
         WHERE d.tenant = p_tenant AND d.delivery_id = free.id AND e.tenant = d.tenant AND e.event_id = d.event_id
        RETURNING d.delivery_id, d.event_id, d.target_kind, d.target_id, d.run_id, d.key, d.attempts,
                  e.event_name, e.correlation_key, e.payload, e.payload_schema_ref, e.created_at, e.occurred_at;
END $$;

-- Notes those that Temporal has: only what is still new, since the run may have been quicker.
CREATE FUNCTION workflow_accept_deliveries(p_tenant text, p_ids text[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('workflows.tenant', p_tenant, true);
    WITH free AS MATERIALIZED (
        SELECT f.delivery_id AS id FROM workflow_event_deliveries f
         WHERE f.tenant = p_tenant AND f.delivery_id = ANY (p_ids) AND f.status = 'new'
           FOR NO KEY UPDATE SKIP LOCKED)
    UPDATE workflow_event_deliveries d SET status = 'accepted', attempts = d.attempts + 1
      FROM free WHERE d.tenant = p_tenant AND d.delivery_id = free.id;
END $$;
