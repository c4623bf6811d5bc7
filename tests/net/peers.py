"""The daemons under test and the strangers beside them: tund, tunctl, openconnect, ocserv."""

import json
import os
import re
import signal
from pathlib import Path

from lab import CORP_NETS, GATEWAY_NAME, GATEWAY_V4, LabError, comm, run, wait_until

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("TUND_BUILD") or ROOT / "build").absolute()
TUND = BUILD / "tund" / "tund"
TUNCTL = BUILD / "tunctl" / "tunctl"

GATEWAY_READY = "gateway ready"
CLIENT_UP = "tunnel up: "

POOLS = ["10.99.0.0/24", "fd99::/64"]

# An unprivileged user that every system has.
DAEMON_USER = "nobody"
# Of every gateway that says nothing else; without it, one a core.
WORKERS = int(os.environ.get("TUND_WORKERS") or 0)
# Whether changed files are in force by themselves: not where a test asks what a reload has changed.
WATCH = True


# Configuration.

def _value(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "{" + ", ".join(_value(item) for item in value) + "}"
    if isinstance(value, int):
        return str(value)
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


class Config:
    """Sections of options: config.set("gateway", dpd="2s"); underscores stand for hyphens."""

    def __init__(self):
        self.sections = {}

    def set(self, section, **options):
        values = self.sections.setdefault(section, {})
        values.update({name.replace("_", "-"): value for name, value in options.items()})
        return self

    def unset(self, section, *options):
        for option in options:
            self.sections[section].pop(option.replace("_", "-"), None)
        return self

    def remove(self, section):
        self.sections.pop(section, None)
        return self

    def text(self):
        lines = []
        for section, options in self.sections.items():
            lines += [section + " {", *(f"    {name} = {_value(value)}"
                                        for name, value in options.items()), "}"]
        return "\n".join(lines) + "\n"


def gateway_config(corp, **gateway):
    """A gateway for everyone of the corporation, with short timers. One host of a lab is many devices,
    faster than any source of connections should be: tests of the limits set their own."""
    certificate, key = corp.gateway_files
    options = {"listen": ["0.0.0.0:443", "[::]:443"], "interface": "tund0", "pool": POOLS,
               "routes": list(CORP_NETS), "dpd": "3s", "keepalive": "10s", "rekey": "1h", **gateway}
    return (Config()
            .set("gateway", **options)
            .set("identity", certificate=certificate, key=key)
            .set("trust", ca=[corp.ca])
            .set('access "everyone"', match=["o=Corp"],
                 allow=["0.0.0.0/0 any", "::/0 any"], accept=["0.0.0.0/0 any", "::/0 any"])
            .set("limits", handshakes=1000, handshakes_per_source=1000))


def client_config(corp, device, gateway=GATEWAY_NAME + ":443", **client):
    certificate, key = device
    gateways = [gateway] if isinstance(gateway, str) else list(gateway)
    return (Config()
            .set("client", gateway=gateways, interface="tund0", dns="off", **client)
            .set("identity", certificate=certificate, key=key)
            .set("trust", ca=[corp.ca], peer_name=GATEWAY_NAME))


class Tund:
    """One instance in a namespace. Its files stay from one start to the next."""

    def __init__(self, lab, ns, config, name=None, ready=None, env=None):
        self.lab = lab
        self.ns = ns
        self.name = name or ns.role
        self.config = config
        self.is_gateway = "gateway" in config.sections
        self.ready = ready or (GATEWAY_READY if self.is_gateway else CLIENT_UP)
        self.env = env
        self.dir = lab.dir / f"tund-{self.name}"
        self.dir.mkdir()
        self.file = self.dir / f"{self.name}.conf"
        self.socket = self.dir / "control.sock"
        config.set("control", socket=self.socket)
        config.set("state", directory=self.dir / "state")
        config.set("log", level="debug")
        config.set("daemon", user=DAEMON_USER)
        if not WATCH:
            config.set("daemon", watch_files=False)
        if WORKERS and "workers" not in config.sections["daemon"]:
            config.set("daemon", workers=WORKERS)
        self.process = None

    def write_config(self):
        self.file.write_text(self.config.text())
        self.file.chmod(0o600)

    def start(self, wait=True, timeout=15):
        self.write_config()
        self.process = self.ns.spawn(f"tund-{self.name}",
                                     [TUND, "--foreground", "--config", self.file], self.env)
        if wait:
            self.process.wait_for(self.ready, timeout)
        return self

    def stop(self):
        return self.process.stop()

    def check(self):
        """tund --check: (exit status, what it printed)."""
        self.write_config()
        done = run([TUND, "--check", "--config", self.file], check=False)
        return done.returncode, done.stdout + done.stderr

    def ctl(self, *command, timeout=30):
        """tunctl -j: (exit status, the object it printed)."""
        done = run([TUNCTL, "-s", self.socket, "-j", *command], check=False, timeout=timeout)
        try:
            return done.returncode, json.loads(done.stdout) if done.stdout.strip() else {}
        except ValueError:
            raise LabError(f"tunctl -j {command}: exit {done.returncode}, not JSON:\n"
                           f"{done.stdout}{done.stderr}") from None

    def status(self):
        code, status = self.ctl("status")
        assert code == 0, f"tunctl status: exit {code}: {status}"
        return status

    def counters(self):
        return self.status()["counters"]

    def sessions(self):
        code, answer = self.ctl("sessions")
        assert code == 0, f"tunctl sessions: exit {code}: {answer}"
        return answer["sessions"]

    def session(self, identity):
        """The one session of an identity."""
        found = [s for s in self.sessions() if identity in (s["identity"], s.get("name"))]
        assert len(found) == 1, f"{len(found)} sessions of {identity}: {found}"
        return found[0]

    def wait_status(self, timeout=15, **wanted):
        """Until status has these values."""
        def look():
            code, status = self.ctl("status")
            return code == 0 and all(status.get(k) == v for k, v in wanted.items()) and status

        return wait_until(look, timeout, f"tunctl status of {self.name} with {wanted}", 0.1)

    def wait_trouble(self, timeout=15, **wanted):
        """A client's status once it is not up, says why, and has these values."""
        def look():
            code, status = self.ctl("status")
            return (code == 0 and status["state"] != "up" and status["last_error"] and
                    all(status.get(k) == v for k, v in wanted.items()) and status)

        return wait_until(look, timeout, f"{self.name} not up, with {wanted}", 0.1)

    def inner(self, family=4):
        """A client's inner address."""
        return pick_family(self.status()["inner_addresses"], family)

    def processes(self):
        """{"tund": pid, "keys": pid, "fetch": pid, "engine": pid}."""
        parent = self.process.pid
        found = {"tund": parent}
        for pid in children(parent):
            found[comm(pid).removeprefix("tund-")] = pid
        return found


def children(parent):
    pids = []
    for task in Path(f"/proc/{parent}/task").iterdir():
        pids += [int(pid) for pid in (task / "children").read_text().split()]
    return pids


def pick_family(addresses, family):
    """The first of that family, without a prefix length."""
    for address in addresses:
        if (":" in address) == (family == 6):
            return address.split("/")[0]
    raise LabError(f"no IPv{family} address among {addresses}")


def start_gateway(lab, corp, **gateway):
    return Tund(lab, lab.gw, gateway_config(corp, **gateway)).start()


def start_client(lab, corp, device=None, ns=None, wait=True, **client):
    """device: alice's, unless another is given."""
    config = client_config(corp, device or corp.device("alice"), **client)
    return Tund(lab, ns or lab.laptop, config).start(wait)


# Strangers.

class Openconnect:
    """Stock openconnect as a user of ocserv would start it. UDP, unless dtls is False."""

    def __init__(self, lab, ns, corp, device, dtls=True, extra=(), url=f"https://{GATEWAY_NAME}",
                 interface="oct0"):
        certificate, key = device
        self.ns = ns
        self.interface = interface
        self.dtls = dtls
        argv = ["openconnect", "--protocol=anyconnect", "--non-inter", "--no-system-trust",
                "--cafile", corp.ca, "-c", certificate, "-k", key, "--interface", interface,
                "--script", Path(__file__).with_name("vpnc-script"), "--timestamp", "-v",
                *([] if dtls else ["--no-dtls"]), *extra, url]
        self.process = ns.spawn(f"openconnect-{ns.role}", argv)

    def wait_up(self, timeout=25):
        self.process.wait_for("Configured as .*SSL connected", timeout)
        if self.dtls:
            self.process.wait_for("Established DTLS connection", timeout)
        self.process.wait_for(f"{self.interface} is set up", 5)
        return self

    def log(self):
        return self.process.log()

    def inner(self, family=4):
        flag = "-4" if family == 4 else "-6"
        shown = self.ns.ip(flag, "-o", "addr", "show", "dev", self.interface, "scope", "global")
        match = re.search(r"inet6? ([0-9a-f.:]+)", shown)
        if not match:
            raise LabError(f"openconnect has no IPv{family} address: {shown}")
        return match.group(1)

    def reconnect(self):
        self.process.send_signal(signal.SIGUSR2)

    def stop(self):
        """A user's stop: BYE, exit 0."""
        return self.process.stop(signal.SIGINT)


OCSERV_CONF = """\
auth = "certificate"
listen-host = {address}
tcp-port = 443
udp-port = {udp_port}
run-as-user = nobody
run-as-group = nogroup
socket-file = {dir}/ocserv.sock
server-cert = {certificate}
server-key = {key}
ca-cert = {ca}
cert-user-oid = 2.5.4.3
isolate-workers = false
max-clients = 16
max-same-clients = 0
max-ban-score = 0
keepalive = 300
dpd = {dpd}
cookie-timeout = 60
rekey-time = 0
cisco-client-compat = false
dtls-legacy = false
tls-priorities = "NORMAL:%SERVER_PRECEDENCE:-VERS-ALL:+VERS-TLS1.3:+VERS-DTLS1.2"
device = vpns
predictable-ips = true
ipv4-network = 10.99.0.0
ipv4-netmask = 255.255.255.0
ipv6-network = fd99::/48
ipv6-subnet-prefix = 64
route = 10.50.0.0/255.255.255.0
route = fd50::/64
try-mtu-discovery = true
"""


class Ocserv:
    """Stock ocserv on the gateway, certificates only. settings: options in place of, or beside,
    those above, with underscores for hyphens."""

    def __init__(self, lab, corp, dpd=10, udp=True, address=GATEWAY_V4[0], credentials=None,
                 **settings):
        certificate, key = credentials or corp.gateway_files
        self.lab = lab
        self.dir = lab.dir / "ocserv"
        self.dir.mkdir()
        self.config = self.dir / "ocserv.conf"
        lines = OCSERV_CONF.format(
            address=address, udp_port=443 if udp else 0, dir=self.dir, ca=corp.ca,
            certificate=certificate, key=key, dpd=dpd).splitlines()
        for option, value in settings.items():
            option = option.replace("_", "-")
            lines = [line for line in lines if not line.startswith(option + " =")]
            lines.append(f"{option} = {value}")
        self.config.write_text("\n".join(lines) + "\n")
        self.process = None
        self.start()

    def start(self):
        self.process = self.lab.gw.spawn("ocserv", ["ocserv", "-f", "-d", "3", "-c", self.config])
        self.process.wait_for("initialized ocserv")
        return self

    def stop(self, number=signal.SIGTERM):
        """Its other processes end a little after the first."""
        pids = self.lab.gw.pids()
        status = self.process.stop(number)
        if number == signal.SIGKILL:
            for pid in pids:
                if comm(pid).startswith("ocserv"):
                    os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not any(comm(pid).startswith("ocserv") for pid in self.lab.gw.pids()),
                   10, "the end of ocserv's processes")
        return status


