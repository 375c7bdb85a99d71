"""VirusTotal: what antivirus engines say of a file, and what they call it.

Lives here: what `/api/v3/files/{sha256}` is asked and how its answer reads. Not here: its quota (500 a day, until
00:00 UTC), and uploads: no file ever leaves.
Sources: https://docs.virustotal.com/reference/ and an excerpt of a report of 2025-05-06.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Never

from cowrie_assets.upstreams import values
from cowrie_assets.upstreams.contract import Limited, Reading, Request, Response, Transient, Unsuitable

_CURE = "set VT_API_KEY to a valid key"
_USED_UP = "has no requests left today (429, QuotaExceededError)"
_TOO_QUICK = "asks us to slow down (429)"
_PAUSE = 60.0  # seconds; its rate is counted by the minute, and Retry-After may be missing
_SHA256 = re.compile("[0-9A-Fa-f]{64}")
_SETTLED = 10  # engines
_VERDICTS = ("malicious", "suspicious", "undetected", "harmless")


@dataclass(frozen=True)
class VirusTotal:
    """The key is mandatory. 401 is a bad key, never a speed limit."""

    base_url: str
    key: str = field(repr=False)
    contact: str | None = field(default=None, repr=False)

    def request(self, sha256: str) -> Request:
        """
        Raises:
            Unsuitable: it is no SHA-256 in hex.
        """
        return Request(
            f"{self.base_url.rstrip('/')}/api/v3/files/{_asked(sha256)}",
            headers={"x-apikey": self.key, "User-Agent": values.user_agent(self.contact)},
        )

    def read(self, sha256: str, response: Response) -> Reading:
        """Found is a report about the hash that counts verdicts; not found is 404 with the code `NotFoundError`.

        Fields: `label` (`suggested_threat_label`): text or None; `categories`, `names` (of the threat, the most
        frequent first): texts; `malicious`, `suspicious`, `undetected`, `harmless`: int or None, engines of the last
        analysis with that verdict; `engines`: their sum, None where all four are; `file_type` (`type_description`),
        `meaningful_name`: text or None; `size` (bytes), `times_submitted`: int or None; `reputation`: int, also
        negative, or None; `tags`: sorted texts; `first_seen`, `last_seen` (submissions), `analysed_at`: timestamps in
        UTC or None.
        `payload` lacks `last_analysis_results`.

        Raises:
            Unsuitable: it calls the hash invalid (400).
            Limited: `retry_after` is what the header says, else the seconds to 00:00 UTC where the quota is used up,
                else 60.
            Refused, Transient: see `values`. Transient is an answer about another file or without verdicts, too.
        """
        asked = _asked(sha256)
        if response.status in (400, 404, 429):
            told = values.json_object_if_any(response)
            code = values.text(values.table(told.get("error")).get("code"))
            if response.status == 404 and code == "NotFoundError":
                return Reading("not_found", _fields({}), told)
            if response.status == 400 and code in ("InvalidArgumentError", "BadRequestError"):
                raise Unsuitable("calls it an invalid hash", 400)
            if response.status == 429:
                _limited(response, quota=code == "QuotaExceededError")
        values.check_status(response, answers=(200,), cure=_CURE)
        body = values.json_object(response)
        data = values.table(body.get("data"))
        attributes = values.table(data.get("attributes"))
        named = {name.lower() for value in (data.get("id"), attributes.get("sha256")) if (name := values.text(value))}
        if named != {asked}:
            raise Transient("sent an answer that is not about the file", 200)
        if not isinstance(attributes.get("last_analysis_stats"), dict):
            raise Transient("sent a report without verdicts", 200)
        # 70 engines, of 200 bytes each, whose sums are the verdicts: nine tenths of the report.
        kept = {name: value for name, value in attributes.items() if name != "last_analysis_results"}
        fields = _fields(attributes)
        # Of few engines' verdicts, or none, a later scan often makes another.
        settled = (fields["malicious"] or 0) > _SETTLED
        return Reading("found", fields, body | {"data": data | {"attributes": kept}}, settled)


def until_reset(now: datetime) -> float:
    """Seconds from `now`, which has a zone, to the next 00:00 UTC, when the day's quota begins anew."""
    now = now.astimezone(UTC)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return (midnight - now).total_seconds()


def _limited(response: Response, *, quota: bool) -> Never:
    said = values.retry_after(response.headers)
    otherwise = until_reset(datetime.now(UTC)) if quota else _PAUSE
    raise Limited(_USED_UP if quota else _TOO_QUICK, 429, otherwise if said is None else said)


def _asked(sha256: str) -> str:
    if not _SHA256.fullmatch(sha256):
        raise Unsuitable("is asked about SHA-256 hashes only")
    return sha256.lower()


def _fields(attributes: dict[str, Any]) -> dict[str, Any]:
    stats = values.table(attributes.get("last_analysis_stats"))
    threat = values.table(attributes.get("popular_threat_classification"))
    verdicts = {verdict: values.count(stats.get(verdict)) for verdict in _VERDICTS}
    known = [number for number in verdicts.values() if number is not None]
    return {
        "label": values.text(threat.get("suggested_threat_label")),
        "categories": _most_frequent(threat.get("popular_threat_category")),
        "names": _most_frequent(threat.get("popular_threat_name")),
        **verdicts,
        "engines": values.count(sum(known)) if known else None,
        "file_type": values.text(attributes.get("type_description")),
        "size": values.count(attributes.get("size")),
        "meaningful_name": values.text(attributes.get("meaningful_name")),
        "tags": sorted(values.names(attributes.get("tags"))),
        "first_seen": _instant(attributes.get("first_submission_date")),
        "last_seen": _instant(attributes.get("last_submission_date")),
        "analysed_at": _instant(attributes.get("last_analysis_date")),
        "times_submitted": values.count(attributes.get("times_submitted")),
        "reputation": _signed(attributes.get("reputation")),
    }


def _most_frequent(value: Any) -> list[str]:
    """The values of `[{"count": 20, "value": "trojan"}, …]`; those without a count come last."""
    rows = [values.table(row) for row in values.items(value)]
    rows.sort(key=lambda row: values.count(row.get("count")) or 0, reverse=True)
    return values.names([row.get("value") for row in rows])


def _instant(value: Any) -> str | None:
    """Seconds since 1970. None for 0, which stands for never, and for what no calendar has."""
    seconds = values.count(value)
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if seconds else None
    except (ValueError, OverflowError, OSError):
        return None


def _signed(value: Any) -> int | None:
    """A whole number, also below 0, also in a string."""
    number = values.count(value)
    if number is not None:
        return number
    if isinstance(value, str):
        number = values.count(value.strip().removeprefix("-"))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        number = values.count(-value)
    return None if number is None else -number
