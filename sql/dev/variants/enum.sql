-- jobs.status and mesh_assets.status are enums; the one of jobs does not know canceled.
CREATE TYPE public.job_status AS ENUM ('pending', 'running', 'done', 'error');
CREATE TYPE public.asset_status AS ENUM ('pending', 'running', 'done', 'error');
ALTER TABLE public.jobs ALTER COLUMN status DROP DEFAULT;
ALTER TABLE public.jobs ALTER COLUMN status TYPE public.job_status USING status::public.job_status;
ALTER TABLE public.jobs ALTER COLUMN status SET DEFAULT 'pending';
ALTER TABLE public.mesh_assets DROP CONSTRAINT mesh_assets_status_check;
ALTER TABLE public.mesh_assets ALTER COLUMN status DROP DEFAULT;
ALTER TABLE public.mesh_assets ALTER COLUMN status TYPE public.asset_status USING status::public.asset_status;
ALTER TABLE public.mesh_assets ALTER COLUMN status SET DEFAULT 'pending';
