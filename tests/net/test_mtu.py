"""A path that carries less than it says: nothing hangs.

    laptop --- wan ---(1400 bytes, and no ICMP comes back)--- gw --- corp
"""

import pytest

import traffic
from lab import CORP, wait_until
from peers import Openconnect, start_client, start_gateway

LINK = 1400
DTLS_V4 = 20 + 8 + 37 + 1  # bytes around an inner packet


@pytest.fixture
def black_hole(lab):
    """The router's links carry less than the ends' do, and its ICMP errors get lost."""
    for interface in ("to-gw", "to-laptop"):
        lab.wan.ip("link", "set", interface, "mtu", LINK)
    lab.wan.run(["nft", "-f", "-"], stdin="""
        table inet hole {
            chain output {
                type filter hook output priority 0
                meta l4proto icmp drop
                icmpv6 type packet-too-big drop
            }
        }
    """)
    return lab


def test_tund_measures_what_the_path_carries(black_hole, corp):
    lab, web = black_hole, traffic.Web(black_hole, 10)
    gateway = start_gateway(lab, corp)
    client = start_client(lab, corp, corp.device("alice"))
    client.wait_status(state="up", transport="dtls")
    most = LINK - DTLS_V4

    def settled():
        mtu = client.status()["mtu"]
        return mtu if mtu <= most else None

    assert wait_until(settled, 15, "an MTU that the path carries") > most - 40
    assert wait_until(lambda: gateway.session("alice")["mtu"] <= most, 15, "the gateway's too")
    assert f"mtu {client.status()['mtu']} " in lab.laptop.ip("link", "show", "tund0")
    traffic.assert_both_ways(lab, lab.laptop, web)
    traffic.assert_both_ways(lab, lab.laptop, web, 6)
    assert client.status()["transport"] == "dtls"


def test_stock_openconnect_measures_it_too(black_hole, corp):
    lab, web = black_hole, traffic.Web(black_hole, 10)
    start_gateway(lab, corp)
    Openconnect(lab, lab.laptop, corp, corp.device("alice")).wait_up(timeout=40)
    traffic.assert_both_ways(lab, lab.laptop, web)


def test_an_inner_packet_that_is_too_big_is_answered(lab, corp):
    """mtu = 1300 for the sessions; the corporate host sends 1400 with DF set."""
    start_gateway(lab, corp, mtu=1300)
    client = start_client(lab, corp, corp.device("alice"))
    traffic.assert_pings(lab.laptop, CORP[4])
    answer = lab.corp.run(["ping", "-c1", "-W2", "-M", "do", "-s", "1372", client.inner()],
                          check=False)
    assert "mtu" in answer.stdout + answer.stderr and "1300" in answer.stdout + answer.stderr
    small = lab.corp.run(["ping", "-c1", "-W2", "-M", "do", "-s", "1272", client.inner()])
    assert " 0% packet loss" in small.stdout
