"""Protocol checklist, lines 10, 11, 13 to 20, 26 to 30, 42 and 43: CONNECT, cookies, and what a
session keeps when its connection goes.

    laptop (openconnect, or a raw peer) --- wan --- gw --- corp
"""

import re
import shutil
import signal
import socket
import struct
import time

import pytest

import traffic
from lab import CORP, wait_until
from peers import Openconnect, start_client, start_gateway
from rawpeer import (BYE_RECONNECTING, BYE_USER, DISCONNECT, TUNNEL, Closed, Peer, connected,
                     request)

LEGACY = "OC-DTLS1_2-AES256-GCM:DHE-RSA-AES256-SHA:AES128-SHA"
SECRET = ("X-DTLS-Master-Secret", "00" * 48)


@pytest.fixture
def device(lab, corp):
    return corp.device("alice")


def connect_with(ns, device, cookie, **options):
    """CONNECT on a new connection; the peer, its answer in it."""
    peer = Peer(ns, device)
    peer.cookie = cookie
    peer.connect(**options)
    return peer


def connect_status(ns, device, cookie):
    peer = Peer(ns, device)
    return peer.ask(request("CONNECT", TUNNEL, [("Cookie", f"webvpn={cookie}")])).status


def stock(lab, corp, device, *extra, dtls=False):
    return Openconnect(lab, lab.laptop, corp, device, dtls=dtls, extra=extra)


# Cookies.

def test_10_cookie_is_good_on_another_connection_at_once(lab, corp, device):
    """Line 10: while the connection that issued it is open still, and once it is not."""
    start_gateway(lab, corp)
    first, second = Peer(lab.laptop, device), Peer(lab.laptop, device)
    second.cookie = first.login()
    assert second.connect().status == 200
    assert first.login() != second.cookie
    assert second.probe()


def test_10_connect_on_the_connection_of_the_login(lab, corp, device):
    """Line 10: a client may also stay."""
    start_gateway(lab, corp)
    peer = Peer(lab.laptop, device)
    peer.login()
    peer.connect()
    assert peer.probe()


def test_connect_without_a_login_gives_the_cookie_that_brings_the_session_back(lab, corp, device):
    """As a tund does it at a tund; and a cookie that was sent is not given again."""
    gateway = start_gateway(lab, corp)
    first = Peer(lab.laptop, device)
    first.connect(cookie="")
    assert first.probe() and first.answer.cookie
    first.close()
    second = connect_with(lab.laptop, device, first.answer.cookie)
    assert (second.inner4, second.inner6) == (first.inner4, first.inner6) and second.probe()
    assert second.answer.get("Set-Cookie") is None
    assert connect_status(lab.laptop, corp.device("bob"), first.answer.cookie) == 401
    assert gateway.status()["sessions"] == 1


def test_a_tund_at_a_tund_asks_for_no_login(lab, corp, device):
    gateway = start_gateway(lab, corp)
    start_client(lab, corp, device).wait_status(state="up")
    assert "request -> asking" in gateway.process.log()
    assert "asking -> request" not in gateway.process.log()  # a login's answer


def test_11_cookie_is_refused_with_another_identity(lab, corp, device):
    """Line 11: 401 for a stolen cookie, before and while its session lives, undisturbed."""
    gateway = start_gateway(lab, corp)
    thief = corp.device("bob")
    unused = Peer(lab.laptop, device).login()
    alice = connected(lab.laptop, device)
    for cookie in (alice.cookie, unused):
        assert connect_status(lab.laptop, thief, cookie) == 401
    assert alice.probe()
    assert len(re.findall("refused bob .*: protocol-error: ", gateway.process.log())) == 2


def test_11_same_identity_with_a_new_certificate_takes_over(lab, corp, device):
    """Line 11: a renewed certificate, with a new key, goes on with the session."""
    start_gateway(lab, corp)
    renewed = corp.write("renewed", corp.root.issue("alice"))
    old = connected(lab.laptop, device)
    new = connect_with(lab.laptop, renewed, old.cookie)
    assert new.answer.addresses == old.answer.addresses
    assert new.probe()


