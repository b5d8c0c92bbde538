#!/usr/bin/python3
"""Names: servers of names that stay silent, hosts with several addresses, proxies. In a network of its own."""

import os
import re
import socket
import sys
import threading
import time
import urllib.request

from lab import IMAGE, Lab, Process, clean_environment, is_, main, network, ok, program, test, wait_for
from lab.namespace import in_namespace
from lab.postgres import free_port
from lab.tls import Authority, TlsFront, TunnelProxy
from lab.turns import QUIET, turns_are_short

SILENT = ("127.0.0.53", "127.0.0.54")
QUICK = {"worker.retry_base": "100ms", "worker.retry_max": "300ms"}


class Names:
    """What a daemon finds in /etc/hosts and /etc/resolv.conf, and nowhere else: two name servers that swallow
    every question stand there."""

    def __init__(self, lab, hosts="", authority=None):
        self.sockets = []
        for address in SILENT:
            server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            server.bind((address, 53))
            self.sockets.append(server)
        self.files = {}
        for name, text in (("hosts", f"127.0.0.1 localhost\n{hosts}"), ("nsswitch.conf", "hosts: files dns\n"),
                           ("resolv.conf", "".join(f"nameserver {a}\n" for a in SILENT))):
            self.files[name] = os.path.join(lab.dir, name)
            with open(self.files[name], "w", encoding="utf-8") as file:
                file.write(text)
        if authority:
            self.files["ssl/certs/ca-certificates.crt"] = authority.bundle
        self.wrapper = in_namespace("\n".join(f'mount --bind "${i}" /etc/{name}' for i, name in enumerate(self.files, 1)),
                                    *self.files.values())

    def write(self, name, text):
        with open(self.files[name], "w", encoding="utf-8") as file:
            file.write(text)

    def close(self):
        for server in self.sockets:
            server.close()


