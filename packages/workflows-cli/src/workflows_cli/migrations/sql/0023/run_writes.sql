-- The run write of docs/adr/0006: everything one regular activity writes for its run. Functions here run as their caller, so
-- row-level security binds them; each statement of a plpgsql function has a snapshot of its own, which is why keys are locked in one
-- statement and rows are read in later ones.
--
-- Order of locks, everywhere: invocation rows, the run's row, keys (sorted), then rows of waits, deliveries and events.

-- The lock of (tenant, event name, key): publish takes none, router and run writes take all they touch, in sorted order, before
-- any event row.
CREATE FUNCTION workflow_lock_keys(p_tenant text, p_names text[], p_keys text[])
RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    k bigint;
BEGIN
    FOR k IN
        SELECT DISTINCT hashtextextended(p_tenant || E'\x1f' || n || E'\x1f' || coalesce(v, ''), 7)
          FROM unnest(p_names, p_keys) AS pairs(n, v)
         ORDER BY 1
    LOOP
        PERFORM pg_advisory_xact_lock(k);
    END LOOP;
END $$;

-- What becomes of the claims of waits that end with a write: those whose event was not taken are released, and the event is
-- pending again. A run that takes one event after the other with `match: one` keeps the claim of each: so they are found by the
-- waits that end and their deliveries, without which there is no claim, and not among all that the run has ever had.
CREATE FUNCTION workflow_release_claims_of(p_tenant text, p_waits text[], p_park boolean) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    untaken text[];
BEGIN
    SELECT array_agg(c.event_id) INTO untaken
      FROM workflow_event_deliveries d
      JOIN workflow_event_claims c ON c.tenant = p_tenant AND c.event_id = d.event_id AND c.wait_id = d.target_id
      JOIN workflow_run_waits w ON w.tenant = p_tenant AND w.wait_id = d.target_id
     WHERE d.tenant = p_tenant AND d.target_kind = 'wait' AND d.target_id = ANY (p_waits)
       AND w.matched_event_id IS DISTINCT FROM c.event_id;
    IF untaken IS NULL THEN
        RETURN;
    END IF;
    IF p_park THEN
        UPDATE workflow_event_claims c SET parked = true WHERE c.tenant = p_tenant AND c.event_id = ANY (untaken)
           AND c.wait_id = ANY (p_waits);
        RETURN;
    END IF;
    WITH freed AS (
        DELETE FROM workflow_event_claims c
         WHERE c.tenant = p_tenant AND c.event_id = ANY (untaken) AND c.wait_id = ANY (p_waits) AND NOT c.parked
        RETURNING c.event_id)
    UPDATE workflow_runtime_events e SET status = 'pending', attempts = 0, next_attempt_at = clock_timestamp()
      FROM freed WHERE e.tenant = p_tenant AND e.event_id = freed.event_id;
    IF FOUND THEN
        PERFORM pg_notify('workflow_events', 'event');
    END IF;
END $$;

-- Rules 1 to 4 of docs/adr/0006. Answers which routed events the waits that it opened, or that refused an event, may have missed
-- (by name, key and time of routing): the caller applies the filters and adds the deliveries in the same transaction.
CREATE FUNCTION workflow_write_run(p_write jsonb, p_execution text, p_semantics integer)
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
               LATERAL workflow_missed_events(v_tenant, w.id, p_write->'consumed', '-infinity', '') AS m;
END $$;
