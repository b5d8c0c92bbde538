#!/usr/bin/python3
"""Hostile text and rows that vanish: what the user wrote arrives to the byte, and harms nothing on its way."""

import json
import re
import subprocess
import time
import urllib.request

import psycopg2
import psycopg2.errors

from lab import IMAGE, Lab, accounts, cases, clean_environment, is_, main, ok, program, test, wait_for
from lab.filehost import FileHost, answer as answer_bytes, glb
from lab.turns import turns_are_short

PROMPTS = {
    "quotes": "a \"chair\" with 'legs' and \\ back\\slashes \\\" \\u0041",
    "variables": "${image} ${seed} ${prompt} ${job_id} $${prompt} ${",
    "JSON": "\"}, \"version\": \"0\", \"input\": {\"x\": [\"",
    "line breaks": "first\nsecond\r\nthird\tfourth\u2028fifth",
    "terminal escapes": "\x1b[2J\x1b]0;owned\x07\x1b[31mred",
    "every plane": "é ж 漢 \u05d0\u202e\ufeff 🪑 \U00020000 \U000e0041 \U0010ffff",
    "SQL": "'; DROP TABLE public.jobs; --",
    "formats": "%s%n%d %1$s {0} {user_id}",
    "a path": "../../../etc/passwd",
    "headers": "x\r\nAuthorization: Bearer y",
    "long": "a long prompt, " * 2100,
}
REFUSED = {
    "too long": "a long prompt, " * 70000,
    "blanks": "  \t ",
}
END = ", single object, white background"


@test
def hostile_prompts():
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=50)
    daemon = lab.daemon(**{"log.level": "debug", "log.target": "stderr"})
    jobs = {}
    prompts = dict(cases(PROMPTS.items()))
    for what, prompt in prompts.items():
        jobs[what] = lab.insert_job(prompt)
    jobs["good"] = lab.insert_job("a good one beside them", IMAGE)
    lab.wait_all_ended(60)
    accounts.check(lab, list(jobs.values()), "hostile: ")
    refused = [lab.insert_job(prompt)[0] for prompt in REFUSED.values()]
    lab.wait_all_ended(60)
    is_([lab.job(job)["status"] for job in refused], ["error"] * len(refused), "too much, and nothing, are refused")
    is_(lab.value("SELECT count(*) FROM meshify.refunds WHERE job_id = ANY (%s::uuid[])", refused), len(refused), "and given back")
    sent = [p["input"].get("prompt") for p in lab.sim.predictions()]
    for what, prompt in prompts.items():
        ok(prompt + END in sent, f"{what}: arrives to the byte")
    keys = {tuple(sorted(p["input"])) for p in lab.sim.predictions() if "prompt" in p["input"]}
    is_(keys, {("output_format", "prompt", "seed")}, "no prompt changes the shape of a request")
    bad = [line for line in daemon.lines if len(line) > 2000 or re.search(r"[\x00-\x08\x0b-\x1f\x7f\x9b]", line)]
    is_(bad[:3], [], "no control character, and nothing endless, in the log")
    shown = lab.ctl("jobs").stdout
    is_(re.findall(r"[\x00-\x09\x0b-\x1f\x7f]", shown), [], "nor on the operator's terminal")
    ok(all(o["path"].count("/") == 3 and ".." not in o["path"] for o in lab.sim.objects()), "nor in an object's name")
    lab.sim.stop()


@test
def hostile_answers():
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=50)
    daemon = lab.daemon(**{"worker.retry_base": "100ms", "worker.max_attempts": "1", "log.target": "stderr"})
    text = "\x1b[2J\nlevel=err msg=\"forged\" \u202e" + "x" * 100000
    lab.sim.fault("create", {"final": "failed", "error": text}, match="one")
    lab.sim.fault("create", {"status": 422, "body": {"detail": text, "title": text}}, match="two")
    lab.sim.fault("create", {"output": {"model_file": "https://" + text}}, match="three")
    lab.sim.fault("create", {"output": {"model_file": "http://user:secret@" + lab.sim.files.removeprefix("http://") + "/x.glb"}}, match="four")
    jobs = [lab.insert_job(n, f"{IMAGE}?{n}") for n in ("one", "two", "three", "four")]
    good = lab.insert_job("good", IMAGE)
    lab.wait_all_ended(60)
    is_([lab.job(j)["status"] for j, _ in jobs], ["error"] * 4, "hostile answers fail their jobs")
    is_(lab.job(good[0])["status"], "done", "and no other")
    bad = [line for line in daemon.lines if len(line) > 2000 or re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e]", line.replace("\u202e", ""))]
    is_(bad[:3], [], "no control character, and nothing endless, in the log")
    ok(not any(line.startswith("level=err") for line in daemon.lines), "no line is forged")
    errors = [lab.job(j)["error"] for j, _ in jobs]
    ok(all(len(e) < 200 and "\x1b" not in e for e in errors), "the user reads our sentences", errors)
    lab.sim.stop()


