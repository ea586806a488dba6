-- The end of an action with the end of its run, in one transaction; answers whether the run has ended with this. It has not
-- where another start owns the action, and nothing is written then, or where the run has gone on without this end: it has
-- written something since, or the action was recorded alone; only what the action itself carries is written.
CREATE FUNCTION workflow_complete_last_action(
    p_write jsonb, p_end jsonb, p_step jsonb, p_token text, p_execution text, p_semantics integer)
RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    v_tenant text    := set_config('workflows.tenant', p_write->>'tenant', true);
    g        integer := (p_write->>'generation')::integer;
    went_on  boolean;
BEGIN
    IF NOT workflow_settle_action(p_write, p_step, p_token, p_semantics) THEN
        RETURN false;
    END IF;
    PERFORM workflow_write_invocations(p_write);
    -- A row that has the call's own write already is of a run that was told of no end. A repeated end finds its own, which
    -- changes nothing.
    SELECT (workflow_is_final(r.status) OR (r.generation, r.sequence) >= (g, (p_write->>'sequence')::integer))
           AND (r.generation, r.sequence) <> (g, (p_end->>'sequence')::integer)
      INTO STRICT went_on
      FROM workflow_runs r
     WHERE r.tenant = v_tenant AND r.run_id = p_write->>'run_id' FOR NO KEY UPDATE;
    PERFORM workflow_write_run(CASE WHEN went_on THEN p_write ELSE p_end END, p_execution, p_semantics);
    RETURN NOT went_on;
END $$;
