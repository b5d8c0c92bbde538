"""meshify-sim, which plays Replicate, its file host and Supabase Storage; told what to do by tests/sim/control.c."""

import json
import urllib.request

from .process import Process, program

TRELLIS = "firtoz/trellis:e8f6c45206993f297372f5436b90350817bd9b4a0d52d2a76df50c1c8afa2b3c"


class Sim(Process):
    """The program, and its control endpoint."""

    def __init__(self, seed=1, address="127.0.0.1"):
        super().__init__([program("meshify-sim"), "--listen", f"{address}:0", "--files", f"{address}:0",
                          "--seed", str(seed)])
        match = self.wait_line(r"listening on (http://\S+) files (http://\S+)")
        self.url, self.files = match.group(1), match.group(2)

    def control(self, method, path, body=None):
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"{self.url}/_sim/{path}", data, {"Content-Type": "application/json"},
                                         method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as reply:
            text = reply.read()
        return json.loads(text) if text else None

    def put(self, path, data):
        """An object, as a user uploads it."""
        request = urllib.request.Request(f"{self.url}/storage/v1/object/{path}", data, {"Authorization": "Bearer eyJ.test.key"})
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30).close()

    def config(self, **settings):
        return self.control("POST", "config", settings)

    def fault(self, endpoint, do, **how):
        return self.control("POST", "faults", {"endpoint": endpoint, "do": do, **how})

    def stats(self):
        return self.control("GET", "stats")

    def predictions(self):
        answer = self.control("GET", "predictions")
        return answer["predictions"] if isinstance(answer, dict) else answer

    def objects(self):
        answer = self.control("GET", "objects")
        return answer["objects"] if isinstance(answer, dict) else answer
