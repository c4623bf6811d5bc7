"""Protocol checklist, lines 21 to 25: frames on the TLS channel.

    laptop (openconnect, or a raw peer) --- wan --- gw --- corp
"""

import os
import re
import socket
import struct
import threading
import time

import pytest

import traffic
from openssl import RECORD_HEADER
from peers import Openconnect, start_gateway
from rawpeer import (COMPRESSED, DATA, DISCONNECT, DPD_REQUEST, DPD_RESPONSE, KEEPALIVE,
                     MAY_BE_SENT, TERMINATE, assert_echo, await_echoes, connected, echo_request,
                     frame, inside, open_socket)

SOL_UDP, UDP_SEGMENT = 17, 103
QUIET = {"dpd": "30s", "keepalive": "60s"}  # nothing is sent that was not asked for


@pytest.fixture
def device(lab, corp):
    return corp.device("alice")


def flood(lab, inner, seconds):
    """Datagrams of every size from the corporate host, single ones and the kernel's bundles."""
    sock = open_socket(lab.corp, socket.SOCK_DGRAM, inner, 9)

    def run():
        until = time.monotonic() + seconds
        size = 0
        while time.monotonic() < until:
            size = (size + 37) % 1387
            sock.send(bytes(size))
            sock.setsockopt(SOL_UDP, UDP_SEGMENT, 1200)
            sock.send(bytes(1200 * 8 + size % 1200))
            sock.setsockopt(SOL_UDP, UDP_SEGMENT, 0)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.parametrize("family", [4, 6], ids=["inner4", "inner6"])
def test_21_every_packet_is_one_record_of_its_length(lab, corp, device, family):
    """Line 21: under a flood of packets of every size, each TLS record is one whole frame."""
    start_gateway(lab, corp, **QUIET)
    peer = connected(lab.laptop, device)
    before = len(application_records(peer))
    sender = flood(lab, peer.inner4 if family == 4 else peer.inner6, 2)
    lengths = []
    while got := peer.next(1):  # which asserts magic and length
        if got[0] == DATA:
            lengths.append(len(got[1]))
            check_length(got[1])
    sender.join()
    assert len(lengths) > 2000 and len(set(lengths)) > 30, f"{len(lengths)} frames"
    assert len(application_records(peer)) - before == len(lengths)
    assert peer.probe()


def application_records(peer):
    return [head for head in peer.tls.received(RECORD_HEADER) if head[0] == 23]


def check_length(packet):
    """The IP header's length is the frame's."""
    if packet[0] >> 4 == 4:
        assert struct.unpack("!H", packet[2:4])[0] == len(packet)
    else:
        assert struct.unpack("!H", packet[4:6])[0] + 40 == len(packet)


def test_21_stock_peer_finds_no_fault_in_a_flood(lab, corp, device):
    """Line 21: openconnect logs every record whose length is not its frame's."""
    web = traffic.Web(lab, 20)
    start_gateway(lab, corp)
    client = Openconnect(lab, lab.laptop, corp, device, dtls=False).wait_up()
    for family in (4, 6):
        traffic.assert_both_ways(lab, lab.laptop, web, family)
    assert not re.search("Unexpected packet|Short packet|Unknown packet", client.log())


def test_22_nothing_but_known_types_is_ever_sent(lab, corp, device):
    """Line 22: whatever happens: a type that openconnect does not know would end it."""
    start_gateway(lab, corp, dpd="2s", keepalive="1s")
    peer = connected(lab.laptop, device)
    path = peer.dtls()
    assert path.handshake()
    provoke(peer, path)
    until = time.monotonic() + 4
    while time.monotonic() < until:
        for channel in (peer, path):
            got = channel.next(0.1)
            if got and got[0] == DPD_REQUEST:
                channel.send(DPD_RESPONSE)
    connected(lab.laptop, device)  # replaces it
    peer.expect(DISCONNECT)
    assert peer.types | path.types <= MAY_BE_SENT
    assert peer.types >= {DATA, DPD_REQUEST, DPD_RESPONSE, DISCONNECT, KEEPALIVE}
    assert path.types >= {DATA, DPD_REQUEST, DPD_RESPONSE}


def provoke(peer, path):
    """A little of everything that leaves the session alive."""
    for channel in (peer, path):
        for kind in (1, 2, 6, 10, 63, 255):
            channel.send(kind, b"?")
        channel.send(DATA, b"no packet")
        channel.send(DATA)
        channel.send(KEEPALIVE)
        channel.send(KEEPALIVE, b"loud")
        channel.send(DPD_RESPONSE, b"unasked")
        channel.send(DPD_REQUEST, b"x" * 1000)
        channel.send(DATA, echo_request(peer.inner4, 1))
        assert channel.expect(DATA)


@pytest.mark.parametrize("size", [0, 1, 3, 100, 1434, 4096, 16376])
def test_23_dpd_request_is_answered_with_its_payload(lab, corp, device, size):
    """Line 23: type 04, the same bytes, within a second."""
    start_gateway(lab, corp, **QUIET)
    peer = connected(lab.laptop, device)
    payload = os.urandom(size)
    begin = time.monotonic()
    peer.send(DPD_REQUEST, payload)
    assert peer.next() == (DPD_RESPONSE, payload)
    assert time.monotonic() - begin < 1


