"""tund as its sample configuration has it, over DTLS and over TLS alone."""

import peers
from bed import CORP_NET, GATEWAY_NAME, version_of

from .contender import Contender


class TundDtls(Contender):
    name = "tund"
    title = "tund"
    configuration = ("defaults; TLS 1.3 with client certificates, DTLS 1.2 PSK-AES256-GCM, a "
                     "worker a core")
    transport = "auto"
    wanted_transport = "dtls"

    def __init__(self, bed, build):
        super().__init__(bed, build)
        self.gateway = self._instance(bed.gw, self._gateway_config())
        self.client = self._instance(bed.laptop, self._client_config())

    @classmethod
    def missing(cls, build):
        program = build / "tund" / "tund"
        return "" if program.exists() else f"{program} is not built"

    @classmethod
    def version(cls, build):
        return version_of([build / "tund" / "tund", "--version"])

    def _gateway_config(self):
        certificate, key = self.bed.pki.gateway_files
        return (peers.Config()
                .set("gateway", listen=["0.0.0.0:443"], interface="tund0", pool=["10.99.0.0/24"],
                     routes=[CORP_NET])
                .set("identity", certificate=certificate, key=key)
                .set("trust", ca=[self.bed.pki.ca])
                .set('access "everyone"', match=["o=Corp"], allow=["0.0.0.0/0 any"],
                     accept=["0.0.0.0/0 any"]))

    def _client_config(self):
        certificate, key = self.bed.pki.device("alice")
        return (peers.Config()
                .set("client", gateway=[GATEWAY_NAME + ":443"], interface="tund0", dns="off",
                     transport=self.transport)
                .set("identity", certificate=certificate, key=key)
                .set("trust", ca=[self.bed.pki.ca], peer_name=GATEWAY_NAME))

    def _instance(self, ns, config):
        instance = peers.Tund(self.bed, ns, config)
        instance.config.set("log", level="info")
        return instance

    def start(self):
        self.gateway.start()

    def start_laptop(self):
        self.client.start(wait=False)

    def settle(self):
        self.client.wait_status(state="up", transport=self.wanted_transport)
        self.inner = self.client.inner()

    def gateway_pids(self):
        return list(self.gateway.processes().values())



class TundTls(TundDtls):
    name = "tund-tls"
    title = "tund, TLS only"
    configuration = 'the same with transport = "tcp"'
    transport = "tcp"
    wanted_transport = "tls"
