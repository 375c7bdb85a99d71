"""The services' side of politeness: limits, penalty boxes and quotas, and the ledger of everything that arrived.

Lives here: the judgement of each arrival by the sandbox's own clock, and what is remembered of it. Not here: how much
is permitted (`rules`), how a refusal is spelt (`vendors`), the client's limiter, which this is there to catch.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, Literal

from cowrie_assets.sandbox.clock import Clock
from cowrie_assets.sandbox.rules import DAY, SERVICES, WEEK, Profile, Rule, profile_rules

__all__ = [
    "SERVICES", "WEEK", "Arrival", "Judge", "Ledger", "Limits", "Profile", "Rule", "Verdict", "fingerprint",
    "profile_rules",
]  # fmt: skip

Refusal = Literal["window", "penalty", "balance", "day", "week", "month"]
# A little longer than documented, as windows are.
_ROLLING_WEEK = WEEK + 1.0


@dataclass(frozen=True)
class Verdict:
    """`at` is when, by the monotonic clock; `refused_by` is what was full or shut. `box_age` is how many seconds the
    penalty box has been open, None outside; `retry_after` is whole seconds, where waiting helps.
    """

    at: float
    refused_by: Refusal | None = None
    over_limit: bool = False
    in_penalty: bool = False
    box_age: float | None = None
    retry_after: int | None = None

    @property
    def refused(self) -> bool:
        return self.refused_by is not None

    @property
    def over_quota(self) -> bool:
        return self.refused_by in ("balance", "day", "week", "month")


class Judge:
    """One budget. Only what it admitted counts towards windows and quotas; a refusal only feeds the penalty box."""

    def __init__(self, rule: Rule, clock: Clock) -> None:
        self.rule = rule
        self.used = 0
        self._clock = clock
        self._admitted: deque[float] = deque()
        self._week: deque[float] = deque()
        self._day, self._in_day = -1, 0
        self._month, self._in_month = (0, 0), 0
        self._box_opened = -math.inf
        self._box_until = -math.inf
        self._box_length = 0.0

    def judge(self) -> Verdict:
        """Judge an arrival at this moment."""
        now, rule = self._clock.monotonic(), self.rule
        while self._admitted and self._admitted[0] <= now - rule.window:
            self._admitted.popleft()
        in_penalty = now < self._box_until
        over_limit = rule.requests is not None and len(self._admitted) >= rule.requests
        if in_penalty or over_limit:
            # A box that is open already keeps its length.
            self._open_box(self._box_length if in_penalty else rule.penalty, now)
            free_at = max(self._box_until, self._admitted[0] + rule.window if over_limit and self._admitted else now)
            return Verdict(
                now,
                "penalty" if in_penalty else "window",
                over_limit=over_limit,
                in_penalty=in_penalty,
                box_age=now - self._box_opened if in_penalty else None,
                retry_after=_whole_seconds(free_at - now),
            )
        if (spent := self._spent(now)) is not None:
            return spent
        self._in_day += 1
        self._in_month += 1
        self._admitted.append(now)
        if rule.week is not None:
            self._week.append(now)
        return Verdict(now)

    def _spent(self, now: float) -> Verdict | None:
        """The quota that is used up, the one that stays so for longest."""
        rule, wall = self.rule, self._clock.wall()
        self._turn_pages(wall)
        while self._week and self._week[0] <= now - _ROLLING_WEEK:
            self._week.popleft()
        if self.remaining == 0:
            return Verdict(now, "balance")
        if rule.month is not None and self._in_month >= rule.month:
            return Verdict(now, "month", retry_after=_whole_seconds(_next_month(wall) - wall))
        if rule.week is not None and len(self._week) >= rule.week:
            free_at = self._week[0] + _ROLLING_WEEK if self._week else now
            return Verdict(now, "week", retry_after=_whole_seconds(free_at - now))
        if rule.day is not None and self._in_day >= rule.day:
            return Verdict(now, "day", retry_after=_whole_seconds((self._day + 1) * DAY - wall))
        return None

    def _turn_pages(self, wall: float) -> None:
        # Days of UTC are all of one length in this count of seconds.
        if (day := int(wall // DAY)) != self._day:
            today = datetime.fromtimestamp(wall, UTC)
            if (month := (today.year, today.month)) != self._month:
                self._month, self._in_month = month, 0
            self._day, self._in_day = day, 0

    def open_box(self, seconds: float) -> None:
        """Answer nothing for so long, from now on."""
        self._open_box(seconds, self._clock.monotonic())

    def _open_box(self, seconds: float, now: float) -> None:
        if seconds > 0:
            if now >= self._box_until:
                self._box_opened = now
            self._box_length = seconds
            self._box_until = now + seconds

    @property
    def remaining(self) -> int | None:
        return None if self.rule.quota is None else max(0, self.rule.quota - self.used)


def _whole_seconds(seconds: float) -> int:
    return max(1, math.ceil(seconds - 1e-6))


def _next_month(wall: float) -> float:
    today = datetime.fromtimestamp(wall, UTC)
    later = today.replace(day=1, hour=0, minute=0, second=0, microsecond=0) + timedelta(days=32)
    return later.replace(day=1).timestamp()


def fingerprint(credential: str) -> str:
    """What stands for a credential where it must not be read; "" for none."""
    return blake2b(credential.encode(), digest_size=4, person=b"sandbox").hexdigest() if credential else ""


class Limits:
    """The judges: one for each plan and budget, which is whatever shares a limit (a credential, or all of a source)."""

    def __init__(self, profile: Profile = "raised", clock: Clock | None = None) -> None:
        self._profile = profile
        self._clock = clock or Clock()
        self._rules: dict[str, Rule] = {}
        self._judges: dict[tuple[str, str], Judge] = {}
        self.reset()

    def rule(self, plan: str) -> Rule:
        return self._rules[plan]

    def judge(self, plan: str, budget: str = "") -> Judge:
        judge = self._judges.get((plan, budget))
        if judge is None:
            judge = self._judges[plan, budget] = Judge(self._rules[plan], self._clock)
        return judge

    def reset(self) -> None:
        """Back to the profile, with nothing used and every box empty."""
        self._rules = profile_rules(self._profile)
        self._judges = {}

    def change(self, changes: Mapping[str, Mapping[str, Any]]) -> None:
        """Change some fields of some plans' rules, for all budgets: all of them, or none.

        Raises:
            ValueError: an unknown plan or field, a value that is none.
        """
        if unknown := sorted(set(changes) - set(self._rules)):
            raise ValueError(f"no such service: {', '.join(unknown)}")
        rules = {plan: self._rules[plan].changed(fields) for plan, fields in changes.items()}
        self._rules |= rules
        for (plan, _), judge in list(self._judges.items()):
            judge.rule = self._rules[plan]


@dataclass
class Arrival:
    """One request, or one connection of the whois server, whose `keys` are known when its question is complete.

    `at` is the sandbox's monotonic clock, `wall` its seconds since 1970. Whether a credential came is kept, and in
    `budget` a fingerprint of it where limits go by credential, never which. `status` 0 says that nothing was sent,
    `over_limit` that the window or a quota was full, `refused_by` which. `box_age` is how many seconds the penalty box
    had been open: a small one was under way already. `body_sha256` is that of what was posted.
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
    budget: str = ""
    refused_by: str | None = None
    box_age: float | None = None
    body_sha256: str | None = None

    def judged(self, verdict: Verdict) -> None:
        self.over_limit, self.in_penalty = verdict.over_limit or verdict.over_quota, verdict.in_penalty
        self.refused_by, self.box_age = verdict.refused_by, verdict.box_age

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


