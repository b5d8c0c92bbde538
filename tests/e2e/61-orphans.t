#!/usr/bin/python3
"""What a cancel, a kill or a deletion leaves behind: objects that no row names, and predictions that nobody waits for."""

import os
import signal
import time
import urllib.error
import urllib.request
import uuid

from lab import IMAGE, Lab, is_, main, ok, test, wait_for
from lab.postgres import SUPERUSER

SHORT = {"database.lease": "3s"}
BUCKET = "user_assets"


def quick_lab(driver="supabase", **sim):
    lab = Lab(driver=driver)
    lab.sim.config(**{"starting_ms": 0, "processing_ms": 50, "jitter_percent": 0, **sim})
    return lab


def paths(lab, asset):
    return sorted(o["path"].removeprefix(f"{BUCKET}/") for o in lab.sim.objects() if asset in o["path"])


def remove(lab, path):
    """As a DELETE that was sent long ago and arrives now."""
    request = urllib.request.Request(f"{lab.sim.url}/storage/v1/object/{BUCKET}/{path}", headers={"Authorization": "Bearer eyJ.test.key"}, method="DELETE")
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30).close()


def hours_pass(lab):
    """Since what is to be swept was found; job_timeout and an hour have to."""
    lab.query("UPDATE meshify.orphans SET since = since - interval '3 hours', tried_at = tried_at - interval '3 hours'")


def orphans(lab):
    return lab.value("SELECT count(*) FROM meshify.orphans WHERE removed_at IS NULL")


def good_job(lab, what):
    began = time.monotonic()
    job, asset = lab.insert_job("good", f"{IMAGE}?good-{uuid.uuid4()}")
    lab.wait_status(job, "done", seconds=60)
    ok(time.monotonic() - began < 20, f"{what}: a good job beside it is done in its usual time")
    return asset


def stays(lab, *assets):
    """Objects of jobs that are done, and what others have put into the bucket."""
    for asset in assets:
        is_(paths(lab, asset), [lab.asset(asset)["output_path"]], "the object that a row names stays")
    ok(any("others/photo.png" in o["path"] for o in lab.sim.objects()), "what others have put there stays")


@test
def a_cancel_during_an_upload():
    """The upload arrives after the cancel and its DELETE. The bucket is never listed."""
    lab = quick_lab()
    lab.sim.put(f"{BUCKET}/others/photo.png", b"photo")
    first = lab.daemon("first", **SHORT)
    before = lab.sim.stats()["received"]["upload"]
    job, asset = lab.insert_job("late", f"{IMAGE}?late")
    lab.sim.fault("upload", {"arrive_ms": 4000}, match=asset)
    wait_for(lambda: lab.sim.stats()["received"]["upload"] > before, 60, "the upload")
    is_(lab.value("SELECT object_name FROM meshify.predictions WHERE job_id = %s AND object_name IS NOT NULL", job),
        f"{lab.user}/{lab.project}/mesh_{asset}.glb", "its name is written down before it is there")
    is_(lab.value("SELECT meshify.cancel(%s)", job), "asked", "it is cancelled meanwhile")
    lab.wait_status(job, "canceled", seconds=60)
    good = good_job(lab, "during an upload")
    wait_for(lambda: paths(lab, asset), 60, "the object")
    is_(orphans(lab), 1, "the object that came after the cancel is written down")
    hours_pass(lab)
    lab.daemon("second", **SHORT)
    wait_for(lambda: not paths(lab, asset), 90, "its removal")
    wait_for(lambda: orphans(lab) == 0, 60, "that this is written down")
    stays(lab, good)
    is_(lab.value("SELECT count(*) FROM meshify.events WHERE job_id = %s AND event = 'orphan_removed'", job), 1, "and its history tells")
    ok(first.alive(), "the writer lives")
    lab.sim.stop()


