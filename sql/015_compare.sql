-- What a worker thinks it holds, compared with what it holds: after each reconnect, and when the counts
-- differ. Answers a row of `missing` and `gone`, then the jobs that it does not know yet.
CREATE OR REPLACE FUNCTION meshify.compare(p_worker uuid, p_known uuid[]) RETURNS SETOF meshify.claimed
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_held uuid[];
    v_info meshify.claimed;
BEGIN
    v_held := ARRAY(SELECT j.id FROM meshify.jobs j
                    WHERE j.worker_id = p_worker AND j.status = 'running' AND NOT meshify.is_parked(j.id));
    v_info.missing := ARRAY(SELECT unnest(p_known) EXCEPT SELECT unnest(v_held));
    -- Deleted, or ended under its worker, as when the asset is deleted: nobody else will see to what was bought.
    v_info.gone := ARRAY(SELECT m FROM unnest(v_info.missing) m LEFT JOIN meshify.jobs j ON j.id = m
                         WHERE j.id IS NULL OR (j.worker_id = p_worker AND j.status NOT IN ('pending', 'running')));
    RETURN NEXT v_info;
    -- Those that are too many for one answer come with the next comparison: the counts will differ again.
    RETURN QUERY SELECT * FROM meshify.as_claimed(meshify.fitting(ARRAY(
        SELECT unnest(v_held) EXCEPT SELECT unnest(p_known) LIMIT 200)));
END $$;

SELECT meshify.only_for('meshify.compare(uuid, uuid[])', 'meshify_worker');
UPDATE meshify.schema_version SET version = 15, applied_at = now() WHERE version < 15;
