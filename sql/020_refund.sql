-- Gives the credits of a job back, if they are not back already. Answers what was given. An asset is paid for
-- once, however many jobs were made for it; what a retry took is what goes back after it. The caller has
-- locked the asset.
CREATE OR REPLACE FUNCTION meshify.refund(p_job uuid, p_user uuid, p_asset uuid) RETURNS numeric
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    v_cost numeric;
    v_owner uuid;
    v_back numeric;
    v_n int;
    v_taken numeric;
BEGIN
    SELECT coalesce(max(r.n), 0) INTO v_n FROM meshify.refunds r WHERE r.job_id = p_job;
    SELECT coalesce(sum(r.credits), 0) INTO v_back
    FROM meshify.refunds r
    WHERE r.job_id = p_job OR r.job_id IN (SELECT j.id FROM meshify.jobs j WHERE j.asset_id = p_asset);
    SELECT -r.credits INTO v_taken FROM meshify.refunds r WHERE r.job_id = p_job AND r.credits < 0 ORDER BY r.n DESC LIMIT 1;
    SELECT coalesce(v_taken, a.credits_cost), a.owner_id INTO v_cost, v_owner FROM public.mesh_assets a WHERE a.id = p_asset;
    IF meshify.setting('refund') IS DISTINCT FROM 'on' OR v_back <> 0 OR v_cost IS NULL OR v_cost <= 0
       OR v_owner IS DISTINCT FROM p_user THEN
        RETURN 0;
    END IF;
    IF v_cost > meshify.setting('refund_max')::numeric THEN
        PERFORM meshify.note(p_job, 'refund_refused', jsonb_build_object('credits', v_cost));
        RAISE WARNING USING ERRCODE = 'MF100', MESSAGE = format('job %s: no refund, its %s credits are above refund_max; '
            'did the user write credits_cost?', p_job, v_cost);
        RETURN 0;
    END IF;
    UPDATE public.profiles p
    SET credits_remaining = p.credits_remaining + v_cost, credits_used = p.credits_used - v_cost
    WHERE p.id = p_user;
    IF NOT FOUND THEN
        v_cost := 0; -- the profile was deleted: written down, so that it is not tried again
    END IF;
    INSERT INTO meshify.refunds (job_id, n, user_id, credits) VALUES (p_job, v_n + 1, p_user, v_cost);
    RETURN v_cost;
END $$;

SELECT meshify.only_for('meshify.refund(uuid, uuid, uuid)');
UPDATE meshify.schema_version SET version = 20, applied_at = now() WHERE version < 20;
