-- The inbox of human tasks. A row follows its wait, whoever writes that: the run, its end, or a repair.

CREATE TABLE workflow_tasks (
    tenant              text        NOT NULL,
    task_id             text        NOT NULL,
    execution_id        text        NOT NULL,                     -- the run
    step_path           text        NOT NULL,                     -- (+)
    wait_id             text        NOT NULL,                     -- (+)
    task_type           text        NOT NULL,                     -- (+)
    title               text        NOT NULL,
    description         text,
    context_data        jsonb       NOT NULL DEFAULT '{}',
    assigned_users      jsonb       NOT NULL DEFAULT '[]',
    assigned_roles      jsonb       NOT NULL DEFAULT '[]',
    due_date            timestamptz,
    expires_at          timestamptz,                              -- (+) when the step fails
    response_schema     jsonb,                                    -- (+) JSON Schema of the answer
    status              text        NOT NULL
        CHECK (status IN ('pending', 'claimed', 'completed', 'canceled', 'expired')),
    claimed_by          text,
    claimed_at          timestamptz,
    reminders           integer     NOT NULL DEFAULT 0,           -- (+) how many were published
    remind_at           timestamptz,                              -- (+) the next one; NULL: none
    response_data       jsonb,
    completed_by        text,
    completed_at        timestamptz,
    created_at          timestamptz NOT NULL,
    PRIMARY KEY (tenant, task_id),
    FOREIGN KEY (tenant, execution_id) REFERENCES workflow_runs (tenant, run_id) ON DELETE CASCADE
);
CREATE INDEX workflow_tasks_open ON workflow_tasks (tenant, created_at) WHERE status IN ('pending', 'claimed');
CREATE INDEX workflow_tasks_run ON workflow_tasks (tenant, execution_id);
CREATE INDEX workflow_tasks_reminders ON workflow_tasks (remind_at)
    WHERE remind_at IS NOT NULL AND status IN ('pending', 'claimed');

-- A wait for a person brings its row in the inbox.
CREATE FUNCTION workflow_open_task() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO workflow_tasks
        (tenant, task_id, execution_id, step_path, wait_id, task_type, title, description, context_data,
         assigned_users, assigned_roles, due_date, expires_at, response_schema, status, created_at)
    VALUES (NEW.tenant, NEW.payload->>'taskId', NEW.run_id, NEW.step_path, NEW.wait_id, NEW.payload->>'taskType',
            NEW.payload->>'title', NEW.payload->>'description', coalesce(NEW.payload->'contextData', '{}'),
            NEW.payload->'assignedUsers', NEW.payload->'assignedRoles',
            workflow_time((NEW.payload->>'dueAt')::bigint), NEW.timeout_at,
            nullif(NEW.payload->'responseSchema', 'null'), 'pending', NEW.created_at)
    ON CONFLICT (tenant, task_id) DO NOTHING;
    RETURN NULL;
END $$;

CREATE TRIGGER workflow_open_task AFTER INSERT ON workflow_run_waits FOR EACH ROW
    WHEN (NEW.wait_type = 'human' AND NEW.status = 'WAITING') EXECUTE FUNCTION workflow_open_task();

-- The inbox says what the run did: an answer that was given and did not resume it (its time-out came first, or the wait was
-- closed) leaves the task `expired` or `canceled`, with the answer and who gave it; where the run took another one, that one is
-- shown.
CREATE FUNCTION workflow_close_task() RETURNS trigger
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

CREATE TRIGGER workflow_close_task AFTER UPDATE OF status ON workflow_run_waits FOR EACH ROW
    WHEN (NEW.wait_type = 'human' AND OLD.status = 'WAITING' AND NEW.status <> 'WAITING')
    EXECUTE FUNCTION workflow_close_task();

-- The first reminder is due with the task.
CREATE FUNCTION workflow_plan_reminder() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.remind_at := NEW.due_date;
    RETURN NEW;
END $$;

CREATE TRIGGER workflow_plan_reminder BEFORE INSERT ON workflow_tasks FOR EACH ROW EXECUTE FUNCTION workflow_plan_reminder();
