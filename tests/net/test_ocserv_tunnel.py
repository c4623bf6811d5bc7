"""The tunnel to a gateway that is not tund, from its first frame to its end: lines 13 to 17 and 22
to 27 of the client half of the protocol checklist. test_b23_WHAT is line 23.

    laptop (tund) --- wan --- gw (stock ocserv, or a gateway that does what the test says) --- corp
"""

import re
import signal
import time

import pytest

import traffic
from lab import CORP, run, wait_until
from peers import Ocserv, start_client
from rawgateway import COOKIE, INNER4, INNER6, SUCCESS, RawGateway
from rawpeer import (DATA, DISCONNECT, DPD_REQUEST, DPD_RESPONSE, KEEPALIVE, TERMINATE, Closed,
                     echo_reply, echo_request)

PEER = "10.99.0.1"  # inside, at the gateway's end


def test_b13_one_packet_is_one_record(lab, corp):
    seen = []

    def script(conn):
        conn.serve(fields=[("X-CSTP-Split-Include", "10.50.0.0/24")])
        while len(seen) < 150:
            got = conn.next(5)  # which sees that each record is one frame
            if got and got[0] == DATA:
                seen.append(len(got[1]))
        conn.hold()

    with RawGateway(lab, corp, script):
        start_client(lab, corp)
        # Many at once, of the largest and the least size; some too large, which the kernel splits.
        for size in (1300, 0, 3000):
            traffic.ping(lab.laptop, CORP[4], count=50, interval=0.002, wait=1, size=size)
        wait_until(lambda: len(seen) >= 150, 5, "150 packets")
    assert max(seen) <= 1400


def test_b14_takes_data_on_tls_before_dtls_is_up(lab, corp):
    came = []

    def script(conn):
        conn.serve(dtls=True, fields=[("X-CSTP-Split-Include", f"{PEER}/32")])
        conn.send(DATA, echo_request(PEER, 7, INNER4))
        while not came:
            got = conn.next()
            if got and got[0] == DATA and echo_reply(got[1]) == 7:
                came.append(conn)
        conn.hold()

    with RawGateway(lab, corp, script):
        client = start_client(lab, corp)
        wait_until(lambda: came, 5, "an echo over TLS")
        assert client.status()["transport"] == "tls"


def test_b15_b17_b19_answers_probes_on_both_channels(lab, corp):
    """The PSK is the CONNECT connection's: the login had another one."""
    results = {}

    def script(conn):
        if conn.number == 0:
            conn.request("POST")
            conn.answer("200 OK", [("Connection", "close"), ("Set-Cookie", f"webvpn={COOKIE}")],
                        SUCCESS)
            conn.end()
            return
        conn.connect(dtls=True)
        path = conn.association()
        assert path.handshake()
        assert not path.engine.resumed
        results["tls"] = conn.probe(b"over TLS")
        path.send(DPD_REQUEST, b"over DTLS" + bytes(900))
        results["dtls"] = path.expect(DPD_RESPONSE) == b"over DTLS" + bytes(900)
        conn.hold()

    with RawGateway(lab, corp, script):
        client = start_client(lab, corp)
        wait_until(lambda: len(results) == 2, 10, "answers on both channels")
        assert results == {"tls": True, "dtls": True}
        client.wait_status(transport="dtls")


def test_b16_probes_a_silent_gateway_and_gives_it_up_after_two_periods(lab, corp):
    dpd, frames, ended = 2, [], []

    def script(conn):
        conn.serve(dpd=dpd, fields=[("X-CSTP-Keepalive", "1")])
        up = time.monotonic()
        if conn.number:
            conn.hold()
            return
        try:
            while True:
                got = conn.next(10)
                frames.append((time.monotonic() - up, got[0]))
        except Closed:
            ended.append(time.monotonic() - up)

    with RawGateway(lab, corp, script) as gateway:
        client = start_client(lab, corp)
        wait_until(lambda: ended, 15, "the end of a silent session")
        probes = [when for when, kind in frames if kind == DPD_REQUEST]
        assert probes and dpd - 0.3 <= probes[0] <= dpd + 1.5, frames
        assert 2 * dpd - 0.3 <= ended[0] <= 2 * dpd + 2, ended
        assert DISCONNECT not in [kind for _, kind in frames], "the session is given up, not ended"
        assert gateway.wait(2).at
        client.wait_status(state="up")


def test_b16_a_gateway_that_names_no_time_is_probed_all_the_same(lab, corp):
    """Its UDP path dies in silence: what is carried goes over to TLS."""
    def script(conn):
        conn.serve(dtls=True, dpd=0, fields=[("X-CSTP-Split-Include", f"{CORP[4]}/32")])
        assert conn.association().handshake()
        conn.hold()

    with RawGateway(lab, corp, script):
        client = start_client(lab, corp)
        client.wait_status(transport="dtls")
        traffic.ping(lab.laptop, CORP[4], count=20, wait=1)
        client.wait_status(transport="tls")


