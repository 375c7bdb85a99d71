"""Queries 13 and 14 give the right numbers: every column of a hand-made fixture stands here as a literal.

Proved here: the files in `sql/`, run by `run_query`, by plain execution and by psql; what is NULL where nobody was
asked; that no session counts twice; and that the literals are sharp (each of over a hundred dropped conditions, swapped
bases, bucket edges off by one and wrong joins makes the comparison fail). Not here: how answers come about, the report.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from cowrie_assets.assets.infrastructure import Window, create_view, read_result, run_query
from cowrie_assets.warehouse.database import open_connection
from cowrie_assets.warehouse.event_chunks import Connection
from cowrie_assets.warehouse.tables.results import anonymization, reputation_distribution
from cowrie_assets.warehouse.views import sql_file
from cowrie_assets_tests.conftest import Server
from cowrie_assets_tests.integration.test_infrastructure_queries import QUERY_OF, at, psql, text_of, typed

pytestmark = pytest.mark.one_server

# Documentation addresses: which of them are public, and which our own, is what the fixture's inventory says.
NET = "198.51.100."
PRIVATE, OWN, NOT_IN_INVENTORY = "10.0.0.5", "203.0.113.7", "198.51.100.200"
NONE_OF_THE_LISTS = "in none of the lists"
LISTS = "lists"  # the lists were there, and the address in none of them


@dataclass(frozen=True)
class Group:
    """Sessions of one source, one beginning each minute, with what the lists said of it at the time."""

    number: int
    begin: str
    source: str | None
    listed: str | None = None  # a type, `LISTS`, or None where no list was there
    prefix: str = "s"
    sensor: str = "alpha"
    commands: Sequence[int] = ()
    downloads: Sequence[int] = ()
    keys: Sequence[int] = ()
    minutes: int = 1

    def sessions(self) -> Iterator[tuple[datetime, str, int, int, int]]:
        def count(values: Sequence[int], position: int) -> int:
            return values[position] if position < len(values) else 0

        for n in range(self.number):
            begin = at(self.begin) + timedelta(minutes=n)
            yield begin, f"{self.prefix}{n}", count(self.commands, n), count(self.downloads, n), count(self.keys, n)


GROUPS = [
    # 10 September: Spur answered and the lists were there. 5+4+2+3+2+2+3+1+4+1 = 27 sessions with a public source.
    Group(5, "2025-09-10 08:00", NET + "1", LISTS, commands=(1, 2, 3, 4, 5), downloads=(1,)),
    # The same session ids on another sensor: Cowrie's ids are unique only within (sensor, day).
    Group(4, "2025-09-10 09:00", NET + "2", LISTS, sensor="beta", downloads=(2, 2)),
    Group(2, "2025-09-10 10:00", NET + "3", LISTS, "vp", commands=(7,), keys=(1, 1)),
    Group(3, "2025-09-10 11:00", NET + "4", "tor", "both"),
    Group(2, "2025-09-10 12:00", NET + "5", "tor", "list", commands=(10, 20), keys=(3,)),
    Group(2, "2025-09-10 13:00", NET + "6", "cloud", "cloud", commands=(1,), downloads=(5,)),
    Group(3, "2025-09-10 14:00", NET + "7", "cloud", "nospur", commands=(2,)),
    Group(1, "2025-09-10 15:00", NET + "8", LISTS, "alone", commands=(4,)),
    Group(4, "2025-09-10 16:00", NET + "9", None, "nothing", commands=(1, 1, 1, 1), downloads=(1,)),
    Group(1, "2025-09-10 17:00", NOT_IN_INVENTORY, None, "new", commands=(9,)),
    # Not eligible, whatever is said of them.
    Group(2, "2025-09-10 18:00", PRIVATE, "tor", "private", commands=(50, 50), downloads=(9, 9), keys=(9, 9)),
    Group(2, "2025-09-10 19:00", OWN, "cloud", "own", commands=(50, 50), downloads=(9, 9), keys=(9, 9)),
    Group(1, "2025-09-10 20:00", None, LISTS, "nowhere", commands=(50,)),
    # 11 September: lists, and nobody asked Spur. 3+2+1+2 = 8.
    Group(3, "2025-09-11 08:00", NET + "1", LISTS, commands=(1, 1)),
    Group(2, "2025-09-11 11:00", NET + "4", "tor", "both"),
    Group(1, "2025-09-11 13:00", NET + "6", "cloud", "cloud"),
    Group(2, "2025-09-11 16:00", NET + "9", None, "nothing", commands=(0, 3), keys=(1,)),
    # 12 September: neither. 3.
    Group(3, "2025-09-12 08:00", NET + "1", None, downloads=(1, 1, 1)),
    Group(2, "2025-09-12 18:00", PRIVATE, LISTS, "private"),
    # 13 September: Spur, and no lists. 4 + 1 = 5; the last session runs into the next day.
    Group(4, "2025-09-13 08:00", NET + "1"),
    Group(1, "2025-09-13 23:59:59.999999", NET + "4", None, "late", commands=(100,), minutes=5),
    # 14 September: nothing with a public source, so no row.
    Group(1, "2025-09-14 18:00", PRIVATE, "tor", "private"),
    Group(1, "2025-09-14 19:00", OWN, "tor", "own"),
    Group(1, "2025-09-14 20:00", None, LISTS, "nowhere"),
    # 15 September, at exactly midnight; in a list that is neither of exits nor of clouds.
    Group(1, "2025-09-15 00:00", NET + "3", "vpn", "midnight", commands=(3,)),
]
# Older versions: of the first day's first sessions it was once thought that they came through Tor.
SUPERSEDED = [Group(5, "2025-09-10 08:00", NET + "1", "tor"), Group(3, "2025-09-12 08:00", NET + "1", LISTS)]


@dataclass(frozen=True)
class Spur:
    day: int
    address: str
    outcome: str = "found"
    vpn: bool | None = False
    proxy: bool | None = False
    tor: bool | None = False
    infrastructure: str | None = None


SPUR = [
    Spur(10, NET + "1", vpn=True, infrastructure="DATACENTER"),
    Spur(10, NET + "2", proxy=True, infrastructure="RESIDENTIAL"),
    Spur(10, NET + "3", vpn=True, proxy=True, infrastructure="MOBILE"),
    Spur(10, NET + "4", tor=True, infrastructure="HOSTING"),
    Spur(10, NET + "5", "not_found", None, None, None),
    Spur(10, NET + "6", infrastructure="HOSTING"),
    Spur(10, NET + "7", "unavailable", None, None, None),
    Spur(10, PRIVATE, vpn=True, infrastructure="RESIDENTIAL"),
    Spur(10, OWN, tor=True, infrastructure="HOSTING"),
    Spur(11, NET + "1", "not_configured", None, None, None),
    Spur(11, NET + "4", "not_configured", None, None, None),
    Spur(12, NET + "1", "quota", None, None, None),
    Spur(12, PRIVATE, vpn=True),
    Spur(13, NET + "1"),
    Spur(13, NET + "4", tor=True),
    Spur(14, PRIVATE, proxy=True),
    Spur(15, NET + "3", vpn=None, proxy=None, tor=None, infrastructure="MOBILE"),
]


@dataclass(frozen=True)
class DShield:
    day: int
    address: str
    attacks: int | None
    answered: str | None
    outcome: str = "found"
    reports: int | None = None


DSHIELD = [
    DShield(10, NET + "1", 10, "2025-09-10 12:00"),
    # At the very end of the day, and a microsecond later.
    DShield(10, NET + "2", 11, "2025-09-11 00:00"),
    DShield(10, NET + "3", 100, "2025-09-11 00:00:00.000001"),
    DShield(10, NET + "4", 101, "2025-09-09 12:00"),
    DShield(10, NET + "5", 1000, "2025-09-20 12:00"),
    DShield(10, NET + "6", 1001, "2025-09-10 12:00"),
    DShield(10, NET + "7", 0, "2025-09-10 12:00", reports=0),
    DShield(10, NET + "8", 1, "2025-09-11 08:00"),
    DShield(10, NET + "9", None, "2025-09-30 12:00", "not_found"),
    DShield(10, PRIVATE, 5000, "2025-09-10 12:00"),
    DShield(10, OWN, 50, "2025-09-30 12:00"),
    DShield(11, NET + "1", 12, "2025-09-20 12:00"),
    DShield(11, NET + "4", None, None, "unavailable"),
    DShield(11, NET + "6", None, None, "quota"),
    # Reports without targets.
    DShield(11, NET + "9", None, "2025-09-11 23:59", reports=3),
    DShield(12, NET + "1", None, None, "not_configured"),
    DShield(13, NET + "4", 2_000_000, "2025-10-01 12:00"),
    DShield(15, NET + "3", 0, "2025-09-15 12:00", reports=5),
]

WINDOWS = {
    "all days": Window(),
    "at least five": Window(minimum_sessions=5),
    "second day": Window(since="2025-09-11", until="2025-09-12"),
    "neither": Window(since="2025-09-12", until="2025-09-13"),
    # Whose last session ends on the day after.
    "fourth day": Window(since="2025-09-13", until="2025-09-14"),
    # From the late session's own moment to the one at midnight, which is left out.
    "edges": Window(since="2025-09-13 23:59:59.999999", until="2025-09-15"),
    "nothing eligible": Window(since="2025-09-14", until="2025-09-15"),
}
Row = tuple[Any, ...]
COLUMNS = {
    13: (
        "attack_date", "session_count", "spur_answered_sessions", "classified_sessions",
        "vpn_sessions", "vpn_ratio", "proxy_sessions", "proxy_ratio", "tor_sessions", "tor_ratio",
        "anonymized_sessions", "anonymization_ratio", "residential_count", "residential_ratio",
        "datacenter_count", "datacenter_ratio", "hosting_count", "hosting_ratio", "mobile_count", "mobile_ratio",
    ),
    14: (
        "reputation_bucket", "session_count", "answered_sessions", "avg_commands", "total_downloads",
        "total_ssh_injections", "vt_flagged_count", "dshield_flagged_count", "percentage", "avg_attack_count",
        "max_attack_count", "answered_later_share",
    ),
}  # fmt: skip
D = Decimal
ZERO = (0, D("0.0000"))
UNKNOWN = (None, None)

# By source: 1 VPN and datacenter (5), 2 proxy and residential (4), 3 both VPN and proxy, mobile (2), 4 Tor by both and
# hosting (3), 5 Tor by the list, Spur knows nothing (2), 6 hosting by both (2), 7 cloud by the list (3), 8 in no list.
FIRST_DAY: Row = (
    date(2025, 9, 10), 27,
    18,  # 5 + 4 + 2 + 3 + 2 + 2
    22,  # and 3 + 1 by the lists; nobody knows the 4 of source 9, nor the new one
    7, D("0.3889"),  # 5 + 2, of 18
    6, D("0.3333"),  # 4 + 2, of 18
    5, D("0.2273"),  # 3 + 2, of 22
    16, D("0.7273"),  # 5 + 4 + 2 + 3 + 2, of 22
    4, D("0.2222"),  # of 18
    5, D("0.2778"),  # of 18
    8, D("0.3636"),  # 3 + 2 + 3, of 22
    2, D("0.1111"),  # of 18
)  # fmt: skip
# Three in no list, two Tor, one cloud; nobody knows the last two.
SECOND_DAY: Row = (
    date(2025, 9, 11), 8, 0, 6, *UNKNOWN, *UNKNOWN, 2, D("0.3333"), 2, D("0.3333"),
    *UNKNOWN, *UNKNOWN, 1, D("0.1667"), *UNKNOWN,
)  # fmt: skip
THIRD_DAY: Row = (date(2025, 9, 12), 3, 0, 0, *(None,) * 16)
FOURTH_DAY: Row = (
    date(2025, 9, 13), 5, 5, 5, *ZERO, *ZERO, 1, D("0.2000"), 1, D("0.2000"), *ZERO, *ZERO, *ZERO, *ZERO,
)  # fmt: skip
LATE: Row = (
    date(2025, 9, 13), 1, 1, 1, *ZERO, *ZERO, 1, D("1.0000"), 1, D("1.0000"), *ZERO, *ZERO, *ZERO, *ZERO,
)  # fmt: skip
MIDNIGHT: Row = (
    date(2025, 9, 15), 1, 1, 1, *ZERO, *ZERO, *ZERO, *ZERO, *ZERO, *ZERO, *ZERO, 1, D("1.0000"),
)  # fmt: skip

# 44 sessions with a public source. No data: of the first day 4 that were never reported and 1 that nobody asked about;
# of the second 2 + 1 without an answer and 2 reported without targets; 3 of the third; 4 of the fourth: 17.
NO_DATA: Row = (
    "no_data", 17,
    6,  # 4 + 2
    D("0.94"),  # (4 + 9 + 3) / 17 = 0.941
    4, 1, None,
    2,  # the reported ones
    D("38.64"), None, None,
    D("0.6667"),  # 4 of 6
)  # fmt: skip
TO_10: Row = (
    "1-10", 6, 6,
    D("3.17"),  # (15 + 4) / 6 = 3.1667
    1, 0, None, 6, D("13.64"),
    D("8.50"), 10,  # (5 * 10 + 1) / 6
    D("0.1667"),  # the one
)  # fmt: skip
TO_100: Row = (
    "11-100", 9, 9,
    D("1.00"),  # (7 + 2) / 9
    4, 2, None, 9, D("20.45"),
    D("31.11"), 100,  # (4 * 11 + 2 * 100 + 3 * 12) / 9 = 280/9
    D("0.5556"),  # 2 + 3 of 9; the 4 answers at the very end of the day are none of them
)  # fmt: skip
TO_1000: Row = (
    "101-1000", 5, 5, D("6.00"), 0, 3, None, 5, D("11.36"),
    D("460.60"), 1000,  # (3 * 101 + 2 * 1000) / 5
    D("0.4000"),
)  # fmt: skip

EXPECTED: dict[tuple[int, str], list[Row]] = {
    (13, "all days"): [MIDNIGHT, FOURTH_DAY, THIRD_DAY, SECOND_DAY, FIRST_DAY],
    (13, "at least five"): [FOURTH_DAY, SECOND_DAY, FIRST_DAY],
    (13, "second day"): [SECOND_DAY],
    (13, "neither"): [THIRD_DAY],
    (13, "fourth day"): [FOURTH_DAY],
    (13, "edges"): [LATE],
    (13, "nothing eligible"): [],
    (14, "all days"): [
        NO_DATA,
        # 3 of the first day, and the one at midnight with reports but no targets: 5/4 commands.
        ("0", 4, 4, D("1.25"), 0, 0, None, 1, D("9.09"), D("0.00"), 0, D("0.0000")),
        TO_10,
        TO_100,
        TO_1000,
        # 101/3 commands; (2 * 1001 + 2000000) / 3 attacks; one of three answers came later.
        (">1000", 3, 3, D("33.67"), 5, 0, None, 3, D("6.82"), D("667334.00"), 2_000_000, D("0.3333")),
    ],
    # What falls below the minimum is still in the percentage's base.
    (14, "at least five"): [NO_DATA, TO_10, TO_100, TO_1000],
    (14, "second day"): [
        ("no_data", 5, 2, D("0.60"), 0, 1, None, 2, D("62.50"), None, None, D("0.0000")),
        ("11-100", 3, 3, D("0.67"), 0, 0, None, 3, D("37.50"), D("12.00"), 12, D("1.0000")),
    ],
    (14, "neither"): [("no_data", 3, 0, D("0.00"), 3, 0, None, None, D("100.00"), None, None, None)],
    (14, "fourth day"): [
        ("no_data", 4, 0, D("0.00"), 0, 0, None, None, D("80.00"), None, None, None),
        (">1000", 1, 1, D("100.00"), 0, 0, None, 1, D("20.00"), D("2000000.00"), 2_000_000, D("1.0000")),
    ],
    (14, "edges"): [
        (">1000", 1, 1, D("100.00"), 0, 0, None, 1, D("100.00"), D("2000000.00"), 2_000_000, D("1.0000")),
    ],
    (14, "nothing eligible"): [],
}  # fmt: skip


def add(connection: Connection, groups: Sequence[Group], *, superseded: Sequence[Group] = ()) -> None:
    """Sessions with their current snapshots (version 2), and older versions of some."""
    with connection.cursor() as cursor:
        cursor.executemany(
            """
            INSERT INTO sessions (
                day, sensor, session_id, first_event_at, last_event_at, source_ip, command_count, file_downloads,
                ssh_key_injections, event_count, login_attempts, login_successes, commands_failed, file_uploads,
                forwarding_requests, unknown_events, closed
            ) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, 2, 0, 0, 0, 0, 0, 0, true)
            """,
            [
                (
                    begin.date(), group.sensor, session_id, begin, begin + timedelta(minutes=group.minutes),
                    group.source, *counts,
                )
                for group in groups
                for begin, session_id, *counts in group.sessions()
            ],
        )  # fmt: skip
        cursor.executemany(
            """
            INSERT INTO session_snapshots (
                day, sensor, session_id, version, is_current, source_ip, attacked_at, snapshot_ip_type, ip_type_reason
            ) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
            """,
            [
                (
                    begin.date(), group.sensor, session_id, 2 - old, not old, group.source, begin,
                    *{LISTS: (None, NONE_OF_THE_LISTS), None: (None, "no range lists yet")}.get(
                        group.listed, (group.listed, None)
                    ),
                )
                for old, of_version in enumerate((groups, superseded))
                for group in of_version
                for begin, session_id, *_ in group.sessions()
            ],
        )  # fmt: skip


def add_answers(connection: Connection, spur: Sequence[Spur], dshield: Sequence[DShield]) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO spur_enrichment (day, address, outcome, answered_at, is_vpn, is_proxy, is_tor, infrastructure)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
            [
                (
                    date(2025, 9, s.day), s.address, s.outcome,
                    at("2025-09-30 12:00") if s.outcome in ("found", "not_found") else None,
                    s.vpn, s.proxy, s.tor, s.infrastructure,
                )
                for s in spur
            ],
        )  # fmt: skip
        cursor.executemany(
            "INSERT INTO dshield_enrichment (day, address, outcome, answered_at, attacks, reports)"
            " VALUES (%s, %s, %s, %s, %s, %s)",
            [
                (date(2025, 9, d.day), d.address, d.outcome, d.answered and at(d.answered), d.attacks, d.reports)
                for d in dshield
            ],
        )


def add_address(connection: Connection, address: str, *, is_public: bool = True, is_own: bool = False) -> None:
    connection.execute(
        """
        INSERT INTO ip_inventory (
            ip_address, is_public, is_own, first_seen, last_seen, session_count, enrichment_version
        ) VALUES (%s, %s, %s, now(), now(), 1, '1')
        """,
        (address, is_public, is_own),
    )


@pytest.fixture(scope="module")
def filled_url(server: Server) -> str:
    """A database with the fixture in it; tests change it only in transactions that are rolled back."""
    url = server.new_database()
    with open_connection(url) as connection:
        add(connection, GROUPS, superseded=SUPERSEDED)
        add_answers(connection, SPUR, DSHIELD)
        for number in range(1, 10):
            add_address(connection, f"{NET}{number}")
        add_address(connection, PRIVATE, is_public=False)
        add_address(connection, OWN, is_own=True)
    return url


@pytest.fixture
def filled(filled_url: str) -> Iterator[Connection]:
    with open_connection(filled_url) as connection, connection.transaction(force_rollback=True):
        yield connection


def settings_of(number: int, name: str) -> dict[str, str]:
    window = WINDOWS[name]
    settings = {"since": window.since, "until": window.until}
    if window.minimum_sessions is not None:
        settings["minimum_sessions"] = str(window.minimum_sessions)
    return {setting: value for setting, value in settings.items() if value}


def answer(connection: Connection, statement: str, settings: dict[str, str]) -> tuple[tuple[str, ...], list[Row]]:
    """What a query's text gives under these settings alone."""
    for setting in ("since", "until", "minimum_sessions", "row_limit"):
        connection.execute("SELECT set_config(%s, %s, true)", (f"cowrie.{setting}", settings.get(setting, "")))
    cursor = connection.execute(statement.encode())
    return tuple(column.name for column in cursor.description or ()), cursor.fetchall()


