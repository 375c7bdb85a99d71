"""Values as fields of PostgreSQL's COPY text format.

Lives here: escaping, and the lossless stand-in for what PostgreSQL's text cannot hold. Not here: which columns there
are (each writer lists its own).
"""

from __future__ import annotations

import re

_NEEDS_CARE = re.compile("[\\\\\t\n\r\0\ud800-\udfff]")
_COPY_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}
_COPY_SPECIAL = re.compile("[\\\\\t\n\r]")
_UNSTORABLE = re.compile("[\0\ud800-\udfff]|\\\\(?=u(?:0000|005c|d[89a-f][0-9a-f]{2}))")
_STORED_ESCAPE = re.compile(r"\\u(0000|005c|d[89a-f][0-9a-f]{2})")


def storable(text: str) -> str:
    r"""Text as PostgreSQL can hold it, and back again (`original`): NUL and the bytes of invalid UTF-8 become `\u0000`
    and `\udcff`, a backslash that would read like one of these becomes `\u005c`. Nothing else changes."""
    return _UNSTORABLE.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def original(stored: str) -> str:
    """The text that `storable` was given."""
    return _STORED_ESCAPE.sub(lambda match: chr(int(match.group(1), 16)), stored)


def original_bytes(stored: str) -> bytes:
    r"""The bytes that came over the wire. The stand-in of an invalid byte (`\udc80` to `\udcff`) is that byte again;
    any other half of a surrogate pair, which only JSON can spell, is three bytes, as if it were a character."""
    text = original(stored)
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return b"".join(
            character.encode("utf-8", "surrogateescape" if "\udc80" <= character <= "\udcff" else "surrogatepass")
            for character in text
        )


def field(value: str | None) -> str:
    """A text column's field, NULL for None."""
    if value is None:
        return "\\N"
    if _NEEDS_CARE.search(value) is None:
        return value
    return _COPY_SPECIAL.sub(lambda match: _COPY_ESCAPES[match.group()], storable(value))


def stored_field(value: str) -> str:
    """The field of a text that `storable` has made already."""
    return _COPY_SPECIAL.sub(lambda match: _COPY_ESCAPES[match.group()], value)


def number(value: float | None) -> str:
    """A numeric column's field, NULL for None."""
    return "\\N" if value is None else repr(value)
