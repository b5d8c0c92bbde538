#!/usr/bin/python3
"""Bad configurations and bad starts by their names: what is said, where, what to do, and how it ends.

What waiting can't mend ends the start with status 78 (64: the command line), so that systemd does not
try again. Whatever a database may mend is no reason to end: the daemon stays, not ready, and says why."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections import namedtuple

from lab import IMAGE, Lab, Process, cases, clean_environment, is_, main, ok, program, test, wait_for
from lab.postgres import SUPERUSER

NOBODY = 65534
GOOD = """[database]
url = postgresql:///x?host=/nonexistent
[replicate]
token = r8_hunter2
[storage]
url = https://p.example
key = eyJ.hunter2
"""
STEPS = """[pipeline text]
steps = {text}
[pipeline image]
steps = sculpt
[step sculpt]
model = owner/sculpt
input.image = ${{image}}
{more}
"""


def steps(text="paint, sculpt", more=""):
    return STEPS.format(text=text, more=more)


def without(name):
    return "\n".join(line for line in GOOD.splitlines() if "hunter2" not in line or not line.startswith(name)) + "\n"


# --- the table: what stands in the file, the status, what is said ----------------------------------
# A text is the whole file; "GOOD + …" is a good one with something behind it, from line 8 on. `how`: other
# ways to start. `said` is looked for in one line; {file} is the file's path.

Case = namedtuple("Case", "name text how status said")
TABLE = [Case(*row) for row in [
    ("a good file", GOOD, {}, 0, "The configuration is good."),
    ("missing", None, {}, 78, "{file}: cannot be read: No such file or directory; write it, or name another with -c"),
    ("unreadable", GOOD, {"mode": 0}, 78, "{file}: cannot be read: Permission denied; give it to the user that we run as"),
    ("-c names a directory", None, {"directory": True}, 78, "{file}: is a directory; name a file"),
    ("-c names a device", None, {"args": ["-c", "/dev/null"]}, 78, "/dev/null: [replicate] token: is not set"),
    ("readable for everybody, with a secret", GOOD, {"mode": 0o644}, 0, "warning: {file} holds a secret and everybody can read it: chmod 600 {file}"),
    ("readable for everybody, without a secret", "[storage]\nurl = https://p.example\n", {"mode": 0o644, "environment": {
        "DATABASE_URL": "postgresql:///meshify", "REPLICATE_API_TOKEN": "x", "SUPABASE_SERVICE_ROLE_KEY": "x"}, "not_said": "warning"}, 0, "The configuration is good."),
    ("larger than 1 MiB", "#" * 1048577, {}, 78, "{file}: is larger than 1 MiB; write less"),
    ("with a NUL byte", GOOD + "[worker]\0\n", {}, 78, "{file}: holds NUL bytes; it must be UTF-8 text"),
    ("not UTF-8", (GOOD + "[worker]\n").encode() + b"instance = \xff\n", {}, 78, "{file}:9: is not UTF-8 text"),
    ("an unknown section", GOOD + "[wroker]\nmax_jobs = 1\n", {}, 78, "{file}:8: [wroker] is not a section; sections are worker, database,"),
    ("an unknown key", GOOD + "[worker]\nnonsense = 1\n", {}, 78, "{file}:9: [worker] nonsense: is not a key of this section; its keys are instance, max_jobs,"),
    ("neither section nor key", GOOD + "[worker]\nmax_jobs\n", {}, 78, "{file}:9: is neither [section] nor KEY = VALUE"),
    ("a key twice", GOOD + "[worker]\nmax_jobs = 1\nmax_jobs = 2\n", {}, 78, "{file}:10: [worker] max_jobs: is there twice, first in line 9; write it once"),
    ("a value that is none", GOOD + "[worker]\nmax_jobs = many\n", {}, 78, "{file}:9: [worker] max_jobs: 'many' is not possible; allowed is a whole number from 1 to 100000"),
    ("a value out of range", GOOD + "[worker]\nmax_jobs = 0\n", {}, 78, "{file}:9: [worker] max_jobs: '0' is not possible; allowed is a whole number from 1 to 100000"),
    ("a duration without a unit", GOOD + "[worker]\njob_timeout = 30\n", {}, 78, "{file}:9: [worker] job_timeout: '30' is not possible; allowed is "),
    ("a size that is too large", GOOD + "[asset]\nmax_size = 5GiB\n", {}, 78, "{file}:9: [asset] max_size: '5GiB' is not possible; allowed is "),
    ("terminal escapes in a value", GOOD + "[worker]\nmax_jobs = \x1b[2J\x07\n", {}, 78, "{file}:9: [worker] max_jobs: '?[2J?' is not possible"),
    ("what is not supported yet", GOOD.replace("r8_hunter2", "r8_hunter2\nwebhook_url = https://x.example/"), {}, 78, "{file}:5: [replicate] webhook_url: is not supported yet; leave it out"),
    ("an unknown step in a pipeline", GOOD + steps("nowhere, sculpt"), {}, 78, "{file}:9: [pipeline text] steps: names the unknown step 'nowhere'; write a section [step nowhere]"),
    ("a step twice in a pipeline", GOOD + steps("sculpt, sculpt"), {}, 78, "{file}:9: [pipeline text] steps: names step 'sculpt' twice; each step can be done once"),
    ("two steps of one name", GOOD + steps(more="[step sculpt]\nmodel = owner/other"), {}, 78, "{file}:15: [step sculpt] is there twice in this file; write it once"),
    ("a pipeline without steps", GOOD + steps(""), {}, 78, "{file}:9: [pipeline text] steps: is not set; write the names of steps, with commas between them"),
    ("a template with an unknown variable", GOOD + steps(more="input.x = ${nobody}"), {}, 78, "{file}:15: [step sculpt] input.x: holds the unknown variable '${nobody}'; known are ${prompt},"),
    ("a line of 5,000 bytes", GOOD + steps(more="input.x = " + "x" * 4990), {}, 0, "The configuration is good."),
    ("and what stands behind it", GOOD + steps(more="input.x = " + "x" * 4990) + "[worker]\nmax_jobs = 0\n", {}, 78, "{file}:17: [worker] max_jobs: '0' is not possible"),
    ("a value of 5,000 bytes", GOOD + "[worker]\ninstance = " + "x" * 4990 + "\n", {}, 78, "{file}:9: [worker] instance: 'xxxxxxxx"),
    ("a line of 17,000 bytes", GOOD + steps(more="input.x = " + "x" * 17000), {}, 78, "{file}:15: the line is too long; at most 16381 bytes"),
    ("no token", without("token"), {}, 78, "{file}: [replicate] token: is not set; write the token here, or set the environment variable REPLICATE_API_TOKEN, "
     "or give the systemd credential replicate_api_token"),
    ("no storage key", without("key"), {}, 78, "{file}: [storage] key: is not set; write the service role key here, or set the environment variable "
     "SUPABASE_SERVICE_ROLE_KEY, or give the systemd credential supabase_service_role_key"),
    ("both from the environment", without("token").replace("key = eyJ.hunter2\n", ""), {"environment": {
        "REPLICATE_API_TOKEN": "x", "SUPABASE_SERVICE_ROLE_KEY": "x"}}, 0, "The configuration is good."),
    ("a bad variable", GOOD, {"environment": {"REPLICATE_API_TOKEN": "r8_hunter2\nX: y"}}, 78, "environment REPLICATE_API_TOKEN: [replicate] token: is not what it should be; allowed is "),
    ("an unknown option", GOOD, {"more": ["--nonsense"]}, 64, "meshifyd: '--nonsense' is not an option, or wants a value. Try 'meshifyd --help'."),
    ("an option without its value", GOOD, {"more": ["--instance"]}, 64, "meshifyd: '--instance' is not an option, or wants a value. Try 'meshifyd --help'."),
    ("an option with terminal escapes", GOOD, {"more": ["--\x1b[2J" + "x" * 1000]}, 64, "meshifyd: '--?[2Jxxx"),
    ("an argument", GOOD, {"more": ["now"]}, 64, "meshifyd: 'now' is not an option. Try 'meshifyd --help'."),
    ("an instance that leads out of its directory", GOOD, {"more": ["--instance", "../x"]}, 78, "--instance: is no name; allowed are 1 to 32 letters, digits"),
    ("a spool that can't be", GOOD + "[worker]\nspool_dir = /dev/null/spool\n", {"only_start": True}, 78,
     "[worker] spool_dir: /dev/null/spool: Not a directory; it must be a directory that we may write"),
    ("a spool that we may not write", GOOD + "[worker]\nspool_dir = {dir}/closed\n", {"only_start": True, "nobody": True}, 78,
     "[worker] spool_dir: {dir}/closed: Permission denied; it must be a directory that we may write"),
]]


def become_nobody():
    """Root may read everything, so a test of permissions runs as somebody else."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def run(case, directory, *args):
    path = os.path.join(directory, "meshify.ini")
    how = case.how
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    if how.get("directory"):
        path = directory
    elif case.text is not None:
        text = case.text if isinstance(case.text, bytes) else case.text.replace("{dir}", directory).encode()
        with open(path, "wb") as file:
            file.write(text)
        os.chmod(path, how.get("mode", 0o600))
        if how.get("nobody") and os.geteuid() == 0:
            os.chown(path, NOBODY, NOBODY)
    nobody = how.get("mode") == 0 or how.get("nobody")
    meshifyd = shutil.copy(program("meshifyd"), directory) if nobody else program("meshifyd") # which may lie where only root gets to
    r = subprocess.run([meshifyd, *args, *how.get("args", ["-c", path]), *how.get("more", [])], capture_output=True, timeout=60,
                       env=clean_environment(**how.get("environment", {})), check=False, cwd="/",
                       preexec_fn=become_nobody if nobody else None)
    return r.returncode, (r.stdout + r.stderr).decode(errors="replace"), path


