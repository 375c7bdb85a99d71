"""A plan on literal worlds: what is known, what would be asked in which order, what that brings, and what has to wait.

Proved here: shares and gains by hand-counted sessions; quotas and the share of a network bind the plan; the cache is
looked through tier by tier, and the ledger tells what it saved. Not here: a plan carried out (`orchestration`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis as redis_library

from cowrie_assets.assets import enrichment
from cowrie_assets.assets.questions import QUESTIONS, Needs
from cowrie_assets.lookup.cache import Cache, open_cache
from cowrie_assets.lookup.gate import EgressGate
from cowrie_assets.lookup.planning import NEXT, Plan, plan
from cowrie_assets.lookup.services import WEEK, Quota, Service
from cowrie_assets.lookup.status import Told, statuses
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
from cowrie_assets_tests.integration.test_session_snapshots import forget
from cowrie_assets_tests.redis_server import RedisServer, running_redis

KEYS = 250


@pytest.fixture(autouse=True)
def nobody_spent(world: World) -> None:
    with world.connect() as connection:
        forget(connection, "network_spending")


def planned(
    world: World,
    service: Service | str,
    weights: Mapping[str, int],
    **changes: Any,
) -> Plan:
    known = world.services[service] if isinstance(service, str) else service
    return plan(world.asking(**changes), known, dict.fromkeys(weights, datetime.now(UTC)), weights)


def test_shares_and_the_gain_of_the_next_hundred_calls(world: World) -> None:
    """250 addresses: the first hundred came five times, the second twice, the others once: 750 sessions."""
    keys = addresses(KEYS)
    weights = {key: 5 if n < 100 else 2 if n < 200 else 1 for n, key in enumerate(keys)}
    assert NEXT == 100
    service = replace(world.services["dshield"], requests=30, window=60.0)
    cold = planned(world, service, weights)
    assert (cold.keys, cold.known, cold.ask, cold.left) == (KEYS, 0, keys, {})
    assert (cold.share_known, cold.share_after, cold.gain_of_next) == (0.0, 1.0, 500 / 750)
    assert cold.calls == KEYS
    assert cold.seconds == pytest.approx(249 * 60.25 / 30)
    assert (cold.keys_left, cold.waits_for, cold.not_configured) == (None, None, None)
    assert world.arrivals("dshield") == []

    assert world.ask("dshield", keys[:120]).requests == 120
    warm = planned(world, service, weights)
    assert (warm.keys, warm.known, warm.ask) == (KEYS, 120, keys[120:])
    assert warm.share_known == 540 / 750
    assert warm.gain_of_next == (80 * 2 + 20 * 1) / 750
    assert warm.share_after == 1.0
    few = planned(world, service, weights, most=50)
    assert (few.ask, few.calls, few.share_after, few.gain_of_next) == (keys[120:170], 50, 640 / 750, 100 / 750)
    world.ask("dshield", keys)
    done = planned(world, service, weights)
    assert (done.ask, done.calls, done.seconds, done.share_known, done.gain_of_next) == ([], 0, 0, 1.0, 0.0)


def test_what_nobody_may_be_asked_about_is_in_no_share(world: World) -> None:
    own, *keys = addresses(4)
    weights = {"10.0.0.1": 1000, own: 1000, "2a00:1450::1": 100, **dict.fromkeys(keys, 10)}
    gate = EgressGate([own])
    told = planned(world, "dshield", weights, gate=gate)
    assert (told.keys, told.ask, told.gain_of_next) == (4, ["2a00:1450::1", *keys], 1.0)
    told = planned(world, "urlhaus", weights, gate=gate)
    assert (told.keys, told.ask, told.share_after) == (3, keys, 1.0)


def test_a_batch_is_one_call(world: World) -> None:
    keys = addresses(250)
    service = replace(world.services["cymru"], batch=2, requests=1, window=1.0)
    told = planned(world, service, dict.fromkeys(keys, 1))
    assert (told.calls, told.gain_of_next) == (125, 200 / 250)
    assert told.seconds == pytest.approx(124 * 1.1)
    assert planned(world, service, dict.fromkeys(keys, 1), most=5).calls == 3


def test_quota_and_share_of_a_network_bind_the_plan_as_they_bind_asking(world: World) -> None:
    """Ten a week, of which a network has a fifth."""
    service = replace(world.services["greynoise"], quotas=(Quota(10, WEEK),))
    crowd, others = [f"5.1.1.{n}" for n in range(1, 7)], addresses(12, start=10)
    weights = dict.fromkeys(crowd, 100) | dict.fromkeys(others, 1)
    told = planned(world, service, weights)
    assert told.ask == crowd[:2] + others[:8]
    assert told.keys_left == 10
    assert set(told.left) == {*crowd[2:], *others[8:]}
    assert told.left[crowd[2]] == "its network 5.1.1.0/24 has had its share of today's quota, 2"
    assert told.share_after == 208 / 612
    assert told.waits_for is not None
    world.ask(service, list(weights))
    assert sorted(arrival.key for arrival in world.arrivals("greynoise")) == sorted(told.ask)
    after = planned(world, service, weights)
    assert (after.ask, after.keys_left, after.known) == ([], 0, 10)


def test_a_service_without_a_key_is_planned_for_nothing(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SPUR_API_KEY")
    told = planned(world, "spur", dict.fromkeys(addresses(3), 1))
    assert (told.ask, told.calls, told.keys, told.not_configured) == ([], 0, 3, "no key: set SPUR_API_KEY")
    assert (told.share_known, told.left) == (0.0, {})


def test_nothing_to_ask_about(world: World) -> None:
    told = planned(world, "dshield", {})
    assert (told.keys, told.share_known, told.share_after, told.gain_of_next) == (0, None, None, None)


def test_a_plan_notes_nothing(world: World) -> None:
    tables = ("open_questions", "lookup_ledger", "lookup_counters", "service_limits", "network_spending")
    planned(world, "greynoise", {"10.0.0.1": 1, **dict.fromkeys(addresses(40), 1)})
    for table in tables:
        assert world.rows(f"SELECT count(*)::int FROM {table}") == [(0,)], table
    assert world.sandbox.ledger.arrivals() == []


def test_a_password_is_carried_by_sessions_not_by_attempts(world: World) -> None:
    with world.connect() as connection:
        connection.execute("DELETE FROM logins")
        for session, password, attempts in (("one", "hunter2", 20), ("two", "secret", 1), ("three", "secret", 1)):
            for number in range(attempts):
                insert_login(connection, session, number, password)
        needs = QUESTIONS["password_stats"].needs(connection, [DAY.date()])
        connection.execute("DELETE FROM logins")
    assert sorted(needs.sessions.values()) == [1, 2]


@pytest.mark.parametrize(
    "interval",
    [None, 10],
)
def test_a_key_that_failed_says_so_also_when_it_was_asked_in_parts(
    world: World,
    interval: int | None,
) -> None:
    """Promise P1: a failure is told as one. Nobody limited the number."""
    keys = addresses(25)
    world.sandbox.dataset("dshield", keys[0], {"body": "no JSON"})
    needs = Needs(dict.fromkeys(keys, datetime.now(UTC)), {})
    asking = world.asking(most=25)
    tally = enrichment._ask_in_parts(asking, world.services["dshield"], needs, interval, lambda: None)
    assert tally.outcomes["found"] + tally.outcomes["not_found"] == 24
    assert [outcome for outcome, _ in world.open("dshield").values()] == ["unavailable"]


DAY = datetime(2025, 9, 10, 12, tzinfo=UTC)


def insert_login(connection: Any, session: str, number: int, password: str) -> None:
    columns = dict(
        connection.execute(
            "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'logins' "
            "AND is_nullable = 'NO' AND column_default IS NULL"
        ).fetchall()
    )
    stand_ins: dict[str, Any] = {"integer": number, "bigint": number, "smallint": number, "text": "x"}
    stand_ins |= {"boolean": False, "date": DAY.date(), "timestamp with time zone": DAY}
    values = {name: stand_ins[kind] for name, kind in columns.items()}
    values |= {"session_id": session, "password": password}
    names = ", ".join(values)
    places = ", ".join(["%s"] * len(values))
    connection.execute(f"INSERT INTO logins ({names}) VALUES ({places})", tuple(values.values()))


# --- the ledger told -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def tiers(world: World, redis: RedisServer, tmp_path: Path) -> Callable[[], Cache]:
    """A cache as a new process would open it."""
    redis_library.Redis.from_url(redis.url).flushall()

    def opened() -> Cache:
        with world.connect() as connection:
            return open_cache(connection, redis.url, tmp_path / "cache")

    return opened


def told_of(world: World, service: str) -> Told:
    with world.connect() as connection:
        (status,) = [one for one in statuses(connection, world.services) if one.told.service == service]
    return status.told


def test_hits_by_tier_after_a_known_sequence(
    world: World,
    tiers: Callable[[], Cache],
    redis: RedisServer,
) -> None:
    keys = addresses(40)

    def hits() -> tuple[int, int, int, float]:
        told = told_of(world, "dshield")
        return told.hits_hot, told.hits_database, told.hits_files, float(told.hit_share or 0)

    world.ask("dshield", keys, cache=tiers())
    assert hits() == (0, 0, 0, 0.0)
    world.ask("dshield", keys, cache=tiers())
    assert hits() == (40, 0, 0, 0.5)
    redis_library.Redis.from_url(redis.url).flushall()
    world.ask("dshield", keys, cache=tiers())
    assert hits() == (40, 40, 0, 0.6667)
    world.rows("DELETE FROM service_answers RETURNING 1")
    world.ask("dshield", keys, cache=tiers())
    assert hits() == (40, 40, 40, 0.75)
    told = told_of(world, "dshield")
    assert (told.requests, told.requests_today, told.keys) == (40, 40, 40)
    assert told.found + told.not_found == 40
    assert (told.unavailable, told.unfinished, told.tier_errors, told.open_keys) == (0, 0, 0, 0)
    assert len(world.arrivals("dshield")) == 40
    oldest = world.rows("SELECT min(answered_at) FROM service_answers WHERE service = 'dshield'")
    assert told.oldest_answer_at is not None
    assert abs((told.oldest_answer_at - oldest[0][0]).total_seconds()) < 0.01


def test_status_tells_failures_and_what_stands_in_the_way(world: World) -> None:
    world.sandbox.faults({"urlhaus": [{"kind": "429", "retry_after": "600"}]})
    keys = addresses(5)
    world.ask(replace(world.services["urlhaus"], workers=1), keys)
    told = told_of(world, "urlhaus")
    assert (told.requests, told.unavailable, told.open_keys) == (1, 1, 5)
    assert told.blocked_until is not None
    assert told.blocked_reason
    assert told_of(world, "spur") == Told("spur")
