-- What other functions compute with.

CREATE FUNCTION workflow_time(p_ms bigint) RETURNS timestamptz
LANGUAGE sql IMMUTABLE AS $$ SELECT to_timestamp(p_ms / 1000.0) $$;

CREATE FUNCTION workflow_is_final(p_status text) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$ SELECT p_status IN ('SUCCEEDED', 'FAILED', 'CANCELED') $$;

-- How far a step has come within one attempt: a record never takes a row back.
CREATE FUNCTION workflow_step_rank(p_status text) RETURNS integer
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE p_status WHEN 'STARTED' THEN 0 WHEN 'RETRY_SCHEDULED' THEN 1 ELSE 2 END
$$;

-- The execution that a generation belongs to, null while none has written.
CREATE FUNCTION workflow_execution_of(r workflow_runs, p_generation integer) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN p_generation = 0 THEN r.temporal_run_id ELSE r.executions[p_generation] END
$$;

-- A key as `key_text` of `workflows_core.interpreter.correlation` makes it of a text: without the white space around it, NULL where
-- nothing is left. White space is what Python's `str.strip` takes away.
CREATE FUNCTION workflow_key_text(p_key text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT nullif(btrim(p_key, E'\t\n\u000b\f\r\u001c\u001d\u001e\u001f \u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004'
        '\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000'), '')
$$;

-- Of several keys those that are one, each once, in their order.
CREATE FUNCTION workflow_key_texts(p_keys text[]) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(array_agg(k.key ORDER BY k.ordinal), '{}') FROM (
        SELECT workflow_key_text(u.key) AS key, min(u.ordinal) AS ordinal
          FROM unnest(p_keys) WITH ORDINALITY AS u(key, ordinal)
         GROUP BY 1) AS k
     WHERE k.key IS NOT NULL
$$;
