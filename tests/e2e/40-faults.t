#!/usr/bin/python3
"""What goes wrong with one job: it waits, tries again, or fails once, with its credits given back."""

import json
import os
import tempfile
import urllib.request

from lab import IMAGE, VARIANT, Lab, accounts, is_, main, ok, test, wait_for

QUICK = {"worker.retry_base": "100ms", "worker.retry_max": "300ms"}


def failed_once(lab, job, asset, sentence, what):
    """The job has failed for good: one refund, one notification, a sentence for the user."""
    row = lab.wait_status(job, "error")
    ok(sentence in row["error"], f"{what}: the user reads why", row["error"])
    is_((lab.asset(asset)["status"], row["worker_id"] is not None, row["completed_at"] is not None), ("error", True, True),
        f"{what}: the asset follows")
    is_(lab.refunded(job), 25, f"{what}: credits are given back, once")
    return row


def quick_lab(**keys):
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=100)
    lab.started = lab.daemon(**{**QUICK, **keys})
    return lab


@test
def a_model_that_fails():
    lab = quick_lab(**{"worker.max_attempts": "3"})
    before = lab.credits_of()
    lab.sim.fault("create", {"final": "failed", "error": "CUDA error: device-side assert"}, count=-1)
    job, asset = lab.insert_job("fails", IMAGE)
    row = failed_once(lab, job, asset, "could not make a mesh", "model fails")
    is_(row["attempts"], 2, "model fails: once more, since each attempt costs")
    is_(len(lab.sim.predictions()), 2, "model fails: a purchase each")
    is_(lab.credits_of(), before, "model fails: the user has what he had")
    is_(lab.value("SELECT count(*) FROM public.notifications WHERE type = 'error'"), 1, "model fails: one notification")
    ok("CUDA" not in row["error"], "model fails: the model's own words are not shown to the user", row["error"])
    ok(lab.started.wait_event("JOB_FAILED", job=job, text="CUDA error", seconds=5), "model fails: but to the operator")
    accounts_of_failures(lab, "model fails: ")
    lab.sim.stop()


def accounts_of_failures(lab, label):
    known = {i for (i,) in lab.query("SELECT prediction_id FROM meshify.predictions WHERE prediction_id IS NOT NULL")}
    is_({p["id"] for p in lab.sim.predictions()} - known, set(), f"{label}each prediction has its row")


@test
def an_attempt_that_fails():
    lab = quick_lab()
    lab.sim.fault("create", {"final": "failed", "error": "out of memory"})
    job, _ = lab.insert_job("fails once", IMAGE)
    row = lab.wait_status(job, "done")
    is_((row["attempts"], row["error"] or None), (2, None), "another attempt makes it")
    states = lab.query("SELECT state, status FROM meshify.predictions ORDER BY purchase")
    is_(states, [("ended", "failed"), ("bought", "succeeded")], "both purchases are accounted for")
    is_(lab.value("SELECT count(*) FROM meshify.refunds"), 0, "no refund")
    lab.sim.stop()


@test
def refusals_of_the_service():
    lab = quick_lab()
    problem = {"title": "Input validation failed", "detail": "- input: prompt is required", "status": 422}
    lab.sim.fault("create", {"status": 422, "body": problem}, match="bad input", count=-1)
    job, asset = lab.insert_job("bad input")
    failed_once(lab, job, asset, "did not accept this input", "422")
    is_(lab.sim.stats()["received"]["create"], 1, "422: asked once")
    is_(lab.value("SELECT state FROM meshify.predictions"), "ended", "422: the intent is closed")
    # Throttled: the same again after the time it says, for all; nothing is counted.
    lab.sim.config(throttle="body", create_rate={"per_minute": 60, "burst": 1})
    jobs = [lab.insert_job(f"throttled {i}", IMAGE)[0] for i in range(3)]
    for job in jobs:
        is_(lab.wait_status(job, "done")["attempts"], 1, "429: no attempt is lost")
    throttled = lab.sim.stats()["throttled"]
    ok(1 <= throttled <= 4, "429: it is obeyed, not hammered", throttled)
    lab.sim.config(create_rate=None)
    # No credit, a bad token: nobody's fault but the operator's; jobs wait and lose nothing.
    for status in (402, 401):
        lab.sim.fault("create", {"status": status}, count=1)
        job, _ = lab.insert_job(f"status {status}", IMAGE)
        wait_for(lambda: [f for f in lab.sim.control("GET", "faults") if not f["left"] and f["script"]["do"] == {"status": status}],
                 20, "the refusal")
        row = lab.job(job)
        is_((row["status"] in ("pending", "running"), row["error"] or None), (True, None), f"{status}: the job waits")
    is_(lab.value("SELECT count(*) FROM meshify.refunds"), 1, "and nothing more is given back")
    lab.sim.stop()


