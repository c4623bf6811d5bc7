"""Traffic through a tunnel, and what became of it."""

import hashlib
import json
import re
import time
from pathlib import Path

from lab import CORP, LabError

ENDPOINTS = Path(__file__).with_name("endpoints.py")
WEB_PORT, STREAM_PORT = 80, 7000


def start_endpoint(ns, program, **options):
    argv = ["/usr/bin/python3", "-B", ENDPOINTS, program]
    for option, value in options.items():
        argv += [f"--{option}", value]
    return ns.spawn(f"{ns.role}-{program}", argv)


def host(address):
    return f"[{address}]" if ":" in address else address


# HTTP.

class Web:
    """A web server on the corporate host with one large file of random bytes."""

    def __init__(self, lab, megabytes=1):
        self.size = megabytes * 1_000_000
        self.process = start_endpoint(lab.corp, "web", port=WEB_PORT, size=self.size)
        self.digest = self.process.wait_for(r"^ready (\w+)", timeout=30).group(1)

    @staticmethod
    def url(family=4, path="blob"):
        return f"http://{host(CORP[family])}:{WEB_PORT}/{path}"


def file_digest(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while data := file.read(1 << 20):
            digest.update(data)
    return digest.hexdigest()


def curl(ns, *argv, seconds=120):
    return ns.run(["curl", "-sS", "--fail", "--connect-timeout", "10", "--max-time", str(seconds),
                   "--noproxy", "*", *argv], timeout=seconds + 10).stdout


def fetch_page(ns, family=4):
    return curl(ns, Web.url(family, "index.html"), seconds=20)


def assert_both_ways(lab, ns, web, family=4):
    """The large file down and up again: equal SHA-256 at all ends."""
    copy = lab.dir / f"copy-{ns.role}-{time.monotonic_ns()}"
    try:
        curl(ns, "-o", str(copy), web.url(family))
        assert file_digest(copy) == web.digest, "the file changed on its way down"
        said = curl(ns, "-T", str(copy), web.url(family, "upload")).strip()
        assert said == web.digest, "the file changed on its way up"
    finally:
        copy.unlink(missing_ok=True)


# Ping.

def ping(ns, address, count=3, interval=0.2, wait=2, size=56):
    """How many answers came."""
    done = ns.run(["ping", "-n", "-q", "-c", str(count), "-i", str(interval), "-W", str(wait),
                   "-s", str(size), address], check=False, timeout=count * (interval + wait) + 10)
    match = re.search(r"(\d+) received", done.stdout)
    if not match:
        raise LabError(f"ping {address}: {done.stdout}{done.stderr}")
    return int(match.group(1))


def assert_pings(ns, *addresses, count=3):
    for address in addresses:
        got = ping(ns, address, count)
        assert got == count, f"{got} of {count} pings of {address} from {ns.role} came back"


# A steady TCP stream.

class Streams:
    """Streams between laptops and the corporate host, watched for silence and damage."""

    def __init__(self, lab):
        self.server = start_endpoint(lab.corp, "stream-server", port=STREAM_PORT)
        self.server.wait_for("^ready")

    @staticmethod
    def start(ns, direction, seconds, rate=1_000_000, family=4):
        """direction is where the bytes go: "down" to the laptop, "up" from it."""
        return start_endpoint(ns, "stream-client", host=CORP[family], port=STREAM_PORT,
                              direction=direction, rate=rate, seconds=seconds, patience=60)

    @staticmethod
    def report(process, timeout):
        """{"bytes", "intact", "stall_s", "stalled_at_s", "error"} once the stream has ended."""
        assert process.wait(timeout) == 0, process.tail()
        return json.loads(process.log().splitlines()[-1])


def assert_intact(report, stall_s, at_least=1):
    assert report["error"] is None, f"the connection broke: {report}"
    assert report["intact"], f"damaged: {report}"
    assert report["bytes"] >= at_least, f"too little: {report}"
    assert report["stall_s"] <= stall_s, f"silent for longer than {stall_s} s: {report}"


# Numbered datagrams, both ways at once.

class Datagrams:
    """rate datagrams a second in both directions until finish()."""

    PORT = 7001

    def __init__(self, lab, laptop, inner, corp, rate=1000):
        ends = ((lab.corp, corp, inner), (laptop, inner, corp))
        self.outputs = [lab.dir / f"udp-{ns.role}.json" for ns, _, _ in ends]
        self.processes = [
            start_endpoint(ns, "udp", local=f"{host(local)}:{self.PORT}",
                           remote=f"{host(remote)}:{self.PORT}", rate=rate, output=output)
            for (ns, local, remote), output in zip(ends, self.outputs)]
        for process in self.processes:
            process.wait_for("^ready")

    def finish(self):
        """(what the corporate host saw, what the laptop saw): sent_ns, numbers, times_ns, where
        times_ns are the kernel's times of what was received."""
        for process in self.processes:
            process.stop()
        return [json.loads(output.read_text()) for output in self.outputs]


class Relay:
    """A path with a delay: what is sent to local in ns goes to remote that much later, and back."""

    def __init__(self, ns, local, remote, delay_s):
        self.process = start_endpoint(ns, "relay", local=local, remote=remote, delay=delay_s)
        self.process.wait_for("^ready")
