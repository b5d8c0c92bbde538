-- Names of objects are written down before the first byte goes up; what no row names is removed, once nobody writes it.
SELECT no_plan();
SELECT t.worker(1), t.worker(2);
CREATE FUNCTION t.named(n int, j uuid, purchase int DEFAULT 1, place text DEFAULT 'place') RETURNS text LANGUAGE sql AS $$
    SELECT coalesce(s.name, s.answer) FROM meshify.storing(t.w(n), j, 'paint', purchase, 'u/' || (SELECT asset_id FROM public.jobs WHERE id = j) || '.glb', place, '90 min') s $$;
CREATE FUNCTION t.expected(j uuid, suffix text DEFAULT '') RETURNS text LANGUAGE sql AS $$
    SELECT 'u/' || asset_id || suffix || '.glb' FROM public.jobs WHERE id = j $$;
-- A job whose purchase went well, and its file's name.
CREATE FUNCTION t.bought(n int, prompt text) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE j uuid := t.claimed(n, prompt);
BEGIN
    PERFORM t.intend(n, j);
    UPDATE meshify.predictions SET state = 'bought', prediction_id = prompt, status = 'succeeded', finished_at = now() WHERE job_id = j;
    RETURN j;
END $$;
CREATE FUNCTION t.state_of(j uuid) RETURNS text LANGUAGE sql AS $$ SELECT object_state FROM meshify.predictions WHERE job_id = j AND purchase = 1 $$;
CREATE FUNCTION t.due(n int, place text DEFAULT 'place') RETURNS SETOF text LANGUAGE sql AS $$ SELECT name FROM meshify.orphans_due(t.w(n), place, 9) $$;
CREATE FUNCTION t.later(p interval) RETURNS void LANGUAGE sql AS $$ UPDATE meshify.orphans SET since = since - p, tried_at = tried_at - p $$;

-- Writing down.
CREATE TEMP TABLE j AS SELECT t.bought(1, 'one') AS one, t.bought(1, 'two') AS two;
CREATE FUNCTION pg_temp.one() RETURNS uuid LANGUAGE sql AS 'SELECT one FROM j';
CREATE FUNCTION pg_temp.two() RETURNS uuid LANGUAGE sql AS 'SELECT two FROM j';
SELECT is(t.named(1, pg_temp.one()), t.expected(pg_temp.one()), 'a file gets its name');
SELECT is(t.named(1, pg_temp.one()), t.expected(pg_temp.one()), 'asked again, it is the same');
SELECT results_eq('SELECT object_name, object_worker, object_place, object_grace, object_state FROM meshify.predictions WHERE job_id = pg_temp.one()',
    $$VALUES (t.expected(pg_temp.one()), t.w(1), 'place', interval '90 min', NULL::text)$$, 'which stands with its purchase');
SELECT is(t.named(2, pg_temp.one()), 'lost', 'not for a worker that does not hold the job');
SELECT is(t.named(1, t.w(99)), 'gone', 'nor for a job that is gone');
SELECT is(t.named(1, pg_temp.one(), 7), 'lost', 'nor for a purchase that is not there');
UPDATE public.jobs SET cancel_requested_at = now() WHERE id = pg_temp.two();
SELECT is(t.named(1, pg_temp.two()), 'cancel', 'nor for one that is to be cancelled');
SELECT is((SELECT object_name FROM meshify.predictions WHERE job_id = pg_temp.two()), NULL, 'which gets no name');
UPDATE public.jobs SET cancel_requested_at = NULL;

