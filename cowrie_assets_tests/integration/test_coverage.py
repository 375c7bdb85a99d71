"""Coverage has a denominator (promise P9): `sql/verify_enrichment_coverage.sql` against a recount in plain Python.

Proved here: every column of every row, by random worlds with all six outcomes, rows that are missing, private, own,
unknown and IPv6 sources, several answers a key, several files and passwords a session; that the recount is sharp (each
of some ninety wrong files differs from it); every text of the gate; how this kind of number was wrong before; and that
the coverage queries of the seeds run as they stand and tell the truth. Not here: how answers come about.
"""

from __future__ import annotations

import csv
import json
import os
import random
import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from hashlib import sha256
from ipaddress import ip_address
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cowrie_assets.warehouse.coverage import coverage as read_coverage
from cowrie_assets.warehouse.database import open_connection
from cowrie_assets.warehouse.embedded import EmbeddedServer
from cowrie_assets.warehouse.event_chunks import Connection
from cowrie_assets.warehouse.views import sql_file
from cowrie_assets_tests.conftest import Server

pytestmark = pytest.mark.one_server

FILE = "verify_enrichment_coverage.sql"
SERVICES = ("dshield", "urlhaus", "spur", "virustotal", "hibp", "cymru", "greynoise")
BY_DAY, BY_SESSION, BY_KEY = SERVICES[:3], SERVICES[3:5], SERVICES[5:]
ANSWERS = ("found", "not_found")
NO_ANSWERS = ("unavailable", "quota", "not_configured", "not_applicable")

PUBLIC = tuple(f"198.51.100.{n}" for n in range(1, 7))
IPV6 = ("2001:db8::1", "2001:db8:0:0:1::2")
PRIVATE, OWN, OWN_IPV6, NOT_IN_INVENTORY = "10.0.0.5", "203.0.113.7", "2001:db8::7", "198.51.100.200"
INVENTORY = {  # is_public, is_own
    **dict.fromkeys((*PUBLIC, *IPV6), (True, False)),
    PRIVATE: (False, False),
    "fd00::5": (False, False),
    OWN: (True, True),
    OWN_IPV6: (True, True),
}
SOURCES = (*PUBLIC, *IPV6, PRIVATE, "fd00::5", OWN, OWN_IPV6, NOT_IN_INVENTORY)
# The seeds ask about sessions from 1 November 2024 on, so some lie before it.
FIRST_DAY = date(2024, 10, 30)


def midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


# --- a world: what the tables hold ------------------------------------------------------------------------------------


class Stats(NamedTuple):
    """What is noted of a session's passwords. `passwords`: distinct ones, checked ones, breached ones."""

    outcome: str
    reason: str | None
    passwords: tuple[int, int, int | None]


class Session(NamedTuple):
    """`files` are SHA-256 in lower case; `keys` are tries without a password."""

    begin: datetime
    sensor: str
    source: str | None
    files: tuple[str, ...] = ()
    passwords: int = 0
    keys: int = 0
    stats: Stats | None = None


class Noted(NamedTuple):
    """A row of a daily table. `fields`: (country, asn), (url_count,), (infrastructure,) or (label, malicious)."""

    outcome: str
    reason: str | None
    fields: tuple[Any, ...]


class Answer(NamedTuple):
    service: str
    key: str
    answered_at: datetime
    outcome: str
    fields: Mapping[str, Any]


@dataclass
class World:
    sessions: list[Session] = field(default_factory=list)
    noted: dict[tuple[str, date, str], Noted] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)
    open_questions: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    limits: list[tuple[str, float]] = field(default_factory=list)


COLUMNS_OF = {
    "dshield": ("country", "asn"), "urlhaus": ("url_count",), "spur": ("infrastructure",),
    "virustotal": ("label", "malicious"),
}  # fmt: skip
TABLE_OF = {
    **{service: (f"{service}_enrichment", "address") for service in BY_DAY},
    "virustotal": ("virustotal_files", "sha256"),
}  # fmt: skip
TABLES = (
    "sessions", "logins", "files", "ip_inventory", "service_answers", "open_questions", "service_limits",
    "password_stats", *(table for table, _ in TABLE_OF.values()),
)  # fmt: skip


KEY = ("day", "sensor", "session_id")


def files_of(key: tuple[Any, ...], session: Session) -> list[tuple[Any, ...]]:
    """Twice each, one of them in capitals; and what is none: a download without a hash, one that failed."""
    if not session.files:
        return [(*key, 0, "failed download", "f" * 64, session.begin), (*key, 1, "upload", None, session.begin)]
    names = [("download", name) for name in session.files] + [("upload", name.upper()) for name in session.files]
    rows = [*names, ("failed download", "f" * 64), ("download", None)]
    return [(*key, n, transfer, name, session.begin) for n, (transfer, name) in enumerate(rows)]


def write(connection: Connection, world: World) -> None:
    """The world as rows, in place of all that was there."""
    for table in TABLES:
        connection.execute(f"DELETE FROM {table}".encode())
    # Ids come again on every day and every sensor.
    seen: Counter[tuple[date, str]] = Counter()
    keyed = []
    for session in world.sessions:
        place = (session.begin.date(), session.sensor)
        seen[place] += 1
        keyed.append(((*place, f"s{seen[place]}"), session))
    copies: list[tuple[str, Sequence[str], list[tuple[Any, ...]]]] = [
        (
            "sessions",
            (
                "day", "sensor", "session_id", "first_event_at", "last_event_at", "source_ip", "command_count",
                "ssh_key_injections", "event_count", "login_successes", "commands_failed", "forwarding_requests",
                "unknown_events", "closed", "file_downloads", "file_uploads", "login_attempts",
            ),
            [
                (
                    *key, s.begin, s.begin + timedelta(minutes=90), s.source, *[0] * 7, True,
                    sum(row[4] == "download" for row in files_of(key, s)),
                    sum(row[4] == "upload" for row in files_of(key, s)), s.passwords + s.keys,
                )
                for key, s in keyed
            ],
        ),
        ("files", (*KEY, "sequence", "transfer", "sha256", "occurred_at"),
         [row for key, s in keyed for row in files_of(key, s)]),
        ("logins", (*KEY, "sequence", "occurred_at", "success", "password"),
         [(*key, n, s.begin, False, "x" if n < s.passwords else None)
          for key, s in keyed for n in range(s.passwords + s.keys)]),
        ("password_stats",
         (*KEY, "outcome", "reason", "answered_at", "total_attempts", "unique_passwords", "checked_passwords",
          "breached_passwords"),
         [(*key, s.stats.outcome, s.stats.reason, s.begin if s.stats.outcome in ANSWERS else None, 9,
           *s.stats.passwords) for key, s in keyed if s.stats]),
        (
            "ip_inventory",
            (
                "ip_address", "is_public", "is_own", "first_seen", "last_seen", "session_count", "enrichment_version",
            ),
            [(a, *facts, midnight(FIRST_DAY), midnight(FIRST_DAY), 1, "1") for a, facts in INVENTORY.items()],
        ),
        *(
            (
                table,
                ("day", key_column, "outcome", "reason", "answered_at", *COLUMNS_OF[service]),
                [
                    (day, address, n.outcome, n.reason, midnight(day) if n.outcome in ANSWERS else None, *n.fields)
                    for (of, day, address), n in world.noted.items()
                    if of == service
                ],
            )
            for service, (table, key_column) in TABLE_OF.items()
        ),
        (
            "service_answers",
            ("service", "key", "answered_at", "expires_at", "outcome", "fields", "payload"),
            [(a.service, a.key, a.answered_at, a.answered_at, a.outcome, json.dumps(a.fields), "{}")
             for a in world.answers],
        ),
        (
            "open_questions",
            ("service", "key", "outcome", "reason", "noted_at"),
            [(*key, *value, midnight(FIRST_DAY)) for key, value in world.open_questions.items()],
        ),
        (
            "service_limits",
            ("limit_key", "service", "sustained_seconds", "spacing_seconds", "next_slot"),
            [(f"{n}", *limit, 1.0, midnight(FIRST_DAY)) for n, limit in enumerate(world.limits)],
        ),
    ]  # fmt: skip
    for table, columns, rows in copies:
        with connection.cursor().copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN".encode()) as copy:
            for row in rows:
                copy.write_row(row)


