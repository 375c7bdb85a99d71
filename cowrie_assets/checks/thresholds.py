"""From when on the checks complain: `[checks]` of `sensors.toml`.

Lives here: each threshold, its default, how it is written. Not here: what is measured (each check's own module), the
age up to which a copy of a list is current (`[services.<list>] ttl_found`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from cowrie_assets.lookup.configured import duration
from cowrie_assets.lookup.services import HOUR, MINUTE
from cowrie_assets.settings import Settings, SettingsError
from cowrie_assets.upstreams.geoip import OLD_DAYS
from cowrie_assets.warehouse.coverage import GATE, Gates

# Those that have a gate: GreyNoise is a sample.
GATED = ("dshield", "urlhaus", "spur", "virustotal", "hibp", "cymru")
_LONGEST_WINDOW = 366
_SHORTEST_SKEW = 1.0  # seconds: Cowrie writes durations with one decimal, and was seen 0.23 s off


@dataclass(frozen=True)
class Silence:
    """A sensor reports daily if it had events on `heard` of the `days` before a day."""

    days: int = 7
    heard: int = 6


@dataclass(frozen=True)
class UpToDate:
    """The logs were read at most `ingested_within` ago, and what they brought is built after `built_within` at the
    latest. Not `enabled`: old logs that nobody adds to. Which day is the newest complete one says [automation] lag."""

    enabled: bool = True
    ingested_within: timedelta = timedelta(hours=26)
    built_within: timedelta = timedelta(hours=6)


@dataclass(frozen=True)
class Thresholds:
    """What every check judges by. Shares are 0 to 1; `positives` are sessions."""

    coverage: Gates = field(default_factory=Gates)
    source_address_known: float = 0.95
    asn_known: float = GATE
    country_known: float = GATE
    silence: Silence = field(default_factory=Silence)
    up_to_date: UpToDate = field(default_factory=UpToDate)
    clock_skew: timedelta = timedelta(minutes=5)
    geo_files_age: timedelta = timedelta(days=OLD_DAYS)
    lists_age: timedelta = timedelta(days=2)
    positives: int = 1

    @classmethod
    def of(cls, settings: Settings) -> Thresholds:
        """The thresholds of this operator.

        Raises:
            SettingsError: `[checks]` names a setting that there is not, or a value that cannot be.
        """
        parts = dict(settings.checks)
        given = {name: _table(settings.config, name, parts.pop(name, {})) for name in _PARTS}
        # What is not in a part of its own has the name of its field.
        single = _values(settings.config, "checks", parts, _SINGLE)
        coverage = _values(settings.config, "checks.coverage", given["coverage"], dict.fromkeys(_GATES, _share))
        silence = _values(settings.config, "checks.silence", given["silence"], _SILENCE)
        up_to_date = _values(settings.config, "checks.up_to_date", given["up_to_date"], _UP_TO_DATE)
        known = cls(
            coverage=Gates(coverage.pop("default", GATE), coverage),
            silence=Silence(**silence),
            up_to_date=UpToDate(**up_to_date),
            **_values(settings.config, "checks.snapshots", given["snapshots"], _SNAPSHOTS),
            **single,
        )
        if known.silence.heard > known.silence.days:
            raise SettingsError(
                f"{settings.config}: [checks.silence] heard is {known.silence.heard}, of {known.silence.days} days: "
                "a sensor cannot be heard on more days than there are; lower heard, or raise days"
            )
        return known


def length_in_words(length: timedelta) -> str:
    """A setting's length as its owner would write it: `26 hours`, `5 minutes`, `45 days`."""
    seconds = length.total_seconds()
    for unit, size in (("day", 86400.0), ("hour", HOUR), ("minute", MINUTE)):
        # Two days and more are days: 26 hours are not "1 day".
        if seconds >= (2 * size if unit == "day" else size) and seconds % size == 0:
            return f"{seconds / size:g} {unit}{'s' if seconds > size else ''}"
    return f"{seconds:g} seconds"


def _table(config: Path | None, name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise SettingsError(f"{config}: write [checks.{name}] as a table")
    return value


def _values(
    config: Path | None, part: str, given: Mapping[str, Any], readers: Mapping[str, Callable[[Any, str], Any]]
) -> dict[str, Any]:
    unknown = set(given) - set(readers)
    if unknown:
        raise SettingsError(
            f"{config}: [{part}] has an unknown setting: {min(unknown)}; there are {', '.join(sorted(readers))}"
        )
    return {name: readers[name](value, f"{config}: [{part}] {name}") for name, value in given.items()}


def _share(value: Any, where: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise SettingsError(f"{where} is {value!r}: a share is 0 to 1, say 0.8")
    return float(value)


def _number(least: int, most: int) -> Callable[[Any, str], int]:
    def read(value: Any, where: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise SettingsError(f"{where} is {value!r}: write a whole number, {least} to {most}")
        return value

    return read


def _length(least: float) -> Callable[[Any, str], timedelta]:
    def read(value: Any, where: str) -> timedelta:
        seconds = duration(value, where)
        if seconds < least:
            raise SettingsError(f'{where} is {value!r}: it must be at least {least:g} s; write "5m", "26h" or "45d"')
        return timedelta(seconds=seconds)

    return read


def _switch(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise SettingsError(f"{where} is {value!r}: write true or false")
    return value


_PARTS = ("coverage", "snapshots", "silence", "up_to_date")
_GATES = ("default", *GATED)
_SNAPSHOTS = dict.fromkeys(("source_address_known", "asn_known", "country_known"), _share)
_SILENCE = {"days": _number(1, _LONGEST_WINDOW), "heard": _number(1, _LONGEST_WINDOW)}
_UP_TO_DATE = {
    "enabled": _switch,
    "ingested_within": _length(MINUTE),
    "built_within": _length(MINUTE),
}
_SINGLE = {
    "clock_skew": _length(_SHORTEST_SKEW),
    "geo_files_age": _length(HOUR),
    "lists_age": _length(MINUTE),
    "positives": _number(1, 1_000_000_000),
}
