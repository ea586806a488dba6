-- The time of routing goes on where the database's clock is set back, or another server with a late clock takes over: a run that began
-- before would not look as far back as to what is routed behind it.

-- No time of routing, and no start of a run, has been behind this (in microseconds since 1970); it goes with the database's log to
-- whoever takes over. A step is a millisecond: a run that an event starts looks back to the one behind its routing.
CREATE SEQUENCE workflow_routing_clock AS bigint INCREMENT BY 1000 MINVALUE 0 START 0;
GRANT SELECT, UPDATE ON SEQUENCE workflow_routing_clock TO workflow_runtime;

-- The clock; while it is late, the latest time there was and a little, so that the order of routing is kept. A clock that is later
-- than that is believed: what was before it was wrong, and nobody is to look back to everything since for as long.
CREATE FUNCTION workflow_routing_time() RETURNS timestamptz
LANGUAGE plpgsql AS $$
DECLARE
    ahead    CONSTANT bigint := 1000000;      -- so much is noted in advance: a sequence that moves is a write
    followed CONSTANT bigint := 300000000;
    clock    timestamptz := clock_timestamp();
    at       bigint      := extract(epoch FROM clock) * 1000000;
    latest   bigint;
BEGIN
    SELECT s.last_value INTO latest FROM workflow_routing_clock AS s;
    IF at BETWEEN latest - ahead - followed AND latest - ahead THEN
        RETURN timestamptz 'epoch' + nextval('workflow_routing_clock') * interval '1 microsecond';
    END IF;
    IF at NOT BETWEEN latest - ahead AND latest THEN
        PERFORM setval('workflow_routing_clock', at + ahead);
    END IF;
    RETURN clock;
END $$;

-- The event is routed, with its deliveries; answers which of these are the caller's to send for the time of the lease. Not one
-- that has to wait for another of its key to the same run.
--
-- The time of routing is this moment's and not the transaction's, since look-back goes by it, and that of the first routing where
-- an event comes here again because its claim was released. Under the lock of its keys an event is behind every position of them;
-- one that is not takes those positions away, be it that the clock was set back by more than is followed or that it comes again.
CREATE OR REPLACE FUNCTION workflow_settle_event(p_tenant text, p_event_id text, p_deliveries jsonb, p_lease double precision)
RETURNS text[]
LANGUAGE plpgsql AS $$
DECLARE
    mine   text[];
    others bigint;
    e      workflow_runtime_events;
BEGIN
    WITH wanted AS (
        SELECT d.*, row_number() OVER (PARTITION BY d.run_id, d.key ORDER BY d.ordinal) = 1 AND NOT EXISTS (
                   SELECT 1 FROM workflow_event_deliveries o
                    WHERE o.tenant = p_tenant AND o.run_id = d.run_id AND o.key IS NOT DISTINCT FROM d.key
                      AND o.status = 'new') AS is_first
          FROM ROWS FROM (jsonb_to_recordset(p_deliveries)
                   AS (delivery_id text, event_id text, target_kind text, target_id text, run_id text, key text))
               WITH ORDINALITY AS d(delivery_id, event_id, target_kind, target_id, run_id, key, ordinal)
    ), added AS (
        INSERT INTO workflow_event_deliveries AS x
            (tenant, delivery_id, event_id, target_kind, target_id, run_id, key, next_attempt_at)
        SELECT p_tenant, w.delivery_id, w.event_id, w.target_kind, w.target_id, w.run_id, w.key,
               clock_timestamp() + make_interval(secs => CASE WHEN w.is_first THEN p_lease ELSE 0 END)
          FROM wanted w ORDER BY w.ordinal
        ON CONFLICT (tenant, event_id, target_kind, target_id) DO NOTHING
        RETURNING x.delivery_id AS id, x.next_attempt_at > clock_timestamp() AS leased)
    SELECT coalesce(array_agg(a.id) FILTER (WHERE a.leased), '{}'), count(*) FILTER (WHERE NOT a.leased)
      INTO mine, others FROM added a;
    IF others > 0 THEN
        PERFORM pg_notify('workflow_events', 'delivery');
    END IF;
    UPDATE workflow_runtime_events x SET
        status = 'routed', processed_at = coalesce(x.processed_at, workflow_routing_time()), error_message = NULL
     WHERE x.tenant = p_tenant AND x.event_id = p_event_id
    RETURNING * INTO e;
    DELETE FROM workflow_run_positions p
     WHERE p.tenant = p_tenant AND p.event_name = e.event_name AND p.key = ANY (e.correlation_keys)
       AND p.processed_at >= e.processed_at;
    DELETE FROM workflow_claim_positions p
     WHERE p.tenant = p_tenant AND p.event_name = e.event_name AND p.key = ANY (e.correlation_keys)
       AND p.processed_at >= e.processed_at;
    RETURN mine;
END $$;

-- Temporal has the run: STARTING becomes RUNNING. One that has written its own status already keeps it, and so does a first
-- execution that is known. One statement, one round trip; no row where there is none.
-- From now on no event is routed at a time before the run's start.
CREATE OR REPLACE FUNCTION workflow_mark_running(p_tenant text, p_run text, p_execution text) RETURNS SETOF workflow_runs
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('workflows.tenant', p_tenant, true), workflow_routing_time();
    RETURN QUERY
        UPDATE workflow_runs r SET
            status          = CASE r.status WHEN 'STARTING' THEN 'RUNNING' ELSE r.status END,
            temporal_run_id = coalesce(r.temporal_run_id, p_execution),
            launch_json     = NULL,
            updated_at      = clock_timestamp()
         WHERE r.tenant = p_tenant AND r.run_id = p_run
        RETURNING r.*;
END $$;
