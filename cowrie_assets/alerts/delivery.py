"""From the outbox to the channels, at least once, whatever is killed in between.

Lives here: which note is due, the time it may take, what a failed try costs. Not here: writing notes (`notes`), one
message through Apprise (`sending`).

A try is claimed before it is made: in one transaction it is counted and the note put off by the time after which it may
be tried again. A sender that is killed after the message left and before it is marked thus sends it again later; one
that is killed before sends it later for the first time. No lock is held while a channel thinks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from queue import Empty, SimpleQueue

from psycopg.rows import class_row

from cowrie_assets.alerts.channels import Alerts, Channel
from cowrie_assets.alerts.sending import send
from cowrie_assets.alerts.wording import Kind, Note, trial
from cowrie_assets.warehouse.event_chunks import Connection

# All channels are talked to at the same time; no talk begins in the second half, so that each has at least the first.
SECONDS = 10.0
_GIVEN_UP_AFTER = "3 days"
_LONGEST_PAUSE = "1 hour"

Send = Callable[[str, str, str, Kind], str | None]


@dataclass(frozen=True)
class Outgoing:
    """A note as it leaves, and as it lies in the outbox."""

    note_id: int
    channel: str
    kind: Kind
    title: str
    body: str
    written_at: datetime
    next_try_at: datetime
    tries: int
    given_up_at: datetime | None
    problem: str | None


@dataclass
class Delivery:
    """What a round of sending came to: notes that were taken, and the channels that did not, with the reason."""

    delivered: int = 0
    problems: dict[str, str] = field(default_factory=dict)


def deliver(connection: Connection, alerts: Alerts, seconds: float = SECONDS, send: Send = send) -> Delivery:
    """Send what is due, for so many seconds at most. What fails waits a minute, then two, four, up to an hour, and is
    given up on the first failure after three days. A channel that fails is left alone until the next round."""
    outcome = Delivery()
    _strand(connection, list(alerts.channels))
    results: SimpleQueue[tuple[Outgoing, str | None]] = SimpleQueue()
    begun = time.monotonic()
    busy: dict[str, Outgoing] = {}

    def begin(channel: Channel) -> None:
        url = channel.url()
        if url is None:
            if _put_off(connection, channel.name, channel.without_url):
                outcome.problems[channel.name] = channel.without_url
        elif (note := _claim(connection, channel.name)) is not None:
            busy[channel.name] = note
            # Not of a pool: the end of the process would wait for a channel that hangs.
            threading.Thread(target=lambda: results.put((note, _tried(send, url, note))), daemon=True).start()

    for channel in alerts.channels.values():
        begin(channel)
    while busy:
        try:
            note, problem = results.get(timeout=max(0.0, begun + seconds - time.monotonic()))
        except Empty:
            break
        del busy[note.channel]
        if problem is None:
            _mark_delivered(connection, note)
            outcome.delivered += 1
            if time.monotonic() < begun + seconds / 2:
                begin(alerts.channels[note.channel])
        else:
            _mark_failed(connection, note, problem)
            outcome.problems[note.channel] = problem
    for note in busy.values():
        problem = f"it did not answer within {seconds:g} s"
        _mark_failed(connection, note, problem)
        outcome.problems[note.channel] = problem
    return outcome


def send_trials(alerts: Alerts, seconds: float = 2 * SECONDS, send: Send = send) -> Mapping[str, str | None]:
    """Send a test note to each channel; by channel None, or why it was not taken. The outbox is left alone."""
    results: SimpleQueue[tuple[str, str | None]] = SimpleQueue()

    def attempt(channel: Channel) -> None:
        url, note = channel.url(), trial(channel.name, sandbox=alerts.sandbox)
        results.put((channel.name, channel.without_url if url is None else _tried(send, url, note)))

    for channel in alerts.channels.values():
        threading.Thread(target=attempt, args=(channel,), daemon=True).start()
    ends_at = time.monotonic() + seconds
    told: dict[str, str | None] = dict.fromkeys(alerts.channels, f"it did not answer within {seconds:g} s")
    for _ in alerts.channels:
        try:
            name, problem = results.get(timeout=max(0.0, ends_at - time.monotonic()))
        except Empty:
            break
        told[name] = problem
    return told


def undelivered(connection: Connection) -> list[Outgoing]:
    """The notes that no channel has taken, those that were given up among them, the oldest first."""
    query = f"SELECT {_COLUMNS} FROM alert_notes WHERE delivered_at IS NULL ORDER BY note_id"  # noqa: S608 - constants
    with connection.cursor(row_factory=class_row(Outgoing)) as cursor:
        return cursor.execute(query.encode()).fetchall()


_COLUMNS = "note_id, channel, kind, title, body, written_at, next_try_at, tries, given_up_at, problem"
_OPEN = "delivered_at IS NULL AND given_up_at IS NULL"
_OLD = f"written_at < now() - interval '{_GIVEN_UP_AFTER}'"
_FAILED = f"problem = %(problem)s, given_up_at = CASE WHEN {_OLD} THEN now() END"
_NEWS = f"{_OPEN} AND ({_OLD} OR problem IS DISTINCT FROM %(problem)s)"


def _tried(send: Send, url: str, note: Note | Outgoing) -> str | None:
    try:
        return send(url, note.title, note.body, note.kind)
    except Exception as error:  # its text may hold the URL
        return f"sending failed ({type(error).__name__})"


def _claim(connection: Connection, channel: str) -> Outgoing | None:
    """The oldest note that is due for a channel, and nobody else's for a minute or more."""
    query = f"""
    UPDATE alert_notes SET
        tries = tries + 1,
        next_try_at = now() + least(interval '{_LONGEST_PAUSE}', interval '1 minute' * power(2, least(tries, 10))),
        problem = NULL
    WHERE note_id = (
        SELECT note_id FROM alert_notes
        WHERE channel = %s AND {_OPEN} AND next_try_at <= now()
        ORDER BY note_id
        LIMIT 1
        FOR UPDATE SKIP LOCKED
    )
    RETURNING {_COLUMNS}
    """  # noqa: S608 - constants of this file
    with connection.cursor(row_factory=class_row(Outgoing)) as cursor:
        return cursor.execute(query.encode(), (channel,)).fetchone()


