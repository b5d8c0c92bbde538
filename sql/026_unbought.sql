-- A job goes back to the queue without something that was bought for it, or that may have been.
SET LOCAL search_path = pg_catalog, pg_temp; -- nobody's names but PostgreSQL's

-- Hands the job back and does without these purchases in one: whoever has the job next need not look for what was
-- surely not taken, and may not be able to, once its hour is over; nor does it find again what its configuration has
-- no step for. A purchase that was recorded meanwhile stays what it is.
CREATE OR REPLACE FUNCTION meshify.hand_back_without(
    p_worker uuid, p_job uuid, p_delay interval, p_counted boolean, p_worked interval, p_reason text, p_purchases jsonb)
    RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
BEGIN
    IF meshify.fence_closing(p_worker, p_job) IN ('ok', 'cancel') THEN
        PERFORM meshify.do_without(p_job, p_purchases);
    END IF;
    RETURN meshify.hand_back(p_worker, p_job, p_delay, p_counted, p_worked, p_reason);
END $$;

-- For programs of earlier versions, which know a purchase by its number.
CREATE OR REPLACE FUNCTION meshify.hand_back_unbought(
    p_worker uuid, p_job uuid, p_delay interval, p_counted boolean, p_worked interval, p_reason text, p_purchase bigint)
    RETURNS text LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
    SELECT meshify.hand_back_without(p_worker, p_job, p_delay, p_counted, p_worked, p_reason,
        (SELECT coalesce(jsonb_agg(meshify.purchase_of(p)), '[]') FROM meshify.predictions p WHERE p.n = p_purchase))
$$;

SELECT meshify.only_for('meshify.hand_back_without(uuid, uuid, interval, boolean, interval, text, jsonb)', 'meshify_worker');
SELECT meshify.only_for('meshify.hand_back_unbought(uuid, uuid, interval, boolean, interval, text, bigint)', 'meshify_worker');
UPDATE meshify.schema_version SET version = 26, applied_at = now() WHERE version < 26;
