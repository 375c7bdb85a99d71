"""A query's result as Markdown and CSV, and any other rows as Markdown.

Lives here: which columns are shown, and how values read. Not here: the queries.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

from cowrie_assets.report.escaping import csv_text, markdown_text

Value = str | int | float | Decimal | date | None
Row = dict[str, Value]


@dataclass(frozen=True)
class QueryResult:
    """Rows of a query, most sessions first, with what they rest on: sessions in the window, those eligible (with a
    public source), those covered (whose key is known), the gate's state."""

    number: int
    name: str
    title: str
    label: str
    rows: list[Row]
    minimum_sessions: int = 0
    sessions: int = 0
    eligible: int = 0
    covered: int = 0
    gate: str = "never run"
    sandbox: bool = False

    @property
    def coverage(self) -> float:
        return self.covered / self.eligible if self.eligible else 0.0

    @property
    def basis(self) -> str:
        """The result's footing, in a sentence."""
        return ("SANDBOX, invented data: " if self.sandbox else "") + (
            f"n = {self.sessions:,} sessions, {self.eligible:,} with a public source; coverage {self.coverage:.1%}, "
            f"gate {self.gate}; rows with fewer than {self.minimum_sessions} sessions are left out"
        )


def shown(value: Value, column: str = "") -> str:
    """A value as people read it; what is unknown is a dash, never a zero. AS numbers are names: no thousands."""
    if value is None:
        return "–"
    if column in ("asn", "AS"):
        return str(value)
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)


def markdown_table(result: QueryResult, limit: int) -> str:
    """The first rows as a Markdown table, hostile text escaped."""
    if not result.rows:
        return f"no row ({result.basis})"
    return f"{markdown_rows(result.rows[:limit])}\n\n{result.basis}"


def markdown_rows(rows: Sequence[Row]) -> str:
    """Rows as a Markdown table, headed by their columns' names, hostile text escaped."""
    columns = list(rows[0]) if rows else []
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(_cell(row[column], column) for column in columns) + " |" for row in rows]
    return "\n".join(lines) if rows else "none"


def write_csv(folder: Path, result: QueryResult) -> Path:
    """All rows as `<query>.csv`, replaced at once; text that a spreadsheet would take for a formula gets a quote."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if result.rows:
        writer.writerow(result.rows[0])
    for row in result.rows:
        writer.writerow([csv_text(value) if isinstance(value, str) else value for value in row.values()])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{'sandbox_' if result.sandbox else ''}{result.name}.csv"
    new = path.with_suffix(".csv.new")
    new.write_text(text.getvalue(), encoding="utf-8")
    new.replace(path)
    return path


def _cell(value: Value, column: str) -> str:
    return markdown_text(value) if isinstance(value, str) else shown(value, column)
