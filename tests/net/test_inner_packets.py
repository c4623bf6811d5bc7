"""Inner packets that no honest host sends: each is dropped at the end of the tunnel where it comes
in, whatever the access rules allow, is counted by its own word, and disturbs nobody.

    mad, small (raw peers) ---+
                              wan --- gw (tund) ------ corp
    laptop (tund, alice) -----+       |                |
                                      tund0            eth0    where nothing of it may be seen

    laptop (tund) --- wan --- gw (a raw gateway)
    |
    tund0                                                      nor here

A packet goes into the tunnel at the far end, in a CSTP frame and in a DTLS record; or into the TUN
device, as the kernel or a program with the right to could put it there.
"""

import contextlib
import queue
import socket
import struct
import time

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption, IPOption_LSRR, IPOption_SSRR
from scapy.layers.inet6 import (ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment,
                                IPv6ExtHdrHopByHop, IPv6ExtHdrRouting, Jumbo)
from scapy.packet import Raw

from beside import Beside, nothing_lost
from lab import CORP, GATEWAY_V4, Lab, wait_until
from peers import Tund, client_config, gateway_config, start_client
from pki import Corp
from rawgateway import INNER4, INNER6, RawGateway
from rawpeer import (DATA, DPD_REQUEST, DPD_RESPONSE, TIMEOUT, await_echoes, connected, echo_request,
                     inside)

IDENT = 0x7475  # of echo_request: what is good
CHANNELS = ("tls", "dtls")
ELSEWHERE = {4: "192.0.2.99", 6: "2001:db8:ffff::99"}
GATEWAY_INNER = {4: "10.99.0.1", 6: "fd99::1"}
PROTO = {4: 0x0800, 6: 0x86DD}
RATE = 200


# The packets.

class Ends:
    """From whom to whom a packet goes; ip() makes its IP header with scapy."""

    def __init__(self, source, destination):
        self.source, self.destination = source, destination
        self.family = 6 if ":" in source else 4

    def ip(self, **fields):
        header = IPv6 if self.family == 6 else IP
        return header(**{"src": self.source, "dst": self.destination, **fields})

    def length(self, change):
        """A UDP packet whose IP header says that it is so much longer."""
        packet = bytes(self.ip() / UDP() / Raw(bytes(20)))
        return bytes(self.ip(**{"plen": len(packet) - 40 + change} if self.family == 6
                             else {"len": len(packet) + change}) / UDP() / Raw(bytes(20)))

    def echo(self):
        return ICMPv6EchoRequest() if self.family == 6 else ICMP()

    def fragment(self, offset, more, protocol, data):
        """offset in bytes."""
        if self.family == 4:
            return self.ip(id=7, flags="MF" if more else 0, frag=offset // 8,
                           proto=protocol) / Raw(data)
        return (self.ip(nh=44) / IPv6ExtHdrFragment(nh=protocol, offset=offset // 8, m=int(more),
                                                    id=7) / Raw(data))

    def good(self, sequence):
        return echo_request(self.source, sequence, self.destination)


def to(v4=None, v6=None):
    """A row's makers for a destination."""
    return {family: lambda e, a=address: e.ip(dst=a) / UDP() / Raw(b"x")
            for family, address in ((4, v4), (6, v6)) if address}


def of(v4=None, v6=None):
    """And for a source."""
    return {family: lambda e, a=address: e.ip(src=a) / UDP() / Raw(b"x")
            for family, address in ((4, v4), (6, v6)) if address}


def both(make):
    return {4: make, 6: make}


def udp(**fields):
    return UDP(**fields) / Raw(bytes(8))


