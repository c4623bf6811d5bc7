"""A run as Markdown: the machine, who took part, what was measured, what was wanted."""

from contenders import BOUND, BOUND_ONE, NO_TUNNEL, OURS, OURS_TLS, REFERENCE
from figures import FIGURES, sender_was_slow
from wanted import first_line

# Tables: (heading, one line about it, figures, whether cells carry the ratio to the reference)
TABLES = (
    ("TCP, Mbit/s", "iperf3, cubic, laptop to corp (up) and back (down).",
     ("tcp1_up", "tcp1_down", "tcp4_up", "tcp4_down")),
    ("UDP, the highest rate with less than 0.5 % lost, kpps",
     "Searched for: a rate counts only if it passed twice. Sizes are UDP payload; single "
     "datagrams, paced.",
     ("udp64_up", "udp64_down", "udp512_up", "udp512_down", "udp1280_up", "udp1280_down")),
    ("Round trip, ms", "ICMP echo every 2 ms, answered by corp's kernel.",
     ("ping_idle_median", "ping_idle_p99", "ping_tcp_up_median", "ping_tcp_up_p99",
      "ping_tcp_down_median", "ping_tcp_down_p99")),
    ("Round trip held to the reference's rate, ms",
     "Beside one TCP stream that sends no faster than the reference carried beside its own echoes.",
     ("ping_held_up_median", "ping_held_up_p99", "ping_held_down_median", "ping_held_down_p99")),
    ("CPU-seconds a gigabyte of TCP, one stream",
     "Both ends: all threads of the contender's processes. Whole machine: iperf3 and the kernel "
     "too.",
     ("cpu_up", "cpu_gateway_up", "cpu_machine_up", "cpu_down", "cpu_gateway_down",
      "cpu_machine_down")),
    ("TCP retransmits in one run, one stream",
     "Packets that were dropped on the way, most of them in full queues of the tunnel.",
     ("retransmits_up", "retransmits_down")),
    ("Connecting, memory",
     "From the start of the client's program to the first echo, on a fresh gateway; again after "
     "SIGKILL of the client. PSS of all processes of an end with one idle session.",
     ("connect", "reconnect", "memory_gateway", "memory_laptop")),
)

LIMITS_OF_THIS = (
    "Both ends, both programs that make the load, and the forwarding kernel share these cores: "
    "numbers are not a link's speed but what a byte costs. Ratios travel further than numbers.",
    "No delay, loss or rate limit lies between the ends, so it says nothing about lossy links.",
    "veth passes trains of datagrams (UDP GSO) uncut from end to end, as a real wire does only "
    "with a network card that cuts and joins them. This favours all who use them: tund, the bound, "
    "newer wireguard-go.",
    "Who calls into veth pays for the receiver's soft interrupt: \"both ends\" holds some of the "
    "neighbours' work, \"whole machine\" all of it.",
    "Contenders do not protect the same: OpenVPN, ocserv and tund check certificates; "
    "wireguard-go, fastd and Nebula have keys of their own; the bound has neither handshake nor replay window.",
)


