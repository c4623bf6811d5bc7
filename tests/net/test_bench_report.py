"""What the benchmark makes of its samples: medians, ratios within a round, tables, the picture.

No network: runs are written here by hand.
"""

import json
import sys
import xml.etree.ElementTree
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[1] / "bench"
sys.path.append(str(BENCH))

import bench  # noqa: E402
import contenders  # noqa: E402
import figures  # noqa: E402
import plot  # noqa: E402
import report  # noqa: E402
import wanted  # noqa: E402

GIGABYTE = 1_000_000_000

# Of each contender: Mbit/s up (down is the same), 64-byte kpps, CPU-seconds a gigabyte, idle round
# trip and p99 beside TCP in microseconds. They pass every row but the crowd's.
GOOD = {"ocserv": (1500, 100, 6.5, 120, 1600), "ocserv-tls": (1300, 160, 8, 120, 6500),
        "tund": (6600, 300, 2.0, 100, 3000), "tund-tls": (4000, 250, 3, 110, 5000),
        "openvpn": (1200, 140, 8, 130, 31000), "bound": (9000, 330, 1.3, 60, 2600),
        "bound-one": (2200, 310, 4.7, 60, 3000), "veth": (60000, 900, 0, 10, 20)}

CROWD = {"connect_cpu": {"value": 0.9}, "session_memory": {"value": 60.0},
         "beside_idle": {"value": 0.95}, "idle_cpu": {"value": 0.02}, "handshakes": {"value": 0.7},
         "restart": {"value": 1.0, "rate": 1500, "rate_floor": 1200}, "storm_p99": {"value": 12.0}}


def trips(median, p99):
    return {"median_us": median, "p99_us": p99, "lost": 0, "beside_bits_per_second": 1.5e9}


def visit(nth, peer, numbers, factor=1.0):
    mbit, kpps, cpu, idle, p99 = numbers
    record = {"memory": {"gateway_kib": 5000, "laptop_kib": 4000}, "connect": {"seconds": 0.05},
              "ping_idle": trips(idle, 2 * idle)}
    for way in ("up", "down"):
        for streams in (1, 4):
            record[f"tcp{streams}_{way}"] = {
                "bits_per_second": mbit * 1e6 * factor, "bytes": GIGABYTE, "gateway_s": cpu / 2,
                "laptop_s": cpu / 2, "machine_s": cpu + 1, "stolen_s": 0.0, "retransmits": 0,
                "congestion": "cubic"}
        record[f"ping_tcp_{way}"] = trips(idle * 4, p99)
        record[f"udp64_{way}"] = {"pps": kpps * 1e3 * factor, "trials": []}
        if peer == "tund":
            record[f"ping_held_{way}"] = trips(idle * 2, 1500)
    return {"round": nth, "peer": peer, "at": "2026-01-01T00:00:00+00:00", "measures": record,
            "errors": {}, "busy_before": 0.01, "mtu": 1434, "tunnel_congestion": "reno"}


def make_run(peers=GOOD, factors=(1.0, 0.5, 1.2), crowd=CROWD):
    """factors: how fast the whole machine is in each round."""
    visits = [visit(nth, peer, numbers, factor) for nth, factor in enumerate(factors, 1)
              for peer, numbers in peers.items()]
    about = {name: {"title": contenders.BY_NAME[name].title, "version": "1 | 2",
                    "configuration": "x", "is_tunnel": contenders.BY_NAME[name].is_tunnel}
             for name in peers}
    return figures.Run({
        "schema": bench.SCHEMA, "started_at": "2026-01-01T00:00:00+00:00",
        "ended_at": "2026-01-01T00:40:00+00:00", "tree": "abc", "machine": bench.machine(),
        "options": {"rounds": len(factors), "quick": False, "only": list(bench.measures.GROUPS),
                    "effort": bench.measures.Effort().as_dict()},
        "peers": about, "left_out": ["fastd: left out, no fastd"], "visits": visits,
        "crowd": crowd})


def rows_of(run):
    return {row.what: row for row in wanted.rows(run)}


def missed(run):
    return [row.what for row in wanted.rows(run) if not row.passed]


def test_a_ratio_is_of_one_round_and_not_of_two_medians():
    run = make_run()
    spread = run.spread("tund", "tcp1_up")
    assert (spread.minimum, spread.median, spread.maximum) == (3300, 6600, 7920)
    ratios = run.ratios("tund", "tcp1_up", "ocserv")
    assert ratios.minimum == pytest.approx(4.4) == ratios.maximum


def test_a_round_without_the_reference_has_no_ratio():
    run = make_run()
    run.visits[:] = [v for v in run.visits if (v["round"], v["peer"]) != (2, "ocserv")]
    assert len(run.ratios("tund", "tcp1_up", "ocserv").samples) == 2
    assert len(run.spread("tund", "tcp1_up").samples) == 3


def test_cpu_is_of_both_ends_and_of_a_gigabyte():
    run = make_run()
    run.visits[0]["measures"]["tcp1_up"]["bytes"] = 2 * GIGABYTE
    peer = run.visits[0]["peer"]
    assert run.by_round(peer, "cpu_up")[1] == pytest.approx(GOOD[peer][2] / 2)


