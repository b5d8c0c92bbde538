-- The ledger. What an asset's user was charged is written down when the asset is inserted, in meshify.charges; nothing
-- that users may write later changes it. It goes back once, when the asset's last job ends without a mesh.
-- All lock the asset, then the job, then the charge, then the profile; meshify.enqueue() the project, then the profile.
SET LOCAL lock_timeout = '500ms'; -- a busy table: once more; before a deadlock is looked for in others (1 s)
SET LOCAL search_path = pg_catalog, pg_temp; -- nobody's names but PostgreSQL's

-- --- charges ---------------------------------------------------------------------------------

-- A cost in whatever type, as a number; 0 for what is none, which nobody has paid.
CREATE OR REPLACE FUNCTION meshify.as_credits(p_cost text) RETURNS numeric
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS
$$ SELECT CASE WHEN p_cost ~ '^[0-9]' THEN p_cost::numeric ELSE 0 END $$;

-- A row that a user inserts was paid by nobody. PostgREST works as the user's role, which current_user does not
-- show in a function that acts for its owner. A column that the project took away or renamed is no reason to refuse
-- its row: what is not there was not charged.
CREATE OR REPLACE FUNCTION meshify.charge_asset() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_role text := current_setting('role');
    v_row jsonb := to_jsonb(NEW);
    v_cost numeric := meshify.as_credits(v_row ->> 'credits_cost');
BEGIN
    INSERT INTO meshify.charges (asset_id, user_id, credits, cost, inserted_by)
    VALUES (NEW.id, (v_row ->> 'owner_id')::uuid, CASE WHEN v_role IN ('anon', 'authenticated') THEN 0
                                       ELSE least(v_cost, coalesce(meshify.setting('price')::numeric, 0)) END, v_cost, v_role)
    ON CONFLICT (asset_id) DO NOTHING;
    RETURN NULL;
END $$;
SELECT meshify.only_for('meshify.as_credits(text)');
SELECT meshify.only_for('meshify.charge_asset()');

-- What is there is recorded as it stands, once: most of it before the table is locked, the rest behind the lock. Later
-- on, what was inserted while the trigger was disabled.
DO $$
DECLARE
    v_at text := coalesce((SELECT format('coalesce(a.%I::timestamptz, now())', t.attname) FROM pg_catalog.pg_attribute t
                           WHERE t.attrelid = 'public.mesh_assets'::regclass AND t.attname = 'created_at' AND NOT t.attisdropped
                             AND t.atttypid IN ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype)), 'now()');
    v_fill text := format($f$
        INSERT INTO meshify.charges (asset_id, user_id, credits, cost, at, made_at)
        SELECT a.id, a.owner_id, least(meshify.as_credits(a.credits_cost::text), coalesce(meshify.setting('price')::numeric, 0)),
               meshify.as_credits(a.credits_cost::text), %s, CASE WHEN a.status::text = 'done' THEN now() END
        FROM public.mesh_assets a WHERE NOT EXISTS (SELECT FROM meshify.charges c WHERE c.asset_id = a.id)$f$, v_at);
BEGIN
    EXECUTE v_fill;
    IF EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = 'public.mesh_assets'::regclass AND t.tgname = 'meshify_charge') THEN
        RETURN;
    END IF;
    CREATE TRIGGER meshify_charge AFTER INSERT ON public.mesh_assets FOR EACH ROW EXECUTE FUNCTION meshify.charge_asset();
    EXECUTE v_fill;
    UPDATE meshify.charges c SET made_at = now()
    FROM public.mesh_assets a WHERE a.id = c.asset_id AND c.made_at IS NULL AND a.status::text = 'done';
    UPDATE meshify.refunds r SET asset_id = j.asset_id FROM meshify.jobs j WHERE j.id = r.job_id AND r.asset_id IS NULL;
END $$;

-- --- refunds ---------------------------------------------------------------------------------