class Ledger:
    """Every arrival, in the order of arrival. One thread writes; others may read at any time."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or Clock()
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
        budget: str = "",
        body_sha256: str | None = None,
    ) -> Arrival:
        verdict = verdict or Verdict(self._clock.monotonic())
        arrival = Arrival(
            at=verdict.at,
            wall=self._clock.wall(),
            service=service,
            key=key,
            user_agent=user_agent,
            credential=credential,
            status=status,
            fault=fault,
            keys=[key] if keys is None else list(keys),
            budget=budget,
            body_sha256=body_sha256,
        )
        if verdict.refused:
            arrival.judged(verdict)
        self._arrivals.append(arrival)
        return arrival

    def clear(self) -> None:
        self._arrivals = []

    def arrivals(self, service: str | None = None) -> list[Arrival]:
        return [arrival for arrival in self._arrivals.copy() if service in (None, arrival.service)]

    def max_in_window(self, service: str, window: float, budget: str | None = None) -> int:
        """The most arrivals, refused ones included, in any stretch of `window` seconds; its end does not count.
        `budget` leaves out those of all others."""
        return _most([one.at for one in self.arrivals(service) if budget in (None, one.budget)], window)

    def repeated_keys(self, service: str) -> dict[str, int]:
        """The keys that were asked more than once, and how often."""
        counts = Counter(key for arrival in self.arrivals(service) for key in arrival.keys)
        return {key: count for key, count in counts.items() if count > 1}

    def summary(self, windows: Mapping[str, float]) -> dict[str, dict[str, Any]]:
        """Counts of every service, with `max_in_window` for the window given for it."""
        by_service: defaultdict[str, list[Arrival]] = defaultdict(list)
        for arrival in self.arrivals():
            by_service[arrival.service].append(arrival)
        return {service: _summary(by_service[service], windows[service]) for service in SERVICES}


def _most(times: list[float], window: float) -> int:
    return max((number - bisect_right(times, at - window) + 1 for number, at in enumerate(times)), default=0)


def _summary(arrivals: list[Arrival], window: float) -> dict[str, Any]:
    keys = Counter(key for arrival in arrivals for key in arrival.keys)
    return {
        "arrivals": len(arrivals),
        "distinct_keys": len(keys),
        "repeated_keys": sum(count > 1 for count in keys.values()),
        "window": window,
        "max_in_window": _most([arrival.at for arrival in arrivals], window),
        "budgets": len({arrival.budget for arrival in arrivals}),
        "over_limit": sum(arrival.over_limit for arrival in arrivals),
        "in_penalty": sum(arrival.in_penalty for arrival in arrivals),
        "refused_by": dict(Counter(arrival.refused_by for arrival in arrivals if arrival.refused_by)),
        "statuses": {str(status): count for status, count in Counter(a.status for a in arrivals).items()},
    }
