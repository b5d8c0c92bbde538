-- Workers: one row and one lease each. Registering, the heartbeat, what a worker is told and tells of its jobs, and
-- what becomes of the jobs of the dead.

-- Makes the worker's row, or finds it after an answer that was lost. 'lost': the row is there and declared dead.
CREATE OR REPLACE FUNCTION meshify.register(
    p_worker uuid, p_instance text, p_host text, p_machine_id text, p_boot_id text, p_pid_ns text, p_pid int,
    p_version text, p_max_jobs int, p_lease interval)
    RETURNS TABLE (answer text, workers int, lease_usec bigint)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO meshify.workers AS w (id, instance, host, machine_id, boot_id, pid_ns, pid, version, max_jobs, expires_at)
    VALUES (p_worker, left(p_instance, 200), left(p_host, 200), left(p_machine_id, 100), left(p_boot_id, 100),
            left(p_pid_ns, 100), p_pid, left(p_version, 50), p_max_jobs, now() + p_lease)
    ON CONFLICT (id) DO UPDATE SET heartbeat_at = now(), expires_at = now() + p_lease WHERE NOT w.dead;
    answer := CASE WHEN FOUND THEN 'ok' ELSE 'lost' END;
    SELECT count(*) INTO workers FROM meshify.workers w WHERE NOT w.dead AND w.expires_at > now();
    lease_usec := (extract(epoch FROM p_lease) * 1000000)::bigint;
    RETURN NEXT;
END $$;

-- A worker that stops cleanly takes its row away.
CREATE OR REPLACE FUNCTION meshify.unregister(p_worker uuid) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM meshify.workers w WHERE w.id = p_worker;
    RETURN CASE WHEN FOUND THEN 'ok' ELSE 'lost' END;
END $$;

-- Prolongs the lease. It reads no table of the project, since a lock on one must not cost a lease. A program below
-- compatible_from drains.
CREATE OR REPLACE FUNCTION meshify.heartbeat(p_worker uuid, p_lease interval, p_running int, p_draining boolean, p_max_jobs int)
    RETURNS TABLE (answer text, workers int, running_all int, paused boolean, to_drain boolean, epoch bigint, compatible_from int)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s' AS $$
BEGIN
    epoch := extract(epoch FROM now())::bigint;
    UPDATE meshify.workers w
    SET heartbeat_at = now(), expires_at = now() + p_lease, running = p_running, draining = p_draining, max_jobs = p_max_jobs
    WHERE w.id = p_worker AND NOT w.dead;
    answer := CASE WHEN FOUND THEN 'ok' ELSE 'lost' END;
    SELECT count(*), coalesce(sum(w.running), 0) INTO workers, running_all
    FROM meshify.workers w WHERE NOT w.dead AND w.expires_at > now();
    paused := meshify.setting('paused') = 'on';
    to_drain := meshify.is_to_drain(p_worker);
    compatible_from := (SELECT v.compatible_from FROM meshify.schema_version v);
    RETURN NEXT;
END $$;

-- Workers whose process ids can be compared with the caller's: they run in the same boot (its id is random) and pid
-- namespace. The machine's id may be empty, as it often is in containers, if both are.
CREATE OR REPLACE FUNCTION meshify.predecessors(p_worker uuid) RETURNS TABLE (worker uuid, pid int)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT o.id, o.pid
    FROM meshify.workers o
    JOIN meshify.workers me ON me.id = p_worker
    WHERE o.id <> me.id AND o.machine_id = me.machine_id AND o.boot_id = me.boot_id AND o.pid_ns = me.pid_ns
      AND me.boot_id <> '' AND me.pid_ns <> ''
$$;

-- Puts running jobs back into the queue. Answers how many.
CREATE OR REPLACE FUNCTION meshify.take_over(p_worker uuid, p_jobs uuid[]) RETURNS int
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
    v_taken int;
BEGIN
    WITH picked AS (
        SELECT j.id, w.heartbeat_at
        FROM meshify.jobs j LEFT JOIN meshify.workers w ON w.id = j.worker_id
        WHERE j.id = ANY (p_jobs) AND j.status = 'running'
    ), back AS (
        UPDATE meshify.jobs j
        SET status = 'pending', worker_id = NULL, run_after = now(), attempts = greatest(j.attempts, 1) - 1,
            crashes = least(j.crashes, 2147483646) + 1,
            worked = meshify.add_worked(j.worked, CASE WHEN isfinite(j.claimed_at) THEN
                meshify.seconds_between(j.claimed_at, least(coalesce(p.heartbeat_at, now()), now())) END)
        FROM picked p WHERE j.id = p.id
        RETURNING j.id, j.asset_id
    ), assets AS (
        -- Others lock the asset before the job: so an asset that is locked is left out.
        UPDATE public.mesh_assets a SET status = 'pending'
        WHERE a.status = 'running' AND a.id IN (SELECT x.id FROM back b JOIN public.mesh_assets x ON x.id = b.asset_id
                                                FOR UPDATE OF x SKIP LOCKED)
    ), noted AS (
        INSERT INTO meshify.events (job_id, event, detail)
        SELECT b.id, 'taken_over', jsonb_build_object('by', p_worker) FROM back b
        RETURNING 1
    ), stored AS ( -- they have their mesh, and wait for their closing alone
        UPDATE meshify.closings c SET due = now() WHERE c.due IS NULL AND c.job_id IN (SELECT b.id FROM back b)
    )
    SELECT count(*) INTO v_taken FROM noted;
    RETURN v_taken;
