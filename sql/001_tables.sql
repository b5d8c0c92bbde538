-- The schema meshify: the daemon's own tables, the role it works as, and what it needs of public.jobs:
-- columns, and a view that hides how databases differ. Idempotent. Changes nothing that the edge functions use.
SET LOCAL lock_timeout = '500ms'; -- a busy table: once more; before a deadlock is looked for in others (1 s)
SET LOCAL search_path = pg_catalog, pg_temp; -- nobody's names but PostgreSQL's

DO $$
BEGIN
    IF to_regclass('public.jobs') IS NULL OR to_regclass('public.mesh_assets') IS NULL
       OR to_regclass('public.profiles') IS NULL OR to_regclass('public.projects') IS NULL THEN
        RAISE EXCEPTION 'this database lacks public.jobs, mesh_assets, profiles or projects'
            USING HINT = 'Is it the database of a Meshify project?';
    END IF;
END $$;

CREATE SCHEMA IF NOT EXISTS meshify;

-- Columns that nothing works without, and that are not as it needs them: asked here, and by the doctor, since they may be
-- dropped or renamed later on.
CREATE OR REPLACE FUNCTION meshify.misfit_columns() RETURNS TABLE (col text, why text, mend text)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    c record;
    v_is text;
BEGIN
    -- Columns of theirs. Another type matters only where nothing else would do.
    FOR c IN SELECT * FROM (VALUES
        ('jobs', 'id', 'uuid', true), ('jobs', 'user_id', 'uuid', true), ('jobs', 'project_id', 'uuid', true),
        ('jobs', 'asset_id', 'uuid', true), ('jobs', 'type', 'text', false), ('jobs', 'status', 'text', false),
        ('jobs', 'input_data', 'jsonb', true), ('jobs', 'output_data', 'jsonb', true), ('jobs', 'error', 'text', false),
        ('jobs', 'created_at', 'timestamptz', false), ('jobs', 'completed_at', 'timestamptz', false),
        ('mesh_assets', 'id', 'uuid', true), ('mesh_assets', 'project_id', 'uuid', true),
        ('mesh_assets', 'owner_id', 'uuid', true), ('mesh_assets', 'prompt', 'text', false),
        ('mesh_assets', 'input_image_path', 'text', false), ('mesh_assets', 'output_path', 'text', false),
        ('mesh_assets', 'mime', 'text', false), ('mesh_assets', 'size', 'bigint', false),
        ('mesh_assets', 'status', 'text', false), ('mesh_assets', 'credits_cost', 'numeric', false),
        ('mesh_assets', 'result_meta', 'jsonb', true), ('profiles', 'id', 'uuid', true),
        ('profiles', 'credits_remaining', 'numeric', false), ('profiles', 'credits_used', 'numeric', false),
        ('projects', 'id', 'uuid', true)) AS needed (tab, col, typ, exact) LOOP
        SELECT format_type(a.atttypid, NULL) INTO v_is FROM pg_catalog.pg_attribute a
        WHERE a.attrelid = to_regclass('public.' || c.tab)
          AND (a.attname = c.col OR c.tab = 'jobs' AND c.col = 'type' AND a.attname = 'job_type');
        IF NOT FOUND THEN
            col := format('%s.%s', c.tab, c.col);
            why := 'is missing';
            mend := format('ALTER TABLE public.%s ADD COLUMN %s %s;', c.tab, c.col, c.typ);
            RETURN NEXT;
        ELSIF c.exact AND v_is <> c.typ
           OR c.typ = 'timestamptz' AND v_is NOT IN ('timestamp with time zone', 'timestamp without time zone', 'date')
           OR c.typ IN ('bigint', 'numeric') AND v_is NOT IN ('smallint', 'integer', 'bigint', 'numeric', 'real', 'double precision') THEN
            col := format('%s.%s', c.tab, c.col);
            why := format('is %s, not %s', v_is, c.typ);
            mend := format('ALTER TABLE public.%1$s ALTER COLUMN %2$s TYPE %3$s USING %2$s::text::%3$s; -- it is %4$s', c.tab, c.col, c.typ, v_is);
            RETURN NEXT;
        END IF;
    END LOOP;
    -- Columns named as ours that are there already, and differ.
    FOR c IN SELECT o.*, format_type(a.atttypid, NULL) AS is_type, a.attnotnull, a.atthasdef
             FROM (VALUES ('attempts', ARRAY['integer', 'bigint'], '0'), ('crashes', ARRAY['integer', 'bigint'], '0'),
                          ('priority', ARRAY['integer', 'bigint'], '0'), ('run_after', ARRAY['timestamp with time zone'], 'now()'),
                          ('progress', ARRAY['real', 'double precision'], NULL), ('worker_id', ARRAY['uuid'], NULL),
                          ('started_at', ARRAY['timestamp with time zone'], NULL), ('claimed_at', ARRAY['timestamp with time zone'], NULL),
                          ('worked', ARRAY['interval'], '''0'''), ('cancel_requested_at', ARRAY['timestamp with time zone'], NULL)) AS o (col, typs, def)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = to_regclass('public.jobs') AND a.attname = o.col LOOP
        col := 'jobs.' || c.col;
        IF c.is_type <> ALL (c.typs) THEN
            why := format('is %s, not %s', c.is_type, c.typs[1]);
            mend := format('ALTER TABLE public.jobs RENAME COLUMN %1$s TO old_%1$s; -- it is %2$s, not %3$s', c.col, c.is_type, c.typs[1]);
            RETURN NEXT;
        ELSIF c.def IS NOT NULL AND NOT (c.attnotnull AND c.atthasdef) THEN
            why := 'may be NULL, or has no default';
            mend := format(E'ALTER TABLE public.jobs ALTER COLUMN %1$s SET DEFAULT %2$s;'
                '\nUPDATE public.jobs SET %1$s = %2$s WHERE %1$s IS NULL;\nALTER TABLE public.jobs ALTER COLUMN %1$s SET NOT NULL;', c.col, c.def);
            RETURN NEXT;
        ELSIF c.def IS NULL AND c.attnotnull THEN
            why := 'may not be NULL';
            mend := format('ALTER TABLE public.jobs ALTER COLUMN %s DROP NOT NULL;', c.col);
            RETURN NEXT;
        END IF;
    END LOOP;
