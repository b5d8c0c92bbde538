-- Charges, and what of them goes back: to whom, when, how often; with users who may write their own rows.
SELECT no_plan();
SELECT t.worker(1);
\set a '''00000000-0000-0000-0000-00000000000a'''
\set b '''00000000-0000-0000-0000-00000000000b'''
\set project '''00000000-0000-0000-0000-0000000000aa'''
GRANT meshify_worker TO postgres;
CREATE FUNCTION pg_temp.credits() RETURNS numeric LANGUAGE sql AS $$ SELECT credits_remaining FROM public.profiles WHERE id = '00000000-0000-0000-0000-00000000000a' $$;
CREATE FUNCTION pg_temp.asset(p_job uuid) RETURNS uuid LANGUAGE sql AS $$ SELECT asset_id FROM public.jobs WHERE id = p_job $$;
-- Another job of a job's asset.
CREATE FUNCTION pg_temp.second(p_job uuid, p_user uuid DEFAULT '00000000-0000-0000-0000-00000000000a') RETURNS uuid LANGUAGE sql AS $$
    INSERT INTO public.jobs (type, user_id, project_id, asset_id, input_data)
    SELECT type, p_user, project_id, asset_id, input_data FROM public.jobs WHERE id = p_job RETURNING id $$;
-- Policies as most projects have them, and more than they should.
CREATE POLICY mine ON public.mesh_assets TO authenticated USING (owner_id = auth.uid()) WITH CHECK (true);
CREATE POLICY mine ON public.jobs TO authenticated USING (user_id = auth.uid()) WITH CHECK (true);
SELECT set_config('request.jwt.claims', '{"sub": "00000000-0000-0000-0000-00000000000a"}', false);
-- Any statement, as PostgREST runs it for user a.
CREATE FUNCTION pg_temp.as_user(p_sql text, p_role text DEFAULT 'authenticated') RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('role', p_role, true);
    EXECUTE p_sql;
    PERFORM set_config('role', 'none', true);
END $$;

-- What is charged.
CREATE TEMP TABLE costs (cost numeric, charged numeric);
INSERT INTO costs VALUES (25, 25), (10, 10), (0, 0), (1000000, 25), ('NaN', 0), (-5, 0), (1e200, 25), (0.5, 0.5);
CREATE TEMP TABLE costly AS SELECT c.*, t.job('x', c.cost) AS id FROM costs c;
SELECT is((SELECT string_agg(c.cost || ': ' || k.credits, ', ') FROM costly c JOIN meshify.charges k ON k.asset_id = pg_temp.asset(c.id) WHERE k.credits <> c.charged), NULL,
    'the least of cost and price, and nothing for what is no cost');
SELECT is((SELECT count(*)::int FROM meshify.charges), (SELECT count(*)::int FROM costs), 'one for each asset');
UPDATE meshify.settings SET value = '40' WHERE key = 'price';
SELECT t.job('dear', 40);
SELECT is((SELECT max(k.credits) FROM meshify.charges k), 40::numeric, 'by the price of the day');
UPDATE meshify.settings SET value = '25' WHERE key = 'price';
TRUNCATE public.jobs, public.mesh_assets, meshify.charges;
CREATE FUNCTION public.theirs(p uuid, u uuid) RETURNS uuid LANGUAGE sql SECURITY DEFINER AS
$$ INSERT INTO public.mesh_assets (project_id, owner_id, credits_cost) VALUES (p, u, 25) RETURNING id $$;
SELECT pg_temp.as_user(format('INSERT INTO public.mesh_assets (project_id, owner_id, credits_cost) VALUES (%L, %L, 25)', :project, :a));
SELECT pg_temp.as_user(format('SELECT public.theirs(%L, %L)', :project, :a));
SELECT pg_temp.as_user(format('SELECT public.theirs(%L, %L)', :project, :a), 'anon');
SELECT pg_temp.as_user(format('SELECT public.theirs(%L, %L)', :project, :a), 'service_role');
SELECT results_eq('SELECT inserted_by, credits FROM meshify.charges ORDER BY 1, 2',
    $$VALUES ('anon', 0::numeric), ('authenticated', 0), ('authenticated', 0), ('service_role', 25)$$, 'a row that a user inserts was paid by nobody, whoever''s function does it');
TRUNCATE public.jobs, public.mesh_assets, meshify.charges;
ALTER TABLE public.mesh_assets RENAME credits_cost TO cost;
SELECT lives_ok(format('INSERT INTO public.mesh_assets (project_id, owner_id) VALUES (%L, %L)', :project, :a), 'a row of a project that has another name for the cost');
SELECT is((SELECT credits FROM meshify.charges), 0::numeric, 'is taken, and was paid by nobody as far as we know');
ALTER TABLE public.mesh_assets RENAME cost TO credits_cost;
TRUNCATE public.jobs, public.mesh_assets, meshify.charges;

-- A user who raises the cost, again and again.
CREATE TEMP TABLE m AS SELECT t.claimed(1, 'raised') AS id;
DO $$ BEGIN FOR i IN 1 .. 3 LOOP
    PERFORM pg_temp.as_user('UPDATE public.mesh_assets SET credits_cost = 100');
    PERFORM meshify.cancel(id), meshify.canceled(t.w(1), id) FROM m;
    PERFORM pg_temp.as_user('UPDATE public.jobs SET status = ''pending'', cancel_requested_at = NULL');
END LOOP; END $$;
SELECT is(pg_temp.credits(), 1025::numeric, 'who writes the cost gets what was charged, once');
SELECT results_eq('SELECT asset_id, user_id, credits FROM meshify.refunds', $$SELECT pg_temp.asset(id), '00000000-0000-0000-0000-00000000000a'::uuid, 25::numeric FROM m$$, 'the ledger knows for which asset');

-- A job whose credits went back is not worked on, whatever its status says.
SELECT is((SELECT status FROM public.jobs WHERE id = (TABLE m)), 'pending', 'a user set it back');
SELECT is((SELECT count(*)::int FROM t.claim(1)), 0, 'no worker is given it');
SELECT results_eq('SELECT status, error FROM public.jobs WHERE id = (TABLE m)', $$VALUES ('error', 'The credits for this mesh were given back, so it was not made.')$$, 'it ends, and says why');
SELECT is((SELECT status FROM public.mesh_assets), 'error', 'with its asset');
SELECT pg_temp.as_user(format('UPDATE public.jobs SET status = ''running'', worker_id = %L', t.w(1)));
SELECT is(t.intend(1, (TABLE m)), 'gone', 'nothing is bought for one that was made to run');
SELECT is(t.done(1, (TABLE m)), 'gone', 'nor is one done');
SELECT is(meshify.hand_back(t.w(1), (TABLE m), '0', false, '0', 'x'), 'gone', 'nor handed back');
SELECT is((SELECT count(job_id)::int FROM meshify.compare(t.w(1), '{}')), 0, 'and no comparison brings it');
SELECT is((SELECT status FROM public.jobs WHERE id = (TABLE m)), 'error', 'which ends it, too');
CREATE TEMP TABLE m2 AS SELECT pg_temp.second((TABLE m)) AS id;
SELECT is((SELECT count(*)::int FROM t.claim(1)), 0, 'another job of its asset is not worked on either');
SELECT is(pg_temp.credits(), 1025::numeric, 'for nothing more');
UPDATE public.jobs SET status = 'pending' WHERE id = (TABLE m);
SELECT is(meshify.retry((TABLE m)), 'ok', 'a retry, whatever its status');
SELECT is(pg_temp.credits(), 1000::numeric, 'takes the credits again');
SELECT set_eq('SELECT t.claim(1)', 'TABLE m', 'and it is worked on');
SELECT is(t.done(1, (TABLE m)), 'ok', 'and done');
SELECT isnt((SELECT made_at FROM meshify.charges), NULL, 'what was charged is spent');