def test_13_other_paths_and_methods_neither_crash_nor_hang(lab, corp, device):
    """Line 13: 404 to another path, 405 or 404 to another method."""
    start_gateway(lab, corp)
    good = connected(lab.laptop, device)
    for path in ("/", "/other", TUNNEL + "/", TUNNEL.lower(), f"{TUNNEL}?webvpn={good.cookie}",
                 "example.com:443", "*"):
        peer = Peer(lab.laptop, device)
        assert peer.ask(request("CONNECT", path)).status == 404, path
        assert peer.read_end() is None
    for method in ("PUT", "HEAD", "OPTIONS", "DELETE", "TRACE", "connect", "X" * 1000):
        peer = Peer(lab.laptop, device)
        assert peer.ask(request(method, "/")).status in (404, 405), method
        assert peer.read_end() is None
    assert good.probe()


@pytest.mark.parametrize("cookie", ["0" * 64, "x", "x" * 5000, "%00", "(null)", "==", "a b"],
                         ids=lambda cookie: cookie[:6])
def test_14_unknown_cookie_gets_401(lab, corp, device, cookie):
    """Line 14: whatever it looks like."""
    start_gateway(lab, corp)
    peer = Peer(lab.laptop, device)
    answer = peer.ask(request("CONNECT", TUNNEL, [("Cookie", f"webvpn={cookie}")]))
    assert answer.first.startswith("HTTP/1.1 401 ")
    assert peer.read_end() is None


def test_14_expired_cookie_gets_401(lab, corp, device):
    """Line 14: that of a login never used, and that of a session nobody came back to."""
    start_gateway(lab, corp, cookie_lifetime="1s")
    unused = Peer(lab.laptop, device).login()
    session = connected(lab.laptop, device)
    session.close()
    time.sleep(2.5)
    for cookie in (unused, session.cookie):
        assert connect_status(lab.laptop, device, cookie) == 401


def test_14_stock_peer_exits_2_with_a_cookie_nobody_gave(lab, corp, device):
    """Line 14: openconnect --cookie; it does not log in instead."""
    gateway = start_gateway(lab, corp)
    client = stock(lab, corp, device, "--cookie", "webvpn=" + "0" * 64)
    assert client.process.wait() == 2
    assert len(re.findall("accepted alice", gateway.process.log())) == 1


def test_14_stock_peer_exits_2_when_its_cookie_is_forgotten(lab, corp, device):
    """Line 14: while it reconnects; a gateway that lost its state knows no cookie."""
    gateway = start_gateway(lab, corp)
    client = stock(lab, corp, device).wait_up()
    client.process.send_signal(signal.SIGSTOP)  # or it would wait 10 s after a refused connection
    gateway.stop()
    shutil.rmtree(gateway.dir / "state")
    gateway.start()
    client.process.send_signal(signal.SIGCONT)
    assert client.process.wait() == 2


def test_15_temporary_refusal_is_503_with_its_reason(lab, corp, device):
    """Line 15: full now, and free when the other has gone."""
    start_gateway(lab, corp, max_sessions=1)
    bob = connected(lab.laptop, corp.device("bob"))
    peer = Peer(lab.laptop, device)
    peer.login()
    answer = peer.connect(expect=503)
    assert answer.first.startswith("HTTP/1.1 503 ")
    assert answer.get("X-Reason") == "full"
    assert peer.read_end() is None
    bob.send(DISCONNECT, BYE_USER)
    bob.read_end()
    assert connected(lab.laptop, device).probe()


def test_15_stock_peer_shows_the_reason(lab, corp, device):
    """Line 15: openconnect prints it and exits 1."""
    start_gateway(lab, corp, max_sessions=1)
    bob = connected(lab.laptop, corp.device("bob"))
    client = stock(lab, corp, device)
    assert client.process.wait() == 1
    assert re.search("503|full", client.log()), client.log()
    assert bob.probe()


# The answer.

KNOWN = {"X-CSTP-Version", "X-CSTP-Server-Name", "X-CSTP-DPD", "X-CSTP-Default-Domain",
         "X-CSTP-Address", "X-CSTP-Netmask", "X-CSTP-Address-IP6", "X-CSTP-DNS",
         "X-CSTP-Split-DNS", "X-CSTP-Split-Include", "X-CSTP-Split-Include-IP6",
         "X-CSTP-Tunnel-All-DNS", "X-CSTP-Split-Exclude", "X-CSTP-Split-Exclude-IP6",
         "X-CSTP-Keepalive", "X-CSTP-Idle-Timeout", "X-CSTP-Rekey-Time", "X-CSTP-Rekey-Method",
         "X-CSTP-Session-Timeout", "X-CSTP-Base-MTU", "X-CSTP-MTU", "X-DTLS-DPD", "X-DTLS-Port",
         "X-DTLS-Keepalive", "X-DTLS-App-ID", "X-DTLS-CipherSuite"}


