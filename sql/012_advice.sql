-- What an operator should know about this database after a migration, and exactly what to run.

-- Does a CHECK on jobs.status alone let 'canceled' through?
CREATE OR REPLACE FUNCTION meshify.lets_canceled(p_check text) RETURNS boolean
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_lets boolean;
BEGIN
    EXECUTE format('SELECT (%s) IS NOT FALSE FROM (SELECT ''canceled''::text AS status) x', p_check) INTO v_lets;
    RETURN v_lets;
EXCEPTION WHEN OTHERS THEN
    RETURN true;
END $$;

-- Triggers of ours that are not at work: somebody disabled them to load many rows, or a tool that compares schemas took
-- away what it did not know.
CREATE OR REPLACE FUNCTION meshify.idle_triggers() RETURNS TABLE (what text, mend text, missing boolean)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT format('the trigger %s of public.%s is %s: %s', w.name, w.tab, CASE WHEN t.oid IS NULL THEN 'missing' ELSE 'disabled' END, w.costs),
           CASE WHEN t.oid IS NULL THEN 'Run meshifyctl migrate, as the owner of public.jobs.'
                ELSE format('ALTER TABLE public.%I ENABLE TRIGGER %I;', w.tab, w.name) END,
           t.oid IS NULL
    FROM (VALUES ('jobs', 'meshify_notify', 'jobs wait for the next look into the queue'),
                 ('jobs', 'meshify_cancel', 'cancels are heard late'),
                 ('jobs', 'meshify_job_moved', 'a job may make two meshes for one price'),
                 ('jobs', 'meshify_job_deleted', 'nothing is given back for jobs that are deleted'),
                 ('mesh_assets', 'meshify_charge', 'nothing is given back for assets that are inserted'),
                 ('mesh_assets', 'meshify_asset_renamed', 'nothing is given back for assets that get another id'),
                 ('mesh_assets', 'meshify_asset_deleted', 'nothing is given back for assets that are deleted, and their jobs go on')) AS w (tab, name, costs)
    LEFT JOIN pg_catalog.pg_trigger t ON t.tgrelid = to_regclass('public.' || w.tab) AND t.tgname = w.name
    WHERE t.oid IS NULL OR t.tgenabled IN ('D', 'R')
$$;

CREATE OR REPLACE FUNCTION meshify.advice() RETURNS SETOF text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    c record;
    v_n bigint;
    v_pending bigint;
