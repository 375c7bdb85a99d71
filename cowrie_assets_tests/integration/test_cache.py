"""The tiers together, over a real Redis, a real PostgreSQL and real files: what is known is asked about by nobody.

Proved here: 10,000 sessions from 500 addresses cost 500 requests a service, and nothing after a tier was lost; a tier
that fails in mid-run costs no request; promotion makes nothing younger; what is counted is what happened. Not here: a
single tier (`test_hot_tier`, `test_file_tier`), asking without tiers (`test_asking`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis as redis_library

from cowrie_assets.assets.answers_of_day import address_needs, write_enrichment
from cowrie_assets.lookup.asking import Tally
from cowrie_assets.lookup.cache import Cache, open_cache
from cowrie_assets.warehouse.event_chunks import Connection
from cowrie_assets_tests.conftest import Server
from cowrie_assets_tests.integration.test_asking import (  # noqa: F401 - fixtures
    World,
    addresses,
    certificates_read_once,
    no_backoff,
    running_sandbox,
    sandbox,
    server,
    warehouse_url,
    world,
)
from cowrie_assets_tests.redis_server import RedisServer, running_redis
from cowrie_assets_tests.rows import digest

SERVICES = ("dshield", "urlhaus", "spur")
DAY = datetime(2025, 9, 10, tzinfo=UTC)
SOURCES, SESSIONS = 500, 10_000


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def tiers(world: World, redis: RedisServer, tmp_path: Path) -> Callable[..., Cache]:
    """A cache as a new process would open it: Redis, database and files."""
    redis_library.Redis.from_url(redis.url).flushall()

    def opened(told: list[str] | None = None) -> Cache:
        with world.connect() as connection:
            return open_cache(connection, redis.url, tmp_path / "cache", (told if told is not None else []).append)

    return opened


def attack_often(connection: Connection) -> None:
    """Sessions of one day, twenty an address."""
    keys = addresses(SOURCES)
    connection.execute(
        """
        INSERT INTO sessions (
            day, sensor, session_id, first_event_at, last_event_at, event_count, source_ip, login_attempts,
            login_successes, command_count, commands_failed, file_downloads, file_uploads, ssh_key_injections,
            forwarding_requests, unknown_events, closed
        )
        SELECT
            %(day)s, 'a', number::text, %(day)s, %(day)s, 1, (%(keys)s::text[])[1 + number %% %(sources)s]::inet,
            0, 0, 0, 0, 0, 0, 0, 0, 0, TRUE
        FROM generate_series(1, %(sessions)s) AS number
        """,
        {"day": DAY, "keys": keys, "sources": SOURCES, "sessions": SESSIONS},
    )


def ask_all(world: World, cache: Cache) -> dict[str, Tally]:
    with world.connect() as connection:
        needs = address_needs(connection, [DAY.date()])
    return {service: world.ask(service, needs, cache=cache) for service in SERVICES}


def rows_of_day(world: World) -> list[str]:
    told = []
    with world.connect() as connection:
        for service in SERVICES:
            write_enrichment(connection, service, DAY.date())
            told.append(digest(connection, f"SELECT * FROM {service}_enrichment"))
    return told


def test_ten_thousand_sessions_from_five_hundred_addresses(
    world: World,
    tiers: Callable[..., Cache],
    redis: RedisServer,
) -> None:
    """A run with 546 real calls reported 1000, 0 and 1000: calls are counted where the request leaves, and arrives."""
    with world.connect() as connection:
        attack_often(connection)
    cold = ask_all(world, tiers())
    assert {service: tally.requests for service, tally in cold.items()} == dict.fromkeys(SERVICES, SOURCES)
    for service in SERVICES:
        assert sorted(a.key for a in world.arrivals(service)) == sorted(addresses(SOURCES)), "each once, by the server"
    rows = rows_of_day(world)
    world.sandbox.ledger.clear()

    warm = ask_all(world, tiers())
    assert {tier: n for tally in warm.values() for tier, n in tally.hits.items() if n} == {"redis": SOURCES}
    redis_library.Redis.from_url(redis.url).flushall()
    flushed = ask_all(world, tiers())
    assert {tier: n for tally in flushed.values() for tier, n in tally.hits.items() if n} == {"database": SOURCES}
    world.rows("DELETE FROM open_questions RETURNING 1")
    world.rows("WITH lost AS (DELETE FROM service_answers RETURNING 1) SELECT count(*) FROM lost")
    # Redis still has its entries, and must not tell of answers that are no more.
    lost = ask_all(world, tiers())
    assert {tier: n for tally in lost.values() for tier, n in tally.hits.items() if n} == {"files": SOURCES}
    assert rows_of_day(world) == rows, "as old as they were"
    again = ask_all(world, tiers())
    assert {tier: n for tally in again.values() for tier, n in tally.hits.items() if n} == {"redis": SOURCES}
    for tallies in (warm, flushed, lost, again):
        assert [tally.requests for tally in tallies.values()] == [0, 0, 0]
    assert world.sandbox.ledger.arrivals() == []

    counted = world.rows(
        """
        SELECT tier, sum(hits)::int, sum(misses)::int, sum(stores)::int, sum(errors)::int FROM lookup_counters
        WHERE service = 'spur' GROUP BY tier ORDER BY tier
        """
    )
    assert counted == [
        ("database", SOURCES, 2 * SOURCES, 2 * SOURCES, 0),  # missed cold and when lost, stored both times
        ("files", SOURCES, SOURCES, SOURCES, 0),
        ("redis", 2 * SOURCES, 3 * SOURCES, 3 * SOURCES, 0),
    ]
    [(oldest, first)] = world.rows(
        """
        SELECT
            (SELECT min(oldest_answer_at) FROM lookup_counters WHERE service = 'spur'),
            (SELECT min(answered_at) FROM service_answers WHERE service = 'spur')
        """
    )
    assert oldest == first


def test_faults_on_a_fifth_of_the_requests_change_no_row_and_cost_a_call_each(
    world: World, server: Server, tiers: Callable[..., Cache], tmp_path: Path
) -> None:
    faulty = replace(world, url=server.new_database())
    kinds = ["500", "503", "reset", "cut", "html", "null", "list", "empty", "wrong-address"]
    for each in (world, faulty):
        with each.connect() as connection:
            attack_often(connection)
    with world.connect() as connection:
        needs = address_needs(connection, [DAY.date()])
    for service in SERVICES:
        world.ask(service, needs, cache=tiers())
        world.sandbox.ledger.clear()
        world.sandbox.faults({service: {"probability": 0.2, "kinds": kinds}})
        with faulty.connect() as connection:
            cache = open_cache(connection, None, tmp_path / "of the faulty")
        runs = 1
        while faulty.ask(service, needs, cache=cache).open:
            faulty.cool()
            runs += 1
            assert runs < 5
        arrivals = world.sandbox.ledger.arrivals(service)
        failed = [arrival for arrival in arrivals if arrival.fault is not None]
        assert len(failed) > 80
        assert len(arrivals) == SOURCES + len(failed)
        rows = []
        for each in (world, faulty):
            with each.connect() as connection:
                write_enrichment(connection, service, DAY.date())
                connection.execute(
                    f"UPDATE {service}_enrichment SET answered_at = 'epoch' WHERE answered_at <> 'epoch'"
                )
                rows.append(digest(connection, f"SELECT * FROM {service}_enrichment"))
        assert rows[0] == rows[1]


def test_a_truncated_table_is_noticed_as_well(world: World, tiers: Callable[..., Cache]) -> None:
    keys = addresses(20)
    world.ask("spur", keys, cache=tiers())
    with world.connect() as connection:
        connection.execute("TRUNCATE service_answers")
    assert world.ask("spur", keys, cache=tiers()).hits["files"] == 20
    assert len(world.stored("spur")) == 20


def test_two_databases_on_one_redis_know_nothing_of_each_other(
    world: World,
    tiers: Callable[..., Cache],
    redis: RedisServer,
    server: object,
    tmp_path: Path,
) -> None:
    """Databases copied from one template have the same generation."""
    from cowrie_assets_tests.conftest import Server

    assert isinstance(server, Server)
    keys = addresses(10)
    world.ask("spur", keys, cache=tiers())
    other = replace(world, url=server.new_database())
    with other.connect() as connection:
        cache = open_cache(connection, redis.url, tmp_path / "another folder")
    assert other.ask("spur", keys, cache=cache).requests == 10


@pytest.mark.parametrize("how", ["stop", "kill", "pause"])
def test_redis_may_go_in_mid_run(
    world: World,
    tmp_path: Path,
    how: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The lookup goes on, says once which tier is out, and asks nothing twice because of it."""
    keys = addresses(60)
    told: list[str] = []
    with running_redis(tmp_path) as server:
        with world.connect() as connection:
            cache = open_cache(connection, server.url, tmp_path / "cache", told.append)
        world.ask("spur", keys[:20], cache=cache)
        slow = replace(world.services["spur"], requests=40, workers=2)
        gone = threading.Timer(0.3, getattr(server, how))
        gone.start()
        tally = world.ask(slow, keys, cache=cache)
        gone.join()
        if how == "pause":
            server.resume()
    assert (tally.requests, tally.open) == (40, 0)
    assert sorted(a.key for a in world.arrivals("spur")) == sorted(keys), "each once"
    assert len(told) == 1
    assert told[0].startswith("cache: redis ")
    assert told[0].endswith("; this run goes on without it")
    [(errors,)] = world.rows("SELECT sum(errors)::int FROM lookup_counters WHERE tier = 'redis'")
    assert 1 <= errors <= slow.workers, "whoever was at it"
    world.assert_true("spur", keys)


