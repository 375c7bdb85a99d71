"""Commands that tell how things stand, and those that ask the services: coverage, plan, refresh, status, alerts.

Not here: what they do (`refresh`, `lookups`, `services`, `alerts`, `show`, `doctor`).
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from cowrie_assets.cli.frame import (
    MaxTime,
    Sandbox,
    Since,
    Until,
    Verbose,
    app,
    console,
    database_of,
    errors,
    read_settings,
    require_moment,
    settings_for,
)
from cowrie_assets.report.escaping import visible

if TYPE_CHECKING:
    from cowrie_assets.cli.refresh import Scope

Sessions = Annotated[
    str, typer.Option(help="Sessions whose source and passwords to ask about: a number, all (or 0), none.")
]
Files = Annotated[str, typer.Option(help="Files to ask VirusTotal about: a number, all (or 0), none.")]
Ips = Annotated[str, typer.Option(help="Addresses to ask Team Cymru and GreyNoise about: a number, all (or 0), none.")]


@app.command()
def coverage(
    since: Since = "",
    until: Until = "",
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
        require_moment(name, text)
    settings = settings_for(sandbox=sandbox)
    gates, database = Thresholds.of(settings).coverage, database_of(settings)
    with database.hold(), database.connect() as connection:
        rows = read_coverage(connection, since, until, gates)
    if as_json:
        typer.echo(coverage_as_json(rows))
    else:
        show_coverage(console, rows)
    if require_coverage and any(row.below for row in rows if row.day is None):
        raise typer.Exit(3)


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
    settings = settings_for(sandbox=sandbox)
    database = database_of(settings)
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
    max_time: MaxTime = "",
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
    settings = settings_for(sandbox=sandbox)
    with sandbox_services() if sandbox and not dry_run else nullcontext():
        # Again: the sandbox's services have their addresses now.
        settings = read_settings(sandbox=True) if sandbox else settings
        outcome = refresh_and_tell(settings, console, scope, seconds, commit_interval, dry_run=dry_run, verbose=verbose)
    for failure in outcome.failed_steps:
        errors.print(f"cowrie-assets: {visible(failure)}", style="bold red", markup=False, soft_wrap=True)
    raise typer.Exit(1 if outcome.failed_steps else 0)


@app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False, sandbox: Sandbox = False) -> None:
    """What the services were asked and what came of it, what the cache saved, what is left of quotas."""
    from cowrie_assets.cli.lookups import show_status, statuses_as_json
    from cowrie_assets.lookup.configured import configured_services
    from cowrie_assets.lookup.status import statuses

    settings = settings_for(sandbox=sandbox)
    database = database_of(settings)
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

    settings = settings_for(sandbox=sandbox)
    alerts = configured_alerts(settings)
    if test:
        raise typer.Exit(0 if try_channels(console, alerts) else 1)
    database = database_of(settings)
    with database.hold(), database.connect() as connection:
        incidents, notes = failing(connection), undelivered(connection)
    if as_json:
        typer.echo(alerts_as_json(alerts, incidents, notes))
    else:
        show_alerts(console, alerts, incidents, notes)


@app.command()
def session(session_id: Annotated[str, typer.Argument(help="Cowrie's session id.")], sandbox: Sandbox = False) -> None:
    """Print a session's stored events, one line each, with control characters made visible."""
    from cowrie_assets.cli.show import show_session

    database = database_of(settings_for(sandbox=sandbox))
    with database.hold(), database.connect() as connection:
        found = show_session(console, connection, session_id)
    if not found:
        errors.print(f"cowrie-assets: no session {session_id!r}", markup=False)
        raise typer.Exit(1)


@app.command()
def doctor(sandbox: Sandbox = False) -> None:
    """Look at everything the system needs, and say for each what is wrong and how to mend it."""
    from cowrie_assets.cli.doctor import examine
    from cowrie_assets.cli.show import show_findings

    findings = examine(settings_for(sandbox=sandbox))
    show_findings(console, findings)
    raise typer.Exit(1 if any(finding.state == "broken" for finding in findings) else 0)


def _scope(sessions: str, files: str, ips: str, since: str, until: str) -> Scope:
    from cowrie_assets.cli.refresh import Amount, Scope

    for name, text in (("--since", since), ("--until", until)):
        require_moment(name, text)
    amounts = {}
    for name, text in (("sessions", sessions), ("files", files), ("ips", ips)):
        try:
            amounts[name] = Amount.parse(text)
        except ValueError:
            raise typer.BadParameter(f"--{name} is {text!r}: write a number, all (or 0), or none") from None
    return Scope(amounts["sessions"], amounts["files"], amounts["ips"], since, until)
