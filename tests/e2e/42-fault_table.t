#!/usr/bin/python3
"""Every bad day by its name: what happens, what becomes of the job, what its user reads, what it cost.

One table. Each of its rows is provoked, all of a group at once in a set-up of their own; beside them a
good job has to finish. What holds a lane holds everybody, so these go one after the other."""

import contextlib
import os
import re
import resource
import socket
import sys
import threading
import time
import uuid
import urllib.request
from collections import namedtuple

from lab import IMAGE, TRELLIS, Lab, cases, is_, main, ok, test, wait_for

END = ", single object, white background"
SMALL = "tencent/hunyuan3d-2:" + "b1b9449a" * 8

# --- how a case is provoked --------------------------------------------------------------------
# Each answers a dictionary: `faults` for the simulator, each met by this job only; `make` inserts the
# job (it answers the ids of job and asset); `during` is called once its prediction runs, or it waits.

HTML = "<html><body><h1>502 Bad Gateway</h1></body></html>"
PLANES = "\"quotes\" \\ ${seed} ${image} \"}, \"version\": \"0\n\r\n\t\x1b[2J é ж 漢 \u202e 🪑 \U000e0041 \U0010ffff % {user_id} ../../"
DEAD = "https://replicate.example/{id}/output.glb"
OWN = "{files}/xezq/{id}/output.glb"


def fault(endpoint, do, count=1, skip=0):
    return {"endpoint": endpoint, "do": do, "count": count, "skip": skip}


def failed(error, count=1):
    """The prediction fails with these words; with None for ever, without a word."""
    return {"faults": [fault("create", {"final": "failed", **({} if error is None else {"error": error})}, count)]}


def refused(status, body=None, count=1, headers=None, **more):
    do = {"status": status, **({"body": body} if body is not None else {}), **({"headers": headers} if headers else {}), **more}
    return {"faults": [fault("create", do, count)]}


def stored(status, body=None, headers=None, endpoint="upload", **more):
    do = {"status": status, **({"body": body} if body is not None else {}), **({"headers": headers} if headers else {}), **more}
    return {"faults": [fault(endpoint, do)]}


def storage(status, code, message="scripted"):
    """As Storage says it: HTTP 400, and the true status as text."""
    return stored(400, {"statusCode": str(status), "error": code, "message": message, "code": code})


def polled(do, count=1):
    return {"faults": [fault("get", do, count)]}


def output(value):
    return {"faults": [fault("create", {"output": value}, -1)]}


def served(do, count=-1):
    return {"faults": [fault("file", do, count)]}


def data(value):
    """A job with this input_data."""
    return {"make": lambda lab, tag: lab.insert_job(tag, input_data=value)}


def prompt(text):
    """A job with this prompt, which has to arrive to the byte."""
    return {"make": lambda lab, tag: lab.insert_job(text + tag), "text": text}


def blanks():
    return {"make": lambda lab, tag: lab.insert_job(" \u3000\u200b")}


def long_prompt():
    return {"make": lambda lab, tag: lab.insert_job("a long prompt, " * 70000 + tag)}


def image(path):
    return {"make": lambda lab, tag: lab.insert_job(tag, path.replace("{user}", lab.user).replace("{other}", lab.other[0]))}


def two_steps(*faults):
    return {"make": lambda lab, tag: lab.insert_job(tag), "faults": list(faults)}


def change(lab, text, job, asset):
    lab.db.cursor().execute(text.replace("$1", "%(job)s").replace("$2", "%(asset)s"), {"job": job, "asset": asset})


def sql(text, **more):
    """The good job that was inserted, changed; $1 is its id, $2 its asset's."""
    def make(lab, tag):
        job, asset = lab.insert_job(tag, f"{IMAGE}?{tag}")
        change(lab, text, job, asset)
        return job, asset
    return {"make": make, **more}


def inserted(**columns):
    """A row of public.jobs with these columns; "mine" and "theirs" are assets that are made for it."""
    def make(lab, tag):
        row = {"type": "meshify", "user_id": lab.user, "project_id": lab.project, "asset_id": "mine",
               "input_data": '{"prompt": "%s"}' % tag, **columns}
        if row["asset_id"] in ("mine", "theirs"):
            owner, home = (lab.user, lab.project) if row["asset_id"] == "mine" else lab.other
            row["asset_id"] = lab.value("INSERT INTO public.mesh_assets (project_id, owner_id, credits_cost) VALUES (%s, %s, 25) "
                                        "RETURNING id", home, owner)
        job = lab.value(f"INSERT INTO public.jobs ({', '.join(row)}) VALUES ({', '.join(['%s'] * len(row))}) RETURNING id", *row.values())
        return job, row["asset_id"]
    return {"make": make}


def meanwhile(text, running_ms=8000, **more):
    """While its prediction runs, and for as long as that."""
    return {"faults": [fault("create", {"processing_ms": running_ms}, -1)],
            "during": lambda lab, job, asset: change(lab, text, job, asset),
            **more}


def own_user(how):
    """The same, for a user of its own."""
    return {**how, "make": lambda lab, tag: lab.insert_job(tag, f"{IMAGE}?{tag}", *lab.add_user())}


