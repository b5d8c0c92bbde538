-- Triggers of the project that keep a job from ending: nothing is given, told or bought twice, and others go on.
SELECT no_plan();
SELECT t.worker(1);
CREATE FUNCTION pg_temp.counts() RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' ', (SELECT count(*) FROM meshify.refunds), (SELECT count(*) FROM public.notifications), (SELECT sum(credits_remaining) FROM public.profiles)) $$;
CREATE FUNCTION public.hostile() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.input_data ->> 'prompt' = 'raises' AND NEW.status NOT IN ('pending', 'running') THEN
        RAISE EXCEPTION 'no end for you';
    ELSIF NEW.input_data ->> 'prompt' = 'skips' AND NEW.status NOT IN ('pending', 'running') THEN
        RETURN NULL;
    ELSIF NEW.input_data ->> 'prompt' = 'keeps' AND NEW.status NOT IN ('pending', 'running') THEN
        NEW.status := OLD.status;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER hostile BEFORE UPDATE ON public.jobs FOR EACH ROW EXECUTE FUNCTION public.hostile();
CREATE FUNCTION public.hostile_after() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.input_data ->> 'prompt' = 'undoes' AND NEW.status NOT IN ('pending', 'running') THEN
        UPDATE public.jobs j SET status = 'running' WHERE j.id = NEW.id;
    ELSIF NEW.input_data ->> 'prompt' = 'deletes' AND NEW.status NOT IN ('pending', 'running') THEN
        DELETE FROM public.jobs j WHERE j.id = NEW.id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER hostile_after AFTER UPDATE ON public.jobs FOR EACH ROW EXECUTE FUNCTION public.hostile_after();

CREATE TEMP TABLE h AS SELECT p AS prompt, t.claimed(1, p) AS id FROM unnest(ARRAY['raises', 'skips', 'keeps', 'undoes']) p;
SELECT is(count(*)::int, 4, 'jobs are claimed as ever') FROM public.jobs WHERE status = 'running';
CREATE TEMP TABLE before AS SELECT pg_temp.counts() AS counts;
SELECT is(meshify.fail(t.w(1), id, 'It broke down.', 'word'), 'parked', prompt || ': the failing is refused, and put off') FROM h;
SELECT is(pg_temp.counts(), (SELECT counts FROM before), 'nothing was given, nobody was told');
SELECT is((SELECT count(*)::int FROM meshify.events WHERE event = 'end_refused' AND detail ? 'error'), 4, 'it is written down');
SELECT results_eq('SELECT DISTINCT status, worker_id FROM public.jobs WHERE id IN (SELECT id FROM h)', $$VALUES ('pending', NULL::uuid)$$, 'no worker holds it');
UPDATE public.jobs SET run_after = now();
SELECT is_empty('SELECT t.claim(1)', 'none gets it');
SELECT is(t.done(1, id), 'lost', prompt || ': nor closes it in another way') FROM h;
UPDATE meshify.closings SET due = now();
SELECT results_eq('SELECT DISTINCT answer FROM meshify.finish(t.w(1), 9)', $$VALUES ('parked')$$, 'it is tried again, and put off again');
SELECT results_eq('SELECT DISTINCT tries, due BETWEEN now() + interval ''7 s'' AND now() + interval ''10 s'' FROM meshify.closings', 'VALUES (2, true)', 'for longer');
SELECT is((SELECT count(*)::int FROM meshify.events WHERE event = 'end_refused'), 4, 'that is written down once');
UPDATE meshify.closings SET due = now(), tries = 20;
SELECT meshify.finish(t.w(1), 9);
SELECT is((SELECT max(due) BETWEEN now() + interval '6 min' AND now() + interval '10 min' FROM meshify.closings), true, 'but for ten minutes at most');
SELECT is(pg_temp.counts(), (SELECT counts FROM before), 'with nothing given, and nobody told');
-- As soon as the trigger lets it.
DROP TRIGGER hostile ON public.jobs;
ALTER TABLE public.jobs DISABLE TRIGGER hostile_after;
UPDATE meshify.closings SET due = now();
SELECT is_empty('SELECT * FROM meshify.finish(t.w(99), 9)', 'who is no worker closes nothing');
SELECT results_eq('SELECT DISTINCT answer, detail FROM meshify.finish(t.w(1), 9)', $$VALUES ('error', 'word')$$, 'without the trigger it ends');
SELECT results_eq('SELECT DISTINCT status, error FROM public.jobs WHERE id IN (SELECT id FROM h)', $$VALUES ('error', 'It broke down.')$$, 'as it was to');
SELECT is((SELECT count(*)::int FROM meshify.refunds), 4, 'with one refund each');
SELECT is_empty('SELECT * FROM meshify.closings', 'and nothing is left to do');
SELECT is(meshify.retry(id), 'ok', 'a retry') FROM h LIMIT 1;
SELECT is((SELECT max(age_usec) < 60000000 FROM meshify.claim(t.w(1), 9, 0, false) WHERE job_id IS NOT NULL), true, 'begins anew');
UPDATE public.jobs SET created_at = now() - interval '1 day' WHERE status = 'running';
DELETE FROM meshify.events;
SELECT is((SELECT max(age_usec) < 60000000 FROM meshify.compare(t.w(1), '{}') WHERE job_id IS NOT NULL), true, 'also where its history is pruned');
SELECT meshify.hand_back(t.w(1), id, '0', false, '0', 'word') FROM h;

