-- Refunds and retries stand in 029_charges.sql.
UPDATE meshify.schema_version SET version = 20, applied_at = now() WHERE version < 20;