@test
def bad_rows():
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=50)
    lab.daemon()
    before = lab.value("SELECT credits_remaining FROM public.profiles WHERE id = %s", lab.user)
    ids = {}
    for what, user, project, asset in (("no user", None, lab.project, True), ("no project", lab.user, None, True),
                                       ("no asset", lab.user, lab.project, False)):
        made = lab.value("INSERT INTO public.mesh_assets (project_id, owner_id, credits_cost) VALUES (%s, %s, 25) RETURNING id",
                         lab.project, lab.user) if asset else None
        ids[what] = lab.value("INSERT INTO public.jobs (type, user_id, project_id, asset_id, input_data) VALUES "
                              "('meshify', %s, %s, %s, %s) RETURNING id", user, project, made, json.dumps({"prompt": "x"}))
    good = lab.insert_job("good", IMAGE)
    lab.wait_all_ended(60)
    for what, job in ids.items():
        row = lab.job(job)
        ok(row["status"] == "error" and row["error"], f"{what}: fails with a sentence", row)
    is_(lab.job(good[0])["status"], "done", "a good job beside them finishes")
    is_(len(lab.sim.predictions()), 1, "nothing was bought for them")
    ok(float(lab.value("SELECT credits_remaining FROM public.profiles WHERE id = %s", lab.user)) <= float(before) + 25,
       "nobody gains credits by them")
    lab.sim.stop()


@test
def rows_that_vanish():
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=600000)
    daemon = lab.daemon()
    jobs = {what: lab.insert_job(what, f"{IMAGE}?{what}") for what in ("job", "asset", "profile")}
    other, home = lab.add_user()
    jobs["profile"] = lab.insert_job("profile", IMAGE, user=other, project=home)
    lab.query("UPDATE public.profiles SET credits_remaining = 0 WHERE id = %s", other)
    wait_for(lambda: len([p for p in lab.sim.predictions() if p["status"] == "processing"]) == 4, 30, "all bought")
    lab.query("DELETE FROM public.jobs WHERE id = %s", jobs["job"][0])
    lab.query("DELETE FROM public.mesh_assets WHERE id = %s", jobs["asset"][1])
    lab.query("DELETE FROM public.profiles WHERE id = %s", other)
    lab.value("SELECT meshify.cancel(%s)", jobs["profile"][0])
    wait_for(lambda: len([p for p in lab.sim.predictions() if p["status"] == "canceled"]) == 3, 90, "their predictions' cancel")
    is_(lab.wait_status(jobs["profile"][0], "canceled")["status"], "canceled", "a job whose profile is gone still ends")
    lab.sim.config(processing_ms=50)
    good, _ = lab.insert_job("good", f"{IMAGE}?good")
    lab.wait_status(good, "done")
    ok(daemon.alive(), "and work goes on")
    lab.sim.stop()



