"""Queries 11 and 12 give the right numbers: every column of a hand-made fixture stands here as a literal.

Proved here: the files in `sql/`, run by `run_query`, by plain execution and by psql; that the literals are sharp (each
of a dozen wrong joins, dropped NULLs and days off by one makes the comparison fail); what a result rests on (gate and
coverage); and that its CSV, Markdown and chart are harmless. Not here: how snapshots come about.
"""

from __future__ import annotations

import base64
import csv
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from xml.etree import ElementTree

import psycopg
import pytest

from cowrie_assets.assets.infrastructure import QUERIES, Window, create_view, read_result, run_query
from cowrie_assets.assets.observation import write_asn_inventory
from cowrie_assets.report.charts import bar_chart
from cowrie_assets.report.tables import Value, markdown_table, write_csv
from cowrie_assets.warehouse.database import open_connection
from cowrie_assets.warehouse.embedded import EmbeddedServer
from cowrie_assets.warehouse.event_chunks import Connection
from cowrie_assets.warehouse.views import sql_file
from cowrie_assets_tests.conftest import Server

GEOGRAPHIC, SYSTEMS = QUERIES[:2]
QUERY_OF = {query.number: query for query in QUERIES}

# Documentation addresses: which of them are public is what the fixture's inventory says.
PUBLIC, PRIVATE, NOT_IN_INVENTORY = "198.51.100.1", "10.0.0.5", "198.51.100.9"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@dataclass(frozen=True)
class Attack:
    """One session, one minute long unless told otherwise, with its current snapshot."""

    begin: datetime
    session_id: str
    country: str | None
    asn: int | None
    source: str | None = PUBLIC
    sensor: str = "alpha"
    commands: int = 0
    downloads: int = 0
    keys: int = 0
    minutes: int = 1


def attack(
    begin: str, session_id: str, country: str | None, asn: int | None, source: str | None = PUBLIC, **counts: int
) -> Attack:
    return Attack(at(begin), session_id, country, asn, source, **counts)  # type: ignore[arg-type]  # counts only


def attacks(
    number: int,
    begin: str,
    prefix: str,
    country: str | None,
    asn: int | None,
    *,
    sensor: str = "alpha",
    commands: Sequence[int] = (),
    downloads: Sequence[int] = (),
    keys: Sequence[int] = (),
) -> list[Attack]:
    """So many sessions, one beginning each minute; counts that are not named are zero."""

    def count(values: Sequence[int], position: int) -> int:
        return values[position] if position < len(values) else 0

    return [
        Attack(
            at(begin) + timedelta(minutes=n), f"{prefix}{n}", country, asn, PUBLIC, sensor,
            count(commands, n), count(downloads, n), count(keys, n),
        )
        for n in range(number)
    ]  # fmt: skip


ATTACKS = [
    # The first day, 10 September: 9 + 4 + 4 sessions with a country, and one without anything known.
    *attacks(9, "2025-09-10 08:00", "h", "DE", 24940, commands=(2,) * 9),
    # The same session ids on another sensor: Cowrie's ids are unique only within (sensor, day).
    *attacks(4, "2025-09-10 09:00", "h", "US", 64500, sensor="beta", commands=(1,)),
    *attacks(4, "2025-09-10 12:00", "b", "BR", 64500, downloads=(1, 1), keys=(1,)),
    attack("2025-09-10 13:00", "unknown", None, None),
    # The second day: one at exactly midnight, and four with ids that the sensor used the day before.
    attack("2025-09-11 00:00", "midnight", "BR", 14061, commands=2),
    *attacks(5, "2025-09-11 06:00", "n", "DE", None),
    *attacks(4, "2025-09-11 10:00", "h", "US", 14061),
    # The third day; the last session of it runs into the fourth.
    attack("2025-09-12 00:30", "h9", "DE", 24940, commands=2),
    attack("2025-09-12 23:59:59.999999", "late", "DE", 24940, commands=3, downloads=2, keys=1, minutes=5),
    attack("2025-09-12 01:00", "at", "AT", 64501),
    attack("2025-09-12 02:00", "nl", "NL", 64501),
    attack("2025-09-12 03:00", "sg", "SG", 64502, commands=7),
    # More sessions of AS 64500 without a country than with any one country.
    *attacks(5, "2025-09-12 04:00", "c", None, 64500),
    attack("2025-09-12 05:00", "private0", None, None, PRIVATE),
    attack("2025-09-12 05:01", "private1", None, None, PRIVATE),
    attack("2025-09-12 05:02", "nowhere", None, None, None),
    attack("2025-09-12 05:03", "new", None, None, NOT_IN_INVENTORY),
]
# Older versions: another country and AS, and one that says the same as the current one (it would be counted twice).
SUPERSEDED = [
    *attacks(2, "2025-09-10 08:00", "h", "FR", 64999),
    attack("2025-09-12 23:59:59.999999", "late", "DE", 24940),
]
# As the inventory holds them: the name last observed.
NAMES = {
    24940: "Hetzner Online GmbH",
    14061: None,
    64500: "Lawson Broadband Inc.",
    64501: "Movhost Ltd",
    64502: "Example Telekom",
    64999: "Superseded",
}

