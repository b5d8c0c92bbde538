-- The audit: what nobody waits for any more, and only that.
SELECT no_plan();
SELECT t.worker(1);
CREATE TEMP TABLE j AS SELECT n, t.claimed(1, 'job ' || n) AS id FROM generate_series(1, 6) n;
SELECT t.intend(1, id) FROM j;
UPDATE meshify.predictions p SET state = 'bought', prediction_id = 'p' || j.n, intent_at = now() - interval '5 min' FROM j WHERE j.id = p.job_id;
CREATE FUNCTION pg_temp.n(n int) RETURNS uuid LANGUAGE sql AS $$ SELECT id FROM j WHERE j.n = $1 $$;
SELECT is_empty('SELECT * FROM meshify.audit_running(t.w(1), 10)', 'what jobs wait for is left alone');
UPDATE meshify.predictions SET state = 'surplus' WHERE prediction_id = 'p1';
UPDATE public.jobs SET status = 'error', completed_at = now() - interval '2 min' WHERE id = pg_temp.n(2);
UPDATE public.jobs SET status = 'error', completed_at = now() WHERE id = pg_temp.n(3);
DELETE FROM public.jobs WHERE id = pg_temp.n(4);
UPDATE public.jobs SET status = 'done', completed_at = now() - interval '2 min' WHERE id = pg_temp.n(5);
UPDATE meshify.predictions SET finished_at = now(), status = 'succeeded' WHERE prediction_id = 'p5';
SELECT is_empty('SELECT * FROM meshify.audit_running(t.w(9), 10)', 'nobody but a live worker is asked to cancel');
SELECT is((SELECT count(*)::int FROM meshify.audit_running(t.w(1), 2)), 2, 'no more at once than asked for');
SELECT is((SELECT count(*)::int FROM meshify.audit_running(t.w(1), 10)), 1, 'the rest next');
SELECT is_empty('SELECT * FROM meshify.audit_running(t.w(1), 10)', 'each is one worker''s for a minute');
SELECT results_eq('SELECT prediction_id FROM meshify.predictions WHERE audited_at IS NOT NULL ORDER BY 1', $$VALUES ('p1'), ('p2'), ('p4')$$,
    'surplus, of an ended job, of a deleted one; not what ended just now, was finished, or runs');
UPDATE meshify.predictions SET audited_at = now() - interval '61 s' WHERE prediction_id = 'p1';
SELECT results_eq('SELECT prediction_id FROM meshify.audit_running(t.w(1), 10)', $$VALUES ('p1')$$, 'until it is over');
UPDATE meshify.predictions SET audited_at = now() - (CASE prediction_id WHEN 'p1' THEN '62 s' ELSE '63 s' END)::interval, intent_at = intent_at + (CASE prediction_id WHEN 'p1' THEN '0' ELSE '1 s' END)::interval
WHERE prediction_id IN ('p1', 'p2');
SELECT results_eq('SELECT prediction_id FROM meshify.audit_running(t.w(1), 1)', $$VALUES ('p2')$$, 'they take turns');
SELECT lives_ok($$SELECT meshify.audit_ended((SELECT id FROM meshify.predictions WHERE prediction_id = 'p1'), 'canceled')$$, 'over');
SELECT lives_ok($$SELECT meshify.audit_ended((SELECT id FROM meshify.predictions WHERE prediction_id = 'p5'), 'canceled')$$, 'over before');
SELECT results_eq('SELECT prediction_id, status FROM meshify.predictions WHERE finished_at IS NOT NULL ORDER BY 1',
    $$VALUES ('p1', 'canceled'), ('p5', 'succeeded')$$, 'what was known stays');
SELECT is((SELECT count(*)::int FROM meshify.events WHERE event = 'audited'), 1, 'the history says so');

