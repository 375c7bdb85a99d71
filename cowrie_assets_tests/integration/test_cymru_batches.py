"""Every address of a batch is answered or asked again (promises P1, P2, P10), over one connection at a time (P3).

Proved here, against an emulated bulk whois that spoils its answers: rows that arrived are kept, exactly the rest is
asked again, and in the end each address has its true answer or is unavailable with a reason; four processes never hold
two connections; the answers become observations and inventories. Not here: the protocol (`unit/test_cymru`).
"""

from __future__ import annotations

import json
import socketserver
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from cowrie_assets.assets.observation import observe_cymru_answers, write_asn_inventory, write_ip_inventory
from cowrie_assets.lookup.bulk import BatchResult, ask_batch, leave_open, plan_batches
from cowrie_assets.lookup.gate import EgressGate
from cowrie_assets.lookup.services import Service
from cowrie_assets.sandbox import answers
from cowrie_assets.sandbox.facts import case
from cowrie_assets.sandbox.server import Sandbox
from cowrie_assets.upstreams import cymru
from cowrie_assets.warehouse.database import open_connection
from cowrie_assets_tests.conftest import Server
from cowrie_assets_tests.integration.test_asking import (
    ROOT,
    WRITTEN,
    World,
    addresses,
    addresses_of_both_families,
    closed_port,
    configured,
    fast_database,
    insert_answer,
)
from cowrie_assets_tests.integration.test_session_snapshots import attack, forget
from cowrie_assets_tests.rows import all_digests


@pytest.fixture(scope="module")
def server(embedded_server: Server) -> Server:
    """One server is enough here: what takes long does not rest on its version."""
    return embedded_server


@pytest.fixture(scope="module")
def url(server: Server) -> str:
    return fast_database(server)


