#!/usr/bin/python3
"""What operators are told: no piece of a password, what is wrong, what will fail before it costs, and what to do."""

import contextlib
import os
import re
import shutil
import socket
import struct
import subprocess
import threading
import time
import urllib.error
import urllib.request

from lab import IMAGE, Lab, cases, clean_environment, is_, main, ok, program, test, wait_for
from lab.postgres import SUPERUSER

# Passwords that are AAA and BBB with something between, and what is said of them; None: libpq reads them as they are meant.
PERCENT, QUOTES = "percent-encode @ / % #", "put a value with blanks or quotes into quotes"
BLANKS = "part its parameters with blanks"
URLS = (
    ("postgresql://w:AAA@BBB@127.0.0.1:1/app", PERCENT), ("postgresql://w:AAA/BBB@127.0.0.1:1/app", PERCENT),
    ("postgresql://w:123/BBB@127.0.0.1:1/app", PERCENT), ("postgresql://w:AAA%zzBBB@127.0.0.1:1/app", PERCENT),
    ("postgresql://w:AAA%00BBB@127.0.0.1:1/app", PERCENT), ("postgresql://w:AAA BBB@127.0.0.1:1/app", PERCENT),
    ("postgresql://w@127.0.0.1:1/app?password=AAA&BBB=1", PERCENT), ("host=127.0.0.1 port=1 dbname=app user=w password=AAA BBB", QUOTES),
    ("host=127.0.0.1 port=1 dbname=app user=w password=AAA BBB=1", QUOTES),
    ("postgresql://w.abc:[AAABBB]@127.0.0.1:1/app?pgbouncer=true&connection_limit=1", "the unknown parameter 'pgbouncer'"),
    ("postgresql://w.abc:AAABBB@127.0.0.1:1/app?sslmode=require&supa=base-pooler.x", "the unknown parameter 'supa'"),
    ("postgresql://w@127.0.0.1:1/app?password=AAA&bbb=3", PERCENT), ("postgresql://w@127.0.0.1:1/app;password=AAABBB", PERCENT),
    ("host=127.0.0.1;port=1;password=AAABBB", BLANKS), ("host=127.0.0.1&port=1&password=AAABBB", BLANKS), ("host=127.0.0.1,port=1,password=AAABBB", BLANKS),
    ("dbname=app;password=AAABBB host=127.0.0.1 port=1", BLANKS),
    ("postgresql://w:AAABBB@127.0.0.1:1/app?sslmode=AAABBB", "sslmode has a value that"),
    ("'postgresql://w:AAABBB@127.0.0.1:1/app'", "is in quotes; take them off"),
    ("postgresql://w:AAA#BBB@127.0.0.1:1/app", None), ("postgresql://w:AAA?BBB@127.0.0.1:1/app", None), ("postgresql://w:[AAABBB]@127.0.0.1:1/app", None),
)
LETS_IN = ("postgresql:///app?host=/run/nowhere&password=x", "postgresql://w:x@localhost/app", "postgresql://w:x@127.8.9.1,[::1]/app",
           "host=db.example.org hostaddr=127.0.0.1 password=x", "postgresql://w:x@db.example.org/app?sslmode=verify-full")
WARNED = ("postgresql://w:x@db.example.org:5432/app?sslmode=require", "postgresql://w:x@db.example.org/app", "postgresql://w:x@10.255.255.1/app?sslmode=verify-ca",
          "host=db.example.org dbname=app user=w password=x sslmode=prefer", "postgresql://w:x@localhost,db.example.org/app", "host=localhost hostaddr=192.0.2.1 password=x")


run = Lab.run


