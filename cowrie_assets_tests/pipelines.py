"""Running the whole pipeline in a test: what `make run` and `make demo` do, with everything in folders of the test."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from cowrie_assets.cli.launch import Outcome, run_pipeline
from cowrie_assets.settings import Settings


def run_live(
    monkeypatch: pytest.MonkeyPatch,
    home: Path,
    logs: Path,
    *,
    url: str | None = None,
    geo_files: tuple[Path, Path] | None = None,
    minimum_sessions: int = 1,
) -> Outcome:
    """The main job over `logs`, its state in `home`; `geo_files` are (city, ASN); embedded, or at `url`."""
    environment = {"COWRIE_HOME": str(home), "COWRIE_MODE": "live", "DAGSTER_HOME": ""}
    for name in ("COWRIE_DATABASE_URL", "COWRIE_GEOIP_CITY", "COWRIE_GEOIP_ASN", "COWRIE_CONFIG", "COWRIE_START_DATE"):
        monkeypatch.delenv(name, raising=False)
    if url is not None:
        environment["COWRIE_DATABASE_URL"] = url
    if geo_files is not None:
        environment |= {"COWRIE_GEOIP_CITY": str(geo_files[0]), "COWRIE_GEOIP_ASN": str(geo_files[1])}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    Settings.from_environment().remember_log_folders((logs,))
    settings = Settings.from_environment()
    return run_pipeline(settings, Console(quiet=True), minimum_sessions=minimum_sessions)
