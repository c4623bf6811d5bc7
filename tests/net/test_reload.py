"""tunctl reload and SIGHUP: the file read again while people work.

    laptop, laptop2 --- wan --- gw (the file changes here) --- corp
    (or there: a client reads its file again, too)
"""

import json
import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

import openssl
import traffic
from lab import CORP, GATEWAY_NAME, GATEWAY_V4, LabError, wait_until
from peers import (TUNCTL, TUND, Openconnect, RawTls, Tund, client_config, gateway_config,
                   start_client, start_gateway)
from pki import SERVER_AUTH, Authority
from rawpeer import DATA, DISCONNECT, Peer, connected, echo_request

BY_RELOAD_ALONE = True

APPLIED = "configuration read again"
REFUSED = "reload refused"


def by_command(tund):
    code, answer = tund.ctl("reload")
    assert code == 0, answer


def by_signal(tund):
    mark = tund.process.mark()
    tund.process.send_signal(signal.SIGHUP)
    tund.process.wait_for(APPLIED, 10, mark)


WAYS = pytest.mark.parametrize("reload", [by_command, by_signal], ids=["tunctl", "sighup"])


def reloaded(tund):
    """Writes the configuration and has it applied; the answer."""
    tund.write_config()
    code, answer = tund.ctl("reload")
    assert code == 0, answer
    assert answer["schema"] == "tund.reload/1" and answer["applied"] is True
    return answer


def identities(sessions):
    return sorted(session["identity"] for session in sessions)


def subject_serial(ns, corp, device, *extra):
    """The serial number of the certificate that the gateway shows to who comes now."""
    shown = RawTls(ns, corp, device, extra=extra)
    assert shown.status == 200, shown.output
    pem = re.search("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", shown.output,
                    re.DOTALL).group(0)
    done = subprocess.run(["openssl", "x509", "-noout", "-serial"], input=pem, text=True,
                          capture_output=True, check=True)
    return int(done.stdout.strip().split("=")[1], 16)


def up(lab, corp, name="alice", ns=None, **client):
    client = start_client(lab, corp, corp.device(name), ns=ns, **client)
    client.wait_status(state="up", transport="dtls")
    return client


class Flow:
    """Numbered datagrams both ways, none of which may be lost between begin and end."""

    def __init__(self, lab, laptop, client, rate=300):
        self.datagrams = traffic.Datagrams(lab, laptop, client.inner(4), CORP[4], rate=rate)
        time.sleep(0.3)

    def assert_nothing_lost(self, at_least=50):
        time.sleep(0.5)
        for end in self.datagrams.finish():
            numbers = end["numbers"]
            lost = set(range(min(numbers), max(numbers) + 1)) - set(numbers)
            assert not lost, f"{len(lost)} datagrams of {len(numbers)} were lost: {sorted(lost)[:9]}"
            assert len(numbers) >= at_least


# Who the gateway is.

@WAYS
def test_a_new_certificate_and_key_are_shown_to_the_next_and_nobody_loses_a_packet(lab, corp, reload):
    gateway = start_gateway(lab, corp)
    client = up(lab, corp)
    device = corp.device("bob")
    before = subject_serial(lab.laptop, corp, device)
    session = gateway.session("alice")
    flow = Flow(lab, lab.laptop, client)
    leaf = corp.root.issue(GATEWAY_NAME, usages=(SERVER_AUTH,), dns=[GATEWAY_NAME], ip=GATEWAY_V4)
    leaf.write(corp.directory, "gateway")
    reload(gateway)
    flow.assert_nothing_lost()
    after = subject_serial(lab.laptop, corp, device)
    assert before != after == leaf.cert.serial_number
    assert gateway.session("alice")["id"] == session["id"]


@pytest.mark.parametrize("kind", ["p384", "ed25519", "rsa2048"])
def test_a_key_of_another_type(lab, corp, kind):
    gateway = start_gateway(lab, corp)
    leaf = corp.root.issue(GATEWAY_NAME, usages=(SERVER_AUTH,), dns=[GATEWAY_NAME], key=kind)
    leaf.write(corp.directory, "gateway")
    assert sorted(reloaded(gateway)["changed"]) == ["identity.certificate", "identity.key"]
    up(lab, corp)


def test_nothing_has_changed(lab, corp):
    gateway = start_gateway(lab, corp)
    client = up(lab, corp)
    answer = reloaded(gateway)
    assert (answer["changed"], answer["restart"], answer["cut"], answer["rights_changed"]) == (
        [], [], [], [])
    answer = reloaded(client)
    assert (answer["changed"], answer["restart"], answer["left"]) == ([], [], None)
    assert gateway.session("alice")["state"] == "open"


# Whom it believes.

