"""Geo files are read as geoip2 reads them, whatever they are called, and whatever their records lack."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import geoip2.database
import geoip2.errors
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmdb_writer import MMDBWriter, TreeWriter
from netaddr import IPSet

from cowrie_assets.sandbox.pools import POOLS
from cowrie_assets.upstreams.geoip import AsnRecord, CityRecord, GeoFile, GeoFileError, parse_asn, parse_city

ABSENT = ("8.8.8.8", "10.0.0.1", "2001:4860:4860::8888", "::1")


def addresses() -> Iterator[str]:
    """Of every pool the borders of every prefix, and addresses between them, listed or not."""
    for pool in POOLS.values():
        yield from (str(network[at]) for network in pool.networks for at in (0, -1))
        yield from (pool.address(index) for index in range(25))
    yield from ABSENT


def written(path: Path, records: dict[str, Any], version: int = 6, **metadata: Any) -> Path:
    """A geo file with these records by prefix."""
    tree = MMDBWriter(ip_version=version, ipv4_compatible=version == 6)
    for prefix, record in records.items():
        tree.insert_network(IPSet([prefix]), record)
    known = {
        "ip_version": version,
        "database_type": "Anybody's-City-and-ASN",
        "languages": ["en"],
        "binary_format_major_version": 2,
        "binary_format_minor_version": 0,
        "description": {"en": "a test"},
        "build_epoch": 1_740_830_400,
    }
    TreeWriter(tree.tree, known | metadata).write(str(path))
    return path


# --- whole files ------------------------------------------------------------------------------------------------------


def test_systems_and_prefixes_are_those_that_geoip2_reads(sample_geo_files: tuple[Path, Path]) -> None:
    known = 0
    with GeoFile(sample_geo_files[1]) as ours, geoip2.database.Reader(sample_geo_files[1]) as reader:
        for text in addresses():
            prefix, record = ours.asn(text)
            try:
                theirs = reader.asn(text)
            except geoip2.errors.AddressNotFoundError:
                assert (prefix, record) == (None, None)
                continue
            known += 1
            assert theirs.autonomous_system_number is not None
            assert record == AsnRecord(theirs.autonomous_system_number, theirs.autonomous_system_organization)
            assert prefix == str(theirs.network)
            assert ip_address(text) in ip_network(prefix)
    assert known > 400


def test_places_are_those_that_geoip2_reads(sample_geo_files: tuple[Path, Path]) -> None:
    known = 0
    with GeoFile(sample_geo_files[0]) as ours, geoip2.database.Reader(sample_geo_files[0]) as reader:
        for text in addresses():
            try:
                theirs = reader.city(text)
            except geoip2.errors.AddressNotFoundError:
                assert ours.city(text) is None
                continue
            known += 1
            assert ours.city(text) == CityRecord(
                theirs.country.iso_code,
                theirs.country.name,
                theirs.city.name,
                theirs.location.latitude,
                theirs.location.longitude,
                theirs.location.accuracy_radius,
            )
    assert known > 400


def test_a_file_knows_its_kind_and_the_day_it_was_built(sample_geo_files: tuple[Path, Path]) -> None:
    for path, kind in zip(sample_geo_files, ("GeoLite2-City", "GeoLite2-ASN"), strict=True):
        with GeoFile(path) as file:
            assert (file.path, file.kind, file.built_at) == (path, kind, datetime(2025, 9, 12, tzinfo=UTC))


def test_a_city_file_names_no_system_and_a_system_file_no_city(sample_geo_files: tuple[Path, Path]) -> None:
    with GeoFile(sample_geo_files[0]) as city, GeoFile(sample_geo_files[1]) as asn:
        assert city.asn("26.16.0.1") == (None, None)
        assert asn.city("26.16.0.1") is None


def test_a_file_of_any_name_with_the_same_fields_is_read(tmp_path: Path) -> None:
    # geoip2 refuses to: it goes by the name that the file gives itself.
    record = {"autonomous_system_number": 64496, "country": {"iso_code": "RO"}}
    with GeoFile(written(tmp_path / "any.mmdb", {"29.7.16.0/20": record})) as file:
        assert file.kind == "Anybody's-City-and-ASN"
        assert file.asn("29.7.17.1") == ("29.7.16.0/20", AsnRecord(64496, None))
        assert file.city("29.7.17.1") == CityRecord("RO")


def test_an_ipv6_address_is_unknown_to_a_file_of_ipv4(tmp_path: Path) -> None:
    record = {"autonomous_system_number": 64496, "country": {"iso_code": "RO"}}
    with GeoFile(written(tmp_path / "four.mmdb", {"29.7.16.0/20": record}, version=4)) as file:
        assert file.asn("29.7.17.1") == ("29.7.16.0/20", AsnRecord(64496, None))
        assert file.asn("2a1f:c100::1") == (None, None)
        assert file.city("2a1f:c100::1") is None


@pytest.mark.parametrize("text", ["", "nonsense", "29.7.17.256", "29.7.17.1/20", "example.org"])
def test_what_is_no_address_is_unknown(sample_geo_files: tuple[Path, Path], text: str) -> None:
    with GeoFile(sample_geo_files[1]) as file:
        assert file.asn(text) == (None, None)
        assert file.city(text) is None


@pytest.mark.parametrize("text", ["29.7.17", "035.7.17.1", "0x1d.7.17.1", "fe80::1%lo"])
def test_an_address_in_a_form_of_the_c_library_is_unknown(sample_geo_files: tuple[Path, Path], text: str) -> None:
    # maxminddb would look them up, and ipaddress could not name their prefix.
    with GeoFile(sample_geo_files[1]) as file:
        assert file.asn(text) == (None, None)


def test_a_missing_file_is_named_with_the_cure(tmp_path: Path) -> None:
    path = tmp_path / "GeoLite2-City.mmdb"
    with pytest.raises(GeoFileError) as error:
        GeoFile(path)
    assert str(error.value) == f"{path} does not exist: give the path of an .mmdb file, or unset the variable"


@pytest.mark.parametrize(
    "content", [b"", b"<html>too many requests</html>", b"\x1f\x8b\x08" + bytes(99), bytes(200_000)]
)
def test_a_file_that_is_no_geo_database_is_named_with_the_cure(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "GeoLite2-City.mmdb"
    path.write_bytes(content)
    with pytest.raises(GeoFileError, match="download it again") as error:
        GeoFile(path)
    assert str(error.value).startswith(f"{path} is no geo database in MaxMind's format")


def test_a_download_that_broke_off_is_named_with_the_cure(tmp_path: Path, sample_geo_files: tuple[Path, Path]) -> None:
    whole = sample_geo_files[0].read_bytes()
    path = tmp_path / "torn.mmdb"
    for length in range(0, len(whole), len(whole) // 20):
        path.write_bytes(whole[:length])
        with pytest.raises(GeoFileError, match="download it again"):
            GeoFile(path)


def test_a_folder_is_no_geo_database(tmp_path: Path) -> None:
    with pytest.raises(GeoFileError, match="is no geo database"):
        GeoFile(tmp_path)


def test_a_file_from_beyond_the_calendar_is_named_with_the_cure(tmp_path: Path) -> None:
    path = written(tmp_path / "damaged.mmdb", {"29.7.16.0/20": {}}, build_epoch=2**62)
    with pytest.raises(GeoFileError, match="download it again"):
        GeoFile(path)


# --- records ----------------------------------------------------------------------------------------------------------

CITY = {
    "country": {"iso_code": "NL", "names": {"en": "The Netherlands", "de": "Niederlande"}},
    "city": {"names": {"en": "Amsterdam"}},
    "location": {"latitude": 52.3716, "longitude": 4, "accuracy_radius": 20},
}
AMSTERDAM = CityRecord("NL", "The Netherlands", "Amsterdam", 52.3716, 4.0, 20)
ODD: tuple[object, ...] = (
    None,
    "",
    0,
    7.5,
    True,
    "text",
    [],
    ["text"],
    [{"iso_code": "NL"}],
    {},
    {"en": None},
    {"en": ["x"]},
)
FIELDS = (
    ("country",),
    ("country", "iso_code"),
    ("country", "names"),
    ("country", "names", "en"),
    ("city",),
    ("city", "names"),
    ("city", "names", "en"),
    ("location",),
    ("location", "latitude"),
    ("location", "accuracy_radius"),
)


def replaced(record: Any, path: tuple[str, ...], value: object) -> Any:
    """The record with another value at one place, or without one where the value is `...`."""
    if not path:
        return value
    rest = {key: inner for key, inner in record.items() if key != path[0]}
    if len(path) == 1 and value is ...:
        return rest
    return rest | {path[0]: replaced(record[path[0]], path[1:], value)}


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"autonomous_system_number": 64496, "autonomous_system_organization": "Saltmarsh"}, (64496, "Saltmarsh")),
        ({"autonomous_system_number": 2**32 - 1}, (2**32 - 1, None)),
        ({"autonomous_system_number": 64496, "autonomous_system_organization": ""}, (64496, None)),
        ({"autonomous_system_number": 64496, "autonomous_system_organization": ["Saltmarsh"]}, (64496, None)),
        ({"autonomous_system_number": 0}, None),
        ({"autonomous_system_number": -1}, None),
        ({"autonomous_system_number": 2**32}, None),
        ({"autonomous_system_number": "64496"}, None),
        ({"autonomous_system_number": 64496.0}, None),
        ({"autonomous_system_number": True}, None),
        ({"autonomous_system_number": [64496]}, None),
        ({"autonomous_system_number": None}, None),
        ({"autonomous_system_organization": "Saltmarsh"}, None),
        ({}, None),
        ([], None),
        ("AS64496", None),
        (None, None),
    ],
)
def test_a_system_has_a_number_that_can_be_one(record: object, expected: tuple[int, str | None] | None) -> None:
    assert parse_asn(record) == (None if expected is None else AsnRecord(*expected))


def test_a_place_is_read_in_english() -> None:
    assert parse_city(CITY) == AMSTERDAM


@pytest.mark.parametrize("path", FIELDS, ids=".".join)
def test_a_field_that_is_odd_or_missing_costs_no_other_field(path: tuple[str, ...]) -> None:
    whole = dict(vars(AMSTERDAM))
    for odd in (..., *ODD):
        found = parse_city(replaced(CITY, path, odd))
        assert found is not None
        differing = {name for name, value in vars(found).items() if value != whole[name]}
        related = {"country": {"country", "country_name"}, "city": {"city"}}.get(
            path[0], {"latitude", "longitude", "accuracy_radius"}
        )
        assert differing <= related, odd


@pytest.mark.parametrize("code", ["XX", "", "nl", "NLD", "N", "N1D", "ΝL", 528, None, ["NL"], {"NL": 1}, True])
def test_what_is_no_country_code_is_no_country(code: object) -> None:
    found = parse_city(replaced(CITY, ("country", "iso_code"), code))
    assert found is not None
    assert found.country is None
    assert (found.city, found.latitude) == (AMSTERDAM.city, AMSTERDAM.latitude)
    assert parse_city({"country": {"iso_code": code}}) is None


@pytest.mark.parametrize("code", ["A1", "O1", " N", "ZZ"])
def test_a_code_that_stands_for_no_country_is_no_country(code: str) -> None:
    # A1 and O1: anonymous and other in MaxMind's old files. ZZ: reserved or unknown in DB-IP's.
    assert parse_city({"country": {"iso_code": code}}) is None


@pytest.mark.parametrize(
    ("path", "value", "name"),
    [
        (("country",), {"iso_code": "XX", "names": {"en": "Unknown"}}, "country_name"),
        (("location", "accuracy_radius"), True, "accuracy_radius"),
        (("location", "latitude"), math.nan, "latitude"),
    ],
)
def test_what_says_nothing_is_nothing(path: tuple[str, ...], value: object, name: str) -> None:
    found = parse_city(replaced(CITY, path, value))
    assert found is not None
    assert getattr(found, name) is None


# The largest integer of the format has 128 bits.
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**127), 2**128 - 1)
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(["XX", "NL", "64496"])
)
CITY_KEYS = ("country", "city", "location", "iso_code", "names", "en", "latitude", "longitude", "accuracy_radius")
KEYS = st.sampled_from((*CITY_KEYS, "autonomous_system_number", "autonomous_system_organization"))
RECORDS = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=15
)
OBJECTS = st.dictionaries(KEYS, st.dictionaries(KEYS, RECORDS, max_size=4) | RECORDS, max_size=5)


@given(RECORDS | OBJECTS)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_record_is_too_odd(record: object) -> None:
    system, place = parse_asn(record), parse_city(record)
    if system is not None:
        assert 0 < system.asn < 2**32
        assert system.organization != ""
    if place is not None:
        assert place.country or place.city
        assert place.country is None or re.fullmatch("[A-Z0-9]{2}", place.country)
        assert place.country != "XX"
        assert all(value != "" for value in vars(place).values())
        assert all(isinstance(degrees, float | None) for degrees in (place.latitude, place.longitude))
        assert isinstance(place.accuracy_radius, int | None)
