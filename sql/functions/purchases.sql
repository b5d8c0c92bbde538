-- Purchases. A decision is fenced by the worker's id on the job; a fact is written by whoever knows it.

-- What a program names a purchase by, always as a whole: key, job, step, purchase, worker (the buyer), hash. The key
-- alone does not prove that the row is the one that is meant.
CREATE OR REPLACE FUNCTION meshify.purchase_of(p meshify.predictions) RETURNS jsonb
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT jsonb_build_object('key', p.id, 'job', p.job_id, 'step', p.step, 'purchase', p.purchase,
                              'worker', p.worker_id, 'hash', p.input_hash)
$$;

-- Locks the purchase's row. NULL: there is none.
CREATE OR REPLACE FUNCTION meshify.find_purchase(p_of jsonb) RETURNS meshify.predictions
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_row meshify.predictions;
BEGIN
    SELECT * INTO v_row FROM meshify.predictions p
    WHERE p.id = (p_of ->> 'key')::uuid AND p.job_id = (p_of ->> 'job')::uuid AND p.step = p_of ->> 'step'
      AND p.purchase = (p_of ->> 'purchase')::int AND p.worker_id IS NOT DISTINCT FROM (p_of ->> 'worker')::uuid
      AND p.input_hash IS NOT DISTINCT FROM p_of ->> 'hash'
    FOR UPDATE;
    RETURN v_row;
END $$;

-- The job's purchases, for its worker. Predictions that were recorded without a purchase (write_surplus) are for the
-- audit alone.
CREATE OR REPLACE FUNCTION meshify.purchases_of(p_job uuid) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN RETURN (SELECT coalesce(json_agg(json_build_object(
        'key', p.id, 'worker', p.worker_id,
        'step', p.step, 'purchase', p.purchase, 'attempt', p.attempt, 'state', p.state,
        'intent_age_usec', meshify.usec(now() - p.intent_at), 'intent_epoch', extract(epoch FROM p.intent_at)::bigint,
        'give_up_in_usec', meshify.usec(p.give_up_after - now()),
        'prediction_id', p.prediction_id, 'status', p.status, 'model', p.model, 'input_hash', p.input_hash,
        'pipeline', p.pipeline, 'last_step', p.last_step, 'output_pointer', p.output_pointer,
        'input_keys', p.input_keys, 'output', p.output, 'finished', p.finished_at IS NOT NULL,
        'finished_age_usec', meshify.usec(now() - p.finished_at),
        'predict_time', CASE WHEN jsonb_typeof(p.metrics -> 'predict_time') = 'number'
                             THEN p.metrics -> 'predict_time' END) ORDER BY p.n)::text, '[]')
    FROM meshify.predictions p WHERE p.job_id = p_job AND p.purchase IS NOT NULL);
END $$;

