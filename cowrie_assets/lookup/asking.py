"""The one path of every question, for many keys at once.

    egress gate → cache → budget → single flight → limiter and ledger → service → cache

Lives here: the path, its workers, and when they give up. Not here: each stage (`gate`, `cache`, `quotas`, `limiter`),
what a service is asked (`cowrie_assets.upstreams`), Team Cymru's batches (`bulk`), what would be asked (`planning`).

Each answer is committed as it arrives, so a kill costs at most the calls in flight.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime

import stamina

from cowrie_assets.lookup import answers, locks, quotas
from cowrie_assets.lookup.cache import Cache
from cowrie_assets.lookup.gate import EgressGate
from cowrie_assets.lookup.limiter import Limiter, NotNow, ShareSpent
from cowrie_assets.lookup.services import Service, client
from cowrie_assets.upstreams.contract import BulkService, Limited, NoAnswer, Reading, Refused, Transient, Unsuitable
from cowrie_assets.upstreams.http import Sender
from cowrie_assets.warehouse.event_chunks import Connection

Connect = Callable[[], AbstractContextManager[Connection]]
Report = Callable[[int, int, str], None]  # done, of how many, note

# Tries at once, and rounds of them: what failed is tried again when all the others have had their turn.
_TRIES = 3
_ROUNDS = 3
NO_TIME = "the run's time was used up"
NOT_THIS_TIME = "beyond the number that was asked for"
ANOTHER_PROCESS = "another process"
# The ledger tells of every try; without this the library also prints them, among the command's own output.
stamina.instrumentation.set_on_retry_hooks([])


@dataclass
class Tally:
    """What became of a set of questions. `outcomes` counts keys: asked = hits + the sum of `outcomes`. `chosen` of them
    were to be asked about in this run."""

    asked: int = 0
    requests: int = 0
    hits: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    chosen: int = 0

    @property
    def open(self) -> int:
        """Keys that have no answer and could have one."""
        return sum(self.outcomes[outcome] for outcome in ("unavailable", "quota", "not_configured"))


@dataclass
class Asking:
    """How to ask: connections to the warehouse, what never leaves, what is known, the run that pays, and the time and
    the number of keys that there are for it (None: all)."""

    connect: Connect
    gate: EgressGate
    run_id: str | None = None
    seconds: float = 1800.0
    report: Report = lambda *_: None
    retry_wait: float = 0.5
    most: int | None = None
    cache: Cache = field(default_factory=Cache)


def ask(
    asking: Asking, service: Service, needs: Mapping[str, datetime], sources: Mapping[str, str] | None = None
) -> Tally:
    """Have an answer for every key that is good at the moment it is needed for, as far as the service lets us.

    Answers lie in `service_answers` afterwards, and why the others are open in `open_questions`; the order of `needs`
    is the order of asking. `sources` says which address brought a key, where that is not the key itself: its network
    pays.
    """
    tally = Tally(asked=len(needs))
    with asking.connect() as connection:
        open_keys = sift(connection, asking, service, needs, tally)
        if open_keys:
            networks = networks_of(service, open_keys, sources or {})
            budget = quotas.budget(connection, service, open_keys, networks)
            chosen = budget.keys if asking.most is None else budget.keys[: asking.most]
            beyond = budget.keys[len(chosen) :]
            tally.chosen = len(chosen)
            flight = _Flight(asking, service, needs, chosen, networks, tally)
            try:
                flight.run()
            finally:
                left = [*_left(budget.left, tally), *flight.beyond(beyond)]
                answers.note_open(connection, service.name, [*flight.unanswered(), *left], weakest=NOT_THIS_TIME)
        asking.cache.write_counts(connection, service, asking.run_id)
    return tally


def sift(
    connection: Connection, asking: Asking, service: Service, needs: Mapping[str, datetime], tally: Tally
) -> list[str]:
    """The keys that have to be asked about; why the others need not or cannot be is noted."""
    sifted = look(connection, asking, service, needs)
    not_applicable = [(key, "not_applicable", why) for key, why in sifted.refused.items()]
    answers.note_open(connection, service.name, not_applicable)
    tally.outcomes["not_applicable"] += len(sifted.refused) + len(sifted.unsuitable)
    tally.hits.update(sifted.known.values())
    reason = service.not_configured
    if reason is not None and sifted.open_keys:
        answers.note_open(connection, service.name, [(key, "not_configured", reason) for key in sifted.open_keys])
        tally.outcomes["not_configured"] += len(sifted.open_keys)
        tally.reasons[reason] += len(sifted.open_keys)
        return []
    return sifted.open_keys


@dataclass(frozen=True)
class Sifted:
    """Keys by what is to be done about them: `refused` by the gate, with the reason; `known`, with the tier that has
    the answer; `unsuitable`, by the service's own word; `open_keys`, in the order of asking."""

    refused: dict[str, str]
    known: dict[str, str]
    unsuitable: set[str]
    open_keys: list[str]


