-- The schema meshify: columns that public.jobs gains, the daemon's own tables, the role it works as.
-- Idempotent. Changes nothing that the edge functions use.

DO $$
BEGIN
    IF to_regclass('public.jobs') IS NULL OR to_regclass('public.mesh_assets') IS NULL
       OR to_regclass('public.profiles') IS NULL OR to_regclass('public.notifications') IS NULL THEN
        RAISE EXCEPTION 'this database lacks public.jobs, mesh_assets, profiles or notifications'
            USING HINT = 'Is it the database of a Meshify project?';
    END IF;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'meshify_worker') THEN
        CREATE ROLE meshify_worker NOLOGIN;
    END IF;
END $$;

CREATE SCHEMA IF NOT EXISTS meshify;

CREATE TABLE IF NOT EXISTS meshify.schema_version (
    only_row        boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version         int NOT NULL,
    compatible_from int NOT NULL,
    applied_at      timestamptz NOT NULL DEFAULT now()
);
INSERT INTO meshify.schema_version (version, compatible_from) VALUES (0, 1) ON CONFLICT DO NOTHING;

ALTER TABLE public.jobs
    ADD COLUMN IF NOT EXISTS attempts int NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS crashes int NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS priority int NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS run_after timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN IF NOT EXISTS progress real,
    ADD COLUMN IF NOT EXISTS worker_id uuid,
    ADD COLUMN IF NOT EXISTS started_at timestamptz,
    ADD COLUMN IF NOT EXISTS claimed_at timestamptz,
    ADD COLUMN IF NOT EXISTS worked interval NOT NULL DEFAULT '0',
    ADD COLUMN IF NOT EXISTS cancel_requested_at timestamptz;

-- What the claim walks: pending jobs only, in its order, so that history costs nothing.
CREATE INDEX IF NOT EXISTS meshify_jobs_pending ON public.jobs (priority DESC, run_after, created_at)
    WHERE type = 'meshify' AND status = 'pending';
CREATE INDEX IF NOT EXISTS meshify_jobs_pending_user ON public.jobs (user_id, priority DESC, run_after, created_at)
    WHERE type = 'meshify' AND status = 'pending';
CREATE INDEX IF NOT EXISTS meshify_jobs_running ON public.jobs (worker_id)
    WHERE type = 'meshify' AND status = 'running';
CREATE INDEX IF NOT EXISTS meshify_jobs_asset ON public.jobs (asset_id) WHERE type = 'meshify';

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

CREATE TABLE IF NOT EXISTS meshify.settings (
    key   text PRIMARY KEY,
    value text NOT NULL
);
INSERT INTO meshify.settings (key, value)
VALUES ('refund', 'on'), ('refund_max', '100'), ('price', '25'), ('max_pending_jobs', '0'), ('paused', 'off')
ON CONFLICT DO NOTHING;

-- Supabase grants to these roles by default; nothing here is for them.
DO $$
DECLARE
    r text;
BEGIN
    FOREACH r IN ARRAY ARRAY['anon', 'authenticated', 'service_role'] LOOP
        IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = r) THEN
            EXECUTE format('REVOKE ALL ON SCHEMA meshify FROM %I', r);
            EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA meshify FROM %I', r);
            EXECUTE format('REVOKE ALL ON ALL SEQUENCES IN SCHEMA meshify FROM %I', r);
        END IF;
    END LOOP;
    REVOKE ALL ON SCHEMA meshify FROM PUBLIC;
    REVOKE ALL ON ALL TABLES IN SCHEMA meshify FROM PUBLIC;
END $$;
GRANT USAGE ON SCHEMA meshify TO meshify_worker;
GRANT SELECT ON meshify.schema_version TO meshify_worker;

-- Rows of these tables are not for PostgREST, should somebody expose the schema.
ALTER TABLE meshify.schema_version ENABLE ROW LEVEL SECURITY;
ALTER TABLE meshify.workers ENABLE ROW LEVEL SECURITY;
ALTER TABLE meshify.predictions ENABLE ROW LEVEL SECURITY;
ALTER TABLE meshify.events ENABLE ROW LEVEL SECURITY;
ALTER TABLE meshify.refunds ENABLE ROW LEVEL SECURITY;
ALTER TABLE meshify.settings ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS worker_reads ON meshify.schema_version;
CREATE POLICY worker_reads ON meshify.schema_version FOR SELECT TO meshify_worker USING (true);

CREATE OR REPLACE FUNCTION meshify.setting(p_key text) RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS
$$ SELECT s.value FROM meshify.settings s WHERE s.key = p_key $$;

CREATE OR REPLACE FUNCTION meshify.note(p_job uuid, p_event text, p_detail jsonb DEFAULT NULL) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = '' AS
$$ INSERT INTO meshify.events (job_id, event, detail) VALUES (p_job, p_event, p_detail) $$;

-- Takes a function away from everybody that Supabase's defaults gave it to; then gives it to some.
CREATE OR REPLACE FUNCTION meshify.only_for(p_function regprocedure, VARIADIC p_roles text[] DEFAULT '{}') RETURNS void
    LANGUAGE plpgsql SET search_path = '' AS $$
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
SELECT meshify.only_for('meshify.only_for(regprocedure, text[])');
SELECT meshify.only_for('meshify.setting(text)');
SELECT meshify.only_for('meshify.note(uuid, text, jsonb)');

UPDATE meshify.schema_version SET version = 1, applied_at = now() WHERE version < 1;
