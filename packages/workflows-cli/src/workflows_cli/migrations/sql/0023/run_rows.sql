-- Parts of a run's write, each the only place that writes its rows, and the two statements that launching and loading need.

-- What an execution of a run begins with, in one round trip; one row always. A run that a bare client started has no row, and
-- begins now.
CREATE FUNCTION workflow_load_run(p_tenant text, p_run_id text)
RETURNS TABLE (
    recorded boolean, started_at bigint, definition_hash text, input_json jsonb, trigger_metadata_json jsonb,
    runtime_semantics_version integer)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('workflows.tenant', p_tenant, true);
    RETURN QUERY
        SELECT r.run_id IS NOT NULL, trunc(extract(epoch FROM coalesce(r.started_at, clock_timestamp())) * 1000)::bigint,
               r.definition_hash, r.input_json, r.trigger_metadata_json, r.runtime_semantics_version
          FROM (VALUES (p_run_id)) AS wanted(run_id)
          LEFT JOIN workflow_runs r ON r.tenant = p_tenant AND r.run_id = wanted.run_id;
END $$;

-- Temporal has the run: STARTING becomes RUNNING. One that has written its own status already keeps it, and so does a first
-- execution that is known. One statement, one round trip; no row where there is none.
CREATE FUNCTION workflow_mark_running(p_tenant text, p_run text, p_execution text) RETURNS SETOF workflow_runs
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('workflows.tenant', p_tenant, true);
    RETURN QUERY
        UPDATE workflow_runs r SET
            status          = CASE r.status WHEN 'STARTING' THEN 'RUNNING' ELSE r.status END,
            temporal_run_id = coalesce(r.temporal_run_id, p_execution),
            launch_json     = NULL,
            updated_at      = clock_timestamp()
         WHERE r.tenant = p_tenant AND r.run_id = p_run
        RETURNING r.*;
END $$;

-- A run that a bare client started has no row: its first write brings it. Later writes do not repeat which version it is of,
-- nor the hash of its definition: should the row be gone, such as in a database that was restored, whoever writes has to find that
-- out, and comes again.
CREATE FUNCTION workflow_ensure_run(p_write jsonb, p_semantics integer) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM workflow_runs r
                WHERE r.tenant = p_write->>'tenant' AND r.run_id = p_write->>'run_id') THEN
        RETURN;
    END IF;
    IF p_write->>'workflow_id' IS NULL THEN
        RAISE EXCEPTION 'run % of tenant % has no row', p_write->>'run_id', p_write->>'tenant' USING ERRCODE = 'WF003';
    END IF;
    INSERT INTO workflow_runs
        (tenant, run_id, workflow_id, workflow_version, status, trigger_type, temporal_workflow_id,
         definition_hash, runtime_semantics_version, root_run_id)
    VALUES (p_write->>'tenant', p_write->>'run_id', p_write->>'workflow_id', (p_write->>'workflow_version')::integer,
            'RUNNING', p_write->>'trigger_type', 'workflow-runtime-v2:run:' || (p_write->>'run_id'),
            coalesce(p_write->>'definition_hash',
                     (SELECT v.definition_hash FROM workflow_definition_versions v
                       WHERE v.tenant = p_write->>'tenant' AND v.workflow_id = p_write->>'workflow_id'
                         AND v.version = (p_write->>'workflow_version')::integer)),
            p_semantics, p_write->>'run_id')
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

-- Status, place and fence of the run, if the write is by the execution of its generation and not older than the row, and no
-- status is final yet. False where nothing was changed, and the row is not locked then: only `workflow_take_run` knows why.
CREATE FUNCTION workflow_advance_run(p_write jsonb, p_execution text) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    v_tenant text    := p_write->>'tenant';
    v_run    text    := p_write->>'run_id';
    g        integer := (p_write->>'generation')::integer;
    s        integer := (p_write->>'sequence')::integer;
    told     text    := p_write->>'status';
    final    boolean := workflow_is_final(told);
BEGIN
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
     WHERE w.tenant = v_tenant AND w.run_id = v_run
       AND workflow_execution_of(w, g) IS NOT DISTINCT FROM p_execution
       AND (g, s) >= (w.generation, w.sequence) AND NOT workflow_is_final(w.status);
    RETURN FOUND;
END $$;

-- The last of a write, on the row as `workflow_take_run` left it: status, place and fence, if the write is not older than the row. A
-- run that ends without success leaves no step open.
CREATE FUNCTION workflow_update_run(r workflow_runs, p_write jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    g        integer := (p_write->>'generation')::integer;
    advanced boolean := workflow_advance_run(p_write, workflow_execution_of(r, g));
BEGIN
    IF advanced AND p_write->>'status' IN ('FAILED', 'CANCELED') THEN
        UPDATE workflow_run_steps t SET
            status = 'CANCELED', completed_at = greatest(clock_timestamp(), t.started_at),
            generation = g, sequence = (p_write->>'sequence')::integer
         WHERE t.tenant = r.tenant AND t.run_id = r.run_id AND t.status IN ('STARTED', 'RETRY_SCHEDULED');
    END IF;
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

-- Steps and log lines of a write: the one place that writes them. Of one visit the last record counts; an older fence never
-- overwrites a newer one, and no record takes a step back within its attempt. The moment of a line is there before it is looked
-- for: under row-level security an index is not searched for what is still to be computed.
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
    WITH lines AS MATERIALIZED (
        SELECT l.level, l.message, l.step_path, l.context_json, workflow_time(l.at) AS moment, l.ordinal
          FROM ROWS FROM (jsonb_to_recordset(p_write->'logs')
                   AS (level text, message text, step_path text, context_json jsonb, at bigint))
               WITH ORDINALITY AS l(level, message, step_path, context_json, at, ordinal))
    INSERT INTO workflow_run_logs
        (tenant, run_id, step_path, level, message, context_json, source, generation, sequence, ordinal, created_at)
    SELECT p_write->>'tenant', p_write->>'run_id', l.step_path, l.level, l.message, l.context_json, 'run',
           (p_write->>'generation')::integer, (p_write->>'sequence')::integer, l.ordinal, l.moment
      FROM lines l
     WHERE NOT EXISTS (
           SELECT 1 FROM workflow_run_logs k
            WHERE k.tenant = p_write->>'tenant' AND k.run_id = p_write->>'run_id'
              AND k.created_at = l.moment AND k.level = l.level AND k.message = l.message
              AND k.step_path IS NOT DISTINCT FROM l.step_path AND k.context_json IS NOT DISTINCT FROM l.context_json)
     ORDER BY l.ordinal
    ON CONFLICT (tenant, run_id, generation, sequence, ordinal) DO NOTHING;
END $$;