class Pooler:
    """Takes each login, and refuses it with these words; counts them."""

    def __init__(self, text, code="XX000", severity="FATAL"):
        self.text, self.code, self.severity, self.logins = text, code, severity, 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def url(self, user="meshifyd.project", more=""):
        return f"postgresql://{user}:hunter2@127.0.0.1:{self.port}/postgres?connect_timeout=10{more}"

    def serve(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), client:
                self.refuse(client)

    def refuse(self, client):
        while True:
            size, kind = struct.unpack("!II", client.recv(8, socket.MSG_WAITALL))
            client.recv(size - 8, socket.MSG_WAITALL)
            if kind not in (80877103, 80877104): # a request for TLS, or for GSS
                break
            client.sendall(b"N")
        self.logins += 1
        fields = "".join(f"{k}{v}\0" for k, v in (("S", self.severity), ("V", "FATAL"), ("C", self.code), ("M", self.text))).encode() + b"\0"
        client.sendall(b"E" + struct.pack("!I", len(fields) + 4) + fields)

    def close(self):
        self.listener.close()


def page(daemon, path):
    url = f"http://{daemon.metrics_at()}"
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url + path, timeout=30) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


# What poolers and servers of today answer at a login: the code, the words, the reason that we say, and what is advised.
REFUSALS = (
    ("XX000", "(ECIRCUITBREAKER) too many authentication failures, new connections are temporarily blocked", "the pooler blocks logins", "Stop every program"),
    ("XX000", "(ENOTFOUND) tenant/user meshifyd.project not found", "the pooler does not know the project or the user", "USER.PROJECT"),
    ("XX000", "Tenant or user not found", "the pooler does not know the project or the user", "USER.PROJECT"),
    ("28P01", 'password authentication failed for user "meshifyd"', "the user or the password is wrong", "the right password"),
    ("28P01", "Passwort-Authentifizierung fuer Benutzer fehlgeschlagen", "the user or the password is wrong", "the right password"),
    ("28000", 'role "meshifyd" does not exist', "the user is refused", "Check the user"),
    ("3D000", 'database "postgres" does not exist', "there is no such database", "Check the name"),
    ("XX000", "(ESOMETHINGNEW) the weather is bad", "it refuses the connection", "See what it says"),
    ("28000", 'no pg_hba.conf entry for host "127.0.0.1", user "meshifyd", database "postgres", no encryption', "it wants TLS", "sslmode=verify-full"),
    ("28000", 'pg_hba.conf rejects connection for host "127.0.0.1", user "meshifyd"', "nobody is let in from this address", "pg_hba.conf"),
)
CROWDED = ("53300", 'remaining connection slots are reserved for roles with the SUPERUSER attribute')