END $$;

-- Declares workers dead whose lease has run out, or whose process is proven dead, and puts their jobs back into the
-- queue, at most 500 a call. A lease does not count as run out within a lease of the server's start, since nobody
-- could renew it before, nor within a lease of the caller's return, p_heard ago, since others may have been cut off
-- as the caller was.
CREATE OR REPLACE FUNCTION meshify.reap(p_worker uuid, p_proven uuid[], p_heard interval) RETURNS TABLE (dead int, taken int)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms' AS $$
DECLARE
    v_lease interval;
    v_left uuid[];
    v_job uuid;
    v_each boolean;
    v_not uuid[] := meshify.unclaimable_now();
BEGIN
    dead := 0;
    taken := 0;
    SELECT w.expires_at - w.heartbeat_at INTO v_lease
    FROM meshify.workers w WHERE w.id = p_worker AND NOT w.dead AND w.expires_at > now();
    IF NOT FOUND THEN
        RETURN NEXT;
        RETURN;
    END IF;

    -- A worker that claims just now has locked its row: it is left out.
    UPDATE meshify.workers d SET dead = true
    WHERE d.id IN (
        SELECT w.id FROM meshify.workers w
        WHERE w.id <> p_worker AND NOT w.dead
          AND (w.id = ANY (p_proven)
               OR (w.expires_at < now()
                   AND greatest(v_lease, w.expires_at - w.heartbeat_at)
                       < least(p_heard, now() - pg_catalog.pg_postmaster_start_time())))
        FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS dead = ROW_COUNT;
    IF NOT meshify.tables_are_free(true) THEN
        RETURN NEXT; -- their jobs are taken over when it is over
        RETURN;
    END IF;

    v_left := ARRAY(
        SELECT j.id FROM meshify.jobs j LEFT JOIN meshify.workers w ON w.id = j.worker_id
        WHERE j.status = 'running' AND j.worker_id IS NOT NULL AND (w.id IS NULL OR w.dead) AND j.id <> ALL (v_not)
        LIMIT 500
        FOR UPDATE OF j SKIP LOCKED);
    -- Job by job where a trigger refuses one of them, or takes its time: see meshify.take_each().
    v_each := meshify.is_troubled('claims');
    IF NOT v_each THEN
        BEGIN
            taken := meshify.take_over(p_worker, v_left);
        EXCEPTION WHEN OTHERS OR assert_failure OR query_canceled THEN
            v_each := true;
            IF meshify.is_late() THEN
                PERFORM meshify.trouble('claims', SQLERRM, '1 min');
            END IF;
        END;
    END IF;
    IF v_each THEN
        FOREACH v_job IN ARRAY v_left LOOP
            EXIT WHEN meshify.is_late();
            BEGIN
                taken := taken + meshify.take_over(p_worker, ARRAY[v_job]);
            EXCEPTION WHEN OTHERS OR assert_failure OR query_canceled THEN
                PERFORM meshify.quarantine(v_job, SQLERRM);
            END;
        END LOOP;
    END IF;

    DELETE FROM meshify.workers d
    WHERE d.id IN (SELECT w.id FROM meshify.workers w
                   WHERE w.dead AND NOT EXISTS (SELECT FROM meshify.jobs j
                                                WHERE j.worker_id = w.id AND j.status = 'running' AND NOT meshify.is_parked(j.id))
                   FOR UPDATE SKIP LOCKED);
    IF taken > 0 THEN
        PERFORM pg_catalog.pg_notify('meshify_jobs', '');
    END IF;
    RETURN NEXT;
END $$;

-- Compares the jobs that a worker knows with those that it has: after each reconnect, and when the counts differ.
-- Answers a row of `missing` and `gone`, then the jobs that the worker does not know yet.
CREATE OR REPLACE FUNCTION meshify.compare(p_worker uuid, p_known uuid[]) RETURNS SETOF meshify.claimed
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_held uuid[];
    v_info meshify.claimed;
BEGIN
    v_held := ARRAY(SELECT j.id FROM meshify.jobs j
                    WHERE j.worker_id = p_worker AND j.status = 'running' AND NOT meshify.is_parked(j.id));
    v_info.missing := ARRAY(SELECT unnest(p_known) EXCEPT SELECT unnest(v_held));
    -- Deleted, or ended under its worker, as when the asset is deleted: only this worker cancels what was bought.
    v_info.gone := ARRAY(SELECT m FROM unnest(v_info.missing) m LEFT JOIN meshify.jobs j ON j.id = m
                         WHERE j.id IS NULL OR (j.worker_id = p_worker AND j.status NOT IN ('pending', 'running')));
    RETURN NEXT v_info;
    -- Jobs that are too many for one answer come with the next comparison: the counts will differ again.
    RETURN QUERY SELECT * FROM meshify.as_claimed(meshify.fitting(ARRAY(
        SELECT unnest(v_held) EXCEPT SELECT unnest(p_known) LIMIT 200)));
END $$;

-- A notification is a hint: anybody who may connect can send one, so what is asked of a worker stands in rows. These are
-- the jobs of this worker that a cancel was asked for; whether the worker itself is asked to stop; and how many jobs
-- the database counts as its own.
CREATE OR REPLACE FUNCTION meshify.news(p_worker uuid) RETURNS TABLE (cancels uuid[], to_drain boolean, held int)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
BEGIN
    SELECT coalesce(array_agg(j.id) FILTER (WHERE j.cancel_requested_at IS NOT NULL), '{}'), count(*) INTO cancels, held
    FROM meshify.jobs j WHERE j.worker_id = p_worker AND j.status = 'running' AND NOT meshify.is_parked(j.id);
    to_drain := meshify.is_to_drain(p_worker);
    RETURN NEXT;
END $$;

-- Records which lanes the worker holds, and why, for `meshifyctl status`. p_held is [{"lane", "reason", "detail",
-- "wait_usec"}].
CREATE OR REPLACE FUNCTION meshify.lanes(p_worker uuid, p_held jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE meshify.workers w
    SET held = (SELECT jsonb_agg(jsonb_build_object(
                    'lane', h ->> 'lane', 'reason', h ->> 'reason', 'detail', left(h ->> 'detail', 200),
                    'until', now() + make_interval(secs => (h ->> 'wait_usec')::float8 / 1000000)))
                FROM jsonb_array_elements(p_held) h)
    WHERE w.id = p_worker;
END $$;

-- Records what the worker's jobs wait for, for `meshifyctl status`, in place of what was recorded before. p_waits is
-- [{"job", "state", "for", "usec"}].
CREATE OR REPLACE FUNCTION meshify.waits(p_worker uuid, p_waits jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE meshify.workers w
    SET waits = (SELECT jsonb_agg(jsonb_build_object(
                     'job', t ->> 'job', 'state', t ->> 'state', 'for', left(t ->> 'for', 300),
                     'since', now() - make_interval(secs => (t ->> 'usec')::float8 / 1000000)))
                 FROM jsonb_array_elements(p_waits) t)
    WHERE w.id = p_worker;
END $$;

-- An operator asks an instance to stop. A notification tells it at once; where notifications do not arrive, the
-- answer to its next heartbeat does. Answers how many workers were asked.
CREATE OR REPLACE FUNCTION meshify.drain(p_instance text) RETURNS int
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_n int := 0;
    v_worker uuid;
BEGIN
    FOR v_worker IN UPDATE meshify.workers w SET drain_asked_at = coalesce(w.drain_asked_at, now())
                    WHERE w.instance = p_instance AND NOT w.dead AND w.expires_at > now() RETURNING w.id LOOP
        PERFORM pg_catalog.pg_notify('meshify_control', json_build_object('drain', v_worker)::text);
        v_n := v_n + 1;
    END LOOP;
    RETURN v_n;
END $$;

-- Was this worker asked to stop?
CREATE OR REPLACE FUNCTION meshify.is_to_drain(p_worker uuid) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$ SELECT coalesce((SELECT w.drain_asked_at IS NOT NULL FROM meshify.workers w WHERE w.id = p_worker), false) $$;

-- Writes how far jobs are, from 0 to 1, never backwards. A job whose row is locked is left out. Answers how many were
-- written.
CREATE OR REPLACE FUNCTION meshify.progress(p_worker uuid, p_jobs uuid[], p_values real[]) RETURNS int
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
    v_n int;
BEGIN
    IF NOT meshify.tables_are_free(true) THEN
        RETURN 0;
    END IF;
    WITH news AS (
        SELECT j.id, least(n.value, 1) AS value
        FROM unnest(p_jobs, p_values) AS n (job, value)
        JOIN meshify.jobs j ON j.id = n.job
        WHERE j.worker_id = p_worker AND j.status = 'running' AND coalesce(j.progress, 0) < n.value
        FOR UPDATE OF j SKIP LOCKED)
    UPDATE meshify.jobs j SET progress = news.value FROM news WHERE j.id = news.id;
    GET DIAGNOSTICS v_n = ROW_COUNT;
    RETURN v_n;
END $$;

SELECT meshify.restrict_execute('meshify.register(uuid, text, text, text, text, text, int, text, int, interval)', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.unregister(uuid)', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.heartbeat(uuid, interval, int, boolean, int)', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.predecessors(uuid)', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.take_over(uuid, uuid[])');
SELECT meshify.restrict_execute('meshify.reap(uuid, uuid[], interval)', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.compare(uuid, uuid[])', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.news(uuid)', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.lanes(uuid, jsonb)', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.waits(uuid, jsonb)', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.drain(text)', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.is_to_drain(uuid)', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.progress(uuid, uuid[], real[])', 'meshify_worker');
