"""No text is lost on its way into PostgreSQL: what COPY cannot hold is spelt in a way that can be undone.

COPY's text format is read back here by a small reader, written from PostgreSQL's description of the format.
"""

from __future__ import annotations

import math
import re
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cowrie_assets.cowrie.sessions import reconstruct
from cowrie_assets.warehouse.copy_text import field, number, original, original_bytes, storable
from cowrie_assets.warehouse.event_chunks import session_id_of
from cowrie_assets.warehouse.session_rows import DayRows
from cowrie_assets_tests import loglines

# Pieces of the stand-ins, so that texts which look like stand-ins come up, also across the border of two pieces.
STAND_INS = ("\\u0000", "\\u005c", "\\ud83d", "\\uDCFF", "\\u", "0000", "005c", "dc", "ff", "u", "d", "8")
HOSTILE = ("\\", "\\\\", "\0", "\ud800", "\udfff", "\ud83d\udf0a", "\t", "\n", "\r", "\\N", "\\.", "🌊", "x")
PIECES = st.sampled_from(STAND_INS + HOSTILE)
TEXTS = st.text() | st.text(st.characters()) | st.lists(PIECES, max_size=12).map("".join)
many = settings(max_examples=150, deadline=None)

_SIMPLE = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def read_field(text: str) -> str | None:
    """A field of COPY's text format as the server reads it."""
    if text == "\\N":
        return None

    def unescaped(match: re.Match[str]) -> str:
        code = match.group(1)
        if code[0] == "x" and len(code) > 1:
            return chr(int(code[1:], 16))
        if code[0] in "01234567":
            return chr(int(code, 8) & 0xFF)
        return _SIMPLE.get(code, code)

    return re.sub(r"\\(x[0-9A-Fa-f]{1,2}|[0-7]{1,3}|.)", unescaped, text, flags=re.DOTALL)


@given(TEXTS)
@many
def test_what_is_stored_can_be_turned_back(text: str) -> None:
    assert original(storable(text)) == text


# Half a surrogate pair, which only JSON can spell.
HALVES = st.sampled_from("\ud800\udbff\udc00\udc7f\udd00\udfff")


@given(st.lists(st.binary(max_size=4) | st.text(max_size=4).map(str.encode) | HALVES | PIECES, max_size=8))
@many
def test_the_bytes_that_came_over_the_wire_can_be_had_again(pieces: list[bytes | str]) -> None:
    """Of a password hashes are asked about: those of a stand-in would be of another password."""
    # Read as a log line is: invalid UTF-8 as surrogates, escaped halves as themselves.
    read = [piece.decode("utf-8", "surrogateescape") if isinstance(piece, bytes) else piece for piece in pieces]
    sent = b"".join(
        piece.encode("utf-8", "surrogatepass") if isinstance(piece, str) and not is_byte(piece) else in_bytes(piece)
        for piece in pieces
    )
    assert original_bytes(storable("".join(read))) == sent


def is_byte(piece: str) -> bool:
    """Whether a piece is what a single invalid byte is read as."""
    return len(piece) == 1 and "\udc80" <= piece <= "\udcff"


def in_bytes(piece: bytes | str) -> bytes:
    return piece if isinstance(piece, bytes) else bytes([ord(piece) - 0xDC00])


@given(TEXTS)
@many
def test_postgresql_can_hold_what_is_stored(text: str) -> None:
    stored = storable(text)
    assert "\0" not in stored
    stored.encode("utf-8")  # fails on a surrogate


@given(TEXTS, TEXTS)
@many
def test_two_texts_are_never_stored_alike(one: str, other: str) -> None:
    assert (storable(one) == storable(other)) is (one == other)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\\")))
@many
def test_ordinary_text_is_stored_as_it_is(text: str) -> None:
    assert storable(text) == text


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("drift\0wood", r"drift\u0000wood"),
        ("sea\udcffweed", r"sea\udcffweed"),
        (r"\u0000", r"\u005cu0000"),
        (r"\udcff", r"\u005cudcff"),
        (r"\u005c", r"\u005cu005c"),
        (r"\uDCFF", r"\uDCFF"),
        (r"\u0041 \x00 C:\users", r"\u0041 \x00 C:\users"),
        ("\\\0", r"\\u0000"),
        ("🌊", "🌊"),
    ],
)
def test_only_what_needs_a_stand_in_or_looks_like_one_is_changed(text: str, stored: str) -> None:
    assert storable(text) == stored


@given(TEXTS | st.none())
@many
def test_a_field_is_read_as_what_was_to_be_stored(text: str | None) -> None:
    written = field(text)
    assert not set(written) & set("\t\n\r\0")
    assert read_field(written) == (None if text is None else storable(text))


@given(st.lists(TEXTS | st.none(), min_size=1, max_size=4))
@settings(deadline=None)
def test_a_row_is_cut_where_its_fields_end(values: list[str | None]) -> None:
    row = "\t".join(map(field, values)) + "\n"
    assert row.count("\n") == 1
    stored = [read_field(written) for written in row.rstrip("\n").split("\t")]
    assert [None if text is None else original(text) for text in stored] == values


@pytest.mark.parametrize("text", ["", "\\N", "\\.", "NULL"])
def test_no_text_is_taken_for_null_or_for_the_end_of_the_data(text: str) -> None:
    assert field(text) not in ("\\N", "\\.")
    assert read_field(field(text)) == text


@given(st.none() | st.integers() | st.floats(allow_nan=False))
@settings(deadline=None)
def test_a_number_loses_no_digit(value: float | None) -> None:
    written = number(value)
    assert (None if written == "\\N" else float(written) if isinstance(value, float) else int(written)) == value


def test_numbers_are_written_as_postgresql_reads_them() -> None:
    assert [number(value) for value in (0, -1, 0.1, 1e300, math.inf, None)] == [
        "0",
        "-1",
        "0.1",
        "1e+300",
        "inf",
        "\\N",
    ]


@pytest.mark.parametrize("session_id", ["0bad\0cafe", r"0bad\u0000cafe", "0bad\udcffcafe"])
def test_a_session_id_is_turned_back_like_every_other_text(session_id: str) -> None:
    # It was made storable when its event was stored; once more would be once too often.
    value = loglines.event(session_id)
    stored_id = session_id_of(value)
    assert stored_id is not None
    rows = DayRows(date(2025, 3, 1))
    rows.add("alpha", reconstruct(stored_id, [(value["timestamp"], b"", value)]))
    [row] = rows.rows["sessions"]
    assert original(read_field(row.split("\t")[2]) or "") == session_id
