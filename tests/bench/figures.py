"""Statistics over visits: medians with minimum and maximum, and ratios within a round.

A run is {"visits": [{"round": 1, "peer": "ocserv", "measures": {...}, "errors": {...}}, ...], ...},
as it stands in the JSON file.
"""

from statistics import median


class Figure:
    """A name, a title, where in a visit's measures its value is, and which way is good."""

    def __init__(self, name, title, measure, value, digits=0, lower_is_better=False):
        self.name = name
        self.title = title
        self.measure = measure
        self.value = value
        self.digits = digits
        self.lower_is_better = lower_is_better

    def of(self, visit):
        """None where it was not measured."""
        raw = visit["measures"].get(self.measure)
        if raw is None:
            return None
        try:
            return self.value(raw)
        except (KeyError, TypeError, ZeroDivisionError):
            return None

    def show(self, value):
        return "–" if value is None else f"{value:.{self.digits}f}"


def _per_gigabyte(*keys):
    return lambda raw: sum(raw[key] for key in keys) / (raw["bytes"] / 1e9)


def _mega(raw):
    return raw["bits_per_second"] / 1e6


def packet_rate(raw):
    for key in ("rate", "rate_pps", "pps"):
        if key in raw:
            return raw[key]
    raise KeyError("rate")


def sender_was_slow(raw):
    """True where a search for a rate ended because the sender could not keep it up: what was above
    came late, but it came. The path may carry more."""
    above = [trial for trial in raw.get("trials", ()) if trial["rate"] > packet_rate(raw)]
    return bool(above) and all(trial["lost_share"] < raw["max_loss"] for trial in above)


def _figures():
    both = {"up": "up", "down": "down"}
    for streams in (1, 4):
        for way in both:
            yield Figure(f"tcp{streams}_{way}",
                         f"{streams} stream{'s' if streams > 1 else ''} {way}, Mbit/s",
                         f"tcp{streams}_{way}", _mega)
    for size in (64, 512, 1280):
        for way in both:
            yield Figure(f"udp{size}_{way}", f"{size} B {way}, kpps", f"udp{size}_{way}",
                         lambda raw: packet_rate(raw) / 1e3, 1)
    for name, title in (("ping_idle", "idle"), ("ping_tcp_up", "beside TCP up"),
                        ("ping_tcp_down", "beside TCP down"),
                        ("ping_held_up", "beside TCP up held to the reference's rate"),
                        ("ping_held_down", "beside TCP down held to the reference's rate")):
        yield Figure(f"{name}_median", f"{title}, median", name,
                     lambda raw: raw["median_us"] / 1e3, 3, True)
        yield Figure(f"{name}_p99", f"{title}, p99", name, lambda raw: raw["p99_us"] / 1e3, 2, True)
    for way in both:
        for name, title, keys in (("cpu", "both ends", ("gateway_s", "laptop_s")),
                                  ("cpu_gateway", "of it the gateway", ("gateway_s",)),
                                  ("cpu_machine", "whole machine", ("machine_s",))):
            yield Figure(f"{name}_{way}", f"{title}, {way}", f"tcp1_{way}", _per_gigabyte(*keys), 2,
                         True)
        yield Figure(f"retransmits_{way}", f"retransmits {way}", f"tcp1_{way}",
                     lambda raw: raw["retransmits"], 0, True)
    for name in ("connect", "reconnect"):
        yield Figure(name, f"{name}, ms", name, lambda raw: raw["seconds"] * 1e3, 0, True)
    for end in ("gateway", "laptop"):
        yield Figure(f"memory_{end}", f"{end}, KiB", "memory",
                     lambda raw, key=f"{end}_kib": raw[key], 0, True)


FIGURES = {figure.name: figure for figure in _figures()}


class Spread:
    """Samples, one a round: their median, minimum and maximum."""

    def __init__(self, samples):
        self.samples = list(samples)

    def __bool__(self):
        return bool(self.samples)

    @property
    def median(self):
        return median(self.samples)

    @property
    def minimum(self):
        return min(self.samples)

    @property
    def maximum(self):
        return max(self.samples)


class Run:
    """Questions to a run's visits."""

    def __init__(self, data):
        self.data = data
        self.visits = data["visits"]

    def peers(self):
        """In the order of the run's list, those that were visited."""
        visited = {visit["peer"] for visit in self.visits}
        return [name for name in self.data["peers"] if name in visited]

    def by_round(self, peer, name):
        """{round: value}"""
        figure = FIGURES[name]
        return {visit["round"]: value for visit in self.visits
                if visit["peer"] == peer and (value := figure.of(visit)) is not None}

    def spread(self, peer, name):
        return Spread(self.by_round(peer, name).values())

    def ratios(self, peer, name, reference, reference_name=None):
        """Of the rounds that measured both: a machine's slow minutes are in both and go out."""
        ours = self.by_round(peer, name)
        theirs = self.by_round(reference, reference_name or name)
        return Spread(ours[nth] / theirs[nth] for nth in sorted(ours)
                      if theirs.get(nth))

    def best(self, peers, name):
        """Of these peers the one with the best median, or None."""
        figure = FIGURES[name]
        known = [(spread.median, peer) for peer in peers if (spread := self.spread(peer, name))]
        if not known:
            return None
        return min(known)[1] if figure.lower_is_better else max(known)[1]

    def failures(self):
        """[(round, peer, measure, what it said)]"""
        return [(visit["round"], visit["peer"], measure, text) for visit in self.visits
                for measure, text in visit["errors"].items()]
