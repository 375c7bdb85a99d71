"""Where alerts go: the part `[alerts]` of `sensors.toml`.

Lives here: what can be set, how it is written, and where a channel's URL comes from. Not here: sending (`delivery`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from cowrie_assets.lookup.services import secret
from cowrie_assets.settings import Settings, SettingsError

Severity = Literal["WARN", "ERROR"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_REFERENCE = re.compile(r"(env|file):\S.*")
_KNOWN = ("channels", "digest_from", "severity")


@dataclass(frozen=True)
class Channel:
    """One way to the operator. `reference` says where its URL is (`env:NAME` or `file:PATH`); the URL is a secret."""

    name: str
    reference: str

    def url(self) -> str | None:
        """None where there is none. Never print it."""
        return secret(self.reference)

    @property
    def without_url(self) -> str:
        """What to say where there is none."""
        kind, _, where = self.reference.partition(":")
        cure = f"set {where}" if kind == "env" else f"write it into a readable file at {where}"
        return f"it has no URL: {cure}"


@dataclass(frozen=True)
class Alerts:
    """How this operator is told. As many failures as `digest_from`, or more, that are found together are one note; what
    is less severe than `severity` is kept and never told."""

    channels: Mapping[str, Channel] = field(default_factory=dict)
    digest_from: int = 5
    severity: Severity = "WARN"
    sandbox: bool = False


def configured_alerts(settings: Settings) -> Alerts:
    """`[alerts]` as this operator wrote it.

    Raises:
        SettingsError: it names a setting that there is not, or a value that cannot be. A URL that stands there by
            mistake is not repeated.
    """
    table, where = settings.alerts, f"{settings.config}: [alerts]"
    unknown = set(table) - set(_KNOWN)
    if unknown:
        raise SettingsError(f"{where} has an unknown setting: {min(unknown)}; there are {', '.join(_KNOWN)}")
    digest_from = table.get("digest_from", Alerts.digest_from)
    if not isinstance(digest_from, int) or isinstance(digest_from, bool) or digest_from < 2:
        raise SettingsError(f"{where} digest_from is {digest_from!r}: a digest has 2 failures or more")
    severity = table.get("severity", Alerts.severity)
    if severity not in get_args(Severity):
        raise SettingsError(f'{where} severity is {severity!r}: "WARN" tells all failures, "ERROR" the severe ones')
    channels = table.get("channels", {})
    if not isinstance(channels, dict):
        raise SettingsError(f'{where}: write [alerts.channels] as a table of name = "env:NAME"')
    return Alerts(
        channels={name: _channel(settings.config, name, value) for name, value in channels.items()},
        digest_from=digest_from,
        severity=severity,
        sandbox=settings.mode == "sandbox",
    )


def _channel(config: Path | None, name: str, value: Any) -> Channel:
    where = f"{config}: [alerts.channels]"
    if not _NAME.fullmatch(name):
        # Not repeated either: it may be a URL on the wrong side.
        raise SettingsError(f"{where}: a channel's name has 1 to 40 letters, digits, - and _")
    if not isinstance(value, str) or not _REFERENCE.fullmatch(value):
        raise SettingsError(f'{where} {name}: say where its URL is, as "env:NAME" or "file:PATH", not the URL itself')
    kind, _, place = value.partition(":")
    if kind == "file" and config is not None and not place.startswith("~"):
        # As a key's file: a relative path starts at the file that names it.
        value = f"file:{config.parent / place}"
    return Channel(name, value)