-- Gives back what was charged for an asset, if p_job was its last job. Answers what was given. The caller has locked
-- the asset; where there is none any more, the charge is what calls wait for each other at.
CREATE OR REPLACE FUNCTION meshify.refund(p_job uuid, p_user uuid, p_asset uuid) RETURNS numeric
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    c meshify.charges;
    a record;
    v_back numeric;
    v_own numeric;
    v_given numeric;
BEGIN
    -- Written, not only locked: a transaction that sees less, by its isolation level, fails rather than reckons with it.
    UPDATE meshify.charges x SET credits = x.credits WHERE x.asset_id = p_asset RETURNING * INTO c;
    SELECT x.owner_id, x.status::text AS status INTO a FROM public.mesh_assets x WHERE x.id = p_asset;
    IF meshify.setting('refund') IS DISTINCT FROM 'on' OR c.credits IS NULL OR c.credits <= 0
       OR a.owner_id IS DISTINCT FROM p_user OR c.user_id IS DISTINCT FROM p_user OR meshify.has_other_job(p_job, p_asset) THEN
        RETURN 0;
    END IF;
    SELECT coalesce(sum(r.credits), 0), coalesce(sum(r.credits) FILTER (WHERE r.job_id = p_job), 0)
    INTO v_back, v_own FROM meshify.refunds r WHERE r.asset_id = p_asset;
    IF v_back > 0 OR c.made_at IS NOT NULL THEN
        PERFORM meshify.bar(p_job, p_asset);
    END IF;
    IF v_back <> 0 OR c.made_at IS NOT NULL OR a.status = 'done' THEN
        IF v_own <= 0 THEN
            PERFORM meshify.note(p_job, 'refund_refused', jsonb_build_object('credits', c.credits, 'reason',
                CASE WHEN v_back <> 0 THEN 'given back for another job of the asset' WHEN meshify.has_made(p_job) THEN 'this job made the asset' ELSE 'another job made the asset' END));
        END IF;
        RETURN 0;
    ELSIF c.credits > meshify.setting('refund_max')::numeric THEN
        PERFORM meshify.note(p_job, 'refund_refused', jsonb_build_object('credits', c.credits));
        RAISE WARNING USING ERRCODE = 'MF100', MESSAGE = format('job %s: no refund, its %s credits are above refund_max; '
            'to allow it: meshifyctl settings refund_max %s', p_job, c.credits, ceil(c.credits));
        RETURN 0;
    END IF;
    UPDATE public.profiles p
    SET credits_remaining = p.credits_remaining + c.credits, credits_used = p.credits_used - c.credits
    WHERE p.id = p_user;
    v_given := CASE WHEN FOUND THEN c.credits ELSE 0 END; -- the profile was deleted: that is written down, too
    INSERT INTO meshify.refunds (job_id, n, asset_id, user_id, credits)
    SELECT p_job, coalesce(max(r.n), 0) + 1, p_asset, p_user, v_given FROM meshify.refunds r WHERE r.job_id = p_job;
    PERFORM meshify.bar(p_job, p_asset) WHERE v_given > 0;
    RETURN v_given;
END $$;

-- A job that failed or was canceled, again; also one whose status somebody wrote after its credits had gone back.
-- Credits that were given back are taken again from whom they were given to, if they suffice.
CREATE OR REPLACE FUNCTION meshify.retry(p_job uuid) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    j record;
    a record;
    v_back numeric;
