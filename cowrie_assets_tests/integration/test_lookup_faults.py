"""Four processes ask about the same addresses, and their world breaks in mid-run (promise P10).

Proved here, with a PostgreSQL, a Redis and files of the tests' own, against the emulated service's ledger: one process
killed, PostgreSQL restarted, Redis stopped, and all three at once. The next undisturbed run ends in the rows of an
undisturbed world, and nothing is asked twice but what was in flight at that moment: an answer that arrives while the
database is away lies among the files. Not here: kills without a cache (`test_asking`), each tier (`test_cache`).
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cowrie_assets.assets.questions import QUESTIONS
from cowrie_assets.lookup.asking import Asking, Tally, ask
from cowrie_assets.lookup.cache import open_cache
from cowrie_assets.lookup.gate import EgressGate
from cowrie_assets.lookup.services import Service
from cowrie_assets.sandbox.server import Sandbox
from cowrie_assets.warehouse.database import open_connection
from cowrie_assets.warehouse.embedded import EmbeddedServer
from cowrie_assets.warehouse.event_chunks import Connection
from cowrie_assets_tests.conftest import Server
from cowrie_assets_tests.integration.test_asking import (  # noqa: F401 - fixtures
    ROOT,
    addresses,
    certificates_read_once,
    configured,
    no_backoff,
    running_sandbox,
    sandbox,
)
from cowrie_assets_tests.pipelines import KEYS
from cowrie_assets_tests.redis_server import RedisServer, running_redis

SOURCES, PROCESSES, WORKERS = 300, 4, 4
DAYS = [date(2025, 9, 10) + timedelta(days=number) for number in range(3)]
SPUR = QUESTIONS["spur_enrichment"]
# Long enough that each worker nearly always has a request in flight.
SLOW = {"spur": {"probability": 1.0, "kinds": [{"kind": "slow", "bytes": 10_000, "delay": 0.1}]}}
AT = 90  # arrivals, when it happens

# What the asset does, in a process of its own, with a cache of its own on the shared Redis and files.
WORKER = """
import json, sys
from datetime import date
from functools import partial
from pathlib import Path
import stamina
from cowrie_assets.assets.questions import QUESTIONS
from cowrie_assets.lookup.asking import Asking, ask
from cowrie_assets.lookup.cache import open_cache
from cowrie_assets.lookup.gate import EgressGate
from cowrie_assets.lookup.services import Service
from cowrie_assets.warehouse.database import open_connection
told = json.loads(sys.argv[1])
service = Service(**{**told["service"], "families": (4, 6), "quotas": ()})
days = [date.fromisoformat(day) for day in told["days"]]
question = QUESTIONS["spur_enrichment"]
said = []
print("ready", flush=True)
sys.stdin.readline()
with open_connection(told["url"]) as connection, stamina.set_testing(True, attempts=3, cap=True):
    cache = open_cache(connection, told["redis"], Path(told["folder"]), said.append)
    asking = Asking(partial(open_connection, told["url"]), EgressGate(), told["run"], 60.0, cache=cache)
    tally = ask(asking, service, question.needs(connection, days).moments)
    for day in days:
        question.write(connection, day)
print(json.dumps([tally.requests, tally.open, said]), flush=True)
"""


@dataclass
class World:
    """A warehouse, a service, a Redis and a folder for files."""

    url: str
    service: Service
    redis: RedisServer
    folder: Path
    sandbox: Sandbox

    def run(self) -> Tally:
        """What the asset does, in this process."""
        with open_connection(self.url) as connection:
            cache = open_cache(connection, self.redis.url, self.folder)
            asking = Asking(lambda: open_connection(self.url), EgressGate(), "last", 60.0, cache=cache)
            tally = ask(asking, self.service, SPUR.needs(connection, DAYS).moments)
            for day in DAYS:
                SPUR.write(connection, day)
        return tally

    def rows(self) -> list[dict[str, Any]]:
        """What is known of each day's sources, whenever it was learnt."""
        query = "SELECT to_jsonb(e) - 'answered_at' FROM spur_enrichment AS e ORDER BY day, address"
        with open_connection(self.url) as connection:
            return [row for (row,) in connection.execute(query)]

    def in_flight(self) -> Counter[str]:
        """Charged, and nobody lived to note what came of it."""
        query = "SELECT key FROM lookup_ledger WHERE outcome IS NULL"
        with open_connection(self.url) as connection:
            return Counter(key for (key,) in connection.execute(query))

    def runs(self) -> int:
        """How many of the processes have asked."""
        with open_connection(self.url) as connection:
            row = connection.execute("SELECT count(DISTINCT run_id)::int FROM lookup_ledger").fetchone()
        return row[0] if row else 0

    def arrivals(self) -> Counter[str]:
        return Counter(arrival.key for arrival in self.sandbox.ledger.arrivals("spur"))


