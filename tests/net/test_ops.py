"""tunctl trust, verify, watch and metrics: what an operator learns, and that nobody can misuse them.

    laptop --- wan --- gw (tunctl ...) --- corp
"""

import json
import os
import re
import shutil
import signal
import socket
import string
import subprocess
import threading
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

import pki
import traffic
from lab import GATEWAY_NAME, wait_until
from peers import (TUNCTL, RawTls, Tund, client_config, gateway_config, start_client,
                   start_gateway)
from pki import CLIENT_AUTH, DAY, HOUR, NOW, SERVER_AUTH, Authority

PROMTOOL = os.environ.get("PROMTOOL") or shutil.which("promtool")

# interface.md's, in its order.
WORDS = """cert-missing cert-expired cert-not-yet-valid cert-revoked cert-denied issuer-unknown
    issuer-expired path-too-long purpose-mismatch name-mismatch name-constraint name-invalid
    signature-weak key-weak crl-missing crl-expired crl-invalid ocsp-unavailable no-access
    duplicate-identity version-too-old pq-required rate-limited full handshake-timeout
    protocol-error peer-timeout idle-timeout revoked expired replaced disconnected shutdown
    internal""".split()


BY_RELOAD_ALONE = True


def tunctl(tund, *arguments, **options):
    """As a person runs it: (exit status, standard output, standard error)."""
    done = subprocess.run([TUNCTL, "-s", tund.socket, *arguments], capture_output=True, timeout=60,
                          **options)
    return done.returncode, done.stdout.decode("ascii"), done.stderr.decode("ascii")


def assert_printable(*texts):
    for text in texts:
        assert all(c == "\n" or c in string.printable[:95] for c in text), text


def strict_gateway(lab, corp, *crls, policy="strict", **trust):
    config = gateway_config(corp)
    config.set("trust", crl=list(crls), crl_policy=policy, **trust)
    return Tund(lab, lab.gw, config).start()


def connected(lab, corp, gateway, device=None):
    client = start_client(lab, corp, device or corp.device("alice"))
    client.wait_status(state="up", transport="dtls")
    wait_until(lambda: [s for s in gateway.sessions() if s["transport"] == "dtls"], 5,
               "a session over DTLS")
    return client


# ---- trust ----


def write(corp, name, data):
    path = corp.directory / name
    path.write_bytes(data)
    return path


def test_trust_lists_every_authority_and_list_with_the_sessions_that_hang_on_them(lab, corp):
    sub, other = Authority("Corp Devices", corp.root), Authority("Nobody's Root")
    cas = [corp.ca, write(corp, "sub.crt", sub.pem()), write(corp, "other.crt", other.pem())]
    crls = [corp.write_crl(number=7), write(corp, "sub.crl", sub.crl(number=2 ** 70)),
            write(corp, "other.crl", other.crl(number=1))]
    gateway = strict_gateway(lab, corp, *crls, ca=cas)
    client = connected(lab, corp, gateway, corp.write("alice", sub.issue("alice")))

    code, answer = gateway.ctl("trust")
    assert (code, answer["schema"]) == (0, "tund.trust/1")
    assert answer["warnings"] == []
    assert (answer["crl_policy"], answer["denials"]) == ("strict", 0)
    authorities = {Path(ca["file"]).name: ca for ca in answer["authorities"]}
    assert {name: (ca["subject"], ca["kind"], ca["sessions"], ca["state"])
            for name, ca in authorities.items()} == {
        "ca.crt": ("CN=Corp Root,O=Corp", "root", 1, "valid"),
        "sub.crt": ("CN=Corp Devices,O=Corp", "intermediate", 1, "valid"),
        "other.crt": ("CN=Nobody's Root,O=Corp", "root", 0, "valid")}
    root = authorities["ca.crt"]
    assert root["serial"] == f"{corp.root.cert.serial_number:x}"
    assert root["fingerprint"] == corp.root.cert.fingerprint(hashes.SHA256()).hex()[:16]
    assert root["expires_at"] == corp.root.cert.not_valid_after.isoformat() + "Z"
    assert root["list"] == {
        "state": "fresh", "trouble": None, "effect": "ok", "reason": None, "grace_until_at": None,
        "since_at": (NOW - HOUR).isoformat() + "Z",
        "until_at": (NOW - HOUR + (7 * DAY + HOUR) * 2 / 3).isoformat() + "Z",
        "next_update_at": (NOW + 7 * DAY).isoformat() + "Z", "number": "7", "entries": 0,
        "file": str(corp.directory / "corp.crl")}
    lists = {Path(crl["file"]).name: crl for crl in answer["lists"]}
    assert {name: (crl["number"], crl["state"], crl["entries"], crl["sessions"])
            for name, crl in lists.items()} == {
        "corp.crl": ("7", "fresh", 0, 1), "sub.crl": (lists["sub.crl"]["number"], "fresh", 0, 1),
        "other.crl": ("1", "fresh", 0, 0)}
    assert int(lists["sub.crl"]["number"], 0) == 2 ** 70
    assert lists["corp.crl"]["next_update_at"] == (NOW + 7 * DAY).isoformat() + "Z"

    code, text, err = tunctl(gateway, "trust")
    assert (code, err) == (0, "")
    assert text.splitlines()[0] == "crl policy strict, 0 certificates denied here"
    assert len(text.splitlines()) == 1 + 2 * (1 + 1 + 3)
    assert gateway.ctl("revoke", "alice")[0] == 0
    after = gateway.ctl("trust")[1]
    assert [ca["sessions"] for ca in after["authorities"]] == [0, 0, 0]
    assert after["denials"] == 1 and after["generation"] > answer["generation"]
    assert tunctl(gateway, "trust")[1].startswith("crl policy strict, 1 certificate denied here\n")

    client.wait_status(last_reason="cert-revoked")
    code, answer = client.ctl("trust")
    assert code == 0
    assert [(ca["kind"], ca["sessions"], ca["list"]["effect"]) for ca in answer["authorities"]] == [
        ("root", 0, "off")]


def test_a_client_counts_its_tunnel(lab, corp):
    gateway = start_gateway(lab, corp)
    client = connected(lab, corp, gateway)
    assert [ca["sessions"] for ca in client.ctl("trust")[1]["authorities"]] == [1]