@WAYS
def test_who_is_on_a_new_list_is_cut_and_stays_out(make_lab, make_corp, reload):
    lab = make_lab(laptops=("laptop", "laptop2"))
    corp = make_corp(lab)
    gateway = Tund(lab, lab.gw, gateway_config(corp).set("trust", crl=[corp.write_crl()])).start()
    leaf = corp.root.issue("alice")
    alice = start_client(lab, corp, corp.write("alice", leaf))
    bob = up(lab, corp, "bob", ns=lab.laptop2)
    alice.wait_status(state="up")
    flow = Flow(lab, lab.laptop2, bob)
    mark = gateway.process.mark()
    corp.write_crl(revoked=[leaf], number=2)
    reload(gateway)
    alice.wait_status(last_reason="cert-revoked")
    gateway.process.wait_for("alice: cut by the reload: cert-revoked", 5, mark)
    gateway.process.wait_for("refused .*cert-revoked", 20, mark)
    flow.assert_nothing_lost()
    assert identities(gateway.sessions()) == ["bob"]
    assert gateway.status()["sessions_cut"] == {"cert-revoked": 1}


def test_another_authority_cuts_those_of_the_old_one(lab, corp):
    gateway = start_gateway(lab, corp)
    alice = up(lab, corp)
    other = Authority("Other Root")
    corp.ca.write_bytes(other.pem())
    answer = reloaded(gateway)
    assert "trust.ca" in answer["changed"]
    assert [(cut["identity"], cut["reason"]) for cut in answer["cut"]] == [
        ("alice", "issuer-unknown")]
    alice.wait_status(last_reason="issuer-unknown")
    # And those of the new one get in, beside the old where both are named.
    corp.ca.write_bytes(other.pem() + corp.root.pem())
    assert reloaded(gateway)["cut"] == []
    alice.wait_status(timeout=30, state="up")
    device = corp.write("carol", other.issue("carol"))
    peer = Peer(lab.laptop, device)
    peer.connect()
    assert identities(gateway.sessions()) == ["alice", "carol"]


def test_a_strict_policy_without_a_list_cuts_everybody(lab, corp):
    gateway = start_gateway(lab, corp)
    alice = up(lab, corp)
    gateway.config.set("trust", crl_policy="strict")
    answer = reloaded(gateway)
    assert answer["changed"] == ["trust.crl-policy"]
    assert [cut["reason"] for cut in answer["cut"]] == ["crl-missing"]
    alice.wait_status(last_reason="crl-missing")


def test_local_denials_outlive_a_reload(lab, corp):
    gateway = start_gateway(lab, corp)
    alice = up(lab, corp)
    assert gateway.ctl("revoke", "alice")[0] == 0
    corp.ca.write_bytes(corp.root.pem() + Authority("Other Root").pem())
    reloaded(gateway)
    assert len(gateway.ctl("revoked")[1]["revoked"]) == 1
    mark = gateway.process.mark()
    alice.stop()
    alice.start(wait=False)
    gateway.process.wait_for("refused .*cert-denied", 15, mark)


def away(lab, corp, gateway, device):
    """A session whose channel is lost; (its cookie, its inner address)."""
    peer = connected(lab.laptop, device)
    peer.close()
    wait_until(lambda: [s["state"] for s in gateway.sessions()] == ["away"], 10, "state away")
    return peer.cookie, peer.inner4


def test_who_is_away_loses_the_place_too(lab, corp):
    gateway = Tund(lab, lab.gw, gateway_config(corp).set("trust", crl=[corp.write_crl()])).start()
    leaf = corp.root.issue("alice")
    device = corp.write("alice", leaf)
    cookie, _ = away(lab, corp, gateway, device)
    corp.write_crl(revoked=[leaf], number=2)
    answer = reloaded(gateway)
    assert [(cut["identity"], cut["reason"]) for cut in answer["cut"]] == [
        ("alice", "cert-revoked")]
    assert gateway.sessions() == []
    # The cookie is worth nothing even once the certificate is good again.
    corp.write_crl(number=3)
    reloaded(gateway)
    peer = Peer(lab.laptop, device)
    peer.connect(cookie=cookie, expect=401)


def test_who_is_away_and_still_welcome_comes_back_by_the_new_rules(lab, corp):
    gateway = start_gateway(lab, corp)
    device = corp.device("alice")
    cookie, inner = away(lab, corp, gateway, device)
    gateway.config.set('access "everyone"', allow=[], accept=[])
    answer = reloaded(gateway)
    assert identities(answer["rights_changed"]) == ["alice"] and answer["cut"] == []
    peer = Peer(lab.laptop, device)
    peer.connect(cookie=cookie)
    assert peer.inner4 == inner
    assert not answers(peer, 1)