END $$;

DO $$
DECLARE
    v_todo text := (SELECT string_agg(m.mend, E'\n') FROM meshify.misfit_columns() m);
BEGIN
    IF v_todo <> '' THEN
        RAISE EXCEPTION 'the tables of this project are not as meshifyd needs them'
            USING HINT = E'Run this, then migrate again:\n' || v_todo;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'meshify_worker') THEN
        CREATE ROLE meshify_worker NOLOGIN;
    END IF;
END $$;

CREATE TABLE IF NOT EXISTS meshify.schema_version (
    only_row        boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version         int NOT NULL,
    compatible_from int NOT NULL,
    applied_at      timestamptz NOT NULL DEFAULT now()
);
INSERT INTO meshify.schema_version (version, compatible_from) VALUES (0, 1) ON CONFLICT DO NOTHING;

-- What was done to things that are not ours, and what undoes it: for sql/dev/reverse.sql.
CREATE TABLE IF NOT EXISTS meshify.adapted (
    what text PRIMARY KEY,
    undo text NOT NULL
);

CREATE TABLE IF NOT EXISTS meshify.workers (
    id           uuid PRIMARY KEY,
    instance     text NOT NULL,
    host         text NOT NULL,
    machine_id   text NOT NULL DEFAULT '',
    boot_id      text NOT NULL DEFAULT '',
    pid_ns       text NOT NULL DEFAULT '',
    pid          int NOT NULL,
    version      text NOT NULL,
    started_at   timestamptz NOT NULL DEFAULT now(),
    heartbeat_at timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL,
    draining     boolean NOT NULL DEFAULT false,
    dead         boolean NOT NULL DEFAULT false,
    max_jobs     int NOT NULL,
    running      int NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
ALTER TABLE meshify.workers ADD COLUMN IF NOT EXISTS held jsonb; -- lanes: [{"lane", "reason", "detail", "until"}]

CREATE TABLE IF NOT EXISTS meshify.predictions (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id        uuid NOT NULL, -- no foreign key: what was bought outlives a deleted job
    step          text NOT NULL,
    purchase      int NOT NULL,
    attempt       int NOT NULL,
    worker_id     uuid,
    state         text NOT NULL CHECK (state IN ('intended', 'bought', 'given_up', 'surplus', 'ended')),
    intent_at     timestamptz NOT NULL DEFAULT now(),
    give_up_after timestamptz NOT NULL,
    prediction_id text UNIQUE,
    status        text,
    model         text,
    input_hash    text,
    input_keys    jsonb,
    output        jsonb,
    created_at    timestamptz,
    finished_at   timestamptz,
    metrics       jsonb,
    error         text,
    UNIQUE (job_id, step, purchase)
) WITH (fillfactor = 80);
CREATE INDEX IF NOT EXISTS predictions_open ON meshify.predictions (intent_at)
    WHERE state IN ('intended', 'given_up', 'surplus') OR finished_at IS NULL;

CREATE TABLE IF NOT EXISTS meshify.events (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id uuid NOT NULL,
    at     timestamptz NOT NULL DEFAULT now(),
    event  text NOT NULL,
    detail jsonb
);
CREATE INDEX IF NOT EXISTS events_job ON meshify.events (job_id, id);
CREATE INDEX IF NOT EXISTS events_at ON meshify.events (at);

CREATE TABLE IF NOT EXISTS meshify.refunds (
    job_id  uuid NOT NULL,
    n       int NOT NULL,
    user_id uuid,
    credits numeric NOT NULL, -- positive: given back; negative: taken again by a retry
    at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (job_id, n)
);
CREATE INDEX IF NOT EXISTS refunds_given ON meshify.refunds (at) WHERE credits > 0;
ALTER TABLE meshify.refunds ADD COLUMN IF NOT EXISTS asset_id uuid;
CREATE INDEX IF NOT EXISTS refunds_asset ON meshify.refunds (asset_id);

-- What each asset's user was charged: one row for each id that an asset ever had, and never changed by what is
-- written to the asset later. Filled by 029_charges.sql.
CREATE TABLE IF NOT EXISTS meshify.charges (
    asset_id     uuid PRIMARY KEY,
    user_id      uuid,
    credits      numeric NOT NULL, -- what may be given back
    cost         numeric, -- credits_cost, as the row was inserted
    inserted_by  text, -- the role; NULL: the row was there when this table was made
    at           timestamptz NOT NULL DEFAULT now(),
    made_at      timestamptz, -- when its mesh was made: from then on nothing is given back
    job_id       uuid, -- what meshify.enqueue() answered, where it was called with a request_id
    request_id   uuid,
    request_hash text
);
CREATE UNIQUE INDEX IF NOT EXISTS charges_request ON meshify.charges (user_id, request_id) WHERE request_id IS NOT NULL;
ALTER TABLE meshify.predictions ADD COLUMN IF NOT EXISTS asset_id uuid; -- whose mesh it was bought for; a job's row may go, or change

-- Jobs that only a retry lets in again, whatever is written to their rows: their asset's credits went back, or were
-- spent, when they had ended. Nobody prunes it.
CREATE TABLE IF NOT EXISTS meshify.barred (
    job_id uuid PRIMARY KEY,
    at     timestamptz NOT NULL DEFAULT now()
);

-- Assets that jobs named before somebody wrote another into their row.
CREATE TABLE IF NOT EXISTS meshify.moved (
    job_id   uuid,
    asset_id uuid,
    PRIMARY KEY (job_id, asset_id)
);
CREATE INDEX IF NOT EXISTS moved_asset ON meshify.moved (asset_id);

-- Jobs that a trigger of the project keeps from being claimed, or taken over: left alone for a minute.
CREATE TABLE IF NOT EXISTS meshify.unclaimable (
    job_id uuid PRIMARY KEY,
    until  timestamptz NOT NULL,
    error  text NOT NULL
);

CREATE TABLE IF NOT EXISTS meshify.settings (
    key   text PRIMARY KEY,
    value text NOT NULL
);
INSERT INTO meshify.settings (key, value)
VALUES ('refund', 'on'), ('refund_max', '100'), ('price', '25'), ('max_pending_jobs', '0'), ('max_prompt', '32768'),
       ('paused', 'off')
ON CONFLICT DO NOTHING;
-- Closing a job reads these: one that was written by hand must be as good as one of `meshifyctl settings`.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_constraint c WHERE c.conname = 'settings_value' AND c.conrelid = 'meshify.settings'::regclass
                   AND pg_get_constraintdef(c.oid) LIKE '%512000%') THEN -- an older one knows fewer keys, or no bound
        ALTER TABLE meshify.settings DROP CONSTRAINT IF EXISTS settings_value;
        UPDATE meshify.settings SET value = '0' WHERE key = 'max_prompt' AND length(value) >= 6 AND value::numeric > 512000; -- as it worked
        ALTER TABLE meshify.settings ADD CONSTRAINT settings_value CHECK (CASE
            WHEN key IN ('refund', 'paused') THEN value IN ('on', 'off')
            WHEN key IN ('refund_max', 'price', 'max_pending_jobs') THEN value ~ '^[0-9]{1,9}$'
            WHEN key = 'max_prompt' THEN value ~ '^[0-9]{1,6}$' AND value::int <= 512000 -- meshify.most_prompt()
            ELSE true END) NOT VALID;
    END IF;
