-- Triggers of theirs, which are to work when we are the ones who write. Ours: 029_charges.sql.
SET LOCAL lock_timeout = '500ms'; -- a busy table: once more; before a deadlock is looked for in others (1 s)
SET LOCAL search_path = pg_catalog, pg_temp; -- nobody's names but PostgreSQL's

-- Trigger functions of theirs, on tables that we write, that have no search_path of their own and yet
-- name something of public or extensions without its schema. They inherit ours, which has neither: the
-- daemon's writes would fail in them.
CREATE OR REPLACE FUNCTION meshify.lost_triggers() RETURNS SETOF regprocedure
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH known AS (
        SELECT c.relname AS name, c.relnamespace AS space FROM pg_catalog.pg_class c WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
        UNION SELECT p.proname, p.pronamespace FROM pg_catalog.pg_proc p
        UNION SELECT t.typname, t.typnamespace FROM pg_catalog.pg_type t WHERE t.typtype IN ('e', 'd')
    )
    SELECT DISTINCT p.oid::regprocedure
    FROM pg_catalog.pg_trigger t
    JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
    JOIN pg_catalog.pg_language l ON l.oid = p.prolang AND l.lanname = 'plpgsql'
    WHERE t.tgrelid IN (to_regclass('public.jobs'), to_regclass('public.mesh_assets'), to_regclass('public.profiles'),
                        to_regclass('public.notifications'))
      AND NOT t.tgisinternal AND p.pronamespace <> 'meshify'::regnamespace
      AND NOT EXISTS (SELECT FROM unnest(p.proconfig) c WHERE c LIKE 'search_path=%')
      AND EXISTS (
          SELECT FROM regexp_matches(replace(p.prosrc, '"', ''), '(?<![.\w])([[:alpha:]_]\w*)(?!\w|\s*\.)', 'g') AS word
          JOIN known k ON k.name = lower(word[1]) OR k.name = word[1]
          JOIN pg_catalog.pg_namespace s ON s.oid = k.space AND s.nspname IN ('public', 'extensions'))
$$;

DO $$
DECLARE
    v_function regprocedure;
    v_path text := concat('public', CASE WHEN to_regnamespace('extensions') IS NOT NULL THEN ', extensions' END, ', pg_temp');
BEGIN
    FOR v_function IN SELECT meshify.lost_triggers() LOOP
        BEGIN
            EXECUTE format('ALTER FUNCTION %s SET search_path = %s', v_function, v_path);
            INSERT INTO meshify.adapted (what, undo)
            VALUES ('search_path of ' || v_function, format('ALTER FUNCTION %s RESET search_path', v_function))
            ON CONFLICT DO NOTHING;
        EXCEPTION WHEN insufficient_privilege THEN
            NULL; -- meshify.advice() says it
        END;
    END LOOP;
END $$;

SELECT meshify.only_for('meshify.lost_triggers()');
UPDATE meshify.schema_version SET version = 11, applied_at = now() WHERE version < 11;