WINDOWS = {
    "all days": Window(minimum_sessions=2),
    "first day": Window(until="2025-09-11", minimum_sessions=1),
    "second day": Window(since="2025-09-11", until="2025-09-12", minimum_sessions=1),
}
Rows = list[tuple[Value, ...]]
COLUMNS = {
    11: (
        "country", "session_count", "unique_asns", "days_active", "first_seen", "last_seen",
        "avg_commands_per_session", "total_file_downloads", "vt_flagged_count", "dshield_flagged_count",
        "country_percentage", "asn_diversity_ratio",
    ),
    12: (
        "asn", "as_name", "primary_country", "session_count", "days_active", "first_seen", "last_seen",
        "avg_commands", "total_downloads", "total_ssh_injections", "vt_flagged_sessions", "dshield_flagged_sessions",
        "infrastructure_type", "asn_percentage",
    ),
}  # fmt: skip
D = Decimal
EXPECTED: dict[tuple[int, str], Rows] = {
    # 16 DE + 8 US + 5 BR + 1 AT + 1 NL + 1 SG = 32 sessions with a country; the last three are below the minimum of 2,
    # but in the denominator.
    (11, "all days"): [
        # AS 24940 (11 sessions) and five without an AS: 1 AS. Three days: 10, 11, 12; the last one ends on the 13th.
        # 9 * 2 + 2 + 3 = 23 commands, 23/16 = 1.4375 -> 1.44. 16/32 = 50 %. 1/16 = 0.0625 -> 0.063, away from zero.
        ("DE", 16, 1, 3, at("2025-09-10 08:00"), at("2025-09-13 00:04:59.999999"),
         D("1.44"), 2, None, None, D("50.00"), D("0.063")),
        # AS 64500 and 14061 with four each. 1/8 = 0.125 -> 0.13, away from zero. 8/32 = 25 %. 2/8 = 0.25.
        ("US", 8, 2, 2, at("2025-09-10 09:00"), at("2025-09-11 10:04"),
         D("0.13"), 0, None, None, D("25.00"), D("0.250")),
        # Four on the 10th, one at midnight, which is the 11th. 2/5 = 0.4. 5/32 = 15.625 -> 15.63. 2/5 = 0.4.
        ("BR", 5, 2, 2, at("2025-09-10 12:00"), at("2025-09-11 00:01"),
         D("0.40"), 2, None, None, D("15.63"), D("0.400")),
    ],
    # 9 + 4 + 4 = 17. Of equal counts the first in the alphabet comes first. The session at midnight is not in it.
    (11, "first day"): [
        # 9/17 = 52.941 -> 52.94; 1/9 = 0.111.
        ("DE", 9, 1, 1, at("2025-09-10 08:00"), at("2025-09-10 08:09"),
         D("2.00"), 0, None, None, D("52.94"), D("0.111")),
        # 4/17 = 23.529 -> 23.53.
        ("BR", 4, 1, 1, at("2025-09-10 12:00"), at("2025-09-10 12:04"),
         D("0.00"), 2, None, None, D("23.53"), D("0.250")),
        ("US", 4, 1, 1, at("2025-09-10 09:00"), at("2025-09-10 09:04"),
         D("0.25"), 0, None, None, D("23.53"), D("0.250")),
    ],
    # 5 + 4 + 1 = 10; five sessions without an AS are no AS.
    (11, "second day"): [
        ("DE", 5, 0, 1, at("2025-09-11 06:00"), at("2025-09-11 06:05"),
         D("0.00"), 0, None, None, D("50.00"), D("0.000")),
        ("US", 4, 1, 1, at("2025-09-11 10:00"), at("2025-09-11 10:04"),
         D("0.00"), 0, None, None, D("40.00"), D("0.250")),
        ("BR", 1, 1, 1, at("2025-09-11 00:00"), at("2025-09-11 00:01"),
         D("2.00"), 0, None, None, D("10.00"), D("1.000")),
    ],
    # 13 of 64500 + 11 of 24940 + 5 of 14061 + 2 of 64501 + 1 of 64502 = 32 sessions with an AS.
    (12, "all days"): [
        # BR 4, US 4, none 5: of the countries that tie, the first in the alphabet. Days 10 and 12.
        # 1/13 = 0.0769 -> 0.08. 13/32 = 40.625 -> 40.63, away from zero.
        (64500, "Lawson Broadband Inc.", "BR", 13, 2, at("2025-09-10 09:00"), at("2025-09-12 04:05"),
         D("0.08"), 2, 1, None, None, "ISP/Telecom", D("40.63")),
        # Days 10 and 12. 23/11 = 2.0909 -> 2.09. 11/32 = 34.375 -> 34.38.
        (24940, "Hetzner Online GmbH", "DE", 11, 2, at("2025-09-10 08:00"), at("2025-09-13 00:04:59.999999"),
         D("2.09"), 2, 1, None, None, "Hetzner", D("34.38")),
        # US 4, BR 1. All on the 11th. 2/5 = 0.4. 5/32 = 15.625 -> 15.63. No name, and known by its number.
        (14061, None, "US", 5, 1, at("2025-09-11 00:00"), at("2025-09-11 10:04"),
         D("0.40"), 0, 0, None, None, "DigitalOcean", D("15.63")),
        # AT 1, NL 1. 2/32 = 6.25.
        (64501, "Movhost Ltd", "AT", 2, 1, at("2025-09-12 01:00"), at("2025-09-12 02:01"),
         D("0.00"), 0, 0, None, None, "Other", D("6.25")),
    ],
    # 9 + 8 = 17.
    (12, "first day"): [
        (24940, "Hetzner Online GmbH", "DE", 9, 1, at("2025-09-10 08:00"), at("2025-09-10 08:09"),
         D("2.00"), 0, 0, None, None, "Hetzner", D("52.94")),
        # 1/8 = 0.125 -> 0.13. 8/17 = 47.0588 -> 47.06.
        (64500, "Lawson Broadband Inc.", "BR", 8, 1, at("2025-09-10 09:00"), at("2025-09-10 12:04"),
         D("0.13"), 2, 1, None, None, "ISP/Telecom", D("47.06")),
    ],
    (12, "second day"): [
        (14061, None, "US", 5, 1, at("2025-09-11 00:00"), at("2025-09-11 10:04"),
         D("0.40"), 0, 0, None, None, "DigitalOcean", D("100.00")),
    ],
}  # fmt: skip