END $$;

GRANT USAGE ON SCHEMA meshify TO meshify_worker;
GRANT SELECT ON meshify.schema_version TO meshify_worker;

-- Rows of these tables are not for PostgREST, should somebody expose the schema.
ALTER TABLE meshify.schema_version ENABLE ROW LEVEL SECURITY;
ALTER TABLE meshify.adapted ENABLE ROW LEVEL SECURITY;
ALTER TABLE meshify.workers ENABLE ROW LEVEL SECURITY;
ALTER TABLE meshify.predictions ENABLE ROW LEVEL SECURITY;
ALTER TABLE meshify.events ENABLE ROW LEVEL SECURITY;
ALTER TABLE meshify.refunds ENABLE ROW LEVEL SECURITY;
ALTER TABLE meshify.charges ENABLE ROW LEVEL SECURITY;
ALTER TABLE meshify.barred ENABLE ROW LEVEL SECURITY;
ALTER TABLE meshify.moved ENABLE ROW LEVEL SECURITY;
ALTER TABLE meshify.settings ENABLE ROW LEVEL SECURITY;
ALTER TABLE meshify.unclaimable ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS worker_reads ON meshify.schema_version;
CREATE POLICY worker_reads ON meshify.schema_version FOR SELECT TO meshify_worker USING (true);

