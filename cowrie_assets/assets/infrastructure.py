"""The view `session_summaries`, the infrastructure queries over it, and the report of their results.

Lives here: one asset a query, its window and minimum, what its result rests on. Not here: the queries (`sql/`), how
results look (`cowrie_assets.report`).
"""

from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from psycopg import sql
from psycopg.rows import dict_row
from pydantic import Field

from cowrie_assets.assets.face import DAILY, OWNERS, POOL, made_by
from cowrie_assets.assets.patience import patient
from cowrie_assets.assets.previous import Entry, beside
from cowrie_assets.assets.questions import QUESTIONS
from cowrie_assets.progress import progress
from cowrie_assets.report.charts import chart
from cowrie_assets.report.page import write_report
from cowrie_assets.report.tables import QueryResult, Row, markdown_table, write_csv
from cowrie_assets.resources import Warehouse
from cowrie_assets.warehouse.coverage import GATE, Gates
from cowrie_assets.warehouse.event_chunks import Connection
from cowrie_assets.warehouse.views import VIEWS, sql_file, view_statement

# Once what they rest on has changed, and nothing of it is still under way. Plain eager() never fires while a day is
# missing, and of the days since the start some always are.
FOLLOWS = dg.AutomationCondition.eager().without(~dg.AutomationCondition.any_deps_missing())


@dataclass(frozen=True)
class InfrastructureQuery:
    """One of the queries 11 to 14: its asset, table and file, and the key whose knowledge it rests on."""

    number: int
    name: str
    title: str
    minimum_sessions: int
    row_limit: int
    label: str
    covered_by: str
    description: str
    order: str = "session_count DESC, 1"

    @property
    def sql_name(self) -> str:
        return f"query_{self.number}_{self.name}.sql"


QUERIES = (
    InfrastructureQuery(
        number=11,
        name="geographic_distribution",
        title="Where the attacks came from",
        minimum_sessions=100,
        row_limit=200,
        label="country",
        covered_by="with_country",
        description="Query 11: sessions by the country of their source at the time of the attack.",
    ),
    InfrastructureQuery(
        number=12,
        name="asn_infrastructure",
        title="Whose networks the attacks came from",
        minimum_sessions=50,
        row_limit=500,
        label="as_name",
        covered_by="with_asn",
        description="Query 12: sessions by the autonomous system of their source at the time of the attack.",
    ),
    InfrastructureQuery(
        number=13,
        name="anonymization",
        title="How the attackers hid",
        minimum_sessions=1,
        row_limit=100_000,
        label="attack_date",
        covered_by="classified",
        order="attack_date DESC",
        description="Query 13: by day, sessions through VPNs, proxies and Tor, and the kind of line they came from.",
    ),
    InfrastructureQuery(
        number=14,
        name="reputation_distribution",
        title="What DShield knew of the attackers",
        minimum_sessions=1,
        row_limit=100,
        label="reputation_bucket",
        covered_by="with_dshield",
        order=("array_position(ARRAY['no_data', '0', '1-10', '11-100', '101-1000', '>1000'], reputation_bucket)"),
        description="Query 14: sessions by the number of attacks that DShield had on record for their source.",
    ),
)


class Window(dg.Config):
    """What a query looks at. Empty texts mean: all there is."""

    since: str = Field(
        default="", description="First moment, for example 2025-09-01. Empty: from the first session on."
    )
    until: str = Field(default="", description="First moment that is left out. Empty: to the last session.")
    minimum_sessions: int | None = Field(
        default=None,
        description="Rows with fewer sessions are left out. Empty: the query's own (Q11 100, Q12 50, others 1).",
    )


def run_query(connection: Connection, query: InfrastructureQuery, window: Window, wanted: float = GATE) -> QueryResult:
    """Run a query's file as it lies in `sql/`, replace its result table, and note what the result rests on."""
    minimum = query.minimum_sessions if window.minimum_sessions is None else window.minimum_sessions
    statement = sql_file(query.sql_name).read_text(encoding="utf-8")
    table = sql.Identifier(query.name)
    with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
        settings = {
            "since": window.since,
            "until": window.until,
            "minimum_sessions": str(minimum),
            "row_limit": str(query.row_limit),
        }
        for name, value in settings.items():
            cursor.execute("SELECT set_config(%s, %s, true)", (f"cowrie.{name}", value))
        cursor.execute(sql.SQL("DELETE FROM {}").format(table))
        cursor.execute("DELETE FROM query_results WHERE query = %s", (query.name,))
        cursor.execute(f"INSERT INTO {query.name} {statement}".encode())
        base = cursor.execute(sql_file("query_coverage.sql").read_bytes()).fetchone() or {}
        gate = _gate(base["eligible"], base[query.covered_by], wanted)
        cursor.execute(
            """
            INSERT INTO query_results (
                query, since, until, minimum_sessions, row_limit, sessions, eligible, covered, gate
            ) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
            """,
            (
                query.name,
                window.since or None,
                window.until or None,
                minimum,
                query.row_limit,
                base["sessions"],
                base["eligible"],
                base[query.covered_by],
                gate,
            ),
        )
    return read_result(connection, query)


