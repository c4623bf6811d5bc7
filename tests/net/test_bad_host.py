"""A host that has no room for the daemon, and a gateway that has no room, or no right, for a device.

    laptop, laptop2 --- wan --- gw --- corp

What cannot start says why in one line, leaves the host as it was and an instance that runs in peace.
What a gateway refuses to one device changes nothing for the others.
"""

import contextlib
import datetime
import errno
import os
import re
import signal
import socket
import time

import pytest

from lab import CORP, GATEWAY_V4, assert_unchanged, run, snapshot, wait_until
from peers import TUND, Tund, gateway_config, start_client, start_gateway
from rawpeer import (BYE_USER, DATA, DISCONNECT, DPD_REQUEST, DPD_RESPONSE, TERMINATE, Peer, assert_echo,
                     await_echoes, connected, echo_request, inside)
from traffic import assert_pings, ping

SOON = 6  # seconds within which a start must have failed: it waits 3 s for a predecessor


# Hosts without room.

def other_instance(lab, corp, **gateway):
    """A second gateway beside the one that runs, in nothing like it."""
    return Tund(lab, lab.gw, gateway_config(corp, **{
        "listen": ["198.51.100.2:4443"], "interface": "tund9", "pool": ["10.98.0.0/24"],
        **gateway}), name="second", ready="gateway ready")


def assert_cannot_start(tund, pattern):
    """One error line, a failure, and nothing left on the host."""
    before = snapshot(tund.ns)
    tund.start(wait=False)
    status = tund.process.wait(SOON)
    log = tund.process.log()
    errors = [line for line in log.splitlines() if re.search(r"\berror\b", line)]
    assert status == 1, f"exit {status}\n{log}"
    assert len(errors) == 1 and re.search(pattern, errors[0]), f"not only /{pattern}/:\n{log}"
    assert_unchanged(tund.ns, before, timeout=1)
    wait_until(lambda: tund.process.pid not in tund.ns.pids(), 1, "the end")


@contextlib.contextmanager
def taken_port(ns, kind, port):
    with inside(ns):
        sock = socket.socket(socket.AF_INET, kind)
    with sock:
        sock.bind(("0.0.0.0", port))
        if kind == socket.SOCK_STREAM:
            sock.listen()
        yield sock


def line_of(tund, option):
    tund.write_config()
    lines = tund.file.read_text().splitlines()
    number = next(n for n, line in enumerate(lines, 1) if line.strip().startswith(option + " ="))
    return f"{re.escape(str(tund.file))}:{number}: "


@pytest.mark.parametrize("kind", ["veth", "tuntap"])
def test_interface_name_is_taken(lab, corp, kind):
    made = ["tuntap", "add", "dev", "tund0", "mode", "tun"] if kind == "tuntap" else \
           ["link", "add", "tund0", "type", "veth", "peer", "name", "other"]
    lab.gw.ip(*made)
    gateway = Tund(lab, lab.gw, gateway_config(corp))
    assert_cannot_start(gateway, line_of(gateway, "interface") + ".*tund0 exists already")
    assert "tund0" in lab.gw.ip("link"), "a device of somebody else was removed"


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["tcp", "udp"])
def test_port_is_taken(lab, corp, kind):
    gateway = Tund(lab, lab.gw, gateway_config(corp))
    with taken_port(lab.gw, kind, 443):
        assert_cannot_start(gateway, line_of(gateway, "listen") +
                            r".*0\.0\.0\.0:443.*Address already in use.*stop what holds")


def test_address_is_not_this_hosts(lab, corp):
    gateway = Tund(lab, lab.gw, gateway_config(corp, listen=["203.0.113.9:443"]))
    assert_cannot_start(gateway, line_of(gateway, "listen") + r".*203\.0\.113\.9:443")


def spoil_socket(running, second):
    second.config.set("control", socket=running.socket)


def spoil_state(running, second):
    second.config.set("state", directory=running.dir / "state")


