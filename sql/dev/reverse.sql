-- Takes meshifyd out of a database: everything of ours goes, with the history of purchases and refunds.
-- Jobs stay as they are, canceled ones too, and so does the value "canceled" of an enum. Stop every
-- meshifyd first: an unfinished purchase is forgotten. To be run by the role that migrated.
BEGIN;
SET LOCAL lock_timeout = '2s'; -- a busy table: once more
SET LOCAL search_path = pg_catalog, pg_temp; -- nobody's names but PostgreSQL's
SET LOCAL client_min_messages = warning; -- not a line for each thing that goes

DO $$
DECLARE
    v_undo text;
BEGIN
    IF to_regclass('meshify.workers') IS NULL THEN
        RAISE EXCEPTION 'there is nothing of meshifyd here';
    ELSIF EXISTS (SELECT FROM meshify.workers w WHERE NOT w.dead AND w.expires_at > now()) THEN
        RAISE EXCEPTION 'a meshifyd is at work' USING HINT = 'Stop it, or wait for its lease to run out.';
    END IF;
    -- Both tables at once, so that nobody finds half of it gone.
    LOCK TABLE public.mesh_assets, public.jobs IN ACCESS EXCLUSIVE MODE;
    DROP TRIGGER IF EXISTS meshify_notify ON public.jobs;
    DROP TRIGGER IF EXISTS meshify_cancel ON public.jobs;
    DROP TRIGGER IF EXISTS meshify_job_deleted ON public.jobs;
    DROP TRIGGER IF EXISTS meshify_job_moved ON public.jobs;
    DROP TRIGGER IF EXISTS meshify_asset_deleted ON public.mesh_assets;
    DROP TRIGGER IF EXISTS meshify_charge ON public.mesh_assets;
    DROP TRIGGER IF EXISTS meshify_asset_renamed ON public.mesh_assets;
    DROP INDEX IF EXISTS public.meshify_jobs_pending, public.meshify_jobs_pending_user, public.meshify_jobs_in_progress, public.meshify_jobs_running,
        public.meshify_jobs_asset, public.meshify_jobs_due;
    DROP VIEW IF EXISTS meshify.jobs CASCADE; -- and what looks at it
    FOR v_undo IN SELECT a.undo FROM meshify.adapted a LOOP
        EXECUTE v_undo;
    END LOOP;
END $$;

DROP FUNCTION IF EXISTS public.meshify_enqueue(uuid, uuid, text, text, boolean, uuid), public.meshify_cancel(uuid),
    public.meshify_prediction_changed(text);
DROP SCHEMA meshify CASCADE;

DO $$
BEGIN
    DROP ROLE meshify_worker;
EXCEPTION WHEN dependent_objects_still_exist OR insufficient_privilege THEN
    NULL; -- another database of this server knows it too
END $$;
COMMIT;
