-- What an operator should know about this database, with the statement to run: for migrate and for the doctor.

-- Triggers of ours that do not work: somebody has disabled them to load many rows, or a tool that compares schemas
-- has dropped what it did not know.
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

-- Trigger functions of the project, on tables that we write, that have no search_path of their own and yet name
-- something of public or extensions without its schema. They inherit our search_path, which has neither, so that our
-- writes would fail in them.
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

-- The column of projects that meshify.lock_project() asks, if it was dropped or renamed since: migrate finds
-- another, or has none to ask.
CREATE OR REPLACE FUNCTION meshify.lost_owner() RETURNS TABLE (col text, why text, mend text)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM meshify.lock_project(NULL, NULL);
EXCEPTION WHEN undefined_column THEN
    col := 'projects.' || substring(SQLERRM FROM '\mp\.("[^"]+"|\w+)');
    why := 'is missing: meshify.enqueue() asks there whose a project is';
    mend := CASE WHEN meshify.project_owner_columns() IS NULL THEN 'ALTER TABLE public.projects ADD COLUMN owner_id uuid; and then meshifyctl migrate'
                 ELSE 'Run meshifyctl migrate, as the owner of public.jobs.' END;
    RETURN NEXT;
END $$;

-- Assets of the last week whose users would not get back what was taken: the price was another than ours, or a
-- user's role inserted the asset. And assets without a job: a program that charges in one request and inserts in
-- others may have been interrupted between them.
CREATE OR REPLACE FUNCTION meshify.odd_charges() RETURNS TABLE (price numeric, other bigint, other_cost numeric, by_users bigint, jobless bigint)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    price := coalesce(meshify.setting('price')::numeric, 0);
    SELECT count(*) FILTER (WHERE NOT w.by_user AND w.cost <> price), mode() WITHIN GROUP (ORDER BY w.cost) FILTER (WHERE NOT w.by_user AND w.cost <> price),
           count(*) FILTER (WHERE w.by_user)
    INTO other, other_cost, by_users
    FROM (SELECT c.cost, coalesce(c.inserted_by IN ('anon', 'authenticated'), false) AS by_user
          FROM meshify.charges c WHERE c.at > now() - interval '7 days' AND c.cost > 0) w;
    SELECT count(*) INTO jobless FROM meshify.charges c JOIN public.mesh_assets a ON a.id = c.asset_id
    WHERE c.at > now() - interval '7 days' AND c.at < now() - interval '10 min' AND c.credits > 0 AND c.made_at IS NULL
      AND a.status IN ('pending', 'running') AND NOT EXISTS (SELECT FROM public.jobs j WHERE j.asset_id = a.id);
    RETURN NEXT;
END $$;

-- All of it, a line each.
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
        CONTINUE WHEN meshify.lets_word(c.is, 'status', 'canceled');
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

    -- Columns that an insert of ours leaves out, and must not.
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

-- The statements that make the indexes which are not there, or are broken. With CONCURRENTLY they can't be part of a
-- transaction.
CREATE OR REPLACE FUNCTION meshify.missing_indexes() RETURNS SETOF text
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    i record;
    v_valid boolean;
BEGIN
    FOR i IN SELECT * FROM (VALUES
        ('meshify_jobs_pending', '(priority DESC, run_after, created_at)', ' AND jobs.status = ''pending'''),
        ('meshify_jobs_pending_user', '(user_id, priority DESC, run_after, created_at)', ' AND jobs.status = ''pending'''),
        ('meshify_jobs_in_progress', '(priority DESC, run_after, created_at)',
         ' AND jobs.status = ''pending'' AND (jobs.started_at IS NOT NULL OR jobs.cancel_requested_at IS NOT NULL)'),
        -- No claim's condition implies this one: so no claim walks this index instead of the first, and sorts.
        ('meshify_jobs_due', '(run_after)', ' AND jobs.status = ''pending'' AND jobs.run_after OPERATOR(pg_catalog.<) ''infinity'''),
        ('meshify_jobs_running', '(worker_id)', ' AND jobs.status = ''running'''),
        ('meshify_jobs_asset', '(asset_id)', '')) AS wanted (name, keys, filter) LOOP
        SELECT x.indisvalid INTO v_valid FROM pg_catalog.pg_index x WHERE x.indexrelid = to_regclass('public.' || i.name);
        CONTINUE WHEN v_valid;
        IF FOUND THEN -- broken off
            RETURN NEXT format('DROP INDEX CONCURRENTLY public.%s', i.name);
        END IF;
        -- It is run in a session of any search_path.
        RETURN NEXT format('CREATE INDEX CONCURRENTLY %s ON public.jobs %s WHERE %s', i.name, i.keys,
                           replace(meshify.is_ours('jobs') || i.filter, ' = ', ' OPERATOR(pg_catalog.=) '));
    END LOOP;
END $$;

SELECT meshify.restrict_execute('meshify.idle_triggers()', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.lost_triggers()');
SELECT meshify.restrict_execute('meshify.lost_owner()', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.odd_charges()', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.advice()', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.missing_indexes()');