-- What is spent never goes back: not for a new row of the old id, nor for another job.
SELECT pg_temp.as_user('DELETE FROM public.mesh_assets');
SELECT pg_temp.as_user(format('INSERT INTO public.mesh_assets (id, project_id, owner_id, credits_cost) SELECT asset_id, %L, %L, 25 FROM public.jobs WHERE id = %L', :project, :a, (TABLE m)));
UPDATE public.jobs SET status = 'error' WHERE id = (TABLE m2);
SELECT pg_temp.as_user(format('UPDATE public.jobs SET status = ''pending'' WHERE id = %L', (TABLE m2)));
SELECT is(meshify.cancel((TABLE m2)), 'canceled', 'a job for a row of an old id');
SELECT is(pg_temp.credits(), 1000::numeric, 'gives nothing back');
SELECT results_eq('SELECT count(*)::int, sum(credits) FROM meshify.charges', 'VALUES (1, 25::numeric)', 'an id is charged once');
TRUNCATE public.jobs, public.mesh_assets, meshify.charges, meshify.refunds;

-- The same with one that failed: it was paid once, it goes back once.
CREATE TEMP TABLE r AS SELECT t.job('reborn') AS id;
CREATE TEMP TABLE ra AS SELECT * FROM public.mesh_assets;
SELECT pg_temp.as_user('DELETE FROM public.mesh_assets');
SELECT is(pg_temp.credits(), 1025::numeric, 'a deleted asset');
DO $$ BEGIN FOR i IN 1 .. 2 LOOP
    INSERT INTO public.mesh_assets SELECT * FROM ra;
    UPDATE public.jobs SET status = 'pending';
    DELETE FROM public.mesh_assets;
    INSERT INTO public.mesh_assets SELECT * FROM ra;
    UPDATE public.jobs SET status = 'pending';
    DELETE FROM public.jobs;
    INSERT INTO public.jobs (id, type, user_id, project_id, asset_id, input_data) SELECT (TABLE r), 'meshify', owner_id, project_id, id, '{"prompt": "x"}' FROM ra;
    PERFORM meshify.cancel((TABLE r));
    DELETE FROM public.mesh_assets;
END LOOP; END $$;
SELECT is(pg_temp.credits(), 1025::numeric, 'deleted and inserted, asset and job, gives nothing more');
TRUNCATE public.jobs, public.mesh_assets, meshify.charges, meshify.refunds;
UPDATE public.profiles SET credits_remaining = 1000, credits_used = 0 WHERE id = :a;

-- An asset that changes hands.
CREATE TEMP TABLE o AS SELECT t.claimed(1, 'given away') AS id;
UPDATE public.mesh_assets SET owner_id = :b;
UPDATE public.jobs SET user_id = :b;
SELECT is(meshify.fail(t.w(1), (TABLE o), 'It broke down.', 'word'), 'ok', 'a job that is another''s by now');
SELECT results_eq('SELECT credits_remaining FROM public.profiles ORDER BY id', 'VALUES (1000::numeric), (10)', 'gives nothing to who did not pay');

-- Two jobs of one asset.
CREATE TEMP TABLE one AS SELECT t.claimed(1, 'two') AS id;
CREATE TEMP TABLE two AS SELECT pg_temp.second((TABLE one)) AS id;
SELECT is(meshify.cancel((TABLE two)), 'canceled', 'one of two is canceled');
SELECT is(pg_temp.credits(), 1000::numeric, 'while the other runs, nothing goes back');
SELECT is((SELECT status FROM public.mesh_assets WHERE prompt = 'two'), 'running', 'and the asset is still being made');
SELECT is(meshify.fail(t.w(1), (TABLE one), 'It broke down.', 'word'), 'ok', 'the last one fails');
SELECT is(pg_temp.credits(), 1025::numeric, 'then it goes back');
SELECT is((SELECT status FROM public.mesh_assets WHERE prompt = 'two'), 'error', 'and the asset follows');
SELECT is(meshify.retry((TABLE two)), 'ok', 'either is tried again');
SELECT is(meshify.retry((TABLE one)), 'ok', 'and the other');
SELECT is(pg_temp.credits(), 1000::numeric, 'for one price');
SELECT t.claim(1);
SELECT is(t.done(1, (TABLE one)), 'ok', 'one makes the mesh');
SELECT is(meshify.fail(t.w(1), (TABLE two), 'It broke down.', 'word'), 'ok', 'the other fails after it');
SELECT is(pg_temp.credits(), 1000::numeric, 'what was made is not given back');
SELECT is((SELECT status FROM public.mesh_assets WHERE prompt = 'two'), 'done', 'and stays');
CREATE TEMP TABLE three AS SELECT t.claimed(1, 'kept back') AS id;
SELECT pg_temp.second((TABLE three), :b);
SELECT is(meshify.fail(t.w(1), (TABLE three), 'It broke down.', 'word'), 'ok', 'a job beside one that another user inserted');
SELECT is(pg_temp.credits(), 1025::numeric, 'which keeps nobody''s credits');
CREATE TEMP TABLE both_deleted AS SELECT t.claimed(1, 'both deleted') AS id;
SELECT pg_temp.second((TABLE both_deleted));
DELETE FROM public.mesh_assets WHERE prompt = 'both deleted';
SELECT is(pg_temp.credits(), 1050::numeric, 'an asset with two jobs is deleted: once');
SELECT is((SELECT count(*)::int FROM public.jobs WHERE status = 'canceled' AND asset_id = pg_temp.asset((TABLE both_deleted))), 2, 'both end');

