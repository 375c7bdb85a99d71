"""The services as this operator set them: `[enrichment]` and `[services.<name>]` of `sensors.toml`, and the sandbox's.

Lives here: what can be set and how it is written. Not here: what holds where nothing is set (`services`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cowrie_assets.lookup.services import (
    DAY,
    HOUR,
    MINUTE,
    SANDBOX_CREDENTIAL,
    SERVICES,
    WEEK,
    Quota,
    Service,
)
from cowrie_assets.settings import ADDRESS_VARIABLES, Settings, SettingsError

_UNITS = {"s": 1.0, "m": MINUTE, "min": MINUTE, "h": HOUR, "d": DAY, "day": DAY, "w": WEEK, "week": WEEK}
_LONGEST = 100 * 366 * DAY  # a century: an interval that PostgreSQL can add to a date
_OFFLINE = "offline: COWRIE_OFFLINE is set"
# A subscription's limits: the seeds' 10 a second and 10,000 a day, which GreyNoise counts by address.
_PAID_GREYNOISE = {"requests": 10, "window": 1.0, "quotas": (Quota(10_000, DAY, "day"),), "batch": 500}
_LARGEST_BATCH = {"cymru": 5000, "greynoise": 10_000}


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
        known = replace(
            service,
            address=address,
            at_home=address.rstrip("/") == service.address,
            switched_off=_OFFLINE if settings.offline else None,
        )
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
    # The plan first: single limits change what it brings.
    changed = service
    for key, value in sorted(table.items(), key=lambda item: item[0] != "plan"):
        changed = replace(changed, **_change(changed, key, value, config))
    return changed


def _change(service: Service, key: str, value: Any, config: Path | None) -> dict[str, Any]:
    """The fields of a service that one setting changes."""
    where = f"{config}: [services.{service.name}] {key}"
    if key in _SINGLE_CHANGES:
        return _SINGLE_CHANGES[key](service, value, where)
    if key == "plan" and service.name == "greynoise":
        if value not in ("community", "paid"):
            raise SettingsError(f'{where} is {value!r}: there are "community" and "paid"')
        return dict(_PAID_GREYNOISE) if value == "paid" else {}
    if key == "batch" and service.name in _LARGEST_BATCH:
        return {"batch": _batch(service, value, where)}
    if (key == "key" and service.credential is not None) or (key == "account" and service.account is not None):
        if not isinstance(value, str) or not value.startswith(("env:", "file:")):
            # Not repeated: somebody may have written the key itself.
            raise SettingsError(f'{where}: say where the key is, as "env:NAME" or "file:PATH", not the key itself')
        return {"credential" if key == "key" else "account": _beside(config, value)}
    raise SettingsError(f"{where}: there is no such setting")


def _batch(service: Service, value: Any, where: str) -> int:
    if service.name == "greynoise" and service.batch == 1:
        raise SettingsError(f'{where}: the community\'s interface takes no batches; plan = "paid" does')
    largest = _LARGEST_BATCH[service.name]
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= largest:
        raise SettingsError(f"{where} is {value!r}: a batch has 1 to {largest} addresses")
    return value


def _enabled(service: Service, value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, bool):
        raise SettingsError(f"{where} is {value!r}: write true or false")
    return {} if value else {"switched_off": service.switched_off or "switched off in sensors.toml"}


def _share(_: Service, value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= 1:
        raise SettingsError(f"{where} is {value!r}: a share is more than 0, and at most 1")
    return {"network_share": float(value)}


def _quotas(value: Any, where: str) -> tuple[Quota, ...]:
    try:
        return tuple(Quota.parse(text) for text in (value if isinstance(value, list) else [value]))
    except (ValueError, AttributeError, TypeError):
        raise SettingsError(
            f'{where} is {value!r}: write a quota as "25/week", "500/day" or "30/24h", several as a list'
        ) from None


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
        credential=SANDBOX_CREDENTIAL if service.credential else None,
        account=f"{SANDBOX_CREDENTIAL}123456" if service.account else None,
        contact=SANDBOX_CREDENTIAL,
        requests=1500,
        window=1.0,
        workers=4,
        quotas=(Quota(100, WEEK),) if service.name == "greynoise" else (),
    )
    if service.address in ("", SERVICES[service.name].address):
        return replace(known, switched_off=known.switched_off or "the sandbox's services were never started")
    return known


_SINGLE_CHANGES: dict[str, Callable[[Service, Any, str], dict[str, Any]]] = {
    "enabled": _enabled,
    "network_share": _share,
    "rate": lambda _, value, where: dict(zip(("requests", "window"), _rate(value, where), strict=True)),
    "quota": lambda _, value, where: {"quotas": _quotas(value, where)},
    "ttl_found": lambda _, value, where: {"ttl_found": duration(value, where)},
    "ttl_not_found": lambda _, value, where: {"ttl_not_found": duration(value, where)},
}