@test
def refused_logins():
    """A server that says no is not asked again at once: two tries, one for each connection. And /readyz says why, in words of a closed list."""
    lab = Lab(migrate=False, bouncer="") # both connections go where these refuse
    running = []
    for i, (code, text, reason, advice) in enumerate(cases(REFUSALS, lambda refusal: refusal[1])):
        pooler = Pooler(text, code, "FATAL" if "Passwort" not in text else "SCHWERWIEGEND")
        daemon = lab.daemon(f"refused-{i}", wait=False, **{"database.url": pooler.url(), "metrics.listen": "127.0.0.1:0"})
        running.append((pooler, daemon, text, reason, advice))
    crowded = Pooler(CROWDED[1], CROWDED[0])
    waiting = lab.daemon("crowded", wait=False, **{"database.url": crowded.url()})
    began = time.monotonic()
    for pooler, _, text, _, _ in running:
        wait_for(lambda p=pooler: p.logins >= 2, 60, "both connections")
    # What would come after: by then a connection that tries again at once has done so several times.
    wait_for(lambda: crowded.logins >= 10, 60, "a server without a free connection is asked again soon")
    for pooler, _, text, _, _ in running:
        tries = pooler.logins # others come rarer and rarer: after ten seconds, then after twenty
        counted = text.startswith(("(EC", "(EN", "Tenant", "pass", "Pass", "role"))
        ok(tries <= (2 if counted or time.monotonic() - began < 9 else 6), f"{text}: not tried again at once", tries)
    waiting.wait_line("No database connection: no connection is free", 10)
    for pooler, daemon, text, reason, _ in running:
        daemon.wait_line(f"(Database connection lost|No database connection): {re.escape(reason)} .*: {re.escape(text[:5])}", 60)
        status, body = page(daemon, "/readyz")
        ok(status == 503 and body.startswith(f"not ready: no database connection: {reason}") and "hunter2" not in body and text not in body,
           f"{text}: /readyz says why in its own words", body)
        ok("hunter2" not in daemon.output(), f"{text}: no password in the log")
        is_(daemon.stop(), 0, f"{text}: it stops")
    is_(waiting.stop(), 0, "crowded: it stops")
    for pooler, _, text, reason, advice in running:
        pooler.text = text
        said = run(lab, ["meshifyd", "--check"], **{"database.url": pooler.url()})[1]
        if pooler.severity == "FATAL" or "Passwort" not in text: # a doctor reads English
            ok(re.search(rf"^FAIL  database .*{re.escape(reason)}.*\n +-> .*{re.escape(advice)}", said, re.M), f"{text}: the doctor's advice", said)
        status, said = run(lab, ["meshifyctl", "status"], **{"database.url": pooler.url()})
        ok(status == 69 and "hunter2" not in said and "can't be reached: " in said, f"{text}: meshifyctl", said)
        pooler.close()
    crowded.close()
    lab.sim.stop()


def certificate(lab):
    """The server gets one of its own making, for the name elsewhere."""
    for name in ("server", "other"):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=elsewhere",
                        "-keyout", f"{lab.dir}/{name}.key", "-out", f"{lab.dir}/{name}.crt"], check=True, capture_output=True)
    for end in ("key", "crt"):
        path = shutil.copy(f"{lab.dir}/server.{end}", f"{lab.postgres.data}/server.{end}")
        os.chmod(path, 0o600)
        if lab.postgres.user:
            os.chown(path, lab.postgres.user.pw_uid, lab.postgres.user.pw_gid)
    lab.postgres.execute("ALTER SYSTEM SET ssl = on", SUPERUSER)
    lab.postgres.run("pg_ctl", "-D", lab.postgres.data, "reload")
    wait_for(lambda: lab.value("SHOW ssl") == "on", 30, "ssl")


@test
def unreachable():
    """What the doctor advises depends on why nobody answers."""
    lab = Lab(migrate=False)
    silent = socket.create_server(("127.0.0.1", 0), backlog=64) # takes it, and says nothing
    strange = socket.create_server(("127.0.0.1", 0), backlog=64)

    def speak():
        with contextlib.suppress(OSError):
            while True:
                with strange.accept()[0] as client:
                    client.recv(8)
                    client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    threading.Thread(target=speak, daemon=True).start()
    for url, reason, advice in (
            ("postgresql://w:hunter2@127.0.0.1:1/app", "nothing listens there (127.0.0.1 port 1)", "that the server runs"),
            ("postgresql://w:hunter2@nowhere.invalid/app", "its host can't be found (nowhere.invalid", "name servers"),
            (f"postgresql://w:hunter2@127.0.0.1:{silent.getsockname()[1]}/app?connect_timeout=2", "no answer in time", "firewalls"),
            (f"postgresql://w:hunter2@127.0.0.1:{strange.getsockname()[1]}/app", "what answers is no PostgreSQL server", "host and port"),
            ("postgresql:///app?host=/run/nowhere&password=hunter2", "its socket is not there", "host="),
            (f"postgresql://w:hunter2@127.0.0.1:{lab.postgres.port}/app?sslmode=require", "it has no TLS", "sslmode"),
            (f"postgresql://meshifyd:hunter2@127.0.0.1:{lab.postgres.port}/nowhere", "there is no such database", "Supabase's is postgres")):
        status, said = run(lab, ["meshifyd", "--check"], **{"database.url": url, "database.listen": "off"})
        match = re.search(rf"^FAIL  database .*{re.escape(reason)}.*\n +-> (.*)", said, re.M)
        ok(status == 69 and match and advice in match.group(1) and "hunter2" not in said, f"{reason}", f"{status} {said}")
    certificate(lab)
    url = f"postgresql://meshifyd:hunter2@127.0.0.1:{lab.postgres.port}/meshify?sslmode=verify-full&sslrootcert="
    for root, reason, advice in (("/nowhere/ca.crt", "the certificate of its CA can't be read here", "sslrootcert"),
                                 (f"{lab.dir}/other.crt", "its certificate is of an unknown CA", "sslrootcert"),
                                 (f"{lab.dir}/server.crt", "its certificate is for another host", "the host's name")):
        said = run(lab, ["meshifyd", "--check"], **{"database.url": url + root, "database.listen": "off"})[1]
        ok(re.search(rf"^FAIL  database .*{re.escape(reason)}.*\n +-> .*{advice}", said, re.M) and "hunter2" not in said, reason, said)
    silent.close()
    strange.close()
    lab.sim.stop()


