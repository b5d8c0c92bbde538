-- Closings, refunds, hand-backs.
SELECT no_plan();
SELECT t.worker(1), t.worker(2);
CREATE FUNCTION pg_temp.credits() RETURNS numeric LANGUAGE sql AS $$ SELECT credits_remaining FROM public.profiles WHERE id = '00000000-0000-0000-0000-00000000000a' $$;

CREATE TEMP TABLE d AS SELECT t.claimed(1, repeat('ä', 150)) AS id;
SELECT is(t.done(2, (SELECT id FROM d)), 'lost', 'only the holder closes');
SELECT is(t.done(1, t.w(99)), 'gone', 'a job that is not there');
SELECT is(t.done(1, (SELECT id FROM d)), 'ok', 'done');
SELECT is(t.done(1, (SELECT id FROM d)), 'closed', 'once');
SELECT results_eq('SELECT status, output_data, progress, completed_at IS NOT NULL, worker_id, error FROM public.jobs',
    $$VALUES ('done', '{"storage_path":"u/p/mesh.glb"}'::jsonb, 1::real, true, t.w(1), NULL::text)$$, 'the job');
SELECT results_eq('SELECT status, output_path, size, mime, result_meta FROM public.mesh_assets',
    $$VALUES ('done', 'u/p/mesh.glb', 3000000000, 'model/gltf-binary', '{"sha256":"x"}'::jsonb)$$, 'the asset');
SELECT results_eq('SELECT type, title, message FROM public.notifications',
    $$VALUES ('success', 'Mesh Generation Complete', 'Your 3D mesh "' || repeat('ä', 100) || '" has been generated successfully and is ready for download.')$$, 'the notification');
SELECT is((SELECT count(*)::int FROM meshify.refunds), 0, 'no refund');

-- Failing, with the credits back, once.
CREATE TEMP TABLE f AS SELECT t.claimed(1, 'fails') AS id;
SELECT is(meshify.fail(t.w(2), (SELECT id FROM f), 'It broke down.', 'word'), 'lost', 'only the holder fails a job');
SELECT is(meshify.fail(t.w(1), (SELECT id FROM f), 'It broke down.', 'word'), 'ok', 'failed');
SELECT is(meshify.fail(t.w(1), (SELECT id FROM f), 'It broke down.', 'word'), 'closed', 'once');
SELECT results_eq('SELECT status, error FROM public.jobs WHERE id = (SELECT id FROM f)', $$VALUES ('error', 'It broke down.')$$, 'the job says why');
SELECT is((SELECT status FROM public.mesh_assets WHERE prompt = 'fails'), 'error', 'the asset follows');
SELECT results_eq('SELECT title, message FROM public.notifications WHERE type = ''error''', $$VALUES ('Mesh Generation Failed', 'Failed to generate 3D mesh: It broke down.')$$, 'the user is told');
SELECT is(pg_temp.credits(), 1025::numeric, 'the credits are back');
SELECT results_eq('SELECT n, credits FROM meshify.refunds', 'VALUES (1, 25::numeric)', 'the ledger knows');

