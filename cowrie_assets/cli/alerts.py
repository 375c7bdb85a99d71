"""What the command line tells of alerts: what fails now, which notes wait and why, whether channels work.

Lives here: tables and JSON. Not here: keeping and sending (`cowrie_assets.alerts`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

import orjson
from rich.console import Console
from rich.text import Text

from cowrie_assets.alerts.channels import Alerts
from cowrie_assets.alerts.delivery import Outgoing, send_trials
from cowrie_assets.alerts.incidents import Incident
from cowrie_assets.report.escaping import visible

_NO_CHANNEL = "No channel is set, so nobody is told: see [alerts.channels] in sensors.example.toml."


def show_alerts(console: Console, alerts: Alerts, incidents: Sequence[Incident], notes: Sequence[Outgoing]) -> None:
    """What fails, with what it said; then the notes that no channel has taken, with the reason."""
    console.print(Text(f"{len(incidents)} failing" if incidents else "Nothing fails.", style="bold"))
    for incident in incidents:
        name = ".".join((incident.asset, incident.name))
        day = f" {incident.partition}" if incident.partition else ""
        style = "bold red" if incident.severity == "ERROR" else "yellow"
        console.print(Text(f"  {visible(name)}{visible(day)} ({incident.severity})", style=style))
        console.print(Text(f"    {visible(incident.words)}"), soft_wrap=True)
        told = f"told {_moment(incident.told_at)}" if incident.told_at is not None else _untold(alerts, incident)
        since = _moment(incident.failing_since)
        console.print(Text(f"    since {since}, {told}; run {visible(incident.run_id)}", style="dim"), soft_wrap=True)
    if not alerts.channels:
        console.print(Text(_NO_CHANNEL, style="dim"), soft_wrap=True)
    if notes:
        console.print(Text(f"{len(notes)} notes not delivered", style="bold"))
    for note in notes:
        console.print(Text(f"  {_moment(note.written_at)} to {visible(note.channel)}: {visible(note.title)}"))
        console.print(Text(f"    {_state(note)}", style="dim"), soft_wrap=True)


def alerts_as_json(alerts: Alerts, incidents: Sequence[Incident], notes: Sequence[Outgoing]) -> str:
    """An object with `channels` (their names), `failing` (rows of `incidents`) and `undelivered` (of `alert_notes`)."""
    told = {
        "channels": list(alerts.channels),
        "failing": [asdict(incident) for incident in incidents],
        "undelivered": [asdict(note) for note in notes],
    }
    return orjson.dumps(told, option=orjson.OPT_INDENT_2).decode()


def try_channels(console: Console, alerts: Alerts) -> bool:
    """Send a test note to each channel and say what came of it; whether all took it."""
    if not alerts.channels:
        console.print(Text(_NO_CHANNEL), soft_wrap=True)
        return False
    told = send_trials(alerts)
    for channel, problem in told.items():
        words, style = ("took the test note", "green") if problem is None else (f"no: {problem}", "bold red")
        console.print(Text(f"{visible(channel)}: {visible(words)}", style=style), soft_wrap=True)
    return all(problem is None for problem in told.values())


def _untold(alerts: Alerts, incident: Incident) -> str:
    if not alerts.channels:
        return "told to nobody"
    if alerts.severity == "ERROR" and incident.severity == "WARN":
        return "not told: a warning"
    if incident.backfill_id is not None:
        return f"will be told when backfill {visible(incident.backfill_id)} has ended"
    return "will be told next"


def _state(note: Outgoing) -> str:
    problem = visible(note.problem or ("being sent" if note.tries else "not tried yet"))
    if note.given_up_at is not None:
        return f"given up {_moment(note.given_up_at)} after {note.tries} tries: {problem}"
    return f"{note.tries} tries, the next {_moment(note.next_try_at)} or later: {problem}"


def _moment(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC" if moment is not None else "–"
