#!/usr/bin/python3
"""meshifyctl: migrations, and every command with and without --json."""

import difflib
import json
import subprocess

from lab import Lab, clean_environment, is_, main, ok, program, test, wait_for
from lab.postgres import SUPERUSER, Postgres
from lab.schema import LAST


def ctl(*args, url=None, **environment):
    if url:
        environment["DATABASE_URL"] = url
    return subprocess.run([program("meshifyctl"), *args], capture_output=True, text=True, timeout=60, check=False,
                          env=clean_environment(MESHIFY_CONFIG="/dev/null", **environment))


def answers(result, status, text, what):
    ok(result.returncode == status and text in result.stdout + result.stderr, what,
       f"{result.returncode}: {result.stdout}{result.stderr}")


def schema(postgres, db):
    """What the database consists of, as lines."""
    dump = postgres.run("pg_dump", "-s", "-h", postgres.dir, "-p", str(postgres.port), "-U", SUPERUSER, "-d", db).stdout
    return [line for line in dump.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))] # random words


def same(got, expected, what):
    ok(got == expected, what, "\n".join(list(difflib.unified_diff(expected, got, lineterm="", n=0))[:20]))


@test
def usage():
    answers(ctl("--version"), 0, "meshifyctl ", "--version")
    answers(ctl("--help"), 0, "enqueue", "--help")
    answers(ctl(), 64, "command is missing", "no command")
    answers(ctl("frobnicate"), 64, "'frobnicate' is not a command", "an unknown command")
    answers(ctl("status", "--frobnicate"), 64, "--help", "an unknown option")
    answers(ctl("status", "more"), 64, "'more' is too much", "one argument too many")
    answers(ctl("status", url="postgresql://nobody@127.0.0.1:1/none"), 69, "can't be reached", "no database")
    r = ctl("status", url="postgresql://me:hunter2@127.0.0.1:1/none")
    ok("hunter2" not in r.stdout + r.stderr, "the password is not shown", r.stderr)
    answers(ctl("-c", "/nonexistent.ini", "status"), 78, "/nonexistent.ini", "no configuration file")


