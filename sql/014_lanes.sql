-- What a worker must not ask for at the moment, and why: an operator reads it in `meshifyctl status`.
-- p_held is [{"lane", "reason", "detail", "wait_usec"}].
CREATE OR REPLACE FUNCTION meshify.lanes(p_worker uuid, p_held jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE meshify.workers w
    SET held = (SELECT jsonb_agg(jsonb_build_object(
                    'lane', h ->> 'lane', 'reason', h ->> 'reason', 'detail', left(h ->> 'detail', 200),
                    'until', now() + make_interval(secs => (h ->> 'wait_usec')::float8 / 1000000)))
                FROM jsonb_array_elements(p_held) h)
    WHERE w.id = p_worker;
END $$;

SELECT meshify.only_for('meshify.lanes(uuid, jsonb)', 'meshify_worker');
UPDATE meshify.schema_version SET version = 14, applied_at = now() WHERE version < 14;
