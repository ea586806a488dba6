-- Tables of the authored runtime. Names and columns are the original's where they are live there;
-- columns marked (+) are ours. Every table carries its tenant and forced row-level security.

CREATE TABLE workflow_definitions (
    tenant              text        NOT NULL,
    workflow_id         text        NOT NULL,
    key                 text        NOT NULL CHECK (key ~ '^[a-z0-9][a-z0-9._-]*$'),
    name                text        NOT NULL,
    description         text,
    payload_schema_ref  text,
    trigger             jsonb,                                    -- of the newest published version
    trigger_event_name  text GENERATED ALWAYS AS                  -- (+) what starts runs, in a form an index can find
        (CASE WHEN trigger ->> 'type' = 'event' THEN trigger ->> 'eventName' END) STORED,
    draft_definition    jsonb       NOT NULL,
    draft_version       integer     NOT NULL CHECK (draft_version > 0),  -- counts changes: save and publish
    published_version   integer,                                  -- (+) the newest
    status              text        NOT NULL CHECK (status IN ('draft', 'published')),
    is_paused           boolean     NOT NULL DEFAULT false,
    concurrency_limit   integer     CHECK (concurrency_limit > 0),
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, workflow_id),
    UNIQUE (tenant, key)
);
CREATE INDEX workflow_definitions_trigger ON workflow_definitions (tenant, trigger_event_name)
    WHERE trigger_event_name IS NOT NULL;

CREATE TABLE workflow_definition_versions (
    tenant              text        NOT NULL,
    version_id          uuid        NOT NULL DEFAULT gen_random_uuid(),
    workflow_id         text        NOT NULL,
    version             integer     NOT NULL CHECK (version > 0),
    definition_json     jsonb       NOT NULL,
    definition_hash     text        NOT NULL,                    -- (+) sha-256 of the canonical JSON
    published_by        text,
    published_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, workflow_id, version),
    -- Without a cascade: what was published is never deleted, nor what it belongs to.
    FOREIGN KEY (tenant, workflow_id) REFERENCES workflow_definitions
);

CREATE TABLE workflow_runs (
    tenant                    text        NOT NULL,
    run_id                    text        NOT NULL,
    workflow_id               text        NOT NULL,
    workflow_version          integer     NOT NULL,
    status                    text        NOT NULL
        CHECK (status IN ('STARTING', 'RUNNING', 'WAITING', 'SUCCEEDED', 'FAILED', 'CANCELED')),
    waiting_for               jsonb,                              -- (+) what a WAITING run waits for
    node_path                 text,
    trigger_type              text,
    trigger_metadata_json     jsonb,
    trigger_fire_key          text,
    event_type                text,
    temporal_workflow_id      text        NOT NULL,
    temporal_run_id           text,                               -- the first execution, never a later one
    definition_hash           text        NOT NULL,
    runtime_semantics_version integer     NOT NULL,
    parent_run_id             text,
    root_run_id               text,
    input_json                jsonb,
    result_json               jsonb,                              -- (+)
    error_json                jsonb,
    generation                integer     NOT NULL DEFAULT 0,     -- (+) fence: number of continue-as-new
    sequence                  integer     NOT NULL DEFAULT 0,     -- (+) fence: number of the last write
    started_at                timestamptz NOT NULL DEFAULT now(),
    completed_at              timestamptz,
    updated_at                timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, run_id)
) WITH (fillfactor = 70);
-- No index has a column that every run write changes: the row is then updated in place (HOT).
CREATE UNIQUE INDEX workflow_runs_fire_key ON workflow_runs (tenant, trigger_fire_key) WHERE trigger_fire_key IS NOT NULL;
CREATE INDEX workflow_runs_status ON workflow_runs (tenant, status, started_at);
CREATE INDEX workflow_runs_started ON workflow_runs (tenant, started_at);
CREATE INDEX workflow_runs_workflow ON workflow_runs (tenant, workflow_id, status, started_at);

CREATE TABLE workflow_run_steps (
    tenant              text        NOT NULL,
    run_id              text        NOT NULL,
    step_path           text        NOT NULL,
    visit               integer     NOT NULL DEFAULT 1,           -- (+)
    definition_step_id  text        NOT NULL,
    step_type           text        NOT NULL,                     -- (+)
    name                text,                                     -- (+)
    status              text        NOT NULL
        CHECK (status IN ('STARTED', 'SUCCEEDED', 'FAILED', 'CANCELED', 'RETRY_SCHEDULED')),
    attempt             integer     NOT NULL DEFAULT 1,
    output_json         jsonb,                                    -- (+) up to 2 KiB, else in the invocation
    error_json          jsonb,
    generation          integer     NOT NULL,                     -- (+) fence
    sequence            integer     NOT NULL,                     -- (+) fence
    started_at          timestamptz NOT NULL,
    completed_at        timestamptz,
    duration_ms         bigint GENERATED ALWAYS AS
        ((extract(epoch FROM completed_at - started_at) * 1000)::bigint) STORED,
    PRIMARY KEY (tenant, run_id, step_path, visit),
    FOREIGN KEY (tenant, run_id) REFERENCES workflow_runs ON DELETE CASCADE
);

