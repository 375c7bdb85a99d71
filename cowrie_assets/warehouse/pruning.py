"""What of the warehouse's own notes is older than it is kept, and its removal: ledger, counters, spending, alert notes,
measurements of disk use; and copies of lists that newer ones replaced.

Lives here: one rule a table, each in one statement, so that a kill leaves all of it or nothing. Not here: events
(`cowrie_assets.assets.freezing`), Dagster's storage (`cowrie_assets.assets.instance_trimming`), how long each part is
kept (`cowrie_assets.lookup.retention`).

What other rows rest on is not among it: answers, observations, and editions and entries of range lists, for as long as
a day's snapshots can be written anew (docs/retention.md says why).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cowrie_assets.warehouse.event_chunks import Connection
from cowrie_assets.warehouse.storage import size_of

_PRUNING_LOCK = 0x7072756E
_LEFTOVER = timedelta(days=1)  # no download takes so long
# The run under which the counters of runs that are no longer told apart are kept.
PRUNED_RUN = "pruned"


@dataclass(frozen=True)
class Prunable:
    """What of one part is, or was, older than its cut.

    `rows` counts rows, or files where the part has no rows; `bytes` is what they take, without indexes. `oldest` and
    `cut` are None where there is nothing, or where the part is kept for ever. `note` says what else there is to know.
    """

    part: str
    what: str
    rows: int = 0
    bytes: int = 0
    oldest: datetime | None = None
    cut: datetime | None = None
    note: str = ""

    @property
    def oldest_day(self) -> str:
        """The day of the oldest, in words."""
        return _day(self.oldest)

    @property
    def cut_day(self) -> str:
        """The first day that is kept, in words; what is kept for ever has no cut."""
        return "for ever" if self.cut is None and not self.note else _day(self.cut)


@dataclass(frozen=True)
class _Rule:
    """Which rows of a table go, as a condition on the table `t` and the cut, and the statement that removes them."""

    part: str
    table: str
    what: str
    moment: str
    condition: str
    removal: str


# The ledger's rows are summed by service as they go: `status` tells what was ever asked.
_LEDGER = """
    WITH gone AS (DELETE FROM lookup_ledger AS t WHERE {condition} RETURNING *)
    INSERT INTO lookup_totals AS known (
        service, requests, keys, found, not_found, unavailable, not_applicable, unfinished, last_request_at
    )
    SELECT
        service,
        count(*),
        sum(key_count),
        count(*) FILTER (WHERE outcome = 'found'),
        count(*) FILTER (WHERE outcome = 'not_found'),
        count(*) FILTER (WHERE outcome = 'unavailable'),
        count(*) FILTER (WHERE outcome = 'not_applicable'),
        count(*) FILTER (WHERE outcome IS NULL),
        max(sent_at)
    FROM gone
    GROUP BY service
    ON CONFLICT (service) DO UPDATE
    SET
        requests = known.requests + excluded.requests,
        keys = known.keys + excluded.keys,
        found = known.found + excluded.found,
        not_found = known.not_found + excluded.not_found,
        unavailable = known.unavailable + excluded.unavailable,
        not_applicable = known.not_applicable + excluded.not_applicable,
        unfinished = known.unfinished + excluded.unfinished,
        last_request_at = greatest(known.last_request_at, excluded.last_request_at)
"""
# Counters are only ever summed over runs; those of old runs become one row a service and tier.
_COUNTERS = """
    WITH gone AS (DELETE FROM lookup_counters AS t WHERE {condition} RETURNING *)
    INSERT INTO lookup_counters AS known (
        run_id, service, tier, hits, misses, stores, errors, oldest_answer_at, counted_at
    )
    SELECT
        %(pruned)s, service, tier, sum(hits), sum(misses), sum(stores), sum(errors), min(oldest_answer_at),
        max(counted_at)
    FROM gone
    GROUP BY service, tier
    ON CONFLICT (run_id, service, tier) DO UPDATE
    SET
        hits = known.hits + excluded.hits,
        misses = known.misses + excluded.misses,
        stores = known.stores + excluded.stores,
        errors = known.errors + excluded.errors,
        oldest_answer_at = least(known.oldest_answer_at, excluded.oldest_answer_at),
        counted_at = greatest(known.counted_at, excluded.counted_at)