class RawTls:
    """openssl s_client that asks POST / on one TLS connection: what any TLS peer gets to see."""

    REQUEST = f"POST / HTTP/1.1\r\nHost: {GATEWAY_NAME}\r\nContent-Length: 0\r\n\r\n"

    def __init__(self, ns, corp, device=None, address=GATEWAY_V4[0], extra=()):
        argv = ["openssl", "s_client", "-connect", f"{address}:443", "-servername", GATEWAY_NAME,
                "-CAfile", corp.ca, "-ign_eof", *extra]
        if device:
            certificate, key = device
            argv += ["-cert", certificate, "-key", key, *self._chain(ns.lab, certificate)]
        request = ns.lab.dir / "s_client.request"
        request.write_text(self.REQUEST)
        # A server may keep the connection after its answer: the answer's first line is enough.
        process = ns.spawn("s_client", ["sh", "-c", 'exec "$@" <"$0"', request, *argv])
        wait_until(lambda: not process.running() or self._status(process.log()), 20,
                   "an answer to s_client")
        process.stop()
        self.output = process.log()
        self.status = self._status(self.output)
        alert = re.search(r"SSL alert number (\d+)", self.output)
        self.alert = int(alert.group(1)) if alert else None

    @staticmethod
    def _chain(lab, certificate):
        """What stands behind the leaf in its file."""
        _, *rest = certificate.read_text().split("-----BEGIN")[1:]
        if not rest:
            return []
        chain = lab.dir / "s_client.chain"
        chain.write_text("".join("-----BEGIN" + block for block in rest))
        return ["-cert_chain", chain]

    @staticmethod
    def _status(output):
        match = re.search(r"^HTTP/1\.1 (\d+)", output, re.MULTILINE)
        return int(match.group(1)) if match else None