def test_all_rows_pass_and_none_without_measurement():
    assert missed(make_run()) == []
    nothing = make_run()
    nothing.visits.clear()
    nothing.data["crowd"] = {"error": "crowd.py is not there"}
    assert missed(nothing) == [row.what for row in wanted.rows(nothing)]
    assert "crowd.py is not there" in rows_of(nothing)[wanted.CROWD[0][1]].measured


BAD = (
    ("a tund at 3.9 times ocserv", {"tund": (5850, 300, 2.0, 100, 3000)},
     ["TCP one stream, up", "TCP one stream, down", "TCP four streams, up",
      "TCP four streams, down"]),
    ("a bound that is far away", {"bound": (11000, 330, 1.3, 60, 2600)},
     ["TCP one stream, up", "TCP one stream, down"]),
    ("a bound that flatters", {"bound": (7400, 330, 1.3, 60, 2600)},
     ["The bound itself, TCP one stream up and down"]),
    ("a peer with more packets", {"openvpn": (1200, 210, 8, 130, 31000)},
     ["64-byte UDP at < 0.5 % loss, up", "64-byte UDP at < 0.5 % loss, down"]),
    ("a bound with more packets", {"bound-one": (2200, 380, 4.7, 60, 3000)},
     ["64-byte UDP at < 0.5 % loss, up", "64-byte UDP at < 0.5 % loss, down"]),
    ("more CPU", {"tund": (6600, 300, 2.4, 100, 3000)},
     ["CPU-seconds a gigabyte, both ends, up", "CPU-seconds a gigabyte, both ends, down"]),
    ("a slow fallback", {"tund-tls": (2500, 250, 3, 110, 5000)},
     ["TLS-only fallback, TCP one stream, up", "TLS-only fallback, TCP one stream, down"]),
    ("a slow idle tunnel", {"tund": (6600, 300, 2.0, 130, 3000)},
     ["Idle round trip added by the tunnel, median"]),
    ("deep queues", {"tund": (6600, 300, 2.0, 100, 4100)},
     ["Round trip p99 beside one TCP stream at full speed, up",
      "Round trip p99 beside one TCP stream at full speed, down"]),
    ("a reference with less delay", {"ocserv": (1500, 100, 6.5, 120, 1400)},
     ["The same held to ocserv's rate, up", "The same held to ocserv's rate, down"]),
)


@pytest.mark.parametrize("changed, expected", [case[1:] for case in BAD], ids=[c[0] for c in BAD])
def test_a_row_is_missed_for_its_own_reason(changed, expected):
    assert missed(make_run({**GOOD, **changed})) == expected


@pytest.mark.parametrize("key, change", [
    ("connect_cpu", {"value": 1.01}), ("session_memory", {"value": 64.1}),
    ("beside_idle", {"value": 0.89}), ("idle_cpu", {"value": 0.031}),
    ("handshakes", {"value": 0.59}), ("restart", {"value": 0.9999}), ("restart", {"rate": 1199}),
    ("restart", {"rate": None, "rate_floor": None}), ("storm_p99", {"value": 20.1})])
def test_a_row_of_the_crowd_is_missed_for_its_own_reason(key, change):
    run = make_run(crowd={**CROWD, key: {**CROWD[key], **change}})
    assert missed(run) == [what for k, what, *_ in wanted.CROWD if k == key]


def test_a_failed_visit_and_an_absent_peer_are_misses():
    run = make_run()
    run.visits[-1]["errors"]["tcp4_up"] = "iperf3: nothing\narrived"
    peer = run.visits[-1]["peer"]
    what = "Every visit of tund, ocserv, the bounds and bare veth"
    assert peer in rows_of(run)[what].measured
    assert f"round 3, {peer}, tcp4_up: iperf3: nothing" in report.markdown(run, wanted.rows(run))
    few = make_run({name: GOOD[name] for name in ("ocserv", "tund")})
    assert what in missed(few)


def test_the_failure_of_a_peer_is_told_and_no_miss():
    run = make_run()
    openvpn = next(v for v in run.visits if v["peer"] == "openvpn")
    openvpn["errors"]["reconnect"] = "no echo"
    assert missed(run) == []
    assert "openvpn, reconnect: no echo" in report.markdown(run, wanted.rows(run))


def test_the_report_has_every_row_every_peer_and_whole_tables():
    run = make_run()
    text = report.markdown(run, wanted.rows(run))
    for row in wanted.rows(run):
        assert row.what in text and row.verdict == "pass"
    for peer in GOOD:
        assert f"| {report.strong(peer)} |" in text
    assert "fastd: left out, no fastd" in text
    assert "6600 (3300–7920) ×4.40" in text
    width = 0
    for line in text.splitlines():
        columns = line.replace("\\|", "").count("|")
        assert columns in (0, width) or width == 0, line
        width = columns


