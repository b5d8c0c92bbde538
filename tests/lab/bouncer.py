"""PgBouncer in transaction mode, in front of a private PostgreSQL."""

import atexit
import os
import shutil
import subprocess
import tempfile
import time

from .postgres import free_port


class Bouncer:
    def __init__(self, postgres, settings=()):
        self.port = free_port()
        self.dir = tempfile.mkdtemp(prefix="meshify-bouncer-")
        atexit.register(shutil.rmtree, self.dir, True)
        config = os.path.join(self.dir, "pgbouncer.ini")
        with open(config, "w", encoding="utf-8") as out:
            out.write(f"[databases]\n* = host={postgres.dir} port={postgres.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
                      f"listen_port = {self.port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {self.dir}/users\n"
                      "pool_mode = transaction\nserver_login_retry = 1\nmax_client_conn = 100\n")
            for line in settings:
                out.write(line + "\n")
        with open(os.path.join(self.dir, "users"), "w", encoding="utf-8") as out:
            out.write('"meshifyd" ""\n"postgres" ""\n')
        extra = {}
        if postgres.user: # it refuses to run as root
            shutil.chown(self.dir, postgres.user.pw_uid)
            extra = {"user": postgres.user.pw_uid, "group": postgres.user.pw_gid, "extra_groups": []}
        with open(os.path.join(self.dir, "log"), "w", encoding="utf-8") as log:
            self.child = subprocess.Popen([shutil.which("pgbouncer", path="/usr/sbin:/usr/bin"), config], cwd=self.dir,
                                          stdin=subprocess.DEVNULL, stdout=log, stderr=log, **extra)
        atexit.register(self.stop)
        end = time.monotonic() + 20
        while "process up" not in self.log():
            if self.child.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"pgbouncer: {self.log()}")
            time.sleep(0.02)

    def log(self):
        with open(os.path.join(self.dir, "log"), encoding="utf-8") as text:
            return text.read()

    def url(self, user="meshifyd", db="meshify"):
        return f"postgresql://{user}@127.0.0.1:{self.port}/{db}"

    def stop(self):
        if self.child.poll() is None:
            self.child.terminate() # at once, whoever is connected
            self.child.wait(20)
