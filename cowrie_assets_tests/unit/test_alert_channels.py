"""The part `[alerts]` of sensors.toml: what can be set, and that a URL written there by mistake is not repeated."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cowrie_assets.alerts.channels import Alerts, Channel, configured_alerts
from cowrie_assets.settings import Settings, SettingsError

MARK = "zqtoken"


def settings(alerts: Mapping[str, Any], config: Path | None = Path("/etc/cowrie/sensors.toml")) -> Settings:
    return Settings(home=Path("/nowhere"), config=config, alerts=alerts)


def test_nothing_set_is_no_channel_and_the_defaults() -> None:
    assert configured_alerts(settings({})) == Alerts({}, 5, "WARN", sandbox=False)


def test_channels_refer_to_their_urls_and_a_file_lies_beside_the_configuration(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    channels = {"team": "env:TEAM_URL", "mail": "file:mail.url", "home": "file:~/mail.url"}
    known = configured_alerts(settings({"channels": channels, "digest_from": 9}, tmp_path / "sensors.toml"))
    assert known.digest_from == 9
    assert [channel.reference for channel in known.channels.values()] == [
        "env:TEAM_URL",
        f"file:{tmp_path}/mail.url",
        "file:~/mail.url",
    ]
    monkeypatch.delenv("TEAM_URL", raising=False)
    assert known.channels["team"].url() is None
    assert known.channels["team"].without_url == "it has no URL: set TEAM_URL"
    assert f"a readable file at {tmp_path}/mail.url" in known.channels["mail"].without_url
    monkeypatch.setenv("TEAM_URL", " json://127.0.0.1:1 ")
    (tmp_path / "mail.url").write_text("mailtos://u:p@example.org\n")
    assert known.channels["team"].url() == "json://127.0.0.1:1"
    assert known.channels["mail"].url() == "mailtos://u:p@example.org"


@pytest.mark.parametrize(
    ("alerts", "said"),
    [
        ({"chanels": {}}, "unknown setting: chanels; there are channels, digest_from, severity"),
        ({"channels": "env:X"}, r"write \[alerts.channels\] as a table"),
        ({"channels": {"team": f"slack://{MARK}/b/c"}}, 'team: say where its URL is, as "env:NAME" or "file:PATH"'),
        ({"channels": {"team": {"url": f"slack://{MARK}"}}}, "team: say where its URL is"),
        ({"channels": {f"https://{MARK}": "env:X"}}, "a channel's name has 1 to 40 letters"),
        ({"channels": {"team": "env:"}}, "team: say where its URL is"),
        ({"digest_from": 1}, "digest_from is 1: a digest has 2 failures or more"),
        ({"digest_from": True}, "digest_from is True"),
        ({"severity": "LOUD"}, "severity is 'LOUD': \"WARN\" tells all failures"),
    ],
)
def test_what_cannot_be_used_is_said_with_its_cure_and_without_the_url(alerts: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said) as refusal:
        configured_alerts(settings(alerts))
    assert "/etc/cowrie/sensors.toml: [alerts" in str(refusal.value)
    assert MARK not in str(refusal.value)


def test_a_channel_does_not_show_its_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEAM_URL", f"json://127.0.0.1/{MARK}")
    channel = Channel("team", "env:TEAM_URL")
    assert MARK in (channel.url() or "")
    assert MARK not in f"{channel} {channel!r} {channel.without_url}"


def test_the_example_shows_the_defaults_and_can_be_used_as_it_is() -> None:
    text = (Path(__file__).parents[2] / "sensors.example.toml").read_text(encoding="utf-8")
    lines = text[text.index("# [alerts]") :].split("\n\n")[0].splitlines()
    table = tomllib.loads("\n".join(line.removeprefix("# ") for line in lines))["alerts"]
    known = configured_alerts(settings(table))
    assert (known.digest_from, known.severity) == (Alerts.digest_from, Alerts.severity)
    assert [channel.name for channel in known.channels.values()] == ["team", "mail"]
