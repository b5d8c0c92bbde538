#!/usr/bin/python3
"""What is said to operators who do the wrong thing: what, where, and what to do instead."""

import base64
import json
import os
import re
import socket
import subprocess

from lab import IMAGE, Lab, Process, cases, clean_environment, is_, main, ok, program, test
from lab.postgres import ROOT, SUPERUSER


def says(lab, label, status, *parts, args, never=(), **more):
    """One program with these arguments: its exit status, and what it has to say and must not."""
    got, text = lab.run(args, **more)
    ok(got == status and all(p in text for p in parts) and not any(n in text for n in never), label, f"{got} {text}")
    return text


@test
def migrations():
    """By another role than the owner's: who it is and who it has to be, before anything is tried."""
    lab = Lab()
    worker, owner = lab.postgres.url("meshifyd"), lab.postgres.url("postgres")
    wrong = "GRANT meshify_worker"
    for args in (["meshifyctl", "migrate"], ["meshifyctl", "migrate", "--dry-run"]):
        says(lab, f"{' '.join(args)}, as the worker", 1, "needs the owner of public.jobs, which is postgres; this login is meshifyd",
             "DATABASE_URL=postgresql://postgres:", args=args, never=(wrong, "permission denied"), **{"database.url": worker})
    lab.query("DROP SCHEMA meshify CASCADE")
    says(lab, "and where there is no schema yet", 1, "needs the owner of public.jobs, which is postgres; this login is meshifyd",
         args=["meshifyctl", "migrate"], never=(wrong, "permission denied", "GRANT", "CREATE"), **{"database.url": worker})
    lab.postgres.execute("DROP OWNED BY meshify_worker; DROP ROLE meshify_worker; ALTER ROLE postgres NOCREATEROLE; REVOKE CREATE ON DATABASE meshify FROM postgres", SUPERUSER)
    says(lab, "the owner, who may make no role", 1, "makes the role meshify_worker, which postgres may not",
         "CREATE ROLE meshify_worker NOLOGIN;", "makes the schema meshify, which postgres may not", "GRANT CREATE ON DATABASE meshify TO postgres;",
         args=["meshifyctl", "migrate"], never=("permission denied",), **{"database.url": owner})
    lab.postgres.execute("CREATE ROLE meshify_worker NOLOGIN; ALTER ROLE postgres CREATEROLE; GRANT CREATE ON DATABASE meshify TO postgres", SUPERUSER)
    says(lab, "once it is there, the owner migrates", 0, "the schema is version", args=["meshifyctl", "migrate"], **{"database.url": owner})
    says(lab, "a login that may not work is told by its name", 1, "GRANT meshify_worker TO meshifyd;", args=["meshifyctl", "status"],
         **{"database.url": worker})
    lab.postgres.execute("GRANT meshify_worker TO meshifyd", SUPERUSER) # who made the role may, since PostgreSQL 16
    daemon = lab.daemon()
    job, _ = lab.insert_job("a chair", IMAGE)
    lab.wait_status(job, "done")
    is_(daemon.stop(), 0, "and a job is done")
    lab.sim.stop()


