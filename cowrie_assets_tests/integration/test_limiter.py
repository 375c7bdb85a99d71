"""No limit is ever exceeded, by any number of processes, judged by the server's clock (promise P3).

Proved here: four processes that share a database stay below the documented limits for a minute and more, use most of
what is permitted and share it fairly, also when one is killed and another comes; a limiter that each process has for
itself is caught by the same judge; blocks reach workers that sleep on their slot; a crash loses a slot and wins none;
a quota is spent to the last call and not beyond. Not here: what is asked (`test_asking`), kinds of quotas
(`test_quotas`), failures in a row (`test_circuit`).
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from cowrie_assets.lookup.configured import configured_services
from cowrie_assets.lookup.limiter import Call, Limiter, NotNow
from cowrie_assets.lookup.services import SERVICES, WEEK, Quota, Service
from cowrie_assets.sandbox.limits import Arrival, Ledger
from cowrie_assets.sandbox.server import Sandbox
from cowrie_assets.settings import ADDRESS_VARIABLES, Settings
from cowrie_assets.warehouse.database import open_connection
from cowrie_assets.warehouse.event_chunks import Connection
from cowrie_assets_tests.conftest import Server
from cowrie_assets_tests.integration.test_asking import ROOT, addresses, fast_database
from cowrie_assets_tests.integration.test_session_snapshots import forget
from cowrie_assets_tests.pipelines import KEYS

WRITTEN = (
    "service_limits",
    "lookup_ledger",
    "service_answers",
    "open_questions",
    "lookup_counters",
    "network_spending",
)


@pytest.fixture(scope="module")
def url(server: Server) -> str:
    return fast_database(server)


@pytest.fixture
def connection(url: str) -> Iterator[Connection]:
    with open_connection(url) as opened:
        forget(opened, *WRITTEN)
        yield opened


# --- four processes, and the server's judgement --------------------------------------------------------------------


@dataclass(frozen=True)
class Limit:
    """What a service permits, as it is documented: without any padding."""

    requests: int
    window: float

    @property
    def rate(self) -> float:
        return self.requests / self.window

    @property
    def least_share(self) -> float:
        """How much of it has to be used: the padding is a tenth of a second, or a quarter for windows that are long."""
        return 0.8 if self.window <= 1 else 0.9


DOCUMENTED = {"spur": Limit(20, 1.0), "dshield": Limit(1, 1.0), "urlhaus": Limit(30, 60.0)}
# The same limiter at other windows, whichever service they are set for: VirusTotal's 4 a minute five times as fast.
SCALED = {"spur": Limit(20, 1.0), "dshield": Limit(5, 2.0), "urlhaus": Limit(4, 12.0)}
RATES = {
    Limit(20, 1.0): "20/s", Limit(1, 1.0): "1/s", Limit(30, 60.0): "30/min", Limit(5, 2.0): "5/2s",
    Limit(4, 12.0): "4/12s", Limit(4, 60.0): "4/min",
}  # fmt: skip

# Asks about keys of its own at all services at the same time.
CHILD = """
import os, pickle, ssl, sys, threading
from datetime import UTC, datetime
from functools import cache, partial
from cowrie_assets.lookup.asking import Asking, ask
from cowrie_assets.lookup.gate import EgressGate
from cowrie_assets.lookup.services import Service
from cowrie_assets.upstreams.http import Sender
from cowrie_assets.warehouse.database import open_connection

class Alone(Service):
    # Limited in this process and by nobody else: what limited nothing once.
    limit_key = property(lambda self: f"{self.name}/{os.getpid()}")

# Each new client reads all certificates, for 30 ms, and here many begin at the same moment on a machine of two cores.
ssl.create_default_context = cache(ssl.create_default_context)
told = pickle.loads(bytes.fromhex(sys.argv[1]))

def work(service):
    asking = Asking(partial(open_connection, told["url"]), EgressGate(), str(os.getpid()), told["seconds"])
    known = Alone(**vars(service)) if told["alone"] else service
    ask(asking, known, dict.fromkeys(told["keys"], datetime.now(UTC)))

# What a process does once: imports, certificates.
with open_connection(told["url"]), Sender():
    pass
threads = [threading.Thread(target=work, args=(service,)) for service in told["services"]]
print("ready", flush=True)
sys.stdin.readline()
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


