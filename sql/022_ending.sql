-- How a worker closes jobs beside somebody who deletes many assets: he holds some, and the profile, and comes for
-- the others. It is the worker that gives way and tries again, before the server looks for a deadlock (after 1 s):
-- its transaction may hold what other calls in it locked.

-- The asset's row is locked before the job's.
CREATE OR REPLACE FUNCTION meshify.fence_closing(p_worker uuid, p_job uuid) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
BEGIN
    PERFORM FROM public.mesh_assets a
    WHERE a.id = (SELECT j.asset_id FROM meshify.jobs j WHERE j.id = p_job) FOR UPDATE;
    RETURN meshify.fence(p_worker, p_job);
END $$;

-- Fails where somebody else holds it.
CREATE OR REPLACE FUNCTION meshify.lock_profile(p_job uuid) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM public.profiles p
    WHERE p.id = (SELECT j.user_id FROM meshify.jobs j WHERE j.id = p_job) FOR NO KEY UPDATE NOWAIT;
END $$;

-- As end_without; what a trigger of theirs refuses is written down, said, and answered with 'refused'.
CREATE OR REPLACE FUNCTION meshify.try_end(p_job uuid, p_status text, p_sentence text, p_reason text) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
BEGIN
    PERFORM meshify.lock_profile(p_job);
    PERFORM meshify.end_without(p_job, p_status, p_sentence, p_reason);
    RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
    IF SQLSTATE ~ '^(40|53|55|57|58|XX)' THEN
        RAISE; -- the same again may do
    END IF;
    PERFORM meshify.note(p_job, 'unended', jsonb_build_object('reason', p_reason, 'error', left(SQLERRM, 200)));
    RAISE WARNING 'job % can''t be ended, nothing more is bought for it: %', p_job, left(SQLERRM, 200) USING ERRCODE = 'MF500';
    RETURN 'refused';
END $$;

CREATE OR REPLACE FUNCTION meshify.hand_back(
    p_worker uuid, p_job uuid, p_delay interval, p_counted boolean, p_worked interval, p_reason text)
    RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    v_answer text := meshify.fence_closing(p_worker, p_job);
BEGIN
    IF v_answer NOT IN ('ok', 'cancel') THEN
        RETURN v_answer;
    END IF;
    IF v_answer = 'cancel' AND NOT meshify.may_run(p_job) THEN
        PERFORM meshify.lock_profile(p_job);
        PERFORM meshify.end_without(p_job, 'canceled', 'canceled', 'canceled');
        RETURN 'closed';
    END IF;
    UPDATE meshify.jobs j
    SET status = 'pending', worker_id = NULL, worked = meshify.add_worked(j.worked, extract(epoch FROM p_worked)::float8),
        run_after = now() + CASE WHEN meshify.unended(p_job) THEN greatest(p_delay, '1 min') WHEN v_answer = 'cancel' THEN '0' ELSE p_delay END,
        attempts = CASE WHEN p_counted THEN j.attempts ELSE greatest(j.attempts, 1) - 1 END
    WHERE j.id = p_job;
    UPDATE public.mesh_assets a SET status = 'pending'
    FROM meshify.jobs j WHERE j.id = p_job AND a.id = j.asset_id AND a.status = 'running';
    PERFORM meshify.note(p_job, 'handed_back', jsonb_build_object('reason', p_reason, 'delay', p_delay, 'counted', p_counted));
    IF p_delay <= interval '0' OR v_answer = 'cancel' THEN
        PERFORM pg_catalog.pg_notify('meshify_jobs', '');
    END IF;
    RETURN 'ok';
END $$;

-- These travel with closings.
ALTER FUNCTION meshify.intend(uuid, uuid, text, int, int, text, text, jsonb, interval, bigint) SET lock_timeout = '200ms';
ALTER FUNCTION meshify.record(uuid, bigint, text, text) SET lock_timeout = '200ms';

SELECT meshify.only_for('meshify.lock_profile(uuid)');
SELECT meshify.only_for('meshify.hand_back(uuid, uuid, interval, boolean, interval, text)', 'meshify_worker');
SELECT meshify.only_for('meshify.fence_closing(uuid, uuid)');
SELECT meshify.only_for('meshify.try_end(uuid, text, text, text)');
UPDATE meshify.schema_version SET version = 22, applied_at = now() WHERE version < 22;
