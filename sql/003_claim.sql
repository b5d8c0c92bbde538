-- Jobs come from the queue: what a claim answers, and how a job becomes a worker's. Which jobs: 019_begun.sql.
SET LOCAL search_path = pg_catalog, pg_temp; -- nobody's names but PostgreSQL's

-- In a job's row next_usec is something else: NULL, or the size of an input that is too large to be answered.
DO $$
BEGIN
    IF to_regtype('meshify.claimed') IS NULL THEN
        CREATE TYPE meshify.claimed AS (
            job_id uuid, user_id uuid, project_id uuid, asset_id uuid, owner_id uuid, input_data text,
            attempts int, crashes int, worked_usec bigint, age_usec bigint, cancel_asked boolean,
            purchases text, next_usec bigint, missing uuid[], gone uuid[]);
    END IF;
END $$;

-- Times in the project's rows may be anything: infinite, thousands of years apart, or not there. These three answer
-- for all of them, in bounds of a hundred years, since an error would be every job's.
CREATE OR REPLACE FUNCTION meshify.usec(p interval) RETURNS bigint
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS
$$ SELECT (least(greatest(extract(epoch FROM p), -3155760000), 3155760000) * 1000000)::bigint $$;

CREATE OR REPLACE FUNCTION meshify.seconds_between(p_from timestamptz, p_to timestamptz) RETURNS float8
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN p_from IS NULL OR p_to IS NULL THEN NULL WHEN p_from = p_to THEN 0
                ELSE least(greatest(extract(epoch FROM p_to)::float8 - extract(epoch FROM p_from)::float8, -3155760000), 3155760000) END
$$;

CREATE OR REPLACE FUNCTION meshify.add_worked(p_worked interval, p_seconds float8) RETURNS interval
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT least(greatest(p_worked, '0'), '100 years') + make_interval(secs => least(greatest(coalesce(p_seconds, 0), 0), 3155760000))
$$;

-- The most that input_data may have, in bytes, stored and unpacked. max_prompt is for the prompt alone.
CREATE OR REPLACE FUNCTION meshify.max_input() RETURNS int
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$ SELECT 512 * 1024 $$;

-- The most that max_prompt may say: beside the prompt there is room for an address and for names.
CREATE OR REPLACE FUNCTION meshify.most_prompt() RETURNS int
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$ SELECT 500 * 1024 $$;

