-- The tables of version 31, the first schema that was released, and the role that daemons work as. The columns that
-- public.jobs gets, and all that depends on how a project's own tables are, stand in sql/project/.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'meshify_worker') THEN
        CREATE ROLE meshify_worker NOLOGIN;
    END IF;
END $$;

CREATE TABLE meshify.schema_version (
    only_row        boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version         int NOT NULL,
    compatible_from int NOT NULL, -- programs below this version drain
    applied_at      timestamptz NOT NULL DEFAULT now()
);
INSERT INTO meshify.schema_version (version, compatible_from) VALUES (0, 1);
CREATE POLICY worker_reads ON meshify.schema_version FOR SELECT TO meshify_worker USING (true);

-- What was changed of the project's own objects, and the statement that undoes it: for sql/dev/reverse.sql.
CREATE TABLE meshify.adapted (
    what text PRIMARY KEY,
    undo text NOT NULL
);

CREATE TABLE meshify.workers (
    id             uuid PRIMARY KEY,
    instance       text NOT NULL,
    host           text NOT NULL,
    machine_id     text NOT NULL DEFAULT '',
    boot_id        text NOT NULL DEFAULT '',
    pid_ns         text NOT NULL DEFAULT '',
    pid            int NOT NULL,
    version        text NOT NULL,
    started_at     timestamptz NOT NULL DEFAULT now(),
    heartbeat_at   timestamptz NOT NULL DEFAULT now(),
    expires_at     timestamptz NOT NULL,
    draining       boolean NOT NULL DEFAULT false,
    dead           boolean NOT NULL DEFAULT false,
    max_jobs       int NOT NULL,
    running        int NOT NULL DEFAULT 0,
    held           jsonb, -- lanes: [{"lane", "reason", "detail", "until"}]
    drain_asked_at timestamptz,
    waits          jsonb -- what jobs wait for longer than a minute: [{"job", "state", "for", "since"}]
) WITH (fillfactor = 50);

-- A purchase's key is made by its buyer, before the intent. A number from a sequence would come again when commits are
-- lost with their primary, and would then name somebody else's purchase; here the number only gives the order.
CREATE TABLE meshify.predictions (
    n              bigint GENERATED ALWAYS AS IDENTITY (SEQUENCE NAME meshify.predictions_id_seq),
    job_id         uuid NOT NULL, -- no foreign key: what was bought outlives a deleted job
    step           text NOT NULL,
    purchase       int,
    attempt        int NOT NULL,
    worker_id      uuid,
    state          text NOT NULL CHECK (state IN ('intended', 'bought', 'given_up', 'surplus', 'ended')),
    intent_at      timestamptz NOT NULL DEFAULT now(),
    give_up_after  timestamptz NOT NULL,
    prediction_id  text UNIQUE,
    status         text,
    model          text,
    input_hash     text,
    input_keys     jsonb,
    output         jsonb,
    created_at     timestamptz,
    finished_at    timestamptz,
    metrics        jsonb,
    error          text,
    asset_id       uuid, -- the asset it was bought for; the job's row may go, or name another
    pipeline       text,
    output_pointer text,
    object_name    text, -- the purchase's name in the store, for ever
    object_size    bigint,
    object_sha256  text,
    upload_id      text, -- of an upload in parts
    last_step      boolean,
    id             uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    audited_at     timestamptz,
    object_worker  uuid, -- the worker that writes the object
    object_place   text, -- driver, URL and bucket
    object_grace   interval, -- how long after its writer's lease a write may still be under way
    object_state   text, -- NULL: may be written; 'used': a row of a closed job names it; 'orphan': see meshify.orphans
    UNIQUE (job_id, step, purchase),
    CONSTRAINT predictions_n_key UNIQUE (n),
    CONSTRAINT predictions_of_a_purchase CHECK (purchase IS NOT NULL OR state = 'surplus')
) WITH (fillfactor = 80);
CREATE INDEX predictions_open ON meshify.predictions (intent_at)
    WHERE state IN ('intended', 'given_up', 'surplus') OR finished_at IS NULL;
CREATE INDEX predictions_asset ON meshify.predictions (asset_id) WHERE asset_id IS NOT NULL;
CREATE UNIQUE INDEX predictions_object ON meshify.predictions (object_name) WHERE object_name IS NOT NULL;
CREATE INDEX predictions_named ON meshify.predictions (job_id) WHERE object_name IS NOT NULL AND object_state IS NULL;

CREATE TABLE meshify.events (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id uuid NOT NULL,
    at     timestamptz NOT NULL DEFAULT now(),
    event  text NOT NULL,
    detail jsonb
);
CREATE INDEX events_job ON meshify.events (job_id, id);
CREATE INDEX events_at ON meshify.events (at);

CREATE TABLE meshify.refunds (
    job_id   uuid NOT NULL,
    n        int NOT NULL,
    user_id  uuid,
    credits  numeric NOT NULL, -- positive: given back; negative: taken again by a retry
    at       timestamptz NOT NULL DEFAULT now(),
    asset_id uuid,
    PRIMARY KEY (job_id, n)
);
CREATE INDEX refunds_given ON meshify.refunds (at) WHERE credits > 0;
CREATE INDEX refunds_asset ON meshify.refunds (asset_id);