class Authorities:
    """One root for each thing that can be the matter with an authority or its list."""

    def __init__(self, corp):
        self.corp = corp
        self.roots = {name: Authority(f"Root {name}") for name in (
            "fresh", "ageing", "missing", "overdue", "late", "forged", "not-begun",
            "superseded")}
        self.roots["old"] = Authority("Root old", not_before=NOW - 9 * DAY, not_after=NOW - DAY)
        stranger = Authority("Stranger")
        lists = {
            "fresh": self.roots["fresh"].crl(),
            "ageing": self.roots["ageing"].crl(this_update=NOW - 3 * DAY, next_update=NOW + DAY),
            "overdue": self.roots["overdue"].crl(this_update=NOW - 3 * DAY, next_update=NOW - DAY),
            "late": self.roots["late"].crl(this_update=NOW - 30 * DAY, next_update=NOW - 9 * DAY),
            "forged": self.roots["forged"].crl(signer=stranger),
            "not-begun": self.roots["not-begun"].crl(this_update=NOW + DAY),
            "superseded": self.roots["superseded"].crl(number=3),
            "older": self.roots["superseded"].crl(number=2),
            "old": self.roots["old"].crl(),
            "stranger": stranger.crl(),
        }
        self.cas = [write(corp, f"{name}.crt", root.pem()) for name, root in self.roots.items()]
        self.crls = [write(corp, f"{name}.crl", data) for name, data in lists.items()]
        self.leaves = {name: corp.write(f"leaf-{name}", root.issue("alice"))[0]
                       for name, root in self.roots.items()}


EFFECTS = {  # what becomes of what an authority has issued, by policy
    "strict": {"fresh": ("fresh", "ok", None), "missing": ("missing", "refused", "crl-missing"),
               "ageing": ("ageing", "ok", None),
               "overdue": ("expired", "refused", "crl-expired"),
               "late": ("expired", "refused", "crl-expired"),
               "forged": ("missing", "refused", "crl-invalid"),
               "not-begun": ("missing", "refused", "crl-invalid"),
               "superseded": ("fresh", "ok", None), "old": ("fresh", "ok", None)},
    "grace": {"fresh": ("fresh", "ok", None), "missing": ("missing", "refused", "crl-missing"),
              "ageing": ("ageing", "ok", None),
              "overdue": ("grace", "grace", None), "late": ("expired", "refused", "crl-expired"),
              "forged": ("missing", "refused", "crl-invalid"),
              "not-begun": ("missing", "refused", "crl-invalid"),
              "superseded": ("fresh", "ok", None), "old": ("fresh", "ok", None)},
    "advisory": {"fresh": ("fresh", "ok", None), "missing": ("missing", "ignored", None),
                 "ageing": ("ageing", "ok", None),
                 "overdue": ("expired", "ignored", None), "late": ("expired", "ignored", None),
                 "forged": ("missing", "ignored", None),
                 "not-begun": ("missing", "ignored", None),
                 "superseded": ("fresh", "ok", None), "old": ("fresh", "ok", None)},
}


@pytest.mark.parametrize("policy", EFFECTS)
def test_trust_and_verify_say_what_the_policy_makes_of_every_kind_of_list(lab, corp, policy):
    world = Authorities(corp)
    gateway = strict_gateway(lab, corp, *world.crls, policy=policy, ca=[corp.ca, *world.cas])
    _, answer = gateway.ctl("trust")
    authorities = {Path(ca["file"]).stem: ca for ca in answer["authorities"]}
    seen = {name: (authorities[name]["list"]["state"], authorities[name]["list"]["effect"],
                   authorities[name]["list"]["reason"]) for name in world.roots}
    assert seen == EFFECTS[policy]
    assert authorities["old"]["state"] == "expired"
    for name, leaf in world.leaves.items():
        code, verdict = gateway.ctl("verify", leaf)
        wanted = "issuer-expired" if name == "old" else seen[name][2] or "ok"
        assert (verdict["reason"], code) == (wanted, 0 if wanted == "ok" else 1), name
    states = {Path(crl["file"]).stem: crl["state"] for crl in answer["lists"]}
    assert states == {"fresh": "fresh", "ageing": "ageing", "overdue": seen["overdue"][0],
                      "late": "expired",
                      "forged": "forged", "not-begun": "not-begun", "superseded": "fresh",
                      "older": "superseded", "old": "fresh", "stranger": "unknown-issuer"}
    if policy == "grace":
        until = authorities["overdue"]["list"]["grace_until_at"]
        assert until == (NOW - DAY + 3 * DAY).isoformat() + "Z"
    assert authorities["not-begun"]["list"]["trouble"] == "not-begun"
    assert authorities["forged"]["list"]["trouble"] == (None if policy == "advisory" else "forged")
    shown = {labels[0]: labels[1] for labels, value in by(
        metrics(gateway)["tund_crl_state"], "subject", "state").items() if value}
    assert {name: shown[f"CN=Root {name},O=Corp"] for name in seen} == {
        name: state for name, (state, _, _) in seen.items()}
    # Warnings first, one a trouble, each with its word.
    lines = tunctl(gateway, "trust")[1].splitlines()
    warnings = [line for line in lines if line.startswith("warning: ")]
    assert lines[:len(warnings)] == warnings
    assert [line.removeprefix("warning: ") for line in warnings] == answer["warnings"]
    for name in seen:
        word = seen[name][2] or ("issuer-expired" if name == "old" else None)
        about = [line for line in warnings if f"CN=Root {name}," in line]
        if seen[name][1] != "ok" or word:
            assert any((word or "the policy lets that pass") in line for line in about), (name, about)


def test_an_older_list_does_not_replace_the_one_in_force(lab, corp):
    older, newer = corp.root.crl(number=6), corp.root.crl(revoked=[corp.root.issue("bob")], number=7)
    path = write(corp, "corp.crl", newer)
    gateway = strict_gateway(lab, corp, path)
    for keeps in (True, True):  # the second time its own file is the only one that had it
        write(corp, "corp.crl", older)
        code, answer = gateway.ctl("reload")
        assert code == 0
        [warning] = [w for w in answer["warnings"] if "older than the list in force" in w]
        assert "number 6" in warning and "number 7" in warning
        lists = {crl["number"]: crl["state"] for crl in gateway.ctl("trust")[1]["lists"]}
        assert keeps and lists == {"6": "superseded", "7": "fresh"}
    assert by(metrics(gateway)["tund_crl_number"], "issuer") and by(
        metrics(gateway)["tund_crl_entries"], "issuer")
    write(corp, "corp.crl", corp.root.crl(number=8))
    assert gateway.ctl("reload")[0] == 0
    assert [crl["number"] for crl in gateway.ctl("trust")[1]["lists"]] == ["8"]
    # At the start there is nothing in force: the administrator's word.
    write(corp, "corp.crl", older)
    gateway.stop()
    gateway.start()
    assert [crl["number"] for crl in gateway.ctl("trust")[1]["lists"]] == ["6"]