def differences(connection: Connection, number: int, statement: str) -> Iterator[str]:
    """Where a query's text gives other columns or rows than the literals say, window by window."""
    for name in WINDOWS:
        columns, rows = answer(connection, statement, settings_of(number, name))
        expected = EXPECTED[number, name]
        if columns != COLUMNS[number]:
            yield f"{name}: columns {columns}"
        if rows != expected:
            yield from (f"{name}: not expected {row}" for row in rows if row not in expected)
            yield from (f"{name}: missing {row}" for row in expected if row not in rows)
            yield f"{name}: {len(rows)} rows, {len(expected)} expected, or their order"


def differs(connection: Connection, number: int, statement: str) -> bool:
    return next(differences(connection, number, statement), None) is not None


# --- the right numbers, three ways ------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [13, 14])
def test_every_column_of_a_query_is_as_counted_by_hand(filled: Connection, number: int) -> None:
    assert list(differences(filled, number, text_of(number))) == []


@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.parametrize("number", [13, 14])
def test_the_asset_stores_the_same_rows(filled: Connection, number: int, name: str) -> None:
    query = QUERY_OF[number]
    # What was there before is replaced as a whole.
    run_query(filled, query, Window())
    result = run_query(filled, query, WINDOWS[name])
    expected = [dict(zip(COLUMNS[number], row, strict=True)) for row in EXPECTED[number, name]]
    assert result.rows == expected
    assert read_result(filled, query) == result
    assert run_query(filled, query, WINDOWS[name]) == result


