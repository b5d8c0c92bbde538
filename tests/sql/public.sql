-- What others call, and what nobody else may.
SELECT no_plan();
SELECT t.worker(1);
\set user '''00000000-0000-0000-0000-00000000000a'''
\set poor '''00000000-0000-0000-0000-00000000000b'''
\set project '''00000000-0000-0000-0000-0000000000aa'''
\set poors '''00000000-0000-0000-0000-0000000000bb'''
INSERT INTO public.projects (id, owner_id, name) VALUES (:poors, :poor, 'another''s');

CREATE TEMP TABLE e AS SELECT * FROM meshify.enqueue(:user, :project, 'a chair', NULL);
SELECT results_eq('SELECT type, status, input_data FROM public.jobs', $$VALUES ('meshify', 'pending', '{"prompt":"a chair"}'::jsonb)$$, 'enqueue inserts the job');
SELECT results_eq('SELECT status, credits_cost, owner_id FROM public.mesh_assets', $$VALUES ('pending', 25::numeric, '00000000-0000-0000-0000-00000000000a'::uuid)$$, 'and the asset');
SELECT results_eq('SELECT credits_remaining, credits_used FROM public.profiles WHERE id = ''00000000-0000-0000-0000-00000000000a''', 'VALUES (975::numeric, 25::numeric)', 'and takes the credits');
SELECT is((SELECT title FROM public.notifications), 'Mesh Generation Started', 'and tells the user');
SELECT throws_ok(format('SELECT meshify.enqueue(%L, %L, ''x'', NULL)', :poor, :poors), 'MF402', NULL, 'too few credits');
SELECT throws_ok(format('SELECT meshify.enqueue(%L, %L, '' '', NULL)', :user, :project), 'MF400', 'missing: a prompt or an image (what was given holds only blanks)', 'neither prompt nor image');
SELECT throws_ok(format('SELECT meshify.enqueue(%L, %L, NULL, NULL)', :user, :project), 'MF400', 'missing: a prompt or an image', 'nor anything at all');
SELECT throws_ok(format('SELECT meshify.enqueue(%L, %L, %L, '' '')', :user, :project, E' \t\n\u00a0\u2003\u200b\u3000\ufeff'), 'MF400', NULL, 'of which nothing would be seen');
SELECT throws_ok(format('SELECT meshify.enqueue(%L, %L, %L, NULL)', :user, :project, repeat('é', 16385)), 'MF400', 'the prompt has 32770 bytes, at most 32768 are taken', 'too long a prompt');
SELECT throws_ok(format('SELECT meshify.enqueue(%L, %L, ''x'', %L)', :user, :project, 'https://x/' || repeat('x', 8183)), 'MF400', 'image_url has 8193 bytes, at most 8192 are taken', 'too long an address');
SELECT throws_ok(format('SELECT meshify.enqueue(NULL, %L, ''x'', NULL)', :project), 'MF400', 'missing: user_id', 'no user: it alone is named');
SELECT throws_ok('SELECT meshify.enqueue(NULL, NULL, '' '', NULL)', 'MF400', 'missing: user_id, project_id, a prompt or an image (what was given holds only blanks)', 'nothing: all of it is named');
SELECT throws_ok(format('SELECT meshify.enqueue(%L, %L, ''x'', NULL)', :user, t.w(5)), 'MF400', NULL, 'no such project');
UPDATE meshify.settings SET value = '1' WHERE key = 'max_pending_jobs';
SELECT throws_ok(format('SELECT meshify.enqueue(%L, %L, ''x'', NULL)', :user, :project), 'MF429', NULL, 'too many pending jobs');
UPDATE meshify.settings SET value = '0' WHERE key = 'max_pending_jobs';
SELECT is((SELECT count(*)::int FROM public.jobs), 1, 'a refusal leaves nothing');
SELECT lives_ok(format('SELECT meshify.enqueue(%L, %L, NULL, ''https://x/y.png'', true)', :poor, :poors), 'free costs nothing');

