"""What may come over the control socket from those who are let near it: garbage, requests of any kind and
length, askers that neither read nor end. Each is answered in one line or closed, the daemon goes on.

    laptop (a session that stays) --- wan --- gw (askers on its control socket)
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time

import pytest

from beside import Beside
from lab import Lab, wait_until
from peers import Tund, gateway_config
from pki import Corp
from rawpeer import connected

REQUEST_MAX = 64 * 1024
CONNECTIONS_MAX = 64


class World(Beside):
    def __init__(self):
        self.lab = Lab()
        self.corp = Corp(self.lab.dir / "pki", "vpn.corp.example")
        config = gateway_config(self.corp, dpd="0", keepalive="0", rekey="0")
        self.gateway = Tund(self.lab, self.lab.gw, config)
        config.set("control", observers="nogroup")
        self.gateway.start()
        self.peer = connected(self.lab.laptop, self.corp.device("alice"))

    def connect(self):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(self.gateway.socket))
        sock.settimeout(5)
        return sock

    def ask(self, text):
        """The one line that answers it, read as JSON; None when it is closed without one."""
        with self.connect() as sock:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                sock.sendall(text)
            return read_line(sock)

    @contextlib.contextmanager
    def undisturbed(self):
        """The session is as it was, and the daemon answers; nothing is kept."""
        session, descriptors = self.gateway.session("alice"), self.descriptors()
        memory, log = self.memory(), self.gateway.process.mark()
        yield
        assert self.peer.probe()
        now = self.gateway.session("alice")
        for key in ("id", "state", "inner_addresses", "connected_at"):
            assert now[key] == session[key]
        wait_until(lambda: self.descriptors() <= descriptors, 6, "descriptors given back", 0.1)
        assert self.memory() - memory < 30 << 20, "the engine grew"
        written = self.gateway.process.log(log)
        assert written.isascii() and len(written.splitlines()) < 50, written


def read_line(sock):
    text = b""
    while not text.endswith(b"\n"):
        try:
            part = sock.recv(65536)
        except ConnectionResetError:
            part = b""
        if not part:
            assert not text, f"cut off: {text!r}"
            return None
        text += part
    assert text.count(b"\n") == 1 and text.isascii()
    return json.loads(text)


@pytest.fixture(scope="module")
def world():
    with World() as world:
        yield world


NO_REQUESTS = {
    "empty-line": b"\n",
    "blanks": b"  \t \r\n",
    "bytes": bytes(range(1, 10)) + bytes(range(11, 256)) + b"\n",
    "zeros": bytes(1000) + b"\n",
    "http": b"GET / HTTP/1.1\r\n",
    "text": b"status\n",
    "number": b"17\n",
    "null": b"null\n",
    "list": b'["status"]\n',
    "empty-object": b"{}\n",
    "cut": b'{"command": "sta\n',
    "trailing": b'{"command": "status"} x\n',
    "two-objects": b'{"command": "status"}{"command": "status"}\n',
    "command-twice": b'{"command": "status", "command": "revoked"}\n',
    "command-is-a-number": b'{"command": 1}\n',
    "command-is-a-list": b'{"command": ["status"]}\n',
    "command-is-null": b'{"command": null}\n',
    "command-is-empty": b'{"command": ""}\n',
    "command-with-a-zero": b'{"command": "status\\u0000"}\n',
    "command-of-another-case": b'{"command": "Status"}\n',
    "command-with-blanks": b'{"command": " status"}\n',
    "unknown-command": b'{"command": "frobnicate"}\n',
    "terminal-escapes": b'{"command": "\\u001b[2J\\u0007"}\n',
    "format": b'{"command": "%n%s%s%n"}\n',
    "not-utf-8": b'{"command": "\xff\xfe"}\n',
    "lone-surrogate": b'{"command": "\\ud800"}\n',
    "huge-number": b'{"command": "show", "what": "session", "id": 99999999999999999999}\n',
    "real-overflow": b'{"command": "status", "x": 1e999}\n',
    "deep-lists": b'{"command": "status", "x": ' + b"[" * 20000 + b"]" * 20000 + b"}\n",
    "deep-objects": b'{"x":' * 9000 + b"1" + b"}" * 9000 + b"\n",
    "seventeen-deep": b'{"command": "status", "x": ' + b"[" * 17 + b"]" * 17 + b"}\n",
}


@pytest.mark.parametrize("name", NO_REQUESTS)
def test_what_is_no_request_is_answered_with_an_error(world, name):
    with world.undisturbed():
        answer = world.ask(NO_REQUESTS[name])
    assert answer["schema"] == "tund.error/1" and answer["exit"] == 2, answer
    assert answer["error"] and answer["error"].isprintable()


JUNK = [None, True, -1, 0, 17, 1.5, 2**63 - 1, "", " ", "x", "x" * 5000, "%s%n", "\x1b[2J", "\u202e",
        "-1", "0x", "1 OR 1=1", "'; DROP TABLE denied; --", "*", "alice\nbob", [], ["alice"],
        {}, {"name": "alice"}]
MEMBERS = {
    "show": ("what", "id", "name"),
    "disconnect": ("target",),
    "revoke": ("name", "serial", "issuer", "certificate", "reason"),
    "unrevoke": ("name", "serial", "issuer", "certificate"),
    "verify": ("certificates", "role", "at"),
    "status": ("command2",),
}


@pytest.mark.parametrize("command", MEMBERS)
def test_members_of_every_kind(world, command):
    """Alone and two together; nothing of it touches the session that there is."""
    with world.undisturbed():
        sock = world.connect()
        for member in MEMBERS[command]:
            for other in (None, *MEMBERS[command]):
                for value in JUNK:
                    request = {"command": command, member: value}
                    if command == "show" and member != "what":
                        request["what"] = "session" if member == "id" else "identity"
                    if other and other != member:
                        request[other] = JUNK[len(str(value)) % len(JUNK)]
                    sock.sendall(json.dumps(request).encode() + b"\n")
                    answer = read_line(sock)
                    assert answer and 0 <= answer["exit"] <= 5, f"{request}: {answer}"
                    assert command == "status" or answer["exit"] or request.get("what"), request
        sock.close()
    assert world.gateway.ctl("revoked")[1]["revoked"] == []


def test_requests_of_every_length(world):
    """Up to the limit they are read; beyond it they are refused, at once and with a word."""
    with world.undisturbed():
        for length in (REQUEST_MAX - 5000, REQUEST_MAX - 1, REQUEST_MAX):
            text = b'{"command": "status", "x": "'
            answer = world.ask(text + b"y" * (length - len(text) - 2) + b'"}\n')
            assert answer["exit"] == 0, f"{length} bytes: {answer}"
        for length in (REQUEST_MAX + 1, REQUEST_MAX + 5000, 1 << 20, 16 << 20):
            for end in (b"\n", b"") if length > REQUEST_MAX + 4096 else (b"\n",):
                started = time.monotonic()
                answer = world.ask(b"x" * length + end)
                assert answer is None or answer["schema"] == "tund.error/1", length
                assert time.monotonic() - started < 5
        answer = world.ask(b"x" * (REQUEST_MAX + 4097))
        assert answer and "longer" in answer["error"]


def test_requests_in_pieces_and_in_a_row(world):
    line = b'{"command": "status"}\n'
    with world.undisturbed():
        with world.connect() as sock:
            for byte in line:
                sock.sendall(bytes([byte]))
            assert read_line(sock)["exit"] == 0
        with world.connect() as sock:
            sock.sendall(b'{"command": "revoked"}\n' * 50)
            text = b""
            while text.count(b"\n") < 50:
                text += sock.recv(65536)
            assert all(json.loads(each)["exit"] == 0 for each in text.splitlines())


def test_an_asker_that_has_shut_its_end_is_answered(world):
    with world.undisturbed(), world.connect() as sock:
        sock.sendall(b'{"command": "status"}\n')
        sock.shutdown(socket.SHUT_WR)
        assert read_line(sock)["exit"] == 0
        assert sock.recv(1) == b""


def test_askers_that_go_away(world):
    """At once, in the middle of a request, before the answer, in the middle of it."""
    with world.undisturbed():
        for _ in range(50):
            for text in (b"", b'{"comm', b'{"command": "sessions"}\n', b'{"command": "status"}\n' * 9):
                with world.connect() as sock:
                    sock.sendall(text)


def test_a_thousand_askers_of_root(world):
    """The one who has asked nothing for longest makes room."""
    with world.undisturbed():
        socks = []
        for _ in range(1000):
            socks.append(world.connect())
            if len(socks) > 500:
                socks.pop(0).close()
            assert world.descriptors() < CONNECTIONS_MAX + 100
        assert world.ask(b'{"command": "status"}\n')["exit"] == 0
        for sock in socks:
            sock.close()


def test_askers_that_do_not_read(world):
    """Their answers are not made before they take the first."""
    with world.undisturbed():
        socks = []
        for _ in range(CONNECTIONS_MAX):
            sock = world.connect()
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    sock.send(b'{"command": "status"}\n' * 1000)
            socks.append(sock)
        # All of them may be waiting for the workers' figures at this moment: none is sent away then.
        wait_until(lambda: world.ask(b'{"command": "status"}\n')["exit"] == 0, 10, "an answer")
        for sock in socks:
            sock.close()


CROWD = """
import socket, sys
socks = []
for n in range(300):
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(sys.argv[1])
    socks.append(sock)
