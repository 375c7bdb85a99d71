"""Up to date means: the newest complete day is there, built in every daily asset, and nothing that came waits.

Proved here: each way of not being up to date is told with its cause and its cure, by the warehouse alone and whatever
was materialized last; what is only under way is no failure. Not here: that something runs the check
(orchestration/test_partitioned_checks.py).
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from cowrie_assets.assets.reconstruction import DAILY_ASSETS, note_failures
from cowrie_assets.checks.freshness import Moment, judge
from cowrie_assets.checks.thresholds import UpToDate
from cowrie_assets.checks.verdict import Verdict
from cowrie_assets.warehouse.event_chunks import Connection
from cowrie_assets.warehouse.log_files import mark_changed

pytestmark = pytest.mark.one_server

# The morning after: yesterday, the 20th, is the newest complete day.
NOW = datetime(2025, 9, 21, 8, tzinfo=UTC)
YESTERDAY = date(2025, 9, 20)
NIGHT = datetime(2025, 9, 21, 0, 20, tzinfo=UTC)
LIMITS = UpToDate()


@pytest.fixture
def warehouse(empty: Connection) -> Connection:
    """Ten days up to yesterday, loaded last night and built."""
    for number in range(10):
        load(empty, YESTERDAY - timedelta(days=number), NIGHT)
    build(empty)
    return empty


def load(connection: Connection, day: date, at: datetime | None) -> None:
    connection.execute(
        """
        INSERT INTO event_chunks (day, sensor, sequence, event_count, raw_bytes, digests, spans, payload, loaded_at)
        SELECT %s, 'alpha', coalesce(max(sequence), 0) + 1, 1, 0, '', '', '', %s FROM event_chunks WHERE day = %s
        """,
        (day, at, day),
    )
    mark_changed(connection, [day])


def build(connection: Connection, *assets: str, days: tuple[date, ...] | None = None) -> None:
    connection.execute(
        """
        INSERT INTO day_builds (asset, day, revision, evidence)
        SELECT asset, day, revision, '' FROM event_days CROSS JOIN unnest(%s::text[]) AS asset
        WHERE %s::date[] IS NULL OR day = ANY(%s)
        ON CONFLICT (asset, day) DO UPDATE SET revision = excluded.revision
        """,
        (list(assets or DAILY_ASSETS), *[None if days is None else list(days)] * 2),
    )


def told(
    connection: Connection,
    *,
    now: datetime = NOW,
    ingested_at: datetime | None = NIGHT,
    limits: UpToDate = LIMITS,
    lag: int = 1,
    first_day: date | None = None,
) -> Verdict:
    return judge(connection, limits, Moment(now, ingested_at, lag, first_day))


def test_what_is_built_up_to_yesterday_is_up_to_date(warehouse: Connection) -> None:
    verdict = told(warehouse)
    assert (verdict.passed, verdict.words) == (
        True,
        "Every daily asset is built up to 2025-09-20, the newest complete day; the logs were last read 2025-09-21 "
        "00:20 UTC.",
    )
    assert verdict.numbers["newest complete day"] == "2025-09-20"


def test_logs_that_were_not_read_for_longer_than_a_day_are_told(warehouse: Connection) -> None:
    limit = NIGHT + timedelta(hours=26)
    assert told(warehouse, now=limit).passed  # the 21st, complete by then, is not read yet
    late = told(warehouse, now=limit + timedelta(seconds=1))
    assert not late.passed
    assert late.words.startswith("The logs were last read 2025-09-21 00:20 UTC, 26 hours ago (at most 26 hours wanted)")
    assert "Look whether the schedule every_day is on" in late.words
    never = told(warehouse, ingested_at=None)
    assert (never.passed, never.words.split(":")[0]) == (False, "The logs were never read here")


def test_a_newest_day_that_did_not_come_is_told_once_the_logs_were_read_after_it(warehouse: Connection) -> None:
    tomorrow = NOW + timedelta(days=1)
    # Read at eight on the 21st, before that day was over: it is not due before the night.
    waiting = told(warehouse, now=tomorrow, ingested_at=NOW)
    assert (waiting.passed, waiting.words.split(":")[0]) == (True, "2025-09-21 was not ingested yet, and is not due")
    missing = told(warehouse, now=tomorrow, ingested_at=NIGHT + timedelta(days=1))
    assert not missing.passed
    assert missing.words == (
        "No event of 2025-09-21 came, though the logs were read since: the newest event is of 2025-09-20. Look whether "
        "the sensors are up and their logs arrive (the check sensors_heard names them)."
    )


def test_a_build_of_an_old_day_makes_nothing_fresh(warehouse: Connection) -> None:
    """Dagster's own policy was content with any materialization, of whatever day."""
    stale = {"now": NOW + timedelta(days=5), "ingested_at": NIGHT + timedelta(days=5)}
    before = told(warehouse, **stale)  # type: ignore[arg-type]
    load(warehouse, date(2025, 3, 1), NIGHT + timedelta(days=5))
    build(warehouse)
    after = told(warehouse, **stale)  # type: ignore[arg-type]
    assert not before.passed
    assert (after.passed, after.words) == (before.passed, before.words)


