"""The programs that scripts/bench measures with tell the truth: tests/bench/{bound,udp,ping,handshakes}.

    laptop 10.77.1.2 --- wan --- 198.51.100.1 gw --- corp 10.50.0.10
      bound0 ======================= bound0              sink, iperf3
"""

import json
import shutil
import subprocess

import pytest

import pki
import traffic
from lab import CORP, CORP_NETS, GATEWAY_V4, GATEWAY_V6, run
from peers import BUILD

TOOLS = BUILD / "tests" / "bench"
SINK_PORT = 7001
SINK = f"{CORP[4]}:{SINK_PORT}"


def ask(ns, program, *arguments, timeout=60):
    """What it printed."""
    return json.loads(ns.run([TOOLS / program, *arguments], timeout=timeout).stdout)


def refusal(argv):
    """The one line on stderr of a program that ends with 1."""
    done = run(argv, check=False)
    assert done.returncode == 1 and not done.stdout, (done.returncode, done.stdout, done.stderr)
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


# The bound.

def start_bound(lab, family=4, options=(), gateway_options=None):
    """(the laptop's end, gw's)."""
    laptop, gateway = {4: (lab.outer("laptop", 4), GATEWAY_V4[0]),
                       6: (f"[{lab.outer('laptop', 6)}]", f"[{GATEWAY_V6[0]}]")}[family]
    mtu = 1434 if family == 4 else 1414
    ends = []
    for ns, local, remote, chosen in (
            (lab.laptop, f"{laptop}:5001", f"{gateway}:5000", options),
            (lab.gw, f"{gateway}:5000", f"{laptop}:5001",
             options if gateway_options is None else gateway_options)):
        ends.append(ns.spawn("bound", [TOOLS / "bound", "--tun", "bound0", "--mtu", mtu,
                                       "--local", local, "--remote", remote, *chosen]))
        ends[-1].wait_for("^ready")
    # The kernel says nothing of its own on a link without IPv6: every packet is the test's.
    for ns, inner in ((lab.laptop, "10.99.0.2/24"), (lab.gw, "10.99.0.1/24")):
        ns.run(["sysctl", "-q", "-w", "net.ipv6.conf.bound0.disable_ipv6=1"])
        ns.ip("addr", "add", inner, "dev", "bound0")
        ns.ip("link", "set", "bound0", "mtu", mtu, "up")
    lab.laptop.ip("route", "add", CORP_NETS[0], "dev", "bound0")
    return ends


def counters(end):
    assert end.stop() == 0
    return json.loads(end.log().splitlines()[-1])


@pytest.mark.parametrize("family, options, at_once", [
    (4, [], True), (6, [], True), (4, ["--one-packet"], False), (4, ["--no-seal"], True)],
    ids=["v4", "v6", "one-packet", "no-seal"])
def test_the_bound_carries_every_byte_both_ways(lab, family, options, at_once):
    web = traffic.Web(lab, 10)
    laptop, gateway = start_bound(lab, family, options)
    traffic.assert_pings(lab.laptop, CORP[4])
    traffic.assert_both_ways(lab, lab.laptop, web)
    seen, met = counters(laptop), counters(gateway)
    for ours, theirs in ((seen, met), (met, seen)):
        assert ours["slices_out"] == theirs["slices_in"], (seen, met)
        assert ours["packets_out"] == theirs["packets_in"], (seen, met)
        assert ours["bytes_out"] == theirs["bytes_in"] > 10_000_000, (seen, met)
        assert ours["not_sent"] == ours["not_opened"] == 0, (seen, met)
    # Super-packets were carried as such, or none were.
    assert (seen["slices_out"] > 2 * seen["packets_out"]) == at_once, seen


def test_the_bound_fills_an_iperf3_stream_without_retransmits(lab):
    lab.corp.spawn("iperf3", ["iperf3", "-s", "--forceflush"]).wait_for("listening")
    start_bound(lab)
    for direction in ([], ["-R"]):
        report = json.loads(lab.laptop.run(["iperf3", "-c", CORP[4], "-J", "-n", "200M", *direction],
                                           timeout=60).stdout)["end"]
        assert report["sum_received"]["bytes"] >= 200 * 2**20 * 0.95, report
        assert report["sum_sent"]["retransmits"] < 50, report["sum_sent"]


def test_what_was_changed_on_the_way_is_not_opened(lab):
    """The other end takes what is sealed for plain, and sends plain what this one must not take."""
    laptop, _ = start_bound(lab, gateway_options=["--no-seal"])
    lab.gw.run(["ping", "-c", "3", "-i", "0.05", "-W", "1", "10.99.0.2"], check=False)
    met = counters(laptop)
    assert met["not_opened"] >= 3 and met["packets_in"] == 0, met


