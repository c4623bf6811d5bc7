"""Good traffic beside a peer gone mad, in a lab and with a gateway that live as long as their file.

    class World(Beside): makes self.lab and self.gateway

    @pytest.fixture(scope="module")
    def world():
        with World() as world:
            yield world
"""

import contextlib
import json
import os
import re
import statistics
import subprocess
import time
from pathlib import Path

from lab import CORP, LabError, die_with_parent
from traffic import ENDPOINTS, Datagrams


class Beside(contextlib.AbstractContextManager):
    lab = gateway = None

    def __exit__(self, *_):
        self.lab.close()

    @property
    def engine(self):
        return self.gateway.processes()["engine"]

    def memory(self):
        """Bytes that the engine has in memory."""
        return int(Path(f"/proc/{self.engine}/statm").read_text().split()[1]) * 4096

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.engine}/fd"))

    def drops(self):
        return self.gateway.status()["drops"]


@contextlib.contextmanager
def nothing_lost(lab, inner, rate):
    """Meanwhile so many datagrams a second go between laptop and corp, both ways, and each arrives,
    once."""
    stream = Datagrams(lab, lab.laptop, inner, CORP[4], rate)
    started = time.monotonic()
    try:
        yield
    except BaseException:
        stream.finish()
        raise
    time.sleep(0.2)
    seconds = time.monotonic() - started
    for end in stream.finish():
        numbers = end["numbers"]
        assert len(numbers) >= 0.8 * rate * seconds, f"{len(numbers)} in {seconds} s"
        missing = numbers[-1] + 1 - numbers[0] - len(set(numbers))
        assert missing == 0 and len(numbers) == len(set(numbers)), f"{missing} lost"


# What a session keeps of its traffic.

class Steady:
    """Numbered datagrams and a TCP stream at a constant rate, both ways between laptop and corp, in
    windows of a quarter of a second."""

    WINDOW_NS = 250_000_000
    RATE = 800
    PORT = 7003

    def __init__(self, lab, inner):
        common = ["iperf3", "-p", self.PORT, "-i", "0.25", "--forceflush"]
        self.server = lab.corp.spawn("iperf3-server", [*common, "-s", "-1"])
        self.server.wait_for("listening")
        self.client = lab.laptop.spawn("iperf3", [*common, "-c", CORP[4], "-t", "60", "--bidir",
                                                  "-b", "40M", "-l", "8K"])
        self.datagrams = Datagrams(lab, lab.laptop, inner, CORP[4], self.RATE)
        self.server.wait_for("RX-S")

    def mark(self):
        return time.time_ns(), self.server.mark(), self.client.mark()

    def finish(self):
        self.ends = self.datagrams.finish()
        self.client.stop()
        self.server.stop()

    def between(self, start, end):
        """{name: what came in each window}, after finish()."""
        windows = {}
        for name, process, which in (("tcp up", self.server, 1), ("tcp down", self.client, 2)):
            with open(process.log_path, "rb") as log:
                log.seek(start[which])
                text = log.read(end[which] - start[which]).decode()
            rates = re.findall(r"\[RX-[SC]\].* ([0-9.]+) ([KMG]?)bits/sec", text)
            windows[name] = [float(rate) * {"": 1, "K": 1e3, "M": 1e6, "G": 1e9}[unit]
                             for rate, unit in rates]
        for name, got in zip(("udp up", "udp down"), self.ends):
            counts = [0] * ((end[0] - start[0]) // self.WINDOW_NS)
            for at in got["times_ns"]:
                window = (at - start[0]) // self.WINDOW_NS
                if 0 <= window < len(counts):
                    counts[window] += 1
            windows[name] = counts
        return windows


def kept(steady, turns):
    """{name: the share of what there was alone, (start, end), that was kept beside, (start, end)}: the
    median of the turns, as a small, shared machine is slow for all in some of them."""
    shares = []
    for alone, beside in turns:
        was, then = steady.between(*alone), steady.between(*beside)
        for windows in (was, then):
            for name, values in windows.items():
                assert len(values) >= 3, f"{name}: {values}"
        shares.append({name: statistics.mean(then[name]) / statistics.mean(was[name]) for name in was})
    print(*[{name: round(share, 2) for name, share in turn.items()} for turn in shares], sep="\n")
    return {name: round(statistics.median(turn[name] for turn in shares), 3) for name in shares[0]}


class Flood:
    """Datagrams, all of one length, from a socket at a rate a second, by a process of its own."""

    def __init__(self, sock, datagrams, rate):
        sizes = {len(datagram) for datagram in datagrams}
        assert len(sizes) == 1, sizes
        self.popen = subprocess.Popen(
            ["/usr/bin/python3", "-B", ENDPOINTS, "flood", "--fd", str(sock.fileno()),
             "--rate", str(rate), "--size", str(sizes.pop())], pass_fds=[sock.fileno()],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=die_with_parent)
        with self.popen.stdin as out:
            out.write(b"".join(datagrams))
        if self.popen.stdout.readline() != b"ready\n":
            raise LabError("the flood does not come")

    def finish(self):
        """{"sent", "seconds", "share": of a processor}"""
        self.popen.terminate()
        with self.popen.stdout as answer:
            return json.loads(answer.read())
