-- Who works on a task, and when people were reminded of it.

ALTER TABLE workflow_tasks
    ADD COLUMN claimed_by   text,
    ADD COLUMN claimed_at   timestamptz,
    ADD COLUMN reminders    integer NOT NULL DEFAULT 0,           -- (+) how many were published
    ADD COLUMN remind_at    timestamptz;                          -- (+) the next one; NULL: none

-- The first reminder is due with the task.
CREATE FUNCTION workflow_plan_reminder() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.remind_at := NEW.due_date;
    RETURN NEW;
END $$;

CREATE TRIGGER workflow_plan_reminder BEFORE INSERT ON workflow_tasks FOR EACH ROW EXECUTE FUNCTION workflow_plan_reminder();
UPDATE workflow_tasks SET remind_at = due_date WHERE status IN ('pending', 'claimed');

CREATE INDEX workflow_tasks_reminders ON workflow_tasks (remind_at)
    WHERE remind_at IS NOT NULL AND status IN ('pending', 'claimed');

CREATE POLICY narrow_functions ON workflow_tasks TO workflow_definer USING (true);
GRANT SELECT (tenant, task_id, status, remind_at) ON workflow_tasks TO workflow_definer;

CREATE FUNCTION workflow_tasks_to_remind(p_limit integer)
RETURNS TABLE (tenant text, task_id text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT t.tenant, t.task_id FROM workflow_tasks t
     WHERE t.remind_at <= now() AND t.status IN ('pending', 'claimed')
     ORDER BY t.remind_at
     LIMIT p_limit
$$;

GRANT CREATE ON SCHEMA public TO workflow_definer;
ALTER FUNCTION workflow_tasks_to_remind(integer) OWNER TO workflow_definer;
REVOKE CREATE ON SCHEMA public FROM workflow_definer;
REVOKE ALL ON FUNCTION workflow_tasks_to_remind(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION workflow_tasks_to_remind(integer) TO workflow_runtime;
