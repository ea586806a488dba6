-- `match: one`: of the waits with this cardinality only one gets an event, the oldest that matches, by a claim. A claim
-- whose wait closes without the event is released, and the event is routed again, to such waits only.

ALTER TABLE workflow_run_waits ADD COLUMN match text NOT NULL DEFAULT 'all' CHECK (match IN ('one', 'all'));

ALTER TABLE workflow_runtime_events ADD COLUMN replay_of text;   -- the event that this one repeats

CREATE TABLE workflow_event_claims (
    tenant              text        NOT NULL,
    event_id            text        NOT NULL,
    wait_id             text        NOT NULL,
    run_id              text        NOT NULL,
    parked              boolean     NOT NULL DEFAULT false,       -- nobody knows whether the run took it
    created_at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, event_id),
    FOREIGN KEY (tenant, event_id) REFERENCES workflow_runtime_events ON DELETE CASCADE
);
CREATE INDEX workflow_event_claims_run ON workflow_event_claims (tenant, run_id);

-- A wait takes one event, so it has one delivery under way at most; what else comes is found when the next wait looks back.
CREATE INDEX workflow_event_deliveries_under_way ON workflow_event_deliveries (tenant, target_id)
    WHERE target_kind = 'wait' AND status IN ('new', 'accepted');
CREATE INDEX workflow_run_waits_matched ON workflow_run_waits (tenant, run_id, matched_event_id)
    WHERE matched_event_id IS NOT NULL;

ALTER TABLE workflow_event_claims ENABLE ROW LEVEL SECURITY;
ALTER TABLE workflow_event_claims FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_only ON workflow_event_claims TO workflow_runtime
    USING (tenant = nullif(current_setting('workflows.tenant', true), ''))
    WITH CHECK (tenant = nullif(current_setting('workflows.tenant', true), ''));
GRANT SELECT, INSERT, UPDATE, DELETE ON workflow_event_claims TO workflow_runtime;

-- True when the wait has the event now; the caller holds the key's lock.
CREATE FUNCTION workflow_claim(p_tenant text, p_event_id text, p_wait_id text, p_run_id text) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO workflow_event_claims (tenant, event_id, wait_id, run_id)
    VALUES (p_tenant, p_event_id, p_wait_id, p_run_id)
    ON CONFLICT DO NOTHING;
    RETURN FOUND;
END $$;

CREATE FUNCTION workflow_release_claims(p_tenant text, p_run text, p_park boolean) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF p_park THEN
        UPDATE workflow_event_claims c SET parked = true
          FROM workflow_run_waits w
         WHERE c.tenant = p_tenant AND c.run_id = p_run AND w.tenant = p_tenant AND w.wait_id = c.wait_id
           AND w.status <> 'WAITING' AND w.matched_event_id IS DISTINCT FROM c.event_id;
        RETURN;
    END IF;
    WITH freed AS (
        DELETE FROM workflow_event_claims c USING workflow_run_waits w
         WHERE c.tenant = p_tenant AND c.run_id = p_run AND NOT c.parked AND w.tenant = p_tenant
           AND w.wait_id = c.wait_id AND w.status <> 'WAITING' AND w.matched_event_id IS DISTINCT FROM c.event_id
        RETURNING c.event_id)
    UPDATE workflow_runtime_events e SET status = 'pending', attempts = 0, next_attempt_at = clock_timestamp()
      FROM freed WHERE e.tenant = p_tenant AND e.event_id = freed.event_id;
    IF FOUND THEN
        PERFORM pg_notify('workflow_events', '');
    END IF;
END $$;

-- As in revision 0001, with the cardinality of each wait. Of an event that is routed again only waits for one are
-- candidates, whose window holds the first routing, and none once it has a claim.
CREATE OR REPLACE FUNCTION workflow_claim_event(p_tenant text, p_event_id text, p_event_name text, p_keys text[])
RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    before  timestamptz;  -- when it was routed first
    claimed boolean;