@test
def uncertain_purchases():
    """5xx and lost answers: perhaps bought. Never again before it is known."""
    lab = quick_lab()
    lab.sim.fault("create", {"status": 502, "done": True}, match="bought", count=1)
    bought, _ = lab.insert_job("bought", f"{IMAGE}?bought")
    lab.wait_status(bought, "done", seconds=60)
    is_(len(lab.sim.predictions()), 1, "502, yet bought: found in the listing")
    is_(lab.sim.stats()["received"]["create"], 1, "502, yet bought: not bought again")
    # A prediction that shows in the listing only later.
    lab.sim.fault("create", {"lose_answer": True, "late_list_ms": 4000}, match="late", count=1)
    late, _ = lab.insert_job("late", f"{IMAGE}?late")
    lab.wait_status(late, "done", seconds=60)
    is_(len(lab.sim.predictions()), 2, "late listing: looked for until it shows")
    accounts.no_second_purchase(lab, "uncertain: ")
    lab.sim.stop()


@test
def bad_files():
    lab = quick_lab(**{"worker.max_attempts": "2"})
    for file in ("truncated", "html", "empty", "not_glb"):
        lab.sim.fault("create", {"file": file}, match=file, count=-1)
        job, asset = lab.insert_job(file, f"{IMAGE}?{file}")
        failed_once(lab, job, asset, "not a usable mesh", f"file {file}")
    is_(lab.sim.objects(), [], "nothing of that was stored")
    # Broken off on the way: fetched again, not bought again.
    before = len(lab.sim.predictions())
    lab.sim.fault("file", {"cut": 5000}, count=2)
    job, _ = lab.insert_job("cut", IMAGE)
    lab.wait_status(job, "done")
    is_(len(lab.sim.predictions()), before + 1, "a cut download: one purchase")
    lab.sim.fault("file", {"status": 503}, count=2)
    job, _ = lab.insert_job("busy", IMAGE)
    lab.wait_status(job, "done")
    is_(len(lab.sim.predictions()), before + 2, "a busy file host: one purchase")
    # Damaged on the way: fetched again.
    lab.sim.fault("file", {"file": "bad_hash"}, count=1)
    job, _ = lab.insert_job("damaged", IMAGE)
    is_(lab.wait_status(job, "done")["attempts"], 2, "a damaged download: another attempt")
    is_(len(lab.sim.predictions()), before + 3, "a damaged download: one purchase")
    # To a host that is not allowed: nothing is fetched from there.
    lab.sim.fault("file", {"redirect": f"{lab.sim.url}/v1/account"}, count=-1)
    received = lab.sim.stats()["received"]["account"]
    job, asset = lab.insert_job("redirect", IMAGE)
    failed_once(lab, job, asset, "could not be fetched", "a redirect elsewhere")
    is_(lab.sim.stats()["received"]["account"], received, "a redirect elsewhere: not followed")
    lab.sim.control("DELETE", "faults")
    lab.sim.fault("create", {"output": {"model_file": "http://169.254.169.254/latest/meta-data"}}, count=-1)
    job, asset = lab.insert_job("metadata", IMAGE)
    failed_once(lab, job, asset, "could not be fetched", "an output elsewhere")
    wait_for(lambda: not [f for d in os.listdir(lab.dir) if d.startswith("spool") for f in os.listdir(os.path.join(lab.dir, d))],
             10, "an empty spool")
    lab.sim.stop()


