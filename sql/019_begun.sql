-- Jobs come from the queue; first those that cost already, or are to be canceled.
SET LOCAL search_path = pg_catalog, pg_temp; -- nobody's names but PostgreSQL's

-- Jobs that something was bought for, or perhaps was, go before the backlog and pass a limit a user: a prediction
-- runs and is kept for an hour, whether its job is worked on or not. So do those to be canceled, also where
-- claims are paused.
CREATE OR REPLACE FUNCTION meshify.pick_begun(p_free int, p_only_cancels boolean) RETURNS uuid[]
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_not uuid[] := meshify.unclaimable_now(); -- an array, which leaves the plan as it is
BEGIN
    RETURN ARRAY(
        SELECT j.id FROM meshify.jobs j
        WHERE j.status = 'pending' AND (j.started_at IS NOT NULL OR j.cancel_requested_at IS NOT NULL) -- an index
          AND j.run_after <= now() AND j.id <> ALL (v_not)
          AND (j.cancel_requested_at IS NOT NULL
               OR NOT p_only_cancels
               AND coalesce((SELECT true FROM meshify.predictions p -- not EXISTS, for which all of history may be read
                             WHERE p.job_id = j.id AND p.state IN ('intended', 'bought')
                               AND (p.finished_at IS NULL OR p.finished_at > now() - interval '1 hour') LIMIT 1), false))
        ORDER BY j.priority DESC, j.run_after, j.created_at
        LIMIT p_free FOR UPDATE SKIP LOCKED);
END $$;

-- Which jobs a claim begins. With a limit a user, users are walked one by one, so that the backlog of
-- one who has reached it costs nothing.
CREATE OR REPLACE FUNCTION meshify.pick(p_free int, p_max_per_user int) RETURNS uuid[]
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_picked uuid[] := '{}';
    v_some uuid[];
    v_user uuid;
    v_running int;
    v_not uuid[] := meshify.unclaimable_now(); -- an array, which leaves the plan as it is
BEGIN
    IF p_max_per_user <= 0 THEN
        RETURN ARRAY(
            SELECT j.id FROM meshify.jobs j
            WHERE j.status = 'pending' AND j.run_after <= now() AND j.id <> ALL (v_not)
            ORDER BY j.priority DESC, j.run_after, j.created_at
            LIMIT p_free FOR UPDATE SKIP LOCKED);
    END IF;

    SELECT min(j.user_id::text)::uuid INTO v_user FROM meshify.jobs j WHERE j.status = 'pending';
    WHILE v_user IS NOT NULL AND cardinality(v_picked) < p_free LOOP
        SELECT count(*) INTO v_running FROM meshify.jobs j
        WHERE j.status = 'running' AND j.worker_id IS NOT NULL AND j.user_id = v_user;
        IF v_running < p_max_per_user THEN
            v_some := ARRAY(
                SELECT j.id FROM meshify.jobs j
                WHERE j.status = 'pending' AND j.run_after <= now() AND j.user_id = v_user AND j.id <> ALL (v_not)
                ORDER BY j.priority DESC, j.run_after, j.created_at
                LIMIT least(p_max_per_user - v_running, p_free - cardinality(v_picked)) FOR UPDATE SKIP LOCKED);
            v_picked := v_picked || v_some;
        END IF;
        SELECT j.user_id INTO v_user FROM meshify.jobs j
        WHERE j.status = 'pending' AND j.user_id > v_user
        ORDER BY j.user_id LIMIT 1;
    END LOOP;
    IF cardinality(v_picked) < p_free THEN -- of nobody: each fails by itself
        v_picked := v_picked || ARRAY(
            SELECT j.id FROM meshify.jobs j
            WHERE j.status = 'pending' AND j.run_after <= now() AND j.user_id IS NULL AND j.id <> ALL (v_not)
            ORDER BY j.priority DESC, j.run_after, j.created_at
            LIMIT p_free - cardinality(v_picked) FOR UPDATE SKIP LOCKED);
    END IF;
    RETURN v_picked;
END $$;

