"""The asset `sessions`: what happened, session by session, rebuilt from the stored events of a day.

Lives here: its Dagster definition. Not here: the rebuilding (`reconstruction`, `cowrie_assets.cowrie.sessions`).
"""

import dagster as dg

from cowrie_assets.assets.daily import DailyRun
from cowrie_assets.assets.face import OWNERS, made_by
from cowrie_assets.assets.patience import patient
from cowrie_assets.assets.previous import Entry
from cowrie_assets.assets.reconstruction import Rebuilt, rebuild_day
from cowrie_assets.assets.shown_days import sessions_of_days
from cowrie_assets.partitions import backfill_policy
from cowrie_assets.resources import Warehouse


def sessions_asset(daily: dg.DailyPartitionsDefinition) -> dg.AssetsDefinition:
    @dg.asset(
        partitions_def=daily,
        backfill_policy=backfill_policy(),
        deps=["events"],
        group_name="sessions",
        kinds={"postgres"},
        owners=OWNERS,
        metadata=made_by("assets/reconstruction.py", "cowrie/sessions.py"),
        description=(
            "One row a session that began on the day (UTC), however far it runs, with its logins, commands, files, "
            "SSH keys and forwarding requests in tables of their own. Rebuilt from the stored events and replaced as a "
            "whole in one transaction, so running a day twice changes nothing."
        ),
    )
    @patient
    def sessions(context: dg.AssetExecutionContext, warehouse: Warehouse) -> None:
        """Rebuild each day of the run; each commits alone."""
        run = DailyRun(context)
        with warehouse.connect() as connection:
            run.build_each(warehouse.state, "sessions", lambda day: _rebuilt(rebuild_day(connection, day)))
            run.show(sessions_of_days(connection, run.built))
            run.finish(connection)

    return sessions


def _rebuilt(day: Rebuilt) -> dict[str, Entry]:
    rows = {table.replace("_", " "): number for table, number in day.rows.items()}
    frozen = {} if day.frozen_at is None else {"frozen since": dg.MetadataValue.timestamp(day.frozen_at)}
    return {"dagster/row_count": day.rows["sessions"], **rows, **frozen}