-- Bounds of a refund.
UPDATE meshify.settings SET value = '101' WHERE key = 'price';
SELECT meshify.fail(t.w(1), t.claimed(1, 'dear', 101), 'It broke down.', 'word');
UPDATE meshify.settings SET value = '25' WHERE key = 'price';
SELECT is(pg_temp.credits(), 1025::numeric, 'above refund_max nothing is given');
SELECT is((SELECT count(*)::int FROM meshify.events WHERE event = 'refund_refused'), 1, 'and it is written down');
CREATE TEMP TABLE s AS SELECT t.claimed(1, 'stolen') AS id;
UPDATE public.mesh_assets SET owner_id = '00000000-0000-0000-0000-00000000000b' WHERE prompt = 'stolen';
SELECT meshify.fail(t.w(1), (SELECT id FROM s), 'It broke down.', 'word');
SELECT is((SELECT sum(credits_remaining) FROM public.profiles), 1035::numeric, 'nobody is paid for an asset that is not theirs');
-- An asset is paid for once; and what a retry took goes back, whatever the row says by then.
UPDATE public.profiles SET credits_remaining = 1025, credits_used = 0;
CREATE TEMP TABLE once AS SELECT t.claimed(1, 'two jobs of one asset') AS id;
INSERT INTO public.jobs (type, status, user_id, project_id, asset_id, input_data) SELECT type, 'pending', user_id, project_id, asset_id, input_data
FROM public.jobs WHERE id = (TABLE once);
SELECT t.claim(1);
SELECT meshify.fail(t.w(1), j.id, 'It broke down.', 'word') FROM public.jobs j
WHERE j.asset_id = (SELECT o.asset_id FROM public.jobs o WHERE o.id = (TABLE once));
SELECT is(pg_temp.credits(), 1050::numeric, 'two jobs of one asset give its price back once');
SELECT meshify.retry((SELECT r.job_id FROM meshify.refunds r ORDER BY r.at DESC LIMIT 1));
SELECT is(pg_temp.credits(), 1025::numeric, 'a retry takes it again');
UPDATE public.mesh_assets SET credits_cost = 60 WHERE id = (SELECT o.asset_id FROM public.jobs o WHERE o.id = (TABLE once));
SELECT t.claim(1);
SELECT meshify.fail(t.w(1), j.id, 'It broke down.', 'word') FROM public.jobs j WHERE j.status = 'running';
SELECT is(pg_temp.credits(), 1050::numeric, 'and what it took goes back, not what the row says by then');
SELECT meshify.retry(j.id) FROM public.jobs j WHERE j.asset_id = (SELECT o.asset_id FROM public.jobs o WHERE o.id = (TABLE once))
AND j.id <> (SELECT r.job_id FROM meshify.refunds r ORDER BY r.at DESC LIMIT 1);
SELECT is(pg_temp.credits(), 1025::numeric, 'whichever is tried again, it is taken again');
SELECT t.claim(1);
SELECT is(t.done(1, j.id), 'ok', 'one of them makes the asset') FROM public.jobs j WHERE j.status = 'running';
SELECT is(meshify.retry(j.id), 'done', 'the other is not tried again') FROM public.jobs j
WHERE j.asset_id = (SELECT o.asset_id FROM public.jobs o WHERE o.id = (TABLE once)) AND j.status = 'error';
SELECT is((SELECT a.status::text FROM public.mesh_assets a WHERE a.id = (SELECT o.asset_id FROM public.jobs o WHERE o.id = (TABLE once))), 'done', 'and the asset stays');
UPDATE public.jobs j SET status = 'pending' WHERE j.asset_id = (SELECT o.asset_id FROM public.jobs o WHERE o.id = (TABLE once)) AND j.status = 'error';
SELECT t.claim(1);
UPDATE public.jobs SET cancel_requested_at = now() WHERE status = 'running';
SELECT is(t.done(1, j.id), 'keep', 'an object that a row names is kept') FROM public.jobs j WHERE j.status = 'running';
SELECT meshify.canceled(t.w(1), j.id) FROM public.jobs j WHERE j.status = 'running';
SELECT is(pg_temp.credits(), 1025::numeric, 'what was made is not given back for another');
INSERT INTO public.jobs (type, status, user_id, project_id, asset_id, input_data) SELECT type, 'pending', user_id, project_id, asset_id, input_data
FROM public.jobs WHERE id = (TABLE once);
SELECT t.claim(1);
SELECT meshify.fail(t.w(1), j.id, 'It broke down.', 'word') FROM public.jobs j WHERE j.status = 'running';
SELECT is(pg_temp.credits(), 1025::numeric, 'nor is it for one that fails afterwards');
SELECT is((SELECT count(*)::int FROM meshify.events WHERE event = 'refund_refused' AND detail ->> 'reason' LIKE 'another job made%'), 1, 'which is written down, too');
UPDATE public.profiles SET credits_remaining = 1025, credits_used = 0;
-- One that made its mesh itself, and is set back by hand.
CREATE TEMP TABLE own AS SELECT t.claimed(1, 'made by itself') AS id;
SELECT is(t.done(1, (TABLE own)), 'ok', 'a job makes its mesh');
CREATE TEMP TABLE told AS SELECT count(*) AS n FROM public.notifications;
UPDATE public.jobs SET status = 'pending' WHERE id = (TABLE own);
SELECT is((SELECT count(*)::int FROM t.claim(1)), 0, 'set back, it is not worked on');
SELECT results_eq('SELECT status, error FROM public.jobs WHERE id = (TABLE own)', $$VALUES ('error', 'This mesh was made before.')$$, 'it ends, and says why');
SELECT is((SELECT count(*) FROM public.notifications), (TABLE told), 'its user, who has the mesh, is not told of a failure');
SELECT results_eq('SELECT detail ->> ''reason'' FROM meshify.events WHERE event = ''refund_refused'' AND job_id = (TABLE own)', $$VALUES ('this job made the asset')$$, 'nothing goes back, since it made it');
UPDATE public.profiles SET credits_remaining = 1025, credits_used = 0;

