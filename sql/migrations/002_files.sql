-- From version 31: functions of programs that were never released go, and what was renamed gets its new name. What
-- programs of version 31 call stays: sql/functions/version_31.sql.

DROP FUNCTION IF EXISTS
    meshify.asked(uuid),
    meshify.audit(uuid, int),
    meshify.audit_lost(uuid, int),
    meshify.audited(bigint, text),
    meshify.hand_back_unbought(uuid, uuid, interval, boolean, interval, text, bigint),
    meshify.heartbeat(uuid, interval, int, boolean),
    meshify.hide(regclass[]),
    meshify.intend(uuid, uuid, text, int, int, text, text, jsonb, interval, bigint),
    meshify.lets_canceled(text),
    meshify.only_for(regprocedure, text[]),
    meshify.reap(uuid, uuid[]),
    meshify.record(uuid, bigint, text, text),
    meshify.settle(bigint, text, text, jsonb, jsonb, text, boolean),
    meshify.surplus(uuid, bigint[], text[]);

ALTER INDEX IF EXISTS public.meshify_jobs_begun RENAME TO meshify_jobs_in_progress;

-- PostgreSQL 18 names the rules of NOT NULL: there a column that was renamed has one of its old name.
DO $$
DECLARE
    c record;
BEGIN
    FOR c IN SELECT k.conname, format('predictions_%s_not_null', a.attname) AS name
             FROM pg_catalog.pg_constraint k
             JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND k.conkey = ARRAY[a.attnum]
             WHERE k.conrelid = 'meshify.predictions'::regclass AND k.contype = 'n' AND a.attname IN ('n', 'id')
             ORDER BY a.attname DESC LOOP -- n's first: it has the name that id's is to get
        IF c.conname <> c.name THEN
            EXECUTE format('ALTER TABLE meshify.predictions RENAME CONSTRAINT %I TO %I', c.conname, c.name);
        END IF;
    END LOOP;
END $$;
