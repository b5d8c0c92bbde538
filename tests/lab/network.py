"""A network of its own for a test, and hosts in it that can be cut off. Needs root, or user namespaces."""

import atexit
import os
import subprocess
import sys

SERVER = "10.77.0.1"  # reached from every host
MARK = "MESHIFY_TEST_NETWORK"


def ip(*args, inside=()):
    subprocess.run([*inside, "ip", *args], check=True)


def enter():
    """Begins this program again, in a network of its own, which ends with it."""
    if os.environ.pop(MARK, None):
        ip("link", "set", "lo", "up")
        ip("address", "add", f"{SERVER}/32", "dev", "lo")
        return
    # As who we are: PostgreSQL does not run as root.
    how = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--user", "--map-current-user", "--keep-caps", "--net"]
    if subprocess.run([*how, "true"], check=False).returncode != 0:
        raise SystemExit("no network namespace can be made here: run this as root, or allow user namespaces")
    os.execvpe(how[0], [*how, sys.executable, *sys.argv], os.environ | {MARK: "1"})


class Host:
    """A network namespace, joined to ours by a pair of veth devices. It ends with us."""

    def __init__(self, number):
        self.link = f"host{number}"
        ours = os.readlink("/proc/self/ns/net")
        self.holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec cat"], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE) # pylint: disable=consider-using-with
        atexit.register(self.holder.stdin.close)
        self.holder.stdout.readline()
        self.inside = ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net"]
        assert os.readlink(f"/proc/{self.holder.pid}/ns/net") != ours
        ip("link", "add", self.link, "type", "veth", "peer", "name", "eth0", "netns", str(self.holder.pid))
        ip("address", "add", f"10.77.{number}.1/24", "dev", self.link)
        ip("link", "set", self.link, "up")
        ip("link", "set", "lo", "up", inside=self.inside)
        ip("address", "add", f"10.77.{number}.2/24", "dev", "eth0", inside=self.inside)
        ip("link", "set", "eth0", "up", inside=self.inside)
        ip("route", "add", "default", "via", f"10.77.{number}.1", inside=self.inside)
        self.mends = []

    def go_silent(self):
        """What is sent, either way, is lost: connections are half open."""
        ip("link", "set", self.link, "down")
        self.mends.append(lambda: ip("link", "set", self.link, "up"))

    def refuse(self):
        """The server's address is the host's own, where nobody listens: connections are reset and refused."""
        ip("address", "add", f"{SERVER}/32", "dev", "lo", inside=self.inside)
        self.mends.append(lambda: ip("address", "del", f"{SERVER}/32", "dev", "lo", inside=self.inside))

    def rejoin(self):
        while self.mends:
            self.mends.pop()()
