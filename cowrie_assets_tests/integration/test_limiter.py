"""No limit is ever exceeded, by any number of processes, judged by the server's clock (promise P3).

Proved here: four processes that share two limits stay below them, use most of what is permitted and share it fairly; a
limiter that lives in each process is caught by the same judge; blocks reach workers that sleep on their slot; a crash
loses a slot and wins none; a quota is spent to the last call and not beyond. Not here: what is asked (`test_asking`).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cowrie_assets.lookup.limiter import Call, Limiter, NotNow
from cowrie_assets.lookup.services import SERVICES, Service
from cowrie_assets.sandbox.server import Sandbox
from cowrie_assets.warehouse.database import open_connection
from cowrie_assets.warehouse.event_chunks import Connection
from cowrie_assets_tests.conftest import Server
from cowrie_assets_tests.integration.test_asking import ROOT, addresses, configured, fast_database
from cowrie_assets_tests.integration.test_session_snapshots import forget
from cowrie_assets_tests.pipelines import KEYS

# The service, its limit as the judge has it: requests in a window of seconds.
LIMITS = {"spur": (10, 1.0), "dshield": (5, 2.0)}
SECONDS = 10.0


@pytest.fixture(scope="module")
def url(server: Server) -> str:
    return fast_database(server)


@pytest.fixture
def connection(url: str) -> Iterator[Connection]:
    with open_connection(url) as opened:
        forget(opened, "service_limits", "lookup_ledger", "service_answers", "open_questions", "lookup_counters")
        yield opened


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


# --- four processes, and the server's judgement --------------------------------------------------------------------

# Asks about keys of its own at two services at the same time; tells how many requests it sent to each.
CHILD = """
import json, os, sys, threading, time
from datetime import UTC, datetime
from functools import partial
from cowrie_assets.lookup import asking as asking_module
from cowrie_assets.lookup.asking import Asking, ask
from cowrie_assets.lookup.gate import EgressGate
from cowrie_assets.lookup.services import Service
from cowrie_assets.warehouse.database import open_connection

class InProcess(asking_module.Limiter):
    '''Well spaced, in this process: what limited nothing once.'''
    lock, next_slot = threading.Lock(), {}

    def _reserve(self, key, key_count, seconds_left):
        call_id, _ = super()._reserve(key, key_count, 1e6)
        with self.lock:
            now = time.monotonic()
            begins_at = max(now, self.next_slot.get(self._service.name, now))
            self.next_slot[self._service.name] = begins_at + self._service.spacing
        if begins_at - now > seconds_left:
            self._take_back(call_id)
            raise asking_module.NotNow("quota", "the run's time was used up")
        return call_id, begins_at - now

told = json.loads(sys.argv[1])
if told["broken"]:
    asking_module.Limiter = InProcess
requests = {}

def work(values):
    service = Service(**{**values, "families": tuple(values["families"])})
    asking = Asking(partial(open_connection, told["url"]), EgressGate(), str(os.getpid()), told["seconds"])
    keys = dict.fromkeys(told["keys"], datetime.now(UTC))
    requests[service.name] = ask(asking, service, keys).requests

threads = [threading.Thread(target=work, args=(values,)) for values in told["services"]]
print("ready", flush=True)
sys.stdin.readline()
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps(requests), flush=True)
"""


def ask_with_four_processes(
    url: str,
    services: Sequence[Service],
    seconds: float,
    *,
    broken: bool = False,
    meanwhile: Callable[[int], None] = lambda _: None,
) -> list[dict[str, int]]:
    """How many requests each sent to each service, by its own account; `meanwhile` is given the id of the first."""
    processes = []
    for number in range(4):
        told: dict[str, Any] = {"url": url, "seconds": seconds, "broken": broken, "keys": addresses(500, 500 * number)}
        told["services"] = [vars(service) for service in services]
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", CHILD, json.dumps(told)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
            )
        )  # fmt: skip
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", process.communicate()[1]
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        meanwhile(processes[0].pid)
        requests = []
        for process in processes:
            out, err = process.communicate(timeout=seconds + 60)
            assert process.returncode == 0, err
            requests.append(json.loads(out.splitlines()[-1]))
        return requests
    finally:
        for process in processes:
            process.kill()


@pytest.fixture
def limited(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Service]:
    """Services whose limit is known to the judge as it is documented, without anything to spare."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    sandbox.reset()
    sandbox.limits({name: {"requests": n, "window": window, "penalty": 0.0} for name, (n, window) in LIMITS.items()})
    services = configured(tmp_path, sandbox)
    return [replace(services[name], requests=n, window=window, workers=2) for name, (n, window) in LIMITS.items()]