def test_16_success_is_200_with_exact_names_and_no_body(lab, corp, device):
    """Line 16: a stock client compares the case; what follows is a frame in a record of its own."""
    start_gateway(lab, corp, dns=["10.50.0.53", "fd50::53"], domains=["corp.example"],
                  exclude=["10.50.0.9/32", "fd50::9/128"], idle_timeout="1h")
    peer = Peer(lab.laptop, device)
    peer.login()
    answer = peer.connect()
    assert answer.first.startswith("HTTP/1.1 200 ")
    assert {name for name, _ in answer.fields} == KNOWN
    assert answer.body == b""
    assert peer.probe()


def test_16_stock_peer_understands_what_it_is_told(lab, corp, device):
    """Line 16: openconnect --dump-http-traffic shows and takes every line."""
    start_gateway(lab, corp, dns=["10.50.0.53"], domains=["corp.example"])
    client = stock(lab, corp, device, "--dump-http-traffic", "-vv", dtls=True).wait_up()
    for name in ("X-CSTP-MTU", "X-CSTP-Address", "X-CSTP-DNS", "X-DTLS-App-ID", "X-DTLS-Port"):
        assert re.search(rf"{name}: \S+", client.log()), name
    assert not re.search("Unknown|malformed|Failed to parse", client.log())


@pytest.mark.parametrize("families", [None, "IPv4", "IPv6", "IPv6,IPv4"], ids=str)
def test_17_an_mtu_and_an_address_are_always_there(lab, corp, device, families):
    """Line 17: whatever was asked for."""
    start_gateway(lab, corp)
    answer = connected(lab.laptop, device, families=families).answer
    assert 576 <= int(answer.get("X-CSTP-MTU")) <= 1500
    assert answer.all("X-CSTP-Address") or answer.all("X-CSTP-Address-IP6")


@pytest.mark.parametrize("families", ["IPv6", "", "IPX"])
def test_17_without_an_address_there_is_no_200(lab, corp, device, families):
    """Line 17: a device that wants none of the families that the gateway has is refused."""
    start_gateway(lab, corp, pool=["10.99.0.0/24"])
    peer = Peer(lab.laptop, device)
    peer.login()
    answer = peer.connect(families=families, expect=503)
    assert answer.get("X-Reason") == "full"


def test_18_address_type_is_honoured(lab, corp, device):
    """Line 18: each family, both, and both forms of IPv6; again by the same device."""
    start_gateway(lab, corp)
    for families in ("IPv6,IPv4", "IPv4", "IPv6", "IPv4,IPv6"):
        peer = connected(lab.laptop, device, families=families)
        answer = peer.answer
        assert len(answer.all("X-CSTP-Address")) == ("IPv4" in families), families
        assert len(answer.all("X-CSTP-Address-IP6")) == ("IPv6" in families), families
        assert len(answer.all("X-CSTP-Split-Include-IP6")) == ("IPv6" in families), families
        peer.send(DISCONNECT, BYE_USER)
        peer.close()


def test_18_ipv6_for_a_client_of_the_old_form(lab, corp, device):
    """Line 18: without Full-IPv6-Capability a second Address and Netmask pair carries it."""
    start_gateway(lab, corp)
    peer = Peer(lab.laptop, device)
    cookie = peer.login()
    answer = peer.ask(request("CONNECT", TUNNEL, [("Cookie", f"webvpn={cookie}"),
                                                  ("X-CSTP-Address-Type", "IPv6,IPv4")]))
    v4, v6 = answer.all("X-CSTP-Address")
    assert "." in v4 and ":" in v6
    assert answer.all("X-CSTP-Netmask")[1].startswith(v6 + "/")
    assert answer.get("X-CSTP-Address-IP6") is None


def test_18_stock_peer_without_ipv6(lab, corp, device):
    """Line 18: openconnect --disable-ipv6 gets IPv4 alone, and IPv4 works."""
    start_gateway(lab, corp)
    client = stock(lab, corp, device, "--disable-ipv6").wait_up()
    traffic.assert_pings(lab.laptop, CORP[4], count=1)
    shown = lab.laptop.ip("-6", "-o", "addr", "show", "dev", client.interface, "scope", "global")
    assert shown == ""