def test_the_result_tables_have_the_columns_in_the_order_of_the_queries() -> None:
    # Rows are inserted by position.
    assert tuple(anonymization.columns.keys()) == COLUMNS[13]
    assert tuple(reputation_distribution.columns.keys()) == COLUMNS[14]


@pytest.mark.parametrize("number", [13, 14])
def test_psql_runs_the_file_as_it_is(filled_url: str, number: int) -> None:
    for name in ("all days", "at least five", "edges"):
        header, *rows = psql(filled_url, settings_of(number, name), number)
        expected = EXPECTED[number, name]
        assert tuple(header) == COLUMNS[number]
        assert [
            tuple(
                date.fromisoformat(text) if isinstance(like, date) else typed(text, like)
                for text, like in zip(row, wanted, strict=True)
            )
            for row, wanted in zip(rows, expected, strict=True)
        ] == expected


@pytest.mark.parametrize("number", [13, 14])
def test_a_day_ends_at_midnight_utc_whatever_the_session_thinks(filled: Connection, number: int) -> None:
    for zone in ("America/Los_Angeles", "Pacific/Kiritimati"):
        filled.execute("SELECT set_config('TimeZone', %s, true)", (zone,))
        assert answer(filled, text_of(number), {})[1] == EXPECTED[number, "all days"]