BEGIN
    SELECT count(*) FILTER (WHERE j.status = 'running' AND j.worker_id IS NULL), count(*) FILTER (WHERE j.status = 'pending')
    INTO v_n, v_pending FROM meshify.jobs j WHERE j.status IN ('pending', 'running');
    IF v_n > 0 THEN
        RETURN NEXT format('%s running jobs have no worker: an old one works on them, or left them. They are not touched. '
            'Stop the old worker, then: meshifyctl retry --stuck, or cancel --stuck', v_n);
    END IF;
    IF v_pending > 0 THEN
        RETURN NEXT format('%s jobs are pending: meshifyd will take them, and close those older than [worker] max_age with a refund', v_pending);
    END IF;

    FOR c IN SELECT a.what FROM meshify.adapted a WHERE a.what LIKE 'search_path of %' ORDER BY 1 LOOP
        RETURN NEXT format('the %s was set, since it runs in a trigger and names tables or functions without a schema', c.what);
    END LOOP;
    FOR c IN SELECT l FROM meshify.lost_triggers() l LOOP
        RETURN NEXT format('the trigger function %1$s finds nothing of public when meshifyd writes. As its owner: '
            'ALTER FUNCTION %1$s SET search_path = public, extensions, pg_temp;', c.l);
    END LOOP;

    FOR c IN SELECT k.conname, pg_catalog.pg_get_expr(k.conbin, k.conrelid) AS is
             FROM pg_catalog.pg_constraint k
             JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND k.conkey = ARRAY[a.attnum] AND a.attname = 'status'
             WHERE k.conrelid = 'public.jobs'::regclass AND k.contype = 'c' LOOP
        CONTINUE WHEN meshify.lets_canceled(c.is);
        RETURN NEXT format('jobs.status can''t say canceled, canceled jobs become error. If they should not: '
            'ALTER TABLE public.jobs DROP CONSTRAINT %1$I, ADD CONSTRAINT %1$I CHECK (%2$s OR status = ''canceled'') NOT VALID; '
            'ALTER TABLE public.jobs VALIDATE CONSTRAINT %1$I;', c.conname, c.is);
    END LOOP;
    FOR c IN SELECT a.atttypid::regtype AS is
             FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
             WHERE a.attrelid = 'public.jobs'::regclass AND a.attname = 'status' AND t.typtype = 'e'
               AND NOT EXISTS (SELECT FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid AND e.enumlabel = 'canceled') LOOP
        RETURN NEXT format('jobs.status can''t say canceled, canceled jobs become error. If they should not, as its owner: '
            'ALTER TYPE %s ADD VALUE ''canceled'';', c.is);
    END LOOP;

    IF EXISTS (SELECT FROM pg_catalog.pg_attribute a
               WHERE a.attrelid = 'public.mesh_assets'::regclass AND a.attname = 'size' AND a.atttypid = 'integer'::regtype) THEN
        RETURN NEXT 'mesh_assets.size is an integer: a mesh of 2 GiB or more is written there as 2147483647 bytes. '
            'To widen it (locks and rewrites the table): ALTER TABLE public.mesh_assets ALTER COLUMN size TYPE bigint;';
    END IF;
    FOR c IN SELECT u.* FROM meshify.unfit_columns(NULL) u LOOP
        RETURN NEXT format('%s %s. To mend it (locks and may rewrite the table): %s', c.col, c.why, c.mend);
    END LOOP;
    FOR c IN SELECT z.* FROM meshify.zoneless() z LOOP
        RETURN NEXT format('%s has no time zone: its times are taken as those of %s. To have it (locks and rewrites the table): %s',
                           c.col, current_setting('TimeZone'), c.mend);
    END LOOP;
    FOR c IN SELECT i.* FROM meshify.idle_triggers() i WHERE NOT i.missing LOOP -- these are made later on
        RETURN NEXT format('%s. To mend it: %s', c.what, c.mend);
    END LOOP;
    IF to_regclass('public.notifications') IS NULL THEN
        RETURN NEXT 'there is no table public.notifications: users are not notified. It may be added at any time';
    END IF;

    IF meshify.project_owner_columns() IS NULL THEN
        RETURN NEXT 'no column of public.projects says whose a project is: meshify.enqueue() takes any project of any user. '
            'To have it say so, then migrate again: ALTER TABLE public.projects ADD COLUMN owner_id uuid;';
    END IF;

    -- What an insert of ours leaves out.
    FOR c IN SELECT n.relname, a.attname, format_type(a.atttypid, a.atttypmod) AS typ,
                    CASE WHEN a.atttypid IN ('text'::regtype, 'varchar'::regtype) THEN ''''''
                         WHEN a.atttypid = 'boolean'::regtype THEN 'false'
                         WHEN a.atttypid = 'uuid'::regtype THEN 'gen_random_uuid()'
                         WHEN a.atttypid IN ('jsonb'::regtype, 'json'::regtype) THEN '''{}'''
                         WHEN a.atttypid IN ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype) THEN 'now()'
                         WHEN t.typcategory = 'N' THEN '0' ELSE '...' END AS def
             FROM pg_catalog.pg_attribute a
             JOIN pg_catalog.pg_class n ON n.oid = a.attrelid
             JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
             WHERE a.attrelid IN ('public.jobs'::regclass, 'public.mesh_assets'::regclass, to_regclass('public.notifications'))
               AND a.attnum > 0 AND a.attnotnull AND NOT a.atthasdef AND a.attidentity = ''
               AND a.attname <> ALL (CASE n.relname
                   WHEN 'jobs' THEN ARRAY['type', 'job_type', 'user_id', 'project_id', 'asset_id', 'status', 'input_data']
                   WHEN 'mesh_assets' THEN ARRAY['project_id', 'owner_id', 'prompt', 'input_image_path', 'status', 'credits_cost']
                   ELSE ARRAY['user_id', 'type', 'title', 'message'] END)
             ORDER BY 1, a.attnum LOOP
        RETURN NEXT format('%1$s.%2$s is NOT NULL and has no default: %3$s. To have it: '
            'ALTER TABLE public.%1$I ALTER COLUMN %2$I SET DEFAULT %4$s;', c.relname, c.attname,
            CASE c.relname WHEN 'notifications' THEN 'users are not notified' ELSE 'meshify.enqueue() can''t work' END, c.def);
    END LOOP;

    IF meshify.is_ours('j') NOT LIKE 'j.job_type%' AND EXISTS (
        SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = 'public.jobs'::regclass AND a.attname = 'job_type') THEN
        EXECUTE 'SELECT count(*) FROM public.jobs j WHERE j.job_type = ''meshify'' AND j.type <> ''meshify''' INTO v_n;
        IF v_n > 0 THEN
            RETURN NEXT format('%s jobs have job_type meshify and another type: they are not touched. If they are meant: '
                'UPDATE public.jobs SET type = ''meshify'' WHERE job_type = ''meshify'';', v_n);
        END IF;
    END IF;
END $$;

SELECT meshify.only_for('meshify.lets_canceled(text)');
SELECT meshify.only_for('meshify.advice()', 'meshify_worker');
SELECT meshify.only_for('meshify.idle_triggers()', 'meshify_worker');
UPDATE meshify.schema_version SET version = 12, applied_at = now() WHERE version < 12;