class Probe:
    """Asks /healthz ten times a second; and the simulator, which shares the machine and waits for nobody's name."""

    def __init__(self, port, sim):
        self.at = f"127.0.0.1:{port}"
        self.url, self.other = f"http://{self.at}", f"{sim.url}/_sim/faults"
        self.took, self.compared, self.ends = [], [], threading.Event()
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self.get("/healthz")
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def get(self, path):
        with self.opener.open(self.url + path, timeout=60) as reply:
            return reply.read().decode()

    def _time(self, url):
        began = time.monotonic()
        try:
            self.opener.open(url, timeout=60).close()
        except OSError:
            self.ends.set()
            return 60.0
        return time.monotonic() - began

    def _run(self):
        while not self.ends.wait(0.1):
            self.took.append(self._time(f"{self.url}/healthz"))
            self.compared.append(self._time(self.other))

    def end(self):
        self.ends.set()
        self.thread.join(70)

    def loop_turns(self, what):
        """No lookup is waited for: what is slow here is slow there."""
        self.end()
        took, other = (([0.0] + sorted(times))[::-1] for times in (self.took, self.compared))
        usual, slowest = took[len(took) * 5 // 100], took[0]
        by_load = (0, 0) if QUIET else (2 * other[len(other) * 5 // 100], 2 * other[0])
        said = f"{usual:.3f} and {slowest:.3f} s of {len(took)}; the simulator {other[len(other) * 5 // 100]:.3f} and {other[0]:.3f} s"
        ok(usual < 0.1 + by_load[0], f"{what}: 95 % of probes are answered within 100 ms", said)
        ok(slowest < (0.1 if QUIET else 0.5) + by_load[1], f"{what}: and the slowest soon", said)

    def metric(self, name):
        return next(float(line.split()[1]) for line in self.get("/metrics").splitlines() if line.startswith(f"{name} "))


def start(lab, names, wait=True, **keys):
    port = free_port()
    daemon = lab.daemon(wait=wait, wrapper=names.wrapper, **{**QUICK, "metrics.listen": f"127.0.0.1:{port}", **keys})
    daemon.metrics_at()
    return daemon, Probe(port, lab.sim)


@test
def silent_name_servers():
    """Replicate's name is not found: jobs wait, and the loop does not. A stop is on time while lookups hang."""
    lab = Lab()
    names = Names(lab)
    jobs = [lab.insert_job(f"chair {i}", IMAGE)[0] for i in range(20)]
    daemon, probe = start(lab, names, **{"replicate.url": "http://dead.example/v1", "database.lease": "15s"})
    beats = set()

    def tried():
        beats.add(lab.value("SELECT heartbeat_at FROM meshify.workers"))
        return len(beats) > 4
    wait_for(tried, 90, "five heartbeats") # one every five seconds: lookups end, and others begin
    probe.loop_turns("silent name servers")
    turns_are_short(probe.at, "silent name servers")
    is_(probe.metric("meshify_leases_lost_total"), 0, "silent name servers: the lease is kept")
    is_(lab.count("error"), 0, "silent name servers: no job is an error")
    began = time.monotonic()
    is_(daemon.stop(60), 0, "silent name servers: it stops")
    ok(time.monotonic() - began < 8, "silent name servers: at once", time.monotonic() - began)
    is_(lab.value("SELECT count(*) FROM public.jobs WHERE id = ANY(%s::uuid[]) AND status = 'pending'", jobs), 20,
        "silent name servers: the jobs are handed back")
    names.close()
    lab.sim.stop()


@test
def a_name_beside_good_ones():
    """A file host and a database server whose names hang, beside good ones."""
    lab = Lab()
    sim = lab.sim.files.removeprefix("http://")
    port = sim.rpartition(":")[2]
    names = Names(lab, "127.0.0.1 good.example\n")
    lab.sim.config(starting_ms=0, processing_ms=0, glb_bytes=2000)
    url = lab.postgres.url("meshifyd", tcp=True)
    where = url.replace("127.0.0.1", f"dead1.example:{lab.postgres.port},dead2.example:{lab.postgres.port},127.0.0.1")
    _, probe = start(lab, names, **{
        "database.url": where, "database.listen_url": url,
        "replicate.url": lab.sim.url.replace("127.0.0.1", "good.example") + "/v1",
        "replicate.download_hosts": f"*.dead.example:{port} good.example:{port}"})
    ok(True, "a database of several servers: the one that has an address is used")
    dead = []
    for i in range(8):
        lab.sim.config(files_url=f"http://h{i}.dead.example:{port}")
        dead.append(lab.insert_job(f"dead {i}", IMAGE)[0])
        wait_for(lambda: lab.job(dead[-1])["status"] == "running" and
                 lab.value("SELECT count(*) FROM meshify.predictions WHERE status = 'succeeded' AND job_id = %s", dead[-1]),
                 30, "it is to be fetched")
    lab.sim.config(files_url=f"http://good.example:{port}")
    began = time.monotonic()
    for i in range(5):
        lab.wait_status(lab.insert_job(f"good {i}", IMAGE)[0], "done", seconds=20)
    ok(time.monotonic() - began < 20, "names that hang: jobs beside them are done as usual", time.monotonic() - began)
    is_(lab.value("SELECT count(*) FROM public.jobs WHERE id = ANY(%s::uuid[]) AND status IN ('error', 'done')", dead), 0,
        "names that hang: theirs wait")
    probe.loop_turns("names that hang")
    turns_are_short(probe.at, "names that hang")
    # /etc/hosts is mended: what hung goes on.
    names.write("hosts", "".join(f"127.0.0.1 h{i}.dead.example\n" for i in range(8)) + "127.0.0.1 good.example\n")
    for job in dead:
        lab.wait_status(job, "done", seconds=90)
    ok(True, "names that hang: when they are found, their jobs are done")
    names.close()
    lab.sim.stop()


@test
def a_service_and_many_hosts():
    """What libpq would read, and look up, by itself: a service of pg_service.conf, and a list of many servers."""
    lab = Lab()
    names = Names(lab)
    lab.sim.config(starting_ms=0, processing_ms=0)
    services = os.path.join(lab.dir, "pg_service.conf")
    with open(services, "w", encoding="utf-8") as file:
        file.write(f"[meshes]\nhost=dead.example\nport={lab.postgres.port}\nuser=meshifyd\ndbname=meshify\n")
    cases = (("service", "service=meshes", {}), ("PGSERVICE", None, {"PGSERVICE": "meshes"}),
             ("many", f"postgresql://meshifyd@{','.join(f'n{i}.dead.example' for i in range(20))},dead.example:{lab.postgres.port}/meshify",
              {"PGPORT": str(lab.postgres.port)}))
    running = []
    for instance, url, environment in cases:
        if instance == "many":
            url = url.replace(".example,", f".example:{lab.postgres.port},")
        running.append((instance, start(lab, names, False, instance=instance, environment={"PGSERVICEFILE": services, **environment},
                                        **{"database.url": url, "database.listen_url": None})))
    for _, (daemon, _) in running:
        daemon.wait_event("DB_DOWN", "STARTED", level="warning", seconds=60)
    wait_for(lambda: all(len(probe.took) > 20 for _, (_, probe) in running), 60, "twenty questions to each") # attempts follow each other
    for instance, (_, probe) in running:
        probe.loop_turns(f"{instance}, whose name hangs")
    many = lab.daemon("too-many", wait=False, **{"database.url": f"host={','.join(['127.0.0.1'] * 33)} user=meshifyd dbname=meshify",
                                                 "database.listen_url": None})
    many.wait_event("DB_DOWN", text="more than 32 hosts")
    ok(True, "more hosts than that: refused, and said")
    many.stop()
    names.write("hosts", "127.0.0.1 localhost dead.example\n")
    for _, (daemon, _) in running:
        daemon.wait_event("DB_UP", seconds=60)
    job, _ = lab.insert_job("found", IMAGE)
    is_(lab.wait_status(job, "done", "error")["status"], "done", "services and many hosts: they are found")
    for instance, (daemon, _) in running:
        is_(daemon.stop(), 0, f"{instance}: it stops")
    names.close()
    lab.sim.stop()


SECURE = {"replicate.url": "https://api.example/v1", "replicate.allow_insecure": "off", "storage.url": "https://store.example"}
PUBLIC, NAT64 = "93.184.216.34", "64:ff9b::5db8:d822"  # the same address, as seen from behind NAT64


def secure_lab(*file_hosts):
    """All of it over TLS, as it is out there. Answers the lab, its CA, and where its servers listen without TLS."""
    lab = Lab()
    lab.sim.config(starting_ms=0, processing_ms=0, glb_bytes=2000, api_url="https://api.example")
    authority = Authority(lab.dir, ["api.example", "store.example", *file_hosts])
    return lab, authority, *[int(url.rpartition(":")[2]) for url in (lab.sim.url, lab.sim.files)]


def from_host(lab, host, prompt):
    """A job whose output lies at that host."""
    lab.sim.config(files_url=f"https://{host}")
    job, _ = lab.insert_job(prompt, IMAGE)
    wait_for(lambda: lab.value("SELECT count(*) FROM meshify.predictions WHERE status = 'succeeded' AND job_id = %s", job) or
             lab.job(job)["status"] in ("done", "error"), 30, "its prediction's end")
    return job


@test
def hosts_with_several_addresses():
    """Private is a host all of whose addresses are; what an IPv6 address stands for is what counts."""
    names = ["both.files.example", "nat64.files.example", "private.files.example", "hidden.files.example", "port.files.example"]
    lab, authority, api, files = secure_lab(*names)
    network.ip("address", "add", f"{PUBLIC}/32", "dev", "lo")
    network.ip("address", "add", f"{NAT64}/128", "dev", "lo")
    daemon_names = Names(lab, f"127.0.0.2 api.example store.example\n127.0.0.1 both.files.example\n{PUBLIC} both.files.example\n"
                         f"{NAT64} nat64.files.example\n127.0.0.1 private.files.example\n64:ff9b::7f00:1 hidden.files.example\n"
                         f"{PUBLIC} port.files.example\n", authority)
    fronts = [TlsFront(authority, api, "127.0.0.2", 443), TlsFront(authority, files, "127.0.0.1", 443),
              TlsFront(authority, files, NAT64, 443), TlsFront(authority, files, PUBLIC, 8443)]
    daemon, probe = start(lab, daemon_names, **SECURE, **{"replicate.download_hosts": " ".join(names), "log.level": "debug"})
    job = from_host(lab, "both.files.example", "refused for a moment")
    daemon.wait_event("JOB_MOVED", job=job, text="^.*downloading -> .*(connect|private)")
    fronts.append(TlsFront(authority, files, PUBLIC, 443))
    is_(lab.wait_status(job, "done", "error", seconds=60)["status"], "done",
        "a public address beside a private one: the public one is waited for")
    is_(lab.wait_status(from_host(lab, "nat64.files.example", "NAT64"), "done", "error", seconds=30)["status"], "done",
        "a public address behind NAT64: is public")
    for host, what in (("private.files.example", "a private address alone"), ("hidden.files.example", "a private address behind NAT64"),
                       ("port.files.example:8443", "a port that download_hosts does not name")):
        job = lab.wait_status(from_host(lab, host, what), "done", "error", seconds=30)
        is_((job["status"], job["error"]), ("error", "The mesh could not be fetched."), f"{what}: is refused")
    probe.end()
    for front in fronts:
        front.close()
    daemon_names.close()
    lab.sim.stop()


@test
def behind_a_proxy():
    """The outside is reached through a proxy alone, which also looks the names up. The daemon's own lookups hang."""
    lab, authority, api, files = secure_lab("files.example", "private.example")
    names = Names(lab, authority=authority)
    login = "meshify:hidden-word"
    fronts = TlsFront(authority, api), TlsFront(authority, files)
    ports = {"api.example:443": fronts[0].port, "store.example:443": fronts[0].port, "files.example:443": fronts[1].port,
             "private.example:443": fronts[1].port}
    proxy = TunnelProxy(ports, login)
    environment = {"https_proxy": f"http://{login}@127.0.0.1:{proxy.port}", "no_proxy": "localhost"}
    keys = {**SECURE, "replicate.download_hosts": "files.example 10.0.0.1", "log.level": "debug"}
    daemon, probe = start(lab, names, environment=environment, **keys)
    daemon.wait_event("CONFIG", text=rf"https by 127\.0\.0\.1:{proxy.port}\. .*download_hosts", seconds=10)
    ok(True, "a proxy: the start says what holds a download")
    is_(lab.wait_status(from_host(lab, "files.example", "by proxy"), "done", "error", seconds=60)["status"], "done",
        "a proxy: the job is done")
    is_(sorted(set(proxy.targets)), ["api.example:443", "files.example:443", "store.example:443"], "a proxy: it was asked for all")
    job = lab.wait_status(from_host(lab, "private.example", "not in the list"), "done", "error", seconds=30)
    is_(job["status"], "error", "a proxy: a host that download_hosts does not name is refused")
    ok("private.example:443" not in proxy.targets, "a proxy: it is not asked for that one")
    is_(lab.wait_status(from_host(lab, "10.0.0.1", "a private number"), "done", "error", seconds=30)["status"], "error",
        "a proxy: a private address is refused where the URL says it")
    ok("10.0.0.1:443" not in proxy.targets and proxy.refused == 0, "a proxy: it is not asked for that one either")
    lab.sim.config(files_url="https://files.example")
    proxy.login = "meshify:another-word"
    proxy.reset()
    job, _ = lab.insert_job("refused", IMAGE)
    wait_for(lambda: proxy.refused > 0 and daemon.told(text="proxy 127.0.0.1 answers HTTP 407"), 30, "the refusal in the log")
    proxy.login = login
    is_(lab.wait_status(job, "done", "error", seconds=90)["status"], "done", "a proxy that refuses for a while: the job waits")
    probe.loop_turns("a proxy")
    path = lab.write_config("doctor", **keys)
    doctor = Process([program("meshifyd"), "--check", "-c", path], clean_environment(**environment), names.wrapper)
    doctor.wait(60)
    said = doctor.output()
    ok(all(re.search(line, said) for line in ("ok +replicate", "ok +storage", rf"proxy +https by 127\.0\.0\.1:{proxy.port}")),
       "a proxy: the doctor asks through it", said)
    ok("hidden-word" not in daemon.output() + doctor.output(), "a proxy: its login stands in no log")
    bad = Process([program("meshifyd"), "-t", "-c", path], clean_environment(https_proxy=f"gopher://{login}@127.0.0.1"))
    is_(bad.wait(30), 78, "a proxy's URL that is none: refused")
    ok("https_proxy: is not a proxy's URL" in bad.output() and "hidden-word" not in bad.output(), "a proxy's URL that is none: said", bad.log())
    for server in (*fronts, proxy):
        server.close()
    names.close()
    lab.sim.stop()


if __name__ == "__main__":
    try:
        network.enter()
    except SystemExit as error: # a container may forbid it
        print(f"1..0 # SKIP {error}")
        sys.exit(0)
    if not in_namespace("true"):
        print("1..0 # SKIP no mount namespace can be made here")
        sys.exit(0)
    main()
