#!/usr/bin/python3
"""What is said to operators who do the wrong thing: what, where, and what to do instead."""

import os
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
    lab.ctl("settings", "max_pending_jobs", "1")
    says(lab, "a prompt that will do", 0, "job ", args=[*new, "x"])
    says(lab, "one too many", 1, "has 1 pending jobs already", "meshifyctl settings max_pending_jobs N", args=[*new, "x"])
    lab.sim.stop()


testing.main(migrations, arguments)
