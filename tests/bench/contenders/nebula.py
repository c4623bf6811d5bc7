"""Nebula, the gateway as lighthouse and as router to the corporate network."""

from bed import CORP_NET, GATEWAY, INNER_GATEWAY, INNER_LAPTOP, run, version_of

from .contender import Contender

PORT = 4242
# The default of 1300 would cut a UDP payload of 1280 bytes in two.
MTU = 1400

CONF = """\
pki:
  ca: {dir}/ca.crt
  cert: {dir}/{role}.crt
  key: {dir}/{role}.key
static_host_map:
  "{gateway}": ["{outer}:{port}"]
lighthouse:
  am_lighthouse: {lighthouse}
  interval: 60
  hosts: [{hosts}]
listen:
  host: 0.0.0.0
  port: {own_port}
cipher: aes
tun:
  dev: nebula0
  tx_queue: 500
  mtu: {mtu}
  unsafe_routes: [{routes}]
logging:
  level: warning
firewall:
  outbound:
    - {{port: any, proto: any, host: any}}
  inbound:
    - {{port: any, proto: any, host: any}}
"""


class Nebula(Contender):
    name = "nebula"
    title = "Nebula"
    programs = ("nebula", "nebula-cert")
    package = "nebula"
    configuration = "cipher aes (AES-256-GCM), queue of 500 packets, MTU 1400"

    def __init__(self, bed, build):
        super().__init__(bed, build)
        self.dir = bed.dir / "nebula"
        self.dir.mkdir()
        self._sign("ca", "-name", "Corp")
        self._sign("sign", "-name", "gw", "-ip", f"{INNER_GATEWAY}/24", "-subnets", CORP_NET)
        self._sign("sign", "-name", "laptop", "-ip", f"{INNER_LAPTOP}/24")
        self._write("gw", lighthouse="true", hosts="", own_port=PORT, routes="")
        self._write("laptop", lighthouse="false", hosts=f'"{INNER_GATEWAY}"', own_port=0,
                    routes=f"{{route: {CORP_NET}, via: {INNER_GATEWAY}, mtu: {MTU}}}")

    @classmethod
    def version(cls, _build):
        return "Nebula " + version_of(["nebula", "-version"]).removeprefix("Version: ")

    def _sign(self, verb, *argv):
        out = argv[1] if verb == "sign" else "ca"
        where = ["-out-crt", self.dir / f"{out}.crt", "-out-key", self.dir / f"{out}.key"]
        if verb == "sign":
            where += ["-ca-crt", self.dir / "ca.crt", "-ca-key", self.dir / "ca.key"]
        run(["nebula-cert", verb, *argv, *where])

    def _write(self, role, **values):
        (self.dir / f"{role}.yml").write_text(CONF.format(
            dir=self.dir, role=role, gateway=INNER_GATEWAY, outer=GATEWAY, port=PORT, mtu=MTU,
            **values))

    def start(self):
        self.bed.gw.spawn("nebula-gw", ["nebula", "-config", self.dir / "gw.yml"])

    def start_laptop(self):
        self.bed.laptop.spawn("nebula-laptop", ["nebula", "-config", self.dir / "laptop.yml"])