def test_what_is_about_to_end_is_warned_of(lab, corp):
    near = Authority("Root near", not_before=NOW - 95 * DAY, not_after=NOW + 5 * DAY)
    crl = near.crl(this_update=NOW - 95 * HOUR, next_update=NOW + 5 * HOUR)
    gateway = strict_gateway(lab, corp, corp.write_crl(), write(corp, "near.crl", crl),
                             ca=[corp.ca, write(corp, "near.crt", near.pem())])
    warnings = gateway.ctl("trust")[1]["warnings"]
    assert [w.split(" expires at")[0].split(" is due")[0] for w in warnings] == [
        "authority CN=Root near,O=Corp",
        f"the list of CN=Root near,O=Corp ({corp.directory}/near.crl)"]


# ---- verify ----


def test_verify_says_who_it_is_what_it_may_reach_and_until_when(lab, corp):
    config = gateway_config(corp, routes=["10.50.0.0/24"])
    config.set("trust", crl=[corp.write_crl()], crl_policy="strict")
    config.set('access "engineering"', match=["o=Corp", "ou=Eng*"],
               allow=["10.50.0.0/24 tcp/22,8000-8010", "10.50.0.53 udp/53"],
               accept=["10.50.0.0/24 icmp"], routes=["10.60.0.0/16"])
    config.set('access "others"', match=["o=Elsewhere"], allow=["10.0.0.0/8 any"])
    gateway = Tund(lab, lab.gw, config).start()
    sub = Authority("Corp Sub", corp.root, not_after=NOW + 20 * DAY)
    gateway.config.set("trust", crl=[corp.write_crl(), write(corp, "sub.crl", sub.crl())])
    gateway.stop()
    gateway.start()
    certificate = sub.issue("alice", unit="Engineering", email=["Alice@CORP.example"])
    crt, _ = corp.write("alice", certificate)
    code, answer = gateway.ctl("verify", crt)
    assert (code, answer["schema"], answer["accepted"], answer["reason"]) == (
        0, "tund.verify/1", True, "ok")
    assert (answer["identity"], answer["identity_kind"]) == ("Alice@corp.example", "email")
    assert answer["role"] == "device"
    assert [(one["subject"], one["kind"]) for one in answer["chain"]] == [
        ("CN=alice,OU=Engineering,O=Corp", "leaf"), ("CN=Corp Sub,O=Corp", "intermediate"),
        ("CN=Corp Root,O=Corp", "root")]
    # The intermediate's end comes before the leaf's, a list's before both.
    assert answer["expires_at"] == (NOW + 20 * DAY).isoformat() + "Z"
    assert answer["until_at"] == answer["lists_until_at"] == (NOW + 7 * DAY).isoformat() + "Z"
    assert answer["until_reason"] == "crl-expired"
    assert answer["routes"] == ["10.50.0.0/24"]
    blocks = {block["title"]: block for block in answer["blocks"]}
    assert set(blocks) == {"everyone", "engineering"}
    assert blocks["engineering"] == {
        "title": "engineering", "kind": "access",
        "allow": ["10.50.0.0/24 tcp/22,8000-8010", "10.50.0.53/32 udp/53"],
        "accept": ["10.50.0.0/24 icmp"], "routes": ["10.60.0.0/16"], "networks": [],
        "addresses": []}
    code, text, err = tunctl(gateway, "verify", crt)
    lines = text.splitlines()
    assert (code, err) == (0, "")
    assert lines[0] == "accepted as a device: Alice@corp.example (email)"
    assert lines[1].startswith("  until ") and "unless a revocation list is renewed" in lines[1]
    assert 'access "engineering"' in lines and "10.50.0.0/24 tcp/22,8000-8010" in text


def spoiled(corp):
    """(name, certificate, word)"""
    soon, stranger = NOW + DAY, Authority("Stranger")
    sub = Authority("Not Loaded", corp.root)
    alone = sub.issue("alice")
    alone.chain = []
    return [
        ("good", corp.root.issue("alice"), "ok"),
        ("expired", corp.root.issue("alice", not_after=NOW - HOUR / 2), "cert-expired"),
        ("early", corp.root.issue("alice", not_before=soon), "cert-not-yet-valid"),
        ("stranger", stranger.issue("alice"), "issuer-unknown"),
        ("no chain", alone, "issuer-unknown"),
        ("server", corp.root.issue("alice", usages=(SERVER_AUTH,)), "purpose-mismatch"),
        ("weak", corp.root.issue("alice", key="rsa1024"), "key-weak"),
        ("elsewhere", corp.root.issue("alice", organisation="Elsewhere"), "no-access"),
        ("wild", corp.root.issue("al\x1b[2Jice"), "name-invalid"),
    ]


def test_verify_has_the_same_word_as_the_door(lab, corp):
    """Each certificate is verified, then shown in a real handshake."""
    gateway = start_gateway(lab, corp)
    for name, certificate, word in spoiled(corp):
        files = corp.write(name.replace(" ", "-"), certificate)
        code, answer = gateway.ctl("verify", files[0])
        assert (answer["reason"], code) == (word, 0 if word == "ok" else 1), name
        assert answer["accepted"] is (word == "ok")
        before = gateway.status()["handshakes"]["refused"]
        mark = gateway.process.mark()
        raw = RawTls(lab.laptop, corp, files)
        after = gateway.status()["handshakes"]["refused"]
        counted = {key for key in after if after[key] != before.get(key, 0)}
        if word == "ok":
            assert raw.status == 200 and not counted
            continue
        # openssl s_client does not show a key too weak for its own security level.
        if word != "key-weak":
            assert counted == {word}, name
            # The same sentence, too.
            assert answer["text"] in gateway.process.log(mark), name
        _, text, _ = tunctl(gateway, "verify", files[0])
        assert text.startswith(f"refused as a device: {word}: ")
        assert "\n  advice " in text
        assert_printable(text)


def test_verify_follows_denials_and_what_is_revoked(lab, corp):
    alice, bob = corp.root.issue("alice"), corp.root.issue("bob")
    files = corp.write("alice", alice)
    gateway = strict_gateway(lab, corp, corp.write_crl(revoked=[bob]))
    code, answer = gateway.ctl("verify", corp.write("bob", bob)[0])
    assert (code, answer["reason"], answer["blocks"]) == (1, "cert-revoked", [])
    assert gateway.ctl("verify", files[0])[0] == 0
    assert gateway.ctl("revoke", "--certificate", files[0])[0] == 0
    code, answer = gateway.ctl("verify", files[0])
    assert (code, answer["reason"], answer["identity"]) == (1, "cert-denied", "alice")
    assert gateway.ctl("unrevoke", "--certificate", files[0])[0] == 0
    assert gateway.ctl("verify", files[0])[0] == 0


