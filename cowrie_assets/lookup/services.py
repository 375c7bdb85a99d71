"""The services there are: where each is, how often it may be asked, how long its answers live, what it needs.

Lives here: one row a service, and what an operator may change of it in `sensors.toml`. Not here: how a service is asked
(`cowrie_assets.upstreams`), whether a question leaves (`asking`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cowrie_assets.settings import ADDRESS_VARIABLES, Settings, SettingsError
from cowrie_assets.upstreams.contract import AddressService
from cowrie_assets.upstreams.dshield import DShield
from cowrie_assets.upstreams.greynoise import GreyNoise
from cowrie_assets.upstreams.spur import Spur
from cowrie_assets.upstreams.urlhaus import URLhaus

MINUTE, HOUR, DAY, WEEK = 60.0, 3600.0, 86400.0, 604800.0
_UNITS = {"s": 1.0, "m": MINUTE, "min": MINUTE, "h": HOUR, "d": DAY, "day": DAY, "w": WEEK, "week": WEEK}
_LONGEST = 100 * 366 * DAY  # a century: an interval that PostgreSQL can add to a date
_SANDBOX_CREDENTIAL = "sandbox:"
_OFFLINE = "offline: COWRIE_OFFLINE is set"


@dataclass(frozen=True)
class Service:
    """One service. `requests` may leave in `window` seconds, spaced evenly; `quota` in `quota_window` seconds at most.
    Times to live and `blocked_for` (after a 429 that does not say how long) are seconds. `credential` says where the
    key or the contact is (`env:NAME` or `file:PATH`), never what it is."""

    name: str
    address: str
    requests: int
    window: float
    ttl_found: float
    ttl_not_found: float
    credential: str | None = None
    contact: str | None = "env:DSHIELD_EMAIL"
    families: tuple[int, ...] = (4, 6)
    workers: int = 2
    blocked_for: float = 60.0
    quota: int | None = None
    quota_window: float = WEEK
    batch: int = 1
    switched_off: str | None = None

    @property
    def pad(self) -> float:
        """Seconds by which windows are longer than they need be: on a busy machine wake-ups were up to 78 ms late."""
        return 0.1 if self.window <= 2 else 0.25

    @property
    def spacing(self) -> float:
        """Seconds between two requests."""
        return (self.window + self.pad) / self.requests

    @property
    def sustained(self) -> float:
        """Seconds a key in the long run: what the rate or the quota permits, over the keys of a batch."""
        by_quota = self.quota_window / self.quota if self.quota else 0.0
        return max(self.spacing, by_quota) / self.batch

    @property
    def not_configured(self) -> str | None:
        """Why it cannot be asked, in words; None where it can."""
        if self.switched_off is not None:
            return self.switched_off
        if self.credential is not None and not secret(self.credential):
            return f"no key: set {_named(self.credential)}"
        return None

    @property
    def limit_key(self) -> str:
        """Limits belong to a service and a credential: two keys have two budgets. A fingerprint, never the key."""
        value = secret(self.credential) if self.credential else None
        return self.name if value is None else f"{self.name}/{sha256(value.encode()).hexdigest()[:8]}"


# The documented limits, or the seeds' where they are more polite; `upstreams` knows the sources.
SERVICES = {
    service.name: service
    for service in (
        Service(
            name="dshield",
            address="https://isc.sans.edu",
            # 1 a second is documented, 30 a minute what the seeds say; a 429 means five minutes of silence.
            requests=30,
            window=MINUTE,
            ttl_found=7 * DAY,
            ttl_not_found=1 * DAY,
            credential="env:DSHIELD_EMAIL",
            blocked_for=5 * MINUTE,
        ),
        Service(
            name="urlhaus",
            address="https://urlhaus-api.abuse.ch",
            requests=30,
            window=MINUTE,
            ttl_found=3 * DAY,
            ttl_not_found=1 * DAY,
            credential="env:URLHAUS_API_KEY",
            families=(4,),
        ),
        Service(
            name="spur",
            address="https://api.spur.us",
            requests=20,
            window=1.0,
            ttl_found=14 * DAY,
            ttl_not_found=7 * DAY,
            credential="env:SPUR_API_KEY",
            workers=8,
            # Its 429 is an empty account, not a speed limit.
            blocked_for=HOUR,
        ),
        Service(
            name="greynoise",
            address="https://api.greynoise.io",
            requests=1,
            window=1.0,
            ttl_found=30 * DAY,
            ttl_not_found=30 * DAY,
            credential="env:GREYNOISE_API_KEY",
            families=(4,),
            workers=1,
            blocked_for=HOUR,
            # The community's 25 a week (2026-08): a sample of the most telling addresses.
            quota=25,
        ),
        Service(
            name="cymru",
            address="whois.cymru.com:43",
            # Connections, one at a time; each asks about a batch.
            requests=1,
            window=1.0,
            ttl_found=30 * DAY,
            ttl_not_found=7 * DAY,
            batch=500,
        ),
        Service(
            name="tor_exits",
            address="",
            requests=1,
            window=1.0,
            ttl_found=6 * HOUR,
            ttl_not_found=6 * HOUR,
        ),
        Service(
            name="cloud_ranges",
            address="",
            requests=1,
            window=1.0,
            ttl_found=DAY,
            ttl_not_found=DAY,
        ),
    )
}
_CLIENTS: dict[str, Callable[[Service], AddressService]] = {
    "dshield": lambda s: DShield(s.address, secret(s.credential) or ""),
    "urlhaus": lambda s: URLhaus(s.address, secret(s.credential) or "", secret(s.contact)),
    "spur": lambda s: Spur(s.address, secret(s.credential) or "", secret(s.contact)),
    "greynoise": lambda s: GreyNoise(s.address, secret(s.credential) or "", secret(s.contact)),
}


def client(service: Service) -> AddressService:
    """What asks the service and reads its answers."""
    return _CLIENTS[service.name](service)


def configured_services(settings: Settings) -> dict[str, Service]:
    """Every service as this operator set it.

    Raises:
        SettingsError: `sensors.toml` names a service or a setting that there is not, or a value that cannot be.
    """
    unknown = set(settings.services) - set(SERVICES)
    if unknown:
        raise SettingsError(
            f"{settings.config}: unknown service {min(unknown)!r}; there are {', '.join(sorted(SERVICES))}"
        )
    services = {}
    for name, service in SERVICES.items():
        place = "feeds" if name in ("tor_exits", "cloud_ranges") else name
        address = _checked(place, settings.addresses.get(place, service.address))
        known = replace(service, address=address, switched_off=_OFFLINE if settings.offline else None)
        if settings.mode == "sandbox":
            services[name] = _sandboxed(known)
        else:
            services[name] = _changed(known, settings.services.get(name, {}), settings.config)
    return services


def max_time(settings: Settings) -> float:
    """How long, in seconds, a run may wait for rates before it leaves the rest to the next one."""
    unknown = set(settings.enrichment) - {"max_time"}
    if unknown:
        raise SettingsError(f"{settings.config}: [enrichment] has an unknown setting: {min(unknown)}")
    return duration(settings.enrichment.get("max_time", "30m"), f"{settings.config}: [enrichment] max_time")


def secret(reference: str | None) -> str | None:
    """The key or the contact that a reference leads to; None where there is none. Never print it."""
    if reference is None:
        return None
    kind, _, where = reference.partition(":")
    if kind == "env":
        return os.environ.get(where, "").strip() or None
    if kind == "file":
        try:
            return Path(where).expanduser().read_text(encoding="utf-8").strip() or None
        except (OSError, ValueError, RuntimeError):  # not there, not text, or a user's folder that there is not
            return None
    return "sandbox@sandbox.invalid" if reference == _SANDBOX_CREDENTIAL else None


def duration(value: Any, where: str) -> float:
    """Seconds of `90`, `"90s"`, `"30m"`, `"2h"` or `"7d"`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d|w)?", value.strip()) if isinstance(value, str) else None
    if match is not None:
        seconds = float(match.group(1)) * _UNITS[match.group(2) or "s"]
    else:
        seconds = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else -1.0
    if not 0 <= seconds <= _LONGEST:
        raise SettingsError(f'{where} is {value!r}: write a time as 90, "90s", "30m", "2h" or "7d"')
    return seconds


