-- The run write of docs/adr/0006: everything one regular activity writes for its run. Functions here run
-- as their caller, so row-level security binds them; each statement of a plpgsql function has a snapshot
-- of its own, which is why keys are locked in one statement and rows are read in later ones.
--
-- Order of locks, everywhere: invocation rows, the run's row, keys (sorted), then rows of waits,
-- deliveries and events.

ALTER TABLE workflow_runs
    ADD COLUMN executions       text[]  NOT NULL DEFAULT '{}',  -- (+) [n] is the execution of generation n, n > 0
    ADD COLUMN waits_generation integer NOT NULL DEFAULT 0,     -- (+) fence of the last write that named the waits
    ADD COLUMN waits_sequence   integer NOT NULL DEFAULT 0;

CREATE FUNCTION workflow_time(p_ms bigint) RETURNS timestamptz
LANGUAGE sql IMMUTABLE AS $$ SELECT to_timestamp(p_ms / 1000.0) $$;

CREATE FUNCTION workflow_is_final(p_status text) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$ SELECT p_status IN ('SUCCEEDED', 'FAILED', 'CANCELED') $$;

-- How far a step has come within one attempt: a record never takes a row back.
CREATE FUNCTION workflow_step_rank(p_status text) RETURNS integer
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE p_status WHEN 'STARTED' THEN 0 WHEN 'RETRY_SCHEDULED' THEN 1 ELSE 2 END
$$;

-- A run that a bare client started has no row: its first write brings it.
CREATE FUNCTION workflow_ensure_run(p_write jsonb, p_semantics integer) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM workflow_runs r
                WHERE r.tenant = p_write->>'tenant' AND r.run_id = p_write->>'run_id') THEN
        RETURN;
    END IF;
    INSERT INTO workflow_runs
        (tenant, run_id, workflow_id, workflow_version, status, trigger_type, temporal_workflow_id,
         definition_hash, runtime_semantics_version, root_run_id)
    VALUES (p_write->>'tenant', p_write->>'run_id', p_write->>'workflow_id', (p_write->>'workflow_version')::integer,
            'RUNNING', p_write->>'trigger_type', 'workflow-runtime-v2:run:' || (p_write->>'run_id'),
            p_write->>'definition_hash', p_semantics, p_write->>'run_id')
    ON CONFLICT (tenant, run_id) DO NOTHING;
END $$;

-- Locks the run's row and refuses an execution that is not the one this generation belongs to: a run
-- reset with Temporal's own tools keeps its first execution's id but gets an id of its own.
CREATE FUNCTION workflow_take_run(p_write jsonb, p_execution text) RETURNS workflow_runs
LANGUAGE plpgsql AS $$
DECLARE
    r     workflow_runs;
    g     integer := (p_write->>'generation')::integer;
    known text;
BEGIN
    SELECT * INTO STRICT r FROM workflow_runs w
     WHERE w.tenant = p_write->>'tenant' AND w.run_id = p_write->>'run_id' FOR NO KEY UPDATE;
    known := CASE WHEN g = 0 THEN r.temporal_run_id ELSE r.executions[g] END;
    IF known = p_execution THEN
        RETURN r;
    END IF;
    IF known IS NOT NULL OR g < r.generation THEN
        RAISE EXCEPTION 'execution % is not the one that generation % of run % belongs to (%)',
            p_execution, g, r.run_id, coalesce(known, 'none wrote in time') USING ERRCODE = 'WF001';
    END IF;
    IF g = 0 THEN
        r.temporal_run_id := p_execution;
    ELSE
        r.executions[g] := p_execution;
    END IF;
    UPDATE workflow_runs w SET temporal_run_id = r.temporal_run_id, executions = r.executions
     WHERE w.tenant = r.tenant AND w.run_id = r.run_id;
    RETURN r;
END $$;