# What they may reach.

def answers(peer, sequence, seconds=1, source=None):
    """Whether the corporate host answers a ping over this peer's TLS."""
    peer.send(DATA, echo_request(source or peer.inner4, sequence))
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        got = peer.next(deadline - time.monotonic())
        if got and got[0] == DATA and got[1][9:10] == b"\x01" and got[1][20:21] == b"\x00":
            return True  # an echo reply, and not an error
    return False


@WAYS
def test_rights_taken_and_given_hold_for_the_next_packet(lab, corp, reload):
    gateway = start_gateway(lab, corp)
    peer = connected(lab.laptop, corp.device("alice"))
    assert answers(peer, 1)
    gateway.config.set('access "everyone"', allow=["10.50.0.0/24 tcp/80"], accept=[])
    gateway.write_config()
    reload(gateway)
    assert not answers(peer, 2)
    code, shown = gateway.ctl("show", "session", str(gateway.session("alice")["id"]))
    assert code == 0 and shown["session"]["drops"]["no-access"] == 1
    gateway.config.set('access "everyone"', allow=["10.50.0.0/24 icmp"])
    gateway.write_config()
    reload(gateway)
    assert answers(peer, 3)


def test_who_matches_no_block_any_more_is_cut(lab, corp):
    gateway = start_gateway(lab, corp)
    alice = up(lab, corp)
    gateway.config.set('access "everyone"', match=["o=Elsewhere"])
    answer = reloaded(gateway)
    assert answer["changed"] == ["access.everyone.match"]
    assert [(cut["identity"], cut["reason"]) for cut in answer["cut"]] == [("alice", "no-access")]
    alice.wait_status(last_reason="no-access")
    gateway.config.set('access "everyone"', match=["o=Corp"])
    reloaded(gateway)
    alice.wait_status(timeout=30, state="up")


def test_the_same_rules_in_other_words_change_nobody(lab, corp):
    gateway = start_gateway(lab, corp)
    up(lab, corp)
    everyone = gateway.config.sections.pop('access "everyone"')
    gateway.config.set('access "half"', match=["o=Corp"], allow=everyone["allow"][1:])
    gateway.config.set('access "other-half"', match=["cn=*"], allow=everyone["allow"][:1],
                       accept=everyone["accept"])
    answer = reloaded(gateway)
    assert answer["rights_changed"] == [] and answer["cut"] == []
    assert gateway.session("alice")["groups"] == ["half", "other-half"]


def test_a_sites_networks_follow_the_file(lab, corp):
    """Its own sources, what is routed to it, and that it is a site at all."""
    gateway = Tund(lab, lab.gw, gateway_config(corp).set(
        'site "berlin"', match=["cn=berlin"], networks=["10.20.0.0/16"], allow=["10.50.0.0/24 any"]))
    gateway.start()
    peer = connected(lab.laptop, corp.device("berlin"))
    routes = lambda: lab.gw.ip("route", "show", "dev", "tund0")  # noqa: E731
    wait_until(lambda: "10.20.0.0/16" in routes(), 5, "the route to the site")
    assert answers(peer, 1, source="10.20.0.5")
    gateway.config.set('site "berlin"', networks=["10.30.0.0/16"])
    answer = reloaded(gateway)
    assert answer["changed"] == ["site.berlin.networks"]
    assert identities(answer["rights_changed"]) == ["berlin"]
    wait_until(lambda: "10.30.0.0/16" in routes() and "10.20.0.0/16" not in routes(), 5,
               "the route to the site's other network")
    assert answers(peer, 2, source="10.30.0.5")
    assert not answers(peer, 3, source="10.20.0.5")
    gateway.config.remove('site "berlin"')
    answer = reloaded(gateway)
    assert answer["changed"] == ["site.berlin removed"]
    wait_until(lambda: "10.30.0.0/16" not in routes(), 5, "no route to the site")
    assert answers(peer, 4) and not answers(peer, 5, source="10.30.0.5")
    assert gateway.session("berlin")["role"] == "device"


def test_a_session_that_comes_back_during_its_renewal_keeps_every_packet(lab, corp):
    """The client renews all the time, the gateway reads its file all the time."""
    gateway = start_gateway(lab, corp, rekey="1s")
    client = up(lab, corp)
    flow = Flow(lab, lab.laptop, client)
    deadline = time.monotonic() + 8
    turns = 0
    while time.monotonic() < deadline:
        turns += 1
        rules = ["0.0.0.0/0 any", "::/0 any", f"10.60.{turns % 200}.0/24 any"]
        gateway.config.set('access "everyone"', allow=rules)
        answer = reloaded(gateway)
        assert identities(answer["rights_changed"]) == ["alice"]
    flow.assert_nothing_lost()
    assert turns > 20 and gateway.status()["handshakes"]["accepted"] > 4