def test_a_client_verifies_a_gateway(lab, corp):
    client = Tund(lab, lab.laptop, client_config(corp, corp.device("alice")))
    client.start(wait=False)
    client.wait_status(role="client")
    code, answer = client.ctl("verify", corp.gateway_files[0])
    assert (code, answer["role"], answer["peer_name"]) == (0, "gateway", GATEWAY_NAME)
    other = corp.root.issue("x", usages=(SERVER_AUTH,), dns=["other.corp.example"])
    code, answer = client.ctl("verify", corp.write("other", other)[0])
    assert (code, answer["reason"]) == (1, "name-mismatch")
    code, answer = client.ctl("verify", corp.directory / "alice.crt")
    assert (code, answer["reason"]) == (1, "purpose-mismatch")


def test_of_several_gateways_each_may_have_its_name(lab, corp):
    config = client_config(corp, corp.device("alice"),
                           gateway=["one.corp.example", "two.corp.example:8443"])
    config.unset("trust", "peer_name")
    client = Tund(lab, lab.laptop, config)
    client.start(wait=False)
    client.wait_status(role="client")
    two = corp.root.issue("x", usages=(SERVER_AUTH,), dns=["two.corp.example"])
    three = corp.root.issue("x", usages=(SERVER_AUTH,), dns=["three.corp.example"])
    assert client.ctl("verify", corp.write("two", two)[0])[1]["peer_name"] == "two.corp.example"
    code, answer = client.ctl("verify", corp.write("three", three)[0])
    assert (code, answer["reason"], answer["peer_name"]) == (
        1, "name-mismatch", "one.corp.example")


def test_verify_takes_der_and_chains(lab, corp):
    gateway = start_gateway(lab, corp)
    leaf = corp.root.issue("alice")
    der = write(corp, "alice.der", leaf.cert.public_bytes(serialization.Encoding.DER))
    assert gateway.ctl("verify", der)[1]["identity"] == "alice"
    low = Authority("Low", Authority("Middle", corp.root))
    code, answer = gateway.ctl("verify", corp.write("deep", low.issue("alice"))[0])
    assert code == 0
    assert [one["subject"] for one in answer["chain"]] == [
        "CN=alice,O=Corp", "CN=Low,O=Corp", "CN=Middle,O=Corp", "CN=Corp Root,O=Corp"]


# ---- malformed requests ----


def ask_raw(gateway, line):
    """What the control socket says to these bytes; None: it has closed the connection."""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(20)
        peer.connect(str(gateway.socket))
        try:
            peer.sendall(line)
        except OSError:
            pass  # it has heard enough
        try:
            with peer.makefile("rb") as reader:
                return json.loads(reader.readline() or b"null")
        except ConnectionResetError:
            return None


def request(**message):
    return json.dumps(message).encode() + b"\n"


def encrypted(pem):
    """A block that asks for a password."""
    first, rest = pem.split(b"\n", 1)
    return (first + b"\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,"
            b"00112233445566778899AABBCCDDEEFF\n\n" + rest).decode()


def test_malformed_questions_are_answered_and_harm_nothing(lab, corp):
    gateway = start_gateway(lab, corp)
    pids = gateway.processes()
    pem = corp.gateway.cert.public_bytes(serialization.Encoding.PEM)
    text = pem.decode()
    key = corp.gateway.key_pem().decode()
    wrong = [None, True, 1, -1.5, "", "x", text, {}, {"0": text}, [], [None], [1], [[text]], [{}],
             [""], ["x"], [text[:100]], [text.replace("MII", "AAA")], [text, "x"], [text] * 33,
             [key], [key + text], [encrypted(pem)], ["\x00"], ["\u202e"],
             ["-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"],
             [text.replace("CERTIFICATE", "X509 CRL")]]
    for certificates in wrong:
        answer = ask_raw(gateway, request(command="verify", certificates=certificates))
        assert (answer["schema"], answer["exit"]) == ("tund.error/1", 2), certificates
        assert answer["error"].isprintable() and len(answer["error"]) < 200
    assert ask_raw(gateway, request(command="verify"))["exit"] == 2
    assert ask_raw(gateway, request(command="verify", certificates=[text] * 60))["exit"] == 2
    assert ask_raw(gateway, request(command="revoke", certificate=encrypted(pem)))["exit"] == 2
    for command in ("trust", "metrics"):
        for extra in ({}, {"x": 1}, {"command2": [[]]}):
            assert ask_raw(gateway, request(command=command, **extra))["exit"] == 0
    for line in (b'{"command": "watch', b'{"command": ["watch"]}', b"watch", b"\xff\xfe",
                 b'{"command": "watch", "command": "trust"}', b"x" * 100000):
        answer = ask_raw(gateway, line + b"\n")
        assert answer is None or answer["exit"] in (1, 2)
    assert gateway.processes() == pids
    assert gateway.ctl("verify", corp.gateway_files[0])[0] == 1


def test_observers_may_look_and_others_may_not(lab, corp):
    config = gateway_config(corp)
    config.set("control", observers="games", admins="tape")
    gateway = Tund(lab, lab.gw, config).start()
    program = lab.dir / "tunctl"
    shutil.copy(TUNCTL, program)
    for directory in (lab.dir, gateway.dir, corp.directory):
        directory.chmod(0o755)

    def as_group(group, *command):
        done = subprocess.run([program, "-s", gateway.socket, "-j", *command], timeout=30,
                              capture_output=True, user="nobody", group=group, extra_groups=[])
        return done.returncode

    looks = [["trust"], ["verify", corp.gateway_files[0]], ["metrics"]]
    assert [as_group("games", *look) for look in looks] == [0, 1, 0]
    assert as_group("games", "revoke", "alice") == 5
    assert [as_group("nogroup", *look) for look in [*looks, ["watch"]]] == [5] * 4
    watch = subprocess.Popen([program, "-s", gateway.socket, "-j", "watch"], user="nobody",
                             group="games", extra_groups=[], stdout=subprocess.PIPE)
    assert json.loads(watch.stdout.readline())["event"] == "snapshot"
    watch.terminate()
    assert watch.wait(10) == 0


# ---- watch ----


class Watch:
    """tunctl -j watch, its lines as they come."""

    def __init__(self, tund, *options):
        self.process = subprocess.Popen([TUNCTL, "-s", tund.socket, "-j", *options, "watch"],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.lines = []
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        wait_until(lambda: self.lines, 10, "a snapshot")

    def read(self):
        for line in self.process.stdout:
            assert all(0x20 <= byte < 0x7f for byte in line[:-1])
            self.lines.append(json.loads(line))

    @property
    def events(self):
        return [line["event"] for line in self.lines]

    def find(self, event, **wanted):
        return [line for line in self.lines if line["event"] == event
                and all(line.get(key) == value for key, value in wanted.items())]

    def wait_for(self, event, timeout=20, **wanted):
        return wait_until(lambda: self.find(event, **wanted), timeout,
                          f"{event} {wanted} among {self.events}")[-1]

    def assert_without_gaps(self):
        numbers = [line["seq"] for line in self.lines if line["event"] not in ("stopped",)]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert all(line["schema"] == "tund.watch/1" for line in self.lines)
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", line["at"])
                   for line in self.lines)

    def end(self, number=signal.SIGINT):
        self.process.send_signal(number)
        status = self.process.wait(10)
        self.reader.join(10)
        return status


