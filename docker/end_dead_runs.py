"""Before the code server starts: the runs that its predecessor left behind are over, and are made to say so.

Lives here: failing them. Not here: trying them again (`run_retries` of dagster.yaml does), what they left in the
database (the next one goes on there).

A run is a child of the code server, so none outlives its container. But the run launcher of Dagster's that starts
children cannot tell whether one lives, and run monitoring leaves such runs alone: they would count as running for a
day, with their place in the queue and in the pool "one_writer". There must be one code server only.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

import dagster as dg

# By this tag of Dagster's a run that a code server was told to start is known; those of commands do not have it.
_STARTED_BY_A_CODE_SERVER = ".dagster/grpc_info"
_UNFINISHED = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
# A run that fails while the daemon does not know the new code server is not tried again: measured. The server is up
# within a minute, and the daemon loads its workspace anew each minute.
_SECONDS_UNTIL_SEEN = 120.0


def dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """The ids of the unfinished runs of a code server; while none is up all of them are dead."""
    unfinished = instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED))
    return [run.run_id for run in unfinished if _STARTED_BY_A_CODE_SERVER in run.tags]


def end_runs(instance: dg.DagsterInstance, run_ids: Iterable[str]) -> None:
    """Fail each of the runs that did not end meanwhile; cancel it where that was asked for."""
    for run_id in run_ids:
        run = instance.get_run_by_id(run_id)
        if run is None or run.status not in _UNFINISHED:
            continue
        message = "the code server that ran it has ended; what was done is kept, and the next run goes on there"
        if run.status == dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, message)
        else:
            instance.report_run_failed(run, message)


if __name__ == "__main__":
    with dg.DagsterInstance.get() as instance:
        dead = dead_runs(instance)
    # The code server need not wait: whoever started us goes on, and a child ends the runs.
    if dead and os.fork() == 0:
        time.sleep(_SECONDS_UNTIL_SEEN)
        with dg.DagsterInstance.get() as instance:
            end_runs(instance, dead)
