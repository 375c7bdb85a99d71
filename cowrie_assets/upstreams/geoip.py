"""Geo databases in MaxMind's file format (GeoLite2, DB-IP Lite, and any other with their fields).

Lives here: looking addresses up and reading the records into typed fields. Not here: where files come from.
`geoip2` checks `database_type` and refuses what is not called GeoLite2 or GeoIP2, so records are read below it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import maxminddb
from maxminddb.errors import InvalidDatabaseError

# MaxMind builds twice a week, DB-IP once a month; of a file that is older by this much somebody should know.
OLD_DAYS = 45
_COUNTRY = re.compile("[A-Z]{2}")
# Stand-ins of older files: unknown, satellite and anonymous ones, "Europe", "Asia/Pacific".
_NO_COUNTRIES = frozenset({"XX", "ZZ", "EU", "AP"})


class GeoFileError(ValueError):
    """The file is missing or no geo database. The message names the file and the cure."""


@dataclass(frozen=True)
class AsnRecord:
    asn: int
    organization: str | None


@dataclass(frozen=True)
class CityRecord:
    """`country` is an ISO 3166 code of two capital letters; latitude and longitude in degrees, radius in km."""

    country: str | None
    country_name: str | None = None
    city: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    accuracy_radius: int | None = None


class GeoFile:
    """One open file. It observes at its build date; a lookup costs about a microsecond with the C extension."""

    def __init__(self, path: Path) -> None:
        try:
            self._reader = maxminddb.open_database(path, maxminddb.MODE_AUTO)
        except FileNotFoundError:
            raise GeoFileError(
                f"{path} does not exist: give the path of an .mmdb file, or unset the variable"
            ) from None
        except (InvalidDatabaseError, OSError, ValueError) as error:
            raise GeoFileError(f"{path} is no geo database in MaxMind's format ({error}): download it again") from None
        metadata = self._reader.metadata()
        self.path = path
        self.kind = metadata.database_type
        try:
            self.built_at = datetime.fromtimestamp(metadata.build_epoch, UTC)
        except (ValueError, OverflowError, OSError):
            raise GeoFileError(f"{path} names no build date ({metadata.build_epoch}): download it again") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._reader.close()

    def asn(self, address: str) -> tuple[str | None, AsnRecord | None]:
        """The announced prefix and the AS of an address; (None, None) where the file says nothing."""
        prefix, record = self._get(address)
        parsed = parse_asn(record)
        return (prefix, parsed) if parsed else (None, None)

    def city(self, address: str) -> CityRecord | None:
        return parse_city(self._get(address)[1])

    def _get(self, address: str) -> tuple[str | None, Any]:
        try:
            # The C library would also take 29.7.17 and 0x1d.7.17.1.
            record, length = self._reader.get_with_prefix_len(str(ip_address(address)))
        except (ValueError, InvalidDatabaseError):  # IPv6 in an IPv4-only file, or a damaged record
            return None, None
        return str(ip_network(f"{address}/{length}", strict=False)), record


def parse_asn(record: Any) -> AsnRecord | None:
    """Read an ASN record; None where it names no AS."""
    fields = record if isinstance(record, dict) else {}
    asn = fields.get("autonomous_system_number")
    if not isinstance(asn, int) or isinstance(asn, bool) or not 0 < asn < 2**32:
        return None
    return AsnRecord(asn, _text(fields.get("autonomous_system_organization")))


def parse_city(record: Any) -> CityRecord | None:
    """Read a city or country record; None where it says nothing of the country or the city."""
    fields = record if isinstance(record, dict) else {}
    country, city, location = (_table(fields.get(key)) for key in ("country", "city", "location"))
    code = country.get("iso_code")
    known = code if isinstance(code, str) and _COUNTRY.fullmatch(code) and code not in _NO_COUNTRIES else None
    radius = _number(location.get("accuracy_radius"))
    parsed = CityRecord(
        country=known,
        country_name=_text(_table(country.get("names")).get("en")) if known else None,
        city=_text(_table(city.get("names")).get("en")),
        latitude=_number(location.get("latitude")),
        longitude=_number(location.get("longitude")),
        accuracy_radius=None if radius is None else int(radius),
    )
    return parsed if parsed.country or parsed.city else None


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: Any) -> float | None:
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if good else None
