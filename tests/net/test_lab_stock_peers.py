"""The lab itself, proven with software that is not ours: openconnect towards ocserv.

    laptop --- wan --- gw (ocserv) --- corp
"""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import traffic
from lab import (CORP, GATEWAY_NAME, GATEWAY_V4, GATEWAY_V6, Lab, LabError, assert_carried,
                 assert_unchanged, difference, run, snapshot)
from peers import Ocserv, Openconnect, RawTls
from pki import Corp

MEGABYTES = 20


@pytest.mark.parametrize("dtls", [True, False], ids=["dtls", "tls-only"])
def test_file_both_ways_over_the_transport_that_was_asked_for(lab, corp, dtls):
    web = traffic.Web(lab, MEGABYTES)
    Ocserv(lab, corp)
    client = Openconnect(lab, lab.laptop, corp, corp.device("alice"), dtls=dtls).wait_up(30)
    for family in (4, 6):
        traffic.assert_pings(lab.laptop, CORP[family])
        before = lab.wire.bytes()
        traffic.assert_both_ways(lab, lab.laptop, web, family)
        moved = lab.wire.since(before)
        assert_carried(moved, "udp" if dtls else "tcp", 2 * web.size)
        assert moved["v4"] > 2 * web.size and moved["v6"] == 0
    assert "corporate network says hello" in traffic.fetch_page(lab.laptop)
    assert client.stop() == 0


def test_dropped_udp_silences_dtls_and_lifting_brings_it_back(lab, corp):
    streams = traffic.Streams(lab)
    Ocserv(lab, corp, dpd=2)
    Openconnect(lab, lab.laptop, corp, corp.device("alice")).wait_up()
    # Upwards: ocserv answers over TLS only once data has come that way.
    stream = streams.start(lab.laptop, "up", seconds=12, rate=200_000)
    time.sleep(1)
    lab.wire.drop_udp("laptop")
    before = lab.wire.bytes()
    time.sleep(8)
    moved = lab.wire.since(before)
    assert moved["udp"] == 0
    assert moved["tcp"] > 100_000, "openconnect did not go over to TLS"
    lab.wire.lift()
    report = streams.report(stream, 20)
    assert report["intact"] and report["error"] is None
    assert 2 < report["stall_s"] < 8, report


def test_loss_is_seen_by_ping(lab):
    assert traffic.ping(lab.laptop, GATEWAY_V4[0], count=20, interval=0.02) == 20
    lab.wire.lose(500, "laptop")
    assert 0 < traffic.ping(lab.laptop, GATEWAY_V4[0], count=20, interval=0.02, wait=1) < 20
    lab.wire.lift()
    lab.wire.drop("meta nfproto ipv6")
    assert traffic.ping(lab.laptop, GATEWAY_V6[1], count=2, wait=1) == 0
    lab.wire.lift()
    assert traffic.ping(lab.laptop, GATEWAY_V6[1]) == 3


def test_every_laptop_reaches_every_gateway_address_and_is_counted_alone(make_lab):
    lab = make_lab(laptops=("laptop", "laptop2", "rogue"))
    before = {laptop: lab.wire.bytes(laptop) for laptop in lab.laptops}
    for laptop in lab.laptops:
        traffic.assert_pings(lab.ns[laptop], *GATEWAY_V4, *GATEWAY_V6, count=1)
        assert lab.wire.since(before[laptop], laptop)["udp"] == 0


def test_snapshot_shows_what_openconnect_set_and_that_it_went(lab, corp):
    before = snapshot(lab.laptop)
    assert difference(before, snapshot(lab.laptop)) == ""
    Ocserv(lab, corp)
    client = Openconnect(lab, lab.laptop, corp, corp.device("alice"), dtls=False).wait_up()
    shown = difference(before, snapshot(lab.laptop))
    for part in ("links", "addresses", "routes4", "routes6"):
        assert f"+{part}: " in shown, shown
    lab.laptop.ip("rule", "add", "pref", "7", "lookup", "7")
    lab.laptop.run(["nft", "add", "table", "ip", "left"])
    (lab.laptop.etc / "resolv.conf").write_text("nameserver 192.0.2.1\n")
    shown = difference(before, snapshot(lab.laptop))
    for part in ("rules4", "nft", "resolv.conf"):
        assert f"+{part}: " in shown, shown
    lab.laptop.ip("rule", "del", "pref", "7")
    lab.laptop.run(["nft", "delete", "table", "ip", "left"])
    (lab.laptop.etc / "resolv.conf").write_text("# of the lab\n")
    client.stop()
    assert_unchanged(lab.laptop, before)