@pytest.mark.parametrize("number", [13, 14])
def test_a_query_reads_typed_columns_only(filled: Connection, number: int) -> None:
    plan = filled.execute(f"EXPLAIN (VERBOSE) {text_of(number)}".encode()).fetchall()
    assert "json" not in repr(plan)


@pytest.mark.parametrize(
    ("number", "settings", "expected"),
    [
        # The newest days first; the limit cuts the oldest.
        (13, {"row_limit": "1"}, ["2025-09-15"]),
        (13, {"row_limit": "2", "minimum_sessions": "3"}, ["2025-09-13", "2025-09-12"]),
        # The minimum itself is enough.
        (13, {"minimum_sessions": "27"}, ["2025-09-10"]),
        (13, {"minimum_sessions": "28"}, []),
        (14, {"row_limit": "2"}, ["no_data", "0"]),
        (14, {"minimum_sessions": "17"}, ["no_data"]),
        (14, {"minimum_sessions": "18"}, []),
        (14, {"minimum_sessions": "4", "row_limit": "3"}, ["no_data", "0", "1-10"]),
        # A window is by moments, not by days, and its end is left out: sessions at 08:00 and 08:01.
        (13, {"minimum_sessions": "2", "until": "2025-09-10 08:02"}, ["2025-09-10"]),
        (13, {"minimum_sessions": "3", "until": "2025-09-10 08:02"}, []),
        (14, {"minimum_sessions": "3", "until": "2025-09-10 08:02"}, []),
        (14, {"minimum_sessions": "3", "until": "2025-09-10 08:02:00.000001"}, ["1-10"]),
        (13, {"since": "2025-09-15"}, ["2025-09-15"]),
        (14, {"since": "2025-09-15 00:00:00.000001"}, []),
    ],
)
def test_settings_move_the_window_the_minimum_and_the_limit(
    filled: Connection, number: int, settings: dict[str, str], expected: list[str]
) -> None:
    assert [str(row[0]) for row in answer(filled, text_of(number), settings)[1]] == expected


