-- Objects in the store. Each purchase has one name for ever. Objects that no row names are left by a cancel during an
-- upload, by a kill between upload and closing, by a deletion that failed: so each name is written down before the
-- first byte goes up, and the bucket, which others use too, need never be listed.

-- The name of a purchase's object, which stays this purchase's until a DELETE is sent for it, so that no name is
-- ever written with other bytes: p_path, or p_path with _2, _3 … before its extension, counted over all jobs of the
-- asset. A purchase counts if it was stored, or succeeded before this one. NULL: there is no such purchase.
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

-- Is this the name of an object that is to be removed, or was?
CREATE OR REPLACE FUNCTION meshify.is_orphan(p_name text) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$ BEGIN RETURN EXISTS (SELECT FROM meshify.orphans o WHERE o.name = p_name); END $$;

-- Does a row of the project name the object of this purchase? Where the credits went back, no closing wrote that
-- name.
CREATE OR REPLACE FUNCTION meshify.is_named(p_job uuid, p_asset uuid, p_name text) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN NOT meshify.is_refunded(p_asset)
       AND (EXISTS (SELECT FROM meshify.jobs j WHERE j.id = p_job AND j.output_data ->> 'storage_path' = p_name)
            OR EXISTS (SELECT FROM public.mesh_assets a
                       WHERE a.output_path = p_name AND (a.id = p_asset OR a.id = (SELECT j.asset_id FROM meshify.jobs j WHERE j.id = p_job))));
END $$;

-- A worker asks before it sends the first byte of a purchase's file: is the job still its own, and under which name
-- is the file stored? p_path is the name as the configuration has it. Answers as meshify.fence() does.
CREATE OR REPLACE FUNCTION meshify.storing(
    p_worker uuid, p_job uuid, p_step text, p_purchase int, p_path text, p_place text, p_grace interval, p_upload text DEFAULT NULL)
    RETURNS TABLE (answer text, name text)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
BEGIN
    answer := meshify.fence(p_worker, p_job);
    IF answer = 'ok' THEN
        name := meshify.name_object(p_job, p_step, p_purchase, p_path);
        UPDATE meshify.predictions p
        SET object_worker = p_worker, object_place = p_place, object_grace = greatest(p_grace, '0'), object_state = NULL, upload_id = p_upload
        WHERE p.job_id = p_job AND p.step = p_step AND p.purchase = p_purchase;
        answer := CASE WHEN FOUND THEN 'ok' ELSE 'lost' END;
    END IF;
    RETURN NEXT;
END $$;

-- The object of a purchase belongs to nobody: its name becomes an orphan, and no closing that was left for later
-- names it, if the job is tried again. The caller holds the job's row, if there is one.
CREATE OR REPLACE FUNCTION meshify.to_orphans(p_job uuid, p_name text, p_since timestamptz) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO meshify.orphans (name, place, job_id, upload_id, since, grace)
    SELECT p.object_name, p.object_place, p.job_id, p.upload_id, p_since, coalesce(p.object_grace, '1 day')
    FROM meshify.predictions p WHERE p.object_name = p_name AND p.job_id = p_job
    ON CONFLICT DO NOTHING;
    UPDATE meshify.predictions p SET object_state = 'orphan' WHERE p.object_name = p_name AND p.job_id = p_job;
    DELETE FROM meshify.closings c WHERE c.job_id = p_job AND c.how = 'done' AND c.args ->> 'path' = p_name;
    PERFORM meshify.note(p_job, 'orphan', jsonb_build_object('name', p_name));
END $$;

-- A worker that has stored a file, or begun to, asks before it deletes it. 'ok'; 'keep': a row names it; 'lost':
-- another worker has the job; 'busy'. The sweep deletes it once more, since an upload that was broken off may arrive
-- later.
CREATE OR REPLACE FUNCTION meshify.unstoring(p_worker uuid, p_job uuid, p_name text) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
    p meshify.predictions;
    j record;
BEGIN
    SELECT x.status::text AS status, x.worker_id INTO j FROM meshify.jobs x WHERE x.id = p_job FOR UPDATE SKIP LOCKED;
    IF NOT FOUND AND EXISTS (SELECT FROM meshify.jobs x WHERE x.id = p_job) THEN
        RETURN 'busy';
    END IF;
    SELECT * INTO p FROM meshify.predictions x WHERE x.job_id = p_job AND x.object_name = p_name FOR UPDATE;
    IF NOT FOUND OR p.object_worker IS DISTINCT FROM p_worker
       OR (j.status IN ('pending', 'running') AND j.worker_id IS DISTINCT FROM p_worker) THEN
        RETURN 'lost';
    ELSIF p.object_state = 'used' OR meshify.is_named(p_job, p.asset_id, p_name) THEN
        RETURN 'keep';
    END IF;
    PERFORM meshify.to_orphans(p_job, p_name, now());
    RETURN 'ok';
