-- The audit: what was bought and no job uses must not go on running, though its answer was lost, or the
-- worker that was to cancel it died. What is looked at next: 021_turns.sql.
ALTER TABLE meshify.predictions ADD COLUMN IF NOT EXISTS audited_at timestamptz;

-- The listing shows these predictions, each with the input of the purchase beside it. What is nobody's
-- becomes surplus. A fact, and so not fenced; but an input that some job is about to buy, or to look for, may
-- be that job's: it is asked again in a minute. Answers what was written down.
CREATE OR REPLACE FUNCTION meshify.found_surplus(p_worker uuid, p_purchases uuid[], p_predictions text[])
    RETURNS TABLE (id uuid, prediction_id text)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    n record;
    v_job uuid;
    v_ended boolean;
BEGIN
    FOR n IN SELECT u.purchase, u.prediction FROM unnest(p_purchases, p_predictions) AS u (purchase, prediction) LOOP
        CONTINUE WHEN EXISTS (SELECT FROM meshify.predictions p WHERE p.prediction_id = n.prediction);
        SELECT p.job_id INTO v_job FROM meshify.predictions p WHERE p.id = n.purchase;
        -- The job first, as everywhere; whoever has it locked may be writing down this very prediction.
        SELECT j.status NOT IN ('pending', 'running') INTO v_ended FROM meshify.jobs j WHERE j.id = v_job FOR UPDATE SKIP LOCKED;
        IF NOT FOUND THEN
            CONTINUE WHEN EXISTS (SELECT FROM meshify.jobs j WHERE j.id = v_job);
            v_ended := true;
        END IF;
        BEGIN
            UPDATE meshify.predictions p
            SET state = 'surplus', prediction_id = n.prediction, created_at = coalesce(p.created_at, now()), audited_at = NULL
            WHERE p.id = n.purchase AND p.prediction_id IS NULL
              AND (p.state = 'given_up' OR p.state = 'intended' AND v_ended)
              AND NOT meshify.is_wanted(p.input_hash, p.id);
            IF FOUND THEN
                PERFORM meshify.note(v_job, 'surplus', jsonb_build_object('prediction', n.prediction, 'by', p_worker));
                id := n.purchase;
                prediction_id := n.prediction;
                RETURN NEXT;
            END IF;
        EXCEPTION WHEN unique_violation THEN
            NULL; -- its own worker was quicker
        END;
    END LOOP;
END $$;

-- It is over, with this status (NULL: nobody knows which). A fact, and so not fenced.
CREATE OR REPLACE FUNCTION meshify.audit_ended(p_id uuid, p_status text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_job uuid;
BEGIN
    UPDATE meshify.predictions p SET status = coalesce(p_status, p.status), finished_at = now()
    WHERE p.id = p_id AND p.finished_at IS NULL RETURNING p.job_id INTO v_job;
    IF FOUND THEN
        PERFORM meshify.note(v_job, 'audited', jsonb_strip_nulls(jsonb_build_object('purchase', p_id, 'status', p_status)));
    END IF;
END $$;

-- For programs of earlier versions, which know a purchase by its number.
CREATE OR REPLACE FUNCTION meshify.surplus(p_worker uuid, p_purchases bigint[], p_predictions text[])
    RETURNS TABLE (id bigint, prediction_id text)
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT p.n, s.prediction_id
    FROM meshify.found_surplus(p_worker, ARRAY(SELECT (SELECT p.id FROM meshify.predictions p WHERE p.n = u.n)
                                               FROM unnest(p_purchases) WITH ORDINALITY AS u (n, i) ORDER BY u.i), p_predictions) s
    JOIN meshify.predictions p ON p.id = s.id
$$;

CREATE OR REPLACE FUNCTION meshify.audited(p_id bigint, p_status text) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT meshify.audit_ended((SELECT p.id FROM meshify.predictions p WHERE p.n = p_id), p_status)
$$;

SELECT meshify.only_for('meshify.found_surplus(uuid, uuid[], text[])', 'meshify_worker');
SELECT meshify.only_for('meshify.audit_ended(uuid, text)', 'meshify_worker');
SELECT meshify.only_for('meshify.surplus(uuid, bigint[], text[])', 'meshify_worker');
SELECT meshify.only_for('meshify.audited(bigint, text)', 'meshify_worker');
UPDATE meshify.schema_version SET version = 13, applied_at = now() WHERE version < 13;
