"""The asset `sessions`: what happened, session by session, rebuilt from the stored events of a day.

Lives here: its Dagster definition. Not here: the rebuilding (`reconstruction`, `cowrie_assets.cowrie.sessions`).
"""

import dagster as dg

from cowrie_assets.assets.daily import DailyRun
from cowrie_assets.assets.face import OWNERS, made_by
from cowrie_assets.assets.patience import patient
from cowrie_assets.assets.reconstruction import rebuild_day
from cowrie_assets.assets.shown_days import sessions_of_days
from cowrie_assets.partitions import backfill_policy
from cowrie_assets.progress import progress
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
            with progress(warehouse.state, "sessions", "days", len(run.days)) as reporter:
                for number, day in enumerate(run.days, 1):
                    with run.building(day) as metadata:
                        rebuilt = rebuild_day(connection, day)
                        metadata["dagster/row_count"] = rebuilt.rows["sessions"]
                        metadata.update({table.replace("_", " "): rows for table, rows in rebuilt.rows.items()})
                        if rebuilt.frozen_at is not None:
                            metadata["frozen since"] = dg.MetadataValue.timestamp(rebuilt.frozen_at)
                    reporter.update(number, day.isoformat())
            run.show(sessions_of_days(connection, run.built))
            run.finish(connection)

    return sessions
