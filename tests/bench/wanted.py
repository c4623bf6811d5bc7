"""What the benchmark must show: a row each, with what was measured and whether that is enough.

A ratio is the median of the ratios within a round. What was not measured is a miss.
"""

from contenders import (BOUND, BOUND_ONE, BY_NAME, NEEDED, NO_TUNNEL, OURS, OURS_TLS, REFERENCE,
                        REFERENCE_TLS)
from figures import FIGURES, Spread

# bound / reference below this: the yardstick is slow, and what is measured with it flatters.
BOUND_AT_LEAST = 5.0


class Row:
    def __init__(self, what, wanted, measured, passed):
        self.what = what
        self.wanted = wanted
        self.measured = measured
        self.passed = passed

    @property
    def verdict(self):
        return "pass" if self.passed else "MISS"

    def as_dict(self):
        return {"what": self.what, "wanted": self.wanted, "measured": self.measured,
                "passed": self.passed}


class Part:
    """One comparison of a row. A limit below is `at least`, one above `at most`."""

    def __init__(self, spread, at_least=None, at_most=None, show=None):
        self.spread = spread
        self.at_least = at_least
        self.at_most = at_most
        self.show = show or (lambda value: f"{value:.2f}")

    @property
    def passed(self):
        if not self.spread:
            return False
        if self.at_least is not None and self.spread.median < self.at_least:
            return False
        return self.at_most is None or self.spread.median <= self.at_most

    def text(self):
        if not self.spread:
            return "not measured"
        low, high = self.show(self.spread.minimum), self.show(self.spread.maximum)
        middle = self.show(self.spread.median)
        return middle if low == high else f"{middle} ({low}–{high})"


def _row(what, wanted, *parts, note=""):
    measured = "; ".join(part.text() for part in parts) + note
    return Row(what, wanted, measured, all(part.passed for part in parts))


def times(name):
    return lambda value: f"{value:.2f} × {name}"


def percent(name):
    return lambda value: f"{100 * value:.0f} % of {name}"


def plain(unit, digits=2):
    return lambda value: f"{value:.{digits}f} {unit}"


def _tcp(run):
    for way in ("up", "down"):
        name = f"tcp1_{way}"
        yield _row(f"TCP one stream, {way}", "4 × ocserv, and 65 % of the bound",
                   Part(run.ratios(OURS, name, REFERENCE), 4, show=times("ocserv")),
                   Part(run.ratios(OURS, name, BOUND), 0.65, show=percent("the bound")))
    for way in ("up", "down"):
        yield _row(f"TCP four streams, {way}", "4 × ocserv",
                   Part(run.ratios(OURS, f"tcp4_{way}", REFERENCE), 4, show=times("ocserv")))


def best_peer(run, name):
    """The best tunnel that is not ours."""
    others = [peer for peer in run.peers() if run.data["peers"][peer]["is_tunnel"]
              and peer not in (OURS, OURS_TLS)]
    return run.best(others, name)


def _packets(run):
    for way in ("up", "down"):
        name = f"udp64_{way}"
        best = best_peer(run, name)
        yield _row(f"64-byte UDP at < 0.5 % loss, {way}",
                   "1.5 × the best peer, and 80 % of the bound with one packet a call",
                   Part(run.ratios(OURS, name, best or REFERENCE), 1.5, show=times(best or "?")),
                   Part(run.ratios(OURS, name, BOUND_ONE), 0.8, show=percent("that bound")))


def _cpu(run):
    for way in ("up", "down"):
        yield _row(f"CPU-seconds a gigabyte, both ends, {way}", "at most 0.35 × ocserv",
                   Part(run.ratios(OURS, f"cpu_{way}", REFERENCE), at_most=0.35,
                        show=times("ocserv")),
                   note=_absolute(run, f"cpu_{way}", "s"))


def _absolute(run, name, unit):
    spread = run.spread(OURS, name)
    if not spread:
        return ""
    return f"; {FIGURES[name].show(spread.median)} {unit}"


def _tls(run):
    for way in ("up", "down"):
        yield _row(f"TLS-only fallback, TCP one stream, {way}", "2 × ocserv without DTLS",
                   Part(run.ratios(OURS_TLS, f"tcp1_{way}", REFERENCE_TLS), 2,
                        show=times("ocserv-tls")))