def test_b16_expects_no_answer_to_keepalives(lab, corp):
    seen = []

    def script(conn):
        conn.serve(dpd=0, fields=[("X-CSTP-Keepalive", "1")])
        while len(seen) < 4:
            got = conn.next(3)
            assert got and got[0] == KEEPALIVE, got
            seen.append(got)
        conn.hold()

    with RawGateway(lab, corp, script) as gateway:
        client = start_client(lab, corp)
        wait_until(lambda: len(seen) == 4, 10, "four keepalives")
        assert client.status()["state"] == "up" and len(gateway.connections) == 1


def test_b22_comes_back_with_the_cookie_and_new_keys(lab, corp):
    paths = []

    def script(conn):
        conn.serve(dtls=True)
        path = conn.association()
        assert path.handshake(10)
        paths.append((conn.app_id, conn.tls.psk(), path))
        if conn.number == 0:
            time.sleep(11)  # what has lasted is dialled again at once
            conn.reset()
            return
        conn.hold()

    with RawGateway(lab, corp, script) as gateway:
        client = start_client(lab, corp)
        gateway.wait(2, 20)
        client.wait_status(state="up", transport="dtls")
        wait_until(lambda: len(paths) == 2, 10, "DTLS again")
        request, = gateway.connections[1].requests
        assert request.method == "CONNECT" and request.cookie == f"webvpn={COOKIE}"
        assert request.all("X-CSTP-Address") == [INNER4, INNER6]
        assert paths[0][0] != paths[1][0] and paths[0][1] != paths[1][1]
        # The addresses are the same: nothing of the host's network was touched.
        assert "instead of" not in client.process.log()
        assert client.status()["inner_addresses"] == [f"{INNER4}", f"{INNER6}"]


def test_b22_other_addresses_on_reconnect_are_said_and_set(lab, corp):
    def script(conn):
        if conn.number == 0:
            conn.serve()
            conn.probe()
            return
        conn.serve(addresses=[("X-CSTP-Address", "10.99.0.88"), ("X-CSTP-Netmask", "255.255.255.0"),
                              ("X-CSTP-Address-IP6", "fd99::88/64")])
        conn.hold()

    with RawGateway(lab, corp, script) as gateway:
        client = start_client(lab, corp)
        gateway.wait(2)
        client.wait_status(state="up")
        client.process.wait_for(f"gives us 10.99.0.88 instead of {INNER4}")
        client.process.wait_for(f"gives us fd99::88 instead of {INNER6}")
        shown = lab.laptop.ip("addr", "show", "dev", "tund0")
        assert "10.99.0.88" in shown and "fd99::88" in shown
        assert INNER4 not in shown and INNER6 not in shown


@pytest.mark.parametrize("kind,payload,says", [
    (DISCONNECT, b"", "without a reason"), (TERMINATE, b"", "without a reason"),
    (DISCONNECT, b"\xb0Closing down\x1b", r"Closing down\\x1b"),
], ids=["disconnect", "terminate", "with-text"])
def test_b23_an_end_by_the_gateway_is_no_reason_to_reconnect(lab, corp, kind, payload, says):
    def script(conn):
        conn.serve()
        if conn.number:
            conn.hold()
            return
        conn.probe()
        conn.send(kind, payload)
        conn.read_end()

    with RawGateway(lab, corp, script) as gateway:
        client = start_client(lab, corp)
        status = client.wait_trouble(state="refused", last_reason="disconnected")
        assert re.search(says, status["last_error"])
        # Routes stay for a while: what is meant for inside does not leave in the clear.
        assert INNER4 in lab.laptop.ip("addr", "show", "dev", "tund0")
        second = gateway.wait(2)
        client.wait_status(state="up")
        assert second.at - gateway.connections[0].at > 3
        assert second.requests[0].method == "POST", "the session's cookie was used again"


def test_b23_the_network_stays_a_minute_after_the_gateways_end(lab, corp):
    """And is not given back at the first attempt that fails."""
    def script(conn):
        if conn.number:
            conn.request()
            conn.answer("503 Service Unavailable")
            return
        conn.serve()
        conn.probe()
        conn.send(DISCONNECT)
        conn.read_end()

    with RawGateway(lab, corp, script) as gateway:
        start_client(lab, corp)
        gateway.wait(3, 20)
        assert INNER4 in lab.laptop.ip("addr", "show", "dev", "tund0")


def occtl(ocserv, *command):
    return run(["occtl", "-s", ocserv.dir / "occtl.sock", *command]).stdout


def start_with_occtl(lab, corp, **settings):
    return Ocserv(lab, corp, use_occtl="true", occtl_socket_file=lab.dir / "ocserv/occtl.sock",
                  **settings)


