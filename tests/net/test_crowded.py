"""Many want in at once, and those who are in, or come with one connection, do not suffer for it.

    laptop (a device with a session; one that connects) ---+
                                                           wan --- gw --- corp
    rogue (a crowd behind a few addresses) ----------------+
"""

import contextlib
import socket
import threading
import time

import pytest

from lab import GATEWAY_NAME, GATEWAY_V4, Lab, wait_until
from peers import Tund, gateway_config
from pki import Corp
from rawpeer import connected, inside

pytestmark = pytest.mark.serial

RATE = 40
LIMITS = {"handshakes": RATE, "handshakes_per_source": 1000, "pending": 400,
          "pending_per_source": 300, "handshake_timeout": "15s"}


class World:
    def __init__(self):
        self.lab = Lab(laptops=("laptop", "rogue"))
        self.corp = Corp(self.lab.dir / "pki", GATEWAY_NAME, GATEWAY_V4)
        config = gateway_config(self.corp).set("limits", **LIMITS)
        self.gateway = Tund(self.lab, self.lab.gw, config).start()
        self.devices = [self.corp.device(f"honest{n}") for n in range(4)]

    def refused(self, word):
        return self.gateway.status()["handshakes"]["refused"].get(word, 0)

    def pending(self):
        found = self.gateway.ctl("metrics")[1]["metrics"]
        return next(metric["samples"][0]["value"] for metric in found
                    if metric["name"] == "tund_handshakes_pending")


@pytest.fixture(scope="module")
def world():
    made = World()
    yield made
    made.lab.close()


class Crowd:
    """Connections of one address without end, each of which waits for an answer."""

    def __init__(self, world):
        self.sockets = []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run, args=(world,))

    def _run(self, world):
        while not self.stop.is_set():
            with inside(world.lab.rogue):
                sock = socket.socket()
                sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                sock.connect((GATEWAY_V4[0], 443))
            self.sockets.append(sock)
            if len(self.sockets) > 600:
                self.sockets.pop(0).close()
            time.sleep(0.002)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()
        for sock in self.sockets:
            sock.close()


def test_a_burst_beyond_the_rate_waits_and_nobody_is_turned_away(world):
    """As many as three seconds' worth come at once from one address; another's waits for one turn."""
    before = world.refused("rate-limited")
    device, start = world.corp.device("burst"), time.monotonic()
    with inside(world.lab.rogue):
        sockets = [socket.create_connection((GATEWAY_V4[0], 443)) for _ in range(3 * RATE)]
    peer = connected(world.lab.laptop, device, dtls=None)
    assert peer.probe()
    peer.send(5, b"\xb0")
    peer.close()
    for sock in sockets:
        sock.close()
    assert time.monotonic() - start < 5
    assert world.refused("rate-limited") == before


def test_one_connection_goes_before_a_crowd_of_another_source(world):
    """Far more than the rate of all come from one address: another's waits for one turn, not for
    theirs, although they were first."""
    with Crowd(world) as crowd:
        wait_until(lambda: len(crowd.sockets) > 300 and world.refused("rate-limited") > 0, 20,
                   "more than there is room for")
        for device in world.devices:
            start = time.monotonic()
            peer = connected(world.lab.laptop, device, dtls=None)
            took = time.monotonic() - start
            assert peer.probe()
            peer.send(5, b"\xb0")
            peer.close()
            assert took < 4, f"{took:.1f} s behind {LIMITS['pending_per_source']} at {RATE} a second"
    wait_until(lambda: not world.gateway.sessions(), 10, "their ends")


def test_those_that_stall_lose_their_places_when_others_wait(world):
    """All places are taken by connections that say nothing, and time out in 15 s. Nobody waits for
    that long: who has no place after a third of it is turned away."""
    # What is left of a crowd of this source would be in the way of those that stall.
    wait_until(lambda: world.pending() == 0, 20, "the end of those before")
    before = world.refused("handshake-timeout")
    world.gateway.config.set("limits", handshakes=1000, pending=40, pending_per_source=40)
    world.gateway.write_config()
    assert world.gateway.ctl("reload")[0] == 0
    device = world.corp.device("patient")
    with inside(world.lab.rogue):
        stalled = [socket.create_connection((GATEWAY_V4[0], 443)) for _ in range(30)]
    wait_until(lambda: world.pending() == 30, 1.5, "all places taken")
    peer = connected(world.lab.laptop, device, dtls=None)
    assert peer.probe()
    peer.close()
    assert world.refused("handshake-timeout") - before >= 10
    for sock in stalled:
        sock.close()
