-- A purchase's key is its buyer's, and the purchase says what it was bought with and what became of its file. The
-- columns stand with the functions that use them, in one transaction: 004_purchases.sql.

-- After a connection was lost its server may be another one, which lacks the last commits. A worker tells again what
-- it knows, each as purchase_of and its `prediction`, with the `output` of one that succeeded. A row that lost any of
-- that gets it back; what has no row is written down as surplus, which is answered of what runs. 'busy': somebody holds
-- the job's row, and it has to be told again.
DROP FUNCTION IF EXISTS meshify.tell_again(uuid, jsonb);
CREATE FUNCTION meshify.tell_again(p_worker uuid, p_purchases jsonb) RETURNS TABLE (job_id uuid, prediction_id text, answer text)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_of jsonb;
BEGIN
    FOR v_of IN SELECT e.value FROM jsonb_array_elements(p_purchases) e
                WHERE NOT EXISTS (SELECT FROM meshify.predictions p
                                  WHERE p.id = (e.value ->> 'key')::uuid AND p.prediction_id = e.value ->> 'prediction'
                                    AND (p.finished_at IS NOT NULL OR NOT e.value ? 'output'))
                ORDER BY e.value ->> 'job' LOOP
        IF v_of ? 'output' THEN
            PERFORM meshify.settle_purchase(v_of, v_of ->> 'prediction', 'succeeded', nullif(v_of -> 'output', 'null'), v_of -> 'metrics', NULL, true);
            CONTINUE;
        END IF;
        answer := meshify.record_purchase(p_worker, v_of, v_of ->> 'prediction', 'starting', true);
        IF answer IN ('surplus', 'busy') THEN
            job_id := v_of ->> 'job';
            prediction_id := v_of ->> 'prediction';
            RETURN NEXT;
        END IF;
    END LOOP;
END $$;

SELECT meshify.only_for('meshify.tell_again(uuid, jsonb)', 'meshify_worker');
UPDATE meshify.schema_version SET version = 27, applied_at = now() WHERE version < 27;
