#!/usr/bin/python3
"""What a migration leaves as it was; and names that somebody planted to be called by mistake."""

import glob
import os
import re

from lab import Lab, is_, main, ok, test
from lab.postgres import ROOT, SUPERUSER
from lab.schema import listing, migrate, same

OURS = re.compile(r"meshify|^acl of column public\.jobs\.|^column public\.jobs\.(attempts|crashes|priority|run_after|progress|worker_id|"
                  r"started_at|claimed_at|worked|cancel_requested_at) ")


@test
def as_it_was():
    """Row security, policies, privileges, everything of theirs."""
    lab = Lab(variant=["not_null", "triggers"], migrate=False)
    lab.query("""CREATE POLICY change ON public.profiles FOR UPDATE TO authenticated USING (id = (SELECT auth.uid()));
                 CREATE POLICY everybody ON public.projects AS RESTRICTIVE FOR ALL TO PUBLIC USING (true) WITH CHECK (owner_id IS NOT NULL);
                 REVOKE UPDATE ON public.jobs FROM anon, authenticated; GRANT UPDATE (error) ON public.jobs TO authenticated;
                 ALTER TABLE public.projects DISABLE ROW LEVEL SECURITY; ALTER TABLE public.notifications FORCE ROW LEVEL SECURITY;
                 ALTER DEFAULT PRIVILEGES FOR ROLE postgres GRANT ALL ON TABLES TO anon, authenticated, service_role;
                 ALTER DEFAULT PRIVILEGES FOR ROLE postgres GRANT ALL ON SEQUENCES TO anon, authenticated, service_role;
                 ALTER DEFAULT PRIVILEGES FOR ROLE postgres GRANT ALL ON FUNCTIONS TO anon, authenticated, service_role;
                 ALTER DEFAULT PRIVILEGES FOR ROLE postgres GRANT ALL ON SCHEMAS TO anon, authenticated, service_role""")
    before = listing(lab.postgres)
    ok(len([line for line in before if "policy" in line]) >= 7 and len(before) > 150, "there is much to keep", before)
    is_(migrate(lab).returncode, 0, "migrated")
    after = listing(lab.postgres)
    # A function of theirs may be told where to look for names: 60-variants.t.
    same([line for line in before if line not in after], [], "nothing of theirs is gone or changed")
    more, ours = [], False
    for line in after:
        if re.match(r"(acl|column|constraint|CREATE|default|of|policy|schema|view|[rvSic] )", line): # not a function's text
            ours = bool(OURS.search(line)) or " jobs_pkey" in line
        if line not in before and not ours and line != " SET search_path TO 'public', 'extensions', 'pg_temp'":
            more.append(line)
    same(more, [], "what is new is ours")
    granted = [line for line in after if re.match(r"acl of .*meshify.*: (anon|authenticated|service_role|PUBLIC) ", line)]
    is_(sorted({line for line in granted if "service_role" not in line}), [], "nothing of ours is anybody's, whatever is granted by default")
    ok(all("USAGE" in line or "EXECUTE" in line for line in granted), "the service role calls, and does not read", granted)
    lab.sim.stop()


