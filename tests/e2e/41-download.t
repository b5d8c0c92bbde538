#!/usr/bin/python3
"""Downloads that break: they go on from where they were, and never make one file of two."""

import base64
import gzip
import hashlib
import zlib

from lab import IMAGE, Lab, accounts, is_, main, ok, test, wait_for
from lab.filehost import FileHost, answer, crc32c, glb

QUICK = {"worker.retry_base": "100ms", "worker.retry_max": "300ms"}
TAG, OTHER_TAG = 'ETag: "one"', 'ETag: "two"'
BOMB = "z///fwAkAOKxQHLv//n//w+ABEAcFoDu/T////8BkACIwwLQvf/n//8/ABIAcVgAuvf//P//B0ACIA4LQPf+n////wBIAMRhAeje//P//x8ACYA4LADd+//8//8HIAEQhwWge/8P" # 128 MiB of zeros, by brotli
DATE = "Last-Modified: Tue, 24 Nov 2026 10:00:00 GMT"


def quick_lab(*hosts, **keys):
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=0, glb_bytes=300000)
    allowed = " ".join([lab.sim.files.removeprefix("http://"), *[h.host for h in hosts]])
    lab.started = lab.daemon(**{**QUICK, "replicate.download_hosts": allowed, **keys})
    return lab


def memory(pid):
    """At its highest."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


def stored_of(lab, asset):
    """SHA-256 of the object that the asset's row names, which is what the row says."""
    row = lab.asset(asset)
    (found,) = [o for o in lab.sim.objects() if o["path"].endswith(row["output_path"])]
    is_((found["sha256"], found["size"]), (row["result_meta"]["sha256"], row["size"]), "the row names what is stored")
    return found["sha256"]


@test
def cut_and_gone_on():
    lab = quick_lab()
    job, asset = lab.insert_job("whole", IMAGE)
    lab.wait_status(job, "done")
    size = lab.asset(asset)["size"]
    # Cut three times, each time 50,000 bytes further on.
    before = lab.sim.stats()
    lab.sim.fault("file", {"cut": 50000}, count=3)
    job, asset = lab.insert_job("cut", IMAGE)
    is_(lab.wait_status(job, "done")["attempts"], 1, "cut three times: one attempt")
    stats = lab.sim.stats()
    is_({k: v - before["requests"]["file"].get(k, 0) for k, v in stats["requests"]["file"].items()}, {"200": 1, "206": 3},
        "cut three times: one whole was asked for, and three times the rest")
    served, size = stats["file_bytes"] - before["file_bytes"], lab.asset(asset)["size"]
    ok(size <= served <= size + 2, "cut three times: no byte was sent twice", (size, served))
    is_(stored_of(lab, asset), lab.sim.predictions()[-1]["sha256"], "cut three times: byte for byte what was served")
    # More breaks than tries in a row, each with progress.
    before = lab.sim.stats()
    lab.sim.fault("file", {"cut": 30000}, count=8)
    job, asset = lab.insert_job("cut eight times", IMAGE)
    is_(lab.wait_status(job, "done", seconds=120)["attempts"], 1, "cut eight times: one attempt")
    is_(stored_of(lab, asset), lab.sim.predictions()[-1]["sha256"], "cut eight times: byte for byte what was served")
    is_(lab.sim.stats()["requests"]["file"]["206"] - before["requests"]["file"]["206"], 8, "cut eight times: gone on eight times")
    # What is in the way of the rest does not lose what is there.
    before = lab.sim.stats()
    lab.sim.fault("file", {"cut": 100000}, count=1)
    lab.sim.fault("file", {"status": 503}, count=1)
    lab.sim.fault("file", {"close": True}, count=1)
    job, asset = lab.insert_job("cut, then busy", IMAGE)
    lab.wait_status(job, "done")
    is_(lab.sim.stats()["requests"]["file"]["206"] - before["requests"]["file"]["206"], 1, "a busy host in between: the rest was asked for")
    is_(stored_of(lab, asset), lab.sim.predictions()[-1]["sha256"], "a busy host in between: byte for byte")
    accounts.no_second_purchase(lab, "cut: ")
    lab.sim.stop()


