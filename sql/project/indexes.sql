-- The indexes of public.jobs that claims walk. Those of a small table are made at once. Those of a large one are left
-- for later, each by itself and outside a transaction: `meshifyctl migrate` does it, and meshify.missing_indexes() says
-- the statements.

DO $$
DECLARE
    v_sql text;
BEGIN
    IF pg_relation_size('public.jobs') < 16 * 1024 * 1024 THEN
        FOR v_sql IN SELECT meshify.missing_indexes() LOOP
            EXECUTE replace(v_sql, ' CONCURRENTLY', '');
        END LOOP;
    END IF;
END $$;
