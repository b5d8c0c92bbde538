#!/usr/bin/python3
"""Credits: what was charged goes back, once; whatever users write, and whoever does what at the same time."""

import json
import re
import threading
import uuid

import psycopg2
from psycopg2.errors import DeadlockDetected, LockNotAvailable

from lab import Lab, is_, main, ok, test, wait_for
from lab.postgres import SUPERUSER

IMAGE = "https://example.com/cat.png"
ENDLESS = {"processing_ms": 600000}


def settings(lab, **values):
    with lab.postgres.connect() as db:
        for key, value in values.items():
            db.cursor().execute("UPDATE meshify.settings SET value = %s WHERE key = %s", (str(value), key))
        db.commit()


class Person:
    """A user of the project, with the policies that many projects have; each statement as PostgREST runs it."""

    def __init__(self, lab, user):
        self.db = lab.postgres.connect(SUPERUSER, autocommit=False)
        self.claims = json.dumps({"sub": user, "role": "authenticated"})

    def __call__(self, sql, *params):
        cursor = self.db.cursor()
        try:
            cursor.execute("SET LOCAL ROLE authenticated")
            cursor.execute("SELECT set_config('request.jwt.claims', %s, true)", (self.claims,))
            cursor.execute(sql, params)
            rows = cursor.fetchall() if cursor.description else cursor.rowcount
            self.db.commit()
            return rows
        except psycopg2.Error:
            self.db.rollback()
            raise


def usual_policies(lab):
    for table, column in (("mesh_assets", "owner_id"), ("jobs", "user_id")):
        lab.query(f"CREATE POLICY mine ON public.{table} TO authenticated USING ({column} = (SELECT auth.uid())) WITH CHECK ({column} = (SELECT auth.uid()))")


@test
def users_who_try_to_be_paid():
    lab = Lab()
    usual_policies(lab)
    lab.sim.config(starting_ms=0, processing_ms=50)
    lab.sim.fault("create", ENDLESS, match="endless", count=-1)
    lab.daemon(**{"worker.retry_base": "100ms"})
    me = Person(lab, lab.user)

    # Pays 25, writes 100, is given back; again and again, with its status set back by hand.
    job, asset = lab.insert_job("raised", f"{IMAGE}?endless")
    before = lab.credits_of()
    lab.wait_bought(job_id=job)
    for _ in range(3):
        me("UPDATE public.mesh_assets SET credits_cost = 100 WHERE id = %s", asset)
        lab.value("SELECT meshify.cancel(%s)", job)
        lab.wait_status(job, "canceled", "error")
        me("UPDATE public.jobs SET status = 'pending', cancel_requested_at = NULL WHERE id = %s", job)
    lab.wait_status(job, "error")
    is_(lab.credits_of() - before, 25, "who raises the cost gets back what was charged, once")
    is_(lab.job(job)["error"], "The credits for this mesh were given back, so it was not made.", "and no mesh for it any more")
    is_(lab.value("SELECT count(*) FROM meshify.predictions WHERE job_id = %s", job), 1, "nothing more was bought for it")

    # A row of their own, which nobody has paid for.
    before = lab.credits_of()
    free = str(uuid.uuid4())
    me("INSERT INTO public.mesh_assets (id, project_id, owner_id, prompt, credits_cost) VALUES (%s, %s, %s, 'mine', 25)", free, lab.project, lab.user)
    own = me(f"INSERT INTO public.jobs ({', '.join(lab.types)}, user_id, project_id, asset_id, input_data) VALUES ({', '.join(repr('meshify') for _ in lab.types)}, "
             "%s, %s, %s, %s) RETURNING id", lab.user, lab.project, free, json.dumps({"prompt": "mine", "input_image_url": f"{IMAGE}?endless"}))[0][0]
    lab.wait_bought(job_id=own)
    me("DELETE FROM public.mesh_assets WHERE id = %s", free)
    is_(lab.credits_of(), before, "a row that a user inserts gives nothing back")

    # A mesh that was made, its rows deleted and inserted again with the same ids.
    good, made = lab.insert_job("good", IMAGE)
    lab.wait_status(good, "done")
    before = lab.credits_of()
    me("DELETE FROM public.mesh_assets WHERE id = %s", made)
    me("INSERT INTO public.mesh_assets (id, project_id, owner_id, prompt, credits_cost) VALUES (%s, %s, %s, 'again', 25)", made, lab.project, lab.user)
    for way in ("UPDATE public.jobs SET status = 'running', worker_id = NULL WHERE id = %s", "DELETE FROM public.jobs WHERE id = %s"):
        me(way, good)
    second = lab.value("INSERT INTO meshify.jobs (user_id, project_id, asset_id, run_after, input_data) VALUES (%s, %s, %s, 'infinity', '{\"prompt\": \"x\"}') RETURNING id",
                       lab.user, lab.project, made)
    is_(lab.value("SELECT meshify.cancel(%s)", second), "canceled", "a job for the old id ends")
    is_(lab.credits_of(), before, "what was made is spent, whatever rows are written")

    # Given back, then made to run under a worker by hand.
    worker = lab.value("SELECT id FROM meshify.workers")
    lost, _ = lab.insert_job("worked on", f"{IMAGE}?endless")
    lab.wait_bought(job_id=lost)
    lab.value("SELECT meshify.cancel(%s)", lost)
    lab.wait_status(lost, "canceled", "error")
    me("UPDATE public.jobs SET status = 'running', cancel_requested_at = NULL, worker_id = %s WHERE id = %s", worker, lost)
    bystander, _ = lab.insert_job("bystander", IMAGE)
    lab.wait_status(bystander, "done")
    is_(lab.value("SELECT count(*) FROM meshify.predictions WHERE job_id = %s", lost), 1, "a job that was made to run is not worked on")
    is_(lab.ctl("retry", lost).returncode, 0, "a retry takes the credits again")
    wait_for(lambda: lab.value("SELECT count(*) FROM meshify.predictions WHERE job_id = %s", lost) == 2, 60, "its second purchase")
    ok(True, "then it is worked on")
    is_(lab.refunded(lost), 0, "for the price")
    lab.sim.stop()


