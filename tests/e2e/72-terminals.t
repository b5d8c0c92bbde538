#!/usr/bin/python3
"""Whatever others wrote, wherever they wrote it: no terminal gets an order from it, and no reader of JSON another text."""

import contextlib
import json
import os
import pty
import re
import socket
import struct
import subprocess
import threading
import time

from lab import Lab, clean_environment, is_, main, ok, program, test, wait_for

# What a terminal, or a reader of the log, would obey.
ORDERS = {
    "BEL": "\x07", "BS": "\b", "ESC": "\x1b]0;owned\x1b\\", "CSI": "\x1b[2J", "NEL": "\x85", "C1 CSI": "\x9b31m", "C1 OSC": "\x9d0;owned\x9c",
    "DEL": "\x7f", "ALM": "\u061c", "LRM": "\u200e", "RLM": "\u200f", "LS": "\u2028", "PS": "\u2029", "RLO": "\u202e", "LRI": "\u2066", "PDI": "\u2069",
    "LF": "\n", "CRLF": "\r\n", "CR": "\r", "TAB": "\t", "VT": "\v", "FF": "\f",
}
ALL = "é漢🪑" + "x".join(ORDERS.values()) + "ü"
BREAKS, BLANKS = "one\ntwo\r\nthree\tfour", "one two  three four"
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\udc80-\udcff]")


def run(lab, *args, name="meshifyctl", config=None):
    """A program's status, what it printed, and both outputs together; bytes that are no UTF-8 are seen as such."""
    path = config or lab.write_config("ctl")
    r = subprocess.run([program(name), *args[:1], "-c", path, *args[1:]], capture_output=True, timeout=120, check=False, env=clean_environment())
    out, err = (b.decode(errors="surrogateescape") for b in (r.stdout, r.stderr))
    return r.returncode, out, out + err


def clean(text, what):
    found = OBEYED.search(text)
    ok(not found, f"{what}: nothing that a terminal obeys", found and f"{found.group(0)!r} in {text[max(0, found.start() - 60):found.end() + 60]!r}")


def texts(value):
    """All texts in a value."""
    if isinstance(value, dict):
        return [t for item in value.items() for t in texts(list(item))]
    return [t for item in value for t in texts(item)] if isinstance(value, list) else [value]


def answers(lab, what, *args, has=None, status=0):
    """A command with and without --json. `has`: the text that the document has somewhere, unchanged."""
    code, _, said = run(lab, *args)
    is_(code, status, f"{what}: the status")
    clean(said, what)
    code, out, both = run(lab, *args, "--json")
    clean(both, f"{what} --json")
    if status == 0:
        try:
            document = json.loads(out)
        except ValueError as error:
            ok(False, f"{what} --json: can be read", f"{error}: {out[:500]!r}")
        else:
            ok(has is None or has in texts(document), f"{what} --json: the text is unchanged", out[:3000])
    return said


def refuse_by_trigger(lab, table, when, code):
    """The database refuses changes of a table in words of its own."""
    lab.query("CREATE OR REPLACE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN "
              "RAISE EXCEPTION USING MESSAGE = (SELECT text FROM public.hostile), DETAIL = (SELECT text FROM public.hostile), "
              "HINT = (SELECT text FROM public.hostile), ERRCODE = TG_ARGV[0]; END $f$")
    lab.query(f"DROP TRIGGER IF EXISTS refuse ON {table}")
    lab.query(f"CREATE TRIGGER refuse BEFORE UPDATE ON {table} FOR EACH ROW {when} EXECUTE FUNCTION public.refuse('{code}')")


def hostile_lab():
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=20)
    lab.query("CREATE TABLE public.hostile AS SELECT %s::text AS text", ALL)
    lab.query("GRANT SELECT ON public.hostile TO PUBLIC")
    return lab


