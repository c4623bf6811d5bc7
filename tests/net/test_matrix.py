"""Every kind of client over every transport: 100 MB each way, and the right way.

    laptop --- wan --- gw --- corp        the gateway has two addresses a family

The transport is read off the wire and the offloads off tund's own counters, so that a silent
fallback fails.
"""

import pytest

import traffic
from lab import CORP, GATEWAY_NAME, GATEWAY_V4, GATEWAY_V6, assert_carried
from peers import Openconnect, Tund, client_config, start_client, start_gateway

MEGABYTES = 100
WIRE = {"dtls": "udp", "tls": "tcp"}

# Least increase of a counter while 100 MB go each way. 64 KiB super-packets would be 1500.
OFTEN = 100
OFFLOADS = {
    ("tund", "dtls"): ("tun_super_rx", "tun_super_tx", "udp_gso_tx", "udp_gro_rx"),
    ("tund", "tls"): ("tun_super_rx", "tun_super_tx"),
    # openconnect sends one datagram at a time: there is nothing to receive together.
    ("openconnect", "dtls"): ("tun_super_rx", "udp_gso_tx"),
    ("openconnect", "tls"): ("tun_super_rx",),
}


def connect(lab, corp, client, transport):
    device = corp.device("alice")
    if client == "openconnect":
        return Openconnect(lab, lab.laptop, corp, device, dtls=transport == "dtls").wait_up()
    wanted = "auto" if transport == "dtls" else "tcp"
    tund = start_client(lab, corp, device, transport=wanted)
    tund.wait_status(state="up", transport=transport)
    return tund


def rise(before, after):
    return {name: after[name] - before[name] for name in before}


def assert_offloads(names, *rises):
    for moved in rises:
        few = {name: moved[name] for name in names if moved[name] < OFTEN}
        assert not few, f"hardly used: {few} of {moved}"


@pytest.mark.parametrize("inner", [4, 6], ids=["inner4", "inner6"])
@pytest.mark.parametrize("transport", ["dtls", "tls"])
@pytest.mark.parametrize("client", ["tund", "openconnect"])
def test_100_mb_both_ways(lab, corp, client, transport, inner):
    web = traffic.Web(lab, MEGABYTES)
    gateway = start_gateway(lab, corp)
    device = connect(lab, corp, client, transport)
    traffic.assert_pings(lab.laptop, CORP[inner])
    ends = [gateway, device] if client == "tund" else [gateway]
    wire, counts = lab.wire.bytes(), [end.counters() for end in ends]
    traffic.assert_both_ways(lab, lab.laptop, web, inner)
    assert_carried(lab.wire.since(wire), WIRE[transport], 2 * web.size)
    assert_offloads(OFFLOADS[client, transport],
                    *(rise(old, end.counters()) for old, end in zip(counts, ends)))
    assert gateway.session("alice")["transport"] == transport


@pytest.mark.parametrize("outer", [*GATEWAY_V4, *GATEWAY_V6])
def test_every_outer_address_answers_from_itself(lab, corp, outer):
    web = traffic.Web(lab, MEGABYTES)
    start_gateway(lab, corp)
    config = client_config(corp, corp.device("alice"), gateway=traffic.host(outer) + ":443")
    client = Tund(lab, lab.laptop, config).start()
    client.wait_status(state="up", transport="dtls")
    traffic.assert_pings(lab.laptop, *CORP.values())
    wire = lab.wire.bytes()
    traffic.assert_both_ways(lab, lab.laptop, web)
    moved = lab.wire.since(wire)
    assert_carried(moved, "udp", 2 * web.size)
    here, other = ("v6", "v4") if ":" in outer else ("v4", "v6")
    assert moved[here] > 2 * web.size and moved[other] == 0


def test_a_name_with_a_dead_address_is_tried_at_the_next(lab, corp):
    lab.laptop.hosts({GATEWAY_NAME: ["198.51.100.77", "2001:db8:1::77", GATEWAY_V4[1]]})
    start_gateway(lab, corp)
    start_client(lab, corp, corp.device("alice"))
    traffic.assert_pings(lab.laptop, CORP[4], CORP[6])


def test_three_devices_at_once_each_with_its_own_addresses(make_lab, make_corp):
    lab = make_lab(laptops=("laptop", "laptop2", "laptop3"))
    corp = make_corp(lab)
    gateway = start_gateway(lab, corp)
    for role, device in zip(lab.laptops, ("alice", "bob", "carol")):
        start_client(lab, corp, corp.device(device), ns=lab.ns[role])
    for role in lab.laptops:
        traffic.assert_pings(lab.ns[role], *CORP.values())
    addresses = [a for s in gateway.sessions() for a in s["inner_addresses"]]
    assert len(addresses) == len(set(addresses)) == 6