@test
def database_urls():
    """No piece of a password is said by anything, for a URL that libpq refuses or misunderstands; and a good job is done."""
    lab = Lab(driver="dir")
    for url, said in cases(URLS):
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
    job, _ = lab.insert_job("a chair", IMAGE)
    lab.wait_status(job, "done")
    is_(daemon.stop(), 0, "a good URL works")
    lab.sim.stop()


@test
def other_urls():
    """A user and a password in another URL are shown nowhere."""
    lab = Lab(migrate=False)
    for key in ("replicate.url", "storage.url", "storage.public_url", "replicate.webhook_url", "replicate.download_hosts"):
        status, text = run(lab, ["meshifyd", "-t"], **{key: "https://w:AAABBB@host.example/v1"})
        ok(status == 78 and "AAA" not in text and f"{key.split('.')[1]}:" in text, f"a password in {key}", f"{status} {text}")
    status, text = run(lab, ["meshifyd", "-t"], **{"replicate.url": "https://host.example/v1?token=AAABBB"})
    ok(status == 78 and "AAA" not in text, "a token in a query", text)
    lab.sim.stop()


@test
def tls():
    """A connection that leaves this machine without verify-full is warned of, by -t and at the start."""
    lab = Lab(migrate=False)
    warning = "whoever stands between"
    for url in cases(WARNED, str):
        for key in ("url", "listen_url"):
            status, text = run(lab, ["meshifyd", "-t"], **{f"database.{key}": url})
            ok(status == 0 and f"[database] {key}: sslmode is" in text and warning in text and "verify-full" in text and "sslrootcert" in text,
               f"warned of: {key} = {url}", text)
    for url in cases(LETS_IN, str):
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


@test
def no_url():
    """It is taken, since libpq's environment may name the database; but not in silence."""
    lab = Lab(migrate=False)
    warning = "warning: [database] url: it is not set"
    status, text = run(lab, ["meshifyd", "-t"], **{"database.url": None})
    ok(status == 0 and warning in text and "set url = postgresql://" in text, "no URL at all: a warning that says what to set", f"{status} {text}")
    for name, value in (("DATABASE_URL", "postgresql://w@127.0.0.1/app"), ("PGHOST", "127.0.0.1"), ("PGSERVICE", "here")):
        status, text = run(lab, ["meshifyd", "-t"], {name: value}, **{"database.url": None})
        ok(status == 0 and warning not in text, f"{name} names one", f"{status} {text}")
    ok(warning not in run(lab, ["meshifyd", "-t"])[1], "so does the file")
    lab.sim.stop()


@test
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


def doctor(lab, **keys):
    return run(lab, ["meshifyd", "--check"], **keys)[1]