@test
def a_daemon_and_its_operator():
    lab = hostile_lab()
    lab.sim.fault("create", {"status": 422, "body": {"title": ALL, "detail": ALL, "status": 422}}, match="echoed", count=-1)
    daemons = [lab.daemon("one", **{"log.target": "stderr"}), lab.daemon("two")]
    jobs = {name: lab.insert_job(f"a{order}b")[0] for name, order in ORDERS.items()}
    jobs["ALL"], jobs["BREAKS"] = lab.insert_job(ALL)[0], lab.insert_job(BREAKS)[0]
    for job in jobs.values():
        lab.wait_status(job, "done")
    failed = [lab.insert_job(f"echoed {i}")[0] for i in range(6)]
    for job in failed:
        lab.wait_status(job, "error")
    refuse_by_trigger(lab, "public.mesh_assets", "WHEN (NEW.status = 'ready' OR NEW.status = 'complete' OR NEW.output_path IS NOT NULL)", "P0001")
    refused = [lab.insert_job(f"refused {i}")[0] for i in range(6)]
    wait_for(lambda: any("owned" in line and any(job in line for job in refused) for d in daemons for line in d.lines), 60,
             "the log to have the database's words")
    lab.query("DROP TRIGGER refuse ON public.mesh_assets")
    for job in refused:
        lab.wait_status(job, "done", "error")

    # The database's words at a command: a hint of what to do does not make them better.
    for code in ("P0001", "42501"):
        refuse_by_trigger(lab, "meshify.settings", "", code)
        said = answers(lab, f"a refusal, {code}", "settings", "paused", "on", status=1)
        ok("é漢🪑" in said and len(said.strip().splitlines()) == (2 if code == "42501" else 1), f"a refusal, {code}: one line, readable", said)
    lab.query("DROP TRIGGER refuse ON meshify.settings")

    # What others wrote into our tables.
    lab.query("UPDATE meshify.workers SET instance = %s, host = %s WHERE instance = 'two'", ALL, ALL)
    lab.query("UPDATE meshify.predictions SET model = %s, step = %s, error = %s WHERE id = (SELECT id FROM meshify.predictions ORDER BY n DESC LIMIT 1)", ALL, ALL, ALL)
    lab.query("INSERT INTO meshify.settings (key, value) VALUES (%s, %s)", ALL, ALL)
    lab.query("UPDATE public.jobs SET error = %s WHERE id = %s", ALL, failed[0])
    lab.query("INSERT INTO meshify.events (job_id, event, detail) VALUES (%s, 'error', jsonb_build_object('reason', %s::text))", failed[0], ALL)

    said = answers(lab, "jobs", "jobs", has=ALL)
    is_(len(said.splitlines()), 1 + len(jobs) + len(failed) + len(refused), "jobs: a line for each")
    ok(BLANKS in said, "jobs: line breaks and tabs are blanks", said)
    columns = {line.index(found.group(0)) for line in said.splitlines() if (found := re.search(r"\S+/\S+/\S+\.glb", line))}
    is_(len(columns), 1, "jobs: the columns are aligned")
    for name, job in jobs.items():
        text = {"ALL": ALL, "BREAKS": BREAKS}.get(name, f"a{ORDERS.get(name)}b")
        code, out, _ = run(lab, "show", job, "--json")
        ok(code == 0 and not OBEYED.search(out) and text in texts(json.loads(out)), f"show --json, {name}: unchanged", out)
    answers(lab, "show", "show", jobs["ALL"], has=ALL)
    answers(lab, "show, a failed one", "show", failed[0], has=ALL)
    answers(lab, "status", "status", has=ALL)
    answers(lab, "top", "top", has=ALL)
    answers(lab, "purchases", "purchases", has=ALL)
    answers(lab, "settings", "settings", has=ALL)
    answers(lab, "stats", "stats", has=ALL)
    answers(lab, "enqueue", "enqueue", "--user", lab.user, "--project", lab.project, "--prompt", ALL)
    answers(lab, "pause", "pause", has="on")
    answers(lab, "resume", "resume", has="off")
    answers(lab, "retry --stuck", "retry", "--stuck")
    answers(lab, "cancel", "cancel", failed[1], status=1)
    code, out, said = run(lab, "drain", ALL, "--json")
    clean(said, "drain --json")
    ok(code == 0 and json.loads(out) == {"asked": 1}, "drain: the name is understood as it is", said)
    clean(run(lab, "migrate", "--dry-run")[2], "migrate --dry-run")
    clean(run(lab, "doctor")[2], "doctor")
    daemons[0].stop()
    daemons[1].stop()
    for daemon in daemons:
        clean("\n".join(daemon.raw), f"the log of {daemon.raw[0][:6]}")
        ok("\ufffd" not in "".join(daemon.raw), "the log is UTF-8")
    ok(all(line.startswith("time=") for line in daemons[0].raw), "nobody writes lines of his own into the log",
       [line for line in daemons[0].raw if not line.startswith("time=")])
    ok(all(isinstance(json.loads(line), dict) for line in daemons[1].raw), "nor into one of JSON")
    lab.sim.stop()


@test
def seen_on_a_terminal():
    """top, as an operator has it: what clears the screen is our own."""
    lab = hostile_lab()
    lab.sim.config(processing_ms=3600000)
    daemon = lab.daemon()
    job = lab.insert_job("é漢🪑\u202e\x9b31m\u2028\x1b[2J\u2066\x7f\nü")[0] # all in what top shows of it
    lab.wait_status(job, "running")
    path, text = lab.write_config("ctl"), b""
    pid, master = pty.fork()
    if pid == 0:
        os.execve(program("meshifyctl"), ["meshifyctl", "top", "-c", path], clean_environment())
    end = time.monotonic() + 60
    with contextlib.suppress(OSError): # it has ended
        while time.monotonic() < end and text.count(b"\x1b[H\x1b[2J") < 3:
            text += os.read(master, 65536)
    os.write(master, b"\x03")
    with contextlib.suppress(OSError):
        while os.read(master, 65536):
            pass
    os.waitpid(pid, 0)
    os.close(master)
    shown = text.decode(errors="surrogateescape").replace("\x1b[H\x1b[2J", "").replace("\r\n", "\n")
    ok(job in shown and "é漢🪑" in shown and " ü" in shown, "top shows the job", shown)
    clean(shown, "top on a terminal")
    lab.ctl("cancel", job)
    lab.wait_status(job, "canceled")
    daemon.stop()
    lab.sim.stop()


