"""The smallest network a tunnel needs, on one machine, and what is seen of it from outside.

    laptop 10.77.1.2 ------ 10.77.1.1 gateway 10.50.0.1 ------ 10.50.0.10 corp
              out0           out0             corp0              eth0

Two veth pairs, no router between: every hop costs the same two cores, and a hop that tells nothing
about a tunnel only dilutes the result. IPv4 alone. Each contender has a fresh one.
"""

import ctypes
import os
import select
import socket
import struct
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "net"))

from lab import GATEWAY_NAME, Lab, Namespace, run  # noqa: E402
from pki import Corp  # noqa: E402

LAPTOP = "10.77.1.2"
GATEWAY = "10.77.1.1"
CORP = "10.50.0.10"
CORP_NET = "10.50.0.0/24"

# Where contenders that do not hand out addresses have theirs.
INNER_NET = "10.99.0.0/24"
INNER_GATEWAY, INNER_LAPTOP = "10.99.0.1", "10.99.0.2"

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class Bed(Lab):
    """Lab's ways to start and end things, with less around them: gw, laptop, corp."""

    def _setup(self):
        self.dir = Path(tempfile.mkdtemp(prefix=self.name + "-"))
        self.dir.chmod(0o755)
        self.congestion = None
        for role in ("gw", "corp", "laptop"):
            self.ns[role] = Namespace(self, role)
            self.ns[role].setup()
            self.congestion = choose_congestion(self.ns[role])
        self._join("laptop", "out0", [f"{LAPTOP}/24"], "gw", "out0", [f"{GATEWAY}/24"])
        self._join("gw", "corp0", ["10.50.0.1/24"], "corp", "eth0", [f"{CORP}/24"])
        self.ns["corp"].ip("route", "add", "default", "via", "10.50.0.1")
        self.ns["laptop"].hosts({GATEWAY_NAME: [GATEWAY]})
        self.pki = Corp(self.dir / "pki", GATEWAY_NAME, [GATEWAY])


def choose_congestion(ns):
    """cubic is Debian's. Outside the first namespace a kernel grants only what
    tcp_allowed_congestion_control lists; reno is always there, and bbr would be another test."""
    for name in ("cubic", "reno"):
        if ns.run(["sysctl", "-q", "-w", f"net.ipv4.tcp_congestion_control={name}"],
                  check=False).returncode == 0:
            return name
    return "the kernel's own"


# What a contender's processes have used.

def _task_ns(path):
    try:
        return int(path.read_text().split()[0])
    except (OSError, IndexError):
        return 0


def cpu_by_task(pids):
    """{(pid, task): nanoseconds on a CPU} of every thread; /proc/PID has the first's alone."""
    tasks = {}
    for pid in pids:
        try:
            for task in Path(f"/proc/{pid}/task").iterdir():
                tasks[pid, task.name] = _task_ns(task / "schedstat")
        except OSError:
            pass
    return tasks


def cpu_since(before, pids):
    """Seconds. A new thread counts from nought; what one that ended used meanwhile is lost."""
    return sum(now - before.get(task, 0) for task, now in cpu_by_task(pids).items()) / 1e9


def pss_kib(pids):
    """Memory of these processes, what is shared divided by those who share it."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in text.splitlines()
                     if line.startswith("Pss:"))
    return total


def machine_ticks():
    """(busy, idle, stolen) seconds of all cores so far."""
    with open("/proc/stat", encoding="ascii") as stat:
        user, nice, system, idle, iowait, irq, softirq, steal = map(
            int, stat.readline().split()[1:9])
    tick = os.sysconf("SC_CLK_TCK")
    return ((user + nice + system + irq + softirq) / tick, (idle + iowait) / tick, steal / tick)


def busy_share(seconds=0.3):
    """What others leave of the machine, before a contender begins: 0 is a quiet one."""
    busy, idle, _ = machine_ticks()
    time.sleep(seconds)
    busy_now, idle_now, _ = machine_ticks()
    return (busy_now - busy) / max(busy_now - busy + idle_now - idle, 1e-9)


# The first echo.

@contextmanager
def inside(ns):
    """This thread is in another network namespace; a socket made there stays there."""
    with open("/proc/thread-self/ns/net", "rb") as ours, \
            open(f"/run/netns/{ns.name}", "rb") as theirs:
        if _libc.setns(theirs.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {ns.name}")
        try:
            yield
        finally:
            _libc.setns(ours.fileno(), CLONE_NEWNET)


def _checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def echo_request(ident, sequence):
    head = struct.pack("!BBHHH", 8, 0, 0, ident, sequence)
    return struct.pack("!BBHHH", 8, 0, _checksum(head), ident, sequence)


class Echo:
    """Asks corp from the laptop every 2 ms until it answers. Opened before what is timed begins."""

    INTERVAL_S = 0.002

    def __init__(self, bed):
        self.ident = os.getpid() & 0xffff
        with inside(bed.laptop):
            self.sock = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK,
                                      socket.IPPROTO_ICMP)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def _answered(self):
        while True:
            try:
                packet = self.sock.recv(2048)
            except OSError:
                return False
            kind, _, _, ident, _ = struct.unpack("!BBHHH", packet[20:28])
            if kind == 0 and ident == self.ident:
                return True

    def wait(self, begin, patience_s):
        """Seconds from begin to the first answer, or None. No route yet is no answer yet."""
        sequence = 0
        while (now := time.monotonic()) - begin < patience_s:
            sequence = (sequence + 1) & 0xffff
            try:
                self.sock.sendto(echo_request(self.ident, sequence), (CORP, 0))
            except OSError:
                pass
            while (left := now + self.INTERVAL_S - time.monotonic()) > 0:
                select.select([self.sock], [], [], left)
                if self._answered():
                    return time.monotonic() - begin
        return None


def version_of(argv, line=0):
    """One line of what a program says of itself; "?" when it is not there."""
    try:
        done = run(argv, check=False, timeout=10)
    except OSError:
        return "?"
    lines = [text.strip() for text in (done.stdout + done.stderr).splitlines() if text.strip()]
    return lines[line] if len(lines) > line else "?"