-- Cancel.
SELECT is(meshify.cancel(t.w(99)), 'gone', 'cancel of a job that is not there');
SELECT is(meshify.cancel((SELECT job_id FROM e)), 'canceled', 'a pending job ends at once');
SELECT is(meshify.cancel((SELECT job_id FROM e)), 'ended', 'once');
SELECT is((SELECT credits_remaining FROM public.profiles WHERE id = :user), 1000::numeric, 'the credits are back');
SELECT results_eq('SELECT type, title FROM public.notifications WHERE title LIKE ''%Canceled''', $$VALUES ('info', 'Mesh Generation Canceled')$$, 'the user is told');
CREATE TEMP TABLE c AS SELECT t.claimed(1) AS id;
SELECT is(meshify.cancel((SELECT id FROM c)), 'asked', 'a running job is left to its worker');
SELECT is((SELECT status FROM public.jobs WHERE id = (SELECT id FROM c)), 'running', 'and runs on');
SELECT is(meshify.canceled(t.w(1), (SELECT id FROM c)), 'ok', 'which ends it');
CREATE TEMP TABLE u AS SELECT t.claimed(1, 'unasked') AS id;
SELECT results_eq($$SELECT cancels, to_drain FROM meshify.news(t.w(1))$$, $$VALUES ('{}'::uuid[], false)$$, 'nothing is asked of a worker');
SELECT is(meshify.canceled(t.w(1), (SELECT id FROM u)), 'lost', 'where nobody asked, no worker cancels');
SELECT results_eq('SELECT status, error FROM public.jobs WHERE id = (SELECT id FROM u)', $$VALUES ('running', NULL)$$, 'the job runs on');
SELECT is((SELECT count(*)::int FROM meshify.refunds WHERE job_id = (SELECT id FROM u)), 0, 'nothing is given back');
SELECT is(meshify.cancel((SELECT id FROM u)), 'asked', 'then somebody asks');
SELECT meshify.drain('i1');
SELECT results_eq($$SELECT cancels, to_drain FROM meshify.news(t.w(1))$$, $$SELECT ARRAY[id], true FROM u$$, 'what is asked of a worker');
SELECT is(meshify.canceled(t.w(1), (SELECT id FROM u)), 'ok', 'and it is canceled');
CREATE TEMP TABLE b AS SELECT t.claimed(1, 'bought') AS id;
SELECT t.intend(1, (SELECT id FROM b));
SELECT meshify.hand_back(t.w(1), (SELECT id FROM b), '1 h', false, '0', 'test');
SELECT is(meshify.cancel((SELECT id FROM b)), 'asked', 'a pending job with a purchase that may run is left to a worker');
SELECT results_eq('SELECT status, run_after <= now() FROM public.jobs WHERE id = (SELECT id FROM b)', $$VALUES ('pending', true)$$, 'which takes it now');
SELECT t.claim(1);
SELECT is(meshify.canceled(t.w(1), (SELECT id FROM b)), 'ok', 'and ends it');

-- Notifications wake.
SELECT dblink_connect_u('ear', :'dsn');
SELECT dblink_exec('ear', 'LISTEN meshify_jobs');
SELECT dblink_exec('ear', 'LISTEN meshify_control');
-- What the ear heard until it heard the word that was sent last.
CREATE FUNCTION pg_temp.heard() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    n record;
    found text[] := '{}';
BEGIN
    FOR i IN 1 .. 500 LOOP
        FOR n IN SELECT notify_name, extra FROM dblink_get_notify('ear') LOOP
            IF n.extra = 'over' THEN
                RETURN array_to_string(found, ' ');
            END IF;
            found := found || (n.notify_name || ':' || n.extra);
        END LOOP;
        PERFORM pg_sleep(0.02);
    END LOOP;
    RETURN 'nothing for ten seconds';