@test
def arguments():
    """Words that are none, and what is missing from a job."""
    lab = Lab(driver="dir")
    words = "--status is pending, running, done, error or canceled"
    for word in ("failed", "Done", "", "cancelled"):
        says(lab, f"jobs --status '{word}'", 64, words, args=["meshifyctl", "jobs", "--status", word])
    for word in ("pending", "running", "done", "error", "canceled"):
        says(lab, f"jobs --status {word}", 0, "JOB", args=["meshifyctl", "jobs", "--status", word])
    new = ["meshifyctl", "enqueue", "--user", lab.user, "--project", lab.project, "--prompt"]
    says(lab, "a prompt of blanks", 1, "missing: a prompt or an image (what was given holds only blanks)", args=[*new, " \u2003"],
         never=("user_id", "project_id"))
    says(lab, "a long prompt", 1, "has 40000 bytes, at most 32768 are taken", "meshifyctl settings max_prompt N", args=[*new, "x" * 40000])
    for key, values, words in (("max_prompt", ("1000000", "512001", "-1", "1KiB"), "from 0 to 512000, in bytes; 0: no limit but that of input_data, 512 KiB"),
                               ("price", ("1000000000", "2.5", ""), "from 0 to 999999999, in credits"), ("refund_max", ("all",), "from 0 to 999999999, in credits"),
                               ("max_pending_jobs", ("-1", "none"), "from 0 to 999999999; 0: no limit"),
                               ("refund", ("yes",), "it takes on or off"), ("paused", ("true",), "it takes on or off")):
        for value in values:
            says(lab, f"settings {key} '{value}'", 1, f"is not a value of {key}: it takes", words, args=["meshifyctl", "settings", "--", key, value])
    says(lab, "settings max_prompt 512000", 0, "max_prompt = 512000", args=["meshifyctl", "settings", "max_prompt", "512000"])
    lab.ctl("settings", "max_prompt", "32768")
    lab.ctl("settings", "max_pending_jobs", "1")
    says(lab, "a prompt that will do", 0, "job ", args=[*new, "x"])
    says(lab, "one too many", 1, "has 1 pending jobs already", "meshifyctl settings max_pending_jobs N", args=[*new, "x"])
    lab.sim.stop()


@test
def too_short():
    """Columns that can't take what a job ends with are named while it costs nothing; what is advised can be run."""
    lab = Lab(migrate=False)
    lab.query("ALTER TABLE public.jobs ALTER status TYPE varchar(7), ALTER error TYPE varchar(40); "
              "ALTER TABLE public.mesh_assets ALTER mime TYPE varchar(16), ALTER output_path TYPE varchar(100), DROP CONSTRAINT mesh_assets_status_check, "
              "ADD CONSTRAINT words CHECK (status IN ('pending', 'running', 'done')); "
              "ALTER TABLE public.notifications ALTER title TYPE varchar(20), ALTER message TYPE varchar(60); "
              "ALTER TABLE public.jobs ALTER created_at TYPE timestamp")
    owner = {"database.url": lab.postgres.url("postgres")}
    named = ("jobs.status takes 7 characters, 8 are needed: canceled jobs become error", "jobs.error takes 40 characters, 200 are needed",
             "mesh_assets.mime takes 16 characters, 17 are needed", "mesh_assets.output_path takes 100 characters, 125 are needed",
             "mesh_assets.status can't say error", "notifications.title takes 20", "notifications.message takes 60", "jobs.created_at has no time zone")
    said = says(lab, "migrate names each column", 0, *named, args=["meshifyctl", "migrate"], **owner)
    lab.postgres.grant()
    checked = says(lab, "so does the doctor", 69, *named[:-3], args=["meshifyctl", "doctor"])
    is_(re.findall(r"^(FAIL|warn)  columns +(?!jobs.created_at)(\S+)", checked, re.M),
        [("warn", "jobs.status"), ("FAIL", "jobs.error"), ("FAIL", "mesh_assets.status"), ("FAIL", "mesh_assets.mime"), ("FAIL", "mesh_assets.output_path"),
         ("warn", "notifications.title"), ("warn", "notifications.message")], "what is worse is told from what is not so bad")
    says(lab, "a shorter name has room", 69, "mesh_assets.status", args=["meshifyctl", "doctor"], never=("mesh_assets.output_path",),
         **{"storage.path": "{user_id}/{asset_id}.glb"})
    # What is advised, as it stands, until nothing more is.
    for _ in range(20):
        advised = re.findall(r": ((?:BEGIN|ALTER )[^\n]*;)", said)
        if not advised:
            break
        lab.postgres.execute(advised[0].replace("BEGIN;", "").replace("COMMIT;", ""), "postgres")
        said = says(lab, "migrates again", 0, "the schema is version", args=["meshifyctl", "migrate"], **owner)
    ok("note:" not in said and not advised, "after what was advised nothing is", said)
    lab.postgres.grant()
    lab.sim.config(starting_ms=0, processing_ms=50)
    lab.sim.fault("create", {"status": 422}, match="no=1", count=-1)
    daemon = lab.daemon()
    jobs = [(lab.insert_job("good", IMAGE)[0], "done"), (lab.insert_job("bad", f"{IMAGE}?no=1")[0], "error")]
    waiting = lab.query("SELECT job_id FROM meshify.enqueue(%s, %s, NULL, %s); ", lab.user, lab.project, IMAGE)[0][0]
    for job, status in jobs:
        lab.wait_status(job, status)
    lab.wait_status(waiting, "done")
    is_(daemon.stop(), 0, "and jobs end as they should")
    lab.sim.stop()


