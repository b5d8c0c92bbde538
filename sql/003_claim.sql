-- Jobs come from the queue.
SET LOCAL search_path = pg_catalog, pg_temp; -- nobody's names but PostgreSQL's

DO $$
BEGIN
    IF to_regtype('meshify.claimed') IS NULL THEN
        CREATE TYPE meshify.claimed AS (
            job_id uuid, user_id uuid, project_id uuid, asset_id uuid, owner_id uuid, input_data text,
            attempts int, crashes int, worked_usec bigint, age_usec bigint, cancel_asked boolean,
            purchases text, next_usec bigint, missing uuid[], gone uuid[]);
    END IF;
END $$;

CREATE OR REPLACE FUNCTION meshify.usec(p interval) RETURNS bigint
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS
$$ SELECT (extract(epoch FROM p) * 1000000)::bigint $$;

CREATE OR REPLACE FUNCTION meshify.purchases_of(p_job uuid) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN RETURN (SELECT coalesce(json_agg(json_build_object(
        'id', p.id, 'step', p.step, 'purchase', p.purchase, 'attempt', p.attempt, 'state', p.state,
        'intent_age_usec', meshify.usec(now() - p.intent_at), 'intent_epoch', extract(epoch FROM p.intent_at)::bigint,
        'give_up_in_usec', meshify.usec(p.give_up_after - now()),
        'prediction_id', p.prediction_id, 'status', p.status, 'model', p.model, 'input_hash', p.input_hash,
        'input_keys', p.input_keys, 'output', p.output, 'finished', p.finished_at IS NOT NULL,
        'finished_age_usec', meshify.usec(now() - p.finished_at),
        'predict_time', CASE WHEN jsonb_typeof(p.metrics -> 'predict_time') = 'number'
                             THEN p.metrics -> 'predict_time' END) ORDER BY p.id)::text, '[]')
    FROM meshify.predictions p WHERE p.job_id = p_job);
END $$;

