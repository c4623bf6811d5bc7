"""A gateway with four workers: flows live where their devices' datagrams arrive.

    raw peers, each with many UDP ports --- wan --- gw (four workers) --- corp (numbered datagrams)

The kernel shares peers out among the workers' sockets by addresses and ports, and packets from the
network among their TUN queues by the inner flow: so what a test sends reaches all of them.
"""

import os
import socket
import struct
import threading
import time

import pytest

from lab import CORP, LabError, run, wait_until
from peers import TUNCTL, Tund, gateway_config
from rawpeer import (DATA, DISCONNECT, Closed, Peer, echo_reply, echo_request, inside, read_udp,
                     udp_packet)

SO_RCVBUFFORCE = 33
PORT = 7100
ROAMS = 12  # to sockets of four workers: that all stay on one happens once in 4 ** 11


@pytest.fixture
def gateway(lab, corp):
    config = gateway_config(corp).set("daemon", workers=4)
    return Tund(lab, lab.gw, config).start()


def open_peer(lab, corp, name="alice"):
    peer = Peer(lab.laptop, corp.device(name))
    peer.connect()
    return peer


def roam(peer):
    """A new association from another port; all that goes out from now on goes by it."""
    path = peer.dtls()
    # This process is slower than the gateway.
    path.sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
    assert path.handshake(), "no DTLS"
    return path


def number(packet, port=PORT):
    datagram = read_udp(packet)
    return struct.unpack("!Q", datagram[1][:8])[0] if datagram and datagram[0] == port else None


class Sender:
    """The corporate host's numbered datagrams to devices, each from a socket of its own."""

    def __init__(self, lab):
        with inside(lab.corp):
            self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind((CORP[4], PORT))

    def send(self, inner, i, port=7000):
        self.sock.sendto(struct.pack("!Q", i) + bytes(100), (inner, port))


def drain(channel, seconds=0.0):
    """The numbers that have come, in their order."""
    numbers = []
    try:
        while (got := channel.next(seconds)) is not None:
            if got[0] == DATA and (came := number(got[1])) is not None:
                numbers.append(came)
    except Closed:
        pass
    return numbers


def collect_echoes(channels, wanted, seconds=10):
    """The sequence numbers that have come by any of them; a channel may be closed by now."""
    came, deadline = set(), time.monotonic() + seconds
    while set(wanted) - came and time.monotonic() < deadline:
        for channel in channels:
            try:
                while (got := channel.next(0)) is not None:
                    if got[0] == DATA and (sequence := echo_reply(got[1])) is not None:
                        came.add(sequence)
            except Closed:
                pass
        time.sleep(0.01)
    return came


def test_status_says_how_many_workers_there_are(gateway):
    assert gateway.status()["workers"] == 4
    text = run([TUNCTL, "-s", gateway.socket, "status"]).stdout
    assert ["workers", "4"] in [line.split() for line in text.splitlines()]


def test_without_the_option_there_is_one_worker_a_core(lab, corp):
    plain = Tund(lab, lab.gw, gateway_config(corp))
    plain.config.unset("daemon", "workers")
    assert plain.start().status()["workers"] == len(os.sched_getaffinity(0))


def test_another_number_of_workers_needs_a_restart(gateway):
    gateway.config.set("daemon", workers=2)
    gateway.write_config()
    code, answer = gateway.ctl("reload")
    assert code == 0 and answer["restart"] == ["daemon.workers"], answer
    assert gateway.status()["workers"] == 4


def test_the_port_of_several_workers_is_not_shared_with_another_program(gateway, lab, corp):
    """SO_REUSEPORT would let a second of the same user in, and give it a part of the datagrams."""
    with inside(lab.gw):
        taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("0.0.0.0", 8443))
    config = gateway_config(corp, listen=["0.0.0.0:8443"], interface="tund1",
                            pool=["10.98.0.0/24"]).set("daemon", workers=4)
    second = Tund(lab, lab.gw, config, name="second")
    second.start(wait=False)
    assert second.process.wait(15) != 0
    assert "gateway.listen: 0.0.0.0:8443: Address already in use" in second.process.log()
    taken.close()


