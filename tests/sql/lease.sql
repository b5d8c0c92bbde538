-- Workers, heartbeats, and what becomes of the jobs of the dead.
SELECT no_plan();

SELECT is((SELECT answer FROM meshify.register(t.w(1), 'i', 'h', 'm', 'b', 'n', 1, 'v', 5, '60 s')), 'ok', 'a worker registers');
SELECT is((SELECT answer FROM meshify.register(t.w(1), 'i', 'h', 'm', 'b', 'n', 1, 'v', 5, '60 s')), 'ok', 'twice, when the answer was lost');
SELECT is((SELECT answer FROM meshify.heartbeat(t.w(1), '60 s', 3, false, 5)), 'ok', 'its heart beats');
SELECT results_eq('SELECT running, draining, expires_at - heartbeat_at FROM meshify.workers', $$VALUES (3, false, interval '60 s')$$, 'and says how it is');
SELECT is((SELECT answer FROM meshify.heartbeat(t.w(2), '60 s', 0, false, 5)), 'lost', 'who has no row is lost');
SELECT t.worker(2);
SELECT is((SELECT workers FROM meshify.heartbeat(t.w(2), '60 s', 0, false, 5)), 2, 'it hears how many live');

CREATE TEMP TABLE j AS SELECT t.claimed(1, 'one') AS one, t.claimed(1, 'two') AS two;
SELECT is((SELECT held FROM meshify.news(t.w(1))), 2, 'and how many jobs it has');
UPDATE public.jobs SET cancel_requested_at = now() WHERE id = (SELECT one FROM j);
SELECT is((SELECT cancels FROM meshify.news(t.w(1))), ARRAY[(SELECT one FROM j)], 'and which of them are to be cancelled');
UPDATE public.jobs SET cancel_requested_at = NULL;

SELECT results_eq('SELECT dead, taken FROM meshify.reap(t.w(2), ''{}'', ''1000 years'')', 'VALUES (0, 0)', 'the living are left alone');
UPDATE meshify.workers SET expires_at = now() - interval '1 s' WHERE id = t.w(1);
SELECT results_eq('SELECT dead, taken FROM meshify.reap(t.w(2), ''{}'', ''1000 years'')', 'VALUES (0, 0)', 'within a lease of the server''s start nobody is declared dead');
UPDATE meshify.workers SET heartbeat_at = expires_at - interval '1 ms';
UPDATE meshify.workers SET expires_at = now() + interval '1 ms', heartbeat_at = now() WHERE id = t.w(2);
SELECT pg_sleep(0) FROM generate_series(1, 1);
SELECT is((SELECT taken FROM meshify.reap(t.w(3), '{}', '1000 years')), 0, 'who is no worker reaps nothing');

-- Proven dead: at once.
SELECT t.worker(3);
SELECT results_eq('SELECT worker, pid FROM meshify.predecessors(t.w(3)) ORDER BY 1', $$SELECT t.w(2), 1$$, 'others of this machine, boot and pid namespace');
UPDATE meshify.workers SET machine_id = '';
SELECT results_eq('SELECT worker, pid FROM meshify.predecessors(t.w(3)) ORDER BY 1', $$SELECT t.w(2), 1$$, 'also without a machine id');
UPDATE meshify.workers SET boot_id = '';
SELECT is_empty('SELECT * FROM meshify.predecessors(t.w(3))', 'but not without the boot''s');
SELECT results_eq('SELECT dead, taken FROM meshify.reap(t.w(3), ARRAY[t.w(1)], ''1000 years'')', 'VALUES (1, 2)', 'who is proven dead loses its jobs at once');
SELECT results_eq('SELECT DISTINCT status, worker_id, attempts, crashes FROM public.jobs', $$VALUES ('pending', NULL::uuid, 0, 1)$$, 'pending again, the attempt given back, a crash counted');
SELECT results_eq('SELECT DISTINCT status FROM public.mesh_assets', $$VALUES ('pending')$$, 'the assets follow');
SELECT is((SELECT count(*)::int FROM meshify.workers WHERE id = t.w(1)), 0, 'its row is gone');
SELECT is((SELECT answer FROM meshify.heartbeat(t.w(1), '60 s', 2, false, 5)), 'lost', 'and its heartbeat finds none');
SELECT is(t.done(1, (SELECT one FROM j)), 'lost', 'the zombie can close nothing');
SELECT is(t.intend(1, (SELECT one FROM j)), 'lost', 'nor buy');
SELECT is(meshify.hand_back(t.w(1), (SELECT one FROM j), '0', false, '0', 'x'), 'lost', 'nor hand back');
SELECT is(meshify.progress(t.w(1), ARRAY[(SELECT one FROM j)], ARRAY[0.5]::real[]), 0, 'nor tell of progress');

