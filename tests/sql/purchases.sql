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

SELECT is(meshify.record_purchase(t.w(1), t.of(pg_temp.j()), 'pred1', 'starting', false), 'ok', 'its id is recorded');
SELECT is(meshify.record_purchase(t.w(1), t.of(pg_temp.j()), 'pred1', 'starting', false), 'ok', 'twice');
SELECT is(meshify.record_purchase(t.w(1), t.of(pg_temp.j()), 'pred2', 'starting', false), 'taken', 'a second id for one purchase is refused');
SELECT is(t.intend(1, pg_temp.j()), 'lost', 'a purchase that is bought is not intended again');
SELECT is((SELECT state FROM meshify.predictions), 'bought', 'it is bought');

-- An id that stands elsewhere; a fact of one who lost the job.
CREATE TEMP TABLE k AS SELECT t.claimed(1, 'other') AS id;
CREATE FUNCTION pg_temp.k() RETURNS uuid LANGUAGE sql AS 'SELECT id FROM k';
SELECT t.intend(1, pg_temp.k());
SELECT is(meshify.record_purchase(t.w(1), t.of(pg_temp.k()), 'pred1', 'starting', false), 'taken', 'an id of another row');
UPDATE public.jobs SET worker_id = t.w(2), crashes = 3 WHERE id = pg_temp.k();
SELECT is(meshify.record_purchase(t.w(1), t.of(pg_temp.k()), 'pred3', 'starting', false), 'lost', 'who lost the job still records the fact');
SELECT is((SELECT prediction_id FROM meshify.predictions WHERE job_id = pg_temp.k()), 'pred3', 'and it is there');
SELECT is((SELECT crashes FROM public.jobs WHERE id = pg_temp.k()), 3, 'another''s count of crashes is left');

-- Giving up.
CREATE TEMP TABLE g AS SELECT t.claimed(1, 'give up') AS id;
CREATE FUNCTION pg_temp.g() RETURNS uuid LANGUAGE sql AS 'SELECT id FROM g';
SELECT t.intend(1, pg_temp.g());
SELECT is(t.intend(1, pg_temp.g(), 'paint', 2, t.of(pg_temp.g(), 1)), 'ok', 'the next intent gives up the one before');
SELECT results_eq('SELECT state FROM meshify.predictions WHERE job_id = pg_temp.g() ORDER BY purchase', $$VALUES ('given_up'), ('intended')$$, 'in one transaction');
SELECT is(meshify.record_purchase(t.w(1), t.of(pg_temp.g(), 1), 'late', 'starting', false), 'surplus', 'an id for a purchase given up is surplus');
SELECT is((SELECT state FROM meshify.predictions WHERE prediction_id = 'late'), 'surplus', 'and written down');
SELECT is(meshify.record_purchase(t.w(1), t.of(pg_temp.g(), 2), 'good', 'starting', false), 'ok', 'the other is bought');
SELECT is(t.intend(1, pg_temp.g(), 'paint', 3, t.of(pg_temp.g(), 2)), 'bought', 'what was bought meanwhile is not given up');
SELECT is((SELECT count(*)::int FROM meshify.predictions WHERE job_id = pg_temp.g()), 2, 'and nothing is intended');
SELECT is((SELECT prediction_id FROM meshify.intend_purchase(t.w(1), jsonb_build_object('key', gen_random_uuid(), 'job', pg_temp.g(), 'step', 'paint', 'purchase', 3, 'hash', 'h'),
    1, 'm', '[]', 'text', false, '/0', '1 s', t.of(pg_temp.g(), 2))), 'good', 'its id is answered');

-- What became of it.
UPDATE public.jobs SET crashes = 2 WHERE id = pg_temp.j();
SELECT is(meshify.settle_purchase(t.of(pg_temp.j()), 'other', 'succeeded', '1', '{}', NULL, true), 'lost', 'another id settles nothing');
SELECT is(meshify.settle_purchase(t.of(pg_temp.j()), 'pred1', 'succeeded', '["u"]', '{"predict_time": 2}', NULL, true), 'ok', 'a success');
SELECT results_eq('SELECT state, status, output, finished_at IS NOT NULL FROM meshify.predictions WHERE prediction_id = ''pred1''',
    $$VALUES ('bought', 'succeeded', '["u"]'::jsonb, true)$$, 'stays bought');
