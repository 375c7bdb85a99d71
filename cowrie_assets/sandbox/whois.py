"""Team Cymru's whois server: one question per connection, single or in bulk, and an answer until it closes.

Lives here: the dialogue, and what each fault does to it. Not here: the rows (`answers`), which fault comes when
(`faults`), the process (`server`).

Whoever asks one address per connection too often is not refused but accepted and left without an answer, as happens to
those that the real service null-routes.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from cowrie_assets.sandbox import answers
from cowrie_assets.sandbox.faults import Fault, Faults
from cowrie_assets.sandbox.limits import Arrival, Ledger
from cowrie_assets.sandbox.vendor import World

_HEADER = "AS      | IP               | BGP Prefix          | CC | Registry | Allocated  | AS Name"
_VERBOSE = frozenset({"prefix", "countrycode", "registry", "allocdate", "asname"})
# The columns of a verbose row, by the keyword that shows them; the first two are always shown.
_COLUMNS = ("asnumber", "address", "prefix", "countrycode", "registry", "allocdate", "asname")
_IGNORED = frozenset({"truncate", "notruncate", "peer", "asnumber", "noasnumber"})
# A bulk answer takes a while to make; the web services share the thread.
_ANSWERS_AT_ONCE = 100


@dataclass
class _Options:
    columns: set[str] = field(default_factory=lambda: {"asname"})
    header: bool = False

    def take(self, word: str) -> bool:
        """Whether the word is an option; if so it holds from now on."""
        name, shown = (word[2:], False) if word.startswith("no") else (word, True)
        if word == "verbose":
            self.columns = set(_VERBOSE)
        elif name == "header":
            self.header = shown
        elif name in _VERBOSE:
            self.columns = self.columns | {name} if shown else self.columns - {name}
        else:
            return word in _IGNORED
        return True

    def shown(self, row: str) -> str:
        if self.columns == _VERBOSE:
            return row
        parts = zip(_COLUMNS, row.split(" | ", 6), strict=True)
        return " | ".join(part for name, part in parts if name in self.columns | {"asnumber", "address"})


@dataclass
class _Question:
    """What a connection asks. `asked` are line number and line, in order."""

    bulk: bool
    options: _Options
    asked: list[tuple[int, str]] = field(default_factory=list)

    @property
    def keys(self) -> list[str]:
        return [text for _, text in self.asked]


class Whois:
    """The server. It answers until it is stopped."""

    def __init__(self, world: World, *, faults: Faults, ledger: Ledger) -> None:
        self._world = world
        self._faults = faults
        self._ledger = ledger
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self, listener: socket.socket) -> None:
        self._server = await asyncio.start_server(self._accept, sock=listener)

    async def stop(self) -> None:
        if self._server is None:
            return
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()

    def pause(self) -> None:
        """Listen no more, until it is started again."""
        if self._server is not None:
            self._server.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of its own: those that asyncio makes for callbacks are nobody's to cancel.
        task = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            # The client may leave at any time, and a line may be longer than any question.
            with suppress(OSError, ValueError):
                await self._converse(reader, writer)
                writer.close()
                await writer.wait_closed()
        finally:
            # Stopped, with a client that does not read: nothing is waited for.
            writer.transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrival = self._ledger.record("cymru", "", status=0, keys=[])
        if self._faults.next_is_refusal("cymru"):
            arrival.fault = "refuse"
            return
        question = await _read(reader)
        if question is None:
            return
        arrival.keys = question.keys
        arrival.key = "bulk" if len(question.asked) > 1 else "single"
        if self._is_ignored(arrival):
            await _wait_for_the_end(reader)
            return
        fault = self._faults.next("cymru")
        arrival.fault = fault.kind if fault else None
        if fault and fault.kind == "silence":
            await _wait_for_the_end(reader)
            return
        blocks = await self._blocks(question)
        if fault and fault.kind == "delay":
            await asyncio.sleep(len(blocks) * fault.options.get("delay", 0.006))
        arrival.status = 200
        await _send(writer, _intro(question, self._world.clock.now()), blocks, fault)

    def _is_ignored(self, arrival: Arrival) -> bool:
        if arrival.key == "bulk":
            return False
        verdict = self._world.limits.judge("cymru").judge()
        arrival.judged(verdict)
        return verdict.refused

    async def _blocks(self, question: _Question) -> list[list[str]]:
        """The lines about each of the things asked."""
        blocks = []
        for number, (line, text) in enumerate(question.asked, 1):
            blocks.append(self._answer(line, text, question.options))
            if number % _ANSWERS_AT_ONCE == 0:
                await asyncio.sleep(0)
        return blocks

    def _answer(self, line: int, text: str, options: _Options) -> list[str]:
        if (replaced := self._world.dataset.get("cymru", text)) is not None:
            return list(replaced.value)
        if text[:2].upper() == "AS" and text[2:].isascii() and text[2:].isdigit():
            row = answers.cymru_system_row(int(text[2:]))
            return [row or f"Error: no ASN or IP match on line {line}."]
        try:
            return [options.shown(row) for row in answers.rows(self._world.seed, text, self._world.as_of)]
        except ValueError:
            return [f"Error: no ASN or IP match on line {line}."]


async def _read(reader: asyncio.StreamReader) -> _Question | None:
    """The question, None if the client leaves before it has said it all."""
    first = (await reader.readline()).decode("utf-8", "replace").strip()
    if first.lower() != "begin":
        words = first.split()
        options = _Options(header=True)
        if words and words[0] == "-v":
            options.take("verbose")
            words = words[1:]
        return _Question(False, options, [(1, word) for word in words[:1]]) if words else None
    question = _Question(True, _Options())
    number = 1
    while line := await reader.readline():
        number += 1
        text = line.decode("utf-8", "replace").strip()
        if text.lower() == "end":
            return question
        if text and not question.options.take(text.lower()):
            question.asked.append((number, text))
    return None


async def _wait_for_the_end(reader: asyncio.StreamReader) -> None:
    while await reader.read(4096):
        pass


def _intro(question: _Question, now: datetime) -> list[str]:
    lines = []
    if question.bulk:
        lines.append(f"Bulk mode; whois.cymru.com [{now:%Y-%m-%d %H:%M:%S} +0000]")
    if question.options.header:
        lines.append(question.options.shown(_HEADER))
    return lines


async def _send(writer: asyncio.StreamWriter, intro: list[str], blocks: list[list[str]], fault: Fault | None) -> None:
    kind, options = (fault.kind, fault.options) if fault else ("", {})
    missing = int(options.get("rows", 1))
    if kind == "banner-only":
        blocks = []
    elif kind == "truncate":
        blocks = blocks[: max(0, len(blocks) - missing)]
    elif kind == "drop-rows":
        # Spread over the answer, never the last one alone: this must not look like a truncation.
        step = max(1, len(blocks) // max(1, missing))
        dropped = set(range(0, len(blocks), step)[:missing])
        blocks = [block for number, block in enumerate(blocks) if number not in dropped]
    content = "".join(f"{line}\n" for block in [intro, *blocks] for line in block).encode()
    if kind == "midline":
        before, _, last = content[:-1].rpartition(b"\n")
        content = before + b"\n" + last[: int(options.get("bytes", len(last) // 2))]
    if kind == "dribble":
        step = max(1, int(options.get("bytes", 1)))
        for at in range(0, len(content), step):
            writer.write(content[at : at + step])
            await writer.drain()
            await asyncio.sleep(options.get("delay", 0.001))
        return
    writer.write(content)
    await writer.drain()
