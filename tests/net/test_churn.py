"""Devices come, renew, go, die, are cut, revoked and taken back in a random order, while packets
run: the gateway keeps nothing of any of it.

    laptop1 .. laptop5 (tund), laptop6 .. laptop8 (openconnect) --- wan --- gw --- corp
"""

import contextlib
import itertools
import json
import os
import random
import re
import socket
import threading
import time
from pathlib import Path

import traffic
from lab import CORP, wait_until
from peers import Openconnect, Tund, client_config, gateway_config

SEED = 2024
STEPS = 120
LAPTOPS = [f"laptop{i}" for i in range(1, 9)]
STEADY = "laptop5"  # connects once and carries a stream: others' comings are not its business
STRANGERS = LAPTOPS[5:]
RSS_GROWTH_KIB = 20 * 1024


class Peer:
    """What both kinds of a device can do; a name is at once the laptop's and the certificate's."""

    def __init__(self, lab, corp, name):
        self.lab, self.corp, self.name = lab, corp, name
        self.ns = lab.ns[name]
        self.device = corp.device(name)
        self.process = None

    def running(self):
        return self.process is not None and self.process.running()

    def die(self):
        self.process.popen.kill()
        self.process.wait()

    def again(self):
        if self.running():
            self.leave()
        self.connect()


class Ours(Peer):
    def __init__(self, lab, corp, name):
        super().__init__(lab, corp, name)
        self.tund = Tund(lab, self.ns, client_config(corp, self.device))

    def connect(self):
        self.process = self.tund.start(wait=False).process

    def leave(self):
        return self.process.stop()

    def renew(self):
        self.tund.ctl("disconnect")

    def wait_up(self):
        self.tund.wait_status(timeout=30, state="up")


class Stranger(Peer):
    def connect(self):
        self.client = Openconnect(self.lab, self.ns, self.corp, self.device)
        self.process = self.client.process

    def leave(self):
        return self.client.stop()

    def renew(self):
        self.client.reconnect()

    def wait_up(self):
        self.client.wait_up(30)


class Office:
    """The gateway, and what an operator does there."""

    def __init__(self, lab, corp):
        config = gateway_config(corp, rekey="2s", dpd="2s", cookie_lifetime="3s")
        self.tund = Tund(lab, lab.gw, config).start()
        self.engine = self.tund.processes()["engine"]
        self.denied = set()

    def ask(self, *command):
        """Somebody who has never been here, or is not any more, is answered with 4."""
        code, answer = self.tund.ctl(*command)
        assert code in (0, 4), f"{command}: exit {code}: {answer}"
        return code == 0

    def disconnect(self, name):
        self.ask("disconnect", name)

    def deny(self, name):
        if self.ask("revoke", name):
            self.denied.add(name)

    def forgive(self, name):
        if name in self.denied:
            assert self.ask("unrevoke", name)
            self.denied.remove(name)

    def connected(self):
        """Names of the sessions that stand, as often as they stand; "" for one that does not."""
        return sorted(session["identity"] if session["state"] == "open" else ""
                      for session in self.tund.sessions())

    def pool_use(self):
        return [pool["used"] for pool in self.tund.status()["pools"]]

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.engine}/fd"))

    def rss_kib(self):
        status = Path(f"/proc/{self.engine}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1))

    def is_sanitized(self):
        """A sanitizer keeps what was freed, to find who uses it later."""
        return re.search(r"lib[at]san", Path(f"/proc/{self.engine}/maps").read_text())


def churn(office, peers, rng):
    for _ in range(STEPS):
        peer = rng.choice(peers)
        if peer.name in office.denied:
            office.forgive(peer.name)
        elif not peer.running():
            peer.connect()
        else:
            rng.choice([peer.leave, peer.die, peer.renew, peer.renew,
                        lambda: office.disconnect(peer.name),
                        lambda: office.deny(peer.name), office.connected])()
        time.sleep(rng.uniform(0, 0.2))


def everybody_in(office, peers):
    """Sessions are those that are connected, once each."""
    for peer in peers:
        office.forgive(peer.name)
    for peer in peers:
        peer.again()
    for peer in peers:
        peer.wait_up()
    wait_until(lambda: office.connected() == LAPTOPS, 20, "a session each, and no other", 0.2)


def test_nothing_is_left_of_devices_that_come_and_go(make_lab, make_corp):
    lab = make_lab(laptops=LAPTOPS)
    corp = make_corp(lab)
    office = Office(lab, corp)
    streams = traffic.Streams(lab)
    peers = {name: (Stranger if name in STRANGERS else Ours)(lab, corp, name) for name in LAPTOPS}
    pool_use, descriptors = office.pool_use(), office.descriptors()
    rss_kib = office.rss_kib()

    for name, peer in peers.items():
        peer.ns.spawn(f"ping-{name}", ["ping", "-n", "-q", "-i", "0.02", CORP[4]])
    steady = peers[STEADY]
    steady.connect()
    steady.wait_up()
    stream = streams.start(steady.ns, "down", seconds=12)
    others = [peer for peer in peers.values() if peer is not steady]
    churn(office, others, random.Random(SEED))
    traffic.assert_intact(streams.report(stream, 60), stall_s=2, at_least=9_000_000)

    everybody_in(office, others)
    for peer in peers.values():
        traffic.assert_pings(peer.ns, CORP[4])
        assert peer.leave() == 0, peer.process.tail()
    wait_until(lambda: office.tund.sessions() == [], 10, "no session", 0.2)
    assert office.pool_use() == pool_use
    wait_until(lambda: office.descriptors() <= descriptors, 10,
               f"{descriptors} descriptors of the engine", 0.2)
    if not office.is_sanitized():
        assert office.rss_kib() - rss_kib < RSS_GROWTH_KIB
    assert office.tund.processes()["engine"] == office.engine
    assert office.tund.stop() == 0


def keep_asking(path, name):
    """Commands of all kinds, one after another, as fast as they are answered: until the gateway
    ends the connection."""
    commands = [{"command": "sessions"}, {"command": "disconnect", "target": name},
                {"command": "status"}, {"command": "revoke", "name": name},
                {"command": "status"}, {"command": "unrevoke", "name": name}]
    with socket.socket(socket.AF_UNIX) as peer, contextlib.suppress(OSError):
        peer.connect(str(path))
        for command in itertools.cycle(commands):
            peer.sendall(json.dumps(command).encode() + b"\n")
            answer = b""
            while not answer.endswith(b"\n"):
                piece = peer.recv(65536)
                if not piece:
                    return
                answer += piece


def test_a_stop_amid_connections_and_commands_is_orderly(make_lab, make_corp):
    lab = make_lab(laptops=LAPTOPS[:3])
    corp = make_corp(lab)
    peers = [Ours(lab, corp, name) for name in LAPTOPS[:3]]
    office = Office(lab, corp)
    for peer in peers:
        peer.connect()
    for i in range(8):
        askers = [threading.Thread(target=keep_asking, args=(office.tund.socket, peer.name))
                  for peer in 2 * peers]
        for asker in askers:
            asker.start()
        time.sleep(0.3 + i / 10)
        status = office.tund.stop()
        for asker in askers:
            asker.join(10)
            assert not asker.is_alive(), "a command was neither answered nor ended"
        assert status == 0, office.tund.process.tail()
        office.tund.start()