-- A job that ran for one asset and names another by the time it is done.
UPDATE public.profiles SET credits_remaining = 1000 WHERE id = :a;
CREATE TEMP TABLE moved AS SELECT t.claimed(1, 'moved') AS id;
SELECT t.intend(1, (TABLE moved));
CREATE TEMP TABLE was AS SELECT pg_temp.asset((TABLE moved)) AS id;
INSERT INTO public.mesh_assets (id, project_id, owner_id) VALUES (t.w(77), :project, :a);
SELECT pg_temp.as_user(format('UPDATE public.jobs SET asset_id = %L WHERE id = %L', t.w(77), (TABLE moved)));
SELECT is(t.done(1, (TABLE moved)), 'ok', 'the mesh of one asset is given to another');
DELETE FROM public.mesh_assets WHERE id = (TABLE was);
INSERT INTO public.mesh_assets (id, project_id, owner_id) VALUES ((TABLE was), :project, :a);
INSERT INTO public.jobs (type, user_id, project_id, asset_id, input_data) VALUES ('meshify', :a, :project, (TABLE was), '{"prompt": "x"}');
SELECT is((SELECT meshify.cancel(id) FROM public.jobs WHERE status = 'pending' AND asset_id = (TABLE was)), 'canceled', 'a new job for the first');
SELECT is(pg_temp.credits(), 1000::numeric, 'gives nothing back: what was charged for it is spent');

-- A job that names somebody else's asset by the time it is done, or named it for a while.
TRUNCATE public.jobs, public.mesh_assets, meshify.charges, meshify.refunds, meshify.predictions;
INSERT INTO public.projects VALUES (t.w(78), :b);
CREATE FUNCTION pg_temp.theft(p_prompt text, p_job uuid) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
    v_hers uuid := t.claimed(1, p_prompt);
    v_his uuid;
BEGIN
    INSERT INTO public.mesh_assets (project_id, owner_id) VALUES (t.w(78), '00000000-0000-0000-0000-00000000000b') RETURNING id INTO v_his;
    INSERT INTO public.jobs (id, type, user_id, project_id, asset_id, input_data)
    VALUES (p_job, 'meshify', '00000000-0000-0000-0000-00000000000b', t.w(78), v_his, '{"prompt": "x"}');
    PERFORM t.claim(1);
    UPDATE public.jobs SET asset_id = pg_temp.asset(v_hers) WHERE id = p_job;
    PERFORM t.intend(1, p_job);
    IF p_prompt = 'lent' THEN
        UPDATE public.jobs SET asset_id = v_his WHERE id = p_job;
    END IF;
    RETURN v_hers;
END $$;
CREATE TEMP TABLE hers AS SELECT pg_temp.theft('stolen', t.w(79)) AS id, pg_temp.theft('lent', t.w(80)) AS lent;
SELECT is(t.done(1, t.w(79)), 'refused', 'another user''s mesh is not written over hers');
SELECT results_eq('SELECT status, output_path FROM public.mesh_assets WHERE prompt = ''stolen''', $$VALUES ('running', NULL::text)$$, 'which is made as before');
SELECT meshify.stored(t.w(1), t.w(79), 'paint', 1, 'u/p/his.glb', 5, 'm', '{"storage_path":"u/p/his.glb"}', '{"sha256":"x"}');
UPDATE meshify.closings SET due = now();
SELECT results_eq('SELECT answer, detail FROM meshify.finish(t.w(1), 9)', $$VALUES ('error', 'asset_missing')$$, 'nor when its closing comes later');
SELECT is(t.done(1, t.w(80)), 'ok', 'his own gets its mesh');
SELECT is(meshify.fail(t.w(1), id, 'It broke down.', 'word') || meshify.fail(t.w(1), lent, 'It broke down.', 'word'), 'okok', 'her jobs fail') FROM hers;
SELECT is(pg_temp.credits(), 1050::numeric, 'and what she paid comes back, since he could not spend it');
DELETE FROM public.projects WHERE id = t.w(78);
UPDATE public.profiles SET credits_remaining = 1000 WHERE id = :a;
TRUNCATE public.jobs, public.mesh_assets, meshify.charges, meshify.refunds, meshify.predictions, meshify.events, public.notifications;

-- A job that only a retry may let in again: its credits went back, or were spent, while another job of its asset went on.
TRUNCATE public.jobs, public.mesh_assets, meshify.charges, meshify.refunds, meshify.predictions, meshify.events, public.notifications;
UPDATE public.profiles SET credits_remaining = 1000, credits_used = 0 WHERE id = :a;
-- Two jobs of an asset: `first` is tried again after both had failed, `other` is not.
CREATE FUNCTION pg_temp.tried_again(p_prompt text, OUT first uuid, OUT other uuid) LANGUAGE plpgsql AS $$
BEGIN
    first := t.claimed(1, p_prompt);
    other := pg_temp.second(first);
    PERFORM t.claim(1);
    PERFORM meshify.fail(t.w(1), first, 'It broke down.', 'word'), meshify.fail(t.w(1), other, 'It broke down.', 'word');
    PERFORM meshify.retry(first), t.claim(1);
