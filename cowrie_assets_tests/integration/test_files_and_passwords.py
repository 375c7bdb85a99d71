"""A day's files and passwords: which answer each takes, and why it has none (promises P1, P8, P10).

Proved here: every outcome, by literal worlds and, for passwords, against a few lines of plain Python; that a password
nobody could check is never "in no breach"; that the hashed bytes are the attacker's own; that old days keep their
nearest answers; order of asking, days that are due; that all this is sharp (each of some thirty wrong files is
noticed). Not here: asking, what sessions say of it (`test_session_summaries`), coverage (`test_coverage`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from hashlib import sha1, sha256
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.rows import dict_row

from cowrie_assets.assets import keys_of_day
from cowrie_assets.assets.keys_of_day import (
    file_days_due,
    file_needs,
    password_days_due,
    password_needs,
    write_password_stats,
    write_virustotal_files,
)
from cowrie_assets.cowrie.events import salvage
from cowrie_assets.cowrie.sessions import reconstruct
from cowrie_assets.warehouse.copy_text import field
from cowrie_assets.warehouse.database import open_connection
from cowrie_assets.warehouse.event_chunks import Connection
from cowrie_assets.warehouse.session_rows import DayRows
from cowrie_assets.warehouse.views import sql_file
from cowrie_assets_tests.conftest import Server
from cowrie_assets_tests.integration.test_session_snapshots import attack, forget
from cowrie_assets_tests.rows import all_digests, sessions_changed

pytestmark = pytest.mark.one_server

DAY = date(2025, 9, 10)
MIDNIGHT = datetime(2025, 9, 10, tzinfo=UTC)
FOREVER = 10_000.0
TABLES = (
    *("sessions", "logins", "files", "ip_inventory", "session_snapshots", "service_answers", "open_questions"),
    *("virustotal_files", "password_stats", "event_days", "day_builds"),
)
OPEN = {
    "unavailable": "timed out",
    "quota": "budget used up",
    "not_configured": "no key: set VT_API_KEY",
    "not_applicable": "the empty file",
}
Writer = Callable[[Connection, date], dict[str, int]]


@pytest.fixture(scope="module")
def url(server: Server) -> str:
    """One database for all tests of this file."""
    return server.new_database()


@pytest.fixture
def connection(url: str) -> Iterator[Connection]:
    with open_connection(url) as opened:
        opened.execute("SET synchronous_commit = off")
        opened.prepare_threshold = None  # views change under prepared statements
        forget(opened, *TABLES)
        yield opened


def at(hours: float) -> datetime:
    """Hours from the beginning of the day."""
    return MIDNIGHT + timedelta(hours=hours)


def sha(name: str) -> str:
    return sha256(name.encode()).hexdigest()


def range_of(password: str) -> tuple[str, str]:
    digest = sha1(password.encode()).hexdigest().upper()
    return digest[:5], digest[5:]


def session(
    connection: Connection,
    session_id: str,
    *,
    begin: float = 12,
    source: str | None = "8.8.4.4",
    passwords: Sequence[str | None] = (),
    files: Sequence[tuple[str, str | None]] = (),
    got_in: bool = False,
    sensor: str = "alpha",
) -> None:
    """A session with its tries (None: with a key) and its files (transfer, SHA-256)."""
    attack(connection, session_id, source, begin=at(begin), sensor=sensor)
    key = f"{at(begin):%Y-%m-%d}\t{sensor}\t{session_id}"
    logins = [f"{key}\t{n}\t{at(begin)}\tf\troot\t{field(password)}\n" for n, password in enumerate(passwords)]
    brought = [f"{key}\t{n}\t{at(begin)}\t{transfer}\t{field(name)}\n" for n, (transfer, name) in enumerate(files)]
    for table, columns, lines in (
        ("logins", "sequence, occurred_at, success, username, password", logins),
        ("files", "sequence, occurred_at, transfer, sha256", brought),
    ):
        statement = f"COPY {table} (day, sensor, session_id, {columns}) FROM STDIN"
        with connection.cursor() as cursor, cursor.copy(statement.encode()) as copy:
            copy.write("".join(lines))
    connection.execute(
        "UPDATE sessions SET login_attempts = %s, file_downloads = %s, file_uploads = %s, login_successes = %s "
        "WHERE (sensor, session_id, first_event_at) = (%s, %s, %s)",
        (
            *(len(passwords), *(sum(t == transfer for t, _ in files) for transfer in ("download", "upload"))),
            *(int(got_in), sensor, session_id, at(begin)),
        ),
    )


def answer(
    connection: Connection,
    service: str,
    key: str,
    hours: float = 5,
    until: float = FOREVER,
    outcome: str = "found",
    *,
    fields: Mapping[str, Any] | None = None,
    payload: Mapping[str, Any] | None = None,
) -> None:
    connection.execute(
        "INSERT INTO service_answers (service, key, answered_at, expires_at, outcome, fields, payload) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s)",
        (service, key, at(hours), at(until), outcome, json.dumps(fields or {}), json.dumps(payload or {})),
    )


def note_open(connection: Connection, service: str, key: str, outcome: str, reason: str | None = None) -> None:
    connection.execute(
        "INSERT INTO open_questions VALUES (%s, %s, %s, %s, now())",
        (service, key, outcome, reason or OPEN[outcome]),
    )


def read(connection: Connection, query: str) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query.encode()).fetchall()


def hour(moment: datetime | None) -> float | None:
    return None if moment is None else (moment - MIDNIGHT).total_seconds() / 3600


# --- files: which rows there are, and their answers -----------------------------------------------------------------


def files_of_day(connection: Connection, day: date = DAY) -> dict[str, dict[str, Any]]:
    rows = read(connection, f"SELECT * FROM virustotal_files WHERE day = '{day}'")
    return {row["sha256"]: row for row in rows}


def test_one_row_a_day_and_file_however_often_it_came(connection: Connection) -> None:
    session(connection, "a", files=[("download", sha("a")), ("upload", sha("a")), ("upload", sha("b"))])
    session(connection, "b", files=[("download", sha("a").upper())], sensor="beta")
    session(connection, "no files", files=[("failed download", sha("f")), ("download", None), ("upload", "abc")])
    session(connection, "before", begin=-0.01, files=[("download", sha("before"))])
    session(connection, "after", begin=24, files=[("download", sha("after"))])
    assert write_virustotal_files(connection, DAY) == {"quota": 2}
    assert set(files_of_day(connection)) == {sha("a"), sha("b")}
    assert write_virustotal_files(connection, DAY + timedelta(days=1)) == {"quota": 1}
    assert set(files_of_day(connection)) == {sha("a"), sha("b")}, "a day is written without touching its neighbours"
    forget(connection, "files WHERE session_id IN ('a', 'b')")
    assert write_virustotal_files(connection, DAY) == {}
    assert files_of_day(connection) == {}


KNOWN = {
    "label": "trojan.mirai/gafgyt", "categories": ["trojan"], "names": ["mirai", "gafgyt"], "malicious": 41,
    "suspicious": 0, "undetected": 22, "harmless": 1, "engines": 64, "file_type": "ELF", "size": 2**40,
    "meaningful_name": "bin.sh", "tags": ["elf"], "first_seen": "2023-11-14T22:13:20Z",
    "last_seen": "2025-11-20T00:00:00Z", "analysed_at": "2025-11-20T00:00:01Z", "times_submitted": 12, "reputation": -5,
}  # fmt: skip
FIXED = {"day", "sha256", "outcome", "reason", "answered_at"}


def test_a_file_has_its_answer_or_says_why_not(connection: Connection) -> None:
    names = ("found", "not found", "not asked", "expired", "of another service", "answered since", *OPEN)
    session(connection, "a", files=[("download", sha(name)) for name in names])
    hostile = {"day": "1999-01-01", "sha256": "x", "outcome": "not_found", "reason": "x", "answered_at": None, "no": 1}
    answer(connection, "virustotal", sha("found"), 5, fields=KNOWN | hostile)
    answer(connection, "virustotal", sha("not found"), 6, 20, "not_found", fields=dict.fromkeys(KNOWN))
    answer(connection, "virustotal", sha("expired"), -50, 0, fields=KNOWN)
    answer(connection, "urlhaus", sha("of another service"), fields=KNOWN)
    note_open(connection, "hibp", sha("of another service"), "unavailable")
    answer(connection, "virustotal", sha("answered since"), 90, fields={"malicious": 0})
    for outcome in OPEN:
        note_open(connection, "virustotal", sha(outcome), outcome)
    note_open(connection, "virustotal", sha("answered since"), "unavailable")
    counts = {"found": 2, "not_found": 1, "unavailable": 1, "quota": 4, "not_configured": 1, "not_applicable": 1}
    assert write_virustotal_files(connection, DAY) == counts
    rows = {name: files_of_day(connection)[sha(name)] for name in names}
    assert {name: (row["outcome"], row["reason"], hour(row["answered_at"])) for name, row in rows.items()} == {
        "found": ("found", None, 5),
        "not found": ("not_found", None, 6),
        "not asked": ("quota", "not asked yet", None),
        "expired": ("quota", "not asked yet", None),
        "of another service": ("quota", "not asked yet", None),
        "answered since": ("found", None, 90),
        **{outcome: (outcome, reason, None) for outcome, reason in OPEN.items()},
    }
    assert set(KNOWN) == set(rows["found"]) - FIXED, "every column has a value here"
    shown = {
        name: value.strftime("%Y-%m-%dT%H:%M:%SZ") if isinstance(value, datetime) else value
        for name, value in rows["found"].items()
    }
    assert {name: shown[name] for name in KNOWN} == KNOWN
    for name in set(names) - {"found", "answered since"}:
        assert {rows[name][column] for column in KNOWN} == {None}, "no finding, no value"


# Answers as (answered at, good until) in hours from the beginning of the day -> the one that the day takes.
NEAREST: dict[str, tuple[list[tuple[float, float]], float | None]] = {
    "in the day": ([(12, 36)], 12),
    "before, and good when it began": ([(-30, 0.001)], -30),
    "before, and expired when it began": ([(-30, 0)], None),
    "long after": ([(5000, 6000)], 5000),
    "in the day before both sides": ([(-1, 100), (12, 100), (25, 100)], 12),
    "before is nearer": ([(-2, 100), (30, 100)], -2),
    "after is nearer": ([(-10, 100), (26, 100)], 26),
    "nearer, but expired": ([(-2, -1), (-30, 5), (300, 400)], -30),
    "the first of those after": ([(90, 100), (30, 100), (60, 100)], 30),
    "the last of those in the day": ([(3, 100), (21, 100), (12, 100)], 21),
}


@pytest.mark.parametrize("name", NEAREST)
def test_a_day_takes_the_nearest_answer_that_was_good_for_it(connection: Connection, name: str) -> None:
    answers, expected = NEAREST[name]
    session(connection, "a", files=[("download", sha("x"))], passwords=["x"])
    prefix, suffix = range_of("x")
    for number, (hours, until) in enumerate(answers, 1):
        answer(connection, "virustotal", sha("x"), hours, until, fields={"malicious": number})
        answer(connection, "hibp", prefix, hours, until, payload={suffix: number})
    write_virustotal_files(connection, DAY)
    write_password_stats(connection, DAY)
    (stats,) = read(connection, "SELECT * FROM password_stats")
    file = files_of_day(connection)[sha("x")]
    taken = None if expected is None else 1 + [hours for hours, _ in answers].index(expected)
    for row, value in ((file, file["malicious"]), (stats, stats["breach_prevalence_max"])):
        assert (hour(row["answered_at"]), value) == (expected, taken)


def test_an_old_day_keeps_what_was_learnt_then(connection: Connection) -> None:
    prefix, suffix = range_of("x")
    for begin in (12, 24 * 210):
        session(connection, "a", begin=begin, files=[("upload", sha("x"))], passwords=["x"])
    later = at(24 * 210).date()
    answer(connection, "virustotal", sha("x"), 13, 40, fields={"malicious": 1})
    answer(connection, "hibp", prefix, 13, 40, payload={suffix: 1})
    tables = ("virustotal_files", "password_stats")
    query = "SELECT * FROM {} WHERE day = '2025-09-10'"

    def write() -> None:
        for day in (DAY, later):
            write_virustotal_files(connection, day)
            write_password_stats(connection, day)

    write()
    before = [read(connection, query.format(table)) for table in tables]
    for hours in (24.5, 5000):
        answer(connection, "virustotal", sha("x"), hours, hours + 48, "not_found")
        answer(connection, "hibp", prefix, hours, hours + 48, payload={})
        write()
        assert [read(connection, query.format(table)) for table in tables] == before
    assert [
        row["outcome"] for row in read(connection, f"SELECT outcome FROM password_stats WHERE day = '{later}'")
    ] == ["not_found"]
    assert files_of_day(connection, later)[sha("x")]["outcome"] == "not_found"


# --- passwords ------------------------------------------------------------------------------------------------------

# Password -> the hour of its answer and how often it was seen, or why there is no answer.
CHECKED = {"leaked": (5, 7), "famous": (3, 5000), "novel": (8, None), "nought": (9, 0), "": (4, 2)}
UNCHECKED = {
    "lost": ("unavailable", "timed out"), "poor": ("quota", "budget used up"), "off": ("not_configured", "no contact"),
    "odd": ("not_applicable", "calls it an invalid prefix"),
}  # fmt: skip
NOBODY = "not asked yet"
# Tries of a session -> outcome, reason, hour of the answer, tries, distinct, checked, breached, prevalence, novel ones.
Row = tuple[str, str | None, float | None, int, int, int, int | None, int | None, list[str] | None]
WORLD: dict[str, tuple[list[str | None], Row]] = {
    "breached": (["leaked"], ("found", None, 5, 1, 1, 1, 1, 7, [])),
    "empty": ([""], ("found", None, 4, 1, 1, 1, 1, 2, [])),
    "several": (["leaked", "famous", "novel", "leaked"], ("found", None, 3, 4, 3, 3, 2, 5000, ["novel"])),
    "novel": (["novel", "novel"], ("not_found", None, 8, 2, 1, 1, 0, 0, ["novel"])),
    "two novel": (["nought", "novel"], ("not_found", None, 8, 2, 2, 2, 0, 0, ["nought", "novel"])),
    "keys": ([None, None], ("not_applicable", "no password", None, 2, 0, 0, None, None, None)),
    "key and password": ([None, "leaked"], ("found", None, 5, 2, 1, 1, 1, 7, [])),
    "lost": (["lost"], ("unavailable", "timed out", None, 1, 1, 0, None, None, None)),
    "poor": (["poor"], ("quota", "budget used up", None, 1, 1, 0, None, None, None)),
    "off": (["off"], ("not_configured", "no contact", None, 1, 1, 0, None, None, None)),
    "odd": (["odd"], ("not_applicable", "calls it an invalid prefix", None, 1, 1, 0, None, None, None)),
    "unasked": (["unasked"], ("quota", NOBODY, None, 1, 1, 0, None, None, None)),
    "stale": (["stale"], ("quota", NOBODY, None, 1, 1, 0, None, None, None)),
    "all of it": (["off", "poor", "lost", "leaked"], ("unavailable", "timed out", None, 4, 4, 1, 1, 7, [])),
    "partly clean": (["novel", "poor"], ("quota", "budget used up", None, 2, 2, 1, 0, 0, ["novel"])),
    "partly odd": (["novel", "odd"], ("not_applicable", UNCHECKED["odd"][1], None, 2, 2, 1, 0, 0, ["novel"])),
    "off and poor": (["off", "poor"], ("quota", "budget used up", None, 2, 2, 0, None, None, None)),
    "odd and off": (["odd", "off"], ("not_configured", "no contact", None, 2, 2, 0, None, None, None)),
    "two reasons": (["unasked", "poor"], ("quota", "budget used up", None, 2, 2, 0, None, None, None)),
}


def fill(connection: Connection) -> None:
    for name, (passwords, _) in WORLD.items():
        session(connection, name, passwords=passwords)
    session(connection, "breached", passwords=["novel"], sensor="beta")
    session(connection, "nobody", passwords=[])
    session(connection, "yesterday", begin=-1, passwords=["lost"])
    for password, (hours, seen) in CHECKED.items():
        prefix, suffix = range_of(password)
        others = {"0" * 35: 99999, suffix.lower(): 77777}
        answer(connection, "hibp", prefix, hours, payload=others if seen is None else others | {suffix: seen})
    for password, (outcome, reason) in UNCHECKED.items():
        note_open(connection, "hibp", range_of(password)[0], outcome, reason)
    prefix, suffix = range_of("stale")
    answer(connection, "hibp", prefix, -50, -1, payload={suffix: 3})
    for password in ("unasked", "lost"):  # whatever other services say of such a key
        answer(connection, "virustotal", range_of(password)[0], payload={range_of(password)[1]: 3})
    note_open(connection, "virustotal", range_of("unasked")[0], "unavailable")


def stats(connection: Connection, sensor: str = "alpha", day: date = DAY) -> dict[str, Row]:
    rows = read(connection, f"SELECT * FROM password_stats WHERE sensor = '{sensor}' AND day = '{day}'")
    return {
        row["session_id"]: (
            *(row["outcome"], row["reason"], hour(row["answered_at"]), row["total_attempts"], row["unique_passwords"]),
            *(row["checked_passwords"], row["breached_passwords"], row["breach_prevalence_max"]),
            row["novel_password_hashes"],
        )
        for row in rows
    }


def as_row(row: Row) -> Row:
    return (*row[:-1], None if row[-1] is None else sorted(map(sha, row[-1])))


def test_each_session_says_what_is_known_of_its_passwords(connection: Connection) -> None:
    """Failures were stored as "no breach": a password that nobody could check is not novel."""
    fill(connection)
    counts = write_password_stats(connection, DAY)
    assert stats(connection) == {name: as_row(row) for name, (_, row) in WORLD.items()}
    assert stats(connection, "beta") == {"breached": as_row((*WORLD["novel"][1][:3], 1, *WORLD["novel"][1][4:]))}
    assert stats(connection, day=DAY - timedelta(days=1)) == {}
    assert counts == {
        "found": 4, "not_found": 3, "unavailable": 2, "quota": 6, "not_configured": 2, "not_applicable": 3,
    }  # fmt: skip


def test_running_twice_changes_nothing(connection: Connection) -> None:
    fill(connection)
    session(connection, "files", files=[("download", sha("a")), ("upload", sha("b"))])
    answer(connection, "virustotal", sha("a"), fields=KNOWN)
    sessions_changed(connection, [DAY])
    writers: tuple[Writer, ...] = (write_virustotal_files, write_password_stats)
    first = [write(connection, DAY) for write in writers]
    before = all_digests(connection)
    assert [write(connection, DAY) for write in writers] == first
    assert all_digests(connection) == before


def test_a_session_that_is_gone_has_no_row_any_more(connection: Connection) -> None:
    fill(connection)
    write_password_stats(connection, DAY)
    forget(connection, "logins WHERE session_id <> 'keys'")
    assert write_password_stats(connection, DAY) == {"not_applicable": 1}
    assert set(stats(connection)) == {"keys"}
    assert stats(connection, "beta") == {}


# What a log line holds between the quotes -> the bytes that the attacker sent.
SPELLINGS = [
    (b"plain", b"plain"),
    (b"", b""),
    ("pässwörd 🌊".encode(), "pässwörd 🌊".encode()),
    (rb"\u00e4\ud83c\udf0a", "ä🌊".encode()),
    (b"caf\xe9", b"caf\xe9"),
    (b"\xff\xfe\x80", b"\xff\xfe\x80"),
    (rb"nul\u0000nul", b"nul\0nul"),
    (rb"\udcff\udc80", b"\xff\x80"),
    (rb"\ud800x", b"\xed\xa0\x80x"),
    (rb"\ud800" + b"\xff", b"\xed\xa0\x80\xff"),
    (rb"\\u0000", rb"\u0000"),
    (rb"\\udcff", rb"\udcff"),
    (rb"C:\\new\\t \t\n\r \"q\" \\.", b'C:\\new\\t \t\n\r "q" \\.'),
    (rb"\\N", rb"\N"),
    (b"x" * 100_000, b"x" * 100_000),
]


@pytest.mark.parametrize(("spelt", "sent"), SPELLINGS, ids=[repr(spelt[:20]) for spelt, _ in SPELLINGS])
def test_the_hashed_bytes_are_the_attackers_own(connection: Connection, spelt: bytes, sent: bytes) -> None:
    line = (
        b'{"eventid":"cowrie.login.failed","session":"0123456789ab","timestamp":"2025-09-10T12:00:00.000000Z",'
        b'"src_ip":"8.8.4.4","username":"root","password":"' + spelt + b'"}'
    )
    (segment,) = salvage(line)
    assert segment.event is not None
    rows = DayRows(DAY)
    rows.add("alpha", reconstruct("0123456789ab", [(segment.event.instant, b"", segment.event.value)]))
    with connection.transaction():
        rows.write(connection)
    digest = sha1(sent).hexdigest().upper()
    assert password_needs(connection, [DAY])[0] == {digest[:5]: MIDNIGHT}
    answer(connection, "hibp", digest[:5])
    assert write_password_stats(connection, DAY) == {"not_found": 1}
    assert stats(connection)["0123456789ab"][-1] == [sha256(sent).hexdigest()]
    answer(connection, "hibp", digest[:5], 6, payload={digest[5:]: 3})
    assert write_password_stats(connection, DAY) == {"found": 1}


PASSWORDS = ("a", "b", "c", "d", "", "\0", "\\u0000")


@settings(max_examples=50, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tries=st.lists(st.lists(st.sampled_from((*PASSWORDS, None)), max_size=5), min_size=1, max_size=6),
    answers=st.lists(
        st.tuples(st.sampled_from(PASSWORDS), st.integers(-72, 96), st.integers(1, 100), st.none() | st.integers(0, 9)),
        max_size=10,
        unique_by=lambda given_answer: given_answer[:2],
    ),
    noted=st.dictionaries(
        st.sampled_from(PASSWORDS), st.tuples(st.sampled_from(list(OPEN)), st.sampled_from("xyz")), max_size=5
    ),
)
def test_every_number_is_as_counted_by_loops(
    connection: Connection,
    tries: list[list[str | None]],
    answers: list[tuple[str, int, int, int | None]],
    noted: dict[str, tuple[str, str]],
) -> None:
    forget(connection, *TABLES)
    for number, passwords in enumerate(tries):
        session(connection, str(number), passwords=passwords)
    for password, hours, life, seen in answers:
        prefix, suffix = range_of(password)
        answer(connection, "hibp", prefix, hours, hours + life, payload={} if seen is None else {suffix: seen})
    for password, (outcome, reason) in noted.items():
        note_open(connection, "hibp", range_of(password)[0], outcome, reason)
    write_password_stats(connection, DAY)

    expected = {}
    for number, passwords in enumerate(tries):
        known, ways, novel = [], [], []
        distinct = {password for password in passwords if password is not None}
        for password in distinct:
            good = [told[1:] for told in answers if told[0] == password and told[1] + told[2] > 0]
            if good:
                hours, _, seen = min(good, key=lambda told: (max(told[0] - 24, -told[0], 0), -told[0]))
                known.append((seen or 0, hours))
                novel += [] if seen else [password]
            else:
                outcome, reason = noted.get(password, ("quota", NOBODY))
                ways.append((list(OPEN).index(outcome), reason, outcome))
        breached = sum(seen > 0 for seen, _ in known)
        outcome = "found" if breached else "not_found"
        why, oldest = None, None
        if not distinct:
            outcome, why = "not_applicable", "no password"
        elif ways:
            _, why, outcome = min(ways)
        else:
            oldest = min(hours for _, hours in known)
        row: Row = (
            *(outcome, why, oldest, len(passwords), len(distinct), len(known), breached if known else None),
            *(max(seen for seen, _ in known) if known else None, novel if known else None),
        )
        if passwords:
            expected[str(number)] = as_row(row)
    assert stats(connection) == expected


# --- what is asked, and which days are due --------------------------------------------------------------------------


def test_the_most_telling_files_are_asked_about_first(connection: Connection) -> None:
    names = ("of an intruder", "of three", "early", "late", "later, the lower", "later, the higher")
    low, high = sorted((sha("later 1"), sha("later 2")))
    key = {name: sha(name) for name in names} | {"later, the lower": low, "later, the higher": high}
    tomorrow = 24.5
    session(connection, "in", begin=9, files=[("upload", key["of an intruder"].upper())], got_in=True, source="9.9.9.9")
    for number in range(3):
        file = ("download", key["of three"])
        session(connection, f"three {number}", begin=tomorrow - number, files=[file, file], source=f"5.5.5.{number}")
    session(connection, "early", begin=1, files=[("download", key["early"])] * 9, source=None)
    session(connection, "late", begin=2, files=[("download", key["late"])], source="6.6.6.6")
    session(connection, "later", begin=3, files=[("download", high), ("download", low)], source="2a00:1450::5")
    session(connection, "failed", files=[("failed download", sha("failed")), ("download", None), ("download", "abc")])
    session(connection, "another day", begin=-1, files=[("download", sha("another"))])
    needs, sources = file_needs(connection, [DAY, DAY + timedelta(days=1)])
    assert list(needs) == [key[name] for name in names]
    assert needs == {key[name]: at(24 if name == "of three" else 0) for name in names}
    # The first session with an address: those of a session without one have none.
    assert sources == {
        key["of an intruder"]: "9.9.9.9", key["of three"]: "5.5.5.2", key["late"]: "6.6.6.6",
        low: "2a00:1450::5", high: "2a00:1450::5",
    }  # fmt: skip
    assert file_needs(connection, []) == ({}, {})


def test_the_most_used_passwords_are_asked_about_first(connection: Connection) -> None:
    session(connection, "a", passwords=["often", "often", "twice", "once", None])
    session(connection, "b", begin=30, passwords=["twice", "often"])
    session(connection, "b2", begin=30, passwords=["often"])
    session(connection, "c", begin=60, passwords=["another day"] * 9)
    range_ = {name: range_of(name)[0] for name in ("often", "twice", "once")}
    needs, uses = password_needs(connection, [DAY, DAY + timedelta(days=1)])
    assert uses == {range_["often"]: 3, range_["twice"]: 2, range_["once"]: 1}
    assert list(needs.items()) == [(range_["often"], at(24)), (range_["twice"], at(24)), (range_["once"], at(0))]
    assert all(re.fullmatch("[0-9A-F]{5}", prefix) for prefix in needs), "no more of a password leaves"
    assert password_needs(connection, []) == ({}, {})


Due = Callable[..., set[date]]


@pytest.mark.parametrize(
    ("write", "days_due", "service", "key"),
    [
        (write_virustotal_files, file_days_due, "virustotal", sha("x")),
        (write_password_stats, password_days_due, "hibp", range_of("x")[0]),
    ],
)
@pytest.mark.parametrize("outcome", OPEN)
def test_a_day_is_due_while_a_question_of_it_can_be_answered(
    connection: Connection, write: Writer, days_due: Due, service: str, key: str, outcome: str
) -> None:
    def due() -> list[list[int]]:
        return [sorted((day - DAY).days for day in days_due(connection, can_ask=can)) for can in (True, False)]

    session(connection, "a", files=[("download", sha("x"))], passwords=["x"])
    session(connection, "b", passwords=[None])
    sessions_changed(connection, [DAY, DAY + timedelta(days=3)])
    assert due() == [[0, 3], [0, 3]]
    write(connection, DAY + timedelta(days=3))
    note_open(connection, service, key, outcome)
    write(connection, DAY)
    passing = outcome in ("unavailable", "quota")
    assert due() == [[0] if passing or outcome == "not_configured" else [], [0] if passing else []]
    answer(connection, service, key, 50)
    write(connection, DAY)
    assert due() == [[], []]
    sessions_changed(connection, [DAY])
    assert due() == [[0], [0]]


# --- the worlds are sharp: each wrong file is noticed -----------------------------------------------------------------

FILE_MUTANTS = {
    "failed downloads are files": (r"AND f\.transfer IN \('download', 'upload'\)\s+", ""),
    "uploads are no files": (r"IN \('download', 'upload'\)", "IN ('download')"),
    "every text is a hash": (r"f\.sha256 ~\* '\^\[0-9a-f\]\{64\}\$'", "f.sha256 IS NOT NULL"),
    "files of all days": (r"f\.day = settings\.day\s+AND ", ""),
    "answers of any service": (r"ON a\.service = 'virustotal' AND", "ON"),
    "expired answers": (r"WHERE a\.expires_at > settings\.day", ""),
    "open questions of any service": (r"open_questions\.service = 'virustotal' AND", ""),
    "open questions beat answers": (r"coalesce\(nearest\.outcome, open_questions\.outcome,",
                                    "coalesce(open_questions.outcome, nearest.outcome,"),
    "the newest answer": (r"greatest\([^\n]*\n", "'0'::interval ASC,\n"),
    "what nobody asked is unavailable": (r"'quota'", "'unavailable'"),
}  # fmt: skip
PASSWORD_MUTANTS = {
    "expired answers": (r"WHERE a\.expires_at > settings\.day", ""),
    "answers of any service": (r"ON a\.service = 'hibp' AND", "ON"),
    "open questions of any service": (r"open_questions\.service = 'hibp' AND", ""),
    "the newest answer": (r"greatest\([^\n]*\n", "'0'::interval ASC,\n"),
    "unchecked is in no breach": (r"CASE WHEN nearest\.prefix IS NOT NULL THEN (coalesce[^\n]*) END AS seen",
                                  r"\1 AS seen"),
    "who is not in a range is unchecked": (r"coalesce\((\(nearest\.payload [^\n]*::bigint), 0\)", r"\1"),
    "padding is a breach": (r"FILTER \(WHERE seen > 0\)", "FILTER (WHERE seen >= 0)"),
    "breached ones are novel": (r"FILTER \(WHERE seen = 0\)", "FILTER (WHERE true)"),
    "unchecked ones are novel": (r"FILTER \(WHERE seen = 0\)", "FILTER (WHERE coalesce(seen, 0) = 0)"),
    "hashes in no order": (r"ORDER BY sha256 COLLATE \"C\" ASC\)", 'ORDER BY sha256 COLLATE "C" DESC)'),
    "nothing checked is no breach": (r"CASE WHEN count\(seen\) > 0 THEN (count[^\n]*) END::integer", r"(\1)::integer"),
    "the newest answer dates it": (r"min\(answered_at\) AS oldest", "max(answered_at) AS oldest"),
    "tries are passwords": (r"SELECT DISTINCT\n        l\.sensor", "SELECT\n        l.sensor"),
    "sessions of any sensor": (r"told ON attempts\.sensor = told\.sensor AND", "told ON"),
    "partly checked is found": (r"WHEN in_the_way\.session_id IS NOT NULL THEN in_the_way\.outcome", ""),
    "partly checked is answered": (r"CASE WHEN in_the_way\.session_id IS NULL THEN told\.oldest_answer_at END",
                                   "told.oldest_answer_at"),
    "quota weighs most": (r"'unavailable', 'quota', 'not_conf", "'quota', 'unavailable', 'not_conf"),
    "the operator weighs most": (r"'unavailable', 'quota', 'not_configured'",
                                 "'not_configured', 'unavailable', 'quota'"),
    "the last reason": (r'reason COLLATE "C" ASC', 'reason COLLATE "C" DESC'),
    "keys alone are nothing": (r"LEFT JOIN told", "INNER JOIN told"),
    "keys alone are unasked": (r"WHEN told\.session_id IS NULL THEN 'not_applicable'", "WHEN false THEN ''"),
    "clean is found": (r"ELSE 'not_found'", "ELSE 'found'"),
    "logins of all days": (r"WHERE l\.day = settings\.day\s+GROUP BY l\.sensor, l\.session_id", "GROUP BY 1, 2"),
}  # fmt: skip


def mutated(name: str, right: str, wrong: str) -> str:
    text, found = re.subn(right, wrong, sql_file(name).read_text(encoding="utf-8"))
    assert found == 1, "the mutation no longer fits the file"
    return text


def running(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str) -> None:
    path = folder / "mutated.sql"
    path.write_text(text, encoding="utf-8")
    monkeypatch.setattr(keys_of_day, "sql_file", lambda _: path)


def noticed(test: Callable[..., None], *given_arguments: Any) -> bool:
    try:
        test(*given_arguments)
    except (AssertionError, psycopg.IntegrityError):
        return True
    return False


@pytest.mark.parametrize("name", FILE_MUTANTS)
def test_a_wrong_writer_of_files_is_noticed(
    connection: Connection, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    running(monkeypatch, tmp_path, mutated("write_virustotal_files.sql", *FILE_MUTANTS[name]))
    if noticed(test_one_row_a_day_and_file_however_often_it_came, connection):
        return
    forget(connection, *TABLES)
    if not noticed(test_a_file_has_its_answer_or_says_why_not, connection):  # the nearest answer
        forget(connection, *TABLES)
        session(connection, "a", files=[("download", sha("x"))])
        for hours in (-2, 30):
            answer(connection, "virustotal", sha("x"), hours, 100)
        write_virustotal_files(connection, DAY)
        assert hour(files_of_day(connection)[sha("x")]["answered_at"]) != -2


@pytest.mark.parametrize("name", PASSWORD_MUTANTS)
def test_a_wrong_writer_of_passwords_is_noticed(
    connection: Connection, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    running(monkeypatch, tmp_path, mutated("write_password_stats.sql", *PASSWORD_MUTANTS[name]))
    if not noticed(test_each_session_says_what_is_known_of_its_passwords, connection):  # the nearest answer
        forget(connection, *TABLES)
        session(connection, "a", passwords=["x"])
        for hours in (-2, 30):
            answer(connection, "hibp", range_of("x")[0], hours, 100)
        write_password_stats(connection, DAY)
        assert stats(connection)["a"][2] != -2
