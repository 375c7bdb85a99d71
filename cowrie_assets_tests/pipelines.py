"""Running the whole pipeline in a test: what `make run` and `make demo` do, with everything in folders of the test."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from rich.console import Console

from cowrie_assets.cli.launch import Outcome, run_pipeline
from cowrie_assets.settings import ADDRESS_VARIABLES, Settings

KEYS = {
    "DSHIELD_EMAIL": "operator@example.org",
    "URLHAUS_API_KEY": "urlhaus-key",
    "SPUR_API_KEY": "spur-key",
    "GREYNOISE_API_KEY": "greynoise-key",
    "VT_API_KEY": "virustotal-key",
    "MAXMIND_ACCOUNT_ID": "123456",
    "MAXMIND_LICENSE_KEY": "maxmind-key",
}
# Where nobody listens, for every service there is: whichever a test leaves out of its own is not asked at home.
CLOSED = {
    variable: "127.0.0.1:9" if name == "cymru" else f"http://127.0.0.1:9/{name}"
    for name, variable in ADDRESS_VARIABLES.items()
}


def run_live(
    monkeypatch: pytest.MonkeyPatch,
    home: Path,
    logs: Path,
    *,
    url: str | None = None,
    geo_files: tuple[Path, Path] | None = None,
    minimum_sessions: int = 1,
    services: Mapping[str, str] | None = None,
    keys: Mapping[str, str] | None = None,
    config: Path | None = None,
) -> Outcome:
    """The main job over `logs`, its state in `home`; `geo_files` are (city, ASN); embedded, or at `url`. Nobody is
    asked unless `services` says where they are (a sandbox's variables), with all `keys` unless told otherwise."""
    environment = {"COWRIE_HOME": str(home), "COWRIE_MODE": "live", "DAGSTER_HOME": ""}
    names = ("COWRIE_DATABASE_URL", "COWRIE_GEOIP_CITY", "COWRIE_GEOIP_ASN", "COWRIE_CONFIG", "COWRIE_START_DATE")
    for name in (*names, *ADDRESS_VARIABLES.values(), *KEYS):
        monkeypatch.delenv(name, raising=False)
    if services is not None:
        environment |= {"COWRIE_OFFLINE": "", **CLOSED, **services, **(KEYS if keys is None else keys)}
    else:
        environment["COWRIE_OFFLINE"] = "1"
    if config is not None:
        environment["COWRIE_CONFIG"] = str(config)
    if url is not None:
        environment["COWRIE_DATABASE_URL"] = url
    if geo_files is not None:
        environment |= {"COWRIE_GEOIP_CITY": str(geo_files[0]), "COWRIE_GEOIP_ASN": str(geo_files[1])}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    Settings.from_environment().remember_log_folders((logs,))
    settings = Settings.from_environment()
    return run_pipeline(settings, Console(quiet=True), minimum_sessions=minimum_sessions)