GOOD = frame(DPD_REQUEST, b"1234")
BAD = {
    "empty-frame-cut": GOOD[:7],
    "one-byte": b"S",
    "wrong-magic": b"STG\x01" + GOOD[4:],
    "wrong-version": b"STF\x02" + GOOD[4:],
    "byte-7": GOOD[:7] + b"\x01" + GOOD[8:],
    "length-too-long": b"STF\x01\x00\x05" + GOOD[6:],
    "length-too-short": b"STF\x01\x00\x03" + GOOD[6:],
    "length-huge": b"STF\x01\xff\xff" + GOOD[6:],
    "two-frames": GOOD * 2,
    "first-half-of-one": GOOD[:10],
    "compressed": frame(COMPRESSED, b"\x45\x00"),
    "http": b"GET / HTTP/1.1\r\n\r\n",
}


def test_24_bad_record_ends_that_session_only(lab, corp, device):
    """Line 24: it is told and closed, its cookie is dead; another session goes on."""
    gateway = start_gateway(lab, corp, **QUIET)
    bob = connected(lab.laptop, corp.device("bob"))
    for name, record in BAD.items():
        peer = connected(lab.laptop, device)
        assert peer.probe(), name
        peer.write(record)
        assert peer.read_end() is None, name
        assert [left[6] for left in peer.left] == [DISCONNECT], name
        assert bob.probe(), name
    log = gateway.process.log()
    assert len(re.findall("alice ended: protocol-error", log)) == len(BAD)
    assert "bob ended" not in log


def test_24_unknown_types_and_odd_payloads_do_not(lab, corp, device):
    """Line 24, the control: what is one whole frame is at most ignored."""
    start_gateway(lab, corp, **QUIET)
    peer = connected(lab.laptop, device)
    for kind in (1, 2, 6, TERMINATE, 10, 63, 255):
        peer.send(kind, b"payload")
    for payload in (b"", b"\x45", b"\x60" + bytes(39), bytes(16376), b"\xff" * 1500):
        peer.send(DATA, payload)
    assert peer.probe()
    assert_echo(peer, peer, peer.inner4)


def test_24_new_tls_keys_are_no_bad_record(lab, corp, device):
    """Section 2.2: a KeyUpdate with an answer asked for changes nothing."""
    start_gateway(lab, corp, **QUIET)
    peer = connected(lab.laptop, device)
    psk = peer.tls.psk()
    for _ in range(3):
        peer.tls.update_keys()
        assert peer.probe()
    assert peer.tls.psk() == psk


def test_25_keepalives_are_accepted_and_not_answered(lab, corp, device):
    """Line 25: on TLS and on DTLS."""
    start_gateway(lab, corp, **QUIET)
    peer = connected(lab.laptop, device)
    path = peer.dtls()
    assert path.handshake()
    for channel in (peer, path):
        for _ in range(20):
            channel.send(KEEPALIVE)
        assert channel.next(0.5) is None
        assert channel.probe()


def test_25_keepalives_keep_a_session_alive(lab, corp, device):
    """Line 25: for longer than the time in which a silent peer is given up."""
    gateway = start_gateway(lab, corp, dpd="1s")
    peer = connected(lab.laptop, device)
    silent = connected(lab.laptop, corp.device("bob"))
    until = time.monotonic() + 4
    while time.monotonic() < until:
        peer.send(KEEPALIVE)
        time.sleep(0.2)
    assert peer.probe()
    assert "bob: open -> away" in gateway.process.log()
    assert silent.read_end() is None


# What else a strict server refuses here.

class Witness:
    """The inner sources of ICMP that arrives at the corporate host."""

    def __init__(self, lab, family):
        protocol = socket.IPPROTO_ICMP if family == 4 else socket.IPPROTO_ICMPV6
        with inside(lab.corp):
            self.sock = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6,
                                      socket.SOCK_RAW, protocol)
        self.sock.settimeout(0.3)

    def sources(self):
        seen = set()
        while True:
            try:
                packet, peer = self.sock.recvfrom(65536)
            except TimeoutError:
                return seen
            if packet[-8:] == bytes(8):
                seen.add(peer[0])


@pytest.mark.parametrize("channel", ["tls", "dtls"])
@pytest.mark.parametrize("family", [4, 6], ids=["inner4", "inner6"])
def test_strict_foreign_inner_sources_are_dropped(lab, corp, device, family, channel):
    """Section 6.5: another session's address, nobody's, the gateway's, the corporation's."""
    gateway = start_gateway(lab, corp, **QUIET)
    bob = connected(lab.laptop, corp.device("bob"))
    peer = connected(lab.laptop, device)
    out = peer
    if channel == "dtls":
        out = peer.dtls()
        assert out.handshake()
    foreign = {4: [bob.inner4, "10.99.0.200", "10.99.0.1", "10.50.0.99", "127.0.0.1", "0.0.0.0"],
               6: [bob.inner6, "fd99::200", "fd99::1", "fd50::99", "::1", "::"]}[family]
    own = peer.inner4 if family == 4 else peer.inner6
    witness = Witness(lab, family)
    for source in [*foreign, own]:
        out.send(DATA, echo_request(source, 7))
    assert await_echoes([out], [7])
    assert witness.sources() & {*foreign, own} == {own}
    _, shown = gateway.ctl("show", "session", str(gateway.session("alice")["id"]))
    assert shown["session"]["drops"] == {"foreign-source": 4, "loopback": 1, "unspecified": 1}
    assert bob.next(0.1) is None and bob.probe()


def test_strict_own_inner_sources_pass_to_another_device(lab, corp, device):
    """The control of the test above: a packet of one's own gets there as it is."""
    start_gateway(lab, corp, **QUIET)
    bob = connected(lab.laptop, corp.device("bob"))
    peer = connected(lab.laptop, device)
    packet = echo_request(peer.inner4, 9, destination=bob.inner4)
    peer.send(DATA, packet)
    got = bob.expect(DATA)
    assert got[12:20] == packet[12:20] and got[20:] == packet[20:]
