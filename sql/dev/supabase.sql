-- Makes an empty PostgreSQL look like a Supabase project with Meshify's tables, for the demo and the
-- tests. To be run by a superuser that is not called "postgres", as on Supabase.

DO $$
DECLARE
    r text;
BEGIN
    FOREACH r IN ARRAY ARRAY['anon', 'authenticated', 'service_role', 'authenticator', 'postgres', 'meshifyd'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r) THEN
            EXECUTE format('CREATE ROLE %I', r);
        END IF;
    END LOOP;
END $$;
ALTER ROLE anon NOLOGIN;
ALTER ROLE authenticated NOLOGIN;
ALTER ROLE service_role NOLOGIN BYPASSRLS;
ALTER ROLE authenticator LOGIN NOINHERIT;
ALTER ROLE postgres LOGIN NOSUPERUSER CREATEROLE CREATEDB BYPASSRLS;
ALTER ROLE meshifyd LOGIN;
GRANT anon, authenticated, service_role TO authenticator, postgres;

CREATE SCHEMA IF NOT EXISTS auth;
CREATE SCHEMA IF NOT EXISTS extensions;
CREATE TABLE IF NOT EXISTS auth.users (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), email text);
CREATE OR REPLACE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql STABLE AS
$$ SELECT nullif(current_setting('request.jwt.claims', true)::jsonb ->> 'sub', '')::uuid $$;
GRANT USAGE ON SCHEMA auth, extensions TO anon, authenticated, service_role, postgres;
GRANT ALL ON auth.users TO postgres;

DO $$ BEGIN EXECUTE format('GRANT CREATE, CONNECT, TEMPORARY ON DATABASE %I TO postgres', current_database()); END $$;
ALTER SCHEMA public OWNER TO postgres;
GRANT USAGE ON SCHEMA public TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA public GRANT ALL ON TABLES TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA public GRANT ALL ON FUNCTIONS TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA public GRANT ALL ON SEQUENCES TO anon, authenticated, service_role;

SET ROLE postgres;

CREATE TABLE IF NOT EXISTS public.projects (
    id       uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    owner_id uuid NOT NULL,
    name     text
);
CREATE TABLE IF NOT EXISTS public.profiles (
    id                uuid PRIMARY KEY,
    credits_remaining numeric NOT NULL DEFAULT 0,
    credits_used      numeric NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS public.mesh_assets (
    id               uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    project_id       uuid NOT NULL REFERENCES public.projects (id) ON DELETE CASCADE,
    owner_id         uuid NOT NULL,
    prompt           text,
    input_image_path text,
    output_path      text,
    mime             text DEFAULT 'model/gltf-binary',
    size             bigint,
    status           text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'running', 'done', 'error')),
    credits_cost     numeric NOT NULL DEFAULT 0,
    result_meta      jsonb,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS public.jobs (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id      uuid,
    project_id   uuid,
    asset_id     uuid,
    type         text NOT NULL,
    status       text NOT NULL DEFAULT 'pending',
    input_data   jsonb,
    output_data  jsonb,
    error        text,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    completed_at timestamptz
);
CREATE TABLE IF NOT EXISTS public.notifications (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id    uuid NOT NULL,
    type       text NOT NULL CHECK (type IN ('info', 'success', 'error')),
    title      text NOT NULL,
    message    text NOT NULL,
    read       boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE OR REPLACE FUNCTION public.touch_updated_at() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN NEW.updated_at := now(); RETURN NEW; END $$;
DROP TRIGGER IF EXISTS touch ON public.mesh_assets;
CREATE TRIGGER touch BEFORE UPDATE ON public.mesh_assets FOR EACH ROW EXECUTE FUNCTION public.touch_updated_at();

ALTER TABLE public.projects ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.profiles ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.mesh_assets ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.jobs ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.notifications ENABLE ROW LEVEL SECURITY;
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_policies WHERE schemaname = 'public' AND policyname = 'own rows') THEN
        CREATE POLICY "own rows" ON public.projects FOR SELECT TO authenticated USING (owner_id = (SELECT auth.uid()));
        CREATE POLICY "own rows" ON public.profiles FOR SELECT TO authenticated USING (id = (SELECT auth.uid()));
        CREATE POLICY "own rows" ON public.mesh_assets FOR SELECT TO authenticated USING (owner_id = (SELECT auth.uid()));
        CREATE POLICY "own rows" ON public.jobs FOR SELECT TO authenticated USING (user_id = (SELECT auth.uid()));
        CREATE POLICY "own rows" ON public.notifications FOR SELECT TO authenticated USING (user_id = (SELECT auth.uid()));
    END IF;
END $$;

RESET ROLE;
