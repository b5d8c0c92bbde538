-- Closing a job that got its mesh: asset, job, notification and event, all or none.

-- Is the asset there that this job's mesh is for, and may it have it? Its user's own may, and one that its user was
-- charged for. A job's row may name another asset than when it was claimed: somebody else's is not written over.
CREATE OR REPLACE FUNCTION meshify.may_have_mesh(p_job uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN RETURN EXISTS (SELECT FROM public.mesh_assets a JOIN meshify.jobs x ON x.asset_id = a.id
                     LEFT JOIN meshify.charges c ON c.asset_id = a.id
                     WHERE x.id = p_job AND x.user_id IN (a.owner_id, c.user_id));
END $$;

CREATE OR REPLACE FUNCTION meshify.done(
    p_worker uuid, p_job uuid, p_path text, p_size bigint, p_mime text, p_output_data jsonb, p_result_meta jsonb)
    RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
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

-- The rows. The caller holds the locks and knows that it may.
CREATE OR REPLACE FUNCTION meshify.end_with(p_job uuid, p_args jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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

SELECT meshify.only_for('meshify.done(uuid, uuid, text, bigint, text, jsonb, jsonb)', 'meshify_worker');
SELECT meshify.only_for('meshify.may_have_mesh(uuid)');
SELECT meshify.only_for('meshify.end_with(uuid, jsonb)');
UPDATE meshify.schema_version SET version = 17, applied_at = now() WHERE version < 17;
