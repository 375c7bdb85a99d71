"""`plan`, `refresh` and `status`: a plan is what happens, judged by the sandbox's own ledger.

Proved here: calls made = calls planned, service by service and within every option; planning asks nobody and notes
nothing; a refresh that is out of time, or stopped by Ctrl-C, goes on with exactly the rest; what is printed fits a
terminal. Not here: one service's plan on literal worlds (`integration/test_planning`).
"""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import conninfo, sql
from rich.console import Console
from typer.testing import CliRunner

from cowrie_assets.assets import enrichment
from cowrie_assets.assets.answers_of_day import write_enrichment
from cowrie_assets.assets.observation import telling_addresses
from cowrie_assets.assets.questions import Needs
from cowrie_assets.cli import app
from cowrie_assets.cli.launch import Runner, open_database
from cowrie_assets.cli.lookups import show_plan, show_status
from cowrie_assets.cli.refresh import Amount, Scope, keys_of_sessions, make_plans, refresh_and_tell
from cowrie_assets.cowrie.addresses import is_public
from cowrie_assets.lookup.asking import NOT_THIS_TIME, Asking, Tally
from cowrie_assets.lookup.configured import configured_services
from cowrie_assets.lookup.planning import Plan
from cowrie_assets.lookup.services import SERVICES
from cowrie_assets.lookup.status import Status, Told
from cowrie_assets.sandbox.server import Sandbox
from cowrie_assets.sandbox.traffic import write_sample_logs
from cowrie_assets.settings import ADDRESS_VARIABLES, Settings
from cowrie_assets.warehouse.coverage import coverage
from cowrie_assets.warehouse.database import open_connection
from cowrie_assets_tests.conftest import SAMPLE_LAST_DAY, Server
from cowrie_assets_tests.pipelines import CLOSED, KEYS, run_live
from cowrie_assets_tests.rows import digest

ASKED = ("cymru", "greynoise", "dshield", "urlhaus", "spur", "virustotal", "hibp")
OF_SESSIONS = ("dshield", "urlhaus", "spur", "hibp")
BATCH = 40
NONE = Amount(0)
# What planning must not touch.
NOTED = ("lookup_ledger", "open_questions", "lookup_counters", "service_limits", "network_spending", "service_answers")


def fast(**tables: str) -> str:
    """sensors.toml with rates that nobody waits for; `tables` replaces what it says of single services."""
    told = dict.fromkeys(ASKED, 'rate = "1500/s"') | tables
    told["cymru"] += f"\nbatch = {BATCH}"
    return "".join(f"[services.{name}]\n{text}\n" for name, text in told.items())


@pytest.fixture(scope="module")
def loaded(
    tmp_path_factory: pytest.TempPathFactory, embedded_server: Server, sample_geo_files: tuple[Path, Path]
) -> str:
    """A database with two days of sessions, about which nobody was asked yet."""
    logs, home = tmp_path_factory.mktemp("logs"), tmp_path_factory.mktemp("home")
    write_sample_logs(logs, SAMPLE_LAST_DAY, days=2, sessions_per_day=120)
    url = embedded_server.new_database(migrated=False)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(Runner, "conclude", lambda _: None)
        outcome = run_live(monkeypatch, home, logs, url=url, geo_files=sample_geo_files)
    assert outcome.exit_code == 0
    return url


@pytest.fixture(scope="module")
def running_sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