def test_watch_tells_a_gateways_story(lab, corp):
    gateway = start_gateway(lab, corp)
    empty = Watch(gateway)
    assert empty.lines[0]["sessions"] == [] and empty.lines[0]["seq"] == 0
    assert empty.lines[0]["role"] == "gateway" and "exit" not in empty.lines[0]
    client = connected(lab, corp, gateway)
    opened = empty.wait_for("session-opened")
    session = gateway.session("alice")
    assert opened["session"]["id"] == session["id"]
    assert opened["session"]["inner_addresses"] == session["inner_addresses"]
    assert opened["peer_address"] == session["peer_address"]
    assert re.fullmatch("[0-9a-f]{8}", opened["handshake_id"])
    moved = empty.wait_for("session-transport")
    assert (moved["text"], moved["session"]["transport"]) == ("DTLS", "dtls")
    # Who comes later gets the sessions in the snapshot, and the same numbers from there on.
    late = Watch(gateway)
    assert [s["identity"] for s in late.lines[0]["sessions"]] == ["alice"]
    assert late.lines[0]["seq"] == moved["seq"]
    RawTls(lab.laptop, corp)
    RawTls(lab.laptop, corp, corp.device("bob", organisation="Elsewhere"))
    refused = late.wait_for("handshake-refused", reason="cert-missing")
    assert refused["peer_address"].startswith("10.77.1.2:")
    refused = late.wait_for("handshake-refused", reason="no-access")
    assert refused["identity"] == "bob" and refused["text"]
    assert gateway.ctl("disconnect", "alice")[0] == 0
    closed = late.wait_for("session-closed")
    assert (closed["reason"], closed["session"]["id"]) == ("disconnected", session["id"])
    late.wait_for("session-opened")
    client.process.send_signal(signal.SIGKILL)
    late.wait_for("session-away")
    client.process.wait()
    client.start()
    late.wait_for("session-closed", reason="replaced")
    wait_until(lambda: len(late.find("session-opened")) == 2, 20, "the new session told")
    assert gateway.ctl("revoke", "alice", "--reason", "laptop stolen")[0] == 0
    denied = late.wait_for("revoked")
    assert (denied["identity"], denied["text"]) == ("alice", "laptop stolen")
    assert late.wait_for("trust-changed")["denials"] == 1
    assert late.wait_for("session-closed", reason="revoked")
    assert gateway.ctl("unrevoke", "alice")[0] == 0
    # What comes behind that, as alice tries again, may have reached one of them so far.
    last = late.wait_for("unrevoked")["seq"]
    stories = []
    for watch in (empty, late):
        watch.wait_for("unrevoked")
        watch.assert_without_gaps()
        stories.append([line for line in watch.lines if moved["seq"] < line["seq"] <= last])
    assert stories[0] == stories[1] and len(stories[0]) == last - moved["seq"]
    assert empty.end(signal.SIGINT) == 0
    assert late.end(signal.SIGTERM) == 0


def test_watch_tells_a_renewal(lab, corp):
    gateway = start_gateway(lab, corp, rekey="2s")
    client = connected(lab, corp, gateway)
    ours, theirs = Watch(client), Watch(gateway)
    theirs.wait_for("session-renewed")
    ours.wait_for("tunnel-renewed")
    assert "session-closed" not in theirs.events and "session-away" not in theirs.events
    assert "tunnel-connecting" not in ours.events


def test_watch_tells_a_clients_story(lab, corp):
    client = Tund(lab, lab.laptop, client_config(corp, corp.device("alice"), transport="tcp"))
    client.start(wait=False)
    client.wait_status(role="client")
    watch = Watch(client)
    assert watch.lines[0]["role"] == "client"
    assert watch.lines[0]["tunnel"]["state"] in ("connecting", "waiting")
    failed = watch.wait_for("attempt-failed")
    assert failed["identity"] == GATEWAY_NAME + ":443" and failed["text"]
    gateway = start_gateway(lab, corp)
    up = watch.wait_for("tunnel-up", timeout=70)
    assert up["tunnel"]["state"] == "up"
    assert up["tunnel"]["inner_addresses"] == client.status()["inner_addresses"]
    assert gateway.ctl("revoke", "alice")[0] == 0
    watch.wait_for("attempt-failed", reason="cert-revoked")
    watch.assert_without_gaps()
    code = watch.end()
    assert code == 0


def test_watch_for_people_is_a_line_an_event(lab, corp):
    gateway = start_gateway(lab, corp)
    watch = subprocess.Popen([TUNCTL, "-s", gateway.socket, "watch"], stdout=subprocess.PIPE,
                             env={**os.environ, "TZ": "UTC"}, text=True)
    assert watch.stdout.readline().startswith("gateway gw: running since ")
    assert watch.stdout.readline() == "nobody is connected\n"
    assert watch.stdout.readline() == "watching; Ctrl-C ends it\n"
    connected(lab, corp, gateway)
    RawTls(lab.laptop, corp)
    assert gateway.ctl("disconnect", "alice")[0] == 0
    wait_until(lambda: gateway.status()["handshakes"]["accepted"] == 2, 20, "a second session")
    gateway.stop()
    lines = watch.stdout.read().splitlines()
    assert watch.wait(10) == 3
    told = [re.sub(r"^\d\d:\d\d:\d\d  #\d+  ", "", line) for line in lines]
    assert lines and all(one != line for one, line in zip(told, lines))
    story = "\n".join(told)
    for pattern in (r"^session 1 alice opened from 10\.77\.1\.2:\d+, address 10\.99\.0\.2 "
                    r"fd99::2 \(handshake [0-9a-f]{8}\)$",
                    r"^session 1 alice goes over DTLS$",
                    r"^refused 10\.77\.1\.2:\d+: cert-missing: .* \(handshake [0-9a-f]{8}\)$",
                    r"^session 1 alice closed: disconnected: by the administrator$",
                    r"^tund is stopping$", r"^tund has stopped$"):
        assert re.search(pattern, story, re.MULTILINE), f"{pattern}\n{story}"
    assert_printable(story)