END $$;
CREATE FUNCTION pg_temp.row_of(p_job uuid) RETURNS text LANGUAGE sql AS $$ SELECT concat_ws(': ', status, error) FROM public.jobs WHERE id = p_job $$;
CREATE TEMP TABLE ta AS SELECT * FROM pg_temp.tried_again('under way');
SELECT pg_temp.as_user(format('UPDATE public.jobs SET status = ''pending'' WHERE id = %L', other)) FROM ta;
SELECT is_empty('SELECT t.claim(1)', 'not tried again itself, a job is not worked on beside the one that was');
SELECT is(pg_temp.row_of(other), 'error: The credits for this mesh were given back, so it was not made.', 'it ends, and says why') FROM ta;
SELECT is(a.status, 'running', 'its asset is still being made') FROM ta JOIN public.mesh_assets a ON a.id = pg_temp.asset(first);
SELECT pg_temp.as_user(format('UPDATE public.jobs SET status = ''running'', worker_id = %L WHERE id = %L', t.w(1), other)) FROM ta;
SELECT is(t.intend(1, other), 'gone', 'nothing is bought for it, whoever''s it is made') FROM ta;
SELECT is(meshify.retry(other), 'ok', 'a retry lets it in') FROM ta;
SELECT set_eq('SELECT t.claim(1)', 'SELECT other FROM ta', 'then it is worked on');
SELECT is(pg_temp.credits(), 1000::numeric, 'both for one price') FROM ta;
CREATE TEMP TABLE tb AS SELECT * FROM pg_temp.tried_again('made');
SELECT is(t.done(1, first), 'ok', 'tried again, one makes the mesh') FROM tb;
SELECT pg_temp.as_user(format('UPDATE public.jobs SET status = ''pending'' WHERE id IN (%L, %L)', first, other)) FROM tb;
SELECT is_empty('SELECT t.claim(1)', 'then neither is worked on, whatever its status says');
SELECT is(pg_temp.row_of(first) || '; ' || pg_temp.row_of(other), 'error: This mesh was made before.; error: This mesh was made before.', 'both end, and say why') FROM tb;
SELECT is(a.status, 'done', 'and the mesh stays') FROM tb JOIN public.mesh_assets a ON a.id = pg_temp.asset(first);
SELECT is(meshify.retry(first) || meshify.retry(other), 'donedone', 'nor does a retry make it again') FROM tb;
CREATE TEMP TABLE tc AS SELECT t.claimed(1, 'left') AS id;
CREATE TEMP TABLE td AS SELECT pg_temp.second((TABLE tc)) AS id;
SELECT is(meshify.cancel((TABLE td)), 'canceled', 'one of two is canceled');
SELECT is(t.done(1, (TABLE tc)), 'ok', 'and the other makes the mesh');
SELECT pg_temp.as_user(format('UPDATE public.jobs SET status = ''pending'', cancel_requested_at = NULL WHERE id = %L', (TABLE td)));
SELECT is_empty('SELECT t.claim(1)', 'the price was for one mesh');
CREATE TEMP TABLE tg AS SELECT t.claimed(1, 'too late') AS first;
ALTER TABLE tg ADD COLUMN other uuid;
UPDATE tg SET other = pg_temp.second(first);
SELECT t.claim(1);
SELECT is(t.done(1, first) || meshify.fail(t.w(1), other, 'It broke down.', 'word'), 'okok', 'one of two makes the mesh, and then the other fails') FROM tg;
SELECT pg_temp.as_user(format('UPDATE public.jobs SET status = ''pending'' WHERE id = %L', other)) FROM tg;
SELECT is_empty('SELECT t.claim(1)', 'nor is a second one made for that price');
CREATE TEMP TABLE te AS SELECT pg_temp.second((TABLE tc)) AS id;
SELECT set_eq('SELECT t.claim(1)', 'TABLE te', 'a new job for it is worked on: who inserted it may have been paid for it');
CREATE TEMP TABLE tf AS SELECT t.claimed(1, 'free', 0) AS id;
SELECT is(t.done(1, (TABLE tf)), 'ok', 'what nobody paid for');
UPDATE public.jobs SET status = 'pending' WHERE id = (TABLE tf);
SELECT set_eq('SELECT t.claim(1)', 'TABLE tf', 'is made as often as somebody asks');
CREATE TEMP TABLE tm AS SELECT t.job('moved away') AS id;
SELECT is(meshify.cancel((TABLE tm)), 'canceled', 'a job whose credits went back');
INSERT INTO public.mesh_assets (id, project_id, owner_id) VALUES (t.w(76), :project, :a);
SELECT pg_temp.as_user(format('UPDATE public.jobs SET status = ''pending'', cancel_requested_at = NULL, asset_id = %L WHERE id = %L', t.w(76), (TABLE tm)));
SELECT is_empty('SELECT t.claim(1)', 'is not worked on for another asset either');

-- Its closing was put off, and the credits went back meanwhile.
SELECT set_config('meshify.sent_as', 'alone', false);
CREATE FUNCTION public.refuses() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
CREATE TEMP TABLE pk AS SELECT t.claimed(1, 'parked') AS id;
CREATE TRIGGER refuses BEFORE UPDATE ON public.mesh_assets FOR EACH ROW WHEN (NEW.status = 'done') EXECUTE FUNCTION public.refuses();
SELECT is(t.done(1, (TABLE pk)), 'parked', 'a mesh whose closing is refused');
SELECT pg_temp.as_user(format('UPDATE public.jobs SET status = ''error'' WHERE id = %L', (TABLE pk)));
SELECT is(meshify.cancel(pg_temp.second((TABLE pk))), 'canceled', 'the asset''s last job, as far as anybody can see, ends');
CREATE TEMP TABLE pc AS SELECT pg_temp.credits() AS n;
SELECT pg_temp.as_user(format('UPDATE public.jobs SET status = ''pending'' WHERE id = %L', (TABLE pk)));
DROP TRIGGER refuses ON public.mesh_assets;
UPDATE meshify.closings SET due = now();
SELECT results_eq('SELECT answer, detail FROM meshify.finish(t.w(1), 9)', $$VALUES ('error', 'refunded')$$, 'what was given back comes to an end without its mesh');
SELECT is(pg_temp.row_of((TABLE pk)), 'error: The credits for this mesh were given back, so it was not made.', 'and says why');
SELECT is_empty('TABLE meshify.closings', 'no closing is left of it');
SELECT is(pg_temp.credits(), (TABLE pc), 'and nothing goes back twice');
SELECT set_config('meshify.sent_as', '', false);
UPDATE public.profiles SET credits_remaining = 1000, credits_used = 0 WHERE id = :a;
TRUNCATE public.jobs, public.mesh_assets, meshify.charges, meshify.refunds, meshify.predictions, meshify.events, public.notifications;

