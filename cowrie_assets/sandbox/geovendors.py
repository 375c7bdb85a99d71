"""The rules of the services that hand out geo files: MaxMind's two protocols with the store behind them, and DB-IP.

Lives here: from a request to a file, which builds there are, links that expire. Not here: what the files hold
(`geofiles`), how many may be fetched (`limits`).

A build follows from its date, and which builds there are from the sandbox's clock: MaxMind's are of Tuesdays and
Fridays, DB-IP's of the first of a month.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import io
import tarfile
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from hashlib import blake2b, md5, sha256
from typing import ClassVar
from urllib.parse import parse_qs, urlencode

from cowrie_assets.sandbox.geofiles import EDITIONS, geo_file
from cowrie_assets.sandbox.limits import Verdict
from cowrie_assets.sandbox.vendor import (
    FORBIDDEN_CREDENTIAL,
    INVALID_CREDENTIAL,
    Asked,
    Reply,
    Vendor,
    after,
    error_page,
    in_json,
    unless_known,
)

STORE_PREFIX = "maxmind-store"
_METADATA = "/geoip/updates/metadata"
_ARCHIVE, _CHECKSUM = "tar.gz", "tar.gz.sha256"
_BUILD_WEEKDAYS = (1, 4)
# An older build is not handed out: its licence ends then.
_KEPT = timedelta(days=30)
_LINK_SECONDS = 300
_GZIP = "application/gzip"


class MaxMind(Vendor):
    """Metadata, and downloads, which lead elsewhere. Only downloads are counted, and HEAD of one is none."""

    name = "maxmind"

    def key(self, asked: Asked) -> str | None:
        query = parse_qs(asked.query)
        if asked.path == _METADATA:
            return f"metadata/{query.get('edition_id', [''])[0]}"
        edition, _, last = asked.path.removeprefix("/geoip/databases/").partition("/")
        if last != "download" or not asked.path.startswith("/geoip/databases/"):
            return None
        return f"{edition}/{query.get('date', ['latest'])[0]}/{query.get('suffix', [_ARCHIVE])[0]}"

    def credential(self, asked: Asked) -> str:
        """Account and licence, as `account:license`."""
        scheme, _, encoded = asked.headers.get("authorization", "").partition(" ")
        try:
            return base64.b64decode(encoded, validate=True).decode() if scheme.lower() == "basic" else ""
        except (binascii.Error, UnicodeDecodeError):
            return ""

    def is_judged(self, key: str | None, asked: Asked) -> bool:
        return key is not None and not key.startswith("metadata/") and asked.method == "GET"

    def objection(self, asked: Asked) -> Reply | None:
        account, _, license_key = self.credential(asked).partition(":")
        if not account.isdigit() or license_key in ("", INVALID_CREDENTIAL):
            return in_json(401, {"code": "AUTHORIZATION_INVALID", "error": "Invalid account ID or license key"})
        if license_key == FORBIDDEN_CREDENTIAL:
            return in_json(403, {"code": "PERMISSION_REQUIRED", "error": "Your account has no access to this"})
        return None

    def refusal(self, verdict: Verdict, asked: Asked) -> Reply:
        # Plain text, whatever the client accepts.
        return self.says_when(Reply(429, b"Daily GeoIP database download limit reached", "text/plain"), verdict, asked)

    def answer(self, key: str, asked: Asked) -> Reply:  # noqa: ARG002
        today = self.world.clock.now().date()
        if key.startswith("metadata/"):
            edition = key.removeprefix("metadata/")
            if edition not in EDITIONS:
                return _no_such(edition)
            build = last_build(today)
            about = {"date": build.isoformat(), "edition_id": edition, "md5": database_md5(edition, build)}
            return in_json(200, {"databases": [about]})
        edition, day, suffix = key.split("/", 2)
        found = last_build(today) if day == "latest" else _day(day)
        is_there = found is not None and today - _KEPT <= found <= today and last_build(found) == found
        if edition not in EDITIONS or suffix not in (_ARCHIVE, _CHECKSUM) or found is None or not is_there:
            return _no_such(f"{edition} {day} {suffix}")
        return self._leads_to(f"{edition}_{found:%Y%m%d}.{suffix}")

    def _leads_to(self, name: str, valid_for: int = _LINK_SECONDS, spoilt: str = "") -> Reply:
        since = int(self.world.clock.wall()) + min(0, valid_for)
        link = {"X-Amz-Date": since, "X-Amz-Expires": max(0, valid_for), **({"spoilt": spoilt} if spoilt else {})}
        signed = {**link, "X-Amz-Signature": _signature(self.seed, name, since, max(0, valid_for), spoilt)}
        location = f"{self.world.store_url}/{STORE_PREFIX}/{name}?{urlencode(signed)}"
        return Reply(302, b"", "text/plain", {"location": location})

    def suffers(self, kind: str, key: str) -> bool:
        is_metadata = key.startswith("metadata/")
        if kind == "expired":
            return not is_metadata
        if kind == "corrupt":
            return key.endswith(f"/{_ARCHIVE}")
        if kind == "wrong-md5":
            return is_metadata or key.endswith(_CHECKSUM)
        return kind != "duplicate-keys" or is_metadata

    def spoilt(self, kind: str, how: str | None, reply: Reply, key: str, asked: Asked) -> Reply:  # noqa: ARG002
        if kind == "wrong-md5" and reply.body:
            told = database_md5(key.removeprefix("metadata/"), last_build(self.world.clock.now().date()))
            return replace(reply, body=reply.body.replace(told.encode(), told[::-1].encode()))
        if reply.status != 302:
            return reply
        name = reply.headers["location"].partition("?")[0].rpartition("/")[2]
        if kind == "expired":
            return self._leads_to(name, valid_for=-1)
        return self._leads_to(name, spoilt=kind if kind == "wrong-md5" else how or "gzip")

    def other_answer(self, key: str, asked: Asked) -> Reply:
        """About the next edition."""
        edition = next((name for name in EDITIONS if name in key.split("/")), None)
        if edition is None:
            return self.answer(key, asked)
        names = sorted(EDITIONS)
        return self.answer(key.replace(edition, names[(names.index(edition) + 1) % len(names)]), asked)


class MaxMindStore(Vendor):
    """Where the links of downloads lead: whoever brings his credential along is turned away, as is a late one.

    Its requests are MaxMind's in the ledger, with `store/` before the key.
    """

    name = "maxmind"
    prefix = STORE_PREFIX

    def key(self, asked: Asked) -> str | None:
        name = after("/", asked.path)
        return None if name is None else f"store/{name}"

    def credential(self, asked: Asked) -> str:
        return asked.headers.get("authorization", "")

    def is_judged(self, key: str | None, asked: Asked) -> bool:  # noqa: ARG002
        return False

    def objection(self, asked: Asked) -> Reply | None:
        if self.credential(asked):
            return _denied("InvalidArgument", "Only one auth mechanism allowed")
        query = {name: values[0] for name, values in parse_qs(asked.query).items()}
        since, seconds = query.get("X-Amz-Date", ""), query.get("X-Amz-Expires", "")
        name, spoilt = asked.path.removeprefix("/"), query.get("spoilt", "")
        signed = _signature(self.seed, name, since, seconds, spoilt)
        if query.get("X-Amz-Signature") != signed:
            return _denied("SignatureDoesNotMatch", "The request signature does not match")
        if self.world.clock.wall() >= int(since) + int(seconds):
            return _denied("AccessDenied", "Request has expired")
        return None

    def answer(self, key: str, asked: Asked) -> Reply:
        name = key.removeprefix("store/")
        edition, _, rest = name.partition("_")
        day, _, suffix = rest.partition(".")
        build = datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC).date()  # signed: it is one
        how = parse_qs(asked.query).get("spoilt", [""])[0]
        content = _checksum(edition, build, how) if suffix == _CHECKSUM else _archive(edition, build, how)
        kind = "text/plain" if suffix == _CHECKSUM else _GZIP
        reply = unless_known(asked, content, kind, datetime.combine(build, time(), UTC))
        reply.headers["content-disposition"] = f"attachment; filename={name}"
        return reply

    def suffers(self, kind: str, key: str) -> bool:
        if kind == "wrong-md5":
            return key.endswith(_CHECKSUM)
        return kind != "duplicate-keys" and (kind != "corrupt" or key.endswith(f".{_ARCHIVE}"))

    def spoilt(self, kind: str, how: str | None, reply: Reply, key: str, asked: Asked) -> Reply:  # noqa: ARG002
        if kind == "expired":
            return _denied("AccessDenied", "Request has expired")
        query = urlencode({"spoilt": kind if kind == "wrong-md5" else how or "gzip"})
        return self.answer(key, replace(asked, query=query, headers={}))


class DBIP(Vendor):
    """Two files a month, without any key."""

    name = "dbip"
    _EDITIONS: ClassVar[dict[str, str]] = {"dbip-city-lite": "DBIP-City-Lite", "dbip-asn-lite": "DBIP-ASN-Lite"}

    def key(self, asked: Asked) -> str | None:
        return after("/free/", asked.path)

    def objection(self, asked: Asked) -> Reply | None:
        return None if asked.method in ("GET", "HEAD") else error_page(405)

    def answer(self, key: str, asked: Asked) -> Reply:
        return self._file(key, asked, "")

    def _file(self, key: str, asked: Asked, how: str) -> Reply:
        month = self.world.clock.now().date().replace(day=1)
        for build in (month, (month - timedelta(days=1)).replace(day=1)):
            for name, edition in self._EDITIONS.items():
                if key == f"{name}-{build:%Y-%m}.mmdb.gz":
                    content = _packed(edition, build, how)
                    return unless_known(asked, content, _GZIP, datetime.combine(build, time(), UTC))
        return error_page(404)

    def spoilt(self, kind: str, how: str | None, reply: Reply, key: str, asked: Asked) -> Reply:  # noqa: ARG002
        return self._file(key, replace(asked, headers={}), how or "gzip")  # "corrupt"

    def other_answer(self, key: str, asked: Asked) -> Reply:
        city, asn = self._EDITIONS
        return self.answer(key.replace(city, asn) if key.startswith(city) else key.replace(asn, city), asked)


def last_build(day: date) -> date:
    """MaxMind's newest build on a day."""
    while day.weekday() not in _BUILD_WEEKDAYS:
        day -= timedelta(days=1)
    return day


