-- What others call: cancel, prediction_changed (enqueue: 029_charges.sql); and the triggers on jobs.
SET LOCAL lock_timeout = '500ms'; -- a busy table: once more; before a deadlock is looked for in others (1 s)
SET LOCAL search_path = pg_catalog, pg_temp; -- nobody's names but PostgreSQL's

-- NULL when nothing of a text would be seen (as str_is_blank() in base/str.c says it); else the text without the
-- blanks around it. The codes are those of UTF-8 databases; elsewhere only ASCII's are met.
CREATE OR REPLACE FUNCTION meshify.unless_blank(p_text text) RETURNS text
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN p_text COLLATE "C" !~ ('^[\u0001-\u0020\u007f-\u00a0\u00ad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f'
        '\u2000-\u200f\u2028-\u202f\u205f-\u206f\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]*$')
        THEN btrim(p_text, E' \t\r\n\f\v') END
$$;

-- Ends a pending job at once where nothing may still run; else asks its worker, or makes it due.
CREATE OR REPLACE FUNCTION meshify.cancel(job_id uuid) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
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

CREATE OR REPLACE FUNCTION meshify.prediction_changed(prediction_id text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    IF EXISTS (SELECT FROM meshify.predictions p
               WHERE p.prediction_id = prediction_changed.prediction_id AND p.finished_at IS NULL) THEN
        PERFORM pg_catalog.pg_notify('meshify_control', json_build_object('prediction', prediction_changed.prediction_id)::text);
    END IF;
END $$;

-- A cancel was asked for, by meshify.cancel() or by somebody who set the column: the worker that has the job
-- hears of it, and one that waits is due, so that whoever takes it cancels what was bought.
CREATE OR REPLACE FUNCTION meshify.cancel_asked() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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

-- Before an asset is deleted: its unfinished job ends with it and the credits go back; what was bought is
-- cancelled by the worker that has the job, or by the next that looks.
CREATE OR REPLACE FUNCTION meshify.asset_deleted() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
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

-- PostgREST serves exposed schemas only: twins in public, for the service role alone.
CREATE OR REPLACE FUNCTION public.meshify_cancel(job_id uuid) RETURNS text
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$ SELECT meshify.cancel($1) $$;
CREATE OR REPLACE FUNCTION public.meshify_prediction_changed(prediction_id text) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$ SELECT meshify.prediction_changed($1) $$;

-- An insert wakes the workers. Once a statement, and only for jobs of ours: NOTIFY makes commits queue up.
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
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = 'public.jobs'::regclass AND t.tgname = 'meshify_notify') THEN
        CREATE TRIGGER meshify_notify AFTER INSERT ON public.jobs REFERENCING NEW TABLE AS fresh
            FOR EACH STATEMENT EXECUTE FUNCTION meshify.notify_jobs();
    END IF;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = 'public.jobs'::regclass AND t.tgname = 'meshify_cancel') THEN
        CREATE TRIGGER meshify_cancel AFTER UPDATE OF cancel_requested_at ON public.jobs FOR EACH ROW
            WHEN (OLD.cancel_requested_at IS NULL AND NEW.cancel_requested_at IS NOT NULL)
            EXECUTE FUNCTION meshify.cancel_asked();
    END IF;
END $do$;
SELECT meshify.only_for('meshify.unless_blank(text)');
SELECT meshify.only_for('meshify.notify_jobs()');
SELECT meshify.only_for('meshify.cancel_asked()');
SELECT meshify.only_for('meshify.asset_deleted()');
SELECT meshify.only_for('meshify.cancel(uuid)', 'service_role', 'meshify_worker');
SELECT meshify.only_for('meshify.prediction_changed(text)', 'service_role', 'meshify_worker');
SELECT meshify.only_for('public.meshify_cancel(uuid)', 'service_role');
SELECT meshify.only_for('public.meshify_prediction_changed(text)', 'service_role');
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'service_role') THEN
        GRANT USAGE ON SCHEMA meshify TO service_role;
    END IF;
END $$;
UPDATE meshify.schema_version SET version = 6, applied_at = now() WHERE version < 6;
