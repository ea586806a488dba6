-- Whoever writes a value that has a time to live takes away some whose time is over.
CREATE INDEX workflow_data_store_expiring ON workflow_data_store (tenant, expires_at) WHERE expires_at IS NOT NULL;
