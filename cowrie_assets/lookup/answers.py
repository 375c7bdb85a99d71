"""What is kept of questions: answers (the database tier of the cache), what is still open and why, ledger and counters.

Lives here: every statement that writes `service_answers`, `open_questions`, `lookup_ledger` outcomes and
`lookup_counters`; no other room writes them. Not here: deciding whether to ask (`asking`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import orjson

from cowrie_assets.lookup import gate
from cowrie_assets.lookup.file_tier import KeptAnswer
from cowrie_assets.lookup.hot_tier import Known
from cowrie_assets.lookup.limiter import Call, Limiter
from cowrie_assets.lookup.services import Service
from cowrie_assets.upstreams.contract import Limited, NoAnswer, Reading, Refused, Transient, Unsuitable
from cowrie_assets.warehouse.copy_text import storable
from cowrie_assets.warehouse.event_chunks import Connection

# Seconds for which nobody asks after a service refused us: a wrong key gets no better by trying it. A new key is not
# blocked, for limits belong to keys.
REFUSED_FOR = 3600.0


def lookup_now(connection: Connection) -> datetime:
    """The moment, by the clock of limits and answers: the database's."""
    row = connection.execute("SELECT lookup_now()").fetchone()
    if row is None:
        raise LookupError("the database has no clock")
    moment: datetime = row[0]
    return moment


def newest_answers(connection: Connection, service: str, needs: Mapping[str, datetime]) -> dict[str, Known]:
    """The keys that have an answer which is good at the moment that each is needed for; of several the one that is good
    for longest."""
    if not needs:
        return {}
    rows = connection.execute(
        """
        SELECT needed.key, answer.outcome, answer.answered_at, answer.expires_at
        FROM unnest(%s::text[], %s::timestamptz[]) AS needed (key, good_at)
        CROSS JOIN LATERAL (
            SELECT a.outcome, a.answered_at, a.expires_at FROM service_answers AS a
            WHERE a.service = %s AND a.key = needed.key AND a.expires_at > needed.good_at
            ORDER BY a.expires_at DESC
            LIMIT 1
        ) AS answer
        """,
        (list(needs), list(needs.values()), service),
    )
    return {key: Known(outcome, answered_at, expires_at) for key, outcome, answered_at, expires_at in rows}


def unsuitable_keys(connection: Connection, service: Service, keys: Iterable[str]) -> set[str]:
    """The keys that the service itself said it does not take, as lately as a 'not found' is good. What the gate refused
    once is not among them: it may know better now."""
    rows = connection.execute(
        """
        SELECT key FROM open_questions
        WHERE
            service = %s AND key = ANY(%s::text[]) AND outcome = 'not_applicable' AND reason <> ALL(%s::text[])
            AND noted_at > lookup_now() - make_interval(secs => %s)
        """,
        (service.name, list(keys), list(gate.REASONS), service.ttl_not_found),
    )
    return {key for (key,) in rows}


def failed_keys(connection: Connection, service: str) -> set[str]:
    """The keys about which a request failed within a day."""
    rows = connection.execute(
        """
        SELECT DISTINCT key FROM lookup_ledger
        WHERE service = %s AND outcome = 'unavailable' AND sent_at > (SELECT lookup_now()) - interval '1 day'
        """,
        (service,),
    )
    return {key for (key,) in rows}


def with_lives(
    connection: Connection,
    service: Service,
    readings: Mapping[str, Reading],
    answered_at: datetime,
    secrets: Sequence[str] = (),
) -> list[KeptAnswer]:
    """Answers, and until when each is good; without the secrets, should the service have said them back."""
    unknown = [key for key, reading in readings.items() if reading.outcome == "not_found"]
    # What a service that is asked about files did not know lives longer each time, as long as a found one at the most.
    earlier = _earlier_lives(connection, service.name, unknown) if service.asks_about == "file" and unknown else {}
    kept = []
    for key, reading in readings.items():
        life = service.ttl_found
        if reading.outcome == "not_found":
            life = min(max(service.ttl_not_found, 2 * earlier.get(key, 0.0)), max(life, service.ttl_not_found))
        elif not reading.settled and service.ttl_doubtful is not None:
            life = min(life, service.ttl_doubtful)
        ends_at = answered_at + timedelta(seconds=life)
        fields, payload = _storable(reading.fields, secrets), _storable(reading.payload, secrets)
        kept.append(KeptAnswer(service.name, key, reading.outcome, answered_at, ends_at, fields, payload))
    return kept


