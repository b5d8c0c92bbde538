"""Runs inside the container: an operator's day with meshifyd as a service."""

import os
import re
import subprocess
import time

from lab import Lab, accounts, is_, main, ok, test, wait_for
from lab.events import IDS

INI = "/etc/meshify.ini"


def systemctl(*args, check=False):
    return subprocess.run(["systemctl", *args], capture_output=True, text=True, check=check, timeout=120)


def show(unit, name):
    return systemctl("show", "-p", name, "--value", unit).stdout.strip()


def journal(*args):
    return subprocess.run(["journalctl", "--no-pager", "-o", "cat", *args], capture_output=True, text=True,
                          check=False, timeout=60).stdout


def write_ini(lab, **keys):
    keys = {"worker.instance": None, "worker.spool_dir": None,
            "database.url": lab.postgres.url("meshifyd", tcp=True), **keys}
    with open(INI, "w", opener=lambda p, f: os.open(p, f, 0o600)) as ini:
        ini.write(lab.config_text("unused", **keys))


def the_sample_is_installed():
    text = open(INI).read()
    ok("[database]" in text and "[step sculpt]" in text, "make install put the sample configuration there")
    is_(os.stat(INI).st_mode & 0o777, 0o600, "readable by root alone")


def a_job_is_done(lab):
    write_ini(lab)
    started = systemctl("start", "meshifyd")
    is_(started.returncode, 0, "systemctl start meshifyd")
    is_(show("meshifyd", "ActiveState"), "active", "it is active")
    job, asset = lab.insert_job("a lighthouse")
    lab.wait_status(job, "done", seconds=60)
    is_(lab.asset(asset)["status"], "done", "a row inserted as the edge function does becomes done")
    wait_for(lambda: "1 done" in show("meshifyd", "StatusText"), 5, "the STATUS line")
    for name in ("JOB_CLAIMED", "JOB_BOUGHT", "JOB_STORED", "JOB_DONE"):
        ok(journal("-q", "-u", "meshifyd", f"MESHIFY_JOB_ID={job}", f"MESSAGE_ID={IDS[name]}"), f"its story in the journal has {name}")
    fields = journal("-u", "meshifyd", f"MESHIFY_JOB_ID={job}", "-o", "verbose")
    for field in ("MESHIFY_ASSET_ID", "MESHIFY_USER_ID", "MESHIFY_PREDICTION_ID", "MESHIFY_STATE", "MESHIFY_ATTEMPT",
                  "MESSAGE_ID"):
        ok(f"{field}=" in fields, f"and has {field}")
    explained = journal("-u", "meshifyd", f"MESHIFY_JOB_ID={job}", "-o", "short", "-x")
    ok("were written in one transaction" in explained, "the catalog explains it", explained[-500:])
    ok("test-token" not in journal("-u", "meshifyd", "-o", "export"), "no secret is in the journal")


def a_second_instance_shares(lab):
    is_(systemctl("start", "meshifyd@2").returncode, 0, "systemctl start meshifyd@2")
    lab.sim.config(starting_ms=300, processing_ms=1500)
    names = {n for (n,) in lab.query("SELECT instance FROM meshify.workers")}
    is_(len(names), 2, f"two workers with names of their own: {sorted(names)}")
    wait_for(lambda: "polling" not in show("meshifyd@2", "StatusText"), 20, "wake-ups of the second")
    jobs = [lab.insert_job(f"shared {i}") for i in range(100)]
    lab.wait_all_ended(120)
    by = lab.query("SELECT worker_id, count(*) FROM public.jobs WHERE input_data ->> 'prompt' LIKE 'shared %%' GROUP BY 1")
    is_(len(by), 2, f"both had jobs of the next hundred: {[n for _, n in by]}")
    accounts.no_second_purchase(lab)
    return jobs


def a_stop_hands_over(lab):
    lab.sim.config(starting_ms=500, processing_ms=4000)
    jobs = [lab.insert_job(f"handed {i}")[0] for i in range(40)]
    wait_for(lambda: lab.count("running") == 40, 20, "all running")
    wait_for(lambda: lab.value("SELECT count(*) FROM meshify.predictions p JOIN public.jobs j ON j.id = p.job_id "
                               "WHERE j.id = ANY (%s::uuid[]) AND prediction_id IS NOT NULL", jobs) > 20, 20, "most bought")
    is_(systemctl("stop", "meshifyd").returncode, 0, "systemctl stop meshifyd")
    is_(show("meshifyd", "Result"), "success", "it ended well")
    is_(lab.value("SELECT count(*) FROM meshify.workers"), 1, "one worker is left")
    lab.wait_all_ended(120)
    done = lab.value("SELECT count(*) FROM public.jobs WHERE status = 'done' AND id = ANY (%s::uuid[])", jobs)
    is_(done, 40, "the other finished them all")
    accounts.no_second_purchase(lab)
    is_(systemctl("stop", "meshifyd@2").returncode, 0, "systemctl stop meshifyd@2")


def a_killed_daemon_comes_back(lab):
    systemctl("start", "meshifyd")
    lab.sim.config(starting_ms=200, processing_ms=2000)
    job, _ = lab.insert_job("killed")
    wait_for(lambda: lab.value("SELECT count(*) FROM meshify.predictions WHERE job_id = %s AND prediction_id IS NOT NULL", job),
             20, "a purchase")
    pid = show("meshifyd", "MainPID")
    os.kill(int(pid), 9)
    lab.wait_status(job, "done", seconds=60)
    ok(show("meshifyd", "NRestarts") != "0", "systemd restarted it")
    accounts.no_second_purchase(lab)
    systemctl("stop", "meshifyd")


def a_wrong_key_is_said(lab):
    write_ini(lab)
    with open(INI, "a") as ini:
        ini.write("[worker]\nmax_job = 5\n")
    line = len(open(INI).read().splitlines())
    started = systemctl("start", "meshifyd")
    ok(started.returncode != 0, "a wrong key makes the start fail")
    is_(show("meshifyd", "ExecMainStatus"), "78", "with the status for a bad configuration")
    text = journal("-u", "meshifyd", "-n", "20")
    ok(re.search(rf"/etc/meshify\.ini:{line}: \[worker\] max_job: ", text), "the journal names file, line and key", text)
    time.sleep(2.5)
    is_((show("meshifyd", "NRestarts"), show("meshifyd", "ActiveState")), ("0", "failed"), "and there is no restart loop")
    systemctl("reset-failed", "meshifyd")


@test
def day():
    the_sample_is_installed()
    lab = Lab()
    a_job_is_done(lab)
    a_second_instance_shares(lab)
    a_stop_hands_over(lab)
    a_killed_daemon_comes_back(lab)
    a_wrong_key_is_said(lab)
    ok(not systemctl("--failed", "--no-legend").stdout.strip(), "no unit is left failed")


main()
