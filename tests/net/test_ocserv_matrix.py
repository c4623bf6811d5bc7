"""Our client in somebody else's network: stock ocserv, certificates only, over every transport.

    laptop --- wan --- gw (ocserv) --- corp

The transport is read off the wire, so that a silent fallback fails.
"""

import pytest

import traffic
from lab import CORP, assert_carried
from peers import Ocserv, start_client

MEGABYTES = 100
WIRE = {"dtls": "udp", "tls": "tcp"}


@pytest.mark.parametrize("inner", [4, 6], ids=["inner4", "inner6"])
@pytest.mark.parametrize("transport", ["dtls", "tls"])
def test_100_mb_both_ways(lab, corp, transport, inner):
    web = traffic.Web(lab, MEGABYTES)
    Ocserv(lab, corp)
    wanted = "auto" if transport == "dtls" else "tcp"
    client = start_client(lab, corp, corp.device("alice"), transport=wanted)
    client.wait_status(state="up", transport=transport)
    traffic.assert_pings(lab.laptop, CORP[inner])
    wire = lab.wire.bytes()
    traffic.assert_both_ways(lab, lab.laptop, web, inner)
    assert_carried(lab.wire.since(wire), WIRE[transport], 2 * web.size)
    assert client.status()["transport"] == transport
