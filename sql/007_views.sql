-- What operators look at.
SET LOCAL search_path = pg_catalog, pg_temp; -- nobody's names but PostgreSQL's

CREATE OR REPLACE VIEW meshify.stats WITH (security_barrier) AS
SELECT count(*) FILTER (WHERE j.status = 'pending') AS pending,
       count(*) FILTER (WHERE j.status = 'running') AS running,
       count(*) FILTER (WHERE j.status = 'running' AND j.worker_id IS NULL) AS running_without_worker,
       meshify.seconds_between(min(j.created_at) FILTER (WHERE j.status = 'pending' AND isfinite(j.created_at)), now()) AS oldest_pending_seconds,
       count(*) FILTER (WHERE j.status = 'done' AND j.completed_at > now() - interval '1 hour') AS done_hour,
       count(*) FILTER (WHERE j.status = 'error' AND j.completed_at > now() - interval '1 hour') AS error_hour,
       count(*) FILTER (WHERE j.status = 'done' AND j.completed_at > now() - interval '1 day') AS done_day,
       count(*) FILTER (WHERE j.status = 'error' AND j.completed_at > now() - interval '1 day') AS error_day,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY meshify.seconds_between(j.started_at, j.completed_at))
           FILTER (WHERE j.status = 'done' AND j.completed_at > now() - interval '1 day' AND isfinite(j.completed_at) AND isfinite(j.started_at)) AS p50_seconds,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY meshify.seconds_between(j.started_at, j.completed_at))
           FILTER (WHERE j.status = 'done' AND j.completed_at > now() - interval '1 day' AND isfinite(j.completed_at) AND isfinite(j.started_at)) AS p95_seconds
FROM meshify.jobs j;

-- A view of the table itself would keep its owner from widening `size`.
CREATE OR REPLACE FUNCTION meshify.storage_by_owner() RETURNS TABLE (owner uuid, count bigint, bytes numeric)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT a.owner_id, count(*), coalesce(sum(CASE WHEN a.size::float8 BETWEEN 0 AND 1e18 THEN a.size::numeric END), 0)
    FROM public.mesh_assets a WHERE a.status = 'done' GROUP BY a.owner_id
$$;
CREATE OR REPLACE VIEW meshify.storage_usage WITH (security_barrier) AS
SELECT s.owner, s.count, s.bytes FROM meshify.storage_by_owner() s;

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

-- A row as JSON that every reader takes, a value that some would not as its beginning: one that is large, or
-- deep, or has numbers that no machine has.
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
        -- Of jobs that a worker still has; the column is younger than this function.
        'waits', (SELECT coalesce(jsonb_agg(t || jsonb_build_object('instance', w.instance,
                        'seconds', extract(epoch FROM now() - (t ->> 'since')::timestamptz)::float8) ORDER BY t ->> 'since'), '[]')
                  FROM meshify.workers w
                  CROSS JOIN LATERAL jsonb_array_elements(CASE jsonb_typeof(to_jsonb(w) -> 'waits')
                                                          WHEN 'array' THEN to_jsonb(w) -> 'waits' ELSE '[]' END) t
                  JOIN meshify.jobs j ON j.id = (t ->> 'job')::uuid AND j.worker_id = w.id AND j.status = 'running'))
$$;

-- For the metrics: no row but for the eldest live worker, so that all instances together ask once. What
-- it walks is bounded, whatever the queue. Refunds only grow in number: those up to p_known_at are known,
-- and the next call may be told `known` and `known_at`; a transaction of the last minutes may yet commit.
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

REVOKE ALL ON meshify.stats, meshify.storage_usage FROM PUBLIC;
GRANT SELECT ON meshify.stats, meshify.storage_usage TO meshify_worker;
DO $$
DECLARE
    r text;
BEGIN
    FOREACH r IN ARRAY ARRAY['anon', 'authenticated', 'service_role'] LOOP
        IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = r) THEN
            EXECUTE format('REVOKE ALL ON meshify.stats, meshify.storage_usage FROM %I', r);
        END IF;
    END LOOP;
END $$;
SELECT meshify.only_for('meshify.storage_by_owner()', 'meshify_worker');
SELECT meshify.only_for('meshify.list_jobs(text, uuid, int)', 'meshify_worker');
SELECT meshify.only_for('meshify.readable(jsonb)');
SELECT meshify.only_for('meshify.show_job(uuid)', 'meshify_worker');
SELECT meshify.only_for('meshify.status()', 'meshify_worker');
SELECT meshify.only_for('meshify.queue_sample(uuid, bigint, timestamptz)', 'meshify_worker');
UPDATE meshify.schema_version SET version = 7, applied_at = now() WHERE version < 7;
