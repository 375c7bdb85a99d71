"""`make bench`: a warm refresh, in which every question has its answer already, beside one bare join in the same run.

The seeds' system refreshed 29 sessions a second, for it looked each of them up by itself. Here 200,000 sessions of 60
days, from 8,000 addresses, go the way that the daily assets go: which questions there are (selection), whether each has
an answer (lookup, by whichever tier has it), the rows of all days (join and write), how much is known (coverage).
Passwords and files have assets of their own, so that sessions are generated without them.

The machine may be shared and noisy, so medians and ratios count, never a single time; and of each time there is also
what is left of it without the waiting for a core that others had, of this process and of its database backend.
"""

from __future__ import annotations

import gc
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import redis as redis_library
from rich.console import Console
from rich.table import Table

from cowrie_assets.assets.questions import QUESTIONS, Needs
from cowrie_assets.lookup.asking import Asking, Tally, ask
from cowrie_assets.lookup.cache import Cache, open_cache
from cowrie_assets.lookup.gate import EgressGate
from cowrie_assets.lookup.services import SERVICES
from cowrie_assets.warehouse.coverage import Coverage, coverage
from cowrie_assets.warehouse.database import migrate, open_connection
from cowrie_assets.warehouse.embedded import EmbeddedServer
from cowrie_assets.warehouse.event_chunks import Connection
from cowrie_assets_tests.benchmarks.loading import RESULTS
from cowrie_assets_tests.redis_server import running_redis

SESSIONS, ADDRESSES, DAYS = 200_000, 8_000, 60
FIRST_DAY = date(2025, 7, 1)
ASKED = ("dshield", "urlhaus", "spur")
ROUNDS = 3
LIMIT = 5_000  # sessions a second, of all three services together
SEEDS = 29
HEADING = "## A warm refresh"
# The lookup that counts for the total is the slowest one: a new process, without a Redis.
COLD, HOT, REDIS_COLD, REDIS_HOT = (
    "lookup: database (memory cold)", "lookup: memory", "lookup: database (Redis cold)", "lookup: Redis",
)  # fmt: skip
SELECTION, WRITE, COVERAGE = "selection", "join and write", "coverage"
BARE_ONE, BARE = "bare join, one service", "bare join, three services"
REFRESH_ONE, REFRESH = "refresh, one service", "refresh, three services"

# What the services' own modules make of a usual answer.
_FIELDS = {
    "dshield": """
        'attacks', number, 'reports', 10 * number, 'first_reported', '2025-05-01', 'last_reported', '2025-06-30',
        'max_risk', 5, 'asn', 64500 + number % 500, 'as_name', 'EXAMPLE-' || number, 'country', 'DE',
        'network', '5.0.0.0/8', 'threat_feeds', jsonb_build_array('blocklistde22', 'ciarmy')
    """,
    "urlhaus": """
        'url_count', number % 90, 'online_count', number % 3, 'first_seen', '2025-05-01T00:00:05Z',
        'last_added', '2025-06-30T00:00:05Z', 'tags', jsonb_build_array('elf', 'mirai'),
        'threats', jsonb_build_array('malware_download'), 'blacklists', '[]'::jsonb
    """,
    "spur": """
        'is_vpn', number % 5 = 0, 'is_proxy', number % 7 = 0, 'is_tor', FALSE, 'is_anonymous', number % 5 = 0,
        'infrastructure', 'DATACENTER', 'client_types', jsonb_build_array('DESKTOP', 'MOBILE'),
        'client_count', number % 50, 'client_countries', 2, 'behaviors', jsonb_build_array('FILE_SHARING'),
        'proxies', '[]'::jsonb, 'risks', jsonb_build_array('TUNNEL'), 'services', jsonb_build_array('OPENVPN'),
        'tunnel_types', jsonb_build_array('VPN'), 'tunnel_operators', jsonb_build_array('EXAMPLE_VPN'),
        'asn', 64500 + number % 500, 'organization', 'Example ' || number, 'country', 'DE'
    """,
}
_ADDRESSES = "SELECT number, '5.0.0.0'::inet + number * 2053 AS address FROM generate_series(0, %s - 1) AS number"