SELECT is((SELECT crashes FROM public.jobs WHERE id = pg_temp.j()), 0, 'a step that is done forgives crashes');
UPDATE public.jobs SET crashes = 2 WHERE id = pg_temp.j();
SELECT is(meshify.settle_purchase(t.of(pg_temp.j()), 'pred1', 'succeeded', '["u"]', '{"predict_time": 2}', NULL, true), 'lost', 'told again, it is known already');
SELECT is((SELECT crashes FROM public.jobs WHERE id = pg_temp.j()), 2, 'it forgives nothing: what follows may be what kills');
SELECT meshify.reset_crashes(t.w(2), pg_temp.j());
SELECT is((SELECT crashes FROM public.jobs WHERE id = pg_temp.j()), 2, 'nor does another worker');
SELECT meshify.further(t.w(1), pg_temp.j());
SELECT is((SELECT crashes FROM public.jobs WHERE id = pg_temp.j()), 0, 'a job that gets further is forgiven');
SELECT is(meshify.settle_purchase(t.of(pg_temp.k()), 'pred3', 'failed', NULL, NULL, repeat('x', 5000), false), 'ok', 'a failure');
SELECT results_eq('SELECT state, length(error) FROM meshify.predictions WHERE prediction_id = ''pred3''', $$VALUES ('ended', 2000)$$, 'ends it, with a bounded error');
CREATE TEMP TABLE r AS SELECT t.claimed(1, 'refused') AS id;
SELECT t.intend(1, (SELECT id FROM r));
SELECT is(meshify.settle_purchase(t.of((SELECT id FROM r)), NULL, 'refused', NULL, NULL, 'HTTP 422', false), 'ok', 'what was refused');
SELECT is((SELECT state FROM meshify.predictions WHERE job_id = (SELECT id FROM r)), 'ended', 'is ended');
SELECT is(meshify.settle_purchase(t.of(pg_temp.j()), NULL, 'refused', NULL, NULL, 'x', false), 'lost', 'what was bought can''t be refused');

-- One who lost the job says that it sent nothing, while its holder finds a prediction of the same input.
CREATE TEMP TABLE e AS SELECT t.claimed(1, 'not sent') AS one, t.claimed(1, 'not sent either') AS two;
SELECT t.intend(1, one), t.intend(1, two) FROM e;
SELECT meshify.settle_purchase(t.of(one), NULL, 'not sent', NULL, NULL, 'x', false), meshify.settle_purchase(t.of(two), NULL, 'not sent', NULL, NULL, 'x', false) FROM e;
SELECT is(meshify.record_purchase(t.w(1), t.of((SELECT one FROM e)), 'there', 'starting', false), 'ok', 'what was ended and yet is there');
SELECT results_eq('SELECT state, status, finished_at FROM meshify.predictions WHERE prediction_id = ''there''', $$VALUES ('bought', 'starting', NULL::timestamptz)$$, 'is bought');
SELECT is(meshify.record_purchase(t.w(2), t.of((SELECT two FROM e)), 'elsewhere', 'starting', false), 'surplus', 'or surplus, when another has the job');
SELECT results_eq('SELECT state, finished_at FROM meshify.predictions WHERE prediction_id = ''elsewhere''', $$VALUES ('surplus', NULL::timestamptz)$$, 'and so cancelled');
SELECT is(meshify.settle_purchase(t.of((SELECT one FROM e)), 'there', 'failed', NULL, NULL, NULL, false), 'ok', 'it fails');
SELECT is(meshify.record_purchase(t.w(1), t.of((SELECT one FROM e)), 'there', 'starting', false), 'ok', 'its id once more');
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
SELECT is((SELECT answer FROM meshify.intend_purchase(t.w(1), t.of(pg_temp.a()) || '{"hash": "another hash"}', 1, 'model', '["a"]', 'text', false, '/0', '45s', NULL)), 'lost',
    'a purchase is not intended again with another input');
SELECT is(meshify.settle_purchase(t.of(pg_temp.a()), NULL, 'refused', NULL, NULL, 'HTTP 422', false), 'ok', 'it is refused');
SELECT is(t.intend(1, pg_temp.a(), 'paint', 2, t.of(pg_temp.a())), 'ok', 'the next one would give it up');
SELECT is((SELECT state FROM meshify.predictions p WHERE p.job_id = pg_temp.a() AND p.purchase = 1), 'ended', 'but that it was refused is known');

-- A row is a purchase's own only if all of it is: key, job, step, purchase, buyer and input.
CREATE TEMP TABLE f AS SELECT t.claimed(1, 'fail-over') AS id, t.claimed(2, 'another''s') AS other;
CREATE FUNCTION pg_temp.f() RETURNS uuid LANGUAGE sql AS 'SELECT id FROM f';
SELECT t.intend(1, pg_temp.f());
CREATE TEMP TABLE wrong AS
SELECT w.what, w.word, t.of(pg_temp.f()) || w.of AS of FROM (VALUES
    ('key', 'a', jsonb_build_object('key', gen_random_uuid())), ('job', 'b', jsonb_build_object('job', (SELECT other FROM f))),
    ('step', 'c', '{"step": "sculpt"}'), ('purchase', 'd', '{"purchase": 2}'), ('buyer', 'e', jsonb_build_object('worker', t.w(2))),
    ('input', 'f', '{"hash": "another"}')) AS w (what, word, of);
