-- As in revision 0001. A run that ends at this very moment is waited for, and then has ended: its end had closed the
-- steps that it saw, and one that was announced meanwhile stayed STARTED for ever.
CREATE OR REPLACE FUNCTION workflow_announce_action(p_call jsonb, p_token text, p_semantics integer) RETURNS void
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
