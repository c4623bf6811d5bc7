"""What every contender has, and how those without an own way set their addresses."""

import os
import shutil
import signal
import time
from pathlib import Path

from bed import INNER_LAPTOP, Echo, version_of
from lab import LabError, comm, wait_until

# Programs of the benchmark that run in the same namespaces.
MEASURING = {"iperf3", "udp", "ping", "ip"}


def pids_of(ns):
    return [pid for pid in ns.pids() if comm(pid) not in MEASURING]


def give_addresses(ns, device, address, mtu, peer_net=None):
    """For tunnels that make a bare device: a /24 of the inner network, and routes into it."""
    ns.ip("addr", "add", f"{address}/24", "dev", device)
    ns.ip("link", "set", device, "up", "mtu", str(mtu))
    if peer_net:
        ns.ip("route", "replace", peer_net, "dev", device)


def threads_of(pid):
    """How many still run; a dead process nobody has asked for yet has none."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    count = int(status.split("Threads:")[1].split()[0])
    return 0 if count == 1 and "State:\tZ" in status else count


class Contender:
    """One tunnel between bed.laptop and bed.gw, made for one visit.

    start()     the gateway's end is ready
    connect()   starts the laptop's end and returns the seconds to the first echo
    settle()    returns once data takes the way it is to be measured on
    kill()      ends the laptop's end with SIGKILL, as a battery does
    gateway_pids(), laptop_pids()   all processes of an end
    inner       the laptop's address in the tunnel, where corp finds it
    """

    name = "?"                 # in tables and on the command line
    title = "?"                # in the text
    programs = ()              # all must be found, or it is left out
    package = ""               # Debian's, for those who miss it
    configuration = ""         # one line for the report
    by_path = False            # --peer NAME=PATH gives another program
    is_tunnel = True           # false: no VPN, nothing to be "best peer"
    patience_s = 25

    def __init__(self, bed, build):
        self.bed = bed
        self.build = build
        self.inner = INNER_LAPTOP

    @classmethod
    def missing(cls, _build):
        """Empty, or the line that says why it is left out."""
        absent = [program for program in cls.programs if not shutil.which(program)]
        if not absent:
            return ""
        return f"no {', '.join(absent)}" + (f" (Debian: {cls.package})" if cls.package else "")

    @classmethod
    def version(cls, _build):
        return version_of([cls.programs[0], "--version"])

    def start(self):
        pass

    def start_laptop(self):
        raise NotImplementedError

    def settle(self):
        pass

    def connect(self):
        with Echo(self.bed) as echo:
            begin = time.monotonic()
            self.start_laptop()
            waited = echo.wait(begin, self.patience_s)
        if waited is None:
            raise LabError(f"{self.name}: no echo within {self.patience_s} s\n{self.logs()}")
        return waited

    def gateway_pids(self):
        return pids_of(self.bed.gw)

    def laptop_pids(self):
        return pids_of(self.bed.laptop)

    def kill(self):
        """All at once: a child that saw its parent go could still say goodbye."""
        pids = self.laptop_pids()
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        wait_until(lambda: not self.alive(pids), 10, f"the end of {self.name}'s processes", 0.002)

    def alive(self, pids):
        """The namespace lists a process no more while its last threads still hold the device."""
        for process in self.bed.processes:
            process.popen.poll()
        return [pid for pid in pids if threads_of(pid)]

    def logs(self):
        return "\n".join(f"--- {name}\n{text}" for name, text in self.bed.logs(8))