def _latency(run):
    name = "ping_idle_median"
    ours, theirs = (_added(run, peer, name) for peer in (OURS, REFERENCE))
    rounds = [nth for nth in ours if nth in theirs]
    yield _difference_row("Idle round trip added by the tunnel, median", "at most ocserv's",
                          [ours[nth] for nth in rounds], [theirs[nth] for nth in rounds])
    for way in ("up", "down"):
        yield _row(f"Round trip p99 beside one TCP stream at full speed, {way}", "at most 4 ms",
                   Part(run.spread(OURS, f"ping_tcp_{way}_p99"), at_most=4, show=plain("ms")))
    for way in ("up", "down"):
        yield _row(f"The same held to ocserv's rate, {way}", "at most ocserv's",
                   Part(run.ratios(OURS, f"ping_held_{way}_p99", REFERENCE, f"ping_tcp_{way}_p99"),
                        at_most=1, show=times("ocserv")),
                   note=_absolute(run, f"ping_held_{way}_p99", "ms"))


def _added(run, peer, name):
    """{round: what it adds to a round trip without it}"""
    through, without = run.by_round(peer, name), run.by_round(NO_TUNNEL, name)
    return {nth: value - without[nth] for nth, value in through.items() if nth in without}


def _difference_row(what, wanted, ours, theirs):
    if not ours:
        return Row(what, wanted, "not measured", False)
    ours, theirs = Spread(ours), Spread(theirs)
    text = (f"{ours.median:.3f} ms ({ours.minimum:.3f}–{ours.maximum:.3f}), ocserv "
            f"{theirs.median:.3f} ms ({theirs.minimum:.3f}–{theirs.maximum:.3f})")
    return Row(what, wanted, text, ours.median <= theirs.median)


# The crowd's rows: (key in crowd.py's answer, what, wanted, how it is shown, whether it is enough)

def _restart_enough(row):
    """An answer without rate or floor has not shown the rate."""
    return (row["value"] >= 1 and
            (row.get("rate") or 0) >= (row.get("rate_floor") or float("inf")))


CROWD = (
    ("connect_cpu", "Gateway CPU for one connect of a tund client, all handshakes in it",
     "at most 1.0 ms (OpenVPN 1.6, ocserv 6.0)", plain("ms"), lambda row: row["value"] <= 1.0),
    ("session_memory",
     "Gateway memory per idle session, TLS and DTLS up, slope from 1,000 to 10,000",
     "at most 64 KiB", plain("KiB", 1), lambda row: row["value"] <= 64),
    ("beside_idle", "Throughput of one session beside 10,000 idle ones", "90 % of alone",
     percent("alone"), lambda row: row["value"] >= 0.9),
    ("idle_cpu", "CPU of 10,000 idle sessions with 30 s keepalives", "at most 3 % of a core",
     lambda value: f"{100 * value:.1f} % of a core", lambda row: row["value"] <= 0.03),
    ("handshakes", "Full mutual TLS handshakes a second, to Finished",
     "60 % of OpenSSL alone with the same keys, checks and cores", percent("OpenSSL alone"),
     lambda row: row["value"] >= 0.6),
    ("restart", "10,000 devices back after the gateway restarts, same addresses",
     "all, none stuck, at the rate above", lambda value: f"{100 * value:.2f} % back",
     _restart_enough),
    ("storm_p99", "p99 round trip of an established session during that storm", "at most 20 ms",
     plain("ms", 1), lambda row: row["value"] <= 20),
)


def _crowd(run):
    answers = run.data.get("crowd") or {}
    for key, what, wanted, show, enough in CROWD:
        row = answers.get(key)
        if not row or row.get("value") is None:
            why = (row or {}).get("error") or answers.get("error")
            yield Row(what, wanted, "not measured" + (f": {first_line(why)}" if why else ""), False)
            continue
        extra = f", {row['rate']:.0f} a second" if row.get("rate") else ""
        if row.get("note"):
            extra += f", {row['note']}"
        yield Row(what, wanted, show(row["value"]) + extra, bool(enough(row)))


def first_line(text):
    return str(text).strip().splitlines()[0][:160] if str(text).strip() else ""


# Whether the run can be believed.

def bound_row(run):
    return _row("The bound itself, TCP one stream up and down", "5 × ocserv, or the run fails",
                *(Part(run.ratios(BOUND, f"tcp1_{way}", REFERENCE), BOUND_AT_LEAST,
                       show=times("ocserv")) for way in ("up", "down")))


def complete_row(run):
    failed = [f"{peer} in round {nth}: {measure}" for nth, peer, measure, _ in run.failures()
              if peer in NEEDED]
    absent = [peer for peer in NEEDED if peer not in run.peers()]
    failed += [f"{BY_NAME[peer].title}: not run" for peer in absent]
    if run.data.get("interrupted"):
        failed.append("the run was interrupted")
    measured = "; ".join(failed) if failed else f"{len(run.visits)} visits, all of these complete"
    return Row("Every visit of tund, ocserv, the bounds and bare veth", "complete", measured,
               not failed)


def rows(run):
    return [*_tcp(run), *_packets(run), *_cpu(run), *_tls(run), *_latency(run), *_crowd(run),
            bound_row(run), complete_row(run)]
