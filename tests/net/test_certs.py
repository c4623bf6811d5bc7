"""The corpus of tests/certs: what the daemons say to every certificate of it, by the verdict that
tunctl verify gives and in a real handshake with each role, is the word that its row expects.

    laptop --- wan --- gw

One gateway and one client judge all rows. Each is shown with its own key by a peer that does what it
can; where TLS itself comes first (the row says why) also by a liar, who has another's key: the word is
then the verifier's.
"""

import collections
import json
import re
import shutil
import ssl

import pytest

from lab import GATEWAY_NAME, GATEWAY_V4, wait_until
from openssl import EVERY_KEY, OpensslError, Shown, Tls
from peers import BUILD, Tund, client_config, gateway_config
from pki import DAY, HOUR, NOW, SERVER_AUTH, Authority
from rawgateway import RawGateway
from rawpeer import INIT, Closed, Peer, request

UNREADABLE = "unreadable"


class Row:
    def __init__(self, directory, row):
        self.__dict__.update(row)
        self.chain, self.key = directory / row["chain"], directory / row["key"]
        self.sound = self.chain.with_suffix(".sound")

    def __str__(self):
        return f"{self.chain.stem} {self.name}"

    @property
    def shown(self):
        """For a liar."""
        pems = re.findall(r"-----BEGIN.*?END CERTIFICATE-----", self.chain.read_text(), re.DOTALL)
        instead = self.sound.read_text() if self.sound.exists() else None
        return Shown([ssl.PEM_cert_to_DER_cert(pem) for pem in pems],
                     instead and ssl.PEM_cert_to_DER_cert(instead))

    def own(self):
        """Its own certificate and key; None when OpenSSL takes them for nobody's use in TLS."""
        try:
            Tls((self.chain, self.key), ciphers=EVERY_KEY)
            return self.chain, self.key
        except OpensslError:
            return None

    def attempts(self, role, decoy):
        """(what a TLS object is made of, the word that is right) for each way to show it."""
        word, tls_word = getattr(self, role), getattr(self, f"tls_{role}")
        own = self.own()
        if own or (self.why and word != UNREADABLE):
            yield {"credentials": own}, tls_word
        if self.why or not own:
            yield ({"credentials": decoy, "shown": self.shown},
                   tls_word if word == UNREADABLE else word)


@pytest.fixture
def corpus(lab):
    """Its rows; its files are copied to where no build changes them."""
    directory = lab.dir / "corpus"
    shutil.copytree(BUILD / "tests" / "certs", directory,
                    ignore=lambda _, names: [n for n in names if not re.search(
                        r"\.(pem|key|crl|json|sound)$", n)])
    return [Row(directory, row) for row in json.loads((directory / "corpus.json").read_text())]


def believe(config, corp, corpus):
    """Everybody's roots, and access for whoever has a name at all."""
    directory = corpus[0].chain.parent
    config.set("trust", ca=[corp.ca, directory / "roots.pem"], crl=[directory / "corpus.crl"],
               crl_policy="advisory")
    if "gateway" in config.sections:
        for kind in ("o=", "cn=", "dns:", "email:", "uri:"):
            config.set(f'access "{kind[:-1]}"', match=[f"{kind}*"], allow=["0.0.0.0/0 any"])
    return config


def start_gateway(lab, corp, corpus):
    return Tund(lab, lab.gw, believe(gateway_config(corp), corp, corpus)).start()


def start_client(lab, corp, corpus, wait=True):
    config = client_config(corp, corp.device("alice"), gateway=f"{GATEWAY_V4[0]}:443")
    return Tund(lab, lab.laptop, believe(config, corp, corpus)).start(wait)


def compare(wrong, corpus, checked):
    assert not wrong, "\n".join(wrong)
    assert checked >= len(corpus) >= 80


# ---- tunctl verify ----


def ask(daemon, row, *arguments):
    code, answer = daemon.ctl("verify", row.chain, *arguments)
    if code == 2 and "damaged" in answer.get("error", ""):
        return UNREADABLE
    assert code == (0 if answer["accepted"] else 1), answer
    assert not arguments or answer["role"] == arguments[1]
    return answer["reason"]


@pytest.mark.parametrize("kind", ["gateway", "client"])
def test_tunctl_verify_gives_every_row_its_word_in_both_roles(lab, corp, corpus, kind):
    if kind == "gateway":
        daemon = start_gateway(lab, corp, corpus)
    else:
        daemon = start_client(lab, corp, corpus, wait=False)
        daemon.process.wait_for("tunnel connecting|tunnel waiting|no connection")
    wrong = []
    for row in corpus:
        for role in ("device", "gateway"):
            word = ask(daemon, row, "--as", role)
            if word != getattr(row, role):
                wrong.append(f"{row}, as a {role}: {word} instead of {getattr(row, role)}")
    compare(wrong, corpus, len(corpus))


