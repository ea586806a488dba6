-- What an event is found by: one meaning of its keys and one limit of their size, for every publisher.

-- A key as `key_text` of `workflows_core.interpreter.correlation` makes it of a text: without the white space around it, NULL
-- where nothing is left. White space is what Python's `str.strip` takes away.
CREATE FUNCTION workflow_key_text(p_key text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT nullif(btrim(p_key, E'\t\n\u000b\f\r\u001c\u001d\u001e\u001f \u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004'
        '\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000'), '')
$$;

-- Of several keys those that are one, each once, in their order.
CREATE FUNCTION workflow_key_texts(p_keys text[]) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(array_agg(k.key ORDER BY k.ordinal), '{}') FROM (
        SELECT workflow_key_text(u.key) AS key, min(u.ordinal) AS ordinal
          FROM unnest(p_keys) WITH ORDINALITY AS u(key, ordinal)
         GROUP BY 1) AS k
     WHERE k.key IS NOT NULL
$$;

-- As in revision 0012, with keys as above: an event whose keys are blank has none, so that they are derived. Sizes are in
-- bytes and leave room in every index: those of `workflows_core.interpreter.correlation`. What a run's own id makes is never
-- that long. Events of one transaction are published one after the other, and have times that say so.
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
    most_key   CONSTANT integer := 2048;
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
                -- One of before this revision may have its keys as they were given.
                OR (cardinality(keys) > 0 AND workflow_key_texts(e.correlation_keys) <> keys))) THEN
        RAISE EXCEPTION 'event % was published before with another name, key or payload; that one stands', p_event_id
            USING ERRCODE = 'WF002';
    END IF;
    PERFORM set_config('workflows.tenant', coalesce(before, ''), true);
    IF inserted = 1 THEN
        PERFORM pg_notify('workflow_events', 'event');
    END IF;
    RETURN inserted = 1;
END $$;
