-- A run that takes thousands of events of one name and key would walk over all those it has taken each time it opens a wait.

CREATE TABLE workflow_run_positions (                             -- (+) only where there was something to walk over
    tenant              text        NOT NULL,
    run_id              text        NOT NULL,
    event_name          text        NOT NULL,
    key                 text        NOT NULL,
    since               timestamptz NOT NULL,                     -- every event routed from here on
    processed_at        timestamptz NOT NULL,                     -- up to this one was taken by the run
    event_id            text        NOT NULL,
    PRIMARY KEY (tenant, run_id, event_name, key),
    FOREIGN KEY (tenant, run_id) REFERENCES workflow_runs (tenant, run_id) ON DELETE CASCADE
);
CREATE INDEX workflow_run_positions_key ON workflow_run_positions (tenant, event_name, key);

ALTER TABLE workflow_run_positions ENABLE ROW LEVEL SECURITY;
ALTER TABLE workflow_run_positions FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_only ON workflow_run_positions TO workflow_runtime
    USING (tenant = nullif(current_setting('workflows.tenant', true), ''))
    WITH CHECK (tenant = nullif(current_setting('workflows.tenant', true), ''));
GRANT SELECT, INSERT, UPDATE, DELETE ON workflow_run_positions TO workflow_runtime;

-- In place of the one for those under way: what a wait was ever sent is asked for as well.
DROP INDEX workflow_event_deliveries_under_way;
CREATE INDEX workflow_event_deliveries_target ON workflow_event_deliveries (tenant, target_id);

-- As in revision 0005. Under the lock of its keys an event is behind every position of them; one that is not, since the
-- clock was set back, takes those positions away.
CREATE OR REPLACE FUNCTION workflow_settle_event(p_tenant text, p_event_id text, p_deliveries jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    e workflow_runtime_events;
BEGIN
    IF jsonb_array_length(p_deliveries) > 0 THEN
        PERFORM workflow_add_deliveries(p_tenant, p_deliveries);
    END IF;
    UPDATE workflow_runtime_events x SET
        status = 'routed', processed_at = coalesce(x.processed_at, clock_timestamp()), error_message = NULL
     WHERE x.tenant = p_tenant AND x.event_id = p_event_id
    RETURNING * INTO e;
    DELETE FROM workflow_run_positions p
     WHERE p.tenant = p_tenant AND p.event_name = e.event_name AND p.key = ANY (e.correlation_keys)
       AND p.processed_at >= e.processed_at;
END $$;

-- As in revision 0005, by a walk in the order of routing whose cost does not depend on the planner's statistics. The caller
-- holds the key's lock.
CREATE OR REPLACE FUNCTION workflow_missed_events(
    p_tenant text, p_wait_id text, p_consumed jsonb, p_after timestamptz, p_after_id text)
RETURNS TABLE (wait_id text, event_id text, event_name text, keys text[], payload jsonb, processed_at timestamptz)
LANGUAGE plpgsql SET enable_sort = off SET enable_bitmapscan = off SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    page CONSTANT integer := 50;
    worth_a_position CONSTANT integer := 20;
    w         workflow_run_waits;
    p         workflow_run_positions;
    e         record;
    v_since   timestamptz;
    from_at   timestamptz;
    from_id   text    := '';
    consumed  text[];
    sent      text[];
    under_way boolean;
    passed    integer := 0;  -- events at the beginning that the run has taken
    at_start  boolean := p_after = '-infinity';
    last_at   timestamptz;
    last_id   text;
    answered  integer := 0;
BEGIN
    SELECT * INTO w FROM workflow_run_waits x
     WHERE x.tenant = p_tenant AND x.wait_id = p_wait_id AND x.status = 'WAITING' AND x.event_name IS NOT NULL;
    SELECT coalesce(array_agg(d.event_id), '{}'), coalesce(bool_or(d.status IN ('new', 'accepted')), false)
      INTO sent, under_way
      FROM workflow_event_deliveries d
     WHERE d.tenant = p_tenant AND d.target_kind = 'wait' AND d.target_id = p_wait_id;
    IF w.wait_id IS NULL OR under_way THEN
        RETURN;
    END IF;
    SELECT * INTO p FROM workflow_run_positions x
     WHERE x.tenant = p_tenant AND x.run_id = w.run_id AND x.event_name = w.event_name AND x.key = w.key
       AND x.since <= w.look_back_from;
    from_at := w.look_back_from;
    v_since := w.look_back_from;
    IF p.processed_at >= from_at THEN
        from_at := p.processed_at;
        from_id := p.event_id;
        v_since := p.since;
    END IF;
    IF (p_after, p_after_id) > (from_at, from_id) THEN
        from_at := p_after;
        from_id := p_after_id;
    END IF;
    SELECT coalesce(array_agg(c.event_id), '{}') INTO consumed FROM jsonb_to_recordset(p_consumed) AS c(event_id text);
    FOR e IN
        SELECT x.event_id, x.event_name, x.correlation_keys, x.payload, x.processed_at
          FROM workflow_runtime_events x
         WHERE x.tenant = p_tenant AND x.event_name = w.event_name AND x.processed_at >= from_at
           -- One whose claim was released is pending again, and was routed all the same.
           AND (x.processed_at, x.event_id) > (from_at, from_id) AND x.correlation_keys @> ARRAY[w.key]
         ORDER BY x.processed_at, x.event_id
    LOOP
        IF EXISTS (SELECT 1 FROM workflow_run_waits c
                    WHERE c.tenant = p_tenant AND c.run_id = w.run_id AND c.matched_event_id = e.event_id) THEN
            IF at_start THEN
                passed := passed + 1;
                last_at := e.processed_at;
                last_id := e.event_id;
            END IF;
            CONTINUE;
        END IF;
        at_start := false;
        CONTINUE WHEN e.event_id = ANY (consumed) OR e.event_id = ANY (sent);
        CONTINUE WHEN w.match <> 'all' AND EXISTS (
            SELECT 1 FROM workflow_event_claims c WHERE c.tenant = p_tenant AND c.event_id = e.event_id);
        wait_id := w.wait_id;
        event_id := e.event_id;
        event_name := e.event_name;
        keys := e.correlation_keys;
        payload := e.payload;
        processed_at := e.processed_at;
        RETURN NEXT;
        answered := answered + 1;
        EXIT WHEN answered = page;
    END LOOP;
    IF passed >= worth_a_position THEN
        INSERT INTO workflow_run_positions AS x (tenant, run_id, event_name, key, since, processed_at, event_id)
        VALUES (p_tenant, w.run_id, w.event_name, w.key, v_since, last_at, last_id)
        ON CONFLICT (tenant, run_id, event_name, key) DO UPDATE
           SET since = excluded.since, processed_at = excluded.processed_at, event_id = excluded.event_id;
    END IF;
END $$;