-- A user who may only update: jobs that change places, or their ids.
CREATE TEMP TABLE u1 AS SELECT t.claimed(1, 'made long ago') AS id;
SELECT is(t.done(1, (TABLE u1)), 'ok', 'an asset with its mesh');
CREATE TEMP TABLE u2 AS SELECT t.job('paid') AS id;
CREATE TEMP TABLE ua AS SELECT pg_temp.asset((TABLE u1)) AS made, pg_temp.asset((TABLE u2)) AS paid;
SELECT pg_temp.as_user(format('UPDATE public.jobs SET asset_id = %L WHERE id = %L', made, (TABLE u2))) FROM ua;
SELECT pg_temp.as_user(format('UPDATE public.jobs SET asset_id = %L, status = ''pending'' WHERE id = %L', paid, (TABLE u1))) FROM ua;
SELECT is(meshify.cancel((TABLE u1)), 'canceled', 'the finished job takes the place of the paid one, and is canceled');
SELECT is(pg_temp.credits(), 1025::numeric, 'what was paid goes back');
SELECT is_empty('SELECT t.claim(1)', 'then the job that it was paid for makes no mesh elsewhere');
SELECT is(pg_temp.row_of((TABLE u2)), 'error: This mesh was made before.', 'but ends');
CREATE TEMP TABLE u3 AS SELECT t.job('moved first') AS id;
CREATE TEMP TABLE ub AS SELECT pg_temp.asset((TABLE u3)) AS paid;
SELECT pg_temp.as_user(format('UPDATE public.jobs SET asset_id = %L WHERE id = %L', made, (TABLE u3))) FROM ua;
SELECT set_eq('SELECT t.claim(1)', 'TABLE u3', 'the other way round');
SELECT is(t.done(1, (TABLE u3)), 'ok', 'it makes its mesh for the old asset');
SELECT pg_temp.as_user(format('UPDATE public.jobs SET asset_id = %L, status = ''pending'', cancel_requested_at = NULL WHERE id = %L', paid, (TABLE u1))) FROM ub;
SELECT is(meshify.cancel((TABLE u1)), 'canceled', 'and then a job of the one that was paid is canceled');
SELECT is(pg_temp.credits(), 1025::numeric, 'which gives nothing back');
SELECT pg_temp.as_user(format('UPDATE public.jobs SET id = %L, status = ''pending'' WHERE id = %L', t.w(91), (TABLE u3)));
SELECT is_empty('SELECT t.claim(1)', 'a finished job with a new id is not worked on');
CREATE TEMP TABLE u4 AS SELECT t.claimed(1, 'renamed') AS id;
SELECT is(meshify.cancel((TABLE u4)) || meshify.canceled(t.w(1), (TABLE u4)), 'askedok', 'a job whose credits went back');
CREATE TEMP TABLE ud AS SELECT pg_temp.credits() AS n;
SELECT pg_temp.as_user(format('UPDATE public.mesh_assets SET id = %L WHERE id = %L', t.w(92), pg_temp.asset((TABLE u4))));
SELECT pg_temp.as_user(format('UPDATE public.jobs SET id = %L, asset_id = %L, status = ''pending'', cancel_requested_at = NULL WHERE id = %L', t.w(93), t.w(92), (TABLE u4)));
SELECT is_empty('SELECT t.claim(1)', 'nor is one whose asset has a new id, too');
INSERT INTO public.jobs (id, type, user_id, project_id, asset_id, input_data) VALUES (t.w(83), 'meshify', :a, :project, t.w(92), '{"prompt": "x"}');
SELECT is_empty('SELECT t.claim(1)', 'nor another job of that asset');
SELECT is(pg_temp.credits() - n, 0::numeric, 'which gives nothing back a second time') FROM ud;
CREATE TEMP TABLE u5 AS SELECT t.job('renamed before') AS id;
SELECT pg_temp.as_user(format('UPDATE public.mesh_assets SET id = %L WHERE id = %L', t.w(94), pg_temp.asset((TABLE u5))));
SELECT pg_temp.as_user(format('UPDATE public.jobs SET asset_id = %L WHERE id = %L', t.w(94), (TABLE u5)));
SELECT set_eq('SELECT t.claim(1)', 'TABLE u5', 'an asset with a new id keeps its charge');
SELECT is(t.done(1, (TABLE u5)), 'ok', 'its mesh is made');
UPDATE public.jobs SET status = 'pending' WHERE id = (TABLE u5);
SELECT is_empty('SELECT t.claim(1)', 'once');
CREATE TEMP TABLE u6 AS SELECT t.job('renamed, then canceled') AS id;
SELECT pg_temp.as_user(format('UPDATE public.mesh_assets SET id = %L WHERE id = %L', t.w(95), pg_temp.asset((TABLE u6))));
SELECT pg_temp.as_user(format('UPDATE public.jobs SET asset_id = %L WHERE id = %L', t.w(95), (TABLE u6)));
CREATE TEMP TABLE uc AS SELECT pg_temp.credits() AS n;
SELECT is(meshify.cancel((TABLE u6)), 'canceled', 'and one that is canceled');
SELECT is(pg_temp.credits() - n, 25::numeric, 'gives it back') FROM uc;
-- The asset gets a new id when its job has left it, and with that a new job, which is canceled.
CREATE FUNCTION pg_temp.left_behind(p_job uuid, p_new uuid) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
    v_paid uuid := pg_temp.asset(p_job);
    v_free uuid := gen_random_uuid();
    v_other uuid;
BEGIN
    INSERT INTO public.mesh_assets (id, project_id, owner_id) VALUES (v_free, '00000000-0000-0000-0000-0000000000aa', '00000000-0000-0000-0000-00000000000a');
    PERFORM pg_temp.as_user(format('UPDATE public.jobs SET asset_id = %L WHERE id = %L', v_free, p_job));
    PERFORM pg_temp.as_user(format('UPDATE public.mesh_assets SET id = %L WHERE id = %L', p_new, v_paid));
    INSERT INTO public.jobs (type, user_id, project_id, asset_id, input_data)
    VALUES ('meshify', '00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-0000000000aa', p_new, '{"prompt": "x"}') RETURNING id INTO v_other;
    RETURN v_other;
END $$;
CREATE TEMP TABLE u7 AS SELECT t.claimed(1, 'left while it was worked on') AS id;
SELECT t.intend(1, (TABLE u7));
CREATE TEMP TABLE u8 AS SELECT pg_temp.left_behind((TABLE u7), t.w(96)) AS id, pg_temp.credits() AS n;
DELETE FROM meshify.moved; -- of a job that was bought for, its purchase says it, too
SELECT is(t.done(1, (TABLE u7)), 'ok', 'a job makes its mesh for an asset that nobody paid for');
SELECT is(meshify.cancel(id), 'canceled', 'and the one that was paid, with a new id, gets another job') FROM u8;
SELECT is(pg_temp.credits() - n, 0::numeric, 'which gives nothing back') FROM u8;
CREATE TEMP TABLE u9 AS SELECT t.job('left before') AS id;
CREATE TEMP TABLE u10 AS SELECT pg_temp.left_behind((TABLE u9), t.w(97)) AS id, pg_temp.credits() AS n;
SELECT is(meshify.cancel(id), 'canceled', 'the same before anybody works on it') FROM u10;
SELECT is(pg_temp.credits() - n, 25::numeric, 'gives it back') FROM u10;
SELECT is_empty('SELECT t.claim(1)', 'then the first job is not worked on');
CREATE TEMP TABLE u13 AS SELECT t.job('left, then renamed') AS id;
CREATE TEMP TABLE u14 AS SELECT pg_temp.left_behind((TABLE u13), t.w(81)) AS id;
SELECT pg_temp.as_user(format('UPDATE public.jobs SET id = %L WHERE id = %L', t.w(82), (TABLE u13)));
SELECT is(meshify.cancel((TABLE u14)), 'canceled', 'the same with a job that has a new id since');
SELECT is_empty('SELECT t.claim(1)', 'which is known by that, too');
-- A foreign key takes its job along.
ALTER TABLE public.jobs ADD CONSTRAINT follows FOREIGN KEY (asset_id) REFERENCES public.mesh_assets ON UPDATE CASCADE ON DELETE CASCADE NOT VALID;
CREATE TEMP TABLE u11 AS SELECT t.job('followed') AS id;
CREATE TEMP TABLE u12 AS SELECT pg_temp.second((TABLE u11)) AS id;
UPDATE public.mesh_assets SET id = t.w(98) WHERE id = pg_temp.asset((TABLE u11));
SELECT set_eq('SELECT t.claim(1)', 'TABLE u11 UNION TABLE u12', 'jobs that follow their asset to its new id');
SELECT is(t.done(1, (TABLE u11)), 'ok', 'one is done');
SELECT is(meshify.hand_back(t.w(1), (TABLE u12), '0', true, '0', 'word'), 'ok', 'and the other, which waits');
SELECT set_eq('SELECT t.claim(1)', 'TABLE u12', 'is still worked on, as any other job of it');
ALTER TABLE public.jobs DROP CONSTRAINT follows;
UPDATE public.profiles SET credits_remaining = 1000, credits_used = 0 WHERE id = :a;
TRUNCATE public.jobs, public.mesh_assets, meshify.charges, meshify.refunds, meshify.predictions, meshify.events, public.notifications;

