"""The oracle against logs small enough to count by hand; every expected value is a literal."""

from __future__ import annotations

import bz2
import gzip
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace

import pytest
from geoip2.errors import AddressNotFoundError

from cowrie_assets_tests import oracle

BLOB_A = "AAAA" + "b" * 12  # 16 characters: just long enough
BLOB_B = "AAAA" + "c" * 20 + "=="
TWO_KEYS = (  # A twice, B once, and one too short to be a key: two distinct keys
    f"echo 'ssh-rsa {BLOB_A} me\nssh-ed25519  {BLOB_B}\nssh-rsa {BLOB_A}\nssh-rsa AAAAshort' >> .ssh/authorized_keys"
)


def line(eventid: str, timestamp: str, session: str, sensor: str | None = "a", **more: object) -> bytes:
    event = {"eventid": f"cowrie.{eventid}", "timestamp": timestamp, "session": session, **more}
    return json.dumps(event if sensor is None else {**event, "sensor": sensor}).encode()


CONNECT = line("session.connect", "2024-01-01T23:59:00Z", "s1", src_ip="8.8.8.8")

PLAIN = [
    CONNECT,
    # No zone, so UTC. The first of its session by time (clocks step), yet the connect's address wins over this one.
    line("login.failed", "2024-01-01T23:58:50", "s1", src_ip="9.9.9.9"),
    line("login.success", "2024-01-02T01:59:20+02:00", "s1"),  # 23:59:20 UTC
    line("command.input", "2024-01-01T23:59:30Z", "s1", input=TWO_KEYS),
    line("command.input", "2024-01-01T23:59:40Z", "s1", input=f"cat 'ssh-rsa {BLOB_A}'"),  # no authorized_keys, no key
    line("session.file_download", "2024-01-02T00:00:30Z", "s1"),
    # The first again, with its keys in another order, after NUL bytes and before a CR: a duplicate.
    b"\0\0\0" + json.dumps(dict(reversed(json.loads(CONNECT).items()))).encode() + b"\r",
    b"\0\t \r",  # blank
    b"not json",  # dead
    b"not json\r",  # the same dead letter again
    b'{"eventid": "other.thing", "timestamp": "2024-01-01T00:00:00Z"}',  # dead
    line("session.closed", "2024-01-03T00:00:30Z", "s1"),  # exactly 24 h after the download: the same session
]
PENDING = b'{"eventid": "cowrie.'  # 20 bytes

GZIPPED = [
    # A microsecond more than 24 h after the close: another session, without a connect.
    line("command.failed", "2024-01-04T00:00:30.000001Z", "s1", src_ip="::ffff:1.1.1.1"),
    line("session.connect", "2024-01-01T12:00:00Z", "s1", sensor=None, src_ip="10.0.0.1"),  # sensor "unnamed"
    line("session.connect", "2024-01-01T10:00:00Z", "s2", src_ip="not an address"),
    # Written with a byte that is no UTF-8 and a raw control character; gives s2 its address.
    line("direct-tcpip.request", "2024-01-01T10:00:01Z", "s2", src_ip="8.8.4.4", data="??").replace(b"??", b"\xff\x01"),
    line("login.failed", "yesterday", "s2"),  # dead
]
TRUNCATED = b'{"eventid": "cowrie.sess'  # the end of a compressed file: dead

UNTERMINATED = line("session.file_upload", "2024-01-01T10:00:02Z", "s2")  # whole, so a record though no newline follows


COUNTRIES = {"8.8.8.8": "US", "1.1.1.1": "AU", "8.8.4.4": "US", "10.0.0.1": "ZZ"}
SYSTEMS = {"8.8.8.8": (15169, "Google"), "8.8.4.4": (15169, "Google"), "10.0.0.1": (1, "Private")}