# What is pushed.

def test_what_is_pushed_waits_for_the_next_connect(lab, corp):
    gateway = start_gateway(lab, corp)
    device = corp.device("alice")
    peer = connected(lab.laptop, device)
    gateway.config.set("gateway", routes=["10.50.0.0/24", "10.70.0.0/16"], exclude=["10.50.0.128/25"],
                       dns=["10.50.0.53"], domains=["corp.example"], dpd="7s", keepalive="11s",
                       rekey="33m", mtu=1300, idle_timeout="1h")
    answer = reloaded(gateway)
    assert sorted(answer["changed"]) == [
        f"gateway.{name}" for name in ("dns", "domains", "dpd", "exclude", "idle-timeout",
                                       "keepalive", "mtu", "rekey", "routes")]
    assert answer["restart"] == []
    assert peer.probe(), "the session did not outlive the reload"
    again = Peer(lab.laptop, device)
    again.connect(cookie=peer.cookie)
    got = again.answer
    assert "10.70.0.0/16" in got.all("X-CSTP-Split-Include")
    assert got.all("X-CSTP-Split-Exclude") == ["10.50.0.128/25"]
    assert got.all("X-CSTP-DNS") == ["10.50.0.53"]
    assert got.all("X-CSTP-Split-DNS") == ["corp.example"]
    assert (got.get("X-CSTP-DPD"), got.get("X-CSTP-Keepalive")) == ("7", "11")
    assert got.get("X-CSTP-Rekey-Time") == str(33 * 60)
    assert int(got.get("X-CSTP-MTU")) == 1300
    assert got.get("X-CSTP-Idle-Timeout") == "3600"


def test_an_idle_timeout_holds_for_those_who_are_there(lab, corp):
    gateway = start_gateway(lab, corp)
    peer = connected(lab.laptop, corp.device("alice"))
    gateway.config.set("gateway", idle_timeout="1s")
    reloaded(gateway)
    assert peer.expect(DISCONNECT, 5)[1:].startswith(b"idle-timeout")


# How many, how often.

def test_limits_and_duplicates(lab, corp):
    gateway = start_gateway(lab, corp, max_sessions=1)
    alice = connected(lab.laptop, corp.device("alice"))
    bob = Peer(lab.laptop, corp.device("bob"))
    bob.login()
    bob.connect(expect=503)
    gateway.config.set("gateway", max_sessions=10, duplicate="refuse")
    reloaded(gateway)
    connected(lab.laptop, corp.device("carol"))
    again = Peer(lab.laptop, alice.device)
    again.login()
    again.connect(expect=503)
    assert gateway.status()["max_sessions"] == 10
    gateway.config.set("gateway", duplicate="replace")
    reloaded(gateway)
    connected(lab.laptop, alice.device)
    assert alice.expect(DISCONNECT)[1:].startswith(b"replaced")
    # A rate that one connection uses up.
    gateway.config.set("limits", handshakes_per_source=1)
    reloaded(gateway)
    time.sleep(1.1)
    refused = 0
    for _ in range(4):
        try:
            Peer(lab.laptop, alice.device).login()
        except Exception:  # pylint: disable=broad-except
            refused += 1
    assert refused >= 2
    assert gateway.status()["handshakes"]["refused"]["rate-limited"] >= 2


def test_a_handshake_may_take_as_long_as_the_new_file_says(lab, corp):
    gateway = start_gateway(lab, corp)
    gateway.config.set("limits", handshake_timeout="1s")
    reloaded(gateway)
    mark = gateway.process.mark()
    peer = Peer(lab.laptop, corp.device("alice"))
    gateway.process.wait_for("handshake-timeout", 4, mark)
    peer.close()


def test_a_cookie_lives_as_long_as_the_new_file_says(lab, corp):
    gateway = start_gateway(lab, corp)
    gateway.config.set("gateway", cookie_lifetime="1s")
    reloaded(gateway)
    connected(lab.laptop, corp.device("alice")).close()
    wait_until(lambda: gateway.sessions() == [], 10, "the end of a session that is away")


def test_hellos_are_verified_from_now_on(lab, corp):
    gateway = start_gateway(lab, corp, hello_verify="off")
    peer = connected(lab.laptop, corp.device("alice"))
    path = peer.dtls()
    assert path.handshake()
    assert not [d for d in path.datagrams if d[13] == 3], "a HelloVerifyRequest without a reason"
    gateway.config.set("gateway", hello_verify="on")
    reloaded(gateway)
    path = peer.dtls()
    assert path.handshake()
    assert [d for d in path.datagrams if d[0] == 22 and d[13] == 3], "no HelloVerifyRequest"


