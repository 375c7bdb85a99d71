"""The command line.

Lives here: the commands and their exit codes (0 done, 1 failed, 2 wrong use, 3 coverage below the gate). Not here: what
they do (`launch`, `services`, `show`, `doctor`, and the rooms below).
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import nullcontext
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from cowrie_assets.assets.ingestion import NothingToLoad
from cowrie_assets.report.escaping import visible
from cowrie_assets.settings import Settings, SettingsError
from cowrie_assets.upstreams.geoip import GeoFileError
from cowrie_assets.warehouse.database import Database, WarehouseError
from cowrie_assets.warehouse.embedded import EmbeddedServerError

if TYPE_CHECKING:
    from cowrie_assets.cli.refresh import Scope

app = typer.Typer(
    name="cowrie-assets",
    help="Cowrie honeypot logs to trustworthy infrastructure intelligence.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

Sandbox = Annotated[bool, typer.Option("--sandbox", help="The demo's warehouse instead of the live one.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show Dagster's log as well.")]

# The sample's days are fixed, so that a second demo finds nothing new.
DEMO_LAST_DAY = date(2025, 9, 12)


class Interrupted(Exception):
    """Ctrl-C in the middle of the work. (A KeyboardInterrupt the command line's library would swallow.)"""


def main() -> None:
    """Run a command; what goes wrong for a known reason is said in a sentence, without a traceback."""
    # Ended by SIGTERM as by Ctrl-C: the embedded database stops when its last user leaves in an orderly way.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        app()
    except (SettingsError, WarehouseError, EmbeddedServerError, NothingToLoad, GeoFileError) as error:
        # A message may hold the name of a file, and that is whatever somebody called it.
        told = "\n".join(visible(line) for line in str(error).splitlines())
        errors.print(f"cowrie-assets: {told}", style="bold red", markup=False, soft_wrap=True)
        sys.exit(1)
    except Interrupted:
        errors.print("cowrie-assets: stopped; run it again to go on where it was", markup=False)
        sys.exit(130)


@app.command()
def demo(verbose: Verbose = False) -> None:
    """Run the whole job in the sandbox, on sample traffic that is generated first and services that are emulated."""
    from cowrie_assets.cli.launch import run_pipeline
    from cowrie_assets.cli.services import sandbox_services, show_ledger
    from cowrie_assets.cli.show import show_outcome
    from cowrie_assets.sandbox.traffic import write_sample_logs

    settings = _settings(sandbox=True)
    console.print("Generating sample traffic: 4 days, 2 sensors …")
    write_sample_logs(settings.log_folders[0], DEMO_LAST_DAY)
    console.print(
        "Starting the sandbox's services; their limits and the client's are raised, 1,500 requests a second …"
    )
    with sandbox_services() as control:
        settings = _read_settings(sandbox=True)  # again: the services are there now
        outcome = run_pipeline(settings, console, minimum_sessions=1, verbose=verbose)
        show_ledger(console, control)
    show_outcome(console, outcome)
    raise typer.Exit(outcome.exit_code)


@app.command()
def run(
    logs: Annotated[
        list[Path] | None, typer.Option(help="Folder with Cowrie JSON logs; may be repeated. Remembered for the UI.")
    ] = None,
    minimum_sessions: Annotated[
        int, typer.Option(help="Leave countries and networks with fewer sessions out of queries 11 and 12.", min=1)
    ] = 1,
    verbose: Verbose = False,
) -> None:
    """Load your logs and answer the infrastructure queries. Run it again whenever there are new logs."""
    from cowrie_assets.cli.launch import run_pipeline
    from cowrie_assets.cli.show import show_outcome

    settings = _settings()
    folders = tuple(folder.expanduser().absolute() for folder in logs or ())
    if folders:
        # The UI and later runs see every folder that was ever loaded; this run looks into the named ones.
        settings = replace(settings, log_folders=folders)
    outcome = run_pipeline(settings, console, minimum_sessions=minimum_sessions, verbose=verbose)
    settings.remember_log_folders(folders)
    show_outcome(console, outcome)
    raise typer.Exit(outcome.exit_code)


@app.command()
def up(sandbox: Sandbox = False, port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 3000) -> None:
    """Open the Dagster UI on 127.0.0.1 over the same state; Ctrl-C ends it."""
    from cowrie_assets.cli.serve import serve_ui
    from cowrie_assets.cli.services import sandbox_services

    settings = _settings(sandbox=sandbox)
    with sandbox_services() if sandbox else nullcontext():
        code = serve_ui(settings, console, port)
    raise typer.Exit(code)


@app.command()
def coverage(
    since: Annotated[str, typer.Option(help="First moment, for example 2025-09-01.")] = "",
    until: Annotated[str, typer.Option(help="First moment that is left out.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Every service, overall and by day, as JSON.")] = False,
    require_coverage: Annotated[
        bool, typer.Option(help="Exit with 3 if a configured service is below its gate: 80 %, or [checks.coverage].")
    ] = False,
    sandbox: Sandbox = False,
) -> None:
    """How many sessions are covered by which service, what remains and why, and when it will be done."""
    from cowrie_assets.checks.thresholds import Thresholds
    from cowrie_assets.cli.services import coverage_as_json, show_coverage
    from cowrie_assets.warehouse.coverage import coverage as read_coverage

    for name, text in (("--since", since), ("--until", until)):
        _require_moment(name, text)
    settings = _settings(sandbox=sandbox)
    gates, database = Thresholds.of(settings).coverage, _database(settings)
    with database.hold(), database.connect() as connection:
        rows = read_coverage(connection, since, until, gates)
    if as_json:
        typer.echo(coverage_as_json(rows))
    else:
        show_coverage(console, rows)
    if require_coverage and any(row.below for row in rows if row.day is None):
        raise typer.Exit(3)


Since = Annotated[str, typer.Option(help="First moment, for example 2025-09-01.")]
Until = Annotated[str, typer.Option(help="First moment that is left out.")]
Sessions = Annotated[
    str, typer.Option(help="Sessions whose source and passwords to ask about: a number, all (or 0), none.")
]
Files = Annotated[str, typer.Option(help="Files to ask VirusTotal about: a number, all (or 0), none.")]
Ips = Annotated[str, typer.Option(help="Addresses to ask Team Cymru and GreyNoise about: a number, all (or 0), none.")]


@app.command()
def plan(
    sessions: Sessions = "all",
    files: Files = "all",
    ips: Ips = "all",
    since: Since = "",
    until: Until = "",
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    sandbox: Sandbox = False,
) -> None:
    """What a refresh would ask, how long that takes, and what it would bring. Nobody is asked anything."""
    from cowrie_assets.cli.lookups import plans_as_json, show_plan
    from cowrie_assets.cli.refresh import make_plans

    scope = _scope(sessions, files, ips, since, until)
    settings = _settings(sandbox=sandbox)
    database = _database(settings)
    with database.hold():
        plans = make_plans(settings, database, scope)
    if as_json:
        typer.echo(plans_as_json(plans))
    else:
        show_plan(console, plans, scope.words)


@app.command()
def refresh(
    sessions: Sessions = "all",
    files: Files = "all",
    ips: Ips = "all",
    since: Since = "",
    until: Until = "",
    max_time: Annotated[
        str, typer.Option(help="How long to wait for rates: seconds, or 90s, 30m, 2h. Default: [enrichment] max_time.")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and ask nobody.")] = False,
    commit_interval: Annotated[
        int, typer.Option(help="Bring the tables up to date after so many keys. Answers are kept one by one.", min=1)
    ] = 1000,
    sandbox: Sandbox = False,
    verbose: Verbose = False,
) -> None:
    """Ask the services about what has no fresh answer, the most telling first, within rates and quotas. Stop it with
    Ctrl-C whenever you like: the next one goes on."""
    from cowrie_assets.cli.refresh import refresh_and_tell
    from cowrie_assets.cli.services import sandbox_services
    from cowrie_assets.lookup.configured import duration

    scope = _scope(sessions, files, ips, since, until)
    seconds = duration(max_time, "--max-time") if max_time else None
    settings = _settings(sandbox=sandbox)
    with sandbox_services() if sandbox and not dry_run else nullcontext():
        # Again: the sandbox's services have their addresses now.
        settings = _read_settings(sandbox=True) if sandbox else settings
        outcome = refresh_and_tell(settings, console, scope, seconds, commit_interval, dry_run=dry_run, verbose=verbose)
    for failure in outcome.failed_steps:
        errors.print(f"cowrie-assets: {visible(failure)}", style="bold red", markup=False, soft_wrap=True)
    raise typer.Exit(1 if outcome.failed_steps else 0)


@app.command()
def backfill(
    first: Annotated[str, typer.Argument(help="First day (UTC), for example 2025-09-01.")],
    last: Annotated[str, typer.Argument(help="Last day, which is built as well.")],
    only: Annotated[
        list[str] | None, typer.Option(help="Only this daily asset, and the queries after it; may be repeated.")
    ] = None,
    max_time: Annotated[
        str, typer.Option(help="How long to wait for rates: seconds, or 90s, 30m, 2h. Default: [enrichment] max_time.")
    ] = "",
    anew: Annotated[bool, typer.Option("--anew", help="Also the steps of an interrupted backfill.")] = False,
    sandbox: Sandbox = False,
    verbose: Verbose = False,
) -> None:
    """Build a range of days anew from the stored events, thirty days a run. Stop it with Ctrl-C whenever you like: the
    same command goes on. Nobody is asked what is known, and what was learnt then stays."""
    from cowrie_assets.cli.backfill import Backfill, run_backfill
    from cowrie_assets.cli.services import sandbox_services
    from cowrie_assets.cli.show import show_outcome
    from cowrie_assets.lookup.configured import duration
    from cowrie_assets.lookup.configured import max_time as configured_time

    days = _day(first, "FIRST"), _day(last, "LAST")
    settings = _settings(sandbox=sandbox)
    wanted = Backfill.of(settings, *days, only or ())
    seconds = duration(max_time, "--max-time") if max_time else configured_time(settings)
    with sandbox_services() if sandbox else nullcontext():
        settings = _read_settings(sandbox=True) if sandbox else settings
        outcome = run_backfill(settings, console, wanted, seconds, anew=anew, verbose=verbose)
    show_outcome(console, outcome)
    raise typer.Exit(outcome.exit_code)


@app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False, sandbox: Sandbox = False) -> None:
    """What the services were asked and what came of it, what the cache saved, what is left of quotas."""
    from cowrie_assets.cli.lookups import show_status, statuses_as_json
    from cowrie_assets.lookup.configured import configured_services
    from cowrie_assets.lookup.status import statuses

    settings = _settings(sandbox=sandbox)
    database = _database(settings)
    with database.hold(), database.connect() as connection:
        told = statuses(connection, configured_services(settings))
    if as_json:
        typer.echo(statuses_as_json(told))
    else:
        show_status(console, told)


@app.command("alerts")
def alerts_now(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    test: Annotated[bool, typer.Option("--test", help="Send a test note to each channel instead.")] = False,
    sandbox: Sandbox = False,
) -> None:
    """What fails now, since when and why; which notes wait for which channel, and why."""
    from cowrie_assets.alerts.channels import configured_alerts
    from cowrie_assets.alerts.delivery import undelivered
    from cowrie_assets.alerts.incidents import failing
    from cowrie_assets.cli.alerts import alerts_as_json, show_alerts, try_channels

    settings = _settings(sandbox=sandbox)
    alerts = configured_alerts(settings)
    if test:
        raise typer.Exit(0 if try_channels(console, alerts) else 1)
    database = _database(settings)
    with database.hold(), database.connect() as connection:
        incidents, notes = failing(connection), undelivered(connection)
    if as_json:
        typer.echo(alerts_as_json(alerts, incidents, notes))
    else:
        show_alerts(console, alerts, incidents, notes)


@app.command("sandbox")
def serve_services(
    port: Annotated[int, typer.Option(help="Port of the HTTP services on 127.0.0.1; 0: any free one.")] = 9470,
    whois_port: Annotated[int, typer.Option(help="Port of the whois service; 0: any free one.")] = 9471,
    documented_limits: Annotated[
        bool, typer.Option("--documented-limits", help="The real services' limits instead of raised ones.")
    ] = False,
) -> None:
    """Serve emulated services on loopback, with invented answers, limits and a ledger of what arrives."""
    from cowrie_assets.cli.services import serve_sandbox

    limits: Literal["documented", "raised"] = "documented" if documented_limits else "raised"
    serve_sandbox(_settings(sandbox=True), console, port, whois_port, limits)


@app.command()
def stop(sandbox: Sandbox = False) -> None:
    """Stop the embedded database, also under those who still use it (it stops by itself when the last one leaves)."""
    database = _database(_settings(sandbox=sandbox))
    if database.embedded is None:
        console.print(f"{database.described} is not ours to stop.", markup=False)
    elif database.embedded.stop(force=True):
        console.print("Stopped.")
    else:
        console.print("It was not running.")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def psql(context: typer.Context, sandbox: Sandbox = False) -> None:
    """Open the warehouse with psql; what follows `--` goes to psql."""
    from cowrie_assets.cli.serve import open_psql

    raise typer.Exit(open_psql(_database(_settings(sandbox=sandbox)), context.args))


@app.command()
def session(session_id: Annotated[str, typer.Argument(help="Cowrie's session id.")], sandbox: Sandbox = False) -> None:
    """Print a session's stored events, one line each, with control characters made visible."""
    from cowrie_assets.cli.show import show_session

    database = _database(_settings(sandbox=sandbox))
    with database.hold(), database.connect() as connection:
        found = show_session(console, connection, session_id)
    if not found:
        errors.print(f"cowrie-assets: no session {session_id!r}", markup=False)
        raise typer.Exit(1)


@app.command()
def prune(
    apply: Annotated[bool, typer.Option("--apply", help="Remove it. Without this it is only shown.")] = False,
    sandbox: Sandbox = False,
) -> None:
    """What is past its retention ([retention] of sensors.toml): old runs of Dagster, the ledger, alerts, and old events
    if you said so. Shows it; removes it with --apply. Stop it whenever you like: the next one does the rest."""
    from cowrie_assets.cli.prune import prune_and_tell

    prune_and_tell(_settings(sandbox=sandbox), console, apply=apply)


@app.command()
def doctor(sandbox: Sandbox = False) -> None:
    """Look at everything the system needs, and say for each what is wrong and how to mend it."""
    from cowrie_assets.cli.doctor import examine
    from cowrie_assets.cli.show import show_findings

    findings = examine(_settings(sandbox=sandbox))
    show_findings(console, findings)
    raise typer.Exit(1 if any(finding.state == "broken" for finding in findings) else 0)


def _scope(sessions: str, files: str, ips: str, since: str, until: str) -> Scope:
    from cowrie_assets.cli.refresh import Amount, Scope

    for name, text in (("--since", since), ("--until", until)):
        _require_moment(name, text)
    amounts = {}
    for name, text in (("sessions", sessions), ("files", files), ("ips", ips)):
        try:
            amounts[name] = Amount.parse(text)
        except ValueError:
            raise typer.BadParameter(f"--{name} is {text!r}: write a number, all (or 0), or none") from None
    return Scope(amounts["sessions"], amounts["files"], amounts["ips"], since, until)


def _require_moment(name: str, text: str) -> None:
    try:
        datetime.fromisoformat(text or "2025-09-01")
    except ValueError:
        raise typer.BadParameter(f"{name} is {text!r}: write it as 2025-09-01 or 2025-09-01T12:00") from None


def _day(text: str, name: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{name} is {text!r}: write it as 2025-09-01") from None


def _settings(*, sandbox: bool = False) -> Settings:
    if sandbox:
        errors.rule("SANDBOX: invented traffic, invented networks")
    return _read_settings(sandbox=sandbox)


def _read_settings(*, sandbox: bool) -> Settings:
    environment = dict(os.environ) | ({"COWRIE_MODE": "sandbox"} if sandbox else {})
    return Settings.from_environment(environment)


def _database(settings: Settings) -> Database:
    return Database(settings.home, settings.mode, settings.database_url)