def _earlier_lives(connection: Connection, service: str, keys: list[str]) -> dict[str, float]:
    """The seconds for which the newest answer about each key was good, where that was "not found" as well."""
    rows = connection.execute(
        """
        SELECT key, extract(epoch FROM expires_at - answered_at)::double precision
        FROM (
            SELECT DISTINCT ON (key) key, outcome, answered_at, expires_at FROM service_answers
            WHERE service = %s AND key = ANY(%s::text[])
            ORDER BY key ASC, answered_at DESC
        ) AS newest
        WHERE outcome = 'not_found'
        """,
        (service, keys),
    )
    return dict(rows.fetchall())


def store_answers(
    connection: Connection,
    service: Service,
    kept: Sequence[KeptAnswer],
    call: Call,
    run_id: str | None,
    status: int | None = None,
) -> None:
    """Keep what one request brought, and close its ledger row: all of it, or nothing."""
    connection.execute(
        _ARRIVED
        + b""",
        stored AS (
            INSERT INTO service_answers (service, key, answered_at, expires_at, outcome, fields, payload, run_id)
            SELECT %(service)s, key, answered_at, expires_at, outcome, fields::jsonb, payload::jsonb, %(run_id)s
            FROM arrived
        ),
        settled AS (
            DELETE FROM open_questions WHERE service = %(service)s AND key = ANY(%(keys)s::text[])
        )
        UPDATE lookup_ledger
        SET outcome = %(outcome)s, http_status = %(status)s, latency_ms = %(latency)s
        WHERE call_id = %(call_id)s
        """,
        {
            **_columns(service.name, kept),
            "run_id": run_id,
            "outcome": "found" if any(answer.outcome == "found" for answer in kept) else "not_found",
            "status": status,
            "latency": call.latency_ms,
            "call_id": call.call_id,
        },
    )


def restore(connection: Connection, service: str, kept: Sequence[KeptAnswer]) -> None:
    """Put back answers that were lost; those that are there stay, and none becomes younger."""
    connection.execute(
        _ARRIVED
        + b""",
        stored AS (
            INSERT INTO service_answers (service, key, answered_at, expires_at, outcome, fields, payload)
            SELECT %(service)s, a.key, a.answered_at, a.expires_at, a.outcome, a.fields::jsonb, a.payload::jsonb
            FROM arrived AS a
            WHERE NOT EXISTS (
                SELECT FROM service_answers AS known
                WHERE known.service = %(service)s AND known.key = a.key AND known.answered_at = a.answered_at
            )
        )
        DELETE FROM open_questions AS q
        USING arrived AS a
        WHERE q.service = %(service)s AND q.key = a.key AND a.expires_at > lookup_now()
        """,
        _columns(service, kept),
    )


_ARRIVED = b"""
        WITH arrived AS (
            SELECT *
            FROM unnest(
                %(keys)s::text[], %(outcomes)s::text[], %(answered)s::timestamptz[], %(expire)s::timestamptz[],
                %(fields)s::text[], %(payloads)s::text[]
            ) AS a (key, outcome, answered_at, expires_at, fields, payload)
        )"""


def _columns(service: str, kept: Sequence[KeptAnswer]) -> dict[str, Any]:
    return {
        "service": service,
        "keys": [answer.key for answer in kept],
        "outcomes": [answer.outcome for answer in kept],
        "answered": [answer.answered_at for answer in kept],
        "expire": [answer.expires_at for answer in kept],
        "fields": [orjson.dumps(answer.fields).decode() for answer in kept],
        "payloads": [orjson.dumps(answer.payload).decode() for answer in kept],
    }


def note_seen(connection: Connection, service: str, key: str, call: Call, status: int) -> None:
    """Close the ledger row of a request whose answer is kept elsewhere, and its question."""
    outcome = "not_found" if status == 404 else "found"
    connection.execute("DELETE FROM open_questions WHERE service = %s AND key = %s", (service, key))
    connection.execute(
        "UPDATE lookup_ledger SET outcome = %s, http_status = %s, latency_ms = %s WHERE call_id = %s",
        (outcome, status, call.latency_ms, call.call_id),
    )