def test_key_exchange(lab, corp):
    gateway = start_gateway(lab, corp)
    device = corp.device("alice")
    assert RawTls(lab.laptop, corp, device, extra=["-groups", "P-256"]).status == 200
    gateway.config.set("crypto", groups="X25519")
    assert reloaded(gateway)["changed"] == ["crypto.groups"]
    assert RawTls(lab.laptop, corp, device, extra=["-groups", "P-256"]).status is None
    assert RawTls(lab.laptop, corp, device, extra=["-groups", "X25519"]).status == 200


def test_log_level(lab, corp):
    gateway = start_gateway(lab, corp)
    gateway.config.set("log", level="warn")
    assert reloaded(gateway)["changed"] == ["log.level"]
    mark = gateway.process.mark()
    connected(lab.laptop, corp.device("alice"))
    assert len(gateway.sessions()) == 1
    assert " debug " not in gateway.process.log(mark) and " info " not in gateway.process.log(mark)
    gateway.config.set("log", level="debug")
    reloaded(gateway)
    mark = gateway.process.mark()
    connected(lab.laptop, corp.device("bob"))
    gateway.process.wait_for(" debug .*handshake", 5, mark)


# What cannot.

def test_options_that_need_a_restart_are_named_each_time_and_the_rest_applies(lab, corp):
    gateway = start_gateway(lab, corp)
    peer = connected(lab.laptop, corp.device("alice"))
    gateway.config.set("gateway", pool=["10.98.0.0/24"], interface="tund7", dpd="9s",
                       listen=["0.0.0.0:4443"])
    for _ in range(2):
        answer = reloaded(gateway)
        assert sorted(answer["restart"]) == ["gateway.interface", "gateway.listen", "gateway.pool"]
    status = gateway.status()
    assert status["interface"] == "tund0" and status["pools"][0]["prefix"] == "10.99.0.0/24"
    assert peer.probe()
    bob = connected(lab.laptop, corp.device("bob"))
    assert bob.inner4.startswith("10.99.0.") and bob.answer.get("X-CSTP-DPD") == "9"
    gateway.config.set("gateway", pool=["10.99.0.0/24", "fd99::/64"], interface="tund0",
                       listen=["0.0.0.0:443", "[::]:443"])
    answer = reloaded(gateway)
    assert answer["restart"] == [] and answer["changed"] == []


def test_another_role_is_a_problem(lab, corp):
    gateway = start_gateway(lab, corp)
    other = client_config(corp, corp.device("alice"))
    for section in ("control", "state", "log", "daemon"):
        other.sections[section] = gateway.config.sections[section]
    gateway.config = other
    gateway.write_config()
    code, answer = gateway.ctl("reload")
    assert code == 1 and "restart" in answer["problems"][0]["text"], answer


def test_room_for_more_sessions_is_found_or_it_is_a_problem(lab, corp):
    """The start takes all the open files that it may have, for a reload can raise nothing."""
    gateway = Tund(lab, lab.gw, gateway_config(corp).set("gateway", max_sessions=100))
    gateway.write_config()
    gateway.process = lab.gw.spawn("tund-gw", [
        "setpriv", "--bounding-set=-sys_resource", "prlimit", "--nofile=1024:9000", TUND,
        "--foreground", "--config", gateway.file])
    gateway.process.wait_for("gateway ready")
    limits = Path(f"/proc/{gateway.processes()['engine']}/limits").read_text()
    assert re.search(r"Max open files +9000 +9000", limits), limits
    gateway.config.set("gateway", max_sessions=3000)
    assert reloaded(gateway)["restart"] == []
    gateway.config.set("gateway", max_sessions=9000)
    gateway.write_config()
    code, answer = gateway.ctl("reload")
    assert code == 1 and len(answer["problems"]) == 1, answer
    assert "9000 need" in answer["problems"][0]["text"] and answer["applied"] is False
    connected(lab.laptop, corp.device("alice"))


# Who may, and how it is said.

def test_only_an_administrator_may(lab, corp):
    gateway = Tund(lab, lab.gw, gateway_config(corp))
    gateway.config.set("control", observers="nogroup")
    gateway.start()
    done = lab.gw.run(["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups",
                       TUNCTL, "-s", gateway.socket, "reload"], check=False)
    assert done.returncode == 5, done.stdout + done.stderr