@pytest.mark.parametrize(
    ("number", "name", "expected"),
    [
        # 54 sessions, 44 with a public source. Somebody could judge 22 + 6 + 0 + 5 + 1 = 34 of them.
        (13, "all days", (54, 44, 34, "below the gate")),
        (13, "second day", (8, 8, 6, "below the gate")),
        (13, "neither", (5, 3, 0, "below the gate")),
        (13, "edges", (4, 1, 1, "passed")),
        (13, "nothing eligible", (3, 0, 0, "nothing eligible")),
        # DShield answered for 6 + 4 + 6 + 9 + 5 + 3 = 33.
        (14, "all days", (54, 44, 33, "below the gate")),
        (14, "neither", (5, 3, 0, "below the gate")),
        (14, "edges", (4, 1, 1, "passed")),
    ],
)
def test_a_result_says_how_many_sessions_it_rests_on(
    filled: Connection, number: int, name: str, expected: tuple[int, int, int, str]
) -> None:
    result = run_query(filled, QUERY_OF[number], WINDOWS[name])
    assert (result.sessions, result.eligible, result.covered, result.gate) == expected


# --- what failed before -----------------------------------------------------------------------------------------------


def test_days_that_nobody_asked_about_are_not_days_of_zeros(filled: Connection) -> None:
    """The old query 13 gave 324 rows, all zeros, from a service that was never configured."""
    filled.execute("UPDATE spur_enrichment SET outcome = 'not_configured', answered_at = NULL, is_vpn = NULL")
    filled.execute("UPDATE session_snapshots SET snapshot_ip_type = NULL, ip_type_reason = 'no range lists yet'")
    rows = answer(filled, text_of(13), {})[1]
    assert [row[1:] for row in rows] == [(sessions, 0, 0, *(None,) * 16) for sessions in (1, 5, 3, 8, 27)]


def test_nobody_asked_is_another_thing_than_nothing_known(filled: Connection) -> None:
    """Failures were stored as empty answers, so everything without data read as asked and clean."""
    failed = "UPDATE dshield_enrichment SET outcome = 'unavailable', answered_at = NULL, attacks = NULL, reports = NULL"
    filled.execute(failed.encode())
    rows = answer(filled, text_of(14), {})[1]
    assert [(*row[:3], *row[7:]) for row in rows] == [("no_data", 44, 0, None, D("100.00"), None, None, None)]
    filled.execute("UPDATE dshield_enrichment SET outcome = 'not_found', answered_at = '2025-09-01'")
    rows = answer(filled, text_of(14), {})[1]
    # All but the 1 new and the 4 of the fourth day, which have no row.
    assert [(*row[:3], *row[7:]) for row in rows] == [("no_data", 44, 39, 0, D("100.00"), None, None, D("0.0000"))]


def test_ratios_have_the_base_of_their_counts(filled: Connection) -> None:
    """Sessions were counted by distinct id, and the ratios divided by rows: ids that two sensors share broke them."""
    for row in answer(filled, text_of(13), {})[1]:
        named = dict(zip(COLUMNS[13], row, strict=True))
        for name, base in (
            ("vpn_sessions", "spur_answered_sessions"),
            ("tor_sessions", "classified_sessions"),
            ("anonymized_sessions", "classified_sessions"),
            ("hosting_count", "classified_sessions"),
        ):
            assert named[name] is None or named[name] <= named[base] <= named["session_count"]


def test_a_session_that_is_everything_at_once_counts_once(filled: Connection) -> None:
    filled.execute("DELETE FROM spur_enrichment")
    add_answers(
        filled,
        [Spur(10, f"{NET}{n}", vpn=True, proxy=True, tor=True, infrastructure="HOSTING") for n in range(1, 10)],
        [],
    )
    filled.execute("UPDATE session_snapshots SET snapshot_ip_type = 'tor'")
    row = dict(zip(COLUMNS[13], answer(filled, text_of(13), {"until": "2025-09-11"})[1][0], strict=True))
    # 26 sessions of the nine sources, and the new one by the list alone.
    assert (row["session_count"], row["spur_answered_sessions"], row["classified_sessions"]) == (27, 26, 27)
    assert [row[f"{name}_sessions"] for name in ("vpn", "proxy", "tor", "anonymized")] == [26, 26, 27, 27]
    assert [row[f"{name}_ratio"] for name in ("vpn", "proxy", "tor", "anonymization")] == [1, 1, 1, 1]
    filled.execute("UPDATE session_snapshots SET snapshot_ip_type = 'cloud'")
    row = dict(zip(COLUMNS[13], answer(filled, text_of(13), {"until": "2025-09-11"})[1][0], strict=True))
    assert (row["hosting_count"], row["hosting_ratio"], row["tor_sessions"]) == (27, 1, 26)