@test
def columns_that_go():
    """What is dropped or renamed after it was migrated: the doctor names it, before a mesh is paid for that can't be recorded."""
    lab = Lab(bouncer="") # the doctor would look through it, too
    doctor = ["meshifyctl", "doctor"]

    def drop(table, column):
        lab.query(f"ALTER TABLE public.{table} DROP COLUMN {column} CASCADE")
        said = says(lab, f"{table}.{column} is dropped", 69, "FAIL  columns ", f"{table}.{column} is missing", args=doctor)
        lab.query(re.search(rf"{table}\.{column} is missing\n +-> (ALTER .*;)$", said, re.M).group(1))
        says(lab, "and is there again", 0, "what a job ends with can be written", args=doctor)
    drop("mesh_assets", "size")
    drop("mesh_assets", "result_meta")
    drop("profiles", "credits_used")
    lab.query("ALTER TABLE public.projects RENAME COLUMN owner_id TO user_id")
    says(lab, "what enqueue asks is renamed", 69, "FAIL  columns ", "projects.owner_id is missing: meshify.enqueue() asks there whose a project is",
         "-> Run meshifyctl migrate, as the owner of public.jobs.", args=doctor)
    is_(lab.ctl("migrate", config=lab.write_config("owner", **{"database.url": lab.postgres.url("postgres")})).returncode, 0, "migrate")
    says(lab, "after it", 0, "what a job ends with can be written", args=doctor)
    is_(lab.value("SELECT count(*) FROM meshify.enqueue(%s, %s, NULL, %s)", lab.user, lab.project, IMAGE), 1, "and enqueue works")
    lab.sim.stop()


@test
def cut_off():
    """A role whose statement_timeout ends the first statement of a transaction; one that may not use plpgsql."""
    lab = Lab(bouncer="")
    lab.sim.config(starting_ms=0, processing_ms=50)
    lab.postgres.execute("ALTER ROLE meshifyd SET statement_timeout = '1ms'", SUPERUSER)
    daemon = lab.daemon()
    job, _ = lab.insert_job("a chair", IMAGE)
    lab.wait_status(job, "done")
    is_(daemon.stop(), 0, "with a statement_timeout of 1ms a job is done")
    says(lab, "and meshifyctl works", 0, "1 done", args=["meshifyctl", "status"])
    # A pooler that takes no such wish, and a server that is never fast enough.
    daemon = lab.daemon(wait=False, **{"database.url": lab.postgres.url("meshifyd") + "&options=-cstatement_timeout%3D1ms%20-cjit%3Doff"})
    daemon.wait_line(r"(Database connection lost|No database connection): a time-out of its own cuts off what begins each transaction.*ALTER ROLE \.\.\. RESET statement_timeout|"
                     r"is ready as", 60)
    daemon.stop()
    lab.postgres.execute("ALTER ROLE meshifyd RESET statement_timeout; REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC", SUPERUSER)
    daemon = lab.daemon(wait=False)
    daemon.wait_line("(Database connection lost|No database connection): the login may not use the language plpgsql.* As a superuser: GRANT USAGE ON LANGUAGE plpgsql", 60)
    says(lab, "the doctor", 69, "meshifyd may not use the language plpgsql", "GRANT USAGE ON LANGUAGE plpgsql TO meshifyd;", args=["meshifyctl", "doctor"])
    lab.postgres.execute("GRANT USAGE ON LANGUAGE plpgsql TO PUBLIC", SUPERUSER)
    is_(daemon.stop(), 0, "it stops while it waits")
    lab.sim.stop()


def jwt(role):
    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
    return ".".join((part({"alg": "HS256"}), part({"iss": "supabase", "role": role, "exp": 2000000000}), "c2lnbmF0dXJlLWh1bnRlcjI"))


