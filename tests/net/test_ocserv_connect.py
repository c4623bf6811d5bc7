"""CONNECT to a gateway that is not tund, and its answer: lines 7 to 12 of the client half of the
protocol checklist. test_b09_WHAT is line 9.

    laptop (tund) --- wan --- gw (stock ocserv, or a gateway that does what the test says)
"""

import re
import time

import pytest

import traffic
from lab import CORP, GATEWAY_NAME, assert_unchanged, snapshot, wait_until
from peers import Ocserv, start_client
from rawgateway import ADDRESSES, COOKIE, INNER4, INNER6, RawGateway
from rawpeer import DPD_REQUEST, DPD_RESPONSE, frame


def test_b07_connect_in_exact_case_with_an_agent_that_ocserv_knows(lab, corp):
    def script(conn):
        conn.serve()
        conn.hold()

    with RawGateway(lab, corp, script) as gateway:
        start_client(lab, corp)
        connect = gateway.connections[0].requests[1]
    assert connect.first == "CONNECT /CSCOSSLC/tunnel HTTP/1.1"
    assert re.fullmatch(r"OpenConnect VPN Agent \(tund\) v[0-9.]+", connect.get("User-Agent"))
    wanted = {"X-CSTP-Version": "1", "X-CSTP-Base-MTU": "1500", "X-CSTP-Address-Type": "IPv6,IPv4",
              "X-CSTP-Full-IPv6-Capability": "true", "X-DTLS-CipherSuite": "PSK-NEGOTIATE",
              "Cookie": f"webvpn={COOKIE}", "Host": GATEWAY_NAME}
    assert {name: connect.get(name) for name in wanted} == wanted
    assert not [name for name, _ in connect.fields if "Master" in name or "Encoding" in name]


def test_b07_stock_ocserv_gives_a_known_agent_ipv6_routes_and_dtls(lab, corp):
    Ocserv(lab, corp)
    client = start_client(lab, corp)
    status = client.wait_status(transport="dtls")
    assert "fd50::/64" in status["routes"] and "10.50.0.0/24" in status["routes"]
    assert client.inner(4).startswith("10.99.0.") and client.inner(6).startswith("fd99:")
    traffic.assert_pings(lab.laptop, *CORP.values())


def test_b08_says_nothing_before_the_empty_line(lab, corp):
    def script(conn):
        conn.login()
        conn.request("CONNECT")
        answer = conn.connected(dpd=1)
        conn.write(answer[:-2])
        assert conn.read(2.5) is None, "a frame before the answer was whole"
        conn.write(answer[-2:])
        conn.expect(DPD_REQUEST)
        conn.hold()

    with RawGateway(lab, corp, script) as gateway:
        start_client(lab, corp)
        wait_until(lambda: gateway.connections[0].records[2:], 5, "its first frame")


@pytest.mark.parametrize("size", [1, 7, 100])
def test_b09_reads_the_answer_across_any_record_borders(lab, corp, size):
    def script(conn):
        conn.login()
        conn.request("CONNECT")
        conn.trickle(conn.connected(fields=[("X-CSTP-Split-Include", f"10.{i}.0.0/255.255.0.0")
                                            for i in range(100)]), size)
        assert conn.probe()
        conn.hold()

    with RawGateway(lab, corp, script):
        client = start_client(lab, corp)
        assert len(client.status()["routes"]) == 100


def test_b09_keeps_what_stands_behind_the_empty_line(lab, corp):
    came = []

    def script(conn):
        conn.login()
        conn.request("CONNECT")
        answer = conn.connected()
        conn.write(answer[:50])
        conn.write(answer[50:] + frame(DPD_REQUEST, b"early"))
        came.append(conn.expect(DPD_RESPONSE))
        conn.hold()

    with RawGateway(lab, corp, script):
        client = start_client(lab, corp)
        wait_until(lambda: came, 5, "an answer to the early frame")
        assert came == [b"early"] and client.status()["state"] == "up"


FORMS_OF_ADDRESSES = {
    "new-ipv6": (ADDRESSES, {INNER4, INNER6}),
    "old-ipv6": ((("X-CSTP-Address", INNER4), ("X-CSTP-Netmask", "255.255.255.0"),
                  ("X-CSTP-Address", INNER6), ("X-CSTP-Netmask", f"{INNER6}/64")),
                 {INNER4, INNER6}),
    "old-ipv6-alone": ((("X-CSTP-Address", INNER6), ("X-CSTP-Netmask", f"{INNER6}/64")), {INNER6}),
    "no-mask": ((("X-CSTP-Address", INNER4),), {INNER4}),
}


@pytest.mark.parametrize("addresses,wanted", FORMS_OF_ADDRESSES.values(), ids=FORMS_OF_ADDRESSES)
def test_b10_understands_both_forms_of_addresses(lab, corp, addresses, wanted):
    def script(conn):
        conn.serve(addresses=addresses)
        conn.hold()

    with RawGateway(lab, corp, script):
        client = start_client(lab, corp)
        assert {a.split("/")[0] for a in client.status()["inner_addresses"]} == wanted


