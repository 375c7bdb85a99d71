"""Which notes are to be written: each failure once until it recovers, then its recovery once; many as one digest.

Lives here: the difference between what fails and what was told, and the outbox's new rows. Not here: words (`wording`),
the outbox's way out (`delivery`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import groupby

from cowrie_assets.alerts.channels import Alerts
from cowrie_assets.alerts.incidents import Incident, alone, forget_long_passed, mark_told, untold
from cowrie_assets.alerts.wording import Note, digest, single
from cowrie_assets.warehouse.event_chunks import Connection


def write_notes(connection: Connection, alerts: Alerts, ended: Collection[str] = ()) -> list[Note]:
    """Write what has not been told yet into the outbox, a row a channel, and keep that it is told: both or neither.

    What a backfill brought waits until its id is in `ended`. Without a channel nothing is written, and it remains to be
    told until there is one.
    """
    with alone(connection):
        forget_long_passed(connection)
        if not alerts.channels:
            return []
        incidents = untold(connection, alerts, ended)
        notes = compose(incidents, alerts)
        _into_outbox(connection, notes, alerts)
        mark_told(connection, incidents)
    return notes


def compose(incidents: Sequence[Incident], alerts: Alerts) -> list[Note]:
    """Failures and recoveries apart, each backfill apart: single notes, or one digest where there are many."""
    notes: list[Note] = []
    ordered = sorted(incidents, key=lambda i: (i.passed, i.backfill_id or "", i.key))
    for _, members in groupby(ordered, key=lambda i: (i.passed, i.backfill_id or "")):
        group = list(members)
        if len(group) >= alerts.digest_from:
            notes.append(digest(group, sandbox=alerts.sandbox))
        else:
            notes += [single(incident, sandbox=alerts.sandbox) for incident in group]
    return notes


def _into_outbox(connection: Connection, notes: Sequence[Note], alerts: Alerts) -> None:
    columns = [[getattr(note, name) for note in notes] for name in ("kind", "title", "body")]
    connection.execute(
        """
        INSERT INTO alert_notes (channel, kind, title, body, written_at, next_try_at, tries)
        SELECT channel, kind, title, body, now(), now(), 0
        FROM unnest(%s::text[], %s::text[], %s::text[]) WITH ORDINALITY AS note (kind, title, body, place)
        CROSS JOIN unnest(%s::text[]) AS channel
        ORDER BY place, channel
        """,
        (*columns, list(alerts.channels)),
    )
