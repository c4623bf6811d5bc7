"""DTLS with a gateway that is not tund, on the wire: lines 17 to 21 of the client half of the
protocol checklist. test_b18_WHAT is line 18.

    laptop (tund) --- wan (listens) --- gw (stock ocserv, or a gateway that does what the test says)
"""

import contextlib
import secrets
import socket
import struct
import time

import pytest

from lab import wait_until
from peers import Ocserv, start_client
from rawgateway import RawGateway
from rawpeer import DPD_REQUEST, DPD_RESPONSE, Closed, inside

ETH_P_ALL = 3  # a socket of one protocol alone does not see what goes out
CLIENT_HELLO, SERVER_HELLO = 1, 2
PLAIN_PSK = {0x00a8, 0x00a9, 0xccab}  # AES-GCM of two sizes, ChaCha20-Poly1305
SCSV = 0x00ff


class Sniffer:
    """The datagrams between laptop and port 443 of the gateway."""

    def __init__(self, lab):
        with inside(lab.wan):
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
            self.sock.bind(("to-laptop", ETH_P_ALL))
        self.sock.setblocking(False)
        self.seen = []  # (when, whether from the laptop, datagram)

    def read(self):
        with contextlib.suppress(BlockingIOError):
            while True:
                packet, (_, protocol, kind, *_) = self.sock.recvfrom(65536)
                ports = packet[20:22], packet[22:24]
                if protocol == 0x0800 and packet[9] == 17 and struct.pack("!H", 443) in ports:
                    self.seen.append((time.monotonic(), kind != socket.PACKET_OUTGOING,
                                      packet[28:struct.unpack("!H", packet[2:4])[0]]))
        return self.seen

    def hellos(self):
        """(when, client's random, datagram) of each first datagram of an attempt."""
        firsts = {}
        for when, up, datagram in self.read():
            if up and len(datagram) > 60 and datagram[0] == 22 and datagram[13] == CLIENT_HELLO:
                firsts.setdefault(datagram[27:59], (when, datagram))
        return [(when, random, datagram) for random, (when, datagram) in firsts.items()]


class Hello:
    """A DTLS ClientHello that is one datagram, one record, one fragment."""

    def __init__(self, datagram):
        kind, record_version, epoch, length = (datagram[0], datagram[1:3],
                                               datagram[3:5], datagram[11:13])
        assert (kind, epoch) == (22, b"\0\0") and record_version in (b"\xfe\xff", b"\xfe\xfd")
        assert len(datagram) == 13 + struct.unpack("!H", length)[0], "not one record"
        message = datagram[13:]
        whole, offset, part = message[1:4], message[6:9], message[9:12]
        assert message[0] == CLIENT_HELLO and offset == b"\0\0\0" and whole == part, "a fragment"
        body = message[12:]
        self.version = struct.unpack("!H", body[:2])[0]
        end = 35 + body[34]
        self.session_id = body[35:end]
        end += 1 + body[end]  # the cookie of a HelloVerifyRequest
        size = struct.unpack("!H", body[end:end + 2])[0]
        self.suites = set(struct.unpack(f"!{size // 2}H", body[end + 2:end + 2 + size]))


def test_b17_a_wrong_psk_is_only_a_timeout(lab, corp):
    results = []

    def script(conn):
        conn.serve(dtls=True)
        path = conn.association()
        path.psk = secrets.token_bytes(32)
        results.append(path.handshake(3))
        assert conn.probe(), "the session does not live on"
        conn.hold()

    sniffer = Sniffer(lab)
    with RawGateway(lab, corp, script) as gateway:
        client = start_client(lab, corp)
        wait_until(lambda: results, 10, "the end of the attempt")
        gateway.check()
        assert results == [False]
        assert client.status()["transport"] == "tls" and len(gateway.connections) == 1
    alerts = [datagram for _, up, datagram in sniffer.read() if up and datagram[0] == 21]
    assert not alerts


def test_b18_the_hello_on_the_wire(lab, corp):
    ids = []

    def script(conn):
        conn.serve(dtls=True)
        ids.append(conn.app_id)
        conn.association().handshake()
        conn.hold()

    sniffer = Sniffer(lab)
    with RawGateway(lab, corp, script):
        client = start_client(lab, corp)
        client.wait_status(transport="dtls")
        (_, _, datagram), = sniffer.hellos()
    hello = Hello(datagram)
    assert hello.version == 0xfefd and hello.session_id == ids[0]
    assert hello.suites - {SCSV} <= PLAIN_PSK and 0x00a9 in hello.suites, hello.suites


def test_b18_b19_stock_ocserv_shakes_hands_in_full(lab, corp):
    sniffer = Sniffer(lab)
    Ocserv(lab, corp)
    start_client(lab, corp).wait_status(transport="dtls")
    (_, _, datagram), = sniffer.hellos()
    hello = Hello(datagram)
    assert len(hello.session_id) == 32 and hello.suites - {SCSV} <= PLAIN_PSK
    messages = [d[13] for _, _, d in sniffer.read() if d[0] == 22 and d[3:5] == b"\0\0"]
    answers = [d for _, up, d in sniffer.read() if not up and d[0] == 22 and d[13] == SERVER_HELLO]
    assert 16 in messages, "no ClientKeyExchange: resumed"
    assert answers and answers[0][25 + 34] == 32 and answers[0][60:92] != hello.session_id


