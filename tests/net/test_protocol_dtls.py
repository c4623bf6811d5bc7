"""Protocol checklist, lines 31 to 41: the DTLS channel, and moving between it and TLS.

    laptop  (openconnect, or a raw peer) ---+
    laptop2 (another source address) -------+--- wan (drops UDP) --- gw --- corp
"""

import collections
import os
import re
import socket
import struct
import threading
import time

import pytest

import traffic
from lab import CORP
from openssl import DATA as APPLICATION
from openssl import DTLS1_0, DTLS1_2, HELLO_VERIFY, PSK_SUITES, SERVER_HELLO
from peers import Openconnect, start_gateway
from rawpeer import (BYE_USER, COMPRESSED, DATA, DISCONNECT, DPD_REQUEST, DPD_RESPONSE, TERMINATE,
                     Closed, assert_echo, await_echoes, connected, echo_request, open_socket)

QUIET = {"dpd": "30s", "keepalive": "60s"}
SUITES = PSK_SUITES.split(":")
ID_LENGTH_AT, ID_AT, COOKIE_LENGTH_AT = 59, 60, 92


@pytest.fixture
def lab(make_lab):
    return make_lab(laptops=("laptop", "laptop2"))


@pytest.fixture
def device(lab, corp):
    return corp.device("alice")


@pytest.fixture
def gateway(lab, corp):
    """One that sends nothing unasked."""
    return start_gateway(lab, corp, **QUIET)


@pytest.fixture
def peer(lab, gateway, device):
    """A raw peer with a session that has no DTLS yet."""
    return connected(lab.laptop, device)


@pytest.fixture
def path(peer):
    """Its DTLS association, up."""
    path = peer.dtls()
    assert path.handshake()
    assert path.probe()
    return path


def drops(gateway):
    """What peers' gateway has dropped of theirs so far: a Counter by reason."""
    counter = collections.Counter(gateway.status()["drops"])
    del counter["multicast"]  # what the kernel says to nobody in particular
    return counter


def stock(lab, corp, device, *extra):
    return Openconnect(lab, lab.laptop, corp, device, extra=extra)


class Downlink:
    """Numbered datagrams from the corporate host, to see on which channel they come."""

    def __init__(self, lab, inner):
        self.sock = open_socket(lab.corp, socket.SOCK_DGRAM, inner, 9)
        self.number = 0

    def comes_by(self, *channels):
        """Which channel the next one comes by."""
        self.number += 1
        mark = struct.pack("!Q", self.number)
        self.sock.send(mark)
        until = time.monotonic() + 5
        while time.monotonic() < until:
            for channel in channels:
                got = channel.next(0.02)
                if got and got[0] == DATA and got[1].endswith(mark):
                    return channel
        return None


# Handshakes.

@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("ems", [True, False], ids=["ems", "no-ems"])
def test_31_openssl_peer_with_the_exporters_key(peer, suite, ems):
    """Line 31: OpenSSL, which offers EMS; and as GnuTLS does, without; each suite."""
    path = peer.dtls(suites=suite, ems=ems)
    assert path.handshake()
    assert (path.engine.version, path.engine.cipher) == ("DTLSv1.2", suite)
    assert path.engine.ems == ems and not path.engine.resumed
    assert path.probe()
    assert_echo(path, path, peer.inner4)
    assert_echo(path, path, peer.inner6)


def test_31_stock_peer_of_gnutls(lab, corp, device):
    """Line 31: openconnect is built on GnuTLS, and offers no EMS."""
    gateway = start_gateway(lab, corp)
    client = stock(lab, corp, device).wait_up()
    assert "(DTLS1.2)-(PSK)-(AES-256-GCM)" in client.log(), client.log()
    gateway.process.wait_for("alice: over DTLS")
    wire = lab.wire.bytes()
    traffic.assert_pings(lab.laptop, *CORP.values())
    assert lab.wire.since(wire)["udp"] > 3 * 2 * 84


@pytest.mark.parametrize("identity", [b"psk", b"", b"somebody else"], ids=str)
def test_31_any_psk_identity(peer, identity):
    """Line 31: it says nothing, so nothing is made of it."""
    assert peer.dtls(identity=identity).handshake()


