"""A day's enrichment rows: which answer each address takes, and why it has none (promises P1, P8, P10).

Proved here: the nearest answer that was good for the day, against a few lines of plain Python as well; that it stays
when newer ones arrive; outcomes of open questions; a value in every typed column; which days are due. Not here: asking
(`test_asking`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import stamina
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.rows import dict_row

from cowrie_assets.assets.answers_of_day import address_needs, enrichment_days_due, write_enrichment
from cowrie_assets.lookup import answers as kept_answers
from cowrie_assets.lookup.asking import Asking, ask
from cowrie_assets.lookup.cache import Cache
from cowrie_assets.lookup.gate import OWN, EgressGate
from cowrie_assets.lookup.limiter import Call
from cowrie_assets.lookup.services import SERVICES
from cowrie_assets.sandbox.server import Sandbox
from cowrie_assets.upstreams.contract import Response
from cowrie_assets.upstreams.urlhaus import URLhaus
from cowrie_assets.warehouse.database import open_connection
from cowrie_assets.warehouse.event_chunks import Connection
from cowrie_assets_tests.conftest import Server
from cowrie_assets_tests.integration.test_asking import (
    WRITTEN,
    addresses,
    addresses_of_both_families,
    configured,
    fast_database,
    insert_answer,
    plain,
    true_answer,
)
from cowrie_assets_tests.integration.test_session_snapshots import attack, forget
from cowrie_assets_tests.pipelines import KEYS
from cowrie_assets_tests.rows import all_digests, sessions_changed

pytestmark = pytest.mark.one_server

DAY = date(2025, 9, 10)
MIDNIGHT = datetime(2025, 9, 10, tzinfo=UTC)
DAILY = ("dshield", "urlhaus", "spur")
(SOURCE,) = addresses(1)
FOREVER = 10_000.0


@pytest.fixture(scope="module")
def url(server: Server) -> str:
    return fast_database(server)


@pytest.fixture
def connection(url: str) -> Iterator[Connection]:
    with open_connection(url) as opened:
        forget(opened, *WRITTEN, "urlhaus_enrichment", "spur_enrichment", "event_days")
        yield opened


def at(hours: float) -> datetime:
    """Hours from the beginning of the day."""
    return MIDNIGHT + timedelta(hours=hours)


def answer(
    connection: Connection,
    hours: float,
    until: float = FOREVER,
    outcome: str = "found",
    *,
    service: str = "dshield",
    key: str = SOURCE,
    **fields: Any,
) -> None:
    insert_answer(connection, service, key, at(hours), at(until), outcome, fields)


def rows(connection: Connection, service: str = "dshield", day: date = DAY) -> dict[str, dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        query = f"SELECT *, host(address) AS source FROM {service}_enrichment WHERE day = %s"
        found = cursor.execute(query.encode(), (day,)).fetchall()
    return {row.pop("source"): row for row in found}


def answered_at(connection: Connection) -> float | None:
    """The hour of the answer that the source took."""
    row = rows(connection)[SOURCE]
    return None if row["answered_at"] is None else (row["answered_at"] - MIDNIGHT).total_seconds() / 3600


# --- which rows there are ------------------------------------------------------------------------------------------


def test_one_row_a_day_and_address_however_many_sessions(connection: Connection) -> None:
    """One UPDATE a session: 38,864 addresses have 1.68 M of them."""
    for number in range(5):
        attack(connection, str(number), "5.5.5.5", begin=at(number))
    attack(connection, "six", "2a00:1450::5", begin=at(23.99))
    attack(connection, "none", None, begin=at(1))
    attack(connection, "before", "6.6.6.6", begin=at(-0.01))
    attack(connection, "after", "7.7.7.7", begin=at(24))
    attack(connection, "elsewhere", "5.5.5.5", begin=at(3), sensor="beta")
    assert write_enrichment(connection, "dshield", DAY) == {"quota": 2}
    assert set(rows(connection)) == {"5.5.5.5", "2a00:1450::5"}
    write_enrichment(connection, "dshield", DAY + timedelta(days=1))
    assert set(rows(connection, day=DAY + timedelta(days=1))) == {"7.7.7.7"}
    assert set(rows(connection)) == {"5.5.5.5", "2a00:1450::5"}, "a day is written without touching its neighbours"


def test_a_day_without_sources_has_no_rows(connection: Connection) -> None:
    attack(connection, "none", None, begin=at(1))
    assert write_enrichment(connection, "dshield", DAY) == {}


def test_a_source_that_is_gone_has_no_row_any_more(connection: Connection) -> None:
    attack(connection, "a", SOURCE, begin=at(1))
    attack(connection, "b", "6.6.6.6", begin=at(1))
    write_enrichment(connection, "dshield", DAY)
    forget(connection, "sessions WHERE session_id = 'a'")
    write_enrichment(connection, "dshield", DAY)
    assert set(rows(connection)) == {"6.6.6.6"}


# --- the nearest answer --------------------------------------------------------------------------------------------

# Answers as (answered at, good until) in hours from the beginning of the day -> the one that the day takes.
NEAREST: dict[str, tuple[list[tuple[float, float]], float | None]] = {
    "none": ([], None),
    "in the day": ([(12, 36)], 12),
    "at its first moment": ([(0, 1)], 0),
    "at its last moment": ([(23.999, 30)], 23.999),
    "before, and good all day": ([(-30, 100)], -30),
    "before, and good when it began": ([(-30, 0.001)], -30),
    "before, and expired when it began": ([(-30, 0)], None),
    "long expired": ([(-300, -200)], None),
    "after": ([(24, 48)], 24),
    "long after": ([(5000, 6000)], 5000),
    "in the day before both sides": ([(-1, 100), (12, 100), (25, 100)], 12),
    "before is nearer": ([(-2, 100), (30, 100)], -2),
    "after is nearer": ([(-10, 100), (26, 100)], 26),
    "nearer, but expired": ([(-2, -1), (-30, 5), (300, 400)], -30),
    "all before expired": ([(-2, -1), (-30, -20), (300, 400)], 300),
    "the last of those before": ([(-50, 100), (-5, 100), (-20, 100)], -5),
    "the first of those after": ([(90, 100), (30, 100), (60, 100)], 30),
    "the last of those in the day": ([(3, 100), (21, 100), (12, 100)], 21),
    "after it had expired again": ([(30, 31)], 30),
}


@pytest.mark.parametrize("name", NEAREST)
def test_a_day_takes_the_nearest_answer_that_was_good_for_it(connection: Connection, name: str) -> None:
    given_answers, expected = NEAREST[name]
    attack(connection, "a", SOURCE, begin=at(12))
    for hours, until in given_answers:
        answer(connection, hours, until)
    write_enrichment(connection, "dshield", DAY)
    assert answered_at(connection) == (None if expected is None else pytest.approx(expected))


@settings(max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    given_answers=st.lists(
        st.tuples(st.integers(-72, 96), st.integers(1, 100)), min_size=1, max_size=6, unique_by=lambda pair: pair[0]
    )
)
def test_no_other_answer_is_nearer(connection: Connection, given_answers: list[tuple[int, int]]) -> None:
    forget(connection, *WRITTEN)
    attack(connection, "a", SOURCE, begin=at(12))
    for hours, life in given_answers:
        answer(connection, hours, hours + life)
    write_enrichment(connection, "dshield", DAY)
    distances = {hours: max(hours - 24, -hours, 0) for hours, life in given_answers if hours + life > 0}
    taken = answered_at(connection)
    if taken is None:
        assert distances == {}
    else:
        assert distances[round(taken)] == min(distances.values())


def test_an_old_day_keeps_its_answer_when_newer_ones_arrive(connection: Connection) -> None:
    """Re-running an old day must not replace what was learnt then by what is true now."""
    attack(connection, "a", SOURCE, begin=at(12))
    answer(connection, 13, 40, attacks=1)
    write_enrichment(connection, "dshield", DAY)
    before = rows(connection)
    for number, hours in enumerate((24.5, 100, 5000)):
        answer(connection, hours, hours + 48, "not_found" if number else "found", attacks=number + 2)
        write_enrichment(connection, "dshield", DAY)
        assert rows(connection) == before
    # A later day has the later one.
    attack(connection, "b", SOURCE, begin=at(24 * 210))
    later = (MIDNIGHT + timedelta(days=210)).date()
    write_enrichment(connection, "dshield", later)
    assert rows(connection, day=later)[SOURCE]["outcome"] == "not_found"


def test_running_twice_changes_nothing(connection: Connection) -> None:
    for number, source in enumerate(addresses(20)):
        attack(connection, str(number), source, begin=at(number))
        if number % 3:
            answer(connection, number, 500, ("found", "not_found")[number % 2], key=source, attacks=number)
        elif number % 2:
            kept_answers.note_open(connection, "dshield", [(source, "unavailable", "timed out")])
    sessions_changed(connection, [DAY])
    first = write_enrichment(connection, "dshield", DAY)
    before = all_digests(connection)
    assert write_enrichment(connection, "dshield", DAY) == first
    assert all_digests(connection) == before
    assert sum(first.values()) == 20


def test_two_runs_at_once_write_each_row_once(connection: Connection, url: str) -> None:
    attack(connection, "a", SOURCE, begin=at(12))
    answer(connection, 13)
    with open_connection(url) as second:
        other = threading.Thread(target=write_enrichment, args=(second, "dshield", DAY))
        with connection.transaction():
            write_enrichment(connection, "dshield", DAY)
            other.start()
            waiting = "SELECT count(*)::int FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            deadline = time.monotonic() + 30
            while connection.execute(waiting).fetchone() == (0,):
                assert time.monotonic() < deadline
                time.sleep(0.01)
        other.join(30)
    assert len(rows(connection)) == 1


# --- outcomes ------------------------------------------------------------------------------------------------------

OPEN = {
    "unavailable": "timed out",
    "quota": "the run's time was used up",
    "not_configured": "no key: set DSHIELD_EMAIL",
    "not_applicable": "private address",
}


def test_an_address_without_an_answer_says_why(connection: Connection) -> None:
    """Failures and missing keys stored empty payloads, so the row counted as done for ever."""
    keys = dict(
        zip(("not asked", "found", "not found", "stale", "of another service", *OPEN), addresses(9), strict=True)
    )
    for name, key in keys.items():
        attack(connection, name, key, begin=at(1))
    kept_answers.note_open(connection, "dshield", [(keys[outcome], outcome, why) for outcome, why in OPEN.items()])
    kept_answers.note_open(connection, "dshield", [(keys["stale"], "unavailable", "timed out")])
    kept_answers.note_open(connection, "spur", [(keys["of another service"], "unavailable", "timed out")])
    answer(connection, 5, service="spur", key=keys["of another service"])
    answer(connection, 5, key=keys["found"], attacks=5)
    answer(connection, 5, key=keys["stale"], attacks=5)
    answer(connection, 5, 20, "not_found", key=keys["not found"])
    counts = write_enrichment(connection, "dshield", DAY)
    assert counts == {
        "found": 2,
        "not_found": 1,
        "unavailable": 1,
        "quota": 3,
        "not_configured": 1,
        "not_applicable": 1,
    }
    told = {name: rows(connection)[key] for name, key in keys.items()}
    assert {name: (row["outcome"], row["reason"]) for name, row in told.items()} == {
        "not asked": ("quota", "not asked yet"),
        "of another service": ("quota", "not asked yet"),
        "found": ("found", None),
        "stale": ("found", None),
        "not found": ("not_found", None),
        **{outcome: (outcome, why) for outcome, why in OPEN.items()},
    }
    for row in told.values():
        assert (row["answered_at"] is not None) == (row["outcome"] in ("found", "not_found"))
    values = [name for name in told["found"] if name not in ("day", "address", "outcome", "reason", "answered_at")]
    for outcome in OPEN:
        assert {told[outcome][name] for name in values} == {None}, "no answer, no value"


def test_an_answer_to_an_open_question_takes_its_place(connection: Connection) -> None:
    attack(connection, "a", SOURCE, begin=at(1))
    kept_answers.note_open(connection, "dshield", [(SOURCE, "quota", "the run's time was used up")])
    write_enrichment(connection, "dshield", DAY)
    assert rows(connection)[SOURCE]["outcome"] == "quota"
    answer(connection, 50, attacks=3)
    write_enrichment(connection, "dshield", DAY)
    row = rows(connection)[SOURCE]
    assert (row["outcome"], row["reason"], row["attacks"]) == ("found", None, 3)


def test_fields_of_an_answer_cannot_change_what_the_row_is(connection: Connection) -> None:
    attack(connection, "a", SOURCE, begin=at(1))
    hostile = {"day": "1999-01-01", "address": "6.6.6.6", "outcome": "not_found", "reason": "x", "answered_at": None}
    insert_answer(connection, "dshield", SOURCE, at(5), at(50), fields={**hostile, "no_such_column": [1], "attacks": 7})
    write_enrichment(connection, "dshield", DAY)
    row = rows(connection)[SOURCE]
    assert (row["outcome"], row["reason"], row["attacks"], row["answered_at"]) == ("found", None, 7, at(5))


# --- typed columns -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def running_sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


def test_every_column_has_a_value_somewhere_and_each_value_is_true(
    connection: Connection, url: str, running_sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`snapshot_ip_type` read a key that nobody wrote: 0 % for ever."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    services = configured(tmp_path, running_sandbox)
    keys = addresses_of_both_families(240)
    for number, key in enumerate(keys):
        attack(connection, str(number), key, begin=at(12))
    asking = Asking(lambda: open_connection(url), EgressGate(), "run", 60.0)
    for service in DAILY:
        with stamina.set_testing(True, attempts=3, cap=True):
            ask(asking, services[service], dict.fromkeys(keys, MIDNIGHT))
        counts = write_enrichment(connection, service, DAY)
        assert sum(counts.values()) == 240
        assert counts.get("not_applicable", 0) == (60 if service == "urlhaus" else 0)
        written = rows(connection, service)
        for key in keys:
            outcome, fields = true_answer(service, running_sandbox.seed, key)
            row = written[key]
            assert row["outcome"] == outcome, (service, key)
            if outcome != "not_applicable":
                shown = {name: as_json(row[name]) for name in row if name not in FIXED}
                shown = {name: value for name, value in plain(service, shown).items() if name in fields}
                assert shown == fields, (service, key)

    blacklisted(connection)
    for service in DAILY:
        written = rows(connection, service)
        names = set(next(iter(written.values()))) - FIXED
        # An empty list is no value: there must be one with something in it.
        without = {name for name in names if not any(row[name] not in (None, []) for row in written.values())}
        assert without == set(), service


FIXED = {"day", "address", "outcome", "reason", "answered_at"}


def as_json(value: Any) -> Any:
    """A column's value as the field that it was made of."""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    if value is None or isinstance(value, bool | int | str | list):
        return value
    return str(value)