@test
def a_kill_between_upload_and_closing():
    """Then the asset is deleted, or the job ends otherwise: nobody knows that the object is there but the row of its purchase."""
    lab = quick_lab()
    lab.sim.put(f"{BUCKET}/others/photo.png", b"photo")
    first = lab.daemon("first", **SHORT)
    good = good_job(lab, "before the kill")
    jobs = [lab.insert_job(f"killed {n}", f"{IMAGE}?killed{n}") for n in range(3)]
    assets = [asset for _, asset in jobs]
    lock = lab.postgres.connect()
    lock.autocommit = False
    lock.cursor().execute("SELECT 1 FROM public.mesh_assets WHERE id = ANY(%s::uuid[]) FOR UPDATE", (assets,))
    wait_for(lambda: all(paths(lab, a) for a in assets), 60, "the objects")
    first.signal(signal.SIGKILL)
    first.wait()
    lab.postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'meshifyd'", SUPERUSER) # what it had sent is not done after it
    wait_for(lambda: not lab.value("SELECT count(*) FROM pg_stat_activity WHERE usename = 'meshifyd'"), 60, "the end of its sessions")
    lock.rollback()
    lock.close()
    lab.query("DELETE FROM public.mesh_assets WHERE id = %s", assets[0])
    lab.query("UPDATE public.jobs SET status = 'error', error = 'By hand.', completed_at = now() WHERE id = %s", jobs[1][0])
    # The third is finished by another worker, under the same name.
    lab.daemon("second", **SHORT)
    lab.wait_status(jobs[2][0], "done", seconds=60)
    wait_for(lambda: orphans(lab) == 2, 90, "that two of them are written down as nobody's")
    is_([bool(paths(lab, a)) for a in assets], [True, True, True], "they are not removed before their time")
    hours_pass(lab)
    third = lab.daemon("third", **SHORT)
    wait_for(lambda: not paths(lab, assets[0]) and not paths(lab, assets[1]), 90, "their removal")
    stays(lab, good, assets[2])
    ok(third.alive(), "and the sweeper goes on")
    lab.sim.stop()


@test
def the_store_is_down():
    """A DELETE after a cancel that fails: the sweep ends it, when the store is back."""
    lab = quick_lab()
    lab.daemon("first", **SHORT)
    job, asset = lab.insert_job("down", f"{IMAGE}?down")
    lab.sim.fault("object", {"status": 503}, match=asset, count=-1)
    lock = lab.postgres.connect()
    lock.autocommit = False
    lock.cursor().execute("SELECT 1 FROM public.mesh_assets WHERE id = %s FOR UPDATE", (asset,))
    wait_for(lambda: paths(lab, asset), 60, "the object")
    lab.query("UPDATE public.jobs SET cancel_requested_at = now() WHERE id = %s", job)
    lock.rollback()
    lab.wait_status(job, "canceled", seconds=90)
    good = good_job(lab, "while the store refuses")
    hours_pass(lab)
    second = lab.daemon("second", **SHORT)
    second.wait_event("ORPHAN", level="warning", text="503", seconds=90)
    is_(len(paths(lab, asset)), 1, "as long as the store refuses, it is there")
    lab.sim.control("DELETE", "faults")
    hours_pass(lab)
    lab.daemon("third", **SHORT)
    wait_for(lambda: not paths(lab, asset), 90, "its removal")
    is_(paths(lab, good), [lab.asset(good)["output_path"]], "the object that a row names stays")
    lab.sim.stop()


@test
def a_delete_arrives_late():
    """A cancelled job is tried again: its mesh is stored beside the name that a DELETE was sent for."""
    lab = quick_lab()
    lab.daemon(**SHORT)
    job, asset = lab.insert_job("again", f"{IMAGE}?again")
    lock = lab.postgres.connect()
    lock.autocommit = False
    lock.cursor().execute("SELECT 1 FROM public.mesh_assets WHERE id = %s FOR UPDATE", (asset,))
    wait_for(lambda: paths(lab, asset), 60, "the object")
    name = paths(lab, asset)[0]
    lab.query("UPDATE public.jobs SET cancel_requested_at = now() WHERE id = %s", job)
    lock.rollback()
    lab.wait_status(job, "canceled", seconds=60)
    wait_for(lambda: not paths(lab, asset), 60, "its DELETE")
    bought = len(lab.sim.predictions())
    is_(lab.ctl("retry", job).returncode, 0, "late: a retry")
    lab.wait_status(job, "done", seconds=60)
    is_(len(lab.sim.predictions()), bought, "late: nothing is bought again")
    try:
        remove(lab, name)
    except urllib.error.HTTPError:
        pass # there is none of that name
    is_(paths(lab, asset), [lab.asset(asset)["output_path"]], "late: the mesh of the row is there, though the DELETE of the first upload came after it")
    lab.sim.stop()


