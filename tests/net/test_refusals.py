"""Who is refused, why, and what the refused end gets to know. Real handshakes throughout.

    laptop --- wan --- gw

A device that the gateway refuses is tried twice: by our client, and by openssl s_client, which
shows the alert itself. A gateway that the client refuses is tried by our client alone.
"""

import re
from dataclasses import dataclass
from typing import Callable

import pytest

from lab import GATEWAY_NAME, assert_unchanged, snapshot, wait_until
from peers import RawTls, Tund, client_config, gateway_config
from pki import CLIENT_AUTH, DAY, NOW, SERVER_AUTH, Authority, self_signed

# RFC 8446, 6.2, and the reason that the alert names to the end that gets it, if it names one.
ALERTS = {
    42: ("bad_certificate", None),
    43: ("unsupported_certificate", "purpose-mismatch"),
    44: ("certificate_revoked", "cert-revoked"),
    45: ("certificate_expired", "cert-expired"),
    46: ("certificate_unknown", None),
    48: ("unknown_ca", "issuer-unknown"),
    116: ("certificate_required", "cert-missing"),
}


class World:
    """A gateway and a laptop that would like each other, to be spoiled by a case."""

    def __init__(self, lab, corp):
        self.lab, self.corp = lab, corp
        self.device = corp.device("alice")
        self.gateway = gateway_config(corp)
        self.after_start = lambda gateway: None

    def use_device(self, certificate):
        self.device = self.corp.write("spoiled", certificate)

    def use_gateway(self, certificate):
        crt, key = self.corp.write("spoiled-gateway", certificate)
        self.gateway.set("identity", certificate=crt, key=key)

    def crl(self, **options):
        return self.corp.write_crl("spoiled.crl", **options)

    def client(self, **trust):
        config = client_config(self.corp, self.device)
        return config.set("trust", **trust)


@dataclass
class Case:
    name: str
    word: str
    spoil: Callable
    alert: int = 0

    def __str__(self):
        return self.name


# Devices, by the way they are wrong.

def device(**options):
    return lambda world: world.use_device(world.corp.root.issue("alice", **options))


def stranger(world):
    world.use_device(Authority("Other Root").issue("alice"))


def namesake(world):
    """An authority with the very name of ours, and its own key."""
    world.use_device(Authority("Corp Root").issue("alice"))


def alone(world):
    world.use_device(self_signed("alice"))


def too_deep(world):
    first = Authority("First", parent=world.corp.root, path_length=0)
    world.use_device(Authority("Second", parent=first).issue("alice"))


def below_an_expired_authority(world):
    past = Authority("Past", parent=world.corp.root, not_after=NOW - DAY)
    world.use_device(past.issue("alice"))


def below_a_leaf(world):
    """A device's certificate used as an authority."""
    leaf = world.corp.root.issue("mallory")
    fake = Authority("mallory", parent=world.corp.root)
    fake.key, fake.cert = leaf.key, leaf.cert
    fake.name = leaf.cert.subject
    world.use_device(fake.issue("alice"))


def on_the_list(world):
    certificate = world.corp.root.issue("alice")
    world.use_device(certificate)
    world.gateway.set("trust", crl=[world.crl(revoked=[certificate])])


def denied(world):
    def deny(gateway):
        code, answer = gateway.ctl("revoke", "--certificate", str(world.device[0]))
        assert code == 0, answer

    world.after_start = deny


def no_list(world):
    world.gateway.set("trust", crl_policy="strict")


def old_list(world):
    world.gateway.set("trust", crl_policy="strict", crl=[world.crl(
        this_update=NOW - 9 * DAY, next_update=NOW - DAY)])


def forged_list(world):
    forger = Authority("Corp Root")
    world.gateway.set("trust", crl_policy="strict", crl=[world.crl(signer=forger)])


