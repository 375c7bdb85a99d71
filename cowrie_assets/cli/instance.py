"""Dagster's instance below the state folder: its home and its settings, and runs that outlived their process.

Not here: running anything (`launch`), the UI (`serve`).
"""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

import dagster as dg
import psutil

from cowrie_assets.automation.jobs import COMMAND_TAG, RUNNING, is_alive
from cowrie_assets.settings import Settings

_EDITED_MARK = "# as shipped: "


def prepare_dagster_home(settings: Settings) -> Path:
    """Dagster's home below the state folder, with the shipped dagster.yaml unless the operator edited it there."""
    home = settings.state.dagster
    home.mkdir(parents=True, exist_ok=True)
    os.environ["DAGSTER_HOME"] = str(home)
    # Resources that run elsewhere (the UI's code server) read the same settings.
    os.environ["COWRIE_HOME"] = str(settings.home.parent if settings.mode == "sandbox" else settings.home)
    os.environ["COWRIE_MODE"] = settings.mode
    as_shipped = shipped("dagster.yaml").read_text(encoding="utf-8")
    target = home / "dagster.yaml"
    if not target.exists() or _is_as_shipped(target.read_text(encoding="utf-8")):
        text = f"{_EDITED_MARK}{sha256(as_shipped.encode()).hexdigest()}\n{as_shipped}"
        settings.state.write(target, text)
    return home


def end_dead_runs(instance: dg.DagsterInstance) -> int:
    """End the runs whose process is gone: nobody else would, and they would hold their place in queue and pools for
    ever. Those of the UI are then tried again (`run_retries` of dagster.yaml)."""
    ended = 0
    for run in instance.get_runs(dg.RunsFilter(statuses=RUNNING)):
        lives = is_alive(run.tags) if COMMAND_TAG in run.tags else _worker_may_live(instance, run.run_id)
        if lives:
            continue
        instance.report_run_failed(run, "its process is gone: run it again, it goes on where it was")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        ended += 1
    return ended


def _worker_may_live(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether the process that Dagster started for a run may be there still; it may where none is known."""
    for entry in reversed(instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)):
        event = entry.get_dagster_event()
        pid = event.engine_event_data.metadata.get("pid") if event.is_engine_event else None
        if pid is None:
            continue
        try:
            process = psutil.Process(int(str(pid.value)))
            # A number is given to another process sooner or later; that one began after the run did.
            return process.create_time() <= entry.timestamp and process.status() != psutil.STATUS_ZOMBIE
        except (ValueError, psutil.NoSuchProcess):
            return False
    return True


def shipped(name: str) -> Path:
    """A file of the project's top folder: beside the package in a checkout, inside it in a wheel."""
    package = Path(__file__).parents[1]
    return package.parent / name if (package.parent / name).exists() else package / name


def _is_as_shipped(text: str) -> bool:
    first, _, rest = text.partition("\n")
    return first == _EDITED_MARK + sha256(rest.encode()).hexdigest()