BEGIN
    PERFORM FROM public.mesh_assets x WHERE x.id = (SELECT y.asset_id FROM meshify.jobs y WHERE y.id = p_job) FOR UPDATE;
    SELECT x.status::text AS status, x.user_id, x.asset_id INTO j
    FROM meshify.jobs x WHERE x.id = p_job FOR UPDATE;
    IF NOT FOUND THEN
        RETURN 'gone';
    ELSIF j.status = 'done' THEN
        RETURN 'done';
    ELSIF j.status IN ('pending', 'running') AND NOT meshify.is_barred(p_job, j.asset_id) THEN
        RETURN 'unfinished';
    END IF;
    SELECT x.status::text AS status, x.owner_id INTO a FROM public.mesh_assets x WHERE x.id = j.asset_id;
    IF NOT FOUND THEN
        RETURN 'no_asset';
    ELSIF a.status = 'done' THEN
        RETURN 'done'; -- by another job: its row and file stay
    ELSIF a.owner_id IS DISTINCT FROM j.user_id AND meshify.is_refunded(j.asset_id) THEN
        RETURN 'no_asset'; -- of this user, who got nothing back
    END IF;

    PERFORM FROM meshify.charges c WHERE c.asset_id = j.asset_id FOR UPDATE;
    SELECT coalesce(sum(r.credits), 0) INTO v_back FROM meshify.refunds r WHERE r.asset_id = j.asset_id;
    IF v_back > 0 THEN
        UPDATE public.profiles p
        SET credits_remaining = p.credits_remaining - v_back, credits_used = p.credits_used + v_back
        WHERE p.id = j.user_id AND p.credits_remaining >= v_back AND p.credits_remaining::float8 <> 'NaN';
        IF NOT FOUND THEN
            RETURN 'credits';
        END IF;
        INSERT INTO meshify.refunds (job_id, n, asset_id, user_id, credits)
        SELECT p_job, coalesce(max(r.n), 0) + 1, j.asset_id, j.user_id, -v_back FROM meshify.refunds r WHERE r.job_id = p_job;
    END IF;
    -- Nothing can be found out any more about a purchase this old: the operator has decided.
    UPDATE meshify.predictions p SET state = 'given_up'
    WHERE p.job_id = p_job AND p.state = 'intended' AND p.intent_at < now() - interval '1 hour';
    -- What still runs for an ended job is being cancelled: polled again, it would cost this try an attempt.
    UPDATE meshify.predictions p SET state = 'surplus' WHERE p.job_id = p_job AND p.state = 'bought' AND p.finished_at IS NULL;
    UPDATE meshify.jobs x
    SET status = 'pending', error = meshify.fit('public.jobs', 'error', NULL), completed_at = NULL, attempts = 0, crashes = 0, progress = NULL, worker_id = NULL,
        run_after = now(), worked = '0', cancel_requested_at = NULL
    WHERE x.id = p_job;
    UPDATE public.mesh_assets x SET status = 'pending' WHERE x.id = j.asset_id;
    PERFORM meshify.retried(p_job);
    DELETE FROM meshify.barred b WHERE b.job_id = p_job;
    PERFORM meshify.note(p_job, 'retried', CASE WHEN v_back > 0 THEN jsonb_build_object('credits', v_back) END);
    PERFORM pg_catalog.pg_notify('meshify_jobs', '');
    RETURN 'ok';
END $$;

-- What a job that nobody is to work on ends with.
CREATE OR REPLACE FUNCTION meshify.why_barred(p_job uuid) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN meshify.is_made((SELECT j.asset_id FROM meshify.jobs j WHERE j.id = p_job))
           THEN jsonb_build_object('sentence', 'This mesh was made before.', 'reason', 'made_before')
           ELSE jsonb_build_object('sentence', 'The credits for this mesh were given back, so it was not made.', 'reason', 'refunded') END
$$;

DROP FUNCTION IF EXISTS meshify.ledger(uuid, uuid);
SELECT meshify.only_for('meshify.why_barred(uuid)');
SELECT meshify.only_for('meshify.refund(uuid, uuid, uuid)');
SELECT meshify.only_for('meshify.retry(uuid)', 'meshify_worker');

-- --- rows that change their ids --------------------------------------------------------------

