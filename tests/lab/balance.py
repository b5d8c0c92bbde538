"""Exact accounting after whatever happened, from three sides: the database, the simulator, the object store."""

import json
from collections import Counter, defaultdict

ENDS = ("done", "error", "canceled")
TERMINAL = ("succeeded", "failed", "canceled", "aborted")
STEPS = {"text": ("paint", "sculpt"), "image": ("sculpt",)}


class Balance:
    """Reads all three sides once. `jobs` has what was ordered: an object each with id, asset, user, cost, pipeline
    ("text" or "image") and unwanted (a cancel was asked for); `others` the rows of jobs that are not ours."""

    def __init__(self, lab, jobs, others):
        self.lab = lab
        self.jobs = {job.id: job for job in jobs}
        self.others = others
        self.rows = self.keyed("SELECT id, to_jsonb(j) FROM public.jobs j")
        self.assets = self.keyed("SELECT id, to_jsonb(a) FROM public.mesh_assets a")
        self.purchases = self.grouped("SELECT job_id, to_jsonb(p) FROM meshify.predictions p ORDER BY n")
        self.events = self.grouped("SELECT job_id, to_jsonb(e) FROM meshify.events e ORDER BY id")
        self.refunds = self.grouped("SELECT job_id, to_jsonb(r) FROM meshify.refunds r ORDER BY n")
        self.charges = self.keyed("SELECT asset_id, to_jsonb(c) FROM meshify.charges c")
        self.price = int(lab.value("SELECT value FROM meshify.settings WHERE key = 'price'"))
        self.told = self.grouped("SELECT user_id, to_jsonb(n) FROM public.notifications n ORDER BY created_at")
        self.profiles = self.keyed("SELECT id, to_jsonb(p) FROM public.profiles p")
        self.predictions = {p["id"]: p for p in lab.sim.predictions()}
        self.objects = {o["path"]: o for o in lab.sim.objects()}
        self.bad = defaultdict(list)  # by job; None: nobody's
        for job in jobs:
            self.check_job(job)
        self.check_all()

    def keyed(self, sql):
        return dict(self.lab.query(sql))

    def grouped(self, sql):
        groups = defaultdict(list)
        for key, row in self.lab.query(sql):
            groups[key].append(row)
        return groups

    def expect(self, condition, job, what):
        if not condition:
            self.bad[job.id if job else None].append(what)

    # --- a job ---

    def check_job(self, job):
        row = self.rows.get(job.id)
        self.expect(row or job.unwanted == "job deleted", job, "its row is gone")
        status = self.status(job)
        self.expect(status in ENDS, job, f"it has not ended: {status}")
        ended = [e["event"] for e in self.events[job.id] if e["event"] in ENDS]
        self.expect(ended == [status], job, f"it is {status}, and its history ends with {ended}")
        self.check_charge(job, status)
        self.check_refund(job, status)
        self.check_purchases(job, status)
        asset = self.assets.get(job.asset)
        if not row:
            self.expect(asset and asset["status"] == ("done" if status == "done" else "error"), job, f"its row was deleted, its asset is {asset}")
            return
        self.expect(asset or job.unwanted == "asset deleted", job, "its asset is gone")
        if status == "done" and asset:
            self.check_object(job, row, asset)
        elif status == "canceled":
            self.expect(job.unwanted, job, "it was canceled, and nobody had asked")
        elif status == "error":
            spoilt = any(p["file"] != "good" for p in self.bought(job))
            self.expect(spoilt or self.is_fateful(job), job, f"it has failed, and no file of it was bad: {row['error']}")
        if status != "done" and asset:
            self.expect(asset["status"] == "error", job, f"its asset is {asset['status']}")

    def status(self, job):
        """What its row says; of one that was deleted, its history."""
        if job.id in self.rows:
            return self.rows[job.id]["status"]
        return next((e["event"] for e in reversed(self.events[job.id]) if e["event"] in ENDS), None)

    def is_fateful(self, job):
        """Five workers died with it since it last got further: it may be what they died of."""
        return job.id in self.rows and self.rows[job.id]["crashes"] >= 5 and sum(e["event"] == "taken_over" for e in self.events[job.id]) >= 5

    def bought(self, job):
        return [self.predictions[p["prediction_id"]] for p in self.purchases[job.id] if p["prediction_id"] in self.predictions]

    def used(self, job, step):
        return [p for p in self.purchases[job.id] if p["step"] == step and p["state"] == "bought" and p["status"] == "succeeded"]

    def check_purchases(self, job, status):
        for step in STEPS[job.pipeline]:
            used = len(self.used(job, step))
            self.expect(used == 1 or used == 0 and status != "done", job, f"{used} purchases of step {step} are used")
        for p in self.purchases[job.id]:
            self.expect(p["finished_at"] or not p["prediction_id"], job, f"purchase {p['id']} may still run: {p['state']}")
            self.expect(p["step"] in STEPS[job.pipeline], job, f"purchase {p['id']} is of step {p['step']}")

    def check_object(self, job, row, asset):
        meta = asset["result_meta"]
        path = asset["output_path"]
        found = self.objects.get(f"user_assets/{path}")
        self.expect(asset["status"] == "done" and row["output_data"]["storage_path"] == path, job, "asset and job differ")
        self.expect(found, job, f"there is no object {path}")
        used = self.used(job, "sculpt")
        self.expect([p["prediction_id"] for p in used] == [meta["replicate_prediction_id"]], job,
                    "the prediction that the asset names is not the purchase used")
        served = self.predictions.get(meta["replicate_prediction_id"], {})
        if found:
            self.expect(found["sha256"] == meta["sha256"] and found["size"] == asset["size"], job, "the object is not what the row says")
            self.expect(found["sha256"] == served.get("sha256"), job, "the object is not what was bought")
            self.expect(found["changes"] == 0, job, f"the object was overwritten by other bytes {found['changes']} times")

    def charge(self, job):
        """What goes back of what it cost."""
        return min(job.cost, self.price)

    def check_charge(self, job, status):
        charge = self.charges.get(job.asset, {})
        self.expect((charge.get("credits"), charge.get("user_id")) == (self.charge(job), job.user), job, f"it cost {job.cost}, and its charge is {charge}")
        self.expect((charge.get("made_at") is not None) == (status == "done"), job, f"it is {status}, and its charge was spent at {charge.get('made_at')}")

    def check_refund(self, job, status):
        given = [r["credits"] for r in self.refunds[job.id]]
        due = self.charge(job)
        self.expect(given == ([due] if status in ("error", "canceled") and due else []), job,
                    f"it is {status}, cost {job.cost}, and was given back {given}")
        self.expect(all((r["asset_id"], r["user_id"]) == (job.asset, job.user) for r in self.refunds[job.id]), job,
                    f"a refund went astray: {self.refunds[job.id]}")

    # --- all together ---

    def check_all(self):
        rows = {p["prediction_id"]: p for all_ in self.purchases.values() for p in all_ if p["prediction_id"]}
        for p in self.predictions.values():
            row = rows.get(p["id"])
            job = self.jobs.get(row["job_id"]) if row else None
            self.expect(row, None, f"no row explains prediction {p['id']} ({p['status']}): {json.dumps(p['input'])}")
            self.expect(p["status"] in TERMINAL, job, f"prediction {p['id']} was left running")
        for prediction, row in rows.items():
            self.expect(prediction in self.predictions, self.jobs.get(row["job_id"]), f"prediction {prediction} does not exist")
        for job in self.refunds.keys() - self.jobs.keys():
            self.expect(False, None, f"a refund for a job that nobody ordered: {self.refunds[job]}")
        for o in self.objects.values():
            self.expect(o["changes"] == 0, None, f"object {o['path']} was overwritten by other bytes {o['changes']} times")
        for row in self.others:
            self.expect(self.rows.get(row["id"]) == row, None, f"another's job was touched: {row} is now {self.rows.get(row['id'])}")
        for user, profile in self.profiles.items():
            self.check_user(user, profile, [job for job in self.jobs.values() if job.user == user])

    def check_user(self, user, profile, jobs):
        ends = Counter(self.status(job) for job in jobs)
        kinds = Counter({"success": "done", "error": "error", "info": "canceled"}[n["type"]] for n in self.told[user]
                        if n["title"] != "Mesh Generation Started")
        first = jobs[0] if jobs else None
        self.expect(kinds == ends, first, f"user {user}: jobs ended {dict(ends)}, notifications {dict(kinds)}")
        spent = sum(job.cost for job in jobs) - sum(r["credits"] for job in jobs for r in self.refunds[job.id])
        self.expect(profile["credits_used"] == spent, first, f"user {user} has spent {spent}, the profile says {profile['credits_used']}")
        self.expect(profile["credits_remaining"] + spent == self.lab.credits, first,
                    f"user {user} had {self.lab.credits}, spent {spent}, has {profile['credits_remaining']}")

    # --- what is printed ---

    def table(self):
        """Rows of two columns."""
        ends = Counter(self.status(job) for job in self.jobs.values())
        purchases = [p for j in self.purchases.values() for p in j]
        states = Counter(p["state"] for p in purchases)
        used = sum(len(self.used(job, step)) for job in self.jobs.values() for step in STEPS[job.pipeline])
        running = sum(p["status"] not in TERMINAL for p in self.predictions.values())
        named = {f"user_assets/{a['output_path']}" for a in self.assets.values() if a["output_path"]}
        events = Counter(e["event"] for j in self.jobs for e in self.events[j])
        given = sum(r["credits"] for all_ in self.refunds.values() for r in all_)
        charged = sum(job.cost for job in self.jobs.values())

        def words(counts):
            return ", ".join(f"{n} {word.replace('_', ' ')}" for word, n in sorted(counts.items()))
        return (
            ("jobs", f"{len(self.jobs)} ordered: {words(ends)}; {len(self.others)} of others untouched"),
            ("history", words({k: events[k] for k in ("claimed", "taken_over", "handed_back", "given_up", "surplus", "audited")})),
            ("purchases", f"{len(purchases)} rows: {words(states)}; {used} used"),
            ("predictions", f"{len(self.predictions)} at the simulator, {running} left running"),
            ("objects", f"{len(self.objects)}, {len(named & set(self.objects))} named by rows"),
            ("credits", f"{charged} charged, {given} given back, {charged - given} kept"),
            ("notifications", words(Counter(n["type"] for all_ in self.told.values() for n in all_))),
            ("failures", f"{ends['error']}, of them {sum(map(self.is_fateful, self.jobs.values()))} after their workers died five times"),
            ("mismatches", str(sum(len(b) for b in self.bad.values()))))

    def story(self, job_id, lines):
        """Everything that is known of a job; `lines` is what the instances logged."""
        def brief(row):
            return json.dumps({k: v for k, v in row.items() if v is not None and k != "input_keys"})
        job = self.jobs[job_id]
        ids = [job_id, *(p["prediction_id"] for p in self.purchases[job_id] if p["prediction_id"])]
        asset = self.assets.get(job.asset)
        parts = [("ordered", [str(vars(job))]), ("job", [brief(self.rows[job_id])] if job_id in self.rows else []),
                 ("asset", [brief(asset)] if asset else []), ("event", map(brief, self.events[job_id])),
                 ("purchase", map(brief, self.purchases[job_id])), ("refund", map(brief, self.refunds[job_id])),
                 ("prediction", map(brief, self.bought(job))),
                 ("object", (brief(o) for path, o in self.objects.items() if job.asset in path)),
                 ("log", [line for line in lines if any(i in line for i in ids)])]
        return "\n".join(f"    {name:10} {text}" for name, texts in parts for text in texts)
