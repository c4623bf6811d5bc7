"""What is measured of one contender, once a visit. Each measure returns a dict for the JSON file;
figures.py knows where in it the values are.

    start, connect (timed), settle, memory, round trips idle, TCP 1 and 4 up and down with the CPU
    they cost, round trips under one TCP stream, the highest packet rates, reconnect (timed)
"""

import json
import math
import subprocess
import time

import bed as beds
from bed import CORP
from lab import LabError, die_with_parent

IPERF_PORT, SINK_PORT = 5201, 5202
ICMP_INTERVAL_US = 2000
SLOW_START_S = 0.8
LATE_S = 0.4            # an echo that comes later is lost

# Loss is counted to this share: a path that loses more does not carry the rate.
MAX_LOSS = 0.005
SIZES = (64, 512, 1280)
DIRECTIONS = ("up", "down")


class Effort:
    """How long each measure takes. All contenders of a run get the same."""

    def __init__(self, tcp=3, ping=1.0, loaded=1.6, trial=0.25, sizes=SIZES):
        self.tcp = tcp          # seconds of each iperf3 run
        self.ping = ping        # seconds of round trips on an idle tunnel
        self.loaded = loaded    # seconds of round trips beside a TCP stream
        self.trial = trial      # seconds of each trial of a packet rate
        self.sizes = sizes      # bytes of UDP payload

    def as_dict(self):
        return dict(self.__dict__)


