-- What was done before costs those that come after nothing: no call reads a whole table of ours, however long that is.
SELECT no_plan();
SELECT t.worker(1);
INSERT INTO public.mesh_assets (id, project_id, owner_id, prompt, credits_cost, status)
SELECT t.w(1000000 + n), '00000000-0000-0000-0000-0000000000aa', '00000000-0000-0000-0000-00000000000a', 'old', 25, 'done' FROM generate_series(1, 5000) n;
INSERT INTO public.jobs (id, type, user_id, project_id, asset_id, status, input_data)
SELECT t.w(2000000 + n), 'meshify', '00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-0000000000aa', t.w(1000000 + n), 'done', '{"prompt": "old"}'
FROM generate_series(1, 5000) n;
INSERT INTO meshify.predictions (job_id, step, purchase, attempt, worker_id, state, give_up_after, prediction_id, status, input_hash, finished_at, object_name, object_state)
SELECT t.w(2000000 + n), 'sculpt', 1, 1, t.w(1), 'bought', now(), 'p' || n, 'succeeded', 'h' || n, now(), 'old/' || n, 'used' FROM generate_series(1, 5000) n;
INSERT INTO meshify.barred SELECT t.w(2000000 + n) FROM generate_series(1, 5000) n;
INSERT INTO meshify.moved SELECT t.w(2000000 + n), t.w(1000001 + n) FROM generate_series(1, 5000) n;
INSERT INTO meshify.retries SELECT t.w(2000000 + n) FROM generate_series(1, 5000) n;
INSERT INTO meshify.refunds (job_id, n, asset_id, credits) SELECT t.w(3000000 + n), 1, t.w(4000000 + n), 25 FROM generate_series(1, 5000) n;
INSERT INTO meshify.orphans (name, job_id, since, grace, removed_at) SELECT 'gone/' || n, t.w(n), now(), '1h', now() FROM generate_series(1, 5000) n;
INSERT INTO meshify.events (job_id, event) SELECT t.w(2000000 + n), 'claimed' FROM generate_series(1, 5000) n;
ANALYZE public.jobs, public.mesh_assets, meshify.predictions, meshify.charges, meshify.barred, meshify.moved, meshify.retries, meshify.refunds, meshify.orphans, meshify.events;
CREATE TEMP TABLE new AS SELECT t.job('new ' || n) AS id, n FROM generate_series(1, 9) n;

-- Rows of tables that were read one after the other, since the transaction began.
CREATE FUNCTION pg_temp.rows_read() RETURNS bigint LANGUAGE sql AS $$
    SELECT sum(s.seq_tup_read)::bigint FROM pg_stat_xact_all_tables s WHERE s.schemaname IN ('public', 'meshify') $$;
CREATE FUNCTION pg_temp.news(p_from int, p_to int) RETURNS SETOF uuid LANGUAGE sql AS $$ SELECT id FROM new WHERE n BETWEEN p_from AND p_to $$;
CREATE FUNCTION pg_temp.path(p_job uuid) RETURNS text LANGUAGE sql AS $$ SELECT object_name FROM meshify.predictions WHERE job_id = p_job $$;
CREATE TEMP TABLE calls (n int, call text);
INSERT INTO calls VALUES
    (1, 'SELECT t.claim(1)'),
    (2, 'SELECT t.intend(1, j, ''sculpt'') FROM pg_temp.news(1, 6) j'),
    (3, 'SELECT meshify.storing(t.w(1), j, ''sculpt'', 1, ''new/'' || j, ''place'', ''1h'') FROM pg_temp.news(1, 6) j'),
    (4, 'SELECT meshify.stored(t.w(1), j, ''sculpt'', 1, pg_temp.path(j), 5, ''m'', ''{}'', ''{}'') FROM pg_temp.news(1, 6) j'),
    (5, 'SELECT meshify.done(t.w(1), j, pg_temp.path(j), 5, ''m'', ''{}'', ''{}'') FROM pg_temp.news(1, 2) j'),
    (6, 'SELECT meshify.fail(t.w(1), j, ''It broke down.'', ''word'') FROM pg_temp.news(3, 4) j'),
    (7, 'SELECT meshify.retry(j) FROM pg_temp.news(3, 3) j'),
    (8, 'SELECT meshify.cancel(j), meshify.canceled(t.w(1), j) FROM pg_temp.news(5, 5) j'),
    (9, 'SELECT meshify.unstoring(t.w(1), j, pg_temp.path(j)) FROM pg_temp.news(4, 5) j'),
    (10, 'SELECT meshify.hand_back(t.w(1), j, ''0'', true, ''0'', ''word'') FROM pg_temp.news(6, 6) j'),
    (11, 'SELECT meshify.finish(t.w(1), 10)'),
    (12, 'SELECT meshify.orphans_due(t.w(1), ''place'', 10)'),
    (13, 'SELECT meshify.reap(t.w(1), ''{}'', ''1 day'')'),
    (14, 'SELECT meshify.compare(t.w(1), ''{}'')'),
    (15, 'SELECT meshify.enqueue(''00000000-0000-0000-0000-00000000000a'', ''00000000-0000-0000-0000-0000000000aa'', ''x'', NULL, false, t.w(1))'),
    (16, 'UPDATE public.jobs SET asset_id = t.w(1000001) WHERE id = (SELECT pg_temp.news(7, 7))'),
    (17, 'DELETE FROM public.jobs WHERE id = (SELECT pg_temp.news(8, 8))'),
    (18, 'DELETE FROM public.mesh_assets WHERE id = (SELECT asset_id FROM public.jobs WHERE id = (SELECT pg_temp.news(9, 9)))'),
    (19, 'UPDATE public.mesh_assets SET id = t.w(5000000) WHERE id = t.w(1000003)'),
    (20, 'SELECT meshify.audit_unknown(t.w(1), 10), meshify.audit_running(t.w(1), 10)');
-- The calls that read more than a few.
CREATE FUNCTION pg_temp.reads() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    c record;
    v_before bigint;
BEGIN
    FOR c IN SELECT * FROM calls ORDER BY n LOOP
        v_before := pg_temp.rows_read();
        EXECUTE c.call;
        IF pg_temp.rows_read() > v_before + 1000 THEN
            RETURN NEXT c.call;
        END IF;
    END LOOP;
END $$;
SELECT is(array_to_string(ARRAY(SELECT pg_temp.reads()), '; '), '', 'each finds what it needs by an index');
SELECT is((SELECT string_agg(status, ' ' ORDER BY n) FROM public.jobs JOIN new USING (id)), 'done done pending error canceled done running canceled', 'and did what it is for');
SELECT * FROM finish();
