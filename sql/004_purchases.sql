-- Purchases. A decision is fenced by the worker's id on the job; a fact is written by whoever knows it.
SET LOCAL lock_timeout = '500ms'; -- a busy table: once more; before a deadlock is looked for in others (1 s)
SET LOCAL search_path = pg_catalog, pg_temp; -- nobody's names but PostgreSQL's

-- A purchase's key is made by its buyer, before the intent. A number from a sequence comes again when commits are
-- lost with their primary, and then names somebody else's purchase. The number stays, for the order, and for
-- programs of earlier versions. This stands in one transaction with the functions below: programs that run
-- meanwhile find the one or the other. (The table is written anew once; it is ours.)
ALTER TABLE meshify.predictions
    ADD COLUMN IF NOT EXISTS pipeline text, ADD COLUMN IF NOT EXISTS output_pointer text,
    ADD COLUMN IF NOT EXISTS object_name text, ADD COLUMN IF NOT EXISTS object_size bigint,
    ADD COLUMN IF NOT EXISTS object_sha256 text, ADD COLUMN IF NOT EXISTS upload_id text,
    ADD COLUMN IF NOT EXISTS last_step boolean; -- did its pipeline end with its step? NULL: nobody knows
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a
                   WHERE a.attrelid = 'meshify.predictions'::regclass AND a.attname = 'n' AND NOT a.attisdropped) THEN
        ALTER TABLE meshify.predictions DROP CONSTRAINT predictions_pkey;
        ALTER TABLE meshify.predictions RENAME COLUMN id TO n;
        ALTER TABLE meshify.predictions ADD COLUMN id uuid NOT NULL DEFAULT gen_random_uuid();
        ALTER TABLE meshify.predictions ADD CONSTRAINT predictions_pkey PRIMARY KEY (id);
        ALTER TABLE meshify.predictions ADD CONSTRAINT predictions_n_key UNIQUE (n);
        ALTER TABLE meshify.predictions ALTER COLUMN purchase DROP NOT NULL;
        ALTER TABLE meshify.predictions ADD CONSTRAINT predictions_of_a_purchase CHECK (purchase IS NOT NULL OR state = 'surplus');
    END IF;
END $$;

-- Locks the job's row and says whose it is: 'ok', 'cancel' (ours, a cancel was asked for), 'closed'
-- (ended by us), 'lost' (another's), 'gone' (deleted, or its credits were given back: nothing is made for it; what was made
-- before does not come this far, it is not claimed), 'busy'
-- (somebody else holds the row: it is not waited for).
CREATE OR REPLACE FUNCTION meshify.fence(p_worker uuid, p_job uuid) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_status text;
    v_worker uuid;
    v_cancel timestamptz;
    v_asset uuid;
BEGIN
    IF NOT meshify.tables_are_free() THEN
        RETURN meshify.busy();
    END IF;
    IF meshify.sent_as() = 'wait' THEN
        PERFORM FROM meshify.jobs j WHERE j.id = p_job FOR UPDATE;
    END IF;
    SELECT j.status::text, j.worker_id, j.cancel_requested_at, j.asset_id INTO v_status, v_worker, v_cancel, v_asset
    FROM meshify.jobs j WHERE j.id = p_job FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN CASE WHEN EXISTS (SELECT FROM meshify.jobs j WHERE j.id = p_job) THEN meshify.busy() ELSE 'gone' END;
    END IF;
    RETURN CASE
        WHEN v_worker IS DISTINCT FROM p_worker THEN 'lost'
        WHEN v_status IN ('done', 'error', 'canceled') THEN 'closed'
        WHEN v_status <> 'running' THEN 'lost'
        WHEN meshify.is_barred(p_job, v_asset) AND NOT meshify.is_made(v_asset) THEN 'gone'
        WHEN v_cancel IS NOT NULL THEN 'cancel'
        ELSE 'ok' END;
END $$;

