"""Log files as bytes: nothing of them is lost or counted twice, whatever their compression, damage and length of lines.

Blocks are made small here, so that every border falls everywhere. The truth is the content that was written.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import random
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cowrie_assets.cowrie import logfiles
from cowrie_assets.cowrie.logfiles import (
    Block,
    LogStream,
    LongLine,
    NotACowrieLog,
    Tail,
    find_log_files,
    read_lines,
    require_cowrie,
)
from cowrie_assets_tests import loglines

COPY_AGAIN = "what could be read was loaded, copy the file again"
LINE = loglines.line(loglines.event("0badcafe"))
# A folder serves all examples of a property: each writes the file anew.
in_one_folder = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@contextmanager
def limits(**values: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setattr(logfiles, name, value)
        yield


def drained(path: Path, content: bytes) -> tuple[bytes, str | None]:
    """What the stream hands out of a file with this content, and its problem."""
    path.write_bytes(content)
    with LogStream(path) as stream:
        handed_out = b"".join(iter(stream.read, b""))
        assert stream.read() == b""  # the end stays the end
        assert stream.position == len(handed_out)
        return handed_out, stream.problem


def gzip_member(
    content: bytes,
    *,
    extra: bytes | None = None,
    name: bytes | None = None,
    comment: bytes | None = None,
    header_checksum: bool = False,
    level: int = 6,
) -> bytes:
    """One gzip member with any header that RFC 1952 allows."""
    flags = 4 * (extra is not None) | 8 * (name is not None) | 16 * (comment is not None) | 2 * header_checksum
    header = b"\x1f\x8b\x08" + bytes([flags]) + b"\0\0\0\0\0\xff"
    header += b"" if extra is None else struct.pack("<H", len(extra)) + extra
    header += b"" if name is None else name + b"\0"
    header += b"" if comment is None else comment + b"\0"
    header += struct.pack("<H", zlib.crc32(header) & 0xFFFF) if header_checksum else b""
    deflate = zlib.compressobj(level, zlib.DEFLATED, -15)
    body = deflate.compress(content) + deflate.flush()
    return header + body + struct.pack("<II", zlib.crc32(content), len(content) & 0xFFFFFFFF)


def incompressible(length: int) -> bytes:
    """Bytes, the same every time, that deflate and bzip2 cannot shorten."""
    blocks = (sha256(str(number).encode()).digest() for number in range(length // 32 + 1))
    return b"".join(blocks)[:length]


Compressor = Callable[[bytes], bytes]
PLAIN: Compressor = bytes
COMPRESSIONS = pytest.mark.parametrize("compress", [gzip.compress, bz2.compress], ids=["gzip", "bzip2"])


# --- cutting into lines -----------------------------------------------------------------------------------------------


def parts_of(path: Path, start: int = 0) -> list[Block | LongLine | Tail]:
    """What `read_lines` yields from a start on, with everything checked that must hold for any content."""
    content = path.read_bytes()
    checksum = sha256()
    with LogStream(path) as stream:
        assert stream.skip(start, checksum)
        parts, at = [], start
        for part in read_lines(stream, start, checksum):
            parts.append(part)
            assert part.offset == at
            if isinstance(part, Block):
                assert part.data.endswith(b"\n")
                assert content[at:].startswith(part.data)
                at += len(part.data)
            elif isinstance(part, LongLine):
                line = content[at : at + part.length]
                assert b"\n" not in line
                assert part.length >= logfiles.MAX_LINE_BYTES
                assert part.head == line[: logfiles.HEAD_BYTES]
                assert part.sha256 == sha256(line).hexdigest()
                assert content[at + part.length : at + part.length + 1] == b"\n" * part.terminated
                at += part.length + part.terminated
            else:
                assert part.data == content[at:] != b""
                assert b"\n" not in part.data
                break
            # An interrupted reading goes on where this checksum says that the file is still the same.
            assert checksum.digest() == sha256(content[:at]).digest()
        else:
            assert at == len(content)
        assert checksum.digest() == sha256(content[:at]).digest()
        assert list(read_lines(stream, at, checksum)) == []
        assert stream.position == len(content)
    return parts


TEXTS = st.lists(st.sampled_from([b"\n", b"\n", b"a", b"bc", b"\0", b"\r", b"line of some length"]), max_size=40).map(
    b"".join
)


@given(content=TEXTS, block=st.integers(1, 70), longest=st.integers(8, 60), start=st.floats(0, 1))
@settings(in_one_folder, max_examples=80)
def test_blocks_long_lines_and_tail_add_up_to_the_file(
    tmp_path: Path, content: bytes, block: int, longest: int, start: float
) -> None:
    path = tmp_path / "cowrie.json"
    path.write_bytes(content)
    with limits(BLOCK_BYTES=block, MAX_LINE_BYTES=longest, HEAD_BYTES=8):
        parts_of(path)
        parts_of(path, int(start * len(content)))


@given(content=TEXTS, sizes=st.tuples(st.integers(1, 70), st.integers(1, 70)))
@settings(in_one_folder, max_examples=80)
def test_the_same_lines_come_out_whatever_the_blocks(tmp_path: Path, content: bytes, sizes: tuple[int, int]) -> None:
    path = tmp_path / "cowrie.json"
    path.write_bytes(content)
    whole, _, tail = content.rpartition(b"\n")
    for size in sizes:
        with limits(BLOCK_BYTES=size):
            parts = parts_of(path)
        assert [part.data for part in parts if isinstance(part, Tail)] == ([tail] if tail else [])
        lines = b"".join(part.data for part in parts if isinstance(part, Block))
        assert lines == (whole + b"\n" if b"\n" in content else b"")


@pytest.mark.parametrize("ending", [b"", b"\n", b"\nnext\nlast"])
@pytest.mark.parametrize("block", [1, 7, 20, 21])
def test_a_line_over_the_limit_keeps_its_head_and_its_sum(tmp_path: Path, block: int, ending: bytes) -> None:
    path = tmp_path / "cowrie.json"
    path.write_bytes(b"first\n" + b"x" * 100 + ending)
    with limits(BLOCK_BYTES=block, MAX_LINE_BYTES=20, HEAD_BYTES=8):
        [line] = [part for part in parts_of(path) if isinstance(part, LongLine)]
    assert line == LongLine(6, b"x" * 8, 100, sha256(b"x" * 100).hexdigest(), terminated=bool(ending))


def test_a_line_just_under_the_limit_is_read_whatever_the_blocks(tmp_path: Path) -> None:
    # One over it may come in a block as well, where its end lies in the block that crosses the limit: its length is the
    # loader's to look at.
    path = tmp_path / "cowrie.json"
    path.write_bytes(b"x" * 19 + b"\n" + b"y" * 19)
    for block in range(1, 41):
        with limits(BLOCK_BYTES=block, MAX_LINE_BYTES=20):
            assert all(not isinstance(part, LongLine) for part in parts_of(path))


@given(content=st.binary(max_size=60), block=st.integers(1, 20), length=st.integers(0, 80))
@settings(in_one_folder, max_examples=80)
def test_skipping_stops_just_behind_what_was_skipped(tmp_path: Path, content: bytes, block: int, length: int) -> None:
    path = tmp_path / "cowrie.json"
    path.write_bytes(b"-" + content)  # never the first bytes of a compressed file
    checksum = sha256()
    with limits(BLOCK_BYTES=block), LogStream(path) as stream:
        assert stream.skip(length, checksum) is (length <= 1 + len(content))
        assert b"".join(iter(stream.read, b"")) == (b"-" + content)[length:]
    assert checksum.digest() == sha256((b"-" + content)[:length]).digest()


def test_an_empty_file_has_no_part_and_no_problem(tmp_path: Path) -> None:
    path = tmp_path / "cowrie.json"
    assert drained(path, b"") == (b"", None)
    assert parts_of(path) == []


# --- decompression ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("compress", "compression"),
    [(PLAIN, "none"), (gzip.compress, "gzip"), (bz2.compress, "bzip2")],
    ids=["none", "gzip", "bzip2"],
)
def test_compression_is_told_by_content_and_never_by_name(
    tmp_path: Path, compress: Compressor, compression: str
) -> None:
    for name in ("cowrie.json", "cowrie.json.gz", "cowrie.json.bz2"):
        path = tmp_path / name
        path.write_bytes(compress(LINE * 9))
        with LogStream(path) as stream:
            assert stream.compression == compression
            assert b"".join(iter(stream.read, b"")) == LINE * 9
            assert stream.problem is None


SHORT_TEXTS = st.binary(max_size=12).map(lambda text: text.replace(b"\0", b"-"))
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "extra": st.binary(max_size=30),
        "name": SHORT_TEXTS,
        "comment": SHORT_TEXTS,
        "header_checksum": st.booleans(),
        "level": st.sampled_from([0, 1, 9]),
    },
)


@given(members=st.lists(st.tuples(st.binary(max_size=80), HEADERS, st.integers(0, 12)), min_size=1, max_size=5))
@settings(in_one_folder, max_examples=80)
def test_every_member_of_a_gzip_file_is_read_whatever_its_header(
    tmp_path: Path, members: list[tuple[bytes, dict[str, bytes | None], int]]
) -> None:
    content = b"".join(gzip_member(text, **header) + bytes(zeros) for text, header, zeros in members)  # type: ignore[arg-type]
    truth = b"".join(text for text, _, _ in members)
    assert gzip.decompress(content) == truth  # ours is a gzip file to others
    assert drained(tmp_path / "cowrie.json.gz", content) == (truth, None)


@given(texts=st.lists(st.integers(0, 400), min_size=1, max_size=6), block=st.integers(64, 300))
@settings(in_one_folder, max_examples=80)
def test_a_border_of_what_is_read_may_fall_anywhere_in_a_compressed_file(
    tmp_path: Path, texts: list[int], block: int
) -> None:
    members = [incompressible(length) for length in texts]
    with limits(_COMPRESSED_BYTES=block, _BZIP2_BYTES=block):
        for compress in (gzip_member, bz2.compress):
            assert drained(tmp_path / "log", b"".join(map(compress, members))) == (b"".join(members), None)


@COMPRESSIONS
def test_a_file_of_many_blocks_is_read_to_its_end(tmp_path: Path, compress: Compressor) -> None:
    truth = incompressible(90_000) + LINE * 500
    assert drained(tmp_path / "log", compress(truth[:100_000]) + compress(truth[100_000:])) == (truth, None)


@pytest.mark.parametrize(
    ("name", "header"),
    [("a log rotator's", {"name": b"cowrie.json.2025-03-01"}), ("dictzip's", {"extra": b"RA" + bytes(9000)})],
)
def test_headers_of_real_tools_are_read(tmp_path: Path, name: str, header: dict[str, bytes]) -> None:
    content = gzip_member(LINE, extra=header.get("extra"), name=header.get("name"))
    assert drained(tmp_path / "log", content * 3) == (LINE * 3, None)


def test_an_extra_field_may_have_any_length(tmp_path: Path) -> None:
    # dictzip keeps an index there, which grows with the file.
    assert drained(tmp_path / "log", gzip_member(LINE, extra=bytes(65_535))) == (LINE, None)


@COMPRESSIONS
@pytest.mark.parametrize("zeros", [1, 3, 512, 40_000])
def test_zeros_behind_a_compressed_file_are_padding(tmp_path: Path, compress: Compressor, zeros: int) -> None:
    assert drained(tmp_path / "log", compress(LINE) + bytes(zeros)) == (LINE, None)


def test_any_number_of_zeros_may_lie_between_the_members_of_a_gzip_file(tmp_path: Path) -> None:
    # Such a block comes of an archive on tape, or of a file system that filled a hole after a crash.
    assert drained(tmp_path / "log", gzip.compress(LINE) + bytes(40_000) + gzip.compress(LINE)) == (LINE * 2, None)


@pytest.mark.parametrize("zeros", [1, 512, 5_000])
def test_zeros_between_the_streams_of_a_bzip2_file_are_padding_as_in_gzip(tmp_path: Path, zeros: int) -> None:
    assert drained(tmp_path / "log", bz2.compress(LINE) + bytes(zeros) + bz2.compress(LINE)) == (LINE * 2, None)


@COMPRESSIONS
@pytest.mark.parametrize(
    "garbage",
    [b"\x01", b"garbage", b"\0\0garbage", b"\x1f", b"\x1f\x8b", b"BZh9", LINE, random.Random(1).randbytes(64)],
)
def test_nothing_is_lost_before_garbage_at_the_end(tmp_path: Path, compress: Compressor, garbage: bytes) -> None:
    truth = incompressible(40_000) + LINE * 100
    handed_out, problem = drained(tmp_path / "log", compress(truth) + garbage)
    assert handed_out == truth
    assert problem is not None
    assert problem.endswith(COPY_AGAIN)


@COMPRESSIONS
def test_a_file_cut_off_anywhere_gives_a_beginning_of_the_truth_and_a_problem(
    tmp_path: Path, compress: Compressor
) -> None:
    if compress is gzip.compress:
        first, second = (
            gzip_member(LINE * 3, name=b"n", comment=b"c", extra=b"e", header_checksum=True),
            gzip_member(LINE),
        )
    else:
        first, second = compress(LINE * 3), compress(LINE)
    content, truth = first + second, LINE * 4
    magic = 2 if compress is gzip.compress else 3  # shorter than that it is a plain file of a byte or two
    for length in range(magic, len(content)):
        handed_out, problem = drained(tmp_path / "log", content[:length])
        assert truth.startswith(handed_out)
        if length == len(first):  # between two members nobody can tell
            assert (handed_out, problem) == (LINE * 3, None)
            continue
        assert length < len(first) or handed_out.startswith(LINE * 3)
        assert problem is not None, length
        assert "cut off" in problem
        assert problem.endswith(COPY_AGAIN)


@pytest.mark.parametrize("position", [-8, -5])
def test_a_damaged_checksum_of_gzip_condemns_nothing_that_was_read(tmp_path: Path, position: int) -> None:
    truth = incompressible(40_000) + LINE * 100
    content = bytearray(gzip.compress(truth))
    content[position] ^= 1
    handed_out, problem = drained(tmp_path / "log", bytes(content))
    assert handed_out == truth
    assert problem == f"the compressed file is damaged: its checksum does not fit; {COPY_AGAIN}"


@pytest.mark.parametrize("position", [-2, 11], ids=["of the file", "of its block"])
def test_a_damaged_checksum_of_bzip2_condemns_little_of_what_was_read(tmp_path: Path, position: int) -> None:
    # bzip2 loses what the call that finds the damage had: all of this log, were it read in one call.
    truth = b"".join(b'{"eventid":"cowrie.session.closed","n":%d}\n' % number for number in range(2_000))
    content = bytearray(bz2.compress(truth))
    assert len(content) < 4096
    content[position] ^= 1
    handed_out, problem = drained(tmp_path / "log", bytes(content))
    assert problem is not None
    assert truth.startswith(handed_out)
    assert len(truth) - len(handed_out) <= 16 << 10


@given(
    st.sampled_from([b"", b"\x1f\x8b", b"\x1f\x8b\x08\0", b"\x1f\x8b\x08\x1f", b"BZh", b"BZh91AY&SY"]),
    st.binary(max_size=80),
)
@settings(in_one_folder, max_examples=120)
def test_reading_never_fails_whatever_the_bytes(tmp_path: Path, start: bytes, rest: bytes) -> None:
    drained(tmp_path / "log", start + rest)


@given(
    compress=st.sampled_from([gzip.compress, bz2.compress]),
    place=st.floats(0, 1, exclude_max=True),
    bit=st.integers(0, 7),
)
@settings(in_one_folder, max_examples=80)
def test_reading_never_fails_on_a_flipped_bit(tmp_path: Path, compress: Compressor, place: float, bit: int) -> None:
    content = bytearray(compress(LINE * 3))
    content[int(place * len(content))] ^= 1 << bit
    drained(tmp_path / "log", bytes(content))


@COMPRESSIONS
def test_a_decompression_bomb_is_left_unread_with_a_problem(tmp_path: Path, compress: Compressor) -> None:
    with limits(BOMB_BYTES=1 << 20, BLOCK_BYTES=1 << 18, _COMPRESSED_BYTES=1 << 9):
        handed_out, problem = drained(tmp_path / "log", compress(LINE + bytes(8 << 20)))
    assert handed_out.startswith(LINE)
    assert len(handed_out) < 3 << 20
    assert problem is not None
    assert problem.startswith("a decompression bomb")


@COMPRESSIONS
def test_a_file_that_expands_as_logs_do_is_no_bomb(tmp_path: Path, compress: Compressor) -> None:
    truth = b"".join(loglines.line(loglines.event(f"{number:08x}", number)) for number in range(3_000))
    with limits(BOMB_BYTES=1 << 10, BLOCK_BYTES=1 << 12):
        assert drained(tmp_path / "log", compress(truth)) == (truth, None)


def test_the_time_for_the_members_of_a_gzip_file_grows_with_their_number(tmp_path: Path) -> None:
    # A writer may make a member of every line.
    member = gzip.compress(LINE)

    def seconds(members: int) -> float:
        begun = time.process_time()
        assert drained(tmp_path / "log", member * members) == (LINE * members, None)
        return time.process_time() - begun

    assert min(seconds(4_000) for _ in range(2)) < 8 * min(seconds(1_000) for _ in range(3))


# --- finding files ----------------------------------------------------------------------------------------------------


def touched(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name, encoding="utf-8")
    return [folder / name for name in names]


def test_every_file_below_a_folder_is_found_in_order_of_its_path(tmp_path: Path) -> None:
    files = touched(tmp_path, "b.json", "a/cowrie.json.1", "a/cowrie.json.gz", "a/deep/er/without an ending", "C.log")
    assert find_log_files([tmp_path]) == sorted(files)


def test_hidden_files_and_folders_are_left_out(tmp_path: Path) -> None:
    [visible, *_] = touched(tmp_path, "cowrie.json", ".cowrie.json.Xy12Ab", ".rsync-partial/cowrie.json", "a/.git/b/c")
    assert find_log_files([tmp_path]) == [visible]


def test_a_hidden_folder_that_is_named_is_read(tmp_path: Path) -> None:
    files = touched(tmp_path, ".cowrie/log/cowrie.json")
    assert find_log_files([tmp_path / ".cowrie"]) == files


def test_a_file_can_be_named_itself(tmp_path: Path) -> None:
    named, hidden, _ = touched(tmp_path, "cowrie.json", ".cowrie.json", "other.json")
    assert find_log_files([named]) == [named]
    assert find_log_files([hidden]) == [hidden]


def test_a_file_that_is_reached_twice_is_found_once(tmp_path: Path) -> None:
    [file] = touched(tmp_path, "logs/day/cowrie.json")
    (tmp_path / "linked").symlink_to(tmp_path / "logs")
    (tmp_path / "logs/day/again.json").symlink_to(file)
    found = find_log_files(
        [tmp_path / "logs", file, tmp_path / "logs/day", tmp_path / "logs" / ".." / "logs", tmp_path / "linked"]
    )
    assert [path.resolve() for path in found] == [file]
    assert [path.resolve() for path in find_log_files([tmp_path])] == [file]


def test_links_are_followed(tmp_path: Path) -> None:
    touched(tmp_path, "elsewhere/folder/one.json", "elsewhere/two.json")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/folder").symlink_to(tmp_path / "elsewhere/folder")
    (tmp_path / "logs/file.json").symlink_to(tmp_path / "elsewhere/two.json")
    (tmp_path / "logs/broken.json").symlink_to(tmp_path / "nowhere")
    assert find_log_files([tmp_path / "logs"]) == [tmp_path / "logs/file.json", tmp_path / "logs/folder/one.json"]


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    files = touched(tmp_path, "a/b/cowrie.json", "a/other.json")
    (tmp_path / "a/b/up").symlink_to(tmp_path / "a")
    (tmp_path / "a/b/self").symlink_to(tmp_path / "a/b/self")
    assert find_log_files([tmp_path / "a"]) == sorted(files)


def test_what_is_no_file_is_left_out(tmp_path: Path) -> None:
    files = touched(tmp_path, "cowrie.json")
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for ever
    assert find_log_files([tmp_path]) == files


def test_an_empty_folder_holds_no_file(tmp_path: Path) -> None:
    assert find_log_files([tmp_path]) == []


def test_a_folder_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as error:
        find_log_files([tmp_path, tmp_path / "nowhere"])
    assert error.value.args == (tmp_path / "nowhere",)


# --- telling Cowrie's logs apart --------------------------------------------------------------------------------------

LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
WEB_LOG = b'{"time":"2025-03-01","path":"/"}\n' * 50


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "empty", id="empty"),
        pytest.param(b"\0 \t\r\n" * 9, "empty", id="padding only"),
        pytest.param(gzip.compress(b""), "empty", id="compressed and empty"),
        pytest.param(LFS_POINTER, "a Git LFS pointer, not the log itself: run `git lfs pull`", id="LFS pointer"),
        pytest.param(lzma.compress(LINE * 9), "a binary file", id="another compression"),
        pytest.param(LINE.decode().encode("utf-16"), "a binary file", id="UTF-16"),
        pytest.param(WEB_LOG, 'JSON of another tool: no line has "eventid": "cowrie.…"', id="JSON of another tool"),
        pytest.param(gzip.compress(WEB_LOG), "JSON of another tool", id="compressed JSON of another tool"),
        pytest.param(b" \n[" + WEB_LOG, "JSON of another tool", id="a list of JSON"),
        pytest.param(
            b"2025-03-01T12:00:00+0000 [HoneyPotSSHTransport,1,8.8.4.4] login attempt\n" * 99,
            "cowrie.json is wanted, not cowrie.log",
            id="the text log",
        ),
        pytest.param(b"\x1f\x8b\x08", COPY_AGAIN, id="a torn compressed file"),
        pytest.param(bz2.compress(WEB_LOG)[:-9], COPY_AGAIN, id="a torn compressed file of another tool"),
    ],
)
def test_a_file_without_a_cowrie_line_is_named_for_what_it_is(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "cowrie.json"
    path.write_bytes(content)
    with pytest.raises(NotACowrieLog) as error:
        require_cowrie(path)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(LINE, id="a log"),
        pytest.param(LINE[:60], id="a torn log"),
        pytest.param(b"\0" * 600_000 + LINE, id="behind zeros"),
        pytest.param(WEB_LOG * 1000 + LINE, id="behind a megabyte of another tool's lines"),
        pytest.param(b'{"eventid" :\t "cowrie.session.connect"', id="with spaces"),
        pytest.param(gzip.compress(LINE)[:-5], id="in a torn compressed file"),
        pytest.param(bz2.compress(LINE), id="in bzip2"),
        pytest.param(LFS_POINTER + LINE, id="behind other text"),
    ],
)
def test_one_cowrie_event_id_anywhere_makes_a_cowrie_log(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "anything.txt"
    path.write_bytes(content)
    require_cowrie(path)


@given(before=st.integers(0, 90), block=st.integers(1, 90), compress=st.sampled_from([PLAIN, gzip.compress]))
@settings(in_one_folder, max_examples=80)
def test_an_event_id_is_found_across_the_border_of_two_blocks(
    tmp_path: Path, before: int, block: int, compress: Compressor
) -> None:
    path = tmp_path / "cowrie.json"
    path.write_bytes(compress(b"-" * before + b'"eventid": "cowrie.' + b"-" * 90))
    with limits(BLOCK_BYTES=block):
        require_cowrie(path)


def test_a_file_that_cannot_be_opened_is_the_callers_matter(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        require_cowrie(tmp_path / "gone.json")
