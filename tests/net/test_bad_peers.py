"""What strangers, and devices gone mad, may send to a gateway: all of it is refused or dropped, counted by
its reason, and costs the session beside it not one packet.

    laptop (the good session: 200 datagrams a second, both ways) ---+
                                                                    wan --- gw --- corp
    rogue (connections, datagrams) ---------------------------------+
                                                                    |
    forged and replayed datagrams in the laptop's name -------------+

The gateway and its good session live as long as this file.
"""

import contextlib
import os
import random
import re
import socket
import struct
import threading
import time
from pathlib import Path

import pytest

from beside import Beside, nothing_lost
from forged import PORT, Capture, app_id_of, client_hello, hello, packet, record
from lab import GATEWAY_NAME, GATEWAY_V4, GATEWAY_V6, Lab, wait_until
from openssl import Tls
from peers import TUND, Tund, gateway_config, start_client
from pki import Corp
from rawpeer import (INIT, TUNNEL, Closed, Peer, assert_echo, connected, frame, inside, is_readable,
                     open_socket, request)

HANDSHAKE_TIMEOUT = 3
RATE = 200
LIMITS = {"handshake_timeout": f"{HANDSHAKE_TIMEOUT}s", "handshakes": 1000,
          "handshakes_per_source": 200, "pending_per_source": 150}


class World(Beside):
    def __init__(self, limits=None, **gateway):
        self.lab = Lab(laptops=("laptop", "rogue", "other"))
        self.corp = Corp(self.lab.dir / "pki", GATEWAY_NAME, GATEWAY_V4)
        config = gateway_config(self.corp, **{"dpd": "10s", "keepalive": "30s", **gateway})
        config.set("limits", **{**LIMITS, **(limits or {})})
        self.gateway = Tund(self.lab, self.lab.gw, config).start()
        self.capture = Capture(self.lab.wan, "to-laptop")
        self.client = start_client(self.lab, self.corp, self.corp.device("alice"))
        self.client.wait_status(transport="dtls")
        self.mad = self.corp.device("mad")
        self.app_id = app_id_of(self.capture.read())

    # Looking.

    def refused(self, word):
        return self.gateway.status()["handshakes"]["refused"].get(word, 0)

    @contextlib.contextmanager
    def undisturbed(self, room=30 << 20):
        """Meanwhile nothing of the good session is lost; afterwards nothing is left in the engine but
        at most so many bytes, which the allocator may keep for the next."""
        session, log = self.gateway.session("alice"), self.gateway.process.mark()
        memory, descriptors = self.memory(), self.descriptors()
        with nothing_lost(self.lab, self.client.inner(), RATE):
            yield
        now = self.gateway.session("alice")
        for key in ("id", "transport", "inner_addresses", "connected_at", "peer_address"):
            assert now[key] == session[key], f"the good session's {key} changed"
        assert "alice: " not in self.gateway.process.log(log), "the good session was disturbed"
        assert self.memory() - memory < room, "the engine grew"
        wait_until(lambda: self.descriptors() <= descriptors, 6, "descriptors given back", 0.1)
        assert [s["identity"] for s in self.gateway.sessions()] == ["alice"]

    @contextlib.contextmanager
    def counted(self, **wanted):
        """The drops that come meanwhile are exactly these; dashes are underscores. What the gateway's
        own kernel reports to groups, into the device and at times of its choosing, is not among
        them."""
        before = self.drops()
        yield
        wanted = {word.replace("_", "-"): count for word, count in wanted.items()}

        def more():
            now = self.drops()
            return {word: now[word] - before.get(word, 0) for word in now
                    if now[word] != before.get(word, 0) and word != "multicast"}

        try:
            wait_until(lambda: more() == wanted, 2, "drops")
        except AssertionError:
            assert more() == wanted

    # Sending.

    def tcp(self, ns=None):
        with inside(ns or self.lab.rogue):
            sock = socket.socket()
        sock.settimeout(8)
        sock.connect((GATEWAY_V4[0], PORT))
        return sock

    def tls(self):
        """A device of the company that has lost its mind."""
        return Peer(self.lab.rogue, self.mad)

    def inject(self, *datagrams, source=None):
        """Datagrams in the name of the laptop, or of whoever."""
        source = source or self.capture.source
        with inside(self.lab.wan):
            sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        with sock:
            for datagram in datagrams:
                sock.sendto(packet(source, self.capture.target, datagram),
                            (self.capture.target[0], 0))


