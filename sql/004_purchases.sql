-- Purchases. A decision is fenced by the worker's id on the job; a fact is written by whoever knows it.

-- Locks the job's row and says whose it is: 'ok', 'cancel' (ours, a cancel was asked for), 'closed'
-- (ended by us), 'lost' (another's), 'gone' (deleted, or its credits were given back: nothing is made for it).
CREATE OR REPLACE FUNCTION meshify.fence(p_worker uuid, p_job uuid) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_status text;
    v_worker uuid;
    v_cancel timestamptz;
    v_asset uuid;
BEGIN
    SELECT j.status::text, j.worker_id, j.cancel_requested_at, j.asset_id INTO v_status, v_worker, v_cancel, v_asset
    FROM meshify.jobs j WHERE j.id = p_job FOR UPDATE;
    RETURN CASE
        WHEN NOT FOUND THEN 'gone'
        WHEN v_worker IS DISTINCT FROM p_worker THEN 'lost'
        WHEN v_status IN ('done', 'error', 'canceled') THEN 'closed'
        WHEN v_status <> 'running' THEN 'lost'
        WHEN meshify.is_refunded(v_asset) THEN 'gone'
        WHEN v_cancel IS NOT NULL THEN 'cancel'
        ELSE 'ok' END;
END $$;

CREATE OR REPLACE FUNCTION meshify.intend(
    p_worker uuid, p_job uuid, p_step text, p_purchase int, p_attempt int, p_model text, p_input_hash text,
    p_input_keys jsonb, p_give_up_after interval, p_give_up bigint)
    RETURNS TABLE (answer text, id bigint, prediction_id text)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    v_old meshify.predictions;
    v_row meshify.predictions;
BEGIN
    answer := meshify.fence(p_worker, p_job);
    IF answer <> 'ok' THEN
        RETURN NEXT;
        RETURN;
    END IF;
    IF p_give_up IS NOT NULL THEN
        SELECT * INTO v_old FROM meshify.predictions p WHERE p.id = p_give_up AND p.job_id = p_job FOR UPDATE;
        IF v_old.state = 'bought' THEN
            answer := 'bought';
            id := v_old.id;
            prediction_id := v_old.prediction_id;
            RETURN NEXT;
            RETURN;
        END IF;
        UPDATE meshify.predictions p SET state = 'given_up' WHERE p.id = p_give_up AND p.state = 'intended';
        IF FOUND THEN
            PERFORM meshify.note(p_job, 'given_up', jsonb_build_object('purchase', p_give_up));
        END IF;
    END IF;
    INSERT INTO meshify.predictions AS p
        (job_id, step, purchase, attempt, worker_id, state, give_up_after, model, input_hash, input_keys)
    VALUES (p_job, p_step, p_purchase, p_attempt, p_worker, 'intended', now() + p_give_up_after, p_model,
            p_input_hash, p_input_keys)
    ON CONFLICT (job_id, step, purchase) DO NOTHING
    RETURNING p.* INTO v_row;
    IF NOT FOUND THEN -- sent again after a lost answer?
        SELECT * INTO v_row FROM meshify.predictions p
        WHERE p.job_id = p_job AND p.step = p_step AND p.purchase = p_purchase
          AND p.worker_id = p_worker AND p.state = 'intended' AND p.input_hash = p_input_hash;
        answer := CASE WHEN FOUND THEN 'ok' ELSE 'lost' END;
    ELSE
        PERFORM meshify.note(p_job, 'intended', jsonb_build_object('step', p_step, 'purchase', p_purchase, 'model', p_model));
    END IF;
    id := v_row.id;
    RETURN NEXT;
END $$;

CREATE OR REPLACE FUNCTION meshify.record(p_worker uuid, p_purchase bigint, p_prediction text, p_status text)
    RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    v_row meshify.predictions;
    v_answer text;
    v_new boolean;
BEGIN
    SELECT * INTO v_row FROM meshify.predictions p WHERE p.id = p_purchase;
    IF NOT FOUND THEN
        RETURN 'gone';
    END IF;
    -- The job first, as everywhere, so that no two calls wait for each other.
    v_answer := meshify.fence(p_worker, v_row.job_id);
    SELECT * INTO v_row FROM meshify.predictions p WHERE p.id = p_purchase FOR UPDATE;
    IF EXISTS (SELECT FROM meshify.predictions p WHERE p.prediction_id = p_prediction AND p.id <> p_purchase)
       OR v_row.prediction_id <> p_prediction THEN
        RETURN 'taken';
    END IF;
    v_new := v_row.prediction_id IS NULL;
    BEGIN
        UPDATE meshify.predictions p
        SET prediction_id = p_prediction, created_at = coalesce(p.created_at, now()),
            -- What was said not to be sent and yet is there, has not ended.
            status = CASE WHEN v_new THEN left(p_status, 50) ELSE p.status END,
            finished_at = CASE WHEN v_new THEN NULL ELSE p.finished_at END,
            state = CASE WHEN p.state = 'intended' OR p.state = 'ended' AND v_new AND v_answer IN ('ok', 'cancel') THEN 'bought'
                         WHEN p.state IN ('given_up', 'ended') AND v_new THEN 'surplus'
                         ELSE p.state END
        WHERE p.id = p_purchase
        RETURNING * INTO v_row;
    EXCEPTION WHEN unique_violation THEN
        RETURN 'taken';
    END;
    IF v_row.state = 'surplus' THEN
        PERFORM meshify.note(v_row.job_id, 'surplus', jsonb_build_object('prediction', p_prediction));
        RETURN 'surplus';
    END IF;
    PERFORM meshify.note(v_row.job_id, 'bought', jsonb_build_object('step', v_row.step, 'purchase', v_row.purchase, 'prediction', p_prediction));
    IF v_answer IN ('ok', 'cancel') THEN
        UPDATE meshify.jobs j SET crashes = 0 WHERE j.id = v_row.job_id AND j.crashes <> 0;
    END IF;
    RETURN v_answer;
END $$;

CREATE OR REPLACE FUNCTION meshify.settle(
    p_purchase bigint, p_prediction text, p_status text, p_output jsonb, p_metrics jsonb, p_error text, p_usable boolean)
    RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    v_job uuid;
    v_step text;
    v_new boolean;
BEGIN
    SELECT p.finished_at IS NULL INTO v_new FROM meshify.predictions p WHERE p.id = p_purchase FOR UPDATE;
    UPDATE meshify.predictions p
    SET status = left(p_status, 50), output = CASE WHEN p_usable THEN p_output END,
        metrics = coalesce(p_metrics, p.metrics), error = left(p_error, 2000),
        finished_at = coalesce(p.finished_at, now()),
        state = CASE WHEN p.state IN ('intended', 'bought') AND NOT p_usable THEN 'ended' ELSE p.state END
    WHERE p.id = p_purchase AND p.prediction_id IS NOT DISTINCT FROM p_prediction
      AND (p_prediction IS NOT NULL OR p.state = 'intended')
      AND (p.finished_at IS NULL OR (NOT p_usable AND p.state = 'bought')) -- known already, unless its output is gone
    RETURNING p.job_id, p.step INTO v_job, v_step;
    IF NOT FOUND THEN
        RETURN 'lost';
    END IF;
    PERFORM meshify.note(v_job, 'settled', jsonb_strip_nulls(jsonb_build_object(
        'step', v_step, 'prediction', p_prediction, 'status', left(p_status, 50), 'error', left(p_error, 200))));
    IF p_usable AND v_new THEN -- told again, it says nothing of what comes after
        UPDATE meshify.jobs j SET crashes = 0 WHERE j.id = v_job AND j.crashes <> 0;
    END IF;
    RETURN 'ok';
END $$;

-- A prediction was seen to run, or was looked for: whatever killed the workers before, it is not that.
CREATE OR REPLACE FUNCTION meshify.further(p_worker uuid, p_job uuid) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
BEGIN
    UPDATE meshify.jobs j SET crashes = 0
    WHERE j.id = p_job AND j.worker_id = p_worker AND j.status = 'running' AND j.crashes <> 0;
END $$;

CREATE OR REPLACE FUNCTION meshify.progress(p_worker uuid, p_jobs uuid[], p_values real[]) RETURNS int
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    v_n int;
BEGIN
    WITH news AS (
        SELECT j.id, least(n.value, 1) AS value
        FROM unnest(p_jobs, p_values) AS n (job, value)
        JOIN meshify.jobs j ON j.id = n.job
        WHERE j.worker_id = p_worker AND j.status = 'running' AND coalesce(j.progress, 0) < n.value
        FOR UPDATE OF j SKIP LOCKED)
    UPDATE meshify.jobs j SET progress = news.value FROM news WHERE j.id = news.id;
    GET DIAGNOSTICS v_n = ROW_COUNT;
    RETURN v_n;
END $$;

SELECT meshify.only_for('meshify.fence(uuid, uuid)');
SELECT meshify.only_for('meshify.intend(uuid, uuid, text, int, int, text, text, jsonb, interval, bigint)', 'meshify_worker');
SELECT meshify.only_for('meshify.record(uuid, bigint, text, text)', 'meshify_worker');
SELECT meshify.only_for('meshify.settle(bigint, text, text, jsonb, jsonb, text, boolean)', 'meshify_worker');
SELECT meshify.only_for('meshify.further(uuid, uuid)', 'meshify_worker');
SELECT meshify.only_for('meshify.progress(uuid, uuid[], real[])', 'meshify_worker');
UPDATE meshify.schema_version SET version = 4, applied_at = now() WHERE version < 4;