@contextmanager
def told(connection: Connection, limiter: Limiter, call: Call) -> Iterator[None]:
    """Send and read within: a failure closes the call's ledger row, and one that asks for silence gets it."""
    try:
        yield
    except NoAnswer as failure:
        _note_failure(connection, call, failure)
        if isinstance(failure, Limited):
            limiter.block(failure.retry_after, failure.reason)
        elif isinstance(failure, Refused):
            limiter.block(REFUSED_FOR, failure.reason)
        if isinstance(failure, Transient):
            limiter.failed(call, failure.reason)
        else:
            limiter.succeeded()
        raise
    limiter.succeeded()


def _note_failure(connection: Connection, call: Call, failure: NoAnswer) -> None:
    outcome = "not_applicable" if isinstance(failure, Unsuitable) else "unavailable"
    connection.execute(
        "UPDATE lookup_ledger SET outcome = %s, http_status = %s, latency_ms = %s, reason = %s WHERE call_id = %s",
        (outcome, failure.status, call.latency_ms, storable(failure.reason), call.call_id),
    )


def note_open(
    connection: Connection, service: str, questions: Iterable[tuple[str, str, str]], *, weakest: str = ""
) -> None:
    """Note why keys have no answer: (key, outcome, reason) each. What another run has answered by now stays settled;
    what is no news keeps its row, but for a service's own word that it takes no such key: that holds anew. The
    `weakest` reason takes the place of no failure."""
    rows = list(questions)
    if not rows:
        return
    keys, outcomes, reasons = (list(column) for column in zip(*rows, strict=True))
    connection.execute(
        """
        INSERT INTO open_questions AS known (service, key, outcome, reason, noted_at)
        SELECT %s, key, outcome, reason, lookup_now()
        FROM unnest(%s::text[], %s::text[], %s::text[]) AS open (key, outcome, reason)
        WHERE NOT EXISTS (
            SELECT FROM service_answers AS a
            WHERE a.service = %s AND a.key = open.key AND a.expires_at > lookup_now()
        )
        ORDER BY key
        ON CONFLICT (service, key) DO UPDATE
        SET outcome = excluded.outcome, reason = excluded.reason, noted_at = excluded.noted_at
        WHERE
            NOT (excluded.reason = %s AND known.outcome = 'unavailable')
            AND (known.outcome, known.reason) IS DISTINCT FROM (excluded.outcome, excluded.reason)
            OR excluded.outcome = 'not_applicable' AND excluded.reason <> ALL(%s::text[])
        """,
        (service, keys, outcomes, [storable(reason) for reason in reasons], service, weakest, list(gate.REASONS)),
    )


def add_counts(
    connection: Connection,
    service: str,
    run_id: str | None,
    tier: str,
    counts: tuple[int, int, int, int],
    oldest: datetime | None,
) -> None:
    """Add to the run's counters of a tier: hits, misses, stores, errors."""
    connection.execute(
        """
        INSERT INTO lookup_counters AS known (
            run_id, service, tier, hits, misses, stores, errors, oldest_answer_at, counted_at
        )
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s, lookup_now())
        ON CONFLICT (run_id, service, tier) DO UPDATE
        SET
            hits = known.hits + excluded.hits, misses = known.misses + excluded.misses,
            stores = known.stores + excluded.stores, errors = known.errors + excluded.errors,
            oldest_answer_at = least(known.oldest_answer_at, excluded.oldest_answer_at),
            counted_at = excluded.counted_at
        """,
        (run_id or "", service, tier, *counts, oldest),
    )


def _storable(value: Any, secrets: Sequence[str]) -> Any:
    """PostgreSQL's JSON holds no NUL; a service that echoes an attacker's text may send one, or one that echoes ours a
    key."""
    if isinstance(value, str):
        for hidden in secrets:
            value = value.replace(hidden, "…")
        return storable(value)
    if isinstance(value, Mapping):
        return {_storable(str(key), secrets): _storable(item, secrets) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_storable(item, secrets) for item in value]
    return value
