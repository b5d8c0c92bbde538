-- The beginning of each migration, which is one transaction: what it may wait for, which schema it finds, and what
-- the files after this one call.
SET LOCAL lock_timeout = '500ms'; -- a busy table ends the attempt, before the server looks for a deadlock in others (1 s)
SET LOCAL search_path = pg_catalog, pg_temp; -- no names but PostgreSQL's own and those with a schema
SET LOCAL check_function_bodies = off; -- functions stand by subject, not in the order in which they call each other

DO $$
BEGIN
    IF to_regclass('public.jobs') IS NULL OR to_regclass('public.mesh_assets') IS NULL
       OR to_regclass('public.profiles') IS NULL OR to_regclass('public.projects') IS NULL THEN
        RAISE EXCEPTION 'this database lacks public.jobs, mesh_assets, profiles or projects'
            USING HINT = 'Is it the database of a Meshify project?';
    END IF;
    IF to_regnamespace('meshify') IS NULL THEN -- not IF NOT EXISTS, which needs the privilege to make one all the same
        CREATE SCHEMA meshify;
    END IF;
END $$;

-- Which files of sql/ this database has: each migration that was applied, and each file of functions as it is there.
CREATE TABLE IF NOT EXISTS meshify.schema_files (
    name       text PRIMARY KEY, -- 'functions/queue'
    hash       text NOT NULL, -- SHA-256 of the file
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- Version 31 kept no such table. What it made is what 001_baseline.sql makes.
DO $$
BEGIN
    IF to_regclass('meshify.orphans') IS NOT NULL THEN
        INSERT INTO meshify.schema_files (name, hash) VALUES ('migrations/001_baseline', '') ON CONFLICT DO NOTHING;
    ELSIF to_regclass('meshify.schema_version') IS NOT NULL THEN
        RAISE EXCEPTION 'the schema meshify is older than version 31, the first that was released'
            USING HINT = 'Migrate with the program that made it, up to version 31; then with this one.';
    END IF;
END $$;

-- Takes a function away from everybody that Supabase's default privileges gave it to; then grants it to some roles.
CREATE OR REPLACE FUNCTION meshify.restrict_execute(p_function regprocedure, VARIADIC p_roles text[] DEFAULT '{}') RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    r text;
BEGIN
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', p_function);
    FOREACH r IN ARRAY ARRAY['anon', 'authenticated', 'service_role', 'meshify_worker'] LOOP
        IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = r) THEN
            EXECUTE format('REVOKE ALL ON FUNCTION %s FROM %I', p_function, r);
            IF r = ANY (p_roles) THEN
                EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', p_function, r);
            END IF;
        END IF;
    END LOOP;
END $$;
SELECT meshify.restrict_execute('meshify.restrict_execute(regprocedure, text[])');