class Taken(NamedTuple):
    """Seconds: by the clock, and without the waiting for a core."""

    passed: float
    worked: float


def timed(connection: Connection, work: Callable[[], object]) -> Taken:
    backend = connection.info.backend_pid
    gc.collect()
    begun, waited = time.perf_counter(), _waited(backend)
    work()
    passed = time.perf_counter() - begun
    return Taken(passed, passed - (_waited(backend) - waited))


def _waited(backend: int) -> float:
    """How long this thread and a backend, of which only one works at a time, were ready and had no core; 0 where the
    system does not say."""
    waited = 0
    for place in (f"self/task/{threading.get_native_id()}", str(backend)):
        with suppress(OSError, ValueError, IndexError):
            waited += int(Path(f"/proc/{place}/schedstat").read_text(encoding="ascii").split()[1])
    return waited / 1e9


def total(taken: Iterable[Taken]) -> Taken:
    passed, worked = zip(*taken, strict=True)
    return Taken(sum(passed), sum(worked))


@dataclass(frozen=True)
class Size:
    """How much there is to refresh."""

    sessions: int = SESSIONS
    addresses: int = ADDRESSES
    days: int = DAYS

    @property
    def all_days(self) -> list[date]:
        return [FIRST_DAY + timedelta(days=number) for number in range(self.days)]


def generate(connection: Connection, size: Size) -> None:
    """Sessions whose sources are as unequal as real ones, and an answer of each service about each of them that is good
    for all days; of ten, three are "not found"."""
    with connection.transaction():
        connection.execute("SELECT setseed(0.42)")
        connection.execute(
            f"""
            WITH sources AS (SELECT array_agg(address ORDER BY number) AS addresses FROM ({_ADDRESSES}) AS a),
            attacks AS (
                SELECT
                    number,
                    floor(power(random(), 3) * %s)::int AS source,
                    %s + floor(random() * %s)::int AS day,
                    random() AS luck
                FROM generate_series(1, %s) AS number
            )
            INSERT INTO sessions (
                day, sensor, session_id, first_event_at, last_event_at, event_count, source_ip, source_port,
                destination_ip, destination_port, protocol, client_version, hassh, duration_seconds, login_attempts,
                login_successes, command_count, commands_failed, file_downloads, file_uploads, ssh_key_injections,
                forwarding_requests, unknown_events, closed
            )
            SELECT
                day, 'alpha', to_hex(number), day + luck * interval '23 hours', day + luck * interval '24 hours', 9,
                addresses[1 + source], 50000, '10.0.0.5', 2222, 'ssh', 'SSH-2.0-Go', md5(source::text), 12.5, 0,
                (luck < 0.1)::int, (luck < 0.05)::int, 0, 0, 0, 0, 0, 0, TRUE
            FROM attacks CROSS JOIN sources
            """.encode(),
            (size.addresses, size.addresses, FIRST_DAY, size.days, size.sessions),
        )
        connection.execute(
            """
            INSERT INTO ip_inventory (ip_address, is_public, first_seen, last_seen, session_count, enrichment_version)
            SELECT source_ip, TRUE, min(first_event_at), max(last_event_at), count(*), '1' FROM sessions GROUP BY 1
            """
        )
        connection.execute("INSERT INTO event_days (day, revision) SELECT DISTINCT day, 1 FROM sessions")
        for service, fields in _FIELDS.items():
            connection.execute(
                f"""
                INSERT INTO service_answers (service, key, answered_at, expires_at, outcome, fields, payload)
                SELECT
                    %s, host(address), %s, %s, CASE WHEN number %% 10 < 7 THEN 'found' ELSE 'not_found' END,
                    known.fields, known.fields
                FROM ({_ADDRESSES}) AS asked
                CROSS JOIN LATERAL (SELECT jsonb_build_object({fields.replace("%", "%%")}) AS fields) AS known
                """.encode(),
                (service, FIRST_DAY, FIRST_DAY + timedelta(days=size.days + 1), size.addresses),
            )
    connection.execute("VACUUM ANALYZE")


