"""Geo files: fetched from MaxMind, or else from DB-IP, when the copy may have a successor; the last good copy serves.

Lives here: when a file is fetched, what makes it good, how it takes the place of the one before, and what is noted of
it. Not here: what the two are asked and how that reads (`upstreams.geo_downloads`), reading geo files
(`upstreams.geoip`).

A new build replaces the old one at once: who has that open keeps it, a kill leaves the one or the other, and nothing
remains of a superseded build, as MaxMind's licence demands within 30 days.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Literal, TypeVar

import maxminddb
import stamina
from maxminddb.errors import InvalidDatabaseError

from cowrie_assets.lookup import answers, locks
from cowrie_assets.lookup.asking import NO_TIME, Asking
from cowrie_assets.lookup.limiter import Call, Limiter, NotNow
from cowrie_assets.lookup.services import Service, secret
from cowrie_assets.upstreams.contract import NoAnswer, Request, Response, Transient
from cowrie_assets.upstreams.geo_downloads import (
    KINDS,
    LARGEST_ARCHIVE,
    Announced,
    DbIpLite,
    GeoLite2,
    Kind,
    NotPublished,
    Unusable,
    onward,
)
from cowrie_assets.upstreams.geoip import GeoFile
from cowrie_assets.upstreams.http import Sender
from cowrie_assets.warehouse.event_chunks import Connection

_TRIES = 3
_LONGEST_WAIT = 60.0  # seconds, for a slot
_LONGEST_DOWNLOAD = 900.0
_LOCK = "geo_files"
_LEFTOVER = 3600.0  # seconds: no write takes so long
# A build from the future would keep out all that come after it; clocks differ by less.
_FUTURE = timedelta(days=7)
# So many networks are looked up: the first ones of GeoLite2-City lie in no country.
_LOOKUPS = 10_000

State = Literal["still current", "new edition", "unchanged", "last good copy kept", "never fetched"]
T = TypeVar("T")
# What is made of an answer: the call, the answer, and after how many redirections it came.
Keep = Callable[[Call, Response, int], T]


@dataclass(frozen=True)
class GeoRefreshed:
    """What became of a file; `reason` says why where it is not what it should be. `source` is maxmind or dbip; it and
    `edition` are None where nothing is known of the copy that serves. `age` is the build's, in days."""

    kind: Kind
    state: State
    source: str | None = None
    edition: str | None = None
    built_at: datetime | None = None
    age: int | None = None
    reason: str = ""


@dataclass(frozen=True)
class _Copy:
    """A good file, and what was noted last of one with the same content."""

    sha256: str
    md5: str
    type: str
    built_at: datetime
    source: str | None = None
    edition: str | None = None
    seen_at: datetime | None = None


def refresh_geo_files(
    asking: Asking, maxmind: Service, dbip: Service, folder: Path, kinds: Collection[Kind] = KINDS
) -> list[GeoRefreshed]:
    """Have `city.mmdb` and `asn.mmdb` in the folder, as new as they are published; each kind for itself. Safe to repeat
    and to run in several processes."""
    return [_Refresh(asking, maxmind, dbip, folder, kind).run() for kind in kinds]