# --- the recount: loops over the rows, and nothing of SQL's -----------------------------------------------------------


class Coverage(NamedTuple):
    service: str
    day: date | None
    sessions: int
    first_session_at: datetime | None
    last_session_at: datetime | None
    eligible_sessions: int
    answered_sessions: int
    answered_share: Decimal | None
    valued_sessions: int
    valued_share: Decimal | None
    unavailable_sessions: int
    quota_sessions: int
    not_configured_sessions: int
    not_asked_sessions: int
    eligible_addresses: int
    open_addresses: int
    main_reason: str | None
    seconds_to_finish: float | None
    seconds_to_gate: float | None
    gate: str


class Verdict(NamedTuple):
    """What one service knows of one session: its outcome, or None where nobody asked; not at all if not eligible."""

    outcome: str | None
    valued: bool
    reason: str | None


WEIGHTIEST = ("unavailable", "quota", None, "not_configured", "found", "not_found")


def verdict(world: World, newest: Mapping[tuple[str, str], Answer], service: str, session: Session) -> Verdict | None:
    if service == "virustotal":
        files = [told for name in session.files if (told := file_verdict(world, session, name)) is not None]
        if not files:
            return None
        worst = min(files, key=lambda told: (WEIGHTIEST.index(told.outcome), told.reason or ""))
        return worst._replace(valued=worst.outcome == "found" and any(told.valued for told in files))
    if service == "hibp":
        if session.stats is None:
            return Verdict(None, False, "not asked yet") if session.passwords else None
        outcome, reason, (_, _, breached) = session.stats
        return (
            None
            if outcome == "not_applicable"
            else Verdict(outcome, outcome == "found" and breached is not None, reason)
        )
    if session.source is None:
        return None
    is_public, is_own = INVENTORY.get(session.source, (True, False))
    if not is_public or is_own:
        return None
    if service in ("urlhaus", "greynoise") and ip_address(session.source).version != 4:
        return None
    if service in BY_DAY:
        noted = world.noted.get((service, session.begin.date(), session.source))
        if noted is None:
            return Verdict(None, False, "not asked yet")
        known = any(value not in (None, "") for value in noted.fields)
        found = Verdict(noted.outcome, noted.outcome == "found" and known, noted.reason)
    else:
        key = (service, str(ip_address(session.source)))
        if key in newest:
            name = {"cymru": "asn", "greynoise": "classification"}[service]
            known = newest[key].fields.get(name) not in (None, "")
            found = Verdict(newest[key].outcome, newest[key].outcome == "found" and known, None)
        elif key in world.open_questions:
            outcome, reason = world.open_questions[key]
            found = Verdict(outcome, False, reason)
        else:
            return Verdict(None, False, "not asked yet")
    return None if found.outcome == "not_applicable" else found


def file_verdict(world: World, session: Session, name: str) -> Verdict | None:
    noted = world.noted.get(("virustotal", session.begin.date(), name))
    if noted is None:
        return Verdict(None, False, "not asked yet")
    valued = noted.outcome == "found" and any(value is not None for value in noted.fields)
    return None if noted.outcome == "not_applicable" else Verdict(noted.outcome, valued, noted.reason)


def share(part: int, whole: int) -> Decimal | None:
    return (Decimal(part) / whole).quantize(Decimal("0.0001"), ROUND_HALF_UP) if whole else None


def gate_text(service: str, eligible: int, answered: int, not_configured: int, gate: Decimal) -> str:
    if service == "greynoise":
        return "sample"
    if eligible == 0:
        return "nothing eligible"
    base = eligible - not_configured
    if base > 0 and answered >= gate * base:
        return "passed"
    return "not configured" if base == 0 else "below the gate"


def recount(
    world: World, since: datetime | None = None, until: datetime | None = None, gate: Decimal = Decimal("0.80")
) -> list[Coverage]:
    newest: dict[tuple[str, str], Answer] = {}
    for answer in world.answers:  # of two of the same moment the one that was written last
        key = (answer.service, answer.key)
        if key not in newest or newest[key].answered_at <= answer.answered_at:
            newest[key] = answer
    window = [s for s in world.sessions if (not since or s.begin >= since) and (not until or s.begin < until)]
    days: list[date | None] = [None, *sorted({s.begin.date() for s in window})]
    rows = []
    for service in SERVICES:
        for day in days:
            sessions = [s for s in window if day is None or s.begin.date() == day]
            counts: Counter[str] = Counter()
            reasons: Counter[str] = Counter()
            eligible_keys: set[str | None] = set()
            open_keys: set[str | None] = set()
            gains: Counter[object] = Counter()
            cost: Counter[object] = Counter()
            for session in sessions:
                found = verdict(world, newest, service, session)
                if found is None:
                    continue
                counts["eligible"] += 1
                counts[found.outcome or "not_asked"] += 1
                counts["valued"] += found.valued
                is_open = found.outcome not in ANSWERS
                unit: object = session.source
                if service == "virustotal":
                    unit = session.files
                    told = {name: file_verdict(world, session, name) for name in session.files}
                    eligible_keys.update(name for name, known in told.items() if known)
                    unanswered = {name for name, known in told.items() if known and known.outcome not in ANSWERS}
                    open_keys.update(unanswered)
                    askable = sum(known is not None and known.outcome in WEIGHTIEST[:3] for known in told.values())
                    if is_open and found.outcome != "not_configured":
                        cost[unit] = max(cost[unit], askable)
                elif service == "hibp":
                    unique, checked, _ = session.stats.passwords if session.stats else (0, 0, None)
                    never_asked = 0 if session.stats else session.passwords + session.keys
                    counts["passwords"] += unique + never_asked
                    counts["unchecked"] += unique - checked
                    counts["never asked"] += never_asked
                else:
                    eligible_keys.add(session.source)
                    open_keys.update({session.source} if is_open else ())
                    cost[unit] = 1
                if is_open:
                    gains[unit] += found.outcome != "not_configured"
                    # An outcome without a reason goes by its own name.
                    reasons[found.reason if found.reason is not None else str(found.outcome).replace("_", " ")] += 1
            eligible, answered = counts["eligible"], counts["found"] + counts["not_found"]
            eligible_number, open_number = len(eligible_keys), len(open_keys)
            base = eligible - counts["not_configured"]
            spacings = [spacing for name, spacing in world.limits if name == service]
            reached, calls = answered, 0
            for unit, gain in sorted(gains.items(), key=lambda pair: (-pair[1], cost[pair[0]])):
                if gain and reached < gate * base:
                    reached, calls = reached + gain, calls + cost[unit]
            if service == "hibp":
                questions = sum(
                    of == "hibp" and outcome != "not_applicable"
                    for (of, _), (outcome, _) in world.open_questions.items()
                )
                eligible_number = counts["passwords"]
                noted = min(counts["unchecked"], questions) if questions else counts["unchecked"]
                open_number = counts["never asked"] + noted
                calls = ceil(open_number * max(gate * base - answered, Decimal(0)) / max(base - answered, 1))
            calls = min(calls, open_number)
            known = bool(spacings) and service != "greynoise"
            rows.append(
                Coverage(
                    service=service,
                    day=day,
                    sessions=len(sessions),
                    first_session_at=min((s.begin for s in sessions), default=None),
                    last_session_at=max((s.begin for s in sessions), default=None),
                    eligible_sessions=eligible,
                    answered_sessions=answered,
                    answered_share=share(answered, eligible),
                    valued_sessions=counts["valued"],
                    valued_share=share(counts["valued"], eligible),
                    unavailable_sessions=counts["unavailable"],
                    quota_sessions=counts["quota"],
                    not_configured_sessions=counts["not_configured"],
                    not_asked_sessions=counts["not_asked"],
                    eligible_addresses=eligible_number,
                    open_addresses=open_number,
                    main_reason=min(reasons, key=lambda reason: (-reasons[reason], reason), default=None),
                    seconds_to_finish=open_number * max(spacings) if spacings else None,
                    seconds_to_gate=calls * max(spacings) if known else None,
                    gate=gate_text(service, eligible, answered, counts["not_configured"], gate),
                )
            )
    return rows


