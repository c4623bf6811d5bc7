"""A corporate network, the internet and some laptops on one machine, in network namespaces.

    laptop   10.77.1.2  fd77:1::2 ---+
    laptop2  10.77.2.2  fd77:2::2 ---+--- wan ------- gw -------------- corp
    ...                              |    (router)    198.51.100.1, .2  10.50.0.10
    rogue    10.77.9.2  fd77:9::2 ---+                2001:db8:1::1, ::2  fd50::10

Every packet between a laptop and the gateway crosses wan, which counts it (Wire) and, when a test
says so, drops it there: neither end sees more of it than it would of a firewall on the way.

A Lab belongs to one test. Its names carry the run and a random part, so labs live side by side; all
that it makes (namespaces, processes, files) goes with close().
"""

import atexit
import ctypes
import difflib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

RUN = os.environ.get("TUND_LAB_RUN") or str(os.getpid())
PREFIX = f"tl{RUN}-"

GATEWAY_NAME = "vpn.corp.example"
GATEWAY_V4 = ("198.51.100.1", "198.51.100.2")
GATEWAY_V6 = ("2001:db8:1::1", "2001:db8:1::2")
CORP = {4: "10.50.0.10", 6: "fd50::10"}
CORP_NETS = ("10.50.0.0/24", "fd50::/64")

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class LabError(AssertionError):
    pass


def run(argv, check=True, stdin=None, timeout=60):
    """Runs to the end; the output as text. A failure shows the command and what it said."""
    done = subprocess.run([str(a) for a in argv], input=stdin, text=True, timeout=timeout,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          stdin=subprocess.DEVNULL if stdin is None else None, check=False)
    if check and done.returncode != 0:
        raise LabError(f"{' '.join(map(str, argv))}: exit {done.returncode}\n"
                       f"{done.stdout}{done.stderr}")
    return done


def wait_until(condition, timeout, what, interval=0.05):
    """The condition's first true value; fails with what was waited for."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise LabError(f"waited {timeout} s in vain: {what}")
        time.sleep(interval)


def die_with_parent():
    """In a child between fork and exec: a test run that is killed takes its daemons with it."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Process:
    """One process, its log in a file, ended by its pid."""

    def __init__(self, name, argv, log_path, env=None):
        self.name = name
        self.argv = [str(a) for a in argv]
        self.log_path = Path(log_path)
        with open(self.log_path, "ab") as log:
            self.popen = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})}, start_new_session=True,
                preexec_fn=die_with_parent)
        self.pid = self.popen.pid

    def log(self, since=0):
        with open(self.log_path, "rb") as log:
            log.seek(since)
            return log.read().decode(errors="replace")

    def mark(self):
        """Where the log ends now, for a later log(since=) or wait_for(since=)."""
        return self.log_path.stat().st_size

    def running(self):
        return self.popen.poll() is None

    def wait_for(self, pattern, timeout=15, since=0):
        """The first match in the log; fails at once when the process ends without it."""
        regex = re.compile(pattern, re.MULTILINE)

        def look():
            ended = not self.running()
            match = regex.search(self.log(since))
            if not match and ended:
                raise LabError(f"{self.name} ended with {self.popen.returncode} before"
                               f" /{pattern}/\n{self.tail()}")
            return match

        try:
            return wait_until(look, timeout, f"/{pattern}/ from {self.name}", 0.02)
        except LabError as error:
            raise LabError(f"{error}\n{self.tail()}") from None

    def tail(self, lines=40):
        return "\n".join(self.log().splitlines()[-lines:])

    def send_signal(self, number):
        if self.running():
            os.kill(self.pid, number)

    def wait(self, timeout=10):
        """Exit status, negative for a signal."""
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.name} did not end within {timeout} s\n{self.tail()}") from None

    def stop(self, number=signal.SIGTERM, timeout=10):
        self.send_signal(number)
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            os.kill(self.pid, signal.SIGKILL)
            self.popen.wait()
            raise LabError(f"{self.name} ignored signal {number} for {timeout} s") from None


