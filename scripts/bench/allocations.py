"""Counting allocations of a server's and of a client's processes, by a small library that is preloaded into them."""

import os
import shutil
import struct
import subprocess

from place import IS_ROOT, Skip


class Counter:
    """A figure in a file, which all processes that have the library add to."""

    def __init__(self, place, under, name):
        compiler = shutil.which("cc")
        if not compiler:
            raise Skip("there is no C compiler (cc)")
        home = place.fresh(under, f"allocations.{name}")
        self.path, library = os.path.join(home, "count"), os.path.join(home, "count_allocations.so")
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "count_allocations.c")
        made = subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, source], capture_output=True, text=True, check=False)
        if made.returncode != 0:
            raise Skip(f"the counting library could not be compiled: {made.stderr.strip()[-200:]}")
        with open(self.path, "wb") as file:
            file.write(bytes(8))
        if IS_ROOT:
            os.chmod(self.path, 0o666)
        self.env = {"LD_PRELOAD": library, "COUNT_ALLOCATIONS": self.path}

    def now(self):
        """Allocations so far."""
        with open(self.path, "rb") as file:
            return struct.unpack("=Q", file.read(8))[0]
