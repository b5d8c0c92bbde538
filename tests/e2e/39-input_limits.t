#!/usr/bin/python3
"""What a user may ask for in size and form: too much is refused unread and unbought, and keeps nobody else waiting."""

import json
import time

from lab import IMAGE, Lab, is_, main, ok, test
from lab.prometheus import scrape
from lab.shim import may_preload

END = ", single object, white background"
TOO_LARGE = "The request is too large. Please shorten the prompt."
NOTHING = "The request has neither a prompt nor an image."
BAD_IMAGE = "The reference image cannot be used. Please upload it again or use an https address."
MAX = 32768


def watched(lab, **keys):
    daemon = lab.daemon(**{"metrics.listen": "127.0.0.1:0", **keys})
    return daemon, daemon.metrics_at()


def peak(daemon):
    """The most memory it ever had, in MiB."""
    with open(f"/proc/{daemon.pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM:")) / 1024


def many(lab, n, prompt):
    """Jobs of this prompt, all at once, whose text never passes through here."""
    return [j for (j,) in lab.query(f"""
        WITH a AS (INSERT INTO public.mesh_assets (project_id, owner_id, prompt, status, credits_cost)
                   SELECT %s, %s, 'large', 'pending', 25 FROM generate_series(1, %s) RETURNING id),
             p AS (UPDATE public.profiles SET credits_remaining = credits_remaining - 25 * %s WHERE id = %s)
        INSERT INTO public.jobs ({', '.join(lab.types)}, user_id, project_id, asset_id, status, input_data)
        SELECT {', '.join(["'meshify'"] * len(lab.types))}, %s, %s, a.id, 'pending', jsonb_build_object('prompt', {prompt})
        FROM a RETURNING id""", lab.project, lab.user, n, n, lab.user, lab.user, lab.project)]


def refused(lab, jobs, sentence, what):
    rows = lab.query("""SELECT j.status, j.error, (SELECT sum(r.credits)::int FROM meshify.refunds r WHERE r.job_id = j.id),
                               EXISTS (SELECT FROM meshify.predictions p WHERE p.job_id = j.id)
                        FROM public.jobs j WHERE j.id = ANY (%s::uuid[])""", jobs)
    is_(set(rows), {("error", sentence, 25, False)}, f"{what}: fails with a sentence and a refund, unbought")


@test
def long_prompts():
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=50)
    daemon, at = watched(lab)
    lab.wait_status(lab.insert_job("first", IMAGE)[0], "done")
    before, memory = lab.credits_of(), peak(daemon)
    long = many(lab, 12, "repeat('p', 1000000)") # packed to a hundredth
    long += many(lab, 5, "(SELECT string_agg(md5(i::text || a.id), '') FROM generate_series(1, 230000) i)") # 7 MiB that can't be packed
    long += many(lab, 10, "repeat('漢', 10000000)")
    long += many(lab, 1, f"repeat('é', {MAX // 2}) || 'x'")
    began = time.monotonic()
    good, _ = lab.insert_job("x" * (MAX - len("é".encode())) + "é")
    is_(lab.wait_status(good, "done", "error")["status"], "done", "a prompt of 32 KiB is taken")
    lab.wait_all_ended(60)
    print(f"# all ended in {time.monotonic() - began:.1f} s")
    ok(any(p["input"].get("prompt") == "x" * (MAX - 2) + "é" + END for p in lab.sim.predictions()), "and arrives to the byte")
    refused(lab, long, TOO_LARGE, "longer ones")
    is_(lab.credits_of(), before - 25, "and the user paid for the good one alone")
    grown = peak(daemon) - memory
    ok(grown < 60, f"with {grown:.0f} MiB more memory than for one job")
    turn = scrape(at).value("meshify_loop_longest_turn_seconds", clock="cpu")
    ok(turn is not None and turn < 0.05, f"and the longest turn of the loop used {turn} s")
    is_(daemon.told("JOB_FAILED", fault="input_too_large"), len(long), "the log names the fault")
    shown = lab.ctl("jobs")
    ok(shown.returncode == 0 and len(shown.stdout) < 100000, "meshifyctl shows what it can")

    # What is large beside the prompt: only the whole counts.
    beside = {"prompt": "beside", "input_image_url": IMAGE, "more": "0123456789abcdef" * 20000}
    lab.wait_status(lab.insert_job(input_data=beside)[0], "done")
    job, _ = lab.insert_job(input_data={**beside, "more": "0123456789abcdef" * 40000})
    lab.wait_status(job, "error")
    refused(lab, [job], TOO_LARGE, "input_data above 512 KiB")