def test_files_are_counted_once_they_are_looked_up(filled: Connection) -> None:
    """Nobody looks files up yet; when the view says what was found, the count is there and the unknown stays NULL."""
    view = sql_file(VIEW).read_text(encoding="utf-8")
    known = "CASE WHEN s.sensor = 'beta' OR d.attacks = 12 THEN s.file_downloads > 0 END AS vt_flagged"
    # Of the column and nothing else, so that this holds when the view's own column is filled.
    told, found = re.subn(r"^ *\S.* AS vt_flagged", known, view, flags=re.M)
    assert found == 1
    filled.execute(told.encode())
    flagged = {row[0]: row[6] for row in answer(filled, text_of(14), {})[1]}
    # Two of the four sessions of sensor beta downloaded something, none of the three of the second day.
    assert flagged == {"no_data": None, "0": None, "1-10": None, "11-100": 2, "101-1000": None, ">1000": None}
    flagged = {row[0]: row[6] for row in answer(filled, text_of(14), {"since": "2025-09-11"})[1]}
    assert flagged == {"no_data": None, "0": None, "11-100": 0, ">1000": None}


# --- the literals are sharp: each mutant is noticed -------------------------------------------------------------------

VIEW = "session_summaries.sql"


@dataclass(frozen=True)
class Mutant:
    """A change of a file (a query's by number), and the queries whose numbers it must change."""

    file: str | int
    right: str
    wrong: str
    noticed_by: tuple[int, ...] = field(default=())

    @property
    def queries(self) -> tuple[int, ...]:
        return self.noticed_by or ((self.file,) if isinstance(self.file, int) else (13, 14))

    def text(self) -> str:
        name = self.file if isinstance(self.file, str) else QUERY_OF[self.file].sql_name
        # Spelt by regular expression, so that a formatter's spaces and capitals do not matter.
        mutated, found = re.subn(self.right, self.wrong, sql_file(name).read_text(encoding="utf-8"), flags=re.I)
        assert found == 1, "the mutation no longer fits the file"
        return mutated


