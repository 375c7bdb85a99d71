"""The columns that many tables share, and the metadata that all of them belong to.

Not here: any table.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import BigInteger, Column, Date, Integer, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.schema import SchemaItem

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def moment() -> TIMESTAMP:
    return TIMESTAMP(timezone=True)


def count(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False)


def large_count(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


def session_key() -> Sequence[Column[object]]:
    return (
        Column("day", Date, primary_key=True, comment="UTC day of the session's first event"),
        Column("sensor", Text, primary_key=True),
        Column("session_id", Text, primary_key=True, comment="Cowrie's own, unique only within (sensor, day)"),
    )


def detail(name: str, *columns: SchemaItem) -> Table:
    return Table(
        name,
        metadata,
        *session_key(),
        Column("sequence", Integer, primary_key=True, comment="order within the session: time, then event identity"),
        Column("occurred_at", moment(), nullable=False),
        *columns,
    )
