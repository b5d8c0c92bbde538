-- What functions of all subjects use: settings, events, times, texts and columns of the project.

-- The value of a setting; NULL: there is none.
CREATE OR REPLACE FUNCTION meshify.setting(p_key text) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$ BEGIN RETURN (SELECT s.value FROM meshify.settings s WHERE s.key = p_key); END $$;

-- Adds an event to the history of a job.
CREATE OR REPLACE FUNCTION meshify.note(p_job uuid, p_event text, p_detail jsonb DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$ BEGIN INSERT INTO meshify.events (job_id, event, detail) VALUES (p_job, p_event, p_detail); END $$;

-- Times in the project's rows may be anything: infinite, thousands of years apart, or not there. These three
-- functions answer for all of them, in bounds of a hundred years, since an error would be an error of every job.
CREATE OR REPLACE FUNCTION meshify.usec(p interval) RETURNS bigint
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS
$$ SELECT (least(greatest(extract(epoch FROM p), -3155760000), 3155760000) * 1000000)::bigint $$;

CREATE OR REPLACE FUNCTION meshify.seconds_between(p_from timestamptz, p_to timestamptz) RETURNS float8
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN p_from IS NULL OR p_to IS NULL THEN NULL WHEN p_from = p_to THEN 0
                ELSE least(greatest(extract(epoch FROM p_to)::float8 - extract(epoch FROM p_from)::float8, -3155760000), 3155760000) END
$$;

CREATE OR REPLACE FUNCTION meshify.add_worked(p_worked interval, p_seconds float8) RETURNS interval
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT least(greatest(p_worked, '0'), '100 years') + make_interval(secs => least(greatest(coalesce(p_seconds, 0), 0), 3155760000))
$$;

-- The condition under which a row of public.jobs is ours. The column is `type`, in some databases `job_type`; where
-- both are there, `type` counts unless it is NULL.
CREATE OR REPLACE FUNCTION meshify.is_ours(p_jobs text) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format(CASE WHEN t.attname IS NULL THEN '%1$s.job_type = ''meshify'''
                       WHEN o.attname IS NULL OR t.attnotnull THEN '%1$s.type = ''meshify'''
                       ELSE '(%1$s.type = ''meshify'' OR %1$s.type IS NULL AND %1$s.job_type = ''meshify'')' END, p_jobs)
    FROM (SELECT 'public.jobs'::regclass AS id) j
    LEFT JOIN pg_catalog.pg_attribute t ON t.attrelid = j.id AND t.attname = 'type'
    LEFT JOIN pg_catalog.pg_attribute o ON o.attrelid = j.id AND o.attname = 'job_type'
$$;

-- A text for one of the project's columns: for no text NULL, or '' where the column is NOT NULL.
CREATE OR REPLACE FUNCTION meshify.null_or_empty(p_table regclass, p_column text, p_value text) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(p_value, (SELECT '' FROM pg_catalog.pg_attribute a
                              WHERE a.attrelid = p_table AND a.attname = p_column AND a.attnotnull))
$$;

-- How many characters a column takes, or a domain over it. NULL: any number.
CREATE OR REPLACE FUNCTION meshify.room(p_table regclass, p_column text) RETURNS int
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN coalesce(nullif(t.typbasetype, 0), t.oid) IN ('varchar'::regtype, 'bpchar'::regtype)
                THEN nullif(greatest(a.atttypmod, t.typtypmod), -1) - 4 END
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = p_table AND a.attname = p_column
$$;

-- NULL if nothing of the text would be seen (by the same rule as str_is_blank() in base/str.c); else the text
-- without the blanks around it. The codes are those of UTF-8 databases; elsewhere only ASCII's occur.
CREATE OR REPLACE FUNCTION meshify.unless_blank(p_text text) RETURNS text
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN p_text COLLATE "C" !~ ('^[\u0001-\u0020\u007f-\u00a0\u00ad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f'
        '\u2000-\u200f\u2028-\u202f\u205f-\u206f\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]*$')
        THEN btrim(p_text, E' \t\r\n\f\v') END
$$;

-- A time that the project wrote, in whatever type. NULL: it is none.
CREATE OR REPLACE FUNCTION meshify.as_time(p_text text) RETURNS timestamptz
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN p_text::timestamptz;
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END $$;

SELECT meshify.restrict_execute('meshify.setting(text)');
SELECT meshify.restrict_execute('meshify.note(uuid, text, jsonb)');
SELECT meshify.restrict_execute('meshify.usec(interval)');
SELECT meshify.restrict_execute('meshify.seconds_between(timestamptz, timestamptz)', 'meshify_worker');
SELECT meshify.restrict_execute('meshify.add_worked(interval, float8)');
SELECT meshify.restrict_execute('meshify.is_ours(text)');
SELECT meshify.restrict_execute('meshify.null_or_empty(regclass, text, text)');
SELECT meshify.restrict_execute('meshify.room(regclass, text)');
SELECT meshify.restrict_execute('meshify.unless_blank(text)');
SELECT meshify.restrict_execute('meshify.as_time(text)');
