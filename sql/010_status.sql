-- An enum learns to say canceled; no file that uses the new value may be part of this transaction.
-- Where the column can't say it (somebody else's enum, a CHECK), canceled jobs are written as error.
SET LOCAL search_path = pg_catalog, pg_temp; -- nobody's names but PostgreSQL's

DO $$
DECLARE
    v_type regtype;
BEGIN
    SELECT a.atttypid INTO v_type
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = 'public.jobs'::regclass AND a.attname = 'status' AND t.typtype = 'e';
    IF FOUND AND NOT EXISTS (SELECT FROM pg_catalog.pg_enum e WHERE e.enumtypid = v_type AND e.enumlabel = 'canceled') THEN
        EXECUTE format('ALTER TYPE %s ADD VALUE IF NOT EXISTS ''canceled''', v_type);
    END IF;
EXCEPTION WHEN insufficient_privilege THEN
    NULL; -- meshify.advice() says it
END $$;

UPDATE meshify.schema_version SET version = 10, applied_at = now() WHERE version < 10;
