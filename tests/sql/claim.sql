-- Claiming and comparing.
SELECT no_plan();
SELECT t.worker(1), t.worker(2);

CREATE TEMP TABLE jobs AS SELECT n, t.job('job ' || n) AS id FROM generate_series(1, 5) n;
SELECT is((SELECT count(*)::int FROM meshify.claim(t.w(1), 0, 0, false)), 1, 'with no free slot only the row about the queue comes');
CREATE TEMP TABLE first AS SELECT * FROM meshify.claim(t.w(1), 2, 0, false);
SELECT is((SELECT count(*)::int FROM first WHERE job_id IS NOT NULL), 2, 'as many as there are free slots');
SELECT is((SELECT next_usec FROM first WHERE job_id IS NULL), 0::bigint, 'more are ready now');
SELECT results_eq('SELECT job_id FROM first WHERE job_id IS NOT NULL ORDER BY job_id', 'SELECT id FROM jobs WHERE n <= 2 ORDER BY id', 'the oldest first');
SELECT is((SELECT count(*)::int FROM t.claim(2)), 3, 'another worker takes the rest');
SELECT is((SELECT next_usec FROM meshify.claim(t.w(2), 9, 0, false)), NULL, 'nothing waits');
SELECT results_eq('SELECT DISTINCT status, attempts, started_at IS NOT NULL, claimed_at IS NOT NULL FROM public.jobs',
    $$VALUES ('running', 1, true, true)$$, 'running, one attempt, with its times');
SELECT results_eq('SELECT DISTINCT status FROM public.mesh_assets', $$VALUES ('running')$$, 'the asset follows');
SELECT is((SELECT input_data::jsonb ->> 'prompt' FROM first WHERE job_id = (SELECT id FROM jobs WHERE n = 1)), 'job 1', 'the input comes along');
SELECT is((SELECT owner_id FROM first WHERE job_id IS NOT NULL LIMIT 1), '00000000-0000-0000-0000-00000000000a'::uuid, 'the owner of the asset comes along');
SELECT is((SELECT purchases FROM first WHERE job_id IS NOT NULL LIMIT 1), '[]', 'no purchases yet');

-- Comparing.
SELECT results_eq($$SELECT job_id FROM meshify.compare(t.w(1), ARRAY[(SELECT id FROM jobs WHERE n = 1), t.w(77)]) WHERE job_id IS NOT NULL$$,
    'SELECT id FROM jobs WHERE n = 2', 'a job of ours that we do not know is taken up');
SELECT is((SELECT missing FROM meshify.compare(t.w(1), ARRAY[(SELECT id FROM jobs WHERE n = 1), t.w(77)]) WHERE job_id IS NULL), ARRAY[t.w(77)], 'one that is not ours is missing');
SELECT is((SELECT gone FROM meshify.compare(t.w(2), ARRAY[(SELECT id FROM jobs WHERE n = 1), t.w(77)]) WHERE job_id IS NULL), ARRAY[t.w(77)], 'and one that was deleted is gone');
SELECT is((SELECT attempts FROM public.jobs WHERE id = (SELECT id FROM jobs WHERE n = 2)), 1, 'taking up counts no attempt');

-- Order, due time, other types, pause, an unknown worker.
UPDATE public.jobs SET status = 'error';
CREATE TEMP TABLE later AS SELECT t.job('later') AS id;
UPDATE public.jobs SET run_after = now() + interval '90 s' WHERE id = (SELECT id FROM later);
SELECT is((SELECT next_usec FROM meshify.claim(t.w(1), 5, 0, false)) BETWEEN 80000000 AND 90000000, true, 'when the next comes due');
SELECT is((SELECT count(*)::int FROM t.claim(1)), 0, 'a job that is not due is left');
INSERT INTO public.jobs (type, status, user_id) VALUES ('thumbnail', 'pending', '00000000-0000-0000-0000-00000000000a');
SELECT is((SELECT count(*)::int FROM t.claim(1)), 0, 'a job of another type is left');
CREATE TEMP TABLE two AS SELECT t.job('low') AS low, t.job('high') AS high;
UPDATE public.jobs SET priority = 5 WHERE id = (SELECT high FROM two);
SELECT is((SELECT array_agg(c) FROM t.claim(1, 1) c), ARRAY[(SELECT high FROM two)], 'higher priority first');
SELECT is((SELECT count(*)::int FROM t.claim(9)), 0, 'a worker without a row claims nothing');
UPDATE meshify.settings SET value = 'on' WHERE key = 'paused';
SELECT is((SELECT count(*)::int FROM t.claim(1)), 0, 'paused: nothing is claimed');
UPDATE meshify.settings SET value = 'off' WHERE key = 'paused';
SELECT is((SELECT array_agg(c) FROM t.claim(1) c), ARRAY[(SELECT low FROM two)], 'resumed: the other one');

