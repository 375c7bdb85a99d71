"""The views, each in a file of `sql/` that psql runs as well.

Lives here: making and dropping them around a migration. Not here: what they say.
"""

from __future__ import annotations

from pathlib import Path

# In the order of making: a later one may read an earlier one.
VIEWS = ("ip_asn_history", "enrichment_cache", "session_summaries")


def sql_file(name: str) -> Path:
    """A file of `sql/`: beside the package in a checkout, inside it in a wheel."""
    for folder in (Path(__file__).parents[2] / "sql", Path(__file__).parents[1] / "sql"):
        if (folder / name).exists():
            return folder / name
    raise FileNotFoundError(f"sql/{name} is missing: the installation is incomplete")


def view_statement(view: str) -> str:
    return sql_file(f"{view}.sql").read_text(encoding="utf-8")
