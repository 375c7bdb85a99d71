"""The hot tier against real servers: what it tells is what was written for this warehouse, or nothing.

Proved here: round trips, lives and expiries, that nothing foreign is believed, and that whatever a server does (killed,
frozen, full, read-only, another password, no Redis at all) becomes one failure in words without secrets, soon. Not
here: what is made of a failure (`lookup`).
"""

from __future__ import annotations

import os
import socket
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from cowrie_assets.lookup import hot_tier
from cowrie_assets.lookup.hot_tier import LIFE, HotTier, Known, MemoryTier, RedisTier, TierFailure
from cowrie_assets_tests.redis_server import RedisServer, redis_programs, running_redis

MOMENT = datetime(2025, 9, 12, 1, 2, 3, 456789, tzinfo=UTC)
KNOWN = Known("found", MOMENT, MOMENT + timedelta(days=7))
SECRET = "hunter2-s3cret"

keys = st.one_of(
    st.ip_addresses().map(str),
    st.binary(min_size=32, max_size=32).map(bytes.hex),
    st.text(st.characters()),  # halves of surrogate pairs and NUL, too
)
moments = st.datetimes(timezones=st.just(UTC)).map(lambda moment: moment.replace(fold=0))
entries = st.builds(Known, st.sampled_from(["found", "not_found"]), moments, moments)


