-- Calls whose starts are lost again and again: an action that kills its worker takes its neighbours with it,
-- so a call that lost three starts is a suspect, and only what is lost while it runs alone is its own doing.

ALTER TABLE workflow_action_invocations
    ADD COLUMN lost    integer NOT NULL DEFAULT 0,          -- starts without an end, since the last authored attempt
    ADD COLUMN crashes integer NOT NULL DEFAULT 0,          -- of these, those that ran alone
    ADD COLUMN alone   boolean NOT NULL DEFAULT false;      -- how the start that owns the row runs

DROP FUNCTION workflow_start_action(jsonb, text, integer);

-- As in revision 0001, and counts. `alone` in the call says how this start will run: false leaves a suspect's row
-- without an owner and answers `suspect`; true takes it. A caller of the previous release says nothing and takes it.
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
