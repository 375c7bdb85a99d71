"""Fixtures: a real PostgreSQL, embedded and any that `TEST_POSTGRES_URL` names, and databases that come and go on it.

Only databases named `cowrie_assets_test_<hex>` are ever made or dropped.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo, sql

from cowrie_assets.sandbox.geofiles import write_geo_files
from cowrie_assets.sandbox.traffic import SampleTruth, write_sample_logs
from cowrie_assets.warehouse.database import migrate, open_connection
from cowrie_assets.warehouse.embedded import EmbeddedServer
from cowrie_assets.warehouse.event_chunks import Connection

# No test asks a real service: those that ask say where, and it is the sandbox on loopback.
os.environ["COWRIE_OFFLINE"] = "1"

SHARED_DATA = Path(__file__).resolve().parents[1] / "../shared/data"
SAMPLE_LAST_DAY = date(2025, 9, 12)


class Server:
    """A PostgreSQL on which test databases are made from one migrated template."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._template: str | None = None
        self._made: list[str] = []

    def url(self, database: str) -> str:
        return conninfo.make_conninfo(self._url, dbname=database)

    def new_database(self, *, migrated: bool = True) -> str:
        """The URL of a fresh database, at the current schema unless told otherwise."""
        if not migrated:
            return self._create(None)
        if self._template is None:
            template = self._create(None)
            migrate(_as_url(template))
            self._template = str(conninfo.conninfo_to_dict(template)["dbname"])
        return self._create(self._template)

    def drop_all(self) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            for name in self._made:
                connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _create(self, template: str | None) -> str:
        name = f"cowrie_assets_test_{secrets.token_hex(6)}"
        self._made.append(name)
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
            sql.Identifier(name), sql.Identifier(template or "template0")
        )
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(statement)
        return _as_url(self.url(name))


def _as_url(dsn: str) -> str:
    """A libpq address as URL, whatever its form, so that SQLAlchemy takes it as well."""
    from urllib.parse import quote, urlencode

    parts = {key: str(value) for key, value in conninfo.conninfo_to_dict(dsn).items()}
    user, password = parts.pop("user", "postgres"), parts.pop("password", None)
    name = parts.pop("dbname")
    credentials = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
    return f"postgresql://{credentials}@/{quote(name, safe='')}?{urlencode(parts)}"


@pytest.fixture(scope="session")
def embedded_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    embedded = EmbeddedServer(tmp_path_factory.mktemp("embedded"))
    with embedded.hold():
        # Its databases are left to go with its folder: dropping a hundred of them takes half a minute.
        yield Server(embedded.url("postgres"))


@pytest.fixture(scope="session")
def external_server() -> Iterator[Server | None]:
    url = os.environ.get("TEST_POSTGRES_URL")
    if not url:
        yield None
        return
    server = Server(url)
    yield server
    server.drop_all()


@pytest.fixture(scope="session", params=["embedded", "external"])
def server(request: pytest.FixtureRequest, embedded_server: Server, external_server: Server | None) -> Server:
    if request.param == "embedded":
        return embedded_server
    if external_server is None:
        pytest.skip("TEST_POSTGRES_URL names no external PostgreSQL")
    return external_server


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long proofs on one server. First the files that wait for a daemon most of the time, then the longest ones, so
    that all processes have work and end together."""
    twice = [i for i in items if i.get_closest_marker("one_server") and "external" in i.name.split("[")[-1]]
    left_out = set(twice)
    config.hook.pytest_deselected(items=twice)
    items[:] = [item for item in items if item not in left_out]
    items.sort(key=lambda item: (item.path.stem not in WAITING, item.path.stem not in LONGEST))


WAITING = frozenset({"test_browser", "test_daemon"})
LONGEST = frozenset(
    {
        *("test_automation", "test_backfill_command", "test_housekeeping", "test_metadata", "test_production_instance"),
        *("test_alert_sensor", "test_partitioned_checks"),
        *("test_services", "test_real_logs", "test_pipeline", "test_refresh", "test_command_line", "test_secrets"),
        *("test_asking", "test_egress", "test_kills", "test_coverage"),
    }
)


@pytest.fixture
def database_url(server: Server) -> str:
    return server.new_database()


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with open_connection(database_url) as opened:
        yield opened


@pytest.fixture(scope="module")
def migrated_url(server: Server) -> str:
    """One database for all tests of a file."""
    return server.new_database()


@pytest.fixture
def empty(migrated_url: str) -> Iterator[Connection]:
    """An empty warehouse; what a test writes is taken back when it ends."""
    with open_connection(migrated_url) as connection, connection.transaction(force_rollback=True):
        yield connection


@pytest.fixture
def new_connection(embedded_server: Server) -> Callable[[], contextmanager[Connection]]:  # type: ignore[valid-type]
    """Connections to fresh databases of the embedded server, for tests that compare several."""

    @contextmanager
    def connect() -> Iterator[Connection]:
        with open_connection(embedded_server.new_database()) as opened:
            yield opened

    return connect


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not SHARED_DATA.exists():
        pytest.skip(f"{SHARED_DATA} is absent: the real logs are not part of this repository")
    return SHARED_DATA


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SampleTruth]:
    """The demo's traffic, with the truth about it."""
    folder = tmp_path_factory.mktemp("sample")
    return folder, write_sample_logs(folder, SAMPLE_LAST_DAY)


@pytest.fixture(scope="session")
def sample_geo_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_geo_files(tmp_path_factory.mktemp("geoip"), SAMPLE_LAST_DAY)
