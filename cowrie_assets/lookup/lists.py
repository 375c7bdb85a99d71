"""Published lists: fetched when their copy is no longer current, kept edition by edition, the last good copy serving.

Lives here: when a list is fetched, what makes an edition good, which entries it opens and closes. Not here: where lists
are and how they read (`cowrie_assets.upstreams.lists`), what follows from being listed (`sql/`).

A list that fails is fetched once a run, whatever it is used for: it was downloaded again for each of 1,000 addresses
once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from math import ceil
from pathlib import Path
from typing import Literal

import stamina
from psycopg import sql

from cowrie_assets.lookup import answers
from cowrie_assets.lookup.asking import Asking
from cowrie_assets.lookup.limiter import Call, Limiter, NotNow
from cowrie_assets.lookup.services import Service, secret
from cowrie_assets.upstreams import lists, values
from cowrie_assets.upstreams.contract import NoAnswer, Request, Response, Transient
from cowrie_assets.upstreams.http import Sender
from cowrie_assets.warehouse.copy_text import field
from cowrie_assets.warehouse.event_chunks import Connection

_LARGEST_LIST = 200 << 20
_TRIES = 3
# An edition with less than half the rows of the last good one is taken for a broken one.
_LEAST_SHARE = 0.5
_KEY = "list"

State = Literal["still current", "new edition", "unchanged", "last good copy kept", "never fetched"]


@dataclass(frozen=True)
class Refreshed:
    """What became of a list; `reason` says why where it is not what it should be."""

    state: State
    rows: int
    reason: str = ""


@dataclass(frozen=True)
class _Kind:
    """How one list is found, read and stored; `columns` are its table's, without the two that say when."""

    source: Callable[[str | None], lists.ListSource]
    rows: Callable[[bytes], list[str]]
    columns: tuple[str, ...]


_KINDS = {
    "tor_exits": _Kind(lists.tor_exits, lists.parse_tor_exits, ("address",)),
    "cloud_ranges": _Kind(
        lists.cloud_ranges,
        lambda body: [f"{prefix}\t{field(provider)}" for prefix, provider in lists.parse_cloud_ranges(body)],
        ("prefix", "provider"),
    ),
}


def refresh_list(asking: Asking, service: Service, folder: Path) -> Refreshed:
    """Fetch the list if its copy is no longer current, and keep it if it is good. Safe to repeat."""
    kind = _KINDS[service.name]
    source = kind.source(service.address or None)
    with asking.connect() as connection, Sender(largest_body=_LARGEST_LIST, total_timeout=600) as sender:
        current, rows, etag, modified = _newest(connection, service.name)
        if current:
            return Refreshed("still current", rows)
        if service.not_configured is not None:
            return _kept(connection, service, rows, "not_configured", service.not_configured)
        headers = {"user-agent": values.user_agent(secret(service.contact))}
        headers |= {"if-none-match": etag} if etag else {"if-modified-since": modified} if modified else {}
        limiter = Limiter(connection, service, asking.run_id)
        try:
            return _fetch(connection, sender, limiter, Request(source.url, headers=headers), service, rows, folder)
        except NotNow as not_now:
            return _kept(connection, service, rows, not_now.outcome, not_now.reason)
        except NoAnswer as failure:
            return _kept(connection, service, rows, "unavailable", failure.reason)


def _fetch(
    connection: Connection,
    sender: Sender,
    limiter: Limiter,
    request: Request,
    service: Service,
    last_rows: int,
    folder: Path,
) -> Refreshed:
    for attempt in stamina.retry_context(on=Transient, attempts=_TRIES, timeout=None, wait_initial=0.5):
        with attempt:
            call = limiter.charge(_KEY, 1, 60, threading.Event())
            with answers.told(connection, limiter, call):
                return _keep(connection, service, call, sender.send(request), last_rows, folder)
    raise AssertionError("a retry context ends by returning or raising")


def _keep(
    connection: Connection,
    service: Service,
    call: Call,
    response: Response,
    last_rows: int,
    folder: Path,
) -> Refreshed:
    if response.status == 304 and last_rows:
        _add_edition(connection, service, call, response, None, last_rows)
        return Refreshed("unchanged", last_rows)
    values.check_status(response, answers=(200,), cure="look at COWRIE_FEEDS_URL")
    kind = _KINDS[service.name]
    source = kind.source(service.address or None)
    try:
        rows = kind.rows(response.body)
    except lists.ListError as error:
        raise NoAnswer(f"what was fetched is not the list: {error}", response.status) from None
    least = max(source.minimum_rows, ceil(_LEAST_SHARE * last_rows))
    if len(rows) < least:
        raise NoAnswer(f"it has {len(rows):,} rows, at least {least:,} were expected", response.status)
    if not _add_edition(connection, service, call, response, rows, len(rows)):
        return Refreshed("still current", len(rows))
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / f"{service.name}{Path(source.url).suffix or '.txt'}"
    new = copy.with_name(f".{copy.name}.new")
    new.write_bytes(response.body)
    new.replace(copy)
    return Refreshed("new edition", len(rows))


