-- Refunds; deleting an asset, which gives back; and retrying a job, which takes again what was given back.

-- Gives back what was charged for an asset, if p_job was its last job. Answers how much. The caller has locked the
-- asset; where there is no asset any more, calls wait for each other at the charge.
CREATE OR REPLACE FUNCTION meshify.refund(p_job uuid, p_user uuid, p_asset uuid) RETURNS numeric
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    c meshify.charges;
    a record;
    v_back numeric;
    v_own numeric;
    v_given numeric;
BEGIN
    -- Written, not only locked: a transaction that sees an older row, by its isolation level, fails here.
    UPDATE meshify.charges x SET credits = x.credits WHERE x.asset_id = p_asset RETURNING * INTO c;
    SELECT x.owner_id, x.status::text AS status INTO a FROM public.mesh_assets x WHERE x.id = p_asset;
    IF meshify.setting('refund') IS DISTINCT FROM 'on' OR c.credits IS NULL OR c.credits <= 0
       OR a.owner_id IS DISTINCT FROM p_user OR c.user_id IS DISTINCT FROM p_user OR meshify.has_other_job(p_job, p_asset) THEN
        RETURN 0;
    END IF;
    SELECT coalesce(sum(r.credits), 0), coalesce(sum(r.credits) FILTER (WHERE r.job_id = p_job), 0)
    INTO v_back, v_own FROM meshify.refunds r WHERE r.asset_id = p_asset;
    IF v_back > 0 OR c.made_at IS NOT NULL THEN
        PERFORM meshify.bar(p_job, p_asset);
    END IF;
    IF v_back <> 0 OR c.made_at IS NOT NULL OR a.status = 'done' THEN
        IF v_own <= 0 THEN
            PERFORM meshify.note(p_job, 'refund_refused', jsonb_build_object('credits', c.credits, 'reason',
                CASE WHEN v_back <> 0 THEN 'given back for another job of the asset' WHEN meshify.has_made(p_job) THEN 'this job made the asset' ELSE 'another job made the asset' END));
        END IF;
        RETURN 0;
    ELSIF c.credits > meshify.setting('refund_max')::numeric THEN
        PERFORM meshify.note(p_job, 'refund_refused', jsonb_build_object('credits', c.credits));
        RAISE WARNING USING ERRCODE = 'MF100', MESSAGE = format('job %s: no refund, its %s credits are above refund_max; '
            'to allow it: meshifyctl settings refund_max %s', p_job, c.credits, ceil(c.credits));
        RETURN 0;
    END IF;
    UPDATE public.profiles p
    SET credits_remaining = p.credits_remaining + c.credits, credits_used = p.credits_used - c.credits
    WHERE p.id = p_user;
    v_given := CASE WHEN FOUND THEN c.credits ELSE 0 END; -- the profile was deleted: that is written down, too
    INSERT INTO meshify.refunds (job_id, n, asset_id, user_id, credits)
    SELECT p_job, coalesce(max(r.n), 0) + 1, p_asset, p_user, v_given FROM meshify.refunds r WHERE r.job_id = p_job;
    PERFORM meshify.bar(p_job, p_asset) WHERE v_given > 0;
    RETURN v_given;
END $$;

-- Tries a job again that failed or was canceled, or whose status somebody wrote after its credits had gone back.
-- Credits that were given back are taken again from the user who got them, if that user has enough.
CREATE OR REPLACE FUNCTION meshify.retry(p_job uuid) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    j record;
    a record;
    v_back numeric;
