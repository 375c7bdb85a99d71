"""Charts as pictures that fit into Markdown and HTML.

Lives here: drawing. Not here: what is drawn. Matplotlib is imported when the first chart is: it takes half a second.
"""

from __future__ import annotations

import base64
import io

from cowrie_assets.report.escaping import visible
from cowrie_assets.report.tables import QueryResult

_BARS = 15
_COLOUR = "#4f6bed"


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
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=100, metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(picture.getvalue()).decode("ascii")
