"""A reload under load: who is not meant does not notice.

    50 devices in one process --- wan --- gw (tunctl reload, SIGHUP) --- corp (sends back)
"""

import re
import signal
import time
from pathlib import Path

import pytest

import test_bad_config as bad
import traffic
from crowd import Crowd
from lab import CORP, GATEWAY_NAME, wait_until
from peers import DAEMON_USER, Tund, gateway_config, start_client
from pki import DAY, NOW, SERVER_AUTH, Authority, Corp
from rawpeer import DISCONNECT

BY_RELOAD_ALONE = True

BEFORE, AFTER = 7001, 7002


def guests(*ports):
    return [f"10.50.0.0/24 udp/{port}" for port in ports]


def crowd_config(corp, crl):
    config = gateway_config(corp, dpd="60s", keepalive="60s")
    config.remove('access "everyone"')
    return (config.set("trust", crl=[crl])
            .set("limits", handshakes=1000, handshakes_per_source=1000)
            .set('access "staff"', match=["ou=Staff"], allow=["10.50.0.0/24 any"])
            .set('access "guests"', match=["ou=Guests"], allow=guests(BEFORE)))


def assert_clean_cut(member):
    """In the order they were sent: up to one of them only BEFORE passes, from there only AFTER. And
    so it is with the answers, but for those to what had passed just before."""
    passed = [(port, (port, number) in member.arrived) for port, number, _ in member.sent]
    fits = [i for i in range(len(passed) + 1)
            if all(came == (port == (BEFORE if k < i else AFTER))
                   for k, (port, came) in enumerate(passed))]
    assert fits, "no clean cut: " + " ".join(f"{port}{'+' if came else '-'}"
                                             for port, came in passed)
    cut = fits[0]
    assert 0 < cut < len(passed)
    unanswered = [i for i, (port, number, _) in enumerate(member.sent)
                  if passed[i][1] and (port, number) not in member.back]
    assert all(cut - 4 <= i < cut for i in unanswered), (cut, unanswered)


@pytest.mark.serial
def test_of_fifty_sessions_one_is_cut_five_change_and_the_others_lose_nothing(lab, corp):
    leaves = [corp.root.issue(f"device{i}", unit="Guests" if i < 5 else "Staff")
              for i in range(50)]
    files = [corp.write(f"device{i}", leaf) for i, leaf in enumerate(leaves)]
    victim = 20
    gateway = Tund(lab, lab.gw, crowd_config(corp, corp.write_crl())).start()
    crowd = Crowd(lab, [(device, [BEFORE, AFTER] if i < 5 else [BEFORE])
                        for i, device in enumerate(files)])
    ids = {session["identity"]: session["id"] for session in gateway.sessions()}
    assert len(ids) == 50
    crowd.start()
    time.sleep(2)
    corp.write_crl(revoked=[leaves[victim]], number=2)
    gateway.config.set('access "guests"', allow=guests(AFTER))
    gateway.write_config()
    code, answer = gateway.ctl("reload")
    returned = time.monotonic()
    time.sleep(2)
    crowd.stop()
    assert code == 0, answer

    # What is said.
    assert [(cut["identity"], cut["reason"]) for cut in answer["cut"]] == [
        (f"device{victim}", "cert-revoked")]
    assert answer["cut"][0]["id"] == ids[f"device{victim}"]
    assert sorted(changed["identity"] for changed in answer["rights_changed"]) == [
        f"device{i}" for i in range(5)]
    assert sorted(answer["changed"]) == ["access.guests.allow", "trust.crl"]
    assert answer["restart"] == []

    # The one: told why, and nothing passes once the command has returned.
    cut = crowd.members[victim]
    assert cut.peer.expect(DISCONNECT)[1:].startswith(b"cert-revoked"), "the peer was not told"
    late = [number for port, number, at in cut.sent
            if at > returned and (port, number) in cut.arrived]
    assert not late, f"{len(late)} packets of the one that was cut still passed"
    assert cut.back, "nothing is proven: it never carried anything"
    # The five: with the next packet.
    for member in crowd.members[:5]:
        assert_clean_cut(member)
        late = [at for port, _, at in member.sent if port == AFTER and at > returned]
        assert late, "nothing was sent by the new rules"
    # The others.
    for i, member in enumerate(crowd.members):
        if i >= 5 and i != victim:
            assert len(member.sent) > 60 and member.lost() == [], f"device{i}: {member.lost()}"
    left = {session["identity"]: session["id"] for session in gateway.sessions()}
    assert left == {name: number for name, number in ids.items() if name != f"device{victim}"}
    assert gateway.status()["generation"] > 1


