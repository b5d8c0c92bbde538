-- Columns of the project's tables that are missing, of another type, or can't take what is written into them, most of
-- them when a job ends, that is after it was paid for: said while it costs nothing, with the statement that mends it.

-- Columns that nothing works without, and that are missing or of the wrong type. migrate asks, and the doctor, since
-- columns may be dropped or renamed later on.
CREATE OR REPLACE FUNCTION meshify.misfit_columns() RETURNS TABLE (col text, why text, mend text)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    c record;
    v_is text;
BEGIN
    -- The project's columns. Another type matters only where no other would do.
    FOR c IN SELECT * FROM (VALUES
        ('jobs', 'id', 'uuid', true), ('jobs', 'user_id', 'uuid', true), ('jobs', 'project_id', 'uuid', true),
        ('jobs', 'asset_id', 'uuid', true), ('jobs', 'type', 'text', false), ('jobs', 'status', 'text', false),
        ('jobs', 'input_data', 'jsonb', true), ('jobs', 'output_data', 'jsonb', true), ('jobs', 'error', 'text', false),
        ('jobs', 'created_at', 'timestamptz', false), ('jobs', 'completed_at', 'timestamptz', false),
        ('mesh_assets', 'id', 'uuid', true), ('mesh_assets', 'project_id', 'uuid', true),
        ('mesh_assets', 'owner_id', 'uuid', true), ('mesh_assets', 'prompt', 'text', false),
        ('mesh_assets', 'input_image_path', 'text', false), ('mesh_assets', 'output_path', 'text', false),
        ('mesh_assets', 'mime', 'text', false), ('mesh_assets', 'size', 'bigint', false),
        ('mesh_assets', 'status', 'text', false), ('mesh_assets', 'credits_cost', 'numeric', false),
        ('mesh_assets', 'result_meta', 'jsonb', true), ('profiles', 'id', 'uuid', true),
        ('profiles', 'credits_remaining', 'numeric', false), ('profiles', 'credits_used', 'numeric', false),
        ('projects', 'id', 'uuid', true)) AS needed (tab, col, typ, exact) LOOP
        SELECT format_type(a.atttypid, NULL) INTO v_is FROM pg_catalog.pg_attribute a
        WHERE a.attrelid = to_regclass('public.' || c.tab)
          AND (a.attname = c.col OR c.tab = 'jobs' AND c.col = 'type' AND a.attname = 'job_type');
        IF NOT FOUND THEN
            col := format('%s.%s', c.tab, c.col);
            why := 'is missing';
            mend := format('ALTER TABLE public.%s ADD COLUMN %s %s;', c.tab, c.col, c.typ);
            RETURN NEXT;
        ELSIF c.exact AND v_is <> c.typ
           OR c.typ = 'timestamptz' AND v_is NOT IN ('timestamp with time zone', 'timestamp without time zone', 'date')
           OR c.typ IN ('bigint', 'numeric') AND v_is NOT IN ('smallint', 'integer', 'bigint', 'numeric', 'real', 'double precision') THEN
            col := format('%s.%s', c.tab, c.col);
            why := format('is %s, not %s', v_is, c.typ);
            mend := format('ALTER TABLE public.%1$s ALTER COLUMN %2$s TYPE %3$s USING %2$s::text::%3$s; -- it is %4$s', c.tab, c.col, c.typ, v_is);
            RETURN NEXT;
        END IF;
    END LOOP;
    -- Columns that are named as ours, were there before, and differ.
    FOR c IN SELECT o.*, format_type(a.atttypid, NULL) AS is_type, a.attnotnull, a.atthasdef
             FROM (VALUES ('attempts', ARRAY['integer', 'bigint'], '0'), ('crashes', ARRAY['integer', 'bigint'], '0'),
                          ('priority', ARRAY['integer', 'bigint'], '0'), ('run_after', ARRAY['timestamp with time zone'], 'now()'),
                          ('progress', ARRAY['real', 'double precision'], NULL), ('worker_id', ARRAY['uuid'], NULL),
                          ('started_at', ARRAY['timestamp with time zone'], NULL), ('claimed_at', ARRAY['timestamp with time zone'], NULL),
                          ('worked', ARRAY['interval'], '''0'''), ('cancel_requested_at', ARRAY['timestamp with time zone'], NULL)) AS o (col, typs, def)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = to_regclass('public.jobs') AND a.attname = o.col LOOP
        col := 'jobs.' || c.col;
        IF c.is_type <> ALL (c.typs) THEN
            why := format('is %s, not %s', c.is_type, c.typs[1]);
            mend := format('ALTER TABLE public.jobs RENAME COLUMN %1$s TO old_%1$s; -- it is %2$s, not %3$s', c.col, c.is_type, c.typs[1]);
            RETURN NEXT;
        ELSIF c.def IS NOT NULL AND NOT (c.attnotnull AND c.atthasdef) THEN
            why := 'may be NULL, or has no default';
            mend := format(E'ALTER TABLE public.jobs ALTER COLUMN %1$s SET DEFAULT %2$s;'
                '\nUPDATE public.jobs SET %1$s = %2$s WHERE %1$s IS NULL;\nALTER TABLE public.jobs ALTER COLUMN %1$s SET NOT NULL;', c.col, c.def);
            RETURN NEXT;
        ELSIF c.def IS NULL AND c.attnotnull THEN
            why := 'may not be NULL';
            mend := format('ALTER TABLE public.jobs ALTER COLUMN %s DROP NOT NULL;', c.col);
            RETURN NEXT;
        END IF;
    END LOOP;
