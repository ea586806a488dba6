-- Waits and the event stream. See docs/adr/0006.

CREATE TABLE workflow_run_waits (
    tenant              text        NOT NULL,
    wait_id             text        NOT NULL,
    run_id              text        NOT NULL,
    step_path           text        NOT NULL,
    visit               integer     NOT NULL DEFAULT 1,           -- (+)
    wait_type           text        NOT NULL CHECK (wait_type IN ('event', 'time', 'human', 'quota')),
    event_name          text,
    key                 text,
    filters             jsonb       NOT NULL DEFAULT '[]',        -- (+) values resolved when the wait opened
    match               text        NOT NULL DEFAULT 'all' CHECK (match IN ('one', 'all')),  -- (+)
    look_back_from      timestamptz NOT NULL,                     -- (+)
    timeout_at          timestamptz,
    status              text        NOT NULL CHECK (status IN ('WAITING', 'RESOLVED', 'TIMED_OUT', 'CANCELED')),
    payload             jsonb       NOT NULL DEFAULT '{}',
    matched_event_id    text,                                     -- (+)
    created_at          timestamptz NOT NULL,
    resolved_at         timestamptz,
    PRIMARY KEY (tenant, wait_id),
    FOREIGN KEY (tenant, run_id) REFERENCES workflow_runs ON DELETE CASCADE
);
CREATE INDEX workflow_run_waits_open ON workflow_run_waits (tenant, event_name, key) WHERE status = 'WAITING';
CREATE INDEX workflow_run_waits_open_of_run ON workflow_run_waits (tenant, run_id) WHERE status = 'WAITING';
CREATE INDEX workflow_run_waits_run ON workflow_run_waits (tenant, run_id);
CREATE INDEX workflow_run_waits_matched ON workflow_run_waits (tenant, run_id, matched_event_id)
    WHERE matched_event_id IS NOT NULL;
-- Waits that closed since an event was routed.
CREATE INDEX workflow_run_waits_closed ON workflow_run_waits (tenant, event_name, resolved_at) WHERE status <> 'WAITING';

CREATE TABLE workflow_runtime_events (
    tenant              text        NOT NULL,
    event_id            text        NOT NULL,
    event_name          text        NOT NULL,
    correlation_key     text,                                     -- the first of correlation_keys
    correlation_keys    text[]      NOT NULL DEFAULT '{}',        -- (+)
    payload             jsonb       NOT NULL DEFAULT '{}',
    payload_schema_ref  text,
    replay_of           text,                                     -- (+) the event that this one repeats
    status              text        NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'routed', 'dead')),  -- (+)
    attempts            integer     NOT NULL DEFAULT 0,           -- (+)
    next_attempt_at     timestamptz NOT NULL DEFAULT now(),       -- (+)
    occurred_at         timestamptz,                              -- (+) the publisher's own time
    created_at          timestamptz NOT NULL DEFAULT now(),
    processed_at        timestamptz,                              -- time of routing; look-back goes by it
    error_message       text,
    PRIMARY KEY (tenant, event_id)
);
-- In the order in which they are taken, so that a backlog is not sorted at each poll.
CREATE INDEX workflow_runtime_events_pending ON workflow_runtime_events (created_at, event_id) WHERE status = 'pending';
CREATE INDEX workflow_runtime_events_dead ON workflow_runtime_events (tenant) WHERE status = 'dead';
-- Newest first, and windows of time for a replay.
CREATE INDEX workflow_runtime_events_created ON workflow_runtime_events (tenant, created_at, event_id);
CREATE INDEX workflow_runtime_events_name ON workflow_runtime_events (tenant, event_name, processed_at);
-- A wait that looks back far finds the events of its key, however many of that name there were for others: by their first key, and
-- among those that have several. None on all keys: under row-level security the planner may use an index for leakproof operators
-- only, and those of arrays are not.
CREATE INDEX workflow_runtime_events_key
    ON workflow_runtime_events (tenant, event_name, (correlation_keys[1]), processed_at, event_id);
CREATE INDEX workflow_runtime_events_several_keys
    ON workflow_runtime_events (tenant, event_name, processed_at, event_id) WHERE correlation_keys[2] IS NOT NULL;
-- Few events have several keys: without this the planner thinks that all have, and reads them all instead of the index of those.
CREATE STATISTICS workflow_runtime_events_several ON (correlation_keys[2]) FROM workflow_runtime_events;

