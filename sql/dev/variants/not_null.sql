-- Whatever can be is NOT NULL, with foreign keys.
ALTER TABLE public.jobs
    ALTER COLUMN user_id SET NOT NULL, ALTER COLUMN project_id SET NOT NULL, ALTER COLUMN asset_id SET NOT NULL,
    ALTER COLUMN input_data SET NOT NULL,
    ALTER COLUMN output_data SET DEFAULT '{}', ALTER COLUMN output_data SET NOT NULL,
    ALTER COLUMN error SET DEFAULT '', ALTER COLUMN error SET NOT NULL,
    ADD CONSTRAINT jobs_project FOREIGN KEY (project_id) REFERENCES public.projects (id) ON DELETE CASCADE,
    ADD CONSTRAINT jobs_asset FOREIGN KEY (asset_id) REFERENCES public.mesh_assets (id) ON DELETE CASCADE;
ALTER TABLE public.mesh_assets
    ALTER COLUMN prompt SET NOT NULL,
    ALTER COLUMN output_path SET DEFAULT '', ALTER COLUMN output_path SET NOT NULL,
    ALTER COLUMN mime SET NOT NULL,
    ALTER COLUMN size SET DEFAULT 0, ALTER COLUMN size SET NOT NULL,
    ALTER COLUMN result_meta SET DEFAULT '{}', ALTER COLUMN result_meta SET NOT NULL;
ALTER TABLE public.notifications ADD CONSTRAINT notifications_user FOREIGN KEY (user_id) REFERENCES public.profiles (id) ON DELETE CASCADE;