def _checked(place: str, address: str) -> str:
    """An address that can be asked, and printed: there is no password in it."""
    variable = ADDRESS_VARIABLES[place]
    if place == "cymru":
        host, _, port = address.rpartition(":")
        if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
            raise SettingsError(f"{variable} is {address!r}: write it as host:port, for example whois.cymru.com:43")
        return address
    parts = urlsplit(address)
    if "@" in parts.netloc:
        raise SettingsError(f"{variable} holds a user or a password: keys have variables of their own")
    if address and (parts.scheme not in ("http", "https") or not parts.hostname):
        raise SettingsError(f"{variable} is {address!r}: write it as https://host")
    return address


def _rate(value: Any, where: str) -> tuple[int, float]:
    """Requests and window of `"30/min"`, `"1/s"` or `"4/12s"`."""
    match = (
        re.fullmatch(r"(\d+)\s*/\s*(\d*)\s*(s|m|min|h|d|day|week)", value.strip()) if isinstance(value, str) else None
    )
    if match is None or int(match.group(1)) < 1 or int(match.group(2) or 1) < 1:
        raise SettingsError(f'{where} is {value!r}: write a rate as "30/min", "1/s" or "4/12s"; 0 switches nothing off')
    return int(match.group(1)), int(match.group(2) or 1) * _UNITS[match.group(3)]


