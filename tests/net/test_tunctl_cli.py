"""tunctl alone, before a daemon that is only pretended: what it asks, what it prints, how it exits.

    tunctl --- unix socket --- a few lines of Python
"""

import datetime
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest

from peers import TUNCTL


def ago(seconds):
    then = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=seconds)
    return then.strftime("%Y-%m-%dT%H:%M:%SZ")


class Daemon:
    """Answers every connection with the same bytes, or as `act` says; keeps what it was asked."""

    def __init__(self, path, answer=b"", act=None):
        self.path, self.answer, self.act = path, answer, act
        self.requests = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(5)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.talk, args=(peer,), daemon=True).start()

    def talk(self, peer):
        with peer:
            line = b""
            while not line.endswith(b"\n"):
                piece = peer.recv(65536)
                if not piece:
                    return
                line += piece
            self.requests.append(json.loads(line))
            try:
                self.act(peer) if self.act else peer.sendall(self.answer)
            except OSError:
                pass  # it has gone away

    def close(self):
        self.listener.close()


@pytest.fixture
def directory():
    path = Path(tempfile.mkdtemp(prefix="tund-ctl-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def daemon(directory):
    """daemon(reply): an object is made a line of JSON, bytes are sent as they are."""
    made = []

    def make(reply=b"", act=None, name="gw.sock"):
        if not isinstance(reply, bytes):
            reply = json.dumps(reply).encode() + b"\n"
        made.append(Daemon(directory / name, reply, act))
        return made[-1]

    yield make
    for one in made:
        one.close()


def tunctl(*arguments, **options):
    return subprocess.run([TUNCTL, *arguments], capture_output=True, timeout=60,
                          env={"PATH": os.environ["PATH"], "TZ": "UTC"}, **options)


def ask(daemon, *arguments):
    """(exit status, standard output, standard error)"""
    done = tunctl("-s", daemon.path, *arguments)
    return done.returncode, done.stdout.decode("ascii"), done.stderr.decode("ascii")


CERTIFICATE = {"subject": "CN=vpn.corp.example,O=Corp", "serial": "1f", "expires_at": ago(-90.5 * 86400)}

CLIENT = {
    "schema": "tund.status/1", "exit": 0, "role": "client", "instance": "laptop", "version": "9.9",
    "state": "up", "since_at": ago(7985), "gateway": "vpn.corp.example:443",
    "gateway_address": "192.0.2.1:443", "transport": "dtls", "interface": "tund0",
    "inner_addresses": ["10.99.0.2", "fd99::2"], "mtu": 1434, "routes": ["10.0.0.0/8"],
    "dns": ["10.0.0.53"], "tls_version": "TLSv1.3", "cipher": "TLS_AES_256_GCM_SHA384",
    "group": "X25519", "data_cipher": "PSK-AES256-GCM-SHA384", "rx_bytes": 123456789,
    "tx_bytes": 4567, "rx_packets": 100, "tx_packets": 20, "last_reason": None, "last_error": None,
    "advice": None, "handshake_id": None, "next_attempt_in_s": None, "certificate": CERTIFICATE,
    "warnings": ["laptop.conf:3: look here"], "drops": {"replayed": 2, "forged": 0}, "counters": {},
}

GATEWAY = {
    "schema": "tund.status/1", "exit": 0, "role": "gateway", "instance": "hq", "version": "9.9",
    "state": "running", "started_at": ago(7985), "interface": "tund0",
    "listen": ["0.0.0.0:443", "[::]:443"], "sessions": 12, "max_sessions": 10000,
    "sessions_dtls": 11, "sessions_tls": 1,
    "pools": [{"prefix": "10.99.0.0/16", "used": 12, "size": 65533},
              {"prefix": "fd99::/64", "used": 12, "size": 2**63 - 2}],
    "certificate": CERTIFICATE, "crl_policy": "strict",
    "offloads": {"tun": ["csum", "tso4"], "udp": []},
    "handshakes": {"accepted": 1234, "refused": {"cert-expired": 3, "no-access": 2, "full": 0}},
    "drops": {}, "counters": {}, "warnings": ["the list expires", "the disk is full"],
    "generation": 4,
}


def session(number, identity, **more):
    return {
        "id": number, "identity": identity, "identity_kind": "cn", "subject": f"CN={identity}",
        "serial": "1f", "groups": ["engineering", "ops"], "state": "open", "role": "device",
        "peer_address": "192.0.2.7:50312", "inner_addresses": ["10.99.0.2", "fd99::2"],
        "transport": "dtls", "tls_version": "TLSv1.3", "cipher": "TLS_AES_256_GCM_SHA384",
        "group": "X25519", "data_cipher": "PSK-AES256-GCM-SHA384", "mtu": 1434,
        "connected_at": "2026-01-02T03:04:05Z", "expires_at": ago(-86400 * 30.5), "idle_s": 3,
        "rx_bytes": 123456789, "tx_bytes": 4567, "rx_packets": 100, "tx_packets": 20,
        "agent": "OpenConnect v9", **more,
    }


DENIED = {"identity": "alice", "subject": "CN=alice,O=Corp", "issuer": "CN=Corp CA", "serial": "1f"}
REVOKED = {"schema": "tund.revoke/1", "exit": 0, "denied": [DENIED],
           "cut": [{"id": 17, "identity": "alice", "peer_address": "192.0.2.7:50312"}],
           "durable": True, "took_s": 0.0123}


PEM = "-----BEGIN CERTIFICATE-----\nMIIBleaf\n-----END CERTIFICATE-----\n"
CHAIN = PEM.replace("leaf", "root")
KEY = "-----BEGIN PRIVATE KEY-----\nMIISECRET\n-----END PRIVATE KEY-----\n"


# ---- status ----


def test_a_client_that_is_up_says_so_first(daemon):
    code, out, err = ask(daemon({**CLIENT, "since_at": ago(7985)}))
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0].startswith("up since ")
    assert lines[0].endswith(" (2 h 13 min), to vpn.corp.example over DTLS")
    assert lines[1] == "warning: laptop.conf:3: look here"
    for text in ("192.0.2.1:443", "10.99.0.2, fd99::2", "10.0.0.0/8", "10.0.0.53", "1434",
                 "TLSv1.3, TLS_AES_256_GCM_SHA384, X25519", "118 MiB received (100 packets)",
                 "4.5 KiB sent (20 packets)", "2 replayed", "serial 1f", "(in 90 d)"):
        assert text in out, text
    assert "forged" not in out


@pytest.mark.parametrize("change, first", [
    ({"state": "refused", "last_reason": "cert-denied", "last_error": "the gateway refused",
      "advice": "get a new one"}, "the gateway refused (cert-denied); get a new one"),
    ({"state": "refused", "last_reason": "cert-revoked", "advice": "get a new one",
      "last_error": "cert-revoked: get a new one"}, "cert-revoked: get a new one"),
    ({"state": "waiting", "last_reason": "full", "last_error": "refused: full", "advice": None},
     "refused: full"),
    ({"state": "waiting", "last_error": "no route to host"}, "no route to host"),
    ({"state": "waiting", "last_reason": "peer-timeout", "advice": "check the path"},
     "peer-timeout; check the path"),
    ({"state": "connecting"}, "connecting to vpn.corp.example"),
    ({"state": "down"}, "down"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_a_client_that_is_not_up_says_why_and_what_to_do(daemon, change, first):
    code, out, _ = ask(daemon({**CLIENT, **change, "warnings": [], "transport": None,
                               "handshake_id": "1a2b3c4d", "next_attempt_in_s": 72}), "status")
    assert code == 0
    assert out.splitlines()[0] == f"not connected: {first}"
    assert "1a2b3c4d" in out
    wanted = {"connecting": "now, to vpn.corp.example"}.get(
        change["state"], "in 1 min 12 s, to vpn.corp.example")
    assert wanted in out


def test_a_gateway_says_its_warnings_first(daemon):
    code, out, _ = ask(daemon({**GATEWAY, "started_at": ago(7985)}), "status")
    lines = out.splitlines()
    assert code == 0
    assert lines[:2] == ["warning: the list expires", "warning: the disk is full"]
    assert lines[2].startswith("gateway hq: running since ")
    assert lines[2].endswith(" (2 h 13 min), 12 of at most 10000 sessions: 11 over DTLS, 1 over TLS")
    for text in ("0.0.0.0:443, [::]:443", "10.99.0.0/16, 12 of 65533 in use",
                 "fd99::/64, 12 in use", "1234 accepted, refused: 3 cert-expired, 2 no-access",
                 "tun csum tso4, udp none", "strict"):
        assert text in out, text
    assert "dropped" not in out


# ---- the others ----


def test_sessions_are_a_table(daemon):
    reply = {"schema": "tund.sessions/1", "exit": 0, "sessions": [
        session(2, "alice"),
        session(17, "bob", groups=[], transport="tls", rx_bytes=0),
        session(170, "berlin.sites.corp.example", state="away", peer_address=None, role="site",
                networks=["10.20.0.0/16"])]}
    code, out, _ = ask(daemon(reply), "sessions")
    rows = [line.split() for line in out.splitlines()]
    assert code == 0
    assert rows == [
        "ID IDENTITY ROLE GROUPS ADDRESS PEER TRANSPORT SINCE RX TX".split(),
        "2 alice device engineering,ops 10.99.0.2,fd99::2 192.0.2.7:50312 DTLS "
        "2026-01-02 03:04 118 MiB 4.5 KiB".split(),
        "17 bob device - 10.99.0.2,fd99::2 192.0.2.7:50312 TLS 2026-01-02 03:04 0 B 4.5 KiB".split(),
        "170 berlin.sites.corp.example site engineering,ops 10.99.0.2,fd99::2 - away "
        "2026-01-02 03:04 118 MiB 4.5 KiB".split(),
    ]
    assert not [line for line in out.splitlines() if line != line.rstrip()]


def test_no_sessions(daemon):
    assert ask(daemon({"schema": "tund.sessions/1", "exit": 0, "sessions": []}), "sessions") == (
        0, "nobody is connected\n", "")


def test_show_session(daemon):
    one = session(2, "alice", issuer="CN=Corp CA", handshake_id="1a2b3c4d", drops={"replayed": 3},
                  access={"allow": ["10.10.0.0/16 tcp/22,443", "10.0.0.53/32 udp/53"],
                          "accept": ["10.10.5.0/24 tcp/22"], "routes": []})
    gateway = daemon({"schema": "tund.show/1", "exit": 0, "session": one})
    code, out, _ = ask(gateway, "show", "session", "2")
    assert code == 0
    assert gateway.requests == [{"command": "show", "what": "session", "id": 2}]
    for text in ("session 2\n", "CN=Corp CA", "1a2b3c4d", "3 replayed", "10.10.0.0/16 tcp/22,443",
                 "10.0.0.53/32 udp/53", "10.10.5.0/24 tcp/22", "DTLS, PSK-AES256-GCM-SHA384",
                 "118 MiB, 100 packets", "OpenConnect v9", "(in 30 d)"):
        assert text in out, text


def test_show_identity(daemon):
    seen = {"subject": "CN=alice", "issuer": "CN=Corp CA", "first_at": ago(900000),
            "last_at": ago(9000)}
    gateway = daemon({
        "schema": "tund.show/1", "exit": 0, "identity": "alice", "sessions": [session(2, "alice")],
        "certificates": [{**seen, "serial": "1d", "expires_at": ago(-9), "denied": True},
                         {**seen, "serial": "1e", "expires_at": ago(9), "denied": False}],
        "addresses": ["10.99.0.2"]})
    code, out, _ = ask(gateway, "show", "identity", "alice")
    ends = {line.split()[0]: line.split()[-1] for line in out.splitlines() if line.strip()}
    assert code == 0
    assert gateway.requests == [{"command": "show", "what": "identity", "name": "alice"}]
    assert (ends["1d"], ends["1e"]) == ("denied", "expired")
    assert "10.99.0.2,fd99::2" in out


def test_disconnect(daemon):
    gateway = daemon({"schema": "tund.disconnect/1", "exit": 0, "cut": [session(2, "alice")]})
    assert ask(gateway, "disconnect", "alice") == (
        0, "dropped session 2 of alice, from 192.0.2.7:50312\n", "")
    assert gateway.requests == [{"command": "disconnect", "target": "alice"}]


def test_disconnect_of_a_client_has_no_list(daemon):
    client = daemon({"schema": "tund.disconnect/1", "exit": 0, "cut": []})
    assert ask(client, "disconnect", "1")[:2] == (
        0, "the tunnel was dropped; it is being dialled again\n")


def test_revoke_says_what_was_denied_and_cut_and_how_long_it_took(daemon):
    gateway = daemon(REVOKED)
    assert ask(gateway, "revoke", "alice", "--reason", "laptop stolen") == (
        0, "denied alice: CN=alice,O=Corp, serial 1f, issued by CN=Corp CA\n"
           "cut session 17 of alice, from 192.0.2.7:50312\n"
           "durable after 12 ms\n", "")
    assert gateway.requests == [{"command": "revoke", "name": "alice", "reason": "laptop stolen"}]


def test_revoke_that_is_not_durable_exits_1(daemon):
    code, out, _ = ask(daemon({**REVOKED, "exit": 1, "cut": [], "durable": False,
                               "error": "No space left on device"}), "revoke", "alice")
    assert code == 1
    assert out.splitlines()[1:] == [
        "no session to cut",
        "NOT durable: No space left on device; in force until tund restarts, so mend this and run "
        "it again"]


def test_unrevoke(daemon):
    gateway = daemon({"schema": "tund.unrevoke/1", "exit": 0, "undenied": [DENIED]})
    assert ask(gateway, "unrevoke", "--serial", "1F", "--issuer", "Corp") == (
        0, "no longer denied alice: CN=alice,O=Corp, serial 1f, issued by CN=Corp CA\n", "")
    assert gateway.requests == [{"command": "unrevoke", "serial": "1F", "issuer": "Corp"}]


def test_revoked(daemon):
    gateway = daemon({"schema": "tund.revoked/1", "exit": 0, "revoked": [
        {**DENIED, "reason": "laptop stolen", "denied_at": "2026-01-02T03:04:05Z"}]})
    assert ask(gateway, "revoked")[1] == (
        "IDENTITY  SERIAL  ISSUER      SINCE             REASON\n"
        "alice     1f      CN=Corp CA  2026-01-02 03:04  laptop stolen\n")


# ---- trust ----

TRUST = {
    "schema": "tund.trust/1", "exit": 0, "warnings": ["look at this", "and that"],
    "crl_policy": "grace", "crl_grace_s": 259200, "generation": 4, "denials": 2,
    "authorities": [
        {"subject": "CN=Root,O=Corp", "serial": "1f", "expires_at": "2027-01-02T03:04:05Z",
         "kind": "root", "fingerprint": "0011223344556677", "file": "/etc/ca.crt",
         "begins_at": "2026-01-02T03:04:05Z", "state": "valid", "sessions": 12,
         "list": {"state": "fresh", "trouble": None, "effect": "ok", "reason": None,
                  "until_at": "2026-01-05T03:04:05Z", "grace_until_at": None}},
        {"subject": "CN=Sub", "serial": "2", "expires_at": "2026-01-02T03:04:05Z",
         "kind": "intermediate", "fingerprint": "8899aabbccddeeff", "file": "/etc/sub.crt",
         "begins_at": "2026-01-02T03:04:05Z", "state": "expired", "sessions": 0,
         "list": {"state": "grace", "trouble": None, "effect": "grace", "reason": None,
                  "until_at": "2026-01-05T03:04:05Z", "grace_until_at": "2026-01-05T03:04:05Z"}}],
    "lists": [{"issuer": "CN=Root,O=Corp", "file": "/etc/corp.crl", "fingerprint": "00",
               "number": "1180591620717411303424", "this_update_at": "2026-01-02T03:04:05Z",
               "next_update_at": None, "entries": 3, "state": "fresh", "sessions": 12}],
}


def test_trust_is_warnings_and_two_tables(daemon):
    code, out, err = ask(daemon(TRUST), "trust")
    assert (code, err) == (0, "")
    assert [re.split("  +", line.strip()) for line in out.splitlines()] == [
        ["warning: look at this"], ["warning: and that"],
        ["crl policy grace (3 d), 2 certificates denied here"], [""],
        ["AUTHORITY", "KIND", "FINGERPRINT", "UNTIL", "STATE", "ITS LIST", "SESSIONS", "FILE"],
        ["CN=Root,O=Corp", "root", "0011223344556677", "2027-01-02 03:04", "valid", "fresh", "12",
         "/etc/ca.crt"],
        ["CN=Sub", "intermediate", "8899aabbccddeeff", "2026-01-02 03:04", "expired",
         "grace until 2026-01-05 03:04", "0", "/etc/sub.crt"], [""],
        ["LIST OF", "NUMBER", "THIS UPDATE", "NEXT UPDATE", "STATE", "REVOKED", "SESSIONS", "FILE"],
        ["CN=Root,O=Corp", "1180591620717411303424", "2026-01-02 03:04", "-", "fresh", "3", "12",
         "/etc/corp.crl"]]


@pytest.mark.parametrize("state, effect, reason, trouble, shown", [
    ("missing", "refused", "crl-missing", None, "missing: refused, crl-missing"),
    ("missing", "refused", "crl-invalid", "forged", "missing (forged): refused, crl-invalid"),
    ("expired", "ignored", None, None, "expired: ignored"),
    ("ageing", "ok", None, None, "ageing until 2026-01-05 03:04"),
    ("fresh", "off", None, None, " valid  -  "),
], ids=("refused", "forged", "ignored", "ageing", "off"))
def test_trust_says_what_a_list_is_worth(daemon, state, effect, reason, trouble, shown):
    authority = {**TRUST["authorities"][0],
                 "list": {"state": state, "effect": effect, "reason": reason, "trouble": trouble,
                          "until_at": "2026-01-05T03:04:05Z"}}
    code, out, _ = ask(daemon({**TRUST, "authorities": [authority]}), "trust")
    assert code == 0 and shown in out


# ---- verify ----

VERIFY = {
    "schema": "tund.verify/1", "exit": 0, "accepted": True, "reason": "ok", "text": "",
    "advice": "", "role": "device", "at": ago(0), "identity": "alice", "identity_kind": "cn",
    "subject": "CN=alice", "issuer": "CN=Root", "serial": "1f", "chain": [
        {"subject": "CN=alice", "serial": "1f", "kind": "leaf", "expires_at": ago(-86400 * 30.5),
         "fingerprint": "00"},
        {"subject": "CN=Root", "serial": "1", "kind": "root", "expires_at": ago(-86400 * 300.5),
         "fingerprint": "01"}],
    "expires_at": ago(-86400 * 30.5), "lists_until_at": ago(-86400 * 6.5 - 1800),
    "until_at": ago(-86400 * 6.5 - 1800), "until_reason": "crl-expired", "routes": ["10.0.0.0/8"],
    "blocks": [{"title": "staff", "kind": "access", "allow": ["10.0.0.0/8 any", "fd00::/8 any"],
                "accept": ["10.1.0.0/16 tcp/22"], "routes": ["10.9.0.0/16"], "networks": [],
                "addresses": []},
               {"title": "berlin", "kind": "site", "allow": [], "accept": [], "routes": [],
                "networks": ["10.20.0.0/16"], "addresses": ["10.99.0.2/32"]}],
}


def test_verify_sends_the_certificates_and_shows_the_verdict(daemon, directory):
    gateway = daemon(VERIFY)
    (directory / "all.pem").write_text("subject=alice\n" + PEM + CHAIN)
    code, out, err = ask(gateway, "verify", directory / "all.pem")
    assert gateway.requests == [{"command": "verify", "certificates": [PEM, CHAIN]}]
    assert (code, err) == (0, "")
    day = VERIFY["chain"][0]["expires_at"][:10]
    far = VERIFY["chain"][1]["expires_at"][:10]
    assert out == (
        "accepted as a device: alice (cn)\n"
        f"  until         {VERIFY['until_at'][:10]} (in 6 d 12 h), unless a revocation list is "
        "renewed before\n"
        f"  chain         CN=alice, leaf, serial 1f, until {day} (in 30 d)\n"
        f"                CN=Root, root, serial 1, until {far} (in 300 d)\n"
        "  routes        10.0.0.0/8\n"
        'access "staff"\n'
        "  may open      10.0.0.0/8 any\n"
        "                fd00::/8 any\n"
        "  may accept    10.1.0.0/16 tcp/22\n"
        "  routes        10.9.0.0/16\n"
        'site "berlin"\n'
        "  networks      10.20.0.0/16\n"
        "  address       10.99.0.2/32\n")


@pytest.mark.parametrize("asked, told", [
    ("2027-01-31T12:00:00Z", datetime.datetime(2027, 1, 31, 12)),
    ("+30d", datetime.timedelta(days=30)),
    ("+4w", datetime.timedelta(weeks=4)),
    ("-90s", datetime.timedelta(seconds=-90)),
    ("-12h", datetime.timedelta(hours=-12)),
], ids=str)
def test_verify_asks_for_a_role_and_a_time(daemon, directory, asked, told):
    gateway = daemon({**VERIFY, "role": "gateway", "at": "2027-01-31T12:00:00Z"})
    (directory / "file").write_text(PEM)
    code, out, err = ask(gateway, "verify", directory / "file", "--as", "gateway", "--at", asked)
    assert (code, err) == (0, "")
    request, = gateway.requests
    assert request["role"] == "gateway"
    at = datetime.datetime.strptime(request["at"], "%Y-%m-%dT%H:%M:%SZ")
    if isinstance(told, datetime.timedelta):
        assert abs(at - datetime.datetime.utcnow() - told) < datetime.timedelta(minutes=1)
    else:
        assert at == told
    assert out.startswith("accepted as a gateway: alice (cn)\n  as of         2027-01-31 (")


def test_verify_says_why_not_and_what_to_do(daemon, directory):
    (directory / "file").write_text(PEM)
    refused = {**VERIFY, "exit": 1, "accepted": False, "reason": "issuer-unknown",
               "text": "certificate \"CN=alice\" comes from nowhere", "advice": "load its CA",
               "chain": [], "blocks": []}
    assert ask(daemon(refused), "verify", directory / "file") == (1, (
        "refused as a device: issuer-unknown: certificate \"CN=alice\" comes from nowhere\n"
        "  advice        load its CA\n"
        "  identity      alice (cn)\n"
        "  subject       CN=alice\n"
        "  issuer        CN=Root\n"
        "  serial        1f\n"), "")


@pytest.mark.parametrize("content, error", [
    ("", "no certificate in it, neither PEM nor DER"),
    ("KEY", "a private key is in it, so nothing was sent"),
    ("PEM+KEY", "a private key is in it, so nothing was sent"),
    ("-----BEGIN X509 CRL-----\nA\n-----END X509 CRL-----\n", 'a block "X509 CRL"'),
    ("-----BEGIN CERTIFICATE-----\nMII", "a block in it does not end"),
    (" " * 70000, "File too large"),
    (None, "No such file"),
], ids=("empty", "key", "both", "list", "cut", "long", "none"))
def test_verify_sends_nothing_but_certificates(daemon, directory, content, error):
    gateway = daemon(VERIFY)
    if content is not None:
        (directory / "file").write_text({"KEY": KEY, "PEM+KEY": PEM + KEY}.get(content, content))
    code, out, err = ask(gateway, "verify", directory / "file")
    assert (code, out) == (2, "")
    assert error in err and err.count("\n") == 1
    assert not gateway.requests


# ---- watch ----


def event(seq, name, **more):
    return {"schema": "tund.watch/1", "seq": seq, "at": "2026-01-02T03:04:05Z", "event": name,
            **more}


def lines_of(*events):
    return b"".join(json.dumps(one).encode() + b"\n" for one in events)


SNAPSHOT = event(7, "snapshot", role="gateway", instance="hq", version="9.9", started_at=ago(7985),
                 sessions=[session(2, "alice")])
STORY = [
    (event(8, "session-opened", session=session(3, "bob", role="site"), peer_address="192.0.2.9:4",
           identity="bob", handshake_id="1a2b3c4d"),
     "site session 3 bob opened from 192.0.2.9:4, address 10.99.0.2 fd99::2 (handshake 1a2b3c4d)"),
    (event(9, "session-transport", session=session(3, "bob"), text="DTLS"),
     "session 3 bob goes over DTLS"),
    (event(10, "handshake-refused", identity="eve", peer_address="192.0.2.6:5", reason="no-access",
           text="no block matches", handshake_id="00112233"),
     "refused eve (192.0.2.6:5): no-access: no block matches (handshake 00112233)"),
    (event(11, "handshake-refused", peer_address="192.0.2.6:5", reason="cert-missing"),
     "refused 192.0.2.6:5: cert-missing"),
    (event(12, "session-away", session=session(3, "bob"), reason="peer-timeout",
           text="peer-timeout: silence"), "session 3 bob is away: peer-timeout: silence"),
    (event(13, "session-back", session=session(3, "bob"), peer_address="192.0.2.9:5"),
     "session 3 bob is back from 192.0.2.9:5, address 10.99.0.2 fd99::2"),
    (event(14, "session-renewed", session=session(3, "bob"), peer_address="192.0.2.9:5"),
     "session 3 bob has renewed its keys from 192.0.2.9:5"),
    (event(15, "session-changed", session=session(3, "bob"), text="by a reload"),
     "session 3 bob has other rights now: by a reload"),
    (event(16, "session-closed", session=session(3, "bob"), reason="disconnected"),
     "session 3 bob closed: disconnected"),
    (event(17, "revoked", identity="bob", serial="1f", text="stolen"),
     "denied bob, serial 1f: stolen"),
    (event(18, "unrevoked", identity="bob", serial="1f"), "no longer denied: bob, serial 1f"),
    (event(19, "trust-changed", generation=3, denials=1),
     "trust has changed, 1 certificate denied here"),
    (event(20, "reloaded", text="2 options changed"), "configuration reloaded: 2 options changed"),
    (event(21, "site-up", site="berlin", networks=["10.20.0.0/16", "fd20::/48"]),
     "site berlin is up: 10.20.0.0/16 fd20::/48"),
    (event(22, "site-down", site="berlin", networks=["10.20.0.0/16"]),
     "site berlin is down: 10.20.0.0/16"),
    (event(99, "gap", missed=77),
     "77 events were missed here: they came faster than they were taken"),
    (event(100, "from-the-future", text="x"), "from-the-future: x"),
    (event(101, "stopping"), "tund is stopping"),
    (event(101, "stopped", exit=3), "tund has stopped"),
]


def test_watch_is_a_snapshot_and_then_a_line_an_event(daemon):
    code, out, err = ask(daemon(lines_of(SNAPSHOT, *(one for one, _ in STORY))), "watch")
    lines = out.splitlines()
    assert (code, err) == (3, "")
    # The daemon's start was two hours before this file was read.
    assert re.fullmatch(r"gateway hq: running since (\S+ )?\S+ \([23] h \d+ min\), 7 events so far", lines[0])
    assert lines[1].split()[:2] == ["ID", "IDENTITY"] and lines[2].split()[:2] == ["2", "alice"]
    assert lines[3] == "watching; Ctrl-C ends it"
    assert lines[4:] == [f"2026-01-02 03:04  #{one['seq']}  {text}" for one, text in STORY]


def test_watch_of_a_client(daemon):
    tunnel = {"state": "up", "since_at": ago(7985), "gateway": "vpn:443", "transport": "dtls",
              "gateway_address": "192.0.2.1:443", "inner_addresses": ["10.99.0.2"]}
    reply = lines_of(
        event(0, "snapshot", role="client", instance="laptop", started_at=ago(60), tunnel=tunnel),
        event(1, "tunnel-connecting", identity="vpn:443", text="silence"),
        event(2, "attempt-failed", identity="vpn:443", reason="full", text="refused: full"),
        event(3, "tunnel-waiting", reason="full"), event(4, "tunnel-up", tunnel=tunnel),
        event(5, "tunnel-transport", text="TLS"), event(6, "tunnel-renewed"),
        event(7, "stopped", exit=3))
    _, out, _ = ask(daemon(reply), "watch")
    lines = out.splitlines()
    assert lines[1].startswith("tunnel to vpn:443: up over dtls since ")
    assert [line.split("  ", 2)[2] for line in lines[3:]] == [
        "connecting to vpn:443: silence", "cannot connect to vpn:443: full: refused: full",
        "not connected, waiting to try again: full",
        "tunnel up to vpn:443 (192.0.2.1:443), address 10.99.0.2", "tunnel goes over TLS",
        "tunnel has renewed its keys", "tund has stopped"]


def test_watch_in_json_is_one_object_a_line(daemon):
    events = [SNAPSHOT, *(one for one, _ in STORY)]
    code, out, err = ask(daemon(lines_of(*events)), "-j", "watch")
    assert (code, err) == (3, "")
    assert [json.loads(line) for line in out.splitlines()] == events


@pytest.mark.parametrize("rest, status, error", [
    (b"", 3, "tund has closed the connection"),
    (b'{"schema": "tund.watch/1", "seq"', 3, "tund has closed the connection"),
    (b"\x1b[2J\n", 3, "cannot be understood"),
    (b'{"seq": 8}\n', 3, "cannot be understood"),
    (b'{"schema": "tund.watch/1", "exit": 9}\n', 3, "cannot be understood"),
    (b'{"schema": "tund.error/1", "exit": 5, "error": "no more"}\n', 5, "no more"),
], ids=("end", "cut", "junk", "no schema", "no exit", "error"))
def test_watch_ends_with_what_went_wrong(daemon, rest, status, error):
    gateway = daemon(lines_of(SNAPSHOT) + rest)
    code, out, err = ask(gateway, "watch")
    assert code == status and error in err and err.count("\n") == 1
    assert out.splitlines()[0].startswith("gateway hq")
    code, out, err = ask(gateway, "-j", "watch")
    assert (code, err) == (status, "")
    assert error in json.loads(out.splitlines()[-1])["error"]


def test_watch_that_may_not_is_said_once(daemon):
    reply = {"schema": "tund.error/1", "exit": 5, "error": "not permitted"}
    assert ask(daemon(reply), "watch") == (5, "", "tunctl: not permitted\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_watch_shows_each_event_at_once_and_ends_cleanly(daemon, number):
    """Also one that comes in pieces."""
    pieces = [lines_of(SNAPSHOT)[:50], lines_of(SNAPSHOT)[50:] + lines_of(STORY[0][0])[:20],
              lines_of(STORY[0][0])[20:]]

    def tell(peer):
        for piece in pieces:
            peer.sendall(piece)
            time.sleep(0.1)
        peer.recv(1)

    watch = subprocess.Popen([TUNCTL, "-s", daemon(act=tell).path, "-j", "watch"],
                             stdout=subprocess.PIPE)
    assert json.loads(watch.stdout.readline()) == SNAPSHOT
    assert json.loads(watch.stdout.readline()) == STORY[0][0]
    watch.send_signal(number)
    assert watch.communicate(timeout=10)[0] == b""
    assert watch.returncode == 0


# ---- metrics ----

METRICS = {"schema": "tund.metrics/1", "exit": 0, "metrics": [
    {"name": "tund_sessions", "type": "gauge", "help": "Sessions.",
     "samples": [{"labels": {"state": "open", "role": "device"}, "value": 3}]},
    {"name": "tund_drops_total", "type": "counter", "help": "Drops.", "samples": [
        {"labels": {"reason": "no-access"}, "value": 0}]}]}


def test_metrics_are_prometheus_text(daemon):
    assert ask(daemon(METRICS), "metrics") == (0, (
        "# HELP tund_sessions Sessions.\n# TYPE tund_sessions gauge\n"
        'tund_sessions{state="open",role="device"} 3\n'
        "# HELP tund_drops_total Drops.\n# TYPE tund_drops_total counter\n"
        'tund_drops_total{reason="no-access"} 0\n'), "")


# ---- a certificate's file ----


def test_only_the_first_certificate_of_a_file_is_sent(daemon, directory):
    gateway = daemon(REVOKED)
    (directory / "all.pem").write_text("subject=alice\n" + KEY + PEM + CHAIN)
    assert ask(gateway, "revoke", "--certificate", directory / "all.pem")[0] == 0
    assert gateway.requests == [{"command": "revoke", "certificate": PEM}]


@pytest.mark.parametrize("content, error", [
    (KEY, "no certificate in PEM form"),
    (PEM[:40], "no certificate in PEM form"),
    ("", "no certificate in PEM form"),
    (" " * 70000 + PEM, "File too large"),
    (PEM.replace("MII", "M\0I"), "damaged"),
    (PEM.replace("leaf", "x" * 65500), "File too large"),
    (None, "No such file"),
], ids=("key", "cut", "empty", "long", "zero", "large", "none"))
def test_a_file_without_a_certificate_is_not_sent(daemon, directory, content, error):
    gateway = daemon(REVOKED)
    if content is not None:
        (directory / "file").write_text(content)
    code, out, err = ask(gateway, "revoke", "--certificate", directory / "file")
    assert (code, out) == (2, "")
    assert error in err
    assert not gateway.requests


# ---- usage ----


@pytest.mark.parametrize("arguments, error", [
    (["reload", "--dry-run"], "`reload --dry-run` is not built yet"),
    (["reload", "--confirm", "60"], "`reload --confirm` is not built yet"),
    (["confirm"], "`confirm` is not built yet"),
    (["doctor", "-j"], "`doctor` is not built yet"),
    (["access", "test", "a -> b tcp/1"], "`access` is not built yet"),
    (["frobnicate"], "there is no command `frobnicate`"),
    (["status", "now"], "usage: tunctl status"),
    (["show"], "usage: tunctl show session ID | identity NAME"),
    (["show", "session"], "usage: tunctl show"),
    (["show", "session", "x"], "a session's id is a number"),
    (["show", "session", "-1"], "invalid option"),
    (["show", "session", "99999999999999999999"], "a session's id is a number"),
    (["show", "peer", "x"], "show session ID, or show identity NAME"),
    (["disconnect"], "usage: tunctl disconnect"),
    (["disconnect", "a", "b"], "usage: tunctl disconnect"),
    (["revoke"], "in one way"),
    (["revoke", "alice", "--serial", "1"], "in one way"),
    (["revoke", "--issuer", "Corp"], "in one way"),
    (["revoke", "alice", "--issuer", "Corp"], "--issuer goes with --serial"),
    (["revoke", "a", "b"], "usage: tunctl revoke"),
    (["unrevoke", "alice", "--reason", "x"], "usage: tunctl unrevoke"),
    (["sessions", "--serial", "1"], "usage: tunctl sessions"),
    (["verify"], "usage: tunctl verify FILE"),
    (["verify", "a", "b"], "usage: tunctl verify FILE"),
    (["verify", "a", "--at"], "requires an argument"),
    (["verify", "a", "--at", "2027-01-01"], "--at takes a time like 2027-01-31T12:00:00Z"),
    (["verify", "a", "--at", "2027-02-30T12:00:00Z"], "--at takes a time like"),
    (["verify", "a", "--at", "+30"], "--at takes a time like"),
    (["verify", "a", "--at", "30d"], "--at takes a time like"),
    (["verify", "a", "--at", "+9000w9"], "--at takes a time like"),
    (["verify", "a", "--at", "+52000w", "--at", "+99999999999w"], "--at takes a time like"),
    (["verify", "a", "--at", ""], "--at takes a time like"),
    (["verify", "a", "--as", "laptop"], "--as takes device or gateway"),
    (["verify", "a", "--as", ""], "--as takes device or gateway"),
    (["trust", "--at", "+1d"], "usage: tunctl trust"),
    (["status", "--as", "gateway"], "usage: tunctl status"),
    (["trust", "all"], "usage: tunctl trust"),
    (["watch", "1"], "usage: tunctl watch"),
    (["metrics", "--reason", "x"], "usage: tunctl metrics"),
    (["--frob"], "unrecognized option"),
    (["-i"], "requires an argument"),
    (["disconnect", b"\xff"], "not UTF-8"),
    (["revoke", b"\xff"], "not UTF-8"),
    (["revoke", "x" * 70000], "more than tund takes"),
    (["-i", "hq", "status"], "exclude each other"),
], ids=lambda value: str(value)[:40])
def test_usage_exits_2(daemon, arguments, error):
    gateway = daemon(GATEWAY)
    code, out, err = ask(gateway, *arguments)
    assert (code, out) == (2, "")
    assert error in err
    assert not gateway.requests


def test_help_and_version():
    usage = tunctl("--help")
    assert usage.returncode == 0
    assert b"revoke NAME" in usage.stdout
    assert b"verify FILE" in usage.stdout
    assert b"doctor" not in usage.stdout
    assert tunctl("--version").stdout.startswith(b"tunctl ")


# ---- JSON ----


@pytest.mark.parametrize("arguments", [["-j", "status"], ["status", "--json"], ["-j"]], ids=str)
def test_json_is_the_answer_as_it_is(daemon, arguments):
    reply = {**GATEWAY, "future": {"deep": [1, None, True, 0.0123]}, "name": "Zo\u00eb \x1b[2J\x7f"}
    code, out, err = ask(daemon(reply), *arguments)
    assert (code, err) == (0, "")
    assert json.loads(out) == reply
    assert list(json.loads(out)) == list(reply)
    assert all(c == "\n" or 0x20 <= ord(c) < 0x7f for c in out)
    assert "0.0123\n" in out


def test_what_fails_here_is_json_too(directory):
    done = tunctl("-j", "-s", directory / "none.sock")
    reply = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (3, b"")
    assert (reply["schema"], reply["exit"]) == ("tund.error/1", 3)
    assert "no tund is running" in reply["error"]


# ---- exit statuses ----


@pytest.mark.parametrize("status", range(1, 6))
def test_the_daemon_decides_the_exit_status(daemon, status):
    gateway = daemon({"schema": "tund.error/1", "exit": status, "error": "so \"it\" is"})
    assert ask(gateway, "sessions") == (status, "", "tunctl: so \"it\" is\n")
    code, out, err = ask(gateway, "-j", "sessions")
    assert (code, json.loads(out)["error"], err) == (status, "so \"it\" is", "")


def test_a_closed_standard_output_is_no_success(daemon):
    with open("/dev/full", "w") as full:
        done = subprocess.run([TUNCTL, "-s", daemon(GATEWAY).path], stdout=full,
                              stderr=subprocess.PIPE, timeout=30)
    assert done.returncode == 1
    assert b"cannot write" in done.stderr


def as_nobody(directory, *arguments):
    program = directory / "tunctl"
    shutil.copy(TUNCTL, program)
    return subprocess.run([program, *arguments], capture_output=True, timeout=30, user="nobody",
                          group="nogroup", extra_groups=[])


def test_a_socket_of_others_is_not_permitted(daemon, directory):
    gateway = daemon(GATEWAY)
    gateway.path.chmod(0o660)
    done = as_nobody(directory, "-s", gateway.path)
    assert (done.returncode, done.stdout) == (5, b"")
    assert b"not permitted" in done.stderr


# ---- a daemon that misbehaves ----

REVOKE = ["revoke", "alice"]


@pytest.mark.parametrize("answer, arguments, error", [
    (b"", [], "closed the connection without an answer"),
    (b"", REVOKE, "whether it was done is not known"),
    (json.dumps(CLIENT).encode(), [], f"cut off after {len(json.dumps(CLIENT))} bytes"),
    (json.dumps(CLIENT).encode()[:50], [], "cut off after 50 bytes"),
    (b'{"schema":"tund.status/1","exit":0,"ro\n', [], "cannot be understood"),
    (b'{"schema":"tund.status/1","exit":0,"exit":1}\n', [], "cannot be understood"),
    (b'{"exit":0}\n', [], "cannot be understood"),
    (b'{"schema":"tund.status/1"}\n', [], "cannot be understood"),
    (b'{"schema":"tund.status/1","exit":256}\n', [], "cannot be understood"),
    (b'{"schema":"tund.revoke/1","exit":6}\n', REVOKE, "whether it was done is not known"),
    (b"\x1b[2J\x00\xff\n", [], "cannot be understood"),
    (b"\n", [], "cannot be understood"),
    (b"HTTP/1.1 400 Bad Request\r\n\r\n", [], "cannot be understood"),
], ids=lambda value: str(value)[:30])
def test_a_broken_answer_exits_3(daemon, answer, arguments, error):
    code, out, err = ask(daemon(answer), *arguments)
    assert (code, out) == (3, "")
    assert error in err
    assert err.count("\n") == 1 and err[:-1].isprintable()


def test_a_daemon_that_closes_at_once(directory):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(directory / "gw.sock"))
    listener.listen(1)
    threading.Thread(target=lambda: listener.accept()[0].close(), daemon=True).start()
    done = tunctl("-s", directory / "gw.sock")
    assert done.returncode == 3
    assert b"closed the connection" in done.stderr or b"reset" in done.stderr
    listener.close()


def test_a_socket_that_nobody_listens_on(directory):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(directory / "gw.sock"))
    listener.close()
    done = tunctl("-s", directory / "gw.sock")
    assert done.returncode == 3
    assert b"no tund is running" in done.stderr


def test_an_answer_in_pieces(daemon):
    line = json.dumps(GATEWAY).encode() + b"\nand more"

    def dribble(peer):
        for at in range(0, len(line), 100):
            peer.sendall(line[at:at + 100])
            time.sleep(0.01)
        time.sleep(1)

    assert ask(daemon(act=dribble), "-j")[0] == 0


def test_ten_thousand_sessions(daemon):
    reply = {"schema": "tund.sessions/1", "exit": 0,
             "sessions": [session(i, f"device-{i}") for i in range(10000)]}
    code, out, _ = ask(daemon(reply), "sessions")
    assert code == 0
    assert len(out.splitlines()) == 10001


@pytest.mark.slow
def test_a_silent_daemon_is_given_up(daemon):
    silent = daemon(act=lambda peer: time.sleep(60))
    commands = {("status",): 15, ("-j", "sessions"): 15, ("revoke", "alice"): 30}
    started = time.monotonic()
    running = {command: subprocess.Popen([TUNCTL, "-s", silent.path, *command],
                                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
               for command in commands}
    for command, limit in commands.items():
        out, err = running[command].communicate(timeout=60)
        took = time.monotonic() - started
        assert limit - 1 < took < limit + 5, command
        assert running[command].returncode == 3
        assert f"tund does not answer ({limit} s)".encode() in out + err
        assert (b"not known" in err) == (command[0] == "revoke")


# ---- names that someone chose ----

WILD = "al\x1b[2J\x1b]0;owned\x07ice\r\n\u009b31m\u202e\x7f\t\u00eb\\"


@pytest.mark.parametrize("arguments, reply", [
    ([], {**CLIENT, **{key: WILD for key in (
        "gateway", "gateway_address", "tls_version", "cipher", "group", "data_cipher", "interface",
        "instance", "version", "transport")}, "inner_addresses": [WILD], "routes": [WILD],
        "dns": [WILD], "warnings": [WILD], "drops": {WILD: 1},
        "certificate": {"subject": WILD, "serial": WILD, "expires_at": WILD}}),
    ([], {**CLIENT, "state": WILD, "last_error": WILD, "last_reason": WILD, "advice": WILD,
          "handshake_id": WILD}),
    ([], {**GATEWAY, "instance": WILD, "listen": [WILD], "crl_policy": WILD, "warnings": [WILD],
          "pools": [{"prefix": WILD, "used": 1, "size": 2}], "version": WILD,
          "offloads": {"tun": [WILD], "udp": [WILD]},
          "handshakes": {"accepted": 1, "refused": {WILD: 2}}}),
    (["sessions"], {"schema": "tund.sessions/1", "exit": 0, "sessions": [session(
        1, WILD, groups=[WILD], inner_addresses=[WILD], peer_address=WILD, state=WILD)]}),
    (["show", "session", "1"], {"schema": "tund.show/1", "exit": 0, "session": session(
        1, WILD, agent=WILD, subject=WILD, issuer=WILD, serial=WILD, role=WILD, drops={WILD: 1},
        handshake_id=WILD, access={"allow": [WILD], "accept": [WILD], "routes": [WILD]})}),
    (["show", "identity", "x"], {
        "schema": "tund.show/1", "exit": 0, "identity": WILD, "sessions": [],
        "addresses": [WILD], "certificates": [{
            "subject": WILD, "issuer": WILD, "serial": WILD, "first_at": WILD, "last_at": WILD,
            "expires_at": WILD, "denied": WILD}]}),
    (["disconnect", "x"], {"schema": "tund.disconnect/1", "exit": 0, "cut": [
        session(1, WILD, peer_address=WILD)]}),
    (["revoke", "x"], {"schema": "tund.revoke/1", "exit": 0, "denied": [dict.fromkeys(DENIED, WILD)],
                       "cut": [{"id": 1, "identity": WILD, "peer_address": WILD}],
                       "durable": False, "error": WILD}),
    (["unrevoke", "x"], {"schema": "tund.unrevoke/1", "exit": 0,
                         "undenied": [dict.fromkeys(DENIED, WILD)]}),
    (["revoked"], {"schema": "tund.revoked/1", "exit": 0, "revoked": [
        {**dict.fromkeys(DENIED, WILD), "reason": WILD, "denied_at": WILD}]}),
    (["status"], {"schema": "tund.error/1", "exit": 0, "error": WILD}),
    (["trust"], {**TRUST, "warnings": [WILD], "crl_policy": WILD,
                 "authorities": [{**dict.fromkeys(TRUST["authorities"][0], WILD),
                                  "list": dict.fromkeys(TRUST["authorities"][0]["list"], WILD)}],
                 "lists": [dict.fromkeys(TRUST["lists"][0], WILD)]}),
    (["metrics"], {**METRICS, "metrics": [
        {"name": "a", "type": "gauge", "help": WILD, "samples": []},
        {"name": "b", "type": "gauge", "help": "", "samples": [
            {"labels": {"x": WILD}, "value": 1}]}]}),
    (["verify", "CERTIFICATE"], {
        **VERIFY, **{key: WILD for key in VERIFY if isinstance(VERIFY[key], str)},
        "schema": "tund.verify/1", "routes": [WILD], "chain": [
            dict.fromkeys(VERIFY["chain"][0], WILD)], "blocks": [
            {"title": WILD, "kind": WILD, **{key: [WILD] for key in (
                "allow", "accept", "routes", "networks", "addresses")}}]}),
    (["watch"], (*({**dict.fromkeys(one, WILD), "schema": "x", "event": one["event"],
                  "session": session(1, WILD, role=WILD, inner_addresses=[WILD]),
                  "tunnel": {"state": WILD, "gateway": WILD, "transport": WILD}}
                 for one in [SNAPSHOT, *(one for one, _ in STORY[:-1])]),)),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_wild_names_stay_tame(daemon, directory, arguments, reply):
    (directory / "file").write_text(PEM)
    if isinstance(reply, tuple):
        reply = lines_of(*reply, event(1, "stopped", exit=0))
    done = tunctl("-s", daemon(reply).path, *(
        directory / "file" if word == "CERTIFICATE" else word for word in arguments))
    assert done.returncode == 0, done.stderr
    for line in (done.stdout + done.stderr).split(b"\n"):
        assert all(0x20 <= byte < 0x7f for byte in line), line
    assert b"\\x1b[2J" in done.stdout + done.stderr
    assert re.search(rb"\\x7f\\+x09\\+xc3\\+xab\\", done.stdout + done.stderr)


@pytest.mark.parametrize("command", ["status", "sessions", "revoked", "trust", "metrics"])
@pytest.mark.parametrize("junk", [None, 1, "x", [], [1, None, "x", [], {}], {}, {"a": [1]}, -1, 1.5, True],
                         ids=str)
def test_members_of_the_wrong_kind_do_no_harm(daemon, command, junk):
    for role in ("client", "gateway"):
        reply = {key: junk for key in {**CLIENT, **GATEWAY, **TRUST, **METRICS, "revoked": 0,
                                       "sessions": 0}}
        reply.update(schema="tund.x/1", exit=0, role=role)
        done = tunctl("-s", daemon(reply, name=f"{role}.sock").path, command)
        assert done.returncode == 0, done.stderr
        assert done.stdout or command == "metrics"


@pytest.mark.parametrize("junk", [None, 1, "x", [], [1, None, "x", [], {}], {}, -1, 1.5, True],
                         ids=str)
def test_members_of_the_wrong_kind_do_no_harm_to_verify_and_watch(daemon, directory, junk):
    (directory / "file").write_text(PEM)
    reply = {**dict.fromkeys(VERIFY, junk), "schema": "tund.verify/1", "exit": 0}
    done = tunctl("-s", daemon(reply, name="verify.sock").path, "verify", directory / "file")
    assert done.returncode == 0 and done.stdout
    events = [{**dict.fromkeys(one, junk), "schema": "tund.watch/1", "event": one["event"],
               "session": junk, "tunnel": junk} for one in [SNAPSHOT, *(one for one, _ in STORY)]]
    events[-1]["exit"] = 3
    done = tunctl("-s", daemon(lines_of(*events), name="watch.sock").path, "watch")
    assert (done.returncode, done.stderr) == (3, b"")
    assert len(done.stdout.splitlines()) >= len(events)


# ---- which daemon ----


def in_run(directory, *arguments, prepare=""):
    """tunctl where /run/tund is the directory and nothing else is in /run."""
    script = ("mount -t tmpfs none /run && mkdir /run/tund && mount --bind \"$0\" /run/tund && "
              + (prepare or ":") + " && exec \"$@\"")
    done = subprocess.run(["unshare", "--mount", "sh", "-c", script, directory, TUNCTL, *arguments],
                          capture_output=True, timeout=30)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_the_only_instance_needs_no_name(daemon, directory):
    daemon(GATEWAY, name="hq.sock")
    (directory / "hq.lock").touch()
    (directory / "file.sock").touch()  # no socket
    assert in_run(directory, "-j")[0] == 0


def test_an_instance_by_its_name(daemon, directory):
    daemon(GATEWAY, name="hq.sock")
    daemon(CLIENT, name="laptop.sock")
    assert json.loads(in_run(directory, "-i", "laptop", "-j")[1])["instance"] == "laptop"
    assert in_run(directory, "-i", "none")[0] == 3
    assert in_run(directory, "-i", "../tund/hq")[0] == 2


def test_several_instances_are_listed(daemon, directory):
    daemon(GATEWAY, name="hq.sock")
    daemon(CLIENT, name="lap\x1btop.sock")
    code, out, err = in_run(directory)
    assert (code, out) == (2, "")
    assert " hq" in err and " lap\\x1btop" in err and err.count("\n") == 1


def test_no_instance(directory):
    for prepare in ("", "umount /run/tund && rmdir /run/tund"):
        code, out, err = in_run(directory, prepare=prepare)
        assert (code, out) == (3, "")
        assert err == "tunctl: no tund is running (no socket in /run/tund)\n"


def test_a_path_too_long_for_a_socket(directory):
    done = tunctl("-s", directory / ("x" * 108))
    assert done.returncode == 2
    assert b"longer than 107 bytes" in done.stderr


def test_the_program_needs_no_privilege():
    assert not os.stat(TUNCTL).st_mode & (stat.S_ISUID | stat.S_ISGID)
