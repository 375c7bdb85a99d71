"""The cold tier of the cache (L3): whole answers in files, so that a lost database is seeded again for nothing.

    {folder}/v{SCHEMA}/{service}/{2 hex digits}/{sha256 of the key}-{answered_at in ms}.json

Lives here: the files. Not here: which answers are kept, and what the database makes of them (`answers`).

A file is one answer. It comes whole or not at all (`os.replace`), and is never changed. Its first line is the sha256 of
all that follows; nothing is synced to the disk, since what a power cut leaves of a file says so itself, and then is
merely not there. A damaged file is counted, and put aside under another name so that its answer can be kept anew.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import threading
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, get_args

import orjson

from cowrie_assets.lookup.hot_tier import TierFailure
from cowrie_assets.upstreams.contract import Answered

SCHEMA = 1  # a folder of its own for each; bump it when a file's shape changes
_DIGEST = 64  # characters
_ANSWERED = frozenset(get_args(Answered))
_LEFTOVER = 86400.0  # seconds: no write takes so long
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """One answer. Times are aware; `fields` and `payload` are of JSON's types."""

    service: str
    key: str
    outcome: str
    answered_at: datetime
    expires_at: datetime
    fields: dict[str, Any]
    payload: Any


class FileTier:
    """The files beneath a folder, which is made (0700) by the first write. Threads and processes may share it.

    `errors` counts the files that were damaged, foreign or closed to us, since the start.
    """

    name = "files"

    def __init__(self, folder: Path) -> None:
        self.errors = 0
        self._folder = folder
        self._root = folder / f"v{SCHEMA}"
        self._lock = threading.Lock()
        self._swept: set[Path] = set()

    def write(self, answers: Iterable[KeptAnswer]) -> None:
        """Keep what is not kept already.

        Raises:
            TierFailure: the disk is full, read-only, closed to us. What came before the failure is kept.
        """
        for answer in answers:
            if answer.outcome not in _ANSWERED:
                raise ValueError(f"{answer.outcome!r} is no answer, and only answers are kept")
            name = _file_name(answer)
            path = self._shard(answer.service, name) / name
            with _told("cannot be written"):
                if not path.exists():
                    self._open_shard(path.parent)
                    _put(path, _encoded(answer))

    def read(self, service: str, keys: Collection[str]) -> dict[str, list[KeptAnswer]]:
        """All that is kept for each of the keys, oldest first; keys without anything are left out.

        Raises:
            TierFailure: a folder or the disk cannot be read. A single file that cannot is no answer, and an error.
        """
        # Folders are listed, once each: a pattern for every key takes six times as long with 40,000 answers kept.
        wanted: dict[Path, dict[str, str]] = {}
        for key in keys:
            digest = _digest(key)
            wanted.setdefault(self._shard(service, digest), {})[digest] = key
        found: dict[str, list[KeptAnswer]] = {}
        with _told("cannot be read"):
            for shard, by_digest in wanted.items():
                for name in _names(shard):
                    key_there = by_digest.get(name[:_DIGEST])
                    if key_there is None or not name.endswith(".json"):
                        continue
                    answer = self._get(shard / name, service, key_there)
                    if answer is not None:
                        found.setdefault(key_there, []).append(answer)
        for answers in found.values():
            answers.sort(key=lambda answer: answer.answered_at)
        return found

    def _shard(self, service: str, digest: str) -> Path:
        if not re.fullmatch(r"\w+", service, re.ASCII):
            raise ValueError(f"{service!r} names no folder")
        return self._root / service / digest[:2]

    def _open_shard(self, shard: Path) -> None:
        """Make it where it is missing; the first time, clear it of what killed writers left."""
        try:
            shard.mkdir(0o700)
        except FileExistsError:
            pass
        except FileNotFoundError:
            self._folder.mkdir(0o700, parents=True, exist_ok=True)
            for folder in (self._root, shard.parent, shard):
                folder.mkdir(0o700, exist_ok=True)
        if shard in self._swept:
            return
        self._swept.add(shard)
        long_ago = time.time() - _LEFTOVER
        for name in _names(shard):
            if name.endswith(".tmp"):
                with suppress(FileNotFoundError):  # somebody else sweeps, too
                    if (shard / name).stat().st_mtime < long_ago:
                        (shard / name).unlink()

    def _get(self, path: Path, service: str, key: str) -> KeptAnswer | None:
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None  # gone since the folder was listed
        except (PermissionError, IsADirectoryError):
            # Of one run as root, perhaps. The others are worth their quota still.
            self._count_error()
            return None
        answer = _decoded(content)
        if answer is not None and (answer.service, answer.key, _file_name(answer)) == (service, key, path.name):
            return answer
        self._count_error()
        with suppress(OSError):  # where nothing can be written it stays, and is counted again
            path.rename(path.with_suffix(".damaged"))
        return None

    def _count_error(self) -> None:
        with self._lock:
            self.errors += 1


def _digest(key: str) -> str:
    return sha256(key.encode(errors="surrogatepass")).hexdigest()


def _file_name(answer: KeptAnswer) -> str:
    return f"{_digest(answer.key)}-{(answer.answered_at - _EPOCH) // _MILLISECOND}.json"


def _names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries]
    except FileNotFoundError:
        return []


def _put(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
        temporary.replace(path)
    except BaseException:  # Ctrl-C, too
        with suppress(OSError):
            temporary.unlink()
        raise


def _encoded(answer: KeptAnswer) -> bytes:
    kept = {
        "schema": SCHEMA,
        "service": answer.service,
        "key": answer.key,
        "outcome": answer.outcome,
        "answered_at": answer.answered_at.isoformat(),
        "expires_at": answer.expires_at.isoformat(),
        "fields": answer.fields,
        "payload": answer.payload,
    }
    try:
        body = orjson.dumps(kept)
    except TypeError:  # an integer beyond 64 bits, half a surrogate pair: rare, and not worth the slower one for all
        body = json.dumps(kept).encode()
    return sha256(body).hexdigest().encode() + b"\n" + body


def _decoded(content: bytes) -> KeptAnswer | None:
    """None for what is not, to the last bit, a file of `_encoded`."""
    checksum, _, body = content.partition(b"\n")
    if checksum != sha256(body).hexdigest().encode():
        return None
    try:
        kept = json.loads(body)  # orjson would make floats of integers beyond 64 bits
        if kept.pop("schema") != SCHEMA:
            return None
        for name in ("answered_at", "expires_at"):
            kept[name] = datetime.fromisoformat(kept[name])
        answer = KeptAnswer(**kept)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    aware = answer.answered_at.tzinfo is not None and answer.expires_at.tzinfo is not None
    return answer if aware and answer.outcome in _ANSWERED and isinstance(answer.fields, dict) else None


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        # Without its cause, which names the path.
        raise TierFailure(f"{what} ({os.strerror(error.errno or 0).lower()})") from None