-- A done: the record is kept, whatever happens to the worker and to the output.
UPDATE public.jobs SET status = 'error' WHERE status IN ('pending', 'running');
CREATE TRIGGER hostile BEFORE UPDATE ON public.jobs FOR EACH ROW EXECUTE FUNCTION public.hostile();
CREATE FUNCTION pg_temp.stored(j uuid) RETURNS void LANGUAGE sql AS $$ SELECT meshify.stored(t.w(1), j, 'paint', 1, 'u/p/' || j || '.glb', 3000000000, 'model/gltf-binary', '{"storage_path":"u/p/mesh.glb"}', '{"sha256":"x"}') $$;
CREATE TEMP TABLE s AS SELECT p AS prompt, t.claimed(1, p) AS id FROM unnest(ARRAY['raises', 'good', 'cancels']) p;
SELECT t.intend(1, id) FROM s;
UPDATE meshify.predictions SET state = 'bought', prediction_id = job_id::text, finished_at = now() WHERE job_id IN (SELECT id FROM s);
SELECT pg_temp.stored(id) FROM s;
SELECT results_eq($$SELECT DISTINCT object_name = 'u/p/' || job_id || '.glb', object_size, object_sha256 FROM meshify.predictions WHERE job_id IN (SELECT id FROM s)$$,
    $$VALUES (true, 3000000000, 'x')$$, 'what is stored stands with its purchase');
SELECT set_config('meshify.sent_as', 'batch', false);
SELECT throws_ok($$SELECT t.done(1, id) FROM s WHERE prompt = 'raises'$$, 'P0001', 'no end for you', 'in a batch a refusal is an error');
SELECT set_config('meshify.sent_as', 'alone', false);
SELECT is(t.done(1, id), 'parked', 'alone it is put off') FROM s WHERE prompt = 'raises';
SELECT is(t.done(1, id), 'lost', 'its worker has nothing more to say') FROM s WHERE prompt = 'raises';
-- Its worker dies with two that are stored, and one was to be canceled.
UPDATE public.jobs SET cancel_requested_at = now() WHERE id = (SELECT id FROM s WHERE prompt = 'cancels');
SELECT t.worker(3);
SELECT is((SELECT taken FROM meshify.reap(t.w(3), ARRAY[t.w(1)], '1 hour')), 2, 'jobs of a dead worker are taken over');
SELECT is_empty('SELECT t.claim(3)', 'but those with a mesh are not worked on again');
UPDATE meshify.predictions SET finished_at = now() - interval '2 hours' WHERE job_id IN (SELECT id FROM s);
SELECT results_eq($$SELECT s.prompt, f.answer FROM meshify.finish(t.w(3), 9) f JOIN s ON s.id = f.job ORDER BY 1$$,
    $$VALUES ('cancels', 'canceled'), ('good', 'done')$$, 'they are closed from what was written down');
SELECT results_eq($$SELECT j.status, j.output_data ->> 'storage_path', a.status, a.output_path = 'u/p/' || j.id || '.glb', a.size FROM public.jobs j JOIN public.mesh_assets a ON a.id = j.asset_id
    WHERE j.id = (SELECT id FROM s WHERE prompt = 'good')$$, $$VALUES ('done', 'u/p/mesh.glb', 'done', true, 3000000000)$$, 'done, as it would have been');
UPDATE meshify.closings SET due = now();
SELECT dblink_connect_u('holder', :'dsn');
SELECT dblink_exec('holder', 'BEGIN');
SELECT * FROM dblink('holder', (SELECT format('SELECT a.prompt FROM public.mesh_assets a JOIN public.jobs j ON j.asset_id = a.id WHERE j.id = %L FOR UPDATE OF a', id)
                                FROM s WHERE prompt = 'raises')) AS x (prompt text);
