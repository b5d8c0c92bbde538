-- Columns of the project that can't take what is written into them, most of them when a job ends, that is after it was
-- paid for: said while it costs nothing, with what mends it.
SET LOCAL search_path = pg_catalog, pg_temp; -- nobody's names but PostgreSQL's

-- Does a CHECK on one column let this word through? One that can't be asked so is taken to.
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

-- The first of these words that an enum lacks or a CHECK refuses, and what lets all of them in; no row where there is none.
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

-- `p_path`: the characters that the longest name of an object has; NULL: those of the default. No sentence of ours has more
-- than 200 characters.
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

SELECT meshify.only_for('meshify.lets_word(text, text, text)');
SELECT meshify.only_for('meshify.refused_word(regclass, text, text[])');
SELECT meshify.only_for('meshify.unfit_columns(int)', 'meshify_worker');
UPDATE meshify.schema_version SET version = 31, applied_at = now() WHERE version < 31;
