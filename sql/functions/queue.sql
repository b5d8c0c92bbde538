-- The queue: which pending jobs a claim takes, how a job becomes a worker's, and what the claim answers.

-- The most that input_data may have, in bytes, stored and unpacked. max_prompt is for the prompt alone.
CREATE OR REPLACE FUNCTION meshify.max_input() RETURNS int
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$ SELECT 512 * 1024 $$;

-- The most that max_prompt may say: beside the prompt there is room for an address and for names.
CREATE OR REPLACE FUNCTION meshify.most_prompt() RETURNS int
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$ SELECT 500 * 1024 $$;

-- Was anything bought for this job, or may it have been? A purchase that was refused, or never sent, does not count.
CREATE OR REPLACE FUNCTION meshify.is_in_progress(p_job uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN RETURN EXISTS (SELECT FROM meshify.predictions p
                     WHERE p.job_id = p_job AND (p.state <> 'ended' OR p.prediction_id IS NOT NULL));
END $$;

-- The two members of input_data that a worker needs; the other ones may be of any size. A member that is no text is
-- answered as true, which is no text either. An input that is too large is not answered, but its size is. The stored
-- size is known before anything is read; but stored data may be compressed, at most to a hundredth (pglz) or a 255th
-- (lz4), so the input is unpacked once and measured again. (A prompt that something was bought with is not judged
-- anew.)
CREATE OR REPLACE FUNCTION meshify.input_of(p_input jsonb, p_judge boolean, OUT input text, OUT too_large bigint)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_max int := meshify.setting('max_prompt')::int;
    v_all jsonb;
    v_prompt jsonb;
    v_image jsonb;
    v_size bigint := pg_column_size(p_input);
BEGIN
    IF v_size > meshify.max_input() THEN
        too_large := v_size;
        RETURN;
    ELSIF p_input IS NULL OR jsonb_typeof(p_input) <> 'object' THEN
        input := 'null';
        RETURN;
    END IF;
    v_all := p_input || '{}'; -- unpacked
    v_size := pg_column_size(v_all);
    IF v_size > meshify.max_input() THEN
        too_large := v_size;
        RETURN;
    END IF;
    v_prompt := v_all -> 'prompt';
    v_image := v_all -> 'input_image_url';
    v_size := octet_length(v_prompt #>> '{}');
    IF p_judge AND v_max > 0 AND v_size > v_max THEN
        too_large := v_size;
        RETURN;
    END IF;
    input := jsonb_build_object(
        'prompt', CASE WHEN jsonb_typeof(v_prompt) NOT IN ('string', 'null') THEN 'true' ELSE v_prompt END,
        'input_image_url', CASE WHEN jsonb_typeof(v_image) = 'string' THEN to_jsonb(left(v_image #>> '{}', 10000)) -- no address is longer
                                WHEN jsonb_typeof(v_image) <> 'null' THEN 'true' END);
END $$;

-- Those of these jobs that may be worked on. Where the credits were given back, or were spent on a mesh, the job
-- ends: somebody wrote its status, or inserted it again, and only meshify.retry() takes the credits again. Where the
-- asset is locked, the job is neither waited for nor tried again for a minute.
CREATE OR REPLACE FUNCTION meshify.paid(p_jobs uuid[]) RETURNS uuid[]
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
    v_not uuid[] := ARRAY(SELECT j.id FROM meshify.jobs j WHERE j.id = ANY (p_jobs) AND meshify.is_barred(j.id, j.asset_id));
    v_job uuid;
BEGIN
    FOREACH v_job IN ARRAY v_not LOOP
        EXIT WHEN meshify.is_late();
        BEGIN
            PERFORM FROM public.mesh_assets a WHERE a.id = (SELECT j.asset_id FROM meshify.jobs j WHERE j.id = v_job) FOR UPDATE SKIP LOCKED;
            IF FOUND OR NOT EXISTS (SELECT FROM public.mesh_assets a JOIN meshify.jobs j ON j.asset_id = a.id WHERE j.id = v_job) THEN
                PERFORM meshify.end_as(v_job, 'error', meshify.why_barred(v_job));
            ELSE
                PERFORM meshify.quarantine(v_job, 'nothing is paid for it, and its asset is locked');
            END IF;
        EXCEPTION WHEN OTHERS OR assert_failure OR query_canceled THEN
            PERFORM meshify.quarantine(v_job, SQLERRM);
        END;
    END LOOP;
    RETURN ARRAY(SELECT o.id FROM unnest(p_jobs) WITH ORDINALITY AS o (id, n) WHERE o.id <> ALL (v_not) ORDER BY o.n);
END $$;

-- As many of these jobs, from the first on, as one claim may carry: 4 MiB. The cost of reading an input is not known
-- before it is read, so each job counts with the worst case, in time and in bytes.
CREATE OR REPLACE FUNCTION meshify.fitting(p_jobs uuid[]) RETURNS uuid[]
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_max bigint := coalesce(nullif(meshify.setting('max_prompt')::int, 0), meshify.max_input());
BEGIN
    RETURN ARRAY(
        SELECT s.id FROM (
            SELECT q.id, q.n, sum(CASE WHEN q.size > meshify.max_input() THEN 0 -- which is not read
                                       ELSE greatest(6 * q.size, least(100 * q.size, v_max + 10000)) END + 10 * q.outputs)
                              OVER (ORDER BY q.n) AS total
            FROM (SELECT o.id, o.n, coalesce(pg_column_size(j.input_data), 0)::bigint AS size,
                         (SELECT coalesce(sum(pg_column_size(p.output)), 0) FROM meshify.predictions p WHERE p.job_id = o.id) AS outputs
                  FROM unnest(meshify.paid(p_jobs)) WITH ORDINALITY AS o (id, n) JOIN meshify.jobs j ON j.id = o.id) q) s
        WHERE s.n = 1 OR s.total <= 4 * 1024 * 1024 ORDER BY s.n);
END $$;

-- The jobs as a claim answers them. (A plpgsql function keeps its plan for the next call, a sql function does not.)
CREATE OR REPLACE FUNCTION meshify.as_claimed(p_jobs uuid[]) RETURNS SETOF meshify.claimed
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN RETURN QUERY SELECT j.id, j.user_id, j.project_id, j.asset_id, a.owner_id, i.input, greatest(least(j.attempts, 2147483647), 0)::int,
           greatest(least(j.crashes, 2147483647), 0)::int, meshify.usec(j.worked),
           (meshify.seconds_between(greatest(j.created_at, (SELECT r.at FROM meshify.retries r WHERE r.job_id = j.id)), now()) * 1000000)::bigint,
           j.cancel_requested_at IS NOT NULL,
           meshify.purchases_of(j.id), i.too_large, NULL::uuid[], NULL::uuid[]
    FROM meshify.jobs j LEFT JOIN public.mesh_assets a ON a.id = j.asset_id
    CROSS JOIN LATERAL meshify.input_of(j.input_data, NOT meshify.is_in_progress(j.id)) i
    WHERE j.id = ANY (p_jobs)
    ORDER BY j.priority DESC, j.run_after, j.created_at;
END $$;

-- Jobs that no claim may take: those in quarantine, and those that only wait for their closing.
CREATE OR REPLACE FUNCTION meshify.unclaimable_now() RETURNS uuid[]
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$ BEGIN RETURN ARRAY(SELECT u.job_id FROM meshify.unclaimable u WHERE u.until > now()
                      UNION SELECT c.job_id FROM meshify.closings c WHERE c.due IS NOT NULL); END $$;

-- Nobody claims this job, or takes it over, for a minute. The reason is recorded, and said as a warning.
CREATE OR REPLACE FUNCTION meshify.quarantine(p_job uuid, p_error text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO meshify.unclaimable AS u (job_id, until, error) VALUES (p_job, now() + interval '1 min', left(p_error, 500))
    ON CONFLICT (job_id) DO UPDATE SET until = excluded.until, error = excluded.error;
    PERFORM meshify.note(p_job, 'unclaimable', jsonb_build_object('error', left(p_error, 200)));
    RAISE WARNING USING ERRCODE = 'MF501', MESSAGE = format('job %s can''t be claimed, retrying in a minute: %s', p_job, left(p_error, 200));
END $$;

-- Makes the jobs this worker's, and answers which of them are. A trigger of the project may raise an error, skip a
-- row, or set it back.
CREATE OR REPLACE FUNCTION meshify.take(p_worker uuid, p_jobs uuid[]) RETURNS uuid[]
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE meshify.jobs j
    SET status = 'running', worker_id = p_worker, attempts = least(j.attempts, 2147483646) + 1, claimed_at = now(),
        started_at = coalesce(j.started_at, now())
    WHERE j.id = ANY (p_jobs);
    -- Others lock the asset before the job: so an asset that is locked is left out.
    UPDATE public.mesh_assets a SET status = 'running'
    WHERE a.status = 'pending' AND a.id IN (SELECT x.id FROM meshify.jobs j JOIN public.mesh_assets x ON x.id = j.asset_id
                                            WHERE j.id = ANY (p_jobs) FOR UPDATE OF x SKIP LOCKED);
    RETURN ARRAY(SELECT j.id FROM meshify.jobs j WHERE j.id = ANY (p_jobs) AND j.status = 'running' AND j.worker_id = p_worker);
END $$;

-- The same, job by job where they can't be taken together: one row that is refused keeps no other waiting, whatever
-- the error. A trigger may raise anything, also errors that look like the server's own; it may wait for a lock, or
-- sleep. Where all together take too long, the rest is left to the next claim, which tries each job by itself.
CREATE OR REPLACE FUNCTION meshify.take_each(p_worker uuid, p_jobs uuid[]) RETURNS uuid[]
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
    v_taken uuid[] := '{}';
    v_tried uuid[] := '{}';
    v_job uuid;
    v_each boolean := meshify.is_troubled('claims');
BEGIN
    IF NOT v_each AND NOT meshify.is_late() THEN
        BEGIN
            v_taken := meshify.take(p_worker, p_jobs);
            v_tried := p_jobs;
        EXCEPTION WHEN OTHERS OR assert_failure OR query_canceled THEN
            v_each := true;
            IF meshify.is_late() THEN
                PERFORM meshify.trouble('claims', SQLERRM, '1 min');
            END IF;
        END;
    END IF;
    IF v_each THEN
        FOREACH v_job IN ARRAY p_jobs LOOP
            EXIT WHEN meshify.is_late();
            v_tried := v_tried || v_job;
            BEGIN
                v_taken := v_taken || meshify.take(p_worker, ARRAY[v_job]);
            EXCEPTION WHEN OTHERS OR assert_failure OR query_canceled THEN
                PERFORM meshify.quarantine(v_job, SQLERRM);
            END;
        END LOOP;
    END IF;
    IF cardinality(v_taken) < cardinality(v_tried) THEN
        PERFORM meshify.quarantine(j, 'a trigger of public.jobs does not let it run')
        FROM unnest(v_tried) j WHERE j <> ALL (v_taken || meshify.unclaimable_now());
    END IF;
    RETURN v_taken;
END $$;

-- Jobs for which something was bought, or may have been, go before the backlog and do not count for the per-user
-- limit: their prediction runs, and is kept for an hour, whether the job is worked on or not. So do jobs that are to
-- be canceled, also while claims are paused.
CREATE OR REPLACE FUNCTION meshify.pick_in_progress(p_free int, p_only_cancels boolean) RETURNS uuid[]
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

-- The jobs that a claim begins. With a per-user limit it walks from user to user, so that the backlog of a user who
-- has reached the limit costs nothing.
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

-- When the next pending job comes due, whatever its priority. With p_ready jobs that are due already count too.
-- NULL: there is none.
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

-- Takes up to p_free jobs for this worker: jobs in progress first, then, unless p_only_bought, the queue. The first
-- row of the answer says in next_usec when to claim again.
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
    -- The commit of the intent to buy makes the claim durable too; a claim alone need not wait for the disk.
    PERFORM pg_catalog.set_config('synchronous_commit', 'off', true);
    IF NOT meshify.tables_are_free(true) THEN -- nothing of a claim waits for a table, while it holds rows
        v_info.next_usec := 1000000;
        RETURN NEXT v_info;
        RETURN;
    END IF;
    IF p_max_per_user > 0 THEN
        PERFORM pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('meshify.claim'));
    END IF;
    -- This lock keeps others from declaring the worker dead, but not its heartbeat. It gets no more jobs than the database
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
        v_picked := meshify.pick_in_progress(p_free, v_paused);
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

SELECT meshify.restrict_execute('meshify.max_input()');
SELECT meshify.restrict_execute('meshify.most_prompt()');
SELECT meshify.restrict_execute('meshify.is_in_progress(uuid)');
SELECT meshify.restrict_execute('meshify.input_of(jsonb, boolean)');
SELECT meshify.restrict_execute('meshify.paid(uuid[])');
SELECT meshify.restrict_execute('meshify.fitting(uuid[])');
SELECT meshify.restrict_execute('meshify.as_claimed(uuid[])');
SELECT meshify.restrict_execute('meshify.unclaimable_now()');
SELECT meshify.restrict_execute('meshify.quarantine(uuid, text)');
SELECT meshify.restrict_execute('meshify.take(uuid, uuid[])');
SELECT meshify.restrict_execute('meshify.take_each(uuid, uuid[])');
SELECT meshify.restrict_execute('meshify.pick_in_progress(int, boolean)');
SELECT meshify.restrict_execute('meshify.pick(int, int)');
SELECT meshify.restrict_execute('meshify.next_due(boolean)');
SELECT meshify.restrict_execute('meshify.claim(uuid, int, int, boolean)', 'meshify_worker');