ROWS = {
    # name: (word, {family: maker})
    "one-byte": ("cut-short", both(lambda e: bytes(e.ip())[:1])),
    "cut-within-the-header": ("cut-short", both(
        lambda e: bytes(e.ip())[:19 if e.family == 4 else 39])),
    "another-version": ("not-ip", both(lambda e: e.ip(version=5) / udp())),
    "version-0": ("not-ip", both(lambda e: e.ip(version=0) / udp())),
    "longer-than-it-is": ("lying-length", both(lambda e: e.length(1))),
    "much-longer-than-it-is": ("lying-length", both(lambda e: e.length(60000))),
    "shorter-than-it-is": ("lying-length", both(lambda e: e.length(-1))),
    "length-0": ("lying-length", {4: lambda e: e.ip(len=0) / udp(),
                                  6: lambda e: e.ip(plen=0) / udp()}),
    "jumbogram": ("lying-length", {6: lambda e: e.ip(plen=0) / IPv6ExtHdrHopByHop(
        options=[Jumbo(jumboplen=70000)]) / udp()}),
    "header-length-4": ("malformed", {4: lambda e: e.ip(ihl=4) / udp()}),
    "header-past-the-end": ("malformed", {4: lambda e: e.ip(ihl=15) / udp()}),
    "option-without-length": ("malformed", {4: lambda e: e.ip(options=[
        IPOption(b"\x94\x00\x00\x00")]) / udp()}),
    "option-past-the-header": ("malformed", {4: lambda e: e.ip(options=[
        IPOption(b"\x94\x05\x00\x00")]) / udp()}),
    "extension-past-the-end": ("malformed", {
        6: lambda e: e.ip(nh=60) / Raw(b"\x11\x09" + bytes(6))}),
    "hop-by-hop-in-second-place": ("malformed", {
        6: lambda e: e.ip() / IPv6ExtHdrDestOpt() / IPv6ExtHdrHopByHop() / udp()}),
    "nine-extensions": ("malformed", {6: lambda e: e.ip(nh=60) / Raw(
        b"".join(bytes([60 if i < 8 else 17, 0, 1, 4, 0, 0, 0, 0]) for i in range(9)) +
        bytes(UDP(len=8)))}),
    "udp-cut": ("bad-transport", both(lambda e: e.ip(**proto(e, 17)) / Raw(bytes(7)))),
    "udp-longer-than-its-packet": ("bad-transport", both(lambda e: e.ip() / udp(len=17))),
    "udp-shorter-than-its-header": ("bad-transport", both(lambda e: e.ip() / udp(len=7))),
    "udp-of-length-0": ("bad-transport", both(lambda e: e.ip() / udp(len=0))),
    "tcp-cut": ("bad-transport", both(lambda e: e.ip(**proto(e, 6)) / Raw(bytes(TCP())[:19]))),
    "tcp-ports-alone": ("bad-transport", both(
        lambda e: e.ip(**proto(e, 6)) / Raw(bytes(TCP())[:4]))),
    "tcp-data-offset-4": ("bad-transport", both(lambda e: e.ip() / TCP(dataofs=4))),
    "tcp-data-offset-past-the-end": ("bad-transport", both(lambda e: e.ip() / TCP(dataofs=15))),
    "icmp-cut": ("bad-transport", both(lambda e: e.ip(**proto(e, 1 if e.family == 4 else 58)) /
                                       Raw(bytes(e.echo())[:7]))),
    "tiny-first-fragment": ("bad-fragment", both(
        lambda e: e.fragment(0, True, 6, bytes(TCP())[:8]))),
    "first-fragment-without-tcp-options": ("bad-fragment", both(
        lambda e: e.fragment(0, True, 6, bytes(TCP(dataofs=10)) + bytes(4)))),
    "first-fragment-whose-headers-go-on": ("bad-fragment", {
        6: lambda e: e.fragment(0, True, 60, b"\x06\x00\x01\x04\x00\x00\x00\x00")}),
    "fragment-over-the-tcp-flags": ("bad-fragment", both(
        lambda e: e.fragment(8, False, 6, bytes(12)))),
    "fragment-of-no-multiple-of-8": ("bad-fragment", both(
        lambda e: e.fragment(64, True, 17, bytes(12)))),
    "fragment-past-the-longest-packet": ("bad-fragment", both(
        lambda e: e.fragment(65528, False, 1 if e.family == 4 else 58, bytes(600)))),
    "empty-fragment": ("bad-fragment", both(lambda e: e.fragment(64, False, 17, b""))),
    "loose-source-route": ("source-routed", {4: lambda e: e.ip(options=[
        IPOption_LSRR(routers=["192.0.2.1", "192.0.2.2"])]) / udp()}),
    "strict-source-route": ("source-routed", {4: lambda e: e.ip(options=[
        IPOption_SSRR(routers=["192.0.2.1", "192.0.2.2"])]) / udp()}),
    "source-route-behind-another-option": ("source-routed", {4: lambda e: e.ip(options=[
        IPOption(b"\x94\x04\x00\x00"), IPOption_LSRR(routers=["192.0.2.1"])]) / udp()}),
    "routing-header-0": ("source-routed", {6: lambda e: e.ip() / IPv6ExtHdrRouting(
        type=0, segleft=1, addresses=[ELSEWHERE[6]]) / udp()}),
    "routing-header-0-used-up": ("source-routed", {6: lambda e: e.ip() / IPv6ExtHdrRouting(
        type=0, segleft=0, addresses=[ELSEWHERE[6]]) / udp()}),
    "routing-header-2": ("source-routed", {6: lambda e: e.ip() / IPv6ExtHdrRouting(
        type=2, segleft=1, addresses=[ELSEWHERE[6]]) / udp()}),
    "segment-routing": ("source-routed", {
        6: lambda e: e.ip() / IPv6ExtHdrDestOpt() / IPv6ExtHdrRouting(
            type=4, segleft=1, addresses=[ELSEWHERE[6]]) / udp()}),
    "to-a-group": ("multicast", to("239.1.2.3", "ff0e::1:3")),
    "to-a-group-of-the-link": ("multicast", to("224.0.0.251", "ff02::16")),
    "from-a-group": ("multicast", of("224.0.0.251", "ff02::16")),
    "to-all": ("broadcast", to("255.255.255.255")),
    "from-all": ("broadcast", of("255.255.255.255")),
    "to-loopback": ("loopback", to("127.0.0.1", "::1")),
    "to-the-other-end-of-loopback": ("loopback", to("127.255.255.254")),
    "from-loopback": ("loopback", of("127.0.0.1", "::1")),
    "to-a-link": ("link-local", to("169.254.1.2", "fe80::1")),
    "from-a-link": ("link-local", of("169.254.1.2", "fe80::1")),
    "to-nobody": ("unspecified", to("0.0.0.0", "::")),
    "from-nobody": ("unspecified", of("0.0.0.0", "::")),
    "to-this-network": ("martian", to("0.1.2.3")),
    "from-this-network": ("martian", of("0.1.2.3")),
    "to-the-reserved": ("martian", to("240.1.2.3")),
    "from-the-reserved": ("martian", of("250.1.2.3")),
    "to-a-mapped": ("martian", to(v6="::ffff:127.0.0.1")),
    "from-a-mapped": ("martian", of(v6="::ffff:10.50.0.10")),
    "to-a-compatible": ("martian", to(v6="::10.50.0.10")),
}

