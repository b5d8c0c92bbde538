-- What the project's own programs call: enqueue, cancel, prediction_changed. PostgREST serves exposed schemas only, so
-- each has a twin in public, for the service role alone.

-- Ends a pending job at once, if no prediction of it may still run. Else asks its worker, or makes the job due, so
-- that a worker takes it.
CREATE OR REPLACE FUNCTION meshify.cancel(job_id uuid) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
#variable_conflict use_column
DECLARE
    v_job uuid := cancel.job_id;
    v_status text;
BEGIN
    PERFORM FROM public.mesh_assets a WHERE a.id = (SELECT j.asset_id FROM meshify.jobs j WHERE j.id = v_job) FOR UPDATE;
    SELECT j.status::text INTO v_status FROM meshify.jobs j WHERE j.id = v_job FOR UPDATE;
    IF NOT FOUND THEN
        RETURN 'gone';
    ELSIF v_status NOT IN ('pending', 'running') THEN
        RETURN 'ended';
    ELSIF v_status = 'pending' AND NOT meshify.may_run(v_job) THEN
        PERFORM meshify.end_without(v_job, 'canceled', 'canceled', 'canceled');
        RETURN 'canceled';
    END IF;
    UPDATE meshify.jobs j SET cancel_requested_at = coalesce(j.cancel_requested_at, now()) WHERE j.id = v_job;
    PERFORM meshify.note(v_job, 'cancel_asked');
    RETURN 'asked'; -- the trigger below tells the workers
END $$;

