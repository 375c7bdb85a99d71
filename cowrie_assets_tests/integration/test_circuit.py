"""A service that does not answer is left alone by everybody, and tried again by one (promise P3).

Proved here, with the clock moved: five failures in a row open the circuit for all processes; one probe, whoever sends
it, and what becomes of it; probes that fail, are killed or are told to wait; failures that come late; a refused key
stops that key alone; what a run waits for, and in which words it gives up. Not here: slots and blocks (`test_limiter`),
quotas (`test_quotas`).
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cowrie_assets.lookup import answers
from cowrie_assets.lookup.asking import Asking, Tally, ask
from cowrie_assets.lookup.configured import configured_services
from cowrie_assets.lookup.gate import EgressGate
from cowrie_assets.lookup.limiter import FAILURES_IN_A_ROW, Call, Limiter, NotNow
from cowrie_assets.lookup.services import SERVICES, Service
from cowrie_assets.sandbox.server import Sandbox
from cowrie_assets.settings import ADDRESS_VARIABLES, Settings
from cowrie_assets.upstreams.contract import Limited, NoAnswer, Refused, Transient, Unsuitable
from cowrie_assets.warehouse.database import open_connection
from cowrie_assets.warehouse.event_chunks import Connection
from cowrie_assets_tests.conftest import Server
from cowrie_assets_tests.integration.test_asking import ROOT, addresses, fast_database
from cowrie_assets_tests.integration.test_session_snapshots import forget
from cowrie_assets_tests.pipelines import KEYS

pytestmark = pytest.mark.one_server

WRITTEN = (
    "service_limits",
    "lookup_ledger",
    "service_answers",
    "open_questions",
    "lookup_counters",
    "network_spending",
)
COOL_DOWN = 15.0
LONGEST = 900.0


@pytest.fixture(scope="module")
def url(server: Server) -> str:
    return fast_database(server)


@pytest.fixture
def connection(url: str) -> Iterator[Connection]:
    with open_connection(url) as opened:
        forget(opened, *WRITTEN)
        yield opened


def quick(**changes: Any) -> Service:
    """So quick that no slot is waited for."""
    fields = {"credential": None, "by_balance": False, "requests": 100_000, "cool_down": COOL_DOWN}
    return replace(SERVICES["spur"], **{**fields, **changes})


def charge(connection: Connection, service: Service | None = None, seconds: float = 5.0) -> Call:
    return Limiter(connection, service or quick(), None).charge("8.8.8.8", 1, seconds, threading.Event())


def fail(connection: Connection, call: Call | None = None, service: Service | None = None) -> None:
    known = service or quick()
    Limiter(connection, known, None).failed(call or charge(connection, known), "timed out")


def succeed(connection: Connection, call: Call | None = None) -> None:
    Limiter(connection, quick(), None).succeeded()


def opened(connection: Connection, service: Service | None = None) -> None:
    for _ in range(FAILURES_IN_A_ROW):
        fail(connection, service=service)


def refusal(connection: Connection, service: Service | None = None, seconds: float = 0.0) -> str:
    with pytest.raises(NotNow) as caught:
        charge(connection, service, seconds)
    assert caught.value.outcome == "unavailable"
    return caught.value.reason


def open_for(connection: Connection) -> float:
    """Seconds from now; below 0, a probe may leave."""
    row = connection.execute(
        "SELECT extract(epoch FROM open_until - lookup_now())::float FROM service_limits"
    ).fetchone()
    assert row is not None
    assert row[0] is not None, "it is not open"
    return float(row[0])


def is_closed(connection: Connection) -> bool:
    row = connection.execute("SELECT failures, open_until, open_seconds, probed_until FROM service_limits").fetchone()
    return row == (0, None, None, None)


def is_open(connection: Connection) -> bool:
    row = connection.execute("SELECT open_until > lookup_now() FROM service_limits").fetchone()
    return bool(row and row[0])


def later(connection: Connection, seconds: float) -> None:
    """So many seconds go by for who asks over this connection."""
    row = connection.execute(
        """
        SELECT coalesce(nullif(current_setting('cowrie.clock_offset', true), ''), '0')::interval
            + make_interval(secs => %s)
        """,
        (seconds,),
    ).fetchone()
    assert row is not None
    connection.execute(f"SET cowrie.clock_offset = '{row[0].total_seconds()} seconds'".encode())


# --- opening -------------------------------------------------------------------------------------------------------


def test_five_failures_in_a_row_open_it_for_everybody(connection: Connection, url: str) -> None:
    for _ in range(FAILURES_IN_A_ROW - 1):
        fail(connection)
    with open_connection(url) as other:
        fail(other)
        assert "5 failures in a row" in refusal(other)
    assert "5 failures in a row" in refusal(connection)
    assert COOL_DOWN - 1 < open_for(connection) <= COOL_DOWN


def test_an_answer_in_between_counts_the_failures_anew(connection: Connection) -> None:
    for _ in range(3):
        for _ in range(FAILURES_IN_A_ROW - 1):
            fail(connection)
        succeed(connection)
        assert is_closed(connection)
    charge(connection)


def test_an_answer_to_a_call_that_left_before_the_failures_counts_too(connection: Connection) -> None:
    slow = charge(connection)
    for _ in range(FAILURES_IN_A_ROW - 1):
        fail(connection)
    succeed(connection, slow)
    fail(connection)
    charge(connection, seconds=0.0)


@pytest.mark.parametrize("failure", [Limited("wait", 429, 0.0), Unsuitable("takes no such address", 400)])
def test_whoever_speaks_answers(connection: Connection, failure: NoAnswer) -> None:
    """A 429 and a "no such address" are no silence: nothing is wrong with the service."""
    limiter = Limiter(connection, quick(), None)
    for _ in range(3):
        for _ in range(FAILURES_IN_A_ROW - 1):
            fail(connection)
        call = charge(connection)
        with pytest.raises(type(failure)), answers.told(connection, limiter, call):
            raise failure
        assert is_closed(connection)


def test_only_silence_and_nonsense_open_it(connection: Connection) -> None:
    limiter = Limiter(connection, quick(), None)
    for _ in range(FAILURES_IN_A_ROW):
        assert not is_open(connection)
        call = charge(connection)
        with suppress(Transient), answers.told(connection, limiter, call):
            raise Transient("sent something that is no JSON", 200)
    assert is_open(connection)
    assert refusal(connection) == (
        "sent something that is no JSON, 5 failures in a row; nobody asks before 1 minute is over"
    )


def test_a_circuit_belongs_to_a_service_and_a_key(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    keyed = quick(credential="env:SPUR_API_KEY")
    monkeypatch.setenv("SPUR_API_KEY", "one")
    opened(connection, keyed)
    refusal(connection, keyed)
    monkeypatch.setenv("SPUR_API_KEY", "another")
    charge(connection, keyed, 0.0)
    charge(connection, quick(name="urlhaus"), 0.0)


def test_late_failures_of_calls_in_flight_open_it_for_no_longer(connection: Connection) -> None:
    in_flight = [charge(connection) for _ in range(6)]
    opened(connection)
    later(connection, 10)
    for call in in_flight:
        fail(connection, call)
    assert open_for(connection) <= COOL_DOWN - 10
    later(connection, 6)
    assert charge(connection).is_probe
    fail(connection, in_flight[0])
    assert open_for(connection) < 0, "a late failure is not the probe's"


def test_a_late_answer_of_a_call_in_flight_closes_it(connection: Connection) -> None:
    fail(connection)
    slow = charge(connection)
    for _ in range(FAILURES_IN_A_ROW - 1):
        fail(connection)
    refusal(connection)
    succeed(connection, slow)
    assert is_closed(connection)
    charge(connection, seconds=0.0)


def test_an_open_circuit_reaches_who_sleeps_on_a_slot_already(connection: Connection, url: str) -> None:
    spaced = quick(requests=2)
    left: list[float] = []
    charge(connection, spaced)

    def sleeper() -> None:
        with open_connection(url) as own, suppress(NotNow):
            charge(own, spaced, 2.0)
            left.append(time.monotonic())

    threads = [threading.Thread(target=sleeper) for _ in range(2)]
    in_flight = charge(connection, spaced)
    for thread in threads:
        thread.start()
    while calls(connection) < 4:
        time.sleep(0.005)
    for _ in range(FAILURES_IN_A_ROW):
        fail(connection, in_flight, spaced)
    for thread in threads:
        thread.join()
    assert left == []


def calls(connection: Connection) -> int:
    row = connection.execute("SELECT count(*)::int FROM lookup_ledger").fetchone()
    return int(row[0]) if row else 0


# --- the probe -----------------------------------------------------------------------------------------------------


def test_when_the_time_is_over_one_probe_leaves_and_a_good_one_closes(connection: Connection, url: str) -> None:
    opened(connection)
    later(connection, COOL_DOWN - 1)
    refusal(connection)
    later(connection, 2)
    probe = charge(connection)
    assert probe.is_probe
    refusal(connection, seconds=0.0)
    succeed(connection, probe)
    assert is_closed(connection)
    assert [charge(connection).is_probe for _ in range(3)] == [False] * 3


def test_a_failing_probe_doubles_the_time_up_to_a_quarter_of_an_hour(connection: Connection) -> None:
    opened(connection)
    times = [round(open_for(connection))]
    for _ in range(8):
        later(connection, open_for(connection) + 1)
        fail(connection)
        times.append(round(open_for(connection)))
    assert times == [15, 30, 60, 120, 240, 480, 900, 900, 900]
    later(connection, LONGEST + 1)
    succeed(connection)
    opened(connection)
    assert round(open_for(connection)) == 15, "once it has answered, all of that is forgotten"


def test_exactly_one_of_many_threads_probes(connection: Connection, url: str) -> None:
    opened(connection)
    connection.execute("UPDATE service_limits SET open_until = lookup_now() + interval '0.5 s'")
    left: list[bool] = []

    def work() -> None:
        with open_connection(url) as own, suppress(NotNow):
            left.append(charge(own, seconds=1.5).is_probe)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert left == [True]


# Waits for the circuit in two threads; the first one who gets through tells, and says how it went after a second.
CHILD = """
import json, sys, threading, time
from cowrie_assets.lookup.limiter import Limiter, NotNow
from cowrie_assets.lookup.services import Service
from cowrie_assets.warehouse.database import open_connection
told = json.loads(sys.argv[1])
service = Service(**told["service"])
outcomes = []

