"""Answers kept in files: they come back as they were or not at all, whatever happens to writers, disks and files.

Proved here: the round trip of anything JSON holds, every damage of one byte, writers that are killed or work at the
same time, disks that are full or closed. Not here: when the tier is asked (`lookup`).
"""

from __future__ import annotations

import errno
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cowrie_assets.lookup import file_tier
from cowrie_assets.lookup.file_tier import FileTier, KeptAnswer
from cowrie_assets.lookup.hot_tier import TierFailure

MOMENT = datetime(2025, 9, 12, 1, 2, 3, 456789, tzinfo=UTC)

keys = st.one_of(
    st.ip_addresses().map(str),
    st.binary(min_size=32, max_size=32).map(bytes.hex),
    st.text(),
    st.text(st.characters(), min_size=1),  # halves of surrogate pairs, too
)
moments = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)).map(  # noqa: DTZ001
    lambda moment: moment.replace(fold=0)
)
texts = st.text(st.characters()) | st.sampled_from(["\0", "a\0b", "\ud800", "</script>", "\u2028", "\U0010ffff", "é"])
numbers = st.integers() | st.integers(2**63 - 2, 2**70) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=10,
)
answers = st.builds(
    KeptAnswer,
    service=st.sampled_from(["dshield", "virustotal", "urlhaus"]),
    key=keys,
    outcome=st.sampled_from(["found", "not_found"]),
    answered_at=moments,
    expires_at=moments,
    fields=st.dictionaries(texts, values),
    payload=values,
)


def answer(key: str = "2001:db8::1", **changes: Any) -> KeptAnswer:
    kept = KeptAnswer(
        "dshield", key, "found", MOMENT, MOMENT + timedelta(days=7), {"asn": 64500}, {"ip": {"number": key}}
    )
    return replace(kept, **changes)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@contextmanager