@pytest.fixture(scope="module")
def world():
    with World() as world:
        yield world


# The TLS port.

def drained(sock, seconds=5):
    """How long until the other end has closed; what came before that is thrown away."""
    start = time.monotonic()
    sock.settimeout(seconds)
    try:
        while sock.recv(65536):
            pass
    except ConnectionError:
        pass
    return time.monotonic() - start


GARBAGE = {
    "random": lambda: os.urandom(500),
    "http": lambda: b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "ssh": lambda: b"SSH-2.0-OpenSSH_9.2\r\n",
    "ssl-2-hello": lambda: b"\x80\x2e\x01\x00\x02" + bytes(43),
    "record-too-long": lambda: b"\x16\x03\x01\xff\xff" + bytes(600),
    "empty-records": lambda: b"\x16\x03\x01\x00\x00" * 100,
    "alert-first": lambda: b"\x15\x03\x01\x00\x02\x02\x28",
    "data-first": lambda: b"\x17\x03\x03\x00\x20" + bytes(32),
    "hello-with-a-lying-length": lambda: client_hello()[:6] + b"\xff\xff\xff" + bytes(2000),
    "hello-then-garbage": lambda: client_hello() + os.urandom(2000),
    "hello-twice": lambda: client_hello() * 2,
    "megabyte": lambda: os.urandom(1 << 20),
}


def test_garbage_on_the_tls_port(world):
    with world.undisturbed():
        for name, make in GARBAGE.items():
            mark = world.gateway.process.mark()
            with world.tcp() as sock:
                with contextlib.suppress(ConnectionError):
                    sock.sendall(make())
                assert drained(sock) < HANDSHAKE_TIMEOUT - 0.5, f"{name}: not closed"
            log = world.gateway.process.log(mark)
            assert len(log.splitlines()) <= 3, f"{name}: too much was logged:\n{log}"
    assert world.refused("protocol-error") > 0


def test_connections_that_come_and_go(world):
    """Closed or reset at once, in every stage of the handshake."""
    hello = client_hello()
    with world.undisturbed():
        for cut in (0, 1, 5, 6, 50, len(hello) - 1, len(hello)):
            for reset in (False, True):
                sock = world.tcp()
                sock.sendall(hello[:cut])
                if reset:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.close()
        peer = world.tls()
        peer.close()
        peer = world.tls()
        peer.write(b"POST / HT")
        peer.close()