@test
def two_jobs_of_one_asset():
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=50)
    lab.sim.fault("create", ENDLESS, match="endless", count=-1)
    lab.sim.fault("create", {"processing_ms": 4000}, match="slow", count=-1)
    lab.daemon()

    def second(asset, image):
        return lab.value("INSERT INTO meshify.jobs (user_id, project_id, asset_id, input_data) VALUES (%s, %s, %s, %s) RETURNING id",
                         lab.user, lab.project, asset, json.dumps({"prompt": "second", "input_image_url": image}))

    def held(job):
        lab.wait_bought(job_id=job)
        holder = lab.postgres.connect(SUPERUSER, autocommit=False)
        holder.cursor().execute("SELECT FROM public.jobs WHERE id = %s FOR UPDATE", (job,))
        return holder

    job, asset = lab.insert_job("first", f"{IMAGE}?slow")
    other = second(asset, f"{IMAGE}?endless")
    before = lab.credits_of()
    lab.wait_bought(job_id=other)
    lab.value("SELECT meshify.cancel(%s)", other)
    lab.wait_status(other, "canceled", "error")
    is_(lab.credits_of(), before, "one of two is canceled: nothing goes back while the other is worked on")
    lab.wait_status(job, "done")
    is_((lab.asset(asset)["status"], lab.credits_of()), ("done", before), "it makes the mesh, for the price")
    job, asset = lab.insert_job("both fail", f"{IMAGE}?endless")
    other = second(asset, f"{IMAGE}?endless2")
    before = lab.credits_of()
    lab.wait_bought(job_id=job)
    lab.wait_bought(job_id=other)
    for one in (job, other):
        lab.value("SELECT meshify.cancel(%s)", one)
    for one in (job, other):
        lab.wait_status(one, "canceled", "error")
    is_((lab.asset(asset)["status"], lab.credits_of() - before), ("error", 25), "both are canceled: it goes back, once")

    # Both make it: each file under a name of its own, which no other bytes are ever written to. A job whose row is locked
    # does not get its name before it is free. Where the later purchase is stored first, the number of the earlier one,
    # which went well, is left to it: a program of before, which writes no name down, may be storing it.
    for what, order, numbers in (("in turn", (0, 1), ("", "_2")), ("the later first", (1, 0), ("_3", "_2"))):
        job, asset = lab.insert_job(what, f"{IMAGE}?slow1-{asset}")
        holders = [held(job)]
        other = second(asset, f"{IMAGE}?slow2-{asset}")
        holders.append(held(other))
        wait_for(lambda: lab.value("SELECT count(*) FROM meshify.predictions WHERE asset_id = %s AND status = 'succeeded'", asset) == 2, 60, "both to go well")
        is_(lab.value("SELECT count(object_name) FROM meshify.predictions WHERE asset_id = %s", asset), 0, f"{what}: none has a name yet")
        for i in order:
            holders[i].close()
            lab.wait_status((job, other)[i], "done")
        paths = [lab.job(one)["output_data"]["storage_path"] for one in (job, other)]
        objects = {o["path"].removeprefix("user_assets/"): o for o in lab.sim.objects()}
        is_([p.rpartition("/")[2] for p in paths], [f"mesh_{asset}{n}.glb" for n in numbers], f"{what}: two names")
        is_([objects[p]["changes"] for p in paths], [0, 0], f"{what}: neither was written over")
        row = lab.asset(asset)
        is_(row["output_path"], paths[order[1]], f"{what}: the row names the one that was done last")
        is_(objects[row["output_path"]]["sha256"], row["result_meta"]["sha256"], f"{what}: and describes the file that it names")
    lab.sim.stop()