END $$;
SELECT t.job('wakes');
NOTIFY meshify_jobs, 'over';
SELECT is(pg_temp.heard(), 'meshify_jobs:', 'an insert notifies');
INSERT INTO public.jobs (type, user_id) VALUES ('thumbnail', t.w(1));
NOTIFY meshify_jobs, 'over';
SELECT is(pg_temp.heard(), '', 'an insert of another type does not');
INSERT INTO public.jobs (type, user_id) SELECT 'meshify', t.w(1) FROM generate_series(1, 50);
NOTIFY meshify_jobs, 'over';
SELECT is(pg_temp.heard(), 'meshify_jobs:', 'fifty in one statement notify once');
CREATE TEMP TABLE n AS SELECT t.claimed(1) AS id;
SELECT meshify.cancel((SELECT id FROM n));
NOTIFY meshify_jobs, 'over';
SELECT is(pg_temp.heard(), (SELECT 'meshify_jobs: meshify_control:{"cancel" : "' || id || '"}' FROM n), 'a cancel notifies');
SELECT meshify.progress(t.w(1), ARRAY[(SELECT id FROM n)], ARRAY[0.3]::real[]), meshify.heartbeat(t.w(1), '60 s', 1, false, 100000);
SELECT meshify.claim(t.w(1), 5, 0, false);
NOTIFY meshify_jobs, 'over';
SELECT is(pg_temp.heard(), '', 'progress, heartbeats and claims do not');

-- A deleted asset.
CREATE TEMP TABLE a AS SELECT t.claimed(1, 'deleted') AS id;
DELETE FROM public.mesh_assets WHERE prompt = 'deleted';
SELECT results_eq('SELECT status, cancel_requested_at IS NOT NULL FROM public.jobs WHERE id = (SELECT id FROM a)', $$VALUES ('canceled', true)$$, 'deleting an asset ends its job');
SELECT is((SELECT credits FROM meshify.refunds WHERE job_id = (SELECT id FROM a)), 25::numeric, 'and gives the credits back');

-- Who may what.
SELECT is((SELECT string_agg(p.oid::regprocedure || ' by ' || r, ', ')
           FROM pg_proc p JOIN pg_namespace s ON s.oid = p.pronamespace, unnest(ARRAY['anon', 'authenticated']) r
           WHERE (s.nspname = 'meshify' OR p.proname LIKE 'meshify%') AND has_function_privilege(r, p.oid, 'execute')), NULL, 'anon and authenticated may call nothing of ours');
SELECT is((SELECT string_agg(c.oid::regclass || ' by ' || r, ', ')
           FROM pg_class c, unnest(ARRAY['anon', 'authenticated', 'service_role', 'meshifyd']) r
           WHERE c.relnamespace = 'meshify'::regnamespace AND c.relkind IN ('r', 'v')
             AND has_table_privilege(r, c.oid, 'select, insert, update, delete')
             AND NOT (r = 'meshifyd' AND c.relname IN ('schema_version', 'stats', 'storage_usage'))), NULL, 'nor read or write a table');
SELECT is((SELECT string_agg(c.oid::regclass::text, ', ') FROM pg_class c
           WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND has_table_privilege('meshifyd', c.oid, 'select, insert, update, delete')), NULL, 'the worker''s role touches no table of the project');
SELECT set_eq($$SELECT p.proname FROM pg_proc p WHERE p.proname LIKE 'meshify%' AND has_function_privilege('service_role', p.oid, 'execute')$$,
    ARRAY['meshify_enqueue', 'meshify_cancel', 'meshify_prediction_changed'], 'the service role calls the twins');
SET ROLE service_role;
SELECT lives_ok(format('SELECT public.meshify_enqueue(user_id => %L, project_id => %L, prompt => ''x'')', :user, :project), 'by name, as PostgREST does');
RESET ROLE;
SELECT is((SELECT rolsuper FROM pg_roles WHERE rolname = current_user), false, 'all of this without a superuser');
SELECT * FROM finish();
