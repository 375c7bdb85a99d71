"""Which runs bring due days up to date, and in which order.

Lives here: stretches of days, what of the daily job each needs. Not here: when it is looked (`sensors`), why a day is
due (`assets.reconstruction`, `assets.questions`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import date, timedelta
from functools import cached_property
from hashlib import blake2b
from typing import Any

import dagster as dg

from cowrie_assets.assets.ingestion import partition_days
from cowrie_assets.assets.questions import QUESTIONS
from cowrie_assets.assets.reconstruction import DAILY_ASSETS, days_due, evidence_of_days, failed_days, revisions
from cowrie_assets.automation.jobs import DAILY_JOB, SESSIONS, TODAYS_PRIORITY, range_tags
from cowrie_assets.partitions import ranges
from cowrie_assets.warehouse.event_chunks import Connection


class DueDays:
    """The days up to `newest` that are due, and that did not fail as they are now. Days before `first_day` are no
    partitions of the definitions at hand: they follow once these are loaded again."""

    def __init__(self, connection: Connection, first_day: date, newest: date) -> None:
        self._connection = connection
        self._first = first_day
        self._newest = newest

    def changed(self) -> Iterator[dg.RunRequest]:
        """What one stretch needs is one run of the whole daily job. Many come in steps, each when the one before is
        done: all sessions; then, with the newest stretch, what has no days; then the others without that."""
        due = {asset: self._able(asset, days_due(self._connection, asset)) for asset in DAILY_ASSETS}
        sessions = ranges(due["sessions"])
        if len(sessions) > 1:
            for stretch in sessions:
                yield self._request(stretch, assets=SESSIONS)
            return
        stretches = ranges(set().union(*due.values()))
        if not stretches:
            return
        if len(stretches) == 1 or self._addresses_are_missing():
            yield self._request(stretches[-1])
            return
        for stretch in stretches:
            yield self._request(stretch, assets=[asset for asset, days in due.items() if _any_within(stretch, days)])

    def unanswered(self, askable: Collection[str], max_time: float, ingestion: str) -> Iterator[dg.RunRequest]:
        """After an ingestion: the newest day's whole job in any case, so that lists, inventories and queries are of
        today, and older days with questions that can be answered now, the newest first, in as much time again."""
        due = {
            asset: self._able(asset, question.due(self._connection, can_ask=asset in askable))
            for asset, question in QUESTIONS.items()
        }
        *older, newest = ranges({self._newest, *set[date]().union(*due.values())})
        yield self._request(newest, key=ingestion)
        for stretch in reversed(older):
            assets = [asset for asset, days in due.items() if _any_within(stretch, days)]
            config = {asset: {"config": {"max_time": max_time / len(older)}} for asset in assets}
            yield self._request(stretch, assets=assets, key=ingestion, config={"ops": config})

    def _able(self, asset: str, days: set[date]) -> set[date]:
        known = partition_days(days, self._first) - set(failed_days(self._connection, asset))
        return {day for day in known if day <= self._newest}

    def _addresses_are_missing(self) -> bool:
        row = self._connection.execute(
            """
            SELECT EXISTS (
                SELECT FROM sessions AS s LEFT JOIN ip_inventory AS i ON s.source_ip = i.ip_address
                WHERE s.source_ip IS NOT NULL AND i.ip_address IS NULL
            )
            """
        ).fetchone()
        return bool(row and row[0])

    def _request(
        self,
        stretch: tuple[date, date],
        *,
        assets: Collection[str] = (),
        key: str = "",
        config: dict[str, Any] | None = None,
    ) -> dg.RunRequest:
        first, last = stretch
        parts = (first, last, *assets, key or self._basis(stretch))
        is_newest = last >= self._newest - timedelta(days=1)
        return dg.RunRequest(
            run_key=" ".join(map(str, parts)),
            job_name=DAILY_JOB,
            run_config=config,
            asset_selection=[dg.AssetKey(asset) for asset in assets] or None,
            tags={**range_tags(first, last), **(TODAYS_PRIORITY if is_newest else {})},
        )

    def _basis(self, stretch: tuple[date, date]) -> str:
        """A digest of what the days of a stretch rest on: the same request is made again once that has changed."""
        revision, evidence = self._revisions_and_evidence
        within = [(str(day), known, evidence.get(day)) for day, known in revision.items() if _within(stretch, day)]
        return blake2b(repr(sorted(within)).encode(), digest_size=12).hexdigest()

    @cached_property
    def _revisions_and_evidence(self) -> tuple[dict[date, int], dict[date, str]]:
        return revisions(self._connection), evidence_of_days(self._connection)


def _within(stretch: tuple[date, date], day: date) -> bool:
    return stretch[0] <= day <= stretch[1]


def _any_within(stretch: tuple[date, date], days: set[date]) -> bool:
    return any(_within(stretch, day) for day in days)