@test
def a_store_that_fails():
    lab = quick_lab()
    lab.sim.fault("upload", {"status": 503}, count=2)
    job, _ = lab.insert_job("store busy", IMAGE)
    lab.wait_status(job, "done")
    is_(len(lab.sim.predictions()), 1, "storage busy: one purchase")
    lab.sim.fault("upload", {"lose_answer": True}, count=1)
    job, _ = lab.insert_job("store lost", IMAGE)
    lab.wait_status(job, "done")
    is_(sorted(o["writes"] for o in lab.sim.objects()), [1, 1], "a lost answer: asked for, and not sent again")
    lab.sim.fault("upload", {"status": 413}, count=-1)
    job, asset = lab.insert_job("store full", IMAGE)
    failed_once(lab, job, asset, "larger than the store takes", "too large for the bucket")
    lab.sim.stop()


@test
def images_in_the_bucket():
    lab = quick_lab()
    path = f"{lab.user}/in/put.png"
    request = urllib.request.Request(f"{lab.sim.url}/storage/v1/object/user_assets/{path}", b"png", {
        "Authorization": "Bearer eyJ.a.b", "Content-Type": "image/png"}, method="POST")
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request).read()
    job, _ = lab.insert_job("own image", path)
    lab.wait_status(job, "done")
    (image,) = lab.sim.predictions()[0]["input"]["images"]
    ok(image.startswith(f"{lab.sim.url}/storage/v1/object/sign/user_assets/{path}?token="), "a path becomes a signed URL", image)
    bought = len(lab.sim.predictions())
    stranger, _ = lab.add_user()
    for what, bad in (("another user's", f"{stranger}/in/put.png"), ("no user's", "in/put.png"), ("a way out", f"{lab.user}/../{stranger}/x.png"),
                      ("an absolute one", f"/{stranger}/in/put.png"), ("a missing object", f"{lab.user}/none.png"),
                      ("a file", "file:///etc/passwd")):
        job, asset = lab.insert_job("bad image", bad)
        failed_once(lab, job, asset, "The reference image", f"path: {what}")
    is_(len(lab.sim.predictions()), bought, "nothing was bought for those")
    is_(lab.value("SELECT count(*) FROM meshify.predictions"), bought, "nor written down")
    lab.sim.stop()


@test
def bad_rows():
    lab = quick_lab()
    for what, data in (("no prompt", {}), ("a list", []), ("a number as prompt", {"prompt": 5}), ("null", None)):
        job, asset = lab.insert_job("", input_data=json.dumps(data))
        failed_once(lab, job, asset, "The request", f"input_data is {what}")
    stranger, _ = lab.add_user()
    _, theirs = lab.insert_job("theirs", IMAGE, user=stranger)
    job = lab.value("INSERT INTO meshify.jobs (user_id, project_id, asset_id, input_data) VALUES "
                    "(%s, %s, %s, '{\"prompt\": \"x\"}') RETURNING id", lab.user, lab.project, theirs)
    lab.wait_status(job, "error")
    is_(lab.value("SELECT count(*) FROM meshify.refunds WHERE job_id = %s", job), 0, "another's asset: fails without a refund")
    other = lab.value(f"INSERT INTO public.jobs ({', '.join(lab.types)}, user_id, project_id, asset_id, input_data) "
                      f"SELECT {', '.join(repr('export') for _ in lab.types)}, user_id, project_id, asset_id, '{{}}' FROM meshify.jobs LIMIT 1 RETURNING id")
    lab.wait_all_ended()
    is_(lab.job(other)["status"], "pending", "another type of job is left alone")
    lab.sim.stop()


