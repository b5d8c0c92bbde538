-- A notification is a hint: anybody who may connect can send one. What is asked of a worker stands in rows.

-- The jobs of this worker that a cancel was asked for, also those that ended or whose rows were deleted meanwhile,
-- while something that it bought for them may run; and whether the worker itself is asked to stop.
CREATE OR REPLACE FUNCTION meshify.asked(p_worker uuid) RETURNS TABLE (cancels uuid[], to_drain boolean)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    cancels := ARRAY(SELECT j.id FROM meshify.jobs j
                     WHERE j.worker_id = p_worker AND j.status = 'running' AND j.cancel_requested_at IS NOT NULL
                     UNION ALL
                     SELECT p.job_id FROM meshify.predictions p LEFT JOIN meshify.jobs j ON j.id = p.job_id
                     WHERE p.worker_id = p_worker AND p.finished_at IS NULL AND p.state IN ('intended', 'bought', 'surplus')
                       AND (j.id IS NULL OR j.status NOT IN ('pending', 'running') AND j.worker_id = p_worker AND j.cancel_requested_at IS NOT NULL));
    to_drain := meshify.is_to_drain(p_worker);
    RETURN NEXT;
END $$;

-- The same for programs of today, with how many jobs the database counts as this worker's.
CREATE OR REPLACE FUNCTION meshify.news(p_worker uuid) RETURNS TABLE (cancels uuid[], to_drain boolean, held int)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
BEGIN
    SELECT coalesce(array_agg(j.id) FILTER (WHERE j.cancel_requested_at IS NOT NULL), '{}'), count(*) INTO cancels, held
    FROM meshify.jobs j WHERE j.worker_id = p_worker AND j.status = 'running' AND NOT meshify.is_parked(j.id);
    to_drain := meshify.is_to_drain(p_worker);
    RETURN NEXT;
END $$;

SELECT meshify.only_for('meshify.asked(uuid)', 'meshify_worker');
SELECT meshify.only_for('meshify.news(uuid)', 'meshify_worker');
UPDATE meshify.schema_version SET version = 24, applied_at = now() WHERE version < 24;