-- What each asset's user was charged: one row for each id that an asset ever had. What is written to the asset later
-- never changes it.
CREATE TABLE meshify.charges (
    asset_id     uuid PRIMARY KEY,
    user_id      uuid,
    credits      numeric NOT NULL, -- what may be given back
    cost         numeric, -- credits_cost, as the row was inserted
    inserted_by  text, -- the role; NULL: the row was there when this table was made
    at           timestamptz NOT NULL DEFAULT now(),
    made_at      timestamptz, -- when its mesh was made: from then on nothing is given back
    job_id       uuid, -- the answer of meshify.enqueue(), where it was called with a request_id
    request_id   uuid,
    request_hash text
);
CREATE UNIQUE INDEX charges_request ON meshify.charges (user_id, request_id) WHERE request_id IS NOT NULL;

-- Jobs that only a retry lets in again, whatever is written to their rows: their asset's credits went back, or were
-- spent, when they had ended. These rows are never pruned.
CREATE TABLE meshify.barred (
    job_id uuid PRIMARY KEY,
    at     timestamptz NOT NULL DEFAULT now()
);

-- Assets that jobs named before another was written into their row.
CREATE TABLE meshify.moved (
    job_id   uuid,
    asset_id uuid,
    PRIMARY KEY (job_id, asset_id)
);
CREATE INDEX moved_asset ON meshify.moved (asset_id);

-- Jobs that a trigger of the project keeps from being claimed, or taken over: nobody tries them again for a minute.
CREATE TABLE meshify.unclaimable (
    job_id uuid PRIMARY KEY,
    until  timestamptz NOT NULL,
    error  text NOT NULL
);

-- Closings that are still to be made. `due` is NULL: the object is stored and the worker is about to close the job.
-- Else a closing was refused and the job is parked: no worker holds it, no claim takes it, nothing more is bought or
-- fetched for it; meshify.finish() tries again when it is due.
CREATE TABLE meshify.closings (
    job_id uuid PRIMARY KEY,
    how    text NOT NULL CHECK (how IN ('done', 'error', 'canceled', 'back')),
    args   jsonb NOT NULL, -- of meshify.end_as()
    since  timestamptz NOT NULL DEFAULT now(),
    due    timestamptz,
    tries  int NOT NULL DEFAULT 0,
    error  text
);
CREATE INDEX closings_due ON meshify.closings (due) WHERE due IS NOT NULL;

-- Jobs that were tried again: their age counts from then.
CREATE TABLE meshify.retries (
    job_id uuid PRIMARY KEY,
    at     timestamptz NOT NULL DEFAULT now()
);

-- A fault that concerns more than one job: until when nobody tries it again, and when it was last said.
CREATE TABLE meshify.troubles (
    what  text PRIMARY KEY, -- 'claims', 'notifications'
    until timestamptz NOT NULL DEFAULT now(),
    said  timestamptz NOT NULL DEFAULT now(),
    error text NOT NULL
);

-- Names of objects that are to be removed, since nothing will be written under them any more. A row stays after that,
-- so that no later object gets a name that a DELETE was sent for, which may arrive late.
CREATE TABLE meshify.orphans (
    name       text PRIMARY KEY,
    place      text, -- driver, URL and bucket
    job_id     uuid NOT NULL,
    upload_id  text, -- of an upload in parts that may be open
    since      timestamptz NOT NULL, -- nobody writes it from here on
    grace      interval NOT NULL,
    tried_at   timestamptz,
    tries      int NOT NULL DEFAULT 0,
    removed_at timestamptz
);
CREATE INDEX orphans_left ON meshify.orphans (tried_at NULLS FIRST) WHERE removed_at IS NULL;

-- Closing a job reads these: a value that was written by hand must be as good as one of `meshifyctl settings`.
CREATE TABLE meshify.settings (
    key   text PRIMARY KEY,
    value text NOT NULL
);
INSERT INTO meshify.settings (key, value)
VALUES ('refund', 'on'), ('refund_max', '100'), ('price', '25'), ('max_pending_jobs', '0'), ('max_prompt', '32768'),
       ('paused', 'off');
ALTER TABLE meshify.settings ADD CONSTRAINT settings_value CHECK (CASE
    WHEN key IN ('refund', 'paused') THEN value IN ('on', 'off')
    WHEN key IN ('refund_max', 'price', 'max_pending_jobs') THEN value ~ '^[0-9]{1,9}$'
    WHEN key = 'max_prompt' THEN value ~ '^[0-9]{1,6}$' AND value::int <= 512000 -- meshify.most_prompt()
    ELSE true END) NOT VALID; -- as in databases that had rows when the rule came

-- What a claim answers. In a job's row next_usec is something else: NULL, or the size of an input that is too large
-- to be answered.
CREATE TYPE meshify.claimed AS (
    job_id uuid, user_id uuid, project_id uuid, asset_id uuid, owner_id uuid, input_data text,
    attempts int, crashes int, worked_usec bigint, age_usec bigint, cancel_asked boolean,
    purchases text, next_usec bigint, missing uuid[], gone uuid[]);
