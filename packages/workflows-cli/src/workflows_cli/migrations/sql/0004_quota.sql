-- A run whose tenant has no steps left waits for them, with a wait of its own type.

ALTER TABLE workflow_run_waits DROP CONSTRAINT workflow_run_waits_wait_type_check;
ALTER TABLE workflow_run_waits ADD CONSTRAINT workflow_run_waits_wait_type_check
    CHECK (wait_type IN ('event', 'time', 'human', 'quota'));