# What looks strange and may pass: a check that is too strict would stop it.
STRANGE = {
    "record-route": {4: lambda e: e.ip(options=[
        IPOption(b"\x07\x07\x04\x00\x00\x00\x00")]) / udp()},
    "router-alert": {4: lambda e: e.ip(options=[IPOption(b"\x94\x04\x00\x00")]) / udp()},
    "destination-options": {6: lambda e: e.ip() / IPv6ExtHdrDestOpt() / udp()},
    "hop-by-hop": {6: lambda e: e.ip() / IPv6ExtHdrHopByHop() / udp()},
    "segment-routing-used-up": {6: lambda e: e.ip() / IPv6ExtHdrRouting(
        type=4, segleft=0, addresses=[ELSEWHERE[6]]) / udp()},
    "atomic-fragment": {6: lambda e: e.fragment(0, False, 17, bytes(udp(len=16)))},
    "first-fragment": both(lambda e: e.fragment(0, True, 17, bytes(UDP(len=64)) + bytes(24))),
    "middle-fragment": both(lambda e: e.fragment(32, True, 17, bytes(16))),
    "last-fragment": both(lambda e: e.fragment(48, False, 17, bytes(5))),
    "udp-with-options-behind-it": both(lambda e: e.ip() / UDP(len=8) / Raw(bytes(4))),
    "tcp-with-options": both(lambda e: e.ip() / TCP(options=[("MSS", 1300)])),
    "another-protocol": both(lambda e: e.ip(**proto(e, 47)) / Raw(bytes(8))),
    "no-transport": {6: lambda e: e.ip(nh=59)},
}


