-- Our triggers on the project's tables. One that is there stays as it is, since to make it would lock its table; one
-- that somebody disabled stays disabled, and meshify.advice() says it.

DO $$
DECLARE
    w record;
BEGIN
    FOR w IN SELECT * FROM (VALUES
        ('jobs', 'meshify_notify', 'AFTER INSERT', 'REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT', 'notify_jobs'),
        ('jobs', 'meshify_cancel', 'AFTER UPDATE OF cancel_requested_at',
         'FOR EACH ROW WHEN (OLD.cancel_requested_at IS NULL AND NEW.cancel_requested_at IS NOT NULL)', 'cancel_asked'),
        ('jobs', 'meshify_job_moved', 'AFTER UPDATE OF id, asset_id',
         'FOR EACH ROW WHEN (OLD.id <> NEW.id OR OLD.asset_id IS DISTINCT FROM NEW.asset_id)', 'job_moved'),
        ('jobs', 'meshify_job_deleted', 'BEFORE DELETE', 'FOR EACH ROW', 'job_deleted'),
        ('mesh_assets', 'meshify_charge', 'AFTER INSERT', 'FOR EACH ROW', 'charge_asset'),
        ('mesh_assets', 'meshify_asset_renamed', 'AFTER UPDATE OF id', 'FOR EACH ROW WHEN (OLD.id <> NEW.id)', 'asset_renamed'),
        ('mesh_assets', 'meshify_asset_deleted', 'BEFORE DELETE', 'FOR EACH ROW', 'asset_deleted')) AS o (tab, name, at, each, calls) LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = to_regclass('public.' || w.tab) AND t.tgname = w.name);
        EXECUTE format('CREATE TRIGGER %I %s ON public.%I %s EXECUTE FUNCTION meshify.%I()', w.name, w.at, w.tab, w.each, w.calls);
        IF w.name = 'meshify_charge' THEN -- what was inserted until the table was locked
            PERFORM meshify.charge_present_assets();
            UPDATE meshify.charges c SET made_at = now()
            FROM public.mesh_assets a WHERE a.id = c.asset_id AND c.made_at IS NULL AND a.status::text = 'done';
        END IF;
    END LOOP;
END $$;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger t
                   WHERE t.tgrelid = 'meshify.predictions'::regclass AND t.tgname = 'meshify_purchase_asset') THEN
        CREATE TRIGGER meshify_purchase_asset BEFORE INSERT ON meshify.predictions
            FOR EACH ROW EXECUTE FUNCTION meshify.purchase_asset();
    END IF;
END $$;
