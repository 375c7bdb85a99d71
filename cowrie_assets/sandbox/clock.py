"""The sandbox's time: this machine's clocks, and what was added to both of them.

Lives here: the one clock of judges, ledger, quotas and files that age. Not here: the delays of faults, which are real.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import UTC, datetime


class Clock:
    """A monotonic and a wall clock that move together. Callable from any thread."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self._monotonic = monotonic
        self._wall = wall
        self._advanced = 0.0

    def monotonic(self) -> float:
        return self._monotonic() + self._advanced

    def wall(self) -> float:
        """Seconds since 1970."""
        return self._wall() + self._advanced

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.wall(), UTC)

    @property
    def advanced(self) -> float:
        """Seconds that were added since the start."""
        return self._advanced

    def advance(self, seconds: float) -> None:
        """
        Raises:
            ValueError: not a number of seconds, or one that leads back: windows would hold what is yet to come.
        """
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
            raise ValueError(f"advance is {seconds!r}")
        self._advanced += seconds

    def reset(self) -> None:
        """Back to this machine's time."""
        self._advanced = 0.0