# Overloads of what ours call by name, nearer to the arguments than pg_catalog's own; operators too; tables and
# types named as ours. Each steals where it runs as anybody but mallory.
PLANT = """
SET search_path = pg_catalog;
CREATE SEQUENCE public.loot;
GRANT ALL ON SEQUENCE public.loot TO PUBLIC;
CREATE ROLE mallory LOGIN;
GRANT USAGE, CREATE ON SCHEMA public TO mallory;
SET ROLE mallory;
DO $do$
DECLARE
    f text;
    a text;
    o record;
BEGIN
    FOR a IN SELECT unnest(ARRAY['', 'a text', 'a uuid', 'a integer', 'a bigint', 'a regclass', 'a regprocedure', 'a regtype', 'a name', 'a jsonb', 'a text[]',
                                 'a uuid[]', 'a varchar', 'a timestamptz', 'a interval', 'a numeric', 'a boolean', 'a oid'])
             UNION ALL SELECT format('a %s, b %s', x, y) FROM unnest(ARRAY['text', 'uuid', 'regclass', 'regprocedure', 'name', 'text[]', 'jsonb', 'varchar', 'uuid[]', 'oid']) x,
                              unnest(ARRAY['text', 'uuid', 'integer', 'bigint', 'name', 'jsonb', 'regtype', 'regprocedure', 'varchar']) y
             UNION ALL SELECT 'a text, b text, c text' UNION ALL SELECT 'a text, b name, c text' UNION ALL SELECT 'a text, b text, c text, d text' LOOP
        FOREACH f IN ARRAY @functions@ LOOP
            EXECUTE format('CREATE FUNCTION public.%I(%s) RETURNS text LANGUAGE plpgsql AS $f$ BEGIN
                IF current_user <> ''mallory'' THEN PERFORM pg_catalog.nextval(''public.loot''); RAISE WARNING ''stolen by %s(%s) from %%'', current_user; END IF; RETURN NULL; END $f$', f, a, f, a);
        END LOOP;
    END LOOP;
    FOR o IN SELECT x, y, op FROM unnest(ARRAY['text', 'uuid', 'varchar', 'name', 'regclass', 'oid', 'jsonb', 'text[]', 'interval', 'timestamptz', 'integer', 'numeric']) x,
                    unnest(ARRAY['text', 'uuid', 'varchar', 'name', 'integer', 'regprocedure', 'regclass', 'jsonb', 'bigint', 'numeric']) y, unnest(ARRAY['=', '<>', '<', '>', '<=', '>=', '||', '~', '+', '-']) op
             WHERE NOT EXISTS (SELECT FROM pg_operator p WHERE p.oprname = op AND p.oprleft = x::regtype AND p.oprright = y::regtype) LOOP
        EXECUTE format('CREATE FUNCTION public.%I(a %s, b %s) RETURNS boolean LANGUAGE plpgsql AS $f$ BEGIN
            IF current_user <> ''mallory'' THEN PERFORM pg_catalog.nextval(''public.loot''); RAISE WARNING ''stolen by %s from %%'', current_user; END IF; RETURN NULL; END $f$',
            'op' || o.op, o.x, o.y, o.x || o.op || o.y);
        EXECUTE format('CREATE OPERATOR public.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = public.%I)', o.op, o.x, o.y, 'op' || o.op);
    END LOOP;
END $do$;
CREATE FUNCTION public.steal() RETURNS boolean LANGUAGE plpgsql AS
    $$ BEGIN IF current_user <> 'mallory' THEN PERFORM pg_catalog.nextval('public.loot'); END IF; RETURN true; END $$;
CREATE VIEW public.workers AS SELECT public.steal();
CREATE VIEW public.predictions AS SELECT public.steal();
CREATE VIEW public.pg_class AS SELECT public.steal();
CREATE DOMAIN public.text AS text CHECK (public.steal());
CREATE DOMAIN public.uuid AS uuid CHECK (public.steal());
CREATE DOMAIN public.claimed AS text CHECK (public.steal());
RESET ROLE;
"""


@test
def planted_names():
    """By a role that may create in public, before the migration: nothing of it is ever called by ours."""
    lab = Lab(migrate=False)
    lab.query("SET search_path = pg_catalog")
    ours = [*glob.glob(os.path.join(ROOT, "sql/**/*.sql"), recursive=True), *glob.glob(os.path.join(ROOT, "src/**/*.c"), recursive=True)]
    words = {w for path in ours for w in re.findall(r"\b([a-z_]+)\(", open(path, encoding="utf-8").read())}
    functions = [f for (f,) in lab.query("SELECT DISTINCT proname::text FROM pg_proc p WHERE pronamespace = 'pg_catalog'::regnamespace "
                                         "AND proname = ANY (%s) ORDER BY 1", sorted(words))]
    ok(len(functions) > 40 and {"format", "now", "jsonb_build_object", "to_regclass"} <= set(functions), "there is much to plant", functions)
    lab.postgres.execute(PLANT.replace("@functions@", f"ARRAY[{', '.join(repr(f) for f in functions)}]"), SUPERUSER)
    planted = lab.value("SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace")
    ok(planted > 4000, "it is planted", planted)

    def stolen():
        return lab.value("SELECT is_called FROM public.loot")

    is_(stolen(), False, "nobody fell for it yet")
    for what in ("migrated", "migrated again"):
        r = migrate(lab)
        is_((r.returncode, stolen()), (0, False), f"{what}: nothing planted was called")
    lab.postgres.grant()
    lab.sim.config(starting_ms=0, processing_ms=50)
    lab.sim.fault("create", {"status": 422}, match="bad", count=-1)
    daemon = lab.daemon()
    for prompt, end in (("good", "done"), ("bad", "error")):
        job, _ = lab.insert_job(prompt)
        lab.wait_status(job, end)
    is_(stolen(), False, "the daemon called nothing planted")
    for command in (["status"], ["jobs"], ["show", job], ["retry", job], ["purchases"], ["settings"], ["settings", "price", "30"], ["stats"], ["doctor"],
                    ["pause"], ["resume"], ["cancel", "--stuck"], ["retry", "--stuck"], ["drain", "none"],
                    ["enqueue", "--user", lab.user, "--project", lab.project, "--prompt", "a chair"]):
        lab.ctl(*command)
        is_(stolen(), False, f"{command[0]} called nothing planted")
    lab.wait_all_ended()
    job, asset = lab.insert_job("gone")
    lab.query("DELETE FROM public.mesh_assets WHERE id = %s", asset)
    lab.query("SELECT public.meshify_cancel(%s)", job)
    daemon.stop()
    is_(stolen(), False, "nor did triggers and twins")
    r = lab.postgres.psql(os.path.join(ROOT, "sql/dev/reverse.sql"), "postgres", "meshify")
    is_((r.returncode, stolen()), (0, False), "reverse.sql")
    lab.sim.stop()


main()
