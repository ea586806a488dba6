-- Starts and ends of actions. Calls whose starts are lost again and again: an action that kills its worker takes its neighbours with
-- it, so a call that lost three starts is a suspect, and only what is lost while it runs alone is its own doing.

-- A start of a call, counted. `alone` in the call says how it will run: false leaves a suspect's row without an owner and answers
-- `suspect`; true, or saying nothing, takes it.
CREATE FUNCTION workflow_start_action(p_call jsonb, p_token text, p_semantics integer)
RETURNS TABLE (status text, attempt integer, starts integer, output_json jsonb, error_json jsonb, taken boolean,
               suspect boolean, crashes integer)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_tenant   text    := p_call->'write'->>'tenant';
    v_run      text    := p_call->'write'->>'run_id';
    v_alone    boolean := (p_call->>'alone')::boolean;
    b          workflow_action_invocations;
    ended      boolean;
    was_lost   boolean;
    suspicious boolean;
BEGIN
    PERFORM set_config('workflows.tenant', v_tenant, true);
    PERFORM workflow_ensure_run(p_call->'write', p_semantics);
    INSERT INTO workflow_action_invocations
        (tenant, run_id, step_path, action_id, action_version, idempotency_key, status, attempt, owner_token,
         input_json, started_at, lost)
    VALUES (v_tenant, v_run, p_call->>'step_path', p_call->>'action_id', (p_call->>'action_version')::integer,
            p_call->>'idempotency_key', 'STARTED', (p_call->>'attempt')::integer, p_token, nullif(p_call->'input', 'null'),
            clock_timestamp(), coalesce((p_call->>'lost')::integer, 0))
    ON CONFLICT (tenant, action_id, action_version, idempotency_key) DO NOTHING;
    IF FOUND THEN
        RETURN QUERY SELECT NULL::text, 0, 0, NULL::jsonb, NULL::jsonb, true, false, 0;
        RETURN;
    END IF;
    SELECT * INTO STRICT b FROM workflow_action_invocations i
     WHERE i.tenant = v_tenant AND i.action_id = p_call->>'action_id'
       AND i.action_version = (p_call->>'action_version')::integer AND i.idempotency_key = p_call->>'idempotency_key'
       FOR UPDATE;
    ended := b.status = 'SUCCEEDED'
        OR (b.status = 'FAILED' AND b.run_id = v_run AND b.step_path = p_call->>'step_path'
            AND b.attempt >= (p_call->>'attempt')::integer);
    was_lost := b.status = 'STARTED' AND b.owner_token IS NOT NULL AND b.owner_token <> p_token;
    IF b.status <> 'STARTED' THEN
        b.lost := 0;
        b.crashes := 0;
    ELSIF was_lost THEN
        b.lost := b.lost + 1;
        b.crashes := b.crashes + CASE WHEN b.alone THEN 1 ELSE 0 END;
    END IF;
    suspicious := NOT ended AND b.lost >= 3 AND v_alone IS NOT NULL;
    IF suspicious AND NOT v_alone THEN
        UPDATE workflow_action_invocations i SET owner_token = NULL, alone = false, lost = b.lost, crashes = b.crashes
         WHERE i.tenant = v_tenant AND i.action_id = b.action_id AND i.action_version = b.action_version
           AND i.idempotency_key = b.idempotency_key;
    ELSIF NOT ended AND b.owner_token IS DISTINCT FROM p_token THEN
        UPDATE workflow_action_invocations i SET
            run_id = v_run, step_path = p_call->>'step_path', status = 'STARTED',
            attempt = (p_call->>'attempt')::integer, starts = i.starts + 1, owner_token = p_token,
            input_json = nullif(p_call->'input', 'null'), output_json = NULL, error_json = NULL,
            started_at = clock_timestamp(), completed_at = NULL,
            lost = b.lost, crashes = b.crashes, alone = suspicious
         WHERE i.tenant = v_tenant AND i.action_id = b.action_id AND i.action_version = b.action_version
           AND i.idempotency_key = b.idempotency_key;
    END IF;
    RETURN QUERY SELECT b.status, b.attempt, b.starts, b.output_json, b.error_json,
        NOT ended AND NOT (suspicious AND NOT v_alone), suspicious, b.crashes;
END $$;

-- A handler that runs longer than a second is made visible, unless its row has moved on meanwhile. A run that ends at this very
-- moment is waited for, and then has ended: its end closed the steps that it saw, and one announced later would stay STARTED.
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
    IF NOT FOUND THEN
        RETURN;
    END IF;
    PERFORM 1 FROM workflow_runs r
      WHERE r.tenant = v_tenant AND r.run_id = v_run AND NOT workflow_is_final(r.status)
        FOR SHARE;
    IF NOT FOUND THEN
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

