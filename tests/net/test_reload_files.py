"""A reload, and what can be wrong with the files it reads: the same lines as tund --check, nothing
changed, and nothing left behind. Where the private key is meanwhile.

    laptop --- wan --- gw         the files of gw change
"""

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from lab import GATEWAY_NAME, wait_until
from peers import TUND, Tund, gateway_config, start_client, start_gateway
from pki import DAY, NOW, SERVER_AUTH, Authority
from rawpeer import connected
from test_privileges import RESERVED, found_in, needles

BY_RELOAD_ALONE = True

APPLIED = "configuration read again"
REFUSED = "reload refused"


def lines(answer):
    return [f"{p['file']}:{p['line']}: {p['text']}" for p in answer.get("problems", [])]


def check(gateway):
    """What --check says of the files as they are, without its warnings."""
    done = gateway.ns.run([TUND, "--check", "--config", gateway.file], check=False)
    return [line for line in done.stderr.splitlines() if ": warning: " not in line]


def refused(gateway, *parts):
    """Its lines, which must be those of --check, with these parts in the first."""
    code, answer = gateway.ctl("reload")
    assert code == 1, answer
    got = lines(answer)
    assert sorted(got) == sorted(check(gateway)), answer
    for part in parts:
        assert part in got[0], got
    return got


def applied(gateway):
    code, answer = gateway.ctl("reload")
    assert code == 0, answer
    return answer


def gateway_leaf(corp, **options):
    return corp.root.issue(GATEWAY_NAME, usages=(SERVER_AUTH,), dns=[GATEWAY_NAME], **options)


class Watched:
    """A gateway with a session that nothing of what follows may touch."""

    def __init__(self, lab, corp, gateway):
        self.gateway = gateway
        self.peer = connected(lab.laptop, corp.device("alice"))
        self.before = self.look()

    def look(self):
        status = self.gateway.status()
        return (status["generation"], status["interface"],
                [(s["id"], s["identity"], s["state"]) for s in self.gateway.sessions()])

    def unchanged(self):
        assert self.look() == self.before
        assert self.peer.probe()


# The configuration itself.

