-- Functions that are written for the columns that this project's tables have.

-- An insert wakes the workers: once a statement, and only for jobs of ours, since NOTIFY makes commits queue up.
DO $do$
BEGIN
    EXECUTE format($$
        CREATE OR REPLACE FUNCTION meshify.notify_jobs() RETURNS trigger
            LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $f$
        BEGIN
            IF EXISTS (SELECT FROM fresh WHERE %s AND fresh.status = 'pending') THEN
                PERFORM pg_catalog.pg_notify('meshify_jobs', '');
            END IF;
            RETURN NULL;
        END $f$ $$, meshify.is_ours('fresh'));
END $do$;

-- Before a job's row is deleted, by hand or with its project: what was charged goes back if this was the asset's last
-- job, and what was bought is nobody's. The job is locked before its asset here, against the order of all others: so
-- this call gives way, before the server looks for a deadlock (after 1 s).
DO $do$
BEGIN
    EXECUTE format($$
        CREATE OR REPLACE FUNCTION meshify.job_deleted() RETURNS trigger
            LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '800ms' AS $f$
        BEGIN
            IF NOT (%s) OR OLD.status NOT IN ('pending', 'running') THEN
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
        END $f$ $$, meshify.is_ours('OLD'));
END $do$;

-- Keeps a project from being deleted until this transaction ends, and says whether it is the user's: 'ok', 'other',
-- 'gone'. Where no column says whose a project is, it is anybody's.
DO $do$
DECLARE
    v_owner text := (SELECT 'coalesce(' || string_agg(format('p.%I::text', c.name), ', ' ORDER BY c.n) || ')'
                     FROM unnest(meshify.project_owner_columns()) WITH ORDINALITY AS c (name, n));
BEGIN
    EXECUTE format($$
        CREATE OR REPLACE FUNCTION meshify.lock_project(p_project uuid, p_user uuid) RETURNS text
            LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $f$
        DECLARE
            v_owner text;
        BEGIN
            SELECT %s INTO v_owner FROM public.projects p WHERE p.id = p_project FOR KEY SHARE;
            RETURN CASE WHEN NOT FOUND THEN 'gone' WHEN v_owner = p_user::text THEN 'ok' ELSE 'other' END;
        END $f$ $$, coalesce(v_owner, 'p_user::text'));
END $do$;

SELECT meshify.restrict_execute('meshify.notify_jobs()');
SELECT meshify.restrict_execute('meshify.job_deleted()');
SELECT meshify.restrict_execute('meshify.lock_project(uuid, uuid)');
