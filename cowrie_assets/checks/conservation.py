"""Conservation (promise P6): nothing that was read is lost, nothing is stored twice.

Lives here: the counts that must agree, taken at different places. Not here: the loading.
"""

from collections.abc import Iterable
from typing import Any

import dagster as dg

from cowrie_assets.checks.verdict import Verdict, evaluation
from cowrie_assets.report.escaping import markdown_code
from cowrie_assets.resources import Warehouse
from cowrie_assets.warehouse.event_chunks import Connection

# Each file's bytes as they were read from it against the sum of what they were found to be.
FILES_QUERY = """
    SELECT path, total_bytes, record_bytes, blank_bytes, dead_bytes, pending_bytes, records, events, duplicates
    FROM log_files
    WHERE
        total_bytes <> record_bytes + blank_bytes + dead_bytes + pending_bytes
        OR records <> events + duplicates
        OR least(record_bytes, blank_bytes, dead_bytes, pending_bytes, events, duplicates, dead_letters) < 0
    ORDER BY path
"""
# What the files say was stored against what the store holds, counted three ways.
STORE_QUERY = """
    SELECT
        (SELECT coalesce(sum(events), 0) FROM log_files) AS from_files,
        (SELECT coalesce(sum(event_count), 0) FROM event_chunks) AS in_chunks,
        (SELECT coalesce(sum(octet_length(digests)), 0) / 16 FROM event_chunks) AS digests,
        (
            SELECT count(DISTINCT (day, sensor, substr(digests, 16 * (n - 1) + 1, 16)))
            FROM event_chunks CROSS JOIN LATERAL generate_series(1, event_count) AS n
        ) AS distinct_events,
        (SELECT coalesce(sum(dead_letters), 0) FROM log_files) AS dead_letters,
        (
            SELECT count(*) FROM dead_letter_sightings
            INNER JOIN dead_letter_events USING (sha256)
        ) AS kept_dead_letters,
        (SELECT count(*) FROM dead_letter_events) AS distinct_dead_letters
"""


def check_files(connection: Connection) -> tuple[bool, str]:
    """Whether each file's bytes and records add up, in words."""
    wrong = connection.execute(FILES_QUERY).fetchall()
    if not wrong:
        row = connection.execute("SELECT count(*), coalesce(sum(total_bytes), 0) FROM log_files").fetchone() or (0, 0)
        return True, f"All {row[1]:,} bytes of {row[0]} files are records, blank, dead letters or pending."
    named = ", ".join(markdown_code(row[0]) for row in wrong[:5])
    return False, (
        f"{len(wrong)} of the files do not add up, first {named}. This is a defect of the loading: keep the files, "
        "report it with their rows of log_files."
    )


def check_store(connection: Connection) -> tuple[bool, str]:
    """Whether the store holds each event once, and as many as the files brought, in words."""
    row: Any = connection.execute(STORE_QUERY).fetchone()
    from_files, in_chunks, digests, distinct_events, dead_letters, kept, distinct_dead = map(int, row)
    if from_files == in_chunks == digests == distinct_events and dead_letters == kept:
        return True, f"The store holds {in_chunks:,} events, each once, and {distinct_dead} distinct dead letters."
    return False, (
        f"Files brought {from_files:,} events, the store holds {in_chunks:,} ({distinct_events:,} distinct, "
        f"{digests:,} digests); {dead_letters} dead letters were met, {kept} are kept. Restore the warehouse "
        "from a backup, or load the logs into an empty one."
    )


def conservation_checks() -> dg.AssetChecksDefinition:
    @dg.multi_asset_check(
        specs=[
            dg.AssetCheckSpec(
                "files_add_up", asset="events", description="Per file: bytes = records + blank + dead + pending."
            ),
            dg.AssetCheckSpec(
                "store_adds_up",
                asset="events",
                description="Over all files: records = events + duplicates, each event once.",
            ),
        ],
        can_subset=True,
    )
    def conservation(context: dg.AssetCheckExecutionContext, warehouse: Warehouse) -> Iterable[dg.AssetCheckEvaluation]:
        run = {"files_add_up": (check_files, FILES_QUERY), "store_adds_up": (check_store, STORE_QUERY)}
        with warehouse.connect() as connection:
            for key in sorted(context.selected_asset_check_keys):
                check, query = run[key.name]
                yield evaluation(
                    key,
                    Verdict(*check(connection)),
                    threshold="exact agreement",
                    sql=query,
                    severity=dg.AssetCheckSeverity.ERROR,
                )

    return conservation