END $$;

-- The statement that changes a column's type. The view of jobs stands in the way where it shows the column: migrate
-- makes it again, and all that depends on it.
CREATE OR REPLACE FUNCTION meshify.retype(p_table text, p_column text, p_to text) RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_attribute a
                             WHERE p_table = 'jobs' AND a.attrelid = to_regclass('meshify.jobs') AND a.attname = p_column)
           THEN format('BEGIN; DROP VIEW meshify.jobs CASCADE; ALTER TABLE public.%I ALTER COLUMN %I TYPE %s; '
                       'UPDATE meshify.schema_version SET version = 0; COMMIT; and then meshifyctl migrate', p_table, p_column, p_to)
           ELSE format('ALTER TABLE public.%I ALTER COLUMN %I TYPE %s;', p_table, p_column, p_to) END
$$;

-- Columns of the project's tables without a time zone, with the statement that gives them one.
CREATE OR REPLACE FUNCTION meshify.zoneless() RETURNS TABLE (col text, mend text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT format('%s.%s', n.relname, a.attname),
           meshify.retype(n.relname, a.attname, format('timestamptz USING %I AT TIME ZONE %L', a.attname, current_setting('TimeZone')))
    FROM pg_catalog.pg_class n JOIN pg_catalog.pg_attribute a ON a.attrelid = n.oid
    WHERE n.oid IN (to_regclass('public.jobs'), to_regclass('public.mesh_assets'), to_regclass('public.notifications'))
      AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid = 'timestamp'::regtype
    ORDER BY n.relname, a.attnum
$$;

-- Does a CHECK on one column allow this word? A CHECK that can't be tried so is taken to allow it.
CREATE OR REPLACE FUNCTION meshify.lets_word(p_check text, p_column text, p_word text) RETURNS boolean
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_lets boolean;
BEGIN
    EXECUTE format('SELECT (%s) IS NOT FALSE FROM (SELECT %L::text AS %I) x', p_check, p_word, p_column) INTO v_lets;
    RETURN v_lets;
EXCEPTION WHEN OTHERS THEN
    RETURN true;
END $$;

-- The first of these words that an enum lacks or a CHECK refuses, with the statement that allows all of them. No
-- row: there is none.
CREATE OR REPLACE FUNCTION meshify.refused_word(p_table regclass, p_column text, p_words text[], OUT word text, OUT mend text)
    RETURNS SETOF record LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    k record;
    w text;
BEGIN
    FOREACH w IN ARRAY p_words LOOP
        FOR k IN SELECT t.oid::regtype AS is FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
                 WHERE a.attrelid = p_table AND a.attname = p_column AND t.typtype = 'e'
                   AND NOT EXISTS (SELECT FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid AND e.enumlabel = w) LOOP
            word := w;
            mend := format('ALTER TYPE %s ADD VALUE %L;', k.is, w);
            RETURN NEXT;
            RETURN;
        END LOOP;
        FOR k IN SELECT n.conname, pg_catalog.pg_get_expr(n.conbin, n.conrelid) AS is
                 FROM pg_catalog.pg_constraint n
                 JOIN pg_catalog.pg_attribute a ON a.attrelid = n.conrelid AND n.conkey = ARRAY[a.attnum] AND a.attname = p_column
                 WHERE n.conrelid = p_table AND n.contype = 'c' LOOP
            CONTINUE WHEN meshify.lets_word(k.is, p_column, w);
            word := w;
            mend := format('ALTER TABLE %1$s DROP CONSTRAINT %2$I, ADD CONSTRAINT %2$I CHECK (%3$s OR %4$I = ANY (%5$L)) NOT VALID; '
                           'ALTER TABLE %1$s VALIDATE CONSTRAINT %2$I;', p_table, k.conname, k.is, p_column, p_words);
            RETURN NEXT;
            RETURN;
        END LOOP;
    END LOOP;
END $$;

-- Columns that can't take what is written into them. `p_path` is the length of an object's longest name, in
-- characters (NULL: that of the default). No sentence of ours is longer than 200 characters.
CREATE OR REPLACE FUNCTION meshify.unfit_columns(p_path int) RETURNS TABLE (col text, why text, mend text, grave boolean)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    c record;
    r record;
    v_prompt int := coalesce(nullif(meshify.setting('max_prompt')::int, 0), meshify.most_prompt());
BEGIN
    FOR c IN SELECT w.*, to_regclass('public.' || w.tab) AS id, s.room
             FROM (VALUES
                 ('mesh_assets', 'prompt', '{}', v_prompt, false, 'longer prompts are refused'),
                 ('mesh_assets', 'input_image_path', '{}', 8192, false, 'longer image addresses are refused'),
                 ('jobs', 'status', ARRAY['pending', 'running', 'done', 'error'], 7, true, 'a job can''t be taken, or not be ended'),
                 ('jobs', 'status', '{}', 8, false, 'canceled jobs become error'),
                 ('jobs', 'error', '{}', 200, true, 'a job that fails can''t be ended'),
                 ('mesh_assets', 'status', ARRAY['pending', 'running', 'done', 'error'], 7, true, 'a job can''t be taken, or not be ended'),
                 ('mesh_assets', 'mime', ARRAY['model/gltf-binary'], 17, true, 'a mesh that was bought can''t be recorded'),
                 ('mesh_assets', 'output_path', '{}', coalesce(p_path, 125), true, 'a mesh that was bought can''t be recorded'),
                 ('notifications', 'type', ARRAY['info', 'success', 'error'], 7, false, 'users are not notified'),
                 ('notifications', 'title', '{}', 24, false, 'users are not notified'),
                 ('notifications', 'message', '{}', 230, false, 'users are not always notified')) AS w (tab, col, words, size, grave, costs)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = to_regclass('public.' || w.tab) AND a.attname = w.col
             CROSS JOIN LATERAL (SELECT meshify.room(a.attrelid, a.attname)) s (room) LOOP
        IF c.room < c.size THEN
            col := format('%s.%s', c.tab, c.col);
            why := format(CASE c.col WHEN 'prompt' THEN 'takes %s characters, max_prompt allows %s: %s'
                                     ELSE 'takes %s characters, %s are needed: %s' END, c.room, c.size, c.costs);
            mend := meshify.retype(c.tab, c.col, 'text');
            grave := c.grave;
            RETURN NEXT;
            CONTINUE;
        END IF;
        FOR r IN SELECT * FROM meshify.refused_word(c.id, c.col, c.words) LOOP
            col := format('%s.%s', c.tab, c.col);
            why := format('can''t say %s: %s', r.word, c.costs);
            mend := r.mend;
            grave := c.grave;
            RETURN NEXT;
        END LOOP;
    END LOOP;
END $$;

SELECT meshify.restrict_execute('meshify.misfit_columns()', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.retype(text, text, text)');
SELECT meshify.restrict_execute('meshify.zoneless()', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.lets_word(text, text, text)');
SELECT meshify.restrict_execute('meshify.refused_word(regclass, text, text[])');
SELECT meshify.restrict_execute('meshify.unfit_columns(int)', 'meshify_worker');
