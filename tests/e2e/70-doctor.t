#!/usr/bin/python3
"""meshifyd --check and meshifyctl doctor: each broken set-up is found, and its advice mends it."""

import os
import re
import subprocess

from lab import Lab, clean_environment, is_, main, ok, program, test, wait_for
from lab.postgres import SUPERUSER


def check(lab, *args, **keys):
    path = lab.write_config("check", **keys)
    return subprocess.run([program("meshifyd"), "--check", "-c", path, *args], capture_output=True, text=True, timeout=60,
                          env=clean_environment(), check=False)


def finds(lab, line, advice, what, grade="FAIL", **keys):
    """The line of a check that is not ok, its advice below, and the exit status."""
    r = check(lab, **keys)
    match = re.search(rf"^{grade} +(.*{re.escape(line)}.*)\n +-> (.*)", r.stdout, re.MULTILINE)
    good = match and advice in match.group(2) and r.returncode == (69 if grade == "FAIL" else 0)
    ok(good, what, f"{r.returncode}\n{r.stdout}{r.stderr}")
    return match.group(2) if match else ""


def good(lab, what):
    r = check(lab)
    ok(r.returncode == 0 and "FAIL" not in r.stdout, what, f"{r.returncode}\n{r.stdout}{r.stderr}")


@test
def all_is_well():
    lab = Lab()
    before = lab.sim.stats()["received"]
    good(lab, "a good set-up")
    r = check(lab)
    checks = {line.split()[1] for line in r.stdout.splitlines() if re.match(r"ok|warn|FAIL", line)}
    is_(checks, {"config", "database", "clock", "role", "schema", "triggers", "others", "columns", "listen", "users", "replicate", "storage", "spool", "scanner"},
        "every question is asked")
    is_(lab.ctl("doctor").stdout.replace("spool-ctl", "spool-check"), r.stdout, "meshifyctl doctor is the same")
    after = lab.sim.stats()["received"]
    is_({k for k in after if after[k] != before[k]} - {"control"}, {"account", "bucket"}, "nothing else is asked of the services")
    is_(lab.sim.objects(), [], "nothing is stored")
    is_(os.path.exists(os.path.join(lab.dir, "spool-check")), False, "no directory is made")
    ok("test-token" not in r.stdout and "eyJ.test" not in r.stdout, "no secret is shown")
    lab.sim.stop()


@test
def the_database():
    lab = Lab()
    finds(lab, "onnection", "[database] url", "no database", **{"database.url": "postgresql://me:hunter2@127.0.0.1:1/x"})
    r = check(lab, **{"database.url": "postgresql://me:hunter2@127.0.0.1:1/x"})
    ok("hunter2" not in r.stdout + r.stderr, "the password is not shown", r.stdout)
    superuser = lab.postgres.connect(SUPERUSER)
    superuser.autocommit = True
    superuser.cursor().execute("ALTER SYSTEM SET default_transaction_read_only = on")
    superuser.cursor().execute("SELECT pg_reload_conf()")
    finds(lab, "read-only", "default_transaction_read_only", "a read-only database")
    superuser.cursor().execute("SET default_transaction_read_only = off")
    superuser.cursor().execute("ALTER SYSTEM RESET default_transaction_read_only")
    superuser.cursor().execute("SELECT pg_reload_conf()")
    wait_for(lambda: lab.value("SHOW default_transaction_read_only") == "off", 30, "the reload")
    lab.query("REVOKE meshify_worker FROM meshifyd") # by whom it was granted: since PostgreSQL 16 nobody else can
    advice = finds(lab, "may not do what a worker must", "GRANT", "a role without privileges")
    lab.query(advice)
    good(lab, "after the GRANT it names")
    version = lab.value("SELECT version FROM meshify.schema_version")
    superuser.cursor().execute("UPDATE meshify.schema_version SET version = 1")
    finds(lab, "the schema is version 1", "meshifyctl migrate", "an older schema")
    r = lab.ctl("migrate", config=lab.write_config("admin", **{"database.url": lab.postgres.url("postgres")}))
    is_((r.returncode, lab.value("SELECT version FROM meshify.schema_version")), (0, version), "migrate")
    good(lab, "after it")
    superuser.cursor().execute("UPDATE meshify.schema_version SET compatible_from = 999")
    finds(lab, "for programs from version 999", "Upgrade meshifyd", "a schema that is too new")
    superuser.cursor().execute("UPDATE meshify.schema_version SET compatible_from = 1")
    lab.postgres.create_database("bare")
    finds(lab, "no meshify schema", "meshifyctl migrate", "no schema", **{"database.url": lab.postgres.url("meshifyd", "bare")})
    # A listening connection that hears nothing of what is said on the other.
    finds(lab, "was not heard", "listen_url", "a LISTEN that does not work", **{"database.listen_url": lab.postgres.url("meshifyd", "bare")})
    finds(lab, "is a superuser", "a login of its own", "a superuser", "warn", **{"database.url": lab.postgres.url(SUPERUSER)})
    lab.sim.stop()


