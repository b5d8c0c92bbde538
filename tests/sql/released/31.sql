--
-- PostgreSQL database dump
--


-- Dumped from database version 15.18 (Debian 15.18-0+deb12u1)
-- Dumped by pg_dump version 15.18 (Debian 15.18-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: auth; Type: SCHEMA; Schema: -; Owner: supabase_admin
--

CREATE SCHEMA auth;


ALTER SCHEMA auth OWNER TO supabase_admin;

--
-- Name: extensions; Type: SCHEMA; Schema: -; Owner: supabase_admin
--

CREATE SCHEMA extensions;


ALTER SCHEMA extensions OWNER TO supabase_admin;

--
-- Name: meshify; Type: SCHEMA; Schema: -; Owner: postgres
--

CREATE SCHEMA meshify;


ALTER SCHEMA meshify OWNER TO postgres;

--
-- Name: public; Type: SCHEMA; Schema: -; Owner: postgres
--

-- *not* creating schema, since initdb creates it


ALTER SCHEMA public OWNER TO postgres;

--
-- Name: claimed; Type: TYPE; Schema: meshify; Owner: postgres
--

CREATE TYPE meshify.claimed AS (
	job_id uuid,
	user_id uuid,
	project_id uuid,
	asset_id uuid,
	owner_id uuid,
	input_data text,
	attempts integer,
	crashes integer,
	worked_usec bigint,
	age_usec bigint,
	cancel_asked boolean,
	purchases text,
	next_usec bigint,
	missing uuid[],
	gone uuid[]
);


ALTER TYPE meshify.claimed OWNER TO postgres;

--
-- Name: uid(); Type: FUNCTION; Schema: auth; Owner: supabase_admin
--

CREATE FUNCTION auth.uid() RETURNS uuid
    LANGUAGE sql STABLE
    AS $$ SELECT nullif(current_setting('request.jwt.claims', true)::jsonb ->> 'sub', '')::uuid $$;


ALTER FUNCTION auth.uid() OWNER TO supabase_admin;

--
-- Name: add_worked(interval, double precision); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.add_worked(p_worked interval, p_seconds double precision) RETURNS interval
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT least(greatest(p_worked, '0'), '100 years') + make_interval(secs => least(greatest(coalesce(p_seconds, 0), 0), 3155760000))
$$;


ALTER FUNCTION meshify.add_worked(p_worked interval, p_seconds double precision) OWNER TO postgres;

--
-- Name: advice(); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.advice() RETURNS SETOF text
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
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
END $_$;


ALTER FUNCTION meshify.advice() OWNER TO postgres;

--
-- Name: as_claimed(uuid[]); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.as_claimed(p_jobs uuid[]) RETURNS SETOF meshify.claimed
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN RETURN QUERY SELECT j.id, j.user_id, j.project_id, j.asset_id, a.owner_id, i.input, greatest(least(j.attempts, 2147483647), 0)::int,
           greatest(least(j.crashes, 2147483647), 0)::int, meshify.usec(j.worked),
           (meshify.seconds_between(greatest(j.created_at, (SELECT r.at FROM meshify.retries r WHERE r.job_id = j.id)), now()) * 1000000)::bigint,
           j.cancel_requested_at IS NOT NULL,
           meshify.purchases_of(j.id), i.too_large, NULL::uuid[], NULL::uuid[]
    FROM meshify.jobs j LEFT JOIN public.mesh_assets a ON a.id = j.asset_id
    CROSS JOIN LATERAL meshify.input_of(j.input_data, NOT meshify.is_begun(j.id)) i
    WHERE j.id = ANY (p_jobs)
    ORDER BY j.priority DESC, j.run_after, j.created_at;
END $$;


ALTER FUNCTION meshify.as_claimed(p_jobs uuid[]) OWNER TO postgres;

--
-- Name: as_credits(text); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.as_credits(p_cost text) RETURNS numeric
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$ SELECT CASE WHEN p_cost ~ '^[0-9]' THEN p_cost::numeric ELSE 0 END $$;


ALTER FUNCTION meshify.as_credits(p_cost text) OWNER TO postgres;

--
-- Name: as_time(text); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.as_time(p_text text) RETURNS timestamp with time zone
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN p_text::timestamptz;
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END $$;


ALTER FUNCTION meshify.as_time(p_text text) OWNER TO postgres;

--
-- Name: asked(uuid); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.asked(p_worker uuid) RETURNS TABLE(cancels uuid[], to_drain boolean)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    cancels := ARRAY(SELECT j.id FROM meshify.jobs j
                     WHERE j.worker_id = p_worker AND j.status = 'running' AND j.cancel_requested_at IS NOT NULL
                     UNION ALL
                     SELECT p.job_id FROM meshify.predictions p LEFT JOIN meshify.jobs j ON j.id = p.job_id
                     WHERE p.worker_id = p_worker AND p.finished_at IS NULL AND p.state IN ('intended', 'bought', 'surplus')
                       AND (j.id IS NULL OR j.status NOT IN ('pending', 'running') AND j.worker_id = p_worker AND j.cancel_requested_at IS NOT NULL));
    to_drain := meshify.is_to_drain(p_worker);
    RETURN NEXT;
END $$;


ALTER FUNCTION meshify.asked(p_worker uuid) OWNER TO postgres;

--
-- Name: asset_deleted(); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.asset_deleted() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '2s'
    AS $$
DECLARE
    v_job uuid;
BEGIN
    FOR v_job IN SELECT j.id FROM meshify.jobs j
                 WHERE j.asset_id = OLD.id AND j.status IN ('pending', 'running') ORDER BY j.id FOR UPDATE LOOP
        PERFORM meshify.end_without(v_job, 'canceled', 'canceled', 'asset deleted', false);
        PERFORM pg_catalog.pg_notify('meshify_control', json_build_object('cancel', v_job)::text);
    END LOOP;
    RETURN OLD;
END $$;


ALTER FUNCTION meshify.asset_deleted() OWNER TO postgres;

--
-- Name: asset_renamed(); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.asset_renamed() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    UPDATE meshify.charges c SET asset_id = NEW.id
    WHERE c.asset_id = OLD.id AND NOT EXISTS (SELECT FROM meshify.charges o WHERE o.asset_id = NEW.id);
    IF FOUND THEN
        UPDATE meshify.refunds r SET asset_id = NEW.id WHERE r.asset_id = OLD.id;
        UPDATE meshify.predictions p SET asset_id = NEW.id WHERE p.asset_id = OLD.id;
        WITH gone AS (DELETE FROM meshify.moved m WHERE m.asset_id = OLD.id RETURNING m.job_id)
        INSERT INTO meshify.moved (job_id, asset_id)
        SELECT g.job_id, NEW.id FROM gone g ON CONFLICT DO NOTHING; -- what a foreign key takes along now comes after this
    END IF;
    RETURN NULL;
END $$;


ALTER FUNCTION meshify.asset_renamed() OWNER TO postgres;

--
-- Name: audit(uuid, integer); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.audit(p_worker uuid, p_max integer) RETURNS TABLE(id bigint, prediction_id text)
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT p.n, a.prediction_id FROM meshify.audit_running(p_worker, p_max) a JOIN meshify.predictions p ON p.id = a.id
$$;


ALTER FUNCTION meshify.audit(p_worker uuid, p_max integer) OWNER TO postgres;

--
-- Name: audit_ended(uuid, text); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.audit_ended(p_id uuid, p_status text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_job uuid;
BEGIN
    UPDATE meshify.predictions p SET status = coalesce(p_status, p.status), finished_at = now()
    WHERE p.id = p_id AND p.finished_at IS NULL RETURNING p.job_id INTO v_job;
    IF FOUND THEN
        PERFORM meshify.note(v_job, 'audited', jsonb_strip_nulls(jsonb_build_object('purchase', p_id, 'status', p_status)));
    END IF;
END $$;


ALTER FUNCTION meshify.audit_ended(p_id uuid, p_status text) OWNER TO postgres;

--
-- Name: audit_lost(uuid, integer); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.audit_lost(p_worker uuid, p_max integer) RETURNS TABLE(id bigint, input_hash text, input_keys text, age_usec bigint)
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT p.n, a.input_hash, a.input_keys, a.age_usec
    FROM meshify.audit_unknown(p_worker, p_max) a JOIN meshify.predictions p ON p.id = a.id
$$;


ALTER FUNCTION meshify.audit_lost(p_worker uuid, p_max integer) OWNER TO postgres;

--
-- Name: audit_running(uuid, integer); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.audit_running(p_worker uuid, p_max integer) RETURNS TABLE(id uuid, prediction_id text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
BEGIN
    PERFORM FROM meshify.workers w WHERE w.id = p_worker AND NOT w.dead AND w.expires_at > now();
    IF NOT FOUND THEN
        RETURN;
    END IF;
    RETURN QUERY
    UPDATE meshify.predictions p SET audited_at = now()
    WHERE p.id IN (
        SELECT o.id FROM meshify.predictions o LEFT JOIN meshify.jobs j ON j.id = o.job_id
        WHERE o.finished_at IS NULL AND o.prediction_id IS NOT NULL
          AND (o.audited_at IS NULL OR o.audited_at < now() - interval '1 min')
          AND (o.state = 'surplus'
               OR (j.id IS NULL AND o.intent_at < now() - interval '1 min')
               OR (j.status NOT IN ('pending', 'running')
                   AND (coalesce(j.completed_at, '-infinity') < now() - interval '1 min' OR j.completed_at > now() + interval '1 day')))
        ORDER BY o.audited_at NULLS FIRST, random() -- an audit may end at its first
        LIMIT p_max FOR UPDATE OF o SKIP LOCKED)
    RETURNING p.id, p.prediction_id;
END $$;


ALTER FUNCTION meshify.audit_running(p_worker uuid, p_max integer) OWNER TO postgres;

--
-- Name: audit_unknown(uuid, integer); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.audit_unknown(p_worker uuid, p_max integer) RETURNS TABLE(id uuid, input_hash text, input_keys text, age_usec bigint)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
BEGIN
    PERFORM FROM meshify.workers w WHERE w.id = p_worker AND NOT w.dead AND w.expires_at > now();
    IF NOT FOUND THEN
        RETURN;
    END IF;
    RETURN QUERY
    UPDATE meshify.predictions p SET audited_at = now()
    WHERE p.id IN (
        SELECT o.id FROM meshify.predictions o LEFT JOIN meshify.jobs j ON j.id = o.job_id
        WHERE o.state IN ('given_up', 'intended') AND o.prediction_id IS NULL AND o.intent_at > now() - interval '1 hour'
          AND (o.audited_at IS NULL OR o.audited_at < now() - interval '1 min')
          AND (o.state = 'given_up' OR j.id IS NULL OR j.status NOT IN ('pending', 'running'))
        ORDER BY o.audited_at NULLS FIRST, o.intent_at LIMIT p_max FOR UPDATE OF o SKIP LOCKED)
    RETURNING p.id, p.input_hash, p.input_keys::text, meshify.usec(now() - p.intent_at);
END $$;


ALTER FUNCTION meshify.audit_unknown(p_worker uuid, p_max integer) OWNER TO postgres;

--
-- Name: audited(bigint, text); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.audited(p_id bigint, p_status text) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT meshify.audit_ended((SELECT p.id FROM meshify.predictions p WHERE p.n = p_id), p_status)
$$;


ALTER FUNCTION meshify.audited(p_id bigint, p_status text) OWNER TO postgres;

--
-- Name: bar(uuid, uuid); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.bar(p_job uuid, p_asset uuid) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    INSERT INTO meshify.barred (job_id)
    SELECT p_job UNION SELECT j.id FROM meshify.jobs j WHERE j.asset_id = p_asset AND j.status NOT IN ('pending', 'running')
    UNION SELECT m.job_id FROM meshify.moved m WHERE m.asset_id = p_asset
    ON CONFLICT DO NOTHING;
END $$;


ALTER FUNCTION meshify.bar(p_job uuid, p_asset uuid) OWNER TO postgres;

--
-- Name: beat(uuid, interval, integer, boolean, integer); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.beat(p_worker uuid, p_lease interval, p_running integer, p_draining boolean, p_max_jobs integer) RETURNS TABLE(answer text, workers integer, running_all integer, paused boolean, to_drain boolean, epoch bigint)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '1s'
    AS $$
BEGIN
    epoch := extract(epoch FROM now())::bigint;
    UPDATE meshify.workers w
    SET heartbeat_at = now(), expires_at = now() + p_lease, running = p_running, draining = p_draining, max_jobs = p_max_jobs
    WHERE w.id = p_worker AND NOT w.dead;
    answer := CASE WHEN FOUND THEN 'ok' ELSE 'lost' END;
    SELECT count(*), coalesce(sum(w.running), 0) INTO workers, running_all
    FROM meshify.workers w WHERE NOT w.dead AND w.expires_at > now();
    paused := meshify.setting('paused') = 'on';
    to_drain := meshify.is_to_drain(p_worker);
    RETURN NEXT;
END $$;


ALTER FUNCTION meshify.beat(p_worker uuid, p_lease interval, p_running integer, p_draining boolean, p_max_jobs integer) OWNER TO postgres;

--
-- Name: busy(); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.busy() RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF meshify.sent_as() = 'old' THEN
        RAISE EXCEPTION 'a row of the job is locked' USING ERRCODE = 'lock_not_available';
    END IF;
    RETURN 'busy';
END $$;


ALTER FUNCTION meshify.busy() OWNER TO postgres;

--
-- Name: cancel(uuid); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.cancel(job_id uuid) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '2s'
    AS $$
#variable_conflict use_column
DECLARE
    v_job uuid := cancel.job_id;
    v_status text;
BEGIN
    PERFORM FROM public.mesh_assets a WHERE a.id = (SELECT j.asset_id FROM meshify.jobs j WHERE j.id = v_job) FOR UPDATE;
    SELECT j.status::text INTO v_status FROM meshify.jobs j WHERE j.id = v_job FOR UPDATE;
    IF NOT FOUND THEN
        RETURN 'gone';
    ELSIF v_status NOT IN ('pending', 'running') THEN
        RETURN 'ended';
    ELSIF v_status = 'pending' AND NOT meshify.may_run(v_job) THEN
        PERFORM meshify.end_without(v_job, 'canceled', 'canceled', 'canceled');
        RETURN 'canceled';
    END IF;
    UPDATE meshify.jobs j SET cancel_requested_at = coalesce(j.cancel_requested_at, now()) WHERE j.id = v_job;
    PERFORM meshify.note(v_job, 'cancel_asked');
    RETURN 'asked'; -- the trigger below tells the workers
END $$;


ALTER FUNCTION meshify.cancel(job_id uuid) OWNER TO postgres;

--
-- Name: cancel_asked(); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.cancel_asked() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_status text;
BEGIN
    SELECT j.status::text INTO v_status FROM meshify.jobs j WHERE j.id = NEW.id;
    IF v_status IN ('pending', 'running') THEN
        PERFORM pg_catalog.pg_notify('meshify_control', json_build_object('cancel', NEW.id)::text);
    END IF;
    IF v_status = 'pending' THEN
        UPDATE meshify.jobs j SET run_after = least(j.run_after, now()) WHERE j.id = NEW.id;
        PERFORM pg_catalog.pg_notify('meshify_jobs', '');
    END IF;
    RETURN NULL;
END $$;


ALTER FUNCTION meshify.cancel_asked() OWNER TO postgres;

--
-- Name: cancel_stuck(); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.cancel_stuck() RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '2s'
    AS $$
DECLARE
    v_n int := 0;
    v_job uuid;
BEGIN
    FOR v_job IN SELECT meshify.stuck() LOOP
        PERFORM FROM public.mesh_assets a WHERE a.id = (SELECT x.asset_id FROM meshify.jobs x WHERE x.id = v_job) FOR UPDATE;
        PERFORM FROM meshify.jobs x WHERE x.id = v_job AND x.status = 'running' AND x.worker_id IS NULL FOR UPDATE;
        IF FOUND THEN
            v_n := v_n + 1;
            PERFORM meshify.end_without(v_job, 'canceled', 'canceled', 'stuck');
        END IF;
    END LOOP;
    RETURN v_n;
END $$;


ALTER FUNCTION meshify.cancel_stuck() OWNER TO postgres;

--
-- Name: canceled(uuid, uuid); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.canceled(p_worker uuid, p_job uuid) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '200ms'
    AS $$
DECLARE
    v_answer text := meshify.fence_closing(p_worker, p_job);
BEGIN
    IF v_answer = 'ok' THEN -- nobody asked: a worker that thinks so lets the job go, and takes it up again as it is
        RETURN 'lost';
    ELSIF v_answer <> 'cancel' THEN
        RETURN v_answer;
    ELSIF NOT meshify.lock_profile(p_job) THEN
        RETURN meshify.busy();
    END IF;
    RETURN meshify.end_or_park(p_job, 'canceled', jsonb_build_object('reason', 'canceled'));
END $$;


ALTER FUNCTION meshify.canceled(p_worker uuid, p_job uuid) OWNER TO postgres;

--
-- Name: charge_asset(); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.charge_asset() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_role text := current_setting('role');
    v_row jsonb := to_jsonb(NEW);
    v_cost numeric := meshify.as_credits(v_row ->> 'credits_cost');
BEGIN
    INSERT INTO meshify.charges (asset_id, user_id, credits, cost, inserted_by)
    VALUES (NEW.id, (v_row ->> 'owner_id')::uuid, CASE WHEN v_role IN ('anon', 'authenticated') THEN 0
                                       ELSE least(v_cost, coalesce(meshify.setting('price')::numeric, 0)) END, v_cost, v_role)
    ON CONFLICT (asset_id) DO NOTHING;
    RETURN NULL;
END $$;


ALTER FUNCTION meshify.charge_asset() OWNER TO postgres;

--
-- Name: claim(uuid, integer, integer, boolean); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.claim(p_worker uuid, p_free integer, p_max_per_user integer, p_only_bought boolean) RETURNS SETOF meshify.claimed
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_picked uuid[] := '{}';
    v_some uuid[];
    v_more uuid[];
    v_taken uuid[] := '{}';
    v_cut boolean := false; -- more would have been too much for one answer
    v_paused boolean := meshify.setting('paused') IS NOT DISTINCT FROM 'on';
    v_info meshify.claimed;
    v_free int;
BEGIN
    -- The intent's commit makes the claim durable too; a claim alone is worth no wait for the disk.
    PERFORM pg_catalog.set_config('synchronous_commit', 'off', true);
    IF NOT meshify.tables_are_free(true) THEN -- nothing of a claim waits for a table, while it holds rows
        v_info.next_usec := 1000000;
        RETURN NEXT v_info;
        RETURN;
    END IF;
    IF p_max_per_user > 0 THEN
        PERFORM pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('meshify.claim'));
    END IF;
    -- Nobody declares this worker dead while it claims, but its heart may beat. It gets no more than the database
    -- counts, whatever became of the answers to its claims before.
    SELECT least(p_free, w.max_jobs - (SELECT count(*) FROM meshify.jobs j WHERE j.worker_id = w.id AND j.status = 'running'
                                       AND NOT meshify.is_parked(j.id))) INTO v_free
    FROM meshify.workers w WHERE w.id = p_worker AND NOT w.dead FOR KEY SHARE SKIP LOCKED;
    IF FOUND AND v_free <= 0 AND p_free > 0 THEN
        v_info.next_usec := 1000000;
        RETURN NEXT v_info;
        RETURN;
    END IF;
    IF FOUND THEN
        p_free := v_free;
        v_picked := meshify.pick_begun(p_free, v_paused);
        v_more := meshify.fitting(v_picked);
        v_cut := cardinality(v_more) < cardinality(v_picked);
        v_picked := v_more;
        IF cardinality(v_picked) > 0 THEN -- before the others are counted
            v_taken := meshify.take_each(p_worker, v_picked);
        END IF;
        IF NOT v_paused AND NOT p_only_bought AND NOT v_cut AND cardinality(v_picked) < p_free THEN
            v_some := meshify.pick(p_free - cardinality(v_picked), p_max_per_user);
            v_more := meshify.fitting(v_some);
            v_cut := cardinality(v_more) < cardinality(v_some);
            v_taken := v_taken || meshify.take_each(p_worker, v_more);
            v_picked := v_picked || v_more;
        END IF;
        v_cut := v_cut OR meshify.is_late(); -- it was cut short, see meshify.take_each
        INSERT INTO meshify.events (job_id, event, detail)
        SELECT p, 'claimed', jsonb_build_object('worker', p_worker) FROM unnest(v_taken) p;
    END IF;
    v_info.next_usec := (SELECT greatest(meshify.seconds_between(now(), d.due) * 1000000, 0)::bigint
                         FROM meshify.next_due(v_cut OR cardinality(v_picked) >= p_free) AS d (due) WHERE d.due IS NOT NULL);
    RETURN NEXT v_info;
    IF cardinality(v_taken) > 0 THEN
        RETURN QUERY SELECT * FROM meshify.as_claimed(v_taken);
    END IF;
END $$;


ALTER FUNCTION meshify.claim(p_worker uuid, p_free integer, p_max_per_user integer, p_only_bought boolean) OWNER TO postgres;

--
-- Name: compare(uuid, uuid[]); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.compare(p_worker uuid, p_known uuid[]) RETURNS SETOF meshify.claimed
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_held uuid[];
    v_info meshify.claimed;
BEGIN
    v_held := ARRAY(SELECT j.id FROM meshify.jobs j
                    WHERE j.worker_id = p_worker AND j.status = 'running' AND NOT meshify.is_parked(j.id));
    v_info.missing := ARRAY(SELECT unnest(p_known) EXCEPT SELECT unnest(v_held));
    -- Deleted, or ended under its worker, as when the asset is deleted: nobody else will see to what was bought.
    v_info.gone := ARRAY(SELECT m FROM unnest(v_info.missing) m LEFT JOIN meshify.jobs j ON j.id = m
                         WHERE j.id IS NULL OR (j.worker_id = p_worker AND j.status NOT IN ('pending', 'running')));
    RETURN NEXT v_info;
    -- Those that are too many for one answer come with the next comparison: the counts will differ again.
    RETURN QUERY SELECT * FROM meshify.as_claimed(meshify.fitting(ARRAY(
        SELECT unnest(v_held) EXCEPT SELECT unnest(p_known) LIMIT 200)));
END $$;


ALTER FUNCTION meshify.compare(p_worker uuid, p_known uuid[]) OWNER TO postgres;

--
-- Name: do_without(uuid, jsonb); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.do_without(p_job uuid, p_purchases jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_of jsonb;
    v_row meshify.predictions;
    v_to text;
BEGIN
    FOR v_of IN SELECT e.value FROM jsonb_array_elements(p_purchases) e LOOP
        v_row := meshify.find_purchase(v_of);
        CONTINUE WHEN v_row.job_id IS DISTINCT FROM p_job;
        v_to := CASE WHEN v_row.state = 'intended' THEN 'given_up'
                     WHEN v_row.state = 'bought' AND v_of ->> 'state' = 'bought' THEN 'surplus' END;
        CONTINUE WHEN v_to IS NULL;
        UPDATE meshify.predictions p SET state = v_to WHERE p.id = v_row.id;
        PERFORM meshify.note(p_job, v_to, jsonb_build_object('step', v_row.step, 'purchase', v_row.purchase));
    END LOOP;
END $$;


ALTER FUNCTION meshify.do_without(p_job uuid, p_purchases jsonb) OWNER TO postgres;

--
-- Name: done(uuid, uuid, text, bigint, text, jsonb, jsonb); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.done(p_worker uuid, p_job uuid, p_path text, p_size bigint, p_mime text, p_output_data jsonb, p_result_meta jsonb) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '200ms'
    AS $$
DECLARE
    v_answer text := meshify.fence_closing(p_worker, p_job);
BEGIN
    -- Not closed by us, who were about to: its asset was deleted.
    IF v_answer = 'closed' AND EXISTS (SELECT FROM meshify.jobs x WHERE x.id = p_job AND x.status <> 'done') THEN
        v_answer := 'cancel';
    END IF;
    -- No row will name the object, unless another job of the asset stored one of this name.
    IF v_answer = 'cancel' AND EXISTS (SELECT FROM public.mesh_assets a JOIN meshify.jobs x ON x.asset_id = a.id
                                       WHERE x.id = p_job AND a.status = 'done' AND a.output_path = p_path) THEN
        RETURN 'keep';
    END IF;
    IF v_answer <> 'ok' THEN
        RETURN v_answer;
    ELSIF NOT meshify.may_have_mesh(p_job) THEN
        RETURN 'refused';
    ELSIF meshify.notification_locks_profile() AND NOT meshify.lock_profile(p_job, true) THEN
        RETURN meshify.busy();
    END IF;
    RETURN meshify.end_or_park(p_job, 'done', jsonb_build_object(
        'path', p_path, 'size', p_size, 'mime', p_mime, 'output_data', p_output_data, 'result_meta', p_result_meta));
END $$;


ALTER FUNCTION meshify.done(p_worker uuid, p_job uuid, p_path text, p_size bigint, p_mime text, p_output_data jsonb, p_result_meta jsonb) OWNER TO postgres;

--
-- Name: drain(text); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.drain(p_instance text) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_n int := 0;
    v_worker uuid;
BEGIN
    FOR v_worker IN UPDATE meshify.workers w SET drain_asked_at = coalesce(w.drain_asked_at, now())
                    WHERE w.instance = p_instance AND NOT w.dead AND w.expires_at > now() RETURNING w.id LOOP
        PERFORM pg_catalog.pg_notify('meshify_control', json_build_object('drain', v_worker)::text);
        v_n := v_n + 1;
    END LOOP;
    RETURN v_n;
END $$;


ALTER FUNCTION meshify.drain(p_instance text) OWNER TO postgres;

--
-- Name: end_as(uuid, text, jsonb); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.end_as(p_job uuid, p_how text, p_args jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF p_how = 'done' THEN
        PERFORM meshify.end_with(p_job, p_args);
    ELSIF p_how = 'back' THEN
        PERFORM meshify.put_back(p_job, p_args);
    ELSE
        PERFORM meshify.end_without(p_job, p_how, p_args ->> 'sentence', p_args ->> 'reason');
    END IF;
END $$;


ALTER FUNCTION meshify.end_as(p_job uuid, p_how text, p_args jsonb) OWNER TO postgres;

--
-- Name: end_or_park(uuid, text, jsonb); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.end_or_park(p_job uuid, p_how text, p_args jsonb) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF meshify.sent_as() = 'batch' THEN
        PERFORM meshify.end_as(p_job, p_how, p_args);
        RETURN 'ok';
    END IF;
    BEGIN
        PERFORM meshify.end_as(p_job, p_how, p_args);
        SET CONSTRAINTS ALL IMMEDIATE;
        SET CONSTRAINTS ALL DEFERRED; -- for the next of the same transaction
    EXCEPTION WHEN OTHERS OR assert_failure OR query_canceled THEN
        PERFORM meshify.park(p_job, p_how, p_args, SQLSTATE, SQLERRM);
        RETURN 'parked';
    END;
    RETURN 'ok';
END $$;


ALTER FUNCTION meshify.end_or_park(p_job uuid, p_how text, p_args jsonb) OWNER TO postgres;

--
-- Name: end_with(uuid, jsonb); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.end_with(p_job uuid, p_args jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    j record;
    v_size bigint := (p_args ->> 'size')::bigint;
BEGIN
    UPDATE meshify.jobs x
    SET status = 'done', output_data = p_args -> 'output_data', error = meshify.fit('public.jobs', 'error', NULL), completed_at = now(), progress = 1
    WHERE x.id = p_job RETURNING x.id, x.user_id, x.asset_id, x.input_data INTO j;
    UPDATE public.mesh_assets a
    SET status = 'done', output_path = p_args ->> 'path', mime = p_args ->> 'mime', result_meta = p_args -> 'result_meta',
        size = CASE WHEN pg_typeof(a.size) = 'integer'::regtype THEN least(v_size, 2147483647) ELSE v_size END
    WHERE a.id = j.asset_id;
    PERFORM meshify.spend(p_job, j.asset_id);
    PERFORM meshify.stored_for_good(p_job, p_args ->> 'path');
    PERFORM meshify.notify_user(j.user_id, 'success', 'Mesh Generation Complete',
        'Your 3D mesh "' || meshify.prompt_of(j.input_data) || '" has been generated successfully and is ready for download.', p_job);
    PERFORM meshify.note(p_job, 'done', jsonb_build_object('path', p_args ->> 'path', 'size', v_size));
    DELETE FROM meshify.closings c WHERE c.job_id = p_job;
    PERFORM meshify.has_ended(p_job);
END $$;


ALTER FUNCTION meshify.end_with(p_job uuid, p_args jsonb) OWNER TO postgres;

--
-- Name: end_without(uuid, text, text, text, boolean); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.end_without(p_job uuid, p_status text, p_sentence text, p_reason text, p_asset_stays boolean DEFAULT true) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    j record;
    v_ended boolean := false;
BEGIN
    IF p_status = 'canceled' THEN
        BEGIN
            UPDATE meshify.jobs x
            SET status = 'canceled', error = meshify.fit('public.jobs', 'error', NULL), completed_at = now(),
                cancel_requested_at = coalesce(x.cancel_requested_at, now())
            WHERE x.id = p_job RETURNING x.id, x.user_id, x.asset_id INTO j;
            v_ended := true;
        EXCEPTION WHEN integrity_constraint_violation OR invalid_text_representation OR string_data_right_truncation OR raise_exception THEN
            NULL; -- a CHECK, an enum, a trigger: this column can't say it
        END;
    END IF;
    IF NOT v_ended THEN
        UPDATE meshify.jobs x
        SET status = 'error', completed_at = now(),
            error = CASE p_status WHEN 'canceled' THEN 'The mesh generation was canceled.' ELSE p_sentence END,
            cancel_requested_at = CASE p_status WHEN 'canceled' THEN coalesce(x.cancel_requested_at, now()) ELSE x.cancel_requested_at END
        WHERE x.id = p_job RETURNING x.id, x.user_id, x.asset_id INTO j;
    END IF;
    IF p_asset_stays AND NOT meshify.has_other_job(p_job, j.asset_id) THEN
        UPDATE public.mesh_assets a SET status = 'error' WHERE a.id = j.asset_id AND a.status <> 'done';
    END IF;
    IF p_status = 'canceled' THEN
        PERFORM meshify.notify_user(j.user_id, 'info', 'Mesh Generation Canceled', 'Your 3D mesh generation was canceled.', p_job);
    ELSIF p_reason IS DISTINCT FROM 'made_before' OR NOT meshify.has_made(p_job) THEN -- else its user has the mesh
        PERFORM meshify.notify_user(j.user_id, 'error', 'Mesh Generation Failed', 'Failed to generate 3D mesh: ' || p_sentence, p_job);
    END IF;
    PERFORM meshify.note(p_job, p_status, jsonb_strip_nulls(jsonb_build_object(
        'reason', p_reason, 'refund', meshify.refund(j.id, j.user_id, j.asset_id))));
    DELETE FROM meshify.closings c WHERE c.job_id = p_job;
    PERFORM meshify.has_ended(p_job);
END $$;


ALTER FUNCTION meshify.end_without(p_job uuid, p_status text, p_sentence text, p_reason text, p_asset_stays boolean) OWNER TO postgres;

--
-- Name: enqueue(uuid, uuid, text, text, boolean, uuid); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.enqueue(user_id uuid, project_id uuid, prompt text, image_url text, free boolean DEFAULT false, request_id uuid DEFAULT NULL::uuid, OUT asset_id uuid, OUT job_id uuid) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '2s'
    AS $$
#variable_conflict use_column
DECLARE
    v_user uuid := enqueue.user_id;
    v_project uuid := enqueue.project_id;
    v_free boolean := coalesce(enqueue.free, false);
    v_request uuid := enqueue.request_id;
    v_hash text;
    v_prompt text;
    v_image text;
    v_max_prompt int := coalesce(nullif(meshify.setting('max_prompt')::int, 0), meshify.most_prompt());
    v_price numeric := CASE WHEN v_free THEN 0 ELSE meshify.setting('price')::numeric END;
    v_max int := meshify.setting('max_pending_jobs')::int;
    v_asset uuid;
    v_job uuid;
    v_whose text;
    v_same boolean;
    r record;
BEGIN
    IF octet_length(enqueue.prompt) > v_max_prompt THEN
        RAISE EXCEPTION 'the prompt has % bytes, at most % are taken', octet_length(enqueue.prompt), v_max_prompt
            USING ERRCODE = 'MF400', HINT = 'Shorten it, or let an operator raise the limit: meshifyctl settings max_prompt N.';
    ELSIF octet_length(enqueue.image_url) > 8192 THEN
        RAISE EXCEPTION 'image_url has % bytes, at most 8192 are taken', octet_length(enqueue.image_url) USING ERRCODE = 'MF400';
    END IF;
    v_prompt := meshify.unless_blank(enqueue.prompt);
    v_image := meshify.unless_blank(enqueue.image_url);
    IF v_user IS NULL OR v_project IS NULL OR (v_prompt IS NULL AND v_image IS NULL) THEN
        RAISE EXCEPTION 'missing: %', concat_ws(', ', CASE WHEN v_user IS NULL THEN 'user_id' END, CASE WHEN v_project IS NULL THEN 'project_id' END,
            CASE WHEN v_prompt IS NULL AND v_image IS NULL THEN 'a prompt or an image'
                || CASE WHEN concat(enqueue.prompt, enqueue.image_url) <> '' THEN ' (what was given holds only blanks)' ELSE '' END END)
            USING ERRCODE = 'MF400';
    END IF;

    FOR r IN SELECT * FROM (VALUES ('the prompt', 'prompt', v_prompt), ('image_url', 'input_image_path', v_image)) AS w (what, col, value)
             WHERE char_length(w.value) > meshify.room('public.mesh_assets', w.col) LOOP
        RAISE EXCEPTION '% has % characters, at most % fit into mesh_assets.%', r.what, char_length(r.value), meshify.room('public.mesh_assets', r.col), r.col
            USING ERRCODE = 'MF400', HINT = 'An operator can widen the column: meshifyctl doctor says how.';
    END LOOP;

    -- The project, then the profile, then what is counted and looked for: each call of a user waits for the one before.
    v_whose := meshify.lock_project(v_project, v_user);
    PERFORM FROM public.profiles p WHERE p.id = v_user FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        PERFORM pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('meshify.enqueue ' || v_user, 0));
    END IF;
    IF v_request IS NOT NULL THEN
        v_hash := encode(sha256(convert_to(jsonb_build_array(v_project, v_prompt, v_image, v_free)::text, getdatabaseencoding())), 'hex');
        SELECT c.asset_id, c.job_id, c.request_hash = v_hash INTO v_asset, v_job, v_same
        FROM meshify.charges c WHERE c.user_id = v_user AND c.request_id = v_request;
        IF FOUND AND NOT EXISTS (SELECT FROM public.mesh_assets a WHERE a.id = v_asset) THEN
            UPDATE meshify.charges c SET request_id = NULL WHERE c.asset_id = v_asset;
        ELSIF FOUND THEN
            IF NOT v_same THEN
                RAISE EXCEPTION 'request_id % was used before, for another project, prompt or image', v_request USING ERRCODE = 'MF400',
                    HINT = 'A request that is not a repetition needs a request_id of its own.';
            ELSIF NOT EXISTS (SELECT FROM meshify.jobs j WHERE j.id = v_job) THEN
                RAISE EXCEPTION 'request_id % was used before, and its job was deleted', v_request USING ERRCODE = 'MF400',
                    HINT = format('What became of it stands in asset %s. To have another mesh made, call with a request_id of its own.', v_asset);
            END IF;
            enqueue.asset_id := v_asset;
            enqueue.job_id := v_job;
            RETURN;
        END IF;
    END IF;
    IF v_whose = 'gone' THEN
        RAISE EXCEPTION 'project % does not exist', v_project USING ERRCODE = 'MF400';
    ELSIF v_whose <> 'ok' THEN
        RAISE EXCEPTION 'project % does not belong to user %', v_project, v_user USING ERRCODE = 'MF400';
    END IF;
    IF v_max > 0 AND (SELECT count(*) FROM meshify.jobs j
                      WHERE j.user_id = v_user AND j.status = 'pending') >= v_max THEN
        RAISE EXCEPTION 'the user has % pending jobs already', v_max
            USING ERRCODE = 'MF429', HINT = 'Wait until some of them have ended; an operator can raise the limit: meshifyctl settings max_pending_jobs N.';
    END IF;
    IF v_price > 0 THEN
        UPDATE public.profiles p
        SET credits_remaining = p.credits_remaining - v_price, credits_used = p.credits_used + v_price
        WHERE p.id = v_user AND p.credits_remaining >= v_price AND p.credits_remaining::float8 <> 'NaN'; -- more than any number
        IF NOT FOUND THEN
            RAISE EXCEPTION 'too few credits: % are needed', v_price USING ERRCODE = 'MF402';
        END IF;
    END IF;
    INSERT INTO public.mesh_assets (project_id, owner_id, prompt, input_image_path, status, credits_cost)
    VALUES (v_project, v_user, meshify.fit('public.mesh_assets', 'prompt', v_prompt),
            meshify.fit('public.mesh_assets', 'input_image_path', v_image), 'pending', v_price) RETURNING id INTO v_asset;
    INSERT INTO meshify.jobs (user_id, project_id, asset_id, status, input_data)
    VALUES (v_user, v_project, v_asset, 'pending',
            jsonb_strip_nulls(jsonb_build_object('prompt', v_prompt, 'input_image_url', v_image)))
    RETURNING id INTO v_job;
    -- What was taken, whatever the trigger made of it: here it is known.
    INSERT INTO meshify.charges AS c (asset_id, user_id, credits, cost, inserted_by, job_id, request_id, request_hash)
    VALUES (v_asset, v_user, v_price, v_price, 'meshify.enqueue', v_job, v_request, v_hash)
    ON CONFLICT (asset_id) DO UPDATE SET user_id = excluded.user_id, credits = excluded.credits, cost = excluded.cost,
        inserted_by = excluded.inserted_by, job_id = excluded.job_id, request_id = excluded.request_id, request_hash = excluded.request_hash;
    PERFORM meshify.notify_user(v_user, 'info', 'Mesh Generation Started',
        'Your 3D mesh "' || left(coalesce(v_prompt, ''), 100) || '" is being generated.', v_job);
    enqueue.asset_id := v_asset;
    enqueue.job_id := v_job;
END $$;


ALTER FUNCTION meshify.enqueue(user_id uuid, project_id uuid, prompt text, image_url text, free boolean, request_id uuid, OUT asset_id uuid, OUT job_id uuid) OWNER TO postgres;

--
-- Name: fail(uuid, uuid, text, text); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.fail(p_worker uuid, p_job uuid, p_sentence text, p_reason text) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '200ms'
    AS $$
DECLARE
    v_answer text := meshify.fence_closing(p_worker, p_job);
BEGIN
    IF v_answer NOT IN ('ok', 'cancel') THEN
        RETURN v_answer;
    ELSIF NOT meshify.lock_profile(p_job) THEN
        RETURN meshify.busy();
    END IF;
    -- Who asked for a cancel is not told of a failure.
    RETURN meshify.end_or_park(p_job, CASE v_answer WHEN 'cancel' THEN 'canceled' ELSE 'error' END,
                               jsonb_build_object('sentence', p_sentence, 'reason', p_reason));
END $$;


ALTER FUNCTION meshify.fail(p_worker uuid, p_job uuid, p_sentence text, p_reason text) OWNER TO postgres;

--
-- Name: fence(uuid, uuid); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.fence(p_worker uuid, p_job uuid) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_status text;
    v_worker uuid;
    v_cancel timestamptz;
    v_asset uuid;
BEGIN
    IF NOT meshify.tables_are_free() THEN
        RETURN meshify.busy();
    END IF;
    IF meshify.sent_as() = 'wait' THEN
        PERFORM FROM meshify.jobs j WHERE j.id = p_job FOR UPDATE;
    END IF;
    SELECT j.status::text, j.worker_id, j.cancel_requested_at, j.asset_id INTO v_status, v_worker, v_cancel, v_asset
    FROM meshify.jobs j WHERE j.id = p_job FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN CASE WHEN EXISTS (SELECT FROM meshify.jobs j WHERE j.id = p_job) THEN meshify.busy() ELSE 'gone' END;
    END IF;
    RETURN CASE
        WHEN v_worker IS DISTINCT FROM p_worker THEN 'lost'
        WHEN v_status IN ('done', 'error', 'canceled') THEN 'closed'
        WHEN v_status <> 'running' THEN 'lost'
        WHEN meshify.is_barred(p_job, v_asset) AND NOT meshify.is_made(v_asset) THEN 'gone'
        WHEN v_cancel IS NOT NULL THEN 'cancel'
        ELSE 'ok' END;
END $$;


ALTER FUNCTION meshify.fence(p_worker uuid, p_job uuid) OWNER TO postgres;

--
-- Name: fence_closing(uuid, uuid); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.fence_closing(p_worker uuid, p_job uuid) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '200ms'
    AS $$
DECLARE
    v_asset uuid;
    v_answer text;
BEGIN
    IF NOT meshify.tables_are_free() THEN
        RETURN meshify.busy();
    END IF;
    v_asset := (SELECT j.asset_id FROM meshify.jobs j WHERE j.id = p_job);
    IF meshify.sent_as() = 'wait' THEN
        PERFORM pg_catalog.set_config('lock_timeout', '2s', true); -- until this function's end
        PERFORM FROM public.mesh_assets a WHERE a.id = v_asset FOR UPDATE;
    END IF;
    PERFORM FROM public.mesh_assets a WHERE a.id = v_asset FOR UPDATE SKIP LOCKED;
    IF NOT FOUND AND EXISTS (SELECT FROM public.mesh_assets a WHERE a.id = v_asset) THEN
        RETURN meshify.busy();
    END IF;
    v_answer := meshify.fence(p_worker, p_job);
    RETURN CASE WHEN v_answer IN ('ok', 'cancel') AND meshify.is_parked(p_job) THEN 'parked' ELSE v_answer END;
END $$;


ALTER FUNCTION meshify.fence_closing(p_worker uuid, p_job uuid) OWNER TO postgres;

SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: predictions; Type: TABLE; Schema: meshify; Owner: postgres
--

CREATE TABLE meshify.predictions (
    n bigint NOT NULL,
    job_id uuid NOT NULL,
    step text NOT NULL,
    purchase integer,
    attempt integer NOT NULL,
    worker_id uuid,
    state text NOT NULL,
    intent_at timestamp with time zone DEFAULT now() NOT NULL,
    give_up_after timestamp with time zone NOT NULL,
    prediction_id text,
    status text,
    model text,
    input_hash text,
    input_keys jsonb,
    output jsonb,
    created_at timestamp with time zone,
    finished_at timestamp with time zone,
    metrics jsonb,
    error text,
    asset_id uuid,
    pipeline text,
    output_pointer text,
    object_name text,
    object_size bigint,
    object_sha256 text,
    upload_id text,
    last_step boolean,
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    audited_at timestamp with time zone,
    object_worker uuid,
    object_place text,
    object_grace interval,
    object_state text,
    CONSTRAINT predictions_of_a_purchase CHECK (((purchase IS NOT NULL) OR (state = 'surplus'::text))),
    CONSTRAINT predictions_state_check CHECK ((state = ANY (ARRAY['intended'::text, 'bought'::text, 'given_up'::text, 'surplus'::text, 'ended'::text])))
)
WITH (fillfactor='80');


ALTER TABLE meshify.predictions OWNER TO postgres;

--
-- Name: find_purchase(jsonb); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.find_purchase(p_of jsonb) RETURNS meshify.predictions
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_row meshify.predictions;
BEGIN
    SELECT * INTO v_row FROM meshify.predictions p
    WHERE p.id = (p_of ->> 'key')::uuid AND p.job_id = (p_of ->> 'job')::uuid AND p.step = p_of ->> 'step'
      AND p.purchase = (p_of ->> 'purchase')::int AND p.worker_id IS NOT DISTINCT FROM (p_of ->> 'worker')::uuid
      AND p.input_hash IS NOT DISTINCT FROM p_of ->> 'hash'
    FOR UPDATE;
    RETURN v_row;
END $$;


ALTER FUNCTION meshify.find_purchase(p_of jsonb) OWNER TO postgres;

--
-- Name: finish(uuid, integer); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.finish(p_worker uuid, p_max integer) RETURNS TABLE(job uuid, answer text, detail text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '200ms'
    AS $$
DECLARE
    c meshify.closings;
    v_asset uuid;
    v_status text;
    v_cancel timestamptz;
    v_busy boolean;
    v_starves boolean;
    v_waits boolean := meshify.sent_as() = 'wait';
BEGIN
    IF NOT EXISTS (SELECT FROM meshify.workers w WHERE w.id = p_worker AND NOT w.dead) OR NOT meshify.tables_are_free(true) THEN
        RETURN;
    END IF;
    FOR c IN SELECT x.* FROM meshify.closings x WHERE x.due <= now() ORDER BY x.due LIMIT p_max FOR UPDATE SKIP LOCKED LOOP
        EXIT WHEN clock_timestamp() > statement_timestamp() + interval '500 ms';
        job := c.job_id;
        detail := NULL;
        v_asset := (SELECT j.asset_id FROM meshify.jobs j WHERE j.id = job);
        v_starves := c.since < now() - interval '1 min';
        IF v_starves AND v_waits THEN
            PERFORM pg_catalog.set_config('lock_timeout', '2s', true);
            PERFORM FROM public.mesh_assets a WHERE a.id = v_asset FOR UPDATE;
            PERFORM FROM meshify.jobs j WHERE j.id = job FOR UPDATE;
        ELSIF v_waits THEN -- lock_profile() would wait, too
            CONTINUE;
        END IF;
        PERFORM FROM public.mesh_assets a WHERE a.id = v_asset FOR UPDATE SKIP LOCKED;
        v_busy := NOT FOUND AND EXISTS (SELECT FROM public.mesh_assets a WHERE a.id = v_asset);
        IF NOT v_busy THEN
            SELECT j.status::text, j.cancel_requested_at INTO v_status, v_cancel FROM meshify.jobs j WHERE j.id = job FOR UPDATE SKIP LOCKED;
            v_busy := NOT FOUND AND EXISTS (SELECT FROM meshify.jobs j WHERE j.id = job) OR NOT meshify.lock_profile(job);
        END IF;
        IF v_busy THEN
            UPDATE meshify.closings x SET due = now() + (1 + random()) * interval '1 s' WHERE x.job_id = job;
            IF v_starves THEN
                answer := 'starved';
                RETURN NEXT;
            END IF;
            CONTINUE;
        ELSIF v_status IS NULL OR v_status NOT IN ('pending', 'running') THEN -- somebody ended it
            DELETE FROM meshify.closings x WHERE x.job_id = job;
            CONTINUE;
        ELSIF c.how = 'done' AND meshify.is_barred(job, v_asset) THEN -- somebody wrote its status meanwhile
            c.how := 'error';
            c.args := meshify.why_barred(job);
        ELSIF v_cancel IS NOT NULL AND c.how IN ('done', 'error') AND meshify.may_run(job) THEN
            c.how := 'back'; -- to a worker, who cancels the purchase first
            c.args := '{"reason": "canceled", "counted": false, "delay": "0", "worked": 0}';
            DELETE FROM meshify.closings x WHERE x.job_id = job;
        ELSIF v_cancel IS NOT NULL AND c.how IN ('done', 'error') THEN
            c.how := 'canceled';
            c.args := '{"reason": "canceled"}';
        ELSIF c.how = 'done' AND NOT meshify.may_have_mesh(job) THEN
            c.how := 'error';
            c.args := '{"sentence": "The asset of this request does not exist.", "reason": "asset_missing"}';
        END IF;
        PERFORM pg_catalog.set_config('meshify.tries', c.tries::text, true);
        answer := meshify.end_or_park(job, c.how, c.args);
        answer := CASE answer WHEN 'ok' THEN c.how ELSE answer END;
        detail := coalesce(c.args ->> 'path', c.args ->> 'reason');
        RETURN NEXT;
    END LOOP;
    PERFORM pg_catalog.set_config('meshify.tries', '0', true);
END $$;


ALTER FUNCTION meshify.finish(p_worker uuid, p_max integer) OWNER TO postgres;

--
-- Name: fit(regclass, text, text); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.fit(p_table regclass, p_column text, p_value text) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT coalesce(p_value, (SELECT '' FROM pg_catalog.pg_attribute a
                              WHERE a.attrelid = p_table AND a.attname = p_column AND a.attnotnull))
$$;


ALTER FUNCTION meshify.fit(p_table regclass, p_column text, p_value text) OWNER TO postgres;

--
-- Name: fitting(uuid[]); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.fitting(p_jobs uuid[]) RETURNS uuid[]
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_max bigint := coalesce(nullif(meshify.setting('max_prompt')::int, 0), meshify.max_input());
BEGIN
    RETURN ARRAY(
        SELECT s.id FROM (
            SELECT q.id, q.n, sum(CASE WHEN q.size > meshify.max_input() THEN 0 -- which is not read
                                       ELSE greatest(6 * q.size, least(100 * q.size, v_max + 10000)) END + 10 * q.outputs)
                              OVER (ORDER BY q.n) AS total
            FROM (SELECT o.id, o.n, coalesce(pg_column_size(j.input_data), 0)::bigint AS size,
                         (SELECT coalesce(sum(pg_column_size(p.output)), 0) FROM meshify.predictions p WHERE p.job_id = o.id) AS outputs
                  FROM unnest(meshify.paid(p_jobs)) WITH ORDINALITY AS o (id, n) JOIN meshify.jobs j ON j.id = o.id) q) s
        WHERE s.n = 1 OR s.total <= 4 * 1024 * 1024 ORDER BY s.n);
END $$;


ALTER FUNCTION meshify.fitting(p_jobs uuid[]) OWNER TO postgres;

--
-- Name: found_surplus(uuid, uuid[], text[]); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.found_surplus(p_worker uuid, p_purchases uuid[], p_predictions text[]) RETURNS TABLE(id uuid, prediction_id text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE
    n record;
    v_job uuid;
    v_ended boolean;
BEGIN
    FOR n IN SELECT u.purchase, u.prediction FROM unnest(p_purchases, p_predictions) AS u (purchase, prediction) LOOP
        CONTINUE WHEN EXISTS (SELECT FROM meshify.predictions p WHERE p.prediction_id = n.prediction);
        SELECT p.job_id INTO v_job FROM meshify.predictions p WHERE p.id = n.purchase;
        -- The job first, as everywhere; whoever has it locked may be writing down this very prediction.
        SELECT j.status NOT IN ('pending', 'running') INTO v_ended FROM meshify.jobs j WHERE j.id = v_job FOR UPDATE SKIP LOCKED;
        IF NOT FOUND THEN
            CONTINUE WHEN EXISTS (SELECT FROM meshify.jobs j WHERE j.id = v_job);
            v_ended := true;
        END IF;
        BEGIN
            UPDATE meshify.predictions p
            SET state = 'surplus', prediction_id = n.prediction, created_at = coalesce(p.created_at, now()), audited_at = NULL
            WHERE p.id = n.purchase AND p.prediction_id IS NULL
              AND (p.state = 'given_up' OR p.state = 'intended' AND v_ended)
              AND NOT meshify.is_wanted(p.input_hash, p.id);
            IF FOUND THEN
                PERFORM meshify.note(v_job, 'surplus', jsonb_build_object('prediction', n.prediction, 'by', p_worker));
                id := n.purchase;
                prediction_id := n.prediction;
                RETURN NEXT;
            END IF;
        EXCEPTION WHEN unique_violation THEN
            NULL; -- its own worker was quicker
        END;
    END LOOP;
END $$;


ALTER FUNCTION meshify.found_surplus(p_worker uuid, p_purchases uuid[], p_predictions text[]) OWNER TO postgres;

--
-- Name: further(uuid, uuid); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.further(p_worker uuid, p_job uuid) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '200ms'
    AS $$
BEGIN
    IF NOT meshify.tables_are_free() THEN
        RETURN;
    END IF;
    UPDATE meshify.jobs j SET crashes = 0
    WHERE j.id = (SELECT x.id FROM meshify.jobs x
                  WHERE x.id = p_job AND x.worker_id = p_worker AND x.status = 'running' AND x.crashes <> 0 FOR UPDATE SKIP LOCKED);
END $$;


ALTER FUNCTION meshify.further(p_worker uuid, p_job uuid) OWNER TO postgres;

--
-- Name: hand_back(uuid, uuid, interval, boolean, interval, text); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.hand_back(p_worker uuid, p_job uuid, p_delay interval, p_counted boolean, p_worked interval, p_reason text) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '200ms'
    AS $$
DECLARE
    v_answer text := meshify.fence_closing(p_worker, p_job);
BEGIN
    IF v_answer NOT IN ('ok', 'cancel') THEN
        RETURN v_answer;
    END IF;
    IF v_answer = 'cancel' AND NOT meshify.may_run(p_job) THEN
        IF NOT meshify.lock_profile(p_job) THEN
            RETURN meshify.busy();
        END IF;
        v_answer := meshify.end_or_park(p_job, 'canceled', jsonb_build_object('reason', 'canceled'));
        RETURN CASE v_answer WHEN 'ok' THEN 'closed' ELSE v_answer END;
    END IF;
    RETURN meshify.end_or_park(p_job, 'back', jsonb_build_object('reason', p_reason, 'counted', p_counted,
        'delay', CASE v_answer WHEN 'cancel' THEN '0' ELSE p_delay END, 'worked', extract(epoch FROM p_worked)));
END $$;


ALTER FUNCTION meshify.hand_back(p_worker uuid, p_job uuid, p_delay interval, p_counted boolean, p_worked interval, p_reason text) OWNER TO postgres;

--
-- Name: hand_back_unbought(uuid, uuid, interval, boolean, interval, text, bigint); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.hand_back_unbought(p_worker uuid, p_job uuid, p_delay interval, p_counted boolean, p_worked interval, p_reason text, p_purchase bigint) RETURNS text
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '200ms'
    AS $$
    SELECT meshify.hand_back_without(p_worker, p_job, p_delay, p_counted, p_worked, p_reason,
        (SELECT coalesce(jsonb_agg(meshify.purchase_of(p)), '[]') FROM meshify.predictions p WHERE p.n = p_purchase))
$$;


ALTER FUNCTION meshify.hand_back_unbought(p_worker uuid, p_job uuid, p_delay interval, p_counted boolean, p_worked interval, p_reason text, p_purchase bigint) OWNER TO postgres;

--
-- Name: hand_back_without(uuid, uuid, interval, boolean, interval, text, jsonb); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.hand_back_without(p_worker uuid, p_job uuid, p_delay interval, p_counted boolean, p_worked interval, p_reason text, p_purchases jsonb) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '200ms'
    AS $$
BEGIN
    IF meshify.fence_closing(p_worker, p_job) IN ('ok', 'cancel') THEN
        PERFORM meshify.do_without(p_job, p_purchases);
    END IF;
    RETURN meshify.hand_back(p_worker, p_job, p_delay, p_counted, p_worked, p_reason);
END $$;


ALTER FUNCTION meshify.hand_back_without(p_worker uuid, p_job uuid, p_delay interval, p_counted boolean, p_worked interval, p_reason text, p_purchases jsonb) OWNER TO postgres;

--
-- Name: has_ended(uuid); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.has_ended(p_job uuid) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF EXISTS (SELECT FROM meshify.jobs j WHERE j.id = p_job AND j.status IN ('pending', 'running')) THEN
        RAISE EXCEPTION 'a trigger on public.jobs keeps the status from changing';
    END IF;
END $$;


ALTER FUNCTION meshify.has_ended(p_job uuid) OWNER TO postgres;

--
-- Name: has_made(uuid); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.has_made(p_job uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN RETURN EXISTS (SELECT FROM meshify.events e WHERE e.job_id = p_job AND e.event = 'done');
END $$;


ALTER FUNCTION meshify.has_made(p_job uuid) OWNER TO postgres;

--
-- Name: has_other_job(uuid, uuid); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.has_other_job(p_job uuid, p_asset uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN RETURN EXISTS (SELECT FROM meshify.jobs j JOIN public.mesh_assets a ON a.id = j.asset_id
                     WHERE j.asset_id = p_asset AND j.id <> p_job AND j.status IN ('pending', 'running') AND j.user_id = a.owner_id);
END $$;


ALTER FUNCTION meshify.has_other_job(p_job uuid, p_asset uuid) OWNER TO postgres;

--
-- Name: heartbeat(uuid, interval, integer, boolean); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.heartbeat(p_worker uuid, p_lease interval, p_running integer, p_draining boolean) RETURNS TABLE(answer text, held integer, workers integer, running_all integer, cancels uuid[], paused boolean)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    UPDATE meshify.workers w
    SET heartbeat_at = now(), expires_at = now() + p_lease, running = p_running, draining = p_draining
    WHERE w.id = p_worker AND NOT w.dead;
    IF NOT FOUND THEN
        answer := 'lost';
        RETURN NEXT;
        RETURN;
    END IF;
    answer := 'ok';
    SELECT count(*), coalesce(array_agg(j.id) FILTER (WHERE j.cancel_requested_at IS NOT NULL), '{}')
    INTO held, cancels
    FROM meshify.jobs j WHERE j.worker_id = p_worker AND j.status = 'running';
    SELECT count(*), coalesce(sum(w.running), 0) INTO workers, running_all
    FROM meshify.workers w WHERE NOT w.dead AND w.expires_at > now();
    paused := meshify.setting('paused') = 'on';
    RETURN NEXT;
END $$;


ALTER FUNCTION meshify.heartbeat(p_worker uuid, p_lease interval, p_running integer, p_draining boolean) OWNER TO postgres;

--
-- Name: hide(regclass[]); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.hide(VARIADIC p_tables regclass[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    t regclass;
    r text;
BEGIN
    FOREACH t IN ARRAY p_tables LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('REVOKE ALL ON %s FROM PUBLIC', t);
        FOREACH r IN ARRAY ARRAY['anon', 'authenticated', 'service_role'] LOOP
            IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = r) THEN
                EXECUTE format('REVOKE ALL ON %s FROM %I', t, r);
            END IF;
        END LOOP;
    END LOOP;
END $$;


ALTER FUNCTION meshify.hide(VARIADIC p_tables regclass[]) OWNER TO postgres;

--
-- Name: idle_triggers(); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.idle_triggers() RETURNS TABLE(what text, mend text, missing boolean)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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


ALTER FUNCTION meshify.idle_triggers() OWNER TO postgres;

--
-- Name: input_of(jsonb, boolean); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.input_of(p_input jsonb, p_judge boolean, OUT input text, OUT too_large bigint) RETURNS record
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_max int := meshify.setting('max_prompt')::int;
    v_all jsonb;
    v_prompt jsonb;
    v_image jsonb;
    v_size bigint := pg_column_size(p_input);
BEGIN
    IF v_size > meshify.max_input() THEN
        too_large := v_size;
        RETURN;
    ELSIF p_input IS NULL OR jsonb_typeof(p_input) <> 'object' THEN
        input := 'null';
        RETURN;
    END IF;
    v_all := p_input || '{}'; -- unpacked
    v_size := pg_column_size(v_all);
    IF v_size > meshify.max_input() THEN
        too_large := v_size;
        RETURN;
    END IF;
    v_prompt := v_all -> 'prompt';
    v_image := v_all -> 'input_image_url';
    v_size := octet_length(v_prompt #>> '{}');
    IF p_judge AND v_max > 0 AND v_size > v_max THEN
        too_large := v_size;
        RETURN;
    END IF;
    input := jsonb_build_object(
        'prompt', CASE WHEN jsonb_typeof(v_prompt) NOT IN ('string', 'null') THEN 'true' ELSE v_prompt END,
        'input_image_url', CASE WHEN jsonb_typeof(v_image) = 'string' THEN to_jsonb(left(v_image #>> '{}', 10000)) -- no address is longer
                                WHEN jsonb_typeof(v_image) <> 'null' THEN 'true' END);
END $$;


ALTER FUNCTION meshify.input_of(p_input jsonb, p_judge boolean, OUT input text, OUT too_large bigint) OWNER TO postgres;

--
-- Name: insert_notification(uuid, text, text, text); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.insert_notification(p_user uuid, p_type text, p_title text, p_message text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    INSERT INTO public.notifications (user_id, type, title, message)
    SELECT n.user_id, n.type, n.title, n.message -- as whatever type these have
    FROM jsonb_populate_record(NULL::public.notifications, jsonb_build_object(
        'user_id', p_user, 'type', p_type, 'title', p_title, 'message', p_message)) n;
END $$;


ALTER FUNCTION meshify.insert_notification(p_user uuid, p_type text, p_title text, p_message text) OWNER TO postgres;

--
-- Name: intend(uuid, uuid, text, integer, integer, text, text, jsonb, interval, bigint); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.intend(p_worker uuid, p_job uuid, p_step text, p_purchase integer, p_attempt integer, p_model text, p_input_hash text, p_input_keys jsonb, p_give_up_after interval, p_give_up bigint) RETURNS TABLE(answer text, id bigint, prediction_id text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '200ms'
    AS $$
DECLARE
    v_key uuid := coalesce((SELECT p.id FROM meshify.predictions p
                            WHERE p.job_id = p_job AND p.step = p_step AND p.purchase = p_purchase), gen_random_uuid());
BEGIN
    SELECT i.answer, i.id, i.prediction_id INTO answer, v_key, prediction_id
    FROM meshify.intend_purchase(
        p_worker, jsonb_build_object('key', v_key, 'job', p_job, 'step', p_step, 'purchase', p_purchase, 'hash', p_input_hash),
        p_attempt, p_model, p_input_keys, NULL, NULL, NULL, p_give_up_after,
        (SELECT meshify.purchase_of(p) FROM meshify.predictions p WHERE p.n = p_give_up)) i;
    id := (SELECT p.n FROM meshify.predictions p WHERE p.id = v_key); -- which the statement before has made
    RETURN NEXT;
END $$;


ALTER FUNCTION meshify.intend(p_worker uuid, p_job uuid, p_step text, p_purchase integer, p_attempt integer, p_model text, p_input_hash text, p_input_keys jsonb, p_give_up_after interval, p_give_up bigint) OWNER TO postgres;

--
-- Name: intend_again(uuid, jsonb); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.intend_again(p_worker uuid, p_of jsonb) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_answer text := meshify.fence(p_worker, (p_of ->> 'job')::uuid);
BEGIN
    IF v_answer <> 'busy' THEN
        INSERT INTO meshify.predictions (id, job_id, step, purchase, attempt, worker_id, state, intent_at, give_up_after, model,
                                         input_hash, input_keys, pipeline, last_step, output_pointer)
        SELECT x.key, x.job, x.step, x.purchase, x.attempt, x.worker, CASE WHEN v_answer IN ('ok', 'cancel') THEN 'intended' ELSE 'given_up' END,
               now() - x.age * interval '1 s', now() + x.give_up_in * interval '1 s', x.model, x.hash, nullif(x.input_keys, 'null'),
               x.pipeline, x.last_step, x.output_pointer
        FROM jsonb_to_record(p_of) AS x (key uuid, job uuid, step text, purchase int, attempt int, worker uuid, age float8, give_up_in float8, model text,
                                         hash text, input_keys jsonb, pipeline text, last_step boolean, output_pointer text)
        WHERE num_nulls(x.key, x.job, x.step, x.purchase, x.attempt, x.age, x.give_up_in) = 0
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN v_answer;
END $$;


ALTER FUNCTION meshify.intend_again(p_worker uuid, p_of jsonb) OWNER TO postgres;

--
-- Name: intend_purchase(uuid, jsonb, integer, text, jsonb, text, boolean, text, interval, jsonb); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.intend_purchase(p_worker uuid, p_of jsonb, p_attempt integer, p_model text, p_input_keys jsonb, p_pipeline text, p_last_step boolean, p_output_pointer text, p_give_up_after interval, p_given_up jsonb) RETURNS TABLE(answer text, id uuid, prediction_id text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '200ms'
    AS $$
DECLARE
    v_job uuid := p_of ->> 'job';
    v_row meshify.predictions;
BEGIN
    answer := meshify.fence(p_worker, v_job);
    IF answer <> 'ok' THEN
        RETURN NEXT;
        RETURN;
    END IF;
    IF p_given_up IS NOT NULL THEN
        v_row := meshify.find_purchase(p_given_up);
        IF v_row.job_id = v_job AND v_row.state = 'bought' THEN
            answer := 'bought';
            id := v_row.id;
            prediction_id := v_row.prediction_id;
            RETURN NEXT;
            RETURN;
        END IF;
        PERFORM meshify.do_without(v_job, jsonb_build_array(p_given_up));
    END IF;
    id := p_of ->> 'key';
    INSERT INTO meshify.predictions AS p
        (id, job_id, step, purchase, attempt, worker_id, state, give_up_after, model, input_hash, input_keys, pipeline,
         last_step, output_pointer)
    VALUES (intend_purchase.id, v_job, p_of ->> 'step', (p_of ->> 'purchase')::int, p_attempt, p_worker, 'intended',
            now() + p_give_up_after, p_model, p_of ->> 'hash', p_input_keys, p_pipeline, p_last_step, p_output_pointer)
    ON CONFLICT DO NOTHING;
    IF FOUND THEN
        PERFORM meshify.note(v_job, 'intended', jsonb_build_object('step', p_of ->> 'step', 'purchase', (p_of ->> 'purchase')::int, 'model', p_model));
    ELSE -- sent again after a lost answer?
        v_row := meshify.find_purchase(p_of || jsonb_build_object('worker', p_worker));
        IF v_row.state IS DISTINCT FROM 'intended' THEN
            answer := 'lost';
            id := NULL;
        END IF;
    END IF;
    RETURN NEXT;
END $$;


ALTER FUNCTION meshify.intend_purchase(p_worker uuid, p_of jsonb, p_attempt integer, p_model text, p_input_keys jsonb, p_pipeline text, p_last_step boolean, p_output_pointer text, p_give_up_after interval, p_given_up jsonb) OWNER TO postgres;

--
-- Name: is_barred(uuid, uuid); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.is_barred(p_job uuid, p_asset uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN RETURN meshify.is_refunded(p_asset) OR EXISTS (SELECT FROM meshify.barred b WHERE b.job_id = p_job);
END $$;


ALTER FUNCTION meshify.is_barred(p_job uuid, p_asset uuid) OWNER TO postgres;

--
-- Name: is_begun(uuid); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.is_begun(p_job uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN RETURN EXISTS (SELECT FROM meshify.predictions p
                     WHERE p.job_id = p_job AND (p.state <> 'ended' OR p.prediction_id IS NOT NULL));
END $$;


ALTER FUNCTION meshify.is_begun(p_job uuid) OWNER TO postgres;

--
-- Name: is_late(); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.is_late() RETURNS boolean
    LANGUAGE sql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$ SELECT clock_timestamp() > statement_timestamp() + interval '2 s' $$;


ALTER FUNCTION meshify.is_late() OWNER TO postgres;

--
-- Name: is_made(uuid); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.is_made(p_asset uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN RETURN EXISTS (SELECT FROM meshify.charges c WHERE c.asset_id = p_asset AND c.made_at IS NOT NULL);
END $$;


ALTER FUNCTION meshify.is_made(p_asset uuid) OWNER TO postgres;

--
-- Name: is_named(uuid, uuid, text); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.is_named(p_job uuid, p_asset uuid, p_name text) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN NOT meshify.is_refunded(p_asset)
       AND (EXISTS (SELECT FROM meshify.jobs j WHERE j.id = p_job AND j.output_data ->> 'storage_path' = p_name)
            OR EXISTS (SELECT FROM public.mesh_assets a
                       WHERE a.output_path = p_name AND (a.id = p_asset OR a.id = (SELECT j.asset_id FROM meshify.jobs j WHERE j.id = p_job))));
END $$;


ALTER FUNCTION meshify.is_named(p_job uuid, p_asset uuid, p_name text) OWNER TO postgres;

--
-- Name: is_orphan(text); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.is_orphan(p_name text) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$ BEGIN RETURN EXISTS (SELECT FROM meshify.orphans o WHERE o.name = p_name); END $$;


ALTER FUNCTION meshify.is_orphan(p_name text) OWNER TO postgres;

--
-- Name: is_ours(text); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.is_ours(p_jobs text) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
    SELECT format(CASE WHEN t.attname IS NULL THEN '%1$s.job_type = ''meshify'''
                       WHEN o.attname IS NULL OR t.attnotnull THEN '%1$s.type = ''meshify'''
                       ELSE '(%1$s.type = ''meshify'' OR %1$s.type IS NULL AND %1$s.job_type = ''meshify'')' END, p_jobs)
    FROM (SELECT 'public.jobs'::regclass AS id) j
    LEFT JOIN pg_catalog.pg_attribute t ON t.attrelid = j.id AND t.attname = 'type'
    LEFT JOIN pg_catalog.pg_attribute o ON o.attrelid = j.id AND o.attname = 'job_type'
$_$;


ALTER FUNCTION meshify.is_ours(p_jobs text) OWNER TO postgres;

--
-- Name: is_parked(uuid); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.is_parked(p_job uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN RETURN EXISTS (SELECT FROM meshify.closings c WHERE c.job_id = p_job AND c.due IS NOT NULL); END $$;


ALTER FUNCTION meshify.is_parked(p_job uuid) OWNER TO postgres;

--
-- Name: is_refunded(uuid); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.is_refunded(p_asset uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN RETURN coalesce((SELECT sum(r.credits) > 0 FROM meshify.refunds r WHERE r.asset_id = p_asset), false);
END $$;


ALTER FUNCTION meshify.is_refunded(p_asset uuid) OWNER TO postgres;

--
-- Name: is_to_drain(uuid); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.is_to_drain(p_worker uuid) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$ SELECT coalesce((SELECT w.drain_asked_at IS NOT NULL FROM meshify.workers w WHERE w.id = p_worker), false) $$;


ALTER FUNCTION meshify.is_to_drain(p_worker uuid) OWNER TO postgres;

--
-- Name: is_troubled(text); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.is_troubled(p_what text) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$ BEGIN RETURN EXISTS (SELECT FROM meshify.troubles t WHERE t.what = p_what AND t.until > now()); END $$;


ALTER FUNCTION meshify.is_troubled(p_what text) OWNER TO postgres;

--
-- Name: is_wanted(text, uuid); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.is_wanted(p_hash text, p_but uuid DEFAULT NULL::uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN RETURN EXISTS (SELECT FROM meshify.predictions o JOIN meshify.jobs j ON j.id = o.job_id
                     WHERE o.state = 'intended' AND o.id IS DISTINCT FROM p_but AND o.input_hash = p_hash
                       AND o.intent_at > now() - interval '1 hour' AND j.status IN ('pending', 'running'));
END $$;


ALTER FUNCTION meshify.is_wanted(p_hash text, p_but uuid) OWNER TO postgres;

--
-- Name: job_deleted(); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.job_deleted() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '800ms'
    AS $$
        BEGIN
            IF NOT (OLD.type = 'meshify') OR OLD.status NOT IN ('pending', 'running') THEN
                RETURN OLD;
            END IF;
            PERFORM FROM public.mesh_assets a WHERE a.id = OLD.asset_id FOR UPDATE;
            IF NOT meshify.has_other_job(OLD.id, OLD.asset_id) THEN
                UPDATE public.mesh_assets a SET status = 'error' WHERE a.id = OLD.asset_id AND a.status <> 'done'
                  AND EXISTS (SELECT FROM public.projects p WHERE p.id = a.project_id); -- or it is about to be deleted, too
            END IF;
            UPDATE meshify.predictions p SET state = 'surplus', audited_at = NULL
            WHERE p.job_id = OLD.id AND p.state = 'bought' AND p.finished_at IS NULL;
            DELETE FROM meshify.closings c WHERE c.job_id = OLD.id;
            PERFORM meshify.notify_user(OLD.user_id, 'info', 'Mesh Generation Canceled', 'Your 3D mesh generation was canceled.', OLD.id);
            PERFORM meshify.note(OLD.id, 'canceled', jsonb_build_object(
                'reason', 'job deleted', 'refund', meshify.refund(OLD.id, OLD.user_id, OLD.asset_id)));
            PERFORM pg_catalog.pg_notify('meshify_control', json_build_object('cancel', OLD.id)::text);
            RETURN OLD;
        END $$;


ALTER FUNCTION meshify.job_deleted() OWNER TO postgres;

--
-- Name: job_moved(); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.job_moved() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    INSERT INTO meshify.moved (job_id, asset_id)
    SELECT NEW.id, OLD.asset_id WHERE OLD.asset_id <> NEW.asset_id OR NEW.asset_id IS NULL AND OLD.asset_id IS NOT NULL
    UNION SELECT NEW.id, m.asset_id FROM meshify.moved m WHERE m.job_id = OLD.id
    ON CONFLICT DO NOTHING;
    INSERT INTO meshify.barred (job_id) SELECT NEW.id FROM meshify.barred b WHERE b.job_id = OLD.id ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;


ALTER FUNCTION meshify.job_moved() OWNER TO postgres;

--
-- Name: lanes(uuid, jsonb); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.lanes(p_worker uuid, p_held jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    UPDATE meshify.workers w
    SET held = (SELECT jsonb_agg(jsonb_build_object(
                    'lane', h ->> 'lane', 'reason', h ->> 'reason', 'detail', left(h ->> 'detail', 200),
                    'until', now() + make_interval(secs => (h ->> 'wait_usec')::float8 / 1000000)))
                FROM jsonb_array_elements(p_held) h)
    WHERE w.id = p_worker;
END $$;


ALTER FUNCTION meshify.lanes(p_worker uuid, p_held jsonb) OWNER TO postgres;

--
-- Name: leave_alone(uuid, text); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.leave_alone(p_job uuid, p_error text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    INSERT INTO meshify.unclaimable AS u (job_id, until, error) VALUES (p_job, now() + interval '1 min', left(p_error, 500))
    ON CONFLICT (job_id) DO UPDATE SET until = excluded.until, error = excluded.error;
    PERFORM meshify.note(p_job, 'unclaimable', jsonb_build_object('error', left(p_error, 200)));
    RAISE WARNING USING ERRCODE = 'MF501', MESSAGE = format('job %s can''t be claimed, retrying in a minute: %s', p_job, left(p_error, 200));
END $$;


ALTER FUNCTION meshify.leave_alone(p_job uuid, p_error text) OWNER TO postgres;

--
-- Name: lets_canceled(text); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.lets_canceled(p_check text) RETURNS boolean
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_lets boolean;
BEGIN
    EXECUTE format('SELECT (%s) IS NOT FALSE FROM (SELECT ''canceled''::text AS status) x', p_check) INTO v_lets;
    RETURN v_lets;
EXCEPTION WHEN OTHERS THEN
    RETURN true;
END $$;


ALTER FUNCTION meshify.lets_canceled(p_check text) OWNER TO postgres;

--
-- Name: lets_word(text, text, text); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.lets_word(p_check text, p_column text, p_word text) RETURNS boolean
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_lets boolean;
BEGIN
    EXECUTE format('SELECT (%s) IS NOT FALSE FROM (SELECT %L::text AS %I) x', p_check, p_word, p_column) INTO v_lets;
    RETURN v_lets;
EXCEPTION WHEN OTHERS THEN
    RETURN true;
END $$;


ALTER FUNCTION meshify.lets_word(p_check text, p_column text, p_word text) OWNER TO postgres;

--
-- Name: list_jobs(text, uuid, integer); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.list_jobs(p_status text, p_user uuid, p_limit integer) RETURNS TABLE(id uuid, user_id uuid, status text, attempts integer, progress real, created_at timestamp with time zone, started_at timestamp with time zone, completed_at timestamp with time zone, prompt text, error text, output_path text, worker text)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT j.id, j.user_id, j.status::text, greatest(least(j.attempts, 2147483647), 0)::int,
           CASE WHEN j.progress BETWEEN 0 AND 1 THEN j.progress END::real, j.created_at, j.started_at, j.completed_at,
           meshify.prompt_of(j.input_data), j.error, a.output_path, w.instance
    FROM meshify.jobs j
    LEFT JOIN public.mesh_assets a ON a.id = j.asset_id
    LEFT JOIN meshify.workers w ON w.id = j.worker_id
    WHERE (p_status IS NULL OR j.status::text = p_status) AND (p_user IS NULL OR j.user_id = p_user)
    ORDER BY j.created_at DESC LIMIT least(greatest(p_limit, 1), 10000)
$$;


ALTER FUNCTION meshify.list_jobs(p_status text, p_user uuid, p_limit integer) OWNER TO postgres;

--
-- Name: list_purchases(boolean, integer); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.list_purchases(p_surplus boolean, p_limit integer) RETURNS TABLE(id bigint, job_id uuid, step text, purchase integer, state text, prediction_id text, status text, model text, intent_at timestamp with time zone, finished_at timestamp with time zone, predict_time double precision, error text)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT p.n, p.job_id, p.step, p.purchase, p.state, p.prediction_id, p.status, p.model, p.intent_at, p.finished_at,
           CASE WHEN jsonb_typeof(p.metrics -> 'predict_time') = 'number' THEN least((p.metrics ->> 'predict_time')::numeric, 1e9)::float8 END, p.error
    FROM meshify.predictions p
    WHERE NOT p_surplus OR p.state = 'surplus'
    ORDER BY p.n DESC LIMIT p_limit
$$;


ALTER FUNCTION meshify.list_purchases(p_surplus boolean, p_limit integer) OWNER TO postgres;

--
-- Name: list_settings(); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.list_settings() RETURNS TABLE(key text, value text)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$ SELECT s.key, s.value FROM meshify.settings s ORDER BY s.key $$;


ALTER FUNCTION meshify.list_settings() OWNER TO postgres;

--
-- Name: lock_profile(uuid, boolean); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.lock_profile(p_job uuid, p_shared boolean DEFAULT false) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '200ms'
    AS $$
DECLARE
    v_user uuid := (SELECT j.user_id FROM meshify.jobs j WHERE j.id = p_job);
BEGIN
    IF meshify.sent_as() = 'wait' THEN
        PERFORM pg_catalog.set_config('lock_timeout', '2s', true);
    END IF;
    IF p_shared AND meshify.sent_as() = 'wait' THEN
        PERFORM FROM public.profiles p WHERE p.id = v_user FOR KEY SHARE;
    END IF;
    IF p_shared THEN
        PERFORM FROM public.profiles p WHERE p.id = v_user FOR KEY SHARE SKIP LOCKED;
        RETURN FOUND OR NOT EXISTS (SELECT FROM public.profiles p WHERE p.id = v_user);
    END IF;
    IF meshify.sent_as() = 'wait' THEN
        PERFORM FROM public.profiles p WHERE p.id = v_user FOR NO KEY UPDATE;
    END IF;
    PERFORM FROM public.profiles p WHERE p.id = v_user FOR NO KEY UPDATE SKIP LOCKED;
    RETURN FOUND OR NOT EXISTS (SELECT FROM public.profiles p WHERE p.id = v_user);
END $$;


ALTER FUNCTION meshify.lock_profile(p_job uuid, p_shared boolean) OWNER TO postgres;

--
-- Name: lock_project(uuid, uuid); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.lock_project(p_project uuid, p_user uuid) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
        DECLARE
            v_owner text;
        BEGIN
            SELECT coalesce(p.owner_id::text) INTO v_owner FROM public.projects p WHERE p.id = p_project FOR KEY SHARE;
            RETURN CASE WHEN NOT FOUND THEN 'gone' WHEN v_owner = p_user::text THEN 'ok' ELSE 'other' END;
        END $$;


ALTER FUNCTION meshify.lock_project(p_project uuid, p_user uuid) OWNER TO postgres;

--
-- Name: lost_owner(); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.lost_owner() RETURNS TABLE(col text, why text, mend text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    PERFORM meshify.lock_project(NULL, NULL);
EXCEPTION WHEN undefined_column THEN
    col := 'projects.' || substring(SQLERRM FROM '\mp\.("[^"]+"|\w+)');
    why := 'is missing: meshify.enqueue() asks there whose a project is';
    mend := CASE WHEN meshify.project_owner_columns() IS NULL THEN 'ALTER TABLE public.projects ADD COLUMN owner_id uuid; and then meshifyctl migrate'
                 ELSE 'Run meshifyctl migrate, as the owner of public.jobs.' END;
    RETURN NEXT;
END $$;


ALTER FUNCTION meshify.lost_owner() OWNER TO postgres;

--
-- Name: lost_triggers(); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.lost_triggers() RETURNS SETOF regprocedure
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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


ALTER FUNCTION meshify.lost_triggers() OWNER TO postgres;

--
-- Name: max_input(); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.max_input() RETURNS integer
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$ SELECT 512 * 1024 $$;


ALTER FUNCTION meshify.max_input() OWNER TO postgres;

--
-- Name: may_have_mesh(uuid); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.may_have_mesh(p_job uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN RETURN EXISTS (SELECT FROM public.mesh_assets a JOIN meshify.jobs x ON x.asset_id = a.id
                     LEFT JOIN meshify.charges c ON c.asset_id = a.id
                     WHERE x.id = p_job AND x.user_id IN (a.owner_id, c.user_id));
END $$;


ALTER FUNCTION meshify.may_have_mesh(p_job uuid) OWNER TO postgres;

--
-- Name: may_pass(text); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.may_pass(p_state text) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$ SELECT p_state ~ '^(40|53|55P03|57|58)' $$;


ALTER FUNCTION meshify.may_pass(p_state text) OWNER TO postgres;

--
-- Name: may_run(uuid); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.may_run(p_job uuid) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT EXISTS (SELECT FROM meshify.predictions p
                   WHERE p.job_id = p_job AND p.state IN ('intended', 'bought', 'surplus') AND p.finished_at IS NULL)
$$;


ALTER FUNCTION meshify.may_run(p_job uuid) OWNER TO postgres;

--
-- Name: misfit_columns(); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.misfit_columns() RETURNS TABLE(col text, why text, mend text)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
    c record;
    v_is text;
BEGIN
    -- Columns of theirs. Another type matters only where nothing else would do.
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
    -- Columns named as ours that are there already, and differ.
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
END $_$;


ALTER FUNCTION meshify.misfit_columns() OWNER TO postgres;

--
-- Name: missing_indexes(); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.missing_indexes() RETURNS SETOF text
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    i record;
    v_valid boolean;
BEGIN
    FOR i IN SELECT * FROM (VALUES
        ('meshify_jobs_pending', '(priority DESC, run_after, created_at)', ' AND jobs.status = ''pending'''),
        ('meshify_jobs_pending_user', '(user_id, priority DESC, run_after, created_at)', ' AND jobs.status = ''pending'''),
        ('meshify_jobs_begun', '(priority DESC, run_after, created_at)',
         ' AND jobs.status = ''pending'' AND (jobs.started_at IS NOT NULL OR jobs.cancel_requested_at IS NOT NULL)'),
        -- No claim's own condition implies this one, so that none walks it instead of the first and sorts.
        ('meshify_jobs_due', '(run_after)', ' AND jobs.status = ''pending'' AND jobs.run_after OPERATOR(pg_catalog.<) ''infinity'''),
        ('meshify_jobs_running', '(worker_id)', ' AND jobs.status = ''running'''),
        ('meshify_jobs_asset', '(asset_id)', '')) AS wanted (name, keys, filter) LOOP
        SELECT x.indisvalid INTO v_valid FROM pg_catalog.pg_index x WHERE x.indexrelid = to_regclass('public.' || i.name);
        CONTINUE WHEN v_valid;
        IF FOUND THEN -- broken off
            RETURN NEXT format('DROP INDEX CONCURRENTLY public.%s', i.name);
        END IF;
        -- Run outside this file, and so with other names in view.
        RETURN NEXT format('CREATE INDEX CONCURRENTLY %s ON public.jobs %s WHERE %s', i.name, i.keys,
                           replace(meshify.is_ours('jobs') || i.filter, ' = ', ' OPERATOR(pg_catalog.=) '));
    END LOOP;
END $$;


ALTER FUNCTION meshify.missing_indexes() OWNER TO postgres;

--
-- Name: most_prompt(); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.most_prompt() RETURNS integer
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$ SELECT 500 * 1024 $$;


ALTER FUNCTION meshify.most_prompt() OWNER TO postgres;

--
-- Name: name_object(uuid, text, integer, text); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.name_object(p_job uuid, p_step text, p_purchase integer, p_path text) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
    p record;
    v_asset uuid;
    v_number bigint;
    v_name text;
BEGIN
    SELECT o.asset_id, o.object_name, o.intent_at INTO p FROM meshify.predictions o
    WHERE o.job_id = p_job AND o.step = p_step AND o.purchase = p_purchase FOR UPDATE;
    IF NOT FOUND OR (p.object_name IS NOT NULL AND NOT meshify.is_orphan(p.object_name)) THEN
        RETURN p.object_name;
    END IF;
    v_asset := coalesce(p.asset_id, (SELECT j.asset_id FROM meshify.jobs j WHERE j.id = p_job));
    SELECT count(*) INTO v_number FROM meshify.predictions o
    WHERE (o.asset_id = v_asset OR o.job_id = p_job OR o.job_id = ANY (ARRAY(SELECT j.id FROM meshify.jobs j WHERE j.asset_id = v_asset))) -- an array: indexes
      AND NOT (o.job_id = p_job AND o.step = p_step AND o.purchase = p_purchase)
      AND (o.object_name IS NOT NULL
           OR o.step = p_step AND o.status = 'succeeded'
              AND CASE WHEN o.job_id = p_job THEN o.purchase < p_purchase ELSE o.intent_at < p.intent_at END);
    LOOP
        v_number := v_number + 1;
        v_name := CASE v_number WHEN 1 THEN p_path ELSE regexp_replace(p_path, '(\.[^./]*)?$', '_' || v_number || '\1') END;
        CONTINUE WHEN meshify.is_orphan(v_name) OR EXISTS (SELECT FROM meshify.predictions o WHERE o.object_name = v_name)
                   OR EXISTS (SELECT FROM public.mesh_assets a WHERE a.id = v_asset AND a.output_path = v_name);
        BEGIN
            UPDATE meshify.predictions o SET object_name = v_name
            WHERE o.job_id = p_job AND o.step = p_step AND o.purchase = p_purchase;
            RETURN v_name;
        EXCEPTION WHEN unique_violation THEN
            NULL; -- another job of the asset was quicker
        END;
    END LOOP;
END $_$;


ALTER FUNCTION meshify.name_object(p_job uuid, p_step text, p_purchase integer, p_path text) OWNER TO postgres;

--
-- Name: news(uuid); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.news(p_worker uuid) RETURNS TABLE(cancels uuid[], to_drain boolean, held integer)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '200ms'
    AS $$
BEGIN
    SELECT coalesce(array_agg(j.id) FILTER (WHERE j.cancel_requested_at IS NOT NULL), '{}'), count(*) INTO cancels, held
    FROM meshify.jobs j WHERE j.worker_id = p_worker AND j.status = 'running' AND NOT meshify.is_parked(j.id);
    to_drain := meshify.is_to_drain(p_worker);
    RETURN NEXT;
END $$;


ALTER FUNCTION meshify.news(p_worker uuid) OWNER TO postgres;

--
-- Name: next_due(boolean); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.next_due(p_ready boolean) RETURNS timestamp with time zone
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF p_ready THEN
        RETURN (SELECT j.run_after FROM meshify.jobs j
                WHERE j.status = 'pending' AND j.run_after < 'infinity' ORDER BY j.run_after LIMIT 1); -- an index
    END IF;
    RETURN (SELECT j.run_after FROM meshify.jobs j
            WHERE j.status = 'pending' AND j.run_after < 'infinity' AND j.run_after > now() ORDER BY j.run_after LIMIT 1);
END $$;


ALTER FUNCTION meshify.next_due(p_ready boolean) OWNER TO postgres;

--
-- Name: note(uuid, text, jsonb); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.note(p_job uuid, p_event text, p_detail jsonb DEFAULT NULL::jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$ BEGIN INSERT INTO meshify.events (job_id, event, detail) VALUES (p_job, p_event, p_detail); END $$;


ALTER FUNCTION meshify.note(p_job uuid, p_event text, p_detail jsonb) OWNER TO postgres;

--
-- Name: notification_locks_profile(); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.notification_locks_profile() RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN RETURN EXISTS (SELECT FROM pg_catalog.pg_constraint c
                     WHERE c.conrelid = to_regclass('public.notifications') AND c.confrelid = to_regclass('public.profiles')); END $$;


ALTER FUNCTION meshify.notification_locks_profile() OWNER TO postgres;

--
-- Name: notify_jobs(); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.notify_jobs() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
        BEGIN
            IF EXISTS (SELECT FROM fresh WHERE fresh.type = 'meshify' AND fresh.status = 'pending') THEN
                PERFORM pg_catalog.pg_notify('meshify_jobs', '');
            END IF;
            RETURN NULL;
        END $$;


ALTER FUNCTION meshify.notify_jobs() OWNER TO postgres;

--
-- Name: notify_user(uuid, text, text, text, uuid); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.notify_user(p_user uuid, p_type text, p_title text, p_message text, p_job uuid DEFAULT NULL::uuid) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_deferred text;
    v_late boolean;
    v_began timestamptz := clock_timestamp();
BEGIN
    IF p_user IS NULL OR to_regclass('public.notifications') IS NULL THEN
        RETURN;
    ELSIF meshify.is_troubled('notifications') THEN
        PERFORM meshify.note(p_job, 'unnotified', jsonb_build_object('error', 'notifications took too long a moment ago')) WHERE p_job IS NOT NULL;
        RETURN;
    ELSIF meshify.sent_as() = 'batch' THEN
        PERFORM meshify.insert_notification(p_user, p_type, p_title, p_message);
        RETURN;
    END IF;
    -- Its deferred constraints are asked now: at the commit they would take all the rest with them.
    SELECT string_agg(format('public.%I', c.conname), ', ') INTO v_deferred
    FROM pg_catalog.pg_constraint c WHERE c.conrelid = to_regclass('public.notifications') AND c.condeferred;
    BEGIN
        IF v_deferred IS NOT NULL THEN
            EXECUTE 'SET CONSTRAINTS ' || v_deferred || ' IMMEDIATE';
        END IF;
        PERFORM meshify.insert_notification(p_user, p_type, p_title, p_message);
        IF v_deferred IS NOT NULL THEN
            EXECUTE 'SET CONSTRAINTS ' || v_deferred || ' DEFERRED';
        END IF;
    EXCEPTION WHEN OTHERS OR assert_failure OR query_canceled THEN
        v_late := meshify.is_late();
        IF NOT v_late AND meshify.may_pass(SQLSTATE) AND meshify.sent_as() <> 'old' AND meshify.tries() < 4 THEN
            RAISE;
        END IF;
        -- It is others' trouble, too, only where it was this that took so long, and not the statement around it.
        v_late := v_late AND clock_timestamp() > v_began + interval '1 s';
        IF meshify.trouble('notifications', SQLERRM, CASE WHEN v_late THEN '1 min' ELSE '0' END::interval) THEN
            RAISE WARNING 'user % could not be notified, nor may others: %', p_user, left(SQLERRM, 200) USING ERRCODE = 'MF503';
        END IF;
        PERFORM meshify.note(p_job, 'unnotified', jsonb_build_object('error', left(SQLERRM, 200))) WHERE p_job IS NOT NULL;
    END;
END $$;


ALTER FUNCTION meshify.notify_user(p_user uuid, p_type text, p_title text, p_message text, p_job uuid) OWNER TO postgres;

--
-- Name: odd_charges(); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.odd_charges() RETURNS TABLE(price numeric, other bigint, other_cost numeric, by_users bigint, jobless bigint)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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


ALTER FUNCTION meshify.odd_charges() OWNER TO postgres;

--
-- Name: only_for(regprocedure, text[]); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.only_for(p_function regprocedure, VARIADIC p_roles text[] DEFAULT '{}'::text[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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


ALTER FUNCTION meshify.only_for(p_function regprocedure, VARIADIC p_roles text[]) OWNER TO postgres;

--
-- Name: orphan_removed(text); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.orphan_removed(p_name text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_job uuid;
BEGIN
    UPDATE meshify.orphans o SET removed_at = now() WHERE o.name = p_name AND o.removed_at IS NULL RETURNING o.job_id INTO v_job;
    IF FOUND THEN
        PERFORM meshify.note(v_job, 'orphan_removed', jsonb_build_object('name', p_name));
    END IF;
END $$;


ALTER FUNCTION meshify.orphan_removed(p_name text) OWNER TO postgres;

--
-- Name: orphans_due(uuid, text, integer); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.orphans_due(p_worker uuid, p_place text, p_max integer) RETURNS TABLE(name text, upload text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE
    n record;
BEGIN
    PERFORM FROM meshify.workers w WHERE w.id = p_worker AND NOT w.dead AND w.expires_at > now();
    IF NOT FOUND THEN
        RETURN;
    END IF;
    FOR n IN
        SELECT p.job_id, p.asset_id, p.object_name, CASE WHEN w.expires_at < now() THEN w.expires_at ELSE now() END AS since
        FROM meshify.predictions p
        LEFT JOIN meshify.jobs j ON j.id = p.job_id
        LEFT JOIN meshify.workers w ON w.id = p.object_worker
        WHERE p.object_name IS NOT NULL AND p.object_state IS NULL
          AND (j.id IS NULL OR j.status NOT IN ('pending', 'running'))
          AND (w.id IS NULL OR w.dead OR w.expires_at < now() OR j.worker_id = w.id)
        LIMIT p_max FOR UPDATE OF p SKIP LOCKED
    LOOP
        -- It may have been tried again meanwhile, or somebody has it locked: next time.
        PERFORM FROM meshify.jobs j WHERE j.id = n.job_id AND j.status NOT IN ('pending', 'running') FOR UPDATE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND AND EXISTS (SELECT FROM meshify.jobs j WHERE j.id = n.job_id);
        IF meshify.is_named(n.job_id, n.asset_id, n.object_name) THEN
            PERFORM meshify.stored_for_good(n.job_id, n.object_name);
        ELSE
            PERFORM meshify.to_orphans(n.job_id, n.object_name, n.since);
        END IF;
    END LOOP;
    RETURN QUERY
    UPDATE meshify.orphans o SET tried_at = now(), tries = least(o.tries, 1000) + 1
    WHERE o.name IN (
        SELECT x.name FROM meshify.orphans x
        WHERE x.removed_at IS NULL AND x.place IS NOT DISTINCT FROM p_place AND x.since < now() - x.grace
          AND (x.tried_at IS NULL OR x.tried_at < now() - least(x.tries, 60) * interval '1 min')
          AND NOT EXISTS (SELECT FROM meshify.predictions p WHERE p.object_name = x.name AND p.object_state IS DISTINCT FROM 'orphan')
        ORDER BY x.tried_at NULLS FIRST LIMIT p_max FOR UPDATE SKIP LOCKED)
    RETURNING o.name, o.upload_id;
END $$;


ALTER FUNCTION meshify.orphans_due(p_worker uuid, p_place text, p_max integer) OWNER TO postgres;

--
-- Name: others(); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.others() RETURNS TABLE(stuck integer, busy integer)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT s.n, (count(*) - s.n)::int
    FROM meshify.jobs j, (SELECT count(*)::int AS n FROM meshify.stuck()) s
    WHERE j.status = 'running' AND j.worker_id IS NULL GROUP BY s.n
$$;


ALTER FUNCTION meshify.others() OWNER TO postgres;

--
-- Name: paid(uuid[]); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.paid(p_jobs uuid[]) RETURNS uuid[]
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '200ms'
    AS $$
DECLARE
    v_not uuid[] := ARRAY(SELECT j.id FROM meshify.jobs j WHERE j.id = ANY (p_jobs) AND meshify.is_barred(j.id, j.asset_id));
    v_job uuid;
BEGIN
    FOREACH v_job IN ARRAY v_not LOOP
        EXIT WHEN meshify.is_late();
        BEGIN
            PERFORM FROM public.mesh_assets a WHERE a.id = (SELECT j.asset_id FROM meshify.jobs j WHERE j.id = v_job) FOR UPDATE SKIP LOCKED;
            IF FOUND OR NOT EXISTS (SELECT FROM public.mesh_assets a JOIN meshify.jobs j ON j.asset_id = a.id WHERE j.id = v_job) THEN
                PERFORM meshify.end_as(v_job, 'error', meshify.why_barred(v_job));
            ELSE
                PERFORM meshify.leave_alone(v_job, 'nothing is paid for it, and its asset is locked');
            END IF;
        EXCEPTION WHEN OTHERS OR assert_failure OR query_canceled THEN
            PERFORM meshify.leave_alone(v_job, SQLERRM);
        END;
    END LOOP;
    RETURN ARRAY(SELECT o.id FROM unnest(p_jobs) WITH ORDINALITY AS o (id, n) WHERE o.id <> ALL (v_not) ORDER BY o.n);
END $$;


ALTER FUNCTION meshify.paid(p_jobs uuid[]) OWNER TO postgres;

--
-- Name: park(uuid, text, jsonb, text, text); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.park(p_job uuid, p_how text, p_args jsonb, p_state text, p_error text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_error text := left(p_error, 500);
    v_was text := (SELECT c.error FROM meshify.closings c WHERE c.job_id = p_job);
    v_tries int := meshify.tries();
    v_due timestamptz := now() + CASE WHEN meshify.is_late() THEN interval '1 min' ELSE interval '0' END
        + least(power(2, least(v_tries, 10)) * (0.75 + random() / 4) * CASE WHEN meshify.may_pass(p_state) THEN 1 ELSE 5 END, 540) * interval '1 s';
BEGIN
    INSERT INTO meshify.closings AS c (job_id, how, args, due, tries, error)
    VALUES (p_job, p_how, p_args, v_due, v_tries + 1, v_error)
    ON CONFLICT (job_id) DO UPDATE SET
        how = CASE WHEN excluded.how = 'back' THEN c.how ELSE excluded.how END, -- what has its mesh stays what it is
        args = CASE WHEN excluded.how = 'back' THEN c.args ELSE excluded.args END,
        due = excluded.due, tries = excluded.tries, error = excluded.error;
    IF v_was IS DISTINCT FROM v_error THEN
        PERFORM meshify.note(p_job, 'unended', jsonb_strip_nulls(jsonb_build_object('as', p_how, 'reason', p_args ->> 'reason', 'error', left(p_error, 200))));
        RAISE WARNING 'job % can''t be closed (%), trying again; nothing more is bought for it: %', p_job, p_how, left(p_error, 200) USING ERRCODE = 'MF500';
    END IF;
    IF v_tries > 0 OR meshify.is_late() THEN
        RETURN;
    END IF;
    BEGIN -- run_after is for who reads the row: it is meshify.finish() that goes on
        UPDATE meshify.jobs j SET status = 'pending', worker_id = NULL, run_after = now() + interval '10 min'
        WHERE j.id = p_job AND j.status = 'running';
        SET CONSTRAINTS ALL IMMEDIATE;
        SET CONSTRAINTS ALL DEFERRED;
    EXCEPTION WHEN OTHERS OR assert_failure OR query_canceled THEN
        NULL;
    END;
END $$;


ALTER FUNCTION meshify.park(p_job uuid, p_how text, p_args jsonb, p_state text, p_error text) OWNER TO postgres;

--
-- Name: pick(integer, integer); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.pick(p_free integer, p_max_per_user integer) RETURNS uuid[]
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_picked uuid[] := '{}';
    v_some uuid[];
    v_user uuid;
    v_running int;
    v_not uuid[] := meshify.unclaimable_now(); -- an array, which leaves the plan as it is
BEGIN
    IF p_max_per_user <= 0 THEN
        RETURN ARRAY(
            SELECT j.id FROM meshify.jobs j
            WHERE j.status = 'pending' AND j.run_after <= now() AND j.id <> ALL (v_not)
            ORDER BY j.priority DESC, j.run_after, j.created_at
            LIMIT p_free FOR UPDATE SKIP LOCKED);
    END IF;

    SELECT min(j.user_id::text)::uuid INTO v_user FROM meshify.jobs j WHERE j.status = 'pending';
    WHILE v_user IS NOT NULL AND cardinality(v_picked) < p_free LOOP
        SELECT count(*) INTO v_running FROM meshify.jobs j
        WHERE j.status = 'running' AND j.worker_id IS NOT NULL AND j.user_id = v_user;
        IF v_running < p_max_per_user THEN
            v_some := ARRAY(
                SELECT j.id FROM meshify.jobs j
                WHERE j.status = 'pending' AND j.run_after <= now() AND j.user_id = v_user AND j.id <> ALL (v_not)
                ORDER BY j.priority DESC, j.run_after, j.created_at
                LIMIT least(p_max_per_user - v_running, p_free - cardinality(v_picked)) FOR UPDATE SKIP LOCKED);
            v_picked := v_picked || v_some;
        END IF;
        SELECT j.user_id INTO v_user FROM meshify.jobs j
        WHERE j.status = 'pending' AND j.user_id > v_user
        ORDER BY j.user_id LIMIT 1;
    END LOOP;
    IF cardinality(v_picked) < p_free THEN -- of nobody: each fails by itself
        v_picked := v_picked || ARRAY(
            SELECT j.id FROM meshify.jobs j
            WHERE j.status = 'pending' AND j.run_after <= now() AND j.user_id IS NULL AND j.id <> ALL (v_not)
            ORDER BY j.priority DESC, j.run_after, j.created_at
            LIMIT p_free - cardinality(v_picked) FOR UPDATE SKIP LOCKED);
    END IF;
    RETURN v_picked;
END $$;


ALTER FUNCTION meshify.pick(p_free integer, p_max_per_user integer) OWNER TO postgres;

--
-- Name: pick_begun(integer, boolean); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.pick_begun(p_free integer, p_only_cancels boolean) RETURNS uuid[]
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_not uuid[] := meshify.unclaimable_now(); -- an array, which leaves the plan as it is
BEGIN
    RETURN ARRAY(
        SELECT j.id FROM meshify.jobs j
        WHERE j.status = 'pending' AND (j.started_at IS NOT NULL OR j.cancel_requested_at IS NOT NULL) -- an index
          AND j.run_after <= now() AND j.id <> ALL (v_not)
          AND (j.cancel_requested_at IS NOT NULL
               OR NOT p_only_cancels
               AND coalesce((SELECT true FROM meshify.predictions p -- not EXISTS, for which all of history may be read
                             WHERE p.job_id = j.id AND p.state IN ('intended', 'bought')
                               AND (p.finished_at IS NULL OR p.finished_at > now() - interval '1 hour') LIMIT 1), false))
        ORDER BY j.priority DESC, j.run_after, j.created_at
        LIMIT p_free FOR UPDATE SKIP LOCKED);
END $$;


ALTER FUNCTION meshify.pick_begun(p_free integer, p_only_cancels boolean) OWNER TO postgres;

--
-- Name: predecessors(uuid); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.predecessors(p_worker uuid) RETURNS TABLE(worker uuid, pid integer)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT o.id, o.pid
    FROM meshify.workers o
    JOIN meshify.workers me ON me.id = p_worker
    WHERE o.id <> me.id AND o.machine_id = me.machine_id AND o.boot_id = me.boot_id AND o.pid_ns = me.pid_ns
      AND me.boot_id <> '' AND me.pid_ns <> ''
$$;


ALTER FUNCTION meshify.predecessors(p_worker uuid) OWNER TO postgres;

--
-- Name: prediction_changed(text); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.prediction_changed(prediction_id text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
BEGIN
    IF EXISTS (SELECT FROM meshify.predictions p
               WHERE p.prediction_id = prediction_changed.prediction_id AND p.finished_at IS NULL) THEN
        PERFORM pg_catalog.pg_notify('meshify_control', json_build_object('prediction', prediction_changed.prediction_id)::text);
    END IF;
END $$;


ALTER FUNCTION meshify.prediction_changed(prediction_id text) OWNER TO postgres;

--
-- Name: progress(uuid, uuid[], real[]); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.progress(p_worker uuid, p_jobs uuid[], p_values real[]) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '200ms'
    AS $$
DECLARE
    v_n int;
BEGIN
    IF NOT meshify.tables_are_free(true) THEN
        RETURN 0;
    END IF;
    WITH news AS (
        SELECT j.id, least(n.value, 1) AS value
        FROM unnest(p_jobs, p_values) AS n (job, value)
        JOIN meshify.jobs j ON j.id = n.job
        WHERE j.worker_id = p_worker AND j.status = 'running' AND coalesce(j.progress, 0) < n.value
        FOR UPDATE OF j SKIP LOCKED)
    UPDATE meshify.jobs j SET progress = news.value FROM news WHERE j.id = news.id;
    GET DIAGNOSTICS v_n = ROW_COUNT;
    RETURN v_n;
END $$;


ALTER FUNCTION meshify.progress(p_worker uuid, p_jobs uuid[], p_values real[]) OWNER TO postgres;

--
-- Name: project_owner_columns(); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.project_owner_columns() RETURNS text[]
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    WITH found AS (
        SELECT a.attname::text AS name, a.attnum,
               array_position(ARRAY['owner_id', 'user_id', 'owner', 'profile_id', 'created_by', 'creator_id', 'author_id'], a.attname::text) AS called,
               EXISTS (SELECT FROM pg_catalog.pg_constraint k
                       WHERE k.conrelid = a.attrelid AND k.contype = 'f' AND k.conkey = ARRAY[a.attnum]
                         AND k.confrelid IN (to_regclass('public.profiles'), to_regclass('auth.users'))) AS refers,
               EXISTS (SELECT FROM pg_catalog.pg_policy y,
                                   LATERAL (SELECT pg_catalog.pg_get_expr(coalesce(y.polqual, y.polwithcheck), y.polrelid) AS rule) r
                       WHERE y.polrelid = a.attrelid AND r.rule ~ '\muid\(\)'
                         AND r.rule ~ ('(?<![.\w"])"?' || regexp_replace(a.attname, '(\W)', '\\\1', 'g') || '"?(?!\w)')) AS compared
        FROM pg_catalog.pg_attribute a
        WHERE a.attrelid = 'public.projects'::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attname <> 'id'
          AND a.atttypid IN ('uuid'::regtype, 'text'::regtype, 'varchar'::regtype))
    SELECT coalesce(array_agg(f.name ORDER BY f.called, f.attnum) FILTER (WHERE f.called IS NOT NULL),
                    array_agg(f.name ORDER BY f.attnum) FILTER (WHERE f.refers),
                    array_agg(f.name ORDER BY f.attnum) FILTER (WHERE f.compared)) FROM found f
$$;


ALTER FUNCTION meshify.project_owner_columns() OWNER TO postgres;

--
-- Name: prompt_of(jsonb); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.prompt_of(p_input jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$ SELECT left(CASE WHEN pg_column_size(p_input) > meshify.max_input() THEN '' WHEN jsonb_typeof(p_input -> 'prompt') = 'string' THEN p_input ->> 'prompt' ELSE '' END, 100) $$;


ALTER FUNCTION meshify.prompt_of(p_input jsonb) OWNER TO postgres;

--
-- Name: prune(interval, integer); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.prune(p_keep interval, p_max integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_gone int;
BEGIN
    DELETE FROM meshify.events e
    WHERE e.id IN (SELECT o.id FROM meshify.events o WHERE o.at < now() - p_keep
                   ORDER BY o.at LIMIT p_max FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS v_gone = ROW_COUNT;
    DELETE FROM meshify.unclaimable u WHERE u.until < now() - interval '1 hour';
    DELETE FROM meshify.closings c WHERE NOT EXISTS (SELECT FROM meshify.jobs j WHERE j.id = c.job_id);
    RETURN v_gone;
END $$;


ALTER FUNCTION meshify.prune(p_keep interval, p_max integer) OWNER TO postgres;

--
-- Name: purchase_asset(); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.purchase_asset() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    NEW.asset_id := (SELECT j.asset_id FROM meshify.jobs j WHERE j.id = NEW.job_id);
    RETURN NEW;
END $$;


ALTER FUNCTION meshify.purchase_asset() OWNER TO postgres;

--
-- Name: purchase_of(meshify.predictions); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.purchase_of(p meshify.predictions) RETURNS jsonb
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT jsonb_build_object('key', p.id, 'job', p.job_id, 'step', p.step, 'purchase', p.purchase,
                              'worker', p.worker_id, 'hash', p.input_hash)
$$;


ALTER FUNCTION meshify.purchase_of(p meshify.predictions) OWNER TO postgres;

--
-- Name: purchases_of(uuid); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.purchases_of(p_job uuid) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN RETURN (SELECT coalesce(json_agg(json_build_object(
        'id', p.n, 'key', p.id, 'worker', p.worker_id,
        'step', p.step, 'purchase', p.purchase, 'attempt', p.attempt, 'state', p.state,
        'intent_age_usec', meshify.usec(now() - p.intent_at), 'intent_epoch', extract(epoch FROM p.intent_at)::bigint,
        'give_up_in_usec', meshify.usec(p.give_up_after - now()),
        'prediction_id', p.prediction_id, 'status', p.status, 'model', p.model, 'input_hash', p.input_hash,
        'pipeline', p.pipeline, 'last_step', p.last_step, 'output_pointer', p.output_pointer,
        'input_keys', p.input_keys, 'output', p.output, 'finished', p.finished_at IS NOT NULL,
        'finished_age_usec', meshify.usec(now() - p.finished_at),
        'predict_time', CASE WHEN jsonb_typeof(p.metrics -> 'predict_time') = 'number'
                             THEN p.metrics -> 'predict_time' END) ORDER BY p.n)::text, '[]')
    FROM meshify.predictions p WHERE p.job_id = p_job AND p.purchase IS NOT NULL);
END $$;


ALTER FUNCTION meshify.purchases_of(p_job uuid) OWNER TO postgres;

--
-- Name: put_back(uuid, jsonb); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.put_back(p_job uuid, p_args jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_delay interval := (p_args ->> 'delay')::interval;
    v_counted boolean := (p_args ->> 'counted')::boolean;
BEGIN
    UPDATE meshify.jobs j
    SET status = 'pending', worker_id = NULL, worked = meshify.add_worked(j.worked, (p_args ->> 'worked')::float8),
        run_after = now() + v_delay, attempts = CASE WHEN v_counted THEN j.attempts ELSE greatest(j.attempts, 1) - 1 END
    WHERE j.id = p_job;
    UPDATE public.mesh_assets a SET status = 'pending'
    FROM meshify.jobs j WHERE j.id = p_job AND a.id = j.asset_id AND a.status = 'running';
    DELETE FROM meshify.closings c WHERE c.job_id = p_job AND c.how = 'back';
    UPDATE meshify.closings c SET due = now() + v_delay WHERE c.job_id = p_job AND c.due IS NULL;
    PERFORM meshify.note(p_job, 'handed_back', jsonb_build_object('reason', p_args ->> 'reason', 'delay', v_delay, 'counted', v_counted));
    IF v_delay <= interval '0' THEN
        PERFORM pg_catalog.pg_notify('meshify_jobs', '');
    END IF;
END $$;


ALTER FUNCTION meshify.put_back(p_job uuid, p_args jsonb) OWNER TO postgres;

--
-- Name: queue_sample(uuid, bigint, timestamp with time zone); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.queue_sample(p_worker uuid, p_known bigint, p_known_at timestamp with time zone) RETURNS TABLE(ready bigint, later bigint, oldest_seconds double precision, refunds bigint, known bigint, known_at timestamp with time zone)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF p_worker IS DISTINCT FROM (SELECT w.id FROM meshify.workers w WHERE NOT w.dead AND NOT w.draining AND w.expires_at > now()
                                  ORDER BY w.started_at, w.id LIMIT 1) THEN
        RETURN;
    END IF;
    SELECT count(*) FILTER (WHERE q.run_after <= now()), count(*) FILTER (WHERE q.run_after > now()),
           coalesce(meshify.seconds_between(min(q.created_at) FILTER (WHERE isfinite(q.created_at)), now()), 0)
    INTO ready, later, oldest_seconds
    FROM (SELECT j.run_after, j.created_at FROM meshify.jobs j WHERE j.status = 'pending'
          ORDER BY j.priority DESC, j.run_after, j.created_at LIMIT 100000) q; -- the index's order
    known_at := greatest(p_known_at, now() - interval '10 minutes');
    SELECT p_known + count(*), p_known + count(*) FILTER (WHERE r.at <= known_at)
    INTO refunds, known
    FROM meshify.refunds r WHERE r.credits > 0 AND r.at > p_known_at;
    RETURN NEXT;
END $$;


ALTER FUNCTION meshify.queue_sample(p_worker uuid, p_known bigint, p_known_at timestamp with time zone) OWNER TO postgres;

--
-- Name: readable(jsonb); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.readable(p_row jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT jsonb_object_agg(m.key, CASE
        WHEN pg_column_size(m.value) > 65536 OR m.value::text ~ '(^|[\[:, ])-?[0-9]{19}'
          OR length(regexp_replace(m.value::text, '[^\[\]{}]', '', 'g')) > 1000 THEN to_jsonb(left(m.value #>> '{}', 10000))
        ELSE m.value END)
    FROM jsonb_each(p_row) m
$$;


ALTER FUNCTION meshify.readable(p_row jsonb) OWNER TO postgres;

--
-- Name: reap(uuid, uuid[]); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.reap(p_worker uuid, p_proven uuid[]) RETURNS TABLE(dead integer, taken integer)
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$ SELECT * FROM meshify.reap(p_worker, p_proven, interval '1000 years') $$;


ALTER FUNCTION meshify.reap(p_worker uuid, p_proven uuid[]) OWNER TO postgres;

--
-- Name: reap(uuid, uuid[], interval); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.reap(p_worker uuid, p_proven uuid[], p_heard interval) RETURNS TABLE(dead integer, taken integer)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '500ms'
    AS $$
DECLARE
    v_lease interval;
    v_left uuid[];
    v_job uuid;
    v_each boolean;
    v_not uuid[] := meshify.unclaimable_now();
BEGIN
    dead := 0;
    taken := 0;
    SELECT w.expires_at - w.heartbeat_at INTO v_lease
    FROM meshify.workers w WHERE w.id = p_worker AND NOT w.dead AND w.expires_at > now();
    IF NOT FOUND THEN
        RETURN NEXT;
        RETURN;
    END IF;

    -- Whoever claims just now holds his row, and is not waited for.
    UPDATE meshify.workers d SET dead = true
    WHERE d.id IN (
        SELECT w.id FROM meshify.workers w
        WHERE w.id <> p_worker AND NOT w.dead
          AND (w.id = ANY (p_proven)
               OR (w.expires_at < now()
                   AND greatest(v_lease, w.expires_at - w.heartbeat_at)
                       < least(p_heard, now() - pg_catalog.pg_postmaster_start_time())))
        FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS dead = ROW_COUNT;
    IF NOT meshify.tables_are_free(true) THEN
        RETURN NEXT; -- their jobs are taken over when it is over
        RETURN;
    END IF;

    v_left := ARRAY(
        SELECT j.id FROM meshify.jobs j LEFT JOIN meshify.workers w ON w.id = j.worker_id
        WHERE j.status = 'running' AND j.worker_id IS NOT NULL AND (w.id IS NULL OR w.dead) AND j.id <> ALL (v_not)
        LIMIT 500
        FOR UPDATE OF j SKIP LOCKED);
    -- One by one where a trigger refuses one of them, or takes its time (see meshify.take_each).
    v_each := meshify.is_troubled('claims');
    IF NOT v_each THEN
        BEGIN
            taken := meshify.take_over(p_worker, v_left);
        EXCEPTION WHEN OTHERS OR assert_failure OR query_canceled THEN
            v_each := true;
            IF meshify.is_late() THEN
                PERFORM meshify.trouble('claims', SQLERRM, '1 min');
            END IF;
        END;
    END IF;
    IF v_each THEN
        FOREACH v_job IN ARRAY v_left LOOP
            EXIT WHEN meshify.is_late();
            BEGIN
                taken := taken + meshify.take_over(p_worker, ARRAY[v_job]);
            EXCEPTION WHEN OTHERS OR assert_failure OR query_canceled THEN
                PERFORM meshify.leave_alone(v_job, SQLERRM);
            END;
        END LOOP;
    END IF;

    DELETE FROM meshify.workers d
    WHERE d.id IN (SELECT w.id FROM meshify.workers w
                   WHERE w.dead AND NOT EXISTS (SELECT FROM meshify.jobs j
                                                WHERE j.worker_id = w.id AND j.status = 'running' AND NOT meshify.is_parked(j.id))
                   FOR UPDATE SKIP LOCKED);
    IF taken > 0 THEN
        PERFORM pg_catalog.pg_notify('meshify_jobs', '');
    END IF;
    RETURN NEXT;
END $$;


ALTER FUNCTION meshify.reap(p_worker uuid, p_proven uuid[], p_heard interval) OWNER TO postgres;

--
-- Name: record(uuid, bigint, text, text); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.record(p_worker uuid, p_purchase bigint, p_prediction text, p_status text) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '200ms'
    AS $$
DECLARE
    v_of jsonb := (SELECT meshify.purchase_of(p) FROM meshify.predictions p LEFT JOIN meshify.jobs j ON j.id = p.job_id
                   WHERE p.n = p_purchase AND (p.worker_id = p_worker OR j.worker_id = p_worker));
BEGIN
    RETURN CASE WHEN v_of IS NULL THEN 'gone' ELSE meshify.record_purchase(p_worker, v_of, p_prediction, p_status, false) END;
END $$;


ALTER FUNCTION meshify.record(p_worker uuid, p_purchase bigint, p_prediction text, p_status text) OWNER TO postgres;

--
-- Name: record_purchase(uuid, jsonb, text, text, boolean); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.record_purchase(p_worker uuid, p_of jsonb, p_prediction text, p_status text, p_answered boolean) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '200ms'
    AS $$
DECLARE
    v_job uuid := p_of ->> 'job';
    v_row meshify.predictions;
    -- The job first, as everywhere, so that no two calls wait for each other.
    v_answer text := meshify.fence(p_worker, v_job);
    v_new boolean;
BEGIN
    IF v_answer = 'busy' THEN
        RETURN v_answer;
    END IF;
    v_row := meshify.find_purchase(p_of);
    IF EXISTS (SELECT FROM meshify.predictions p
               WHERE p.prediction_id = p_prediction AND p.id IS DISTINCT FROM v_row.id AND (p.purchase IS NOT NULL OR NOT p_answered)) THEN
        RETURN 'taken';
    ELSIF v_row.id IS NULL AND NOT p_answered AND meshify.is_wanted(p_of ->> 'hash') THEN
        RETURN 'lost'; -- by somebody else, whose it may be
    ELSIF v_row.id IS NULL OR p_answered AND v_row.prediction_id <> p_prediction THEN
        RETURN meshify.write_surplus(p_of, p_prediction, p_status, false);
    ELSIF v_row.prediction_id <> p_prediction THEN
        RETURN 'taken';
    END IF;
    v_new := v_row.prediction_id IS NULL;
    BEGIN
        UPDATE meshify.predictions p
        SET prediction_id = p_prediction, created_at = coalesce(p.created_at, now()),
            -- What was said not to be sent and yet is there, has not ended.
            status = CASE WHEN v_new THEN left(p_status, 50) ELSE p.status END,
            finished_at = CASE WHEN v_new THEN NULL ELSE p.finished_at END,
            state = CASE WHEN p.state = 'intended' OR p.state = 'ended' AND v_new AND v_answer IN ('ok', 'cancel') THEN 'bought'
                         WHEN p.state IN ('given_up', 'ended') AND v_new THEN 'surplus'
                         ELSE p.state END
        WHERE p.id = v_row.id
        RETURNING * INTO v_row;
    EXCEPTION WHEN unique_violation THEN
        RETURN 'taken';
    END;
    IF v_row.state = 'surplus' THEN
        PERFORM meshify.note(v_job, 'surplus', jsonb_build_object('prediction', p_prediction));
        RETURN 'surplus';
    END IF;
    PERFORM meshify.note(v_job, 'bought', jsonb_build_object('step', v_row.step, 'purchase', v_row.purchase, 'prediction', p_prediction));
    IF v_answer IN ('ok', 'cancel') THEN
        UPDATE meshify.jobs j SET crashes = 0 WHERE j.id = v_job AND j.crashes <> 0;
    END IF;
    RETURN v_answer;
END $$;


ALTER FUNCTION meshify.record_purchase(p_worker uuid, p_of jsonb, p_prediction text, p_status text, p_answered boolean) OWNER TO postgres;

--
-- Name: refund(uuid, uuid, uuid); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.refund(p_job uuid, p_user uuid, p_asset uuid) RETURNS numeric
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    c meshify.charges;
    a record;
    v_back numeric;
    v_own numeric;
    v_given numeric;
BEGIN
    -- Written, not only locked: a transaction that sees less, by its isolation level, fails rather than reckons with it.
    UPDATE meshify.charges x SET credits = x.credits WHERE x.asset_id = p_asset RETURNING * INTO c;
    SELECT x.owner_id, x.status::text AS status INTO a FROM public.mesh_assets x WHERE x.id = p_asset;
    IF meshify.setting('refund') IS DISTINCT FROM 'on' OR c.credits IS NULL OR c.credits <= 0
       OR a.owner_id IS DISTINCT FROM p_user OR c.user_id IS DISTINCT FROM p_user OR meshify.has_other_job(p_job, p_asset) THEN
        RETURN 0;
    END IF;
    SELECT coalesce(sum(r.credits), 0), coalesce(sum(r.credits) FILTER (WHERE r.job_id = p_job), 0)
    INTO v_back, v_own FROM meshify.refunds r WHERE r.asset_id = p_asset;
    IF v_back > 0 OR c.made_at IS NOT NULL THEN
        PERFORM meshify.bar(p_job, p_asset);
    END IF;
    IF v_back <> 0 OR c.made_at IS NOT NULL OR a.status = 'done' THEN
        IF v_own <= 0 THEN
            PERFORM meshify.note(p_job, 'refund_refused', jsonb_build_object('credits', c.credits, 'reason',
                CASE WHEN v_back <> 0 THEN 'given back for another job of the asset' WHEN meshify.has_made(p_job) THEN 'this job made the asset' ELSE 'another job made the asset' END));
        END IF;
        RETURN 0;
    ELSIF c.credits > meshify.setting('refund_max')::numeric THEN
        PERFORM meshify.note(p_job, 'refund_refused', jsonb_build_object('credits', c.credits));
        RAISE WARNING USING ERRCODE = 'MF100', MESSAGE = format('job %s: no refund, its %s credits are above refund_max; '
            'to allow it: meshifyctl settings refund_max %s', p_job, c.credits, ceil(c.credits));
        RETURN 0;
    END IF;
    UPDATE public.profiles p
    SET credits_remaining = p.credits_remaining + c.credits, credits_used = p.credits_used - c.credits
    WHERE p.id = p_user;
    v_given := CASE WHEN FOUND THEN c.credits ELSE 0 END; -- the profile was deleted: that is written down, too
    INSERT INTO meshify.refunds (job_id, n, asset_id, user_id, credits)
    SELECT p_job, coalesce(max(r.n), 0) + 1, p_asset, p_user, v_given FROM meshify.refunds r WHERE r.job_id = p_job;
    PERFORM meshify.bar(p_job, p_asset) WHERE v_given > 0;
    RETURN v_given;
END $$;


ALTER FUNCTION meshify.refund(p_job uuid, p_user uuid, p_asset uuid) OWNER TO postgres;

--
-- Name: refused_word(regclass, text, text[]); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.refused_word(p_table regclass, p_column text, p_words text[], OUT word text, OUT mend text) RETURNS SETOF record
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
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
END $_$;


ALTER FUNCTION meshify.refused_word(p_table regclass, p_column text, p_words text[], OUT word text, OUT mend text) OWNER TO postgres;

--
-- Name: register(uuid, text, text, text, text, text, integer, text, integer, interval); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.register(p_worker uuid, p_instance text, p_host text, p_machine_id text, p_boot_id text, p_pid_ns text, p_pid integer, p_version text, p_max_jobs integer, p_lease interval) RETURNS TABLE(answer text, workers integer, lease_usec bigint)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    INSERT INTO meshify.workers AS w (id, instance, host, machine_id, boot_id, pid_ns, pid, version, max_jobs, expires_at)
    VALUES (p_worker, left(p_instance, 200), left(p_host, 200), left(p_machine_id, 100), left(p_boot_id, 100),
            left(p_pid_ns, 100), p_pid, left(p_version, 50), p_max_jobs, now() + p_lease)
    ON CONFLICT (id) DO UPDATE SET heartbeat_at = now(), expires_at = now() + p_lease WHERE NOT w.dead;
    answer := CASE WHEN FOUND THEN 'ok' ELSE 'lost' END;
    SELECT count(*) INTO workers FROM meshify.workers w WHERE NOT w.dead AND w.expires_at > now();
    lease_usec := (extract(epoch FROM p_lease) * 1000000)::bigint;
    RETURN NEXT;
END $$;


ALTER FUNCTION meshify.register(p_worker uuid, p_instance text, p_host text, p_machine_id text, p_boot_id text, p_pid_ns text, p_pid integer, p_version text, p_max_jobs integer, p_lease interval) OWNER TO postgres;

--
-- Name: retried(uuid); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.retried(p_job uuid) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN INSERT INTO meshify.retries (job_id) VALUES (p_job) ON CONFLICT (job_id) DO UPDATE SET at = now(); END $$;


ALTER FUNCTION meshify.retried(p_job uuid) OWNER TO postgres;

--
-- Name: retry(uuid); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.retry(p_job uuid) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '2s'
    AS $$
DECLARE
    j record;
    a record;
    v_back numeric;
BEGIN
    PERFORM FROM public.mesh_assets x WHERE x.id = (SELECT y.asset_id FROM meshify.jobs y WHERE y.id = p_job) FOR UPDATE;
    SELECT x.status::text AS status, x.user_id, x.asset_id INTO j
    FROM meshify.jobs x WHERE x.id = p_job FOR UPDATE;
    IF NOT FOUND THEN
        RETURN 'gone';
    ELSIF j.status = 'done' THEN
        RETURN 'done';
    ELSIF j.status IN ('pending', 'running') AND NOT meshify.is_barred(p_job, j.asset_id) THEN
        RETURN 'unfinished';
    END IF;
    SELECT x.status::text AS status, x.owner_id INTO a FROM public.mesh_assets x WHERE x.id = j.asset_id;
    IF NOT FOUND THEN
        RETURN 'no_asset';
    ELSIF a.status = 'done' THEN
        RETURN 'done'; -- by another job: its row and file stay
    ELSIF a.owner_id IS DISTINCT FROM j.user_id AND meshify.is_refunded(j.asset_id) THEN
        RETURN 'no_asset'; -- of this user, who got nothing back
    END IF;

    PERFORM FROM meshify.charges c WHERE c.asset_id = j.asset_id FOR UPDATE;
    SELECT coalesce(sum(r.credits), 0) INTO v_back FROM meshify.refunds r WHERE r.asset_id = j.asset_id;
    IF v_back > 0 THEN
        UPDATE public.profiles p
        SET credits_remaining = p.credits_remaining - v_back, credits_used = p.credits_used + v_back
        WHERE p.id = j.user_id AND p.credits_remaining >= v_back AND p.credits_remaining::float8 <> 'NaN';
        IF NOT FOUND THEN
            RETURN 'credits';
        END IF;
        INSERT INTO meshify.refunds (job_id, n, asset_id, user_id, credits)
        SELECT p_job, coalesce(max(r.n), 0) + 1, j.asset_id, j.user_id, -v_back FROM meshify.refunds r WHERE r.job_id = p_job;
    END IF;
    -- Nothing can be found out any more about a purchase this old: the operator has decided.
    UPDATE meshify.predictions p SET state = 'given_up'
    WHERE p.job_id = p_job AND p.state = 'intended' AND p.intent_at < now() - interval '1 hour';
    -- What still runs for an ended job is being cancelled: polled again, it would cost this try an attempt.
    UPDATE meshify.predictions p SET state = 'surplus' WHERE p.job_id = p_job AND p.state = 'bought' AND p.finished_at IS NULL;
    UPDATE meshify.jobs x
    SET status = 'pending', error = meshify.fit('public.jobs', 'error', NULL), completed_at = NULL, attempts = 0, crashes = 0, progress = NULL, worker_id = NULL,
        run_after = now(), worked = '0', cancel_requested_at = NULL
    WHERE x.id = p_job;
    UPDATE public.mesh_assets x SET status = 'pending' WHERE x.id = j.asset_id;
    PERFORM meshify.retried(p_job);
    DELETE FROM meshify.barred b WHERE b.job_id = p_job;
    PERFORM meshify.note(p_job, 'retried', CASE WHEN v_back > 0 THEN jsonb_build_object('credits', v_back) END);
    PERFORM pg_catalog.pg_notify('meshify_jobs', '');
    RETURN 'ok';
END $$;


ALTER FUNCTION meshify.retry(p_job uuid) OWNER TO postgres;

--
-- Name: retry_stuck(); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.retry_stuck() RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '2s'
    AS $$
DECLARE
    v_n int := 0;
    v_job uuid;
BEGIN
    FOR v_job IN SELECT meshify.stuck() LOOP
        UPDATE meshify.jobs x SET status = 'pending', run_after = now()
        WHERE x.id = v_job AND x.status = 'running' AND x.worker_id IS NULL;
        IF FOUND THEN
            v_n := v_n + 1;
            PERFORM meshify.retried(v_job);
            PERFORM meshify.note(v_job, 'retried', jsonb_build_object('reason', 'stuck'));
        END IF;
    END LOOP;
    PERFORM pg_catalog.pg_notify('meshify_jobs', '');
    RETURN v_n;
END $$;


ALTER FUNCTION meshify.retry_stuck() OWNER TO postgres;

--
-- Name: retype(text, text, text); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.retype(p_table text, p_column text, p_to text) RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_attribute a
                             WHERE p_table = 'jobs' AND a.attrelid = to_regclass('meshify.jobs') AND a.attname = p_column)
           THEN format('BEGIN; DROP VIEW meshify.jobs CASCADE; ALTER TABLE public.%I ALTER COLUMN %I TYPE %s; '
                       'UPDATE meshify.schema_version SET version = 0; COMMIT; and then meshifyctl migrate', p_table, p_column, p_to)
           ELSE format('ALTER TABLE public.%I ALTER COLUMN %I TYPE %s;', p_table, p_column, p_to) END
$$;


ALTER FUNCTION meshify.retype(p_table text, p_column text, p_to text) OWNER TO postgres;

--
-- Name: room(regclass, text); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.room(p_table regclass, p_column text) RETURNS integer
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT CASE WHEN coalesce(nullif(t.typbasetype, 0), t.oid) IN ('varchar'::regtype, 'bpchar'::regtype)
                THEN nullif(greatest(a.atttypmod, t.typtypmod), -1) - 4 END
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = p_table AND a.attname = p_column
$$;


ALTER FUNCTION meshify.room(p_table regclass, p_column text) OWNER TO postgres;

--
-- Name: seconds_between(timestamp with time zone, timestamp with time zone); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.seconds_between(p_from timestamp with time zone, p_to timestamp with time zone) RETURNS double precision
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT CASE WHEN p_from IS NULL OR p_to IS NULL THEN NULL WHEN p_from = p_to THEN 0
                ELSE least(greatest(extract(epoch FROM p_to)::float8 - extract(epoch FROM p_from)::float8, -3155760000), 3155760000) END
$$;


ALTER FUNCTION meshify.seconds_between(p_from timestamp with time zone, p_to timestamp with time zone) OWNER TO postgres;

--
-- Name: sent_as(); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.sent_as() RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$ SELECT coalesce(nullif(current_setting('meshify.sent_as', true), ''), 'old') $$;


ALTER FUNCTION meshify.sent_as() OWNER TO postgres;

--
-- Name: set_setting(text, text); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.set_setting(p_key text, p_value text) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '2s'
    AS $_$
BEGIN
    IF NOT EXISTS (SELECT FROM meshify.settings s WHERE s.key = p_key) THEN
        RETURN 'unknown';
    ELSIF p_value IS NULL OR p_value !~ (CASE WHEN p_key IN ('refund', 'paused') THEN '^(on|off)$' ELSE '^[0-9]{1,9}$' END) THEN
        RETURN 'invalid';
    ELSIF p_key = 'max_prompt' AND p_value::int > meshify.most_prompt() THEN
        RETURN 'invalid';
    END IF;
    UPDATE meshify.settings s SET value = p_value WHERE s.key = p_key;
    PERFORM pg_catalog.pg_notify('meshify_jobs', '');
    RETURN 'ok';
END $_$;


ALTER FUNCTION meshify.set_setting(p_key text, p_value text) OWNER TO postgres;

--
-- Name: setting(text); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.setting(p_key text) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$ BEGIN RETURN (SELECT s.value FROM meshify.settings s WHERE s.key = p_key); END $$;


ALTER FUNCTION meshify.setting(p_key text) OWNER TO postgres;

--
-- Name: setting_takes(text); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.setting_takes(p_key text) RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT CASE
        WHEN p_key IN ('refund', 'paused') THEN 'on or off'
        WHEN p_key IN ('price', 'refund_max') THEN 'a whole number from 0 to 999999999, in credits'
        WHEN p_key = 'max_pending_jobs' THEN 'a whole number from 0 to 999999999; 0: no limit'
        WHEN p_key = 'max_prompt' THEN format('a whole number from 0 to %s, in bytes; 0: no limit but that of input_data, %s KiB',
                                              meshify.most_prompt(), meshify.max_input() / 1024) END
$$;


ALTER FUNCTION meshify.setting_takes(p_key text) OWNER TO postgres;

--
-- Name: settle(bigint, text, text, jsonb, jsonb, text, boolean); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.settle(p_purchase bigint, p_prediction text, p_status text, p_output jsonb, p_metrics jsonb, p_error text, p_usable boolean) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '200ms'
    AS $$
DECLARE
    v_of jsonb := (SELECT meshify.purchase_of(p) FROM meshify.predictions p
                   WHERE p.n = p_purchase AND p.prediction_id IS NOT DISTINCT FROM p_prediction);
BEGIN
    RETURN CASE WHEN v_of IS NULL THEN 'lost'
                ELSE meshify.settle_purchase(v_of, p_prediction, p_status, p_output, p_metrics, p_error, p_usable) END;
END $$;


ALTER FUNCTION meshify.settle(p_purchase bigint, p_prediction text, p_status text, p_output jsonb, p_metrics jsonb, p_error text, p_usable boolean) OWNER TO postgres;

--
-- Name: settle_purchase(jsonb, text, text, jsonb, jsonb, text, boolean); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.settle_purchase(p_of jsonb, p_prediction text, p_status text, p_output jsonb, p_metrics jsonb, p_error text, p_usable boolean) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '200ms'
    AS $$
DECLARE
    v_row meshify.predictions := meshify.find_purchase(p_of);
BEGIN
    IF p_prediction IS NOT NULL AND (v_row.id IS NULL OR v_row.state = 'intended' AND v_row.prediction_id IS NULL) THEN
        IF EXISTS (SELECT FROM meshify.predictions p WHERE p.prediction_id = p_prediction) THEN
            RETURN 'lost';
        ELSIF v_row.id IS NULL THEN
            PERFORM meshify.write_surplus(p_of, p_prediction, p_status, true);
            RETURN 'lost';
        END IF;
        UPDATE meshify.predictions p SET state = 'bought', prediction_id = p_prediction, created_at = now() WHERE p.id = v_row.id;
    END IF;
    UPDATE meshify.predictions p
    SET status = left(p_status, 50), output = CASE WHEN p_usable THEN p_output END,
        metrics = coalesce(p_metrics, p.metrics), error = left(p_error, 2000),
        finished_at = coalesce(p.finished_at, now()),
        state = CASE WHEN p.state IN ('intended', 'bought') AND NOT p_usable THEN 'ended' ELSE p.state END
    WHERE p.id = v_row.id AND p.prediction_id IS NOT DISTINCT FROM p_prediction
      AND (p_prediction IS NOT NULL OR p.state = 'intended')
      AND (p.finished_at IS NULL OR (NOT p_usable AND p.state = 'bought')); -- known already, unless its output is gone
    IF NOT FOUND THEN
        RETURN 'lost';
    END IF;
    PERFORM meshify.note(v_row.job_id, 'settled', jsonb_strip_nulls(jsonb_build_object(
        'step', v_row.step, 'prediction', p_prediction, 'status', left(p_status, 50), 'error', left(p_error, 200))));
    IF p_usable AND v_row.finished_at IS NULL AND meshify.tables_are_free() THEN -- told again, it says nothing of what comes after
        UPDATE meshify.jobs j SET crashes = 0
        WHERE j.id = (SELECT x.id FROM meshify.jobs x WHERE x.id = v_row.job_id AND x.crashes <> 0 FOR UPDATE SKIP LOCKED);
    END IF;
    RETURN 'ok';
END $$;


ALTER FUNCTION meshify.settle_purchase(p_of jsonb, p_prediction text, p_status text, p_output jsonb, p_metrics jsonb, p_error text, p_usable boolean) OWNER TO postgres;

--
-- Name: show_job(uuid); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.show_job(p_job uuid) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT jsonb_build_object(
        'job', (SELECT meshify.readable(to_jsonb(o)) FROM public.jobs o WHERE o.id = j.id), 'asset', meshify.readable(to_jsonb(a)),
        'purchases', (SELECT coalesce(jsonb_agg(to_jsonb(p) ORDER BY p.n), '[]') FROM meshify.predictions p WHERE p.job_id = j.id),
        'refunds', (SELECT coalesce(jsonb_agg(to_jsonb(r) ORDER BY r.n), '[]') FROM meshify.refunds r WHERE r.job_id = j.id),
        'events', (SELECT coalesce(jsonb_agg(to_jsonb(e) - 'job_id' ORDER BY e.id), '[]') FROM meshify.events e WHERE e.job_id = j.id))
    FROM meshify.jobs j LEFT JOIN public.mesh_assets a ON a.id = j.asset_id
    WHERE j.id = p_job
$$;


ALTER FUNCTION meshify.show_job(p_job uuid) OWNER TO postgres;

--
-- Name: spend(uuid, uuid); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.spend(p_job uuid, p_asset uuid) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    UPDATE meshify.charges c SET made_at = now()
    WHERE c.made_at IS NULL
      AND (c.asset_id = p_asset
           OR c.asset_id = ANY (ARRAY(SELECT p.asset_id FROM meshify.predictions p WHERE p.job_id = p_job -- an array: indexes
                                      UNION SELECT m.asset_id FROM meshify.moved m WHERE m.job_id = p_job))
              AND c.user_id = (SELECT j.user_id FROM meshify.jobs j WHERE j.id = p_job));
    IF EXISTS (SELECT FROM meshify.charges c WHERE c.asset_id = p_asset AND c.credits > 0) THEN -- for one mesh
        PERFORM meshify.bar(p_job, p_asset);
    END IF;
END $$;


ALTER FUNCTION meshify.spend(p_job uuid, p_asset uuid) OWNER TO postgres;

--
-- Name: status(); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.status() RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT jsonb_build_object(
        'schema_version', (SELECT v.version FROM meshify.schema_version v),
        'queue', (SELECT to_jsonb(s) FROM meshify.stats s),
        'settings', (SELECT jsonb_object_agg(s.key, s.value) FROM meshify.settings s),
        'workers', (SELECT coalesce(jsonb_agg(to_jsonb(w) || jsonb_build_object(
                        'lease_left_seconds', extract(epoch FROM w.expires_at - now())::float8,
                        'held', (SELECT jsonb_agg(h || jsonb_build_object('seconds', extract(epoch FROM (h ->> 'until')::timestamptz - now())::float8))
                                 FROM jsonb_array_elements(w.held) h)) ORDER BY w.started_at), '[]')
                    FROM meshify.workers w),
        -- Of jobs that a worker still has; the column is younger than this function.
        'waits', (SELECT coalesce(jsonb_agg(t || jsonb_build_object('instance', w.instance,
                        'seconds', extract(epoch FROM now() - (t ->> 'since')::timestamptz)::float8) ORDER BY t ->> 'since'), '[]')
                  FROM meshify.workers w
                  CROSS JOIN LATERAL jsonb_array_elements(CASE jsonb_typeof(to_jsonb(w) -> 'waits')
                                                          WHEN 'array' THEN to_jsonb(w) -> 'waits' ELSE '[]' END) t
                  JOIN meshify.jobs j ON j.id = (t ->> 'job')::uuid AND j.worker_id = w.id AND j.status = 'running'))
$$;


ALTER FUNCTION meshify.status() OWNER TO postgres;

--
-- Name: storage_by_owner(); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.storage_by_owner() RETURNS TABLE(owner uuid, count bigint, bytes numeric)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT a.owner_id, count(*), coalesce(sum(CASE WHEN a.size::float8 BETWEEN 0 AND 1e18 THEN a.size::numeric END), 0)
    FROM public.mesh_assets a WHERE a.status = 'done' GROUP BY a.owner_id
$$;


ALTER FUNCTION meshify.storage_by_owner() OWNER TO postgres;

--
-- Name: stored(uuid, uuid, text, integer, text, bigint, text, jsonb, jsonb); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.stored(p_worker uuid, p_job uuid, p_step text, p_purchase integer, p_path text, p_size bigint, p_mime text, p_output_data jsonb, p_result_meta jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '200ms'
    AS $$
BEGIN
    UPDATE meshify.predictions p SET object_name = p_path, object_size = p_size, object_sha256 = p_result_meta ->> 'sha256'
    WHERE p.job_id = p_job AND p.step = p_step AND p.purchase = p_purchase
      AND NOT EXISTS (SELECT FROM meshify.predictions o WHERE o.object_name = p_path AND o.id <> p.id); -- an index
    INSERT INTO meshify.closings AS c (job_id, how, args)
    SELECT p_job, 'done', jsonb_build_object('path', p_path, 'size', p_size, 'mime', p_mime, 'output_data', p_output_data, 'result_meta', p_result_meta)
    FROM meshify.jobs j WHERE j.id = p_job AND j.worker_id = p_worker AND j.status = 'running'
    ON CONFLICT (job_id) DO UPDATE SET args = excluded.args WHERE c.how = 'done' AND c.due IS NULL;
END $$;


ALTER FUNCTION meshify.stored(p_worker uuid, p_job uuid, p_step text, p_purchase integer, p_path text, p_size bigint, p_mime text, p_output_data jsonb, p_result_meta jsonb) OWNER TO postgres;

--
-- Name: stored_for_good(uuid, text); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.stored_for_good(p_job uuid, p_name text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    UPDATE meshify.predictions p SET object_state = 'used' WHERE p.object_name = p_name AND p.job_id = p_job;
    DELETE FROM meshify.orphans o WHERE o.name = p_name AND o.removed_at IS NULL; -- a program that asks for no name wrote it again
END $$;


ALTER FUNCTION meshify.stored_for_good(p_job uuid, p_name text) OWNER TO postgres;

--
-- Name: storing(uuid, uuid, text, integer, text, text, interval, text); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.storing(p_worker uuid, p_job uuid, p_step text, p_purchase integer, p_path text, p_place text, p_grace interval, p_upload text DEFAULT NULL::text) RETURNS TABLE(answer text, name text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '200ms'
    AS $$
BEGIN
    answer := meshify.fence(p_worker, p_job);
    IF answer = 'ok' THEN
        name := meshify.name_object(p_job, p_step, p_purchase, p_path);
        UPDATE meshify.predictions p
        SET object_worker = p_worker, object_place = p_place, object_grace = greatest(p_grace, '0'), object_state = NULL, upload_id = p_upload
        WHERE p.job_id = p_job AND p.step = p_step AND p.purchase = p_purchase;
        answer := CASE WHEN FOUND THEN 'ok' ELSE 'lost' END;
    END IF;
    RETURN NEXT;
END $$;


ALTER FUNCTION meshify.storing(p_worker uuid, p_job uuid, p_step text, p_purchase integer, p_path text, p_place text, p_grace interval, p_upload text) OWNER TO postgres;

--
-- Name: stuck(); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.stuck() RETURNS SETOF uuid
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT j.id FROM meshify.jobs j JOIN public.jobs o ON o.id = j.id
    WHERE j.status = 'running' AND j.worker_id IS NULL
      AND coalesce(meshify.as_time(to_jsonb(o) ->> 'updated_at'), j.created_at) < now() - interval '10 min'
$$;


ALTER FUNCTION meshify.stuck() OWNER TO postgres;

--
-- Name: summary(interval); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.summary(p_since interval) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    WITH ended AS (
        SELECT j.status::text AS status, CASE WHEN isfinite(j.completed_at) AND isfinite(j.created_at) THEN meshify.seconds_between(j.created_at, j.completed_at) END AS seconds
        FROM meshify.jobs j WHERE j.completed_at > now() - p_since
    ), bought AS (
        SELECT p.model, p.state, p.status,
               CASE WHEN jsonb_typeof(p.metrics -> 'predict_time') = 'number' THEN least((p.metrics ->> 'predict_time')::numeric, 1e9)::float8 END AS seconds
        FROM meshify.predictions p WHERE p.intent_at > now() - p_since
    )
    SELECT jsonb_build_object(
        'jobs', (SELECT jsonb_build_object(
            'done', count(*) FILTER (WHERE e.status = 'done'), 'failed', count(*) FILTER (WHERE e.status = 'error'),
            'canceled', count(*) FILTER (WHERE e.status = 'canceled'),
            'p50_seconds', percentile_cont(0.5) WITHIN GROUP (ORDER BY e.seconds) FILTER (WHERE e.status = 'done'),
            'p95_seconds', percentile_cont(0.95) WITHIN GROUP (ORDER BY e.seconds) FILTER (WHERE e.status = 'done')) FROM ended e),
        'failures', (SELECT coalesce(jsonb_object_agg(f.reason, f.n), '{}') FROM (
            SELECT coalesce(e.detail ->> 'reason', 'unknown') AS reason, count(*) AS n
            FROM meshify.events e WHERE e.event = 'error' AND e.at > now() - p_since GROUP BY 1) f),
        'models', (SELECT coalesce(jsonb_agg(to_jsonb(m) ORDER BY m.predictions DESC), '[]') FROM (
            SELECT b.model, count(*) AS predictions, count(*) FILTER (WHERE b.status = 'succeeded') AS succeeded,
                   count(*) FILTER (WHERE b.state = 'surplus') AS surplus, coalesce(sum(b.seconds), 0) AS predict_seconds
            FROM bought b GROUP BY b.model) m),
        'storage', (SELECT coalesce(jsonb_agg(to_jsonb(s)), '[]') FROM (
            SELECT * FROM meshify.storage_usage u ORDER BY u.bytes DESC NULLS LAST LIMIT 20) s))
$$;


ALTER FUNCTION meshify.summary(p_since interval) OWNER TO postgres;

--
-- Name: surplus(uuid, bigint[], text[]); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.surplus(p_worker uuid, p_purchases bigint[], p_predictions text[]) RETURNS TABLE(id bigint, prediction_id text)
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT p.n, s.prediction_id
    FROM meshify.found_surplus(p_worker, ARRAY(SELECT (SELECT p.id FROM meshify.predictions p WHERE p.n = u.n)
                                               FROM unnest(p_purchases) WITH ORDINALITY AS u (n, i) ORDER BY u.i), p_predictions) s
    JOIN meshify.predictions p ON p.id = s.id
$$;


ALTER FUNCTION meshify.surplus(p_worker uuid, p_purchases bigint[], p_predictions text[]) OWNER TO postgres;

--
-- Name: tables_are_free(boolean); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.tables_are_free(p_always boolean DEFAULT false) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF meshify.sent_as() = 'batch' AND clock_timestamp() > transaction_timestamp() + interval '5 s' THEN
        RAISE EXCEPTION 'this transaction takes too long' USING ERRCODE = 'lock_not_available';
    END IF;
    IF NOT p_always AND meshify.sent_as() = 'batch' THEN
        RETURN true;
    END IF;
    BEGIN
        LOCK TABLE public.jobs, public.mesh_assets, public.profiles IN ROW EXCLUSIVE MODE NOWAIT;
    EXCEPTION WHEN lock_not_available THEN
        RETURN false;
    END;
    RETURN true;
END $$;


ALTER FUNCTION meshify.tables_are_free(p_always boolean) OWNER TO postgres;

--
-- Name: take(uuid, uuid[]); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.take(p_worker uuid, p_jobs uuid[]) RETURNS uuid[]
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    UPDATE meshify.jobs j
    SET status = 'running', worker_id = p_worker, attempts = least(j.attempts, 2147483646) + 1, claimed_at = now(),
        started_at = coalesce(j.started_at, now())
    WHERE j.id = ANY (p_jobs);
    -- Others lock the asset before the job: one that is locked is not waited for.
    UPDATE public.mesh_assets a SET status = 'running'
    WHERE a.status = 'pending' AND a.id IN (SELECT x.id FROM meshify.jobs j JOIN public.mesh_assets x ON x.id = j.asset_id
                                            WHERE j.id = ANY (p_jobs) FOR UPDATE OF x SKIP LOCKED);
    RETURN ARRAY(SELECT j.id FROM meshify.jobs j WHERE j.id = ANY (p_jobs) AND j.status = 'running' AND j.worker_id = p_worker);
END $$;


ALTER FUNCTION meshify.take(p_worker uuid, p_jobs uuid[]) OWNER TO postgres;

--
-- Name: take_each(uuid, uuid[]); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.take_each(p_worker uuid, p_jobs uuid[]) RETURNS uuid[]
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '200ms'
    AS $$
DECLARE
    v_taken uuid[] := '{}';
    v_tried uuid[] := '{}';
    v_job uuid;
    v_each boolean := meshify.is_troubled('claims');
BEGIN
    IF NOT v_each AND NOT meshify.is_late() THEN
        BEGIN
            v_taken := meshify.take(p_worker, p_jobs);
            v_tried := p_jobs;
        EXCEPTION WHEN OTHERS OR assert_failure OR query_canceled THEN
            v_each := true;
            IF meshify.is_late() THEN
                PERFORM meshify.trouble('claims', SQLERRM, '1 min');
            END IF;
        END;
    END IF;
    IF v_each THEN
        FOREACH v_job IN ARRAY p_jobs LOOP
            EXIT WHEN meshify.is_late();
            v_tried := v_tried || v_job;
            BEGIN
                v_taken := v_taken || meshify.take(p_worker, ARRAY[v_job]);
            EXCEPTION WHEN OTHERS OR assert_failure OR query_canceled THEN
                PERFORM meshify.leave_alone(v_job, SQLERRM);
            END;
        END LOOP;
    END IF;
    IF cardinality(v_taken) < cardinality(v_tried) THEN
        PERFORM meshify.leave_alone(j, 'a trigger of public.jobs does not let it run')
        FROM unnest(v_tried) j WHERE j <> ALL (v_taken || meshify.unclaimable_now());
    END IF;
    RETURN v_taken;
END $$;


ALTER FUNCTION meshify.take_each(p_worker uuid, p_jobs uuid[]) OWNER TO postgres;

--
-- Name: take_over(uuid, uuid[]); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.take_over(p_worker uuid, p_jobs uuid[]) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '200ms'
    AS $$
DECLARE
    v_taken int;
BEGIN
    WITH picked AS (
        SELECT j.id, w.heartbeat_at
        FROM meshify.jobs j LEFT JOIN meshify.workers w ON w.id = j.worker_id
        WHERE j.id = ANY (p_jobs) AND j.status = 'running'
    ), back AS (
        UPDATE meshify.jobs j
        SET status = 'pending', worker_id = NULL, run_after = now(), attempts = greatest(j.attempts, 1) - 1,
            crashes = least(j.crashes, 2147483646) + 1,
            worked = meshify.add_worked(j.worked, CASE WHEN isfinite(j.claimed_at) THEN
                meshify.seconds_between(j.claimed_at, least(coalesce(p.heartbeat_at, now()), now())) END)
        FROM picked p WHERE j.id = p.id
        RETURNING j.id, j.asset_id
    ), assets AS (
        -- Others lock the asset before the job: one that is locked is not waited for.
        UPDATE public.mesh_assets a SET status = 'pending'
        WHERE a.status = 'running' AND a.id IN (SELECT x.id FROM back b JOIN public.mesh_assets x ON x.id = b.asset_id
                                                FOR UPDATE OF x SKIP LOCKED)
    ), noted AS (
        INSERT INTO meshify.events (job_id, event, detail)
        SELECT b.id, 'taken_over', jsonb_build_object('by', p_worker) FROM back b
        RETURNING 1
    ), stored AS ( -- they have their mesh, and wait for their closing alone
        UPDATE meshify.closings c SET due = now() WHERE c.due IS NULL AND c.job_id IN (SELECT b.id FROM back b)
    )
    SELECT count(*) INTO v_taken FROM noted;
    RETURN v_taken;
END $$;


ALTER FUNCTION meshify.take_over(p_worker uuid, p_jobs uuid[]) OWNER TO postgres;

--
-- Name: tell_again(uuid, jsonb); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.tell_again(p_worker uuid, p_purchases jsonb) RETURNS TABLE(job_id uuid, prediction_id text, answer text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_of jsonb;
BEGIN
    FOR v_of IN SELECT e.value FROM jsonb_array_elements(p_purchases) e
                WHERE NOT EXISTS (SELECT FROM meshify.predictions p
                                  WHERE p.id = (e.value ->> 'key')::uuid
                                    AND (NOT e.value ? 'prediction' OR p.prediction_id = e.value ->> 'prediction')
                                    AND (NOT e.value ? 'output' OR p.finished_at IS NOT NULL))
                ORDER BY e.value ->> 'job' LOOP
        IF v_of ? 'output' THEN
            PERFORM meshify.settle_purchase(v_of, v_of ->> 'prediction', 'succeeded', nullif(v_of -> 'output', 'null'), v_of -> 'metrics', NULL, true);
            CONTINUE;
        END IF;
        job_id := v_of ->> 'job';
        prediction_id := v_of ->> 'prediction';
        answer := CASE WHEN prediction_id IS NULL THEN meshify.intend_again(p_worker, v_of)
                       ELSE meshify.record_purchase(p_worker, v_of, prediction_id, 'starting', true) END;
        IF answer IN ('surplus', 'busy') THEN
            RETURN NEXT;
        END IF;
    END LOOP;
END $$;


ALTER FUNCTION meshify.tell_again(p_worker uuid, p_purchases jsonb) OWNER TO postgres;

--
-- Name: to_orphans(uuid, text, timestamp with time zone); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.to_orphans(p_job uuid, p_name text, p_since timestamp with time zone) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    INSERT INTO meshify.orphans (name, place, job_id, upload_id, since, grace)
    SELECT p.object_name, p.object_place, p.job_id, p.upload_id, p_since, coalesce(p.object_grace, '1 day')
    FROM meshify.predictions p WHERE p.object_name = p_name AND p.job_id = p_job
    ON CONFLICT DO NOTHING;
    UPDATE meshify.predictions p SET object_state = 'orphan' WHERE p.object_name = p_name AND p.job_id = p_job;
    DELETE FROM meshify.closings c WHERE c.job_id = p_job AND c.how = 'done' AND c.args ->> 'path' = p_name;
    PERFORM meshify.note(p_job, 'orphan', jsonb_build_object('name', p_name));
END $$;


ALTER FUNCTION meshify.to_orphans(p_job uuid, p_name text, p_since timestamp with time zone) OWNER TO postgres;

--
-- Name: tries(); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.tries() RETURNS integer
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$ SELECT coalesce(nullif(current_setting('meshify.tries', true), ''), '0')::int $$;


ALTER FUNCTION meshify.tries() OWNER TO postgres;

--
-- Name: trouble(text, text, interval); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.trouble(p_what text, p_error text, p_for interval) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_new boolean;
BEGIN
    IF NOT pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtext('meshify.troubles'), pg_catalog.hashtext(p_what)) THEN
        RETURN false;
    END IF;
    v_new := NOT EXISTS (SELECT FROM meshify.troubles t
                         WHERE t.what = p_what AND t.error = left(p_error, 500) AND t.said > now() - interval '1 hour');
    IF v_new OR p_for > interval '0' THEN
        INSERT INTO meshify.troubles AS t (what, until, error) VALUES (p_what, now() + p_for, left(p_error, 500))
        ON CONFLICT (what) DO UPDATE SET until = excluded.until, error = excluded.error,
                                         said = CASE WHEN v_new THEN now() ELSE t.said END;
    END IF;
    RETURN v_new;
END $$;


ALTER FUNCTION meshify.trouble(p_what text, p_error text, p_for interval) OWNER TO postgres;

--
-- Name: unclaimable_now(); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.unclaimable_now() RETURNS uuid[]
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$ BEGIN RETURN ARRAY(SELECT u.job_id FROM meshify.unclaimable u WHERE u.until > now()
                      UNION SELECT c.job_id FROM meshify.closings c WHERE c.due IS NOT NULL); END $$;


ALTER FUNCTION meshify.unclaimable_now() OWNER TO postgres;

--
-- Name: unfit_columns(integer); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.unfit_columns(p_path integer) RETURNS TABLE(col text, why text, mend text, grave boolean)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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


ALTER FUNCTION meshify.unfit_columns(p_path integer) OWNER TO postgres;

--
-- Name: unless_blank(text); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.unless_blank(p_text text) RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
    SELECT CASE WHEN p_text COLLATE "C" !~ ('^[\u0001-\u0020\u007f-\u00a0\u00ad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f'
        '\u2000-\u200f\u2028-\u202f\u205f-\u206f\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]*$')
        THEN btrim(p_text, E' \t\r\n\f\v') END
$_$;


ALTER FUNCTION meshify.unless_blank(p_text text) OWNER TO postgres;

--
-- Name: unregister(uuid); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.unregister(p_worker uuid) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    DELETE FROM meshify.workers w WHERE w.id = p_worker;
    RETURN CASE WHEN FOUND THEN 'ok' ELSE 'lost' END;
END $$;


ALTER FUNCTION meshify.unregister(p_worker uuid) OWNER TO postgres;

--
-- Name: unstoring(uuid, uuid, text); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.unstoring(p_worker uuid, p_job uuid, p_name text) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '200ms'
    AS $$
DECLARE
    p meshify.predictions;
    j record;
BEGIN
    SELECT x.status::text AS status, x.worker_id INTO j FROM meshify.jobs x WHERE x.id = p_job FOR UPDATE SKIP LOCKED;
    IF NOT FOUND AND EXISTS (SELECT FROM meshify.jobs x WHERE x.id = p_job) THEN
        RETURN 'busy';
    END IF;
    SELECT * INTO p FROM meshify.predictions x WHERE x.job_id = p_job AND x.object_name = p_name FOR UPDATE;
    IF NOT FOUND OR p.object_worker IS DISTINCT FROM p_worker
       OR (j.status IN ('pending', 'running') AND j.worker_id IS DISTINCT FROM p_worker) THEN
        RETURN 'lost';
    ELSIF p.object_state = 'used' OR meshify.is_named(p_job, p.asset_id, p_name) THEN
        RETURN 'keep';
    END IF;
    PERFORM meshify.to_orphans(p_job, p_name, now());
    RETURN 'ok';
END $$;


ALTER FUNCTION meshify.unstoring(p_worker uuid, p_job uuid, p_name text) OWNER TO postgres;

--
-- Name: usec(interval); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.usec(p interval) RETURNS bigint
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$ SELECT (least(greatest(extract(epoch FROM p), -3155760000), 3155760000) * 1000000)::bigint $$;


ALTER FUNCTION meshify.usec(p interval) OWNER TO postgres;

--
-- Name: waits(uuid, jsonb); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.waits(p_worker uuid, p_waits jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    UPDATE meshify.workers w
    SET waits = (SELECT jsonb_agg(jsonb_build_object(
                     'job', t ->> 'job', 'state', t ->> 'state', 'for', left(t ->> 'for', 300),
                     'since', now() - make_interval(secs => (t ->> 'usec')::float8 / 1000000)))
                 FROM jsonb_array_elements(p_waits) t)
    WHERE w.id = p_worker;
END $$;


ALTER FUNCTION meshify.waits(p_worker uuid, p_waits jsonb) OWNER TO postgres;

--
-- Name: why_barred(uuid); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.why_barred(p_job uuid) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT CASE WHEN meshify.is_made((SELECT j.asset_id FROM meshify.jobs j WHERE j.id = p_job))
           THEN jsonb_build_object('sentence', 'This mesh was made before.', 'reason', 'made_before')
           ELSE jsonb_build_object('sentence', 'The credits for this mesh were given back, so it was not made.', 'reason', 'refunded') END
$$;


ALTER FUNCTION meshify.why_barred(p_job uuid) OWNER TO postgres;

--
-- Name: write_surplus(jsonb, text, text, boolean); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.write_surplus(p_of jsonb, p_prediction text, p_status text, p_ended boolean) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF p_of ->> 'job' IS NULL OR p_of ->> 'step' IS NULL THEN
        RETURN 'lost';
    END IF;
    INSERT INTO meshify.predictions AS p
        (job_id, step, attempt, worker_id, state, give_up_after, prediction_id, status, input_hash, created_at, finished_at)
    VALUES ((p_of ->> 'job')::uuid, p_of ->> 'step', 0, (p_of ->> 'worker')::uuid, 'surplus', now(), p_prediction,
            left(p_status, 50), p_of ->> 'hash', now(), CASE WHEN p_ended THEN now() END)
    ON CONFLICT DO NOTHING;
    IF FOUND THEN
        PERFORM meshify.note((p_of ->> 'job')::uuid, 'surplus', jsonb_build_object('prediction', p_prediction));
    END IF;
    -- Sent again after a lost answer, it is there already.
    RETURN CASE WHEN EXISTS (SELECT FROM meshify.predictions p
                             WHERE p.prediction_id = p_prediction AND p.job_id = (p_of ->> 'job')::uuid AND p.purchase IS NULL)
                THEN 'surplus' ELSE 'taken' END;
END $$;


ALTER FUNCTION meshify.write_surplus(p_of jsonb, p_prediction text, p_status text, p_ended boolean) OWNER TO postgres;

--
-- Name: zoneless(); Type: FUNCTION; Schema: meshify; Owner: postgres
--

CREATE FUNCTION meshify.zoneless() RETURNS TABLE(col text, mend text)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT format('%s.%s', n.relname, a.attname),
           meshify.retype(n.relname, a.attname, format('timestamptz USING %I AT TIME ZONE %L', a.attname, current_setting('TimeZone')))
    FROM pg_catalog.pg_class n JOIN pg_catalog.pg_attribute a ON a.attrelid = n.oid
    WHERE n.oid IN (to_regclass('public.jobs'), to_regclass('public.mesh_assets'), to_regclass('public.notifications'))
      AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid = 'timestamp'::regtype
    ORDER BY n.relname, a.attnum
$$;


ALTER FUNCTION meshify.zoneless() OWNER TO postgres;

--
-- Name: meshify_cancel(uuid); Type: FUNCTION; Schema: public; Owner: postgres
--

CREATE FUNCTION public.meshify_cancel(job_id uuid) RETURNS text
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$ SELECT meshify.cancel($1) $_$;


ALTER FUNCTION public.meshify_cancel(job_id uuid) OWNER TO postgres;

--
-- Name: meshify_enqueue(uuid, uuid, text, text, boolean, uuid); Type: FUNCTION; Schema: public; Owner: postgres
--

CREATE FUNCTION public.meshify_enqueue(user_id uuid, project_id uuid, prompt text, image_url text DEFAULT NULL::text, free boolean DEFAULT false, request_id uuid DEFAULT NULL::uuid, OUT asset_id uuid, OUT job_id uuid) RETURNS record
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$ SELECT e.asset_id, e.job_id FROM meshify.enqueue($1, $2, $3, $4, $5, $6) e $_$;


ALTER FUNCTION public.meshify_enqueue(user_id uuid, project_id uuid, prompt text, image_url text, free boolean, request_id uuid, OUT asset_id uuid, OUT job_id uuid) OWNER TO postgres;

--
-- Name: meshify_prediction_changed(text); Type: FUNCTION; Schema: public; Owner: postgres
--

CREATE FUNCTION public.meshify_prediction_changed(prediction_id text) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$ SELECT meshify.prediction_changed($1) $_$;


ALTER FUNCTION public.meshify_prediction_changed(prediction_id text) OWNER TO postgres;

--
-- Name: touch_updated_at(); Type: FUNCTION; Schema: public; Owner: postgres
--

CREATE FUNCTION public.touch_updated_at() RETURNS trigger
    LANGUAGE plpgsql
    AS $$ BEGIN NEW.updated_at := now(); RETURN NEW; END $$;


ALTER FUNCTION public.touch_updated_at() OWNER TO postgres;

--
-- Name: users; Type: TABLE; Schema: auth; Owner: supabase_admin
--

CREATE TABLE auth.users (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    email text
);


ALTER TABLE auth.users OWNER TO supabase_admin;

--
-- Name: adapted; Type: TABLE; Schema: meshify; Owner: postgres
--

CREATE TABLE meshify.adapted (
    what text NOT NULL,
    undo text NOT NULL
);


ALTER TABLE meshify.adapted OWNER TO postgres;

--
-- Name: barred; Type: TABLE; Schema: meshify; Owner: postgres
--

CREATE TABLE meshify.barred (
    job_id uuid NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL
);


ALTER TABLE meshify.barred OWNER TO postgres;

--
-- Name: charges; Type: TABLE; Schema: meshify; Owner: postgres
--

CREATE TABLE meshify.charges (
    asset_id uuid NOT NULL,
    user_id uuid,
    credits numeric NOT NULL,
    cost numeric,
    inserted_by text,
    at timestamp with time zone DEFAULT now() NOT NULL,
    made_at timestamp with time zone,
    job_id uuid,
    request_id uuid,
    request_hash text
);


ALTER TABLE meshify.charges OWNER TO postgres;

--
-- Name: closings; Type: TABLE; Schema: meshify; Owner: postgres
--

CREATE TABLE meshify.closings (
    job_id uuid NOT NULL,
    how text NOT NULL,
    args jsonb NOT NULL,
    since timestamp with time zone DEFAULT now() NOT NULL,
    due timestamp with time zone,
    tries integer DEFAULT 0 NOT NULL,
    error text,
    CONSTRAINT closings_how_check CHECK ((how = ANY (ARRAY['done'::text, 'error'::text, 'canceled'::text, 'back'::text])))
);


ALTER TABLE meshify.closings OWNER TO postgres;

--
-- Name: events; Type: TABLE; Schema: meshify; Owner: postgres
--

CREATE TABLE meshify.events (
    id bigint NOT NULL,
    job_id uuid NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL,
    event text NOT NULL,
    detail jsonb
);


ALTER TABLE meshify.events OWNER TO postgres;

--
-- Name: events_id_seq; Type: SEQUENCE; Schema: meshify; Owner: postgres
--

ALTER TABLE meshify.events ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME meshify.events_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: jobs; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.jobs (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    user_id uuid,
    project_id uuid,
    asset_id uuid,
    type text NOT NULL,
    status text DEFAULT 'pending'::text NOT NULL,
    input_data jsonb,
    output_data jsonb,
    error text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    completed_at timestamp with time zone,
    attempts integer DEFAULT 0 NOT NULL,
    crashes integer DEFAULT 0 NOT NULL,
    priority integer DEFAULT 0 NOT NULL,
    run_after timestamp with time zone DEFAULT now() NOT NULL,
    progress real,
    worker_id uuid,
    started_at timestamp with time zone,
    claimed_at timestamp with time zone,
    worked interval DEFAULT '00:00:00'::interval NOT NULL,
    cancel_requested_at timestamp with time zone
);


ALTER TABLE public.jobs OWNER TO postgres;

--
-- Name: jobs; Type: VIEW; Schema: meshify; Owner: postgres
--

CREATE VIEW meshify.jobs AS
 SELECT j.id,
    j.user_id,
    j.project_id,
    j.asset_id,
    j.status,
    j.input_data,
    j.output_data,
    j.error,
    j.created_at,
    j.completed_at,
    j.attempts,
    j.crashes,
    j.priority,
    j.run_after,
    j.progress,
    j.worker_id,
    j.started_at,
    j.claimed_at,
    j.worked,
    j.cancel_requested_at,
    j.type
   FROM public.jobs j
  WHERE (j.type = 'meshify'::text);


ALTER TABLE meshify.jobs OWNER TO postgres;

--
-- Name: moved; Type: TABLE; Schema: meshify; Owner: postgres
--

CREATE TABLE meshify.moved (
    job_id uuid NOT NULL,
    asset_id uuid NOT NULL
);


ALTER TABLE meshify.moved OWNER TO postgres;

--
-- Name: orphans; Type: TABLE; Schema: meshify; Owner: postgres
--

CREATE TABLE meshify.orphans (
    name text NOT NULL,
    place text,
    job_id uuid NOT NULL,
    upload_id text,
    since timestamp with time zone NOT NULL,
    grace interval NOT NULL,
    tried_at timestamp with time zone,
    tries integer DEFAULT 0 NOT NULL,
    removed_at timestamp with time zone
);


ALTER TABLE meshify.orphans OWNER TO postgres;

--
-- Name: predictions_id_seq; Type: SEQUENCE; Schema: meshify; Owner: postgres
--

ALTER TABLE meshify.predictions ALTER COLUMN n ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME meshify.predictions_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: refunds; Type: TABLE; Schema: meshify; Owner: postgres
--

CREATE TABLE meshify.refunds (
    job_id uuid NOT NULL,
    n integer NOT NULL,
    user_id uuid,
    credits numeric NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL,
    asset_id uuid
);


ALTER TABLE meshify.refunds OWNER TO postgres;

--
-- Name: retries; Type: TABLE; Schema: meshify; Owner: postgres
--

CREATE TABLE meshify.retries (
    job_id uuid NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL
);


ALTER TABLE meshify.retries OWNER TO postgres;

--
-- Name: schema_version; Type: TABLE; Schema: meshify; Owner: postgres
--

CREATE TABLE meshify.schema_version (
    only_row boolean DEFAULT true NOT NULL,
    version integer NOT NULL,
    compatible_from integer NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT schema_version_only_row_check CHECK (only_row)
);


ALTER TABLE meshify.schema_version OWNER TO postgres;

--
-- Name: settings; Type: TABLE; Schema: meshify; Owner: postgres
--

CREATE TABLE meshify.settings (
    key text NOT NULL,
    value text NOT NULL
);


ALTER TABLE meshify.settings OWNER TO postgres;

--
-- Name: stats; Type: VIEW; Schema: meshify; Owner: postgres
--

CREATE VIEW meshify.stats WITH (security_barrier='true') AS
 SELECT count(*) FILTER (WHERE (j.status = 'pending'::text)) AS pending,
    count(*) FILTER (WHERE (j.status = 'running'::text)) AS running,
    count(*) FILTER (WHERE ((j.status = 'running'::text) AND (j.worker_id IS NULL))) AS running_without_worker,
    meshify.seconds_between(min(j.created_at) FILTER (WHERE ((j.status = 'pending'::text) AND isfinite(j.created_at))), now()) AS oldest_pending_seconds,
    count(*) FILTER (WHERE ((j.status = 'done'::text) AND (j.completed_at > (now() - '01:00:00'::interval)))) AS done_hour,
    count(*) FILTER (WHERE ((j.status = 'error'::text) AND (j.completed_at > (now() - '01:00:00'::interval)))) AS error_hour,
    count(*) FILTER (WHERE ((j.status = 'done'::text) AND (j.completed_at > (now() - '1 day'::interval)))) AS done_day,
    count(*) FILTER (WHERE ((j.status = 'error'::text) AND (j.completed_at > (now() - '1 day'::interval)))) AS error_day,
    percentile_cont((0.5)::double precision) WITHIN GROUP (ORDER BY (meshify.seconds_between(j.started_at, j.completed_at))) FILTER (WHERE ((j.status = 'done'::text) AND (j.completed_at > (now() - '1 day'::interval)) AND isfinite(j.completed_at) AND isfinite(j.started_at))) AS p50_seconds,
    percentile_cont((0.95)::double precision) WITHIN GROUP (ORDER BY (meshify.seconds_between(j.started_at, j.completed_at))) FILTER (WHERE ((j.status = 'done'::text) AND (j.completed_at > (now() - '1 day'::interval)) AND isfinite(j.completed_at) AND isfinite(j.started_at))) AS p95_seconds
   FROM meshify.jobs j;


ALTER TABLE meshify.stats OWNER TO postgres;

--
-- Name: storage_usage; Type: VIEW; Schema: meshify; Owner: postgres
--

CREATE VIEW meshify.storage_usage WITH (security_barrier='true') AS
 SELECT s.owner,
    s.count,
    s.bytes
   FROM meshify.storage_by_owner() s(owner, count, bytes);


ALTER TABLE meshify.storage_usage OWNER TO postgres;

--
-- Name: troubles; Type: TABLE; Schema: meshify; Owner: postgres
--

CREATE TABLE meshify.troubles (
    what text NOT NULL,
    until timestamp with time zone DEFAULT now() NOT NULL,
    said timestamp with time zone DEFAULT now() NOT NULL,
    error text NOT NULL
);


ALTER TABLE meshify.troubles OWNER TO postgres;

--
-- Name: unclaimable; Type: TABLE; Schema: meshify; Owner: postgres
--

CREATE TABLE meshify.unclaimable (
    job_id uuid NOT NULL,
    until timestamp with time zone NOT NULL,
    error text NOT NULL
);


ALTER TABLE meshify.unclaimable OWNER TO postgres;

--
-- Name: workers; Type: TABLE; Schema: meshify; Owner: postgres
--

CREATE TABLE meshify.workers (
    id uuid NOT NULL,
    instance text NOT NULL,
    host text NOT NULL,
    machine_id text DEFAULT ''::text NOT NULL,
    boot_id text DEFAULT ''::text NOT NULL,
    pid_ns text DEFAULT ''::text NOT NULL,
    pid integer NOT NULL,
    version text NOT NULL,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    heartbeat_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    draining boolean DEFAULT false NOT NULL,
    dead boolean DEFAULT false NOT NULL,
    max_jobs integer NOT NULL,
    running integer DEFAULT 0 NOT NULL,
    held jsonb,
    drain_asked_at timestamp with time zone,
    waits jsonb
)
WITH (fillfactor='50');


ALTER TABLE meshify.workers OWNER TO postgres;

--
-- Name: mesh_assets; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.mesh_assets (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    project_id uuid NOT NULL,
    owner_id uuid NOT NULL,
    prompt text,
    input_image_path text,
    output_path text,
    mime text DEFAULT 'model/gltf-binary'::text,
    size bigint,
    status text DEFAULT 'pending'::text NOT NULL,
    credits_cost numeric DEFAULT 0 NOT NULL,
    result_meta jsonb,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT mesh_assets_status_check CHECK ((status = ANY (ARRAY['pending'::text, 'running'::text, 'done'::text, 'error'::text])))
);


ALTER TABLE public.mesh_assets OWNER TO postgres;

--
-- Name: notifications; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.notifications (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    user_id uuid NOT NULL,
    type text NOT NULL,
    title text NOT NULL,
    message text NOT NULL,
    read boolean DEFAULT false NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT notifications_type_check CHECK ((type = ANY (ARRAY['info'::text, 'success'::text, 'error'::text])))
);


ALTER TABLE public.notifications OWNER TO postgres;

--
-- Name: profiles; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.profiles (
    id uuid NOT NULL,
    credits_remaining numeric DEFAULT 0 NOT NULL,
    credits_used numeric DEFAULT 0 NOT NULL
);


ALTER TABLE public.profiles OWNER TO postgres;

--
-- Name: projects; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.projects (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    owner_id uuid NOT NULL,
    name text
);


ALTER TABLE public.projects OWNER TO postgres;

--
-- Name: jobs type; Type: DEFAULT; Schema: meshify; Owner: postgres
--

ALTER TABLE ONLY meshify.jobs ALTER COLUMN type SET DEFAULT 'meshify'::text;


--
-- Data for Name: users; Type: TABLE DATA; Schema: auth; Owner: supabase_admin
--

COPY auth.users (id, email) FROM stdin;
\.


--
-- Data for Name: adapted; Type: TABLE DATA; Schema: meshify; Owner: postgres
--

COPY meshify.adapted (what, undo) FROM stdin;
column public.jobs.attempts	ALTER TABLE public.jobs DROP COLUMN IF EXISTS attempts
column public.jobs.crashes	ALTER TABLE public.jobs DROP COLUMN IF EXISTS crashes
column public.jobs.priority	ALTER TABLE public.jobs DROP COLUMN IF EXISTS priority
column public.jobs.run_after	ALTER TABLE public.jobs DROP COLUMN IF EXISTS run_after
column public.jobs.progress	ALTER TABLE public.jobs DROP COLUMN IF EXISTS progress
column public.jobs.worker_id	ALTER TABLE public.jobs DROP COLUMN IF EXISTS worker_id
column public.jobs.started_at	ALTER TABLE public.jobs DROP COLUMN IF EXISTS started_at
column public.jobs.claimed_at	ALTER TABLE public.jobs DROP COLUMN IF EXISTS claimed_at
column public.jobs.worked	ALTER TABLE public.jobs DROP COLUMN IF EXISTS worked
column public.jobs.cancel_requested_at	ALTER TABLE public.jobs DROP COLUMN IF EXISTS cancel_requested_at
\.


--
-- Data for Name: barred; Type: TABLE DATA; Schema: meshify; Owner: postgres
--

COPY meshify.barred (job_id, at) FROM stdin;
b14d28ca-4573-45a6-a0bf-ad42d63d771a	2026-11-30 08:19:59.326149+00
2894543e-e05f-4a96-95cb-4bf753d86daa	2026-11-30 08:19:59.346737+00
cc255e1d-0f7a-4acd-909b-3abe369113bc	2026-11-30 08:19:59.385047+00
\.


--
-- Data for Name: charges; Type: TABLE DATA; Schema: meshify; Owner: postgres
--

COPY meshify.charges (asset_id, user_id, credits, cost, inserted_by, at, made_at, job_id, request_id, request_hash) FROM stdin;
3376a7b4-2823-4912-aef8-76eb80f310c2	00000000-0000-0000-0000-00000000000a	25	25	meshify.enqueue	2026-11-30 08:19:59.176846+00	\N	3c4f6d8e-18c2-40df-a858-287b7f7815fb	56e8f0e9-4d5e-4916-8e17-f4d42af32df0	40e4cedeb0bd168a47d6fb6647b3e757bf294512c8a5554ddc6051de4acabac3
d2d33fc5-f44d-4abe-8738-2e386d8e398e	00000000-0000-0000-0000-00000000000a	25	25	meshify.enqueue	2026-11-30 08:19:59.176846+00	\N	1bfd28fe-45e4-42af-a620-cad628916bab	4ae4908d-f83a-4060-9bdc-70ebf40c7db2	948ab8088ebdcbc3b7635ee0f50b06294563b87ecfc4043608a134e9c2187179
a9e58706-0bab-43cc-a5ec-495a0d8ead2a	00000000-0000-0000-0000-00000000000a	25	25	meshify.enqueue	2026-11-30 08:19:59.176846+00	\N	204e32a3-afc9-4072-94e5-081c073f6e47	b5d5b1b3-2379-4799-8bf9-f6f792a3b5c3	fed859c33d0b2052b58f49421113195e58e18edba373c2aa420ed1129de31ced
296db58a-8a8a-49fb-b9d3-284610a9da26	00000000-0000-0000-0000-00000000000a	25	25	meshify.enqueue	2026-11-30 08:19:59.176846+00	2026-11-30 08:19:59.326149+00	b14d28ca-4573-45a6-a0bf-ad42d63d771a	099bf3c8-65bb-4586-b572-828628295843	8c8860976ed754db230b9d693ab97a84462d4ffda4e383e6b6a3408e8b12bc8b
b9f59bae-d913-48ca-b49c-5ef50440b040	00000000-0000-0000-0000-00000000000a	25	25	meshify.enqueue	2026-11-30 08:19:59.176846+00	\N	2894543e-e05f-4a96-95cb-4bf753d86daa	92557aad-cbd3-4ef4-b821-e91bfc45caa9	67bdf77401950f1b28c93c131ee730da64958b2333706cbecb24205416d94d7e
4a686acc-bd56-472f-9b21-1d5fc3e0c2f8	00000000-0000-0000-0000-00000000000a	25	25	meshify.enqueue	2026-11-30 08:19:59.176846+00	\N	857c87fc-bcbf-437a-9aff-e18ffcb11339	512c558b-0039-4c3f-85fb-0aba0e4a08e7	aa17f3a72fbb13ef37945b45d7191e6276d808038d02d5bfbdc9e492c8c24516
b446325b-5050-4b9d-a3be-0fbaac460a20	00000000-0000-0000-0000-00000000000a	25	25	meshify.enqueue	2026-11-30 08:19:59.176846+00	\N	cc255e1d-0f7a-4acd-909b-3abe369113bc	7c2d4ce8-b385-4beb-91ea-8bc2cd1bb8c4	47b97ccc0d5def60862a8c4f76eb03a46327271071475ed812899bdcb2f434fb
02fa7b38-fc19-4bb5-9083-425e4766b2a7	00000000-0000-0000-0000-00000000000a	25	25	meshify.enqueue	2026-11-30 08:19:59.393603+00	\N	3b798353-3f89-4302-b375-6f77f78b04cd	\N	\N
5043dd75-c582-465d-9d6c-f12ac2fe9afa	00000000-0000-0000-0000-00000000000a	25	25	meshify.enqueue	2026-11-30 08:19:59.393603+00	\N	5a7d630a-e1a5-4c8a-8c46-03c9418005eb	\N	\N
1b1a8e52-276f-4ee8-80eb-bb1e0c6eb8c1	00000000-0000-0000-0000-00000000000a	0	0	none	2026-11-30 08:19:59.396453+00	\N	\N	\N	\N
\.


--
-- Data for Name: closings; Type: TABLE DATA; Schema: meshify; Owner: postgres
--

COPY meshify.closings (job_id, how, args, since, due, tries, error) FROM stdin;
1bfd28fe-45e4-42af-a620-cad628916bab	done	{"mime": "model/gltf-binary", "path": "u/p/stored.glb", "size": 1234, "output_data": {"storage_path": "u/p/stored.glb"}, "result_meta": {}}	2026-11-30 08:19:59.298858+00	\N	0	\N
204e32a3-afc9-4072-94e5-081c073f6e47	done	{"mime": "model/gltf-binary", "path": "u/p/refused.glb", "size": 1234, "output_data": {"storage_path": "u/p/refused.glb"}, "result_meta": {}}	2026-11-30 08:19:59.298858+00	2026-11-30 08:20:03.276308+00	1	not this one
\.


--
-- Data for Name: events; Type: TABLE DATA; Schema: meshify; Owner: postgres
--

COPY meshify.events (id, job_id, at, event, detail) FROM stdin;
1	b14d28ca-4573-45a6-a0bf-ad42d63d771a	2026-11-30 08:19:59.242507+00	claimed	{"worker": "00000000-0000-0000-0000-000000000001"}
2	3c4f6d8e-18c2-40df-a858-287b7f7815fb	2026-11-30 08:19:59.242507+00	claimed	{"worker": "00000000-0000-0000-0000-000000000001"}
3	857c87fc-bcbf-437a-9aff-e18ffcb11339	2026-11-30 08:19:59.242507+00	claimed	{"worker": "00000000-0000-0000-0000-000000000001"}
4	204e32a3-afc9-4072-94e5-081c073f6e47	2026-11-30 08:19:59.242507+00	claimed	{"worker": "00000000-0000-0000-0000-000000000001"}
5	cc255e1d-0f7a-4acd-909b-3abe369113bc	2026-11-30 08:19:59.242507+00	claimed	{"worker": "00000000-0000-0000-0000-000000000001"}
6	2894543e-e05f-4a96-95cb-4bf753d86daa	2026-11-30 08:19:59.242507+00	claimed	{"worker": "00000000-0000-0000-0000-000000000001"}
7	1bfd28fe-45e4-42af-a620-cad628916bab	2026-11-30 08:19:59.242507+00	claimed	{"worker": "00000000-0000-0000-0000-000000000001"}
8	3c4f6d8e-18c2-40df-a858-287b7f7815fb	2026-11-30 08:19:59.279825+00	intended	{"step": "sculpt", "model": "firtoz/trellis", "purchase": 1}
9	3c4f6d8e-18c2-40df-a858-287b7f7815fb	2026-11-30 08:19:59.279825+00	bought	{"step": "sculpt", "purchase": 1, "prediction": "prediction-running"}
10	1bfd28fe-45e4-42af-a620-cad628916bab	2026-11-30 08:19:59.279825+00	intended	{"step": "sculpt", "model": "firtoz/trellis", "purchase": 1}
11	1bfd28fe-45e4-42af-a620-cad628916bab	2026-11-30 08:19:59.279825+00	bought	{"step": "sculpt", "purchase": 1, "prediction": "prediction-stored"}
12	204e32a3-afc9-4072-94e5-081c073f6e47	2026-11-30 08:19:59.279825+00	intended	{"step": "sculpt", "model": "firtoz/trellis", "purchase": 1}
13	204e32a3-afc9-4072-94e5-081c073f6e47	2026-11-30 08:19:59.279825+00	bought	{"step": "sculpt", "purchase": 1, "prediction": "prediction-refused"}
14	b14d28ca-4573-45a6-a0bf-ad42d63d771a	2026-11-30 08:19:59.279825+00	intended	{"step": "sculpt", "model": "firtoz/trellis", "purchase": 1}
15	b14d28ca-4573-45a6-a0bf-ad42d63d771a	2026-11-30 08:19:59.279825+00	bought	{"step": "sculpt", "purchase": 1, "prediction": "prediction-done"}
16	cc255e1d-0f7a-4acd-909b-3abe369113bc	2026-11-30 08:19:59.279825+00	intended	{"step": "sculpt", "model": "firtoz/trellis", "purchase": 1}
17	cc255e1d-0f7a-4acd-909b-3abe369113bc	2026-11-30 08:19:59.279825+00	bought	{"step": "sculpt", "purchase": 1, "prediction": "prediction-deleted"}
18	1bfd28fe-45e4-42af-a620-cad628916bab	2026-11-30 08:19:59.298858+00	settled	{"step": "sculpt", "status": "succeeded", "prediction": "prediction-stored"}
19	204e32a3-afc9-4072-94e5-081c073f6e47	2026-11-30 08:19:59.298858+00	settled	{"step": "sculpt", "status": "succeeded", "prediction": "prediction-refused"}
20	b14d28ca-4573-45a6-a0bf-ad42d63d771a	2026-11-30 08:19:59.298858+00	settled	{"step": "sculpt", "status": "succeeded", "prediction": "prediction-done"}
21	cc255e1d-0f7a-4acd-909b-3abe369113bc	2026-11-30 08:19:59.298858+00	settled	{"step": "sculpt", "status": "succeeded", "prediction": "prediction-deleted"}
22	b14d28ca-4573-45a6-a0bf-ad42d63d771a	2026-11-30 08:19:59.326149+00	done	{"path": "u/p/done.glb", "size": 1234}
23	2894543e-e05f-4a96-95cb-4bf753d86daa	2026-11-30 08:19:59.346737+00	error	{"reason": "failed", "refund": 25}
24	857c87fc-bcbf-437a-9aff-e18ffcb11339	2026-11-30 08:19:59.346737+00	error	{"reason": "failed", "refund": 25}
25	857c87fc-bcbf-437a-9aff-e18ffcb11339	2026-11-30 08:19:59.377984+00	retried	{"credits": 25}
26	cc255e1d-0f7a-4acd-909b-3abe369113bc	2026-11-30 08:19:59.382708+00	orphan	{"name": "u/p/deleted.glb"}
27	cc255e1d-0f7a-4acd-909b-3abe369113bc	2026-11-30 08:19:59.385047+00	canceled	{"reason": "job deleted", "refund": 25}
28	204e32a3-afc9-4072-94e5-081c073f6e47	2026-11-30 08:19:59.387341+00	unended	{"as": "done", "error": "not this one"}
\.


--
-- Data for Name: moved; Type: TABLE DATA; Schema: meshify; Owner: postgres
--

COPY meshify.moved (job_id, asset_id) FROM stdin;
5a7d630a-e1a5-4c8a-8c46-03c9418005eb	5043dd75-c582-465d-9d6c-f12ac2fe9afa
\.


--
-- Data for Name: orphans; Type: TABLE DATA; Schema: meshify; Owner: postgres
--

COPY meshify.orphans (name, place, job_id, upload_id, since, grace, tried_at, tries, removed_at) FROM stdin;
u/p/deleted.glb	supabase https://old.example uploads	cc255e1d-0f7a-4acd-909b-3abe369113bc	\N	2026-11-30 08:19:59.382708+00	00:01:00	\N	0	\N
\.


--
-- Data for Name: predictions; Type: TABLE DATA; Schema: meshify; Owner: postgres
--

COPY meshify.predictions (n, job_id, step, purchase, attempt, worker_id, state, intent_at, give_up_after, prediction_id, status, model, input_hash, input_keys, output, created_at, finished_at, metrics, error, asset_id, pipeline, output_pointer, object_name, object_size, object_sha256, upload_id, last_step, id, audited_at, object_worker, object_place, object_grace, object_state) FROM stdin;
1	3c4f6d8e-18c2-40df-a858-287b7f7815fb	sculpt	1	1	00000000-0000-0000-0000-000000000001	bought	2026-11-30 08:19:59.279825+00	2026-11-30 08:20:44.279825+00	prediction-running	starting	firtoz/trellis	hash of running	["images"]	\N	2026-11-30 08:19:59.279825+00	\N	\N	\N	3376a7b4-2823-4912-aef8-76eb80f310c2	image	/model_file	\N	\N	\N	\N	t	7d8fdfc3-977b-4ff3-b33c-33391c788f63	\N	\N	\N	\N	\N
4	b14d28ca-4573-45a6-a0bf-ad42d63d771a	sculpt	1	1	00000000-0000-0000-0000-000000000001	bought	2026-11-30 08:19:59.279825+00	2026-11-30 08:20:44.279825+00	prediction-done	succeeded	firtoz/trellis	hash of done	["images"]	{"model_file": "https://files.example/x.glb"}	2026-11-30 08:19:59.279825+00	2026-11-30 08:19:59.298858+00	{"predict_time": 2}	\N	296db58a-8a8a-49fb-b9d3-284610a9da26	image	/model_file	u/p/done.glb	1234	\N	\N	t	2dce1bff-d3f8-4ad2-867a-80dabbb2f024	\N	00000000-0000-0000-0000-000000000001	supabase https://old.example uploads	00:01:00	used
2	1bfd28fe-45e4-42af-a620-cad628916bab	sculpt	1	1	00000000-0000-0000-0000-000000000001	bought	2026-11-30 08:19:59.279825+00	2026-11-30 08:20:44.279825+00	prediction-stored	succeeded	firtoz/trellis	hash of stored	["images"]	{"model_file": "https://files.example/x.glb"}	2026-11-30 08:19:59.279825+00	2026-11-30 08:19:59.298858+00	{"predict_time": 2}	\N	d2d33fc5-f44d-4abe-8738-2e386d8e398e	image	/model_file	u/p/stored.glb	1234	\N	\N	t	a91fb9a7-227b-4c13-a0f4-d0b1987758ca	\N	00000000-0000-0000-0000-000000000001	supabase https://old.example uploads	00:01:00	\N
5	cc255e1d-0f7a-4acd-909b-3abe369113bc	sculpt	1	1	00000000-0000-0000-0000-000000000001	bought	2026-11-30 08:19:59.279825+00	2026-11-30 08:20:44.279825+00	prediction-deleted	succeeded	firtoz/trellis	hash of deleted	["images"]	{"model_file": "https://files.example/x.glb"}	2026-11-30 08:19:59.279825+00	2026-11-30 08:19:59.298858+00	{"predict_time": 2}	\N	b446325b-5050-4b9d-a3be-0fbaac460a20	image	/model_file	u/p/deleted.glb	1234	\N	\N	t	d991fa43-6fa7-4155-8424-9f5d438748e0	\N	00000000-0000-0000-0000-000000000001	supabase https://old.example uploads	00:01:00	orphan
3	204e32a3-afc9-4072-94e5-081c073f6e47	sculpt	1	1	00000000-0000-0000-0000-000000000001	bought	2026-11-30 08:19:59.279825+00	2026-11-30 08:20:44.279825+00	prediction-refused	succeeded	firtoz/trellis	hash of refused	["images"]	{"model_file": "https://files.example/x.glb"}	2026-11-30 08:19:59.279825+00	2026-11-30 08:19:59.298858+00	{"predict_time": 2}	\N	a9e58706-0bab-43cc-a5ec-495a0d8ead2a	image	/model_file	u/p/refused.glb	1234	\N	\N	t	80f8b731-f304-40fc-840b-03e9f99e017b	\N	00000000-0000-0000-0000-000000000001	supabase https://old.example uploads	00:01:00	\N
\.


--
-- Data for Name: refunds; Type: TABLE DATA; Schema: meshify; Owner: postgres
--

COPY meshify.refunds (job_id, n, user_id, credits, at, asset_id) FROM stdin;
2894543e-e05f-4a96-95cb-4bf753d86daa	1	00000000-0000-0000-0000-00000000000a	25	2026-11-30 08:19:59.346737+00	b9f59bae-d913-48ca-b49c-5ef50440b040
857c87fc-bcbf-437a-9aff-e18ffcb11339	1	00000000-0000-0000-0000-00000000000a	25	2026-11-30 08:19:59.346737+00	4a686acc-bd56-472f-9b21-1d5fc3e0c2f8
857c87fc-bcbf-437a-9aff-e18ffcb11339	2	00000000-0000-0000-0000-00000000000a	-25	2026-11-30 08:19:59.377984+00	4a686acc-bd56-472f-9b21-1d5fc3e0c2f8
cc255e1d-0f7a-4acd-909b-3abe369113bc	1	00000000-0000-0000-0000-00000000000a	25	2026-11-30 08:19:59.385047+00	b446325b-5050-4b9d-a3be-0fbaac460a20
\.


--
-- Data for Name: retries; Type: TABLE DATA; Schema: meshify; Owner: postgres
--

COPY meshify.retries (job_id, at) FROM stdin;
857c87fc-bcbf-437a-9aff-e18ffcb11339	2026-11-30 08:19:59.377984+00
\.


--
-- Data for Name: schema_version; Type: TABLE DATA; Schema: meshify; Owner: postgres
--

COPY meshify.schema_version (only_row, version, compatible_from, applied_at) FROM stdin;
t	31	1	2026-11-30 08:18:13.060106+00
\.


--
-- Data for Name: settings; Type: TABLE DATA; Schema: meshify; Owner: postgres
--

COPY meshify.settings (key, value) FROM stdin;
refund	on
price	25
max_prompt	32768
paused	off
refund_max	99
max_pending_jobs	0
\.


--
-- Data for Name: troubles; Type: TABLE DATA; Schema: meshify; Owner: postgres
--

COPY meshify.troubles (what, until, said, error) FROM stdin;
claims	2026-11-30 08:19:59.40672+00	2026-11-30 08:19:59.40672+00	a trigger
\.


--
-- Data for Name: unclaimable; Type: TABLE DATA; Schema: meshify; Owner: postgres
--

COPY meshify.unclaimable (job_id, until, error) FROM stdin;
3b798353-3f89-4302-b375-6f77f78b04cd	2026-11-30 08:19:59.406494+00	a trigger
\.


--
-- Data for Name: workers; Type: TABLE DATA; Schema: meshify; Owner: postgres
--

COPY meshify.workers (id, instance, host, machine_id, boot_id, pid_ns, pid, version, started_at, heartbeat_at, expires_at, draining, dead, max_jobs, running, held, drain_asked_at, waits) FROM stdin;
00000000-0000-0000-0000-000000000001	old	host	machine	boot	ns	1	0	2026-11-30 08:19:59.142784+00	2026-11-30 08:19:59.142784+00	2026-11-30 08:20:00.142784+00	f	f	20	0	[{"lane": "create", "until": "2026-11-30T08:20:00.40725+00:00", "detail": "x", "reason": "payment"}]	\N	\N
\.


--
-- Data for Name: jobs; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public.jobs (id, user_id, project_id, asset_id, type, status, input_data, output_data, error, created_at, updated_at, completed_at, attempts, crashes, priority, run_after, progress, worker_id, started_at, claimed_at, worked, cancel_requested_at) FROM stdin;
3c4f6d8e-18c2-40df-a858-287b7f7815fb	00000000-0000-0000-0000-00000000000a	00000000-0000-0000-0000-0000000000aa	3376a7b4-2823-4912-aef8-76eb80f310c2	meshify	running	{"prompt": "running", "input_image_url": "https://images.example/x.png"}	\N	\N	2026-11-30 08:19:59.176846+00	2026-11-30 08:19:59.176846+00	\N	1	0	0	2026-11-30 08:19:59.176846+00	\N	00000000-0000-0000-0000-000000000001	2026-11-30 08:19:59.242507+00	2026-11-30 08:19:59.242507+00	00:00:00	\N
1bfd28fe-45e4-42af-a620-cad628916bab	00000000-0000-0000-0000-00000000000a	00000000-0000-0000-0000-0000000000aa	d2d33fc5-f44d-4abe-8738-2e386d8e398e	meshify	running	{"prompt": "stored", "input_image_url": "https://images.example/x.png"}	\N	\N	2026-11-30 08:19:59.176846+00	2026-11-30 08:19:59.176846+00	\N	1	0	0	2026-11-30 08:19:59.176846+00	\N	00000000-0000-0000-0000-000000000001	2026-11-30 08:19:59.242507+00	2026-11-30 08:19:59.242507+00	00:00:00	\N
b14d28ca-4573-45a6-a0bf-ad42d63d771a	00000000-0000-0000-0000-00000000000a	00000000-0000-0000-0000-0000000000aa	296db58a-8a8a-49fb-b9d3-284610a9da26	meshify	done	{"prompt": "done", "input_image_url": "https://images.example/x.png"}	{"storage_path": "u/p/done.glb"}	\N	2026-11-30 08:19:59.176846+00	2026-11-30 08:19:59.176846+00	2026-11-30 08:19:59.326149+00	1	0	0	2026-11-30 08:19:59.176846+00	1	00000000-0000-0000-0000-000000000001	2026-11-30 08:19:59.242507+00	2026-11-30 08:19:59.242507+00	00:00:00	\N
2894543e-e05f-4a96-95cb-4bf753d86daa	00000000-0000-0000-0000-00000000000a	00000000-0000-0000-0000-0000000000aa	b9f59bae-d913-48ca-b49c-5ef50440b040	meshify	error	{"prompt": "failed", "input_image_url": "https://images.example/x.png"}	\N	It failed.	2026-11-30 08:19:59.176846+00	2026-11-30 08:19:59.176846+00	2026-11-30 08:19:59.346737+00	1	0	0	2026-11-30 08:19:59.176846+00	\N	00000000-0000-0000-0000-000000000001	2026-11-30 08:19:59.242507+00	2026-11-30 08:19:59.242507+00	00:00:00	\N
857c87fc-bcbf-437a-9aff-e18ffcb11339	00000000-0000-0000-0000-00000000000a	00000000-0000-0000-0000-0000000000aa	4a686acc-bd56-472f-9b21-1d5fc3e0c2f8	meshify	pending	{"prompt": "retried", "input_image_url": "https://images.example/x.png"}	\N	\N	2026-11-30 08:19:59.176846+00	2026-11-30 08:19:59.176846+00	\N	0	0	0	2026-11-30 08:19:59.377984+00	\N	\N	2026-11-30 08:19:59.242507+00	2026-11-30 08:19:59.242507+00	00:00:00	\N
204e32a3-afc9-4072-94e5-081c073f6e47	00000000-0000-0000-0000-00000000000a	00000000-0000-0000-0000-0000000000aa	a9e58706-0bab-43cc-a5ec-495a0d8ead2a	meshify	pending	{"prompt": "refused", "input_image_url": "https://images.example/x.png"}	\N	\N	2026-11-30 08:19:59.176846+00	2026-11-30 08:19:59.176846+00	\N	1	0	0	2026-11-30 08:29:59.387341+00	\N	\N	2026-11-30 08:19:59.242507+00	2026-11-30 08:19:59.242507+00	00:00:00	\N
3b798353-3f89-4302-b375-6f77f78b04cd	00000000-0000-0000-0000-00000000000a	00000000-0000-0000-0000-0000000000aa	02fa7b38-fc19-4bb5-9083-425e4766b2a7	meshify	pending	{"prompt": "pending", "input_image_url": "https://images.example/x.png"}	\N	\N	2026-11-30 08:19:59.393603+00	2026-11-30 08:19:59.393603+00	\N	0	0	0	2026-11-30 08:19:59.393603+00	\N	\N	\N	\N	00:00:00	\N
5a7d630a-e1a5-4c8a-8c46-03c9418005eb	00000000-0000-0000-0000-00000000000a	00000000-0000-0000-0000-0000000000aa	1b1a8e52-276f-4ee8-80eb-bb1e0c6eb8c1	meshify	pending	{"prompt": "moved", "input_image_url": "https://images.example/x.png"}	\N	\N	2026-11-30 08:19:59.393603+00	2026-11-30 08:19:59.393603+00	\N	0	0	0	2026-11-30 08:19:59.393603+00	\N	\N	\N	\N	00:00:00	\N
\.


--
-- Data for Name: mesh_assets; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public.mesh_assets (id, project_id, owner_id, prompt, input_image_path, output_path, mime, size, status, credits_cost, result_meta, created_at, updated_at) FROM stdin;
3376a7b4-2823-4912-aef8-76eb80f310c2	00000000-0000-0000-0000-0000000000aa	00000000-0000-0000-0000-00000000000a	running	https://images.example/x.png	\N	model/gltf-binary	\N	running	25	\N	2026-11-30 08:19:59.176846+00	2026-11-30 08:19:59.242507+00
d2d33fc5-f44d-4abe-8738-2e386d8e398e	00000000-0000-0000-0000-0000000000aa	00000000-0000-0000-0000-00000000000a	stored	https://images.example/x.png	\N	model/gltf-binary	\N	running	25	\N	2026-11-30 08:19:59.176846+00	2026-11-30 08:19:59.242507+00
a9e58706-0bab-43cc-a5ec-495a0d8ead2a	00000000-0000-0000-0000-0000000000aa	00000000-0000-0000-0000-00000000000a	refused	https://images.example/x.png	\N	model/gltf-binary	\N	running	25	\N	2026-11-30 08:19:59.176846+00	2026-11-30 08:19:59.242507+00
296db58a-8a8a-49fb-b9d3-284610a9da26	00000000-0000-0000-0000-0000000000aa	00000000-0000-0000-0000-00000000000a	done	https://images.example/x.png	u/p/done.glb	model/gltf-binary	1234	done	25	{}	2026-11-30 08:19:59.176846+00	2026-11-30 08:19:59.326149+00
b9f59bae-d913-48ca-b49c-5ef50440b040	00000000-0000-0000-0000-0000000000aa	00000000-0000-0000-0000-00000000000a	failed	https://images.example/x.png	\N	model/gltf-binary	\N	error	25	\N	2026-11-30 08:19:59.176846+00	2026-11-30 08:19:59.346737+00
4a686acc-bd56-472f-9b21-1d5fc3e0c2f8	00000000-0000-0000-0000-0000000000aa	00000000-0000-0000-0000-00000000000a	retried	https://images.example/x.png	\N	model/gltf-binary	\N	pending	25	\N	2026-11-30 08:19:59.176846+00	2026-11-30 08:19:59.377984+00
b446325b-5050-4b9d-a3be-0fbaac460a20	00000000-0000-0000-0000-0000000000aa	00000000-0000-0000-0000-00000000000a	deleted	https://images.example/x.png	\N	model/gltf-binary	\N	error	25	\N	2026-11-30 08:19:59.176846+00	2026-11-30 08:19:59.385047+00
02fa7b38-fc19-4bb5-9083-425e4766b2a7	00000000-0000-0000-0000-0000000000aa	00000000-0000-0000-0000-00000000000a	pending	https://images.example/x.png	\N	model/gltf-binary	\N	pending	25	\N	2026-11-30 08:19:59.393603+00	2026-11-30 08:19:59.393603+00
5043dd75-c582-465d-9d6c-f12ac2fe9afa	00000000-0000-0000-0000-0000000000aa	00000000-0000-0000-0000-00000000000a	moved	https://images.example/x.png	\N	model/gltf-binary	\N	pending	25	\N	2026-11-30 08:19:59.393603+00	2026-11-30 08:19:59.393603+00
1b1a8e52-276f-4ee8-80eb-bb1e0c6eb8c1	00000000-0000-0000-0000-0000000000aa	00000000-0000-0000-0000-00000000000a	another	\N	\N	model/gltf-binary	\N	pending	0	\N	2026-11-30 08:19:59.396453+00	2026-11-30 08:19:59.396453+00
\.


--
-- Data for Name: notifications; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public.notifications (id, user_id, type, title, message, read, created_at) FROM stdin;
a54d4186-8394-4c78-a2e3-d73e6452cac0	00000000-0000-0000-0000-00000000000a	info	Mesh Generation Started	Your 3D mesh "running" is being generated.	f	2026-11-30 08:19:59.176846+00
5e84a0be-55e4-4b9b-b8bb-7fa12d8d7ec7	00000000-0000-0000-0000-00000000000a	info	Mesh Generation Started	Your 3D mesh "stored" is being generated.	f	2026-11-30 08:19:59.176846+00
0a56f811-d6ce-4510-a94a-72534e055fac	00000000-0000-0000-0000-00000000000a	info	Mesh Generation Started	Your 3D mesh "refused" is being generated.	f	2026-11-30 08:19:59.176846+00
52750d76-ef47-4469-9a9e-d545e5863579	00000000-0000-0000-0000-00000000000a	info	Mesh Generation Started	Your 3D mesh "done" is being generated.	f	2026-11-30 08:19:59.176846+00
f202cfe4-a15d-4d4e-a3f1-e345f36ff0f3	00000000-0000-0000-0000-00000000000a	info	Mesh Generation Started	Your 3D mesh "failed" is being generated.	f	2026-11-30 08:19:59.176846+00
54793fe8-28af-458d-ac42-b809844415ac	00000000-0000-0000-0000-00000000000a	info	Mesh Generation Started	Your 3D mesh "retried" is being generated.	f	2026-11-30 08:19:59.176846+00
821646ba-27ea-4ac1-a196-f052e09954d6	00000000-0000-0000-0000-00000000000a	info	Mesh Generation Started	Your 3D mesh "deleted" is being generated.	f	2026-11-30 08:19:59.176846+00
cbcde1b5-88ee-4713-b1d0-549c9a396a4a	00000000-0000-0000-0000-00000000000a	success	Mesh Generation Complete	Your 3D mesh "done" has been generated successfully and is ready for download.	f	2026-11-30 08:19:59.326149+00
faf8ff5e-4671-4492-bad7-73ffb1bc4ee5	00000000-0000-0000-0000-00000000000a	error	Mesh Generation Failed	Failed to generate 3D mesh: It failed.	f	2026-11-30 08:19:59.346737+00
c5cc6fce-f043-446d-829e-bbd0532cbab8	00000000-0000-0000-0000-00000000000a	error	Mesh Generation Failed	Failed to generate 3D mesh: It failed.	f	2026-11-30 08:19:59.346737+00
c4319684-26ae-443d-8c15-790bf9c18dd6	00000000-0000-0000-0000-00000000000a	info	Mesh Generation Canceled	Your 3D mesh generation was canceled.	f	2026-11-30 08:19:59.385047+00
de691bad-ec5e-4392-ae0f-6b264126f007	00000000-0000-0000-0000-00000000000a	info	Mesh Generation Started	Your 3D mesh "pending" is being generated.	f	2026-11-30 08:19:59.393603+00
c2f30bbf-6fc8-4ca5-b56c-fd15f51e08ea	00000000-0000-0000-0000-00000000000a	info	Mesh Generation Started	Your 3D mesh "moved" is being generated.	f	2026-11-30 08:19:59.393603+00
\.


--
-- Data for Name: profiles; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public.profiles (id, credits_remaining, credits_used) FROM stdin;
00000000-0000-0000-0000-00000000000a	825	175
\.


--
-- Data for Name: projects; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public.projects (id, owner_id, name) FROM stdin;
00000000-0000-0000-0000-0000000000aa	00000000-0000-0000-0000-00000000000a	released
\.


--
-- Name: events_id_seq; Type: SEQUENCE SET; Schema: meshify; Owner: postgres
--

SELECT pg_catalog.setval('meshify.events_id_seq', 28, true);


--
-- Name: predictions_id_seq; Type: SEQUENCE SET; Schema: meshify; Owner: postgres
--

SELECT pg_catalog.setval('meshify.predictions_id_seq', 5, true);


--
-- Name: users users_pkey; Type: CONSTRAINT; Schema: auth; Owner: supabase_admin
--

ALTER TABLE ONLY auth.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (id);


--
-- Name: adapted adapted_pkey; Type: CONSTRAINT; Schema: meshify; Owner: postgres
--

ALTER TABLE ONLY meshify.adapted
    ADD CONSTRAINT adapted_pkey PRIMARY KEY (what);


--
-- Name: barred barred_pkey; Type: CONSTRAINT; Schema: meshify; Owner: postgres
--

ALTER TABLE ONLY meshify.barred
    ADD CONSTRAINT barred_pkey PRIMARY KEY (job_id);


--
-- Name: charges charges_pkey; Type: CONSTRAINT; Schema: meshify; Owner: postgres
--

ALTER TABLE ONLY meshify.charges
    ADD CONSTRAINT charges_pkey PRIMARY KEY (asset_id);


--
-- Name: closings closings_pkey; Type: CONSTRAINT; Schema: meshify; Owner: postgres
--

ALTER TABLE ONLY meshify.closings
    ADD CONSTRAINT closings_pkey PRIMARY KEY (job_id);


--
-- Name: events events_pkey; Type: CONSTRAINT; Schema: meshify; Owner: postgres
--

ALTER TABLE ONLY meshify.events
    ADD CONSTRAINT events_pkey PRIMARY KEY (id);


--
-- Name: moved moved_pkey; Type: CONSTRAINT; Schema: meshify; Owner: postgres
--

ALTER TABLE ONLY meshify.moved
    ADD CONSTRAINT moved_pkey PRIMARY KEY (job_id, asset_id);


--
-- Name: orphans orphans_pkey; Type: CONSTRAINT; Schema: meshify; Owner: postgres
--

ALTER TABLE ONLY meshify.orphans
    ADD CONSTRAINT orphans_pkey PRIMARY KEY (name);


--
-- Name: predictions predictions_job_id_step_purchase_key; Type: CONSTRAINT; Schema: meshify; Owner: postgres
--

ALTER TABLE ONLY meshify.predictions
    ADD CONSTRAINT predictions_job_id_step_purchase_key UNIQUE (job_id, step, purchase);


--
-- Name: predictions predictions_n_key; Type: CONSTRAINT; Schema: meshify; Owner: postgres
--

ALTER TABLE ONLY meshify.predictions
    ADD CONSTRAINT predictions_n_key UNIQUE (n);


--
-- Name: predictions predictions_pkey; Type: CONSTRAINT; Schema: meshify; Owner: postgres
--

ALTER TABLE ONLY meshify.predictions
    ADD CONSTRAINT predictions_pkey PRIMARY KEY (id);


--
-- Name: predictions predictions_prediction_id_key; Type: CONSTRAINT; Schema: meshify; Owner: postgres
--

ALTER TABLE ONLY meshify.predictions
    ADD CONSTRAINT predictions_prediction_id_key UNIQUE (prediction_id);


--
-- Name: refunds refunds_pkey; Type: CONSTRAINT; Schema: meshify; Owner: postgres
--

ALTER TABLE ONLY meshify.refunds
    ADD CONSTRAINT refunds_pkey PRIMARY KEY (job_id, n);


--
-- Name: retries retries_pkey; Type: CONSTRAINT; Schema: meshify; Owner: postgres
--

ALTER TABLE ONLY meshify.retries
    ADD CONSTRAINT retries_pkey PRIMARY KEY (job_id);


--
-- Name: schema_version schema_version_pkey; Type: CONSTRAINT; Schema: meshify; Owner: postgres
--

ALTER TABLE ONLY meshify.schema_version
    ADD CONSTRAINT schema_version_pkey PRIMARY KEY (only_row);


--
-- Name: settings settings_pkey; Type: CONSTRAINT; Schema: meshify; Owner: postgres
--

ALTER TABLE ONLY meshify.settings
    ADD CONSTRAINT settings_pkey PRIMARY KEY (key);


--
-- Name: settings settings_value; Type: CHECK CONSTRAINT; Schema: meshify; Owner: postgres
--

ALTER TABLE meshify.settings
    ADD CONSTRAINT settings_value CHECK (
CASE
    WHEN (key = ANY (ARRAY['refund'::text, 'paused'::text])) THEN (value = ANY (ARRAY['on'::text, 'off'::text]))
    WHEN (key = ANY (ARRAY['refund_max'::text, 'price'::text, 'max_pending_jobs'::text])) THEN (value ~ '^[0-9]{1,9}$'::text)
    WHEN (key = 'max_prompt'::text) THEN ((value ~ '^[0-9]{1,6}$'::text) AND ((value)::integer <= 512000))
    ELSE true
END) NOT VALID;


--
-- Name: troubles troubles_pkey; Type: CONSTRAINT; Schema: meshify; Owner: postgres
--

ALTER TABLE ONLY meshify.troubles
    ADD CONSTRAINT troubles_pkey PRIMARY KEY (what);


--
-- Name: unclaimable unclaimable_pkey; Type: CONSTRAINT; Schema: meshify; Owner: postgres
--

ALTER TABLE ONLY meshify.unclaimable
    ADD CONSTRAINT unclaimable_pkey PRIMARY KEY (job_id);


--
-- Name: workers workers_pkey; Type: CONSTRAINT; Schema: meshify; Owner: postgres
--

ALTER TABLE ONLY meshify.workers
    ADD CONSTRAINT workers_pkey PRIMARY KEY (id);


--
-- Name: jobs jobs_pkey; Type: CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT jobs_pkey PRIMARY KEY (id);


--
-- Name: mesh_assets mesh_assets_pkey; Type: CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.mesh_assets
    ADD CONSTRAINT mesh_assets_pkey PRIMARY KEY (id);


--
-- Name: notifications notifications_pkey; Type: CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.notifications
    ADD CONSTRAINT notifications_pkey PRIMARY KEY (id);


--
-- Name: profiles profiles_pkey; Type: CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.profiles
    ADD CONSTRAINT profiles_pkey PRIMARY KEY (id);


--
-- Name: projects projects_pkey; Type: CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.projects
    ADD CONSTRAINT projects_pkey PRIMARY KEY (id);


--
-- Name: charges_request; Type: INDEX; Schema: meshify; Owner: postgres
--

CREATE UNIQUE INDEX charges_request ON meshify.charges USING btree (user_id, request_id) WHERE (request_id IS NOT NULL);


--
-- Name: closings_due; Type: INDEX; Schema: meshify; Owner: postgres
--

CREATE INDEX closings_due ON meshify.closings USING btree (due) WHERE (due IS NOT NULL);


--
-- Name: events_at; Type: INDEX; Schema: meshify; Owner: postgres
--

CREATE INDEX events_at ON meshify.events USING btree (at);


--
-- Name: events_job; Type: INDEX; Schema: meshify; Owner: postgres
--

CREATE INDEX events_job ON meshify.events USING btree (job_id, id);


--
-- Name: moved_asset; Type: INDEX; Schema: meshify; Owner: postgres
--

CREATE INDEX moved_asset ON meshify.moved USING btree (asset_id);


--
-- Name: orphans_left; Type: INDEX; Schema: meshify; Owner: postgres
--

CREATE INDEX orphans_left ON meshify.orphans USING btree (tried_at NULLS FIRST) WHERE (removed_at IS NULL);


--
-- Name: predictions_asset; Type: INDEX; Schema: meshify; Owner: postgres
--

CREATE INDEX predictions_asset ON meshify.predictions USING btree (asset_id) WHERE (asset_id IS NOT NULL);


--
-- Name: predictions_named; Type: INDEX; Schema: meshify; Owner: postgres
--

CREATE INDEX predictions_named ON meshify.predictions USING btree (job_id) WHERE ((object_name IS NOT NULL) AND (object_state IS NULL));


--
-- Name: predictions_object; Type: INDEX; Schema: meshify; Owner: postgres
--

CREATE UNIQUE INDEX predictions_object ON meshify.predictions USING btree (object_name) WHERE (object_name IS NOT NULL);


--
-- Name: predictions_open; Type: INDEX; Schema: meshify; Owner: postgres
--

CREATE INDEX predictions_open ON meshify.predictions USING btree (intent_at) WHERE ((state = ANY (ARRAY['intended'::text, 'given_up'::text, 'surplus'::text])) OR (finished_at IS NULL));


--
-- Name: refunds_asset; Type: INDEX; Schema: meshify; Owner: postgres
--

CREATE INDEX refunds_asset ON meshify.refunds USING btree (asset_id);


--
-- Name: refunds_given; Type: INDEX; Schema: meshify; Owner: postgres
--

CREATE INDEX refunds_given ON meshify.refunds USING btree (at) WHERE (credits > (0)::numeric);


--
-- Name: meshify_jobs_asset; Type: INDEX; Schema: public; Owner: postgres
--

CREATE INDEX meshify_jobs_asset ON public.jobs USING btree (asset_id) WHERE (type = 'meshify'::text);


--
-- Name: meshify_jobs_begun; Type: INDEX; Schema: public; Owner: postgres
--

CREATE INDEX meshify_jobs_begun ON public.jobs USING btree (priority DESC, run_after, created_at) WHERE ((type = 'meshify'::text) AND (status = 'pending'::text) AND ((started_at IS NOT NULL) OR (cancel_requested_at IS NOT NULL)));


--
-- Name: meshify_jobs_due; Type: INDEX; Schema: public; Owner: postgres
--

CREATE INDEX meshify_jobs_due ON public.jobs USING btree (run_after) WHERE ((type = 'meshify'::text) AND (status = 'pending'::text) AND (run_after < 'infinity'::timestamp with time zone));


--
-- Name: meshify_jobs_pending; Type: INDEX; Schema: public; Owner: postgres
--

CREATE INDEX meshify_jobs_pending ON public.jobs USING btree (priority DESC, run_after, created_at) WHERE ((type = 'meshify'::text) AND (status = 'pending'::text));


--
-- Name: meshify_jobs_pending_user; Type: INDEX; Schema: public; Owner: postgres
--

CREATE INDEX meshify_jobs_pending_user ON public.jobs USING btree (user_id, priority DESC, run_after, created_at) WHERE ((type = 'meshify'::text) AND (status = 'pending'::text));


--
-- Name: meshify_jobs_running; Type: INDEX; Schema: public; Owner: postgres
--

CREATE INDEX meshify_jobs_running ON public.jobs USING btree (worker_id) WHERE ((type = 'meshify'::text) AND (status = 'running'::text));


--
-- Name: predictions meshify_purchase_asset; Type: TRIGGER; Schema: meshify; Owner: postgres
--

CREATE TRIGGER meshify_purchase_asset BEFORE INSERT ON meshify.predictions FOR EACH ROW EXECUTE FUNCTION meshify.purchase_asset();


--
-- Name: mesh_assets meshify_asset_deleted; Type: TRIGGER; Schema: public; Owner: postgres
--

CREATE TRIGGER meshify_asset_deleted BEFORE DELETE ON public.mesh_assets FOR EACH ROW EXECUTE FUNCTION meshify.asset_deleted();


--
-- Name: mesh_assets meshify_asset_renamed; Type: TRIGGER; Schema: public; Owner: postgres
--

CREATE TRIGGER meshify_asset_renamed AFTER UPDATE OF id ON public.mesh_assets FOR EACH ROW WHEN ((old.id <> new.id)) EXECUTE FUNCTION meshify.asset_renamed();


--
-- Name: jobs meshify_cancel; Type: TRIGGER; Schema: public; Owner: postgres
--

CREATE TRIGGER meshify_cancel AFTER UPDATE OF cancel_requested_at ON public.jobs FOR EACH ROW WHEN (((old.cancel_requested_at IS NULL) AND (new.cancel_requested_at IS NOT NULL))) EXECUTE FUNCTION meshify.cancel_asked();


--
-- Name: mesh_assets meshify_charge; Type: TRIGGER; Schema: public; Owner: postgres
--

CREATE TRIGGER meshify_charge AFTER INSERT ON public.mesh_assets FOR EACH ROW EXECUTE FUNCTION meshify.charge_asset();


--
-- Name: jobs meshify_job_deleted; Type: TRIGGER; Schema: public; Owner: postgres
--

CREATE TRIGGER meshify_job_deleted BEFORE DELETE ON public.jobs FOR EACH ROW EXECUTE FUNCTION meshify.job_deleted();


--
-- Name: jobs meshify_job_moved; Type: TRIGGER; Schema: public; Owner: postgres
--

CREATE TRIGGER meshify_job_moved AFTER UPDATE OF id, asset_id ON public.jobs FOR EACH ROW WHEN (((old.id <> new.id) OR (old.asset_id IS DISTINCT FROM new.asset_id))) EXECUTE FUNCTION meshify.job_moved();


--
-- Name: jobs meshify_notify; Type: TRIGGER; Schema: public; Owner: postgres
--

CREATE TRIGGER meshify_notify AFTER INSERT ON public.jobs REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION meshify.notify_jobs();


--
-- Name: mesh_assets touch; Type: TRIGGER; Schema: public; Owner: postgres
--

CREATE TRIGGER touch BEFORE UPDATE ON public.mesh_assets FOR EACH ROW EXECUTE FUNCTION public.touch_updated_at();


--
-- Name: mesh_assets mesh_assets_project_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.mesh_assets
    ADD CONSTRAINT mesh_assets_project_id_fkey FOREIGN KEY (project_id) REFERENCES public.projects(id) ON DELETE CASCADE;


--
-- Name: adapted; Type: ROW SECURITY; Schema: meshify; Owner: postgres
--

ALTER TABLE meshify.adapted ENABLE ROW LEVEL SECURITY;

--
-- Name: barred; Type: ROW SECURITY; Schema: meshify; Owner: postgres
--

ALTER TABLE meshify.barred ENABLE ROW LEVEL SECURITY;

--
-- Name: charges; Type: ROW SECURITY; Schema: meshify; Owner: postgres
--

ALTER TABLE meshify.charges ENABLE ROW LEVEL SECURITY;

--
-- Name: closings; Type: ROW SECURITY; Schema: meshify; Owner: postgres
--

ALTER TABLE meshify.closings ENABLE ROW LEVEL SECURITY;

--
-- Name: events; Type: ROW SECURITY; Schema: meshify; Owner: postgres
--

ALTER TABLE meshify.events ENABLE ROW LEVEL SECURITY;

--
-- Name: moved; Type: ROW SECURITY; Schema: meshify; Owner: postgres
--

ALTER TABLE meshify.moved ENABLE ROW LEVEL SECURITY;

--
-- Name: orphans; Type: ROW SECURITY; Schema: meshify; Owner: postgres
--

ALTER TABLE meshify.orphans ENABLE ROW LEVEL SECURITY;

--
-- Name: predictions; Type: ROW SECURITY; Schema: meshify; Owner: postgres
--

ALTER TABLE meshify.predictions ENABLE ROW LEVEL SECURITY;

--
-- Name: refunds; Type: ROW SECURITY; Schema: meshify; Owner: postgres
--

ALTER TABLE meshify.refunds ENABLE ROW LEVEL SECURITY;

--
-- Name: retries; Type: ROW SECURITY; Schema: meshify; Owner: postgres
--

ALTER TABLE meshify.retries ENABLE ROW LEVEL SECURITY;

--
-- Name: schema_version; Type: ROW SECURITY; Schema: meshify; Owner: postgres
--

ALTER TABLE meshify.schema_version ENABLE ROW LEVEL SECURITY;

--
-- Name: settings; Type: ROW SECURITY; Schema: meshify; Owner: postgres
--

ALTER TABLE meshify.settings ENABLE ROW LEVEL SECURITY;

--
-- Name: troubles; Type: ROW SECURITY; Schema: meshify; Owner: postgres
--

ALTER TABLE meshify.troubles ENABLE ROW LEVEL SECURITY;

--
-- Name: unclaimable; Type: ROW SECURITY; Schema: meshify; Owner: postgres
--

ALTER TABLE meshify.unclaimable ENABLE ROW LEVEL SECURITY;

--
-- Name: schema_version worker_reads; Type: POLICY; Schema: meshify; Owner: postgres
--

CREATE POLICY worker_reads ON meshify.schema_version FOR SELECT TO meshify_worker USING (true);


--
-- Name: workers; Type: ROW SECURITY; Schema: meshify; Owner: postgres
--

ALTER TABLE meshify.workers ENABLE ROW LEVEL SECURITY;

--
-- Name: jobs; Type: ROW SECURITY; Schema: public; Owner: postgres
--

ALTER TABLE public.jobs ENABLE ROW LEVEL SECURITY;

--
-- Name: mesh_assets; Type: ROW SECURITY; Schema: public; Owner: postgres
--

ALTER TABLE public.mesh_assets ENABLE ROW LEVEL SECURITY;

--
-- Name: notifications; Type: ROW SECURITY; Schema: public; Owner: postgres
--

ALTER TABLE public.notifications ENABLE ROW LEVEL SECURITY;

--
-- Name: jobs own rows; Type: POLICY; Schema: public; Owner: postgres
--

CREATE POLICY "own rows" ON public.jobs FOR SELECT TO authenticated USING ((user_id = ( SELECT auth.uid() AS uid)));


--
-- Name: mesh_assets own rows; Type: POLICY; Schema: public; Owner: postgres
--

CREATE POLICY "own rows" ON public.mesh_assets FOR SELECT TO authenticated USING ((owner_id = ( SELECT auth.uid() AS uid)));


--
-- Name: notifications own rows; Type: POLICY; Schema: public; Owner: postgres
--

CREATE POLICY "own rows" ON public.notifications FOR SELECT TO authenticated USING ((user_id = ( SELECT auth.uid() AS uid)));


--
-- Name: profiles own rows; Type: POLICY; Schema: public; Owner: postgres
--

CREATE POLICY "own rows" ON public.profiles FOR SELECT TO authenticated USING ((id = ( SELECT auth.uid() AS uid)));


--
-- Name: projects own rows; Type: POLICY; Schema: public; Owner: postgres
--

CREATE POLICY "own rows" ON public.projects FOR SELECT TO authenticated USING ((owner_id = ( SELECT auth.uid() AS uid)));


--
-- Name: profiles; Type: ROW SECURITY; Schema: public; Owner: postgres
--

ALTER TABLE public.profiles ENABLE ROW LEVEL SECURITY;

--
-- Name: projects; Type: ROW SECURITY; Schema: public; Owner: postgres
--

ALTER TABLE public.projects ENABLE ROW LEVEL SECURITY;

--
-- Name: SCHEMA auth; Type: ACL; Schema: -; Owner: supabase_admin
--

GRANT USAGE ON SCHEMA auth TO anon;
GRANT USAGE ON SCHEMA auth TO authenticated;
GRANT USAGE ON SCHEMA auth TO service_role;
GRANT USAGE ON SCHEMA auth TO postgres;


--
-- Name: SCHEMA extensions; Type: ACL; Schema: -; Owner: supabase_admin
--

GRANT USAGE ON SCHEMA extensions TO anon;
GRANT USAGE ON SCHEMA extensions TO authenticated;
GRANT USAGE ON SCHEMA extensions TO service_role;
GRANT USAGE ON SCHEMA extensions TO postgres;


--
-- Name: SCHEMA meshify; Type: ACL; Schema: -; Owner: postgres
--

GRANT USAGE ON SCHEMA meshify TO meshify_worker;
GRANT USAGE ON SCHEMA meshify TO service_role;


--
-- Name: SCHEMA public; Type: ACL; Schema: -; Owner: postgres
--

GRANT USAGE ON SCHEMA public TO anon;
GRANT USAGE ON SCHEMA public TO authenticated;
GRANT USAGE ON SCHEMA public TO service_role;


--
-- Name: FUNCTION add_worked(p_worked interval, p_seconds double precision); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.add_worked(p_worked interval, p_seconds double precision) FROM PUBLIC;


--
-- Name: FUNCTION advice(); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.advice() FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.advice() TO meshify_worker;


--
-- Name: FUNCTION as_claimed(p_jobs uuid[]); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.as_claimed(p_jobs uuid[]) FROM PUBLIC;


--
-- Name: FUNCTION as_credits(p_cost text); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.as_credits(p_cost text) FROM PUBLIC;


--
-- Name: FUNCTION as_time(p_text text); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.as_time(p_text text) FROM PUBLIC;


--
-- Name: FUNCTION asked(p_worker uuid); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.asked(p_worker uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.asked(p_worker uuid) TO meshify_worker;


--
-- Name: FUNCTION asset_deleted(); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.asset_deleted() FROM PUBLIC;


--
-- Name: FUNCTION asset_renamed(); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.asset_renamed() FROM PUBLIC;


--
-- Name: FUNCTION audit(p_worker uuid, p_max integer); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.audit(p_worker uuid, p_max integer) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.audit(p_worker uuid, p_max integer) TO meshify_worker;


--
-- Name: FUNCTION audit_ended(p_id uuid, p_status text); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.audit_ended(p_id uuid, p_status text) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.audit_ended(p_id uuid, p_status text) TO meshify_worker;


--
-- Name: FUNCTION audit_lost(p_worker uuid, p_max integer); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.audit_lost(p_worker uuid, p_max integer) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.audit_lost(p_worker uuid, p_max integer) TO meshify_worker;


--
-- Name: FUNCTION audit_running(p_worker uuid, p_max integer); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.audit_running(p_worker uuid, p_max integer) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.audit_running(p_worker uuid, p_max integer) TO meshify_worker;


--
-- Name: FUNCTION audit_unknown(p_worker uuid, p_max integer); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.audit_unknown(p_worker uuid, p_max integer) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.audit_unknown(p_worker uuid, p_max integer) TO meshify_worker;


--
-- Name: FUNCTION audited(p_id bigint, p_status text); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.audited(p_id bigint, p_status text) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.audited(p_id bigint, p_status text) TO meshify_worker;


--
-- Name: FUNCTION bar(p_job uuid, p_asset uuid); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.bar(p_job uuid, p_asset uuid) FROM PUBLIC;


--
-- Name: FUNCTION beat(p_worker uuid, p_lease interval, p_running integer, p_draining boolean, p_max_jobs integer); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.beat(p_worker uuid, p_lease interval, p_running integer, p_draining boolean, p_max_jobs integer) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.beat(p_worker uuid, p_lease interval, p_running integer, p_draining boolean, p_max_jobs integer) TO meshify_worker;


--
-- Name: FUNCTION busy(); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.busy() FROM PUBLIC;


--
-- Name: FUNCTION cancel(job_id uuid); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.cancel(job_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.cancel(job_id uuid) TO service_role;
GRANT ALL ON FUNCTION meshify.cancel(job_id uuid) TO meshify_worker;


--
-- Name: FUNCTION cancel_asked(); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.cancel_asked() FROM PUBLIC;


--
-- Name: FUNCTION cancel_stuck(); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.cancel_stuck() FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.cancel_stuck() TO meshify_worker;


--
-- Name: FUNCTION canceled(p_worker uuid, p_job uuid); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.canceled(p_worker uuid, p_job uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.canceled(p_worker uuid, p_job uuid) TO meshify_worker;


--
-- Name: FUNCTION charge_asset(); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.charge_asset() FROM PUBLIC;


--
-- Name: FUNCTION claim(p_worker uuid, p_free integer, p_max_per_user integer, p_only_bought boolean); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.claim(p_worker uuid, p_free integer, p_max_per_user integer, p_only_bought boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.claim(p_worker uuid, p_free integer, p_max_per_user integer, p_only_bought boolean) TO meshify_worker;


--
-- Name: FUNCTION compare(p_worker uuid, p_known uuid[]); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.compare(p_worker uuid, p_known uuid[]) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.compare(p_worker uuid, p_known uuid[]) TO meshify_worker;


--
-- Name: FUNCTION do_without(p_job uuid, p_purchases jsonb); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.do_without(p_job uuid, p_purchases jsonb) FROM PUBLIC;


--
-- Name: FUNCTION done(p_worker uuid, p_job uuid, p_path text, p_size bigint, p_mime text, p_output_data jsonb, p_result_meta jsonb); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.done(p_worker uuid, p_job uuid, p_path text, p_size bigint, p_mime text, p_output_data jsonb, p_result_meta jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.done(p_worker uuid, p_job uuid, p_path text, p_size bigint, p_mime text, p_output_data jsonb, p_result_meta jsonb) TO meshify_worker;


--
-- Name: FUNCTION drain(p_instance text); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.drain(p_instance text) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.drain(p_instance text) TO meshify_worker;


--
-- Name: FUNCTION end_as(p_job uuid, p_how text, p_args jsonb); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.end_as(p_job uuid, p_how text, p_args jsonb) FROM PUBLIC;


--
-- Name: FUNCTION end_or_park(p_job uuid, p_how text, p_args jsonb); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.end_or_park(p_job uuid, p_how text, p_args jsonb) FROM PUBLIC;


--
-- Name: FUNCTION end_with(p_job uuid, p_args jsonb); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.end_with(p_job uuid, p_args jsonb) FROM PUBLIC;


--
-- Name: FUNCTION end_without(p_job uuid, p_status text, p_sentence text, p_reason text, p_asset_stays boolean); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.end_without(p_job uuid, p_status text, p_sentence text, p_reason text, p_asset_stays boolean) FROM PUBLIC;


--
-- Name: FUNCTION enqueue(user_id uuid, project_id uuid, prompt text, image_url text, free boolean, request_id uuid, OUT asset_id uuid, OUT job_id uuid); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.enqueue(user_id uuid, project_id uuid, prompt text, image_url text, free boolean, request_id uuid, OUT asset_id uuid, OUT job_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.enqueue(user_id uuid, project_id uuid, prompt text, image_url text, free boolean, request_id uuid, OUT asset_id uuid, OUT job_id uuid) TO service_role;
GRANT ALL ON FUNCTION meshify.enqueue(user_id uuid, project_id uuid, prompt text, image_url text, free boolean, request_id uuid, OUT asset_id uuid, OUT job_id uuid) TO meshify_worker;


--
-- Name: FUNCTION fail(p_worker uuid, p_job uuid, p_sentence text, p_reason text); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.fail(p_worker uuid, p_job uuid, p_sentence text, p_reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.fail(p_worker uuid, p_job uuid, p_sentence text, p_reason text) TO meshify_worker;


--
-- Name: FUNCTION fence(p_worker uuid, p_job uuid); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.fence(p_worker uuid, p_job uuid) FROM PUBLIC;


--
-- Name: FUNCTION fence_closing(p_worker uuid, p_job uuid); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.fence_closing(p_worker uuid, p_job uuid) FROM PUBLIC;


--
-- Name: FUNCTION find_purchase(p_of jsonb); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.find_purchase(p_of jsonb) FROM PUBLIC;


--
-- Name: FUNCTION finish(p_worker uuid, p_max integer); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.finish(p_worker uuid, p_max integer) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.finish(p_worker uuid, p_max integer) TO meshify_worker;


--
-- Name: FUNCTION fit(p_table regclass, p_column text, p_value text); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.fit(p_table regclass, p_column text, p_value text) FROM PUBLIC;


--
-- Name: FUNCTION fitting(p_jobs uuid[]); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.fitting(p_jobs uuid[]) FROM PUBLIC;


--
-- Name: FUNCTION found_surplus(p_worker uuid, p_purchases uuid[], p_predictions text[]); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.found_surplus(p_worker uuid, p_purchases uuid[], p_predictions text[]) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.found_surplus(p_worker uuid, p_purchases uuid[], p_predictions text[]) TO meshify_worker;


--
-- Name: FUNCTION further(p_worker uuid, p_job uuid); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.further(p_worker uuid, p_job uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.further(p_worker uuid, p_job uuid) TO meshify_worker;


--
-- Name: FUNCTION hand_back(p_worker uuid, p_job uuid, p_delay interval, p_counted boolean, p_worked interval, p_reason text); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.hand_back(p_worker uuid, p_job uuid, p_delay interval, p_counted boolean, p_worked interval, p_reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.hand_back(p_worker uuid, p_job uuid, p_delay interval, p_counted boolean, p_worked interval, p_reason text) TO meshify_worker;


--
-- Name: FUNCTION hand_back_unbought(p_worker uuid, p_job uuid, p_delay interval, p_counted boolean, p_worked interval, p_reason text, p_purchase bigint); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.hand_back_unbought(p_worker uuid, p_job uuid, p_delay interval, p_counted boolean, p_worked interval, p_reason text, p_purchase bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.hand_back_unbought(p_worker uuid, p_job uuid, p_delay interval, p_counted boolean, p_worked interval, p_reason text, p_purchase bigint) TO meshify_worker;


--
-- Name: FUNCTION hand_back_without(p_worker uuid, p_job uuid, p_delay interval, p_counted boolean, p_worked interval, p_reason text, p_purchases jsonb); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.hand_back_without(p_worker uuid, p_job uuid, p_delay interval, p_counted boolean, p_worked interval, p_reason text, p_purchases jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.hand_back_without(p_worker uuid, p_job uuid, p_delay interval, p_counted boolean, p_worked interval, p_reason text, p_purchases jsonb) TO meshify_worker;


--
-- Name: FUNCTION has_ended(p_job uuid); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.has_ended(p_job uuid) FROM PUBLIC;


--
-- Name: FUNCTION has_made(p_job uuid); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.has_made(p_job uuid) FROM PUBLIC;


--
-- Name: FUNCTION has_other_job(p_job uuid, p_asset uuid); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.has_other_job(p_job uuid, p_asset uuid) FROM PUBLIC;


--
-- Name: FUNCTION heartbeat(p_worker uuid, p_lease interval, p_running integer, p_draining boolean); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.heartbeat(p_worker uuid, p_lease interval, p_running integer, p_draining boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.heartbeat(p_worker uuid, p_lease interval, p_running integer, p_draining boolean) TO meshify_worker;


--
-- Name: FUNCTION hide(VARIADIC p_tables regclass[]); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.hide(VARIADIC p_tables regclass[]) FROM PUBLIC;


--
-- Name: FUNCTION idle_triggers(); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.idle_triggers() FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.idle_triggers() TO meshify_worker;


--
-- Name: FUNCTION input_of(p_input jsonb, p_judge boolean, OUT input text, OUT too_large bigint); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.input_of(p_input jsonb, p_judge boolean, OUT input text, OUT too_large bigint) FROM PUBLIC;


--
-- Name: FUNCTION insert_notification(p_user uuid, p_type text, p_title text, p_message text); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.insert_notification(p_user uuid, p_type text, p_title text, p_message text) FROM PUBLIC;


--
-- Name: FUNCTION intend(p_worker uuid, p_job uuid, p_step text, p_purchase integer, p_attempt integer, p_model text, p_input_hash text, p_input_keys jsonb, p_give_up_after interval, p_give_up bigint); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.intend(p_worker uuid, p_job uuid, p_step text, p_purchase integer, p_attempt integer, p_model text, p_input_hash text, p_input_keys jsonb, p_give_up_after interval, p_give_up bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.intend(p_worker uuid, p_job uuid, p_step text, p_purchase integer, p_attempt integer, p_model text, p_input_hash text, p_input_keys jsonb, p_give_up_after interval, p_give_up bigint) TO meshify_worker;


--
-- Name: FUNCTION intend_again(p_worker uuid, p_of jsonb); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.intend_again(p_worker uuid, p_of jsonb) FROM PUBLIC;


--
-- Name: FUNCTION intend_purchase(p_worker uuid, p_of jsonb, p_attempt integer, p_model text, p_input_keys jsonb, p_pipeline text, p_last_step boolean, p_output_pointer text, p_give_up_after interval, p_given_up jsonb); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.intend_purchase(p_worker uuid, p_of jsonb, p_attempt integer, p_model text, p_input_keys jsonb, p_pipeline text, p_last_step boolean, p_output_pointer text, p_give_up_after interval, p_given_up jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.intend_purchase(p_worker uuid, p_of jsonb, p_attempt integer, p_model text, p_input_keys jsonb, p_pipeline text, p_last_step boolean, p_output_pointer text, p_give_up_after interval, p_given_up jsonb) TO meshify_worker;


--
-- Name: FUNCTION is_barred(p_job uuid, p_asset uuid); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.is_barred(p_job uuid, p_asset uuid) FROM PUBLIC;


--
-- Name: FUNCTION is_begun(p_job uuid); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.is_begun(p_job uuid) FROM PUBLIC;


--
-- Name: FUNCTION is_late(); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.is_late() FROM PUBLIC;


--
-- Name: FUNCTION is_made(p_asset uuid); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.is_made(p_asset uuid) FROM PUBLIC;


--
-- Name: FUNCTION is_named(p_job uuid, p_asset uuid, p_name text); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.is_named(p_job uuid, p_asset uuid, p_name text) FROM PUBLIC;


--
-- Name: FUNCTION is_orphan(p_name text); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.is_orphan(p_name text) FROM PUBLIC;


--
-- Name: FUNCTION is_ours(p_jobs text); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.is_ours(p_jobs text) FROM PUBLIC;


--
-- Name: FUNCTION is_parked(p_job uuid); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.is_parked(p_job uuid) FROM PUBLIC;


--
-- Name: FUNCTION is_refunded(p_asset uuid); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.is_refunded(p_asset uuid) FROM PUBLIC;


--
-- Name: FUNCTION is_to_drain(p_worker uuid); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.is_to_drain(p_worker uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.is_to_drain(p_worker uuid) TO meshify_worker;


--
-- Name: FUNCTION is_troubled(p_what text); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.is_troubled(p_what text) FROM PUBLIC;


--
-- Name: FUNCTION is_wanted(p_hash text, p_but uuid); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.is_wanted(p_hash text, p_but uuid) FROM PUBLIC;


--
-- Name: FUNCTION job_deleted(); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.job_deleted() FROM PUBLIC;


--
-- Name: FUNCTION job_moved(); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.job_moved() FROM PUBLIC;


--
-- Name: FUNCTION lanes(p_worker uuid, p_held jsonb); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.lanes(p_worker uuid, p_held jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.lanes(p_worker uuid, p_held jsonb) TO meshify_worker;


--
-- Name: FUNCTION leave_alone(p_job uuid, p_error text); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.leave_alone(p_job uuid, p_error text) FROM PUBLIC;


--
-- Name: FUNCTION lets_canceled(p_check text); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.lets_canceled(p_check text) FROM PUBLIC;


--
-- Name: FUNCTION lets_word(p_check text, p_column text, p_word text); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.lets_word(p_check text, p_column text, p_word text) FROM PUBLIC;


--
-- Name: FUNCTION list_jobs(p_status text, p_user uuid, p_limit integer); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.list_jobs(p_status text, p_user uuid, p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.list_jobs(p_status text, p_user uuid, p_limit integer) TO meshify_worker;


--
-- Name: FUNCTION list_purchases(p_surplus boolean, p_limit integer); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.list_purchases(p_surplus boolean, p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.list_purchases(p_surplus boolean, p_limit integer) TO meshify_worker;


--
-- Name: FUNCTION list_settings(); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.list_settings() FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.list_settings() TO meshify_worker;


--
-- Name: FUNCTION lock_profile(p_job uuid, p_shared boolean); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.lock_profile(p_job uuid, p_shared boolean) FROM PUBLIC;


--
-- Name: FUNCTION lock_project(p_project uuid, p_user uuid); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.lock_project(p_project uuid, p_user uuid) FROM PUBLIC;


--
-- Name: FUNCTION lost_owner(); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.lost_owner() FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.lost_owner() TO meshify_worker;


--
-- Name: FUNCTION lost_triggers(); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.lost_triggers() FROM PUBLIC;


--
-- Name: FUNCTION max_input(); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.max_input() FROM PUBLIC;


--
-- Name: FUNCTION may_have_mesh(p_job uuid); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.may_have_mesh(p_job uuid) FROM PUBLIC;


--
-- Name: FUNCTION may_pass(p_state text); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.may_pass(p_state text) FROM PUBLIC;


--
-- Name: FUNCTION may_run(p_job uuid); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.may_run(p_job uuid) FROM PUBLIC;


--
-- Name: FUNCTION misfit_columns(); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.misfit_columns() FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.misfit_columns() TO meshify_worker;


--
-- Name: FUNCTION missing_indexes(); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.missing_indexes() FROM PUBLIC;


--
-- Name: FUNCTION most_prompt(); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.most_prompt() FROM PUBLIC;


--
-- Name: FUNCTION name_object(p_job uuid, p_step text, p_purchase integer, p_path text); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.name_object(p_job uuid, p_step text, p_purchase integer, p_path text) FROM PUBLIC;


--
-- Name: FUNCTION news(p_worker uuid); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.news(p_worker uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.news(p_worker uuid) TO meshify_worker;


--
-- Name: FUNCTION next_due(p_ready boolean); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.next_due(p_ready boolean) FROM PUBLIC;


--
-- Name: FUNCTION note(p_job uuid, p_event text, p_detail jsonb); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.note(p_job uuid, p_event text, p_detail jsonb) FROM PUBLIC;


--
-- Name: FUNCTION notification_locks_profile(); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.notification_locks_profile() FROM PUBLIC;


--
-- Name: FUNCTION notify_jobs(); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.notify_jobs() FROM PUBLIC;


--
-- Name: FUNCTION notify_user(p_user uuid, p_type text, p_title text, p_message text, p_job uuid); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.notify_user(p_user uuid, p_type text, p_title text, p_message text, p_job uuid) FROM PUBLIC;


--
-- Name: FUNCTION odd_charges(); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.odd_charges() FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.odd_charges() TO meshify_worker;


--
-- Name: FUNCTION only_for(p_function regprocedure, VARIADIC p_roles text[]); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.only_for(p_function regprocedure, VARIADIC p_roles text[]) FROM PUBLIC;


--
-- Name: FUNCTION orphan_removed(p_name text); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.orphan_removed(p_name text) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.orphan_removed(p_name text) TO meshify_worker;


--
-- Name: FUNCTION orphans_due(p_worker uuid, p_place text, p_max integer); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.orphans_due(p_worker uuid, p_place text, p_max integer) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.orphans_due(p_worker uuid, p_place text, p_max integer) TO meshify_worker;


--
-- Name: FUNCTION others(); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.others() FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.others() TO meshify_worker;


--
-- Name: FUNCTION paid(p_jobs uuid[]); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.paid(p_jobs uuid[]) FROM PUBLIC;


--
-- Name: FUNCTION park(p_job uuid, p_how text, p_args jsonb, p_state text, p_error text); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.park(p_job uuid, p_how text, p_args jsonb, p_state text, p_error text) FROM PUBLIC;


--
-- Name: FUNCTION pick(p_free integer, p_max_per_user integer); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.pick(p_free integer, p_max_per_user integer) FROM PUBLIC;


--
-- Name: FUNCTION pick_begun(p_free integer, p_only_cancels boolean); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.pick_begun(p_free integer, p_only_cancels boolean) FROM PUBLIC;


--
-- Name: FUNCTION predecessors(p_worker uuid); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.predecessors(p_worker uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.predecessors(p_worker uuid) TO meshify_worker;


--
-- Name: FUNCTION prediction_changed(prediction_id text); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.prediction_changed(prediction_id text) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.prediction_changed(prediction_id text) TO service_role;
GRANT ALL ON FUNCTION meshify.prediction_changed(prediction_id text) TO meshify_worker;


--
-- Name: FUNCTION progress(p_worker uuid, p_jobs uuid[], p_values real[]); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.progress(p_worker uuid, p_jobs uuid[], p_values real[]) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.progress(p_worker uuid, p_jobs uuid[], p_values real[]) TO meshify_worker;


--
-- Name: FUNCTION project_owner_columns(); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.project_owner_columns() FROM PUBLIC;


--
-- Name: FUNCTION prompt_of(p_input jsonb); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.prompt_of(p_input jsonb) FROM PUBLIC;


--
-- Name: FUNCTION prune(p_keep interval, p_max integer); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.prune(p_keep interval, p_max integer) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.prune(p_keep interval, p_max integer) TO meshify_worker;


--
-- Name: FUNCTION purchase_asset(); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.purchase_asset() FROM PUBLIC;


--
-- Name: FUNCTION purchase_of(p meshify.predictions); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.purchase_of(p meshify.predictions) FROM PUBLIC;


--
-- Name: FUNCTION purchases_of(p_job uuid); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.purchases_of(p_job uuid) FROM PUBLIC;


--
-- Name: FUNCTION put_back(p_job uuid, p_args jsonb); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.put_back(p_job uuid, p_args jsonb) FROM PUBLIC;


--
-- Name: FUNCTION queue_sample(p_worker uuid, p_known bigint, p_known_at timestamp with time zone); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.queue_sample(p_worker uuid, p_known bigint, p_known_at timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.queue_sample(p_worker uuid, p_known bigint, p_known_at timestamp with time zone) TO meshify_worker;


--
-- Name: FUNCTION readable(p_row jsonb); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.readable(p_row jsonb) FROM PUBLIC;


--
-- Name: FUNCTION reap(p_worker uuid, p_proven uuid[]); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.reap(p_worker uuid, p_proven uuid[]) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.reap(p_worker uuid, p_proven uuid[]) TO meshify_worker;


--
-- Name: FUNCTION reap(p_worker uuid, p_proven uuid[], p_heard interval); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.reap(p_worker uuid, p_proven uuid[], p_heard interval) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.reap(p_worker uuid, p_proven uuid[], p_heard interval) TO meshify_worker;


--
-- Name: FUNCTION record(p_worker uuid, p_purchase bigint, p_prediction text, p_status text); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.record(p_worker uuid, p_purchase bigint, p_prediction text, p_status text) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.record(p_worker uuid, p_purchase bigint, p_prediction text, p_status text) TO meshify_worker;


--
-- Name: FUNCTION record_purchase(p_worker uuid, p_of jsonb, p_prediction text, p_status text, p_answered boolean); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.record_purchase(p_worker uuid, p_of jsonb, p_prediction text, p_status text, p_answered boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.record_purchase(p_worker uuid, p_of jsonb, p_prediction text, p_status text, p_answered boolean) TO meshify_worker;


--
-- Name: FUNCTION refund(p_job uuid, p_user uuid, p_asset uuid); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.refund(p_job uuid, p_user uuid, p_asset uuid) FROM PUBLIC;


--
-- Name: FUNCTION refused_word(p_table regclass, p_column text, p_words text[], OUT word text, OUT mend text); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.refused_word(p_table regclass, p_column text, p_words text[], OUT word text, OUT mend text) FROM PUBLIC;


--
-- Name: FUNCTION register(p_worker uuid, p_instance text, p_host text, p_machine_id text, p_boot_id text, p_pid_ns text, p_pid integer, p_version text, p_max_jobs integer, p_lease interval); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.register(p_worker uuid, p_instance text, p_host text, p_machine_id text, p_boot_id text, p_pid_ns text, p_pid integer, p_version text, p_max_jobs integer, p_lease interval) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.register(p_worker uuid, p_instance text, p_host text, p_machine_id text, p_boot_id text, p_pid_ns text, p_pid integer, p_version text, p_max_jobs integer, p_lease interval) TO meshify_worker;


--
-- Name: FUNCTION retried(p_job uuid); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.retried(p_job uuid) FROM PUBLIC;


--
-- Name: FUNCTION retry(p_job uuid); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.retry(p_job uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.retry(p_job uuid) TO meshify_worker;


--
-- Name: FUNCTION retry_stuck(); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.retry_stuck() FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.retry_stuck() TO meshify_worker;


--
-- Name: FUNCTION retype(p_table text, p_column text, p_to text); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.retype(p_table text, p_column text, p_to text) FROM PUBLIC;


--
-- Name: FUNCTION room(p_table regclass, p_column text); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.room(p_table regclass, p_column text) FROM PUBLIC;


--
-- Name: FUNCTION seconds_between(p_from timestamp with time zone, p_to timestamp with time zone); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.seconds_between(p_from timestamp with time zone, p_to timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.seconds_between(p_from timestamp with time zone, p_to timestamp with time zone) TO meshify_worker;


--
-- Name: FUNCTION sent_as(); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.sent_as() FROM PUBLIC;


--
-- Name: FUNCTION set_setting(p_key text, p_value text); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.set_setting(p_key text, p_value text) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.set_setting(p_key text, p_value text) TO meshify_worker;


--
-- Name: FUNCTION setting(p_key text); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.setting(p_key text) FROM PUBLIC;


--
-- Name: FUNCTION setting_takes(p_key text); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.setting_takes(p_key text) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.setting_takes(p_key text) TO meshify_worker;


--
-- Name: FUNCTION settle(p_purchase bigint, p_prediction text, p_status text, p_output jsonb, p_metrics jsonb, p_error text, p_usable boolean); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.settle(p_purchase bigint, p_prediction text, p_status text, p_output jsonb, p_metrics jsonb, p_error text, p_usable boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.settle(p_purchase bigint, p_prediction text, p_status text, p_output jsonb, p_metrics jsonb, p_error text, p_usable boolean) TO meshify_worker;


--
-- Name: FUNCTION settle_purchase(p_of jsonb, p_prediction text, p_status text, p_output jsonb, p_metrics jsonb, p_error text, p_usable boolean); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.settle_purchase(p_of jsonb, p_prediction text, p_status text, p_output jsonb, p_metrics jsonb, p_error text, p_usable boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.settle_purchase(p_of jsonb, p_prediction text, p_status text, p_output jsonb, p_metrics jsonb, p_error text, p_usable boolean) TO meshify_worker;


--
-- Name: FUNCTION show_job(p_job uuid); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.show_job(p_job uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.show_job(p_job uuid) TO meshify_worker;


--
-- Name: FUNCTION spend(p_job uuid, p_asset uuid); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.spend(p_job uuid, p_asset uuid) FROM PUBLIC;


--
-- Name: FUNCTION status(); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.status() FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.status() TO meshify_worker;


--
-- Name: FUNCTION storage_by_owner(); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.storage_by_owner() FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.storage_by_owner() TO meshify_worker;


--
-- Name: FUNCTION stored(p_worker uuid, p_job uuid, p_step text, p_purchase integer, p_path text, p_size bigint, p_mime text, p_output_data jsonb, p_result_meta jsonb); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.stored(p_worker uuid, p_job uuid, p_step text, p_purchase integer, p_path text, p_size bigint, p_mime text, p_output_data jsonb, p_result_meta jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.stored(p_worker uuid, p_job uuid, p_step text, p_purchase integer, p_path text, p_size bigint, p_mime text, p_output_data jsonb, p_result_meta jsonb) TO meshify_worker;


--
-- Name: FUNCTION stored_for_good(p_job uuid, p_name text); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.stored_for_good(p_job uuid, p_name text) FROM PUBLIC;


--
-- Name: FUNCTION storing(p_worker uuid, p_job uuid, p_step text, p_purchase integer, p_path text, p_place text, p_grace interval, p_upload text); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.storing(p_worker uuid, p_job uuid, p_step text, p_purchase integer, p_path text, p_place text, p_grace interval, p_upload text) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.storing(p_worker uuid, p_job uuid, p_step text, p_purchase integer, p_path text, p_place text, p_grace interval, p_upload text) TO meshify_worker;


--
-- Name: FUNCTION stuck(); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.stuck() FROM PUBLIC;


--
-- Name: FUNCTION summary(p_since interval); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.summary(p_since interval) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.summary(p_since interval) TO meshify_worker;


--
-- Name: FUNCTION surplus(p_worker uuid, p_purchases bigint[], p_predictions text[]); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.surplus(p_worker uuid, p_purchases bigint[], p_predictions text[]) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.surplus(p_worker uuid, p_purchases bigint[], p_predictions text[]) TO meshify_worker;


--
-- Name: FUNCTION tables_are_free(p_always boolean); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.tables_are_free(p_always boolean) FROM PUBLIC;


--
-- Name: FUNCTION take(p_worker uuid, p_jobs uuid[]); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.take(p_worker uuid, p_jobs uuid[]) FROM PUBLIC;


--
-- Name: FUNCTION take_each(p_worker uuid, p_jobs uuid[]); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.take_each(p_worker uuid, p_jobs uuid[]) FROM PUBLIC;


--
-- Name: FUNCTION take_over(p_worker uuid, p_jobs uuid[]); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.take_over(p_worker uuid, p_jobs uuid[]) FROM PUBLIC;


--
-- Name: FUNCTION tell_again(p_worker uuid, p_purchases jsonb); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.tell_again(p_worker uuid, p_purchases jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.tell_again(p_worker uuid, p_purchases jsonb) TO meshify_worker;


--
-- Name: FUNCTION to_orphans(p_job uuid, p_name text, p_since timestamp with time zone); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.to_orphans(p_job uuid, p_name text, p_since timestamp with time zone) FROM PUBLIC;


--
-- Name: FUNCTION tries(); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.tries() FROM PUBLIC;


--
-- Name: FUNCTION trouble(p_what text, p_error text, p_for interval); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.trouble(p_what text, p_error text, p_for interval) FROM PUBLIC;


--
-- Name: FUNCTION unclaimable_now(); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.unclaimable_now() FROM PUBLIC;


--
-- Name: FUNCTION unfit_columns(p_path integer); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.unfit_columns(p_path integer) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.unfit_columns(p_path integer) TO meshify_worker;


--
-- Name: FUNCTION unless_blank(p_text text); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.unless_blank(p_text text) FROM PUBLIC;


--
-- Name: FUNCTION unregister(p_worker uuid); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.unregister(p_worker uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.unregister(p_worker uuid) TO meshify_worker;


--
-- Name: FUNCTION unstoring(p_worker uuid, p_job uuid, p_name text); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.unstoring(p_worker uuid, p_job uuid, p_name text) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.unstoring(p_worker uuid, p_job uuid, p_name text) TO meshify_worker;


--
-- Name: FUNCTION usec(p interval); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.usec(p interval) FROM PUBLIC;


--
-- Name: FUNCTION waits(p_worker uuid, p_waits jsonb); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.waits(p_worker uuid, p_waits jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.waits(p_worker uuid, p_waits jsonb) TO meshify_worker;


--
-- Name: FUNCTION why_barred(p_job uuid); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.why_barred(p_job uuid) FROM PUBLIC;


--
-- Name: FUNCTION write_surplus(p_of jsonb, p_prediction text, p_status text, p_ended boolean); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.write_surplus(p_of jsonb, p_prediction text, p_status text, p_ended boolean) FROM PUBLIC;


--
-- Name: FUNCTION zoneless(); Type: ACL; Schema: meshify; Owner: postgres
--

REVOKE ALL ON FUNCTION meshify.zoneless() FROM PUBLIC;
GRANT ALL ON FUNCTION meshify.zoneless() TO meshify_worker;


--
-- Name: FUNCTION meshify_cancel(job_id uuid); Type: ACL; Schema: public; Owner: postgres
--

REVOKE ALL ON FUNCTION public.meshify_cancel(job_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.meshify_cancel(job_id uuid) TO service_role;


--
-- Name: FUNCTION meshify_enqueue(user_id uuid, project_id uuid, prompt text, image_url text, free boolean, request_id uuid, OUT asset_id uuid, OUT job_id uuid); Type: ACL; Schema: public; Owner: postgres
--

REVOKE ALL ON FUNCTION public.meshify_enqueue(user_id uuid, project_id uuid, prompt text, image_url text, free boolean, request_id uuid, OUT asset_id uuid, OUT job_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.meshify_enqueue(user_id uuid, project_id uuid, prompt text, image_url text, free boolean, request_id uuid, OUT asset_id uuid, OUT job_id uuid) TO service_role;


--
-- Name: FUNCTION meshify_prediction_changed(prediction_id text); Type: ACL; Schema: public; Owner: postgres
--

REVOKE ALL ON FUNCTION public.meshify_prediction_changed(prediction_id text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.meshify_prediction_changed(prediction_id text) TO service_role;


--
-- Name: FUNCTION touch_updated_at(); Type: ACL; Schema: public; Owner: postgres
--

GRANT ALL ON FUNCTION public.touch_updated_at() TO anon;
GRANT ALL ON FUNCTION public.touch_updated_at() TO authenticated;
GRANT ALL ON FUNCTION public.touch_updated_at() TO service_role;


--
-- Name: TABLE users; Type: ACL; Schema: auth; Owner: supabase_admin
--

GRANT ALL ON TABLE auth.users TO postgres;


--
-- Name: TABLE jobs; Type: ACL; Schema: public; Owner: postgres
--

GRANT ALL ON TABLE public.jobs TO anon;
GRANT ALL ON TABLE public.jobs TO authenticated;
GRANT ALL ON TABLE public.jobs TO service_role;


--
-- Name: TABLE schema_version; Type: ACL; Schema: meshify; Owner: postgres
--

GRANT SELECT ON TABLE meshify.schema_version TO meshify_worker;


--
-- Name: TABLE stats; Type: ACL; Schema: meshify; Owner: postgres
--

GRANT SELECT ON TABLE meshify.stats TO meshify_worker;


--
-- Name: TABLE storage_usage; Type: ACL; Schema: meshify; Owner: postgres
--

GRANT SELECT ON TABLE meshify.storage_usage TO meshify_worker;


--
-- Name: TABLE mesh_assets; Type: ACL; Schema: public; Owner: postgres
--

GRANT ALL ON TABLE public.mesh_assets TO anon;
GRANT ALL ON TABLE public.mesh_assets TO authenticated;
GRANT ALL ON TABLE public.mesh_assets TO service_role;


--
-- Name: TABLE notifications; Type: ACL; Schema: public; Owner: postgres
--

GRANT ALL ON TABLE public.notifications TO anon;
GRANT ALL ON TABLE public.notifications TO authenticated;
GRANT ALL ON TABLE public.notifications TO service_role;


--
-- Name: TABLE profiles; Type: ACL; Schema: public; Owner: postgres
--

GRANT ALL ON TABLE public.profiles TO anon;
GRANT ALL ON TABLE public.profiles TO authenticated;
GRANT ALL ON TABLE public.profiles TO service_role;


--
-- Name: TABLE projects; Type: ACL; Schema: public; Owner: postgres
--

GRANT ALL ON TABLE public.projects TO anon;
GRANT ALL ON TABLE public.projects TO authenticated;
GRANT ALL ON TABLE public.projects TO service_role;


--
-- Name: DEFAULT PRIVILEGES FOR SEQUENCES; Type: DEFAULT ACL; Schema: public; Owner: postgres
--

ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA public GRANT ALL ON SEQUENCES  TO anon;
ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA public GRANT ALL ON SEQUENCES  TO authenticated;
ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA public GRANT ALL ON SEQUENCES  TO service_role;


--
-- Name: DEFAULT PRIVILEGES FOR FUNCTIONS; Type: DEFAULT ACL; Schema: public; Owner: postgres
--

ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA public GRANT ALL ON FUNCTIONS  TO anon;
ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA public GRANT ALL ON FUNCTIONS  TO authenticated;
ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA public GRANT ALL ON FUNCTIONS  TO service_role;


--
-- Name: DEFAULT PRIVILEGES FOR TABLES; Type: DEFAULT ACL; Schema: public; Owner: postgres
--

ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA public GRANT ALL ON TABLES  TO anon;
ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA public GRANT ALL ON TABLES  TO authenticated;
ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA public GRANT ALL ON TABLES  TO service_role;


--
-- PostgreSQL database dump complete
--


