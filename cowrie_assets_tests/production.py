"""The production instance of `docker/`, without Docker: its files as they are, on a PostgreSQL of the test's own.

Lives here: what the containers do at their start (`postgres.sql`, `entrypoint.sh`), and their processes with the
commands of `compose.yaml`. Addresses are the only thing that is another one: the database's socket in a folder instead
of the host `postgres`, loopback and free ports instead of the containers' own.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg
import yaml  # type: ignore[import-untyped]

from cowrie_assets.warehouse.embedded import EmbeddedServer
from cowrie_assets_tests.ui import free_port

DOCKER = Path(__file__).parents[1] / "docker"
# Everything that a password file, a URL or a shell could trip over.
PASSWORD = r"pa:ss\wo'rd $(x) @/%"


def compose() -> dict[str, Any]:
    """`compose.yaml` as YAML reads it, merges included, variables not."""
    content: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
    return content


@dataclass
class Production:
    """State folder, secrets and environment of one production instance; `environment` is what a container has."""

    folder: Path
    server: EmbeddedServer
    environment: dict[str, str]
    ports: dict[str, int] = field(default_factory=dict)
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """A command in a container of its own: through the entrypoint, to its end."""
        return subprocess.run(
            [str(DOCKER / "entrypoint.sh"), *command],
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def start(self, service: str) -> None:
        """The service's own command, with its output in `<service>.log`."""
        definition = compose()["services"][service]
        if "ports" in definition:
            self.ports.setdefault(service, free_port())
        command = self._here(service, definition["command"])
        with (self.folder / f"{service}.log").open("ab") as log:
            self._processes[service] = subprocess.Popen(
                [str(DOCKER / "entrypoint.sh"), *command],
                env=self.environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    def healthy(self, service: str) -> bool:
        """Its health check, which does not come through the entrypoint."""
        if self._processes[service].poll() is not None:
            raise AssertionError(f"{service} has ended:\n{self.log(service)}")
        # A check takes two seconds of the processor: not before there is something to check.
        if not (self._listens(service) if service in self.ports else "daemons" in self.log(service)):
            return False
        test = compose()["services"][service]["healthcheck"]["test"]
        command = self._here(service, test[1:])
        return (
            subprocess.run(command, env=self.environment, capture_output=True, check=False, timeout=60).returncode == 0
        )

    def _listens(self, service: str) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.ports[service])) == 0

    def log(self, service: str) -> str:
        return (self.folder / f"{service}.log").read_text(encoding="utf-8", errors="replace")

    def kill(self, service: str) -> None:
        """As a container dies: every process of it, at once."""
        process = self._processes.pop(service)
        family: list[psutil.Process] = []
        with suppress(psutil.NoSuchProcess):
            family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        for child in family:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        process.wait(30)

    def end(self) -> None:
        for service in list(self._processes):
            self.kill(service)

    def _here(self, service: str, command: list[str]) -> list[str]:
        """A command of the compose file with this test's addresses."""
        port = self.ports.get(service, 0)
        here = {
            "0.0.0.0": "127.0.0.1",
            "/opt/cowrie-assets/docker/workspace.yaml": str(self.folder / "workspace.yaml"),
            "/opt/cowrie-assets/docker": str(DOCKER),
            "127.0.0.1:3000": f"127.0.0.1:{port}",
            "-p 4000": f"-p {port}",
        }
        changed = [_replaced(word, here) for word in command]
        return [str(port) if word in ("3000", "4000") else word for word in changed]


@contextmanager
def production_instance(folder: Path) -> Iterator[Production]:
    """A database server as `postgres.sql` leaves it, asking for the password, and all settings of the code server."""
    secrets = folder / "secrets"
    secrets.mkdir()
    for name in compose()["secrets"]:
        (secrets / name).write_text("")
    (secrets / "cowrie_password").write_text(f"{PASSWORD}\n")
    server = EmbeddedServer(folder / "server")
    with server.hold():
        with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
            # The embedded server makes one, and our hold on it is a connection to that; the image makes none.
            connection.execute("DROP DATABASE cowrie WITH (FORCE)")
        prepared = prepare_databases(server, secrets)
        assert prepared.returncode == 0, prepared.stderr
        require_passwords(server)
        port = free_port()
        workspace = (DOCKER / "workspace.yaml").read_text(encoding="utf-8")
        workspace = workspace.replace("host: code", "host: 127.0.0.1").replace("port: 4000", f"port: {port}")
        (folder / "workspace.yaml").write_text(workspace)
        production = Production(folder, server, _environment(folder, server), {"code": port})
        try:
            yield production
        finally:
            production.end()
            server.stop(force=True)  # who was killed may be connected still


def prepare_databases(server: EmbeddedServer, secrets: Path) -> subprocess.CompletedProcess[str]:
    """`postgres.sql`, by psql, as the image of PostgreSQL runs it."""
    script = secrets.parent / "postgres.sql"
    script.write_text((DOCKER / "postgres.sql").read_text(encoding="utf-8").replace("/run/secrets", str(secrets)))
    command = [str(server.binary("psql")), "-v", "ON_ERROR_STOP=1", "--no-psqlrc", "-d", server.url("postgres")]
    return subprocess.run([*command, "-f", str(script)], capture_output=True, text=True, check=False, timeout=60)


def require_passwords(server: EmbeddedServer) -> None:
    """The embedded server trusts whoever reaches its socket; here the role `cowrie` must have the password."""
    rules = server.data / "pg_hba.conf"
    rules.write_text("local all cowrie scram-sha-256\n" + rules.read_text())
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute("SELECT pg_reload_conf()")


def _replaced(word: str, replacements: Mapping[str, str]) -> str:
    for theirs, ours in replacements.items():
        word = word.replace(theirs, ours)
    return word


def _environment(folder: Path, server: EmbeddedServer) -> dict[str, str]:
    """What compose gives the code server, and the image has besides."""
    given: Mapping[str, str] = compose()["services"]["code"]["environment"]
    in_image = {
        "COWRIE_HOME": str(folder / "home"),
        "DAGSTER_HOME": str(folder / "home/dagster"),
        "PGPASSFILE": str(folder / "pgpass"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
    }
    here = {
        "COWRIE_DATABASE_PASSWORD_FILE": str(folder / "secrets/cowrie_password"),
        "COWRIE_CONFIG": str(_sensors(folder)),
        "COWRIE_OFFLINE": "1",
    }
    unset = {"COWRIE_REDIS_URL", "COWRIE_START_DATE", "DSHIELD_EMAIL"}
    place = f"@/\\1?host={server.socket_folder}&port=5432"
    urls = {name: re.sub(r"@postgres:5432/(\w+)$", place, url) for name, url in given.items() if name.endswith("_URL")}
    return {name: value for name, value in {**given, **urls, **in_image, **here}.items() if name not in unset}


def _sensors(folder: Path) -> Path:
    """`sensors.example.toml` of the containers, with this test's folders."""
    text = (DOCKER / "sensors.example.toml").read_text(encoding="utf-8")
    path = folder / "sensors.toml"
    text = text.replace('"/logs/', f'"{folder}/logs/').replace("/run/secrets/", f"{folder}/secrets/")
    # What runs by itself would only be in the way of what a test starts.
    path.write_text(text.replace("switched_on = true", "switched_on = false"))
    return path