def each_column(lab):
    """Granted alone, to a user's role, to one that it is in, or to everybody; with a policy that lets it through."""
    lab.query("REVOKE INSERT, UPDATE ON public.jobs, public.mesh_assets FROM anon, authenticated; CREATE ROLE staff; GRANT staff TO authenticated; "
              "CREATE POLICY own_assets ON public.mesh_assets FOR INSERT TO PUBLIC WITH CHECK (owner_id = auth.uid()); "
              "CREATE POLICY all_jobs ON public.jobs FOR ALL TO staff USING (true)")
    for table, column, word, grantee, who in (
            ("mesh_assets", "credits_cost", "INSERT", "anon", "anon"), ("mesh_assets", "credits_cost", "INSERT", "PUBLIC", "authenticated"),
            ("jobs", "status", "UPDATE", "staff", "authenticated"), ("jobs", "priority", "UPDATE", "PUBLIC", "authenticated"),
            ("jobs", "worker_id", "UPDATE", "authenticated", "authenticated"), ("jobs", "run_after", "INSERT", "staff", "authenticated")):
        lab.query(f"GRANT {word} ({column}) ON public.{table} TO {grantee}")
        advice = finds(lab, f"{who} can write {table}.{column} ({word})", f"FROM {grantee};", f"{table}.{column}, granted to {grantee}")
        lab.query(advice)
        good(lab, f"after {advice}")
    lab.query("GRANT UPDATE (error) ON public.jobs TO authenticated; GRANT UPDATE (status) ON public.mesh_assets TO anon")
    good(lab, "what no policy lets through, or matters to nobody, is no fault")


def own_rows(lab):
    """Credits, and whose a project is, beside columns that users do edit: what is advised takes only those away."""
    def may(column, table="profiles", word="UPDATE", role="authenticated"):
        return lab.value("SELECT has_column_privilege(%s, %s, %s, %s)", role, f"public.{table}", column, word)
    lab.query('ALTER TABLE public.profiles ADD COLUMN "full name" text, ENABLE ROW LEVEL SECURITY; ALTER TABLE public.projects ADD COLUMN title text, ENABLE ROW LEVEL SECURITY; '
              "REVOKE INSERT, UPDATE ON public.profiles, public.projects FROM PUBLIC, anon, authenticated; GRANT UPDATE ON public.profiles TO anon, authenticated; "
              "CREATE POLICY own_profile ON public.profiles FOR UPDATE TO authenticated USING (id = auth.uid())")
    advice = finds(lab, "authenticated can write profiles.credits_remaining, profiles.credits_used (UPDATE)", "REVOKE UPDATE ON public.profiles FROM authenticated; GRANT UPDATE (",
                   "a profile that its user may edit")
    is_(check(lab).stdout.count("REVOKE UPDATE"), 1, "what helps is said once")
    lab.query(advice)
    good(lab, "after it")
    is_([may(column) for column in ("credits_remaining", "credits_used", "full name")], [False, False, True], "the rest may still be edited")
    lab.query("GRANT UPDATE (credits_used) ON public.profiles TO PUBLIC")
    advice = finds(lab, "authenticated can write profiles.credits_used (UPDATE)", "FROM PUBLIC;", "a column alone, granted to everybody")
    ok("GRANT" not in advice, "nobody gets what nobody had", advice)
    lab.query(advice)
    lab.query("GRANT INSERT ON public.profiles TO authenticated; CREATE POLICY new_profile ON public.profiles FOR INSERT TO authenticated WITH CHECK (id = auth.uid())")
    lab.query(finds(lab, "profiles.credits_remaining, profiles.credits_used (INSERT)", "GRANT INSERT (", "a profile that its user inserts"))
    is_([may(column, word="INSERT") for column in ("id", "credits_remaining")], [True, False], "may be inserted without credits")
    lab.query("GRANT UPDATE ON public.projects TO authenticated; CREATE POLICY own_project ON public.projects FOR UPDATE TO authenticated USING (owner_id = auth.uid())")
    good(lab, "a policy that holds the owner fast")
    lab.query("CREATE POLICY any_project ON public.projects FOR UPDATE TO authenticated USING (owner_id = auth.uid()) WITH CHECK (true)")
    lab.query(finds(lab, "authenticated can write projects.owner_id (UPDATE)", "GRANT UPDATE (", "one that does not"))
    is_([may(column, "projects") for column in ("owner_id", "title")], [False, True], "its title may still be edited")
    good(lab, "after it")