-- What a purchase is told by, all of it: key, job, step, purchase, worker (who bought it), hash. No key alone says
-- that a row is the one that is meant.
CREATE OR REPLACE FUNCTION meshify.purchase_of(p meshify.predictions) RETURNS jsonb
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT jsonb_build_object('key', p.id, 'job', p.job_id, 'step', p.step, 'purchase', p.purchase,
                              'worker', p.worker_id, 'hash', p.input_hash)
$$;

-- Locks its row; NULL: there is none.
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

-- The job's purchases, for its worker. `id` is what programs of earlier versions know them by. What was written down
-- without a purchase of its own (write_surplus) is the audit's alone.
CREATE OR REPLACE FUNCTION meshify.purchases_of(p_job uuid) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN RETURN (SELECT coalesce(json_agg(json_build_object(
        'id', p.n, 'key', p.id, 'worker', p.worker_id,
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

-- Purchases of the job (an array of purchase_of) that it does without. What is not known to be bought is given up:
-- the audit goes on looking for it. What is bought, by what its worker knew (`state`), is surplus: the audit
-- cancels it.
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

-- The intent. With a purchase to give up: unless that one was bought meanwhile, which is answered.
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

-- A prediction that was paid for and has no row of its own: its intent was lost with a primary, or another
-- prediction stands there. It gets a row without a purchase's number, and is cancelled.
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
    -- Sent again after a lost answer, it is there already.
    RETURN CASE WHEN EXISTS (SELECT FROM meshify.predictions p
                             WHERE p.prediction_id = p_prediction AND p.job_id = (p_of ->> 'job')::uuid AND p.purchase IS NULL)
                THEN 'surplus' ELSE 'taken' END;
END $$;

-- The prediction's id. p_answered: the answer to the purchase's own request named it, so that it is the purchase's
-- for certain; else the listing showed it with the same input, and it may be another job's.
CREATE OR REPLACE FUNCTION meshify.record_purchase(p_worker uuid, p_of jsonb, p_prediction text, p_status text, p_answered boolean)
    RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
    v_job uuid := p_of ->> 'job';
    v_row meshify.predictions;
    -- The job first, as everywhere, so that no two calls wait for each other.
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
            -- What was said not to be sent and yet is there, has not ended.
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

-- Is some job about to buy with this input, or looking for what it bought? Then a prediction with it may be that
-- job's.
CREATE OR REPLACE FUNCTION meshify.is_wanted(p_hash text, p_but uuid DEFAULT NULL) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN RETURN EXISTS (SELECT FROM meshify.predictions o JOIN meshify.jobs j ON j.id = o.job_id
                     WHERE o.state = 'intended' AND o.id IS DISTINCT FROM p_but AND o.input_hash = p_hash
                       AND o.intent_at > now() - interval '1 hour' AND j.status IN ('pending', 'running'));
END $$;

-- What became of it. A row that lost its prediction with a primary gets it again; what has no row gets one.
CREATE OR REPLACE FUNCTION meshify.settle_purchase(
    p_of jsonb, p_prediction text, p_status text, p_output jsonb, p_metrics jsonb, p_error text, p_usable boolean)
    RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
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

-- The same for programs of earlier versions, which know a purchase by its number alone. Of what is neither theirs nor
-- of a job of theirs they can't mean the row that has this number now: it was another's before a fail-over.
CREATE OR REPLACE FUNCTION meshify.intend(
    p_worker uuid, p_job uuid, p_step text, p_purchase int, p_attempt int, p_model text, p_input_hash text,
    p_input_keys jsonb, p_give_up_after interval, p_give_up bigint)
    RETURNS TABLE (answer text, id bigint, prediction_id text)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
    v_key uuid := coalesce((SELECT p.id FROM meshify.predictions p
                            WHERE p.job_id = p_job AND p.step = p_step AND p.purchase = p_purchase), gen_random_uuid());
BEGIN
    SELECT i.answer, i.id, i.prediction_id INTO answer, v_key, prediction_id
    FROM meshify.intend_purchase(
        p_worker, jsonb_build_object('key', v_key, 'job', p_job, 'step', p_step, 'purchase', p_purchase, 'hash', p_input_hash),
        p_attempt, p_model, p_input_keys, NULL, NULL, NULL, p_give_up_after,
        (SELECT meshify.purchase_of(p) FROM meshify.predictions p WHERE p.n = p_give_up)) i;
    id := (SELECT p.n FROM meshify.predictions p WHERE p.id = v_key); -- which the statement before has made
    RETURN NEXT;
END $$;

CREATE OR REPLACE FUNCTION meshify.record(p_worker uuid, p_purchase bigint, p_prediction text, p_status text)
    RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
    v_of jsonb := (SELECT meshify.purchase_of(p) FROM meshify.predictions p LEFT JOIN meshify.jobs j ON j.id = p.job_id
                   WHERE p.n = p_purchase AND (p.worker_id = p_worker OR j.worker_id = p_worker));
BEGIN
    RETURN CASE WHEN v_of IS NULL THEN 'gone' ELSE meshify.record_purchase(p_worker, v_of, p_prediction, p_status, false) END;
END $$;

CREATE OR REPLACE FUNCTION meshify.settle(
    p_purchase bigint, p_prediction text, p_status text, p_output jsonb, p_metrics jsonb, p_error text, p_usable boolean)
    RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    v_of jsonb := (SELECT meshify.purchase_of(p) FROM meshify.predictions p
                   WHERE p.n = p_purchase AND p.prediction_id IS NOT DISTINCT FROM p_prediction);
BEGIN
    RETURN CASE WHEN v_of IS NULL THEN 'lost'
                ELSE meshify.settle_purchase(v_of, p_prediction, p_status, p_output, p_metrics, p_error, p_usable) END;
END $$;

-- A prediction was seen to run, or was looked for: whatever killed the workers before, it is not that.
CREATE OR REPLACE FUNCTION meshify.further(p_worker uuid, p_job uuid) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
BEGIN
    IF NOT meshify.tables_are_free() THEN
        RETURN;
    END IF;
    UPDATE meshify.jobs j SET crashes = 0
    WHERE j.id = (SELECT x.id FROM meshify.jobs x
                  WHERE x.id = p_job AND x.worker_id = p_worker AND x.status = 'running' AND x.crashes <> 0 FOR UPDATE SKIP LOCKED);
END $$;

CREATE OR REPLACE FUNCTION meshify.progress(p_worker uuid, p_jobs uuid[], p_values real[]) RETURNS int
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    v_n int;
BEGIN
    IF NOT meshify.tables_are_free(true) THEN
        RETURN 0;
    END IF;
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
SELECT meshify.only_for('meshify.purchase_of(meshify.predictions)');
SELECT meshify.only_for('meshify.find_purchase(jsonb)');
SELECT meshify.only_for('meshify.purchases_of(uuid)');
SELECT meshify.only_for('meshify.do_without(uuid, jsonb)');
SELECT meshify.only_for('meshify.write_surplus(jsonb, text, text, boolean)');
SELECT meshify.only_for('meshify.is_wanted(text, uuid)');
SELECT meshify.only_for('meshify.intend_purchase(uuid, jsonb, int, text, jsonb, text, boolean, text, interval, jsonb)', 'meshify_worker');
SELECT meshify.only_for('meshify.record_purchase(uuid, jsonb, text, text, boolean)', 'meshify_worker');
SELECT meshify.only_for('meshify.settle_purchase(jsonb, text, text, jsonb, jsonb, text, boolean)', 'meshify_worker');
SELECT meshify.only_for('meshify.intend(uuid, uuid, text, int, int, text, text, jsonb, interval, bigint)', 'meshify_worker');
SELECT meshify.only_for('meshify.record(uuid, bigint, text, text)', 'meshify_worker');
SELECT meshify.only_for('meshify.settle(bigint, text, text, jsonb, jsonb, text, boolean)', 'meshify_worker');
SELECT meshify.only_for('meshify.further(uuid, uuid)', 'meshify_worker');
SELECT meshify.only_for('meshify.progress(uuid, uuid[], real[])', 'meshify_worker');
UPDATE meshify.schema_version SET version = 4, applied_at = now() WHERE version < 4;