def test_four_processes_stay_below_two_limits_and_use_them(
    connection: Connection, url: str, sandbox: Sandbox, limited: list[Service]
) -> None:
    """60x faster than the rate limit: each call built its own full token bucket, so nothing was ever limited."""
    shares = ask_with_four_processes(url, limited, SECONDS)
    for service in limited:
        name, requests, window = service.name, service.requests, service.window
        arrivals = sandbox.ledger.arrivals(name)
        assert [arrival for arrival in arrivals if arrival.over_limit or arrival.in_penalty] == []
        assert sandbox.ledger.max_in_window(name, window) <= requests
        assert {arrival.status for arrival in arrivals} <= {200, 404}

        # As long as every worker has its next slot within the run: towards its end, one after the other has none.
        steady = SECONDS - 8 * service.spacing
        used = sum(arrival.at < arrivals[0].at + steady for arrival in arrivals)
        assert used >= 0.8 * steady / window * requests
        counts = [share[name] for share in shares]
        assert sum(counts) == len(arrivals)
        mean = len(arrivals) / 4
        assert all(mean / 2 <= count <= mean * 2 for count in counts), counts
        # Their ledger and ours: each call at its slot, never before it.
        rows = connection.execute(
            "SELECT key, extract(epoch FROM sent_at)::float FROM lookup_ledger WHERE service = %s", (name,)
        )
        slots: dict[str, float] = dict(rows.fetchall())
        lateness = sorted(arrival.wall - slots[arrival.key] for arrival in arrivals)
        assert lateness[0] > -0.01
        assert lateness[len(lateness) // 2] < 0.05
        assert len(slots) == len(arrivals)


def test_a_limiter_in_each_process_is_caught_by_the_same_judge(
    connection: Connection, url: str, sandbox: Sandbox, limited: list[Service]
) -> None:
    """Else the test above would prove nothing."""
    ask_with_four_processes(url, limited, 1.5, broken=True)
    for name, (requests, window) in LIMITS.items():
        # One is enough: its 429 blocks them all, over the database.
        assert any(arrival.over_limit for arrival in sandbox.ledger.arrivals(name))
        assert sandbox.ledger.max_in_window(name, window) > requests


def test_a_process_that_stood_still_for_a_second_does_not_make_up_for_it(
    connection: Connection, url: str, sandbox: Sandbox, limited: list[Service]
) -> None:
    """A machine that swaps or is moved: its slots have passed, and in the present every slot belongs to the others."""

    def stand_still(pid: int) -> None:
        while len(sandbox.ledger.arrivals("spur")) < 12:
            time.sleep(0.01)
        os.kill(pid, signal.SIGSTOP)
        time.sleep(1.2)
        os.kill(pid, signal.SIGCONT)

    ask_with_four_processes(url, limited[:1], 3.0, meanwhile=stand_still)
    assert limited[0].name == "spur"
    assert [arrival for arrival in sandbox.ledger.arrivals("spur") if arrival.over_limit] == []


# --- slots ---------------------------------------------------------------------------------------------------------


def at_rate(requests: int = 10, window: float = 1.0, **changes: Any) -> Service:
    known = replace(SERVICES["spur"], credential=None, requests=requests, window=window)
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
    known = at_rate(100_000, 1.0, quota=25, quota_window=3600.0)
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
    limiter = Limiter(connection, at_rate(quota=3, quota_window=3600.0), None)
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
    with pytest.raises(NotNow, match=r"the quota of 3 is used up, the next request may leave in 0\.0 days"):
        charge(limiter)
    connection.execute("UPDATE lookup_ledger SET sent_at = sent_at - interval '2 minutes'")
    charge(limiter)


def test_a_quota_says_when_the_next_call_may_leave(connection: Connection) -> None:
    limiter = Limiter(connection, at_rate(quota=1), None)  # in a week
    connection.execute(
        "INSERT INTO lookup_ledger (service, limit_key, key, sent_at) "
        "VALUES ('spur', 'spur', 'x', now() - interval '5 days')"
    )
    with pytest.raises(NotNow, match=r"in 2\.0 days") as caught:
        charge(limiter)
    assert caught.value.outcome == "quota"


def test_a_quota_that_was_lowered_is_not_exceeded(connection: Connection) -> None:
    for _ in range(3):
        charge(Limiter(connection, at_rate(quota=3), None))
    with pytest.raises(NotNow, match="the quota of 2 is used up"):
        charge(Limiter(connection, at_rate(quota=2), None))


def test_a_quota_that_was_lowered_says_when_the_next_call_may_leave(connection: Connection) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO lookup_ledger (service, limit_key, key, sent_at) "
            "VALUES ('spur', 'spur', 'x', now() - make_interval(days => %s))",
            [(6,), (5,), (1,)],
        )
    # Only when those of 6 and of 5 days ago are out of the week, there is one left, and a second may leave.
    with pytest.raises(NotNow, match=r"in 2\.0 days"):
        charge(Limiter(connection, at_rate(quota=2), None))


def test_two_keys_have_two_quotas(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    with_key = at_rate(credential="env:SPUR_API_KEY", quota=1)
    for key in ("one", "another"):
        monkeypatch.setenv("SPUR_API_KEY", key)
        charge(Limiter(connection, with_key, None))
        with pytest.raises(NotNow):
            charge(Limiter(connection, with_key, None))


def test_a_refused_call_costs_no_quota(connection: Connection) -> None:
    limiter = Limiter(connection, at_rate(1, 30.0, quota=2), None)
    charge(limiter)
    for _ in range(5):
        with pytest.raises(NotNow, match="time was used up"):
            charge(limiter, 0.0)
    connection.execute("UPDATE service_limits SET next_slot = clock_timestamp()")
    charge(limiter)
