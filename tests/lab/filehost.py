"""A file host that answers byte for byte what a test tells it, lies included."""

import base64
import json
import re
import socket
import struct
import threading

_TABLE = [0] * 256
for _i in range(256):
    _crc = _i
    for _ in range(8):
        _crc = _crc >> 1 ^ (0x82F63B78 if _crc & 1 else 0)
    _TABLE[_i] = _crc


def crc32c(data):
    """As x-goog-hash says it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 255] ^ crc >> 8
    return base64.b64encode(struct.pack(">I", ~crc & 0xFFFFFFFF)).decode()


def glb(size, fill=0):
    """A mesh of one triangle and about `size` bytes, which are `fill` where nothing reads them."""
    binary = struct.pack("<9f", 0, 0, 0, 1, 0, 0, 0, 1, 0) + bytes([fill]) * (size // 4 * 4)
    document = json.dumps({
        "asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3", "min": [0, 0, 0], "max": [1, 1, 0]}],
        "bufferViews": [{"buffer": 0, "byteOffset": 0, "byteLength": 36}],
        "buffers": [{"byteLength": len(binary)}]}).encode()
    document += b" " * (-len(document) % 4)
    return (struct.pack("<4sII", b"glTF", 2, 28 + len(document) + len(binary)) + struct.pack("<I4s", len(document), b"JSON") +
            document + struct.pack("<I4s", len(binary), b"BIN\0") + binary)


def answer(status, body=b"", *headers, length=None):
    """An answer's bytes. `length`: what Content-Length says; -1: there is none."""
    lines = [f"HTTP/1.1 {status} Scripted", *headers, "Connection: close"]
    if length != -1:
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class FileHost:
    """`script` is a list of functions, one a request in their order, the last for all that follow. Each
    gets the byte that a Range header asks for (None: there is none) and the request's headers, in lower
    case, and answers bytes; then the connection is closed."""

    def __init__(self, *script):
        self.script, self.requests = script, []
        self.server = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self.server.getsockname()[1]}"
        self.url = f"http://{self.host}/xezq/a/mesh.glb"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection, _ = self.server.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection):
        with connection:
            head = b""
            while b"\r\n\r\n" not in head:
                more = connection.recv(65536)
                if not more:
                    return
                head += more
            first, *lines = head.decode("latin-1").strip().split("\r\n")
            headers = {"": first} | {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
            step = self.script[min(len(self.requests), len(self.script) - 1)]
            self.requests.append(headers)
            at = re.fullmatch(r"bytes=(\d+)-", headers.get("range", ""))
            try:
                connection.sendall(step(int(at.group(1)) if at else None, headers))
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536): # so that no reset overtakes what was sent
                    pass
            except OSError:
                pass

    @property
    def ranges(self):
        """What was asked for, request by request."""
        return [r.get("range") for r in self.requests]

    def close(self):
        self.server.close()
