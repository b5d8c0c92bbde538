-- What an operator does by hand, through meshifyctl. Trying again: 029_charges.sql.

-- A time that somebody else wrote, in whatever type; NULL: it is none.
CREATE OR REPLACE FUNCTION meshify.as_time(p_text text) RETURNS timestamptz
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN p_text::timestamptz;
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END $$;

-- Running jobs of no worker of ours, unchanged for ten minutes: what an older program left behind.
CREATE OR REPLACE FUNCTION meshify.stuck() RETURNS SETOF uuid
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT j.id FROM meshify.jobs j JOIN public.jobs o ON o.id = j.id
    WHERE j.status = 'running' AND j.worker_id IS NULL
      AND coalesce(meshify.as_time(to_jsonb(o) ->> 'updated_at'), j.created_at) < now() - interval '10 min'
$$;

-- Running jobs of no worker of ours: how many were left behind, how many are being worked on.
CREATE OR REPLACE FUNCTION meshify.others() RETURNS TABLE (stuck int, busy int)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT s.n, (count(*) - s.n)::int
    FROM meshify.jobs j, (SELECT count(*)::int AS n FROM meshify.stuck()) s
    WHERE j.status = 'running' AND j.worker_id IS NULL GROUP BY s.n
$$;

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

-- What a setting may be, in words; NULL: there is no such setting.
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

SELECT meshify.only_for('meshify.as_time(text)');
SELECT meshify.only_for('meshify.stuck()');
SELECT meshify.only_for('meshify.others()', 'meshify_worker');
SELECT meshify.only_for('meshify.retry_stuck()', 'meshify_worker');
SELECT meshify.only_for('meshify.cancel_stuck()', 'meshify_worker');
SELECT meshify.only_for('meshify.list_purchases(boolean, int)', 'meshify_worker');
SELECT meshify.only_for('meshify.list_settings()', 'meshify_worker');
SELECT meshify.only_for('meshify.setting_takes(text)', 'meshify_worker');
SELECT meshify.only_for('meshify.set_setting(text, text)', 'meshify_worker');
SELECT meshify.only_for('meshify.summary(interval)', 'meshify_worker');
UPDATE meshify.schema_version SET version = 8, applied_at = now() WHERE version < 8;
