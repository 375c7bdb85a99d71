"""The real UI of `cowrie-assets up`, its daemon and its code server, in processes of their own, driven over GraphQL."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil

from cowrie_assets.settings import ADDRESS_VARIABLES

_LAUNCH = """
mutation Launch($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""
_REEXECUTE = """
mutation Again($params: ReexecutionParams!) {
  reexecutePartitionBackfill(reexecutionParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""
_BACKFILL = """
query Backfill($id: String!) {
  partitionBackfillOrError(backfillId: $id) {
    ... on PartitionBackfill {
      status
      assetBackfillData { assetBackfillStatuses {
        ... on AssetPartitionsStatusCounts {
          assetKey { path } numPartitionsTargeted numPartitionsMaterialized numPartitionsFailed
        }
        ... on UnpartitionedAssetStatus { assetKey { path } materialized failed }
      } }
    }
  }
}
"""
_RELOAD = "mutation { reloadWorkspace { __typename } }"
FINISHED = ("COMPLETED_SUCCESS", "COMPLETED_FAILED", "COMPLETED", "FAILED", "CANCELED")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def days_between(first: str, last: str) -> list[str]:
    begin, end = date.fromisoformat(first), date.fromisoformat(last)
    return [(begin + timedelta(days=number)).isoformat() for number in range((end - begin).days + 1)]


@dataclass
class Ui:
    """`cowrie-assets up`; what it wrote is in the file `log`."""

    environment: Mapping[str, str]
    log: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, seconds: float = 90) -> None:
        """Start it, and wait until its definitions are loaded."""
        command = [sys.executable, "-m", "cowrie_assets", "up", "--port", str(self.port)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, env=dict(self.environment), stdout=log, stderr=log)
        wait_until(self._is_ready, seconds, self.tail)

    def stop(self) -> None:
        """End it as Ctrl-C does, and with force whatever is left of it."""
        process, self.process = self.process, None
        if process is None:
            return
        family = self.family(process.pid)
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=60)
        end(family)
        process.wait(timeout=10)

    def family(self, pid: int | None = None) -> list[psutil.Process]:
        """All of its processes, the parent first."""
        parent = psutil.Process(pid or (self.process.pid if self.process else 0))
        return [parent, *parent.children(recursive=True)]

    def find(self, *words: str) -> list[psutil.Process]:
        """Those of its processes whose command line has all the words."""
        found = []
        for process in self.family():
            with suppress(psutil.Error):
                if all(word in " ".join(process.cmdline()) for word in words):
                    found.append(process)
        return found

    def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        response = httpx.post(
            f"{self.url}/graphql", json={"query": query, "variables": variables}, timeout=60, trust_env=False
        )
        answer: dict[str, Any] = response.json()
        assert "errors" not in answer, answer["errors"]
        data: dict[str, Any] = answer["data"]
        return data

    def reload(self) -> None:
        self.graphql(_RELOAD)

    def backfill(self, assets: Iterable[str], days: list[str], **params: Any) -> str:
        """Launch what "Materialize selected" launches; the backfill's id."""
        selection = [{"path": [asset]} for asset in assets]
        params = {"assetSelection": selection, "partitionNames": days, "fromFailure": False, **params}
        return self._launched("launchPartitionBackfill", self.graphql(_LAUNCH, params=params))

    def again(self, backfill: str) -> str:
        """The button "Re-execute, from failure" of a backfill's page; the new backfill's id."""
        params = {"parentRunId": backfill, "strategy": "FROM_FAILURE"}
        return self._launched("reexecutePartitionBackfill", self.graphql(_REEXECUTE, params=params))

    def status(self, backfill: str) -> tuple[str, dict[str, Any]]:
        """Its status, and each asset's counts."""
        told = self.graphql(_BACKFILL, id=backfill)["partitionBackfillOrError"]
        parts = (told.get("assetBackfillData") or {}).get("assetBackfillStatuses", [])
        return told["status"], {part["assetKey"]["path"][0]: part for part in parts}

    def follow(self, backfill: str, seconds: float) -> tuple[str, dict[str, Any]]:
        """Wait until a backfill has ended; its status and each asset's counts."""
        wait_until(lambda: self.status(backfill)[0] in FINISHED, seconds, self.tail, every=1.0)
        return self.status(backfill)

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-6000:]

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.tail()
        with suppress(httpx.HTTPError):
            told = self.graphql("{ workspaceOrError { ... on Workspace { locationEntries { loadStatus } } } }")
            entries = told["workspaceOrError"]["locationEntries"]
            return bool(entries) and all(entry["loadStatus"] == "LOADED" for entry in entries)
        return False

    def _launched(self, name: str, data: dict[str, Any]) -> str:
        assert data[name]["__typename"] == "LaunchBackfillSuccess", data
        return str(data[name]["backfillId"])


def environment(home: Path, *, services: Mapping[str, str] | None = None, **others: str) -> dict[str, str]:
    """What `up` and the commands of a test run in: no service, unless `services` says where they are."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    offline = {} if services else {"COWRIE_OFFLINE": "1"}
    closed = {
        variable: "127.0.0.1:9" if name == "cymru" else f"http://127.0.0.1:9/{name}"
        for name, variable in ADDRESS_VARIABLES.items()
    }
    return {**inherited, **closed, **offline, "COWRIE_HOME": str(home), **(services or {}), **others}


@contextmanager
def serving(environment: Mapping[str, str], log: Path) -> Iterator[Ui]:
    ui = Ui(environment, log)
    try:
        ui.start()
        yield ui
    finally:
        ui.stop()


def end(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(processes, timeout=10)


def wait_until(
    true: Callable[[], bool], seconds: float, why: Callable[[], str] = lambda: "", every: float = 0.3
) -> None:
    end_at = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end_at, f"it did not come to that within {seconds} s\n{why()}"
        time.sleep(every)
