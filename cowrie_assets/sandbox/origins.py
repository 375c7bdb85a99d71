"""Whom an address of the sandbox belongs to: its pool's network, or an invented one for all other addresses.

Lives here: the draws that follow from a hash, and an address's network, AS, kind and country. Not here: what the
services know of the address (`facts`), the pools themselves (`pools`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from hashlib import blake2b
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Literal, TypeVar

from cowrie_assets.sandbox.pools import POOLS, Network, Pool

DEFAULT_SEED = 20250910

Kind = Literal["cloud", "hosting", "tor", "vpn", "telecom", "mobile", "private"]
_Item = TypeVar("_Item")

# Where a pool's network is registered, if that is not where its machines are: the registries' country is no GeoIP.
_REGISTERED_ELSEWHERE = {
    "aws": "US", "azure": "US", "digitalocean": "US", "linode": "US", "vultr": "US", "alibaba": "CN",
}  # fmt: skip
_REGISTRIES = {
    "US": "arin", "CA": "arin", "BR": "lacnic", "AR": "lacnic", "CL": "lacnic", "ZA": "afrinic", "KE": "afrinic",
    "CN": "apnic", "HK": "apnic", "IN": "apnic", "JP": "apnic", "SG": "apnic", "VN": "apnic", "KR": "apnic",
}  # fmt: skip
_DEFAULT_REGISTRY = "ripencc"
_INVENTED_COUNTRIES = ("AR", "BR", "CA", "CL", "CZ", "DE", "ES", "GB", "IT", "KE", "KR", "PL", "UA", "US", "VN", "ZA")
_INVENTED_KINDS: tuple[Kind, ...] = (
    *("telecom",) * 9, *("hosting",) * 6, *("mobile",) * 3, "vpn", "tor",
)  # fmt: skip
_INVENTED_NAMES = ("Bowline", "Cutwater", "Dunlin", "Estuary", "Foreshore", "Gannet", "Halyard", "Inlet", "Jetty")
_NAME_ENDINGS: dict[Kind, tuple[str, ...]] = {
    "telecom": ("Telecom Ltd.", "Broadband, Inc.", "Cable Networks"),
    "hosting": ("Hosting GmbH", "Datacenters, LLC", "Servers B.V."),
    "mobile": ("Mobile S.A.", "Wireless Pvt. Ltd."),
    "vpn": ("VPN Services",),
    "tor": ("Relay Foundation",),
}
# RFC 5398, less those that the pools have.
INVENTED_ASNS = sorted({*range(64496, 64512), *range(65536, 65552)} - {pool.asn for pool in POOLS.values()})


class Dice:
    """Draws that follow from the parts alone: the digits of one hash in changing bases, 512 bits in all."""

    def __init__(self, *parts: object) -> None:
        self._digits = int.from_bytes(blake2b("|".join(map(str, parts)).encode()).digest())

    def below(self, bound: int) -> int:
        self._digits, drawn = divmod(self._digits, bound)
        return drawn

    def percent(self, chance: int) -> bool:
        return self.below(100) < chance

    def pick(self, items: Sequence[_Item]) -> _Item:
        return items[self.below(len(items))]

    def some(self, items: Sequence[_Item], least: int, most: int) -> list[_Item]:
        """Between `least` and `most` of the items, none twice, in their order."""
        numbers = list(range(len(items)))
        count = least + self.below(most - least + 1)
        return [items[number] for number in sorted(numbers.pop(self.below(len(numbers))) for _ in range(count))]

    def log_between(self, low: int, high: int) -> int:
        """Log-uniform; both bounds included."""
        return int(low * ((high + 1) / low) ** (self.below(1 << 20) / (1 << 20)))

    def day_before(self, day: date, most: int) -> date:
        return day - timedelta(days=self.below(most))


@dataclass(frozen=True)
class Origin:
    """Whom an address belongs to. All but `kind` and `prefix` are None for private space."""

    kind: Kind
    prefix: Network
    asn: int | None = None
    as_name: str | None = None
    country: str | None = None
    city: str | None = None
    registered_in: str | None = None
    registry: str | None = None
    allocated: date | None = None


def origin_of(seed: int, address: IPv4Address | IPv6Address) -> Origin:
    pool, prefix = _pool_of(address)
    if pool is not None and pool.place is not None:
        country = _REGISTERED_ELSEWHERE.get(pool.name, pool.place.country)
        return Origin(
            kind="mobile" if pool.name == "monsoon" else pool.kind,
            prefix=prefix,
            asn=pool.asn,
            as_name=pool.as_name,
            country=pool.place.country,
            city=pool.place.city,
            registered_in=country,
            registry=_REGISTRIES.get(country, _DEFAULT_REGISTRY),
            allocated=_allocated(prefix),
        )
    if pool is not None or not address.is_global:
        return Origin("private", prefix)
    asn = Dice(seed, "network", prefix).pick(INVENTED_ASNS)
    kind, name, country = _invented_system(asn)
    return Origin(
        kind=kind,
        prefix=prefix,
        asn=asn,
        as_name=name,
        country=country,
        registered_in=country,
        registry=_REGISTRIES.get(country, _DEFAULT_REGISTRY),
        allocated=_allocated(prefix),
    )


def system_name(asn: int) -> tuple[str, str, str, date] | None:
    """(name, country, registry, day of allocation) of an AS of the sandbox, None for all others."""
    for pool in POOLS.values():
        if pool.asn == asn and pool.as_name is not None and pool.place is not None:
            name, country = pool.as_name, _REGISTERED_ELSEWHERE.get(pool.name, pool.place.country)
            break
    else:
        if asn not in INVENTED_ASNS:
            return None
        _, name, country = _invented_system(asn)
    return name, country, _REGISTRIES.get(country, _DEFAULT_REGISTRY), _allocated(asn)


_Bounds = tuple[int, int, Pool, Network]
_BOUNDS: dict[int, list[_Bounds]] = {
    version: [
        (int(network[0]), int(network[-1]), pool, network)
        for pool in POOLS.values()
        for network in pool.networks
        if network.version == version
    ]
    for version in (4, 6)
}


def _pool_of(address: IPv4Address | IPv6Address) -> tuple[Pool | None, Network]:
    """The pool and its network, or none and the block that an invented network would be given."""
    number = int(address)
    for first, last, pool, network in _BOUNDS[address.version]:
        if first <= number <= last:
            return pool, network
    return None, ip_network(f"{address}/{20 if address.version == 4 else 32}", strict=False)


@lru_cache(maxsize=64)
def _invented_system(asn: int) -> tuple[Kind, str, str]:
    dice = Dice("system", asn)
    kind = dice.pick(_INVENTED_KINDS)
    name = f"{_INVENTED_NAMES[asn % len(_INVENTED_NAMES)]} {dice.pick(_NAME_ENDINGS[kind])}"
    return kind, name, dice.pick(_INVENTED_COUNTRIES)


def _allocated(what: object) -> date:
    return Dice("allocated", what).day_before(date(2022, 1, 1), 7000)
