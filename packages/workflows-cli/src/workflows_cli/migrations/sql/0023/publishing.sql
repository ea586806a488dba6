-- Publishing refuses what nothing could route.

-- An event that no process could read would be found out by the router, attempt by attempt. It is refused where it is
-- published, in whichever language that is: numbers are those of JSON readers (double precision), nesting ends where it
-- does in `workflows_core.actions.json_text`, and times are those that every client has. The end of a run is never refused.
CREATE FUNCTION workflow_check_event() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF jsonb_path_exists(NEW.payload,
        'strict $.**{100 to last} ? (@.type() == "object" || @.type() == "array")') THEN
        RAISE EXCEPTION 'EVENT_INVALID: the payload is nested deeper than 100 levels' USING ERRCODE = 'check_violation';
    END IF;
    IF jsonb_path_exists(NEW.payload,
        'strict $.** ? (@.type() == "number" && (@ > 1.7976931348623157e308 || @ < -1.7976931348623157e308))') THEN
        RAISE EXCEPTION 'EVENT_INVALID: the payload holds a number out of range' USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.occurred_at NOT BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-30 00:00:00+00' THEN
        RAISE EXCEPTION 'EVENT_INVALID: the time of the event must be in the years 1 to 9999'
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER workflow_check_event BEFORE INSERT ON workflow_runtime_events
    FOR EACH ROW WHEN (NEW.event_name <> 'WORKFLOW_RUN_ENDED') EXECUTE FUNCTION workflow_check_event();

-- For the application's own transaction, in any language: the event is published if and only if that transaction commits.
-- Answers false when (tenant, event_id) was published before; with another content it is refused. What a repeat names of schema
-- and time is content too, and held against the first; what it leaves out is not, as with keys.
--
-- An event whose keys are blank has none, so that they are derived from its payload. Sizes are in bytes and leave room in every
-- index: those of `workflows_core.interpreter.correlation`. Each key is a lock of its own while the event is routed, so there is a
-- most of them. Events of one transaction are published one after the other, and have times that say so. Whoever publishes may
-- look for tables of its own first.
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
                -- An event of an early build may have its keys as they were given.
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
