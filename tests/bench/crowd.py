"""The gateway with thousands of devices: what a connect, an idle session and a restart cost.

    measure(build, progress, devices=10000) -> {row: {"value", "unit", "note", ...}, ...}

The rows are those of wanted.CROWD. The devices are processes of tests/load/devices in the laptop's
namespace, with real certificates, TLS, DTLS, probes and keepalives, and no TUN; they cost about as
much as the gateway, on the same cores, and so does the kernel's work for both. CPU is that of all
the gateway's processes, from the scheduler; memory is their PSS.

Alone: /usr/bin/python3 tests/bench/crowd.py [--devices N] [--only ROW,...] [--json]
"""

import argparse
import json
import os
import signal
import statistics
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parent / "net"):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))

import bed as beds  # noqa: E402
import devices as load  # noqa: E402
import peers  # noqa: E402
from bed import CORP, CORP_NET, GATEWAY, GATEWAY_NAME, Bed  # noqa: E402
from lab import LabError, run, wait_until  # noqa: E402

ROUNDS = 3
SOURCES = 20
# Attempts under way: in a storm, and where one connect shall be looked at by itself.
STORM, ONE = 1000, 1
CONNECTS = 1000
FEW = 1000              # the lower end of the memory's slope
OPENSSL_SHARE = 0.6     # of its rate: wanted of handshakes, and of the way back after a restart
SETTLE_S = 5
IPERF_S = 4
PING_INTERVAL_US = 5000


class Place:
    """A gateway in a bed, and devices. Options are the defaults, but for dpd, which is 30 s as the
    keepalives are, unless a row says otherwise, and for the limits: a crowd from a few addresses is
    what they are there to stop."""

    def __init__(self, build, count, at_once, dpd="30s"):
        self.build = build
        self.bed = Bed()
        self.client = None
        try:
            self._make(count, at_once, dpd)
        except BaseException:
            self.bed.close()
            raise

    def _make(self, count, at_once, dpd):
        bed = self.bed
        certificate, key = bed.pki.gateway_files
        config = (peers.Config()
                  .set("gateway", listen=["0.0.0.0:443"], interface="tund0",
                       pool=["10.99.0.0/16", "fd99::/64"], routes=[CORP_NET], dpd=dpd,
                       keepalive="30s", max_sessions=max(10000, count) + 100)
                  .set("identity", certificate=certificate, key=key)
                  .set("trust", ca=[bed.pki.ca])
                  .set('access "everyone"', match=["o=Corp"], allow=["0.0.0.0/0 any"],
                       accept=["0.0.0.0/0 any"])
                  .set("limits", handshakes=100000, handshakes_per_source=100000, pending=100000,
                       pending_per_source=100000))
        self.gateway = peers.Tund(bed, bed.gw, config)
        config.set("log", level="info")
        self.gateway.start()
        self.fleet = load.Fleet(bed, bed.laptop, bed.pki, count, gateway=GATEWAY, at_once=at_once,
                                sources=load.add_sources(bed, "laptop", SOURCES))
        self.fleet.do("report")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.bed.close()

    def dpd(self):
        return self.gateway.config.sections["gateway"]["dpd"]

    def pids(self):
        return list(self.gateway.processes().values())

    def cpu(self, step):
        """(what step returned, seconds of CPU of the gateway, seconds)"""
        before, begin = beds.cpu_by_task(self.pids()), time.monotonic()
        answer = step()
        return answer, beds.cpu_since(before, self.pids()), time.monotonic() - begin

    def connect(self, count, patience=180):
        """So many are up, all of them, or it is a failure."""
        answer = self.fleet.connect(count, patience)
        if answer["up"] < count:
            raise LabError(f"{answer['up']} of {count} devices came up: {answer['failed']}")
        return answer

    def at_once(self, attempts):
        for shard in self.fleet.shards:
            shard.do(f"at-once {max(1, attempts // len(self.fleet.shards))}")

    def yield_to_all(self):
        """The devices stand for other machines: what they compute shall not delay anybody here. A
        process that leads a session is in an autogroup, where its own priority counts for nothing
        outside of that; the group has one, too (sched(7))."""
        for pid in self.fleet.pids:
            os.setpriority(os.PRIO_PROCESS, pid, 19)
            group = Path(f"/proc/{pid}/autogroup")
            if group.exists():
                group.write_text("19")

    def start_client(self):
        """A real one, beside the devices; the same one each time."""
        if not self.client:
            certificate, key = self.bed.pki.device("alice")
            config = peers.Config() \
                .set("client", gateway=[GATEWAY_NAME + ":443"], interface="tund0", dns="off") \
                .set("identity", certificate=certificate, key=key) \
                .set("trust", ca=[self.bed.pki.ca], peer_name=GATEWAY_NAME) \
                .set("log", level="info")
            self.client = peers.Tund(self.bed, self.bed.laptop, config, "alice")
        self.client.start()
        self.client.wait_status(state="up", transport="dtls")
        return self.client

    def restart_gateway(self):
        """Killed, all of it at once, and started again."""
        pids = self.pids()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        self.gateway.process.wait()
        wait_until(lambda: not any(is_running(pid) for pid in pids), 5, "the end of the gateway")
        self.gateway.start()


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