@test
def files_with_a_tail():
    """A line's end, or a page filled up, behind the end that a GLB's header says: the mesh is stored, as it came."""
    mesh = glb(2000)
    short = mesh[:8] + (len(mesh) + 4).to_bytes(4, "little") + mesh[12:] # says 4 bytes more
    cases = [("none", mesh, "done"), ("a line's end", mesh + b"\n", "done"), ("four zeros", mesh + bytes(4), "done"), ("a page", mesh + bytes(-len(mesh) % 512), "done"),
             ("zeros without an end", mesh + bytes(100000), "error"), ("another file", mesh + mesh, "error"), ("cut", mesh[:-8], "error"), ("too short", short, "error")]
    hosts = [FileHost(lambda at, r, data=data: answer_bytes(200, data)) for _, data, _ in cases]
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=50)
    lab.daemon(**{"worker.max_attempts": "1", "replicate.download_hosts": " ".join([lab.sim.files.removeprefix("http://"), *[h.host for h in hosts]])})
    for i, host in enumerate(hosts):
        lab.sim.fault("create", {"output": {"model_file": host.url}}, match=f"tail-{i}-", count=-1)
    jobs = [lab.insert_job("tail", f"{IMAGE}?tail-{i}-") for i in range(len(cases))]
    for (what, data, status), (job, asset) in zip(cases, jobs):
        is_(lab.wait_status(job, "done", "error")["status"], status, f"a file's tail, {what}: {status}")
        is_([o["size"] for o in lab.sim.objects() if str(asset) in o["path"]], [len(data)] if status == "done" else [], f"a file's tail, {what}: what is stored")
    for host in hosts:
        host.close()
    lab.sim.stop()


@test
def a_file_in_crumbs():
    """Chunks of one byte each, of a mesh and without an end: no turn of the loop is long for it, and nobody waits."""
    mesh = glb(400000)
    chunked = ("Transfer-Encoding: chunked", )
    whole = FileHost(lambda at, r: answer_bytes(200, b"".join(b"1\r\n%c\r\n" % byte for byte in mesh) + b"0\r\n\r\n", *chunked, length=-1))
    endless = FileHost(lambda at, r: answer_bytes(200, b"1\r\nx\r\n" * 8000000, *chunked, length=-1))
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=50)
    daemon = lab.daemon(**{"metrics.listen": "127.0.0.1:0", "database.lease": "10s",
                           "replicate.download_hosts": f"{lab.sim.files.removeprefix('http://')} {whole.host} {endless.host}"})
    at = daemon.metrics_at()
    for host, name in ((whole, "crumbs"), (endless, "endless")):
        lab.sim.fault("create", {"output": {"model_file": host.url}}, match=name)
    lab.insert_job("endless", f"{IMAGE}?endless")
    wait_for(lambda: endless.requests, 30, "a download without an end")
    job, asset = lab.insert_job("crumbs", f"{IMAGE}?crumbs")
    wait_for(lambda: whole.requests, 30, "a download")
    for i in range(3):
        began = time.monotonic()
        is_(lab.wait_status(lab.insert_job("good", f"{IMAGE}?{i}")[0], "done")["status"], "done", "crumbs: a job beside them is done")
        ok(time.monotonic() - began < 10, "crumbs: in its usual time", time.monotonic() - began)
    is_(lab.wait_status(job, "done", "error")["status"], "done", "crumbs: the mesh is stored")
    is_([o["size"] for o in lab.sim.objects() if str(asset) in o["path"]], [len(mesh)], "crumbs: all of it")
    turns_are_short(at, "crumbs")
    is_(daemon.told("LEASE_SUSPENDED", "DB_DOWN", "LEASE_LOST"), 0, "crumbs: the database is not kept waiting")
    for host in (whole, endless):
        host.close()
    lab.sim.stop()


@test
def reads_that_are_mixed_up():
    """A gateway that answers for another prediction says nothing of this one, and nothing of Replicate: others are polled on."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=300)
    daemon = lab.daemon(**{"replicate.poll_min": "100ms", "replicate.poll_max": "100ms"})
    lab.sim.fault("get", {"status": 200, "body": json.dumps({"id": "another", "status": "succeeded", "output": "https://x.example/x.glb"})}, match="mixed", count=1000000)
    mixed, _ = lab.insert_job("mixed", f"{IMAGE}?mixed")
    wait_for(lambda: lab.sim.stats()["received"].get("get", 0) > 5, 30, "reads of it")
    for i in range(3):
        began = time.monotonic()
        is_(lab.wait_status(lab.insert_job("good", f"{IMAGE}?{i}")[0], "done")["status"], "done", "mixed up: a job beside it is done")
        ok(time.monotonic() - began < 10, "mixed up: in its usual time", time.monotonic() - began)
    is_(daemon.told("LANE_HELD", text="Lane poll"), 0, "mixed up: nobody is kept from polling")
    lab.sim.control("DELETE", "faults")
    is_(lab.wait_status(mixed, "done", "error")["status"], "done", "mixed up: its own mesh comes in the end")
    is_(len(lab.sim.predictions()), 4, "mixed up: one purchase a job")
    lab.sim.stop()


# --- everywhere at once: what may break a line, a terminal, a path, a statement, a format, a bound ----

NASTY = "\n\rlevel=err msg=\"forged\" \x1b[2J\x1b]0;owned\x07 \x9b31m \x7f \u202e ../../../etc/passwd '; DROP TABLE public.jobs; -- %s%n%99999d ${seed} {user_id} \\"
NUL = NASTY + "\0after"
LONG = NUL + "x" * 1000000
NAME = NASTY + "x" * 1000000 # of a member: with a NUL in it the whole answer is none
HEADER = re.sub(r"[\n\r\x00-\x08\x0a-\x1f\x7f-\uffff]", "", NASTY) + "\x1b[2J" # what a server can put there


def answer(**members):
    """A body as text: the simulator's own JSON knows no NUL."""
    return json.dumps(members)


