"""Dagster's instance storage, from below: its tables and files, SQLite or PostgreSQL.

Lives here: statements on Dagster's own tables, where its files lie, and giving room back. Not here: what may go
(`instance_trimming`).

Dagster has no public way to remove a run and keep what it materialized (`delete_run` takes the materializations along,
and the day looks as if it had never been built), nor to remove a backfill. So these are statements on its tables, and
they run only on the schema that they were written for.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import dagster as dg
import sqlalchemy as sa

from cowrie_assets.warehouse.storage import size_of

_Thing = TypeVar("_Thing")
# Revisions of Dagster's schema, the same for SQLite and PostgreSQL. A test holds the installed one against them.
KNOWN_SCHEMAS = frozenset({"29b539ebc72a"})
_BATCH = 500
_POSTGRESQL_TABLES = "event_logs, asset_event_tags, asset_check_executions, runs, run_tags, bulk_actions, backfill_tags"
# Room in a SQLite file that is worth rewriting it.
_FREE_SHARE = 0.2
_FREE_BYTES = 1 << 20
_BUSY_SECONDS = 30.0


class InstanceStorage:
    """The storage of one instance. Rows come as tuples; times are naive UTC, as Dagster stores them."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance
        # Their connections are no part of the base classes that the instance promises.
        self._events: Any = instance.event_log_storage
        self._runs: Any = instance.run_storage
        self._schedules: Any = instance.schedule_storage

    @property
    def obstacle(self) -> str:
        """Why nothing of it can be trimmed, in words; empty where it can."""
        if not self._instance.is_persistent:
            return "it lies in memory"
        if not hasattr(self._events, "index_connection") or not hasattr(self._runs, "connect"):
            return f"{type(self._events).__name__} is neither SQLite nor PostgreSQL"
        schemas = {str(storage.alembic_version()[0]) for storage in (self._events, self._runs)}
        if schemas <= KNOWN_SCHEMAS:
            return ""
        return (
            f"its schema {', '.join(sorted(schemas))} is not the one that this version knows "
            f"({', '.join(sorted(KNOWN_SCHEMAS))}): run dagster instance migrate, or update cowrie-assets"
        )

    def events(self, statement: str, **values: Any) -> list[Any]:
        """The rows of a query on events, assets and check executions."""
        with self._events.index_connection() as connection:
            return list(connection.execute(_prepared(statement, values)).fetchall())

    def runs(self, statement: str, **values: Any) -> list[Any]:
        """The rows of a query on runs and backfills."""
        with self._runs.connect() as connection:
            return list(connection.execute(_prepared(statement, values)).fetchall())

    def delete_events(self, ids: Iterable[int]) -> None:
        for some in _batches(ids):
            # PostgreSQL commits each by itself: killed between the two, an event has lost its tags, and goes next time.
            _change(self._events.index_connection(), "DELETE FROM asset_event_tags WHERE event_id IN :ids", ids=some)
            _change(self._events.index_connection(), "DELETE FROM event_logs WHERE id IN :ids", ids=some)

    def delete_checks(self, ids: Iterable[int]) -> None:
        for some in _batches(ids):
            _change(self._events.index_connection(), "DELETE FROM asset_check_executions WHERE id IN :ids", ids=some)

    def delete_runs(self, run_ids: Sequence[str]) -> None:
        """Remove runs with their logs and files; their events are for `delete_events`, but where each run has a file of
        its own. The row goes last, so that a kill leaves nothing that is not found again."""
        for run_id in self._events.get_concurrency_run_ids() & set(run_ids):
            self._events.free_concurrency_slots_for_run(run_id)
        for some in _batches(run_ids):
            for run_id in some:
                self._instance.compute_log_manager.delete_logs(prefix=[run_id, "compute_logs"])
                for path in self._files(run_id):
                    _remove(path)
            # SQLite does not cascade unless told to, and Dagster does not tell it.
            _change(self._runs.connect(), "DELETE FROM run_tags WHERE run_id IN :ids", ids=some)
            _change(self._runs.connect(), "DELETE FROM runs WHERE run_id IN :ids", ids=some)

    def delete_backfills(self, keys: Iterable[str]) -> None:
        for some in _batches(keys):
            _change(self._runs.connect(), "DELETE FROM backfill_tags WHERE backfill_id IN :keys", keys=some)
            _change(self._runs.connect(), 'DELETE FROM bulk_actions WHERE "key" IN :keys', keys=some)

    def bytes_of_files(self, run_id: str) -> int:
        return sum(size_of(path) for path in self._files(run_id))

    def ownerless_logs(self, now: datetime) -> list[Path]:
        """Logs of runs that there are not, a day old at least: who looks at an event of a pruned run makes its log
        anew, empty."""
        if not self._events.is_run_sharded:
            return []
        known = {run_id for (run_id,) in self.runs("SELECT run_id FROM runs")}
        yesterday = (now - timedelta(days=1)).timestamp()
        folder = Path(self._events.path_for_shard("index")).parent
        return [
            path
            for path in sorted(folder.glob("????????-????-????-????-????????????.db"))
            if path.stem not in known and path.stat().st_mtime < yesterday
        ]

    def delete_ownerless_logs(self, paths: Iterable[Path]) -> None:
        for path in paths:
            for part in _with_companions(path):
                _remove(part)

    def give_back(self) -> list[str]:
        """Give the room of what was removed back to the disk (SQLite) or to the rows to come (PostgreSQL). What could
        not be done now, in words; the next time does it."""
        with self._events.index_connection() as connection:
            dialect = connection.engine.dialect.name
        if dialect == "postgresql":
            _change(self._events.index_connection(), f"VACUUM (ANALYZE) {_POSTGRESQL_TABLES}")
            return []
        connections = [self._events.index_connection, self._runs.connect]
        if self._schedules is not None:
            connections.append(self._schedules.connect)
        problems = []
        for connect in connections:
            with connect() as connection:
                path = Path(str(connection.engine.url.database))
            problems += [f"{path.name}: {problem}" for problem in _rewrite(path)]
        return problems

    def bytes_in_database(self) -> int | None:
        """What it takes of a PostgreSQL database; None where it lies in files."""
        if self.obstacle:
            return None
        with self._events.index_connection() as connection:
            if connection.engine.dialect.name != "postgresql":
                return None
            return int(connection.execute(sa.text("SELECT pg_database_size(current_database())")).scalar_one())

    def _files(self, run_id: str) -> list[Path]:
        """The log of a run, where each has its own, and the folder of what its steps handed on and printed."""
        if Path(run_id).name != run_id:  # a name that leads elsewhere
            return []
        files = [Path(self._instance.storage_directory()) / run_id]
        if self._events.is_run_sharded:
            files += _with_companions(Path(self._events.path_for_shard(run_id)))
        return files


