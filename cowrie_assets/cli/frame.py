"""What all commands share: the application, the consoles, common options, settings, and how they are told.

Not here: any command (`working`, `telling`).
"""

from __future__ import annotations

import os
from datetime import date, datetime
from typing import Annotated

import typer
from rich.console import Console

from cowrie_assets.settings import Settings
from cowrie_assets.warehouse.database import Database

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
Since = Annotated[str, typer.Option(help="First moment, for example 2025-09-01.")]
Until = Annotated[str, typer.Option(help="First moment that is left out.")]
MaxTime = Annotated[
    str,
    typer.Option(help="How long to wait for rates: 90 (seconds), 90s, 30m, 2h. Default: max_time of \\[enrichment]."),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show Dagster's log as well.")]


class Interrupted(Exception):
    """Ctrl-C in the middle of the work. (A KeyboardInterrupt the command line's library would swallow.)"""


def require_moment(name: str, text: str) -> None:
    try:
        datetime.fromisoformat(text or "2025-09-01")
    except ValueError:
        raise typer.BadParameter(f"{name} is {text!r}: write it as 2025-09-01 or 2025-09-01T12:00") from None


def day_of(text: str, name: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{name} is {text!r}: write it as 2025-09-01") from None


def settings_for(*, sandbox: bool = False) -> Settings:
    if sandbox:
        errors.rule("SANDBOX: invented traffic, invented networks")
    return read_settings(sandbox=sandbox)


def read_settings(*, sandbox: bool) -> Settings:
    environment = dict(os.environ) | ({"COWRIE_MODE": "sandbox"} if sandbox else {})
    return Settings.from_environment(environment)


def database_of(settings: Settings) -> Database:
    return Database(settings.home, settings.mode, settings.database_url)
