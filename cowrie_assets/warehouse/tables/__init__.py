"""The one definition of the schema. Migrations build it, a test proves that both agree.

Lives here: tables with typed columns, one file a group. Not here: views (`sql/*.sql`, made by `views`), rows (each
group of tables is written by the one asset named above it).
"""

from cowrie_assets.warehouse.tables import logs, lookups, operations, results, sessions
from cowrie_assets.warehouse.tables.columns import metadata

__all__ = ["logs", "lookups", "metadata", "operations", "results", "sessions"]
