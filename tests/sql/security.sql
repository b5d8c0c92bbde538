-- Who may what, to the last function; and what hostile words and names can do: nothing.
SELECT no_plan();
SELECT t.worker(1);
GRANT meshify_worker TO postgres; -- so that this session can try what a worker may

-- A worker's privileges, as a list: what is added is to be written down here.
SELECT bag_eq($$SELECT p.pronamespace::regnamespace || '.' || p.proname FROM pg_proc p
                WHERE has_function_privilege('meshify_worker', p.oid, 'execute') AND p.pronamespace <> 'pg_catalog'::regnamespace
                  AND NOT EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE a.grantee = 0)$$,
    ARRAY(SELECT 'meshify.' || f FROM unnest(ARRAY[
        'register', 'unregister', 'heartbeat', 'beat', 'news', 'predecessors', 'reap', 'prune', 'claim', 'compare', 'lanes', 'waits',
        'reset_crashes', 'further', 'progress', 'stored', 'done', 'fail', 'canceled', 'finish', 'hand_back',
        'intend_purchase', 'record_purchase', 'settle_purchase', 'hand_back_without', 'audit_unknown', 'found_surplus', 'audit_running', 'audit_ended',
        'tell_again',
        'enqueue', 'cancel', 'prediction_changed', 'retry', 'retry_stuck', 'cancel_stuck', 'others', 'drain', 'is_to_drain',
        'list_jobs', 'show_job', 'status', 'queue_sample', 'list_purchases', 'list_settings', 'set_setting', 'summary', 'storage_by_owner',
        'advice', 'idle_triggers', 'zoneless', 'odd_charges', 'unfit_columns', 'misfit_columns', 'lost_owner', 'setting_takes', 'seconds_between',
        'storing', 'unstoring', 'orphans_due', 'orphan_removed']) f), 'what a worker may call');
SELECT bag_eq($$SELECT p.pronamespace::regnamespace || '.' || p.proname FROM pg_proc p, aclexplode(p.proacl) a WHERE a.grantee = 'service_role'::regrole
                AND (p.pronamespace = 'meshify'::regnamespace OR p.proname LIKE 'meshify%')$$,
    ARRAY['meshify.enqueue', 'meshify.cancel', 'meshify.prediction_changed',
          'public.meshify_enqueue', 'public.meshify_cancel', 'public.meshify_prediction_changed'], 'what the service role may call');
SELECT is((SELECT string_agg(p.oid::regprocedure::text, ', ') FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
           WHERE (p.pronamespace = 'meshify'::regnamespace OR p.proname LIKE 'meshify%')
             AND a.grantee NOT IN (p.proowner, 'meshify_worker'::regrole, 'service_role'::regrole)), NULL, 'nobody else may call anything of ours');
SELECT bag_eq($$SELECT c.oid::regclass || ' ' || w FROM pg_class c, unnest(ARRAY['select', 'insert', 'update', 'references']) w
                WHERE c.relkind IN ('r', 'v', 'p', 'm', 'f') AND c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
                  AND c.relnamespace::regnamespace::text !~ '^pg_' AND has_any_column_privilege('meshify_worker', c.oid, w)
                  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')$$, -- pgTAP's
    ARRAY['meshify.schema_version select', 'meshify.stats select', 'meshify.storage_usage select'], 'what a worker may read, of all schemas');
SELECT is((SELECT string_agg(c.oid::regclass || ' ' || w, ', ') FROM pg_class c, unnest(ARRAY['delete', 'truncate', 'trigger']) w
           WHERE c.relkind IN ('r', 'v') AND c.relnamespace IN ('meshify'::regnamespace, 'public'::regnamespace)
             AND has_table_privilege('meshify_worker', c.oid, w)), NULL, 'it deletes nothing');
SELECT is((SELECT string_agg(c.oid::regclass::text, ', ') FROM pg_class c
           WHERE c.relnamespace IN ('meshify'::regnamespace, 'public'::regnamespace)
             AND CASE WHEN c.relkind = 'S' THEN has_sequence_privilege('meshify_worker', c.oid, 'usage, select, update') END), NULL, 'nor uses a sequence');
