"""From log files to stored events: each file read once, resumed where it grew, each event kept once.

Lives here: what was read of which file and how it adds up (promise P6), in transactions that survive `kill -9` (P10).
Not here: Dagster (`events`), how lines are cut and read (`cowrie_assets.cowrie`), how events are kept
(`warehouse.event_chunks`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Any

import psycopg

from cowrie_assets.cowrie.events import PADDING, Event, parse_lines, salvage, uncollected
from cowrie_assets.cowrie.logfiles import (
    MAX_LINE_BYTES,
    Block,
    Checksum,
    LogStream,
    LongLine,
    NotACowrieLog,
    Tail,
    find_log_files,
    read_lines,
    require_cowrie,
)
from cowrie_assets.settings import UNNAMED_SENSOR, SensorNames
from cowrie_assets.warehouse.copy_text import storable
from cowrie_assets.warehouse.event_chunks import Connection, NewEvent, add_events, session_id_of
from cowrie_assets.warehouse.log_files import (
    TORN,
    DeadLetter,
    FileProgress,
    forget_torn_tail,
    latest_progress,
    mark_changed,
    save_dead_letters,
    save_progress,
)

FLUSH_BYTES = 32 << 20
_BYTES_AROUND_A_LINE = 300
# Cowrie's first release. An earlier clock is a board without a battery; such an event is kept and makes no partition.
FIRST_POSSIBLE_DAY = date(2014, 5, 1)
TOO_LONG = f"a line over {MAX_LINE_BYTES >> 20} MiB"
_INGESTION_LOCK = 0x636F7772


class NothingToLoad(ValueError):
    """No Cowrie log was found; the message says where was looked, what was found instead, and the cure."""


@dataclass
class Ingested:
    """What one ingestion did. `skipped` has (path, reason) of files that are no Cowrie logs or cannot be read."""

    files: int = 0
    unchanged_files: int = 0
    total_bytes: int = 0
    records: int = 0
    events: int = 0
    dead_letters: int = 0
    pending_bytes: int = 0
    changed_days: set[date] = field(default_factory=set)
    skipped: list[tuple[Path, str]] = field(default_factory=list)
    problems: list[tuple[Path, str]] = field(default_factory=list)

    @property
    def duplicates(self) -> int:
        return self.records - self.events


Report = Callable[[Ingested, Path], None]


def ingest(
    connection: Connection, folders: Iterable[Path], names: SensorNames, report: Report = lambda _done, _path: None
) -> Ingested:
    """Load every Cowrie log below the folders into the store. Safe to repeat, and to kill at any moment.

    One ingestion runs at a time; another waits. `connection` must be in autocommit mode.

    Raises:
        NothingToLoad: a folder is missing, or no file below the folders is a Cowrie log.
    """
    folders = list(folders)
    paths = _find(folders)
    connection.execute("SELECT pg_advisory_lock(%s)", (_INGESTION_LOCK,))
    try:
        loader = _Loader(connection, names)
        gone = [(folder, "does not exist any more") for folder in folders if not folder.exists()]
        loader.done.skipped.extend(gone)
        with uncollected():
            for path in paths:
                report(loader.done, path)
                loader.read_file(path)
            loader.flush()
    finally:
        # Interrupted in mid-query, the connection cannot be used; the lock goes with it.
        with suppress(psycopg.Error):
            connection.execute("SELECT pg_advisory_unlock(%s)", (_INGESTION_LOCK,))
    done = loader.done
    if not done.files and not done.unchanged_files:
        raise NothingToLoad(_nothing_found(folders, done.skipped))
    return done


def changed_files(connection: Connection, folders: Iterable[Path]) -> dict[str, str]:
    """By path, size and times of the files that are not as they were when they were read to their end last.

    Raises:
        NothingToLoad: a folder is missing, or none is named.
    """
    rows = connection.execute(
        "SELECT DISTINCT ON (path) path, file_state FROM log_files ORDER BY path, generation DESC"
    )
    known: dict[str, str | None] = dict(rows.fetchall())
    changed = {}
    for path in _find(list(folders)):
        with suppress(FileNotFoundError):  # rotated away while we look
            state = _file_state(path)
            if known.get(storable(str(path))) != state:
                changed[storable(str(path))] = state
    return changed


def partition_days(days: Iterable[date], first_day: date | None = None, now: datetime | None = None) -> set[date]:
    """The days that are partitions: not before Cowrie existed (or the operator's start), not after today (UTC)."""
    today = (now or datetime.now(UTC)).date()
    return {day for day in days if (first_day or FIRST_POSSIBLE_DAY) <= day <= today}


def count_out_of_range(connection: Connection, now: datetime | None = None) -> int:
    """Stored events that are dated later than now + 1 day, or before Cowrie existed."""
    tomorrow = ((now or datetime.now(UTC)) + timedelta(days=1)).date()
    row = connection.execute(
        "SELECT coalesce(sum(event_count), 0) FROM event_chunks WHERE day > %s OR day < %s",
        (tomorrow, FIRST_POSSIBLE_DAY),
    ).fetchone()
    return int(row[0]) if row else 0


class _Loader:
    """Reads files one after the other and writes what it has read in transactions of about 32 MiB."""

    def __init__(self, connection: Connection, names: SensorNames) -> None:
        self.done = Ingested()
        self._connection = connection
        self._names = names
        self._unsaved: dict[int, FileProgress] = {}
        self._dead: list[tuple[FileProgress, DeadLetter]] = []
        self._events: dict[tuple[str, str], list[NewEvent]] = defaultdict(list)
        self._place: tuple[str | None, str] | None = None
        self._there: list[NewEvent] = []
        self._buffered = 0
        self._number = 0

    def read_file(self, path: Path) -> None:
        try:
            # Taken before reading: what is written meanwhile makes the file look changed next time.
            state = _file_state(path)
            known = latest_progress(self._connection, storable(str(path)))
            if known is not None and known.file_state == state:
                self.done.unchanged_files += 1
                self.done.pending_bytes += known.pending_bytes
                return
            stream, progress, checksum = _open(path, known)
            with stream:
                self._read(path, stream, progress, checksum, state)
        except NotACowrieLog as error:
            self.done.skipped.append((path, str(error)))
        except OSError as error:
            cure = (
                "give this user the right to read it" if isinstance(error, PermissionError) else "see the disk or share"
            )
            self.done.skipped.append((path, f"cannot be read ({error.strerror or error}): {cure}"))

    def _read(self, path: Path, stream: LogStream, progress: FileProgress, checksum: Checksum, state: str) -> None:
        self._number += 1
        self._place = None
        before = progress.copy()
        self._forget_tail(progress)
        sensor = self._names.of_file(path)
        for part in read_lines(stream, progress.offset_bytes, checksum):
            self._unsaved[self._number] = progress
            if isinstance(part, Block):
                self._read_block(progress, part, sensor)
                progress.consumed(len(part.data), checksum.digest())
            elif isinstance(part, LongLine) and part.terminated:
                self._dead_letter(progress, DeadLetter(part.offset, TOO_LONG, part.head, part.length, part.sha256), 1)
                progress.consumed(part.length + 1, checksum.digest())
            else:
                self._read_tail(progress, part, sensor, stream, checksum)
            if self._buffered > FLUSH_BYTES:
                self.flush()
        self._unsaved[self._number] = progress
        progress.total_bytes = stream.position
        progress.problem = stream.problem
        progress.file_state = state
        self.done.files += 1
        self.done.total_bytes += progress.total_bytes - before.total_bytes
        self.done.records += progress.records - before.records
        self.done.dead_letters += progress.dead_letters - before.dead_letters
        self.done.pending_bytes += progress.pending_bytes
        if stream.problem is not None:
            self.done.problems.append((path, stream.problem))

    def _forget_tail(self, progress: FileProgress) -> None:
        """The unfinished last line is read again: it may have grown, or be complete now."""
        if progress.torn_tail:
            with self._connection.transaction():
                forget_torn_tail(self._connection, progress)
        progress.pending_bytes = 0

    def _read_block(self, progress: FileProgress, block: Block, sensor: str | None) -> None:
        offset = block.offset
        lines = block.data.split(b"\n")
        lines.pop()
        add, records, record_bytes = self._add, 0, 0
        for line, event in parse_lines(lines):
            length = len(line) + 1
            if event is None or length > MAX_LINE_BYTES:
                self._read_odd_line(progress, offset, line, sensor)
            else:
                records += 1
                record_bytes += length
                add(event, line, sensor)
            offset += length
        progress.records += records
        progress.record_bytes += record_bytes
        self._buffered += len(block.data) + _BYTES_AROUND_A_LINE * len(lines)

    def _read_odd_line(self, progress: FileProgress, offset: int, line: bytes, sensor: str | None) -> None:
        """A line that is not simply one event; its newline is counted with its last part."""
        if not line.strip(PADDING):
            progress.blank_lines += 1
            progress.blank_bytes += len(line) + 1
            return
        if len(line) >= MAX_LINE_BYTES:
            self._dead_letter(progress, DeadLetter.of(offset, TOO_LONG, line), 1)
            return
        for segment in salvage(line):
            if segment.event is not None:
                self._add_record(progress, segment.raw, segment.event, sensor)
            else:
                self._dead_letter(progress, DeadLetter.of(offset, segment.reason or "", segment.raw))
            offset += len(segment.raw)
        if segment.event is not None:
            progress.record_bytes += 1
        else:
            progress.dead_bytes += 1

    def _read_tail(
        self, progress: FileProgress, tail: Tail | LongLine, sensor: str | None, stream: LogStream, checksum: Checksum
    ) -> None:
        """What follows the last newline: whole records are records; the rest may still grow in a plain file."""
        if isinstance(tail, LongLine):
            self._leave_rest(progress, DeadLetter(tail.offset, TORN, tail.head, tail.length, tail.sha256), stream)
            return
        offset = tail.offset
        segments = list(salvage(tail.data))
        for number, segment in enumerate(segments, 1):
            if segment.event is not None:
                self._add_record(progress, segment.raw, segment.event, sensor)
            elif number < len(segments):
                self._dead_letter(progress, DeadLetter.of(offset, segment.reason or "", segment.raw))
            else:
                self._leave_rest(progress, DeadLetter.of(offset, TORN, segment.raw), stream)
                return
            checksum.update(segment.raw)
            progress.consumed(len(segment.raw), checksum.digest())
            offset += len(segment.raw)

    def _leave_rest(self, progress: FileProgress, rest: DeadLetter, stream: LogStream) -> None:
        if stream.compression == "none":
            progress.pending_bytes = rest.length
        elif not rest.content.strip(PADDING):
            progress.blank_bytes += rest.length
        else:
            self._dead_letter(progress, rest)
            progress.torn_tail = True

    def _add_record(self, progress: FileProgress, raw: bytes, event: Event, sensor: str | None) -> None:
        progress.records += 1
        progress.record_bytes += len(raw)
        self._add(event, raw.strip(PADDING), sensor)

    def _add(self, event: tuple[dict[str, Any], str, bytes], line: bytes, sensor: str | None) -> None:
        value, instant, digest = event
        reported = value.get("sensor") if sensor is None else sensor
        place = (reported if type(reported) is str else None, instant[:10])
        # Nearly always the place of the line before.
        if place != self._place:
            if sensor is None:
                sensor = self._names.of_reported(place[0]) if place[0] else UNNAMED_SENSOR
            self._place = place
            self._there = self._events[sensor, place[1]]
        self._there.append((line, digest, session_id_of(value), instant, self._number))

    def _dead_letter(self, progress: FileProgress, letter: DeadLetter, newline: int = 0) -> None:
        progress.dead_letters += 1
        progress.dead_bytes += letter.length + newline
        self._dead.append((progress, letter))
        self._buffered += len(letter.content)

    def flush(self) -> None:
        """Write what was read in one transaction: events, dead letters and how far each file was read."""
        by_sensor: dict[str, dict[date, list[NewEvent]]] = defaultdict(dict)
        for (sensor, day), events in self._events.items():
            by_sensor[storable(sensor)[:256]].setdefault(date.fromisoformat(day), []).extend(events)
        with self._connection.transaction():
            new_events: Counter[int] = Counter()
            for sensor in sorted(by_sensor):
                added = add_events(self._connection, sensor, by_sensor[sensor])
                new_events.update(added.events_by_file)
                self.done.changed_days |= added.changed_days
                mark_changed(self._connection, added.changed_days)
            for number, progress in self._unsaved.items():
                progress.count_stored(new_events[number])
                save_progress(self._connection, progress)
            save_dead_letters(self._connection, self._dead)
        self.done.events += new_events.total()
        self._unsaved.clear()
        self._dead.clear()
        self._events.clear()
        self._place = None
        self._buffered = 0


def _open(path: Path, known: FileProgress | None) -> tuple[LogStream, FileProgress, Checksum]:
    """The file, standing where the last reading stopped if what was read then is still there, else at its start."""
    if known is not None:
        stream, checksum = LogStream(path), _checksum()
        if stream.skip(known.offset_bytes, checksum) and checksum.digest() == known.prefix_digest:
            return stream, known, checksum
        stream.close()
    require_cowrie(path)
    stream, checksum = LogStream(path), _checksum()
    generation = 1 if known is None else known.generation + 1
    progress = FileProgress(storable(str(path)), generation, stream.compression, checksum.digest())
    return stream, progress, checksum


def _checksum() -> Checksum:
    return blake2b(digest_size=16)


def _file_state(path: Path) -> str:
    stat = path.stat()
    return f"{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}:{stat.st_ino}"


def _find(folders: list[Path]) -> list[Path]:
    present = [folder for folder in folders if folder.exists()]
    if not folders:
        raise NothingToLoad(
            "no log folder is named: give one (make run LOGS=<folder>), or set COWRIE_CONFIG=sensors.toml"
        )
    if not present:
        raise NothingToLoad(f"{folders[0]} does not exist: name the folder that holds cowrie.json")
    return find_log_files(present)


def _nothing_found(folders: list[Path], skipped: list[tuple[Path, str]]) -> str:
    where = ", ".join(str(folder) for folder in folders)
    if not skipped:
        return f"no file below {where}: name the folder that holds cowrie.json and its rotated copies"
    shown = "".join(f"\n  {path}: {reason}" for path, reason in skipped[:10])
    more = f"\n  … and {len(skipped) - 10} more" if len(skipped) > 10 else ""
    return f"no Cowrie log below {where}; {len(skipped)} files were looked at:{shown}{more}"
