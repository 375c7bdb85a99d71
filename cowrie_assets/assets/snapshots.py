"""The asset `session_snapshots`: what was true of each source at the time of its attack.

Lives here: its Dagster definition and the day's transaction. Not here: the as-of rules, which a person reads in
`sql/write_session_snapshots.sql`.
"""

from datetime import date

import dagster as dg

from cowrie_assets.assets.daily import DailyRun
from cowrie_assets.assets.face import OWNERS, made_by
from cowrie_assets.assets.patience import patient
from cowrie_assets.assets.previous import Entry
from cowrie_assets.assets.reconstruction import daily_build
from cowrie_assets.assets.shown_days import snapshots_of_days
from cowrie_assets.partitions import backfill_policy
from cowrie_assets.resources import Warehouse
from cowrie_assets.warehouse.event_chunks import Connection
from cowrie_assets.warehouse.views import sql_file


def write_snapshots(connection: Connection, day: date) -> dict[str, int]:
    """Add the day's snapshots that are new or better; the counts of its current ones, by basis. Safe to repeat."""
    with connection.transaction(), daily_build(connection, "session_snapshots", day):
        connection.execute("SELECT set_config('cowrie.day', %s, true)", (day.isoformat(),))
        connection.execute(sql_file("write_session_snapshots.sql").read_bytes())
        rows = connection.execute(
            "SELECT coalesce(snapshot_basis, 'unknown'), count(*) FROM session_snapshots "
            "WHERE day = %s AND is_current GROUP BY 1 ORDER BY 1",
            (day,),
        )
        return dict(rows.fetchall())


def snapshots_asset(daily: dg.DailyPartitionsDefinition) -> dg.AssetsDefinition:
    @dg.asset(
        partitions_def=daily,
        backfill_policy=backfill_policy(),
        deps=["sessions", "ip_inventory"],
        group_name="snapshots",
        kinds={"postgres"},
        owners=OWNERS,
        metadata=made_by("write_session_snapshots.sql"),
        description=(
            "AS and country of each session's source as known for the time of the attack, with what that rests on "
            "(in force, observed before, observed after) and when it was observed. Unknown is NULL with a reason. Rows "
            "are only added: a better basis becomes current and the old version stays, so running a day twice changes "
            "nothing."
        ),
    )
    @patient
    def session_snapshots(context: dg.AssetExecutionContext, warehouse: Warehouse) -> None:
        """Bring each day of the run up to date; each commits alone."""
        run = DailyRun(context)
        with warehouse.connect() as connection:
            run.build_each(warehouse.state, "snapshots", lambda day: _counted(write_snapshots(connection, day)))
            run.show(snapshots_of_days(connection, run.built))
            run.finish(connection)

    return session_snapshots


def _counted(by_basis: dict[str, int]) -> dict[str, Entry]:
    return {"dagster/row_count": sum(by_basis.values()), **by_basis}
