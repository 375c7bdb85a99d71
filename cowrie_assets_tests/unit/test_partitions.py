"""Days are cut into runs without losing or doubling one, and today is a day."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cowrie_assets.partitions import DAYS_PER_RUN, backfill_policy, daily_partitions, ranges

DAY = timedelta(days=1)
# Days close to each other, so that there are stretches, and borders of months and years within them.
DAYS = st.sets(st.integers(0, 120).map(lambda offset: date(2024, 2, 1) + offset * DAY), max_size=121)


def days_of(first: date, last: date) -> list[date]:
    return [first + offset * DAY for offset in range((last - first).days + 1)]


@given(DAYS | st.sets(st.dates(), max_size=20))
@settings(max_examples=100, deadline=None)
def test_stretches_cover_exactly_the_days_each_once_and_in_order(days: set[date]) -> None:
    assert [day for stretch in ranges(days) for day in days_of(*stretch)] == sorted(days)


@given(DAYS)
@settings(max_examples=100, deadline=None)
def test_stretches_are_as_long_as_a_run_allows_and_no_longer(days: set[date]) -> None:
    stretches = ranges(days)
    assert all(0 <= (last - first).days < DAYS_PER_RUN for first, last in stretches)
    for (first, last), (following, _) in pairwise(stretches):
        assert following - last > DAY or (last - first).days == DAYS_PER_RUN - 1


@pytest.mark.parametrize(
    ("count", "lengths"), [(0, []), (1, [1]), (30, [30]), (31, [30, 1]), (60, [30, 30]), (61, [30, 30, 1])]
)
def test_a_long_stretch_becomes_runs_of_thirty_days(count: int, lengths: list[int]) -> None:
    days = {date(2024, 12, 15) + offset * DAY for offset in range(count)}
    assert [(last - first).days + 1 for first, last in ranges(days)] == lengths


def test_the_first_and_the_last_day_of_the_calendar_are_days_like_others() -> None:
    days = {date.min, date.min + DAY, date.max - DAY, date.max}
    assert ranges(days) == [(date.min, date.min + DAY), (date.max - DAY, date.max)]


def test_dagster_takes_as_many_days_a_run_as_a_stretch_may_have() -> None:
    assert backfill_policy().max_partitions_per_run == DAYS_PER_RUN == 30


@pytest.mark.parametrize(
    "now", [datetime(2025, 3, 3, tzinfo=UTC), datetime(2025, 3, 3, 23, 59, 59, 999_999, tzinfo=UTC)]
)
def test_days_are_partitions_from_the_first_to_today(now: datetime) -> None:
    partitions = daily_partitions(date(2025, 2, 27))
    assert list(partitions.get_partition_keys(current_time=now)) == [
        "2025-02-27",
        "2025-02-28",
        "2025-03-01",
        "2025-03-02",
        "2025-03-03",
    ]


def test_a_first_day_of_today_is_one_partition() -> None:
    now = datetime(2025, 3, 3, 0, 0, 1, tzinfo=UTC)
    assert list(daily_partitions(date(2025, 3, 3)).get_partition_keys(current_time=now)) == ["2025-03-03"]


def test_today_is_a_partition_by_the_clock_of_utc() -> None:
    # Taken before and after, because midnight may pass in between.
    before = datetime.now(UTC).date()
    last = daily_partitions(date(2025, 1, 1)).get_partition_keys()[-1]
    assert before <= date.fromisoformat(last) <= datetime.now(UTC).date()


def test_a_partition_is_a_day_of_utc_whatever_summer_time_does() -> None:
    window = daily_partitions(date(2025, 1, 1)).time_window_for_partition_key("2025-03-30")
    start = datetime(2025, 3, 30, tzinfo=UTC)
    assert (window.start, window.end) == (start, start + DAY)