@pytest.mark.parametrize("asset", DAILY_ASSETS)
def test_a_day_that_waits_is_told_of_each_daily_asset(warehouse: Connection, asset: str) -> None:
    old = YESTERDAY - timedelta(days=4)
    load(warehouse, old, NIGHT)
    build(warehouse, *(name for name in DAILY_ASSETS if name != asset))
    verdict = told(warehouse)
    assert not verdict.passed
    assert verdict.words.startswith(
        f"{asset}: 1 days wait to be built for more than 6 hours, the oldest 2025-09-16. See what became of the last "
    )
    assert verdict.numbers[f"{asset}, days that wait"] == 1


def test_what_waits_for_the_sessions_is_not_told_again_of_each_asset(warehouse: Connection) -> None:
    load(warehouse, YESTERDAY, NIGHT)
    words = told(warehouse).words
    assert words.startswith("sessions: 1 days wait")
    assert "session_snapshots" not in words


def test_a_day_that_failed_is_told_with_its_reason(warehouse: Connection) -> None:
    load(warehouse, YESTERDAY, NIGHT)
    note_failures(warehouse, "sessions", [YESTERDAY], {YESTERDAY: "ValueError: `bad` <b>line</b>"})
    assert "the oldest 2025-09-20 (`ValueError: ˋbadˋ <b>line</b>`)." in told(warehouse).words


@pytest.mark.parametrize(("hours", "passed"), [(6, True), (6.01, False)])
def test_what_came_in_just_now_is_being_built(warehouse: Connection, hours: float, passed: bool) -> None:
    load(warehouse, YESTERDAY, NOW - timedelta(hours=hours))
    # A session of the day before that runs on makes that day due as well; its own events are older.
    mark_changed(warehouse, [YESTERDAY - timedelta(days=1)])
    verdict = told(warehouse)
    assert verdict.passed is passed
    if passed:
        assert verdict.words.endswith("2 days came in just now and are being built.")


def test_what_was_loaded_before_loading_was_noted_has_waited_long(warehouse: Connection) -> None:
    old = date(2024, 1, 1)
    load(warehouse, old, None)
    assert "sessions: 1 days wait" in told(warehouse).words


def test_days_that_are_no_partitions_do_not_wait(warehouse: Connection) -> None:
    for day in (date(2010, 1, 1), NOW.date(), date(2026, 1, 1)):
        load(warehouse, day, NIGHT - timedelta(days=2))
    assert told(warehouse).passed
    load(warehouse, date(2024, 12, 1), NIGHT)
    assert not told(warehouse).passed
    assert told(warehouse, first_day=date(2025, 1, 1)).passed


def test_a_frozen_day_waits_for_nothing(warehouse: Connection) -> None:
    load(warehouse, YESTERDAY, NIGHT)
    assert not told(warehouse).passed
    warehouse.execute(
        "INSERT INTO frozen_days (day, frozen_at, runs_until, events, freed_bytes) VALUES (%s, now(), %s, 1, 1)",
        (YESTERDAY, YESTERDAY),
    )
    assert told(warehouse).passed


def test_old_logs_that_nobody_adds_to_are_told_how_to_say_so(warehouse: Connection) -> None:
    year_later = {"now": NOW + timedelta(days=365), "ingested_at": NOW + timedelta(days=365)}
    verdict = told(warehouse, **year_later)  # type: ignore[arg-type]
    assert not verdict.passed
    assert "set enabled = false in [checks.up_to_date] of sensors.toml" in verdict.words
    off = told(warehouse, limits=UpToDate(enabled=False), **year_later)  # type: ignore[arg-type]
    assert (off.passed, off.words) == (True, "Not judged: [checks.up_to_date] enabled = false in sensors.toml.")


def test_the_newest_day_that_must_be_there_can_be_set(warehouse: Connection) -> None:
    in_the_evening = {"now": NOW + timedelta(days=2), "ingested_at": NIGHT + timedelta(days=2)}
    assert not told(warehouse, **in_the_evening).passed  # type: ignore[arg-type]
    # Today is never complete, also where it is built as it comes in.
    assert not told(warehouse, lag=0, **in_the_evening).passed  # type: ignore[arg-type]
    assert told(warehouse, lag=0).passed
    assert told(warehouse, lag=3, **in_the_evening).passed  # type: ignore[arg-type]
