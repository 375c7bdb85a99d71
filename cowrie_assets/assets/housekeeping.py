"""The asset `storage_use`: what everything takes on the disk and how fast it grows; and the pruning of what is old.

Lives here: its Dagster definition, and the order in which the parts are pruned. Not here: each part's pruning
(`freezing`, `instance_trimming`, `cowrie_assets.warehouse.pruning`), how long they are kept
(`cowrie_assets.lookup.retention`).
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
from pydantic import Field

from cowrie_assets.assets.face import OWNERS, POOL, made_by
from cowrie_assets.assets.freezing import late_events, late_in_words, prune_events
from cowrie_assets.assets.instance_storage import InstanceStorage
from cowrie_assets.assets.instance_trimming import trim_instance
from cowrie_assets.assets.previous import Entry, beside
from cowrie_assets.lookup.retention import Retention
from cowrie_assets.report.charts import use_chart
from cowrie_assets.report.tables import markdown_rows
from cowrie_assets.resources import RetentionPeriods, Warehouse
from cowrie_assets.settings import StateFolder
from cowrie_assets.warehouse.event_chunks import Connection
from cowrie_assets.warehouse.pruning import Prunable, prune_list_copies, prune_notes, pruning_alone
from cowrie_assets.warehouse.storage import (
    Use,
    forecast,
    history,
    keep_measurement,
    measure,
    shown_bytes,
    with_growth,
)

_SHOWN = 15


class Pruning(dg.Config):
    """Whether what is past its retention is removed."""

    apply: bool = Field(default=True, description="False: it is only said what would be.")


def prune(
    connection: Connection,
    instance: dg.DagsterInstance,
    state: StateFolder,
    retention: Retention,
    now: datetime,
    *,
    apply: bool,
) -> list[Prunable]:
    """What of every part is past its retention; removed where `apply` says so. Safe to repeat, and to kill anywhere:
    the next time does the rest. Where somebody else prunes at this moment, nothing is looked at, and that is said."""
    with pruning_alone(connection) as alone:
        if not alone:
            return [Prunable("all", "-", note="somebody else prunes at this moment: nothing was done here")]
        return [
            *trim_instance(instance, retention["dagster_runs"], now, apply=apply),
            prune_events(connection, retention["events"], now, apply=apply),
            *prune_notes(connection, retention, now, apply=apply),
            prune_list_copies(state.lists, retention["list_copies"], now, apply=apply),
        ]


@dg.asset(
    group_name="operation",
    kinds={"postgres"},
    owners=OWNERS,
    pool=POOL,
    metadata=made_by(
        "warehouse/storage.py", "warehouse/pruning.py", "assets/freezing.py", "assets/instance_trimming.py"
    ),
    description=(
        "What tables and folders take on the disk, measured and kept, how fast they grow, and when the disk is full. "
        "What is past its retention ([retention] of sensors.toml) is removed first: Dagster's old runs and events, the "
        "ledger, delivered alerts, and old events if the operator said so. Running it twice removes nothing twice."
    ),
)
def storage_use(
    context: dg.AssetExecutionContext, config: Pruning, warehouse: Warehouse, retention: RetentionPeriods
) -> dg.MaterializeResult[None]:
    now = datetime.now(UTC)
    state, instance = warehouse.state, context.instance
    embedded = warehouse.database_url is None
    with warehouse.connect() as connection:
        pruned = prune(connection, instance, state, retention.days, now, apply=config.apply)
        for part in pruned:
            if part.note:
                context.log.warning(f"{part.part}: {part.note}")
        dagster = Path(instance.root_directory) if instance.is_persistent else state.dagster
        uses = measure(connection, state, dagster, InstanceStorage(instance).bytes_in_database(), embedded=embedded)
        uses = with_growth(connection, uses, now)
        keep_measurement(connection, uses, now)
        by_day = history(connection, now)
        late = late_in_words(late_events(connection))
    room = forecast(state.home, uses, embedded=embedded)
    removed = "removed" if config.apply else "would be removed"
    metadata: dict[str, Entry] = {
        "dagster/row_count": len(uses),
        "bytes": sum(use.bytes for use in uses),
        "bytes a day": dg.MetadataValue.null() if room.growth is None else round(room.growth),
        "free bytes": room.free_bytes,
        "disk": room.words,
        "parts": dg.MetadataValue.md(_parts(uses)),
        removed: dg.MetadataValue.md(_pruned(pruned)),
        "late events": late or "none came for frozen days",
        "chart": dg.MetadataValue.md(f"![What takes the disk]({use_chart(by_day)})"),
    }
    return dg.MaterializeResult(metadata=beside(instance, context.asset_key, metadata))


def _parts(uses: Sequence[Use]) -> str:
    rest = uses[_SHOWN:]
    known = [use.growth for use in rest if use.growth is not None]
    others = Use(f"{len(rest)} others", sum(use.bytes for use in rest), None, sum(known) if known else None)
    return markdown_rows(
        [
            {
                "part": use.part,
                "takes": shown_bytes(use.bytes),
                "rows": use.rows,
                "grows a day": None if use.growth is None else shown_bytes(use.growth),
            }
            for use in (*uses[:_SHOWN], *([others] if rest else []))
        ]
    )


def _pruned(parts: Sequence[Prunable]) -> str:
    return markdown_rows(
        [
            {
                "part": part.part,
                "what": part.what,
                "rows": part.rows,
                "bytes": shown_bytes(part.bytes),
                "oldest": part.oldest_day,
                "older than": part.cut_day,
                "note": part.note,
            }
            for part in parts
        ]
    )