class Warehouse:
    """A copy of what is loaded, a state folder, and an environment that leads to the sandbox."""

    def __init__(self, url: str, home: Path, sandbox: Sandbox) -> None:
        self.url = url
        self.home = home
        self.sandbox = sandbox
        self.config = home / "sensors.toml"
        self.configure(fast())

    def configure(self, text: str) -> None:
        self.config.parent.mkdir(exist_ok=True)
        self.config.write_text(text)

    @property
    def settings(self) -> Settings:
        return Settings.from_environment()

    def plans(self, scope: Scope = Scope()) -> dict[str, Plan]:  # noqa: B008 - frozen
        return {plan.service: plan for plan in make_plans(self.settings, open_database(self.settings), scope)}

    def refresh(
        self,
        scope: Scope = Scope(),  # noqa: B008 - frozen
        seconds: float | None = 120,
        interval: int | None = None,
        *,
        dry_run: bool = False,
    ) -> str:
        """What it printed."""
        printed = Console(file=io.StringIO(), width=80)
        outcome = refresh_and_tell(self.settings, printed, scope, seconds, interval, dry_run=dry_run)
        assert outcome.failed_steps == []
        assert isinstance(printed.file, io.StringIO)
        return printed.file.getvalue()

    def command(self, *arguments: str) -> str:
        told = CliRunner().invoke(app, arguments)
        assert told.exit_code == 0, told.output
        return told.stdout

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with open_connection(self.url) as connection:
            return connection.execute(query.encode()).fetchall()

    def noted(self) -> dict[str, str]:
        with open_connection(self.url) as connection:
            return {table: digest(connection, f"SELECT * FROM {table}") for table in NOTED}

    def arrivals(self) -> dict[str, int]:
        return {service: len(self.sandbox.ledger.arrivals(service)) for service in ASKED}

    def keys(self) -> dict[str, list[str]]:
        """What was asked about, in the order of arrival."""
        return {
            service: [key for arrival in self.sandbox.ledger.arrivals(service) for key in arrival.keys]
            for service in ASKED
        }


