"""P5 and P6 as properties: any set of files, in any order, any pieces, any packing, over any number of runs."""

from __future__ import annotations

import bz2
import gzip
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cowrie_assets.assets.ingestion import NothingToLoad
from cowrie_assets.settings import SensorNames
from cowrie_assets.warehouse.event_chunks import Connection
from cowrie_assets_tests.integration.test_ingestion import load
from cowrie_assets_tests.loglines import event, stamp
from cowrie_assets_tests.rows import empty, log_digests

pytestmark = pytest.mark.one_server

EVENT_IDS = (
    "session.connect",
    "session.closed",
    "login.failed",
    "login.success",
    "command.input",
    "command.failed",
    "session.file_download",
    "direct-tcpip.request",
    "brand.new",
)
PACK: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress}

texts = st.text(st.characters(codec="utf-8"), max_size=6) | st.sampled_from(["\0", "\\u0000", "a\tb\\N\n", "ssh-rsa"])


@st.composite
def records(draw: st.DrawFn) -> dict[str, Any]:
    """An event of few sessions on two sensors over five days, so that chains over midnight and gaps are common."""
    hours = draw(st.integers(0, 5 * 24))
    value = event(
        draw(st.sampled_from(["aa11", "bb22", "cc33"])),
        event_id=draw(st.sampled_from(EVENT_IDS)),
        sensor=draw(st.sampled_from(["alpha", "beta"])),
        src_ip=draw(st.sampled_from(["8.8.4.4", "2a00::1", "::ffff:9.9.9.9", "10.1.2.3", "010.0.0.1", "host.example"])),
        username=draw(texts),
        password=draw(texts),
        input=draw(texts),
        duration=draw(st.sampled_from([1.5, "2.25", None, "x"])),
    )
    return value | {"timestamp": stamp(hours * 3600 + draw(st.integers(0, 3)))}


def as_line(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode()


lines = st.lists(
    records().map(as_line) | st.sampled_from([b"", b"  ", b"not json", b'{"a": 1}', b"[]", b'{"eventid": "cowrie.x"']),
    min_size=1,
    max_size=40,
).filter(lambda found: any(b'"eventid": "cowrie.' in text and text.endswith(b"}") for text in found))


@dataclass(frozen=True)
class Piece:
    """One file of a delivery: which lines, how packed, and after how many bytes a first run found it."""

    lines: list[bytes]
    packing: str
    seen_after: float | None


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[bytes], list[list[Piece]]]:
    """All lines, and a way in which they arrive: several runs of shuffled, overlapping, packed, growing files."""
    whole = draw(lines)
    chance = random.Random(draw(st.integers(0, 2**32)))
    order = list(whole)
    chance.shuffle(order)
    cuts = sorted(chance.randrange(len(order) + 1) for _ in range(draw(st.integers(0, 4))))
    pieces = [order[a:b] for a, b in zip([0, *cuts], [*cuts, len(order)], strict=True)]
    pieces += [chance.sample(order, chance.randrange(1, len(order) + 1)) for _ in range(draw(st.integers(0, 2)))]
    chance.shuffle(pieces)
    runs: list[list[Piece]] = [[] for _ in range(draw(st.integers(1, 3)))]
    for piece in pieces:
        growing = chance.random() if chance.random() < 0.4 else None
        chance.choice(runs).append(Piece(piece, chance.choice(list(PACK)), growing))
    return whole, runs


def text_of(found: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in found)


def deliver(connection: Connection, folder: Path, runs: list[list[Piece]]) -> None:
    """Let the pieces arrive; growing ones are there in part for a run before the one that finds them whole."""
    for run, pieces in enumerate(runs):
        for number, piece in enumerate(pieces):
            if piece.seen_after is not None:
                part = text_of(piece.lines)
                path = folder / f"{run}-{number}{piece.packing}"
                path.write_bytes(PACK[piece.packing](part[: int(len(part) * piece.seen_after)]))
        load_if_any(connection, folder)
        for number, piece in enumerate(pieces):
            (folder / f"{run}-{number}{piece.packing}").write_bytes(PACK[piece.packing](text_of(piece.lines)))
        load_if_any(connection, folder)


def load_if_any(connection: Connection, folder: Path) -> None:
    try:
        load(connection, folder, names=SensorNames())
    except NothingToLoad:
        return


def assert_same_rows(connection: Connection, whole: list[bytes], runs: list[list[Piece]]) -> None:
    with TemporaryDirectory() as folder:
        empty(connection)
        (Path(folder) / "cowrie.json").write_bytes(text_of(whole))
        load(connection, Path(folder))
        expected = log_digests(connection, torn=False)
    with TemporaryDirectory() as folder:
        empty(connection)
        deliver(connection, Path(folder), runs)
        found = log_digests(connection, torn=False)
    # A piece of bad lines alone is no Cowrie log, and is not read.
    if any(piece.lines and not any(b'"cowrie.' in text for text in piece.lines) for run in runs for piece in run):
        del expected["dead letters"], found["dead letters"]
    assert found == expected


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(delivery=deliveries())
def test_any_delivery_gives_the_same_rows(
    connection: Connection, delivery: tuple[list[bytes], list[list[Piece]]]
) -> None:
    assert_same_rows(connection, *delivery)


@pytest.mark.soak
@settings(
    max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(delivery=deliveries())
def test_any_of_many_deliveries_gives_the_same_rows(
    connection: Connection, delivery: tuple[list[bytes], list[list[Piece]]]
) -> None:
    assert_same_rows(connection, *delivery)