# One hundred broken files in turn. The rows are those that --check and a start are tested with.

class Spoiled(bad.World):
    """The running gateway's configuration, spoiled and mended."""

    def __init__(self, lab, corp):
        self.lab = lab
        self.dir = lab.dir / "tund-gw"
        self.corp = corp
        self.certificate, self.key = self.issue()
        self.crl = corp.write_crl()
        self.right = bad.GATEWAY.format(
            dir=self.dir, user=DAEMON_USER, ca=corp.ca, certificate=self.certificate,
            key=self.key)
        self.right = self.right.replace('{"127.0.0.1:4443"}', '{"127.0.0.1:4443", "0.0.0.0:443"}')
        self.right = self.right.replace("trust {", f'trust {{\n    crl         = {{"{self.crl}"}}')
        self.right = self.right.replace("daemon  {", "daemon  { watch-files = false")
        assert "watch-files" in self.right
        self.text = self.right
        self.file = self.dir / "gw.conf"
        self.kept = {path: (path.read_bytes(), path.stat().st_mode & 0o777)
                     for path in (self.certificate, self.key, corp.ca, self.crl)}

    def mend(self):
        """As it was, whatever has become of it."""
        for path, (content, mode) in self.kept.items():
            if path.is_dir():
                path.rmdir()
            path.unlink(missing_ok=True)
            path.write_bytes(content)
            path.chmod(mode)
        self.text = self.right
        self.write()


class Text:
    """Something else in the file; the row of test_bad_config."""

    def __init__(self, old, new, fragment, pattern):
        self.old, self.new, self.fragment, self.pattern = old, new, fragment, pattern

    def spoil(self, world):
        world.replace(self.old, self.new)
        world.write()
        return self.fragment, self.pattern


class File:
    """Something else in a file that it names."""

    def __init__(self, option, spoil, pattern):
        self.option, self.function, self.pattern = option, spoil, pattern

    def spoil(self, world):
        path = {"certificate": world.certificate, "key": world.key, "ca": world.corp.ca,
                "crl": world.crl}[self.option]
        self.function(world, path)
        return str(path), self.pattern


class Cut:
    """The file ends after this share of its bytes."""

    def __init__(self, share):
        self.share = share

    def spoil(self, world):
        world.text = world.text[:int(len(world.text) * self.share)]
        world.write()
        return "", r"."


def on_path(function):
    return lambda world, path: function(path)


def expired(world, path):
    """Strict: nobody could get in by it, nor stay."""
    path.write_bytes(world.corp.root.crl(next_update=NOW - DAY, this_update=NOW - 2 * DAY))


def other_key(world, path):
    leaf = world.corp.root.issue(GATEWAY_NAME, usages=(SERVER_AUTH,), dns=[GATEWAY_NAME])
    path.write_bytes(leaf.key_pem())
    path.chmod(0o600)


def other_certificate(world, path):
    leaf = world.corp.root.issue(GATEWAY_NAME, usages=(SERVER_AUTH,), dns=[GATEWAY_NAME])
    path.write_bytes(leaf.pem())


