"""Pwned Passwords (Have I Been Pwned): how often passwords were seen in breaches, by the beginning of their SHA-1.

Lives here: what `/range/` is asked, how its answer reads, and which range a password is in. Not here: the passwords
themselves; five of 40 digits leave, and a range has about a thousand others in it.
Sources: https://haveibeenpwned.com/API/v3#PwnedPasswords and the head of an answer (no key, no published limit).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from hashlib import sha1

from cowrie_assets.upstreams import values
from cowrie_assets.upstreams.contract import Reading, Request, Response, Transient, Unsuitable

_CURE = "set DSHIELD_EMAIL, so that the User-Agent names someone to write to"
_PREFIX = re.compile("[0-9A-F]{5}")
_SHA1 = re.compile("[0-9A-Fa-f]{40}")
# A count has no leading zero, so that a cut one is smaller and never nought.
_ROW = re.compile(rb"([0-9A-Fa-f]{35}):(0|[1-9][0-9]{0,17})")


@dataclass(frozen=True)
class PwnedPasswords:
    """Answers are asked to be padded to hide their size: a row with the count 0 is nobody's."""

    base_url: str
    contact: str | None = field(default=None, repr=False)

    def request(self, prefix: str) -> Request:
        """
        Raises:
            Unsuitable: it is anything but five hexadecimal digits in upper case.
        """
        if not _PREFIX.fullmatch(prefix):
            raise Unsuitable("is asked about the first five digits of a SHA-1 only")
        return Request(
            f"{self.base_url.rstrip('/')}/range/{prefix}",
            headers={"Add-Padding": "true", "User-Agent": values.user_agent(self.contact)},
        )

    def read(self, _prefix: str, response: Response) -> Reading:
        """Found is every range that can be read whole: there is none that the service does not know.

        Fields: `suffixes`: int, how many there are without the padding.
        `payload` is `{suffix: count}`, with 35 digits in upper case; a suffix that is not in it was in no breach.

        One row that is no row makes all of it no answer: the row may have been the one that is looked for. Rows end in
        CRLF or LF, and the last one in nothing, so that a body that ends between two rows, or inside a last count,
        looks complete. Only HTTP tells: `http.Sender` takes no body shorter than its Content-Length, or without its
        last chunk; an answer that has neither header, whose end is where the connection ends, is none.

        Raises:
            Unsuitable: it calls the prefix invalid (400).
            Refused, Limited, Transient: see `values`. Transient is 404 as well, which it never says.
        """
        if response.status == 400:
            raise Unsuitable("calls it an invalid prefix", 400)
        values.check_status(response, answers=(200,), cure=_CURE)
        if not response.headers.keys() & {"content-length", "transfer-encoding"}:
            raise Transient("sent an answer whose end nothing tells", 200)
        if not response.body:
            raise Transient("sent an empty answer", 200)
        counts: dict[str, int] = {}
        for line in response.body.replace(b"\r\n", b"\n").removesuffix(b"\n").split(b"\n"):
            row = _ROW.fullmatch(line)
            if row is None:
                raise Transient("sent a range with a row that is cut or broken", 200)
            suffix, count = row[1].decode().upper(), int(row[2])
            if count and counts.setdefault(suffix, count) != count:
                raise Transient("sent a range that contradicts itself", 200)
        return Reading("found", {"suffixes": len(counts)}, counts)


def sha1_of(password: bytes) -> str:
    """40 digits in upper case."""
    return sha1(password, usedforsecurity=False).hexdigest().upper()


def split(digest: str) -> tuple[str, str]:
    """The prefix of a SHA-1 (40 hexadecimal digits), which is asked, and the suffix that is looked for in the answer.

    Raises:
        ValueError: it is no SHA-1. The message does not tell it.
    """
    if not _SHA1.fullmatch(digest):
        raise ValueError("not the 40 hexadecimal digits of a SHA-1")
    return digest[:5].upper(), digest[5:].upper()