def test_b23_stock_ocservs_administrator_ends_the_session(lab, corp):
    ocserv = start_with_occtl(lab, corp)
    client = start_client(lab, corp)
    client.wait_status(transport="dtls")
    occtl(ocserv, "disconnect", "user", "alice")
    status = client.wait_trouble(last_reason="disconnected")
    assert "ended the session" in status["last_error"]
    client.wait_status(state="up")  # with a new login, some seconds later
    traffic.assert_pings(lab.laptop, *CORP.values())


def test_b24_a_users_stop_is_said_with_reason_and_text(lab, corp):
    ends = []

    def script(conn):
        conn.serve()
        ends.append(conn.expect(DISCONNECT, 20))

    with RawGateway(lab, corp, script):
        client = start_client(lab, corp)
        assert client.stop() == 0
        wait_until(lambda: ends, 5, "a BYE")
    assert ends[0][:1] == b"\xb0" and len(ends[0]) > 1


def test_b24_what_is_no_users_stop_says_nothing(lab, corp):
    ends = []

    def script(conn):
        conn.serve()
        try:
            while True:
                got = conn.next(20)
                assert got is None or got[0] != DISCONNECT
        except Closed:
            ends.append(conn)

    with RawGateway(lab, corp, script):
        client = start_client(lab, corp)
        client.process.stop(signal.SIGKILL)
        wait_until(lambda: ends, 5, "the end of its connection")


def test_b24_stock_ocserv_forgets_a_stopped_session(lab, corp):
    ocserv = start_with_occtl(lab, corp)
    client = start_client(lab, corp)
    assert "alice" in occtl(ocserv, "show", "users")
    assert client.stop() == 0
    wait_until(lambda: "alice" not in occtl(ocserv, "show", "users"), 10, "the session's end", 0.2)


@pytest.mark.slow
def test_b25_b11_stock_ocserv_that_has_lost_its_sessions_sends_401_and_an_alert(lab, corp):
    """Killed, so that it says goodbye to nobody: an end without close_notify; what it answers to
    the old cookie ends in an alert."""
    ocserv = Ocserv(lab, corp)
    client = start_client(lab, corp)
    client.wait_status(transport="dtls")
    time.sleep(10)
    ocserv.stop(signal.SIGKILL)
    ocserv.start()
    client.wait_status(state="up", timeout=30)
    traffic.assert_pings(lab.laptop, *CORP.values())
    assert "refused by" not in client.process.log(), "the 401 was more than a reason to log in"


def test_b26_ignores_what_it_does_not_know(lab, corp):
    results = []

    def script(conn):
        request = conn.request("POST")
        conn.answer("200 OK", [("X-New", "1"), ("Set-Cookie", f"webvpn={COOKIE}"),
                               ("Strict-Transport-Security", "max-age=1")], SUCCESS)
        assert request
        conn.connect(dtls=True, fields=[("X-CSTP-Future", "\xe4"), ("X-CSTP-License", "accept"),
                                        ("X-DTLS-New", ""), ("Server", "x")])
        path = conn.association()
        assert path.handshake()
        for kind in (0x06, 0x0a, 0x63, 0xff):
            conn.send(kind, b"what is this")
            path.send(kind, b"and this")
        for kind in (DPD_RESPONSE, KEEPALIVE):
            conn.send(kind, b"unasked")
            path.send(kind, b"unasked")
        path.send(DISCONNECT, b"\xb0over UDP this ends nothing")
        path.send(TERMINATE)
        path.send(DPD_REQUEST, b"still there?")
        results.append(path.expect(DPD_RESPONSE) == b"still there?" and conn.probe())
        conn.hold()

    with RawGateway(lab, corp, script) as gateway:
        client = start_client(lab, corp)
        wait_until(lambda: results or gateway.failures, 10, "an answer after all of it")
        gateway.check()
        assert results == [True] and len(gateway.connections) == 1
        assert client.status()["drops"]["bad-frame"] == 10


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ssl", "new-tunnel"])
def test_b27_survives_stock_ocservs_rekey(lab, corp, method):
    streams = traffic.Streams(lab)
    Ocserv(lab, corp, rekey_time=30, rekey_method=method)
    client = start_client(lab, corp)
    client.wait_status(transport="dtls")
    mark = client.process.mark()
    running = [streams.start(lab.laptop, way, seconds=48, rate=200_000, family=family)
               for way, family in (("down", 4), ("up", 6))]
    client.process.wait_for("tunnel up: ", 45, mark)
    for process in running:
        traffic.assert_intact(streams.report(process, 30), stall_s=4, at_least=7_000_000)
    client.wait_status(state="up", transport="dtls")
    # ocserv may say goodbye to the connection that the new one takes over from: no more than that.
    assert "-> waiting" not in client.process.log(mark), client.process.log(mark)
