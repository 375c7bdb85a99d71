"""The one path of every question about an address, for many keys at once.

    egress gate → cache → single flight → limiter and ledger → service → cache

Lives here: the path, its workers, and when they give up. Not here: each stage (`gate`, `answers`, `limiter`), what a
service is asked (`cowrie_assets.upstreams`), batches (`bulk`).

Each answer is committed as it arrives, so a kill costs at most the calls in flight.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime

import stamina

from cowrie_assets.lookup import answers, locks
from cowrie_assets.lookup.gate import EgressGate
from cowrie_assets.lookup.limiter import Limiter, NotNow
from cowrie_assets.lookup.services import Service, client
from cowrie_assets.upstreams.contract import AddressService, Limited, NoAnswer, Refused, Transient, Unsuitable
from cowrie_assets.upstreams.http import Sender
from cowrie_assets.warehouse.event_chunks import Connection

Connect = Callable[[], AbstractContextManager[Connection]]
Report = Callable[[int, int, str], None]  # done, of how many, note

_TRIES = 3
NO_TIME = "the run's time was used up"
# The ledger tells of every try; without this the library also prints them, among the command's own output.
stamina.instrumentation.set_on_retry_hooks([])
# So many keys in a row without any answer, and the rest is not tried in this run.
_FAILURES_IN_A_ROW = 5


@dataclass
class Tally:
    """What became of a set of questions. `outcomes` counts keys: asked = hits + the sum of `outcomes`."""

    asked: int = 0
    requests: int = 0
    hits: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def open(self) -> int:
        """Keys that have no answer and could have one."""
        return sum(self.outcomes[outcome] for outcome in ("unavailable", "quota", "not_configured"))


@dataclass
class Asking:
    """How to ask: connections to the warehouse, what never leaves, the run that pays, and the time that there is."""

    connect: Connect
    gate: EgressGate
    run_id: str | None = None
    seconds: float = 1800.0
    report: Report = lambda *_: None
    retry_wait: float = 0.5


def ask(asking: Asking, service: Service, needs: Mapping[str, datetime]) -> Tally:
    """Have an answer for every key that is good at the moment it is needed for, as far as the service lets us.

    Answers lie in `service_answers` afterwards, and why the others are open in `open_questions`; the order of `needs`
    is the order of asking.
    """
    tally = Tally(asked=len(needs))
    with asking.connect() as connection:
        open_keys = sift(connection, asking, service, needs, tally)
        if open_keys:
            flight = _Flight(asking, service, needs, open_keys, tally)
            try:
                flight.run()
            finally:
                answers.note_open(connection, service.name, flight.unanswered())
        answers.count_hits(connection, service.name, asking.run_id, tally.hits)
    return tally


def sift(
    connection: Connection, asking: Asking, service: Service, needs: Mapping[str, datetime], tally: Tally
) -> list[str]:
    """The keys that have to be asked about: public ones, not the operator's own, without a good answer."""
    refused = {key: reason for key in needs if (reason := asking.gate.refuses(key, service.families)) is not None}
    answers.note_open(connection, service.name, [(key, "not_applicable", why) for key, why in refused.items()])
    allowed = {key: moment for key, moment in needs.items() if key not in refused}
    known = answers.answered_keys(connection, service.name, allowed)
    unsuitable = answers.unsuitable_keys(connection, service, allowed) - known
    open_keys = [key for key in allowed if key not in known and key not in unsuitable]
    tally.outcomes["not_applicable"] += len(refused) + len(unsuitable)
    tally.hits["database"] += len(known)
    if service.not_configured is not None and open_keys:
        reason = service.not_configured
        answers.note_open(connection, service.name, [(key, "not_configured", reason) for key in open_keys])
        tally.outcomes["not_configured"] += len(open_keys)
        tally.reasons[reason] += len(open_keys)
        return []
    return open_keys