END $$;

-- A job ends as done: from now on its object is the project's, and we never remove it, whatever becomes of its rows.
CREATE OR REPLACE FUNCTION meshify.stored_for_good(p_job uuid, p_name text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE meshify.predictions p SET object_state = 'used' WHERE p.object_name = p_name AND p.job_id = p_job;
    DELETE FROM meshify.orphans o WHERE o.name = p_name AND o.removed_at IS NULL; -- a program that asks for no name wrote it again
END $$;

-- The sweep. First it turns names into orphans whose jobs have ended or are gone, if no row names them and nobody
-- writes them; a worker that has ended the job itself does not write any more. Then it answers up to p_max orphans
-- that are due, which this worker has for a while to remove: the longer, the more often that has failed.
CREATE OR REPLACE FUNCTION meshify.orphans_due(p_worker uuid, p_place text, p_max int) RETURNS TABLE (name text, upload text)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    n record;
BEGIN
    PERFORM FROM meshify.workers w WHERE w.id = p_worker AND NOT w.dead AND w.expires_at > now();
    IF NOT FOUND THEN
        RETURN;
    END IF;
    FOR n IN
        SELECT p.job_id, p.asset_id, p.object_name, CASE WHEN w.expires_at < now() THEN w.expires_at ELSE now() END AS since
        FROM meshify.predictions p
        LEFT JOIN meshify.jobs j ON j.id = p.job_id
        LEFT JOIN meshify.workers w ON w.id = p.object_worker
        WHERE p.object_name IS NOT NULL AND p.object_state IS NULL
          AND (j.id IS NULL OR j.status NOT IN ('pending', 'running'))
          AND (w.id IS NULL OR w.dead OR w.expires_at < now() OR j.worker_id = w.id)
        LIMIT p_max FOR UPDATE OF p SKIP LOCKED
    LOOP
        -- The job may have been tried again meanwhile, or be locked: then it is for the next sweep.
        PERFORM FROM meshify.jobs j WHERE j.id = n.job_id AND j.status NOT IN ('pending', 'running') FOR UPDATE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND AND EXISTS (SELECT FROM meshify.jobs j WHERE j.id = n.job_id);
        IF meshify.is_named(n.job_id, n.asset_id, n.object_name) THEN
            PERFORM meshify.stored_for_good(n.job_id, n.object_name);
        ELSE
            PERFORM meshify.to_orphans(n.job_id, n.object_name, n.since);
        END IF;
    END LOOP;
    RETURN QUERY
    UPDATE meshify.orphans o SET tried_at = now(), tries = least(o.tries, 1000) + 1
    WHERE o.name IN (
        SELECT x.name FROM meshify.orphans x
        WHERE x.removed_at IS NULL AND x.place IS NOT DISTINCT FROM p_place AND x.since < now() - x.grace
          AND (x.tried_at IS NULL OR x.tried_at < now() - least(x.tries, 60) * interval '1 min')
          AND NOT EXISTS (SELECT FROM meshify.predictions p WHERE p.object_name = x.name AND p.object_state IS DISTINCT FROM 'orphan')
        ORDER BY x.tried_at NULLS FIRST LIMIT p_max FOR UPDATE SKIP LOCKED)
    RETURNING o.name, o.upload_id;
END $$;

-- The object is not there any more.
CREATE OR REPLACE FUNCTION meshify.orphan_removed(p_name text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_job uuid;
BEGIN
    UPDATE meshify.orphans o SET removed_at = now() WHERE o.name = p_name AND o.removed_at IS NULL RETURNING o.job_id INTO v_job;
    IF FOUND THEN
        PERFORM meshify.note(v_job, 'orphan_removed', jsonb_build_object('name', p_name));
    END IF;
END $$;

SELECT meshify.restrict_execute('meshify.name_object(uuid, text, int, text)');
SELECT meshify.restrict_execute('meshify.is_orphan(text)');
SELECT meshify.restrict_execute('meshify.is_named(uuid, uuid, text)');
SELECT meshify.restrict_execute('meshify.storing(uuid, uuid, text, int, text, text, interval, text)', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.to_orphans(uuid, text, timestamptz)');
SELECT meshify.restrict_execute('meshify.unstoring(uuid, uuid, text)', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.stored_for_good(uuid, text)');
SELECT meshify.restrict_execute('meshify.orphans_due(uuid, text, int)', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.orphan_removed(text)', 'meshify_worker');
