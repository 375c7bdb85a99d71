"""A published list is fetched once while it is current, and its last good copy serves (promises P1, P2, P7, P10).

Proved here: which edition is taken and which is not, what entries an edition opens and closes, that a broken list is
asked for once a run, and what being listed makes of an attack before, in, between and after editions, with the days
that a new edition can matter to. Not here: how lists read (`unit/test_lists`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import stamina
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cowrie_assets.assets.observation import write_ip_inventory
from cowrie_assets.assets.reconstruction import days_due
from cowrie_assets.assets.snapshots import write_snapshots
from cowrie_assets.lookup import lists as lists_module
from cowrie_assets.lookup.lists import Refreshed, refresh_list
from cowrie_assets.lookup.services import Service
from cowrie_assets.sandbox import answers
from cowrie_assets.sandbox.server import Sandbox
from cowrie_assets.warehouse.database import open_connection
from cowrie_assets.warehouse.event_chunks import Connection
from cowrie_assets_tests.conftest import Server
from cowrie_assets_tests.integration.test_asking import (
    WRITTEN,
    Reply,
    World,
    closed_port,
    configured,
    fast_database,
    web_service,
)
from cowrie_assets_tests.integration.test_session_snapshots import PRIVATE, attack, current, forget, versions
from cowrie_assets_tests.pipelines import KEYS
from cowrie_assets_tests.rows import all_digests, sessions_changed

LISTS = ("tor_exits", "cloud_ranges")
LISTED = ("list_editions", *LISTS)


@pytest.fixture(scope="module")
def server(embedded_server: Server) -> Server:
    """One server is enough here: what takes long does not rest on its version."""
    return embedded_server


@pytest.fixture(scope="module")
def url(server: Server) -> str:
    return fast_database(server)


@pytest.fixture
def connection(url: str) -> Iterator[Connection]:
    with open_connection(url) as opened:
        forget(opened, *WRITTEN, *LISTED, "session_snapshots", "event_days", "ip_observations")
        yield opened


@pytest.fixture(scope="module")
def running_sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def world(
    connection: Connection, url: str, running_sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> World:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    running_sandbox.reset()
    return World(url, running_sandbox, configured(tmp_path, running_sandbox))


@pytest.fixture(autouse=True)
def no_backoff() -> Iterator[None]:
    with stamina.set_testing(True, attempts=3, cap=True):
        yield


@dataclass
class Publisher:
    """A list's publisher, whose next editions the test writes; `asked` are the headers of each request."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[Mapping[str, str]] = field(default_factory=list)

    def answer(self, path: str, headers: dict[str, str]) -> Reply:
        self.asked.append(headers)
        tag = f'"{sha256(self.body).hexdigest()[:12]}"'
        if self.status == 200 and headers.get("if-none-match") == tag:
            return 304, {"ETag": tag, **self.headers}, b""
        return self.status, {"ETag": tag, **self.headers}, self.body


@pytest.fixture
def publisher() -> Iterator[tuple[Publisher, str]]:
    known = Publisher()
    with web_service(known.answer) as at:
        yield known, at


@dataclass
class Listing:
    """One list of a publisher, as the asset refreshes it."""

    world: World
    service: Service
    folder: Path
    connection: Connection

    def refresh(self, **changes: Any) -> Refreshed:
        return refresh_list(self.world.asking(), replace(self.service, **changes), self.folder)

    def grow_old(self) -> None:
        """Let the copy be no longer current."""
        self.connection.execute("UPDATE list_editions SET valid_until = now() - interval '1 second'")

    def again(self) -> Refreshed:
        self.grow_old()
        return self.refresh()

    def now_listed(self) -> list[str]:
        column = "host(address)" if self.service.name == "tor_exits" else "prefix || ',' || provider"
        query = f"SELECT {column} FROM {self.service.name} WHERE listed_until IS NULL ORDER BY 1"
        return [text for (text,) in self.connection.execute(query.encode())]

    def editions(self) -> list[tuple[Any, ...]]:
        return self.connection.execute(
            "SELECT fetched_at, valid_until, sha256, row_count, etag, last_modified FROM list_editions "
            "WHERE list = %s ORDER BY fetched_at",
            (self.service.name,),
        ).fetchall()


