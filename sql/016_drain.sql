-- An operator asks an instance to stop. It hears a notification at once; where notifications do not
-- arrive, its next heartbeat asks. Answers how many were asked.
SET LOCAL lock_timeout = '500ms'; -- a busy table: once more; before a deadlock is looked for in others (1 s)
ALTER TABLE meshify.workers ADD COLUMN IF NOT EXISTS drain_asked_at timestamptz;

CREATE OR REPLACE FUNCTION meshify.drain(p_instance text) RETURNS int
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_n int := 0;
    v_worker uuid;
BEGIN
    FOR v_worker IN UPDATE meshify.workers w SET drain_asked_at = coalesce(w.drain_asked_at, now())
                    WHERE w.instance = p_instance AND NOT w.dead AND w.expires_at > now() RETURNING w.id LOOP
        PERFORM pg_catalog.pg_notify('meshify_control', json_build_object('drain', v_worker)::text);
        v_n := v_n + 1;
    END LOOP;
    RETURN v_n;
END $$;

CREATE OR REPLACE FUNCTION meshify.is_to_drain(p_worker uuid) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$ SELECT coalesce((SELECT w.drain_asked_at IS NOT NULL FROM meshify.workers w WHERE w.id = p_worker), false) $$;

SELECT meshify.only_for('meshify.drain(text)', 'meshify_worker');
SELECT meshify.only_for('meshify.is_to_drain(uuid)', 'meshify_worker');
UPDATE meshify.schema_version SET version = 16, applied_at = now() WHERE version < 16;