def with_session_id(hello, session_id):
    """The hello with another session id, all lengths right."""
    rest = hello[COOKIE_LENGTH_AT:]
    body = hello[25:ID_LENGTH_AT] + bytes([len(session_id)]) + session_id + rest
    length = len(body).to_bytes(3, "big")
    message = hello[13:14] + length + hello[17:22] + length + body
    return hello[:11] + len(message).to_bytes(2, "big") + message


def test_32_hello_without_a_known_app_id_gets_no_reply(gateway, peer):
    """Line 32, and 6.5: unknown, short, long, empty; cut off anywhere."""
    hello = peer.dtls().hello()
    app_id = peer.answer.app_id
    assert hello[ID_LENGTH_AT] == 32 and hello[ID_AT:COOKIE_LENGTH_AT] == app_id
    assert with_session_id(hello, app_id) == hello
    bad = [with_session_id(hello, other) for other in (
        os.urandom(32), bytes(32), app_id[:31], app_id[:1], b"", app_id + b"\0",
        app_id[:31] + bytes([app_id[31] ^ 1]))]
    bad += [hello[:length] for length in (0, 1, 12, 13, 25, 59, 60, 91, 92, 93, len(hello) - 1)]
    bad += [bytes(2000), os.urandom(500)]
    prober = peer.dtls()
    for datagram in bad:
        prober.transmit(datagram)
        assert prober.receive(0.03) is None, datagram.hex()
    assert prober.receive(0.5) is None
    assert sum(drops(gateway).values()) == len([datagram for datagram in bad if datagram])
    assert drops(gateway)["unknown-app-id"] >= 3
    assert peer.probe()
    prober.transmit(hello)
    assert prober.receive()[13] == SERVER_HELLO, "the control: the hello itself is answered"


@pytest.mark.parametrize("mode", ["on", "auto", "off"])
def test_33_hello_verify(lab, corp, device, mode):
    """Line 33: openconnect connects with it; on the wire it is there when it is switched on."""
    start_gateway(lab, corp, hello_verify=mode, **QUIET)
    stock(lab, corp, device).wait_up()
    traffic.assert_pings(lab.laptop, *CORP.values(), count=1)
    peer = connected(lab.laptop, corp.device("bob"))
    path = peer.dtls()
    assert path.handshake()
    assert path.engine.got_handshake(HELLO_VERIFY) == (mode == "on")
    assert path.probe()


def test_33_hello_verify_answers_the_same_address_only(lab, corp, device):
    """Line 33: what was verified for one source is worth nothing from another."""
    start_gateway(lab, corp, hello_verify="on", **QUIET)
    peer = connected(lab.laptop, device)
    path = peer.dtls()
    with_cookie = path.start()
    assert with_cookie[COOKIE_LENGTH_AT] == 32
    elsewhere = peer.dtls(ns=lab.laptop2)
    elsewhere.transmit(with_cookie)
    reply = elsewhere.receive(2)
    assert reply is None or reply[13] == HELLO_VERIFY
    path.transmit(with_cookie)
    assert path.finish(8) and path.probe()


@pytest.mark.parametrize("size", [0, 1, 4, 575, 1280, 1434, 1450, 4000])
def test_34_padded_dpd_is_echoed_byte_for_byte(path, size):
    """Line 34: of any size that gets there; an echo too big for the path is lost alone."""
    payload = os.urandom(size)
    if size <= 1434:
        assert path.probe(payload)
    else:
        path.send(DPD_REQUEST, payload)
        path.next(0.3)
    assert path.probe()


def test_34_stock_peer_measures_the_mtu(lab, corp, device):
    """Line 34: openconnect probes from the top, and says that it is as it was."""
    start_gateway(lab, corp)
    client = stock(lab, corp, device, "-vv").wait_up()
    client.process.wait_for("No change in MTU after detection", 12)
    assert "mtu 1434" in lab.laptop.ip("link", "show", client.interface)


# Several associations.

def test_35_handshake_from_another_address_counts_when_it_is_complete(lab, peer, path):
    """Line 35: until its Finished the old one carries everything; from then on the new one does."""
    down = Downlink(lab, peer.inner4)
    elsewhere = peer.dtls(ns=lab.laptop2)
    last_flight = elsewhere.start()
    for _ in range(5):
        assert path.probe()
        assert down.comes_by(path, peer) is path
    elsewhere.transmit(last_flight)
    assert elsewhere.finish()
    assert down.comes_by(elsewhere, path, peer) is elsewhere
    assert_echo(elsewhere, elsewhere, peer.inner4)