def _mark_delivered(connection: Connection, note: Outgoing) -> None:
    """Keep that it was taken; the channel is well again, so the others that it refused need not wait any longer."""
    with connection.transaction():
        connection.execute("UPDATE alert_notes SET delivered_at = now() WHERE note_id = %s", (note.note_id,))
        connection.execute(
            f"UPDATE alert_notes SET next_try_at = now() WHERE channel = %s AND {_OPEN} AND problem IS NOT NULL".encode(),  # noqa: S608, E501 - constants of this file
            (note.channel,),
        )


def _mark_failed(connection: Connection, note: Outgoing, problem: str) -> None:
    connection.execute(
        f"UPDATE alert_notes SET {_FAILED} WHERE note_id = %(note_id)s".encode(),  # noqa: S608 - constants
        {"note_id": note.note_id, "problem": problem},
    )


def _put_off(connection: Connection, channel: str, problem: str) -> bool:
    """Keep why a channel's notes wait that cannot even be tried; whether that is news of any."""
    updated = connection.execute(
        f"UPDATE alert_notes SET {_FAILED} WHERE channel = %(channel)s AND {_NEWS}".encode(),  # noqa: S608 - constants
        {"channel": channel, "problem": problem},
    )
    return updated.rowcount > 0


def _strand(connection: Connection, channels: Collection[str]) -> None:
    """Notes for channels that are in sensors.toml no more."""
    connection.execute(
        f"UPDATE alert_notes SET {_FAILED} WHERE channel <> ALL(%(channels)s) AND {_NEWS}".encode(),  # noqa: S608 - constants
        {"channels": list(channels), "problem": "sensors.toml has no channel of this name (any more)"},
    )