-- Orphans: running, with a worker that has no row.
SELECT is((SELECT count(*)::int FROM t.claim(3)), 2, 'another takes them');
DELETE FROM meshify.workers WHERE id = t.w(3);
SELECT t.worker(4);
SELECT is((SELECT taken FROM meshify.reap(t.w(4), '{}', '1000 years')), 2, 'jobs of a worker without a row are taken over');
UPDATE public.jobs SET status = 'running' WHERE id = (SELECT one FROM j);
SELECT is((SELECT taken FROM meshify.reap(t.w(4), '{}', '1000 years')), 0, 'running jobs without a worker are another program''s, and left');
-- Whoever came back just now waits for as long as the longer of the two leases, and takes at most 500 at once.
DELETE FROM meshify.workers WHERE id <> t.w(4);
UPDATE meshify.workers SET heartbeat_at = now() + interval '1 h', expires_at = now() + interval '1 h 1 ms' WHERE id = t.w(4);
SELECT t.worker(5);
UPDATE meshify.workers SET heartbeat_at = now() - interval '300 ms', expires_at = now() - interval '100 ms' WHERE id = t.w(5);
-- While a server is younger than the lease, nobody can have renewed one.
SELECT pg_sleep(greatest(0, 0.3 - extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())));
SELECT results_eq('SELECT dead, taken FROM meshify.reap(t.w(4), ''{}'', ''100 ms'')', 'VALUES (0, 0)', 'not within its own lease of our return is a worker dead');
INSERT INTO public.jobs (type, user_id, project_id, status, worker_id, claimed_at, input_data)
SELECT 'meshify', NULL, NULL, 'running', t.w(5), now(), '{}' FROM generate_series(1, 1200);
SELECT results_eq('SELECT dead, taken FROM meshify.reap(t.w(4), ''{}'', ''300 ms'')', 'VALUES (1, 500)', 'after it it is; 500 of its jobs are taken at once');
SELECT is((SELECT count(*)::int FROM meshify.workers WHERE id = t.w(5)), 1, 'its row stays until all are');
SELECT results_eq('SELECT dead, taken FROM meshify.reap(t.w(4), ''{}'', ''300 ms'')', 'VALUES (0, 500)', 'then 500 more');
SELECT results_eq('SELECT dead, taken FROM meshify.reap(t.w(4), ''{}'', ''300 ms'')', 'VALUES (0, 200)', 'then the rest');
SELECT is((SELECT count(*)::int FROM meshify.workers WHERE id = t.w(5)), 0, 'and its row goes');
DELETE FROM public.jobs WHERE asset_id IS NULL;

-- Locks. A heartbeat reads no table of the project; nobody waits for the row of another worker, nor for a table.
SELECT t.worker(6), t.worker(7);
CREATE TEMP TABLE k AS SELECT t.claimed(6, 'locked') AS id;
SELECT dblink_connect_u('holder', :'dsn');
SELECT dblink_exec('holder', 'BEGIN; LOCK TABLE public.jobs, public.mesh_assets, public.profiles, public.projects IN ACCESS EXCLUSIVE MODE');
SET statement_timeout = '1s';
SELECT results_eq($$SELECT answer, workers, running_all, paused, to_drain FROM meshify.heartbeat(t.w(6), '60 s', 1, false, 7)$$, 'VALUES (''ok'', 3, 1, false, false)', 'a heart beats behind a locked table');
SELECT is((SELECT max_jobs FROM meshify.workers WHERE id = t.w(6)), 7, 'and says how many jobs it may have by now');
SELECT is((SELECT answer FROM meshify.heartbeat(t.w(99), '60 s', 1, false, 7)), 'lost', 'who has no row is lost');
SELECT results_eq('SELECT job_id, next_usec FROM meshify.claim(t.w(6), 5, 0, false)', 'VALUES (NULL::uuid, 1000000::bigint)', 'a claim does not wait, it comes again');
SELECT is((SELECT dead FROM meshify.reap(t.w(7), ARRAY[t.w(6)], '1 hour')), 1, 'the dead are declared dead');
UPDATE meshify.workers SET dead = false WHERE id = t.w(6);
SELECT is_empty('SELECT * FROM meshify.finish(t.w(7), 9)', 'nothing is closed');
SELECT is(meshify.progress(t.w(6), ARRAY[(SELECT id FROM k)], ARRAY[0.5]::real[]), 0, 'no progress is told');
SELECT set_config('meshify.sent_as', 'alone', false);
SELECT is((SELECT meshify.hand_back(t.w(6), id, '0', false, '0', 'x') || ' ' || t.intend(6, id) || ' ' || meshify.fail(t.w(6), id, 'It broke down.', 'word') FROM k), 'busy busy busy',
    'what is sent alone does not wait, either');
SELECT set_config('meshify.sent_as', '', false);
RESET statement_timeout;
SELECT dblink_exec('holder', 'ROLLBACK; BEGIN');
SELECT results_eq('SELECT cancels, to_drain, held FROM meshify.news(t.w(6))',
    $$SELECT '{}'::uuid[], false, count(*)::int FROM public.jobs WHERE status = 'running' AND worker_id = t.w(6)$$, 'what the tables say is asked apart');
