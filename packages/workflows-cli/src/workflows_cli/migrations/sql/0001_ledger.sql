-- The ledger: one row per (tenant, action, version, idempotency key). Each start of a handler has an owner
-- token, and only the owner's end is written.

-- A later start (Temporal's or authored). Answers the entry as it was, and whether this start may go on:
-- an entry that SUCCEEDED, or that has already FAILED for this very attempt, is left alone.
CREATE FUNCTION workflow_start_action(p_call jsonb, p_token text, p_semantics integer)
RETURNS TABLE (status text, attempt integer, starts integer, output_json jsonb, error_json jsonb, taken boolean)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_tenant text := p_call->'write'->>'tenant';
    v_run    text := p_call->'write'->>'run_id';
    b        workflow_action_invocations;
    ended    boolean;
BEGIN
    PERFORM set_config('workflows.tenant', v_tenant, true);
    PERFORM workflow_ensure_run(p_call->'write', p_semantics);
    INSERT INTO workflow_action_invocations
        (tenant, run_id, step_path, action_id, action_version, idempotency_key, status, attempt, owner_token,
         input_json, started_at)
    VALUES (v_tenant, v_run, p_call->>'step_path', p_call->>'action_id', (p_call->>'action_version')::integer,
            p_call->>'idempotency_key', 'STARTED', (p_call->>'attempt')::integer, p_token, nullif(p_call->'input', 'null'),
            clock_timestamp())
    ON CONFLICT (tenant, action_id, action_version, idempotency_key) DO NOTHING;
    IF FOUND THEN
        RETURN QUERY SELECT NULL::text, 0, 0, NULL::jsonb, NULL::jsonb, true;
        RETURN;
    END IF;
    SELECT * INTO STRICT b FROM workflow_action_invocations i
     WHERE i.tenant = v_tenant AND i.action_id = p_call->>'action_id'
       AND i.action_version = (p_call->>'action_version')::integer AND i.idempotency_key = p_call->>'idempotency_key'
       FOR UPDATE;
    ended := b.status = 'SUCCEEDED'
        OR (b.status = 'FAILED' AND b.run_id = v_run AND b.step_path = p_call->>'step_path'
            AND b.attempt >= (p_call->>'attempt')::integer);
    IF NOT ended AND b.owner_token IS DISTINCT FROM p_token THEN
        UPDATE workflow_action_invocations i SET
            run_id = v_run, step_path = p_call->>'step_path', status = 'STARTED',
            attempt = (p_call->>'attempt')::integer, starts = i.starts + 1, owner_token = p_token,
            input_json = nullif(p_call->'input', 'null'), output_json = NULL, error_json = NULL,
            started_at = clock_timestamp(), completed_at = NULL
         WHERE i.tenant = v_tenant AND i.action_id = b.action_id AND i.action_version = b.action_version
           AND i.idempotency_key = b.idempotency_key;
    END IF;
    RETURN QUERY SELECT b.status, b.attempt, b.starts, b.output_json, b.error_json, NOT ended;
END $$;

-- A handler that runs longer than a second is made visible, unless its row has moved on meanwhile.
CREATE FUNCTION workflow_announce_action(p_call jsonb, p_token text, p_semantics integer) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_tenant text := p_call->'write'->>'tenant';
    v_run    text := p_call->'write'->>'run_id';
    started  timestamptz;
BEGIN
    PERFORM set_config('workflows.tenant', v_tenant, true);
    PERFORM workflow_ensure_run(p_call->'write', p_semantics);
    INSERT INTO workflow_action_invocations
        (tenant, run_id, step_path, action_id, action_version, idempotency_key, status, attempt, owner_token,
         input_json, started_at)
    VALUES (v_tenant, v_run, p_call->>'step_path', p_call->>'action_id', (p_call->>'action_version')::integer,
            p_call->>'idempotency_key', 'STARTED', (p_call->>'attempt')::integer, p_token, nullif(p_call->'input', 'null'),
            clock_timestamp())
    ON CONFLICT (tenant, action_id, action_version, idempotency_key) DO NOTHING;
    SELECT i.started_at INTO started FROM workflow_action_invocations i
     WHERE i.tenant = v_tenant AND i.action_id = p_call->>'action_id'
       AND i.action_version = (p_call->>'action_version')::integer AND i.idempotency_key = p_call->>'idempotency_key'
       AND i.owner_token = p_token AND i.status = 'STARTED'
       FOR SHARE;
    IF NOT FOUND OR EXISTS (
        SELECT 1 FROM workflow_runs r
         WHERE r.tenant = v_tenant AND r.run_id = v_run AND workflow_is_final(r.status)) THEN
        RETURN;
    END IF;
    PERFORM workflow_write_records(jsonb_build_object('tenant', v_tenant, 'run_id', v_run, 'logs', '[]'::jsonb,
        'steps', jsonb_build_array(jsonb_build_object(
            'step_path', p_call->'step_path', 'visit', p_call->'visit', 'name', p_call->'name',
            'definition_step_id', p_call->'definition_step_id', 'step_type', 'action.call', 'status', 'STARTED',
            'attempt', p_call->'attempt', 'generation', p_call->'write'->'generation',
            'sequence', p_call->'write'->'sequence',
            'started_at', (extract(epoch FROM started) * 1000)::bigint))));
END $$;

-- Writes an action's end into its ledger row if the token owns it, or if no start has a row yet. True as
-- well when this very end is there already (the answer to the first try was lost).
CREATE FUNCTION workflow_settle_action(p_write jsonb, p_step jsonb, p_token text, p_semantics integer)
RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    v jsonb := p_step->'invocation';
BEGIN
    PERFORM workflow_ensure_run(p_write, p_semantics);
    INSERT INTO workflow_action_invocations AS i
        (tenant, run_id, step_path, action_id, action_version, idempotency_key, status, attempt, owner_token,
         input_json, output_json, error_json, started_at, completed_at)
    VALUES (p_write->>'tenant', p_write->>'run_id', p_step->>'step_path', v->>'action_id',
            (v->>'action_version')::integer, v->>'idempotency_key', v->>'status', (v->>'attempt')::integer, p_token,
            nullif(v->'input_json', 'null'), nullif(v->'output_json', 'null'), nullif(v->'error_json', 'null'),
            workflow_time((p_step->>'started_at')::bigint), workflow_time((p_step->>'completed_at')::bigint))
    ON CONFLICT (tenant, action_id, action_version, idempotency_key) DO UPDATE SET
        status = excluded.status, attempt = excluded.attempt, output_json = excluded.output_json,
        error_json = excluded.error_json, completed_at = excluded.completed_at
     WHERE i.owner_token = p_token AND i.status = 'STARTED';
    RETURN FOUND OR EXISTS (
        SELECT 1 FROM workflow_action_invocations i
         WHERE i.tenant = p_write->>'tenant' AND i.action_id = v->>'action_id'
           AND i.action_version = (v->>'action_version')::integer AND i.idempotency_key = v->>'idempotency_key'
           AND i.owner_token = p_token AND i.status = v->>'status');
END $$;

-- An action's end with a carried write that says nothing of waits: one statement, one round trip.
CREATE FUNCTION workflow_complete_action(
    p_write jsonb, p_step jsonb, p_token text, p_execution text, p_semantics integer)
RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    r workflow_runs;
BEGIN
    PERFORM set_config('workflows.tenant', p_write->>'tenant', true);
    IF NOT workflow_settle_action(p_write, p_step, p_token, p_semantics) THEN
        RETURN false;
    END IF;
    PERFORM workflow_write_invocations(p_write);
    r := workflow_take_run(p_write, p_execution);
    PERFORM workflow_write_records(
        jsonb_set(p_write, '{steps}', (p_write->'steps') || jsonb_build_array(p_step - 'invocation')));
    PERFORM workflow_update_run(r, p_write);
    RETURN true;
END $$;
