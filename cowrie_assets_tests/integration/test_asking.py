"""A question gets its answer once, or a reason why there is none (promises P1 to P4, P10, P12).

Proved here, against emulated services that keep a ledger of their own: calls = distinct keys without a good answer, by
one process and by four; what is stored is what is true; every fault, refusal, limit, kill and lost connection ends in
an answer or in an open question, and the next run asks about exactly the rest; no key is seen anywhere. Not here: the
limiter's pace (`test_limiter`), batches (`test_cymru_batches`), what the answers become (`test_enrichment_rows`).
"""

from __future__ import annotations

import json
import logging
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import cache, partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import orjson
import pytest
import stamina

from cowrie_assets.assets.answers_of_day import write_enrichment
from cowrie_assets.lookup import asking as asking_module
from cowrie_assets.lookup.asking import Asking, Tally, ask
from cowrie_assets.lookup.configured import configured_services
from cowrie_assets.lookup.gate import EgressGate
from cowrie_assets.lookup.services import Quota, Service
from cowrie_assets.sandbox import answers
from cowrie_assets.sandbox.limits import Arrival
from cowrie_assets.sandbox.server import Sandbox
from cowrie_assets.settings import ADDRESS_VARIABLES, Settings
from cowrie_assets.upstreams.http import Sender
from cowrie_assets.warehouse.database import open_connection
from cowrie_assets.warehouse.event_chunks import Connection
from cowrie_assets_tests.conftest import Server
from cowrie_assets_tests.integration.test_session_snapshots import attack, forget
from cowrie_assets_tests.pipelines import KEYS
from cowrie_assets_tests.rows import digest

ROOT = Path(__file__).resolve().parents[2]
ASKED_SINGLY = ("dshield", "urlhaus", "spur", "greynoise")
# Fast enough that no test waits for it, and below what the sandbox permits.
FAST = {"requests": 1500, "window": 1.0, "quotas": (), "cool_down": 0.3}
ANSWERED = ("found", "not_found")


# --- a warehouse, the services, and whoever answers ----------------------------------------------------------------


def addresses(number: int, start: int = 0) -> list[str]:
    """Distinct public IPv4 addresses; other numbers, other addresses."""
    return [str(ip_address(0x05000000 + 65_537 * index)) for index in range(start, start + number)]


