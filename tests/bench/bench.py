"""The benchmark. scripts/bench installs and builds what it needs and runs this.

A run is rounds of visits: in each round every contender has one visit, in an order that turns from
round to round, so that a machine's slow minutes meet them all. What a visit measures: measures.py;
who takes part: contenders/; what is made of it: figures.py, wanted.py, report.py, plot.py.
"""

import argparse
import datetime
import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
if str(HERE) not in sys.path:
    sys.path.append(str(HERE))

import bed as beds  # noqa: E402
import contenders  # noqa: E402
import figures  # noqa: E402
import measures  # noqa: E402
import plot  # noqa: E402
import report  # noqa: E402
import wanted  # noqa: E402
from lab import LabError  # noqa: E402

ROOT = HERE.parents[1]
SCHEMA = "tund.bench/1"

# A reconnect this slow is measured once a run: somebody waits for a timer there.
SLOW_RECONNECT_S = 5
# The machine is not quiet above this share of it.
BUSY_SHARE = 0.05
FAILURES = (LabError, OSError, subprocess.SubprocessError, KeyError, ValueError, ImportError)


class Progress:
    """Lines on standard error: what runs, how far, and how long it will still take."""

    def __init__(self, total, names):
        self.total = total
        self.names = names          # in the order of the visits
        self.took = {}              # {peer: seconds of its visits}
        self.done = 0

    def say(self, text):
        print(text, file=sys.stderr, flush=True)

    def visited(self, peer, seconds):
        self.took.setdefault(peer, []).append(seconds)
        self.done += 1

    def left_s(self):
        """By what each took before; one that has not been visited is taken for an average one."""
        known = {peer: median(times) for peer, times in self.took.items()}
        if not known:
            return None
        average = sum(known.values()) / len(known)
        return sum(known.get(peer, average) for peer in self.names[self.done:])

    def visit(self, nth, rounds, peer):
        left = self.left_s()
        ahead = f", about {clock(left)} left" if left is not None else ""
        self.say(f"[{self.done + 1}/{self.total}] round {nth} of {rounds}: {peer}{ahead}")

    def step(self, name, raw, seconds):
        self.say(f"    {name:<16} {short(name, raw):<34} {seconds:5.1f} s")


def clock(seconds):
    minutes, rest = divmod(int(seconds + 0.5), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def short(name, raw):
    """A result in a few words, for those who watch."""
    if "bits_per_second" in raw:
        return f"{raw['bits_per_second'] / 1e6:.0f} Mbit/s, {raw['retransmits']} retransmits"
    if "median_us" in raw:
        return f"{raw['median_us'] / 1e3:.3f} ms, p99 {raw['p99_us'] / 1e3:.2f} ms"
    if "gateway_kib" in raw:
        return f"{raw['gateway_kib']} + {raw['laptop_kib']} KiB"
    if name.startswith("udp"):
        return f"{figures.packet_rate(raw) / 1e3:.1f} kpps, {len(raw.get('trials', ()))} trials"
    if "seconds" in raw:
        return f"{raw['seconds'] * 1e3:.0f} ms"
    return ""


# A visit.

class Bench:
    def __init__(self, options, chosen, effort):
        self.options = options
        self.chosen = chosen        # {name: class}
        self.effort = effort
        self.hints = {name: {} for name in chosen}
        self.visits = []
        order = [name for nth in range(options.rounds) for name in self.order(nth)]
        self.progress = Progress(len(order), order)

    def order(self, nth):
        """Turned by one contender more each round; the reference is first in the first."""
        names = list(self.chosen)
        turn = nth % len(names)
        return names[turn:] + names[:turn]

    def run(self):
        for nth in range(self.options.rounds):
            for name in self.order(nth):
                self.progress.visit(nth + 1, self.options.rounds, name)
                begin = time.monotonic()
                self.visit(nth + 1, name)
                self.progress.visited(name, time.monotonic() - begin)

    def visit(self, nth, name):
        record = {"round": nth, "peer": name, "at": now(), "measures": {}, "errors": {},
                  "busy_before": beds.busy_share()}
        self.visits.append(record)
        if record["busy_before"] > BUSY_SHARE:
            self.progress.say(f"    not quiet: others use {record['busy_before']:.0%} of the "
                              "machine")
        try:
            with beds.Bed() as bed:
                record["tunnel_congestion"] = bed.congestion
                visit = measures.Visit(self.chosen[name](bed, self.options.build), self.effort,
                                       self.hints[name])
                self.measure(visit, name, record)
        except FAILURES as error:
            # A bed that had to end what was interrupted complains of it.
            if isinstance(error.__context__, KeyboardInterrupt):
                raise error.__context__
            self.failed(record, "visit", error)

    def failed(self, record, step, error):
        record["errors"][step] = f"{error or type(error).__name__}"[:2000]
        self.progress.say(f"    {step:<16} FAILED: {wanted.first_line(error)}")

    def keep(self, record, step, call):
        begin = time.monotonic()
        try:
            raw = call()
        except FAILURES as error:
            self.failed(record, step, error)
            return False
        record["measures"][step] = raw
        self.progress.step(step, raw, time.monotonic() - begin)
        return True

    def measure(self, visit, name, record):
        visit.open()
        if not self.keep(record, "connect", visit.connect):
            return
        record["mtu"] = visit.mtu()
        time.sleep(0.5)
        for step, call in measures.plan(self.options.only, self.effort, self.held_rates(name)):
            if not self.keep(record, step, lambda call=call: call(visit)) and not visit.echoes():
                self.failed(record, "visit", LabError(f"no echo any more after {step}"))
                return
            self.remember(name, step, record)
        if "connect" in self.options.only and not self.slow_to_return(name):
            self.keep(record, "reconnect", visit.reconnect)

    def remember(self, name, step, record):
        if step.startswith("udp") and step in record["measures"]:
            size, way = step.removeprefix("udp").split("_")
            self.hints[name][int(size), way] = figures.packet_rate(record["measures"][step])

    def slow_to_return(self, name):
        return any(visit["peer"] == name and ("reconnect" in visit["errors"] or
                   visit["measures"].get("reconnect", {}).get("seconds", 0) > SLOW_RECONNECT_S)
                   for visit in self.visits)

    def held_rates(self, name):
        """What the reference carried beside its round trips in this run, for ours to be held to."""
        if name != contenders.OURS:
            return {}
        rates = {}
        for way in measures.DIRECTIONS:
            seen = [visit["measures"][f"ping_tcp_{way}"]["beside_bits_per_second"]
                    for visit in self.visits if visit["peer"] == contenders.REFERENCE
                    and f"ping_tcp_{way}" in visit["measures"]]
            if seen:
                rates[way] = median(seen)
        return rates


# The run.

def now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def machine():
    model = "?"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    memory = int(Path("/proc/meminfo").read_text().split()[1])
    system = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines()
                  if "=" in line)
    return {"cpu": model, "cores": os.cpu_count(), "memory_gib": round(memory / 2**20, 1),
            "kernel": platform.release(), "architecture": platform.machine(),
            "system": system.get("PRETTY_NAME", "?").strip('"'),
            "openssl": beds.version_of(["openssl", "version"]),
            "iperf3": beds.version_of(["iperf3", "--version"]),
            "rmem_max": int(Path("/proc/sys/net/core/rmem_max").read_text()),
            "virtual": "hypervisor" in Path("/proc/cpuinfo").read_text()}


