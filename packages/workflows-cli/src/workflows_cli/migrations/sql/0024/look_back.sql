-- What a wait that opens has missed, by pages that are bounded in bytes too: fifty of the largest payloads are 25 MB.

-- Events that an open wait may have missed, in the order of routing: of its name and key, in its window, not taken by the run
-- already, nor by what a redriven run has kept, and never sent to this wait. None while the wait has a delivery under way; a wait for
-- one begins behind what is claimed. A page of them, behind a given one, which ends where its payloads have so many bytes (NULL for
-- any): the caller applies the filters, needs the first that fits, and asks on until there is none. It is a walk whose cost does not
-- depend on the planner's statistics, and that does not pass events of other keys. The caller holds the key's lock.
CREATE FUNCTION workflow_missed_events(
    p_tenant text, p_wait_id text, p_consumed jsonb, p_after timestamptz, p_after_id text, p_bytes integer)
RETURNS TABLE (wait_id text, event_id text, event_name text, keys text[], payload jsonb, processed_at timestamptz)
LANGUAGE plpgsql SET enable_sort = off SET enable_bitmapscan = off SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    page CONSTANT integer := 50;
    bytes     bigint  := 0;
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
        bytes := bytes + CASE WHEN p_bytes IS NULL THEN 0 ELSE octet_length(e.payload::text) END;
        EXIT WHEN answered = page OR bytes >= p_bytes;
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

-- For builds of before.
CREATE OR REPLACE FUNCTION workflow_missed_events(
    p_tenant text, p_wait_id text, p_consumed jsonb, p_after timestamptz, p_after_id text)
RETURNS TABLE (wait_id text, event_id text, event_name text, keys text[], payload jsonb, processed_at timestamptz)
LANGUAGE sql AS $$ SELECT * FROM workflow_missed_events(p_tenant, p_wait_id, p_consumed, p_after, p_after_id, NULL) $$;

-- Rules 1 to 4 of docs/adr/0006. Answers which routed events the waits that it opened, or that refused an event, may have missed
-- (by name, key and time of routing): the caller applies the filters and adds the deliveries in the same transaction.
CREATE OR REPLACE FUNCTION workflow_write_run(p_write jsonb, p_execution text, p_semantics integer)
RETURNS TABLE (wait_id text, event_id text, event_name text, keys text[], payload jsonb)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_tenant text    := p_write->>'tenant';
    v_run    text    := p_write->>'run_id';
    g        integer := (p_write->>'generation')::integer;
    s        integer := (p_write->>'sequence')::integer;
    v_waits  jsonb   := nullif(p_write->'waits', 'null');
    r        workflow_runs;
    ended    boolean;
    named    text[];
    opened   text[];
    refusing text[];
    taken    text[];  -- waits that end with this write: by an event,
    told     text[];  -- as the run says,
    left_out text[];  -- since the run does not name them
    names    text[];
    v_keys   text[];