def proto(ends, number):
    return {"nh" if ends.family == 6 else "proto": number}


def made(makers, family, ends):
    return bytes(makers[family](ends))


# Looking.

class Tap:
    """The packets of IP that come in at an interface, less what is good and what is of others."""

    def __init__(self, ns, interface, others=()):
        with inside(ns):
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
            self.sock.bind((interface, 3))
        self.sock.setblocking(False)
        self.others = [inet(address) for address in others]

    def read(self):
        packets = []
        with contextlib.suppress(BlockingIOError):
            while True:
                packet, (_, protocol, kind, *_) = self.sock.recvfrom(65536)
                if kind != socket.PACKET_OUTGOING and protocol in PROTO.values():
                    packets.append(packet)
        return [packet for packet in packets if not self.is_known(packet)]

    def is_known(self, packet):
        return is_echo(packet) or any(address in packet[8:40] for address in self.others)


class LinkTap(Tap):
    """On an Ethernet the neighbours talk of each other, too; on a TUN device nobody does."""

    def is_known(self, packet):
        about_neighbours = packet[0] >> 4 == 6 and packet[6] == 58 and 133 <= packet[40] <= 137
        return super().is_known(packet) or packet[8:10] == b"\xfe\x80" or about_neighbours


def inet(address):
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def is_echo(packet):
    """Whether it is a good one of ours, or the answer to it."""
    at = {4: (9, 1, 24), 6: (6, 58, 44)}.get(packet[0] >> 4 if packet else 0)
    return bool(at and len(packet) >= at[2] + 2 and packet[at[0]] == at[1] and
                struct.unpack("!H", packet[at[2]:at[2] + 2])[0] == IDENT)


class TunDevice:
    """Puts packets into a TUN device where the kernel does."""

    def __init__(self, ns):
        with inside(ns):
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)

    def send(self, packet, family):
        self.sock.sendto(packet, ("tund0", PROTO[family]))


def await_good(channels, seconds=TIMEOUT):
    """Reads until a good packet has come; what else came as data."""
    others = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for channel in channels:
            got = channel.next(0.02)
            if got and got[0] == DPD_REQUEST:
                channel.send(DPD_RESPONSE, got[1])
            elif got and got[0] == DATA and is_echo(got[1]):
                return others
            elif got and got[0] == DATA and got[1]:
                others.append(got[1])
    raise AssertionError("the good packet did not come")


def more(now, before):
    return {word: now[word] - before.get(word, 0) for word in now
            if now[word] != before.get(word, 0)}


class Counts:
    """What is counted between now and expect(), in the whole and of one session."""

    def __init__(self, tund, session=None):
        self.tund, self.session = tund, session
        self.before = self.read()

    def read(self):
        drops = [self.tund.status()["drops"]]
        if self.session:
            code, shown = self.tund.ctl("show", "session", str(self.session))
            assert code == 0, shown
            drops.append(shown["session"]["drops"])
        return drops

    def expect(self, word, count, of_session=True):
        """Exactly that. The kernel's own reports to groups come when they come, for no session."""
        total, *session = [more(now, then) for now, then in zip(self.read(), self.before)]
        noise = total.pop("multicast", 0)
        assert session in ([], [{word: count}] if of_session else [{}]), session
        if word == "multicast":
            assert noise >= count and total == {}, (noise, total)
        else:
            assert total == {word: count}, total


# A gateway of ours.