@test
def rows_that_are_deleted():
    """A job's row by hand, and a project through both keys: nothing runs on, and the credits come back."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=50)
    lab.sim.fault("create", ENDLESS, match="endless", count=-1)
    lab.daemon()

    def running(prediction):
        return next(p["status"] for p in lab.sim.predictions() if p["id"] == prediction) not in ("succeeded", "failed", "canceled")

    def deleted(what, project, *statements):
        job, asset = lab.insert_job(what, f"{IMAGE}?endless-{uuid.uuid4()}", project=project)
        before = lab.credits_of()
        lab.wait_bought(job_id=job)
        prediction = lab.value("SELECT prediction_id FROM meshify.predictions WHERE job_id = %s", job)
        for statement in statements:
            lab.query(statement, job if "jobs" in statement else project)
        is_(lab.credits_of() - before, 25, f"{what}: the credits are back")
        wait_for(lambda: not running(prediction), 15, f"the cancel of {prediction}")
        ok(True, f"{what}: the prediction is canceled soon")
        row = lab.asset(asset)
        is_(row and row["status"], None if "projects" in statements[-1] else "error", f"{what}: the asset runs no more")

    def keys(*tables):
        """Their triggers fire in the order in which the keys were made."""
        lab.query("ALTER TABLE public.mesh_assets DROP CONSTRAINT IF EXISTS mesh_assets_project_id_fkey")
        lab.query("ALTER TABLE public.jobs DROP CONSTRAINT IF EXISTS jobs_project_id_fkey")
        for table in tables:
            lab.query(f"ALTER TABLE public.{table} ADD CONSTRAINT {table}_project_id_fkey FOREIGN KEY (project_id) REFERENCES public.projects ON DELETE CASCADE")

    deleted("a job's row", lab.project, "DELETE FROM public.jobs WHERE id = %s")
    for order in (("jobs", "mesh_assets"), ("mesh_assets", "jobs")):
        project = lab.value("INSERT INTO public.projects (owner_id) VALUES (%s) RETURNING id", lab.user)
        keys(*order)
        deleted(f"a project, {order[0]} first", project, "DELETE FROM public.projects WHERE id = %s")
    good, _ = lab.insert_job("good", IMAGE)
    lab.wait_status(good, "done")
    lab.sim.stop()


def at_once(lab, *calls):
    """Each (statement, parameters) in a session of its own, all at the same moment; answers what each answered or raised."""
    answers = [None] * len(calls)
    start = threading.Barrier(len(calls))

    def run(i, sql, params):
        db = lab.postgres.connect()
        cursor = db.cursor()
        start.wait()
        try:
            cursor.execute(sql, params)
            answers[i] = cursor.fetchall() if cursor.description else cursor.rowcount
        except psycopg2.Error as error:
            answers[i] = error
        db.close()

    threads = [threading.Thread(target=run, args=(i, sql, params)) for i, (sql, *params) in enumerate(calls)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    return answers


@test
def calls_at_the_same_time():
    lab = Lab()
    settings(lab, max_pending_jobs=1)
    enqueue = "SELECT asset_id, job_id FROM meshify.enqueue(%s, %s, 'x', NULL)"
    answers = at_once(lab, *[(enqueue, lab.user, lab.project)] * 6)
    is_((sum(isinstance(a, list) for a in answers), {a.pgcode for a in answers if not isinstance(a, list)}), (1, {"MF429"}), "of six calls at once, max_pending_jobs = 1 lets one in")
    is_(lab.count("pending"), 1, "which is one job")
    user = str(uuid.uuid4())
    project = lab.value("INSERT INTO public.projects (owner_id) VALUES (%s) RETURNING id", user)
    answers = at_once(lab, *[("SELECT meshify.enqueue(%s, %s, 'x', NULL, true)", user, project)] * 6)
    is_(sum(isinstance(a, list) for a in answers), 1, "nor more where there is no profile to lock")
    settings(lab, max_pending_jobs=0)
    before = lab.credits_of()
    request = str(uuid.uuid4())
    answers = at_once(lab, *[("SELECT asset_id, job_id FROM meshify.enqueue(%s, %s, 'x', NULL, request_id => %s)", lab.user, lab.project, request)] * 6)
    ok(all(a == answers[0] and isinstance(a, list) for a in answers), "six calls with one request_id: one answer", answers)
    is_(before - lab.credits_of(), 25, "and one charge")
    answers = at_once(lab, ("SELECT meshify.enqueue(%s, %s, 'other', NULL, request_id => %s)", lab.user, lab.project, request))
    is_(answers[0].pgcode, "MF400", "with other arguments it is refused")
    stranger, theirs = lab.add_user()
    is_(at_once(lab, (enqueue, lab.user, theirs))[0].pgcode, "MF400", "as is another's project")

    # Against a project's deletion, which locks it, then its assets, then the profile.
    bad = []
    for _ in range(8):
        project = lab.value("INSERT INTO public.projects (owner_id) VALUES (%s) RETURNING id", lab.user)
        for _ in range(3):
            lab.query(enqueue, lab.user, project)
        bad += [a for a in at_once(lab, ("DELETE FROM public.projects WHERE id = %s", project), *[(enqueue, lab.user, project)] * 3)
                if isinstance(a, psycopg2.Error) and a.pgcode != "MF400"]
    ok(not bad, "calls beside a project's deletion: in, or refused, and no deadlock", bad)
    is_(lab.value("SELECT p.credits_used - coalesce(sum(c.credits), 0) + (SELECT coalesce(sum(r.credits), 0) FROM meshify.refunds r WHERE r.user_id = p.id) "
                  "FROM public.profiles p JOIN meshify.charges c ON c.user_id = p.id WHERE p.id = %s GROUP BY p.id, p.credits_used", lab.user), 0, "and all of it adds up")

    # Whatever ends a job, two at a time: a lock may be refused, but nothing goes back twice, and nothing deadlocks.
    ways = {"cancel": ("SELECT meshify.cancel(%s)", "job"), "delete the job": ("DELETE FROM public.jobs WHERE id = %s", "job"),
            "delete the asset": ("DELETE FROM public.mesh_assets WHERE id = %s", "asset"), "claim": ("SELECT count(*) FROM meshify.claim(%s, 9, 0, false)", "worker"),
            "fail": ("SELECT meshify.fail(%s, %s, 'It broke down.', 'word')", "worker", "job"), "retry": ("SELECT meshify.retry(%s)", "job"),
            "done": ("SELECT meshify.done(%s, %s, 'u/x.glb', 1, 'm', '{}', '{}')", "worker", "job"),
            "hand back": ("SELECT meshify.hand_back(%s, %s, '0', false, '0', 'x')", "worker", "job"),
            "move it": ("UPDATE public.jobs SET asset_id = %s WHERE id = %s", "elsewhere", "job"),
            "audit and sweep": ("SELECT (SELECT count(*) FROM meshify.audit_running(%s, 9)), (SELECT count(*) FROM meshify.orphans_due(%s, 'x', 9))", "worker", "worker")}
    worker = str(uuid.uuid4())
    lab.query("SELECT meshify.register(%s, 'x', 'h', '', '', '', 1, '1', 9999, '1 hour')", worker)
    bad, wrong = [], []
    together = [(a, b) for a in ways for b in ways]
    together += [("cancel", "retry", "audit and sweep"), ("fail", "retry", "cancel"), ("delete the asset", "retry", "cancel"), ("done", "cancel", "retry"),
                 ("hand back", "cancel", "claim"), ("move it", "delete the asset", "done"), ("move it", "cancel", "claim")] * 4
    for names in together:
        things = {"worker": worker}
        things["job"], things["asset"] = lab.insert_job("together", IMAGE)
        things["elsewhere"] = lab.insert_job("elsewhere", IMAGE)[1]
        lab.query("SELECT meshify.claim(%s, 999, 0, false)", worker)
        answers = at_once(lab, *[(ways[w][0], *[things[k] for k in ways[w][1:]]) for w in names])
        bad += [(names, x) for x in answers if isinstance(x, DeadlockDetected) or isinstance(x, psycopg2.Error) and not isinstance(x, LockNotAvailable)]
        sums = lab.value("SELECT coalesce(sum(credits), 0)::int FROM meshify.refunds WHERE asset_id = %s", things["asset"])
        kept = lab.value("SELECT count(*) FROM meshify.jobs WHERE id = %s AND status IN ('pending', 'running', 'done')", things["job"])
        kept = kept or [("ok",)] in [a for w, a in zip(names, answers) if w == "done"] # the mesh was made, then the row was deleted
        # Who moves a job by hand is out of order: either way, but not both.
        if sums not in ({0, 25} if "move it" in names else {0} if kept else {25}):
            wrong.append((names, sums, lab.job(things["job"])))
        wrong += [(names, row) for row in lab.query("SELECT a.id FROM public.mesh_assets a JOIN meshify.refunds r ON r.asset_id = a.id "
                                                    "WHERE a.status = 'done' GROUP BY a.id HAVING sum(r.credits) > 0")]
    ok(not bad, "any two at once, and some three: no deadlock", bad)
    ok(not wrong, "and what ended is paid back once", wrong)
    is_(lab.value("SELECT p.credits_used - coalesce(sum(c.credits), 0) + (SELECT coalesce(sum(r.credits), 0) FROM meshify.refunds r WHERE r.user_id = p.id) "
                  "FROM public.profiles p JOIN meshify.charges c ON c.user_id = p.id WHERE p.id = %s GROUP BY p.id, p.credits_used", lab.user), 0, "and all of it adds up")
    lab.sim.stop()


@test
def what_migrate_finds():
    """Assets of before are charged as they stand, at most the price; what went back for one stays so."""
    lab = Lab(migrate=False)
    jobs = {cost: lab.insert_job(f"costs {cost}", IMAGE, cost=cost) for cost in (0, 10, 25, 1000)}
    made = lab.insert_job("made", IMAGE)
    lab.query("UPDATE public.mesh_assets SET status = 'done' WHERE id = %s", made[1])
    lab.query("UPDATE public.jobs SET status = 'done' WHERE id = %s", made[0])
    admin = lab.write_config("admin", **{"database.url": lab.postgres.url("postgres")})
    is_(lab.ctl("migrate", config=admin).returncode, 0, "migrate")
    lab.postgres.grant()
    is_({c: float(lab.value("SELECT credits FROM meshify.charges WHERE asset_id = %s", a)) for c, (_, a) in jobs.items()}, {0: 0, 10: 10, 25: 25, 1000: 25}, "what it finds is recorded")
    for job, _ in jobs.values():
        lab.value("SELECT meshify.cancel(%s)", job)
    is_(lab.query("SELECT sum(credits)::int, count(*)::int FROM meshify.refunds"), [(60, 3)], "and that goes back")
    lab.query("DELETE FROM public.mesh_assets")
    is_(lab.value("SELECT sum(credits)::int FROM meshify.refunds"), 60, "once, and nothing for what was made")
    # What an inserted row cost before a migration that comes again is what was charged then.
    job, asset = lab.insert_job("between", IMAGE)
    lab.query("UPDATE public.mesh_assets SET credits_cost = 5 WHERE id = %s", asset)
    lab.postgres.execute("UPDATE meshify.schema_version SET version = 1", "postgres")
    is_(lab.ctl("migrate", config=admin).returncode, 0, "migrate again")
    lab.value("SELECT meshify.cancel(%s)", job)
    is_(lab.value("SELECT sum(credits)::int FROM meshify.refunds"), 85, "changes nothing that is recorded")
    lab.sim.stop()


@test
def what_the_doctor_says():
    lab = Lab()
    said = lab.ctl("doctor").stdout
    ok("users themselves" not in said and "something else than the price" not in said and "insert rows" not in said, "a good set-up: nothing of it", said)
    usual_policies(lab)
    said = lab.ctl("doctor").stdout
    for table in ("mesh_assets", "jobs"):
        ok(f"policy mine lets authenticated insert rows of public.{table}" in said, f"the policy that lets users insert into {table}", said)
    for column in ("mesh_assets.status", "mesh_assets.output_path", "mesh_assets.owner_id", "mesh_assets.credits_cost", "jobs.input_data", "jobs.asset_id", "jobs.attempts",
                   "jobs.crashes", "jobs.worked", "jobs.status"):
        ok(re.search(rf"authenticated can write [^\n]*\b{column}\b[^\n]* \(UPDATE\)", said), f"users can write {column}", said)
    for _ in range(2):
        lab.insert_job("dear", IMAGE, cost=40)
    Person(lab, lab.user)("INSERT INTO public.mesh_assets (project_id, owner_id, credits_cost) VALUES (%s, %s, 25)", lab.project, lab.user)
    said = lab.ctl("doctor").stdout
    ok("2 assets of the last week cost something else than the price, 25, most often 40" in said and "meshifyctl settings price 40" in said, "another price", said)
    ok("1 assets of the last week were inserted by users themselves" in said, "assets that users inserted", said)
    lab.query("UPDATE meshify.charges SET at = now() - interval '1 hour'")
    ok("have no job" not in lab.ctl("doctor").stdout, "none is paid for and has no job")
    lab.query("INSERT INTO public.mesh_assets (project_id, owner_id, credits_cost) VALUES (%s, %s, 25)", lab.project, lab.user)
    lab.query("UPDATE meshify.charges SET at = now() - interval '1 hour'")
    said = lab.ctl("doctor").stdout
    ok("1 assets of the last week were paid for and have no job" in said, "one whose edge function was broken off", said)
    lab.query("REVOKE INSERT, UPDATE ON public.mesh_assets, public.jobs FROM authenticated")
    said = lab.ctl("doctor").stdout
    ok("lets authenticated insert" not in said and "can write" not in said, "after what it advises", said)
    lab.sim.stop()


@test
def triggers_that_are_gone():
    """A tool that compares schemas drops what it does not know; somebody loads rows with the triggers off."""
    lab = Lab()
    admin = lab.write_config("admin", **{"database.url": lab.postgres.url("postgres")})
    ok("all of ours are at work" in lab.ctl("doctor").stdout, "all triggers are at work")
    lab.postgres.execute("ALTER TABLE public.mesh_assets DISABLE TRIGGER meshify_charge; DROP TRIGGER meshify_asset_deleted ON public.mesh_assets", "postgres")
    loaded = lab.insert_job("loaded", IMAGE)
    said = lab.ctl("doctor").stdout
    ok("the trigger meshify_charge of public.mesh_assets is disabled: nothing is given back for assets that are inserted" in said
       and "ALTER TABLE public.mesh_assets ENABLE TRIGGER meshify_charge;" in said, "one that is disabled", said)
    ok("the trigger meshify_asset_deleted of public.mesh_assets is missing" in said and "Run meshifyctl migrate" in said, "one that is missing", said)
    migrated = lab.ctl("migrate", config=admin)
    ok(migrated.returncode == 0 and "ENABLE TRIGGER meshify_charge" in migrated.stdout, "migrate says what it leaves alone", migrated.stdout)
    lab.postgres.execute("ALTER TABLE public.mesh_assets ENABLE TRIGGER meshify_charge", "postgres")
    ok("all of ours are at work" in lab.ctl("doctor").stdout, "and makes the other again")
    ok("nothing to do" in lab.ctl("migrate", config=admin).stdout, "once")
    lab.query("DELETE FROM public.mesh_assets WHERE id = %s", loaded[1])
    is_(lab.value("SELECT sum(credits)::int FROM meshify.refunds"), 25, "what was inserted meanwhile was charged, and goes back")
    lab.sim.stop()


main()
