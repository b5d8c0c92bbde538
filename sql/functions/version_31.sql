-- What programs of version 31 call and today's do not: each answers through its successor. And helpers under their old
-- names, for calls that began before a migration and end after it. All of it goes when compatible_from passes 31.

-- A program that does not hear of compatible_from is asked to drain.
CREATE OR REPLACE FUNCTION meshify.beat(p_worker uuid, p_lease interval, p_running int, p_draining boolean, p_max_jobs int)
    RETURNS TABLE (answer text, workers int, running_all int, paused boolean, to_drain boolean, epoch bigint)
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s' AS $$
    SELECT h.answer, h.workers, h.running_all, h.paused, h.to_drain OR h.compatible_from > 31, h.epoch
    FROM meshify.heartbeat(p_worker, p_lease, p_running, p_draining, p_max_jobs) h
$$;

CREATE OR REPLACE FUNCTION meshify.further(p_worker uuid, p_job uuid) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS
$$ SELECT meshify.reset_crashes(p_worker, p_job) $$;

CREATE OR REPLACE FUNCTION meshify.leave_alone(p_job uuid, p_error text) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$ SELECT meshify.quarantine(p_job, p_error) $$;

CREATE OR REPLACE FUNCTION meshify.fit(p_table regclass, p_column text, p_value text) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS
$$ SELECT meshify.null_or_empty(p_table, p_column, p_value) $$;

CREATE OR REPLACE FUNCTION meshify.is_begun(p_job uuid) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$ SELECT meshify.is_in_progress(p_job) $$;

CREATE OR REPLACE FUNCTION meshify.pick_begun(p_free int, p_only_cancels boolean) RETURNS uuid[]
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$ SELECT meshify.pick_in_progress(p_free, p_only_cancels) $$;

SELECT meshify.restrict_execute('meshify.beat(uuid, interval, int, boolean, int)', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.further(uuid, uuid)', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.leave_alone(uuid, text)');
SELECT meshify.restrict_execute('meshify.fit(regclass, text, text)');
SELECT meshify.restrict_execute('meshify.is_begun(uuid)');
SELECT meshify.restrict_execute('meshify.pick_begun(int, boolean)');
