"""How much each service permits: the rules, and the two sets of them that a sandbox can start with.

Lives here: the names of the services and of their plans, the numbers. Not here: the judgement (`limits`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

SERVICES = (
    "dshield", "urlhaus", "spur", "greynoise", "virustotal", "hibp", "maxmind", "dbip", "feeds", "cymru",
)  # fmt: skip
# Each service has a rule of its name; GreyNoise another one for keys that are paid for.
GREYNOISE_PAID = "greynoise-paid"
PLANS = (*SERVICES, GREYNOISE_PAID)
Profile = Literal["raised", "documented"]

DAY = 24 * 3600
WEEK = 7 * DAY


@dataclass(frozen=True)
class Rule:
    """At most `requests` in any `window` seconds; one more starts `penalty` seconds in which nothing is answered.

    Every call inside the box starts it anew. `quota` is how many answers there are in all; `day` and `month` are how
    many requests there are in one of the calendar (UTC), `week` in any seven days. None is no limit. `retry_after` is
    whether a refusal says when to come again, where the service says so at all.
    """

    requests: int | None = None
    window: float = 1.0
    penalty: float = 0.0
    quota: int | None = None
    day: int | None = None
    week: int | None = None
    month: int | None = None
    retry_after: bool = True

    def changed(self, changes: Mapping[str, Any]) -> Rule:
        """This rule with some fields replaced.

        Raises:
            ValueError: an unknown field, or a value that is none.
        """
        if not isinstance(changes, Mapping):
            raise ValueError(f"a limit is an object, not {changes!r}")  # noqa: TRY004
        if unknown := sorted(set(changes) - {field.name for field in fields(Rule)}):
            raise ValueError(f"a limit has no {', '.join(unknown)}")
        for name, value in changes.items():
            if not _is_fitting(name, value):
                raise ValueError(f"{name} is {value!r}")
        rule = replace(self, **changes)
        if rule.window <= 0:
            raise ValueError(f"window is {rule.window!r}")
        return rule


def _is_fitting(name: str, value: Any) -> bool:
    if name == "retry_after":
        return isinstance(value, bool)
    is_seconds = name in ("window", "penalty")
    if value is None:
        return not is_seconds
    kinds = (int, float) if is_seconds else (int,)
    return isinstance(value, kinds) and not isinstance(value, bool) and value >= 0


# High enough that nobody waits, low enough to be a limit.
_RAISED = {
    **dict.fromkeys(PLANS, Rule(requests=2000, window=1.0)),
    "spur": Rule(requests=2000, window=1.0, quota=1_000_000),
}
# As documented, with windows a little longer than that: arrivals jitter, so a client that aims at the exact limit is
# over it now and then, here as there. What is not documented (HIBP, DB-IP, feeds) is not limited.
_DOCUMENTED = {
    "dshield": Rule(requests=1, window=1.02, penalty=300.0),
    "urlhaus": Rule(requests=30, window=60.1),
    "spur": Rule(requests=20, window=1.02, quota=50_000),
    "greynoise": Rule(week=25),
    # Requests, however many addresses each asks about.
    GREYNOISE_PAID: Rule(requests=10, window=1.02, day=10_000),
    "virustotal": Rule(requests=4, window=60.1, day=500, month=15_500),
    "hibp": Rule(),
    # Downloads; to ask whether there is a new build costs nothing.
    "maxmind": Rule(requests=30, window=DAY + 1.0),
    "dbip": Rule(),
    "feeds": Rule(),
    # Connections with a single address; those in bulk are as many as one likes.
    "cymru": Rule(requests=5, window=60.1),
}


def profile_rules(profile: Profile) -> dict[str, Rule]:
    """The rule of every plan.

    Raises:
        ValueError: there is no such profile.
    """
    if profile == "raised":
        return dict(_RAISED)
    if profile == "documented":
        return dict(_DOCUMENTED)
    raise ValueError(f"limits are 'raised' or 'documented', not {profile!r}")