print("there", flush=True)
sys.stdin.read()
"""


def test_observers_keep_no_administrator_out(world):
    """Nor is one cut off by them who was there before."""
    early = world.connect()
    early.sendall(b'{"command": "revoked"}\n')
    assert read_line(early)["exit"] == 0
    crowd = subprocess.Popen(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                              sys.executable, "-c", CROWD, world.gateway.socket],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert crowd.stdout.readline() == b"there\n"
        for _ in range(20):
            assert world.ask(b'{"command": "status"}\n')["exit"] == 0
        early.sendall(b'{"command": "revoked"}\n')
        assert read_line(early)["exit"] == 0
    finally:
        crowd.stdin.close()
        crowd.wait(10)
        early.close()
    assert world.peer.probe()


def test_an_observer_may_change_nothing(world):
    script = ("import socket, sys\nsock = socket.socket(socket.AF_UNIX)\nsock.connect(sys.argv[1])\n"
              "for line in sys.stdin.buffer:\n sock.sendall(line)\n"
              " print(sock.makefile().readline(), end='')\n")
    requests = [{"command": "disconnect", "target": "alice"}, {"command": "revoke", "name": "alice"},
                {"command": "unrevoke", "name": "alice"}, {"command": "status"}]
    with world.undisturbed():
        done = subprocess.run(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-c",
             script, world.gateway.socket], input="".join(json.dumps(r) + "\n" for r in requests),
            capture_output=True, text=True, timeout=20, check=True)
    answers = [json.loads(line)["exit"] for line in done.stdout.splitlines()]
    assert answers == [5, 5, 5, 0]
