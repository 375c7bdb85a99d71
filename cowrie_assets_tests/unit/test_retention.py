"""`[retention]` of sensors.toml: each part's days, and what would forget too much is refused in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cowrie_assets.lookup.retention import DEFAULTS, configured_retention
from cowrie_assets.settings import Settings, SettingsError

CONFIG = Path("/etc/sensors.toml")


def settings(retention: dict[str, Any], services: dict[str, Any] | None = None) -> Settings:
    return Settings(home=Path("var"), config=CONFIG, retention=retention, services=services or {})


def test_events_are_kept_for_ever_unless_the_operator_says_otherwise() -> None:
    assert configured_retention(settings({})) == DEFAULTS
    assert DEFAULTS["events"] is None
    assert configured_retention(settings({"events": 800}))["events"] == 800


def test_every_part_can_be_kept_for_ever() -> None:
    assert set(configured_retention(settings(dict.fromkeys(DEFAULTS, "for ever"))).values()) == {None}


@pytest.mark.parametrize(
    ("retention", "said"),
    [
        ({"dagster": 90}, "unknown setting: dagster; there are alert_notes"),
        ({"list_editions": 90}, "unknown setting: list_editions"),
        ({"events": 3}, 'events is 3: write a number of days, 7 at least, or "for ever"'),
        ({"events": "forever"}, "events is 'forever': write a number of days"),
        ({"ledger": True}, "ledger is True"),
        ({"ledger": 10.5}, "ledger is 10.5"),
        ({"dagster_runs": 0}, "dagster_runs is 0"),
        ({"storage_use": 10**9}, "storage_use is 1000000000"),
        ({"ledger": 31}, "ledger is 31: the quota of virustotal, 15500/month, is counted from the ledger"),
    ],
)
def test_what_cannot_be_kept_so_is_refused_with_file_setting_and_cure(retention: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        configured_retention(settings(retention))
    assert str(refusal.value).startswith(f"{CONFIG}: [retention]")
    assert said in str(refusal.value)


def test_the_ledger_reaches_as_far_back_as_the_longest_quota() -> None:
    long_quota = {"spur": {"quota": "1000/500d"}}
    assert configured_retention(settings({}, long_quota))["ledger"] == 501
    with pytest.raises(SettingsError, match="keep it for 501 days at least"):
        configured_retention(settings({"ledger": 500}, long_quota))
