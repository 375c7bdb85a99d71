"""`[checks]` of sensors.toml: what can be set, how it is written, and that what cannot be is refused with its cure."""

from __future__ import annotations

import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cowrie_assets.checks.thresholds import Silence, Thresholds, UpToDate, length_in_words
from cowrie_assets.definitions import build_definitions
from cowrie_assets.settings import Settings, SettingsError
from cowrie_assets.warehouse.coverage import Gates

EXAMPLE = Path(__file__).parents[2] / "sensors.example.toml"


def thresholds(checks: str) -> Thresholds:
    content: dict[str, Any] = tomllib.loads(checks)
    return Thresholds.of(Settings(home=Path("/nowhere"), config=Path("/etc/sensors.toml"), checks=content["checks"]))


def test_without_a_setting_the_defaults_hold() -> None:
    assert Thresholds.of(Settings(home=Path("/nowhere"))) == Thresholds()
    assert Thresholds().coverage.of("spur") == 0.8


def test_every_threshold_can_be_set() -> None:
    told = """
    [checks]
    clock_skew = "90s"
    geo_files_age = "30d"
    lists_age = "26h"
    positives = 5
    [checks.coverage]
    default = 0.7
    virustotal = 0.5
    [checks.snapshots]
    source_address_known = 0.99
    asn_known = 0.6
    country_known = 1
    [checks.silence]
    days = 14
    heard = 10
    [checks.up_to_date]
    enabled = false
    ingested_within = "2d"
    built_within = "30m"
    """
    assert thresholds(told) == Thresholds(
        coverage=Gates(0.7, {"virustotal": 0.5}),
        source_address_known=0.99,
        asn_known=0.6,
        country_known=1.0,
        silence=Silence(14, 10),
        up_to_date=UpToDate(False, timedelta(days=2), timedelta(minutes=30)),
        clock_skew=timedelta(seconds=90),
        geo_files_age=timedelta(days=30),
        lists_age=timedelta(hours=26),
        positives=5,
    )


def test_the_example_says_the_defaults() -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith("# [checks]"))
    # A part ends with the first line that is neither commented nor empty, or with a part of something else.
    part: list[str] = []
    for line in lines[begin:]:
        text = line.removeprefix("# ")
        if line.startswith("# [") and not line.startswith("# [checks"):
            break
        if line.startswith("# [") or (
            line.startswith("# ") and "=" in text and text.split("=")[0].strip().isidentifier()
        ):
            part.append(text)
    told = "\n".join(part)
    assert tomllib.loads(told)["checks"]["coverage"] == {"default": 0.8, "virustotal": 0.5}
    assert thresholds(told.replace("virustotal = 0.5", "")) == Thresholds()


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ("[checks]\ncoverage = 0.8", r"/etc/sensors.toml: write \[checks.coverage\] as a table"),
        ("[checks]\nskew = 5", r"\[checks\] has an unknown setting: skew; there are clock_skew"),
        ("[checks.coverage]\ngreynoise = 0.5", r"\[checks.coverage\] has an unknown setting: greynoise"),
        ("[checks.coverage]\nspur = 80", r"\[checks.coverage\] spur is 80: a share is 0 to 1, say 0.8"),
        ("[checks.coverage]\ndefault = true", "default is True: a share"),
        ("[checks.snapshots]\nasn_known = '80%'", "asn_known is '80%': a share"),
        ("[checks.silence]\ndays = 0", r"\[checks.silence\] days is 0: write a whole number, 1 to 366"),
        ("[checks.silence]\nheard = 6.5", "heard is 6.5: write a whole number"),
        ("[checks.silence]\ndays = 3", "heard is 6, of 3 days: a sensor cannot be heard on more days .* lower heard"),
        ("[checks]\nclock_skew = '0s'", "clock_skew is '0s': it must be at least 1 s"),
        ("[checks]\nclock_skew = 'soon'", "clock_skew is 'soon': write a time as"),
        ("[checks]\ngeo_files_age = 45", "geo_files_age is 45: it must be at least 3600 s"),
        ("[checks]\npositives = 0", "positives is 0: write a whole number"),
        ("[checks.up_to_date]\nenabled = 1", "enabled is 1: write true or false"),
        ("[checks.up_to_date]\nlag = 1", "unknown setting: lag; there are built_within, enabled, ingested_within"),
    ],
)
def test_what_cannot_be_is_refused_with_its_cure(told: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as refusal:
        thresholds(told)
    assert str(refusal.value).startswith("/etc/sensors.toml: ")


def test_definitions_say_the_operators_thresholds(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, checks={"coverage": {"spur": 0.5}, "silence": {"days": 3, "heard": 2}})
    described = {
        (spec.asset_key.to_user_string(), spec.name): spec.description or ""
        for checks in build_definitions(settings=settings).asset_checks or ()
        for spec in checks.check_specs
    }
    assert "at least 50% of the day's" in described["spur_enrichment", "answered"]
    assert "at least 80% of the day's" in described["dshield_enrichment", "answered"]
    assert "at least 50% of all" in described["session_summaries", "spur_answered"]
    assert "events on at least 2 of the 3 days before" in described["sessions", "sensors_heard"]


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (timedelta(seconds=90), "90 seconds"),
        (timedelta(minutes=1), "1 minute"),
        (timedelta(minutes=5), "5 minutes"),
        (timedelta(hours=1), "1 hour"),
        (timedelta(days=1), "24 hours"),
        (timedelta(hours=26), "26 hours"),
        (timedelta(days=2), "2 days"),
    ],
)
def test_lengths_are_said_as_people_say_them(length: timedelta, words: str) -> None:
    assert length_in_words(length) == words