# Accounts are looked up at the start alone, where they take effect; the other row would name a list
# twice here.
LEFT_OUT = {"no-such-user", "no-such-group", "home-directory"}
TEXTS = {f"text: {name}": Text(*row) for name, row in bad.OPTIONS.items() if name not in LEFT_OUT}
FILES = {
    **{f"key: {name}": File("key", on_path(spoil), "identity.key: .*" + pattern)
       for name, (spoil, pattern) in bad.KEYS.items()},
    **{f"certificate: {name}": File("certificate", on_path(spoil), "identity.certificate.*" + pattern)
       for name, (spoil, pattern) in bad.CERTIFICATES.items()},
    **{f"ca: {name}": File("ca", spoil, f"ca.crt: .*({pattern})")
       for name, (spoil, pattern) in bad.AUTHORITIES.items()},
    **{f"crl: {name}": File("crl", spoil, f"corp.crl: .*({pattern})")
       for name, (spoil, pattern) in bad.LISTS.items()},
    "key: another": File("key", other_key, "does not belong to the certificate"),
    "key: others may read": File("key", on_path(lambda path: path.chmod(0o644)), "0644.*chmod"),
    "key: fifo": File("key", on_path(lambda path: (path.unlink(), bad.os.mkfifo(path, 0o600))),
                      "regular file"),
}
# The certificate is what does not fit, the key is what is complained about.
CUTS = {f"cut at {share:.2f}": Cut(share) for share in [i / 40 for i in range(1, 40)]}
ROWS = {**TEXTS, **FILES, **CUTS}


def essence(gateway):
    """Status and sessions without what moves by itself."""
    status = gateway.status()
    for key in ("counters", "drops"):
        status.pop(key)
    sessions = [{key: value for key, value in session.items()
                 if not key.startswith(("rx_", "tx_", "idle")) and key != "drops"}
                for session in gateway.sessions()]
    return status, sessions


def test_a_hundred_broken_files_in_turn_change_nothing(lab, corp):
    assert len(ROWS) >= 100
    gateway = Tund(lab, lab.gw, gateway_config(corp))
    world = Spoiled(lab, corp)
    gateway.write_config = world.write
    gateway.socket = world.dir / "control.sock"
    gateway.start()
    client = start_client(lab, corp, corp.device("alice"))
    client.wait_status(state="up", transport="dtls")
    gateway.wait_status(sessions_dtls=1)
    datagrams = traffic.Datagrams(lab, lab.laptop, client.inner(4), CORP[4], rate=200)
    before = essence(gateway)
    wrong = []
    for name, row in ROWS.items():
        fragment, pattern = row.spoil(world)
        done = lab.gw.run([bad.TUND.parents[1] / "tunctl" / "tunctl", "-s", gateway.socket, "reload"],
                          check=False)
        lines = done.stderr.splitlines()
        place = re.escape(f"{world.file}:") + (
            str(world.line(fragment)) if fragment != "" else r"\d+") + ": "
        # What follows a cut may be told in more than one way.
        most = 4 if isinstance(row, Cut) else 1
        if done.returncode != 1 or done.stdout or not 1 <= len(lines) <= most or not all(
                re.match(place, line) and re.search(pattern, line) for line in lines):
            wrong.append(f"{name}: exit {done.returncode}, {done.stdout!r}, wanted"
                         f" /{place}.*{pattern}/:\n    {done.stderr}")
        world.mend()
        if essence(gateway) != before:
            wrong.append(f"{name}: changed {before} to {essence(gateway)}")
            before = essence(gateway)
    code, answer = gateway.ctl("reload")
    corp_end, laptop_end = datagrams.finish()
    assert not wrong, f"{len(wrong)} of {len(ROWS)}:\n" + "\n".join(wrong)
    assert code == 0 and answer["changed"] == [], answer
    for here, there in ((corp_end, laptop_end), (laptop_end, corp_end)):
        # What was sent before the other had bound its port, and what is on its way at the end.
        first, last = min(there["numbers"]), max(there["numbers"])
        lost = set(range(first, last + 1)) - set(there["numbers"])
        assert not lost, f"{len(lost)} of {last - first} datagrams were lost"
        assert last - first > 200
