#!/usr/bin/python3
"""What is said to operators who do the wrong thing: what, where, and what to do instead."""

import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import lab as testing
from lab import Lab, is_, ok
from postgres import SUPERUSER

IMAGE = "https://images.example/x.png"


def says(lab, label, status, *parts, args, never=(), **more):
    """One program with these arguments: its exit status, and what it has to say and must not."""
    got, text = lab.run(args, **more)
    ok(got == status and all(p in text for p in parts) and not any(n in text for n in never), label, f"{got} {text}")
    return text


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
         "makes the schema meshify, which meshifyd may not", "GRANT CREATE ON DATABASE meshify TO meshifyd;",
         args=["meshifyctl", "migrate"], never=(wrong, "permission denied"), **{"database.url": worker})
    lab.postgres.execute("DROP OWNED BY meshify_worker; DROP ROLE meshify_worker; ALTER ROLE postgres NOCREATEROLE", SUPERUSER)
    says(lab, "the owner, who may make no role", 1, "makes the role meshify_worker, which postgres may not",
         "CREATE ROLE meshify_worker NOLOGIN;", args=["meshifyctl", "migrate"], never=("permission denied",), **{"database.url": owner})
    lab.postgres.execute("CREATE ROLE meshify_worker NOLOGIN; ALTER ROLE postgres CREATEROLE", SUPERUSER)
    says(lab, "once it is there, the owner migrates", 0, "the schema is version", args=["meshifyctl", "migrate"], **{"database.url": owner})
    says(lab, "a login that may not work is told by its name", 1, "GRANT meshify_worker TO meshifyd;", args=["meshifyctl", "status"],
         **{"database.url": worker})
    lab.postgres.grant()
    daemon = lab.daemon()
    job, _ = lab.insert_job("a chair", IMAGE)
    lab.wait_status(job, "done")
    is_(daemon.stop(), 0, "and a job is done")
    lab.sim.stop()


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
    daemon.wait_line(r"The database is away: a time-out of its own cuts off what begins each transaction.*ALTER ROLE \.\.\. RESET statement_timeout|"
                     r"is ready as", 60)
    daemon.stop()
    lab.postgres.execute("ALTER ROLE meshifyd RESET statement_timeout; REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC", SUPERUSER)
    daemon = lab.daemon(wait=False)
    daemon.wait_line("The database is away: the login may not use the language plpgsql.* As a superuser: GRANT USAGE ON LANGUAGE plpgsql", 60)
    says(lab, "the doctor", 69, "meshifyd may not use the language plpgsql", "GRANT USAGE ON LANGUAGE plpgsql TO meshifyd;", args=["meshifyctl", "doctor"])
    lab.postgres.execute("GRANT USAGE ON LANGUAGE plpgsql TO PUBLIC", SUPERUSER)
    is_(daemon.stop(), 0, "it stops while it waits")
    lab.sim.stop()


testing.main(migrations, arguments, too_short, cut_off)
