"""The previous value beside the new one: what an asset, or a day of it, told when it was last materialized.

Lives here: finding the materialization before this one in Dagster's instance, and the table of both. Not here: the
numbers. Each stays a number of its own as well, so that Dagster plots it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime

import dagster as dg

from cowrie_assets.report.escaping import markdown_text

Entry = dg.MetadataValue | int | float | str
NOW_AND_BEFORE = "now and before"
_ROWS = "dagster/row_count"


def beside(instance: dg.DagsterInstance, asset: dg.AssetKey | str, metadata: Mapping[str, Entry]) -> dict[str, Entry]:
    """An unpartitioned asset's metadata with the numbers of before beside those of now."""
    key = dg.AssetKey(asset) if isinstance(asset, str) else asset
    return _with_table(metadata, instance.get_latest_materialization_event(key))


def beside_days(
    instance: dg.DagsterInstance, asset: dg.AssetKey, by_day: Mapping[date, Mapping[str, Entry]]
) -> dict[date, dict[str, Entry]]:
    """The metadata of a daily asset's days, each with the numbers of the day's last materialization beside its own; in
    two queries for all of them."""
    before = newest_of_days(instance, asset, by_day)
    return {
        day: _with_table(metadata, before[day].event_log_entry if day in before else None)
        for day, metadata in by_day.items()
    }


def newest_of_days(
    instance: dg.DagsterInstance, asset: dg.AssetKey, days: Collection[date]
) -> dict[date, dg.EventLogRecord]:
    """The newest materialization of each of these days that has one, in two queries."""
    if not days:
        return {}
    materialized = dg.DagsterEventType.ASSET_MATERIALIZATION
    newest = instance.get_latest_storage_id_by_partition(asset, materialized, {day.isoformat() for day in days})
    if not newest:
        return {}
    told = dg.AssetRecordsFilter(asset_key=asset, storage_ids=list(newest.values()))
    records = instance.fetch_materializations(told, limit=len(newest)).records
    return {date.fromisoformat(str(record.partition_key)): record for record in records}


def _with_table(metadata: Mapping[str, Entry], before: dg.EventLogEntry | None) -> dict[str, Entry]:
    materialization = None if before is None else before.asset_materialization
    if before is None or materialization is None:
        return dict(metadata)
    known = {name: value.value for name, value in materialization.metadata.items() if _is_number(value.value)}
    lines = [f"| | now | {datetime.fromtimestamp(before.timestamp, UTC):%Y-%m-%d %H:%M} UTC |", "| --- | --- | --- |"]
    for name, value in metadata.items():
        if _is_number(value):
            told = "rows" if name == _ROWS else markdown_text(name)
            lines.append(f"| {told} | {value:,} | {f'{known[name]:,}' if name in known else '–'} |")
    return {**metadata, NOW_AND_BEFORE: dg.MetadataValue.md("\n".join(lines))}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
