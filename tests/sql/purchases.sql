-- Purchases: decisions are fenced, facts are not.
SELECT no_plan();
SELECT t.worker(1), t.worker(2);
CREATE TEMP TABLE j AS SELECT t.claimed(1) AS id;
CREATE FUNCTION pg_temp.j() RETURNS uuid LANGUAGE sql AS 'SELECT id FROM j';

SELECT is(t.intend(2, pg_temp.j()), 'lost', 'who does not hold the job may not intend');
SELECT is(t.intend(1, t.w(99)), 'gone', 'a job that is not there');
SELECT is(t.intend(1, pg_temp.j()), 'ok', 'an intent');
SELECT is(t.intend(1, pg_temp.j()), 'ok', 'sent again after a lost answer');
SELECT is((SELECT count(*)::int FROM meshify.predictions), 1, 'is one row');
SELECT results_eq('SELECT state, attempt, give_up_after > now() + interval ''40 s'', prediction_id FROM meshify.predictions',
    $$VALUES ('intended', 1, true, NULL::text)$$, 'as it was intended');

SELECT is(meshify.record(t.w(1), t.row_of(pg_temp.j()), 'pred1', 'starting'), 'ok', 'its id is recorded');
SELECT is(meshify.record(t.w(1), t.row_of(pg_temp.j()), 'pred1', 'starting'), 'ok', 'twice');
SELECT is(meshify.record(t.w(1), t.row_of(pg_temp.j()), 'pred2', 'starting'), 'taken', 'a second id for one purchase is refused');
SELECT is(t.intend(1, pg_temp.j()), 'lost', 'a purchase that is bought is not intended again');
SELECT is((SELECT state FROM meshify.predictions), 'bought', 'it is bought');

-- An id that stands elsewhere; a fact of one who lost the job.
CREATE TEMP TABLE k AS SELECT t.claimed(1, 'other') AS id;
CREATE FUNCTION pg_temp.k() RETURNS uuid LANGUAGE sql AS 'SELECT id FROM k';
SELECT t.intend(1, pg_temp.k());
SELECT is(meshify.record(t.w(1), t.row_of(pg_temp.k()), 'pred1', 'starting'), 'taken', 'an id of another row');
UPDATE public.jobs SET worker_id = t.w(2), crashes = 3 WHERE id = pg_temp.k();
SELECT is(meshify.record(t.w(1), t.row_of(pg_temp.k()), 'pred3', 'starting'), 'lost', 'who lost the job still records the fact');
SELECT is((SELECT prediction_id FROM meshify.predictions WHERE job_id = pg_temp.k()), 'pred3', 'and it is there');
SELECT is((SELECT crashes FROM public.jobs WHERE id = pg_temp.k()), 3, 'another''s count of crashes is left');

-- Giving up.
CREATE TEMP TABLE g AS SELECT t.claimed(1, 'give up') AS id;
CREATE FUNCTION pg_temp.g() RETURNS uuid LANGUAGE sql AS 'SELECT id FROM g';
SELECT t.intend(1, pg_temp.g());
SELECT is(t.intend(1, pg_temp.g(), 'paint', 2, t.row_of(pg_temp.g(), 1)), 'ok', 'the next intent gives up the one before');
SELECT results_eq('SELECT state FROM meshify.predictions WHERE job_id = pg_temp.g() ORDER BY purchase', $$VALUES ('given_up'), ('intended')$$, 'in one transaction');
SELECT is(meshify.record(t.w(1), t.row_of(pg_temp.g(), 1), 'late', 'starting'), 'surplus', 'an id for a purchase given up is surplus');
SELECT is((SELECT state FROM meshify.predictions WHERE prediction_id = 'late'), 'surplus', 'and written down');
SELECT is(meshify.record(t.w(1), t.row_of(pg_temp.g(), 2), 'good', 'starting'), 'ok', 'the other is bought');
SELECT is(t.intend(1, pg_temp.g(), 'paint', 3, t.row_of(pg_temp.g(), 2)), 'bought', 'what was bought meanwhile is not given up');
SELECT is((SELECT count(*)::int FROM meshify.predictions WHERE job_id = pg_temp.g()), 2, 'and nothing is intended');
SELECT is((SELECT prediction_id FROM meshify.intend(t.w(1), pg_temp.g(), 'paint', 3, 1, 'm', 'h', '[]', '1 s', t.row_of(pg_temp.g(), 2))), 'good', 'its id is answered');

-- What became of it.
UPDATE public.jobs SET crashes = 2 WHERE id = pg_temp.j();
SELECT is(meshify.settle(t.row_of(pg_temp.j()), 'other', 'succeeded', '1', '{}', NULL, true), 'lost', 'another id settles nothing');
SELECT is(meshify.settle(t.row_of(pg_temp.j()), 'pred1', 'succeeded', '["u"]', '{"predict_time": 2}', NULL, true), 'ok', 'a success');
SELECT results_eq('SELECT state, status, output, finished_at IS NOT NULL FROM meshify.predictions WHERE prediction_id = ''pred1''',
    $$VALUES ('bought', 'succeeded', '["u"]'::jsonb, true)$$, 'stays bought');