@pytest.fixture
def tor(world: World, connection: Connection, publisher: tuple[Publisher, str], tmp_path: Path) -> Listing:
    service = replace(world.services["tor_exits"], address=publisher[1])
    return Listing(world, service, tmp_path / "lists", connection)


def page(*exits: str) -> bytes:
    return "".join(f"{address}\n" for address in exits).encode()


# --- editions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LISTS)
def test_the_first_edition_is_what_is_published(
    world: World, connection: Connection, tmp_path: Path, name: str
) -> None:
    published = {"tor_exits": answers.tor_exits, "cloud_ranges": answers.cloud_ranges}[name](world.sandbox.seed)
    listing = Listing(world, world.services[name], tmp_path / "lists", connection)
    refreshed = listing.refresh()
    assert refreshed == Refreshed("new edition", len(published.splitlines()))
    assert refreshed.rows > 200
    assert listing.now_listed() == sorted(published.splitlines())
    ((fetched_at, valid_until, digest, rows, etag, modified),) = listing.editions()
    assert (valid_until - fetched_at).total_seconds() == world.services[name].ttl_found
    assert (digest, rows) == (sha256(published.encode()).hexdigest(), refreshed.rows)
    assert etag and modified
    since = connection.execute(f"SELECT DISTINCT listed_from, listed_until FROM {name}".encode()).fetchall()
    assert since == [(fetched_at, None)]
    (copy,) = (tmp_path / "lists").iterdir()
    assert copy.read_text() == published
    ledger = connection.execute("SELECT service, key, outcome, http_status FROM lookup_ledger").fetchall()
    assert ledger == [(name, "list", "found", 200)]
    (arrival,) = world.arrivals("feeds")
    assert "operator@example.org" in arrival.user_agent

    # A current copy is not fetched again, by nobody.
    before = all_digests(connection)
    assert listing.refresh() == Refreshed("still current", refreshed.rows)
    assert len(world.arrivals("feeds")) == 1
    assert all_digests(connection) == before

    # An old one is asked for, with the words by which the publisher knows it.
    assert listing.again() == Refreshed("unchanged", refreshed.rows)
    assert [arrival.status for arrival in world.arrivals("feeds")] == [200, 304]
    first, second = listing.editions()
    assert second[2:] == first[2:]
    assert second[0] > first[0]
    assert connection.execute(f"SELECT count(*)::int, count(listed_until)::int FROM {name}".encode()).fetchone() == (
        refreshed.rows,
        0,
    )
    assert listing.refresh().state == "still current"


def test_an_edition_opens_and_closes_entries_and_history_stays(tor: Listing, publisher: tuple[Publisher, str]) -> None:
    known, _ = publisher
    steps = [("1.1.1.1", "2.2.2.2", "3.3.3.3"), ("2.2.2.2", "3.3.3.3", "4.4.4.4"), ("1.1.1.1", "2.2.2.2", "4.4.4.4")]
    for exits in steps:
        known.body = page(*exits)
        assert tor.again() == Refreshed("new edition", 3)
        assert tor.now_listed() == list(exits)
    first, second, third = (row[0] for row in tor.editions())
    rows = tor.connection.execute(
        "SELECT host(address), listed_from, listed_until FROM tor_exits ORDER BY 1, 2"
    ).fetchall()
    assert rows == [
        ("1.1.1.1", first, second),
        ("1.1.1.1", third, None),
        ("2.2.2.2", first, None),
        ("3.3.3.3", first, third),
        ("4.4.4.4", second, None),
    ]
    assert (tor.folder / "tor-exits.txt").exists() or next(tor.folder.iterdir()).read_bytes() == known.body


def test_a_cloud_that_hands_a_range_on_closes_one_entry_and_opens_another(
    tor: Listing, publisher: tuple[Publisher, str]
) -> None:
    known, _ = publisher
    clouds = replace(tor, service=replace(tor.world.services["cloud_ranges"], address=publisher[1]))
    known.body = b"5.0.0.0/16,aws\n5.0.0.0/24,azure\n2a00::/32,aws\n"
    assert clouds.refresh() == Refreshed("new edition", 3)
    known.body = b"5.0.0.0/16,vultr\n5.0.0.0/24,azure\n2a00::/32,aws\n"
    assert clouds.again() == Refreshed("new edition", 3)
    assert clouds.now_listed() == ["2a00::/32,aws", "5.0.0.0/16,vultr", "5.0.0.0/24,azure"]
    rows = clouds.connection.execute("SELECT prefix::text, provider FROM cloud_ranges WHERE listed_until IS NOT NULL")
    assert rows.fetchall() == [("5.0.0.0/16", "aws")]


