"""Exact accounting from three sides: the database, the simulator, the object store."""

import hashlib

from .tap import is_, ok


def check(lab, jobs, label=""):
    """Every job of `jobs` is done, and nothing was bought, stored or told that should not have been."""
    n = len(jobs)
    rows = lab.query("""SELECT j.id, a.output_path, a.size, a.result_meta, j.output_data, j.progress, j.completed_at,
                               a.status, a.mime
                        FROM public.jobs j JOIN public.mesh_assets a ON a.id = j.asset_id
                        WHERE j.status = 'done' AND j.id = ANY (%s::uuid[])""", [j for j, _ in jobs])
    is_(len(rows), n, f"{label}every job is done")
    objects = {o["path"]: o for o in lab.sim.objects()}
    predictions = {p["id"]: p for p in lab.sim.predictions()}
    bad = []
    for row in rows:
        _, path, size, meta, data, progress, completed, status, mime = row
        o = objects.get(f"user_assets/{path}") or objects.get(path)
        served = predictions.get(meta["replicate_prediction_id"], {})
        good = (o and o["size"] == size and o["sha256"] == meta["sha256"] == served.get("sha256")
                and o["content_type"] == "model/gltf-binary" and mime == "model/gltf-binary"
                and data["storage_path"] == path and data["file_size"] == size and data["mesh_url"]
                and meta["model_version"] and meta["output_urls"] and meta["meshes"] >= 1 and meta["triangles"] >= 1
                and meta["processing_time"] > 0 and progress == 1 and completed and status == "done")
        if not good:
            bad.append((row, o, served.get("sha256")))
    ok(not bad, f"{label}every row names its object, byte for byte what the file host served", bad[:2])
    is_(len(objects), n, f"{label}as many objects as jobs")
    is_(lab.value("SELECT count(*) FROM public.notifications WHERE type <> 'info'"), n, f"{label}one notification a job")
    is_(lab.value("SELECT count(*) FROM meshify.refunds"), 0, f"{label}no refund")
    is_(lab.value("SELECT count(*) FROM meshify.charges WHERE made_at IS NOT NULL AND asset_id = ANY (%s::uuid[])", [a for _, a in jobs]), n,
        f"{label}what was charged is spent")
    check_purchases(lab, label)


def check_purchases(lab, label=""):
    """Each prediction at the simulator is explained by a row; of each step at most one was used."""
    known = {r[0]: r[1:] for r in lab.query(
        "SELECT prediction_id, job_id, step, state, status FROM meshify.predictions WHERE prediction_id IS NOT NULL")}
    there = lab.sim.predictions()
    unknown = [p["id"] for p in there if p["id"] not in known]
    ok(not unknown, f"{label}no prediction that no row explains", unknown[:5])
    invented = set(known) - {p["id"] for p in there}
    ok(not invented, f"{label}no row of a prediction that does not exist", list(invented)[:5])
    used = {}
    for job, step, state, status in known.values():
        if state == "bought" and status == "succeeded":
            used[job, step] = used.get((job, step), 0) + 1
    twice = {k: v for k, v in used.items() if v != 1}
    ok(used and not twice, f"{label}one prediction used a step", twice)


def no_second_purchase(lab, label=""):
    """Not even an accounted one."""
    steps = lab.value("SELECT count(*) FROM (SELECT DISTINCT job_id, step FROM meshify.predictions) x")
    is_(len(lab.sim.predictions()), steps, f"{label}no second prediction for any step")


def no_attempt_lost(lab, label=""):
    """Nor was any worker taken to have died of a job."""
    is_(lab.query("SELECT DISTINCT attempts, crashes FROM public.jobs"), [(1, 0)], f"{label}no attempt is lost")


def all_done(lab, jobs, label="", seconds=120):
    """Once all have ended, everything adds up, and nothing was bought twice."""
    lab.wait_all_ended(seconds)
    check(lab, jobs, label)
    no_second_purchase(lab, label)


def sha256(data):
    return hashlib.sha256(data).hexdigest()