class Asker:
    """One process. Other numbers, other keys."""

    def __init__(
        self, url: str, services: Sequence[Service], number: int, seconds: float, *, alone: bool = False
    ) -> None:
        self.keys = set(addresses(1500, 1500 * number))
        told = {"url": url, "services": services, "keys": sorted(self.keys), "seconds": seconds, "alone": alone}
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, pickle.dumps(told).hex()],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip

    def wait_until_ready(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n", self.process.communicate()[1]

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def finish(self, seconds: float) -> None:
        _, err = self.process.communicate(timeout=seconds)
        assert self.process.returncode == 0, err

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def end(self) -> None:
        self.process.kill()
        with suppress(ValueError):  # its pipes are closed already
            self.process.communicate()


def ask_with_four_processes(
    url: str,
    services: Sequence[Service],
    seconds: float,
    *,
    alone: bool = False,
    meanwhile: Callable[[list[Asker]], None] = lambda _: None,
) -> list[Asker]:
    """Those that asked to their end; `meanwhile` may kill some, and put others in their place."""
    with ExitStack() as stack:
        askers = []
        for number in range(4):
            askers.append(Asker(url, services, number, seconds, alone=alone))
            stack.callback(askers[-1].end)
        for asker in askers:
            asker.wait_until_ready()
        for asker in askers:
            asker.go()
            time.sleep(0.3)  # as steps do, they begin one after the other
        meanwhile(askers)
        for asker in askers:
            stack.callback(asker.end)
            asker.finish(seconds + 60)
        return askers


def assert_within_limits(ledger: Ledger, limits: Mapping[str, Limit], in_flight: int = 0) -> None:
    """The judge: by the server's own clock nothing was over a limit, whatever became of it, and nothing came while it
    was not to be disturbed, but for what had left before we could know."""
    for name, limit in limits.items():
        assert [arrival for arrival in ledger.arrivals(name) if arrival.over_limit] == []
        assert ledger.max_in_window(name, limit.window) <= limit.requests
        assert sum(arrival.in_penalty for arrival in ledger.arrivals(name)) <= in_flight


def assert_used(arrivals: Sequence[Arrival], limit: Limit, seconds: float, lost: int = 0) -> None:
    """Most of what was permitted in the seconds after the first arrival was used, or `lost` with who reserved it."""
    count = sum(arrival.at < arrivals[0].at + seconds for arrival in arrivals)
    used = (count + lost) / (limit.rate * seconds)
    assert used >= limit.least_share, f"{used:.1%} of {limit}"


def assert_fair(arrivals: Sequence[Arrival], askers: Sequence[Asker]) -> None:
    counts = [sum(arrival.key in asker.keys for arrival in arrivals) for asker in askers]
    mean = sum(counts) / len(counts)
    assert all(mean / 2 <= count <= mean * 2 for count in counts), counts


def assert_each_left_at_its_slot(connection: Connection, arrivals: Sequence[Arrival]) -> None:
    """Their ledger and ours: the same calls, none before its slot."""
    rows = connection.execute(
        "SELECT key, extract(epoch FROM sent_at)::float FROM lookup_ledger WHERE service = %s", (arrivals[0].service,)
    )
    slots: dict[str, float] = dict(rows.fetchall())
    lateness = sorted(arrival.wall - slots[arrival.key] for arrival in arrivals)
    assert lateness[0] > -0.01
    assert lateness[len(lateness) // 2] < 0.05
    assert len(slots) == len(arrivals)


def services_at(sandbox: Sandbox, home: Path, limits: Mapping[str, Limit]) -> list[Service]:
    """The services as an operator has them who sets these rates, without a word about padding."""
    variables = sandbox.environment()
    where = {name: variables[variable] for name, variable in ADDRESS_VARIABLES.items() if variable in variables}
    rates = {name: {"rate": RATES[limit]} for name, limit in limits.items()}
    services = configured_services(Settings(home=home, addresses=where, services=rates))
    return [services[name] for name in limits]


@pytest.fixture
def with_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def slow_url(embedded_server: Server) -> str:
    """One server is enough for what takes long: what is proved does not rest on its version."""
    return fast_database(embedded_server)


@pytest.fixture
def slow_connection(slow_url: str) -> Iterator[Connection]:
    with open_connection(slow_url) as opened:
        forget(opened, *WRITTEN)
        yield opened


@pytest.fixture
def documented(with_keys: None) -> Iterator[Sandbox]:
    """Its limits are a little stricter than documented, and DShield's penalty of five minutes would end a run."""
    with Sandbox(limits="documented") as running:
        yield running


@pytest.fixture
def scaled(with_keys: None) -> Iterator[Sandbox]:
    """As strict: a fiftieth, but no more than the tenth of a second that the documented ones have."""
    with Sandbox(limits="documented") as running:
        running.limits(
            {
                name: {"requests": limit.requests, "window": limit.window + min(limit.window / 50, 0.1), "penalty": 3.0}
                for name, limit in SCALED.items()
            }
        )
        yield running


@pytest.mark.alone
def test_four_processes_stay_below_the_documented_limits_for_a_minute_and_use_them(
    slow_connection: Connection, slow_url: str, documented: Sandbox, tmp_path: Path
) -> None:
    """60x faster than the rate limit: each call built its own full token bucket, so nothing was ever limited."""
    askers = ask_with_four_processes(slow_url, services_at(documented, tmp_path, DOCUMENTED), 62.0)
    assert_within_limits(documented.ledger, DOCUMENTED)
    for name, limit in DOCUMENTED.items():
        arrivals = documented.ledger.arrivals(name)
        assert {arrival.status for arrival in arrivals} <= {200, 404}
        assert arrivals[-1].at - arrivals[0].at >= 58
        assert_used(arrivals, limit, 60.0)
        assert_fair(arrivals, askers)
        assert_each_left_at_its_slot(slow_connection, arrivals)


BOX = 3.0


@pytest.mark.alone
def test_limits_hold_while_processes_are_killed_and_started_and_in_a_penalty_box(
    slow_connection: Connection, slow_url: str, scaled: Sandbox, tmp_path: Path
) -> None:
    """20 calls a process for windows up to 2 s; what is slower has its full length in `make soak`."""
    services = services_at(scaled, tmp_path, SCALED)
    # One 429 out of the blue, after some seconds.
    scaled.faults({"spur": ["ok"] * 60 + [{"kind": "429", "retry_after": f"{BOX:.0f}", "penalty": BOX}]})
    joined: list[float] = []

    def meanwhile(askers: list[Asker]) -> None:
        latecomer = Asker(slow_url, services, 4, 24.0)
        latecomer.wait_until_ready()
        while len(scaled.ledger.arrivals("spur")) < 140:
            time.sleep(0.01)
        askers.pop(0).kill()
        latecomer.go()
        joined.append(time.monotonic() + 1)
        askers.append(latecomer)

    askers = ask_with_four_processes(slow_url, services, 36.0, meanwhile=meanwhile)
    assert_within_limits(scaled.ledger, SCALED, in_flight=8)
    for name, limit in SCALED.items():
        arrivals = scaled.ledger.arrivals(name)
        refused = [arrival for arrival in arrivals if arrival.status == 429]
        assert bool(refused) == (name == "spur")
        if refused:
            # Those that were in flight left before anybody could know; from then on it was quiet.
            assert refused[-1].at - refused[0].at < 1.0
            after = [arrival for arrival in arrivals if arrival.at > refused[-1].at]
            assert after[0].at - refused[-1].at >= BOX
            assert_used(after, limit, 15.0)
        else:
            assert_used(arrivals, limit, 33.0, lost=2)  # one for each worker of the killed
        assert sum(arrival.at > joined[0] for arrival in arrivals) >= 5
        if name != "urlhaus":  # it has eight slots of three seconds ahead of it still when the latecomer comes
            assert_fair([arrival for arrival in arrivals if joined[0] < arrival.at < joined[0] + 20], askers)


@pytest.mark.alone
def test_a_limiter_that_each_process_has_for_itself_is_caught_by_the_same_judge(
    slow_connection: Connection, slow_url: str, scaled: Sandbox, tmp_path: Path
) -> None:
    """Else the tests above would prove nothing."""
    ask_with_four_processes(slow_url, services_at(scaled, tmp_path, SCALED), 6.0, alone=True)
    for name, limit in SCALED.items():
        with pytest.raises(AssertionError):
            assert_within_limits(scaled.ledger, {name: limit})
        assert any(arrival.over_limit for arrival in scaled.ledger.arrivals(name))
        assert scaled.ledger.max_in_window(name, limit.window) > limit.requests


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_four_processes_stay_below_scaled_limits_for_twenty_calls_each(
    slow_connection: Connection, slow_url: str, scaled: Sandbox, tmp_path: Path
) -> None:
    """80 calls at 4 in 12.25 s are 245 s. VirusTotal's own 4 a minute beside them."""
    limits = {**SCALED, "greynoise": Limit(4, 60.0)}
    scaled.limits({"greynoise": {"requests": 4, "window": 60.1}})
    services = [replace(service, quotas=()) for service in services_at(scaled, tmp_path, limits)]
    askers = ask_with_four_processes(slow_url, services, 252.0)
    assert_within_limits(scaled.ledger, limits)
    for name, limit in limits.items():
        arrivals = scaled.ledger.arrivals(name)
        assert_used(arrivals, limit, 240.0)
        assert_fair(arrivals, askers)
        assert len(arrivals) >= (80 if name in SCALED else 16)
        assert_each_left_at_its_slot(slow_connection, arrivals)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_documented_limits_hold_while_processes_come_and_go(
    slow_connection: Connection, slow_url: str, documented: Sandbox, tmp_path: Path
) -> None:
    services = services_at(documented, tmp_path, DOCUMENTED)

    def meanwhile(askers: list[Asker]) -> None:
        for number in range(4, 10):
            latecomer = Asker(slow_url, services, number, 62.0)
            latecomer.wait_until_ready()
            time.sleep(8)
            askers.pop(0).kill()
            latecomer.go()
            askers.append(latecomer)

    ask_with_four_processes(slow_url, services, 120.0, meanwhile=meanwhile)
    assert_within_limits(documented.ledger, DOCUMENTED)
    for service in services:
        # Six processes were killed, each with a slot reserved for each of its workers: lost, on the safe side.
        arrivals, lost = documented.ledger.arrivals(service.name), 6 * service.workers
        assert_used(arrivals, DOCUMENTED[service.name], 100.0, lost)


@pytest.mark.alone
def test_a_process_that_stood_still_for_a_second_does_not_make_up_for_it(
    slow_connection: Connection, slow_url: str, scaled: Sandbox, tmp_path: Path
) -> None:
    """A machine that swaps or is moved: its slots have passed, and in the present every slot belongs to the others."""
    (spur,) = services_at(scaled, tmp_path, {"spur": SCALED["spur"]})

    def stand_still(askers: list[Asker]) -> None:
        while len(scaled.ledger.arrivals("spur")) < 20:
            time.sleep(0.01)
        os.kill(askers[0].process.pid, signal.SIGSTOP)
        time.sleep(1.2)
        os.kill(askers[0].process.pid, signal.SIGCONT)

    ask_with_four_processes(slow_url, [replace(spur, workers=2)], 3.0, meanwhile=stand_still)
    assert_within_limits(scaled.ledger, {"spur": SCALED["spur"]})


# --- slots ---------------------------------------------------------------------------------------------------------


def at_rate(requests: int = 10, window: float = 1.0, **changes: Any) -> Service:
    known = replace(SERVICES["spur"], credential=None, by_balance=False, requests=requests, window=window)
    return replace(known, **changes)


def charge(limiter: Limiter, seconds: float = 60.0, key: str = "8.8.8.8", stop: threading.Event | None = None) -> Call:
    return limiter.charge(key, 1, seconds, stop or threading.Event())


def ledger(connection: Connection) -> list[tuple[Any, ...]]:
    return connection.execute("SELECT service, key, key_count, outcome, run_id FROM lookup_ledger").fetchall()


def gaps(connection: Connection) -> list[float]:
    """Seconds between the slots that were given, in order."""
    rows = connection.execute(
        "SELECT extract(epoch FROM sent_at - lag(sent_at) OVER (ORDER BY sent_at))::float FROM lookup_ledger"
    ).fetchall()
    return sorted(gap for (gap,) in rows if gap is not None)


def test_a_call_is_in_the_ledger_before_it_leaves(connection: Connection) -> None:
    limiter = Limiter(connection, at_rate(), "the run")
    call = limiter.charge("8.8.8.8", 7, 60.0, threading.Event())
    assert ledger(connection) == [("spur", "8.8.8.8", 7, None, "the run")]
    assert connection.execute("SELECT call_id FROM lookup_ledger").fetchone() == (call.call_id,)


def test_slots_are_evenly_spaced_with_the_padding(connection: Connection) -> None:
    limiter = Limiter(connection, at_rate(20, 1.0), None)
    begun = time.monotonic()
    for _ in range(10):
        charge(limiter)
    assert time.monotonic() - begun >= 9 * 0.055
    assert gaps(connection)[0] == pytest.approx(0.055, abs=1e-5)


def test_an_idle_hour_is_not_saved_up_for_a_burst(connection: Connection) -> None:
    limiter = Limiter(connection, at_rate(), None)
    charge(limiter)
    connection.execute("UPDATE service_limits SET next_slot = next_slot - interval '1 hour'")
    connection.execute("DELETE FROM lookup_ledger")
    for _ in range(4):
        charge(limiter)
    assert gaps(connection)[0] >= 0.1099


def test_what_has_no_time_to_wait_reserves_nothing(connection: Connection) -> None:
    limiter = Limiter(connection, at_rate(1, 10.0), None)
    charge(limiter, 0.0)  # a free slot needs no time
    before = connection.execute("SELECT * FROM service_limits").fetchall()
    for seconds in (0.0, 5.0, 10.0, -1.0):
        with pytest.raises(NotNow, match="the run's time was used up") as caught:
            charge(limiter, seconds)
        assert caught.value.outcome == "quota"
    assert connection.execute("SELECT * FROM service_limits").fetchall() == before
    assert len(ledger(connection)) == 1


def test_a_stop_is_heard_by_who_sleeps_on_a_slot(connection: Connection, url: str) -> None:
    limiter, stop = Limiter(connection, at_rate(1, 30.0), None), threading.Event()
    charge(limiter)
    threading.Timer(0.2, stop.set).start()
    begun = time.monotonic()
    with pytest.raises(NotNow, match="stopped"):
        charge(limiter, stop=stop)
    assert time.monotonic() - begun < 5
    assert len(ledger(connection)) == 1, "what was reserved is taken back"


def test_a_slot_that_a_crash_lost_is_given_to_nobody_else(connection: Connection, url: str) -> None:
    """The safe side: too few requests, never too many."""
    spaced = at_rate(1, 1.0)
    limiter = Limiter(connection, spaced, None)
    charge(limiter)
    crashing = f"""
import sys, threading
from cowrie_assets.lookup.limiter import Limiter
from cowrie_assets.lookup.services import Service
from cowrie_assets.warehouse.database import open_connection
limiter = Limiter(open_connection(sys.argv[1]), Service(**{vars(spaced)!r}), None)
print("begun", flush=True)
limiter.charge("8.8.4.4", 1, 60.0, threading.Event())
"""
    process = subprocess.Popen([sys.executable, "-c", crashing, url], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    deadline = time.monotonic() + 30
    while len(ledger(connection)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    charge(limiter)
    assert min(gaps(connection)) >= 1.0999
    assert Counter(key for _, key, *_ in ledger(connection)) == {"8.8.8.8": 2, "8.8.4.4": 1}


class Oversleeping(threading.Event):
    """The first wait takes too long: a machine that swaps, is suspended or is moved."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def wait(self, timeout: float | None = None) -> bool:
        time.sleep((timeout or 0.0) + self.seconds)
        self.seconds = 0.0
        return self.is_set()


def test_a_part_of_the_padding_is_kept_for_the_way(connection: Connection) -> None:
    """One that left 80 ms late and was 30 ms on the way arrives beside those of the next second."""
    known = at_rate(10, 1.0)
    limiter, stop = Limiter(connection, known, None), Oversleeping(0.08)
    charge(limiter)
    call = charge(limiter, stop=stop)
    row = connection.execute("SELECT sent_at FROM lookup_ledger WHERE call_id = %s", (call.call_id,)).fetchone()
    assert row is not None
    assert (call.left_at - row[0]).total_seconds() <= known.pad / 2


@pytest.mark.parametrize("seconds", [1.0, 0.2])
def test_who_wakes_later_than_the_window_is_padded_waits_for_another_slot(
    connection: Connection, seconds: float
) -> None:
    """His slot is over, and the present belongs to the others: ten that are on time and he are eleven in a second."""
    known = at_rate(10, 1.0)
    limiter, stop = Limiter(connection, known, None), Oversleeping(seconds)
    charge(limiter)
    call = charge(limiter, stop=stop)
    assert stop.seconds == 0.0, "there was a slot to wait for"
    row = connection.execute(
        "SELECT extract(epoch FROM clock_timestamp() - sent_at)::float FROM lookup_ledger WHERE call_id = %s",
        (call.call_id,),
    ).fetchone()
    assert row is not None
    assert row[0] < known.spacing * known.requests - known.window + 0.02
    assert len(ledger(connection)) == 2, "what was not used is taken back"


def test_a_new_rate_holds_from_the_next_slot_on(connection: Connection) -> None:
    charge(Limiter(connection, at_rate(1, 60.0), None))
    faster = Limiter(connection, at_rate(1, 0.5), None)
    assert connection.execute("SELECT count(*)::int, max(spacing_seconds) FROM service_limits").fetchone() == (1, 0.6)
    with pytest.raises(NotNow):
        charge(faster, 1.0)  # the slot that was promised under the old rate stands
    connection.execute("UPDATE service_limits SET next_slot = clock_timestamp()")
    for _ in range(2):
        charge(faster, 1.0)


def test_two_keys_have_two_budgets_of_slots(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    with_key = at_rate(1, 60.0, credential="env:SPUR_API_KEY")
    for key in ("one", "another"):
        monkeypatch.setenv("SPUR_API_KEY", key)
        charge(Limiter(connection, with_key, None), 0.0)
        with pytest.raises(NotNow):
            charge(Limiter(connection, with_key, None), 0.0)


# --- blocks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked_for", "seconds"),
    [(None, 77.0), (30.0, 30.0), (0.0, 1.0), (-1e15, 1.0), (0.5, 1.0), (86_400.0, 86_400.0), (1e15, 86_400.0)],
)
def test_a_block_is_as_long_as_asked_for_within_reason(
    connection: Connection, asked_for: float | None, seconds: float
) -> None:
    limiter = Limiter(connection, at_rate(blocked_for=77.0), None)
    limiter.block(asked_for)
    row = connection.execute(
        "SELECT extract(epoch FROM blocked_until - clock_timestamp())::float FROM service_limits"
    ).fetchone()
    assert row is not None
    assert seconds - 1 < row[0] <= seconds


def test_a_shorter_block_does_not_end_a_longer_one(connection: Connection) -> None:
    limiter = Limiter(connection, at_rate(), None)
    limiter.block(100.0)
    before = connection.execute("SELECT blocked_until FROM service_limits").fetchall()
    limiter.block(1.0)
    assert connection.execute("SELECT blocked_until FROM service_limits").fetchall() == before


def test_a_block_reaches_who_sleeps_on_a_slot_already(connection: Connection, url: str) -> None:
    """`blocked_until` is looked at again after waking: a 429 that came meanwhile stops this worker, too."""
    known = at_rate(1, 0.5)
    charge(Limiter(connection, known, None))
    left: list[float] = []

    def sleeper() -> None:
        with open_connection(url) as own:
            charge(Limiter(own, known, "sleeper"))
            left.append(time.monotonic())

    threads = [threading.Thread(target=sleeper) for _ in range(3)]
    for thread in threads:
        thread.start()
    while len(ledger(connection)) < 4:
        time.sleep(0.01)
    blocked_at = time.monotonic()
    Limiter(connection, known, None).block(1.5)
    for thread in threads:
        thread.join()
    assert min(left) - blocked_at >= 1.5
    # The slots that passed under the block are nobody's, and no call of theirs is in the ledger.
    assert len(ledger(connection)) == 4
    assert min(gaps(connection)) >= 0.59


def test_a_block_that_outlasts_the_run_is_no_matter_of_quota(connection: Connection) -> None:
    limiter = Limiter(connection, at_rate(), None)
    limiter.block(600.0)
    with pytest.raises(NotNow, match="left alone; nobody asks before 10 minutes are over") as caught:
        charge(limiter, 1.0)
    assert caught.value.outcome == "unavailable"
    assert ledger(connection) == []


def test_a_block_of_one_key_is_not_that_of_another(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    with_key = at_rate(credential="env:SPUR_API_KEY")
    monkeypatch.setenv("SPUR_API_KEY", "one")
    Limiter(connection, with_key, None).block(600.0)
    with pytest.raises(NotNow):
        charge(Limiter(connection, with_key, None), 0.0)
    monkeypatch.setenv("SPUR_API_KEY", "another")
    charge(Limiter(connection, with_key, None), 0.0)


# --- quotas --------------------------------------------------------------------------------------------------------


def test_a_quota_is_spent_to_the_last_call_by_whoever_comes(connection: Connection, url: str) -> None:
    known = at_rate(100_000, 1.0, quotas=(Quota(25, 3600.0),))
    outcomes: Counter[str] = Counter()
    together = threading.Barrier(8)

    def spend() -> None:
        with open_connection(url) as own:
            limiter = Limiter(own, known, None)
            together.wait()
            for _ in range(10):
                try:
                    charge(limiter)
                    outcomes["left"] += 1
                except NotNow as reason:
                    outcomes[reason.outcome] += 1

    threads = [threading.Thread(target=spend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == {"left": 25, "quota": 55}
    assert len(ledger(connection)) == 25


def test_only_the_calls_of_the_window_count_whatever_became_of_them(connection: Connection) -> None:
    limiter = Limiter(connection, at_rate(quotas=(Quota(3, 3600.0),)), None)
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO lookup_ledger (service, limit_key, key, sent_at, outcome) "
            "VALUES (%s, %s, '8.8.8.8', now() - make_interval(mins => %s), %s)",
            [
                ("spur", "spur", 61, "found"),  # an hour is over
                ("spur", "spur", 59, "unavailable"),
                ("spur", "spur", 30, None),
                ("dshield", "dshield", 1, "found"),
            ],
        )
    charge(limiter)
    with pytest.raises(NotNow, match=r"the quota of 3/1h is used up, the next request may leave in 0\.0 days"):
        charge(limiter)
    connection.execute("UPDATE lookup_ledger SET sent_at = sent_at - interval '2 minutes'")
    charge(limiter)


def test_a_quota_says_when_the_next_call_may_leave(connection: Connection) -> None:
    limiter = Limiter(connection, at_rate(quotas=(Quota(1, WEEK),)), None)  # in a week
    connection.execute(
        "INSERT INTO lookup_ledger (service, limit_key, key, sent_at) "
        "VALUES ('spur', 'spur', 'x', now() - interval '5 days')"
    )
    with pytest.raises(NotNow, match=r"in 2\.0 days") as caught:
        charge(limiter)
    assert caught.value.outcome == "quota"


def test_a_quota_that_was_lowered_is_not_exceeded(connection: Connection) -> None:
    for _ in range(3):
        charge(Limiter(connection, at_rate(quotas=(Quota(3, WEEK),)), None))
    with pytest.raises(NotNow, match="the quota of 2/week is used up"):
        charge(Limiter(connection, at_rate(quotas=(Quota(2, WEEK),)), None))


def test_a_quota_that_was_lowered_says_when_the_next_call_may_leave(connection: Connection) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO lookup_ledger (service, limit_key, key, sent_at) "
            "VALUES ('spur', 'spur', 'x', now() - make_interval(days => %s))",
            [(6,), (5,), (1,)],
        )
    # Only when those of 6 and of 5 days ago are out of the week, there is one left, and a second may leave.
    with pytest.raises(NotNow, match=r"in 2\.0 days"):
        charge(Limiter(connection, at_rate(quotas=(Quota(2, WEEK),)), None))


def test_two_keys_have_two_quotas(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    with_key = at_rate(credential="env:SPUR_API_KEY", quotas=(Quota(1, WEEK),))
    for key in ("one", "another"):
        monkeypatch.setenv("SPUR_API_KEY", key)
        charge(Limiter(connection, with_key, None))
        with pytest.raises(NotNow):
            charge(Limiter(connection, with_key, None))


def test_a_refused_call_costs_no_quota(connection: Connection) -> None:
    limiter = Limiter(connection, at_rate(1, 30.0, quotas=(Quota(2, WEEK),)), None)
    charge(limiter)
    for _ in range(5):
        with pytest.raises(NotNow, match="time was used up"):
            charge(limiter, 0.0)
    connection.execute("UPDATE service_limits SET next_slot = clock_timestamp()")
    charge(limiter)
