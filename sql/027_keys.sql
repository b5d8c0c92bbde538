-- A purchase's key is its buyer's, and the purchase says what it was bought with and what became of its file. The
-- columns stand with the functions that use them, in one transaction: 004_purchases.sql.
UPDATE meshify.schema_version SET version = 27, applied_at = now() WHERE version < 27;
