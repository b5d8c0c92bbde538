-- What an operator asks for and does through meshifyctl, and what metrics sample. Trying a job again: refunds.sql.

-- Running jobs without a worker of ours, unchanged for ten minutes: an older program has left them behind.
CREATE OR REPLACE FUNCTION meshify.stuck() RETURNS SETOF uuid
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT j.id FROM meshify.jobs j JOIN public.jobs o ON o.id = j.id
    WHERE j.status = 'running' AND j.worker_id IS NULL
      AND coalesce(meshify.as_time(to_jsonb(o) ->> 'updated_at'), j.created_at) < now() - interval '10 min'
$$;

-- Running jobs without a worker of ours: how many were left behind, how many another program works on.
CREATE OR REPLACE FUNCTION meshify.others() RETURNS TABLE (stuck int, busy int)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT s.n, (count(*) - s.n)::int
    FROM meshify.jobs j, (SELECT count(*)::int AS n FROM meshify.stuck()) s
    WHERE j.status = 'running' AND j.worker_id IS NULL GROUP BY s.n
$$;

-- Requeues the jobs that were left behind. Answers how many.
CREATE OR REPLACE FUNCTION meshify.retry_stuck() RETURNS int
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    v_n int := 0;
    v_job uuid;
BEGIN
    FOR v_job IN SELECT meshify.stuck() LOOP
        UPDATE meshify.jobs x SET status = 'pending', run_after = now()
        WHERE x.id = v_job AND x.status = 'running' AND x.worker_id IS NULL;
        IF FOUND THEN
            v_n := v_n + 1;
            PERFORM meshify.retried(v_job);
            PERFORM meshify.note(v_job, 'retried', jsonb_build_object('reason', 'stuck'));
        END IF;
    END LOOP;
    PERFORM pg_catalog.pg_notify('meshify_jobs', '');
    RETURN v_n;
END $$;

-- Cancels the jobs that were left behind. Answers how many.
CREATE OR REPLACE FUNCTION meshify.cancel_stuck() RETURNS int
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    v_n int := 0;
    v_job uuid;
BEGIN
    FOR v_job IN SELECT meshify.stuck() LOOP
        PERFORM FROM public.mesh_assets a WHERE a.id = (SELECT x.asset_id FROM meshify.jobs x WHERE x.id = v_job) FOR UPDATE;
        PERFORM FROM meshify.jobs x WHERE x.id = v_job AND x.status = 'running' AND x.worker_id IS NULL FOR UPDATE;
        IF FOUND THEN
            v_n := v_n + 1;
            PERFORM meshify.end_without(v_job, 'canceled', 'canceled', 'stuck');
        END IF;
    END LOOP;
    RETURN v_n;
END $$;

