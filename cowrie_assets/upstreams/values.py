"""Loose JSON into typed values, and statuses that say the same everywhere: what every service's file reads with.

Lives here: coercions, each of which takes any JSON value and gives a value of its type or none at all. Not here: what
any one service calls its fields, and its own words for "nothing".
"""

from __future__ import annotations

import ipaddress
import re
import time
from codecs import BOM_UTF8
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from cowrie_assets.upstreams.contract import Limited, NoAnswer, Refused, Response, Transient, Unsuitable

_DIGITS = re.compile("[0-9]{1,19}")
_SECONDS = re.compile(r"[+-]?[0-9]{1,15}(\.[0-9]*)?")
_DOTTED = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){3}")
_LENGTH = re.compile("[0-9]{1,3}")
_LETTERS = re.compile("[A-Za-z]{2}")
_ASN = re.compile("(?:AS)?([0-9]{1,10})", re.IGNORECASE)
_INSTANT = re.compile(
    r"(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[ T](?P<time>[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.[0-9]+)?)?"
    r"(?: ?UTC|Z|(?P<offset>[+-][0-9]{2}:[0-9]{2}))?"
)
_LARGEST = 2**63 - 1  # what a bigint holds
# Stand-ins for "not known" and for regions: unknown (twice), "Europe", "Asia/Pacific".
_NO_COUNTRIES = frozenset({"XX", "ZZ", "EU", "AP"})


def text(value: Any) -> str | None:
    """A text that says something, without the white space around it."""
    return value.strip() or None if isinstance(value, str) else None


def count(value: Any) -> int | None:
    """A whole number from 0 on, also in a string. True is no number, and neither is 1.5."""
    if isinstance(value, str):
        value = int(value) if _DIGITS.fullmatch(value := value.strip()) else None
    elif isinstance(value, float):
        value = int(value) if value.is_integer() else None
    good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST
    return value if good else None


def boolean(value: Any) -> bool | None:
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.strip().lower())
    return value if isinstance(value, bool) else None


def items(value: Any) -> list[Any]:
    """A list; what stands alone is a list of one, and null, "" and {} are an empty one."""
    if isinstance(value, list):
        return value
    return [] if value in (None, "", {}) else [value]


def table(value: Any) -> dict[str, Any]:
    """An object; anything else is an empty one."""
    return value if isinstance(value, dict) else {}


def names(values: Any) -> list[str]:
    """The texts of a list, distinct, in their order."""
    return list(dict.fromkeys(name for value in items(values) if (name := text(value))))


def country(value: Any) -> str | None:
    """A country code of two capitals. Letters are checked before they are raised: "ß" would become "SS"."""
    code = text(value) or ""
    return code.upper() if _LETTERS.fullmatch(code) and code.upper() not in _NO_COUNTRIES else None


def asn(value: Any) -> int | None:
    """The number of an AS, 1 to 2³²-1, also as "123" and "AS123"."""
    if isinstance(value, str):
        match = _ASN.fullmatch(value.strip())
        value = match.group(1) if match else None
    number = count(value)
    return number if number is not None and 0 < number < 2**32 else None


def address(value: Any) -> str | None:
    """An address in its usual form: IPv6 shortened, an IPv4 address that IPv6 carries as IPv4, octets without the zeros
    that DShield pads them with (`001.002.003.004`; `ipaddress` refuses them, and C libraries read them as octal)."""
    written = text(value) or ""
    if _DOTTED.fullmatch(written):
        written = ".".join(str(int(octet)) for octet in written.split("."))
    try:
        parsed = ipaddress.ip_address("" if "%" in written else written)
    except ValueError:
        return None
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)


def is_about(value: Any, asked: str) -> bool:
    """Whether an answer that names `value` is one about the address that was asked."""
    named = address(value)
    return named is not None and named == address(asked)


def asked_address(value: str, *, ipv4_only: bool = False) -> str:
    """The address as it is sent.

    Raises:
        Unsuitable: what is asked is no address, or not one of the family that the service knows.
    """
    usual = address(value)
    if usual is None:
        raise Unsuitable("is asked about addresses only")
    if ipv4_only and ":" in usual:
        raise Unsuitable("knows IPv4 addresses only")
    return usual


def cidr(value: Any) -> str | None:
    """A prefix, `address/length`, without host bits."""
    start, _, length = (text(value) or "").partition("/")
    known = address(start)
    if known is None or not _LENGTH.fullmatch(length):
        return None
    try:
        return str(ipaddress.ip_network(f"{known}/{length}", strict=False))
    except ValueError:
        return None


def day(value: Any) -> str | None:
    """The day (`YYYY-MM-DD`) of a date or timestamp; None for what is in no calendar, as `0000-00-00`."""
    instant = timestamp(value)
    return instant[:10] if instant else None


def timestamp(value: Any) -> str | None:
    """An instant as ISO 8601 in UTC to the second, `2026-09-01T10:00:00Z`, which sorts as text. Read are
    `2026-11-20`, `2026-11-21 05:00:00` (no zone: the services mean UTC), `2026-09-01 10:00:00 UTC` and ISO 8601."""
    match = _INSTANT.fullmatch(text(value) or "")
    if match is None:
        return None
    try:
        written = datetime.fromisoformat(f"{match['day']}T{match['time'] or '00:00:00'}{match['offset'] or '+00:00'}")
        return f"{written.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='seconds')}Z"
    except (ValueError, OverflowError):
        return None


def json_object(response: Response) -> dict[str, Any]:
    """The object that is the whole body.

    Raises:
        Transient: it is anything else: HTML, cut or broken JSON, invalid UTF-8, null, a list. Of a key that is there
            twice the last counts.
    """
    body = response.body.removeprefix(BOM_UTF8).strip()
    try:
        value = orjson.loads(body)
        orjson.dumps(value)  # it reads 1,024 levels and writes 254; what cannot be kept is no answer
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        kind = "HTML or XML in place of JSON" if body.startswith(b"<") else "JSON that is cut or broken"
        raise Transient(f"sent {kind if body else 'an empty answer'}", response.status) from None
    if not isinstance(value, dict):
        raise Transient("sent JSON of another shape than it should be", response.status)
    return value


def json_object_if_any(response: Response) -> dict[str, Any]:
    """The object that is the whole body of an answer whose status has said the most; {} where there is none."""
    try:
        return json_object(response)
    except NoAnswer:
        return {}


def user_agent(contact: str | None) -> str:
    """How we name ourselves; DShield's operators block clients that name no one to write to."""
    return f"cowrie-assets (+{contact})" if contact else "cowrie-assets"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that a Retry-After asks for, be they absurd or negative; None where it cannot be read."""
    written = headers.get("retry-after", "").strip()
    try:
        if _SECONDS.fullmatch(written):
            return float(written)
        return parsedate_to_datetime(written).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def check_status(response: Response, *, answers: Collection[int], cure: str, limited: str = "") -> None:
    """Raise for a status that is none of `answers`, which the service's file reads itself.

    Raises:
        Refused: 401 and 403, with the `cure`.
        Limited: 429; `limited` says what it means where that is not the speed.
        Transient: any other, 404 and redirections included.
    """
    if response.status in answers:
        return
    if response.status in (401, 403):
        raise Refused(f"refuses us ({response.status}): {cure}", response.status)
    if response.status == 429:
        raise Limited(limited or "asks us to slow down (429)", 429, retry_after(response.headers))
    raise Transient(f"answered with status {response.status}", response.status)
