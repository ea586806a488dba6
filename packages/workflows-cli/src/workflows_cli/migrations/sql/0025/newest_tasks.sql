-- All tasks, the newest first, however many are closed.
CREATE INDEX workflow_tasks_created ON workflow_tasks (tenant, created_at, task_id);
