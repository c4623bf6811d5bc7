"""Files that change are in force by themselves, and what is wrong with one changes nothing.

    laptop, laptop2 --- wan --- gw         the files of gw, or of a laptop, change
"""

import os
import shutil
import time

import pytest

from lab import CORP, GATEWAY_NAME, wait_until
from peers import RawTls, Tund, client_config, gateway_config, start_client
from pki import DAY, NOW, SERVER_AUTH, Authority
from rawpeer import connected
from test_reload import Flow, identities, subject_serial
from traffic import Datagrams, assert_pings

WITHIN = 5


def rename_over(path, content, mode=0o644):
    """As those do who want nobody to see half a file."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_bytes(content)
    fresh.chmod(mode)
    fresh.rename(path)


def gateway_leaf(corp, **options):
    return corp.root.issue(GATEWAY_NAME, usages=(SERVER_AUTH,), dns=[GATEWAY_NAME], **options)


def start(lab, corp, **trust):
    return Tund(lab, lab.gw, gateway_config(corp).set("trust", **trust)).start()


def troubles(instance):
    return [line for line in instance.status()["warnings"] if "what is in force stays" in line]


def wait_trouble(instance, *parts):
    def found():
        return [line for line in troubles(instance) if all(part in line for part in parts)]
    wait_until(found, WITHIN, f"a warning with {parts}")


def wait_identities(gateway, *names):
    wait_until(lambda: identities(gateway.sessions()) == sorted(names), WITHIN,
               f"sessions of {names}")


# Lists.

def test_a_new_list_cuts_whom_it_names_and_nobody_else(make_lab, make_corp):
    lab = make_lab(laptops=("laptop", "laptop2"))
    corp = make_corp(lab)
    crl = corp.write_crl()
    gateway = start(lab, corp, crl=[crl])
    leaf = corp.root.issue("alice")
    alice = start_client(lab, corp, corp.write("alice", leaf))
    bob = start_client(lab, corp, corp.device("bob"), ns=lab.laptop2)
    for client in (alice, bob):
        client.wait_status(state="up", transport="dtls")
    stream = Datagrams(lab, lab.laptop2, bob.inner(), CORP[4])
    mark = gateway.process.mark()
    rename_over(crl, corp.root.crl(revoked=[leaf], number=2))
    wait_identities(gateway, "bob")
    alice.wait_status(last_reason="cert-revoked")
    gateway.process.wait_for("refused .*cert-revoked", 20, mark)
    for end in stream.finish():
        numbers = end["numbers"]
        assert numbers[-1] + 1 - numbers[0] == len(numbers), "bob lost packets"
    assert gateway.status()["sessions_cut"] == {"cert-revoked": 1}


def change_in_place(path, content):
    path.write_bytes(content)


def swap_directories(path, content):
    """As Kubernetes does: the name is a link through a link, and that one is replaced."""
    fresh = path.parent / "..2"
    fresh.mkdir()
    (fresh / path.name).write_bytes(content)
    (path.parent / "..new").symlink_to("..2")
    (path.parent / "..new").rename(path.parent / "..data")


@pytest.mark.parametrize("change", [rename_over, change_in_place, swap_directories])
def test_however_the_file_is_replaced(lab, corp, change):
    lists = corp.directory / "lists"
    (lists / "..1").mkdir(parents=True)
    crl = lists / "corp.crl"
    if change is swap_directories:
        (lists / "..data").symlink_to("..1")
        crl.symlink_to("..data/corp.crl")
        (lists / "..1" / "corp.crl").write_bytes(corp.root.crl())
    else:
        crl.write_bytes(corp.root.crl())
    gateway = start(lab, corp, crl=[crl])
    leaf = corp.root.issue("alice")
    connected(lab.laptop, corp.write("alice", leaf))
    change(crl, corp.root.crl(revoked=[leaf], number=2))
    wait_identities(gateway)
    assert gateway.status()["sessions_cut"] == {"cert-revoked": 1}


def test_a_file_that_comes_into_a_directory(lab, corp):
    lists = corp.directory / "lists"
    lists.mkdir()
    (lists / "1.crl").write_bytes(corp.root.crl())
    gateway = start(lab, corp, crl=[lists])
    leaf = corp.root.issue("alice")
    connected(lab.laptop, corp.write("alice", leaf))
    (lists / "2.crl").write_bytes(corp.root.crl(revoked=[leaf], number=2))
    wait_identities(gateway)


def spoil(content):
    return content[:len(content) // 2]


@pytest.mark.parametrize("what, part", [
    (b"", "empty"), (b"rubbish", "no revocation list"), (spoil, "cut off"), (None, "No such file")])
def test_a_bad_list_leaves_the_one_in_force(lab, corp, what, part):
    leaf = corp.root.issue("mallory")
    right = corp.root.crl(revoked=[leaf], number=2)
    crl = corp.directory / "corp.crl"
    crl.write_bytes(right)
    gateway = start(lab, corp, crl=[crl])
    connected(lab.laptop, corp.device("alice"))
    mark = gateway.process.mark()
    if what is None:
        crl.unlink()
    else:
        rename_over(crl, what(right) if callable(what) else what)
    wait_trouble(gateway, "corp.crl", part)
    gateway.process.wait_for("corp.crl: .*what is in force stays", WITHIN, mark)
    # It still says what it said.
    RawTls(lab.laptop, corp, corp.write("mallory", leaf))
    gateway.process.wait_for("refused .*cert-revoked", WITHIN, mark)
    assert identities(gateway.sessions()) == ["alice"]
    rename_over(crl, corp.root.crl(revoked=[leaf], number=3))
    wait_until(lambda: not troubles(gateway), WITHIN, "no trouble any more")
    gateway.process.wait_for("the files are in order again", WITHIN, mark)
    assert identities(gateway.sessions()) == ["alice"]


def test_by_a_reload_alone_where_that_is_asked_for(lab, corp):
    crl = corp.write_crl()
    config = gateway_config(corp).set("trust", crl=[crl]).set("daemon", watch_files=False)
    gateway = Tund(lab, lab.gw, config).start()
    leaf = corp.root.issue("alice")
    connected(lab.laptop, corp.write("alice", leaf))
    rename_over(crl, corp.root.crl(revoked=[leaf], number=2))
    time.sleep(1)
    assert identities(gateway.sessions()) == ["alice"]
    config.set("daemon", watch_files=True)
    gateway.write_config()
    assert gateway.ctl("reload")[0] == 0
    wait_identities(gateway)
    connected(lab.laptop, corp.device("bob"))
    rename_over(corp.ca, Authority("Other Root").pem())
    wait_identities(gateway)


# Authorities.

def test_an_authority_that_goes_takes_its_sessions_along(lab, corp):
    directory = corp.directory / "roots"
    directory.mkdir()
    other = Authority("Other Root")
    shutil.copy(corp.ca, directory / "corp.crt")
    (directory / "other.crt").write_bytes(other.pem())
    gateway = start(lab, corp, ca=[directory])
    alice = connected(lab.laptop, corp.device("alice"))
    connected(lab.laptop, corp.write("carol", other.issue("carol")))
    wait_identities(gateway, "alice", "carol")
    (directory / "other.crt").unlink()
    wait_identities(gateway, "alice")
    assert alice.probe()


# The gateway's own certificate and key.

def test_a_new_pair_is_shown_at_once_and_no_packet_is_lost(lab, corp):
    gateway = start(lab, corp)
    client = start_client(lab, corp, corp.device("alice"))
    client.wait_status(state="up")
    device = corp.device("bob")
    flow = Flow(lab, lab.laptop, client)
    session = gateway.session("alice")
    leaf = gateway_leaf(corp)
    certificate, key = corp.gateway_files
    rename_over(certificate, leaf.pem())
    time.sleep(0.5)  # as long as that: half a pair is none
    assert subject_serial(lab.laptop, corp, device) != leaf.cert.serial_number
    wait_trouble(gateway, "identity.key", "the other half")
    rename_over(key, leaf.key_pem(), 0o600)
    wait_until(lambda: subject_serial(lab.laptop, corp, device) == leaf.cert.serial_number,
               WITHIN, "the new certificate")
    assert troubles(gateway) == []
    flow.assert_nothing_lost()
    assert gateway.session("alice")["id"] == session["id"]


@pytest.mark.parametrize("options, part", [
    ({"not_before": NOW - 2 * DAY, "not_after": NOW - DAY}, "cert-expired"),
    ({"not_before": NOW + DAY}, "cert-not-yet-valid"),
    ({"usages": None}, "purpose-mismatch")])
def test_a_pair_that_nobody_would_accept_is_refused(lab, corp, options, part):
    gateway = start(lab, corp)
    device = corp.device("bob")
    before = subject_serial(lab.laptop, corp, device)
    options = {"usages": (SERVER_AUTH,), **options}
    leaf = corp.root.issue(GATEWAY_NAME, dns=[GATEWAY_NAME], **options)
    leaf.write(corp.directory, "gateway")
    wait_trouble(gateway, "identity.certificate", part)
    assert subject_serial(lab.laptop, corp, device) == before


def test_a_key_that_others_may_read_is_refused(lab, corp):
    gateway = start(lab, corp)
    device = corp.device("bob")
    before = subject_serial(lab.laptop, corp, device)
    leaf = gateway_leaf(corp)
    certificate, key = corp.gateway_files
    certificate.write_bytes(leaf.pem())
    rename_over(key, leaf.key_pem(), 0o644)
    wait_trouble(gateway, "identity.key", "chmod")
    assert subject_serial(lab.laptop, corp, device) == before
    # Its rights alone are what was wrong.
    os.chmod(key, 0o600)
    wait_until(lambda: subject_serial(lab.laptop, corp, device) == leaf.cert.serial_number,
               WITHIN, "the new certificate")


# A client's.

def test_a_client_shows_its_new_certificate_without_losing_a_packet(lab, corp):
    gateway = start(lab, corp)
    files = corp.device("alice")
    client = Tund(lab, lab.laptop, client_config(corp, files)).start()
    client.wait_status(state="up", transport="dtls")
    before = gateway.session("alice")
    stream = Datagrams(lab, lab.laptop, client.inner(), CORP[4])
    leaf = corp.root.issue("alice")
    rename_over(files[1], leaf.key_pem(), 0o600)
    rename_over(files[0], leaf.pem())
    wait_until(lambda: gateway.session("alice")["serial"] == leaf.serial, 10, "the new certificate")
    time.sleep(0.5)
    for end in stream.finish():
        numbers = end["numbers"]
        assert numbers[-1] + 1 - numbers[0] == len(numbers), "packets were lost"
    after = gateway.session("alice")
    assert after["inner_addresses"] == before["inner_addresses"]


def test_a_client_leaves_a_gateway_that_a_new_list_names(lab, corp):
    start(lab, corp)
    crl = corp.write_crl()
    client = Tund(lab, lab.laptop, client_config(corp, corp.device("alice")).set(
        "trust", crl=[crl])).start()
    client.wait_status(state="up")
    assert_pings(lab.laptop, CORP[4])
    rename_over(crl, corp.root.crl(revoked=[corp.gateway], number=2))
    client.wait_status(last_reason="cert-revoked")