def read_result(connection: Connection, query: InfrastructureQuery) -> QueryResult:
    """The stored result of a query, most sessions first."""
    with connection.cursor(row_factory=dict_row) as cursor:
        stamp = cursor.execute("SELECT mode = 'sandbox' AS sandbox FROM warehouse_stamp").fetchone() or {}
        ordered = f"SELECT * FROM {query.name} ORDER BY {query.order}".encode()  # noqa: S608 - constants of this file
        rows: list[Row] = cursor.execute(ordered).fetchall()
        base = cursor.execute(
            "SELECT minimum_sessions, sessions, eligible, covered, gate FROM query_results WHERE query = %s",
            (query.name,),
        ).fetchone()
    if base is None:
        return QueryResult(query.number, query.name, query.title, query.label, rows, **stamp)
    return QueryResult(
        query.number,
        query.name,
        query.title,
        query.label,
        rows,
        **base,
        **stamp,
    )


def create_view(connection: Connection, view: str) -> None:
    """Make the view as its file says; where it says what it said before, nothing changes."""
    connection.execute(view_statement(view).encode())


def infrastructure_assets(gates: Gates) -> list[dg.AssetsDefinition]:
    return [session_summaries, *(_query_asset(query, gates.default) for query in QUERIES), _report_asset(gates)]


@dg.asset(
    # The daily tables that it reads; external specs of views lose the order, so this one is made like any other asset.
    deps=["sessions", "session_snapshots", *QUESTIONS],
    group_name="infrastructure",
    kinds={"postgres", "view"},
    owners=OWNERS,
    pool=POOL,
    automation_condition=FOLLOWS,
    metadata=made_by(*(f"{view}.sql" for view in reversed(VIEWS))),
    freshness_policy=DAILY,
    description=(
        "The view that reports and people read: one row a session with what happened and what was known of its source "
        "at the time. Making it twice changes nothing."
    ),
)
@patient
def session_summaries(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult[None]:
    with warehouse.connect() as connection:
        for view in VIEWS:
            create_view(connection, view)
        row = connection.execute("SELECT count(*), min(day), max(day) FROM session_summaries").fetchone()
    sessions, first, last = row or (0, None, None)
    metadata: dict[str, Entry] = {"dagster/row_count": sessions, "days": f"{first} to {last}" if first else "none"}
    return dg.MaterializeResult(metadata=beside(context.instance, context.asset_key, metadata))


def _query_asset(query: InfrastructureQuery, wanted: float) -> dg.AssetsDefinition:
    @dg.asset(
        name=query.name,
        deps=["session_summaries"],
        group_name="infrastructure",
        kinds={"postgres", "sql"},
        owners=OWNERS,
        pool=POOL,
        automation_condition=FOLLOWS,
        metadata=made_by(query.sql_name, "query_coverage.sql"),
        freshness_policy=DAILY,
        description=(
            f"{query.description} The file sql/{query.sql_name} runs as it is, here and in psql. Rows with fewer than "
            f"{query.minimum_sessions} sessions are left out unless the run config says otherwise. The table is "
            "replaced as a whole, so running it twice changes nothing."
        ),
    )
    @patient
    def infrastructure_query(
        context: dg.AssetExecutionContext, config: Window, warehouse: Warehouse
    ) -> dg.MaterializeResult[None]:
        with warehouse.connect() as connection, progress(warehouse.state, "queries", "queries", 1) as reporter:
            result = run_query(connection, query, config, wanted)
            reporter.update(1, query.name)
        csv = write_csv(warehouse.state.reports, result)
        metadata = _metadata(query, result, wanted, csv)
        return dg.MaterializeResult(metadata=beside(context.instance, context.asset_key, metadata))

    return infrastructure_query


def _report_asset(gates: Gates) -> dg.AssetsDefinition:
    @dg.asset(
        deps=[query.name for query in QUERIES],
        group_name="infrastructure",
        kinds={"html"},
        owners=OWNERS,
        pool=POOL,
        automation_condition=FOLLOWS,
        metadata=made_by("report/page.py"),
        freshness_policy=DAILY,
        description=(
            "One plain HTML page: the queries' tables and charts, the top credentials and commands, the newest files. "
            "All text that attackers sent is escaped. The page is replaced as a whole, so running it twice changes "
            "nothing."
        ),
    )
    @patient
    def infrastructure_report(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult[None]:
        with warehouse.connect() as connection:
            results = [read_result(connection, query) for query in QUERIES]
            path = write_report(
                connection, warehouse.state.reports, results, gates, sandbox=warehouse.mode == "sandbox"
            )
        metadata: dict[str, Entry] = {
            "report": dg.MetadataValue.path(str(path)),
            "bytes": path.stat().st_size,
            **{f"rows: {result.title}": len(result.rows) for result in results},
        }
        return dg.MaterializeResult(metadata=beside(context.instance, context.asset_key, metadata))

    return infrastructure_report


def _gate(eligible: int, covered: int, wanted: float) -> str:
    if not eligible:
        return "nothing eligible"
    return "passed" if covered >= wanted * eligible else "below the gate"


def _metadata(
    query: InfrastructureQuery, result: QueryResult, wanted: float, csv: Path
) -> dict[str, dg.MetadataValue | int | float | str]:
    metadata: dict[str, dg.MetadataValue | int | float | str] = {
        "dagster/row_count": len(result.rows),
        "sessions": result.sessions,
        "eligible sessions": result.eligible,
        "coverage": round(result.coverage, 4),
        "gate": f"{result.gate} (answered for at least {wanted:.0%} of the eligible sessions)",
        "minimum sessions": result.minimum_sessions,
        "top rows": dg.MetadataValue.md(markdown_table(result, 15)),
        "csv": dg.MetadataValue.path(str(csv)),
    }
    if result.rows:
        metadata["chart"] = dg.MetadataValue.md(f"![{query.title}]({chart(result)})")
    return metadata