def work():
    with open_connection(told["url"]) as connection:
        limiter = Limiter(connection, service, None)
        try:
            call = limiter.charge("x", 1, told["seconds"], threading.Event())
            outcomes.append(["left", call.is_probe, time.time()])
            time.sleep(1.0)
            if call.is_probe:
                (limiter.succeeded() if told["good"] else limiter.failed(call, "timed out"))
        except NotNow as reason:
            outcomes.append([reason.outcome, reason.reason, time.time()])

threads = [threading.Thread(target=work) for _ in range(2)]
print("ready", flush=True)
sys.stdin.readline()
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps(outcomes))
"""


def probe_with_four_processes(connection: Connection, url: str, *, good: bool) -> list[tuple[str, Any, float]]:
    opened(connection)
    fields = {**vars(quick(quotas=())), "families": [4]}
    told = json.dumps({"url": url, "service": fields, "seconds": 6.0, "good": good})
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, told],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        )
        for _ in range(4)
    ]  # fmt: skip
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", process.communicate()[1]
        connection.execute("UPDATE service_limits SET open_until = lookup_now() + interval '0.7 s'")
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        outcomes = []
        for process in processes:
            out, err = process.communicate(timeout=60)
            assert process.returncode == 0, err
            outcomes += [tuple(outcome) for outcome in json.loads(out.splitlines()[-1])]
        return sorted(outcomes, key=lambda outcome: outcome[2])
    finally:
        for process in processes:
            process.kill()


def test_of_four_processes_one_probes_and_the_others_follow_when_it_is_answered(
    connection: Connection, url: str
) -> None:
    first, *others = probe_with_four_processes(connection, url, good=True)
    assert first[:2] == ("left", True)
    assert [outcome[:2] for outcome in others] == [("left", False)] * 7
    assert min(at for *_, at in others) - first[2] >= 0.99


def test_of_four_processes_one_probes_and_the_others_give_up_when_it_fails(connection: Connection, url: str) -> None:
    outcomes = probe_with_four_processes(connection, url, good=False)
    assert [outcome[:2] for outcome in outcomes if outcome[0] == "left"] == [("left", True)]
    told = {outcome[:2] for outcome in outcomes if outcome[0] != "left"}
    assert told == {("unavailable", "timed out, 5 failures in a row; nobody asks before 1 minute is over")}


def test_a_probe_whose_process_died_is_given_up(connection: Connection) -> None:
    opened(connection)
    later(connection, COOL_DOWN + 1)
    assert charge(connection).is_probe  # and nobody hears of it again
    later(connection, 118)
    refusal(connection)
    later(connection, 3)
    assert charge(connection).is_probe
    refusal(connection)


def test_a_probe_that_never_left_is_anybodys(connection: Connection) -> None:
    """It was stopped while it waited for its slot."""
    opened(connection)
    later(connection, COOL_DOWN + 1)
    connection.execute("UPDATE service_limits SET next_slot = lookup_now() + interval '2 s'")
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    with pytest.raises(NotNow, match="stopped"):
        Limiter(connection, quick(), None).charge("8.8.8.8", 1, 5.0, stop)
    connection.execute("UPDATE service_limits SET next_slot = lookup_now()")
    assert charge(connection).is_probe


def test_a_probe_that_is_told_to_wait_closes_the_circuit_and_blocks(connection: Connection) -> None:
    opened(connection)
    later(connection, COOL_DOWN + 1)
    probe = charge(connection)
    with pytest.raises(Limited), answers.told(connection, Limiter(connection, quick(), None), probe):
        raise Limited("asks to be left alone (429)", 429, 600.0)
    assert is_closed(connection)
    assert refusal(connection) == "asks to be left alone (429); nobody asks before 10 minutes are over"
    later(connection, 601)
    assert [charge(connection).is_probe for _ in range(2)] == [False] * 2


def test_a_block_outlasts_the_time_of_an_open_circuit(connection: Connection) -> None:
    slow = charge(connection)
    opened(connection)
    with pytest.raises(Limited), answers.told(connection, Limiter(connection, quick(), None), slow):
        raise Limited("asks to be left alone (429)", 429, 600.0)
    later(connection, COOL_DOWN + 1)
    refusal(connection)
    later(connection, 600)
    assert charge(connection)


def test_a_block_that_outlasts_the_run_is_not_waited_for_when_the_circuit_is_open_too(connection: Connection) -> None:
    """Five time out, and a sixth that left before them is told to come again in an hour."""
    opened(connection)
    Limiter(connection, quick(), None).block(3600.0)
    later(connection, COOL_DOWN + 1)
    begun = time.monotonic()
    refusal(connection, seconds=2.0)
    assert time.monotonic() - begun < 1


def test_who_is_turned_away_at_the_moment_in_which_it_closes_looks_again(connection: Connection, url: str) -> None:
    opened(connection)
    later(connection, COOL_DOWN + 1)
    probe = charge(connection)

    class TurnedAway(Limiter):
        def _reserve(self, *arguments: Any) -> Any:
            reserved = super()._reserve(*arguments)
            if reserved is None:
                with open_connection(url) as other:
                    succeed(other, probe)
            return reserved

    TurnedAway(connection, quick(), None).charge("8.8.8.8", 1, 60.0, threading.Event())


# --- what a run waits for ------------------------------------------------------------------------------------------


def test_a_run_waits_for_the_first_probes_where_it_has_time(connection: Connection) -> None:
    short = quick(cool_down=0.4)
    opened(connection, short)
    begun = time.monotonic()
    probe = charge(connection, short, 5.0)
    assert probe.is_probe
    assert 0.3 < time.monotonic() - begun < 2
    fail(connection, probe, short)
    assert charge(connection, short, 5.0).is_probe
    assert 1.1 < time.monotonic() - begun < 4


def test_a_run_does_not_wait_for_later_probes(connection: Connection) -> None:
    short = quick(cool_down=0.4)
    opened(connection, short)
    for _ in range(3):
        connection.execute("UPDATE service_limits SET open_until = lookup_now()")
        fail(connection, service=short)
    begun = time.monotonic()
    refusal(connection, short, seconds=60.0)
    assert time.monotonic() - begun < 1


def test_a_run_whose_time_is_short_does_not_wait(connection: Connection) -> None:
    opened(connection)
    begun = time.monotonic()
    assert refusal(connection, seconds=COOL_DOWN - 5) == (
        "timed out, 5 failures in a row; nobody asks before 1 minute is over"
    )
    assert time.monotonic() - begun < 1
    assert calls(connection) == FAILURES_IN_A_ROW


def test_who_waits_for_the_circuit_hears_a_stop(connection: Connection) -> None:
    opened(connection)
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    begun = time.monotonic()
    with pytest.raises(NotNow, match="stopped") as caught:
        Limiter(connection, quick(), None).charge("8.8.8.8", 1, 60.0, stop)
    assert caught.value.outcome == "quota"
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    ("seconds", "words"), [(30, "1 minute is"), (89, "1 minute is"), (95, "2 minutes are"), (800, "13 minutes are")]
)
def test_words(connection: Connection, seconds: float, words: str) -> None:
    opened(connection)
    connection.execute(
        "UPDATE service_limits SET open_until = lookup_now() + make_interval(secs => %s), open_seconds = 900",
        (seconds,),
    )
    assert refusal(connection, seconds=1.0) == f"timed out, 5 failures in a row; nobody asks before {words} over"


# --- in a run ------------------------------------------------------------------------------------------------------


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    with Sandbox() as running:
        yield running


def service_at(sandbox: Sandbox, home: Path, name: str = "urlhaus", **changes: Any) -> Service:
    variables = sandbox.environment()
    where = {name: variables[variable] for name, variable in ADDRESS_VARIABLES.items() if variable in variables}
    service = configured_services(Settings(home=home, addresses=where))[name]
    return replace(service, **{"requests": 1000, "window": 1.0, "workers": 2, "cool_down": 600.0, **changes})


def run(url: str, service: Service, keys: list[str], seconds: float = 20.0) -> Tally:
    asking = Asking(partial(open_connection, url), EgressGate(), "run", seconds, retry_wait=0.0)
    return ask(asking, service, dict.fromkeys(keys, datetime.now(UTC)))


def test_a_service_that_is_down_is_asked_a_few_times_and_not_once_a_key(
    connection: Connection, url: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    """A failing list was downloaded again per address: 1,000 times for 1,000 addresses."""
    sandbox.faults({"urlhaus": {"probability": 1.0, "kinds": ["503"]}})
    service = service_at(sandbox, tmp_path)
    tally = run(url, service, addresses(200))
    # Five, and what was under way beside the fifth.
    assert FAILURES_IN_A_ROW <= len(sandbox.ledger.arrivals("urlhaus")) < FAILURES_IN_A_ROW + service.workers
    assert tally.outcomes["unavailable"] == 200
    told = {reason for (reason,) in connection.execute("SELECT reason FROM open_questions")}
    assert any(reason.endswith("5 failures in a row; nobody asks before 10 minutes are over") for reason in told)
    before = len(sandbox.ledger.arrivals("urlhaus"))
    assert run(url, service, addresses(200)).requests == 0
    assert len(sandbox.ledger.arrivals("urlhaus")) == before


def test_a_service_that_comes_back_is_asked_about_all_of_them_in_the_same_run(
    connection: Connection, url: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.faults({"urlhaus": ["503"] * 6})
    tally = run(url, service_at(sandbox, tmp_path, cool_down=0.5), addresses(40))
    assert tally.outcomes["found"] + tally.outcomes["not_found"] == 40
    assert is_closed(connection)


def test_a_wrong_key_is_said_once_and_blocks_itself_for_an_hour(
    connection: Connection, url: str, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = service_at(sandbox, tmp_path)
    monkeypatch.setenv("URLHAUS_API_KEY", "invalid")
    tally = run(url, service, addresses(50))
    # Nobody tries it again; what the other worker had under way is told the same.
    assert 1 <= len(sandbox.ledger.arrivals("urlhaus")) <= service.workers
    assert {arrival.status for arrival in sandbox.ledger.arrivals("urlhaus")} == {401}
    assert tally.outcomes["unavailable"] == 50
    before = len(sandbox.ledger.arrivals("urlhaus"))
    assert run(url, service, addresses(50)).requests == 0
    assert "nobody asks before 60 minutes are over" in refusal(connection, service, 60.0)
    assert Counter(arrival.status for arrival in sandbox.ledger.arrivals("urlhaus")) == {401: before}

    monkeypatch.setenv("URLHAUS_API_KEY", KEYS["URLHAUS_API_KEY"])
    assert run(url, service, addresses(50)).requests == 50
    # The wrong one is tried again when the hour is over.
    monkeypatch.setenv("URLHAUS_API_KEY", "invalid")
    later(connection, 3599 - 10)
    refusal(connection, service)
    later(connection, 12)
    assert charge(connection, service)


def test_a_refused_key_is_no_failure_of_the_service(connection: Connection) -> None:
    limiter = Limiter(connection, quick(), None)
    for _ in range(FAILURES_IN_A_ROW + 1):
        call = charge(connection)
        with pytest.raises(Refused), answers.told(connection, limiter, call):
            raise Refused("does not take the key (401)", 401)
        connection.execute("UPDATE service_limits SET blocked_until = NULL, next_slot = lookup_now()")
    assert is_closed(connection)


def test_a_corrected_account_is_not_blocked_by_the_wrong_one(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The licence key was right all the time, and the operator has set the account's number that was wrong."""
    monkeypatch.setenv("MAXMIND_LICENSE_KEY", "key")
    maxmind = replace(SERVICES["maxmind"], requests=100_000)
    monkeypatch.setenv("MAXMIND_ACCOUNT_ID", "wrong")
    Limiter(connection, maxmind, None).block(answers.REFUSED_FOR, "does not take account and key (401)")
    monkeypatch.setenv("MAXMIND_ACCOUNT_ID", "123456")
    charge(connection, maxmind, 0.0)
