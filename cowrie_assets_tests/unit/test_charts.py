"""Charts: pictures that a browser can draw, small, to scale, and harmless whatever the names in them are."""

from __future__ import annotations

import base64
import re
from datetime import date, timedelta
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cowrie_assets.report.charts import HOURS, bars, chart, columns, use_chart
from cowrie_assets.report.escaping import visible
from cowrie_assets.report.picture import ticks
from cowrie_assets.report.tables import QueryResult, Row
from cowrie_assets.sandbox.oddities import HOSTILE_TEXTS, NUL_TEXT

SVG = "{http://www.w3.org/2000/svg}"
ATTRIBUTES = {
    "svg": {"width", "height", "viewBox", "font-family", "fill"},
    "g": {"font-size", "text-anchor"},
    "text": {"x", "y"},
    "path": {"fill", "stroke", "stroke-width", "d"},
}
FIRST = date(2025, 8, 1)
TEXTS = st.sampled_from((*HOSTILE_TEXTS, NUL_TEXT, "]]><![CDATA[", "&#0;", "\ud800 \ufffe \uffff", "")) | st.text()


def drawn(uri: str) -> ElementTree.Element:
    """The picture behind a data URI, which has shapes and words, and nothing that acts or is fetched."""
    kind, _, content = uri.partition(",")
    assert kind == "data:image/svg+xml;base64"
    root = ElementTree.fromstring(base64.b64decode(content, validate=True))
    for element in root.iter():
        assert set(element.attrib) <= ATTRIBUTES[element.tag.removeprefix(SVG)], element.attrib
    return root


def words(root: ElementTree.Element) -> list[str]:
    return [text.text or "" for text in root.iter(f"{SVG}text")]


def boxes(root: ElementTree.Element, colour: str) -> list[tuple[float, ...]]:
    """Left, top, width and height of a colour's boxes."""
    paths = [path.get("d", "") for path in root.iter(f"{SVG}path") if path.get("fill") == colour]
    found = re.findall(r"M([-.\d]+) ([-.\d]+)h([-.\d]+)v([-.\d]+)", "".join(paths))
    return [tuple(map(float, box)) for box in found]


def heights(root: ElementTree.Element, colour: str) -> list[float]:
    """Of the columns of a colour, from left to right."""
    paths = [path.get("d", "") for path in root.iter(f"{SVG}path") if path.get("fill") == colour]
    return [float(height) for path in paths for height in re.findall(r"v-([.\d]+)", path)]


def trend(days: int, share: float | None = 0.1) -> QueryResult:
    rows: list[Row] = [
        {
            "attack_date": FIRST + timedelta(days=number),
            "anonymization_ratio": share,
            "vpn_ratio": None if number % 3 else 0.05,
            "proxy_ratio": None,
            "tor_ratio": number / 1000,
        }
        for number in range(days)
    ]
    return QueryResult(13, "anonymization", "How the attackers hid", "attack_date", rows)


@given(names=st.lists(TEXTS, min_size=1, max_size=9, unique=True))
@settings(max_examples=80, deadline=None)
def test_pictures_are_harmless_whatever_the_names_are(names: list[str]) -> None:
    pictures = [
        bars("Networks", [(name, 5) for name in names]),
        columns("Sensors", HOURS, {n: [1] * 24 for n in names}),
    ]
    for picture in pictures:
        shown = words(drawn(picture))
        assert visible(names[0])[:39] in [word[:39] for word in shown]


@pytest.mark.parametrize(
    "picture",
    [
        bars("none", []),
        bars("nothing", [("a", 0)]),
        columns("none", [], {}),
        columns("nothing", HOURS, {"a": [0] * 24}),
        use_chart({}),
        chart(trend(1, None)),
    ],
)
def test_what_has_no_numbers_is_an_empty_picture(picture: str) -> None:
    drawn(picture)


@pytest.mark.parametrize(
    ("what", "picture"),
    [
        ("a day by hour of many sensors", columns("Sessions", HOURS, {"s" * 50 + str(n): [n] * 24 for n in range(40)})),
        ("a year", chart(trend(390))),
        ("a month", chart(trend(30))),
        ("many networks", bars("Networks", [("N" * 90, 10**9)] * 40)),
        ("the disk", use_chart({FIRST + timedelta(n): {f"t{k}": 10**9 for k in range(30)} for n in range(90)})),
    ],
)
def test_a_picture_has_less_than_fifteen_kilobytes(what: str, picture: str) -> None:
    assert len(picture) < 15_000, what


def test_columns_are_stacked_to_scale() -> None:
    root = drawn(columns("Sessions", HOURS, {"alpha": [0, 4, *[0] * 22], "beta": [0, 6, 10, *[0] * 21]}))
    # Beta stands behind alpha, as high as both together.
    assert heights(root, "#4f6bed") == pytest.approx([76], abs=0.6)
    assert heights(root, "#e0a03b") == pytest.approx([190, 190], abs=0.6)
    assert {"00", "23", "0", "10", "alpha", "beta"} <= set(words(root))


def test_the_seventh_part_and_those_after_it_are_shown_together() -> None:
    root = drawn(columns("Sessions", ["day"], {f"part {number}": [1] for number in range(9)}))
    assert {"part 5", "others"} <= set(words(root))
    assert "part 6" not in words(root)
    assert heights(root, "#4f6bed") == pytest.approx([190 / 10], abs=0.6)
    assert heights(root, "#c9ced8") == pytest.approx([9 / 10 * 190], abs=0.6)


def test_a_share_that_nobody_could_tell_has_no_line_and_a_lone_day_is_a_dot() -> None:
    root = drawn(chart(trend(7)))
    assert "proxy" not in words(root)
    assert len([box for box in boxes(root, "#4f6bed") if box[2] == 4]) == 3
    line = next(path.get("d", "") for path in root.iter(f"{SVG}path") if path.get("stroke") == "#4f6bed")
    assert line.count("M") == 3


@pytest.mark.parametrize(
    ("largest", "expected"),
    [
        (0, [0, 1]),
        (3, [0, 1, 2, 3]),
        (10, [0, 2, 4, 6, 8, 10]),
        (11, [0, 5, 10, 15]),
        (0.07, [0, 0.02, 0.04, 0.06, 0.08]),
    ],
)
def test_a_scale_has_round_numbers_up_to_the_largest(largest: float, expected: list[float]) -> None:
    assert ticks(largest) == pytest.approx(expected)
