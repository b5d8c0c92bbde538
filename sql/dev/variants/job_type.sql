-- The kind of a job stands in `job_type`; there is no `type`.
ALTER TABLE public.jobs RENAME COLUMN type TO job_type;