@pytest.mark.parametrize("spoil, pattern", [
    (spoil_socket, r"control\.socket.*another tund answers"),
    (spoil_state, "state/lock is locked.*state.directory"),
    (lambda running, second: second.config.set("gateway", interface="tund0"), "exists already"),
    (lambda running, second: second.config.set("gateway", listen=["198.51.100.2:443"]),
     "already in use"),
], ids=["control-socket", "state-directory", "interface", "port"])
def test_another_instance_has_it_and_is_not_disturbed(lab, corp, spoil, pattern):
    running = start_gateway(lab, corp)
    peer = connected(lab.laptop, corp.device("alice"))
    second = other_instance(lab, corp)
    spoil(running, second)
    assert_cannot_start(second, pattern)
    assert_echo(peer, peer, peer.inner4)
    assert running.session("alice")["state"] == "open"


def test_two_instances_side_by_side(lab, corp):
    """The control: the second one starts when it shares nothing."""
    running = start_gateway(lab, corp)
    second = other_instance(lab, corp).start()
    assert second.status()["state"] == running.status()["state"] == "running"


def test_control_socket_names_a_file(lab, corp):
    """A slip of the pen must not cost somebody's file."""
    gateway = Tund(lab, lab.gw, gateway_config(corp))
    precious = lab.dir / "precious"
    precious.write_text("do not delete\n")
    gateway.config.set("control", socket=precious)
    assert_cannot_start(gateway, r"control\.socket.*precious.*not a socket")
    assert precious.read_text() == "do not delete\n"


def test_stale_control_socket_is_replaced(lab, corp):
    gateway = Tund(lab, lab.gw, gateway_config(corp))
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(gateway.socket))
    gateway.start()
    assert gateway.status()["state"] == "running"


def test_host_without_ipv6_and_a_pool_that_has_it(lab, corp):
    lab.gw.run(["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1",
                "net.ipv6.conf.default.disable_ipv6=1"])
    gateway = Tund(lab, lab.gw, gateway_config(corp, listen=["0.0.0.0:443"]))
    assert_cannot_start(gateway, "fd99::1")
    assert not gateway.socket.exists(), "the control socket was left behind"


def garbage_database(state):
    state.mkdir()
    (state / "state.db").write_bytes(os.urandom(8192))


def database_of_somebody_else(state):
    state.mkdir()
    run(["/usr/bin/python3", "-c", "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]);"
         " db.execute('create table cats (name)'); db.commit()", state / "state.db"])


def half_a_database(state):
    state.mkdir()
    (state / "state.db").write_bytes(b"SQLite format 3\0" + bytes(600))


def unreachable(state):
    state.parent.chmod(0o700)


STATES = {
    "a-file": (lambda state: state.write_text("x"), "state"),
    "unreachable-for-the-user": (unreachable, "state.db.*Permission denied"),
    "garbage": (garbage_database, r"state\.db"),
    "half": (half_a_database, r"state\.db"),
    "of-another-program": (database_of_somebody_else, r"state\.db"),
    "a-directory-for-the-database": (lambda state: (state / "state.db").mkdir(parents=True),
                                     r"state\.db"),
    "a-link-for-the-database": (lambda state: (state.mkdir(), (state / "state.db").symlink_to(
        "/etc/hostname")), r"state\.db"),
}


@pytest.mark.parametrize("name", STATES)
def test_state_that_cannot_be_used(lab, corp, name):
    spoil, pattern = STATES[name]
    gateway = Tund(lab, lab.gw, gateway_config(corp))
    spoil(gateway.dir / "state")
    kept = gateway.dir / "state" / "state.db"
    content = kept.read_bytes() if kept.is_file() else None
    assert_cannot_start(gateway, pattern)
    assert content is None or kept.read_bytes() == content, "the evidence was overwritten"


