#!/usr/bin/python3
"""The other side of t_http.c: an HTTP/1.1 server that tells what it was sent. Prints its port; ends with its input.

/echo    the request, as text: first line, headers in lower case, and the body's size and SHA-256
/signed  "good" where the request is signed by AWS's rules (SigV4) with the key below, else 403 and why
/words   headers of all kinds, HTTP 404
/length  a Content-Length of 1000, for a HEAD
/dies    closes a connection that was used before without an answer, once
"""

import hashlib
import hmac
import socket
import sys
import threading

ACCESS, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
dead = set()


def mac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def judge(method, target, headers, body):
    """Empty, or what is wrong with the signature: the rules of docs.aws.amazon.com, "Signature Version 4"."""
    path, _, query = target.partition("?")
    kind, _, fields = headers.get("authorization", "").partition(" ")
    fields = dict(f.strip().split("=", 1) for f in fields.split(",") if "=" in f)
    access, *scope = fields.get("Credential", "").split("/")
    names = fields.get("SignedHeaders", "").split(";")
    payload = headers.get("x-amz-content-sha256", "")
    if kind != "AWS4-HMAC-SHA256" or len(scope) != 4 or access != ACCESS:
        return "not signed, or by another"
    if not set(names) <= set(headers):
        return "signed, but not sent: " + ", ".join(set(names) - set(headers))
    if not {"host", "x-amz-date"} <= set(names) or payload not in ("UNSIGNED-PAYLOAD", hashlib.sha256(body).hexdigest()):
        return "not all of it is signed"
    canonical = "\n".join([method, path, "&".join(sorted(query.split("&"))),
                           *(f"{n}:{headers.get(n, '')}" for n in names), "", ";".join(names), payload])
    key = ("AWS4" + SECRET).encode()
    for part in scope:
        key = mac(key, part)
    to_sign = "\n".join([kind, headers["x-amz-date"], "/".join(scope), hashlib.sha256(canonical.encode()).hexdigest()])
    return "" if mac(key, to_sign).hex() == fields.get("Signature") else "another signature"


def read_request(connection, stream):
    first = stream.readline().decode("latin-1").split()
    headers = {}
    while line := stream.readline().decode("latin-1").strip():
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    if "expect" in headers:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    size = int(headers.get("content-length", 0))
    body = stream.read(size)
    return first, headers, body if len(body) == size else None


def reply(method, target, headers, body):
    if target.startswith("/words"):
        return "404 Not Found", ["Upload-Offset: 42", "ETag: \"a b\"", "X-Twice: 1", "X-Twice: 2", "X-Long: " + "x" * 5000, "X-Empty:"], b"no"
    if target.startswith("/length"):
        return "200 OK", ["Content-Length: 1000"], None
    if target.startswith("/signed"):
        wrong = judge(method, target, headers, body)
        return ("403 Forbidden" if wrong else "200 OK"), [], (wrong or "good").encode()
    lines = [f"{method} {target}", *(f"{n}: {v}" for n, v in headers.items()), f"body {len(body)} {hashlib.sha256(body).hexdigest()}"]
    return "200 OK", [], "\n".join(lines).encode()


def serve(connection):
    used = False
    with connection, connection.makefile("rb") as stream:
        while True:
            first, headers, body = read_request(connection, stream)
            if len(first) != 3 or body is None:
                return
            method, target, _ = first
            if target.startswith("/dies") and used and target not in dead:
                dead.add(target)
                return
            used = True
            status, lines, content = reply(method, target, headers, body)
            if content is not None:
                lines = [*lines, f"Content-Length: {len(content)}"]
            connection.sendall("\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode() + (content or b"" if method != "HEAD" else b""))


def main():
    server = socket.create_server(("127.0.0.1", 0))
    print(server.getsockname()[1], flush=True)
    threading.Thread(target=lambda: [threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start() for _ in iter(int, 1)],
                     daemon=True).start()
    sys.stdin.read()


main()