def route_without_tunnel(lab):
    lab.wan.ip("route", "add", "10.50.0.0/24", "via", GATEWAY_V4[0])


def test_streams_report_damage_free_data_and_the_longest_silence(lab):
    streams = traffic.Streams(lab)
    route_without_tunnel(lab)
    running = [streams.start(lab.laptop, way, seconds=5) for way in ("down", "up")]
    time.sleep(1)
    lab.wire.drop("meta l4proto tcp")
    time.sleep(1.5)
    lab.wire.lift()
    for stream in running:
        report = streams.report(stream, 20)
        traffic.assert_intact(report, stall_s=4, at_least=4_000_000)
        assert report["stall_s"] > 1.4, report


@pytest.mark.serial
def test_datagrams_are_numbered_and_timed_by_the_kernel(lab):
    route_without_tunnel(lab)
    datagrams = traffic.Datagrams(lab, lab.laptop, "10.77.1.2", CORP[4])
    time.sleep(1)
    lab.wire.drop_udp()
    dropped_ns = time.clock_gettime_ns(time.CLOCK_REALTIME)
    time.sleep(0.5)
    for end in datagrams.finish():
        assert len(end["times_ns"]) > 900
        assert end["numbers"] == list(range(end["numbers"][0], end["numbers"][-1] + 1))
        assert dropped_ns - 50_000_000 < end["times_ns"][-1] <= dropped_ns
        assert end["sent_ns"][-1] > dropped_ns + 400_000_000


@pytest.mark.parametrize("dtls", [True, False], ids=["dtls", "tls-only"])
def test_a_relay_delays_either_transport(lab, corp, dtls):
    web = traffic.Web(lab)
    Ocserv(lab, corp)
    traffic.Relay(lab.wan, "10.77.1.1:443", f"{GATEWAY_V4[0]}:443", delay_s=0.05)
    lab.laptop.hosts({GATEWAY_NAME: ["10.77.1.1"]})
    Openconnect(lab, lab.laptop, corp, corp.device("alice"), dtls=dtls).wait_up()
    begin = time.monotonic()
    traffic.assert_both_ways(lab, lab.laptop, web)
    # Two connections with a request each: at least four times there and back.
    assert time.monotonic() - begin > 0.4


def test_refusal_is_seen_by_a_raw_tls_peer(lab, corp):
    Ocserv(lab, corp)
    assert RawTls(lab.laptop, corp, corp.device("alice")).status == 200
    assert RawTls(lab.laptop, corp).status is None


def test_nothing_is_left_of_a_lab():
    with Lab() as lab:
        name, directory = lab.name, lab.dir
        process = lab.corp.spawn("sleeper", ["sleep", "1000"])
        assert process.running()
    assert not process.running()
    assert not directory.exists()
    assert name not in run(["ip", "netns", "list"]).stdout
    assert not list(Path("/etc").glob(f"netns/{name}*"))


def test_a_process_left_in_a_lab_is_ended_and_told():
    lab = Lab()
    lab.corp.run(["sh", "-c", "sleep 1000 >/dev/null 2>&1 &"])
    with pytest.raises(LabError, match=r"sleep\) in corp"):
        lab.close()
    assert lab.name not in run(["ip", "netns", "list"]).stdout


def test_an_interrupted_lab_goes_away():
    script = textwrap.dedent(f"""\
        import sys, time
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from lab import Lab
        with Lab() as lab:
            lab.corp.spawn("sleeper", ["sleep", "1000"])
            print(lab.name, flush=True)
            time.sleep(60)
        """)
    # A shell's job in the background has it ignored, and all below inherit that.
    with subprocess.Popen([sys.executable, "-B", "-c", script], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True,
                          preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)) as other:
        name = other.stdout.readline().strip()
        assert name in run(["ip", "netns", "list"]).stdout
        other.send_signal(2)
        other.wait(20)
    assert name not in run(["ip", "netns", "list"]).stdout
    assert not list(Path(os.environ.get("TMPDIR", "/tmp")).glob(f"{name}*"))


def test_two_labs_live_side_by_side(make_lab):
    labs = [make_lab(), make_lab()]
    assert labs[0].name != labs[1].name
    for lab in labs:
        served = Corp(lab.dir / "pki", GATEWAY_NAME)
        Ocserv(lab, served)
        Openconnect(lab, lab.laptop, served, served.device("alice"), dtls=False).wait_up()
    for lab in labs:
        traffic.assert_pings(lab.laptop, CORP[4])
