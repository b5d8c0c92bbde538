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
             WHERE p LIKE '%Index Scan using meshify_jobs_in_progress%'), 0, 'and for what was begun an index of that');

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
SELECT is((SELECT taken FROM meshify.reap(t.w(2), '{}', '1000 years')), 1, 'and taken over');
RESET statement_timeout;
SELECT dblink_exec('holder', 'COMMIT');
SELECT dblink_disconnect('holder');
SELECT is((SELECT status FROM public.jobs WHERE id = (SELECT id FROM held)), 'pending', 'it is in the queue again');

-- The earliest due job wakes a worker, whatever stands before it in the queue.
UPDATE public.jobs SET status = 'error' WHERE status IN ('pending', 'running');
INSERT INTO public.jobs (type, status, user_id, priority, run_after)
SELECT 'meshify', 'pending', t.w(1), n, now() + interval '1 hour' FROM generate_series(1, 150) n;
CREATE TEMP TABLE soon AS SELECT t.job('soon') AS id;
UPDATE public.jobs SET run_after = now() + interval '2 s' WHERE id = (TABLE soon);
SELECT is((SELECT next_usec FROM meshify.claim(t.w(2), 9, 0, false)) BETWEEN 1 AND 2000000, true, 'the earliest comes due behind 150 of higher priority');
SELECT is((SELECT next_usec FROM meshify.claim(t.w(2), 0, 0, false)) BETWEEN 1 AND 2000000, true, 'also for a worker without a free slot');
UPDATE public.jobs SET run_after = now() - interval '1 s' WHERE id = (TABLE soon);
SELECT is((SELECT next_usec FROM meshify.claim(t.w(2), 0, 0, false)), 0::bigint, 'one that is due now');
SELECT is((SELECT next_usec FROM meshify.claim(t.w(2), 1, 0, false) WHERE job_id IS NULL) BETWEEN 3500000000 AND 3600000000, true, 'then the others');
UPDATE public.jobs SET run_after = 'infinity' WHERE status = 'pending';
SELECT is((SELECT next_usec FROM meshify.claim(t.w(2), 9, 0, false)), NULL, 'what never comes due wakes nobody');
CREATE FUNCTION t.due_plan() RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY EXECUTE 'EXPLAIN SELECT j.run_after FROM meshify.jobs j WHERE j.status = ''pending'' AND j.run_after < ''infinity''
        AND j.run_after > now() ORDER BY j.run_after LIMIT 1';
END $$;
SELECT is((SELECT array_agg(p LIKE '%meshify_jobs_due%') FILTER (WHERE p ~ 'Scan|Sort') FROM t.due_plan() p), '{t}', 'an index has it in its place');
UPDATE public.jobs SET status = 'error' WHERE status IN ('pending', 'running');