-- When the next pending job comes due, whatever its priority; p_ready: or came due already. NULL: there is none.
CREATE OR REPLACE FUNCTION meshify.next_due(p_ready boolean) RETURNS timestamptz
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF p_ready THEN
        RETURN (SELECT j.run_after FROM meshify.jobs j
                WHERE j.status = 'pending' AND j.run_after < 'infinity' ORDER BY j.run_after LIMIT 1); -- an index
    END IF;
    RETURN (SELECT j.run_after FROM meshify.jobs j
            WHERE j.status = 'pending' AND j.run_after < 'infinity' AND j.run_after > now() ORDER BY j.run_after LIMIT 1);
END $$;

CREATE OR REPLACE FUNCTION meshify.claim(p_worker uuid, p_free int, p_max_per_user int, p_only_bought boolean)
    RETURNS SETOF meshify.claimed
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_picked uuid[] := '{}';
    v_some uuid[];
    v_more uuid[];
    v_taken uuid[] := '{}';
    v_cut boolean := false; -- more would have been too much for one answer
    v_paused boolean := meshify.setting('paused') IS NOT DISTINCT FROM 'on';
    v_info meshify.claimed;
    v_free int;
BEGIN
    -- The intent's commit makes the claim durable too; a claim alone is worth no wait for the disk.
    PERFORM pg_catalog.set_config('synchronous_commit', 'off', true);
    IF NOT meshify.tables_are_free(true) THEN -- nothing of a claim waits for a table, while it holds rows
        v_info.next_usec := 1000000;
        RETURN NEXT v_info;
        RETURN;
    END IF;
    IF p_max_per_user > 0 THEN
        PERFORM pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('meshify.claim'));
    END IF;
    -- Nobody declares this worker dead while it claims, but its heart may beat. It gets no more than the database
    -- counts, whatever became of the answers to its claims before.
    SELECT least(p_free, w.max_jobs - (SELECT count(*) FROM meshify.jobs j WHERE j.worker_id = w.id AND j.status = 'running'
                                       AND NOT meshify.is_parked(j.id))) INTO v_free
    FROM meshify.workers w WHERE w.id = p_worker AND NOT w.dead FOR KEY SHARE SKIP LOCKED;
    IF FOUND AND v_free <= 0 AND p_free > 0 THEN
        v_info.next_usec := 1000000;
        RETURN NEXT v_info;
        RETURN;
    END IF;
    IF FOUND THEN
        p_free := v_free;
        v_picked := meshify.pick_begun(p_free, v_paused);
        v_more := meshify.fitting(v_picked);
        v_cut := cardinality(v_more) < cardinality(v_picked);
        v_picked := v_more;
        IF cardinality(v_picked) > 0 THEN -- before the others are counted
            v_taken := meshify.take_each(p_worker, v_picked);
        END IF;
        IF NOT v_paused AND NOT p_only_bought AND NOT v_cut AND cardinality(v_picked) < p_free THEN
            v_some := meshify.pick(p_free - cardinality(v_picked), p_max_per_user);
            v_more := meshify.fitting(v_some);
            v_cut := cardinality(v_more) < cardinality(v_some);
            v_taken := v_taken || meshify.take_each(p_worker, v_more);
            v_picked := v_picked || v_more;
        END IF;
        v_cut := v_cut OR meshify.is_late(); -- it was cut short, see meshify.take_each
        INSERT INTO meshify.events (job_id, event, detail)
        SELECT p, 'claimed', jsonb_build_object('worker', p_worker) FROM unnest(v_taken) p;
    END IF;
    v_info.next_usec := (SELECT greatest(meshify.seconds_between(now(), d.due) * 1000000, 0)::bigint
                         FROM meshify.next_due(v_cut OR cardinality(v_picked) >= p_free) AS d (due) WHERE d.due IS NOT NULL);
    RETURN NEXT v_info;
    IF cardinality(v_taken) > 0 THEN
        RETURN QUERY SELECT * FROM meshify.as_claimed(v_taken);
    END IF;
END $$;

DROP FUNCTION IF EXISTS meshify.pick(int, int, boolean);
SELECT meshify.only_for('meshify.pick_begun(int, boolean)');
SELECT meshify.only_for('meshify.pick(int, int)');
SELECT meshify.only_for('meshify.next_due(boolean)');
SELECT meshify.only_for('meshify.claim(uuid, int, int, boolean)', 'meshify_worker');
UPDATE meshify.schema_version SET version = 19, applied_at = now() WHERE version < 19;
