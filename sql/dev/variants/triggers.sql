-- Triggers of theirs, written as people write them: without schemas, one for each row, one that refuses.
CREATE TABLE public.audit_log (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, job_id uuid, was text, became text);
ALTER TABLE public.audit_log ENABLE ROW LEVEL SECURITY;
CREATE FUNCTION public.log_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.status IS DISTINCT FROM OLD.status THEN
        INSERT INTO audit_log (job_id, was, became) VALUES (NEW.id, OLD.status, NEW.status);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER log_job AFTER UPDATE ON public.jobs FOR EACH ROW EXECUTE FUNCTION public.log_job();
CREATE TRIGGER touch BEFORE UPDATE ON public.jobs FOR EACH ROW EXECUTE FUNCTION public.touch_updated_at();
CREATE FUNCTION public.known_status() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.status NOT IN ('pending', 'running', 'done', 'error') THEN
        RAISE EXCEPTION 'unknown status %', NEW.status;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER known_status BEFORE INSERT OR UPDATE ON public.jobs FOR EACH ROW EXECUTE FUNCTION public.known_status();
CREATE FUNCTION public.credits_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM "note_credits"(NEW.id);
    RETURN NULL;
END $$;
CREATE FUNCTION public.note_credits(p_user uuid) RETURNS void LANGUAGE sql AS $$ SELECT $$;
CREATE TRIGGER credits_changed AFTER UPDATE ON public.profiles FOR EACH ROW EXECUTE FUNCTION public.credits_changed();