def unprivileged() -> Iterator[None]:
    """Not as root, to whom nothing is closed."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


# --- round trips ------------------------------------------------------------------------------------------------------


@given(kept=st.lists(answers, max_size=6))
@settings(deadline=None)
def test_what_is_written_comes_back_as_it_was(kept: list[KeptAnswer]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        FileTier(Path(folder) / "cache").write(kept)
        tier = FileTier(Path(folder) / "cache")
        expected: dict[tuple[str, str], dict[int, KeptAnswer]] = {}
        for one in kept:
            stamp = (one.answered_at - MOMENT.replace(microsecond=0)) // timedelta(milliseconds=1)
            # Of two answers to a question within a millisecond the first stays.
            expected.setdefault((one.service, one.key), {}).setdefault(stamp, one)
        for (service, key), by_stamp in expected.items():
            found = tier.read(service, [key])
            # As text, since True is 1 and 1.0 for `==`.
            assert repr(found) == repr({key: [by_stamp[stamp] for stamp in sorted(by_stamp)]})
        assert tier.errors == 0


def test_all_answers_of_a_key_come_oldest_first(tmp_path: Path) -> None:
    tier = FileTier(tmp_path / "cache")
    days = [answer(answered_at=MOMENT + timedelta(days=day)) for day in (9, -20000, 0, 2)]
    tier.write([*days, answer("192.0.2.1"), answer(service="spur")])
    assert tier.read("dshield", {"2001:db8::1"}) == {"2001:db8::1": [days[1], days[2], days[3], days[0]]}
    assert tier.read("dshield", {"2001:db8::2"}) == {}
    assert tier.read("dshield", []) == {}
    assert tier.read("urlhaus", {"2001:db8::1"}) == {}


def test_times_of_another_zone_name_the_same_moment(tmp_path: Path) -> None:
    tier = FileTier(tmp_path / "cache")
    elsewhere = answer(answered_at=MOMENT.astimezone(timezone(timedelta(hours=-7, minutes=-30))))
    tier.write([elsewhere, answer()])
    assert len(files(tmp_path)) == 1
    assert tier.read("dshield", ["2001:db8::1"]) == {"2001:db8::1": [elsewhere]}


def test_a_failure_is_never_kept(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="only answers"):
        FileTier(tmp_path / "cache").write([answer(outcome="unavailable")])
    assert files(tmp_path) == []


def test_an_answer_is_written_once(tmp_path: Path) -> None:
    tier = FileTier(tmp_path / "cache")
    tier.write([answer()])
    [path] = files(tmp_path)
    os.utime(path, (0, 0))
    tier.write([answer(), answer(outcome="not_found")])
    assert path.stat().st_mtime == 0
    assert files(tmp_path) == [path]


def test_where_the_files_are(tmp_path: Path) -> None:
    FileTier(tmp_path / "state" / "cache").write([answer()])
    digest = sha256(b"2001:db8::1").hexdigest()
    name = f"{digest}-{int(MOMENT.timestamp() * 1000)}.json"
    assert files(tmp_path) == [tmp_path / "state" / "cache" / "v1" / "dshield" / digest[:2] / name]
    for folder in ("", "v1", "v1/dshield", f"v1/dshield/{digest[:2]}"):
        assert (tmp_path / "state" / "cache" / folder).stat().st_mode & 0o777 == 0o700
    first, _, rest = files(tmp_path)[0].read_bytes().partition(b"\n")
    assert first.decode() == sha256(rest).hexdigest()
    assert json.loads(rest)["payload"] == {"ip": {"number": "2001:db8::1"}}


def test_reading_makes_nothing(tmp_path: Path) -> None:
    tier = FileTier(tmp_path / "cache")
    assert tier.read("dshield", ["192.0.2.1"]) == {}
    assert tier.errors == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("service", ["", "..", "a/b", "a\0b", "ä"])
def test_a_service_that_names_no_folder(tmp_path: Path, service: str) -> None:
    with pytest.raises(ValueError, match="names no folder"):
        FileTier(tmp_path).write([answer(service=service)])
    with pytest.raises(ValueError, match="names no folder"):
        FileTier(tmp_path).read(service, ["192.0.2.1"])


def test_each_folder_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tier = FileTier(tmp_path / "cache")
    many = [answer(f"192.0.{number // 256}.{number % 256}") for number in range(2000)]
    tier.write(many)
    listed: list[Path] = []
    names = file_tier._names
    monkeypatch.setattr(file_tier, "_names", lambda folder: listed.append(folder) or names(folder))  # type: ignore[func-returns-value]
    assert len(tier.read("dshield", [one.key for one in many])) == 2000
    assert len(listed) == len(set(listed)) <= 256


# --- damage -----------------------------------------------------------------------------------------------------------


def test_no_byte_can_change_unseen(tmp_path: Path) -> None:
    FileTier(tmp_path / "cache").write([answer()])
    [path] = files(tmp_path)
    good = path.read_bytes()
    tier = FileTier(tmp_path / "cache")
    damages = [good[:place] + bytes([good[place] ^ flip]) + good[place + 1 :]
               for place in range(len(good)) for flip in (1, 32, 128, 255)]  # fmt: skip
    damages += [good[:length] for length in range(len(good))]
    damages += [good + b"\n", b"\0" * len(good), good.replace(b"\n", b"\r\n"), good + good]
    for damage in damages:
        path.write_bytes(damage)
        assert tier.read("dshield", ["2001:db8::1"]) == {}
    assert tier.errors == len(damages)


def test_a_damaged_file_is_put_aside_and_its_answer_kept_anew(tmp_path: Path) -> None:
    tier = FileTier(tmp_path / "cache")
    tier.write([answer()])
    [path] = files(tmp_path)
    path.write_bytes(b"")
    assert tier.read("dshield", ["2001:db8::1"]) == {}
    assert tier.read("dshield", ["2001:db8::1"]) == {}
    assert tier.errors == 1
    tier.write([answer()])
    assert tier.read("dshield", ["2001:db8::1"]) == {"2001:db8::1": [answer()]}
    assert files(tmp_path) == [path.with_suffix(".damaged"), path]


def body(**changes: Any) -> bytes:
    kept = {
        "schema": 1,
        "service": "dshield",
        "key": "2001:db8::1",
        "outcome": "found",
        "answered_at": MOMENT.isoformat(),
        "expires_at": MOMENT.isoformat(),
        "fields": {},
        "payload": None,
    } | changes
    return json.dumps({name: value for name, value in kept.items() if value != "absent"}).encode()


@pytest.mark.parametrize(
    "content",
    [
        body(schema=2),
        body(schema="absent"),
        body(key="192.0.2.1"),  # a collision, or a file that was renamed
        body(service="spur"),
        body(answered_at=(MOMENT + timedelta(seconds=1)).isoformat()),
        body(answered_at="2025-09-12T01:02:03.456789"),
        body(answered_at=1757638923456),
        body(expires_at="2025-09-12T01:02:03.456789"),
        body(expires_at="never"),
        body(expires_at=None),
        body(payload="absent"),
        body(fields=[]),
        body(outcome="quota"),
        body(outcome=None),
        body(more=1),
        b"[1]",
        b"null",
        b"[" * 100_000,
        b"",
    ],
)
def test_a_file_with_a_good_checksum_and_something_else_in_it(tmp_path: Path, content: bytes) -> None:
    tier = FileTier(tmp_path / "cache")
    tier.write([answer()])
    [path] = files(tmp_path)
    path.write_bytes(sha256(content).hexdigest().encode() + b"\n" + content)
    assert tier.read("dshield", ["2001:db8::1"]) == {}
    assert tier.errors == 1


def test_files_of_others_beside_ours(tmp_path: Path) -> None:
    tier = FileTier(tmp_path / "cache")
    tier.write([answer()])
    [path] = files(tmp_path)
    digest = path.name[:64]
    for name in (".DS_Store", f"{digest}.json~", f".{digest}-1.json.00.tmp", f"{digest}-1.tmp", "x.json"):
        (path.parent / name).write_text("{}")
    (path.parent / f"{digest}-7.json").mkdir()
    assert tier.read("dshield", ["2001:db8::1"]) == {"2001:db8::1": [answer()]}
    assert tier.errors == 1  # the folder with the name of an answer


def test_leftovers_of_killed_writers_go_after_a_day(tmp_path: Path) -> None:
    FileTier(tmp_path / "cache").write([answer()])
    [path] = files(tmp_path)
    old, new = path.parent / ".old.tmp", path.parent / ".new.tmp"
    for leftover, age in ((old, 90_000), (new, 80_000)):
        leftover.write_bytes(b"half")
        os.utime(leftover, (time.time() - age,) * 2)
    os.utime(path, (0, 0))
    FileTier(tmp_path / "cache").write([answer(answered_at=MOMENT + timedelta(days=1))])
    assert not old.exists()
    assert new.exists()
    assert path.exists()


# --- disks ------------------------------------------------------------------------------------------------------------


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    for place in ("cache", "cache/v1", "cache/v1/dshield"):
        folder = tmp_path / place.replace("/", "-")
        blocked = folder / place
        blocked.parent.mkdir(parents=True)
        blocked.write_text("mine")
        tier = FileTier(folder / "cache")
        with pytest.raises(TierFailure, match=r"cannot be written \(") as failure:
            tier.write([answer()])
        assert str(tmp_path) not in failure.value.reason
        with pytest.raises(TierFailure, match=r"cannot be read \(not a directory\)"):
            tier.read("dshield", ["2001:db8::1"])
        assert blocked.read_text() == "mine"


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    tier = FileTier(tmp_path / "cache")
    tier.write([answer()])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))  # as a disk that ends in the midst of the file
    try:
        with pytest.raises(TierFailure, match=r"cannot be written \(file too large\)"):
            tier.write([answer("192.0.2.1"), answer("192.0.2.2", payload="x" * 100_000), answer("192.0.2.3")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    found = tier.read("dshield", ["2001:db8::1", "192.0.2.1", "192.0.2.2", "192.0.2.3"])
    assert set(found) == {"2001:db8::1", "192.0.2.1"}
    assert len(files(tmp_path)) == 2


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO])
def test_a_disk_that_refuses_to_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number), str(tmp_path))

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(TierFailure, match="cannot be written") as failure:
        FileTier(tmp_path / "cache").write([answer()])
    assert failure.value.reason == f"cannot be written ({os.strerror(number).lower()})"
    assert failure.value.__suppress_context__
    assert files(tmp_path) == []


def test_folders_and_files_that_are_closed_to_us() -> None:
    with tempfile.TemporaryDirectory() as name, unprivileged():
        # Not in pytest's folder, which is root's own all the way down.
        with tempfile.TemporaryDirectory() as inner:
            folder = Path(inner) / "cache"
            tier = FileTier(folder)
            tier.write([answer(), answer("192.0.2.1")])
            [path] = [path for path in files(folder) if sha256(b"192.0.2.1").hexdigest() in path.name]
            path.chmod(0)
            assert tier.read("dshield", ["2001:db8::1", "192.0.2.1"]) == {"2001:db8::1": [answer()]}
            assert tier.errors == 1
            path.parent.chmod(0o500)
            with pytest.raises(TierFailure, match=r"cannot be written \(permission denied\)"):
                tier.write([answer("192.0.2.1", answered_at=MOMENT + timedelta(days=1))])
            path.parent.chmod(0)
            with pytest.raises(TierFailure, match=r"cannot be read \(permission denied\)"):
                tier.read("dshield", ["192.0.2.1"])
            path.parent.chmod(0o700)
        assert Path(name).exists()


def test_a_cache_that_is_deleted_beneath_a_writer(tmp_path: Path) -> None:
    tier = FileTier(tmp_path / "cache")
    tier.write([answer()])
    shutil.rmtree(tmp_path / "cache")
    assert tier.read("dshield", ["2001:db8::1"]) == {}
    tier.write([answer()])
    assert tier.read("dshield", ["2001:db8::1"]) == {"2001:db8::1": [answer()]}


# --- several, and killed ones -----------------------------------------------------------------------------------------

WRITER = """
import sys
from datetime import timedelta
from pathlib import Path
from cowrie_assets.lookup.file_tier import FileTier
from cowrie_assets_tests.unit.test_file_tier import numbered
tier = FileTier(Path(sys.argv[1]))
print("begun", flush=True)
sys.stdin.readline()
tier.write(numbered(number) for number in range(int(sys.argv[2])))
print("done", tier.errors, flush=True)
"""


def numbered(number: int) -> KeptAnswer:
    """Big, so that there is a midst of writing it."""
    return answer(f"192.0.{number // 256}.{number % 256}", payload={"text": f"{number} " * 20_000})


def writer(folder: Path, many: int, code: str = WRITER) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder), str(many)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


def begin(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def test_two_processes_write_the_same_answers_at_once(tmp_path: Path) -> None:
    many = 300
    both = [writer(tmp_path / "cache", many) for _ in range(2)]
    for process in both:
        begin(process)
    assert [process.communicate(timeout=60)[0] for process in both] == ["done 0\n", "done 0\n"]
    tier = FileTier(tmp_path / "cache")
    expected = {one.key: [one] for one in map(numbered, range(many))}
    assert tier.read("dshield", list(expected)) == expected
    assert tier.errors == 0
    assert len(files(tmp_path)) == many


def test_writers_that_are_killed_leave_no_torn_answer(tmp_path: Path) -> None:
    many = 400
    expected = {one.key: [one] for one in map(numbered, range(many))}
    chance = random.Random(20250912)
    cut = 0
    for attempt in range(6):
        folder = tmp_path / str(attempt)
        process = writer(folder, many)
        begin(process)
        enough = chance.randrange(many // 2)
        while len(files(folder)) < enough:
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.002))
        process.kill()
        process.communicate(timeout=60)
        tier = FileTier(folder)
        found = tier.read("dshield", list(expected))
        assert found == {key: expected[key] for key in found}
        assert tier.errors == 0
        cut += len(found) < many
        tier.write(map(numbered, range(many)))
        assert tier.read("dshield", list(expected)) == expected
    assert cut >= 4


@pytest.mark.parametrize("moment", ["write", "replace"])
def test_a_writer_killed_between_two_steps_leaves_a_leftover_that_nobody_reads(tmp_path: Path, moment: str) -> None:
    steps = {
        # Half of the content is on the disk already when it dies.
        "write": """
import os, signal
from cowrie_assets.lookup import file_tier
def put(path, content):
    with path.with_name(f".{path.name}.00.tmp").open("xb", buffering=0) as file:
        file.write(content[: len(content) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
file_tier._put = put
""",
        "replace": """
import os, signal
from pathlib import Path
Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
""",
    }
    process = writer(tmp_path / "cache", 1, steps[moment] + WRITER)
    begin(process)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    [leftover] = files(tmp_path)
    assert leftover.suffix == ".tmp"
    tier = FileTier(tmp_path / "cache")
    assert tier.read("dshield", [numbered(0).key]) == {}
    tier.write([numbered(0)])
    assert tier.read("dshield", [numbered(0).key]) == {numbered(0).key: [numbered(0)]}
    assert tier.errors == 0