@test
def migrations():
    postgres = Postgres(fsync=False).start()
    postgres.create_database("fresh")
    url = postgres.url("postgres", "fresh")
    before = schema(postgres, "fresh")
    answers(ctl("status", url=url), 1, "run meshifyctl migrate", "without a schema: what to do")
    r = ctl("migrate", "--dry-run", url=url)
    answers(r, 0, "would apply sql/migrations/001_", "--dry-run says what it would do")
    ok("database fresh" in r.stdout.splitlines()[0], "host and database come first", r.stdout)
    same(schema(postgres, "fresh"), before, "and does nothing")
    answers(ctl("migrate", url=url), 0, f"the schema is version {LAST} now", "migrate")
    after = schema(postgres, "fresh")
    answers(ctl("migrate", url=url), 0, f"version {LAST} already: nothing to do", "again: nothing to do")
    answers(ctl("migrate", "--dry-run", url=url), 0, f"version {LAST} already: nothing to do", "--dry-run says so too")
    same(schema(postgres, "fresh"), after, "nothing is changed")
    postgres.execute("UPDATE meshify.schema_version SET version = 0", SUPERUSER, "fresh")
    r = ctl("migrate", url=url)
    answers(r, 0, f"version {LAST} now", "version 0: all functions again")
    ok("sql/functions/queue.sql" in r.stdout and "sql/migrations/" not in r.stdout, "and no migration", r.stdout)
    same(schema(postgres, "fresh"), after, "with the same result")
    postgres.execute("UPDATE meshify.schema_files SET hash = 'other' WHERE name = 'functions/queue'; DROP FUNCTION meshify.next_due(boolean)", "postgres", "fresh")
    r = ctl("migrate", url=url)
    answers(r, 0, f"version {LAST} now", "functions of another version")
    is_(r.stdout.count("applying sql/functions/"), 1, "that file is applied, and no other")
    same(schema(postgres, "fresh"), after, "with the same result again")
    postgres.execute("DELETE FROM meshify.schema_files WHERE name = 'migrations/002_files'", "postgres", "fresh")
    answers(ctl("migrate", url=url), 0, "applying sql/migrations/002_files.sql", "a migration that is missing is applied")
    postgres.execute("UPDATE meshify.schema_version SET version = 999", SUPERUSER, "fresh")
    answers(ctl("migrate", url=url), 1, "upgrade the program", "a schema that is too new is refused")
    r = postgres.psql_text(ctl("migrate", "--print").stdout, "postgres", "fresh")
    ok(r.returncode != 0 and f"newer than version {LAST}" in r.stderr, "by what --print says, too", r.stderr)
    printed(postgres)
    postgres.create_database("empty", supabase=False)
    answers(ctl("migrate", url=postgres.url("postgres", "empty")), 1, "table public.jobs is missing",
            "a database of something else is refused")
    # Two at once: one waits for the other.
    postgres.create_database("both")
    both = [subprocess.Popen([program("meshifyctl"), "migrate"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                             env=clean_environment(MESHIFY_CONFIG="/dev/null", DATABASE_URL=postgres.url("postgres", "both")))
            for _ in range(2)]
    said = [p.communicate(timeout=60)[0] for p in both]
    is_([p.returncode for p in both], [0, 0], "two at once both succeed")
    is_(sorted("applying" in s for s in said), [False, True], "and one of them has all to do")
    # What fails leaves nothing behind.
    postgres.create_database("broken")
    postgres.execute("CREATE SCHEMA meshify; CREATE VIEW meshify.stats AS SELECT 1 AS other", "postgres", "broken")
    before = schema(postgres, "broken")
    answers(ctl("migrate", url=postgres.url("postgres", "broken")), 1, "sql/project/views.sql failed, nothing of it was kept", "a failing file is named")
    same(schema(postgres, "broken"), before, "nothing of the others was kept either")
    postgres.create_database("unreleased")
    postgres.execute("CREATE SCHEMA meshify; CREATE TABLE meshify.schema_version AS SELECT 17 AS version", "postgres", "unreleased")
    answers(ctl("migrate", url=postgres.url("postgres", "unreleased")), 1, "older than version 31", "a schema that was never released is refused")
    # By a role that may not.
    answers(ctl("migrate", url=postgres.url("meshifyd", "fresh")), 1, "needs the owner of public.jobs, which is postgres; this login is meshifyd", "an ordinary login role may not")
    postgres.remove()


def printed(postgres):
    """All of sql/ as one text: for an SQL editor, and for psql, which may take one statement after the other."""
    text = ctl("migrate", "--print").stdout
    ok(text.startswith(f"-- The schema of meshifyd, version {LAST}"), "--print says what it is", text[:200])
    for name in ("migrated", "printed", "pasted"):
        postgres.create_database(name)
    answers(ctl("migrate", url=postgres.url("postgres", "migrated")), 0, "version", "an ordinary migration")
    expected = schema(postgres, "migrated")
    for what in ("once", "again"):
        r = postgres.psql_text(text, "postgres", "printed")
        is_((r.returncode, r.stderr.count("ERROR")), (0, 0), f"--print {what}, by psql")
        postgres.execute(text, "postgres", "pasted") # as one query
        same(schema(postgres, "printed"), expected, f"--print {what}: the same as migrate")
        same(schema(postgres, "pasted"), expected, f"--print {what}, as one query: the same")
    answers(ctl("migrate", url=postgres.url("postgres", "printed")), 0, f"version {LAST} already: nothing to do", "after it nothing is to be done")


@test
def listings():
    lab = Lab()
    answers(lab.ctl("jobs"), 0, "JOB", "jobs, none yet")
    is_(json.loads(lab.ctl("jobs", "--json").stdout), [], "as JSON")
    r = lab.ctl("enqueue", "--user", lab.user, "--project", lab.project, "--prompt", "a chair\x1b[31m", "--json")
    made = json.loads(r.stdout)
    is_(r.returncode, 0, "enqueue")
    is_(lab.job(made["job_id"])["status"], "pending", "makes a job")
    is_(lab.asset(made["asset_id"])["owner_id"], lab.user, "and an asset")
    is_(float(lab.value("SELECT credits_remaining FROM public.profiles WHERE id = %s", lab.user)), 999975, "and takes credits")
    answers(lab.ctl("enqueue", "--user", lab.user, "--project", lab.project, "--prompt", "b", "--free"), 0, "job ", "--free")
    is_(float(lab.value("SELECT credits_remaining FROM public.profiles WHERE id = %s", lab.user)), 999975, "takes none")
    poor, home = lab.add_user(credits=3)
    answers(lab.ctl("enqueue", "--user", poor, "--project", home, "--prompt", "x"), 1, "credits", "too few credits: refused")
    answers(lab.ctl("enqueue", "--user", lab.user), 64, "enqueue needs", "enqueue without a project")
    answers(lab.ctl("enqueue", "--user", "me", "--project", lab.project, "--prompt", "x"), 64, "UUID", "enqueue, bad id")
    job, _ = lab.insert_job("with an image", "https://images.example/1.png")
    r = lab.ctl("jobs")
    ok(job in r.stdout and "with an image" in r.stdout and "\x1b" not in r.stdout, "jobs lists them, cleaned", r.stdout)
    is_([j["prompt"] for j in json.loads(lab.ctl("jobs", "--limit", "1", "--json").stdout)], ["with an image"], "--limit: the newest")
    is_(len(json.loads(lab.ctl("jobs", "--status", "done", "--json").stdout)), 0, "--status")
    is_(len(json.loads(lab.ctl("jobs", "--user", poor, "--json").stdout)), 0, "--user")
    for bad in (("--limit", "0"), ("--limit", "x"), ("--user", "x")):
        is_(lab.ctl("jobs", *bad).returncode, 64, f"jobs {' '.join(bad)}: 64")
    answers(lab.ctl("show", lab.project), 1, "there is no job", "show, unknown")
    answers(lab.ctl("show", "x"), 64, "id of one job", "show, no id")

    daemon = lab.daemon()
    done = lab.wait_status(job, "done")
    shown = json.loads(lab.ctl("show", job, "--json").stdout)
    is_(shown["job"]["status"], "done", "show --json: the job")
    is_([p["state"] for p in shown["purchases"]], ["bought"], "its purchase")
    events = [e["event"] for e in shown["events"]]
    ok(events[0] == "claimed" and events[-1] == "done", "and its history", events)
    text = lab.ctl("show", job).stdout
    ok(all(w in text for w in (job, "purchases", "events", done["output_data"]["storage_path"])), "show", text)
    lab.wait_all_ended()
    is_([j["status"] for j in json.loads(lab.ctl("jobs", "--json").stdout)], ["done"] * 3, "jobs --json")
    status = json.loads(lab.ctl("status", "--json").stdout)
    is_([w["instance"] for w in status["workers"]], ["one"], "status --json: the worker")
    is_(status["queue"]["pending"], 0, "the queue")
    text = lab.ctl("status").stdout
    ok("one" in text and "alive" in text and "3 done" in text, "status", text)
    daemon.stop()
    wait_for(lambda: not json.loads(lab.ctl("status", "--json").stdout)["workers"], 10, "no worker in the status")
    lab.sim.stop()


@test
def by_hand():
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=100)
    before = float(lab.value("SELECT credits_remaining FROM public.profiles WHERE id = %s", lab.user))
    answers(lab.ctl("settings", "--json"), 0, '"refund": "on"', "settings --json")
    answers(lab.ctl("settings", "price", "30"), 0, "price = 30", "settings KEY VALUE")
    answers(lab.ctl("settings"), 0, "price            30", "settings")
    answers(lab.ctl("settings", "price", "much"), 1, "a whole number", "a bad value is refused")
    answers(lab.ctl("settings", "colour", "red"), 1, "not a setting", "an unknown one too")
    answers(lab.ctl("settings", "price"), 64, "KEY VALUE", "settings KEY alone")
    answers(lab.ctl("pause"), 0, "paused = on", "pause")
    daemon = lab.daemon()
    job, asset = lab.insert_job("wait", "https://images.example/1.png")
    answers(lab.ctl("cancel", job), 0, "is canceled", "cancel a pending job")
    is_(lab.job(job)["status"], "canceled", "it is")
    answers(lab.ctl("cancel", job), 1, "has ended already", "again")
    answers(lab.ctl("cancel", lab.project), 1, "does not exist", "cancel, unknown")
    answers(lab.ctl("cancel"), 64, "id of one job", "cancel, no id")
    is_(float(lab.value("SELECT credits_remaining FROM public.profiles WHERE id = %s", lab.user)), before, "credits are back")
    answers(lab.ctl("retry", job), 0, "is in the queue again", "retry")
    is_(float(lab.value("SELECT credits_remaining FROM public.profiles WHERE id = %s", lab.user)), before - 25, "and taken again")
    answers(lab.ctl("retry", job), 1, "has not ended yet", "retry, unfinished")
    lab.query("UPDATE public.jobs SET created_at = now() - interval '3 days' WHERE id = %s", job)
    is_(lab.job(job)["status"], "pending", "nothing is claimed while claims are paused")
    answers(lab.ctl("status"), 0, "claims are paused", "status says so")
    answers(lab.ctl("resume"), 0, "paused = off", "resume")
    lab.wait_status(job, "done")
    ok(True, "a retried job is not too old")
    answers(lab.ctl("top"), 0, "workers  1", "top, where nobody watches: once")
    answers(lab.ctl("retry", job), 1, "has its mesh", "retry, done")
    # Too poor to pay again.
    poor, home = lab.add_user(credits=25)
    lab.sim.fault("create", {"status": 422}, count=-1)
    job, _ = lab.insert_job("fails", "https://images.example/2.png", user=poor, project=home)
    lab.wait_status(job, "error")
    lab.query("UPDATE public.profiles SET credits_remaining = 0 WHERE id = %s", poor)
    answers(lab.ctl("retry", job), 1, "too few", "retry, too few credits")
    is_(lab.refunded(job), 25, "nothing was taken")
    lab.sim.control("DELETE", "faults")
    # What an older program left running.
    answers(lab.ctl("pause"), 0, "paused = on", "pause, once more")
    left, _ = lab.insert_job("left", "https://images.example/3.png")
    fresh, _ = lab.insert_job("fresh", "https://images.example/4.png")
    lab.query("ALTER TABLE public.jobs DISABLE TRIGGER USER")
    lab.query("UPDATE public.jobs SET status = 'running', worker_id = NULL, updated_at = now() - interval '1 hour' WHERE id = %s", left)
    lab.query("UPDATE public.jobs SET status = 'running', worker_id = NULL, updated_at = now() WHERE id = %s", fresh)
    answers(lab.ctl("cancel", "--stuck"), 0, "1 jobs", "cancel --stuck: only what did not change for long")
    is_((lab.job(left)["status"], lab.job(fresh)["status"]), ("canceled", "running"), "the old one is")
    lab.query("UPDATE public.jobs SET updated_at = now() - interval '1 hour' WHERE id = %s", fresh)
    answers(lab.ctl("retry", "--stuck", "--json"), 0, '"jobs": 1', "retry --stuck --json")
    answers(lab.ctl("resume"), 0, "paused = off", "resume, once more")
    lab.wait_status(fresh, "done")
    # What was bought, and sums.
    rows = json.loads(lab.ctl("purchases", "--json").stdout)
    ok(len(rows) >= 3 and rows[0]["id"] > rows[-1]["id"] and rows[0]["state"] in ("bought", "ended"), "purchases --json", rows[:1])
    answers(lab.ctl("purchases"), 0, "PREDICTION", "purchases")
    is_(json.loads(lab.ctl("purchases", "--surplus", "--json").stdout), [], "purchases --surplus")
    answers(lab.ctl("purchases", "--limit", "0"), 64, "--limit", "purchases, bad limit")
    stats = json.loads(lab.ctl("stats", "--json").stdout)
    is_((stats["jobs"]["failed"], stats["failures"]), (1, {"service_refused": 1}), "stats --json: failures by reason")
    answers(lab.ctl("stats", "--since", "7d"), 0, "jobs ", "stats --since")
    answers(lab.ctl("stats", "--since", "soon"), 64, "duration", "stats, bad duration")
    answers(lab.ctl("drain", "nobody"), 1, "no live instance", "drain, unknown")
    answers(lab.ctl("drain", "one"), 0, "asked", "drain")
    is_(daemon.wait(30), 0, "the instance stops")
    lab.sim.stop()


main()