class Namespace:
    def __init__(self, lab, role):
        self.lab = lab
        self.role = role
        self.name = f"{lab.name}-{role}"
        self.etc = Path("/etc/netns") / self.name

    def argv(self, argv):
        """ip netns exec becomes the program: a pid got from it is the program's own."""
        return ["ip", "netns", "exec", self.name, *argv]

    def run(self, argv, **options):
        return run(self.argv(argv), **options)

    def ip(self, *argv):
        return run(["ip", "-n", self.name, *argv]).stdout

    def spawn(self, name, argv, env=None):
        return self.lab.start(name, self.argv(argv), env)

    def pids(self):
        return [int(pid) for pid in run(["ip", "netns", "pids", self.name]).stdout.split()]

    def hosts(self, names):
        """What /etc/hosts says in this namespace: {name: [address, ...]}."""
        lines = ["127.0.0.1 localhost", "::1 localhost"]
        lines += [f"{address} {name}" for name, addresses in names.items()
                  for address in addresses]
        (self.etc / "hosts").write_text("\n".join(lines) + "\n")

    def setup(self):
        run(["ip", "netns", "add", self.name])
        self.etc.mkdir(parents=True)
        (self.etc / "resolv.conf").write_text("# of the lab\n")
        self.hosts({})
        settings = ["net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0",
                    "net.ipv6.conf.all.disable_ipv6=0", "net.ipv6.conf.default.disable_ipv6=0",
                    "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0"]
        if self.role in ("wan", "gw"):
            settings += ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]
        self.run(["sysctl", "-q", "-w", *settings])
        self.ip("link", "set", "lo", "up")


class Wire:
    """Counts and drops what crosses wan, by laptop, outer family, transport and direction."""

    def __init__(self, lab):
        self.ns = lab.ns["wan"]
        self.laptops = lab.laptops
        counters, rules = [], []
        for laptop in self.laptops:
            for family in ("v4", "v6"):
                for transport in ("udp", "tcp"):
                    for way, side in (("up", "iifname"), ("down", "oifname")):
                        name = f"{laptop}_{family}_{transport}_{way}"
                        counters.append(f"counter {name} {{ }}")
                        rules.append(f'{side} "to-{laptop}" meta nfproto ip{family}'
                                     f' meta l4proto {transport} counter name "{name}"')
        self._nft("table inet wire {\n" + "\n".join(counters) +
                  "\nchain drops {\ntype filter hook forward priority -10;\n}\n"
                  "chain counts {\ntype filter hook forward priority 0;\n" +
                  "\n".join(rules) + "\n}\n}\n")

    def _nft(self, text):
        self.ns.run(["nft", "-f", "-"], stdin=text)

    def bytes(self, laptop="laptop"):
        """{"udp": bytes, "tcp": bytes, "v4": bytes, "udp_up": bytes, ...} so far."""
        listing = json.loads(self.ns.run(["nft", "-j", "list", "counters"]).stdout)
        totals = {}
        for entry in listing["nftables"]:
            counter = entry.get("counter")
            if not counter or not counter["name"].startswith(laptop + "_"):
                continue
            _, family, transport, way = counter["name"].rsplit("_", 3)
            for key in (family, transport, way, f"{transport}_{way}", f"{family}_{transport}"):
                totals[key] = totals.get(key, 0) + counter["bytes"]
        return totals

    def since(self, before, laptop="laptop"):
        return {key: value - before[key] for key, value in self.bytes(laptop).items()}

    def drop(self, what, laptop=None):
        """Drops what an nft expression matches ("meta l4proto udp") until lift()."""
        sides = [f'iifname "to-{laptop}"', f'oifname "to-{laptop}"'] if laptop else [""]
        self._nft("".join(f"add rule inet wire drops {side} {what} drop\n" for side in sides))

    def drop_udp(self, laptop=None):
        self.drop("meta l4proto udp", laptop)

    def lose(self, per_mille, laptop=None):
        """Random loss of both directions together."""
        self.drop(f"numgen random mod 1000 < {per_mille}", laptop)

    def lift(self):
        self._nft("flush chain inet wire drops\n")


def assert_carried(moved, transport, at_least):
    """The bytes went over this transport and not over the other."""
    other = {"udp": "tcp", "tcp": "udp"}[transport]
    assert moved[transport] >= at_least, f"{transport} carried {moved[transport]}: {moved}"
    assert moved[other] <= at_least / 20, f"{other} carried {moved[other]}: {moved}"


