-- What authors publish, what payloads look like, and which events there are. Built-in schemas are in code and have no row.

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
    payload_schema_json jsonb,                                   -- (+) as it was then; NULL: nothing is checked
    published_by        text,
    published_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, workflow_id, version),
    -- Without a cascade: what was published is never deleted, nor what it belongs to.
    FOREIGN KEY (tenant, workflow_id) REFERENCES workflow_definitions
);

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
