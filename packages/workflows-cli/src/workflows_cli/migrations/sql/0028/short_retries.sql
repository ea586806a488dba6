-- Calls of short actions, as they travel in records. Of one entry the latest attempt counts. A row that a start owns is its own,
-- but for a later attempt of the same call: a short action is called as a regular one where many signals wait, or nobody answers, and
-- the attempt after that as a short one again. The start that owned it writes nothing any more.
CREATE OR REPLACE FUNCTION workflow_write_invocations(p_write jsonb) RETURNS void
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
        output_json = excluded.output_json, error_json = excluded.error_json, completed_at = excluded.completed_at,
        owner_token = NULL
     WHERE i.status <> 'SUCCEEDED'
       AND (i.owner_token IS NULL AND i.attempt <= excluded.attempt
            OR i.run_id = excluded.run_id AND i.step_path = excluded.step_path AND i.attempt < excluded.attempt);
END $$;
