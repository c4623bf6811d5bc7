"""Protocol checklist, lines 1 to 9 and 12: TLS and the first request; and what a strict server
refuses before CONNECT.

    laptop (openconnect, or a raw peer) --- wan --- gw
"""

import re
import time

import pytest

from lab import GATEWAY_NAME, GATEWAY_V4, GATEWAY_V6, wait_until
from openssl import CERTIFICATE_REQUEST, NEW_TICKET, TLS1_2, TLS1_3
from peers import Openconnect, Tund, gateway_config, start_gateway
from pki import Authority
from rawpeer import INIT, TUNNEL, Answer, Closed, Peer, request

SUCCESS = b'<auth id="success">'
STRAP = [("X-AnyConnect-STRAP-Pubkey", "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE" + "A" * 88),
         ("X-AnyConnect-STRAP-DH-Pubkey", "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE" + "A" * 88)]
MOBILE = [("X-AnyConnect-Identifier-ClientVersion", "v9.01-3"),
          ("X-AnyConnect-Identifier-Platform", "android"),
          ("X-AnyConnect-Identifier-PlatformVersion", "1.0"),
          ("X-AnyConnect-Identifier-DeviceType", "phone"),
          ("X-AnyConnect-Identifier-Device-UniqueID", "0123")]
AGGREGATE = [("Accept", "*/*"), ("Accept-Encoding", "identity"), ("X-Transcend-Version", "1"),
             ("X-Aggregate-Auth", "1"), ("X-Support-HTTP-Auth", "true")]
PAD = [("X-Pad", "0" * 64)]
HEAD_LIMIT, BODY_LIMIT, REQUEST_LIMIT = 16 * 1024, 8 * 1024, 16

ADDRESS = f"https://{GATEWAY_V4[0]}"


@pytest.fixture
def device(lab, corp):
    return corp.device("alice")


def stock(lab, corp, device, *extra, url=f"https://{GATEWAY_NAME}"):
    return Openconnect(lab, lab.laptop, corp, device, dtls=False, extra=extra, url=url)


@pytest.mark.parametrize("alpn", [None, b"openconnect-vpn/1.1", b"h2"], ids=str)
@pytest.mark.parametrize("server_name", [None, GATEWAY_NAME, "other.example"], ids=str)
def test_01_tls_1_3_with_any_server_name_and_alpn(lab, corp, device, server_name, alpn):
    """Line 1: TLS 1.3 with SNI present or absent and without ALPN."""
    start_gateway(lab, corp)
    peer = Peer(lab.laptop, device, server_name=server_name, alpn=alpn)
    assert peer.tls.version == "TLSv1.3"
    assert peer.tls.alpn() is None
    assert peer.login()


@pytest.mark.parametrize("url", [ADDRESS, f"https://{GATEWAY_NAME}", f"https://[{GATEWAY_V6[0]}]"])
def test_01_stock_peer_by_name_and_by_address(lab, corp, device, url):
    """Line 1: openconnect sends SNI for a name and none for an address."""
    gateway = start_gateway(lab, corp)
    stock(lab, corp, device, url=url).wait_up()
    assert "TLSv1.3" in gateway.process.log()


@pytest.mark.parametrize("who, alert", [("nobody", 116), ("stranger", 48)])
def test_02_03_a_handshake_needs_a_valid_certificate_and_an_alert_says_so(lab, corp, who, alert):
    """Lines 2 and 3: the certificate is asked for, and a refusal is an alert and an orderly end."""
    start_gateway(lab, corp)
    credentials = None
    if who == "stranger":
        credentials = corp.write("stranger", Authority("Other Root").issue("alice"))
    peer = Peer(lab.laptop, credentials)
    assert peer.tls.got_handshake(CERTIFICATE_REQUEST)
    for _ in range(3):  # a client that speaks before it listens must not meet a reset
        peer.write(request("POST", "/", (), INIT))
        time.sleep(0.03)
    assert peer.read_end() == f"alert {alert}"
    assert peer.left == []
    assert peer.sock.recv(1) == b"", "nothing but the end may follow"


def test_02_every_handshake_asks_for_the_certificate(lab, corp, device):
    """Line 2: also that of a peer that has been here and would like to resume."""
    start_gateway(lab, corp)
    first = Peer(lab.laptop, device)
    first.login()
    assert not first.tls.got_handshake(NEW_TICKET)
    again = Peer(lab.laptop, device, resume=first.tls)
    again.login()
    for peer in (first, again):
        assert peer.tls.got_handshake(CERTIFICATE_REQUEST) and not peer.tls.resumed
    bare = Peer(lab.laptop, None, resume=first.tls)
    assert bare.read_end() == "alert 116"