class _Refresh:
    """One kind's file, once."""

    def __init__(self, asking: Asking, maxmind: Service, dbip: Service, folder: Path, kind: Kind) -> None:
        self._asking = asking
        self._services = {"maxmind": maxmind, "dbip": dbip}
        self._source = "maxmind" if maxmind.not_configured is None else "dbip"
        self._service = self._services[self._source]
        self._kind = kind
        self._path = folder / f"{kind}.mmdb"
        self._ends_at = time.monotonic() + asking.seconds
        self._connection: Connection
        self._limiter: Limiter

    def run(self) -> GeoRefreshed:
        with self._asking.connect() as self._connection, self._alone() as is_ours:
            there = self._look()
            if not is_ours:
                return self._kept(there, "quota", NO_TIME)
            self._sweep()
            if there is not None and self._is_current(there):
                return self._result("still current", there)
            if self._service.not_configured is not None:
                return self._not_configured(there)
            self._limiter = Limiter(self._connection, self._service, self._asking.run_id)
            try:
                return self._from_maxmind(there) if self._source == "maxmind" else self._from_dbip(there)
            except NotNow as not_now:
                return self._kept(there, not_now.outcome, not_now.reason)
            except NoAnswer as failure:
                return self._kept(there, "unavailable", failure.reason)

    # --- the two sources ----------------------------------------------------------------------------------------------

    def _from_maxmind(self, there: _Copy | None) -> GeoRefreshed:
        service, kind = self._service, self._kind
        client = GeoLite2(
            service.address, secret(service.account) or "", secret(service.credential) or "", secret(service.contact)
        )

        def compare(call: Call, response: Response, _: int) -> tuple[Announced, GeoRefreshed | None]:
            announced = client.read_metadata(kind, response)
            if there is not None and there.md5 == announced.md5:
                return announced, self._note("unchanged", there, announced.edition, call, response.status)
            answers.note_seen(self._connection, service.name, f"{kind} metadata", call, response.status)
            return announced, None

        def keep(call: Call, response: Response, hops: int) -> GeoRefreshed:
            chunks = client.unpack(response, hops)
            return self._keep(there, chunks, announced.edition, announced.md5, call, response.status)

        announced, unchanged = self._ask(client.metadata_request(kind), f"{kind} metadata", compare)
        return unchanged or self._ask(client.download_request(kind, announced), kind, keep)

    def _from_dbip(self, there: _Copy | None) -> GeoRefreshed:
        client = DbIpLite(self._service.address, secret(self._service.contact))
        editions = client.editions(self._kind, self._now().date())
        known = there.edition if there is not None and there.source == self._source else None
        for edition in editions:

            def keep(call: Call, response: Response, _: int, edition: str = edition) -> GeoRefreshed:
                if there is not None and response.status == 404 and known == editions[1]:
                    return self._note("unchanged", there, known, call, response.status)
                return self._keep(there, client.unpack(response), edition, None, call, response.status)

            with suppress(NotPublished):
                return self._ask(client.download_request(edition), self._kind, keep)
        raise NotPublished(f"neither {editions[0]} nor {editions[1]} is published", 404)

    def _ask(self, request: Request, key: str, keep: Keep[T]) -> T:
        # Each try from the start: a redirection leads to an address that expires.
        for attempt in stamina.retry_context(
            on=Transient, attempts=_TRIES, timeout=None, wait_initial=self._asking.retry_wait
        ):
            with attempt:
                return self._ask_once(request, key, keep)
        raise AssertionError("a retry context ends by returning or raising")

    def _ask_once(self, request: Request, key: str, keep: Keep[T]) -> T:
        hops, asked = 0, key
        while True:
            wait = min(_LONGEST_WAIT, self._ends_at - time.monotonic())
            call = self._limiter.charge(asked, 1, wait, threading.Event())
            # A sender for each: one would take cookies along.
            with (
                answers.told(self._connection, self._limiter, call),
                Sender(largest_body=LARGEST_ARCHIVE, total_timeout=_LONGEST_DOWNLOAD) as sender,
            ):
                response = sender.send(request)
                further = onward(self._service.address, request, response, hops)
                if further is None:
                    return keep(call, response, hops)
                asked = f"{key} redirection"
                answers.note_seen(self._connection, self._service.name, asked, call, response.status)
            request, hops = further, hops + 1

    # --- files --------------------------------------------------------------------------------------------------------

    def _look(self) -> _Copy | None:
        """The file that is there; None where that is missing or not good."""
        try:
            with self._path.open("rb") as file:
                sha256, md5 = _digests(iter(lambda: file.read(1 << 20), b""))
            file_type, built_at = _inspect(self._path, self._kind)
        except (OSError, Unusable):
            return None
        row = self._connection.execute(
            "SELECT source, edition, fetched_at FROM geo_databases WHERE kind = %s AND sha256 = %s "
            "ORDER BY fetched_at DESC LIMIT 1",
            (self._kind, sha256),
        ).fetchone()
        return _Copy(sha256, md5, file_type, built_at, *(row or ()))

    def _is_current(self, there: _Copy) -> bool:
        if there.source is None or there.edition is None or there.seen_at is None:
            return False
        if there.source != self._source and self._service.not_configured is None:
            return False
        now = self._now()
        if there.source == "dbip" and there.edition == DbIpLite.editions(self._kind, now.date())[0]:
            return True  # until the month is over there is no other
        return now - there.seen_at < timedelta(seconds=self._services[there.source].ttl_found)

    def _keep(
        self, there: _Copy | None, chunks: Iterator[bytes], edition: str, md5: str | None, call: Call, status: int
    ) -> GeoRefreshed:
        """Write the file beside the old one, look at it, and put it in its place."""
        new = self._path.with_name(f".{self._path.name}.{secrets.token_hex(8)}.new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with new.open("xb") as file:
                written = _digests(chunks, file.write)
                file.flush()
                os.fsync(file.fileno())
            if md5 is not None and written[1] != md5:
                raise Transient("what was fetched is not the file that was announced: its md5 is another", status)
            copy = _Copy(*written, *_inspect(new, self._kind))
            self._check_build(copy, there)
            new.replace(self._path)
            _sync(self._path.parent)
        except Unusable as failure:
            failure.status = status
            raise
        except OSError as error:
            raise Unusable(f"the file cannot be written ({os.strerror(error.errno or 0).lower()})", status) from None
        finally:
            with suppress(OSError):
                new.unlink(missing_ok=True)
        state: State = "unchanged" if there is not None and there.sha256 == copy.sha256 else "new edition"
        return self._note(state, copy, edition, call, status)

    def _check_build(self, new: _Copy, there: _Copy | None) -> None:
        if new.built_at > self._now() + _FUTURE:
            raise Unusable(f"what was fetched says that it was built in the future, on {new.built_at:%Y-%m-%d}")
        if there is None or new.built_at >= there.built_at:
            return
        same = there.source == self._source if there.source is not None else there.type == new.type
        if same:
            raise Unusable(
                f"what was fetched is older ({new.built_at:%Y-%m-%d}) than what is here ({there.built_at:%Y-%m-%d})"
            )

    def _sweep(self) -> None:
        """Remove what killed writers left."""
        long_ago = time.time() - _LEFTOVER
        for path in self._path.parent.glob(f".{self._path.name}.*.new"):
            with suppress(OSError):
                if path.stat().st_mtime < long_ago:
                    path.unlink()

    # --- the database -------------------------------------------------------------------------------------------------

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Be the only one among all processes to refresh this file; False if that is not to be had in time."""
        while not locks.take(self._connection, _LOCK, self._kind, patiently=True):
            if time.monotonic() >= self._ends_at:
                yield False
                return
        try:
            yield True
        finally:
            locks.give_back(self._connection, _LOCK, self._kind)

    def _now(self) -> datetime:
        row = self._connection.execute("SELECT lookup_now()").fetchone()
        assert row is not None  # noqa: S101
        moment: datetime = row[0]
        return moment

    def _note(self, state: State, copy: _Copy, edition: str, call: Call, status: int) -> GeoRefreshed:
        """Note that this edition was fetched, or found to be the newest one still."""
        with self._connection.transaction():
            self._connection.execute(
                "INSERT INTO geo_databases (kind, fetched_at, source, edition, built_at, sha256) "
                "VALUES (%s, lookup_now(), %s, %s, %s, %s)",
                (self._kind, self._source, edition, copy.built_at, copy.sha256),
            )
            # Whichever of the two did not answer before, there is a file now.
            for service in self._services.values():
                answers.note_seen(self._connection, service.name, self._kind, call, status)
        return self._result(state, replace(copy, source=self._source, edition=edition))

    def _not_configured(self, there: _Copy | None) -> GeoRefreshed:
        reasons = {service.name: service.not_configured or "" for service in self._services.values()}
        for name, why in reasons.items():
            answers.note_open(self._connection, name, [(self._kind, "not_configured", why)])
        told = dict.fromkeys(reasons.values())
        return self._left(there, "; ".join(told if len(told) == 1 else map(": ".join, reasons.items())))

    def _kept(self, there: _Copy | None, outcome: str, reason: str) -> GeoRefreshed:
        answers.note_open(self._connection, self._service.name, [(self._kind, outcome, reason)])
        return self._left(there, reason)

    def _left(self, there: _Copy | None, reason: str) -> GeoRefreshed:
        return self._result("never fetched" if there is None else "last good copy kept", there, reason)

    def _result(self, state: State, copy: _Copy | None, reason: str = "") -> GeoRefreshed:
        if copy is None:
            return GeoRefreshed(self._kind, state, reason=reason)
        age = max(0, (self._now() - copy.built_at).days)
        return GeoRefreshed(self._kind, state, copy.source, copy.edition, copy.built_at, age, reason)


def _digests(chunks: Iterable[bytes], write: Callable[[bytes], object] = len) -> tuple[str, str]:
    """SHA-256 and md5 of the chunks, each of which is written on the way."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    for chunk in chunks:
        sha256.update(chunk)
        md5.update(chunk)
        write(chunk)
    return sha256.hexdigest(), md5.hexdigest()


def _inspect(path: Path, kind: Kind) -> tuple[str, datetime]:
    """What a good file of this kind calls itself, and when it was built.

    Raises:
        Unusable: it is none.
    """
    try:
        with GeoFile(path) as file, maxminddb.open_database(path) as tree:
            if kind not in file.kind.lower():
                raise Unusable(f"what was fetched is another file, {file.kind[:40]!r}")
            look_up = file.city if kind == "city" else lambda address: file.asn(address)[1]
            if not any(look_up(str(network[0])) for network, _ in islice(tree, _LOOKUPS)):
                raise Unusable("what was fetched knows nothing of any address")
            return file.kind, file.built_at
    except (InvalidDatabaseError, ValueError):
        raise Unusable("what was fetched is no geo database in MaxMind's format, or a damaged one") from None


def _sync(folder: Path) -> None:
    """Let a file's new name outlive the machine."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
