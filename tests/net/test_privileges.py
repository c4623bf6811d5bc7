"""What each process may do, and who knows the private key.

    laptop --- wan --- gw         a gateway and a client, with a session between them
"""

import base64
import os
import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from peers import start_client, start_gateway

CAP_KILL, CAP_NET_ADMIN = 1 << 5, 1 << 12
PARENT = CAP_KILL | CAP_NET_ADMIN
ROLES = ("tund", "keys", "fetch", "engine")


def pair(lab, corp):
    gateway = start_gateway(lab, corp)
    client = start_client(lab, corp, corp.device("alice"))
    return {"gateway": gateway, "client": client}


def thread_status(pid):
    """/proc/PID/task/*/status as dictionaries."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        text = (task / "status").read_text()
        yield dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def expected(role):
    held = PARENT if role == "tund" else 0
    return {"CapInh": 0, "CapPrm": held, "CapEff": held, "CapBnd": held, "CapAmb": 0}


@pytest.mark.parametrize("which", ["gateway", "client"])
def test_every_thread_holds_what_the_house_settles(lab, corp, which):
    processes = pair(lab, corp)[which].processes()
    assert set(processes) == set(ROLES)
    wrong = []
    for role, pid in processes.items():
        for status in thread_status(pid):
            held = {name: int(status[name], 16) for name in expected(role)}
            where = f"{which}/{role}/{status['Name']}"
            if held != expected(role):
                wrong.append(f"{where}: {held}")
            if (status["NoNewPrivs"], status["Seccomp"]) != ("1", "2"):
                wrong.append(f"{where}: NoNewPrivs {status['NoNewPrivs']}"
                             f" Seccomp {status['Seccomp']}")
            uids = set(status["Uid"].split())
            if (uids == {"0"}) != (role == "tund") or len(uids) != 1:
                wrong.append(f"{where}: uid {uids}")
    assert not wrong, "\n".join(wrong)


def test_processes_cannot_be_traced_or_dumped_by_their_own_user(lab, corp):
    for tund in pair(lab, corp).values():
        for role, pid in tund.processes().items():
            # Files of a process that is not dumpable belong to root.
            assert os.stat(f"/proc/{pid}/mem").st_uid == 0, f"{tund.name}/{role} is dumpable"


# The key in memory.

def needles(key, pem):
    """What the private key looks like: raw in both byte orders, DER, PEM."""
    if hasattr(key, "private_numbers"):
        raw = key.private_numbers().private_value.to_bytes(32, "big")
    else:
        raw = key.private_bytes(serialization.Encoding.Raw, serialization.PrivateFormat.Raw,
                                serialization.NoEncryption())
    lines = pem.splitlines()[1:-1]
    # The secret part lies in the first two lines; what follows in a P-256 key is public.
    return {"raw": raw, "raw, reversed": raw[::-1], "DER": base64.b64decode(b"".join(lines)),
            **{f"PEM line {i}": line for i, line in enumerate(lines[:2])}}


# Larger than any memory: the address range that a sanitizer build reserves.
RESERVED = 1 << 40


def readable_mappings(pid):
    """(first, last + 1) of all that has pages in memory; what never was touched holds nothing."""
    first = last = None
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        match = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+)", line)
        if match:
            first, last = (int(match.group(i), 16) for i in (1, 2))
            readable = match.group(3).startswith("r") and last - first < RESERVED
        elif line.startswith("Rss:") and readable and int(line.split()[1]):
            yield first, last


def memory_chunks(pid, size=8 << 20, overlap=4096):
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for first, last in readable_mappings(pid):
            for start in range(first, last, size):
                try:
                    memory.seek(start)
                    yield memory.read(min(size + overlap, last - start))
                except OSError:
                    continue  # pages of the kernel's that even root cannot read, as [vvar]


def found_in(pid, wanted):
    found = set()
    for chunk in memory_chunks(pid):
        found |= {name for name, needle in wanted.items() if needle in chunk}
    return found


@pytest.mark.parametrize("kind", ["p256", "ed25519"])
def test_the_private_key_is_in_keys_and_nowhere_else(lab, corp, kind):
    certificate = corp.root.issue("alice", key=kind)
    gateway = start_gateway(lab, corp)
    client = start_client(lab, corp, corp.write("alice", certificate))
    for tund, issued in ((gateway, corp.gateway), (client, certificate)):
        wanted = needles(issued.key, issued.key_pem())
        found = {role: found_in(pid, wanted) for role, pid in tund.processes().items()}
        assert found.pop("keys") & {"raw", "raw, reversed"}, "the search finds no key at all"
        assert not any(found.values()), f"{tund.name}: {found}"