def tree():
    """The commit that was measured, with a mark when there is more in the tree."""
    done = subprocess.run(["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT), "describe",
                           "--always", "--dirty", "--abbrev=12"], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True, check=False)
    return done.stdout.strip() or "?"


def choose(options):
    """({name: class} in the order of the first round, [why others are left out])"""
    known = dict(contenders.BY_NAME)
    names = list(known)
    for given in options.peer:
        name, _, path = given.partition("=")
        kind = contenders.given_by_path(name, path)
        if not os.access(path, os.X_OK):
            raise ValueError(f"--peer {given}: {path} is no program that can be run")
        known[kind.name] = kind
        names.insert(names.index(name) + 1, kind.name)
    if options.peers:
        names = chosen_names(options.peers, names)
    elif options.quick:
        names = [name for name in names if name in contenders.NEEDED]
    chosen, absent = {}, []
    for name in names:
        reason = known[name].missing(options.build)
        if not reason:
            chosen[name] = known[name]
        elif name in contenders.NEEDED:
            raise ValueError(f"{name} cannot be left out: {reason}")
        else:
            absent.append(f"{name}: left out, {reason}")
    return chosen, absent


def chosen_names(text, known):
    names = [name for name in text.split(",") if name]
    for name in names:
        if name not in known:
            raise ValueError(f"--peers: no {name}; there are {', '.join(known)}")
    return sorted(dict.fromkeys(names), key=known.index)


def describe(chosen, build):
    return {name: {"title": kind.title, "version": kind.version(build),
                   "configuration": kind.configuration, "is_tunnel": kind.is_tunnel}
            for name, kind in chosen.items()}


