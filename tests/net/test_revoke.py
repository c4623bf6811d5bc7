"""tunctl revoke: once it has returned, the session is over, and it stays over.

    laptop --- wan --- gw (tunctl revoke) --- corp
"""

import re
import time

import pytest

import traffic
from lab import CORP, wait_until
from peers import Openconnect, start_client, start_gateway

MS = 1_000_000


def connected_pair(lab, corp):
    gateway = start_gateway(lab, corp)
    client = start_client(lab, corp, corp.device("alice"))
    client.wait_status(state="up", transport="dtls")
    return gateway, client


def assert_flowed_and_stopped(end, asked_ns, returned_ns, where):
    """Numbered datagrams came in the last 5 ms before the command, and none after its return."""
    times = end["times_ns"]
    just_before = [t for t in times if asked_ns - 5 * MS <= t < asked_ns]
    assert just_before, f"{where}: nothing in the 5 ms before, so nothing is proven"
    late = [t for t in times if t > returned_ns]
    assert not late, f"{where}: {len(late)} late, up to {(late[-1] - returned_ns) / MS:.3f} ms"


@pytest.mark.serial
@pytest.mark.parametrize("family", [4, 6], ids=["inner4", "inner6"])
def test_no_packet_after_the_command_has_returned(lab, corp, family):
    gateway, client = connected_pair(lab, corp)
    datagrams = traffic.Datagrams(lab, lab.laptop, client.inner(family), CORP[family])
    time.sleep(1.5)
    asked_ns = time.clock_gettime_ns(time.CLOCK_REALTIME)
    code, answer = gateway.ctl("revoke", "alice")
    returned_ns = time.clock_gettime_ns(time.CLOCK_REALTIME)
    time.sleep(1)
    corp_end, laptop_end = datagrams.finish()
    assert code == 0, answer
    for end, where in ((corp_end, "corp"), (laptop_end, "laptop")):
        assert_flowed_and_stopped(end, asked_ns, returned_ns, where)
    # The corporate end went on trying, so silence at the laptop is the gateway's doing.
    assert corp_end["sent_ns"][-1] > returned_ns + 900 * MS
    assert gateway.sessions() == []


def test_the_answer_names_what_was_cut_and_how_fast(lab, corp):
    gateway, client = connected_pair(lab, corp)
    session = gateway.session("alice")
    code, answer = gateway.ctl("revoke", "alice", "--reason", "stolen")
    assert code == 0
    assert [cut["id"] for cut in answer["cut"]] == [session["id"]]
    assert 0 <= answer["took_s"] < 1
    assert answer["durable"] is True
    assert len(answer["denied"]) == 1
    status = wait_until(lambda: client.status()["state"] != "up" and client.status(), 5,
                        "a client that has lost its tunnel")
    assert status["inner_addresses"] == []


def test_the_refused_laptop_says_why_and_keeps_being_refused(lab, corp):
    gateway, client = connected_pair(lab, corp)
    gateway.ctl("revoke", "alice")
    mark = gateway.process.mark()
    gateway.process.wait_for("refused .*cert-denied", 20, mark)
    client.wait_status(last_reason="cert-revoked")
    client.stop()
    client.start(wait=False)
    client.wait_status(last_reason="cert-revoked")
    assert gateway.sessions() == []


def test_it_outlives_a_restart_and_can_be_taken_back(lab, corp):
    gateway, client = connected_pair(lab, corp)
    gateway.ctl("revoke", "alice")
    gateway.stop()
    gateway.start()
    mark = gateway.process.mark()
    client.stop()
    client.start(wait=False)
    gateway.process.wait_for("refused .*cert-denied", 15, mark)
    code, listed = gateway.ctl("revoked")
    assert code == 0 and len(listed["revoked"]) == 1
    assert gateway.ctl("unrevoke", "alice")[0] == 0
    assert gateway.ctl("revoked")[1]["revoked"] == []
    client.wait_status(timeout=70, state="up")


def test_others_keep_their_tunnels(make_lab, make_corp):
    lab = make_lab(laptops=("laptop", "laptop2"))
    corp = make_corp(lab)
    gateway, _ = connected_pair(lab, corp)
    start_client(lab, corp, corp.device("bob"), ns=lab.laptop2)
    streams = traffic.Streams(lab)
    stream = streams.start(lab.laptop2, "down", seconds=4)
    time.sleep(1)
    gateway.ctl("revoke", "alice")
    traffic.assert_intact(streams.report(stream, 20), stall_s=1, at_least=3_000_000)


def test_stock_openconnect_ends_and_does_not_come_back(lab, corp):
    gateway = start_gateway(lab, corp)
    client = Openconnect(lab, lab.laptop, corp, corp.device("alice")).wait_up()
    assert gateway.ctl("revoke", "alice")[0] == 0
    assert client.process.wait(15) == 1
    again = Openconnect(lab, lab.laptop, corp, (corp.directory / "alice.crt",
                                                corp.directory / "alice.key"))
    assert again.process.wait(15) == 1
    gateway.process.wait_for("refused .*cert-denied")


def test_nobody_to_revoke_is_exit_4(lab, corp):
    gateway = start_gateway(lab, corp)
    assert gateway.ctl("revoke", "nobody-of-that-name")[0] == 4


TRACED = "trace=fdatasync,fsync,read,readv,recvmsg,recvfrom,write,writev,sendmsg,sendto"


def index_of(lines, pattern, start=0):
    for i in range(start, len(lines)):
        if re.search(pattern, lines[i]):
            return i
    raise AssertionError(f"no line like {pattern} after line {start}:\n" + "\n".join(lines[start:]))


def test_the_denial_is_on_disk_before_the_answer_leaves(lab, corp):
    gateway, _ = connected_pair(lab, corp)
    trace = lab.dir / "trace"
    attach = [word for pid in gateway.processes().values() for word in ("-p", str(pid))]
    strace = lab.gw.spawn("strace", ["strace", "-f", "-y", "-s", "4096", "-e", TRACED, "-o", trace,
                                     *attach])
    strace.wait_for("attached", 5)
    time.sleep(0.5)
    code, answer = gateway.ctl("revoke", "alice")
    assert code == 0, answer
    strace.stop()
    lines = trace.read_text(errors="replace").splitlines()
    asked = index_of(lines, r'(read|recv)\w*\(.*\\"command\\": ?\\"revoke\\"')
    synced = index_of(lines, r"fdatasync(\(\d+<\S*state\.db\S*>\)| resumed>\)) += 0", asked)
    answered = index_of(lines, r"(write|send)\w*\(.*tund\.revoke/1", asked)
    assert synced < answered, "\n".join(lines[asked:synced + 1])
