"""Our client logs in to a gateway that is not tund: lines 1 to 6 of the client half of the protocol
checklist. test_b03_WHAT is line 3.

    laptop (tund) --- wan --- gw (stock ocserv, or a gateway that does what the test says)

Stock ocserv shows what works; where it never misbehaves, the scripted gateway does.
"""

import re
import time

import pytest

from lab import GATEWAY_NAME, assert_unchanged, snapshot
from openssl import HANDSHAKE
from peers import Ocserv, start_client
from pki import SERVER_AUTH, Authority
from rawgateway import COOKIE, SUCCESS, RawGateway, chunked, response

CLIENT_CERTIFICATE = 11
CLIENT_HELLO, SERVER_HELLO = 1, 2


def test_b01_shows_name_and_certificate_on_every_connection(lab, corp):
    def script(conn):
        conn.serve()
        if conn.number == 0:
            conn.probe()
            return  # and the connection ends: the client comes back with its cookie
        conn.hold()

    with RawGateway(lab, corp, script) as gateway:
        client = start_client(lab, corp)
        gateway.wait(2)
        client.wait_status(state="up")
    for conn in gateway.connections[:2]:
        hello = conn.tls.received(HANDSHAKE)[0]
        assert hello[0] == CLIENT_HELLO and GATEWAY_NAME.encode() in hello
        certificates = [m for m in conn.tls.received(HANDSHAKE) if m[0] == CLIENT_CERTIFICATE]
        assert len(certificates) == 1 and b"alice" in certificates[0]


@pytest.mark.parametrize("spoil,word", [
    (lambda corp: corp.root.issue(GATEWAY_NAME, usages=(SERVER_AUTH,), dns=["other.example"]),
     "name-mismatch"),
    (lambda corp: Authority("Other Root").issue(GATEWAY_NAME, usages=(SERVER_AUTH,),
                                                dns=[GATEWAY_NAME]), "issuer-unknown"),
], ids=["name", "chain"])
def test_b01_verifies_the_name_and_the_chain(lab, corp, spoil, word):
    credentials = corp.write("spoiled", spoil(corp))
    ocserv = Ocserv(lab, corp, credentials=credentials)
    before = snapshot(lab.laptop)
    client = start_client(lab, corp, wait=False)
    status = client.wait_trouble(state="refused")
    assert status["last_reason"] == word and status["advice"]
    assert "POST" not in ocserv.process.log()
    assert_unchanged(lab.laptop, before)


def test_b02_posts_the_login_in_the_spelling_of_the_family(lab, corp):
    def script(conn):
        conn.serve()
        conn.hold()

    with RawGateway(lab, corp, script) as gateway:
        start_client(lab, corp)
        post = gateway.connections[0].requests[0]
    assert post.first == "POST / HTTP/1.1"
    names = [name for name, _ in post.fields]
    assert names == ["Host", "User-Agent", "Accept", "Accept-Encoding", "X-Transcend-Version",
                     "X-Aggregate-Auth", "Content-Type", "Content-Length"]
    assert post.get("Host") == GATEWAY_NAME and post.get("Accept-Encoding") == "identity"
    assert post.get("Content-Type") == "application/xml; charset=utf-8"
    assert b'<config-auth client="vpn" type="init" aggregate-auth-version="2">' in post.body
    assert b"<group-access>https://vpn.corp.example/</group-access>" in post.body


SUCCESSES = {
    "bare": b'<auth id="success"/>',
    "no-declaration": b'<config-auth><auth id="success"></auth></config-auth>',
    "apostrophes": b"<config-auth type='complete'><auth id='success'/></config-auth>",
    "unknown-nodes": b'<config-auth><!-- <auth id="main"> --><x><y a="1>2"/></x>'
                     b'<auth id="success"><banner>Hi &amp; bye</banner></auth></config-auth>',
}


@pytest.mark.parametrize("body", SUCCESSES.values(), ids=SUCCESSES)
def test_b02_understands_the_spellings_of_success(lab, corp, body):
    def script(conn):
        conn.request("POST")
        conn.answer("200 OK", [("set-cookie", f"webvpn={COOKIE}")], body)
        conn.connect()
        conn.hold()

    with RawGateway(lab, corp, script):
        start_client(lab, corp)


COOKIES = {
    "with-attributes": ([("Set-Cookie", f"webvpn={COOKIE}; Secure; HttpOnly; path=/")], COOKIE),
    "of-ocserv": ([("Set-Cookie", "webvpncontext=b3RoZXI=; Secure; HttpOnly"),
                   ("Set-Cookie", f"webvpn={COOKIE}; Secure; HttpOnly"),
                   ("Set-Cookie", "webvpnc=; expires=Thu, 01 Jan 1970 22:00:00 GMT; path=/"),
                   ("Set-Cookie", "webvpnc=bu:/&p:t&iu:1/&sh:00; path=/; Secure")], COOKIE),
    "taken-back-and-set": ([("Set-Cookie", "webvpn=; expires=Thu, 01 Jan 1970 22:00:00 GMT"),
                            ("Set-Cookie", f"webvpn={COOKIE}")], COOKIE),
    "many-equals": ([("Set-Cookie", "webvpn=a=b==; Secure")], "a=b=="),
    "name-among-attributes": ([("Set-Cookie", f"webvpn={COOKIE}"),
                               ("Set-Cookie", "x=1; webvpn=wrong")], COOKIE),
}