-- Invocations of short actions, which travel with their steps. A row with an owner belongs to a regular action.
CREATE FUNCTION workflow_write_invocations(p_write jsonb) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF NOT jsonb_path_exists(p_write, '$.steps[*].invocation.action_id') THEN
        RETURN;
    END IF;
    INSERT INTO workflow_action_invocations AS i
        (tenant, run_id, step_path, action_id, action_version, idempotency_key, status, attempt,
         input_json, output_json, error_json, started_at, completed_at)
    SELECT DISTINCT ON (v.action_id, v.action_version, v.idempotency_key)
           p_write->>'tenant', p_write->>'run_id', s.step_path, v.action_id, v.action_version, v.idempotency_key,
           v.status, v.attempt, v.input_json, v.output_json, v.error_json,
           workflow_time(s.started_at), workflow_time(s.completed_at)
      FROM ROWS FROM (jsonb_to_recordset(p_write->'steps')
               AS (step_path text, started_at bigint, completed_at bigint, invocation jsonb))
           WITH ORDINALITY AS s(step_path, started_at, completed_at, invocation, ordinal),
           jsonb_to_record(s.invocation) AS v(action_id text, action_version integer, idempotency_key text, status text,
               attempt integer, input_json jsonb, output_json jsonb, error_json jsonb)
     WHERE jsonb_typeof(s.invocation) = 'object'
     ORDER BY v.action_id, v.action_version, v.idempotency_key, v.attempt DESC, s.ordinal DESC
    ON CONFLICT (tenant, action_id, action_version, idempotency_key) DO UPDATE SET
        status = excluded.status, attempt = excluded.attempt, input_json = excluded.input_json,
        output_json = excluded.output_json, error_json = excluded.error_json, completed_at = excluded.completed_at
     WHERE i.owner_token IS NULL AND i.status <> 'SUCCEEDED' AND i.attempt <= excluded.attempt;
END $$;

-- Steps and log lines of a write: the one place that writes them. Of one visit the last record counts;
-- an older fence never overwrites a newer one, and no record takes a step back within its attempt.
CREATE FUNCTION workflow_write_records(p_write jsonb) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO workflow_run_steps AS t
        (tenant, run_id, step_path, visit, definition_step_id, step_type, name, status, attempt,
         output_json, error_json, generation, sequence, started_at, completed_at)
    SELECT DISTINCT ON (s.step_path, s.visit)
           p_write->>'tenant', p_write->>'run_id', s.step_path, s.visit, s.definition_step_id, s.step_type, s.name,
           s.status, s.attempt, s.output_json, s.error_json, s.generation, s.sequence,
           workflow_time(s.started_at), workflow_time(s.completed_at)
      FROM ROWS FROM (jsonb_to_recordset(p_write->'steps')
               AS (step_path text, visit integer, definition_step_id text, step_type text, name text, status text,
                   attempt integer, output_json jsonb, error_json jsonb, generation integer, sequence integer,
                   started_at bigint, completed_at bigint))
           WITH ORDINALITY AS s(step_path, visit, definition_step_id, step_type, name, status, attempt, output_json,
                   error_json, generation, sequence, started_at, completed_at, ordinal)
     ORDER BY s.step_path, s.visit, s.attempt DESC, workflow_step_rank(s.status) DESC, s.ordinal DESC
    ON CONFLICT (tenant, run_id, step_path, visit) DO UPDATE SET
        name = excluded.name, status = excluded.status, attempt = excluded.attempt,
        output_json = excluded.output_json, error_json = excluded.error_json,
        generation = excluded.generation, sequence = excluded.sequence,
        started_at = excluded.started_at, completed_at = excluded.completed_at
     WHERE (excluded.generation, excluded.sequence) >= (t.generation, t.sequence)
       AND (excluded.attempt, workflow_step_rank(excluded.status)) >= (t.attempt, workflow_step_rank(t.status));

    IF jsonb_array_length(p_write->'logs') = 0 THEN
        RETURN;
    END IF;
    -- The final write repeats lines whose own write is not acknowledged yet, so equal lines of one moment are one.
    INSERT INTO workflow_run_logs
        (tenant, run_id, step_path, level, message, context_json, source, generation, sequence, ordinal, created_at)
    SELECT p_write->>'tenant', p_write->>'run_id', l.step_path, l.level, l.message, l.context_json, 'run',
           (p_write->>'generation')::integer, (p_write->>'sequence')::integer, l.ordinal, workflow_time(l.at)
      FROM ROWS FROM (jsonb_to_recordset(p_write->'logs')
               AS (level text, message text, step_path text, context_json jsonb, at bigint))
           WITH ORDINALITY AS l(level, message, step_path, context_json, at, ordinal)
     WHERE NOT EXISTS (
           SELECT 1 FROM workflow_run_logs k
            WHERE k.tenant = p_write->>'tenant' AND k.run_id = p_write->>'run_id'
              AND k.created_at = workflow_time(l.at) AND k.level = l.level AND k.message = l.message
              AND k.step_path IS NOT DISTINCT FROM l.step_path AND k.context_json IS NOT DISTINCT FROM l.context_json)
    ON CONFLICT (tenant, run_id, generation, sequence, ordinal) DO NOTHING;