def look(connection: Connection, asking: Asking, service: Service, needs: Mapping[str, datetime]) -> Sifted:
    """Sort the keys without asking anybody."""
    refused = {key: reason for key in needs if (reason := _refusal(asking.gate, service, key)) is not None}
    allowed = {key: moment for key, moment in needs.items() if key not in refused}
    known = asking.cache.known(connection, service, allowed)
    unsuitable = answers.unsuitable_keys(connection, service, allowed) - known.keys()
    wanted = [key for key in allowed if key not in known and key not in unsuitable]
    # What failed of itself lately comes last: one such key, the most telling of all, would open the circuit each time.
    failed = answers.failed_keys(connection, service.name) if wanted and service.batch == 1 else set()
    return Sifted(refused, known, unsuitable, sorted(wanted, key=failed.__contains__))


def networks_of(service: Service, keys: Iterable[str], sources: Mapping[str, str]) -> dict[str, str]:
    """The source network that each key is asked for, where one is known and the service is scarce."""
    if not quotas.is_scarce(service):
        return {}
    addresses = {key: key if service.asks_about == "address" else sources.get(key) for key in keys}
    return {key: quotas.network_of(address) for key, address in addresses.items() if address is not None}


def _refusal(gate: EgressGate, service: Service, key: str) -> str | None:
    if service.asks_about == "address":
        return gate.refuses(key, service.families)
    return gate.refuses_digest(key, service.asks_about)


def _left(left: Mapping[str, str], tally: Tally) -> list[tuple[str, str, str]]:
    tally.outcomes["quota"] += len(left)
    tally.reasons.update(left.values())
    return [(key, "quota", reason) for key, reason in left.items()]


@dataclass(frozen=True)
class _Batch:
    """Keys of one request. `patiently`: another process is asking, so wait for it; `rounds`: how often it failed."""

    keys: tuple[str, ...]
    patiently: bool = False
    rounds: int = 0


