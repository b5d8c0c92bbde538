-- What the rows of the project hold that we have to guess at. Times without a zone are taken in the zone of the
-- transaction, which the programs set to the one that others write in.
SET LOCAL search_path = pg_catalog, pg_temp; -- nobody's names but PostgreSQL's

-- What changes a column's type. The view of jobs stands in the way where it shows the column; the next migration makes it
-- anew, and what depends on it.
CREATE OR REPLACE FUNCTION meshify.retype(p_table text, p_column text, p_to text) RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_attribute a
                             WHERE p_table = 'jobs' AND a.attrelid = to_regclass('meshify.jobs') AND a.attname = p_column)
           THEN format('BEGIN; DROP VIEW meshify.jobs CASCADE; ALTER TABLE public.%I ALTER COLUMN %I TYPE %s; '
                       'UPDATE meshify.schema_version SET version = 0; COMMIT; and then meshifyctl migrate', p_table, p_column, p_to)
           ELSE format('ALTER TABLE public.%I ALTER COLUMN %I TYPE %s;', p_table, p_column, p_to) END
$$;

-- How many characters a column takes, or a domain over it; NULL: any number.
CREATE OR REPLACE FUNCTION meshify.room(p_table regclass, p_column text) RETURNS int
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN coalesce(nullif(t.typbasetype, 0), t.oid) IN ('varchar'::regtype, 'bpchar'::regtype)
                THEN nullif(greatest(a.atttypmod, t.typtypmod), -1) - 4 END
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = p_table AND a.attname = p_column
$$;

-- Columns of theirs without a time zone, and what gives them one.
CREATE OR REPLACE FUNCTION meshify.zoneless() RETURNS TABLE (col text, mend text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT format('%s.%s', n.relname, a.attname),
           meshify.retype(n.relname, a.attname, format('timestamptz USING %I AT TIME ZONE %L', a.attname, current_setting('TimeZone')))
    FROM pg_catalog.pg_class n JOIN pg_catalog.pg_attribute a ON a.attrelid = n.oid
    WHERE n.oid IN (to_regclass('public.jobs'), to_regclass('public.mesh_assets'), to_regclass('public.notifications'))
      AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid = 'timestamp'::regtype
    ORDER BY n.relname, a.attnum
$$;

SELECT meshify.only_for('meshify.retype(text, text, text)');
SELECT meshify.only_for('meshify.room(regclass, text)');
SELECT meshify.only_for('meshify.zoneless()', 'meshify_worker');
UPDATE meshify.schema_version SET version = 23, applied_at = now() WHERE version < 23;
