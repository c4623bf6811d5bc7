"""Our client and stock ocserv when something is wrong: with the path, the gateway, a certificate,
or this host.

    laptop (tund) --- wan --- gw (ocserv) --- corp
    laptop2 ----------+
"""

import re
import signal
import socket
import time

import pytest

import traffic
from lab import (CORP, GATEWAY_NAME, GATEWAY_V4, GATEWAY_V6, assert_carried, assert_unchanged,
                 snapshot, wait_until)
from peers import Ocserv, Tund, client_config, start_client
from pki import Authority
from rawgateway import RawGateway


# The path.

def test_comes_back_with_its_cookie_after_a_path_that_was_cut(lab, corp):
    ocserv = Ocserv(lab, corp, dpd=2)
    client = start_client(lab, corp)
    client.wait_status(transport="dtls")
    before = client.status()["inner_addresses"]
    mark = ocserv.process.mark()
    lab.wire.drop("meta l4proto {tcp, udp}")
    client.process.wait_for("nothing was heard on TLS", 15)
    lab.wire.lift()
    client.wait_status(state="up", timeout=30)
    client.wait_status(transport="dtls", timeout=30)
    assert client.status()["inner_addresses"] == before
    traffic.assert_pings(lab.laptop, *CORP.values())
    assert "POST" not in ocserv.process.log(mark) and "instead of" not in client.process.log()


def test_udp_that_ocserv_has_switched_off_leaves_tls(lab, corp):
    web = traffic.Web(lab, 10)
    Ocserv(lab, corp, udp=False)
    client = start_client(lab, corp)
    before = lab.wire.bytes()
    traffic.assert_both_ways(lab, lab.laptop, web)
    traffic.assert_both_ways(lab, lab.laptop, web, 6)
    assert_carried(lab.wire.since(before), "tcp", 4 * web.size)
    status = client.status()
    assert (status["state"], status["transport"]) == ("up", "tls")


@pytest.mark.parametrize("transport", ["dtls", "tls"])
def test_ipv6_outside(lab, corp, transport):
    web = traffic.Web(lab, 10)
    Ocserv(lab, corp, address=GATEWAY_V6[0])
    lab.laptop.hosts({GATEWAY_NAME: GATEWAY_V6[:1]})
    client = start_client(lab, corp,
                          transport="auto" if transport == "dtls" else "tcp")
    client.wait_status(transport=transport)
    before = lab.wire.bytes()
    for family in (4, 6):
        traffic.assert_both_ways(lab, lab.laptop, web, family)
    moved = lab.wire.since(before)
    assert_carried(moved, "udp" if transport == "dtls" else "tcp", 4 * web.size)
    assert moved["v4"] == 0
    assert client.status()["mtu"] <= 1414


def test_the_path_is_measured_where_it_carries_less_than_it_says(lab, corp):
    """ocserv echoes padded probes: 1380 bytes outside, and no ICMP tells."""
    for interface in ("to-gw", "to-laptop"):
        lab.wan.ip("link", "set", interface, "mtu", "1380")
    lab.wan.run(["nft", "-f", "-"], stdin="""
        table inet hole {
            chain output {
                type filter hook output priority 0
                meta l4proto icmp drop
                icmpv6 type packet-too-big drop
            }
        }
    """)
    Ocserv(lab, corp)
    client = start_client(lab, corp)
    client.wait_status(transport="dtls")
    most = 1380 - 66
    wait_until(lambda: most - 10 <= client.status()["mtu"] <= most, 20, "the path's size", 0.2)
    # Downwards ocserv alone decides, and it has not found out.
    for family in (4, 6):
        size = most - (28 if family == 4 else 48)
        assert traffic.ping(lab.laptop, CORP[family], size=size - 10) == 3
    assert client.status()["transport"] == "dtls"


def test_a_path_too_small_for_ipv6_is_left_to_tls(lab, corp):
    """Forwarded datagrams of more than 1200 bytes get lost; TLS segments are made to fit."""
    web = traffic.Web(lab, 5)
    lab.wire.drop("meta l4proto udp meta length > 1200")
    Ocserv(lab, corp)
    client = start_client(lab, corp)
    client.process.wait_for("too small for IPv6 in DTLS", 20)
    client.wait_status(transport="tls")
    for family in (4, 6):
        traffic.assert_both_ways(lab, lab.laptop, web, family)
    assert client.status()["transport"] == "tls"


# The gateway.

@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_comes_back_by_itself_after_ocserv_restarts(lab, corp, number):
    ocserv = Ocserv(lab, corp)
    client = start_client(lab, corp)
    client.wait_status(transport="dtls")
    ocserv.stop(number)
    status = client.wait_trouble()
    assert status["state"] in ("waiting", "refused", "connecting")
    ocserv.start()
    client.wait_status(state="up", timeout=40)
    client.wait_status(transport="dtls", timeout=20)
    traffic.assert_pings(lab.laptop, *CORP.values())


def test_waits_while_ocserv_is_full_and_gets_in_by_itself(make_lab, make_corp):
    lab = make_lab(laptops=("laptop", "laptop2"))
    corp = make_corp(lab)
    ocserv = Ocserv(lab, corp, max_clients=1)
    alice = start_client(lab, corp)
    bob = start_client(lab, corp, corp.device("bob"), ns=lab.laptop2, wait=False)
    ocserv.process.wait_for("maximum client limit|max-clients|reached")
    status = bob.wait_trouble()
    assert status["state"] == "waiting", "a full gateway is no refusal"
    assert status["last_reason"] == "peer-timeout" and status["next_attempt_in_s"] is not None
    assert alice.stop() == 0
    bob.wait_status(state="up", timeout=60)
    traffic.assert_pings(lab.laptop2, CORP[4])


