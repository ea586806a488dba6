-- An event may concern more waits than one statement has time for: the router takes them a page at a time, in its one transaction.
-- Builds of before take all of them at once; what they call is made of the same pieces.

-- Pages are in the order of this index, so that none costs more than what it answers.
-- At once with the lock that taking away the other one needs: writes that read the table first would wait for each other with this.
LOCK TABLE workflow_run_waits IN ACCESS EXCLUSIVE MODE;
CREATE INDEX workflow_run_waits_open_in_order ON workflow_run_waits (tenant, event_name, key, created_at, wait_id)
    WHERE status = 'WAITING';
DROP INDEX workflow_run_waits_open;

-- The open waits for an event's name and one of its keys, oldest first, with the cardinality of each, but none of a run that has
-- consumed this event already: at most so many (NULL for all), behind a given one. Of an event that is routed again only waits for
-- one are candidates, whose window holds the first routing, and none once it has a claim. The caller holds the keys' locks.
CREATE FUNCTION workflow_waits_of_event(
    p_tenant text, p_event_id text, p_event_name text, p_keys text[], p_after timestamptz, p_after_id text, p_most integer)
RETURNS jsonb
LANGUAGE plpgsql SET enable_sort = off SET enable_bitmapscan = off SET enable_seqscan = off AS $$
DECLARE
    claimed boolean := EXISTS (SELECT 1 FROM workflow_event_claims c WHERE c.tenant = p_tenant AND c.event_id = p_event_id);
    before  timestamptz;  -- when it was routed first
BEGIN
    SELECT e.processed_at INTO before FROM workflow_runtime_events e WHERE e.tenant = p_tenant AND e.event_id = p_event_id;
    RETURN (
        SELECT coalesce(jsonb_agg(to_jsonb(w) ORDER BY w.created_at, w.wait_id), '[]') FROM (
            SELECT f.* FROM (SELECT DISTINCT k.key FROM unnest(p_keys) AS k(key)) AS k, LATERAL (
                SELECT o.wait_id, o.run_id, o.event_name, o.key, o.filters, o.created_at, o.match
                  FROM workflow_run_waits o
                 WHERE o.tenant = p_tenant AND o.event_name = p_event_name AND o.key = k.key
                   AND o.status = 'WAITING'
                   AND o.created_at >= p_after AND (o.created_at, o.wait_id) > (p_after, p_after_id)
                   AND CASE o.match WHEN 'all' THEN before IS NULL
                       ELSE NOT claimed AND (before IS NULL OR o.look_back_from <= before) END
                   -- Looked up for each: a join would go by statistics, which know nothing of the pages before.
                   AND (SELECT 1 FROM workflow_event_deliveries d
                         WHERE d.tenant = p_tenant AND d.target_kind = 'wait' AND d.target_id = o.wait_id
                           AND d.status IN ('new', 'accepted') LIMIT 1) IS NULL
                   AND (SELECT 1 FROM workflow_run_waits c
                         WHERE c.tenant = p_tenant AND c.run_id = o.run_id AND c.matched_event_id = p_event_id
                         LIMIT 1) IS NULL
                 ORDER BY o.created_at, o.wait_id LIMIT p_most) AS f
             ORDER BY f.created_at, f.wait_id LIMIT p_most
        ) AS w);
END $$;

-- Takes the event's keys, then the event, and answers the first of `workflow_waits_of_event`. NULL when the event is not pending
-- any more: another router was quicker.
CREATE FUNCTION workflow_claim_event(
    p_tenant text, p_event_id text, p_event_name text, p_keys text[], p_most integer)
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
    RETURN workflow_waits_of_event(p_tenant, p_event_id, p_event_name, p_keys, '-infinity', '', p_most);
END $$;

-- As of before, with the first so many of the waits.
CREATE FUNCTION workflow_take_pending_event(p_tenant text, p_event_id text, p_most integer) RETURNS jsonb
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
        waits := workflow_claim_event(p_tenant, p_event_id, e.event_name, e.correlation_keys, p_most);
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

CREATE FUNCTION workflow_take_next_event(p_most integer) RETURNS jsonb
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
    RETURN coalesce(workflow_take_pending_event(due.tenant, due.event_id, p_most), '{}');
END $$;

-- For builds of before.
CREATE OR REPLACE FUNCTION workflow_claim_event(p_tenant text, p_event_id text, p_event_name text, p_keys text[])
RETURNS jsonb
LANGUAGE sql AS $$ SELECT workflow_claim_event(p_tenant, p_event_id, p_event_name, p_keys, NULL) $$;
CREATE OR REPLACE FUNCTION workflow_take_pending_event(p_tenant text, p_event_id text) RETURNS jsonb
LANGUAGE sql AS $$ SELECT workflow_take_pending_event(p_tenant, p_event_id, NULL) $$;
CREATE OR REPLACE FUNCTION workflow_take_next_event() RETURNS jsonb
LANGUAGE sql AS $$ SELECT workflow_take_next_event(NULL) $$;