def test_not_root(lab, corp):
    gateway = Tund(lab, lab.gw, gateway_config(corp))
    gateway.write_config()
    gateway.file.chmod(0o644)
    before = snapshot(lab.gw)
    done = lab.gw.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", TUND,
                       "--foreground", "--config", gateway.file], check=False, timeout=SOON)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done.stderr
    assert re.search("root", done.stderr), done.stderr
    assert_unchanged(lab.gw, before, timeout=1)


# Gateways without room.

def refused(ns, device, status, word):
    """A device that gets no session, and what it is told."""
    peer = Peer(ns, device)
    peer.login()
    answer = peer.connect(expect=status)
    assert answer.get("X-Reason") == word
    assert answer.addresses == []
    peer.close()


def leave(peer):
    peer.send(DISCONNECT, BYE_USER)
    peer.close()


def test_a_pool_that_is_full(lab, corp):
    """A /29: five devices. The sixth waits until one has left, and gets its address."""
    gateway = start_gateway(lab, corp, pool=["10.99.0.0/29"])
    peers = [connected(lab.laptop, corp.device(f"d{n}")) for n in range(5)]
    assert {peer.inner4 for peer in peers} == {f"10.99.0.{n}" for n in range(2, 7)}
    sixth = corp.device("sixth")
    for _ in range(2):
        refused(lab.laptop, sixth, 503, "full")
    gateway.process.wait_for(r"refused sixth.*: full: ")
    assert gateway.status()["handshakes"]["refused"]["full"] == 2
    assert gateway.status()["pools"] == [{"prefix": "10.99.0.0/29", "used": 5, "size": 5}]
    for n, peer in enumerate(peers):
        assert_echo(peer, peer, peer.inner4, n)

    leave(peers[2])
    wait_until(lambda: len(gateway.sessions()) == 4, 3, "the session's end", 0.05)
    late = connected(lab.laptop, sixth)
    assert late.inner4 == peers[2].inner4
    assert_echo(late, late, late.inner4)
    for n, peer in enumerate(peers[:2] + peers[3:]):
        assert_echo(peer, peer, peer.inner4, n)


def test_a_full_pool_of_one_family(lab, corp):
    """The other family has room: whoever wants both does not get half."""
    gateway = start_gateway(lab, corp, pool=["10.99.0.0/30", "fd99::/64"])
    first = connected(lab.laptop, corp.device("first"))
    refused(lab.laptop, corp.device("second"), 503, "full")
    pools = {pool["prefix"]: pool["used"] for pool in gateway.status()["pools"]}
    assert pools == {"10.99.0.0/30": 1, "fd99::/64": 1}, "a refused device kept an address"
    assert_echo(first, first, first.inner6)


def test_max_sessions(lab, corp):
    gateway = start_gateway(lab, corp, max_sessions=2)
    peers = [connected(lab.laptop, corp.device(f"d{n}")) for n in range(2)]
    refused(lab.laptop, corp.device("third"), 503, "full")
    for n, peer in enumerate(peers):
        assert_echo(peer, peer, peer.inner4, n)
    again = connected(lab.laptop, corp.device("d0"))  # replaces its own session
    assert_echo(again, again, again.inner4)
    leave(peers[1])
    wait_until(lambda: len(gateway.sessions()) == 1, 3, "the session's end", 0.05)
    connected(lab.laptop, corp.device("third"))