def test_35_old_association_is_still_heard_for_a_moment(lab, peer, path):
    """Line 35: what was under way is not lost."""
    elsewhere = peer.dtls(ns=lab.laptop2)
    assert elsewhere.handshake()
    assert_echo(path, elsewhere, peer.inner4)


def test_36_replayed_hello_from_elsewhere_disturbs_nothing(lab, peer):
    """Line 36: once, often, and for longer than a handshake may take."""
    path = peer.dtls()
    hello = path.hello()
    path.transmit(hello)
    assert path.finish() and path.probe()
    down = Downlink(lab, peer.inner4)
    observers = [peer.dtls(ns=lab.laptop2) for _ in range(3)]
    for round_of_replays in range(40):
        observers[round_of_replays % 3].transmit(hello)
        assert down.comes_by(path, peer) is path
        assert path.probe() and peer.probe()
        time.sleep(0.03)
    assert_echo(path, path, peer.inner4)


def test_36_replayed_hello_on_the_same_path_disturbs_nothing(lab, peer):
    """Line 36: also from the very source that it came from."""
    path = peer.dtls()
    hello = path.hello()
    path.transmit(hello)
    assert path.finish() and path.probe()
    down = Downlink(lab, peer.inner4)
    for _ in range(10):
        path.transmit(hello)
        assert path.probe()
        assert down.comes_by(path, peer) is path


def test_36_a_true_handshake_succeeds_after_replays(lab, peer, path):
    """Line 36: nor is the next one kept out for long."""
    hello = peer.dtls().hello()
    observer = peer.dtls(ns=lab.laptop2)
    for _ in range(20):
        observer.transmit(hello)
    again = peer.dtls()
    assert again.handshake(8)
    assert again.probe()


def test_37_hello_from_the_established_source_starts_beside_it(lab, peer, path):
    """Line 37: the same address and port: the old one lives until the new one is complete."""
    down = Downlink(lab, peer.inner4)
    again = peer.dtls(sock=path.sock)
    last_flight = again.start()
    for _ in range(5):
        assert path.probe()
        assert down.comes_by(path, peer) is path
    again.transmit(last_flight)
    assert again.finish()
    assert again.probe()
    assert down.comes_by(again, peer) is again


def test_37_hello_that_comes_to_nothing_leaves_the_old_one(lab, peer, path):
    """Line 37: a client that lost its state, and gave up again."""
    again = peer.dtls(sock=path.sock)
    again.start()
    time.sleep(2)
    assert path.probe()
    assert Downlink(lab, peer.inner4).comes_by(path, peer) is path


# Both channels.

def test_38_data_on_both_channels_in_turn(lab, peer, path):
    """Line 38: nothing is lost but what is, and the answer follows the latest data."""
    channels = [peer, path]
    for sequence in range(60):
        out = channels[sequence % 2]
        out.send(DATA, echo_request(peer.inner4 if sequence % 4 < 2 else peer.inner6, sequence))
        assert await_echoes(channels, [sequence]) == {sequence: out}
    for sequence in range(100, 200):
        channels[sequence % 2].send(DATA, echo_request(peer.inner4, sequence))
    assert set(await_echoes(channels, range(100, 200))) == set(range(100, 200))
    assert peer.probe() and path.probe()


@pytest.mark.slow
def test_39_udp_blocked_for_a_while(lab, corp, device):
    """Line 39: at most 2 x DPD + 1 s of silence, and DTLS is back within 75 s of lifting; with a
    longer pause in test_udp_blocked."""
    dpd = 2
    gateway = start_gateway(lab, corp, dpd=f"{dpd}s")
    client = stock(lab, corp, device).wait_up()
    datagrams = traffic.Datagrams(lab, lab.laptop, client.inner(), CORP[4], rate=50)
    time.sleep(1)
    lab.wire.drop_udp("laptop")
    mark = gateway.process.mark()
    time.sleep(2 * dpd + 3)
    assert re.search("alice: over TLS", gateway.process.log(mark))
    lab.wire.lift()
    gateway.process.wait_for("alice: over DTLS", 75, since=mark)
    time.sleep(1)
    for end in datagrams.finish():
        times = end["times_ns"]
        gap_s = max(b - a for a, b in zip(times, times[1:])) / 1e9
        assert 0.5 < gap_s <= 2 * dpd + 1, gap_s


