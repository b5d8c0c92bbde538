-- `job_type` came first and is filled by other features; `type` was added for this one.
ALTER TABLE public.jobs ADD COLUMN job_type text;
ALTER TABLE public.jobs ALTER COLUMN type DROP NOT NULL;
