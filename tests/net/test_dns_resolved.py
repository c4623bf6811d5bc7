"""sys/dns.c against a real systemd-resolved: what it sets on a link, and that it takes it back.

    private mount, pid and network namespace
      dbus-daemon (a system bus of its own)  <- systemd-resolved
                                             <- dns_probe (sys/dns.c), busctl
      tun0 10.99.0.1 --- a "DNS server" 10.99.0.53 that answers every A query with 192.0.2.99
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import textwrap
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("TUND_BUILD", ROOT / "build"))
RESOLVED = os.environ.get("SYSTEMD_RESOLVED", "/lib/systemd/systemd-resolved")
BUS = "unix:path=/run/dbus/test_socket"

BUS_CONFIG = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=/run/dbus/test_socket</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/> <allow own="*"/> <allow send_destination="*"/> <allow receive_sender="*"/>
  </policy>
</busconfig>
"""

# Answers every A query on 10.99.0.53 with 192.0.2.99 and notes the names it was asked for.
SERVER = """\
import socket, struct
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("10.99.0.53", 53))
print("ready", flush=True)
while True:
    query, peer = sock.recvfrom(4096)
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode())
        at += 1 + query[at]
    question = query[12:at + 5]
    is_a = question[-4:-2] == b"\\0\\1"
    print(".".join(labels), flush=True)
    answer = b"\\xc0\\x0c\\0\\1\\0\\1" + struct.pack(">IH", 60, 4) + bytes([192, 0, 2, 99])
    sock.sendto(query[:2] + b"\\x81\\x80" + struct.pack(">HHHH", 1, is_a, 0, 0) + question
                + (answer if is_a else b""), peer)
"""


def find_probe():
    found = sorted(BUILD.rglob("dns_probe"))
    return found[0] if found else None


