"""What would be asked, and what it would bring, before anybody is asked.

Lives here: the plan of one service. Not here: asking (`asking`, which goes the same way through gate, cache and budget,
so that a plan without faults is what happens).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from math import ceil

from cowrie_assets.lookup import quotas
from cowrie_assets.lookup.asking import Asking, look, networks_of
from cowrie_assets.lookup.services import Service

NEXT = 100  # calls, of which the gain is told


@dataclass(frozen=True)
class Plan:
    """One service's questions. `keys` are those that it can be asked about; of these `known` have a good answer, `ask`
    are asked next, in this order, and `left` have to wait for a quota, each with the reason. Shares are of what carries
    the keys: sessions."""

    service: str
    keys: int
    known: int
    ask: list[str]
    left: dict[str, str]
    calls: int
    seconds: float
    keys_left: int | None
    not_configured: str | None
    share_known: float | None
    share_after: float | None
    gain_of_next: float | None

    @property
    def waits_for(self) -> str | None:
        """Why most of the keys that are left have to wait."""
        reasons = list(self.left.values())
        return max(set(reasons), key=reasons.count) if reasons else None


def plan(
    asking: Asking,
    service: Service,
    needs: Mapping[str, datetime],
    weights: Mapping[str, int],
    sources: Mapping[str, str] | None = None,
) -> Plan:
    """What `ask` would do with the same needs. `weights` says how many sessions carry each key."""
    with asking.connect() as connection:
        sifted = look(connection, asking, service, needs)
        if service.not_configured is None:
            budget = quotas.budget(
                connection, service, sifted.open_keys, networks_of(service, sifted.open_keys, sources or {})
            )
        else:
            budget = quotas.Budget([], {})
    chosen = budget.keys if asking.most is None else budget.keys[: asking.most]
    eligible = [key for key in needs if key not in sifted.refused and key not in sifted.unsuitable]
    whole = sum(weights.get(key, 0) for key in eligible)
    known = sum(weights.get(key, 0) for key in sifted.known)

    def share(keys: list[str], base: int = 0) -> float | None:
        return (base + sum(weights.get(key, 0) for key in keys)) / whole if whole else None

    return Plan(
        service=service.name,
        keys=len(eligible),
        known=len(sifted.known),
        ask=chosen,
        left=budget.left,
        calls=ceil(len(chosen) / service.batch),
        seconds=max(0, ceil(len(chosen) / service.batch) - 1) * service.spacing,
        keys_left=budget.keys_left,
        not_configured=service.not_configured,
        share_known=share([], known),
        share_after=share(chosen, known),
        gain_of_next=share(chosen[: NEXT * service.batch]),
    )