-- What a row names stays, whatever becomes of the row.
SELECT is(meshify.done(t.w(1), pg_temp.one(), t.expected(pg_temp.one()), 1, 'm', '{}', '{}'), 'ok', 'the job is done');
SELECT is(t.state_of(pg_temp.one()), 'used', 'the file is the project''s');
UPDATE meshify.workers SET expires_at = now() - interval '1 day', heartbeat_at = now() - interval '2 days' WHERE id = t.w(1);
UPDATE public.mesh_assets SET output_path = 'moved' WHERE id = (SELECT asset_id FROM public.jobs WHERE id = pg_temp.one());
UPDATE public.jobs SET output_data = NULL WHERE id = pg_temp.one();
SELECT is_empty('SELECT t.due(2)', 'it is no orphan, though its row names another now');
DELETE FROM public.jobs WHERE id = pg_temp.one();
SELECT is_empty('SELECT t.due(2)', 'nor when the row is deleted');
SELECT is((SELECT count(*)::int FROM meshify.orphans), 0, 'there is none');

-- A kill between upload and closing: as long as the job is unfinished, it may be used.
UPDATE meshify.workers SET expires_at = now() + interval '1 min', heartbeat_at = now() WHERE id = t.w(1);
SELECT is(t.named(1, pg_temp.two()), t.expected(pg_temp.two()), 'another file');
UPDATE meshify.workers SET expires_at = now() - interval '1 min', heartbeat_at = now() - interval '2 min' WHERE id = t.w(1);
SELECT is_empty('SELECT t.due(2)', 'its writer is dead, but its job is not');
SELECT is(t.state_of(pg_temp.two()), NULL, 'it is still the job''s');
UPDATE public.jobs SET status = 'error', worker_id = NULL, completed_at = now() WHERE id = pg_temp.two();
SELECT is_empty('SELECT t.due(1)', 'a worker whose lease has run out sweeps nothing');
SELECT is_empty('SELECT t.due(2)', 'the job has ended: not before its writer''s lease has been over for the grace');
SELECT results_eq('SELECT name, place, job_id, since < now() - interval ''50 s'', grace FROM meshify.orphans',
    $$VALUES (t.expected(pg_temp.two()), 'place', pg_temp.two(), true, interval '90 min')$$, 'it is counted from when the lease ended');
SELECT t.later('88 min');
SELECT is_empty('SELECT t.due(2)', 'nor a little before that');
SELECT t.later('2 min');
SELECT is_empty('SELECT t.due(2, ''elsewhere'')', 'nor by one with another store');
SELECT results_eq('SELECT t.due(2)', 'SELECT t.expected(pg_temp.two())', 'then it is removed');
SELECT is_empty('SELECT t.due(2)', 'by one worker at a time');
SELECT t.later('61 s');
SELECT results_eq('SELECT t.due(2)', 'SELECT t.expected(pg_temp.two())', 'where that failed, it is tried again in a minute');
SELECT t.later('61 s');
SELECT is_empty('SELECT t.due(2)', 'then later');
SELECT t.later('61 s');
SELECT isnt_empty('SELECT t.due(2)', 'and later');
SELECT meshify.orphan_removed(t.expected(pg_temp.two()));
SELECT t.later('1 year');
SELECT is_empty('SELECT t.due(2)', 'until it is gone');
SELECT is((SELECT array_agg(event ORDER BY id) FROM meshify.events WHERE job_id = pg_temp.two() AND event LIKE 'orphan%'), ARRAY['orphan', 'orphan_removed'], 'its history tells');