-- Only what was bought.
CREATE TEMP TABLE more AS SELECT t.job('plain') AS plain, t.claimed(1, 'bought') AS bought;
SELECT t.intend(1, (SELECT bought FROM more));
SELECT meshify.hand_back(t.w(1), id, '0', false, '1 s', 'test') FROM public.jobs WHERE status = 'running';
SELECT results_eq($$SELECT job_id FROM meshify.claim(t.w(1), 9, 0, true) WHERE job_id IS NOT NULL$$, 'SELECT bought FROM more', 'only bought: nothing else is claimed');

-- A limit a user.
SELECT meshify.hand_back(t.w(1), id, '0', false, '1 s', 'test') FROM public.jobs WHERE status = 'running';
SELECT is((SELECT count(*)::int FROM meshify.claim(t.w(1), 9, 2, false) WHERE job_id IS NOT NULL), 2, 'at most two of one user');
SELECT is((SELECT count(*)::int FROM meshify.claim(t.w(2), 9, 2, false) WHERE job_id IS NOT NULL), 0, 'over all workers');

-- What costs already goes first: before an older backlog and past a limit a user; where claims are paused only what
-- is to be canceled.
CREATE FUNCTION pg_temp.back() RETURNS void LANGUAGE sql AS
$$ SELECT meshify.hand_back(t.w(n), id, '0', false, '1 s', 'test') FROM public.jobs, generate_series(1, 2) n WHERE status = 'running' AND worker_id = t.w(n) $$;
UPDATE public.jobs SET status = 'error' WHERE status IN ('pending', 'running');
CREATE TEMP TABLE begun AS SELECT t.claimed(1, 'begun') AS id;
CREATE TEMP TABLE paid AS SELECT t.claimed(1, 'paid, with an output of its first step') AS id;
CREATE TEMP TABLE old AS SELECT t.claimed(1, 'paid long ago') AS id;
CREATE TEMP TABLE waiting AS SELECT t.job('waiting') AS id;
SELECT t.intend(1, id) FROM (TABLE begun UNION ALL TABLE paid UNION ALL TABLE old) x;
UPDATE meshify.predictions SET state = 'bought', prediction_id = 'paid', finished_at = now() - interval '50 min' WHERE job_id = (TABLE paid);
UPDATE meshify.predictions SET state = 'bought', prediction_id = 'old', finished_at = now() - interval '61 min' WHERE job_id = (TABLE old);
SELECT pg_temp.back();
UPDATE public.jobs SET run_after = now() - interval '1 hour' WHERE id = (TABLE waiting);
SELECT set_eq($$SELECT t.claim(1, 2)$$, 'TABLE begun UNION ALL TABLE paid', 'what was bought goes before an older backlog');
SELECT set_eq($$SELECT t.claim(1, 9)$$, 'TABLE waiting UNION ALL TABLE old', 'then the others');
SELECT pg_temp.back();
SELECT set_eq($$SELECT job_id FROM meshify.claim(t.w(1), 9, 1, false) WHERE job_id IS NOT NULL$$, 'TABLE begun UNION ALL TABLE paid', 'a limit a user holds back only what costs nothing yet');
SELECT pg_temp.back();
UPDATE public.jobs SET cancel_requested_at = now() WHERE id = (TABLE waiting);
SELECT is((SELECT array_agg(c) FROM t.claim(1, 1) c), ARRAY[(SELECT id FROM waiting)], 'so does what is to be canceled'); -- its run_after is the oldest
SELECT meshify.canceled(t.w(1), (TABLE waiting));
UPDATE meshify.settings SET value = 'on' WHERE key = 'paused';
UPDATE public.jobs SET cancel_requested_at = now() WHERE id = (TABLE begun);
SELECT set_eq($$SELECT t.claim(1)$$, 'TABLE begun', 'paused: only what is to be canceled is claimed');
UPDATE meshify.settings SET value = 'off' WHERE key = 'paused';
UPDATE public.jobs SET status = 'error' WHERE status IN ('pending', 'running');

