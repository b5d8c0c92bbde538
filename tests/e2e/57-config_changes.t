#!/usr/bin/python3
"""A configuration changes under way: what was bought is read by the one that it was bought with, and is not bought again."""

import collections

from lab import IMAGE, TRELLIS, Lab, accounts, is_, main, ok, test, wait_for

FAST = {"database.lease": "3s", "worker.retry_base": "100ms", "worker.retry_max": "500ms"}


def mesh(name, pointer="/model_file"):
    """A configuration whose image pipeline is this one step."""
    return {**FAST, "pipeline image.steps": name, f"step {name}.model": TRELLIS, f"step {name}.input.images": '["${image}"]',
            f"step {name}.input.generate_model": "true", f"step {name}.input.seed": "${seed}", f"step {name}.output": pointer}


def painted(name):
    """One whose text pipeline begins with this step."""
    return {**mesh("sculpt"), "pipeline text.steps": f"{name}, sculpt", f"step {name}.model": "black-forest-labs/flux-schnell",
            f"step {name}.input.prompt": "${prompt}", f"step {name}.input.seed": "${seed}", f"step {name}.output": "/0"}


@test
def another_name_or_pointer():
    """Of the last step, while five jobs wait for what was bought with the one before."""
    for what, after in (("another name", mesh("carve")), ("another pointer", mesh("sculpt", "/nothing"))):
        lab = Lab()
        lab.sim.config(starting_ms=0, processing_ms=4000)
        first = lab.daemon("first", **mesh("sculpt"))
        jobs = [lab.insert_job(f"{what} {n}", f"{IMAGE}?{n}") for n in range(5)]
        lab.wait_bought(5)
        first.kill() if what == "another name" else first.stop()
        lab.sim.config(starting_ms=0, processing_ms=100)
        lab.daemon("second", **after)
        if what == "another name":
            jobs.append(lab.insert_job("a good one", f"{IMAGE}?good"))
        for job, _ in jobs:
            lab.wait_status(job, "done", "error", seconds=60)
        is_(lab.query("SELECT status, count(*) FROM public.jobs GROUP BY 1"), [("done", len(jobs))], f"{what}: all are done")
        is_(len(lab.sim.predictions()), len(jobs), f"{what}: with one purchase each")
        is_(lab.value("SELECT count(*) FROM public.mesh_assets WHERE result_meta -> 'steps' @> '[{\"step\": \"sculpt\"}]'"), 5,
            f"{what}: and say what they were bought as")
        is_(lab.query("SELECT pipeline, step, model, output_pointer, last_step, count(*) FROM meshify.predictions WHERE step = 'sculpt' GROUP BY 1, 2, 3, 4, 5"),
            [("image", "sculpt", TRELLIS, "/model_file", True, 5)], f"{what}: so do the purchases")
        accounts.check(lab, jobs, f"{what}: ")
        lab.sim.stop()