@test
def before_it_costs():
    """What would fail only after something was bought: the bucket's limits, addresses that others can't reach, a login that sees no rows."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=50)
    daemon = lab.daemon()
    for name, bucket, grade, found, advice in (
            ("too small", {"file_size_limit": 52428800}, "warn", "takes files up to 50.0 MiB", "file size limit"),
            ("images only", {"allowed_mime_types": ["image/png", "image/jpeg"]}, "FAIL", "does not take model/gltf-binary", "allowed MIME types"),
            ("good", {"file_size_limit": 1073741824, "allowed_mime_types": ["image/png", "model/gltf-binary"]}, None, None, None),
            ("good, by wildcard", {"allowed_mime_types": ["model/*"]}, None, None, None)):
        body = {"id": "user_assets", "name": "user_assets", "public": False, "file_size_limit": None, "allowed_mime_types": None} | bucket
        lab.sim.control("POST", "faults", [{"endpoint": "bucket", "do": {"status": 200, "body": body}}])
        said = doctor(lab)
        if grade:
            ok(re.search(rf"^{grade} +storage .*{re.escape(found)}.*\n +-> .*{advice}", said, re.M), f"a bucket: {name}", said)
        else:
            ok("ok    storage" in said and not re.search("^(warn|FAIL) +storage", said, re.M), f"a bucket: {name}", said)
    for keys, found in (({"storage.url": "http://kong:8000"}, "a name that only your network knows"), ({"storage.url": "https://127.0.0.2:1"}, "a private address"),
                        ({"storage.url": "http://store.invalid"}, "http, which shows them"),
                        ({"storage.public_url": "https://10.1.2.3"}, "[storage] public_url, https://10.1.2.3: a private address")):
        said = doctor(lab, **keys)
        ok(re.search(rf"^warn +storage .*{re.escape(found)}.*\n +-> Set \[storage\] public_url", said, re.M), f"images by path: {keys}", said)
    said = doctor(lab, **{"storage.public_url": "https://192.0.2.9"})
    ok("images that are paths" not in said, "with a public_url nothing is warned of", said)
    secure = {"replicate.allow_insecure": "off", "replicate.url": "https://127.0.0.1:1/v1"}
    said = doctor(lab, **secure, **{"replicate.download_hosts": "files 10.1.2.3 nowhere.invalid *.replicate.delivery 192.0.2.9"})
    found = re.findall(r"^warn +download +(\S+):", said, re.M)
    is_(found, ["files", "10.1.2.3", "nowhere.invalid"], "hosts of download_hosts that will not do")
    lab.postgres.execute("ALTER ROLE meshifyd SET row_security = off", SUPERUSER)
    said = doctor(lab)
    match = re.search(r"^warn +role .*row_security is off.*\n +-> (ALTER ROLE meshifyd RESET row_security;)", said, re.M)
    ok(match, "a login with row_security off", said)
    if match:
        lab.postgres.execute(match.group(1), SUPERUSER)
    ok("row_security" not in doctor(lab), "after what it advises")
    said = doctor(lab, **{"database.url": "postgresql://w:hunter2@[2001:db8::1]/app?connect_timeout=2", "database.listen": "off"})
    ok(re.search(r"^warn +tls .*whoever stands between.*\n +-> .*verify-full", said, re.M), "the doctor warns of what anybody between can read", said)
    ok(re.search(r"^FAIL +database .*(only IPv6.*\n +-> .*session pooler|no answer in time)", said, re.M), "a host with IPv6 only names the session pooler", said)
    lab.sim.config(api_token="another")
    said = doctor(lab)
    ok(".." not in said.replace("...", ""), "sentences end with one stop", said)
    lab.sim.config(api_token=None)
    job, _ = lab.insert_job("a chair", IMAGE)
    lab.wait_status(job, "done")
    is_(daemon.stop(), 0, "a good job is done beside")
    lab.sim.stop()


main()