-- A worker that cancels deletes what it stored; no later upload has that name, which a late DELETE may hit.
CREATE TEMP TABLE k AS SELECT t.bought(2, 'three') AS id;
CREATE FUNCTION pg_temp.k() RETURNS uuid LANGUAGE sql AS 'SELECT id FROM k';
SELECT is(t.named(2, pg_temp.k()), t.expected(pg_temp.k()), 'a third');
SELECT is(meshify.unstoring(t.w(1), pg_temp.k(), t.expected(pg_temp.k())), 'lost', 'only its writer deletes it');
SELECT is(meshify.unstoring(t.w(2), pg_temp.k(), 'other'), 'lost', 'and only what it has written down');
UPDATE public.jobs SET worker_id = t.w(1) WHERE id = pg_temp.k();
SELECT is(meshify.unstoring(t.w(2), pg_temp.k(), t.expected(pg_temp.k())), 'lost', 'not when another has the job, which may store the same');
UPDATE public.jobs SET worker_id = t.w(2) WHERE id = pg_temp.k();
UPDATE public.mesh_assets SET output_path = t.expected(pg_temp.k()) WHERE id = (SELECT asset_id FROM public.jobs WHERE id = pg_temp.k());
SELECT is(meshify.unstoring(t.w(2), pg_temp.k(), t.expected(pg_temp.k())), 'keep', 'nor what a row names');
UPDATE public.mesh_assets SET output_path = NULL WHERE id = (SELECT asset_id FROM public.jobs WHERE id = pg_temp.k());
SELECT dblink_connect_u('holder', :'dsn');
SELECT dblink_exec('holder', 'BEGIN');
SELECT * FROM dblink('holder', format('SELECT status FROM public.jobs WHERE id = %L FOR UPDATE', pg_temp.k())) AS x (status text);
SELECT is(meshify.unstoring(t.w(2), pg_temp.k(), t.expected(pg_temp.k())), 'busy', 'a job that somebody holds is not waited for');
SELECT dblink_exec('holder', 'COMMIT'), dblink_disconnect('holder');
SELECT is(meshify.unstoring(t.w(2), pg_temp.k(), t.expected(pg_temp.k())), 'ok', 'else it may');
SELECT is(t.named(2, pg_temp.k()), t.expected(pg_temp.k(), '_2'), 'stored again, the same file has another name');
SELECT is(meshify.unstoring(t.w(2), pg_temp.k(), t.expected(pg_temp.k(), '_2')), 'ok', 'which is deleted, too');
SELECT is(t.named(2, pg_temp.k()), t.expected(pg_temp.k(), '_3'), 'and again');
SELECT t.later('2 hours');
SELECT set_eq('SELECT t.due(2)', 'SELECT t.expected(pg_temp.k(), s) FROM unnest(ARRAY['''', ''_2'']) s', 'both are swept, whose DELETE may have come too early');
SELECT is(meshify.done(t.w(2), pg_temp.k(), t.expected(pg_temp.k(), '_3'), 1, 'm', '{}', '{}'), 'ok', 'it is done with the third');
SELECT t.later('1 day');
SELECT set_eq('SELECT t.due(2)', 'SELECT t.expected(pg_temp.k(), s) FROM unnest(ARRAY['''', ''_2'']) s', 'which is not swept');

-- Its writer lives, and ended the job itself: it writes no more. One that lost it may.
CREATE TEMP TABLE l AS SELECT t.bought(2, 'four') AS own, t.bought(2, 'five') AS lost;
SELECT t.named(2, own), t.named(2, lost) FROM l;
UPDATE public.jobs SET status = 'error', completed_at = now() WHERE id IN (SELECT unnest(ARRAY[own, lost]) FROM l);
UPDATE public.jobs SET worker_id = t.w(1) WHERE id = (SELECT lost FROM l);
SELECT t.due(2);
SELECT results_eq('SELECT t.state_of(own), t.state_of(lost) FROM l', $$VALUES ('orphan', NULL::text)$$, 'what the living may still write is left');
UPDATE meshify.workers SET dead = true WHERE id = t.w(2);
UPDATE meshify.workers SET dead = false, expires_at = now() + interval '1 min', heartbeat_at = now() WHERE id = t.w(1);
SELECT t.due(1);
SELECT is((SELECT t.state_of(lost) FROM l), 'orphan', 'until it is dead');

-- Tried again between the two.
CREATE TEMP TABLE m AS SELECT t.bought(1, 'six') AS id;
SELECT t.named(1, id) FROM m;
UPDATE public.jobs SET status = 'error', completed_at = now() WHERE id = (TABLE m);
SELECT is(meshify.retry(id), 'ok', 'a retry') FROM m;
SELECT t.due(1);
SELECT is((SELECT t.state_of(id) FROM m), NULL, 'a job that is tried again keeps its file');

