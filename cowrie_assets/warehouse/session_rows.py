"""A day's sessions as rows: `sessions` and its five detail tables, replaced as one.

Lives here: which columns a rebuilt session fills. Not here: how it is rebuilt (`cowrie_assets.cowrie.sessions`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date

from psycopg import sql

from cowrie_assets.cowrie.sessions import Session
from cowrie_assets.warehouse.copy_text import field, number, stored_field
from cowrie_assets.warehouse.event_chunks import Connection

_COLUMNS = {
    "sessions": (
        "first_event_at, last_event_at, event_count, source_ip, source_port, destination_ip, destination_port,"
        " protocol, client_version, hassh, duration_seconds, login_attempts, login_successes, command_count,"
        " commands_failed, file_downloads, file_uploads, ssh_key_injections, forwarding_requests, unknown_events,"
        " tty_log, reported_sensor, closed"
    ),
    "logins": "sequence, occurred_at, success, username, password, key_fingerprint",
    "commands": "sequence, occurred_at, outcome, input",
    "files": "sequence, occurred_at, transfer, sha256, url, filename",
    "ssh_keys": "sequence, occurred_at, key_type, key_data, fingerprint, remark",
    "forwarding_requests": "sequence, occurred_at, destination, destination_port, source_port",
}
SESSION_TABLES = tuple(_COLUMNS)


class DayRows:
    """Collects one day's sessions as COPY text, built once (it costs more than parsing), then replaces the day."""

    def __init__(self, day: date) -> None:
        self.day = day
        self.rows: dict[str, list[str]] = {table: [] for table in SESSION_TABLES}

    def add(self, sensor: str, session: Session) -> None:
        key = f"{self.day}\t{stored_field(sensor)}\t{stored_field(session.session_id)}\t"
        self.rows["sessions"].append(key + _session(session))
        for table, lines in _details(session):
            self.rows[table].extend(f"{key}{sequence}\t{line}\n" for sequence, line in enumerate(lines, 1))

    def write(self, connection: Connection) -> None:
        """Replace the day in every table. The caller holds the transaction and the day's lock."""
        for table, rows in self.rows.items():
            name = sql.Identifier(table)
            connection.execute(sql.SQL("DELETE FROM {} WHERE day = %s").format(name), (self.day,))
            if not rows:
                continue
            statement = sql.SQL("COPY {} (day, sensor, session_id, {}) FROM STDIN").format(
                name, sql.SQL(_COLUMNS[table])
            )
            with connection.cursor() as cursor, cursor.copy(statement) as copy:
                copy.write("".join(rows))


def _session(s: Session) -> str:
    counts = {"input": 0, "failed": 0, "success": 0}
    for command in s.commands:
        counts[command.outcome] += 1
    transfers = {"download": 0, "upload": 0, "failed download": 0}
    for file in s.files:
        transfers[file.transfer] += 1
    successes = sum(login.success for login in s.logins)
    return (
        f"{s.first_event_at}\t{s.last_event_at}\t{s.event_count}\t{field(s.source_ip)}\t{number(s.source_port)}\t"
        f"{field(s.destination_ip)}\t{number(s.destination_port)}\t{field(s.protocol)}\t{field(s.client_version)}\t"
        f"{field(s.hassh)}\t{number(s.duration_seconds)}\t{len(s.logins)}\t{successes}\t{counts['input']}\t"
        f"{counts['failed']}\t{transfers['download']}\t{transfers['upload']}\t{len(s.ssh_keys)}\t{len(s.forwardings)}\t"
        f"{s.unknown_events}\t{field(s.tty_log)}\t{field(s.reported_sensor)}\t{'t' if s.closed else 'f'}\n"
    )


def _details(s: Session) -> Iterator[tuple[str, Iterable[str]]]:
    if s.logins:
        yield (
            "logins",
            (
                f"{at}\t{'t' if success else 'f'}\t{field(username)}\t{field(password)}\t{field(key)}"
                for at, success, username, password, key in s.logins
            ),
        )
    if s.commands:
        yield "commands", (f"{at}\t{outcome}\t{field(text)}" for at, outcome, text in s.commands)
    if s.files:
        yield (
            "files",
            (f"{f.at}\t{f.transfer}\t{field(f.sha256)}\t{field(f.url)}\t{field(f.filename)}" for f in s.files),
        )
    if s.ssh_keys:
        yield (
            "ssh_keys",
            (f"{k.at}\t{k.key_type}\t{k.key_data}\t{k.fingerprint}\t{field(k.remark)}" for k in s.ssh_keys),
        )
    if s.forwardings:
        yield (
            "forwarding_requests",
            (
                f"{f.at}\t{field(f.destination)}\t{number(f.destination_port)}\t{number(f.source_port)}"
                for f in s.forwardings
            ),
        )
