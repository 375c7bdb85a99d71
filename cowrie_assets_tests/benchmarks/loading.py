"""`make bench`: loading one day, beside bare `orjson.loads` over its lines, measured in turn in the same run.

The machine may be shared and noisy, so medians and ratios count, never a single time.
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson
from rich.console import Console
from rich.table import Table

from cowrie_assets.assets.ingestion import ingest
from cowrie_assets.assets.reconstruction import days_due, rebuild_day
from cowrie_assets.cowrie.events import parse_lines
from cowrie_assets.sandbox.traffic import write_sample_logs
from cowrie_assets.settings import SensorNames
from cowrie_assets.warehouse.database import migrate, open_connection
from cowrie_assets.warehouse.embedded import EmbeddedServer
from cowrie_assets.warehouse.event_chunks import Connection
from cowrie_assets_tests.rows import empty

# A loader has to keep what it parses until it has grouped it; dropping each value at once is the lower bound.
BARE = "bare orjson.loads, values kept"
DROPPED = "bare orjson.loads, values dropped"
ROUNDS = 7
LIMIT = 0.10
DAY = date(2025, 9, 12)
RESULTS = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"


def one_day(folder: Path) -> Path:
    """A busy day as one plain file: the busiest known day of two sensors had 15,221 sessions, this one about 15,000."""
    write_sample_logs(folder / "sample", DAY, days=2, sessions_per_day=15_000)
    log = folder / "day" / "cowrie.json"
    log.parent.mkdir()
    with log.open("wb") as day:
        for path in sorted((folder / "sample").rglob("cowrie.json")):
            day.write(path.read_bytes())
    return log


def seconds(work: Callable[[], object]) -> float:
    gc.collect()
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def measure(connection: Connection, log: Path) -> dict[str, list[float]]:
    """Each step timed in turn, round by round, so that all of them meet the same noise."""
    lines = [line for line, event in parse_lines(log.read_bytes().split(b"\n")) if event is not None]

    def parse_and_keep() -> list[object]:
        return [orjson.loads(line) for line in lines]

    def parse_and_drop() -> None:
        for line in lines:
            orjson.loads(line)

    def load() -> None:
        ingest(connection, [log], SensorNames())

    def rebuild() -> None:
        for day in sorted(days_due(connection, "sessions")):
            rebuild_day(connection, day)

    times: dict[str, list[float]] = {step: [] for step in (BARE, DROPPED, "ingestion", "sessions", "loading")}
    for _ in range(ROUNDS):
        empty(connection)
        times[BARE].append(seconds(parse_and_keep))
        times[DROPPED].append(seconds(parse_and_drop))
        times["ingestion"].append(seconds(load))
        times["sessions"].append(seconds(rebuild))
        times["loading"].append(times["ingestion"][-1] + times["sessions"][-1])
    return times


def main() -> int:
    with TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        log = one_day(folder)
        server = EmbeddedServer(folder / "home")
        with server.hold():
            migrate(server.url())
            with open_connection(server.url()) as connection:
                times = measure(connection, log)
                row = connection.execute(
                    "SELECT (SELECT sum(event_count)::int FROM event_chunks), (SELECT count(*)::int FROM sessions)"
                ).fetchone()
        megabytes = log.stat().st_size / 1e6
    events, sessions = row or (0, 0)
    medians = {step: statistics.median(found) for step, found in times.items()}
    ratios = {
        step: statistics.median(b / t for b, t in zip(times[BARE], found, strict=True)) for step, found in times.items()
    }
    header = ("step", "median s", "events/s", "ratio to bare orjson", "limit")
    rows = [
        (step, f"{medians[step]:.3f}", f"{events / medians[step]:,.0f}", f"{ratios[step]:.2f}", limit)
        for step, limit in (
            (BARE, ""),
            (DROPPED, ""),
            ("ingestion", ""),
            ("sessions", ""),
            ("loading", f">= {LIMIT:.2f}"),
        )
    ]
    said = f"One day of {megabytes:.0f} MB, {events:,} events, {sessions:,} sessions; medians of {ROUNDS} rounds."
    table = Table(*header, title=said)
    for cells in rows:
        table.add_row(*cells)
    Console().print(table)
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`. " + said,
        "",
        "| " + " | ".join(header) + " |",
        "|---" * 5 + "|",
    ]
    lines += ["| " + " | ".join(cells) + " |" for cells in rows]
    RESULTS.write_text("\n".join(lines) + "\n", encoding="utf-8")
    if ratios["loading"] < LIMIT:
        print(f"loading is slower than {LIMIT:.2f} of bare orjson", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
