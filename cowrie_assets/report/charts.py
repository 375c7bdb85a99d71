"""Charts, each as the data URI of a picture that fits into Markdown and HTML.

Lives here: what a chart of bars, columns or lines looks like. Not here: the drawing (`picture`), the numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from cowrie_assets.report.picture import INK, Picture, legend_lines, shortened, ticks, width_of
from cowrie_assets.report.tables import QueryResult

_WIDTH = 760
_LEFT, _RIGHT = 60, _WIDTH - 20
_TOP, _PLOT = 34, 190
_BARS, _BAR = 15, 320  # at most, and the longest
_BLUE = "#4f6bed"
_SHARES = {
    "anonymization_ratio": ("any", INK),
    "vpn_ratio": ("VPN", _BLUE),
    "proxy_ratio": ("proxy", "#e0a03b"),
    "tor_ratio": ("Tor", "#8c3fa8"),
}
_PARTS = (_BLUE, "#e0a03b", "#8c3fa8", "#3fa88c", "#b5484f", INK)
_OTHERS = ("others", "#c9ced8")
_LONGEST_NAME = 40
_MOST_DOTS = 62
HOURS = tuple(f"{hour:02}" for hour in range(24))


def chart(result: QueryResult) -> str:
    """The result: shares over time where its rows are days, else bars by sessions."""
    return trend_chart(result) if isinstance(result.rows[0][result.label], date) else bar_chart(result)


def trend_chart(result: QueryResult) -> str:
    """How the shares changed from day to day; one that nobody could tell has no line."""
    rows = sorted(result.rows, key=lambda row: str(row[result.label]))
    shares = {
        name: (colour, [None if row[column] is None else 100 * float(str(row[column])) for row in rows])
        for column, (name, colour) in _SHARES.items()
    }
    known = {name: line for name, line in shares.items() if any(share is not None for share in line[1])}
    legend = [(name, colour) for name, (colour, _) in known.items()]
    picture, height = _axes(
        f"{result.title}: % of the sessions that could be judged",
        [str(row[result.label]) for row in rows],
        max((share for _, line in known.values() for share in line if share is not None), default=0),
        legend,
    )
    width = (_RIGHT - _LEFT) / len(rows)
    for colour, line in known.values():
        places = [_LEFT + width * (number + 0.5) for number in range(len(rows))]
        points = [
            None if share is None else (x, _TOP + _PLOT - share * height) for x, share in zip(places, line, strict=True)
        ]
        picture.line(points, colour)
        if len(rows) <= _MOST_DOTS:  # a day between two unknown ones is a dot, and no line
            picture.boxes([(x - 2, y - 2, 4, 4) for x, y in filter(None, points)], colour)
    return picture.uri()


def bar_chart(result: QueryResult) -> str:
    """The result's first rows by sessions."""
    rows = [(row[result.label] or row[next(iter(row))], row["session_count"]) for row in result.rows[:_BARS]]
    return bars(f"{result.title}: sessions", [(str(name), int(str(count))) for name, count in rows])


def bars(title: str, counts: Sequence[tuple[str, int]]) -> str:
    """A bar each, downwards in the order given, with its name and its number."""
    shown = counts[:_BARS]
    names = [shortened(name, _LONGEST_NAME) for name, _ in shown]
    left = 24 + max(map(width_of, names), default=0)
    picture = Picture(round(max(left + _BAR + 80, 24 + 1.2 * width_of(title))), 40 + 22 * len(shown), title)
    scale = _BAR / max([1, *(count for _, count in shown)])
    picture.boxes([(left, _TOP + 22 * row, count * scale, 15) for row, (_, count) in enumerate(shown)], _BLUE)
    heights = [_TOP + 12 + 22 * row for row in range(len(shown))]
    picture.words(((left - 6, y, name) for y, name in zip(heights, names, strict=True)), anchor="end")
    picture.words((left + count * scale + 5, y, f"{count:,}") for y, (_, count) in zip(heights, shown, strict=True))
    return picture.uri()


def columns(title: str, labels: Sequence[str], parts: Mapping[str, Sequence[float]]) -> str:
    """A column a label, the parts stacked in the order given; those beyond the sixth are shown together."""
    series = [
        (shortened(name, _LONGEST_NAME), colour, list(values))
        for (name, values), colour in zip(parts.items(), _PARTS, strict=False)
    ]
    rest = list(parts.values())[len(_PARTS) :]
    if rest:
        series.append((*_OTHERS, [sum(values) for values in zip(*rest, strict=True)]))
    totals = [sum(values) for values in zip(*(values for _, _, values in series), strict=True)]
    picture, height = _axes(title, labels, max(totals, default=0), [(name, colour) for name, colour, _ in series])
    width = (_RIGHT - _LEFT) / max(1, len(labels))
    # From the whole down to the first part, each over those behind it.
    for _, colour, values in reversed(series):
        picture.skyline(_LEFT, width, _TOP + _PLOT, [total * height for total in totals], colour)
        totals = [total - value for total, value in zip(totals, values, strict=True)]
    return picture.uri()


def use_chart(by_day: Mapping[date, Mapping[str, int]]) -> str:
    """What took the disk, day by day: the parts that are largest on the newest day stacked, the others together."""
    days = sorted(by_day)
    newest = by_day[days[-1]] if days else {}
    names = sorted({name for day in days for name in by_day[day]}, key=lambda part: (-newest.get(part, 0), part))
    parts = {name: [by_day[day].get(name, 0) / 1e6 for day in days] for name in names}
    return columns("What takes the disk: MB", [str(day) for day in days], parts)


def _axes(
    title: str, labels: Sequence[str], largest: float, legend: Sequence[tuple[str, str]]
) -> tuple[Picture, float]:
    """An empty plot with its scale, labels and legend, and the pixels that a unit is high."""
    picture = Picture(_WIDTH, _TOP + _PLOT + 34 + 18 * legend_lines(_LEFT, _RIGHT, legend), title)
    bottom = _TOP + _PLOT
    marks = ticks(largest)
    heights = [bottom - mark * _PLOT / marks[-1] for mark in marks]
    picture.rules(_LEFT, _RIGHT, heights)
    scale = [f"{mark:,.6g}" if mark < 1e6 else f"{mark:,.0f}" for mark in marks]
    picture.words(((_LEFT - 6, y + 4, text) for y, text in zip(heights, scale, strict=True)), anchor="end")
    width = (_RIGHT - _LEFT) / max(1, len(labels))
    # As many labels as find room beside each other.
    every = max(1, -(-len(labels) * 7 * (max(map(len, labels), default=0) + 1) // (_RIGHT - _LEFT)))
    picture.words(
        ((_LEFT + width * (n + 0.5), bottom + 15, labels[n]) for n in range(0, len(labels), every)), anchor="middle"
    )
    picture.legend(_LEFT, bottom + 26, _RIGHT, legend)
    return picture, _PLOT / marks[-1]
