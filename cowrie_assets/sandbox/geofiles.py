"""The sandbox's geo files, in MaxMind's format and with the fields of GeoLite2 or of DB-IP's free ones.

Lives here: making them for the public pools. Not here: the pools themselves (`pools`), handing them out as downloads
(`geovendors`), reading geo files (`cowrie_assets.upstreams.geoip`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mmdb_writer import MMDBWriter, TreeWriter
from netaddr import IPSet

from cowrie_assets.sandbox.pools import POOLS, Network

_RADIUS_KM = {"telecom": 200}
_DEFAULT_RADIUS_KM = 20

Entries = Iterator[tuple[list[Network], dict[str, Any]]]


def write_geo_files(folder: Path, build_date: date) -> tuple[Path, Path]:
    """Write both files into the folder, which is created; the same bytes for the same date. Returns (city, asn)."""
    folder.mkdir(parents=True, exist_ok=True)
    city, asn = folder / "city.mmdb", folder / "asn.mmdb"
    city.write_bytes(geo_file("GeoLite2-City", build_date))
    asn.write_bytes(geo_file("GeoLite2-ASN", build_date))
    return city, asn


@lru_cache(maxsize=16)
def geo_file(kind: str, build_date: date) -> bytes:
    """One of `EDITIONS`, or of DB-IP's two; the same bytes for the same date.

    Raises:
        KeyError: there is no such file.
    """
    with TemporaryDirectory(prefix="sandbox-geo-") as folder:
        path = Path(folder) / "file.mmdb"
        _write(path, kind, build_date, _CONTENTS[kind]())
        return path.read_bytes()


def _cities() -> Entries:
    for pool in POOLS.values():
        if (place := pool.place) is not None:
            yield (
                pool.listed_networks(),
                {
                    "city": {"names": {"en": place.city}},
                    "country": {"iso_code": place.country, "names": {"en": place.country_name}},
                    "location": {
                        "accuracy_radius": _RADIUS_KM.get(pool.kind, _DEFAULT_RADIUS_KM),
                        "latitude": place.latitude,
                        "longitude": place.longitude,
                    },
                },
            )


def _countries() -> Entries:
    return ((networks, {"country": record["country"]}) for networks, record in _cities())


def _cities_without_radius() -> Entries:
    """DB-IP says no more of a place than where it is."""
    for networks, record in _cities():
        location = {name: value for name, value in record["location"].items() if name != "accuracy_radius"}
        yield networks, {**record, "location": location}


def _systems() -> Entries:
    for pool in POOLS.values():
        if pool.asn is not None:
            yield (
                pool.listed_networks(),
                {"autonomous_system_number": pool.asn, "autonomous_system_organization": pool.as_name},
            )


_CONTENTS: dict[str, Callable[[], Entries]] = {
    "GeoLite2-City": _cities,
    "GeoLite2-ASN": _systems,
    "GeoLite2-Country": _countries,
    "DBIP-City-Lite": _cities_without_radius,
    "DBIP-ASN-Lite": _systems,
}
# Those of MaxMind.
EDITIONS = tuple(kind for kind in _CONTENTS if kind.startswith("GeoLite2"))


def _write(path: Path, kind: str, build_date: date, entries: Entries) -> None:
    tree = MMDBWriter(ip_version=6, ipv4_compatible=True)
    for networks, record in entries:
        tree.insert_network(IPSet(map(str, networks)), record)
    # MMDBWriter.to_db_file would stamp the file with the present; the sample must not depend on when it was made.
    built_at = datetime(build_date.year, build_date.month, build_date.day, tzinfo=UTC)
    metadata = {
        "ip_version": 6,
        "database_type": kind,
        "languages": ["en"],
        "binary_format_major_version": 2,
        "binary_format_minor_version": 0,
        "description": {"en": "Invented addresses of the sandbox"},
        "build_epoch": int(built_at.timestamp()),
    }
    TreeWriter(tree.tree, metadata).write(str(path))