# UDP.

@pytest.fixture
def path(lab):
    """Without a tunnel the router knows corp."""
    lab.wan.ip("route", "add", CORP_NETS[0], "via", GATEWAY_V4[0])
    lab.wan.ip("-6", "route", "add", CORP_NETS[1], "via", GATEWAY_V6[0])
    return lab


@pytest.fixture
def sink(path):
    process = path.corp.spawn("sink", [TOOLS / "udp", "sink", "--listen", SINK])
    process.wait_for("^ready")
    return process


def test_udp_counts_what_is_lost(lab, sink):
    lab.laptop.run([TOOLS / "udp", "send", "--to", SINK, "--rate", "1000", "--seconds", "0.2"])
    # Every tenth, the sender's questions spared.
    lab.gw.run(["nft", "-f", "-"], stdin="""
        table inet loss {
            chain forward {
                type filter hook forward priority 0
                udp length 72 numgen inc mod 10 == 0 drop
            }
        }
    """)
    trial = ask(lab.laptop, "udp", "send", "--to", SINK, "--size", "64", "--rate", "5000",
                "--seconds", "1")
    assert trial["sent"] == 5000 and trial["received"] == 4500, trial
    assert trial["lost_share"] == pytest.approx(0.1), trial
    spared = ask(lab.laptop, "udp", "send", "--to", SINK, "--size", "65", "--rate", "5000",
                 "--seconds", "1")
    assert spared["received"] == spared["sent"] == 5000 and spared["lost_share"] == 0, spared
    assert sink.stop() == 0
    assert json.loads(sink.log().splitlines()[-1]) == {
        "trials": 3, "received": 200 + 4500 + 5000, "strays": 0}


def test_udp_counts_a_copy_once(lab, sink):
    """gw sends each datagram to corp more than once: one that is lost cannot hide behind a copy."""
    lab.gw.run(["nft", "-f", "-"], stdin=f"""
        table netdev twice {{
            chain out {{
                type filter hook egress device corp0 priority 0
                udp length 72 dup to corp0
            }}
        }}
    """)
    trial = ask(lab.laptop, "udp", "send", "--to", SINK, "--rate", "2000", "--seconds", "0.5")
    assert trial["received"] == trial["sent"] == 1000 <= trial["copies"], trial


def test_a_sender_that_is_too_slow_says_so(lab, sink):
    trial = ask(lab.laptop, "udp", "send", "--to", SINK, "--rate", "20000000", "--seconds", "0.3")
    assert not trial["on_time"] and trial["sent"] < 20000000 * 0.3, trial
    assert trial["sent_pps"] < 20000000 * 0.97, trial


def test_a_sender_without_a_sink_says_so(path):
    said = refusal(path.laptop.argv([TOOLS / "udp", "send", "--to", SINK, "--rate", "1000"]))
    assert "no sink answers" in said


@pytest.mark.serial
@pytest.mark.parametrize("sender, receiver", [("laptop", "corp"), ("corp", "laptop")],
                         ids=["up", "down"])
def test_a_search_finds_the_rate_of_a_narrow_link(path, sender, receiver):
    """64 bytes are 106 with their headers: 10,000 of them a second and no more."""
    at = f"{CORP[4] if receiver == 'corp' else path.outer('laptop', 4)}:{SINK_PORT}"
    path.ns[receiver].spawn("sink", [TOOLS / "udp", "sink", "--listen", at]).wait_for("^ready")
    device = {"laptop": "out0", "corp": "eth0"}[sender]
    run(["tc", "-n", path.ns[sender].name, "qdisc", "add", "dev", device, "root", "tbf", "rate",
         "8480kbit", "burst", "8kb", "latency", "3ms"])
    found = ask(path.ns[sender], "udp", "search", "--to", at, "--size", "64", "--from", "3000",
                "--seconds-per-trial", "0.5", timeout=120)
    assert 8_500 < found["pps"] < 10_600, found
    assert not found["until_reached"]
    passed = [t for t in found["trials"] if t["rate"] == pytest.approx(found["pps"], abs=1) and
              t["on_time"] and t["lost_share"] < 0.005]
    assert len(passed) >= 2, found
    # Nothing above it did.
    above = [t for t in found["trials"] if t["rate"] > found["pps"] + 1]
    assert above and min(t["rate"] for t in above) < found["pps"] * 1.2, found


def test_a_search_ends_at_the_given_rate(lab, sink):
    found = ask(lab.laptop, "udp", "search", "--to", SINK, "--from", "1000", "--until", "2000",
                "--seconds-per-trial", "0.1")
    assert found["pps"] == 2000 and found["until_reached"], found


# Ping.