def test_19_reconnect_gets_the_same_text(lab, corp, device):
    """Line 19: address, mask and prefix, over and again, live or after an end of file."""
    start_gateway(lab, corp)
    first = peer = connected(lab.laptop, device)
    for i in range(4):
        if i % 2:
            peer.close()
        peer = connect_with(lab.laptop, device, peer.cookie,
                            fields=[("X-CSTP-Address", peer.inner4),
                                    ("X-CSTP-Address", peer.inner6)])
        assert peer.answer.addresses == first.answer.addresses
    assert peer.probe()


def test_19_stock_peer_reconnects(lab, corp, device):
    """Line 19: SIGUSR2; openconnect ends itself when a letter of its addresses changes."""
    start_gateway(lab, corp)
    client = stock(lab, corp, device, dtls=True).wait_up()
    before = client.inner(4), client.inner(6)
    for _ in range(2):
        mark = client.process.mark()
        client.reconnect()
        client.process.wait_for("SSL connected|Established DTLS connection", since=mark)
        traffic.assert_pings(lab.laptop, *CORP.values(), count=1)
    assert (client.inner(4), client.inner(6)) == before


def test_20_second_connect_takes_the_session_over(lab, corp, device):
    """Line 20: the old connection ends without a DISCONNECT, and a BYE on it does no harm."""
    gateway = start_gateway(lab, corp)
    old = connected(lab.laptop, device)
    new = connect_with(lab.laptop, device, old.cookie)
    assert new.answer.addresses == old.answer.addresses
    old.send(DISCONNECT, BYE_USER + b"Aborted by caller")
    assert old.read_end() is None
    assert old.left == []
    assert new.probe()
    assert "ended:" not in gateway.process.log()
    assert connect_with(lab.laptop, device, new.cookie).probe()


def test_20_old_connection_is_closed_for_a_silent_peer_too(lab, corp, device):
    """Line 20: it drains for a moment and then ends."""
    start_gateway(lab, corp)
    old = connected(lab.laptop, device)
    new = connect_with(lab.laptop, device, old.cookie)
    assert old.read_end(8) is None
    assert old.left == []
    assert new.probe()


# The end, or not.

ENDS = {"bye-user": (BYE_USER + b"Aborted by caller", False), "bye-user-bare": (BYE_USER, False),
        "bye-local-error": (b"\x70", False), "bye-empty": (b"", True),
        "bye-reconnecting": (BYE_RECONNECTING, True), "bye-pause": (b"\xd1", True),
        "end-of-file": (None, True)}


@pytest.mark.parametrize("end", ENDS)
def test_26_which_end_keeps_the_cookie(lab, corp, device, end):
    """Line 26: BYE b0 ends it; an end of file, an empty BYE and 91 keep it."""
    start_gateway(lab, corp)
    payload, keeps = ENDS[end]
    peer = connected(lab.laptop, device)
    if payload is not None:
        peer.send(DISCONNECT, payload)
        peer.read_end()
    peer.close()
    if not keeps:
        assert connect_status(lab.laptop, device, peer.cookie) == 401
        return
    again = connect_with(lab.laptop, device, peer.cookie)
    assert again.answer.addresses == peer.answer.addresses


def test_26_reset_keeps_the_cookie(lab, corp, device):
    """Line 26: a connection that breaks is an end of file."""
    gateway = start_gateway(lab, corp)
    peer = connected(lab.laptop, device)
    linger_for_no_time = struct.pack("ii", 1, 0)
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_for_no_time)
    peer.close()
    gateway.process.wait_for("open -> away")
    assert connect_with(lab.laptop, device, peer.cookie).probe()


@pytest.mark.parametrize("how, keeps", [(signal.SIGINT, False), (signal.SIGHUP, True)],
                         ids=["INT", "HUP"])
