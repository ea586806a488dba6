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

ALTER TABLE workflow_api_tokens ENABLE ROW LEVEL SECURITY;
ALTER TABLE workflow_api_tokens FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_only ON workflow_api_tokens TO workflow_runtime
    USING (tenant = nullif(current_setting('workflows.tenant', true), ''))
    WITH CHECK (tenant = nullif(current_setting('workflows.tenant', true), ''));
CREATE POLICY narrow_functions ON workflow_api_tokens TO workflow_definer USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE ON workflow_api_tokens TO workflow_runtime;
GRANT SELECT (tenant, token_id, name, role, token_hash, expires_at, revoked_at, last_used_at), UPDATE (last_used_at)
    ON workflow_api_tokens TO workflow_definer;

-- Whose token has this hash, while it is good: a request has no tenant before this answers.
CREATE FUNCTION workflow_api_token(p_hash bytea)
RETURNS TABLE (tenant text, token_id text, name text, role text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE workflow_api_tokens t SET last_used_at = now()
     WHERE t.token_hash = p_hash AND t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > now())
       AND (t.last_used_at IS NULL OR t.last_used_at < now() - interval '1 minute');
    RETURN QUERY
        SELECT t.tenant, t.token_id, t.name, t.role FROM workflow_api_tokens t
         WHERE t.token_hash = p_hash AND t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > now());
END $$;

GRANT CREATE ON SCHEMA public TO workflow_definer;
ALTER FUNCTION workflow_api_token(bytea) OWNER TO workflow_definer;
REVOKE CREATE ON SCHEMA public FROM workflow_definer;
REVOKE ALL ON FUNCTION workflow_api_token(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION workflow_api_token(bytea) TO workflow_runtime;
