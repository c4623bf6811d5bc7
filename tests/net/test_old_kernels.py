"""Kernels that lack what a packet path would like to have, and kernels whose queues are full: slower, and
otherwise the same. Nothing is damaged, nothing is lost that is not counted, and the log says what is missing.

    laptop (tund) --- wan --- gw (tund) --- corp
       \\________________________/
        old_kernel.so is loaded into one of them, or both
"""

import contextlib
import socket
import struct
import time

import pytest

from lab import CORP, wait_until
from peers import BUILD, Tund, client_config, gateway_config
from rawpeer import inside
from traffic import Datagrams, Web, assert_both_ways, assert_pings

PRELOAD = BUILD / "tests" / "old_kernel.so"
UDP_SEGMENT = 103
SUPER_PORT = 7002
RATE = 1000
WORKERS = 4


class Pair:
    """A gateway and a client, each with such a kernel; None: with this one."""

    def __init__(self, lab, corp, gateway, client, transport="auto", **daemon):
        self.lab = lab
        config = gateway_config(corp)
        config.set("daemon", **daemon)
        self.gateway = Tund(lab, lab.gw, config, env=environment(gateway)).start()
        config = client_config(corp, corp.device("alice"), transport=transport)
        self.client = Tund(lab, lab.laptop, config, env=environment(client)).start()
        self.client.wait_status(transport="tls" if transport == "tcp" else "dtls")
        self.before = self.drops()
        self.pids = [end.processes() for end in self.ends]

    @property
    def ends(self):
        return self.gateway, self.client

    def drops(self):
        """Of both, and without what the kernels report to groups."""
        drops = {}
        for end in self.ends:
            for word, count in end.status()["drops"].items():
                drops[word] = drops.get(word, 0) + count
        drops.pop("multicast", None)
        return drops

    def dropped(self):
        """Since the start, by word."""
        return {word: count - self.before.get(word, 0) for word, count in self.drops().items()
                if count != self.before.get(word, 0)}

    def send_datagrams(self, seconds=1.5):
        """Numbered ones, both ways: how many were lost."""
        stream = Datagrams(self.lab, self.lab.laptop, self.client.inner(), CORP[4], RATE)
        time.sleep(seconds)
        ends = stream.finish()
        lost = 0
        for end in ends:
            numbers = end["numbers"]
            assert len(numbers) == len(set(numbers)), "some came twice"
            lost += numbers[-1] + 1 - numbers[0] - len(numbers)
        return lost

    def send_super_packets(self):
        """Runs of datagrams that a program gives to its kernel as one, as QUIC does, both ways: how
        many of them arrive."""
        inner = self.client.inner()
        return [run_super_packets(self.lab.laptop, self.lab.corp, CORP[4]),
                run_super_packets(self.lab.corp, self.lab.laptop, inner)]

    def assert_alive(self):
        assert [end.processes() for end in self.ends] == self.pids
        assert_pings(self.lab.laptop, CORP[4], CORP[6])


def environment(words):
    return {"LD_PRELOAD": str(PRELOAD), "OLD_KERNEL": words} if words else None


def run_super_packets(sender, receiver, address, runs=20, segments=30, size=1100):
    with inside(receiver):
        end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with inside(sender):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with end, sock:
        end.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
        end.bind((address, SUPER_PORT))
        sock.connect((address, SUPER_PORT))
        sock.setsockopt(socket.SOL_UDP, UDP_SEGMENT, size)
        for run in range(runs):
            sock.send(b"".join(struct.pack("!I", run * segments + n).ljust(size, b"s")
                               for n in range(segments)))
            time.sleep(0.005)
        end.settimeout(0.5)
        came = []
        with contextlib.suppress(socket.timeout):
            while len(came) < runs * segments:
                came.append(struct.unpack("!I", end.recv(2048)[:4])[0])
    assert came == sorted(set(came)), "out of order, or twice"
    return runs * segments - len(came)


ALL = "tso uso gso gro multiqueue"
LOGGED = {"tso": "TUN TCP", "uso": "TUN UDP", "gso": "UDP GSO", "gro": "UDP GRO"}
# What a counter must not count where the kernel lacks it.
IDLE = {"gso": "udp_gso_tx", "gso-device": "udp_gso_tx", "gso-path": "udp_gso_tx", "gro": "udp_gro_rx"}

KERNELS = {
    "without-uso": ("uso", "uso"),
    "without-tso": ("tso uso", "tso uso"),
    "without-gso": ("gso", "gso"),
    "without-gro": ("gro", "gro"),
    "without-multiqueue": ("multiqueue", "multiqueue"),
    "with-one-queue": ("queues", "queues"),
    "without-gso-on-the-device": ("gso-device", "gso-device"),
    "without-gso-on-the-path": ("gso-path", "gso-path"),
    "without-all": (ALL, ALL),
    "gateway-without-all": (ALL, None),
    "client-without-all": (None, ALL),
}


