-- What a purchase was bought with and what became of its file, with the purchase: a configuration may change under way.
SET LOCAL lock_timeout = '1s'; -- a busy table: once more
SET LOCAL search_path = pg_catalog, pg_temp; -- nobody's names but PostgreSQL's

ALTER TABLE meshify.predictions
    ADD COLUMN IF NOT EXISTS pipeline text, ADD COLUMN IF NOT EXISTS output_pointer text,
    ADD COLUMN IF NOT EXISTS object_name text, ADD COLUMN IF NOT EXISTS object_size bigint,
    ADD COLUMN IF NOT EXISTS object_sha256 text, ADD COLUMN IF NOT EXISTS upload_id text;

UPDATE meshify.schema_version SET version = 27, applied_at = now() WHERE version < 27;
