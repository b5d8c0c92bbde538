-- The audit: what nobody waits for any more, and only that.
SELECT no_plan();
SELECT t.worker(1);
CREATE TEMP TABLE j AS SELECT n, t.claimed(1, 'job ' || n) AS id FROM generate_series(1, 6) n;
SELECT t.intend(1, id) FROM j;
UPDATE meshify.predictions p SET state = 'bought', prediction_id = 'p' || j.n, intent_at = now() - interval '5 min' FROM j WHERE j.id = p.job_id;
CREATE FUNCTION pg_temp.n(n int) RETURNS uuid LANGUAGE sql AS $$ SELECT id FROM j WHERE j.n = $1 $$;
SELECT is_empty('SELECT * FROM meshify.audit(t.w(1), 10)', 'what jobs wait for is left alone');
UPDATE meshify.predictions SET state = 'surplus' WHERE prediction_id = 'p1';
UPDATE public.jobs SET status = 'error', completed_at = now() - interval '2 min' WHERE id = pg_temp.n(2);
UPDATE public.jobs SET status = 'error', completed_at = now() WHERE id = pg_temp.n(3);
DELETE FROM public.jobs WHERE id = pg_temp.n(4);
UPDATE public.jobs SET status = 'done', completed_at = now() - interval '2 min' WHERE id = pg_temp.n(5);
UPDATE meshify.predictions SET finished_at = now(), status = 'succeeded' WHERE prediction_id = 'p5';
SELECT is_empty('SELECT * FROM meshify.audit(t.w(9), 10)', 'nobody but a live worker is asked to cancel');
SELECT is((SELECT count(*)::int FROM meshify.audit(t.w(1), 2)), 2, 'no more at once than asked for');
SELECT is((SELECT count(*)::int FROM meshify.audit(t.w(1), 10)), 1, 'the rest next');
SELECT is_empty('SELECT * FROM meshify.audit(t.w(1), 10)', 'each is one worker''s for a minute');
SELECT results_eq('SELECT prediction_id FROM meshify.predictions WHERE audited_at IS NOT NULL ORDER BY 1', $$VALUES ('p1'), ('p2'), ('p4')$$,
    'surplus, of an ended job, of a deleted one; not what ended just now, was finished, or runs');
UPDATE meshify.predictions SET audited_at = now() - interval '61 s' WHERE prediction_id = 'p1';
SELECT results_eq('SELECT prediction_id FROM meshify.audit(t.w(1), 10)', $$VALUES ('p1')$$, 'until it is over');
SELECT lives_ok($$SELECT meshify.audited((SELECT id FROM meshify.predictions WHERE prediction_id = 'p1'), 'canceled')$$, 'over');
SELECT lives_ok($$SELECT meshify.audited((SELECT id FROM meshify.predictions WHERE prediction_id = 'p5'), 'canceled')$$, 'over before');
SELECT results_eq('SELECT prediction_id, status FROM meshify.predictions WHERE finished_at IS NOT NULL ORDER BY 1',
    $$VALUES ('p1', 'canceled'), ('p5', 'succeeded')$$, 'what was known stays');
SELECT is((SELECT count(*)::int FROM meshify.events WHERE event = 'audited'), 1, 'the history says so');
SELECT * FROM finish();