CREATE OR REPLACE FUNCTION meshify.setting(p_key text) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$ BEGIN RETURN (SELECT s.value FROM meshify.settings s WHERE s.key = p_key); END $$;

CREATE OR REPLACE FUNCTION meshify.note(p_job uuid, p_event text, p_detail jsonb DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$ BEGIN INSERT INTO meshify.events (job_id, event, detail) VALUES (p_job, p_event, p_detail); END $$;

-- Those that are left alone, and those that only wait for their closing.
CREATE OR REPLACE FUNCTION meshify.unclaimable_now() RETURNS uuid[]
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$ BEGIN RETURN ARRAY(SELECT u.job_id FROM meshify.unclaimable u WHERE u.until > now()
                      UNION SELECT c.job_id FROM meshify.closings c WHERE c.due IS NOT NULL); END $$;

-- Leaves a job alone for a minute, and says why.
CREATE OR REPLACE FUNCTION meshify.leave_alone(p_job uuid, p_error text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO meshify.unclaimable AS u (job_id, until, error) VALUES (p_job, now() + interval '1 min', left(p_error, 500))
    ON CONFLICT (job_id) DO UPDATE SET until = excluded.until, error = excluded.error;
    PERFORM meshify.note(p_job, 'unclaimable', jsonb_build_object('error', left(p_error, 200)));
    RAISE WARNING USING ERRCODE = 'MF501', MESSAGE = format('job %s can''t be claimed, retrying in a minute: %s', p_job, left(p_error, 200));
END $$;

-- Takes a function away from everybody that Supabase's defaults gave it to; then gives it to some.
CREATE OR REPLACE FUNCTION meshify.only_for(p_function regprocedure, VARIADIC p_roles text[] DEFAULT '{}') RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    r text;
BEGIN
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', p_function);
    FOREACH r IN ARRAY ARRAY['anon', 'authenticated', 'service_role', 'meshify_worker'] LOOP
        IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = r) THEN
            EXECUTE format('REVOKE ALL ON FUNCTION %s FROM %I', p_function, r);
            IF r = ANY (p_roles) THEN
                EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', p_function, r);
            END IF;
        END IF;
    END LOOP;
END $$;

-- The same for tables of ours: their rows are read and written by functions alone.
CREATE OR REPLACE FUNCTION meshify.hide(VARIADIC p_tables regclass[]) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    t regclass;
    r text;
BEGIN
    FOREACH t IN ARRAY p_tables LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('REVOKE ALL ON %s FROM PUBLIC', t);
        FOREACH r IN ARRAY ARRAY['anon', 'authenticated', 'service_role'] LOOP
            IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = r) THEN
                EXECUTE format('REVOKE ALL ON %s FROM %I', t, r);
            END IF;
        END LOOP;
    END LOOP;
