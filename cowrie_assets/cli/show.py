"""What the command line prints: an outcome, a session, findings. All text of attackers is made visible first.

Lives here: wording and layout. Not here: how results came to be (`launch`, `doctor`).
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import dagster as dg
import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cowrie_assets.assets.infrastructure import QUERIES, read_result
from cowrie_assets.checks.thresholds import Thresholds
from cowrie_assets.cli.doctor import Finding
from cowrie_assets.cli.launch import Outcome
from cowrie_assets.cli.services import show_coverage
from cowrie_assets.report.escaping import visible
from cowrie_assets.report.tables import QueryResult, Value, shown
from cowrie_assets.warehouse.coverage import coverage
from cowrie_assets.warehouse.event_chunks import Connection, frozen_since, session_days, session_events

# What fits into 80 columns; the report and the CSV have all of them.
_TERMINAL_COLUMNS = {
    "country": "country",
    "asn": "ASN",
    "as_name": "name",
    "primary_country": "country",
    "session_count": "sessions",
    "unique_asns": "ASNs",
    "days_active": "days",
    "total_file_downloads": "downloads",
    "infrastructure_type": "type",
    "country_percentage": "%",
    "asn_percentage": "%",
    "attack_date": "day",
    "vpn_ratio": "VPN",
    "proxy_ratio": "proxy",
    "tor_ratio": "Tor",
    "anonymization_ratio": "any",
    "datacenter_ratio": "datacenter",
    "reputation_bucket": "attacks",
    "avg_commands": "commands",
    "percentage": "%",
    "max_attack_count": "most attacks",
}
_SHOWN_ROWS = 6
_STATE_COLOUR = {"good": "green", "warning": "yellow", "broken": "bold red"}


def show_outcome(console: Console, outcome: Outcome) -> None:
    """What was loaded, what is known now, whether it can be trusted, and where to look further."""
    database, settings = outcome.database, outcome.settings
    if settings.mode == "sandbox":
        console.rule("SANDBOX")
    with database.hold(), database.connect() as connection:
        _show_counts(console, connection, outcome)
        for query in QUERIES:
            _show_result(console, read_result(connection, query))
        console.print()
        console.print(Text("Coverage by service", style="bold"))
        show_coverage(console, coverage(connection, gates=Thresholds.of(settings).coverage))
    _show_checks(console, outcome)
    for step in outcome.failed_steps:
        console.print(f"FAILED {step}", style="bold red", markup=False, soft_wrap=True)
    for line in str(outcome.ingested.get("notes", "none")).splitlines():
        if line != "none":
            console.print(Text(f"Note {visible(line)}", style="yellow"), soft_wrap=True)
    if outcome.told is not None and (outcome.told.notes or outcome.told.waiting):
        console.print(Text(f"Alerts: {outcome.told.words}", style="yellow"), soft_wrap=True)
    files = {"city": settings.geoip_city, "asn": settings.geoip_asn}
    if not all(own or (settings.state.geoip / f"{kind}.mmdb").exists() for kind, own in files.items()):
        console.print(
            "A geo file is missing: country is NULL with that reason, and the AS only as Team Cymru says. The check "
            "geo_databases.is_current says why none was fetched; or set COWRIE_GEOIP_CITY and COWRIE_GEOIP_ASN to "
            "files of your own, and run again.",
            style="yellow",
        )
    console.print(f"Report: {settings.state.reports / 'infrastructure_report.html'}", markup=False, soft_wrap=True)
    sandbox = settings.mode == "sandbox"
    console.print("Dagster UI: " + ("make up SANDBOX=1" if sandbox else "make up"), markup=False)
    if sandbox:
        console.rule("SANDBOX: nothing above says anything about a real address")


def show_findings(console: Console, findings: list[Finding]) -> None:
    table = Table("what", "state", "found", "cure", box=None, header_style="bold")
    for finding in findings:
        state = Text(finding.state, style=_STATE_COLOUR[finding.state])
        table.add_row(finding.what, state, Text(visible(finding.found)), Text(visible(finding.cure)))
    console.print(table)


def show_session(console: Console, connection: Connection, session_id: str) -> int:
    """Print every stored event of a session id, by sensor and time, and the days whose lines were pruned; the number of
    both."""
    count = 0
    for sensor, day in session_days(connection, session_id):
        console.print(Text(f"{visible(sensor)} {day}", style="bold"))
        pruned_at = frozen_since(connection, day)
        if pruned_at is not None:
            words = f"  The lines of this day were pruned on {pruned_at:%Y-%m-%d} ([retention] of sensors.toml)."
            console.print(words, markup=False)
            count += 1
        for instant, _, value in session_events(connection, sensor, day, session_id):
            rest = {k: v for k, v in value.items() if k not in ("eventid", "timestamp", "session", "sensor")}
            line = f"{instant}  {value['eventid']}  {_as_json(rest)}"
            console.print(Text(visible(line)), soft_wrap=True)
            count += 1
    return count


def _as_json(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # lone surrogates, from invalid UTF-8
        return repr(value)


def _show_counts(console: Console, connection: Connection, outcome: Outcome) -> None:
    files: Any = connection.execute(
        """
        SELECT count(*), sum(total_bytes), sum(records), sum(events), sum(duplicates), sum(dead_letters),
            sum(pending_bytes)
        FROM log_files
        """
    ).fetchone()
    names = ("files", "bytes", "records", "events", "duplicates", "dead letters", "pending bytes")
    values = [int(value or 0) for value in files]
    sessions: Any = connection.execute(
        """
        SELECT count(*), count(DISTINCT source_ip), count(DISTINCT sensor), min(day), max(day), count(DISTINCT day)
        FROM sessions
        """
    ).fetchone()
    console.print("Loaded:   " + ", ".join(f"{value:,} {name}" for name, value in zip(names, values, strict=True)))
    new = outcome.ingested
    console.print(
        f"This run: {new.get('files read', 0)} files read ({new.get('files unchanged', 0)} unchanged, "
        f"{new.get('files skipped', 0)} skipped), {new.get('new events', 0):,} new events, "
        f"{outcome.days} days rebuilt, {new.get('events out of range', 0)} events out of range"
    )
    console.print(
        f"Sessions: {sessions[0]:,} of {sessions[1]:,} addresses on {sessions[2]} sensors, {sessions[5]} days "
        f"({sessions[3]} to {sessions[4]})"
    )


def _show_result(console: Console, result: QueryResult) -> None:
    columns = [column for column in (result.rows[0] if result.rows else {}) if column in _TERMINAL_COLUMNS]
    title = Text(f"Query {result.number}: {result.title}", style="bold")
    console.print()
    console.print(title)
    console.print(result.basis, style="dim", markup=False)
    if not result.rows:
        console.print("no row")
        return
    table = Table(*(_TERMINAL_COLUMNS[column] for column in columns), box=None, header_style="bold", pad_edge=False)
    for row in result.rows[:_SHOWN_ROWS]:
        table.add_row(*(_terminal_cell(column, row[column]) for column in columns))
    console.print(table)
    if len(result.rows) > _SHOWN_ROWS:
        console.print(f"… and {len(result.rows) - _SHOWN_ROWS} more rows", style="dim")


def _terminal_cell(column: str, value: Value) -> Text:
    return Text(visible(shown(value, column)))


def _show_checks(console: Console, outcome: Outcome) -> None:
    by_check: dict[tuple[str, str], list[dg.AssetCheckEvaluation]] = defaultdict(list)
    for (asset, check, _), evaluation in outcome.checks.items():
        by_check[asset, check].append(evaluation)
    console.print()
    console.print(Text("Checks", style="bold"))
    for (asset, check), evaluations in sorted(by_check.items()):
        failed = [evaluation for evaluation in evaluations if not evaluation.passed]
        days = f" ({len(evaluations)} days)" if evaluations[0].partition else ""
        if not failed:
            console.print(Text(f"  passed   {asset}.{check}{days}", style="green"))
            continue
        warns = all(evaluation.severity == dg.AssetCheckSeverity.WARN for evaluation in failed)
        style, word = ("yellow", "warning ") if warns else ("bold red", "FAILED  ")
        where = f" ({len(failed)} of {len(evaluations)} days)" if evaluations[0].partition else ""
        console.print(Text(f"  {word} {asset}.{check}{where}: {visible(failed[0].description or '')}", style=style))
