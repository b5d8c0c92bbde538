#!/usr/bin/python3
"""What operators are told: no piece of a password, what is wrong, what will fail before it costs, and what to do."""

import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import lab as testing
from lab import Lab, clean_environment, is_, ok, program

# Passwords that are AAA and BBB with something between, and what is said of them; None: libpq reads them as they are meant.
PERCENT, QUOTES = "percent-encode @ / % #", "put a value with blanks or quotes into quotes"
URLS = (
    ("postgresql://w:AAA@BBB@127.0.0.1:1/app", PERCENT), ("postgresql://w:AAA/BBB@127.0.0.1:1/app", PERCENT),
    ("postgresql://w:123/BBB@127.0.0.1:1/app", PERCENT), ("postgresql://w:AAA%zzBBB@127.0.0.1:1/app", PERCENT),
    ("postgresql://w:AAA%00BBB@127.0.0.1:1/app", PERCENT), ("postgresql://w:AAA BBB@127.0.0.1:1/app", PERCENT),
    ("postgresql://w@127.0.0.1:1/app?password=AAA&BBB=1", PERCENT), ("host=127.0.0.1 port=1 dbname=app user=w password=AAA BBB", QUOTES),
    ("host=127.0.0.1 port=1 dbname=app user=w password=AAA BBB=1", QUOTES),
    ("postgresql://w.abc:[AAABBB]@127.0.0.1:1/app?pgbouncer=true&connection_limit=1", "the unknown parameter 'pgbouncer'"),
    ("postgresql://w.abc:AAABBB@127.0.0.1:1/app?sslmode=require&supa=base-pooler.x", "the unknown parameter 'supa'"),
    ("postgresql://w@127.0.0.1:1/app?password=AAABBB&bogus=1", "the unknown parameter 'bogus'"),
    ("postgresql://w:AAABBB@127.0.0.1:1/app?sslmode=AAABBB", "sslmode has a value that"),
    ("'postgresql://w:AAABBB@127.0.0.1:1/app'", "is in quotes; take them off"),
    ("postgresql://w:AAA#BBB@127.0.0.1:1/app", None), ("postgresql://w:AAA?BBB@127.0.0.1:1/app", None), ("postgresql://w:[AAABBB]@127.0.0.1:1/app", None),
)
LETS_IN = ("postgresql:///app?host=/run/nowhere&password=x", "postgresql://w:x@localhost/app", "postgresql://w:x@127.8.9.1,[::1]/app",
           "host=db.example.org hostaddr=127.0.0.1 password=x", "postgresql://w:x@db.example.org/app?sslmode=verify-full")
WARNED = ("postgresql://w:x@db.example.org:5432/app?sslmode=require", "postgresql://w:x@db.example.org/app", "postgresql://w:x@10.255.255.1/app?sslmode=verify-ca",
          "host=db.example.org dbname=app user=w password=x sslmode=prefer", "postgresql://w:x@localhost,db.example.org/app", "host=localhost hostaddr=192.0.2.1 password=x")


def run(lab, args, environment=None, seconds=60, **keys):
    """A program with this configuration: its status, and all that it said."""
    path = lab.write_config("words", **keys)
    r = subprocess.run([program(args[0]), *args[1:], "-c", path], capture_output=True, text=True, timeout=seconds,
                       env=clean_environment(**(environment or {})), check=False)
    return r.returncode, r.stdout + r.stderr


def database_urls():
    """No piece of a password is said by anything, for a URL that libpq refuses or misunderstands; and a good job is done."""
    lab = Lab(driver="dir")
    for url, said in URLS:
        for key in ("database.url", "database.listen_url") if said else ("database.url",):
            status, text = run(lab, ["meshifyd", "-t"], **{key: url})
            ok(status == (78 if said else 0) and "AAA" not in text and "BBB" not in text and (not said or said in text), f"{key} = {url}", f"{status} {text}")
        if said:
            for args in (["meshifyd"], ["meshifyd", "--check"], ["meshifyctl", "status"], ["meshifyctl", "doctor"]):
                if said.startswith("sslmode") and args[0] == "meshifyctl":
                    continue
                status, text = run(lab, args, **{"database.url": url})
                ok(status == 78 and "AAA" not in text and "BBB" not in text and said in text, f"{' '.join(args)}: {url}", f"{status} {text}")
    daemon = lab.daemon()
    job, _ = lab.insert_job("a chair", "https://images.example/x.png")
    lab.wait_status(job, "done")
    is_(daemon.stop(), 0, "a good URL works")
    lab.sim.stop()


