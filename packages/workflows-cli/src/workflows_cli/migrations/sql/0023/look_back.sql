-- What a wait that opens has missed.

-- What the waits took that a redriven run has kept: those of the run in whose place it began, or of one before that, at steps
-- whose rows are older than the run itself.
CREATE FUNCTION workflow_kept_events(p_tenant text, p_run text) RETURNS text[]
LANGUAGE sql STABLE AS $$
    WITH RECURSIVE lineage AS (
        SELECT r.trigger_metadata_json->>'redriveOfRunId' AS run_id, 1 AS depth
          FROM workflow_runs r WHERE r.tenant = p_tenant AND r.run_id = p_run
         UNION ALL
        SELECT r.trigger_metadata_json->>'redriveOfRunId', l.depth + 1
          FROM lineage l JOIN workflow_runs r ON r.tenant = p_tenant AND r.run_id = l.run_id
    ), taken AS (
        SELECT w.matched_event_id, rank() OVER (PARTITION BY w.step_path ORDER BY l.depth) AS nth
          FROM lineage l
          JOIN workflow_runs r ON r.tenant = p_tenant AND r.run_id = p_run
          JOIN workflow_run_waits w ON w.tenant = p_tenant AND w.run_id = l.run_id AND w.matched_event_id IS NOT NULL
          JOIN workflow_run_steps s ON s.tenant = p_tenant AND s.run_id = p_run AND s.step_path = w.step_path
                                   AND s.started_at < r.started_at
    )
    SELECT coalesce(array_agg(t.matched_event_id), '{}') FROM taken t WHERE t.nth = 1
$$;

-- Events that an open wait may have missed, in the order of routing: of its name and key, in its window, not taken by the run
-- already, nor by what a redriven run has kept, and never sent to this wait. None while the wait has a delivery under way; a wait for
-- one begins behind what is claimed. A page of them, behind a given one: the caller applies the filters, and needs the first that
-- fits. It is a walk whose cost does not depend on the planner's statistics, and that does not pass events of other keys. The
-- caller holds the key's lock.
CREATE FUNCTION workflow_missed_events(
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