"""

_RULES = (
    _Rule("ledger", "lookup_ledger", "requests, summed by service", "t.sent_at", "t.sent_at < %(cut)s", _LEDGER),
    _Rule(
        "ledger",
        "lookup_counters",
        "counters of runs, summed by tier",
        "t.counted_at",
        "t.counted_at < %(cut)s AND t.run_id <> %(pruned)s",
        _COUNTERS,
    ),
    _Rule(
        "ledger",
        "network_spending",
        "accounts of source networks",
        "t.day::timestamp AT TIME ZONE 'UTC'",
        "t.day < (%(cut)s AT TIME ZONE 'UTC')::date",
        "DELETE FROM network_spending AS t WHERE {condition}",
    ),
    # A note that is still on its way is not old, however long ago it was written.
    _Rule(
        "alert_notes",
        "alert_notes",
        "notes delivered, or given up",
        "t.written_at",
        "coalesce(t.delivered_at, t.given_up_at) < %(cut)s",
        "DELETE FROM alert_notes AS t WHERE {condition}",
    ),
    _Rule(
        "storage_use",
        "storage_use",
        "measurements of disk use",
        "t.measured_at",
        "t.measured_at < %(cut)s",
        "DELETE FROM storage_use AS t WHERE {condition}",
    ),
)


def prune_notes(
    connection: Connection, days: dict[str, int | None], now: datetime, *, apply: bool
) -> Iterator[Prunable]:
    """What of each table is older than its part's days (None: for ever); removed where `apply` says so."""
    for rule in _RULES:
        kept = days[rule.part]
        if kept is None:
            yield Prunable(rule.table, rule.what)
            continue
        cut = now - timedelta(days=kept)
        values = {"cut": cut, "pruned": PRUNED_RUN}
        with connection.transaction():
            found: Any = connection.execute(
                f"SELECT count(*), coalesce(sum(pg_column_size(t.*)), 0), min({rule.moment}) "  # noqa: S608 - constants
                f"FROM {rule.table} AS t WHERE {rule.condition}".encode(),
                values,
            ).fetchone()
            if apply and found[0]:
                connection.execute(rule.removal.format(condition=rule.condition).encode(), values)
        if apply and found[0]:
            reclaim(connection, rule.table)
        yield Prunable(rule.table, rule.what, int(found[0]), int(found[1]), found[2], cut)


def prune_list_copies(folder: Path, days: int | None, now: datetime, *, apply: bool) -> Prunable:
    """Copies of a list under another name than its newest, and what killed downloads left. The newest copy of a list
    stays, however old it is."""
    what = "copies that newer ones replaced"
    if days is None:
        return Prunable("list copies", what)
    cut = now - timedelta(days=days)
    written = {path: datetime.fromtimestamp(path.stat().st_mtime, UTC) for path in _files(folder)}
    newest = {path.stem: path for path in sorted(written, key=written.__getitem__) if not path.name.startswith(".")}
    going = {
        path: moment
        for path, moment in written.items()
        if moment < (now - _LEFTOVER if path.name.startswith(".") else cut) and newest.get(path.stem) != path
    }
    found = Prunable("list copies", what, len(going), sum(map(size_of, going)), min(going.values(), default=None), cut)
    for path in going if apply else ():
        path.unlink(missing_ok=True)
    return found


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []


@contextmanager
def pruning_alone(connection: Connection) -> Iterator[bool]:
    """Whether nobody else prunes, and nobody else may meanwhile. Who is killed leaves no lock behind."""
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", (_PRUNING_LOCK,)).fetchone()
    alone = bool(row and row[0])
    try:
        yield alone
    finally:
        if alone and not connection.closed:
            connection.execute("SELECT pg_advisory_unlock(%s)", (_PRUNING_LOCK,))


def reclaim(connection: Connection, table: str) -> None:
    """Let new rows take the room of removed ones. The embedded server is stopped when nobody uses it, and its own
    vacuum may never come. (What a table once had goes back to the disk by VACUUM FULL alone, which locks it.)"""
    connection.execute(f"VACUUM (ANALYZE) {table}".encode())


def _day(moment: datetime | None) -> str:
    return "–" if moment is None else f"{moment:%Y-%m-%d}"
