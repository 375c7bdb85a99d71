"""Secrets stay secret, over the whole job and the commands (promise P12; "Keys in URLs and in exception texts").

Proved here: with a mark in every key, the contact, MaxMind's account and both addresses with a password, services that
fail in every way and say back what they were sent, and everything as talkative as it can be, no mark is in any file of
the state folder, any table, Redis, any log or output, however it is encoded. Not here: single clients against single
statuses (`integration/test_asking`).
"""

from __future__ import annotations

import base64
import gzip
import html
import io
import itertools
import logging
import os
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import psycopg
import pytest
import redis
import stamina
from psycopg import sql
from rich.console import Console

from cowrie_assets.cli.launch import run_pipeline
from cowrie_assets.lookup.asking import Asking, ask
from cowrie_assets.lookup.cache import open_cache
from cowrie_assets.lookup.configured import configured_services
from cowrie_assets.lookup.gate import EgressGate
from cowrie_assets.sandbox.faults import Fault
from cowrie_assets.sandbox.server import Sandbox
from cowrie_assets.sandbox.vendor import Asked, Reply, Vendor
from cowrie_assets.sandbox.webservices import WebServices
from cowrie_assets.settings import Settings
from cowrie_assets.upstreams.contract import Request
from cowrie_assets.upstreams.http import Sender
from cowrie_assets.warehouse.database import open_connection
from cowrie_assets_tests.conftest import Server
from cowrie_assets_tests.loglines import event, write_log
from cowrie_assets_tests.redis_server import running_redis

# Each with a mark of its own, and characters that look otherwise in a URL, where a service takes them.
SECRETS = {
    "DSHIELD_EMAIL": "zqcontact+honeypot@operator.example.org",
    "URLHAUS_API_KEY": "zqurlhaus/7f3a+c2==",
    "SPUR_KEY_FILE": "zqspur/91bd+0e==",
    "GREYNOISE_API_KEY": "zqgreynoise~4c1e&d=8",
    "VT_API_KEY": "zqvirustotal/aa07+51==",
    "MAXMIND_ACCOUNT_ID": "770421983355171",
    "MAXMIND_LICENSE_KEY": "zqlicense_5e0b/19+mmk",
    "COWRIE_REDIS_URL": "zqredis/p+w",
    "COWRIE_DATABASE_URL": "zqdatabase/p+w",
}
PUBLIC = [f"26.16.0.{number}" for number in range(1, 13)] + [f"2a1f:a500::{number}" for number in range(1, 4)]
PASSED = ("PATH", "HOME", "TMPDIR", "LANG")
ASKED = ("dshield", "urlhaus", "spur", "greynoise", "virustotal", "hibp", "maxmind", "cymru")
CONFIG = '[services.spur]\nkey = "file:spur.key"\nrate = "1500/s"\n' + "".join(
    f'[services.{name}]\nrate = "1500/s"\n' for name in ASKED if name != "spur"
)
COMMON = ["500", "503", "refuse", "cut", "html", "empty", "null", "gzip-garbage", "wrong-type", "bom"]
SAID_BACK = ("page 200", "page 302", "page 307", "page 404", "page 500", "page 400", "broken JSON 200", "page 503")