-- What nobody knows to be bought: given up, or left behind by a job that ended.
DELETE FROM meshify.predictions;
CREATE TEMP TABLE l AS SELECT n, t.claimed(1, 'lost ' || n) AS id FROM generate_series(1, 7) n;
CREATE FUNCTION pg_temp.l(n int) RETURNS uuid LANGUAGE sql AS $$ SELECT id FROM l WHERE l.n = $1 $$;
CREATE FUNCTION pg_temp.p(n int) RETURNS uuid LANGUAGE sql AS $$ SELECT t.row_of(pg_temp.l($1)) $$;
SELECT t.intend(1, id) FROM l;
UPDATE meshify.predictions p SET input_hash = 'hash of ' || l.n FROM l WHERE l.id = p.job_id;
UPDATE meshify.predictions SET state = 'given_up' WHERE id IN (pg_temp.p(1), pg_temp.p(5), pg_temp.p(6));
UPDATE public.jobs SET status = 'canceled' WHERE id = pg_temp.l(2);
DELETE FROM public.jobs WHERE id = pg_temp.l(3);
UPDATE meshify.predictions SET intent_at = now() - interval '61 min' WHERE id = pg_temp.p(6);
UPDATE meshify.predictions SET state = 'bought', prediction_id = 'q7' WHERE id = pg_temp.p(7);
SELECT is_empty('SELECT * FROM meshify.audit_unknown(t.w(9), 10)', 'nobody but a live worker is asked to look');
SELECT is((SELECT count(*)::int FROM meshify.audit_unknown(t.w(1), 1)), 1, 'no more at once than asked for');
SELECT is((SELECT count(*)::int FROM meshify.audit_unknown(t.w(1), 10)), 3, 'the rest next');
SELECT is_empty('SELECT * FROM meshify.audit_unknown(t.w(1), 10)', 'each is one worker''s for a minute');
SELECT set_eq('SELECT id FROM meshify.predictions WHERE audited_at IS NOT NULL', 'SELECT pg_temp.p(n) FROM unnest(ARRAY[1, 2, 3, 5]) n',
    'given up, of an ended job, of a deleted one; not what a job asks for, is known, or is older than the listing''s memory');
UPDATE meshify.predictions SET audited_at = now() - interval '61 s';
UPDATE meshify.predictions SET intent_at = now() - interval '9 s' WHERE id = pg_temp.p(1);
SELECT results_eq('SELECT id, input_hash, input_keys, age_usec BETWEEN 9000000 AND 60000000 FROM meshify.audit_unknown(t.w(1), 1)',
    $$SELECT pg_temp.p(1), 'hash of 1', '["a"]', true$$, 'with what the listing is held against');

UPDATE meshify.predictions SET audited_at = now() - CASE WHEN id = pg_temp.p(1) THEN interval '62 s' ELSE '63 s' END WHERE audited_at IS NOT NULL;
SELECT ok((SELECT id IN (pg_temp.p(2), pg_temp.p(3), pg_temp.p(5)) FROM meshify.audit_unknown(t.w(1), 1)), 'these take turns too');

SELECT is_empty($$SELECT * FROM meshify.found_surplus(t.w(1), ARRAY[pg_temp.p(1)], ARRAY['q7'])$$, 'what another purchase is, is not surplus');
SELECT is_empty($$SELECT * FROM meshify.found_surplus(t.w(1), ARRAY[pg_temp.p(4)], ARRAY['q4'])$$, 'nor what a job is about to know');
SELECT is_empty($$SELECT * FROM meshify.found_surplus(t.w(1), ARRAY[gen_random_uuid()], ARRAY['q0'])$$, 'nor what has no row');
UPDATE meshify.predictions SET input_hash = 'hash of 1' WHERE id = pg_temp.p(4);
SELECT is_empty($$SELECT * FROM meshify.found_surplus(t.w(1), ARRAY[pg_temp.p(1)], ARRAY['q1'])$$, 'nor what may be a job''s with the same input');
UPDATE meshify.predictions SET input_hash = 'hash of 4' WHERE id = pg_temp.p(4);
SELECT results_eq($$SELECT id, prediction_id FROM meshify.found_surplus(t.w(1), ARRAY[pg_temp.p(1), pg_temp.p(1), pg_temp.p(2), pg_temp.p(3), pg_temp.p(5)],
                                                                  ARRAY['q1', 'q1b', 'q2', 'q3', 'q3'])$$,
    $$VALUES (pg_temp.p(1), 'q1'), (pg_temp.p(2), 'q2'), (pg_temp.p(3), 'q3')$$, 'all else is: one prediction a purchase, one purchase a prediction');
SELECT is((SELECT count(*)::int FROM meshify.predictions WHERE state = 'surplus'), 3, 'it is written down');
SELECT is((SELECT count(*)::int FROM meshify.events WHERE event = 'surplus' AND detail ->> 'prediction' = 'q1'), 1, 'the history says so');
SELECT set_eq('SELECT prediction_id FROM meshify.audit_running(t.w(1), 10)', ARRAY['q1', 'q2', 'q3'], 'and cancelled at once');
SELECT * FROM finish();