class _Flight:
    """The workers that ask about a set of keys, and what they share."""

    def __init__(
        self,
        asking: Asking,
        service: Service,
        needs: Mapping[str, datetime],
        keys: Sequence[str],
        networks: Mapping[str, str],
        tally: Tally,
    ) -> None:
        self._asking = asking
        self._service = service
        self._client: BulkService = client(service)
        self._needs = needs
        self._networks = networks
        self._total = len(keys)
        self._batches: queue.SimpleQueue[_Batch] = queue.SimpleQueue()
        for start in range(0, len(keys), service.batch):
            self._batches.put(_Batch(tuple(keys[start : start + service.batch])))
        self._tally = tally
        self._open: dict[str, tuple[str, str] | None] = dict.fromkeys(keys)  # None: nobody has come to it
        self._lock = threading.Lock()
        # Closed: no new key is begun. Stopped: nor does a worker go on that waits for its turn.
        self._closed = threading.Event()
        self._stopped = threading.Event()
        self._rest: tuple[str, str] | None = None
        self._ends_at = time.monotonic() + asking.seconds

    def run(self) -> None:
        workers = min(self._service.workers, self._batches.qsize())
        if not workers:
            return
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

    def beyond(self, keys: Sequence[str]) -> list[tuple[str, str, str]]:
        """Keys that were more than the number to be asked about; if the run ended before it came to that, they wait for
        the same reason as the others."""
        outcome, reason = self._rest or ("quota", NOT_THIS_TIME)
        self._tally.outcomes[outcome] += len(keys)
        self._tally.reasons[reason] += len(keys)
        return [(key, outcome, reason) for key in keys]

    def _work(self) -> None:
        with self._asking.connect() as connection, Sender() as sender:
            limiter = Limiter(connection, self._service, self._asking.run_id)
            while not (self._closed.is_set() or self._stopped.is_set()):
                try:
                    batch = self._batches.get_nowait()
                except queue.Empty:
                    return
                if time.monotonic() >= self._ends_at:
                    self._end("quota", NO_TIME)
                    return
                # Of a batch the whole service: its keys may lie in another process's batch in any mixture.
                lock = batch.keys[0] if self._service.batch == 1 else None
                if not locks.take(connection, self._service.name, lock, patiently=batch.patiently):
                    self._batches.put(replace(batch, patiently=True))  # look again when ours are done
                    continue
                try:
                    self._answer(connection, sender, limiter, batch)
                finally:
                    locks.give_back(connection, self._service.name, lock)

    def _answer(self, connection: Connection, sender: Sender, limiter: Limiter, batch: _Batch) -> None:
        known = answers.newest_answers(connection, self._service.name, {key: self._needs[key] for key in batch.keys})
        if known:
            # Somebody asked since we looked.
            self._asking.cache.count_hits(self._service, ANOTHER_PROCESS, known.values())
            self._settle(known, hit=True)
        keys = [key for key in batch.keys if key not in known]
        if not keys:
            return
        try:
            self._ask_with_patience(connection, sender, limiter, keys)
        except ShareSpent as spent:
            self._leave_open(keys, spent.outcome, spent.reason)
        except NotNow as reason:
            self._end(reason.outcome, reason.reason)
        except Unsuitable as refusal:
            self._leave_open(keys, "not_applicable", refusal.reason)
        except Refused as refusal:
            self._leave_open(keys, "unavailable", refusal.reason)
            self._end("unavailable", refusal.reason)
            self._stopped.set()
        except NoAnswer as failure:
            self._leave_open(keys, "unavailable", failure.reason)
            if batch.rounds + 1 < _ROUNDS and not isinstance(failure, Limited):
                self._batches.put(_Batch(tuple(keys), rounds=batch.rounds + 1))

    def _ask_with_patience(self, connection: Connection, sender: Sender, limiter: Limiter, keys: list[str]) -> None:
        # Above the limiter, so that each try waits for its turn and is charged.
        for attempt in stamina.retry_context(
            on=(Transient, Limited), attempts=_TRIES, timeout=None, wait_initial=self._asking.retry_wait
        ):
            with attempt:
                self._ask_once(connection, sender, limiter, keys)

    def _ask_once(self, connection: Connection, sender: Sender, limiter: Limiter, keys: list[str]) -> None:
        """Ask about the keys, and take those that are settled out of the list."""
        request = self._client.request_many(keys)
        payers = Counter(self._networks[key] for key in keys if key in self._networks)
        call = limiter.charge(keys[0], len(keys), self._ends_at - time.monotonic(), self._stopped, payers)
        with self._lock:
            self._tally.requests += 1
        try:
            with answers.told(connection, limiter, call):
                response = sender.send(request)
                told = self._client.read_many(keys, response)
                if not told:
                    raise Transient("sent an answer about none of the keys", response.status)
                refusals = [reading for reading in told.values() if isinstance(reading, Unsuitable)]
                if len(refusals) == len(keys):
                    raise refusals[0]
                readings = {key: reading for key, reading in told.items() if isinstance(reading, Reading)}
                # Before the circuit hears of it: should the database be away, the files keep the answer all the same.
                cache = self._asking.cache
                cache.keep(connection, self._service, readings, call, self._asking.run_id, response.status)
        except Transient as failure:
            if call.is_probe:
                # The next probe is another key's: the fault may be with this one.
                raise NoAnswer(failure.reason, failure.status) from None
            raise
        self._note_balance(connection, readings.values(), call.call_id)
        with self._lock:
            self._tally.outcomes.update(reading.outcome for reading in readings.values())
        self._settle(readings, hit=False)
        for key, reading in told.items():
            if isinstance(reading, Unsuitable):
                self._leave_open([key], "not_applicable", reading.reason)
        keys[:] = [key for key in keys if key not in told]
        if keys:
            raise Transient("sent an answer without a word about this key", response.status)

    def _note_balance(self, connection: Connection, readings: Iterable[Reading], call_id: int) -> None:
        credits_left = [reading.fields["balance"] for reading in readings if reading.fields.get("balance") is not None]
        if self._service.by_balance and credits_left:
            quotas.note_balance(connection, self._service, credits_left[-1], call_id)

    def _settle(self, keys: Iterable[str], *, hit: bool) -> None:
        with self._lock:
            for key in keys:
                del self._open[key]
                if hit:
                    self._tally.hits[ANOTHER_PROCESS] += 1
            self._tell()

    def _leave_open(self, keys: Iterable[str], outcome: str, reason: str) -> None:
        with self._lock:
            self._open.update(dict.fromkeys(keys, (outcome, reason)))
            self._tell()

    def _end(self, outcome: str, reason: str) -> None:
        """Ask nothing more in this run; what was not asked is left open for that reason."""
        with self._lock:
            self._rest = self._rest or (outcome, reason)
        self._closed.set()

    def _tell(self) -> None:
        waiting = self._batches.qsize()
        minutes = waiting * self._service.spacing / 60
        note = f"{minutes:.0f} min left at the permitted rate" if minutes >= 1 else ""
        self._asking.report(max(0, self._total - waiting * self._service.batch), self._total, note)