class Lab:
    _open = []

    def __init__(self, laptops=("laptop",)):
        self.name = PREFIX + secrets.token_hex(3)
        self.laptops = tuple(laptops)
        self.ns = {}
        self.processes = []
        self.dir = None
        Lab._open.append(self)
        try:
            self._setup()
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __getattr__(self, role):
        """lab.gw, lab.corp, lab.laptop ... are the namespaces."""
        try:
            return self.__dict__["ns"][role]
        except KeyError:
            raise AttributeError(role) from None

    # Making.

    def _setup(self):
        # Daemons that give up root, and their peers, must be able to walk through it.
        self.dir = Path(tempfile.mkdtemp(prefix=self.name + "-"))
        self.dir.chmod(0o755)
        for role in ("wan", "gw", "corp", *self.laptops):
            self.ns[role] = Namespace(self, role)
            self.ns[role].setup()
        self._join("wan", "to-gw", ["198.51.100.254/24", "2001:db8:1::fe/64"],
                   "gw", "out0", [f"{a}/24" for a in GATEWAY_V4] + [f"{a}/64" for a in GATEWAY_V6])
        self._default("gw", "198.51.100.254", "2001:db8:1::fe")
        self._join("gw", "corp0", ["10.50.0.1/24", "fd50::1/64"],
                   "corp", "eth0", [f"{CORP[4]}/24", f"{CORP[6]}/64"])
        self._default("corp", "10.50.0.1", "fd50::1")
        for i, laptop in enumerate(self.laptops, 1):
            self._join("wan", f"to-{laptop}", [f"10.77.{i}.1/24", f"fd77:{i}::1/64"],
                       laptop, "out0", [f"10.77.{i}.2/24", f"fd77:{i}::2/64"])
            self._default(laptop, f"10.77.{i}.1", f"fd77:{i}::1")
            self.ns[laptop].hosts({GATEWAY_NAME: GATEWAY_V4})
        self.wire = Wire(self)

    def _join(self, a, a_if, a_addresses, b, b_if, b_addresses):
        run(["ip", "link", "add", a_if, "netns", self.ns[a].name, "type", "veth",
             "peer", "name", b_if, "netns", self.ns[b].name])
        for role, interface, addresses in ((a, a_if, a_addresses), (b, b_if, b_addresses)):
            ns = self.ns[role]
            # The route of the second address of a subnet follows the first: order matters.
            for address in addresses:
                nodad = ["nodad"] if ":" in address else []
                ns.ip("addr", "add", address, "dev", interface, *nodad)
        for role, interface in ((a, a_if), (b, b_if)):
            self.ns[role].ip("link", "set", interface, "up")
        # The link-local address comes by itself, some time after the carrier: a snapshot needs it.
        for role, interface in ((a, a_if), (b, b_if)):
            wait_until(lambda ns=self.ns[role], i=interface:
                       "state UP" in ns.ip("link", "show", i) and
                       "fe80" in (text := ns.ip("-6", "addr", "show", "dev", i)) and
                       "tentative" not in text, 10, f"carrier on {interface}", 0.05)

    def _default(self, role, v4, v6):
        self.ns[role].ip("route", "add", "default", "via", v4)
        self.ns[role].ip("-6", "route", "add", "default", "via", v6)

    def start(self, name, argv, env=None):
        same = sum(p.name.split("#")[0] == name for p in self.processes)
        name = f"{name}#{same + 1}" if same else name
        process = Process(name, argv, self.dir / f"{name}.log", env)
        self.processes.append(process)
        return process

    def add_lan(self, router, v4, v6):
        """A host in a network behind a laptop's namespace or gw, which forwards from now on:
        add_lan("berlin", "10.20.0", "fd20:0:0:1") is lab.berlin_lan, 10.20.0.10 behind 10.20.0.1."""
        role = f"{router}_lan"
        self.ns[role] = Namespace(self, role)
        self.ns[role].setup()
        self.ns[router].run(["sysctl", "-q", "-w", "net.ipv4.ip_forward=1",
                             "net.ipv6.conf.all.forwarding=1"])
        self._join(router, "lan0", [f"{v4}.1/24", f"{v6}::1/64"],
                   role, "eth0", [f"{v4}.10/24", f"{v6}::10/64"])
        self._default(role, f"{v4}.1", f"{v6}::1")
        return self.ns[role]

    # Looking.

    def outer(self, laptop, family):
        i = self.laptops.index(laptop) + 1
        return f"10.77.{i}.2" if family == 4 else f"fd77:{i}::2"

    def logs(self, lines=60):
        return [(p.name, p.tail(lines)) for p in self.processes]

    # Ending.

    def close(self):
        """Ends and removes everything, whatever happens; then tells what had been left behind."""
        if self not in Lab._open:
            return
        Lab._open.remove(self)
        patient = threading.current_thread() is threading.main_thread()
        old = signal.signal(signal.SIGINT, signal.SIG_IGN) if patient else None
        try:
            left = [*self._end_processes(), *self._end_strays(), *self._remove()]
        finally:
            if patient:
                signal.signal(signal.SIGINT, old)
        if left:
            raise LabError("the lab had to clean up after: " + "; ".join(left))

    def _end_processes(self):
        left = []
        for process in reversed(self.processes):
            try:
                process.stop()
            except LabError as error:
                left.append(str(error))
        return left

    def _strays(self):
        return {pid: role for role, ns in self.ns.items() for pid in ns.pids()}

    def _end_strays(self):
        """What is still in a namespace once all that was started has ended."""
        try:
            wait_until(lambda: not self._strays(), 3, "namespaces without processes", 0.02)
            return []
        except LabError:
            pass
        left = []
        for pid, role in self._strays().items():
            left.append(f"pid {pid} ({comm(pid)}) in {role}")
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        return left

    def _remove(self):
        left = []
        for ns in self.ns.values():
            done = run(["ip", "netns", "del", ns.name], check=False)
            if done.returncode != 0:
                left.append(done.stderr.strip())
            shutil.rmtree(ns.etc, ignore_errors=True)
        try:
            Path("/etc/netns").rmdir()
        except OSError:
            pass
        if self.dir and not os.environ.get("TUND_LAB_KEEP"):
            shutil.rmtree(self.dir, ignore_errors=True)
        return left