@pytest.mark.slow
def test_40_udp_blocked_from_the_start(lab, corp, device):
    """Line 40: openconnect gives DTLS up and is usable over TLS within 20 s."""
    lab.wire.drop_udp()
    start_gateway(lab, corp)
    client = stock(lab, corp, device)
    client.process.wait_for(f"{client.interface} is set up", 20)
    wire = lab.wire.bytes()
    traffic.assert_pings(lab.laptop, *CORP.values())
    assert lab.wire.since(wire)["tcp"] > 3 * 2 * 84


@pytest.mark.parametrize("key", [bytes(32), b"\xff" * 32, b"\0" * 31 + b"\1"],
                         ids=["zero", "ones", "one"])
def test_41_wrong_psk_never_yields_an_association(lab, peer, key):
    """Line 41: no answer to its Finished; the session stays on TLS, and the right key works."""
    wrong = peer.dtls(psk=key)
    assert not wrong.handshake(3)
    assert Downlink(lab, peer.inner4).comes_by(peer) is peer
    assert peer.probe()
    right = peer.dtls()
    assert right.handshake(8) and right.probe()


def test_41_key_of_another_session(lab, corp, device, peer):
    """Line 41: App-ID of one, PSK of the other."""
    bob = connected(lab.laptop, corp.device("bob"))
    assert not peer.dtls(psk=bob.tls.psk()).handshake(2)
    assert bob.dtls().handshake()
    assert peer.probe()


def test_41_wrong_psk_does_not_disturb_the_association(lab, peer, path):
    """Line 41: beside one that is up."""
    wrong = peer.dtls(ns=lab.laptop2, psk=bytes(32))
    wrong.handshake(2)
    assert not wrong.engine.established
    assert path.probe()
    assert Downlink(lab, peer.inner4).comes_by(path, peer) is path


# What else a strict server refuses here.

REFUSED_SUITES = ["PSK-AES128-CBC-SHA256", "PSK-AES256-CBC-SHA", "PSK-AES128-CCM8",
                  "PSK-AES256-CCM8", "PSK-NULL-SHA256", "ECDHE-PSK-AES256-CBC-SHA",
                  "DHE-PSK-AES256-GCM-SHA384", "RSA-PSK-AES256-GCM-SHA384",
                  "ECDHE-ECDSA-AES128-GCM-SHA256", "ADH-AES256-GCM-SHA384"]


def test_strict_other_suites_get_no_association(peer):
    """Section 6.5: CBC, CCM-8, none at all, and everything that is not plain PSK."""
    for suite in REFUSED_SUITES:
        attempt = peer.dtls(suites=suite + ":@SECLEVEL=0")
        assert not attempt.handshake(0.3), suite
        assert not attempt.engine.got_handshake(SERVER_HELLO), suite
        time.sleep(0.25)  # not to be stopped by the limit on hellos instead
    assert peer.probe()
    assert peer.dtls().handshake(8)


def test_strict_older_dtls_gets_no_association(peer):
    """Section 6.5: nothing below DTLS 1.2, and 1.2 when both are offered."""
    old = peer.dtls(suites="PSK:@SECLEVEL=0", versions=(DTLS1_0, DTLS1_0))
    assert not old.handshake(1)
    assert not old.engine.got_handshake(SERVER_HELLO)
    both = peer.dtls(suites=f"{PSK_SUITES}:@SECLEVEL=0", versions=(DTLS1_0, DTLS1_2))
    assert both.handshake(8)
    assert both.engine.version == "DTLSv1.2"


def test_strict_no_dtls_after_the_session_or_after_another_connect(lab, device, peer, path):
    """Section 6.5: an App-ID dies with its CONNECT, and what was set up with it."""
    successor = connected(lab.laptop, device, cookie=peer.cookie)
    stale = peer.dtls()
    assert not stale.handshake(1)
    assert stale.datagrams == []
    live = successor.dtls()
    assert live.handshake()
    successor.send(DISCONNECT, BYE_USER)
    successor.read_end()
    live.send(DPD_REQUEST, b"anybody?")
    assert live.next(1) is None
    ended = successor.dtls()
    assert not ended.handshake(1)
    assert ended.datagrams == []


def test_strict_no_dtls_while_the_session_is_away(lab, device, peer, path):
    """Section 6.5: an end of file on TLS ends DTLS with it."""
    peer.close()
    time.sleep(0.3)
    path.send(DPD_REQUEST, b"anybody?")
    assert path.next(1) is None
    assert not peer.dtls().handshake(1)


