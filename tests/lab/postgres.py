"""A private PostgreSQL: in a temporary directory, on a unix socket and a free loopback port."""

import atexit
import fcntl
import glob
import hashlib
import os
import pwd
import random
import shutil
import socket
import subprocess
import tempfile

import psycopg2

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
SUPERUSER = "supabase_admin"  # as on Supabase, "postgres" is an ordinary role


def free_port():
    """Below those that the kernel gives to outgoing connections, if there is room: a server that is down for a while
    finds it free again."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as text:
        first = int(text.read().split()[0])
    for _ in range(100 if first > 12000 else 0):
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", random.randrange(10000, first)))
            except OSError:
                continue
            return s.getsockname()[1]
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def newest_bin():
    found = glob.glob("/usr/lib/postgresql/*/bin/initdb")
    if not found:
        raise SystemExit("PostgreSQL is not installed: run tests/setup")
    return os.path.dirname(max(found, key=lambda p: int(p.split("/")[4])))


def printed_schema():
    """All of sql/ as one text, which psql can run."""
    program = os.path.join(ROOT, os.environ.get("BUILD", "build"), "meshifyctl")
    return subprocess.check_output([program, "migrate", "--print"], text=True)


class Templates:
    """Data directories to begin with: an empty cluster, and one with the daemon's schema. Each is made once for a
    server and a schema, and copied under a lock, since to make one takes longer than most tests."""

    dir = os.path.join(ROOT, os.environ.get("BUILD", "build"), "postgres")

    @classmethod
    def copy(cls, postgres, migrated):
        os.makedirs(cls.dir, exist_ok=True)
        version = subprocess.check_output([postgres.program("initdb"), "--version"], text=True).split()[2]
        kind = f"{'migrated' if migrated else 'empty'}-{version}-{os.geteuid()}-"
        made_of = open(os.path.join(ROOT, "sql/dev/supabase.sql"), encoding="utf-8").read() + printed_schema() if migrated else ""
        path = os.path.join(cls.dir, kind + hashlib.sha256(made_of.encode()).hexdigest()[:12])
        with open(os.path.join(cls.dir, kind + "lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            if not os.path.exists(path):
                fcntl.flock(lock, fcntl.LOCK_EX)
                cls.make(postgres, path, os.path.join(cls.dir, kind), migrated)
            cls.duplicate(path, postgres.data)

    @classmethod
    def make(cls, postgres, path, kind, migrated):
        if os.path.exists(path): # while we waited
            return
        for old in set(glob.glob(kind + "*")) - {kind + "lock"}:
            shutil.rmtree(old)
        if migrated:
            other = Postgres(fsync=False).start()
            other.create_database(migrate=True)
            other.stop()
            cls.duplicate(other.data, path + ".new")
            other.remove()
        else:
            postgres.run("initdb", "-D", postgres.data, "-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8",
                         "--wal-segsize=1", "--no-sync")
            cls.duplicate(postgres.data, path + ".new")
            shutil.rmtree(postgres.data)
        os.rename(path + ".new", path)

    @staticmethod
    def duplicate(source, to):
        subprocess.run(["cp", "-a", "--reflink=auto", source, to], check=True)


class Postgres:
    """PG_BINDIR names the server's programs (and may lack psql and pg_dump); else they are Debian's newest.
    `migrated`: create_database(migrate=True) is done already."""

    def __init__(self, fsync=True, settings=(), address="127.0.0.1", migrated=False):
        self.address = address
        self.user = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
        self.dir = tempfile.mkdtemp(prefix="meshify-pg-")
        self.data = os.path.join(self.dir, "data")
        self.port = free_port()
        self.running = False
        if self.user:
            os.chown(self.dir, self.user.pw_uid, self.user.pw_gid)
        atexit.register(self.remove)
        Templates.copy(self, migrated)
        with open(os.path.join(self.data, "postgresql.conf"), "a") as conf:
            conf.write(f"port = {self.port}\nlisten_addresses = '{address}'\n"
                       f"unix_socket_directories = '{self.dir}'\nfsync = {'on' if fsync else 'off'}\n"
                       "max_connections = 100\nlog_min_messages = warning\n")
            for line in settings:
                conf.write(line + "\n")
        if address != "127.0.0.1":
            with open(os.path.join(self.data, "pg_hba.conf"), "a") as hba:
                hba.write("host all all all trust\n")

    @staticmethod
    def program(name):
        path = os.path.join(os.environ.get("PG_BINDIR", ""), name)
        return path if os.path.isfile(path) else os.path.join(newest_bin(), name)

    def run(self, program, *args, check=True):
        """Runs one of PostgreSQL's programs, as the user that may."""
        command = [self.program(program), *args]
        extra = {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []} if self.user else {}
        result = subprocess.run(command, cwd=self.dir, capture_output=True, text=True, **extra)
        if check and result.returncode != 0:
            raise RuntimeError(f"{program}: {result.stdout}{result.stderr}")
        return result

    def start(self):
        log = os.path.join(self.dir, "log")
        result = self.run("pg_ctl", "-D", self.data, "-l", log, "-w", "-t", "60", "start", check=False)
        if result.returncode != 0:
            tail = open(log).read()[-2000:] if os.path.exists(log) else ""
            raise RuntimeError(f"pg_ctl: {result.stdout}{result.stderr}{tail}")
        self.running = True
        return self

    def stop(self, mode="fast"):
        if self.running:
            self.run("pg_ctl", "-D", self.data, "-m", mode, "-w", "-t", "60", "stop", check=False)
            self.running = False

    def restart(self, mode="fast"):
        self.stop(mode)
        self.start()

    def standby(self):
        """A streaming replica of this server, running; from then on each commit waits for it."""
        other = object.__new__(Postgres)
        other.__dict__ |= self.__dict__
        other.running, other.port = False, free_port()
        other.dir = tempfile.mkdtemp(prefix="meshify-pg-")
        other.data = os.path.join(other.dir, "data")
        if other.user:
            os.chown(other.dir, other.user.pw_uid, other.user.pw_gid)
        atexit.register(other.remove)
        other.run("pg_basebackup", "-D", other.data, "-h", self.dir, "-p", str(self.port), "-U", SUPERUSER, "-R", "-c", "fast", "--no-sync")
        with open(os.path.join(other.data, "postgresql.conf"), "a") as conf:
            conf.write(f"port = {other.port}\nunix_socket_directories = '{other.dir}'\n")
        other.start()
        self.execute("ALTER SYSTEM SET synchronous_standby_names = '*'", SUPERUSER, "postgres")
        self.run("pg_ctl", "-D", self.data, "reload")
        return other

    def promote(self):
        self.run("pg_ctl", "-D", self.data, "-w", "-t", "60", "promote")

    def remove(self):
        self.stop("immediate")
        shutil.rmtree(self.dir, ignore_errors=True)

    def url(self, user="postgres", db="meshify", tcp=False):
        if tcp:
            return f"postgresql://{user}@{self.address}:{self.port}/{db}"
        return f"postgresql:///{db}?host={self.dir}&port={self.port}&user={user}"

    def connect(self, user="postgres", db="meshify", autocommit=True):
        connection = psycopg2.connect(self.url(user, db))
        connection.autocommit = autocommit
        return connection

    def psql(self, path, user="postgres", db="meshify", *options):
        """Runs a file; an error stops it."""
        with open(path) as text:
            return self.psql_text(text.read(), user, db, *options)

    def psql_text(self, text, user="postgres", db="meshify", *options):
        args = ["-X", "-q", *options, "-v", "ON_ERROR_STOP=1", "-h", self.dir, "-p", str(self.port), "-U", user, "-d", db]
        return subprocess.run([self.program("psql"), *args], input=text, capture_output=True, text=True, check=False)

    def create_database(self, name="meshify", supabase=True, migrate=False, variant=()):
        """An empty database, a Supabase project (changed by files of sql/dev/variants), or one with the daemon's schema."""
        self.execute(f'CREATE DATABASE "{name}"', SUPERUSER, "postgres")
        if supabase:
            self.apply(os.path.join(ROOT, "sql/dev/supabase.sql"), SUPERUSER, name)
        for change in variant:
            self.apply(os.path.join(ROOT, f"sql/dev/variants/{change}.sql"), "postgres", name)
        if migrate:
            self.apply_text(printed_schema(), "postgres", name)
            self.grant(name)

    def grant(self, name="meshify"):
        """The login role of the daemon may do what a worker may."""
        self.execute("GRANT meshify_worker TO meshifyd", "postgres", name)

    def execute(self, sql, user="postgres", db="meshify"):
        connection = self.connect(user, db)
        try:
            connection.cursor().execute(sql)
        finally:
            connection.close()

    def apply(self, path, user, db):
        self.apply_text(open(path, encoding="utf-8").read(), user, db, path)

    def apply_text(self, text, user, db, name="a text"):
        result = self.psql_text(text, user, db)
        if result.returncode != 0:
            raise RuntimeError(f"{name}: {result.stderr}")
