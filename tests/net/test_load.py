"""Many devices at once, each with a certificate, a TLS channel and an association of its own, in one
process or a few (tests/load/devices.c).

    laptop (500 devices, of 4 outer addresses) --- wan --- gw --- corp (sends packets back)

With 10,000 the same is "scripts/test bench": it takes minutes and all of the machine.
"""

import os
import signal
import time

import pytest

from devices import ECHO, Devices, Fleet, add_sources, start_echo
from lab import wait_until
from peers import Tund, gateway_config
from test_kill9 import is_gone

SIZES = [pytest.param(500, id="500"),
         pytest.param(10000, id="10000", marks=pytest.mark.bench)]
pytestmark = pytest.mark.slow


def start(lab, corp, count, sources=4, file_count=None, **limits):
    """A gateway, and so many devices that are not connected yet."""
    limits = {"handshakes": 100000, "handshakes_per_source": 100000, "pending": 20000,
              "pending_per_source": 20000, **limits}
    gateway = Tund(lab, lab.gw, gateway_config(
        corp, pool=["10.99.0.0/16", "fd99::/64"], max_sessions=max(count, 10000)).set(
            "limits", **limits))
    # Ten thousand sessions' developers' stories are not what is looked at.
    gateway.config.set("log", level="info" if count > 1000 else "debug")
    gateway.start()
    fleet = Fleet(lab, lab.laptop, corp, count, sources=add_sources(lab, "laptop", sources),
                  echo=start_echo(lab), at_once=200, file_count=file_count or count)
    return gateway, fleet


def assert_all_up(answer, count):
    assert answer["up"] == count, answer
    assert answer["connecting"] == answer["waiting"] == 0, answer


def assert_nobody_shares(fleet, count):
    """Every device has an IPv4 and an IPv6 address that no other has."""
    addresses = fleet.addresses().values()
    for family in (0, 1):
        assert len({each[family] for each in addresses if each[family]}) == count


@pytest.mark.parametrize("count", SIZES)
def test_all_connect_stay_carry_traffic_and_come_back(lab, corp, count):
    gateway, fleet = start(lab, corp, count)

    answer = fleet.do("connect all")
    assert_all_up(answer, count)
    assert answer["failed"] == {}
    assert answer["counts"]["associations"] == count
    assert_nobody_shares(fleet, count)
    assert gateway.status()["sessions"] == count

    # Longer than the gateway's dpd: it hears them and they hear it.
    answer = fleet.do("hold 8")
    assert_all_up(answer, count)
    assert answer["failed"] == {}
    assert answer["counts"]["answers_rx"] >= count

    answer = fleet.do("traffic all {rate} 3", rate=max(2000 / count, 1) * len(fleet.shards))
    assert answer["sent"] > 5000 and answer["devices_without_answer"] == 0, answer
    assert answer["lost"] <= answer["sent"] * 0.001, answer

    churned = fleet.do("churn {rate} 4", rate=100)
    assert_all_up(churned, count)
    assert churned["churned"] >= 300 and churned["ups"] == churned["churned"]
    assert churned["moved"] == 0 and churned["failed"] == {}
    assert churned["counts"]["resumed"] == churned["churned"]
    assert_nobody_shares(fleet, count)

    fleet.do("mark")
    kill(gateway)
    gateway.start(timeout=30)
    answer = fleet.do("back", 200)
    assert_all_up(answer, count)
    assert answer["moved"] == 0, "devices came back with other addresses"
    assert answer["counts"]["resumed"] == count, "cookies of before the restart were not taken"
    assert_nobody_shares(fleet, count)
    assert fleet.do("traffic all 1 2")["devices_without_answer"] == 0


def kill(gateway):
    processes = gateway.processes()
    os.kill(processes["tund"], signal.SIGKILL)
    for role, pid in processes.items():
        wait_until(lambda pid=pid: is_gone(pid), 5, f"the end of {role}")


@pytest.mark.parametrize("count", SIZES)
def test_those_that_vanish_are_missed_and_come_back_with_their_addresses(lab, corp, count):
    """Without a FIN, and nobody is there to answer with a reset: as when their power fails."""
    gateway, fleet = start(lab, corp, count)
    assert_all_up(fleet.do("connect all"), count)

    fleet.do("mark")
    lab.wire.drop("meta l4proto { tcp, udp }")
    fleet.do("drop all silently")
    assert gateway.status()["sessions"] == count, "nothing said that they had gone"
    # dpd is 3 s: three silent periods and a little.
    wait_until(lambda: not any(s["state"] == "open" for s in gateway.sessions()), 30,
               "the gateway to miss them", 0.5)
    lab.wire.lift()

    answer = fleet.do("connect all")
    assert_all_up(answer, count)
    assert answer["counts"]["resumed"] == count
    assert fleet.do("report")["moved"] == 0


def test_those_beyond_a_sources_limit_wait_as_clients_do_and_get_in(lab, corp):
    """Four sources, of which each may bring 30 at once and then 30 a second."""
    count = 300
    gateway, fleet = start(lab, corp, count, handshakes_per_source=30)
    answer = fleet.do("connect all 60")
    assert_all_up(answer, count)
    failed = sum(answer["failed"].values())
    assert failed > 0, "the limit turned nobody away"
    assert answer["attempts"] == count + failed
    assert gateway.status()["handshakes"]["refused"] == {"rate-limited": failed}


def test_an_established_session_hardly_feels_a_storm(lab, corp):
    count = 500
    _, fleet = start(lab, corp, count, file_count=count + 1)
    watcher = Devices(lab, lab.laptop, corp, 1, first=count, echo=ECHO)
    assert_all_up(watcher.do("connect all"), 1)
    watcher.do("ping 1 5")
    assert_all_up(fleet.do("connect all"), count)
    time.sleep(0.2)
    answer = watcher.do("ping-end")
    assert answer["back"] > 50 and answer["lost"] == 0, answer
    assert answer["rtt_ms"]["p99"] < 250, answer