@test
def changed_between_two_parts():
    lab = quick_lab()
    lab.sim.fault("file", {"cut": 100000}, match="changed", count=1)
    lab.sim.fault("file", {"file": "changed"}, match="changed", count=-1)
    job, asset = lab.insert_job("changed", f"{IMAGE}?changed")
    is_(lab.wait_status(job, "done")["attempts"], 1, "changed: one attempt")
    is_(lab.sim.stats()["requests"]["file"], {"200": 2}, "changed: the other one was fetched whole")
    is_(stored_of(lab, asset), lab.sim.predictions()[-1]["sha256"], "changed: and is what was stored")
    # A host that ignores If-Range and gives other bytes for the right ones: the promised checksum tells.
    lab.sim.fault("file", {"cut": 100000}, match="careless", count=1)
    lab.sim.fault("file", {"file": "careless"}, match="careless", count=1)
    job, asset = lab.insert_job("careless", f"{IMAGE}?careless")
    is_(lab.wait_status(job, "done")["attempts"], 2, "careless: another attempt")
    ok(lab.started.wait_event("JOB_RETRY", job=job, text="crc32c", seconds=5), "careless: the log says why")
    is_(stored_of(lab, asset), lab.sim.predictions()[-1]["sha256"], "careless: what was stored is right")
    # A host without ranges: begun anew.
    before = lab.sim.stats()["requests"]["file"]
    lab.sim.fault("file", {"cut": 100000, "file": "no_ranges"}, match="none", count=1)
    lab.sim.fault("file", {"file": "no_ranges"}, match="none", count=-1)
    job, asset = lab.insert_job("none", f"{IMAGE}?none")
    is_(lab.wait_status(job, "done")["attempts"], 1, "no ranges: one attempt")
    is_(lab.sim.stats()["requests"]["file"]["200"] - before["200"], 2, "no ranges: the whole twice")
    is_(stored_of(lab, asset), lab.sim.predictions()[-1]["sha256"], "no ranges: byte for byte what was served")
    is_(len(lab.sim.predictions()), 3, "and nothing was bought twice")
    accounts.no_second_purchase(lab, "changed: ")
    lab.sim.stop()


MESH, OTHER = glb(200000), glb(200000, fill=7)
N = len(MESH)


def whole(mesh, *headers, **how):
    return lambda at, request: answer(200, mesh, *headers, **how)


def cut(mesh, n, *headers):
    """The first so many bytes of a whole, and no more."""
    return lambda at, request: answer(200, mesh[:n], *headers, length=len(mesh))


def part(mesh, *headers, said=None):
    """The rest; the whole when no part is asked for."""
    def give(at, request):
        if at is None:
            return answer(200, mesh, *headers)
        return answer(206, mesh[at:], f"Content-Range: {said or f'bytes {at}-{len(mesh) - 1}/{len(mesh)}'}", *headers)
    return give