SELECT is((SELECT i.answer FROM meshify.intend_purchase(t.w(1), of, 1, 'model', '["a"]', 'text', false, NULL, '1 s', NULL) i), 'lost', 'the intent of another ' || what)
FROM wrong WHERE what IN ('key', 'input');
SELECT is(meshify.settle_purchase(of, NULL, 'refused', NULL, NULL, 'x', false), 'lost', 'another ' || what || ' settles nothing') FROM wrong;
SELECT is((SELECT i.answer FROM meshify.intend_purchase(t.w(1), t.of(pg_temp.f()) || '{"step": "other"}' || jsonb_build_object('key', gen_random_uuid(), 'purchase', ascii(word)),
                                                        1, 'model', '["a"]', 'text', false, NULL, '1 s', of) i), 'ok', 'an intent that gives up another ' || what) FROM wrong;
SELECT is(meshify.hand_back_without(t.w(2), (SELECT other FROM f), '0', false, '0', 'x', (SELECT jsonb_agg(of) FROM wrong)), 'ok', 'nor does a job without one of them');
SELECT is((SELECT state FROM meshify.predictions WHERE id = t.row_of(pg_temp.f())), 'intended', 'which gives up none of this');
DELETE FROM meshify.predictions WHERE job_id = pg_temp.f() AND step = 'other';
SELECT is(meshify.record_purchase(t.w(1), of, 'paid-' || word, 'starting', true), 'surplus', 'what was paid under another ' || what || ' is surplus') FROM wrong;
SELECT is(meshify.record_purchase(t.w(1), of, 'paid-' || word, 'starting', true), 'surplus', 'and is when it is said again') FROM wrong;
SELECT results_eq($$SELECT DISTINCT state, purchase, finished_at FROM meshify.predictions WHERE prediction_id LIKE 'paid-%'$$,
    $$VALUES ('surplus', NULL::int, NULL::timestamptz)$$, 'it is written down');
SELECT is((SELECT count(*)::int FROM meshify.predictions WHERE prediction_id LIKE 'paid-%'), 6, 'once each');
SELECT is((SELECT count(*)::int FROM meshify.audit_running(t.w(1), 100) a WHERE a.prediction_id LIKE 'paid-%'), 6, 'and cancelled');
SELECT results_eq('SELECT state, prediction_id FROM meshify.predictions WHERE id = t.row_of(pg_temp.f())', $$VALUES ('intended', NULL::text)$$, 'the row itself is as it was');
SELECT is((SELECT count(*)::int FROM jsonb_array_elements(meshify.purchases_of(pg_temp.f())::jsonb)), 1, 'and all that the job''s worker is told');
-- What the listing showed may be another's.
SELECT is(meshify.record_purchase(t.w(1), (SELECT of || '{"hash": "hash1"}' FROM wrong WHERE what = 'key'), 'shown', 'starting', false), 'lost',
          'what was found without a row is left to a job with the same input');
SELECT is((SELECT count(*)::int FROM meshify.predictions WHERE prediction_id = 'shown'), 0, 'which will record it');
SELECT is(meshify.record_purchase(t.w(1), (SELECT of || '{"hash": "nobody''s"}' FROM wrong WHERE what = 'key'), 'shown', 'starting', false), 'surplus', 'what nobody wants is surplus');
SELECT is(meshify.record_purchase(t.w(1), t.of(pg_temp.f()), 'shown', 'starting', false), 'taken', 'and no purchase''s');
-- Its own row has another prediction: the answer came when another worker had found one.
SELECT is(meshify.record_purchase(t.w(1), t.of(pg_temp.f()), 'mine', 'starting', false), 'ok', 'one is found');
SELECT is(meshify.record_purchase(t.w(1), t.of(pg_temp.f()), 'too', 'starting', true), 'surplus', 'another was answered: it is surplus');
SELECT is((SELECT prediction_id FROM meshify.predictions WHERE id = t.row_of(pg_temp.f())), 'mine', 'and the first stays');
-- A row that lost its prediction, and one that was lost, with a primary.
UPDATE meshify.predictions SET state = 'intended', prediction_id = NULL, created_at = NULL WHERE id = t.row_of(pg_temp.f());
SELECT is(meshify.settle_purchase(t.of(pg_temp.f()), 'too', 'succeeded', '1', '{}', NULL, true), 'lost', 'an id of another row is not its own');
SELECT is(meshify.settle_purchase(t.of(pg_temp.f()), 'mine', 'succeeded', '["u"]', '{}', NULL, true), 'ok', 'what became of it brings its id back');
SELECT results_eq('SELECT state, prediction_id, output FROM meshify.predictions WHERE id = t.row_of(pg_temp.f())', $$VALUES ('bought', 'mine', '["u"]'::jsonb)$$, 'as it was');
SELECT is(meshify.settle_purchase((SELECT of FROM wrong WHERE what = 'key'), 'ran', 'succeeded', '["u"]', '{}', NULL, true), 'lost', 'what has no row');
SELECT results_eq($$SELECT state, purchase, finished_at IS NOT NULL FROM meshify.predictions WHERE prediction_id = 'ran'$$, $$VALUES ('surplus', NULL::int, true)$$, 'gets one');

