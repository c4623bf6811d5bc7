"""tunctl alone, before a daemon that is only pretended: what it asks, what it prints, how it exits.

    tunctl --- unix socket --- a few lines of Python
"""

import datetime
import json
import os
import shutil
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
        session(170, "berlin.sites.corp.example", state="away", peer_address=None)]}
    code, out, _ = ask(daemon(reply), "sessions")
    rows = [line.split() for line in out.splitlines()]
    assert code == 0
    assert rows == [
        "ID IDENTITY GROUPS ADDRESS PEER TRANSPORT SINCE RX TX".split(),
        "2 alice engineering,ops 10.99.0.2,fd99::2 192.0.2.7:50312 DTLS "
        "2026-01-02 03:04 118 MiB 4.5 KiB".split(),
        "17 bob - 10.99.0.2,fd99::2 192.0.2.7:50312 TLS 2026-01-02 03:04 0 B 4.5 KiB".split(),
        "170 berlin.sites.corp.example engineering,ops 10.99.0.2,fd99::2 - away "
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


# ---- a certificate's file ----

PEM = "-----BEGIN CERTIFICATE-----\nMIIBleaf\n-----END CERTIFICATE-----\n"
CHAIN = PEM.replace("leaf", "root")
KEY = "-----BEGIN PRIVATE KEY-----\nMIISECRET\n-----END PRIVATE KEY-----\n"


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
    (["reload"], "`reload` is not built yet"),
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
    assert b"reload" not in usage.stdout
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
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_wild_names_stay_tame(daemon, arguments, reply):
    done = tunctl("-s", daemon(reply).path, *arguments)
    assert done.returncode == 0, done.stderr
    for line in (done.stdout + done.stderr).split(b"\n"):
        assert all(0x20 <= byte < 0x7f for byte in line), line
    assert b"\\x1b[2J" in done.stdout + done.stderr
    assert b"\\x7f\\x09\\xc3\\xab\\" in done.stdout + done.stderr


@pytest.mark.parametrize("command", ["status", "sessions", "revoked"])
@pytest.mark.parametrize("junk", [None, 1, "x", [], [1, None, "x", [], {}], {}, {"a": [1]}, -1, 1.5, True],
                         ids=str)
def test_members_of_the_wrong_kind_do_no_harm(daemon, command, junk):
    for role in ("client", "gateway"):
        reply = {key: junk for key in {**CLIENT, **GATEWAY, "revoked": 0, "sessions": 0}}
        reply.update(schema="tund.x/1", exit=0, role=role)
        done = tunctl("-s", daemon(reply, name=f"{role}.sock").path, command)
        assert done.returncode == 0, done.stderr
        assert done.stdout


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