@test
def placeholders():
    """What the README and the sample write where a value belongs is no value; what only looks a bit like it is."""
    lab = Lab(migrate=False, driver="dir")
    test = ["meshifyd", "-t"]
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as readme:
        block = readme.read().split("```ini\n")[1].split("```")[0]
    path = os.path.join(lab.dir, "readme.ini")
    with open(path, "w", encoding="utf-8") as file:
        file.write(block)
    r = subprocess.run([program("meshifyd"), "-t", "-c", path], capture_output=True, text=True, env=clean_environment(), check=False)
    found = re.findall(r"^\S+:(\d+): (\[.*\] \S+): still holds a placeholder.*; write the real", r.stderr, re.M)
    is_((r.returncode, found), (78, [("2", "[database] url"), ("5", "[replicate] token"), ("8", "[storage] url"), ("9", "[storage] key")]),
        "the README's block as it stands: each key is named")
    at = "@aws-0-eu.pooler.example:5432/postgres?sslmode=verify-full"
    for key, value, what in cases((
            ("replicate.token", "YOUR_REPLICATE_TOKEN", ""), ("replicate.token", "<your-token>", ""), ("replicate.token", "${REPLICATE_API_TOKEN}", ""), ("replicate.token", "{api-key}", ""),
            ("replicate.token", "...", ""), ("storage.key", "[YOUR-SERVICE-ROLE-KEY]", ""), ("storage.key", "your-service-role-key", ""),
            ("storage.url", "https://PROJECT.supabase.co", " for the host"), ("storage.url", "https://your-project.supabase.co", " for the host"),
            ("database.url", "postgresql://postgres.abc:PASSWORD" + at, " for the password"), ("database.url", "postgresql://postgres.abc:[YOUR-PASSWORD]" + at, " for the password"),
            ("database.url", "postgresql://postgres.PROJECT:hunter2" + at, " for the user"), ("database.url", "postgresql://w:hunter2@aws-0-REGION.pooler.supabase.com/x", " for the host"),
            ("database.listen_url", "host=db.PROJECT.supabase.co user=w password=hunter2", " for the host"),
            ("database.url", "postgresql://USER:hunter2@db.example.org/x", " for the user")), "{0[0]} = {0[1]}".format):
        section, name = key.split(".")
        more = {"storage.driver": "supabase", "storage.url": "https://abc.supabase.co", "storage.key": "k"} if section == "storage" else {}
        says(lab, f"{key} = {value}", 78, f"[{section}] {name}: still holds a placeholder{what}; write the real", args=test, never=("hunter2",),
             **{**more, key: value})
    says(lab, "one in the environment", 78, "environment DATABASE_URL: [database] url: still holds a placeholder for the password", args=["meshifyctl", "status"],
         environment={"DATABASE_URL": "postgresql://w:PASSWORD@db.example.org/x"})
    for key, value in (("replicate.token", "r8_PASSWORD"), ("replicate.token", "<k7x1>"), ("replicate.token", "{correcthorse}"), ("database.url", "postgresql://w:[AAABBB]@127.0.0.1/x"),
                       ("database.url", "postgresql://w:YOURS@127.0.0.1/PROJECT"), ("database.url", "postgresql://user:password@127.0.0.1/x")):
        says(lab, f"{key} = {value} may be meant", 0, "is good", args=test, never=("placeholder",), **{key: value})
    lab.sim.stop()


