"""TLS in front of a plain server, and a proxy that makes tunnels: for names that no name server knows."""

import asyncio
import base64
import os
import ssl
import subprocess

from .loop import Loop


class Authority:
    """A CA, and a certificate for `names` that it has signed. `bundle` is what its clients trust."""

    def __init__(self, directory, names):
        self.bundle, self.key, self.cert = (os.path.join(directory, n) for n in ("ca.crt", "server.key", "server.crt"))
        ca_key, request, extra = (os.path.join(directory, n) for n in ("ca.key", "server.csr", "server.ext"))
        with open(extra, "w", encoding="ascii") as file:
            file.write(f"subjectAltName={','.join(f'DNS:{n}' for n in names)}\n")
        new = ["openssl", "req", "-newkey", "rsa:2048", "-nodes"]
        for command in ([*new, "-x509", "-days", "2", "-subj", "/CN=test CA", "-keyout", ca_key, "-out", self.bundle],
                        [*new, "-subj", "/CN=server", "-keyout", self.key, "-out", request],
                        ["openssl", "x509", "-req", "-days", "2", "-in", request, "-CA", self.bundle, "-CAkey", ca_key,
                         "-CAcreateserial", "-extfile", extra, "-out", self.cert]):
            subprocess.run(command, check=True, capture_output=True)

    def context(self):
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.cert, self.key)
        return context


async def _pump(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def _join(reader, writer, port):
    try:
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        writer.close()
        return
    await asyncio.gather(_pump(reader, to_writer), _pump(to_reader, writer))


class _Server:
    def __init__(self, host, port, context=None):
        self.writers = set()
        self.server = Loop.call(asyncio.start_server(self._serve, host, port, ssl=context, reuse_address=True))
        self.port = self.server.sockets[0].getsockname()[1]

    async def serve(self, reader, writer):
        raise NotImplementedError

    async def _serve(self, reader, writer):
        self.writers.add(writer)
        try:
            await self.serve(reader, writer)
        finally:
            self.writers.discard(writer)

    def reset(self):
        """Ends all connections."""
        async def go():
            for writer in list(self.writers):
                writer.transport.abort()
        Loop.call(go())

    def close(self):
        async def go():
            self.server.close()
        Loop.call(go())


class TlsFront(_Server):
    """Takes TLS off, and passes the rest to a port of 127.0.0.1."""

    def __init__(self, authority, upstream_port, host="127.0.0.1", port=0):
        self.upstream_port = upstream_port
        super().__init__(host, port, authority.context())

    async def serve(self, reader, writer):
        await _join(reader, writer, self.upstream_port)


class TunnelProxy(_Server):
    """An HTTP proxy that makes tunnels (CONNECT) to `ports` of 127.0.0.1, by "HOST:PORT". `targets` is whom it was asked
    for. With `login` it wants that USER:PASSWORD."""

    def __init__(self, ports, login=None):
        self.ports, self.login, self.targets, self.refused = ports, login, [], 0
        super().__init__("127.0.0.1", 0)

    async def serve(self, reader, writer):
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except (OSError, EOFError):
            writer.close()
            return
        method, target, _ = head.split("\r\n")[0].split(" ")
        login = base64.b64encode((self.login or "").encode()).decode()
        status = "200 Connected"
        if self.login and f"Proxy-Authorization: Basic {login}" not in head:
            status = "407 Login, please"
            self.refused += 1
        elif method != "CONNECT" or target not in self.ports:
            status = "403 Not there"
            self.refused += 1
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode() if status[0] != "2" else
                     f"HTTP/1.1 {status}\r\n\r\n".encode())
        if status[0] != "2":
            writer.close()
            return
        self.targets.append(target)
        await _join(reader, writer, self.ports[target])