def poll(**members):
    return "get", {"status": 200, "body": answer(**members)}


ANSWERS = [ # what answers: where, the script; what becomes of the job
    ("a refusal's words", "create", {"status": 422, "body": answer(detail=LONG, title=LONG, invalid_fields=[{"field": LONG, "description": LONG}] * 3)}, "error"),
    ("a problem's words", "create", {"status": 400, "body": answer(detail=LONG)}, "error"),
    ("a throttle's words", "create", {"status": 429, "body": answer(detail="~1s" + LONG, retry_after=NASTY)}, "done"),
    ("an id", "create", {"status": 201, "body": answer(id="../" + NASTY, status="starting"), "done": True}, "done"),
    ("a status word", *poll(status=LONG), "done"),
    ("logs", *poll(status="processing", logs=LONG + "\r" + NASTY + " 50%|#####| 1/2\n"), "done"),
    ("an error", *poll(status="failed", error=LONG), "error"),
    ("an error in an object", *poll(status="failed", error={"message": LONG}), "done"), # not read: as one that says nothing
    ("metrics", *poll(status="failed", error="(code: PA)", metrics={NAME: NASTY, "predict_time": NASTY, "x": 1e308}), "done"),
    ("an output", *poll(status="succeeded", output={"model_file": "https://x.example/" + LONG, NAME: NASTY}), "error"),
    ("a member's name", *poll(status="succeeded", output={NUL: NASTY}), "error"), # no mesh
    ("a short output", *poll(status="succeeded", output={"model_file": "https://" + NUL}), "error"),
    ("an output's host", *poll(status="succeeded", output={"model_file": "https://x.example\x1b[2J/"}), "error"),
    ("deep JSON", "get", {"status": 200, "body": "[" * 500000}, "done"),
    ("a Location", "file", {"redirect": "https://x.example/../../" + HEADER.replace(" ", "%20")}, "error"),
    ("a Location here", "file", {"redirect": "{path}/../../" + HEADER}, "done"), # no URL: asked again; or, where libcurl encodes it, not there: bought again
    ("a Location of the same file", "file", {"redirect": "{path}?" + HEADER}, "done"),
    ("a long Location", "file", {"redirect": "https://x.example/" + "y" * 60000}, "error"),
    ("an endless Location", "file", {"redirect": "https://x.example/" + "y" * 1000000}, "done"),
    ("the file host's headers", "file", {"headers": {"Content-Type": HEADER, "ETag": HEADER, "Retry-After": HEADER, "x-goog-hash": "crc32c=" + HEADER}}, "done"),
    ("the file host's error", "file", {"status": 503, "body": LONG.replace("\0", ""), "headers": {"Retry-After": "99999999999999999999"}}, "done"),
    ("storage's words", "upload", {"status": 400, "body": answer(statusCode="503", code=LONG, message=LONG, error=LONG)}, "done"),
    ("storage's status", "upload", {"status": 400, "body": answer(statusCode=NASTY, code=NASTY, message=NASTY)}, "done"), # not Storage: waited for
    ("storage's answer", "upload", {"status": 200, "body": answer(Key=LONG, Id=NASTY), "done": True}, "done"),
    ("a signed URL", "sign", {"status": 200, "body": answer(signedURL="/object/" + LONG)}, "done"),
    ("a signed URL's end", "sign", {"status": 200, "body": answer(signedURL="/object/x\x1b[2J")}, "done"),
    ("a refused signature", "sign", {"status": 400, "body": answer(statusCode="500", code=NUL, message=LONG)}, "done"),
]