def break_config(gateway, trouble):
    file, right = gateway.file, gateway.config.text()
    if trouble == "gone":
        file.unlink()
        return "cannot be opened: No such file or directory"
    if trouble == "a directory":
        file.unlink()
        file.mkdir()
        return "is not a regular file"
    if trouble == "a FIFO":
        file.unlink()
        os.mkfifo(file, 0o600)
        return "is not a regular file"
    if trouble == "somebody's":
        os.chown(file, 12345, 0)
        return "belongs to uid 12345; a configuration must belong to root"
    if trouble == "writable by others":
        file.chmod(0o622)
        return "others than its owner may write it"
    if trouble == "empty":
        file.write_text("")
        return "has neither gateway { } nor client { }"
    if trouble == "cut off":
        file.write_text(right[:len(right) // 2])
        return ""
    if trouble == "a zero byte":
        file.write_bytes(right.encode() + b"\0")
        return "holds a zero byte"
    if trouble == "too large":
        file.write_text(right + "#" * (1 << 20))
        return "at most 1048576 are read"
    if trouble == "a dangling link":
        file.unlink()
        file.symlink_to("/nowhere/at/all")
        return "cannot be opened: No such file or directory"
    assert trouble == "a hundred problems"
    file.write_text(right + "".join(f"nonsense{i} {{ }}\n" for i in range(300)))
    return "nonsense0"


CONFIG_TROUBLES = ["gone", "a directory", "a FIFO", "somebody's", "writable by others", "empty",
                   "cut off", "a zero byte", "too large", "a dangling link", "a hundred problems"]


def mend(gateway):
    if gateway.file.is_dir() and not gateway.file.is_symlink():
        gateway.file.rmdir()
    else:
        gateway.file.unlink(missing_ok=True)
    gateway.write_config()
    os.chown(gateway.file, 0, 0)


def test_a_configuration_that_cannot_be_read_changes_nothing(lab, corp):
    gateway = start_gateway(lab, corp)
    watched = Watched(lab, corp, gateway)
    for trouble in CONFIG_TROUBLES:
        said = refused(gateway, break_config(gateway, trouble))
        assert len(said) <= 100, trouble
        watched.unchanged()
        mend(gateway)
    gateway.file.write_text("gateway {")
    mark = gateway.process.mark()
    gateway.process.send_signal(signal.SIGHUP)
    gateway.process.wait_for(REFUSED, 10, mark)
    watched.unchanged()
    mend(gateway)
    assert applied(gateway)["changed"] == []


# The files that it names.

def break_files(gateway, corp, trouble):
    """Breaks one; what is said, and how it is mended."""
    certificate, key = (Path(path) for path in corp.gateway_files)
    crl = corp.directory / "lists"
    broken = {"certificate": certificate, "key": key, "ca": corp.ca, "list": crl / "a.crl",
              "lists": crl}[trouble.split(":")[0]]
    what = trouble.split(": ")[1]
    if what == "gone" and broken.is_dir():
        broken.rename(corp.directory / "elsewhere")
        return "lists: No such file or directory", lambda: (corp.directory / "elsewhere").rename(broken)
    right, mode = broken.read_bytes(), broken.stat().st_mode & 0o777

    def restore():
        if broken.is_dir():
            broken.rmdir()
        broken.unlink(missing_ok=True)
        broken.write_bytes(right)
        broken.chmod(mode)

    if what == "gone":
        broken.unlink()
        return "No such file or directory", restore
    if what == "somebody's":
        os.chown(broken, 12345, 0)
        return "belongs to uid 12345", lambda: os.chown(broken, 0, 0)
    if what == "somebody's, closed":
        broken.chmod(0o600)
        os.chown(broken, 12345, 0)
        return "belongs to uid 12345", lambda: (os.chown(broken, 0, 0), broken.chmod(mode))
    if what == "writable":
        broken.chmod(0o666)
        return "by others (mode 0666)", restore
    if what == "cut off":
        broken.write_bytes(right[:len(right) // 2])
        return "", restore
    if what == "empty":
        broken.write_bytes(b"")
        return "", restore
    if what == "a directory":
        broken.unlink()
        broken.mkdir()
        return "not a regular file", restore
    if what == "huge":
        with open(broken, "ab") as file:
            file.truncate((128 << 20) + 1)
        return "", restore
    if what == "another's":
        broken.write_bytes(gateway_leaf(corp).key_pem())
        return "identity.key: the key does not belong to the certificate", restore
    assert what == "weak"
    broken.write_bytes(gateway_leaf(corp, key="p521").key_pem())
    return "keys on the curve secp521r1 are not supported", restore


FILE_TROUBLES = [
    *(f"{what}: {trouble}" for what in ("certificate", "key", "ca", "list")
      for trouble in ("gone", "somebody's", "writable", "cut off", "empty", "huge")),
    "certificate: somebody's, closed", "certificate: a directory", "key: a directory", "key: another's", "lists: gone",
]


def test_files_that_are_wrong_change_nothing(lab, corp):
    lists = corp.directory / "lists"
    lists.mkdir()
    corp.write_crl("lists/a.crl")
    gateway = Tund(lab, lab.gw, gateway_config(corp).set("trust", crl=[lists])).start()
    watched = Watched(lab, corp, gateway)
    for trouble in FILE_TROUBLES:
        if trouble == "list: gone":
            continue  # a directory that lists no list is a directory without lists
        part, restore = break_files(gateway, corp, trouble)
        refused(gateway, part)
        watched.unchanged()
        restore()
    assert applied(gateway)["changed"] == []


def test_lists_that_cannot_be_listed_are_not_taken_for_none(lab, corp):
    """Root that has given up its privileges does not see what root sees."""
    lists = corp.directory / "lists"
    lists.mkdir()
    corp.write_crl("lists/a.crl")
    gateway = Tund(lab, lab.gw, gateway_config(corp).set("trust", crl=[lists])).start()
    watched = Watched(lab, corp, gateway)
    lists.chmod(0o700)
    os.chown(lists, 12345, 0)
    code, answer = gateway.ctl("reload")
    assert code == 1 and lines(answer)[0].endswith("lists: Permission denied"), answer
    watched.unchanged()


def test_several_files_are_wrong_at_once(lab, corp):
    gateway = start_gateway(lab, corp)
    certificate, key = (Path(path) for path in corp.gateway_files)
    certificate.unlink()
    key.chmod(0o644)
    corp.ca.write_text("rubbish")
    said = refused(gateway)
    assert len(said) == 3, said


def encrypt(leaf, passphrase):
    return leaf.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                  serialization.BestAvailableEncryption(passphrase))


def test_a_passphrase(lab, corp):
    gateway = start_gateway(lab, corp)
    certificate, key = (Path(path) for path in corp.gateway_files)
    key.write_bytes(encrypt(corp.gateway, b"open sesame"))
    refused(gateway, "gateway.key: is encrypted; name a passphrase-file")
    secret = corp.directory / "secret"
    gateway.config.set("identity", passphrase_file=secret)
    gateway.write_config()
    refused(gateway, "secret: No such file or directory")
    secret.write_text("close sesame\n")
    secret.chmod(0o600)
    refused(gateway, "secret does not open it")
    secret.write_text("open sesame\n")
    secret.chmod(0o644)
    refused(gateway, "secret: readable by others")
    secret.chmod(0o600)
    assert applied(gateway)["changed"] == ["identity.passphrase-file"]
    start_client(lab, corp, corp.device("alice"))


def test_a_certificate_that_has_expired_is_a_warning_as_at_the_start(lab, corp):
    gateway = start_gateway(lab, corp)
    leaf = gateway_leaf(corp, not_before=NOW - 2 * DAY, not_after=NOW - DAY)
    leaf.write(corp.directory, "gateway")
    answer = applied(gateway)
    assert any("our certificate expired at" in str(w) for w in answer["warnings"]), answer


def test_a_token_in_the_place_of_a_file_needs_a_restart(lab, corp):
    gateway = start_gateway(lab, corp)
    watched = Watched(lab, corp, gateway)
    gateway.config.set("identity", key="pkcs11:token=hq;object=key?pin-value=4711")
    gateway.write_config()
    code, answer = gateway.ctl("reload")
    assert code == 1 and "restart tund" in lines(answer)[0] and "4711" not in str(answer), answer
    watched.unchanged()


# While somebody writes.

def test_files_that_are_replaced_all_the_time(lab, corp):
    """By rename, as it should be: each reload sees one of them, whole."""
    gateway = start_gateway(lab, corp)
    certificate, key = (Path(path) for path in corp.gateway_files)
    other = Authority("Other Root")
    stop = threading.Event()

    def replace():
        while not stop.is_set():
            for content in (corp.root.pem(), other.pem() + corp.root.pem()):
                fresh = corp.directory / "ca.new"
                fresh.write_bytes(content)
                fresh.rename(corp.ca)

    writer = threading.Thread(target=replace)
    writer.start()
    try:
        for _ in range(50):
            applied(gateway)
    finally:
        stop.set()
        writer.join()


def test_files_that_are_written_all_the_time_in_place(lab, corp):
    """As it should not be: a reload takes a whole one or refuses, and the daemon lives."""
    gateway = start_gateway(lab, corp)
    watched = Watched(lab, corp, gateway)
    certificate = Path(corp.gateway_files[0])
    right, text = certificate.read_bytes(), gateway.file.read_text()
    stop = threading.Event()

    def scribble():
        while not stop.is_set():
            for content in (right, right[:300], b"", right * 3):
                certificate.write_bytes(content)
            gateway.file.write_text(text[:200])
            gateway.file.write_text(text)

    writer = threading.Thread(target=scribble)
    writer.start()
    codes = []
    try:
        for _ in range(80):
            codes.append(gateway.ctl("reload")[0])
    finally:
        stop.set()
        writer.join()
    assert set(codes) <= {0, 1}
    certificate.write_bytes(right)
    gateway.write_config()
    applied(gateway)
    assert watched.peer.probe()


# What is left behind.

def descriptors(tund):
    return {role: len(os.listdir(f"/proc/{pid}/fd")) for role, pid in tund.processes().items()}


def resident_kib(tund):
    sizes = {}
    for role, pid in tund.processes().items():
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                sizes[role] = int(line.split()[1])
    return sizes


def sanitized(tund):
    """Its shadow takes terabytes of addresses."""
    status = Path(f"/proc/{tund.process.pid}/status").read_text()
    return int(status.split("VmSize:")[1].split()[0]) > RESERVED >> 10


def with_key_in_place(tund, certificate):
    """The key stands in the configuration itself."""
    tund.config.set("identity", key=certificate.key_pem().decode())
    return tund


def test_200_reloads_leave_no_descriptor_and_no_memory(lab, corp):
    directory = corp.directory / "cas"
    directory.mkdir()
    for i in range(40):
        (directory / f"{i}.crt").write_bytes(Authority(f"Root {i}").pem())
    gateway = start_gateway(lab, corp)
    gateway.config.set("trust", ca=[corp.ca, directory], crl=[corp.write_crl()])
    with_key_in_place(gateway, corp.gateway)
    gateway.write_config()
    right = gateway.file.read_text()
    for _ in range(10):
        applied(gateway)
    time.sleep(0.3)
    before, size = descriptors(gateway), resident_kib(gateway)
    for i in range(200):
        if i % 4 == 3:
            gateway.file.write_text(right.replace("dpd", "pdp"))
            assert gateway.ctl("reload")[0] == 1
            gateway.file.write_text(right)
        else:
            applied(gateway)
    wait_until(lambda: descriptors(gateway) == before, 5, f"{before} descriptors")
    for role, now in resident_kib(gateway).items():
        if sanitized(gateway):
            break  # which keeps what is freed
        assert now < size[role] + 4096, f"{role}: {size[role]} KiB before, {now} KiB after"


def test_50_signals_at_once_are_few_reloads(lab, corp):
    gateway = start_gateway(lab, corp)
    mark = gateway.process.mark()
    for _ in range(50):
        os.kill(gateway.process.pid, signal.SIGHUP)
    gateway.process.wait_for(APPLIED, 10, mark)
    time.sleep(1)
    assert 1 <= gateway.process.log(mark).count(APPLIED) <= 4


# The private key.

@pytest.mark.parametrize("kind", ["p256", "ed25519"])
@pytest.mark.parametrize("way", ["file", "in place"])
def test_a_new_key_is_in_keys_and_nowhere_else(lab, corp, kind, way):
    gateway = start_gateway(lab, corp)
    old, leaf = corp.gateway, gateway_leaf(corp, key=kind)
    leaf.write(corp.directory, "gateway")
    if way == "in place":
        with_key_in_place(gateway, leaf)
        Path(corp.gateway_files[1]).unlink()
    gateway.write_config()
    for _ in range(3):
        applied(gateway)
    connected(lab.laptop, corp.device("alice"))
    for certificate in (leaf, old):
        wanted = needles(certificate.key, certificate.key_pem())
        found = {role: found_in(pid, wanted) for role, pid in gateway.processes().items()}
        assert found.pop("keys") & {"raw", "raw, reversed"}, "the search finds no key at all"
        assert not any(found.values()), found


def test_a_key_in_place_that_others_may_read_is_refused(lab, corp):
    gateway = with_key_in_place(Tund(lab, lab.gw, gateway_config(corp)), corp.gateway).start()
    watched = Watched(lab, corp, gateway)
    gateway.file.chmod(0o644)
    refused(gateway, "holds a private key and others than its owner may read it")
    watched.unchanged()
    # A problem's text and the log show nothing of it.
    log = gateway.process.log()
    for line in corp.gateway.key_pem().decode().splitlines()[1:-1]:
        assert line not in log


def test_processes_keep_their_limits_after_a_reload(lab, corp):
    """The parent's engine still opens nothing: it ends when it tries (the filter is as before)."""
    gateway = start_gateway(lab, corp)
    applied(gateway)
    for role, pid in gateway.processes().items():
        status = Path(f"/proc/{pid}/status").read_text()
        assert "Seccomp:\t2" in status and "NoNewPrivs:\t1" in status, role


# A client.

def test_a_clients_files(lab, corp):
    start_gateway(lab, corp)
    device = corp.device("alice")
    client = start_client(lab, corp, device)
    Path(device[1]).unlink()
    refused(client, "alice.key: No such file or directory")
    leaf = corp.root.issue("alice", key="ed25519")
    corp.write("alice", leaf)
    assert sorted(applied(client)["changed"]) == ["identity.certificate", "identity.key"]
    client.wait_status(state="up", transport="dtls")
