"""The sensor `alerts`, and the same round for a command that has no daemon.

Lives here: one round: read what ended, write notes, send them. Not here: each of these.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

import dagster as dg

from cowrie_assets.alerts.channels import Alerts, configured_alerts
from cowrie_assets.alerts.delivery import SECONDS, Delivery, deliver, undelivered
from cowrie_assets.alerts.incidents import Verdict, failing, open_backfills, record
from cowrie_assets.alerts.notes import write_notes
from cowrie_assets.alerts.reading import Position, finished_runs, verdicts_of
from cowrie_assets.alerts.sending import prepare
from cowrie_assets.assets.reconstruction import DAILY_ASSETS
from cowrie_assets.resources import Warehouse
from cowrie_assets.settings import Settings
from cowrie_assets.warehouse.event_chunks import Connection

INTERVAL_SECONDS = 30
# What a tick may spend on reading runs before it leaves the rest to the next one; a run of thirty days takes 40 ms.
_READING_SECONDS = 0.3
_WITHOUT_HURRY = 60.0
_POSITION_FILE = "alerts_position.json"
_ACTIVE = frozenset({"REQUESTED", "CANCELING", "FAILING"})


@dataclass
class Told:
    """What a round came to. `caught_up`: every run that has ended is read; without that nothing is told. `backfills`
    that go on have something that is told when they have ended."""

    caught_up: bool
    failing: int = 0
    notes: int = 0
    backfills: int = 0
    delivery: Delivery = field(default_factory=Delivery)
    waiting: Counter[str] = field(default_factory=Counter)
    problems: dict[str, str] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """In one line: what fails, what was told, what waits and why."""
        parts = [f"{self.failing} failing", f"notes: {self.notes} written, {self.delivery.delivered} delivered"]
        if not self.caught_up:
            parts.append("the next tick goes on reading runs")
        if self.backfills:
            parts.append(f"more to tell when backfills end: {self.backfills}")
        for channel, number in sorted(self.waiting.items()):
            problem = self.problems.get(channel, "next in turn")
            parts.append(f"{number} {'waits' if number == 1 else 'wait'} for channel {channel}: {problem}")
        return ", ".join(parts)


def alerts_sensor(settings: Settings, daily: Collection[str] = DAILY_ASSETS) -> dg.SensorDefinition:
    """The sensor that reads finished runs and tells what fails. `daily` are the assets that have days.

    Raises:
        SettingsError: `[alerts]` of `sensors.toml` cannot be used.
    """
    alerts = configured_alerts(settings)

    @dg.sensor(
        name="alerts",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=INTERVAL_SECONDS,
        description=(
            "Reads finished runs, keeps what fails in the table incidents, and tells it once to the channels of "
            "sensors.toml, and once more when it has recovered. `cowrie-assets alerts` shows the same."
        ),
    )
    def sensor(context: dg.SensorEvaluationContext, warehouse: Warehouse) -> dg.SkipReason:
        if alerts.channels:
            prepare()
        with warehouse.connect() as connection:
            told, position = _round(
                context.instance, connection, alerts, daily, Position.parse(context.cursor), _READING_SECONDS, SECONDS
            )
        context.update_cursor(str(position))
        for channel, problem in told.delivery.problems.items():
            context.log.warning(f"alerts: channel {channel} did not take a note: {problem}")
        return dg.SkipReason(told.words)

    return sensor


def tell(
    instance: dg.DagsterInstance,
    settings: Settings,
    connection: Connection,
    daily: Collection[str] = DAILY_ASSETS,
    seconds: float = SECONDS,
) -> Told:
    """One round, however much there is to be read; channels have so many seconds. For commands: how far they have read
    is kept in the state folder, apart from the sensor. Both may run at the same time, and each note is written once.

    Raises:
        SettingsError: `[alerts]` of `sensors.toml` cannot be used.
    """
    place = settings.home / _POSITION_FILE
    known = place.read_text(encoding="ascii") if place.exists() else None
    alerts = configured_alerts(settings)
    told, position = _round(instance, connection, alerts, daily, Position.parse(known), _WITHOUT_HURRY, seconds)
    settings.state.write(place, str(position))
    return told


def _round(
    instance: dg.DagsterInstance,
    connection: Connection,
    alerts: Alerts,
    daily: Collection[str],
    position: Position,
    reading_seconds: float,
    sending_seconds: float,
) -> tuple[Told, Position]:
    ends_at = time.monotonic() + reading_seconds
    position, caught_up = _read(instance, connection, daily, position, ends_at)
    # First whether a backfill has ended, then once more what has: so none of its runs is missed.
    backfills = open_backfills(connection, alerts)
    ended = {name for name in backfills if _has_ended(instance, name)}
    if ended:
        position, caught_up = _read(instance, connection, daily, position, ends_at)
    told = Told(caught_up, backfills=len(backfills - ended))
    if caught_up:
        told.notes = len(write_notes(connection, alerts, ended))
        told.delivery = deliver(connection, alerts, sending_seconds)
    told.failing = len(failing(connection))
    for note in undelivered(connection):
        if note.given_up_at is None:
            told.waiting[note.channel] += 1
            if note.problem is not None:
                told.problems[note.channel] = note.problem
    return told, position


def _read(
    instance: dg.DagsterInstance, connection: Connection, daily: Collection[str], position: Position, ends_at: float
) -> tuple[Position, bool]:
    """Take in the verdicts of runs that ended, until there are no more (True) or time is up (False: the next tick looks
    whether there are more, and has its time for the rest)."""
    while records := finished_runs(instance, position):
        verdicts: list[Verdict] = []
        for number, found in enumerate(records):
            if number and time.monotonic() > ends_at:
                break
            verdicts += verdicts_of(instance, found, daily)
            position = position.after(found)
        record(connection, verdicts)
        if time.monotonic() > ends_at:
            return position, False
    return position, True


def _has_ended(instance: dg.DagsterInstance, backfill_id: str) -> bool:
    backfill = instance.get_backfill(backfill_id)
    return backfill is None or backfill.status.value not in _ACTIVE