class Visit:
    """One contender in its bed. hints: packet rates of its earlier visits, to search from."""

    def __init__(self, contender, effort, hints):
        self.contender = contender
        self.bed = contender.bed
        self.programs = contender.build / "tests" / "bench"
        self.effort = effort
        self.hints = hints

    # Setting up.

    def open(self):
        server = self.bed.corp.spawn("iperf3-server", ["iperf3", "-s", "--forceflush", "-p",
                                                       IPERF_PORT])
        server.wait_for("Server listening")
        self.contender.start()

    def connect(self):
        waited = self.contender.connect()
        self.contender.settle()
        return {"seconds": waited}

    def mtu(self):
        """Of the device that the laptop's packets to corp leave by."""
        route = self.bed.laptop.ip("-4", "route", "get", CORP).split()
        shown = self.bed.laptop.ip("-o", "link", "show", route[route.index("dev") + 1]).split()
        return int(shown[shown.index("mtu") + 1])

    def echoes(self):
        with beds.Echo(self.bed) as echo:
            return echo.wait(time.monotonic(), 2) is not None

    def reconnect(self):
        self.contender.kill()
        return self.connect()

    def memory(self):
        return {"gateway_kib": beds.pss_kib(self.contender.gateway_pids()),
                "laptop_kib": beds.pss_kib(self.contender.laptop_pids())}

    # Throughput.

    def tcp(self, streams, direction, seconds=None):
        ends = {"gateway": self.contender.gateway_pids(), "laptop": self.contender.laptop_pids()}
        before = {end: beds.cpu_by_task(pids) for end, pids in ends.items()}
        busy, _, stolen = beds.machine_ticks()
        report = self._iperf3_finish(self._iperf3(streams, direction, seconds or self.effort.tcp))
        busy_now, _, stolen_now = beds.machine_ticks()
        cpu = {f"{end}_s": beds.cpu_since(before[end], pids) for end, pids in ends.items()}
        received = report["end"]["sum_received"]
        return {"bits_per_second": received["bits_per_second"], "bytes": received["bytes"],
                "retransmits": report["end"]["sum_sent"].get("retransmits", 0), **cpu,
                "machine_s": busy_now - busy, "stolen_s": stolen_now - stolen,
                "congestion": report["end"].get("sender_tcp_congestion", "?")}

    def _iperf3(self, streams, direction, seconds, rate=0):
        argv = ["iperf3", "-c", CORP, "-p", str(IPERF_PORT), "-J", "-C", "cubic", "-P",
                str(streams), "-t", str(max(1, round(seconds))), "--connect-timeout", "3000",
                *(["-R"] if direction == "down" else []),
                *(["-b", str(int(rate / streams))] if rate else [])]
        return self._spawn(self.bed.laptop, argv)

    def _spawn(self, ns, argv):
        return subprocess.Popen([str(a) for a in ns.argv(argv)], stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                preexec_fn=die_with_parent)

    def _finish(self, process, timeout=40):
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise LabError(f"{program_of(process)} did not end within {timeout} s") from None
        except BaseException:
            process.kill()
            process.wait()
            raise
        try:
            answer = json.loads(out)
        except ValueError:
            raise LabError(f"{program_of(process)}: exit {process.returncode}: "
                           f"{(err or out).strip()[-300:]}") from None
        if process.returncode != 0 and "error" not in answer:
            raise LabError(f"{program_of(process)}: exit {process.returncode}: "
                           f"{err.strip()[-300:]}")
        return answer

    def _iperf3_finish(self, process):
        report = self._finish(process)
        if report.get("error"):
            raise LabError(f"iperf3: {report['error']}")
        if not report["end"]["sum_received"]["bytes"]:
            raise LabError("iperf3: nothing arrived")
        return report

    # Round trips.

    def ping(self, seconds):
        count = max(10, int(seconds * 1e6 / ICMP_INTERVAL_US))
        answer = self._finish(self._spawn(self.bed.laptop, [
            self.programs / "ping", "--to", CORP, "--interval-us", ICMP_INTERVAL_US,
            "--count", count, "--wait-ms", int(LATE_S * 1e3)]), seconds + 20)
        if not answer["received"]:
            raise LabError("ping: no echo came back")
        return answer

    def ping_idle(self):
        return self.ping(self.effort.ping)

    def ping_beside_tcp(self, direction, rate=0):
        """The stream has left its slow start behind, and still runs when the last echo is back."""
        load = self._iperf3(1, direction, math.ceil(SLOW_START_S + self.effort.loaded + LATE_S),
                            rate)
        try:
            time.sleep(SLOW_START_S)
            answer = self.ping(self.effort.loaded)
            if load.poll() is not None:
                raise LabError("iperf3 ended before the round trips were measured")
            carried = self._iperf3_finish(load)["end"]["sum_received"]["bits_per_second"]
        finally:
            load.kill()
            load.wait()
        return {**answer, "beside_bits_per_second": carried}

    # Packets.

    def packets(self, size, direction):
        sender, sink, address = ((self.bed.laptop, self.bed.corp, CORP) if direction == "up" else
                                 (self.bed.corp, self.bed.laptop, self.contender.inner))
        server = sink.spawn("udp-sink", [self.programs / "udp", "sink", "--listen",
                                         f"{address}:{SINK_PORT}"])
        try:
            time.sleep(0.05)
            expected = self.hints.get((size, direction), 0)
            begin = ["--from", "30000"]
            if expected > 10000:
                begin = ["--from", str(int(expected * 0.92)), "--climb", "1.12"]
            return self._finish(self._spawn(sender, [
                self.programs / "udp", "search", "--to", f"{address}:{SINK_PORT}",
                "--size", str(size), "--max-loss", str(MAX_LOSS),
                "--seconds-per-trial", str(self.effort.trial),
                "--until", "3000000", *begin]), 120)
        finally:
            server.stop()


def program_of(process):
    """Behind ip netns exec NAME."""
    return " ".join(process.args[4:])


# The plan of a visit.

GROUPS = ("tcp", "packets", "ping", "connect", "memory", "crowd")


def plan(groups, effort, held_rates):
    """[(name under which the result is kept, how)]. held_rates: {direction: bits a second} for a
    contender that is also measured at another's rate."""
    steps = []

    def add(group, name, call, *arguments):
        if group in groups:
            steps.append((name, lambda visit: call(visit, *arguments)))

    add("memory", "memory", Visit.memory)
    add("ping", "ping_idle", Visit.ping_idle)
    for streams in (1, 4):
        for way in DIRECTIONS:
            add("tcp", f"tcp{streams}_{way}", Visit.tcp, streams, way)
    for way in DIRECTIONS:
        add("ping", f"ping_tcp_{way}", Visit.ping_beside_tcp, way)
    for way, rate in held_rates.items():
        add("ping", f"ping_held_{way}", Visit.ping_beside_tcp, way, rate)
    for size in effort.sizes:
        for way in DIRECTIONS:
            add("packets", f"udp{size}_{way}", Visit.packets, size, way)
    return steps