def test_b19_a_gateway_that_resumes_the_session_that_never_was_gets_no_data(lab, corp):
    results = []

    def script(conn):
        conn.serve(dtls=True)
        path = conn.association()
        hello = path.receive()
        body = (b"\xfe\xfd" + secrets.token_bytes(32) + b"\x20" + conn.app_id + b"\x00\xa8\x00")
        message = b"\x02" + struct.pack("!I", len(body))[1:] + b"\0\0\0\0\0" + \
            struct.pack("!I", len(body))[1:] + body
        path.transmit(b"\x16\xfe\xfd" + bytes(8) + struct.pack("!H", len(message)) + message)
        path.transmit(b"\x14\xfe\xfd" + bytes(7) + b"\x01\x00\x01\x01")
        path.transmit(b"\x16\xfe\xfd\x00\x01" + bytes(6) + b"\x00\x28" + secrets.token_bytes(40))
        assert hello and conn.probe()
        results.append([d for d in iter(lambda: path.receive(1), None)])
        conn.hold()

    with RawGateway(lab, corp, script):
        client = start_client(lab, corp)
        wait_until(lambda: results, 20, "the end of the attempt")
        assert not [d for d in results[0] if d[0] == 23], "data on an association nobody proved"
        assert client.status()["transport"] == "tls"


@pytest.mark.slow
def test_b20_pauses_between_attempts_at_dtls(lab, corp):
    """Nobody answers on UDP: one attempt, its repetitions, and the next a minute later."""
    def script(conn):
        conn.serve(dtls=True)
        conn.hold()

    sniffer = Sniffer(lab)
    with RawGateway(lab, corp, script):
        client = start_client(lab, corp)
        wait_until(lambda: len(sniffer.hellos()) >= 2, 80, "a second attempt", 0.5)
        (first, _, _), (second, _, _), *more = sniffer.hellos()
        assert not more and 50 <= second - first <= 75
        assert client.status()["state"] == "up"


def test_b20_a_refused_attempt_is_not_repeated_within_3_s(lab, corp):
    def script(conn):
        conn.serve(dtls=True)
        path = conn.association()
        while path.receive(30):
            path.transmit(b"\x15\xfe\xfd" + bytes(8) + b"\x00\x02\x02\x28")  # handshake_failure
        conn.hold()

    sniffer = Sniffer(lab)
    with RawGateway(lab, corp, script):
        start_client(lab, corp)
        wait_until(sniffer.hellos, 5, "an attempt")
        time.sleep(3.5)
        times = [when for when, _, _ in sniffer.hellos()]
    assert all(b - a >= 3 for a, b in zip(times, times[1:])), times


@pytest.mark.parametrize("pushed,wanted", [(9000, 1434), (1434, 1434), (1300, 1300)])
def test_b21_takes_the_smaller_of_the_gateways_mtu_and_its_own(lab, corp, pushed, wanted):
    def script(conn):
        conn.serve(dtls=True, mtu=[("X-CSTP-Base-MTU", "1500"), ("X-CSTP-MTU", str(pushed))])
        conn.hold()

    with RawGateway(lab, corp, script):
        client = start_client(lab, corp)
        assert client.status()["mtu"] == wanted
        assert f"mtu {wanted}" in lab.laptop.ip("link", "show", "tund0")


class EchoGateway:
    """Answers what carries at most limit bytes inside; padded probes beyond get the bare byte."""

    def __init__(self, limit, bare=True):
        self.limit, self.bare = limit, bare
        self.longest, self.shortest = 0, 9999  # padded probes that came

    def __call__(self, conn):
        conn.serve(dtls=True)
        path = conn.association()
        assert path.handshake()
        while not conn.gateway.closing:
            got = path.next(0.05)
            if got and got[0] == DPD_REQUEST:
                self.longest = max(self.longest, len(got[1]))
                self.shortest = min(self.shortest, len(got[1]) or 9999)
                if len(got[1]) <= self.limit:
                    path.send(DPD_RESPONSE, got[1])
                elif self.bare:
                    path.send(DPD_RESPONSE)
            with contextlib.suppress(Closed):
                got = conn.next(0.01)
                if got and got[0] == DPD_REQUEST:
                    conn.send(DPD_RESPONSE, got[1])


@pytest.mark.parametrize("bare", [True, False], ids=["one-byte", "silence"])
def test_b21_finds_what_the_path_carries(lab, corp, bare):
    gateway = EchoGateway(1330, bare)
    with RawGateway(lab, corp, gateway):
        client = start_client(lab, corp)
        client.wait_status(transport="dtls")
        wait_until(lambda: 1320 <= client.status()["mtu"] <= 1330, 15, "the path's size", 0.2)
        assert gateway.longest == 1400


def test_b21_a_gateway_that_echoes_no_padding_keeps_its_mtu(lab, corp):
    gateway = EchoGateway(0)
    with RawGateway(lab, corp, gateway):
        client = start_client(lab, corp)
        client.wait_status(transport="dtls")
        wait_until(lambda: gateway.shortest < 590, 20, "the search's last size")
        time.sleep(1.5)
        status = client.status()
        assert (status["mtu"], status["transport"]) == (1400, "dtls")


def test_b21_a_path_too_small_for_ipv6_is_left_to_tls(lab, corp):
    with RawGateway(lab, corp, EchoGateway(1000)):
        client = start_client(lab, corp)
        client.wait_status(timeout=20, transport="dtls")
        client.wait_status(timeout=20, transport="tls")
        time.sleep(2)
        status = client.status()
        assert (status["mtu"], status["transport"], status["state"]) == (1400, "tls", "up")