def read_bye(peer, seconds=5):
    """The text of the frame that ends it, and how the connection ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        got = peer.next(deadline - time.monotonic())
        if got and got[0] in (DISCONNECT, TERMINATE):
            return got[1][1:] if got[0] == DISCONNECT else got[1]
    raise AssertionError("no farewell")


def test_duplicate_replace(lab, corp):
    gateway = start_gateway(lab, corp, duplicate="replace")
    alice = corp.device("alice")
    first = connected(lab.laptop, alice)
    second = connected(lab.laptop, alice)
    assert b"replaced" in read_bye(first)
    assert_echo(second, second, second.inner4)
    assert second.inner4 == first.inner4
    assert gateway.session("alice")["state"] == "open"


def test_duplicate_refuse(lab, corp):
    gateway = start_gateway(lab, corp, duplicate="refuse")
    alice = corp.device("alice")
    first = connected(lab.laptop, alice)
    refused(lab.laptop, alice, 503, "duplicate-identity")
    assert_echo(first, first, first.inner4)
    gateway.process.wait_for("refused alice.*: duplicate-identity: ")
    leave(first)
    wait_until(lambda: not gateway.sessions(), 3, "the session's end", 0.05)
    connected(lab.laptop, alice)


def test_duplicate_allow(lab, corp):
    gateway = start_gateway(lab, corp, duplicate="allow")
    alice = corp.device("alice")
    first, second = connected(lab.laptop, alice), connected(lab.laptop, alice)
    assert first.inner4 != second.inner4 and first.inner6 != second.inner6
    for peer in (first, second):
        assert_echo(peer, peer, peer.inner4)
        assert_echo(peer, peer, peer.inner6)
    assert [s["identity"] for s in gateway.sessions()] == ["alice", "alice"]


@pytest.mark.serial
def test_idle_timeout(lab, corp):
    """Packets keep a session; what only shows that the peer is there does not."""
    gateway = start_gateway(lab, corp, idle_timeout="2s")
    busy = connected(lab.laptop, corp.device("busy"))
    idle = connected(lab.laptop, corp.device("idle"))
    start = time.monotonic()
    ended = None
    while time.monotonic() - start < 4.5:
        assert_echo(busy, busy, busy.inner4)
        if not ended:
            idle.send(DPD_REQUEST, b"x")
            got = idle.next(0.3)
            while got and got[0] == DPD_RESPONSE:
                got = idle.next(0.3)
            if got and got[0] in (DISCONNECT, TERMINATE):
                ended = time.monotonic() - start, got[1]
    assert ended and 1.5 <= ended[0] <= 3.5 and b"idle-timeout" in ended[1], ended
    assert [s["identity"] for s in gateway.sessions()] == ["busy"]
    gateway.process.wait_for("idle ended: idle-timeout")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stop", "kill"])
def test_addresses_stick_to_identities(lab, corp, number):
    """Across disconnects in another order, and a gateway's end, whichever way."""
    gateway = start_gateway(lab, corp)
    devices = {name: corp.device(name) for name in ("alice", "bob", "carol")}
    before = {}
    for name, device in devices.items():
        peer = connected(lab.laptop, device)
        before[name] = peer.answer.addresses
        leave(peer)
    time.sleep(0.3)
    assert len({str(a) for a in before.values()}) == 3
    for name in ("carol", "alice", "bob"):
        peer = connected(lab.laptop, devices[name])
        assert peer.answer.addresses == before[name]
        leave(peer)
    gateway.process.send_signal(number)
    gateway.process.wait()
    gateway.start()
    for name in ("bob", "newcomer", "carol", "alice"):
        peer = connected(lab.laptop, devices.get(name) or corp.device(name))
        if name in before:
            assert peer.answer.addresses == before[name]
        else:
            assert peer.answer.addresses not in before.values()


# Access, enforced on every packet.

def tcp_connects(ns, address, port, source=None):
    """True, or the error's number."""
    with inside(ns):
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    with sock:
        sock.settimeout(1.5)
        try:
            sock.connect((address, port))
            return True
        except OSError as error:
            return error.errno or "timeout"


@contextlib.contextmanager
def tcp_servers(ns, address, *ports):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with contextlib.ExitStack() as stack:
        for port in ports:
            with inside(ns):
                sock = stack.enter_context(socket.socket(family))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((address, port))
            sock.listen()
        yield