def test_26_stock_peer_ends_and_detaches(lab, corp, device, how, keeps):
    """Line 26: SIGINT says BYE, SIGHUP says nothing and the session waits."""
    gateway = start_gateway(lab, corp)
    client = stock(lab, corp, device).wait_up()
    assert client.process.stop(how) == 0
    gateway.process.wait_for("open -> away" if keeps else " ended: ")


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["TERM", "KILL"])
def test_27_gateway_restart_is_a_reconnect(lab, corp, device, how):
    """Line 27: TCP closes without DISCONNECT; openconnect comes back to the same addresses."""
    gateway = start_gateway(lab, corp)
    client = stock(lab, corp, device, dtls=True).wait_up()
    before = client.inner(4), client.inner(6)
    mark = client.process.mark()
    time.sleep(0.5)  # what is younger than a twentieth of a second a crash may forget
    gateway.process.send_signal(how)
    gateway.process.wait()
    gateway.start()
    traffic_is_back(lab, client, mark)
    assert (client.inner(4), client.inner(6)) == before
    assert "BYE" not in client.log() and "Server request" not in client.log()


def traffic_is_back(lab, client, mark):
    client.process.wait_for("Established DTLS connection", 25, since=mark)
    traffic.assert_pings(lab.laptop, *CORP.values(), count=1)


def test_27_raw_restart_says_no_word_and_keeps_cookies_and_addresses(lab, corp, device):
    """Line 27: on the wire, an end of file and no frame; the cookie is still good."""
    gateway = start_gateway(lab, corp)
    peer = connected(lab.laptop, device)
    assert peer.probe()
    gateway.process.send_signal(signal.SIGTERM)
    peer.read_end()
    assert peer.left == []
    gateway.process.wait()
    gateway.start()
    again = connect_with(lab.laptop, device, peer.cookie)
    assert again.answer.addresses == peer.answer.addresses
    assert again.answer.app_id != peer.answer.app_id


# DTLS, as far as CONNECT goes.

@pytest.mark.serial
def test_28_without_dtls_the_tunnel_is_up_at_once(lab, corp, device):
    """Line 28: openconnect --no-dtls: no X-DTLS line, and less than 2 s."""
    start_gateway(lab, corp)
    begin = time.monotonic()
    client = stock(lab, corp, device, "--dump-http-traffic").wait_up()
    assert time.monotonic() - begin < 2
    assert "X-CSTP-MTU" in client.log() and "X-DTLS" not in client.log()
    traffic.assert_pings(lab.laptop, CORP[4], count=1)


WITH_PSK = ["PSK-NEGOTIATE", f"PSK-NEGOTIATE:{LEGACY}", f"{LEGACY}:PSK-NEGOTIATE",
            f"AES128-SHA:PSK-NEGOTIATE:{LEGACY}"]
WITHOUT_PSK = [None, "", LEGACY, "PSK-NEGOTIATED", "XPSK-NEGOTIATE:AES128-SHA", "psk-negotiate",
               "PSK", ":::"]


@pytest.mark.parametrize("suites", WITH_PSK, ids=["alone", "first", "last", "amid"])
def test_29_psk_negotiate_anywhere_in_the_list(lab, corp, device, suites):
    """Line 29: App-ID, port and suite are sent."""
    start_gateway(lab, corp)
    answer = connected(lab.laptop, device, dtls=suites, fields=[SECRET]).answer
    assert re.fullmatch("[0-9a-f]{64}", answer.get("X-DTLS-App-ID"))
    assert answer.get("X-DTLS-Port") == "443"
    assert answer.get("X-DTLS-CipherSuite") == "PSK-NEGOTIATE"
    assert answer.get("X-DTLS-Session-ID") is None


def test_29_app_id_is_fresh_at_every_connect(lab, corp, device):
    """Line 29: also with the same cookie."""
    start_gateway(lab, corp)
    peers = [connected(lab.laptop, device)]
    for _ in range(4):
        peers.append(connect_with(lab.laptop, device, peers[-1].cookie))
    assert len({peer.answer.app_id for peer in peers}) == len(peers)


def test_30_no_psk_negotiate_no_dtls(lab, corp, device):
    """Line 30, and 6.5: nothing of the legacy modes, whatever secret comes along."""
    start_gateway(lab, corp)
    for suites in WITHOUT_PSK:
        answer = connected(lab.laptop, device, dtls=suites, fields=[
            SECRET, ("X-DTLS12-CipherSuite", "PSK-NEGOTIATE:AES128-GCM-SHA256")]).answer
        assert answer.names("X-DTLS") == [], suites


def app_ids(client):
    return set(re.findall(r"X-DTLS-App-ID: (\w{64})", client.log()))