@atexit.register
def _close_all():
    for lab in list(Lab._open):
        lab.close()


def comm(pid):
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "gone"


# Snapshots: all of a namespace's network state that a daemon could have changed.

def snapshot(ns):
    """The daemon's own device itself is left out: everything it may set hangs on that, and is here."""
    def lines(text, *patterns):
        for pattern in patterns:
            text = re.sub(pattern, "", text)
        return sorted(" ".join(line.split()) for line in text.splitlines() if line.strip())

    def ip(*argv):
        return ns.ip(*argv)

    return {
        "links": lines(ip("-o", "link"), r"(?m)^\d+: tund0: .*state DOWN.*$", r"(?m)^\d+: ", r"@if\d+", r"link-netns \S+",
                       r"link-netnsid \d+"),
        "addresses": lines(ip("-o", "addr"), r"(?m)^\d+: ", r"valid_lft \S+",
                           r"preferred_lft \S+"),
        "routes4": lines(ip("-4", "route", "show", "table", "all")),
        "routes6": lines(ip("-6", "route", "show", "table", "all"), r"expires \S+"),
        "rules4": lines(ip("-4", "rule")),
        "rules6": lines(ip("-6", "rule")),
        "nft": ns.run(["nft", "-s", "list", "ruleset"]).stdout.splitlines(),
        "resolv.conf": ns.run(["cat", "/etc/resolv.conf"]).stdout.splitlines(),
    }


def difference(before, after):
    """Empty, or what changed, as a diff."""
    def flat(snap):
        return [f"{part}: {line}" for part, lines in snap.items() for line in lines]

    return "\n".join(difflib.unified_diff(flat(before), flat(after), "before", "after",
                                          lineterm="", n=0))


def assert_unchanged(ns, before, timeout=3):
    """The namespace is, or within the timeout comes to be, as it was."""
    deadline = time.monotonic() + timeout
    while True:
        changed = difference(before, snapshot(ns))
        if not changed:
            return
        assert time.monotonic() < deadline, f"{ns.role} is not as before:\n{changed}"
        time.sleep(0.1)
