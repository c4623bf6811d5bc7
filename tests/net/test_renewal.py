"""Keys are renewed while packets run: nothing is lost, nothing changes but the keys.

    laptop --- wan --- gw (rekey = "2s") --- corp
"""

import re

import traffic
from lab import CORP
from peers import start_client, start_gateway


def test_a_new_connection_takes_over_before_the_old_one_ends(lab, corp):
    gateway = start_gateway(lab, corp, rekey="2s")
    client = start_client(lab, corp, corp.device("alice"))
    client.wait_status(state="up", transport="dtls")
    before = gateway.session("alice")
    answer = lab.laptop.run(["ping", "-q", "-i", "0.01", "-c", "900", CORP[4]])
    assert re.search(r"900 packets transmitted, 900 received", answer.stdout), answer.stdout
    after = gateway.session("alice")
    assert after["id"] == before["id"]
    assert after["inner_addresses"] == before["inner_addresses"]
    renewals = gateway.status()["handshakes"]["accepted"] - 1
    assert renewals >= 3
    assert after["rx_packets"] >= 900, "figures go on where the old keys left off"


def test_a_tcp_connection_inside_outlives_renewals_over_tls_alone(lab, corp):
    gateway = start_gateway(lab, corp, rekey="2s")
    web = traffic.Web(lab, 100)
    start_client(lab, corp, corp.device("alice"), transport="tcp")
    traffic.assert_both_ways(lab, lab.laptop, web)
    assert gateway.session("alice")["transport"] == "tls"