def test_the_daemons_end_ends_watch_with_3(lab, corp):
    gateway = start_gateway(lab, corp)
    stopped = Watch(gateway)
    gateway.stop()
    assert stopped.process.wait(10) == 3
    stopped.reader.join(10)
    assert stopped.events[-2:] == ["stopping", "stopped"]
    assert stopped.lines[-1]["exit"] == 3
    gateway.start()
    killed = Watch(gateway)
    assert killed.lines[0]["seq"] == 0  # counted anew
    os.kill(gateway.processes()["engine"], signal.SIGKILL)
    assert killed.process.wait(10) == 3
    killed.reader.join(10)
    assert killed.lines[-1]["error"] == "tund has closed the connection"


def rss_kib(pid):
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(re.search(r"VmRSS:\s+(\d+)", text).group(1))


class Sleeper:
    """A watcher that does not read until it is told to."""

    def __init__(self, gateway):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.settimeout(20)
        self.socket.connect(str(gateway.socket))
        self.socket.sendall(request(command="watch"))

    def lines(self):
        with self.socket.makefile("rb") as reader:
            try:
                for line in reader:
                    yield json.loads(line)
            except ConnectionResetError:
                pass  # it was closed over something that we had said


def make_noise(gateway, times, size=40000):
    """Two events each, the first of them long."""
    for number in range(times):
        code, answer = gateway.ctl("revoke", "--serial", f"{number + 1:x}", "--reason", "n" * size)
        assert code == 0, answer


def test_a_slow_watcher_is_told_what_it_missed_and_nobody_waits(lab, corp):
    gateway = start_gateway(lab, corp)
    connected(lab, corp, gateway)
    sleepers = [Sleeper(gateway) for _ in range(8)]
    awake = Watch(gateway)
    make_noise(gateway, 20)
    before = rss_kib(gateway.processes()["engine"])
    start = time.monotonic()
    make_noise(gateway, 60)
    assert time.monotonic() - start < 30
    # 60 more of 40 kB for each of eight would be 19 MB.
    assert rss_kib(gateway.processes()["engine"]) - before < 8000
    assert gateway.session("alice")["state"] == "open"
    assert wait_until(lambda: awake.lines[-1]["seq"] == awake.lines[0]["seq"] + 160, 10, "all")
    assert "gap" not in awake.events
    awake.assert_without_gaps()
    expected, gaps = None, 0
    for line in sleepers[0].lines():
        if expected is None:
            assert line["event"] == "snapshot"
        elif line["event"] == "gap":
            gaps += 1
            assert line["seq"] == expected - 1 + line["missed"]
            assert line["missed"] > 50
            assert gateway.ctl("revoke", "--serial", "ffff")[0] == 0
        else:
            assert line["seq"] == expected
        expected = line["seq"] + 1
        if line.get("serial") == "ffff":
            break
    assert gaps == 1


@pytest.mark.slow
def test_a_watcher_that_takes_nothing_is_disconnected(lab, corp):
    gateway = start_gateway(lab, corp)
    stuck, idle = Sleeper(gateway), Watch(gateway)
    make_noise(gateway, 20)
    count = lambda: metrics(gateway)["tund_watchers"][()]
    assert count() == 2
    # Its queue is full from the start: after half a minute, or at most a whole one, it is gone.
    wait_until(lambda: count() == 1, 70, "the stuck watcher's end", 1)
    assert idle.process.poll() is None
    assert sum(1 for line in stuck.lines()) >= 1  # what it had, and then the end
    assert gateway.ctl("revoke", "--serial", "ffff")[0] == 0
    idle.wait_for("revoked", serial="ffff")


def test_watchers_are_bounded_in_number(lab, corp):
    gateway = start_gateway(lab, corp)
    sleepers = [Sleeper(gateway) for _ in range(16)]
    wait_until(lambda: metrics(gateway)["tund_watchers"][()] == 16, 10, "16 watchers")
    code, _, err = tunctl(gateway, "watch")
    assert (code, err) == (1, "tunctl: 16 are watching already; end one of them first\n")
    sleepers.pop().socket.close()
    wait_until(lambda: metrics(gateway)["tund_watchers"][()] == 15, 10, "one fewer")
    assert Watch(gateway).end() == 0
    # Whoever says something while it watches is done with it.
    sleepers[0].socket.sendall(request(command="trust"))
    assert [line["event"] for line in sleepers[0].lines()] == ["snapshot"]
    wait_until(lambda: metrics(gateway)["tund_watchers"][()] == 14, 10, "one fewer")


# ---- metrics ----


def parse(text):
    """{name: {labels: value}}, labels as sorted pairs; strict about every line."""
    found, types = {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in types
            types[name] = kind
            found[name] = {}
            continue
        if line.startswith("# HELP "):
            assert len(line.split(" ", 3)) == 4
            continue
        match = re.fullmatch(r'(\w+)(?:\{(.*)\})? (-?\d+(?:\.\d+)?(?:e[+-]\d+)?)', line)
        assert match, line
        name, labels, value = match.groups()
        pairs = tuple(sorted(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or "")))
        if name not in types:
            assert types.get(re.sub("_(bucket|sum|count)$", "", name)) == "histogram", line
        assert pairs not in found.setdefault(name, {}), line
        found[name][pairs] = float(value)
    for name, kind in types.items():
        assert name.startswith("tund_")
        assert (kind == "counter") == name.endswith("_total"), name
    return found


def metrics(tund):
    code, text, err = tunctl(tund, "metrics")
    assert (code, err) == (0, "")
    return parse(text)


def by(found, *labels):
    """Values by the values of these labels."""
    return {tuple(dict(pairs)[label] for label in labels): value
            for pairs, value in found.items()}


