"""Where geo files come from: MaxMind's GeoLite2 with an account, DB-IP Lite without.

Lives here: what either is asked, how its answers read, where a redirection may lead, and unpacking. Not here: fetching,
which file is good and when it is replaced (`cowrie_assets.lookup.geo_files`), reading geo files (`geoip`).
Sources: https://dev.maxmind.com/geoip/updating-databases/ and the program geoipupdate, which compares the md5 of the
unpacked file with the announced one; https://db-ip.com/db/lite.php.

MaxMind redirects a download to a store at another host, by an address that is a key in itself until it expires.
"""

from __future__ import annotations

import gzip
import re
import tarfile
import zlib
from base64 import b64encode
from codecs import BOM_UTF8
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from io import BytesIO, RawIOBase
from typing import IO, Any, Literal
from urllib.parse import urljoin, urlsplit

from cowrie_assets.upstreams import values
from cowrie_assets.upstreams.contract import NoAnswer, Refused, Request, Response, Transient

Kind = Literal["city", "asn"]
KINDS: tuple[Kind, ...] = ("city", "asn")
# Both licences ask for these words wherever something is shown that rests on the files.
MAXMIND_ATTRIBUTION = "This product includes GeoLite Data created by MaxMind, available from https://www.maxmind.com"
DBIP_ATTRIBUTION = "IP Geolocation by DB-IP (https://db-ip.com), CC BY 4.0"

# In 2026 GeoLite2-City has 65 MB, dbip-city-lite 130 MB, packed about half of that.
LARGEST_ARCHIVE = 300 << 20
LARGEST_FILE = 600 << 20
MOST_HOPS = 2
_CURE = "set MAXMIND_ACCOUNT_ID and MAXMIND_LICENSE_KEY"
_MD5 = re.compile("[0-9a-f]{32}")
_DAY = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
_GZIP = b"\x1f\x8b"
_CHUNK = 1 << 20


class Unusable(NoAnswer):
    """There was an answer, and nothing that can be used: asking again now does not help, and nobody refused us."""


class NotPublished(NoAnswer):
    """There is no such edition, or not yet."""


@dataclass(frozen=True)
class Announced:
    """The newest edition, as MaxMind announces it; `md5` is the unpacked file's."""

    edition: str
    day: date
    md5: str


class GeoLite2:
    """MaxMind's downloads for the holder of an account.

    Args:
        address: where the service is, without its paths.
        account, license_key: they go into one header, and nowhere else.
    """

    def __init__(self, address: str, account: str, license_key: str, contact: str | None = None) -> None:
        self._address = address.rstrip("/")
        authorization = f"Basic {b64encode(f'{account}:{license_key}'.encode()).decode()}"
        self._headers = _headers(contact) | {"authorization": authorization}

    def metadata_request(self, kind: Kind) -> Request:
        return Request(
            f"{self._address}/geoip/updates/metadata?edition_id={_edition_id(kind)}",
            headers={**self._headers, "accept": "application/json"},
        )

    def read_metadata(self, kind: Kind, response: Response) -> Announced:
        """
        Raises:
            NoAnswer: one of its kinds; also where another edition is announced, or one without a date or an md5.
        """
        values.check_status(response, answers=(200,), cure=_CURE)
        for database in values.items(values.json_object(response).get("databases")):
            told = values.table(database)
            if told.get("edition_id") == _edition_id(kind):
                day, md5 = _day(told.get("date")), (values.text(told.get("md5")) or "").lower()
                if day is None or not _MD5.fullmatch(md5):
                    break
                return Announced(f"{_edition_id(kind)}_{day:%Y%m%d}", day, md5)
        raise Transient("announced no edition with a date and an md5", response.status)

    def download_request(self, kind: Kind, announced: Announced) -> Request:
        return Request(
            f"{self._address}/geoip/databases/{_edition_id(kind)}/download?date={announced.day:%Y%m%d}&suffix=tar.gz",
            headers=self._headers,
        )

    def unpack(self, response: Response, hops: int) -> Iterator[bytes]:
        """The file, in chunks. Nothing is ever written where the archive says.

        Raises:
            NoAnswer: one of its kinds; Transient for an archive that is cut, damaged, of another make or too large.
        """
        if hops and response.status in (401, 403):
            raise Transient("the download's address has expired", response.status)
        values.check_status(response, answers=(200,), cure=_CURE)
        return _safely(_member_of_archive(response.body), response.status)


class DbIpLite:
    """DB-IP's monthly free editions, which anybody may fetch."""

    def __init__(self, address: str, contact: str | None = None) -> None:
        self._address = address.rstrip("/")
        self._headers = _headers(contact)

    @staticmethod
    def editions(kind: Kind, today: date) -> tuple[str, str]:
        """This month's and, since that one may take some days to come, the month's before."""
        before = today.replace(day=1) - timedelta(days=1)
        return f"dbip-{kind}-lite-{today:%Y-%m}", f"dbip-{kind}-lite-{before:%Y-%m}"

    def download_request(self, edition: str) -> Request:
        return Request(f"{self._address}/free/{edition}.mmdb.gz", headers=self._headers)

    def unpack(self, response: Response) -> Iterator[bytes]:
        """The file, in chunks.

        Raises:
            NotPublished: there is no such edition.
            NoAnswer: another of its kinds.
        """
        if response.status == 404:
            raise NotPublished("this edition is not published", 404)
        values.check_status(response, answers=(200,), cure="look at COWRIE_DBIP_URL")
        return _safely(_content(response.body), response.status)


