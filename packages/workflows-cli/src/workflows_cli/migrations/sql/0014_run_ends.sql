-- The end of a run is written whatever its event is like: nothing of the event may refuse it. A result that no event can
-- carry is left out with its size, which the parent is told; an id that somebody else has used gives way to a new one.
CREATE OR REPLACE FUNCTION workflow_publish_run_end() RETURNS trigger
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