def check_with_promtool(text):
    assert PROMTOOL, "promtool is needed (Debian: prometheus); set PROMTOOL to it"
    done = subprocess.run([PROMTOOL, "check", "metrics"], input=text, capture_output=True,
                          text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_metrics_are_what_prometheus_reads(lab, corp):
    gateway = strict_gateway(lab, corp, corp.write_crl())
    client = connected(lab, corp, gateway)
    RawTls(lab.laptop, corp)
    for tund in (gateway, client):
        _, text, _ = tunctl(tund, "metrics")
        check_with_promtool(text)
        code, answer = tund.ctl("metrics")
        assert (code, answer["schema"]) == (0, "tund.metrics/1")
        names = {metric["name"] for metric in answer["metrics"]}
        names |= {f"{metric['name']}_{sample['part']}" for metric in answer["metrics"]
                  for sample in metric["samples"] if "part" in sample}
        assert names == set(parse(text))
    ours, theirs = metrics(client), metrics(gateway)
    assert by(theirs["tund_build_info"], "role", "instance") == {("gateway", "gw"): 1}
    assert abs(theirs["tund_start_time_seconds"][()] - time.time()) < 120
    assert by(theirs["tund_sessions"], "state", "role", "transport") == {
        ("open", "device", "dtls"): 1, ("open", "device", "tls"): 0, ("open", "site", "dtls"): 0,
        ("open", "site", "tls"): 0, ("away", "device", "none"): 0, ("away", "site", "none"): 0}
    handshakes = by(theirs["tund_handshakes_total"], "result", "reason")
    assert handshakes.pop(("accepted", "ok")) == 1
    assert handshakes.pop(("refused", "cert-missing")) == 1
    assert handshakes == {("refused", word): 0 for word in WORDS if word != "cert-missing"}
    assert by(theirs["tund_leases_used"], "pool") == {("10.99.0.0/24",): 1, ("fd99::/64",): 1}
    assert by(theirs["tund_leases_size"], "pool")[("10.99.0.0/24",)] == 253
    assert list(theirs["tund_certificate_expiry_timestamp_seconds"].values()) == [
        timestamp(corp.gateway.cert.not_valid_after)]
    assert by(theirs["tund_ca_expiry_timestamp_seconds"], "subject", "kind") == {
        ("CN=Corp Root,O=Corp", "root"): timestamp(corp.root.cert.not_valid_after)}
    assert by(theirs["tund_crl_next_update_timestamp_seconds"], "issuer") == {
        ("CN=Corp Root,O=Corp",): timestamp(NOW + 7 * DAY)}
    assert theirs["tund_state_writable"][()] == 1
    assert ours["tund_tunnel_up"][()] == 1
    assert by(ours["tund_tunnel_transport"], "transport") == {("dtls",): 1, ("tls",): 0}
    assert by(ours["tund_handshakes_total"], "result", "reason")[("accepted", "ok")] == 1
    for found, tund in ((ours, client), (theirs, gateway)):
        assert {name for name in tund.counters()} == {
            name.removeprefix("tund_").removesuffix("_total") for name in found
            if f"{name.removeprefix('tund_').removesuffix('_total')}" in tund.counters()}


def timestamp(naive):
    return (naive - naive.replace(year=1970, month=1, day=1, hour=0, minute=0, second=0)
            ).total_seconds()


def test_traffic_counters_never_fall(lab, corp):
    gateway = start_gateway(lab, corp)
    client = connected(lab, corp, gateway)
    streams = traffic.Streams(lab)
    streams.report(streams.start(lab.laptop, "down", seconds=2), 20)

    def moved(tund):
        found = metrics(tund)
        return {direction: (found["tund_bytes_total"][(("direction", direction),)],
                            found["tund_packets_total"][(("direction", direction),)])
                for direction in ("received", "sent")}

    before, theirs = moved(gateway), moved(client)
    assert before["sent"][0] > 1_000_000 and theirs["received"][0] > 1_000_000
    session = gateway.session("alice")
    assert before["sent"][0] == session["tx_bytes"]
    assert gateway.ctl("disconnect", "alice")[0] == 0
    wait_until(lambda: gateway.status()["handshakes"]["accepted"] == 2, 20, "a second session")
    after = moved(gateway)
    for direction in before:
        assert after[direction][0] >= before[direction][0]
        assert after[direction][1] >= before[direction][1]
    assert moved(client)["received"][0] >= theirs["received"][0]
    cut = by(metrics(gateway)["tund_sessions_cut_total"], "reason")
    assert cut[("disconnected",)] == 1 and set(cut) == {(word,) for word in WORDS}


def test_drops_and_denials_are_counted(lab, corp):
    gateway = start_gateway(lab, corp)
    drops = by(metrics(gateway)["tund_drops_total"], "reason")
    assert ("forged",) in drops and ("no-access",) in drops and len(drops) > 15
    assert metrics(gateway)["tund_denied_certificates"][()] == 0
    make_noise(gateway, 3, size=3)
    found = metrics(gateway)
    assert found["tund_denied_certificates"][()] == 3
    # Two events a denial; metrics do not watch.
    assert found["tund_events_total"][()] == 6 and found["tund_watchers"][()] == 0


# What a node_exporter or tund itself would do: each scrape is a tunctl metrics.
SHIM = """
import http.server, subprocess, sys
class Scrape(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, check=True).stdout
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(body)
server = http.server.HTTPServer(("127.0.0.1", 9443), Scrape)
print("ready", flush=True)
server.serve_forever()
"""


def test_prometheus_itself_scrapes_them(lab, corp):
    assert PROMTOOL, "promtool is needed (Debian: prometheus); set PROMTOOL to it"
    gateway = strict_gateway(lab, corp, corp.write_crl())
    connected(lab, corp, gateway)
    RawTls(lab.laptop, corp)
    shim = lab.gw.spawn("shim", ["python3", "-c", SHIM, TUNCTL, "-s", gateway.socket, "metrics"])
    shim.wait_for("ready")
    config = lab.dir / "prometheus.yml"
    config.write_text("scrape_configs: [{job_name: tund, scrape_interval: 1s, static_configs: "
                      "[{targets: ['127.0.0.1:9443']}]}]\n")
    server = lab.gw.spawn("prometheus", [
        Path(PROMTOOL).with_name("prometheus"), f"--config.file={config}",
        f"--storage.tsdb.path={lab.dir}/tsdb", "--web.listen-address=127.0.0.1:9090"])

    def query(expression):
        done = lab.gw.run(["curl", "-sG", "http://127.0.0.1:9090/api/v1/query",
                           "--data-urlencode", f"query={expression}"], check=False)
        ready = done.stdout.startswith("{")  # before that it answers in prose
        found = json.loads(done.stdout)["data"]["result"] if ready else []
        return [float(one["value"][1]) for one in found]

    wait_until(lambda: query("up"), 30, "a scrape")
    assert query("up") == [1]
    assert query('tund_sessions{state="open",transport="dtls",role="device"}') == [1]
    assert query('tund_handshakes_total{reason="cert-missing"}') == [1]
    assert query("count(tund_handshakes_total)") == [len(WORDS) + 1]
    assert query("tund_crl_next_update_timestamp_seconds") == [timestamp(NOW + 7 * DAY)]
    server.stop()


# ---- sites ----


def test_a_site_in_verify_watch_and_metrics(lab, corp):
    config = gateway_config(corp)
    config.set('site "berlin"', match=["dns:berlin.sites.corp.example"], address=["10.99.0.7"],
               networks=["10.20.0.0/16", "fd20::/48"], allow=["10.0.0.0/8 any"])
    gateway = Tund(lab, lab.gw, config).start()
    watch = Watch(gateway)
    device = corp.device("berlin", dns=["berlin.sites.corp.example"])
    code, answer = gateway.ctl("verify", device[0])
    blocks = {block["title"]: block for block in answer["blocks"]}
    assert code == 0 and set(blocks) == {"everyone", "berlin"}
    assert blocks["berlin"]["kind"] == "site"
    assert blocks["berlin"]["networks"] == ["10.20.0.0/16", "fd20::/48"]
    assert blocks["berlin"]["addresses"] == ["10.99.0.7/32"]
    text = tunctl(gateway, "verify", device[0])[1]
    assert 'site "berlin"\n' in text and "  networks      10.20.0.0/16\n" in text
    client = connected(lab, corp, gateway, device)
    up = watch.wait_for("site-up")
    assert (up["site"], up["networks"]) == ("berlin", ["10.20.0.0/16", "fd20::/48"])
    sessions = by(metrics(gateway)["tund_sessions"], "state", "role", "transport")
    assert sessions[("open", "site", "dtls")] == 1 and sum(sessions.values()) == 1
    client.process.send_signal(signal.SIGKILL)
    watch.wait_for("site-down")
    client.process.wait()
    watch.assert_without_gaps()
    assert watch.events.count("site-up") == watch.events.count("site-down") == 1


# ---- after a reload ----


def test_a_reload_without_other_trust_does_not_say_that_it_has_changed(lab, corp):
    gateway = start_gateway(lab, corp)
    watch = Watch(gateway)
    assert gateway.ctl("reload")[0] == 0
    watch.wait_for("reloaded")
    assert watch.events == ["snapshot", "reloaded"]


def test_after_a_reload_every_answer_is_about_the_new(lab, corp):
    config = gateway_config(corp)
    config.set("trust", crl=[corp.write_crl(number=1)], crl_policy="strict")
    gateway = Tund(lab, lab.gw, config).start()
    alice, bob = corp.root.issue("alice"), corp.root.issue("bob")
    files, bobs = corp.write("alice", alice), corp.write("bob", bob)
    connected(lab, corp, gateway, files)
    watch = Watch(gateway)
    corp.write_crl(number=2, revoked=[bob], next_update=NOW + 3 * DAY)
    config.set('access "everyone"', allow=["10.50.0.0/24 tcp/80"])
    config.set('access "more"', match=["cn=alice"], allow=["10.50.0.0/24 tcp/443"])
    gateway.write_config()
    assert gateway.ctl("reload")[0] == 0
    watch.wait_for("trust-changed")
    watch.wait_for("session-changed")
    watch.wait_for("reloaded")
    crl, = gateway.ctl("trust")[1]["lists"]
    assert (crl["number"], crl["entries"]) == ("2", 1)
    code, answer = gateway.ctl("verify", files[0])
    assert code == 0
    assert {block["title"]: block["allow"] for block in answer["blocks"]} == {
        "everyone": ["10.50.0.0/24 tcp/80"], "more": ["10.50.0.0/24 tcp/443"]}
    assert gateway.ctl("verify", bobs[0])[1]["reason"] == "cert-revoked"
    assert list(metrics(gateway)["tund_crl_next_update_timestamp_seconds"].values()) == [
        timestamp(NOW + 3 * DAY)]
    corp.write_crl(number=3, revoked=[alice, bob])
    assert gateway.ctl("reload")[0] == 0
    assert watch.wait_for("session-closed")["reason"] == "cert-revoked"
    assert [ca["sessions"] for ca in gateway.ctl("trust")[1]["authorities"]] == [0]
    watch.assert_without_gaps()


# ---- names that someone chose ----

WILD = 'Ev"il\\ \x1b[2J\x1b]0;owned\x07\r\n\u009b31m\u202e\x7f\u00eb,CN=root'


def wild_root():
    """An authority with a hostile name."""
    authority = Authority("x")
    authority.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, WILD)])
    builder = (x509.CertificateBuilder().subject_name(authority.name)
               .issuer_name(authority.name).public_key(authority.key.public_key())
               .serial_number(0x666).not_valid_before(NOW - DAY).not_valid_after(NOW + 365 * DAY)
               .add_extension(x509.BasicConstraints(True, None), critical=True)
               .add_extension(pki.key_usage("key_cert_sign", "crl_sign"), critical=True))
    authority.cert = builder.sign(authority.key, hashes.SHA256())
    return authority


