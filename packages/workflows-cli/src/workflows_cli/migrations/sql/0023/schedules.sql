-- Schedules, and the calendars that their day filter goes by. A row is what is wanted; the Temporal Schedule follows it
-- (`synced_revision`). A row that is deleted stays until its Temporal Schedule is gone.

CREATE TABLE business_hours_schedules (
    tenant              text        NOT NULL,
    schedule_id         text        NOT NULL,
    name                text        NOT NULL,
    timezone            text        NOT NULL,                     -- IANA name
    hours               jsonb       NOT NULL,                     -- weekday -> [[begins, ends]], wall clock
    holidays            jsonb       NOT NULL DEFAULT '[]',        -- dates, YYYY-MM-DD or MM-DD for every year
    is_default          boolean     NOT NULL DEFAULT false,
    updated_at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, schedule_id)
);
CREATE UNIQUE INDEX business_hours_schedules_default ON business_hours_schedules (tenant) WHERE is_default;

CREATE TABLE tenant_workflow_schedule (
    tenant                      text        NOT NULL,
    id                          text        NOT NULL,
    workflow_id                 text        NOT NULL,
    workflow_version            integer     NOT NULL,             -- follows the newest published one
    name                        text        NOT NULL,
    origin                      text        NOT NULL CHECK (origin IN ('trigger', 'operator')),  -- (+)
    trigger_type                text        NOT NULL CHECK (trigger_type IN ('schedule', 'recurring')),
    day_type_filter             text        NOT NULL DEFAULT 'any'
        CHECK (day_type_filter IN ('any', 'business', 'non_business')),
    business_hours_schedule_id  text,                             -- NULL: the tenant's default
    run_at                      timestamptz,
    cron                        text,
    timezone                    text        NOT NULL DEFAULT 'UTC',
    overlap_policy              text        NOT NULL DEFAULT 'skip',  -- (+)
    payload_json                jsonb,
    enabled                     boolean     NOT NULL DEFAULT true,
    status                      text        NOT NULL
        CHECK (status IN ('scheduled', 'paused', 'disabled', 'completed', 'failed', 'deleted')),
    runner_schedule_id          text        NOT NULL,             -- of the Temporal Schedule
    last_fire_at                timestamptz,
    last_fire_key               text,
    last_run_status             text,
    last_error                  text,
    revision                    integer     NOT NULL DEFAULT 1,   -- (+) of what is wanted
    synced_revision             integer     NOT NULL DEFAULT 0,   -- (+) of what Temporal has
    created_at                  timestamptz NOT NULL DEFAULT now(),
    updated_at                  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, workflow_id) REFERENCES workflow_definitions,
    CHECK ((trigger_type = 'schedule') = (run_at IS NOT NULL) AND (trigger_type = 'recurring') = (cron IS NOT NULL))
);
CREATE INDEX tenant_workflow_schedule_workflow ON tenant_workflow_schedule (tenant, workflow_id);
CREATE INDEX tenant_workflow_schedule_behind ON tenant_workflow_schedule (tenant, id) WHERE synced_revision < revision;
