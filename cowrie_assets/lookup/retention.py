"""How long each part is kept, as the operator set it: `[retention]` of `sensors.toml`.

Lives here: the parts, their defaults and the least that each may be set to. Not here: pruning (`warehouse.pruning`,
`assets.freezing`, `assets.instance_trimming`).
"""

from __future__ import annotations

from math import ceil
from typing import Any

from cowrie_assets.lookup.configured import configured_services
from cowrie_assets.lookup.services import DAY
from cowrie_assets.settings import Settings, SettingsError

FOR_EVER = "for ever"
Retention = dict[str, int | None]  # days by part; None: for ever

# What happens where nothing is set; docs/retention.md gives the reasons.
DEFAULTS: Retention = {
    "dagster_runs": 90,
    "ledger": 400,
    "events": None,
    "list_copies": 30,
    "alert_notes": 90,
    "storage_use": 400,
}
# A week of runs is what alerts and people look back to, a week of events what a sensor may be late by. Growth is told
# from measurements of a week ago.
_LEAST = {"dagster_runs": 7, "ledger": 2, "events": 7, "list_copies": 1, "alert_notes": 7, "storage_use": 8}
_CENTURY = 36525  # days: a date that PostgreSQL and Python still know


def configured_retention(settings: Settings) -> Retention:
    """The days for which each part is kept.

    Raises:
        SettingsError: a part that there is not, a value that is none, or so few days that a quota would be forgotten.
    """
    where = f"{settings.config}: [retention]"
    unknown = set(settings.retention) - set(DEFAULTS)
    if unknown:
        raise SettingsError(f"{where} has an unknown setting: {min(unknown)}; there are {', '.join(sorted(DEFAULTS))}")
    days = {part: _days(f"{where} {part}", settings.retention.get(part, DEFAULTS[part]), part) for part in DEFAULTS}
    days["ledger"] = _with_quotas(settings, f"{where} ledger", days["ledger"])
    return days


def _days(where: str, value: Any, part: str) -> int | None:
    if value is None or value == FOR_EVER:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not _LEAST[part] <= value <= _CENTURY:
        raise SettingsError(f'{where} is {value!r}: write a number of days, {_LEAST[part]} at least, or "{FOR_EVER}"')
    return value


def _with_quotas(settings: Settings, where: str, kept: int | None) -> int | None:
    """What is left of a quota is counted from the ledger: it reaches back as far as the longest of them."""
    if kept is None:
        return None
    for service in configured_services(settings).values():
        for quota in service.quotas:
            # A day more: a quota's window is padded, and goes by the database's clock.
            least = ceil((31 * DAY if quota.calendar == "month" else quota.seconds) / DAY) + 1
            if kept < least and "ledger" in settings.retention:
                raise SettingsError(
                    f"{where} is {kept}: the quota of {service.name}, {quota}, is counted from the ledger, so keep it "
                    f"for {least} days at least"
                )
            kept = max(kept, least)
    return kept
