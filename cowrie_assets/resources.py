"""The Dagster face of the warehouse, the services, the cache of their answers, the geo files, the logs and retention.

Lives here: resources, each a thin shell with its settings described. Not here: what they wrap. Resources are rebuilt in
every step's process, so they hold no state that matters.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import dagster as dg
from pydantic import Field

from cowrie_assets.lookup.asking import Asking, Report
from cowrie_assets.lookup.cache import open_cache
from cowrie_assets.lookup.gate import EgressGate
from cowrie_assets.lookup.retention import Retention
from cowrie_assets.lookup.services import Quota, Service
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


class ServiceClient(dg.ConfigurableResource):  # type: ignore[type-arg]
    """One outside service: where it is and how often it may be asked. The limits hold over all processes."""

    name: str = Field(description="Its name, as in the ledger.")
    address: str = Field(description="URL, or host:port. Empty: where it is published.")
    requests: int = Field(description="So many requests …", ge=1)
    window: float = Field(description="… may leave in so many seconds, evenly spaced.", gt=0)
    ttl_found: float = Field(description="Seconds for which an answer is good.")
    ttl_not_found: float = Field(description="Seconds for which 'not found' is good.")
    credential: str | None = Field(default=None, description="Where the key is (env:NAME or file:PATH), not the key.")
    contact: str | None = Field(default=None, description="Where the contact for the User-Agent is.")
    families: list[int] = Field(default=[4, 6], description="Versions of IP that it knows.")
    workers: int = Field(default=2, description="Requests in flight at the same time, of one run.")
    blocked_for: float = Field(default=60.0, description="Seconds of silence after a 429 that names none.")
    account: str | None = Field(default=None, description="Where the account's number is, for services that want one.")
    asks_about: str = Field(default="address", description="What its keys are: address, file, password.")
    cool_down: float = Field(
        default=5.0, description="Seconds of silence after five failures in a row, doubled with each failing probe."
    )
    quotas: list[str] = Field(default=[], description='Keys at most, as "25/week", "500/day", "15500/month".')
    by_balance: bool = Field(default=False, description="Whether its answers say how many credits are left.")
    network_share: float = Field(default=0.2, description="Share of a quota that a source network may spend in a day.")
    ttl_doubtful: float | None = Field(default=None, description="Seconds for which an answer is good that may change.")
    batch: int = Field(default=1, description="Keys a request.")
    at_home: bool = Field(default=True, description="Whether the address is the service's own.")
    switched_off: str | None = Field(default=None, description="Why nothing is asked, say because of COWRIE_OFFLINE.")

    @classmethod
    def of(cls, service: Service) -> ServiceClient:
        quotas = [str(quota) for quota in service.quotas]
        return cls(**{**asdict(service), "families": list(service.families), "quotas": quotas})

    def service(self) -> Service:
        values = {name: getattr(self, name) for name in type(self).model_fields}
        quotas = tuple(map(Quota.parse, self.quotas))
        return Service(**{**values, "families": tuple(self.families), "quotas": quotas})


class AnswerCache(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The cache of answers, and the one path to new ones: through the egress gate, at the permitted rate."""

    own_addresses: list[str] = Field(default=[], description="Addresses and networks that are never asked about.")
    max_time: float = Field(default=1800.0, description="Seconds that a run waits for a service's rate.")
    redis_url: str | None = Field(
        default=None, description="The hot tier, a Redis (COWRIE_REDIS_URL). Empty: in each process."
    )

    def asking(
        self,
        warehouse: Warehouse,
        connection: Connection,
        run_id: str,
        report: Report | None = None,
        seconds: float | None = None,
        most: int | None = None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> Asking:
        return Asking(
            connect=warehouse.connect,
            gate=EgressGate.of(connection, self.own_addresses),
            cache=open_cache(connection, self.redis_url, warehouse.state.cache, tell),
            run_id=run_id,
            seconds=self.max_time if seconds is None else seconds,
            most=most,
            report=report or (lambda *_: None),
        )


class GeoFiles(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Geo databases in MaxMind's format, for country and AS of an address: the operator's own, or what the asset
    `geo_databases` fetched. Both are optional."""

    city: str | None = Field(default=None, description="Path of a city or country .mmdb file (COWRIE_GEOIP_CITY).")
    asn: str | None = Field(default=None, description="Path of an ASN .mmdb file (COWRIE_GEOIP_ASN).")
    folder: str | None = Field(default=None, description="Where fetched files lie: city.mmdb and asn.mmdb.")

    @contextmanager
    def open_city(self) -> Iterator[GeoFile | None]:
        with _open(self._path("city", self.city)) as file:
            yield file

    @contextmanager
    def open_asn(self) -> Iterator[GeoFile | None]:
        with _open(self._path("asn", self.asn)) as file:
            yield file

    @property
    def ours(self) -> list[Literal["city", "asn"]]:
        """The kinds of file that the operator has not named: those to be fetched."""
        kinds: tuple[tuple[Literal["city", "asn"], str | None], ...] = (("city", self.city), ("asn", self.asn))
        return [kind for kind, path in kinds if not path]

    @property
    def missing(self) -> list[str]:
        """The kinds of file of which there is none."""
        return [kind for kind in self.ours if self._path(kind, None) is None]

    def _path(self, kind: str, own: str | None) -> Path | None:
        if own is not None:
            return Path(own)
        fetched = Path(self.folder) / f"{kind}.mmdb" if self.folder else None
        return fetched if fetched is not None and fetched.exists() else None


class RetentionPeriods(dg.ConfigurableResource):  # type: ignore[type-arg]
    """For how many days each part is kept (`[retention]` of sensors.toml). Empty: for ever."""

    dagster_runs: int | None = Field(default=None, description="Finished runs of Dagster, their logs and events.")
    ledger: int | None = Field(default=None, description="Requests to services one by one; their sums stay.")
    events: int | None = Field(default=None, description="Lines of events. Pruned, a day is never rebuilt.")
    list_copies: int | None = Field(default=None, description="Copies of range lists that newer ones replaced.")
    alert_notes: int | None = Field(default=None, description="Alerts that were delivered, or given up.")
    storage_use: int | None = Field(default=None, description="Measurements of disk use.")

    @property
    def days(self) -> Retention:
        return {part: getattr(self, part) for part in type(self).model_fields}


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
def _open(path: Path | None) -> Iterator[GeoFile | None]:
    if path is None:
        yield None
        return
    with GeoFile(path) as file:
        yield file
