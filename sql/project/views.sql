-- The view of jobs that all functions read and write: our jobs only, under the same names in every database. And what
-- operators look at.

DO $$
DECLARE
    v_types text[] := ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a
                            WHERE a.attrelid = 'public.jobs'::regclass AND a.attname IN ('type', 'job_type') ORDER BY 1 DESC);
BEGIN
    EXECUTE format('CREATE OR REPLACE VIEW meshify.jobs AS
        SELECT j.id, j.user_id, j.project_id, j.asset_id, j.status, j.input_data, j.output_data, j.error, j.created_at,
               j.completed_at, j.attempts, j.crashes, j.priority, j.run_after, j.progress, j.worker_id, j.started_at,
               j.claimed_at, j.worked, j.cancel_requested_at, j.%s FROM public.jobs j WHERE %s',
        array_to_string(v_types, ', j.'), meshify.is_ours('j'));
    FOR i IN 1 .. cardinality(v_types) LOOP -- so that no insert has to name the type
        EXECUTE format('ALTER VIEW meshify.jobs ALTER COLUMN %I SET DEFAULT ''meshify''', v_types[i]);
    END LOOP;
END $$;

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

CREATE OR REPLACE VIEW meshify.storage_usage WITH (security_barrier) AS
SELECT s.owner, s.count, s.bytes FROM meshify.storage_by_owner() s;
