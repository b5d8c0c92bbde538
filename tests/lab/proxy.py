"""Stands between the daemon and the outside, and sees each message: PostgreSQL's protocol, and HTTP.

    db = PostgresProxy(lab.postgres.port)       # lab.daemon(**{"database.url": db.url()})
    api = HttpProxy(lab.sim.url)                # "replicate.url": f"{api.url}/v1"; sim.config(api_url=api.url)

What the network does to a connection: `pause()` (a black hole: all is accepted and swallowed),
`pause(keep=True)` (what is sent meanwhile arrives late), `reset()` (RST to both sides), `refuse()`, and
`resume()`, after which whoever lost a byte is reset. All proxies run on one thread of their own.

A `Tap` that several proxies share counts their messages in one order. One message is what is decided or
told at once: for PostgreSQL all that is sent up to a Sync, all that comes back up to ReadyForQuery, and
each notification; for HTTP a request, and a response. Each has a key that says what it is and the how
manieth of its kind, e.g. "db> intend_purchase #1", "api< POST /v1/predictions #1"; ">" is away from the daemon.
"""

import asyncio
import atexit
import collections
import re
import socket
import struct
import threading
import urllib.parse

from .loop import Loop

STREAM_LIMIT = 1 << 20  # of a header; bodies may be larger


class Tap:
    """Counts messages, and acts on one of them. What it calls is called on the proxies' thread."""

    WAYS = ("before", "after", "late", "cut", "pass")

    def __init__(self):
        self.links = set()
        self._late = None
        self.clear()

    def clear(self):
        """Counts from the beginning; nothing is armed."""
        self.keys = []
        self._n = collections.Counter()
        self._armed = None
        self.hit = threading.Event()
        self.frozen = False

    def arm(self, key, way, then=lambda: None):
        """When the message `key` comes: `then()` is called just before it is forwarded ("before", and "late":
        deliver() forwards it), or just after ("after"); from then on nothing else is forwarded on any
        connection until thaw(). Or all else goes on, and its connection is reset in its place ("cut"), or it
        is forwarded as usual ("pass")."""
        assert way in self.WAYS
        self._armed = (key, way, then)

    def count(self, label):
        self._n[label] += 1
        key = f"{label} #{self._n[label]}"
        self.keys.append(key)
        return key

    def way(self, key):
        """What is to be done about this message."""
        if self._armed and self._armed[0] == key and not self.hit.is_set():
            return self._armed[1]
        return None

    def strike(self, late=None):
        """The world of the daemon ends here."""
        self.frozen = True
        self._late = late
        for link in self.links:
            link.frozen = True
        self.met()

    def met(self):
        self._armed[2]()
        self.hit.set()

    async def _settle(self, links, seconds):
        end = Loop.loop.time() + seconds
        while any(link.owed > 0 for link in links):
            if Loop.loop.time() > end:
                raise TimeoutError("the outside does not answer what was forwarded")
            await asyncio.sleep(0.005)
        for link in links:
            link.frozen = False
            link.close()

    def thaw(self, seconds=30):
        """What has been forwarded is answered, to nobody; its connections end; new ones are served."""
        async def go():
            late = self._late[0] if self._late else None
            await self._settle([link for link in self.links if link.frozen and link is not late], seconds)
            self.frozen = False
        Loop.call(go())

    def deliver(self, seconds=30):
        """The message that is late arrives, and is answered to nobody."""
        async def go():
            link, data = self._late
            self._late = None
            link.owed += 1
            link.server_writer.write(data)
            await self._settle([link], seconds)
        if self._late:
            Loop.call(go())


