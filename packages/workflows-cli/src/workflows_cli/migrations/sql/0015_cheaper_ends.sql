-- What the end of an action costs the database: fewer statements, and nothing that is planned again at each call. Meanings,
-- locks and their order are those of the revisions before.

-- As in revision 0003, with the words of `workflow_is_final`: a condition that names functions has them parsed at each update
-- of a status, of whatever run.
CREATE OR REPLACE TRIGGER workflow_publish_run_end AFTER UPDATE OF status ON workflow_runs FOR EACH ROW
    WHEN (NEW.parent_run_id IS NOT NULL AND NEW.status IN ('SUCCEEDED', 'FAILED', 'CANCELED')
          AND OLD.status NOT IN ('SUCCEEDED', 'FAILED', 'CANCELED'))
    EXECUTE FUNCTION workflow_publish_run_end();

-- As in revision 0001. That the run has a row is seen by the insert itself, and a second look at the entry is a statement of
-- its own: an expression that `FOUND` is part of is planned at each call.
CREATE OR REPLACE FUNCTION workflow_settle_action(p_write jsonb, p_step jsonb, p_token text, p_semantics integer)
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

-- The execution that a generation belongs to, null while none has written.
CREATE FUNCTION workflow_execution_of(r workflow_runs, p_generation integer) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN p_generation = 0 THEN r.temporal_run_id ELSE r.executions[p_generation] END
$$;

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

-- As in revision 0001: the last of a write, on the row as `workflow_take_run` left it.
CREATE OR REPLACE FUNCTION workflow_update_run(r workflow_runs, p_write jsonb) RETURNS void
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

-- As in revision 0001, for the usual case with one statement on the run's row, which locks, checks and changes it. Whatever
-- is not usual (the first write of an execution, an older one, one that is refused, the end of a run) goes the way of every
-- other write.
CREATE OR REPLACE FUNCTION workflow_complete_action(
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