def escape(text):
    return str(text).replace("|", "\\|").replace("\n", " ")


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(escape(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def cell(run, peer, name):
    """median (minimum–maximum) ×ratio to the reference"""
    figure, spread = FIGURES[name], run.spread(peer, name)
    if not spread:
        return "–"
    text = figure.show(spread.median)
    low, high = figure.show(spread.minimum), figure.show(spread.maximum)
    if low != high:
        text += f" ({low}–{high})"
    ratios = run.ratios(peer, name, REFERENCE)
    return f"{text} ×{ratios.median:.2f}" if ratios else text


def strong(peer):
    return f"**{peer}**" if peer in (OURS, OURS_TLS) else peer


def results(run):
    for heading, about, names in TABLES:
        peers = [peer for peer in run.peers() if any(run.spread(peer, name) for name in names)]
        names = [name for name in names if any(run.spread(peer, name) for peer in peers)]
        if not peers:
            continue
        head = ["peer", *(FIGURES[name].title.removesuffix(", Mbit/s").removesuffix(", kpps")
                          for name in names)]
        yield f"### {heading}\n\n{about}\n\n" + table(
            head, [[strong(peer), *(cell(run, peer, name) for name in names)] for peer in peers])
        if slow := slow_senders(run, names):
            yield f"The sender was the limit, not loss: {slow}. These carry at least that."


def slow_senders(run, names):
    """Whose packet rates are the sender's own, in most rounds."""
    found = []
    for peer in run.peers():
        for name in names:
            raws = [visit["measures"][name] for visit in run.visits if visit["peer"] == peer
                    and name.startswith("udp") and name in visit["measures"]]
            slow = sum(map(sender_was_slow, raws))
            if slow * 2 > len(raws):
                found.append(f"{peer} {FIGURES[name].title.removesuffix(', kpps')}")
    return ", ".join(found)


def about_machine(data):
    machine = data["machine"]
    virtual = ", a virtual machine" if machine["virtual"] else ""
    return [("machine", f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB"
                        + virtual),
            ("system", f"{machine['system']}, Linux {machine['kernel']}, "
                       f"{machine['architecture']}"),
            ("libraries", f"{machine['openssl']}; {machine['iperf3']}"),
            ("socket buffers", f"net.core.rmem_max {machine['rmem_max'] // 1024} KiB (a plain "
                               "Debian has 208): peers that ask for large ones get them"),
            ("date", f"{data['started_at']} to {data.get('ended_at', '?')}"),
            ("tund", f"commit {data['tree']}")]


def about_run(run):
    options, effort = run.data["options"], run.data["options"]["effort"]
    rounds = f"{options['rounds']} rounds" if options["rounds"] != 1 else "1 round"
    sizes = ", ".join(str(size) for size in effort["sizes"])
    return [("rounds", f"{rounds}, interleaved, in turning order; {len(run.visits)} visits, each "
                       "in fresh namespaces"),
            ("seconds", f"TCP {effort['tcp']}, round trips {effort['ping']} idle and "
                        f"{effort['loaded']} loaded, packet-rate trials {effort['trial']}; UDP "
                        f"payloads of {sizes} bytes"),
            ("congestion control", congestion(run)), ("quietness", quietness(run))]


def congestion(run):
    """Of the streams that are measured, and of the tunnels that run over TCP themselves."""
    streams = sorted({raw.get("congestion", "?") for visit in run.visits
                      for name, raw in visit["measures"].items() if name.startswith("tcp")})
    tunnels = sorted({visit.get("tunnel_congestion", "?") for visit in run.visits} - {"?"})
    return (f"iperf3's streams {' '.join(streams) or '–'}; tunnels over TCP "
            + (" ".join(tunnels) or "–")
            + (" (this kernel allows no other in a namespace)" if "reno" in tunnels else ""))


def quietness(run):
    busy = [visit["busy_before"] for visit in run.visits if "busy_before" in visit]
    stolen = [raw["stolen_s"] for visit in run.visits for raw in visit["measures"].values()
              if isinstance(raw, dict) and "stolen_s" in raw]
    if not busy:
        return "–"
    loud = sum(share > 0.05 for share in busy)
    return (f"others used {100 * max(busy):.0f} % of the machine at most before a visit, over 5 % "
            f"before {loud} of {len(busy)}; {sum(stolen):.2f} CPU-seconds stolen by the host while "
            f"TCP ran")


def mtu_of(run, peer):
    return "/".join(str(mtu) for mtu in sorted({visit["mtu"] for visit in run.visits
                                                if visit["peer"] == peer and "mtu" in visit}))


def participants(run):
    rows = [[strong(name), about["version"], mtu_of(run, name) or "–", about["configuration"]]
            for name, about in run.data["peers"].items()]
    text = table(("peer", "version", "MTU", "configuration"), rows)
    absent = run.data.get("left_out") or []
    return text + "".join(f"\n\nLeft out: {line}." for line in absent)


def failures(run):
    found = run.failures()
    if not found:
        return "Nothing failed."
    return "\n".join(f"- round {nth}, {peer}, {measure}: {first_line(text)}"
                     for nth, peer, measure, text in found)


def verdict(rows):
    passed = sum(row.passed for row in rows)
    missed = [row.what for row in rows if not row.passed]
    if not missed:
        return f"**All {passed} rows pass.**"
    return f"**{passed} of {len(rows)} rows pass.** Missed: {'; '.join(missed)}."


# The table of the README: (column, figures whose medians stand in it, factor).
SUMMARY = (("TCP up / down, Gbit/s", ("tcp1_up", "tcp1_down"), 1e-3, 2),
           ("4 streams", ("tcp4_up", "tcp4_down"), 1e-3, 2),
           ("64-byte packets up / down, kpps", ("udp64_up", "udp64_down"), 1, 0),
           ("CPU-s a GB up / down", ("cpu_up", "cpu_down"), 1, 2),
           ("round trip idle / beside TCP / its p99, ms",
            ("ping_idle_median", "ping_tcp_up_median", "ping_tcp_up_p99"), 1, 2),
           ("connect, ms", ("connect",), 1, 0))

MARKS = ("<!-- bench:begin -->", "<!-- bench:end -->")


def summary(run):
    """Medians alone, a line a contender."""
    def figures_of(peer, names, factor, digits):
        spreads = [run.spread(peer, name) for name in names]
        return " / ".join(f"{spread.median * factor:.{digits}f}" if spread else "–"
                          for spread in spreads)

    return table(["", *(column for column, *_ in SUMMARY)],
                 [[strong(peer), *(figures_of(peer, *rest) for _, *rest in SUMMARY)]
                  for peer in run.peers()])


def fill(text, run):
    """text with this run's table between the marks."""
    begin, end = MARKS
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"no place for the table: wants one {begin} and one {end} after it")
    before, rest = text.split(begin)
    return f"{before}{begin}\n{summary(run)}\n{end}{rest.split(end)[1]}"


def markdown(run, rows):
    data = run.data
    parts = ["# tund beside its peers", verdict(rows),
             f"Cells are `median (minimum–maximum) ×ratio`; a ratio is the median of the ratios "
             f"to {REFERENCE} within the same round. {NO_TUNNEL} is no tunnel at all, {BOUND} what "
             f"this machine can do at most with a tunnel's work, {BOUND_ONE} the same with one "
             "packet a system call.",
             "## What was wanted", table(("what", "at least", "measured", ""), [
                 [row.what, row.wanted, row.measured, row.verdict] for row in rows])]
    if data["visits"]:
        parts += ["## What was measured", *results(run)]
    parts += ["## How", table(("", ""), [*about_machine(data), *about_run(run)]), participants(run),
              "## What failed on the way", failures(run), "## What this does not say",
              "\n".join(f"- {line}" for line in LIMITS_OF_THIS)]
    return "\n\n".join(parts) + "\n"
