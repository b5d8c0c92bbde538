-- jobs.status has a CHECK that does not know canceled.
ALTER TABLE public.jobs ADD CONSTRAINT jobs_status_check CHECK (status IN ('pending', 'running', 'done', 'error'));