def _changed(service: Service, table: Mapping[str, Any], config: Path | None) -> Service:
    changed = service
    for key, value in table.items():
        where = f"{config}: [services.{service.name}] {key}"
        if key == "rate":
            requests, window = _rate(value, where)
            changed = replace(changed, requests=requests, window=window)
        elif key == "quota":
            quota, quota_window = _rate(value, where)
            changed = replace(changed, quota=quota, quota_window=quota_window)
        elif key in ("ttl_found", "ttl_not_found"):
            changed = replace(changed, **{key: duration(value, where)})  # type: ignore[arg-type]
        elif key == "batch" and service.name == "cymru":
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 5000:
                raise SettingsError(f"{where} is {value!r}: a batch has 1 to 5000 addresses")
            changed = replace(changed, batch=value)
        elif key == "key" and service.credential is not None:
            if not isinstance(value, str) or not value.startswith(("env:", "file:")):
                # Not repeated: somebody may have written the key itself.
                raise SettingsError(f'{where}: say where the key is, as "env:NAME" or "file:PATH", not the key itself')
            changed = replace(changed, credential=_beside(config, value))
        else:
            raise SettingsError(f"{where}: there is no such setting")
    return changed


def _beside(config: Path | None, reference: str) -> str:
    """A key file's relative path starts at the file that names it, as the sensors' folders do."""
    kind, _, where = reference.partition(":")
    if kind != "file" or config is None:
        return reference
    return f"file:{config.parent / where}" if not where.startswith("~") else reference


def _sandboxed(service: Service) -> Service:
    """Raised limits, on both sides; nobody but the sandbox is ever asked."""
    known = replace(
        service,
        credential=_SANDBOX_CREDENTIAL if service.credential else None,
        contact=_SANDBOX_CREDENTIAL,
        requests=1500,
        window=1.0,
        workers=4,
        quota=100 if service.quota else None,
    )
    if service.address in ("", SERVICES[service.name].address):
        return replace(known, switched_off=known.switched_off or "the sandbox's services were never started")
    return known


def _named(credential: str) -> str:
    kind, _, where = credential.partition(":")
    return where if kind == "env" else f"a readable file at {where}"
