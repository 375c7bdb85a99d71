"""The main job with services: what a user sees, judged by the sandbox's own ledger.

Proved here: the demo covers everything and asks once; the old system's SQL tells the truth; without keys, without
network and without services everything else completes; what was left open is filled, exactly. Not here: single
services and faults (`integration`), the numbers of the queries (`integration`).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from ipaddress import ip_address
from pathlib import Path

import pytest

from cowrie_assets.assets.infrastructure import QUERIES
from cowrie_assets.cli.launch import Outcome
from cowrie_assets.cowrie.addresses import is_public
from cowrie_assets.sandbox.server import Sandbox
from cowrie_assets.sandbox.traffic import SampleTruth, write_sample_logs
from cowrie_assets.warehouse.database import Database
from cowrie_assets_tests.conftest import SAMPLE_LAST_DAY, Server
from cowrie_assets_tests.integration.test_coverage import DSHIELD_PCT, MISSING
from cowrie_assets_tests.loglines import event, stamp, write_log
from cowrie_assets_tests.pipelines import CLOSED, run_live

ADDRESS_SERVICES = ("dshield", "urlhaus", "spur")
ABOUT_ADDRESSES = (*ADDRESS_SERVICES, "greynoise", "cymru")
# A fifth of the usual sample: its ten thousand questions take more than a minute.
DEMO = ("demo", "--sessions", "300")
RAISED = "".join(f'[services.{name}]\nrate = "1500/s"\n' for name in (*ABOUT_ADDRESSES, "virustotal", "hibp"))

# Like `MISSING` and `DSHIELD_PCT` a block of the documents that describe the old system, as it stands there.
RECENT_CYMRU_NAMES = """
SELECT
    ip_address,
    current_asn,
    enrichment_updated_at,
    enrichment->'cymru'->>'as_name' as asn_name
FROM ip_inventory
WHERE enrichment_updated_at >= NOW() - INTERVAL '1 hour'
ORDER BY enrichment_updated_at DESC
LIMIT 10;
"""


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture
def raised(tmp_path: Path) -> Path:
    """Limits of the client as high as the sandbox's."""
    path = tmp_path / "sensors.toml"
    path.write_text(RAISED)
    return path


@pytest.fixture
def url(embedded_server: Server) -> str:
    return embedded_server.new_database(migrated=False)


def rows(outcome: Outcome, query: str) -> list[tuple[object, ...]]:
    with outcome.database.hold(), outcome.database.connect() as connection:
        return connection.execute(query.encode()).fetchall()


def arrivals(sandbox: Sandbox) -> dict[str, int]:
    return {service: told["arrivals"] for service, told in sandbox.summary().items()}


def keys(sandbox: Sandbox, service: str) -> list[str]:
    return [key for arrival in sandbox.ledger.arrivals(service) for key in arrival.keys]


