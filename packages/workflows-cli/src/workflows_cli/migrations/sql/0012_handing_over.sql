-- Hints say what there is to do: `event` (to route) or `delivery` (to send). Builds of before look at everything at any hint.
-- A delivery may be left to the one who adds it for a while: what a run finds when it opens a wait is handed to it with the
-- answer to that write, and only sent when it has not said in time that it has it.

CREATE OR REPLACE FUNCTION workflow_add_deliveries(p_tenant text, p_deliveries jsonb) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    added integer;
BEGIN
    INSERT INTO workflow_event_deliveries
        (tenant, delivery_id, event_id, target_kind, target_id, run_id, key, next_attempt_at)
    SELECT p_tenant, d.delivery_id, d.event_id, d.target_kind, d.target_id, d.run_id, d.key,
           clock_timestamp() + make_interval(secs => coalesce(d.left_for, 0))
      FROM jsonb_to_recordset(p_deliveries)
        AS d(delivery_id text, event_id text, target_kind text, target_id text, run_id text, key text,
             left_for double precision)
    ON CONFLICT (tenant, event_id, target_kind, target_id) DO NOTHING;
    GET DIAGNOSTICS added = ROW_COUNT;
    IF added > 0 AND EXISTS (SELECT 1 FROM jsonb_array_elements(p_deliveries) AS d WHERE NOT d ? 'left_for') THEN
        PERFORM pg_notify('workflow_events', 'delivery');
    END IF;
    RETURN added;
END $$;

-- As in revision 0005, with their hints.
CREATE OR REPLACE FUNCTION workflow_release_claims(p_tenant text, p_run text, p_park boolean) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF p_park THEN
        UPDATE workflow_event_claims c SET parked = true
          FROM workflow_run_waits w
         WHERE c.tenant = p_tenant AND c.run_id = p_run AND w.tenant = p_tenant AND w.wait_id = c.wait_id
           AND w.status <> 'WAITING' AND w.matched_event_id IS DISTINCT FROM c.event_id;
        RETURN;
    END IF;
    WITH freed AS (
        DELETE FROM workflow_event_claims c USING workflow_run_waits w
         WHERE c.tenant = p_tenant AND c.run_id = p_run AND NOT c.parked AND w.tenant = p_tenant
           AND w.wait_id = c.wait_id AND w.status <> 'WAITING' AND w.matched_event_id IS DISTINCT FROM c.event_id
        RETURNING c.event_id)
    UPDATE workflow_runtime_events e SET status = 'pending', attempts = 0, next_attempt_at = clock_timestamp()
      FROM freed WHERE e.tenant = p_tenant AND e.event_id = freed.event_id;
    IF FOUND THEN
        PERFORM pg_notify('workflow_events', 'event');
    END IF;
END $$;

CREATE OR REPLACE FUNCTION workflow_requeue_event(p_tenant text, p_event_id text) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    e        workflow_runtime_events;
    freed    integer;
    revived  integer;
    was_dead boolean;
BEGIN
    SELECT * INTO e FROM workflow_runtime_events x WHERE x.tenant = p_tenant AND x.event_id = p_event_id;
    IF e.event_id IS NULL THEN
        RETURN NULL;
    END IF;
    PERFORM workflow_lock_keys(p_tenant, array_fill(e.event_name, ARRAY[cardinality(e.correlation_keys)]), e.correlation_keys);
    DELETE FROM workflow_event_claims c WHERE c.tenant = p_tenant AND c.event_id = p_event_id AND c.parked;
    GET DIAGNOSTICS freed = ROW_COUNT;
    UPDATE workflow_runtime_events x SET
        status = 'pending', attempts = 0, error_message = NULL, next_attempt_at = clock_timestamp()
     WHERE x.tenant = p_tenant AND x.event_id = p_event_id AND (x.status = 'dead' OR freed > 0);
    was_dead := FOUND AND freed = 0;
    UPDATE workflow_event_deliveries d SET status = 'new', attempts = 0, reason = NULL, next_attempt_at = clock_timestamp()
     WHERE d.tenant = p_tenant AND d.event_id = p_event_id AND d.status = 'dead';
    GET DIAGNOSTICS revived = ROW_COUNT;
    PERFORM pg_notify('workflow_events', 'event'), pg_notify('workflow_events', 'delivery');
    RETURN jsonb_build_object('event', was_dead, 'deliveries', revived, 'claims', freed);
END $$;

CREATE OR REPLACE FUNCTION workflow_publish_event(
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
    IF EXISTS (SELECT 1 FROM unnest(keys) AS k WHERE length(k) > 1024) THEN
        RAISE EXCEPTION 'EVENT_INVALID: a correlation key has at most 1024 characters'
            USING ERRCODE = 'check_violation';
    END IF;
    IF octet_length(p_payload::text) > 524288 THEN
        RAISE EXCEPTION 'EVENT_INVALID: the payload has % bytes, at most 524288 are taken', octet_length(p_payload::text)
            USING ERRCODE = 'check_violation';
    END IF;
    PERFORM set_config('workflows.tenant', p_tenant, true);
    INSERT INTO workflow_runtime_events
        (tenant, event_id, event_name, correlation_key, correlation_keys, payload, payload_schema_ref, occurred_at)
    VALUES (p_tenant, p_event_id, p_event_name, keys[1], keys, p_payload, p_payload_schema_ref, p_occurred_at)
    ON CONFLICT (tenant, event_id) DO NOTHING;
    GET DIAGNOSTICS inserted = ROW_COUNT;
    IF inserted = 0 AND EXISTS (
        SELECT 1 FROM workflow_runtime_events e
         WHERE e.tenant = p_tenant AND e.event_id = p_event_id
           AND (e.event_name <> p_event_name OR e.payload <> p_payload
                OR (cardinality(keys) > 0 AND e.correlation_keys <> keys))) THEN
        RAISE EXCEPTION 'event % was published before with another name, key or payload; that one stands', p_event_id
            USING ERRCODE = 'WF002';
    END IF;
    PERFORM set_config('workflows.tenant', coalesce(before, ''), true);
    IF inserted = 1 THEN
        PERFORM pg_notify('workflow_events', 'event');
    END IF;
    RETURN inserted = 1;
END $$;
