-- Ends of runs for those who wait for them, and ends by others than the run.

-- The end of a run that another run has started is an event for that one, in the transaction that writes the end: of the run
-- itself, of a launch that failed, of a repair. It is written whatever its event is like: nothing of the event may refuse it. A
-- result that no event can carry is left out with its size, which the parent is told; an id that somebody else has used gives way
-- to a new one.
CREATE FUNCTION workflow_publish_run_end() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    -- Of `workflow_publish_event`; what stands beside result and error has room besides.
    most CONSTANT integer := 524288 - 16384;
    body jsonb := jsonb_build_object('runId', NEW.run_id, 'workflowId', NEW.workflow_id,
                                     'workflowVersion', NEW.workflow_version, 'status', NEW.status);
    id   text  := 'run-ended:' || NEW.run_id;
    size integer := octet_length(coalesce(NEW.result_json, 'null')::text) + octet_length(coalesce(NEW.error_json, 'null')::text);
BEGIN
    IF size <= most THEN
        body := body || jsonb_build_object('result', NEW.result_json, 'error', NEW.error_json);
    ELSE
        body := body || jsonb_build_object(
            'result', NULL, 'resultBytes', octet_length(NEW.result_json::text),
            'error', CASE WHEN NEW.error_json IS NOT NULL THEN jsonb_build_object(
                'category', NEW.error_json->'category', 'code', NEW.error_json->'code',
                'message', left(NEW.error_json->>'message', 2000)) END);
    END IF;
    BEGIN
        PERFORM workflow_publish_event(NEW.tenant, id, 'WORKFLOW_RUN_ENDED', body, NEW.run_id);
    EXCEPTION WHEN SQLSTATE 'WF002' THEN
        PERFORM workflow_publish_event(NEW.tenant, id || ':' || gen_random_uuid(), 'WORKFLOW_RUN_ENDED', body, NEW.run_id);
    END;
    RETURN NULL;
END $$;

-- Without `workflow_is_final`: a condition that names functions has them parsed at each update of a status, of whatever run.
CREATE TRIGGER workflow_publish_run_end AFTER UPDATE OF status ON workflow_runs FOR EACH ROW
    WHEN (NEW.parent_run_id IS NOT NULL AND NEW.status IN ('SUCCEEDED', 'FAILED', 'CANCELED')
          AND OLD.status NOT IN ('SUCCEEDED', 'FAILED', 'CANCELED'))
    EXECUTE FUNCTION workflow_publish_run_end();

-- Ends an open run by the same write that a run ends itself with: waits, deliveries, tasks and a waiting parent get their due.
-- False when it has ended meanwhile. `p_consumed` is what the closed run says it took; NULL when nobody can tell, and then what was
-- claimed stays so until an operator decides.
CREATE FUNCTION workflow_end_run(
    p_tenant text, p_run text, p_status text, p_error jsonb, p_execution text, p_consumed jsonb)
RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    r     workflow_runs;
    known text;
BEGIN
    PERFORM set_config('workflows.tenant', p_tenant, true);
    SELECT * INTO r FROM workflow_runs w WHERE w.tenant = p_tenant AND w.run_id = p_run FOR NO KEY UPDATE;
    IF r.run_id IS NULL OR workflow_is_final(r.status) THEN
        RETURN false;
    END IF;
    known := CASE WHEN r.generation = 0 THEN r.temporal_run_id ELSE r.executions[r.generation] END;
    PERFORM workflow_write_run(
        jsonb_build_object(
            'tenant', p_tenant, 'run_id', p_run, 'workflow_id', r.workflow_id, 'workflow_version', r.workflow_version,
            'definition_hash', r.definition_hash, 'trigger_type', r.trigger_type, 'generation', r.generation,
            'sequence', r.sequence + 1, 'status', p_status, 'node_path', r.node_path, 'waiting_for', NULL,
            'steps', '[]'::jsonb, 'consumed', coalesce(p_consumed, '[]'), 'closed', '[]'::jsonb, 'waits', '[]'::jsonb,
            'logs', jsonb_build_array(jsonb_build_object(
                'level', 'ERROR', 'message', p_error->>'message', 'step_path', NULL, 'context_json', NULL,
                'at', (extract(epoch FROM clock_timestamp()) * 1000)::bigint)),
            'result_json', NULL, 'error_json', p_error,
            'undeliverable', CASE WHEN p_consumed IS NULL THEN 'outcome unknown: ' ELSE '' END
                || 'the run ended before it recorded that it took the event',
            'outcome_unknown', p_consumed IS NULL),
        coalesce(known, p_execution), r.runtime_semantics_version);
    RETURN true;
END $$;