END $$;
SELECT meshify.only_for('meshify.only_for(regprocedure, text[])');
SELECT meshify.only_for('meshify.hide(regclass[])');
SELECT meshify.only_for('meshify.setting(text)');
SELECT meshify.only_for('meshify.note(uuid, text, jsonb)');
SELECT meshify.only_for('meshify.unclaimable_now()');
SELECT meshify.only_for('meshify.leave_alone(uuid, text)');

-- Which rows of public.jobs are ours, as a condition: the column is `type`, in some databases `job_type`;
-- where there are both, `type` says it if it says anything.
CREATE OR REPLACE FUNCTION meshify.is_ours(p_jobs text) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format(CASE WHEN t.attname IS NULL THEN '%1$s.job_type = ''meshify'''
                       WHEN o.attname IS NULL OR t.attnotnull THEN '%1$s.type = ''meshify'''
                       ELSE '(%1$s.type = ''meshify'' OR %1$s.type IS NULL AND %1$s.job_type = ''meshify'')' END, p_jobs)
    FROM (SELECT 'public.jobs'::regclass AS id) j
    LEFT JOIN pg_catalog.pg_attribute t ON t.attrelid = j.id AND t.attname = 'type'
    LEFT JOIN pg_catalog.pg_attribute o ON o.attrelid = j.id AND o.attname = 'job_type'
$$;

-- What a text column of theirs takes for nothing: NULL, or '' where it is NOT NULL.
CREATE OR REPLACE FUNCTION meshify.fit(p_table regclass, p_column text, p_value text) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(p_value, (SELECT '' FROM pg_catalog.pg_attribute a
                              WHERE a.attrelid = p_table AND a.attname = p_column AND a.attnotnull))
$$;
SELECT meshify.only_for('meshify.is_ours(text)');
SELECT meshify.only_for('meshify.fit(regclass, text, text)');

-- The columns of ours, none of which rewrites the table. Then the view that everything of ours reads
-- and writes: our jobs only, under the same names in every database.
DO $$
DECLARE
    c record;
    v_types text[];
BEGIN
    FOR c IN SELECT * FROM (VALUES
        ('attempts', 'int NOT NULL DEFAULT 0'), ('crashes', 'int NOT NULL DEFAULT 0'), ('priority', 'int NOT NULL DEFAULT 0'),
        ('run_after', 'timestamptz NOT NULL DEFAULT now()'), ('progress', 'real'), ('worker_id', 'uuid'),
        ('started_at', 'timestamptz'), ('claimed_at', 'timestamptz'), ('worked', 'interval NOT NULL DEFAULT ''0'''),
        ('cancel_requested_at', 'timestamptz')) AS ours (col, def) LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = 'public.jobs'::regclass AND a.attname = c.col) THEN
            EXECUTE format('ALTER TABLE public.jobs ADD COLUMN %I %s', c.col, c.def);
            INSERT INTO meshify.adapted (what, undo)
            VALUES ('column public.jobs.' || c.col, format('ALTER TABLE public.jobs DROP COLUMN IF EXISTS %I', c.col))
            ON CONFLICT DO NOTHING;
        END IF;
    END LOOP;

    v_types := ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a
                     WHERE a.attrelid = 'public.jobs'::regclass AND a.attname IN ('type', 'job_type') ORDER BY 1 DESC);
    EXECUTE format('CREATE OR REPLACE VIEW meshify.jobs AS
        SELECT j.id, j.user_id, j.project_id, j.asset_id, j.status, j.input_data, j.output_data, j.error, j.created_at,
               j.completed_at, j.attempts, j.crashes, j.priority, j.run_after, j.progress, j.worker_id, j.started_at,
               j.claimed_at, j.worked, j.cancel_requested_at, j.%s FROM public.jobs j WHERE %s',
        array_to_string(v_types, ', j.'), meshify.is_ours('j'));
    FOR i IN 1 .. cardinality(v_types) LOOP -- so that no insert has to name the type
        EXECUTE format('ALTER VIEW meshify.jobs ALTER COLUMN %I SET DEFAULT ''meshify''', v_types[i]);
    END LOOP;
