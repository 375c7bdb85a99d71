"""The questions that a day raises, one kind a daily asset: whom they go to, about which keys, and where answers end up.

Lives here: the kinds, each with its needs, its rows and its due days. Not here: Dagster (`enrichment`), asking
(`cowrie_assets.lookup`), the rows themselves (`answers_of_day`, `keys_of_day`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import date, datetime

from cowrie_assets.assets import answers_of_day, keys_of_day
from cowrie_assets.warehouse.event_chunks import Connection


@dataclass(frozen=True)
class Needs:
    """Keys in the order of asking, each with the moment at which its answer must be good; `sources` says which address
    brought a key, where that is not the key itself; `sessions` how many sessions carry it."""

    moments: dict[str, datetime]
    sessions: dict[str, int]
    sources: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Question:
    """One kind. `unit` is what its keys are called, `sql` the file that its rows come from; `part` says with which of
    the command's options it goes: sessions or files."""

    asset: str
    service: str
    unit: str
    part: str
    sql: str
    needs: Callable[[Connection, Collection[date]], Needs]
    write: Callable[[Connection, date], dict[str, int]]
    due: Callable[..., set[date]]


def _of_addresses(service: str) -> Question:
    def needs(connection: Connection, days: Collection[date]) -> Needs:
        moments = answers_of_day.address_needs(connection, days)
        return Needs(moments, sessions_by_address(connection, days))

    def write(connection: Connection, day: date) -> dict[str, int]:
        return answers_of_day.write_enrichment(connection, service, day)

    def due(connection: Connection, *, can_ask: bool) -> set[date]:
        return answers_of_day.enrichment_days_due(connection, service, can_ask=can_ask)

    table = answers_of_day.table_of(service)
    return Question(table, service, "addresses", "sessions", "write_enrichment.sql", needs, write, due)


def _file_needs(connection: Connection, days: Collection[date]) -> Needs:
    moments, sources = keys_of_day.file_needs(connection, days)
    rows = connection.execute(
        """
        SELECT lower(sha256), count(DISTINCT (day, sensor, session_id)) FROM files
        WHERE day = ANY(%s::date[]) AND sha256 IS NOT NULL
        GROUP BY lower(sha256)
        """,
        (list(days),),
    )
    return Needs(moments, dict(rows.fetchall()), sources)


def _password_needs(connection: Connection, days: Collection[date]) -> Needs:
    return Needs(*keys_of_day.password_needs(connection, days))


def sessions_by_address(connection: Connection, days: Collection[date] | None = None) -> dict[str, int]:
    """How many sessions came from each source address (on these days)."""
    rows = connection.execute(
        """
        SELECT host(source_ip), count(*) FROM sessions
        WHERE source_ip IS NOT NULL AND (%(days)s::date[] IS NULL OR day = ANY(%(days)s))
        GROUP BY source_ip
        """,
        {"days": None if days is None else list(days)},
    )
    return dict(rows.fetchall())


QUESTIONS = {
    question.asset: question
    for question in (
        _of_addresses("dshield"),
        _of_addresses("urlhaus"),
        _of_addresses("spur"),
        Question(
            "virustotal_files", "virustotal", "files", "files", "write_virustotal_files.sql",
            _file_needs, keys_of_day.write_virustotal_files, keys_of_day.file_days_due,
        ),
        Question(
            "password_stats", "hibp", "passwords", "sessions", "write_password_stats.sql",
            _password_needs, keys_of_day.write_password_stats, keys_of_day.password_days_due,
        ),
    )
}  # fmt: skip