class Session:
    """A raw peer with both channels up."""

    def __init__(self, world, device):
        self.peer = connected(world.lab.rogue, device)
        self.path = self.peer.dtls()
        assert self.path.handshake()
        self.channels = {"tls": self.peer, "dtls": self.path}
        self.inner = {4: self.peer.inner4, 6: self.peer.inner6}

    def pass_echo(self, channel, ends, sequence):
        """A good packet by that channel is answered: what went before it has been judged."""
        self.channels[channel].send(DATA, ends.good(sequence))
        assert await_echoes(self.channels.values(), [sequence]), "no echo"


class GatewayWorld(Beside):
    def __init__(self):
        self.lab = Lab(laptops=("laptop", "rogue"))
        self.corp = Corp(self.lab.dir / "pki", "vpn.corp.example", GATEWAY_V4)
        config = gateway_config(self.corp, dpd="1h", keepalive="1h")
        everything = ["0.0.0.0/0 any", "::/0 any"]
        config.remove('access "everyone"')
        config.set('access "all"', match=["ou=All"], allow=everything, accept=everything)
        config.set('access "names"', match=["ou=Names"],
                   allow=[f"{CORP[4]} udp/53", f"{CORP[6]} udp/53", f"{CORP[4]} icmp",
                          f"{CORP[6]} icmp"])
        self.gateway = Tund(self.lab, self.lab.gw, config).start()
        self.client = start_client(self.lab, self.corp, self.corp.device("alice", unit="All"))
        self.client.wait_status(transport="dtls")
        alice = [self.client.inner(4), self.client.inner(6)]
        self.device = Tap(self.lab.gw, "tund0", alice)
        self.far = LinkTap(self.lab.corp, "eth0", alice)
        self.tun = TunDevice(self.lab.gw)
        self.mad = Session(self, self.corp.device("mad", unit="All"))
        self.friend = Session(self, self.corp.device("friend", unit="All"))
        self.small = Session(self, self.corp.device("small", unit="Names"))
        self.sequence = 0

    def ends(self, session, family, destination=None):
        return Ends(session.inner[family], destination or CORP[family])

    def id(self, name):
        return self.gateway.session(name)["id"]

    def next(self):
        self.sequence += 1
        return self.sequence & 0xFFFF

    def seen(self):
        return self.device.read() + self.far.read()

    def drops(self, session, name, packet, family, word):
        """Sent over both channels it is seen nowhere, is counted, and what follows it passes."""
        for channel in CHANNELS:
            counts = Counts(self.gateway, self.id(name))
            self.seen()
            session.channels[channel].send(DATA, packet)
            session.pass_echo(channel, self.ends(session, family), self.next())
            assert self.seen() == [], channel
            counts.expect(word, 1)


@pytest.fixture(scope="module")
def world():
    with GatewayWorld() as world:
        yield world


@pytest.mark.parametrize("name", ROWS)
def test_gateway_drops_from_a_device(world, name):
    word, makers = ROWS[name]
    for family in makers:
        packet = made(makers, family, world.ends(world.mad, family))
        world.drops(world.mad, "mad", packet, family, word)


@pytest.mark.parametrize("name", ROWS)
def test_gateway_drops_to_a_device(world, name):
    """What its own kernel hands to it: the same words, of no session."""
    word, makers = ROWS[name]
    for family in makers:
        ends = Ends(CORP[family], world.mad.inner[family])
        counts = Counts(world.gateway, world.id("mad"))
        world.tun.send(made(makers, family, ends), family)
        world.tun.send(ends.good(world.next()), family)
        assert await_good(world.mad.channels.values()) == []
        counts.expect(word, 1, of_session=False)


@pytest.mark.parametrize("name", STRANGE)
def test_gateway_passes_the_strange_but_honest(world, name):
    for family, make in STRANGE[name].items():
        for channel in CHANNELS:
            packet = bytes(make(world.ends(world.mad, family)))
            before = world.gateway.status()["drops"]
            world.seen()
            world.mad.channels[channel].send(DATA, packet)
            world.mad.pass_echo(channel, world.ends(world.mad, family), world.next())
            assert world.device.read() == [packet], channel
            assert set(more(world.gateway.status()["drops"], before)) <= {"multicast"}


# Whom a packet is from, and whom it is for: the rules' business.