END $$;

-- What closings and claims ask of the ledger, whose rules stand in 029_charges.sql.

-- Were the credits of an asset given back, and not taken again?
CREATE OR REPLACE FUNCTION meshify.is_refunded(p_asset uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN RETURN coalesce((SELECT sum(r.credits) > 0 FROM meshify.refunds r WHERE r.asset_id = p_asset), false);
END $$;

-- Is nobody to work on this job? Where an asset was refunded, on none of its jobs, new ones included.
CREATE OR REPLACE FUNCTION meshify.is_barred(p_job uuid, p_asset uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN RETURN meshify.is_refunded(p_asset) OR EXISTS (SELECT FROM meshify.barred b WHERE b.job_id = p_job);
END $$;

-- Was the mesh that was charged for made?
CREATE OR REPLACE FUNCTION meshify.is_made(p_asset uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN RETURN EXISTS (SELECT FROM meshify.charges c WHERE c.asset_id = p_asset AND c.made_at IS NOT NULL);
END $$;

-- Did this job make a mesh?
CREATE OR REPLACE FUNCTION meshify.has_made(p_job uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN RETURN EXISTS (SELECT FROM meshify.events e WHERE e.job_id = p_job AND e.event = 'done');
END $$;

-- Bars the jobs of an asset that have ended, one more, and those that were its jobs before. What ends later, or is
-- inserted later, is another matter.
CREATE OR REPLACE FUNCTION meshify.bar(p_job uuid, p_asset uuid) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO meshify.barred (job_id)
    SELECT p_job UNION SELECT j.id FROM meshify.jobs j WHERE j.asset_id = p_asset AND j.status NOT IN ('pending', 'running')
    UNION SELECT m.job_id FROM meshify.moved m WHERE m.asset_id = p_asset
    ON CONFLICT DO NOTHING;
END $$;

-- May another job still make the asset's mesh? Only its owner's may: one that somebody else inserted keeps nobody's
-- credits back.
CREATE OR REPLACE FUNCTION meshify.has_other_job(p_job uuid, p_asset uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN RETURN EXISTS (SELECT FROM meshify.jobs j JOIN public.mesh_assets a ON a.id = j.asset_id
                     WHERE j.asset_id = p_asset AND j.id <> p_job AND j.status IN ('pending', 'running') AND j.user_id = a.owner_id);
END $$;

-- A job has made its mesh: what was charged for it is spent. So is what was charged for the assets that it was worked on
-- for, or named before, should the job's row name another by now; but not what other users paid. The caller has locked asset
-- and job.
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
SELECT meshify.only_for('meshify.misfit_columns()', 'meshify_worker');
SELECT meshify.only_for('meshify.is_refunded(uuid)');
SELECT meshify.only_for('meshify.is_barred(uuid, uuid)');
SELECT meshify.only_for('meshify.is_made(uuid)');
SELECT meshify.only_for('meshify.has_made(uuid)');
SELECT meshify.only_for('meshify.bar(uuid, uuid)');
SELECT meshify.only_for('meshify.has_other_job(uuid, uuid)');
SELECT meshify.only_for('meshify.spend(uuid, uuid)');

-- Supabase grants to these roles by default; nothing here is for them.
DO $$
DECLARE
    r text;
BEGIN
    FOREACH r IN ARRAY ARRAY['anon', 'authenticated', 'service_role'] LOOP
        IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = r) THEN
            EXECUTE format('REVOKE %s ON SCHEMA meshify FROM %I', CASE r WHEN 'service_role' THEN 'CREATE' ELSE 'ALL' END, r);
            EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA meshify FROM %I', r);
            EXECUTE format('REVOKE ALL ON ALL SEQUENCES IN SCHEMA meshify FROM %I', r);
        END IF;
    END LOOP;
    REVOKE ALL ON SCHEMA meshify FROM PUBLIC;
    REVOKE ALL ON ALL TABLES IN SCHEMA meshify FROM PUBLIC;
END $$;

UPDATE meshify.schema_version SET version = 1, applied_at = now() WHERE version < 1;