# --- what the file says -----------------------------------------------------------------------------------------------


def text() -> str:
    return sql_file(FILE).read_text(encoding="utf-8")


def coverage(connection: Connection, statement: str | None = None, **given_settings: object) -> list[Coverage]:
    for name in ("since", "until", "gate"):
        value = given_settings.get(name)
        connection.execute("SELECT set_config(%s, %s, true)", (f"cowrie.{name}", "" if value is None else str(value)))
    cursor = connection.execute((statement or text()).encode())
    assert tuple(column.name for column in cursor.description or ()) == Coverage._fields
    return [Coverage(*row) for row in cursor]


def whole(rows: Iterable[Coverage], service: str) -> Coverage:
    return next(row for row in rows if row.service == service and row.day is None)


# --- random worlds ----------------------------------------------------------------------------------------------------

REASONS = ("timeout", "HTTP 503", "budget of the day used up", "no key", "Ä reason", "not asked yet", None)
FIELDS: dict[str, tuple[tuple[Any, ...], ...]] = {
    "dshield": (("DE", 64500), ("DE", None), (None, 64500), (None, None), ("", None), ("", 1)),
    "urlhaus": ((0,), (3,), (None,)),
    "spur": (("DATACENTER",), ("",), (None,)),
    "virustotal": (("trojan.mirai", 41), ("trojan.mirai", None), (None, 0), (None, None)),
}
FILES = tuple(sha256(name).hexdigest() for name in (b"a", b"b", b"c", b"d"))
PASSWORDS = ((1, 1, 1), (3, 3, 0), (4, 1, 1), (2, 0, None), (5, 3, None), (0, 0, None))
JSON_FIELDS: dict[str, tuple[dict[str, Any], ...]] = {
    "cymru": ({"asn": 64500}, {"asn": "64500"}, {"asn": None}, {"asn": ""}, {}, {"classification": "benign"}),
    "greynoise": ({"classification": "malicious"}, {"classification": None}, {"classification": ""}, {}, {"asn": 5}),
}


@st.composite
def worlds(draw: st.DrawFn) -> World:
    days = st.integers(0, 4).map(lambda n: FIRST_DAY + timedelta(days=n))
    moments = st.builds(
        lambda day, second, tick: midnight(day) + timedelta(seconds=second, microseconds=tick),
        days, st.sampled_from((0, 1, 40_000, 86_399)), st.sampled_from((0, 999_999)),
    )  # fmt: skip
    sources = st.sampled_from((*SOURCES, None))
    keys = st.sampled_from(SOURCES)
    # Whoever writes these two tables always gives a reason.
    stats = st.none() | st.builds(
        lambda outcome, reason, passwords: Stats(outcome, None if outcome in ANSWERS else reason, passwords),
        st.sampled_from((*ANSWERS, *NO_ANSWERS)), st.sampled_from(REASONS[:-1]), st.sampled_from(PASSWORDS),
    )  # fmt: skip
    sessions = st.builds(
        lambda begin, sensor, source, files, tries, known: Session(
            begin, sensor, source, tuple(sorted(files)), tries[0], tries[1], known if sum(tries) else None
        ),
        moments, st.sampled_from(("alpha", "beta")), sources, st.sets(st.sampled_from(FILES), max_size=3),
        st.sampled_from(((0, 0), (1, 0), (0, 2), (3, 1))), stats,
    )  # fmt: skip
    noted: dict[tuple[str, date, str], Noted] = {}
    for service in TABLE_OF:
        keys_of_rows, reasons = (st.sampled_from(FILES), REASONS[:-1]) if service == "virustotal" else (keys, REASONS)
        rows = st.builds(
            lambda outcome, reason, fields: Noted(outcome, None if outcome in ANSWERS else reason, fields),
            st.sampled_from((*ANSWERS, *NO_ANSWERS)), st.sampled_from(reasons), st.sampled_from(FIELDS[service]),
        )  # fmt: skip
        by_day = draw(st.dictionaries(st.tuples(days, keys_of_rows), rows, max_size=25))
        noted |= {(service, day, address): row for (day, address), row in by_day.items()}
    # Answers of the other services lie in the same table, and say nothing here.
    services = st.sampled_from((*BY_KEY, *BY_KEY, "dshield", "hibp"))
    answers = st.builds(
        lambda service, key, day, outcome, number: Answer(
            service, key, midnight(day), outcome,
            JSON_FIELDS.get(service, JSON_FIELDS["cymru"])[number % len(JSON_FIELDS.get(service, "123456"))],
        ),
        services, keys.map(lambda a: str(ip_address(a))), days, st.sampled_from(ANSWERS), st.integers(0, 29),
    )  # fmt: skip
    questions = st.dictionaries(
        st.tuples(services, keys.map(lambda a: str(ip_address(a)))),
        st.tuples(st.sampled_from(NO_ANSWERS), st.sampled_from([reason for reason in REASONS if reason])),
        max_size=20,
    )
    return World(
        sessions=draw(st.lists(sessions, max_size=40)),
        noted=noted,
        answers=draw(st.lists(answers, max_size=25)),
        open_questions=draw(questions),
        limits=draw(st.lists(st.tuples(st.sampled_from(SERVICES), st.sampled_from((0.5, 2.1, 60.0))), max_size=4)),
    )


