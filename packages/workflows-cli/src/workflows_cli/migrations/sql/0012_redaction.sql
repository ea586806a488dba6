-- What people are not shown of a tenant's values; without a row only what is never shown.

CREATE TABLE workflow_redaction (
    tenant              text        PRIMARY KEY,
    rules_json          jsonb       NOT NULL,                     -- {"keyPatterns": [...], "pointers": [...]}
    updated_by          text,
    updated_at          timestamptz NOT NULL DEFAULT now()
);

ALTER TABLE workflow_redaction ENABLE ROW LEVEL SECURITY;
ALTER TABLE workflow_redaction FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_only ON workflow_redaction TO workflow_runtime
    USING (tenant = nullif(current_setting('workflows.tenant', true), ''))
    WITH CHECK (tenant = nullif(current_setting('workflows.tenant', true), ''));
GRANT SELECT, INSERT, UPDATE, DELETE ON workflow_redaction TO workflow_runtime;