@test
def hosts_that_are_not_to_be_trusted():
    promise = f"x-goog-hash: crc32c={crc32c(MESH)}"
    cases = [ # what the host does, what is asked for, which file is stored, in how many attempts
        ("a part with its ETag", [cut(MESH, 70000, TAG), part(MESH, TAG)], [None, "bytes=70000-"], MESH, 1),
        ("a part with its date", [cut(MESH, 70000, DATE), part(MESH)], [None, "bytes=70000-"], MESH, 1),
        ("a part in small pieces", [cut(MESH, 70000, TAG), lambda at, r: answer(
            206, MESH[at:at + 50000], TAG, f"Content-Range: bytes {at}-{min(at + 50000, N) - 1}/{N}")],
         [None, "bytes=70000-", "bytes=120000-", "bytes=170000-"], MESH, 1),
        ("nothing to know it by", [cut(MESH, 70000), part(MESH)], [None, None], MESH, 1),
        ("a weak ETag", [cut(MESH, 70000, 'ETag: W/"one"', DATE), part(MESH, TAG)], [None, None], MESH, 1),
        ("two ETags", [cut(MESH, 70000, TAG, OTHER_TAG), part(MESH, TAG)], [None, None], MESH, 1),
        ("no ranges", [cut(MESH, 70000, TAG), whole(MESH, TAG)], [None, "bytes=70000-"], MESH, 1),
        ("416", [cut(MESH, 70000, TAG), lambda at, r: answer(416, b"", "Content-Range: bytes */5"), part(MESH, TAG)],
         [None, "bytes=70000-", None], MESH, 1),
        ("another start", [cut(MESH, 70000, TAG), part(MESH, TAG, said=f"bytes 60000-{N - 1}/{N}"), part(MESH, TAG)],
         [None, "bytes=70000-", None], MESH, 1),
        ("another total", [cut(MESH, 70000, TAG), part(MESH, TAG, said=f"bytes 70000-{N - 1}/{N + 1}"), part(MESH, TAG)],
         [None, "bytes=70000-", None], MESH, 1),
        ("no Content-Range", [cut(MESH, 70000, TAG), lambda at, r: answer(206, MESH[at:], TAG), part(MESH, TAG)],
         [None, "bytes=70000-", None], MESH, 1),
        ("a part nobody asked for", [lambda at, r: answer(206, MESH, TAG, f"Content-Range: bytes 0-{N - 1}/{N}"), whole(MESH, TAG)],
         [None, None], MESH, 1),
        ("another file's part", [cut(MESH, 70000, TAG), part(OTHER, OTHER_TAG)], [None, "bytes=70000-", None], OTHER, 1),
        ("another file's part, by its hash", [cut(MESH, 70000, TAG, promise), part(OTHER, TAG, f"x-goog-hash: crc32c={crc32c(OTHER)}")],
         [None, "bytes=70000-", None], OTHER, 1),
        # The same size and the same ETag: only the first answer's promise tells.
        ("another file's part in disguise", [cut(MESH, 70000, TAG, promise), part(OTHER, TAG), whole(MESH, TAG, promise)],
         [None, "bytes=70000-", None], MESH, 2),
        # No promise either: what came in parts and is no mesh is fetched once more, not refused for good.
        ("a part that spoils the mesh", [cut(MESH, 40, TAG), part(b"\xff" * N, TAG), whole(MESH, TAG)], [None, "bytes=40-", None], MESH, 2),
        ("longer than it says", [whole(MESH, TAG, promise, length=N - 1000), whole(MESH, TAG, promise)], [None, None], MESH, 2),
        ("shorter than it says", [whole(MESH, TAG, length=N + 1000), lambda at, r: answer(416, b"") if at else whole(MESH, TAG)(at, r)],
         [None, f"bytes={N}-", None], MESH, 1),
        ("packed", [lambda at, r: answer(200, MESH[:70000], TAG, "Content-Encoding: gzip", length=N), part(MESH, TAG)],
         [None, None], MESH, 1),
        ("a break before the first byte", [lambda at, r: answer(200, b"", TAG, length=N), part(MESH, TAG)], [None, None], MESH, 1),
        ("chunks that end too soon", [lambda at, r: answer(200, b"11170\r\n" + MESH[:70000] + b"\r\n", TAG, "Transfer-Encoding: chunked", length=-1),
                                      part(MESH, TAG)], [None, "bytes=70000-"], MESH, 1),
    ]
    hosts = [FileHost(*script) for _, script, *_ in cases]
    lab = quick_lab(*hosts)
    jobs = []
    for i, host in enumerate(hosts):
        lab.sim.fault("create", {"output": {"model_file": host.url}}, match=f"case-{i}-", count=1)
        jobs.append(lab.insert_job("case", f"{IMAGE}?case-{i}-"))
    for (what, _, ranges, mesh, attempts), host, (job, asset) in zip(cases, hosts, jobs):
        row = lab.wait_status(job, "done", "error", seconds=120)
        is_((row["status"], row["attempts"]), ("done", attempts), f"{what}: done in so many attempts")
        is_(host.ranges, ranges, f"{what}: what was asked for")
        is_(stored_of(lab, asset), hashlib.sha256(mesh).hexdigest(), f"{what}: which file it is")
        conditions = [r.get("if-range") for r in host.requests]
        is_([c is not None for c in conditions], [r is not None for r in ranges], f"{what}: no part without a condition")
        is_({r.get("accept-encoding") for r in host.requests}, {"identity"}, f"{what}: unpacked")
        is_([r for r in host.requests if "authorization" in r], [], f"{what}: no token")
        host.close()
    is_(len(lab.sim.predictions()), len(cases), "one purchase a job")
    lab.sim.stop()