@pytest.mark.slow
def test_42_new_tunnel_rekey_keeps_addresses_and_changes_keys(lab, corp, device):
    """Line 42: openconnect reconnects when the time is up: a new App-ID, and the same addresses."""
    gateway = start_gateway(lab, corp, rekey="6s")
    client = stock(lab, corp, device, "--dump-http-traffic", dtls=True).wait_up()
    before = client.inner(4), client.inner(6)
    assert len(app_ids(client)) == 1
    mark = client.process.mark()
    client.process.wait_for("X-DTLS-App-ID: ", 15, since=mark)
    client.process.wait_for("Established DTLS connection", 15, since=mark)
    assert len(app_ids(client)) == 2
    assert (client.inner(4), client.inner(6)) == before
    traffic.assert_pings(lab.laptop, *CORP.values(), count=1)
    assert client.process.running() and "ended:" not in gateway.process.log()


def test_42_rekey_is_announced_for_tls_alone(lab, corp, device):
    """Line 42: new-tunnel with its time, and no X-DTLS-Rekey; a new tunnel has a new PSK."""
    start_gateway(lab, corp, rekey="6s")
    old = connected(lab.laptop, device)
    assert old.answer.get("X-CSTP-Rekey-Method") == "new-tunnel"
    assert old.answer.get("X-CSTP-Rekey-Time") == "6"
    assert old.answer.names("X-DTLS-Rekey") == []
    new = connect_with(lab.laptop, device, old.cookie)
    assert new.answer.addresses == old.answer.addresses
    assert new.tls.psk() != old.tls.psk()
    with_old_key = new.dtls(psk=old.tls.psk())
    assert not with_old_key.handshake(1.5)
    assert new.dtls().handshake()


@pytest.mark.parametrize("wild", ["0", "-1", "1", "575", "100", "1279", "9217", "65535", "70000",
                                  "4294967296", "99999999999999999999", "1400x", "0x578", "", "x"])
def test_43_mtu_out_of_bounds_is_ignored(lab, corp, device, wild):
    """Line 43: as if it were not there."""
    start_gateway(lab, corp)
    plain = connected(lab.laptop, device)
    answer = connect_with(lab.laptop, device, plain.cookie, fields=[
        ("X-CSTP-Base-MTU", wild), ("X-CSTP-MTU", wild)]).answer
    assert answer.get("X-CSTP-MTU") == plain.answer.get("X-CSTP-MTU") == "1434"


@pytest.mark.parametrize("base, families, inner", [("1400", "IPv6,IPv4", "1334"),
                                                   ("1280", "IPv4", "1214"),
                                                   ("576", "IPv4", None), ("9216", "IPv4", "1434")])
def test_43_mtu_within_bounds_counts(lab, corp, device, base, families, inner):
    """Line 43, the control: less header and record, never more than the path has."""
    start_gateway(lab, corp)
    answer = connected(lab.laptop, device, families=families,
                       fields=[("X-CSTP-Base-MTU", base)]).answer
    if inner:
        assert answer.get("X-CSTP-MTU") == inner
    assert 510 <= int(answer.get("X-CSTP-MTU")) <= int(base)


def test_strict_cookie_is_not_taken_from_elsewhere(lab, corp, device):
    """Section 6.3: in the path, in another header or another's name it is none: a new session."""
    start_gateway(lab, corp)
    old = connected(lab.laptop, device)
    for fields in ([("X-Cookie", f"webvpn={old.cookie}")], [("Cookie", f"notwebvpn={old.cookie}")]):
        peer = Peer(lab.laptop, device)
        answer = peer.ask(request("CONNECT", TUNNEL, fields))
        assert answer.status == 200
        assert old.read_end() is None, "replaced by another session"
        assert [record[6] for record in old.left] == [DISCONNECT]
        old = connected(lab.laptop, device)


def test_strict_frames_behind_the_request_are_pipelining(lab, corp, device):
    """Section 6.5: nothing may be sent before the answer has come."""
    gateway = start_gateway(lab, corp)
    peer = Peer(lab.laptop, device)
    cookie = peer.login()
    text = request("CONNECT", TUNNEL, [("Cookie", f"webvpn={cookie}")])
    assert peer.ask(text + b"STF\x01\0\0\x07\0").status == 400
    with pytest.raises(Closed):
        peer.next()
    wait_until(lambda: "refused alice" in gateway.process.log(), 5, "a refusal")
    assert connected(lab.laptop, device).probe()
