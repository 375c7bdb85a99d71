"""The services' side of politeness: limits, penalty boxes and quotas, and the ledger of everything that arrived.

Lives here: the judgement of each arrival by this server's own clock, and what is remembered of it. Not here: how a
refusal is spelt (`vendors`), the client's limiter, which this is there to catch.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

SERVICES = ("dshield", "urlhaus", "spur", "greynoise", "feeds", "cymru")
Profile = Literal["raised", "documented"]
Clock = Callable[[], float]

WEEK = 7 * 24 * 3600


@dataclass(frozen=True)
class Rule:
    """At most `requests` in any `window` seconds; one more starts `penalty` seconds in which nothing is answered.

    Every call inside the box starts it anew. `quota` is how many answers there are in all. None is no limit.
    """

    requests: int | None = None
    window: float = 1.0
    penalty: float = 0.0
    quota: int | None = None

    def changed(self, fields: Mapping[str, Any]) -> Rule:
        """This rule with some fields replaced.

        Raises:
            ValueError: an unknown field, or a value that is none.
        """
        if not isinstance(fields, Mapping):
            raise ValueError(f"a limit is an object, not {fields!r}")  # noqa: TRY004
        if unknown := sorted(set(fields) - {"requests", "window", "penalty", "quota"}):
            raise ValueError(f"a limit has no {', '.join(unknown)}")
        for name, value in fields.items():
            optional = name in ("requests", "quota")
            if value is None and optional:
                continue
            if isinstance(value, bool) or not isinstance(value, int if optional else int | float) or value < 0:
                raise ValueError(f"{name} is {value!r}")
        rule = replace(self, **fields)
        if rule.window <= 0:
            raise ValueError(f"window is {rule.window!r}")
        return rule


# High enough that nobody waits, low enough to be a limit.
_RAISED = {
    **dict.fromkeys(SERVICES, Rule(requests=2000, window=1.0)),
    "spur": Rule(requests=2000, window=1.0, quota=1_000_000),
}
# As documented, with windows a little longer than that: arrivals jitter, so a client that aims at the exact limit is
# over it now and then, here as there. What is not documented (feeds) is not limited.
_DOCUMENTED = {
    "dshield": Rule(requests=1, window=1.02, penalty=300.0),
    "urlhaus": Rule(requests=30, window=60.1),
    "spur": Rule(requests=20, window=1.02, quota=50_000),
    "greynoise": Rule(requests=25, window=WEEK + 1.0),
    "feeds": Rule(),
    # Connections with a single address; those in bulk are as many as one likes.
    "cymru": Rule(requests=5, window=60.1),
}


def profile_rules(profile: Profile) -> dict[str, Rule]:
    """
    Raises:
        ValueError: there is no such profile.
    """
    if profile == "raised":
        return dict(_RAISED)
    if profile == "documented":
        return dict(_DOCUMENTED)
    raise ValueError(f"limits are 'raised' or 'documented', not {profile!r}")


@dataclass(frozen=True)
class Verdict:
    """`at` is when, by the judge's clock; `retry_after` is whole seconds, where waiting helps."""

    at: float
    over_limit: bool = False
    in_penalty: bool = False
    over_quota: bool = False
    retry_after: int | None = None

    @property
    def refused(self) -> bool:
        return self.over_limit or self.in_penalty or self.over_quota


class Judge:
    """One service's limit. Only what it admitted counts towards the window; a refusal only feeds the penalty box."""

    def __init__(self, rule: Rule, clock: Clock = time.monotonic) -> None:
        self.rule = rule
        self.used = 0
        self._clock = clock
        self._admitted: deque[float] = deque()
        self._box_until = -math.inf
        self._box_length = 0.0

    def judge(self) -> Verdict:
        """Judge an arrival at this moment."""
        now, rule = self._clock(), self.rule
        while self._admitted and self._admitted[0] <= now - rule.window:
            self._admitted.popleft()
        in_penalty = now < self._box_until
        over_limit = rule.requests is not None and len(self._admitted) >= rule.requests
        if in_penalty or over_limit:
            self._open_box(self._box_length if in_penalty else rule.penalty, now)
            free_at = max(self._box_until, self._admitted[0] + rule.window if over_limit and self._admitted else now)
            return Verdict(now, over_limit, in_penalty, retry_after=max(1, math.ceil(free_at - now - 1e-6)))
        if self.remaining == 0:
            return Verdict(now, over_quota=True)
        self._admitted.append(now)
        return Verdict(now)

    def open_box(self, seconds: float) -> None:
        """Answer nothing for so long, from now on."""
        self._open_box(seconds, self._clock())

    def _open_box(self, seconds: float, now: float) -> None:
        if seconds > 0:
            self._box_length = seconds
            self._box_until = now + seconds

    @property
    def remaining(self) -> int | None:
        return None if self.rule.quota is None else max(0, self.rule.quota - self.used)


