"""A peer of the gateway that does what a test says, not what the protocol says: TLS, HTTP, CSTP
frames and DTLS records one at a time, from sockets in a laptop's namespace.

    peer = Peer(lab.laptop, device)           one TLS connection
    peer.login(); peer.connect()              HTTP; peer.answer is what CONNECT got
    peer.send(DPD_REQUEST, b"x"); peer.next() CSTP
    path = peer.dtls(); path.handshake()      DTLS, from any namespace or socket
"""

import contextlib
import ctypes
import re
import select
import socket
import struct
import time

from lab import CORP, GATEWAY_NAME, GATEWAY_V4, LabError
from openssl import HANDSHAKE, Dtls, OpensslError, Tls

(DATA, DPD_REQUEST, DPD_RESPONSE, DISCONNECT, KEEPALIVE, COMPRESSED,
 TERMINATE) = 0, 3, 4, 5, 7, 8, 9
MAY_BE_SENT = {DATA, DPD_REQUEST, DPD_RESPONSE, DISCONNECT, KEEPALIVE, TERMINATE}
BYE_USER, BYE_RECONNECTING = b"\xb0", b"\x91"
TUNNEL = "/CSCOSSLC/tunnel"
TIMEOUT = 5

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def inside(ns):
    """This thread is in the namespace meanwhile; a socket stays in that where it was made."""
    with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{ns.name}") as away:
        if _libc.setns(away.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns {ns.name}")
        try:
            yield
        finally:
            _libc.setns(home.fileno(), CLONE_NEWNET)


def open_socket(ns, kind, address, port=443):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with inside(ns):
        sock = socket.socket(family, kind)
        sock.settimeout(TIMEOUT)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect((address, port))
    return sock


def is_readable(sock, seconds):
    return bool(select.select([sock], [], [], max(0, seconds))[0])


class Closed(Exception):
    """The other end has gone: an orderly end (None), or how."""


# HTTP.

INIT = (b'<?xml version="1.0" encoding="UTF-8"?>\n<config-auth client="vpn" type="init" '
        b'aggregate-auth-version="2"><version who="vpn">v9.01-3</version><device-id>linux-64'
        b'</device-id><group-access>https://vpn.corp.example/</group-access></config-auth>\n')


def request(method, path, fields=(), body=None):
    """The bytes; a length is added where there is a body."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {GATEWAY_NAME}",
             *(f"{name}: {value}" for name, value in fields)]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b"")


class Answer:
    def __init__(self, text):
        head, self.body = text.split(b"\r\n\r\n", 1)
        self.first, *lines = head.decode().split("\r\n")
        self.fields = [tuple(line.split(": ", 1)) for line in lines]
        self.status = int(self.first.split()[1])

    def all(self, name):
        """The values of every field of exactly that name."""
        return [value for key, value in self.fields if key == name]

    def get(self, name):
        values = self.all(name)
        assert len(values) <= 1, f"{name} twice: {values}"
        return values[0] if values else None

    def names(self, prefix):
        return [name for name, _ in self.fields if name.startswith(prefix)]

    @property
    def length(self):
        return int(self.get("Content-Length") or 0)

    @property
    def cookie(self):
        found = [re.match(r"webvpn=([^;]*)", value) for value in self.all("Set-Cookie")]
        return next((match.group(1) for match in found if match), None)

    @property
    def app_id(self):
        return bytes.fromhex(self.get("X-DTLS-App-ID"))

    @property
    def addresses(self):
        """All that tells addresses, as text."""
        return [field for field in self.fields if field[0] in (
            "X-CSTP-Address", "X-CSTP-Netmask", "X-CSTP-Address-IP6")]


# One TLS connection.

class Channel:
    """Records and CSTP frames over a socket, sock, by what tls says: either end's."""

    def _flush(self):
        if data := self.tls.drain():
            self.sock.sendall(data)

    def _until(self, step, seconds=TIMEOUT):
        """The step's first result; None when there is none in time."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                result = step()
                self._flush()
            except (OSError, OpensslError) as error:
                raise Closed(self._why(error)) from None
            if result == b"":
                raise Closed("close_notify")
            if result is not None:
                return result
            if not is_readable(self.sock, deadline - time.monotonic()):
                return None
            self._receive()

    def _why(self, error):
        return str(error)

    def _receive(self):
        try:
            data = self.sock.recv(65536)
        except OSError as error:
            raise Closed(str(error)) from None
        if not data:
            raise Closed(None)
        self.tls.feed(data)

    def read(self, seconds=TIMEOUT):
        """One record, or None."""
        return self._until(self.tls.read, seconds)

    def read_end(self, seconds=TIMEOUT):
        """Waits for the other end to close and returns how (None: without close_notify); records
        that come before are kept."""
        self.left = []
        deadline = time.monotonic() + seconds
        while True:
            try:
                record = self.read(deadline - time.monotonic())
            except Closed as closed:
                return closed.args[0]
            if record is None:
                raise LabError(f"not closed within {seconds} s")
            self.left.append(record)

    def read_http(self, kind):
        """A whole Answer or Request."""
        text = b""
        while True:
            record = self.read()
            if record is None:
                raise LabError(f"no {kind.__name__} within {TIMEOUT} s, only {text!r}")
            text += record
            if b"\r\n\r\n" not in text:
                continue
            message = kind(text)
            if len(message.body) >= message.length:
                return message

    # CSTP.

    def send(self, kind, payload=b""):
        self.write(frame(kind, payload))

    def next(self, seconds=TIMEOUT):
        """(type, payload) of the next frame, or None; each record must be one frame."""
        record = self.read(seconds)
        if record is None:
            return None
        assert record[:4] == b"STF\x01" and record[7] == 0, f"no frame: {record[:16].hex()}"
        length, kind = struct.unpack("!HB", record[4:7])
        assert len(record) == 8 + length, f"a record of {len(record)} for a frame of {length}"
        return kind, record[8:]

    def expect(self, kind, seconds=TIMEOUT):
        """The payload of the next frame of that type."""
        return wait_for(lambda left: self.next(left), kind, seconds)

    def probe(self, payload=b"alive?", seconds=TIMEOUT):
        """Whether it lives: a DPD request, and its echo."""
        self.send(DPD_REQUEST, payload)
        return self.expect(DPD_RESPONSE, seconds) == payload


class Peer(Channel):
    def __init__(self, ns, device, address=GATEWAY_V4[0], **tls):
        self.ns, self.device, self.address = ns, device, address
        self.sock = open_socket(ns, socket.SOCK_STREAM, address)
        self.tls = Tls(device, **{"server_name": GATEWAY_NAME, **tls})
        self.types = set()  # of the frames that came
        self.cookie = self.answer = None
        try:
            self._until(self.tls.handshake)
        except Closed:
            pass  # with TLS 1.3 a refusal comes later; what it was stands in tls.alert

    def _why(self, error):
        alert = self.tls.alert
        return f"alert {alert}" if alert is not None else str(error)

    def write(self, data):
        """One record."""
        self.tls.write(data)
        self._flush()

    def close(self):
        """As openconnect does: without close_notify."""
        self.sock.close()

    # HTTP.

    def ask(self, text):
        """Sends bytes, one record, and reads one answer."""
        self.write(text)
        return self.read_answer()

    def read_answer(self):
        return self.read_http(Answer)

    def login(self, fields=(), body=INIT):
        """The cookie."""
        answer = self.ask(request("POST", "/", fields, body))
        assert answer.status == 200, answer.first
        self.cookie = answer.cookie
        return self.cookie

    def connect(self, cookie=None, dtls="PSK-NEGOTIATE", families="IPv6,IPv4", fields=(),
                expect=200):
        """CONNECT; cookie is ours unless one is given, "" for none. None leaves a field out."""
        cookie = self.cookie if cookie is None else cookie
        usual = [("User-Agent", "Open AnyConnect VPN Agent v9.01-3"),
                 ("Cookie", f"webvpn={cookie}" if cookie else None),
                 ("X-CSTP-Version", "1"), ("X-CSTP-Address-Type", families),
                 ("X-CSTP-Full-IPv6-Capability", "true"), ("X-DTLS-CipherSuite", dtls)]
        self.answer = self.ask(request("CONNECT", TUNNEL,
                                       [(name, value) for name, value in usual
                                        if value is not None] + list(fields)))
        assert self.answer.status == expect, self.answer.first
        return self.answer

    def next(self, seconds=TIMEOUT):
        got = super().next(seconds)
        if got:
            self.types.add(got[0])
        return got

    # What CONNECT gave.

    @property
    def inner4(self):
        return self.answer.get("X-CSTP-Address")

    @property
    def inner6(self):
        return self.answer.get("X-CSTP-Address-IP6").split("/")[0]

    def dtls(self, ns=None, sock=None, **options):
        """A path for one DTLS association of this session."""
        options = {"psk": self.tls.psk(), "app_id": self.answer.app_id, **options}
        return Path(ns or self.ns, self.address, int(self.answer.get("X-DTLS-Port")), sock,
                    **options)


def connected(ns, device, address=GATEWAY_V4[0], **connect):
    """Logged in and connected, as openconnect does it: on two TLS connections."""
    first = Peer(ns, device, address)
    cookie = first.login()
    first.close()
    peer = Peer(ns, device, address)
    peer.cookie = cookie
    peer.connect(**connect)
    return peer


def frame(kind, payload=b""):
    return b"STF\x01" + struct.pack("!HBB", len(payload), kind, 0) + payload


def wait_for(take, kind, seconds):
    deadline = time.monotonic() + seconds
    seen = []
    while (left := deadline - time.monotonic()) > 0:
        got = take(left)
        if got and got[0] == kind:
            return got[1]
        if got:
            seen.append(got[0])
    raise LabError(f"no frame of type {kind} within {seconds} s, but {seen}")


# One DTLS association.

class Path:
    def __init__(self, ns, address, port, sock=None, **options):
        self.sock = sock or open_socket(ns, socket.SOCK_DGRAM, address, port)
        self.engine = Dtls(**options)
        self.datagrams = []  # that came
        self.types = set()

    def transmit(self, datagram):
        try:
            self.sock.send(datagram)
        except ConnectionRefusedError:
            pass

    def flush(self):
        if data := self.engine.drain():
            self.transmit(data)

    def hello(self):
        """The first datagram, not sent."""
        self.engine.handshake()
        return self.engine.drain()

    def receive(self, seconds=TIMEOUT):
        """One datagram as it is, or None."""
        if not is_readable(self.sock, seconds):
            return None
        try:
            datagram = self.sock.recv(65536)
        except ConnectionRefusedError:
            return None
        self.datagrams.append(datagram)
        return datagram

    def start(self):
        """Sends a hello and takes the answer in: the last flight is then in our hands, unsent."""
        self.transmit(self.hello())
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            datagram = self.receive(deadline - time.monotonic())
            if datagram and datagram[0] == HANDSHAKE:
                self.engine.feed(datagram)
                self.engine.handshake()
                if flight := self.engine.drain():
                    return flight
        raise LabError("no answer to a hello")

    def finish(self, seconds=TIMEOUT):
        """True once both have Finished; False when that does not come."""
        deadline = time.monotonic() + seconds
        while not self.engine.established:
            datagram = self.receive(min(1, deadline - time.monotonic()))
            if datagram:
                self.engine.feed(datagram)
            else:
                self.engine.handle_timeout()
            try:
                self.engine.handshake()
            except OpensslError:
                return False
            self.flush()
            if time.monotonic() > deadline:
                return self.engine.established
        return True

    def handshake(self, seconds=TIMEOUT):
        self.transmit(self.hello())
        done = self.finish(seconds)
        # While a flow moves to the worker that its datagrams arrive at, answers may go over TLS.
        time.sleep(0.02)
        return done

    def send(self, kind, payload=b""):
        self.engine.write(bytes([kind]) + payload)
        self.flush()

    def next(self, seconds=TIMEOUT):
        """(type, payload) of the next record, or None."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                record = self.engine.read()
            except OpensslError as error:
                raise Closed(str(error)) from None
            if record:
                self.types.add(record[0])
                return record[0], record[1:]
            datagram = self.receive(deadline - time.monotonic())
            if datagram is None:
                return None
            self.engine.feed(datagram)

    def expect(self, kind, seconds=TIMEOUT):
        return wait_for(self.next, kind, seconds)

    def probe(self, payload=b"alive?", seconds=TIMEOUT):
        self.send(DPD_REQUEST, payload)
        return self.expect(DPD_RESPONSE, seconds) == payload


# Inner packets.

def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data[:len(data) & ~1]))
    total += data[-1] << 8 if len(data) % 2 else 0
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def echo_request(source, sequence, destination=None, size=56, ident=0x7475):
    """An ICMP echo request of the corporate host, IPv4 or IPv6 as the source is."""
    family = 6 if ":" in source else 4
    destination = destination or CORP[family]
    at = socket.AF_INET6 if family == 6 else socket.AF_INET
    ends = socket.inet_pton(at, source) + socket.inet_pton(at, destination)
    kind = 128 if family == 6 else 8
    body = struct.pack("!HH", ident, sequence) + bytes(size)
    pseudo = ends + struct.pack("!II", 4 + len(body), 58) if family == 6 else b""
    total = checksum(pseudo + struct.pack("!BBH", kind, 0, 0) + body)
    icmp = struct.pack("!BBH", kind, 0, total) + body
    if family == 6:
        return struct.pack("!IHBB", 6 << 28, len(icmp), 58, 64) + ends + icmp
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(icmp), 1, 0, 64, 1, 0) + ends
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + icmp