def blacklisted(connection: Connection) -> None:
    """One more answer of URLhaus, about a host that blacklists have; the sandbox knows none."""
    host = "5.200.0.1"
    body = (
        b'{"query_status": "ok", "host": "5.200.0.1", "firstseen": "2025-09-01 00:00:05 UTC", "url_count": "1", '
        b'"blacklists": {"spamhaus_dbl": "abused_legit_malware", "surbl": "listed"}, "urls": []}'
    )
    reading = URLhaus("http://127.0.0.1", "key").read(host, Response(200, body))
    attack(connection, "blacklisted", host, begin=at(12))
    Cache().keep(connection, SERVICES["urlhaus"], {host: reading}, Call(0, datetime.now(UTC)), None)
    write_enrichment(connection, "urlhaus", DAY)
    assert rows(connection, "urlhaus")[host]["blacklists"] == ["spamhaus_dbl", "surbl"]


def test_an_awkward_field_stops_no_day(connection: Connection) -> None:
    """What the modules let through must fit the columns: the ends of every range."""
    awkward: list[dict[str, Any]] = [
        {"attacks": 2**63 - 1, "reports": 0, "max_risk": None, "asn": 2**32 - 1},
        {"first_reported": "0001-01-01", "last_reported": "9999-12-31"},
        {"network": "0.0.0.0/0"},
        {"network": "2a00::/12"},
        {"as_name": "\\u0000 \\ \t \n \x1b '; DROP TABLE sessions", "threat_feeds": ["", "{}", '"', "\\", "NULL", ","]},
        {"threat_feeds": []},
        {"threat_feeds": None},
        {},
    ]
    keys = addresses(len(awkward))
    for number, (key, fields) in enumerate(zip(keys, awkward, strict=True)):
        attack(connection, str(number), key, begin=at(1))
        answer(connection, 5, key=key, **fields)
    assert write_enrichment(connection, "dshield", DAY) == {"found": len(awkward)}
    written = rows(connection)
    for key, fields in zip(keys, awkward, strict=True):
        assert {name: as_json(written[key][name]) for name in fields} == fields


