-- Rows of our tables are read and written by our functions alone. Supabase grants to its roles by default, and PostgREST
-- serves what these may read, should somebody expose the schema: nothing here is for them.

GRANT USAGE ON SCHEMA meshify TO meshify_worker;

DO $$
DECLARE
    r text;
    t regclass;
BEGIN
    FOR t IN SELECT c.oid FROM pg_catalog.pg_class c
             WHERE c.relnamespace = 'meshify'::regnamespace AND c.relkind = 'r' AND NOT c.relrowsecurity LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', t);
    END LOOP;
    FOREACH r IN ARRAY ARRAY['anon', 'authenticated', 'service_role'] LOOP
        IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = r) THEN
            EXECUTE format('REVOKE %s ON SCHEMA meshify FROM %I', CASE r WHEN 'service_role' THEN 'CREATE' ELSE 'ALL' END, r);
            EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA meshify FROM %I', r);
            EXECUTE format('REVOKE ALL ON ALL SEQUENCES IN SCHEMA meshify FROM %I', r);
        END IF;
    END LOOP;
    REVOKE ALL ON SCHEMA meshify FROM PUBLIC;
    REVOKE ALL ON ALL TABLES IN SCHEMA meshify FROM PUBLIC;
    IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'service_role') THEN
        GRANT USAGE ON SCHEMA meshify TO service_role;
    END IF;
END $$;

GRANT SELECT ON meshify.schema_version, meshify.stats, meshify.storage_usage TO meshify_worker;