-- What was decided about a job holds for it under another id, and for another asset.
CREATE OR REPLACE FUNCTION meshify.job_moved() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO meshify.moved (job_id, asset_id)
    SELECT NEW.id, OLD.asset_id WHERE OLD.asset_id <> NEW.asset_id OR NEW.asset_id IS NULL AND OLD.asset_id IS NOT NULL
    UNION SELECT NEW.id, m.asset_id FROM meshify.moved m WHERE m.job_id = OLD.id
    ON CONFLICT DO NOTHING;
    INSERT INTO meshify.barred (job_id) SELECT NEW.id FROM meshify.barred b WHERE b.job_id = OLD.id ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;

-- What was charged for an asset, and went back, goes along, unless the new id has a charge of its own; and so does
-- which jobs it was worked on by, or named by before.
CREATE OR REPLACE FUNCTION meshify.asset_renamed() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE meshify.charges c SET asset_id = NEW.id
    WHERE c.asset_id = OLD.id AND NOT EXISTS (SELECT FROM meshify.charges o WHERE o.asset_id = NEW.id);
    IF FOUND THEN
        UPDATE meshify.refunds r SET asset_id = NEW.id WHERE r.asset_id = OLD.id;
        UPDATE meshify.predictions p SET asset_id = NEW.id WHERE p.asset_id = OLD.id;
        WITH gone AS (DELETE FROM meshify.moved m WHERE m.asset_id = OLD.id RETURNING m.job_id)
        INSERT INTO meshify.moved (job_id, asset_id)
        SELECT g.job_id, NEW.id FROM gone g ON CONFLICT DO NOTHING; -- what a foreign key takes along now comes after this
    END IF;
    RETURN NULL;
END $$;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = 'public.jobs'::regclass AND t.tgname = 'meshify_job_moved') THEN
        CREATE TRIGGER meshify_job_moved AFTER UPDATE OF id, asset_id ON public.jobs FOR EACH ROW
            WHEN (OLD.id <> NEW.id OR OLD.asset_id IS DISTINCT FROM NEW.asset_id) EXECUTE FUNCTION meshify.job_moved();
    END IF;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger t
                   WHERE t.tgrelid = 'public.mesh_assets'::regclass AND t.tgname = 'meshify_asset_renamed') THEN
        CREATE TRIGGER meshify_asset_renamed AFTER UPDATE OF id ON public.mesh_assets FOR EACH ROW
            WHEN (OLD.id <> NEW.id) EXECUTE FUNCTION meshify.asset_renamed();
    END IF;
END $$;
SELECT meshify.only_for('meshify.job_moved()');
SELECT meshify.only_for('meshify.asset_renamed()');

-- --- rows that are deleted -------------------------------------------------------------------

-- The asset's: meshify.asset_deleted(). It begins here, where all that it calls is there: people write meanwhile.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger t
                   WHERE t.tgrelid = 'public.mesh_assets'::regclass AND t.tgname = 'meshify_asset_deleted') THEN
        CREATE TRIGGER meshify_asset_deleted BEFORE DELETE ON public.mesh_assets
            FOR EACH ROW EXECUTE FUNCTION meshify.asset_deleted();
    END IF;
END $$;

