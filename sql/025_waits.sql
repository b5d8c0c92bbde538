-- What jobs wait for longer than a minute: an operator reads it in `meshifyctl status`.
ALTER TABLE meshify.workers ADD COLUMN IF NOT EXISTS waits jsonb; -- [{"job", "state", "for", "since"}]

-- p_waits is [{"job", "state", "for", "usec"}], and takes the place of what was said before.
CREATE OR REPLACE FUNCTION meshify.waits(p_worker uuid, p_waits jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE meshify.workers w
    SET waits = (SELECT jsonb_agg(jsonb_build_object(
                     'job', t ->> 'job', 'state', t ->> 'state', 'for', left(t ->> 'for', 300),
                     'since', now() - make_interval(secs => (t ->> 'usec')::float8 / 1000000)))
                 FROM jsonb_array_elements(p_waits) t)
    WHERE w.id = p_worker;
END $$;

SELECT meshify.only_for('meshify.waits(uuid, jsonb)', 'meshify_worker');
UPDATE meshify.schema_version SET version = 25, applied_at = now() WHERE version < 25;
