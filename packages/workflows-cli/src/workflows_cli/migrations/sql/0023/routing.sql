-- Routing, in one transaction per event: workflow_take_next_event or workflow_take_pending_event, the filters (one predicate, in
-- Python), workflow_claim for waits with `match: one`, then workflow_settle_event. See docs/adr/0006.
--
-- Hints (`pg_notify`) say what there is to do: `event` (to route) or `delivery` (to send).

-- New deliveries, one per event and target; whoever is there already stays. Wakes the sender at commit. A delivery may be left to
-- the one who adds it for a while: what a run finds when it opens a wait is handed to it with the answer to that write, and only
-- sent when it has not said in time that it has it.
CREATE FUNCTION workflow_add_deliveries(p_tenant text, p_deliveries jsonb) RETURNS integer
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

-- Takes the event's keys, then the event, and answers the open waits for its name and one of its keys, oldest first, with the
-- cardinality of each, but none of a run that has consumed this event already. NULL when the event is not pending any more: another
-- router was quicker. Of an event that is routed again only waits for one are candidates, whose window holds the first routing, and
-- none once it has a claim.
CREATE FUNCTION workflow_claim_event(p_tenant text, p_event_id text, p_event_name text, p_keys text[])
RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    before  timestamptz;  -- when it was routed first
    claimed boolean;
BEGIN
    PERFORM workflow_lock_keys(p_tenant, array_fill(p_event_name, ARRAY[cardinality(p_keys)]), p_keys);
    SELECT e.processed_at INTO before FROM workflow_runtime_events e
      WHERE e.tenant = p_tenant AND e.event_id = p_event_id AND e.status = 'pending' FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    UPDATE workflow_runtime_events e SET correlation_keys = p_keys, correlation_key = p_keys[1]
     WHERE e.tenant = p_tenant AND e.event_id = p_event_id AND e.correlation_keys <> p_keys;
    claimed := EXISTS (SELECT 1 FROM workflow_event_claims c WHERE c.tenant = p_tenant AND c.event_id = p_event_id);
    RETURN (
        SELECT coalesce(jsonb_agg(to_jsonb(w) ORDER BY w.created_at, w.wait_id), '[]') FROM (
            SELECT o.wait_id, o.run_id, o.event_name, o.key, o.filters, o.created_at, o.match
              FROM workflow_run_waits o
             WHERE o.tenant = p_tenant AND o.event_name = p_event_name AND o.key = ANY (p_keys)
               AND o.status = 'WAITING'
               AND CASE o.match WHEN 'all' THEN before IS NULL
                   ELSE NOT claimed AND (before IS NULL OR o.look_back_from <= before) END
               AND NOT EXISTS (
                   SELECT 1 FROM workflow_event_deliveries d
                    WHERE d.tenant = p_tenant AND d.target_kind = 'wait' AND d.target_id = o.wait_id
                      AND d.status IN ('new', 'accepted'))
               AND NOT EXISTS (
                   SELECT 1 FROM workflow_run_waits c
                    WHERE c.tenant = p_tenant AND c.run_id = o.run_id AND c.matched_event_id = p_event_id)
        ) AS w);
END $$;

-- True when the wait has the event now; the caller holds the key's lock.
CREATE FUNCTION workflow_claim(p_tenant text, p_event_id text, p_wait_id text, p_run_id text) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO workflow_event_claims (tenant, event_id, wait_id, run_id)
    VALUES (p_tenant, p_event_id, p_wait_id, p_run_id)
    ON CONFLICT DO NOTHING;
    RETURN FOUND;
END $$;

-- One round trip for what routing needs: the event, what its payload is held to, the workflows that it starts, and, where its
-- publisher named keys, the claim of `workflow_claim_event` (`waits`; NULL where the keys are still to be derived). NULL when the
-- event is not pending any more. Sets the transaction's tenant. Where there are more keys than the server may have locks for none
-- is locked: the router has its verdict.
CREATE FUNCTION workflow_take_pending_event(p_tenant text, p_event_id text) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    most_keys CONSTANT integer := 1000;
    e         workflow_runtime_events;
    waits     jsonb;
BEGIN
    PERFORM set_config('workflows.tenant', p_tenant, true);
    SELECT * INTO e FROM workflow_runtime_events x
      WHERE x.tenant = p_tenant AND x.event_id = p_event_id AND x.status = 'pending';
    IF e.event_id IS NULL THEN
        RETURN NULL;
    END IF;
    IF e.error_message IS NOT NULL THEN
        -- It stays the first of its keys: who holds one of them for long must not keep the events of others waiting each time.
        PERFORM set_config('lock_timeout', '200ms', true);
    END IF;
    IF cardinality(e.correlation_keys) BETWEEN 1 AND most_keys THEN
        waits := workflow_claim_event(p_tenant, p_event_id, e.event_name, e.correlation_keys);
        IF waits IS NULL THEN
            RETURN NULL;
        END IF;
    END IF;
    RETURN jsonb_build_object(
        'tenant', p_tenant, 'created_at', e.created_at, 'event_id', e.event_id, 'event_name', e.event_name, 'correlation_key', e.correlation_key,
        'correlation_keys', to_jsonb(e.correlation_keys), 'payload', e.payload, 'payload_schema_ref', e.payload_schema_ref,
        'attempts', e.attempts, 'again', e.processed_at IS NOT NULL, 'waits', waits,
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
    RETURN coalesce(workflow_take_pending_event(due.tenant, due.event_id), '{}');
END $$;

-- The event is routed, with its deliveries; answers which of these are the caller's to send for the time of the lease. Not one
-- that has to wait for another of its key to the same run.
--
-- The time of routing is this moment's and not the transaction's, since look-back goes by it, and that of the first routing where
-- an event comes here again because its claim was released. Under the lock of its keys an event is behind every position of them;
-- one that is not takes those positions away, be it that the clock was set back or that it comes again.
CREATE FUNCTION workflow_settle_event(p_tenant text, p_event_id text, p_deliveries jsonb, p_lease double precision)
RETURNS text[]
LANGUAGE plpgsql AS $$
DECLARE
    mine   text[];
    others bigint;
    e      workflow_runtime_events;
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
    UPDATE workflow_runtime_events x SET
        status = 'routed', processed_at = coalesce(x.processed_at, clock_timestamp()), error_message = NULL
     WHERE x.tenant = p_tenant AND x.event_id = p_event_id
    RETURNING * INTO e;
    DELETE FROM workflow_run_positions p
     WHERE p.tenant = p_tenant AND p.event_name = e.event_name AND p.key = ANY (e.correlation_keys)
       AND p.processed_at >= e.processed_at;
    DELETE FROM workflow_claim_positions p
     WHERE p.tenant = p_tenant AND p.event_name = e.event_name AND p.key = ANY (e.correlation_keys)
       AND p.processed_at >= e.processed_at;
    RETURN mine;
END $$;

-- What an operator may set going again: an event that is dead, deliveries that are dead, a claim whose outcome nobody knows. Answers
-- how many of each.
CREATE FUNCTION workflow_requeue_event(p_tenant text, p_event_id text) RETURNS jsonb
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