def test_a_roaming_device_loses_nothing_while_its_flow_moves_from_worker_to_worker(
        gateway, lab, corp):
    peer = open_peer(lab, corp)
    path = roam(peer)
    channels = [peer, path]
    wanted = []
    for i in range(ROAMS):
        old, path = path, roam(peer)
        channels.append(path)
        # At once, before any of the workers can have settled; and what was under way on the old path.
        for k in range(20):
            out = old if k % 5 == 0 and k < 10 else path
            wanted.append(i * 100 + k)
            out.send(DATA, echo_request(peer.inner4, wanted[-1]))
    lost = sorted(set(wanted) - collect_echoes(channels, wanted))
    assert not lost, f"{len(lost)} of {len(wanted)} lost: {lost}; {gateway.status()}"
    counters = gateway.counters()
    assert counters["flows_moved"] >= 3, counters
    # What all workers counted is the session's: nothing twice, nothing forgotten on the way.
    session = gateway.session("alice")
    assert (session["rx_packets"], session["tx_packets"]) == (len(wanted), len(wanted))
    assert session["transport"] == "dtls" and len(gateway.sessions()) == 1


def test_a_packet_for_a_flow_on_another_worker_is_delivered_in_order(gateway, lab, corp):
    """Many streams from the network, of which the kernel gives three in four to the wrong queue."""
    peer = open_peer(lab, corp)
    path = roam(peer)
    wait_until(lambda: gateway.session("alice")["transport"] == "dtls", 5, "DTLS")
    sender = Sender(lab)
    streams, each = 32, 60
    packets = {port: [] for port in range(7000, 7000 + streams)}

    def take():
        while got := path.next(0):
            datagram = got[1] if got[0] == DATA else b""
            if (came := number(datagram)) is not None:
                packets[struct.unpack("!H", datagram[22:24])[0]].append(came)

    for i in range(each):
        for port in packets:
            sender.send(peer.inner4, i, port)
        take()
    deadline = time.monotonic() + 5
    while sum(map(len, packets.values())) < streams * each and time.monotonic() < deadline:
        take()
    for port, came in packets.items():
        assert came == list(range(each)), f"to port {port}: {came}; {gateway.status()}"
    counters = gateway.counters()
    # Half of what is expected: which queues they get is the kernel's hash.
    assert counters["handed_over"] > streams * each * 3 // 8, counters
    assert gateway.status()["drops"].get("handover-full", 0) == 0


def test_a_stream_whose_queue_changes_in_the_middle_is_neither_lost_nor_doubled(
        gateway, lab, corp):
    """The device answers from another worker each time, and the kernel follows what it writes."""
    peer = open_peer(lab, corp)
    path = roam(peer)
    sender = Sender(lab)
    got = []
    paths = [path]
    i = 0
    for _ in range(ROAMS):
        for _ in range(100):
            sender.send(peer.inner4, i)
            i += 1
            if i % 25 == 0:
                path.send(DATA, udp_packet(peer.inner4, CORP[4], PORT, b"learn"))
                time.sleep(0.002)
            for each in paths[-2:]:
                got += drain(each)
        path = roam(peer)
        paths.append(path)
    deadline = time.monotonic() + 5
    while len(got) < i and time.monotonic() < deadline:
        for each in [*paths, peer]:
            got += drain(each, 0.01)
    assert sorted(got) == list(range(i)), (
        f"lost {sorted(set(range(i)) - set(got))}, twice {len(got) - len(set(got))}")
    assert gateway.counters()["flows_moved"] >= 3


def test_a_replayed_hello_from_elsewhere_moves_nothing(gateway, lab, corp):
    peer = open_peer(lab, corp)
    path = roam(peer)
    assert path.probe()
    wait_until(lambda: gateway.session("alice")["transport"] == "dtls", 5, "DTLS")
    before = gateway.counters()["flows_moved"]
    for _ in range(ROAMS):
        seen = peer.dtls()
        hello = seen.hello()
        seen.transmit(hello)
        seen.transmit(hello)
    wanted = list(range(100, 150))
    for sequence in wanted:
        path.send(DATA, echo_request(peer.inner4, sequence))
    assert collect_echoes([path], wanted) == set(wanted), "the session has suffered"
    assert gateway.counters()["flows_moved"] == before


