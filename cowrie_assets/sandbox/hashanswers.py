"""How VirusTotal spells what it knows of a file, and Pwned Passwords a range.

Lives here: status and body. Not here: what is true (`hashfacts`), keys, quotas and faults (`hashvendors`, `limits`).
"""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Any

from cowrie_assets.sandbox.facts import AS_OF
from cowrie_assets.sandbox.hashfacts import FileCase, file_case, range_lines

Body = dict[str, Any]

_PREFIX = re.compile("[0-9A-F]{5}")


def error(code: str, message: str) -> Body:
    return {"error": {"code": code, "message": message}}


def virustotal(seed: int, key: str, as_of: date = AS_OF) -> tuple[int, Body]:
    """`GET /api/v3/files/{key}`, by any hash."""
    asked = file_case(seed, key, as_of)
    facts, oddity = asked.facts, asked.oddity
    if facts["outcome"] == "not_applicable":
        return 400, error("InvalidArgumentError", f'"{key}" is not a valid hash')
    if facts["outcome"] == "not_found":
        told = error("NotFoundError", f'File "{key}" not found')
        if oddity == "terse negative":
            del told["error"]["message"]
        return 404, told
    link = {"self": f"https://www.virustotal.com/api/v3/files/{asked.sha256}"}
    return 200, {"data": {"type": "file", "id": asked.sha256, "links": link, "attributes": _attributes(asked)}}


def _attributes(asked: FileCase) -> Body:
    facts, oddity = asked.facts, asked.oddity
    verdicts = {name: facts[name] for name in ("malicious", "suspicious", "undetected", "harmless")}
    if oddity == "bare":
        known = {name: count for name, count in verdicts.items() if count is not None}
        return {"sha256": asked.sha256, "last_analysis_stats": known}
    attributes: Body = {
        "sha256": asked.sha256,
        "md5": f"{asked.dice.below(1 << 128):032x}",
        "size": facts["size"],
        "type_description": facts["file_type"],
        "names": [facts["meaningful_name"]] if facts["meaningful_name"] else [],
        "tags": facts["tags"],
        "first_submission_date": _seconds(facts["first_seen"]),
        "last_submission_date": _seconds(facts["last_seen"]),
        "last_analysis_date": _seconds(facts["analysed_at"]),
        "times_submitted": facts["times_submitted"],
        "reputation": facts["reputation"],
        "last_analysis_stats": {
            **verdicts, "timeout": 0, "confirmed-timeout": 0, "failure": 0, "type-unsupported": asked.dice.below(15),
        },
        "last_analysis_results": _results(facts),
    }  # fmt: skip
    # A clean file has neither.
    if facts["meaningful_name"]:
        attributes["meaningful_name"] = facts["meaningful_name"]
    if facts["label"]:
        attributes["popular_threat_classification"] = {
            "suggested_threat_label": facts["label"],
            "popular_threat_category": [{"count": 20, "value": name} for name in facts["categories"]],
            "popular_threat_name": [{"count": 15 - place, "value": name} for place, name in enumerate(facts["names"])],
        }
    if oddity == "text":
        stats = attributes["last_analysis_stats"]
        attributes["last_analysis_stats"] = {name: str(count) for name, count in stats.items()}
        attributes |= {name: str(attributes[name]) for name in ("size", "times_submitted", "reputation")}
    if oddity == "nulls":
        absent = ("names", "tags", "meaningful_name", "type_description", "popular_threat_classification")
        attributes |= dict.fromkeys(absent)
    return attributes


def _results(facts: Body) -> Body:
    """What each engine says; their sums are the verdicts."""
    results: Body = {}
    for category in ("malicious", "suspicious", "undetected"):
        for _ in range(facts[category]):
            engine = f"Engine {len(results) + 1:02}"
            results[engine] = {
                "category": category,
                "engine_name": engine,
                "result": facts["label"] if category == "malicious" else None,
                "method": "blacklist",
                "engine_update": "20250912",
            }
    return results


def _seconds(instant: str) -> int:
    return int(datetime.fromisoformat(instant).timestamp())


def hibp_range(seed: int, prefix: str, *, padded: bool = False, mode: str = "") -> tuple[int, bytes]:
    """`GET /range/{prefix}`: lines end in CRLF, the last one in nothing."""
    if not _PREFIX.fullmatch(prefix):
        return 400, b"The hash prefix was not in a valid format"
    return 200, "\r\n".join(range_lines(seed, prefix, padded=padded, mode=mode)).encode()
