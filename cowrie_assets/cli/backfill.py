"""`backfill`: a range of days built anew, phase by phase, and gone on with where it stopped.

Lives here: its steps, and which of them are done. Not here: running a step (`launch`); the backfills of the UI, which
Dagster's daemon runs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from hashlib import blake2b
from pathlib import Path

from rich.console import Console

from cowrie_assets.assets.questions import QUESTIONS
from cowrie_assets.automation import jobs
from cowrie_assets.cli.launch import Outcome, Runner, interruptible, open_database, runners
from cowrie_assets.lookup.configured import configured_services
from cowrie_assets.partitions import ranges
from cowrie_assets.settings import Settings, SettingsError

DAILY = (*jobs.SESSIONS, *jobs.ENRICHMENT, *jobs.SNAPSHOTS)


@dataclass(frozen=True)
class Backfill:
    """The days from `first` to `last`, both included, of these daily assets, and what rests on them."""

    first: date
    last: date
    assets: tuple[str, ...] = DAILY

    @classmethod
    def of(cls, settings: Settings, first: date, last: date, only: Collection[str]) -> Backfill:
        """The part of what was asked for that there is.

        Raises:
            SettingsError: an asset that is no daily one, or no day that is a partition.
        """
        unknown = set(only) - set(DAILY)
        if unknown:
            raise SettingsError(f"{min(unknown)!r} is no daily asset; there are {', '.join(DAILY)}")
        begin, end = max(first, settings.first_day), min(last, datetime.now(UTC).date())
        if begin > end:
            raise SettingsError(
                f"there is no day to build from {first} to {last}: the first is {settings.first_day}, the last is today"
            )
        return cls(begin, end, tuple(asset for asset in DAILY if not only or asset in only))

    @property
    def stretches(self) -> list[tuple[date, date]]:
        days = (self.last - self.first).days + 1
        return ranges({self.first + timedelta(days=number) for number in range(days)})

    @property
    def name(self) -> str:
        assets = blake2b(" ".join(self.assets).encode(), digest_size=4).hexdigest()
        return f"{self.first}_{self.last}_{assets}"

    def steps(self) -> Iterator[Step]:
        """In the order in which one rests on the other; services are asked about the newest days first."""
        if "sessions" in self.assets:
            yield from (Step(jobs.SESSIONS, stretch) for stretch in self.stretches)
            yield Step(jobs.INVENTORY)
        if asking := tuple(asset for asset in jobs.ENRICHMENT if asset in self.assets):
            yield from (Step(asking, stretch) for stretch in reversed(self.stretches))
        if "session_snapshots" in self.assets:
            yield from (Step(jobs.SNAPSHOTS, stretch) for stretch in self.stretches)
        yield Step(jobs.ANSWERS)


@dataclass(frozen=True)
class Step:
    """One run: these assets, over a stretch of days where they have days."""

    assets: Sequence[str]
    stretch: tuple[date, date] | None = None

    @property
    def words(self) -> str:
        what = self.assets[0] if len(self.assets) == 1 else f"{self.assets[0]} and {len(self.assets) - 1} more"
        return f"{what}, {self.stretch[0]} to {self.stretch[1]}" if self.stretch else what


def run_backfill(
    settings: Settings, console: Console, backfill: Backfill, seconds: float, *, anew: bool, verbose: bool
) -> Outcome:
    """Take every step that an earlier, interrupted backfill of the same days and assets has not taken.

    Raises:
        Interrupted: Ctrl-C. The next one goes on with the step that was under way.
    """
    outcome = Outcome(settings, open_database(settings))
    outcome.days = (backfill.last - backfill.first).days + 1
    notes = _Notes(settings, backfill)
    if anew:
        notes.forget()
    steps = list(backfill.steps())
    left = [step for step in steps if step.words not in notes.done]
    console.print(f"{outcome.days:,} days, {backfill.first} to {backfill.last}: {len(steps)} steps", markup=False)
    if len(left) < len(steps):
        console.print(f"{len(steps) - len(left)} of them were taken before; --anew takes them again.", markup=False)
    ends_at = time.monotonic() + seconds
    with interruptible(), runners(outcome, console, verbose) as new_runner:
        runner = new_runner()
        for number, step in enumerate(left):
            _take(runner, settings, step, ends_at, [later for later in left[number:] if _asks(later)])
            if outcome.stopped:
                return outcome
            notes.add(step)
        runner.collect_checks()
    notes.forget()
    return outcome


def _take(runner: Runner, settings: Settings, step: Step, ends_at: float, asking: list[Step]) -> None:
    config = {}
    if _asks(step):
        services = configured_services(settings)
        asked = [asset for asset in step.assets if services[QUESTIONS[asset].service].not_configured is None]
        share = max(0.0, ends_at - time.monotonic()) / max(1, len(asking) * len(asked))
        config = {asset: {"config": {"max_time": share}} for asset in asked}
    runner.run(jobs.DAILY_JOB, step.assets, config, jobs.range_tags(*step.stretch) if step.stretch else None)


def _asks(step: Step) -> bool:
    return set(step.assets) <= set(jobs.ENRICHMENT)


class _Notes:
    """The steps that were taken, in a small file of the state folder; it is gone when all are."""

    def __init__(self, settings: Settings, backfill: Backfill) -> None:
        self._state = settings.state
        self._path: Path = settings.state.backfills / f"{backfill.name}.json"
        self.done: list[str] = self._read()

    def add(self, step: Step) -> None:
        self.done.append(step.words)
        self._state.write(self._path, json.dumps(self.done, indent=1) + "\n")

    def forget(self) -> None:
        self.done = []
        self._path.unlink(missing_ok=True)

    def _read(self) -> list[str]:
        try:
            return [str(step) for step in json.loads(self._path.read_text(encoding="utf-8"))]
        except (FileNotFoundError, ValueError):
            return []