def test_02_the_certificate_is_what_lets_in(lab, corp, device):
    """Line 2, the control: the same peer is served with it and not without."""
    start_gateway(lab, corp)
    assert Peer(lab.laptop, device).login()
    with pytest.raises(Closed, match="alert 116"):
        Peer(lab.laptop, None).login()


def test_03_stock_peer_sees_the_alert(lab, corp):
    """Line 3: openconnect prints the alert, exits 1 and does not try again."""
    gateway = start_gateway(lab, corp)
    stranger = corp.write("stranger", Authority("Other Root").issue("alice"))
    client = stock(lab, corp, stranger)
    assert client.process.wait() == 1
    assert "TLS fatal alert has been received" in client.log(), client.log()
    assert len(re.findall("refused ", gateway.process.log())) == 1


BODIES = {"init": INIT, "empty": b"", "none": None, "x": b"x", "binary": bytes(range(256)),
          "limit": b"0" * BODY_LIMIT}


@pytest.mark.parametrize("body", BODIES)
def test_04_05_post_with_any_body_is_a_login(lab, corp, device, body):
    """Lines 4 and 5: 200, the success document with its length, and the cookie."""
    start_gateway(lab, corp)
    peer = Peer(lab.laptop, device)
    answer = peer.ask(request("POST", "/", AGGREGATE + PAD, BODIES[body]))
    assert_login(answer)


def assert_login(answer):
    assert answer.first.startswith("HTTP/1.1 200 ")
    assert SUCCESS in answer.body
    assert int(answer.get("Content-Length")) == len(answer.body)
    (cookie,) = answer.all("Set-Cookie")
    assert re.fullmatch(r"webvpn=[0-9A-Za-z_-]{43,}; Secure; HttpOnly", cookie), cookie


@pytest.mark.parametrize("pad", [1, 13, 64])
def test_04_padding_of_any_length(lab, corp, device, pad):
    """Line 4: X-Pad is ignored."""
    start_gateway(lab, corp)
    assert Peer(lab.laptop, device).login([("X-Pad", "0" * pad)])


def test_05_every_login_gives_another_cookie(lab, corp, device):
    """Line 5: cookies are random, on one connection as on several."""
    start_gateway(lab, corp)
    peer = Peer(lab.laptop, device)
    cookies = {peer.login(), peer.login(), Peer(lab.laptop, device).login()}
    assert len(cookies) == 3


def test_06_get_with_an_empty_body_is_a_login(lab, corp, device):
    """Line 6: GET / with Content-Length: 0 gets what POST gets."""
    start_gateway(lab, corp)
    peer = Peer(lab.laptop, device)
    by_get = peer.ask(request("GET", "/", PAD + [
        ("Content-Type", "application/x-www-form-urlencoded")], b""))
    by_post = peer.ask(request("POST", "/", (), INIT))
    assert_login(by_get)
    assert by_get.body == by_post.body


def test_06_stock_peer_without_xmlpost(lab, corp, device):
    """Line 6: openconnect --no-xmlpost begins with that GET."""
    start_gateway(lab, corp)
    stock(lab, corp, device, "--no-xmlpost").wait_up()


def test_07_unknown_headers_are_ignored(lab, corp, device):
    """Line 7: STRAP, X-AnyConnect-*, X-Aggregate-Auth, on POST and on CONNECT."""
    start_gateway(lab, corp)
    peer = Peer(lab.laptop, device)
    peer.login(AGGREGATE + STRAP + MOBILE + PAD + [("X-Nobody-Knows", "this: header, \xe9")])
    peer.connect(fields=STRAP + [("X-AnyConnect-STRAP-Verify", "MEUCIQ" + "A" * 90),
                                 ("X-CSTP-Hostname", "laptop"),
                                 ("X-CSTP-Accept-Encoding", "oc-lz4,lzs"),
                                 ("X-DTLS-Accept-Encoding", "oc-lz4,lzs")])
    assert not [name for name, _ in peer.answer.fields if name.endswith("Content-Encoding")]
    assert peer.probe()