DEVICES = [
    Case("self-signed", "issuer-unknown", alone, 48),
    Case("unknown-ca", "issuer-unknown", stranger, 48),
    Case("unknown-ca-of-the-same-name", "issuer-unknown", namesake, 48),
    Case("expired", "cert-expired",
         device(not_before=NOW - 9 * DAY, not_after=NOW - DAY), 45),
    Case("not-yet-valid", "cert-not-yet-valid",
         device(not_before=NOW + DAY, not_after=NOW + 9 * DAY), 42),
    Case("revoked-by-crl", "cert-revoked", on_the_list, 44),
    Case("denied-by-tunctl", "cert-denied", denied, 44),
    Case("eku-of-a-gateway", "purpose-mismatch", device(usages=(SERVER_AUTH,)), 43),
    Case("no-eku", "purpose-mismatch", device(usages=None), 43),
    Case("key-usage-without-signing", "purpose-mismatch",
         device(key_usages=("key_agreement",)), 43),
    Case("crl-missing", "crl-missing", no_list, 46),
    Case("crl-expired", "crl-expired", old_list, 46),
    Case("crl-wrong-signature", "crl-invalid", forged_list, 46),
    Case("path-too-long", "path-too-long", too_deep, 42),
    Case("issuer-expired", "issuer-expired", below_an_expired_authority, 46),
]


def start(world):
    gateway = Tund(world.lab, world.lab.gw, world.gateway).start()
    world.after_start(gateway)
    return gateway


def refusal(process, word, since=0):
    """(the line of the log, the handshake's short id)."""
    match = process.wait_for(rf"^.*refused .*\b{word}\b.*\(handshake ([0-9a-f]{{8}})\).*$", 10,
                             since)
    return match.group(0), match.group(1)


def refused_status(client):
    """What tunctl says on the laptop once it has been refused."""
    def look():
        code, status = client.ctl("status")
        return (code in (0, 1) and status.get("state") in ("refused", "waiting")
                and status.get("last_error")) and status

    return wait_until(look, 15, "a client that knows it was refused", 0.1)


def assert_knows(status, alert, short_id):
    name, word = ALERTS[alert]
    if word:
        assert status["last_reason"] == word, status
    else:
        assert f"alert {name}" in status["last_error"], status
    assert short_id in status["last_error"], f"{short_id} is not in {status}"


def assert_nobody_is_in(gateway, world, before):
    assert gateway.sessions() == []
    assert_unchanged(world.lab.laptop, before)


@pytest.mark.parametrize("case", DEVICES, ids=str)
def test_gateway_refuses_device(lab, corp, case):
    world = World(lab, corp)
    case.spoil(world)
    gateway = start(world)

    raw = RawTls(lab.laptop, corp, world.device)
    assert (raw.alert, raw.status) == (case.alert, None), raw.output
    refusal(gateway.process, case.word)

    before, mark = snapshot(lab.laptop), gateway.process.mark()
    client = Tund(lab, lab.laptop, world.client()).start(wait=False)
    _, short_id = refusal(gateway.process, case.word, mark)
    assert_knows(refused_status(client), case.alert, short_id)
    assert gateway.status()["handshakes"]["refused"][case.word] >= 2
    assert_nobody_is_in(gateway, world, before)


def test_gateway_refuses_no_certificate(lab, corp):
    gateway = start(World(lab, corp))
    raw = RawTls(lab.laptop, corp)
    assert (raw.alert, raw.status) == (116, None), raw.output
    refusal(gateway.process, "cert-missing")


def test_gateway_refuses_tls_1_2(lab, corp):
    world = World(lab, corp)
    gateway = start(world)
    raw = RawTls(lab.laptop, corp, world.device, extra=["-tls1_2"])
    assert (raw.alert, raw.status) == (70, None), raw.output
    refusal(gateway.process, "version-too-old")


def test_gateway_refuses_identity_without_access_block(lab, corp):
    world = World(lab, corp)
    world.gateway.set('access "everyone"', match=["o=Elsewhere"])
    gateway = start(world)
    raw = RawTls(lab.laptop, corp, world.device)
    assert (raw.alert, raw.status) == (None, 403), raw.output
    assert re.search(r"^X-Reason: no-access\r?$", raw.output, re.MULTILINE), raw.output

    before, mark = snapshot(lab.laptop), gateway.process.mark()
    client = Tund(lab, lab.laptop, world.client()).start(wait=False)
    _, short_id = refusal(gateway.process, "no-access", mark)
    status = refused_status(client)
    assert status["last_reason"] == "no-access"
    assert short_id in status["last_error"]
    assert_nobody_is_in(gateway, world, before)