def _batches(things: Iterable[_Thing]) -> Iterator[list[_Thing]]:
    rest = iter(things)
    while batch := list(islice(rest, _BATCH)):
        yield batch


def naive(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)


def _prepared(statement: str, values: dict[str, Any]) -> Any:
    binds = []
    for name, value in values.items():
        if isinstance(value, datetime):
            binds.append(sa.bindparam(name, value, type_=sa.TIMESTAMP()))
        elif isinstance(value, str | int):
            binds.append(sa.bindparam(name, value))
        else:
            known = list(value)
            # Named, because of an empty list PostgreSQL could not tell what it is a list of.
            kind: Any = sa.BigInteger() if known and isinstance(known[0], int) else sa.Text()
            binds.append(sa.bindparam(name, known, type_=kind, expanding=True))
    return sa.text(statement).bindparams(*binds)


def _change(connect: AbstractContextManager[Any], statement: str, **values: Any) -> None:
    with connect as connection:
        connection.execute(_prepared(statement, values))


def _with_companions(path: Path) -> list[Path]:
    return [path, *(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm"))]


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _rewrite(path: Path) -> Iterator[str]:
    """Rewrite a SQLite file that is empty to a good part. Others may read meanwhile, and write when it is done."""
    if not path.is_file():
        return
    size = path.stat().st_size
    with closing(sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)) as connection:
        free, pages, page = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("freelist_count", "page_count", "page_size")
        )
        if free < _FREE_SHARE * pages or free * page < _FREE_BYTES:
            return
        # The new file lies beside the old one until it takes its place, and passes through the log before.
        if shutil.disk_usage(path.parent).free < 2 * size:
            yield f"{free * page:,} bytes in it are free, but the disk has no room to rewrite it: make room"
            return
        try:
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.OperationalError as error:
            yield f"{free * page:,} bytes in it are free, but it could not be rewritten now ({error})"