def forms(secret: str) -> dict[str, bytes]:
    """The ways in which a text may lie somewhere. Of base64 the middle, which does not depend on what is around it."""
    raw = secret.encode()
    told = {
        "as it is": raw,
        "in a URL": quote(secret, safe="").encode(),
        "in a form": quote_plus(secret).encode(),
        "in HTML": html.escape(secret).encode(),
        "in JSON": secret.replace("/", "\\/").encode(),
        "in hex": raw.hex().encode(),
        "in UTF-16": secret.encode("utf-16-le"),
    }
    for shift in range(3):
        whole = base64.b64encode(b"\0" * shift + raw + b"\0" * 3)
        told[f"in base64, {shift}"] = whole[4 : 4 * ((shift + len(raw)) // 3)]
    return told


MARKS = {(name, form): text for name, secret in SECRETS.items() for form, text in forms(secret).items()}


def marks_in(content: bytes) -> set[tuple[str, str]]:
    return {key for key, text in MARKS.items() if text in content}


@pytest.fixture(autouse=True)
def no_backoff() -> Iterator[None]:
    with stamina.set_testing(True, attempts=3, cap=True):
        yield


def talk_back(patch: pytest.MonkeyPatch, heard: list[str], everything: str) -> None:
    """Every third request is answered with what came, as debug pages do: in the body, in headers, in a redirection."""
    reply = WebServices._reply
    turns = itertools.count()

    def told(self: WebServices, vendor: Vendor, asked: Asked) -> tuple[Reply, Fault | None]:
        answer, fault = reply(self, vendor, asked)
        assert not any(text in f"{asked.path}?{asked.query}" for text in SECRETS.values()), "a secret is in a URL"
        turn = next(turns)
        kind = everything or (SAID_BACK[turn // 3 % len(SAID_BACK)] if turn % 3 == 0 else "")
        if not kind or vendor.name == "feeds":
            return answer, fault
        heard.append(f"{vendor.name} {kind}")
        sent = [*asked.headers.values(), vendor.credential(asked), *SECRETS.values()]
        said = " ".join(sent)
        how, status = kind.rpartition(" ")[::2]
        body = '{"error": "' + said + '", ' if how == "broken JSON" else f"<pre>{html.escape(said)} {said}</pre>"
        place = f"http://127.0.0.1:9/in?key={quote(said)}&raw={said.replace(' ', ',')}"
        headers = {
            "location": f"http://127.0.0.1:9/{quote(said)}/x" if status == "307" else place,
            "www-authenticate": f'Basic realm="{said}"',
            "x-echo": said,
            "set-cookie": f"key={sent[-1]}",
            "retry-after": said,
            "etag": f'"{said}"',
        }
        return Reply(int(status), body.encode(), "text/html", headers), None

    patch.setattr(WebServices, "_reply", told)


def log(first: int, last: int) -> list[dict[str, Any]]:
    events = []
    for number in range(first, last):
        session, source = f"s{number}", PUBLIC[number]
        digest = f"{number:064x}"
        events.append(event(session, number, src_ip=source))
        events.append(event(session, number, "login.failed", src_ip=source, username="root", password=f"pw{number}"))
        events.append(event(session, number, "session.file_download", src_ip=source, url="http://x/", shasum=digest))
    return events


def test_no_secret_is_anywhere(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    embedded_server: Server,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in logging.Logger.manager.loggerDict:
        caplog.set_level(logging.DEBUG, name)
    home, seen, heard = tmp_path / "state", dict[str, bytes](), list[str]()
    (tmp_path / "sensors.toml").write_text(CONFIG)
    (tmp_path / "spur.key").write_text(SECRETS["SPUR_KEY_FILE"] + "\n")
    (tmp_path / "redis").mkdir()
    database = embedded_server.new_database(migrated=False)
    with running_redis(tmp_path / "redis") as server, Sandbox() as sandbox:
        with closing(redis.Redis.from_url(server.url)) as client:
            client.config_set("requirepass", SECRETS["COWRIE_REDIS_URL"])
        password = quote(SECRETS["COWRIE_REDIS_URL"], safe="")
        redis_url = server.url.replace("redis://", f"redis://:{password}@")
        environment = {
            name: text for name, text in SECRETS.items() if not name.startswith("COWRIE") and "FILE" not in name
        }
        environment |= sandbox.environment() | {
            "COWRIE_HOME": str(home),
            "COWRIE_MODE": "live",
            "COWRIE_OFFLINE": "",
            "COWRIE_CONFIG": str(tmp_path / "sensors.toml"),
            "COWRIE_REDIS_URL": redis_url,
            # The embedded server asks nobody for a password; it is in the address all the same.
            "COWRIE_DATABASE_URL": conninfo_url(database, SECRETS["COWRIE_DATABASE_URL"]),
        }
        for name in ("COWRIE_GEOIP_CITY", "COWRIE_GEOIP_ASN", "COWRIE_START_DATE", "DAGSTER_HOME"):
            monkeypatch.delenv(name, raising=False)
        for name, text in environment.items():
            monkeypatch.setenv(name, text)
        monkeypatch.setenv("DAGSTER_HOME", "")

        # 1. In this process: everything fails now and then, or says back what it was sent.
        write_log(tmp_path / "logs" / "cowrie.json", log(0, 10))
        with monkeypatch.context() as patch:
            talk_back(patch, heard, "")
            sandbox.faults({name: {"probability": 0.3, "kinds": COMMON} for name in ASKED if name != "cymru"})
            sandbox.faults({"cymru": {"probability": 0.3, "kinds": ["truncate", "midline", "banner-only", "refuse"]}})
            printed = io.StringIO()
            settings = replace(Settings.from_environment(), log_folders=(tmp_path / "logs",))
            outcome = run_pipeline(settings, Console(file=printed, width=200), minimum_sessions=1, verbose=True)
            assert outcome.failed_steps == []
            seen["console"] = printed.getvalue().encode()
        assert {line.split()[0] for line in heard} >= {"dshield", "urlhaus", "spur", "virustotal", "hibp", "maxmind"}
        assert len({line.partition(" ")[2] for line in heard}) == len(SAID_BACK)

        # 2. As commands, the first of which is refused by everybody.
        write_log(tmp_path / "logs" / "more.json", log(10, len(PUBLIC)))
        processes = {name: os.environ[name] for name in PASSED if name in os.environ} | environment
        with monkeypatch.context() as patch:
            sandbox.faults({name: [] for name in ASKED})
            talk_back(patch, heard, "page 401")
            run = ("run", "--logs", str(tmp_path / "logs"), "--verbose")
            for words in (run, ("plan",), ("status",), ("coverage",), ("doctor",)):
                seen |= command(words, processes)
        assert {line.split()[0] for line in heard if line.endswith("401")} >= {
            "dshield",
            "urlhaus",
            "spur",
            "virustotal",
        }
        # Addresses that do not lead anywhere, or are none.
        wrong = {
            "COWRIE_DATABASE_URL": conninfo_url("postgresql://user@127.0.0.1:9/none", SECRETS["COWRIE_DATABASE_URL"]),
            "COWRIE_REDIS_URL": f"redis://:{password}@127.0.0.1:notaport/0",
        }
        for name, text in wrong.items():
            seen |= {f"{key} {name}": told for key, told in command(("plan",), processes | {name: text}).items()}

        seen |= tables(database) | entries(redis_url)
        seen |= {f"file {place}": content for place, content in files(home)}
        seen |= {f"redis {place}": content for place, content in files(tmp_path / "redis")}
        seen |= server_log(database)
    captured = capfd.readouterr()
    seen |= {"stdout": captured.out.encode(), "stderr": captured.err.encode()} | logs(caplog)

    assert sum(len(content) for place, content in seen.items() if place.startswith("log of ")) > 100_000
    assert len([place for place in seen if place.startswith("file ")]) > 50
    assert len(seen["table lookup_ledger"]) > 5000
    leaks = {place: found for place, content in seen.items() if (found := marks_in(content))}
    assert leaks == {}


def logs(caplog: pytest.LogCaptureFixture) -> dict[str, bytes]:
    """What each logger was told, with tracebacks and arguments."""
    told: dict[str, bytes] = {}
    for record in caplog.records:
        place = f"log of {record.name}"
        text = f"{caplog.handler.format(record)} {record.args!r}\n"
        told[place] = told.get(place, b"") + text.encode(errors="replace")
    return told


def conninfo_url(url: str, password: str) -> str:
    user, _, rest = url.partition("@")
    return f"{user}:{quote(password, safe='')}@{rest}"


def command(words: tuple[str, ...], environment: Mapping[str, str]) -> dict[str, bytes]:
    told = subprocess.run(
        [sys.executable, "-m", "cowrie_assets", *words],
        env={**environment, "COLUMNS": "200"},
        capture_output=True,
        check=False,
        timeout=240,
    )
    assert told.stdout or told.stderr
    return {f"{words[0]}: stdout": told.stdout, f"{words[0]}: stderr": told.stderr}


def tables(url: str) -> dict[str, bytes]:
    with psycopg.connect(url) as connection:
        names = connection.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
        ).fetchall()
        return {
            f"table {name}": b"\n".join(
                text.encode()
                for (text,) in connection.execute(sql.SQL("SELECT t::text FROM {} AS t").format(sql.Identifier(name)))
            )
            for (name,) in names
        }


def entries(url: str) -> dict[str, bytes]:
    with closing(redis.Redis.from_url(url)) as client:
        told = {name: client.dump(name) or b"" for name in client.scan_iter(count=1000)}
    assert told, "there is something in Redis"
    return {"Redis": b"\n".join(name + b" " + content for name, content in told.items())}


def server_log(url: str) -> dict[str, bytes]:
    with psycopg.connect(url) as connection:
        row = connection.execute("SHOW data_directory").fetchone()
    assert row is not None
    return {f"PostgreSQL's {path.name}": path.read_bytes() for path in Path(row[0]).glob("*.log")}


def files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file, unpacked where it is packed; of SQLite every value, unpacked as well."""
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):
            content += gzip.decompress(content)
        assert not content.startswith(b"\x28\xb5\x2f\xfd"), f"{path} is packed with zstd: unpack it here"
        if content.startswith(b"SQLite format 3"):
            content += b"\n".join(values_of(path))
        yield str(path.relative_to(folder)), str(path).encode() + b"\n" + content


def values_of(path: Path) -> Iterator[bytes]:
    with closing(sqlite3.connect(path)) as connection:
        connection.text_factory = bytes
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for row in connection.execute(f'SELECT * FROM "{name.decode()}"'):
                for value in row:
                    if isinstance(value, bytes):
                        yield value
                        with suppress(zlib.error):  # Dagster packs what it knows of jobs
                            yield zlib.decompress(value)


def test_a_secret_is_found_in_every_place_and_form(tmp_path: Path) -> None:
    """The search itself."""
    login = f"{SECRETS['MAXMIND_ACCOUNT_ID']}:{SECRETS['MAXMIND_LICENSE_KEY']}"
    sent = base64.b64encode(login.encode())
    assert {name for name, _ in marks_in(b"Basic " + sent)} == {"MAXMIND_ACCOUNT_ID", "MAXMIND_LICENSE_KEY"}
    for name, secret in SECRETS.items():
        for text in (secret, quote(secret, safe=""), repr(secret), repr(secret.encode())):
            assert name in {found for found, _ in marks_in(f"… {text} …".encode())}, text
    (tmp_path / "a.gz").write_bytes(gzip.compress(SECRETS["VT_API_KEY"].encode()))
    with closing(sqlite3.connect(tmp_path / "b.db")) as connection:
        connection.execute("CREATE TABLE t (v BLOB)")
        connection.execute("INSERT INTO t VALUES (?)", (zlib.compress(SECRETS["SPUR_KEY_FILE"].encode()),))
        connection.commit()
    found = {place: {name for name, _ in marks_in(content)} for place, content in files(tmp_path)}
    assert found == {"a.gz": {"VT_API_KEY"}, "b.db": {"SPUR_KEY_FILE"}}


# --- single ways out --------------------------------------------------------------------------------------------------


def test_settings_do_not_show_passwords() -> None:
    """In the texts of exceptions, in assertions and debuggers."""
    addresses = {name: f"any://user:{SECRETS[name]}@host/" for name in ("COWRIE_DATABASE_URL", "COWRIE_REDIS_URL")}
    assert marks_in(repr(Settings.from_environment(addresses)).encode()) == set()


def test_an_address_of_redis_that_is_none_is_said_in_a_sentence(tmp_path: Path, embedded_server: Server) -> None:
    environment = {name: os.environ[name] for name in PASSED if name in os.environ} | {
        "COWRIE_HOME": str(tmp_path),
        "COWRIE_OFFLINE": "1",
        "COWRIE_DATABASE_URL": embedded_server.new_database(),
        "COWRIE_REDIS_URL": f"redis://:{quote(SECRETS['COWRIE_REDIS_URL'], safe='')}@127.0.0.1:notaport/0",
    }
    told = command(("plan",), environment)
    assert marks_in(b"".join(told.values())) == set()
    assert b"Traceback" not in told["plan: stderr"]


def test_headers_of_an_answer_that_say_a_key_back_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """At level DEBUG the HTTP library logs them all."""
    secret = SECRETS["SPUR_KEY_FILE"]
    headers = {
        "x-echo": secret,
        "www-authenticate": f'Basic realm="{secret}"',
        "location": f"http://host/x?key={secret}",
    }
    with Sandbox() as sandbox, Sender() as sender:
        sandbox.dataset("spur", "26.16.0.1", {"status": 302, "headers": headers})
        with caplog.at_level(logging.DEBUG, "httpx"), caplog.at_level(logging.DEBUG, "httpcore"):
            response = sender.send(Request(f"{sandbox.http_url}/spur/v2/context/26.16.0.1", headers={"token": secret}))
    assert response.headers["x-echo"] == secret
    assert "receive_response_headers" in caplog.text
    assert marks_in(caplog.text.encode()) == set()


KEY_OF = {
    "dshield": "DSHIELD_EMAIL",
    "urlhaus": "URLHAUS_API_KEY",
    "spur": "SPUR_API_KEY",
    "greynoise": "GREYNOISE_API_KEY",
    "virustotal": "VT_API_KEY",
}


def payload(service: str, said: str) -> tuple[str, dict[str, Any]]:
    """A key, and an answer about it that is sound but for saying back what came, as debugging services do."""
    address, digest = "26.16.0.1", "1" * 64
    answers: dict[str, dict[str, Any]] = {
        "dshield": {"body": {"ip": {"number": address, "count": 1, "attacks": 1, "comment": said, "asname": said}}},
        "urlhaus": {"body": {"query_status": "no_results", "your_key": said}},
        "spur": {"body": {"ip": address, "organization": said, "as": {"number": 1, "organization": said}}},
        "greynoise": {"status": 404, "body": {"ip": address, "noise": False, "riot": False, "message": said}},
        "virustotal": {"status": 404, "body": {"error": {"code": "NotFoundError", "message": said}}},
    }
    return digest if service == "virustotal" else address, answers[service]


@pytest.mark.parametrize("service", KEY_OF)
def test_a_key_that_is_said_back_in_an_answer_is_not_stored(
    service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, embedded_server: Server
) -> None:
    url, secret = embedded_server.new_database(), SECRETS["SPUR_KEY_FILE" if service == "spur" else KEY_OF[service]]
    with Sandbox() as sandbox, open_connection(url) as connection:
        for name, text in sandbox.environment().items():
            monkeypatch.setenv(name, text)
        monkeypatch.setenv("COWRIE_OFFLINE", "")
        monkeypatch.setenv("DSHIELD_EMAIL", SECRETS["DSHIELD_EMAIL"])
        monkeypatch.setenv(KEY_OF[service], secret)
        key, answer = payload(service, secret)
        sandbox.dataset(service, key, answer)
        settings = Settings.from_environment({**os.environ, "COWRIE_HOME": str(tmp_path / "state")})
        cache = open_cache(connection, None, settings.state.cache)
        asking = Asking(lambda: open_connection(url), EgressGate(), "run", 60.0, cache=cache)
        tally = ask(asking, configured_services(settings)[service], {key: datetime.now(UTC)})
        if tally.outcomes["found"] + tally.outcomes["not_found"] != 1:
            pytest.fail(f"{service} did not take it for an answer: {tally}")
    kept = tables(url) | dict(files(tmp_path / "state"))
    assert {place: found for place, content in kept.items() if (found := marks_in(content))} == {}