@test
def servers_and_passwords():
    lab = Lab()
    other = lab.postgres.standby()
    finds(lab, "standby", "[database] url", "a standby", **{"database.url": other.url("meshifyd")})
    lab.postgres.execute("ALTER ROLE meshifyd PASSWORD 'right'", SUPERUSER)
    with open(os.path.join(lab.postgres.data, "pg_hba.conf"), "w", encoding="utf-8") as hba:
        hba.write("local all meshifyd scram-sha-256\nlocal all all trust\n")
    lab.postgres.run("pg_ctl", "-D", lab.postgres.data, "reload")
    url = lab.postgres.url("meshifyd") + "&password="
    finds(lab, "password authentication failed", "[database] url", "a wrong password", **{"database.url": url + "wrong"})
    r = check(lab, **{"database.url": url + "right"})
    ok(r.returncode == 0, "the right one", r.stdout)
    lab.sim.stop()


@test
def users_and_others():
    lab = Lab()
    lab.query("CREATE POLICY own_jobs ON public.jobs FOR UPDATE TO authenticated USING (user_id = auth.uid())")
    while True:
        r = check(lab)
        found = re.search(r"FAIL +users .*\n +-> (.*)", r.stdout)
        if not found:
            break
        ok(found.group(1).startswith("REVOKE UPDATE ON public.jobs"), "users who may write jobs", found.group(0))
        lab.query(found.group(1))
    good(lab, "after the REVOKEs it names")
    each_column(lab)
    own_rows(lab)
    lab.query("DROP POLICY own_assets ON public.mesh_assets; DROP POLICY all_jobs ON public.jobs; "
              "GRANT INSERT, UPDATE ON public.mesh_assets TO anon, authenticated; ALTER TABLE public.mesh_assets DISABLE ROW LEVEL SECURITY")
    finds(lab, "authenticated can write mesh_assets.credits_cost", "REVOKE", "a table without row security")
    lab.query("ALTER TABLE public.mesh_assets ENABLE ROW LEVEL SECURITY")
    job, _ = lab.insert_job("an older worker's")
    lab.query("ALTER TABLE public.jobs DISABLE TRIGGER USER")
    lab.query("UPDATE public.jobs SET status = 'running', updated_at = now() WHERE id = %s", job)
    finds(lab, "changed within ten minutes", "Stop the old worker", "an older worker is alive")
    lab.query("UPDATE public.jobs SET updated_at = now() - interval '1 hour' WHERE id = %s", job)
    lab.query("ALTER TABLE public.jobs ENABLE TRIGGER USER")
    finds(lab, "left running by an older program", "retry --stuck", "an older worker left a job", "warn")
    is_(lab.ctl("retry", "--stuck").returncode, 0, "retry --stuck")
    good(lab, "after it")
    lab.sim.stop()


@test
def the_services():
    lab = Lab()
    lab.sim.config(api_token="another", storage_key="eyJ.an.other")
    finds(lab, "HTTP 401", "[replicate] token", "a token that is refused")
    finds(lab, "user_assets", "[storage] key", "a key that is refused")
    lab.sim.config(api_token=None, storage_key=None)
    finds(lab, "bucket nowhere", "bucket exists", "a bucket that does not exist", **{"storage.bucket": "nowhere"})
    lab.sim.control("POST", "faults", [{"endpoint": "bucket", "do": {"status": 200, "body": {"id": "user_assets", "public": True}}}])
    finds(lab, "is public", "Make it private", "a public bucket")
    lab.sim.control("POST", "faults", [{"endpoint": "account", "do": {
        "status": 200, "body": {"username": "me"}, "headers": {"Date": "Thu, 01 Jan 2015 00:00:00 GMT"}}}])
    finds(lab, "Replicate's clock", "timedatectl", "a clock that is off", "warn")
    with open(os.path.join(lab.dir, "file"), "w", encoding="utf-8"):
        finds(lab, "ot a directory", "spool_dir", "a spool that can't be written", **{"worker.spool_dir": f"{lab.dir}/file/spool"})
    lab.sim.stop()
    finds(lab, "no answer", "[replicate] url", "no Replicate")
    r = check(lab, **{"worker.nonsense": "1"})
    is_(r.returncode, 78, "a bad configuration: 78")


main()