@pytest.fixture(scope="module", params=redis_programs(), ids=lambda program: program.name)
def redis_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Each server there is, for the tests to do with as they like."""
    with running_redis(tmp_path_factory.mktemp("redis"), request.param) as server:
        yield server


@pytest.fixture
def server(redis_server: RedisServer) -> Iterator[RedisServer]:
    """To be stopped, frozen, filled: the next test has it as new."""
    yield redis_server
    redis_server.kill()
    redis_server.start()


@pytest.fixture(scope="module")
def url(redis_server: RedisServer) -> str:
    """Where nothing is done to the server: the one that the environment names, if it does."""
    return os.environ.get("TEST_REDIS_URL") or redis_server.url


@contextmanager
def opened(url: str, warehouse: str | None = None) -> Iterator[RedisTier]:
    tier = RedisTier(url, warehouse or f"test-{uuid.uuid4().hex}")
    try:
        yield tier
    finally:
        with suppress(TierFailure):
            tier.close()


def client(url: str) -> Any:
    return redis.Redis.from_url(url)


def tiers(url: str) -> Iterator[HotTier]:
    with opened(url) as tier:
        yield tier
    yield MemoryTier("test")


def fails(command: Callable[[], object]) -> TierFailure:
    """That it fails within the time that a server is given, and without a word too many."""
    begun = time.monotonic()
    with pytest.raises(TierFailure) as failure:
        command()
    assert time.monotonic() - begun < 1.8
    told = "".join(traceback.format_exception_only(failure.value))
    for secret in (SECRET, "127.0.0.1", "redis://", "203.0.113.5"):
        assert secret not in told
    assert failure.value.__cause__ is failure.value.__context__ is None
    assert str(failure.value) == failure.value.reason
    return failure.value


# --- round trips ------------------------------------------------------------------------------------------------------


@given(written=st.dictionaries(keys, entries, max_size=20), asked=st.lists(keys, max_size=5))
@settings(deadline=None, max_examples=60)
def test_what_is_written_comes_back_as_it_was(url: str, written: dict[str, Known], asked: list[str]) -> None:
    for tier in tiers(url):
        tier.write("dshield", written)
        wanted = [*written, *asked]
        assert tier.read("dshield", wanted) == {key: written[key] for key in wanted if key in written}
        assert tier.read("spur", wanted) == {}


def test_many_keys_and_none(url: str) -> None:
    many = {f"2001:db8::{number:x}": KNOWN for number in range(25_000)}
    for tier in tiers(url):
        tier.write("dshield", many)
        assert tier.read("dshield", ["::", *many]) == many
        tier.write("dshield", {})
        assert tier.read("dshield", []) == {}


def test_keys_are_asked_for_in_one_round_trip_for_ten_thousand(server: RedisServer) -> None:
    with opened(server.url) as tier:
        tier.write("dshield", {"203.0.113.5": KNOWN})
        before = client(server.url).info("commandstats")
        tier.read("dshield", [str(number) for number in range(20_001)])
        after = client(server.url).info("commandstats")
    assert after["cmdstat_mget"]["calls"] - before.get("cmdstat_mget", {"calls": 0})["calls"] == 3
    assert "cmdstat_get" not in after


def test_the_later_writer_has_it(url: str) -> None:
    later = Known("not_found", MOMENT + timedelta(days=1), MOMENT + timedelta(days=2))
    for tier in tiers(url):
        tier.write("dshield", {"203.0.113.5": KNOWN})
        tier.write("dshield", {"203.0.113.5": later})
        assert tier.read("dshield", ["203.0.113.5"]) == {"203.0.113.5": later}


def test_processes_and_threads_share_what_is_in_redis(url: str) -> None:
    with opened(url) as tier, opened(url, tier._prefix.split(":")[2]) as other, ThreadPoolExecutor(8) as pool:
        parts = [{f"2001:db8::{part}:{number:x}": KNOWN for number in range(500)} for part in range(16)]
        list(pool.map(lambda part: tier.write("dshield", part), parts))
        assert list(pool.map(lambda part: tier.read("dshield", list(part)), parts)) == parts
        assert all(other.read("dshield", list(part)) == part for part in parts)


def test_another_warehouse_or_schema_knows_nothing_of_it(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = uuid.uuid4().hex
    with opened(url, name) as tier, opened(url, f"{name}1") as other:
        tier.write("dshield", {"203.0.113.5": KNOWN})
        assert other.read("dshield", ["203.0.113.5"]) == {}
        monkeypatch.setattr(hot_tier, "SCHEMA", 2)
        with opened(url, name) as newer:
            assert newer.read("dshield", ["203.0.113.5"]) == {}
        assert tier.read("dshield", ["203.0.113.5"]) == {"203.0.113.5": KNOWN}


@pytest.mark.parametrize("outcome", ["unavailable", "quota", "not_configured", "not_applicable", "", "found 1"])
def test_a_failure_is_never_cached(url: str, outcome: str) -> None:
    for tier in tiers(url):
        with pytest.raises(ValueError, match="only answers are cached"):
            tier.write("dshield", {"203.0.113.5": Known(outcome, MOMENT, MOMENT)})
        assert tier.read("dshield", ["203.0.113.5"]) == {}


# --- lives ------------------------------------------------------------------------------------------------------------


def test_an_entry_is_hot_for_less_than_an_hour_and_its_expiry_is_the_answers_own(url: str) -> None:
    lives = {"long": timedelta(days=30), "short": timedelta(seconds=5), "over": timedelta(days=-30)}
    written = {key: Known("found", MOMENT, datetime.now(UTC) + life) for key, life in lives.items()}
    with opened(url) as tier:
        for _ in range(2):  # written again as it was read: nothing gets younger
            tier.write("dshield", written)
            assert tier.read("dshield", list(written)) == written
            for key in written:
                left = client(url).pttl(f"{tier._prefix}dshield:{key}")
                assert 1000 * (LIFE - 30) < left <= 1000 * LIFE < 3_600_000
            written = tier.read("dshield", list(written))


def test_memory_forgets_after_its_life() -> None:
    now = [1000.0]
    tier = MemoryTier("test", clock=lambda: now[0])
    tier.write("dshield", {"203.0.113.5": KNOWN})
    now[0] += LIFE - 1
    assert tier.read("dshield", ["203.0.113.5"]) == {"203.0.113.5": KNOWN}
    tier.write("dshield", {"192.0.2.1": KNOWN})
    now[0] += 1
    assert tier.read("dshield", ["203.0.113.5", "192.0.2.1"]) == {"192.0.2.1": KNOWN}


def test_memory_is_bounded_and_the_oldest_go() -> None:
    tier = MemoryTier("test", capacity=3)
    for key in ("a", "b", "c", "a", "d"):
        tier.write("dshield", {key: KNOWN})
    assert list(tier.read("dshield", ["a", "b", "c", "d"])) == ["a", "c", "d"]
    full = MemoryTier("test")
    full.write("dshield", {str(number): KNOWN for number in range(100_005)})
    assert len(full.read("dshield", [str(number) for number in range(100_005)])) == 100_000


# --- what is not believed ---------------------------------------------------------------------------------------------


def test_no_value_is_believed_but_the_very_one(url: str) -> None:
    with opened(url) as tier:
        tier.write("dshield", {"203.0.113.5": KNOWN, "192.0.2.1": KNOWN})
        name = f"{tier._prefix}dshield:203.0.113.5"
        raw = client(url)
        good: bytes = raw.get(name)
        damages = [good[:length] for length in range(len(good))]
        damages += [
            good[:place] + bytes([good[place] ^ flip]) + good[place + 1 :]
            for place in range(len(good))
            for flip in (1, 32, 255)
        ]
        damages += [
            raw.get(f"{tier._prefix}dshield:192.0.2.1"),  # another key's
            *(good + end for end in (b"\0", b" ", b"\n", b"0")),
            *(b"\0", b"\xff\xfe", b"OK", b"null", b'{"outcome": "found"}', b"\x80\x05.", b"  ", b"x" * 1_000_000),
        ]
        for damage in damages:
            raw.set(name, damage)
            assert tier.read("dshield", ["203.0.113.5"]) == {}, damage
        raw.set(name, good)
        assert tier.read("dshield", ["203.0.113.5"]) == {"203.0.113.5": KNOWN}


@pytest.mark.parametrize(
    "body",
    [
        b"found",
        b"found 1",
        b"found 1 2 3",
        b"found 1 x",
        b"found 1 " + b"9" * 30,
        b"found 1 " + b"9" * 5000,
        b"quota 1 2",
        b" 1 2",
        b"f\xc3\xbcnd 1 2",
        b"found  1 2",
        b"found 1 1e3",
        b"found nan inf",
    ],
    ids=range(12),
)
def test_a_body_of_another_version_with_a_good_checksum(body: bytes) -> None:
    name = b"cowrie:1:test:dshield:203.0.113.5"
    assert hot_tier._decoded(name, b"%b %08x" % (body, hot_tier._checksum(name, body))) is None


def test_other_types_at_our_names_are_misses_and_are_overwritten(url: str) -> None:
    with opened(url) as tier:
        raw = client(url)
        raw.hset(f"{tier._prefix}dshield:a", "x", "y")
        raw.lpush(f"{tier._prefix}dshield:b", "x")
        assert tier.read("dshield", ["a", "b"]) == {}
        tier.write("dshield", {"a": KNOWN, "b": KNOWN})
        assert tier.read("dshield", ["a", "b"]) == {"a": KNOWN, "b": KNOWN}


# --- faults -----------------------------------------------------------------------------------------------------------


def both(tier: RedisTier) -> list[Callable[[], object]]:
    return [lambda: tier.read("dshield", ["203.0.113.5"]), lambda: tier.write("dshield", {"203.0.113.5": KNOWN})]


def test_a_server_that_is_killed_and_comes_back(server: RedisServer) -> None:
    with opened(server.url) as tier:
        tier.write("dshield", {"203.0.113.5": KNOWN})
        for end in (server.kill, server.stop):
            end()
            for command in both(tier):
                assert fails(command).reason == "does not answer (connection refused)"
            server.start()
            assert tier.read("dshield", ["203.0.113.5"]) == {}  # lost, which is a miss
            tier.write("dshield", {"203.0.113.5": KNOWN})
            assert tier.read("dshield", ["203.0.113.5"]) == {"203.0.113.5": KNOWN}


def test_a_server_that_is_killed_in_the_midst_of_the_work(server: RedisServer) -> None:
    many = {f"2001:db8::{number:x}": KNOWN for number in range(20_000)}
    with opened(server.url) as tier, ThreadPoolExecutor(4) as pool:

        def work(_: int) -> str:
            try:
                while True:
                    tier.write("dshield", many)
                    assert tier.read("dshield", list(many)).items() <= many.items()
            except TierFailure as failure:
                return failure.reason

        working = pool.map(work, range(4))
        time.sleep(0.5)
        server.kill()
        assert all(reason.startswith("does not answer") for reason in working)


def test_a_frozen_server_is_given_a_second(server: RedisServer) -> None:
    with opened(server.url) as used, opened(server.url) as fresh:
        used.write("dshield", {"203.0.113.5": KNOWN})
        server.pause()
        for tier in (used, fresh):
            for command in both(tier):
                assert fails(command).reason == "did not answer within 1 s"
        server.resume()
        # What comes of the commands that were given up is not taken for an answer to a later one.
        later = {"192.0.2.1": Known("not_found", MOMENT, MOMENT)}
        for tier in (used, fresh):
            tier._prefix = used._prefix
            tier.write("dshield", later)
            assert tier.read("dshield", ["192.0.2.1", "203.0.113.5"]) == later | {"203.0.113.5": KNOWN}


def test_a_password_that_is_wrong_or_missing(server: RedisServer) -> None:
    client(server.url).config_set("requirepass", "right")
    wrong = [server.url, *(server.url.replace("//", f"//{user}:{SECRET}@") for user in ("", "somebody"))]
    for address in [*wrong, f"{server.url}?password={SECRET}"]:
        with opened(address) as tier:
            for command in both(tier):
                assert fails(command).reason == "does not accept the user or the password, or wants one"
    with opened(server.url.replace("//", "//:right@")) as tier:
        tier.write("dshield", {"203.0.113.5": KNOWN})
        assert tier.read("dshield", ["203.0.113.5"]) == {"203.0.113.5": KNOWN}


def test_a_user_who_may_not(server: RedisServer) -> None:
    client(server.url).acl_setuser("guest", enabled=True, passwords=[f"+{SECRET}"], commands=["+ping"], keys=["*"])
    with opened(server.url.replace("//", f"//guest:{SECRET}@")) as tier:
        for command in both(tier):
            assert fails(command).reason == "does not let this user read or write here"


def test_a_full_server_can_be_read_still(server: RedisServer) -> None:
    with opened(server.url) as tier:
        tier.write("dshield", {"203.0.113.5": KNOWN})
        client(server.url).config_set("maxmemory", "1")
        read, write = both(tier)
        assert fails(write).reason == "has no memory left"
        assert read() == {"203.0.113.5": KNOWN}


def test_a_replica_can_be_read_still(server: RedisServer) -> None:
    with opened(server.url) as tier:
        tier.write("dshield", {"203.0.113.5": KNOWN})
        client(server.url).execute_command("REPLICAOF", "127.0.0.1", "1")
        read, write = both(tier)
        assert fails(write).reason == "is read-only"
        assert read() == {"203.0.113.5": KNOWN}
        client(server.url).config_set("replica-serve-stale-data", "no")
        assert fails(read).reason.startswith("refuses the command")  # MASTERDOWN


def test_a_server_that_cannot_save(server: RedisServer) -> None:
    raw = client(server.url)
    file = Path(raw.config_get("dir")["dir"]) / raw.config_get("dbfilename")["dbfilename"]
    file.mkdir()
    try:
        raw.config_set("save", "1 1")
        raw.set("something", "to save")
        raw.bgsave()
        ends_at = time.monotonic() + 20
        while raw.info("persistence")["rdb_last_bgsave_status"] != "err" and time.monotonic() < ends_at:
            time.sleep(0.05)
        with opened(server.url) as tier:
            assert fails(both(tier)[1]).reason == "refuses the command (MISCONF)"
    finally:
        file.rmdir()


@contextmanager
def answering(reply: bytes, *, hang: bool = False) -> Iterator[str]:
    """The URL of something that is not Redis: it says the same to everything."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, suppress(OSError):
                        while connection.recv(65536):
                            connection.sendall(reply)
                            if not hang:
                                break

        threading.Thread(target=serve, daemon=True).start()
        yield f"redis://:{SECRET}@127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\0" * 100,
        b"\xff\xfe\r\n",
        b"$x\r\n",
        b"*x\r\n",
        b":\r\n",
        b"*1\r\n" * 5000,
        b"%1\r\n*0\r\n*0\r\n",
        b"+OK\r\n",
        b"$-1\r\n",
        b"*-1\r\n",
        b":1\r\n",
        b"-ERR what is 203.0.113.5\r\n",
        b"",
    ],
    ids=range(15),
)
@pytest.mark.parametrize("hang", [False, True])
def test_a_server_that_is_not_redis(reply: bytes, hang: bool) -> None:
    with answering(reply, hang=hang) as address, opened(address) as tier:
        read, write = both(tier)
        fails(read)
        if not hang:  # who goes on to say "OK" to everything is Redis enough to be written to
            fails(write)