@settings(
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    world=worlds(),
    window=st.sampled_from(((None, None), (1, None), (None, 3), (1, 3), (4, 1))),
    gate=st.sampled_from((None, Decimal("0.80"), Decimal("0.5"), Decimal(1), Decimal(0))),
)
def test_every_number_is_as_counted_by_loops(
    empty: Connection, world: World, window: tuple[int | None, int | None], gate: Decimal | None
) -> None:
    write(empty, world)
    since, until = (None if n is None else midnight(FIRST_DAY + timedelta(days=n)) for n in window)
    assert coverage(empty, since=since, until=until, gate=gate) == recount(
        world, since, until, Decimal("0.80") if gate is None else gate
    )


@cache
def large_world(seed: int) -> World:
    """Thousands of sessions: every service has every outcome on most days."""
    random_ = random.Random(seed)
    # On eight days much happens, on eight more so little that reasons tie.
    days = [FIRST_DAY + timedelta(days=n) for n in range(16)]
    addresses = [*SOURCES, *(f"198.51.100.{n}" for n in range(100, 140)), *(f"2001:db8:{n:x}::1" for n in range(1, 9))]
    weights = [1 / (1 + position % 17) for position in range(len(addresses))]

    def reason() -> str | None:
        return random_.choices(REASONS, (4, 4, 4, 4, 2, 1, 5))[0]

    sessions = [
        Session(
            midnight(random_.choices(days, [40] * 8 + [1] * 8)[0])
            + timedelta(microseconds=random_.randrange(86_400_000_000)),
            random_.choice(("alpha", "beta")),
            random_.choices([*addresses, None], [*weights, 0.5])[0],
        )._replace(
            **deeds(random_),
        )
        for _ in range(2000)
    ]
    outcomes = (*ANSWERS, *NO_ANSWERS, None)
    noted = {}
    often = {
        "dshield": (60, 25, 4, 4, 3, 2, 2), "urlhaus": (25, 15, 20, 20, 2, 2, 16), "spur": (9, 4, 3, 3, 75, 2, 4),
        "virustotal": (30, 30, 5, 12, 8, 5, 10),
    }  # fmt: skip
    for service in TABLE_OF:
        for day in days:
            for address in LARGE_FILES if service == "virustotal" else addresses:
                outcome = random_.choices(outcomes, often[service])[0]
                if outcome is not None:
                    why = None if outcome in ANSWERS else reason() or ("broken" if service == "virustotal" else None)
                    noted[service, day, address] = Noted(outcome, why, random_.choice(FIELDS[service]))
    keys = [str(ip_address(address)) for address in addresses]
    answered_keys = {service: random_.sample(keys, 35) for service in BY_KEY}
    answers = [
        Answer(
            service,
            random_.choice(answered_keys[service]),
            midnight(FIRST_DAY) + timedelta(days=random_.randrange(2)),
            random_.choices(ANSWERS, (3, 1))[0],
            random_.choice(JSON_FIELDS[service]),
        )
        for service in BY_KEY
        for _ in range(120)
    ]
    return World(
        sessions,
        noted,
        answers,
        {
            (service, key): (random_.choice(NO_ANSWERS), reason() or "unknown")
            for service in (*BY_KEY, "dshield", "hibp")
            for key in random_.sample(keys, 40)
        },
        [
            ("dshield", 2.1), ("dshield", 2.5), ("dshield", 0.5), ("urlhaus", 6.0), ("cymru", 60.0), ("other", 900.0),
            ("virustotal", 172.8), ("hibp", 0.05),
        ],
    )  # fmt: skip


LARGE_FILES = tuple(sha256(f"{n}".encode()).hexdigest() for n in range(25))


def deeds(random_: random.Random) -> dict[str, Any]:
    """Files, passwords, keys and what is noted of the passwords."""
    number = random_.choices((0, 1, 2, 3), (70, 20, 6, 4))[0]
    files = {LARGE_FILES[min(int(random_.expovariate(0.3)), 24)] for _ in range(number)}
    passwords, keys = random_.choice(((0, 0), (1, 0), (3, 0), (0, 2), (2, 1)))
    outcome = random_.choices((*ANSWERS, *NO_ANSWERS, None), (60, 10, 5, 4, 3, 4, 8))[0] if passwords + keys else None
    stats = None
    if outcome is not None:
        why = None if outcome in ANSWERS else random_.choice(("timeout", "HTTP 503", "no contact", "not asked yet"))
        stats = Stats(outcome, why, random_.choice(PASSWORDS))
    return {"files": tuple(sorted(files)), "passwords": passwords, "keys": keys, "stats": stats}


@pytest.mark.parametrize("seed", [1, 2])
def test_thousands_of_sessions_are_as_counted_by_loops(empty: Connection, seed: int) -> None:
    world = large_world(seed)
    write(empty, world)
    rows = coverage(empty)
    assert rows == recount(world)
    # Whatever stood in the way, each eligible session is in exactly one of the columns.
    for row in rows:
        assert row.eligible_sessions == (
            row.answered_sessions
            + row.unavailable_sessions
            + row.quota_sessions
            + row.not_configured_sessions
            + row.not_asked_sessions
        )
        assert row.valued_sessions <= row.answered_sessions <= row.eligible_sessions <= row.sessions
    # The world is one that tells: no column is empty, and no two services agree.
    for service in SERVICES:
        row = whole(rows, service)
        assert min(row[5:7]) > 0 and min(row[10:16]) > 0
    assert len({row[5:17] for row in rows if row.day is None}) == len(SERVICES)
    assert {"passed", "below the gate", "sample"} <= {row.gate for row in rows}


def test_days_are_in_utc_whatever_the_session_thinks(empty: Connection) -> None:
    world = large_world(1)
    write(empty, world)
    empty.execute("SELECT set_config('TimeZone', 'Pacific/Kiritimati', true)")
    assert coverage(empty) == recount(world)


# --- the recount is sharp: each wrong file is noticed -----------------------------------------------------------------