UPDATE meshify.settings SET value = 'off' WHERE key = 'refund';
SELECT meshify.fail(t.w(1), t.claimed(1, 'no refund'), 'It broke down.', 'word');
SELECT is(pg_temp.credits(), 1025::numeric, 'refund off');
UPDATE meshify.settings SET value = 'on' WHERE key = 'refund';
CREATE TEMP TABLE u AS SELECT t.claimed(1, 'user gone') AS id;
CREATE TEMP TABLE kept AS SELECT * FROM public.profiles;
DELETE FROM public.profiles;
SELECT is(meshify.fail(t.w(1), (SELECT id FROM u), 'It broke down.', 'word'), 'ok', 'the profile was deleted');
SELECT is((SELECT credits FROM meshify.refunds WHERE job_id = (SELECT id FROM u)), 0::numeric, 'recorded with 0 credits');
INSERT INTO public.profiles SELECT * FROM kept;

-- Hand-back.
CREATE TEMP TABLE h AS SELECT t.claimed(1, 'back') AS id;
SELECT is(meshify.hand_back(t.w(2), (SELECT id FROM h), '0', false, '1 s', 'x'), 'lost', 'only the holder hands back');
SELECT is(meshify.hand_back(t.w(1), (SELECT id FROM h), '10 s', true, '3 s', 'x'), 'ok', 'handed back, counted');
SELECT results_eq('SELECT status, worker_id, attempts, worked, run_after > now() + interval ''9 s'' FROM public.jobs WHERE id = (SELECT id FROM h)',
    $$VALUES ('pending', NULL::uuid, 1, interval '3 s', true)$$, 'later, with its attempt');
UPDATE public.jobs SET run_after = now() WHERE id = (SELECT id FROM h);
SELECT t.claim(1);
SELECT is(meshify.hand_back(t.w(1), (SELECT id FROM h), '0', false, '4 s', 'x'), 'ok', 'handed back, uncounted');
SELECT results_eq('SELECT attempts, worked FROM public.jobs WHERE id = (SELECT id FROM h)', $$VALUES (1, interval '7 s')$$, 'the attempt is given back');
SELECT is((SELECT status FROM public.mesh_assets WHERE prompt = 'back'), 'pending', 'the asset follows');
SELECT is(meshify.hand_back(t.w(1), (SELECT id FROM h), '0', false, '4 s', 'x'), 'lost', 'once');
SELECT t.claim(1);
UPDATE public.jobs SET cancel_requested_at = now() WHERE id = (SELECT id FROM h);
SELECT is(t.done(1, (SELECT id FROM h)), 'cancel', 'a cancel that came first is told');
SELECT is((SELECT status FROM public.jobs WHERE id = (SELECT id FROM h)), 'running', 'and nothing was written');
SELECT is(meshify.hand_back(t.w(1), (SELECT id FROM h), '9 s', false, '0', 'x'), 'closed', 'a cancelled job without a purchase ends at once');
SELECT is((SELECT status FROM public.jobs WHERE id = (SELECT id FROM h)), 'canceled', 'as canceled');
CREATE TEMP TABLE b AS SELECT t.claimed(1, 'bought') AS id;
SELECT t.intend(1, (SELECT id FROM b));
UPDATE public.jobs SET cancel_requested_at = now() WHERE id = (SELECT id FROM b);
SELECT is(meshify.hand_back(t.w(1), (SELECT id FROM b), '9 s', false, '0', 'x'), 'ok', 'one with a purchase goes to a worker that cancels it');
SELECT is((SELECT run_after <= now() FROM public.jobs WHERE id = (SELECT id FROM b)), true, 'at once');
SELECT t.claim(1);
SELECT is(meshify.fail(t.w(1), (SELECT id FROM b), 'Nobody knows.', 'purchase_unknown'), 'ok', 'one that fails after all');
SELECT results_eq('SELECT status FROM public.jobs WHERE id = (SELECT id FROM b)', $$VALUES ('canceled')$$, 'is what was asked for');
SELECT is((SELECT detail ->> 'reason' FROM meshify.events WHERE job_id = (SELECT id FROM b) AND event = 'canceled'), 'purchase_unknown', 'its history says why');