@test
def cancels():
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=600000)
    lab.daemon()
    before = lab.credits_of()
    job, asset = lab.insert_job("cancel me", IMAGE)
    lab.wait_bought(1)
    is_(lab.value("SELECT meshify.cancel(%s)", job), "asked", "cancel: a worker is asked")
    row = lab.wait_status(job, "error" if {"check", "triggers"} & set(VARIANT) else "canceled", seconds=20)
    is_([p["status"] for p in lab.sim.predictions()], ["canceled"], "cancel: the prediction is cancelled")
    is_((lab.asset(asset)["status"], lab.credits_of(), row["completed_at"] is not None), ("error", before, True), "cancel: closed, refunded")
    is_(lab.value("SELECT meshify.cancel(%s)", job), "ended", "cancel: again does nothing")
    # Deleting the asset is a cancel too.
    job, asset = lab.insert_job("delete me", IMAGE)
    lab.wait_bought(2)
    lab.query("DELETE FROM public.mesh_assets WHERE id = %s", asset)
    wait_for(lambda: [p["status"] for p in lab.sim.predictions()] == ["canceled"] * 2, 20, "the prediction's cancel")
    is_(lab.credits_of(), before, "a deleted asset: credits are given back")
    lab.sim.stop()


@test
def time_limits():
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=600000)
    daemon = lab.daemon(**{"worker.job_timeout": "2s"})
    job, asset = lab.insert_job("for ever", IMAGE)
    failed_once(lab, job, asset, "took too long", "job_timeout")
    wait_for(lambda: [p["status"] for p in lab.sim.predictions()] == ["canceled"], 20, "the prediction's cancel")
    ok(lab.sim.predictions()[0]["cancel_after"], "job_timeout: Cancel-After was sent", lab.sim.predictions())
    daemon.stop()
    lab.query("UPDATE public.jobs SET created_at = now() - interval '2 days' WHERE id = %s", job)
    old, asset = lab.insert_job("too old", IMAGE)
    lab.query("UPDATE public.jobs SET created_at = now() - interval '2 days' WHERE id = %s", old)
    lab.daemon("two")
    failed_once(lab, old, asset, "waited too long", "max_age")
    is_(len(lab.sim.predictions()), 1, "max_age: not bought")
    lab.sim.stop()


@test
def directory_storage():
    lab = Lab(driver="dir")
    lab.sim.config(starting_ms=0, processing_ms=50)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as spool: # commonly another file system than the store's
        a_directory(lab, spool)


def cancelled_at_the_end(lab, job, asset):
    """When the mesh is stored, and the closing waits for a lock."""
    holder = lab.postgres.connect(autocommit=False)
    holder.cursor().execute("SELECT FROM public.mesh_assets WHERE id = %s FOR UPDATE", (asset,))
    lab.daemons[0].wait_event("JOB_STORED", job=job, seconds=20)
    lab.query("UPDATE public.jobs SET cancel_requested_at = now() WHERE id = %s", job)
    holder.rollback()
    holder.close()
    lab.wait_status(job, "error" if {"check", "triggers"} & set(VARIANT) else "canceled", seconds=20)


def a_directory(lab, spool):
    lab.daemon(**{"worker.spool_dir": spool})
    job, asset = lab.insert_job("to a directory", IMAGE)
    row = lab.wait_status(job, "done")
    with open(os.path.join(lab.dir, "store", row["output_data"]["storage_path"]), "rb") as mesh:
        is_(accounts.sha256(mesh.read()), lab.asset(asset)["result_meta"]["sha256"], "dir: the file is there, whole")
    left = [f for _, _, files in os.walk(os.path.join(lab.dir, "store")) for f in files]
    is_(len(left), 1, "dir: and nothing else")
    job, asset = lab.insert_job("an image by path", f"{lab.user}/x.png")
    failed_once(lab, job, asset, "reference image cannot be used", "dir can't sign a path")
    is_(len(lab.sim.predictions()), 1, "dir: nothing was bought for it")
    cancelled_at_the_end(lab, *lab.insert_job("cancelled at the end", IMAGE))
    is_([f for _, _, files in os.walk(os.path.join(lab.dir, "store")) for f in files], left, "dir: what no row names is removed")
    again = lab.value("INSERT INTO meshify.jobs (user_id, project_id, asset_id, input_data) "
                      "SELECT user_id, project_id, asset_id, input_data FROM meshify.jobs WHERE id = %s RETURNING id", row["id"])
    cancelled_at_the_end(lab, again, row["asset_id"])
    is_([f for _, _, files in os.walk(os.path.join(lab.dir, "store")) for f in files], left, "dir: what a row names stays, whose job ever is cancelled")
    is_(lab.daemons[0].stop(), 0, "dir: it stops")


main()
