"""The emulated downloads of geo files: MaxMind's two protocols with the store behind them, and DB-IP's files."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator
from datetime import date, timedelta
from hashlib import md5, sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import maxminddb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cowrie_assets.sandbox.geofiles import EDITIONS, geo_file, write_geo_files
from cowrie_assets.sandbox.geovendors import last_build
from cowrie_assets.sandbox.pools import POOLS
from cowrie_assets.sandbox.server import Sandbox

ACCOUNT = ("123456", "l1c3nc3")


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: Sandbox) -> Sandbox:
    running.reset()
    return running


@pytest.fixture(scope="module")
def shared_web(running: Sandbox) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.http_url, timeout=5, trust_env=False) as client:
        yield client


@pytest.fixture
def web(sandbox: Sandbox, shared_web: httpx.Client) -> httpx.Client:
    return shared_web


def metadata(web: httpx.Client, edition: str = "GeoLite2-City", auth: Any = ACCOUNT) -> httpx.Response:
    return web.get("/maxmind/geoip/updates/metadata", params={"edition_id": edition}, auth=auth)


def download(
    web: httpx.Client,
    edition: str = "GeoLite2-City",
    *,
    day: str | None = None,
    suffix: str = "tar.gz",
    auth: Any = ACCOUNT,
    follow: bool = True,
    method: str = "GET",
) -> httpx.Response:
    """httpx brings no credential along to another origin."""
    params = {"suffix": suffix} | ({"date": day} if day else {})
    return web.request(
        method, f"/maxmind/geoip/databases/{edition}/download", params=params, auth=auth, follow_redirects=follow
    )


def database_in(archive: bytes) -> tuple[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as files:
        [member] = [member for member in files.getmembers() if member.name.endswith(".mmdb")]
        file = files.extractfile(member)
        assert file is not None
        return member.name, file.read()


def record_of(database: bytes, address: str) -> Any:
    return maxminddb.open_database(io.BytesIO(database), maxminddb.MODE_FD).get(address)


class TestMaxMind:
    @pytest.mark.parametrize("edition", EDITIONS)
    def test_the_protocol_of_geoipupdate(self, sandbox: Sandbox, web: httpx.Client, edition: str) -> None:
        [told] = metadata(web, edition).json()["databases"]
        assert told["edition_id"] == edition
        built = date.fromisoformat(told["date"])
        assert built == last_build(sandbox.clock.now().date())
        response = download(web, edition, day=f"{built:%Y%m%d}")
        assert response.status_code == 200
        name, database = database_in(response.content)
        assert name == f"{edition}_{built:%Y%m%d}/{edition}.mmdb"
        assert md5(database).hexdigest() == told["md5"]
        reader = maxminddb.open_database(io.BytesIO(database), maxminddb.MODE_FD)
        assert reader.metadata().database_type == edition
        assert reader.metadata().build_epoch % 86_400 == 0
        assert reader.get("26.16.0.1") is not None

    def test_the_direct_protocol(self, web: httpx.Client) -> None:
        archive, checksum = download(web), download(web, suffix="tar.gz.sha256")
        digest, name = checksum.text.split()
        assert digest == sha256(archive.content).hexdigest()
        assert name.startswith("GeoLite2-City_")
        assert name.endswith(".tar.gz")
        assert archive.headers["content-disposition"].endswith(name)
        assert archive.headers["last-modified"]

    def test_it_leads_to_another_origin_that_takes_no_credential(self, sandbox: Sandbox, web: httpx.Client) -> None:
        response = download(web, follow=False)
        assert response.status_code == 302
        assert response.content == b""
        location = response.headers["location"]
        assert location.partition("/maxmind-store/")[0] != sandbox.http_url
        assert web.get(location).status_code == 200
        refused = web.get(location, auth=ACCOUNT)
        assert refused.status_code == 403
        assert "auth" in refused.text
        assert web.get(location.replace("X-Amz-Signature=", "X-Amz-Signature=0")).status_code == 403
        assert web.get(location.partition("?")[0]).status_code == 403
        # On the port of all others as well.
        parts = urlsplit(location)
        assert web.get(f"{parts.path}?{parts.query}").status_code == 200
        stored = [arrival for arrival in sandbox.ledger.arrivals("maxmind") if arrival.key.startswith("store/")]
        assert [(arrival.status, arrival.credential) for arrival in stored] == [
            (200, False), (403, True), (403, False), (403, False), (200, False),
        ]  # fmt: skip

    def test_links_expire(self, sandbox: Sandbox, web: httpx.Client) -> None:
        location = download(web, follow=False).headers["location"]
        sandbox.advance(299)
        assert web.get(location).status_code == 200
        sandbox.advance(2)
        expired = web.get(location)
        assert (expired.status_code, "expired" in expired.text) == (403, True)

    @pytest.mark.parametrize(
        ("auth", "status"),
        [
            (None, 401),
            (("123", "invalid"), 401),
            (("me", "licence"), 401),
            (("123", ""), 401),
            (("123", "forbidden"), 403),
            (("1", "x"), 200),
        ],
    )
    def test_accounts(self, web: httpx.Client, auth: tuple[str, str] | None, status: int) -> None:
        assert metadata(web, auth=auth).status_code == status
        assert download(web, auth=auth).status_code == status

    @pytest.mark.parametrize("header", ["Basic", "Basic !!!", "Basic /w==", "Bearer MTIzOng=", "basic MTIz"])
    def test_what_is_no_account(self, web: httpx.Client, header: str) -> None:
        response = web.get("/maxmind/geoip/updates/metadata?edition_id=GeoLite2-ASN", headers={"Authorization": header})
        assert response.status_code == 401

    def test_what_there_is_not(self, sandbox: Sandbox, web: httpx.Client) -> None:
        assert metadata(web, "GeoIP2-City").status_code == 404
        assert download(web, "GeoIP2-City").status_code == 404
        assert download(web, suffix="zip").status_code == 404
        build = last_build(sandbox.clock.now().date())
        for day in ("20200103", "yesterday", f"{build + timedelta(days=1):%Y%m%d}", f"{build:%Y-%m-%d}"):
            assert download(web, day=day).status_code == 404
        assert web.get("/maxmind/geoip/databases/a/b/download", auth=ACCOUNT).status_code == 404
        assert web.get("/maxmind/other", auth=ACCOUNT).status_code == 404
        earlier = last_build(build - timedelta(days=1))
        assert download(web, day=f"{earlier:%Y%m%d}").status_code == 200

    def test_a_new_build_comes_with_time(self, sandbox: Sandbox, web: httpx.Client) -> None:
        [before] = metadata(web).json()["databases"]
        sandbox.advance(4 * 86_400)
        [after] = metadata(web).json()["databases"]
        assert after["date"] > before["date"]
        assert after["md5"] != before["md5"]
        assert metadata(web).json()["databases"] == [after]

    def test_thirty_downloads_in_a_day(self) -> None:
        with (
            Sandbox(limits="documented") as sandbox,
            httpx.Client(base_url=sandbox.http_url, timeout=5, trust_env=False) as web,
        ):
            assert {metadata(web).status_code for _ in range(40)} == {200}
            assert download(web, method="HEAD").status_code == 200
            assert [download(web).status_code for _ in range(31)] == [200] * 30 + [429]
            refused = download(web)
            assert not refused.headers["content-type"].startswith("application/json")
            assert metadata(web).status_code == 200
            assert download(web, auth=("1", "another")).status_code == 200
            sandbox.advance(86_400 - 60)
            assert download(web).status_code == 429
            sandbox.advance(62)
            assert download(web).status_code == 200

    def test_a_link_that_has_expired(self, sandbox: Sandbox, web: httpx.Client) -> None:
        sandbox.faults({"maxmind": ["expired"]})
        assert metadata(web).status_code == 200  # which it cannot befall
        assert download(web).status_code == 403
        assert download(web).status_code == 200
        assert [arrival.fault for arrival in sandbox.ledger.arrivals("maxmind")] == [
            None, "expired", None, None, None,
        ]  # fmt: skip

    def test_a_wrong_checksum(self, sandbox: Sandbox, web: httpx.Client) -> None:
        sound = metadata(web).json()["databases"][0]["md5"]
        sandbox.faults({"maxmind": ["wrong-md5", "wrong-md5"]})
        archive = download(web).content
        assert metadata(web).json()["databases"][0]["md5"] != sound
        assert download(web, suffix="tar.gz.sha256").text.split()[0] != sha256(archive).hexdigest()
        assert download(web, suffix="tar.gz.sha256").text.split()[0] == sha256(archive).hexdigest()

    @pytest.mark.parametrize("where", ["download", "store"])
    def test_broken_files(self, sandbox: Sandbox, web: httpx.Client, where: str) -> None:
        def fetch(how: str) -> bytes:
            plan = [{"kind": "corrupt", "how": how}]
            sandbox.faults({"maxmind": plan if where == "download" else ["ok", *plan]})
            return download(web).content

        sound = download(web).content
        with pytest.raises((OSError, EOFError, zlib.error)):
            gzip.decompress(fetch("gzip"))
        broken = fetch("tar")
        assert gzip.decompress(broken)[512:] == gzip.decompress(sound)[512:]
        with pytest.raises(tarfile.ReadError):
            database_in(broken)
        name, database = database_in(fetch("mmdb"))
        assert (name, len(database)) == (database_in(sound)[0], len(database_in(sound)[1]))
        assert database != database_in(sound)[1]
        assert download(web).content == sound

    def test_other_faults(self, sandbox: Sandbox, web: httpx.Client) -> None:
        sandbox.faults({"maxmind": ["503", "wrong-address", "null", "ok", "cut", "wrong-address"]})
        assert metadata(web).status_code == 503
        assert metadata(web).json()["databases"][0]["edition_id"] != "GeoLite2-City"
        assert metadata(web).json() is None
        with pytest.raises((OSError, EOFError, zlib.error)):
            gzip.decompress(download(web).content)
        assert "GeoLite2-City" not in download(web, follow=False).headers["location"]


class TestDBIP:
    def test_this_month_and_the_last(self, sandbox: Sandbox, web: httpx.Client) -> None:
        month = sandbox.clock.now().date().replace(day=1)
        earlier = (month - timedelta(days=1)).replace(day=1)
        contents = {}
        for build in (month, earlier):
            for name, kind in (("dbip-city-lite", "DBIP-City-Lite"), ("dbip-asn-lite", "DBIP-ASN-Lite")):
                response = web.get(f"/dbip/free/{name}-{build:%Y-%m}.mmdb.gz")
                database = gzip.decompress(response.content)
                reader = maxminddb.open_database(io.BytesIO(database), maxminddb.MODE_FD)
                assert reader.metadata().database_type == kind
                assert reader.get("26.16.0.1") is not None
                contents[name, build] = database
        assert len(set(contents.values())) == 4
        before = (earlier - timedelta(days=1)).replace(day=1)
        for name in (f"dbip-city-lite-{before:%Y-%m}.mmdb.gz", f"dbip-city-lite-{month:%Y-%m}.mmdb", "dbip.gz"):
            assert web.get(f"/dbip/free/{name}").status_code == 404
        assert web.post(f"/dbip/free/dbip-asn-lite-{month:%Y-%m}.mmdb.gz").status_code == 405

    def test_it_knows_places_without_a_radius(self, sandbox: Sandbox, web: httpx.Client) -> None:
        name = f"dbip-city-lite-{sandbox.clock.now():%Y-%m}.mmdb.gz"
        record = record_of(gzip.decompress(web.get(f"/dbip/free/{name}").content), POOLS["aws"].address(1))
        assert record["country"]["iso_code"] == "IE"
        assert set(record["location"]) == {"latitude", "longitude"}

    def test_the_month_turns(self, sandbox: Sandbox, web: httpx.Client) -> None:
        now = sandbox.clock.now()
        following = (now.date().replace(day=1) + timedelta(days=32)).replace(day=1)
        name = f"dbip-asn-lite-{following:%Y-%m}.mmdb.gz"
        assert web.get(f"/dbip/free/{name}").status_code == 404
        sandbox.advance(32 * 86_400)
        assert web.get(f"/dbip/free/{name}").status_code == 200

    def test_unchanged_is_304(self, sandbox: Sandbox, web: httpx.Client) -> None:
        url = f"/dbip/free/dbip-asn-lite-{sandbox.clock.now():%Y-%m}.mmdb.gz"
        etag = web.get(url).headers["etag"]
        assert web.get(url, headers={"If-None-Match": etag}).status_code == 304

    def test_faults(self, sandbox: Sandbox, web: httpx.Client) -> None:
        url = f"/dbip/free/dbip-asn-lite-{sandbox.clock.now():%Y-%m}.mmdb.gz"
        sound = gzip.decompress(web.get(url).content)
        sandbox.faults({"dbip": ["corrupt", {"kind": "corrupt", "how": "mmdb"}, "cut", "wrong-address", "html"]})
        with pytest.raises((OSError, EOFError, zlib.error)):
            gzip.decompress(web.get(url).content)
        other = gzip.decompress(web.get(url).content)
        assert (len(other), other != sound) == (len(sound), True)
        with pytest.raises(EOFError):
            gzip.decompress(web.get(url).content)
        assert gzip.decompress(web.get(url).content) != sound
        assert web.get(url).text.startswith("<!DOCTYPE html>")
        assert gzip.decompress(web.get(url).content) == sound


@given(day=st.dates(date(2020, 1, 1), date(2040, 1, 1)))
def test_builds_come_twice_a_week(day: date) -> None:
    build = last_build(day)
    assert build.weekday() in (1, 4)
    assert timedelta() <= day - build < timedelta(days=4)
    assert last_build(build) == build


def test_files_on_disk_are_those_of_downloads(tmp_path: Path) -> None:
    day = date(2025, 9, 12)
    city, asn = write_geo_files(tmp_path, day)
    assert city.read_bytes() == geo_file("GeoLite2-City", day)
    assert asn.read_bytes() == geo_file("GeoLite2-ASN", day) != geo_file("GeoLite2-ASN", day + timedelta(days=1))
    with pytest.raises(KeyError):
        geo_file("GeoIP2-City", day)
