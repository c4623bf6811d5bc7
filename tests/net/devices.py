"""Many devices in one process (tests/load/devices.c), told what to do a line at a time.

    crowd = Devices(lab, lab.laptop, corp, 500, sources=4, echo=start_echo(lab))
    crowd.do("connect all")["up"]
    crowd.tell("connect all"); ...; crowd.answer()
"""

import json
import os
import resource
import select
import subprocess
import time

from cryptography.hazmat.primitives import serialization

from lab import CORP, GATEWAY_NAME, GATEWAY_V4, LabError, Process, die_with_parent, run
from peers import BUILD
from pki import write_private

DEVICES = BUILD / "tests" / "load" / "devices"
ECHO = f"{CORP[4]}:7"


def make_certificates(corp, count):
    """A file of that many devices' certificates and keys, of the corporation's root."""
    path = corp.directory / f"devices-{count}"
    if not path.exists():
        key = write_private(corp.directory / "root.key", corp.root.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption()))
        run([DEVICES, "make", "--ca", corp.ca, "--ca-key", key, "--count", count, "--out", path])
    return path


def start_echo(lab):
    """Who sends packets back, on the corporate host: its ADDRESS:PORT."""
    lab.corp.spawn("echo", [DEVICES, "echo", "--listen", ECHO]).wait_for("^ready")
    return ECHO


def add_sources(lab, laptop, count):
    """Outer addresses of a laptop's namespace, the first one included."""
    i = lab.laptops.index(laptop) + 1
    addresses = [f"10.77.{i}.{host}" for host in range(2, 2 + count)]
    present = lab.ns[laptop].ip("-4", "-o", "addr", "show", "dev", "out0")
    for address in addresses:
        if f" {address}/" not in present:
            lab.ns[laptop].ip("addr", "add", f"{address}/24", "dev", "out0")
    return addresses


class Devices(Process):
    """count devices of a namespace, from the first on of the corporation's file of them."""

    def __init__(self, lab, ns, corp, count, sources=(), at_once=200, echo=None, first=0,
                 file_count=None, tls_only=False, gateway=GATEWAY_V4[0]):
        self.name = f"devices-{ns.role}-{first}"
        self.log_path = lab.dir / f"{self.name}.log"
        certificates = make_certificates(corp, file_count or first + count)
        self.argv = [str(word) for word in (
            *ns.argv([DEVICES]), "run", "--ca", corp.ca, "--certificates", certificates,
            "--gateway", f"{gateway}:443", "--name", GATEWAY_NAME, "--count", count,
            "--first", first, "--at-once", at_once,
            *(["--sources", ",".join(sources)] if sources else []),
            *(["--echo", echo] if echo else []), *(["--tls-only"] if tls_only else []))]
        with open(self.log_path, "ab") as log:
            # A whole pipe of answers may wait: line buffering is done here.
            self.popen = subprocess.Popen(
                self.argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                start_new_session=True, preexec_fn=die_with_parent)
        self.pid = self.popen.pid
        self._read = b""
        lab.processes.append(self)

    def tell(self, command):
        self.popen.stdin.write(command.encode() + b"\n")
        self.popen.stdin.flush()

    def answer(self, timeout=150):
        """The next answer; a complaint, an end or silence is a failure."""
        deadline = time.monotonic() + timeout
        while b"\n" not in self._read:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.popen.stdout], [], [], left)[0]:
                raise LabError(f"{self.name} did not answer within {timeout} s\n{self.tail()}")
            data = os.read(self.popen.stdout.fileno(), 1 << 20)
            if not data:
                raise LabError(f"{self.name} ended with {self.popen.wait()}\n{self.tail()}")
            self._read += data
        line, self._read = self._read.split(b"\n", 1)
        answer = json.loads(line)
        if "error" in answer:
            raise LabError(f"{self.name}: {answer}")
        return answer

    def do(self, command, timeout=150):
        self.tell(command)
        return self.answer(timeout)

    def addresses(self):
        """{device: (v4, v6, v4 at the last mark, v6 at the last mark)}."""
        return {number: tuple(rest)
                for number, *rest in self.do("addresses")["addresses"]}


class Fleet:
    """More devices than one process may have descriptors for: as many processes as that takes.
    Commands go to all of them; "connect N" and the like are not shared out, so say "all". Rates,
    as words behind a command, are of each process: say them as {rate}, and they are divided."""

    def __init__(self, lab, ns, corp, count, **options):
        most = (resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 100) // 2
        shards = -(-count // min(most, 5000))
        at_once = options.pop("at_once", 200)
        file_count = options.pop("file_count", count)
        self.count = count
        self.shards = []
        for i in range(shards):
            first, end = count * i // shards, count * (i + 1) // shards
            self.shards.append(Devices(lab, ns, corp, end - first, first=first, file_count=file_count,
                                       at_once=-(-at_once // shards), **options))

    @property
    def pids(self):
        return [shard.pid for shard in self.shards]

    def tell(self, command, **rates):
        share = {name: rate / len(self.shards) for name, rate in rates.items()}
        for shard in self.shards:
            shard.tell(command.format(**share))

    def answer(self, timeout=150):
        return merge([shard.answer(timeout) for shard in self.shards])

    def do(self, command, timeout=150, **rates):
        self.tell(command, **rates)
        return self.answer(timeout)

    def connect(self, count, seconds=120, timeout=None):
        """The first count devices, shared out evenly."""
        shards = len(self.shards)
        for i, shard in enumerate(self.shards):
            part = count * (i + 1) // shards - count * i // shards
            shard.tell(f"connect {part} {seconds}")
        return self.answer(timeout or seconds + 30)

    def addresses(self):
        found = {}
        for shard in self.shards:
            found.update(shard.addresses())
        return found


def merge(answers):
    """One answer of several: counts are added; of the quantiles of times the worst is told."""
    merged = {}
    for key, value in answers[0].items():
        values = [answer[key] for answer in answers]
        if isinstance(value, dict):
            every = {name for part in values for name in part}
            is_times = "p99" in value
            merged[key] = {name: max(known) if is_times and name != "count" else sum(known)
                           for name in every
                           if (known := [part[name] for part in values
                                         if part.get(name) is not None])}
        elif key in ("seconds", "last_up_us"):
            merged[key] = max(values)
        elif key in ("marked_us", "first_up_us"):
            merged[key] = min([v for v in values if v] or [0])
        elif isinstance(value, (int, float)):
            merged[key] = sum(values)
        else:
            merged[key] = value
    if merged.get("ups"):
        span_s = (merged["last_up_us"] - merged["first_up_us"]) / 1e6
        merged["rate"] = (merged["ups"] - 1) / span_s if span_s > 0 else 0.0
        merged["until_s"] = (merged["last_up_us"] - merged["marked_us"]) / 1e6
    return merged
