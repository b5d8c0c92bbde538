#!/usr/bin/python3
"""Hostile text and rows that vanish: what the user wrote arrives to the byte, and harms nothing on its way."""

import json
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import accounts
import lab as testing
from lab import Lab, is_, ok, wait_for

IMAGE = "https://images.example/x.png"
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
    "long": "a long prompt, " * 70000,
    "blanks": "  \t ",
}
END = ", single object, white background"


def hostile_prompts():
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=50)
    daemon = lab.daemon(**{"log.level": "debug"})
    jobs = {}
    for what, prompt in PROMPTS.items():
        jobs[what] = lab.insert_job(prompt)
    jobs["good"] = lab.insert_job("a good one beside them", IMAGE)
    lab.wait_all_ended(60)
    accounts.check(lab, list(jobs.values()), "hostile: ")
    sent = [p["input"].get("prompt") for p in lab.sim.predictions()]
    for what, prompt in PROMPTS.items():
        ok(prompt + END in sent, f"{what}: arrives to the byte")
    keys = {tuple(sorted(p["input"])) for p in lab.sim.predictions() if "prompt" in p["input"]}
    is_(keys, {("output_format", "prompt", "seed")}, "no prompt changes the shape of a request")
    bad = [line for line in daemon.lines if len(line) > 2000 or re.search(r"[\x00-\x08\x0b-\x1f\x7f\x9b]", line)]
    is_(bad[:3], [], "no control character, and nothing endless, in the log")
    shown = lab.ctl("jobs").stdout
    is_(re.findall(r"[\x00-\x09\x0b-\x1f\x7f]", shown), [], "nor on the operator's terminal")
    ok(all(o["path"].count("/") == 3 and ".." not in o["path"] for o in lab.sim.objects()), "nor in an object's name")
    lab.sim.stop()


def hostile_answers():
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=50)
    daemon = lab.daemon(**{"worker.retry_base": "100ms", "worker.max_attempts": "1"})
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
    is_(lab.job(jobs["profile"][0])["status"], "canceled", "a job whose profile is gone still ends")
    lab.sim.config(processing_ms=50)
    good, _ = lab.insert_job("good", f"{IMAGE}?good")
    lab.wait_status(good, "done")
    ok(daemon.alive(), "and work goes on")
    lab.sim.stop()


testing.main(hostile_prompts, hostile_answers, bad_rows, rows_that_vanish)
