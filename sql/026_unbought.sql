-- A request whose answer was lost, and that was looked for and surely not taken: its job waits.
SET LOCAL search_path = pg_catalog, pg_temp; -- nobody's names but PostgreSQL's

-- Hands the job back and gives the purchase up in one: whoever has the job next need not look for it again, and
-- may not be able to, once its hour is over. A purchase that was recorded meanwhile stays what it is.
CREATE OR REPLACE FUNCTION meshify.hand_back_unbought(
    p_worker uuid, p_job uuid, p_delay interval, p_counted boolean, p_worked interval, p_reason text, p_purchase bigint)
    RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
BEGIN
    IF meshify.fence_closing(p_worker, p_job) IN ('ok', 'cancel') THEN
        UPDATE meshify.predictions p SET state = 'given_up'
        WHERE p.id = p_purchase AND p.job_id = p_job AND p.state = 'intended';
        IF FOUND THEN
            PERFORM meshify.note(p_job, 'given_up', jsonb_build_object('purchase', p_purchase));
        END IF;
    END IF;
    RETURN meshify.hand_back(p_worker, p_job, p_delay, p_counted, p_worked, p_reason);
END $$;

SELECT meshify.only_for('meshify.hand_back_unbought(uuid, uuid, interval, boolean, interval, text, bigint)', 'meshify_worker');
UPDATE meshify.schema_version SET version = 26, applied_at = now() WHERE version < 26;