@pytest.mark.parametrize("family", [4, 6], ids=["inner4", "inner6"])
def test_foreign_sources(world, family):
    """Another device's, nobody's, the gateway's, the corporation's, the whole world's."""
    for source in (world.small.inner[family], {4: "10.99.0.250", 6: "fd99::250"}[family],
                   GATEWAY_INNER[family], CORP[family], ELSEWHERE[family]):
        packet = bytes(Ends(source, CORP[family]).ip() / udp())
        world.drops(world.mad, "mad", packet, family, "foreign-source")


@pytest.mark.parametrize("family", [4, 6], ids=["inner4", "inner6"])
def test_what_no_rule_allows(world, family):
    """The gateway itself, inside and outside, other devices, other hosts, ports and protocols."""
    ends = world.ends(world.small, family)
    outer = {4: GATEWAY_V4[0], 6: "2001:db8:1::1"}[family]
    tcp_53 = bytes(ends.ip() / TCP(dport=53))
    packets = [bytes(ends.ip(dst=target) / udp(dport=53))
               for target in (GATEWAY_INNER[family], outer, world.mad.inner[family],
                              ELSEWHERE[family])]
    packets += [tcp_53, bytes(ends.ip() / udp(dport=54)),
                bytes(ends.ip(**proto(ends, 50)) / Raw(bytes(24)))]
    for packet in packets:
        world.drops(world.small, "small", packet, family, "no-access")


@pytest.mark.parametrize("family", [4, 6], ids=["inner4", "inner6"])
def test_what_rules_know_of_fragments(world, family):
    """Ports stand in the first alone; a later one passes where its protocol may."""
    ends = world.ends(world.small, family)

    def first(port):
        return bytes(ends.fragment(0, True, 17, bytes(UDP(dport=port, len=64)) + bytes(24)))

    for packet in (first(54), bytes(ends.fragment(32, False, 6, bytes(16))),
                   bytes(ends.fragment(32, False, 47, bytes(16)))):
        world.drops(world.small, "small", packet, family, "no-access")
    for packet in (first(53), bytes(ends.fragment(32, False, 17, bytes(32)))):
        world.seen()
        world.small.peer.send(DATA, packet)
        world.small.pass_echo("tls", ends, world.next())
        assert world.device.read() == [packet]


@pytest.mark.parametrize("family", [4, 6], ids=["inner4", "inner6"])
def test_another_device_only_if_both_blocks_allow(world, family):
    """mad may open anything, small's block lets nobody open anything: it is small's that counts."""
    ends = world.ends(world.mad, family, world.small.inner[family])
    counts = Counts(world.gateway, world.id("small"))
    world.mad.peer.send(DATA, bytes(ends.ip() / udp(dport=53)))
    world.mad.pass_echo("tls", world.ends(world.mad, family), world.next())
    wait_until(lambda: counts.read() != counts.before, 2, "a drop")
    counts.expect("no-access", 1)
    assert all(channel.next(0.05) is None for channel in world.small.channels.values())


@pytest.mark.parametrize("family", [4, 6], ids=["inner4", "inner6"])
def test_devices_that_both_allow_reach_the_gateway_and_each_other(world, family):
    """The control of the two above."""
    sequence = world.next()
    world.mad.peer.send(DATA, world.ends(world.mad, family, GATEWAY_INNER[family]).good(sequence))
    assert await_echoes(world.mad.channels.values(), [sequence])
    world.mad.peer.send(DATA, world.ends(world.mad, family, world.friend.inner[family]).good(1))
    assert await_good(world.friend.channels.values()) == []


def test_all_of_it_at_once_disturbs_nobody(world):
    """Thousands of them beside a session that carries 200 datagrams a second, both ways."""
    session = world.gateway.session("alice")
    drops = world.gateway.ctl("show", "session", str(session["id"]))[1]["session"]["drops"]
    packets = [made(makers, family, world.ends(world.mad, family))
               for _, makers in ROWS.values() for family in makers]
    with nothing_lost(world.lab, world.client.inner(), RATE):
        for _ in range(20):
            for packet in packets:
                for channel in world.mad.channels.values():
                    channel.send(DATA, packet)
            world.mad.pass_echo("tls", world.ends(world.mad, 4), world.next())
    now = world.gateway.session("alice")
    assert [now[k] for k in ("id", "transport", "connected_at")] == [
        session[k] for k in ("id", "transport", "connected_at")]
    assert world.gateway.ctl("show", "session", str(now["id"]))[1]["session"]["drops"] == drops


