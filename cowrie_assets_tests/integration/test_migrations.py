"""The schema has one definition: migrations build what `tables` says, from an empty database, up and down again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import conninfo

from cowrie_assets.warehouse.database import (
    SCHEMA_VERSION,
    Database,
    WarehouseError,
    alembic_config,
    migrate,
    sqlalchemy_engine,
)
from cowrie_assets.warehouse.tables import metadata
from cowrie_assets.warehouse.views import VIEWS
from cowrie_assets_tests.conftest import Server


def schema(url: str) -> list[tuple[object, ...]]:
    """Every column and index of schema public, as the server tells them."""
    with psycopg.connect(url) as connection:
        columns = connection.execute(
            "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns "
            "WHERE table_schema = 'public' ORDER BY 1, 2"
        ).fetchall()
        indexes = connection.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"
        )
        return [*columns, *indexes.fetchall()]


def test_migrations_build_what_the_tables_say(database_url: str) -> None:
    with sqlalchemy_engine(database_url).connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        differences = compare_metadata(context, metadata)
    assert differences == []


def test_up_down_up_gives_the_same_schema(server: Server) -> None:
    url = server.new_database(migrated=False)
    migrate(url)
    first = schema(url)
    migrate(url, "base")
    assert [row for row in schema(url) if "alembic" not in str(row[0])] == []
    migrate(url)
    assert schema(url) == first
    assert {row[0] for row in first} >= {*metadata.tables, *VIEWS}


def test_the_code_knows_the_newest_migration() -> None:
    assert ScriptDirectory.from_config(alembic_config("postgresql://")).get_heads() == [SCHEMA_VERSION]


def test_a_sandbox_warehouse_is_never_opened_live(server: Server, tmp_path: Path) -> None:
    url = server.new_database(migrated=False)
    with Database(tmp_path, "sandbox", url).hold():
        pass
    with (
        pytest.raises(WarehouseError, match="is a sandbox warehouse and was opened as live"),
        Database(tmp_path, "live", url).hold(),
    ):
        pass


def test_an_address_that_does_not_answer_is_told_without_its_password(tmp_path: Path) -> None:
    database = Database(tmp_path, "live", "postgresql://me:hunter2@127.0.0.1:1/nowhere")
    with pytest.raises(WarehouseError, match="does not answer") as refusal, database.hold():
        pass
    assert "hunter2" not in str(refusal.value) + database.described
    assert refusal.value.__cause__ is None


def test_two_processes_may_migrate_at_once(server: Server, tmp_path: Path) -> None:

    url = server.new_database(migrated=False)

    def open_once(_: int) -> None:
        with Database(tmp_path, "live", url).hold():
            pass

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(open_once, range(4)))


def test_an_address_in_words_migrates_the_database_that_it_names(server: Server, tmp_path: Path) -> None:
    """`host=… dbname=…` is an address for libpq; its schema went to another database once."""
    parts = conninfo.conninfo_to_dict(server.new_database(migrated=False))
    address = conninfo.make_conninfo("", **{key: str(value) for key, value in parts.items()})
    assert "://" not in address
    with Database(tmp_path, "live", address).hold():
        pass
    assert {row[0] for row in schema(address)} >= set(metadata.tables)


def test_a_newer_schema_is_told_in_a_sentence(server: Server, tmp_path: Path) -> None:
    url = server.new_database()
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(WarehouseError, match="a newer one made it"), Database(tmp_path, "live", url).hold():
        pass
