"""A gateway that does what a test says, not what the protocol says: TLS, HTTP, CSTP frames and DTLS
records one at a time, on the gateway's address in its namespace.

    def script(conn):                       one call a connection, in a thread of its own
        conn.login()                        reads POST, answers the success document
        conn.connect(dtls=False)            reads CONNECT, answers 200
        conn.send(DPD_REQUEST, b"x"); conn.expect(DPD_RESPONSE)

    with RawGateway(lab, corp, script) as gateway: ...

What a script asserts fails the test when the gateway is closed.
"""

import contextlib
import secrets
import socket
import struct
import threading
import time

from lab import GATEWAY_V4, LabError, wait_until
from openssl import DtlsServer, OpensslError, TlsServer
from rawpeer import (DPD_REQUEST, DPD_RESPONSE, TIMEOUT, Channel, Closed, inside, is_readable,
                     wait_for)

COOKIE = "c29tZSBjb29raWU="
SUCCESS = (b'<?xml version="1.0" encoding="UTF-8"?>\n<config-auth client="vpn" type="complete">'
           b'<auth id="success"><title>SSL VPN Service</title></auth></config-auth>\n')
INNER4, INNER6 = "10.99.0.77", "fd99::77"
ADDRESSES = (("X-CSTP-Address", INNER4), ("X-CSTP-Netmask", "255.255.255.0"),
             ("X-CSTP-Address-IP6", f"{INNER6}/64"))
MTU = (("X-CSTP-Base-MTU", "1500"), ("X-CSTP-MTU", "1400"))


def response(status, fields=(), body=None, length=True):
    """The bytes of an answer: status is "200 OK", or a whole first line."""
    lines = [status if status.startswith("HTTP/") else f"HTTP/1.1 {status}",
             *(f"{name}: {value}" for name, value in fields)]
    if body is not None and length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b"")


def chunked(body, size=7):
    pieces = [body[i:i + size] for i in range(0, len(body), size)] + [b""]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)


class Request:
    def __init__(self, text):
        head, self.body = text.split(b"\r\n\r\n", 1)
        self.first, *lines = head.decode().split("\r\n")
        self.method, self.path, self.version = self.first.split(" ")
        self.fields = [tuple(line.split(": ", 1)) for line in lines]

    def get(self, name):
        """The value of the one field of exactly that name, or None."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} twice: {values}"
        return values[0] if values else None

    def all(self, name):
        return [value for key, value in self.fields if key == name]

    @property
    def length(self):
        return int(self.get("Content-Length") or 0)

    @property
    def cookie(self):
        return self.get("Cookie")


class Connection(Channel):
    """One TLS connection from a client, its certificate demanded and verified."""

    def __init__(self, gateway, sock, number):
        self.gateway, self.sock, self.number = gateway, sock, number
        self.at = time.monotonic()
        self.tls = TlsServer(gateway.credentials, gateway.authority, **gateway.tls)
        self.requests = []
        self.records = []  # that came, as they came
        self.app_id = None
        sock.settimeout(TIMEOUT)

    def handshake(self):
        try:
            if not self._until(self.tls.handshake):
                raise LabError("the client's TLS handshake does not end")
        except Closed:
            with contextlib.suppress(OSError):
                self._flush()  # the alert that says why
            raise

    def write(self, data):
        """One record."""
        self.trickle(data, len(data))

    def trickle(self, data, size=1):
        """As records of size bytes."""
        for i in range(0, len(data), size):
            self.tls.write(data[i:i + size])
        try:
            self._flush()
        except OSError as error:
            raise Closed(str(error)) from None

    def read(self, seconds=TIMEOUT):
        """One record, or None."""
        record = super().read(seconds)
        if record:
            self.records.append(record)
        return record

    def hold(self):
        """Keeps the connection, answering probes, until the client or the test ends it."""
        while not self.gateway.closing:
            try:
                got = self.next(0.2)
            except Closed:
                return
            if got and got[0] == DPD_REQUEST:
                self.send(DPD_RESPONSE, got[1])

    def reset(self):
        """RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def end(self):
        """close_notify and FIN."""
        self.tls.shutdown()
        self._flush()
        self.sock.shutdown(socket.SHUT_WR)

    # HTTP.

    def request(self, method=None):
        request = self.read_http(Request)
        self.requests.append(request)
        assert method in (None, request.method), request.first
        return request

    def answer(self, status, fields=(), body=None, length=True):
        self.write(response(status, fields, body, length))

    def let_in(self, cookie=COOKIE):
        self.answer("200 OK", [("Content-Type", "text/xml"),
                               ("Set-Cookie", f"webvpn={cookie}; Secure; HttpOnly")], SUCCESS)

    def login(self, cookie=COOKIE):
        request = self.request("POST")
        self.let_in(cookie)
        return request

    def connected(self, dtls=False, addresses=ADDRESSES, mtu=MTU, dpd=10, fields=()):
        """The bytes of a good answer to CONNECT."""
        lines = [("X-CSTP-Version", "1"), ("X-CSTP-Server-Name", "raw"), *addresses, *mtu, *fields]
        if dpd:
            lines.append(("X-CSTP-DPD", str(dpd)))
        if dtls:
            self.app_id = secrets.token_bytes(32)
            lines += [("X-DTLS-Port", "443"), ("X-DTLS-DPD", str(dpd)),
                      ("X-DTLS-App-ID", self.app_id.hex()),
                      ("X-DTLS-CipherSuite", "PSK-NEGOTIATE")]
        return response("200 CONNECTED", lines)

    def connect(self, **answer):
        request = self.request("CONNECT")
        self.write(self.connected(**answer))
        return request

    def serve(self, **answer):
        """A whole session as it should be, up to its first frame; a cookie is taken as it is."""
        request = self.request()
        if request.method == "POST":
            self.let_in()
            request = self.request("CONNECT")
        self.write(self.connected(**answer))
        return request

    def association(self, **options):
        return Association(self.gateway.udp, self.tls.psk(), self.app_id, **options)