CREATE TABLE workflow_event_deliveries (                          -- (+) one row per event and target
    tenant              text        NOT NULL,
    delivery_id         text        NOT NULL,
    event_id            text        NOT NULL,
    target_kind         text        NOT NULL CHECK (target_kind IN ('wait', 'start')),
    target_id           text        NOT NULL,                     -- wait id, or workflow id
    run_id              text        NOT NULL,                     -- the run to signal, or to start
    key                 text,
    status              text        NOT NULL DEFAULT 'new'
        CHECK (status IN ('new', 'accepted', 'dead', 'consumed', 'late', 'unknown', 'undeliverable')),
    attempts            integer     NOT NULL DEFAULT 0,
    next_attempt_at     timestamptz NOT NULL DEFAULT now(),
    reason              text,
    created_at          timestamptz NOT NULL DEFAULT now(),
    decided_at          timestamptz,
    ordinal             bigint      GENERATED ALWAYS AS IDENTITY, -- order of routing
    PRIMARY KEY (tenant, delivery_id),
    UNIQUE (tenant, event_id, target_kind, target_id),
    FOREIGN KEY (tenant, event_id) REFERENCES workflow_runtime_events ON DELETE CASCADE
);
CREATE INDEX workflow_event_deliveries_new ON workflow_event_deliveries (ordinal) WHERE status = 'new';
-- For `workflow_ready_deliveries` and the like: whether another one of the key and run is before a delivery.
CREATE INDEX workflow_event_deliveries_before ON workflow_event_deliveries (tenant, run_id, key) WHERE status = 'new';
CREATE INDEX workflow_event_deliveries_open ON workflow_event_deliveries (tenant, run_id)
    WHERE status IN ('new', 'accepted', 'dead');
CREATE INDEX workflow_event_deliveries_run ON workflow_event_deliveries (tenant, run_id);
CREATE INDEX workflow_event_deliveries_target ON workflow_event_deliveries (tenant, target_id);
CREATE INDEX workflow_event_deliveries_dead ON workflow_event_deliveries (tenant) WHERE status = 'dead';
-- Few rows have these.
CREATE INDEX workflow_event_deliveries_missed ON workflow_event_deliveries (tenant, event_id)
    WHERE status IN ('late', 'unknown', 'undeliverable');

-- `match: one`: of the waits with this cardinality only one gets an event, the oldest that matches, by a claim. A claim whose wait
-- closes without the event is released, and the event is routed again, to such waits only.
CREATE TABLE workflow_event_claims (                              -- (+)
    tenant              text        NOT NULL,
    event_id            text        NOT NULL,
    wait_id             text        NOT NULL,
    run_id              text        NOT NULL,
    parked              boolean     NOT NULL DEFAULT false,       -- nobody knows whether the run took it
    created_at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, event_id),
    FOREIGN KEY (tenant, event_id) REFERENCES workflow_runtime_events ON DELETE CASCADE
);
CREATE INDEX workflow_event_claims_run ON workflow_event_claims (tenant, run_id);
CREATE INDEX workflow_event_claims_parked ON workflow_event_claims (tenant) WHERE parked;

-- A run that takes thousands of events of one name and key would walk over all those it has taken each time it opens a wait.
CREATE TABLE workflow_run_positions (                             -- (+) only where there was something to walk over
    tenant              text        NOT NULL,
    run_id              text        NOT NULL,
    event_name          text        NOT NULL,
    key                 text        NOT NULL,
    since               timestamptz NOT NULL,                     -- every event routed from here on
    processed_at        timestamptz NOT NULL,                     -- up to this one was taken by the run
    event_id            text        NOT NULL,
    PRIMARY KEY (tenant, run_id, event_name, key),
    FOREIGN KEY (tenant, run_id) REFERENCES workflow_runs (tenant, run_id) ON DELETE CASCADE
);
CREATE INDEX workflow_run_positions_key ON workflow_run_positions (tenant, event_name, key);

-- Runs that share the events of a key (`match: one`) would walk over all that others have claimed each time one of them opens a
-- wait, under the key's lock.
CREATE TABLE workflow_claim_positions (                           -- (+) only where there was something to walk over
    tenant              text        NOT NULL,
    event_name          text        NOT NULL,
    key                 text        NOT NULL,
    since               timestamptz NOT NULL,                     -- every event routed from here on
    processed_at        timestamptz NOT NULL,                     -- up to this one has a claim
    event_id            text        NOT NULL,
    PRIMARY KEY (tenant, event_name, key)
);
