-- A purchase's key is its buyer's, and the purchase says what it was bought with and what became of its file. The
-- columns stand with the functions that use them, in one transaction: 004_purchases.sql.

-- After a connection was lost its server may be another one, which lacks the last commits. A worker tells again what
-- it knows, each as purchase_of and its `prediction`, with the `output` of one that succeeded. A row that lost any of
-- that gets it back; what has no row is written down as surplus, which is answered of what runs. Of an intent nobody
-- knows yet whether it was bought: without a row it is looked for, by its worker, or, where that does not have the job
-- any more, by the audit. 'busy': somebody holds the job's row, and it has to be told again.
DROP FUNCTION IF EXISTS meshify.tell_again(uuid, jsonb);
CREATE FUNCTION meshify.tell_again(p_worker uuid, p_purchases jsonb) RETURNS TABLE (job_id uuid, prediction_id text, answer text)
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

-- The row of an intent that was lost with a primary.
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

SELECT meshify.only_for('meshify.intend_again(uuid, jsonb)');
SELECT meshify.only_for('meshify.tell_again(uuid, jsonb)', 'meshify_worker');
UPDATE meshify.schema_version SET version = 27, applied_at = now() WHERE version < 27;