-- A claim holds its worker's row against being declared dead; the heart beats meanwhile.
SELECT * FROM dblink('holder', format('SELECT next_usec FROM meshify.claim(%L, 1, 0, false)', t.w(6))) AS x (n bigint);
SET statement_timeout = '1s';
SELECT is((SELECT answer FROM meshify.heartbeat(t.w(6), '60 s', 1, false, 7)), 'ok', 'a heart beats beside its own claim');
SELECT results_eq('SELECT dead, taken FROM meshify.reap(t.w(7), ARRAY[t.w(6)], ''1 hour'')', 'VALUES (0, 0)', 'who claims is not declared dead, nor waited for');
SELECT dblink_exec('holder', 'ROLLBACK; BEGIN');
SELECT * FROM dblink('holder', format('SELECT pid FROM meshify.workers WHERE id = %L FOR UPDATE', t.w(6))) AS x (pid int);
SELECT results_eq('SELECT job_id, next_usec FROM meshify.claim(t.w(6), 5, 0, false)', 'VALUES (NULL::uuid, NULL::bigint)', 'who is being declared dead claims nothing');
RESET statement_timeout;
SELECT dblink_exec('holder', 'ROLLBACK');
SELECT dblink_disconnect('holder');
-- What the database counts as this worker's.
UPDATE public.jobs SET status = 'error' WHERE status IN ('pending', 'running');
UPDATE meshify.workers SET max_jobs = 3 WHERE id = t.w(6);
CREATE TEMP TABLE many AS SELECT t.job('many') AS id FROM generate_series(1, 6);
SELECT is((SELECT count(*)::int FROM t.claim(6, 2)), 2, 'a claim takes what is asked for');
SELECT is((SELECT count(*)::int FROM t.claim(6, 9)), 1, 'but no more than max_jobs less what it holds');
SELECT results_eq('SELECT job_id, next_usec FROM meshify.claim(t.w(6), 9, 0, false)', 'VALUES (NULL::uuid, 1000000::bigint)', 'then it comes again');
UPDATE public.jobs SET status = 'done' WHERE id IN (SELECT id FROM many LIMIT 1);
SELECT is((SELECT count(*)::int FROM t.claim(6, 9)) <= 1, true, 'a slot is free when a job is done');
SELECT is((SELECT count(*)::int FROM public.jobs WHERE status = 'running' AND worker_id = t.w(6)) <= 3, true, 'never more than max_jobs');
DELETE FROM meshify.workers WHERE id IN (t.w(6), t.w(7));
UPDATE public.jobs SET status = 'error' WHERE status IN ('pending', 'running');

SELECT is(meshify.unregister(t.w(4)), 'ok', 'a clean stop');
SELECT is(meshify.unregister(t.w(4)), 'lost', 'happens once');

-- Old events go, a batch at a time.
DELETE FROM meshify.events;
INSERT INTO meshify.events (job_id, event, at)
SELECT gen_random_uuid(), 'old', now() - n * interval '1 day' FROM generate_series(1, 10) n;
SELECT is(meshify.prune('5 days 1 hour', 3), 3, 'the oldest first');
SELECT is((SELECT max(now() - at) < interval '8 days' FROM meshify.events), true, 'and only those');
SELECT is(meshify.prune('5 days 1 hour', 3), 2, 'until none is left');
SELECT is(meshify.prune('5 days 1 hour', 3), 0, 'then nothing');
SELECT is((SELECT count(*)::int FROM meshify.events), 5, 'the younger ones are kept');

-- Declared dead, though it lives: its heartbeat says so, and does not bring it back.
SELECT t.worker(6), t.worker(7), t.worker(8);
UPDATE meshify.workers SET dead = true WHERE id = t.w(6);
SELECT is((SELECT answer FROM meshify.heartbeat(t.w(6), '60 s', 0, false, 5)), 'lost', 'the heartbeat of one that was declared dead is lost');
SELECT is((SELECT answer FROM meshify.register(t.w(6), 'i', 'h', 'm', 'b', 'n', 1, 'v', 5, '60 s')), 'lost', 'nor can it register again as what it was');
SELECT is((SELECT dead FROM meshify.workers WHERE id = t.w(6)), true, 'dead it stays');

-- Programs that are too old for the schema drain: those that know the column by it, those of version 31 as if they were asked to.
SELECT t.worker(9);
SELECT is((SELECT compatible_from FROM meshify.heartbeat(t.w(9), '60 s', 0, false, 5)), 31, 'a heartbeat says from which version on programs may work');
SELECT is((SELECT to_drain FROM meshify.beat(t.w(9), '60 s', 0, false, 5)), false, 'version 31 may');
UPDATE meshify.schema_version SET compatible_from = 32;
SELECT results_eq($$SELECT compatible_from, to_drain FROM meshify.heartbeat(t.w(9), '60 s', 0, false, 5)$$, 'VALUES (32, false)', 'when it rises, the heartbeat says so');
SELECT is((SELECT to_drain FROM meshify.beat(t.w(9), '60 s', 0, false, 5)), true, 'and version 31 is asked to drain');
UPDATE meshify.schema_version SET compatible_from = 31;
SELECT * FROM finish();