class Host:
    """A namespace with a bus, a resolver and two links."""

    def __init__(self, work):
        self.work = work
        self.holder = subprocess.Popen(
            ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc",
             "sleep", "infinity"])
        self.started = []
        self.pid = self.wait_for(self.find_child)
        self.env = dict(os.environ, DBUS_SYSTEM_BUS_ADDRESS=BUS)

    @staticmethod
    def wait_for(look, seconds=10):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = look()
            if found:
                return found
            time.sleep(0.05)
        raise AssertionError(f"{look.__name__} came to nothing in {seconds} s")

    def find_child(self):
        path = pathlib.Path(f"/proc/{self.holder.pid}/task/{self.holder.pid}/children")
        return (path.read_text().split() or [None])[0]

    def enter(self, *command):
        return ["nsenter", "-t", self.pid, "-m", "-r", "-n", "-p", *map(str, command)]

    def run(self, *command, check=True, **more):
        done = subprocess.run(self.enter(*command), env=self.env, text=True, timeout=30,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)
        if check and done.returncode != 0:
            raise AssertionError(f"{command}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def start(self, name, *command):
        log = open(self.work / f"{name}.log", "wb")
        self.started.append(subprocess.Popen(self.enter(*command), env=self.env, stdout=log,
                                             stderr=subprocess.STDOUT))

    def prepare(self):
        (self.work / "bus.conf").write_text(BUS_CONFIG)
        (self.work / "server.py").write_text(SERVER)
        # resolved runs as a user of its own, which need not exist on this host.
        for name, line in (("passwd", "systemd-resolve:x:64998:64998::/:/usr/sbin/nologin\n"),
                           ("group", "systemd-resolve:x:64998:\n")):
            text = pathlib.Path("/etc", name).read_text()
            (self.work / name).write_text(text if "systemd-resolve:" in text else text + line)
        self.run("sh", "-ec", textwrap.dedent(f"""\
            mount -t tmpfs tmpfs /run
            mkdir -p /run/dbus /run/systemd
            mount --bind {self.work}/passwd /etc/passwd
            mount --bind {self.work}/group /etc/group
            ip link set lo up
            ip link add tun0 type veth peer name far0
            ip addr add 10.99.0.1/24 dev tun0
            ip link set tun0 up
            ip link set far0 up
            ip link add eth0 type veth peer name far1
            ip link set eth0 up
            ip addr add 10.99.0.53/32 dev lo"""))
        link = json.loads(self.run("ip", "-j", "link", "show", "tun0").stdout)[0]
        self.index = str(link["ifindex"])

    def start_all(self):
        self.start("dbus", "dbus-daemon", f"--config-file={self.work}/bus.conf", "--nofork")
        self.wait_for(self.bus_answers)
        self.start("resolved", RESOLVED)
        self.wait_for(self.resolved_answers)

    def bus_answers(self):
        return self.run("busctl", "list", check=False).returncode == 0

    def resolved_answers(self):
        return self.probe("available").returncode == 0

    def probe(self, *arguments):
        return self.run(find_probe(), *arguments, check=False)

    def call(self, *arguments):
        out = self.run("busctl", "--json=short", "call", "org.freedesktop.resolve1",
                       "/org/freedesktop/resolve1", "org.freedesktop.resolve1.Manager",
                       *arguments).stdout
        return json.loads(out)["data"]

    def link(self):
        """(servers, domains, default route) of tun0 as resolved has them."""
        path = self.call("GetLink", "i", self.index)[0]
        values = []
        for name in ("DNS", "Domains", "DefaultRoute"):
            out = self.run("busctl", "--json=short", "get-property", "org.freedesktop.resolve1",
                           path, "org.freedesktop.resolve1.Link", name).stdout
            values.append(json.loads(out)["data"])
        return tuple(values)

    def close(self):
        # With the first process of the pid namespace all others end.
        self.holder.kill()
        for process in self.started + [self.holder]:
            process.wait(timeout=10)


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    if not find_probe():
        pytest.fail(f"no dns_probe below {BUILD}; build it, or set TUND_BUILD")
    if not os.path.exists(RESOLVED) or not shutil.which("dbus-daemon"):
        pytest.fail("systemd-resolved and dbus-daemon are needed; the former can be unpacked "
                    "(dpkg -x) instead of installed, and SYSTEMD_RESOLVED set to it")
    work = tmp_path_factory.mktemp("dns")
    work.chmod(0o755)
    host = Host(work)
    try:
        host.prepare()
        host.start_all()
        yield host
    finally:
        host.close()


@pytest.fixture(autouse=True)
def clean_link(host):
    host.probe(host.index, "clear")
    yield


NOTHING = ([], [], False)
V4 = [2, [10, 99, 0, 53]]
V6 = [10, [0xfd, 0x99] + [0] * 13 + [0x53]]


@pytest.mark.parametrize("name, arguments, wanted", [
    ("split DNS is searched and routed, and nothing else goes there",
     ("10.99.0.53", "corp.example", "lab.example"),
     ([V4], [["corp.example", False], ["lab.example", False]], False)),
    ("both families", ("10.99.0.53,fd99::53", "corp.example"),
     ([V4, V6], [["corp.example", False]], False)),
    ("the root routes everything and is not searched", ("10.99.0.53", "corp.example", "."),
     ([V4], [["corp.example", False], [".", True]], True)),
    ("servers without domains are for everything", ("10.99.0.53",), ([V4], [], True)),
    ("nothing at all", ("",), NOTHING),
])
def test_set_reaches_the_link_and_clear_takes_it_back(host, name, arguments, wanted):
    done = host.probe(host.index, "set", *arguments)
    assert done.returncode == 0, done.stderr
    assert host.link() == wanted, name
    assert host.probe(host.index, "clear").returncode == 0
    assert host.link()[:2] == NOTHING[:2]


def test_parent_s_capabilities_are_enough(host):
    done = host.run("setpriv", "--bounding-set=-all,+net_admin,+kill", find_probe(), host.index,
                    "set", "10.99.0.53", "corp.example", check=False)
    assert done.returncode == 0, done.stderr
    assert host.link() == ([V4], [["corp.example", False]], False)


def test_set_again_replaces(host):
    host.probe(host.index, "set", "10.99.0.53,fd99::53", "corp.example", ".")
    host.probe(host.index, "set", "10.99.0.53", "lab.example")
    assert host.link() == ([V4], [["lab.example", False]], False)


@pytest.mark.parametrize("index, domain, says", [
    (None, "not..a.domain", "systemd-resolved, SetLinkDomains"),
    (None, "a\nb\x1b[31m.example", "systemd-resolved, SetLinkDomains"),
    ("99", "corp.example", "systemd-resolved, SetLinkDNS: Link 99 not known"),
    ("1", "corp.example", "systemd-resolved, SetLinkDNS"),
])
def test_refusal_leaves_nothing_and_says_why_in_a_line(host, index, domain, says):
    done = host.probe(index or host.index, "set", "10.99.0.53", domain)
    assert done.returncode == 1
    assert says in done.stderr
    assert done.stderr.count("\n") == 1 and "\x1b" not in done.stderr
    assert host.link()[:2] == NOTHING[:2]


def test_domain_that_is_no_text_is_refused(host):
    done = host.probe(host.index, "set", "10.99.0.53", b"\xff\xfe.example".decode(
        errors="surrogateescape"))
    assert done.returncode == 1
    assert "cannot ask systemd-resolved" in done.stderr
    assert host.link()[:2] == NOTHING[:2]


def test_names_of_the_domain_are_asked_through_the_link(host):
    host.start("server", sys.executable, host.work / "server.py")
    host.wait_for(lambda: "ready" in (host.work / "server.log").read_text())
    host.probe(host.index, "set", "10.99.0.53", "corp.example")
    answers = host.call("ResolveHostname", "isit", "0", "intranet.corp.example", "2", "0")[0]
    assert [address for _, _, address in answers] == [[192, 0, 2, 99]]
    host.run("busctl", "call", "org.freedesktop.resolve1", "/org/freedesktop/resolve1",
             "org.freedesktop.resolve1.Manager", "ResolveHostname", "isit", "0",
             "www.elsewhere.example", "2", "0", check=False)
    asked = (host.work / "server.log").read_text().split()
    assert "intranet.corp.example" in asked
    assert "www.elsewhere.example" not in asked


def test_silent_bus_is_given_up_after_two_seconds(host):
    """A bus that takes the connection and never says a word."""
    host.start("silent", sys.executable, "-c",
               "import socket, time; s = socket.socket(socket.AF_UNIX); "
               "s.bind('/run/dbus/silent'); s.listen(); time.sleep(60)")
    host.wait_for(lambda: host.run("test", "-S", "/run/dbus/silent", check=False).returncode == 0)
    begin = time.monotonic()
    done = host.run("env", "DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/dbus/silent", find_probe(),
                    host.index, "set", "10.99.0.53", "corp.example", check=False)
    assert done.returncode == 1
    assert "cannot reach the system bus" in done.stderr
    assert 1.5 < time.monotonic() - begin < 6


def test_no_bus_is_no_resolver(host):
    for address in ("unix:path=/run/dbus/none", "nonsense"):
        env = f"DBUS_SYSTEM_BUS_ADDRESS={address}"
        assert host.run("env", env, find_probe(), "available", check=False).returncode == 1
        assert host.run("env", env, find_probe(), "1", "clear", check=False).returncode == 1
