-- One lease a worker: registering, the heartbeat, and what becomes of the jobs of the dead.

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

CREATE OR REPLACE FUNCTION meshify.unregister(p_worker uuid) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM meshify.workers w WHERE w.id = p_worker;
    RETURN CASE WHEN FOUND THEN 'ok' ELSE 'lost' END;
END $$;

-- For programs older than meshify.beat().
CREATE OR REPLACE FUNCTION meshify.heartbeat(p_worker uuid, p_lease interval, p_running int, p_draining boolean)
    RETURNS TABLE (answer text, held int, workers int, running_all int, cancels uuid[], paused boolean)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE meshify.workers w
    SET heartbeat_at = now(), expires_at = now() + p_lease, running = p_running, draining = p_draining
    WHERE w.id = p_worker AND NOT w.dead;
    IF NOT FOUND THEN
        answer := 'lost';
        RETURN NEXT;
        RETURN;
    END IF;
    answer := 'ok';
    SELECT count(*), coalesce(array_agg(j.id) FILTER (WHERE j.cancel_requested_at IS NOT NULL), '{}')
    INTO held, cancels
    FROM meshify.jobs j WHERE j.worker_id = p_worker AND j.status = 'running';
    SELECT count(*), coalesce(sum(w.running), 0) INTO workers, running_all
    FROM meshify.workers w WHERE NOT w.dead AND w.expires_at > now();
    paused := meshify.setting('paused') = 'on';
    RETURN NEXT;
END $$;

-- The same for programs of today. It reads no table of the project: a lock on one must not cost a lease.
CREATE OR REPLACE FUNCTION meshify.beat(p_worker uuid, p_lease interval, p_running int, p_draining boolean, p_max_jobs int)
    RETURNS TABLE (answer text, workers int, running_all int, paused boolean, to_drain boolean, epoch bigint)
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
    RETURN NEXT;
END $$;

-- Workers whose pids mean the same as ours: of this boot (its id is random) and pid namespace. A machine
-- without an id of its own, as containers often are, is one too.
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
        -- Others lock the asset before the job: one that is locked is not waited for.
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

-- Declares dead what has run out or is proven dead, and puts its jobs back into the queue, at most
-- 500 a call. Within a lease of the server's start nobody has had the chance to be heard, nor within
-- one of the caller's return, p_heard ago: others may have been cut off with it.
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

    -- Whoever claims just now holds his row, and is not waited for.
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
    -- One by one where a trigger refuses one of them, or takes its time (see meshify.take_each).
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
                PERFORM meshify.leave_alone(v_job, SQLERRM);
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

-- For programs older than p_heard.
CREATE OR REPLACE FUNCTION meshify.reap(p_worker uuid, p_proven uuid[]) RETURNS TABLE (dead int, taken int)
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$ SELECT * FROM meshify.reap(p_worker, p_proven, interval '1000 years') $$;

-- History is kept for a time. At most p_max rows a call.
CREATE OR REPLACE FUNCTION meshify.prune(p_keep interval, p_max int) RETURNS int
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_gone int;
BEGIN
    DELETE FROM meshify.events e
    WHERE e.id IN (SELECT o.id FROM meshify.events o WHERE o.at < now() - p_keep
                   ORDER BY o.at LIMIT p_max FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS v_gone = ROW_COUNT;
    DELETE FROM meshify.unclaimable u WHERE u.until < now() - interval '1 hour';
    DELETE FROM meshify.closings c WHERE NOT EXISTS (SELECT FROM meshify.jobs j WHERE j.id = c.job_id);
    RETURN v_gone;
END $$;

SELECT meshify.only_for('meshify.register(uuid, text, text, text, text, text, int, text, int, interval)', 'meshify_worker');
SELECT meshify.only_for('meshify.unregister(uuid)', 'meshify_worker');
SELECT meshify.only_for('meshify.heartbeat(uuid, interval, int, boolean)', 'meshify_worker');
SELECT meshify.only_for('meshify.beat(uuid, interval, int, boolean, int)', 'meshify_worker');
SELECT meshify.only_for('meshify.predecessors(uuid)', 'meshify_worker');
SELECT meshify.only_for('meshify.take_over(uuid, uuid[])');
SELECT meshify.only_for('meshify.reap(uuid, uuid[])', 'meshify_worker');
SELECT meshify.only_for('meshify.reap(uuid, uuid[], interval)', 'meshify_worker');
SELECT meshify.only_for('meshify.prune(interval, int)', 'meshify_worker');
UPDATE meshify.schema_version SET version = 2, applied_at = now() WHERE version < 2;