MUTANTS = {
    "the window's end is in it": (r"first_event_at < until", "first_event_at <= until"),
    "the window's begin is not in it": (r"first_event_at >= since", "first_event_at > since"),
    "the last session by its end": (r"max\(first_event_at\)", "max(last_event_at)"),
    "the first session is the last": (r"min\(first_event_at\)", "max(first_event_at)"),
    "private sources are asked about": (r"i\.is_public AND NOT i\.is_own", "NOT i.is_own"),
    "own sources are asked about": (r"i\.is_public AND NOT i\.is_own", "i.is_public"),
    "unknown sources are private": (r"AND NOT i\.is_own, true\)", "AND NOT i.is_own, false)"),
    "no source is a public one": (r"s\.source_ip IS NOT null AND coalesce", "coalesce"),
    "URLhaus knows IPv6": (
        r"b\.is_public_ipv4 AS is_askable,\s+e\.outcome", "b.is_public AS is_askable, e.outcome",
    ),
    "GreyNoise knows IPv6": (r"CASE s\.service WHEN 'greynoise' THEN b.is_public_ipv4 ELSE ([^\n]*) END", r"\1"),
    "Cymru knows no IPv6": (r"CASE s\.service WHEN 'greynoise' THEN (b.is_public_ipv4) ELSE [^\n]* END", r"\1"),
    "only sessions that were asked about": (r"LEFT JOIN dshield_enrichment", "INNER JOIN dshield_enrichment"),
    **{
        f"{service} without the day": (rf"({service}_enrichment AS e ON )b\.day = e\.day AND ", r"\1")
        for service in BY_DAY
    },
    **{
        f"{service} without the address": (rf"({service}_enrichment AS e ON b\.day = e\.day) AND [^\n]*", r"\1")
        for service in BY_DAY
    },
    "DShield valued by its AS alone": (r"(e\.asn IS NOT null) OR nullif\(e\.country, ''\) IS NOT null", r"\1"),
    "DShield valued by its country alone": (r"e\.asn IS NOT null OR nullif\(e\.country", "nullif(e.country"),
    "DShield valued by both": (r"e\.asn IS NOT null OR", "e.asn IS NOT null AND"),
    "an empty country is a value": (r"nullif\(e\.country, ''\)", "e.country"),
    "an empty infrastructure is a value": (r"nullif\(e\.infrastructure, ''\)", "e.infrastructure"),
    "every URLhaus answer is a value": (r"e\.url_count IS NOT null", "true"),
    "URLhaus valued only with a URL": (r"e\.url_count IS NOT null", "coalesce(e.url_count, 0) > 0"),
    "an empty AS is a value": (r"nullif\(a\.fields ->> 'asn', ''\)", "a.fields ->> 'asn'"),
    "every Cymru answer is a value": (r"nullif\(a\.fields ->> 'asn', ''\) IS NOT null", "true"),
    "GreyNoise valued by another field": (r"a\.fields ->> 'classification'", "a.fields ->> 'asn'"),
    "nothing found is a value": (r"o\.outcome = 'found' AND o\.has_value", "o.has_value"),
    "every finding is a value": (r"o\.outcome = 'found' AND o\.has_value", "o.outcome = 'found'"),
    "the oldest answer decides": (r"answered_at DESC", "answered_at ASC"),
    "of answers of a moment the first one": (r"answer_id DESC", "answer_id ASC"),
    "an open question beats an answer": (r"coalesce\(a\.outcome, q\.outcome\)", "coalesce(q.outcome, a.outcome)"),
    "open questions are not looked at": (r"coalesce\(a\.outcome, q\.outcome\)", "a.outcome"),
    "answers of any service": (r"service_answers\.service = s\.service AND ", ""),
    "open questions of any service": (r"q ON s\.service = q\.service AND ", "q ON q.service = 'dshield' AND "),
    "what is not applicable is eligible": (
        r"WHERE o\.outcome <> 'not_applicable'\), 0\)::bigint AS eligible", "WHERE true), 0)::bigint AS eligible",
    ),
    "what cannot be asked about is eligible": (r"CASE WHEN is_askable THEN (coalesce[^\n]*) ELSE [^\n]* END", r"\1"),
    "what was not asked is not eligible": (r"coalesce\(outcome, 'not_asked'\)", "coalesce(outcome, 'not_applicable')"),
    "what was not asked is unavailable": (r"coalesce\(outcome, 'not_asked'\)", "coalesce(outcome, 'unavailable')"),
    "answers by found alone": (r"IN \('found', 'not_found'\)(\), 0\)::bigint AS answered)", r"IN ('found')\1"),
    "failures are answers": (
        r"IN \('found', 'not_found'\)(\), 0\)::bigint AS answered)", r"IN ('found', 'not_found', 'unavailable')\1",
    ),
    "quota is unavailable": (r"o\.outcome = 'quota'", "o.outcome = 'unavailable'"),
    "a reason is its outcome": (r"coalesce\(reason, replace\(outcome, '_', ' '\)\)", "replace(outcome, '_', ' ')"),
    "no reason is none": (r"coalesce\(reason, replace\(outcome, '_', ' '\)\)", "reason"),
    "the rarest reason": (r"sum\(sessions\) DESC, reason", "sum(sessions) ASC, reason"),
    "the reason of most rows": (r"ASC, sum\(sessions\) DESC", "ASC, count(*) DESC"),
    "the reason of most addresses": (r"ASC, sum\(sessions\) DESC", "ASC, sum(addresses) DESC"),
    "the last reason of the alphabet": (r" DESC, reason COLLATE \"C\" ASC", ' DESC, reason COLLATE "C" DESC'),
    "addresses of the window summed over its days": (
        r"CASE WHEN c\.day IS null THEN coalesce\(w\.eligible_addresses, 0\) ELSE (c\.addresses) END", r"\1",
    ),
    "open ones of the window summed over its days": (
        r"CASE WHEN c\.day IS null THEN coalesce\(w\.open_addresses, 0\) ELSE (c\.open_addresses) END", r"\1",
    ),
    "an address is open if no session was answered": (r"bool_or\(outcome NOT IN", "bool_and(outcome NOT IN"),
    "private addresses counted": (r"WHERE outcome <> 'not_applicable'\s+GROUP BY", "GROUP BY"),
    "the idlest address first": (r"ORDER BY sessions DESC, requests ASC", "ORDER BY sessions ASC, requests ASC"),
    "the costliest files first": (r"ORDER BY sessions DESC, requests ASC", "ORDER BY sessions DESC, requests DESC"),
    "files of any session": (
        r"(ON s\.day = b\.day AND )s\.sensor = b\.sensor AND s\.session_id = b\.session_id", r"\1true",
    ),
    "failed downloads are files": (r"AND b\.transfer IN \('download', 'upload'\)", ""),
    "files without a hash": (r"AND b\.sha256 IS NOT null", ""),
    "capital letters": (r"array_agg\(DISTINCT lower\(b\.sha256\)\)", "array_agg(DISTINCT b.sha256)"),
    "files as often as they came": (r"array_agg\(DISTINCT lower", "array_agg(lower"),
    "files of any day": (r"ON b\.day = v\.day AND f\.sha256", "ON f.sha256"),
    "only files that were asked about": (r"LEFT JOIN virustotal_files", "INNER JOIN virustotal_files"),
    "files that are not applicable": (r"WHERE v\.outcome IS DISTINCT FROM 'not_applicable'", ""),
    "a file that nobody asked about is unavailable": (
        r"coalesce\(v\.outcome, 'not_asked'\)", "coalesce(v.outcome, 'unavailable')",
    ),
    "files valued by the label alone": (r"v\.label IS NOT null OR v\.malicious IS NOT null", "v.label IS NOT null"),
    "files valued by the engines alone": (r"v\.label IS NOT null OR v\.malicious", "v.malicious"),
    "a session is as its best file": (r"'found'\], f\.outcome\) ASC", "'found'], f.outcome) DESC"),
    "quota weighs more": (
        r"'unavailable', 'quota', 'not_asked', 'not_c", "'quota', 'unavailable', 'not_asked', 'not_c",
    ),
    "not configured weighs more": (r"'not_asked', 'not_configured', 'found'", "'not_configured', 'not_asked', 'found'"),
    "nothing found weighs more": (r"'not_asked', 'not_configured', 'found'", "'not_asked', 'not_configured'"),
    "the last reason of the files": (r'f\.reason COLLATE "C" ASC', 'f.reason COLLATE "C" DESC'),
    "valued by all of its files": (r"bool_or\(f\.outcome = 'found' AND", "bool_and(f.outcome = 'found' AND"),
    "files that cannot be asked about cost": (
        r"FILTER \(WHERE f\.outcome IN \('unavailable', 'quota', 'not_asked'\)\) OVER", "OVER"
    ),
    "a set is one request": (r"sum\(g\.requests\)", "count(*)"),
    "files counted as sessions": (r"count\(DISTINCT sha256\) AS", "count(*) AS"),
    "open files counted as sessions": (r"count\(DISTINCT sha256\) FILTER", "count(*) FILTER"),
    "passwords of any day": (r"(w ON )s\.day = w\.day AND ", r"\1"),
    "passwords of any sensor": (r"(w ON s\.day = w\.day AND )s\.sensor = w\.sensor AND ", r"\1"),
    "only passwords that were asked about": (r"LEFT JOIN password_stats", "INNER JOIN password_stats"),
    "keys are passwords": (r"AND w\.outcome IS DISTINCT FROM 'not_applicable'", ""),
    "keys that nobody looked at are passwords": (r"\s+AND l\.password IS NOT null", ""),
    "passwords that nobody looked at are none": (r"OR EXISTS \(", "OR false AND EXISTS ("),
    "every finding of a password is a value": (r"w\.breached_passwords IS NOT null AS", "true AS"),
    "checked passwords are open": (r"w\.unique_passwords - w\.checked_passwords", "w.unique_passwords"),
    "tries are passwords": (r"coalesce\(w\.unique_passwords, s\.login_attempts\)", "s.login_attempts"),
    "passwords that nobody asked about are not open": (
        r"coalesce\(sum\(passwords\) FILTER \(WHERE outcome = 'not_asked'\), 0\)::bigint \+ ", "",
    ),
    "open questions of any service bound passwords": (r"WHERE service = 'hibp' AND outcome <>", "WHERE outcome <>"),
    "questions that cannot be asked bound passwords": (r" AND outcome <> 'not_applicable'\)", ")"),
    "the part of all passwords": (
        r"greatest\(\(c\.eligible - c\.not_configured\) - c\.answered, 1\)", "nullif(c.eligible, 0)",
    ),
    "sessions without a file are nobody's": (r"d\.sessions - coalesce\(sum\(k\.sessions\), 0\)", "0"),
    "the gate of all eligible": (
        r"(gained_before < settings.gate \* )\(c.eligible - c.not_configured\)", r"\1c.eligible"
    ),
    "one request less": (r"- sessions AS gained_before", "AS gained_before"),
    "the smallest spacing": (r"max\(l\.sustained_seconds\)", "min(l.sustained_seconds)"),
    "the spacings summed": (r"max\(l\.sustained_seconds\)", "sum(l.sustained_seconds)"),
    "the limits of another service": (r"s\.service = l\.service", "l.service = 'cymru'"),
    "time for all addresses": (r"r\.addresses_left \* r\.sustained", "r.eligible_addresses * r.sustained"),
    "share of what is configured": (
        r"r\.answered::numeric / nullif\(r\.eligible, 0\)",
        "r.answered::numeric / nullif(r.eligible - r.not_configured, 0)",
    ),
    "valued share of the answered ones": (
        r"r\.valued::numeric / nullif\(r\.eligible, 0\)", "r.valued::numeric / nullif(r.answered, 0)",
    ),
    "whole numbers divided": (r"r\.answered::numeric", "r.answered"),
    "two decimals": (r"(r\.valued::numeric / nullif\(r\.eligible, 0\), )4", r"\g<1>2"),
    "GreyNoise has a gate": (r"WHEN r\.service = 'greynoise' THEN 'sample'", ""),
    "what is not configured is in the gate's base": (r"\* \(r\.eligible - r\.not_configured\)", "* r.eligible"),
    "the gate is for the valued ones": (r"r\.answered >= settings\.gate", "r.valued >= settings.gate"),
    "the gate is lower": (r"'0\.80'", "'0.60'"),
    "days of nothing": (r"HAVING grouping\(o\.day\) = 1 OR o\.day IS NOT null", "HAVING o.day IS NOT null"),
    "the days first": (r"r\.day ASC NULLS FIRST", "r.day ASC"),
    "services by the alphabet": (r"ORDER BY r\.position ASC", "ORDER BY r.service ASC"),
}  # fmt: skip


