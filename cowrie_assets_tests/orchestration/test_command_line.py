"""The commands as people type them: what they print, and bad input as a sentence and an exit code."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from cowrie_assets.cli import main
from cowrie_assets_tests.conftest import Server
from cowrie_assets_tests.loglines import event, line, write_log
from cowrie_assets_tests.pipelines import CLOSED


class Command:
    """Runs `cowrie-assets` in a process of its own, with only the environment that is given."""

    def __init__(self, home: Path, url: str) -> None:
        # PATH and HOME are all that a fresh login has; the warehouse is the test's own, and nobody is asked.
        keep = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        self.environment = keep | {"COWRIE_HOME": str(home), "COWRIE_DATABASE_URL": url, "COWRIE_OFFLINE": "1"}

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cowrie_assets", *arguments]
        return subprocess.run(
            command, env=self.environment | environment, capture_output=True, text=True, check=False, timeout=120
        )


@pytest.fixture
def command(tmp_path: Path, embedded_server: Server) -> Command:
    return Command(tmp_path / "home", embedded_server.new_database(migrated=False))


@dataclass
class Here:
    """The same commands in this process, which has loaded Dagster already: for what fails before it does anything."""

    command: Command
    monkeypatch: pytest.MonkeyPatch
    capture: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        known = {"DAGSTER_HOME": "", "COWRIE_MODE": "live", **self.command.environment, **environment}
        for name in [name for name in os.environ if name.startswith(("COWRIE_", "DAGSTER_"))]:
            self.monkeypatch.delenv(name)
        for name, text in known.items():
            self.monkeypatch.setenv(name, text)
        self.monkeypatch.setattr(sys, "argv", ["cowrie-assets", *arguments])
        self.capture.readouterr()
        before = signal.getsignal(signal.SIGTERM)
        try:
            with pytest.raises(SystemExit) as ended:
                main()
        finally:
            signal.signal(signal.SIGTERM, before)
        told = self.capture.readouterr()
        return subprocess.CompletedProcess(arguments, int(ended.value.code or 0), told.out, told.err)


@pytest.fixture
def here(command: Command, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Here:
    return Here(command, monkeypatch, capfd)


def test_help_names_every_command(command: Command) -> None:
    told = command("--help")
    assert told.returncode == 0
    operators = ("demo", "run", "up", "stop", "psql", "session", "doctor", "sandbox")
    for name in (*operators, "coverage", "plan", "refresh", "status"):
        assert name in told.stdout
        assert command(name, "--help").returncode == 0


def test_run_session_and_psql(command: Command, tmp_path: Path) -> None:
    hostile = "\x1b]0;owned\x07\u202e<script>"
    write_log(
        tmp_path / "logs" / "cowrie.json",
        [event("aa11"), event("aa11", 2, "command.input", input=hostile), event("bb22", 3)],
    )
    told = command("run", "--logs", str(tmp_path / "logs"))
    assert told.returncode == 0, told.stderr
    for said in (
        "3 records, 3 events",
        "Sessions: 2 of 1 addresses",
        "A geo file is missing",
        "infrastructure_report.html",
    ):
        assert said in " ".join(told.stdout.split()), said
    assert "rows with fewer than 1 sessions" in " ".join(told.stdout.split())
    shown = command("session", "aa11")
    assert shown.returncode == 0
    assert "cowrie.command.input" in shown.stdout
    assert "\\u202e" in shown.stdout
    assert not {"\x1b", "\x07", "\u202e"} & set(shown.stdout)
    report = (tmp_path / "home" / "reports" / "infrastructure_report.html").read_text()
    assert "&lt;script&gt;" in report
    assert "<script>" not in report
    asked = command("psql", "--", "-At", "-c", "SELECT count(*) FROM session_summaries")
    assert (asked.returncode, asked.stdout.strip()) == (0, "2")
    missing = command("session", "nosuch")
    assert (missing.returncode, "no session 'nosuch'" in missing.stderr) == (1, True)
    # The folder is remembered: a later run, and the UI, look there again.
    again = command("run")
    assert again.returncode == 0
    assert "(1 unchanged" in again.stdout


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (None, b"", "does not exist"),
        ("", b"", "no file below"),
        ("empty", b"", "empty"),
        ("notes.txt", b"plain\n", "cowrie.json is wanted"),
        ("eve.json", b'{"event_type":"alert"}\n', "JSON of another tool"),
        ("pointer", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("binary", b"\x7fELF\0\0\0", "a binary file"),
        ("cut.gz", gzip.compress(b"x", mtime=0)[:12], "cut off"),
        ("bomb.gz", gzip.compress(b"\0" * 300_000_000, 9, mtime=0), "decompression bomb"),
    ],
)
def test_bad_input_is_a_sentence_and_an_exit_code(
    here: Here, tmp_path: Path, name: str | None, content: bytes, said: str
) -> None:
    logs = tmp_path / "logs"
    if name is not None:
        logs.mkdir()
    if name:
        (logs / name).write_bytes(content)
    told = here("run", "--logs", str(logs))
    assert told.returncode == 1
    assert said in told.stderr
    assert str(logs) in told.stderr
    assert "Traceback" not in told.stdout + told.stderr


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"COWRIE_CONFIG": "/nowhere/sensors.toml"}, "copy sensors.example.toml"),
        ({"COWRIE_START_DATE": "yesterday"}, "YYYY-MM-DD"),
        ({"COWRIE_GEOIP_ASN": "/nowhere/asn.mmdb"}, "does not exist: give the path of an .mmdb file"),
        ({"COWRIE_DATABASE_URL": "postgresql://me:hunter2@127.0.0.1:1/none"}, "does not answer"),
        ({"COWRIE_DATABASE_URL": "nonsense"}, "no libpq address"),
    ],
)
def test_a_bad_setting_is_a_sentence_without_secrets(
    here: Here, tmp_path: Path, environment: dict[str, str], said: str
) -> None:
    write_log(tmp_path / "logs" / "cowrie.json", [event("aa11")])
    told = here("run", "--logs", str(tmp_path / "logs"), **environment)
    assert told.returncode == 1
    assert said in " ".join((told.stdout + told.stderr).split())
    assert "Traceback" not in told.stdout + told.stderr
    assert "hunter2" not in told.stdout + told.stderr


def test_one_bad_file_among_good_ones_is_named_and_the_others_load(command: Command, tmp_path: Path) -> None:
    write_log(tmp_path / "logs" / "cowrie.json", [event("aa11")])
    packed = gzip.compress(b"".join(line(event("bb22", second)) for second in range(2000)))
    (tmp_path / "logs" / "cowrie.json.1.gz").write_bytes(packed[:-40])
    told = command("run", "--logs", str(tmp_path / "logs"))
    assert told.returncode == 0
    assert "cowrie.json.1.gz" in told.stdout
    assert "cut off" in told.stdout


def test_doctor_names_each_thing_with_its_cure(command: Command, tmp_path: Path) -> None:
    told = command("doctor")
    text = " ".join(told.stdout.split())
    assert told.returncode == 0, "warnings are no failure"
    for said in ("state folder", "database", "migrations", "city file", "no folder is known", "make run LOGS="):
        assert said in text, said
    broken = command("doctor", COWRIE_DATABASE_URL="postgresql://127.0.0.1:1/none")
    assert broken.returncode == 1
    assert "broken" in broken.stdout


def test_up_serves_on_loopback_and_ends_on_sigterm_also_from_the_background(command: Command, tmp_path: Path) -> None:
    """A script's background job inherits "ignore Ctrl-C", and Dagster ends on SIGTERM only as it does on Ctrl-C."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    start = f"trap '' INT; exec {sys.executable} -m cowrie_assets up --port {port}"
    process = subprocess.Popen(
        ["/bin/sh", "-c", start], env=command.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    children: list[psutil.Process] = []
    try:
        wait_until(lambda: listens("127.0.0.1", port), seconds=90)
        assert not listens("127.0.0.2", port)
        assert "port" in command("up", "--port", str(port)).stderr
        children = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        assert process.wait(timeout=60) == 143
        wait_until(lambda: not any(child.is_running() for child in children), seconds=20)
    finally:
        process.kill()
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()


def listens(host: str, port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex((host, port)) == 0


def wait_until(true: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to that in time"
        time.sleep(0.2)


def test_coverage_says_what_is_open_and_fails_only_if_it_is_required(command: Command, tmp_path: Path) -> None:
    write_log(tmp_path / "logs" / "cowrie.json", [event("aa11"), event("bb22", 3)])
    (tmp_path / "sensors.toml").write_text('[enrichment]\nmax_time = "10s"\n')
    # Nobody listens at that port: DShield is configured, and does not answer.
    reachable = {**CLOSED, "COWRIE_OFFLINE": "", "DSHIELD_EMAIL": "me@example.org"}
    reachable["COWRIE_CONFIG"] = str(tmp_path / "sensors.toml")
    assert command("run", "--logs", str(tmp_path / "logs"), **reachable).returncode == 0
    told = command("coverage", **reachable)
    assert told.returncode == 0
    assert "below the gate" in " ".join(told.stdout.split())
    assert "connection refused" in told.stdout
    assert command("coverage", "--require-coverage", **reachable).returncode == 3
    assert command("coverage", "--since", "soon").returncode == 2
    assert "No session in the window" in command("coverage", "--since", "2030-01-01").stdout
    rows = json.loads(command("coverage", "--json").stdout)
    overall = {row["service"]: row["gate"] for row in rows if row["day"] is None}
    assert overall == {
        "dshield": "below the gate",
        "urlhaus": "not configured",
        "spur": "not configured",
        "cymru": "below the gate",
        "greynoise": "sample",
        # No file was brought, no password tried.
        "virustotal": "nothing eligible",
        "hibp": "nothing eligible",
    }
