"""The services there are: where each is, how often it may be asked, how long its answers live, what it needs.

Lives here: one row a service. Not here: what an operator changes of it (`configured`), how a service is asked
(`cowrie_assets.upstreams`), whether a question leaves (`asking`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

from cowrie_assets.upstreams.contract import BulkService, KeyService, Reading, Request, Response, Unsuitable
from cowrie_assets.upstreams.dshield import DShield
from cowrie_assets.upstreams.greynoise import GreyNoise
from cowrie_assets.upstreams.greynoise_bulk import GreyNoiseBulk
from cowrie_assets.upstreams.hibp import PwnedPasswords
from cowrie_assets.upstreams.spur import Spur
from cowrie_assets.upstreams.urlhaus import URLhaus
from cowrie_assets.upstreams.virustotal import VirusTotal

MINUTE, HOUR, DAY, WEEK = 60.0, 3600.0, 86400.0, 604800.0
SANDBOX_CREDENTIAL = "sandbox:"
_SHORTEST_SECRET = 8
_CALENDAR = {"day": DAY, "month": 30 * DAY}
_ROLLING = {"h": HOUR, "d": DAY, "w": WEEK, "week": WEEK}
_QUOTA = re.compile(r"(\d{1,9})\s*/\s*(\d{0,4})\s*(h|d|w|day|week|month)")


@dataclass(frozen=True)
class Quota:
    """So many keys may be asked about in a calendar day or month of UTC, or in any stretch of `seconds`."""

    keys: int
    seconds: float
    calendar: Literal["day", "month"] | None = None

    @classmethod
    def parse(cls, text: str) -> Quota:
        """`500/day` and `15500/month` begin anew with the day or month; `25/week` and `30/24h` never do.

        Raises:
            ValueError: it is written in another way.
        """
        match = _QUOTA.fullmatch(text.strip())
        if match is None or int(match[1]) < 1 or (match[2] and int(match[2]) < 1):
            raise ValueError(text)
        unit, number = match[3], int(match[2] or 1)
        if unit in ("day", "month") and number == 1:
            return cls(int(match[1]), _CALENDAR[unit], "day" if unit == "day" else "month")
        if unit == "month":
            raise ValueError(text)
        return cls(int(match[1]), number * _ROLLING.get(unit, DAY))

    def __str__(self) -> str:
        if self.calendar is not None:
            return f"{self.keys}/{self.calendar}"
        return f"{self.keys}/week" if self.seconds == WEEK else f"{self.keys}/{self.seconds / HOUR:g}h"


@dataclass(frozen=True)
class Service:
    """One service. `requests` may leave in `window` seconds, spaced evenly, and of `quotas` none is exceeded.
    Times to live, `blocked_for` (after a 429 that does not say how long) and `cool_down` (after five failures in a row,
    doubled with each probe that fails) are seconds. `credential` says where the key or the contact is (`env:NAME` or
    `file:PATH`), never what it is. One source network may spend `network_share` of a scarce quota in a day."""

    name: str
    address: str
    requests: int
    window: float
    ttl_found: float
    ttl_not_found: float
    credential: str | None = None
    account: str | None = None
    contact: str | None = "env:DSHIELD_EMAIL"
    asks_about: Literal["address", "file", "password"] = "address"
    families: tuple[int, ...] = (4, 6)
    workers: int = 2
    blocked_for: float = 60.0
    cool_down: float = 5.0
    quotas: tuple[Quota, ...] = ()
    by_balance: bool = False
    network_share: float = 0.2
    ttl_doubtful: float | None = None
    batch: int = 1
    at_home: bool = True
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
        """Seconds a key in the long run: what the rate, over the keys of a batch, or a quota permits."""
        return max([self.spacing / self.batch, *(quota.seconds / quota.keys for quota in self.quotas)])

    @property
    def not_configured(self) -> str | None:
        """Why it cannot be asked, in words; None where it can."""
        if self.switched_off is not None:
            return self.switched_off
        for reference in (self.account, self.credential):
            if reference is not None and not secret(reference):
                return f"no key: set {_named(reference)}"
        return None

    @property
    def limit_key(self) -> str:
        """Limits belong to a service and a credential: two keys have two budgets. A fingerprint, never the key."""
        known = [value for value in map(secret, (self.account, self.credential)) if value is not None]
        return f"{self.name}/{_fingerprint(':'.join(known))}" if known else self.name

    @property
    def shelf(self) -> str:
        """Where its answers lie among the cached files: those of a stand-in for it never beside its own."""
        return self.name if self.at_home else f"{self.name}_at_{_fingerprint(self.address)}"


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
            # Its 429 is an empty account, not a speed limit; each answer says how many credits are left.
            blocked_for=HOUR,
            by_balance=True,
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
            quotas=(Quota(25, WEEK),),
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
            name="virustotal",
            address="https://www.virustotal.com",
            requests=4,
            window=MINUTE,
            ttl_found=30 * DAY,
            # Few engines or none: a later scan may say otherwise.
            ttl_doubtful=7 * DAY,
            # Doubled each time that the file is unknown still.
            ttl_not_found=2 * DAY,
            credential="env:VT_API_KEY",
            asks_about="file",
            blocked_for=MINUTE,
            quotas=(Quota(500, DAY, "day"), Quota(15_500, 30 * DAY, "month")),
        ),
        Service(
            name="hibp",
            address="https://api.pwnedpasswords.com",
            # No limit is published; 20 a second is polite.
            requests=20,
            window=1.0,
            ttl_found=60 * DAY,
            ttl_not_found=60 * DAY,
            asks_about="password",
            workers=8,
        ),
        Service(
            name="maxmind",
            address="https://updates.maxmind.com",
            requests=1,
            window=1.0,
            # How often it is looked whether there is a newer edition; there are two a week.
            ttl_found=DAY,
            ttl_not_found=DAY,
            account="env:MAXMIND_ACCOUNT_ID",
            credential="env:MAXMIND_LICENSE_KEY",
            blocked_for=DAY,
            quotas=(Quota(30, DAY),),
        ),
        Service(
            name="dbip",
            address="https://download.db-ip.com",
            requests=1,
            window=1.0,
            ttl_found=DAY,
            ttl_not_found=DAY,
            blocked_for=DAY,
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
_CLIENTS: dict[str, Callable[[Service], KeyService]] = {
    "dshield": lambda s: DShield(s.address, secret(s.credential) or ""),
    "urlhaus": lambda s: URLhaus(s.address, secret(s.credential) or "", secret(s.contact)),
    "spur": lambda s: Spur(s.address, secret(s.credential) or "", secret(s.contact)),
    "greynoise": lambda s: GreyNoise(s.address, secret(s.credential) or "", secret(s.contact)),
    "virustotal": lambda s: VirusTotal(s.address, secret(s.credential) or "", secret(s.contact)),
    "hibp": lambda s: PwnedPasswords(s.address, secret(s.contact)),
}


def client(service: Service) -> BulkService:
    """What asks the service and reads its answers; a batch has as many keys as `service.batch` at the most."""
    if service.name == "greynoise" and service.batch > 1:
        return GreyNoiseBulk(service.address, secret(service.credential) or "", secret(service.contact))
    return _OneByOne(_CLIENTS[service.name](service))


class _OneByOne:
    """A service that takes one key at a time, as one that takes batches."""

    def __init__(self, service: KeyService) -> None:
        self._service = service

    def request_many(self, keys: Sequence[str], /) -> Request:
        (key,) = keys
        return self._service.request(key)

    def read_many(self, keys: Sequence[str], response: Response, /) -> dict[str, Reading | Unsuitable]:
        (key,) = keys
        return {key: self._service.read(key, response)}


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
    return where or "sandbox@sandbox.invalid" if kind == "sandbox" else None


def secrets_of(service: Service) -> list[str]:
    """What of a service must be nowhere: a debugging service may say it back in a sound answer."""
    known = map(secret, (service.credential, service.account, service.contact))
    # A shorter one is a stand-in such as "test", and would be found in half of the answers.
    return [value for value in known if value is not None and len(value) >= _SHORTEST_SECRET]


def _named(credential: str) -> str:
    kind, _, where = credential.partition(":")
    return where if kind == "env" else f"a readable file at {where}"


def _fingerprint(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:8]
