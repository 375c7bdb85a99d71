"""Hostile text made harmless, one function for each place where it is shown (promise P11).

Lives here: Markdown (the Dagster UI), CSV, terminal. Not here: HTML (jinja2 escapes it by itself).
"""

from __future__ import annotations

import re
import unicodedata

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|~<>&:@/])")
_ADDRESS = re.compile(r"://|@|(?<=www)\.", re.IGNORECASE)
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def markdown_text(text: str) -> str:
    """Text inside Markdown that becomes no markup, link, image, table cell or HTML."""
    # A word joiner, which nobody sees, keeps addresses apart: the UI looks for them behind the entities, too.
    apart = _ADDRESS.sub(lambda match: f"\u2060{match.group()}\u2060", visible(text))
    return _MARKDOWN.sub(lambda match: f"&#{ord(match.group())};", apart)


def markdown_code(text: str) -> str:
    """Text as inline code."""
    return f"`{visible(text).replace('`', 'ˋ').replace('|', '¦') or ' '}`"


def csv_text(text: str) -> str:
    """Text that a spreadsheet does not take for a formula."""
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def visible(text: str) -> str:
    r"""Text for one line of a terminal: control, format and unprintable characters as `\x1b` or `\u202e`."""
    return "".join(char if _is_plain(char) else _escaped(char) for char in text)


def _is_plain(char: str) -> bool:
    return char == " " or unicodedata.category(char)[0] not in "CZ"


def _escaped(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