# The rows.

def connect_cpu(place, progress):
    """One after the other, as the peers' figures were taken; and as in a storm, where a thread that
    is awake already costs less."""
    place.connect(100)                  # what a first connect sets up is not a connect's
    place.at_once(ONE)
    _, one, _ = place.cpu(lambda: place.connect(100 + CONNECTS))
    place.at_once(STORM)
    answer, many, took = place.cpu(lambda: place.connect(100 + 2 * CONNECTS))
    progress(f"    connect: {one / CONNECTS * 1e3:.2f} ms of gateway CPU one by one,"
             f" {many / CONNECTS * 1e3:.2f} ms in a storm of {CONNECTS / took:.0f}/s")
    return {"value": one / CONNECTS * 1e3, "unit": "ms", "storm_ms": many / CONNECTS * 1e3,
            "storm_rate": CONNECTS / took, "connect_ms": answer["connect_ms"],
            "note": f"one after the other; {many / CONNECTS * 1e3:.2f} ms in a storm"}


def openssl_rate(place, seconds):
    pki = place.bed.pki
    device = pki.directory / "yardstick.crt"
    if not device.exists():
        pki.device("yardstick")
    certificate, key = pki.gateway_files
    done = run([place.build / "tests" / "bench" / "handshakes", "--cert", certificate, "--key", key,
                "--client-cert", device, "--client-key", device.with_suffix(".key"), "--ca", pki.ca,
                "--name", GATEWAY_NAME, "--threads", os.cpu_count(), "--seconds", seconds],
               timeout=seconds + 30)
    return json.loads(done.stdout)


def handshakes(place, progress, seconds=4):
    """Both ends of both work on the same cores: OpenSSL's in one process, through memory, a thread
    a core; ours a gateway and the devices, through TCP. The devices are closed again after
    Finished."""
    place.fleet.do("drop all")
    place.at_once(100)
    rounds = []
    for nth in range(ROUNDS):
        openssl = openssl_rate(place, seconds)
        answer, cpu, _ = place.cpu(lambda: place.fleet.do(f"handshakes {seconds}"))
        if answer["failed"]:
            raise LabError(f"handshakes failed: {answer['failed']}")
        rounds.append({"openssl": openssl, "rate": answer["handshakes_per_s"],
                       "gateway_ms": cpu / answer["counts"]["handshakes"] * 1e3})
        progress(f"    handshakes {nth + 1}/{ROUNDS}: {rounds[-1]['rate']:.0f}/s at"
                 f" {rounds[-1]['gateway_ms']:.2f} ms; OpenSSL alone"
                 f" {openssl['per_second']:.0f}/s at {openssl['server_cpu_ms']:.2f} ms")
    rate = statistics.median(r["rate"] for r in rounds)
    alone = statistics.median(r["openssl"]["per_second"] for r in rounds)
    return {"value": statistics.median(r["rate"] / r["openssl"]["per_second"] for r in rounds),
            "unit": "of OpenSSL alone", "rate": rate, "openssl_rate": alone, "rounds": rounds,
            "note": f"OpenSSL {alone:.0f}; both ends of both on the same cores"}