-- Before a job's row is deleted, by hand or with its project: what was charged goes back if it was the asset's last
-- job, and what was bought is nobody's. The job is locked before its asset here, against the order: so this is what
-- gives way, before the server looks for a deadlock (after 1 s).
DO $do$
BEGIN
    EXECUTE format($$
        CREATE OR REPLACE FUNCTION meshify.job_deleted() RETURNS trigger
            LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '800ms' AS $f$
        BEGIN
            IF NOT (%s) OR OLD.status NOT IN ('pending', 'running') THEN
                RETURN OLD;
            END IF;
            PERFORM FROM public.mesh_assets a WHERE a.id = OLD.asset_id FOR UPDATE;
            IF NOT meshify.has_other_job(OLD.id, OLD.asset_id) THEN
                UPDATE public.mesh_assets a SET status = 'error' WHERE a.id = OLD.asset_id AND a.status <> 'done'
                  AND EXISTS (SELECT FROM public.projects p WHERE p.id = a.project_id); -- or it is about to be deleted, too
            END IF;
            UPDATE meshify.predictions p SET state = 'surplus', audited_at = NULL
            WHERE p.job_id = OLD.id AND p.state = 'bought' AND p.finished_at IS NULL;
            DELETE FROM meshify.closings c WHERE c.job_id = OLD.id;
            PERFORM meshify.notify_user(OLD.user_id, 'info', 'Mesh Generation Canceled', 'Your 3D mesh generation was canceled.', OLD.id);
            PERFORM meshify.note(OLD.id, 'canceled', jsonb_build_object(
                'reason', 'job deleted', 'refund', meshify.refund(OLD.id, OLD.user_id, OLD.asset_id)));
            PERFORM pg_catalog.pg_notify('meshify_control', json_build_object('cancel', OLD.id)::text);
            RETURN OLD;
        END $f$ $$, meshify.is_ours('OLD'));
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = 'public.jobs'::regclass AND t.tgname = 'meshify_job_deleted') THEN
        CREATE TRIGGER meshify_job_deleted BEFORE DELETE ON public.jobs
            FOR EACH ROW EXECUTE FUNCTION meshify.job_deleted();
    END IF;
END $do$;
SELECT meshify.only_for('meshify.job_deleted()');

-- --- names of objects ------------------------------------------------------------------------

CREATE UNIQUE INDEX IF NOT EXISTS predictions_object ON meshify.predictions (object_name) WHERE object_name IS NOT NULL;
CREATE INDEX IF NOT EXISTS predictions_asset ON meshify.predictions (asset_id) WHERE asset_id IS NOT NULL;

CREATE OR REPLACE FUNCTION meshify.purchase_asset() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.asset_id := (SELECT j.asset_id FROM meshify.jobs j WHERE j.id = NEW.job_id);
    RETURN NEW;
END $$;
DROP TRIGGER IF EXISTS meshify_purchase_asset ON meshify.predictions;
CREATE TRIGGER meshify_purchase_asset BEFORE INSERT ON meshify.predictions
    FOR EACH ROW EXECUTE FUNCTION meshify.purchase_asset();

-- The name that the file of a purchase is stored under, which is this purchase's until a DELETE is sent for it, so that no name is ever
-- written with other bytes: p_path, or p_path with _2, _3 … before its extension, counted over all jobs of the
-- asset. A purchase counts that was stored, or that went well before this one: an older program may be storing it,
-- and writes no name down. NULL: there is no such purchase.
CREATE OR REPLACE FUNCTION meshify.name_object(p_job uuid, p_step text, p_purchase int, p_path text) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    p record;
    v_asset uuid;
    v_number bigint;
    v_name text;
BEGIN
    SELECT o.asset_id, o.object_name, o.intent_at INTO p FROM meshify.predictions o
    WHERE o.job_id = p_job AND o.step = p_step AND o.purchase = p_purchase FOR UPDATE;
    IF NOT FOUND OR (p.object_name IS NOT NULL AND NOT meshify.is_orphan(p.object_name)) THEN
        RETURN p.object_name;
    END IF;
    v_asset := coalesce(p.asset_id, (SELECT j.asset_id FROM meshify.jobs j WHERE j.id = p_job));
    SELECT count(*) INTO v_number FROM meshify.predictions o
    WHERE (o.asset_id = v_asset OR o.job_id = p_job OR o.job_id = ANY (ARRAY(SELECT j.id FROM meshify.jobs j WHERE j.asset_id = v_asset))) -- an array: indexes
      AND NOT (o.job_id = p_job AND o.step = p_step AND o.purchase = p_purchase)
      AND (o.object_name IS NOT NULL
           OR o.step = p_step AND o.status = 'succeeded'
              AND CASE WHEN o.job_id = p_job THEN o.purchase < p_purchase ELSE o.intent_at < p.intent_at END);
    LOOP
        v_number := v_number + 1;
        v_name := CASE v_number WHEN 1 THEN p_path ELSE regexp_replace(p_path, '(\.[^./]*)?$', '_' || v_number || '\1') END;
        CONTINUE WHEN meshify.is_orphan(v_name) OR EXISTS (SELECT FROM meshify.predictions o WHERE o.object_name = v_name)
                   OR EXISTS (SELECT FROM public.mesh_assets a WHERE a.id = v_asset AND a.output_path = v_name);
        BEGIN
            UPDATE meshify.predictions o SET object_name = v_name
            WHERE o.job_id = p_job AND o.step = p_step AND o.purchase = p_purchase;
            RETURN v_name;
        EXCEPTION WHEN unique_violation THEN
            NULL; -- another job of the asset was quicker
        END;
    END LOOP;