LISTED_TOR = r" OR snapshot_ip_type = 'tor'"
IN_ALL_FOUR = r"spur_is_vpn OR spur_is_proxy OR spur_is_tor" + LISTED_TOR
ANONYMIZED = r"WHERE " + IN_ALL_FOUR
LISTS_CONSULTED = r"p\.snapshot_ip_type IS NOT NULL OR p\.ip_type_reason = 'in none of the lists'"
MUTANTS = {
    # Which sessions are looked at.
    **{
        f"{name} ({number})": Mutant(number, right, wrong)
        for number in (13, 14)
        for name, right, wrong in (
            ("private and own sources counted", r"has_public_source\s+AND ", ""),
            ("the window's end is in it", "first_event_at < until", "first_event_at <= until"),
            ("the window ends a day later", "first_event_at < until", "first_event_at < until + interval '1 day'"),
            ("the window's begin is not in it", "first_event_at >= since", "first_event_at > since"),
            ("the window begins a day earlier", "first_event_at >= since", "first_event_at >= since - interval '1 d'"),
            ("the window is by the session's end", "first_event_at < until", "last_event_at < until"),
            ("the minimum is not enough", "session_count >= settings", "session_count > settings"),
            ("there is no minimum", r"WHERE \w+\.session_count >= settings\.minimum_sessions", ""),
        )
    },
    # Query 13: what counts as what.
    "unanswered ones in Spur's base": Mutant(13, r"count\(spur_answered_at\)", "count(*)"),
    "Spur and the lists, not either": Mutant(13, "IS NOT null OR lists_consulted", "IS NOT null AND lists_consulted"),
    "classified by Spur alone": Mutant(13, "IS NOT null OR lists_consulted", "IS NOT null"),
    "classified by the lists alone": Mutant(13, "spur_answered_at IS NOT null OR lists_consulted", "lists_consulted"),
    "VPNs are proxies": Mutant(13, r"\(WHERE spur_is_vpn\)", "(WHERE spur_is_proxy)"),
    "proxies are VPNs": Mutant(13, r"\(WHERE spur_is_proxy\)", "(WHERE spur_is_vpn)"),
    "unknown counts as VPN": Mutant(13, r"\(WHERE spur_is_vpn\)", "(WHERE spur_is_vpn IS DISTINCT FROM FALSE)"),
    "Tor by Spur alone": Mutant(13, r"\(WHERE spur_is_tor" + LISTED_TOR, "(WHERE spur_is_tor"),
    "Tor by the list alone": Mutant(13, r"\(WHERE spur_is_tor OR ", "(WHERE "),
    "Tor only where both agree": Mutant(13, r"\(WHERE spur_is_tor OR ", "(WHERE spur_is_tor AND "),
    "Tor counted once a source of knowledge": Mutant(
        13,
        r"count\(\*\) FILTER \(WHERE spur_is_tor" + LISTED_TOR + r"\)",
        "count(*) FILTER (WHERE spur_is_tor) + count(*) FILTER (WHERE snapshot_ip_type = 'tor')",
    ),
    "any list counts as Tor": Mutant(
        13, r"\(WHERE spur_is_tor" + LISTED_TOR, "(WHERE spur_is_tor OR snapshot_ip_type IS NOT null"
    ),
    "anonymized without VPNs": Mutant(13, r"WHERE spur_is_vpn OR ", "WHERE "),
    "anonymized without proxies": Mutant(13, r"WHERE spur_is_vpn OR spur_is_proxy OR ", "WHERE spur_is_vpn OR "),
    "anonymized without Spur's Tor": Mutant(13, r"spur_is_proxy OR spur_is_tor OR ", "spur_is_proxy OR "),
    "anonymized without the list": Mutant(13, ANONYMIZED, "WHERE spur_is_vpn OR spur_is_proxy OR spur_is_tor"),
    "anonymized by VPN and proxy at once": Mutant(13, "spur_is_vpn OR spur_is_proxy", "spur_is_vpn AND spur_is_proxy"),
    "anonymized as a sum": Mutant(
        13,
        r"count\(\*\) FILTER \(\s*" + ANONYMIZED + r"\s*\)",
        "count(*) FILTER (WHERE spur_is_vpn) + count(*) FILTER (WHERE spur_is_proxy)"
        " + count(*) FILTER (WHERE spur_is_tor OR snapshot_ip_type = 'tor')",
    ),
    "residential for datacenter": Mutant(13, "'DATACENTER'", "'RESIDENTIAL'"),
    "datacenter for residential": Mutant(13, "'RESIDENTIAL'", "'DATACENTER'"),
    "datacenter is hosting": Mutant(13, "= 'HOSTING'", "IN ('HOSTING', 'DATACENTER')"),
    "nobody is mobile": Mutant(13, "'MOBILE'", "'mobile'"),
    "hosting by Spur alone": Mutant(13, " OR snapshot_ip_type = 'cloud'", ""),
    "hosting by the list alone": Mutant(13, "spur_infrastructure = 'HOSTING' OR ", ""),
    "hosting only where both agree": Mutant(13, "'HOSTING' OR", "'HOSTING' AND"),
    # Query 13: of what it is a share, and when it is none.
    **{
        f"{count} of all sessions": Mutant(
            13, rf"(by_day\.{count}::numeric / nullif)\(by_day\.\w+", r"\1(by_day.session_count"
        )
        for count in ("vpn", "proxy", "tor", "anonymized", "residential", "datacenter", "hosting", "mobile")
    },
    **{
        f"{count} of the other base": Mutant(
            13, rf"(by_day\.{count}::numeric / nullif)\(by_day\.\w+", rf"\1(by_day.{base}"
        )
        for count, base in {
            "vpn": "classified", "proxy": "classified", "tor": "spur_answered", "anonymized": "spur_answered",
            "residential": "classified", "datacenter": "classified", "hosting": "spur_answered", "mobile": "classified",
        }.items()
    },
    **{
        f"{count} is zero where nobody was asked": Mutant(
            13, rf"CASE WHEN by_day\.\w+ > 0 THEN by_day\.{count} END", f"by_day.{count}"
        )
        for count in ("vpn", "proxy", "tor", "anonymized", "residential", "datacenter", "hosting", "mobile")
    },
    "Tor is unknown without Spur": Mutant(
        13, r"CASE WHEN by_day\.classified > 0 THEN by_day\.tor ", "CASE WHEN by_day.spur_answered > 0 THEN by_day.tor "
    ),
    "VPNs are known without Spur": Mutant(
        13, r"CASE WHEN by_day\.spur_answered > 0 THEN by_day\.vpn ", "CASE WHEN by_day.classified > 0 THEN by_day.vpn "
    ),
    "whole numbers divided": Mutant(13, r"by_day\.vpn::numeric", "by_day.vpn"),
    "two decimals": Mutant(13, r"(by_day\.tor::numeric / nullif\(by_day\.classified, 0\), )4", r"\g<1>2"),
    "the oldest day first": Mutant(13, "attack_date DESC", "attack_date ASC"),
    # Query 14: the edges of the buckets.
    "1000 is more than 1000": Mutant(14, "dshield_attacks > 1000 ", "dshield_attacks >= 1000 "),
    "1001 is no more than 1000": Mutant(14, "dshield_attacks > 1000 ", "dshield_attacks > 1001 "),
    "100 is more than 100": Mutant(14, "dshield_attacks > 100 ", "dshield_attacks >= 100 "),
    "101 is no more than 100": Mutant(14, "dshield_attacks > 100 ", "dshield_attacks > 101 "),
    "10 is more than 10": Mutant(14, "dshield_attacks > 10 ", "dshield_attacks >= 10 "),
    "11 is no more than 10": Mutant(14, "dshield_attacks > 10 ", "dshield_attacks > 11 "),
    "0 is more than 0": Mutant(14, "dshield_attacks > 0 ", "dshield_attacks >= 0 "),
    "1 is no more than 0": Mutant(14, "dshield_attacks > 0 ", "dshield_attacks > 1 "),
    "no data is zero": Mutant(14, "WHEN dshield_attacks IS null THEN 'no_data'", ""),
    "no data is no answer": Mutant(14, "WHEN dshield_attacks IS null", "WHEN dshield_answered_at IS null"),
    # Query 14: the columns.
    "unanswered ones answered": Mutant(14, r"count\(answered_at\) AS answered", "count(*) AS answered"),
    "answered ones with data": Mutant(14, r"count\(answered_at\) AS answered", "count(attack_count) AS answered"),
    "the end of the day is later": Mutant(14, "answered_at > day_ended_at", "answered_at >= day_ended_at"),
    "earlier is later": Mutant(14, "answered_at > day_ended_at", "answered_at < day_ended_at"),
    "the day ends as it begins": Mutant(14, r"\(day \+ 1\)", "day"),
    "the day ends a day later": Mutant(14, r"\(day \+ 1\)", "(day + 2)"),
    "later, of all sessions": Mutant(14, r"/ nullif\(count\(answered_at\), 0\)", "/ nullif(count(*), 0)"),
    "later ones divided as whole numbers": Mutant(14, r"> day_ended_at\)::numeric", "> day_ended_at)"),
    "percentage of the rows shown": Mutant(
        14,
        r"SELECT by_bucket\.\*",
        "SELECT reputation_bucket, session_count, answered_sessions, avg_commands, total_downloads,"
        " total_ssh_injections, vt_flagged_count, dshield_flagged_count,"
        " round(100 * session_count / sum(session_count) OVER (), 2) AS percentage,"
        " avg_attack_count, max_attack_count, answered_later_share",
    ),
    "percentage of the answered ones": Mutant(
        14, r"100 \* count\(\*\) / sum\(count\(\*\)\)", "100 * count(*) / sum(greatest(count(answered_at), 1))"
    ),
    "the sum of commands": Mutant(14, r"avg\(command_count\)", "sum(command_count)"),
    "keys are downloads": Mutant(14, r"sum\(file_downloads\)", "sum(ssh_key_injections)"),
    "downloads are keys": Mutant(14, r"sum\(ssh_key_injections\)", "sum(file_downloads)"),
    "nobody asked is not flagged": Mutant(
        14, r"CASE WHEN count\(dshield_flagged\) > 0 THEN (count\(\*\) FILTER \(WHERE dshield_flagged\)) END", r"\1"
    ),
    "the asked ones are flagged": Mutant(
        14, r"THEN count\(\*\) FILTER \(WHERE dshield_flagged\)", "THEN count(dshield_flagged)"
    ),
    "files that nobody looked up are clean": Mutant(14, r"CASE WHEN count\(vt_flagged\) > 0 THEN ([^\n]*) END", r"\1"),
    "no data averages to zero": Mutant(14, r"avg\(attack_count\)", "avg(coalesce(attack_count, 0))"),
    "the least attacks": Mutant(14, r"max\(attack_count\)", "min(attack_count)"),
    "no data has zero at most": Mutant(14, r"max\(attack_count\)", "max(coalesce(attack_count, 0))"),
    "buckets in the order of the alphabet": Mutant(14, r"array_position\(ARRAY\[[^\]]*\], ([^)]*)\)", r"\1"),
    # The view: wrong joins and wrong columns.
    "snapshots joined without the day": Mutant(VIEW, r"s\.day = p\.day AND ", "", (13,)),
    "snapshots joined without the sensor": Mutant(VIEW, r"s\.sensor = p\.sensor AND ", ""),
    "superseded snapshots counted": Mutant(VIEW, r" AND p\.is_current", ""),
    "DShield joined without the day": Mutant(VIEW, r"s\.day = d\.day AND ", ""),
    "DShield of the day after": Mutant(VIEW, r"s\.day = d\.day", "s.day + 1 = d.day", (14,)),
    "DShield joined without the address": Mutant(VIEW, r" AND s\.source_ip = d\.address", ""),
    "Spur joined without the day": Mutant(VIEW, r"s\.day = x\.day AND ", ""),
    "Spur of the day before": Mutant(VIEW, r"s\.day = x\.day", "s.day - 1 = x.day", (13,)),
    "Spur joined without the address": Mutant(VIEW, r" AND s\.source_ip = x\.address", ""),
    "only sources that were answered for": Mutant(VIEW, "LEFT JOIN spur_enrichment", "INNER JOIN spur_enrichment"),
    "our own sources are public": Mutant(VIEW, r"i\.is_public AND NOT i\.is_own", "i.is_public"),
    "private sources are public": Mutant(VIEW, r"i\.is_public AND NOT i\.is_own", "NOT i.is_own"),
    "new sources are not public": Mutant(
        VIEW, r"coalesce\(i\.is_public AND NOT i\.is_own, TRUE\)", "coalesce(i.is_public AND NOT i.is_own, FALSE)"
    ),
    "no source is a public one": Mutant(VIEW, r"WHEN s\.source_ip IS NULL THEN FALSE", "WHEN FALSE THEN FALSE"),
    "lists consulted only where they knew": Mutant(VIEW, LISTS_CONSULTED, "p.snapshot_ip_type IS NOT NULL", (13,)),
    "lists consulted only where they knew nothing": Mutant(
        VIEW, LISTS_CONSULTED, "p.ip_type_reason = 'in none of the lists'", (13,)
    ),
    "lists consulted by their absence": Mutant(VIEW, LISTS_CONSULTED, "p.ip_type_reason IS NOT NULL", (13,)),
    "Spur asked is Spur answered": Mutant(
        VIEW, r"x\.answered_at AS spur_answered_at", "x.day::timestamptz AS spur_answered_at", (13,)
    ),
    "VPN read from another column": Mutant(VIEW, r"x\.is_vpn AS spur_is_vpn", "x.is_anonymous AS spur_is_vpn", (13,)),
    "Tor read from another column": Mutant(VIEW, r"x\.is_tor AS spur_is_tor", "x.is_vpn AS spur_is_tor", (13,)),
    "attacks read from another column": Mutant(
        VIEW, r"d\.attacks AS dshield_attacks", "d.reports AS dshield_attacks", (14,)
    ),
    "no attacks where there is no number": Mutant(
        VIEW, r"d\.attacks AS dshield_attacks", "coalesce(d.attacks, 0) AS dshield_attacks", (14,)
    ),
    "DShield asked is DShield answered": Mutant(
        VIEW, r"d\.answered_at AS dshield_answered_at", "d.day::timestamptz AS dshield_answered_at", (14,)
    ),
    "flagged by targets and reports at once": Mutant(
        VIEW, r"> 0 OR coalesce\(d\.reports", "> 0 AND coalesce(d.reports", (14,)
    ),
    "nobody answered is clean": Mutant(
        VIEW, r"CASE WHEN d\.answered_at IS NOT NULL THEN (coalesce.*)\s+END AS dshield_flagged",
        r"\1 AS dshield_flagged", (14,)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_query_differs_from_the_literals(filled: Connection, name: str) -> None:
    mutant = MUTANTS[name]
    if mutant.file == VIEW:
        filled.execute(mutant.text().encode())
    for number in mutant.queries:
        assert differs(filled, number, text_of(number) if mutant.file == VIEW else mutant.text())


def test_a_limit_that_is_ignored_is_noticed(filled: Connection) -> None:
    for number, column in ((13, 0), (14, 0)):
        unlimited = re.sub(r"LIMIT .*", "", text_of(number))
        assert len(answer(filled, unlimited, {"row_limit": "1"})[1]) > 1
        assert [row[column] for row in answer(filled, text_of(number), {"row_limit": "1"})[1]] == [
            EXPECTED[number, "all days"][0][0]
        ]


def test_making_the_view_again_heals_a_wrong_one(filled: Connection) -> None:
    filled.execute(MUTANTS["Spur joined without the day"].text().encode())
    assert differs(filled, 13, text_of(13))
    create_view(filled, "session_summaries")
    assert not differs(filled, 13, text_of(13))
