"""What a person opens: the Dagster UI, and psql.

Lives here: their processes. Not here: Dagster's home (`instance`), runs on the command line (`launch`).
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import dagster as dg
from psycopg import conninfo
from rich.console import Console

from cowrie_assets.cli.instance import end_dead_runs, prepare_dagster_home, shipped
from cowrie_assets.settings import Settings, SettingsError
from cowrie_assets.warehouse.database import Database


def serve_ui(settings: Settings, console: Console, port: int) -> int:
    """Run `dagster dev` on 127.0.0.1 until it ends; the embedded database stays up for as long."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise SettingsError(
                f"port {port} is in use: is the UI open already? Else name another one: --port"
            ) from None
    prepare_dagster_home(settings)
    database = Database(settings.home, settings.mode, settings.database_url)
    command = [sys.executable, "-m", "dagster", "dev", "-h", "127.0.0.1", "-p", str(port)]
    # Started in the background of a script we inherit "ignore Ctrl-C", and Dagster, which ends on SIGTERM as on Ctrl-C,
    # would ignore both: such a UI could only be killed.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with database.hold():
        with dg.DagsterInstance.get() as instance:
            if ended := end_dead_runs(instance):
                console.print(f"{ended} runs had lost their process; they are tried again.", markup=False)
        console.print(f"Dagster UI: http://127.0.0.1:{port} (Ctrl-C ends it)", markup=False)
        process = subprocess.Popen([*command, "-w", str(shipped("workspace.yaml"))])
        try:
            return process.wait()
        except KeyboardInterrupt:  # it reached Dagster as well, which is ending
            return process.wait()
        finally:
            if process.poll() is None:  # SIGTERM reached only us
                process.terminate()
                process.wait()


def open_psql(database: Database, arguments: list[str]) -> int:
    """psql on the warehouse: the one that the embedded server brings, also for an external database."""
    from cowrie_assets.warehouse.embedded import EmbeddedServer

    with database.hold():
        binary = EmbeddedServer(Path("/")).binary("psql")
        address = conninfo.conninfo_to_dict(database.url)
        # A password in an argument is seen by everyone who lists processes.
        password = {"PGPASSWORD": str(address.pop("password"))} if address.get("password") else {}
        environment = {**os.environ, "PGTZ": "UTC", **password}
        process = subprocess.Popen(
            [str(binary), "-d", conninfo.make_conninfo("", **address), *arguments], env=environment
        )
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:  # psql's own: it cancels a query
                continue