@test
def a_retry_while_the_audit_cancels():
    """What the audit has begun to cancel is not polled again: that would cost an attempt."""
    lab = quick_lab(processing_ms=600000)
    first = lab.daemon("first", **SHORT)
    job, _ = lab.insert_job("audited", f"{IMAGE}?audited")
    wait_for(lambda: lab.value("SELECT count(*) FROM meshify.predictions WHERE state = 'bought'") == 1, 60, "a purchase")
    first.signal(signal.SIGKILL)
    first.wait()
    lab.query("UPDATE public.jobs SET status = 'error', error = 'By hand.', completed_at = now() - interval '2 min' WHERE id = %s", job)
    lab.sim.config(processing_ms=50)
    lab.sim.fault("cancel", {"arrive_ms": 3000})
    lab.daemon("second", **SHORT)
    wait_for(lambda: lab.value("SELECT count(*) FROM meshify.predictions WHERE audited_at IS NOT NULL") == 1, 90, "the audit")
    is_(lab.ctl("retry", job).returncode, 0, "audited: a retry")
    row = lab.wait_status(job, "done", seconds=90)
    is_(row["attempts"], 1, "audited: no attempt is lost")
    wait_for(lambda: sorted(p["status"] for p in lab.sim.predictions()) == ["canceled", "succeeded"], 60, "one used, one cancelled")
    lab.sim.stop()


@test
def the_earliest_due_job():
    """Behind 150 jobs of higher priority that come due in an hour: it is begun when it comes due."""
    lab = quick_lab()
    lab.query("INSERT INTO public.jobs (type, status, user_id, project_id, priority, run_after, input_data) SELECT 'meshify', 'pending', %s, %s, n, "
              "now() + interval '1 hour', '{}' FROM generate_series(1, 150) n", lab.user, lab.project)
    lab.daemon(**{"database.poll_interval": "10min"})
    cursor = lab.db.cursor()
    cursor.execute("ALTER TABLE public.jobs DISABLE TRIGGER meshify_notify")
    job, _ = lab.insert_job("soon", f"{IMAGE}?soon")
    cursor.execute("UPDATE public.jobs SET run_after = now() + interval '3 s' WHERE id = %s", (job,))
    cursor.execute("ALTER TABLE public.jobs ENABLE TRIGGER meshify_notify")
    other, _ = lab.insert_job("now", f"{IMAGE}?now") # its claim tells when the next comes due
    lab.wait_status(other, "done", seconds=60)
    lab.wait_status(job, "done", seconds=60)
    ok(True, "the earliest due job is done")
    lab.sim.stop()


@test
def temporary_files():
    """In driver dir: those of our own pattern, where we put them, which nobody has written to for long."""
    lab = quick_lab("dir")
    store = os.path.join(lab.dir, "store")
    place = os.path.join(store, str(uuid.uuid4()), str(uuid.uuid4()))
    os.makedirs(place)
    long_ago = time.time() - 3 * 3600

    def plant(name, at=long_ago, directory=place):
        path = os.path.join(directory, name)
        with open(path, "wb") as file:
            file.write(b"glTF")
        os.utime(path, (at, at))
        return path
    ours = [plant(f".mesh_{uuid.uuid4()}{n}.glb.{hexes}.tmp") for n, hexes in (("", "1f"), ("_2", "0123456789abcdef"))]
    others = [plant(f".mesh_{uuid.uuid4()}.glb.1f.tmp", time.time() - 600), plant(".photo.png.1f.tmp"), plant(f"mesh_{uuid.uuid4()}.glb"),
              plant(f".mesh_{uuid.uuid4()}.glb.1f.tmp", directory=store), plant(f".mesh_{uuid.uuid4()}.glb.xyz.tmp")]
    daemon = lab.daemon()
    job, asset = lab.insert_job("dir", f"{IMAGE}?dir")
    lab.wait_status(job, "done", seconds=60)
    wait_for(lambda: not any(os.path.exists(p) for p in ours), 90, "their removal")
    is_([os.path.exists(p) for p in others], [True] * len(others), "what is young, or not ours, stays")
    ok(os.path.exists(os.path.join(store, lab.asset(asset)["output_path"])), "so does the mesh of a job")
    daemon.wait_event("ORPHAN", text="2 temporary files")
    # An object that no row names goes, too.
    path = os.path.join(store, lab.asset(asset)["output_path"])
    lab.query("INSERT INTO meshify.orphans (name, place, job_id, since, grace) SELECT 'x/' || p.object_name, p.object_place, p.job_id, now() - interval '1 day', '1 h' "
              "FROM meshify.predictions p WHERE p.object_name IS NOT NULL")
    orphan = os.path.join(store, "x", lab.asset(asset)["output_path"])
    os.makedirs(os.path.dirname(orphan))
    plant(os.path.basename(orphan), directory=os.path.dirname(orphan))
    lab.daemon("second")
    wait_for(lambda: not os.path.exists(orphan), 90, "the removal of an orphan")
    ok(os.path.exists(path), "the mesh of a job stays")
    lab.sim.stop()


main()