@pytest.fixture(scope="module")
def large_url(server: Server) -> str:
    url = server.new_database()
    with open_connection(url) as connection:
        write(connection, large_world(1))
        connection.execute("ANALYZE")
    return url


@pytest.fixture
def large(large_url: str) -> Iterator[Connection]:
    with open_connection(large_url) as connection, connection.transaction(force_rollback=True):
        yield connection


@cache
def recount_of_the_large_world() -> tuple[tuple[dict[str, datetime], list[Coverage]], ...]:
    """All of it, and from one session's very begin to another's."""
    world = large_world(1)
    moments = sorted(session.begin for session in world.sessions if session.source in PUBLIC)
    window = {"since": moments[25], "until": moments[-25]}
    return ({}, recount(world)), (window, recount(world, window["since"], window["until"]))


def differs(connection: Connection, statement: str) -> bool:
    return any(
        coverage(connection, statement, **window) != expected for window, expected in recount_of_the_large_world()
    )


def test_the_right_file_does_not_differ(large: Connection) -> None:
    assert not differs(large, text())


@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_file_differs_from_the_recount(large: Connection, name: str) -> None:
    right, wrong = MUTANTS[name]
    mutated, found = re.subn(right, wrong, text(), flags=re.I)
    assert found == 1, "the mutation no longer fits the file"
    assert differs(large, mutated)


VIEW_MUTANTS = [
    (r"i\.is_public AND NOT i\.is_own", "i.is_public"),
    (r"i\.is_public AND NOT i\.is_own", "NOT i.is_own"),
    (r"AND NOT i\.is_own, TRUE\)", "AND NOT i.is_own, FALSE)"),
    (r"WHEN s\.source_ip IS NULL THEN FALSE", "WHEN FALSE THEN FALSE"),
    (r"AND l\.password IS NOT NULL", ""),
    (r"'upload'\) AND b\.sha256 IS NOT NULL", "'upload')"),
]


def eligible_by_the_view(connection: Connection) -> list[tuple[Any, ...]]:
    return connection.execute(
        """
        SELECT
            count(*) FILTER (WHERE has_public_source),
            count(*) FILTER (WHERE has_public_source AND family(source_ip) = 4),
            count(*) FILTER (WHERE has_file), count(*) FILTER (WHERE has_password)
        FROM session_summaries
        """
    ).fetchall()


def test_the_view_and_the_file_call_the_same_sessions_eligible(large: Connection) -> None:
    """The file does not read the view, which would cost it a third more, so both say which sources are public."""
    for table in ("dshield_enrichment", "urlhaus_enrichment", "virustotal_files", "password_stats"):
        large.execute(f"DELETE FROM {table}".encode())
    rows = {row.service: row.eligible_sessions for row in coverage(large) if row.day is None}
    eligible = [tuple(rows[service] for service in ("dshield", "urlhaus", "virustotal", "hibp"))]
    assert eligible_by_the_view(large) == eligible
    view = sql_file("session_summaries.sql").read_text(encoding="utf-8")
    for right, wrong in VIEW_MUTANTS:
        mutated, found = re.subn(right, wrong, view, flags=re.I)
        assert found == 1, "the mutation no longer fits the view"
        large.execute(mutated.encode())
        assert eligible_by_the_view(large) != eligible, right


# --- the gate ---------------------------------------------------------------------------------------------------------

DAY = date(2024, 11, 5)


def sessions(*sources: str | None, day: date = DAY) -> list[Session]:
    """Each with a password and a file that is its source's, where that is public."""
    return [
        Session(
            midnight(day) + timedelta(minutes=n), "alpha", source,
            *(((sha(source),), 1) if source and INVENTORY.get(source, (True, False)) == (True, False) else ()),
        )
        for n, source in enumerate(sources)
    ]  # fmt: skip


