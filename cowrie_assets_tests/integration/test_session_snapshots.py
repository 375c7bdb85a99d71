"""A snapshot says what was true of a source when it attacked, and on what that rests (promise P7).

Proved here: which observation each part takes, the basis of a part and of the whole, the reason of every NULL, when a
snapshot gives way to a new version and that the old one stays, which days are due, and by random histories that the
current snapshot is the as-of answer of a few lines of plain Python. Not here: how observations come about.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.rows import dict_row

from cowrie_assets.assets.observation import write_ip_inventory
from cowrie_assets.assets.reconstruction import days_due
from cowrie_assets.assets.snapshots import write_snapshots
from cowrie_assets.warehouse.database import open_connection
from cowrie_assets.warehouse.event_chunks import Connection
from cowrie_assets_tests.conftest import Server
from cowrie_assets_tests.rows import all_digests, sessions_changed

DAY = date(2025, 9, 10)
NOON = datetime(2025, 9, 10, 12, tzinfo=UTC)
SOURCE, OTHER_SOURCE = "8.8.4.4", "9.9.9.9"
PRIVATE = "10.0.0.5"
TABLES = ("sessions", "session_snapshots", "ip_observations", "ip_inventory", "event_days", "day_builds")

Known = int | str
Observations = Sequence[
    tuple[float, Any]
]  # days from noon; AS, country, or None where the file was asked and knew nothing


@pytest.fixture(scope="module")
def database_url(server: Server) -> str:
    """One database for all tests of this file."""
    return server.new_database()


@pytest.fixture(autouse=True)
def emptied(connection: Connection) -> None:
    connection.execute("SET synchronous_commit = off")  # thousands of small writes, and none has to last
    forget(connection, *TABLES)


# Tables of values hold AS numbers; where they are meant for countries, these.
COUNTRY_OF = {1: "DE", 2: "BR", None: None}


def days(number: float) -> timedelta:
    return timedelta(days=number)


def observe(
    connection: Connection, *, asns: Observations = (), countries: Observations = (), source: str = SOURCE
) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO ip_observations (address, source, observed_at, asn, country) VALUES (%s, %s, %s, %s, %s)",
            [(source, "geoip_asn", NOON + days(offset), asn, None) for offset, asn in asns]
            + [(source, "geoip_city", NOON + days(offset), None, country) for offset, country in countries],
        )


def observe_part(connection: Connection, part: str, observations: Observations, source: str = SOURCE) -> None:
    """Observations of one part, by the numbers of `COUNTRY_OF`."""
    if part == "asn":
        observe(connection, asns=observations, source=source)
    else:
        observe(connection, countries=[(at, COUNTRY_OF[value]) for at, value in observations], source=source)


def attack(
    connection: Connection,
    session_id: str = "a",
    source: str | None = SOURCE,
    *,
    begin: datetime = NOON,
    sensor: str = "alpha",
) -> None:
    """A session of one source, which the inventory knows unless the test takes it out again."""
    connection.execute(
        """
        INSERT INTO sessions (
            day, sensor, session_id, first_event_at, last_event_at, source_ip, event_count, login_attempts,
            login_successes, command_count, commands_failed, file_downloads, file_uploads, ssh_key_injections,
            forwarding_requests, unknown_events, closed
        ) VALUES (%s, %s, %s, %s, %s, %s, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, false)
        """,
        (begin.date(), sensor, session_id, begin, begin + timedelta(minutes=1), source),
    )
    if source is not None:
        connection.execute(
            """
            INSERT INTO ip_inventory (ip_address, is_public, first_seen, last_seen, session_count, enrichment_version)
            VALUES (%s, %s, now(), now(), 1, '1') ON CONFLICT DO NOTHING
            """,
            (source, source != PRIVATE),
        )


def forget(connection: Connection, *tables: str) -> None:
    for table in tables:
        connection.execute(f"DELETE FROM {table}".encode())


def all_versions(connection: Connection) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute("SELECT * FROM session_snapshots ORDER BY day, sensor, session_id, version").fetchall()


def versions(connection: Connection, session_id: str = "a") -> list[dict[str, Any]]:
    """Every version of a session's snapshot in the order of writing."""
    return [row for row in all_versions(connection) if row["session_id"] == session_id]