@test
def configurations():
    lab = Lab(migrate=False)
    directory = os.path.join(lab.dir, "start")
    os.mkdir(directory)
    os.chmod(lab.dir, 0o711)
    os.mkdir(os.path.join(directory, "closed"), 0o555)
    os.chmod(os.path.join(directory, "closed"), 0o555)
    for case in cases(TABLE):
        for args in ((),) if case.how.get("only_start") or case.status == 64 else (("-t",), ()) if case.status else (("-t",),):
            status, said, path = run(case, directory, *args)
            expected = case.said.replace("{file}", path).replace("{dir}", directory)
            lines = [line for line in said.splitlines() if expected in line]
            good = status == case.status and lines and "hunter2" not in said and case.how.get("not_said", "\0") not in said \
                and not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", said) and all(len(line) < 600 for line in said.splitlines())
            ok(good, f"{case.name} {' '.join(args)}: {case.status}", f"{status}\n{said}\nexpected {expected}")
    lab.sim.stop()


# --- the database is not as it should be: it stays ---------------------------------------------------

def not_ready(lab, said, what, name="stays", mended=True, event="DB_DOWN", **keys):
    """It starts, stays, says why once, also in STATUS; and answers signals. The rest is the caller's."""
    daemon = lab.daemon(name, wait=False, **keys)
    try:
        daemon.wait_event(event, text=said)
    except TimeoutError as error:
        raise TimeoutError(f"{error}\n{daemon.log()}") from None
    ok(daemon.alive() and daemon.told(event, text=said) == 1, f"{what}: it stays, and says why once", daemon.log(10))
    if mended:
        return daemon
    daemon.signal(signal.SIGTERM)
    is_(daemon.wait(20), 0, f"{what}: it stops when it is told to")
    return None


