"""Log files as they lie on disk: which are Cowrie's, how they decompress, where their lines are.

Lives here: finding files, judging them by content (never by name), streaming blocks of whole lines in bounded memory.
Not here: what a line says (`events`), what was read before (`cowrie_assets.assets.ingestion`).
"""

from __future__ import annotations

import bz2
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Protocol

from isal import isal_zlib

BLOCK_BYTES = 1 << 20
# Longest line that is parsed. A megabyte password is stored; a line beyond this is kept by its head and its sha256.
MAX_LINE_BYTES = 16 << 20
# A dead letter over 1 MB keeps its first 64 KiB, its length and its sha256 (promise P6).
MAX_KEPT_BYTES = 1 << 20
HEAD_BYTES = 64 << 10
# 99 real logs compress 1 to 23 times, 14 in the median; one with a block of zeros of a power loss 692 times. Beyond 200
# times, and 256 MiB of output, a file is a decompression bomb.
BOMB_RATIO = 200
BOMB_BYTES = 256 << 20

_COMPRESSED_BYTES = 16 << 10  # gzip expands at most 1,032 times: 17 MB a block
_BZIP2_BYTES = 16 << 10
_GZIP_HEADER_BYTES = 80 << 10  # an extra field has up to 64 KiB; the other long part is a file name
_EVENT_ID = re.compile(rb'"eventid"\s*:\s*"cowrie\.')
_EVENT_ID_SPAN = 256
_READ_ERRORS: tuple[type[Exception], ...] = (OSError, EOFError, isal_zlib.error)  # type: ignore[assignment] # its stub


class NotACowrieLog(ValueError):
    """The file holds no Cowrie line; the message says what it is instead and what to do."""


@dataclass(frozen=True)
class Block:
    """Whole lines from one place of a file: `data` ends with a newline, and its first byte lies at `offset`."""

    offset: int
    data: bytes


@dataclass(frozen=True)
class LongLine:
    """A line of `MAX_LINE_BYTES` or more: its head, its bytes without the newline, and the sha256 of all of it."""

    offset: int
    head: bytes
    length: int
    sha256: str
    terminated: bool


@dataclass(frozen=True)
class Tail:
    """What follows the last newline of a file."""

    offset: int
    data: bytes


class Checksum(Protocol):
    """A running hash, as hashlib makes it."""

    def update(self, data: bytes, /) -> None: ...

    def digest(self) -> bytes: ...


class LogStream:
    """The decompressed bytes of one file, in blocks. Reading never fails: what stops it early is told in `problem`.

    `position` counts the bytes that were handed out; `compression` is "none", "gzip" or "bzip2", by the first bytes.
    """

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = path.open("rb")
        magic = self._file.read(3)
        self._file.seek(0)
        self.position = 0
        self.problem: str | None = None
        self._ahead = b""
        if magic[:2] == b"\x1f\x8b":
            self.compression, self._blocks = "gzip", _gunzip(self._file)
        elif magic == b"BZh":
            self.compression, self._blocks = "bzip2", _bunzip2(self._file)
        else:
            self.compression, self._blocks = "none", iter(lambda: self._file.read(BLOCK_BYTES), b"")

    def __enter__(self) -> LogStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def read(self) -> bytes:
        """The next block (1 MiB of a plain file, what 16 KiB expand to in a compressed one), b"" at the end."""
        if self._ahead:
            block, self._ahead = self._ahead, b""
            return block
        if self.problem is not None or self._is_bomb():
            return b""
        try:
            block = next(self._blocks, b"")
        except _READ_ERRORS as error:
            self.problem = f"{error}; what could be read was loaded, copy the file again"
            return b""
        self.position += len(block)
        return block

    def skip(self, length: int, checksum: Checksum) -> bool:
        """Read `length` bytes into the checksum and stop behind them; False when the file is shorter."""
        while length > 0 and (block := self.read()):
            checksum.update(block[:length])
            self._ahead = block[length:]
            length -= len(block)
        return length <= 0

    def _is_bomb(self) -> bool:
        if self.compression == "none" or self.position <= BOMB_BYTES or self.position <= BOMB_RATIO * self._file.tell():
            return False
        self.problem = (
            f"a decompression bomb: {self._file.tell():,} bytes became over {self.position:,}; the rest was not read"
        )
        return True


def _gunzip(file: BinaryIO) -> Iterator[bytes]:
    """Every member of a gzip file.

    By hand, because the ready readers throw the good bytes of their last block away when they meet damage behind it: a
    byte of garbage after the end of a 6.7 MB log cost 400 kB of good lines. isal is 1.5 times as fast as zlib.
    """
    data = b""
    while True:
        data = data.lstrip(b"\0")  # zero padding is allowed between members
        if not data:
            data = file.read(_COMPRESSED_BYTES)
            if not data:
                return
            continue
        if not data.startswith(b"\x1f"):
            raise EOFError("something that is not gzip follows the compressed data")
        # The checksum is ours to compare, so that what it condemns has been handed out before: a header of gzip, then
        # raw deflate (-15).
        data = _after_gzip_header(data, file)
        inflater, checksum = isal_zlib.decompressobj(wbits=-15), 0
        while not inflater.eof:
            if not data and not (data := file.read(_COMPRESSED_BYTES)):
                raise EOFError("the compressed file is cut off")
            block = inflater.decompress(data[:_COMPRESSED_BYTES])
            rest, data = data[_COMPRESSED_BYTES:], b""
            if block:
                checksum = isal_zlib.crc32(block, checksum)
                yield block
            data = inflater.unused_data + rest if inflater.eof else rest
        if len(data) < 8:
            data += file.read(_COMPRESSED_BYTES)
        if len(data) < 8:
            raise EOFError("the compressed file is cut off in its checksum")
        if int.from_bytes(data[:4], "little") != checksum:
            raise EOFError("the compressed file is damaged: its checksum does not fit")
        data = data[8:]