@pytest.mark.parametrize("fields,wanted", COOKIES.values(), ids=COOKIES)
def test_b03_takes_the_cookie_and_sends_it_alone(lab, corp, fields, wanted):
    def script(conn):
        conn.request("POST")
        conn.answer("200 OK", fields, SUCCESS)
        conn.connect()
        conn.hold()

    with RawGateway(lab, corp, script) as gateway:
        start_client(lab, corp)
        assert gateway.connections[0].requests[1].all("Cookie") == [f"webvpn={wanted}"]


def test_b03_takes_a_session_token_for_a_cookie(lab, corp):
    def script(conn):
        conn.request("POST")
        conn.answer("200 OK", [], b"<config-auth><session-token>abc=</session-token>"
                                  b'<auth id="success"/></config-auth>')
        conn.connect()
        conn.hold()

    with RawGateway(lab, corp, script) as gateway:
        start_client(lab, corp)
        assert gateway.connections[0].requests[1].cookie == "webvpn=abc="


def error_document(words):
    return (b'<config-auth type="auth-request"><auth id="main"><error id="13">' + words +
            b"</error></auth></config-auth>")


def answers(*answer, **options):
    def script(conn):
        conn.request("POST")
        conn.answer(*answer, **options)
        conn.read_end()

    return script


def resets(conn):
    conn.read()
    conn.reset()


def closes(conn):
    conn.read()
    conn.end()


REFUSALS = {
    "error-text": (answers("200 OK", [], error_document(b"Account &lt;locked&gt;\x1b[31m")),
                   r"let us in with our certificate: Account <locked>\\x1b\[31m"),
    "401": (answers("401 Unauthorized", [], b""), "401"),
    "403": (answers("403 Forbidden", [], b""), "403"),
    "403-with-a-reason": (answers("403 Forbidden", [("X-Reason", "not \x9b today")], b""),
                          r"403 not \\x"),
    "403-whose-body-never-comes": (answers("403 Forbidden", [("Content-Length", "999")], b"",
                                           length=False), "403"),
    "reset": (resets, "most likely it does not accept our certificate"),
    "end": (closes, "most likely it does not accept our certificate"),
}


@pytest.mark.parametrize("script,says", REFUSALS.values(), ids=REFUSALS)
def test_b04_says_that_it_was_not_let_in(lab, corp, script, says):
    before = snapshot(lab.laptop)
    with RawGateway(lab, corp, script) as gateway:
        client = start_client(lab, corp, wait=False)
        status = client.wait_trouble(state="refused")
        assert status["last_reason"] == "no-access", status["last_error"]
        assert re.search(says, status["last_error"]), status["last_error"]
        assert "no-access" in client.process.log() and "no connection" not in client.process.log()
        # It is not taken for a network failure: no second attempt within two seconds.
        time.sleep(2)
        assert len(gateway.connections) == 1
    assert_unchanged(lab.laptop, before)


FORMS = {
    "empty": b'<config-auth type="auth-request"><auth id="main"><message>Please enter your '
             b'username.</message><form method="post" action="/auth"></form></auth></config-auth>',
    "with-inputs": b'<config-auth><auth id="main"><form><input type="text" name="username"/>'
                   b"</form></auth></config-auth>",
    "certificate-again": b"<config-auth><client-cert-request/></config-auth>",
}


@pytest.mark.parametrize("body", FORMS.values(), ids=FORMS)
def test_b05_takes_a_form_for_a_refusal(lab, corp, body):
    def script(conn):
        conn.request("POST")
        conn.answer("200 OK", [("Set-Cookie", f"webvpn={COOKIE}")], body)
        conn.read_end()

    with RawGateway(lab, corp, script) as gateway:
        client = start_client(lab, corp, wait=False)
        status = client.wait_trouble(state="refused", last_reason="no-access")
        assert "asks for more than our certificate" in status["last_error"]
        assert len(gateway.connections[0].requests) == 1


def test_b05_stock_ocserv_that_wants_a_password_is_a_refusal(lab, corp):
    passwords = lab.dir / "passwords"
    passwords.write_text("alice:*:x\n")
    Ocserv(lab, corp, auth=f'"certificate"\nauth = "plain[passwd={passwords}]"')
    client = start_client(lab, corp, wait=False)
    status = client.wait_trouble(state="refused", last_reason="no-access")
    assert "asks for more than our certificate" in status["last_error"]


def test_b06_waits_for_the_whole_answer_and_stays_on_the_connection(lab, corp):
    def script(conn):
        conn.request("POST")
        answer = response("200 OK", [("Set-Cookie", f"webvpn={COOKIE}")], SUCCESS)
        conn.trickle(answer[:-1])
        assert conn.read(0.7) is None, "CONNECT before the answer was whole"
        conn.write(answer[-1:])
        conn.connect()
        conn.hold()

    with RawGateway(lab, corp, script) as gateway:
        start_client(lab, corp)
        assert len(gateway.connections) == 1