END $$;
SELECT meshify.only_for('meshify.purchase_asset()');
SELECT meshify.only_for('meshify.name_object(uuid, text, int, text)');

-- --- enqueue ---------------------------------------------------------------------------------

-- The columns of public.projects that may say whose a project is, the first that is not null does: those that are
-- called so; else those that refer to users; else those that a policy compares with the user.
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

-- Keeps a project from being deleted until this transaction ends, and says whether it is the user's: 'ok', 'other',
-- 'gone'. Where no column says whose a project is, it is anybody's.
DO $do$
DECLARE
    v_owner text := (SELECT 'coalesce(' || string_agg(format('p.%I::text', c.name), ', ' ORDER BY c.n) || ')'
                     FROM unnest(meshify.project_owner_columns()) WITH ORDINALITY AS c (name, n));
BEGIN
    EXECUTE format($$
        CREATE OR REPLACE FUNCTION meshify.lock_project(p_project uuid, p_user uuid) RETURNS text
            LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $f$
        DECLARE
            v_owner text;
        BEGIN
            SELECT %s INTO v_owner FROM public.projects p WHERE p.id = p_project FOR KEY SHARE;
            RETURN CASE WHEN NOT FOUND THEN 'gone' WHEN v_owner = p_user::text THEN 'ok' ELSE 'other' END;
        END $f$ $$, coalesce(v_owner, 'p_user::text'));
END $do$;

-- The column of projects that the function above asks, where it was dropped or renamed since: the next migration finds
-- another, or has none to ask.
CREATE OR REPLACE FUNCTION meshify.lost_owner() RETURNS TABLE (col text, why text, mend text)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM meshify.lock_project(NULL, NULL);
EXCEPTION WHEN undefined_column THEN
    col := 'projects.' || substring(SQLERRM FROM '\mp\.("[^"]+"|\w+)');
    why := 'is missing: meshify.enqueue() asks there whose a project is';
    mend := CASE WHEN meshify.project_owner_columns() IS NULL THEN 'ALTER TABLE public.projects ADD COLUMN owner_id uuid; and then meshifyctl migrate'
                 ELSE 'Run meshifyctl migrate, as the owner of public.jobs.' END;
    RETURN NEXT;
END $$;
SELECT meshify.only_for('meshify.project_owner_columns()');
SELECT meshify.only_for('meshify.lock_project(uuid, uuid)');
SELECT meshify.only_for('meshify.lost_owner()', 'meshify_worker');

DROP FUNCTION IF EXISTS public.meshify_enqueue(uuid, uuid, text, text, boolean);
DROP FUNCTION IF EXISTS meshify.enqueue(uuid, uuid, text, text, boolean);

