"""From the end of trust in a session to its last packet: measured by the gateway itself, for each cause.

    laptop (500 devices) --- wan --- gw --- corp
    laptop2 (a bystander) ---'
"""

import json
import re
import types

import pytest

from devices import Fleet, add_sources, start_echo
from lab import CORP, wait_until
from peers import Tund, gateway_config, start_client
from test_watch import rename_over
from traffic import Datagrams

COUNT, EACH = 500, 5
LINE = re.compile(r'tund_cut_delay_seconds_bucket\{cause="(\w+)",le="([^"]+)"\} (\d+)')


def delays(gateway):
    """{cause: [(bound in seconds, how many up to it), ...]}."""
    found = {}
    for cause, bound, count in LINE.findall(metrics_text(gateway)):
        found.setdefault(cause, []).append((float(bound), int(count)))
    return found


def metrics_text(gateway):
    code, answer = gateway.ctl("metrics")
    assert code == 0
    lines = []
    for metric in answer["metrics"]:
        for sample in metric["samples"]:
            labels = ",".join(f'{k}="{v}"' for k, v in sample.get("labels", {}).items())
            part = f"_{sample['part']}" if "part" in sample else ""
            lines.append(f"{metric['name']}{part}{{{labels}}} {sample['value']}")
    return "\n".join(lines)


def bound_of(buckets, share):
    """The least bound that so many of them are within."""
    total = buckets[-1][1]
    return next(bound for bound, count in buckets if count >= share * total)


def listed(serials):
    """As pki wants those whom a list names."""
    return [types.SimpleNamespace(cert=types.SimpleNamespace(serial_number=int(serial, 16)))
            for serial in serials]


@pytest.mark.serial
def test_of_500_sessions_those_that_lose_trust_are_cut_in_time(make_lab, make_corp):
    lab = make_lab(laptops=("laptop", "laptop2"))
    corp = make_corp(lab)
    crl = corp.write_crl()
    limits = {"handshakes": 100000, "handshakes_per_source": 100000, "pending": 20000,
              "pending_per_source": 20000}
    config = gateway_config(corp, pool=["10.99.0.0/16", "fd99::/64"]).set("trust", crl=[crl])
    config.set("limits", **limits).set("log", level="info")
    gateway = Tund(lab, lab.gw, config).start()
    bystander = start_client(lab, corp, corp.device("bystander"), ns=lab.laptop2)
    bystander.wait_status(state="up", transport="dtls")
    fleet = Fleet(lab, lab.laptop, corp, COUNT, sources=add_sources(lab, "laptop", 4),
                  echo=start_echo(lab), at_once=200)
    assert fleet.do("connect all")["up"] == COUNT
    sessions = [s for s in gateway.sessions() if s["identity"] != "bystander"]
    assert len(sessions) == COUNT

    stream = Datagrams(lab, lab.laptop2, bystander.inner(), CORP[4])
    by_command, by_list = sessions[:20], sessions[20:20 + 4 * EACH]
    for session in by_command:
        code, answer = gateway.ctl("revoke", session["identity"])
        assert code == 0 and [cut["id"] for cut in answer["cut"]] == [session["id"]]
    for i in range(4):
        named = [s["serial"] for s in by_list[:(i + 1) * EACH]]
        rename_over(crl, corp.root.crl(revoked=listed(named), number=i + 2))
        left = COUNT + 1 - len(by_command) - len(named)
        wait_until(lambda left=left: gateway.status()["sessions"] == left, 10, f"{left} sessions")
    ends = stream.finish()

    found = delays(gateway)
    print(json.dumps(found))
    assert found["revoke"][-1][1] == len(by_command)
    assert found["file"][-1][1] == len(by_list)
    assert found["reload"][-1][1] == found["expired"][-1][1] == 0
    assert bound_of(found["revoke"], 0.99) <= 0.1
    assert bound_of(found["file"], 0.99) <= 1
    for end in ends:
        numbers = end["numbers"]
        assert numbers[-1] + 1 - numbers[0] == len(numbers), "the bystander lost packets"
