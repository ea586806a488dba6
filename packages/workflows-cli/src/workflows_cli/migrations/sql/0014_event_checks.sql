-- An event that no process could read would be found out by the router, attempt by attempt. It is refused where it is
-- published, in whichever language that is: numbers are those of JSON readers (double precision), nesting ends where it
-- does in `workflows_core.actions.json_text`, and times are those that every client has. The end of a run is never refused.
CREATE FUNCTION workflow_check_event() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF jsonb_path_exists(NEW.payload, 
        'strict $.**{100 to last} ? (@.type() == "object" || @.type() == "array")') THEN
        RAISE EXCEPTION 'EVENT_INVALID: the payload is nested deeper than 100 levels' USING ERRCODE = 'check_violation';
    END IF;
    IF jsonb_path_exists(NEW.payload,
        'strict $.** ? (@.type() == "number" && (@ > 1.7976931348623157e308 || @ < -1.7976931348623157e308))') THEN
        RAISE EXCEPTION 'EVENT_INVALID: the payload holds a number out of range' USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.occurred_at NOT BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-30 00:00:00+00' THEN
        RAISE EXCEPTION 'EVENT_INVALID: the time of the event must be in the years 1 to 9999'
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER workflow_check_event BEFORE INSERT ON workflow_runtime_events
    FOR EACH ROW WHEN (NEW.event_name <> 'WORKFLOW_RUN_ENDED') EXECUTE FUNCTION workflow_check_event();