@pytest.mark.serial
def test_slow_and_silent_ones_run_out_of_time(world):
    """Whether they say nothing, half, or a byte now and then: all end with handshake-timeout."""
    hello, ends, errors = client_hello(), {}, []
    before = world.refused("handshake-timeout")

    def run(name, sock, trickle=b"", send=None):
        start = time.monotonic()
        send = send or sock.sendall
        try:
            sock.settimeout(0.5)
            for _ in range(20):
                with contextlib.suppress(OSError, Closed):
                    send(trickle[:1])
                trickle = trickle[1:]
                with contextlib.suppress(socket.timeout):
                    if not sock.recv(65536):
                        break
        except ConnectionError:
            pass
        except Exception as error:
            errors.append((name, error))
        ends[name] = time.monotonic() - start
        sock.close()

    with world.undisturbed():
        slow = {"silent": (world.tcp(), b""), "half-hello": (world.tcp(), b""),
                "byte-by-byte-hello": (world.tcp(), hello)}
        slow["half-hello"][0].sendall(hello[:len(hello) // 2])
        peers = {name: world.tls() for name in ("nothing", "half-request", "byte-by-byte")}
        peers["half-request"].write(b"POST / HTTP/1.1\r\nHost: vpn\r\nContent-Le")
        body = world.tls()
        body.write(b"POST / HTTP/1.1\r\nHost: vpn\r\nContent-Length: 8000\r\n\r\nonly this")
        logged_in = world.tls()
        logged_in.login()
        threads = [threading.Thread(target=run, args=(name, sock, text))
                   for name, (sock, text) in slow.items()]
        threads += [threading.Thread(target=run, args=(
            name, peer.sock, request("POST", "/", [("X-Pad", "x" * 99)]) if "byte" in name else b"",
            lambda text, peer=peer: text and peer.write(text))) for name, peer in {
                **peers, "half-body": body, "logged-in": logged_in}.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors, errors
        for name, seconds in ends.items():
            assert seconds < HANDSHAKE_TIMEOUT + 1.5, f"{name} was let live for {seconds} s"
            assert seconds > HANDSHAKE_TIMEOUT - 1.5, f"{name} was cut after {seconds} s"
        assert world.refused("handshake-timeout") - before == len(ends) == 8


HEAD = b"POST / HTTP/1.1\r\nHost: vpn\r\n"

REQUESTS = {
    "huge-field": (413, HEAD + b"X: " + b"a" * (1 << 20) + b"\r\n\r\n"),
    "huge-field-without-an-end": (413, HEAD + b"X: " + b"a" * (1 << 20)),
    "huge-name-of-a-field": (413, HEAD + b"a" * (1 << 20) + b": x\r\n\r\n"),
    "megabyte-of-fields": (413, HEAD + b"".join(b"X-%d: y\r\n" % n for n in range(1 << 17)) + b"\r\n"),
    "megabyte-without-a-line-end": (413, b"a" * (1 << 20)),
    "megabyte-of-line-ends": ((400, 413), b"\r\n" * (1 << 19)),
    "megabyte-of-zeros": ((400, 413), bytes(1 << 20)),
    "megabyte-of-cookies": (413, HEAD + b"Cookie: " + b"webvpn=a; " * (1 << 17) + b"\r\n\r\n"),
    "endless-chunks": (400, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * (1 << 17)),
    "huge-target": (413, b"POST /" + b"a" * (1 << 20) + b" HTTP/1.1\r\n\r\n"),
    "many-fields": (413, HEAD + b"X: y\r\n" * 1000 + b"\r\n"),
    "endless-head": (413, HEAD + b"X: y\r\n" * 100000),
    "body-over-limit": (413, HEAD + b"Content-Length: 8193\r\n\r\n" + bytes(8193)),
    "body-that-is-only-announced": (413, HEAD + b"Content-Length: 999999999\r\n\r\n"),
    "length-beyond-64-bits": ((400, 413), HEAD + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n"),
    "negative-length": (400, HEAD + b"Content-Length: -1\r\n\r\n"),
    "length-with-a-sign": (400, HEAD + b"Content-Length: +1\r\n\r\nx"),
    "two-lengths": (400, HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx"),
    "chunked": (400, HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"),
    "chunked-and-length": (400, HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\nx"),
    "http-1.0": (505, b"POST / HTTP/1.0\r\n\r\n"),
    "http-2-preface": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "http-0.9": ((400, 505), b"GET /\r\n\r\n"),
    "bare-lf": (400, HEAD.replace(b"\r", b"") + b"\n"),
    "bare-cr": (400, HEAD.replace(b"\n", b"") + b"X: y\r\n\r\n"),
    "folded-field": (400, HEAD + b"X: a\r\n b\r\n\r\n"),
    "space-before-colon": (400, HEAD + b"X : a\r\n\r\n"),
    "field-without-colon": (400, HEAD + b"nothing\r\n\r\n"),
    "empty-field-name": (400, HEAD + b": a\r\n\r\n"),
    "zero-byte": (400, HEAD + b"X: a\0b\r\n\r\n"),
    "garbage": (400, b"\r\n\r\n" + bytes(range(256))),
    "pipelined": (400, (HEAD + b"Content-Length: 0\r\n\r\n") * 2),
    "smuggled-behind-a-body": (400, HEAD + b"Content-Length: 1\r\n\r\nxPOST / HTTP/1.1\r\n\r\n"),
    "another-method": (405, b"PUT / HTTP/1.1\r\nHost: vpn\r\n\r\n"),
    "lower-case-method": (405, b"post / HTTP/1.1\r\nHost: vpn\r\n\r\n"),
    "connect-elsewhere": (404, b"CONNECT www.example:443 HTTP/1.1\r\nHost: www.example\r\n\r\n"),
    "connect-below": (404, b"CONNECT " + TUNNEL.encode() + b"/.. HTTP/1.1\r\nHost: x\r\n\r\n"),
    "cookie-of-nobody": (401, request("CONNECT", TUNNEL, [("Cookie", "webvpn=" + "0" * 64)])),
    "cookie-that-is-long": ((400, 401, 413), request("CONNECT", TUNNEL,
                                                     [("Cookie", "webvpn=" + "0" * 9000)])),
    "cookie-of-bytes": ((400, 401), request("CONNECT", TUNNEL, [("Cookie", "webvpn=%00%n'\"")])),
}


def ask_anything(peer, text):
    """(status, the reason word), or (None, how it was closed)."""
    # A peer that is refused may find its connection closed before all is written.
    with contextlib.suppress(OSError):
        peer.sock.settimeout(2)
        for at in range(0, len(text), 16000):
            peer.write(text[at:at + 16000])
    try:
        answer = peer.read_answer()
        return answer.status, answer.get("X-Reason")
    except (Closed, OSError) as closed:
        return None, str(closed)


def test_requests_that_are_wrong(world):
    """Each is answered with its status and closed."""
    failures = []
    with world.undisturbed():
        for name, (status, text) in REQUESTS.items():
            before = world.refused("protocol-error")
            peer = world.tls()
            got = ask_anything(peer, text)
            if got not in [(each, "protocol-error")
                           for each in (status if isinstance(status, tuple) else (status,))]:
                failures.append(f"{name}: {got}")
                peer.close()
                continue
            with contextlib.suppress(Closed):
                peer.read_end(3)
            peer.close()
            wait_until(lambda: world.refused("protocol-error") == before + 1, 2, f"{name} counted")
    assert not failures, "\n".join(failures)


def test_sixteen_requests_are_enough(world):
    with world.undisturbed():
        peer = world.tls()
        for _ in range(16):
            assert peer.ask(request("POST", "/", body=INIT)).status == 200
        answer = peer.ask(request("POST", "/", body=INIT))
        assert (answer.status, answer.get("X-Reason")) == (503, "protocol-error")
        assert peer.read_end() in ("close_notify", None)


OFFERS = [("X-CSTP-MTU", "0"), ("X-CSTP-MTU", "-1"), ("X-CSTP-MTU", "99999999999"),
          ("X-CSTP-Base-MTU", "0"), ("X-CSTP-Base-MTU", "1"), ("X-CSTP-Base-MTU", "65536"),
          ("X-CSTP-Base-MTU", "4294967297"), ("X-CSTP-Address-Type", "IPv9"),
          ("X-DTLS-CipherSuite", "x" * 4000), ("X-DTLS-Master-Secret", "zz" * 48),
          ("X-CSTP-Hostname", "\x1b[2J" + "a" * 3000), ("User-Agent", "%n%s" * 500),
          ("X-CSTP-Accept-Encoding", "lzs,deflate,gzip")]


def test_offers_that_make_no_sense(world):
    with world.undisturbed():
        for offer in OFFERS:
            peer = Peer(world.lab.rogue, world.mad)
            peer.login()
            text = request("CONNECT", TUNNEL, [
                ("Cookie", f"webvpn={peer.cookie}"), ("X-CSTP-Version", "1"),
                ("X-CSTP-Address-Type", "IPv4"), offer])
            status, _ = ask_connect(peer, text)
            assert status in (200, 400, 503), offer
            if status == 200:
                assert 576 <= int(peer.answer.get("X-CSTP-MTU")) <= 9216, offer
                assert peer.probe(), offer
                with contextlib.suppress(Closed):
                    peer.send(5, b"\xb0")
            peer.close()
        wait_until(lambda: len(world.gateway.sessions()) == 1, 3, "their ends", 0.05)
    assert world.gateway.process.log().isascii(), "bytes of a peer went to the log"


def ask_connect(peer, text):
    peer.write(text)
    peer.answer = peer.read_answer()
    return peer.answer.status, peer.answer.get("X-Reason")


@pytest.mark.serial
def test_two_hundred_that_stall(world):
    """No more of one source are kept than the limit says; whoever comes from elsewhere is served."""
    bob = world.corp.device("bob")
    turned, late = world.refused("rate-limited"), world.refused("handshake-timeout")
    limit = LIMITS["pending_per_source"]
    with world.undisturbed():
        time.sleep(1)  # what came before has left its source's rate
        stalled = [world.tcp() for _ in range(200)]
        wait_until(lambda: world.refused("rate-limited") - turned == 200 - limit, 3, "turned away")
        peer = connected(world.lab.other, bob)
        assert_echo(peer, peer, peer.inner4)
        peer.send(5, b"\xb0")
        peer.close()
        wait_until(lambda: world.refused("handshake-timeout") - late == limit,
                   HANDSHAKE_TIMEOUT + 3, "timeouts")
        for sock in stalled:
            assert drained(sock, 3) < 3
            sock.close()
    world.gateway.process.wait_for(r"refused 10\.77\.2\.2:\d+: rate-limited: ")
    lines = re.findall("rate-limited", world.gateway.process.log())
    assert len(lines) <= 10, f"{len(lines)} lines about connections that were turned away"


# 200 of each, half of them over IPv6, at every stage up to the session.

ROOMY = {"handshake_timeout": "6s", "handshakes": 100000, "handshakes_per_source": 100000,
         "pending": 10000, "pending_per_source": 10000}
ADDRESSES = (GATEWAY_V4[0], GATEWAY_V6[0])
PENDING_MAX = 160 << 10  # bytes of one that is not yet a session


@pytest.fixture(scope="module")
def roomy():
    with World(ROOMY, duplicate="allow", dpd="2s") as world:
        yield world


def stall_at_once(world, address, text=b""):
    sock = open_socket(world.lab.rogue, socket.SOCK_STREAM, address)
    sock.sendall(text)
    return sock


def stall_before_finished(world, address):
    """All of the client's last flight but its last bytes, which are of Finished."""
    sock, tls = open_socket(world.lab.rogue, socket.SOCK_STREAM, address), Tls(world.mad)
    tls.handshake()
    sock.sendall(tls.drain())
    while not tls.handshake():
        tls.feed(sock.recv(65536))
    sock.sendall(tls.drain()[:-20])
    return sock


def stall_in_http(world, address, text=b"", login=False):
    peer = Peer(world.lab.rogue, world.mad, address)
    if login:
        peer.login()
    if text:
        peer.write(text)
    return peer.sock


HELLO = client_hello()
STAGES = {
    "after-accept": stall_at_once,
    "in-a-record's-header": lambda world, to: stall_at_once(world, to, HELLO[:3]),
    "in-the-hello": lambda world, to: stall_at_once(world, to, HELLO[:len(HELLO) // 2]),
    "after-the-server's-flight": lambda world, to: stall_at_once(world, to, HELLO),
    "before-finished": stall_before_finished,
    "after-the-handshake": stall_in_http,
    "in-the-request's-line": lambda world, to: stall_in_http(world, to, b"POST / HT"),
    "in-the-fields": lambda world, to: stall_in_http(
        world, to, b"POST / HTTP/1.1\r\nHost: vpn\r\nContent-Le"),
    "in-the-body": lambda world, to: stall_in_http(
        world, to, b"POST / HTTP/1.1\r\nHost: vpn\r\nContent-Length: 8000\r\n\r\nonly this"),
    "after-the-login": lambda world, to: stall_in_http(world, to, login=True),
    "in-connect": lambda world, to: stall_in_http(
        world, to, f"CONNECT {TUNNEL} HTTP/1.1\r\nCookie: webvpn=".encode(), login=True),
}


def stall(world, stage):
    """200 of it; they are there all at once."""
    limit, started = int(ROOMY["handshake_timeout"][:-1]), time.monotonic()
    stalled = [STAGES[stage](world, ADDRESSES[n % 2]) for n in range(200)]
    closed = [sock for sock in stalled if is_closed(sock)]
    assert not closed or time.monotonic() - started > limit - 0.5, f"{len(closed)} cut too soon"
    return stalled


@pytest.mark.serial
@pytest.mark.parametrize("stages", [list(STAGES)[:4], list(STAGES)[4:8], list(STAGES)[8:]],
                         ids=lambda stages: "+".join(stages))
def test_two_hundred_that_stall_at_every_stage(roomy, many_files, stages):
    """Each ends with handshake-timeout, in its time; meanwhile others connect."""
    before = roomy.refused("handshake-timeout")
    with roomy.undisturbed(room=len(stages) * 200 * PENDING_MAX):
        stalled = []
        for stage in stages:
            stalled += stall(roomy, stage)
            for address in ADDRESSES:
                peer = connected(roomy.lab.other, roomy.mad, address)
                assert_echo(peer, peer, peer.inner4)
                peer.send(5, b"\xb0")
                peer.close()
        wait_until(lambda: roomy.refused("handshake-timeout") - before == len(stalled), 12,
                   "the timeouts", 0.1)
        for sock in stalled:
            assert drained(sock, 3) < 3
            sock.close()


def is_closed(sock):
    """Whether the other end has; what it has said stays."""
    try:
        return is_readable(sock, 0) and sock.recv(1, socket.MSG_PEEK) == b""
    except OSError:
        return True


@pytest.mark.serial
def test_two_hundred_sessions_that_do_not_read(roomy, many_files):
    """Their windows are shut while the network sends to them: what does not fit is dropped, and they
    end as peers that do not answer."""
    peers = []
    with roomy.undisturbed():
        for n in range(200):
            peer = Peer(roomy.lab.rogue, roomy.mad, ADDRESSES[n % 2])
            peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            peer.login()
            peer.connect(dtls=None)
            peers.append(peer)
        with inside(roomy.lab.corp):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for _ in range(100):
            for peer in peers:
                with contextlib.suppress(OSError):
                    sock.sendto(bytes(1300), (peer.inner4, 9))
            time.sleep(0.02)  # not more than the device's queue holds
        wait_until(lambda: not [s for s in roomy.gateway.sessions()
                                if s["identity"] == "mad" and s["state"] == "open"],
                   30, "their ends", 0.25)
        for peer in peers:
            peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()
        roomy.gateway.ctl("disconnect", "mad")


@pytest.mark.serial
def test_flood_of_connections(world):
    """More a second than the limit: the rest is turned away before it costs anything."""
    bob = world.corp.device("bob2")
    before = world.refused("rate-limited")
    stop = threading.Event()
    count = [0]

    def flood():
        while not stop.is_set():
            with contextlib.suppress(OSError), world.tcp() as sock:
                sock.sendall(b"\x16\x03\x01\x02\x00")
                count[0] += 1

    with world.undisturbed():
        time.sleep(1)
        threads = [threading.Thread(target=flood) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in range(3):
            start = time.monotonic()
            peer = connected(world.lab.other, bob)
            assert_echo(peer, peer, peer.inner4)
            assert time.monotonic() - start < 2
            peer.send(5, b"\xb0")
            peer.close()
            time.sleep(0.5)
        stop.set()
        for thread in threads:
            thread.join()
        wait_until(lambda: len(world.gateway.sessions()) == 1, 3, "bob's end", 0.05)
    turned = world.refused("rate-limited") - before
    assert count[0] > 600 and turned > count[0] / 4, f"{turned} of {count[0]} turned away"


def processor_s(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_descriptors_are_as_many_as_the_system_allows(world):
    limits = Path(f"/proc/{world.engine}/limits").read_text()
    soft, hard = re.search(r"Max open files +(\d+) +(\d+)", limits).groups()
    assert int(soft) >= min(int(hard), 65536) > 1024, limits


@pytest.mark.serial
def test_no_descriptor_is_left(make_lab, make_corp):
    """Whoever comes then waits, without turning the processor hot, and is served later."""
    lab = make_lab(laptops=("laptop", "rogue"))
    corp = make_corp(lab)
    config = gateway_config(corp).set("limits", handshakes_per_source=1000)
    gateway = Tund(lab, lab.gw, config)
    gateway.write_config()
    gateway.process = lab.gw.spawn("tund-gw", [
        "setpriv", "--bounding-set=-sys_resource", "prlimit", "--nofile=64:64", TUND,
        "--foreground", "--config", gateway.file])
    gateway.process.wait_for("gateway ready")
    good = connected(lab.laptop, corp.device("alice"))
    stalled = [open_socket(lab.rogue, socket.SOCK_STREAM, GATEWAY_V4[0]) for _ in range(90)]
    engine = gateway.processes()["engine"]
    wait_until(lambda: len(os.listdir(f"/proc/{engine}/fd")) == 64, 5,
               "the last descriptor's use", 0.01)
    before = processor_s(engine)
    time.sleep(1)
    assert processor_s(engine) - before < 0.4, "a busy loop"
    assert_echo(good, good, good.inner4)
    for sock in stalled:
        sock.close()
    time.sleep(1.5)
    peer = connected(lab.laptop, corp.device("bob"))
    assert_echo(peer, peer, peer.inner4)


# Frames, of a device that is let in.

PROBE = frame(3, b"1234")
LYING = {
    "length-too-long": b"STF\x01\x00\x05" + PROBE[6:],
    "length-too-short": b"STF\x01\x00\x03" + PROBE[6:],
    "length-of-64-kilobytes": b"STF\x01\xff\xff" + PROBE[6:],
    "length-of-the-record": b"STF\x01" + struct.pack("!H", len(PROBE)) + PROBE[6:],
    "no-length": PROBE[:4],
    "half-a-header": PROBE[:7],
    "one-byte": b"S",
    "two-in-a-record": PROBE * 2,
    "one-and-a-half": PROBE + PROBE[:5],
    "a-record-of-zeros": bytes(16384),
    "a-record-of-headers": PROBE[:8] * 2048,
    "wrong-magic": b"STG\x01" + PROBE[4:],
    "wrong-version": b"STF\x00" + PROBE[4:],
    "reserved-byte": PROBE[:7] + b"\xff" + PROBE[8:],
    "compressed": frame(8, b"\x45\x00"),
    "http-again": request("POST", "/", body=INIT),
}


def test_frames_that_lie(world):
    """Each ends the session that sent it, with a word, and no other."""
    with world.undisturbed():
        for name, record in LYING.items():
            mark = world.gateway.process.mark()
            peer = connected(world.lab.rogue, world.mad)
            peer.write(record)
            assert peer.read_end() is None, name
            assert [left[6] for left in peer.left] == [5], f"{name}: not told"
            peer.close()
            world.gateway.process.wait_for("mad ended: protocol-error", since=mark)


def test_frames_of_unknown_types(world):
    """Thousands of them, empty and full, are passed over; the session that sent them lives."""
    with world.undisturbed():
        peer = connected(world.lab.rogue, world.mad)
        for kind in [n for n in range(256) if n not in (0, 3, 4, 5, 7, 8, 9)]:
            for payload in (b"", b"x", bytes(1400), b"\xff" * 16376):
                peer.send(kind, payload)
        assert peer.probe()
        assert_echo(peer, peer, peer.inner4)
        peer.send(5, b"\xb0" + b"\x1b[2J\r\nerror engine: no line of ours" * 100)
        peer.close()
        wait_until(lambda: len(world.gateway.sessions()) == 1, 3, "the end", 0.05)
    log = world.gateway.process.log()
    assert log.isascii() and "\x1b" not in log and not re.search("^error engine", log, re.M)


# The UDP port: strangers.

def test_datagrams_of_strangers(world):
    with world.undisturbed(), inside(world.lab.rogue):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.connect((GATEWAY_V4[0], PORT))
        cases = {
            "unknown_peer": [record(), record(kind=22), record(epoch=7), record(kind=21)],
            "not_dtls": [b"\0" * 20, b"\xff" * 1400, b"GET / HTTP/1.1\r\n\r\n", record(kind=19)],
            "truncated": [b"\x17", record()[:12], b"\x16\xfe\xfd"],
            "wrong_version": [record(version=0x0303), record(version=0xfefc)],
            "oversized": [record(length=41), record(length=0xffff), record(body=bytes(300), length=65000)],
        }
        for word, datagrams in cases.items():
            with world.counted(**{word: len(datagrams)}):
                sock.send(b"")  # not worth counting
                for datagram in datagrams:
                    sock.send(datagram)


def test_a_hundred_thousand_datagrams(world):
    """Of every length and content, from a stranger: counted, and forgotten."""
    chance = random.Random(7)
    starts = [b"", b"\x17", b"\x16", b"\x17\xfe\xfd\x00\x01", b"\x16\xfe\xfd\x00\x00",
              b"\x16\xfe\xff" + bytes(9), b"\x14\xfe\xfd\x00\x00", b"\x15\xfe\xfd\x00\x01"]
    pieces = [chance.choice(starts) + chance.randbytes(chance.randrange(0, 1300))
              for _ in range(2000)]
    total = 100_000

    def counted():
        """What came from outside; the gateway's own kernel speaks to groups when it likes."""
        return sum(n for word, n in world.drops().items() if word != "multicast")

    before = counted()
    with world.undisturbed():
        with inside(world.lab.rogue):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.connect((GATEWAY_V4[0], PORT))
        start = time.monotonic()
        for n in range(total):
            with contextlib.suppress(ConnectionRefusedError):
                sock.send(pieces[n % len(pieces)])
            if n % 100 == 0:
                while n > (time.monotonic() - start) * 25000:
                    time.sleep(0.001)
        wait_until(lambda: counted() - before >= total, 5, "all of them counted")
    assert counted() - before == total


# The UDP port: in the good session's name.

def changed(text, at, value):
    return text[:at] + value + text[at + len(value):]


def ahead(text, by=100_000):
    """The record with a sequence number that has not been."""
    return changed(text, 5, (int.from_bytes(text[5:11], "big") + by).to_bytes(6, "big"))


def test_replayed_records(world):
    """Recorded on the way and sent again from the same address, at once and later."""
    with world.undisturbed():
        records = world.capture.data(50)
        with world.counted(replayed=len(records)):
            world.inject(*records)
        time.sleep(0.5)
        with world.counted(replayed=2 * len(records)):
            world.inject(*records, *reversed(records))


FORGED = {
    "truncated": ("truncated", lambda r: [r[:1], r[:12], record(body=bytes(23))]),
    "not-dtls": ("not_dtls", lambda r: [changed(r, 0, b"\x00"), changed(r, 0, b"\x18"),
                                        changed(r, 0, b"\xff"), os.urandom(10) * 0 + b"\x30" * 99]),
    "wrong-version": ("wrong_version", lambda r: [changed(ahead(r), 1, b"\xfe\xfc"),
                                                  changed(ahead(r), 1, b"\x03\x03"),
                                                  changed(ahead(r), 1, b"\xfe\xff")]),
    "wrong-epoch": ("wrong_epoch", lambda r: [changed(ahead(r), 3, b"\x00\x00"),
                                              changed(ahead(r), 3, b"\x00\x02"),
                                              changed(ahead(r), 3, b"\xff\xff"),
                                              changed(changed(ahead(r), 3, b"\x00\x00"), 0, b"\x15")]),
    "oversized": ("oversized", lambda r: [changed(ahead(r), 11, b"\xff\xff"), ahead(r)[:-1],
                                          ahead(r) + b"x", ahead(r) + ahead(r)]),
    "flipped-bit": ("forged", lambda r: [changed(ahead(r), n, bytes([ahead(r)[n] ^ 1]))
                                         for n in (13, 20, 21, len(r) - 16, len(r) - 1)]),
    "other-sequence": ("forged", lambda r: [ahead(r, n) for n in (10_000, 20_000, 1 << 40)]),
    "last-sequence": ("forged", lambda r: [changed(r, 5, b"\xff" * 6)]),
    "random-body": ("forged", lambda r: [ahead(r)[:13] + os.urandom(len(r) - 13)
                                         for _ in range(20)]),
    "alert": ("forged", lambda r: [changed(ahead(r), 0, b"\x15"),
                                   record(21, sequence=1 << 30, body=os.urandom(26))]),
    "handshake-in-epoch-1": ("forged", lambda r: [changed(ahead(r), 0, b"\x16"),
                                                  record(22, sequence=1 << 30,
                                                         body=os.urandom(60))]),
    "handshake-in-the-clear": ("wrong_epoch", lambda r: [record(22, epoch=0, sequence=5,
                                                           body=os.urandom(60))]),
    "finished-in-the-clear": ("wrong_epoch", lambda r: [record(22, epoch=0, sequence=6, body=(
        b"\x14\x00\x00\x0c\x00\x03\x00\x00\x00\x00\x00\x0c" + bytes(12)))]),
    "change-cipher": ("wrong_epoch", lambda r: [record(20, epoch=0, sequence=7, body=b"\x01")]),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_records(world, name):
    word, make = FORGED[name]
    with world.undisturbed():
        datagrams = make(world.capture.data(1)[0])
        with world.counted(**{word: len(datagrams)}):
            world.inject(*datagrams)


def test_hellos_of_nobody(world):
    with world.undisturbed():
        with world.counted(unknown_app_id=100):
            world.inject(*(hello(os.urandom(32), n) for n in range(50)))
            world.inject(*(hello(os.urandom(32), n) for n in range(50)),
                         source=("10.77.2.2", 5555))


def test_replayed_hellos(world):
    """The App-ID can be read on the way. Whoever repeats it, from wherever, gets no further than a
    candidate, a few a second."""
    mark = world.gateway.process.mark()
    with world.undisturbed():
        session = world.gateway.session("alice")
        app_id = world.app_id
        before, began = world.drops().get("hello-rate", 0), time.monotonic()
        for n in range(40):
            world.inject(hello(app_id, n), source=("10.77.2.2", 5000 + n))
            world.inject(hello(app_id, n))
            time.sleep(0.005)
        # 80 of them, of which 20 may pass at once, and then 20 a second.
        allowed = 20 * (1 + time.monotonic() - began)
        assert allowed < 70, "too slow to tell"
        assert world.drops().get("hello-rate", 0) - before >= 80 - allowed - 1
        for record_ in world.capture.data(3):
            world.inject(record_, source=("10.77.2.2", 5039))
        time.sleep(1)
    assert world.gateway.session("alice")["peer_address"] == session["peer_address"]
    assert "alice: over" not in world.gateway.process.log(mark)