def test_a_host_that_there_is_not() -> None:
    with opened(f"redis://:{SECRET}@no-such-host.invalid:6379") as tier:
        assert fails(both(tier)[0]).reason == "does not answer (its name is not known)"


def test_a_server_without_tls(url: str) -> None:
    with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as address, opened(f"rediss{address[5:]}") as tier:
        assert fails(both(tier)[0]).reason == "does not answer (no TLS, or none that can be trusted)"
    if "TEST_REDIS_URL" not in os.environ:
        with opened(url.replace("redis://", "rediss://")) as tier:  # it waits for the end of the line
            assert fails(both(tier)[0]).reason == "did not answer within 1 s"


def test_a_socket_that_there_is_not(tmp_path: Path) -> None:
    with opened(f"unix://{tmp_path}/redis.sock?password={SECRET}") as tier:
        assert fails(both(tier)[0]).reason.startswith("does not answer")


# --- URLs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "",
        SECRET,
        f"http://:{SECRET}@localhost",
        f"redis://:{SECRET}@localhost:port",
        f"redis://user:{SECRET}@localhost:6379x/0",
        f"redis://localhost:{SECRET}",
        f"redis://:{SECRET}@localhost:999999",
        f"redis://:{SECRET}@[::1",
        f"redis://:{SECRET}@localhost?db=x",
        f"redis://:{SECRET}@localhost?no_such_option=1",
        f"redis://:{SECRET}@localhost?max_connections=-1",
    ],
)
def test_a_url_that_is_none_is_not_repeated(address: str) -> None:
    with pytest.raises(ValueError, match="cannot be understood") as error:
        RedisTier(address, "test")
    assert SECRET not in str(error.value)
    assert error.value.__context__ is None


@pytest.mark.parametrize("warehouse", ["", "a:b", "a b", "ä", "a\n"])
def test_a_warehouse_that_would_blur_the_key(warehouse: str) -> None:
    with pytest.raises(ValueError, match="warehouse"):
        RedisTier("redis://localhost", warehouse)


def test_what_the_url_says_of_times_and_texts_is_not_heard(server: RedisServer) -> None:
    with opened(f"{server.url}?socket_timeout=60&decode_responses=true&retry_on_timeout=yes") as tier:
        tier.write("dshield", {"203.0.113.5": KNOWN})
        assert tier.read("dshield", ["203.0.113.5"]) == {"203.0.113.5": KNOWN}
        server.pause()
        fails(both(tier)[0])


def test_a_closed_tier_leaves_no_connection(server: RedisServer) -> None:
    raw = client(server.url)
    with opened(server.url) as tier:
        tier.write("dshield", {"203.0.113.5": KNOWN})
        assert len(raw.client_list()) == 2
    ends_at = time.monotonic() + 5
    while len(raw.client_list()) > 1 and time.monotonic() < ends_at:
        time.sleep(0.01)
    assert len(raw.client_list()) == 1