class FakeReader:
    """Stands in for both geo files. It knows an answer for 10.0.0.1 too, which must never be asked for."""

    def __init__(self, path: Path) -> None: ...

    def __enter__(self) -> FakeReader:
        return self

    def __exit__(self, *raised: object) -> None: ...

    def city(self, address: str) -> SimpleNamespace:
        return SimpleNamespace(country=SimpleNamespace(iso_code=COUNTRIES[address]))

    def asn(self, address: str) -> SimpleNamespace:
        if address not in SYSTEMS:
            raise AddressNotFoundError("unknown", address)
        number, name = SYSTEMS[address]
        return SimpleNamespace(autonomous_system_number=number, autonomous_system_organization=name)


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> oracle.Oracle:
    monkeypatch.setattr(oracle, "Reader", FakeReader)
    files = {
        "cowrie.json": b"\n".join([*PLAIN, PENDING]),
        "cowrie.json.1.gz": gzip.compress(b"\n".join([*GZIPPED, TRUNCATED])),
        "cowrie.json.2.bz2": bz2.compress(UNTERMINATED),
        "pointer.gz": gzip.compress(b"version https://git-lfs.github.com/spec/v1\nsize 12\n"),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    return oracle.count([tmp_path / name for name in files], tmp_path / "city.mmdb", tmp_path / "asn.mmdb")


def test_lines(counted: oracle.Oracle) -> None:
    # Plain: 12 lines = 8 records + 1 blank + 3 dead. Gzip: 5 lines and a tail = 4 records + 2 dead. Bzip2: 1 record.
    assert counted.records == 13  # 8 + 4 + 1
    assert counted.events == 12  # the connect came twice
    assert counted.duplicates == 1  # 13 - 12
    assert counted.blank_lines == 1
    assert counted.dead_letter_lines == 5  # 3 + 2
    assert counted.dead_letters == 4  # "not json" came twice
    assert counted.pending_bytes == 20
    assert [path.name for path in counted.skipped_files] == ["pointer.gz"]


def test_events(counted: oracle.Oracle) -> None:
    assert counted.logins == 2  # failed + success
    assert counted.login_successes == 1
    assert counted.commands == 2
    assert counted.failed_commands == 1
    assert counted.downloads == 1
    assert counted.uploads == 1
    assert counted.forwarding_requests == 1
    assert counted.ssh_keys == 2  # A and B of the first command, none of the second


def test_sessions(counted: oracle.Oracle) -> None:
    assert counted.sessions == 4
    assert counted.addresses == 4
    found = {key: (session.address, session.events, session.last) for key, session in counted.by_session.items()}
    new_year, third, fourth = (datetime(2024, 1, day, tzinfo=UTC) for day in (1, 3, 4))
    eve = new_year.replace(hour=23, minute=58, second=50)
    after = fourth.replace(second=30, microsecond=1)
    assert found == {
        # 7 events: the 8 records of the plain file less the duplicate.
        ("a", "s1", eve): (ip_address("8.8.8.8"), 7, third.replace(second=30)),
        ("a", "s1", after): (ip_address("1.1.1.1"), 1, after),
        ("unnamed", "s1", new_year.replace(hour=12)): (ip_address("10.0.0.1"), 1, new_year.replace(hour=12)),
        # connect, request and the upload of the third file
        ("a", "s2", new_year.replace(hour=10)): (ip_address("8.8.4.4"), 3, new_year.replace(hour=10, second=2)),
    }
    assert counted.days == {date(2024, 1, 1): 3, date(2024, 1, 4): 1}


def test_geographic(counted: oracle.Oracle) -> None:
    # Three of the four sessions have a country: 10.0.0.1 is not public.
    america, australia = counted.geographic(minimum=1)
    assert america == {
        "country": "US",
        "session_count": 2,  # 8.8.8.8 and 8.8.4.4
        "unique_asns": 1,
        "days_active": 1,  # both began on 2024-01-01
        "first_seen": datetime(2024, 1, 1, 10, tzinfo=UTC),
        "last_seen": datetime(2024, 1, 3, 0, 0, 30, tzinfo=UTC),
        "avg_commands_per_session": Decimal("1.00"),  # (2 + 0) / 2
        "total_file_downloads": 1,
        "country_percentage": Decimal("66.67"),  # 100 * 2 / 3
        "asn_diversity_ratio": Decimal("0.500"),  # 1 / 2
    }
    assert (australia["country"], australia["unique_asns"]) == ("AU", 0)  # 1.1.1.1 is in no system
    assert australia["country_percentage"] == Decimal("33.33")  # 100 / 3
    assert counted.geographic(minimum=2) == [america]  # the share stays one of all three sessions
    assert counted.geographic(minimum=1, limit=1) == [america]
    assert counted.geographic() == []


def test_asn_infrastructure(counted: oracle.Oracle) -> None:
    assert counted.asn_infrastructure(minimum=1) == [
        {
            "asn": 15169,
            "as_name": "Google",
            "primary_country": "US",
            "session_count": 2,
            "days_active": 1,
            "first_seen": datetime(2024, 1, 1, 10, tzinfo=UTC),
            "last_seen": datetime(2024, 1, 3, 0, 0, 30, tzinfo=UTC),
            "avg_commands": Decimal("1.00"),
            "total_downloads": 1,
            "total_ssh_injections": 2,
            "asn_percentage": Decimal("100.00"),  # 2 of the 2 sessions with a system
        }
    ]
    assert counted.asn_infrastructure() == []


@pytest.mark.parametrize(
    ("value", "places", "expected"),
    [
        (Fraction(1, 8), 2, "0.13"),  # 0.125: half away from zero, where round(0.125, 2) is 0.12
        (Fraction(3, 40), 2, "0.08"),  # 0.075, which as a float lies below the half
        (Fraction(1, 3), 3, "0.333"),
        (Fraction(2, 3), 3, "0.667"),
    ],
)
def test_rounding(value: Fraction, places: int, expected: str) -> None:
    assert str(oracle.rounded(value, places)) == expected


@pytest.mark.skipif(not oracle.DATA.is_dir(), reason="the shared data is not beside the repository")
def test_known_facts_of_the_shared_data() -> None:
    counted = oracle.shared()
    assert (counted.events, counted.sessions, counted.addresses) == (135_444, 27_251, 2_333)
