-- What years leave behind: psql -v rows=2000000. One in ten is another feature's, a few are unfinished.
\if :{?rows} \else \set rows 2000000 \endif
INSERT INTO public.jobs (user_id, project_id, asset_id, type, status, input_data, output_data, created_at, completed_at)
SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), CASE WHEN n % 10 = 0 THEN 'export' ELSE 'meshify' END,
       CASE WHEN n <= 40 THEN CASE WHEN n % 2 = 0 THEN 'pending' ELSE 'running' END WHEN n % 7 = 0 THEN 'error' ELSE 'done' END,
       '{"prompt": "a chair of a time long gone"}', '{"file_size": 123456}', now() - interval '1 day' - n * interval '1 s', now()
FROM generate_series(1, :rows) n;