class Limits:
    """The judges of all services."""

    def __init__(self, profile: Profile = "raised", clock: Clock = time.monotonic) -> None:
        self._profile = profile
        self._clock = clock
        self._judges: dict[str, Judge] = {}
        self.reset()

    def __getitem__(self, service: str) -> Judge:
        return self._judges[service]

    def reset(self) -> None:
        """Back to the profile, with nothing used and every box empty."""
        self._judges = {name: Judge(rule, self._clock) for name, rule in profile_rules(self._profile).items()}

    def change(self, changes: Mapping[str, Mapping[str, Any]]) -> None:
        """Change some fields of some services' rules: all of them, or none.

        Raises:
            ValueError: an unknown service or field, a value that is none.
        """
        if unknown := sorted(set(changes) - set(SERVICES)):
            raise ValueError(f"no such service: {', '.join(unknown)}")
        rules = {service: self._judges[service].rule.changed(fields) for service, fields in changes.items()}
        for service, rule in rules.items():
            self._judges[service].rule = rule


@dataclass
class Arrival:
    """One request, or one connection of the whois server, whose `keys` are known when its question is complete.

    `at` is the server's monotonic clock, `wall` seconds since 1970. Whether a credential came is kept, never which.
    `status` 0 says that nothing was sent, `over_limit` that the window or the quota was full.
    """

    at: float
    wall: float
    service: str
    key: str
    user_agent: str
    credential: bool
    status: int
    over_limit: bool = False
    in_penalty: bool = False
    fault: str | None = None
    keys: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


class Ledger:
    """Every arrival, in the order of arrival. One thread writes; others may read at any time."""

    def __init__(self, clock: Clock = time.monotonic, wall: Clock = time.time) -> None:
        self._clock = clock
        self._wall = wall
        self._arrivals: list[Arrival] = []

    def record(
        self,
        service: str,
        key: str,
        *,
        status: int,
        user_agent: str = "",
        credential: bool = False,
        verdict: Verdict | None = None,
        fault: str | None = None,
        keys: Iterable[str] | None = None,
    ) -> Arrival:
        verdict = verdict or Verdict(self._clock())
        arrival = Arrival(
            at=verdict.at,
            wall=self._wall(),
            service=service,
            key=key,
            user_agent=user_agent,
            credential=credential,
            status=status,
            over_limit=verdict.over_limit or verdict.over_quota,
            in_penalty=verdict.in_penalty,
            fault=fault,
            keys=[key] if keys is None else list(keys),
        )
        self._arrivals.append(arrival)
        return arrival

    def clear(self) -> None:
        self._arrivals = []

    def arrivals(self, service: str | None = None) -> list[Arrival]:
        return [arrival for arrival in self._arrivals.copy() if service in (None, arrival.service)]

    def max_in_window(self, service: str, window: float) -> int:
        """The most arrivals, refused ones included, in any stretch of `window` seconds; its end does not count."""
        times = [arrival.at for arrival in self.arrivals(service)]
        return max((number - bisect_right(times, at - window) + 1 for number, at in enumerate(times)), default=0)

    def repeated_keys(self, service: str) -> dict[str, int]:
        """The keys that were asked more than once, and how often."""
        counts = Counter(key for arrival in self.arrivals(service) for key in arrival.keys)
        return {key: count for key, count in counts.items() if count > 1}

    def summary(self, windows: Mapping[str, float]) -> dict[str, dict[str, Any]]:
        """Counts of every service, with `max_in_window` for the window given for it."""
        return {service: self._summary(service, windows[service]) for service in SERVICES}

    def _summary(self, service: str, window: float) -> dict[str, Any]:
        arrivals = self.arrivals(service)
        return {
            "arrivals": len(arrivals),
            "distinct_keys": len({key for arrival in arrivals for key in arrival.keys}),
            "repeated_keys": len(self.repeated_keys(service)),
            "window": window,
            "max_in_window": self.max_in_window(service, window),
            "over_limit": sum(arrival.over_limit for arrival in arrivals),
            "in_penalty": sum(arrival.in_penalty for arrival in arrivals),
            "statuses": {str(status): count for status, count in Counter(a.status for a in arrivals).items()},
        }
