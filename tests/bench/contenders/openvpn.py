"""OpenVPN in user space, tuned: 2 MiB socket buffers, a transmit queue of 2000, fast-io, and an MTU
whose packets fit the path, which the default of 1500 does only for TCP."""

from bed import GATEWAY, version_of

from .contender import Contender

COMMON = """\
dev-type tun
dev {device}
proto udp
topology subnet
ca {ca}
cert {certificate}
key {key}
tls-version-min 1.3
data-ciphers AES-256-GCM
auth-nocache
tun-mtu 1420
fast-io
sndbuf 2097152
rcvbuf 2097152
txqueuelen 2000
keepalive 10 60
disable-dco
verb 1
"""

SERVER = """\
mode server
tls-server
dh none
ecdh-curve prime256v1
local {address}
port 1194
server 10.99.0.0 255.255.255.0
push "route 10.50.0.0 255.255.255.0"
remote-cert-tls client
"""

CLIENT = """\
client
remote {address} 1194
nobind
remote-cert-tls server
"""


class Openvpn(Contender):
    name = "openvpn"
    title = "OpenVPN, tuned"
    programs = ("openvpn",)
    package = "openvpn"
    configuration = ("AES-256-GCM, TLS 1.3, no DCO; 2 MiB socket buffers, txqueuelen 2000, "
                     "fast-io, MTU 1420")

    @classmethod
    def version(cls, _build):
        return " ".join(version_of(["openvpn", "--version"]).split()[:2])

    def _write(self, name, template, files):
        certificate, key = files
        path = self.bed.dir / f"{name}.ovpn"
        path.write_text((COMMON + template).format(device="ovpn0", ca=self.bed.pki.ca,
                                                   certificate=certificate, key=key,
                                                   address=GATEWAY))
        return path

    def start(self):
        config = self._write("server", SERVER, self.bed.pki.gateway_files)
        self.client_config = self._write("client", CLIENT, self.bed.pki.device("alice"))
        server = self.bed.gw.spawn("openvpn-server", ["openvpn", "--config", config])
        server.wait_for("Initialization Sequence Completed")

    def start_laptop(self):
        self.client = self.bed.laptop.spawn("openvpn-client",
                                            ["openvpn", "--config", self.client_config])

    def settle(self):
        self.client.wait_for("Initialization Sequence Completed")
        self.inner = address_of(self.bed.laptop, "ovpn0")


def address_of(ns, device):
    return ns.ip("-4", "-o", "addr", "show", "dev", device).split("inet ")[1].split("/")[0]
