-- The oldest revision whose builds this schema serves. A migration that takes away what they use (the second of the two steps
-- of a change) replaces it; one that only adds leaves it.
CREATE FUNCTION workflow_oldest_served_revision() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '0023'::text $$;
