"""Opening the warehouse: embedded or external, at the current schema, of the right mode.

Lives here: connections, the migrations' trigger, the stamp that keeps sandbox and live apart. Not here: tables
(`tables`), the embedded server's life cycle (`embedded`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import conninfo

from cowrie_assets.settings import Mode
from cowrie_assets.warehouse.embedded import EmbeddedServer
from cowrie_assets.warehouse.event_chunks import Connection

# The newest migration; a test compares it with the folder, so that an up-to-date warehouse opens without Alembic.
SCHEMA_VERSION = "0004"
_MIGRATION_LOCK = 0x6D696772


class WarehouseError(RuntimeError):
    """The database cannot be used. The message names the cause and the cure, and never a password."""


class WarehouseUnreachable(WarehouseError):
    """No server answers at the address, or it refuses for now: this may pass by itself."""


class Database:
    """One warehouse: the embedded one below `home`, or the external one of `url`."""

    def __init__(self, home: Path, mode: Mode, url: str | None = None) -> None:
        self.mode = mode
        self.embedded = None if url else EmbeddedServer(home)
        self._url = url

    @property
    def url(self) -> str:
        """The address for libpq; it may hold a password, so it is never printed (`described` is)."""
        return self._url or self._embedded().url()

    @property
    def described(self) -> str:
        if self._url is None:
            return f"embedded PostgreSQL in {self._embedded().data}"
        known = _parse(self._url)
        host, port = known.get("host") or "localhost", known.get("port") or 5432
        return f"PostgreSQL at {host}:{port}, database {known.get('dbname')}"

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep an embedded server running, at the current schema; nothing but the check for an external one."""
        if self.embedded is None:
            self._prepare()
            yield
            return
        with self.embedded.hold():
            self._prepare()
            yield

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A connection in autocommit mode: transactions are the caller's, with `connection.transaction()`."""
        with open_connection(self.url) as connection:
            yield connection

    def _prepare(self) -> None:
        with self.connect() as connection:
            self._check_version(connection)
            if _schema_version(connection) != SCHEMA_VERSION:
                connection.execute("SELECT pg_advisory_lock(%s)", (_MIGRATION_LOCK,))
                try:
                    migrate(self.url)
                finally:
                    connection.execute("SELECT pg_advisory_unlock(%s)", (_MIGRATION_LOCK,))
            self._check_mode(connection)

    def _check_version(self, connection: Connection) -> None:
        if connection.info.server_version < 150000:
            raise WarehouseError(
                f"{self.described} is version {connection.info.server_version // 10000}: 15 or newer is needed; unset"
                " COWRIE_DATABASE_URL to use the embedded one"
            )

    def _check_mode(self, connection: Connection) -> None:
        connection.execute("INSERT INTO warehouse_stamp (mode) VALUES (%s) ON CONFLICT DO NOTHING", (self.mode,))
        row = connection.execute("SELECT mode FROM warehouse_stamp").fetchone()
        if row and row[0] != self.mode:
            raise WarehouseError(
                f"{self.described} is a {row[0]} warehouse and was opened as {self.mode}: invented and real answers"
                " never share a database; use another database or another COWRIE_HOME"
            )

    def _embedded(self) -> EmbeddedServer:
        if self.embedded is None:
            raise WarehouseError("an external database has no embedded server")
        return self.embedded


def open_connection(url: str) -> Connection:
    """A connection as everything here expects it: UTC, schema public, autocommit.

    Raises:
        WarehouseUnreachable: the server does not answer, or refuses.
    """
    _parse(url)
    try:
        return psycopg.connect(
            url,
            autocommit=True,
            application_name="cowrie-assets",
            connect_timeout=10,
            options="-c TimeZone=UTC -c search_path=public -c client_min_messages=warning",
        )
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[-1]
        raise WarehouseUnreachable(
            f"the warehouse does not answer ({reason}): check COWRIE_DATABASE_URL and the server"
        ) from None


def sqlalchemy_engine(url: str) -> Any:
    """An engine for any address that libpq takes, also `host=… dbname=…`, which is no URL for SQLAlchemy."""
    from sqlalchemy import create_engine  # noqa: PLC0415
    from sqlalchemy.pool import NullPool  # noqa: PLC0415

    return create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url), poolclass=NullPool)


def migrate(url: str, revision: str = "head") -> None:
    """Bring the schema to `revision` ("head", "base" or a version), and the views with it.

    Raises:
        WarehouseError: the database was made by a newer version.
    """
    # Alembic takes a third of a second to import, and most openings do not need it.
    from alembic import command  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415
    from sqlalchemy.exc import ProgrammingError  # noqa: PLC0415

    target = command.downgrade if revision == "base" else command.upgrade
    try:
        target(alembic_config(url), revision)
    except CommandError as error:
        raise WarehouseError(
            f"this version does not know the schema of the warehouse ({error}): a newer one made it, install that"
        ) from None
    except ProgrammingError as error:
        if not isinstance(error.orig, psycopg.errors.InsufficientPrivilege):
            raise
        raise WarehouseError(
            f"this role may not make the tables ({error.orig.diag.message_primary}): let it own the database, "
            "ALTER DATABASE … OWNER TO …"
        ) from None


def alembic_config(url: str) -> Any:
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["url"] = url
    return config


def _schema_version(connection: Connection) -> str | None:
    row = connection.execute("SELECT to_regclass('public.alembic_version') IS NOT NULL").fetchone()
    if not row or not row[0]:
        return None
    version = connection.execute("SELECT version_num FROM public.alembic_version").fetchone()
    return version[0] if version else None


def _parse(url: str) -> dict[str, Any]:
    try:
        return conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise WarehouseError(
            "COWRIE_DATABASE_URL is no libpq address: write postgresql://user:password@host:5432/database"
        ) from None