def add(connection: Connection, added: Sequence[Attack], *, superseded: Sequence[Attack] = ()) -> None:
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
                    a.begin.date(), a.sensor, a.session_id, a.begin, a.begin + timedelta(minutes=a.minutes),
                    a.source, a.commands, a.downloads, a.keys,
                )
                for a in added
            ],
        )  # fmt: skip
        cursor.executemany(
            """
            INSERT INTO session_snapshots (
                day, sensor, session_id, version, is_current, source_ip, attacked_at, snapshot_asn, snapshot_country
            ) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
            """,
            [
                (
                    a.begin.date(), a.sensor, a.session_id, 2 - old, not old, a.source, a.begin, a.asn, a.country,
                )
                for old, group in enumerate((added, superseded))
                for a in group
            ],
        )  # fmt: skip


def add_system(connection: Connection, asn: int, name: str | None) -> None:
    connection.execute(
        """
        INSERT INTO asn_inventory (
            asn_number, organization_name, first_seen, last_seen, unique_ip_count, total_session_count
        ) VALUES (%s, %s, now(), now(), 1, 1)
        """,
        (asn, name),
    )


def add_address(connection: Connection, address: str, *, is_public: bool) -> None:
    connection.execute(
        """
        INSERT INTO ip_inventory (ip_address, is_public, first_seen, last_seen, session_count, enrichment_version)
        VALUES (%s, %s, now(), now(), 1, '1')
        """,
        (address, is_public),
    )


def observe(connection: Connection, observed_at: str, asn: int, name: str, address: str = PUBLIC) -> None:
    connection.execute(
        "INSERT INTO ip_observations (address, source, observed_at, asn, as_name) VALUES (%s, 'geoip_asn', %s, %s, %s)",
        (address, at(observed_at), asn, name),
    )


@pytest.fixture(scope="module")
def filled_url(server: Server) -> str:
    """A database with the fixture in it; tests change it only in transactions that are rolled back."""
    url = server.new_database()
    with open_connection(url) as connection:
        add(connection, ATTACKS, superseded=SUPERSEDED)
        add_address(connection, PUBLIC, is_public=True)
        add_address(connection, PRIVATE, is_public=False)
        for asn, name in NAMES.items():
            add_system(connection, asn, name)
        # The AS was called otherwise before: the queries must neither say so nor count it twice.
        observe(connection, "2025-01-01 00:00", 64500, "Lawson Hosting Inc.")
        observe(connection, "2025-09-01 00:00", 64500, "Lawson Broadband Inc.")
    return url


@pytest.fixture
def filled(filled_url: str) -> Iterator[Connection]:
    with open_connection(filled_url) as connection, connection.transaction(force_rollback=True):
        yield connection


