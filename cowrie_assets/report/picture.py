"""Pictures as SVG, written by hand: shapes and words, and the data URI by which Markdown and HTML show them.

Lives here: the drawing. Not here: what is drawn (`charts`). A run of thirty days draws two hundred small charts:
Matplotlib took 90 to 150 ms and half a second for its import, and one with thirty days had 80 kB. Dagster's Markdown
shows an SVG as an image; in an image no script runs and nothing is fetched, whatever is written in it.
"""

from __future__ import annotations

import base64
import html
import math
import unicodedata
from collections.abc import Iterable, Sequence

from cowrie_assets.report.escaping import visible

INK = "#1c2230"
_FAINT = "#c9ced8"
_FONT = 11
_NARROW, _WIDE = 6.1, 11.0  # estimates: an image has no way to measure its words


class Picture:
    """Shapes in pixels, y downwards, on white: the UI also has a dark theme."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self._size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        self._shapes = [f'<path fill="#fff" d="M0 0h{width}v{height}h-{width}z"/>']
        self.words([(12, 20, title)], size=13)

    def words(self, lines: Iterable[tuple[float, float, str]], *, anchor: str = "start", size: int = _FONT) -> None:
        """Lines of text alike: x, y and text of each; `anchor` (start, middle, end) is what `x` says the place of."""
        texts = [f'<text x="{_px(x)}" y="{_px(y)}">{html.escape(visible(text))}</text>' for x, y, text in lines]
        if texts:
            self._shapes += [f'<g font-size="{size}" text-anchor="{anchor}">', *texts, "</g>"]

    def boxes(self, boxes: Iterable[tuple[float, float, float, float]], colour: str) -> None:
        """Filled rectangles of one colour: left, top, width, height of each."""
        path = "".join(f"M{_px(x)} {_px(y)}h{_px(w)}v{_px(h)}h{_px(-w)}z" for x, y, w, h in boxes if w > 0 and h > 0)
        if path:
            self._shapes.append(f'<path fill="{colour}" d="{path}"/>')

    def skyline(self, left: float, width: float, bottom: float, heights: Iterable[float], colour: str) -> None:
        """Columns side by side from the bottom up, with a fifth of `width` between them, in half the bytes of boxes;
        whole pixels high, and at least one."""
        path, x = f"M{_px(left)} {_px(bottom)}", left
        for number, height in enumerate(heights):
            begin, end = (round(left + width * (number + edge), 1) for edge in (0.1, 0.9))
            if height > 0:
                up = max(1, round(height))
                path += f"h{_px(begin - x)}v-{up}h{_px(end - begin)}v{up}"
                x = end
        self._shapes.append(f'<path fill="{colour}" d="{path}"/>')

    def line(self, points: Sequence[tuple[float, float] | None], colour: str) -> None:
        """A line through the points, in whole pixels, broken where one is unknown."""
        path, last = "", None
        for point in points:
            here = None if point is None else (round(point[0]), round(point[1]))
            if here is not None:
                # A year has 390 points: from each to the next takes half the bytes of where each is.
                path += f"M{here[0]} {here[1]}" if last is None else f"l{here[0] - last[0]} {here[1] - last[1]}"
            last = here
        self._shapes.append(f'<path fill="none" stroke="{colour}" stroke-width="1.5" d="{path}"/>')

    def rules(self, left: float, right: float, heights: Iterable[float]) -> None:
        """Faint lines across."""
        path = "".join(f"M{_px(left)} {_px(y)}h{_px(right - left)}" for y in heights)
        self._shapes.append(f'<path stroke="{_FAINT}" stroke-width=".7" d="{path}"/>')

    def legend(self, left: float, top: float, right: float, names: Sequence[tuple[str, str]]) -> None:
        """Names with their colours, as many lines as `legend_lines` says."""
        places = [(x, top + 18 * line) for x, line in _places(left, right, names)]
        for (_, colour), (x, y) in zip(names, places, strict=True):
            self.boxes([(x, y, 10, 10)], colour)
        self.words((x + 14, y + 9, name) for (name, _), (x, y) in zip(names, places, strict=True))

    def uri(self) -> str:
        """The picture as `data:image/svg+xml;base64,…`."""
        shapes = "".join(self._shapes)
        style = f'font-family="sans-serif" fill="{INK}"'
        text = f'<svg xmlns="http://www.w3.org/2000/svg" {self._size} {style}>{shapes}</svg>'
        return "data:image/svg+xml;base64," + base64.b64encode(text.encode()).decode("ascii")


def legend_lines(left: float, right: float, names: Sequence[tuple[str, str]]) -> int:
    return max((line for _, line in _places(left, right, names)), default=-1) + 1


def ticks(largest: float, most: int = 5) -> list[float]:
    """Round numbers from 0 on, the last of them at or above the largest value."""
    if largest <= 0:
        return [0.0, 1.0]
    power = 10.0 ** math.floor(math.log10(largest / most))
    step = next(size * power for size in (1, 2, 5, 10) if size * power * most >= largest * (1 - 1e-9))
    return [round(number * step, 9) for number in range(math.ceil(largest / step - 1e-9) + 1)]


def shortened(text: str, most: int) -> str:
    """Text of so many characters at most, with an ellipsis where some are gone."""
    plain = visible(text)
    return plain if len(plain) <= most else f"{plain[: most - 1]}…"


def _places(left: float, right: float, names: Sequence[tuple[str, str]]) -> list[tuple[float, int]]:
    places, x, line = [], left, 0
    for name, _ in names:
        width = 28 + width_of(name)
        if x > left and x + width > right:
            x, line = left, line + 1
        places.append((x, line))
        x += width
    return places


def width_of(text: str) -> float:
    """About how many pixels a text takes at the usual size."""
    return sum(_WIDE if unicodedata.east_asian_width(char) in "WF" else _NARROW for char in visible(text))


def _px(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