def test_b10_understands_both_forms_of_routes_and_timers_of_every_kind(lab, corp):
    def script(conn):
        conn.serve(dpd=0, fields=[
            ("X-CSTP-Split-Include", "10.50.0.0/255.255.255.0"),
            ("X-CSTP-Split-Include", "10.60.7.7/16"), ("X-CSTP-Split-Include", "10.70.0.1"),
            ("X-CSTP-Split-Include-IP6", "fd50::/64"), ("X-CSTP-Idle-Timeout", "none"),
            ("X-CSTP-Session-Timeout", "0"), ("X-CSTP-Rekey-Method", "none"),
            ("X-CSTP-Keepalive", "0"), ("X-CSTP-Rekey-Time", "none")])
        conn.hold()

    with RawGateway(lab, corp, script):
        client = start_client(lab, corp)
        assert set(client.status()["routes"]) == {"10.50.0.0/24", "10.60.0.0/16", "10.70.0.1/32",
                                                  "fd50::/64"}


def first_up_then(refuse):
    """A session that is lost; every later CONNECT with its cookie is answered by refuse."""
    def script(conn):
        request = conn.request()
        if request.method == "POST":
            conn.let_in(f"cookie{conn.number}")
            conn.request("CONNECT")
        elif refuse(conn):
            return
        conn.write(conn.connected())
        if conn.number == 0:
            conn.probe()
            return
        conn.hold()

    return script


def test_b11_takes_401_for_log_in_again_once(lab, corp):
    def refuse(conn):
        conn.answer("401 Cookie is not acceptable")
        return True

    with RawGateway(lab, corp, first_up_then(refuse)) as gateway:
        client = start_client(lab, corp)
        gateway.wait(3)
        client.wait_status(state="up")
        first, second, third = gateway.connections
        assert [r.method for r in second.requests] == ["CONNECT"]
        assert [r.method for r in third.requests] == ["POST", "CONNECT"]
        assert third.requests[1].cookie == "webvpn=cookie2"
        assert third.at - second.at < 3


def test_b11_a_second_401_is_a_refusal(lab, corp):
    def script(conn):
        if conn.request().method == "POST":
            conn.let_in()
            conn.request("CONNECT")
            if conn.number == 0:
                conn.write(conn.connected())
                conn.probe()
                return
        conn.answer("401 Cookie is not acceptable")

    with RawGateway(lab, corp, script) as gateway:
        client = start_client(lab, corp)
        gateway.wait(3)
        status = client.wait_trouble(state="refused", last_reason="no-access")
        assert "401" in status["last_error"]
        time.sleep(2)
        assert len(gateway.connections) == 3


@pytest.mark.parametrize("answer", ["503 Service Unavailable", "500 Oops"])
def test_b11_comes_back_later_after_a_temporary_refusal(lab, corp, answer):
    def refuse(conn):
        if conn.number > 2:
            return False
        conn.answer(answer, [("X-Reason", "come back later")])
        return True

    with RawGateway(lab, corp, first_up_then(refuse)) as gateway:
        client = start_client(lab, corp)
        gateway.wait(2)
        status = client.wait_trouble(state="waiting")
        assert f"{answer[:3]} come back later" in status["last_error"]
        gateway.wait(4, 30)
        client.wait_status(state="up")
        # With the same cookie, and each time later than the last.
        pauses = [b.at - a.at for a, b in zip(gateway.connections, gateway.connections[1:])]
        assert pauses[2] > 1.2 * pauses[0] and pauses[0] >= 0.7, pauses
        assert all(c.requests[0].cookie == "webvpn=cookie0" for c in gateway.connections[1:4])


def test_b11_404_is_waited_out_for_long(lab, corp):
    def script(conn):
        conn.login()
        conn.request("CONNECT")
        conn.answer("404 Not found", [], b"")

    with RawGateway(lab, corp, script) as gateway:
        client = start_client(lab, corp, wait=False)
        status = client.wait_trouble(state="refused")
        assert "404" in status["last_error"] and "client.gateway" in status["last_error"]
        assert status["next_attempt_in_s"] > 40
        assert len(gateway.connections) == 1


@pytest.mark.parametrize("answer,says", [
    ({"addresses": ()}, "no address"), ({"mtu": ()}, "no usable MTU"),
    ({"mtu": [("X-CSTP-MTU", "34")]}, "no usable MTU"),
    ({"addresses": [("X-CSTP-Address-IP6", "fd99::2/64")], "mtu": [("X-CSTP-MTU", "1200")]},
     "no address"),
    ({"addresses": [("X-CSTP-Address", "10.99.0.300")]}, "X-CSTP-Address"),
    ({"fields": [("X-DTLS-App-ID", "zz")]}, "X-DTLS-App-ID"),
    ({"fields": [("X-CSTP-Split-Include", "10.0.0.0/8; reboot")]}, "X-CSTP-Split-Include"),
    ({"fields": [("X-CSTP-Split-Include", f"10.{i >> 8}.{i & 255}.0/24") for i in range(1001)]},
     "X-CSTP-Split-Include"),
    ({"fields": [(f"X-{i}", "1") for i in range(1300)]}, "larger"),
    ({"fields": [("X-Long", 140000 * "a")]}, "larger"),
], ids=["address", "mtu", "tiny-mtu", "ipv6-that-does-not-fit", "broken-address", "broken-app-id",
        "broken-route", "too-many-routes", "too-many-fields", "too-long"])
def test_b12_fails_cleanly_without_what_a_tunnel_needs(lab, corp, answer, says):
    def script(conn):
        conn.login()
        conn.request("CONNECT")
        text = conn.connected(**answer)
        for i in range(0, len(text), 16000):
            conn.write(text[i:i + 16000])
        conn.read_end(10)

    before = snapshot(lab.laptop)
    with RawGateway(lab, corp, script):
        client = start_client(lab, corp, wait=False)
        status = client.wait_trouble(timeout=6, state="refused", last_reason="protocol-error")
        assert says in status["last_error"]
    assert_unchanged(lab.laptop, before)