# --- what is asked about, and which days are due -------------------------------------------------------------------


def test_the_most_telling_addresses_are_asked_about_first(connection: Connection) -> None:
    deeds = {
        "left something": "file_downloads = 1",
        "left a key": "ssh_key_injections = 1",
        "got in": "login_successes = 1",
        "typed": "command_count = 1",
        "came often": "login_attempts = 9",
        "came": "login_attempts = 1",
    }
    keys = dict(zip(deeds, reversed(addresses(len(deeds))), strict=True))
    for name, change in deeds.items():
        for number in range(3 if name == "came often" else 1):
            attack(connection, f"{name} {number}", keys[name], begin=at(1 + number))
        connection.execute(f"UPDATE sessions SET {change} WHERE source_ip = '{keys[name]}'".encode())
    attack(connection, "no source", None, begin=at(1))
    attack(connection, "another day", "6.6.6.6", begin=at(30))
    order = list(address_needs(connection, [DAY]))
    # Of equal ones the lower address first.
    assert order == [keys[name] for name in ("left a key", "left something", "got in", "typed", "came often", "came")]


def test_an_address_of_several_days_must_be_answered_for_the_last_of_them(connection: Connection) -> None:
    for day in (0, 1, 5):
        attack(connection, "a", SOURCE, begin=at(24 * day + 1))
    attack(connection, "b", "6.6.6.6", begin=at(1))
    days = [DAY, DAY + timedelta(days=1)]
    assert address_needs(connection, days) == {SOURCE: at(24), "6.6.6.6": at(0)}
    assert address_needs(connection, [*days, DAY + timedelta(days=5)])[SOURCE] == at(120)
    assert address_needs(connection, []) == {}