@test
def kinds_of_keys():
    """Another key than the one that is wanted: said by -t, at the start and by the doctor, and shown by none."""
    lab = Lab()
    test, wanted = ["meshifyd", "-t"], "service_role key"
    for key, value, part in cases((
            ("storage.key", jwt("anon"), "is the key of the role 'anon'"), ("storage.key", jwt("authenticated"), "is the key of the role 'authenticated'"),
            ("storage.key", jwt("\x1b[2Jx"), "is the key of the role '?[2Jx'"), ("storage.key", "sb_publishable_hunter2", "is the publishable key"),
            ("storage.key", "r8_hunter2", "looks like Replicate's token"), ("storage.key", "sbp_hunter2", "is no key of the project's API"),
            ("replicate.token", jwt("service_role"), "looks like a key of Supabase")), "{0[0]}: {0[2]}".format):
        section, name = key.split(".")
        says(lab, f"{key}: {part}", 0, "warning: ", f".ini:", f"[{section}] {name}: {part}", args=test, never=("hunter2", value), **{key: value})
    for value in (jwt("service_role"), "sb_secret_hunter2", "eyJ.test.key", "eyJ.a.b", "eyJ" + "A" * 8000 + "." + "A" * 100 + ".x"):
        says(lab, f"a key that will do: {value[:12]}", 0, args=test, never=("warning",), **{"storage.key": value})
    says(lab, "the doctor", 69, "warn  config ", "is the key of the role 'anon'", wanted, args=["meshifyctl", "doctor"], never=(jwt("anon"),), **{"storage.key": jwt("anon")})
    daemon = lab.daemon(**{"storage.key": jwt("anon")})
    ok(daemon.said("is the key of the role 'anon'") == 1 and daemon.said(jwt("anon")) == 0, "at the start")
    is_(daemon.stop(), 0, "and it runs all the same")
    lab.sim.stop()


@test
def a_store_without_tls():
    """The key goes to the store with each request: by http it is for this machine, or a network of one's own."""
    lab = Lab()
    test, line = ["meshifyd", "-t"], "[storage] url: http shows the service role key to whoever stands between"
    for url in ("http://abc.supabase.co", "http://kong:8000", "http://192.0.2.1.example.org", "http://172.32.0.1", "http://localhost.example.org:8000"):
        says(lab, url, 0, "warning: ", ".ini:", line, "https", args=test, **{"storage.url": url})
    for url in ("https://abc.supabase.co", "http://localhost:8000", "http://store.localhost", "http://127.0.0.1:1", "http://10.1.2.3", "http://172.31.0.1:8000", "http://192.168.1.2"):
        says(lab, url, 0, "is good", args=test, never=("warning",), **{"storage.url": url})
    far = {"storage.url": "http://store.invalid", "storage.key": "hunter2"}
    says(lab, "the doctor", 69, "warn  config ", line, args=["meshifyctl", "doctor"], never=("hunter2",), **far)
    daemon = lab.daemon(**far)
    ok(daemon.said("http shows the service role key") == 1, "at the start")
    is_(daemon.stop(), 0, "and it runs all the same")
    says(lab, "a directory", 0, "is good", args=test, never=("warning",), **{"storage.driver": "dir", "storage.url": "/tmp"})
    lab.sim.stop()


@test
def tls():
    """A certificate that is not there, a mode that is none, and who else warns."""
    lab = Lab(migrate=False)
    test = ["meshifyd", "-t"]
    full = "postgresql://w:hunter2@db.example.org/x?sslmode=verify-full"
    home = {"HOME": lab.dir}
    more = {"environment": home, "never": ("hunter2",)}
    says(lab, "verify-full without a file", 0, ".ini:", f"[database] url: sslmode is verify-full and sslrootcert names no file; libpq then wants the CA's certificate in {lab.dir}/.postgresql/root.crt",
         "set sslrootcert=FILE", args=test, **more, **{"database.url": full})
    says(lab, "a file that is not there", 0, ".ini:", "[database] listen_url: the file that sslrootcert names can't be read here, /nowhere/ca.crt: No such file", "set sslrootcert=FILE",
         args=test, **more, **{"database.listen_url": full + "&sslrootcert=/nowhere/ca.crt"})
    says(lab, "the environment's", 0, "warning: environment DATABASE_URL: [database] url: the file", args=test, never=("hunter2",),
         environment={"DATABASE_URL": full + "&sslrootcert=nowhere.crt"})
    os.mkdir(os.path.join(lab.dir, ".postgresql"))
    with open(os.path.join(lab.dir, ".postgresql", "root.crt"), "w", encoding="utf-8") as file:
        file.write("a certificate")
    says(lab, "the file that libpq looks for is there", 0, "is good", args=test, environment=home, never=("warning",), **{"database.url": full})
    says(lab, "a file of another name", 0, "is good", args=test, environment={}, never=("warning",), **{"database.url": f"{full}&sslrootcert={lab.dir}/.postgresql/root.crt"})
    for name, value, allowed in (("sslmode", "verfy-full", "disable, allow, prefer, require, verify-ca or verify-full"),
                                 ("target_session_attrs", "primry", "any, read-write, read-only, primary, standby or prefer-standby")):
        for args in (test, ["meshifyctl", "status"]):
            says(lab, f"{args[0]}: {name}={value}", 78, ".ini:", f"[database] url: {name} has a value that PostgreSQL's library does not take; allowed is {allowed}", args=args,
                 never=("hunter2", value), **{"database.url": f"postgresql://w:hunter2@127.0.0.1:1/x?{name}={value}"})
    weak = "postgresql://w:hunter2@192.0.2.1:1/x?connect_timeout=2&sslmode=require"
    says(lab, "meshifyctl, with a weak mode", 69, "warning: ", ".ini:", "[database] url: sslmode is require: whoever stands between", "verify-full", args=["meshifyctl", "status"],
         never=("hunter2",), **{"database.url": weak})
    says(lab, "the doctor, without a file", 69, "warn  tls ", "-> Write the certificate of its CA into a file", args=["meshifyctl", "doctor"], never=("hunter2",),
         **{"database.url": full + "&connect_timeout=2&sslrootcert=/nowhere/ca.crt", "database.listen": "off"})
    lab.sim.stop()