def test_the_picture_is_xml_and_shows_every_tunnel(tmp_path):
    run = make_run()
    root = xml.etree.ElementTree.fromstring(plot.svg(run))
    words = {element.text for element in root.iter() if element.text}
    assert {"tund", "ocserv", "openvpn", "bound", "TCP up, one stream"} <= words
    assert "veth" not in words
    width, height = float(root.get("width")), float(root.get("height"))
    for element in root.iter("{http://www.w3.org/2000/svg}rect"):
        assert 0 <= float(element.get("x")) <= float(element.get("x")) + float(
            element.get("width")) <= width
        assert float(element.get("y")) + float(element.get("height")) <= height


def test_a_file_gives_the_same_report_again(tmp_path, capsys):
    file, again, picture = tmp_path / "run.json", tmp_path / "again.json", tmp_path / "plot.svg"
    file.write_text(json.dumps(make_run().data))
    assert bench.main(["report", str(file), "--json", str(again), "--plot", str(picture)]) == 0
    first = capsys.readouterr().out
    assert picture.read_text().startswith("<svg")
    assert bench.main(["report", str(again)]) == 0
    assert capsys.readouterr().out == first
    bad = make_run({**GOOD, "tund": (100, 1, 9, 900, 9000)})
    file.write_text(json.dumps(bad.data))
    assert bench.main(["report", str(file)]) == 1


def test_a_rate_that_the_sender_could_not_pass_is_told():
    run = make_run()
    lossy = {"pps": 300e3, "max_loss": 0.005, "trials": [{"rate": 300e3, "lost_share": 0.0},
                                                        {"rate": 320e3, "lost_share": 0.02}]}
    late = {**lossy, "trials": [{"rate": 300e3, "lost_share": 0.0},
                                {"rate": 320e3, "lost_share": 0.001}]}
    assert not figures.sender_was_slow(lossy) and figures.sender_was_slow(late)
    for record in run.visits:
        record["measures"]["udp64_up"] = late if record["peer"] == "veth" else lossy
    assert "The sender was the limit, not loss: veth 64 B up." in report.markdown(run, [])


def test_the_table_of_a_readme_is_replaced_and_nothing_else(tmp_path):
    run = make_run()
    text = "# x\n<!-- bench:begin -->\nold\n<!-- bench:end -->\nafter\n"
    once = report.fill(text, run)
    assert once.startswith("# x\n") and once.endswith("\nafter\n") and "old" not in once
    assert "| **tund** | 6.60 / 6.60 |" in once
    assert report.fill(once, run) == once
    with pytest.raises(ValueError, match="no place for the table"):
        report.fill("# x\n", run)
    readme = Path(__file__).resolve().parents[2] / "README.md"
    assert report.fill(readme.read_text(), run)


def test_each_round_turns_and_all_come_as_often():
    options = bench.arguments(["--rounds", "5"])
    run = bench.Bench(options, dict.fromkeys("abc"), bench.measures.Effort())
    assert [run.order(nth) for nth in range(4)] == [list("abc"), list("bca"), list("cab"),
                                                    list("abc")]
    assert sorted(run.progress.names) == sorted("abc" * 5)


def test_the_time_that_is_left_is_known_from_earlier_visits():
    progress = bench.Progress(4, ["a", "b", "a", "b"])
    assert progress.left_s() is None
    progress.visited("a", 10)
    assert progress.left_s() == 30
    progress.visited("b", 20)
    assert progress.left_s() == 30


@pytest.mark.parametrize("argv", [["--only", "speed"], ["--rounds", "-1"], ["report"],
                                  ["run", "x"]])
def test_wrong_arguments_are_refused(argv):
    with pytest.raises(SystemExit) as caught:
        bench.arguments(argv)
    assert caught.value.code == 2


@pytest.mark.parametrize("argv, says", [
    (["--peers", "ocserv,cisco"], "no cisco"), (["--peer", "ocserv=/bin/true"], "wireguard-go"),
    (["--peer", "wireguard-go=/nowhere"], "/nowhere is no program")])
def test_an_unknown_peer_is_told_with_those_there_are(argv, says, capsys):
    assert bench.main(argv) == 2
    assert says in capsys.readouterr().err


def test_a_peer_that_is_not_there_is_left_out_with_its_package(monkeypatch):
    for kind in contenders.ALL:  # whatever this machine has
        if kind not in (contenders.Fastd, contenders.Ocserv):
            monkeypatch.setattr(kind, "missing", classmethod(lambda *_: ""))
    monkeypatch.setattr(contenders.Ocserv, "programs", ("sh",))
    monkeypatch.setattr(contenders.Fastd, "programs", ("no-such-fastd",))
    chosen, absent = bench.choose(bench.arguments([]))
    assert "fastd" not in chosen and "nebula" in chosen
    assert absent == ["fastd: left out, no no-such-fastd (Debian: fastd)"]
    monkeypatch.setattr(contenders.Ocserv, "programs", ("no-such-ocserv",))
    with pytest.raises(ValueError, match="ocserv cannot be left out"):
        bench.choose(bench.arguments([]))
