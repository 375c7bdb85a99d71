"""How far long work has come, for whoever watches: small status files in the state folder.

Lives here: writing and reading them. Not here: drawing (`cli`). Files, because the work may run in another process: a
Dagster step, started from the UI.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from cowrie_assets.settings import StateFolder

_SECONDS_BETWEEN_WRITES = 0.2


@dataclass
class Status:
    """One phase of the work; `total` is None where it is not known beforehand."""

    phase: str
    unit: str
    total: int | None
    done: int = 0
    note: str = ""
    finished: bool = False


class Progress:
    def __init__(self, state: StateFolder, status: Status) -> None:
        self._state = state
        self._status = status
        self._written_at = 0.0

    def update(self, done: int, note: str = "") -> None:
        """Note how much is done; written at most five times a second."""
        self._status.done = done
        self._status.note = note
        if time.monotonic() - self._written_at >= _SECONDS_BETWEEN_WRITES:
            self.write()

    def follow(self, done: int, total: int, note: str = "") -> None:
        """Note how much of how much is done, where the whole became known on the way."""
        self._status.total = total
        self.update(done, note)

    def write(self) -> None:
        self._written_at = time.monotonic()
        text = json.dumps(asdict(self._status), ensure_ascii=True)
        self._state.write(self._state.status / f"{self._status.phase}.json", text)

    def finish(self) -> None:
        self._status.finished = True
        self.write()


@contextmanager
def progress(state: StateFolder, phase: str, unit: str, total: int | None = None) -> Iterator[Progress]:
    """Report on a phase of work for as long as it lasts."""
    reporter = Progress(state, Status(phase, unit, total))
    reporter.write()
    yield reporter
    reporter.finish()


def read_statuses(folder: Path) -> list[Status]:
    """Every phase's last word, the most recently written last."""
    files = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime) if folder.exists() else []
    return [Status(**json.loads(path.read_text(encoding="utf-8"))) for path in files]