class Link:
    """One connection of the daemon, and ours to the outside for it."""

    def __init__(self, proxy, reader, writer):
        self.proxy, self.tap = proxy, proxy.tap
        self.reader, self.writer = reader, writer
        self.server_reader = self.server_writer = None
        self.owed = 0  # answers that the outside has not given
        self.damaged = False  # bytes were swallowed
        self.frozen = self.tap.frozen
        self.asked = collections.deque()  # labels of what was not answered

    async def run(self):
        if self.proxy.swallowing:
            self.damaged = True
            while await self.reader.read(65536):
                pass
            return await self.proxy.running.wait()
        self.server_reader, self.server_writer = await asyncio.open_connection(*self.proxy.upstream, limit=STREAM_LIMIT)
        ways = [asyncio.ensure_future(way) for way in (self.up(), self.down())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            while self.frozen and not ways[1].done():  # what was forwarded is answered; see Tap.thaw()
                await asyncio.wait(ways[1:], timeout=0.02)
            for way in ways:
                if way.done() and way.exception() and not isinstance(way.exception(), (OSError, EOFError)):
                    raise way.exception()
        finally:
            for way in ways:
                way.cancel()
            self.owed = 0
        return None

    async def forward(self, writer, data, label):
        """A message to its receiver, or what is done to it instead."""
        key = self.tap.count(label) if label else ""
        if self.proxy.keeping:
            await self.proxy.running.wait()
        if self.frozen:
            return  # to nobody
        if self.proxy.swallowing or self.damaged:
            self.damaged = True
            return
        way = self.tap.way(key)
        if way in ("before", "late"):
            self.tap.strike((self, data) if way == "late" else None)
            return
        if way == "cut":
            self.tap.met()
            self.close(reset=True)
            return
        if way == "pass":
            self.tap.met()
        writer.write(data)
        if writer is self.server_writer:
            self.owed += label in self.asked
        if way == "after":
            self.tap.strike()
        await writer.drain()

    def answered(self):
        self.owed = max(self.owed - 1, 0)

    def close(self, reset=False):
        for writer in (self.writer, self.server_writer):
            if not writer or writer.transport.is_closing():
                continue
            if reset:
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            else:
                writer.close()


class PostgresLink(Link):
    UNTIL = b"SQpXdcfF"  # what ends a unit of the frontend
    NAME = re.compile(rb"meshify\.(\w+)|(LISTEN \w+)|(pg_notify)|(pg_db_role_setting)")
    OPENING = re.compile(rb"SET transaction_|SELECT pg_catalog.set_config")  # before each transaction's own

    def __init__(self, *args):
        super().__init__(*args)
        self.name = "db"

    @staticmethod
    async def message(reader):
        kind = await reader.readexactly(1)
        size = await reader.readexactly(4)
        return kind, kind + size + await reader.readexactly(int.from_bytes(size, "big") - 4)

    async def startup(self):
        """The first messages have no type. Encryption is refused, as by a server that has none."""
        while True:
            size = await self.reader.readexactly(4)
            body = await self.reader.readexactly(int.from_bytes(size, "big") - 4)
            code = int.from_bytes(body[:4], "big")
            if code not in (80877103, 80877104):
                break
            self.writer.write(b"N")
        words = body[4:].split(b"\0")
        if b"application_name" in words:
            application = words[words.index(b"application_name") + 1]
            self.name = "listen" if application.endswith(b"listen") else "db"
        self.asked.append(f"{self.name}> startup")
        await self.forward(self.server_writer, size + body, f"{self.name}> startup")

    def label(self, queries):
        words = []
        for query in queries:
            if self.OPENING.match(query):
                continue
            m = self.NAME.search(query)
            word = m.group(m.lastindex).decode() if m else query[:20].decode("ascii", "replace") or "sync"
            if not words or words[-1] != word:
                words.append(word)
        return f"{self.name}> {'+'.join(words)}"

    async def up(self):
        await self.startup()
        held, queries = b"", []
        while True:
            kind, data = await self.message(self.reader)
            held += data
            if kind == b"P":
                queries.append(data[5:].split(b"\0")[1])
            elif kind == b"Q":
                queries.append(data[5:-1])
            if kind in self.UNTIL:
                label = {b"X": f"{self.name}> terminate", b"p": f"{self.name}> password"}.get(kind) or self.label(queries)
                if kind in b"SQF":
                    self.asked.append(label)
                await self.forward(self.server_writer, held, label)
                held, queries = b"", []

    async def down(self):
        held = b""
        try:
            while True:
                kind, data = await self.message(self.server_reader)
                if kind == b"A":
                    await self.forward(self.writer, data, f"{self.name}< notify {data[9:].split(bytes(1))[0].decode()}")
                    continue
                held += data
                if kind == b"Z":
                    label = self.asked.popleft().replace(">", "<") if self.asked else f"{self.name}< ready"
                    self.answered()
                    await self.forward(self.writer, held, label)
                    held = b""
                elif kind in b"GWHd" or (kind == b"R" and data[5:9] != bytes(4)):
                    await self.forward(self.writer, held, f"{self.name}< {kind.decode()}")
                    held = b""
        except EOFError:
            if held:
                await self.forward(self.writer, held, f"{self.name}< goodbye")
            raise


class HttpLink(Link):
    IDS = ((re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "UUID"),
           (re.compile(r"/[0-9a-zA-Z]{20,63}(?=/|$)"), "/ID"))

    def label(self, line):
        method, target = line.split(" ")[:2]
        path = urllib.parse.urlsplit(target).path
        for ids, word in self.IDS:
            path = ids.sub(word, path)
        return f"{self.proxy.name}> {method} {path}"

    @staticmethod
    async def head(reader):
        data = await reader.readuntil(b"\r\n\r\n")
        lines = data.decode("latin-1").split("\r\n")
        return data, lines[0], {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:] if line)}

    @staticmethod
    async def body(reader, headers, to_end):
        """The body as it came. `to_end`: without a length it lasts to the connection's end."""
        data = b""
        if "chunked" in headers.get("transfer-encoding", ""):
            size = 1
            while size:
                line = await reader.readuntil(b"\r\n")
                size = int(line.split(b";")[0], 16)
                data += line + await reader.readexactly(size + 2)
            return data
        if "content-length" in headers:
            return await reader.readexactly(int(headers["content-length"]))
        return await reader.read(-1) if to_end else b""

    async def up(self):
        while True:
            head, line, headers = await self.head(self.reader)
            if headers.pop("expect", "").lower() == "100-continue":
                self.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                head = re.sub(rb"(?i)\r\nexpect:[^\r]*", b"", head)
            body = await self.body(self.reader, headers, False)
            label = self.label(line)
            self.asked.append(label)
            await self.forward(self.server_writer, head + body, label)

    async def down(self):
        data = b""
        while True:
            try:
                data, line, headers = await self.head(self.server_reader)
                status = int(line.split(" ")[1])
                label = self.asked[0].replace(">", "<") if self.asked else f"{self.proxy.name}< unasked"
                if status // 100 == 1:
                    await self.forward(self.writer, data, "")
                    continue
                if status not in (204, 304) and not label.startswith(f"{self.proxy.name}< HEAD"):
                    data += await self.body(self.server_reader, headers, True)
            except asyncio.IncompleteReadError as cut:  # what came of it is passed on
                if data + cut.partial:
                    await self.forward(self.writer, data + cut.partial, "")
                raise
            if self.asked:
                self.asked.popleft()
            self.answered()
            await self.forward(self.writer, data, label)


