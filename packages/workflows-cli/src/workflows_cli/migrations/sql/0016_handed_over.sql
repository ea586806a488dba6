-- Who routes an event sends what it leads to: its deliveries are left to the router's process for the time of a lease, as those
-- that a run's write hands over are (revision 0012), so that nobody has to look for them first.

-- As in revision 0005, with what a delivery shows of its event.
CREATE OR REPLACE FUNCTION workflow_take_event(p_tenant text, p_event_id text) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    e     workflow_runtime_events;
    waits jsonb;
BEGIN
    PERFORM set_config('workflows.tenant', p_tenant, true);
    SELECT * INTO e FROM workflow_runtime_events x
      WHERE x.tenant = p_tenant AND x.event_id = p_event_id AND x.status = 'pending';
    IF e.event_id IS NULL THEN
        RETURN NULL;
    END IF;
    IF cardinality(e.correlation_keys) > 0 THEN
        waits := workflow_claim_event(p_tenant, p_event_id, e.event_name, e.correlation_keys);
        IF waits IS NULL THEN
            RETURN NULL;
        END IF;
    END IF;
    RETURN jsonb_build_object(
        'tenant', e.tenant, 'event_id', e.event_id, 'event_name', e.event_name, 'correlation_key', e.correlation_key,
        'correlation_keys', to_jsonb(e.correlation_keys), 'payload', e.payload, 'payload_schema_ref', e.payload_schema_ref,
        'created_at', e.created_at, 'attempts', e.attempts, 'again', e.processed_at IS NOT NULL, 'waits', waits,
        'schema', (SELECT jsonb_build_object('ref', s.ref, 'json', s.schema_json) FROM workflow_payload_schemas s
                    WHERE s.tenant = p_tenant AND s.ref = coalesce(e.payload_schema_ref, (
                        SELECT c.payload_schema_ref FROM event_catalog c
                         WHERE c.tenant = p_tenant AND c.event_type = e.event_name))),
        'starts', (SELECT coalesce(jsonb_agg(d.workflow_id ORDER BY d.workflow_id), '[]') FROM workflow_definitions d
                    WHERE d.tenant = p_tenant AND d.trigger_event_name = e.event_name AND d.published_version IS NOT NULL));
END $$;

-- The oldest event that is due, of any tenant. NULL when there is none, an empty object when another router was quicker.
CREATE FUNCTION workflow_take_next_event() RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    due record;
BEGIN
    SELECT p.tenant, p.event_id INTO due FROM workflow_pending_events(1) AS p;
    IF due.event_id IS NULL THEN
        RETURN NULL;
    END IF;
    -- Who holds its key or row for longer must not keep the events of others waiting.
    PERFORM set_config('lock_timeout', '100ms', true);
    RETURN coalesce(workflow_take_event(due.tenant, due.event_id), '{}');
END $$;

-- As with three arguments; answers which deliveries are the caller's to send. Not one that has to wait for another of its key
-- to the same run.
CREATE FUNCTION workflow_settle_event(p_tenant text, p_event_id text, p_deliveries jsonb, p_lease double precision)
RETURNS text[]
LANGUAGE plpgsql AS $$
DECLARE
    mine   text[];
    others bigint;
BEGIN
    WITH added AS (
        INSERT INTO workflow_event_deliveries AS x
            (tenant, delivery_id, event_id, target_kind, target_id, run_id, key, next_attempt_at)
        SELECT p_tenant, d.delivery_id, d.event_id, d.target_kind, d.target_id, d.run_id, d.key,
               clock_timestamp() + make_interval(secs => CASE WHEN EXISTS (
                   SELECT 1 FROM workflow_event_deliveries o
                    WHERE o.tenant = p_tenant AND o.run_id = d.run_id AND o.key IS NOT DISTINCT FROM d.key
                      AND o.status = 'new') THEN 0 ELSE p_lease END)
          FROM jsonb_to_recordset(p_deliveries)
            AS d(delivery_id text, event_id text, target_kind text, target_id text, run_id text, key text)
        ON CONFLICT (tenant, event_id, target_kind, target_id) DO NOTHING
        RETURNING x.delivery_id AS id, x.next_attempt_at > clock_timestamp() AS leased)
    SELECT coalesce(array_agg(a.id) FILTER (WHERE a.leased), '{}'), count(*) FILTER (WHERE NOT a.leased)
      INTO mine, others FROM added a;
    IF others > 0 THEN
        PERFORM pg_notify('workflow_events', 'delivery');
    END IF;
    PERFORM workflow_settle_event(p_tenant, p_event_id, '[]'::jsonb);
    RETURN mine;
END $$;