def assert_not_accepted(client, before, lab):
    status = client.wait_trouble(state="refused")
    assert status["last_reason"] == "no-access", status["last_error"]
    assert "most likely it does not accept our certificate" in status["last_error"]
    assert status["advice"] and status["handshake_id"]
    assert status["next_attempt_in_s"] is None or status["next_attempt_in_s"] >= 1
    assert re.search("no-access: the gateway closed the connection after a good handshake",
                     client.process.log())
    assert_unchanged(lab.laptop, before)


def test_a_bare_reset_is_said_to_be_a_certificate_that_ocserv_does_not_accept(lab, corp):
    Ocserv(lab, corp)
    before = snapshot(lab.laptop)
    stranger = corp.write("stranger", Authority("Other Root").issue("alice"))
    client = start_client(lab, corp, stranger, wait=False)
    assert_not_accepted(client, before, lab)


def test_a_certificate_on_ocservs_list_is_not_accepted(lab, corp):
    alice = corp.root.issue("alice")
    Ocserv(lab, corp, crl=corp.write_crl(revoked=[alice]))
    before = snapshot(lab.laptop)
    client = start_client(lab, corp, corp.write("alice", alice), wait=False)
    assert_not_accepted(client, before, lab)


def test_a_certificate_that_is_put_on_the_list_later_does_not_come_back(lab, corp):
    alice = corp.root.issue("alice")
    crl = corp.write_crl()
    ocserv = Ocserv(lab, corp, crl=crl)
    client = start_client(lab, corp, corp.write("alice", alice))
    corp.write_crl(revoked=[alice])
    ocserv.stop()
    ocserv.start()
    status = client.wait_trouble(state="refused", last_reason="no-access", timeout=30)
    assert "does not accept our certificate" in status["last_error"]


def test_a_certificate_without_the_attribute_ocserv_wants_is_refused(lab, corp):
    """The TLS handshake is good; ocserv finds no user name in it."""
    Ocserv(lab, corp, cert_user_oid="0.9.2342.19200300.100.1.1")
    client = start_client(lab, corp, wait=False)
    status = client.wait_trouble(state="refused")
    assert status["last_reason"] == "no-access", status["last_error"]


# The path and the gateway together.

def test_a_gateway_that_does_not_answer_is_no_refusal(lab, corp):
    client = start_client(lab, corp, wait=False)
    status = client.wait_trouble(state="waiting")
    assert "no connection" in client.process.log() and status["last_reason"] == "peer-timeout"


def test_the_second_gateway_of_the_list_is_taken_when_the_first_lets_nobody_in(lab, corp):
    """A gateway that answers 404 is not waited for: the other is tried at once."""
    def script(conn):
        conn.request("POST")
        conn.answer("404 Not Found", [], b"")

    lab.laptop.hosts({GATEWAY_NAME: GATEWAY_V4[:1], "wrong.example": GATEWAY_V4[1:]})
    Ocserv(lab, corp)
    with RawGateway(lab, corp, script, address=GATEWAY_V4[1]):
        config = client_config(corp, corp.device("alice"),
                               gateway=["wrong.example:443", f"{GATEWAY_NAME}:443"])
        Tund(lab, lab.laptop, config).start(timeout=8)
    traffic.assert_pings(lab.laptop, CORP[4])


def test_one_cut_after_the_handshake_does_not_take_the_network_away(lab, corp):
    """A gateway that is being restarted looks like one that refuses: what runs inside waits."""
    def script(conn):
        if conn.number == 1:
            conn.read()
            conn.reset()
            return
        conn.serve()
        if conn.number == 0:
            conn.probe()
            conn.sock.shutdown(socket.SHUT_RDWR)
            return
        conn.hold()

    with RawGateway(lab, corp, script) as gateway:
        client = start_client(lab, corp)
        gateway.wait(2)
        client.wait_trouble(state="refused")
        for _ in range(10):
            assert "10.99.0.77" in lab.laptop.ip("addr", "show", "dev", "tund0")
            time.sleep(0.1)
        gateway.wait(3, 20)
        client.wait_status(state="up")


# This host.

def test_a_host_without_ipv6_gets_a_tunnel_of_ipv4(lab, corp):
    lab.laptop.run(["sysctl", "-q", "-w", "net.ipv6.conf.all.disable_ipv6=1",
                    "net.ipv6.conf.default.disable_ipv6=1"])
    Ocserv(lab, corp)
    client = start_client(lab, corp)
    client.wait_status(transport="dtls")
    traffic.assert_pings(lab.laptop, CORP[4])
    status = client.status()
    assert len(status["inner_addresses"]) == 1 and "fd50::/64" not in status["routes"]
    assert "IPv4 alone" in client.process.log() and "disable_ipv6" in client.process.log()


def test_a_host_without_ipv6_says_so_when_ipv6_is_all_there_is(lab, corp):
    lab.laptop.run(["sysctl", "-q", "-w", "net.ipv6.conf.all.disable_ipv6=1",
                    "net.ipv6.conf.default.disable_ipv6=1"])

    def script(conn):
        conn.serve(addresses=[("X-CSTP-Address-IP6", "fd99::2/64")])
        conn.hold()

    with RawGateway(lab, corp, script):
        client = start_client(lab, corp, wait=False)
        status = client.wait_trouble()
        assert "disable_ipv6" in status["last_error"], status["last_error"]