class Association:
    """The gateway's end of one DTLS handshake with whoever sends a hello with the App-ID."""

    def __init__(self, sock, psk, app_id, **options):
        self.sock, self.psk, self.app_id, self.options = sock, psk, app_id, options
        self.peer = self.engine = None
        self.hello = None  # the first, as it came
        self.datagrams = []

    def receive(self, seconds=TIMEOUT):
        """One datagram, or None."""
        if not is_readable(self.sock, seconds):
            return None
        datagram, peer = self.sock.recvfrom(65536)
        if self.peer is None and self.app_id in datagram:
            self.peer, self.hello = peer, datagram
        if peer != self.peer:
            return self.receive(seconds)
        self.datagrams.append(datagram)
        return datagram

    def transmit(self, datagram):
        self.sock.sendto(datagram, self.peer)

    def handshake(self, seconds=TIMEOUT):
        """True once both have Finished."""
        self.engine = DtlsServer(self.psk, **self.options)
        deadline = time.monotonic() + seconds
        while not self.engine.established and time.monotonic() < deadline:
            datagram = self.receive(deadline - time.monotonic())
            if datagram is None:
                break
            self.engine.feed(datagram)
            try:
                self.engine.handshake()
            except OpensslError:
                return False
            self.flush()
        return self.engine.established

    def flush(self):
        if data := self.engine.drain():
            self.transmit(data)

    def send(self, kind, payload=b""):
        self.engine.write(bytes([kind]) + payload)
        self.flush()

    def next(self, seconds=TIMEOUT):
        deadline = time.monotonic() + seconds
        while True:
            record = self.engine.read()
            if record:
                return record[0], record[1:]
            datagram = self.receive(deadline - time.monotonic())
            if datagram is None:
                return None
            self.engine.feed(datagram)

    def expect(self, kind, seconds=TIMEOUT):
        return wait_for(self.next, kind, seconds)


class RawGateway(contextlib.AbstractContextManager):
    def __init__(self, lab, corp, script, address=GATEWAY_V4[0], credentials=None):
        self.script = script
        self.credentials = credentials or corp.gateway_files
        self.authority = corp.ca
        self.tls = {}  # more for TlsServer
        self.connections, self.failures, self._threads = [], [], []
        self.closing = False
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with inside(lab.gw):
            self.listener = socket.create_server((address, 443), family=family)
            self.udp = socket.socket(family, socket.SOCK_DGRAM)
            self.udp.bind((address, 443))
        self._start(self._accept)

    def _start(self, run, *arguments):
        thread = threading.Thread(target=run, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self):
        while not self.closing:
            if not is_readable(self.listener, 0.1):
                continue
            sock, _ = self.listener.accept()
            conn = Connection(self, sock, len(self.connections))
            self.connections.append(conn)
            self._start(self._run, conn)

    def _run(self, conn):
        try:
            conn.handshake()
            self.script(conn)
        except Closed:
            pass
        except BaseException as error:
            self.failures.append(error)
        finally:
            conn.sock.close()

    def wait(self, count, seconds=15):
        """Until so many connections have been made; the last of them."""
        wait_until(lambda: len(self.connections) >= count or self.failures, seconds,
                   f"{count} connections")
        self.check()
        return self.connections[count - 1]

    def check(self):
        if self.failures:
            raise self.failures[0]

    def close(self):
        self.closing = True
        for conn in self.connections:
            with contextlib.suppress(OSError):
                conn.sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(TIMEOUT)
        self.listener.close()
        self.udp.close()

    def __exit__(self, kind, error, trace):
        self.close()
        if kind is None:
            self.check()
