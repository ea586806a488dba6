-- Who routes an event sends what it leads to: its deliveries are left to the router's process for the time of a lease, and
-- nobody has to look for them first.

-- For `workflow_ready_deliveries` and the like: whether another one of the key and run is before a delivery.
CREATE INDEX workflow_event_deliveries_before ON workflow_event_deliveries (tenant, run_id, key) WHERE status = 'new';

-- As `workflow_take_event`, with what a delivery shows of its event.
CREATE FUNCTION workflow_take_pending_event(p_tenant text, p_event_id text) RETURNS jsonb
LANGUAGE plpgsql AS $$
BEGIN
    RETURN workflow_take_event(p_tenant, p_event_id) || (
        SELECT jsonb_build_object('tenant', e.tenant, 'created_at', e.created_at)
          FROM workflow_runtime_events e WHERE e.tenant = p_tenant AND e.event_id = p_event_id);
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
    RETURN coalesce(workflow_take_pending_event(due.tenant, due.event_id), '{}');
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
    WITH wanted AS (
        SELECT d.*, row_number() OVER (PARTITION BY d.run_id, d.key ORDER BY d.ordinal) = 1 AND NOT EXISTS (
                   SELECT 1 FROM workflow_event_deliveries o
                    WHERE o.tenant = p_tenant AND o.run_id = d.run_id AND o.key IS NOT DISTINCT FROM d.key
                      AND o.status = 'new') AS is_first
          FROM ROWS FROM (jsonb_to_recordset(p_deliveries)
                   AS (delivery_id text, event_id text, target_kind text, target_id text, run_id text, key text))
               WITH ORDINALITY AS d(delivery_id, event_id, target_kind, target_id, run_id, key, ordinal)
    ), added AS (
        INSERT INTO workflow_event_deliveries AS x
            (tenant, delivery_id, event_id, target_kind, target_id, run_id, key, next_attempt_at)
        SELECT p_tenant, w.delivery_id, w.event_id, w.target_kind, w.target_id, w.run_id, w.key,
               clock_timestamp() + make_interval(secs => CASE WHEN w.is_first THEN p_lease ELSE 0 END)
          FROM wanted w ORDER BY w.ordinal
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
