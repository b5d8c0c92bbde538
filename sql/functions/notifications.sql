-- What users are told, in the project's table public.notifications.

CREATE OR REPLACE FUNCTION meshify.insert_notification(p_user uuid, p_type text, p_title text, p_message text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO public.notifications (user_id, type, title, message)
    SELECT n.user_id, n.type, n.title, n.message -- as whatever type these have
    FROM jsonb_populate_record(NULL::public.notifications, jsonb_build_object(
        'user_id', p_user, 'type', p_type, 'title', p_title, 'message', p_message)) n;
END $$;

-- A notification must not keep a job from being closed: the table may be missing, or refuse the row, or take its
-- time. Then the job gets an event, and the fault is said once. In a batch no error is caught: the batch is sent
-- again, one call at a time. An error that may pass (a lock, a shortage) is passed on, so that the closing is tried
-- again, but not for ever.
CREATE OR REPLACE FUNCTION meshify.notify_user(p_user uuid, p_type text, p_title text, p_message text, p_job uuid DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_deferred text;
    v_late boolean;
    v_began timestamptz := clock_timestamp();
BEGIN
    IF p_user IS NULL OR to_regclass('public.notifications') IS NULL THEN
        RETURN;
    ELSIF meshify.is_troubled('notifications') THEN
        PERFORM meshify.note(p_job, 'unnotified', jsonb_build_object('error', 'notifications took too long a moment ago')) WHERE p_job IS NOT NULL;
        RETURN;
    ELSIF meshify.sent_as() = 'batch' THEN
        PERFORM meshify.insert_notification(p_user, p_type, p_title, p_message);
        RETURN;
    END IF;
    -- Deferred constraints of the table are checked now: at the commit they would undo all the rest.
    SELECT string_agg(format('public.%I', c.conname), ', ') INTO v_deferred
    FROM pg_catalog.pg_constraint c WHERE c.conrelid = to_regclass('public.notifications') AND c.condeferred;
    BEGIN
        IF v_deferred IS NOT NULL THEN
            EXECUTE 'SET CONSTRAINTS ' || v_deferred || ' IMMEDIATE';
        END IF;
        PERFORM meshify.insert_notification(p_user, p_type, p_title, p_message);
        IF v_deferred IS NOT NULL THEN
            EXECUTE 'SET CONSTRAINTS ' || v_deferred || ' DEFERRED';
        END IF;
    EXCEPTION WHEN OTHERS OR assert_failure OR query_canceled THEN
        v_late := meshify.is_late();
        IF NOT v_late AND meshify.may_pass(SQLSTATE) AND meshify.sent_as() <> 'old' AND meshify.tries() < 4 THEN
            RAISE;
        END IF;
        -- It concerns other jobs too only if the insert took so long, and not the statement around it.
        v_late := v_late AND clock_timestamp() > v_began + interval '1 s';
        IF meshify.trouble('notifications', SQLERRM, CASE WHEN v_late THEN '1 min' ELSE '0' END::interval) THEN
            RAISE WARNING 'user % could not be notified, nor may others: %', p_user, left(SQLERRM, 200) USING ERRCODE = 'MF503';
        END IF;
        PERFORM meshify.note(p_job, 'unnotified', jsonb_build_object('error', left(SQLERRM, 200))) WHERE p_job IS NOT NULL;
    END;
END $$;

-- The beginning of the prompt. An input that is too large to be a request is not read.
CREATE OR REPLACE FUNCTION meshify.prompt_of(p_input jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS
$$ SELECT left(CASE WHEN pg_column_size(p_input) > meshify.max_input() THEN '' WHEN jsonb_typeof(p_input -> 'prompt') = 'string' THEN p_input ->> 'prompt' ELSE '' END, 100) $$;

SELECT meshify.restrict_execute('meshify.insert_notification(uuid, text, text, text)');
SELECT meshify.restrict_execute('meshify.notify_user(uuid, text, text, text, uuid)');
SELECT meshify.restrict_execute('meshify.prompt_of(jsonb)');
