"""ocserv with openconnect: the reference. Debian's sample configuration, but for what a certificate
login and a benchmark need, and TLS 1.3, which the sample turns off."""

import re
from pathlib import Path

from bed import GATEWAY, GATEWAY_NAME, version_of
from lab import LabError

from .contender import Contender

SCRIPT = Path(__file__).resolve().parents[2] / "net" / "vpnc-script"

CONF = """\
auth = "certificate"
listen-host = {address}
tcp-port = 443
{udp_port}
run-as-user = nobody
run-as-group = nogroup
socket-file = {dir}/ocserv.sock
isolate-workers = true
max-clients = 16
max-same-clients = 0
max-ban-score = 0
rate-limit-ms = 0
keepalive = 32400
dpd = 90
mobile-dpd = 1800
switch-to-tcp-timeout = 25
try-mtu-discovery = false
server-cert = {certificate}
server-key = {key}
ca-cert = {ca}
cert-user-oid = 2.5.4.3
tls-priorities = "NORMAL:%SERVER_PRECEDENCE:%COMPAT:-VERS-ALL:+VERS-TLS1.3:+VERS-DTLS1.2"
cookie-timeout = 300
rekey-time = 172800
rekey-method = ssl
log-level = 1
device = vpns
predictable-ips = true
ipv4-network = 10.99.0.0
ipv4-netmask = 255.255.255.0
ping-leases = false
route = 10.50.0.0/255.255.255.0
cisco-client-compat = true
dtls-legacy = true
"""


class Ocserv(Contender):
    name = "ocserv"
    title = "ocserv + openconnect"
    programs = ("ocserv", "openconnect")
    package = "ocserv openconnect"
    configuration = ("Debian's sample with certificates and TLS 1.3, workers in seccomp, no "
                     "compression; DTLS 1.2 PSK with AES-256-GCM")
    options = ()
    udp_port = "udp-port = 443"

    @classmethod
    def version(cls, _build):
        server = re.sub(r"OpenConnect VPN Server ", "", version_of(["ocserv", "--version"]))
        return f"{server}, {version_of(['openconnect', '--version'])}"

    def start(self):
        certificate, key = self.bed.pki.gateway_files
        directory = self.bed.dir / "ocserv"
        directory.mkdir()
        config = directory / "ocserv.conf"
        config.write_text(CONF.format(address=GATEWAY, dir=directory, certificate=certificate,
                                      key=key, ca=self.bed.pki.ca, udp_port=self.udp_port))
        self.device = self.bed.pki.device("alice")
        server = self.bed.gw.spawn("ocserv", ["ocserv", "-f", "-c", config])
        server.wait_for("initialized ocserv|listening")

    def start_laptop(self):
        certificate, key = self.device
        self.client = self.bed.laptop.spawn("openconnect", [
            "openconnect", "--protocol=anyconnect", "--non-inter", "--no-system-trust",
            "--cafile", self.bed.pki.ca, "-c", certificate, "-k", key, "--interface", "oct0",
            "--script", SCRIPT, *self.options, f"https://{GATEWAY_NAME}"])

    def settle(self):
        self.wait_transport()
        shown = self.bed.laptop.ip("-4", "-o", "addr", "show", "dev", "oct0")
        match = re.search(r"inet ([0-9.]+)", shown)
        if not match:
            raise LabError(f"openconnect has no address: {shown}")
        self.inner = match.group(1)

    def wait_transport(self):
        self.client.wait_for("Established DTLS connection", 20)


class OcservTls(Ocserv):
    name = "ocserv-tls"
    title = "ocserv + openconnect, TLS only"
    configuration = "the same with --no-dtls; TLS 1.3 with AES-256-GCM (GnuTLS)"
    options = ("--no-dtls",)

    def wait_transport(self):
        self.client.wait_for("SSL connected|Configured as", 20)
