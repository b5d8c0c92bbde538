-- What claims walk: unfinished jobs only, so that history costs nothing. The indexes of a small table
-- are made at once. What this answers for a large one is to be run afterwards, each line by itself
-- and outside a transaction (meshifyctl migrate does).
SET LOCAL lock_timeout = '500ms'; -- a busy table: once more; before a deadlock is looked for in others (1 s)
SET LOCAL search_path = pg_catalog, pg_temp; -- nobody's names but PostgreSQL's

CREATE OR REPLACE FUNCTION meshify.missing_indexes() RETURNS SETOF text
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    i record;
    v_valid boolean;
BEGIN
    FOR i IN SELECT * FROM (VALUES
        ('meshify_jobs_pending', '(priority DESC, run_after, created_at)', ' AND jobs.status = ''pending'''),
        ('meshify_jobs_pending_user', '(user_id, priority DESC, run_after, created_at)', ' AND jobs.status = ''pending'''),
        ('meshify_jobs_begun', '(priority DESC, run_after, created_at)',
         ' AND jobs.status = ''pending'' AND (jobs.started_at IS NOT NULL OR jobs.cancel_requested_at IS NOT NULL)'),
        -- No claim's own condition implies this one, so that none walks it instead of the first and sorts.
        ('meshify_jobs_due', '(run_after)', ' AND jobs.status = ''pending'' AND jobs.run_after OPERATOR(pg_catalog.<) ''infinity'''),
        ('meshify_jobs_running', '(worker_id)', ' AND jobs.status = ''running'''),
        ('meshify_jobs_asset', '(asset_id)', '')) AS wanted (name, keys, filter) LOOP
        SELECT x.indisvalid INTO v_valid FROM pg_catalog.pg_index x WHERE x.indexrelid = to_regclass('public.' || i.name);
        CONTINUE WHEN v_valid;
        IF FOUND THEN -- broken off
            RETURN NEXT format('DROP INDEX CONCURRENTLY public.%s', i.name);
        END IF;
        -- Run outside this file, and so with other names in view.
        RETURN NEXT format('CREATE INDEX CONCURRENTLY %s ON public.jobs %s WHERE %s', i.name, i.keys,
                           replace(meshify.is_ours('jobs') || i.filter, ' = ', ' OPERATOR(pg_catalog.=) '));
    END LOOP;
END $$;

DO $$
DECLARE
    v_sql text;
BEGIN
    IF pg_relation_size('public.jobs') < 16 * 1024 * 1024 THEN
        FOR v_sql IN SELECT meshify.missing_indexes() LOOP
            EXECUTE replace(v_sql, ' CONCURRENTLY', '');
        END LOOP;
    END IF;
END $$;

SELECT meshify.only_for('meshify.missing_indexes()');
UPDATE meshify.schema_version SET version = 18, applied_at = now() WHERE version < 18;
SELECT meshify.missing_indexes() AS to_be_run_one_by_one;