@test
def arguments_and_files():
    """Typed, or written into a file: the programs say it back."""
    lab = hostile_lab()
    raw = "a\udc9b31m\udcffb" # bytes that are no UTF-8
    for text in (ALL.replace("\0", ""), raw):
        name = "bytes" if text == raw else "all"
        for program_name in ("meshifyctl", "meshifyd"):
            for args in ((text,), (f"--{text}",)):
                code, _, said = run(lab, *args, name=program_name)
                clean(said, f"{program_name}, {name}: a word, or an option")
                ok(code == 64 and len(said.splitlines()) == 1, f"{program_name}, {name}: a usage error of one line", said)
            missing = os.path.join(lab.dir, text.replace("/", ""))
            code, _, said = run(lab, "status" if program_name == "meshifyctl" else "-t", name=program_name, config=missing)
            clean(said, f"{program_name}, {name}: the name of a file")
            ok(code == 78 and len(said.splitlines()) == 1, f"{program_name}, {name}: one line for it", said)
            with open(missing, "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write("[wörker]\nx = 1\n[worker]\nnix = 1\nmax_jobs = many\n")
            code, _, said = run(lab, "status" if program_name == "meshifyctl" else "-t", name=program_name, config=missing)
            clean(said, f"{program_name}, {name}: what is wrong in that file")
            os.unlink(missing)
        for args in (("settings", text, "on"), ("settings", "paused", text), ("drain", text), ("jobs", "--status", text), ("show", text), ("cancel", text),
                     ("jobs", "--user", text), ("jobs", "--limit", text), ("stats", "--since", text), ("enqueue", "--user", text, "--project", "x", "--prompt", "y")):
            for more in ((), ("--json",)):
                _, _, said = run(lab, *args, *more)
                clean(said, f"{name}: {' '.join(a for a in args if a != text)} {' '.join(more)}")
        r = subprocess.run([program("meshifyd"), "-t", "-c", lab.write_config("one"), "--instance", text], capture_output=True, timeout=60, check=False,
                           env=clean_environment())
        clean((r.stdout + r.stderr).decode(errors="surrogateescape"), f"{name}: --instance")

    # In a file: a key, a section, a value of each kind, in each program.
    line = "é漢🪑" + "x".join(o for o in ORDERS.values() if not set(o) & set("\r\n")) + "ü"
    for key in ("worker.max_jobs", "worker.instance", f"worker.{line}", f"{line}.x", "replicate.url", "replicate.token", "storage.driver", "storage.url", "storage.bucket",
                "replicate.download_hosts", "worker.spool_dir", "database.url", "log.target", f"inputs.{line}", "pipeline.steps", "metrics.listen"):
        config = lab.write_config("odd", **{key: line})
        shown = key.replace(line, "…")
        clean(run(lab, "-t", name="meshifyd", config=config)[2], f"a value: meshifyd -t with {shown}")
        clean(run(lab, "doctor", config=config)[2], f"a value: doctor with {shown}")
        clean(run(lab, "status", config=config)[2], f"a value: status with {shown}")
    lab.sim.stop()


@test
def a_server_that_warns_at_the_login():
    """Before anybody can say who hears it. libpq would write it to stderr as it comes."""
    lab = hostile_lab()
    text = ALL.encode()
    fields = b"".join(k + v + b"\0" for k, v in ((b"S", b"WARNING"), (b"V", b"WARNING"), (b"C", b"01000"), (b"M", text), (b"D", text), (b"H", text))) + b"\0"
    notice = b"N" + struct.pack("!I", len(fields) + 4) + fields
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    port = listener.getsockname()[1]

    def pump(source, sink, greeting=b""):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if greeting and data[:1] == b"R": # behind AuthenticationOk
                    data, greeting = data[:9] + greeting + data[9:], b""
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def serve():
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(os.path.join(lab.postgres.dir, f".s.PGSQL.{lab.postgres.port}"))
                threading.Thread(target=pump, args=(client, server), daemon=True).start()
                threading.Thread(target=pump, args=(server, client, notice), daemon=True).start()
    threading.Thread(target=serve, daemon=True).start()
    url = f"postgresql://meshifyd@127.0.0.1:{port}/meshify?sslmode=disable"
    config = lab.write_config("warned", **{"database.url": url})
    for command in ("status", "doctor", "migrate --dry-run"):
        _, _, said = run(lab, *command.split(), config=config)
        clean(said, f"{command}, warned at the login")
        ok("é漢🪑" in said, f"{command}: it is said", said)
    _, out, said = run(lab, "status", "--json", config=config)
    ok(isinstance(json.loads(out), dict), "status --json: is JSON alone", out)
    daemon = lab.daemon(**{"database.url": url, "log.target": "stderr"})
    job = lab.insert_job("a chair")[0]
    lab.wait_status(job, "done")
    daemon.stop()
    clean(daemon.log(), "the log of a daemon that is warned at its login")
    ok(daemon.said("The database says: é漢🪑") and all(line.startswith("time=") for line in daemon.lines), "the log has it as a line of its own", daemon.log())
    listener.close()
    lab.sim.stop()


main()