LAST_WORDS = {
    "with-a-length": (response("200 OK", [("Connection", "close"),
                                          ("Set-Cookie", f"webvpn={COOKIE}")], SUCCESS)),
    "up-to-the-end": (response("200 OK", [("Connection", "close"),
                                          ("Set-Cookie", f"webvpn={COOKIE}")], SUCCESS, False)),
    "up-to-the-end-unsaid": (response("200 OK", [("Set-Cookie", f"webvpn={COOKIE}")], SUCCESS,
                                      False)),
}


@pytest.mark.parametrize("answer", LAST_WORDS.values(), ids=LAST_WORDS)
@pytest.mark.parametrize("orderly", [True, False], ids=["close-notify", "cut"])
def test_b06_b25_connects_anew_where_the_login_ends_its_connection(lab, corp, answer, orderly):
    def script(conn):
        if conn.number == 0:
            conn.request("POST")
            conn.write(answer)
            if orderly:
                conn.end()
            return
        conn.connect()
        conn.hold()

    with RawGateway(lab, corp, script) as gateway:
        start_client(lab, corp)
        assert [r.method for c in gateway.connections for r in c.requests] == ["POST", "CONNECT"]
        assert gateway.connections[1].requests[0].cookie == f"webvpn={COOKIE}"


def test_b06_joins_chunks_in_any_records(lab, corp):
    def script(conn):
        conn.request("POST")
        conn.trickle(response("200 OK", [("Transfer-Encoding", "chunked"),
                                         ("Set-Cookie", f"webvpn={COOKIE}")]) + chunked(SUCCESS), 5)
        conn.connect()
        conn.hold()

    with RawGateway(lab, corp, script):
        start_client(lab, corp)


def test_b06_reads_past_100_continue(lab, corp):
    def script(conn):
        conn.request("POST")
        conn.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        conn.let_in()
        conn.request("CONNECT")
        conn.write(b"HTTP/1.1 100 Continue\r\n\r\n" + conn.connected())
        conn.hold()

    with RawGateway(lab, corp, script):
        start_client(lab, corp)


BROKEN = {
    "chunk-size": response("200 OK", [("Transfer-Encoding", "chunked")]) + b"zz\r\n",
    "chunk-end": response("200 OK", [("Transfer-Encoding", "chunked")]) + b"1\r\nabc\r\n",
    "endless-chunks": response("200 OK", [("Transfer-Encoding", "chunked")]) +
    b"1000\r\n" + 4096 * b"a" + b"\r\n" + 9 * (b"1000\r\n" + 4096 * b"a" + b"\r\n"),
    "http-1.0": b"HTTP/1.0 200 OK\r\n\r\n",
    "not-http": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "bare-lf": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "control-characters": response("200 OK", [("X", "a\x07b")], b""),
    "huge-head": b"HTTP/1.1 200 OK\r\n" + 1000 * b"X-Padding: aaaaaaaaaa\r\n",
    "huge-body": response("200 OK", [("Content-Length", "100000000")]),
    "endless-body": response("200 OK") + 40000 * b"a",
    "switching-protocols": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "endless-100": 9 * b"HTTP/1.1 100 Continue\r\n\r\n",
    "not-xml": response("200 OK", [], b"<html>It works!</html"),
    "another-document": response("200 OK", [], b"<html>It works!</html>"),
    "no-cookie": response("200 OK", [], SUCCESS),
    "long-cookie": response("200 OK", [("Set-Cookie", "webvpn=" + 256 * "a")], SUCCESS),
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
def test_b04_refuses_answers_that_no_gateway_gives_at_once(lab, corp, answer):
    def script(conn):
        conn.request("POST")
        for i in range(0, len(answer), 4000):
            conn.write(answer[i:i + 4000])
        conn.read_end(10)

    before = snapshot(lab.laptop)
    with RawGateway(lab, corp, script) as gateway:
        client = start_client(lab, corp, wait=False)
        # Long before the attempt's own time is over.
        status = client.wait_trouble(timeout=6, state="refused", last_reason="protocol-error")
        assert "gateway" in status["last_error"]
        assert len(gateway.connections[0].requests) == 1
    assert_unchanged(lab.laptop, before)


REDIRECTS = {
    "elsewhere": "https://evil.example/",
    "same-host": "/+CSCOE+/logon.html",
    "in-the-clear": f"http://{GATEWAY_NAME}/\x9b",
}


@pytest.mark.parametrize("where", REDIRECTS.values(), ids=REDIRECTS)
def test_b04_follows_no_redirect(lab, corp, where):
    with RawGateway(lab, corp, answers("302 Found", [("Location", where)], b"")) as gateway:
        client = start_client(lab, corp, wait=False)
        status = client.wait_trouble(state="refused", last_reason="protocol-error")
        assert "does not follow" in status["last_error"] and where[:12] in status["last_error"]
        assert "\x9b" not in status["last_error"]
        assert status["next_attempt_in_s"] > 40
        assert len(gateway.connections) == 1
