"""Fixtures of the network tests, and what the runner must not do: skip, or pass without root."""

import os
import resource
import signal

import pytest

import peers
from lab import GATEWAY_NAME, GATEWAY_V4, GATEWAY_V6, Lab
from pki import Corp


def pytest_configure(config):
    if os.geteuid() != 0:
        pytest.exit("network tests make namespaces: run them as root", returncode=2)
    if not hasattr(config, "workerinput"):
        # What ends the runner must go through the fixtures' ends, Ctrl-C's way.
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """Spreads the long tests, so that workers that take a few at a time get one long one each."""
    slow = [item for item in items if item.get_closest_marker("slow")]
    quick = [item for item in items if not item.get_closest_marker("slow")]
    stride = max(len(items) // 16, 2)
    items.clear()
    while slow or quick:
        take = stride - len(slow[:1])
        items += slow[:1] + quick[:take]
        del slow[:1], quick[:take]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failure shows every log of its lab; a skipped test is a failed one."""
    report = (yield).get_result()
    if report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped tests are not allowed: {report.longrepr}"
    if report.when == "call" and report.failed:
        shared = [value.lab for value in item.funcargs.values() if hasattr(value, "lab")]
        for lab in [*getattr(item, "labs", []), *shared]:
            report.sections += [(f"log of {name}", text) for name, text in lab.logs()]


@pytest.fixture(autouse=True)
def watching(request, monkeypatch):
    """Files that change are in force by themselves, but where a module asks what a reload changes."""
    monkeypatch.setattr(peers, "WATCH", not getattr(request.module, "BY_RELOAD_ALONE", False))


@pytest.fixture
def make_lab(request):
    """Makes labs that end with the test: make_lab(laptops=("laptop", "rogue"))."""
    labs = request.node.labs = []

    def make(**options):
        labs.append(Lab(**options))
        return labs[-1]

    yield make
    failures = []
    for lab in reversed(labs):
        try:
            lab.close()
        except AssertionError as error:
            failures.append(str(error))
    assert not failures, "; ".join(failures)


@pytest.fixture
def lab(make_lab):
    return make_lab()


@pytest.fixture
def make_corp():
    return lambda lab: Corp(lab.dir / "pki", GATEWAY_NAME, GATEWAY_V4 + GATEWAY_V6)


@pytest.fixture
def corp(lab, make_corp):
    return make_corp(lab)


@pytest.fixture
def many_files():
    """This process needs a descriptor for every connection that it holds."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
