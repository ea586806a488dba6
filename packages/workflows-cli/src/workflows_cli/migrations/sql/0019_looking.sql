-- For those who look: operators' lists and explanations, among many rows.

-- At once, and in the order in which runs and the router write them: whoever has one of them and wants the next would
-- otherwise wait for this, and this for them. Reading goes on.
LOCK TABLE workflow_run_waits, workflow_event_deliveries, workflow_runtime_events IN SHARE MODE;

-- Newest first, and windows of time for a replay.
CREATE INDEX workflow_runtime_events_created ON workflow_runtime_events (tenant, created_at, event_id);

-- Few rows have these.
CREATE INDEX workflow_event_deliveries_missed ON workflow_event_deliveries (tenant, event_id)
    WHERE status IN ('late', 'unknown', 'undeliverable');

-- Waits that closed since an event was routed.
CREATE INDEX workflow_run_waits_closed ON workflow_run_waits (tenant, event_name, resolved_at) WHERE status <> 'WAITING';

-- Few events have several keys: without this the planner thinks that all have, and reads them all instead of the index of those.
CREATE STATISTICS workflow_runtime_events_several ON (correlation_keys[2]) FROM workflow_runtime_events;