@pytest.fixture
def bare(filled: Connection) -> Connection:
    """The same tables without a row, until the test ends."""
    for table in ("sessions", "session_snapshots", "ip_inventory", "asn_inventory", "ip_observations"):
        filled.execute(f"DELETE FROM {table}".encode())
    return filled


def text_of(number: int) -> str:
    return sql_file(QUERY_OF[number].sql_name).read_text(encoding="utf-8")


def differences(connection: Connection, number: int, statement: str) -> list[str]:
    """Where a query's text gives other columns or rows than the literals say, in any of the windows."""
    found = []
    for name, window in WINDOWS.items():
        settings = {"since": window.since, "until": window.until, "minimum_sessions": str(window.minimum_sessions)}
        for setting, value in settings.items():
            connection.execute("SELECT set_config(%s, %s, true)", (f"cowrie.{setting}", value))
        cursor = connection.execute(statement.encode())
        columns = tuple(column.name for column in cursor.description or ())
        rows = cursor.fetchall()
        expected = EXPECTED[number, name]
        if columns != COLUMNS[number]:
            found.append(f"{name}: columns {columns}")
        if rows != expected:
            found += [f"{name}: not expected {row}" for row in rows if row not in expected]
            found += [f"{name}: missing {row}" for row in expected if row not in rows]
            found.append(f"{name}: {len(rows)} rows, {len(expected)} expected, or their order")
    return found


# --- the right numbers, three ways ------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [11, 12])
def test_every_column_of_a_query_is_as_counted_by_hand(filled: Connection, number: int) -> None:
    assert differences(filled, number, text_of(number)) == []


@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.parametrize("number", [11, 12])
def test_the_asset_stores_the_same_rows(filled: Connection, number: int, name: str) -> None:
    query = QUERY_OF[number]
    # What was there before is replaced as a whole.
    run_query(filled, query, Window(minimum_sessions=1))
    result = run_query(filled, query, WINDOWS[name])
    expected = [dict(zip(COLUMNS[number], row, strict=True)) for row in EXPECTED[number, name]]
    assert result.rows == expected
    assert read_result(filled, query) == result
    assert run_query(filled, query, WINDOWS[name]) == result


def psql(url: str, settings: dict[str, str], number: int) -> list[list[str]]:
    """The file as an operator runs it, in the psql that the wheel brings."""
    command = [str(EmbeddedServer(Path("/")).binary("psql")), "--csv", "-X", "-q", "-v", "ON_ERROR_STOP=1", url]
    for name, value in settings.items():
        command += ["-c", f"SET cowrie.{name} = '{value}'"]
    done = subprocess.run(
        [*command, "-f", str(sql_file(QUERY_OF[number].sql_name))],
        env={**os.environ, "PGOPTIONS": "-c TimeZone=UTC"},
        capture_output=True,
        text=True,
        check=True,
    )
    return list(csv.reader(done.stdout.splitlines()))


def typed(text: str, like: Value) -> Value:
    if text == "":
        return None
    match like:
        case datetime():
            return datetime.fromisoformat(text)
        case Decimal():
            return Decimal(text)
        case int():
            return int(text)
    return text


@pytest.mark.parametrize("number", [11, 12])
def test_psql_runs_the_file_as_it_is(filled_url: str, number: int) -> None:
    for name, window in WINDOWS.items():
        settings = {"minimum_sessions": str(window.minimum_sessions)}
        settings |= {"since": window.since} if window.since else {}
        settings |= {"until": window.until} if window.until else {}
        header, *rows = psql(filled_url, settings, number)
        expected = EXPECTED[number, name]
        assert tuple(header) == COLUMNS[number]
        assert [
            tuple(typed(text, like) for text, like in zip(row, wanted, strict=True))
            for row, wanted in zip(rows, expected, strict=True)
        ] == expected


def test_psql_without_settings_keeps_each_querys_own_minimum(filled_url: str) -> None:
    # 100 sessions a country and 50 an AS are wanted; the fixture has 16 and 13 at most.
    assert [tuple(row) for row in psql(filled_url, {}, 11)] == [COLUMNS[11]]
    assert [tuple(row) for row in psql(filled_url, {}, 12)] == [COLUMNS[12]]
    # An empty setting is one that is not set.
    assert len(psql(filled_url, {"since": "", "until": "", "minimum_sessions": ""}, 11)) == 1


def test_psql_sets_the_limit_as_the_files_say(filled_url: str) -> None:
    assert "cowrie.row_limit" in text_of(11).partition("WITH")[0]
    rows = psql(filled_url, {"minimum_sessions": "1", "row_limit": "1"}, 11)
    assert [row[0] for row in rows] == ["country", "DE"]