-- A job's row is deleted by hand.
CREATE TEMP TABLE d AS SELECT t.claimed(1, 'by hand') AS id;
CREATE TEMP TABLE da AS SELECT pg_temp.asset((TABLE d)) AS id;
SELECT t.intend(1, (TABLE d));
UPDATE meshify.predictions SET state = 'bought', prediction_id = 'p1' WHERE job_id = (TABLE d);
SELECT pg_temp.as_user('DELETE FROM public.jobs');
SELECT is(pg_temp.credits(), 1025::numeric, 'what was charged goes back');
SELECT results_eq('SELECT status FROM public.mesh_assets WHERE id = (TABLE da)', $$VALUES ('error')$$, 'the asset runs no more');
SELECT is((SELECT title FROM public.notifications), 'Mesh Generation Canceled', 'the user is told');
SELECT results_eq('SELECT prediction_id FROM meshify.audit_running(t.w(1), 5)', $$VALUES ('p1')$$, 'the audit cancels what was bought');
SELECT is(t.done(1, (TABLE d)), 'gone', 'the worker makes nothing of it');
DELETE FROM public.mesh_assets;
SELECT is(pg_temp.credits(), 1025::numeric, 'and nothing goes back twice');
CREATE TEMP TABLE kept AS SELECT t.claimed(1, 'done before') AS id;
SELECT is(t.done(1, (TABLE kept)), 'ok', 'a job that is done');
SELECT pg_temp.as_user('UPDATE public.jobs SET status = ''running''');
SELECT pg_temp.as_user('UPDATE public.mesh_assets SET status = ''running''');
SELECT pg_temp.as_user('DELETE FROM public.jobs');
SELECT is(pg_temp.credits(), 1025::numeric, 'gives nothing back, whatever its status was set to');
CREATE TEMP TABLE pair AS SELECT t.job('pair') AS id;
SELECT pg_temp.second((TABLE pair));
DELETE FROM public.jobs;
SELECT is(pg_temp.credits(), 1050::numeric, 'two jobs of an asset in one statement: once');
INSERT INTO public.jobs (type, user_id, status) VALUES ('thumbnail', :a, 'pending');
DELETE FROM public.jobs;
SELECT is((SELECT count(*)::int FROM public.notifications WHERE title = 'Mesh Generation Canceled'), 4, 'jobs of another kind are none of ours');

-- A transaction that sees what was, by its isolation level, while the other of two jobs ends.
SELECT dblink_connect_u('old', :'dsn');
CREATE TEMP TABLE skew AS SELECT t.job('seen before') AS id;
CREATE TEMP TABLE skew2 AS SELECT pg_temp.second((TABLE skew)) AS id, pg_temp.credits() AS n;
SELECT dblink_exec('old', 'BEGIN ISOLATION LEVEL REPEATABLE READ');
SELECT * FROM dblink('old', 'SELECT count(*) FROM public.jobs') AS x (n bigint);
SELECT is(meshify.cancel((TABLE skew)), 'canceled', 'one of two jobs ends');
SELECT throws_ok(format('SELECT dblink_exec(''old'', %L)', format('DELETE FROM public.jobs WHERE id = %L', id)), '40001', NULL,
    'who deletes the other, and sees the first unfinished, has to try again') FROM skew2;
SELECT dblink_exec('old', 'ROLLBACK');
SELECT dblink_exec('old', format('DELETE FROM public.jobs WHERE id = %L', id)) FROM skew2;
SELECT is(pg_temp.credits() - n, 25::numeric, 'so that it goes back with the last of them') FROM skew2;
SELECT dblink_disconnect('old');