def udp_arrives(source, target, address, port, inner):
    """Whether a datagram gets there, and its answer back."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with inside(target):
        server = socket.socket(family, socket.SOCK_DGRAM)
    with inside(source):
        client = socket.socket(family, socket.SOCK_DGRAM)
    with server, client:
        server.bind((address, port))
        client.bind((inner, 0))
        client.sendto(b"there", (address, port))
        server.settimeout(0.5)
        client.settimeout(0.5)
        try:
            data, peer = server.recvfrom(16)
            server.sendto(b"back", peer)
            return client.recv(16) == b"back"
        except OSError:
            return False


def drops(gateway, word):
    return gateway.status()["drops"].get(word, 0)


def test_access_both_ways(lab, corp):
    """Two blocks of one identity add up; what neither allows does not pass, and is counted."""
    config = gateway_config(corp)
    config.remove('access "everyone"')
    config.set('access "web"', match=["o=Corp"], allow=[f"{CORP[4]}/32 tcp/80,8000-8002"])
    config.set('access "eng"', match=["ou=Eng"], allow=[f"{CORP[4]} icmp", f"{CORP[6]} udp/53"],
               accept=[f"{CORP[4]} tcp/2222"])
    config.set('access "sales"', match=["ou=Sales"], allow=["0.0.0.0/0 any", "::/0 any"])
    gateway = Tund(lab, lab.gw, config).start()
    client = start_client(lab, corp, corp.device("alice", unit="Eng"))
    v4, v6 = client.inner(4), client.inner(6)

    with tcp_servers(lab.corp, CORP[4], 80, 81, 8000, 8002, 8003):
        assert [tcp_connects(lab.laptop, CORP[4], port) for port in (80, 8000, 8002)] == [True] * 3
        before = drops(gateway, "no-access")
        for port in (81, 8003):
            # The device is told at once instead of waiting.
            assert tcp_connects(lab.laptop, CORP[4], port) in (errno.EHOSTUNREACH, errno.EACCES,
                                                              errno.ECONNREFUSED)
        assert drops(gateway, "no-access") >= before + 2
    with tcp_servers(lab.corp, CORP[6], 80):
        assert tcp_connects(lab.laptop, CORP[6], 80) is not True
    assert udp_arrives(lab.laptop, lab.corp, CORP[6], 53, v6)
    assert not udp_arrives(lab.laptop, lab.corp, CORP[6], 54, v6)
    assert not udp_arrives(lab.laptop, lab.corp, CORP[4], 53, v4)
    assert ping(lab.laptop, CORP[4], 2, wait=1) == 2
    assert ping(lab.laptop, CORP[6], 1, wait=1) == 0

    with tcp_servers(lab.laptop, v4, 2222, 2223):
        assert tcp_connects(lab.corp, v4, 2222) is True
        before = drops(gateway, "no-access")
        assert tcp_connects(lab.corp, v4, 2223) is not True
        assert drops(gateway, "no-access") > before
    assert not udp_arrives(lab.corp, lab.laptop, v4, 2222, CORP[4])
    assert ping(lab.corp, v4, 1, wait=1) == 0
    assert ping(lab.corp, v6, 1, wait=1) == 0

    code, shown = gateway.ctl("show", "session", str(gateway.session("alice")["id"]))
    assert code == 0 and shown["session"]["drops"]["no-access"] > 0
    assert sorted(shown["session"]["groups"]) == ["eng", "web"]


def test_no_allow_reaches_nothing(lab, corp):
    """Not even the gateway's own inner address, nor another device."""
    config = gateway_config(corp)
    config.remove('access "everyone"')
    config.set('access "none"', match=["o=Corp"])
    gateway = Tund(lab, lab.gw, config).start()
    peer, other = (connected(lab.laptop, corp.device(name)) for name in ("alice", "bob"))
    for n, (source, target) in enumerate((
            (peer.inner4, CORP[4]), (peer.inner6, CORP[6]), (peer.inner4, "10.99.0.1"),
            (peer.inner4, GATEWAY_V4[0]), (peer.inner4, other.inner4))):
        peer.send(DATA, echo_request(source, n, target))
    assert await_echoes([peer], range(5), 0.7) == {}
    assert other.next(0.1) is None
    assert drops(gateway, "no-access") == 5
    assert peer.probe()