class Refresh:
    """The refresh of one service after another over one connection, timed step by step."""

    def __init__(self, connection: Connection, url: str, size: Size) -> None:
        self._connection = connection
        self._url = url
        self._size = size
        self._needs: dict[str, Needs] = {}
        self.tally = Tally()
        self.known: list[Coverage] = []

    def selection(self, service: str) -> Taken:
        def select() -> None:
            self._needs[service] = QUESTIONS[f"{service}_enrichment"].needs(self._connection, self._size.all_days)

        return timed(self._connection, select)

    def lookup(self, service: str, cache: Callable[[], Cache]) -> Taken:
        """All of it: the gate, the opening of the cache, the cache, what is noted and counted."""
        # Whoever asks fails: nothing listens there, and it is switched off.
        asked = replace(SERVICES[service], address="http://127.0.0.1:9", switched_off="nobody asks in a benchmark")

        def look() -> None:
            gate = EgressGate.of(self._connection, ())
            asking = Asking(partial(open_connection, self._url), gate, "benchmark", cache=cache())
            self.tally = ask(asking, asked, self._needs[service].moments)

        taken = timed(self._connection, look)
        if self.tally.requests or self.tally.open or self.tally.hits.total() != len(self._needs[service].moments):
            raise AssertionError(f"{service} is not warm: {self.tally}")
        return taken

    def write(self, service: str) -> Taken:
        def write() -> None:
            for day in self._size.all_days:
                QUESTIONS[f"{service}_enrichment"].write(self._connection, day)

        return timed(self._connection, write)

    def coverage(self) -> Taken:
        def count() -> None:
            self.known = coverage(self._connection)

        taken = timed(self._connection, count)
        shares = {row.service: row.answered_share for row in self.known if row.day is None and row.service in ASKED}
        if shares != dict.fromkeys(ASKED, 1):
            raise AssertionError(f"not all sessions are answered: {shares}")
        return taken


def bare_join(connection: Connection, services: tuple[str, ...]) -> Taken:
    """The least that anybody would have to do: each session beside its answer, once."""

    def join() -> None:
        connection.execute(
            """
            SELECT count(*), count(a.fields ->> 'asn')
            FROM sessions AS s
            INNER JOIN service_answers AS a ON a.service = ANY(%s) AND a.key = host(s.source_ip)
            """,
            (list(services),),
        ).fetchone()

    return timed(connection, join)


def memory(connection: Connection, folder: Path) -> Cache:
    """The cache of a process that has no Redis."""
    return open_cache(connection, None, folder)


def refresh(run: Refresh, connection: Connection, folder: Path, redis_url: str | None = None) -> dict[str, list[Taken]]:
    """One round: seconds of each step, service by service; coverage is one for all of them."""
    times: dict[str, list[Taken]] = {}

    def note(step: str, taken: Taken) -> None:
        times.setdefault(step, []).append(taken)

    for service in ASKED:
        note(SELECTION, run.selection(service))
        forget(connection, folder)
        note(COLD, run.lookup(service, partial(memory, connection, folder)))
        note(HOT, run.lookup(service, partial(memory, connection, folder)))
        if redis_url is not None:
            redis_library.Redis.from_url(redis_url).flushall()
            note(REDIS_COLD, run.lookup(service, partial(open_cache, connection, redis_url, folder)))
            note(REDIS_HOT, run.lookup(service, partial(open_cache, connection, redis_url, folder)))
        note(WRITE, run.write(service))
    # One service's needs no less: it counts all of them, whichever was refreshed.
    note(COVERAGE, run.coverage())
    return times


def forget(connection: Connection, folder: Path) -> None:
    hot = memory(connection, folder).hot
    if hot is not None:
        hot.close()


def totals(times: dict[str, list[Taken]]) -> tuple[Taken, Taken]:
    """A whole refresh by a new process: of one service (the slowest), and of all three."""
    by_service = [total(steps) for steps in zip(times[SELECTION], times[COLD], times[WRITE], strict=True)]
    return total([max(by_service), *times[COVERAGE]]), total([*by_service, *times[COVERAGE]])


