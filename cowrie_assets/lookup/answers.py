"""What is kept of questions: answers (the database tier of the cache), what is still open and why, ledger and counters.

Lives here: every statement that writes `service_answers`, `open_questions`, `lookup_ledger` outcomes and
`lookup_counters`; no other room writes them. Not here: deciding whether to ask (`asking`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import orjson

from cowrie_assets.lookup import gate
from cowrie_assets.lookup.limiter import Call, Limiter
from cowrie_assets.lookup.services import Service
from cowrie_assets.upstreams.contract import Limited, NoAnswer, Reading, Unsuitable
from cowrie_assets.warehouse.copy_text import storable
from cowrie_assets.warehouse.event_chunks import Connection


def answered_keys(connection: Connection, service: str, needs: Mapping[str, datetime]) -> set[str]:
    """The keys whose newest answer is still good at the moment that each is needed for."""
    rows = connection.execute(
        """
        SELECT needed.key
        FROM unnest(%s::text[], %s::timestamptz[]) AS needed (key, good_at)
        WHERE EXISTS (
            SELECT FROM service_answers AS a
            WHERE a.service = %s AND a.key = needed.key AND a.expires_at > needed.good_at
        )
        """,
        (list(needs), list(needs.values()), service),
    )
    return {key for (key,) in rows}


def unsuitable_keys(connection: Connection, service: Service, keys: Iterable[str]) -> set[str]:
    """The keys that the service itself said it does not take, as lately as a 'not found' is good. What the gate refused
    once is not among them: it may know better now."""
    rows = connection.execute(
        """
        SELECT key FROM open_questions
        WHERE
            service = %s AND key = ANY(%s::text[]) AND outcome = 'not_applicable' AND reason <> ALL(%s::text[])
            AND noted_at > clock_timestamp() - make_interval(secs => %s)
        """,
        (service.name, list(keys), list(gate.REASONS), service.ttl_not_found),
    )
    return {key for (key,) in rows}


def store_answers(
    connection: Connection,
    service: Service,
    readings: Mapping[str, Reading],
    call: Call,
    run_id: str | None,
    status: int | None = None,
) -> None:
    """Keep what one request brought, and close its ledger row: all of it, or nothing."""
    rows = [
        (
            key,
            reading.outcome,
            service.ttl_found if reading.outcome == "found" else service.ttl_not_found,
            _json(reading.fields),
            _json(reading.payload),
        )
        for key, reading in readings.items()
    ]
    keys, outcomes, lives, fields, payloads = (list(column) for column in zip(*rows, strict=True))
    connection.execute(
        """
        WITH arrived AS (
            SELECT *
            FROM unnest(
                %(keys)s::text[], %(outcomes)s::text[], %(lives)s::double precision[], %(fields)s::text[],
                %(payloads)s::text[]
            ) AS a (key, outcome, lives, fields, payload)
        ),
        kept AS (
            INSERT INTO service_answers (service, key, answered_at, expires_at, outcome, fields, payload, run_id)
            SELECT
                %(service)s, key, clock_timestamp(), clock_timestamp() + make_interval(secs => lives), outcome,
                fields::jsonb, payload::jsonb, %(run_id)s
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
            "service": service.name,
            "keys": keys,
            "outcomes": outcomes,
            "lives": lives,
            "fields": fields,
            "payloads": payloads,
            "run_id": run_id,
            "outcome": "found" if "found" in outcomes else "not_found",
            "status": status,
            "latency": call.latency_ms,
            "call_id": call.call_id,
        },
    )


def note_seen(connection: Connection, service: str, key: str, call: Call, status: int) -> None:
    """Close the ledger row of a request whose answer is kept elsewhere, and its question."""
    connection.execute("DELETE FROM open_questions WHERE service = %s AND key = %s", (service, key))
    connection.execute(
        "UPDATE lookup_ledger SET outcome = 'found', http_status = %s, latency_ms = %s WHERE call_id = %s",
        (status, call.latency_ms, call.call_id),
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
        raise


def _note_failure(connection: Connection, call: Call, failure: NoAnswer) -> None:
    outcome = "not_applicable" if isinstance(failure, Unsuitable) else "unavailable"
    connection.execute(
        "UPDATE lookup_ledger SET outcome = %s, http_status = %s, latency_ms = %s, reason = %s WHERE call_id = %s",
        (outcome, failure.status, call.latency_ms, storable(failure.reason), call.call_id),
    )


def note_open(connection: Connection, service: str, questions: Iterable[tuple[str, str, str]]) -> None:
    """Note why keys have no answer: (key, outcome, reason) each. What another run has answered by now stays settled;
    what is no news keeps its row, but for a service's own word that it takes no such key: that holds anew."""
    rows = list(questions)
    if not rows:
        return
    keys, outcomes, reasons = (list(column) for column in zip(*rows, strict=True))
    connection.execute(
        """
        INSERT INTO open_questions AS known (service, key, outcome, reason, noted_at)
        SELECT %s, key, outcome, reason, clock_timestamp()
        FROM unnest(%s::text[], %s::text[], %s::text[]) AS open (key, outcome, reason)
        WHERE NOT EXISTS (
            SELECT FROM service_answers AS a
            WHERE a.service = %s AND a.key = open.key AND a.expires_at > clock_timestamp()
        )
        ORDER BY key
        ON CONFLICT (service, key) DO UPDATE
        SET outcome = excluded.outcome, reason = excluded.reason, noted_at = excluded.noted_at
        WHERE
            (known.outcome, known.reason) IS DISTINCT FROM (excluded.outcome, excluded.reason)
            OR excluded.outcome = 'not_applicable' AND excluded.reason <> ALL(%s::text[])
        """,
        (service, keys, outcomes, [storable(reason) for reason in reasons], service, list(gate.REASONS)),
    )


def count_hits(connection: Connection, service: str, run_id: str | None, hits: Mapping[str, int]) -> None:
    """Add to the run's counters, by the tier where the answers lay."""
    for tier, number in hits.items():
        if number:
            connection.execute(
                """
                INSERT INTO lookup_counters AS known (run_id, service, tier, hits) VALUES (%s, %s, %s, %s)
                ON CONFLICT (run_id, service, tier) DO UPDATE SET hits = known.hits + excluded.hits
                """,
                (run_id or "", service, tier, number),
            )


def _json(value: Any) -> str:
    return orjson.dumps(_storable(value)).decode()


def _storable(value: Any) -> Any:
    """PostgreSQL's JSON holds no NUL; a service that echoes an attacker's text may send one."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, Mapping):
        return {storable(str(key)): _storable(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_storable(item) for item in value]
    return value