def is_clean(text, what, limit=2000):
    bad = [line[:200] for line in text.split("\n") if len(line) > limit or re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", line)]
    ok(not bad and not re.search(r"^(level=err )?msg=\"forged|^level=err", text, re.MULTILINE), f"{what}: bounded, nothing that a terminal obeys", bad[:3])


def put(lab, path):
    request = urllib.request.Request(f"{lab.sim.url}/storage/v1/object/user_assets/{path}", b"png", {
        "Authorization": "Bearer eyJ.a.b", "Content-Type": "image/png"}, method="POST")
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request).read()
    return path


@test
def text_from_outside():
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=100)
    jobs = {}
    for i, (what, endpoint, do, status) in enumerate(cases(ANSWERS)):
        tag = f"answer{i:03}."
        image = put(lab, f"{lab.user}/{tag}png") if endpoint == "sign" else f"{IMAGE}?{tag}"
        job, asset = lab.insert_job(tag, image)
        lab.sim.fault(endpoint, do, match=asset if endpoint == "upload" else tag, count=1)
        jobs[what] = job, status
    # A listing that leads elsewhere, asked for by whoever lost an answer.
    lab.sim.fault("create", {"lose_answer": True}, match="listed")
    lab.sim.fault("list", {"status": 200, "body": answer(results=[{"id": NASTY, "input": {"images": [LONG]}}, NASTY, None], next=LONG)}, count=1)
    jobs["a listing"] = lab.insert_job("listed", f"{IMAGE}?listed")[0], "done"
    jobs["members of input_data"] = lab.insert_job(input_data={"prompt": "members", NASTY: {NASTY: NASTY}, "x" * 400000: NASTY})[0], "done"
    for what, image in (("an image's URL", "https://" + NASTY), ("a long one", "https://x.example/" + "y" * 1000000), ("a scheme", NASTY + "://x"),
                        ("an image's path", f"{lab.user}/{NASTY}"), ("a long path", lab.user + "/y" * 400000)):
        jobs[what] = lab.insert_job("image", image)[0], "error"
    # A purchase written by hand.
    job, _ = lab.insert_job("by hand", f"{IMAGE}?hand")
    lab.query("INSERT INTO meshify.predictions (job_id, step, purchase, attempt, worker_id, state, intent_at, give_up_after, model, input_hash, "
              "input_keys, prediction_id, status, error, output) VALUES (%s, 'sculpt', 1, 1, gen_random_uuid(), 'bought', now(), now(), %s, %s, %s, %s, %s, %s, %s)",
              job, NASTY, NASTY, json.dumps([NASTY]), "../account?" + NASTY, NASTY, NASTY, json.dumps({"model_file": NASTY}))
    jobs["a purchase by hand"] = job, "error"
    good = lab.insert_job("good", f"{IMAGE}?good")[0]
    daemon = lab.daemon(**{"log.level": "debug", "log.target": "stderr", "worker.retry_base": "100ms", "worker.retry_max": "200ms", "replicate.create_timeout": "8s",
                           "worker.max_attempts": "3"})
    for channel in ("meshify_jobs", "meshify_control"):
        for payload in (NASTY, "x" * 7999, "{" * 7999, json.dumps({"cancel": NASTY}), json.dumps({"prediction": "../" + NASTY}), json.dumps({"ping": NUL}),
                        json.dumps({"drain": NASTY}), json.dumps({"cancel": ["x"] * 1000}), "[]", "null", "\"\"", "{\"cancel\":\"\\u0000\"}"):
            lab.query("SELECT pg_notify(%s, %s)", channel, payload)
    lab.wait_all_ended(90)
    ends = {what: (lab.job(job)["status"], status) for what, (job, status) in jobs.items()}
    is_({what: end for what, end in ends.items() if end[0] != end[1]}, {}, "each hostile text ends its own job as it should")
    is_(lab.job(good)["status"], "done", "and no other")
    if (located := jobs.get("a Location of the same file")):
        is_(lab.bought(located[0]), 1, "an odd Location costs nobody a mesh")
    ok(daemon.alive() and lab.value("SELECT count(*) FROM public.jobs") == len(jobs) + 1, "the daemon runs, the table is there")
    is_clean(daemon.log(), "the log")
    for (sentence,) in lab.query("SELECT DISTINCT error FROM public.jobs WHERE error IS NOT NULL"):
        ok(re.fullmatch(r"[A-Z][A-Za-z ,.']{9,399}", sentence), "a user reads our words alone", sentence)
    is_(lab.value("SELECT max(length(detail::text)) < 2000 FROM meshify.events"), True, "the history is bounded")
    is_(lab.value("SELECT max(length(error)) <= 2000 FROM meshify.predictions WHERE job_id <> %s", job), True, "and so is what is kept of an error")
    ok(all(re.fullmatch(r"user_assets/[0-9a-z./_-]+", o["path"]) and ".." not in o["path"].split("/") for o in lab.sim.objects()), "objects have our names",
       [o["path"] for o in lab.sim.objects()])
    urls = [u for p in lab.sim.predictions() for u in p["input"].get("images", [])]
    ok(all(len(u) <= 8192 and not re.search(r"[\x00-\x20\x7f]", u) for u in urls), "URLs that are sent on are clean", [u[:200] for u in urls if re.search(r"[\x00-\x20\x7f]", u)])
    is_(lab.sim.stats()["received"]["account"], 0, "no id leads to another endpoint")
    texts_in_rows(lab, good)
    lab.sim.fault("upload", {"status": 503, "headers": {"Retry-After": "99999999999"}})
    lab.insert_job("never", f"{IMAGE}?never")
    ok(daemon.wait_line(r"Lane store is held.*Trying again in 120 s", 30), "nobody is waited for longer than two minutes")
    is_(daemon.stop(), 0, "and it stops")
    lab.sim.stop()


