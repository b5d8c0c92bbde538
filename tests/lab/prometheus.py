"""Reads the text form of Prometheus (0.0.4), and nothing that is only nearly it; talks HTTP by hand."""

import re
import socket

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? (\S+)")
TYPES = ("counter", "gauge", "histogram")


class Wrong(Exception):
    """The text is not what Prometheus reads."""


def need(condition, what):
    if not condition:
        raise Wrong(what)


class Metrics:
    """Families by name; `value(name, label="…")` is one sample, None where there is none."""

    def __init__(self, text):
        self.types, self.helps, self.samples = {}, {}, {}
        need(text.endswith("\n") and "\r" not in text, "a line without its end")
        family = None
        for line in text[:-1].split("\n"):
            words = line.split(" ", 3)
            if line.startswith("# HELP "):
                family = words[2]
                need(re.fullmatch(NAME, family) and family not in self.helps and words[3], f"HELP: {line!r}")
                self.helps[family] = words[3]
            elif line.startswith("# TYPE "):
                need(words[2] == family and family not in self.types and words[3] in TYPES, f"TYPE: {line!r}")
                self.types[family] = words[3]
            else:
                self._sample(line, family)
        need(set(self.types) == set(self.helps), "HELP and TYPE are not in pairs")
        for name, kind in self.types.items():
            need((kind == "counter") == name.endswith("_total"), f"{name} is a {kind}")
            if kind == "histogram":
                self._histogram(name)

    def _sample(self, line, family):
        match = SAMPLE.fullmatch(line)
        need(match and family in self.types, f"sample: {line!r}")
        name, labels = match[1], re.findall(LABEL, match[2] or "")
        suffix = name.removeprefix(family)
        need(suffix in (("_bucket", "_sum", "_count") if self.types[family] == "histogram" else ("",)), f"{line!r} in {family}")
        need(len(dict(labels)) == len(labels), f"a label twice: {line!r}")
        key = (name, frozenset(labels))
        need(key not in self.samples, f"twice: {line!r}")
        self.samples[key] = float(match[match.lastindex])
        need(self.types[family] == "gauge" or self.samples[key] >= 0, f"negative: {line!r}")

    def _histogram(self, name):
        buckets = [(float(dict(labels)["le"]), value) for (n, labels), value in self.samples.items() if n == f"{name}_bucket"]
        need(buckets and buckets == sorted(buckets) and buckets[-1][0] == float("inf"), f"{name}: bounds {buckets}")
        need([v for _, v in buckets] == sorted(v for _, v in buckets), f"{name}: not cumulative {buckets}")
        need(buckets[-1][1] == self.value(f"{name}_count") and self.value(f"{name}_sum") is not None, f"{name}: count or sum")

    def value(self, name, **labels):
        return self.samples.get((name, frozenset(labels.items())))

    def total(self, name, **labels):
        """The sum over all other labels."""
        return sum(v for (n, have), v in self.samples.items() if n == name and set(labels.items()) <= have)

    def labels(self, name):
        return [dict(labels) for n, labels in self.samples if n == name]


class Page:
    def __init__(self, raw):
        head, _, self.body = raw.decode().partition("\r\n\r\n")
        first, *lines = head.split("\r\n")
        self.code = int(first.split()[1])
        self.headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}


def connect(address):
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host.strip("[]"), int(port)), timeout=10)


def ask(address, path, method="GET", more="", body=""):
    """One request on a connection of its own."""
    with connect(address) as s:
        s.sendall(f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{more}\r\n{body}".encode())
        raw = b""
        while part := s.recv(65536):
            raw += part
    return Page(raw)


def scrape(address):
    return Metrics(ask(address, "/metrics").body)