-- For a webhook: the worker that waits for this prediction asks for it at once.
CREATE OR REPLACE FUNCTION meshify.prediction_changed(prediction_id text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    IF EXISTS (SELECT FROM meshify.predictions p
               WHERE p.prediction_id = prediction_changed.prediction_id AND p.finished_at IS NULL) THEN
        PERFORM pg_catalog.pg_notify('meshify_control', json_build_object('prediction', prediction_changed.prediction_id)::text);
    END IF;
END $$;

-- A cancel was asked for, by meshify.cancel() or by writing the column: the worker that has the job hears of it. A
-- job that waits becomes due, so that the worker that claims it cancels what was bought.
CREATE OR REPLACE FUNCTION meshify.cancel_asked() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_status text;
BEGIN
    SELECT j.status::text INTO v_status FROM meshify.jobs j WHERE j.id = NEW.id;
    IF v_status IN ('pending', 'running') THEN
        PERFORM pg_catalog.pg_notify('meshify_control', json_build_object('cancel', NEW.id)::text);
    END IF;
    IF v_status = 'pending' THEN
        UPDATE meshify.jobs j SET run_after = least(j.run_after, now()) WHERE j.id = NEW.id;
        PERFORM pg_catalog.pg_notify('meshify_jobs', '');
    END IF;
    RETURN NULL;
END $$;

-- The columns of public.projects that may name a project's owner; the first that is not null counts. They are known
-- by their names; else by a foreign key to users; else by a policy that compares them with the user.
CREATE OR REPLACE FUNCTION meshify.project_owner_columns() RETURNS text[]
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH found AS (
        SELECT a.attname::text AS name, a.attnum,
               array_position(ARRAY['owner_id', 'user_id', 'owner', 'profile_id', 'created_by', 'creator_id', 'author_id'], a.attname::text) AS called,
               EXISTS (SELECT FROM pg_catalog.pg_constraint k
                       WHERE k.conrelid = a.attrelid AND k.contype = 'f' AND k.conkey = ARRAY[a.attnum]
                         AND k.confrelid IN (to_regclass('public.profiles'), to_regclass('auth.users'))) AS refers,
               EXISTS (SELECT FROM pg_catalog.pg_policy y,
                                   LATERAL (SELECT pg_catalog.pg_get_expr(coalesce(y.polqual, y.polwithcheck), y.polrelid) AS rule) r
                       WHERE y.polrelid = a.attrelid AND r.rule ~ '\muid\(\)'
                         AND r.rule ~ ('(?<![.\w"])"?' || regexp_replace(a.attname, '(\W)', '\\\1', 'g') || '"?(?!\w)')) AS compared
        FROM pg_catalog.pg_attribute a
        WHERE a.attrelid = 'public.projects'::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attname <> 'id'
          AND a.atttypid IN ('uuid'::regtype, 'text'::regtype, 'varchar'::regtype))
    SELECT coalesce(array_agg(f.name ORDER BY f.called, f.attnum) FILTER (WHERE f.called IS NOT NULL),
                    array_agg(f.name ORDER BY f.attnum) FILTER (WHERE f.refers),
                    array_agg(f.name ORDER BY f.attnum) FILTER (WHERE f.compared)) FROM found f
$$;

-- A call with a request_id gets the answer of this user's first call with it, as long as the asset is there: so a
-- caller that had no answer in time can call again, and nothing is charged twice. If the job's row alone was
-- deleted, the id is used up.
CREATE OR REPLACE FUNCTION meshify.enqueue(
    user_id uuid, project_id uuid, prompt text, image_url text, free boolean DEFAULT false, request_id uuid DEFAULT NULL,
    OUT asset_id uuid, OUT job_id uuid)
    RETURNS record LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
#variable_conflict use_column
DECLARE
    v_user uuid := enqueue.user_id;
    v_project uuid := enqueue.project_id;
    v_free boolean := coalesce(enqueue.free, false);
    v_request uuid := enqueue.request_id;
    v_hash text;
    v_prompt text;
    v_image text;
    v_max_prompt int := coalesce(nullif(meshify.setting('max_prompt')::int, 0), meshify.most_prompt());
    v_price numeric := CASE WHEN v_free THEN 0 ELSE meshify.setting('price')::numeric END;
    v_max int := meshify.setting('max_pending_jobs')::int;
    v_asset uuid;
    v_job uuid;
    v_whose text;
    v_same boolean;
    r record;
BEGIN
    IF octet_length(enqueue.prompt) > v_max_prompt THEN
        RAISE EXCEPTION 'the prompt has % bytes, at most % are taken', octet_length(enqueue.prompt), v_max_prompt
            USING ERRCODE = 'MF400', HINT = 'Shorten it, or let an operator raise the limit: meshifyctl settings max_prompt N.';
    ELSIF octet_length(enqueue.image_url) > 8192 THEN
        RAISE EXCEPTION 'image_url has % bytes, at most 8192 are taken', octet_length(enqueue.image_url) USING ERRCODE = 'MF400';
    END IF;
    v_prompt := meshify.unless_blank(enqueue.prompt);
    v_image := meshify.unless_blank(enqueue.image_url);
    IF v_user IS NULL OR v_project IS NULL OR (v_prompt IS NULL AND v_image IS NULL) THEN
        RAISE EXCEPTION 'missing: %', concat_ws(', ', CASE WHEN v_user IS NULL THEN 'user_id' END, CASE WHEN v_project IS NULL THEN 'project_id' END,
            CASE WHEN v_prompt IS NULL AND v_image IS NULL THEN 'a prompt or an image'
                || CASE WHEN concat(enqueue.prompt, enqueue.image_url) <> '' THEN ' (what was given holds only blanks)' ELSE '' END END)
            USING ERRCODE = 'MF400';
    END IF;

    FOR r IN SELECT * FROM (VALUES ('the prompt', 'prompt', v_prompt), ('image_url', 'input_image_path', v_image)) AS w (what, col, value)
             WHERE char_length(w.value) > meshify.room('public.mesh_assets', w.col) LOOP
        RAISE EXCEPTION '% has % characters, at most % fit into mesh_assets.%', r.what, char_length(r.value), meshify.room('public.mesh_assets', r.col), r.col
            USING ERRCODE = 'MF400', HINT = 'An operator can widen the column: meshifyctl doctor says how.';
    END LOOP;

    -- First the project is locked, then the profile, then the user's jobs are counted: each call of a user waits for the one before.
    v_whose := meshify.lock_project(v_project, v_user);
    PERFORM FROM public.profiles p WHERE p.id = v_user FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        PERFORM pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('meshify.enqueue ' || v_user, 0));
    END IF;
    IF v_request IS NOT NULL THEN
        v_hash := encode(sha256(convert_to(jsonb_build_array(v_project, v_prompt, v_image, v_free)::text, getdatabaseencoding())), 'hex');
        SELECT c.asset_id, c.job_id, c.request_hash = v_hash INTO v_asset, v_job, v_same
        FROM meshify.charges c WHERE c.user_id = v_user AND c.request_id = v_request;
        IF FOUND AND NOT EXISTS (SELECT FROM public.mesh_assets a WHERE a.id = v_asset) THEN
            UPDATE meshify.charges c SET request_id = NULL WHERE c.asset_id = v_asset;
        ELSIF FOUND THEN
            IF NOT v_same THEN
                RAISE EXCEPTION 'request_id % was used before, for another project, prompt or image', v_request USING ERRCODE = 'MF400',
                    HINT = 'A request that is not a repetition needs a request_id of its own.';
            ELSIF NOT EXISTS (SELECT FROM meshify.jobs j WHERE j.id = v_job) THEN
                RAISE EXCEPTION 'request_id % was used before, and its job was deleted', v_request USING ERRCODE = 'MF400',
                    HINT = format('What became of it stands in asset %s. To have another mesh made, call with a request_id of its own.', v_asset);
            END IF;
            enqueue.asset_id := v_asset;
            enqueue.job_id := v_job;
            RETURN;
        END IF;
    END IF;
    IF v_whose = 'gone' THEN
        RAISE EXCEPTION 'project % does not exist', v_project USING ERRCODE = 'MF400';
    ELSIF v_whose <> 'ok' THEN
        RAISE EXCEPTION 'project % does not belong to user %', v_project, v_user USING ERRCODE = 'MF400';
    END IF;
    IF v_max > 0 AND (SELECT count(*) FROM meshify.jobs j
                      WHERE j.user_id = v_user AND j.status = 'pending') >= v_max THEN
        RAISE EXCEPTION 'the user has % pending jobs already', v_max
            USING ERRCODE = 'MF429', HINT = 'Wait until some of them have ended; an operator can raise the limit: meshifyctl settings max_pending_jobs N.';
    END IF;
    IF v_price > 0 THEN
        UPDATE public.profiles p
        SET credits_remaining = p.credits_remaining - v_price, credits_used = p.credits_used + v_price
        WHERE p.id = v_user AND p.credits_remaining >= v_price AND p.credits_remaining::float8 <> 'NaN'; -- more than any number
        IF NOT FOUND THEN
            RAISE EXCEPTION 'too few credits: % are needed', v_price USING ERRCODE = 'MF402';
        END IF;
    END IF;
    INSERT INTO public.mesh_assets (project_id, owner_id, prompt, input_image_path, status, credits_cost)
    VALUES (v_project, v_user, meshify.null_or_empty('public.mesh_assets', 'prompt', v_prompt),
            meshify.null_or_empty('public.mesh_assets', 'input_image_path', v_image), 'pending', v_price) RETURNING id INTO v_asset;
    INSERT INTO meshify.jobs (user_id, project_id, asset_id, status, input_data)
    VALUES (v_user, v_project, v_asset, 'pending',
            jsonb_strip_nulls(jsonb_build_object('prompt', v_prompt, 'input_image_url', v_image)))
    RETURNING id INTO v_job;
    -- The trigger has recorded a charge by the row alone; here it is known what was taken.
    INSERT INTO meshify.charges AS c (asset_id, user_id, credits, cost, inserted_by, job_id, request_id, request_hash)
    VALUES (v_asset, v_user, v_price, v_price, 'meshify.enqueue', v_job, v_request, v_hash)
    ON CONFLICT (asset_id) DO UPDATE SET user_id = excluded.user_id, credits = excluded.credits, cost = excluded.cost,
        inserted_by = excluded.inserted_by, job_id = excluded.job_id, request_id = excluded.request_id, request_hash = excluded.request_hash;
    PERFORM meshify.notify_user(v_user, 'info', 'Mesh Generation Started',
        'Your 3D mesh "' || left(coalesce(v_prompt, ''), 100) || '" is being generated.', v_job);
    enqueue.asset_id := v_asset;
    enqueue.job_id := v_job;