-- Was anything bought for this job, or may it have been? What was refused, or never sent, is not.
CREATE OR REPLACE FUNCTION meshify.is_begun(p_job uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN RETURN EXISTS (SELECT FROM meshify.predictions p
                     WHERE p.job_id = p_job AND (p.state <> 'ended' OR p.prediction_id IS NOT NULL));
END $$;

-- What a worker needs of input_data: its two members, the other ones may be of any size. A member that is no text
-- becomes true, which is none either. Instead of what is too large its size is answered. The stored size is known
-- before anything is read; but what is stored may be compressed, at most to a hundredth (pglz) or a 255th (lz4), so
-- it is unpacked once and measured again. (A prompt that was bought with is not judged anew.)
CREATE OR REPLACE FUNCTION meshify.input_of(p_input jsonb, p_judge boolean, OUT input text, OUT too_large bigint)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_max int := meshify.setting('max_prompt')::int;
    v_all jsonb;
    v_prompt jsonb;
    v_image jsonb;
    v_size bigint := pg_column_size(p_input);
BEGIN
    IF v_size > meshify.max_input() THEN
        too_large := v_size;
        RETURN;
    ELSIF p_input IS NULL OR jsonb_typeof(p_input) <> 'object' THEN
        input := 'null';
        RETURN;
    END IF;
    v_all := p_input || '{}'; -- unpacked
    v_size := pg_column_size(v_all);
    IF v_size > meshify.max_input() THEN
        too_large := v_size;
        RETURN;
    END IF;
    v_prompt := v_all -> 'prompt';
    v_image := v_all -> 'input_image_url';
    v_size := octet_length(v_prompt #>> '{}');
    IF p_judge AND v_max > 0 AND v_size > v_max THEN
        too_large := v_size;
        RETURN;
    END IF;
    input := jsonb_build_object(
        'prompt', CASE WHEN jsonb_typeof(v_prompt) NOT IN ('string', 'null') THEN 'true' ELSE v_prompt END,
        'input_image_url', CASE WHEN jsonb_typeof(v_image) = 'string' THEN to_jsonb(left(v_image #>> '{}', 10000)) -- no address is longer
                                WHEN jsonb_typeof(v_image) <> 'null' THEN 'true' END);
END $$;

-- Those of these jobs that may be worked on. Where the credits were given back, or spent on a mesh, the job ends: somebody
-- wrote its status, or inserted it again. meshify.retry() takes the credits again. An asset that is locked is not waited for,
-- nor is its job tried again before a minute has passed.
CREATE OR REPLACE FUNCTION meshify.paid(p_jobs uuid[]) RETURNS uuid[]
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
    v_not uuid[] := ARRAY(SELECT j.id FROM meshify.jobs j WHERE j.id = ANY (p_jobs) AND meshify.is_barred(j.id, j.asset_id));
    v_job uuid;
BEGIN
    FOREACH v_job IN ARRAY v_not LOOP
        EXIT WHEN meshify.is_late();
        BEGIN
            PERFORM FROM public.mesh_assets a WHERE a.id = (SELECT j.asset_id FROM meshify.jobs j WHERE j.id = v_job) FOR UPDATE SKIP LOCKED;
            IF FOUND OR NOT EXISTS (SELECT FROM public.mesh_assets a JOIN meshify.jobs j ON j.asset_id = a.id WHERE j.id = v_job) THEN
                PERFORM meshify.end_as(v_job, 'error', meshify.why_barred(v_job));
            ELSE
                PERFORM meshify.leave_alone(v_job, 'nothing is paid for it, and its asset is locked');
            END IF;
        EXCEPTION WHEN OTHERS OR assert_failure OR query_canceled THEN
            PERFORM meshify.leave_alone(v_job, SQLERRM);
        END;
    END LOOP;
    RETURN ARRAY(SELECT o.id FROM unnest(p_jobs) WITH ORDINALITY AS o (id, n) WHERE o.id <> ALL (v_not) ORDER BY o.n);
END $$;

-- As many of these jobs, from the first on, as one claim may carry: 4 MiB. What a job's input takes to read
-- is not known before it is read; so each counts as what it may become at worst, in time and in bytes.
CREATE OR REPLACE FUNCTION meshify.fitting(p_jobs uuid[]) RETURNS uuid[]
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_max bigint := coalesce(nullif(meshify.setting('max_prompt')::int, 0), meshify.max_input());
BEGIN
    RETURN ARRAY(
        SELECT s.id FROM (
            SELECT q.id, q.n, sum(CASE WHEN q.size > meshify.max_input() THEN 0 -- which is not read
                                       ELSE greatest(6 * q.size, least(100 * q.size, v_max + 10000)) END + 10 * q.outputs)
                              OVER (ORDER BY q.n) AS total
            FROM (SELECT o.id, o.n, coalesce(pg_column_size(j.input_data), 0)::bigint AS size,
                         (SELECT coalesce(sum(pg_column_size(p.output)), 0) FROM meshify.predictions p WHERE p.job_id = o.id) AS outputs
                  FROM unnest(meshify.paid(p_jobs)) WITH ORDINALITY AS o (id, n) JOIN meshify.jobs j ON j.id = o.id) q) s
        WHERE s.n = 1 OR s.total <= 4 * 1024 * 1024 ORDER BY s.n);
END $$;

-- A job as a worker takes it up. (plpgsql keeps the plan for the next call, sql does not.)
CREATE OR REPLACE FUNCTION meshify.as_claimed(p_jobs uuid[]) RETURNS SETOF meshify.claimed
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN RETURN QUERY SELECT j.id, j.user_id, j.project_id, j.asset_id, a.owner_id, i.input, greatest(least(j.attempts, 2147483647), 0)::int,
           greatest(least(j.crashes, 2147483647), 0)::int, meshify.usec(j.worked),
           (meshify.seconds_between(greatest(j.created_at, (SELECT r.at FROM meshify.retries r WHERE r.job_id = j.id)), now()) * 1000000)::bigint,
           j.cancel_requested_at IS NOT NULL,
           meshify.purchases_of(j.id), i.too_large, NULL::uuid[], NULL::uuid[]
    FROM meshify.jobs j LEFT JOIN public.mesh_assets a ON a.id = j.asset_id
    CROSS JOIN LATERAL meshify.input_of(j.input_data, NOT meshify.is_begun(j.id)) i
    WHERE j.id = ANY (p_jobs)
    ORDER BY j.priority DESC, j.run_after, j.created_at;
END $$;

-- Makes the jobs this worker's, and answers which are. A trigger may raise, skip a row, or set it back.
CREATE OR REPLACE FUNCTION meshify.take(p_worker uuid, p_jobs uuid[]) RETURNS uuid[]
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE meshify.jobs j
    SET status = 'running', worker_id = p_worker, attempts = least(j.attempts, 2147483646) + 1, claimed_at = now(),
        started_at = coalesce(j.started_at, now())
    WHERE j.id = ANY (p_jobs);
    -- Others lock the asset before the job: one that is locked is not waited for.
    UPDATE public.mesh_assets a SET status = 'running'
    WHERE a.status = 'pending' AND a.id IN (SELECT x.id FROM meshify.jobs j JOIN public.mesh_assets x ON x.id = j.asset_id
                                            WHERE j.id = ANY (p_jobs) FOR UPDATE OF x SKIP LOCKED);
    RETURN ARRAY(SELECT j.id FROM meshify.jobs j WHERE j.id = ANY (p_jobs) AND j.status = 'running' AND j.worker_id = p_worker);
END $$;

-- The same, one by one where all together can't be had: one row that is refused keeps nobody else waiting, whatever it
-- is refused with. A trigger may raise anything, also what looks like the server's own trouble, and may wait for a lock,
-- or for nothing. What takes too long all together is left for the next claim, which tries each by itself.
CREATE OR REPLACE FUNCTION meshify.take_each(p_worker uuid, p_jobs uuid[]) RETURNS uuid[]
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
    v_taken uuid[] := '{}';
    v_tried uuid[] := '{}';
    v_job uuid;
    v_each boolean := meshify.is_troubled('claims');
BEGIN
    IF NOT v_each AND NOT meshify.is_late() THEN
        BEGIN
            v_taken := meshify.take(p_worker, p_jobs);
            v_tried := p_jobs;
        EXCEPTION WHEN OTHERS OR assert_failure OR query_canceled THEN
            v_each := true;
            IF meshify.is_late() THEN
                PERFORM meshify.trouble('claims', SQLERRM, '1 min');
            END IF;
        END;
    END IF;
    IF v_each THEN
        FOREACH v_job IN ARRAY p_jobs LOOP
            EXIT WHEN meshify.is_late();
            v_tried := v_tried || v_job;
            BEGIN
                v_taken := v_taken || meshify.take(p_worker, ARRAY[v_job]);
            EXCEPTION WHEN OTHERS OR assert_failure OR query_canceled THEN
                PERFORM meshify.leave_alone(v_job, SQLERRM);
            END;
        END LOOP;
    END IF;
    IF cardinality(v_taken) < cardinality(v_tried) THEN
        PERFORM meshify.leave_alone(j, 'a trigger of public.jobs does not let it run')
        FROM unnest(v_tried) j WHERE j <> ALL (v_taken || meshify.unclaimable_now());
    END IF;
    RETURN v_taken;
END $$;

DROP FUNCTION IF EXISTS meshify.is_veto(text);
DROP FUNCTION IF EXISTS meshify.unended(uuid);
SELECT meshify.only_for('meshify.usec(interval)');
SELECT meshify.only_for('meshify.seconds_between(timestamptz, timestamptz)', 'meshify_worker');
SELECT meshify.only_for('meshify.add_worked(interval, float8)');
SELECT meshify.only_for('meshify.max_input()');
SELECT meshify.only_for('meshify.most_prompt()');
SELECT meshify.only_for('meshify.is_begun(uuid)');
SELECT meshify.only_for('meshify.input_of(jsonb, boolean)');
SELECT meshify.only_for('meshify.paid(uuid[])');
SELECT meshify.only_for('meshify.fitting(uuid[])');
SELECT meshify.only_for('meshify.as_claimed(uuid[])');
SELECT meshify.only_for('meshify.take(uuid, uuid[])');
SELECT meshify.only_for('meshify.take_each(uuid, uuid[])');
UPDATE meshify.schema_version SET version = 3, applied_at = now() WHERE version < 3;