def test_the_publisher_is_asked_by_etag_else_by_date(tor: Listing, publisher: tuple[Publisher, str]) -> None:
    known, _ = publisher
    known.body = page("1.1.1.1")
    known.headers = {"Last-Modified": "Mon, 08 Sep 2025 00:00:00 GMT"}
    tor.refresh()
    tor.again()
    tor.grow_old()
    tor.connection.execute("UPDATE list_editions SET etag = NULL")
    tor.refresh()
    tor.grow_old()
    tor.connection.execute("UPDATE list_editions SET etag = NULL, last_modified = NULL")
    tor.refresh()
    conditions = [(h.get("if-none-match") is not None, h.get("if-modified-since")) for h in known.asked]
    date_known = known.headers["Last-Modified"]
    assert conditions == [(False, None), (True, None), (False, date_known), (False, None)]


BROKEN: dict[str, tuple[int, bytes]] = {
    "HTML": (200, b"<!DOCTYPE html><html><body>We'll be right back</body></html>"),
    "HTML after white space": (200, b"\xef\xbb\xbf\n  <html>1.1.1.1</html>"),
    "empty": (200, b""),
    "only comments": (200, b"# ExitNodes\n#\n"),
    "another list": (200, b"ExitNode 0011BD\nPublished 2025-09-01\nLastStatus 2025-09-01\n"),
    "less than half": (200, page("1.1.1.1", "2.2.2.2", "3.3.3.3", "4.4.4.4")),
    "mostly garbage": (200, page("1.1.1.1") + b"x\n" * 50),
    "a redirection": (302, b""),
    "not found": (404, b"not found"),
    "forbidden": (403, b"no"),
    "not allowed": (401, b"no"),
    "an error": (500, b"oops"),
    "no answer to a range": (206, page(*(f"1.1.1.{n}" for n in range(10)))),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_edition_is_not_taken_and_the_last_good_copy_serves(
    tor: Listing, publisher: tuple[Publisher, str], how: str
) -> None:
    """Lists have a minimum row count; a failing list was downloaded again for each of 1,000 addresses."""
    known, _ = publisher
    good = page(*(f"1.1.1.{number}" for number in range(10)))
    status, body = BROKEN[how]

    # Before there ever was a good one: nothing is taken, unless it is a list and just a short one.
    known.status, known.body = status, body
    if how != "less than half":
        refreshed = tor.refresh()
        assert (refreshed.state, refreshed.rows) == ("never fetched", 0)
        assert refreshed.reason
        assert tor.connection.execute("SELECT outcome FROM open_questions").fetchall() == [("unavailable",)]
        assert (tor.editions(), tor.now_listed(), tor.folder.exists()) == ([], [], False)

    known.status, known.body = 200, good
    # Who is refused leaves the service alone for an hour.
    tor.connection.execute("UPDATE service_limits SET blocked_until = NULL")
    assert tor.refresh().state == "new edition"
    assert tor.connection.execute("SELECT * FROM open_questions").fetchall() == []
    editions, listed = tor.editions(), tor.now_listed()
    copies = {path.name: path.read_bytes() for path in tor.folder.iterdir()}

    known.status, known.body = status, body
    before = len(known.asked)
    refreshed = tor.again()
    assert (refreshed.state, refreshed.rows) == ("last good copy kept", 10)
    assert refreshed.reason
    tries = 3 if status in (302, 404, 500, 206) else 1
    assert len(known.asked) - before == tries
    assert [row[2:] for row in tor.editions()] == [row[2:] for row in editions]
    assert tor.now_listed() == listed
    assert {path.name: path.read_bytes() for path in tor.folder.iterdir()} == copies
    told = tor.connection.execute("SELECT service, key, outcome, reason FROM open_questions").fetchall()
    assert told == [("tor_exits", "list", "unavailable", refreshed.reason)]
    ledger = tor.connection.execute(
        "SELECT outcome, reason FROM lookup_ledger ORDER BY call_id DESC LIMIT 1"
    ).fetchone()
    assert ledger == ("unavailable", refreshed.reason)

    # The next run takes the good one again, and the question is settled.
    known.status, known.body = 200, good + page("1.1.1.99")
    tor.connection.execute("UPDATE service_limits SET blocked_until = NULL")
    assert tor.refresh() == Refreshed("new edition", 11)
    assert tor.connection.execute("SELECT * FROM open_questions").fetchall() == []


def test_a_list_may_shrink_to_half_and_to_nothing_less(tor: Listing, publisher: tuple[Publisher, str]) -> None:
    known, _ = publisher
    known.body = page(*(f"1.1.1.{number}" for number in range(20)))
    tor.refresh()
    known.body = page(*(f"1.1.1.{number}" for number in range(10)))
    assert tor.again() == Refreshed("new edition", 10)
    known.body = page(*(f"1.1.1.{number}" for number in range(4)))
    refused = tor.again()
    assert (refused.state, refused.rows) == ("last good copy kept", 10)
    assert "4 rows" in refused.reason
    # Against the last good edition, not against the one that was refused.
    assert tor.again().state == "last good copy kept"


def test_two_rows_of_five_are_less_than_half(tor: Listing, publisher: tuple[Publisher, str]) -> None:
    known, _ = publisher
    known.body = page(*(f"1.1.1.{number}" for number in range(5)))
    tor.refresh()
    known.body = page("1.1.1.1", "1.1.1.2")
    assert tor.again().state == "last good copy kept"


def test_a_published_list_has_rows_by_the_hundred(tor: Listing) -> None:
    """Where no other place is set, the real ones: half a page of addresses is not the Tor network."""
    for name, (least, most) in {"tor_exits": (100, 1000), "cloud_ranges": (5000, 100_000)}.items():
        kind = lists_module._KINDS[name]
        source = kind.source(None)
        assert least <= source.minimum_rows <= most
        assert source.url.startswith("https://")


def test_a_429_is_not_asked_again_and_blocks(tor: Listing, publisher: tuple[Publisher, str]) -> None:
    known, _ = publisher
    known.status, known.headers = 429, {"Retry-After": "600"}
    assert tor.refresh().state == "never fetched"
    assert tor.refresh().reason.startswith("asks us to slow down (429); nobody asks before")
    assert len(known.asked) == 1


def test_who_does_not_answer_leaves_the_last_good_copy(tor: Listing, publisher: tuple[Publisher, str]) -> None:
    known, _ = publisher
    known.body = page("1.1.1.1")
    tor.refresh()
    tor.grow_old()
    refreshed = tor.refresh(address=f"http://127.0.0.1:{closed_port()}")
    assert refreshed == Refreshed("last good copy kept", 1, "does not answer (connection refused)")


def test_offline_nothing_is_fetched(tor: Listing, publisher: tuple[Publisher, str]) -> None:
    known, _ = publisher
    known.body = page("1.1.1.1")
    offline = "offline: COWRIE_OFFLINE is set"
    assert tor.refresh(switched_off=offline) == Refreshed("never fetched", 0, offline)
    assert tor.connection.execute("SELECT outcome, reason FROM open_questions").fetchall() == [
        ("not_configured", offline)
    ]
    tor.refresh()
    assert tor.refresh(switched_off=offline) == Refreshed("still current", 1)
    tor.grow_old()
    assert tor.refresh(switched_off=offline) == Refreshed("last good copy kept", 1, offline)
    assert len(known.asked) == 1


def test_odd_rows_are_stored_as_what_they_mean(tor: Listing, publisher: tuple[Publisher, str]) -> None:
    known, _ = publisher
    known.body = "\ufeff# exits\r\n 1.1.1.1 \r\n::ffff:2.2.2.2\n2001:DB8::1 # v6\n1.1.1.1\n\nüber\n".encode()
    assert tor.refresh() == Refreshed("new edition", 3)
    assert tor.now_listed() == ["1.1.1.1", "2.2.2.2", "2001:db8::1"]
    clouds = replace(tor, service=replace(tor.world.services["cloud_ranges"], address=publisher[1]))
    known.body = (
        b'5.0.0.9/24, AWS \n5.0.0.0/24,aws\n2A00::/32,a\\tb\n6.0.0.0/24,"new\nline"\n7.0.0.0/24,x\\\n8.8.8.8,one\n'
    )
    assert clouds.refresh().state == "new edition"
    query = "SELECT prefix::text, provider FROM cloud_ranges"
    rows: dict[str, str] = dict(clouds.connection.execute(query).fetchall())
    assert rows == {
        "5.0.0.0/24": "aws",
        "2a00::/32": "a\\tb",
        "6.0.0.0/24": "new\nline",
        "7.0.0.0/24": "x\\",
        "8.8.8.8/32": "one",
    }


# --- killed, and two at once ---------------------------------------------------------------------------------------


def test_a_lost_connection_leaves_the_last_edition_whole(
    tor: Listing, publisher: tuple[Publisher, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known, _ = publisher
    known.body = page("1.1.1.1", "2.2.2.2")
    tor.refresh()
    before = (tor.editions(), tor.now_listed())
    known.body = page("2.2.2.2", "3.3.3.3")
    write = lists_module._write_entries

    def cut(connection: Connection, name: str, rows: list[str], moment: datetime) -> None:
        write(connection, name, rows, moment)
        tor.connection.execute("SELECT pg_terminate_backend(%s)", (connection.info.backend_pid,))

    with monkeypatch.context() as patch:
        patch.setattr(lists_module, "_write_entries", cut)
        with pytest.raises(Exception, match=r"terminat|closed|lost"):
            tor.again()
    assert tor.now_listed() == before[1]
    assert [row[2:] for row in tor.editions()] == [row[2:] for row in before[0]]
    assert tor.refresh() == Refreshed("new edition", 2)
    assert tor.now_listed() == ["2.2.2.2", "3.3.3.3"]


def test_two_runs_at_once_open_each_entry_once(tor: Listing, publisher: tuple[Publisher, str]) -> None:
    known, _ = publisher
    known.body = page(*(f"1.1.{number >> 8}.{number & 255}" for number in range(2000)))
    threads = [threading.Thread(target=tor.refresh) for _ in range(2)]
    with tor.connection.transaction():
        tor.connection.execute("LOCK TABLE tor_exits IN SHARE MODE")  # until both have fetched it, and want to write
        for thread in threads:
            thread.start()
        waiting = "SELECT count(*)::int FROM pg_locks WHERE NOT granted"
        while tor.connection.execute(waiting).fetchone() != (2,):
            threading.Event().wait(0.01)
    for thread in threads:
        thread.join()
    assert len(tor.now_listed()) == 2000


def test_who_waited_for_another_run_does_not_claim_to_have_brought_his_edition(
    tor: Listing, publisher: tuple[Publisher, str]
) -> None:
    """Else the publisher says "not modified" of a list that is not here, until there is a newer one."""
    known, _ = publisher
    threads = [threading.Thread(target=tor.refresh) for _ in range(2)]
    waiting = (
        "SELECT count(*)::int FROM pg_locks WHERE NOT granted AND locktype IN ('relation', 'advisory') "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    with tor.connection.transaction():
        tor.connection.execute("LOCK TABLE tor_exits IN SHARE MODE")
        for number, thread in enumerate(threads, 1):
            known.body = page("1.1.1.1", f"2.2.2.{number}")  # it changes between the two requests
            thread.start()
            while tor.connection.execute(waiting).fetchone() != (number,):
                threading.Event().wait(0.01)
    for thread in threads:
        thread.join()
    tor.again()
    assert tor.now_listed() == ["1.1.1.1", "2.2.2.2"]


# --- what being listed makes of an attack --------------------------------------------------------------------------

DAY = date(2025, 9, 10)
MIDNIGHT = datetime(2025, 9, 10, tzinfo=UTC)
TOR, CLOUD, BOTH, NEITHER = "8.8.4.4", "9.9.9.9", "8.8.8.8", "1.1.1.1"


def at(hours: float) -> datetime:
    """Hours from the beginning of the day."""
    return MIDNIGHT + timedelta(hours=hours)


def edition(connection: Connection, name: str, hours: float, valid_for: float, rows: int = 1) -> None:
    connection.execute(
        "INSERT INTO list_editions (list, fetched_at, valid_until, sha256, row_count) VALUES (%s, %s, %s, 'x', %s)",
        (name, at(hours), at(hours + valid_for), rows),
    )


def listed(connection: Connection, what: str, begin: float, end: float | None = None, provider: str = "aws") -> None:
    until = None if end is None else at(end)
    if "/" in what:
        connection.execute("INSERT INTO cloud_ranges VALUES (%s, %s, %s, %s)", (what, provider, at(begin), until))
    else:
        connection.execute("INSERT INTO tor_exits VALUES (%s, %s, %s)", (what, at(begin), until))


Typed = tuple[str | None, str | None, float | None]


def typed(connection: Connection, session_id: str) -> Typed:
    """Type, basis, and the hour of the edition that it rests on."""
    row = current(connection, session_id)
    observed_at = row["ip_type_observed_at"]
    assert (row["snapshot_ip_type"] is None) == (row["ip_type_reason"] is not None) == (row["ip_type_basis"] is None)
    hours = None if observed_at is None else (observed_at - MIDNIGHT).total_seconds() / 3600
    return row["snapshot_ip_type"], row["ip_type_basis"], hours


# Two editions, at 6:00 (good for three hours) and at 15:00 (good for three hours), by what each of them lists;
# attacks by the hour -> basis, and the edition taken.
EDITIONS: dict[str, tuple[tuple[bool, bool], dict[float, tuple[str | None, float | None]]]] = {
    "in both": (
        (True, True),
        {
            1: ("observed_after", 6),
            6: ("in_force", 6),
            7: ("in_force", 6),
            8.999: ("in_force", 6),
            9: ("in_force", 6),  # no longer current, but the next edition has it still
            12: ("in_force", 6),
            15: ("in_force", 15),
            17: ("in_force", 15),
            18: ("observed_before", 15),
            23: ("observed_before", 15),
        },
    ),
    "in the first": (
        (True, False),
        {
            1: ("observed_after", 6),
            7: ("in_force", 6),
            9: ("observed_before", 6),
            14.999: ("observed_before", 6),
            15: (None, None),
            23: (None, None),
        },
    ),
    "in the second": (
        (False, True),
        {1: (None, None), 7: (None, None), 12: (None, None), 15: ("in_force", 15), 18: ("observed_before", 15)},
    ),
    "in neither": ((False, False), dict.fromkeys((1, 7, 12, 17, 23), (None, None))),
}


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("case", EDITIONS)
def test_an_attack_is_typed_by_the_edition_that_held(connection: Connection, name: str, case: str) -> None:
    (in_first, in_second), attacks = EDITIONS[case]
    source, entry, ip_type = (TOR, TOR, "tor") if name == "tor_exits" else (CLOUD, "9.9.9.0/24", "cloud")
    for hour in (6, 15):
        edition(connection, name, hour, 3)
    if in_first:
        listed(connection, entry, 6, None if in_second else 15)
    elif in_second:
        listed(connection, entry, 15)
    for hours in attacks:
        attack(connection, str(hours), source, begin=at(hours))
    write_snapshots(connection, DAY)
    for hours, (basis, taken) in attacks.items():
        expected: Typed = (ip_type if basis else None, basis, taken)
        assert typed(connection, str(hours)) == expected, hours
        row = current(connection, str(hours))
        assert row["snapshot_basis"] == basis
        assert row["ip_type_reason"] == (None if basis else "in none of the lists")
        assert row["enrichment_at"] == (None if taken is None else at(taken))


def test_editions_of_other_days_hold_as_well(connection: Connection) -> None:
    edition(connection, "tor_exits", -200, 6)
    edition(connection, "tor_exits", -30, 6)  # the day before yesterday
    edition(connection, "tor_exits", 40, 6)  # tomorrow
    listed(connection, TOR, -200)  # in all
    listed(connection, BOTH, -30, 40)  # not tomorrow
    listed(connection, CLOUD, -200, -30)  # not any more
    listed(connection, NEITHER, 40)  # not yet
    for source in (TOR, BOTH, CLOUD, NEITHER):
        attack(connection, source, source, begin=at(12))
    write_snapshots(connection, DAY)
    assert typed(connection, TOR) == ("tor", "in_force", -30)
    assert typed(connection, BOTH) == ("tor", "observed_before", -30)
    assert typed(connection, CLOUD) == (None, None, None)
    assert typed(connection, NEITHER) == (None, None, None)


def test_lists_have_editions_of_their_own_and_tor_goes_before_cloud(connection: Connection) -> None:
    edition(connection, "tor_exits", 6, 3)
    edition(connection, "cloud_ranges", 12, 24)
    listed(connection, TOR, 6)
    listed(connection, BOTH, 6)
    listed(connection, "8.8.8.0/24", 12)
    listed(connection, "9.9.9.9/32", 12, provider="hetzner")
    listed(connection, "9.0.0.0/8", 12)
    for source in (TOR, CLOUD, BOTH, NEITHER):
        attack(connection, source, source, begin=at(7))
    attack(connection, "late", BOTH, begin=at(20))
    write_snapshots(connection, DAY)
    assert typed(connection, TOR) == ("tor", "in_force", 6)
    assert typed(connection, CLOUD) == ("cloud", "observed_after", 12)
    assert typed(connection, BOTH) == ("tor", "in_force", 6)
    assert typed(connection, "late") == ("tor", "observed_before", 6)
    assert typed(connection, NEITHER) == (None, None, None)


def test_ranges_hold_exactly_their_addresses(connection: Connection) -> None:
    edition(connection, "cloud_ranges", 0, 24)
    for prefix in ("5.5.5.128/25", "2a00:1450::/32", "6.6.6.6/32"):
        listed(connection, prefix, 0)
    inside = ["5.5.5.128", "5.5.5.255", "2a00:1450::", "2a00:1450:ffff:ffff:ffff:ffff:ffff:ffff", "6.6.6.6"]
    outside = ["5.5.5.127", "5.5.6.0", "2a00:1451::", "2a00:144f:ffff::", "6.6.6.7", "6.6.6.5"]
    for source in (*inside, *outside):
        attack(connection, source, source, begin=at(1))
    write_snapshots(connection, DAY)
    assert {source for source in (*inside, *outside) if typed(connection, source)[0] == "cloud"} == set(inside)


def test_a_private_address_is_never_typed(connection: Connection) -> None:
    edition(connection, "cloud_ranges", 0, 24)
    edition(connection, "tor_exits", 0, 24)
    listed(connection, "10.0.0.0/8", 0)
    listed(connection, PRIVATE, 0)
    attack(connection, "a", PRIVATE, begin=at(1))
    attack(connection, "b", None, begin=at(1))
    write_snapshots(connection, DAY)
    assert [current(connection, name)["ip_type_reason"] for name in "ab"] == ["private address", "no source address"]


def test_a_later_edition_betters_the_basis_and_the_old_version_stays(connection: Connection) -> None:
    attack(connection, "a", TOR, begin=at(12))
    sessions_changed(connection, [DAY])
    write_snapshots(connection, DAY)
    steps: list[tuple[float, Typed]] = [
        (30, ("tor", "observed_after", 30)),
        (18, ("tor", "observed_after", 18)),
        (6, ("tor", "in_force", 6)),
    ]
    for number, (hours, expected) in enumerate(steps, 2):
        edition(connection, "tor_exits", hours, 1)
        forget(connection, "tor_exits")
        listed(connection, TOR, hours)  # an older edition has it as well
        assert days_due(connection, "session_snapshots") == {DAY}
        write_snapshots(connection, DAY)
        assert typed(connection, "a") == expected
        assert [row["version"] for row in versions(connection)] == list(range(1, number + 1))
    assert days_due(connection, "session_snapshots") == set()
    before = versions(connection)
    write_snapshots(connection, DAY)
    assert versions(connection) == before


def test_the_inventory_has_the_newest_edition(connection: Connection) -> None:
    for name in LISTS:
        edition(connection, name, 0, 1)
    listed(connection, TOR, 0)
    listed(connection, BOTH, 0)
    listed(connection, "8.8.8.0/24", 0, provider="aws")
    listed(connection, "9.9.0.0/16", 0, provider="azure")
    listed(connection, "9.9.9.0/24", 0, provider="hetzner")
    listed(connection, NEITHER, 0, 1)
    for source in (TOR, CLOUD, BOTH, NEITHER, PRIVATE):
        attack(connection, source, source)
    write_ip_inventory(connection)
    rows = connection.execute(
        "SELECT host(ip_address), ip_type, ip_type_reason, enrichment #>> '{ip_classification,provider}' "
        "FROM ip_inventory"
    ).fetchall()
    assert {address: told for address, *told in rows} == {
        TOR: ["tor", None, None],
        BOTH: ["tor", None, None],
        CLOUD: ["cloud", None, "hetzner"],
        NEITHER: [None, "in none of the lists", None],
        PRIVATE: [None, "private address", None],
    }


# --- which days a new edition can matter to ------------------------------------------------------------------------


def due_after(connection: Connection, editions: Sequence[float], new: float) -> set[int]:
    """The days (0: DAY) that are due after an edition came, where five days are built on others."""
    forget(connection, *LISTED, "day_builds", "event_days")
    days = [DAY + timedelta(days=number) for number in range(-2, 3)]
    sessions_changed(connection, days)
    for hours in editions:
        edition(connection, "tor_exits", hours, 6)
    for day in days:
        write_snapshots(connection, day)
    assert days_due(connection, "session_snapshots") == set()
    edition(connection, "tor_exits", new, 6)
    return {(day - DAY).days for day in days_due(connection, "session_snapshots")}


@pytest.mark.parametrize(
    ("editions", "new", "due"),
    [
        ([], 12, {-2, -1, 0, 1, 2}),  # the first one ever matters to all
        ([-72, -48, -24, 0, 24, 48, 72], 12, {0}),  # only its own day has it: all others have nearer ones
        ([-72 + 3, -48 + 3, -24 + 3, 3, 24 + 3, 48 + 3, 72 + 3], 12, {0, 1}),  # the next day begins under it
        (
            [-60, 60],
            12,
            {-2, -1, 0, 1, 2},
        ),  # the first one after, or the last one before
        ([-60, -20, 60], 12, {-1, 0, 1, 2}),
        ([12, 36, 60], -40, {-2, -1, 0}),
        ([-60, -36, -12], 70, {-1, 0, 1, 2}),
    ],
)
def test_a_new_edition_makes_those_days_due_that_it_can_matter_to(
    connection: Connection, editions: list[float], new: float, due: set[int]
) -> None:
    assert due_after(connection, editions, new) == due


@dataclass(frozen=True)
class Story:
    """Hours of editions and whether each lists the source, and of attacks; the last edition comes after a first run."""

    editions: dict[int, bool]
    attacks: list[int]
    last: int


stories = st.builds(
    Story,
    st.dictionaries(st.integers(-60, 84), st.booleans(), min_size=1, max_size=6),
    st.lists(st.integers(-48, 71), min_size=1, max_size=4),
    st.integers(0, 5),
)


def as_of(editions: Mapping[int, bool], hour: float) -> Typed:
    """The edition that held, in a few lines: the last one before the attack, else the very first one."""
    moments = sorted(editions)
    before = [moment for moment in moments if moment <= hour]
    taken = before[-1] if before else moments[0]
    if not editions[taken]:
        return None, None, None
    following = next((moment for moment in moments if moment > taken), None)
    if hour < taken:
        basis = "observed_after"
    elif hour < taken + 6 or (following is not None and editions[following]):
        basis = "in_force"
    else:
        basis = "observed_before"
    return "tor", basis, taken


@settings(max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(story=stories)
def test_a_type_is_that_of_the_edition_that_held_and_a_day_is_due_if_any_of_its_types_changes(
    connection: Connection, story: Story
) -> None:
    forget(connection, *LISTED, "sessions", "session_snapshots", "day_builds", "event_days", "ip_inventory")
    days = [DAY + timedelta(days=number) for number in range(-2, 3)]
    sessions_changed(connection, days)
    for hour in set(story.attacks):
        attack(connection, str(hour), TOR, begin=at(hour + 0.5))
    moments = sorted(story.editions)
    last = moments[story.last % len(moments)]

    def write_lists(known: Mapping[int, bool]) -> None:
        forget(connection, *LISTED)
        begun: int | None = None
        for moment in sorted(known):
            edition(connection, "tor_exits", moment, 6)
            if known[moment] and begun is None:
                begun = moment
            elif not known[moment] and begun is not None:
                listed(connection, TOR, begun, moment)
                begun = None
        if begun is not None:
            listed(connection, TOR, begun)

    def types() -> dict[int, Typed]:
        return {hour: typed(connection, str(hour)) for hour in set(story.attacks)}

    earlier = {moment: known for moment, known in story.editions.items() if moment != last}
    write_lists(earlier)
    for day in days:
        write_snapshots(connection, day)
    if earlier:
        assert types() == {hour: as_of(earlier, hour + 0.5) for hour in set(story.attacks)}
    write_lists(story.editions)
    due = days_due(connection, "session_snapshots")
    truth = {hour: as_of(story.editions, hour + 0.5) for hour in set(story.attacks)}
    changed = {at(hour + 0.5).date() for hour, known in truth.items() if known != types()[hour]}
    assert changed <= due