def texts_in_rows(lab, job):
    """What stands in rows comes out of meshifyctl clean, and what it is told does no harm."""
    lab.query("UPDATE public.mesh_assets SET prompt = %s, output_path = %s", NASTY, NASTY)
    lab.query("UPDATE public.jobs SET error = %s", NASTY + "x" * 100000)
    lab.query("UPDATE meshify.workers SET instance = %s, host = %s, held = jsonb_build_array(jsonb_build_object('lane', %s::text, 'reason', %s::text, "
              "'detail', %s::text, 'until', now() + interval '1 h'))", NASTY, NASTY, NASTY, NASTY, NASTY)
    lab.query("INSERT INTO meshify.events (job_id, event, detail) VALUES (%s, %s, %s)", job, NASTY, json.dumps({NASTY: NASTY}))
    for key, value in (("refund_max", NASTY), ("refund", NASTY), ("price", "-1"), ("paused", "x" * 1000000)):
        try:
            lab.query("UPDATE meshify.settings SET value = %s WHERE key = %s", value, key)
            ok(False, f"a setting by hand: {key}")
        except psycopg2.errors.CheckViolation:
            ok(True, f"a setting by hand: {key} is refused")
    big = NASTY + "x" * 100000
    for args in (["status"], ["jobs"], ["show", job], ["purchases"], ["settings"], ["stats"], ["jobs", "--status", big], ["jobs", "--user", big],
                 ["jobs", "--limit", big], ["show", big], ["retry", big], ["cancel", big], ["drain", big], ["settings", big, "1"], ["settings", "refund", big],
                 ["stats", "--since", big], [big], ["show", f"--{big}"], ["enqueue", "--user", big, "--project", big, "--prompt", big, "--image", big]):
        r = lab.ctl(*args)
        ok(r.returncode in (0, 1, 64), f"meshifyctl {args[0][:10]!r} {len(args)}: its status", f"{r.returncode}\n{r.stderr[:500]}")
        is_clean(r.stdout + r.stderr, f"meshifyctl {args[0][:10]!r} {len(args)}")
    r = lab.ctl("status", config="/nonexistent" + NASTY)
    is_clean(r.stdout + r.stderr, "a configuration's name")
    r = subprocess.run([program("meshifyd"), "-t", "--instance", big], capture_output=True, text=True, env=clean_environment(), check=False)
    is_clean(r.stdout + r.stderr, "an instance's name")


main()
