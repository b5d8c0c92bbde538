-- The ledger. What an asset's user was charged is written down when the asset is inserted, in meshify.charges; nothing
-- that users may write later changes it. It goes back once, when the asset's last job ends without a mesh: refunds.sql.

-- A cost, in whatever type, as a number. Anything that is no number counts as 0: nobody has paid it.
CREATE OR REPLACE FUNCTION meshify.as_credits(p_cost text) RETURNS numeric
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS
$$ SELECT CASE WHEN p_cost ~ '^[0-9]' THEN p_cost::numeric ELSE 0 END $$;

-- A row that a user's own role inserts was paid by nobody. PostgREST works as that role, which current_user does not
-- show in a SECURITY DEFINER function. A column that the project has dropped or renamed is no reason to refuse the
-- row: what is not there was not charged.
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

-- Records with a purchase which asset it is for.
CREATE OR REPLACE FUNCTION meshify.purchase_asset() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.asset_id := (SELECT j.asset_id FROM meshify.jobs j WHERE j.id = NEW.job_id);
    RETURN NEW;
END $$;

-- Records the assets that have no charge as they stand: those that were there before us, or were inserted while the
-- trigger was disabled.
CREATE OR REPLACE FUNCTION meshify.charge_present_assets() RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_at text := coalesce((SELECT format('coalesce(a.%I::timestamptz, now())', t.attname) FROM pg_catalog.pg_attribute t
                           WHERE t.attrelid = 'public.mesh_assets'::regclass AND t.attname = 'created_at' AND NOT t.attisdropped
                             AND t.atttypid IN ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype)), 'now()');
BEGIN
    EXECUTE format($f$
        INSERT INTO meshify.charges (asset_id, user_id, credits, cost, at, made_at)
        SELECT a.id, a.owner_id, least(meshify.as_credits(a.credits_cost::text), coalesce(meshify.setting('price')::numeric, 0)),
               meshify.as_credits(a.credits_cost::text), %s, CASE WHEN a.status::text = 'done' THEN now() END
        FROM public.mesh_assets a WHERE NOT EXISTS (SELECT FROM meshify.charges c WHERE c.asset_id = a.id)$f$, v_at);
END $$;

-- Were the credits of an asset given back, and not taken again?
CREATE OR REPLACE FUNCTION meshify.is_refunded(p_asset uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN RETURN coalesce((SELECT sum(r.credits) > 0 FROM meshify.refunds r WHERE r.asset_id = p_asset), false);
END $$;

-- Must nobody work on this job? If its asset was refunded, that holds for all of its jobs, new ones included.
CREATE OR REPLACE FUNCTION meshify.is_barred(p_job uuid, p_asset uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN RETURN meshify.is_refunded(p_asset) OR EXISTS (SELECT FROM meshify.barred b WHERE b.job_id = p_job);
END $$;

-- Was the mesh made that this asset's user was charged for?
CREATE OR REPLACE FUNCTION meshify.is_made(p_asset uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN RETURN EXISTS (SELECT FROM meshify.charges c WHERE c.asset_id = p_asset AND c.made_at IS NOT NULL);
END $$;

-- Did this job make a mesh?
CREATE OR REPLACE FUNCTION meshify.has_made(p_job uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN RETURN EXISTS (SELECT FROM meshify.events e WHERE e.job_id = p_job AND e.event = 'done');
END $$;

-- Bars the ended jobs of an asset, this job, and jobs that named the asset before. Jobs that end or are inserted
-- later are not barred.
CREATE OR REPLACE FUNCTION meshify.bar(p_job uuid, p_asset uuid) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO meshify.barred (job_id)
    SELECT p_job UNION SELECT j.id FROM meshify.jobs j WHERE j.asset_id = p_asset AND j.status NOT IN ('pending', 'running')
    UNION SELECT m.job_id FROM meshify.moved m WHERE m.asset_id = p_asset
    ON CONFLICT DO NOTHING;
END $$;

-- May another job still make the asset's mesh? Only a job of the asset's owner counts: one that somebody else
-- inserted must not keep credits back.
CREATE OR REPLACE FUNCTION meshify.has_other_job(p_job uuid, p_asset uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN RETURN EXISTS (SELECT FROM meshify.jobs j JOIN public.mesh_assets a ON a.id = j.asset_id
                     WHERE j.asset_id = p_asset AND j.id <> p_job AND j.status IN ('pending', 'running') AND j.user_id = a.owner_id);
END $$;

-- A job has made its mesh, so what was charged for it is spent. So is what was charged for assets that the job was
-- worked on for, or named before, if its row names another by now; but not what other users paid. The caller has
-- locked asset and job.
CREATE OR REPLACE FUNCTION meshify.spend(p_job uuid, p_asset uuid) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE meshify.charges c SET made_at = now()
    WHERE c.made_at IS NULL
      AND (c.asset_id = p_asset
           OR c.asset_id = ANY (ARRAY(SELECT p.asset_id FROM meshify.predictions p WHERE p.job_id = p_job -- an array: indexes
                                      UNION SELECT m.asset_id FROM meshify.moved m WHERE m.job_id = p_job))
              AND c.user_id = (SELECT j.user_id FROM meshify.jobs j WHERE j.id = p_job));
    IF EXISTS (SELECT FROM meshify.charges c WHERE c.asset_id = p_asset AND c.credits > 0) THEN -- for one mesh
        PERFORM meshify.bar(p_job, p_asset);
    END IF;
END $$;

-- What was decided about a job also holds under its new id, and for its new asset.
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

-- A charge, and its refund, go along with the asset's new id, unless that has a charge of its own. So does the
-- record of the jobs that worked on the asset, or named it before.
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

SELECT meshify.restrict_execute('meshify.as_credits(text)');
SELECT meshify.restrict_execute('meshify.charge_asset()');
SELECT meshify.restrict_execute('meshify.charge_present_assets()');
SELECT meshify.restrict_execute('meshify.purchase_asset()');
SELECT meshify.restrict_execute('meshify.is_refunded(uuid)');
SELECT meshify.restrict_execute('meshify.is_barred(uuid, uuid)');
SELECT meshify.restrict_execute('meshify.is_made(uuid)');
SELECT meshify.restrict_execute('meshify.has_made(uuid)');
SELECT meshify.restrict_execute('meshify.bar(uuid, uuid)');
SELECT meshify.restrict_execute('meshify.has_other_job(uuid, uuid)');
SELECT meshify.restrict_execute('meshify.spend(uuid, uuid)');
SELECT meshify.restrict_execute('meshify.job_moved()');
SELECT meshify.restrict_execute('meshify.asset_renamed()');
