#!/usr/bin/python3
"""The store as it is in the field: gateways before it, names of images, answers that get lost, buckets that refuse."""

import gzip
import http.server
import json
import socketserver
import threading
import time
import urllib.parse
import urllib.request

from lab import IMAGE, TRELLIS, Lab, is_, main, ok, test, wait_for

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
KEY = {"Authorization": "Bearer eyJ.a.b"}
HTML = "<html><body>Please log in</body></html>"


def quick_lab(**keys):
    """One step, and everything fast."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=50, glb_bytes=20000)
    lab.daemon(**{"worker.retry_base": "50ms", "worker.retry_max": "200ms", "log.level": "debug", "pipeline image.steps": "sculpt",
                  "step sculpt.model": TRELLIS, "step sculpt.input.images": '["${image}"]', "step sculpt.input.generate_model": "true",
                  "step sculpt.input.seed": "${seed}", "step sculpt.output": "/model_file", **keys})
    return lab


def upload(lab, key, data=b"png"):
    quoted = urllib.parse.quote(key, safe="/")
    OPENER.open(urllib.request.Request(f"{lab.sim.url}/storage/v1/object/user_assets/{quoted}", data,
                                       {**KEY, "Content-Type": "image/png"}, method="POST")).close()
    return key


def change_bucket(lab, **options):
    OPENER.open(urllib.request.Request(f"{lab.sim.url}/storage/v1/bucket/user_assets", json.dumps(options).encode(),
                                       {**KEY, "Content-Type": "application/json"}, method="PUT")).close()


def object_of(lab, asset):
    """What lies in the store of this asset; None: nothing."""
    return next((o for o in lab.sim.objects() if asset in o["path"]), None)


def purchases(lab, tag):
    return len([p for p in lab.sim.predictions() if tag in json.dumps(p["input"])])


def told(lab, *names, **how):
    return sum(d.told(*names, **how) for d in lab.daemons)


# --- what an upload is answered -------------------------------------------------------------------


@test
def an_answer_is_no_proof():
    """200 with HTML, {}, another key, 204: whether the object is there or not decides."""
    lab = quick_lab()
    answers = {"html": {"status": 200, "body": HTML}, "empty": {"status": 200, "body": {}}, "nothing": {"status": 204, "body": ""},
               "other": {"status": 200, "body": {"Key": "user_assets/other.glb", "Id": "1"}}, "array": {"status": 200, "body": []}}
    for done in (False, True):
        for tag, answer in answers.items():
            job, asset = lab.insert_job(tag, f"{IMAGE}?{tag}-{done}-")
            before = lab.sim.stats()["requests"]["upload"]
            lab.sim.fault("upload", {**answer, "done": done}, match=asset, count=1)
            lab.wait_status(job, "done")
            o = object_of(lab, asset)
            is_((o and o["writes"], purchases(lab, f"{tag}-{done}-")), (1, 1), f"{tag}, {'written' if done else 'not written'}: the object is there, once, bought once")
            sent = sum(lab.sim.stats()["requests"]["upload"].values()) - sum(before.values())
            is_(sent, 1 if done else 2, f"{tag}, {'written: sent once' if done else 'not written: sent again'}")
    lab.sim.stop()


@test
def a_gateway_before_the_store():
    """404 and 405 in other words than Storage's, and its own "InvalidRequest", hold the lane: nobody's job ends for it."""
    lab = quick_lab()
    no_route = {"message": "no Route matched with those values"}
    for tag, do in (("route", {"status": 404, "body": no_route}), ("404", {"status": 404, "body": HTML}), ("405", {"status": 405, "body": {"message": "x"}}),
                    ("request", {"status": 404, "body": {"statusCode": "404", "error": "Not Found", "message": "Route", "code": "InvalidRequest"}}),
                    ("403", {"status": 403, "body": HTML}), ("302", {"status": 302, "body": HTML})):
        job, asset = lab.insert_job(tag, f"{IMAGE}?gate-{tag}-")
        lab.sim.fault("upload", do, match=asset, count=1)
        lab.wait_status(job, "done")
        is_((lab.job(job)["attempts"], purchases(lab, f"gate-{tag}-"), lab.refunded(job)), (1, 1, 0), f"{tag} to an upload: it waits, and is done")
        path = upload(lab, f"{lab.user}/gate-{tag}.png")
        lab.sim.fault("sign", do, match=path, count=1)
        job, _ = lab.insert_job(tag, path)
        lab.wait_status(job, "done")
        is_((lab.job(job)["attempts"], lab.refunded(job)), (1, 0), f"{tag} to a signature: it waits, and is done")
    ok(told(lab, "LANE_HELD"), "the lane was held, which is said")
    lab.sim.stop()


@test
def what_was_received_is_not_sent_again():
    lab = quick_lab()
    for tag, do in (("lost", {"lose_answer": True}), ("gateway", {"status": 504, "body": HTML, "done": True}), ("busy", {"status": 500, "done": True})):
        job, asset = lab.insert_job(tag, f"{IMAGE}?{tag}-")
        lab.sim.fault("upload", do, match=asset, count=1)
        lab.wait_status(job, "done")
        is_(object_of(lab, asset)["writes"], 1, f"{tag}: asked for, and not sent again")
    job, asset = lab.insert_job("left", f"{IMAGE}?left-")
    lab.sim.fault("upload", {"close": True}, match=asset, count=1)
    lab.wait_status(job, "done")
    is_(object_of(lab, asset)["writes"], 1, "what did not arrive is sent again")
    lab.sim.stop()


@test
def an_object_says_whose_it_is():
    lab = quick_lab()
    job, asset = lab.insert_job("whose", f"{IMAGE}?whose-")
    lab.wait_status(job, "done")
    o = object_of(lab, asset)
    is_(o["metadata"], {"sha256": o["sha256"], "job": job, "prediction": lab.sim.predictions()[0]["id"]}, "sha256, job and prediction")
    is_(o["cache_control"], "max-age=3600", "and how long it may be kept")
    lab.sim.stop()


# --- buckets --------------------------------------------------------------------------------------


@test
def a_bucket_that_refuses():
    lab = quick_lab()
    change_bucket(lab, allowed_mime_types=["image/png"])
    job, asset = lab.insert_job("type", f"{IMAGE}?type-")
    wait_for(lambda: told(lab, "LANE_HELD", text="Lane store .*store_type"), 60, "the lane to be held")
    second, _ = lab.insert_job("second", f"{IMAGE}?second-")
    is_(lab.job(job)["status"], "running", "a refused type: it waits")
    change_bucket(lab, allowed_mime_types=["image/png", "model/gltf-binary"])
    for j, tag in ((job, "type-"), (second, "second-")):
        lab.wait_status(j, "done")
        is_((lab.job(j)["attempts"], purchases(lab, tag), lab.refunded(j)), (1, 1, 0), f"{tag} is done once the bucket is mended, bought once")
    change_bucket(lab, allowed_mime_types=None, file_size_limit=100000)
    lab.sim.config(model_bytes={"firtoz/trellis": 400000})
    large, asset = lab.insert_job("large", f"{IMAGE}?large-")
    row = lab.wait_status(large, "error")
    is_((row["error"], lab.refunded(large), purchases(lab, "large-")), ("The mesh is larger than the store takes.", 25, 1), "a file above the limit: final, with a sentence and a refund")
    lab.sim.config(model_bytes={"firtoz/trellis": 20000})
    began = time.monotonic()
    good, _ = lab.insert_job("small", f"{IMAGE}?small-")
    lab.wait_status(good, "done")
    ok(time.monotonic() - began < 20, "and the next one goes on at once", time.monotonic() - began)
    lab.sim.stop()


# --- images ---------------------------------------------------------------------------------------

NAMES = ("a b", "a+b", "a&b", "a=b", "a$b", "a@b", "a;b", "a:b", "a,b", "a?b", "a?token=b", "(a) b'!*")


@test
def names_of_images():
    """What is handed to Replicate is fetched, as Replicate does."""
    lab = quick_lab()
    jobs = {}
    for i, name in enumerate(NAMES):
        key = upload(lab, f"{lab.user}/{i}/{name}.png", name.encode())
        jobs[name] = lab.insert_job("x", key)[0]
    for name in ("a#b", "a%b", "ä"):
        jobs[name] = lab.insert_job("x", f"{lab.user}/{name}.png")[0]
    for name in NAMES:
        lab.wait_status(jobs[name], "done")
    urls = [p["input"]["images"][0] for p in lab.sim.predictions()]
    is_(sorted(OPENER.open(u).read().decode() for u in urls), sorted(NAMES), "each signed URL gives its image")
    for name in ("a#b", "a%b", "ä"):
        row = lab.wait_status(jobs[name], "error")
        is_((row["error"][:37], lab.refunded(jobs[name])), ("The reference image cannot be used. P", 25), f"{name!r} can be no key: it fails unbought")
    lab.sim.stop()


@test
def one_image_holds_nobody():
    lab = quick_lab(**{"worker.max_attempts": "5"})
    odd = upload(lab, f"{lab.user}/odd.png")
    lab.sim.fault("sign", {"status": 200, "body": [{"error": None, "path": odd, "signedURL": "https://evil.example/x y"}]}, match="odd.png", count=-1)
    bad, _ = lab.insert_job("odd", odd)
    wait_for(lambda: any(f["hits"] for f in lab.sim.control("GET", "faults")), 60, "the odd answer")
    began = time.monotonic()
    good = [lab.insert_job("good", upload(lab, f"{lab.user}/good-{i}.png"))[0] for i in range(5)]
    for job in good:
        lab.wait_status(job, "done")
    ok(time.monotonic() - began < 20, "jobs beside it are done in their usual time", time.monotonic() - began)
    row = lab.wait_status(bad, "error")
    is_((row["error"], row["attempts"], lab.refunded(bad)), ("The reference image could not be fetched. Please upload it again.", 3, 25), "its own job ends, refunded")
    is_(told(lab, "LANE_HELD"), 0, "no lane was held")
    lab.sim.stop()


@test
def what_is_missing():
    """A list of signed URLs does not tell a missing image from a bucket that the key may not see."""
    lab = quick_lab()
    job, _ = lab.insert_job("none", f"{lab.user}/none.png")
    is_(lab.wait_status(job, "error")["error"], "The reference image was not found. Please upload it again.", "an image that is not there")
    path = upload(lab, f"{lab.user}/there.png")
    lab.sim.fault("sign", {"status": 200, "body": [{"error": "Either the object does not exist or you do not have access to it", "path": path,
                                                    "signedURL": None}]}, match="there.png", count=1)
    lab.sim.fault("bucket", {"status": 400, "body": {"statusCode": "404", "error": "Bucket not found", "message": "Bucket not found", "code": "NoSuchBucket"}}, count=1)
    job, _ = lab.insert_job("there", path)
    lab.wait_status(job, "done")
    is_((lab.job(job)["attempts"], told(lab, "LANE_HELD", text="Lane store .*store_bucket")), (1, 1), "a bucket that is not seen: it waits")
    lab.sim.stop()


@test
def a_key_that_changes():
    """A key that is refused after a file was begun: /object/info answers it as if there were no bucket, the upload says what it is."""
    lab = quick_lab()
    lab.sim.config(storage_key="eyJ.an.other")
    job, _ = lab.insert_job("key", IMAGE)
    wait_for(lambda: lab.sim.stats()["received"]["info"] >= 2, 60, "two tries again")
    wait_for(lambda: told(lab, "LANE_HELD", text="Lane store"), 60, "the lane's line")
    is_((told(lab, "LANE_HELD", text="Lane store .*store_auth"), told(lab, text="store_bucket")), (1, 0), "it is the key, each time")
    lab.sim.config(storage_key=None)
    lab.wait_status(job, "done")
    is_(lab.job(job)["attempts"], 1, "with the right one it is done")
    lab.sim.stop()


@test
def seen_from_outside():
    """A store inside a network signs for an address that Replicate can reach."""
    lab = quick_lab(**{"storage.public_url": "https://shop.example/"})
    path = upload(lab, f"{lab.user}/pic ture.png")
    job, _ = lab.insert_job("outside", path)
    lab.wait_status(job, "done")
    (url,) = lab.sim.predictions()[0]["input"]["images"]
    ok(url.startswith(f"https://shop.example/storage/v1/object/sign/user_assets/{lab.user}/pic%20ture.png?token="), "the image's URL begins with public_url", url)
    is_(OPENER.open(url.replace("https://shop.example", lab.sim.url)).read(), b"png", "and is good there")
    lab.sim.stop()


# --- the way to the store ---------------------------------------------------------------------------


class Gateway(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """Stands before the store. pause: seconds for which it reads no more of an upload; packed: answers come by gzip."""
    daemon_threads = True

    def __init__(self, lab, pause=0.0, packed=False):
        super().__init__(("127.0.0.1", 0), Handler)
        self.lab, self.pause, self.packed, self.uploads, self.refuse = lab, pause, packed, [], None
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def serve(self):
        gate, length = self.server, int(self.headers.get("Content-Length") or 0)
        body, is_upload = bytearray(), self.command == "POST" and "/object/user_assets" in self.path
        if is_upload:
            gate.uploads.append(self.path)
        while len(body) < length:
            more = self.rfile.read(min(65536, length - len(body)))
            if not more:
                return
            body += more
            if is_upload and gate.pause and len(body) >= 65536:
                pause, gate.pause = gate.pause, 0
                time.sleep(pause)
        headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection", "accept-encoding")}
        try:
            answer = OPENER.open(urllib.request.Request(gate.lab.sim.url + self.path, bytes(body) or None, headers, method=self.command))
        except urllib.error.HTTPError as error:
            answer = error
        text = answer.read()
        if gate.packed:
            text = gzip.compress(text)
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers.get("Content-Type") or "text/plain")
        if gate.packed:
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_DELETE = do_HEAD = serve


def behind(pause=0.0, packed=False, **sim):
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=50, **{"glb_bytes": 20000, **sim})
    gate = Gateway(lab, pause, packed)
    lab.daemon(**{"log.level": "debug", "storage.url": gate.url, "pipeline image.steps": "sculpt", "step sculpt.model": TRELLIS,
                  "step sculpt.input.images": '["${image}"]', "step sculpt.input.generate_model": "true", "step sculpt.input.seed": "${seed}",
                  "step sculpt.output": "/model_file"})
    return lab, gate


@test
def a_peer_that_pauses():
    """For longer than the time-out of the request that buys; the bytes that it does not take pile up on our side."""
    lab, gate = behind(pause=13, glb_bytes=20000000)
    job, asset = lab.insert_job("pause", f"{IMAGE}?pause-")
    lab.wait_status(job, "done", seconds=120)
    is_((len(gate.uploads), object_of(lab, asset)["writes"]), (1, 1), "it goes on where it was: one upload")
    gate.shutdown()
    lab.sim.stop()


@test
def packed_answers():
    """A gateway packs what it hands on, though nobody asked for it."""
    lab, gate = behind(packed=True)
    path = upload(lab, f"{lab.user}/packed.png")
    job, asset = lab.insert_job("packed", path)
    lab.wait_status(job, "done")
    is_((object_of(lab, asset)["writes"], len(gate.uploads)), (1, 1), "signed and stored")
    is_(told(lab, "LANE_HELD"), 0, "and understood at once")
    job, _ = lab.insert_job("none", f"{lab.user}/none.png")
    is_(lab.wait_status(job, "error")["error"], "The reference image was not found. Please upload it again.", "a refusal, too")
    gate.shutdown()
    lab.sim.stop()


@test
def a_cancel_while_the_store_is_down():
    """The mesh is stored, its closing waits for a lock, and a cancel comes first: the object goes, though not at the first try."""
    lab = quick_lab()
    job, asset = lab.insert_job("cancel", f"{IMAGE}?cancel-")
    lab.sim.fault("upload", {"stall_ms": 1500}, match=asset, count=1)
    lab.sim.fault("object", {"status": 503}, match=asset, count=3)
    wait_for(lambda: lab.sim.stats()["received"]["upload"] > 0, 60, "the upload")
    lock = lab.postgres.connect()
    lock.autocommit = False
    lock.cursor().execute("SELECT 1 FROM public.mesh_assets WHERE id = %s FOR UPDATE", (asset,))
    wait_for(lambda: told(lab, "JOB_STORED", job=job), 60, "the object")
    lab.query("UPDATE public.jobs SET cancel_requested_at = now() WHERE id = %s", job)
    lock.rollback()
    wait_for(lambda: lab.job(job)["status"] not in ("pending", "running"), 60, "its end")
    wait_for(lambda: object_of(lab, asset) is None, 60, "the object to go")
    is_((lab.job(job)["status"] in ("canceled", "error"), lab.refunded(job)), (True, 25), "it is canceled and refunded")
    is_(sum(f["hits"] for f in lab.sim.control("GET", "faults") if f["script"]["endpoint"] == "object"), 3, "after three refusals")
    lab.sim.fault("object", {"status": 503}, count=-1)
    lab.sim.stop()


main()
