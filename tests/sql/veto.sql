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
SELECT throws_ok(format('SELECT t.done(1, %L)', id), NULL, NULL, prompt || ': done is refused') FROM h;
CREATE TEMP TABLE before AS SELECT pg_temp.counts() AS counts;
SELECT is(meshify.fail(t.w(1), id, 'It broke down.', 'word'), 'refused', prompt || ': so is the failing') FROM h;
SELECT is(pg_temp.counts(), (SELECT counts FROM before), 'nothing was given, nobody was told');
SELECT is((SELECT count(*)::int FROM meshify.events WHERE event = 'unended' AND detail ? 'error'), 4, 'it is written down');
SELECT is(meshify.hand_back(t.w(1), id, '0', false, '0', 'word'), 'ok', prompt || ': it goes back') FROM h;
SELECT is((SELECT bool_and(run_after > now() + interval '50 s') FROM public.jobs WHERE status = 'pending'), true, 'for a minute');
UPDATE public.jobs SET run_after = now();
SELECT is((SELECT min(crashes) FROM meshify.claim(t.w(1), 9, 0, false) WHERE job_id IS NOT NULL), 1000, 'then a worker is told to do no more than end it');
UPDATE public.jobs SET cancel_requested_at = now() WHERE id IN (SELECT id FROM h);
SELECT is((SELECT string_agg(meshify.canceled(t.w(1), id), ' ') FROM h), 'refused refused refused refused', 'nor can it be canceled');
SELECT is(pg_temp.counts(), (SELECT counts FROM before), 'with nothing given, and nobody told');
UPDATE public.jobs SET cancel_requested_at = NULL WHERE id IN (SELECT id FROM h);
-- As soon as the trigger lets it.
DROP TRIGGER hostile ON public.jobs;
ALTER TABLE public.jobs DISABLE TRIGGER hostile_after;
SELECT is((SELECT string_agg(meshify.fail(t.w(1), id, 'It broke down.', 'word'), ' ') FROM h), 'ok ok ok ok', 'without the trigger it ends');
SELECT is((SELECT count(*)::int FROM meshify.refunds), 4, 'with one refund each');
SELECT is(meshify.retry(id), 'ok', 'a retry') FROM h LIMIT 1;
SELECT is((SELECT max(crashes) FROM meshify.claim(t.w(1), 9, 0, false) WHERE job_id IS NOT NULL), 0, 'begins anew');
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
