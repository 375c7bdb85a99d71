"""The tiers of the cache together: hot (Redis, or this process) → database → files.

Lives here: in which order they are asked, what is copied up and down, what happens when one fails, and who counts. Not
here: a tier's own way of keeping (`hot_tier`, `answers`, `file_tier`), whether to ask a service (`asking`).

The database is what SQL reads, so a key is known when the database has its answer: the hot tier only says that it has
(and is forgotten as a whole when answers are removed, by the generation in its keys), and what the files alone have is
put back into the database, as old as it is. A tier that fails is out for the rest of the run and said once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from cowrie_assets.lookup import answers
from cowrie_assets.lookup.file_tier import FileTier, KeptAnswer
from cowrie_assets.lookup.hot_tier import HotTier, Known, MemoryTier, RedisTier, TierFailure
from cowrie_assets.lookup.limiter import Call
from cowrie_assets.lookup.services import Service, secrets_of
from cowrie_assets.settings import SettingsError
from cowrie_assets.upstreams.contract import Reading
from cowrie_assets.warehouse.event_chunks import Connection

DATABASE = "database"
# A tier that failed is left alone by this process for so long: each asset of a run opens the cache anew, and none has
# to find out again (and say again) that Redis is gone.
_OUT_SECONDS = 60.0
_out_until: dict[tuple[str, str], float] = {}


@dataclass
class Count:
    """What one tier did for one service. `oldest` is when the oldest answer was given that it was hit for."""

    hits: int = 0
    misses: int = 0
    stores: int = 0
    errors: int = 0
    oldest: datetime | None = None

    def hit(self, known: Collection[Known]) -> None:
        self.hits += len(known)
        self.oldest = min(
            (*(entry.answered_at for entry in known), *([self.oldest] if self.oldest else [])), default=None
        )


@dataclass
class Cache:
    """The tiers of one run. Threads may share it. Without tiers it is the database alone."""

    hot: HotTier | None = None
    files: FileTier | None = None
    tell: Callable[[str], None] = lambda _: None
    counts: dict[tuple[str, str], Count] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    places: Mapping[str, str] = field(default_factory=dict, repr=False)
    _out: set[str] = field(default_factory=set)

    def known(self, connection: Connection, service: Service, needs: Mapping[str, datetime]) -> dict[str, str]:
        """The keys whose answer is good at the moment that each is needed for, with the tier that had it. Afterwards
        the database has all of them."""
        tier = self.hot.name if self.hot else ""
        hot = self._read_hot(service, needs)
        rest = {key: moment for key, moment in needs.items() if key not in hot}
        stored = answers.newest_answers(connection, service.name, rest)
        self._count_reads(service, DATABASE, stored, len(rest))
        restored = self._restore(connection, service, {key: rest[key] for key in rest if key not in stored})
        self._write_hot(service, stored | restored)
        return dict.fromkeys(hot, tier) | dict.fromkeys(stored, DATABASE) | dict.fromkeys(restored, FileTier.name)

    def keep(
        self,
        connection: Connection,
        service: Service,
        readings: Mapping[str, Reading],
        call: Call,
        run_id: str | None,
        status: int | None = None,
    ) -> None:
        """Keep what one request brought in all tiers: the files first, so that an answer which arrives while the
        database is away is not asked for again; the hot tier last, for it says what the database has."""
        kept = answers.with_lives(connection, service, readings, call.now, secrets_of(service))
        self._write_files(service, kept)
        answers.store_answers(connection, service, kept, call, run_id, status)
        self._add(service, DATABASE, stores=len(kept))
        self._write_hot(service, {a.key: Known(a.outcome, a.answered_at, a.expires_at) for a in kept})

    def count_hits(self, service: Service, tier: str, known: Collection[Known]) -> None:
        with self._lock:
            self.counts.setdefault((service.name, tier), Count()).hit(known)

    def write_counts(self, connection: Connection, service: Service, run_id: str | None) -> None:
        """Add what was counted to the run's counters, and begin anew."""
        with self._lock:
            counted = {tier: self.counts.pop((name, tier)) for name, tier in list(self.counts) if name == service.name}
        for tier, count in counted.items():
            answers.add_counts(
                connection, service.name, run_id, tier,
                (count.hits, count.misses, count.stores, count.errors), count.oldest,
            )  # fmt: skip

    def _restore(self, connection: Connection, service: Service, needs: Mapping[str, datetime]) -> dict[str, Known]:
        """What only the files have goes back to the database: all of it, for an old day may rest on an older answer."""
        files = self.files
        if files is None or not needs:
            return {}
        before = files.errors
        try:
            kept = files.read(service.shelf, list(needs))
        except TierFailure as failure:
            self._fail(service, files.name, failure)
            return {}
        newest = {key: max(found, key=lambda a: a.expires_at) for key, found in kept.items()}
        good = {
            key: Known(a.outcome, a.answered_at, a.expires_at) for key, a in newest.items() if a.expires_at > needs[key]
        }
        self._add(service, files.name, errors=files.errors - before)
        self._count_reads(service, files.name, good, len(needs))
        if kept:
            answers.restore(connection, service.name, [a for found in kept.values() for a in found])
            self._add(service, DATABASE, stores=len(kept))
        return good

    def _read_hot(self, service: Service, needs: Mapping[str, datetime]) -> dict[str, Known]:
        hot = self.hot
        if hot is None or not needs:
            return {}
        try:
            entries = hot.read(service.name, list(needs))
        except TierFailure as failure:
            self._fail(service, hot.name, failure)
            return {}
        good = {key: entry for key, entry in entries.items() if entry.expires_at > needs[key]}
        self._count_reads(service, hot.name, good, len(needs))
        return good

    def _write_hot(self, service: Service, entries: Mapping[str, Known]) -> None:
        hot = self.hot
        if hot is None or not entries:
            return
        try:
            hot.write(service.name, entries)
        except TierFailure as failure:
            self._fail(service, hot.name, failure)
        else:
            self._add(service, hot.name, stores=len(entries))

    def _write_files(self, service: Service, kept: Iterable[KeptAnswer]) -> None:
        files = self.files
        if files is None:
            return
        shelved = [replace(answer, service=service.shelf) for answer in kept]
        try:
            files.write(shelved)
        except TierFailure as failure:
            self._fail(service, files.name, failure)
        else:
            self._add(service, files.name, stores=len(shelved))

    def _fail(self, service: Service, tier: str, failure: TierFailure) -> None:
        """Out for the rest of the run, whichever thread noticed first."""
        self._add(service, tier, errors=1)
        with self._lock:
            first = tier not in self._out
            self._out.add(tier)
            _out_until[tier, self.places.get(tier, "")] = time.monotonic() + _OUT_SECONDS
            if self.hot is not None and self.hot.name == tier:
                self.hot = None
            if self.files is not None and self.files.name == tier:
                self.files = None
        if first:
            self.tell(f"cache: {tier} {failure.reason}; this run goes on without it")

    def _count_reads(self, service: Service, tier: str, hits: Mapping[str, Known], asked: int) -> None:
        if asked:
            self.count_hits(service, tier, hits.values())
            self._add(service, tier, misses=asked - len(hits))

    def _add(self, service: Service, tier: str, *, misses: int = 0, stores: int = 0, errors: int = 0) -> None:
        with self._lock:
            count = self.counts.setdefault((service.name, tier), Count())
            count.misses += misses
            count.stores += stores
            count.errors += errors