def test_hostile_names_do_not_reach_a_terminal_or_a_monitor(lab, corp):
    evil = wild_root()
    place = corp.directory / 'a "b" \\ \u202e\x1b[31m'
    place.mkdir()
    ca, crl = place / "ca.crt", place / "evil.crl"
    ca.write_bytes(evil.pem())
    crl.write_bytes(evil.crl(next_update=NOW - HOUR, this_update=NOW - DAY))
    config = gateway_config(corp)
    config.set("trust", ca=[corp.ca, corp.directory / "named"], crl=[corp.directory / "lists"],
               crl_policy="grace")
    # Directories, so that the strange names come from the disk and not through the grammar.
    for name, file in (("named", ca), ("lists", crl)):
        (corp.directory / name).mkdir()
        shutil.copy(file, corp.directory / name / f"x\x1b[31m\u202e\" \\{file.suffix}")
    (corp.directory / "lists" / "corp.crl").write_bytes(corp.root.crl())
    gateway = Tund(lab, lab.gw, config).start()
    watch = subprocess.Popen([TUNCTL, "-s", gateway.socket, "watch"], stdout=subprocess.PIPE)
    lines = Watch(gateway)
    files = corp.write("wild", evil.issue(WILD))
    outputs = []
    for command in (["trust"], ["verify", files[0]], ["metrics"]):
        for json_too in ([], ["-j"]):
            _, out, err = tunctl(gateway, *json_too, *command)
            assert_printable(out, err)
            outputs.append(out)
    assert "Ev" in outputs[0] and "Ev" in outputs[2] and "Ev" in outputs[4]
    check_with_promtool(outputs[4])
    assert len(parse(outputs[4])["tund_ca_expiry_timestamp_seconds"]) == 2
    RawTls(lab.laptop, corp, files)
    refused = lines.wait_for("handshake-refused")
    assert refused["reason"] in ("name-invalid", "crl-expired")
    gateway.stop()
    assert_printable(watch.stdout.read().decode("ascii"))


@pytest.mark.parametrize("kind", ["dns", "email", "uri"])
def test_an_identity_of_any_kind_is_printed_with_it(lab, corp, kind):
    value = {"dns": "Host.Corp.example", "email": "a.b@corp.example", "uri": "spiffe://corp/x%22"}
    gateway = start_gateway(lab, corp)
    files = corp.write("one", corp.root.issue("alice", usages=(CLIENT_AUTH,),
                                              **{kind: [value[kind]]}))
    shown = value[kind].lower() if kind == "dns" else value[kind]
    assert tunctl(gateway, "verify", files[0])[1].splitlines()[0] == (
        f"accepted as a device: {shown} ({kind})")
