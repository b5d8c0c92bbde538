-- What an operator does by hand.
SELECT no_plan();
SELECT t.worker(1);
CREATE FUNCTION pg_temp.credits() RETURNS numeric LANGUAGE sql AS $$ SELECT credits_remaining FROM public.profiles WHERE id = '00000000-0000-0000-0000-00000000000a' $$;

-- Retry.
CREATE TEMP TABLE f AS SELECT t.claimed(1, 'fails') AS id;
SELECT is(meshify.retry((SELECT id FROM f)), 'unfinished', 'a running job is not retried');
SELECT is(meshify.fail(t.w(1), (SELECT id FROM f), 'Sorry.', 'model_failed'), 'ok', 'it fails');
SELECT is(pg_temp.credits(), 1025::numeric, 'its credits are given back');
SELECT is(meshify.retry((SELECT id FROM f)), 'ok', 'retry');
SELECT results_eq('SELECT status, attempts, crashes, worker_id, error, completed_at, worked, cancel_requested_at FROM public.jobs',
    $$VALUES ('pending', 0, 0, NULL::uuid, NULL::text, NULL::timestamptz, '0'::interval, NULL::timestamptz)$$, 'the job begins anew');
SELECT is((SELECT status FROM public.mesh_assets), 'pending', 'so does the asset');
SELECT is(pg_temp.credits(), 1000::numeric, 'the credits are taken again');
SELECT results_eq('SELECT n, credits FROM meshify.refunds ORDER BY n', 'VALUES (1, 25::numeric), (2, -25::numeric)', 'and both is written down');
SELECT is((SELECT count(*)::int FROM t.claim(1)), 1, 'it is claimed');
SELECT is(meshify.fail(t.w(1), (SELECT id FROM f), 'Sorry.', 'model_failed'), 'ok', 'and fails again');
SELECT is((SELECT sum(credits) FROM meshify.refunds), 25::numeric, 'the credits are back once more');
UPDATE public.profiles SET credits_remaining = 24;
SELECT is(meshify.retry((SELECT id FROM f)), 'credits', 'too few to pay again');
SELECT is((SELECT status FROM public.jobs), 'error', 'then nothing changes');
SELECT is((SELECT sum(credits) FROM meshify.refunds), 25::numeric, 'nor is anything taken');
UPDATE public.profiles SET credits_remaining = 1000;
DELETE FROM public.mesh_assets;
SELECT is(meshify.retry((SELECT id FROM f)), 'no_asset', 'not without an asset');
SELECT is(meshify.retry(t.w(99)), 'gone', 'a job that is not there');
DELETE FROM public.jobs;

-- An operator's retry ends the doubt about a purchase of long ago.
CREATE TEMP TABLE u AS SELECT t.claimed(1, 'unknown') AS id;
SELECT is(t.intend(1, (SELECT id FROM u)), 'ok', 'an intent');
SELECT is(meshify.fail(t.w(1), (SELECT id FROM u), 'Sorry.', 'purchase_unknown'), 'ok', 'that nothing was found out about');
UPDATE meshify.predictions SET intent_at = now() - interval '59 min';
SELECT is(meshify.retry((SELECT id FROM u)), 'ok', 'retry within the hour');
SELECT is((SELECT state FROM meshify.predictions), 'intended', 'it can still be found');
UPDATE public.jobs SET status = 'error';
UPDATE meshify.predictions SET intent_at = now() - interval '61 min';
SELECT is(meshify.retry((SELECT id FROM u)), 'ok', 'retry after it');
SELECT is((SELECT state FROM meshify.predictions), 'given_up', 'given up');
UPDATE public.jobs SET created_at = now() - interval '3 days';
SELECT t.claim(1);
SELECT ok((SELECT age_usec < 1000000 FROM meshify.as_claimed(ARRAY[(SELECT id FROM u)])), 'its age counts from the retry');
SELECT is(t.done(1, (SELECT id FROM u)), 'ok', 'done');
SELECT is(meshify.retry((SELECT id FROM u)), 'done', 'a job that is done is not retried');
DELETE FROM public.jobs;

-- What an older program left running.
CREATE TEMP TABLE s AS SELECT t.job('old') AS old, t.job('busy') AS busy, t.claimed(1, 'ours') AS ours;
UPDATE public.jobs SET status = 'running', worker_id = NULL, updated_at = now() WHERE id <> (SELECT ours FROM s);
UPDATE public.jobs SET updated_at = now() - interval '11 min' WHERE id = (SELECT old FROM s);
SELECT results_eq('SELECT * FROM meshify.stuck()', 'SELECT old FROM s', 'only what did not change for long is stuck');
SELECT results_eq('SELECT stuck, busy FROM meshify.others()', 'VALUES (1, 1)', 'the other is being worked on');
SELECT is(meshify.retry_stuck(), 1, 'retry');
SELECT is((SELECT status FROM public.jobs WHERE id = (SELECT old FROM s)), 'pending', 'it is in the queue');
UPDATE public.jobs SET status = 'running', updated_at = now() - interval '11 min' WHERE id = (SELECT old FROM s);
SELECT is(meshify.cancel_stuck(), 1, 'cancel');
SELECT is((SELECT status FROM public.jobs WHERE id = (SELECT old FROM s)), 'canceled', 'it is');
SELECT is((SELECT sum(credits) FROM meshify.refunds WHERE job_id = (SELECT old FROM s)), 25::numeric, 'with its credits back');
SELECT is((SELECT count(*)::int FROM public.jobs WHERE status = 'running'), 2, 'the others go on');

-- Settings.
SELECT is(meshify.set_setting('price', '30'), 'ok', 'a number');
SELECT is(meshify.setting('price'), '30', 'is set');
SELECT is(meshify.set_setting('price', '-1'), 'invalid', 'not below zero');
SELECT is(meshify.set_setting('price', NULL), 'invalid', 'not nothing');
SELECT is(meshify.set_setting('paused', 'yes'), 'invalid', 'on or off');
SELECT is(meshify.set_setting('paused', 'on'), 'ok', 'on');
SELECT is(meshify.set_setting('colour', 'red'), 'unknown', 'no such setting');
SELECT ok((SELECT count(*) >= 5 FROM meshify.list_settings()), 'all are listed');

-- Lists and sums.
SELECT results_eq('SELECT state FROM meshify.list_purchases(false, 10)', $$VALUES ('given_up')$$, 'purchases');
SELECT is_empty('SELECT * FROM meshify.list_purchases(true, 10)', 'no surplus');
UPDATE meshify.predictions SET state = 'surplus';
SELECT is((SELECT count(*)::int FROM meshify.list_purchases(true, 10)), 1, 'one surplus');
SELECT is(meshify.summary('1 day') -> 'jobs' ->> 'canceled', '1', 'summary');
SELECT is(meshify.summary('1 day') -> 'failures' ->> 'model_failed', '2', 'failures by reason');
SELECT ok(NOT meshify.is_to_drain(t.w(1)), 'nobody is asked to stop');
SELECT is(meshify.drain('i1'), 1, 'one worker of this name is asked to stop');
SELECT is(meshify.drain('nobody'), 0, 'none of that');
SELECT ok(meshify.is_to_drain(t.w(1)), 'it can ask, too');
SELECT is((SELECT string_agg(id::text, '') FROM meshify.workers w WHERE id <> t.w(1) AND meshify.is_to_drain(id)), NULL, 'no other is to stop');
SELECT ok(NOT meshify.is_to_drain(t.w(99)), 'nor who has no row');
SELECT * FROM finish();
