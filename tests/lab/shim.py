"""tests/lab/shim.c in front of a daemon: its clocks can be set, and its memory can fail."""

import mmap
import os
import struct
import subprocess

from .process import WRAPPER, program
from .postgres import ROOT

SIZE = 32


class Shim:
    def __init__(self, lab):
        self.path = os.path.join(lab.dir, "shim")
        library = os.path.join(lab.dir, "shim.so")
        subprocess.run([os.environ.get("CC", "gcc").split()[-1], "-shared", "-fPIC", "-O1", "-o", library,
                        os.path.join(ROOT, "tests/lab/shim.c"), "-ldl"], check=True, cwd=ROOT)
        with open(self.path, "wb") as file:
            file.write(bytes(SIZE))
        with open(self.path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), SIZE)
        self.environment = {"LD_PRELOAD": library, "SHIM": self.path}

    def step(self, seconds):
        """The wall clock."""
        self.map[0:8] = struct.pack("=q", seconds)

    def sleep(self, seconds):
        """As if the machine had slept so long since its start: no timer went on, but the time is over."""
        self.map[24:32] = struct.pack("=q", seconds)

    def fail(self, one_in, seed=0):
        self.map[16:24] = struct.pack("=Q", seed)
        self.map[8:12] = struct.pack("=I", one_in)

    def failed(self):
        return struct.unpack("=I", self.map[12:16])[0]


def may_preload():
    """A sanitizer and valgrind bring an allocator of their own; what counts coverage does not outlive a shortage."""
    with open(program("meshifyd"), "rb") as file:
        code = file.read()
    return b"__asan_init" not in code and b"__gcov_exit" not in code and not WRAPPER
