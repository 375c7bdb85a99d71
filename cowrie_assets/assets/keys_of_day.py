"""The files and passwords of a day: which questions they raise, and what the answers nearest to the day say of them.

Lives here: the order of asking, the hashes of a password, the transactions, which days can still gain answers. Not
here: Dagster, asking (`cowrie_assets.lookup`), which answer is the nearest (`sql/write_virustotal_files.sql` and
`sql/write_password_stats.sql`).

A plain password stays in this process and its database: five digits of its SHA-1 are all that is asked about.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from datetime import UTC, date, datetime, time
from hashlib import sha256

from psycopg import sql

from cowrie_assets.assets.answers_of_day import asked_days_due, insert_answers
from cowrie_assets.assets.reconstruction import daily_build
from cowrie_assets.upstreams.hibp import sha1_of, split
from cowrie_assets.warehouse.copy_text import original_bytes, stored_field
from cowrie_assets.warehouse.event_chunks import Connection
from cowrie_assets.warehouse.views import sql_file

FILES, PASSWORDS = "virustotal_files", "password_stats"


def file_needs(connection: Connection, days: Collection[date]) -> tuple[dict[str, datetime], dict[str, str]]:
    """The SHA-256 of the files that sessions of the days brought or left, most telling first (of a session that got in,
    of many sessions, seen early), each with the moment at which its answer must be good: the beginning of the last of
    its days. And of each the source that brought it first, where any of them is known."""
    rows = connection.execute(
        """
        WITH brought AS (
            SELECT
                lower(f.sha256) AS sha256,
                f.day,
                min(f.occurred_at) AS brought_at,
                f.sensor,
                f.session_id,
                s.source_ip,
                s.login_successes > 0 AS got_in
            FROM files AS f
            INNER JOIN sessions AS s ON f.day = s.day AND f.sensor = s.sensor AND f.session_id = s.session_id
            WHERE f.day = ANY(%s::date[]) AND f.transfer IN ('download', 'upload') AND f.sha256 ~* '^[0-9a-f]{64}$'
            GROUP BY lower(f.sha256), f.day, f.sensor, f.session_id, s.source_ip, s.login_successes
        )
        SELECT
            sha256,
            max(day),
            (
                array_agg(host(source_ip) ORDER BY brought_at, sensor, session_id)
                FILTER (WHERE source_ip IS NOT NULL)
            )[1]
        FROM brought
        GROUP BY sha256
        ORDER BY bool_or(got_in) DESC, count(*) DESC, min(brought_at), sha256 COLLATE "C"
        """,
        (list(days),),
    ).fetchall()
    needs = {key: _beginning(day) for key, day, _ in rows}
    return needs, {key: source for key, _, source in rows if source is not None}


def password_needs(connection: Connection, days: Collection[date]) -> tuple[dict[str, datetime], dict[str, int]]:
    """The ranges that the passwords of the days are in, most used first, each with the moment at which its answer must
    be good: the beginning of the last of its days. And how many sessions used each."""
    rows = connection.execute(
        """
        SELECT password, count(DISTINCT (day, sensor, session_id)), max(day) FROM logins
        WHERE day = ANY(%s::date[]) AND password IS NOT NULL GROUP BY password
        """,
        (list(days),),
    )
    uses: Counter[str] = Counter()
    last: dict[str, date] = {}
    for password, number, day in rows:
        prefix, _ = split(sha1_of(original_bytes(password)))
        uses[prefix] += number
        last[prefix] = max(day, last.get(prefix, day))
    order = sorted(uses, key=lambda prefix: (-uses[prefix], prefix))
    return {prefix: _beginning(last[prefix]) for prefix in order}, dict(uses)


def write_virustotal_files(connection: Connection, day: date) -> dict[str, int]:
    """Replace a day's files; their number by outcome. Safe to repeat."""
    with connection.transaction(), daily_build(connection, FILES, day):
        _set_day(connection, day)
        connection.execute(sql_file("write_virustotal_files.sql").read_bytes())
        connection.execute("DELETE FROM virustotal_files WHERE day = %s", (day,))
        insert_answers(connection, FILES, "fresh_files", ("day", "sha256", "outcome", "reason", "answered_at"))
        return _by_outcome(connection, "fresh_files")


def write_password_stats(connection: Connection, day: date) -> dict[str, int]:
    """Replace what is known of the passwords of a day's sessions; the number of sessions by outcome. Safe to repeat."""
    with connection.transaction(), daily_build(connection, PASSWORDS, day):
        _set_day(connection, day)
        connection.execute(
            """
            CREATE TEMPORARY TABLE day_passwords (
                password text NOT NULL, prefix text NOT NULL, suffix text NOT NULL, sha256 text NOT NULL
            ) ON COMMIT DROP
            """
        )
        passwords = connection.execute(
            "SELECT DISTINCT password FROM logins WHERE day = %s AND password IS NOT NULL", (day,)
        ).fetchall()
        with connection.cursor() as cursor, cursor.copy("COPY day_passwords FROM STDIN") as copy:
            copy.write("".join(_hashed(password for (password,) in passwords)))
        connection.execute("ANALYZE day_passwords")
        connection.execute(sql_file("write_password_stats.sql").read_bytes())
        connection.execute("DELETE FROM password_stats WHERE day = %s", (day,))
        connection.execute(
            """
            INSERT INTO password_stats (
                day, sensor, session_id, outcome, reason, answered_at, total_attempts, unique_passwords,
                checked_passwords, breached_passwords, breach_prevalence_max, novel_password_hashes
            )
            SELECT
                day, sensor, session_id, outcome, reason, answered_at, total_attempts, unique_passwords,
                checked_passwords, breached_passwords, breach_prevalence_max, novel_password_hashes
            FROM fresh_stats
            """
        )
        return _by_outcome(connection, "fresh_stats")


def file_days_due(connection: Connection, *, can_ask: bool) -> set[date]:
    """The days whose sessions changed, and those with a file that could get its answer now."""
    return asked_days_due(connection, FILES, can_ask=can_ask)


def password_days_due(connection: Connection, *, can_ask: bool) -> set[date]:
    """The days whose sessions changed, and those with a password that could get its answer now."""
    return asked_days_due(connection, PASSWORDS, can_ask=can_ask)


def _hashed(passwords: Iterable[str]) -> Iterable[str]:
    for password in passwords:
        raw = original_bytes(password)
        prefix, suffix = split(sha1_of(raw))
        yield f"{stored_field(password)}\t{prefix}\t{suffix}\t{sha256(raw).hexdigest()}\n"


def _by_outcome(connection: Connection, table: str) -> dict[str, int]:
    query = sql.SQL("SELECT outcome, count(*) FROM {} GROUP BY outcome ORDER BY outcome")
    return dict(connection.execute(query.format(sql.Identifier(table))).fetchall())


def _set_day(connection: Connection, day: date) -> None:
    connection.execute("SELECT set_config('cowrie.day', %s, true)", (day.isoformat(),))


def _beginning(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