CREATE TABLE workflow_action_invocations (
    tenant              text        NOT NULL,
    invocation_id       uuid        NOT NULL DEFAULT gen_random_uuid(),
    run_id              text        NOT NULL,
    step_path           text        NOT NULL,
    action_id           text        NOT NULL,
    action_version      integer     NOT NULL,
    idempotency_key     text        NOT NULL,
    status              text        NOT NULL CHECK (status IN ('STARTED', 'SUCCEEDED', 'FAILED')),
    attempt             integer     NOT NULL DEFAULT 1,           -- authored attempts
    starts              integer     NOT NULL DEFAULT 1,           -- (+) handler starts, also after a lost worker
    owner_token         text,                                     -- (+) the start that may complete this row
    input_json          jsonb,                                    -- secrets as references, never as values
    output_json         jsonb,
    error_json          jsonb,
    created_at          timestamptz NOT NULL DEFAULT now(),
    started_at          timestamptz NOT NULL,
    completed_at        timestamptz,
    PRIMARY KEY (tenant, action_id, action_version, idempotency_key),
    FOREIGN KEY (tenant, run_id) REFERENCES workflow_runs ON DELETE CASCADE
);
CREATE INDEX workflow_action_invocations_run ON workflow_action_invocations (tenant, run_id, step_path);

CREATE TABLE workflow_run_waits (
    tenant              text        NOT NULL,
    wait_id             text        NOT NULL,
    run_id              text        NOT NULL,
    step_path           text        NOT NULL,
    visit               integer     NOT NULL DEFAULT 1,           -- (+)
    wait_type           text        NOT NULL CHECK (wait_type IN ('event', 'time', 'human')),
    event_name          text,
    key                 text,
    filters             jsonb       NOT NULL DEFAULT '[]',        -- (+) values resolved when the wait opened
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
CREATE INDEX workflow_run_waits_run ON workflow_run_waits (tenant, run_id);

CREATE TABLE workflow_run_logs (
    tenant              text        NOT NULL,
    log_id              bigint      GENERATED ALWAYS AS IDENTITY,
    run_id              text        NOT NULL,
    step_path           text,
    level               text        NOT NULL CHECK (level IN ('DEBUG', 'INFO', 'WARN', 'ERROR')),
    message             text        NOT NULL,
    context_json        jsonb,
    source              text,
    generation          integer     NOT NULL,                     -- (+) with sequence and ordinal: written once
    sequence            integer     NOT NULL,
    ordinal             integer     NOT NULL,
    created_at          timestamptz NOT NULL,
    PRIMARY KEY (tenant, run_id, generation, sequence, ordinal),
    FOREIGN KEY (tenant, run_id) REFERENCES workflow_runs ON DELETE CASCADE
);

CREATE TABLE workflow_runtime_events (
    tenant              text        NOT NULL,
    event_id            text        NOT NULL,
    event_name          text        NOT NULL,
    correlation_key     text,                                     -- the first of correlation_keys
    correlation_keys    text[]      NOT NULL DEFAULT '{}',        -- (+)
    payload             jsonb       NOT NULL DEFAULT '{}',
    payload_schema_ref  text,
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
-- None on the keys: under row-level security the planner may use an index for leakproof operators only,
-- and those of arrays are not.
CREATE INDEX workflow_runtime_events_name ON workflow_runtime_events (tenant, event_name, processed_at);

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
CREATE INDEX workflow_event_deliveries_run ON workflow_event_deliveries (tenant, run_id);

CREATE TABLE workflow_data_store (
    tenant              text        NOT NULL,
    namespace           text        NOT NULL,
    key                 text        NOT NULL,
    value               jsonb       NOT NULL,
    revision            bigint      NOT NULL DEFAULT 1,
    expires_at          timestamptz,
    created_by_run_id   text,
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, namespace, key)
);

CREATE TABLE workflow_processes (                                 -- (+) heartbeat of each live process; no tenant data
    identity            text        PRIMARY KEY,
    service             text        NOT NULL,
    version             text        NOT NULL,
    queues              text[]      NOT NULL,
    actions             jsonb       NOT NULL DEFAULT '[]',
    started_at          timestamptz NOT NULL DEFAULT now(),
    seen_at             timestamptz NOT NULL DEFAULT now()
);