@test
def on_the_way():
    """A proxy that is down, a spool without a parent, descriptors that do not suffice: what it is, and how many."""
    lab = Lab(bouncer="")
    lab.sim.config(starting_ms=0, processing_ms=50)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    proxy = {f"{name}_proxy": f"http://127.0.0.1:{port}" for name in ("http", "https")}
    advice = "Check the proxy: https_proxy, http_proxy"
    daemon = lab.daemon(environment=proxy)
    job, _ = lab.insert_job("a chair", IMAGE)
    held = daemon.wait_line(rf"Lane create is held .*no answer: the proxy 127\.0\.0\.1:{port}: .*", 30).group(0)
    ok(advice in held and "[replicate] url" not in held, "the lane's line names the proxy", held)
    said = says(lab, "the doctor", 69, f"the proxy 127.0.0.1:{port}", advice, args=["meshifyctl", "doctor"], environment=proxy)
    is_((said.count(advice), said.count("Check [replicate] url"), said.count("Check [storage] url")), (2, 0, 0), "names it for both services")
    is_(daemon.stop(), 0, "it stops")
    says(lab, "socks5:// is taken, and another is told of it", 78, "https_proxy: is not a proxy's URL", "socks4 or socks5", args=["meshifyd", "-t"], environment={"https_proxy": "ftp://x"})
    daemon = lab.daemon()
    lab.wait_status(job, "done")
    is_(daemon.stop(), 0, "without it, the job is done")
    parent = os.path.join(lab.dir, "not", "there")
    said = says(lab, "a spool whose parent is missing", 78, f"[worker] spool_dir: {parent}: No such file or directory", "the one above it must be there", args=["meshifyd"],
                never=("Can't start", "Not a directory"), **{"worker.spool_dir": parent})
    says(lab, "the doctor sees it before", 69, "FAIL  spool ", args=["meshifyctl", "doctor"], **{"worker.spool_dir": parent})
    says(lab, "what the start makes is no fault", 0, "ok    spool ", args=["meshifyctl", "doctor"], **{"worker.spool_dir": os.path.dirname(parent)})

    def limited(n, jobs):
        path = lab.write_config("limited", **{"worker.max_jobs": jobs})
        process = Process(["/bin/sh", "-c", f"ulimit -n {n}; exec {program('meshifyd')} -c {path}"])
        lab.daemons.append(process)
        process.wait_line("is ready as", 60)
        line = next((x for x in process.lines if "file descriptors" in x), "")
        is_(process.stop(), 0, f"with {n} descriptors it stops")
        return line
    for jobs in (40, 1000):
        line = limited(64, jobs)
        match = re.search(rf"No more than 64 file descriptors.* \[worker\] max_jobs = {jobs} needs (\d+): raise LimitNOFILE= or ulimit -n to that", line)
        ok(match, f"the numbers for {jobs} jobs", line)
        is_(limited(int(match.group(1)), jobs), "", f"with {match.group(1)} for {jobs} jobs nothing is said")
    lab.sim.stop()


main()