BEGIN
    PERFORM set_config('workflows.tenant', v_tenant, true);
    PERFORM workflow_ensure_run(p_write, p_semantics);
    PERFORM workflow_write_invocations(p_write);
    r := workflow_take_run(p_write, p_execution);
    PERFORM workflow_write_records(p_write);

    ended := workflow_is_final(r.status)
        OR (workflow_is_final(p_write->>'status') AND (g, s) >= (r.generation, r.sequence));
    IF ended AND v_waits IS NOT NULL THEN
        v_waits := '[]';  -- every wait of a run that ended is closed
    END IF;
    SELECT array_agg(x->>'wait_id') INTO named FROM jsonb_array_elements(coalesce(v_waits, '[]')) AS x;
    named := coalesce(named, '{}');
    SELECT array_agg(k.event_name), array_agg(k.key) INTO names, v_keys FROM (
        SELECT w.event_name, w.key FROM workflow_run_waits w
         WHERE w.tenant = v_tenant AND w.run_id = v_run AND w.status = 'WAITING'
           AND w.wait_id <> ALL (named) AND w.event_name IS NOT NULL
        UNION
        SELECT c.event_name, c.key
          FROM jsonb_to_recordset(coalesce(v_waits, '[]')) AS c(wait_id text, event_name text, key text)
         WHERE c.event_name IS NOT NULL
           AND NOT EXISTS (SELECT 1 FROM workflow_run_waits w WHERE w.tenant = v_tenant AND w.wait_id = c.wait_id)
        UNION
        SELECT w.event_name, w.key
          FROM jsonb_to_recordset(p_write->'refused') AS c(wait_id text)
          JOIN workflow_run_waits w ON w.tenant = v_tenant AND w.wait_id = c.wait_id
    ) AS k;
    IF names IS NOT NULL THEN
        PERFORM workflow_lock_keys(v_tenant, names, v_keys);
    END IF;

    -- 1. What the run consumed is a fact of its history, however old the write is.
    WITH closing AS (
        UPDATE workflow_run_waits w SET
            status = 'RESOLVED', matched_event_id = c.event_id, resolved_at = workflow_time(c.at)
          FROM jsonb_to_recordset(p_write->'consumed') AS c(wait_id text, event_id text, at bigint)
         WHERE w.tenant = v_tenant AND w.run_id = v_run AND w.wait_id = c.wait_id AND w.status = 'WAITING'
        RETURNING w.wait_id AS id)
    SELECT array_agg(id) INTO taken FROM closing;
    UPDATE workflow_event_deliveries d SET status = 'consumed', reason = NULL, decided_at = clock_timestamp()
      FROM jsonb_to_recordset(p_write->'consumed') AS c(wait_id text, event_id text)
     WHERE d.tenant = v_tenant AND d.event_id = c.event_id AND d.target_kind = 'wait' AND d.target_id = c.wait_id
       AND d.status IN ('new', 'accepted', 'dead');
    -- What it refused has its verdict, and the wait is open for another.
    WITH refused AS (
        UPDATE workflow_event_deliveries d SET status = 'undeliverable', reason = c.reason, decided_at = clock_timestamp()
          FROM jsonb_to_recordset(p_write->'refused') AS c(wait_id text, event_id text, reason text)
         WHERE d.tenant = v_tenant AND d.event_id = c.event_id AND d.target_kind = 'wait' AND d.target_id = c.wait_id
           AND d.status IN ('new', 'accepted', 'dead')
        RETURNING d.target_id)
    SELECT array_agg(target_id) INTO refusing FROM refused;

    IF v_waits IS NOT NULL AND (g, s) >= (r.waits_generation, r.waits_sequence) THEN
        -- 2. Waits of the run that are not named are closed.
        WITH closing AS (
            UPDATE workflow_run_waits w SET status = c.outcome, resolved_at = workflow_time(c.at)
              FROM jsonb_to_recordset(p_write->'closed') AS c(wait_id text, outcome text, at bigint)
             WHERE w.tenant = v_tenant AND w.run_id = v_run AND w.wait_id = c.wait_id AND w.status = 'WAITING'
            RETURNING w.wait_id AS id)
        SELECT array_agg(id) INTO told FROM closing;
        WITH closing AS (
            UPDATE workflow_run_waits w SET status = 'CANCELED', resolved_at = clock_timestamp()
             WHERE w.tenant = v_tenant AND w.run_id = v_run AND w.status = 'WAITING'
               AND w.wait_id <> ALL (named)
            RETURNING w.wait_id AS id)
        SELECT array_agg(id) INTO left_out FROM closing;
        -- 3. Named waits that have no row are opened; a closed row stays closed.
        WITH inserted AS (
            INSERT INTO workflow_run_waits AS w
                (tenant, wait_id, run_id, step_path, visit, wait_type, event_name, key, filters, look_back_from,
                 timeout_at, status, payload, created_at, match)
            SELECT v_tenant, c.wait_id, v_run, c.step_path, c.visit, c.wait_type, c.event_name, c.key, c.filters,
                   workflow_time(c.look_back_from), workflow_time(c.timeout_at), 'WAITING', c.payload,
                   workflow_time(c.opened_at), coalesce(c.match, 'all')
              FROM jsonb_to_recordset(v_waits)
                AS c(wait_id text, step_path text, visit integer, wait_type text, event_name text, key text,
                     filters jsonb, look_back_from bigint, timeout_at bigint, payload jsonb, opened_at bigint, match text)
            ON CONFLICT (tenant, wait_id) DO NOTHING
            RETURNING w.wait_id AS id)
        SELECT array_agg(id) INTO opened FROM inserted;
        UPDATE workflow_runs w SET waits_generation = g, waits_sequence = s
         WHERE w.tenant = v_tenant AND w.run_id = v_run;
    END IF;
    -- Every unresolved delivery of a wait that closed gets its final verdict; for a run that could not tell its end
    -- (`undeliverable` in the write says why) nobody will take it any more.
    UPDATE workflow_event_deliveries d SET
        status = CASE WHEN p_write->>'undeliverable' IS NOT NULL THEN 'undeliverable'
                      WHEN w.status = 'TIMED_OUT' THEN 'late' ELSE 'unknown' END,
        reason = coalesce(p_write->>'undeliverable',
                          CASE w.status WHEN 'TIMED_OUT' THEN 'the wait timed out before the run took the event'
                                        ELSE 'the wait was closed before the run took the event' END),
        decided_at = clock_timestamp()
      FROM workflow_run_waits w
     WHERE d.tenant = v_tenant AND d.run_id = v_run AND d.target_kind = 'wait'
       AND d.status IN ('new', 'accepted', 'dead')
       AND w.tenant = v_tenant AND w.wait_id = d.target_id AND w.status <> 'WAITING';

    -- What a closed wait had claimed and not consumed goes to the next one, unless nobody knows whether it was.
    IF coalesce(taken, told, left_out) IS NOT NULL THEN
        PERFORM workflow_release_claims_of(
            v_tenant, taken || told || left_out, coalesce((p_write->>'outcome_unknown')::boolean, false));
    END IF;

    -- 4. Status and fence.
    PERFORM workflow_update_run(r, p_write);

    IF opened IS NULL AND refusing IS NULL THEN
        RETURN;
    END IF;
    RETURN QUERY
        SELECT w.id, m.event_id, m.event_name, m.keys, m.payload
          FROM unnest(opened || refusing) AS w(id),
               LATERAL workflow_missed_events(
                   v_tenant, w.id, p_write->'consumed', '-infinity', '', (p_write->>'look_back_bytes')::integer) AS m;
END $$;