SELECT is((SELECT string_agg(m.roleid::regrole::text, ', ') FROM pg_auth_members m WHERE m.member = 'meshify_worker'::regrole), NULL, 'it inherits nothing');
SELECT results_eq($$SELECT rolsuper, rolcanlogin, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls FROM pg_roles WHERE rolname = 'meshify_worker'$$,
    'VALUES (false, false, false, false, false, false)', 'and is nothing by itself');
SELECT is((SELECT string_agg(r || ' ' || w, ', ') FROM unnest(ARRAY['anon', 'authenticated', 'service_role', 'meshify_worker']) r, unnest(ARRAY['usage', 'create']) w
           WHERE has_schema_privilege(r, 'meshify', w) AND (r, w) NOT IN (('service_role', 'usage'), ('meshify_worker', 'usage'))), NULL, 'who gets into the schema');

-- The same, tried. Whatever was done is undone; answers the SQLSTATE.
CREATE FUNCTION pg_temp.tried(p_role text, p_sql text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('role', p_role, true);
    EXECUTE p_sql;
    RAISE EXCEPTION USING ERRCODE = 'XXOK0';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END $$;
CREATE TEMP TABLE calls AS
SELECT p.oid, p.pronamespace::regnamespace || '.' || p.proname AS name,
       format('SELECT %s.%I(%s)', p.pronamespace::regnamespace, p.proname,
              (SELECT string_agg(CASE WHEN p.provariadic <> 0 AND n = p.pronargs THEN 'VARIADIC ' ELSE '' END || 'NULL::' || a::regtype, ', ' ORDER BY n)
               FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY x (a, n))) AS call
FROM pg_proc p WHERE p.pronamespace = 'meshify'::regnamespace OR (p.pronamespace = 'public'::regnamespace AND p.proname LIKE 'meshify%');
SELECT cmp_ok((SELECT count(*)::int FROM calls), '>', 50, 'there are many functions');
SELECT is((SELECT string_agg(r || ': ' || c.call || ' ' || s, ', ')
           FROM calls c, unnest(ARRAY['anon', 'authenticated', 'service_role', 'meshify_worker']) r, pg_temp.tried(r, c.call) s
           WHERE s <> '42501' AND NOT has_function_privilege(r, c.oid, 'execute')), NULL, 'every other call is refused');
SELECT is((SELECT string_agg(r || ': ' || c.oid::regclass || ' ' || s, ', ')
           FROM pg_class c, unnest(ARRAY['anon', 'authenticated', 'service_role', 'meshify_worker']) r,
                pg_temp.tried(r, format('SELECT count(*) FROM %s', c.oid::regclass)) s
           WHERE c.relnamespace = 'meshify'::regnamespace AND c.relkind IN ('r', 'v') AND s <> '42501'
             AND NOT (r = 'meshify_worker' AND c.relname IN ('schema_version', 'stats', 'storage_usage'))), NULL, 'every other read, too');
SELECT is(pg_temp.tried('meshify_worker', 'SELECT count(*) FROM public.jobs'), '42501', 'a worker does not see the jobs but through functions');
SELECT is(pg_temp.tried('anon', $$INSERT INTO public.jobs (type) VALUES ('meshify')$$), '42501', 'row security is as it was');

-- More than refund_max is not given, and it is written down.
UPDATE meshify.settings SET value = '1000000' WHERE key = 'price';
CREATE TEMP TABLE rich AS SELECT t.claimed(1, 'rich', 1000000) AS id;
CREATE TEMP TABLE before AS SELECT * FROM public.profiles;
SELECT is(meshify.fail(t.w(1), (SELECT id FROM rich), 'It broke.', 'word'), 'ok', 'a job of a million credits fails');
SELECT set_eq('TABLE public.profiles', 'TABLE before', 'for no credits');
SELECT results_eq('SELECT event, detail ->> ''credits'' FROM meshify.events WHERE job_id = (SELECT id FROM rich) AND event = ''refund_refused''',
    $$VALUES ('refund_refused', '1000000')$$, 'which is written down');
SELECT is((SELECT count(*)::int FROM meshify.refunds), 0, 'and nothing else');
UPDATE meshify.settings SET value = '25' WHERE key = 'price';
CREATE TEMP TABLE theirs AS SELECT t.claimed(1, 'theirs') AS id;
UPDATE public.jobs SET user_id = '00000000-0000-0000-0000-00000000000b' WHERE id = (SELECT id FROM theirs);
SELECT is(meshify.fail(t.w(1), (SELECT id FROM theirs), 'It broke.', 'word'), 'ok', 'a job with another''s asset');
SELECT set_eq('TABLE public.profiles', 'TABLE before', 'gives to neither');
CREATE TEMP TABLE odd AS SELECT t.claimed(1, 'odd', 'NaN') AS id UNION ALL SELECT t.claimed(1, 'odd', -5);
SELECT is((SELECT string_agg(meshify.fail(t.w(1), id, 'It broke.', 'word'), ' ') FROM odd), 'ok ok', 'costs that are no number, or below zero');
SELECT set_eq('TABLE public.profiles', 'TABLE before', 'give nothing, take nothing');

-- Every text that comes from outside, with the words that end a string somewhere.
CREATE TABLE public.canary AS SELECT 1 AS lives;
CREATE TEMP VIEW things AS
SELECT (SELECT count(*) FROM pg_class WHERE relnamespace::regnamespace::text !~ '^pg_') AS classes,
       (SELECT count(*) FROM pg_proc WHERE pronamespace::regnamespace::text !~ '^pg_') AS functions, (SELECT count(*) FROM pg_roles) AS roles;
CREATE TEMP TABLE there AS TABLE things;
CREATE TEMP TABLE words (word text);
INSERT INTO words VALUES ('''; DROP TABLE public.canary; --'), ('"; DROP TABLE public.canary; --'), ('$$; DROP TABLE public.canary; --'),
    ('\''; DROP TABLE public.canary; --'), ('); DROP TABLE public.canary; --'), ('x''||(SELECT 1/0)||'''), ('%I %L %s %1$s %%'), (E'\n\r\t\u0001\u2028\u202E'), (repeat('''"\', 100000));
CREATE TEMP TABLE used AS SELECT t.claimed(1, 'used') AS id;
SELECT t.intend(1, (SELECT id FROM used));
CREATE FUNCTION pg_temp.said(p_call text, p_undo boolean) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE p_call;
    IF to_regclass('public.canary') IS NULL THEN
        RETURN 'it dropped the table';
    ELSIF p_undo THEN
        RAISE EXCEPTION USING ERRCODE = 'XXOK0';
    END IF;
    RETURN 'XXOK0';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
-- A call about the job `used` in which every text is p_word.
CREATE FUNCTION pg_temp.a_call(p_function oid, p_word text) RETURNS text LANGUAGE sql AS $f$
    SELECT format('SELECT %s.%I(%s)', p.pronamespace::regnamespace, p.proname, (SELECT string_agg(CASE
        WHEN x.type = 'text'::regtype THEN quote_literal(p_word)
        WHEN p.proargnames[x.n] IN ('p_of', 'p_given_up') THEN quote_literal(t.of(u.id) || jsonb_build_object('step', p_word, 'hash', p_word))
        WHEN x.type = 'jsonb'::regtype THEN quote_literal(jsonb_build_array(jsonb_build_object(
            p_word, p_word, 'prompt', p_word, 'lane', p_word, 'reason', p_word, 'detail', p_word)))
        WHEN p.proargnames[x.n] = 'p_worker' THEN '''00000000-0000-0000-0000-000000000001'''
        WHEN p.proargnames[x.n] = 'user_id' THEN '''00000000-0000-0000-0000-00000000000a'''
        WHEN p.proargnames[x.n] = 'project_id' THEN '''00000000-0000-0000-0000-0000000000aa'''
        WHEN x.type = 'uuid'::regtype THEN quote_literal(u.id)
        WHEN x.type = 'uuid[]'::regtype THEN format('ARRAY[%L]::pg_catalog.uuid[]', u.id)
        WHEN x.type = 'bigint'::regtype THEN (SELECT min(n)::text FROM meshify.predictions WHERE job_id = u.id)
        WHEN x.type = 'interval'::regtype THEN '''1 min'''
        WHEN x.type = 'boolean'::regtype THEN 'true'
        WHEN x.type = 'integer'::regtype THEN '1'
        ELSE format('NULL::%s', x.type::regtype) END, ', ' ORDER BY x.n) FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY x (type, n)))
    FROM pg_proc p, pg_temp.used u WHERE p.oid = p_function
$f$;
CREATE TEMP TABLE hostile AS
SELECT pg_temp.a_call(c.oid, w.word) AS call FROM calls c, words w
WHERE has_function_privilege('service_role', c.oid, 'execute') OR has_function_privilege('meshify_worker', c.oid, 'execute');
SELECT cmp_ok((SELECT count(*)::int FROM hostile), '>', 300, 'there are many texts');
-- MF400 and the like is an answer, and 54000: a step or an id that is too large for its index.
SELECT is((SELECT string_agg(left(h.call, 200) || ' ' || left(s, 200), E'\n') FROM hostile h, pg_temp.said(h.call, true) s WHERE s !~ '^(XXOK0|MF|54000)'), NULL, 'hostile words are words');
SELECT is((SELECT string_agg(left(h.call, 200) || ' ' || left(s, 200), E'\n') FROM hostile h, pg_temp.said(h.call, false) s WHERE s !~ '^(XXOK0|MF|54000)'), NULL, 'kept, too');
SELECT is((SELECT string_agg(left(h.call, 200) || ' ' || left(s, 200), E'\n') FROM hostile h, pg_temp.said(h.call, true) s WHERE s !~ '^(XXOK0|MF|54000)'), NULL, 'and again');
SELECT lives_ok('SELECT meshify.advice(), meshify.status(), meshify.summary(''1 day''), meshify.show_job(id) FROM used', 'and whoever reads them');
SELECT results_eq('TABLE things', 'TABLE there', 'nothing came or went');

-- A function that acts for its owner looks for names in pg_catalog, and in the caller's temporary schema last.
SELECT is((SELECT string_agg(p.oid::regprocedure::text, ', ') FROM pg_proc p WHERE p.oid IN (SELECT oid FROM calls)
           AND 'search_path=pg_catalog, pg_temp' <> ALL (coalesce(p.proconfig, '{}'))), NULL, 'every function of ours has a search_path, the safe one');
-- It steals where it is called by anybody but itself. (What a sequence counted is not undone.)
CREATE SEQUENCE public.loot;
GRANT ALL ON SEQUENCE public.loot TO PUBLIC;
SELECT dblink_connect_u('mallory', replace(:'dsn', 'user=postgres', 'user=meshifyd'));
SELECT dblink_exec('mallory', $$
    CREATE FUNCTION pg_temp.steal() RETURNS pg_catalog.bool LANGUAGE plpgsql AS
        'BEGIN IF current_user <> ''meshifyd'' THEN PERFORM pg_catalog.nextval(''public.loot''); END IF; RETURN true; END';
    CREATE TEMP VIEW pg_class AS SELECT pg_temp.steal(); CREATE TEMP VIEW workers AS SELECT pg_temp.steal();
    CREATE TEMP VIEW jobs AS SELECT pg_temp.steal(); CREATE TEMP VIEW mesh_assets AS SELECT pg_temp.steal()$$);
SELECT dblink_exec('mallory', format('CREATE DOMAIN pg_temp.%1$s AS pg_catalog.%1$s CHECK (pg_temp.steal())', d))
FROM unnest(ARRAY['uuid', 'jsonb', 'timestamptz', 'regclass', 'regtype', 'regprocedure', 'float8', 'text']) d;
SELECT is((SELECT string_agg(said, ', ') FROM calls c, LATERAL (
               SELECT dblink_exec('mallory', format('DO %L', format('BEGIN PERFORM %s; RAISE EXCEPTION ''undone''; EXCEPTION WHEN OTHERS THEN NULL; END',
                   replace(pg_temp.a_call(c.oid, 'x'), 'SELECT meshify.', 'meshify.')))) AS said) d
           WHERE has_function_privilege('meshify_worker', c.oid, 'execute') AND said <> 'DO'), NULL, 'whatever a worker may call');
SELECT is((SELECT is_called FROM public.loot), false, 'names for types and tables in the caller''s temporary schema mean nothing to it');
SELECT dblink_disconnect('mallory');
SELECT * FROM finish();
