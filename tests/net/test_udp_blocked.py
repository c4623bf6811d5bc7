"""A firewall on the way drops UDP for a while: the tunnel moves to TLS and back, and what runs
inside does not notice more than a pause.

    laptop --- wan (drops UDP from 10 s to 25 s) --- gw --- corp
"""

import time

import pytest

import traffic
from lab import CORP
from peers import Openconnect, start_client, start_gateway

DPD_S = 3
RATE = 1_000_000
pytestmark = pytest.mark.slow


class Watch:
    """Bytes on the wire, second by second, while something else happens."""

    def __init__(self, lab):
        self.lab = lab
        self.start = time.monotonic()
        self.samples = [(0.0, lab.wire.bytes())]

    def until(self, second):
        while (now := time.monotonic() - self.start) < second:
            time.sleep(min(0.5, second - now))
            self.samples.append((time.monotonic() - self.start, self.lab.wire.bytes()))

    def first(self, transport, since, at_least):
        """When this transport first carried that many bytes between two looks; None: never."""
        for (_, old), (when, new) in zip(self.samples, self.samples[1:]):
            if when > since and new[transport] - old[transport] >= at_least:
                return when
        return None

    def carried(self, transport, since, until):
        inside = [sample[transport] for when, sample in self.samples if since <= when <= until]
        return inside[-1] - inside[0]


def test_inner_connections_outlive_15_s_without_udp(lab, corp):
    streams = traffic.Streams(lab)
    start_gateway(lab, corp, dpd=f"{DPD_S}s")
    client = start_client(lab, corp, corp.device("alice"))
    client.wait_status(state="up", transport="dtls")
    running = [streams.start(lab.laptop, way, seconds=60, rate=RATE, family=family)
               for way in ("down", "up") for family in (4, 6)]
    watch = Watch(lab)
    watch.until(10)
    assert watch.carried("udp", 2, 10) > 4 * RATE
    lab.wire.drop_udp("laptop")
    watch.until(25)
    lab.wire.lift()
    watch.until(62)

    for process in running:
        report = traffic.Streams.report(process, 60)
        traffic.assert_intact(report, stall_s=2 * DPD_S + 1, at_least=50 * RATE)
    assert watch.carried("tcp", 10 + 2 * DPD_S + 1, 25) > RATE, "TLS carried nothing meanwhile"
    back = watch.first("udp", 25, RATE // 4)
    assert back and back <= 25 + 10, f"DTLS carried data again at {back} s"
    assert watch.carried("tcp", 40, 62) < RATE, "TLS still carries data after the return"
    assert client.status()["transport"] == "dtls"


def longest_gap_s(times_ns):
    return max(b - a for a, b in zip(times_ns, times_ns[1:])) / 1e9


def test_stock_openconnect_goes_to_tls_and_is_back_on_dtls_within_75_s(lab, corp):
    streams = traffic.Streams(lab)
    gateway = start_gateway(lab, corp, dpd=f"{DPD_S}s")
    client = Openconnect(lab, lab.laptop, corp, corp.device("alice")).wait_up()
    rate = RATE // 4
    # A TCP connection inside waits for its own next attempt, so datagrams measure the silence.
    datagrams = traffic.Datagrams(lab, lab.laptop, client.inner(), CORP[4], rate=100)
    stream = streams.start(lab.laptop, "up", seconds=105, rate=rate)
    watch = Watch(lab)
    watch.until(5)
    assert gateway.session("alice")["transport"] == "dtls"
    lab.wire.drop_udp("laptop")
    watch.until(20)
    lab.wire.lift()
    watch.until(100)
    for end, where in zip(datagrams.finish(), ("corp", "laptop")):
        gap = longest_gap_s(end["times_ns"])
        assert gap <= 2 * DPD_S + 1, f"{where}: silent for {gap} s"
    report = traffic.Streams.report(stream, 60)
    traffic.assert_intact(report, stall_s=15, at_least=90 * rate)
    back = watch.first("udp", 20, rate // 4)
    assert back and back <= 20 + 75, f"DTLS carried data again at {back} s"


def test_udp_blocked_from_the_start_gives_a_tunnel_over_tls(lab, corp):
    lab.wire.drop_udp()
    start_gateway(lab, corp)
    client = start_client(lab, corp, corp.device("alice"))
    traffic.assert_pings(lab.laptop, *CORP.values())
    assert client.status()["transport"] == "tls"
    lab.wire.lift()
    client.wait_status(timeout=75, transport="dtls")
    traffic.assert_pings(lab.laptop, *CORP.values())


def test_stock_openconnect_is_usable_within_20_s_when_udp_is_blocked_from_the_start(lab, corp):
    lab.wire.drop_udp()
    start_gateway(lab, corp)
    client = Openconnect(lab, lab.laptop, corp, corp.device("alice"))
    client.process.wait_for(f"{client.interface} is set up", 20)
    traffic.assert_pings(lab.laptop, *CORP.values())