def due(connection: Connection, *, can_ask: bool = True, service: str = "dshield") -> Sequence[int]:
    """The days that are due, by their distance from DAY."""
    return sorted((day - DAY).days for day in enrichment_days_due(connection, service, can_ask=can_ask))


def test_a_day_is_due_until_it_is_written_and_again_when_its_sessions_change(connection: Connection) -> None:
    attack(connection, "a", SOURCE, begin=at(1))
    answer(connection, 5)
    sessions_changed(connection, [DAY, DAY + timedelta(days=3)])
    assert [due(connection, can_ask=flag) for flag in (True, False)] == [[0, 3], [0, 3]]
    write_enrichment(connection, "dshield", DAY)
    write_enrichment(connection, "dshield", DAY + timedelta(days=3))
    assert [due(connection, can_ask=flag) for flag in (True, False)] == [[], []]
    assert due(connection, service="spur") == [0, 3], "each service has its own"
    sessions_changed(connection, [DAY])
    assert due(connection) == [0]


@pytest.mark.parametrize("outcome", OPEN)
def test_a_day_with_an_open_question_is_due_as_soon_as_it_can_be_asked(connection: Connection, outcome: str) -> None:
    attack(connection, "a", SOURCE, begin=at(1))
    sessions_changed(connection, [DAY])
    kept_answers.note_open(connection, "dshield", [(SOURCE, outcome, OPEN[outcome])])
    write_enrichment(connection, "dshield", DAY)
    # Who cannot ask any more says so: the service is out of the gate then.
    assert due(connection, can_ask=False) == ([0] if outcome in ("unavailable", "quota") else [])
    assert due(connection, can_ask=True) == ([] if outcome == "not_applicable" else [0])
    answer(connection, 50)
    write_enrichment(connection, "dshield", DAY)
    assert due(connection) == []


