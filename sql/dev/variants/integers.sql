-- Sizes and credits are integers.
ALTER TABLE public.mesh_assets ALTER COLUMN size TYPE integer;
ALTER TABLE public.mesh_assets ALTER COLUMN credits_cost TYPE integer;
ALTER TABLE public.profiles ALTER COLUMN credits_remaining TYPE integer, ALTER COLUMN credits_used TYPE integer;
