"""The asset `events`: every record of every log file, once, kept compressed.

Lives here: its Dagster definition. Not here: the loading itself (`ingestion`).
"""

from pathlib import Path

import dagster as dg

from cowrie_assets.assets.face import DAILY, OWNERS, POOL, made_by
from cowrie_assets.assets.ingestion import Ingested, count_out_of_range, ingest, partition_days
from cowrie_assets.assets.patience import patient
from cowrie_assets.assets.previous import Entry, beside
from cowrie_assets.progress import progress
from cowrie_assets.report.escaping import markdown_code, markdown_text
from cowrie_assets.resources import CowrieLogs, Warehouse


@dg.asset(
    group_name="ingestion",
    kinds={"cowrie", "postgres"},
    owners=OWNERS,
    pool=POOL,
    metadata=made_by("assets/ingestion.py", "cowrie/events.py"),
    freshness_policy=DAILY,
    description=(
        "Every event of every log below the configured folders, once, whatever the files are called and however often, "
        "in whatever order or pieces they are loaded. Reads only what is new. Tables: event_chunks, log_files, "
        "dead_letter_events. Running it twice changes nothing: an event is known by its sensor and its JSON value."
    ),
)
@patient
def events(
    context: dg.AssetExecutionContext, warehouse: Warehouse, cowrie_logs: CowrieLogs
) -> dg.MaterializeResult[None]:
    """Load all logs; say which days changed, and save the first day there is."""
    with warehouse.connect() as connection, progress(warehouse.state, "events", "records") as reporter:

        def report(done: Ingested, path: Path) -> None:
            reporter.update(done.records, path.name)

        done = ingest(connection, cowrie_logs.paths, cowrie_logs.sensor_names(), report)
        reporter.update(done.records)
        out_of_range = count_out_of_range(connection)
        days = partition_days(day for (day,) in connection.execute("SELECT day FROM event_days"))
        totals = connection.execute("SELECT coalesce(sum(event_count), 0), count(*) FROM event_chunks").fetchone()
    if days and warehouse.state.save_earliest_day(min(days)):
        context.log.info(f"The first partition is {min(days)} now: reload the definitions to see earlier days.")
    for path, reason in [*done.skipped, *done.problems]:
        context.log.warning(f"{path}: {reason}")
    stored = totals[0] if totals else 0
    metadata: dict[str, Entry] = {"dagster/row_count": stored, **_metadata(done, out_of_range), "stored events": stored}
    return dg.MaterializeResult(metadata=beside(context.instance, context.asset_key, metadata))


def _metadata(done: Ingested, out_of_range: int) -> dict[str, dg.MetadataValue | int]:
    changed = sorted(partition_days(done.changed_days))
    told = [*done.skipped, *done.problems]
    notes = "\n".join(f"- {markdown_code(str(path))}: {markdown_text(reason)}" for path, reason in told)
    return {
        "files read": done.files,
        "files unchanged": done.unchanged_files,
        "files skipped": len(done.skipped),
        "bytes": done.total_bytes,
        "records": done.records,
        "new events": done.events,
        "duplicates": done.duplicates,
        "dead letters": done.dead_letters,
        "pending bytes": done.pending_bytes,
        "events out of range": out_of_range,
        "changed days": dg.MetadataValue.md(", ".join(map(str, changed)) or "none"),
        "notes": dg.MetadataValue.md(notes or "none"),
    }