@pytest.mark.parametrize(
    ("number", "settings", "expected"),
    [
        # 16, 8 and 5 sessions: the minimum itself is enough.
        (11, {"minimum_sessions": "16"}, ["DE"]),
        (11, {"minimum_sessions": "17"}, []),
        (11, {"minimum_sessions": "8"}, ["DE", "US"]),
        # AT, NL and SG have one session each: the limit cuts among equals by the alphabet.
        (11, {"minimum_sessions": "1", "row_limit": "5"}, ["DE", "US", "BR", "AT", "NL"]),
        (11, {"minimum_sessions": "0", "row_limit": "1"}, ["DE"]),
        (12, {"minimum_sessions": "1"}, ["64500", "24940", "14061", "64501", "64502"]),
        (12, {"minimum_sessions": "5", "row_limit": "2"}, ["64500", "24940"]),
        # A window is by moments, not by days, and its end is left out: h0 began at 08:00, h1 at 08:01, h2 at 08:02.
        (11, {"minimum_sessions": "1", "until": "2025-09-10 08:02"}, ["DE"]),
        (11, {"minimum_sessions": "3", "until": "2025-09-10 08:02"}, []),
        (11, {"minimum_sessions": "3", "until": "2025-09-10 08:02:00.000001"}, ["DE"]),
        (11, {"minimum_sessions": "1", "since": "2025-09-12 23:59:59.999999"}, ["DE"]),
        (11, {"minimum_sessions": "1", "since": "2025-09-13"}, []),
    ],
)
def test_settings_move_the_window_the_minimum_and_the_limit(
    filled: Connection, number: int, settings: dict[str, str], expected: list[str]
) -> None:
    for name, value in settings.items():
        filled.execute("SELECT set_config(%s, %s, true)", (f"cowrie.{name}", value))
    assert [str(row[0]) for row in filled.execute(text_of(number).encode())] == expected


def test_a_window_that_cannot_be_read_leaves_the_stored_result_as_it_was(filled: Connection) -> None:
    before = run_query(filled, GEOGRAPHIC, WINDOWS["all days"])
    with pytest.raises(psycopg.errors.InvalidDatetimeFormat):
        run_query(filled, GEOGRAPHIC, Window(since="last tuesday"))
    assert read_result(filled, GEOGRAPHIC) == before


# --- the literals are sharp: each mutant is noticed -------------------------------------------------------------------

VIEW = "session_summaries.sql"
SUPERSEDED_TOO = (r" AND p\.is_current", "")


@dataclass(frozen=True)
class Mutant:
    """A change of a file (a query's by number), and the queries whose numbers it must change."""

    file: str | int
    right: str
    wrong: str
    noticed_by: tuple[int, ...]

    def text(self) -> str:
        name = self.file if isinstance(self.file, str) else QUERY_OF[self.file].sql_name
        # Spelt by regular expression, so that a formatter's spaces and capitals do not matter.
        mutated, found = re.subn(self.right, self.wrong, sql_file(name).read_text(encoding="utf-8"), flags=re.I)
        assert found == 1, "the mutation no longer fits the file"
        return mutated


def mutant_of_view(right: str, wrong: str, *noticed_by: int) -> Mutant:
    return Mutant(VIEW, right, wrong, noticed_by or (11, 12))


def mutant_of(number: int, right: str, wrong: str) -> Mutant:
    return Mutant(number, right, wrong, (number,))


