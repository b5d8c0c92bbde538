-- Columns that only the project's own code knows to fill.
ALTER TABLE public.jobs ADD COLUMN tenant text NOT NULL DEFAULT 'none';
ALTER TABLE public.jobs ALTER COLUMN tenant DROP DEFAULT;
ALTER TABLE public.notifications ADD COLUMN channel text NOT NULL;
