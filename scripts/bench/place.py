"""Where a run lives: its directories, its processes, its namespaces. Whatever happens, `close` leaves nothing of them behind."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Whom servers work as when root starts them. Nothing of a peer runs as root that need not.
SERVICE = "nobody"
IS_ROOT = os.geteuid() == 0
GIB = 1 << 30


class Skip(Exception):
    """A row, or a contender, that cannot be measured here; the text says why."""


class Place:
    """Directories on the tmpfs and on the disk, and all that was started."""

    def __init__(self, disk=None, binaries=None):
        self.binaries = binaries
        self.processes = []
        self.undo = []
        self._tmpfs = None
        self._disk = None
        self._disk_root = disk or os.path.join(ROOT, "target", "bench")

    @property
    def tmpfs(self):
        """A directory in memory: the network and the processor are measured, no disk."""
        if self._tmpfs is None:
            if not os.path.isdir("/dev/shm"):
                raise Skip("there is no /dev/shm")
            self._tmpfs = self._make("/dev/shm")
        return self._tmpfs

    @property
    def disk(self):
        """A directory on a real disk."""
        if self._disk is None:
            os.makedirs(self._disk_root, exist_ok=True)
            self._disk = self._make(self._disk_root)
        return self._disk

    def _make(self, parent):
        made = tempfile.mkdtemp(prefix="dfos-bench.", dir=parent)
        os.chmod(made, 0o711)  # servers are somebody else
        return made

    def fresh(self, under, name, served=False):
        """An empty directory; one that is `served` belongs to whom servers work as."""
        path = os.path.join(under, name)
        empty(path)
        os.makedirs(path)
        if served:
            give(path)
        return path

    def program(self, name):
        """A binary of this house."""
        return os.path.join(self.binaries, name)

    def start(self, argv, **options):
        """Starts a process that `close` will end."""
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("stdout", subprocess.DEVNULL)
        options.setdefault("stderr", subprocess.DEVNULL)
        # A group of its own: Ctrl+C is for us, and we end everything in order.
        process = subprocess.Popen(argv, start_new_session=True, **options)
        self.processes.append(process)
        return process

    def stop(self, process):
        """Ends a process and all that are below it, each by its own pid."""
        below = descendants(process.pid)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for pid, begun in below:
            if started(pid) == begun:  # still the one that we saw
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        if process in self.processes:
            self.processes.remove(process)

    def close(self):
        """Ends and removes everything."""
        for process in reversed(list(self.processes)):
            self.stop(process)
        for undo in reversed(self.undo):
            undo()
        self.undo.clear()
        for path in (self._tmpfs, self._disk):
            if path:
                shutil.rmtree(path, ignore_errors=True)


def give(path):
    """Gives a path and what is below it to whom servers work as, if we are root."""
    if IS_ROOT:
        subprocess.run(["chown", "-Rh", SERVICE, path], check=True)


def put_aside(path, under):
    """Takes what an earlier run made out of the way, into a directory below `under`, with which it is removed: ext4 without a journal
    does not use the inode of a file again within five seconds of its removal, and looks through all such at each new file."""
    if os.path.lexists(path):
        aside = os.path.join(under, "aside")
        os.makedirs(aside, exist_ok=True)
        os.rename(path, os.path.join(aside, str(len(os.listdir(aside)))))


def empty(path):
    """Removes what is at a path."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def free_port():
    """A port of 127.0.0.1 that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port, process, seconds=15):
    """Waits until somebody listens; fails if the server that should has ended."""
    deadline = time.monotonic() + seconds
    while True:
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            raise Skip(f"it did not start (exit status {process.returncode})")
        if time.monotonic() > deadline:
            raise Skip("it does not listen")
        time.sleep(0.02)


def started(pid):
    """When a process began, in clock ticks; None if there is none. Tells two processes with one pid apart."""
    fields = stat_fields(pid)
    return fields[19] if fields else None


def stat_fields(pid):
    """The fields of /proc/PID/stat from the third (state) on; None if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rsplit(b") ", 1)[1].split()
    except (OSError, IndexError):
        return None


def descendants(pid):
    """Pids and starting times of all below a process."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = stat_fields(name)
            if fields:
                parents.setdefault(int(fields[1]), []).append((int(name), fields[19]))
    found, ask = [], [pid]
    while ask:
        for child in parents.get(ask.pop(), []):
            found.append(child)
            ask.append(child[0])
    return found