def test_07_stock_peer_of_a_phone(lab, corp, device):
    """Line 7: openconnect --os=android adds the identifiers of a mobile device."""
    start_gateway(lab, corp)
    stock(lab, corp, device, "--os=android").wait_up()


@pytest.mark.parametrize("spell", [str.lower, str.upper], ids=["lower", "upper"])
def test_08_request_header_names_in_any_case(lab, corp, device, spell):
    """Line 8: login and CONNECT mean the same however their names are written."""
    start_gateway(lab, corp)
    usual = Peer(lab.laptop, device)
    usual.login()
    usual.connect(families="IPv4")
    peer = Peer(lab.laptop, device)
    text = request("POST", "/", (), INIT)
    text = text.replace(b"Content-Length", spell("Content-Length").encode())
    cookie = peer.ask(text).cookie
    fields = [("Cookie", f"webvpn={cookie}"), ("X-CSTP-Address-Type", "IPv4"),
              ("X-DTLS-CipherSuite", "PSK-NEGOTIATE"), ("X-CSTP-Base-MTU", "1400")]
    answer = peer.ask(request("CONNECT", TUNNEL, [(spell(name), value) for name, value in fields]))
    assert answer.status == 200
    assert len(answer.app_id) == 32
    assert answer.get("X-CSTP-Address") == usual.inner4
    assert answer.get("X-CSTP-Address-IP6") is None
    assert int(answer.get("X-CSTP-MTU")) < int(usual.answer.get("X-CSTP-MTU"))


def no_access(lab, corp):
    config = gateway_config(corp)
    config.set('access "everyone"', match=["o=Elsewhere"])
    return Tund(lab, lab.gw, config).start()


def test_09_unauthorised_certificate_gets_403(lab, corp, device):
    """Line 9: authenticated, but no access block: 403 to each request."""
    no_access(lab, corp)
    for method, path in (("POST", "/"), ("GET", "/"), ("CONNECT", TUNNEL)):
        peer = Peer(lab.laptop, device)
        answer = peer.ask(request(method, path))
        assert answer.status == 403 and answer.get("X-Reason") == "no-access"
        assert answer.cookie is None


def test_09_stock_peer_stops_at_403(lab, corp, device):
    """Line 9: openconnect exits 1 and asks no more."""
    gateway = no_access(lab, corp)
    client = stock(lab, corp, device)
    assert client.process.wait() == 1
    assert len(re.findall("accepted alice", gateway.process.log())) == 1
    assert len(re.findall("refused alice", gateway.process.log())) == 1


# What else a strict server refuses here.

def refused(peer, text):
    """The status of an answer that is the last thing before the connection's orderly end."""
    for at in range(0, len(text), 16000):
        peer.write(text[at:at + 16000])
    assert peer.read_end() is None
    answer = Answer(b"".join(peer.left))
    assert not answer.body and answer.cookie is None
    return answer.status


def post(*lines, body=b""):
    return "\r\n".join(["POST / HTTP/1.1", "Host: vpn", *lines, "", ""]).encode("latin-1") + body


MALFORMED = {
    "pipelined": (post("Content-Length: 0") * 2, 400),
    "bytes-behind-the-request": (post("Content-Length: 1", body=b"xy"), 400),
    "chunked": (post("Transfer-Encoding: chunked", body=b"0\r\n\r\n"), 400),
    "chunked-with-a-length": (post("Transfer-Encoding: chunked", "Content-Length: 5",
                                   body=b"0\r\n\r\n"), 400),
    "other-coding": (post("Transfer-Encoding: gzip"), 400),
    "two-lengths": (post("Content-Length: 0", "Content-Length: 1", body=b"x"), 400),
    "negative-length": (post("Content-Length: -1"), 400),
    "signed-length": (post("Content-Length: +0"), 400),
    "hexadecimal-length": (post("Content-Length: 0x0"), 400),
    "endless-length": (post("Content-Length: 99999999999999999999"), 400),
    "bare-lf": (b"POST / HTTP/1.1\nHost: vpn\n\n", 400),
    "one-bare-lf": (post("X-A: b\nX-C: d"), 400),
    "bare-cr": (post("X-A: b\rX-C: d"), 400),
    "nul": (post("X-A: b\0c"), 400),
    "folded": (post("X-A: b", " c"), 400),
    "space-before-colon": (post("X-A : b"), 400),
    "no-colon": (post("X-A"), 400),
    "no-name": (post(": b"), 400),
    "no-target": (b"POST HTTP/1.1\r\nHost: vpn\r\n\r\n", 400),
    "two-spaces": (b"POST  / HTTP/1.1\r\nHost: vpn\r\n\r\n", 400),
    "not-http": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", 400),
    "http-1.0": (b"POST / HTTP/1.0\r\nHost: vpn\r\n\r\n", 505),
    "http-2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "body-over-the-limit": (post(f"Content-Length: {BODY_LIMIT + 1}"), 413),
    "head-over-the-limit": (post("X-A: " + "a" * HEAD_LIMIT), 413),
    "head-without-an-end": (b"POST / HTTP/1.1\r\nX-A: " + b"a" * (HEAD_LIMIT - 10), 413),
    "too-many-fields": (post(*(f"X-{i}: y" for i in range(101))), 413),
}


