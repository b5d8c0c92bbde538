-- The project's own tables: are they as we need them? Then what was charged before we came is recorded, and the tables
-- get the columns and words that they lack. Nothing here rewrites a table.

DO $$
DECLARE
    v_todo text := (SELECT string_agg(m.mend, E'\n') FROM meshify.misfit_columns() m);
BEGIN
    IF v_todo <> '' THEN
        RAISE EXCEPTION 'the tables of this project are not as meshifyd needs them'
            USING HINT = E'Run this, then migrate again:\n' || v_todo;
    END IF;
END $$;

-- Before any table is locked, since it may take a while.
SELECT meshify.charge_present_assets();

-- Others write an asset before its job. So where triggers are to be made on mesh_assets, that table is locked before
-- jobs is: else a writer who has the one and waits for the other would end each attempt.
DO $$
BEGIN
    IF EXISTS (SELECT FROM (VALUES ('meshify_charge'), ('meshify_asset_renamed'), ('meshify_asset_deleted')) AS w (name)
               WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_trigger t
                                 WHERE t.tgrelid = 'public.mesh_assets'::regclass AND t.tgname = w.name)) THEN
        LOCK TABLE public.mesh_assets IN SHARE ROW EXCLUSIVE MODE;
    END IF;
END $$;

DO $$
DECLARE
    c record;
BEGIN
    FOR c IN SELECT * FROM (VALUES
        ('attempts', 'int NOT NULL DEFAULT 0'), ('crashes', 'int NOT NULL DEFAULT 0'), ('priority', 'int NOT NULL DEFAULT 0'),
        ('run_after', 'timestamptz NOT NULL DEFAULT now()'), ('progress', 'real'), ('worker_id', 'uuid'),
        ('started_at', 'timestamptz'), ('claimed_at', 'timestamptz'), ('worked', 'interval NOT NULL DEFAULT ''0'''),
        ('cancel_requested_at', 'timestamptz')) AS ours (col, def) LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = 'public.jobs'::regclass AND a.attname = c.col) THEN
            EXECUTE format('ALTER TABLE public.jobs ADD COLUMN %I %s', c.col, c.def);
            INSERT INTO meshify.adapted (what, undo)
            VALUES ('column public.jobs.' || c.col, format('ALTER TABLE public.jobs DROP COLUMN IF EXISTS %I', c.col))
            ON CONFLICT DO NOTHING;
        END IF;
    END LOOP;
END $$;

-- An enum learns to say canceled. Nothing in this transaction may use the new value, PostgreSQL says. Where the column
-- can't say it (the enum is somebody else's, or a CHECK refuses), canceled jobs are written as error.
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

-- The project's triggers must work when we are the ones who write, without a schema in our search path.
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
