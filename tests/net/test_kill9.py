"""kill -9 of any process of any role: the rest ends, the network is as before, and it can be
started again at once.

    laptop --- wan --- gw --- corp
"""

import os
import signal
import time
from pathlib import Path

import pytest

import traffic
from lab import CORP, assert_unchanged, snapshot, wait_until
from peers import Tund, client_config, gateway_config

ROLES = ("tund", "keys", "fetch", "engine")


def is_gone(pid):
    """Ended; a zombie counts, as its parent is the test."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in "ZX"


@pytest.mark.parametrize("victim", ROLES)
@pytest.mark.parametrize("side", ["gateway", "client"])
def test_the_rest_ends_the_network_is_restored_and_a_restart_gets_the_address_back(
        lab, corp, side, victim):
    ns = {"gateway": lab.gw, "client": lab.laptop}[side]
    before = snapshot(ns)
    gateway = Tund(lab, lab.gw, gateway_config(corp, dpd="1s")).start()
    client = Tund(lab, lab.laptop, client_config(corp, corp.device("alice"))).start()
    addresses = client.status()["inner_addresses"]
    assert len(addresses) == 2
    killed = {"gateway": gateway, "client": client}[side]
    processes = killed.processes()
    assert set(processes) == set(ROLES)

    os.kill(processes[victim], signal.SIGKILL)
    for role, pid in processes.items():
        wait_until(lambda: is_gone(pid), 3, f"the end of {role} after that of {victim}")
    assert_unchanged(ns, before, timeout=1)

    killed.start()
    client.wait_status(timeout=20, state="up")
    assert client.status()["inner_addresses"] == addresses
    wait_until(lambda: traffic.ping(lab.laptop, CORP[4], count=1, wait=1), 10, "a ping")
    traffic.assert_pings(lab.laptop, *CORP.values())


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
def test_a_stop_restores_the_network_and_is_exit_0(lab, corp, how):
    before = {ns: snapshot(ns) for ns in (lab.gw, lab.laptop)}
    gateway = Tund(lab, lab.gw, gateway_config(corp)).start()
    client = Tund(lab, lab.laptop, client_config(corp, corp.device("alice"))).start()
    for tund in (client, gateway):
        assert tund.process.stop(how) == 0
        assert_unchanged(tund.ns, before[tund.ns], timeout=0)


def test_a_restart_waits_for_its_predecessor(lab, corp):
    gateway = Tund(lab, lab.gw, gateway_config(corp)).start()
    first = gateway.process
    first.send_signal(signal.SIGTERM)
    gateway.start()
    assert first.wait() == 0
    time.sleep(0.2)
    assert gateway.process.running()
