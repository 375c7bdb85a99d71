"""The command `prune`: what is past its retention, told first, removed when that is asked for.

Lives here: its table. Not here: the pruning (`cowrie_assets.assets.housekeeping`), which the asset `storage_use` does
as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import dagster as dg
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cowrie_assets.assets.freezing import late_events, late_in_words
from cowrie_assets.assets.housekeeping import prune
from cowrie_assets.cli.instance import prepare_dagster_home
from cowrie_assets.lookup.retention import configured_retention
from cowrie_assets.report.escaping import visible
from cowrie_assets.settings import Settings
from cowrie_assets.warehouse.database import Database
from cowrie_assets.warehouse.pruning import Prunable
from cowrie_assets.warehouse.storage import shown_bytes


def prune_and_tell(settings: Settings, console: Console, *, apply: bool) -> None:
    """Show what is past its retention, and remove it where `apply` says so.

    Raises:
        SettingsError: `[retention]` of sensors.toml cannot be used.
    """
    retention = configured_retention(settings)
    database = Database(settings.home, settings.mode, settings.database_url)
    prepare_dagster_home(settings)
    with database.hold(), dg.DagsterInstance.get() as instance, database.connect() as connection:
        found = prune(connection, instance, settings.state, retention, datetime.now(UTC), apply=apply)
        late = late_in_words(late_events(connection))
    _show(console, found)
    for line in [f"{part.part}: {part.note}" for part in found if part.note] + ([late] if late else []):
        console.print(Text(visible(line), style="yellow"), soft_wrap=True)
    size = shown_bytes(sum(part.bytes for part in found))
    if apply:
        console.print(f"Removed: {size}.")
    elif any(part.rows for part in found):
        console.print(f"Nothing was removed. To remove {size}: cowrie-assets prune --apply")
    else:
        console.print("There is nothing to remove.")


def _show(console: Console, parts: Sequence[Prunable]) -> None:
    table = Table("part", "what", box=None, header_style="bold", pad_edge=False)
    for column in ("rows", "bytes", "oldest", "older than"):
        table.add_column(column, justify="right", no_wrap=True)
    for part in parts:
        table.add_row(
            Text(visible(part.part)),
            Text(visible(part.what)),
            f"{part.rows:,}",
            shown_bytes(part.bytes),
            part.oldest_day,
            part.cut_day,
        )
    console.print(table)