-- The job gives up these purchases (an array of purchase_of). A purchase that is not known to be bought becomes
-- given_up, and the audit goes on looking for it. One that is bought, as far as its worker knows (`state`), becomes
-- surplus, and the audit cancels it.
CREATE OR REPLACE FUNCTION meshify.do_without(p_job uuid, p_purchases jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_of jsonb;
    v_row meshify.predictions;
    v_to text;
BEGIN
    FOR v_of IN SELECT e.value FROM jsonb_array_elements(p_purchases) e LOOP
        v_row := meshify.find_purchase(v_of);
        CONTINUE WHEN v_row.job_id IS DISTINCT FROM p_job;
        v_to := CASE WHEN v_row.state = 'intended' THEN 'given_up'
                     WHEN v_row.state = 'bought' AND v_of ->> 'state' = 'bought' THEN 'surplus' END;
        CONTINUE WHEN v_to IS NULL;
        UPDATE meshify.predictions p SET state = v_to WHERE p.id = v_row.id;
        PERFORM meshify.note(p_job, v_to, jsonb_build_object('step', v_row.step, 'purchase', v_row.purchase));
    END LOOP;
END $$;

-- Records the intent to buy. It may give up an earlier purchase at once, unless that was bought meanwhile: then the
-- answer says so, and nothing is intended.
CREATE OR REPLACE FUNCTION meshify.intend_purchase(
    p_worker uuid, p_of jsonb, p_attempt int, p_model text, p_input_keys jsonb, p_pipeline text, p_last_step boolean,
    p_output_pointer text, p_give_up_after interval, p_given_up jsonb)
    RETURNS TABLE (answer text, id uuid, prediction_id text)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
    v_job uuid := p_of ->> 'job';
    v_row meshify.predictions;
BEGIN
    answer := meshify.fence(p_worker, v_job);
    IF answer <> 'ok' THEN
        RETURN NEXT;
        RETURN;
    END IF;
    IF p_given_up IS NOT NULL THEN
        v_row := meshify.find_purchase(p_given_up);
        IF v_row.job_id = v_job AND v_row.state = 'bought' THEN
            answer := 'bought';
            id := v_row.id;
            prediction_id := v_row.prediction_id;
            RETURN NEXT;
            RETURN;
        END IF;
        PERFORM meshify.do_without(v_job, jsonb_build_array(p_given_up));
    END IF;
    id := p_of ->> 'key';
    INSERT INTO meshify.predictions AS p
        (id, job_id, step, purchase, attempt, worker_id, state, give_up_after, model, input_hash, input_keys, pipeline,
         last_step, output_pointer)
    VALUES (intend_purchase.id, v_job, p_of ->> 'step', (p_of ->> 'purchase')::int, p_attempt, p_worker, 'intended',
            now() + p_give_up_after, p_model, p_of ->> 'hash', p_input_keys, p_pipeline, p_last_step, p_output_pointer)
    ON CONFLICT DO NOTHING;
    IF FOUND THEN
        PERFORM meshify.note(v_job, 'intended', jsonb_build_object('step', p_of ->> 'step', 'purchase', (p_of ->> 'purchase')::int, 'model', p_model));
    ELSE -- sent again after a lost answer?
        v_row := meshify.find_purchase(p_of || jsonb_build_object('worker', p_worker));
        IF v_row.state IS DISTINCT FROM 'intended' THEN
            answer := 'lost';
            id := NULL;
        END IF;
    END IF;
    RETURN NEXT;
END $$;

-- Records a prediction that was paid for and has no row of its own: its intent was lost with a primary, or its row
-- has another prediction. It gets a row without a purchase's number, and the audit cancels it.
CREATE OR REPLACE FUNCTION meshify.write_surplus(p_of jsonb, p_prediction text, p_status text, p_ended boolean) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF p_of ->> 'job' IS NULL OR p_of ->> 'step' IS NULL THEN
        RETURN 'lost';
    END IF;
    INSERT INTO meshify.predictions AS p
        (job_id, step, attempt, worker_id, state, give_up_after, prediction_id, status, input_hash, created_at, finished_at)
    VALUES ((p_of ->> 'job')::uuid, p_of ->> 'step', 0, (p_of ->> 'worker')::uuid, 'surplus', now(), p_prediction,
            left(p_status, 50), p_of ->> 'hash', now(), CASE WHEN p_ended THEN now() END)
    ON CONFLICT DO NOTHING;
    IF FOUND THEN
        PERFORM meshify.note((p_of ->> 'job')::uuid, 'surplus', jsonb_build_object('prediction', p_prediction));
    END IF;
    -- A call that is sent again after a lost answer finds its row.
    RETURN CASE WHEN EXISTS (SELECT FROM meshify.predictions p
                             WHERE p.prediction_id = p_prediction AND p.job_id = (p_of ->> 'job')::uuid AND p.purchase IS NULL)
                THEN 'surplus' ELSE 'taken' END;
END $$;

-- Records the prediction's id. With p_answered it comes from the answer to the purchase's own request, and so is
-- certainly this purchase's; else the listing showed a prediction with the same input, which may be another job's.
CREATE OR REPLACE FUNCTION meshify.record_purchase(p_worker uuid, p_of jsonb, p_prediction text, p_status text, p_answered boolean)
    RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
    v_job uuid := p_of ->> 'job';
    v_row meshify.predictions;
    -- The job is locked first, as everywhere, so that no two calls wait for each other.
    v_answer text := meshify.fence(p_worker, v_job);
    v_new boolean;
BEGIN
    IF v_answer = 'busy' THEN
        RETURN v_answer;
    END IF;
    v_row := meshify.find_purchase(p_of);
    IF EXISTS (SELECT FROM meshify.predictions p
               WHERE p.prediction_id = p_prediction AND p.id IS DISTINCT FROM v_row.id AND (p.purchase IS NOT NULL OR NOT p_answered)) THEN
        RETURN 'taken';
    ELSIF v_row.id IS NULL AND NOT p_answered AND meshify.is_wanted(p_of ->> 'hash') THEN
        RETURN 'lost'; -- by somebody else, whose it may be
    ELSIF v_row.id IS NULL OR p_answered AND v_row.prediction_id <> p_prediction THEN
        RETURN meshify.write_surplus(p_of, p_prediction, p_status, false);
    ELSIF v_row.prediction_id <> p_prediction THEN
        RETURN 'taken';
    END IF;
    v_new := v_row.prediction_id IS NULL;
    BEGIN
        UPDATE meshify.predictions p
        SET prediction_id = p_prediction, created_at = coalesce(p.created_at, now()),
            -- A purchase that was thought not to be sent, and is there, has not ended.
            status = CASE WHEN v_new THEN left(p_status, 50) ELSE p.status END,
            finished_at = CASE WHEN v_new THEN NULL ELSE p.finished_at END,
            state = CASE WHEN p.state = 'intended' OR p.state = 'ended' AND v_new AND v_answer IN ('ok', 'cancel') THEN 'bought'
                         WHEN p.state IN ('given_up', 'ended') AND v_new THEN 'surplus'
                         ELSE p.state END
        WHERE p.id = v_row.id
        RETURNING * INTO v_row;
    EXCEPTION WHEN unique_violation THEN
        RETURN 'taken';
    END;
    IF v_row.state = 'surplus' THEN
        PERFORM meshify.note(v_job, 'surplus', jsonb_build_object('prediction', p_prediction));
        RETURN 'surplus';
    END IF;
    PERFORM meshify.note(v_job, 'bought', jsonb_build_object('step', v_row.step, 'purchase', v_row.purchase, 'prediction', p_prediction));
    IF v_answer IN ('ok', 'cancel') THEN
        UPDATE meshify.jobs j SET crashes = 0 WHERE j.id = v_job AND j.crashes <> 0;
    END IF;
    RETURN v_answer;
END $$;

-- Is some job about to buy with this input, or looking for what it bought with it? Then a prediction with this input
-- may be that job's.
CREATE OR REPLACE FUNCTION meshify.is_wanted(p_hash text, p_but uuid DEFAULT NULL) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN RETURN EXISTS (SELECT FROM meshify.predictions o JOIN meshify.jobs j ON j.id = o.job_id
                     WHERE o.state = 'intended' AND o.id IS DISTINCT FROM p_but AND o.input_hash = p_hash
                       AND o.intent_at > now() - interval '1 hour' AND j.status IN ('pending', 'running'));
END $$;

-- Records how the prediction ended. A row that lost its prediction's id with a primary gets it again; a prediction
-- without a row gets one.
CREATE OR REPLACE FUNCTION meshify.settle_purchase(
    p_of jsonb, p_prediction text, p_status text, p_output jsonb, p_metrics jsonb, p_error text, p_usable boolean)
    RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
    v_row meshify.predictions := meshify.find_purchase(p_of);
BEGIN
    IF p_prediction IS NOT NULL AND (v_row.id IS NULL OR v_row.state = 'intended' AND v_row.prediction_id IS NULL) THEN
        IF EXISTS (SELECT FROM meshify.predictions p WHERE p.prediction_id = p_prediction) THEN
            RETURN 'lost';
        ELSIF v_row.id IS NULL THEN
            PERFORM meshify.write_surplus(p_of, p_prediction, p_status, true);
            RETURN 'lost';
        END IF;
        UPDATE meshify.predictions p SET state = 'bought', prediction_id = p_prediction, created_at = now() WHERE p.id = v_row.id;
    END IF;
    UPDATE meshify.predictions p
    SET status = left(p_status, 50), output = CASE WHEN p_usable THEN p_output END,
        metrics = coalesce(p_metrics, p.metrics), error = left(p_error, 2000),
        finished_at = coalesce(p.finished_at, now()),
        state = CASE WHEN p.state IN ('intended', 'bought') AND NOT p_usable THEN 'ended' ELSE p.state END
    WHERE p.id = v_row.id AND p.prediction_id IS NOT DISTINCT FROM p_prediction
      AND (p_prediction IS NOT NULL OR p.state = 'intended')
      AND (p.finished_at IS NULL OR (NOT p_usable AND p.state = 'bought')); -- known already, unless its output is gone
    IF NOT FOUND THEN
        RETURN 'lost';
    END IF;
    PERFORM meshify.note(v_row.job_id, 'settled', jsonb_strip_nulls(jsonb_build_object(
        'step', v_row.step, 'prediction', p_prediction, 'status', left(p_status, 50), 'error', left(p_error, 200))));
    IF p_usable AND v_row.finished_at IS NULL AND meshify.tables_are_free() THEN -- told again, it says nothing of what comes after
        UPDATE meshify.jobs j SET crashes = 0
        WHERE j.id = (SELECT x.id FROM meshify.jobs x WHERE x.id = v_row.job_id AND x.crashes <> 0 FOR UPDATE SKIP LOCKED);
    END IF;
    RETURN 'ok';
END $$;

-- A prediction was seen to run, or was looked for: whatever the workers before died of, it was not this job.
CREATE OR REPLACE FUNCTION meshify.reset_crashes(p_worker uuid, p_job uuid) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
BEGIN
    IF NOT meshify.tables_are_free() THEN
        RETURN;
    END IF;
    UPDATE meshify.jobs j SET crashes = 0
    WHERE j.id = (SELECT x.id FROM meshify.jobs x
                  WHERE x.id = p_job AND x.worker_id = p_worker AND x.status = 'running' AND x.crashes <> 0 FOR UPDATE SKIP LOCKED);
END $$;

-- After a reconnect the server may be another one, which lacks the last commits. So a worker tells again what it
-- knows, each as purchase_of and its `prediction`, with the `output` of one that succeeded. A row that lost any of
-- that gets it back. A prediction without a row is recorded as surplus, and is answered if it runs. An intent
-- without a row may or may not have been bought: its worker looks for it, or the audit, where that worker does not
-- have the job any more. 'busy': somebody has locked the job's row, and the worker has to tell it again.
CREATE OR REPLACE FUNCTION meshify.tell_again(p_worker uuid, p_purchases jsonb) RETURNS TABLE (job_id uuid, prediction_id text, answer text)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_of jsonb;
BEGIN
    FOR v_of IN SELECT e.value FROM jsonb_array_elements(p_purchases) e
                WHERE NOT EXISTS (SELECT FROM meshify.predictions p
                                  WHERE p.id = (e.value ->> 'key')::uuid
                                    AND (NOT e.value ? 'prediction' OR p.prediction_id = e.value ->> 'prediction')
                                    AND (NOT e.value ? 'output' OR p.finished_at IS NOT NULL))
                ORDER BY e.value ->> 'job' LOOP
        IF v_of ? 'output' THEN
            PERFORM meshify.settle_purchase(v_of, v_of ->> 'prediction', 'succeeded', nullif(v_of -> 'output', 'null'), v_of -> 'metrics', NULL, true);
            CONTINUE;
        END IF;
        job_id := v_of ->> 'job';
        prediction_id := v_of ->> 'prediction';
        answer := CASE WHEN prediction_id IS NULL THEN meshify.intend_again(p_worker, v_of)
                       ELSE meshify.record_purchase(p_worker, v_of, prediction_id, 'starting', true) END;
        IF answer IN ('surplus', 'busy') THEN
            RETURN NEXT;
        END IF;
    END LOOP;
END $$;

-- Makes the row of an intent again that was lost with a primary.
CREATE OR REPLACE FUNCTION meshify.intend_again(p_worker uuid, p_of jsonb) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_answer text := meshify.fence(p_worker, (p_of ->> 'job')::uuid);
BEGIN
    IF v_answer <> 'busy' THEN
        INSERT INTO meshify.predictions (id, job_id, step, purchase, attempt, worker_id, state, intent_at, give_up_after, model,
                                         input_hash, input_keys, pipeline, last_step, output_pointer)
        SELECT x.key, x.job, x.step, x.purchase, x.attempt, x.worker, CASE WHEN v_answer IN ('ok', 'cancel') THEN 'intended' ELSE 'given_up' END,
               now() - x.age * interval '1 s', now() + x.give_up_in * interval '1 s', x.model, x.hash, nullif(x.input_keys, 'null'),
               x.pipeline, x.last_step, x.output_pointer
        FROM jsonb_to_record(p_of) AS x (key uuid, job uuid, step text, purchase int, attempt int, worker uuid, age float8, give_up_in float8, model text,
                                         hash text, input_keys jsonb, pipeline text, last_step boolean, output_pointer text)
        WHERE num_nulls(x.key, x.job, x.step, x.purchase, x.attempt, x.age, x.give_up_in) = 0
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN v_answer;
END $$;

-- May a prediction for this job still run?
CREATE OR REPLACE FUNCTION meshify.may_run(p_job uuid) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (SELECT FROM meshify.predictions p
                   WHERE p.job_id = p_job AND p.state IN ('intended', 'bought', 'surplus') AND p.finished_at IS NULL)
$$;

SELECT meshify.restrict_execute('meshify.purchase_of(meshify.predictions)');
SELECT meshify.restrict_execute('meshify.find_purchase(jsonb)');
SELECT meshify.restrict_execute('meshify.purchases_of(uuid)');
SELECT meshify.restrict_execute('meshify.do_without(uuid, jsonb)');
SELECT meshify.restrict_execute('meshify.intend_purchase(uuid, jsonb, int, text, jsonb, text, boolean, text, interval, jsonb)', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.write_surplus(jsonb, text, text, boolean)');
SELECT meshify.restrict_execute('meshify.record_purchase(uuid, jsonb, text, text, boolean)', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.is_wanted(text, uuid)');
SELECT meshify.restrict_execute('meshify.settle_purchase(jsonb, text, text, jsonb, jsonb, text, boolean)', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.reset_crashes(uuid, uuid)', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.tell_again(uuid, jsonb)', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.intend_again(uuid, jsonb)');
SELECT meshify.restrict_execute('meshify.may_run(uuid)');