def test_a_full_disk_costs_no_answer(world: World, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    told: list[str] = []
    with world.connect() as connection:
        cache = open_cache(connection, None, tmp_path / "cache", told.append)
    keys = addresses(12)
    assert world.ask("spur", keys, cache=cache).requests == 12
    assert world.ask("spur", keys, cache=cache).requests == 0
    assert len(told) == 1
    assert told[0].startswith("cache: files ")


def test_promotion_makes_nothing_younger(world: World, tiers: Callable[..., Cache]) -> None:
    """An old answer never aged: each hit in the database gave its copy a new time to live."""
    keys = addresses(5)
    world.ask("spur", keys, cache=tiers())
    [(expires_at,)] = world.rows("SELECT min(expires_at) FROM service_answers")
    for _ in range(3):
        assert world.ask("spur", keys, cache=tiers()).requests == 0
    late = expires_at + timedelta(seconds=1)
    with world.connect() as connection:
        hot = tiers().known(connection, world.services["spur"], dict.fromkeys(keys, late))
    assert len(hot) < len(keys), "good until then, and not a second longer"
    first_out = dict.fromkeys(keys, expires_at)
    with world.connect() as connection:
        assert len(tiers().known(connection, world.services["spur"], first_out)) < len(keys)


def test_answers_of_a_stand_in_seed_no_real_service(world: World, tmp_path: Path) -> None:
    """Invented answers about real addresses must never reach a real database."""
    stand_in = world.services["spur"]
    assert not stand_in.at_home
    real = replace(stand_in, address="https://api.spur.us", at_home=True)
    with world.connect() as connection:
        cache = open_cache(connection, None, tmp_path / "cache")
        world.ask("spur", addresses(5), cache=cache)
        connection.execute("TRUNCATE service_answers")
        needs = dict.fromkeys(addresses(5), datetime.now(UTC))
        fresh = open_cache(connection, None, tmp_path / "cache")
        assert fresh.known(connection, real, needs) == {}
        assert fresh.known(connection, stand_in, needs) == dict.fromkeys(addresses(5), "files")


def test_an_answer_that_comes_while_the_database_is_away_is_not_asked_for_again(
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from cowrie_assets.lookup import answers

    with world.connect() as connection:
        cache = open_cache(connection, None, tmp_path / "cache")

    def away(*_: object) -> None:
        raise ConnectionError("the server closed the connection unexpectedly")

    with monkeypatch.context() as patch:
        patch.setattr(answers, "store_answers", away)
        with pytest.raises(ConnectionError):
            world.ask(replace(world.services["spur"], workers=1), addresses(3), cache=cache)
    assert len(world.arrivals("spur")) == 1
    assert world.ask("spur", addresses(3), cache=cache).requests == 2
    assert len(world.arrivals("spur")) == 3
    assert len(world.stored("spur")) == 3