class _Flight:
    """The workers that ask about a set of keys, and what they share."""

    def __init__(
        self, asking: Asking, service: Service, needs: Mapping[str, datetime], keys: list[str], tally: Tally
    ) -> None:
        self._asking = asking
        self._service = service
        self._client: AddressService = client(service)
        self._needs = needs
        self._total = len(keys)
        self._keys: queue.SimpleQueue[tuple[str, bool]] = queue.SimpleQueue()
        for key in keys:
            self._keys.put((key, False))
        self._tally = tally
        self._open: dict[str, tuple[str, str] | None] = dict.fromkeys(keys)  # None: nobody has come to it
        self._lock = threading.Lock()
        # Closed: no new key is begun. Stopped: nor does a worker go on that waits for its turn.
        self._closed = threading.Event()
        self._stopped = threading.Event()
        self._rest: tuple[str, str] | None = None
        self._failures_in_a_row = 0
        self._ends_at = time.monotonic() + asking.seconds

    def run(self) -> None:
        workers = min(self._service.workers, self._total)
        with ThreadPoolExecutor(workers, thread_name_prefix=self._service.name) as pool:
            futures = [pool.submit(self._work) for _ in range(workers)]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
            finally:
                self._stopped.set()  # also on Ctrl-C: what is in flight ends, nothing new begins
            for future in futures:
                future.result()

    def unanswered(self) -> list[tuple[str, str, str]]:
        """The keys without an answer, each with outcome and reason; the tally knows them, too."""
        rest = self._rest or ("unavailable", "the run ended before it")
        told = [(key, *(known or rest)) for key, known in self._open.items()]
        self._tally.outcomes.update(outcome for _, outcome, _ in told)
        self._tally.reasons.update(reason for *_, reason in told)
        return told

    def _work(self) -> None:
        with self._asking.connect() as connection, Sender() as sender:
            limiter = Limiter(connection, self._service, self._asking.run_id)
            while not (self._closed.is_set() or self._stopped.is_set()):
                try:
                    key, patiently = self._keys.get_nowait()
                except queue.Empty:
                    return
                if time.monotonic() >= self._ends_at:
                    self._end("quota", NO_TIME)
                    return
                if not locks.take(connection, self._service.name, key, patiently=patiently):
                    self._keys.put((key, True))  # another process is asking: look again when ours are done
                    continue
                try:
                    self._answer(connection, sender, limiter, key)
                finally:
                    locks.give_back(connection, self._service.name, key)

    def _answer(self, connection: Connection, sender: Sender, limiter: Limiter, key: str) -> None:
        if answers.answered_keys(connection, self._service.name, {key: self._needs[key]}):
            self._settle(key, hit=True)  # another process asked since we looked
            return
        try:
            self._ask_with_patience(connection, sender, limiter, key)
        except NotNow as reason:
            self._end(reason.outcome, reason.reason)
        except Unsuitable as refusal:
            self._leave_open(key, "not_applicable", refusal.reason)
        except Refused as refusal:
            self._leave_open(key, "unavailable", refusal.reason)
            self._end("unavailable", refusal.reason)
            self._stopped.set()
        except NoAnswer as failure:
            self._leave_open(key, "unavailable", failure.reason)
            self._count_failure(failure.reason)
        else:
            self._settle(key, hit=False)

    def _ask_with_patience(self, connection: Connection, sender: Sender, limiter: Limiter, key: str) -> None:
        # Above the limiter, so that each try waits for its turn and is charged.
        for attempt in stamina.retry_context(
            on=(Transient, Limited), attempts=_TRIES, timeout=None, wait_initial=self._asking.retry_wait
        ):
            with attempt:
                self._ask_once(connection, sender, limiter, key)

    def _ask_once(self, connection: Connection, sender: Sender, limiter: Limiter, key: str) -> None:
        request = self._client.request(key)
        call = limiter.charge(key, 1, self._ends_at - time.monotonic(), self._stopped)
        with self._lock:
            self._tally.requests += 1
        with answers.told(connection, limiter, call):
            response = sender.send(request)
            reading = self._client.read(key, response)
        answers.store_answers(connection, self._service, {key: reading}, call, self._asking.run_id, response.status)
        with self._lock:
            self._tally.outcomes[reading.outcome] += 1

    def _settle(self, key: str, *, hit: bool) -> None:
        with self._lock:
            self._failures_in_a_row = 0
            del self._open[key]
            if hit:
                self._tally.hits["another process"] += 1
            self._tell()

    def _leave_open(self, key: str, outcome: str, reason: str) -> None:
        with self._lock:
            self._open[key] = (outcome, reason)
            self._tell()

    def _count_failure(self, reason: str) -> None:
        with self._lock:
            self._failures_in_a_row += 1
            given_up = self._failures_in_a_row >= _FAILURES_IN_A_ROW
        if given_up:
            self._end("unavailable", f"{reason}; not tried after {_FAILURES_IN_A_ROW} failures in a row")

    def _end(self, outcome: str, reason: str) -> None:
        """Ask nothing more in this run; what was not asked is left open for that reason."""
        with self._lock:
            self._rest = self._rest or (outcome, reason)
        self._closed.set()

    def _tell(self) -> None:
        waiting = self._keys.qsize()
        minutes = waiting * self._service.spacing / 60
        note = f"{minutes:.0f} min left at the permitted rate" if minutes >= 1 else ""
        self._asking.report(self._total - waiting, self._total, note)