-- Told again after a fail-over.
CREATE TEMP TABLE q AS SELECT t.claimed(1, 'told again') AS id;
SELECT t.intend(1, id, 'paint', 1), t.intend(1, id, 'paint', 2) FROM q;
SELECT meshify.record_purchase(t.w(1), t.of(id, 1), 'q1', 'starting', true) FROM q;
SELECT results_eq($$SELECT job_id, prediction_id FROM q, meshify.tell_again(t.w(1), jsonb_build_array(t.of(id, 1) || '{"prediction": "q1"}', t.of(id, 2) || '{"prediction": "q2"}',
    t.of(id, 2) || jsonb_build_object('key', t.w(9), 'prediction', 'q3')))$$, $$SELECT id, 'q3' FROM q$$, 'what is not in its row is surplus when it has none');
SELECT results_eq($$SELECT state, prediction_id FROM meshify.predictions WHERE prediction_id IN ('q1', 'q2', 'q3') ORDER BY 2$$,
    $$VALUES ('bought', 'q1'), ('bought', 'q2'), ('surplus', 'q3')$$, 'a row gets its prediction back');
SELECT is_empty($$SELECT * FROM q, meshify.tell_again(t.w(1), jsonb_build_array(t.of(id, 1) || '{"prediction": "q1", "output": ["u"], "metrics": {"predict_time": 2}}'))$$, 'how it ended');
SELECT results_eq($$SELECT status, output, metrics, finished_at IS NOT NULL FROM meshify.predictions WHERE prediction_id = 'q1'$$,
    $$VALUES ('succeeded', '["u"]'::jsonb, '{"predict_time": 2}'::jsonb, true)$$, 'is told again, too');
CREATE FUNCTION pg_temp.intent(key int, number int) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_array(t.of(id, 1) || jsonb_build_object('key', t.w(key), 'purchase', number, 'attempt', 1, 'age', 60, 'give_up_in', 30, 'input_keys', NULL, 'last_step', true)) FROM q $$;
SELECT is_empty('SELECT * FROM meshify.tell_again(t.w(1), pg_temp.intent(101, 4))', 'an intent');
SELECT is_empty('SELECT * FROM meshify.tell_again(t.w(2), pg_temp.intent(102, 5))', 'one of a worker who does not have the job any more');
SELECT results_eq($$SELECT purchase, state, now() - intent_at > interval '59 s', input_keys FROM meshify.predictions WHERE id IN (t.w(101), t.w(102)) ORDER BY purchase$$,
    $$VALUES (4, 'intended', true, NULL::jsonb), (5, 'given_up', true, NULL)$$, 'is looked for by its worker, or by the audit');

-- A job goes back without what its configuration has no step for.
CREATE TEMP TABLE h AS SELECT t.claimed(1, 'renamed') AS id;
SELECT t.intend(1, id, 'old', 1), t.intend(1, id, 'old', 2), t.intend(1, id, 'old', 3) FROM h;
SELECT meshify.record_purchase(t.w(1), t.of(id, 1), 'old1', 'starting', true), meshify.record_purchase(t.w(1), t.of(id, 3), 'old3', 'starting', true) FROM h;
SELECT is(meshify.hand_back_without(t.w(1), id, '0', true, '0', 'step_gone', jsonb_build_array(t.of(id, 1) || '{"state": "bought"}', t.of(id, 2) || '{"state": "intended"}',
    t.of(id, 3) || '{"state": "intended"}')), 'ok', 'handed back') FROM h;
SELECT results_eq('SELECT purchase, state FROM meshify.predictions WHERE job_id = (SELECT id FROM h) ORDER BY 1', $$VALUES (1, 'surplus'), (2, 'given_up'), (3, 'bought')$$,
    'what was bought is surplus, what is unknown is given up, what was recorded meanwhile stays');
SELECT is((SELECT attempts FROM public.jobs WHERE id = (SELECT id FROM h)), 1, 'it counts as an attempt');
SELECT * FROM finish();
