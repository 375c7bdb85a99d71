"""Commands that do something: run, serve, build again, trim.

Not here: what they do (`launch`, `backfill`, `serve`, `services`, `prune`); commands that ask services or tell of them
(`telling`).
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

import typer

from cowrie_assets.cli.frame import (
    MaxTime,
    Sandbox,
    Verbose,
    app,
    console,
    database_of,
    day_of,
    read_settings,
    settings_for,
)

# The sample's days are fixed, so that a second demo finds nothing new.
DEMO_LAST_DAY = date(2025, 9, 12)
SAMPLE_SESSIONS = 1500


@app.command()
def demo(
    sessions: Annotated[
        int, typer.Option(help="Sessions a day: each brings questions for the services, so fewer are quicker.", min=100)
    ] = SAMPLE_SESSIONS,
    verbose: Verbose = False,
) -> None:
    """Run the whole job in the sandbox, on sample traffic that is generated first and services that are emulated."""
    from cowrie_assets.cli.launch import run_pipeline
    from cowrie_assets.cli.services import sandbox_services, show_ledger
    from cowrie_assets.cli.show import show_outcome
    from cowrie_assets.sandbox.traffic import write_sample_logs

    settings = settings_for(sandbox=True)
    console.print(f"Generating sample traffic: 4 days, 2 sensors, {sessions:,} sessions a day …")
    write_sample_logs(settings.log_folders[0], DEMO_LAST_DAY, sessions_per_day=sessions)
    console.print(
        "Starting the sandbox's services; their limits and the client's are raised, 1,500 requests a second …"
    )
    with sandbox_services() as control:
        settings = read_settings(sandbox=True)  # again: the services are there now
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

    settings = settings_for()
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

    settings = settings_for(sandbox=sandbox)
    with sandbox_services() if sandbox else nullcontext():
        code = serve_ui(settings, console, port)
    raise typer.Exit(code)


@app.command()
def backfill(
    first: Annotated[str, typer.Argument(help="First day (UTC), for example 2025-09-01.")],
    last: Annotated[str, typer.Argument(help="Last day, which is built as well.")],
    only: Annotated[
        list[str] | None, typer.Option(help="Only this daily asset, and the queries after it; may be repeated.")
    ] = None,
    max_time: MaxTime = "",
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

    days = day_of(first, "FIRST"), day_of(last, "LAST")
    settings = settings_for(sandbox=sandbox)
    wanted = Backfill.of(settings, *days, only or ())
    seconds = duration(max_time, "--max-time") if max_time else configured_time(settings)
    with sandbox_services() if sandbox else nullcontext():
        settings = read_settings(sandbox=True) if sandbox else settings
        outcome = run_backfill(settings, console, wanted, seconds, anew=anew, verbose=verbose)
    show_outcome(console, outcome)
    raise typer.Exit(outcome.exit_code)


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
    serve_sandbox(settings_for(sandbox=True), console, port, whois_port, limits)


@app.command()
def stop(sandbox: Sandbox = False) -> None:
    """Stop the embedded database, also under those who still use it (it stops by itself when the last one leaves)."""
    database = database_of(settings_for(sandbox=sandbox))
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

    raise typer.Exit(open_psql(database_of(settings_for(sandbox=sandbox)), context.args))


@app.command()
def prune(
    apply: Annotated[bool, typer.Option("--apply", help="Remove it. Without this it is only shown.")] = False,
    sandbox: Sandbox = False,
) -> None:
    """What is past its retention (set in sensors.toml): old runs of Dagster, the ledger, alerts, and old events
    if you said so. Shows it; removes it with --apply. Stop it whenever you like: the next one does the rest."""
    from cowrie_assets.cli.prune import prune_and_tell

    prune_and_tell(settings_for(sandbox=sandbox), console, apply=apply)
