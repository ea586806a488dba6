-- Runs that share the events of a key (`match: one`) would walk over all that others have claimed each time one of them opens
-- a wait, under the key's lock.

CREATE TABLE workflow_claim_positions (                           -- (+) only where there was something to walk over
    tenant              text        NOT NULL,
    event_name          text        NOT NULL,
    key                 text        NOT NULL,
    since               timestamptz NOT NULL,                     -- every event routed from here on
    processed_at        timestamptz NOT NULL,                     -- up to this one has a claim
    event_id            text        NOT NULL,
    PRIMARY KEY (tenant, event_name, key)
);

ALTER TABLE workflow_claim_positions ENABLE ROW LEVEL SECURITY;
ALTER TABLE workflow_claim_positions FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_only ON workflow_claim_positions TO workflow_runtime
    USING (tenant = nullif(current_setting('workflows.tenant', true), ''))
    WITH CHECK (tenant = nullif(current_setting('workflows.tenant', true), ''));
GRANT SELECT, INSERT, UPDATE, DELETE ON workflow_claim_positions TO workflow_runtime;

-- As in revision 0012. An event whose claim was released comes here again, with the time of its first routing, and takes away
-- what says that it has a claim; until then it is the router that gives it to a wait.
CREATE OR REPLACE FUNCTION workflow_settle_event(p_tenant text, p_event_id text, p_deliveries jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    e workflow_runtime_events;
BEGIN
    IF jsonb_array_length(p_deliveries) > 0 THEN
        PERFORM workflow_add_deliveries(p_tenant, p_deliveries);
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
END $$;

-- As in revision 0021, but that a wait for one begins behind what is claimed.
CREATE OR REPLACE FUNCTION workflow_missed_events(
    p_tenant text, p_wait_id text, p_consumed jsonb, p_after timestamptz, p_after_id text)
RETURNS TABLE (wait_id text, event_id text, event_name text, keys text[], payload jsonb, processed_at timestamptz)
LANGUAGE plpgsql SET enable_sort = off SET enable_bitmapscan = off SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    page CONSTANT integer := 50;
    worth_a_position CONSTANT integer := 20;
    w         workflow_run_waits;
    p         workflow_run_positions;
    q         workflow_claim_positions;
    e         record;
    v_since   timestamptz;
    from_at   timestamptz;
    from_id   text    := '';
    consumed  text[];
    sent      text[];
    under_way boolean;
    passed    integer := 0;  -- events at the beginning that the run has taken
    at_start  boolean := p_after = '-infinity';
    last_at   timestamptz;
    last_id   text;
    claims    boolean := false;  -- whether everything from the beginning is claimed so far,
    is_claimed boolean := false;
    claimed   integer := 0;      -- so many,
    c_since   timestamptz;       -- from here
    c_at      timestamptz;       -- to here
    c_id      text;
    answered  integer := 0;
BEGIN
    SELECT * INTO w FROM workflow_run_waits x
     WHERE x.tenant = p_tenant AND x.wait_id = p_wait_id AND x.status = 'WAITING' AND x.event_name IS NOT NULL;
    SELECT coalesce(array_agg(d.event_id), '{}'), coalesce(bool_or(d.status IN ('new', 'accepted')), false)
      INTO sent, under_way
      FROM workflow_event_deliveries d
     WHERE d.tenant = p_tenant AND d.target_kind = 'wait' AND d.target_id = p_wait_id;
    IF w.wait_id IS NULL OR under_way THEN
        RETURN;
    END IF;
    SELECT * INTO p FROM workflow_run_positions x
     WHERE x.tenant = p_tenant AND x.run_id = w.run_id AND x.event_name = w.event_name AND x.key = w.key
       AND x.since <= w.look_back_from;
    from_at := w.look_back_from;
    v_since := w.look_back_from;
    IF p.processed_at >= from_at THEN
        from_at := p.processed_at;
        from_id := p.event_id;
        v_since := p.since;
    ELSE
        claims := at_start AND w.match <> 'all';
        c_since := w.look_back_from;
    END IF;
    IF w.match <> 'all' THEN
        SELECT * INTO q FROM workflow_claim_positions x
         WHERE x.tenant = p_tenant AND x.event_name = w.event_name AND x.key = w.key AND x.since <= w.look_back_from;
        IF (q.processed_at, q.event_id) > (from_at, from_id) THEN
            from_at := q.processed_at;
            from_id := q.event_id;
            claims := at_start;
            c_since := q.since;
            at_start := false;  -- what is passed over was not taken by this run
        END IF;
    END IF;
    IF (p_after, p_after_id) > (from_at, from_id) THEN
        from_at := p_after;
        from_id := p_after_id;
    END IF;
    SELECT coalesce(array_agg(c.event_id), '{}') INTO consumed FROM jsonb_to_recordset(p_consumed) AS c(event_id text);
    IF EXISTS (SELECT FROM workflow_runs r
                WHERE r.tenant = p_tenant AND r.run_id = w.run_id AND r.trigger_metadata_json ? 'redriveOfRunId') THEN
        consumed := consumed || workflow_kept_events(p_tenant, w.run_id);
    END IF;
    FOR e IN
        SELECT x.event_id, x.event_name, x.correlation_keys, x.payload, x.processed_at
          FROM workflow_runtime_events x
         WHERE x.tenant = p_tenant AND x.event_name = w.event_name AND x.processed_at >= from_at
           -- One whose claim was released is pending again, and was routed all the same.
           AND (x.processed_at, x.event_id) > (from_at, from_id) AND x.correlation_keys[1] = w.key
        UNION ALL
        SELECT x.event_id, x.event_name, x.correlation_keys, x.payload, x.processed_at
          FROM workflow_runtime_events x
         WHERE x.tenant = p_tenant AND x.event_name = w.event_name AND x.processed_at >= from_at
           AND (x.processed_at, x.event_id) > (from_at, from_id)
           AND x.correlation_keys[2] IS NOT NULL AND x.correlation_keys[1] <> w.key AND x.correlation_keys @> ARRAY[w.key]
         ORDER BY processed_at, event_id
    LOOP
        IF w.match <> 'all' THEN
            is_claimed := EXISTS (
                SELECT 1 FROM workflow_event_claims c WHERE c.tenant = p_tenant AND c.event_id = e.event_id);
            claims := claims AND is_claimed;
            IF claims THEN
                claimed := claimed + 1;
                c_at := e.processed_at;
                c_id := e.event_id;
            END IF;
        END IF;
        IF EXISTS (SELECT 1 FROM workflow_run_waits c
                    WHERE c.tenant = p_tenant AND c.run_id = w.run_id AND c.matched_event_id = e.event_id) THEN
            IF at_start THEN
                passed := passed + 1;
                last_at := e.processed_at;
                last_id := e.event_id;
            END IF;
            CONTINUE;
        END IF;
        at_start := false;
        CONTINUE WHEN e.event_id = ANY (consumed) OR e.event_id = ANY (sent);
        CONTINUE WHEN is_claimed;
        wait_id := w.wait_id;
        event_id := e.event_id;
        event_name := e.event_name;
        keys := e.correlation_keys;
        payload := e.payload;
        processed_at := e.processed_at;
        RETURN NEXT;
        answered := answered + 1;
        EXIT WHEN answered = page;
    END LOOP;
    IF passed >= worth_a_position THEN
        INSERT INTO workflow_run_positions AS x (tenant, run_id, event_name, key, since, processed_at, event_id)
        VALUES (p_tenant, w.run_id, w.event_name, w.key, v_since, last_at, last_id)
        ON CONFLICT (tenant, run_id, event_name, key) DO UPDATE
           SET since = excluded.since, processed_at = excluded.processed_at, event_id = excluded.event_id;
    END IF;
    IF claimed >= worth_a_position THEN
        INSERT INTO workflow_claim_positions AS x (tenant, event_name, key, since, processed_at, event_id)
        VALUES (p_tenant, w.event_name, w.key, c_since, c_at, c_id)
        ON CONFLICT (tenant, event_name, key) DO UPDATE
           SET since = excluded.since, processed_at = excluded.processed_at, event_id = excluded.event_id;
    END IF;
END $$;