def _after_gzip_header(data: bytes, file: BinaryIO) -> bytes:
    if len(data) < _GZIP_HEADER_BYTES:
        data += file.read(_GZIP_HEADER_BYTES)
    flags, end = data[3:4] or b"\0", 10
    if flags[0] & 4:
        end += 2 + int.from_bytes(data[end : end + 2], "little")
    for text in (8, 16):
        if flags[0] & text:
            end = data.find(b"\0", end) + 1 or len(data) + 1
    end += 2 * bool(flags[0] & 2)
    if end > len(data):
        raise EOFError("the compressed file is cut off in its header")
    return data[end:]


def _bunzip2(file: BinaryIO) -> Iterator[bytes]:
    decompressor, data = bz2.BZ2Decompressor(), b""
    while True:
        if decompressor.eof:
            data = (decompressor.unused_data + data).lstrip(b"\0")
            while not data:  # zero padding between streams, as in gzip
                block = file.read(_BZIP2_BYTES)
                if not block:
                    return
                data = block.lstrip(b"\0")
            decompressor = bz2.BZ2Decompressor()
        elif decompressor.needs_input and not (data := file.read(_BZIP2_BYTES)):
            raise EOFError("the compressed file is cut off")
        # In small portions: the call that meets damage loses what it had.
        block = decompressor.decompress(data, _BZIP2_BYTES)
        data = b""
        if block:
            yield block


def find_log_files(folders: Iterable[Path]) -> list[Path]:
    """Every visible file below the folders (or the named files themselves), each once, sorted by path.

    Hidden files are left out: rsync writes what it has not finished yet under a hidden name.

    Raises:
        FileNotFoundError: a folder does not exist.
    """
    found: dict[Path, Path] = {}
    for folder in folders:
        if not folder.exists():
            raise FileNotFoundError(folder)
        for path in [folder] if folder.is_file() else _walk(folder):
            found.setdefault(path.resolve(), path)
    return sorted(found.values())


def _walk(folder: Path) -> Iterator[Path]:
    visited: set[str] = set()
    for parent, subfolders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in visited:  # a link that leads back up
            subfolders.clear()
            continue
        visited.add(real)
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in names:
            path = Path(parent, name)
            if not name.startswith(".") and path.is_file():
                yield path


def require_cowrie(path: Path) -> None:
    """Look into the file until the first Cowrie event id; nearly always that is its first line.

    Raises:
        NotACowrieLog: there is none; the message names what the file seems to be.
        OSError: the file cannot be opened.
    """
    with LogStream(path) as stream:
        first = block = stream.read()
        while block:
            if _EVENT_ID.search(block):
                return
            following = stream.read()
            block = block[-_EVENT_ID_SPAN:] + following if following else b""
        raise NotACowrieLog(_describe(first, stream.problem))


def _describe(first: bytes, problem: str | None) -> str:
    if problem is not None:
        return problem
    if not first.strip(b"\0 \t\r\n"):
        return "empty"
    if first.startswith(b"version https://git-lfs.github.com/spec/"):
        return "a Git LFS pointer, not the log itself: run `git lfs pull` where it came from"
    text = first[:4096]
    if b"\0" in text or sum(byte < 9 for byte in text) > len(text) // 50:
        return "a binary file"
    if text.lstrip()[:1] in (b"{", b"["):
        return 'JSON of another tool: no line has "eventid": "cowrie.…"'
    return "text without a Cowrie JSON line (cowrie.json is wanted, not cowrie.log)"


def read_lines(stream: LogStream, offset: int, checksum: Checksum) -> Iterator[Block | LongLine | Tail]:
    """Cut the stream, which stands at `offset`, into blocks of whole lines; then the tail, if there is one.

    `checksum` has taken in every part that was yielded, but for the tail.
    """
    pending = b""
    while data := stream.read():
        cut = data.rfind(b"\n") + 1
        if cut:
            block = pending + data[:cut]
            checksum.update(block)
            yield Block(offset, block)
            offset += len(block)
            pending = data[cut:]
            continue
        pending += data
        if len(pending) >= MAX_LINE_BYTES:
            line, rest = _long_line(stream, offset, pending, checksum)
            yield line
            offset += line.length + line.terminated
            cut = rest.rfind(b"\n") + 1
            if cut:
                checksum.update(rest[:cut])
                yield Block(offset, rest[:cut])
                offset += cut
            pending = rest[cut:]
    if pending:
        yield Tail(offset, pending)


def _long_line(stream: LogStream, offset: int, data: bytes, checksum: Checksum) -> tuple[LongLine, bytes]:
    head, length, of_line = data[:HEAD_BYTES], 0, sha256()
    while data:
        part, newline, rest = data.partition(b"\n")
        of_line.update(part)
        checksum.update(part + newline)
        length += len(part)
        if newline:
            return LongLine(offset, head, length, of_line.hexdigest(), terminated=True), rest
        data = stream.read()
    return LongLine(offset, head, length, of_line.hexdigest(), terminated=False), b""
