#!/usr/bin/python3
"""Hundreds of jobs, with one instance and with four: every job done, everything accounted for."""

import os

from lab import Lab, accounts, is_, main, ok, test

JOBS = int(os.environ.get("FLOW_JOBS", "500"))


def spool_is_empty(lab, label):
    left = [os.path.join(d, f) for d in os.listdir(lab.dir) if d.startswith("spool-")
            for f in os.listdir(os.path.join(lab.dir, d))]
    is_(left, [], f"{label}nothing is left in the spool")


def mixed_jobs(lab, n):
    """Two thirds text in two steps, one third with an image in one step."""
    jobs = []
    for i in range(n):
        image = f"https://images.example/{i}.png" if i % 3 == 2 else None
        jobs.append(lab.insert_job(f"a chair of kind {i}", image))
    return jobs


def run(instances, label):
    lab = Lab()
    lab.sim.config(starting_ms=50, processing_ms=200)
    daemons = []
    jobs = mixed_jobs(lab, JOBS // 2)
    for i in range(instances): # started at different moments, while jobs come in
        daemons.append(lab.daemon(f"i{i}", wait=False, **{"replicate.poll_min": "100ms"}))
        jobs += mixed_jobs(lab, JOBS // 2 // instances)
    jobs += mixed_jobs(lab, JOBS - len(jobs))
    accounts.all_done(lab, jobs, label, seconds=240)
    is_(lab.sim.stats()["file_authorizations"], 0, f"{label}no token went to the file host")
    if instances > 1:
        workers = lab.value("SELECT count(DISTINCT worker_id) FROM public.jobs")
        ok(workers > 1, f"{label}more than one worker had jobs", workers)
    for d in daemons:
        is_(d.stop(), 0, f"{label}an instance stops cleanly")
    is_(lab.value("SELECT count(*) FROM meshify.workers"), 0, f"{label}no worker's row is left")
    spool_is_empty(lab, label)
    lab.sim.stop()


@test
def one_instance():
    run(1, "one: ")


@test
def four_instances():
    run(4, "four: ")


@test
def many_files_into_a_directory():
    """More at once than there are threads to write them."""
    lab = Lab(driver="dir")
    lab.sim.config(starting_ms=0, processing_ms=300)
    jobs = lab.insert_jobs(JOBS * 2 // 5)
    daemon = lab.daemon(**{"worker.max_jobs": "200"})
    lab.wait_all_ended(240)
    made = dict(lab.query("SELECT output_path, result_meta ->> 'sha256' FROM public.mesh_assets WHERE status = 'done'"))
    is_(len(made), len(jobs), "directory: all are done")
    store = os.path.join(lab.dir, "store")
    there = {os.path.relpath(os.path.join(folder, name), store) for folder, _, names in os.walk(store) for name in names}
    is_(there, set(made), "directory: a file for each, and no other")
    bad = [path for path, digest in made.items() if accounts.sha256(open(os.path.join(store, path), "rb").read()) != digest]
    is_(bad, [], "directory: each is what the row says")
    accounts.no_second_purchase(lab, "directory: ")
    is_(daemon.stop(), 0, "directory: the instance stops cleanly")
    spool_is_empty(lab, "directory: ")
    lab.sim.stop()


main()
