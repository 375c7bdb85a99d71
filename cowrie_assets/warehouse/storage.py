"""What everything takes on the disk, how it grows, and when the disk is full.

Lives here: measuring, and the measurements kept in `storage_use`. Not here: removing anything (`pruning`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

from cowrie_assets.settings import StateFolder
from cowrie_assets.warehouse.event_chunks import Connection

_BLOCK = 512  # what st_blocks counts, whatever the file system's own blocks are
_WEEK = timedelta(days=7)
_DAY = timedelta(days=1)
_UNITS = ("bytes", "kB", "MB", "GB", "TB")


@dataclass(frozen=True)
class Use:
    """What a part takes: a table, a folder of the state folder (its name ends with a slash), or what Dagster has in a
    database. `rows` is an estimate, None for folders; `growth` in bytes a day, None while it is not known."""

    part: str
    bytes: int
    rows: int | None = None
    growth: float | None = None


@dataclass(frozen=True)
class Forecast:
    """Room on the disk of the state folder, and the days until it is used up at the present growth; None: it does not
    grow, or that is not known yet."""

    free_bytes: int
    growth: float | None
    days: float | None

    @property
    def words(self) -> str:
        room = f"{shown_bytes(self.free_bytes)} free"
        if self.growth is None:
            return f"{room}; how fast it fills is known after a day"
        if self.days is None:
            return f"{room}; nothing grows"
        return f"{room}, full in {self.days:,.0f} days at {shown_bytes(self.growth)} a day"


def measure(
    connection: Connection, state: StateFolder, dagster: Path, dagster_database: int | None, *, embedded: bool
) -> list[Use]:
    """What each part takes now, largest first. `dagster` is the folder of Dagster's instance; `dagster_database` the
    bytes that it takes of a database of its own. Logs are the operator's, and are not measured."""
    tables = _tables(connection)
    folders = {
        "cache/": state.cache,
        "geoip/": state.geoip,
        "lists/": state.lists,
        "reports/": state.reports,
        "dagster/": dagster,
    }
    uses = [*tables, *(Use(part, size_of(folder)) for part, folder in folders.items())]
    if embedded:
        # Beside the tables: the log of changes that PostgreSQL writes ahead, its catalogues, room kept in reserve.
        beside = size_of(state.home / "postgres") - sum(use.bytes for use in tables)
        uses.append(Use("postgres/", max(0, beside)))
    if dagster_database is not None:
        uses.append(Use("dagster's database", dagster_database))
    return sorted(uses, key=lambda use: (-use.bytes, use.part))


def keep_measurement(connection: Connection, uses: Iterable[Use], moment: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO storage_use (measured_at, part, bytes, rows) VALUES (%s, %s, %s, %s)",
            [(moment, use.part, use.bytes, use.rows) for use in uses],
        )


def with_growth(connection: Connection, uses: Iterable[Use], moment: datetime) -> list[Use]:
    """The same, with what each part grew a day since the measurement of a week ago, or the oldest since then that is
    a day old at least."""
    row = connection.execute(
        """
        SELECT coalesce(
            (SELECT max(measured_at) FROM storage_use WHERE measured_at <= %(week_ago)s),
            (SELECT min(measured_at) FROM storage_use WHERE measured_at <= %(day_ago)s)
        )
        """,
        {"week_ago": moment - _WEEK, "day_ago": moment - _DAY},
    ).fetchone()
    since = row[0] if row else None
    if since is None:
        return list(uses)
    before: dict[str, int] = dict(
        connection.execute("SELECT part, bytes FROM storage_use WHERE measured_at = %s", (since,)).fetchall()
    )
    days = (moment - since) / _DAY
    return [
        Use(use.part, use.bytes, use.rows, (use.bytes - before[use.part]) / days if use.part in before else None)
        for use in uses
    ]


def forecast(home: Path, uses: Iterable[Use], *, embedded: bool) -> Forecast:
    """When the disk of the state folder is full. Tables of another server take none of it."""
    here = [use for use in uses if embedded or use.part.endswith("/")]
    known = [use.growth for use in here if use.growth is not None and use.part != "dagster's database"]
    free = shutil.disk_usage(home).free
    growth = sum(known) if known else None
    return Forecast(free, growth, free / growth if growth is not None and growth > 0 else None)


def history(connection: Connection, moment: datetime, days: int = 60) -> Mapping[date, Mapping[str, int]]:
    """What each part took by day, at its last measurement."""
    rows = connection.execute(
        """
        SELECT DISTINCT ON (day, part) (measured_at AT TIME ZONE 'UTC')::date AS day, part, bytes
        FROM storage_use
        WHERE measured_at > %s
        ORDER BY day ASC, part ASC, measured_at DESC
        """,
        (moment - timedelta(days=days),),
    )
    by_day: dict[date, dict[str, int]] = {}
    for day, part, size in rows:
        by_day.setdefault(day, {})[part] = size
    return by_day


def size_of(path: Path) -> int:
    """What a file, or all below a folder, takes on the disk, in bytes; 0 where there is nothing, or not any more."""
    size = _blocks(path)
    if path.is_dir() and not path.is_symlink():
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    size += size_of(Path(entry.path)) if entry.is_dir(follow_symlinks=False) else _blocks(entry)
        except OSError:
            return size
    return size


def _blocks(file: Path | os.DirEntry[str]) -> int:
    try:
        return file.stat(follow_symlinks=False).st_blocks * _BLOCK
    except OSError:  # it went while it was looked at
        return 0


def shown_bytes(size: float) -> str:
    """Bytes as people read them, in powers of a thousand."""
    number, unit = float(size), 0
    while abs(number) >= 1000 and unit < len(_UNITS) - 1:
        number, unit = number / 1000, unit + 1
    return f"{number:,.0f} {_UNITS[unit]}" if unit == 0 else f"{number:,.1f} {_UNITS[unit]}"


def _tables(connection: Connection) -> list[Use]:
    rows = connection.execute(
        """
        SELECT c.relname, pg_total_relation_size(c.oid), nullif(c.reltuples, -1)::bigint
        FROM pg_class AS c
        WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
        """
    )
    return [Use(name, size, count) for name, size, count in rows]
