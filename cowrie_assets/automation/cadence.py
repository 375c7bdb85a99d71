"""When things run: `[automation]` of `sensors.toml`.

Lives here: what can be set, its defaults, and which day is the newest that is taken as complete. Not here: the
schedules themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from cowrie_assets.lookup.configured import duration
from cowrie_assets.settings import Settings, SettingsError

_HOUR = 3600.0
_SHORTEST_WATCH = 30.0


@dataclass(frozen=True)
class Cadence:
    """`daily_at` (hour, minute) in `timezone`; `lag` is how many days old a UTC day is when it is taken as complete (0:
    today is taken as it comes in); `watch_every` in seconds; with `switched_on` the schedules and the sensor of new
    logs run from the start, else once they are switched on in the UI."""

    daily_at: tuple[int, int] = (0, 20)
    timezone: str = "UTC"
    lag: int = 1
    lists_every: int = 6
    watch_every: float = 300.0
    switched_on: bool = False

    @property
    def daily_cron(self) -> str:
        hour, minute = self.daily_at
        return f"{minute} {hour} * * *"

    @property
    def after_daily_cron(self) -> str:
        hour, minute = self.daily_at
        return f"{minute} {(hour + 2) % 24} * * *"

    @property
    def lists_cron(self) -> str:
        # Not at the full hour, when everybody's do.
        return f"41 */{self.lists_every} * * *" if self.lists_every < 24 else "41 2 * * *"

    def newest_day(self, now: datetime | None = None) -> date:
        """The newest day (UTC) that runs by themselves take."""
        return (now or datetime.now(UTC)).date() - timedelta(days=self.lag)


def cadence(settings: Settings) -> Cadence:
    """What the operator set, defaults for the rest.

    Raises:
        SettingsError: `[automation]` has a setting that there is not, or a value that cannot be.
    """
    told: Mapping[str, Any] = settings.automation
    where = f"{settings.config}: [automation]"
    unknown = set(told) - set(Cadence.__dataclass_fields__)
    if unknown:
        raise SettingsError(
            f"{where} has an unknown setting: {min(unknown)}; there are {', '.join(Cadence.__dataclass_fields__)}"
        )
    known = Cadence()
    return Cadence(
        daily_at=_time(told["daily_at"], where) if "daily_at" in told else known.daily_at,
        timezone=_zone(told.get("timezone", known.timezone), where),
        lag=_lag(told.get("lag", known.lag), where),
        lists_every=_hours(told["lists_every"], where) if "lists_every" in told else known.lists_every,
        watch_every=_watch(told.get("watch_every", known.watch_every), where),
        switched_on=_switch(told.get("switched_on", known.switched_on), where),
    )


def _time(value: Any, where: str) -> tuple[int, int]:
    try:
        parsed = datetime.strptime(value, "%H:%M")  # noqa: DTZ007 - a time of day, in the zone that is set beside it
    except (TypeError, ValueError):
        raise SettingsError(f'{where} daily_at is {value!r}: write a time of day as "00:20"') from None
    return parsed.hour, parsed.minute


def _zone(value: Any, where: str) -> str:
    try:
        return str(ZoneInfo(value))
    except (TypeError, ValueError, OSError, KeyError):
        raise SettingsError(f'{where} timezone is {value!r}: write one such as "UTC" or "Europe/Berlin"') from None


def _lag(value: Any, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 30:
        raise SettingsError(f"{where} lag is {value!r}: write the days after which a day is complete, 0 to 30")
    return value


def _hours(value: Any, where: str) -> int:
    hours = duration(value, f"{where} lists_every") / _HOUR
    if hours != int(hours) or not 1 <= hours <= 24 or 24 % hours:
        raise SettingsError(
            f'{where} lists_every is {value!r}: write "1h", "2h", "3h", "4h", "6h", "8h", "12h" or "1d"'
        )
    return int(hours)


def _watch(value: Any, where: str) -> float:
    seconds = duration(value, f"{where} watch_every")
    if seconds < _SHORTEST_WATCH:
        raise SettingsError(f'{where} watch_every is {value!r}: write "30s" or longer')
    return seconds


def _switch(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise SettingsError(f"{where} switched_on is {value!r}: write true or false")
    return value
