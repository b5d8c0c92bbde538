-- How a worker closes jobs beside somebody who deletes many assets: he holds some, and the profile, and comes for
-- the others. It is the worker that gives way and tries again.

-- The asset's row is locked before the job's; not waited for as long as the server waits to look for a deadlock, as
-- a transaction may hold what the closings before this one locked.
CREATE OR REPLACE FUNCTION meshify.fence_closing(p_worker uuid, p_job uuid) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
BEGIN
    PERFORM FROM public.mesh_assets a
    WHERE a.id = (SELECT j.asset_id FROM meshify.jobs j WHERE j.id = p_job) FOR UPDATE;
    RETURN meshify.fence(p_worker, p_job);
END $$;

-- As end_without; what a trigger of theirs refuses is written down, said, and answered with 'refused'.
CREATE OR REPLACE FUNCTION meshify.try_end(p_job uuid, p_status text, p_sentence text, p_reason text) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
BEGIN
    PERFORM FROM public.profiles p WHERE p.id = (SELECT j.user_id FROM meshify.jobs j WHERE j.id = p_job) FOR UPDATE NOWAIT;
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

SELECT meshify.only_for('meshify.fence_closing(uuid, uuid)');
SELECT meshify.only_for('meshify.try_end(uuid, text, text, text)');
UPDATE meshify.schema_version SET version = 22, applied_at = now() WHERE version < 22;
