-- Rows and tables that others hold. A row that is locked is answered, 'busy', and not waited for: the transaction may
-- hold rows that other calls in it locked. Where somebody locks it again and again it is never found free: so the call
-- is sent again alone, and waits for a moment, in line with the others. All lock the asset, then the job, then the
-- charge, then the profile; meshify.enqueue() locks the project, then the profile.

-- Does a fault still hold up everything of this kind ('claims', 'notifications')?
CREATE OR REPLACE FUNCTION meshify.is_troubled(p_what text) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$ BEGIN RETURN EXISTS (SELECT FROM meshify.troubles t WHERE t.what = p_what AND t.until > now()); END $$;

-- Records a fault for a time. True: it has to be said, since it is another fault, or the last was said more than an
-- hour ago. Only one session writes it at a time, and no session waits for that: a user's transaction may stay open
-- for long.
CREATE OR REPLACE FUNCTION meshify.trouble(p_what text, p_error text, p_for interval) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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

-- Has this statement taken so long that its time-out may have struck? It strikes only once: after that nothing ends
-- the next wait, so the function that has caught it has to return.
CREATE OR REPLACE FUNCTION meshify.is_late() RETURNS boolean
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS
$$ SELECT clock_timestamp() > statement_timestamp() + interval '2 s' $$;

-- May the same call succeed when it is made again? So after a lock, a shortage, or an operator's intervention.
CREATE OR REPLACE FUNCTION meshify.may_pass(p_state text) RETURNS boolean
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS
$$ SELECT p_state ~ '^(40|53|55P03|57|58)' $$;

-- How the program has sent this call. 'batch': with others in one transaction; 'alone'; 'wait': alone, and it may
-- wait for a row's lock; 'old': the program does not say, nor does somebody at a prompt.
CREATE OR REPLACE FUNCTION meshify.sent_as() RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS
$$ SELECT coalesce(nullif(current_setting('meshify.sent_as', true), ''), 'old') $$;

-- How often this call was made before.
CREATE OR REPLACE FUNCTION meshify.tries() RETURNS int
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS
$$ SELECT coalesce(nullif(current_setting('meshify.tries', true), ''), '0')::int $$;

-- May the tables of the project be written to? Somebody may hold one, to build an index, say. The question does not
-- wait. In a batch it is not asked, since it would need a subtransaction: a batch that meets such a lock is sent
-- again, one call at a time. So is a batch that takes long, because of slow triggers, say: heartbeats wait behind
-- it.
CREATE OR REPLACE FUNCTION meshify.tables_are_free(p_always boolean DEFAULT false) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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

-- The answer for a row that somebody else has locked: an error for a caller that does not say how it sends its
-- calls.
CREATE OR REPLACE FUNCTION meshify.busy() RETURNS text
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF meshify.sent_as() = 'old' THEN
        RAISE EXCEPTION 'a row of the job is locked' USING ERRCODE = 'lock_not_available';
    END IF;
    RETURN 'busy';
END $$;

-- Locks the job's row and says whose the job is: 'ok' (the worker's), 'cancel' (the worker's, and a cancel was asked
-- for), 'closed' (ended by the worker), 'lost' (another's), 'gone' (deleted, or its credits were given back, so that
-- no mesh is made for it; a job whose mesh was made is not claimed, and never gets here), 'busy' (somebody else has
-- locked the row).
CREATE OR REPLACE FUNCTION meshify.fence(p_worker uuid, p_job uuid) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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

-- The same for a closing, which locks the asset's row before the job's.
CREATE OR REPLACE FUNCTION meshify.fence_closing(p_worker uuid, p_job uuid) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
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

-- False: somebody else has locked the profile. With p_shared the lock is only against changes of its key, as a
-- foreign key takes it.
CREATE OR REPLACE FUNCTION meshify.lock_profile(p_job uuid, p_shared boolean DEFAULT false) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
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

-- Does a notification lock the profile that it is for?
CREATE OR REPLACE FUNCTION meshify.notification_locks_profile() RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN RETURN EXISTS (SELECT FROM pg_catalog.pg_constraint c
                     WHERE c.conrelid = to_regclass('public.notifications') AND c.confrelid = to_regclass('public.profiles')); END $$;

SELECT meshify.restrict_execute('meshify.is_troubled(text)');
SELECT meshify.restrict_execute('meshify.trouble(text, text, interval)');
SELECT meshify.restrict_execute('meshify.is_late()');
SELECT meshify.restrict_execute('meshify.may_pass(text)');
SELECT meshify.restrict_execute('meshify.sent_as()');
SELECT meshify.restrict_execute('meshify.tries()');
SELECT meshify.restrict_execute('meshify.tables_are_free(boolean)');
SELECT meshify.restrict_execute('meshify.busy()');
SELECT meshify.restrict_execute('meshify.fence(uuid, uuid)');
SELECT meshify.restrict_execute('meshify.fence_closing(uuid, uuid)');
SELECT meshify.restrict_execute('meshify.lock_profile(uuid, boolean)');
SELECT meshify.restrict_execute('meshify.notification_locks_profile()');
