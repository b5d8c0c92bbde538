-- Sizes: what is too large is not read, and no claim carries too much.
SELECT no_plan();
SELECT t.worker(1);

CREATE FUNCTION pg_temp.job(name text, input jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_job uuid := t.job(name);
BEGIN
    UPDATE public.jobs SET input_data = input WHERE id = v_job;
END $$;
CREATE FUNCTION pg_temp.noise(n int) RETURNS text LANGUAGE sql AS -- which can't be compressed
$$ SELECT left(string_agg(md5(i::text), ''), n) FROM generate_series(0, n / 32) i $$;
CREATE TABLE t.input (name text, input jsonb);
INSERT INTO t.input VALUES
    ('fits', jsonb_build_object('prompt', repeat('x', 32768))),
    ('one more', jsonb_build_object('prompt', repeat('x', 32769))),
    ('in bytes', jsonb_build_object('prompt', repeat('é', 16385))),
    ('blanks', jsonb_build_object('prompt', repeat(' ', 10000000))),
    ('noise', jsonb_build_object('prompt', pg_temp.noise(1000000))),
    ('others', jsonb_build_object('prompt', 'x', 'more', pg_temp.noise(400000))),
    ('others, too large', jsonb_build_object('prompt', 'x', 'more', pg_temp.noise(600000))),
    ('others, packed', jsonb_build_object('prompt', 'x', 'more', repeat(' ', 600000))),
    ('a long address', jsonb_build_object('prompt', 'x', 'input_image_url', pg_temp.noise(100000))),
    ('no texts', '{"prompt": {"a": 1}, "input_image_url": 7}'),
    ('nulls', '{"prompt": null, "input_image_url": null}'),
    ('nothing', '{}'), ('an array', '["prompt"]'), ('a text', '"prompt"'), ('none', NULL);
SELECT pg_temp.job(name, input) FROM t.input;
CREATE TEMP TABLE got AS
SELECT p.prompt AS name, c.input_data::jsonb AS input, c.next_usec AS size
FROM meshify.claim(t.w(1), 100, 0, false) c JOIN public.jobs j ON j.id = c.job_id JOIN public.mesh_assets p ON p.id = j.asset_id;
SELECT is((SELECT count(*) FROM got), (SELECT count(*) FROM t.input), 'all are claimed at once');
SELECT results_eq('SELECT name, size FROM got WHERE size > 0 AND size < 100000 ORDER BY name COLLATE "C"',
    $$VALUES ('in bytes', 32770::bigint), ('one more', 32769::bigint)$$, 'a prompt that is too long is its size');
SELECT set_eq('SELECT name FROM got WHERE size > 512 * 1024', ARRAY['blanks', 'noise', 'others, too large', 'others, packed'], 'so is an input, packed or not');
SELECT is((SELECT count(*)::int FROM got WHERE (size IS NULL) = (input IS NULL)), 0, 'nothing of them is answered');
SELECT is((SELECT input ->> 'prompt' FROM got WHERE name = 'fits'), repeat('x', 32768), 'the longest prompt arrives');
SELECT is((SELECT input FROM got WHERE name = 'others'), '{"prompt": "x", "input_image_url": null}', 'only what is needed is answered');
SELECT is((SELECT length(input ->> 'input_image_url') FROM got WHERE name = 'a long address'), 10000, 'of an address enough to see that it is none');
SELECT is((SELECT input FROM got WHERE name = 'no texts'), '{"prompt": true, "input_image_url": true}', 'what is no text stays none');
SELECT is((SELECT input FROM got WHERE name = 'nulls'), '{"prompt": null, "input_image_url": null}', 'nulls');
SELECT is((SELECT input FROM got WHERE name = 'nothing'), '{"prompt": null, "input_image_url": null}', 'nothing');
SELECT is((SELECT array_agg(DISTINCT input) FROM got WHERE name IN ('an array', 'a text', 'none')), ARRAY['null'::jsonb], 'what is no object');

-- What was bought with a prompt goes on with it.
SELECT t.intend(1, j.id) FROM public.jobs j JOIN public.mesh_assets a ON a.id = j.asset_id WHERE a.prompt IN ('one more', 'noise');
SELECT results_eq($$SELECT length(c.input_data::jsonb ->> 'prompt'), c.next_usec > 512 * 1024 FROM meshify.compare(t.w(1), '{}') c
                    JOIN public.jobs j ON j.id = c.job_id JOIN public.mesh_assets a ON a.id = j.asset_id
                    WHERE a.prompt IN ('one more', 'noise') ORDER BY a.prompt$$,
    'VALUES (NULL, true), (32769, NULL)', 'a prompt that was bought with is not judged anew');

-- The setting.
SELECT is(meshify.set_setting('max_prompt', 'many'), 'invalid', 'max_prompt is a number');
SELECT throws_ok($$UPDATE meshify.settings SET value = 'x' WHERE key = 'max_prompt'$$, '23514', NULL, 'also by hand');
SELECT is(meshify.set_setting('max_prompt', v), 'invalid', 'max_prompt is not ' || v) FROM unnest(ARRAY['512001', '1000000', '-1', '1e3', '', ' 5', '9999999999']) v;
SELECT is(meshify.set_setting('max_prompt', '512000'), 'ok', 'it is what fits into the whole of input_data');
SELECT is(ARRAY(SELECT key FROM meshify.settings WHERE meshify.setting_takes(key) IS NULL), '{}', 'what each setting takes is said');
SELECT is(meshify.set_setting('max_prompt', '100'), 'ok', 'it can be set');
SELECT throws_ok(format($$SELECT meshify.enqueue(%L, %L, %L, NULL)$$, '00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-0000000000aa', repeat('x', 101)),
    'MF400', NULL, 'and holds');
SELECT is((meshify.input_of(jsonb_build_object('prompt', repeat('x', 101)), true)).too_large, 101::bigint, 'everywhere');
SELECT is(meshify.set_setting('max_prompt', '0'), 'ok', 'or be no limit');
SELECT is((meshify.input_of(jsonb_build_object('prompt', repeat('x', 500000)), true)).too_large, NULL, 'but that of the whole');

-- Bytes bound a claim, and more come at once.
UPDATE public.jobs SET status = 'error';
SELECT pg_temp.job('large', jsonb_build_object('prompt', pg_temp.noise(400000))) FROM generate_series(1, 12);
CREATE TEMP TABLE part AS SELECT * FROM meshify.claim(t.w(1), 100, 0, false);
SELECT cmp_ok((SELECT sum(length(input_data))::int FROM part), '<', 4200000, 'a claim carries 4 MiB');
SELECT cmp_ok((SELECT count(*)::int FROM part WHERE job_id IS NOT NULL), '>', 0, 'one job at least');
SELECT is((SELECT next_usec FROM part WHERE job_id IS NULL), 0::bigint, 'and says that there is more');
SELECT is((SELECT count(*)::int FROM public.jobs WHERE status = 'pending') + (SELECT count(*)::int FROM part WHERE job_id IS NOT NULL), 12, 'which is left');
UPDATE public.jobs SET status = 'error';
SELECT pg_temp.job('packed', jsonb_build_object('prompt', repeat(' ', 10000000))) FROM generate_series(1, 40);
CREATE FUNCTION pg_temp.slowest() RETURNS interval LANGUAGE plpgsql AS $$
DECLARE
    v_slowest interval := '0';
    v_begin timestamptz;
    v_n int;
BEGIN
    FOR i IN 1 .. 40 LOOP
        v_begin := clock_timestamp();
        SELECT count(*) INTO v_n FROM meshify.claim(t.w(1), 100, 0, false) WHERE job_id IS NOT NULL;
        v_slowest := greatest(v_slowest, clock_timestamp() - v_begin);
        EXIT WHEN v_n = 0;
    END LOOP;
    RETURN v_slowest;
END $$;
SELECT cmp_ok(pg_temp.slowest(), '<', interval '3 s', 'none takes long, whatever is packed how small');
SELECT is((SELECT count(*)::int FROM public.jobs WHERE status = 'pending'), 0, 'all are claimed in the end');

-- What a listing shows.
SELECT is(meshify.prompt_of(jsonb_build_object('prompt', pg_temp.noise(1000000))), '', 'of a prompt that is too large nothing is shown');
SELECT * FROM finish();
