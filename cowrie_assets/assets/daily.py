"""The days of a daily asset's run, one after the other: a day that cannot be built does not stop the others.

Lives here: what becomes of a day that fails, for Dagster and in the table `day_failures`. Not here: what is built
(`sessions`, `enrichment`, `snapshots`), which steps are tried again (`patience`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date

import dagster as dg

from cowrie_assets.assets.patience import TRANSIENT
from cowrie_assets.assets.previous import Entry, beside_days
from cowrie_assets.assets.reconstruction import note_failures
from cowrie_assets.progress import progress
from cowrie_assets.report.escaping import visible
from cowrie_assets.settings import StateFolder
from cowrie_assets.warehouse.event_chunks import Connection

Metadata = Mapping[str, Entry]
# Under this name a failed step says which of its days failed, as a list: for alerts, and for whoever looks.
FAILED_DAYS = "failed days"
# On a run of which some days failed in an asset: the asset. Dagster leaves out the checks behind a failed step, also
# those of the days that are done; the sensor due_days has them evaluated.
UNCHECKED_TAG = "cowrie/unchecked"
_LONGEST_REASON = 500


class DailyRun:
    """The days that a run of a daily asset is about. Each is built, and committed, alone; whatever goes wrong with one
    is kept until the others are done."""

    def __init__(self, context: dg.AssetExecutionContext) -> None:
        self._context = context
        self._asset = context.asset_key
        self._built: dict[date, Metadata] = {}
        self._failed: dict[date, str] = {}
        self.days = [date.fromisoformat(key) for key in context.partition_keys]

    def build(self, day: date, make: Callable[[date], Metadata]) -> None:
        """Build a day; what `make` returns becomes the metadata of its materialization."""
        try:
            metadata = make(day)
        except TRANSIENT:  # it is not the day that is at fault: the step is tried again as a whole
            raise
        except Exception as error:  # whatever it is, the other days do not suffer for it
            self._failed[day] = reason = _reason(error)
            self._built.pop(day, None)
            self._context.log.error(f"{day}: {reason}", exc_info=error)
        else:
            self._built[day] = metadata
            self._failed.pop(day, None)

    def build_each(self, state: StateFolder, phase: str, make: Callable[[date], Metadata]) -> None:
        """Build every day of the run, telling how far it has come."""
        with progress(state, phase, "days", len(self.days)) as reporter:
            for number, day in enumerate(self.days, 1):
                self.build(day, make)
                reporter.update(number, day.isoformat())

    @property
    def built(self) -> Sequence[date]:
        """The days that are built by now."""
        return sorted(self._built)

    def show(self, by_day: Mapping[date, Metadata]) -> None:
        """Add to the metadata of days that are built: what is read of all of them at once."""
        for day, metadata in by_day.items():
            self._built[day] = {**self._built[day], **metadata}

    def finish(self, connection: Connection, cost: Metadata | None = None) -> None:
        """Note which days failed; `cost` is metadata of the run as a whole, shown with every day.

        Raises:
            dg.Failure: a day failed. It names them; the others are materialized by then.
        """
        note_failures(connection, self._asset.to_user_string(), self.days, self._failed)
        whole = dict(cost or {})
        built = beside_days(self._context.instance, self._asset, self._built)
        if not self._failed:
            for day, metadata in built.items():
                self._context.add_asset_metadata({**metadata, **whole}, partition_key=day.isoformat())
            return
        # A failed step materializes nothing by itself, and Dagster counts as failed what it did not see materialized.
        for day, metadata in sorted(built.items()):
            event = dg.AssetMaterialization(self._asset, partition=day.isoformat(), metadata={**metadata, **whole})
            self._context.log_event(event)
        if self._built:
            tag = {UNCHECKED_TAG: self._asset.to_user_string()}
            self._context.instance.add_run_tags(self._context.run.run_id, tag)
        raise self._failure()

    def _failure(self) -> dg.Failure:
        days = sorted(self._failed)
        told = "; ".join(f"{day}: {self._failed[day]}" for day in days[:3])
        more = f"; and {len(days) - 3} more" if len(days) > 3 else ""
        return dg.Failure(
            f"{len(days)} of {len(self.days)} days of {self._asset.to_user_string()} failed"
            f"{', the others are done' if self._built else ''}. {told}{more}. When the cause is mended, materialize "
            "these days again.",
            metadata={
                FAILED_DAYS: dg.MetadataValue.json([day.isoformat() for day in days]),
                "reasons": dg.MetadataValue.json({day.isoformat(): self._failed[day] for day in days}),
            },
            allow_retries=False,
        )


def _reason(error: BaseException) -> str:
    first = (str(error).strip().splitlines() or [""])[0]
    return visible(f"{type(error).__name__}: {first}")[:_LONGEST_REASON]