def test_device_that_fits_is_let_in(lab, corp):
    """The control: what every case above spoils, unspoiled, with a list that is asked for."""
    world = World(lab, corp)
    other = corp.root.issue("bob")
    crl = world.crl(revoked=[other])
    world.gateway.set("trust", crl_policy="strict", crl=[crl])
    gateway = start(world)
    assert RawTls(lab.laptop, corp, world.device).status == 200
    Tund(lab, lab.laptop, world.client(crl_policy="strict", crl=[crl])).start()
    assert gateway.session("alice")


def test_device_below_an_intermediate_is_let_in(lab, corp):
    """The control of path-too-long and issuer-expired."""
    world = World(lab, corp)
    issuing = Authority("Issuing", parent=corp.root, path_length=0)
    world.use_device(issuing.issue("alice"))
    gateway = start(world)
    assert RawTls(lab.laptop, corp, world.device).status == 200
    Tund(lab, lab.laptop, world.client()).start()
    assert gateway.session("alice")


# Gateways, by the way they are wrong.

def gateway_certificate(dns=(GATEWAY_NAME,), usages=(SERVER_AUTH,), issuer=None, **options):
    def spoil(world):
        root = issuer() if issuer else world.corp.root
        world.use_gateway(root.issue(GATEWAY_NAME, usages=usages, dns=dns, **options))
        return {}

    return spoil


def gateway_alone(world):
    world.use_gateway(self_signed(GATEWAY_NAME, usages=(SERVER_AUTH,), dns=[GATEWAY_NAME]))
    return {}


def gateway_on_the_list(world):
    return {"crl": [world.crl(revoked=[world.corp.gateway])]}


def gateway_too_deep(world):
    first = Authority("First", parent=world.corp.root, path_length=0)
    second = Authority("Second", parent=first)
    world.use_gateway(second.issue(GATEWAY_NAME, usages=(SERVER_AUTH,), dns=[GATEWAY_NAME]))
    return {}


GATEWAYS = [
    Case("self-signed", "issuer-unknown", gateway_alone),
    Case("unknown-ca", "issuer-unknown",
         gateway_certificate(issuer=lambda: Authority("Other Root"))),
    Case("expired", "cert-expired",
         gateway_certificate(not_before=NOW - 9 * DAY, not_after=NOW - DAY)),
    Case("not-yet-valid", "cert-not-yet-valid",
         gateway_certificate(not_before=NOW + DAY, not_after=NOW + 9 * DAY)),
    Case("eku-of-a-device", "purpose-mismatch", gateway_certificate(usages=(CLIENT_AUTH,))),
    Case("wrong-name", "name-mismatch", gateway_certificate(dns=("other.corp.example",))),
    Case("name-in-the-subject-only", "name-mismatch", gateway_certificate(dns=())),
    Case("revoked-by-crl", "cert-revoked", gateway_on_the_list),
    Case("path-too-long", "path-too-long", gateway_too_deep),
    Case("crl-missing", "crl-missing", lambda world: {"crl_policy": "strict"}),
    Case("crl-expired", "crl-expired", lambda world: {"crl_policy": "strict", "crl": [
        world.crl(this_update=NOW - 9 * DAY, next_update=NOW - DAY)]}),
    Case("crl-wrong-signature", "crl-invalid", lambda world: {"crl_policy": "strict", "crl": [
        world.crl(signer=Authority("Corp Root"))]}),
]


@pytest.mark.parametrize("case", GATEWAYS, ids=str)
def test_client_refuses_gateway(lab, corp, case):
    world = World(lab, corp)
    trust = case.spoil(world)
    gateway = start(world)
    before = snapshot(lab.laptop)
    client = Tund(lab, lab.laptop, world.client(**trust)).start(wait=False)
    _, short_id = refusal(client.process, case.word)
    status = refused_status(client)
    assert status["last_reason"] == case.word
    # The gateway is the refused end: it notes the alert, under the same short id.
    gateway.process.wait_for(rf"alert.*\(handshake {short_id}\)")
    assert_nobody_is_in(gateway, world, before)


def test_device_certificate_used_as_an_authority_is_refused(lab, corp):
    world = World(lab, corp)
    below_a_leaf(world)
    gateway = start(world)
    raw = RawTls(lab.laptop, corp, world.device)
    assert raw.status is None and raw.alert in ALERTS, raw.output
    gateway.process.wait_for(r"refused .*\(handshake [0-9a-f]{8}\)")
