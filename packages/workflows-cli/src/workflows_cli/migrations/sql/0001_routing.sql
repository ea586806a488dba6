-- Routing, in one transaction per event: workflow_claim_event, the filters (one predicate, in Python), then
-- workflow_settle_event. See docs/adr/0006.

-- New deliveries, one per event and target; whoever is there already stays. Wakes the sender at commit.
CREATE FUNCTION workflow_add_deliveries(p_tenant text, p_deliveries jsonb) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    added integer;
BEGIN
    INSERT INTO workflow_event_deliveries (tenant, delivery_id, event_id, target_kind, target_id, run_id, key)
    SELECT p_tenant, d.delivery_id, d.event_id, d.target_kind, d.target_id, d.run_id, d.key
      FROM jsonb_to_recordset(p_deliveries)
        AS d(delivery_id text, event_id text, target_kind text, target_id text, run_id text, key text)
    ON CONFLICT (tenant, event_id, target_kind, target_id) DO NOTHING;
    GET DIAGNOSTICS added = ROW_COUNT;
    IF added > 0 THEN
        PERFORM pg_notify('workflow_events', '');
    END IF;
    RETURN added;
END $$;

-- Takes the event's keys, then the event, and answers the open waits for its name and one of its keys,
-- oldest first, but none of a run that has consumed this event already. NULL when the event is not
-- pending any more: another router was quicker.
CREATE FUNCTION workflow_claim_event(p_tenant text, p_event_id text, p_event_name text, p_keys text[])
RETURNS jsonb
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM workflow_lock_keys(p_tenant, array_fill(p_event_name, ARRAY[cardinality(p_keys)]), p_keys);
    PERFORM 1 FROM workflow_runtime_events e
      WHERE e.tenant = p_tenant AND e.event_id = p_event_id AND e.status = 'pending' FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    UPDATE workflow_runtime_events e SET correlation_keys = p_keys, correlation_key = p_keys[1]
     WHERE e.tenant = p_tenant AND e.event_id = p_event_id AND e.correlation_keys <> p_keys;
    RETURN (
        SELECT coalesce(jsonb_agg(to_jsonb(w) ORDER BY w.created_at, w.wait_id), '[]') FROM (
            SELECT o.wait_id, o.run_id, o.event_name, o.key, o.filters, o.created_at
              FROM workflow_run_waits o
             WHERE o.tenant = p_tenant AND o.event_name = p_event_name AND o.key = ANY (p_keys)
               AND o.status = 'WAITING'
               AND NOT EXISTS (
                   SELECT 1 FROM workflow_run_waits c
                    WHERE c.tenant = p_tenant AND c.run_id = o.run_id AND c.matched_event_id = p_event_id)
        ) AS w);
END $$;

-- The event is routed. The time is this moment's and not the transaction's: look-back goes by it.
CREATE FUNCTION workflow_settle_event(p_tenant text, p_event_id text, p_deliveries jsonb) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF jsonb_array_length(p_deliveries) > 0 THEN
        PERFORM workflow_add_deliveries(p_tenant, p_deliveries);
    END IF;
    UPDATE workflow_runtime_events e SET status = 'routed', processed_at = clock_timestamp(), error_message = NULL
     WHERE e.tenant = p_tenant AND e.event_id = p_event_id;
END $$;
