"""No tunnel, and the bound: what this machine can do at most with a tunnel's kind of work."""

from bed import CORP_NET, GATEWAY, INNER_GATEWAY, INNER_LAPTOP, LAPTOP, run

from .contender import Contender, give_addresses

# The ends tell their sides, and so their keys, by which port is higher.
PORTS = {GATEWAY: 5000, LAPTOP: 5001}


class Veth(Contender):
    name = "veth"
    title = "no tunnel"
    configuration = "bare veth pairs, forwarded by the gateway's kernel"
    is_tunnel = False

    def __init__(self, bed, build):
        super().__init__(bed, build)
        self.inner = LAPTOP

    @classmethod
    def version(cls, _build):
        return "Linux " + run(["uname", "-r"]).stdout.strip()

    def start_laptop(self):
        self.bed.laptop.ip("route", "replace", CORP_NET, "via", GATEWAY)

    def gateway_pids(self):
        return []

    def laptop_pids(self):
        return []

    def kill(self):
        self.bed.laptop.ip("route", "del", CORP_NET)


class Bound(Contender):
    """A fixed key, no handshake, no checks: see bound.c."""

    name = "bound"
    title = "bound"
    configuration = ("AES-256-GCM by EVP, super-packets cut into packets of a tunnel, UDP_SEGMENT "
                     "and UDP_GRO, one thread an end, MTU 1434")
    is_tunnel = False
    mtu = 1434
    options = ()

    @classmethod
    def missing(cls, build):
        program = build / "tests" / "bench" / "bound"
        return "" if program.exists() else f"{program} is not built"

    @classmethod
    def version(cls, _build):
        return "of this tree"

    def _run(self, ns, device, local, remote):
        program = self.build / "tests" / "bench" / "bound"
        process = ns.spawn(f"bound-{ns.role}", [
            program, "--tun", device, "--local", f"{local}:{PORTS[local]}", "--remote",
            f"{remote}:{PORTS[remote]}", "--mtu", self.mtu, *self.options])
        process.wait_for("ready")

    def start(self):
        self._run(self.bed.gw, "bound0", GATEWAY, LAPTOP)
        give_addresses(self.bed.gw, "bound0", INNER_GATEWAY, self.mtu)

    def start_laptop(self):
        self._run(self.bed.laptop, "bound0", LAPTOP, GATEWAY)
        give_addresses(self.bed.laptop, "bound0", INNER_LAPTOP, self.mtu, CORP_NET)


class BoundOne(Bound):
    name = "bound-one"
    title = "bound, one packet a call"
    configuration = "the same without offloads: one packet a read, sendto, recvfrom, write"
    options = ("--one-packet",)
