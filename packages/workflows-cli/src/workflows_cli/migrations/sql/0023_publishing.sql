-- As in revision 0019. What a repeat names of schema and time is content too, and held against the first; what it leaves out is
-- not, as with keys. Each key is a lock of its own while the event is routed, so there is a most of them. Whoever publishes may
-- look for tables of its own first.
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
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    most_key   CONSTANT integer := 2048;
    most_keys  CONSTANT integer := 100;
    most_id    CONSTANT integer := 1280;
    most_named CONSTANT integer := 2560;
    inserted   integer;
    keys       text[];
    longest    integer;
    named      integer := octet_length(p_tenant) + octet_length(p_event_id) + octet_length(p_event_name);
    before     text    := current_setting('workflows.tenant', true);
BEGIN
    IF coalesce(p_tenant, '') = '' OR coalesce(p_event_id, '') = '' OR coalesce(p_event_name, '') = '' THEN
        RAISE EXCEPTION 'EVENT_INVALID: tenant, event id and event name must not be empty'
            USING ERRCODE = 'check_violation';
    END IF;
    IF p_correlation_keys IS NULL THEN
        keys := array_remove(ARRAY[workflow_key_text(p_correlation_key)], NULL);
        longest := coalesce(octet_length(keys[1]), 0);
    ELSE
        keys := workflow_key_texts(p_correlation_keys);
        longest := coalesce((SELECT max(octet_length(k)) FROM unnest(keys) AS k), 0);
    END IF;
    IF cardinality(keys) > most_keys THEN
        RAISE EXCEPTION 'EVENT_INVALID: the event has % correlation keys, at most % are taken', cardinality(keys), most_keys
            USING ERRCODE = 'check_violation';
    END IF;
    IF longest > most_key THEN
        RAISE EXCEPTION 'EVENT_INVALID: the correlation key has % bytes, at most % are taken', longest, most_key
            USING ERRCODE = 'check_violation';
    END IF;
    IF octet_length(p_event_id) > most_id THEN
        RAISE EXCEPTION 'EVENT_INVALID: the event id has % bytes, at most % are taken', octet_length(p_event_id), most_id
            USING ERRCODE = 'check_violation';
    END IF;
    IF named + longest > most_named THEN
        RAISE EXCEPTION 'EVENT_INVALID: tenant, event id, event name and correlation key have % bytes together, at most % '
            'are taken', named + longest, most_named USING ERRCODE = 'check_violation';
    END IF;
    IF octet_length(p_payload::text) > 524288 THEN
        RAISE EXCEPTION 'EVENT_INVALID: the payload has % bytes, at most 524288 are taken', octet_length(p_payload::text)
            USING ERRCODE = 'check_violation';
    END IF;
    PERFORM set_config('workflows.tenant', p_tenant, true);
    INSERT INTO workflow_runtime_events
        (tenant, event_id, event_name, correlation_key, correlation_keys, payload, payload_schema_ref, occurred_at,
         created_at)
    VALUES (p_tenant, p_event_id, p_event_name, keys[1], keys, p_payload, p_payload_schema_ref, p_occurred_at,
            clock_timestamp())
    ON CONFLICT (tenant, event_id) DO NOTHING;
    GET DIAGNOSTICS inserted = ROW_COUNT;
    IF inserted = 0 AND EXISTS (
        SELECT 1 FROM workflow_runtime_events e
         WHERE e.tenant = p_tenant AND e.event_id = p_event_id
           AND (e.event_name <> p_event_name OR e.payload <> p_payload
                -- One of before revision 0019 may have its keys as they were given.
                OR (cardinality(keys) > 0 AND workflow_key_texts(e.correlation_keys) <> keys)
                OR (p_payload_schema_ref IS NOT NULL AND e.payload_schema_ref IS DISTINCT FROM p_payload_schema_ref)
                OR (p_occurred_at IS NOT NULL AND e.occurred_at IS DISTINCT FROM p_occurred_at))) THEN
        RAISE EXCEPTION 'event % was published before with another name, key, payload, schema or time; that one stands',
            p_event_id USING ERRCODE = 'WF002';
    END IF;
    PERFORM set_config('workflows.tenant', coalesce(before, ''), true);
    IF inserted = 1 THEN
        PERFORM pg_notify('workflow_events', 'event');
    END IF;
    RETURN inserted = 1;
END $$;

-- As in revision 0005. Of an event of before with more keys than the server may have locks for none is locked: the router has
-- its verdict.
CREATE OR REPLACE FUNCTION workflow_take_event(p_tenant text, p_event_id text) RETURNS jsonb
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
        'event_id', e.event_id, 'event_name', e.event_name, 'correlation_key', e.correlation_key,
        'correlation_keys', to_jsonb(e.correlation_keys), 'payload', e.payload, 'payload_schema_ref', e.payload_schema_ref,
        'attempts', e.attempts, 'again', e.processed_at IS NOT NULL, 'waits', waits,
        'schema', (SELECT jsonb_build_object('ref', s.ref, 'json', s.schema_json) FROM workflow_payload_schemas s
                    WHERE s.tenant = p_tenant AND s.ref = coalesce(e.payload_schema_ref, (
                        SELECT c.payload_schema_ref FROM event_catalog c
                         WHERE c.tenant = p_tenant AND c.event_type = e.event_name))),
        'starts', (SELECT coalesce(jsonb_agg(d.workflow_id ORDER BY d.workflow_id), '[]') FROM workflow_definitions d
                    WHERE d.tenant = p_tenant AND d.trigger_event_name = e.event_name AND d.published_version IS NOT NULL));
END $$;