def onward(address: str, request: Request, response: Response, hops: int) -> Request | None:
    """Where a redirection leads, without our key and our cookies; None for any other answer.

    Raises:
        Transient: it leads nowhere, or on and on.
        Refused: it leads where nobody may listen to us, or lets us log in.
    """
    if response.status not in (302, 303, 307, 308):
        return None
    location = response.headers.get("location", "").strip()
    if not location:
        raise Transient("redirects us, and does not say where to", response.status)
    if hops >= MOST_HOPS:
        raise Transient(f"redirects us more than {MOST_HOPS} times", response.status)
    # The sandbox is on loopback, and has no certificate.
    allowed = ("https", "http") if urlsplit(address).scheme == "http" else ("https",)
    url = _joined(request.url, location)
    if url is None or not url.startswith(tuple(f"{scheme}://" for scheme in allowed)):
        raise Refused("redirects us to an address that is not safe", response.status)
    kept = {name: value for name, value in request.headers.items() if name in _headers(None)}
    return Request(url, headers=kept)


def _joined(base: str, location: str) -> str | None:
    """None for what is no address, and for one with a user and a password, which would be sent."""
    try:
        url = urljoin(base, location)
        parts = urlsplit(url)
        return url if parts.hostname and "@" not in parts.netloc else None
    except ValueError:
        return None


def _headers(contact: str | None) -> dict[str, str]:
    # The files are packed already; a server that packs them once more, or says so, would have them unpacked unseen.
    return {"user-agent": values.user_agent(contact), "accept-encoding": "identity"}


def _edition_id(kind: Kind) -> str:
    return {"city": "GeoLite2-City", "asn": "GeoLite2-ASN"}[kind]


def _day(value: Any) -> date | None:
    try:
        return date.fromisoformat(value) if isinstance(value, str) and _DAY.fullmatch(value) else None
    except ValueError:
        return None


# --- unpacking --------------------------------------------------------------------------------------------------------


class _Spoilt(Exception):
    """What arrived is not what it should be; the message says why."""


class _Capped(RawIOBase):
    """What it reads of `source` ends in an error once it is too much, whatever a header says of sizes."""

    def __init__(self, source: IO[bytes], most: int) -> None:
        self._source = source
        self._left = most

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(min(size, _CHUNK) if size >= 0 else _CHUNK)
        self._left -= len(data)
        if self._left < 0:
            raise _Spoilt(f"it has more than {LARGEST_FILE} bytes")
        return data


def _unzipped(body: bytes) -> _Capped:
    """The content of a gzip, or the body itself, where it was unpacked on the way."""
    if body.removeprefix(BOM_UTF8).lstrip()[:1] == b"<":
        raise _Spoilt("it is a page in HTML")
    packed = BytesIO(body)
    # Room for the headers and the small files of an archive.
    return _Capped(gzip.GzipFile(fileobj=packed) if body.startswith(_GZIP) else packed, LARGEST_FILE + _CHUNK)  # type: ignore[arg-type]


def _chunks(file: IO[bytes] | _Capped) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk


def _content(body: bytes) -> Iterator[bytes]:
    yield from _chunks(_unzipped(body))


def _member_of_archive(body: bytes) -> Iterator[bytes]:
    """The one geo file of an archive. Read as a stream: what is not it is passed over, and nothing is extracted."""
    found = False
    source = _unzipped(body)
    with tarfile.open(fileobj=source, mode="r|") as archive:
        for member in archive:
            if not member.name.endswith(".mmdb"):
                continue
            if found:
                raise _Spoilt("it holds more than one geo file")
            if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
                raise _Spoilt("its geo file is no regular file")
            if not 0 < member.size <= LARGEST_FILE:
                raise _Spoilt(f"its geo file has {member.size} bytes")
            content = archive.extractfile(member)
            if content is not None:
                found = True
                yield from _chunks(content)
    for _ in _chunks(source):
        pass  # to the check sum, which comes after the archive's end
    if not found:
        raise _Spoilt("it holds no geo file")


def _safely(chunks: Iterator[bytes], status: int) -> Iterator[bytes]:
    reason = ""
    try:
        yield from chunks
    except _Spoilt as error:
        reason = str(error)
    except (tarfile.TarError, zlib.error, EOFError, OSError, ValueError, ArithmeticError, LookupError) as error:
        # The last three are what `tarfile` makes of a header that nobody thought of.
        reason = f"it is cut or damaged ({type(error).__name__})"
    if reason:
        raise Transient(f"what was fetched cannot be unpacked: {reason}", status)
