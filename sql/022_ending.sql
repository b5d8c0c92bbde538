-- How a worker closes jobs beside somebody who holds rows, or whose triggers refuse. A row that is locked is an answer,
-- 'busy', and no wait: the transaction may hold what other calls in it locked. Where somebody locks it again and again it
-- is never found free: then a call is sent alone, to wait for it for a moment, in line with the others. A closing that is refused is parked: see
-- 028_locks.sql.

-- The asset's row is locked before the job's.
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

-- False where somebody else holds it. p_shared: only against those who change its key, as a foreign key does.
DROP FUNCTION IF EXISTS meshify.lock_profile(uuid);
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

CREATE OR REPLACE FUNCTION meshify.hand_back(
    p_worker uuid, p_job uuid, p_delay interval, p_counted boolean, p_worked interval, p_reason text)
    RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
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

-- The rows of a hand-back. The caller holds the locks and knows that it may. What has its mesh waits for its closing alone.
CREATE OR REPLACE FUNCTION meshify.put_back(p_job uuid, p_args jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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

-- These travel with closings.
DO $$
DECLARE
    f regprocedure;
BEGIN
    FOR f IN SELECT p.oid FROM pg_catalog.pg_proc p WHERE p.pronamespace = 'meshify'::regnamespace
             AND p.proname IN ('intend', 'intend_purchase', 'record', 'record_purchase', 'settle', 'settle_purchase', 'further', 'progress') LOOP
        EXECUTE format('ALTER FUNCTION %s SET lock_timeout = %L', f, '200ms');
    END LOOP;
END $$;

DROP FUNCTION IF EXISTS meshify.try_end(uuid, text, text, text);
SELECT meshify.only_for('meshify.lock_profile(uuid, boolean)');
SELECT meshify.only_for('meshify.hand_back(uuid, uuid, interval, boolean, interval, text)', 'meshify_worker');
SELECT meshify.only_for('meshify.put_back(uuid, jsonb)');
SELECT meshify.only_for('meshify.fence_closing(uuid, uuid)');
UPDATE meshify.schema_version SET version = 22, applied_at = now() WHERE version < 22;