-- A project is deleted through both keys, whichever comes first.
TRUNCATE public.jobs, public.mesh_assets, meshify.charges, meshify.refunds, public.notifications;
CREATE TEMP TABLE going (id uuid, job uuid, credits numeric);
CREATE FUNCTION pg_temp.going(p_first text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_job uuid;
BEGIN
    -- Keys' triggers fire in the order of their making.
    ALTER TABLE public.mesh_assets DROP CONSTRAINT mesh_assets_project_id_fkey;
    ALTER TABLE public.jobs DROP CONSTRAINT IF EXISTS jobs_key, DROP CONSTRAINT IF EXISTS jobs_asset;
    IF p_first = 'jobs' THEN
        ALTER TABLE public.jobs ADD CONSTRAINT jobs_key FOREIGN KEY (project_id) REFERENCES public.projects ON DELETE CASCADE;
    END IF;
    ALTER TABLE public.mesh_assets ADD CONSTRAINT mesh_assets_project_id_fkey FOREIGN KEY (project_id) REFERENCES public.projects ON DELETE CASCADE;
    IF p_first <> 'jobs' THEN
        ALTER TABLE public.jobs ADD CONSTRAINT jobs_key FOREIGN KEY (project_id) REFERENCES public.projects ON DELETE CASCADE;
    END IF;
    IF p_first = 'asset' THEN
        ALTER TABLE public.jobs ADD CONSTRAINT jobs_asset FOREIGN KEY (asset_id) REFERENCES public.mesh_assets ON DELETE CASCADE;
    END IF;
    TRUNCATE going;
    INSERT INTO going VALUES (gen_random_uuid(), t.claimed(1, 'a project goes'), pg_temp.credits());
    INSERT INTO public.projects (id, owner_id) SELECT id, '00000000-0000-0000-0000-00000000000a' FROM going;
    UPDATE public.jobs SET project_id = g.id FROM going g WHERE jobs.id = g.job;
    UPDATE public.mesh_assets SET project_id = g.id FROM going g WHERE mesh_assets.id = pg_temp.asset(g.job);
END $$;
CREATE FUNCTION pg_temp.gone() RETURNS text LANGUAGE sql AS $$
    SELECT format('%s back, %s left', pg_temp.credits() - g.credits, (SELECT count(*) FROM public.jobs WHERE id = g.job)
        + (SELECT count(*) FROM public.mesh_assets WHERE prompt = 'a project goes')) FROM going g $$;
SELECT pg_temp.going('jobs');
SELECT lives_ok('DELETE FROM public.projects WHERE id = (SELECT id FROM going)', 'jobs first');
SELECT is(pg_temp.gone(), '25 back, 0 left', 'all goes, and the credits come back');
SELECT pg_temp.going('assets');
SELECT lives_ok('DELETE FROM public.projects WHERE id = (SELECT id FROM going)', 'assets first');
SELECT is(pg_temp.gone(), '25 back, 0 left', 'all goes, and the credits come back');
SELECT pg_temp.going('asset');
SELECT lives_ok('DELETE FROM public.projects WHERE id = (SELECT id FROM going)', 'with a key to the asset, too');
SELECT is(pg_temp.gone(), '25 back, 0 left', 'all goes, and the credits come back');
SELECT is((SELECT count(*)::int FROM public.notifications), 3, 'and one word to the user for each');

-- Names of objects, over all jobs of an asset.
TRUNCATE public.jobs, public.mesh_assets CASCADE;
TRUNCATE meshify.charges, meshify.refunds, meshify.predictions;
CREATE TEMP TABLE n AS SELECT t.claimed(1, 'named') AS id;
CREATE TEMP TABLE n2 AS SELECT pg_temp.second((TABLE n)) AS id;
SELECT t.claim(1);
SELECT t.intend(1, (TABLE n), 'sculpt', 1), t.intend(1, (TABLE n2), 'sculpt', 1);
SELECT is(meshify.name_object((TABLE n2), 'sculpt', 1, 'u/mesh.glb'), 'u/mesh.glb', 'the first to store has the name');
SELECT is(meshify.name_object((TABLE n), 'sculpt', 1, 'u/mesh.glb'), 'u/mesh_2.glb', 'the second another');
SELECT is(meshify.name_object((TABLE n2), 'sculpt', 1, 'other/mesh.glb'), 'u/mesh.glb', 'for good');
SELECT t.intend(1, (TABLE n), 'sculpt', 2);
SELECT is(meshify.name_object((TABLE n), 'sculpt', 2, 'u.d/mesh'), 'u.d/mesh_3', 'each purchase has its own, without an extension, too');
SELECT is(meshify.name_object((TABLE n), 'sculpt', 9, 'u/mesh.glb'), NULL, 'none that is not there has one');
DELETE FROM public.jobs WHERE id = (TABLE n2);
CREATE TEMP TABLE n3 AS SELECT pg_temp.second((TABLE n)) AS id;
SELECT t.claim(1);
SELECT t.intend(1, (TABLE n3), 'sculpt', 1);
SELECT is(meshify.name_object((TABLE n3), 'sculpt', 1, 'u/mesh.glb'), 'u/mesh_4.glb', 'a job that was deleted counts');
CREATE TEMP TABLE w AS SELECT t.claimed(1, 'bought again') AS id;
SELECT t.intend(1, (TABLE w), 'sculpt', 1), t.intend(1, (TABLE w), 'sculpt', 2);
UPDATE meshify.predictions SET status = 'succeeded', state = 'ended', finished_at = now() WHERE job_id = (TABLE w) AND purchase = 1;
SELECT is(meshify.name_object((TABLE w), 'sculpt', 2, 'u/again.glb'), 'u/again_2.glb', 'so does a success before, whose file an older program may store');
CREATE TEMP TABLE x AS SELECT t.claimed(1, 'stored before') AS id;
UPDATE public.mesh_assets SET output_path = 'u/old.glb' WHERE prompt = 'stored before';
SELECT t.intend(1, (TABLE x), 'sculpt', 1);
SELECT is(meshify.name_object((TABLE x), 'sculpt', 1, 'u/old.glb'), 'u/old_2.glb', 'and what the asset names already');

-- enqueue: whose project, and a call that is repeated.
UPDATE public.profiles SET credits_remaining = 1000, credits_used = 0 WHERE id = :a;
TRUNCATE public.jobs, public.mesh_assets CASCADE;
TRUNCATE meshify.charges, meshify.refunds, public.notifications;
SELECT throws_ok(format('SELECT meshify.enqueue(%L, %L, ''x'', NULL)', :b, :project), 'MF400', 'project 00000000-0000-0000-0000-0000000000aa does not belong to user 00000000-0000-0000-0000-00000000000b', 'another''s project');
SELECT throws_ok(format('SELECT meshify.enqueue(%L, %L, ''x'', NULL)', :a, t.w(5)), 'MF400', 'project 00000000-0000-0000-0000-000000000005 does not exist', 'no project');
CREATE TEMP TABLE q AS SELECT * FROM meshify.enqueue(:a, :project, ' a chair ', NULL, request_id => t.w(1));
SELECT results_eq(format('SELECT * FROM meshify.enqueue(%L, %L, ''a chair'', NULL, request_id => t.w(1))', :a, :project), 'TABLE q', 'a repeated call has the same answer');
SELECT results_eq(format('SELECT * FROM public.meshify_enqueue(user_id => %L, project_id => %L, prompt => ''a chair'', request_id => t.w(1))', :a, :project), 'TABLE q', 'by its twin, too');
SELECT is(pg_temp.credits(), 975::numeric, 'and is paid once');
SELECT is((SELECT count(*)::int FROM public.notifications), 1, 'and told once');
SELECT throws_ok(format('SELECT meshify.enqueue(%L, %L, ''a table'', NULL, request_id => t.w(1))', :a, :project), 'MF400', NULL, 'with another prompt it is refused');
SELECT throws_ok(format('SELECT meshify.enqueue(%L, %L, ''a chair'', ''https://x/y.png'', request_id => t.w(1))', :a, :project), 'MF400', NULL, 'with another image');
SELECT throws_ok(format('SELECT meshify.enqueue(%L, %L, ''a chair'', NULL, true, t.w(1))', :a, :project), 'MF400', NULL, 'and free where it was not');
UPDATE meshify.settings SET value = '1' WHERE key = 'max_pending_jobs';
UPDATE public.profiles SET credits_remaining = 0 WHERE id = :a;
SELECT lives_ok(format('SELECT meshify.enqueue(%L, %L, ''a chair'', NULL, request_id => t.w(1))', :a, :project), 'no limit keeps a repeated call from its answer');
UPDATE public.profiles SET credits_remaining = 975 WHERE id = :a;
SELECT throws_ok(format('SELECT meshify.enqueue(%L, %L, ''a chair'', NULL, request_id => t.w(2))', :a, :project), 'MF429', NULL, 'as it does any other');
UPDATE meshify.settings SET value = '0' WHERE key = 'max_pending_jobs';
INSERT INTO public.projects VALUES (t.w(50), :b);
SELECT isnt((SELECT asset_id FROM meshify.enqueue(:b, t.w(50), 'a chair', NULL, true, t.w(1))), (SELECT asset_id FROM q), 'another user''s request may have the same id');
SELECT meshify.prune('0', 1000000);
SELECT results_eq(format('SELECT * FROM meshify.enqueue(%L, %L, ''a chair'', NULL, request_id => t.w(1))', :a, :project), 'TABLE q', 'it is kept when history is not');
CREATE TEMP TABLE paid AS SELECT pg_temp.credits() AS n;
UPDATE public.jobs SET status = 'done' WHERE id = (SELECT job_id FROM q);
DELETE FROM public.jobs WHERE id = (SELECT job_id FROM q);
SELECT throws_ok(format('SELECT meshify.enqueue(%L, %L, ''a chair'', NULL, request_id => t.w(1))', :a, :project), 'MF400', 'request_id ' || t.w(1) || ' was used before, and its job was deleted', 'no id is answered that does not exist');
SELECT throws_ok(format('SELECT meshify.enqueue(%L, %L, ''a table'', NULL, request_id => t.w(1))', :a, :project), 'MF400', 'request_id ' || t.w(1) || ' was used before, for another project, prompt or image', 'other arguments are still said first');
SELECT is(pg_temp.credits(), (TABLE paid), 'and nothing is charged');
DELETE FROM public.mesh_assets a USING q WHERE a.id = q.asset_id;
SELECT isnt((SELECT asset_id FROM meshify.enqueue(:a, :project, 'a table', NULL, request_id => t.w(1))), (SELECT asset_id FROM q), 'and forgotten with its asset');
SELECT throws_ok(format('SELECT meshify.enqueue(%L, %L, ''x'', NULL, request_id => NULL)', NULL, :project), 'MF400', NULL, 'no user');

-- A prompt, or an address, that a column of the project has no room for.
ALTER TABLE public.mesh_assets ALTER COLUMN prompt TYPE varchar(10), ALTER COLUMN input_image_path TYPE varchar(20);
CREATE TEMP TABLE room AS SELECT pg_temp.credits() AS n;
SELECT throws_ok(format('SELECT meshify.enqueue(%L, %L, %L, NULL)', :a, :project, repeat('ä', 11)), 'MF400', 'the prompt has 11 characters, at most 10 fit into mesh_assets.prompt', 'a prompt with no room for it');
SELECT throws_ok(format('SELECT meshify.enqueue(%L, %L, NULL, ''https://example.com/cat.png'')', :a, :project), 'MF400', 'image_url has 27 characters, at most 20 fit into mesh_assets.input_image_path', 'an address with no room for it');
SELECT is(pg_temp.credits(), (TABLE room), 'and nothing is charged');
SELECT lives_ok(format('SELECT meshify.enqueue(%L, %L, %L, ''https://a.b/c.png'')', :a, :project, '  ' || repeat('ä', 10)), 'what fits is taken');
SELECT results_eq('SELECT col, why, grave FROM meshify.unfit_columns(NULL)', $$VALUES
    ('mesh_assets.prompt', 'takes 10 characters, max_prompt allows 32768: longer prompts are refused', false),
    ('mesh_assets.input_image_path', 'takes 20 characters, 8192 are needed: longer image addresses are refused', false)$$, 'a doctor is told');
UPDATE meshify.settings SET value = '10' WHERE key = 'max_prompt';
SELECT results_eq('SELECT col FROM meshify.unfit_columns(NULL)', $$VALUES ('mesh_assets.input_image_path')$$, 'and max_prompt may say as much');
UPDATE meshify.settings SET value = '0' WHERE key = 'max_prompt';
SELECT results_eq('SELECT why FROM meshify.unfit_columns(NULL) WHERE col = ''mesh_assets.prompt''', $$VALUES ('takes 10 characters, max_prompt allows 512000: longer prompts are refused')$$, '0 is the most');
UPDATE meshify.settings SET value = '32768' WHERE key = 'max_prompt';
ALTER TABLE public.mesh_assets ALTER COLUMN prompt TYPE text, ALTER COLUMN input_image_path TYPE text;

-- What was taken goes back, whatever the price is when the row is written.
UPDATE meshify.settings SET value = '7' WHERE key = 'price';
CREATE TEMP TABLE seven AS SELECT * FROM meshify.enqueue(:a, :project, 'cheap', NULL);
UPDATE meshify.settings SET value = '25' WHERE key = 'price';
UPDATE public.mesh_assets SET credits_cost = 25;
CREATE TEMP TABLE before AS SELECT pg_temp.credits() AS n;
SELECT is((SELECT meshify.cancel(job_id) FROM seven), 'canceled', 'a job of another price');
SELECT is(pg_temp.credits() - n, 7::numeric, 'what was taken goes back') FROM before;

-- What a doctor is told.
TRUNCATE meshify.charges;
SELECT results_eq('SELECT price, other, other_cost, by_users FROM meshify.odd_charges()', 'VALUES (25::numeric, 0::bigint, NULL::numeric, 0::bigint)', 'nothing odd');
SELECT t.job('x', 40), t.job('x', 40), t.job('x', 30), t.job('x', 25), t.job('x', 0);
UPDATE meshify.charges SET at = now() - interval '8 days' WHERE cost = 30;
SELECT pg_temp.as_user(format('INSERT INTO public.mesh_assets (project_id, owner_id, credits_cost) VALUES (%L, %L, 40)', :project, :a));
SELECT results_eq('SELECT price, other, other_cost, by_users FROM meshify.odd_charges()', 'VALUES (25::numeric, 2::bigint, 40::numeric, 1::bigint)', 'another price, and users who insert');
INSERT INTO public.mesh_assets (project_id, owner_id, credits_cost, prompt) SELECT :project, :a, 25, 'lost ' || n FROM generate_series(1, 3) n;
UPDATE public.mesh_assets SET status = 'error' WHERE prompt = 'lost 3';
SELECT is((SELECT jobless FROM meshify.odd_charges()), 0::bigint, 'a job may still come');
UPDATE meshify.charges SET at = now() - interval '11 min';
SELECT is((SELECT jobless FROM meshify.odd_charges()), 2::bigint, 'assets that were paid for, and nobody works on');

-- Whose a project is, by whichever column says so.
SELECT is(meshify.project_owner_columns(), ARRAY['owner_id'], 'the owner''s column');
ALTER TABLE public.projects ADD COLUMN created_by uuid;
SELECT is(meshify.project_owner_columns(), ARRAY['owner_id', 'created_by'], 'or the creator''s where that is null');
ALTER TABLE public.projects DROP COLUMN created_by, DROP COLUMN owner_id CASCADE;
ALTER TABLE public.projects ADD COLUMN keeper uuid, ADD COLUMN member uuid REFERENCES public.profiles (id);
SELECT is(meshify.project_owner_columns(), ARRAY['member'], 'one that refers to users');
ALTER TABLE public.projects DROP COLUMN member;
CREATE POLICY kept ON public.projects TO authenticated USING (keeper = (SELECT auth.uid()));
SELECT is(meshify.project_owner_columns(), ARRAY['keeper'], 'one that a policy compares');
DROP POLICY kept ON public.projects;
SELECT is(meshify.project_owner_columns(), NULL, 'or none');
SELECT * FROM finish();