def test_a_day_whose_address_is_no_longer_the_operators_own_is_due(connection: Connection) -> None:
    """An own address that was a typing error, or a machine that was given up."""
    attack(connection, "a", SOURCE, begin=at(1))
    sessions_changed(connection, [DAY])
    kept_answers.note_open(connection, "dshield", [(SOURCE, "not_applicable", "own address")])
    write_enrichment(connection, "dshield", DAY)
    # Another day's run meets the corrected gate, and gets the answer.
    answer(connection, 50, attacks=3)
    forget(connection, "open_questions")
    assert due(connection) == [0]


def test_a_day_whose_answer_came_through_another_day_is_due_offline_as_well(connection: Connection) -> None:
    attack(connection, "a", SOURCE, begin=at(1))
    sessions_changed(connection, [DAY])
    write_enrichment(connection, "dshield", DAY)
    assert rows(connection)[SOURCE]["outcome"] == "quota"
    answer(connection, 50, attacks=3)
    assert due(connection, can_ask=False) == [0]


def test_a_day_with_a_service_of_its_own_rests_on_nothing_else(connection: Connection) -> None:
    attack(connection, "a", SOURCE, begin=at(1))
    sessions_changed(connection, [DAY])
    for service in DAILY:
        answer(connection, 5, service=service)
        write_enrichment(connection, service, DAY)
    answer(connection, 6, service="spur")
    assert [due(connection, service=service) for service in DAILY] == [[], [], []]
    assert {name: len(rows(connection, name)) for name in DAILY} == dict.fromkeys(DAILY, 1)