-- Ended by hand before its closing, its file removed, and tried again: nobody closes it with what is not there.
CREATE TEMP TABLE gone AS SELECT t.bought(1, 'removed') AS id;
SELECT t.named(1, id) FROM gone;
SELECT meshify.stored(t.w(1), p.job_id, p.step, p.purchase, p.object_name, 5, 'm', '{}', '{"sha256": "x"}') FROM meshify.predictions p, gone WHERE p.job_id = gone.id;
UPDATE public.jobs SET status = 'error', completed_at = now() WHERE id = (TABLE gone);
SELECT is((SELECT meshify.unstoring(t.w(1), p.job_id, p.object_name) FROM meshify.predictions p WHERE p.job_id = (TABLE gone)), 'ok', 'a file that is to be removed');
SELECT meshify.orphan_removed(p.object_name) FROM meshify.predictions p WHERE p.job_id = (TABLE gone);
SELECT is(meshify.retry(id), 'ok', 'a retry') FROM gone;
SELECT t.claim(1);
SELECT is(meshify.hand_back(t.w(1), id, '0', false, '0', 'drain'), 'ok', 'handed back before it is stored again') FROM gone;
SELECT is_empty('SELECT * FROM meshify.finish(t.w(1), 9)', 'no closing is left of before');
SELECT is(status, 'pending', 'it is worked on') FROM public.jobs WHERE id = (TABLE gone);

-- What was bought and still runs for an ended job is being cancelled: a retry does not wait for it.
CREATE TEMP TABLE r AS SELECT t.claimed(1, 'seven') AS id;
SELECT t.intend(1, (TABLE r));
UPDATE meshify.predictions SET state = 'bought', prediction_id = 'running', status = 'starting' WHERE job_id = (TABLE r);
UPDATE public.jobs SET status = 'error', completed_at = now() - interval '2 min' WHERE id = (TABLE r);
SELECT results_eq('SELECT prediction_id FROM meshify.audit_running(t.w(1), 9)', $$VALUES ('running')$$, 'an audit cancels it');
SELECT is(meshify.retry(id), 'ok', 'its job is tried again') FROM r;
SELECT is((SELECT state FROM meshify.predictions WHERE prediction_id = 'running'), 'surplus', 'and buys anew');

-- A user names the file before it is there, and cancels: who has the credits does not keep the mesh, too.
CREATE TEMP TABLE early AS SELECT t.bought(1, 'early') AS paid, t.bought(1, 'free') AS free;
UPDATE public.mesh_assets a SET credits_cost = 0 FROM early e JOIN public.jobs j ON j.id = e.free WHERE a.id = j.asset_id;
UPDATE meshify.charges c SET credits = 0 FROM early e JOIN public.jobs j ON j.id = e.free WHERE c.asset_id = j.asset_id;
SELECT t.named(1, paid), t.named(1, free) FROM early;
UPDATE public.mesh_assets a SET output_path = p.object_name FROM meshify.predictions p, public.jobs j, early e
WHERE j.id IN (e.paid, e.free) AND p.job_id = j.id AND a.id = j.asset_id;
SELECT is(meshify.fail(t.w(1), paid, 'It broke down.', 'word') || meshify.fail(t.w(1), free, 'It broke down.', 'word'), 'okok', 'both end without a mesh') FROM early;
SELECT t.due(1);
SELECT results_eq('SELECT t.state_of(paid), t.state_of(free) FROM early', $$VALUES ('orphan', 'used')$$, 'what was given back goes, whoever named it; else what a row names stays');

SELECT ok(NOT has_table_privilege('meshify_worker', 'meshify.orphans', 'SELECT'), 'nobody reads the names');
SELECT * FROM finish();
