-- Closing a job, or requeueing it: asset, job, notification, refund and event change together or not at all. First the
-- calls of a worker, each fenced; then what they write. A closing that is refused is parked: parking.sql.

-- Ends a job without a mesh, as failed, or as canceled if a cancel was asked for.
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
    -- A user who has asked for a cancel is not told of a failure.
    RETURN meshify.end_or_park(p_job, CASE v_answer WHEN 'cancel' THEN 'canceled' ELSE 'error' END,
                               jsonb_build_object('sentence', p_sentence, 'reason', p_reason));
END $$;

-- Ends a job as canceled.
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

-- Is the asset there that this job's mesh is for, and may the mesh be written to it? It may if the asset belongs to
-- the job's user, or if that user was charged for it. A job's row may name another asset than when the job was
-- claimed: the asset of somebody else is not overwritten.
CREATE OR REPLACE FUNCTION meshify.may_have_mesh(p_job uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN RETURN EXISTS (SELECT FROM public.mesh_assets a JOIN meshify.jobs x ON x.asset_id = a.id
                     LEFT JOIN meshify.charges c ON c.asset_id = a.id
                     WHERE x.id = p_job AND x.user_id IN (a.owner_id, c.user_id));
END $$;

-- Ends a job with its mesh. 'keep': no row will name the object through this job, but another job's does; 'refused':
-- the mesh is not for this asset.
CREATE OR REPLACE FUNCTION meshify.done(
    p_worker uuid, p_job uuid, p_path text, p_size bigint, p_mime text, p_output_data jsonb, p_result_meta jsonb)
    RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
    v_answer text := meshify.fence_closing(p_worker, p_job);
BEGIN
    -- The worker was about to close it, and did not: its asset was deleted.
    IF v_answer = 'closed' AND EXISTS (SELECT FROM meshify.jobs x WHERE x.id = p_job AND x.status <> 'done') THEN
        v_answer := 'cancel';
    END IF;
    -- No row will name the object, unless another job of the asset has stored one of this name.
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

-- Requeues a job. p_counted: the attempt counts.
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

-- Requeues the job and gives up these purchases in one transaction. The next worker then need not look for purchases
-- that were certainly not made, which it could not find once their hour is over, and does not meet purchases that
-- its configuration has no step for. A purchase that was recorded meanwhile stays as it is.
CREATE OR REPLACE FUNCTION meshify.hand_back_without(
    p_worker uuid, p_job uuid, p_delay interval, p_counted boolean, p_worked interval, p_reason text, p_purchases jsonb)
    RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
BEGIN
    IF meshify.fence_closing(p_worker, p_job) IN ('ok', 'cancel') THEN
        PERFORM meshify.do_without(p_job, p_purchases);
    END IF;
    RETURN meshify.hand_back(p_worker, p_job, p_delay, p_counted, p_worked, p_reason);
END $$;

-- Writes the end of a job that got no mesh. The caller holds the locks and knows that it may. The row is written
-- once: a second time its foreign keys would be checked, and the project may be gone by then.
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
            SET status = 'canceled', error = meshify.null_or_empty('public.jobs', 'error', NULL), completed_at = now(),
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

-- Writes the end of a job that got its mesh. The caller holds the locks and knows that it may.
CREATE OR REPLACE FUNCTION meshify.end_with(p_job uuid, p_args jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    j record;
    v_size bigint := (p_args ->> 'size')::bigint;
BEGIN
    UPDATE meshify.jobs x
    SET status = 'done', output_data = p_args -> 'output_data', error = meshify.null_or_empty('public.jobs', 'error', NULL), completed_at = now(), progress = 1
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

-- Writes a requeued job. The caller holds the locks and knows that it may. A job that has its mesh only waits for
-- its closing.
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

-- Raises an error if a trigger of the project has taken back the end that was just written, so that all of it is
-- undone.
CREATE OR REPLACE FUNCTION meshify.has_ended(p_job uuid) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM meshify.jobs j WHERE j.id = p_job AND j.status IN ('pending', 'running')) THEN
        RAISE EXCEPTION 'a trigger on public.jobs keeps the status from changing';
    END IF;
END $$;

SELECT meshify.restrict_execute('meshify.fail(uuid, uuid, text, text)', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.canceled(uuid, uuid)', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.may_have_mesh(uuid)');
SELECT meshify.restrict_execute('meshify.done(uuid, uuid, text, bigint, text, jsonb, jsonb)', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.hand_back(uuid, uuid, interval, boolean, interval, text)', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.hand_back_without(uuid, uuid, interval, boolean, interval, text, jsonb)', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.end_without(uuid, text, text, text, boolean)');
SELECT meshify.restrict_execute('meshify.end_with(uuid, jsonb)');
SELECT meshify.restrict_execute('meshify.put_back(uuid, jsonb)');
SELECT meshify.restrict_execute('meshify.has_ended(uuid)');
