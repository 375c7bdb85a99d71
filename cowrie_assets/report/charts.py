"""Charts as pictures that fit into Markdown and HTML.

Lives here: drawing. Not here: what is drawn. Matplotlib is imported when the first chart is: it takes half a second.
"""

from __future__ import annotations

import base64
import io
from datetime import date
from typing import Any

from cowrie_assets.report.escaping import visible
from cowrie_assets.report.tables import QueryResult

_BARS = 15
_COLOUR = "#4f6bed"
_SHARES = {
    "anonymization_ratio": ("any", "#1c2230"),
    "vpn_ratio": ("VPN", "#4f6bed"),
    "proxy_ratio": ("proxy", "#e0a03b"),
    "tor_ratio": ("Tor", "#8c3fa8"),
}


def chart(result: QueryResult) -> str:
    """The result as a data URI of a PNG: shares over time where its rows are days, else bars by sessions."""
    return trend_chart(result) if isinstance(result.rows[0][result.label], date) else bar_chart(result)


def trend_chart(result: QueryResult) -> str:
    """How the shares changed from day to day; one that nobody could tell has no line."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    rows = sorted(result.rows, key=lambda row: str(row[result.label]))
    days = [row[result.label] for row in rows]
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.subplots()
    for column, (name, colour) in _SHARES.items():
        shares = [None if (share := row[column]) is None else 100 * float(str(share)) for row in rows]
        if any(share is not None for share in shares):
            known = [float("nan") if share is None else share for share in shares]
            axes.plot(range(len(days)), known, marker="o", markersize=3, label=name, color=colour)
    step = max(1, len(days) // 10)
    axes.set_xticks(range(0, len(days), step), [str(day) for day in days[::step]], rotation=30, ha="right")
    axes.set_ylabel("% of the sessions that could be judged")
    axes.set_ylim(bottom=0)
    axes.set_title(result.title, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    if axes.lines:
        figure.legend(loc="outside lower center", frameon=False, ncols=4)
    return _picture(figure)


def bar_chart(result: QueryResult) -> str:
    """The result's first rows by sessions, as a data URI of a PNG."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    rows = result.rows[:_BARS][::-1]
    names = [visible(str(row[result.label] or row[next(iter(row))]))[:40] for row in rows]
    counts = [int(str(row["session_count"])) for row in rows]
    figure = Figure(figsize=(8, 0.9 + 0.32 * len(rows)), layout="constrained")
    axes = figure.subplots()
    # A name may hold dollar signs, which would be set as formulas.
    bars = axes.barh(range(len(rows)), counts, color=_COLOUR)
    axes.set_yticks(range(len(rows)), names, parse_math=False)
    axes.bar_label(bars, [f"{count:,}" for count in counts], padding=3, fontsize=8)
    axes.set_xlabel("sessions")
    axes.set_title(result.title, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.1)
    return _picture(figure)


def _picture(figure: Any) -> str:
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=100, metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(picture.getvalue()).decode("ascii")
