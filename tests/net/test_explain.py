"""tunctl explain: the short id in a log, asked for at both ends, says whose certificate is at fault.

    laptop --- wan --- gw
"""

import datetime
import re

from lab import GATEWAY_NAME, run, wait_until
from peers import TUNCTL, RawTls, Tund, client_config, gateway_config
from pki import DAY, NOW, SERVER_AUTH, Authority

LOGGED_ID = r"\(handshake ([0-9a-f]{8})\)"


def explain(tund, short_id):
    code, answer = tund.ctl("explain", short_id)
    assert code == 0, answer
    assert answer["schema"] == "tund.explain/1"
    assert answer["handshake_id"] == short_id
    then = datetime.datetime.strptime(answer["refused_at"], "%Y-%m-%dT%H:%M:%SZ")
    assert abs((datetime.datetime.utcnow() - then).total_seconds()) < 120
    return answer


def explain_once_known(tund, short_id):
    """The other end hears of it a moment later."""
    wait_until(lambda: tund.ctl("explain", short_id)[0] == 0, 10, f"explain {short_id}", 0.1)
    return explain(tund, short_id)


def id_in_log(tund, pattern):
    return tund.process.wait_for(rf"^.*{pattern}.*{LOGGED_ID}.*$", 10).group(1)


def whose(answer):
    return answer["certificate_of"], answer["subject"], answer["issuer"], answer["serial"]


def serial_of(certificate):
    return f"{certificate.serial_number:x}"


def start_refused(lab, corp, certificate, word):
    """(gateway, client, the id as the client has logged it): the gateway refuses."""
    gateway = Tund(lab, lab.gw, gateway_config(corp)).start()
    device = corp.write("refused", certificate)
    client = Tund(lab, lab.laptop, client_config(corp, device)).start(wait=False)
    short_id = id_in_log(client, r"refused by the gateway")
    assert explain_once_known(gateway, short_id)["reason"] == word
    return gateway, client, short_id


def test_an_expired_device_is_explained_at_both_ends(lab, corp):
    device = corp.root.issue("alice", not_before=NOW - 9 * DAY, not_after=NOW - DAY)
    gateway, client, short_id = start_refused(lab, corp, device, "cert-expired")

    here = explain(gateway, short_id)
    assert here["refused_by"] == "us"
    assert whose(here) == ("peer", "CN=alice,O=Corp", "CN=Corp Root,O=Corp", device.serial)
    assert "expired at" in here["text"] and "alice" in here["text"]
    assert here["advice"] and here["identity"] == "alice" and here["gateway"] is None
    assert here["peer_address"].startswith(("10.77.1.2:", "[fd77:1::2]:")), here
    there = explain(client, short_id)
    assert there["refused_by"] == "peer"
    assert whose(there) == ("us", "CN=alice,O=Corp", "CN=Corp Root,O=Corp", device.serial)
    assert there["reason"] == "cert-expired"
    assert GATEWAY_NAME in there["gateway"]


def test_an_expired_authority_is_the_one_at_fault(lab, corp):
    past = Authority("Past", parent=corp.root, not_after=NOW - DAY)
    gateway, _, short_id = start_refused(lab, corp, past.issue("alice"), "issuer-expired")

    answer = explain(gateway, short_id)
    assert whose(answer) == ("peer", "CN=Past,O=Corp", "CN=Corp Root,O=Corp", serial_of(past.cert))
    assert answer["identity"] == "alice"


def test_an_identity_without_access_is_explained(lab, corp):
    config = gateway_config(corp)
    config.set('access "everyone"', match=["o=Elsewhere"])
    gateway = Tund(lab, lab.gw, config).start()
    client = Tund(lab, lab.laptop, client_config(corp, corp.device("alice"))).start(wait=False)
    short_id = id_in_log(client, "no-access")
    answer = explain_once_known(gateway, short_id)
    assert (answer["reason"], answer["identity"]) == ("no-access", "alice")
    assert answer["subject"] == "CN=alice,O=Corp"
    assert (explain(client, short_id)["reason"], explain(client, short_id)["refused_by"]) == (
        "no-access", "peer")


def test_a_gateway_that_a_client_refuses_is_explained_at_both_ends(lab, corp):
    wrong = corp.root.issue(GATEWAY_NAME, usages=(SERVER_AUTH,), dns=["other.corp.example"])
    crt, key = corp.write("wrong-gateway", wrong)
    config = gateway_config(corp)
    config.set("identity", certificate=crt, key=key)
    gateway = Tund(lab, lab.gw, config).start()
    client = Tund(lab, lab.laptop, client_config(corp, corp.device("alice"))).start(wait=False)
    short_id = id_in_log(client, "name-mismatch")

    here = explain(client, short_id)
    assert (here["reason"], here["refused_by"], here["certificate_of"], here["serial"]) == (
        "name-mismatch", "us", "peer", wrong.serial)
    there = explain_once_known(gateway, short_id)
    assert (there["refused_by"], there["certificate_of"], there["serial"]) == (
        "peer", "us", wrong.serial)
    assert "bad_certificate" in there["text"]


def test_what_a_stranger_writes_in_a_name_is_escaped(lab, corp):
    device = corp.root.issue("ali\x1b[2Jce\nok")
    gateway, _, short_id = start_refused(lab, corp, device, "name-invalid")
    done = run([TUNCTL, "-s", gateway.socket, "explain", short_id], check=False)
    assert done.returncode == 0
    assert re.search(r"^refused here: name-invalid: ", done.stdout), done.stdout
    assert re.search(rf"^  certificate .*ali\\1B\[2Jce\\0Aok.*, serial {device.serial}$",
                     done.stdout, re.M), done.stdout
    assert re.search(r"^  advice ", done.stdout, re.M)
    assert all(line.isprintable() for line in done.stdout.splitlines())


def test_an_id_that_nobody_had(lab, corp):
    gateway = Tund(lab, lab.gw, gateway_config(corp)).start()
    code, answer = gateway.ctl("explain", "0badcafe")
    assert code == 4 and "0badcafe" in answer["error"] and "its log" in answer["error"], answer
    for wrong in ("", "0badcaf", "0badcafe0", "nonsense", "..\n/etc/x"):
        code, answer = gateway.ctl("explain", wrong)
        assert code == 2 and "8 hexadecimal digits" in answer["error"], (wrong, answer)
    # One that was let in was not refused.
    assert RawTls(lab.laptop, corp, corp.device("alice")).status == 200
    let_in = gateway.process.wait_for(rf"^.*accepted alice .*{LOGGED_ID}", 10).group(1)
    assert gateway.ctl("explain", let_in)[0] == 4