def assert_logged(end, words):
    """What is missing, and nothing else, in one line."""
    wanted = {LOGGED[word] for word in words.split() if word in LOGGED}
    lines = [line for line in end.process.log().splitlines() if "lacks offloads" in line]
    assert len(lines) == bool(wanted), lines
    for name in LOGGED.values():
        assert any(name in line for line in lines) == (name in wanted), f"{name}: {lines}"


def assert_unused(end, words):
    counters = end.counters()
    for word in words.split():
        assert counters.get(IDLE.get(word), 0) == 0, f"{word}: {counters}"
    if "tso" in words:
        assert counters["tun_super_rx"] == counters["tun_super_tx"] == 0, counters


def assert_queues(gateway, words):
    """A gateway has as many workers as its device has queues, and says so where that is too few."""
    few = bool({"multiqueue", "queues"} & set(words.split()))
    said = "1 of 4 workers: this kernel gives the TUN device no more queues" in gateway.process.log()
    assert said == few
    assert gateway.status()["workers"] == (1 if few else WORKERS)


# A stream over TLS fills the channel's queue, any stream ours; it learns by the drops: they are no
# fault.
@pytest.mark.parametrize("name, transport", [
    *((name, "auto") for name in KERNELS),
    *((name, "tcp") for name in ("without-uso", "without-tso", "without-all"))])
def test_a_kernel(lab, corp, name, transport):
    kernels = KERNELS[name]
    pair = Pair(lab, corp, *kernels, transport, workers=WORKERS)
    web = Web(lab, 8)
    assert_both_ways(lab, lab.laptop, web)
    dropped = pair.dropped()
    assert set(dropped) <= {"congested", *(["queue-full"] if transport == "tcp" else [])}, dropped
    assert pair.send_datagrams() == 0
    assert pair.send_super_packets() == [0, 0]
    pair.assert_alive()
    assert pair.dropped() == dropped
    for end, words in zip(pair.ends, kernels):
        assert_logged(end, words or "")
        assert_unused(end, words or "")
    assert_queues(pair.gateway, kernels[0] or "")


# One call in so many is refused, or some in a row.

FULL = {
    "udp-send-enobufs": ("udp-send:ENOBUFS:20/1", "auto", None),
    "udp-send-eagain": ("udp-send:EAGAIN:20/1", "auto", None),
    "udp-send-enobufs-for-long": ("udp-send:ENOBUFS:200/20", "auto", "queue-full"),
    "udp-send-enomem": ("udp-send:ENOMEM:200/1", "auto", "queue-full"),
    "udp-receive-eagain": ("udp-receive:EAGAIN:3/2", "auto", None),
    "udp-receive-enobufs": ("udp-receive:ENOBUFS:3/2", "auto", None),
    "tun-read-eagain": ("tun-read:EAGAIN:3/2", "auto", None),
    "tun-read-enomem": ("tun-read:ENOMEM:3/2", "auto", None),
    "tun-write-eagain": ("tun-write:EAGAIN:200/1", "auto", "tun-full"),
    "tun-write-enobufs": ("tun-write:ENOBUFS:200/1", "auto", "tun-full"),
    "tun-write-enobufs-often": ("tun-write:ENOBUFS:7/1", "auto", "tun-full"),
    "tcp-send-eagain": ("tcp-send:EAGAIN:3/2", "tcp", None),
    "tcp-send-enobufs": ("tcp-send:ENOBUFS:20/1", "tcp", None),
    "tcp-receive-eagain": ("tcp-receive:EAGAIN:3/2", "tcp", None),
    "all-without-offloads": (ALL + " udp-send:ENOBUFS:20/1 udp-receive:EAGAIN:3/2"
                             " tun-read:EAGAIN:3/2 tun-write:ENOBUFS:500/1", "auto", "tun-full"),
}


@pytest.mark.parametrize("name", FULL)
def test_full_queues(lab, corp, name):
    """Streams arrive whole, and of single packets exactly those are lost that are counted."""
    words, transport, reason = FULL[name]
    pair = Pair(lab, corp, words, words, transport)
    web = Web(lab, 4)
    assert_both_ways(lab, lab.laptop, web)
    time.sleep(0.2)
    before = pair.dropped()
    lost = pair.send_datagrams() + sum(pair.send_super_packets())
    now = pair.dropped()
    counted = {word: count - before.get(word, 0) for word, count in now.items()
               if count != before.get(word, 0)}
    allowed = {reason} if reason else set()
    assert set(counted) == allowed, counted
    allowed |= {"congested", *(["queue-full"] if transport == "tcp" else [])}
    assert set(before) <= allowed, before
    # Probes of ours and what kernels tell each other may be among what was dropped.
    assert lost <= sum(counted.values()) <= lost + 60, f"{lost} lost, counted: {counted}"
    wait_until(lambda: pair.client.status()["state"] == "up", 5, "still up")
    assert [end.processes() for end in pair.ends] == pair.pids