def load_crowd():
    """By its path: tests/net has a crowd.py too."""
    spec = importlib.util.spec_from_file_location("bench_crowd", HERE / "crowd.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def measure_crowd(options, progress):
    """crowd.py's rows; whatever goes wrong there is told in their place."""
    if "crowd" not in options.only:
        return {"error": "left out"}
    if options.quick:
        return {"error": "left out by --quick"}
    try:
        crowd = load_crowd()
        return crowd.measure(options.build, progress.say, **(
            {"devices": options.devices} if options.devices else {}))
    except FAILURES as error:
        progress.say(f"    crowd FAILED: {error}")
        return {"error": str(error)[:2000]}


def run(options):
    chosen, absent = choose(options)
    effort = measures.Effort(**({"tcp": 2, "loaded": 0.8, "trial": 0.2, "sizes": (64,)}
                                if options.quick else {}))
    for name in ("tcp", "trial", "loaded", "ping"):
        if getattr(options, name + "_seconds"):
            setattr(effort, name, getattr(options, name + "_seconds"))
    bench = Bench(options, chosen, effort)
    for line in absent:
        bench.progress.say(line)
    data = {"schema": SCHEMA, "started_at": now(), "tree": tree(), "machine": machine(),
            "options": {"rounds": options.rounds, "quick": options.quick,
                        "only": list(options.only), "effort": effort.as_dict()},
            "peers": describe(chosen, options.build), "left_out": absent, "visits": bench.visits}
    try:
        if set(options.only) != {"crowd"}:
            bench.run()
        bench.progress.say("the crowd")
        data["crowd"] = measure_crowd(options, bench.progress)
    except KeyboardInterrupt:
        data["interrupted"] = True
        bench.progress.say("interrupted: what was measured so far is reported")
    data["ended_at"] = now()
    return data


def write(path, text):
    if path:
        Path(path).write_text(text, encoding="utf-8")


def publish(data, options):
    """The report on standard output and in the files asked for; 0 if every row passes."""
    result = figures.Run(data)
    rows = wanted.rows(result)
    data["rows"] = [row.as_dict() for row in rows]
    text = report.markdown(result, rows)
    write(options.json, json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    write(options.markdown, text)
    write(options.plot, plot.svg(result))
    if options.readme:
        write(options.readme, report.fill(Path(options.readme).read_text(encoding="utf-8"), result))
    print(text)
    return 0 if all(row.passed for row in rows) else 1


def arguments(argv):
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description="tund beside its peers, on this machine.",
        epilog="scripts/bench report FILE.json writes the report, --markdown and --plot again from "
               "a file. scripts/bench crowd [--devices N] measures the crowd alone. "
               "Exit status 0: every row of the last table passes; 1: one is missed; 2: usage.")
    parser.add_argument("what", nargs="?", choices=("run", "report", "crowd"), default="run",
                        help=argparse.SUPPRESS)
    parser.add_argument("file", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("--peers", metavar="A,B", help="these alone; without, all that are found: "
                        + ", ".join(contenders.BY_NAME))
    parser.add_argument("--peer", metavar="NAME=PATH", action="append", default=[],
                        help="another program of a kind that is known, beside Debian's: "
                             "wireguard-go=PATH")
    parser.add_argument("--rounds", type=int, metavar="N", help="5; with --quick 3")
    parser.add_argument("--quick", action="store_true",
                        help="ocserv, tund, the bounds and bare veth; shorter; no crowd")
    parser.add_argument("--only", metavar="MEASURE,...", help=", ".join(measures.GROUPS))
    for name, what in (("tcp", "each iperf3 run"), ("trial", "each trial of a packet rate"),
                       ("loaded", "round trips beside a TCP stream"),
                       ("ping", "round trips on an idle tunnel")):
        parser.add_argument(f"--{name}-seconds", type=float, metavar="S", help=f"of {what}")
    parser.add_argument("--devices", type=int, metavar="N", help="of the crowd; 10,000")
    parser.add_argument("--json", metavar="FILE", help="everything that was measured")
    parser.add_argument("--markdown", metavar="FILE", help="the report")
    parser.add_argument("--readme", metavar="FILE",
                        help="its table, between the marks that are there")
    parser.add_argument("--plot", metavar="FILE.svg", help="a picture of it")
    options = parser.parse_args(argv)
    check(parser, options)
    return options


def check(parser, options):
    if (options.what == "report") != bool(options.file):
        parser.error("report wants a file written by --json, and nothing else does")
    if options.what == "crowd":
        options.only = "crowd"
    options.rounds = options.rounds or (3 if options.quick else 5)
    if options.rounds < 1:
        parser.error("--rounds: at least 1")
    options.only = tuple(options.only.split(",")) if options.only else measures.GROUPS
    for name in options.only:
        if name not in measures.GROUPS:
            parser.error(f"--only: no {name}; there are {', '.join(measures.GROUPS)}")
    options.build = Path(os.environ.get("TUND_BUILD") or ROOT / "build").absolute()


def main(argv):
    options = arguments(argv)
    if options.what == "report":
        data = json.loads(Path(options.file).read_text(encoding="utf-8"))
        if data.get("schema") != SCHEMA:
            sys.exit(f"{options.file}: not a file of {SCHEMA}")
        return publish(data, options)
    # Also where SIGINT was ignored at the start, as in a shell's background.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        data = run(options)
    except ValueError as error:
        print(f"scripts/bench: {error}", file=sys.stderr)
        return 2
    status = publish(data, options)
    return 130 if data.get("interrupted") else status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