def test_the_answer_in_words(lab, corp):
    gateway = Tund(lab, lab.gw, gateway_config(corp).set("trust", crl=[corp.write_crl()])).start()
    leaf = corp.root.issue("alice")
    connected(lab.laptop, corp.write("alice", leaf))
    connected(lab.laptop, corp.device("bob"))
    corp.write_crl(revoked=[leaf], number=2)
    gateway.config.set('access "everyone"', allow=["10.50.0.0/24 any"])
    gateway.config.set("gateway", interface="tund7")
    gateway.write_config()
    said = lab.gw.run([TUNCTL, "-s", gateway.socket, "reload"]).stdout
    assert re.search(r"^changed: .*access\.everyone\.allow", said, re.MULTILINE), said
    assert re.search(r"^needs a restart: gateway\.interface$", said, re.MULTILINE), said
    assert re.search(r"^cut session \d+ of alice, from [\d.:]+: cert-revoked$", said,
                     re.MULTILINE), said
    assert re.search(r"^changed the rights of session \d+ of bob$", said, re.MULTILINE), said
    assert lab.gw.run([TUNCTL, "-s", gateway.socket, "reload"]).stdout.startswith(
        "nothing has changed\n")


@WAYS
def test_a_broken_file_changes_nothing_and_is_logged(lab, corp, reload):
    gateway = start_gateway(lab, corp)
    peer = connected(lab.laptop, corp.device("alice"))
    before = gateway.status()["generation"]
    right = gateway.config.text()
    gateway.file.write_text(right.replace('dpd = "3s"', 'dpd = "soon"'))
    line = 1 + right.splitlines().index('    dpd = "3s"')
    mark = gateway.process.mark()
    if reload is by_signal:
        gateway.process.send_signal(signal.SIGHUP)
    else:
        done = lab.gw.run([TUNCTL, "-s", gateway.socket, "reload"], check=False)
        assert done.returncode == 1 and done.stdout == ""
        assert done.stderr.startswith(f"{gateway.file}:{line}: ") and done.stderr.count("\n") == 1
    gateway.process.wait_for(REFUSED, 10, mark)
    assert f"{gateway.file}:{line}: " in gateway.process.log(mark)
    assert peer.probe() and gateway.status()["generation"] == before


# At the same time as something else.

def test_a_handshake_under_way_is_asked_again(lab, corp):
    """Verified by the old list, revoked by the new one before it asks for the tunnel."""
    gateway = Tund(lab, lab.gw, gateway_config(corp).set("trust", crl=[corp.write_crl()])).start()
    leaf = corp.root.issue("alice")
    device = corp.write("alice", leaf)
    logged_in, shaken = Peer(lab.laptop, device), Peer(lab.laptop, device)
    logged_in.login()
    corp.write_crl(revoked=[leaf], number=2)
    reloaded(gateway)
    logged_in.connect(expect=503)
    assert logged_in.answer.get("X-Reason") == "cert-revoked"
    shaken.connect(cookie="", expect=503)
    assert gateway.sessions() == []


def test_a_handshake_under_way_finishes_with_the_old_key(lab, corp):
    """Connected before the reload; ClientHello and all that follows come after it."""
    gateway = start_gateway(lab, corp)
    device = corp.device("alice")
    relay = traffic.Relay(lab.laptop, "127.0.0.1:443", f"{GATEWAY_V4[0]}:443", 0.15)
    results = []

    def shake():
        peer = Peer(lab.laptop, device, "127.0.0.1")
        results.append(peer.login())

    threads = [threading.Thread(target=shake) for _ in range(8)]
    for i, thread in enumerate(threads):
        thread.start()
        time.sleep(0.1)
        if i % 2:
            corp.root.issue(GATEWAY_NAME, usages=(SERVER_AUTH,), dns=[GATEWAY_NAME]).write(
                corp.directory, "gateway")
            reloaded(gateway)
    for thread in threads:
        thread.join(20)
    relay.process.stop()
    assert len(results) == 8, "some did not get in"


