-- Runs and what is recorded of them. In all files names and columns are the original's where they are live there; columns marked
-- (+) are ours. Every table carries its tenant and forced row-level security.

CREATE TABLE workflow_runs (
    tenant                    text        NOT NULL,
    run_id                    text        NOT NULL,
    workflow_id               text        NOT NULL,
    workflow_version          integer     NOT NULL,
    status                    text        NOT NULL
        CHECK (status IN ('QUEUED', 'STARTING', 'RUNNING', 'WAITING', 'SUCCEEDED', 'FAILED', 'CANCELED')),
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
    waits_generation          integer     NOT NULL DEFAULT 0,     -- (+) fence of the last write that named the waits
    waits_sequence            integer     NOT NULL DEFAULT 0,
    executions                text[]      NOT NULL DEFAULT '{}',  -- (+) [n] is the execution of generation n, n > 0
    launch_json               jsonb,                              -- (+) what only its start needs; NULL once started
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
CREATE INDEX workflow_runs_open ON workflow_runs (status) WHERE status IN ('STARTING', 'RUNNING', 'WAITING');
CREATE INDEX workflow_runs_queued ON workflow_runs (tenant, workflow_id, started_at, run_id) WHERE status = 'QUEUED';

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
    lost                integer     NOT NULL DEFAULT 0,           -- (+) starts without an end, since the last attempt
    crashes             integer     NOT NULL DEFAULT 0,           -- (+) of these, those that ran alone
    alone               boolean     NOT NULL DEFAULT false,       -- (+)
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
CREATE INDEX workflow_run_logs_moment ON workflow_run_logs (tenant, run_id, created_at);
