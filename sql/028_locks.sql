-- Locks that others hold, and what triggers of the project refuse. What decides anything is remembered here, in tables
-- that nobody prunes.
SET LOCAL lock_timeout = '1s'; -- a busy table: once more
SET LOCAL search_path = pg_catalog, pg_temp; -- nobody's names but PostgreSQL's

-- Trouble that concerns more than one job: until when nobody meets it again, and when it was last said.
CREATE TABLE IF NOT EXISTS meshify.troubles (
    what  text PRIMARY KEY, -- 'claims', 'notifications'
    until timestamptz NOT NULL DEFAULT now(),
    said  timestamptz NOT NULL DEFAULT now(),
    error text NOT NULL
);
ALTER TABLE meshify.troubles ENABLE ROW LEVEL SECURITY;

DO $$
DECLARE
    r text;
BEGIN
    FOREACH r IN ARRAY ARRAY['public', 'anon', 'authenticated', 'service_role'] LOOP
        IF r = 'public' OR EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = r) THEN
            EXECUTE format('REVOKE ALL ON meshify.troubles FROM %s', CASE r WHEN 'public' THEN 'PUBLIC' ELSE quote_ident(r) END);
        END IF;
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION meshify.is_troubled(p_what text) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$ BEGIN RETURN EXISTS (SELECT FROM meshify.troubles t WHERE t.what = p_what AND t.until > now()); END $$;

-- Remembers a trouble for a time. True when it has to be said: it is another one, or was said more than an hour ago. Only
-- one session writes it down at a time, and none waits for that: a user's transaction may stay open for long.
CREATE OR REPLACE FUNCTION meshify.trouble(p_what text, p_error text, p_for interval) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_new boolean;
BEGIN
    IF NOT pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtext('meshify.troubles'), pg_catalog.hashtext(p_what)) THEN
        RETURN false;
    END IF;
    v_new := NOT EXISTS (SELECT FROM meshify.troubles t
                         WHERE t.what = p_what AND t.error = left(p_error, 500) AND t.said > now() - interval '1 hour');
    IF v_new OR p_for > interval '0' THEN
        INSERT INTO meshify.troubles AS t (what, until, error) VALUES (p_what, now() + p_for, left(p_error, 500))
        ON CONFLICT (what) DO UPDATE SET until = excluded.until, error = excluded.error,
                                         said = CASE WHEN v_new THEN now() ELSE t.said END;
    END IF;
    RETURN v_new;
END $$;

-- Has this statement taken so long that its time-out may have struck? It strikes once: whoever catches it has nothing
-- that would end the next wait, and has to come to an end.
CREATE OR REPLACE FUNCTION meshify.is_late() RETURNS boolean
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS
$$ SELECT clock_timestamp() > statement_timestamp() + interval '2 s' $$;

-- How the call under way was sent: 'batch', with others in one transaction; 'alone'; 'wait', alone, and may wait for a
-- row's lock; 'old', by a program of before, or by somebody else.
CREATE OR REPLACE FUNCTION meshify.sent_as() RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS
$$ SELECT coalesce(nullif(current_setting('meshify.sent_as', true), ''), 'old') $$;

-- How often what is done now was tried before.
CREATE OR REPLACE FUNCTION meshify.tries() RETURNS int
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS
$$ SELECT coalesce(nullif(current_setting('meshify.tries', true), ''), '0')::int $$;

-- Locks, shortage, an operator's hand: the same again may do.
CREATE OR REPLACE FUNCTION meshify.may_pass(p_state text) RETURNS boolean
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS
$$ SELECT p_state ~ '^(40|53|55P03|57|58)' $$;

SELECT meshify.only_for('meshify.sent_as()');
SELECT meshify.only_for('meshify.tries()');
SELECT meshify.only_for('meshify.may_pass(text)');
SELECT meshify.only_for('meshify.is_troubled(text)');
SELECT meshify.only_for('meshify.trouble(text, text, interval)');
SELECT meshify.only_for('meshify.is_late()');
UPDATE meshify.schema_version SET version = 28, applied_at = now() WHERE version < 28;
