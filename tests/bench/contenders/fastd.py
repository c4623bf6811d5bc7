"""fastd in TUN mode with its fast authenticated cipher."""

from bed import CORP_NET, GATEWAY, INNER_GATEWAY, INNER_LAPTOP, run
from lab import wait_until

from .contender import Contender, give_addresses

PORT = 10000
MTU = 1400


class Fastd(Contender):
    name = "fastd"
    title = "fastd"
    programs = ("fastd",)
    package = "fastd"
    configuration = "salsa2012+umac, MTU 1400"

    def __init__(self, bed, build):
        super().__init__(bed, build)
        self.keys = {"gw": make_key(), "laptop": make_key()}

    def _run(self, ns, peer, peer_lines, bind=""):
        (secret, _), (_, public) = self.keys[ns.role], self.keys[peer]
        config = self.bed.dir / f"fastd-{ns.role}.conf"
        config.write_text(f'mode tun;\ninterface "fastd0";\nmethod "salsa2012+umac";\nmtu {MTU};\n'
                          f'log level warn;\n{bind}secret "{secret}";\n'
                          f'peer "{peer}" {{ key "{public}"; {peer_lines} }}\n')
        config.chmod(0o600)
        ns.spawn(f"fastd-{ns.role}", ["fastd", "--config", config])
        wait_until(lambda: ns.run(["ip", "link", "show", "fastd0"], check=False).returncode == 0,
                   10, "fastd0", 0.001)

    def start(self):
        self._run(self.bed.gw, "laptop", "float yes;", f"bind {GATEWAY}:{PORT};\n")
        give_addresses(self.bed.gw, "fastd0", INNER_GATEWAY, MTU)

    def start_laptop(self):
        self._run(self.bed.laptop, "gw", f"remote {GATEWAY}:{PORT};")
        give_addresses(self.bed.laptop, "fastd0", INNER_LAPTOP, MTU, CORP_NET)


def make_key():
    """(secret, public)"""
    words = run(["fastd", "--generate-key"]).stdout.split()
    return words[words.index("Secret:") + 1], words[words.index("Public:") + 1]