SELECT is((SELECT crashes FROM public.jobs WHERE id = pg_temp.j()), 0, 'a step that is done forgives crashes');
UPDATE public.jobs SET crashes = 2 WHERE id = pg_temp.j();
SELECT is(meshify.settle(t.row_of(pg_temp.j()), 'pred1', 'succeeded', '["u"]', '{"predict_time": 2}', NULL, true), 'lost', 'told again, it is known already');
SELECT is((SELECT crashes FROM public.jobs WHERE id = pg_temp.j()), 2, 'it forgives nothing: what follows may be what kills');
SELECT meshify.further(t.w(2), pg_temp.j());
SELECT is((SELECT crashes FROM public.jobs WHERE id = pg_temp.j()), 2, 'nor does another worker');
SELECT meshify.further(t.w(1), pg_temp.j());
SELECT is((SELECT crashes FROM public.jobs WHERE id = pg_temp.j()), 0, 'a job that gets further is forgiven');
SELECT is(meshify.settle(t.row_of(pg_temp.k()), 'pred3', 'failed', NULL, NULL, repeat('x', 5000), false), 'ok', 'a failure');
SELECT results_eq('SELECT state, length(error) FROM meshify.predictions WHERE prediction_id = ''pred3''', $$VALUES ('ended', 2000)$$, 'ends it, with a bounded error');
CREATE TEMP TABLE r AS SELECT t.claimed(1, 'refused') AS id;
SELECT t.intend(1, (SELECT id FROM r));
SELECT is(meshify.settle(t.row_of((SELECT id FROM r)), NULL, 'refused', NULL, NULL, 'HTTP 422', false), 'ok', 'what was refused');
SELECT is((SELECT state FROM meshify.predictions WHERE job_id = (SELECT id FROM r)), 'ended', 'is ended');
SELECT is(meshify.settle(t.row_of(pg_temp.j()), NULL, 'refused', NULL, NULL, 'x', false), 'lost', 'what was bought can''t be refused');

-- One who lost the job says that it sent nothing, while its holder finds a prediction of the same input.
CREATE TEMP TABLE e AS SELECT t.claimed(1, 'not sent') AS one, t.claimed(1, 'not sent either') AS two;
SELECT t.intend(1, one), t.intend(1, two) FROM e;
SELECT meshify.settle(t.row_of(one), NULL, 'not sent', NULL, NULL, 'x', false), meshify.settle(t.row_of(two), NULL, 'not sent', NULL, NULL, 'x', false) FROM e;
SELECT is(meshify.record(t.w(1), t.row_of((SELECT one FROM e)), 'there', 'starting'), 'ok', 'what was ended and yet is there');
SELECT results_eq('SELECT state, status, finished_at FROM meshify.predictions WHERE prediction_id = ''there''', $$VALUES ('bought', 'starting', NULL::timestamptz)$$, 'is bought');
SELECT is(meshify.record(t.w(2), t.row_of((SELECT two FROM e)), 'elsewhere', 'starting'), 'surplus', 'or surplus, when another has the job');
SELECT results_eq('SELECT state, finished_at FROM meshify.predictions WHERE prediction_id = ''elsewhere''', $$VALUES ('surplus', NULL::timestamptz)$$, 'and so cancelled');
SELECT is(meshify.settle(t.row_of((SELECT one FROM e)), 'there', 'failed', NULL, NULL, NULL, false), 'ok', 'it fails');
SELECT is(meshify.record(t.w(1), t.row_of((SELECT one FROM e)), 'there', 'starting'), 'ok', 'its id once more');
SELECT results_eq('SELECT state, status, finished_at IS NOT NULL FROM meshify.predictions WHERE prediction_id = ''there''', $$VALUES ('ended', 'failed', true)$$, 'does not bring it back');

-- Fences of a cancel and of a closed job.
UPDATE public.jobs SET cancel_requested_at = now() WHERE id = (SELECT id FROM r);
SELECT is(t.intend(1, (SELECT id FROM r), 'paint', 2), 'cancel', 'nothing is bought for a job that is to be cancelled');
SELECT is(meshify.canceled(t.w(1), (SELECT id FROM r)), 'ok', 'it is canceled');
SELECT is(t.intend(1, (SELECT id FROM r), 'paint', 2), 'closed', 'nor for one that is closed');

SELECT is(meshify.progress(t.w(1), ARRAY[pg_temp.j(), pg_temp.k()], ARRAY[0.5, 0.5]::real[]), 1, 'progress of one''s own jobs');
SELECT is(meshify.progress(t.w(1), ARRAY[pg_temp.j()], ARRAY[0.4]::real[]), 0, 'never goes back');

-- An intent that is sent again is the same one, or none; a give-up concerns only what nobody knows of.
CREATE TEMP TABLE a AS SELECT t.claimed(1, 'again') AS id;
CREATE FUNCTION pg_temp.a() RETURNS uuid LANGUAGE sql AS 'SELECT id FROM a';
SELECT t.intend(1, pg_temp.a());
SELECT is((SELECT answer FROM meshify.intend(t.w(1), pg_temp.a(), 'paint', 1, 1, 'model', 'another hash', '["a"]', '45s', NULL)), 'lost',
    'a purchase is not intended again with another input');
SELECT is(meshify.settle(t.row_of(pg_temp.a()), NULL, 'refused', NULL, NULL, 'HTTP 422', false), 'ok', 'it is refused');
SELECT is(t.intend(1, pg_temp.a(), 'paint', 2, t.row_of(pg_temp.a())), 'ok', 'the next one would give it up');
SELECT is((SELECT state FROM meshify.predictions p WHERE p.job_id = pg_temp.a() AND p.purchase = 1), 'ended', 'but that it was refused is known');
SELECT * FROM finish();
