"""What was read of each log file, and what of it was no record.

Lives here: the rows of `log_files`, `dead_letter_events` and `event_days`. Not here: reading files.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import date
from hashlib import sha256

from psycopg.rows import dict_row

from cowrie_assets.cowrie.logfiles import HEAD_BYTES, MAX_KEPT_BYTES
from cowrie_assets.warehouse.event_chunks import Connection


@dataclass(frozen=True)
class DeadLetter:
    """Text of a log file that is no record. `content` is all of it up to 1 MB, else its first 64 KiB."""

    offset: int
    reason: str
    content: bytes
    length: int
    sha256: str

    @classmethod
    def of(cls, offset: int, reason: str, text: bytes) -> DeadLetter:
        kept = text if len(text) <= MAX_KEPT_BYTES else text[:HEAD_BYTES]
        return cls(offset, reason, kept, len(text), sha256(text).hexdigest())


@dataclass
class FileProgress:
    """How far one content of one path was read, and how its bytes add up (all decompressed, promise P6)."""

    path: str
    generation: int
    compression: str
    prefix_digest: bytes
    offset_bytes: int = 0
    file_state: str | None = None
    problem: str | None = None
    torn_tail: bool = False
    total_bytes: int = 0
    record_bytes: int = 0
    blank_bytes: int = 0
    dead_bytes: int = 0
    pending_bytes: int = 0
    records: int = 0
    blank_lines: int = 0
    dead_letters: int = 0
    events: int = 0
    duplicates: int = 0

    def copy(self) -> FileProgress:
        return replace(self)

    def consumed(self, length: int, prefix_digest: bytes) -> None:
        """`length` more bytes are dealt with for good; reading can go on behind them."""
        self.offset_bytes += length
        self.total_bytes = self.offset_bytes
        self.prefix_digest = prefix_digest

    def count_stored(self, new_events: int) -> None:
        """Of the records not yet counted, this many were new to the store; the others were duplicates."""
        self.events += new_events
        self.duplicates = self.records - self.events


# The reason of a dead letter that may yet become a record, when its file comes whole.
TORN = "torn last line of a compressed file"
_COLUMNS = list(FileProgress.__dataclass_fields__)


def latest_progress(connection: Connection, path: str) -> FileProgress | None:
    query = f"SELECT {', '.join(_COLUMNS)} FROM log_files WHERE path = %s ORDER BY generation DESC LIMIT 1"  # noqa: S608
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(query, (path,)).fetchone()
    return FileProgress(**row) if row else None


def save_progress(connection: Connection, progress: FileProgress) -> None:
    values = ", ".join(f"%({column})s" for column in _COLUMNS)
    changes = ", ".join(f"{column} = excluded.{column}" for column in _COLUMNS if column not in ("path", "generation"))
    connection.execute(
        f"INSERT INTO log_files ({', '.join(_COLUMNS)}) VALUES ({values}) "  # noqa: S608
        f"ON CONFLICT (path, generation) DO UPDATE SET {changes}",
        asdict(progress),
    )


def save_dead_letters(connection: Connection, letters: Iterable[tuple[FileProgress, DeadLetter]]) -> None:
    """Keep each distinct text once, with the place where it was seen first, and every place where it lies. A line that
    is dead for good replaces the same text that was only torn."""
    letters = list(letters)
    with connection.cursor() as cursor:
        cursor.executemany(
            """
            INSERT INTO dead_letter_events (sha256, reason, path, offset_bytes, length, content)
            VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (sha256) DO UPDATE
            SET reason = excluded.reason, path = excluded.path, offset_bytes = excluded.offset_bytes
            WHERE dead_letter_events.reason = %s AND excluded.reason <> %s
            """,
            [(lt.sha256, lt.reason, file.path, lt.offset, lt.length, lt.content, TORN, TORN) for file, lt in letters],
        )
        cursor.executemany(
            "INSERT INTO dead_letter_sightings (path, generation, offset_bytes, sha256) VALUES (%s, %s, %s, %s)",
            [(file.path, file.generation, lt.offset, lt.sha256) for file, lt in letters],
        )


def forget_torn_tail(connection: Connection, progress: FileProgress) -> None:
    """Take back the dead letter of an unfinished last line, before that line is read again. Another file that is torn
    at the same text keeps it."""
    progress.dead_letters -= 1
    progress.dead_bytes -= progress.total_bytes - progress.offset_bytes
    progress.total_bytes = progress.offset_bytes
    progress.torn_tail = False
    progress.file_state = None
    save_progress(connection, progress)
    connection.execute(
        """
        WITH taken_back AS (
            DELETE FROM dead_letter_sightings
            WHERE path = %s AND generation = %s AND offset_bytes = %s
            RETURNING path, generation, offset_bytes, sha256
        )
        DELETE FROM dead_letter_events AS letter USING taken_back
        WHERE letter.sha256 = taken_back.sha256 AND NOT EXISTS (
            SELECT FROM dead_letter_sightings AS other
            WHERE other.sha256 = letter.sha256
                AND (other.path, other.generation, other.offset_bytes)
                    <> (taken_back.path, taken_back.generation, taken_back.offset_bytes)
        )
        """,
        (progress.path, progress.generation, progress.offset_bytes),
    )


def mark_changed(connection: Connection, days: Iterable[date]) -> None:
    """Tell the daily assets that sessions which start on these days are not what they were."""
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO event_days (day, revision) VALUES (%s, 1) "
            "ON CONFLICT (day) DO UPDATE SET revision = event_days.revision + 1",
            [(day,) for day in sorted(days)],
        )