-- An asset that is gone.
CREATE TEMP TABLE g AS SELECT t.claimed(1, 'gone') AS id;
ALTER TABLE public.mesh_assets DISABLE TRIGGER meshify_asset_deleted;
DELETE FROM public.mesh_assets WHERE prompt = 'gone';
ALTER TABLE public.mesh_assets ENABLE TRIGGER meshify_asset_deleted;
SELECT is(t.done(1, (SELECT id FROM g)), 'refused', 'done without an asset is refused');
SELECT is(meshify.fail(t.w(1), (SELECT id FROM g), 'It broke down.', 'word'), 'ok', 'but it can fail');

-- The asset is deleted while the closing is on its way: the object is to be removed again, and nothing is told twice.
CREATE TEMP TABLE e AS SELECT t.claimed(1, 'deleted') AS id;
DELETE FROM public.mesh_assets a USING public.jobs j WHERE j.id = (SELECT id FROM e) AND a.id = j.asset_id;
SELECT is(t.done(1, (SELECT id FROM e)), 'cancel', 'a job that was ended under its worker is not done');
SELECT is(meshify.canceled(t.w(1), (SELECT id FROM e)), 'closed', 'it is closed already');
SELECT is((SELECT status::text FROM public.jobs WHERE id = (SELECT id FROM e)), 'canceled', 'and stays canceled');

-- Who deletes assets one after the other holds the profile, and comes for this one: he is not waited for.
CREATE TEMP TABLE waited AS SELECT t.claimed(1, 'held') AS id;
SELECT dblink_connect_u('holder', :'dsn');
SELECT dblink_exec('holder', 'BEGIN');
SELECT * FROM dblink('holder', 'SELECT credits_used FROM public.profiles WHERE id = ''00000000-0000-0000-0000-00000000000a'' FOR UPDATE') AS x (used numeric);
SET statement_timeout = '1s';
SELECT throws_ok($$SELECT meshify.fail(t.w(1), (SELECT id FROM waited), 'It broke down.', 'word')$$, '55P03', NULL, 'a profile that is held is not waited for');
UPDATE public.jobs SET cancel_requested_at = now() WHERE id = (SELECT id FROM waited);
SELECT throws_ok($$SELECT meshify.hand_back(t.w(1), (SELECT id FROM waited), '0', false, '0', 'x')$$, '55P03', NULL, 'nor by who hands back what is to be canceled');
UPDATE public.jobs SET cancel_requested_at = NULL WHERE id = (SELECT id FROM waited);
SELECT dblink_exec('holder', 'ROLLBACK');
SELECT dblink_exec('holder', 'BEGIN');
SELECT * FROM dblink('holder', 'SELECT prompt FROM public.mesh_assets WHERE prompt = ''held'' FOR UPDATE') AS x (prompt text);
SELECT throws_ok($$SELECT meshify.fail(t.w(1), (SELECT id FROM waited), 'It broke down.', 'word')$$, '55P03', NULL, 'nor for long an asset');
SELECT dblink_exec('holder', 'ROLLBACK');
SELECT dblink_exec('holder', 'BEGIN');
SELECT * FROM dblink('holder', 'SELECT j.status FROM public.jobs j JOIN public.mesh_assets a ON a.id = j.asset_id WHERE a.prompt = ''held'' FOR UPDATE OF j') AS x (status text);
SELECT throws_ok($$SELECT t.intend(1, (SELECT id FROM waited))$$, '55P03', NULL, 'nor a job, by who buys for it');
SELECT dblink_exec('holder', 'ROLLBACK');
SELECT t.intend(1, (SELECT id FROM waited));
SELECT dblink_exec('holder', 'BEGIN');
SELECT * FROM dblink('holder', 'SELECT j.status FROM public.jobs j JOIN public.mesh_assets a ON a.id = j.asset_id WHERE a.prompt = ''held'' FOR UPDATE OF j') AS x (status text);
SELECT throws_ok($$SELECT meshify.record_purchase(t.w(1), t.of((SELECT id FROM waited)), 'held', 'starting', false)$$, '55P03', NULL, 'nor by who has bought');
SELECT dblink_exec('holder', 'ROLLBACK');
SELECT dblink_exec('holder', 'BEGIN');
SELECT * FROM dblink('holder', 'SELECT credits_used FROM public.profiles WHERE id = ''00000000-0000-0000-0000-00000000000a'' FOR KEY SHARE') AS x (used numeric);
SELECT is(meshify.fail(t.w(1), (SELECT id FROM waited), 'It broke down.', 'word'), 'ok', 'but asked for again');
SELECT dblink_exec('holder', 'ROLLBACK');