def test_many_at_once(lab, corp):
    gateway = start_gateway(lab, corp)
    client = up(lab, corp)
    flow = Flow(lab, lab.laptop, client)
    mark = gateway.process.mark()
    processes = [subprocess.Popen(lab.gw.argv([TUNCTL, "-s", gateway.socket, "-j", "reload"]),
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                 for _ in range(12)]
    for _ in range(50):
        gateway.process.send_signal(signal.SIGHUP)
    for process in processes:
        out, err = process.communicate(timeout=30)
        assert process.returncode == 0, err
        assert json.loads(out)["applied"] is True
    flow.assert_nothing_lost()
    assert 2 <= gateway.process.log(mark).count(APPLIED) <= 40
    assert gateway.session("alice")["state"] == "open"


def test_the_last_of_many_sees_the_last_file(lab, corp):
    """Who asks while one is under way gets what stands in the file when it is asked."""
    gateway = start_gateway(lab, corp)
    for seconds in range(4, 24):
        gateway.config.set("gateway", dpd=f"{seconds}s")
        gateway.process.send_signal(signal.SIGHUP)
        assert reloaded(gateway)["applied"]
        peer = Peer(lab.laptop, corp.device(f"device{seconds}"))
        peer.connect()
        assert peer.answer.get("X-CSTP-DPD") == str(seconds)


def test_while_stopping(lab, corp):
    for _ in range(5):
        gateway = Tund(lab, lab.gw, gateway_config(corp), name=f"gw{_}").start()
        connected(lab.laptop, corp.device("alice"))
        process = subprocess.Popen(lab.gw.argv([TUNCTL, "-s", gateway.socket, "-j", "reload"]),
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        gateway.process.send_signal(signal.SIGHUP)
        time.sleep(0.004 * _)
        assert gateway.stop() == 0
        assert process.wait(10) in (0, 1, 3)


def test_a_cut_and_a_reload_at_once(lab, corp):
    gateway = start_gateway(lab, corp)
    devices = [corp.device(f"device{i}") for i in range(10)]
    peers = [connected(lab.laptop, device) for device in devices]
    for i in range(10):
        gateway.config.set('access "everyone"', allow=[f"10.50.{i}.0/24 any"])
        gateway.write_config()
        processes = [subprocess.Popen(lab.gw.argv([TUNCTL, "-s", gateway.socket, "-j", *words]),
                                      stdout=subprocess.PIPE)
                     for words in (["reload"], ["revoke", f"device{i}"], ["reload"])]
        for process in processes:
            process.communicate(timeout=20)
            assert process.returncode == 0
    assert gateway.sessions() == []
    for peer in peers:
        assert peer.expect(DISCONNECT)[1:].startswith(b"revoked")


# A client.

@WAYS
def test_a_gateway_that_is_now_revoked_is_left(lab, corp, reload):
    gateway = start_gateway(lab, corp)
    client = up(lab, corp)
    crl = corp.write_crl(revoked=[corp.gateway])
    client.config.set("trust", crl=[crl])
    client.write_config()
    reload(client)
    status = client.wait_status(last_reason="cert-revoked")
    assert status["state"] != "up" and status["routes"] == [] and status["inner_addresses"] == []
    wait_until(lambda: gateway.sessions() == [], 5, "the gateway to know")
    # It is refused in the handshake as well, until it is trusted again.
    mark = client.process.mark()
    client.process.wait_for("refused .*cert-revoked", 20, mark)
    corp.write_crl()
    reload(client)
    client.wait_status(timeout=10, state="up")


def test_what_a_client_says_of_a_gateway_it_leaves(lab, corp):
    start_gateway(lab, corp)
    client = up(lab, corp)
    client.config.set("trust", crl=[corp.write_crl(revoked=[corp.gateway])])
    answer = reloaded(client)
    assert answer["left"]["gateway"] == f"{GATEWAY_NAME}:443"
    assert answer["left"]["reason"] == "cert-revoked"


@WAYS
def test_a_clients_new_certificate_is_used_at_once_and_no_packet_is_lost(lab, corp, reload):
    gateway = start_gateway(lab, corp)
    client = up(lab, corp)
    before = gateway.session("alice")
    flow = Flow(lab, lab.laptop, client)
    leaf = corp.root.issue("alice")
    corp.write("alice", leaf)
    reload(client)
    wait_until(lambda: gateway.session("alice")["serial"] == leaf.serial, 10, "the new certificate")
    flow.assert_nothing_lost()
    after = gateway.session("alice")
    assert (after["id"], after["inner_addresses"]) == (before["id"], before["inner_addresses"])


def test_a_clients_routes_follow_its_file(lab, corp):
    start_gateway(lab, corp, routes=["10.50.0.0/24", "10.60.0.0/16", "fd50::/64"])
    client = up(lab, corp)
    flow = Flow(lab, lab.laptop, client)
    client.config.set("client", routes=["10.50.0.0/16"])
    assert reloaded(client)["changed"] == ["client.routes"]
    client.wait_status(routes=["10.50.0.0/24"])
    shown = lab.laptop.ip("route", "show", "dev", "tund0")
    assert "10.50.0.0/24" in shown and "10.60.0.0/16" not in shown
    client.config.set("client", routes="accept")
    reloaded(client)
    wait_until(lambda: "10.60.0.0/16" in lab.laptop.ip("route", "show", "dev", "tund0"), 5,
               "the route to be back")
    flow.assert_nothing_lost()


def test_a_clients_transport_follows_its_file(lab, corp):
    gateway = start_gateway(lab, corp)
    client = up(lab, corp)
    flow = Flow(lab, lab.laptop, client)
    for transport, used in (("tcp", "tls"), ("auto", "dtls")):
        client.config.set("client", transport=transport)
        reloaded(client)
        client.wait_status(state="up", transport=used)
        wait_until(lambda: gateway.session("alice")["transport"] == used, 10, f"over {used}")
    flow.assert_nothing_lost()


def test_a_gateway_that_is_no_longer_named_is_left_for_the_next(lab, corp):
    gateway = start_gateway(lab, corp)
    client = up(lab, corp)
    lab.laptop.hosts({GATEWAY_NAME: GATEWAY_V4, "vpn2.corp.example": GATEWAY_V4[1:]})
    client.config.set("client", gateway=[f"vpn2.corp.example:443"])
    answer = reloaded(client)
    assert answer["left"] == {"gateway": f"{GATEWAY_NAME}:443", "reason": "disconnected",
                              "text": f"{GATEWAY_NAME}:443 is no longer in client.gateway"}
    status = client.wait_status(state="up", gateway="vpn2.corp.example:443")
    assert status["gateway_address"].startswith(GATEWAY_V4[1])
    # One more that is named does not move it.
    session = gateway.session("alice")["id"]
    client.config.set("client", gateway=[f"{GATEWAY_NAME}:443", "vpn2.corp.example:443"])
    assert reloaded(client)["left"] is None
    assert client.status()["gateway"] == "vpn2.corp.example:443"
    assert gateway.session("alice")["id"] == session


def test_another_name_is_wanted_of_the_gateway(lab, corp):
    start_gateway(lab, corp)
    client = up(lab, corp)
    client.config.set("trust", peer_name="other.corp.example")
    assert reloaded(client)["left"]["reason"] == "name-mismatch"
    client.wait_status(last_reason="name-mismatch")


def test_a_client_that_waits_tries_at_once(lab, corp):
    start_gateway(lab, corp)
    client = Tund(lab, lab.laptop, client_config(corp, corp.device("alice")))
    client.config.set("trust", peer_name="other.corp.example")
    client.start(wait=False)
    client.wait_status(last_reason="name-mismatch")
    client.config.set("trust", peer_name=GATEWAY_NAME)
    reloaded(client)
    client.wait_status(timeout=4, state="up")


def test_a_gateway_is_asked_about_again_when_the_reload_comes_during_the_dial(lab, corp):
    """Trusted in the handshake, revoked by the new list before the tunnel is up."""
    start_gateway(lab, corp)
    traffic.Relay(lab.laptop, "127.0.0.1:443", f"{GATEWAY_V4[0]}:443", 0.4)
    client = Tund(lab, lab.laptop, client_config(corp, corp.device("alice"),
                                                 gateway="127.0.0.1:443"))
    client.start(wait=False)
    client.process.wait_for("connected to 127.0.0.1:443")
    client.config.set("trust", crl=[corp.write_crl(revoked=[corp.gateway])])
    reloaded(client)
    client.wait_status(last_reason="cert-revoked")
    assert "tunnel up" not in client.process.log()


def test_a_clients_broken_file_changes_nothing(lab, corp):
    start_gateway(lab, corp)
    client = up(lab, corp)
    flow = Flow(lab, lab.laptop, client)
    _, key = corp.device("other")
    mine = client.config.sections["identity"]["key"]
    for section, values in (("client", {"gateway": []}), ("client", {"routes": ["10.0.0.1/8"]}),
                            ("identity", {"key": key}), ("trust", {"ca": ["/nowhere.crt"]})):
        kept = dict(client.config.sections[section])
        client.config.set(section, **values)
        client.write_config()
        code, answer = client.ctl("reload")
        assert code == 1 and len(answer["problems"]) == 1, answer
        assert answer["applied"] is False
        client.config.sections[section] = kept
    assert client.config.sections["identity"]["key"] == mine
    assert reloaded(client)["changed"] == []
    flow.assert_nothing_lost()
    assert client.status()["state"] == "up"


def test_stock_openconnect_is_told_and_others_stay(lab, corp):
    gateway = Tund(lab, lab.gw, gateway_config(corp).set("trust", crl=[corp.write_crl()])).start()
    leaf = corp.root.issue("alice")
    client = Openconnect(lab, lab.laptop, corp, corp.write("alice", leaf)).wait_up()
    gateway.config.set('access "everyone"', accept=[])
    assert identities(reloaded(gateway)["rights_changed"]) == ["alice"]
    traffic.assert_pings(lab.laptop, CORP[4])
    corp.write_crl(revoked=[leaf], number=2)
    assert [cut["reason"] for cut in reloaded(gateway)["cut"]] == ["cert-revoked"]
    assert client.process.wait(15) == 1
    assert "cert-revoked" in client.log()
