-- The indexes of public.jobs stand in 018_indexes.sql.
UPDATE meshify.schema_version SET version = 9, applied_at = now() WHERE version < 9;