class Roamer(threading.Thread):
    """Roams and asks for echoes until it is told, or can no more."""

    def __init__(self, peer):
        super().__init__(daemon=True)
        self.peer = peer
        self.paths = [roam(peer)]
        self.came = []  # when an echo came
        self.going = True
        self.start()

    def run(self):
        sequence = 0
        while self.going:
            try:
                path = self.peer.dtls()
                if not path.handshake(2):
                    continue
                self.paths.append(path)
                if len(self.paths) > 8:
                    self.paths.pop(0).sock.close()
                for _ in range(20):  # a flow takes twenty hellos a second
                    sequence = sequence % 60000 + 1
                    path.send(DATA, echo_request(self.peer.inner4, sequence))
                    time.sleep(0.004)
                    got = path.next(0.02)
                    if got and got[0] == DATA and echo_reply(got[1]) is not None:
                        self.came.append(time.monotonic())
            except (Closed, LabError, OSError):
                break


def test_a_revocation_in_the_midst_of_moves_cuts_at_once(gateway, lab, corp):
    names = [f"device{i}" for i in range(6)]
    roamers = {name: Roamer(open_peer(lab, corp, name)) for name in names}
    time.sleep(1)
    for name in names[:4]:
        code, answer = gateway.ctl("revoke", name)
        returned = time.monotonic()
        roamer = roamers[name]
        assert code == 0 and len(answer["cut"]) == 1, answer
        roamer.going = False
        roamer.join(10)
        assert roamer.came, "nothing is proven: it never carried anything"
        # An echo may have been under way in our own namespace when the command returned.
        late = [at for at in roamer.came if at > returned + 0.2]
        assert not late, f"{name}: {len(late)} echoes after the revocation"
        for path in roamer.paths[-4:]:
            path.send(DATA, echo_request(roamer.peer.inner4, 60001))
        assert not [path for path in roamer.paths[-4:]
                    for got in [path.next(0.1)] if got and got[0] == DATA
                    and echo_reply(got[1]) == 60001], f"{name}: still there"
        assert roamer.peer.expect(DISCONNECT)[1:].startswith(b"revoked"), "not told why"
    assert {session["identity"] for session in gateway.sessions()} == set(names[4:])
    for name in names[4:]:
        before = len(roamers[name].came)
        wait_until(lambda: len(roamers[name].came) > before, 5, f"{name} goes on")
        roamers[name].going = False
        roamers[name].join(10)
    assert gateway.counters()["flows_moved"] >= 6


def test_a_renewal_while_the_flow_moves_loses_nothing(gateway, lab, corp):
    """Another TLS connection takes the session over, again and again, from flows on the move."""
    device = corp.device("alice")
    first = Peer(lab.laptop, device)
    cookie = first.login()
    first.close()
    channels, wanted = [], []
    for i in range(8):
        peer = Peer(lab.laptop, device)
        peer.connect(cookie)
        channels.append(peer)
        for _ in range(2):
            channels.append(roam(peer))
            for _ in range(10):
                wanted.append(len(wanted) + 1)
                channels[-1].send(DATA, echo_request(peer.inner4, wanted[-1]))
    lost = sorted(set(wanted) - collect_echoes(channels, wanted))
    assert not lost, f"{len(lost)} of {len(wanted)} lost: {lost}"
    assert gateway.session("alice")["rx_packets"] == len(wanted)


def test_a_reload_reaches_a_flow_wherever_it_is(gateway, lab, corp):
    """The rights change while devices roam: with the command's return they are in force."""
    peers = [open_peer(lab, corp, f"device{i}") for i in range(4)]
    roamers = [Roamer(peer) for peer in peers]
    time.sleep(0.5)
    gateway.config.set('access "everyone"', allow=["10.50.0.99/32 any"])
    gateway.write_config()
    code, answer = gateway.ctl("reload")
    returned = time.monotonic()
    time.sleep(1)
    assert code == 0 and len(answer["rights_changed"]) == 4, answer
    for roamer in roamers:
        roamer.going = False
        roamer.join(10)
        assert roamer.came, "nothing is proven: it never carried anything"
        late = [at for at in roamer.came if at > returned + 0.2]
        assert not late, f"{len(late)} echoes by the old rules"
    assert gateway.status()["sessions"] == 4
