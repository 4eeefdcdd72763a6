"""Two machines 50 ms apart, on one: two network namespaces, and between them a link that delays each packet.

Where the kernel has the queueing discipline netem, the link is a veth pair with it. Where it has not, this program is the link: it reads
packets from a TUN device in one namespace and writes them, 25 ms later, to another in the other. The kernel hands over whole segments of
up to 64 KiB (TSO, as to a network card), so that a connection behaves as over Ethernet, and Python is fast enough."""

import collections
import ctypes
import fcntl
import os
import select
import struct
import subprocess
import sys
import threading
import time

from place import IS_ROOT, Skip

HALF = 0.025
# /usr/include/linux/if_tun.h
TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0
IFF_TUN, IFF_NO_PI, IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
TUN_F_CSUM, TUN_F_TSO4 = 0x01, 0x02
CLONE_NEWNET = 0x40000000
# TEST-NET-2, RFC 5737: nobody's addresses, seen in the two namespaces alone.
NEAR, FAR = "198.51.100.1", "198.51.100.2"


def quietly(*argv):
    """Runs a command; what it says if it fails."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else done.stderr.strip() or f"{argv[0]} ended with status {done.returncode}"


class Link:
    """The two namespaces. `near` and `far` go before a command line."""

    def __init__(self, place):
        if not IS_ROOT:
            raise Skip("network namespaces need root")
        self.place, self.relay = place, None
        self.names = [f"dfos-bench-{end}-{os.getpid()}" for end in ("near", "far")]
        self.near, self.far = (["ip", "netns", "exec", name] for name in self.names)
        place.undo.append(self.remove)
        try:
            for name in self.names:
                self._must("ip", "netns", "add", name)
                self._must("ip", "-n", name, "link", "set", "lo", "up")
            self.how = self._netem() or self._tun()
        except FileNotFoundError as why:
            raise Skip(f"{why.filename} not installed") from None

    def _must(self, *argv):
        trouble = quietly(*argv)
        if trouble:
            raise Skip(f"no network namespace can be made: {' '.join(argv[:4])}: {trouble}")

    def _netem(self):
        near, far = self.names
        self._must("ip", "-n", near, "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", far)
        for name in self.names:
            # Room for all that can be under way: the link delays, it does not drop.
            if quietly("ip", "netns", "exec", name, "tc", "qdisc", "add", "dev", "wire", "root", "netem", "delay", "25ms", "limit", "1000000"):
                self._must("ip", "-n", near, "link", "del", "wire")
                return None
        self._addresses()
        return "netem"

    def _tun(self):
        if not os.path.exists("/dev/net/tun"):
            raise Skip("the kernel has neither netem nor TUN devices")
        argv = [sys.executable, "-B", os.path.abspath(__file__), *self.names]
        self.relay = self.place.start(argv, stdout=subprocess.PIPE)
        if self.relay.stdout.readline() != b"ready\n":
            raise Skip("the kernel has no netem, and the delaying program could not start")
        self._addresses()
        return "a program between two TUN devices, as this kernel has no netem"

    def _addresses(self):
        for name, address, other in zip(self.names, (NEAR, FAR), (FAR, NEAR)):
            self._must("ip", "-n", name, "address", "add", address, "peer", other, "dev", "wire")
            self._must("ip", "-n", name, "link", "set", "wire", "up")

    def remove(self):
        """Ends all of it."""
        if self.relay:
            self.place.stop(self.relay)
            self.relay.stdout.close()
            self.relay = None
        for name in self.names:
            quietly("ip", "netns", "del", name)
        self.names = []


# --- the link as a program ---


def device(namespace):
    """A TUN device in a namespace."""
    with open(f"/run/netns/{namespace}", "rb") as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
    tun = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", b"wire", IFF_TUN | IFF_NO_PI | IFF_VNET_HDR))
    fcntl.ioctl(tun, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4)
    return tun


def carry(source, target):
    """Carries packets one way, each 25 ms late. One thread takes them in, one gives them out."""
    under_way, there = collections.deque(), threading.Semaphore(0)

    def give_out():
        while True:
            there.acquire()
            due, packet = under_way.popleft()
            left = due - time.monotonic()
            if left > 0:
                time.sleep(left)
            try:
                os.write(target, packet)
            except OSError:
                pass  # the device is down: lost, as on any link

    threading.Thread(target=give_out, daemon=True).start()
    while True:
        try:
            packet = os.read(source, 70_000)
        except OSError:
            select.select([], [], [], 0.01)  # not up yet
            continue
        under_way.append((time.monotonic() + HALF, packet))
        there.release()


def main():
    """The link, until it is ended."""
    near, far = (device(name) for name in sys.argv[1:3])
    threading.Thread(target=carry, args=(near, far), daemon=True).start()
    print("ready", flush=True)
    carry(far, near)


if __name__ == "__main__":
    main()
