"""What a stranger can put on the wire: hellos and records of nobody, datagrams from anywhere, and what can be
read on the way."""

import contextlib
import os
import socket
import ssl
import struct

from lab import GATEWAY_NAME, wait_until
from rawpeer import inside

PORT = 443


def client_hello():
    out = ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=GATEWAY_NAME)
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return out.read()


def record(kind=23, version=0xfefd, epoch=1, sequence=1, body=bytes(40), length=None):
    return (struct.pack("!BHH", kind, version, epoch) + sequence.to_bytes(6, "big") +
            struct.pack("!H", len(body) if length is None else length) + body)


def hello(app_id, sequence=0):
    """A whole ClientHello as our client makes it, with its App-ID."""
    body = (b"\xfe\xfd" + os.urandom(32) + b"\x20" + app_id + b"\x00" + b"\x00\x02\x00\xa9" +
            b"\x01\x00")
    message = b"\x01" + len(body).to_bytes(3, "big") + b"\0\0" + b"\0\0\0" + \
        len(body).to_bytes(3, "big") + body
    return record(22, epoch=0, sequence=sequence, body=message)


def packet(source, target, payload):
    """IPv4 and UDP; the kernel adds what is zero here, and a UDP checksum may be."""
    size = 28 + len(payload)
    return (struct.pack("!BBHHHBBH", 0x45, 0, size, 0, 0, 64, 17, 0) +
            socket.inet_aton(source[0]) + socket.inet_aton(target[0]) +
            struct.pack("!HHHH", source[1], target[1], 8 + len(payload), 0) + payload)


class Capture:
    """The datagrams that a laptop sends to the gateway."""

    def __init__(self, ns, interface):
        with inside(ns):
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
            self.sock.bind((interface, 0x0800))
        self.sock.setblocking(False)
        self.source = self.target = None

    def read(self):
        """What has come since: the datagrams that are one DTLS record, in order."""
        records = []
        while True:
            try:
                data, (_, _, kind, *_) = self.sock.recvfrom(65536)
            except BlockingIOError:
                return records
            if kind == socket.PACKET_OUTGOING or data[9] != 17 or data[22:24] != b"\x01\xbb":
                continue
            self.source = socket.inet_ntoa(data[12:16]), struct.unpack("!H", data[20:22])[0]
            self.target = socket.inet_ntoa(data[16:20]), PORT
            record = data[28:struct.unpack("!H", data[2:4])[0]]
            if len(record) >= 13 and len(record) == 13 + struct.unpack("!H", record[11:13])[0]:
                records.append(record)

    def data(self, count):
        """The next records of application data that pass by."""
        self.read()
        records = []

        def look():
            records.extend(r for r in self.read() if r[0] == 23)
            return len(records) >= count

        wait_until(look, 5, f"{count} records")
        return records[:count]


def app_id_of(records):
    """Of the session whose hello is among them, as everyone on the way could read it (behind header
    and random)."""
    first = next(r for r in records if r[0] == 22 and r[13] == 1)
    at = 13 + 12 + 2 + 32
    assert first[at] == 32
    return first[at + 1:at + 33]
