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

ALTER TABLE workflow_entity_links ENABLE ROW LEVEL SECURITY;
ALTER TABLE workflow_entity_links FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_only ON workflow_entity_links TO workflow_runtime
    USING (tenant = nullif(current_setting('workflows.tenant', true), ''))
    WITH CHECK (tenant = nullif(current_setting('workflows.tenant', true), ''));
GRANT SELECT, INSERT, UPDATE, DELETE ON workflow_entity_links TO workflow_runtime;
