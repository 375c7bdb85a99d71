"""Alembic's entry. Views are dropped before a migration and made again after it: tables could not change below them."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, text

from cowrie_assets.warehouse.database import SCHEMA_VERSION, sqlalchemy_engine
from cowrie_assets.warehouse.tables import metadata
from cowrie_assets.warehouse.views import VIEWS, view_statement


def _migrate(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=False)
    with context.begin_transaction():
        connection.execute(text("SET LOCAL search_path = public"))
        for view in reversed(VIEWS):
            connection.execute(text(f"DROP VIEW IF EXISTS {view}"))
        context.run_migrations()
        reached = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
        # They read the newest tables; a warehouse on its way there has none for a moment.
        for view in VIEWS if reached == SCHEMA_VERSION else ():
            connection.exec_driver_sql(view_statement(view))


engine = sqlalchemy_engine(context.config.attributes["url"])
with engine.connect() as opened:
    _migrate(opened)
    opened.commit()
engine.dispose()