def works(lab, daemon, what):
    if lab.bounced != "poll":
        daemon.wait_event("LISTEN_UP", seconds=60)
    job, _ = lab.insert_job(what, IMAGE)
    lab.wait_status(job, "done")
    is_(daemon.stop(), 0, f"{what}: when that is mended, it works")


@test
def schemas():
    lab = Lab(migrate=False)
    lab.sim.config(starting_ms=0, processing_ms=50)
    admin = lab.write_config("admin", **{"database.url": lab.postgres.url("postgres")})
    daemon = not_ready(lab, "no meshify schema: run meshifyctl migrate", "no schema")
    is_(lab.ctl("migrate", config=admin).returncode, 0, "migrate")
    daemon.wait_event("DB_DOWN", text="GRANT meshify_worker TO")
    lab.postgres.grant()
    works(lab, daemon, "no schema, no grant")
    version = lab.value("SELECT version FROM meshify.schema_version")
    lab.query("UPDATE meshify.schema_version SET version = 1")
    daemon = not_ready(lab, f"version 1, this program needs {version}: run meshifyctl migrate", "an older schema")
    is_(lab.ctl("migrate", config=admin).returncode, 0, "migrate again")
    works(lab, daemon, "an older schema")
    lab.query("UPDATE meshify.schema_version SET compatible_from = 999")
    daemon = not_ready(lab, "999.*upgrade meshifyd", "a newer schema")
    lab.query("UPDATE meshify.schema_version SET compatible_from = 1")
    works(lab, daemon, "a newer schema")
    lab.sim.stop()


