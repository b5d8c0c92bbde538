#!/usr/bin/python3
"""What triggers of the project refuse, in each table that we write: it concerns the job whose row it is, and nobody else."""

import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import lab as testing
from lab import Lab, is_, ok, wait_for

IMAGE = "https://images.example/x.png"
# What a trigger may raise: deadlock, serialization, disk full, lock not available, canceled, assertion, the server's own words.
STATES = ("40P01", "40001", "53100", "55P03", "57014", "P0004", "57P01", "25006", "08006", "XX000", "3F000", "P0001")


def trigger(lab, name, table, when, do, timing="BEFORE UPDATE", constraint=False):
    """`do` is the body; `when` is about NEW."""
    lab.query(f"CREATE FUNCTION public.{name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN IF {when} THEN {do} END IF; RETURN NEW; END $$")
    lab.query(f"CREATE {'CONSTRAINT' if constraint else ''} TRIGGER {name} {timing} ON public.{table} "
              f"{'DEFERRABLE INITIALLY DEFERRED' if constraint else ''} FOR EACH ROW EXECUTE FUNCTION public.{name}()")


def drop(lab, name):
    lab.query(f"DROP FUNCTION public.{name}() CASCADE")


def raising(column="NEW.input_data ->> 'prompt'"):
    """Raises what the prompt asks for."""
    return f"IF {column} ~ '^raise ' THEN RAISE EXCEPTION 'not this one' USING ERRCODE = substr({column}, 7); END IF;"


def claims_of_others():
    """A job that can't be claimed, whatever its trigger does, keeps nobody else waiting."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=50)
    trigger(lab, "hostile", "jobs", "NEW.status = 'running' AND OLD.status = 'pending'",
            raising() + " IF NEW.input_data ->> 'prompt' = 'asserts' THEN ASSERT false, 'no'; END IF;"
            "IF NEW.input_data ->> 'prompt' = 'waits' THEN PERFORM FROM public.projects p WHERE p.name = 'held' FOR UPDATE; END IF;")
    lab.query("INSERT INTO public.projects (owner_id, name) VALUES (%s, 'held')", lab.user)
    holder = lab.postgres.connect(autocommit=False)
    holder.cursor().execute("SELECT FROM public.projects WHERE name = 'held' FOR UPDATE")
    bad = [lab.insert_job(p, IMAGE)[0] for p in [f"raise {s}" for s in STATES] + ["asserts", "waits"]]
    daemon = lab.daemon(**{"database.poll_interval": "1s"})
    begun = time.monotonic()
    good = [lab.insert_job(f"good {i}", f"{IMAGE}?{i}")[0] for i in range(5)]
    for job in good:
        lab.wait_status(job, "done", seconds=60)
    ok(time.monotonic() - begun < 20, "claims: the others are done in their time", time.monotonic() - begun)
    is_(lab.value("SELECT count(*) FROM public.jobs WHERE id = ANY (%s::uuid[]) AND status = 'pending'", bad), len(bad), "claims: the refused wait")
    is_(daemon.said("The database is away|refuses to let us claim"), 0, "claims: nothing else is refused, and the connection is kept")
    holder.close()
    drop(lab, "hostile")
    lab.query("UPDATE meshify.unclaimable SET until = now()")
    for job in bad:
        lab.wait_status(job, "done", seconds=60)
    ok(True, "claims: without the trigger they are done")
    lab.sim.stop()


def a_claim_that_takes_its_time():
    """Nothing is raised: a trigger does not come back. Its job is left alone, the others go on."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=50)
    trigger(lab, "slow", "jobs", "NEW.status = 'running' AND OLD.status = 'pending' AND NEW.input_data ->> 'prompt' = 'slow'", "PERFORM pg_sleep(90);")
    slow, _ = lab.insert_job("slow", IMAGE)
    daemon = lab.daemon(**{"database.poll_interval": "1s"})
    good, _ = lab.insert_job("good", IMAGE)
    lab.wait_status(good, "done", seconds=60)
    is_(lab.job(slow)["status"], "pending", "a slow trigger: its job waits, the other is done")
    is_(daemon.said("The database is away|The lease is lost"), 0, "a slow trigger: the connection is kept")
    lab.sim.stop()


TESTS = [claims_of_others, a_claim_that_takes_its_time]

if __name__ == "__main__":
    testing.main(*TESTS)