BEGIN
    PERFORM FROM public.mesh_assets x WHERE x.id = (SELECT y.asset_id FROM meshify.jobs y WHERE y.id = p_job) FOR UPDATE;
    SELECT x.status::text AS status, x.user_id, x.asset_id INTO j
    FROM meshify.jobs x WHERE x.id = p_job FOR UPDATE;
    IF NOT FOUND THEN
        RETURN 'gone';
    ELSIF j.status = 'done' THEN
        RETURN 'done';
    ELSIF j.status IN ('pending', 'running') AND NOT meshify.is_barred(p_job, j.asset_id) THEN
        RETURN 'unfinished';
    END IF;
    SELECT x.status::text AS status, x.owner_id INTO a FROM public.mesh_assets x WHERE x.id = j.asset_id;
    IF NOT FOUND THEN
        RETURN 'no_asset';
    ELSIF a.status = 'done' THEN
        RETURN 'done'; -- by another job: its row and file stay
    ELSIF a.owner_id IS DISTINCT FROM j.user_id AND meshify.is_refunded(j.asset_id) THEN
        RETURN 'no_asset'; -- of this user, who got nothing back
    END IF;

    PERFORM FROM meshify.charges c WHERE c.asset_id = j.asset_id FOR UPDATE;
    SELECT coalesce(sum(r.credits), 0) INTO v_back FROM meshify.refunds r WHERE r.asset_id = j.asset_id;
    IF v_back > 0 THEN
        UPDATE public.profiles p
        SET credits_remaining = p.credits_remaining - v_back, credits_used = p.credits_used + v_back
        WHERE p.id = j.user_id AND p.credits_remaining >= v_back AND p.credits_remaining::float8 <> 'NaN';
        IF NOT FOUND THEN
            RETURN 'credits';
        END IF;
        INSERT INTO meshify.refunds (job_id, n, asset_id, user_id, credits)
        SELECT p_job, coalesce(max(r.n), 0) + 1, j.asset_id, j.user_id, -v_back FROM meshify.refunds r WHERE r.job_id = p_job;
    END IF;
    -- Replicate's listing does not show a purchase this old any more: the operator has decided.
    UPDATE meshify.predictions p SET state = 'given_up'
    WHERE p.job_id = p_job AND p.state = 'intended' AND p.intent_at < now() - interval '1 hour';
    -- A prediction that still runs for an ended job is being canceled: to poll it would cost this try an attempt.
    UPDATE meshify.predictions p SET state = 'surplus' WHERE p.job_id = p_job AND p.state = 'bought' AND p.finished_at IS NULL;
    UPDATE meshify.jobs x
    SET status = 'pending', error = meshify.null_or_empty('public.jobs', 'error', NULL), completed_at = NULL, attempts = 0, crashes = 0, progress = NULL, worker_id = NULL,
        run_after = now(), worked = '0', cancel_requested_at = NULL
    WHERE x.id = p_job;
    UPDATE public.mesh_assets x SET status = 'pending' WHERE x.id = j.asset_id;
    PERFORM meshify.retried(p_job);
    DELETE FROM meshify.barred b WHERE b.job_id = p_job;
    PERFORM meshify.note(p_job, 'retried', CASE WHEN v_back > 0 THEN jsonb_build_object('credits', v_back) END);
    PERFORM pg_catalog.pg_notify('meshify_jobs', '');
    RETURN 'ok';
END $$;

-- The error that a job gets which nobody may work on.
CREATE OR REPLACE FUNCTION meshify.why_barred(p_job uuid) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN meshify.is_made((SELECT j.asset_id FROM meshify.jobs j WHERE j.id = p_job))
           THEN jsonb_build_object('sentence', 'This mesh was made before.', 'reason', 'made_before')
           ELSE jsonb_build_object('sentence', 'The credits for this mesh were given back, so it was not made.', 'reason', 'refunded') END
$$;

-- Before an asset is deleted its unfinished job ends, and the credits go back. What was bought is canceled by the
-- worker that has the job, or by the next audit.
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

SELECT meshify.restrict_execute('meshify.refund(uuid, uuid, uuid)');
SELECT meshify.restrict_execute('meshify.retry(uuid)', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.why_barred(uuid)');
SELECT meshify.restrict_execute('meshify.asset_deleted()');