@test
def servers():
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=50)
    superuser = lab.postgres.connect(SUPERUSER)
    superuser.cursor().execute("ALTER SYSTEM SET default_transaction_read_only = on")
    superuser.cursor().execute("SELECT pg_reload_conf()")
    daemon = not_ready(lab, "the server is read-only", "read-only")
    superuser.cursor().execute("SET default_transaction_read_only = off")
    superuser.cursor().execute("ALTER SYSTEM RESET default_transaction_read_only")
    superuser.cursor().execute("SELECT pg_reload_conf()")
    lab.db = lab.postgres.connect()
    works(lab, daemon, "read-only")
    # A standby, which is promoted later.
    lab.postgres.stop()
    with open(os.path.join(lab.postgres.data, "standby.signal"), "w", encoding="utf-8"):
        pass
    lab.postgres.start()
    daemon = not_ready(lab, "the server is read-only", "a standby")
    lab.postgres.run("pg_ctl", "-D", lab.postgres.data, "-w", "promote")
    lab.db = lab.postgres.connect()
    works(lab, daemon, "a standby")
    # Down: nothing answers there.
    lab.postgres.stop()
    # A pooler lets us wait.
    daemon = not_ready(lab, "the connection is refused|its socket is not there|does not answer", "down at start", event="STARTED")
    lab.postgres.start()
    lab.db = lab.postgres.connect()
    works(lab, daemon, "down at start")
    # Another database hears nothing of what is said here.
    lab.postgres.create_database("other")
    daemon = lab.daemon("deaf", wait=False, **{"database.listen_url": lab.postgres.url("meshifyd", "other"), "database.poll_interval": "1s"})
    daemon.wait_event("LISTEN_DOWN", text="set listen_url to a direct connection, or listen = off", seconds=60)
    job, _ = lab.insert_job("polled", IMAGE)
    lab.wait_status(job, "done")
    is_(daemon.told("LISTEN_DOWN"), 1, "a LISTEN that does not work: said once, and it polls")
    is_(daemon.stop(), 0, "a LISTEN that does not work: it stops")
    lab.sim.stop()


@test
def wrong_password():
    lab = Lab()
    lab.query("CREATE ROLE guesses LOGIN PASSWORD 'right-9134'")
    path = os.path.join(lab.postgres.data, "pg_hba.conf")
    with open(path, encoding="utf-8") as file:
        rules = file.read()
    with open(path, "w", encoding="utf-8") as file:
        file.write("host all guesses 127.0.0.1/32 scram-sha-256\n" + rules)
    lab.postgres.run("pg_ctl", "-D", lab.postgres.data, "reload")
    url = lab.postgres.url("guesses:wrong-hunter", tcp=True)
    daemon = not_ready(lab, 'password authentication failed for user .guesses', "a wrong password", "guesses",
                       **{"database.url": url})
    daemon.wait_event("STARTED", level="warning", text="password authentication failed")

    def tries():
        with open(os.path.join(lab.postgres.dir, "log"), encoding="utf-8") as log:
            return log.read().count("password authentication failed")
    # Ten seconds have passed until then: an ordinary retry would have come several times.
    ok(1 <= tries() <= 2, "a wrong password: once for each connection, and slowly from then on", tries())
    ok("wrong-hunter" not in daemon.output(), "a wrong password: it is not shown", daemon.log())
    is_(daemon.stop(), 0, "a wrong password: it stops when it is told to")
    lab.sim.stop()


@test
def what_it_is_told():
    """Secrets from the environment, and signals."""
    lab = Lab()
    daemon = lab.daemon("by-env", environment={"REPLICATE_API_TOKEN": "from-the-environment-8843"})
    lab.sim.config(api_token="from-the-environment-8843", processing_ms=50)
    job, _ = lab.insert_job("with a token", IMAGE)
    lab.wait_status(job, "done")
    with open(f"/proc/{daemon.pid}/cmdline", encoding="utf-8") as command:
        ok("8843" not in command.read(), "the token is not on the command line")
    daemon.signal(signal.SIGUSR1)
    daemon.signal(signal.SIGHUP)
    daemon.wait_event("CONFIG", text="Reloading", seconds=10)
    job, _ = lab.insert_job("in flight", IMAGE)
    daemon.wait_event("JOB_CLAIMED", job=job, seconds=10)
    ok("8843" not in daemon.output() and "eyJ.test" not in daemon.output(), "nor in the log")
    lab.sim.config(processing_ms=600000)
    job, _ = lab.insert_job("left behind", IMAGE)
    wait_for(lambda: lab.job(job)["status"] == "running", 10, "a job in flight")
    lab.postgres.stop("immediate") # nothing can be handed back
    daemon.signal(signal.SIGTERM)
    daemon.wait_event("STOPPING", seconds=10)
    daemon.signal(signal.SIGTERM)
    is_(daemon.wait(10), 0, "a second SIGTERM ends it at once")
    is_(Process([program("meshifyd"), "--version"]).wait(), 0, "--version")
    lab.sim.stop()


main()
