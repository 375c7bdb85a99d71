"""Questions by the batch: Team Cymru's bulk whois, one connection at a time among all processes.

Lives here: what makes a batch complete, and keeping what arrived of one that is not. Not here: the protocol
(`cowrie_assets.upstreams.cymru`), asking again (each batch is an op of its own in the inventory's graph).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from cowrie_assets.lookup import answers, locks
from cowrie_assets.lookup.asking import NO_TIME, Asking, Tally, sift
from cowrie_assets.lookup.cache import Cache
from cowrie_assets.lookup.limiter import Limiter, NotNow
from cowrie_assets.lookup.services import Service
from cowrie_assets.upstreams import cymru
from cowrie_assets.upstreams.contract import NoAnswer, Transient
from cowrie_assets.warehouse.event_chunks import Connection


@dataclass(frozen=True)
class BatchResult:
    """What one connection brought. `missing` addresses have no answer for `reason`; `again`: asking them again may
    help."""

    answered: int
    missing: list[str]
    outcome: str = ""
    reason: str = ""
    again: bool = False


def plan_batches(asking: Asking, service: Service, needs: Mapping[str, datetime]) -> tuple[list[list[str]], Tally]:
    """The addresses that have to be asked about, in batches of the service's size."""
    tally = Tally(asked=len(needs))
    with asking.connect() as connection:
        keys = sift(connection, asking, service, needs, tally)
        asking.cache.write_counts(connection, service, asking.run_id)
    keys = keys if asking.most is None else keys[: asking.most]
    return [keys[start : start + service.batch] for start in range(0, len(keys), service.batch)], tally


def ask_batch(asking: Asking, service: Service, addresses: Sequence[str]) -> BatchResult:
    """Ask about a batch over one connection, and keep every row that arrives. Safe to repeat: only what has no good
    answer is asked about."""
    stop = threading.Event()
    ends_at = time.monotonic() + asking.seconds
    with asking.connect() as connection, _only_connection(connection, service.name, ends_at) as is_ours:
        if not is_ours:
            return BatchResult(0, list(addresses), "quota", NO_TIME)
        # The gate once more: a batch lies in the run's storage between the plan and the question.
        tally = Tally()
        # What is known was counted by the plan.
        uncounted = replace(asking, cache=Cache())
        asked = sift(connection, uncounted, service, dict.fromkeys(addresses, answers.lookup_now(connection)), tally)
        known = sum(tally.hits.values())
        if not asked:
            return BatchResult(known, [])
        limiter = Limiter(connection, service, asking.run_id)
        try:
            call = limiter.charge(asked[0], len(asked), ends_at - time.monotonic(), stop)
        except NotNow as not_now:
            return BatchResult(known, asked, not_now.outcome, not_now.reason)
        host, _, port = service.address.rpartition(":")
        try:
            with answers.told(connection, limiter, call):
                readings = cymru.parse(cymru.converse(host.strip("[]"), int(port), asked), asked)
                if not readings:
                    raise Transient("no row about any of the addresses")
                asking.cache.keep(connection, service, readings, call, asking.run_id)
        except NoAnswer as failure:
            return BatchResult(known, asked, "unavailable", failure.reason, again=True)
        asking.cache.write_counts(connection, service, asking.run_id)
        missing = [address for address in asked if address not in readings]
        reason = "the answer ended before it came to this address" if missing else ""
        return BatchResult(known + len(readings), missing, "unavailable", reason, again=bool(missing))


def leave_open(asking: Asking, service: Service, result: BatchResult) -> None:
    """Note why the missing addresses of a batch stay open."""
    with asking.connect() as connection:
        questions = [(address, result.outcome, result.reason) for address in result.missing]
        answers.note_open(connection, service.name, questions)


@contextmanager
def _only_connection(connection: Connection, service: str, ends_at: float) -> Iterator[bool]:
    """Be the only one among all processes to talk to the service; False if that is not to be had in time."""
    while not locks.take(connection, service, patiently=True):
        if time.monotonic() >= ends_at:
            yield False
            return
    try:
        yield True
    finally:
        locks.give_back(connection, service)