class Demo:
    """`cowrie-assets demo` and what can be asked of its state afterwards."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._environment = {
            name: text for name, text in os.environ.items() if not name.startswith(("COWRIE_", "DAGSTER_"))
        } | {"COWRIE_HOME": str(home), "COLUMNS": "200"}

    def __call__(self, *arguments: str) -> str:
        told = subprocess.run(
            [sys.executable, "-m", "cowrie_assets", *arguments],
            env=self._environment,
            capture_output=True,
            check=False,
            text=True,
            timeout=240,
        )
        assert told.returncode == 0, told.stdout + told.stderr
        return told.stdout

    def sql(self, query: str) -> list[tuple[object, ...]]:
        with Database(self.home / "sandbox", "sandbox").connect() as connection:
            return connection.execute(query.encode()).fetchall()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Demo, str]]:
    running = Demo(tmp_path_factory.mktemp("demo"))
    printed = running(*DEMO)
    with Database(running.home / "sandbox", "sandbox").hold():
        yield running, printed


def ledger_of(printed: str) -> dict[str, list[int]]:
    """Requests, keys, asked twice and over limit, as the demo prints them."""
    table = printed.split("by their own ledger")[1].split("SANDBOX", maxsplit=1)[0].splitlines()
    told = (line.split() for line in table if line.split() and line.split()[-1].replace(",", "").isdigit())
    return {service: [int(number.replace(",", "")) for number in numbers] for service, *numbers in told}


def test_the_demo_covers_every_service_and_asks_once(demo: tuple[Demo, str]) -> None:
    command, printed = demo
    for service, (requests, distinct, twice, over_limit) in ledger_of(printed).items():
        assert twice == over_limit == 0, service
        if service in (*ADDRESS_SERVICES, "greynoise"):
            assert requests == distinct > 50, service
    public = command.sql("SELECT count(*)::int FROM ip_inventory WHERE is_public")[0][0]
    assert {ledger_of(printed)[service][1] for service in ("dshield", "spur", "cymru")} == {public}

    told = json.loads(command("coverage", "--sandbox", "--json", "--require-coverage"))
    overall = {row["service"]: row for row in told if row["day"] is None}
    for service in (*ADDRESS_SERVICES, "cymru"):
        assert overall[service]["answered_share"] >= 0.8, service
        assert overall[service]["gate"] == "passed"
    assert overall["greynoise"]["gate"] == "sample"
    for query in QUERIES:
        assert len(command.sql(f"SELECT * FROM {query.name}")) >= 4, query.name
        assert command.sql(f"SELECT gate FROM query_results WHERE query = '{query.name}'") == [("passed",)]


def test_a_second_demo_asks_nobody(demo: tuple[Demo, str]) -> None:
    command, _ = demo
    everything = "SELECT md5(string_agg(s::text, '' ORDER BY s::text)) FROM session_summaries AS s"
    before = command.sql(everything)
    again = command(*DEMO)
    assert {service: told[0] for service, told in ledger_of(again).items()} == dict.fromkeys(ledger_of(again), 0)
    assert command.sql(everything) == before


def test_the_old_systems_sql_runs_unchanged_and_tells_the_truth(demo: tuple[Demo, str]) -> None:
    command, _ = demo
    sessions = command.sql(
        """
        SELECT host(s.source_ip), d.country, d.answered_at IS NOT NULL, x.answered_at IS NOT NULL
        FROM sessions AS s
        LEFT JOIN dshield_enrichment AS d ON d.day = s.day AND d.address = s.source_ip
        LEFT JOIN spur_enrichment AS x ON x.day = s.day AND x.address = s.source_ip
        WHERE s.first_event_at >= '2024-11-01'
        """
    )
    missing = sum(not dshield or not spur for *_, dshield, spur in sessions)
    assert command.sql(MISSING) == [(missing,)]
    # What is missing is what nobody may be asked about.
    assert missing == sum(address is None or not is_public(str(address)) for address, *_ in sessions)
    with_country = sum(country is not None for _, country, *_ in sessions)
    share = Decimal(100 * with_country) / len(sessions)
    assert command.sql(DSHIELD_PCT) == [(len(sessions), with_country, round(share, 2))]
    assert share > 80
    recent = command.sql(RECENT_CYMRU_NAMES)
    assert len(recent) == 10
    for address, _, _, name in recent:
        newest = f"SELECT fields ->> 'as_name' FROM enrichment_cache WHERE service='cymru' AND cache_key='{address}'"
        assert command.sql(newest) == [(name,)]


def test_every_output_of_the_demo_says_sandbox(demo: tuple[Demo, str]) -> None:
    command, printed = demo
    assert printed.count("SANDBOX") >= 3
    reports = command.home / "sandbox" / "reports"
    assert [path.name for path in reports.glob("*.csv") if not path.name.startswith("sandbox_")] == []
    assert "SANDBOX" in (reports / "infrastructure_report.html").read_text()


def test_real_logs_with_services_that_go_and_return(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str, sandbox: Sandbox, raised: Path, shared_data: Path
) -> None:
    logs = shared_data / "cowrie" / "francescacraievich+real-time-cyber-anomaly-detection"
    geo_files = (shared_data / "mmdb" / "city.mmdb", shared_data / "mmdb" / "asn.mmdb")
    more = tmp_path / "more"

    def run(folder: Path, services: dict[str, str]) -> Outcome:
        return run_live(
            monkeypatch, tmp_path / "home", folder, url=url, geo_files=geo_files, services=services, config=raised
        )

    outcome = run(logs, sandbox.environment())
    assert outcome.exit_code == 0, outcome.failed_steps
    for query in ("geographic_distribution", "asn_infrastructure", "anonymization", "reputation_distribution"):
        assert rows(outcome, f"SELECT * FROM {query} LIMIT 1"), query
    for service, told in sandbox.summary().items():
        assert told["over_limit"] == told["in_penalty"] == told["repeated_keys"] == 0, service
        if service in ABOUT_ADDRESSES:
            assert all(is_public(key) for key in keys(sandbox, service)), service
    # Of a file its hash, of a password the first digits of its hash: neither leaves itself.
    assert all(re.fullmatch("[0-9a-f]{64}", key) for key in keys(sandbox, "virustotal"))
    assert all(re.fullmatch("[0-9A-F]{5}", key) for key in keys(sandbox, "hibp"))
    public = {str(row[0]) for row in rows(outcome, "SELECT host(ip_address) FROM ip_inventory WHERE is_public")}
    assert set(keys(sandbox, "dshield")) == set(keys(sandbox, "cymru")) == public
    assert set(keys(sandbox, "urlhaus")) == {address for address in public if ip_address(address).version == 4}

    # New sessions while no service answers: everything but their answers is there, and says why.
    new = [f"9.9.9.{number}" for number in range(1, 8)]
    write_log(more / "cowrie.json", [event(f"new{i}", i, src_ip=address) for i, address in enumerate(new)])

    # Half a minute for all of them: nobody waits for a circuit that is open.
    raised.write_text(f'{RAISED}[enrichment]\nmax_time = "30s"\n')
    outcome = run(more, CLOSED)
    raised.write_text(RAISED)
    assert outcome.exit_code == 0, outcome.failed_steps
    seen = rows(
        outcome, "SELECT outcome, count(*)::int FROM dshield_enrichment WHERE address << '9.9.9.0/24' GROUP BY 1"
    )
    assert seen == [("unavailable", len(new))]
    assert rows(outcome, "SELECT count(*)::int FROM session_snapshots WHERE is_current AND session_id LIKE 'new%'") == [
        (len(new),)
    ]

    # As if the circuits had been given their time.
    rows(outcome, "UPDATE service_limits SET open_until = NULL, open_seconds = NULL, failures = 0 RETURNING 1")
    before = arrivals(sandbox)
    outcome = run(more, sandbox.environment())
    assert outcome.exit_code == 0
    asked = {service: set(keys(sandbox, service)[before[service] :]) for service in ADDRESS_SERVICES}
    assert asked == {service: set(new) for service in ADDRESS_SERVICES}
    seen = rows(
        outcome,
        "SELECT DISTINCT outcome IN ('found', 'not_found') FROM dshield_enrichment WHERE address << '9.9.9.0/24'",
    )
    assert seen == [(True,)]


def test_without_keys_only_those_that_need_none_are_asked(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    url: str,
    sandbox: Sandbox,
    raised: Path,
    sample_geo_files: tuple[Path, Path],
) -> None:
    write_sample_logs(tmp_path / "logs", SAMPLE_LAST_DAY, sessions_per_day=150)
    outcome = run_live(
        monkeypatch,
        tmp_path / "home",
        tmp_path / "logs",
        url=url,
        geo_files=sample_geo_files,
        services=sandbox.environment(),
        keys={},
        config=raised,
    )
    assert outcome.exit_code == 0, outcome.failed_steps
    assert {service for service, number in arrivals(sandbox).items() if number} == {"cymru", "feeds", "hibp"}
    for service in ADDRESS_SERVICES:
        seen = rows(outcome, f"SELECT DISTINCT outcome FROM {service}_enrichment ORDER BY 1")
        assert seen == [("not_applicable",), ("not_configured",)]
    assert rows(outcome, "SELECT DISTINCT outcome FROM virustotal_files") == [("not_configured",)]
    failed = {check for (_, check, _), found in outcome.checks.items() if not found.passed}
    assert failed == {"is_current", "up_to_date"}, "nothing fails for want of a key; the sample is old"
    for query in ("geographic_distribution", "asn_infrastructure", "anonymization"):
        assert rows(outcome, f"SELECT * FROM {query} LIMIT 1"), query
    assert rows(outcome, "SELECT DISTINCT vpn_sessions, tor_sessions > 0 FROM anonymization") == [(None, True)]
    # The key comes later: the next run asks what is open, and nothing else.
    later = run_live(
        monkeypatch,
        tmp_path / "home",
        tmp_path / "logs",
        url=url,
        geo_files=sample_geo_files,
        services=sandbox.environment(),
        keys={"SPUR_API_KEY": "spur-key"},
        config=raised,
    )
    assert later.exit_code == 0
    public = rows(outcome, "SELECT count(*)::int FROM ip_inventory WHERE is_public")
    assert [(arrivals(sandbox)["spur"],)] == public


def test_offline_asks_nobody(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str, sandbox: Sandbox, sample: tuple[Path, SampleTruth]
) -> None:
    outcome = run_live(
        monkeypatch,
        tmp_path,
        sample[0],
        url=url,
        services={**sandbox.environment(), "COWRIE_OFFLINE": "1"},
    )
    assert outcome.exit_code == 0
    assert set(arrivals(sandbox).values()) == {0}
    assert rows(outcome, "SELECT count(*)::int FROM lookup_ledger") == [(0,)]
    seen = rows(outcome, "SELECT DISTINCT reason FROM open_questions WHERE outcome = 'not_configured'")
    assert seen == [("offline: COWRIE_OFFLINE is set",)]


def test_an_old_day_keeps_what_was_learnt_then(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str, sandbox: Sandbox, raised: Path
) -> None:
    """Late lines make an old day due: it is written anew from its own answers, and only the new address is asked."""
    logs = tmp_path / "logs"
    write_log(logs / "cowrie.json", [event("s1", src_ip="9.9.9.1")])
    first = run_live(monkeypatch, tmp_path / "home", logs, url=url, services=sandbox.environment(), config=raised)
    before = rows(first, "SELECT * FROM dshield_enrichment")
    write_log(logs / "late.json", [event("s2", 60, src_ip="9.9.9.2") | {"timestamp": stamp(60)}])
    second = run_live(monkeypatch, tmp_path / "home", logs, url=url, services=sandbox.environment(), config=raised)
    assert keys(sandbox, "dshield") == ["9.9.9.1", "9.9.9.2"]
    assert rows(second, "SELECT * FROM dshield_enrichment WHERE host(address) = '9.9.9.1'") == before