BEGIN
    PERFORM workflow_lock_keys(p_tenant, array_fill(p_event_name, ARRAY[cardinality(p_keys)]), p_keys);
    SELECT e.processed_at INTO before FROM workflow_runtime_events e
      WHERE e.tenant = p_tenant AND e.event_id = p_event_id AND e.status = 'pending' FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    UPDATE workflow_runtime_events e SET correlation_keys = p_keys, correlation_key = p_keys[1]
     WHERE e.tenant = p_tenant AND e.event_id = p_event_id AND e.correlation_keys <> p_keys;
    claimed := EXISTS (SELECT 1 FROM workflow_event_claims c WHERE c.tenant = p_tenant AND c.event_id = p_event_id);
    RETURN (
        SELECT coalesce(jsonb_agg(to_jsonb(w) ORDER BY w.created_at, w.wait_id), '[]') FROM (
            SELECT o.wait_id, o.run_id, o.event_name, o.key, o.filters, o.created_at, o.match
              FROM workflow_run_waits o
             WHERE o.tenant = p_tenant AND o.event_name = p_event_name AND o.key = ANY (p_keys)
               AND o.status = 'WAITING'
               AND CASE o.match WHEN 'all' THEN before IS NULL
                   ELSE NOT claimed AND (before IS NULL OR o.look_back_from <= before) END
               AND NOT EXISTS (
                   SELECT 1 FROM workflow_event_deliveries d
                    WHERE d.tenant = p_tenant AND d.target_kind = 'wait' AND d.target_id = o.wait_id
                      AND d.status IN ('new', 'accepted'))
               AND NOT EXISTS (
                   SELECT 1 FROM workflow_run_waits c
                    WHERE c.tenant = p_tenant AND c.run_id = o.run_id AND c.matched_event_id = p_event_id)
        ) AS w);
END $$;

-- One round trip for what routing needs: the event, what its payload is held to, the workflows that it starts, and, where
-- its publisher named keys, the claim of `workflow_claim_event` (`waits`; NULL where the keys are still to be derived).
-- NULL when the event is not pending any more. Sets the transaction's tenant.
CREATE FUNCTION workflow_take_event(p_tenant text, p_event_id text) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    e     workflow_runtime_events;
    waits jsonb;
BEGIN
    PERFORM set_config('workflows.tenant', p_tenant, true);
    SELECT * INTO e FROM workflow_runtime_events x
      WHERE x.tenant = p_tenant AND x.event_id = p_event_id AND x.status = 'pending';
    IF e.event_id IS NULL THEN
        RETURN NULL;
    END IF;
    IF cardinality(e.correlation_keys) > 0 THEN
        waits := workflow_claim_event(p_tenant, p_event_id, e.event_name, e.correlation_keys);
        IF waits IS NULL THEN
            RETURN NULL;
        END IF;
    END IF;
    RETURN jsonb_build_object(
        'event_id', e.event_id, 'event_name', e.event_name, 'correlation_key', e.correlation_key,
        'correlation_keys', to_jsonb(e.correlation_keys), 'payload', e.payload, 'payload_schema_ref', e.payload_schema_ref,
        'attempts', e.attempts, 'again', e.processed_at IS NOT NULL, 'waits', waits,
        'schema', (SELECT jsonb_build_object('ref', s.ref, 'json', s.schema_json) FROM workflow_payload_schemas s
                    WHERE s.tenant = p_tenant AND s.ref = coalesce(e.payload_schema_ref, (
                        SELECT c.payload_schema_ref FROM event_catalog c
                         WHERE c.tenant = p_tenant AND c.event_type = e.event_name))),
        'starts', (SELECT coalesce(jsonb_agg(d.workflow_id ORDER BY d.workflow_id), '[]') FROM workflow_definitions d
                    WHERE d.tenant = p_tenant AND d.trigger_event_name = e.event_name AND d.published_version IS NOT NULL));
END $$;

