"""The programs at the ends of a tunnel, each run in its namespace: python3 endpoints.py PROGRAM ...

    web            an HTTP server: GET /blob, PUT anything (answers its SHA-256)
    stream-server  paced TCP streams towards whoever connects and asks, or from them
    stream-client  the other end: integrity and the longest silence, as JSON on standard output
    udp            numbered datagrams to a peer, and those that arrive with the kernel's time
    udp-echo       sends every datagram back to where it came from
    relay          hands TCP connections and datagrams on, each after a delay
    flood          datagrams from standard input, again and again, as runs that the kernel cuts
"""

import argparse
import array
import asyncio
import contextlib
import hashlib
import http.server
import json
import os
import select
import signal
import socket
import struct
import sys
import tempfile
import threading
import time

PAGE = b"<!doctype html><title>Corp</title><h1>The corporate network says hello.</h1>\n"
CHUNK = 1 << 16


def listen_both(port):
    return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True,
                                backlog=64)


# The web server.

class Web(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path != "/blob":
            return self._answer(PAGE, "text/html")
        server = self.server
        self.send_response(200)
        self.send_header("Content-Length", str(server.size))
        self.end_headers()
        self.wfile.flush()
        with open(server.blob, "rb") as blob:
            self.connection.sendfile(blob)

    def do_PUT(self):
        left = int(self.headers["Content-Length"])
        digest = hashlib.sha256()
        while left:
            data = self.rfile.read(min(left, CHUNK))
            if not data:
                return
            digest.update(data)
            left -= len(data)
        self._answer(digest.hexdigest().encode(), "text/plain")

    def _answer(self, body, kind):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        print(self.client_address[0], *arguments[1:], flush=True)


def write_blob(size):
    """A file of random bytes without a name in any directory; (path, SHA-256)."""
    digest = hashlib.sha256()
    file = tempfile.TemporaryFile()
    while size:
        data = os.urandom(min(size, 1 << 20))
        digest.update(data)
        file.write(data)
        size -= len(data)
    file.flush()
    return file, digest.hexdigest()


def web(args):
    file, digest = write_blob(args.size)
    server = http.server.ThreadingHTTPServer(("", 0), Web, bind_and_activate=False)
    server.socket.close()
    server.socket = listen_both(args.port)
    server.daemon_threads = True
    server.blob, server.size = f"/proc/self/fd/{file.fileno()}", args.size
    print("ready", digest, flush=True)
    server.serve_forever()


# Streams: blocks of a position-dependent pattern, so that a lost or doubled piece shows.

BLOCK = 4096


def block(index):
    seed = hashlib.sha256(struct.pack("!Q", index)).digest()
    return seed * (BLOCK // len(seed))


def send_stream(sock, rate, seconds):
    """rate bytes a second in slices of 20 ms, whole blocks."""
    start = time.monotonic()
    index = 0
    while (passed := time.monotonic() - start) < seconds:
        due = int(passed * rate) // BLOCK
        while index < due:
            sock.sendall(block(index))
            index += 1
        time.sleep(0.02)
    sock.shutdown(socket.SHUT_WR)


class Received:
    """Checks a stream as it comes in and keeps its longest silence."""

    def __init__(self):
        self.total = 0
        self.intact = True
        self.stall = 0.0
        self.stalled_at = 0.0
        self.error = None
        self._pending = bytearray()
        self._index = 0

    def run(self, sock):
        start = last = time.monotonic()
        try:
            while data := sock.recv(CHUNK):
                now = time.monotonic()
                if now - last > self.stall:
                    self.stall, self.stalled_at = now - last, last - start
                last = now
                self._check(data)
        except OSError as error:
            self.error = str(error)

    def _check(self, data):
        self.total += len(data)
        self._pending += data
        while len(self._pending) >= BLOCK:
            self.intact &= self._pending[:BLOCK] == block(self._index)
            del self._pending[:BLOCK]
            self._index += 1

    def report(self):
        return {"bytes": self.total, "intact": self.intact and not self._pending,
                "stall_s": round(self.stall, 3), "stalled_at_s": round(self.stalled_at, 3),
                "error": self.error}


def serve_stream(connection):
    """One line asks: "down RATE SECONDS", or "up" and the report comes back at the end."""
    with connection, connection.makefile("rb", buffering=0) as reader:
        words = reader.readline().split()
        if words[0] == b"down":
            send_stream(connection, int(words[1]), float(words[2]))
            reader.read()
            return
        received = Received()
        received.run(connection)
        connection.sendall(json.dumps(received.report()).encode())


def stream_server(args):
    server = listen_both(args.port)
    print("ready", flush=True)
    while True:
        connection, _ = server.accept()
        threading.Thread(target=serve_stream, args=[connection], daemon=True).start()


def stream_client(args):
    with socket.create_connection((args.host, args.port), timeout=10) as sock:
        sock.settimeout(args.patience)
        if args.direction == "down":
            sock.sendall(f"down {args.rate} {args.seconds}\n".encode())
            received = Received()
            received.run(sock)
            report = received.report()
        else:
            report = upload_stream(sock, args)
    print(json.dumps(report), flush=True)


def upload_stream(sock, args):
    try:
        sock.sendall(b"up\n")
        # The server must have read its line before the stream begins: it reads byte by byte.
        send_stream(sock, args.rate, args.seconds)
        return json.loads(b"".join(iter(lambda: sock.recv(CHUNK), b"")))
    except OSError as error:
        return {"bytes": 0, "intact": False, "stall_s": 0, "stalled_at_s": 0, "error": str(error)}


# Numbered datagrams.

SO_RCVBUFFORCE, SO_TIMESTAMPNS = 33, 35


def endpoint(text):
    host, port = text.rsplit(":", 1)
    return host.strip("[]"), int(port)


def open_udp(local, remote):
    family = socket.AF_INET6 if ":" in local[0] else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)
    sock.bind(local)
    sock.connect(remote)
    return sock


def send_numbered(sock, rate, sent):
    """Until the process ends; the time of each goes to sent. A refused send is only not counted."""
    start = time.monotonic()
    number = 0
    while True:
        while number > (time.monotonic() - start) * rate:
            time.sleep(0.0002)
        now = time.clock_gettime_ns(time.CLOCK_REALTIME)
        try:
            sock.send(struct.pack("!QQ", number, now))
            sent.append(now)
        except OSError:
            pass
        number += 1


def receive_numbered(sock, numbers, times):
    while True:
        try:
            data, ancillary, _, _ = sock.recvmsg(64, 64)
        except ConnectionRefusedError:
            continue  # the peer has not bound its port yet
        except OSError:
            time.sleep(0.001)
            continue
        seconds, nanoseconds = struct.unpack("qq", ancillary[0][2])
        numbers.append(struct.unpack("!QQ", data)[0])
        times.append(seconds * 1_000_000_000 + nanoseconds)


def udp(args):
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    sock = open_udp(endpoint(args.local), endpoint(args.remote))
    sent, numbers, times = (array.array("Q") for _ in range(3))
    for target, arguments in ((receive_numbered, (sock, numbers, times)),
                              (send_numbered, (sock, args.rate, sent))):
        threading.Thread(target=target, args=arguments, daemon=True).start()
    print("ready", flush=True)
    signal.sigwait({signal.SIGTERM})
    with open(args.output, "w", encoding="ascii") as file:
        json.dump({"sent_ns": list(sent), "numbers": list(numbers), "times_ns": list(times)}, file)
    os._exit(0)


def udp_echo(args):
    """What came, in order: [[sender's address, our port, first eight bytes as a number], ...]"""
    ready = select.poll()
    came = []

    def finish(*_):
        with open(args.output, "w", encoding="ascii") as file:
            json.dump(came, file)
        os._exit(0)

    signal.signal(signal.SIGTERM, finish)
    socks = {}
    for port in args.ports.split(","):
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)
        sock.bind(("::", int(port)))
        socks[sock.fileno()] = sock
        ready.register(sock, select.POLLIN)
    print("ready", flush=True)
    while True:
        for fd, _ in ready.poll():
            data, peer = socks[fd].recvfrom(2048)
            came.append((peer[0].removeprefix("::ffff:"), socks[fd].getsockname()[1],
                         struct.unpack("!Q", data[:8])[0]))
            socks[fd].sendto(data, peer)