MUTANTS = {
    # Wrong joins.
    "snapshots joined without the day": mutant_of_view(r"s\.day = p\.day AND ", ""),
    "snapshots joined without the sensor": mutant_of_view(r"s\.sensor = p\.sensor AND ", ""),
    "snapshots joined without the session": mutant_of_view(r"s\.session_id = p\.session_id AND ", ""),
    "superseded snapshots counted": mutant_of_view(*SUPERSEDED_TOO),
    "snapshots of the day after": mutant_of_view(r"s\.day = p\.day", "s.day + 1 = p.day"),
    # Dropped NULLs.
    "sessions without a country counted": mutant_of(11, r"snapshot_country IS NOT NULL\s+AND", ""),
    "sessions without an AS counted": mutant_of(12, r"snapshot_asn IS NOT NULL\s+AND", ""),
    "no country as the primary one": mutant_of(12, r"WHERE country IS NOT NULL", ""),
    "no AS counted as one": mutant_of(
        11, r"count\(DISTINCT asn\) AS unique_asns", "count(DISTINCT coalesce(asn, 0)) AS unique_asns"
    ),
    # Days and moments off by one.
    "midnight belongs to the day before": mutant_of_view(
        r"\bs\.day,", "(s.first_event_at - interval '1 microsecond')::date AS day,"
    ),
    "a session belongs to the day of its end": mutant_of_view(r"\bs\.day,", "s.last_event_at::date AS day,", 11),
    **{
        f"{name} ({number})": mutant_of(number, right, wrong)
        for name, right, wrong in (
            ("the window's end is in it", "first_event_at < until", "first_event_at <= until"),
            ("the window ends a day later", "first_event_at < until", "first_event_at < until + interval '1 day'"),
            ("the window's begin is not in it", "first_event_at >= since", "first_event_at > since"),
            (
                "the window begins a day earlier",
                "first_event_at >= since",
                "first_event_at >= since - interval '1 day'",
            ),
        )
        for number in (11, 12)
    },
    # Rounded to even, as floating point is.
    "the average rounded as a float": mutant_of(
        11,
        r"round\(sum\(commands\) / sum\(session_count\), 2\)",
        "round((sum(commands) / sum(session_count))::float * 100)::numeric / 100",
    ),
    # The name of the AS decides by a part of a word.
    "Lawson taken for AWS": mutant_of(12, r"'\\m\(amazon\|aws\)\\M'", "'(amazon|aws)'"),
    "Movhost taken for OVH": mutant_of(12, r"'\\movh\(cloud\)\?\\M'", "'ovh'"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_query_differs_from_the_literals(filled: Connection, name: str) -> None:
    mutant = MUTANTS[name]
    if mutant.file == VIEW:
        filled.execute(mutant.text().encode())
    for number in mutant.noticed_by:
        assert differences(filled, number, text_of(number) if mutant.file == VIEW else mutant.text()) != []


def test_making_the_view_again_heals_a_wrong_one(filled: Connection) -> None:
    filled.execute(mutant_of_view(*SUPERSEDED_TOO).text().encode())
    assert differences(filled, 11, text_of(11)) != []
    create_view(filled, "session_summaries")
    assert differences(filled, 11, text_of(11)) == []


# --- what kind of network an AS is ------------------------------------------------------------------------------------

KINDS = [
    # By number, whatever the name says now.
    (16509, "AMAZON-02", "AWS"),
    (14618, None, "AWS"),
    (8987, "A100 Row", "AWS"),
    (8075, "MICROSOFT-CORP-MSN-AS-BLOCK", "Azure"),
    (396982, "GOOGLE-CLOUD-PLATFORM", "GCP"),
    (14061, "DIGITALOCEAN-ASN", "DigitalOcean"),
    (63949, "Akamai Connected Cloud", "Linode"),
    (16276, None, "OVH"),
    (213230, "Renamed Telecom", "Hetzner"),
    (45102, "Something Hosting", "Alibaba Cloud"),
    (20473, "The Constant Company, LLC", "Vultr"),
    # By whole words of the name.
    (64601, "Amazon Technologies Inc.", "AWS"),
    (64602, "AWS EMEA SARL", "AWS"),
    (64603, "Microsoft Deutschland", "Azure"),
    (64604, "Azure Stack Ltd", "Azure"),
    (64605, "Google LLC", "GCP"),
    (64606, "Digital Ocean Inc", "DigitalOcean"),
    (64607, "digitalocean, llc", "DigitalOcean"),
    (64608, "Linode, LLC", "Linode"),
    (64609, "OVH SAS", "OVH"),
    (64610, "OVHcloud US", "OVH"),
    (64611, "Hetzner Cloud", "Hetzner"),
    (64612, "Aliyun Computing", "Alibaba Cloud"),
    (64613, "Choopa, LLC", "Vultr"),
    (64614, "Deutsche Telekom AG", "ISP/Telecom"),
    (64615, "CHINANET-BACKBONE", "ISP/Telecom"),
    (64616, "China Unicom Beijing", "ISP/Telecom"),
    (64617, "T-Mobile US", "ISP/Telecom"),
    (64618, "PT Telekomunikasi Indonesia", "ISP/Telecom"),
    (64619, "Contoso Hosting", "Hosting/Datacenter"),
    (64620, "Example Data Center Ltd", "Hosting/Datacenter"),
    (64621, "Example Data Centre Ltd", "Hosting/Datacenter"),
    (64622, "Fast VPS Ltd", "Hosting/Datacenter"),
    (64623, "Scaleway S.a.s.", "Hosting/Datacenter"),
    # A part of a word is no word.
    (64640, "Lawson Inc.", "Other"),
    (64641, "Movhost Ltd", "Other"),
    (64642, "Amazonas Energia", "Other"),
    (64643, "Googol Networks", "Other"),
    (64644, "Azurewave", "Other"),
    (64645, "Crisp Networks", "Other"),
    (64646, "Automobile Club", "Other"),
    (64647, "Colorado Mountain College", "Other"),
    (64648, "Cloudy Skies Inc.", "Other"),
    (64649, "Linodesk", "Other"),
    (64650, "", "Other"),
    (64651, None, "Other"),
    # Both of the last two kinds: the first one named wins.
    (64652, "Telecom Hosting", "ISP/Telecom"),
]


def test_the_kind_of_network_comes_from_the_number_or_from_whole_words(bare: Connection) -> None:
    add(bare, [attack(f"2025-09-10 08:{n:02}", f"s{n}", "DE", asn) for n, (asn, _, _) in enumerate(KINDS)])
    for asn, name, _ in KINDS:
        add_system(bare, asn, name)
    result = run_query(bare, SYSTEMS, Window(minimum_sessions=1))
    assert {(row["asn"], row["as_name"], row["infrastructure_type"]) for row in result.rows} == set(KINDS)


# --- the name of an AS ------------------------------------------------------------------------------------------------


def test_an_as_that_was_renamed_is_one_row_under_its_last_observed_name(bare: Connection) -> None:
    add(bare, [attack("2025-03-01 08:00", "a", "DE", 64510), attack("2025-10-01 08:00", "b", "DE", 64510)])
    observe(bare, "2025-02-01", 64510, "Old Name")
    observe(bare, "2025-09-01", 64510, "New Name")
    assert write_asn_inventory(bare) == 1
    rows = run_query(bare, SYSTEMS, Window(minimum_sessions=1)).rows
    assert [(row["asn"], row["as_name"], row["session_count"]) for row in rows] == [(64510, "New Name", 2)]


def test_an_as_that_lost_its_addresses_keeps_the_name_last_observed(bare: Connection) -> None:
    add(bare, [attack("2025-03-01 08:00", "a", "DE", 64510)])
    observe(bare, "2025-02-01", 64510, "Old Hosting")
    observe(bare, "2025-09-01", 64511, "New Owner")
    write_asn_inventory(bare)
    rows = run_query(bare, SYSTEMS, Window(minimum_sessions=1)).rows
    assert [(row["asn"], row["as_name"], row["infrastructure_type"]) for row in rows] == [
        (64510, "Old Hosting", "Hosting/Datacenter")
    ]


# --- what a result rests on -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "name", "expected"),
    [
        # 42 sessions; not eligible: 2 private, 1 without a source. 42 - 3 = 39; the one not in the inventory yet
        # counts as public until it is known to be none. 32 with a country, 32 with an AS: 32/39 = 0.820513.
        (11, "all days", (42, 39, 32, D("0.8205"), "passed")),
        (12, "all days", (42, 39, 32, D("0.8205"), "passed")),
        # 17 and the unknown one: 17/18 = 0.94444.
        (11, "first day", (18, 18, 17, D("0.9444"), "passed")),
        # Ten, all with a country, five without an AS.
        (11, "second day", (10, 10, 10, D("1.0000"), "passed")),
        (12, "second day", (10, 10, 5, D("0.5000"), "below the gate")),
    ],
)
def test_a_result_says_how_many_sessions_it_rests_on(
    filled: Connection, number: int, name: str, expected: tuple[Value, ...]
) -> None:
    query = QUERY_OF[number]
    result = run_query(filled, query, WINDOWS[name])
    assert (result.sessions, result.eligible, result.covered, result.gate) == (*expected[:3], expected[4])
    stored = filled.execute(
        "SELECT sessions, eligible, covered, coverage, gate, minimum_sessions, row_limit "
        "FROM query_results WHERE query = %s",
        (query.name,),
    )
    assert stored.fetchall() == [(*expected, WINDOWS[name].minimum_sessions, {11: 200, 12: 500}[number])]


@pytest.mark.parametrize(
    ("known", "unknown", "gate"),
    [
        (4, 1, "passed"),  # 4/5 = 80 %, the gate itself
        (28, 7, "passed"),  # 28/35 = 80 %, where 0.8 as a float is a little more than 4/5
        (3, 1, "below the gate"),
        (27, 8, "below the gate"),  # 27/35 = 77.1 %
        (0, 1, "below the gate"),
        (0, 0, "nothing eligible"),
    ],
)
def test_the_gate_is_four_fifths_of_the_eligible_sessions(
    bare: Connection, known: int, unknown: int, gate: str
) -> None:
    add_address(bare, PUBLIC, is_public=True)
    add_address(bare, PRIVATE, is_public=False)
    add(bare, attacks(known, "2025-09-10 08:00", "k", "DE", 64510))
    add(bare, attacks(unknown, "2025-09-10 08:00", "u", None, None))
    # Neither eligible nor covered, whatever is said of them.
    add(
        bare, [attack("2025-09-10 08:00", "p", "DE", 64510, PRIVATE), attack("2025-09-10 08:00", "n", None, None, None)]
    )
    for query in (GEOGRAPHIC, SYSTEMS):
        result = run_query(bare, query, Window(minimum_sessions=1))
        assert (result.sessions, result.eligible, result.covered) == (known + unknown + 2, known + unknown, known)
        assert result.gate == gate
        assert result.coverage == (known / (known + unknown) if known + unknown else 0.0)


def test_a_query_over_nothing_says_so(bare: Connection) -> None:
    for query in QUERIES:
        result = run_query(bare, query, Window())
        assert (result.rows, result.sessions, result.gate) == ([], 0, "nothing eligible")
        assert markdown_table(result, 15) == (
            f"no row (n = 0 sessions, 0 with a public source; coverage 0.0%, gate nothing eligible; "
            f"rows with fewer than {query.minimum_sessions} sessions are left out)"
        )


def test_a_query_that_never_ran_says_so(filled: Connection) -> None:
    result = read_result(filled, GEOGRAPHIC)
    assert (result.rows, result.gate) == ([], "never run")


# --- how a result is shown --------------------------------------------------------------------------------------------


def test_a_csv_file_holds_every_row_and_no_formula(filled: Connection, tmp_path: Path) -> None:
    names = {64500: '=HYPERLINK("https://evil.example")', 24940: "@SUM(1)", 14061: "-1+1", 64501: "+1"}
    for asn, name in names.items():
        filled.execute("UPDATE asn_inventory SET organization_name = %s WHERE asn_number = %s", (name, asn))
    path = write_csv(tmp_path / "reports", run_query(filled, SYSTEMS, WINDOWS["all days"]))
    assert path == tmp_path / "reports" / "asn_infrastructure.csv"
    assert path.read_text(encoding="utf-8").splitlines() == [
        "asn,as_name,primary_country,session_count,days_active,first_seen,last_seen,avg_commands,total_downloads,"
        "total_ssh_injections,vt_flagged_sessions,dshield_flagged_sessions,infrastructure_type,asn_percentage",
        '64500,"\'=HYPERLINK(""https://evil.example"")",BR,13,2,2025-09-10 09:00:00+00:00,2025-09-12 04:05:00+00:00,'
        "0.08,2,1,,,Other,40.63",
        "24940,'@SUM(1),DE,11,2,2025-09-10 08:00:00+00:00,2025-09-13 00:04:59.999999+00:00,2.09,2,1,,,Hetzner,34.38",
        "14061,'-1+1,US,5,1,2025-09-11 00:00:00+00:00,2025-09-11 10:04:00+00:00,0.40,0,0,,,DigitalOcean,15.63",
        "64501,'+1,AT,2,1,2025-09-12 01:00:00+00:00,2025-09-12 02:01:00+00:00,0.00,0,0,,,Other,6.25",
    ]
    # Written again with fewer rows, nothing of the old file is left.
    write_csv(tmp_path / "reports", run_query(filled, SYSTEMS, WINDOWS["second day"]))
    assert len(path.read_text(encoding="utf-8").splitlines()) == 2
    assert [file.name for file in path.parent.iterdir()] == ["asn_infrastructure.csv"]


def test_a_markdown_table_shows_hostile_names_as_text(filled: Connection) -> None:
    filled.execute("UPDATE asn_inventory SET organization_name = '<img src=x>|**b**\n[a](b)' WHERE asn_number = 64500")
    table = markdown_table(run_query(filled, SYSTEMS, WINDOWS["all days"]), 2)
    header, rule, first, second, empty, basis = table.split("\n")
    assert header == "| " + " | ".join(COLUMNS[12]) + " |"
    assert rule == "|" + " --- |" * 14
    # The newline is shown as \x0a, whose backslash is escaped in its turn.
    assert first == (
        "| 64500 | &#60;img src=x&#62;&#124;&#42;&#42;b&#42;&#42;&#92;x0a&#91;a&#93;&#40;b&#41; | BR | 13 | 2 | "
        "2025-09-10 09:00 | 2025-09-12 04:05 | 0.08 | 2 | 1 | – | – | Other | 40.63 |"
    )
    assert second.startswith("| 24940 | Hetzner Online GmbH | DE | 11 |")
    assert empty == ""
    assert basis == (
        "n = 42 sessions, 39 with a public source; coverage 82.1%, gate passed; "
        "rows with fewer than 2 sessions are left out"
    )


_SHAPES = ("svg", "g", "path", "text")


@pytest.mark.parametrize("name", ["Hetzner Online GmbH", "<script>&amp;]]>", "\x1b[31m\u202e\ufffe", None])
def test_a_chart_is_a_picture_whatever_the_names_are(filled: Connection, name: str | None) -> None:
    filled.execute("UPDATE asn_inventory SET organization_name = %s WHERE asn_number = 24940", (name,))
    chart = bar_chart(run_query(filled, SYSTEMS, WINDOWS["all days"]))
    kind, _, content = chart.partition(",")
    assert kind == "data:image/svg+xml;base64"
    drawn = ElementTree.fromstring(base64.b64decode(content, validate=True))
    assert {element.tag for element in drawn.iter()} == {f"{{http://www.w3.org/2000/svg}}{n}" for n in _SHAPES}