-- The sender's two statements, one round trip each: it takes deliveries for a while, and notes those that Temporal has.
CREATE FUNCTION workflow_take_deliveries(p_tenant text, p_ids text[], p_lease double precision)
RETURNS TABLE (
    delivery_id text, event_id text, target_kind text, target_id text, run_id text, key text, attempts integer,
    event_name text, correlation_key text, payload jsonb, payload_schema_ref text, created_at timestamptz,
    occurred_at timestamptz)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    PERFORM set_config('workflows.tenant', p_tenant, true);
    RETURN QUERY
        UPDATE workflow_event_deliveries d SET next_attempt_at = clock_timestamp() + make_interval(secs => p_lease)
          FROM workflow_runtime_events e
         WHERE d.tenant = p_tenant AND d.delivery_id = ANY (p_ids)
           AND d.status = 'new' AND d.next_attempt_at <= clock_timestamp()
           AND e.tenant = d.tenant AND e.event_id = d.event_id
        RETURNING d.delivery_id, d.event_id, d.target_kind, d.target_id, d.run_id, d.key, d.attempts,
                  e.event_name, e.correlation_key, e.payload, e.payload_schema_ref, e.created_at, e.occurred_at;
END $$;

-- Only what is still new: the run may have been quicker.
CREATE FUNCTION workflow_accept_deliveries(p_tenant text, p_ids text[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('workflows.tenant', p_tenant, true);
    UPDATE workflow_event_deliveries d SET status = 'accepted', attempts = d.attempts + 1
     WHERE d.tenant = p_tenant AND d.delivery_id = ANY (p_ids) AND d.status = 'new';
END $$;

-- The time of routing is that of the first.
CREATE OR REPLACE FUNCTION workflow_settle_event(p_tenant text, p_event_id text, p_deliveries jsonb) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF jsonb_array_length(p_deliveries) > 0 THEN
        PERFORM workflow_add_deliveries(p_tenant, p_deliveries);
    END IF;
    UPDATE workflow_runtime_events e SET
        status = 'routed', processed_at = coalesce(e.processed_at, clock_timestamp()), error_message = NULL
     WHERE e.tenant = p_tenant AND e.event_id = p_event_id;
END $$;

-- Events that an open wait may have missed, in the order of routing: of its name and key, in its window, not taken by the
-- run already and never sent to this wait. None while the wait has a delivery under way. A page of them, behind a given
-- one: the caller applies the filters, and needs the first that fits.
CREATE FUNCTION workflow_missed_events(
    p_tenant text, p_wait_id text, p_consumed jsonb, p_after timestamptz, p_after_id text)
RETURNS TABLE (wait_id text, event_id text, event_name text, keys text[], payload jsonb, processed_at timestamptz)
LANGUAGE sql STABLE AS $$
    SELECT w.wait_id, e.event_id, e.event_name, e.correlation_keys, e.payload, e.processed_at
      FROM workflow_run_waits w
      JOIN workflow_runtime_events e
        ON e.tenant = p_tenant AND e.event_name = w.event_name AND e.correlation_keys @> ARRAY[w.key]
       -- One whose claim was released is pending again, and was routed all the same.
       AND e.processed_at >= w.look_back_from
     WHERE w.tenant = p_tenant AND w.wait_id = p_wait_id AND w.status = 'WAITING'
       AND (e.processed_at, e.event_id) > (p_after, p_after_id)
       AND NOT EXISTS (
           SELECT 1 FROM workflow_event_deliveries d
            WHERE d.tenant = p_tenant AND d.target_kind = 'wait' AND d.target_id = w.wait_id
              AND (d.status IN ('new', 'accepted') OR d.event_id = e.event_id))
       AND (w.match = 'all' OR NOT EXISTS (
           SELECT 1 FROM workflow_event_claims c WHERE c.tenant = p_tenant AND c.event_id = e.event_id))
       AND NOT EXISTS (
           SELECT 1 FROM workflow_run_waits c
            WHERE c.tenant = p_tenant AND c.run_id = w.run_id AND c.matched_event_id = e.event_id)
       AND NOT EXISTS (SELECT 1 FROM jsonb_to_recordset(p_consumed) AS c(event_id text) WHERE c.event_id = e.event_id)
     ORDER BY e.processed_at, e.event_id
     LIMIT 50
$$;

-- Rules 1 to 4. Answers which routed events the waits that it opened, or that refused an event, may have missed (by name,
-- key and time of routing): the caller applies the filters and adds the deliveries in the same transaction.
CREATE OR REPLACE FUNCTION workflow_write_run(p_write jsonb, p_execution text, p_semantics integer)
RETURNS TABLE (wait_id text, event_id text, event_name text, keys text[], payload jsonb)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_tenant text    := p_write->>'tenant';
    v_run    text    := p_write->>'run_id';
    g        integer := (p_write->>'generation')::integer;
    s        integer := (p_write->>'sequence')::integer;
    v_waits  jsonb   := nullif(p_write->'waits', 'null');
    r        workflow_runs;
    ended    boolean;
    named    text[];
    opened   text[];
    refusing text[];
    names    text[];
    v_keys   text[];
BEGIN
    PERFORM set_config('workflows.tenant', v_tenant, true);
    PERFORM workflow_ensure_run(p_write, p_semantics);
    PERFORM workflow_write_invocations(p_write);
    r := workflow_take_run(p_write, p_execution);
    PERFORM workflow_write_records(p_write);

    ended := workflow_is_final(r.status)
        OR (workflow_is_final(p_write->>'status') AND (g, s) >= (r.generation, r.sequence));
    IF ended AND v_waits IS NOT NULL THEN
        v_waits := '[]';  -- every wait of a run that ended is closed
    END IF;
    SELECT array_agg(x->>'wait_id') INTO named FROM jsonb_array_elements(coalesce(v_waits, '[]')) AS x;
    named := coalesce(named, '{}');
    SELECT array_agg(k.event_name), array_agg(k.key) INTO names, v_keys FROM (
        SELECT w.event_name, w.key FROM workflow_run_waits w
         WHERE w.tenant = v_tenant AND w.run_id = v_run AND w.status = 'WAITING'
           AND w.wait_id <> ALL (named) AND w.event_name IS NOT NULL
        UNION
        SELECT c.event_name, c.key
          FROM jsonb_to_recordset(coalesce(v_waits, '[]')) AS c(wait_id text, event_name text, key text)
         WHERE c.event_name IS NOT NULL
           AND NOT EXISTS (SELECT 1 FROM workflow_run_waits w WHERE w.tenant = v_tenant AND w.wait_id = c.wait_id)
        UNION
        SELECT w.event_name, w.key
          FROM jsonb_to_recordset(p_write->'refused') AS c(wait_id text)
          JOIN workflow_run_waits w ON w.tenant = v_tenant AND w.wait_id = c.wait_id
    ) AS k;
    IF names IS NOT NULL THEN
        PERFORM workflow_lock_keys(v_tenant, names, v_keys);
    END IF;

    -- 1. What the run consumed is a fact of its history, however old the write is.
    UPDATE workflow_run_waits w SET
        status = 'RESOLVED', matched_event_id = c.event_id, resolved_at = workflow_time(c.at)
      FROM jsonb_to_recordset(p_write->'consumed') AS c(wait_id text, event_id text, at bigint)
     WHERE w.tenant = v_tenant AND w.run_id = v_run AND w.wait_id = c.wait_id AND w.status = 'WAITING';
    UPDATE workflow_event_deliveries d SET status = 'consumed', reason = NULL, decided_at = clock_timestamp()
      FROM jsonb_to_recordset(p_write->'consumed') AS c(wait_id text, event_id text)
     WHERE d.tenant = v_tenant AND d.event_id = c.event_id AND d.target_kind = 'wait' AND d.target_id = c.wait_id
       AND d.status IN ('new', 'accepted', 'dead');
    -- What it refused has its verdict, and the wait is open for another.
    WITH refused AS (
        UPDATE workflow_event_deliveries d SET status = 'undeliverable', reason = c.reason, decided_at = clock_timestamp()
          FROM jsonb_to_recordset(p_write->'refused') AS c(wait_id text, event_id text, reason text)
         WHERE d.tenant = v_tenant AND d.event_id = c.event_id AND d.target_kind = 'wait' AND d.target_id = c.wait_id
           AND d.status IN ('new', 'accepted', 'dead')
        RETURNING d.target_id)
    SELECT array_agg(target_id) INTO refusing FROM refused;

    IF v_waits IS NOT NULL AND (g, s) >= (r.waits_generation, r.waits_sequence) THEN
        -- 2. Waits of the run that are not named are closed.
        UPDATE workflow_run_waits w SET status = c.outcome, resolved_at = workflow_time(c.at)
          FROM jsonb_to_recordset(p_write->'closed') AS c(wait_id text, outcome text, at bigint)
         WHERE w.tenant = v_tenant AND w.run_id = v_run AND w.wait_id = c.wait_id AND w.status = 'WAITING';
        UPDATE workflow_run_waits w SET status = 'CANCELED', resolved_at = clock_timestamp()
         WHERE w.tenant = v_tenant AND w.run_id = v_run AND w.status = 'WAITING'
           AND w.wait_id <> ALL (named);
        -- 3. Named waits that have no row are opened; a closed row stays closed.
        WITH inserted AS (
            INSERT INTO workflow_run_waits AS w
                (tenant, wait_id, run_id, step_path, visit, wait_type, event_name, key, filters, look_back_from,
                 timeout_at, status, payload, created_at, match)
            SELECT v_tenant, c.wait_id, v_run, c.step_path, c.visit, c.wait_type, c.event_name, c.key, c.filters,
                   workflow_time(c.look_back_from), workflow_time(c.timeout_at), 'WAITING', c.payload,
                   workflow_time(c.opened_at), coalesce(c.match, 'all')
              FROM jsonb_to_recordset(v_waits)
                AS c(wait_id text, step_path text, visit integer, wait_type text, event_name text, key text,
                     filters jsonb, look_back_from bigint, timeout_at bigint, payload jsonb, opened_at bigint, match text)
            ON CONFLICT (tenant, wait_id) DO NOTHING
            RETURNING w.wait_id AS id)
        SELECT array_agg(id) INTO opened FROM inserted;
        UPDATE workflow_runs w SET waits_generation = g, waits_sequence = s
         WHERE w.tenant = v_tenant AND w.run_id = v_run;
    END IF;
    -- Every unresolved delivery of a wait that closed gets its final verdict; for a run that could not tell its end
    -- (`undeliverable` in the write says why) nobody will take it any more.
    UPDATE workflow_event_deliveries d SET
        status = CASE WHEN p_write->>'undeliverable' IS NOT NULL THEN 'undeliverable'
                      WHEN w.status = 'TIMED_OUT' THEN 'late' ELSE 'unknown' END,
        reason = coalesce(p_write->>'undeliverable',
                          CASE w.status WHEN 'TIMED_OUT' THEN 'the wait timed out before the run took the event'
                                        ELSE 'the wait was closed before the run took the event' END),
        decided_at = clock_timestamp()
      FROM workflow_run_waits w
     WHERE d.tenant = v_tenant AND d.run_id = v_run AND d.target_kind = 'wait'
       AND d.status IN ('new', 'accepted', 'dead')
       AND w.tenant = v_tenant AND w.wait_id = d.target_id AND w.status <> 'WAITING';

    -- What a closed wait had claimed and not consumed goes to the next one, unless nobody knows whether it was.
    IF EXISTS (SELECT 1 FROM workflow_event_claims c WHERE c.tenant = v_tenant AND c.run_id = v_run) THEN
        PERFORM workflow_release_claims(v_tenant, v_run, coalesce((p_write->>'outcome_unknown')::boolean, false));
    END IF;

    -- 4. Status and fence.
    PERFORM workflow_update_run(r, p_write);

    IF opened IS NULL AND refusing IS NULL THEN
        RETURN;
    END IF;
    RETURN QUERY
        SELECT w.id, m.event_id, m.event_name, m.keys, m.payload
          FROM unnest(opened || refusing) AS w(id),
               LATERAL workflow_missed_events(v_tenant, w.id, p_write->'consumed', '-infinity', '') AS m;
END $$;

-- As the one of revision 0003, which the previous release goes on calling. `p_consumed` is what the closed run says it took; NULL when nobody can tell, and then what was
-- claimed stays so until an operator decides.
CREATE FUNCTION workflow_end_run(
    p_tenant text, p_run text, p_status text, p_error jsonb, p_execution text, p_consumed jsonb)
RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    r     workflow_runs;
    known text;
BEGIN
    PERFORM set_config('workflows.tenant', p_tenant, true);
    SELECT * INTO r FROM workflow_runs w WHERE w.tenant = p_tenant AND w.run_id = p_run FOR NO KEY UPDATE;
    IF r.run_id IS NULL OR workflow_is_final(r.status) THEN
        RETURN false;
    END IF;
    known := CASE WHEN r.generation = 0 THEN r.temporal_run_id ELSE r.executions[r.generation] END;
    PERFORM workflow_write_run(
        jsonb_build_object(
            'tenant', p_tenant, 'run_id', p_run, 'workflow_id', r.workflow_id, 'workflow_version', r.workflow_version,
            'definition_hash', r.definition_hash, 'trigger_type', r.trigger_type, 'generation', r.generation,
            'sequence', r.sequence + 1, 'status', p_status, 'node_path', r.node_path, 'waiting_for', NULL,
            'steps', '[]'::jsonb, 'consumed', coalesce(p_consumed, '[]'), 'closed', '[]'::jsonb, 'waits', '[]'::jsonb,
            'logs', jsonb_build_array(jsonb_build_object(
                'level', 'ERROR', 'message', p_error->>'message', 'step_path', NULL, 'context_json', NULL,
                'at', (extract(epoch FROM clock_timestamp()) * 1000)::bigint)),
            'result_json', NULL, 'error_json', p_error,
            'undeliverable', CASE WHEN p_consumed IS NULL THEN 'outcome unknown: ' ELSE '' END
                || 'the run ended before it recorded that it took the event',
            'outcome_unknown', p_consumed IS NULL),
        coalesce(known, p_execution), r.runtime_semantics_version);
    RETURN true;
END $$;

-- What an operator may set going again: an event that is dead, deliveries that are dead, a claim whose outcome nobody
-- knows. Answers how many of each.
CREATE FUNCTION workflow_requeue_event(p_tenant text, p_event_id text) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    e        workflow_runtime_events;
    freed    integer;
    revived  integer;
    was_dead boolean;
BEGIN
    SELECT * INTO e FROM workflow_runtime_events x WHERE x.tenant = p_tenant AND x.event_id = p_event_id;
    IF e.event_id IS NULL THEN
        RETURN NULL;
    END IF;
    PERFORM workflow_lock_keys(p_tenant, array_fill(e.event_name, ARRAY[cardinality(e.correlation_keys)]), e.correlation_keys);
    DELETE FROM workflow_event_claims c WHERE c.tenant = p_tenant AND c.event_id = p_event_id AND c.parked;
    GET DIAGNOSTICS freed = ROW_COUNT;
    UPDATE workflow_runtime_events x SET
        status = 'pending', attempts = 0, error_message = NULL, next_attempt_at = clock_timestamp()
     WHERE x.tenant = p_tenant AND x.event_id = p_event_id AND (x.status = 'dead' OR freed > 0);
    was_dead := FOUND AND freed = 0;
    UPDATE workflow_event_deliveries d SET status = 'new', attempts = 0, reason = NULL, next_attempt_at = clock_timestamp()
     WHERE d.tenant = p_tenant AND d.event_id = p_event_id AND d.status = 'dead';
    GET DIAGNOSTICS revived = ROW_COUNT;
    PERFORM pg_notify('workflow_events', '');
    RETURN jsonb_build_object('event', was_dead, 'deliveries', revived, 'claims', freed);
END $$;