def sha(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def note(world: World, service: str, address: str, outcome: str | None, day: date = DAY, reason: str = "why") -> None:
    """What a service said of an address, where that service keeps it; None: nobody asked."""
    if outcome is None:
        return
    key = str(ip_address(address))
    why = None if outcome in ANSWERS else reason
    if service == "hibp":
        stats = Stats(outcome, why, (1, 1, int(outcome == "found")) if outcome in ANSWERS else (1, 0, None))
        world.sessions = [
            s._replace(stats=stats) if (s.begin.date(), s.source) == (day, address) and s.passwords else s
            for s in world.sessions
        ]
    elif service in TABLE_OF:
        fields = {"dshield": ("DE", 64500), "urlhaus": (1,), "spur": ("MOBILE",), "virustotal": ("worm", 1)}[service]
        known = fields if outcome == "found" else (None,) * len(fields)
        name = sha(address) if service == "virustotal" else address
        world.noted[service, day, name] = Noted(outcome, why, known)
    elif outcome in ANSWERS:
        found = {"asn": 64500, "classification": "benign"} if outcome == "found" else {}
        world.answers.append(Answer(service, key, midnight(day), outcome, found))
    else:
        world.open_questions[service, key] = (outcome, reason)


def each_of_its_own(service: str, *outcomes: tuple[str | None, int]) -> World:
    """So many sessions with that outcome, each from an address of its own."""
    world = World()
    addresses = (f"198.51.{100 + n // 250}.{1 + n % 250}" for n in range(1000))
    for outcome, number in outcomes:
        for address, _ in zip(addresses, range(number), strict=False):
            world.sessions += sessions(address)
            note(world, service, address, outcome)
    world.sessions = [s._replace(begin=s.begin + timedelta(seconds=n)) for n, s in enumerate(world.sessions)]
    return world


GATES: list[tuple[tuple[tuple[str | None, int], ...], str]] = [
    ((), "nothing eligible"),
    ((("not_applicable", 3),), "nothing eligible"),
    ((("found", 4), ("unavailable", 1)), "passed"),  # 4/5, the gate itself
    ((("not_found", 4), ("quota", 1)), "passed"),  # an answer, if not a finding
    ((("found", 28), (None, 7)), "passed"),  # 28/35, where 0.8 as a float is a little more than 4/5
    ((("found", 27), (None, 8)), "below the gate"),
    ((("found", 3), (None, 1)), "below the gate"),
    (((None, 1),), "below the gate"),
    ((("unavailable", 5),), "below the gate"),
    # Not configured is out of the base, not out of the share.
    ((("found", 4), ("unavailable", 1), ("not_configured", 95)), "passed"),
    ((("found", 3), ("unavailable", 1), ("not_configured", 96)), "below the gate"),
    ((("not_configured", 5),), "not configured"),
    ((("not_configured", 5), ("not_applicable", 5)), "not configured"),
    ((("not_configured", 5), (None, 1)), "below the gate"),
    ((("not_configured", 5), ("found", 1)), "passed"),
]


@pytest.mark.parametrize(("outcomes", "gate"), GATES)
def test_the_gate_says_what_it_rests_on(
    empty: Connection, outcomes: tuple[tuple[str | None, int], ...], gate: str
) -> None:
    for service in SERVICES:
        world = each_of_its_own(service, *outcomes)
        # Neither of these is in any base.
        world.sessions += sessions(PRIVATE, OWN, None)
        write(empty, world)
        of_service = [row for row in coverage(empty) if row.service == service]
        assert [row.day for row in of_service] == [None, DAY]
        count = dict(outcomes)
        for row in of_service:
            assert row.gate == ("sample" if service == "greynoise" else gate)
            assert row.sessions == 3 + sum(count.values())
            assert row.eligible_sessions == sum(count.values()) - count.get("not_applicable", 0)
            assert row.answered_sessions == count.get("found", 0) + count.get("not_found", 0)
            assert row.answered_share == share(row.answered_sessions, row.eligible_sessions)
            assert row.valued_sessions == count.get("found", 0)
            assert row.not_asked_sessions == count.get(None, 0)
            noted = sum(count.get(name, 0) for name in ("unavailable", "quota", "not_configured"))
            assert row.open_addresses == noted + count.get(None, 0)
            assert row.main_reason == (
                None if row.open_addresses == 0 else "why" if noted > count.get(None, 0) else "not asked yet"
            )


def test_the_words_name_what_is_asked_about(empty: Connection) -> None:
    write(empty, World(sessions=sessions(PUBLIC[0])))
    words = {row.service: row.words for row in read_coverage(empty) if row.day is None}
    assert {service: re.search(r"1 of 1 (\w+) are open", told)[1] for service, told in words.items()} == {  # type: ignore[index]
        **dict.fromkeys((*BY_DAY, *BY_KEY), "addresses"), "virustotal": "files", "hibp": "passwords",
    }  # fmt: skip


def test_the_gate_can_be_set(empty: Connection) -> None:
    write(empty, each_of_its_own("dshield", ("found", 3), (None, 1)))
    assert whole(coverage(empty, gate="0.75"), "dshield").gate == "passed"
    assert whole(coverage(empty, gate="0.7501"), "dshield").gate == "below the gate"
    assert whole(coverage(empty, gate=""), "dshield").gate == "below the gate"


def test_a_window_without_a_session_says_so(empty: Connection) -> None:
    """Zero rows looked like success: an empty warehouse has a row a service, and none of them passes."""
    write(empty, World(limits=[("dshield", 2.1)]))
    nothing = [
        Coverage(
            service, None, 0, None, None, 0, 0, None, 0, None, 0, 0, 0, 0, 0, 0, None,
            *(0.0 if service == "dshield" else None,) * 2, "sample" if service == "greynoise" else "nothing eligible",
        )
        for service in SERVICES
    ]  # fmt: skip
    assert coverage(empty) == nothing
    write(empty, each_of_its_own("dshield", ("found", 5)))
    empty.execute("INSERT INTO service_limits VALUES ('a', 'dshield', 2.1, 2.1, now())")
    assert coverage(empty, since="2030-01-01") == nothing


# --- what failed before -----------------------------------------------------------------------------------------------


def test_failures_stored_as_empty_payloads_read_100_percent(empty: Connection) -> None:
    """Failures and missing keys were stored as empty answers, and the row counted as done for ever."""
    for outcome in ("unavailable", "quota", "not_configured"):
        for service in SERVICES:
            write(empty, each_of_its_own(service, (outcome, 20)))
            row = whole(coverage(empty), service)
            assert (row.eligible_sessions, row.answered_sessions, row.answered_share) == (20, 0, Decimal("0.0000"))
            assert (row.valued_sessions, row.open_addresses, row.main_reason) == (0, 20, "why")
            assert getattr(row, f"{outcome}_sessions") == 20
            assert row.gate != "passed"


def test_answers_with_nothing_inside_are_answered_and_not_valued(empty: Connection) -> None:
    """Coverage read 100 % with nothing inside: an empty answer is one, and `valued` says that it holds nothing."""
    world = each_of_its_own("dshield", ("found", 20))
    world.noted = {key: Noted("found", None, ("", None)) for key in world.noted}
    write(empty, world)
    row = whole(coverage(empty), "dshield")
    assert (row.answered_share, row.valued_share, row.gate) == (Decimal("1.0000"), Decimal("0.0000"), "passed")


def test_sessions_are_counted_and_not_calls(empty: Connection) -> None:
    """ "197,992 calls": the counters counted sessions. Here 100 sessions of one source are one address to ask about."""
    world = World(sessions=sessions(*(PUBLIC[0],) * 100, *(PUBLIC[1],) * 10, PUBLIC[2]), limits=[("dshield", 2.0)])
    note(world, "dshield", PUBLIC[0], "found")
    note(world, "dshield", PUBLIC[1], "unavailable", reason="timeout")
    write(empty, world)
    row = whole(coverage(empty), "dshield")
    assert (row.eligible_sessions, row.answered_sessions, row.answered_share) == (111, 100, Decimal("0.9009"))
    assert (row.eligible_addresses, row.open_addresses, row.seconds_to_finish) == (3, 2, 4.0)
    # Ten sessions of one address outweigh the one that nobody asked about.
    assert (row.main_reason, row.not_asked_sessions) == ("timeout", 1)


def test_sessions_without_an_address_are_nobodys(empty: Connection) -> None:
    """They were enriched as 192.168.1.1; private and own sources were sent to third parties."""
    for source in (None, "192.168.1.1", PRIVATE, "fd00::5", OWN, OWN_IPV6):
        world = World(sessions=[s._replace(files=(), passwords=0) for s in sessions(*(source,) * 5)])
        for service in SERVICES:
            for address in (source, "192.168.1.1"):
                if address is not None:
                    note(world, service, address, "found")
        write(empty, world)
        empty.execute(
            "INSERT INTO ip_inventory (ip_address, is_public, first_seen, last_seen, session_count, enrichment_version)"
            " VALUES ('192.168.1.1', false, now(), now(), 1, '1')"
        )
        for row in coverage(empty):
            assert (row.sessions, row.eligible_sessions, row.answered_sessions, row.open_addresses) == (5, 0, 0, 0)
            assert row.gate == ("sample" if row.service == "greynoise" else "nothing eligible")


def test_an_answer_of_another_day_is_none_of_this_one(empty: Connection) -> None:
    """The daily tables hold the answer nearest to each day; a day without its row is not covered by the next one's."""
    later = DAY + timedelta(days=1)
    world = World(sessions=[*sessions(PUBLIC[0]), *sessions(PUBLIC[0], day=later)], limits=[("dshield", 3.0)])
    for service in SERVICES:
        note(world, service, PUBLIC[0], "found", day=later)
    write(empty, world)
    rows = {(row.service, row.day): row for row in coverage(empty)}
    for service in (*BY_DAY, *BY_SESSION):
        assert [rows[service, day].answered_sessions for day in (None, DAY, later)] == [1, 0, 1]
        assert [rows[service, day].open_addresses for day in (None, DAY, later)] == [1, 1, 0]
    # Services that are asked once an address answered for all of its days.
    for service in BY_KEY:
        assert [rows[service, day].answered_sessions for day in (None, DAY, later)] == [2, 1, 1]
    assert [rows["dshield", day].seconds_to_finish for day in (None, DAY, later)] == [3.0, 3.0, 0.0]


def test_a_failure_after_an_answer_does_not_take_it_away(empty: Connection) -> None:
    world = World(sessions=sessions(PUBLIC[0], PUBLIC[1]))
    for outcome in ("found", "unavailable"):
        note(world, "cymru", PUBLIC[0], outcome)
    note(world, "cymru", PUBLIC[1], "not_applicable")
    write(empty, world)
    row = whole(coverage(empty), "cymru")
    assert (row.eligible_sessions, row.answered_sessions, row.valued_sessions, row.main_reason) == (1, 1, 1, None)


def psql(url: str, *settings_: str) -> list[dict[str, str]]:
    """The file as an operator runs it, in the psql that the wheel brings."""
    command = [str(EmbeddedServer(Path("/")).binary("psql")), "--csv", "-X", "-q", "-v", "ON_ERROR_STOP=1", url]
    for setting in settings_:
        command += ["-c", setting]
    done = subprocess.run(
        [*command, "-f", str(sql_file(FILE))],
        env={**os.environ, "PGOPTIONS": "-c TimeZone=UTC"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return list(csv.DictReader(done.stdout.splitlines()))


def test_the_gate_is_a_column_and_not_a_place_in_the_output(large_url: str) -> None:
    """One gate parsed the wrong column of psql's output, another read a path that cannot exist."""
    expected = recount(large_world(1))
    rows = psql(large_url)
    assert tuple(rows[0]) == Coverage._fields
    shown = [(row["service"], row["day"], int(row["answered_sessions"]), row["gate"]) for row in rows]
    assert shown == [(row.service, str(row.day or ""), row.answered_sessions, row.gate) for row in expected]
    since = midnight(FIRST_DAY + timedelta(days=3))
    expected = recount(large_world(1), since=since, gate=Decimal("0.3"))
    rows = psql(large_url, f"SET cowrie.since = '{since:%Y-%m-%d}'", "SET cowrie.gate = '0.3'")
    shown = [(row["service"], row["day"], int(row["answered_sessions"]), row["gate"]) for row in rows]
    assert shown == [(row.service, str(row.day or ""), row.answered_sessions, row.gate) for row in expected]


# --- the coverage queries of the seeds, as they stand -----------------------------------------------------------------

MISSING = """
SELECT COUNT(*) FROM session_summaries
WHERE first_event_at >= '2024-11-01'
  AND (enrichment->'dshield' IS NULL
       OR enrichment->'spur' IS NULL);
"""
DSHIELD_PCT = """
SELECT
    COUNT(*) as total_sessions,
    COUNT(CASE WHEN enrichment->'dshield'->>'country' IS NOT NULL THEN 1 END) as has_dshield,
    ROUND(100.0 * COUNT(CASE WHEN enrichment->'dshield'->>'country' IS NOT NULL THEN 1 END) / COUNT(*), 2) as dshield_pct
FROM session_summaries
WHERE first_event_at >= '2024-11-01';
"""  # noqa: E501


@pytest.mark.parametrize("seed", [1, 2])
def test_the_queries_of_the_seeds_tell_the_truth(empty: Connection, seed: int) -> None:
    world = large_world(seed)
    write(empty, world)
    missing = total = with_country = 0
    for session in world.sessions:
        if session.begin < datetime(2024, 11, 1, tzinfo=UTC):
            continue
        total += 1
        noted = {service: world.noted.get((service, session.begin.date(), session.source or "")) for service in BY_DAY}
        answered = {service for service, row in noted.items() if row is not None and row.outcome in ANSWERS}
        missing += not {"dshield", "spur"} <= answered
        row = noted["dshield"]
        with_country += row is not None and row.outcome in ANSWERS and row.fields[0] is not None
    assert 0 < with_country < total < len(world.sessions)
    assert 0 < missing < total
    assert empty.execute(MISSING.encode()).fetchall() == [(missing,)]
    percentage = (Decimal(100 * with_country) / total).quantize(Decimal("0.01"), ROUND_HALF_UP)
    assert empty.execute(DSHIELD_PCT.encode()).fetchall() == [(total, with_country, percentage)]
