"""The daemon's log as events: each line of JSON by its MESSAGE_ID and fields, so that no test hangs on a wording."""

import json
import os
import re
import time

from .postgres import ROOT

LEVELS = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
SHORT = {"MESHIFY_JOB_ID": "job", "MESHIFY_PREDICTION_ID": "prediction", "MESHIFY_STATE": "state", "MESHIFY_FAULT": "fault",
         "MESHIFY_ATTEMPT": "attempt"}  # as logfmt has them


def _catalog():
    with open(os.path.join(ROOT, "include/base/catalog.h"), encoding="utf-8") as file:
        return {name: number for name, number in re.findall(r'#define MSG_(\w+)\s+(?:\\\s+)?"([0-9a-f]{32})"', file.read())}


IDS = _catalog()  # of names as in include/base/catalog.h, without MSG_


class Event:
    """A line of the log."""

    def __init__(self, fields):
        self.id, self.text, self.fields = fields["MESSAGE_ID"], fields["MESSAGE"], fields
        self.level = LEVELS[int(fields["PRIORITY"])]
        self.known = {short: fields[name] for name, short in SHORT.items() if name in fields}

    @classmethod
    def read(cls, line):
        """None: not a line of JSON."""
        if not line.startswith('{"time":'):
            return None
        try:
            return cls(json.loads(line))
        except ValueError:
            return None

    def is_one(self, names, text=None, level=None, **fields):
        """Whether it has one of the names, if there are any, these fields, and a message that the pattern `text` finds."""
        return ((not names or self.id in [IDS[name] for name in names]) and level in (None, self.level) and
                all(self.known.get(name) == str(value) for name, value in fields.items()) and
                (text is None or re.search(text, self.text) is not None))

    def logfmt(self):
        """The line as [log] target = stderr has it."""
        seconds = float(self.fields["time"])
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds * 1000) % 1000:03}Z"
        quoted = self.text.replace("\\", "\\\\").replace('"', '\\"')
        return " ".join([f'time={when} level={self.level} msg="{quoted}"', *(f"{name}={value}" for name, value in self.known.items())])