def database_md5(edition: str, build: date) -> str:
    """What the metadata tells: that of the database itself, unpacked."""
    return md5(geo_file(edition, build), usedforsecurity=False).hexdigest()


def _day(text: str) -> date | None:
    try:
        return datetime.strptime(text, "%Y%m%d").replace(tzinfo=UTC).date()
    except ValueError:
        return None


def _no_such(what: str) -> Reply:
    return in_json(404, {"code": "DATABASE_NOT_FOUND", "error": f"There is no {what}"})


def _denied(code: str, message: str) -> Reply:
    text = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Reply(403, text.encode(), "application/xml")


def _signature(seed: int, *parts: object) -> str:
    return blake2b("|".join(map(str, (seed, *parts))).encode(), digest_size=16).hexdigest()


def _broken(content: bytes) -> bytes:
    """The same length, with other bytes from a third of it on."""
    at = len(content) // 3
    return content[:at] + bytes(byte ^ 0x5A for byte in content[at:])


@lru_cache(maxsize=32)
def _archive(edition: str, build: date, how: str) -> bytes:
    """`how` names the layer that is broken, "" none."""
    database = geo_file(edition, build)
    name = f"{edition}_{build:%Y%m%d}"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for file, content in (
            ("COPYRIGHT.txt", b"Invented addresses of the sandbox\n"),
            (f"{edition}.mmdb", _broken(database) if how == "mmdb" else database),
        ):
            member = tarfile.TarInfo(f"{name}/{file}")
            member.size, member.mtime = len(content), _seconds(build)
            archive.addfile(member, io.BytesIO(content))
    content = packed.getvalue()
    return _zipped(b"\xff" * 512 + content[512:] if how == "tar" else content, build, how)


@lru_cache(maxsize=16)
def _packed(edition: str, build: date, how: str) -> bytes:
    database = geo_file(edition, build)
    return _zipped(_broken(database) if how in ("mmdb", "tar") else database, build, how)


def _zipped(content: bytes, build: date, how: str) -> bytes:
    # Not gzip.compress: the header it writes differs between versions of Python.
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=packed, mtime=_seconds(build)) as file:
        file.write(content)
    return _broken(packed.getvalue()) if how == "gzip" else packed.getvalue()


def _checksum(edition: str, build: date, how: str) -> bytes:
    digest = sha256(_archive(edition, build, "")).hexdigest()
    told = digest[::-1] if how == "wrong-md5" else digest
    return f"{told}  {edition}_{build:%Y%m%d}.{_ARCHIVE}\n".encode()


def _seconds(build: date) -> int:
    return int(datetime.combine(build, time(), UTC).timestamp())