def _add_edition(
    connection: Connection,
    service: Service,
    call: Call,
    response: Response,
    rows: list[str] | None,
    row_count: int,
) -> bool:
    """Note that the list was seen, and open and close its entries; `rows` is None where it did not change. False if
    another run has brought an edition meanwhile."""
    with connection.transaction():
        # One run at a time; who waited meanwhile has nothing to add.
        connection.execute("SELECT pg_advisory_xact_lock(hashtext('list'), hashtext(%s))", (service.name,))
        row = connection.execute("SELECT lookup_now()").fetchone()
        moment: datetime = row[0] if row is not None else datetime.now(UTC)
        brought_by_another, _, etag, modified = _newest(connection, service.name)
        if rows is not None:
            etag, modified = response.headers.get("etag"), response.headers.get("last-modified")
        if rows is not None and not brought_by_another:
            _write_entries(connection, service.name, rows, moment)
        connection.execute(
            """
            INSERT INTO list_editions (list, fetched_at, valid_until, sha256, row_count, etag, last_modified)
            SELECT
                %(list)s,
                %(now)s,
                %(now)s + make_interval(secs => %(lives)s),
                coalesce(
                    %(sha256)s,
                    (SELECT e.sha256 FROM list_editions AS e WHERE e.list = %(list)s ORDER BY fetched_at DESC LIMIT 1)
                ),
                %(rows)s,
                %(etag)s,
                %(modified)s
            WHERE NOT %(brought)s
            """,
            {
                "list": service.name,
                "now": moment,
                "brought": brought_by_another,
                "lives": service.ttl_found,
                "sha256": None if rows is None else sha256(response.body).hexdigest(),
                "rows": row_count,
                "etag": etag,
                "modified": modified,
            },
        )
        answers.note_seen(connection, service.name, _KEY, call, response.status)
    return not brought_by_another


def _write_entries(connection: Connection, name: str, rows: list[str], moment: datetime) -> None:
    columns = _KINDS[name].columns
    names = {"table": sql.Identifier(name), "columns": sql.SQL(", ").join(map(sql.Identifier, columns))}
    connection.execute(
        sql.SQL("CREATE TEMPORARY TABLE listed ON COMMIT DROP AS SELECT {columns} FROM {table} LIMIT 0").format(**names)
    )
    copy_statement = sql.SQL("COPY listed ({columns}) FROM STDIN").format(**names)
    with connection.cursor() as cursor, cursor.copy(copy_statement) as copy:
        copy.write("".join(f"{row}\n" for row in rows))
    connection.execute("ANALYZE listed")
    names["same"] = sql.SQL(" AND ").join(sql.SQL("l.{0} = t.{0}").format(sql.Identifier(column)) for column in columns)
    connection.execute(
        sql.SQL(
            "UPDATE {table} AS t SET listed_until = %s "
            "WHERE listed_until IS NULL AND NOT EXISTS (SELECT FROM listed AS l WHERE {same})"
        ).format(**names),
        (moment,),
    )
    connection.execute(
        sql.SQL(
            "INSERT INTO {table} ({columns}, listed_from) SELECT {columns}, %s FROM listed AS l "
            "WHERE NOT EXISTS (SELECT FROM {table} AS t WHERE t.listed_until IS NULL AND {same})"
        ).format(**names),
        (moment,),
    )


def _newest(connection: Connection, name: str) -> tuple[bool, int, str | None, str | None]:
    row = connection.execute(
        "SELECT valid_until > lookup_now(), row_count, etag, last_modified FROM list_editions WHERE list = %s "
        "ORDER BY fetched_at DESC LIMIT 1",
        (name,),
    ).fetchone()
    return (False, 0, None, None) if row is None else (row[0], row[1], row[2], row[3])


def _kept(connection: Connection, service: Service, rows: int, outcome: str, reason: str) -> Refreshed:
    answers.note_open(connection, service.name, [(_KEY, outcome, reason)])
    return Refreshed("last good copy kept" if rows else "never fetched", rows, reason)