-- A job that ends under its worker, as when its asset is deleted.
CREATE TEMP TABLE under AS SELECT t.claimed(1, 'ends under its worker') AS id;
DELETE FROM public.mesh_assets a USING public.jobs j WHERE j.id = (SELECT id FROM under) AND a.id = j.asset_id;
SELECT is((SELECT gone FROM meshify.compare(t.w(1), ARRAY[(SELECT id FROM under)]) WHERE job_id IS NULL), ARRAY[(SELECT id FROM under)], 'a job that ended under its worker is gone');
SELECT is((SELECT gone FROM meshify.compare(t.w(2), ARRAY[(SELECT id FROM under)]) WHERE job_id IS NULL), '{}', 'but not for one that lost it before');

-- The plan, without statistics: the partial index, in its order.
CREATE FUNCTION t.plan(more text DEFAULT '') RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY EXECUTE 'EXPLAIN SELECT j.id FROM meshify.jobs j WHERE j.status = ''pending'' AND j.run_after <= now()' || more || '
        ORDER BY j.priority DESC, j.run_after, j.created_at LIMIT 10 FOR UPDATE SKIP LOCKED';
END $$;
INSERT INTO public.jobs (type, status, user_id) SELECT 'meshify', 'pending', t.w(n % 50) FROM generate_series(1, 20000) n;
INSERT INTO public.jobs (type, status, user_id) SELECT 'meshify', 'done', t.w(n % 50) FROM generate_series(1, 20000) n;
SELECT isnt((SELECT count(*)::int FROM t.plan() p WHERE p LIKE '%Index Scan using meshify_jobs_pending%'), 0, 'the claim walks the partial index');
SELECT is((SELECT count(*)::int FROM t.plan() p WHERE p LIKE '%Sort%'), 0, 'and sorts nothing');
SELECT isnt((SELECT count(*)::int FROM t.plan(' AND (j.started_at IS NOT NULL OR j.cancel_requested_at IS NOT NULL)') p
             WHERE p LIKE '%Index Scan using meshify_jobs_begun%'), 0, 'and for what was begun an index of that');

-- A cancel, a closing or a deletion holds the asset and wants the job: whoever has the job must not want the asset.
UPDATE public.jobs SET status = 'error' WHERE status IN ('pending', 'running');
CREATE TEMP TABLE held AS SELECT t.job('held') AS id;
SELECT dblink_connect_u('holder', :'dsn');
SELECT dblink_exec('holder', 'BEGIN');
SELECT * FROM dblink('holder', (SELECT format('SELECT a.status FROM public.mesh_assets a JOIN public.jobs j ON j.asset_id = a.id WHERE j.id = %L FOR UPDATE OF a', id)
                                FROM held)) AS x (status text);
SET statement_timeout = '5s';
SELECT results_eq('SELECT t.claim(1)', 'SELECT id FROM held', 'a job whose asset is locked is claimed all the same');
UPDATE meshify.workers SET dead = true WHERE id = t.w(1);
SELECT is((SELECT taken FROM meshify.reap(t.w(2), '{}')), 1, 'and taken over');
RESET statement_timeout;
SELECT dblink_exec('holder', 'COMMIT');
SELECT dblink_disconnect('holder');
SELECT is((SELECT status FROM public.jobs WHERE id = (SELECT id FROM held)), 'pending', 'it is in the queue again');
SELECT * FROM finish();
