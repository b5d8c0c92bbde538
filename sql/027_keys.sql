-- A purchase's key is its buyer's, and the purchase says what it was bought with and what became of its file. The
-- columns stand with the functions that use them, in one transaction: 004_purchases.sql.

-- After a connection was lost its server may be another one, which lacks the last commits. A worker tells again what
-- it polls, each as purchase_of and its `prediction`. A row that lost its prediction gets it back; what has no row is
-- written down as surplus, which is answered.
CREATE OR REPLACE FUNCTION meshify.tell_again(p_worker uuid, p_purchases jsonb) RETURNS TABLE (job_id uuid, prediction_id text)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_of jsonb;
BEGIN
    FOR v_of IN SELECT e.value FROM jsonb_array_elements(p_purchases) e
                WHERE NOT EXISTS (SELECT FROM meshify.predictions p
                                  WHERE p.id = (e.value ->> 'key')::uuid AND p.prediction_id = e.value ->> 'prediction')
                ORDER BY e.value ->> 'job' LOOP
        IF meshify.record_purchase(p_worker, v_of, v_of ->> 'prediction', 'starting', true) = 'surplus' THEN
            job_id := v_of ->> 'job';
            prediction_id := v_of ->> 'prediction';
            RETURN NEXT;
        END IF;
    END LOOP;
END $$;

SELECT meshify.only_for('meshify.tell_again(uuid, jsonb)', 'meshify_worker');
UPDATE meshify.schema_version SET version = 27, applied_at = now() WHERE version < 27;
