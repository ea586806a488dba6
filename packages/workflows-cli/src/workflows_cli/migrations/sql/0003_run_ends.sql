-- The end of a run that another run has started is an event for that one, in the transaction that writes the end:
-- of the run itself, of a launch that failed, of a repair.

CREATE FUNCTION workflow_publish_run_end() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM workflow_publish_event(
        NEW.tenant, 'run-ended:' || NEW.run_id, 'WORKFLOW_RUN_ENDED',
        jsonb_build_object('runId', NEW.run_id, 'workflowId', NEW.workflow_id, 'workflowVersion', NEW.workflow_version,
                           'status', NEW.status, 'result', NEW.result_json, 'error', NEW.error_json),
        NEW.run_id);
    RETURN NULL;
END $$;

CREATE TRIGGER workflow_publish_run_end AFTER UPDATE OF status ON workflow_runs FOR EACH ROW
    WHEN (NEW.parent_run_id IS NOT NULL AND workflow_is_final(NEW.status) AND NOT workflow_is_final(OLD.status))
    EXECUTE FUNCTION workflow_publish_run_end();
