"""What can go wrong with an answer, and when: faults by script or by chance, per service.

Lives here: the kinds of faults, the order in which they come. Not here: what each does to an answer on the wire
(`spoiling`, `whois`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cowrie_assets.sandbox.origins import DEFAULT_SEED, Dice
from cowrie_assets.sandbox.rules import SERVICES

HTTP_KINDS = frozenset(
    {
        "500", "502", "503", "504", "429", "refuse", "hang", "reset", "cut", "html", "empty", "null", "list",
        "wrong-address", "wrong-type", "slow", "gzip-garbage", "bom", "huge", "endless",
    }
)  # fmt: skip
WHOIS_KINDS = frozenset(
    {"truncate", "dribble", "midline", "banner-only", "silence", "drop-rows", "refuse", "delay"}
)  # fmt: skip
# What only some services can suffer.
_JSON_KINDS = frozenset({"duplicate-keys"})
_OWN_KINDS: dict[str, frozenset[str]] = {
    "cymru": WHOIS_KINDS,
    "dshield": HTTP_KINDS | _JSON_KINDS,
    "urlhaus": HTTP_KINDS | _JSON_KINDS | {"402", "unknown-status"},
    "spur": HTTP_KINDS | _JSON_KINDS,
    "greynoise": HTTP_KINDS | _JSON_KINDS | {"drop-rows"},
    "virustotal": HTTP_KINDS | _JSON_KINDS,
    "hibp": HTTP_KINDS | {"lower-case"},
    "maxmind": HTTP_KINDS | _JSON_KINDS | {"corrupt", "wrong-md5", "expired"},
    "dbip": HTTP_KINDS | {"corrupt"},
    "feeds": HTTP_KINDS,
}
# A script's place for an answer that is left alone.
NO_FAULT = "ok"
_OPTIONS: dict[str, frozenset[str]] = {
    "429": frozenset({"retry_after", "penalty", "code"}),
    "503": frozenset({"retry_after"}),
    "reset": frozenset({"bytes"}),
    "cut": frozenset({"bytes"}),
    "slow": frozenset({"bytes", "delay"}),
    "huge": frozenset({"bytes"}),
    "endless": frozenset({"bytes", "delay"}),
    "corrupt": frozenset({"how"}),
    "dribble": frozenset({"bytes", "delay"}),
    "delay": frozenset({"delay"}),
    "midline": frozenset({"bytes"}),
    "truncate": frozenset({"rows"}),
    "drop-rows": frozenset({"rows"}),
}
_HOWS = ("gzip", "tar", "mmdb")


@dataclass(frozen=True)
class Fault:
    """One fault. Options by kind; each has a default of its own:

    - 429: `retry_after`, the header's text as it is sent (absent by default, and so for 503), `penalty`, the seconds
      of a penalty box that opens with it (by default the service's own), and `code`, VirusTotal's word for it
    - reset, cut: `bytes` of the body that still arrive; a reset after 0 sends no header either
    - slow: `bytes` at a time, each after `delay` seconds
    - huge: the answer, and line ends until there are `bytes` (60 MB) of it
    - endless: the answer without a length, and line ends for ever, `bytes` of them every `delay` seconds
    - corrupt: `how` is "gzip", "tar" or "mmdb", the first layer that is broken
    - dribble: `delay` seconds before each byte, or as many `bytes`; delay: `delay` seconds for each address
    - midline: `bytes` of the last line still arrive
    - truncate, drop-rows: how many addresses' `rows` are missing, at the end or spread (of GreyNoise's every third)

    A connection cannot be refused for one service alone, they share a port: "refuse" closes it without a byte. For
    refusals of all see `Sandbox.refusing`.
    """

    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, service: str, what: Any) -> Fault | None:
        """A kind, an object with `kind` and its options, or "ok" or None for no fault.

        Raises:
            ValueError: the service has no such fault.
        """
        if what is None or what == NO_FAULT:
            return None
        described = {"kind": what} if isinstance(what, str) else dict(what) if isinstance(what, Mapping) else {}
        kind = described.pop("kind", None)
        if kind not in _OWN_KINDS[service]:
            raise ValueError(f"{service} has no fault {what!r}")
        if unknown := sorted(set(described) - _OPTIONS.get(kind, frozenset())):
            raise ValueError(f"the fault {kind} has no {', '.join(unknown)}")
        for name, value in described.items():
            if not _is_fitting(name, value):
                raise ValueError(f"{name} is {value!r}")
        return cls(kind, described)


def _is_fitting(name: str, value: Any) -> bool:
    if name == "retry_after":
        return True
    if name == "code":
        return isinstance(value, str)
    if name == "how":
        return value in _HOWS
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


@dataclass(frozen=True)
class _Chance:
    per_ten_thousand: int
    kinds: tuple[Fault, ...]


class Faults:
    """The faults that are still to come. Chance follows from the seed and the number of the request."""

    def __init__(self, seed: int = DEFAULT_SEED) -> None:
        self._seed = seed
        self._scripts: dict[str, deque[Fault | None]] = {}
        self._chances: dict[str, _Chance] = {}
        self._drawn: dict[str, int] = {}

    def reset(self) -> None:
        self._scripts, self._chances, self._drawn = {}, {}, {}

    def plan(self, plans: Mapping[str, Any]) -> None:
        """Replace what was planned for these services: by a script, a list of which each request takes one, or by
        `{"probability": p, "kinds": [...]}`. All of the plans hold, or none.

        Raises:
            ValueError: an unknown service, a plan that is none.
        """
        if unknown := sorted(set(plans) - set(SERVICES)):
            raise ValueError(f"no such service: {', '.join(unknown)}")
        understood = {service: _understand(service, plan) for service, plan in plans.items()}
        for service, plan in understood.items():
            self._scripts.pop(service, None)
            self._chances.pop(service, None)
            self._drawn[service] = 0
            if isinstance(plan, _Chance):
                self._chances[service] = plan
            else:
                self._scripts[service] = plan

    def next(self, service: str, suffers: Callable[[str], bool] = lambda _: True) -> Fault | None:
        """The fault of the request that is being answered now. `suffers` says whether one of that kind can befall it:
        a script's waits for a request that it can, one by chance does not come."""
        fault = self._upcoming(service)
        fits = fault is None or suffers(fault.kind)
        if fits or not self._scripts.get(service):
            self._move_on(service)
        return fault if fits else None

    def next_is_refusal(self, service: str) -> bool:
        """Whether the next fault comes before anything is read; if so it has come."""
        fault = self._upcoming(service)
        if fault is None or fault.kind != "refuse":
            return False
        self._move_on(service)
        return True

    def _upcoming(self, service: str) -> Fault | None:
        if script := self._scripts.get(service):
            return script[0]
        chance = self._chances.get(service)
        if chance is None:
            return None
        dice = Dice(self._seed, "fault", service, self._drawn[service] + 1)
        return dice.pick(chance.kinds) if dice.below(10_000) < chance.per_ten_thousand else None

    def _move_on(self, service: str) -> None:
        if script := self._scripts.get(service):
            script.popleft()
        elif service in self._chances:
            self._drawn[service] += 1


def _understand(service: str, plan: Any) -> deque[Fault | None] | _Chance:
    if isinstance(plan, Mapping):
        probability, kinds = plan.get("probability"), plan.get("kinds")
        if set(plan) != {"probability", "kinds"} or not isinstance(kinds, list | tuple):
            raise ValueError(f"{service}: a plan by chance has a probability and kinds")
        if isinstance(probability, bool) or not isinstance(probability, int | float) or not 0 <= probability <= 1:
            raise ValueError(f"{service}: probability is {probability!r}")
        faults = tuple(fault for kind in kinds if (fault := Fault.parse(service, kind)) is not None)
        if not faults:
            raise ValueError(f"{service}: a plan by chance has a probability and kinds")
        return _Chance(round(probability * 10_000), faults)
    if isinstance(plan, str) or not isinstance(plan, Iterable):
        raise ValueError(f"{service}: a plan is a list of faults, or a probability with kinds")  # noqa: TRY004
    return deque(Fault.parse(service, what) for what in plan)
