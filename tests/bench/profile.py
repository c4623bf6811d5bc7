"""Where tund's time goes: perf of both engines while a stream runs up, down, and while small packets go up.

    scripts/bench profile [--seconds S] [--markdown FILE]

Samples are of both processors by the clock (a virtual machine has no counters of its own), so a share
is of the machine's time: what idles and what the load itself costs are rows, too. The programs of
Debian have no names for their own static functions: of libcrypto the assembler that matters is named by its
place between exported symbols, the rest of a library stands in one row.
"""

import argparse
import collections
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from bed import CORP, Bed
from contenders.tund import TundDtls
from lab import run

ROOT = Path(__file__).resolve().parents[2]
LEAST = 1.0                 # per cent of the machine
HZ = 2500
WORKLOADS = {
    "TCP up": ["-C", "cubic"],
    "TCP down": ["-C", "cubic", "-R"],
    "64-byte UDP up": None,
}
SINK = f"{CORP}:5300"
PACKETS = 150000            # a second: less than what is lost from


def record(work, seconds, path):
    """perf of all that runs for some seconds in the midst of work."""
    time.sleep(1)
    done = run(["perf", "record", "-q", "-a", "-e", "cpu-clock", "-F", HZ, "-o", path,
                "sleep", seconds], check=False, timeout=seconds + 30)
    if done.returncode:
        sys.exit(f"perf: {done.stderr.strip()}\n(Debian: linux-perf; and root)")
    work.wait()


def load(bed, build, workload, seconds):
    options = WORKLOADS[workload]
    if options is None:
        bed.corp.spawn("udp-sink", [build / "tests/bench/udp", "sink", "--listen", SINK])
        time.sleep(0.2)
        return bed.laptop.spawn("udp-send", [build / "tests/bench/udp", "send", "--to", SINK,
                                             "--size", "64", "--rate", PACKETS,
                                             "--seconds", seconds + 2])
    return bed.laptop.spawn("iperf3", ["iperf3", "-c", CORP, "-t", str(seconds + 2), *options])


SAMPLE = re.compile(r"\s*(\S.*?)\s+([0-9a-f]+) (.*) \((.*)\)$")


def samples(path):
    """(program, library, function) of each sample; a function without a name is ""."""
    done = subprocess.run(["perf", "script", "-i", path, "-F", "comm,ip,sym,dso", "-G"],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                          errors="replace", check=False)
    for line in done.stdout.splitlines():
        match = SAMPLE.match(line)
        if not match:
            continue
        program, _, function, library = match.groups()
        library = "kernel" if "kernel" in library else library.rsplit("/", 1)[-1]
        yield program, library, "" if "unknown" in function else function


def shares(path):
    """({(who, library): per cent}, {(library, function): per cent}), the second of the engines alone."""
    libraries, functions, total = collections.Counter(), collections.Counter(), 0
    for program, library, function in samples(path):
        total += 1
        engine = program.startswith("tund")
        who = ("engines" if engine else "idle" if program == "swapper" else
               "load" if program in ("iperf3", "udp") else "others")
        libraries[who, library] += 1
        if engine:
            functions[library, function or "(static, without names)"] += 1
    return ({key: 100 * count / total for key, count in libraries.items()},
            {key: 100 * count / total for key, count in functions.items()})


def table(title, head, columns):
    """Rows that reach LEAST in one workload, the largest first."""
    keys = {key for column in columns for key, share in column.items() if share >= LEAST}
    rows = sorted(keys, key=lambda key: -max(column.get(key, 0) for column in columns))
    lines = [f"## {title}", "", "| " + " | ".join([*head, *WORKLOADS]) + " |",
             "|" + "---|" * (len(head) + len(columns))]
    lines += ["| " + " | ".join([*(f"`{part}`" for part in key),
                                 *(f"{column.get(key, 0):.1f}" for column in columns)]) + " |"
              for key in rows]
    return "\n".join(lines) + "\n"


def measure(build, seconds):
    """One bed a workload: what one leaves behind is not in the next."""
    columns = []
    for workload in WORKLOADS:
        print(workload, file=sys.stderr, flush=True)
        with Bed() as bed:
            bed.corp.spawn("iperf3-server", ["iperf3", "-s"])
            tund = TundDtls(bed, build)
            tund.start()
            tund.start_laptop()
            tund.settle()
            path = bed.dir / "perf.data"
            record(load(bed, build, workload, seconds), seconds, path)
            columns.append(shares(path))
    return columns


def report(columns):
    machine = next(line.split(":")[1].strip()
                   for line in Path("/proc/cpuinfo").read_text().splitlines()
                   if line.startswith("model name"))
    return "\n".join([
        "# Where the time goes", "",
        f"{machine}, both ends, the load and the network between on its processors; per cent of their "
        f"time, rows from {LEAST:.0f} per cent on. Made by `scripts/bench profile`.", "",
        table("By library", ("who", "where"), [column[0] for column in columns]),
        table("By function, of the engines", ("where", "function"),
              [column[1] for column in columns])])


def main(argv):
    parser = argparse.ArgumentParser(prog="scripts/bench profile",
                                     description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args(argv)
    build = Path(os.environ.get("TUND_BUILD") or ROOT / "build").absolute()
    text = report(measure(build, options.seconds))
    if options.markdown:
        options.markdown.write_text(text)
    print(text)


if __name__ == "__main__":
    main(sys.argv[1:])
