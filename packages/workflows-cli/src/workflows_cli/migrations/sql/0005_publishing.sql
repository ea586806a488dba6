-- Publishing refuses what nothing could route: a key or a payload that is too large, an id that is taken by another content.

-- For the application's own transaction, in any language: the event is published if and only if that
-- transaction commits. Answers false when (tenant, event_id) was published before; with another content it is refused.
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
        PERFORM pg_notify('workflow_events', '');
    END IF;
    RETURN inserted = 1;
END $$;