-- In a batch of ours it is an answer, and the batch stays whole.
SELECT set_config('meshify.sent_as', 'batch', false);
CREATE TEMP TABLE busy AS SELECT t.claimed(1, 'locked') AS id;
CREATE FUNCTION pg_temp.hold(what text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM dblink_exec('holder', 'ROLLBACK; BEGIN');
    PERFORM FROM dblink('holder', what) AS x (a text);
END $$;
CREATE FUNCTION pg_temp.all_of(j uuid) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' ', t.done(1, j), meshify.fail(t.w(1), j, 'It broke down.', 'word'), meshify.hand_back(t.w(1), j, '0', false, '0', 'x')) $$;
SELECT dblink_exec('holder', 'BEGIN');
SELECT pg_temp.hold($$SELECT prompt FROM public.mesh_assets WHERE prompt = 'locked' FOR UPDATE$$);
SELECT is(pg_temp.all_of(id), 'busy busy busy', 'an asset that somebody holds') FROM busy;
SELECT pg_temp.hold($$SELECT status FROM public.jobs WHERE input_data ->> 'prompt' = 'locked' FOR UPDATE$$);
SELECT is(pg_temp.all_of(id), 'busy busy busy', 'a job') FROM busy;
SELECT is(t.intend(1, id), 'busy', 'nothing is bought meanwhile') FROM busy;
SELECT pg_temp.hold('SELECT 1');
SELECT is(t.intend(1, id), 'ok', 'then it is') FROM busy;
SELECT pg_temp.hold($$SELECT status FROM public.jobs WHERE input_data ->> 'prompt' = 'locked' FOR UPDATE$$);
SELECT is(meshify.record_purchase(t.w(1), t.of(id), 'busy', 'starting', true), 'busy', 'nor is what was bought written down') FROM busy;
SELECT lives_ok(format('SELECT meshify.reset_crashes(t.w(1), %L), meshify.settle_purchase(t.of(%L), NULL, ''refused'', NULL, NULL, NULL, false)', id, id), 'what is nobody''s decision does not wait') FROM busy;
SELECT pg_temp.hold($$SELECT id FROM public.profiles FOR UPDATE$$);
SELECT is(meshify.fail(t.w(1), id, 'It broke down.', 'word'), 'busy', 'a profile') FROM busy;
SELECT set_config('meshify.sent_as', 'wait', false);
SET statement_timeout = '4s';
CREATE TEMP TABLE waiting AS SELECT clock_timestamp() AS since;
SELECT throws_ok($$SELECT meshify.fail(t.w(1), (SELECT id FROM busy), 'It broke down.', 'word')$$, '55P03', NULL, 'who waits, waits for a moment');
SELECT cmp_ok((SELECT clock_timestamp() - since FROM waiting), '>', interval '1500 ms', 'which is longer than others hold a row for');
SET statement_timeout = '1s';
SELECT set_config('meshify.sent_as', 'batch', false);
SELECT pg_temp.hold('SELECT 1');
SELECT is(meshify.fail(t.w(1), t.w(98), 'It broke down.', 'word'), 'gone', 'what is gone is not busy');
SELECT is(meshify.fail(t.w(1), id, 'It broke down.', 'word'), 'ok', 'and what is free is closed') FROM busy;
SELECT set_config('meshify.sent_as', '', false);
SELECT dblink_exec('holder', 'ROLLBACK');
SELECT dblink_disconnect('holder');
SELECT * FROM finish();
