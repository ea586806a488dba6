-- As in revision 0003. The inbox says what the run did: an answer that was given and did not resume it (its time-out came
-- first, or the wait was closed) leaves the task `expired` or `canceled`, with the answer and who gave it; where the run took
-- another one, that one is shown.
CREATE OR REPLACE FUNCTION workflow_close_task() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    closed text := CASE NEW.status WHEN 'RESOLVED' THEN 'completed' WHEN 'TIMED_OUT' THEN 'expired' ELSE 'canceled' END;
    taken  jsonb;
BEGIN
    IF NEW.status = 'RESOLVED' THEN
        taken := (SELECT e.payload FROM workflow_runtime_events e
                   WHERE e.tenant = NEW.tenant AND e.event_id = NEW.matched_event_id);
    END IF;
    UPDATE workflow_tasks t SET status = closed, response_data = taken, completed_at = NEW.resolved_at
     WHERE t.tenant = NEW.tenant AND t.task_id = NEW.payload->>'taskId' AND t.status IN ('pending', 'claimed');
    IF FOUND THEN
        RETURN NULL;
    END IF;
    IF closed <> 'completed' THEN
        UPDATE workflow_tasks t SET status = closed
         WHERE t.tenant = NEW.tenant AND t.task_id = NEW.payload->>'taskId' AND t.status = 'completed';
    ELSIF NEW.matched_event_id IS DISTINCT FROM 'task-answered:' || (NEW.payload->>'taskId') THEN
        UPDATE workflow_tasks t SET response_data = taken, completed_by = NULL, completed_at = NEW.resolved_at
         WHERE t.tenant = NEW.tenant AND t.task_id = NEW.payload->>'taskId' AND t.status = 'completed';
    END IF;
    RETURN NULL;
END $$;