def asked_at(when):
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def test_verify_looks_ahead_and_back(lab, corp):
    """A certificate for days 1 to 20 of an authority for 30 days, on a list for 7."""
    authority = Authority("Brief", corp.root, not_after=NOW + 30 * DAY)
    files = corp.write("brief", authority.issue("alice", not_before=NOW + DAY,
                                                not_after=NOW + 20 * DAY))
    listed = corp.directory / "brief.crl"
    listed.write_bytes(authority.crl())
    config = gateway_config(corp).set("trust", crl=[corp.write_crl(), listed], crl_policy="strict")
    gateway = Tund(lab, lab.gw, config).start()
    for at, word in (("+0s", "cert-not-yet-valid"), ("+2d", "ok"), ("+50h", "ok"),
                     ("+8d", "crl-expired"), ("+3w", "cert-expired"), ("+40d", "issuer-expired"),
                     ("-31d", "issuer-expired"), (asked_at(NOW + 3 * DAY), "ok"),
                     (asked_at(NOW + DAY - HOUR), "cert-not-yet-valid")):
        code, answer = gateway.ctl("verify", files[0], "--at", at)
        assert (answer["reason"], code) == (word, 0 if word == "ok" else 1), (at, answer)
    assert answer["at"] == asked_at(NOW + DAY - HOUR)
    assert gateway.ctl("verify", files[0])[1]["reason"] == "cert-not-yet-valid"


def test_verify_takes_the_other_role_at_either_end(lab, corp):
    """A gateway's new certificate at the gateway: it needs a name that the old one has."""
    gateway = Tund(lab, lab.gw, gateway_config(corp)).start()
    client = Tund(lab, lab.laptop, client_config(corp, corp.device("bob"))).start()
    renewed = {name: corp.write(name, corp.root.issue(name, usages=(SERVER_AUTH,), dns=[name],
                                                      ip=ip))[0]
               for name, ip in ((GATEWAY_NAME, ()), ("other.corp.example", ()),
                                ("moved.corp.example", GATEWAY_V4[:1]))}
    device = corp.device("alice")[0]
    for daemon in (gateway, client):
        assert daemon.ctl("verify", device, "--as", "device")[1]["accepted"]
        assert daemon.ctl("verify", device, "--as", "gateway")[1]["reason"] == "purpose-mismatch"
        code, answer = daemon.ctl("verify", renewed[GATEWAY_NAME], "--as", "gateway")
        assert (code, answer["role"], answer["peer_name"]) == (0, "gateway", GATEWAY_NAME)
        assert "blocks" not in answer
        code, answer = daemon.ctl("verify", renewed["other.corp.example"], "--as", "gateway")
        assert (code, answer["reason"]) == (1, "name-mismatch")
        code, answer = daemon.ctl("verify", renewed[GATEWAY_NAME], "--as", "device")
        assert (code, answer["reason"]) == (1, "purpose-mismatch")
    code, answer = gateway.ctl("verify", renewed["moved.corp.example"], "--as", "gateway")
    assert (code, answer["peer_name"]) == (0, GATEWAY_V4[0])
    assert "blocks" in gateway.ctl("verify", device, "--as", "device")[1]
    assert "blocks" not in client.ctl("verify", device, "--as", "device")[1]


# ---- handshakes ----


def knock(lab, credentials, shown=None):
    """A device: (short id, whether it was answered)."""
    peer = Peer(lab.laptop, credentials, ciphers=EVERY_KEY, shown=shown)
    try:
        answered = peer.ask(request("POST", "/", (), INIT)).status == 200
    except Closed:
        answered = False
    peer.close()
    return peer.tls.short_id, answered


def test_the_gateway_gives_every_row_its_word(lab, corp, corpus):
    gateway = start_gateway(lab, corp, corpus)
    decoy = corp.device("decoy")
    wrong, refused = [], collections.Counter()
    checked = 0
    for row in corpus:
        for attempt, expected in row.attempts("device", decoy):
            short_id, answered = knock(lab, **attempt)
            word = "ok"
            if not answered:
                word = gateway.process.wait_for(
                    rf"refused [^\n]*?: ([a-z-]+): [^\n]*\(handshake {short_id}\)", 5).group(1)
                refused[word] += 1
            if word != expected:
                wrong.append(f"{row}, {'shown' in attempt}: {word} instead of {expected}")
            checked += 1
    compare(wrong, corpus, checked)
    assert collections.Counter(gateway.status()["handshakes"]["refused"]) == refused
    assert gateway.sessions() == []


def invite(client, raw, row):
    """Has the client come to the gateway that raw now is: what its log says then."""
    mark, before = client.process.mark(), len(raw.connections)

    def look():
        log = client.process.log(mark)
        if "connecting -> waiting" not in log:  # while it is at it, a reload has it do nothing
            return None
        for conn in raw.connections[before:]:
            ended = conn.sock.fileno() < 0
            # Of a handshake that ended before the server's hello it is not known here.
            short_id = conn.tls.short_id or (ended and "[0-9a-f]{8}")
            found = re.search(rf"^.*\(handshake {short_id}\).*$", log, re.MULTILINE)
            if found:
                return found.group(0)
        return None

    code, answer = client.ctl("reload")
    assert code == 0, answer
    return wait_until(look, 5, f"a handshake in the client's log, of {row}", 0.01)


def test_the_client_gives_every_row_its_word(lab, corp, corpus):
    decoy = corp.gateway_files
    wrong = []
    checked = 0
    with RawGateway(lab, corp, lambda conn: None) as raw:
        client = start_client(lab, corp, corpus, wait=False)
        client.process.wait_for("tunnel connecting|tunnel waiting|no connection")
        for row in corpus:
            for attempt, expected in row.attempts("gateway", decoy):
                raw.credentials = attempt["credentials"]
                raw.tls = {"ciphers": EVERY_KEY, "shown": attempt.get("shown")}
                line = invite(client, raw, row)
                word = "ok"
                if "connected to" not in line:
                    word = client.status()["last_reason"]
                    assert word in line or "no connection" in line, line
                if word != expected:
                    wrong.append(f"{row}, {'shown' in attempt}: {word} instead of {expected}")
                checked += 1
    compare(wrong, corpus, checked)
