-- The audit: a prediction that no job waits for any more must not go on running, though the worker that
-- was to cancel it died, or had no answer.
ALTER TABLE meshify.predictions ADD COLUMN IF NOT EXISTS audited_at timestamptz;

-- Up to p_max of them, for a minute this worker's to cancel. What ended a moment ago is still being seen to.
CREATE OR REPLACE FUNCTION meshify.audit(p_worker uuid, p_max int) RETURNS TABLE (id bigint, prediction_id text)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
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
        WHERE o.finished_at IS NULL AND o.prediction_id IS NOT NULL AND o.intent_at < now() - interval '1 min'
          AND (o.audited_at IS NULL OR o.audited_at < now() - interval '1 min')
          AND (o.state = 'surplus' OR j.id IS NULL
               OR (j.status NOT IN ('pending', 'running') AND coalesce(j.completed_at, '-infinity') < now() - interval '1 min'))
        ORDER BY o.intent_at LIMIT p_max FOR UPDATE OF o SKIP LOCKED)
    RETURNING p.id, p.prediction_id;
END $$;

-- It is over, with this status (NULL: nobody knows which). A fact, and so not fenced.
CREATE OR REPLACE FUNCTION meshify.audited(p_id bigint, p_status text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    v_job uuid;
BEGIN
    UPDATE meshify.predictions p SET status = coalesce(p_status, p.status), finished_at = now()
    WHERE p.id = p_id AND p.finished_at IS NULL RETURNING p.job_id INTO v_job;
    IF FOUND THEN
        PERFORM meshify.note(v_job, 'audited', jsonb_strip_nulls(jsonb_build_object('purchase', p_id, 'status', p_status)));
    END IF;
END $$;

SELECT meshify.only_for('meshify.audit(uuid, int)', 'meshify_worker');
SELECT meshify.only_for('meshify.audited(bigint, text)', 'meshify_worker');
UPDATE meshify.schema_version SET version = 13, applied_at = now() WHERE version < 13;