@contextmanager
def _redis(folder: Path) -> Iterator[str | None]:
    """A Redis, where one can be started."""
    with ExitStack() as stack:
        try:
            url = stack.enter_context(running_redis(folder)).url
        except (RuntimeError, OSError) as error:
            print(f"without Redis: {error}", file=sys.stderr)  # noqa: T201
            url = None
        yield url


def measure(folder: Path) -> dict[str, list[Taken]]:
    """Seconds of each line of the table, a number a round; steps are the sum over the services."""
    server, size = EmbeddedServer(folder / "home"), Size()
    found: dict[str, list[Taken]] = {}
    with server.hold() as url, _redis(folder) as redis_url:
        migrate(url)
        with open_connection(url) as connection:
            generate(connection, size)
            run = Refresh(connection, url, size)
            for _ in range(ROUNDS):
                found.setdefault(BARE_ONE, []).append(bare_join(connection, ASKED[:1]))
                found.setdefault(BARE, []).append(bare_join(connection, ASKED))
                times = refresh(run, connection, folder / "cache", redis_url)
                for step, taken in times.items():
                    found.setdefault(step, []).append(total(taken))
                one, three = totals(times)
                found.setdefault(REFRESH_ONE, []).append(one)
                found.setdefault(REFRESH, []).append(three)
    return found


def rate_of(taken: list[Taken]) -> float:
    """Sessions a second by the clock."""
    return SESSIONS / statistics.median(one.passed for one in taken)


def table_of(found: dict[str, list[Taken]]) -> list[tuple[str, ...]]:
    """A line a step, each beside the limit and the bare join."""
    rows: list[tuple[str, ...]] = []
    for step, taken in found.items():
        bare = found[BARE_ONE if "one service" in step else BARE]
        ratio = statistics.median(b.passed / t.passed for b, t in zip(bare, taken, strict=True))
        passed, worked = (statistics.median(column) for column in zip(*taken, strict=True))
        limit = f">= {LIMIT:,}" if step == REFRESH else ""
        rates = (f"{SESSIONS / passed:,.0f}", f"{SESSIONS / passed / LIMIT:.1f}", f"{ratio:.4f}", limit)
        rows.append((step, f"{passed:.3f}", *rates, f"{SESSIONS / worked:,.0f}"))
    return rows


def keep(section: str) -> None:
    """Put the section in its place in the results, whatever else stands there."""
    text = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else "# Benchmarks\n"
    before, heading, rest = text.partition(f"\n{HEADING}\n")
    _, next_heading, after = rest.partition("\n## ") if heading else ("", "", "")
    RESULTS.write_text(f"{before.rstrip()}\n\n{section}{next_heading}{after}", encoding="utf-8")


def main() -> int:
    with TemporaryDirectory(ignore_cleanup_errors=True) as name:
        found = measure(Path(name))
    header = (
        "step",
        "median s",
        "sessions/s",
        f"times {LIMIT:,}/s",
        "ratio to bare join",
        "limit",
        "sessions/s at work",
    )
    rows = table_of(found)
    rate = rate_of(found[REFRESH])
    said = (
        f"{SESSIONS:,} sessions of {DAYS} days from {ADDRESSES:,} addresses, all of them answered; no request leaves; "
        f"medians of {ROUNDS} rounds. Steps are of all three services; a refresh is selection, lookup by a new process "
        "without a Redis, join and write of every day, and coverage (of one service: of the slowest). At work: without "
        "the waiting for a core that others had. The seeds' system did "
        f"{SEEDS} sessions/s: this is {rate / SEEDS:,.0f} times that."
    )
    table = Table(*header, title=HEADING.removeprefix("## "), caption=said)
    for cells in rows:
        table.add_row(*cells)
    Console().print(table)
    lines = [HEADING, "", said, "", "| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    keep("\n".join(lines + ["| " + " | ".join(cells) + " |" for cells in rows]) + "\n")
    if rate < LIMIT:
        print(f"a warm refresh is slower than {LIMIT:,} sessions/s", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