SELECT is_empty('SELECT * FROM meshify.finish(t.w(3), 9)', 'a row that somebody holds is not waited for');
SELECT results_eq('SELECT tries, due > now() FROM meshify.closings', 'VALUES (1, true)', 'nor counted');
SELECT dblink_exec('holder', 'ROLLBACK');
SELECT dblink_disconnect('holder');
DROP TRIGGER hostile ON public.jobs;
UPDATE meshify.closings SET due = now();
SELECT results_eq($$SELECT answer, detail FROM meshify.finish(t.w(3), 9)$$, $$VALUES ('done', 'u/p/mesh.glb')$$, 'done, when the trigger is gone');
CREATE CONSTRAINT TRIGGER later AFTER UPDATE ON public.jobs DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.hostile();
UPDATE meshify.settings SET value = 'on' WHERE key = 'refund';
SELECT t.worker(1);
CREATE TEMP TABLE def AS SELECT t.claimed(1, 'raises') AS id;
SELECT is(t.done(1, id), 'parked', 'a deferred trigger is asked at once') FROM def;
DROP TRIGGER later ON public.jobs;
DELETE FROM public.mesh_assets a USING public.jobs j WHERE a.id = j.asset_id AND j.id = (SELECT id FROM def);
SELECT is_empty('SELECT * FROM meshify.closings', 'what somebody ended is not closed any more');
SELECT set_config('meshify.sent_as', '', false);

-- Notifications: refused, in every way, they keep nothing from closing; and it is said once.
CREATE FUNCTION public.mute() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.message ~ 'asserts' THEN
        ASSERT false, 'no word';
    ELSIF NEW.message ~ 'sleeps' THEN
        PERFORM pg_sleep(60);
    END IF;
    RAISE EXCEPTION 'no word' USING ERRCODE = substring(NEW.message FROM '"raise (.....)"');
END $$;
CREATE TRIGGER mute BEFORE INSERT ON public.notifications FOR EACH ROW EXECUTE FUNCTION public.mute();
SELECT set_config('meshify.sent_as', 'alone', false);
CREATE TEMP TABLE m AS SELECT p AS prompt, t.claimed(1, p) AS id FROM unnest(ARRAY['raise 3F000', 'raise 42883', 'raise XX000', 'raise P0001', 'raise 25006', 'asserts']) p;
SELECT is(t.done(1, id), 'ok', prompt || ': a notification that is refused') FROM m;
SELECT is((SELECT count(*)::int FROM meshify.events WHERE event = 'unnotified' AND job_id IN (SELECT id FROM m)), 6, 'is an event');
CREATE TEMP TABLE p AS SELECT p AS prompt, t.claimed(1, p) AS id FROM unnest(ARRAY['raise 40001', 'raise 40P01', 'raise 53100', 'raise 55P03', 'raise 57014', 'raise 58030']) p;
SELECT is(t.done(1, id), 'parked', prompt || ': what may pass is tried again') FROM p;
UPDATE meshify.closings SET due = now(), tries = 4;
SELECT is((SELECT count(*)::int FROM meshify.finish(t.w(1), 9) WHERE answer = 'done'), 6, 'but not for ever');
SELECT set_config('meshify.sent_as', '', false);
SELECT isnt((SELECT job_id FROM meshify.enqueue('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-0000000000aa', 'raise 55P03', NULL)), NULL, 'nor does an enqueue fail for it');
UPDATE meshify.settings SET value = 'on' WHERE key = 'paused';
SELECT is(meshify.cancel((SELECT id FROM public.jobs WHERE status = 'pending')), 'canceled', 'nor a cancel');
CREATE TEMP TABLE del AS SELECT t.job('raise 3F000') AS id;
SELECT lives_ok($$DELETE FROM public.mesh_assets a USING public.jobs j WHERE a.id = j.asset_id AND j.id = (SELECT id FROM del)$$, 'nor a deletion');
UPDATE meshify.settings SET value = 'off' WHERE key = 'paused';
SELECT set_config('meshify.sent_as', 'alone', false);
CREATE TEMP TABLE sleeps AS SELECT t.claimed(1, 'sleeps') AS id UNION ALL SELECT t.claimed(1, 'sleeps too');
SET statement_timeout = '3s';
SELECT is(t.done(1, (SELECT id FROM sleeps LIMIT 1)), 'ok', 'one that takes its time is cut off');
SET statement_timeout = '1s';
SELECT is(t.done(1, (SELECT id FROM sleeps OFFSET 1)), 'ok', 'and for a minute none is tried');
RESET statement_timeout;
DROP TRIGGER mute ON public.notifications;
UPDATE meshify.troubles SET until = now();
CREATE CONSTRAINT TRIGGER mute AFTER INSERT ON public.notifications DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.mute();
CREATE TEMP TABLE late AS SELECT t.claimed(1, 'raise P0001') AS id;
SELECT is(t.done(1, id), 'ok', 'a deferred trigger of theirs is asked at once, too') FROM late;
SELECT set_config('meshify.sent_as', '', false);
DROP TRIGGER mute ON public.notifications;