-- What others hold, and what they would do at the same time: each in a session of its own.
CREATE FUNCTION pg_temp.others(p_names text[], p_dsn text) RETURNS void LANGUAGE sql AS
$$ SELECT dblink_connect_u(n, p_dsn), dblink_exec(n, 'BEGIN') FROM unnest(p_names) n $$;
CREATE FUNCTION pg_temp.count_by(p_worker int, p_free int, p_max int) RETURNS text LANGUAGE sql AS
$$ SELECT format('SELECT count(*) FROM meshify.claim(%L, %s, %s, false) WHERE job_id IS NOT NULL', t.w(p_worker), p_free, p_max) $$;
-- Until it has answered, or waits for a lock.
CREATE FUNCTION pg_temp.comes_to_rest(p_name text, p_pid int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. 3000 LOOP
        EXIT WHEN dblink_is_busy(p_name) = 0 OR EXISTS (SELECT FROM pg_catalog.pg_locks l WHERE l.pid = p_pid AND NOT l.granted);
        PERFORM pg_sleep(0.02);
    END LOOP;
END $$;

-- A pending job that somebody has locked is left, and the next one taken.
SELECT t.worker(3), t.worker(4);
CREATE TEMP TABLE pair AS SELECT t.job('locked') AS locked, t.job('free') AS free;
SELECT pg_temp.others('{a}', :'dsn');
SELECT * FROM dblink('a', (SELECT format('SELECT id FROM public.jobs WHERE id = %L FOR UPDATE', locked) FROM pair)) AS x (id uuid);
CREATE FUNCTION pg_temp.tried(p_max int) RETURNS SETOF uuid LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY SELECT c.job_id FROM meshify.claim(t.w(3), 9, p_max, false) c WHERE c.job_id IS NOT NULL;
EXCEPTION WHEN lock_not_available THEN
    NULL; -- it waited
END $$;
SET lock_timeout = '3s';
SELECT set_eq('SELECT pg_temp.tried(0)', 'SELECT free FROM pair', 'a claim goes past a job that somebody has locked');
UPDATE public.jobs SET status = 'pending', worker_id = NULL WHERE id = (SELECT free FROM pair);
SELECT set_eq('SELECT pg_temp.tried(5)', 'SELECT free FROM pair', 'with a limit a user, too');
RESET lock_timeout;
SELECT dblink_exec('a', 'ROLLBACK'), dblink_disconnect('a');
UPDATE public.jobs SET status = 'error' WHERE status IN ('pending', 'running');

-- Two claims at once keep to one limit a user: the second counts what the first has taken.
SELECT t.job('many ' || n) FROM generate_series(1, 6) n;
SELECT pg_temp.others('{a,b}', :'dsn');
SELECT is((SELECT n FROM dblink('a', pg_temp.count_by(3, 9, 2)) AS x (n int)), 2, 'the first takes what the limit lets it');
CREATE TEMP TABLE b AS SELECT pid FROM dblink('b', 'SELECT pg_backend_pid()') AS x (pid int);
SELECT dblink_send_query('b', pg_temp.count_by(4, 9, 2));
SELECT pg_temp.comes_to_rest('b', (SELECT pid FROM b));
SELECT dblink_exec('a', 'COMMIT');
SELECT is((SELECT n FROM dblink_get_result('b') AS x (n int)), 0, 'the second waits for it, and takes none');
SELECT is_empty($$SELECT FROM dblink_get_result('b') AS x (n int)$$, 'that was all');
SELECT dblink_exec('b', 'COMMIT'), dblink_disconnect('a'), dblink_disconnect('b');
SELECT is((SELECT count(*)::int FROM public.jobs WHERE status = 'running'), 2, 'no more than the limit run');
UPDATE public.jobs SET status = 'error' WHERE status IN ('pending', 'running');

-- The dead claim nothing; and nobody is declared dead in the middle of a claim.
CREATE TEMP TABLE last AS SELECT t.job('last') AS id;
UPDATE meshify.workers SET dead = true WHERE id = t.w(3);
SELECT is_empty('SELECT t.claim(3)', 'a dead worker claims nothing');
UPDATE meshify.workers SET dead = false WHERE id = t.w(3);
SELECT pg_temp.others('{a}', :'dsn');
SELECT is((SELECT n FROM dblink('a', pg_temp.count_by(3, 9, 0)) AS x (n int)), 1, 'a claim that is not committed yet');
CREATE FUNCTION pg_temp.reaped() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    RETURN (SELECT dead FROM meshify.reap(t.w(4), ARRAY[t.w(3)], '1000 years'));
EXCEPTION WHEN lock_not_available THEN
    RETURN 0;
END $$;
SELECT is(pg_temp.reaped(), 0, 'its worker is not declared dead meanwhile');
SELECT dblink_exec('a', 'COMMIT'), dblink_disconnect('a');
SELECT is((SELECT count(*)::int FROM meshify.workers WHERE id = t.w(3) AND NOT dead), 1, 'but lives');
SELECT is((SELECT taken FROM meshify.reap(t.w(4), ARRAY[t.w(3)], '1000 years')), 1, 'after it: with the job that it had claimed');
SELECT * FROM finish();