def no_room():
    """Nothing can be written to the spool when the mesh comes."""
    def during(lab, job, _asset):
        resource.prlimit(lab.started.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        lab.started.wait_event(job=job, fault="spool_full", seconds=60)
        resource.prlimit(lab.started.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return {"faults": [fault("create", {"processing_ms": 1200}, -1)], "during": during}


def locked():
    """The asset's row is locked when the job is to be closed."""
    def during(lab, _job, asset):
        def hold():
            with contextlib.closing(lab.postgres.connect(autocommit=False)) as other:
                other.cursor().execute("SELECT FROM public.mesh_assets WHERE id = %s FOR UPDATE", [asset])
                time.sleep(10) # as long as somebody's transaction takes
                other.rollback()
        threading.Thread(target=hold, daemon=True).start()
    return {"faults": [fault("create", {"processing_ms": 8000}, -1)], "during": during}


def unknown_purchase():
    """As a worker that died between buying and writing it down left it, longer ago than Replicate remembers,
    and than this machine has been up."""
    def make(lab, tag):
        job, asset = lab.insert_job(tag, f"{IMAGE}?{tag}")
        lab.query("INSERT INTO meshify.predictions (job_id, step, purchase, attempt, worker_id, state, intent_at, give_up_after, model, "
                  "input_hash, input_keys) VALUES (%s, 'sculpt', 1, 1, gen_random_uuid(), 'intended', now() - interval '400 days', "
                  "now() - interval '1 h', %s, 'x', '[]')", job, TRELLIS)
        return job, asset
    return {"make": make}


# --- what its user reads -----------------------------------------------------------------------

TOO_LARGE = "The request is too large. Please shorten the prompt."
NOTHING = "The request has neither a prompt nor an image."
UNREADABLE = "The request could not be understood."
BAD_IMAGE = "The reference image cannot be used. Please upload it again or use an https address."
NO_IMAGE = "The reference image was not found. Please upload it again."
NO_ASSET = "The asset of this request does not exist."
OLD = "The request waited too long and was not started."
REFUSED = "The mesh service did not accept this request."
INPUT = "The mesh model did not accept this input."
BUSY = "The mesh model is busy. Please try again later."
FAILED = "The mesh model could not make a mesh of this."
ERROR = "The mesh model failed on this input. Please change the prompt or the image."
SLOW = "The mesh model took too long."
CONTENT = "The mesh model declined this content. Please change the prompt or the image."
NO_MESH = "The mesh model gave no mesh."
ELSEWHERE = "The mesh could not be fetched."
LARGE = "The mesh is larger than we can keep."
BROKEN = "The mesh model's output is not a usable mesh."
NOT_STORED = "The mesh could not be stored."
STORE_TOO_LARGE = "The mesh is larger than the store takes."
UNKNOWN = "The mesh service did not say whether it took the request."
TIMEOUT = "The request took too long and was stopped."
NO_WORK = "The request could not be worked on."

# --- the table ---------------------------------------------------------------------------------
# end: failed (for good), retried (another attempt made it), waited (the same again made it; nothing is
# counted), done (nothing was wrong), canceled, gone (the row was deleted), left (never touched).
# bought: predictions of the job, by step where there are two. refund: credits given back.

Case = namedtuple("Case", "group name how word end sentence attempts bought refund")
TABLE = [Case(*row) for row in [
    # Refusals of the API, in answer to a purchase.
    ("together", "400", refused(400, {"detail": "no"}), "service_refused", "failed", REFUSED, 1, 0, 25),
    ("together", "404: no such model", refused(404), "service_refused", "failed", REFUSED, 1, 0, 25),
    ("together", "413", refused(413, {"detail": "Files must be less than 100MB in size"}), "model_input", "failed", INPUT, 1, 0, 25),
    ("together", "413 from an edge", refused(413, HTML), "model_input", "failed", INPUT, 1, 0, 25),
    ("together", "422: no such version", refused(422), "service_refused", "failed", REFUSED, 1, 0, 25),
    ("together", "422 with invalid_fields", refused(422, {
        "detail": "- input: prompt is required\n", "status": 422, "title": "Input validation failed", "invalid_fields": [
            {"type": "required", "field": "input", "description": "prompt is required"}]}), "model_input", "failed", INPUT, 1, 0, 25),
    # Predictions that fail.
    ("together", "PA", failed("Prediction interrupted; please retry (code: PA)"), "model_busy", "retried", None, 2, 2, 0),
    ("together", "PA, each time", failed("Prediction interrupted; please retry (code: PA)", -1), "model_busy", "failed", BUSY, 3, 3, 25),
    ("together", "E1000", failed("Unknown error (E1000)"), "model_busy", "retried", None, 2, 2, 0),
    ("together", "E1001", failed("The process was killed: out of memory (E1001)", -1), "model_failed", "failed", FAILED, 2, 2, 25),
    ("together", "E4875", failed("Internal webhook URL is empty (E4875)"), "model_error", "failed", ERROR, 1, 1, 25),
    ("together", "E6716", failed("Director: unexpected error handling prediction (E6716)"), "model_overloaded", "retried", None, 2, 2, 0),
    ("together", "E8367", failed("Prediction stopped in a non-terminal state (E8367)"), "model_busy", "retried", None, 2, 2, 0),
    ("together", "E8765", failed("Model health check failed (E8765)"), "model_overloaded", "retried", None, 2, 2, 0),
    ("together", "E9243", failed("Error starting prediction (E9243)"), "model_failed", "retried", None, 2, 2, 0),
    ("together", "E9825", failed("Failed to upload file (E9825)"), "model_busy", "retried", None, 2, 2, 0),
    ("together", "E9828", failed("Director: unexpected error (E9828)"), "model_busy", "retried", None, 2, 2, 0),
    ("together", "a code that nobody knows", failed("Director: something new (E7777)"), "model_failed", "retried", None, 2, 2, 0),
    ("together", "E003", failed("x is unavailable due to high demand. Please try again later. (E003)"), "model_overloaded", "retried", None, 2, 2, 0),
    ("together", "E004", failed("Service is temporarily unavailable. Please try again later. (E004)"), "model_overloaded", "retried", None, 2, 2, 0),
    ("together", "E005", failed("The input or output was flagged as sensitive. (E005)"), "model_content", "failed", CONTENT, 1, 1, 25),
    ("together", "NSFW", failed("NSFW content detected. Try running it again, or try a different prompt."), "model_content", "failed", CONTENT, 1, 1, 25),
    ("together", "CUDA", failed("CUDA out of memory. Tried to allocate 2.00 GiB"), "model_failed", "retried", None, 2, 2, 0),
    ("together", "CUDA, each time", failed("CUDA out of memory. Tried to allocate 2.00 GiB", -1), "model_failed", "failed", FAILED, 2, 2, 25),
    ("together", "an exception of the model", failed("ValueError: Image must be provided"), "model_error", "failed", ERROR, 1, 1, 25),
    ("together", "no text", failed(""), "model_failed", "retried", None, 2, 2, 0),
    ("together", "null", failed(None, -1), "model_failed", "failed", FAILED, 2, 2, 25),
    ("together", "canceled by its deadline", {"faults": [fault("create", {"final": "canceled"})]}, "model_timeout", "retried", None, 2, 2, 0),
    ("together", "canceled, each time", {"faults": [fault("create", {"final": "canceled"}, -1)]}, "model_timeout", "failed", SLOW, 2, 2, 25),
    ("together", "aborted before it started", {"faults": [fault("create", {"final": "aborted"})]}, "model_busy", "retried", None, 2, 2, 0),
    ("together", "the second step fails once", two_steps(fault("create", {"final": "failed", "error": "(code: PA)"}, skip=1)),
     "model_busy", "retried", None, 2, {"paint": 1, "sculpt": 2}, 0),
    ("together", "the second step is refused", two_steps(fault("create", {"status": 422}, skip=1)),
     "service_refused", "failed", REFUSED, 1, {"paint": 1}, 25),
    ("together", "the first step's output is no image", two_steps(fault("create", {"output": {"video": None}})),
     "output_missing", "failed", NO_MESH, 1, {"paint": 1}, 25),
    ("together", "read too early: 404", polled({"status": 404}, 2), None, "done", None, 1, 1, 0),
    # Bad jobs.
    ("together", "no prompt", data({}), "prompt_missing", "failed", NOTHING, 1, 0, 25),
    ("together", "an empty prompt", data({"prompt": ""}), "prompt_missing", "failed", NOTHING, 1, 0, 25),
    ("together", "a prompt that is null", data({"prompt": None, "input_image_url": None}), "prompt_missing", "failed", NOTHING, 1, 0, 25),
    ("together", "a prompt that is a number", data({"prompt": 5}), "input_invalid", "failed", UNREADABLE, 1, 0, 25),
    ("together", "an image that is a list", data({"prompt": "x", "input_image_url": ["https://x.example/"]}), "input_invalid", "failed", UNREADABLE, 1, 0, 25),
    ("together", "input_data is a list", data([]), "input_invalid", "failed", UNREADABLE, 1, 0, 25),
    ("together", "input_data is text", data('"a chair"'), "input_invalid", "failed", UNREADABLE, 1, 0, 25),
    ("together", "input_data is JSON's null", inserted(input_data="null"), "input_invalid", "failed", UNREADABLE, 1, 0, 25),
    ("together", "input_data is NULL", inserted(input_data=None), "input_invalid", "failed", UNREADABLE, 1, 0, 25),
    ("together", "no user", inserted(user_id=None), "asset_missing", "failed", NO_ASSET, 1, 0, 0),
    ("together", "no project", inserted(project_id=None), "asset_missing", "failed", NO_ASSET, 1, 0, 25),
    ("together", "no asset", inserted(asset_id=None), "asset_missing", "failed", NO_ASSET, 1, 0, 0),
    ("together", "an asset that does not exist", inserted(asset_id="5f6f9d1e-3b0c-4a53-9a39-0f6f5f0f8a11"), "asset_missing", "failed", NO_ASSET, 1, 0, 0),
    ("together", "another user's asset", inserted(asset_id="theirs"), "asset_missing", "failed", NO_ASSET, 1, 0, 0),
    ("together", "another type", inserted(type="export"), None, "left", None, 0, 0, 0),
    ("together", "another type, and no asset", inserted(type="export", asset_id=None, user_id=None), None, "left", None, 0, 0, 0),
    ("together", "an image with another scheme", image("ftp://images.example/x.png"), "image_forbidden", "failed", BAD_IMAGE, 1, 0, 25),
    ("together", "an image that is a file", image("file:///etc/passwd"), "image_forbidden", "failed", BAD_IMAGE, 1, 0, 25),
    ("together", "an image that is data", image("data:image/png;base64,AAAA"), "image_forbidden", "failed", BAD_IMAGE, 1, 0, 25),
    ("together", "an image URL with a line break", image("https://images.example/x.png\r\nX: y"), "image_forbidden", "failed", BAD_IMAGE, 1, 0, 25),
    ("together", "an image of another user", image("{other}/in/put.png"), "image_forbidden", "failed", BAD_IMAGE, 1, 0, 25),
    ("together", "an image by way of another user", image("{user}/../{other}/put.png"), "image_forbidden", "failed", BAD_IMAGE, 1, 0, 25),
    ("together", "an image that is not there", image("{user}/none.png"), "image_missing", "failed", NO_IMAGE, 1, 0, 25),
    ("together", "a prompt of 1 MB", long_prompt(), "input_too_large", "failed", TOO_LARGE, 1, 0, 25),
    ("together", "a prompt of 32 KiB", prompt("a long prompt," * 2340), None, "done", None, 1, {"paint": 1, "sculpt": 1}, 0),
    ("together", "a prompt of blanks", blanks(), "prompt_missing", "failed", NOTHING, 1, 0, 25),
    ("together", "an image URL without a host", image("http:///x.png"), "image_forbidden", "failed", BAD_IMAGE, 1, 0, 25),
    ("together", "a prompt of quotes, ${…}, JSON and all planes", prompt(PLANES), None, "done", None, 1, {"paint": 1, "sculpt": 1}, 0),
    ("together", "older than max_age", sql("UPDATE public.jobs SET created_at = now() - interval '2 days' WHERE id = $1"), "too_old", "failed", OLD, 1, 0, 25),
    ("together", "taken over five times", sql("UPDATE public.jobs SET crashes = 5 WHERE id = $1"), "crashed", "failed", NO_WORK, 1, 0, 25),
    ("together", "past job_timeout", sql("UPDATE public.jobs SET worked = '29 min 58 s' WHERE id = $1", faults=[
        fault("create", {"processing_ms": 600000}, -1)]), "timeout", "failed", TIMEOUT, 1, 1, 25),
    ("together", "bought or not, nobody knows", unknown_purchase(), "purchase_unknown", "failed", UNKNOWN, 1, 0, 25),
    ("together", "a job deleted while it runs", meanwhile("DELETE FROM public.jobs WHERE id = $1", 600000), None, "gone", None, 1, 1, 25),
    ("together", "an asset deleted while it runs", meanwhile("DELETE FROM public.mesh_assets WHERE id = $2", 600000), None, "canceled", None, 1, 1, 25),
    ("together", "a profile deleted while it runs", own_user(meanwhile(
        "DELETE FROM public.profiles p USING public.jobs j WHERE p.id = j.user_id AND j.id = $1")), None, "done", None, 1, 1, 0),
    ("together", "a profile deleted, and then it fails", own_user(meanwhile(
        "DELETE FROM public.profiles p USING public.jobs j WHERE p.id = j.user_id AND j.id = $1",
        faults=[fault("create", {"processing_ms": 8000, "final": "failed", "error": "ValueError"}, -1)])), "model_error", "failed", ERROR, 1, 1, 0),
    # Bad outputs.
    ("together", "output: not what the step's pointer names", output({"mesh": OWN}), "output_missing", "failed", NO_MESH, 1, 1, 25),
    ("together", "output: a string, and a pointer", output(OWN), "output_missing", "failed", NO_MESH, 1, 1, 25),
    ("together", "output: an array where it points to", output({"model_file": [OWN]}), None, "done", None, 1, 1, 0),
    ("shapes", "output: a string", output(OWN), None, "done", None, 1, 1, 0),
    ("shapes", "output: an array", output([OWN]), None, "done", None, 1, 1, 0),
    ("shapes", "output: an object", output({"mesh": OWN, "color_video": DEAD}), None, "done", None, 1, 1, 0),
    ("shapes", "output: nested", output({"video": None, "files": [{"thing": OWN}]}), None, "done", None, 1, 1, 0),
    ("shapes", "output: two candidates", output({"a": DEAD, "mesh": None, "model_file": OWN}), None, "done", None, 1, 1, 0),
    ("shapes", "output: two, and neither has a name that is known", output(["https://x.example/1.png", "https://x.example/2.png"]),
     "output_missing", "failed", NO_MESH, 1, 1, 25),
    ("shapes", "output: data URI", output({"model_file": "data:model/gltf-binary;base64,Z2xURgIAAAAMAAAA"}), "output_missing", "failed", NO_MESH, 1, 1, 25),
    ("shapes", "output: data URI, as a string", output("data:model/gltf-binary;base64,Z2xURgIAAAAMAAAA"), "output_missing", "failed", NO_MESH, 1, 1, 25),
    ("shapes", "output: null", output(None), "output_missing", "failed", NO_MESH, 1, 1, 25),
    ("shapes", "output: a member that is null", output({"model_file": None}), "output_missing", "failed", NO_MESH, 1, 1, 25),
    ("shapes", "output: an empty array", output([]), "output_missing", "failed", NO_MESH, 1, 1, 25),
    ("shapes", "output: a number", output(7), "output_missing", "failed", NO_MESH, 1, 1, 25),
    ("shapes", "output: a path", output({"model_file": "xezq/x/output.glb"}), "output_missing", "failed", NO_MESH, 1, 1, 25),
    ("together", "not a GLB", served({"file": "not_glb"}), "asset_invalid", "failed", BROKEN, 1, 1, 25),
    ("together", "truncated", served({"file": "truncated"}), "asset_invalid", "failed", BROKEN, 1, 1, 25),
    ("together", "HTML", served({"file": "html"}), "asset_invalid", "failed", BROKEN, 1, 1, 25),
    ("together", "empty", served({"file": "empty"}), "asset_invalid", "failed", BROKEN, 1, 1, 25),
    ("together", "without Content-Length", served({"file": "no_length"}), None, "done", None, 1, 1, 0),
    ("together", "a length that lies", served({"file": "wrong_length"}, 1), "output_unreached", "waited", None, 1, 1, 0),
    ("together", "broken off", served({"cut": 5000}, 1), "output_unreached", "waited", None, 1, 1, 0),
    ("together", "the file host is busy", served({"status": 503}, 2), "output_unreached", "waited", None, 1, 1, 0),
    ("together", "damaged on its way", served({"file": "bad_hash"}, 1), "output_damaged", "retried", None, 2, 1, 0),
    ("together", "a host that is not allowed", output({"model_file": DEAD}), "output_forbidden", "failed", ELSEWHERE, 1, 1, 25),
    ("together", "an address of the cloud's own", output({"model_file": "http://169.254.169.254/latest/meta-data"}), "output_forbidden", "failed", ELSEWHERE, 1, 1, 25),
    ("together", "a URL with a password", output({"model_file": "http://u:p@127.0.0.1/x.glb"}), "output_forbidden", "failed", ELSEWHERE, 1, 1, 25),
    ("together", "a redirect to 127.0.0.1", served({"redirect": "http://127.0.0.1:9/x.glb"}), "output_forbidden", "failed", ELSEWHERE, 1, 1, 25),
    ("together", "a redirect to another scheme", served({"redirect": "ftp://127.0.0.1/x.glb"}), "output_forbidden", "failed", ELSEWHERE, 1, 1, 25),
    ("together", "a redirect that is followed", served({"redirect": "{path}?again"}, 1), None, "done", None, 1, 1, 0),
    ("together", "redirects in a loop", served({"redirect": "{path}"}), "output_forbidden", "failed", ELSEWHERE, 1, 1, 25),
    ("together", "its data was removed", polled({"status": 200, "body": {"status": "succeeded", "output": None, "data_removed": True}}),
     "output_gone", "retried", None, 2, 2, 0),
    ("together", "its file is gone", served({"status": 404}, 1), "output_gone", "retried", None, 2, 2, 0),
    # The store, for this object alone.
    ("together", "store: 413", storage(413, "EntityTooLarge"), "store_too_large", "failed", STORE_TOO_LARGE, 1, 1, 25),
    ("together", "store: a name it does not take", storage(400, "InvalidKey"), "store_refused", "failed", NOT_STORED, 1, 1, 25),
    # The database, for this row alone.
    ("together", "the asset is locked for a while", locked(), None, "done", None, 1, 1, 0),
    # max_size is 600 KiB here.
    ("small", "larger than max_size", prompt("large "), "asset_too_large", "failed", LARGE, 1, {"paint": 1, "large": 1}, 25),
    ("small", "larger than max_size, without a length", {**prompt("endless "), "faults": [fault("file", {"file": "no_length"}, -1)]},
     "asset_too_large", "failed", LARGE, 1, {"paint": 1, "large": 1}, 25),
    ("spool", "no room in the spool", no_room(), "spool_full", "waited", None, 1, 1, 0),
    # What holds the lane of purchases: all wait, nothing is counted.
    ("create", "429, retry_after in the body", refused(429, {"detail": "Request was throttled.", "status": 429, "retry_after": 1}), "service_throttled", "waited", None, 1, 1, 0),
    ("create", "429, ~1s in its text", refused(429, {"detail": "Request was throttled. Your rate limit resets in ~1s."}), "service_throttled", "waited", None, 1, 1, 0),
    ("create", "429, the old text", refused(429, {"detail": "Request was throttled. Expected available in 1 second."}), "service_throttled", "waited", None, 1, 1, 0),
    ("create", "429, Retry-After", refused(429, "slow down", headers={"Retry-After": "1"}), "service_throttled", "waited", None, 1, 1, 0),
    ("create", "429, and nothing else", refused(429, ""), "service_throttled", "waited", None, 1, 1, 0),
    ("create", "402", refused(402), "service_credit", "waited", None, 1, 1, 0),
    ("create", "401", refused(401), "service_auth", "waited", None, 1, 1, 0),
    ("create", "403", refused(403, {"detail": "not yours"}), "service_auth", "waited", None, 1, 1, 0),
    # Answers that may hide a purchase: it is looked for, and not bought again.
    ("create", "500, yet bought", refused(500, done=True), "service_unreached", "waited", None, 1, 1, 0),
    ("create", "502 from an edge, yet bought", refused(502, HTML, done=True), "service_unreached", "waited", None, 1, 1, 0),
    ("create", "403 from an edge, yet bought", refused(403, "error code: 1010", done=True), "service_unreached", "waited", None, 1, 1, 0),
    ("create", "200 with HTML, yet bought", refused(200, HTML, done=True), "service_unreached", "waited", None, 1, 1, 0),
    ("create", "200 without an id, yet bought", refused(200, {"status": "starting"}, done=True), "service_unreached", "waited", None, 1, 1, 0),
    ("create", "the answer is cut", {"faults": [fault("create", {"cut": 40})]}, "service_unreached", "waited", None, 1, 1, 0),
    ("create", "the answer is lost", {"faults": [fault("create", {"lose_answer": True})]}, "service_unreached", "waited", None, 1, 1, 0),
    ("unsure", "500, not bought", refused(500), "service_unreached", "waited", None, 1, 1, 0),
    ("unsure", "503 from an edge, not bought", refused(503, HTML), "service_unreached", "waited", None, 1, 1, 0),
    ("unsure", "closed without an answer", {"faults": [fault("create", {"close": True})]}, "service_unreached", "waited", None, 1, 1, 0),
    # What holds the lane of reads.
    ("poll", "read: 503", polled({"status": 503}), "service_unreached", "waited", None, 1, 1, 0),
    ("poll", "read: HTML from an edge", polled({"status": 502, "body": HTML}), "service_unreached", "waited", None, 1, 1, 0),
    ("poll", "read: 200 with HTML", polled({"status": 200, "body": HTML}), "service_unreached", "waited", None, 1, 1, 0),
    ("poll", "read: cut", polled({"cut": 40}), "service_unreached", "waited", None, 1, 1, 0),
    ("poll", "read: 429", polled({"status": 429}), "service_throttled", "waited", None, 1, 1, 0),
    ("poll", "read: 401", polled({"status": 401}), "service_auth", "waited", None, 1, 1, 0),
    # What holds the store's lane: the file waits for it.
    ("store", "store: 400 with 503, read-only", storage(503, "DatabaseReadOnly"), "store_unreached", "waited", None, 1, 1, 0),
    ("store", "store: 400 with 503, locked", storage(503, "LockTimeout"), "store_unreached", "waited", None, 1, 1, 0),
    ("store", "store: 400 with 423", storage(423, "ResourceLocked"), "store_unreached", "waited", None, 1, 1, 0),
    ("store", "store: 409, a duplicate", storage(409, "KeyAlreadyExists"), "store_unreached", "waited", None, 1, 1, 0),
    ("store", "store: 429", stored(429, {"message": "too_many_connections"}), "store_unreached", "waited", None, 1, 1, 0),
    ("store", "store: 500", stored(500, {"statusCode": "500", "message": "x", "code": "InternalError"}), "store_unreached", "waited", None, 1, 1, 0),
    ("store", "store: 544", stored(544, {"statusCode": "544", "message": "x", "code": "DatabaseTimeout"}), "store_unreached", "waited", None, 1, 1, 0),
    ("store", "store: not JSON at all", stored(520, "error code: 520"), "store_unreached", "waited", None, 1, 1, 0),
    ("store", "store: a 400 that is not JSON", stored(400, HTML), "store_unreached", "waited", None, 1, 1, 0),
    ("store", "store: the answer is lost", {"faults": [fault("upload", {"lose_answer": True})]}, None, "done", None, 1, 1, 0),
    ("store", "store: 402", stored(402, {"message": "exceeded_egress_quota"}), "store_closed", "waited", None, 1, 1, 0),
    ("store", "store: 540", stored(540, "Project paused"), "store_closed", "waited", None, 1, 1, 0),
    ("store", "store: 403", storage(403, "AccessDenied", "signature verification failed"), "store_auth", "waited", None, 1, 1, 0),
    ("store", "store: 401", stored(401, {"message": "Invalid API key"}), "store_auth", "waited", None, 1, 1, 0),
    ("store", "store: 415", storage(415, "InvalidMimeType"), "store_type", "waited", None, 1, 1, 0),
    ("store", "store: no such bucket", storage(404, "NoSuchBucket"), "store_bucket", "waited", None, 1, 1, 0),
    ("store", "store: signing, 503", {"make": lambda lab, tag: lab.insert_job(tag, put_image(lab, tag)), "faults": [fault("sign", {"status": 503})]},
     "store_unreached", "waited", None, 1, 1, 0),
]]


def put_image(lab, name):
    """A picture of the user's own in the bucket."""
    path = f"{lab.user}/{name}.png"
    request = urllib.request.Request(f"{lab.sim.url}/storage/v1/object/user_assets/{path}", b"png", {
        "Authorization": "Bearer eyJ.a.b", "Content-Type": "image/png"}, method="POST")
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request).read()
    return path


# --- provoking ---------------------------------------------------------------------------------

SETTINGS = {
    "worker.retry_base": "50ms", "worker.retry_max": "200ms", "worker.max_attempts": "3", "replicate.create_timeout": "5s",
    "replicate.poll_max": "400ms", "database.lease": "9s", "log.level": "debug",
}
STEPS = {
    "pipeline text.steps": "paint, large", "pipeline image.steps": "sculpt",
    "step paint.model": "black-forest-labs/flux-schnell", "step paint.input.prompt": "${prompt}" + END, "step paint.output": "/0",
    "step large.model": SMALL, "step large.input.image": "${image}", "step large.input.seed": "${seed}",
    "step sculpt.model": TRELLIS, "step sculpt.input.images": '["${image}"]', "step sculpt.input.generate_model": "true",
    "step sculpt.input.seed": "${seed}", "step sculpt.output": "/model_file",
}
GROUPS = {
    "together": {},
    "shapes": {**STEPS, "step sculpt.output": None},
    "small": {"asset.max_size": "600KiB", **STEPS},
    "spool": {},
    "create": {}, "unsure": {}, "poll": {}, "store": {},
}


class Row:
    """A case, its job, and what is beside it."""

    def __init__(self, lab, case, number):
        self.lab, self.case, self.tag = lab, case, f"case{number:03}."
        self.good = None
        faults, later, asset = case.how.get("faults", ()), [], str(uuid.uuid4())
        make = case.how.get("make", lambda lab, tag: lab.insert_job(tag, f"{IMAGE}?{tag}", asset_id=asset))
        for script in faults: # there before the job is
            if script["endpoint"] == "upload" and "make" in case.how:
                later.append(script)
            else:
                lab.sim.control("POST", "faults", {**script, "match": asset if script["endpoint"] == "upload" else self.tag})
        self.job, self.asset = make(lab, self.tag)
        for script in later:
            lab.sim.control("POST", "faults", {**script, "match": self.asset})

    def during(self):
        """Once its prediction runs."""
        wait_for(lambda: any(p["status"] == "processing" for p in self.predictions()), 60, f"{self.case.name}: its prediction")
        self.case.how["during"](self.lab, self.job, self.asset)

    def purchases(self):
        return self.lab.query("SELECT step, prediction_id, state, finished_at IS NOT NULL FROM meshify.predictions WHERE job_id = %s ORDER BY n", self.job)

    def predictions(self):
        mine = {p for _, p, _, _ in self.purchases()}
        return [p for p in self.lab.sim.predictions() if p["id"] in mine]

    def ended(self):
        job = self.lab.job(self.job)
        if self.case.end == "gone":
            return job is None and all(p["status"] == "canceled" for p in self.predictions())
        return job["status"] in (("pending",) if self.case.end == "left" else ("done", "error", "canceled"))


def run_group(name, result):
    named = cases(TABLE, lambda case: case.name)
    chosen = [(i, case) for i, case in enumerate(TABLE) if case.group == name and case in named]
    if not chosen:
        return
    lab = Lab()
    lab.other = lab.add_user()
    lab.sim.config(starting_ms=0, processing_ms=100, model_bytes={"tencent/hunyuan3d-2": 900000} if name == "small" else None or {})
    rows = []
    if name in ("together", "shapes", "small", "spool", "unsure"):
        rows = [Row(lab, case, i) for i, case in chosen]
        good = lab.insert_job("good", f"{IMAGE}?good")[0]
        lab.started = lab.daemon(**SETTINGS, **GROUPS[name])
        for row in rows:
            row.good = good
        busy = [threading.Thread(target=row.during) for row in rows if "during" in row.case.how]
        for thread in busy:
            thread.start()
        for thread in busy:
            thread.join()
        for row in rows:
            wait_for(row.ended, 180, f"the end of '{row.case.name}'; {lab.job(row.job)}")
        wait_for(lambda: lab.job(good)["status"] == "done", 60, "the good job beside them")
    else:
        lab.started = lab.daemon(**SETTINGS, **GROUPS[name])
        for i, case in chosen:
            row = Row(lab, case, i)
            row.good = lab.insert_job("good", f"{IMAGE}?good{i}")[0]
            rows.append(row)
            wait_for(lambda row=row: row.ended() and lab.job(row.good)["status"] == "done", 120, f"the end of '{case.name}'")
    result[name] = rows


# --- what came of it ---------------------------------------------------------------------------

def words(row):
    """The words that its history and the log have for what happened to it: final, counted, uncounted."""
    lab = row.lab
    events = lab.query("SELECT event, detail ->> 'reason', detail ->> 'counted' FROM meshify.events WHERE job_id = %s ORDER BY at", row.job)
    final = [reason for event, reason, _ in events if event == "error"]
    counted = [reason for event, reason, c in events if event == "handed_back" and c == "true"]
    waited = {e.known.get("fault") for e in lab.started.events(job=row.job)} | {r for e, r, c in events if e == "handed_back" and c == "false"}
    if row.case.group == "poll": # only the lane speaks of reads that fail
        waited |= {re.search(r"\((\w+)\)", e.text).group(1) for e in lab.started.events("LANE_HELD", text="Lane poll")}
    return final, counted, waited


def check(row):
    lab, case = row.lab, row.case
    wrong = []

    def same(got, expected, what):
        if got != expected:
            wrong.append(f"{what}: {got!r}, not {expected!r}")
    job, asset = lab.job(row.job), lab.asset(row.asset) if row.asset else None
    final, counted, waited = words(row)
    status = {"failed": "error", "retried": "done", "waited": "done", "done": "done", "canceled": "canceled", "left": "pending", "gone": None}[case.end]
    same(job and job["status"], status, "status")
    bought = {}
    for step, prediction, _, _ in row.purchases():
        if prediction:
            bought[step] = bought.get(step, 0) + 1
    same(bought, case.bought if isinstance(case.bought, dict) else {"sculpt": case.bought} if case.bought else {}, "bought")
    same(float(lab.refunded(row.job)), float(case.refund), "refund")
    same(lab.value("SELECT count(*) > 1 FROM meshify.refunds WHERE job_id = %s", row.job), False, "two refunds")
    if job:
        same((job["error"] or None) if status == "error" or job["error"] else None, case.sentence, "sentence")
        same(job["attempts"], case.attempts, "attempts")
        same(job["completed_at"] is not None, case.end != "left", "completed")
    if asset and case.end != "gone" and case.word != "asset_missing":
        same(asset["status"], {"done": "done", "error": "error", "pending": "pending"}.get(status), "the asset")
    told = lab.query("SELECT type, message FROM public.notifications WHERE user_id = %s AND message LIKE %s", job["user_id"], f"%{case.sentence}%") \
        if job and case.sentence and job["user_id"] else [("error", f"Failed to generate 3D mesh: {case.sentence}")]
    same(("error", f"Failed to generate 3D mesh: {case.sentence}") in told, True, "the notification")
    same(final, [case.word] if case.end == "failed" else [], "the final word")
    same(set(counted) <= {case.word}, True, f"words of attempts {counted}")
    same(len(counted), case.attempts - 1 if case.attempts else 0, "attempts that were counted")
    if case.end == "waited":
        same(case.word in waited, True, f"its word among {waited}")
    if "text" in case.how and job:
        sent = [p["input"].get("prompt") for p in row.predictions()]
        same(case.how["text"] + row.tag + END in sent, True, "the prompt arrives to the byte")
    unsettled = [p for p in row.purchases() if p[1] and p[2] != "bought" and not p[3]]
    same(unsettled, [], "purchases that nobody closed")
    same(lab.job(row.good)["status"], "done", "the good job beside it")
    ok(not wrong, f"{case.name}: {case.word or ''} {case.end}", "\n".join([*wrong, *[li for li in lab.started.lines if row.job in li][-15:]]))


# --- what a held lane stops, and what it does not ---------------------------------------------------

HELD = {
    "service_throttled": {"status": 429, "body": {"detail": "Request was throttled. Your rate limit resets in ~1s.", "retry_after": 20},
                          "headers": {"Retry-After": "1"}},
    "service_credit": {"status": 402, "headers": {"Retry-After": "20"}},
    "service_auth": {"status": 401, "headers": {"Retry-After": "20"}},
}


def hold(word, said):
    """Purchases are refused for 20 s. `said` takes what is found: (is it so, what)."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=2000)
    status = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    status.bind(os.path.join(lab.dir, "notify"))
    texts = []

    def read(): # at once, as systemd does: who sends to a full socket waits
        while True:
            texts.append(status.recv(65536).decode())
    threading.Thread(target=read, daemon=True).start()
    daemon = lab.daemon(environment={"NOTIFY_SOCKET": os.path.join(lab.dir, "notify")}, **{**SETTINGS, "worker.job_timeout": "18s"})
    lab.sim.fault("create", {"processing_ms": 12000}, match="painted") # then its second step waits in the lane
    bought = [lab.insert_job("bought", f"{IMAGE}?bought")[0], lab.insert_job("painted")[0]]
    lab.wait_bought(2)
    lab.sim.fault("create", HELD[word], match="refused")
    refused_job = lab.insert_job("refused", f"{IMAGE}?refused")[0]
    begin = float(daemon.wait_event("LANE_HELD", text=rf"Lane create .*\({word}\)").fields["time"])
    sent = lab.sim.stats()["received"]["create"]
    later = lab.insert_job("later", f"{IMAGE}?later")[0]
    lab.wait_status(bought[0], "done", seconds=40)
    early = lab.value("SELECT extract(epoch FROM completed_at)::float8 FROM public.jobs WHERE id = %s", bought[0]) - begin
    said.append((early < 19, f"what was bought is polled, fetched and stored meanwhile ({early:.1f} s)"))
    wait_for(lambda: lab.value("SELECT count(*) FROM meshify.predictions WHERE step = 'paint' AND finished_at IS NOT NULL") == 1, 20, "the first step")
    said.append((lab.job(later)["attempts"] == 0 and lab.job(later)["status"] == "pending", "nothing new is claimed"))
    row = lab.job(refused_job)
    said.append(((row["status"], row["attempts"]) == ("pending", 0), "the refused job is back in the queue, uncounted"))
    said.append((lab.sim.stats()["received"]["create"] == sent, "nothing is bought"))
    wait_for(lambda: lab.value("SELECT held FROM meshify.workers"), 10, "the worker's row")
    shown = lab.ctl("status").stdout
    said.append((re.search(r"lane create held, tried again in \d+ s: HTTP", shown), f"status: lane, time and reason: {shown}"))
    for job in (*bought, refused_job, later):
        lab.wait_status(job, "done", seconds=40)
    late = time.time() - begin
    said.append((late > 19, f"the time it says beats the back-off, and its text and header ({late:.1f} s)"))
    said.append((lab.query("SELECT DISTINCT attempts FROM public.jobs") == [(1,)], "nobody loses an attempt, nor the time that he waited"))
    said.append((daemon.told("LANE_HELD", text="Lane create") == 1, "the log says it once"))
    wait_for(lambda: "held" not in texts[-1], 20, "STATUS without a held lane")
    told = [t for t in texts if re.search(r"STATUS=.*; lane create held until \d\d:\d\d:\d\d: HTTP 4", t)]
    said.append((told, f"STATUS too, until it is open again: {texts[-3:]}"))


@test
def the_lanes():
    result = {word: [] for word in HELD}
    threads = []
    for word, said in result.items():
        def run(word=word, said=said):
            try:
                hold(word, said)
            except Exception as error:  # pylint: disable=broad-except
                said.append((False, repr(error)))
        threads.append(threading.Thread(target=run))
        threads[-1].start()
    for thread in threads:
        thread.join()
    for word, said in result.items():
        for good, what in said:
            ok(good, f"{word}: {what.splitlines()[0]}", what)


@test
def the_table():
    result, threads = {}, []
    for name in [a for a in sys.argv[1:] if a in GROUPS] or GROUPS: # the names of groups: only these
        def run(name=name):
            try:
                run_group(name, result)
            except Exception as error:  # pylint: disable=broad-except
                result[name] = error
        threads.append(threading.Thread(target=run))
        threads[-1].start()
    for thread in threads:
        thread.join()
    is_(len({c.name for c in TABLE}), len(TABLE), "each case has a name of its own")
    for name, rows in result.items():
        if not ok(isinstance(rows, list), f"the cases '{name}' come to an end", repr(rows)):
            continue
        lab = rows[0].lab
        for row in rows:
            check(row)
        known = {p for (p,) in lab.query("SELECT prediction_id FROM meshify.predictions WHERE prediction_id IS NOT NULL")}
        is_({p["id"] for p in lab.sim.predictions()} - known, set(), f"{name}: no prediction that no row explains")
        shown = lab.query("SELECT DISTINCT error FROM public.jobs WHERE error IS NOT NULL")
        ok(all(re.fullmatch(r"[A-Z][^\r\n<>{}]{9,399}", s) for (s,) in shown), f"{name}: sentences for users", shown)


main()