@pytest.mark.parametrize("kind", [DISCONNECT, TERMINATE, COMPRESSED, 1, 6, 63, 255])
def test_strict_control_over_dtls_is_ignored(gateway, peer, path, kind):
    """Section 6.5: a session ends on TLS only; what is no frame for UDP is dropped and counted."""
    before = drops(gateway)
    path.send(kind, BYE_USER + b"Aborted by caller")
    path.send(kind)
    assert path.probe() and peer.probe()
    assert drops(gateway) - before == {"bad-frame": 2}
    assert_echo(path, path, peer.inner4)


def test_strict_dtls_end_and_renegotiation_do_not_end_the_session(lab, peer, path):
    """Section 6.5: close_notify and a second handshake inside are not for UDP to decide."""
    path.engine.renegotiate()
    path.flush()
    time.sleep(0.2)
    assert peer.probe()
    fresh = peer.dtls()
    assert fresh.handshake(8)
    fresh.engine.shutdown()
    fresh.flush()
    time.sleep(0.2)
    assert peer.probe()
    assert_echo(peer, peer, peer.inner4)


def sealed(path, kind, payload):
    """A record, not sent."""
    path.engine.write(bytes([kind]) + payload)
    return path.engine.drain()


def wrong_records(record):
    """(what the gateway counts it as, the record made so)."""
    yield from (("truncated", record[:length]) for length in (1, 12))
    yield from (("oversized", record[:length]) for length in (13, 20, len(record) - 1))
    yield "oversized", record + b"\0"
    yield "oversized", record[:11] + b"\xff\xff" + record[13:]
    yield "forged", record[:-1] + bytes([record[-1] ^ 1])
    yield "forged", record[:20] + bytes([record[20] ^ 1]) + record[21:]
    yield "forged", record[:5] + b"\xff" * 6 + record[11:]
    yield from (("wrong-epoch", record[:3] + epoch + record[5:]) for epoch in (b"\0\0", b"\0\2"))
    yield from (("wrong-version", record[:1] + version + record[3:])
                for version in (b"\xfe\xff", b"\x03\x03"))
    yield "not-dtls", b"\x19" + record[1:]


def test_strict_wrong_records_are_dropped_and_counted(gateway, peer, path):
    """They change nothing, and each is counted by what is wrong with it; a record counts once."""
    before = drops(gateway)
    record = sealed(path, DPD_REQUEST, b"once")
    assert record[0] == APPLICATION
    wanted = collections.Counter()
    for why, datagram in wrong_records(record):
        path.transmit(datagram)
        wanted[why] += 1
    assert path.next(0.3) is None
    path.transmit(record)
    assert path.next() == (DPD_RESPONSE, b"once")
    for _ in range(3):
        path.transmit(record)
    wanted["replayed"] += 3
    assert path.next(0.3) is None
    assert drops(gateway) - before == wanted
    assert path.probe() and peer.probe()


def test_strict_records_from_an_unknown_source_are_dropped(lab, peer, path):
    """A true record from another address, as after a NAT forgot: silence, and no harm."""
    stranger = open_socket(lab.laptop2, socket.SOCK_DGRAM, peer.address)
    stranger.settimeout(0.5)
    stranger.send(sealed(path, DPD_REQUEST, b"who?"))
    with pytest.raises(TimeoutError):
        stranger.recv(100)
    assert path.next(0.1) is None
    assert path.probe()


def test_strict_garbage_beside_a_busy_association(lab, peer, path):
    """Random datagrams from its own source and another while data flows: none is lost."""
    stranger = open_socket(lab.laptop2, socket.SOCK_DGRAM, peer.address)
    stop = threading.Event()

    def pour():
        while not stop.is_set():
            for sock in (stranger, path.sock):
                kind, size = os.urandom(2)
                sock.send(bytes([20 + kind % 6]) + os.urandom(4 * size))
            time.sleep(0.001)

    thread = threading.Thread(target=pour)
    thread.start()
    try:
        for sequence in range(200):
            path.send(DATA, echo_request(peer.inner4, sequence))
            assert await_echoes([path], [sequence]), sequence
    except Closed as closed:
        pytest.fail(f"closed: {closed}")
    finally:
        stop.set()
        thread.join()
    assert peer.probe() and path.probe()
