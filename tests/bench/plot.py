"""A run as a picture: ratios to the reference as bars. SVG by hand, no library.

It stands in a README that is read on white and on black: the ground is transparent, and every
colour is a middle tone that both carry.
"""

from html import escape

from contenders import BOUND, BOUND_ONE, NO_TUNNEL, OURS, OURS_TLS, REFERENCE
from figures import FIGURES

INK = "#768390"
OUR_COLOUR, OUR_TLS_COLOUR = "#1f9d8a", "#58b5a6"
PEER_COLOUR, REFERENCE_COLOUR, BOUND_COLOUR = "#8a97a8", "#d08a3c", "#8a97a8"

WIDTH = 860
LABEL = 122             # names at the left of a panel
VALUES = 104            # numbers at the right
GAP = 44                # between two panels
PANEL = (WIDTH - GAP) // 2
BAR, STEP = 15, 23
HEAD = 42               # a panel's title
TOP = 64
FONT = "ui-sans-serif, system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"

# (title, what is good, figure, unit of the figure, factor to it)
PANELS = (
    ("TCP up, one stream", "longer is better", "tcp1_up", "Gbit/s", 1e-3),
    ("TCP down, one stream", "longer is better", "tcp1_down", "Gbit/s", 1e-3),
    ("64-byte packets up, < 0.5 % lost", "longer is better", "udp64_up", "kpps", 1),
    ("CPU for a gigabyte up, both ends", "shorter is better", "cpu_up", "s", 1),
)


def colour(peer):
    return {OURS: OUR_COLOUR, OURS_TLS: OUR_TLS_COLOUR, REFERENCE: REFERENCE_COLOUR}.get(
        peer, PEER_COLOUR)


def is_bound(peer):
    return peer in (BOUND, BOUND_ONE)


def text(x, y, words, size=12, anchor="start", weight="400", fill=INK):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
            f'font-weight="{weight}" fill="{fill}">{escape(words)}</text>')


def ranking(run, name):
    """[(peer, spread of its ratios, its own median)] of those that were measured, best first."""
    found = []
    for peer in run.peers():
        if peer == NO_TUNNEL:
            continue
        ratios, own = run.ratios(peer, name, REFERENCE), run.spread(peer, name)
        if ratios and own:
            found.append((peer, ratios, own.median))
    return sorted(found, key=lambda entry: entry[1].median,
                  reverse=not FIGURES[name].lower_is_better)


class Panel:
    def __init__(self, x, y, title, good, name, unit, factor, entries):
        self.x, self.y = x, y
        self.title, self.good = title, good
        self.unit, self.factor = unit, factor
        self.entries = entries
        # Whiskers may be longer than bars.
        longest = max(ratios.maximum for _, ratios, _ in entries)
        self.scale = (PANEL - LABEL - VALUES - 18) / longest

    @property
    def height(self):
        return HEAD + STEP * len(self.entries) + 14

    def draw(self):
        left, top = self.x + LABEL, self.y + HEAD
        one = left + self.scale
        parts = [text(self.x, self.y + 14, self.title, 14, weight="600"),
                 text(self.x, self.y + 30, f"ratio to ocserv, {self.good}", 11),
                 # Behind the bars.
                 f'<line x1="{one:.1f}" y1="{top - 4:.1f}" x2="{one:.1f}" '
                 f'y2="{top + STEP * len(self.entries) - 4:.1f}" stroke="{REFERENCE_COLOUR}" '
                 'stroke-width="1.2" stroke-dasharray="2 3"/>']
        for nth, entry in enumerate(self.entries):
            parts += self.bar(left, top + nth * STEP, *entry)
        return parts

    def bar(self, left, y, peer, ratios, own):
        length = max(ratios.median * self.scale, 1.5)
        ours = peer in (OURS, OURS_TLS)
        fill = (f'fill="none" stroke="{BOUND_COLOUR}" stroke-width="1.2" stroke-dasharray="4 3"'
                if is_bound(peer) else f'fill="{colour(peer)}"')
        middle = y + BAR / 2
        low, high = left + ratios.minimum * self.scale, left + ratios.maximum * self.scale
        ratio_end = self.x + PANEL - VALUES + 34
        shown = f"{number(own * self.factor)} {self.unit}"
        name_colour = OUR_COLOUR if ours else colour(peer) if peer == REFERENCE else INK
        return [text(left - 8, middle + 4, peer, 12, "end", "600" if ours else "400",
                     name_colour),
                f'<rect x="{left:.1f}" y="{y:.1f}" width="{length:.1f}" height="{BAR}" rx="2.5" '
                f'{fill}/>',
                f'<path d="M{low:.1f} {middle:.1f}H{high:.1f}" stroke="{INK}" stroke-width="1.4"/>',
                text(ratio_end, middle + 4, f"×{ratios.median:.2f}", 12, "end", "600",
                     name_colour),
                text(self.x + PANEL, middle + 4, shown, 11, "end")]


def number(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def panels(run):
    """Two beside each other, as many rows as there is something to show."""
    placed, y, row = [], TOP, []
    for title, good, name, unit, factor in PANELS:
        entries = ranking(run, name)
        if not entries:
            continue
        row.append(Panel(len(row) * (PANEL + GAP), y, title, good, name, unit, factor, entries))
        if len(row) == 2:
            placed += row
            y += max(panel.height for panel in row) + 16
            row = []
    if row:
        placed += row
        y += row[0].height + 16
    return placed, y


def subtitle(run):
    machine, options = run.data["machine"], run.data["options"]
    return (f"{machine['cpu']}, {machine['cores']} cores for both ends, the load and the hop "
            f"between; Linux {machine['kernel'].split('-')[0]}; {run.data['started_at'][:10]}; "
            + (f"medians of {options['rounds']} rounds, lines from minimum to maximum"
               if options["rounds"] > 1 else "one round"))


def svg(run):
    placed, height = panels(run)
    height += 8
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-12 0 {WIDTH + 24} {height}" '
             f'width="{WIDTH + 24}" height="{height}" font-family="{FONT}" role="img" '
             'aria-label="tund beside other tunnels: TCP, packet rate, CPU, as ratios to ocserv">',
             text(0, 22, "tund beside other tunnels", 17, weight="700"),
             text(0, 41, subtitle(run), 11)]
    for panel in placed:
        parts += panel.draw()
    return "\n".join([*parts, "</svg>"]) + "\n"