@test
def jobs_are_taken_up_in_turns():
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=50)
    jobs = many(lab, 100, f"(SELECT left(string_agg(md5(i::text || a.id), ''), {MAX}) FROM generate_series(1, 1024) i)")
    daemon, at = watched(lab)
    lab.wait_all_ended(90)
    is_(lab.value("SELECT count(*) FROM public.jobs WHERE status = 'done' AND id = ANY (%s::uuid[])", jobs), 100, "a hundred jobs with long prompts are done")
    is_(len({p["input"]["prompt"] for p in lab.sim.predictions() if "prompt" in p["input"]}), 100, "each with its own prompt")
    is_(lab.value("SELECT max(attempts) FROM public.jobs"), 1, "claimed once")
    m = scrape(at)
    is_(m.value("meshify_jobs_claimed_total"), 100, "taken up once")
    turn = m.value("meshify_loop_longest_turn_seconds", clock="cpu")
    ok(turn is not None and turn < 0.05, f"the longest turn of the loop used {turn} s")
    ok(peak(daemon) < 100 or not may_preload(), f"with {peak(daemon):.0f} MiB")


@test
def the_setting():
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=50)
    lab.daemon()
    ok("max_prompt       32768" in lab.ctl("settings").stdout, "meshifyctl settings shows it")
    ids = ["--user", lab.user, "--project", lab.project]
    r = lab.ctl("enqueue", *ids, "--prompt", "x" * (MAX + 1))
    ok(r.returncode == 1 and f"has {MAX + 1} bytes, at most {MAX}" in r.stderr, "enqueue refuses a longer prompt, with both numbers", r.stderr[:300])
    r = lab.ctl("enqueue", *ids, "--prompt", "\u2003\u200b", "--json")
    ok(r.returncode == 1 and "prompt or an image" in r.stderr, "and one of blanks", r.stderr[:300])
    is_(lab.value("SELECT count(*) FROM public.jobs"), 0, "which leaves nothing")
    is_(lab.ctl("settings", "max_prompt", "much").returncode, 1, "it is a number")
    is_(lab.ctl("settings", "max_prompt", "100").returncode, 0, "it can be changed")
    job, _ = lab.insert_job("x" * 101)
    lab.wait_status(job, "error")
    refused(lab, [job], TOO_LARGE, "above what was set")
    lab.wait_status(lab.insert_job("x" * 100)[0], "done")
    is_(lab.ctl("settings", "max_prompt", "0").returncode, 0, "0: no limit but that of the whole")
    is_(lab.ctl("retry", job).returncode, 0, "what failed is tried again")
    lab.wait_status(job, "done")
    lab.wait_status(lab.insert_job("x" * 400000)[0], "done")


BLANKS = {"spaces": "  \t ", "lines": "\r\n\v\f", "no-break": "\u00a0\u202f\u2007", "wide": "\u3000\u2003\u205f\u1680", "without width": "\u200b\u200d\u2060\ufeff",
          "unseen": "\u00ad\u180e\u3164\u2800\U000e0020"}


@test
def inputs():
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=50)
    other, _ = lab.add_user()
    for user in (lab.user, other):
        lab.sim.put(f"user_assets/{user}/in.png", b"png")
    lab.daemon()
    blank = [lab.insert_job(b)[0] for b in BLANKS.values()]
    empty = [lab.insert_job(input_data={"prompt": b, "input_image_url": "\u3000 "})[0] for b in BLANKS.values()]
    images = [lab.insert_job(b, f"{IMAGE}?{i}")[0] for i, b in enumerate(BLANKS.values())]
    hosts = [lab.insert_job("a host", url)[0] for url in ("http://", "https:///x.png", "http://:80/x.png", "https://?x", "https://user@/x.png", "http://#")]
    paths = [lab.insert_job("a path", path.format(lab.user))[0] for path in ("{}/in.png", "/{}/in.png", "user_assets/{}/in.png", "/user_assets/{}/in.png")]
    theirs = [lab.insert_job("theirs", path.format(other))[0] for path in ("{}/in.png", "/{}/in.png", "user_assets/{}/in.png", "/user_assets/{}/in.png")]
    theirs += [lab.insert_job("theirs", path)[0] for path in (f"user_assets/{lab.user}/../{other}/in.png", f"//{lab.user}/in.png", f"other_bucket/{lab.user}/in.png")]
    good, _ = lab.insert_job("good")
    lab.wait_all_ended(60)
    is_(lab.job(good)["status"], "done", "a good job beside them is done")
    refused(lab, blank + empty, NOTHING, "a prompt of which nothing is seen")
    is_([lab.job(j)["status"] for j in images], ["done"] * len(images), "with an image such jobs run")
    refused(lab, hosts, BAD_IMAGE, "an address without a host")
    is_([lab.job(j)["status"] for j in paths], ["done"] * len(paths), "paths with a slash or the bucket before them are the user's own")
    signed = [u for p in lab.sim.predictions() for u in p["input"].get("images", []) if "/sign/" in u]
    ok(len(signed) == len(paths) and all(f"/sign/user_assets/{lab.user}/in.png?" in u for u in signed), "and signed as such", json.dumps(signed))
    refused(lab, theirs, BAD_IMAGE, "others' stay theirs")


main()