@pytest.fixture(scope="module")
def running_sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def world(url: str, running_sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    running_sandbox.reset()
    with open_connection(url) as connection:
        forget(connection, *WRITTEN, "ip_observations", "asn_inventory")
    # Nobody waits half a minute here for a server that has fallen silent.
    impatient = partial(cymru.converse, connect_timeout=1.0, idle_timeout=0.5, total_timeout=10.0)
    monkeypatch.setattr(cymru, "converse", impatient)
    return World(url, running_sandbox, configured(tmp_path, running_sandbox))


@pytest.fixture
def service(world: World) -> Service:
    return replace(world.services["cymru"], batch=50)


def true_answer(seed: int, key: str) -> tuple[str, dict[str, Any]]:
    truth = answers.truth("cymru", seed, key)
    return truth["outcome"], {
        "asn": next(iter(truth["asns"]), None),
        "asns": truth["asns"],
        "as_name": truth["as_name"],
        "prefix": next(iter(truth["prefixes"]), None),
        "registry_country": truth["country"],
        "registry": None if truth["registry"] == "other" else truth["registry"],
        "allocated": truth["allocated"],
    }


def assert_true(world: World, keys: Sequence[str]) -> None:
    assert world.stored("cymru") == {key: true_answer(world.sandbox.seed, key) for key in keys}
    assert world.open("cymru") == {}


def connections(world: World) -> list[list[str]]:
    """What each connection asked, in order."""
    return [arrival.keys for arrival in world.arrivals("cymru")]


def ask_all(
    world: World, service: Service, keys: Sequence[str], *, tries: int = 4, **changes: Any
) -> list[BatchResult]:
    """As the inventory's ops do: each batch alone, again where that may help, and noted as open in the end."""
    asking = world.asking(**changes)
    batches, _ = plan_batches(asking, service, dict.fromkeys(keys, datetime.now(UTC)))
    results = []
    for batch in batches:
        for _ in range(tries):
            result = ask_batch(asking, service, batch)
            results.append(result)
            if not result.again:
                break
        leave_open(asking, service, result)
    return results


def of_oddity(oddity: str, seed: int, number: int = 1) -> list[str]:
    """Addresses with an awkward kind of answer."""
    found = (key for key in addresses(20_000, 50_000) if case("cymru", seed, key).oddity == oddity)
    return [next(found) for _ in range(number)]


# --- nothing goes wrong --------------------------------------------------------------------------------------------


def test_each_address_is_asked_about_once_in_batches_and_its_answer_is_true(world: World, service: Service) -> None:
    """NA was asked again every run; multi-origin rows were dropped."""
    seed = world.sandbox.seed
    oddities = ("two origins", "two rows", "same row twice", "registry only", "blanks", "bar in name")
    keys = [*addresses_of_both_families(250), *(key for oddity in oddities for key in of_oddity(oddity, seed, 2))]
    results = ask_all(world, service, keys)

    asked = connections(world)
    assert [len(batch) for batch in asked] == [50, 50, 50, 50, 50, 12]
    assert [key for batch in asked for key in batch] == keys
    assert_true(world, keys)
    assert [(result.answered, result.missing, result.again) for result in results] == [(50, [], False)] * 5 + [
        (12, [], False)
    ]
    outcomes = Counter(outcome for outcome, _ in world.stored("cymru").values())
    assert min(outcomes.values()) > 50
    assert any(len(fields["asns"]) > 1 for _, fields in world.stored("cymru").values())
    assert any(":" in key and outcome == "found" for key, (outcome, _) in world.stored("cymru").items())

    ledger = world.rows("SELECT key, key_count, outcome, run_id FROM lookup_ledger ORDER BY call_id")
    assert ledger == [(batch[0], len(batch), "found", "run") for batch in asked]
    batches, tally = plan_batches(world.asking(), service, dict.fromkeys(keys, datetime.now(UTC)))
    assert (batches, tally.asked, tally.hits["database"]) == ([], 262, 262)
    assert len(world.arrivals("cymru")) == 6


def test_payloads_are_the_rows_as_they_came(world: World, service: Service) -> None:
    keys = [*addresses(20), *of_oddity("two rows", world.sandbox.seed), *of_oddity("bar in name", world.sandbox.seed)]
    ask_all(world, service, keys)
    for key, payload in world.rows("SELECT key, payload FROM service_answers"):
        sent = [[part.strip() for part in row.split("|", 6)] for row in answers.rows(world.sandbox.seed, key)]
        assert payload == {"rows": sent}


def test_only_what_has_no_good_answer_is_planned(world: World, service: Service) -> None:
    keys = addresses(30)
    ask_all(world, service, keys[:10])
    now = datetime.now(UTC)
    with world.connect() as connection:
        connection.execute("UPDATE service_answers SET expires_at = answered_at WHERE key = ANY(%s)", (keys[:4],))
    refused = {"10.0.0.5": "private address", "9.9.9.9": "own address", "x": "no address"}
    world.gate = EgressGate(["9.9.9.9"])
    batches, tally = plan_batches(world.asking(), replace(service, batch=7), dict.fromkeys([*refused, *keys], now))
    assert [len(batch) for batch in batches] == [7, 7, 7, 3]
    assert [key for batch in batches for key in batch] == [*keys[:4], *keys[10:]]
    assert (tally.hits["database"], tally.outcomes["not_applicable"]) == (6, 3)
    assert world.open("cymru") == {key: ("not_applicable", reason) for key, reason in refused.items()}


def test_offline_nothing_is_planned_and_everything_is_open(world: World, service: Service) -> None:
    off = replace(service, switched_off="offline: COWRIE_OFFLINE is set")
    batches, tally = plan_batches(world.asking(), off, dict.fromkeys(addresses(3), datetime.now(UTC)))
    assert (batches, tally.open) == ([], 3)
    assert set(world.open("cymru").values()) == {("not_configured", "offline: COWRIE_OFFLINE is set")}


@pytest.mark.parametrize("change", ["offline", "an own address", "a private address"])
def test_a_batch_goes_through_the_gate_itself(world: World, service: Service, change: str) -> None:
    """A batch lies in the run's storage between plan and question; a run that is resumed may meet another gate."""
    batch = addresses(3)
    if change == "offline":
        service = replace(service, switched_off="offline: COWRIE_OFFLINE is set")
    elif change == "an own address":
        world.gate = EgressGate([batch[0]])
    else:
        batch[0] = "10.0.0.5"
    ask_batch(world.asking(), service, batch)
    left = {key for asked in connections(world) for key in asked}
    assert left == (set() if change == "offline" else set(batch[1:]))


@pytest.mark.parametrize("change", ["offline", "an own address"])
def test_what_the_gate_holds_back_is_not_called_answered(world: World, service: Service, change: str) -> None:
    """The counters counted what was not empty, not what was asked: the op's metadata says `answered`."""
    batch = addresses(3)
    if change == "offline":
        service = replace(service, switched_off="offline: COWRIE_OFFLINE is set")
    else:
        world.gate = EgressGate(batch[:1])
    result = ask_batch(world.asking(), service, batch)
    assert result.answered == len(world.stored("cymru")) == (0 if change == "offline" else 2)


# --- faults --------------------------------------------------------------------------------------------------------

# Each with the number of 40 addresses that the first connection leaves without an answer.
SPOILT: dict[str, tuple[Any, int]] = {
    "the last row is missing": ({"kind": "truncate", "rows": 1}, 1),
    "most rows are missing": ({"kind": "truncate", "rows": 37}, 37),
    "all rows are missing": ({"kind": "truncate", "rows": 40}, 40),
    "banner only": ("banner-only", 40),
    "cut in the last line": ("midline", 1),
    "cut before the last line": ({"kind": "midline", "bytes": 0}, 1),
    "cut in the last AS": ({"kind": "midline", "bytes": 3}, 2),  # that may have been of the row before
    "one row in the middle is missing": ({"kind": "drop-rows", "rows": 1}, 1),
    "rows in between are missing": ({"kind": "drop-rows", "rows": 9}, 9),
    "silence": ("silence", 40),
}


@pytest.mark.parametrize("fault", SPOILT)
def test_what_arrived_is_kept_and_only_the_rest_is_asked_again(world: World, service: Service, fault: str) -> None:
    """A truncated Cymru answer passed as complete."""
    spoil, missing = SPOILT[fault]
    keys = addresses(40)
    world.sandbox.faults({"cymru": [spoil]})
    first = ask_batch(world.asking(), service, keys)
    assert (first.answered, len(first.missing), first.again) == (40 - missing, missing, True)
    assert (first.outcome, bool(first.reason)) == ("unavailable", True)
    stored = world.stored("cymru")
    assert set(stored) == set(keys) - set(first.missing)
    assert stored == {key: true_answer(world.sandbox.seed, key) for key in stored}
    second = ask_batch(world.asking(), service, keys)
    assert (second.answered, second.missing) == (40, [])
    assert connections(world) == [keys, first.missing]
    assert_true(world, keys)
    assert [row for (row,) in world.rows("SELECT key_count FROM lookup_ledger ORDER BY call_id")] == [40, missing]
    assert ask_batch(world.asking(), service, keys) == BatchResult(40, [])
    assert len(connections(world)) == 2


def test_a_dribble_is_a_whole_answer(world: World, service: Service) -> None:
    keys = addresses(6)
    world.sandbox.faults({"cymru": [{"kind": "dribble", "delay": 0.0005}]})
    result = ask_batch(world.asking(), service, keys)
    assert (result.answered, result.missing, result.again) == (6, [], False)
    assert_true(world, keys)


def test_one_fault_after_another_ends_in_the_truth(world: World, service: Service) -> None:
    kinds = ["truncate", {"kind": "truncate", "rows": 20}, "midline", "banner-only", {"kind": "drop-rows", "rows": 5}]
    world.sandbox.faults({"cymru": {"probability": 0.4, "kinds": kinds}})
    keys = addresses(300)
    runs = 0
    while len(world.stored("cymru")) < 300:
        ask_all(world, replace(service, batch=30), keys, run_id=f"run {runs}")
        runs += 1
        assert runs < 10
    world.sandbox.faults({"cymru": []})
    assert_true(world, keys)
    # Nothing that was answered was ever asked again: each address came up once more than it was left out.
    asked = Counter(key for batch in connections(world) for key in batch)
    assert max(asked.values()) > 1
    again = sum(asked.values()) - 300
    assert 0 < again < 300
    assert sum(count for (count,) in world.rows("SELECT key_count FROM lookup_ledger")) == asked.total()


@pytest.mark.parametrize("fault", ["banner-only", "silence"])
def test_a_fault_that_stays_leaves_the_addresses_unavailable(world: World, service: Service, fault: str) -> None:
    keys = addresses(20)
    world.sandbox.faults({"cymru": {"probability": 1.0, "kinds": [fault]}})
    results = ask_all(world, service, keys, tries=2)
    assert [(result.answered, result.missing, result.outcome) for result in results] == [(0, keys, "unavailable")] * 2
    assert world.stored("cymru") == {}
    assert {outcome for outcome, reason in world.open("cymru").values() if reason} == {"unavailable"}
    assert set(world.open("cymru")) == set(keys)
    ledger = world.rows("SELECT outcome, reason FROM lookup_ledger")
    assert [(outcome, bool(reason)) for outcome, reason in ledger] == [("unavailable", True)] * 2
    world.sandbox.faults({"cymru": []})
    ask_all(world, service, keys)
    assert_true(world, keys)


def test_a_closed_port_is_given_up_after_five_connections(world: World, service: Service) -> None:
    down = replace(service, address=f"127.0.0.1:{closed_port()}", batch=5)
    keys = addresses(50)
    results = ask_all(world, down, keys, tries=1)
    # Five in a row open the circuit; two probes, and it is given up for this run.
    assert [result.again for result in results] == [True] * 7 + [False] * 3
    assert world.rows("SELECT count(*)::int FROM lookup_ledger") == [(7,)]
    told = Counter(reason for _, reason in world.open("cymru").values())
    refused = "does not take the connection (Connection refused)"
    assert told == {refused: 35, f"{refused}, 5 failures in a row; nobody asks before 1 minute is over": 15}
    # A run after that tries anew, and asks about all of them.
    world.cool()
    ask_all(world, service, keys, run_id="next")
    assert_true(world, keys)


def test_a_broken_batch_does_not_hold_up_the_others(world: World, service: Service) -> None:
    world.sandbox.faults({"cymru": ["ok", *["banner-only"] * 4]})
    keys = addresses(30)
    ask_all(world, replace(service, batch=10), keys)
    assert set(world.stored("cymru")) == {*keys[:10], *keys[20:]}
    assert set(world.open("cymru")) == set(keys[10:20])


def test_an_address_whose_rows_are_cut_in_between_is_asked_again(world: World, service: Service) -> None:
    """Two origins of which one arrives would stand for thirty days."""
    keys = [*addresses(5), *of_oddity("two rows", world.sandbox.seed)]
    world.sandbox.faults({"cymru": ["midline"]})
    ask_all(world, service, keys)
    assert_true(world, keys)


def test_a_spent_time_leaves_the_batch_to_the_next_run(world: World, service: Service) -> None:
    slow = replace(service, requests=1, window=60.0, batch=5)
    results = ask_all(world, slow, addresses(15), seconds=0.2)
    assert [len(result.missing) for result in results] == [0, 5, 5]
    assert [(result.outcome, result.again) for result in results[1:]] == [("quota", False)] * 2
    assert set(world.open("cymru").values()) == {("quota", "the run's time was used up")}


def test_the_wait_for_the_connection_ends_with_the_time_of_the_run(world: World, service: Service) -> None:
    results: list[BatchResult] = []

    def ask_one() -> None:
        results.append(ask_batch(world.asking(seconds=0.5), service, addresses(3)))

    with world.connect() as holder:
        holder.execute("SELECT pg_advisory_lock(hashtext('cymru'), 0)")  # another process, amid a long conversation
        thread = threading.Thread(target=ask_one)
        thread.start()
        thread.join(3)
        ended = not thread.is_alive()
    thread.join()
    assert ended
    assert results[0].outcome == "quota"


# --- several processes, one connection -----------------------------------------------------------------------------


class WhoisServer(socketserver.ThreadingTCPServer):
    """A bulk whois that takes its time, and counts how many talk to it at once."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, answer: Callable[[list[str]], bytes], seconds: float) -> None:
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.answer, self.seconds = answer, seconds
        self.lock = threading.Lock()
        self.talking = self.most_at_once = 0
        self.asked: list[list[str]] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class _Conversation(socketserver.StreamRequestHandler):
    server: WhoisServer

    def handle(self) -> None:
        server = self.server
        with server.lock:
            server.talking += 1
            server.most_at_once = max(server.most_at_once, server.talking)
        with suppress(OSError):
            lines = []
            while (line := self.rfile.readline().decode().strip()) != "end":
                lines.append(line)
            server.asked.append(lines[2:])
            time.sleep(server.seconds)
            # No longer talking once all is sent: who asks next may come before this thread goes on.
            with server.lock:
                server.talking -= 1
            self.wfile.write(server.answer(lines[2:]))


@contextmanager
def whois(answer: Callable[[list[str]], bytes], seconds: float = 0.0) -> Iterator[WhoisServer]:
    with WhoisServer(answer, seconds) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def true_lines(seed: int) -> Callable[[list[str]], bytes]:
    return lambda keys: "".join(f"{row}\n" for key in ["", *keys] for row in _lines(seed, key)).encode()


def _lines(seed: int, key: str) -> list[str]:
    return answers.rows(seed, key) if key else ["Bulk mode; whois.cymru.com [2025-09-13 00:00:00 +0000]"]


CHILD = """
import json, sys
from datetime import UTC, datetime
from functools import partial
from cowrie_assets.lookup.asking import Asking
from cowrie_assets.lookup.bulk import ask_batch, plan_batches
from cowrie_assets.lookup.gate import EgressGate
from cowrie_assets.lookup.services import Service
from cowrie_assets.warehouse.database import open_connection
told = json.loads(sys.argv[1])
service = Service(**{**told["service"], "families": tuple(told["service"]["families"])})
asking = Asking(partial(open_connection, told["url"]), EgressGate(), "run", 60.0)
batches, _ = plan_batches(asking, service, dict.fromkeys(told["keys"], datetime.now(UTC)))
print("ready", flush=True)
sys.stdin.readline()
print(sum(ask_batch(asking, service, batch).answered for batch in batches), flush=True)
"""


@contextmanager
def processes(
    world: World, service: Service, keys: Sequence[str], number: int
) -> Iterator[list[subprocess.Popen[str]]]:
    """They have all planned the same batches, and are off."""
    told = json.dumps({"url": world.url, "service": vars(service), "keys": list(keys)})
    started = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, told],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        )
        for _ in range(number)
    ]  # fmt: skip
    try:
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", process.communicate()[1]
        for process in started:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        yield started
    finally:
        for process in started:
            process.kill()
            with suppress(ValueError):
                process.communicate()


def test_four_processes_hold_one_connection_at_a_time_and_ask_each_batch_once(world: World, service: Service) -> None:
    keys = addresses(60)
    with whois(true_lines(world.sandbox.seed), seconds=0.1) as server:
        theirs = replace(service, address=server.address, batch=10)
        with processes(world, theirs, keys, 4) as started:
            told = [process.communicate(timeout=60) for process in started]
        assert [out for out, _ in told] == ["60\n"] * 4, told
        assert server.most_at_once == 1
        assert sorted(server.asked) == sorted(keys[start : start + 10] for start in range(0, 60, 10))
    assert_true(world, keys)


def test_who_is_killed_in_mid_conversation_leaves_the_connection_to_the_next(world: World, service: Service) -> None:
    keys = addresses(20)
    with whois(true_lines(world.sandbox.seed), seconds=0.2) as server:
        theirs = replace(service, address=server.address, batch=10)
        with processes(world, theirs, keys, 2) as started:
            while not server.asked:
                time.sleep(0.005)
            # Whoever it is that holds the connection: both of them, one after the other.
            for process in started:
                process.kill()
            for process in started:
                process.wait()
        assert world.rows("SELECT outcome FROM lookup_ledger") == [(None,)]
        ask_all(world, theirs, keys)
        assert len(server.asked) == 3
    assert_true(world, keys)


def test_connections_keep_their_distance(world: World, service: Service) -> None:
    ask_all(world, replace(service, batch=5, requests=1, window=0.2), addresses(20))
    times = [arrival.at for arrival in world.arrivals("cymru")]
    assert len(times) == 4
    assert min(later - earlier for earlier, later in pairwise(times)) > 0.25


# --- what a row may say --------------------------------------------------------------------------------------------


def test_whatever_a_row_says_is_kept_or_asked_again(world: World, service: Service) -> None:
    """NUL in JSON: `\\u0000 cannot be converted to text` in production."""
    rows = {
        "NUL": b"64500 | %s | %s | NO | ripencc | 2010-01-01 | FJORD\x00LINK, NO",
        "Latin-1": b"64500 | %s | %s | NO | ripencc | 2010-01-01 | Fj\xf8rdlink, NO",
        "a surrogate": b"64500 | %s | %s | NO | ripencc | 2010-01-01 | \xed\xa0\x80",
        "no such day": b"64500 | %s | %s | NO | ripencc | 0000-00-00 | X",
        "no such country": b"64500 | %s | %s | ?? | ripencc | 2010-01-01 | X",
        "the registry's region": b"64500 | %s | %s | EU | ripencc | 2010-01-01 | X",
        "a long name": b"64500 | %s | %s | NO | ripencc | 2010-01-01 | " + b"x" * 900,
        "an AS beyond 32 bits": b"4294967296 | %s | %s | NO | ripencc | 2010-01-01 | X",
        "a negative AS": b"-1 | %s | %s | NO | ripencc | 2010-01-01 | X",
        "six columns": b"64500 | %s | %s | NO | ripencc | 2010-01-01",
        "capitals": b"64500 | %s | %s | no | RIPENCC | 2010-01-01 | X",
    }
    keys = dict(zip(addresses(len(rows)), rows, strict=True))

    def answer(asked: list[str]) -> bytes:
        lines = [rows[keys[key]] % (key.encode(), f"{key}/32".encode()) for key in asked]
        return b"Bulk mode\n" + b"\n".join(lines) + b"\n"

    with whois(answer) as server:
        results = ask_all(world, replace(service, address=server.address), list(keys), tries=2)
    stored = {keys[key]: fields for key, (outcome, fields) in world.stored("cymru").items() if outcome == "found"}
    never = {"an AS beyond 32 bits", "a negative AS", "six columns"}
    assert set(stored) == set(rows) - never
    assert {keys[key] for key in results[-1].missing} == {keys[key] for key in world.open("cymru")} == never
    with world.connect() as connection:
        for number, key in enumerate(keys):
            attack(connection, str(number), key)
        assert observe_cymru_answers(connection) == len(stored)
        write_asn_inventory(connection)
        write_ip_inventory(connection)
        names = connection.execute("SELECT DISTINCT as_name FROM ip_observations").fetchall()
    assert {r"FJORD\u0000LINK, NO", "Fjørdlink, NO"} <= {name for (name,) in names}
    assert {name for name, fields in stored.items() if fields["registry_country"] is None} == {
        "no such country",
        "the registry's region",
    }


def test_an_error_line_is_a_negative_of_the_address_that_it_counts_to(world: World, service: Service) -> None:
    keys = addresses(3)
    with whois(lambda asked: b"Bulk mode\nError: no ASN or IP match on line 4.\n") as server:
        result = ask_batch(world.asking(), replace(service, address=server.address), keys)
    assert (result.answered, result.missing) == (1, [keys[0], keys[2]])
    assert {key: outcome for key, (outcome, _) in world.stored("cymru").items()} == {keys[1]: "not_found"}


def test_rows_about_other_addresses_answer_nothing(world: World, service: Service) -> None:
    others = addresses(3, 500)
    with whois(lambda asked: true_lines(world.sandbox.seed)(others)) as server:
        result = ask_batch(world.asking(), replace(service, address=server.address), addresses(3))
    assert (result.answered, result.reason) == (0, "no row about any of the addresses")
    assert world.stored("cymru") == {}


# --- observations and inventories ----------------------------------------------------------------------------------


def test_answers_become_observations_and_inventories(world: World, service: Service) -> None:
    seed = world.sandbox.seed
    keys = [*addresses_of_both_families(80), *of_oddity("registry only", seed, 2), *of_oddity("two origins", seed, 2)]
    truths = {key: answers.truth("cymru", seed, key) for key in keys}
    with world.connect() as connection:
        for number, key in enumerate(keys):
            attack(connection, str(number), key)
        attack(connection, "unknown", "8.8.4.4")  # never asked about
        ask_all(world, service, keys)
        assert observe_cymru_answers(connection) == len(keys)
        write_asn_inventory(connection)
        write_ip_inventory(connection)

        inventory = {
            key: (asn, reason, told, at)
            for key, asn, reason, told, at in connection.execute(
                "SELECT host(ip_address), current_asn, asn_reason, enrichment -> 'cymru', asn_last_verified "
                "FROM ip_inventory"
            )
        }
        for key, truth in truths.items():
            asn, reason, told, at = inventory[key]
            assert asn == next(iter(truth["asns"]), None), key
            assert reason == (None if truth["asns"] else "not announced")
            assert (at is None) == (asn is None)
            assert (told.get("registry"), told.get("country"), told.get("allocated"), told.get("as_name")) == (
                None if truth["registry"] == "other" else truth["registry"],
                truth["country"],
                truth["allocated"],
                truth["as_name"],
            ), key
            assert told["asns"] == truth["asns"]
        assert inventory["8.8.4.4"] == (None, "no geo database", None, None)

        # An AS is as the newest answer about any of its addresses has it.
        answered = connection.execute(
            "SELECT key FROM service_answers WHERE outcome = 'found' ORDER BY answered_at"
        ).fetchall()
        newest = {truths[key]["asns"][0]: truths[key] for (key,) in answered}
        rows = connection.execute(
            "SELECT asn_number, organization_name, organization_country, rir_registry, unique_ip_count "
            "FROM asn_inventory"
        ).fetchall()
        assert {asn: (country, registry) for asn, _, country, registry, _ in rows} == {
            asn: (truth["country"], truth["registry"]) for asn, truth in newest.items()
        }
        members = Counter(truth["asns"][0] for truth in truths.values() if truth["asns"])
        assert {asn: count for asn, *_, count in rows} == members
        assert {name for _, name, *_ in rows} <= {truth["as_name"] for truth in truths.values()}

        # Again, it changes nothing.
        before = all_digests(connection)
        assert observe_cymru_answers(connection) == 0
        write_asn_inventory(connection)
        write_ip_inventory(connection)
        assert all_digests(connection) == before


def test_a_later_answer_is_one_more_observation(world: World) -> None:
    (key,) = addresses(1)
    fields = {"asn": 64500, "asns": [64500], "as_name": "OLD, NO", "prefix": f"{ip_address(key)}/32"}
    with world.connect() as connection:
        attack(connection, "a", key)
        for year, asn in ((2024, 64500), (2025, 64501)):
            moment = datetime(year, 5, 1, tzinfo=UTC)
            insert_answer(connection, "cymru", key, moment, moment, fields=fields | {"asn": asn})
            assert observe_cymru_answers(connection) == 1
        moment = datetime(2026, 5, 1, tzinfo=UTC)
        insert_answer(connection, "cymru", key, moment, moment, "not_found", {"asn": None, "asns": []})
        assert observe_cymru_answers(connection) == 1
        history = connection.execute("SELECT asn_number, observed_at FROM ip_asn_history ORDER BY 2").fetchall()
        assert [(asn, moment.year) for asn, moment in history] == [(64500, 2024), (64501, 2025)]
        rows = connection.execute("SELECT asn FROM ip_observations ORDER BY observed_at").fetchall()
        assert rows == [(64500,), (64501,), (None,)]


def test_ipv6_addresses_of_a_server_may_stand_in_brackets(world: World, service: Service) -> None:
    with pytest.MonkeyPatch.context() as patch:
        spoken: list[tuple[str, int]] = []

        def converse(host: str, port: int, asked: Sequence[str]) -> bytes:
            spoken.append((host, port))
            return true_lines(world.sandbox.seed)(list(asked))

        patch.setattr(cymru, "converse", converse)
        ask_batch(world.asking(), replace(service, address="[::1]:43"), addresses(1))
    assert spoken == [("::1", 43)]
