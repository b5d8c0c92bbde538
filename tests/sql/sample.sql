-- What the metrics know of the queue: one worker asks for all, and it costs the same at any length.
SELECT no_plan();

SELECT t.worker(2), t.worker(1);
UPDATE meshify.workers SET started_at = now() - interval '1 h' WHERE id = t.w(2);

SELECT is_empty('SELECT * FROM meshify.queue_sample(t.w(1), 0, ''-infinity'')', 'a younger worker is told nothing');
SELECT is_empty('SELECT * FROM meshify.queue_sample(t.w(9), 0, ''-infinity'')', 'nor is who is no worker');
SELECT results_eq('SELECT ready, later, oldest_seconds, refunds FROM meshify.queue_sample(t.w(2), 0, ''-infinity'')',
                  'VALUES (0::bigint, 0::bigint, 0::float8, 0::bigint)', 'the eldest is: nothing waits');
UPDATE meshify.workers SET draining = true WHERE id = t.w(2);
SELECT isnt_empty('SELECT * FROM meshify.queue_sample(t.w(1), 0, ''-infinity'')', 'when it stops, the next one is the eldest');
UPDATE meshify.workers SET draining = false, dead = true WHERE id = t.w(2);
SELECT isnt_empty('SELECT * FROM meshify.queue_sample(t.w(1), 0, ''-infinity'')', 'and when it is dead');
UPDATE meshify.workers SET dead = false, expires_at = now() - interval '1 s' WHERE id = t.w(2);
SELECT isnt_empty('SELECT * FROM meshify.queue_sample(t.w(1), 0, ''-infinity'')', 'and when its lease has run out');

CREATE TEMP TABLE j AS SELECT t.job('one') AS one, t.job('two') AS two, t.job('three') AS three, t.job('four') AS four;
UPDATE public.jobs SET run_after = now() + interval '1 min' WHERE id = (SELECT two FROM j);
UPDATE public.jobs SET created_at = now() - interval '90 s' WHERE id = (SELECT three FROM j);
UPDATE public.jobs SET status = 'done', created_at = now() - interval '1 year' WHERE id = (SELECT four FROM j);
INSERT INTO public.jobs (type, user_id, project_id, input_data, status)
SELECT 'other', user_id, project_id, '{}', 'pending' FROM public.jobs LIMIT 1;
SELECT results_eq('SELECT ready, later, oldest_seconds::int FROM meshify.queue_sample(t.w(1), 0, ''-infinity'')',
                  'VALUES (2::bigint, 1::bigint, 90)', 'jobs that may be claimed, those that rest, and the oldest; no others');

-- Refunds: rows are never deleted, so those of the past need not be counted again.
INSERT INTO meshify.refunds (job_id, n, credits, at)
SELECT gen_random_uuid(), n, CASE WHEN n = 3 THEN -25 ELSE 25 END, now() - interval '1 min' * (n * n) FROM generate_series(1, 4) n;
SELECT results_eq('SELECT refunds, known, known_at FROM meshify.queue_sample(t.w(1), 0, ''-infinity'')',
                  $$VALUES (3::bigint, 1::bigint, now() - interval '10 min')$$, 'given back three times; the last minutes are not settled');
SELECT results_eq($$SELECT refunds, known, known_at FROM meshify.queue_sample(t.w(1), 1000, now() - interval '10 min')$$,
                  $$VALUES (1002::bigint, 1000::bigint, now() - interval '10 min')$$, 'what is known is not counted again');
SELECT results_eq($$SELECT refunds, known, known_at FROM meshify.queue_sample(t.w(1), 7, now() + interval '1 min')$$,
                  $$VALUES (7::bigint, 7::bigint, now() + interval '1 min')$$, 'also when the clock was set back');

-- Bounded, and through the index of pending jobs; also where nothing was ever analyzed.
INSERT INTO public.jobs (type, user_id, project_id, input_data, status, priority)
SELECT 'meshify', user_id, project_id, '{}', 'pending', -1
FROM (SELECT * FROM public.jobs LIMIT 1) j, generate_series(1, 100010);
SELECT results_eq('SELECT ready + later FROM meshify.queue_sample(t.w(1), 0, ''-infinity'')', 'VALUES (100000::bigint)', 'no more than 100,000 are counted');
CREATE FUNCTION t.plan(q text) RETURNS SETOF text LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY EXECUTE 'EXPLAIN ' || q; END $$;
SELECT ok(EXISTS (SELECT FROM t.plan($$SELECT j.run_after, j.created_at FROM meshify.jobs j WHERE j.status = 'pending'
          ORDER BY j.priority DESC, j.run_after, j.created_at LIMIT 100000$$) p WHERE p LIKE '%meshify_jobs_pending%'), 'the index is walked');

SELECT ok(has_function_privilege('meshify_worker', 'meshify.queue_sample(uuid, bigint, timestamptz)', 'EXECUTE'), 'workers may ask');
SELECT ok(NOT has_function_privilege('authenticated', 'meshify.queue_sample(uuid, bigint, timestamptz)', 'EXECUTE'), 'users may not');
SELECT * FROM finish();