-- A call with a request_id is answered with what the first call of this user with it was answered, as long as the
-- asset is there: a caller whose time ran out calls again, and nothing is charged twice. Where its job's row was deleted
-- alone, the id is used up.
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

    -- The project, then the profile, then what is counted and looked for: each call of a user waits for the one before.
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
    VALUES (v_project, v_user, meshify.fit('public.mesh_assets', 'prompt', v_prompt),
            meshify.fit('public.mesh_assets', 'input_image_path', v_image), 'pending', v_price) RETURNING id INTO v_asset;
    INSERT INTO meshify.jobs (user_id, project_id, asset_id, status, input_data)
    VALUES (v_user, v_project, v_asset, 'pending',
            jsonb_strip_nulls(jsonb_build_object('prompt', v_prompt, 'input_image_url', v_image)))
    RETURNING id INTO v_job;
    -- What was taken, whatever the trigger made of it: here it is known.
    INSERT INTO meshify.charges AS c (asset_id, user_id, credits, cost, inserted_by, job_id, request_id, request_hash)
    VALUES (v_asset, v_user, v_price, v_price, 'meshify.enqueue', v_job, v_request, v_hash)
    ON CONFLICT (asset_id) DO UPDATE SET user_id = excluded.user_id, credits = excluded.credits, cost = excluded.cost,
        inserted_by = excluded.inserted_by, job_id = excluded.job_id, request_id = excluded.request_id, request_hash = excluded.request_hash;
    PERFORM meshify.notify_user(v_user, 'info', 'Mesh Generation Started',
        'Your 3D mesh "' || left(coalesce(v_prompt, ''), 100) || '" is being generated.', v_job);
    enqueue.asset_id := v_asset;
    enqueue.job_id := v_job;
END $$;

-- PostgREST serves exposed schemas only: a twin in public, for the service role alone.
CREATE OR REPLACE FUNCTION public.meshify_enqueue(
    user_id uuid, project_id uuid, prompt text, image_url text DEFAULT NULL, free boolean DEFAULT false, request_id uuid DEFAULT NULL,
    OUT asset_id uuid, OUT job_id uuid)
    RETURNS record LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$ SELECT e.asset_id, e.job_id FROM meshify.enqueue($1, $2, $3, $4, $5, $6) e $$;
SELECT meshify.only_for('meshify.enqueue(uuid, uuid, text, text, boolean, uuid)', 'service_role', 'meshify_worker');
SELECT meshify.only_for('public.meshify_enqueue(uuid, uuid, text, text, boolean, uuid)', 'service_role');

-- --- what a doctor asks ----------------------------------------------------------------------

-- Assets of the last week whose users were charged what would not go back as it was taken: the price was another
-- than ours, or a user's role inserted them. And those that no job was ever inserted for, or that lost it: who charges
-- in one request and inserts in others may be broken off between.
DROP FUNCTION IF EXISTS meshify.odd_charges();
CREATE FUNCTION meshify.odd_charges() RETURNS TABLE (price numeric, other bigint, other_cost numeric, by_users bigint, jobless bigint)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    price := coalesce(meshify.setting('price')::numeric, 0);
    SELECT count(*) FILTER (WHERE NOT w.by_user AND w.cost <> price), mode() WITHIN GROUP (ORDER BY w.cost) FILTER (WHERE NOT w.by_user AND w.cost <> price),
           count(*) FILTER (WHERE w.by_user)
    INTO other, other_cost, by_users
    FROM (SELECT c.cost, coalesce(c.inserted_by IN ('anon', 'authenticated'), false) AS by_user
          FROM meshify.charges c WHERE c.at > now() - interval '7 days' AND c.cost > 0) w;
    SELECT count(*) INTO jobless FROM meshify.charges c JOIN public.mesh_assets a ON a.id = c.asset_id
    WHERE c.at > now() - interval '7 days' AND c.at < now() - interval '10 min' AND c.credits > 0 AND c.made_at IS NULL
      AND a.status IN ('pending', 'running') AND NOT EXISTS (SELECT FROM public.jobs j WHERE j.asset_id = a.id);
    RETURN NEXT;
END $$;
SELECT meshify.only_for('meshify.odd_charges()', 'meshify_worker');
UPDATE meshify.schema_version SET version = 29, applied_at = now() WHERE version < 29;