@test
def packed_though_not_asked_for():
    """A gateway that packs what nobody asked to be packed: the file is stored as it was before that."""
    packed, over = gzip.compress(MESH, 1), gzip.compress(glb(3 << 20))
    promise = f"x-goog-hash: crc32c={crc32c(packed)}"
    cases = [
        ("gzip", [whole(packed, TAG, promise, "Content-Encoding: gzip")], "done", 1),
        ("deflate", [whole(zlib.compress(MESH), TAG, "Content-Encoding: deflate")], "done", 1),
        ("gzip in chunks", [lambda at, r: answer(200, b"%x\r\n" % len(packed) + packed + b"\r\n0\r\n\r\n", "Content-Encoding: gzip",
                                                 "Transfer-Encoding: chunked", length=-1)], "done", 1),
        ("gzip that breaks off", [cut(packed, len(packed) // 2, TAG, "Content-Encoding: gzip"),
                                  whole(packed, TAG, "Content-Encoding: gzip")], "done", 2),
        ("gzip that ends too soon", [whole(packed[:len(packed) // 2], TAG, "Content-Encoding: gzip"), whole(MESH, TAG)], "done", 2),
        ("unpacked on its way, with the packed one's checksum", [whole(MESH, TAG, promise, "x-goog-stored-content-encoding: gzip")], "done", 1),
        ("a packing nobody knows", [whole(packed, TAG, "Content-Encoding: x-unknown"), whole(MESH, TAG)], "done", 2),
        ("says so, and is not", [whole(MESH, TAG, "Content-Encoding: gzip"), whole(MESH, TAG)], "done", 2),
        ("larger than max_size when unpacked", [whole(over, TAG, "Content-Encoding: gzip")], "error", 1),
    ]
    hosts = [FileHost(*script) for _, script, *_ in cases]
    lab = quick_lab(*hosts, **{"asset.max_size": "2MiB"})
    jobs = []
    for i, host in enumerate(hosts):
        lab.sim.fault("create", {"output": {"model_file": host.url}}, match=f"case-{i}-", count=1)
        jobs.append(lab.insert_job("case", f"{IMAGE}?case-{i}-"))
    for (what, _, status, requests), host, (job, asset) in zip(cases, hosts, jobs):
        row = lab.wait_status(job, "done", "error")
        is_(row["status"], status, f"{what}: ends {status}")
        is_(host.ranges, [None] * requests, f"{what}: never gone on with")
        is_({r.get("accept-encoding") for r in host.requests}, {"identity"}, f"{what}: not asked for")
        if status == "done":
            is_(stored_of(lab, asset), hashlib.sha256(MESH).hexdigest(), f"{what}: the file itself is stored")
        else:
            ok("larger than we can keep" in row["error"], f"{what}: the user reads why", row["error"])
        host.close()
    is_(len(lab.sim.predictions()), len(cases), "packed: one purchase a job")
    lab.sim.stop()


@test
def packed_very_small():
    """128 MiB in a hundred bytes: given up at once, as too large, and not fetched again and again."""
    bomb = base64.b64decode(BOMB)
    host = FileHost(whole(bomb, TAG, "Content-Encoding: br"))
    lab = quick_lab(host)
    lab.sim.fault("create", {"output": {"model_file": host.url}}, count=1)
    job, _ = lab.insert_job("bomb", IMAGE)
    row = lab.wait_status(job, "done", "error")
    is_(row["status"], "error", "a bomb: it fails")
    ok("larger than we can keep" in row["error"], "a bomb: the user reads why", row["error"])
    is_(host.ranges, [None], "a bomb: fetched once")
    lab.sim.stop()


@test
def an_error_page_of_any_size():
    """Its status counts, whatever length it announces and wherever it ends."""
    page = b"x" * 200000
    cases = [
        ("announced as 10 GB", [lambda at, r: answer(404, page, length=10 << 30)]),
        ("without an end", [lambda at, r: answer(404, page * 20, length=-1)]),
        ("broken off", [lambda at, r: answer(404, b"<html>", length=5000)]),
    ]
    hosts = [FileHost(*script) for _, script in cases]
    lab = quick_lab(*hosts)
    for i, ((what, _), host) in enumerate(zip(cases, hosts)):
        lab.sim.fault("create", {"output": {"model_file": host.url}}, match=f"case-{i}-", count=1)
        job, asset = lab.insert_job("gone", f"{IMAGE}?case-{i}-")
        is_(lab.wait_status(job, "done", "error")["status"], "done", f"404 {what}: the output is gone, and was bought again")
        is_(len(host.requests), 1, f"404 {what}: asked for once")
        is_(lab.value("SELECT count(*) FROM meshify.predictions WHERE job_id = %s", job), 2, f"404 {what}: two purchases, the first without a mesh")
    lab.sim.stop()


@test
def a_success_that_brings_no_file():
    """What a status other than 200 and 206 brings is a page, however large: none of it is kept in memory."""
    host = FileHost(lambda at, r: answer(203, bytes(80 << 20)), whole(MESH, TAG))
    lab = quick_lab(host)
    lab.sim.fault("create", {"output": {"model_file": host.url}}, count=1)
    before = memory(lab.started.pid)
    job, asset = lab.insert_job("203", IMAGE)
    is_(lab.wait_status(job, "done")["attempts"], 1, "203: asked again, in one attempt")
    is_(stored_of(lab, asset), hashlib.sha256(MESH).hexdigest(), "203: the file is stored")
    ok(memory(lab.started.pid) < before + (30 << 20), "203: nothing of the page is kept", (before, memory(lab.started.pid)))
    lab.sim.stop()


@test
def a_redirect_is_followed_anew():
    """Where an output's URL leads is signed for a short time: the URL itself is asked again."""
    target, late = FileHost(cut(MESH, 70000, TAG), lambda at, r: answer(403)), FileHost(part(MESH, TAG))
    front = FileHost(lambda at, r: answer(302, b"", f"Location: {target.url}?signed=1"),
                     lambda at, r: answer(302, b"", f"Location: {late.url}?signed=2"))
    lab = quick_lab(front, target, late)
    lab.sim.fault("create", {"output": {"model_file": front.url}}, count=1)
    job, asset = lab.insert_job("redirected", IMAGE)
    row = lab.wait_status(job, "done")
    is_((front.ranges, target.ranges, late.ranges), ([None, "bytes=70000-"], [None], ["bytes=70000-"]), "redirect: the rest by way of the URL")
    is_(stored_of(lab, asset), hashlib.sha256(MESH).hexdigest(), "redirect: the file is whole")
    is_((row["output_data"]["mesh_url"], lab.asset(asset)["result_meta"]["output_urls"]), (front.url, [front.url]),
        "redirect: the row names the model's own URL")
    lab.sim.stop()


@test
def larger_than_max_size():
    big = glb(3 << 20)
    chunks = b"".join(b"%x\r\n" % len(c) + c + b"\r\n" for c in (big[i:i + 65536] for i in range(0, len(big), 65536)))
    cases = [
        ("with Content-Length", [whole(big, TAG)], [None]),
        ("without Content-Length", [whole(big, TAG, length=-1)], [None]),
        ("in chunks", [lambda at, r: answer(200, chunks + b"0\r\n\r\n", TAG, "Transfer-Encoding: chunked", length=-1)], [None]),
        # Each part is smaller than max_size, their sum is not.
        ("in parts", [lambda at, r: answer(200, b"%x\r\n" % 1500000 + big[:1500000], TAG, "Transfer-Encoding: chunked", length=-1),
                      part(big, TAG)], [None, "bytes=1500000-"]),
    ]
    hosts = [FileHost(*script) for _, script, _ in cases]
    lab = quick_lab(*hosts, **{"asset.max_size": "2MiB"})
    for i, ((what, _, ranges), host) in enumerate(zip(cases, hosts)):
        lab.sim.fault("create", {"output": {"model_file": host.url}}, match=f"case-{i}-", count=1)
        job, asset = lab.insert_job("large", f"{IMAGE}?case-{i}-")
        row = lab.wait_status(job, "error")
        ok("larger than we can keep" in row["error"], f"too large {what}: the user reads why", row["error"])
        is_(host.ranges, ranges, f"too large {what}: given up at once")
        is_(lab.refunded(job), 25, f"too large {what}: credits are given back")
    # Up to the limit all is well, in parts too.
    host = FileHost(cut(MESH, 70000, TAG), part(MESH, TAG))
    lab.started.stop()
    lab.daemon(**{**QUICK, "replicate.download_hosts": host.host, "asset.max_size": f"{N}B"})
    lab.sim.fault("create", {"output": {"model_file": host.url}}, match="limit", count=1)
    job, asset = lab.insert_job("limit", f"{IMAGE}?limit")
    lab.wait_status(job, "done")
    is_(host.ranges, [None, "bytes=70000-"], "exactly max_size, in two parts")
    is_(stored_of(lab, asset), hashlib.sha256(MESH).hexdigest(), "exactly max_size: stored")
    lab.sim.stop()


@test
def never_any_progress():
    """A host that breaks off at the same place each time: the job goes back, and its time is bounded."""
    host = FileHost(cut(MESH, 70000), cut(MESH, 70000))
    lab = quick_lab(host, **{"worker.job_timeout": "1min"})
    lab.sim.fault("create", {"output": {"model_file": host.url}}, count=1)
    job, _ = lab.insert_job("stuck", IMAGE)
    lab.started.wait_event("JOB_RETRY", job=job, fault="output_unreached", text="70000 bytes", seconds=120)
    ok(6 <= len(host.requests) <= 8, "no progress: so many tries and no more", len(host.requests))
    is_(lab.job(job)["status"] in ("pending", "running"), True, "no progress: the job waits")
    lab.sim.stop()


@test
def a_finished_download_is_kept():
    lab = quick_lab(**{"database.lease": "6s", "log.level": "debug"})
    # The store is away.
    lab.sim.fault("upload", {"status": 503}, count=2)
    job, asset = lab.insert_job("the store is away", IMAGE)
    lab.wait_status(job, "done")
    is_(lab.sim.stats()["received"]["upload"], 3, "the store is away: asked until it is back")
    is_(lab.sim.stats()["received"]["file"], 1, "the store is away: fetched once")
    is_(stored_of(lab, asset), lab.sim.predictions()[-1]["sha256"], "the store is away: the right file")
    # The database goes away while the mesh comes, for longer than the lease is trusted, and comes back.
    before = lab.sim.stats()
    lab.sim.fault("file", {"stall_ms": 7000, "after": 100000}, count=1)
    job, asset = lab.insert_job("the database is away", IMAGE)
    wait_for(lambda: lab.sim.stats()["received"]["file"] == 2, 30, "the download")
    lab.postgres.stop()
    lab.started.wait_event("DB_DOWN")
    lab.started.wait_event("LEASE_SUSPENDED")
    lab.started.wait_event("JOB_MOVED", job=job, text="-> storing")
    is_(lab.sim.stats()["received"]["upload"], before["received"]["upload"], "the database is away: nothing is uploaded on an old lease")
    lab.postgres.start()
    lab.db = lab.postgres.connect()
    is_(lab.wait_status(job, "done")["attempts"], 1, "the database is back: one attempt")
    is_(lab.sim.stats()["received"]["file"], 2, "the database is back: fetched once")
    is_(stored_of(lab, asset), lab.sim.predictions()[-1]["sha256"], "the database is back: the right file")
    accounts.no_second_purchase(lab, "kept: ")
    lab.sim.stop()


main()