def session_memory(place, progress, count):
    """Connected in a storm, as memory is when it counts; then quiet for a while."""
    few = min(FEW, count // 2)
    place.connect(few)
    time.sleep(SETTLE_S)
    before = beds.pss_kib(place.pids())
    place.connect(count)
    time.sleep(SETTLE_S)
    after = beds.pss_kib(place.pids())
    progress(f"    memory: {before} KiB with {few} sessions, {after} KiB with {count}")
    return {"value": (after - before) / (count - few), "unit": "KiB", "before_kib": before,
            "after_kib": after, "note": f"{after / 1024:.0f} MiB with {count}"}


def idle_cpu(place, progress, seconds=60):
    """Each session's channels are probed or kept alive every 30 s."""
    answer, cpu, took = place.cpu(lambda: place.fleet.do(f"hold {seconds}"))
    counts = answer["counts"]
    if answer["failed"]:
        raise LabError(f"idle sessions were lost: {answer['failed']}")
    progress(f"    idle: {cpu / took * 100:.2f} % of a core;"
             f" {counts.get('keepalives_tx', 0) / took:.0f} keepalives,"
             f" {counts.get('probes_tx', 0) / took:.0f} probes and"
             f" {counts.get('probes_rx', 0) / took:.0f} probes of the gateway's a second")
    return {"value": cpu / took, "unit": "of a core", "seconds": took, "counts": counts,
            "note": f"over {took:.0f} s, dpd {place.dpd()}"}


def stream(place, way):
    """bits a second of one TCP stream of the real client"""
    done = place.bed.laptop.run(["iperf3", "-c", CORP, "-J", "-t", str(IPERF_S), "-C", "cubic",
                                 *(["-R"] if way == "down" else [])], timeout=IPERF_S + 30)
    return json.loads(done.stdout)["end"]["sum_received"]["bits_per_second"]


def both_ways(place):
    return {way: stream(place, way) for way in ("up", "down")}


def beside_idle(place, progress, count):
    """The devices go and come again between the rounds; the worse direction counts."""
    place.bed.corp.spawn("iperf3", ["iperf3", "-s", "--forceflush"]).wait_for("Server listening")
    client = place.start_client()
    rounds = []
    for nth in range(ROUNDS):
        beside = both_ways(place)
        place.fleet.do("leave all")
        wait_until(lambda: place.gateway.status()["sessions"] == 1, 30, "the devices' sessions to end")
        alone = both_ways(place)
        place.connect(count)
        time.sleep(SETTLE_S)
        rounds.append({"beside": beside, "alone": alone})
        progress(f"    beside {count} idle {nth + 1}/{ROUNDS}: " + ", ".join(
            f"{way} {beside[way] / 1e9:.2f} of {alone[way] / 1e9:.2f} Gbit/s" for way in alone))
    client.stop()
    share = {way: statistics.median(r["beside"][way] / r["alone"][way] for r in rounds)
             for way in ("up", "down")}
    return {"value": min(share.values()), "unit": "of alone", "rounds": rounds, **share,
            "note": f"up {share['up']:.2f}, down {share['down']:.2f}"}


def restart(place, progress, count, floor=None):
    """All come by themselves, with a client's waits, as many at once as STORM."""
    place.at_once(STORM)
    place.fleet.do("mark")
    begin = time.monotonic()
    place.restart_gateway()
    down = time.monotonic() - begin
    answer = place.fleet.do("back 240", 300)
    took = time.monotonic() - begin
    addresses = place.fleet.addresses()
    same = sum(v4 == was4 and v6 == was6 for v4, v6, was4, was6 in addresses.values())
    distinct = len({v4 for v4, *_ in addresses.values()})
    back = min(answer["up"], same, distinct)
    rate = answer["up"] / (took - down)
    progress(f"    restart: {answer['up']} of {count} back {took:.1f} s after the kill ({down:.1f} s"
             f" until the gateway was ready), {same} with their addresses, {rate:.0f}/s,"
             f" failed attempts {answer['failed']}")
    return {"value": back / count, "unit": "of the devices", "rate": rate,
            "rate_floor": floor, "seconds": took, "ready_s": down, "failed": answer["failed"],
            "connect_ms": answer["connect_ms"],
            "note": f"{took:.1f} s after the kill" + (f", floor {floor:.0f}" if floor else "")}


def storm_p99(place, progress, count):
    """The devices are cut off and all come at once, with their cookies, while a real client's echoes
    go to the corporate host and back, from the first attempt to the last device."""
    client = place.start_client()
    place.at_once(STORM)
    place.yield_to_all()
    place.fleet.do("drop all")
    time.sleep(1)
    with Pinging(place) as quiet:
        time.sleep(2)
    with Pinging(place) as storm:
        answer = place.connect(count)
    client.stop()
    rate = count / answer["until_s"]
    progress(f"    storm of {count}, {rate:.0f}/s: median {storm.ms('median'):.2f}, p99"
             f" {storm.ms('p99'):.1f}, longest {storm.ms('max'):.0f} ms, {storm.figures['lost']} of"
             f" {storm.figures['sent']} lost; before it p99 {quiet.ms('p99'):.2f} ms")
    return {"value": storm.ms("p99"), "unit": "ms", "storm": storm.figures, "quiet": quiet.figures,
            "storm_rate": rate,
            "note": f"median {storm.ms('median'):.2f}, longest {storm.ms('max'):.0f} ms,"
                    f" {storm.figures['lost']} of {storm.figures['sent']} lost"}


class Pinging:
    """Echoes from the laptop to corp for as long as the block lasts."""

    def __init__(self, place):
        self.place = place
        self.figures = {}

    def __enter__(self):
        program = self.place.build / "tests" / "bench" / "ping"
        self.process = self.place.bed.laptop.spawn("ping", [
            program, "--to", CORP, "--interval-us", PING_INTERVAL_US, "--count", 1000000])
        return self

    def __exit__(self, *_):
        self.process.stop()
        self.figures = json.loads(self.process.log())

    def ms(self, name):
        return self.figures[f"{name}_us"] / 1e3


# All of them.

ROWS = ("connect_cpu", "handshakes", "session_memory", "idle_cpu", "beside_idle", "restart",
        "storm_p99")


class Crowd:
    def __init__(self, build, progress, count, only):
        self.build = Path(build)
        self.progress = progress
        self.count = count
        self.only = only
        self.rows = {}

    def keep(self, name, row):
        """A row that fails does not take the others with it."""
        if name.removesuffix("_default") not in self.only:
            return
        self.progress(f"  {name}")
        try:
            self.rows[name] = row()
        except (LabError, OSError, ValueError, KeyError) as error:
            self.progress(f"    FAILED: {str(error).splitlines()[0]}")
            self.rows[name] = {"error": str(error)[:2000]}

    def measure(self):
        if {"connect_cpu", "handshakes"} & set(self.only):
            with Place(self.build, 100 + 2 * CONNECTS, STORM) as place:
                self.keep("connect_cpu", lambda: connect_cpu(place, self.progress))
                self.keep("handshakes", lambda: handshakes(place, self.progress))
        if set(self.only) - {"connect_cpu", "handshakes"}:
            self.many()
        return self.rows

    def many(self):
        count, progress = self.count, self.progress
        with Place(self.build, count, STORM) as place:
            self.keep("session_memory", lambda: session_memory(place, progress, count))
            if "session_memory" not in self.only:
                place.connect(count)
                time.sleep(SETTLE_S)
            self.keep("idle_cpu", lambda: idle_cpu(place, progress))
            self.keep("beside_idle", lambda: beside_idle(place, progress, count))
            if "idle_cpu" in self.only:
                place.gateway.config.set("gateway", dpd="10s")
            self.keep("restart", lambda: restart(place, progress, count, self.floor(place)))
            self.keep_default_idle(place)
            self.keep("storm_p99", lambda: storm_p99(place, progress, count))

    def keep_default_idle(self, place):
        """Beside the row: what the default dpd costs, in force with the sessions of the restart."""
        row = self.rows.get("idle_cpu", {})
        if "restart" not in self.only or "value" not in row:
            return
        self.keep("idle_cpu_default", lambda: idle_cpu(place, self.progress))
        default = self.rows.get("idle_cpu_default", {}).get("value")
        if default is not None:
            row["note"] += f"; {default * 100:.1f} % with the default dpd of 10 s"

    def floor(self, place):
        """The rate wanted of the handshakes: OpenSSL's share, measured here if it was not yet."""
        rate = self.rows.get("handshakes", {}).get("openssl_rate")
        return OPENSSL_SHARE * (rate or openssl_rate(place, 3)["per_second"])


def measure(build, progress, devices=10000, only=ROWS):
    return Crowd(build, progress, devices, only).measure()


def main():
    parser = argparse.ArgumentParser(description="the crowd's rows of the benchmark")
    parser.add_argument("--devices", type=int, default=10000)
    parser.add_argument("--only", default=",".join(ROWS))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = measure(peers.BUILD, lambda text: print(text, file=sys.stderr, flush=True),
                   options.devices, tuple(options.only.split(",")))
    for name, row in rows.items():
        print(f"{name:15} {row.get('value', row.get('error'))} {row.get('unit', '')}"
              f" {row.get('note', '')}")
    if options.json:
        print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