def current(connection: Connection, session_id: str = "a") -> dict[str, Any]:
    (row,) = [row for row in versions(connection, session_id) if row["is_current"]]
    return row


def as_written(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows without the one column that changes after the writing."""
    return [{name: value for name, value in row.items() if name != "is_current"} for row in rows]


# --- which observation a part takes --------------------------------------------------------------------------------

# Observations in days from the attack -> value, basis, and the day of the observation taken.
PARTS: dict[str, tuple[Observations, tuple[Known | None, str | None, float | None]]] = {
    "before": ([(-2, 1)], (1, "observed_before", -2)),
    "after": ([(2, 1)], (1, "observed_after", 2)),
    "between equal ones": ([(-2, 1), (2, 1)], (1, "in_force", -2)),
    "between different ones": ([(-2, 1), (2, 2)], (1, "observed_before", -2)),
    "between different ones, the later nearer": ([(-9, 1), (1, 2)], (1, "observed_before", -9)),
    "equal ones on both sides, another in between": ([(-9, 1), (-2, 2), (2, 1)], (2, "observed_before", -2)),
    "equal ones on both sides, another behind": ([(-2, 1), (2, 1), (9, 2)], (1, "in_force", -2)),
    "the nearest of several before": ([(-9, 1), (-2, 2)], (2, "observed_before", -2)),
    "equal ones, both before": ([(-9, 1), (-2, 1)], (1, "observed_before", -2)),
    "the nearest of several after": ([(2, 1), (9, 2)], (1, "observed_after", 2)),
    "equal ones, both after": ([(2, 1), (9, 1)], (1, "observed_after", 2)),
    "the nearest of several equal ones": ([(-9, 1), (-2, 1), (2, 1), (9, 1)], (1, "in_force", -2)),
    "at the same moment": ([(0, 1), (-2, 2)], (1, "observed_before", 0)),
    "a microsecond after": ([(1e-6 / 86400, 1), (-2, 2)], (2, "observed_before", -2)),
    "asked, and nothing known": ([(-2, None), (2, None)], (None, None, None)),
    "known once, and later no more": ([(-9, 1), (-2, None)], (1, "observed_before", -9)),
    "not known yet, and later known": ([(-2, None), (2, 1)], (1, "observed_after", 2)),
    "never asked": ([], (None, None, None)),
}


@pytest.mark.parametrize("part", ["asn", "country"])
def test_each_part_takes_the_best_observation(connection: Connection, part: str) -> None:
    """In force before observed before, that before observed after; of equal ones the nearest."""
    for number, (name, (observations, _)) in enumerate(PARTS.items()):
        source = f"8.8.4.{number}"
        attack(connection, name, source)
        # Inserted backwards: the order of the rows must not matter.
        observe_part(connection, part, observations[::-1], source)
    write_snapshots(connection, DAY)

    for name, (_, (value, basis, at)) in PARTS.items():
        row = current(connection, name)
        found = row[f"snapshot_{part}"], row[f"{part}_basis"], row[f"{part}_observed_at"]
        expected = value if part == "asn" else COUNTRY_OF[value]  # type: ignore[index]  # the table has AS numbers
        assert found == (expected, basis, None if at is None else NOON + days(at)), name
        # The other part was never asked for, so the whole is this part.
        assert (row["snapshot_basis"], row["enrichment_at"]) == (basis, row[f"{part}_observed_at"]), name
        assert row["enrichment_lag"] == (None if at is None else days(abs(at))), name


def test_an_observation_of_one_source_says_nothing_of_another(connection: Connection) -> None:
    attack(connection, "a", SOURCE)
    attack(connection, "b", OTHER_SOURCE)
    observe(connection, asns=[(-1, 1)], countries=[(-1, "DE")], source=OTHER_SOURCE)
    write_snapshots(connection, DAY)
    assert (current(connection, "a")["snapshot_asn"], current(connection, "b")["snapshot_asn"]) == (None, 1)


def test_sessions_of_one_source_take_what_was_known_at_their_own_time(connection: Connection) -> None:
    for hour in range(4):
        attack(connection, f"at {hour}", begin=NOON + timedelta(hours=hour))
    # The AS changed hands at 13:30, was seen there again at 14:30, and the country was known from 12:30 on.
    half_past_twelve, half_past_one, half_past_two = (hour / 24 for hour in (0.5, 1.5, 2.5))
    observe(
        connection,
        asns=[(-1, 1), (half_past_one, 2), (half_past_two, 2)],
        countries=[(half_past_twelve, "DE")],
    )
    assert write_snapshots(connection, DAY) == {"observed_after": 1, "observed_before": 3}
    rows = [current(connection, f"at {hour}") for hour in range(4)]
    assert [(row["snapshot_asn"], row["asn_basis"]) for row in rows] == [
        (1, "observed_before"),  # 12:00, and 13:30 says another one
        (1, "observed_before"),  # 13:00
        (2, "in_force"),  # 14:00, between 13:30 and 14:30
        (2, "observed_before"),  # 15:00
    ]
    assert [row["country_basis"] for row in rows] == ["observed_after"] + ["observed_before"] * 3


# --- the whole -----------------------------------------------------------------------------------------------------

# Observations of the AS, of the country -> basis of each, of the whole; and the part farthest from the attack in days.
WHOLES: dict[str, tuple[Observations, Observations, tuple[str | None, str | None, str | None, float | None]]] = {
    "both in force": ([(-3, 1), (1, 1)], [(-2, "DE"), (9, "DE")], ("in_force", "in_force", "in_force", -3)),
    "one observed before": ([(-3, 1), (1, 1)], [(-4, "DE")], ("in_force", "observed_before", "observed_before", -4)),
    "one observed after": ([(-3, 1)], [(2, "DE")], ("observed_before", "observed_after", "observed_after", -3)),
    "in force and after": ([(5, 1)], [(-3, "DE"), (1, "DE")], ("observed_after", "in_force", "observed_after", 5)),
    "equally far": ([(2, 1)], [(-2, "DE")], ("observed_after", "observed_before", "observed_after", 2)),
    "only the AS": ([(-3, 1), (1, 1)], [(-2, None)], ("in_force", None, "in_force", -3)),
    "only the country": ([], [(2, "DE")], (None, "observed_after", "observed_after", 2)),
    "neither": ([(-1, None)], [(-1, None)], (None, None, None, None)),
}


def test_the_whole_is_as_good_as_the_weakest_of_its_parts_and_as_far_as_the_farthest(connection: Connection) -> None:
    for number, (name, (asns, countries, _)) in enumerate(WHOLES.items()):
        attack(connection, name, f"8.8.4.{number}")
        observe(connection, asns=asns, countries=countries, source=f"8.8.4.{number}")
    # in_force: "both in force", "only the AS"; observed_before: one; unknown: "neither"; the other four: after.
    assert write_snapshots(connection, DAY) == {"in_force": 2, "observed_after": 4, "observed_before": 1, "unknown": 1}

    for name, (asns, countries, (asn_basis, country_basis, basis, farthest)) in WHOLES.items():
        row = current(connection, name)
        assert (row["asn_basis"], row["country_basis"], row["snapshot_basis"]) == (asn_basis, country_basis, basis), (
            name
        )
        # Each part says when it was observed: here always its first observation.
        for part, known, observations in (("asn", asn_basis, asns), ("country", country_basis, countries)):
            assert row[f"{part}_observed_at"] == (NOON + days(observations[0][0]) if known else None), name
        assert row["enrichment_at"] == (None if farthest is None else NOON + days(farthest)), name
        assert row["enrichment_lag"] == (None if farthest is None else days(abs(farthest))), name
        assert (row["attacked_at"], row["day"], row["version"]) == (NOON, DAY, 1), name


# --- why something is unknown --------------------------------------------------------------------------------------


def test_every_null_has_its_reason(connection: Connection) -> None:
    attack(connection, "no source", None)
    attack(connection, "private", PRIVATE)
    attack(connection, "never asked", "8.8.4.1")
    attack(connection, "asked in vain", "8.8.4.2")
    observe(connection, asns=[(-1, None)], countries=[(1, None)], source="8.8.4.2")
    attack(connection, "half known", "8.8.4.3")
    observe(connection, asns=[(-1, 1)], countries=[(-1, None)], source="8.8.4.3")
    attack(connection, "half asked", "8.8.4.4")
    observe(connection, countries=[(-1, "DE")], source="8.8.4.4")
    attack(connection, "asked for one in vain", "8.8.4.5")
    observe(connection, asns=[(-1, None)], source="8.8.4.5")
    attack(connection, "known", "8.8.4.6")
    observe(connection, asns=[(-1, 1)], countries=[(-1, "DE")], source="8.8.4.6")
    attack(connection, "new", "8.8.4.7")
    connection.execute("DELETE FROM ip_inventory WHERE ip_address = '8.8.4.7'")
    write_snapshots(connection, DAY)

    rows = all_versions(connection)
    assert {row["session_id"]: (row["asn_reason"], row["country_reason"]) for row in rows} == {
        "no source": ("no source address", "no source address"),
        "private": ("private address", "private address"),
        "never asked": ("no geo database", "no geo database"),
        "asked in vain": ("not in geo database", "not in geo database"),
        "half known": (None, "not in geo database"),
        "half asked": ("no geo database", None),
        "asked for one in vain": ("not in geo database", "no geo database"),
        "known": (None, None),
        "new": ("not in the inventory yet", "not in the inventory yet"),
    }
    for row in rows:
        for part in ("asn", "country"):
            unknown = row[f"snapshot_{part}"] is None
            assert unknown == (row[f"{part}_reason"] is not None), "a reason where it is unknown, and only there"
            assert unknown == (row[f"{part}_basis"] is None) == (row[f"{part}_observed_at"] is None)
        without_address = {
            "no source": "no source address",
            "private": "private address",
            "new": "not in the inventory yet",
        }
        reason = without_address.get(row["session_id"], "no range lists yet")
        assert (row["snapshot_ip_type"], row["ip_type_reason"]) == (None, reason)


def test_the_inventory_gives_the_same_reasons(connection: Connection) -> None:
    for name, source in (("known", SOURCE), ("in vain", OTHER_SOURCE), ("never asked", "1.1.1.1"), ("home", PRIVATE)):
        attack(connection, name, source)
    observe(connection, asns=[(-1, 1)], countries=[(-1, "DE")])
    observe(connection, asns=[(-1, None)], countries=[(-1, None)], source=OTHER_SOURCE)
    forget(connection, "ip_inventory")
    write_ip_inventory(connection)
    write_snapshots(connection, DAY)
    pairs = connection.execute(
        """
        SELECT p.session_id, i.asn_reason, p.asn_reason, i.country_reason, p.country_reason
        FROM session_snapshots AS p JOIN ip_inventory AS i ON p.source_ip = i.ip_address ORDER BY 1
        """
    ).fetchall()
    assert pairs == [
        ("home", *["private address"] * 4),
        ("in vain", *["not in geo database"] * 4),
        ("known", None, None, None, None),
        ("never asked", *["no geo database"] * 4),
    ]


# --- versions ------------------------------------------------------------------------------------------------------


def test_running_twice_adds_nothing(connection: Connection) -> None:
    for number, (name, (asns, countries, _)) in enumerate(WHOLES.items()):
        attack(connection, name, f"8.8.4.{number}")
        observe(connection, asns=asns, countries=countries, source=f"8.8.4.{number}")
    attack(connection, "no source", None)
    attack(connection, "private", PRIVATE)
    first = write_snapshots(connection, DAY)
    before = all_digests(connection)
    assert write_snapshots(connection, DAY) == first
    assert all_digests(connection) == before


def test_a_better_observation_adds_a_version_and_leaves_the_old_ones_as_they_were(connection: Connection) -> None:
    attack(connection)
    write_snapshots(connection, DAY)
    steps: list[tuple[Observations, Observations, tuple[Any, ...]]] = [
        # asns, countries -> AS, country, basis, lag in days. Each step betters the one before it.
        ([(9, 1)], [], (1, None, "observed_after", 9)),
        ([(8, 2)], [], (2, None, "observed_after", 8)),  # nearer
        ([], [(20, "DE")], (2, "DE", "observed_after", 20)),  # one more part is known
        ([(-9, 3)], [(-30, "BR")], (3, "BR", "observed_before", 30)),  # better, though farther
        ([], [(-8, "DE")], (3, "DE", "observed_before", 9)),  # nearer: the AS is the farthest now
        ([(1, 3)], [], (3, "DE", "in_force", 9)),  # 8 days before and 20 after, DE both times: in force as well
        ([(-2, 3)], [], (3, "DE", "in_force", 8)),  # nearer: the country is the farthest now
    ]
    for number, (asns, countries, (asn, country, basis, lag)) in enumerate(steps, 2):
        before = versions(connection)
        observe(connection, asns=asns, countries=countries)
        write_snapshots(connection, DAY)
        after = versions(connection)
        assert as_written(after[:-1]) == as_written(before)
        assert [row["is_current"] for row in after] == [False] * (number - 1) + [True]
        assert [row["version"] for row in after] == list(range(1, number + 1))
        new = after[-1]
        assert (new["snapshot_asn"], new["snapshot_country"], new["snapshot_basis"]) == (asn, country, basis)
        assert new["enrichment_lag"] == days(lag)


@pytest.mark.parametrize(
    ("asns", "countries"),
    [
        ([(-9, 2)], [(-9, "BR")]),  # farther back
        ([(9, 2)], [(9, "BR")]),  # farther ahead
        ([(1, 2)], []),  # nearer, but after the attack
        ([(-1, None)], [(1, None)]),  # nearer, but nothing was known
    ],
)
def test_a_worse_observation_adds_nothing(connection: Connection, asns: Observations, countries: Observations) -> None:
    attack(connection)
    observe(connection, asns=[(-2, 1)], countries=[(-2, "DE")])
    write_snapshots(connection, DAY)
    before = versions(connection)
    observe(connection, asns=asns, countries=countries)
    write_snapshots(connection, DAY)
    assert versions(connection) == before


@pytest.mark.parametrize("lost", ["source = 'geoip_asn'", "source = 'geoip_city'", "true"])
def test_what_is_known_outlives_the_observations_it_came_from(connection: Connection, lost: str) -> None:
    """The answer that can be given now is worse than the one that was given then."""
    attack(connection)
    observe(connection, asns=[(-2, 1), (2, 1)], countries=[(-2, "DE"), (2, "DE")])
    write_snapshots(connection, DAY)
    before = versions(connection)
    forget(connection, f"ip_observations WHERE {lost}")
    write_snapshots(connection, DAY)
    assert versions(connection) == before
    assert current(connection)["snapshot_basis"] == "in_force"


def test_a_nearer_observation_of_one_part_counts_although_the_other_part_is_farther(connection: Connection) -> None:
    attack(connection)
    # An ASN file that is never renewed, and a city file that is.
    observe(connection, asns=[(-30, 1)], countries=[(-9, "DE")])
    write_snapshots(connection, DAY)
    observe(connection, countries=[(-1, "BR")])
    write_snapshots(connection, DAY)
    assert (current(connection)["snapshot_country"], current(connection)["country_observed_at"]) == (
        "BR",
        NOON - days(1),
    )


def test_in_force_ends_when_an_observation_in_between_says_something_else(connection: Connection) -> None:
    attack(connection)
    observe(connection, asns=[(-9, 1), (2, 1)])
    write_snapshots(connection, DAY)
    assert current(connection)["snapshot_basis"] == "in_force"
    # An edition of the day before is looked up late: the address was in another AS by then.
    observe(connection, asns=[(-1, 2)])
    write_snapshots(connection, DAY)
    assert (current(connection)["snapshot_asn"], current(connection)["snapshot_basis"]) == (2, "observed_before")


@pytest.mark.parametrize("part", ["asn", "country"])
def test_an_outdated_reason_gives_way(connection: Connection, part: str) -> None:
    attack(connection)
    forget(connection, "ip_inventory")
    reasons = []

    def write() -> None:
        write_snapshots(connection, DAY)
        row = current(connection)
        other = "country" if part == "asn" else "asn"
        reasons.append((row["version"], row[f"{part}_reason"], row[f"{other}_reason"]))

    write()
    connection.execute(
        "INSERT INTO ip_inventory (ip_address, is_public, first_seen, last_seen, session_count, enrichment_version) "
        "VALUES (%s, true, now(), now(), 1, '1')",
        (SOURCE,),
    )
    write()
    observe_part(connection, part, [(-1, None)])
    write()
    write()
    observe_part(connection, part, [(-2, 1)])
    write()
    assert reasons == [
        (1, "not in the inventory yet", "not in the inventory yet"),
        (2, "no geo database", "no geo database"),
        (3, "not in geo database", "no geo database"),
        (3, "not in geo database", "no geo database"),
        (4, None, "no geo database"),
    ]


# --- sessions that change ------------------------------------------------------------------------------------------


def test_a_session_whose_start_moved_gets_a_new_version_even_if_less_is_known_then(connection: Connection) -> None:
    attack(connection)
    observe(connection, asns=[(-0.1, 1), (1, 1)])
    write_snapshots(connection, DAY)
    before = versions(connection)
    # Late lines: it began three hours earlier, when the AS had not been observed yet.
    connection.execute("UPDATE sessions SET first_event_at = %s", (NOON - timedelta(hours=3),))
    write_snapshots(connection, DAY)
    old, new = versions(connection)
    assert as_written([old]) == as_written(before)
    assert not old["is_current"]
    assert (new["attacked_at"], new["snapshot_basis"], new["version"], new["is_current"]) == (
        NOON - timedelta(hours=3),
        "observed_after",
        2,
        True,
    )


@pytest.mark.parametrize("source", [OTHER_SOURCE, PRIVATE, None])
def test_a_session_whose_source_changed_gets_a_new_version(connection: Connection, source: str | None) -> None:
    attack(connection)
    attack(connection, "inventory only", source)
    observe(connection, asns=[(-1, 1)], countries=[(-1, "DE")])
    write_snapshots(connection, DAY)
    connection.execute("UPDATE sessions SET source_ip = %s WHERE session_id = 'a'", (source,))
    write_snapshots(connection, DAY)
    old, new = versions(connection)
    assert (old["is_current"], old["snapshot_asn"], new["snapshot_asn"]) == (False, 1, None)
    assert (str(new["source_ip"]) if new["source_ip"] else None, new["is_current"]) == (source, True)


def test_a_session_that_moved_to_the_day_before_is_current_only_there(connection: Connection) -> None:
    attack(connection)
    observe(connection, asns=[(-9, 1)])
    write_snapshots(connection, DAY)
    forget(connection, "sessions")
    attack(connection, begin=NOON - days(1))
    write_snapshots(connection, DAY - days(1))
    assert write_snapshots(connection, DAY) == {}
    assert [(row["day"], row["version"], row["is_current"]) for row in versions(connection)] == [
        (DAY - days(1), 1, True),
        (DAY, 1, False),
    ]


def test_a_session_that_vanished_has_no_current_snapshot_until_it_is_back(connection: Connection) -> None:
    attack(connection)
    attack(connection, "stays", OTHER_SOURCE)
    observe(connection, asns=[(-1, 1)])
    write_snapshots(connection, DAY)
    before = versions(connection)
    forget(connection, "sessions WHERE session_id = 'a'")
    assert write_snapshots(connection, DAY) == {"unknown": 1}
    assert as_written(versions(connection)) == as_written(before)
    assert not versions(connection)[0]["is_current"]
    attack(connection)
    assert write_snapshots(connection, DAY) == {"observed_before": 1, "unknown": 1}
    assert [(row["version"], row["is_current"], row["snapshot_asn"]) for row in versions(connection)] == [
        (1, False, 1),
        (2, True, 1),
    ]


def test_a_day_is_written_without_touching_its_neighbours(connection: Connection) -> None:
    midnight = NOON - timedelta(hours=12)
    for begin in (midnight - timedelta(microseconds=1), midnight, midnight + days(1)):
        attack(connection, "a", begin=begin)  # the same id on three days
    write_snapshots(connection, DAY)
    assert [(row["day"], row["attacked_at"]) for row in versions(connection)] == [(DAY, midnight)]
    for day in (DAY - days(1), DAY + days(1)):
        write_snapshots(connection, day)
    before = versions(connection)
    assert [row["day"] for row in before] == [DAY - days(1), DAY, DAY + days(1)]
    observe(connection, asns=[(0, 1)])
    write_snapshots(connection, DAY)
    assert [row for row in versions(connection) if row["day"] != DAY] == [row for row in before if row["day"] != DAY]
    assert current_days(connection) == {DAY - days(1): None, DAY: 1, DAY + days(1): None}


def test_the_same_id_on_another_sensor_is_another_session(connection: Connection) -> None:
    attack(connection, sensor="alpha")
    attack(connection, source=OTHER_SOURCE, sensor="beta")

    def found() -> list[tuple[Any, ...]]:
        query = "SELECT sensor, version, is_current, snapshot_asn FROM session_snapshots ORDER BY sensor, version"
        return connection.execute(query).fetchall()

    write_snapshots(connection, DAY)
    observe(connection, asns=[(-1, 1)], source=OTHER_SOURCE)
    write_snapshots(connection, DAY)
    assert found() == [("alpha", 1, True, None), ("beta", 1, False, None), ("beta", 2, True, 1)]
    forget(connection, "sessions WHERE sensor = 'beta'")
    assert write_snapshots(connection, DAY) == {"unknown": 1}
    assert found() == [("alpha", 1, True, None), ("beta", 1, False, None), ("beta", 2, False, 1)]


def current_days(connection: Connection) -> dict[date, int | None]:
    return {row["day"]: row["snapshot_asn"] for row in versions(connection) if row["is_current"]}


def test_two_runs_at_once_write_one_version(database_url: str) -> None:
    with open_connection(database_url) as first, open_connection(database_url) as second:
        attack(first)
        observe(first, asns=[(-1, 1)])
        other = threading.Thread(target=write_snapshots, args=(second, DAY))
        with first.transaction():
            write_snapshots(first, DAY)
            other.start()
            # The other one must be waiting for the day's lock before this one commits.
            waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            deadline = time.monotonic() + 30
            while not (first.execute(waiting).fetchone() or (0,))[0]:
                assert time.monotonic() < deadline
                time.sleep(0.01)
        other.join(30)
        assert not other.is_alive()
        assert [(row["version"], row["is_current"]) for row in versions(first)] == [(1, True)]


# --- which days are due --------------------------------------------------------------------------------------------


def test_a_day_is_due_until_it_rests_on_its_sessions_and_on_every_edition(connection: Connection) -> None:
    attack(connection)
    assert days_due(connection, "session_snapshots") == set()  # no event, no day

    def is_due() -> bool:
        return days_due(connection, "session_snapshots") == {DAY}

    sessions_changed(connection, [DAY])
    assert is_due()
    write_snapshots(connection, DAY)
    assert not is_due()
    observe(connection, asns=[(-1, 1)])  # a first edition
    assert is_due()
    write_snapshots(connection, DAY)
    assert not is_due()
    observe(connection, countries=[(-1, "DE")])  # an edition of another file, of the same date
    assert is_due()
    write_snapshots(connection, DAY)
    observe(connection, asns=[(1, 1)])  # a newer edition
    assert is_due()
    write_snapshots(connection, DAY)
    assert not is_due()
    sessions_changed(connection, [DAY])  # late lines
    assert is_due()


def test_a_day_written_before_its_inventory_is_due_again(connection: Connection) -> None:
    # The edition is known from another address; this day's address is new, and only its snapshots were materialized.
    observe(connection, asns=[(-1, 1)], source=OTHER_SOURCE)
    attack(connection)
    forget(connection, "ip_inventory")
    sessions_changed(connection, [DAY])
    write_snapshots(connection, DAY)
    assert current(connection)["asn_reason"] == "not in the inventory yet"
    # Now the inventory runs: the same edition is asked about the new address.
    observe(connection, asns=[(-1, 1)])
    write_ip_inventory(connection)
    assert days_due(connection, "session_snapshots") == {DAY}


# --- random histories ----------------------------------------------------------------------------------------------

SOURCES = (SOURCE, OTHER_SOURCE)


@dataclass(frozen=True)
class Observation:
    """What a geo file said of a source, at a full hour of the day. `value` None: asked, and nothing known."""

    source: str
    part: str
    hour: int
    value: Known | None


@dataclass(frozen=True)
class History:
    """Attacks at half past an hour, and observations in the order in which they came; after some, a run."""

    attacks: list[tuple[str, int]]
    observations: list[tuple[Observation, bool]]


Answer = tuple[Known | None, str | None, datetime | None]
RANKS = ("observed_after", "observed_before", "in_force")


def as_of(observations: Iterable[Observation], source: str, part: str, attacked_at: datetime) -> Answer:
    """The best of all candidates by promise P7: the better basis, then the smaller lag."""
    known = {
        DAY_BEGIN + timedelta(hours=o.hour): o.value
        for o in observations
        if (o.source, o.part) == (source, part) and o.value is not None
    }
    moments = sorted(known)

    def basis(position: int) -> str:
        moment = moments[position]
        if moment > attacked_at:
            return "observed_after"
        following = moments[position + 1] if position + 1 < len(moments) else None
        confirmed = following is not None and following > attacked_at and known[following] == known[moment]
        return "in_force" if confirmed else "observed_before"

    if not moments:
        return None, None, None
    best = max(range(len(moments)), key=lambda n: (RANKS.index(basis(n)), -abs(moments[n] - attacked_at)))
    return known[moments[best]], basis(best), moments[best]


DAY_BEGIN = NOON - timedelta(hours=12)
VALUES: dict[str, tuple[Known | None, ...]] = {"asn": (None, 1, 2), "country": (None, "DE", "BR")}


@st.composite
def histories(draw: st.DrawFn, parts: tuple[str, ...], *, in_order_of_time: bool) -> History:
    keys = draw(
        st.lists(
            st.tuples(st.sampled_from(SOURCES), st.sampled_from(parts), st.integers(0, 23)),
            unique=True, min_size=1, max_size=10,
        )
    )  # fmt: skip
    if in_order_of_time:
        keys.sort(key=lambda key: key[2])
    observations = [
        (Observation(source, part, hour, draw(st.sampled_from(VALUES[part]))), draw(st.booleans()))
        for source, part, hour in keys
    ]
    return History(
        draw(st.lists(st.tuples(st.sampled_from(SOURCES), st.integers(0, 23)), min_size=1, max_size=4)), observations
    )


def replay(connection: Connection, history: History, *, with_runs_between: bool) -> None:
    """Let a history happen in an empty database, and look that no run changes what an earlier one wrote."""
    forget(connection, *TABLES)
    for number, (source, hour) in enumerate(history.attacks):
        attack(connection, str(number), source, begin=DAY_BEGIN + timedelta(hours=hour, minutes=30))
    written: list[dict[str, Any]] = []
    for observation, then_run in history.observations:
        said = [((observation.hour - 12) / 24, observation.value)]
        asns, countries = (said, []) if observation.part == "asn" else ([], said)
        observe(connection, asns=asns, countries=countries, source=observation.source)
        if then_run and with_runs_between:
            write_snapshots(connection, DAY)
            rows = as_written(all_versions(connection))
            assert [row for row in rows if row in written] == written
            written = rows
    write_snapshots(connection, DAY)
    before = all_versions(connection)
    write_snapshots(connection, DAY)
    assert all_versions(connection) == before


def assert_as_of(connection: Connection, history: History) -> None:
    rows = {row["session_id"]: row for row in all_versions(connection) if row["is_current"]}
    observations = [observation for observation, _ in history.observations]
    for number, (source, hour) in enumerate(history.attacks):
        attacked_at = DAY_BEGIN + timedelta(hours=hour, minutes=30)
        row = rows[str(number)]
        answers = {part: as_of(observations, source, part, attacked_at) for part in VALUES}
        found = {part: (row[f"snapshot_{part}"], row[f"{part}_basis"], row[f"{part}_observed_at"]) for part in VALUES}
        assert found == answers
        bases = [basis for _, basis, _ in answers.values() if basis is not None]
        assert row["snapshot_basis"] == min(bases, key=RANKS.index, default=None)


# Each example empties the tables itself, so that one database serves them all.
random_histories = settings(
    max_examples=80, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@random_histories
@given(history=histories(("asn", "country"), in_order_of_time=False))
def test_a_snapshot_is_the_best_as_of_answer(connection: Connection, history: History) -> None:
    replay(connection, history, with_runs_between=False)
    assert_as_of(connection, history)


@random_histories
@given(history=histories(("asn",), in_order_of_time=True))
def test_a_snapshot_grows_into_the_best_as_of_answer_as_editions_come_out(
    connection: Connection, history: History
) -> None:
    replay(connection, history, with_runs_between=True)
    assert_as_of(connection, history)


@settings(random_histories)
@given(history=histories(("asn", "country"), in_order_of_time=False))
def test_a_snapshot_is_the_best_as_of_answer_whatever_the_order_of_looking_up(
    connection: Connection, history: History
) -> None:
    replay(connection, history, with_runs_between=True)
    assert_as_of(connection, history)
