-- Closings that a trigger of the project refuses, and closings that a worker did not live to make. They are kept in a
-- table that nobody prunes.

-- The job is tried again: its age counts from now.
CREATE OR REPLACE FUNCTION meshify.retried(p_job uuid) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN INSERT INTO meshify.retries (job_id) VALUES (p_job) ON CONFLICT (job_id) DO UPDATE SET at = now(); END $$;

-- Does the job only wait for its closing?
CREATE OR REPLACE FUNCTION meshify.is_parked(p_job uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN RETURN EXISTS (SELECT FROM meshify.closings c WHERE c.job_id = p_job AND c.due IS NOT NULL); END $$;

-- The object is stored: a fact, recorded with its purchase, whoever tells it. The worker that has the job also
-- leaves the arguments of its closing: if it does not live to make it, nothing is fetched or bought again.
CREATE OR REPLACE FUNCTION meshify.stored(
    p_worker uuid, p_job uuid, p_step text, p_purchase int, p_path text, p_size bigint, p_mime text, p_output_data jsonb, p_result_meta jsonb)
    RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
BEGIN
    UPDATE meshify.predictions p SET object_name = p_path, object_size = p_size, object_sha256 = p_result_meta ->> 'sha256'
    WHERE p.job_id = p_job AND p.step = p_step AND p.purchase = p_purchase
      AND NOT EXISTS (SELECT FROM meshify.predictions o WHERE o.object_name = p_path AND o.id <> p.id); -- an index
    INSERT INTO meshify.closings AS c (job_id, how, args)
    SELECT p_job, 'done', jsonb_build_object('path', p_path, 'size', p_size, 'mime', p_mime, 'output_data', p_output_data, 'result_meta', p_result_meta)
    FROM meshify.jobs j WHERE j.id = p_job AND j.worker_id = p_worker AND j.status = 'running'
    ON CONFLICT (job_id) DO UPDATE SET args = excluded.args WHERE c.how = 'done' AND c.due IS NULL;
END $$;

-- Closes a job, or requeues it, as p_how says.
CREATE OR REPLACE FUNCTION meshify.end_as(p_job uuid, p_how text, p_args jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF p_how = 'done' THEN
        PERFORM meshify.end_with(p_job, p_args);
    ELSIF p_how = 'back' THEN
        PERFORM meshify.put_back(p_job, p_args);
    ELSE
        PERFORM meshify.end_without(p_job, p_how, p_args ->> 'sentence', p_args ->> 'reason');
    END IF;
END $$;

-- Closes a job, or requeues it; the caller holds the locks and knows that it may. In a batch no error is caught: the
-- batch is sent again, one call at a time. Alone, a closing that is refused, even by a deferred trigger, is parked.
CREATE OR REPLACE FUNCTION meshify.end_or_park(p_job uuid, p_how text, p_args jsonb) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF meshify.sent_as() = 'batch' THEN
        PERFORM meshify.end_as(p_job, p_how, p_args);
        RETURN 'ok';
    END IF;
    BEGIN
        PERFORM meshify.end_as(p_job, p_how, p_args);
        SET CONSTRAINTS ALL IMMEDIATE;
        SET CONSTRAINTS ALL DEFERRED; -- for the next of the same transaction
    EXCEPTION WHEN OTHERS OR assert_failure OR query_canceled THEN
        PERFORM meshify.park(p_job, p_how, p_args, SQLSTATE, SQLERRM);
        RETURN 'parked';
    END;
    RETURN 'ok';
END $$;

-- Puts a closing off, each time for longer, and takes the job from its worker if the triggers allow it. The worker's
-- slot is free in any case.
CREATE OR REPLACE FUNCTION meshify.park(p_job uuid, p_how text, p_args jsonb, p_state text, p_error text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_error text := left(p_error, 500);
    v_was text := (SELECT c.error FROM meshify.closings c WHERE c.job_id = p_job);
    v_tries int := meshify.tries();
    v_due timestamptz := now() + CASE WHEN meshify.is_late() THEN interval '1 min' ELSE interval '0' END
        + least(power(2, least(v_tries, 10)) * (0.75 + random() / 4) * CASE WHEN meshify.may_pass(p_state) THEN 1 ELSE 5 END, 540) * interval '1 s';
BEGIN
    INSERT INTO meshify.closings AS c (job_id, how, args, due, tries, error)
    VALUES (p_job, p_how, p_args, v_due, v_tries + 1, v_error)
    ON CONFLICT (job_id) DO UPDATE SET
        how = CASE WHEN excluded.how = 'back' THEN c.how ELSE excluded.how END, -- what has its mesh stays what it is
        args = CASE WHEN excluded.how = 'back' THEN c.args ELSE excluded.args END,
        due = excluded.due, tries = excluded.tries, error = excluded.error;
    IF v_was IS DISTINCT FROM v_error THEN
        PERFORM meshify.note(p_job, 'end_refused', jsonb_strip_nulls(jsonb_build_object('as', p_how, 'reason', p_args ->> 'reason', 'error', left(p_error, 200))));
        RAISE WARNING 'job % can''t be closed (%), trying again; nothing more is bought for it: %', p_job, p_how, left(p_error, 200) USING ERRCODE = 'MF500';
    END IF;
    IF v_tries > 0 OR meshify.is_late() THEN
        RETURN;
    END IF;
    BEGIN -- run_after is for who reads the row: it is meshify.finish() that goes on
        UPDATE meshify.jobs j SET status = 'pending', worker_id = NULL, run_after = now() + interval '10 min'
        WHERE j.id = p_job AND j.status = 'running';
        SET CONSTRAINTS ALL IMMEDIATE;
        SET CONSTRAINTS ALL DEFERRED;
    EXCEPTION WHEN OTHERS OR assert_failure OR query_canceled THEN
        NULL;
    END;
END $$;

-- Tries to make the closings that are due, up to p_max of them, for half a second. Answers the result of each that
-- was tried, and 'starved' for one that has met a lock for a minute: a caller that is sent to wait waits for the
-- first of these.
CREATE OR REPLACE FUNCTION meshify.finish(p_worker uuid, p_max int) RETURNS TABLE (job uuid, answer text, detail text)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
    c meshify.closings;
    v_asset uuid;
    v_status text;
    v_cancel timestamptz;
    v_busy boolean;
    v_starves boolean;
    v_waits boolean := meshify.sent_as() = 'wait';
BEGIN
    IF NOT EXISTS (SELECT FROM meshify.workers w WHERE w.id = p_worker AND NOT w.dead) OR NOT meshify.tables_are_free(true) THEN
        RETURN;
    END IF;
    FOR c IN SELECT x.* FROM meshify.closings x WHERE x.due <= now() ORDER BY x.due LIMIT p_max FOR UPDATE SKIP LOCKED LOOP
        EXIT WHEN clock_timestamp() > statement_timestamp() + interval '500 ms';
        job := c.job_id;
        detail := NULL;
        v_asset := (SELECT j.asset_id FROM meshify.jobs j WHERE j.id = job);
        v_starves := c.since < now() - interval '1 min';
        IF v_starves AND v_waits THEN
            PERFORM pg_catalog.set_config('lock_timeout', '2s', true);
            PERFORM FROM public.mesh_assets a WHERE a.id = v_asset FOR UPDATE;
            PERFORM FROM meshify.jobs j WHERE j.id = job FOR UPDATE;
        ELSIF v_waits THEN -- lock_profile() would wait, too
            CONTINUE;
        END IF;
        PERFORM FROM public.mesh_assets a WHERE a.id = v_asset FOR UPDATE SKIP LOCKED;
        v_busy := NOT FOUND AND EXISTS (SELECT FROM public.mesh_assets a WHERE a.id = v_asset);
        IF NOT v_busy THEN
            SELECT j.status::text, j.cancel_requested_at INTO v_status, v_cancel FROM meshify.jobs j WHERE j.id = job FOR UPDATE SKIP LOCKED;
            v_busy := NOT FOUND AND EXISTS (SELECT FROM meshify.jobs j WHERE j.id = job) OR NOT meshify.lock_profile(job);
        END IF;
        IF v_busy THEN
            UPDATE meshify.closings x SET due = now() + (1 + random()) * interval '1 s' WHERE x.job_id = job;
            IF v_starves THEN
                answer := 'starved';
                RETURN NEXT;
            END IF;
            CONTINUE;
        ELSIF v_status IS NULL OR v_status NOT IN ('pending', 'running') THEN -- somebody ended it
            DELETE FROM meshify.closings x WHERE x.job_id = job;
            CONTINUE;
        ELSIF c.how = 'done' AND meshify.is_barred(job, v_asset) THEN -- somebody wrote its status meanwhile
            c.how := 'error';
            c.args := meshify.why_barred(job);
        ELSIF v_cancel IS NOT NULL AND c.how IN ('done', 'error') AND meshify.may_run(job) THEN
            c.how := 'back'; -- to a worker, who cancels the purchase first
            c.args := '{"reason": "canceled", "counted": false, "delay": "0", "worked": 0}';
            DELETE FROM meshify.closings x WHERE x.job_id = job;
        ELSIF v_cancel IS NOT NULL AND c.how IN ('done', 'error') THEN
            c.how := 'canceled';
            c.args := '{"reason": "canceled"}';
        ELSIF c.how = 'done' AND NOT meshify.may_have_mesh(job) THEN
            c.how := 'error';
            c.args := '{"sentence": "The asset of this request does not exist.", "reason": "asset_missing"}';
        END IF;
        PERFORM pg_catalog.set_config('meshify.tries', c.tries::text, true);
        answer := meshify.end_or_park(job, c.how, c.args);
        answer := CASE answer WHEN 'ok' THEN c.how ELSE answer END;
        detail := coalesce(c.args ->> 'path', c.args ->> 'reason');
        RETURN NEXT;
    END LOOP;
    PERFORM pg_catalog.set_config('meshify.tries', '0', true);
END $$;

SELECT meshify.restrict_execute('meshify.retried(uuid)');
SELECT meshify.restrict_execute('meshify.is_parked(uuid)');
SELECT meshify.restrict_execute('meshify.stored(uuid, uuid, text, int, text, bigint, text, jsonb, jsonb)', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.end_as(uuid, text, jsonb)');
SELECT meshify.restrict_execute('meshify.end_or_park(uuid, text, jsonb)');
SELECT meshify.restrict_execute('meshify.park(uuid, text, jsonb, text, text)');
SELECT meshify.restrict_execute('meshify.finish(uuid, int)', 'meshify_worker');
