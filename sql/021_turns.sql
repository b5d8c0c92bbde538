-- What the audit looks at takes turns: one that can't be found, or canceled, keeps no other waiting.

-- Purchases of the last hour of which nobody knows whether they were bought, and no job will ask any more:
-- given up, or left behind by a job that ended. For a minute this worker's to look for in the listing.
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

-- Predictions that run and no job waits for, up to p_max of them, for a minute this worker's to cancel.
-- What ended a moment ago is still being seen to.
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

-- For programs of earlier versions, which know a purchase by its number.
CREATE OR REPLACE FUNCTION meshify.audit_lost(p_worker uuid, p_max int)
    RETURNS TABLE (id bigint, input_hash text, input_keys text, age_usec bigint)
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT p.n, a.input_hash, a.input_keys, a.age_usec
    FROM meshify.audit_unknown(p_worker, p_max) a JOIN meshify.predictions p ON p.id = a.id
$$;

CREATE OR REPLACE FUNCTION meshify.audit(p_worker uuid, p_max int) RETURNS TABLE (id bigint, prediction_id text)
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT p.n, a.prediction_id FROM meshify.audit_running(p_worker, p_max) a JOIN meshify.predictions p ON p.id = a.id
$$;

SELECT meshify.only_for('meshify.audit_unknown(uuid, int)', 'meshify_worker');
SELECT meshify.only_for('meshify.audit_running(uuid, int)', 'meshify_worker');
SELECT meshify.only_for('meshify.audit_lost(uuid, int)', 'meshify_worker');
SELECT meshify.only_for('meshify.audit(uuid, int)', 'meshify_worker');
UPDATE meshify.schema_version SET version = 21, applied_at = now() WHERE version < 21;