-- A start that was interrupted in an orderly way, such as by a worker that drains, is not a lost one.
CREATE FUNCTION workflow_release_action(p_call jsonb, p_token text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('workflows.tenant', p_call->'write'->>'tenant', true);
    UPDATE workflow_action_invocations i SET owner_token = NULL, alone = false
     WHERE i.tenant = p_call->'write'->>'tenant' AND i.action_id = p_call->>'action_id'
       AND i.action_version = (p_call->>'action_version')::integer AND i.idempotency_key = p_call->>'idempotency_key'
       AND i.owner_token = p_token AND i.status = 'STARTED';
END $$;

-- Writes an action's end into its ledger row if the token owns it, or if no start has a row yet. True as well when this very end
-- is there already (the answer to the first try was lost). That the run has a row is seen by the insert itself, and a second look
-- at the entry is a statement of its own: an expression that `FOUND` is part of is planned at each call.
CREATE FUNCTION workflow_settle_action(p_write jsonb, p_step jsonb, p_token text, p_semantics integer)
RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    v        jsonb := p_step->'invocation';
    v_tenant text  := p_write->>'tenant';
    v_run    text  := p_write->>'run_id';
BEGIN
    INSERT INTO workflow_action_invocations AS i
        (tenant, run_id, step_path, action_id, action_version, idempotency_key, status, attempt, owner_token,
         input_json, output_json, error_json, started_at, completed_at)
    SELECT v_tenant, v_run, p_step->>'step_path', v->>'action_id',
           (v->>'action_version')::integer, v->>'idempotency_key', v->>'status', (v->>'attempt')::integer, p_token,
           nullif(v->'input_json', 'null'), nullif(v->'output_json', 'null'), nullif(v->'error_json', 'null'),
           workflow_time((p_step->>'started_at')::bigint), workflow_time((p_step->>'completed_at')::bigint)
      FROM workflow_runs r
     WHERE r.tenant = v_tenant AND r.run_id = v_run
    ON CONFLICT (tenant, action_id, action_version, idempotency_key) DO UPDATE SET
        status = excluded.status, attempt = excluded.attempt, output_json = excluded.output_json,
        error_json = excluded.error_json, completed_at = excluded.completed_at
     WHERE i.owner_token = p_token AND i.status = 'STARTED';
    IF FOUND THEN
        RETURN true;
    END IF;
    IF NOT EXISTS (SELECT FROM workflow_runs r WHERE r.tenant = v_tenant AND r.run_id = v_run) THEN
        PERFORM workflow_ensure_run(p_write, p_semantics);
        RETURN workflow_settle_action(p_write, p_step, p_token, p_semantics);
    END IF;
    RETURN EXISTS (
        SELECT FROM workflow_action_invocations i
         WHERE i.tenant = v_tenant AND i.action_id = v->>'action_id'
           AND i.action_version = (v->>'action_version')::integer AND i.idempotency_key = v->>'idempotency_key'
           AND i.owner_token = p_token AND i.status = v->>'status');
END $$;

-- An action's end with a carried write that says nothing of waits: one statement, one round trip. In the usual case one
-- statement on the run's row locks, checks and changes it. Whatever is not usual (the first write of an execution, an older one,
-- one that is refused, the end of a run) goes the way of every other write.
CREATE FUNCTION workflow_complete_action(
    p_write jsonb, p_step jsonb, p_token text, p_execution text, p_semantics integer)
RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    -- Assigned, since `PERFORM` is a statement.
    v_tenant text    := set_config('workflows.tenant', p_write->>'tenant', true);
    v_steps  jsonb   := p_write->'steps';
    advanced boolean := false;
    r        workflow_runs;
BEGIN
    IF NOT workflow_settle_action(p_write, p_step, p_token, p_semantics) THEN
        RETURN false;
    END IF;
    IF jsonb_array_length(v_steps) > 0 THEN
        PERFORM workflow_write_invocations(p_write);
    END IF;
    -- The end of a run cancels its open steps, so it comes after the records.
    IF workflow_is_final(p_write->>'status') IS NOT TRUE THEN
        advanced := workflow_advance_run(p_write, p_execution);
    END IF;
    IF NOT advanced THEN
        r := workflow_take_run(p_write, p_execution);
    END IF;
    PERFORM workflow_write_records(jsonb_set(p_write, '{steps}', v_steps || p_step));
    IF NOT advanced THEN
        PERFORM workflow_update_run(r, p_write);
    END IF;
    RETURN true;
END $$;

-- The end of an action with the end of its run, in one transaction; answers whether the run has ended with this. It has not
-- where another start owns the action, and nothing is written then, or where the run has gone on without this end: it has
-- written something since, or the action was recorded alone; only what the action itself carries is written.
CREATE FUNCTION workflow_complete_last_action(
    p_write jsonb, p_end jsonb, p_step jsonb, p_token text, p_execution text, p_semantics integer)
RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    v_tenant text    := set_config('workflows.tenant', p_write->>'tenant', true);
    g        integer := (p_write->>'generation')::integer;
    went_on  boolean;
BEGIN
    IF NOT workflow_settle_action(p_write, p_step, p_token, p_semantics) THEN
        RETURN false;
    END IF;
    PERFORM workflow_write_invocations(p_write);
    -- A row that has the call's own write already is of a run that was told of no end. A repeated end finds its own, which
    -- changes nothing.
    SELECT (workflow_is_final(r.status) OR (r.generation, r.sequence) >= (g, (p_write->>'sequence')::integer))
           AND (r.generation, r.sequence) <> (g, (p_end->>'sequence')::integer)
      INTO STRICT went_on
      FROM workflow_runs r
     WHERE r.tenant = v_tenant AND r.run_id = p_write->>'run_id' FOR NO KEY UPDATE;
    PERFORM workflow_write_run(CASE WHEN went_on THEN p_write ELSE p_end END, p_execution, p_semantics);
    RETURN NOT went_on;
END $$;