-- A statement that takes its time for other reasons: somebody deletes very much.
CREATE TRIGGER mute BEFORE INSERT ON public.notifications FOR EACH ROW EXECUTE FUNCTION public.mute();
CREATE FUNCTION public.slowly() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(1.1); RETURN OLD; END $$;
CREATE TRIGGER before_ours BEFORE DELETE ON public.mesh_assets FOR EACH ROW EXECUTE FUNCTION public.slowly();
CREATE TEMP TABLE much AS SELECT t.job('much') AS id FROM generate_series(1, 2);
DELETE FROM public.mesh_assets WHERE prompt = 'much';
DROP TRIGGER before_ours ON public.mesh_assets;
DROP TRIGGER mute ON public.notifications;
SELECT is((SELECT count(*)::int FROM meshify.events WHERE event = 'unnotified' AND job_id IN (TABLE much)), 2, 'two that can''t be told, one of them late');
SELECT ok(NOT meshify.is_troubled('notifications'), 'keep nobody else from being told');
ALTER TABLE public.jobs ENABLE TRIGGER hostile_after;
CREATE TEMP TABLE d AS SELECT t.claimed(1, 'deletes') AS id;
SELECT is(t.done(1, id), 'ok', 'a job that a trigger deletes as it ends') FROM d;
SELECT is((SELECT status FROM public.mesh_assets WHERE prompt = 'deletes'), 'done', 'has its mesh');

-- One that can't even be claimed, or taken over, keeps nobody else waiting.
ALTER TABLE public.jobs DISABLE TRIGGER hostile_after;
UPDATE public.jobs SET status = 'done' WHERE status IN ('pending', 'running');
CREATE FUNCTION public.stubborn() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.input_data ->> 'prompt' = 'raises' AND NEW.status = 'running' THEN
        RAISE EXCEPTION 'never runs';
    ELSIF NEW.input_data ->> 'prompt' = 'skips' AND NEW.status = 'running' THEN
        RETURN NULL;
    ELSIF NEW.input_data ->> 'prompt' = 'sets back' AND NEW.status = 'running' THEN
        NEW.status := 'pending';
    ELSIF NEW.input_data ->> 'prompt' = 'stays' AND OLD.status = 'running' AND NEW.status = 'pending' THEN
        RAISE EXCEPTION 'stays where it is';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER stubborn BEFORE UPDATE ON public.jobs FOR EACH ROW EXECUTE FUNCTION public.stubborn();
CREATE TEMP TABLE c AS SELECT p AS prompt, t.job(p) AS id FROM unnest(ARRAY['raises', 'skips', 'sets back', 'stays', 'good']) p;
CREATE FUNCTION pg_temp.prompts(uuid[]) RETURNS text LANGUAGE sql AS $$ SELECT string_agg(prompt, ' ' ORDER BY prompt) FROM c WHERE id = ANY ($1) $$;
SELECT is(pg_temp.prompts(ARRAY(SELECT t.claim(1))), 'good stays', 'claims take what they can');
SELECT is(pg_temp.prompts(ARRAY(SELECT job_id FROM meshify.unclaimable WHERE until > now() + interval '50 s')), 'raises sets back skips', 'the others are left alone for a minute');
SELECT is((SELECT count(*)::int FROM meshify.events WHERE event = 'unclaimable'), 3, 'and their history says why');
SELECT is_empty('SELECT t.claim(1)', 'they are not asked again and again');
SELECT is((SELECT next_usec FROM meshify.claim(t.w(1), 9, 0, false) WHERE job_id IS NULL), NULL, 'nor is there a reason to');
CREATE TEMP TABLE l AS SELECT t.job('later') AS id;
SELECT is(ARRAY(SELECT t.claim(1, 1)), ARRAY[(SELECT id FROM l)], 'nor are they in the way of those behind them');
SELECT t.worker(2);
SELECT results_eq('SELECT dead, taken FROM meshify.reap(t.w(2), ARRAY[t.w(1)], ''1 hour'')', 'VALUES (1, 2)', 'who dies leaves what can be had');
SELECT is((SELECT status || ' ' || (worker_id = t.w(1)) FROM public.jobs JOIN c USING (id) WHERE prompt = 'stays'), 'running true', 'what can''t be had stays');
SELECT is((SELECT dead FROM meshify.workers WHERE id = t.w(1)), true, 'and its worker''s row with it');
DROP TRIGGER stubborn ON public.jobs;
UPDATE meshify.unclaimable SET until = now();
SELECT is((SELECT taken FROM meshify.reap(t.w(2), '{}', '1 hour')), 1, 'until the trigger is gone');
SELECT is(pg_temp.prompts(ARRAY(SELECT t.claim(2))), 'good raises sets back skips stays', 'then all is claimed');
SELECT * FROM finish();