@test
def a_step_that_is_gone():
    """Its prediction is no mesh, and no step's: it is cancelled, which counts an attempt, and the job goes on by what is."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=600000)
    first = lab.daemon("first", **painted("paint"))
    job, asset = lab.insert_job("a chair")
    lab.wait_bought(1)
    lab.sim.fault("create", {"lose_answer": True}, match="a table")
    unknown, other = lab.insert_job("a table")
    first.wait_event("JOB_UNSURE", seconds=60)
    first.kill()
    wait_for(lambda: len(lab.sim.predictions()) == 2, 20, "two predictions")
    lab.sim.config(starting_ms=0, processing_ms=100)
    old = {p["id"] for p in lab.sim.predictions()}
    lab.daemon("second", **painted("draw"))
    good, third = lab.insert_job("a good one")
    for j in (good, job, unknown):
        lab.wait_status(j, "done", "error", seconds=60)
    is_([lab.job(j)["status"] for j in (job, unknown, good)], ["done"] * 3, "a step that is gone: all are done")
    is_([lab.job(j)["attempts"] for j in (job, unknown, good)], [2, 2, 1], "a step that is gone: it counts as an attempt")
    wait_for(lambda: {p["status"] for p in lab.sim.predictions() if p["id"] in old} == {"canceled"}, 90, "the cancel of what it bought")
    ok(True, "a step that is gone: what it bought is cancelled, also what nobody knew of")
    wait_for(lambda: lab.query("SELECT DISTINCT state FROM meshify.predictions WHERE step = 'paint'") == [("surplus",)], 30, "their rows")
    is_(lab.query("SELECT step, count(*) FROM meshify.predictions WHERE state = 'bought' GROUP BY 1 ORDER BY 1"), [("draw", 3), ("sculpt", 3)],
        "a step that is gone: each step of now was bought once")
    is_(lab.value("SELECT count(*) FROM meshify.events WHERE event = 'handed_back' AND detail ->> 'reason' = 'step_gone'"), 2, "a step that is gone: the history says why")
    accounts.check(lab, [(job, asset), (unknown, other), (good, third)], "a step that is gone: ")
    lab.sim.stop()


@test
def a_step_that_is_gone_and_a_trigger():
    """The job can't go back now: what was bought for the step that is gone is cancelled all the same."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=600000)
    first = lab.daemon("first", **painted("paint"))
    job, asset = lab.insert_job("a chair")
    lab.wait_bought(1)
    first.stop()
    lab.query("CREATE FUNCTION public.stay() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
              "IF OLD.status = 'running' AND NEW.status = 'pending' THEN RAISE 'it stays'; END IF; RETURN NEW; END $$")
    lab.query("CREATE TRIGGER stay BEFORE UPDATE ON public.jobs FOR EACH ROW EXECUTE FUNCTION public.stay()")
    lab.sim.config(starting_ms=0, processing_ms=100)
    second = lab.daemon("second", **painted("draw"))
    second.wait_event("JOB_PARKED", seconds=60)
    second.wait_event("JOB_SURPLUS", job=job, text="paint")
    wait_for(lambda: [p["status"] for p in lab.sim.predictions()] == ["canceled"], 30, "the cancel of what it bought")
    ok(True, "a step that is gone and a trigger: its prediction is cancelled at once")
    lab.query("DROP FUNCTION public.stay() CASCADE")
    lab.query("UPDATE meshify.closings SET due = now()")
    lab.wait_status(job, "done", seconds=60)
    is_(lab.query("SELECT step, state FROM meshify.predictions ORDER BY n"), [("paint", "surplus"), ("draw", "bought"), ("sculpt", "bought")],
        "a step that is gone and a trigger: each step of now is bought once")
    accounts.check(lab, [(job, asset)], "a step that is gone and a trigger: ")
    lab.sim.stop()


@test
def two_at_once():
    """Two instances of different configurations, killed again and again: each uses what the other has bought."""
    lab = Lab()
    lab.sim.config(starting_ms=100, processing_ms=2500)
    lab.sim.fault("create", {"lose_answer": True}, count=10, percent=20)
    names = ["sculpt", "carve"]
    daemons = [lab.daemon(name, **{**mesh(name), "worker.max_jobs": "20"}) for name in names]
    jobs = [lab.insert_job(f"job {n}", f"{IMAGE}?{n:03}") for n in range(100)]
    for turn in range(6):
        done = lab.count("done")
        wait_for(lambda: lab.count("done") >= min(done + 8, 100), 60, "some more")
        daemons[turn % 2].kill()
        names[turn % 2] = "carve" if names[turn % 2] == "sculpt" else "sculpt" # so that it takes up what the other has bought
        daemons[turn % 2] = lab.daemon(f"turn{turn}", **{**mesh(names[turn % 2]), "worker.max_jobs": "20"})
    lab.wait_all_ended(120)
    is_(lab.query("SELECT status, count(*) FROM public.jobs GROUP BY 1"), [("done", 100)], "two at once: all are done")
    of = collections.Counter(p["input"]["images"][0] for p in lab.sim.predictions())
    ok(len(of) == 100 and max(of.values()) <= 2, "two at once: at most two purchases a job", of.most_common(5))
    is_(len(lab.query("SELECT DISTINCT step FROM meshify.predictions")), 2, "two at once: both have bought")
    ok(sum(of.values()) <= 110, "two at once: and hardly ever a second", sum(of.values()))
    accounts.check(lab, jobs, "two at once: ")
    lab.sim.stop()


main()
