"""Many devices in this process, each with a session over DTLS and a stream of numbered datagrams that
the corporate host sends back.

    crowd = Crowd(lab, [(device, ports), ...])
    crowd.start(); ...; crowd.stop()
    crowd.members[0].sent       [(port, number, CLOCK_MONOTONIC), ...] in the order they were sent
    crowd.members[0].back       {(port, number), ...}
    crowd.members[0].arrived    the same of what the corporate host got, once it has stopped
"""

import json
import select
import struct
import threading
import time

from lab import CORP
from rawpeer import DATA, Peer, read_udp, udp_packet
from traffic import start_endpoint


class Member:
    """One device. Each turn sends one datagram to each of its ports."""

    def __init__(self, ns, device, ports):
        self.peer = Peer(ns, device)
        self.peer.connect()
        self.path = self.peer.dtls()
        assert self.path.handshake(), "no DTLS"
        self.inner = self.peer.inner4
        self.ports = ports
        self.sent = []
        self.back = set()
        self.arrived = set()
        self.number = 0

    def send(self):
        for port in self.ports:
            packet = udp_packet(self.inner, CORP[4], port, struct.pack("!Q", self.number))
            self.sent.append((port, self.number, time.monotonic()))
            self.path.send(DATA, packet)
        self.number += 1

    def receive(self):
        """All that is there."""
        while got := self.path.next(0):
            datagram = read_udp(got[1]) if got[0] == DATA else None
            if datagram:
                port, payload = datagram
                self.back.add((port, struct.unpack("!Q", payload)[0]))

    def lost(self):
        return [(port, number) for port, number, _ in self.sent if (port, number) not in self.back]


class Crowd:
    def __init__(self, lab, devices, rate=20):
        ports = sorted({port for _, wanted in devices for port in wanted})
        self.output = lab.dir / "udp-echo.json"
        self.echo = start_endpoint(lab.corp, "udp-echo", ports=",".join(map(str, ports)),
                                   output=self.output)
        self.echo.wait_for("^ready")
        self.members = [Member(lab.laptop, device, wanted) for device, wanted in devices]
        self.period = 1 / rate
        self.sending = self.receiving = True
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.error = None

    def start(self):
        self.thread.start()
        return self

    def _run(self):
        try:
            self._loop()
        except Exception as error:  # pylint: disable=broad-except
            self.error = error

    def _loop(self):
        ready = select.poll()
        by_fd = {member.path.sock.fileno(): member for member in self.members}
        for fd in by_fd:
            ready.register(fd, select.POLLIN)
        # Spread over the period, so that the rate is steady.
        step = self.period / len(self.members)
        start = time.monotonic()
        turn = 0
        while self.receiving:
            due = start + turn * step
            if self.sending and time.monotonic() >= due:
                self.members[turn % len(self.members)].send()
                turn += 1
                continue
            wait = max(0, due - time.monotonic()) if self.sending else 0.02
            for fd, _ in ready.poll(wait * 1000):
                by_fd[fd].receive()

    def stop(self, settle=1):
        """Sends nothing more; what is under way arrives."""
        self.sending = False
        time.sleep(settle)
        self.receiving = False
        self.thread.join(10)
        assert self.error is None, f"the crowd's thread: {self.error!r}"
        self.echo.stop()
        by_inner = {member.inner: member for member in self.members}
        for inner, port, number in json.loads(self.output.read_text()):
            by_inner[inner].arrived.add((port, number))