END $$;

-- Status, place and fence of the run, if the write is not older than the row; a final status stays.
CREATE FUNCTION workflow_update_run(r workflow_runs, p_write jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    g     integer := (p_write->>'generation')::integer;
    s     integer := (p_write->>'sequence')::integer;
    told  text    := p_write->>'status';
    final boolean := workflow_is_final(told);
BEGIN
    IF (g, s) < (r.generation, r.sequence) OR workflow_is_final(r.status) THEN
        RETURN;
    END IF;
    UPDATE workflow_runs w SET
        status       = coalesce(told, w.status),
        node_path    = p_write->>'node_path',
        waiting_for  = CASE WHEN told IS NULL THEN w.waiting_for ELSE nullif(p_write->'waiting_for', 'null') END,
        result_json  = CASE WHEN final THEN nullif(p_write->'result_json', 'null') ELSE w.result_json END,
        error_json   = CASE WHEN final THEN nullif(p_write->'error_json', 'null') ELSE w.error_json END,
        completed_at = CASE WHEN final THEN clock_timestamp() ELSE w.completed_at END,
        generation   = g,
        sequence     = s,
        updated_at   = clock_timestamp()
     WHERE w.tenant = r.tenant AND w.run_id = r.run_id;
    IF told IN ('FAILED', 'CANCELED') THEN
        UPDATE workflow_run_steps t SET
            status = 'CANCELED', completed_at = greatest(clock_timestamp(), t.started_at), generation = g, sequence = s
         WHERE t.tenant = r.tenant AND t.run_id = r.run_id AND t.status IN ('STARTED', 'RETRY_SCHEDULED');
    END IF;
END $$;

-- Rules 1 to 4. Answers which routed events the waits that it opened may have missed (by name, key and
-- time of routing): the caller applies the filters and adds the deliveries in the same transaction.
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
    ) AS k;
    IF names IS NOT NULL THEN
        PERFORM workflow_lock_keys(v_tenant, names, v_keys);
    END IF;

    -- 1. What the run consumed is a fact of its history, however old the write is.
    UPDATE workflow_run_waits w SET
        status = 'RESOLVED', matched_event_id = c.event_id, resolved_at = workflow_time(c.at)
      FROM jsonb_to_recordset(p_write->'consumed') AS c(wait_id text, event_id text, at bigint)
     WHERE w.tenant = v_tenant AND w.run_id = v_run AND w.wait_id = c.wait_id AND w.status = 'WAITING';
    UPDATE workflow_event_deliveries d SET status = 'consumed', reason = NULL, decided_at = clock_timestamp()
      FROM jsonb_to_recordset(p_write->'consumed') AS c(wait_id text, event_id text)
     WHERE d.tenant = v_tenant AND d.event_id = c.event_id AND d.target_kind = 'wait' AND d.target_id = c.wait_id
       AND d.status IN ('new', 'accepted', 'dead');

    IF v_waits IS NOT NULL AND (g, s) >= (r.waits_generation, r.waits_sequence) THEN
        -- 2. Waits of the run that are not named are closed.
        UPDATE workflow_run_waits w SET status = c.outcome, resolved_at = workflow_time(c.at)
          FROM jsonb_to_recordset(p_write->'closed') AS c(wait_id text, outcome text, at bigint)
         WHERE w.tenant = v_tenant AND w.run_id = v_run AND w.wait_id = c.wait_id AND w.status = 'WAITING';
        UPDATE workflow_run_waits w SET status = 'CANCELED', resolved_at = clock_timestamp()
         WHERE w.tenant = v_tenant AND w.run_id = v_run AND w.status = 'WAITING'
           AND w.wait_id <> ALL (named);
        -- 3. Named waits that have no row are opened; a closed row stays closed.
        WITH inserted AS (
            INSERT INTO workflow_run_waits AS w
                (tenant, wait_id, run_id, step_path, visit, wait_type, event_name, key, filters, look_back_from,
                 timeout_at, status, payload, created_at)
            SELECT v_tenant, c.wait_id, v_run, c.step_path, c.visit, c.wait_type, c.event_name, c.key, c.filters,
                   workflow_time(c.look_back_from), workflow_time(c.timeout_at), 'WAITING', c.payload,
                   workflow_time(c.opened_at)
              FROM jsonb_to_recordset(v_waits)
                AS c(wait_id text, step_path text, visit integer, wait_type text, event_name text, key text,
                     filters jsonb, look_back_from bigint, timeout_at bigint, payload jsonb, opened_at bigint)
            ON CONFLICT (tenant, wait_id) DO NOTHING
            RETURNING w.wait_id AS id)
        SELECT array_agg(id) INTO opened FROM inserted;
        UPDATE workflow_runs w SET waits_generation = g, waits_sequence = s
         WHERE w.tenant = v_tenant AND w.run_id = v_run;
    END IF;
    -- Every unresolved delivery of a wait that closed gets its final verdict.
    UPDATE workflow_event_deliveries d SET
        status = CASE w.status WHEN 'TIMED_OUT' THEN 'late' ELSE 'unknown' END,
        reason = CASE w.status WHEN 'TIMED_OUT' THEN 'the wait timed out before the run took the event'
                               ELSE 'the wait was closed before the run took the event' END,
        decided_at = clock_timestamp()
      FROM workflow_run_waits w
     WHERE d.tenant = v_tenant AND d.run_id = v_run AND d.target_kind = 'wait'
       AND d.status IN ('new', 'accepted', 'dead')
       AND w.tenant = v_tenant AND w.wait_id = d.target_id AND w.status <> 'WAITING';

    -- 4. Status and fence.
    PERFORM workflow_update_run(r, p_write);

    IF opened IS NULL THEN
        RETURN;
    END IF;
    RETURN QUERY
        SELECT w.wait_id, e.event_id, e.event_name, e.correlation_keys, e.payload
          FROM workflow_run_waits w
          JOIN workflow_runtime_events e
            ON e.tenant = v_tenant AND e.event_name = w.event_name AND e.correlation_keys @> ARRAY[w.key]
           AND e.status = 'routed' AND e.processed_at >= w.look_back_from
         WHERE w.tenant = v_tenant AND w.wait_id = ANY (opened)
           AND NOT EXISTS (
               SELECT 1 FROM workflow_run_waits c
                WHERE c.tenant = v_tenant AND c.run_id = v_run AND c.matched_event_id = e.event_id)
           AND NOT EXISTS (
               SELECT 1 FROM jsonb_to_recordset(p_write->'consumed') AS c(event_id text)
                WHERE c.event_id = e.event_id)
         ORDER BY e.processed_at, e.event_id, w.wait_id;
END $$;
