-- What actions of core keep, what people are not shown, who may call the HTTP API, and which processes live.

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

-- Edges between entities of the application, which actions `links.*` write and read.
CREATE TABLE workflow_entity_links (
    tenant              text        NOT NULL,
    link_id             text        NOT NULL,
    namespace           text        NOT NULL,
    left_type           text        NOT NULL,
    left_id             text        NOT NULL,
    right_type          text        NOT NULL,
    right_id            text        NOT NULL,
    relation            text        NOT NULL,
    attributes          jsonb       NOT NULL DEFAULT '{}',
    created_by_run_id   text,
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, link_id),
    UNIQUE (tenant, namespace, left_type, left_id, relation, right_type, right_id)
);
CREATE INDEX workflow_entity_links_right ON workflow_entity_links (tenant, namespace, right_type, right_id);

-- What people are not shown of a tenant's values; without a row only what is never shown.
CREATE TABLE workflow_redaction (
    tenant              text        PRIMARY KEY,
    rules_json          jsonb       NOT NULL,                     -- {"keyPatterns": [...], "pointers": [...]}
    updated_by          text,
    updated_at          timestamptz NOT NULL DEFAULT now()
);

-- Tokens of the HTTP API: only their hash is kept. Each belongs to one tenant and has one role.
CREATE TABLE workflow_api_tokens (
    tenant              text        NOT NULL,
    token_id            text        NOT NULL,
    name                text        NOT NULL,
    role                text        NOT NULL CHECK (role IN ('viewer', 'publisher', 'operator')),
    token_hash          bytea       NOT NULL UNIQUE,
    created_by          text,
    created_at          timestamptz NOT NULL DEFAULT now(),
    expires_at          timestamptz,
    revoked_at          timestamptz,
    last_used_at        timestamptz,                              -- to the minute
    PRIMARY KEY (tenant, token_id)
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
