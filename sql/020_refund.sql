-- The ledger. An asset is paid for once, however many jobs were made for it: its credits go back once, too, and a
-- retry takes again what went back for any of them.

CREATE OR REPLACE FUNCTION meshify.ledger(p_job uuid, p_asset uuid) RETURNS SETOF meshify.refunds
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN RETURN QUERY
    SELECT r.* FROM meshify.refunds r
    WHERE r.job_id IN (SELECT p_job UNION SELECT j.id FROM meshify.jobs j WHERE j.asset_id = p_asset);
END $$;

-- Gives the credits of a job back, if they are not back already. Answers what was given. The caller has locked
-- the asset.
CREATE OR REPLACE FUNCTION meshify.refund(p_job uuid, p_user uuid, p_asset uuid) RETURNS numeric
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    a record;
    v_cost numeric;
    v_back numeric;
    v_own numeric;
    v_n int;
BEGIN
    SELECT x.credits_cost, x.owner_id, x.status::text AS status INTO a FROM public.mesh_assets x WHERE x.id = p_asset;
    SELECT coalesce(sum(l.credits), 0), coalesce(sum(l.credits) FILTER (WHERE l.job_id = p_job), 0),
           coalesce(max(l.n) FILTER (WHERE l.job_id = p_job), 0),
           -- What a retry took, whatever the asset's row says by now.
           coalesce((array_agg(-l.credits ORDER BY l.at DESC, l.n DESC) FILTER (WHERE l.credits < 0))[1], a.credits_cost)
    INTO v_back, v_own, v_n, v_cost FROM meshify.ledger(p_job, p_asset) l;
    IF meshify.setting('refund') IS DISTINCT FROM 'on' OR v_cost IS NULL OR v_cost <= 0 OR v_own > 0
       OR a.owner_id IS DISTINCT FROM p_user THEN
        RETURN 0;
    END IF;
    IF v_back > 0 OR a.status = 'done' THEN
        PERFORM meshify.note(p_job, 'refund_refused', jsonb_build_object('credits', v_cost, 'reason',
            CASE WHEN v_back > 0 THEN 'given back for another job of the asset' ELSE 'another job made the asset' END));
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

-- A job that failed or was canceled, again. Credits that were given back are taken again, if they suffice.
CREATE OR REPLACE FUNCTION meshify.retry(p_job uuid) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    j record;
    v_back numeric;
    v_n int;
BEGIN
    PERFORM FROM public.mesh_assets a WHERE a.id = (SELECT x.asset_id FROM meshify.jobs x WHERE x.id = p_job) FOR UPDATE;
    SELECT x.status::text AS status, x.user_id, x.asset_id INTO j
    FROM meshify.jobs x WHERE x.id = p_job FOR UPDATE;
    IF NOT FOUND THEN
        RETURN 'gone';
    ELSIF j.status = 'done' THEN
        RETURN 'done';
    ELSIF j.status IN ('pending', 'running') THEN
        RETURN 'unfinished';
    ELSIF NOT EXISTS (SELECT FROM public.mesh_assets a WHERE a.id = j.asset_id) THEN
        RETURN 'no_asset';
    ELSIF EXISTS (SELECT FROM public.mesh_assets a WHERE a.id = j.asset_id AND a.status = 'done') THEN
        RETURN 'done'; -- by another job: its row and file stay
    END IF;

    SELECT coalesce(sum(l.credits), 0), coalesce(max(l.n) FILTER (WHERE l.job_id = p_job), 0) INTO v_back, v_n
    FROM meshify.ledger(p_job, j.asset_id) l;
    IF v_back > 0 THEN
        UPDATE public.profiles p
        SET credits_remaining = p.credits_remaining - v_back, credits_used = p.credits_used + v_back
        WHERE p.id = j.user_id AND p.credits_remaining >= v_back AND p.credits_remaining::float8 <> 'NaN';
        IF NOT FOUND THEN
            RETURN 'credits';
        END IF;
        INSERT INTO meshify.refunds (job_id, n, user_id, credits) VALUES (p_job, v_n + 1, j.user_id, -v_back);
    END IF;
    -- Nothing can be found out any more about a purchase this old: the operator has decided.
    UPDATE meshify.predictions p SET state = 'given_up'
    WHERE p.job_id = p_job AND p.state = 'intended' AND p.intent_at < now() - interval '1 hour';
    UPDATE meshify.jobs x
    SET status = 'pending', error = meshify.fit('public.jobs', 'error', NULL), completed_at = NULL, attempts = 0, crashes = 0, progress = NULL, worker_id = NULL,
        run_after = now(), worked = '0', cancel_requested_at = NULL
    WHERE x.id = p_job;
    UPDATE public.mesh_assets a SET status = 'pending' WHERE a.id = j.asset_id;
    PERFORM meshify.note(p_job, 'retried', CASE WHEN v_back > 0 THEN jsonb_build_object('credits', v_back) END);
    PERFORM pg_catalog.pg_notify('meshify_jobs', '');
    RETURN 'ok';
END $$;

SELECT meshify.only_for('meshify.ledger(uuid, uuid)');
SELECT meshify.only_for('meshify.refund(uuid, uuid, uuid)');
SELECT meshify.only_for('meshify.retry(uuid)', 'meshify_worker');
UPDATE meshify.schema_version SET version = 20, applied_at = now() WHERE version < 20;
