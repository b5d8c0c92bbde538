-- What the rows of the project hold that we have to guess at. Times without a zone are taken in the zone of the
-- transaction, which the programs set to the one that others write in.
SET LOCAL search_path = pg_catalog, pg_temp; -- nobody's names but PostgreSQL's

-- Columns of theirs without a time zone, and what gives them one.
CREATE OR REPLACE FUNCTION meshify.zoneless() RETURNS TABLE (col text, mend text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT format('%s.%s', n.relname, a.attname),
           format('ALTER TABLE public.%1$I ALTER COLUMN %2$I TYPE timestamptz USING %2$I AT TIME ZONE %3$L;',
                  n.relname, a.attname, current_setting('TimeZone'))
    FROM pg_catalog.pg_class n JOIN pg_catalog.pg_attribute a ON a.attrelid = n.oid
    WHERE n.oid IN (to_regclass('public.jobs'), to_regclass('public.mesh_assets'), to_regclass('public.notifications'))
      AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid = 'timestamp'::regtype
    ORDER BY n.relname, a.attnum
$$;

SELECT meshify.only_for('meshify.zoneless()', 'meshify_worker');
UPDATE meshify.schema_version SET version = 23, applied_at = now() WHERE version < 23;
