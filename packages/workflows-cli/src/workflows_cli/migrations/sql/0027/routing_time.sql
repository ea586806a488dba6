-- The clock; while it is late, the latest time there was and a little, so that the order of routing is kept. A clock that is later
-- than that is believed: what was before it was wrong, and nobody is to look back to everything since for as long.
--
-- What is noted is ahead of the clock while the clock is followed, and has been given out itself while the clock is late: then it
-- is gone on from until the clock has passed it. `is_called` tells the two apart, which `nextval` sets, and a server that takes over
-- has it too. A clock that is set back by less than what is noted in advance is not noticed, so that is little.
--
-- The clock is read behind what was noted: one that was read before it is behind the clock that it was noted by, and looked late.
CREATE OR REPLACE FUNCTION workflow_routing_time() RETURNS timestamptz
LANGUAGE plpgsql AS $$
DECLARE
    ahead    CONSTANT bigint := 100000;  -- so that not each routing moves the sequence
    followed CONSTANT bigint := 300000000;
    clock    timestamptz;
    at       bigint;
    latest   bigint;
    late     boolean;
BEGIN
    SELECT s.last_value, s.is_called INTO latest, late FROM workflow_routing_clock AS s;
    clock := clock_timestamp();
    at := extract(epoch FROM clock) * 1000000;
    IF at >= latest - ahead - followed AND (at < latest - ahead OR (late AND at <= latest)) THEN
        RETURN timestamptz 'epoch' + nextval('workflow_routing_clock') * interval '1 microsecond';
    END IF;
    IF at NOT BETWEEN latest - ahead AND latest THEN
        PERFORM setval('workflow_routing_clock', at + ahead, false);
    END IF;
    RETURN clock;
END $$;