def other_urls():
    """A user and a password in another URL are shown nowhere."""
    lab = Lab(migrate=False)
    for key in ("replicate.url", "storage.url", "storage.public_url", "replicate.webhook_url", "replicate.download_hosts"):
        status, text = run(lab, ["meshifyd", "-t"], **{key: "https://w:AAABBB@host.example/v1"})
        ok(status == 78 and "AAA" not in text and f"{key.split('.')[1]}:" in text, f"a password in {key}", f"{status} {text}")
    status, text = run(lab, ["meshifyd", "-t"], **{"replicate.url": "https://host.example/v1?token=AAABBB"})
    ok(status == 78 and "AAA" not in text, "a token in a query", text)
    lab.sim.stop()


def tls():
    """A connection that leaves this machine without verify-full is warned of, by -t and at the start."""
    lab = Lab(migrate=False)
    warning = "whoever stands between"
    for url in WARNED:
        for key in ("url", "listen_url"):
            status, text = run(lab, ["meshifyd", "-t"], **{f"database.{key}": url})
            ok(status == 0 and f"[database] {key}: sslmode is" in text and warning in text and "verify-full" in text and "sslrootcert" in text,
               f"warned of: {key} = {url}", text)
    for url in LETS_IN:
        status, text = run(lab, ["meshifyd", "-t"], **{"database.url": url})
        ok(status == 0 and warning not in text, f"not warned of: {url}", text)
    remote = "postgresql://w:x@db.example.org/app"
    ok(warning not in run(lab, ["meshifyd", "-t"], {"PGSSLMODE": "verify-full"}, **{"database.url": remote})[1], "PGSSLMODE counts")
    ok(warning in run(lab, ["meshifyd", "-t"], {"PGSSLMODE": "require", "PGHOST": "db.example.org"}, **{"database.url": None})[1],
       "libpq's own environment counts")
    services = os.path.join(lab.dir, "services")
    with open(services, "w", encoding="utf-8") as file:
        file.write("[safe]\nhost=db.example.org\nsslmode=verify-full\n[open]\nhost=db.example.org\nsslmode=require\n")
    said = {name: run(lab, ["meshifyd", "-t"], {"PGSERVICEFILE": services}, **{"database.url": f"service={name}"})[1] for name in ("safe", "open", "none")}
    ok(warning not in said["safe"] and warning in said["open"] and "no service file defines" in said["none"], "a service file counts", said)
    daemon = lab.daemon(wait=False, **{"database.url": "postgresql://w:x@192.0.2.1/app?connect_timeout=2"})
    daemon.wait_line(r"\[database\] url: sslmode is prefer: " + warning)
    is_(daemon.stop(), 0, "and it starts all the same")
    lab.sim.stop()


def configurations():
    """Quotes around a secret, another API's URL, a key that is not quite one."""
    lab = Lab(migrate=False)
    status, text = run(lab, ["meshifyd", "-t"], **{"storage.key": '"eyJ.hunter2"'})
    ok(status == 0 and "[storage] key: is in quotes" in text and "hunter2" not in text, "quotes around a secret", text)
    status, text = run(lab, ["meshifyd", "-t"], {"REPLICATE_API_TOKEN": "'r8_hunter2'"})
    ok(status == 0 and "environment REPLICATE_API_TOKEN: [replicate] token: is in quotes" in text and "hunter2" not in text, "in the environment", text)
    status, text = run(lab, ["meshifyd", "-t"], **{"storage.url": "https://x.supabase.co/rest/v1"})
    ok(status == 78 and "[storage] url: is not a Supabase project" in text, "the URL of another API", text)
    path = lab.write_config("keys")
    with open(path, "a", encoding="utf-8") as file:
        file.write("[step sculpt]\nmodel = owner/name\ninputs.x = 1\n")
    r = subprocess.run([program("meshifyd"), "-t", "-c", path], capture_output=True, text=True, env=clean_environment(), check=False)
    ok(r.returncode == 78 and re.search(r"\[step sculpt\] inputs\.x: is not a key of this section; .*is input\.x meant\?", r.stderr),
       "an unknown key is named, and what is meant", r.stderr)
    lab.sim.stop()


testing.main(database_urls, other_urls, tls, configurations)