def addresses_of_both_families(number: int) -> list[str]:
    six = [str(ip_address((0x2A00_1450 << 96) + 65_537 * index + 1)) for index in range(number // 4)]
    return [*addresses(number - len(six)), *six]


def configured(home: Path, sandbox: Sandbox) -> dict[str, Service]:
    """The services as an operator has them whose addresses lead to the sandbox, at a pace that no test waits for."""
    variables = sandbox.environment()
    where = {name: variables[variable] for name, variable in ADDRESS_VARIABLES.items() if variable in variables}
    services = configured_services(Settings(home=home, addresses=where))
    return {name: replace(service, **FAST, workers=4) for name, service in services.items()}  # type: ignore[arg-type]


@dataclass
class World:
    """A fresh warehouse, and services that lie in the sandbox."""

    url: str
    sandbox: Sandbox
    services: dict[str, Service]
    gate: EgressGate = field(default_factory=EgressGate)

    def connect(self) -> Connection:
        return open_connection(self.url)

    def asking(self, **changes: Any) -> Asking:
        return replace(Asking(self.connect, self.gate, "run", 60.0, retry_wait=0.0), **changes)

    def ask(self, service: Service | str, keys: Iterable[str] | Mapping[str, datetime], **changes: Any) -> Tally:
        known = self.services[service] if isinstance(service, str) else service
        needs = keys if isinstance(keys, Mapping) else dict.fromkeys(keys, datetime.now(UTC))
        return ask(self.asking(**changes), known, needs)

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.connect() as connection:
            return connection.execute(query.encode(), values).fetchall()

    def cool(self) -> None:
        """Let circuits that are open be tried again."""
        self.rows("UPDATE service_limits SET open_until = NULL, open_seconds = NULL, failures = 0 RETURNING 1")

    def arrivals(self, service: str) -> list[Arrival]:
        return self.sandbox.ledger.arrivals(service)

    def stored(self, service: str) -> dict[str, tuple[str, dict[str, Any]]]:
        """Outcome and fields of every answer; one answer a key."""
        rows = self.rows("SELECT key, outcome, fields FROM service_answers WHERE service = %s", service)
        assert len(rows) == len({key for key, _, _ in rows})
        return {key: (outcome, fields) for key, outcome, fields in rows}

    def open(self, service: str) -> dict[str, tuple[str, str]]:
        rows = self.rows("SELECT key, outcome, reason FROM open_questions WHERE service = %s", service)
        return {key: (outcome, reason) for key, outcome, reason in rows}

    def assert_true(self, service: str, keys: Iterable[str]) -> None:
        """Every key has its one true answer, and no question is open."""
        stored = self.stored(service)
        assert {key: (outcome, plain(service, fields)) for key, (outcome, fields) in stored.items()} == {
            key: true_answer(service, self.sandbox.seed, key) for key in keys
        }
        assert self.open(service) == {}


def true_answer(service: str, seed: int, key: str) -> tuple[str, dict[str, Any]]:
    """Outcome and fields as they follow from the sandbox's facts, in the names of the service's module."""
    truth = answers.truth(service, seed, key)  # type: ignore[arg-type]  # one of its services
    if service == "dshield":
        fields = {name: truth[name] for name in ("attacks", "reports", "max_risk", "asn", "as_name", "country")}
        fields |= {"first_reported": truth["first_seen"], "last_reported": truth["last_seen"]}
        fields |= {"network": truth["network"], "threat_feeds": sorted(truth["threat_feeds"])}
    elif service == "urlhaus":
        found, newest = truth["outcome"] == "found", max((url["added"] for url in truth["urls"]), default=None)
        fields = {"url_count": truth["url_count"] if found else None, "online_count": truth["urls_online"]}
        fields |= {"first_seen": truth["first_seen"], "last_added": newest}
        fields |= {"tags": truth["tags"], "threats": truth["threats"], "blacklists": []}
    elif service == "spur":
        same = ("is_vpn", "is_proxy", "is_tor", "infrastructure", "client_count", "asn", "organization", "country")
        lists = ("behaviors", "proxies", "risks", "services", "tunnel_types")
        fields = {name: truth[name] for name in same} | {name: sorted(truth[name]) for name in lists}
        fields |= {"tunnel_operators": sorted(truth["operators"])}
        fields |= {"is_anonymous": truth["is_vpn"] or truth["is_proxy"] or truth["is_tor"]}
    else:
        fields = {name: truth[name] for name in ("noise", "riot", "classification", "name", "last_seen")}
    return truth["outcome"], fields


def plain(service: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Fields without those of which the sandbox's facts say nothing; of an instant its day."""
    unknown = {"spur": {"client_types", "client_countries", "balance"}, "greynoise": {"link"}}.get(service, set())
    known = {name: value for name, value in fields.items() if name not in unknown}
    for name in ("first_seen", "last_added"):
        if known.get(name):
            assert known[name].endswith("T00:00:05Z")
            known[name] = known[name][:10]
    return known


@pytest.fixture(scope="module")
def running_sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """Without faults and arrivals, and with a key for each service."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    running_sandbox.reset()
    return running_sandbox


WRITTEN = (
    *("service_answers", "open_questions", "lookup_ledger", "lookup_counters", "service_limits", "sessions"),
    *("ip_inventory", "dshield_enrichment", "day_builds"),
)


@pytest.fixture(scope="module")
def warehouse_url(server: Server) -> str:
    """One database for all tests of a file."""
    return fast_database(server)


@pytest.fixture(scope="module")
def server(embedded_server: Server) -> Server:
    """One server is enough here: what takes long does not rest on its version."""
    return embedded_server


@pytest.fixture
def world(warehouse_url: str, sandbox: Sandbox, tmp_path: Path) -> World:
    with open_connection(warehouse_url) as connection:
        forget(connection, *WRITTEN)
    return World(warehouse_url, sandbox, configured(tmp_path, sandbox))


def fast_database(server: Server) -> str:
    url = server.new_database()
    with open_connection(url) as connection:
        # Thousands of small commits, and none has to outlive the machine.
        connection.execute(f"ALTER DATABASE {connection.info.dbname} SET synchronous_commit = off".encode())
    return url


@pytest.fixture(autouse=True)
def no_backoff() -> Iterator[None]:
    """Three tries as always, without the seconds between them."""
    with stamina.set_testing(True, attempts=3, cap=True):
        yield


@pytest.fixture(autouse=True)
def certificates_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each new client reads them all, for 30 ms, and here there are a thousand clients."""
    monkeypatch.setattr(ssl, "create_default_context", cache(ssl.create_default_context))


def impatient(monkeypatch: pytest.MonkeyPatch, seconds: float = 0.3) -> None:
    sender = partial(Sender, total_timeout=seconds, read_timeout=seconds, connect_timeout=seconds)
    monkeypatch.setattr(asking_module, "Sender", sender)


# What a web service of a test's own sends: status, headers, body.
Reply = tuple[int, dict[str, str], bytes]
Answer = Callable[[str, dict[str, str]], Reply]


@contextmanager
def web_service(answer: Answer) -> Iterator[str]:
    """The URL of a server that answers path and headers as the test says."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body at once: in two parts, the second one waits 40 ms for the first to be confirmed

        def do_GET(self) -> None:
            status, headers, body = answer(self.path, {name.lower(): value for name, value in self.headers.items()})
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            form = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self.path = f"{self.path}?{form}"
            self.do_GET()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class QuietServer(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # the client may leave at any time

    with QuietServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def asked_about(path: str) -> str:
    """The address in the path of a request to DShield."""
    return path.rpartition("/")[2].partition("?")[0]


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


# --- other processes -----------------------------------------------------------------------------------------------

# A process of its own: says when it is ready, waits for a word, asks, and tells what became of it.
CHILD = """
import json, signal, sys
from datetime import UTC, datetime
from functools import cache, partial
import stamina
from cowrie_assets.lookup.asking import Asking, ask
from cowrie_assets.lookup.gate import EgressGate
from cowrie_assets.lookup.services import Quota, Service
from cowrie_assets.warehouse.database import open_connection
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests in the background ignores it
told = json.loads(sys.argv[1])
quotas = tuple(Quota(**quota) for quota in told["service"]["quotas"])
service = Service(**{**told["service"], "families": tuple(told["service"]["families"]), "quotas": quotas})
asking = Asking(partial(open_connection, told["url"]), EgressGate(), told["run_id"], told["seconds"])
print("ready", flush=True)
sys.stdin.readline()
with stamina.set_testing(True, attempts=3, cap=True):
    tally = ask(asking, service, dict.fromkeys(told["keys"], datetime.now(UTC)))
print(json.dumps(vars(tally)), flush=True)
"""


class Process:
    """Asks in a process of its own, from `go` on."""

    def __init__(self, world: World, service: Service, keys: Sequence[str], *, seconds: float = 60, run: str = "run"):
        told = {"url": world.url, "service": asdict(service), "keys": list(keys), "seconds": seconds, "run_id": run}
        command = [sys.executable, "-c", CHILD, json.dumps(told)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
        )

    def wait_until_ready(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n", self.process.communicate()[1]

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def tally(self) -> Tally:
        out, err = self.process.communicate(timeout=120)
        assert self.process.returncode == 0, err
        told = json.loads(out.splitlines()[-1])
        counters = {name: Counter(told[name]) for name in ("hits", "outcomes", "reasons")}
        return Tally(told["asked"], told["requests"], chosen=told["chosen"], **counters)


@contextmanager
def started(processes: Sequence[Process]) -> Iterator[Sequence[Process]]:
    """All of them ready, then all of them off."""
    try:
        for process in processes:
            process.wait_until_ready()
        for process in processes:
            process.go()
        yield processes
    finally:
        for process in processes:
            process.process.kill()
            with suppress(ValueError):  # its pipes are closed already
                process.process.communicate()


# --- one process, nothing goes wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize("service", ASKED_SINGLY)
def test_each_key_is_asked_once_and_what_is_stored_is_true(world: World, service: str) -> None:
    """ "DShield 197,992 calls, URLhaus 99.4 % hit rate": the counters counted sessions, not calls."""
    keys = addresses_of_both_families(80) if service in ("dshield", "spur") else addresses(80)
    cold = world.ask(service, keys)

    arrivals = world.arrivals(service)
    assert Counter(arrival.key for arrival in arrivals) == Counter(keys)
    assert all(arrival.credential for arrival in arrivals)
    world.assert_true(service, keys)
    outcomes = Counter(outcome for outcome, _ in world.stored(service).values())
    assert min(outcomes[outcome] for outcome in ANSWERED) > 10, "both kinds are in the sample"
    assert (cold.asked, cold.requests, cold.hits.total(), cold.open) == (80, 80, 0, 0)
    assert +cold.outcomes == outcomes

    # The ledger has a row for each arrival, and says what became of it.
    ledger = world.rows("SELECT key, outcome, http_status, key_count, run_id, reason FROM lookup_ledger")
    assert Counter((key, status) for key, _, status, *_ in ledger) == Counter((a.key, a.status) for a in arrivals)
    assert {(key, outcome) for key, outcome, *_ in ledger} == {(k, o) for k, (o, _) in world.stored(service).items()}
    assert {row[3:] for row in ledger} == {(1, "run", None)}
    assert world.rows("SELECT count(*)::int FROM lookup_ledger WHERE latency_ms IS NULL OR latency_ms < 0") == [(0,)]

    warm = world.ask(service, keys, run_id="second")
    assert len(world.arrivals(service)) == len(arrivals)
    assert (warm.asked, warm.requests, +warm.hits, +warm.outcomes) == (80, 0, Counter(database=80), Counter())
    counted = world.rows("SELECT run_id, service, tier, hits, misses, stores, errors FROM lookup_counters ORDER BY 1")
    assert counted == [("run", service, "database", 0, 80, 80, 0), ("second", service, "database", 80, 0, 0, 0)]


@pytest.mark.parametrize("service", ASKED_SINGLY)
def test_what_the_service_sent_is_kept_as_it_was(world: World, service: str) -> None:
    keys = addresses(30)
    world.ask(service, keys)
    payloads = dict(world.rows("SELECT key, payload FROM service_answers"))
    sent = {key: getattr(answers, service)(world.sandbox.seed, key)[1] or None for key in keys}
    assert payloads == sent


def test_answers_live_as_long_as_they_are_said_to(world: World) -> None:
    service = replace(world.services["spur"], ttl_found=1000.0, ttl_not_found=10.0)
    world.ask(service, addresses(30))
    lives = world.rows(
        "SELECT DISTINCT outcome, extract(epoch FROM expires_at - answered_at)::float FROM service_answers"
    )
    assert {outcome: round(seconds) for outcome, seconds in lives} == {"found": 1000, "not_found": 10}


def test_hits_and_calls_add_up_over_runs_that_overlap(world: World) -> None:
    keys = addresses(60)
    tallies = [world.ask("spur", keys[start : start + 30]) for start in (0, 10, 20, 30)]
    for tally in tallies:
        assert tally.asked == tally.hits.total() + tally.outcomes.total()
        assert tally.requests == sum(tally.outcomes[outcome] for outcome in ANSWERED)
    assert [tally.requests for tally in tallies] == [30, 10, 10, 10]
    assert world.rows("SELECT hits, misses FROM lookup_counters") == [(60, 60)]
    assert len(world.arrivals("spur")) == 60


def test_one_service_knows_nothing_of_another(world: World) -> None:
    for number, service in enumerate(ASKED_SINGLY, 1):
        world.ask(service, addresses(5))
        assert world.rows("SELECT count(DISTINCT service)::int, count(*)::int FROM service_answers") == [
            (number, 5 * number)
        ]


def test_the_order_of_the_needs_is_the_order_of_asking(world: World) -> None:
    """Quotas are small: the telling addresses come first."""
    keys = [*addresses(10, 20), *addresses(10)]
    world.ask(replace(world.services["greynoise"], workers=1), keys)
    assert [arrival.key for arrival in world.arrivals("greynoise")] == keys


def test_nothing_to_ask_is_no_error(world: World) -> None:
    tally = world.ask("spur", [])
    assert (tally.asked, tally.requests, +tally.outcomes) == (0, 0, Counter())


def test_the_caller_is_told_how_far_it_is(world: World) -> None:
    told: list[tuple[int, int, str]] = []
    world.ask("spur", addresses(20), report=lambda *words: told.append(words))
    assert len(told) == 20
    assert [total for _, total, _ in told] == [20] * 20
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert told[-1][0] == 20


# --- what is not asked ---------------------------------------------------------------------------------------------


def test_private_and_own_addresses_are_not_applicable_and_never_leave(world: World) -> None:
    """Private addresses sent to third parties."""
    with world.connect() as connection:
        attack(connection)
        attack(connection, "b")
        connection.execute("UPDATE sessions SET destination_ip = '5.5.5.5' WHERE session_id = 'a'")
        connection.execute("UPDATE sessions SET destination_ip = 'sensor.example.org' WHERE session_id = 'b'")
        world.gate = EgressGate.of(connection, ["9.9.9.9", "5.6.0.0/16"])
    refused = {
        **dict.fromkeys(("10.0.0.5", "127.0.0.1", "fd00::1", "::ffff:192.168.0.1", "2002:a00:1::1"), "private address"),
        **dict.fromkeys(("9.9.9.9", "5.6.7.8", "5.5.5.5", "::ffff:9.9.9.9"), "own address"),
        **dict.fromkeys(("sensor.example.org", "", "8.8.8.8/32"), "no address"),
    }
    for service in ASKED_SINGLY:
        tally = world.ask(service, [*refused, *addresses(3)])
        assert tally.outcomes["not_applicable"] == len(refused)
        assert tally.asked == tally.hits.total() + tally.outcomes.total() == len(refused) + 3
        assert {arrival.key for arrival in world.arrivals(service)} == set(addresses(3))
        assert world.open(service) == {key: ("not_applicable", why) for key, why in refused.items()}
        ledger = world.rows("SELECT key FROM lookup_ledger WHERE service = %s", service)
        assert {key for (key,) in ledger} == set(addresses(3))


def test_destinations_that_are_private_make_no_gate(world: World) -> None:
    with world.connect() as connection:
        attack(connection)
        connection.execute("UPDATE sessions SET destination_ip = '10.0.0.5'")
        gate = EgressGate.of(connection, [])
    assert gate.refuses("8.8.8.8") is None
    assert not gate.is_own("10.0.0.5")


@pytest.mark.parametrize("service", ["urlhaus", "greynoise"])
def test_a_service_that_knows_no_ipv6_is_not_asked_about_it(world: World, service: str) -> None:
    six = [key for key in addresses_of_both_families(40) if ":" in key]
    tally = world.ask(service, six)
    assert (+tally.outcomes, world.arrivals(service)) == (Counter(not_applicable=10), [])
    assert set(world.open(service).values()) == {("not_applicable", "the service knows no IPv6")}
    assert world.rows("SELECT * FROM lookup_ledger") == []


@pytest.mark.parametrize("service", ASKED_SINGLY)
@pytest.mark.parametrize("why", ["no key", "offline"])
def test_what_is_not_configured_is_not_asked_and_says_so(
    world: World, monkeypatch: pytest.MonkeyPatch, service: str, why: str
) -> None:
    """Missing keys stored empty payloads, so the row counted as done for ever."""
    asked = world.services[service]
    world.ask(asked, addresses(5))
    if why == "no key":
        assert asked.credential is not None
        monkeypatch.delenv(asked.credential.removeprefix("env:"))
    else:
        asked = replace(asked, switched_off="offline: COWRIE_OFFLINE is set")
    tally = world.ask(asked, [*addresses(15), "10.0.0.5"])
    assert len(world.arrivals(service)) == 5
    assert (+tally.hits, +tally.outcomes) == (Counter(database=5), Counter(not_configured=10, not_applicable=1))
    assert tally.open == 10
    open_questions = world.open(service)
    reason = (
        "offline: COWRIE_OFFLINE is set" if why == "offline" else f"no key: set {world.services[service].credential}"
    )
    told = {("not_configured", reason.replace("env:", ""))}
    assert {open_questions[key] for key in addresses(10, 5)} == told
    assert len(world.stored(service)) == 5
    # With a key, or online again, exactly those are asked.
    monkeypatch.setenv(KEY_OF[service], "a-key@example.org")
    world.ask(service, addresses(15))
    assert Counter(arrival.key for arrival in world.arrivals(service)) == Counter(addresses(15))
    assert set(world.stored(service)) == set(addresses(15))
    assert set(world.open(service)) == {"10.0.0.5"}


KEY_OF = dict(zip(ASKED_SINGLY, KEYS, strict=False))


# --- freshness -----------------------------------------------------------------------------------------------------

MIDNIGHT = datetime(2025, 9, 10, tzinfo=UTC)


def test_an_answer_counts_as_long_as_it_is_good_at_the_moment_of_need(world: World) -> None:
    second = timedelta(seconds=1)
    lives = {"dies before": -second, "dies at": timedelta(0), "dies after": second, "lives": timedelta(days=30)}
    keys = dict(zip(lives, addresses(4), strict=True))
    with world.connect() as connection:
        for name, key in keys.items():
            insert_answer(connection, "spur", key, MIDNIGHT - timedelta(days=7), MIDNIGHT + lives[name])
    tally = world.ask("spur", dict.fromkeys(keys.values(), MIDNIGHT))
    assert {a.key for a in world.arrivals("spur")} == {keys["dies before"], keys["dies at"]}
    assert (tally.requests, tally.hits["database"]) == (2, 2)
    # What was asked again is good now, as was the rest.
    assert world.ask("spur", dict.fromkeys(keys.values(), MIDNIGHT)).requests == 0


def test_each_key_has_a_need_of_its_own(world: World) -> None:
    keys = addresses(6)
    with world.connect() as connection:
        for key in keys:
            insert_answer(connection, "spur", key, MIDNIGHT - timedelta(days=1), MIDNIGHT + timedelta(days=2))
    needs = {key: MIDNIGHT + timedelta(days=number) for number, key in enumerate(keys)}
    world.ask("spur", needs)
    assert {arrival.key for arrival in world.arrivals("spur")} == set(keys[2:])


def test_an_old_answer_that_is_still_good_beats_a_newer_one_that_is_not(world: World) -> None:
    """A short-lived "not found" must not bury the long-lived answer that came before it."""
    (key,) = addresses(1)
    with world.connect() as connection:
        insert_answer(connection, "spur", key, MIDNIGHT - timedelta(days=2), MIDNIGHT + timedelta(days=2))
        insert_answer(connection, "spur", key, MIDNIGHT - timedelta(days=1), MIDNIGHT - timedelta(hours=1), "not_found")
    assert world.ask("spur", {key: MIDNIGHT}).requests == 0


def test_an_expired_answer_is_kept_beside_the_new_one(world: World) -> None:
    """Vendor cache promotion renewed the time to live, so an old answer never aged."""
    (key,) = addresses(1)
    with world.connect() as connection:
        insert_answer(connection, "spur", key, MIDNIGHT, MIDNIGHT + timedelta(days=1))
    before = world.rows("SELECT * FROM service_answers")
    world.ask("spur", [key])
    after = world.rows("SELECT * FROM service_answers ORDER BY answered_at")
    assert (len(after), after[0]) == (2, before[0])
    world.ask("spur", [key])
    assert world.rows("SELECT * FROM service_answers ORDER BY answered_at") == after, "a hit renews nothing"


def insert_answer(
    connection: Connection,
    service: str,
    key: str,
    answered_at: datetime,
    expires_at: datetime,
    outcome: str = "found",
    fields: Mapping[str, Any] | None = None,
) -> None:
    connection.execute(
        "INSERT INTO service_answers (service, key, answered_at, expires_at, outcome, fields, payload) "
        "VALUES (%s, %s, %s, %s, %s, %s, '{}')",
        (service, key, answered_at, expires_at, outcome, json.dumps(fields or {})),
    )


# --- faults --------------------------------------------------------------------------------------------------------

FAULTS: dict[str, Any] = {
    **{kind: kind for kind in ("500", "502", "503", "504", "hang", "reset", "cut", "html", "empty", "null", "list")},
    "503 with Retry-After": {"kind": "503", "retry_after": "3600"},
    "reset at once": {"kind": "reset", "bytes": 0},
    "cut to one byte": {"kind": "cut", "bytes": 1},
    "wrong address": "wrong-address",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_after_a_fault_comes_the_answer(world: World, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    if fault == "hang":
        impatient(monkeypatch)
    for service in ASKED_SINGLY:
        keys = addresses(1 if fault == "hang" else 6)
        world.sandbox.faults({service: [FAULTS[fault], "ok"] * len(keys)})
        tally = world.ask(replace(world.services[service], workers=1), keys)
        assert Counter(a.key for a in world.arrivals(service)) == Counter(keys * 2)
        assert (tally.requests, tally.open) == (2 * len(keys), 0)
        world.assert_true(service, keys)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_stays_is_no_answer(world: World, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """Failures stored empty payloads, so the row counted as done for ever."""
    if fault == "hang":
        impatient(monkeypatch, 0.2)
    for service in ASKED_SINGLY:
        keys = addresses(2)  # at the same time
        world.sandbox.faults({service: {"probability": 1.0, "kinds": [FAULTS[fault]]}})
        tally = world.ask(service, keys)
        # Five in a row and the circuit is open, but for those in flight; then two probes.
        assert (+tally.outcomes, tally.open) == (Counter(unavailable=2), 2)
        assert 7 <= tally.requests <= 9
        assert tally.requests == len(world.arrivals(service))
        assert world.stored(service) == {}
        assert {outcome for outcome, _ in world.open(service).values()} == {"unavailable"}
        ledger = world.rows("SELECT outcome FROM lookup_ledger WHERE service = %s", service)
        assert ledger == [("unavailable",)] * tally.requests
        world.sandbox.faults({service: []})
        world.cool()
        world.ask(service, keys)
        world.assert_true(service, keys)


def test_a_slow_answer_is_an_answer(world: World) -> None:
    for service in ASKED_SINGLY:
        world.sandbox.faults({service: {"probability": 1.0, "kinds": [{"kind": "slow", "bytes": 40, "delay": 0.005}]}})
        world.ask(service, addresses(8))
        assert len(world.arrivals(service)) == 8
        world.assert_true(service, addresses(8))


def test_random_faults_change_no_row_and_cost_a_call_each(
    world: World, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(monkeypatch, 1.0)
    clean, faulty, sandbox = world, replace(world, url=fast_database(server)), world.sandbox
    kinds = [*FAULTS.values(), {"kind": "slow", "delay": 0.01}]
    keys = addresses(80)
    for service in ASKED_SINGLY:
        clean.ask(service, keys)
        sandbox.ledger.clear()
        sandbox.faults({service: {"probability": 0.2, "kinds": kinds}})
        runs = 1
        while faulty.ask(service, keys).open:
            faulty.cool()
            runs += 1
            assert runs < 10
        query = f"SELECT key, outcome, fields - 'balance', payload FROM service_answers WHERE service = '{service}'"
        with clean.connect() as one, faulty.connect() as other:
            assert digest(one, query) == digest(other, query)
        assert faulty.open(service) == {}

        arrivals = sandbox.ledger.arrivals(service)
        failed = [a for a in arrivals if a.fault not in (None, "slow")]
        assert len(failed) > 8
        assert len(arrivals) == len(keys) + len(failed)
        # Status by status: what never came, or not to its end, has none.
        theirs = Counter((a.key, None if a.fault in ("hang", "reset") else a.status) for a in arrivals)
        ours = faulty.rows("SELECT key, http_status FROM lookup_ledger WHERE service = %s", service)
        assert theirs == Counter((key, status) for key, status in ours)
        failures = faulty.rows("SELECT key FROM lookup_ledger WHERE service = %s AND outcome = 'unavailable'", service)
        assert Counter(key for (key,) in failures) == Counter(a.key for a in failed)


def test_a_service_that_fails_five_times_in_a_row_is_left_alone(world: World) -> None:
    """A failing list was downloaded again for each of 1,000 addresses."""
    world.sandbox.faults({"spur": {"probability": 1.0, "kinds": ["500"]}})
    tally = world.ask(replace(world.services["spur"], workers=1), addresses(50))
    # Three tries for a key, two for the next one; then the circuit is open, and two probes, by two keys, fail.
    assert (tally.requests, tally.outcomes["unavailable"]) == (7, 50)
    assert len(world.arrivals("spur")) == 7
    told = Counter(reason for _, reason in world.open("spur").values())
    nobody = "answered with status 500, 5 failures in a row; nobody asks before 1 minute is over"
    assert told == {"answered with status 500": 3, nobody: 47}


def test_four_failures_in_a_row_are_not_five(world: World) -> None:
    world.sandbox.faults({"spur": (["500"] * 4 + ["ok"]) * 40})
    tally = world.ask(replace(world.services["spur"], workers=1), addresses(20))
    assert world.rows("SELECT open_until, open_seconds FROM service_limits") == [(None, None)]
    # Of three rounds of three tries each a few keys meet nothing but failures.
    assert len(world.stored("spur")) == tally.requests // 5 >= 15


def test_a_service_that_is_down_is_given_up_quickly_and_the_next_run_fills_the_gap(world: World) -> None:
    keys = addresses(100)
    known, gap = keys[::2], keys[1::2]
    world.ask("spur", known)
    down = replace(world.services["spur"], address=f"http://127.0.0.1:{closed_port()}")
    begun = time.monotonic()
    tally = world.ask(down, keys)
    assert time.monotonic() - begun < 10
    assert (+tally.hits, +tally.outcomes) == (Counter(database=50), Counter(unavailable=50))
    assert tally.requests <= 5 + down.workers + 2
    assert all("connection refused" in reason for _, reason in world.open("spur").values())
    assert set(world.open("spur")) == set(gap)
    world.sandbox.ledger.clear()
    world.cool()
    world.ask("spur", keys)
    assert Counter(a.key for a in world.arrivals("spur")) == Counter(gap)
    world.assert_true("spur", keys)


# --- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("credential", ["invalid", "forbidden"])
@pytest.mark.parametrize("service", ASKED_SINGLY)
def test_after_a_refusal_nobody_asks_again(
    world: World, monkeypatch: pytest.MonkeyPatch, service: str, credential: str
) -> None:
    monkeypatch.setenv(KEY_OF[service], credential)  # of DShield, it is a contact to which nobody could write
    tally = world.ask(service, addresses(40))
    arrivals = world.arrivals(service)
    assert 1 <= len(arrivals) <= 4, "only what was in flight"
    assert not world.sandbox.ledger.repeated_keys(service)
    assert {arrival.status for arrival in arrivals} <= {401, 403}
    assert (+tally.outcomes, world.stored(service)) == (Counter(unavailable=40), {})
    for outcome, reason in world.open(service).values():
        assert (outcome, KEY_OF[service] in reason) == ("unavailable", True), reason
        assert "refuses us (40" in reason


def test_a_worker_between_two_tries_hears_of_a_refusal(world: World) -> None:
    first, second = addresses(2)
    arrived: list[str] = []

    def answer(path: str, headers: dict[str, str]) -> Reply:
        arrived.append(path.rpartition("/")[2])
        if path.endswith(first):
            return 500, {}, b""
        time.sleep(0.1)  # the first is waiting for its second try by now
        return 401, {}, b""

    with web_service(answer) as url, stamina.set_testing(False):
        spur = replace(world.services["spur"], address=url, workers=2)
        world.ask(spur, [first, second], retry_wait=0.5)
    assert Counter(arrived) == {first: 1, second: 1}


def test_a_429_silences_every_worker_until_the_time_is_up(world: World) -> None:
    keys = addresses(60)
    world.sandbox.faults({"spur": [*["ok"] * 10, {"kind": "429", "retry_after": "2", "penalty": 2.0}]})
    threads = [threading.Thread(target=world.ask, args=("spur", keys[start::3])) for start in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    arrivals = world.arrivals("spur")
    (at,) = [arrival.at for arrival in arrivals if arrival.fault == "429"]
    boxed = [arrival for arrival in arrivals if arrival.in_penalty]
    assert len(boxed) <= 3 * 4 - 1
    assert [round(a.at - at, 2) for a in arrivals if at + 0.5 < a.at < at + 2] == []
    assert len(arrivals) == len(keys) + 1 + len(boxed)
    world.assert_true("spur", keys)


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        ("30", 30),
        ("0", 1),
        ("-5", 1),
        ("0.2", 1),
        ("86400", 86400),
        ("86401", 86400),
        ("999999999999999", 86400),
        ("9" * 40, 777),  # not a number that anybody means
        ("soon", 777),
        ("", 777),
        (None, 777),
        ("date", 30),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 1),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86400),
        ("Fri, 99 Dec 2026 99:99:99 GMT", 777),
    ],
)
def test_a_429_stops_for_as_long_as_it_says_within_reason(
    world: World, retry_after: str | None, seconds: float
) -> None:
    if retry_after == "date":
        retry_after = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    fault = {"kind": "429", "penalty": 0} | ({} if retry_after is None else {"retry_after": retry_after})
    world.sandbox.faults({"spur": [fault] * 100})
    spur = replace(world.services["spur"], blocked_for=777.0, workers=1)
    tally = world.ask(spur, addresses(8), seconds=0.5)
    (left,) = world.rows("SELECT extract(epoch FROM blocked_until - clock_timestamp())::float FROM service_limits")[0]
    assert seconds - 3 < left <= seconds + 1
    assert (len(world.arrivals("spur")), +tally.outcomes) == (1, Counter(unavailable=8))
    assert all("nobody asks before" in reason for _, reason in world.open("spur").values())
    # Nor does another run, or another process, as long as that holds.
    assert world.ask(spur, addresses(8, 10), seconds=0.0, run_id="other").requests == 0


# --- the run's time ------------------------------------------------------------------------------------------------


def test_what_the_time_does_not_suffice_for_is_left_to_the_next_run(world: World) -> None:
    keys = addresses(12)
    slow = replace(world.services["spur"], requests=8, window=1.0, workers=1)  # a slot each 0.1375 s
    begun = time.monotonic()
    tallies = [world.ask(slow, keys, seconds=0.0)]
    assert time.monotonic() - begun < 1
    assert tallies[0].requests <= 1
    while tallies[-1].open:
        assert len(tallies) < 20
        told = set(world.open("spur").values())
        assert told == {("quota", "the run's time was used up")}
        assert len(world.open("spur")) == tallies[-1].open == tallies[-1].outcomes["quota"]
        tallies.append(world.ask(slow, keys, seconds=0.4))
    assert len(tallies) > 3
    assert all(tally.asked == tally.hits.total() + tally.outcomes.total() == 12 for tally in tallies)
    assert Counter(a.key for a in world.arrivals("spur")) == Counter(keys)
    assert [a.key for a in world.arrivals("spur")] == keys, "where it stopped, it goes on"
    world.assert_true("spur", keys)


def test_a_run_uses_the_slots_that_its_workers_have(world: World) -> None:
    slots = replace(world.services["spur"], requests=8, window=1.0, workers=4)
    # At 0, 0.1375, 0.275, 0.4125, … s: whoever finds that there is none left for him calls off no other's.
    assert world.ask(slots, addresses(12), seconds=0.7).requests >= 4


def test_a_slow_service_does_not_outlast_the_time_of_the_run(world: World) -> None:
    """At 30 s an answer, 38,864 addresses would hold a run of half an hour for a week."""
    world.sandbox.faults({"spur": {"probability": 1.0, "kinds": [{"kind": "slow", "bytes": 10_000, "delay": 0.2}]}})
    begun = time.monotonic()
    tally = world.ask(replace(world.services["spur"], workers=1), addresses(12), seconds=0.5)
    assert time.monotonic() - begun < 1.5
    assert tally.outcomes["quota"] >= 8


# --- several processes ---------------------------------------------------------------------------------------------


def test_four_processes_ask_about_the_same_keys_once(world: World) -> None:
    keys = addresses(100)
    # Each answer takes a moment, so that the others come while it is on its way.
    world.sandbox.faults({"spur": {"probability": 1.0, "kinds": [{"kind": "slow", "bytes": 10_000, "delay": 0.05}]}})
    with started([Process(world, world.services["spur"], keys) for _ in range(4)]) as processes:
        tallies = [process.tally() for process in processes]
    assert Counter(a.key for a in world.arrivals("spur")) == Counter(keys)
    world.assert_true("spur", keys)
    assert sum(tally.requests for tally in tallies) == 100
    assert sum(tally.outcomes[outcome] for tally in tallies for outcome in ANSWERED) == 100
    assert sum(tally.hits.total() for tally in tallies) == 300
    assert min(tally.requests for tally in tallies) > 5, "each has its share of the work"
    counted = dict(world.rows("SELECT tier, hits::int FROM lookup_counters WHERE hits > 0"))
    assert counted == +sum((tally.hits for tally in tallies), Counter())
    assert counted.get("another process", 0) > 0


def test_four_processes_share_a_quota_to_the_last_call(world: World) -> None:
    keys = addresses(100)
    greynoise = replace(world.services["greynoise"], quotas=(Quota(25, 604800),))
    with started([Process(world, greynoise, keys[start::4]) for start in range(4)]) as processes:
        tallies = [process.tally() for process in processes]
    assert len(world.arrivals("greynoise")) == sum(tally.requests for tally in tallies) == 25
    assert world.rows("SELECT count(*)::int FROM lookup_ledger") == [(25,)]
    assert sum(tally.outcomes["quota"] for tally in tallies) == 75
    assert all(tally.outcomes["unavailable"] == 0 for tally in tallies)
    told = set(world.open("greynoise").values())
    assert told == {("quota", "the quota of 25/week is used up, the next request may leave in 7.0 days")}
    assert len(world.open("greynoise")) == 75
    assert world.ask(greynoise, keys).requests == 0


@pytest.mark.parametrize("killed", [1, 4])
def test_killed_anywhere_it_resumes(world: World, killed: int) -> None:
    keys = addresses(160)
    spur = world.services["spur"]
    world.sandbox.faults({"spur": {"probability": 1.0, "kinds": [{"kind": "slow", "bytes": 10_000, "delay": 0.1}]}})
    with started([Process(world, spur, keys, run=f"run {number}") for number in range(4)]) as processes:
        while len(world.arrivals("spur")) < 40:
            time.sleep(0.005)
        for process in processes[:killed]:
            process.process.kill()
        for process in processes[killed:]:
            assert process.tally().open == 0
        for process in processes[:killed]:
            process.process.wait()
    world.sandbox.faults({"spur": []})
    before = len(world.arrivals("spur"))
    assert world.ask("spur", keys).open == 0
    assert (len(world.arrivals("spur")) > before) == (killed == 4)
    world.assert_true("spur", keys)

    # Charged before they left, and nobody lived to see the answer: only those are asked again.
    in_flight = [key for (key,) in world.rows("SELECT key FROM lookup_ledger WHERE outcome IS NULL")]
    assert 1 <= len(in_flight) <= killed * spur.workers
    assert set(world.sandbox.ledger.repeated_keys("spur")) <= set(in_flight)
    arrivals, (rows,) = len(world.arrivals("spur")), world.rows("SELECT count(*)::int FROM lookup_ledger")[0]
    assert arrivals <= rows <= len(keys) + killed * spur.workers
    runs = {run for (run,) in world.rows("SELECT DISTINCT run_id FROM lookup_ledger WHERE outcome IS NULL")}
    assert runs <= {f"run {number}" for number in range(killed)}


def test_ctrl_c_while_workers_wait_for_their_turn_takes_back_what_they_had_reserved(world: World) -> None:
    spur = replace(world.services["spur"], requests=1, window=20.0)
    with started([Process(world, spur, addresses(10), seconds=600)]) as (process,):
        while len(world.arrivals("spur")) < 1 or world.rows("SELECT count(*)::int FROM lookup_ledger") != [(5,)]:
            time.sleep(0.02)
        begun = time.monotonic()
        process.process.send_signal(signal.SIGINT)
        assert process.process.wait(timeout=20) != 0
        assert time.monotonic() - begun < 5
    assert world.rows("SELECT count(*)::int, count(outcome)::int FROM lookup_ledger") == [(1, 1)]
    assert set(world.open("spur").values()) == {("quota", "the run was stopped")}
    assert len(world.open("spur")) == 9


def test_a_lost_database_connection_loses_at_most_what_is_in_flight(world: World) -> None:
    keys = addresses(120)
    world.sandbox.faults({"spur": {"probability": 1.0, "kinds": [{"kind": "slow", "bytes": 10_000, "delay": 0.02}]}})
    lost = threading.Event()

    def cut() -> None:
        while len(world.arrivals("spur")) < 30:
            time.sleep(0.005)
        world.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        lost.set()

    thread = threading.Thread(target=cut)
    thread.start()
    begun = time.monotonic()
    with pytest.raises(Exception, match=r"terminat|closed|lost|consuming") as caught:
        world.ask("spur", keys)
    assert time.monotonic() - begun < 20
    thread.join()
    assert lost.is_set()
    assert "urlhaus-key" not in str(caught.value)
    assert world.ask("spur", keys).open == 0
    world.assert_true("spur", keys)
    assert len(world.arrivals("spur")) <= len(keys) + world.services["spur"].workers


def test_no_question_stays_open_that_another_run_has_answered(world: World) -> None:
    keys = addresses(6)
    # It asks about the first key, which takes a while, and has no time to wait for a second slot.
    world.sandbox.faults({"spur": [{"kind": "slow", "bytes": 10_000, "delay": 1.0}]})
    slow = replace(world.services["spur"], requests=1, window=60.0, workers=1)
    waiting = threading.Thread(target=world.ask, args=(slow, keys), kwargs={"seconds": 2.0})
    waiting.start()
    while not world.arrivals("spur"):
        time.sleep(0.01)
    # Meanwhile another run, of another day and with another key, gets most of the others.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPUR_API_KEY", "another-key")
        assert world.ask("spur", keys[2:], run_id="other").open == 0
    waiting.join()
    assert set(world.stored("spur")) == {keys[0], *keys[2:]}
    assert set(world.open("spur")) == {keys[1]}


# --- secrets -------------------------------------------------------------------------------------------------------

MARKER = "MARKER-4a41d9c0"


def test_secrets_are_nowhere(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Keys in URLs and in exception texts."""
    caplog.set_level(logging.DEBUG)
    impatient(monkeypatch)
    for service, variable in KEY_OF.items():
        monkeypatch.setenv(variable, f"{MARKER}-{service}@example.org")
    told: list[str] = []

    def refuse(path: str, headers: dict[str, str]) -> Reply:
        assert MARKER in str(headers)
        # A page that says it all back, as debug pages do.
        return int(path.split("/")[1]), {"Retry-After": "soon"}, f"<pre>{json.dumps(headers)}</pre>".encode()

    with web_service(refuse) as url:
        for number, service in enumerate(ASKED_SINGLY):
            known = world.services[service]
            faults = [fault for fault in FAULTS.values() if fault != "hang"]
            world.sandbox.faults({service: {"probability": 0.5, "kinds": faults}})
            places = [known.address, f"http://127.0.0.1:{closed_port()}", "http://[", "ftp://127.0.0.1/"]
            places += [f"{url}/{status}" for status in (200, 302, 400, 401, 402, 404, 429, 500)]
            for at, place in enumerate(places):
                keys = addresses(2, 1000 * number + 10 * at)
                try:
                    told.append(repr(world.ask(replace(known, address=place), keys, seconds=0.5)))
                except Exception as error:
                    told.append(f"raised: {error!r}")
                world.rows("UPDATE service_limits SET blocked_until = NULL RETURNING 1")
                world.cool()
    tables = world.rows(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
    )
    kept = {name: str(world.rows(f"SELECT * FROM {name}")) for (name,) in tables}
    assert len(kept["lookup_ledger"]) > 5_000, "there was much that could have been said"
    printed = capfd.readouterr()
    seen = {**kept, "log": caplog.text, "told": str(told), "stdout": printed.out, "stderr": printed.err}
    assert [where for where, text in seen.items() if MARKER in text] == []
    assert [line for line in told if line.startswith("raised")] == []


# --- what a service may send ---------------------------------------------------------------------------------------

AWKWARD: dict[str, bytes] = {
    "NUL in a text": b'{"asname": "A\\u0000B", "comment": "\\u0000"}',
    "NUL in a name": b'{"a\\u0000b": {"c\\u0000": ["\\u0000"]}}',
    "NUL in feeds": b'{"threatfeeds": {"fe\\u0000ed": {}, "ok": {}}}',
    "a lone surrogate": b'{"asname": "A\\ud800B"}',
    "a lone low surrogate": b'{"asname": "\\udc00"}',
    "a surrogate pair": b'{"asname": "\\ud83d\\ude00"}',
    "a stand-in of ours": b'{"asname": "\\\\u0000 \\\\ud800"}',
    "invalid UTF-8": b'{"asname": "\xff\xfe"}',
    "control characters": b'{"asname": "\\u0001\\u001b[31m\\u007f\\u0085\\u2028"}',
    "10^30": b'{"assize": 1' + b"0" * 30 + b', "as": 1' + b"0" * 30 + b', "maxrisk": 1' + b"0" * 30 + b"}",
    "10^30 as counters": b'{"count": 1' + b"0" * 30 + b', "attacks": 1' + b"0" * 30 + b"}",
    "10^400": b'{"count": 1' + b"0" * 400 + b"}",
    "1e308": b'{"size": 1e308, "count": 1e308}',
    "1e400": b'{"size": 1e400}',
    "1e-400": b'{"size": 1e-400}',
    "minus zero": b'{"count": -0, "size": -0.0}',
    "2^63": b'{"count": 9223372036854775808, "attacks": 9223372036854775807}',
    "2^64": b'{"count": 18446744073709551616}',
    "negative": b'{"count": -1, "attacks": -5, "as": -1, "maxrisk": -3}',
    "NaN": b'{"count": NaN}',
    "an AS beyond 32 bits": b'{"as": 4294967296}',
    "texts for numbers": b'{"count": "12", "attacks": "\\u0661\\u0662", "as": "AS15169"}',
    "dates in no calendar": b'{"mindate": "0000-00-00", "maxdate": "2025-02-30"}',
    "dates at the end of time": b'{"mindate": "0001-01-01", "maxdate": "9999-12-31"}',
    "odd networks": b'{"network": "::ffff:1.2.3.0/120"}',
    "a network of everything": b'{"network": "1.2.3.4/0"}',
    "a network with a zone": b'{"network": "fe80::1%eth0/64"}',
    "an odd country": b'{"ascountry": "\xc3\x9f\\u0000"}',
    "lists for texts": b'{"asname": ["a"], "ascountry": {"a": 1}, "threatfeeds": [null, 1, ["x"], "y"]}',
    "nested 200 deep": b'{"comment": ' + b"[" * 200 + b"]" * 200 + b"}",
    "nested 1,000 deep": b'{"comment": ' + b"[" * 1000 + b"]" * 1000 + b"}",
    "nested 100,000 deep": b'{"comment": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a name twice": b'{"asname": "first", "asname": "second"}',
    "an empty name": b'{"": ""}',
    "a long text": b'{"comment": "' + b"x" * 2_000_000 + b'", "asname": "' + b"y" * 100_000 + b'"}',
    "too much": b'{"comment": "' + b"x" * 9_000_000 + b'"}',
    "many names": b"{" + b",".join(b'"n%d": %d' % (number, number) for number in range(5000)) + b"}",
}  # fmt: skip


def test_whatever_a_service_sends_is_stored_or_unavailable(world: World) -> None:
    """NUL in JSON: `\\u0000 cannot be converted to text` in production."""
    by_key = dict(zip(addresses(len(AWKWARD)), AWKWARD.values(), strict=True))

    def answer(path: str, headers: dict[str, str]) -> Reply:
        key = asked_about(path)
        record = by_key[key].strip()
        head = b'{"ip": {"number": "%s", "count": 3, "attacks": 2, ' % key.encode()
        return 200, {"Content-Type": "application/json"}, head + record[1:] + b"}"

    with web_service(answer) as url:
        # One at a time: several failures in a row would end a run.
        tallies = []
        for key in by_key:
            tallies.append(world.ask(replace(world.services["dshield"], address=url), [key]))
            world.cool()
    for name, key, tally in zip(AWKWARD, by_key, tallies, strict=True):
        assert +tally.outcomes in (Counter(found=1), Counter(not_found=1), Counter(unavailable=1)), name
        assert (key in world.stored("dshield")) == (tally.open == 0) == (key not in world.open("dshield")), name
    stored = {name: key for name, key in zip(AWKWARD, by_key, strict=True) if key in world.stored("dshield")}
    assert len(stored) > 20
    assert {"NUL in a text", "NUL in a name", "10^30", "a name twice", "a stand-in of ours"} <= set(stored)

    # Nothing of it stops the day's rows either.
    day = datetime(2025, 9, 10, 12, tzinfo=UTC)
    with world.connect() as connection:
        for number, key in enumerate(by_key):
            attack(connection, str(number), key, begin=day)
        counts = write_enrichment(connection, "dshield", day.date())
        assert counts["unavailable"] == len(by_key) - len(stored)
        rows = connection.execute("SELECT host(address), as_name FROM dshield_enrichment").fetchall()
        names: dict[str, str | None] = dict(rows)
    assert names[stored["NUL in a text"]] == r"A\u0000B"
    assert names[stored["a stand-in of ours"]] == r"\u005cu0000 \u005cud800", "and can be told from a NUL"
    assert names[stored["a name twice"]] == "second"


NOTHING_MEANT = [
    *(b"", b"null", b"[]", b"{}", b"0", b'""', b"true", b"<html></html>", b"OK", b"\xff"),
    *(b'{"ip": {}}', b'{"ip": []}', b'{"ip": {"number": "8.8.8.8"}}', b'{"ip": "8.8.8.8"}'),
    *(b'{"error": null}', b'{"message": "try later"}', b'{"query_status": null}', b'{"query_status": "no"}'),
]


def test_an_answer_that_says_nothing_is_never_not_found(world: World) -> None:
    cases = [(service, 200, body) for service in ASKED_SINGLY for body in NOTHING_MEANT]
    cases += [("greynoise", 404, body) for body in NOTHING_MEANT]
    said: Reply = (0, {}, b"")
    with web_service(lambda path, headers: said) as url:
        for service, status, body in cases:
            said = (status, {}, body)
            tally = world.ask(replace(world.services[service], address=url), addresses(1))
            assert +tally.outcomes == Counter(unavailable=1), (service, status, body)
    assert world.rows("SELECT * FROM service_answers") == []


@pytest.mark.parametrize("body", [b'{"ip": null}', b'{"as": null}', b'{"location": {}}', b'{"organization": ""}'])
def test_a_body_of_spur_that_names_no_address_and_says_nothing_is_no_answer(world: World, body: bytes) -> None:
    with web_service(lambda path, headers: (200, {}, body)) as url:
        tally = world.ask(replace(world.services["spur"], address=url), addresses(1))
    assert +tally.outcomes == Counter(unavailable=1)


def test_a_payload_comes_back_as_it_was_sent(world: World) -> None:
    body: dict[str, Any] = {
        "number": None,
        "count": 3,
        "attacks": 2,
        "x": [1.5, -1, 2**53 + 1, True, None, "ü\u2028", {"a": {}}],
    }

    def answer(path: str, headers: dict[str, str]) -> Reply:
        return 200, {}, orjson.dumps({"ip": {**body, "number": asked_about(path)}})

    (key,) = addresses(1)
    with web_service(answer) as url:
        world.ask(replace(world.services["dshield"], address=url), [key])
    assert world.rows("SELECT payload FROM service_answers") == [({"ip": {**body, "number": key}},)]