# A client of ours.

class ClientWorld(Beside):
    def __init__(self):
        self.lab = Lab()
        self.corp = Corp(self.lab.dir / "pki", "vpn.corp.example", GATEWAY_V4)
        connections = queue.Queue()

        def script(conn):
            conn.serve(dtls=True, dpd=0)
            connections.put(conn)
            while not self.gateway.closing:
                time.sleep(0.05)

        self.gateway = RawGateway(self.lab, self.corp, script)
        config = client_config(self.corp, self.corp.device("alice"))
        self.client = Tund(self.lab, self.lab.laptop, config).start()
        self.peer = connections.get(timeout=TIMEOUT)
        self.path = self.peer.association()
        assert self.path.handshake()
        self.client.wait_status(transport="dtls")
        self.channels = {"tls": self.peer, "dtls": self.path}
        self.inner = {4: INNER4, 6: INNER6}
        self.device = Tap(self.lab.laptop, "tund0")
        self.tun = TunDevice(self.lab.laptop)
        self.sequence = 0

    def next(self):
        self.sequence += 1
        return self.sequence & 0xFFFF

    def drops(self, packet, family, word):
        for channel in CHANNELS:
            counts = Counts(self.client)
            self.device.read()
            self.channels[channel].send(DATA, packet)
            self.channels[channel].send(DATA, self.good(family))
            assert await_good(self.channels.values()) == [], channel
            assert self.device.read() == [], channel
            counts.expect(word, 1)

    def good(self, family):
        return Ends(GATEWAY_INNER[family], self.inner[family]).good(self.next())

    def __exit__(self, *_):
        self.gateway.close()
        self.lab.close()


@pytest.fixture(scope="module")
def laptop():
    with ClientWorld() as world:
        yield world


@pytest.mark.parametrize("name", ROWS)
def test_client_drops_from_its_gateway(laptop, name):
    word, makers = ROWS[name]
    for family in makers:
        laptop.drops(made(makers, family, Ends(CORP[family], laptop.inner[family])), family, word)


@pytest.mark.parametrize("name", ROWS)
def test_client_drops_to_its_gateway(laptop, name):
    word, makers = ROWS[name]
    for family in makers:
        counts = Counts(laptop.client)
        ends = Ends(laptop.inner[family], CORP[family])
        laptop.tun.send(made(makers, family, ends), family)
        laptop.tun.send(ends.good(laptop.next()), family)
        assert await_good(laptop.channels.values()) == []
        counts.expect(word, 1)


@pytest.mark.parametrize("family", [4, 6], ids=["inner4", "inner6"])
def test_client_takes_only_what_is_for_it_and_not_from_it(laptop, family):
    own, nobody = laptop.inner[family], {4: "10.99.0.250", 6: "fd99::250"}[family]
    for source, destination in ((CORP[family], nobody), (CORP[family], ELSEWHERE[family]),
                                (CORP[family], CORP[family]), (own, own), (own, CORP[family])):
        laptop.drops(bytes(Ends(source, destination).ip() / udp()), family, "foreign-source")


@pytest.mark.parametrize("family", [4, 6], ids=["inner4", "inner6"])
def test_client_sends_only_what_is_from_it(laptop, family):
    for source in ({4: "10.77.1.2", 6: "fd77:1::2"}[family], ELSEWHERE[family]):
        counts = Counts(laptop.client)
        laptop.tun.send(bytes(Ends(source, CORP[family]).ip() / udp()), family)
        laptop.tun.send(Ends(laptop.inner[family], CORP[family]).good(laptop.next()), family)
        assert await_good(laptop.channels.values()) == []
        counts.expect("foreign-source", 1)