def open_cache(
    connection: Connection, redis_url: str | None, folder: Path | None, tell: Callable[[str], None] = lambda _: None
) -> Cache:
    """The cache of a warehouse: its hot tier in Redis, or without one in this process, and its files in `folder`.

    Raises:
        SettingsError: the address of Redis cannot be understood; the message does not repeat it.
    """
    warehouse = _warehouse_id(connection)
    places = {RedisTier.name: str(redis_url), FileTier.name: str(folder)}
    try:
        hot: HotTier = RedisTier(redis_url, warehouse) if redis_url else _memory(warehouse)
    except ValueError as error:
        raise SettingsError(f"COWRIE_REDIS_URL: {error}") from None
    files = FileTier(folder) if folder is not None else None
    return Cache(
        None if _is_out(hot.name, places) else hot,
        None if files is None or _is_out(files.name, places) else files,
        tell,
        places=places,
    )


def _is_out(tier: str, places: Mapping[str, str]) -> bool:
    return time.monotonic() < _out_until.get((tier, places.get(tier, "")), 0.0)


@lru_cache(maxsize=8)
def _memory(warehouse: str) -> MemoryTier:
    """One for the whole process: each asset of a run opens the cache anew."""
    return MemoryTier(warehouse)


def _warehouse_id(connection: Connection) -> str:
    """Of a database and what it holds: another one after answers were removed, and in a copy of the database."""
    row = connection.execute(
        """
        SELECT g.id::text || '-' || d.oid::text
        FROM cache_generation AS g
        CROSS JOIN pg_database AS d
        WHERE d.datname = current_database()
        """
    ).fetchone()
    if row is None:
        raise LookupError("the warehouse has no generation of answers")
    return str(row[0])