-- Did somebody's trigger keep this job from ending? Then nothing more is bought for it: it is only tried to end it.
CREATE OR REPLACE FUNCTION meshify.unended(p_job uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN RETURN coalesce((SELECT e.event = 'unended' FROM meshify.events e
                       WHERE e.job_id = p_job AND e.event IN ('unended', 'retried') ORDER BY e.id DESC LIMIT 1), false);
END $$;

-- A job as a worker takes it up. (plpgsql keeps the plan for the next call, sql does not.)
CREATE OR REPLACE FUNCTION meshify.as_claimed(p_jobs uuid[]) RETURNS SETOF meshify.claimed
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN RETURN QUERY SELECT j.id, j.user_id, j.project_id, j.asset_id, a.owner_id, j.input_data::text, j.attempts,
           CASE WHEN meshify.unended(j.id) THEN 1000 ELSE j.crashes END, meshify.usec(j.worked),
           meshify.usec(now() - greatest(j.created_at, (SELECT max(e.at) FROM meshify.events e
                                                        WHERE e.job_id = j.id AND e.event = 'retried'))),
           j.cancel_requested_at IS NOT NULL,
           meshify.purchases_of(j.id), NULL::bigint, NULL::uuid[], NULL::uuid[]
    FROM meshify.jobs j LEFT JOIN public.mesh_assets a ON a.id = j.asset_id
    WHERE j.id = ANY (p_jobs)
    ORDER BY j.priority DESC, j.run_after, j.created_at;
END $$;

-- Which jobs a claim takes. With a limit a user, users are walked one by one, so that the backlog of
-- one who has reached it costs nothing.
CREATE OR REPLACE FUNCTION meshify.pick(p_free int, p_max_per_user int, p_only_bought boolean) RETURNS uuid[]
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_picked uuid[] := '{}';
    v_some uuid[];
    v_user uuid;
    v_running int;
    v_not uuid[] := meshify.unclaimable_now(); -- an array, which leaves the plan as it is
BEGIN
    IF p_only_bought THEN
        -- From the purchases' side: few are open, however long the queue is.
        RETURN ARRAY(
            SELECT j.id FROM meshify.jobs j
            WHERE j.status = 'pending' AND j.run_after <= now() AND j.id <> ALL (v_not)
              AND (j.id IN (SELECT p.job_id FROM meshify.predictions p
                            WHERE p.state IN ('intended', 'bought') AND (p.finished_at IS NULL OR p.finished_at > now() - interval '1 hour'))
                   OR j.cancel_requested_at IS NOT NULL)
            ORDER BY j.priority DESC, j.run_after, j.created_at
            LIMIT p_free FOR UPDATE SKIP LOCKED);
    END IF;
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
    RETURN v_picked;
END $$;

-- Makes the jobs this worker's, and answers which are. A trigger may raise, skip a row, or set it back.
CREATE OR REPLACE FUNCTION meshify.take(p_worker uuid, p_jobs uuid[]) RETURNS uuid[]
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE meshify.jobs j
    SET status = 'running', worker_id = p_worker, attempts = j.attempts + 1, claimed_at = now(),
        started_at = coalesce(j.started_at, now())
    WHERE j.id = ANY (p_jobs);
    -- Others lock the asset before the job: one that is locked is not waited for.
    UPDATE public.mesh_assets a SET status = 'running'
    WHERE a.status = 'pending' AND a.id IN (SELECT x.id FROM meshify.jobs j JOIN public.mesh_assets x ON x.id = j.asset_id
                                            WHERE j.id = ANY (p_jobs) FOR UPDATE OF x SKIP LOCKED);
    RETURN ARRAY(SELECT j.id FROM meshify.jobs j WHERE j.id = ANY (p_jobs) AND j.status = 'running' AND j.worker_id = p_worker);
END $$;

-- The same, one by one where all together can't be had: one row that is refused keeps nobody else waiting.
CREATE OR REPLACE FUNCTION meshify.take_each(p_worker uuid, p_jobs uuid[]) RETURNS uuid[]
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_taken uuid[] := '{}';
    v_job uuid;
BEGIN
    BEGIN
        v_taken := meshify.take(p_worker, p_jobs);
    EXCEPTION WHEN OTHERS THEN
        IF NOT meshify.is_veto(SQLSTATE) THEN
            RAISE;
        END IF;
        FOREACH v_job IN ARRAY p_jobs LOOP
            BEGIN
                v_taken := v_taken || meshify.take(p_worker, ARRAY[v_job]);
            EXCEPTION WHEN OTHERS THEN
                IF NOT meshify.is_veto(SQLSTATE) THEN
                    RAISE;
                END IF;
                PERFORM meshify.leave_alone(v_job, SQLERRM);
            END;
        END LOOP;
    END;
    IF cardinality(v_taken) < cardinality(p_jobs) THEN
        PERFORM meshify.leave_alone(j, 'a trigger of public.jobs does not let it run')
        FROM unnest(p_jobs) j WHERE j <> ALL (v_taken || meshify.unclaimable_now());
    END IF;
    RETURN v_taken;
END $$;

CREATE OR REPLACE FUNCTION meshify.claim(p_worker uuid, p_free int, p_max_per_user int, p_only_bought boolean)
    RETURNS SETOF meshify.claimed
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_picked uuid[] := '{}';
    v_taken uuid[] := '{}';
    v_info meshify.claimed;
BEGIN
    -- The intent's commit makes the claim durable too; a claim alone is worth no wait for the disk.
    PERFORM pg_catalog.set_config('synchronous_commit', 'off', true);
    IF p_max_per_user > 0 THEN
        PERFORM pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('meshify.claim'));
    END IF;
    PERFORM FROM meshify.workers w WHERE w.id = p_worker AND NOT w.dead FOR SHARE;
    IF FOUND AND meshify.setting('paused') IS DISTINCT FROM 'on' THEN
        v_picked := meshify.pick(p_free, p_max_per_user, p_only_bought);
        v_taken := meshify.take_each(p_worker, v_picked);
        INSERT INTO meshify.events (job_id, event, detail)
        SELECT p, 'claimed', jsonb_build_object('worker', p_worker) FROM unnest(v_taken) p;
    END IF;
    v_info.next_usec := (
        SELECT CASE WHEN count(*) > 0 THEN greatest(meshify.usec(min(n.run_after) - now()), 0) END FROM (
            SELECT j.run_after FROM meshify.jobs j
            WHERE j.status = 'pending'
            ORDER BY j.priority DESC, j.run_after, j.created_at LIMIT 100) n
        WHERE cardinality(v_picked) >= p_free OR n.run_after > now());
    RETURN NEXT v_info;
    IF cardinality(v_taken) > 0 THEN
        RETURN QUERY SELECT * FROM meshify.as_claimed(v_taken);
    END IF;
END $$;

SELECT meshify.only_for('meshify.usec(interval)');
SELECT meshify.only_for('meshify.purchases_of(uuid)');
SELECT meshify.only_for('meshify.unended(uuid)');
SELECT meshify.only_for('meshify.as_claimed(uuid[])');
SELECT meshify.only_for('meshify.pick(int, int, boolean)');
SELECT meshify.only_for('meshify.take(uuid, uuid[])');
SELECT meshify.only_for('meshify.take_each(uuid, uuid[])');
SELECT meshify.only_for('meshify.claim(uuid, int, int, boolean)', 'meshify_worker');
UPDATE meshify.schema_version SET version = 3, applied_at = now() WHERE version < 3;