def echo_reply(packet):
    """The sequence number of an echo reply, else None."""
    if packet[:1] and packet[0] >> 4 == 4 and packet[9] == 1 and packet[20] == 0:
        return struct.unpack("!H", packet[26:28])[0]
    if packet[:1] and packet[0] >> 4 == 6 and packet[6] == 58 and packet[40] == 129:
        return struct.unpack("!H", packet[46:48])[0]
    return None


def await_echoes(channels, wanted, seconds=TIMEOUT):
    """{sequence: the channel it came by}, once all wanted have come or time is up."""
    came = {}
    deadline = time.monotonic() + seconds
    while set(wanted) - set(came) and time.monotonic() < deadline:
        for channel in channels:
            got = channel.next(0.02)
            if got and got[0] == DATA and (sequence := echo_reply(got[1])) is not None:
                came[sequence] = channel
    return came


def assert_echo(out, back, source, sequence=1):
    """A ping over one channel is answered over the other."""
    out.send(DATA, echo_request(source, sequence))
    assert await_echoes([back], [sequence]) == {sequence: back}, "no echo"


def udp_packet(source, destination, port, payload, source_port=7000):
    """An IPv4 datagram, without the checksum that UDP may leave out there."""
    datagram = struct.pack("!HHHH", source_port, port, 8 + len(payload), 0) + payload
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(datagram), 1, 0, 64, 17, 0)
    head += socket.inet_aton(source) + socket.inet_aton(destination)
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + datagram


def read_udp(packet):
    """(source port, payload) of an IPv4 datagram; None for another packet."""
    if len(packet) < 28 or packet[0] >> 4 != 4 or packet[9] != 17:
        return None
    at = (packet[0] & 15) * 4
    return struct.unpack("!H", packet[at:at + 2])[0], packet[at + 8:]
