"""`[automation]` of sensors.toml: defaults, what can be set, and what is refused in words."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from cowrie_assets.automation.cadence import Cadence, cadence
from cowrie_assets.automation.schedules import schedules
from cowrie_assets.automation.sensors import sensors
from cowrie_assets.settings import Settings, SettingsError


def told(**automation: Any) -> Cadence:
    return cadence(Settings(home=Path("home"), config=Path("sensors.toml"), automation=automation))


def test_by_default_yesterday_is_taken_soon_after_midnight_once_it_is_switched_on() -> None:
    times = told()
    assert (times.daily_cron, times.timezone, times.lists_cron) == ("20 0 * * *", "UTC", "41 */6 * * *")
    assert times.newest_day(datetime(2025, 3, 2, 0, 20, tzinfo=UTC)) == date(2025, 3, 1)
    assert {schedule.default_status for schedule in schedules(times)} == {dg.DefaultScheduleStatus.STOPPED}


def test_time_zone_lag_and_cadences_can_be_set() -> None:
    times = told(
        daily_at="06:45", timezone="Europe/Berlin", lag=0, lists_every="1d", watch_every="30s", switched_on=True
    )
    daily, lists, *others = schedules(times)
    assert (daily.cron_schedule, daily.execution_timezone) == ("45 6 * * *", "Europe/Berlin")
    assert lists.cron_schedule == "41 2 * * *"
    assert others[-1].cron_schedule == "45 8 * * *"
    assert times.newest_day(datetime(2025, 3, 2, tzinfo=UTC)) == date(2025, 3, 2)
    assert {schedule.default_status for schedule in (daily, lists, *others)} == {dg.DefaultScheduleStatus.RUNNING}
    watching = sensors(times, date(2025, 3, 1))[0]
    assert (watching.minimum_interval_seconds, watching.default_status) == (30, dg.DefaultSensorStatus.RUNNING)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("daily_at", "25:00"),
        ("daily_at", 620),
        ("timezone", "Mars/Olympus"),
        ("timezone", 1),
        ("timezone", "../etc/passwd"),
        ("lag", -1),
        ("lag", True),
        ("lag", "1d"),
        ("lists_every", "5h"),
        ("lists_every", "20m"),
        ("lists_every", "2d"),
        ("watch_every", "1s"),
        ("switched_on", "yes"),
        ("dayly_at", "00:20"),
    ],
)
def test_what_cannot_be_is_refused_in_words(setting: str, value: object) -> None:
    with pytest.raises(SettingsError, match=rf"sensors\.toml: \[automation\].*{setting}"):
        told(**{setting: value})