END $$;

CREATE OR REPLACE FUNCTION public.meshify_enqueue(
    user_id uuid, project_id uuid, prompt text, image_url text DEFAULT NULL, free boolean DEFAULT false, request_id uuid DEFAULT NULL,
    OUT asset_id uuid, OUT job_id uuid)
    RETURNS record LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$ SELECT e.asset_id, e.job_id FROM meshify.enqueue($1, $2, $3, $4, $5, $6) e $$;

CREATE OR REPLACE FUNCTION public.meshify_cancel(job_id uuid) RETURNS text
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$ SELECT meshify.cancel($1) $$;

CREATE OR REPLACE FUNCTION public.meshify_prediction_changed(prediction_id text) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$ SELECT meshify.prediction_changed($1) $$;

SELECT meshify.restrict_execute('meshify.cancel(uuid)', 'service_role', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.prediction_changed(text)', 'service_role', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.cancel_asked()');
SELECT meshify.restrict_execute('meshify.project_owner_columns()');
SELECT meshify.restrict_execute('meshify.enqueue(uuid, uuid, text, text, boolean, uuid)', 'service_role', 'meshify_worker');
SELECT meshify.restrict_execute('public.meshify_enqueue(uuid, uuid, text, text, boolean, uuid)', 'service_role');
SELECT meshify.restrict_execute('public.meshify_cancel(uuid)', 'service_role');
SELECT meshify.restrict_execute('public.meshify_prediction_changed(text)', 'service_role');