# A flood.

UDP_SEGMENT, RUN_BYTES, RUN_SEGMENTS = 103, 60000, 64


def flood(args):
    """By the socket that it was given; how many were sent, in which time and for how much of it."""
    sock = socket.socket(fileno=args.fd)
    sock.setblocking(True)
    sock.setsockopt(socket.SOL_UDP, UDP_SEGMENT, args.size)
    data = sys.stdin.buffer.read()
    step = min(RUN_BYTES // args.size, RUN_SEGMENTS)
    runs = [data[at:at + step * args.size] for at in range(0, len(data), step * args.size)]
    start, sent, ended = time.monotonic(), 0, []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
    print("ready", flush=True)
    for turn in range(sys.maxsize):
        while not ended and sent > (time.monotonic() - start) * args.rate:
            time.sleep(0.001)
        if ended:
            break
        run = runs[turn % len(runs)]
        with contextlib.suppress(ConnectionRefusedError):
            sock.send(run)
            sent += len(run) // args.size
    seconds = time.monotonic() - start
    print(json.dumps({"sent": sent, "seconds": seconds, "share": time.process_time() / seconds}),
          flush=True)


# A path with a delay.

async def pump(reader, writer, delay):
    """Each piece leaves its own delay after it came; the order is kept."""
    pieces = asyncio.Queue()

    async def take():
        while data := await reader.read(CHUNK):
            pieces.put_nowait((time.monotonic() + delay, data))
        pieces.put_nowait((time.monotonic() + delay, None))

    taker = asyncio.create_task(take())
    try:
        while True:
            due, data = await pieces.get()
            await asyncio.sleep(max(0, due - time.monotonic()))
            if data is None:
                return writer.write_eof()
            writer.write(data)
            await writer.drain()
    except OSError:
        writer.close()
    finally:
        taker.cancel()


async def relay_tcp(args):
    async def serve(reader, writer):
        far_reader, far_writer = await asyncio.open_connection(*endpoint(args.remote))
        await asyncio.gather(pump(reader, far_writer, args.delay),
                             pump(far_reader, writer, args.delay), return_exceptions=True)
        for each in (writer, far_writer):
            each.close()

    return await asyncio.start_server(serve, *endpoint(args.local))


class RelayUdp(asyncio.DatagramProtocol):
    """One far socket for each near peer."""

    def __init__(self, args):
        self.args = args
        self.far = {}

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, peer):
        self.loop().call_later(self.args.delay, self.forward, data, peer)

    @staticmethod
    def loop():
        return asyncio.get_running_loop()

    def forward(self, data, peer):
        if peer in self.far:
            self.far[peer].send(data)
            return
        sock = socket.socket(socket.AF_INET6 if ":" in self.args.remote.rsplit(":", 1)[0]
                             else socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        sock.connect(endpoint(self.args.remote))
        self.far[peer] = sock
        self.loop().add_reader(sock, self.back, sock, peer)
        sock.send(data)

    def back(self, sock, peer):
        try:
            data = sock.recv(CHUNK)
        except OSError:
            return
        self.loop().call_later(self.args.delay, self.transport.sendto, data, peer)


async def relay_forever(args):
    server = await relay_tcp(args)
    await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: RelayUdp(args), local_addr=endpoint(args.local))
    print("ready", flush=True)
    await server.serve_forever()


def relay(args):
    asyncio.run(relay_forever(args))


def main():
    parser = argparse.ArgumentParser()
    programs = parser.add_subparsers(required=True)

    def program(name, function, **options):
        sub = programs.add_parser(name)
        sub.set_defaults(function=function)
        for option, kind in options.items():
            sub.add_argument("--" + option, type=kind, required=True)

    program("web", web, port=int, size=int)
    program("stream-server", stream_server, port=int)
    program("stream-client", stream_client, host=str, port=int, direction=str, rate=int,
            seconds=float, patience=float)
    program("udp", udp, local=str, remote=str, rate=int, output=str)
    program("udp-echo", udp_echo, ports=str, output=str)
    program("relay", relay, local=str, remote=str, delay=float)
    program("flood", flood, fd=int, rate=int, size=int)
    args = parser.parse_args()
    args.function(args)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
