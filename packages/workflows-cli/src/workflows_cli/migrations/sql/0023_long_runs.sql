-- What a run's write looks at: what of the run is open, and the lines of one moment, however much the run has behind it.

-- At once, and in the order in which runs write them: whoever has one of them and wants the next would otherwise wait for
-- this, and this for them. Reading goes on.
LOCK TABLE workflow_run_logs, workflow_run_waits, workflow_event_deliveries IN SHARE MODE;

CREATE INDEX workflow_run_logs_moment ON workflow_run_logs (tenant, run_id, created_at);
CREATE INDEX workflow_run_waits_open_of_run ON workflow_run_waits (tenant, run_id) WHERE status = 'WAITING';
CREATE INDEX workflow_event_deliveries_open ON workflow_event_deliveries (tenant, run_id)
    WHERE status IN ('new', 'accepted', 'dead');

-- As in revision 0001, but that the moment of a line is there before it is looked for: under row-level security an index is not
-- searched for what is still to be computed.
CREATE OR REPLACE FUNCTION workflow_write_records(p_write jsonb) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO workflow_run_steps AS t
        (tenant, run_id, step_path, visit, definition_step_id, step_type, name, status, attempt,
         output_json, error_json, generation, sequence, started_at, completed_at)
    SELECT DISTINCT ON (s.step_path, s.visit)
           p_write->>'tenant', p_write->>'run_id', s.step_path, s.visit, s.definition_step_id, s.step_type, s.name,
           s.status, s.attempt, s.output_json, s.error_json, s.generation, s.sequence,
           workflow_time(s.started_at), workflow_time(s.completed_at)
      FROM ROWS FROM (jsonb_to_recordset(p_write->'steps')
               AS (step_path text, visit integer, definition_step_id text, step_type text, name text, status text,
                   attempt integer, output_json jsonb, error_json jsonb, generation integer, sequence integer,
                   started_at bigint, completed_at bigint))
           WITH ORDINALITY AS s(step_path, visit, definition_step_id, step_type, name, status, attempt, output_json,
                   error_json, generation, sequence, started_at, completed_at, ordinal)
     ORDER BY s.step_path, s.visit, s.attempt DESC, workflow_step_rank(s.status) DESC, s.ordinal DESC
    ON CONFLICT (tenant, run_id, step_path, visit) DO UPDATE SET
        name = excluded.name, status = excluded.status, attempt = excluded.attempt,
        output_json = excluded.output_json, error_json = excluded.error_json,
        generation = excluded.generation, sequence = excluded.sequence,
        started_at = excluded.started_at, completed_at = excluded.completed_at
     WHERE (excluded.generation, excluded.sequence) >= (t.generation, t.sequence)
       AND (excluded.attempt, workflow_step_rank(excluded.status)) >= (t.attempt, workflow_step_rank(t.status));

    IF jsonb_array_length(p_write->'logs') = 0 THEN
        RETURN;
    END IF;
    -- The final write repeats lines whose own write is not acknowledged yet, so equal lines of one moment are one.
    WITH lines AS MATERIALIZED (
        SELECT l.level, l.message, l.step_path, l.context_json, workflow_time(l.at) AS moment, l.ordinal
          FROM ROWS FROM (jsonb_to_recordset(p_write->'logs')
                   AS (level text, message text, step_path text, context_json jsonb, at bigint))
               WITH ORDINALITY AS l(level, message, step_path, context_json, at, ordinal))
    INSERT INTO workflow_run_logs
        (tenant, run_id, step_path, level, message, context_json, source, generation, sequence, ordinal, created_at)
    SELECT p_write->>'tenant', p_write->>'run_id', l.step_path, l.level, l.message, l.context_json, 'run',
           (p_write->>'generation')::integer, (p_write->>'sequence')::integer, l.ordinal, l.moment
      FROM lines l
     WHERE NOT EXISTS (
           SELECT 1 FROM workflow_run_logs k
            WHERE k.tenant = p_write->>'tenant' AND k.run_id = p_write->>'run_id'
              AND k.created_at = l.moment AND k.level = l.level AND k.message = l.message
              AND k.step_path IS NOT DISTINCT FROM l.step_path AND k.context_json IS NOT DISTINCT FROM l.context_json)
     ORDER BY l.ordinal
    ON CONFLICT (tenant, run_id, generation, sequence, ordinal) DO NOTHING;
END $$;