@pytest.fixture
def patient_gateway(lab, corp):
    """One that takes many connections of one source."""
    config = gateway_config(corp)
    config.set("limits", handshakes_per_source=1000, handshakes=1000)
    return Tund(lab, lab.gw, config).start()


def test_strict_malformed_requests_are_refused_and_nothing_else_suffers(
        lab, corp, device, patient_gateway):
    """Section 6.5: pipelining, chunks, limits, and tricks with line ends."""
    good = Peer(lab.laptop, device)
    good.login()
    good.connect()
    got = {name: refused(Peer(lab.laptop, device), text) for name, (text, _) in MALFORMED.items()}
    assert got == {name: status for name, (_, status) in MALFORMED.items()}
    log = patient_gateway.process.log()
    assert len(re.findall(r"refused alice .*: protocol-error: ", log)) == len(MALFORMED)
    assert good.probe()


def test_strict_a_request_in_pieces_is_whole(lab, corp, device):
    """The control of pipelining: one byte a record is one request all the same."""
    start_gateway(lab, corp)
    peer = Peer(lab.laptop, device)
    for byte in request("POST", "/", (), b"<x/>"):
        peer.write(bytes([byte]))
    assert_login(peer.read_answer())


def test_strict_only_a_handful_of_requests_on_one_connection(lab, corp, device):
    """Section 6.5: the limit is that of stock servers, 16."""
    start_gateway(lab, corp)
    peer = Peer(lab.laptop, device)
    for _ in range(REQUEST_LIMIT):
        peer.login()
    assert refused(peer, request("POST", "/", (), INIT)) == 503
    assert Peer(lab.laptop, device).login()


def test_strict_half_a_request_ends_with_the_time_limit(lab, corp, device):
    """Section 6.5: who does not finish is not waited for."""
    config = gateway_config(corp).set("limits", handshake_timeout="1s")
    gateway = Tund(lab, lab.gw, config).start()
    peer = Peer(lab.laptop, device)
    peer.write(b"POST / HTTP/1.1\r\nHost:")
    assert peer.read_end() is None
    gateway.process.wait_for("refused alice .*handshake-timeout")


def test_strict_tls_1_2_is_refused_with_an_alert(lab, corp, device):
    """Section 6.5: nothing below TLS 1.3, also when both are offered in a downgrade."""
    start_gateway(lab, corp)
    peer = Peer(lab.laptop, device, versions=(TLS1_2, TLS1_2))
    assert peer.tls.alert == 70
    assert Peer(lab.laptop, device, versions=(TLS1_2, TLS1_3)).tls.version == "TLSv1.3"


def test_12_end_without_close_notify_is_a_normal_close(lab, corp, device):
    """Line 12: before a request, after a login, out of a session: nothing is warned of."""
    gateway = start_gateway(lab, corp)
    Peer(lab.laptop, device).close()
    after_login = Peer(lab.laptop, device)
    after_login.login()
    after_login.close()
    session = Peer(lab.laptop, device)
    session.login()
    session.connect()
    session.close()
    gateway.process.wait_for(r"session \d+ .*open -> away")
    assert not re.search("refused|protocol-error|TLS: ", gateway.process.log())


def test_12_stock_peer_leaves_no_complaint(lab, corp, device):
    """Line 12: openconnect never sends close_notify, on any of its connections."""
    gateway = start_gateway(lab, corp)
    client = stock(lab, corp, device).wait_up()
    assert client.stop() == 0
    wait_until(lambda: " ended: " in gateway.process.log(), 5, "the session's end")
    assert not re.search("refused|protocol-error|TLS: ", gateway.process.log())