def test_ping_counts_answers_and_losses(path):
    for family in (4, 6):
        answer = ask(path.laptop, "ping", "--to", CORP[family], "--count", "100")
        assert answer["sent"] == answer["received"] == 100 and answer["lost"] == 0, answer
        assert 0 < answer["min_us"] <= answer["median_us"] <= answer["p90_us"], answer
        assert answer["p90_us"] <= answer["p99_us"] <= answer["max_us"] < 1_000_000, answer
    path.gw.run(["nft", "-f", "-"], stdin="""
        table inet loss {
            chain forward {
                type filter hook forward priority 0
                icmp type echo-reply numgen inc mod 4 == 0 drop
            }
        }
    """)
    answer = ask(path.laptop, "ping", "--to", CORP[4], "--count", "100", "--wait-ms", "300")
    assert answer["lost"] == 25 and answer["received"] == 75, answer


def test_ping_without_any_answer_fails(path):
    done = path.laptop.run([TOOLS / "ping", "--to", "10.50.0.77", "--count", "5", "--wait-ms", "200"],
                          check=False)
    assert done.returncode == 1 and json.loads(done.stdout)["lost"] == 5
    assert "no echo came back" in done.stderr


def test_ping_sees_a_queue_grow(path):
    """An echo is 98 bytes long and takes 20 ms, and the next one comes after 5."""
    before = ask(path.laptop, "ping", "--to", CORP[4], "--count", "40", "--interval-us", "5000")
    run(["tc", "-n", path.laptop.name, "qdisc", "add", "dev", "out0", "root", "tbf", "rate",
         "39200bit", "burst", "200", "limit", "100000"])
    after = ask(path.laptop, "ping", "--to", CORP[4], "--count", "40", "--interval-us", "5000",
                "--wait-ms", "5000")
    assert after["lost"] == before["lost"] == 0, (before, after)
    # The 20th waits for 18 before it: 18 * 20 - 20 * 5 ms, and more where the machine is slow.
    assert 200_000 < after["median_us"] < 400_000, after
    assert after["max_us"] > 1.7 * after["median_us"], after
    assert before["median_us"] < after["median_us"] / 4, (before, after)


# Handshakes.

@pytest.fixture
def company(tmp_path):
    corp = pki.Corp(tmp_path / "pki", "vpn.corp.example")
    corp.device("alice")
    return corp


def handshake_argv(company, client="alice", ca=None, **options):
    certificate, key = company.gateway_files
    argv = [TOOLS / "handshakes", "--cert", certificate, "--key", key,
            "--client-cert", company.directory / f"{client}.crt",
            "--client-key", company.directory / f"{client}.key",
            "--ca", ca or company.ca, "--seconds", "0.2"]
    for option, value in options.items():
        argv += [f"--{option}", value]
    return argv


def test_handshakes_are_counted_and_their_cost_told_by_end(company):
    alone = json.loads(run(handshake_argv(company)).stdout)
    both = json.loads(run(handshake_argv(company, threads=2, crl=company.write_crl(),
                                         name="vpn.corp.example")).stdout)
    for figures in (alone, both):
        assert figures["handshakes"] > 10 and figures["per_second"] > 10, figures
        assert 0.01 < figures["server_cpu_ms"] < 100, figures
        assert 0.01 < figures["client_cpu_ms"] < 100, figures
        assert figures["server_alone_per_second"] > figures["per_second"], figures
    assert alone["threads"] == 1 and both["threads"] == 2 and both["crl"]


def test_handshakes_fail_where_a_certificate_does(company, tmp_path):
    other = pki.Corp(tmp_path / "other", "vpn.corp.example")
    assert "the client: certificate verify failed" in refusal(handshake_argv(company, ca=other.ca))
    assert "hostname mismatch" in refusal(handshake_argv(company, name="vpn.other.example"))
    # What only the server checks.
    shutil.copy(company.directory / "gateway.crt", company.directory / "wrong.crt")
    shutil.copy(company.directory / "gateway.key", company.directory / "wrong.key")
    said = refusal(handshake_argv(company, client="wrong"))
    assert "the server: certificate verify failed: unsuitable certificate purpose" in said
    stranger = other.device("mallory")
    for source, name in zip(stranger, ("mallory.crt", "mallory.key")):
        shutil.copy(source, company.directory / name)
    assert "the server: certificate verify failed" in refusal(handshake_argv(company, client="mallory"))


def test_handshakes_ask_the_list(company):
    revoked = company.root.issue("bob")
    company.write("bob", revoked)
    crl = company.write_crl(revoked=[revoked])
    assert "certificate revoked" in refusal(handshake_argv(company, client="bob", crl=crl))
    assert subprocess.run([str(a) for a in handshake_argv(company, client="bob")],
                          stdout=subprocess.DEVNULL, check=False, timeout=30).returncode == 0
