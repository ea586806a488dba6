-- Jobs, what happened in them, tenants whose jobs rest, and the processes of this service.
-- Row-level security is forced: even the owner sees only the tenant that its transaction has set.

CREATE TABLE temporal_worker.jobs (
    tenant          text        NOT NULL,
    job_id          text        NOT NULL,
    type            text        NOT NULL,
    status          text        NOT NULL CHECK (status IN ('queued', 'processing', 'completed', 'failed')),
    metadata        jsonb       NOT NULL DEFAULT '{}',
    runner_type     text        NOT NULL DEFAULT 'temporal',
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, job_id)
);
CREATE INDEX jobs_by_status ON temporal_worker.jobs (tenant, status, updated_at);

CREATE TABLE temporal_worker.job_details (
    tenant          text        NOT NULL,
    job_id          text        NOT NULL,
    external_run_id text        NOT NULL,
    step_name       text        NOT NULL,
    status          text        NOT NULL,
    result          jsonb,
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, job_id, external_run_id, step_name)
);

CREATE TABLE temporal_worker.suspended_tenants (
    tenant          text        PRIMARY KEY,
    reason          text        NOT NULL,
    since           timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE temporal_worker.processes (
    identity        text        PRIMARY KEY,
    service         text        NOT NULL,
    version         text        NOT NULL,
    build_id        text        NOT NULL,
    namespace       text        NOT NULL,
    queues          text[]      NOT NULL,
    draining        boolean     NOT NULL DEFAULT false,
    started_at      timestamptz NOT NULL DEFAULT now(),
    beat_at         timestamptz NOT NULL DEFAULT now()
);

DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['jobs', 'job_details', 'suspended_tenants'] LOOP
        EXECUTE format('ALTER TABLE temporal_worker.%I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE temporal_worker.%I FORCE ROW LEVEL SECURITY', t);
        EXECUTE format(
            'CREATE POLICY tenant_only ON temporal_worker.%I
                USING (tenant = current_setting(''temporal_worker.tenant'', true))
                WITH CHECK (tenant = current_setting(''temporal_worker.tenant'', true))', t);
    END LOOP;
END $$;

-- Who runs where is no secret inside the database: operators' tools of other services read it.
GRANT USAGE ON SCHEMA temporal_worker TO PUBLIC;
GRANT SELECT ON temporal_worker.processes TO PUBLIC;
