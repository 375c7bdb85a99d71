"""The Dagster face of the warehouse, the geo files and the logs.

Lives here: resources, each a thin shell with its settings described. Not here: what they wrap. Resources are rebuilt in
every step's process, so they hold no state that matters.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import dagster as dg
from pydantic import Field

from cowrie_assets.settings import SensorNames, StateFolder, read_sensors
from cowrie_assets.upstreams.geoip import GeoFile
from cowrie_assets.warehouse.database import Database
from cowrie_assets.warehouse.event_chunks import Connection


class Warehouse(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The PostgreSQL database that every asset reads and writes.

    Example:
        >>> Warehouse(home="/tmp/cowrie", mode="sandbox").described
        'embedded PostgreSQL in /tmp/cowrie/postgres'
    """

    home: str = Field(description="State folder (COWRIE_HOME). The embedded server's data lie in its folder postgres.")
    mode: Literal["live", "sandbox"] = Field(
        default="live", description="Stamped on the database when it is made; opening it in the other mode is an error."
    )
    database_url: str | None = Field(
        default=None, description="An external PostgreSQL, 15 or newer (COWRIE_DATABASE_URL). Empty: the embedded one."
    )

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Generator[Warehouse, None, None]:  # noqa: ARG002 - Dagster's signature
        """Keep the embedded server up, at the current schema, for as long as the run lasts."""
        with self._database().hold():
            yield self

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        with self._database().connect() as connection:
            yield connection

    @property
    def described(self) -> str:
        return self._database().described

    @property
    def state(self) -> StateFolder:
        return StateFolder(Path(self.home))

    def _database(self) -> Database:
        return Database(Path(self.home), self.mode, self.database_url)


class GeoFiles(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Geo databases in MaxMind's format, for country and AS of an address. Both are optional."""

    city: str | None = Field(default=None, description="Path of a city or country .mmdb file (COWRIE_GEOIP_CITY).")
    asn: str | None = Field(default=None, description="Path of an ASN .mmdb file (COWRIE_GEOIP_ASN).")

    @contextmanager
    def open_city(self) -> Iterator[GeoFile | None]:
        with _open(self.city) as file:
            yield file

    @contextmanager
    def open_asn(self) -> Iterator[GeoFile | None]:
        with _open(self.asn) as file:
            yield file

    @property
    def missing(self) -> list[str]:
        """What is not set, by the variable that sets it."""
        return [name for name, path in (("COWRIE_GEOIP_CITY", self.city), ("COWRIE_GEOIP_ASN", self.asn)) if not path]


class CowrieLogs(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Where the sensors' logs lie, and what the sensors are called."""

    folders: list[str] = Field(description="Folders (or files) with Cowrie JSON logs, searched with all subfolders.")
    sensors_toml: str | None = Field(
        default=None, description="Path of sensors.toml (COWRIE_CONFIG): names of sensors."
    )

    @property
    def paths(self) -> list[Path]:
        return [Path(folder) for folder in self.folders]

    def sensor_names(self) -> SensorNames:
        return SensorNames(read_sensors(self.sensors_toml))


@contextmanager
def _open(path: str | None) -> Iterator[GeoFile | None]:
    if path is None:
        yield None
        return
    with GeoFile(Path(path)) as file:
        yield file
