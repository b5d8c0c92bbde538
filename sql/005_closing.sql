-- Closing: asset, job, notification, refund and event change together or not at all. All lock the
-- asset, then the job, then the charge, then the profile. Refunds: 029_charges.sql; the locks, and handing back: 022_ending.sql.

CREATE OR REPLACE FUNCTION meshify.insert_notification(p_user uuid, p_type text, p_title text, p_message text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO public.notifications (user_id, type, title, message)
    SELECT n.user_id, n.type, n.title, n.message -- as whatever type these have
    FROM jsonb_populate_record(NULL::public.notifications, jsonb_build_object(
        'user_id', p_user, 'type', p_type, 'title', p_title, 'message', p_message)) n;
END $$;

-- No notification is worth a job that can't be closed: the table may be missing, or refuse, or take its time. Then it is
-- an event of the job, said once. Of a batch nothing is caught: it is sent again, one call at a time. What may pass (a
-- lock, a shortage) is passed on, so that the closing is tried again, but not for ever.
DROP FUNCTION IF EXISTS meshify.notify_user(uuid, text, text, text);
CREATE OR REPLACE FUNCTION meshify.notify_user(p_user uuid, p_type text, p_title text, p_message text, p_job uuid DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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

-- The beginning of the prompt. What is too large to be a request is not read.
CREATE OR REPLACE FUNCTION meshify.prompt_of(p_input jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS
$$ SELECT left(CASE WHEN pg_column_size(p_input) > meshify.max_input() THEN '' WHEN jsonb_typeof(p_input -> 'prompt') = 'string' THEN p_input ->> 'prompt' ELSE '' END, 100) $$;

-- A trigger of theirs may have taken back what was just written: then all of it is undone.
CREATE OR REPLACE FUNCTION meshify.has_ended(p_job uuid) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM meshify.jobs j WHERE j.id = p_job AND j.status IN ('pending', 'running')) THEN
        RAISE EXCEPTION 'a trigger on public.jobs keeps the status from changing';
    END IF;
END $$;

-- Ends a job that got no mesh. The caller holds the locks and knows that it may. The row is written once: a second
-- time its foreign keys would be checked, and the project may be gone by now.
CREATE OR REPLACE FUNCTION meshify.end_without(
    p_job uuid, p_status text, p_sentence text, p_reason text, p_asset_stays boolean DEFAULT true)
    RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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

CREATE OR REPLACE FUNCTION meshify.fail(p_worker uuid, p_job uuid, p_sentence text, p_reason text) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
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

CREATE OR REPLACE FUNCTION meshify.canceled(p_worker uuid, p_job uuid) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
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

-- May something that was bought for this job still run?
CREATE OR REPLACE FUNCTION meshify.may_run(p_job uuid) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (SELECT FROM meshify.predictions p
                   WHERE p.job_id = p_job AND p.state IN ('intended', 'bought', 'surplus') AND p.finished_at IS NULL)
$$;

SELECT meshify.only_for('meshify.insert_notification(uuid, text, text, text)');
SELECT meshify.only_for('meshify.notify_user(uuid, text, text, text, uuid)');
SELECT meshify.only_for('meshify.prompt_of(jsonb)');
SELECT meshify.only_for('meshify.has_ended(uuid)');
SELECT meshify.only_for('meshify.end_without(uuid, text, text, text, boolean)');
SELECT meshify.only_for('meshify.may_run(uuid)');
SELECT meshify.only_for('meshify.fail(uuid, uuid, text, text)', 'meshify_worker');
SELECT meshify.only_for('meshify.canceled(uuid, uuid)', 'meshify_worker');
UPDATE meshify.schema_version SET version = 5, applied_at = now() WHERE version < 5;
