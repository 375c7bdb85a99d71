"""What is true of a file or a password in the sandbox: a pure function of seed and key.

Lives here: what VirusTotal knows of a file, by its hash, and Pwned Passwords of a password, and the awkward spelling,
if any, of a report. Not here: addresses (`facts`), the spelling itself (`hashanswers`).

Of the sample's own files some are malicious, with a label or without, one is clean and some are unknown, whatever the
seed; all other hashes draw. Passwords that the sample tries again and again are breached, whatever the seed, and so is
a share of its words with a number below 1,000; all others are in no breach.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from hashlib import sha1, shake_256
from typing import Any

from cowrie_assets.sandbox.campaigns import (
    COMMON_PASSWORDS,
    PASSWORD_SEPARATORS,
    PASSWORD_WORDS,
    SAMPLE_FILES,
    password_of,
)
from cowrie_assets.sandbox.origins import Dice

Facts = dict[str, Any]

EMPTY_FILE = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

_HASH = re.compile("[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64}")
_SAMPLE_ROLES = ("malicious", "malicious", "malicious", "malicious", "faint", "clean", "unknown", "unknown")
# By percent; the rest is awkward.
_SHARES = ((45, "malicious"), (50, "faint"), (60, "clean"), (95, "unknown"))
_ODDITIES = ("bare", "no label", "text", "nulls", "terse negative")
_CATEGORIES = ("trojan", "trojan", "miner", "downloader")
_FAMILIES = ("tidepool", "harbourd", "emberbot", "saltworm", "drifter", "undertow")
_TYPES = ("ELF", "Shell script", "Perl")
_TAGS = ("64bits", "downloader", "elf", "shared-lib", "shell", "upx")

_BREACHED_PERCENT = 60
_DICTIONARY_NUMBERS = 1000
# How often a stranger's password was seen, by one byte: most of them a few times.
_COUNTS = tuple(1 + int(2 ** (byte / 20)) for byte in range(256))
_ZEROS = (0,) * 256


@dataclass(frozen=True)
class FileCase:
    """One file as VirusTotal has it. `oddity` names an awkward way to spell `facts`, `dice` draws fillers."""

    sha256: str
    facts: Facts
    oddity: str | None
    dice: Dice


def file_case(seed: int, key: str, as_of: date) -> FileCase:
    """By any of its hashes; one that is no sha256 is taken for that of a file of its own."""
    canonical = key.lower()
    facts: Facts = {
        "outcome": "not_found", "malicious": None, "suspicious": None, "undetected": None, "harmless": None,
        "label": None, "categories": [], "names": [], "file_type": None, "size": None, "meaningful_name": None,
        "tags": [], "first_seen": None, "last_seen": None, "analysed_at": None, "times_submitted": None,
        "reputation": None,
    }  # fmt: skip
    dice = Dice(seed, "virustotal", canonical)
    if not _HASH.fullmatch(canonical):
        return FileCase(canonical, {**facts, "outcome": "not_applicable"}, None, dice)
    whole = canonical if len(canonical) == 64 else shake_256(canonical.encode()).hexdigest(32)
    role = _role(seed, canonical, dice)
    oddity = dice.pick(_ODDITIES) if role == "odd" else None
    if role == "unknown" or oddity == "terse negative":
        return FileCase(whole, facts, oddity, dice)
    _report(facts, role if oddity is None else "malicious", dice, as_of)
    if oddity in ("bare", "no label", "nulls"):
        facts |= {"label": None, "categories": [], "names": []}
    if oddity == "nulls":
        facts |= {"tags": [], "meaningful_name": None, "file_type": None}
    if oddity == "bare":
        kept = ("outcome", "malicious", "undetected")
        facts = {
            name: value if name in kept else [] if isinstance(value, list) else None for name, value in facts.items()
        }
    return FileCase(whole, facts, oddity, dice)


def _role(seed: int, sha256: str, dice: Dice) -> str:
    if sha256 == EMPTY_FILE:
        return "clean"
    if sha256 in SAMPLE_FILES:
        roles, order = list(_SAMPLE_ROLES), Dice(seed, "sample files")
        dealt = [roles.pop(order.below(len(roles))) for _ in SAMPLE_FILES]
        return dealt[SAMPLE_FILES.index(sha256)]
    drawn = dice.below(100)
    return next((role for below, role in _SHARES if drawn < below), "odd")


def _report(facts: Facts, role: str, dice: Dice, as_of: date) -> None:
    malicious = {"malicious": 12 + dice.below(45), "faint": 1 + dice.below(3)}.get(role, 0)
    engines = 58 + dice.below(12)
    suspicious = dice.below(2) if malicious else 0
    last = as_of - timedelta(days=dice.below(40))
    facts |= {
        "outcome": "found",
        "malicious": malicious,
        "suspicious": suspicious,
        "undetected": max(0, engines - malicious - suspicious),
        "harmless": 0,
        "file_type": dice.pick(_TYPES),
        "size": dice.log_between(60, 4_000_000),
        "tags": dice.some(_TAGS, 1, 3),
        "first_seen": _instant(last - timedelta(days=dice.below(400)), 0),
        "last_seen": _instant(last, 1 + dice.below(3600)),
        "analysed_at": _instant(last, 7200 + dice.below(3600)),
        "times_submitted": 1 + dice.below(60),
        "reputation": -dice.below(80) if malicious else 0,
    }
    if malicious:
        facts["meaningful_name"] = dice.pick(("bin.sh", "tide.x86_64", ".harbourd", "i"))
    if role == "malicious":
        category, family = dice.pick(_CATEGORIES), dice.pick(_FAMILIES)
        other = dice.pick([name for name in _FAMILIES if name != family])
        names = [family, other]
        facts |= {"label": f"{category}.{family}/{other}", "categories": [category], "names": names}


def _instant(day: date, seconds: int) -> str:
    moment = datetime.combine(day, time(), UTC) + timedelta(seconds=seconds)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def password_truth(seed: int, password: str) -> Facts:
    digest = sha1_of(password)
    count = _dictionary(seed).get(digest[:5], {}).get(digest[5:], 0)
    return {"outcome": "found" if count else "not_found", "breached": bool(count), "count": count}


def sha1_of(password: str) -> str:
    """40 digits in upper case."""
    return sha1(password.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest().upper()


def range_lines(seed: int, prefix: str, *, padded: bool = False, mode: str = "") -> list[str]:
    """A range, as `SUFFIX:COUNT` in order: nobody's passwords, and the dictionary's that are in some breach.

    Padding is lines that count 0, until there are 900 to 1,000. Some are those of known passwords that are in no
    breach: who takes a line for a breach is wrong.
    """
    count = 600 + Dice(seed, "hibp", prefix).below(300)
    lines = _strangers(f"{seed}|{mode}|{prefix}", count, _COUNTS)
    if padded:
        lines += _strangers(f"{seed}|{mode}|{prefix}|padding", 900 + count // 9 - count, _ZEROS)
    known = {} if mode else _dictionary(seed).get(prefix, {})
    lines += [f"{suffix}:{count}" for suffix, count in known.items() if count or padded]
    return sorted(lines)


def _strangers(what: str, count: int, counts: Sequence[int]) -> list[str]:
    """So many lines, in order: ranges are many, so the first three digits simply rise."""
    drawn = shake_256(f"hibp|{what}".encode()).digest(count * 17)
    digits = drawn[count:].hex().upper()
    return [
        f"{at * 4096 // count:03X}{digits[32 * at : 32 * at + 32]}:{counts[byte]}"
        for at, byte in enumerate(drawn[:count])
    ]


@lru_cache(maxsize=4)
def _dictionary(seed: int) -> dict[str, dict[str, int]]:
    """Known passwords by prefix and suffix, with 0 for those that are in no breach."""
    known: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for password in _words():
        digest = sha1_of(password)
        dice = Dice(seed, "password", digest)
        known[digest[:5]][digest[5:]] = dice.log_between(1, 20_000) if dice.percent(_BREACHED_PERCENT) else 0
    for password in COMMON_PASSWORDS:
        digest = sha1_of(password)
        known[digest[:5]][digest[5:]] = Dice(seed, "common", digest).log_between(100_000, 40_000_000)
    return dict(known)


def _words() -> Iterator[str]:
    yield from PASSWORD_WORDS
    for word in PASSWORD_WORDS:
        for separator in PASSWORD_SEPARATORS:
            yield from (password_of(word, separator, number) for number in range(_DICTIONARY_NUMBERS))