class Postgres:
    """A server of the tests' own, that they may restart."""

    def __init__(self, home: Path) -> None:
        self._embedded = EmbeddedServer(home, start_timeout_s=60)
        self._sentinel = self._embedded.acquire()
        self.server = Server(self._embedded.url("postgres"))

    def restart(self) -> None:
        """As an operator does: clients are cut."""
        self._embedded.stop(force=True)
        with suppress(psycopg.Error):
            self._sentinel.close()
        self._sentinel = self._embedded.acquire()

    def end(self) -> None:
        self._sentinel.close()
        self._embedded.stop(force=True)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    postgres = Postgres(tmp_path_factory.mktemp("postgres") / "home")
    yield postgres
    postgres.end()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with running_redis(tmp_path) as server:
        yield server


def new_world(postgres: Postgres, redis: RedisServer, sandbox: Sandbox, folder: Path) -> World:
    spur = replace(configured(folder, sandbox)["spur"], workers=WORKERS)
    world = World(postgres.server.new_database(), spur, redis, folder / "cache", sandbox)
    with open_connection(world.url) as connection:
        generate(connection)
    return world


@pytest.fixture(scope="module")
def undisturbed(
    postgres: Postgres,
    running_sandbox: Sandbox,
    tmp_path_factory: pytest.TempPathFactory,
) -> list[dict[str, Any]]:
    """The rows of a world to which nothing happens."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch, running_redis(folder) as redis:
        patch.setenv("SPUR_API_KEY", KEYS["SPUR_API_KEY"])
        world = new_world(postgres, redis, running_sandbox, folder)
        assert world.run().requests == SOURCES
        return world.rows()


@pytest.fixture
def world(postgres: Postgres, redis: RedisServer, sandbox: Sandbox, tmp_path: Path) -> World:
    sandbox.faults(SLOW)
    return new_world(postgres, redis, sandbox, tmp_path)


def generate(connection: Connection) -> None:
    """Two sessions a source, on two of the days."""
    connection.execute(
        """
        INSERT INTO sessions (
            day, sensor, session_id, first_event_at, last_event_at, event_count, source_ip, login_attempts,
            login_successes, command_count, commands_failed, file_downloads, file_uploads, ssh_key_injections,
            forwarding_requests, unknown_events, closed
        )
        SELECT
            (%(days)s::date[])[1 + number %% 3], 'a', number::text, (%(days)s::date[])[1 + number %% 3],
            (%(days)s::date[])[1 + number %% 3], 1, (%(keys)s::text[])[1 + number / 2]::inet,
            0, 0, 0, 0, 0, 0, 0, 0, 0, TRUE
        FROM generate_series(0, 2 * %(sources)s - 1) AS number
        """,
        {"days": DAYS, "keys": addresses(SOURCES), "sources": SOURCES},
    )


# --- four processes --------------------------------------------------------------------------------------------------


class Worker:
    """One of the four."""

    def __init__(self, world: World, number: int) -> None:
        told = {
            "url": world.url,
            "service": asdict(world.service),
            "days": [day.isoformat() for day in DAYS],
            "redis": world.redis.url,
            "folder": str(world.folder),
            "run": f"run {number}",
        }
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        command = [sys.executable, "-c", WORKER, json.dumps(told)]
        self.process = subprocess.Popen(command, text=True, cwd=ROOT, **pipes)  # type: ignore[call-overload]

    def wait_until_ready(self) -> None:
        assert self.process.stdout.readline() == "ready\n", self.process.communicate()[1]

    def go(self) -> None:
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def said(self) -> list[str]:
        """It ended well: what it said of the cache."""
        out, err = self.process.communicate(timeout=30)
        assert self.process.returncode == 0, err
        _, still_open, said = json.loads(out.splitlines()[-1])
        assert still_open == 0
        return list(said)

    def ends(self) -> None:
        """Well, or in an orderly way: not by a signal, and with a word about the database."""
        _, err = self.process.communicate(timeout=30)
        if self.process.returncode != 0:
            assert self.process.returncode == 1
            last = err.strip().splitlines()[-1]
            assert any(word in last for word in ("terminat", "closed", "lost", "does not answer", "consuming")), err


@contextmanager
def in_mid_run(world: World) -> Iterator[Sequence[Worker]]:
    """Four processes that are at work, each with requests in flight; all have ended at the end of the block."""
    workers: list[Worker] = []
    try:
        workers += [Worker(world, number) for number in range(PROCESSES)]
        for worker in workers:
            worker.wait_until_ready()
        for worker in workers:
            worker.go()
        ends_at = time.monotonic() + 15
        while len(world.sandbox.ledger.arrivals("spur")) < AT or world.runs() < PROCESSES:
            assert time.monotonic() < ends_at, [worker.process.poll() for worker in workers]
            time.sleep(0.01)
        yield workers
    finally:
        for worker in workers:
            worker.process.kill()
            with suppress(ValueError):  # its pipes are closed already
                worker.process.communicate()


def assert_as_undisturbed(world: World, undisturbed: list[dict[str, Any]], repeated: int) -> None:
    """The next run fills what is missing. Asked again, `repeated` times at the most, were only keys of which a request
    was in flight when it happened, once for each such request."""
    world.sandbox.faults({"spur": []})
    in_flight = world.in_flight()
    assert world.run().open == 0
    assert world.rows() == undisturbed
    arrivals = world.arrivals()
    assert set(arrivals) == set(addresses(SOURCES))
    again = arrivals - Counter(addresses(SOURCES))
    assert again - in_flight == Counter()
    assert again.total() <= repeated
    # Whatever comes next finds everything.
    assert world.run().requests == 0
    assert world.arrivals() == arrivals
    assert world.rows() == undisturbed


def test_one_of_four_is_killed(undisturbed: list[dict[str, Any]], world: World) -> None:
    with in_mid_run(world) as (victim, *others):
        victim.process.kill()
        assert [worker.said() for worker in others] == [[]] * 3
    assert_as_undisturbed(world, undisturbed, WORKERS)


def test_postgresql_is_restarted(undisturbed: list[dict[str, Any]], world: World, postgres: Postgres) -> None:
    with in_mid_run(world) as workers:
        postgres.restart()
        for worker in workers:
            worker.ends()
    assert len(world.arrivals()) < SOURCES, "it was in mid-run"
    # What was in flight comes back to living processes, and lies among the files: mostly none is asked again. But the
    # locks of single flight are gone with the old server, and a thread that connects only now meets the new one.
    assert_as_undisturbed(world, undisturbed, PROCESSES * WORKERS)


def test_an_answer_that_arrives_after_the_connection_was_cut_is_kept(world: World) -> None:
    world.sandbox.faults({"spur": [{"kind": "slow", "bytes": 10_000, "delay": 1.0}]})
    alone = replace(world, service=replace(world.service, workers=1))

    def cut() -> None:
        while not world.arrivals():
            time.sleep(0.01)
        with open_connection(world.url) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    cutting = threading.Thread(target=cut)
    cutting.start()
    with pytest.raises(psycopg.Error):
        alone.run()
    cutting.join()
    assert world.arrivals().total() == 1
    assert world.run().requests == SOURCES - 1


def test_redis_is_stopped(undisturbed: list[dict[str, Any]], world: World) -> None:
    with in_mid_run(world) as workers:
        world.redis.stop()
        said = [worker.said() for worker in workers]
    for words in said:
        (word,) = words
        assert word.startswith("cache: redis ")
        assert word.endswith("; this run goes on without it")
    assert world.arrivals() == Counter(addresses(SOURCES))
    world.redis.start()
    assert_as_undisturbed(world, undisturbed, 0)


def test_all_three_at_once(undisturbed: list[dict[str, Any]], world: World, postgres: Postgres) -> None:
    with in_mid_run(world) as (victim, *others):
        victim.process.kill()
        world.redis.stop()
        postgres.restart()
        for worker in others:
            worker.ends()
    assert len(world.arrivals()) < SOURCES, "it was in mid-run"
    world.redis.start()
    assert_as_undisturbed(world, undisturbed, PROCESSES * WORKERS)