class Proxy:
    """Listens at a free port of 127.0.0.1, and keeps that port."""

    def __init__(self, upstream, link, name, tap=None):
        self.upstream, self.link, self.name, self.tap = upstream, link, name, tap or Tap()
        self.links = set()
        self.swallowing = self.keeping = False
        self.port = 0
        self.server = self.running = None
        Loop.call(self._listen())
        atexit.register(self.close)

    async def _listen(self):
        if not self.running:
            self.running = asyncio.Event()
        self.running.set()
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=STREAM_LIMIT, reuse_address=True)
        self.port = self.server.sockets[0].getsockname()[1]

    async def _serve(self, reader, writer):
        link = self.link(self, reader, writer)
        self.links.add(link)
        self.tap.links.add(link)
        try:
            await link.run()
        except (OSError, EOFError):
            pass
        finally:
            # Through a black hole nobody hears that the other side has gone.
            while self.swallowing:
                await asyncio.sleep(0.01)
            link.close(reset=link.damaged)
            self.links.discard(link)
            self.tap.links.discard(link)

    async def _stop_listening(self):
        if self.server:
            self.server.close()
            self.server = None

    def pause(self, keep=False):
        """Nothing passes in either direction, and nobody is told. `keep`: it passes later."""
        async def go():
            self.running.clear()
            self.swallowing, self.keeping = not keep, keep
        Loop.call(go())

    def reset(self):
        """All connections are reset, on both sides."""
        async def go():
            for link in list(self.links):
                link.close(reset=True)
        Loop.call(go())

    def refuse(self):
        """All connections are reset and no new one is accepted."""
        Loop.call(self._stop_listening())
        self.reset()

    def resume(self):
        """All is as usual again. Connections that have lost something are reset."""
        async def go():
            self.swallowing = self.keeping = False
            self.running.set()
            for link in list(self.links):
                if link.damaged:
                    link.close(reset=True)
            if not self.server:
                await self._listen()
        Loop.call(go())

    def connections(self):
        return len(self.links)

    def close(self):
        async def go():
            await self._stop_listening()
            self.swallowing = self.keeping = False
            for link in list(self.links):
                link.close(reset=True)
        if Loop.loop and Loop.loop.is_running():
            Loop.call(go())


class PostgresProxy(Proxy):
    def __init__(self, port, tap=None):
        super().__init__(("127.0.0.1", port), PostgresLink, "db", tap)

    def url(self, user="meshifyd", db="meshify"):
        return f"postgresql://{user}@127.0.0.1:{self.port}/{db}?sslmode=disable"


class HttpProxy(Proxy):
    def __init__(self, url, name="api", tap=None):
        parts = urllib.parse.urlsplit(url)
        super().__init__((parts.hostname, parts.port), HttpLink, name, tap)
        self.url = f"http://127.0.0.1:{self.port}"