CREATE OR REPLACE FUNCTION meshify.list_purchases(p_surplus boolean, p_limit int)
    RETURNS TABLE (id bigint, job_id uuid, step text, purchase int, state text, prediction_id text, status text, model text,
                   intent_at timestamptz, finished_at timestamptz, predict_time float8, error text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT p.n, p.job_id, p.step, p.purchase, p.state, p.prediction_id, p.status, p.model, p.intent_at, p.finished_at,
           CASE WHEN jsonb_typeof(p.metrics -> 'predict_time') = 'number' THEN least((p.metrics ->> 'predict_time')::numeric, 1e9)::float8 END, p.error
    FROM meshify.predictions p
    WHERE NOT p_surplus OR p.state = 'surplus'
    ORDER BY p.n DESC LIMIT p_limit
$$;

CREATE OR REPLACE FUNCTION meshify.list_settings() RETURNS TABLE (key text, value text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$ SELECT s.key, s.value FROM meshify.settings s ORDER BY s.key $$;

-- The values that a setting takes, in words. NULL: there is no such setting.
CREATE OR REPLACE FUNCTION meshify.setting_takes(p_key text) RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE
        WHEN p_key IN ('refund', 'paused') THEN 'on or off'
        WHEN p_key IN ('price', 'refund_max') THEN 'a whole number from 0 to 999999999, in credits'
        WHEN p_key = 'max_pending_jobs' THEN 'a whole number from 0 to 999999999; 0: no limit'
        WHEN p_key = 'max_prompt' THEN format('a whole number from 0 to %s, in bytes; 0: no limit but that of input_data, %s KiB',
                                              meshify.most_prompt(), meshify.max_input() / 1024) END
$$;

CREATE OR REPLACE FUNCTION meshify.set_setting(p_key text, p_value text) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM meshify.settings s WHERE s.key = p_key) THEN
        RETURN 'unknown';
    ELSIF p_value IS NULL OR p_value !~ (CASE WHEN p_key IN ('refund', 'paused') THEN '^(on|off)$' ELSE '^[0-9]{1,9}$' END) THEN
        RETURN 'invalid';
    ELSIF p_key = 'max_prompt' AND p_value::int > meshify.most_prompt() THEN
        RETURN 'invalid';
    END IF;
    UPDATE meshify.settings s SET value = p_value WHERE s.key = p_key;
    PERFORM pg_catalog.pg_notify('meshify_jobs', '');
    RETURN 'ok';
END $$;

CREATE OR REPLACE FUNCTION meshify.summary(p_since interval) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH ended AS (
        SELECT j.status::text AS status, CASE WHEN isfinite(j.completed_at) AND isfinite(j.created_at) THEN meshify.seconds_between(j.created_at, j.completed_at) END AS seconds
        FROM meshify.jobs j WHERE j.completed_at > now() - p_since
    ), bought AS (
        SELECT p.model, p.state, p.status,
               CASE WHEN jsonb_typeof(p.metrics -> 'predict_time') = 'number' THEN least((p.metrics ->> 'predict_time')::numeric, 1e9)::float8 END AS seconds
        FROM meshify.predictions p WHERE p.intent_at > now() - p_since
    )
    SELECT jsonb_build_object(
        'jobs', (SELECT jsonb_build_object(
            'done', count(*) FILTER (WHERE e.status = 'done'), 'failed', count(*) FILTER (WHERE e.status = 'error'),
            'canceled', count(*) FILTER (WHERE e.status = 'canceled'),
            'p50_seconds', percentile_cont(0.5) WITHIN GROUP (ORDER BY e.seconds) FILTER (WHERE e.status = 'done'),
            'p95_seconds', percentile_cont(0.95) WITHIN GROUP (ORDER BY e.seconds) FILTER (WHERE e.status = 'done')) FROM ended e),
        'failures', (SELECT coalesce(jsonb_object_agg(f.reason, f.n), '{}') FROM (
            SELECT coalesce(e.detail ->> 'reason', 'unknown') AS reason, count(*) AS n
            FROM meshify.events e WHERE e.event = 'error' AND e.at > now() - p_since GROUP BY 1) f),
        'models', (SELECT coalesce(jsonb_agg(to_jsonb(m) ORDER BY m.predictions DESC), '[]') FROM (
            SELECT b.model, count(*) AS predictions, count(*) FILTER (WHERE b.status = 'succeeded') AS succeeded,
                   count(*) FILTER (WHERE b.state = 'surplus') AS surplus, coalesce(sum(b.seconds), 0) AS predict_seconds
            FROM bought b GROUP BY b.model) m),
        'storage', (SELECT coalesce(jsonb_agg(to_jsonb(s)), '[]') FROM (
            SELECT * FROM meshify.storage_usage u ORDER BY u.bytes DESC NULLS LAST LIMIT 20) s))
$$;

-- A function, since a view of the table itself would keep its owner from widening `size`.
CREATE OR REPLACE FUNCTION meshify.storage_by_owner() RETURNS TABLE (owner uuid, count bigint, bytes numeric)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT a.owner_id, count(*), coalesce(sum(CASE WHEN a.size::float8 BETWEEN 0 AND 1e18 THEN a.size::numeric END), 0)
    FROM public.mesh_assets a WHERE a.status = 'done' GROUP BY a.owner_id
$$;

CREATE OR REPLACE FUNCTION meshify.list_jobs(p_status text, p_user uuid, p_limit int)
    RETURNS TABLE (id uuid, user_id uuid, status text, attempts int, progress real, created_at timestamptz,
                   started_at timestamptz, completed_at timestamptz, prompt text, error text, output_path text, worker text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT j.id, j.user_id, j.status::text, greatest(least(j.attempts, 2147483647), 0)::int,
           CASE WHEN j.progress BETWEEN 0 AND 1 THEN j.progress END::real, j.created_at, j.started_at, j.completed_at,
           meshify.prompt_of(j.input_data), j.error, a.output_path, w.instance
    FROM meshify.jobs j
    LEFT JOIN public.mesh_assets a ON a.id = j.asset_id
    LEFT JOIN meshify.workers w ON w.id = j.worker_id
    WHERE (p_status IS NULL OR j.status::text = p_status) AND (p_user IS NULL OR j.user_id = p_user)
    ORDER BY j.created_at DESC LIMIT least(greatest(p_limit, 1), 10000)
$$;

-- A row as JSON that every reader takes. Of a value that some could not read (large, deep, or with numbers that no
-- machine has) only the beginning is answered.
CREATE OR REPLACE FUNCTION meshify.readable(p_row jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT jsonb_object_agg(m.key, CASE
        WHEN pg_column_size(m.value) > 65536 OR m.value::text ~ '(^|[\[:, ])-?[0-9]{19}'
          OR length(regexp_replace(m.value::text, '[^\[\]{}]', '', 'g')) > 1000 THEN to_jsonb(left(m.value #>> '{}', 10000))
        ELSE m.value END)
    FROM jsonb_each(p_row) m
$$;

CREATE OR REPLACE FUNCTION meshify.show_job(p_job uuid) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT jsonb_build_object(
        'job', (SELECT meshify.readable(to_jsonb(o)) FROM public.jobs o WHERE o.id = j.id), 'asset', meshify.readable(to_jsonb(a)),
        'purchases', (SELECT coalesce(jsonb_agg(to_jsonb(p) ORDER BY p.n), '[]') FROM meshify.predictions p WHERE p.job_id = j.id),
        'refunds', (SELECT coalesce(jsonb_agg(to_jsonb(r) ORDER BY r.n), '[]') FROM meshify.refunds r WHERE r.job_id = j.id),
        'events', (SELECT coalesce(jsonb_agg(to_jsonb(e) - 'job_id' ORDER BY e.id), '[]') FROM meshify.events e WHERE e.job_id = j.id))
    FROM meshify.jobs j LEFT JOIN public.mesh_assets a ON a.id = j.asset_id
    WHERE j.id = p_job
$$;

CREATE OR REPLACE FUNCTION meshify.status() RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT jsonb_build_object(
        'schema_version', (SELECT v.version FROM meshify.schema_version v),
        'queue', (SELECT to_jsonb(s) FROM meshify.stats s),
        'settings', (SELECT jsonb_object_agg(s.key, s.value) FROM meshify.settings s),
        'workers', (SELECT coalesce(jsonb_agg(to_jsonb(w) || jsonb_build_object(
                        'lease_left_seconds', extract(epoch FROM w.expires_at - now())::float8,
                        'held', (SELECT jsonb_agg(h || jsonb_build_object('seconds', extract(epoch FROM (h ->> 'until')::timestamptz - now())::float8))
                                 FROM jsonb_array_elements(w.held) h)) ORDER BY w.started_at), '[]')
                    FROM meshify.workers w),
        -- Only of jobs that a worker still has.
        'waits', (SELECT coalesce(jsonb_agg(t || jsonb_build_object('instance', w.instance,
                        'seconds', extract(epoch FROM now() - (t ->> 'since')::timestamptz)::float8) ORDER BY t ->> 'since'), '[]')
                  FROM meshify.workers w
                  CROSS JOIN LATERAL jsonb_array_elements(CASE jsonb_typeof(to_jsonb(w) -> 'waits')
                                                          WHEN 'array' THEN to_jsonb(w) -> 'waits' ELSE '[]' END) t
                  JOIN meshify.jobs j ON j.id = (t ->> 'job')::uuid AND j.worker_id = w.id AND j.status = 'running'))
$$;

-- For the metrics. Only the eldest live worker gets a row, so that all instances together ask once. The work is
-- bounded, whatever the queue. Refunds only grow in number: those up to p_known_at are known, and the next call is
-- given `known` and `known_at`; a transaction of the last minutes may yet commit.
CREATE OR REPLACE FUNCTION meshify.queue_sample(p_worker uuid, p_known bigint, p_known_at timestamptz)
    RETURNS TABLE (ready bigint, later bigint, oldest_seconds float8, refunds bigint, known bigint, known_at timestamptz)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF p_worker IS DISTINCT FROM (SELECT w.id FROM meshify.workers w WHERE NOT w.dead AND NOT w.draining AND w.expires_at > now()
                                  ORDER BY w.started_at, w.id LIMIT 1) THEN
        RETURN;
    END IF;
    SELECT count(*) FILTER (WHERE q.run_after <= now()), count(*) FILTER (WHERE q.run_after > now()),
           coalesce(meshify.seconds_between(min(q.created_at) FILTER (WHERE isfinite(q.created_at)), now()), 0)
    INTO ready, later, oldest_seconds
    FROM (SELECT j.run_after, j.created_at FROM meshify.jobs j WHERE j.status = 'pending'
          ORDER BY j.priority DESC, j.run_after, j.created_at LIMIT 100000) q; -- the index's order
    known_at := greatest(p_known_at, now() - interval '10 minutes');
    SELECT p_known + count(*), p_known + count(*) FILTER (WHERE r.at <= known_at)
    INTO refunds, known
    FROM meshify.refunds r WHERE r.credits > 0 AND r.at > p_known_at;
    RETURN NEXT;
END $$;

-- Removes history that is older than p_keep, at most p_max rows a call. Answers how many.
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

SELECT meshify.restrict_execute('meshify.stuck()');
SELECT meshify.restrict_execute('meshify.others()', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.retry_stuck()', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.cancel_stuck()', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.list_purchases(boolean, int)', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.list_settings()', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.setting_takes(text)', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.set_setting(text, text)', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.summary(interval)', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.storage_by_owner()', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.list_jobs(text, uuid, int)', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.readable(jsonb)');
SELECT meshify.restrict_execute('meshify.show_job(uuid)', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.status()', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.queue_sample(uuid, bigint, timestamptz)', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.prune(interval, int)', 'meshify_worker');
