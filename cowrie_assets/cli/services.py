"""The sandbox's services as a process of their own, and what the command line tells of coverage.

Lives here: starting and ending them, the table and the JSON of coverage. Not here: the services themselves
(`cowrie_assets.sandbox`), the counting (`sql/verify_enrichment_coverage.sql`).
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import httpx
import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cowrie_assets.report.escaping import visible
from cowrie_assets.sandbox.limits import Profile
from cowrie_assets.sandbox.server import Sandbox, run
from cowrie_assets.settings import ADDRESS_VARIABLES, Settings, SettingsError
from cowrie_assets.warehouse.coverage import Coverage, in_words

_READY = "ready"
_GATE_COLOUR = {"passed": "green", "below the gate": "yellow"}


def serve_sandbox(settings: Settings, console: Console, http_port: int, whois_port: int, limits: Profile) -> None:
    """Serve until Ctrl-C; the demo and `up --sandbox` find the addresses in the sandbox's state folder."""

    def ready(sandbox: Sandbox) -> None:
        environment = sandbox.environment()
        addresses = {
            name: environment[variable] for name, variable in ADDRESS_VARIABLES.items() if variable in environment
        }
        settings.state.write(settings.state.sandbox_services, json.dumps(addresses, indent=1) + "\n")
        console.print("The sandbox's services listen on 127.0.0.1. Their answers are invented; a live run asks them if")
        console.print("you name them yourself:")
        for variable, address in sorted(environment.items()):
            console.print(f"export {variable}={address}", markup=False, soft_wrap=True)
        console.print(f"Their ledger: {sandbox.http_url}/__ctl/ledger (Ctrl-C ends them)", markup=False, soft_wrap=True)
        console.print(_READY)
        sys.stdout.flush()

    try:
        run(http_port, whois_port, limits=limits, ready=ready)
    except OSError as error:
        raise SettingsError(f"{error}: is a sandbox running already? Else name another port") from None


@contextmanager
def sandbox_services() -> Iterator[str]:
    """Run the sandbox's services beside this process; the URL of their control interface."""
    command = [sys.executable, "-m", "cowrie_assets", "sandbox", "--port", "0", "--whois-port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    control = ""
    try:
        for line in process.stdout or ():
            if line.startswith("Their ledger: "):
                control = line.removeprefix("Their ledger: ").split("/__ctl/")[0]
            if line.strip() == _READY:
                break
        else:
            raise SettingsError("the sandbox's services did not start: run `cowrie-assets sandbox` to see why")
        yield control
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def show_ledger(console: Console, control: str) -> None:
    """What the sandbox's own ledger says of the requests that arrived."""
    with httpx.Client(trust_env=False) as client:
        summary: dict[str, Any] = client.get(f"{control}/__ctl/ledger").json()
    table = Table("service", "requests", "keys", "asked twice", "over limit", box=None, header_style="bold")
    for service, told in summary.items():
        counts = (told["arrivals"], told["distinct_keys"], told["repeated_keys"], told["over_limit"])
        table.add_row(service, *(f"{count:,}" for count in counts))
    console.print(Text("What arrived at the sandbox's services, by their own ledger", style="bold"))
    console.print(table)


def show_coverage(console: Console, rows: list[Coverage]) -> None:
    """The services over the whole window: how many sessions, since when, covered, what remains and why, until when."""
    overall = [row for row in rows if row.day is None]
    table = Table("service", "eligible", "answered", "valued", "open", "done in", "gate", box=None, header_style="bold")
    for row in overall:
        waits = row.open_addresses and row.seconds_to_finish and row.gate != "not configured"
        table.add_row(
            row.service,
            f"{row.eligible_sessions:,}",
            _percent(row.answered_share),
            _percent(row.valued_share),
            f"{row.open_addresses:,} {row.keys}",
            in_words(row.seconds_to_finish) if waits and row.seconds_to_finish else "–",
            Text(row.gate, style=_GATE_COLOUR.get(row.gate, "")),
        )
    if not overall or not overall[0].sessions:
        console.print("No session in the window.")
        return
    first = overall[0]
    console.print(
        f"{first.sessions:,} sessions since {first.first_session_at:%Y-%m-%d %H:%M} UTC, "
        f"the last one {first.last_session_at:%Y-%m-%d %H:%M}",
        markup=False,
    )
    console.print(table)
    for row in overall:
        if row.open_addresses and row.main_reason:
            console.print(Text(f"  {row.service}: {visible(row.main_reason)}", style="dim"), soft_wrap=True)


def coverage_as_json(rows: list[Coverage]) -> str:
    """A list of objects, one a service and day (day null: the whole window), with the columns of the SQL file."""
    return orjson.dumps([asdict(row) for row in rows], default=float, option=orjson.OPT_INDENT_2).decode()


def _percent(share: Any) -> str:
    return "–" if share is None else f"{float(share):.1%}"