FOREIGN = {"another-device": "10.99.0.77", "corporate": CORP[4], "gateway": "10.99.0.1",
           "anywhere": "192.0.2.1", "v6": "fd99::dead:1", "v6-corporate": CORP[6]}


def test_foreign_inner_source_is_dropped_and_counted(lab, corp):
    gateway = start_gateway(lab, corp)
    peer, other = (connected(lab.laptop, corp.device(name)) for name in ("alice", "bob"))
    path = peer.dtls()
    assert path.handshake()
    sources = [*FOREIGN.values(), other.inner4, other.inner6]
    for channel in (peer, path):
        for n, source in enumerate(sources):
            target = "fd50::10" if ":" in source else CORP[4]
            channel.send(DATA, echo_request(source, n, target))
    assert await_echoes([peer, path, other], range(len(sources)), 0.7) == {}
    assert drops(gateway, "foreign-source") == 2 * len(sources)
    _, shown = gateway.ctl("show", "session", str(gateway.session("alice")["id"]))
    assert shown["session"]["drops"] == {"foreign-source": 2 * len(sources)}
    _, shown = gateway.ctl("show", "session", str(gateway.session("bob")["id"]))
    assert shown["session"]["drops"] == {}
    assert_echo(path, path, peer.inner4, 99)


def test_what_is_no_packet_is_dropped_and_counted(lab, corp):
    gateway = start_gateway(lab, corp)
    peer = connected(lab.laptop, corp.device("alice"))
    whole = echo_request(peer.inner4, 1)
    broken = [b"\0", b"\xff" * 40, whole[:19], whole[:27], b"\x46" + whole[1:20],
              whole[:2] + b"\xff\xff" + whole[4:], b"\x60" + bytes(38), b"\x45" * 1000]
    for packet in broken:
        peer.send(DATA, packet)
    assert peer.probe()
    _, shown = gateway.ctl("show", "session", str(gateway.session("alice")["id"]))
    assert shown["session"]["drops"] == {"not-ip": 2, "cut-short": 2, "lying-length": 3,
                                         "malformed": 1}
    assert_echo(peer, peer, peer.inner4, 7)


# Time.

@pytest.mark.serial
def test_certificate_that_expires_while_connected(lab, corp):
    gateway = start_gateway(lab, corp)
    end = datetime.datetime.utcnow().replace(microsecond=0) + datetime.timedelta(seconds=6)
    short = corp.device("alice", not_after=end)
    peer = connected(lab.laptop, short)
    steady = connected(lab.laptop, corp.device("bob"))
    assert_echo(peer, peer, peer.inner4)
    text = read_bye(peer, 9)
    late = (datetime.datetime.utcnow() - end).total_seconds()
    assert b"expired" in text and 0 <= late < 2.5, (text, late)
    assert [s["identity"] for s in gateway.sessions()] == ["bob"]
    gateway.process.wait_for(r"alice.*\bexpired\b")
    again = Peer(lab.laptop, short)
    assert again.read_end() == "alert 45"
    assert_echo(steady, steady, steady.inner4)


@pytest.mark.serial
def test_client_whose_certificate_expires_says_so(lab, corp):
    """Our own client takes the routes back and tells the user what to do."""
    before = snapshot(lab.laptop)
    gateway = start_gateway(lab, corp)
    end = datetime.datetime.utcnow().replace(microsecond=0) + datetime.timedelta(seconds=6)
    client = start_client(lab, corp, corp.device("alice", not_after=end))
    assert_pings(lab.laptop, CORP[4], count=1)

    def look():
        code, status = client.ctl("status")
        return status.get("last_reason") in ("expired", "cert-expired") and status

    status = wait_until(look, 12, "a client that knows that it has expired", 0.2)
    assert status["state"] != "up", status
    assert gateway.sessions() == []
    assert_unchanged(lab.laptop, before)