def test_answers_of_spur_may_know_more_than_the_table(connection: Connection) -> None:
    """The balance is a field of the answer and no column."""
    attack(connection, "a", SOURCE, begin=at(1))
    answer(connection, 5, service="spur", balance=99, is_vpn=True, risks=["TUNNEL"])
    write_enrichment(connection, "spur", DAY)
    row = rows(connection, "spur")[SOURCE]
    assert (row["is_vpn"], row["risks"], "balance" in row) == (True, ["TUNNEL"], False)


def test_an_address_that_was_taken_for_our_own_is_asked_about_once_it_is_not(connection: Connection) -> None:
    """What the gate refused is no word of the service, and must not hold for as long as one."""
    kept_answers.note_open(
        connection, "dshield", [(SOURCE, "not_applicable", OWN), ("9.9.9.8", "not_applicable", "bad")]
    )
    unsuitable = kept_answers.unsuitable_keys(connection, SERVICES["dshield"], [SOURCE, "9.9.9.8"])
    assert unsuitable == {"9.9.9.8"}


def test_a_service_that_calls_an_address_unsuitable_again_is_believed_anew(connection: Connection) -> None:
    """Said for the same reason, it kept the time of the first word, and was asked by every run from then on."""
    for _ in range(2):
        kept_answers.note_open(connection, "dshield", [(SOURCE, "not_applicable", "does not take this address")])
        assert kept_answers.unsuitable_keys(connection, SERVICES["dshield"], [SOURCE]) == {SOURCE}
        connection.execute("UPDATE open_questions SET noted_at = noted_at - interval '2 days'")
        assert kept_answers.unsuitable_keys(connection, SERVICES["dshield"], [SOURCE]) == set()
