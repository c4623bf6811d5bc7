"""The benchmark itself, in short: it measures what it says, and leaves nothing behind.

    laptop --- gw --- corp        a fresh one for each contender
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab import PREFIX, run, wait_until
from peers import BUILD

BENCH = Path(__file__).resolve().parents[1] / "bench" / "bench.py"

SHORT = ["--quick", "--rounds", "1", "--tcp-seconds", "1", "--trial-seconds", "0.05",
         "--loaded-seconds", "0.5", "--ping-seconds", "0.2"]


def start(tmp_path, number, *argv):
    """With a run id of its own: what is left behind can be told from other tests' labs."""
    env = {**os.environ, "TUND_BUILD": str(BUILD), "TUND_LAB_RUN": f"{PREFIX[2:-1]}s{number}",
           "PYTHONDONTWRITEBYTECODE": "1"}
    log = open(tmp_path / "progress", "wb")
    return subprocess.Popen([sys.executable, BENCH, *argv, "--json", tmp_path / "run.json",
                             "--plot", tmp_path / "plot.svg"], env=env, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=log, text=True)


def assert_nothing_left(number):
    prefix = f"{PREFIX[:-1]}s{number}-"
    assert prefix not in run(["ip", "netns", "list"]).stdout
    assert not list(Path(os.environ.get("TMPDIR", "/tmp")).glob(prefix + "*"))
    assert not list(Path("/etc").glob(f"netns/{prefix}*"))


@pytest.mark.serial
def test_two_contenders_are_measured_in_everything_and_reported(tmp_path):
    bench = start(tmp_path, 1, *SHORT, "--peers", "ocserv,tund")
    out, _ = bench.communicate(timeout=180)
    progress = (tmp_path / "progress").read_text()
    # Rows need the bounds and the crowd too.
    assert bench.returncode == 1, progress
    data = json.loads((tmp_path / "run.json").read_text())
    assert [visit["peer"] for visit in data["visits"]] == ["ocserv", "tund"]
    for visit in data["visits"]:
        assert visit["errors"] == {}, progress
        measured = visit["measures"]
        for way in ("up", "down"):
            for streams in (1, 4):
                tcp = measured[f"tcp{streams}_{way}"]
                assert tcp["bits_per_second"] > 1e7 and tcp["congestion"] == "cubic"
                assert 0.05 < tcp["gateway_s"] + tcp["laptop_s"] <= tcp["machine_s"] * 1.2 + 0.1
            assert measured[f"udp64_{way}"]["pps"] > 1000
            trips = measured[f"ping_tcp_{way}"]
            assert 0 < trips["min_us"] <= trips["median_us"] <= trips["p99_us"]
        assert 0 < measured["connect"]["seconds"] < 10 and measured["reconnect"]["seconds"] > 0
        assert 1000 < measured["memory"]["gateway_kib"] < 100_000
        assert 1200 < visit["mtu"] < 1500
    held = data["visits"][1]["measures"]["ping_held_up"]["beside_bits_per_second"]
    ours = data["visits"][0]["measures"]["ping_tcp_up"]["beside_bits_per_second"]
    assert held < ours * 1.2
    assert "| **tund** |" in out and "4 × ocserv" in out and "MISS" in out
    assert (tmp_path / "plot.svg").read_text().startswith("<svg")
    assert "[2/2] round 1 of 1: tund, about" in progress
    assert_nothing_left(1)


@pytest.mark.serial
def test_an_interrupted_run_reports_what_it_has_and_goes_away(tmp_path):
    bench = start(tmp_path, 2, *SHORT, "--peers", "veth,tund")
    wait_until(lambda: "tcp1_up" in (tmp_path / "progress").read_text(), 60, "a first result")
    bench.send_signal(signal.SIGINT)
    out, _ = bench.communicate(timeout=60)
    assert bench.returncode == 130
    data = json.loads((tmp_path / "run.json").read_text())
    assert data["interrupted"] and "tcp1_up" in data["visits"][0]["measures"]
    assert "the run was interrupted" in out
    assert_nothing_left(2)


def test_a_contender_that_does_not_come_up_is_told_and_the_run_goes_on(tmp_path):
    dead = tmp_path / "wireguard-dead"
    dead.write_text("#!/bin/sh\nexit 1\n")
    dead.chmod(0o755)
    bench = start(tmp_path, 3, *SHORT, "--only", "connect", "--peer", f"wireguard-go={dead}",
                  "--peers", "wireguard-go-new,veth")
    out, _ = bench.communicate(timeout=120)
    assert bench.returncode == 1
    first, second = json.loads((tmp_path / "run.json").read_text())["visits"]
    assert first["errors"] and first["peer"] == "wireguard-go-new"
    assert second["errors"] == {} and "reconnect" in second["measures"]
    assert "round 1, wireguard-go-new" in out
    assert_nothing_left(3)
