-- The audit: what was bought and no job uses must not go on running, though its answer was lost, or the worker that was
-- to cancel it died. What it looks at takes turns: a purchase that can't be found, or canceled, keeps no other waiting.

-- Purchases of the last hour that may have been bought, and that no job asks for any more: given up, or left behind
-- by a job that ended. This worker has them for a minute, to look for them in the listing.
CREATE OR REPLACE FUNCTION meshify.audit_unknown(p_worker uuid, p_max int)
    RETURNS TABLE (id uuid, input_hash text, input_keys text, age_usec bigint)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    PERFORM FROM meshify.workers w WHERE w.id = p_worker AND NOT w.dead AND w.expires_at > now();
    IF NOT FOUND THEN
        RETURN;
    END IF;
    RETURN QUERY
    UPDATE meshify.predictions p SET audited_at = now()
    WHERE p.id IN (
        SELECT o.id FROM meshify.predictions o LEFT JOIN meshify.jobs j ON j.id = o.job_id
        WHERE o.state IN ('given_up', 'intended') AND o.prediction_id IS NULL AND o.intent_at > now() - interval '1 hour'
          AND (o.audited_at IS NULL OR o.audited_at < now() - interval '1 min')
          AND (o.state = 'given_up' OR j.id IS NULL OR j.status NOT IN ('pending', 'running'))
        ORDER BY o.audited_at NULLS FIRST, o.intent_at LIMIT p_max FOR UPDATE OF o SKIP LOCKED)
    RETURNING p.id, p.input_hash, p.input_keys::text, meshify.usec(now() - p.intent_at);
END $$;

-- Up to p_max predictions that run and that no job waits for. This worker has them for a minute, to cancel them.
-- Jobs that ended a moment ago are left out: their worker is still at it.
CREATE OR REPLACE FUNCTION meshify.audit_running(p_worker uuid, p_max int) RETURNS TABLE (id uuid, prediction_id text)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    PERFORM FROM meshify.workers w WHERE w.id = p_worker AND NOT w.dead AND w.expires_at > now();
    IF NOT FOUND THEN
        RETURN;
    END IF;
    RETURN QUERY
    UPDATE meshify.predictions p SET audited_at = now()
    WHERE p.id IN (
        SELECT o.id FROM meshify.predictions o LEFT JOIN meshify.jobs j ON j.id = o.job_id
        WHERE o.finished_at IS NULL AND o.prediction_id IS NOT NULL
          AND (o.audited_at IS NULL OR o.audited_at < now() - interval '1 min')
          AND (o.state = 'surplus'
               OR (j.id IS NULL AND o.intent_at < now() - interval '1 min')
               OR (j.status NOT IN ('pending', 'running')
                   AND (coalesce(j.completed_at, '-infinity') < now() - interval '1 min' OR j.completed_at > now() + interval '1 day')))
        ORDER BY o.audited_at NULLS FIRST, random() -- an audit may end at its first
        LIMIT p_max FOR UPDATE OF o SKIP LOCKED)
    RETURNING p.id, p.prediction_id;
END $$;

-- The listing shows these predictions, each with the input of the purchase beside it. A prediction that belongs to
-- no purchase becomes surplus. That is a fact, and so is not fenced. But where some job is about to buy with the
-- same input, or looks for its purchase, the prediction may be that job's: it is asked again in a minute. Answers
-- what was recorded.
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
        -- The job is locked first, as everywhere; a session that has locked it may be recording this very prediction.
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

-- The prediction has ended, with this status (NULL: nobody knows which). A fact, and so not fenced.
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

SELECT meshify.restrict_execute('meshify.audit_unknown(uuid, int)', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.audit_running(uuid, int)', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.found_surplus(uuid, uuid[], text[])', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.audit_ended(uuid, text)', 'meshify_worker');