@pytest.fixture
def warehouse(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    loaded: str,
    embedded_server: Server,
    running_sandbox: Sandbox,
    sample_geo_files: tuple[Path, Path],
) -> Warehouse:
    copy = copy_of(loaded, embedded_server)
    running_sandbox.reset()
    for name in ("COWRIE_START_DATE", "COWRIE_REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    environment = CLOSED | running_sandbox.environment() | KEYS
    environment |= {"COWRIE_HOME": str(tmp_path / "home"), "COWRIE_MODE": "live", "COWRIE_OFFLINE": ""}
    environment |= {"COWRIE_DATABASE_URL": copy, "COWRIE_CONFIG": str(tmp_path / "home" / "sensors.toml")}
    environment |= {"COWRIE_GEOIP_CITY": str(sample_geo_files[0]), "COWRIE_GEOIP_ASN": str(sample_geo_files[1])}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DAGSTER_HOME", "")
    return Warehouse(copy, tmp_path / "home", running_sandbox)


@pytest.fixture
def only_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without snapshots, queries and report afterwards: half of a refresh's time, and another test's matter."""
    monkeypatch.setattr(Runner, "conclude", lambda _: None)


def copy_of(url: str, server: Server) -> str:
    """A database with the same rows."""
    copy = server.new_database(migrated=False)
    known, target = (conninfo.conninfo_to_dict(text)["dbname"] for text in (url, copy))
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
            (known,),
        )
        connection.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(str(target))))
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(str(target)), sql.Identifier(str(known)))
        )
        connection.execute(
            sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(sql.Identifier(str(target)))
        )
    return copy


def expected_keys(warehouse: Warehouse) -> dict[str, list[str]]:
    """Whom every service is asked about, by plain words over the tables, in the order of asking where it matters."""
    with open_connection(warehouse.url) as connection:
        public = [address for address in telling_addresses(connection) if is_public(address)]
        files = connection.execute("SELECT DISTINCT lower(sha256) FROM files WHERE sha256 IS NOT NULL").fetchall()
    four = [address for address in public if ip_address(address).version == 4]
    sample: list[str] = []
    for address in four:  # 25 a week, of which one network has a fifth
        network = ip_network(f"{address}/24", strict=False)
        if sum(ip_address(known) in network for known in sample) < 5 and len(sample) < 25:
            sample.append(address)
    return {
        **dict.fromkeys(("cymru", "dshield", "spur"), public),
        "urlhaus": four,
        "greynoise": sample,
        "virustotal": [key for (key,) in files],
    }


def assert_as_planned(warehouse: Warehouse, plans: dict[str, Plan]) -> None:
    """The sandbox saw the calls of the plan, and nothing else."""
    assert warehouse.arrivals() == {service: plans[service].calls if service in plans else 0 for service in ASKED}
    for service, keys in warehouse.keys().items():
        assert sorted(keys) == sorted(plans[service].ask if service in plans else []), service
    for service, told in warehouse.sandbox.summary().items():
        assert told["over_limit"] == told["in_penalty"] == told["repeated_keys"] == 0, service


def test_a_plan_is_what_happens(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    before = warehouse.noted()
    plans = warehouse.plans()
    printed = warehouse.refresh(dry_run=True)
    assert "Nobody was asked (--dry-run)." in printed
    assert "Asked about: all addresses, all sessions, all files." in printed
    as_json = {told["service"]: told for told in json.loads(warehouse.command("plan", "--json"))}
    assert sum(warehouse.arrivals().values()) == 0
    assert warehouse.noted() == before, "planning notes nothing"

    assert list(plans) == list(ASKED)
    for service, keys in expected_keys(warehouse).items():
        assert sorted(plans[service].ask) == sorted(keys), service
    assert plans["greynoise"].calls == plans["greynoise"].keys_left == 25
    assert plans["cymru"].calls == -(-len(plans["cymru"].ask) // BATCH) > 1
    assert len(plans["hibp"].ask) > 10
    assert len(plans["virustotal"].ask) > 1
    for service, plan in plans.items():
        told = as_json[service]
        assert (told["ask"], told["calls"], told["left"]) == (len(plan.ask), plan.calls, len(plan.left))
        assert (told["keys"], told["known"]) == (plan.keys, 0)

    printed = warehouse.refresh()
    assert_as_planned(warehouse, plans)
    told = {told["service"]: told for told in json.loads(warehouse.command("status", "--json"))}
    for service, plan in plans.items():
        assert re.search(rf"^ *{service} +{plan.calls} +{plan.calls} +{len(plan.ask)} ", printed, re.MULTILINE), service
        ledger = warehouse.rows(
            "SELECT count(*)::int, sum(key_count)::int, (count(*) FILTER (WHERE outcome = 'found'))::int, "
            f"(count(*) FILTER (WHERE outcome = 'not_found'))::int FROM lookup_ledger WHERE service = '{service}'"
        )
        names = ("requests", "keys", "found", "not_found")
        assert [tuple(told[service][name] for name in names)] == ledger, service
        open_keys = warehouse.rows(
            f"SELECT count(*)::int FROM open_questions WHERE service = '{service}' AND outcome <> 'not_applicable'"
        )
        assert [(told[service]["open_keys"],)] == open_keys == [(len(plan.left),)], service
        assert told[service]["requests_today"] == told[service]["requests"]
        assert (told[service]["unavailable"], told[service]["unfinished"]) == (0, 0)
        assert told[service]["hit_share"] == 0, "a first run knows nothing"
    # What the tables say is what the plan said that they would.
    with open_connection(warehouse.url) as connection:
        shares = {row.service: row.answered_share for row in coverage(connection) if row.day is None}
    assert plans["dshield"].share_after == 1.0
    assert shares["dshield"] == 1

    again = warehouse.plans()
    assert {service: (len(plan.ask), plan.calls) for service, plan in again.items()} == dict.fromkeys(ASKED, (0, 0))
    assert {service: plan.known for service, plan in again.items()} == {s: len(plan.ask) for s, plan in plans.items()}
    warehouse.sandbox.ledger.clear()
    monkeypatch.setattr(Runner, "conclude", lambda _: None)
    warehouse.refresh()
    assert sum(warehouse.arrivals().values()) == 0
    told = {told["service"]: told for told in json.loads(warehouse.command("status", "--json"))}
    for service in ("dshield", "spur", "urlhaus", "virustotal", "hibp"):
        assert told[service]["hit_share"] == 0.3333, "of three runs, offline and twice with keys, the last one knew all"


@pytest.mark.usefixtures("only_asking")
def test_so_many_sessions_and_files(warehouse: Warehouse) -> None:
    scope = Scope(sessions=Amount(30), files=Amount(3), ips=NONE)
    assert scope.words == "no addresses, 30 sessions, 3 files"
    plans = warehouse.plans(scope)
    assert set(plans) == {"dshield", "urlhaus", "spur", "virustotal", "hibp"}
    assert len(plans["virustotal"].ask) == 3
    with open_connection(warehouse.url) as connection:
        order = [address for address in telling_addresses(connection) if is_public(address)]
        sessions: dict[str, int] = dict(
            connection.execute("SELECT host(source_ip), count(*) FROM sessions GROUP BY 1").fetchall()
        )
    asked = plans["dshield"].ask
    assert asked == order[: len(asked)]
    assert sum(sessions[address] for address in asked[:-1]) < 30 <= sum(sessions[address] for address in asked)
    warehouse.refresh(scope)
    assert_as_planned(warehouse, plans)
    with open_connection(warehouse.url) as connection:
        (row,) = [row for row in coverage(connection) if row.service == "dshield" and row.day is None]
    assert plans["dshield"].share_after == pytest.approx(row.answered_sessions / row.eligible_sessions)
    assert row.answered_sessions == sum(sessions[address] for address in asked)
    # The same once more goes on where it was.
    rest = warehouse.plans(scope)
    assert rest["dshield"].ask == order[len(asked) : len(asked) + len(rest["dshield"].ask)] != []
    assert rest["dshield"].share_known == plans["dshield"].share_after


@pytest.mark.usefixtures("only_asking")
def test_so_many_addresses(warehouse: Warehouse) -> None:
    scope = Scope(sessions=NONE, files=NONE, ips=Amount(12))
    plans = warehouse.plans(scope)
    assert {service: (len(plan.ask), plan.calls) for service, plan in plans.items()} == {
        "cymru": (12, 1),
        "greynoise": (12, 12),
    }
    printed = warehouse.refresh(scope)
    assert "Asked about: 12 addresses, no sessions, no files." in printed
    assert_as_planned(warehouse, plans)


@pytest.mark.usefixtures("only_asking")
def test_a_window_of_days(warehouse: Warehouse) -> None:
    scope = Scope(ips=NONE, since=SAMPLE_LAST_DAY.isoformat(), until=(SAMPLE_LAST_DAY + timedelta(days=1)).isoformat())
    plans = warehouse.plans(scope)
    of_day = warehouse.rows(f"SELECT DISTINCT host(source_ip) FROM sessions WHERE day = '{SAMPLE_LAST_DAY}'")
    public = sorted(address for (address,) in of_day if address and is_public(address))
    assert sorted(plans["dshield"].ask) == sorted(plans["spur"].ask) == public
    assert len(public) < len(warehouse.plans(Scope(ips=NONE, files=NONE))["dshield"].ask)
    warehouse.refresh(scope)
    assert_as_planned(warehouse, plans)


def test_nothing_is_asked_about_without_amounts_or_days(warehouse: Warehouse) -> None:
    assert warehouse.plans(Scope(NONE, NONE, NONE)) == {}
    empty = warehouse.plans(Scope(since="2030-01-01"))
    assert {service: plan.keys for service, plan in empty.items() if service not in ("cymru", "greynoise")} == (
        dict.fromkeys((*OF_SESSIONS, "virustotal"), 0)
    )
    assert {empty[service].share_after for service in OF_SESSIONS} == {None}


@pytest.mark.parametrize(
    ("text", "most", "words"),
    [
        ("all", None, "all files"),
        ("0", None, "all files"),
        ("none", 0, "no files"),
        ("1", 1, "1 files"),
        ("25000", 25_000, "25,000 files"),
    ],
)
def test_amounts(text: str, most: int | None, words: str) -> None:
    """`--ips 0` meant "all" and "disabled" in one help line once."""
    assert Amount.parse(text) == Amount(most)
    assert Amount.parse(text).of("files") == words


@pytest.mark.parametrize("text", ["-1", "some", "", "1.5", "1e3", "²", "٣", "ALL", " 3"])
@pytest.mark.parametrize("option", ["--ips", "--sessions", "--files"])
def test_what_is_no_amount_is_refused_with_the_cure(option: str, text: str) -> None:
    for command in ("plan", "refresh"):
        told = CliRunner().invoke(app, [command, f"{option}={text}"], env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"})
        assert told.exit_code == 2
        assert f"{option} is {text!r}: write a number, all (or 0), or none" in told.output


def test_sessions_are_counted_key_by_key() -> None:
    sessions = {"a": 5, "b": 1, "c": 3}
    keys = ["a", "b", "c"]
    assert [keys_of_sessions(keys, sessions, number) for number in (1, 5, 6, 7, 9, 10)] == [1, 1, 2, 3, 3, 3]
    assert keys_of_sessions([], sessions, 3) == 0
    assert keys_of_sessions(["unknown", "a"], sessions, 1) == 2


@pytest.mark.usefixtures("only_asking")
def test_it_stops_in_time_and_the_next_one_goes_on(warehouse: Warehouse) -> None:
    slow = dict.fromkeys(OF_SESSIONS, 'rate = "6/s"')
    warehouse.configure(fast(**slow))
    scope = Scope(files=NONE, ips=NONE)
    planned = warehouse.plans(scope)
    assert all(plan.seconds > 5 for plan in planned.values())
    begun = time.time()
    printed = warehouse.refresh(scope, seconds=6)
    last = max(arrival.wall for arrival in warehouse.sandbox.ledger.arrivals())
    assert last - begun < 6 + 2
    first = warehouse.arrivals()
    assert 0 < sum(first.values()) < sum(plan.calls for plan in planned.values()) / 2
    assert "the run's time was used up" in " ".join(printed.split())
    kept = warehouse.rows("SELECT count(*)::int FROM service_answers")
    assert kept == [(sum(first.values()),)]
    warehouse.configure(fast())
    warehouse.refresh(scope)
    for service, keys in warehouse.keys().items():
        wanted = planned[service].ask if service in planned else []
        assert sorted(keys) == sorted(wanted), f"{service}: each key once over both"


@pytest.mark.usefixtures("only_asking")
def test_cymru_keeps_to_the_time_as_well(warehouse: Warehouse) -> None:
    warehouse.configure(fast(cymru='rate = "1/2s"'))
    scope = Scope(NONE, NONE)
    assert warehouse.plans(scope)["cymru"].calls >= 5
    begun = time.time()
    warehouse.refresh(scope, seconds=2)
    last = max((arrival.wall for arrival in warehouse.sandbox.ledger.arrivals("cymru")), default=begun)
    assert last - begun < 2 + 3
    assert "the run's time was used up" in {reason for (reason,) in warehouse.rows(CYMRUS_REASONS)}


CYMRUS_REASONS = "SELECT DISTINCT reason FROM open_questions WHERE service = 'cymru'"


@pytest.mark.usefixtures("only_asking")
def test_ctrl_c_in_the_middle_and_the_next_one_goes_on(warehouse: Warehouse) -> None:
    """It asks DShield in the middle when it is stopped."""
    warehouse.configure(fast(dshield='rate = "15/s"'))
    scope = Scope(files=NONE, ips=NONE)
    planned = warehouse.plans(scope)
    process = subprocess.Popen(
        [sys.executable, "-m", "cowrie_assets", "refresh", "--files", "none", "--ips", "none"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )
    try:
        wait_until(lambda: warehouse.arrivals()["dshield"] >= 8 or process.poll() is not None, 90)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, errors
    assert "stopped; run it again to go on where it was" in errors
    assert "Traceback" not in errors
    assert 8 <= warehouse.arrivals()["dshield"] < planned["dshield"].calls / 2
    warehouse.configure(fast())
    warehouse.refresh(scope)
    for service, keys in warehouse.keys().items():
        assert set(keys) == set(planned[service].ask if service in planned else []), service
        in_flight = SERVICES["dshield"].workers if service == "dshield" else 0
        assert len(keys) - len(set(keys)) <= in_flight, service


def wait_until(true: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to that in time"
        time.sleep(0.05)


@pytest.mark.usefixtures("only_asking")
def test_rows_grow_while_it_asks(warehouse: Warehouse) -> None:
    others = dict.fromkeys(("urlhaus", "spur", "hibp"), "enabled = false")
    warehouse.configure(fast(dshield='rate = "60/s"', **others))
    scope = Scope(files=NONE, ips=NONE, since=SAMPLE_LAST_DAY.isoformat())
    (plan,) = (plan for plan in warehouse.plans(scope).values() if plan.ask)
    seen: list[int] = []
    ended = threading.Event()

    def look() -> None:
        with open_connection(warehouse.url) as connection:
            while not ended.wait(0.02):
                row = connection.execute(
                    "SELECT count(DISTINCT address)::int FROM dshield_enrichment WHERE answered_at IS NOT NULL"
                ).fetchone()
                seen.extend(row or ())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        warehouse.refresh(scope, interval=25)
    finally:
        ended.set()
        thread.join()
    steps = sorted(set(seen))
    assert seen == sorted(seen), "nothing that was there goes away"
    assert len(steps) >= 3
    assert steps[-1] == len(plan.ask) > 75
    assert set(steps) <= {*range(0, len(plan.ask), 25), len(plan.ask)}, "a day's rows come at once"
    assert_as_planned(warehouse, {plan.service: plan})
    with open_connection(warehouse.url) as connection:
        (row,) = [row for row in coverage(connection, scope.since) if row.service == "dshield" and row.day is None]
        assert row.answered_share == 1
        grown = digest(connection, "SELECT * FROM dshield_enrichment")
        write_enrichment(connection, "dshield", SAMPLE_LAST_DAY)  # once more, and in one go
        assert digest(connection, "SELECT * FROM dshield_enrichment") == grown


# --- parts of a refresh, without services --------------------------------------------------------------------------


class Parts:
    """Stands in for `ask`: a part is answered as long as there is time."""

    def __init__(self, keys: int) -> None:
        self.left = keys
        self.calls: list[Asking] = []

    def __call__(self, asking: Asking, *_: object) -> Tally:
        self.calls.append(asking)
        chosen = self.left if asking.most is None else min(asking.most, self.left)
        told = Tally(asked=100, chosen=chosen)
        told.reasons[NOT_THIS_TIME] = self.left - chosen
        if asking.seconds > 0:
            told.requests = told.outcomes["found"] = chosen
            self.left -= chosen
        return told


def in_parts(monkeypatch: pytest.MonkeyPatch, parts: Parts, seconds: float, most: int | None, interval: int) -> int:
    """How often the rows were written."""
    monkeypatch.setattr(enrichment, "ask", parts)
    written = 0

    def write() -> None:
        nonlocal written
        written += 1
        assert written < 50, "it goes on for ever"

    asking = Asking(connect=nullcontext, gate=None, seconds=seconds, most=most)  # type: ignore[arg-type]
    enrichment._ask_in_parts(asking, SERVICES["dshield"], Needs({}, {}), interval, write)
    return written


def test_parts_ask_about_all_and_no_more_than_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Parts(95)
    assert in_parts(monkeypatch, parts, 60, None, 10) == 9
    assert parts.left == 0
    parts = Parts(95)
    assert in_parts(monkeypatch, parts, 60, 25, 10) == 2
    assert parts.left == 70
    assert [asking.most for asking in parts.calls] == [10, 10, 5]


def test_parts_end_when_the_time_is_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Parts(95)
    assert in_parts(monkeypatch, parts, 0.0, None, 10) <= 1


def test_parts_end_with_a_limit_when_the_time_is_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part that asks nobody would write all days anew."""
    parts = Parts(95)
    assert in_parts(monkeypatch, parts, 0.0, 95, 10) <= 1


# --- what is printed -----------------------------------------------------------------------------------------------


def printed_at_80(show: Callable[[Console], None]) -> str:
    console = Console(file=io.StringIO(), width=80)
    show(console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def table_lines(text: str, services: Sequence[str]) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.split() and line.split()[0] in services]


def test_plans_fit_a_terminal() -> None:
    """The world of the old system, and services in every state."""
    plans = [
        Plan(
            service=service,
            keys=138_864,
            known=131_072,
            ask=["k"] * 107_792,
            left={"k": "no more than 25 were left of 25/week"},
            calls=107_792,
            seconds=864_000.0,
            keys_left=1_048_576,
            not_configured=None,
            share_known=0.9876,
            share_after=1.0,
            gain_of_next=0.1234,
        )
        for service in ASKED
    ]
    plans[-1] = replace(plans[-1], not_configured="no key: set VT_API_KEY", ask=[])
    text = printed_at_80(lambda console: show_plan(console, plans, "all addresses, all sessions, all files"))
    assert "…" not in text
    lines = table_lines(text, ASKED)
    assert Counter(line[0] for line in lines) == dict.fromkeys(ASKED, 2)
    for line in (line for line in lines if line[0] in ASKED[:-1]):
        assert {"138,864", "131,072", "107,792", "10", "days", "1,048,576"} < set(line) or line[1:] == [
            "98.8%", "100.0%", "+12.3%",
        ]  # fmt: skip
    # Only sentences are longer than the terminal is wide.
    assert all(len(row) <= 80 or row.startswith("  ") for row in text.splitlines())


A_MONTH = {
    "requests": 38_864, "requests_today": 3_104, "keys": 38_864, "found": 27_109, "not_found": 11_411,
    "unavailable": 300, "unfinished": 44, "hits_hot": 234_567, "hits_database": 138_864, "hits_files": 38_864,
    "hits_another_process": 1_024, "open_keys": 10_753,
}  # fmt: skip
A_YEAR = A_MONTH | {
    "requests": 1_382_827, "requests_today": 138_864, "keys": 1_382_827, "found": 1_131_072, "not_found": 251_755,
    "unavailable": 100_000, "hits_hot": 12_345_678, "hits_database": 2_345_678, "hits_files": 345_678,
}  # fmt: skip


@pytest.mark.parametrize(
    "told",
    [
        pytest.param(A_MONTH, id="a month"),
        pytest.param(A_YEAR, id="a year"),
    ],
)
def test_statuses_fit_a_terminal(told: dict[str, int]) -> None:
    names = tuple(SERVICES)
    share = Decimal("0.9876")
    statuses = [
        Status(Told(name, **told, hit_share=share), ("15500/month",), 15_500, None)  # type: ignore[arg-type]
        for name in names
    ]
    text = printed_at_80(lambda console: show_status(console, statuses))
    assert "…" not in text
    lines = table_lines(text, names)
    assert Counter(line[0] for line in lines) == dict.fromkeys(names, 2)
    counted = ("requests", "requests_today", "keys", "found", "not_found")
    numbers = [*(f"{told[name]:,}" for name in counted), f"{told['unavailable'] + told['unfinished']:,}", "15,500"]
    tiers = ("hits_hot", "hits_database", "hits_files", "hits_another_process", "open_keys")
    hits = ["98.8%", *(f"{told[name]:,}" for name in tiers)]
    for line in lines:
        assert line[1:] in (numbers, hits), line
    # Only sentences are longer than the terminal is wide.
    assert all(len(row) <= 80 or row.startswith("  ") for row in text.splitlines())


def test_every_service_has_its_address_in_these_tests() -> None:
    assert set(CLOSED) == set(ADDRESS_VARIABLES.values())
    assert configured_services(Settings(home=Path("/nowhere"), addresses={"cymru": CLOSED["COWRIE_CYMRU_ADDRESS"]}))
