-- As both_types, but each row says both.
ALTER TABLE public.jobs ADD COLUMN job_type text NOT NULL;
