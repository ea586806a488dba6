-- What payloads look like and which events there are, by tenant. Built-in schemas are in code and have no row.

CREATE TABLE workflow_payload_schemas (
    tenant              text        NOT NULL,
    ref                 text        NOT NULL,                     -- such as payload.TicketCreated.v1
    schema_json         jsonb       NOT NULL,                     -- JSON Schema 2020-12
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now(),       -- of the last change of the schema
    PRIMARY KEY (tenant, ref)
);

CREATE TABLE event_catalog (
    tenant              text        NOT NULL,
    event_type          text        NOT NULL,                     -- the name that events are published under
    payload_schema_ref  text,                                     -- may be imported after the event
    description         text,
    updated_at          timestamptz NOT NULL DEFAULT now(),       -- of the last change of the entry
    PRIMARY KEY (tenant, event_type)
);

-- The schema as it was when the version was published, so that a version never changes what it accepts.
-- Null: nobody had registered its ref then, or the version is older than this revision: nothing is checked.
ALTER TABLE workflow_definition_versions ADD COLUMN payload_schema_json jsonb;

DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['workflow_payload_schemas', 'event_catalog'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
        EXECUTE format(
            'CREATE POLICY tenant_only ON %I TO workflow_runtime
                USING (tenant = nullif(current_setting(''workflows.tenant'', true), ''''))
                WITH CHECK (tenant = nullif(current_setting(''workflows.tenant'', true), ''''))', t);
        EXECUTE format('CREATE POLICY narrow_functions ON %I TO workflow_definer USING (true) WITH CHECK (true)', t);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO workflow_runtime', t);
    END LOOP;
END $$;
