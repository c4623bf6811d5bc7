"""wireguard-go: Debian's, or a newer one by --peer wireguard-go=PATH."""

import secrets
from pathlib import Path

from bed import CORP_NET, GATEWAY, INNER_GATEWAY, INNER_LAPTOP, run, version_of
from lab import LabError, wait_until

from .contender import Contender, give_addresses

PORT = 51820
MTU = 1420


class WireguardGo(Contender):
    name = "wireguard-go"
    title = "wireguard-go"
    programs = ("wireguard-go", "wg")
    package = "wireguard-go wireguard-tools"
    configuration = "defaults; ChaCha20-Poly1305, MTU 1420"
    program = "wireguard-go"
    by_path = True

    def __init__(self, bed, build):
        super().__init__(bed, build)
        # Its control socket carries the device's name and lies where all namespaces see it.
        run_id = secrets.token_hex(4)
        self.devices = {"gw": f"wg{run_id}g", "laptop": f"wg{run_id}l"}
        self.private = {role: run(["wg", "genkey"]).stdout.strip() for role in self.devices}
        self.public = {role: run(["wg", "pubkey"], stdin=key).stdout.strip()
                       for role, key in self.private.items()}

    @classmethod
    def version(cls, _build):
        return version_of([cls.program, "--version"])

    def _run(self, ns, peer, allowed, endpoint=""):
        device = self.devices[ns.role]
        process = ns.spawn(f"wireguard-{ns.role}", [self.program, "-f", device],
                           env={"WG_PROCESS_FOREGROUND": "1"})
        wait_until(lambda: Path(f"/run/wireguard/{device}.sock").exists() or not process.running(),
                   10, "wireguard-go's socket", 0.001)
        if not process.running():
            raise LabError(f"{self.program} ended with {process.wait()}: {process.tail(3)}")
        config = self.bed.dir / f"{device}.conf"
        config.write_text(f"[Interface]\nPrivateKey = {self.private[ns.role]}\n"
                          + (f"ListenPort = {PORT}\n" if not endpoint else "")
                          + f"[Peer]\nPublicKey = {self.public[peer]}\nAllowedIPs = {allowed}\n"
                          + (f"Endpoint = {endpoint}\n" if endpoint else ""))
        config.chmod(0o600)
        ns.run(["wg", "setconf", device, config])
        return device

    def start(self):
        device = self._run(self.bed.gw, "laptop", f"{INNER_LAPTOP}/32")
        give_addresses(self.bed.gw, device, INNER_GATEWAY, MTU)

    def start_laptop(self):
        device = self._run(self.bed.laptop, "gw", f"{INNER_GATEWAY}/32,{CORP_NET}",
                           f"{GATEWAY}:{PORT}")
        give_addresses(self.bed.laptop, device, INNER_LAPTOP, MTU, CORP_NET)

    def kill(self):
        super().kill()
        Path(f"/run/wireguard/{self.devices['laptop']}.sock").unlink(missing_ok=True)
