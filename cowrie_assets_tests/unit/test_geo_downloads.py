"""Geo files' sources: what they are asked, how that reads, where a redirection may lead, and archives of any make."""

from __future__ import annotations

import gzip
import io
import logging
import re
import tarfile
import traceback
from base64 import b64decode
from collections.abc import Callable
from datetime import date
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cowrie_assets.upstreams import geo_downloads
from cowrie_assets.upstreams.contract import Limited, NoAnswer, Refused, Request, Response, Transient
from cowrie_assets.upstreams.geo_downloads import (
    KINDS,
    Announced,
    DbIpLite,
    GeoLite2,
    Kind,
    NotPublished,
    onward,
)

KEY = "MARKER-KEY"
HOME = "https://updates.maxmind.com"
STORE = "https://store.example/geoip/x.tar.gz?X-Amz-Signature=MARKER-SIGNATURE"
MD5 = "0123456789abcdef0123456789abcdef"
CITY = Announced("GeoLite2-City_20261120", date(2026, 11, 20), MD5)
CONTENT = bytes(range(256)) * 5000


def maxmind(address: str = HOME) -> GeoLite2:
    return GeoLite2(address, "123456", KEY, "operator@example.org")


def nothing_told(failure: BaseException) -> None:
    assert "MARKER" not in "".join(traceback.format_exception(failure)) + repr(failure)
    assert failure.__context__ is None


# --- MaxMind ----------------------------------------------------------------------------------------------------------


def test_what_maxmind_is_asked() -> None:
    client = maxmind(f"{HOME}/")
    metadata, download = client.metadata_request("city"), client.download_request("city", CITY)
    assert metadata.url == f"{HOME}/geoip/updates/metadata?edition_id=GeoLite2-City"
    assert download.url == f"{HOME}/geoip/databases/GeoLite2-City/download?date=20261120&suffix=tar.gz"
    assert client.metadata_request("asn").url.endswith("=GeoLite2-ASN")
    for request in (metadata, download):
        kind, _, packed = request.headers["authorization"].partition(" ")
        assert (kind, b64decode(packed).decode()) == ("Basic", f"123456:{KEY}")
        assert request.headers["user-agent"] == "cowrie-assets (+operator@example.org)"
        assert KEY not in request.url + repr(request) + repr(client)
        assert packed not in repr(request) + repr(client)


def metadata(*databases: object, status: int = 200) -> Response:
    return Response(status, orjson.dumps({"databases": list(databases)}))


GOOD = {"edition_id": "GeoLite2-City", "date": "2026-11-20", "md5": MD5}


def test_metadata_names_the_day_and_the_md5() -> None:
    asn = {"edition_id": "GeoLite2-ASN", "date": "2026-11-19", "md5": MD5.upper()}
    answer = metadata(asn, GOOD)
    assert maxmind().read_metadata("city", answer) == CITY
    assert maxmind().read_metadata("asn", answer) == Announced("GeoLite2-ASN_20261119", date(2026, 11, 19), MD5)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"<html>MARKER-KEY</html>",
        b'{"databases": null}',
        b'{"databases": [null, 7, "GeoLite2-City"]}',
        b'{"databases": [{"edition_id": "GeoLite2-City"',
        orjson.dumps({"databases": [GOOD | {"edition_id": "GeoLite2-ASN"}]}),
        *(
            orjson.dumps({"databases": [GOOD | {name: value}]})
            for name, values in {
                "date": (None, "", "20261120", "2026-11-31", "2026-W47-5", 20261120, ["2026-11-20"]),
                "md5": (None, "", MD5[:-1], f"{MD5}0", "g" * 32, 7, [MD5]),
            }.items()
            for value in values
        ),
    ],
)
def test_metadata_that_do_not_say_it_are_no_answer(body: bytes) -> None:
    with pytest.raises(Transient) as failure:
        maxmind().read_metadata("city", Response(200, body))
    assert "MARKER" not in failure.value.reason


REFUSAL = b'{"code":"AUTHORIZATION_INVALID","error":"MARKER-KEY"}'


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_names_the_cure(status: int) -> None:
    for read in (lambda r: maxmind().read_metadata("city", r), lambda r: maxmind().unpack(r, 0)):
        with pytest.raises(Refused, match="set MAXMIND_ACCOUNT_ID and MAXMIND_LICENSE_KEY") as refusal:
            read(Response(status, REFUSAL))
        assert refusal.value.status == status
        nothing_told(refusal.value)


@pytest.mark.parametrize("status", [401, 403])
def test_the_store_that_refuses_does_not_know_our_key(status: int) -> None:
    with pytest.raises(Transient, match="expired") as failure:
        maxmind().unpack(Response(status, b"<Error>Request has expired</Error>"), 1)
    assert failure.value.status == status


@pytest.mark.parametrize("hops", [0, 1])
@pytest.mark.parametrize(("status", "kind"), [(429, Limited), (404, Transient), (500, Transient), (206, Transient)])
def test_another_status_is_no_file(status: int, kind: type[NoAnswer], hops: int) -> None:
    with pytest.raises(kind) as failure:
        maxmind().unpack(Response(status, b"", {"retry-after": "7"}), hops)
    assert failure.value.status == status
    if isinstance(failure.value, Limited):
        assert failure.value.retry_after == 7


# --- redirections -----------------------------------------------------------------------------------------------------


def redirection(location: str | None, status: int = 302) -> Response:
    return Response(status, b"", {"set-cookie": "a=MARKER"} | ({} if location is None else {"location": location}))


@pytest.mark.parametrize("status", [302, 303, 307, 308])
def test_a_redirection_is_followed_without_our_key(status: int) -> None:
    request = maxmind().download_request("city", CITY)
    further = onward(HOME, request, redirection(STORE, status), 0)
    assert further is not None
    assert (further.url, further.method) == (STORE, "GET")
    assert further.headers == {
        "user-agent": "cowrie-assets (+operator@example.org)",
        "accept-encoding": "identity",
    }
    assert (further.form, further.content) == (None, None)
    second = onward(HOME, further, redirection("/y?z=1"), 1)
    assert second is not None
    assert second.url == "https://store.example/y?z=1"
    with pytest.raises(Transient, match="more than 2 times") as failure:
        onward(HOME, second, redirection(STORE), 2)
    nothing_told(failure.value)


@pytest.mark.parametrize("status", [200, 301, 304, 404])
def test_what_is_no_redirection(status: int) -> None:
    assert onward(HOME, Request(HOME), redirection(STORE, status), 0) is None


@pytest.mark.parametrize("location", [None, "", "  "])
def test_a_redirection_to_nowhere(location: str | None) -> None:
    with pytest.raises(Transient, match="where to"):
        onward(HOME, Request(HOME), redirection(location), 0)


@pytest.mark.parametrize(
    "location",
    [
        "http://store.example/MARKER",
        "HTTP://store.example/",
        "ftp://store.example/",
        "file:///etc/passwd",
        "https://MARKER:x@store.example/",
        "https://MARKER@store.example/",
        "https://[MARKER",
        "//\uff0fMARKER\u2100",
        "javascript:alert(1)",
    ],
)
def test_a_redirection_to_where_somebody_listens_is_not_followed(location: str) -> None:
    with pytest.raises(Refused, match="not safe") as refusal:
        onward(HOME, Request(HOME), redirection(location), 0)
    nothing_told(refusal.value)


def test_only_one_that_is_asked_without_tls_may_lead_there() -> None:
    sandbox = "http://127.0.0.1:8000/maxmind"
    for location in ("http://127.0.0.1:8001/x", STORE, "/maxmind-store/x"):
        assert onward(sandbox, Request(f"{sandbox}/x"), redirection(location), 0) is not None
    with pytest.raises(Refused):
        onward(sandbox, Request(f"{sandbox}/x"), redirection("http://a:b@127.0.0.1/"), 0)
    # It is the service's own address that counts: nobody gets from TLS to none by way of a second redirection.
    with pytest.raises(Refused):
        onward(HOME, Request("http://127.0.0.1/"), redirection("/x"), 1)


# --- archives ---------------------------------------------------------------------------------------------------------

FOLDER = "GeoLite2-City_20261120"


def entry(
    name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.size = kind, link, len(content)
    return member, content


def archive(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", format=form) as written:
        for member, content in members:
            written.addfile(member, io.BytesIO(content))
    return packed.getvalue()


WHOLE = archive(
    entry(FOLDER, kind=tarfile.DIRTYPE),
    entry(f"{FOLDER}/COPYRIGHT.txt", b"(c)"),
    entry(f"{FOLDER}/GeoLite2-City.mmdb", CONTENT),
    entry(f"{FOLDER}/LICENSE.txt", b"EULA"),
)


def unpacked(body: bytes) -> bytes:
    return b"".join(maxmind().unpack(Response(200, body), 1))


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_the_file_of_an_archive(form: int) -> None:
    assert unpacked(WHOLE) == CONTENT
    assert unpacked(archive(entry(f"{'long/' * 40}GeoLite2-City.mmdb", CONTENT), form=form)) == CONTENT
    assert unpacked(gzip.decompress(WHOLE)) == CONTENT, "a server may have unpacked it on the way"


MMDB = f"{FOLDER}/GeoLite2-City.mmdb"
BAD_ARCHIVES: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "cut or damaged"),
    "HTML": (lambda: b"\xef\xbb\xbf \n<!DOCTYPE html>", "page in HTML"),
    "a gzip of HTML": (lambda: gzip.compress(b"<html></html>" * 99), "cut or damaged"),
    "no archive": (lambda: bytes(range(256)) * 99, "cut or damaged"),
    "a gzip of nothing": (lambda: gzip.compress(b""), "cut or damaged"),
    "an empty archive": (archive, "no geo file"),
    "no geo file": (lambda: archive(entry("README", b"x")), "no geo file"),
    "two geo files": (lambda: archive(entry(MMDB, CONTENT), entry("b.mmdb", CONTENT)), "more than one"),
    "a symbolic link": (lambda: archive(entry(MMDB, kind=tarfile.SYMTYPE, link="/etc/passwd")), "no regular file"),
    "a hard link": (
        lambda: archive(entry("x", b"x"), entry(MMDB, kind=tarfile.LNKTYPE, link="x")),
        "no regular file",
    ),
    "a link beside it": (
        lambda: archive(entry(MMDB, CONTENT), entry("b.mmdb", kind=tarfile.SYMTYPE, link="/etc/passwd")),
        "more than one",
    ),
    "a folder": (lambda: archive(entry("x.mmdb", kind=tarfile.DIRTYPE)), "no regular file"),
    "a device": (lambda: archive(entry(MMDB, kind=tarfile.CHRTYPE)), "no regular file"),
    "a pipe": (lambda: archive(entry(MMDB, kind=tarfile.FIFOTYPE)), "no regular file"),
    "an empty file": (lambda: archive(entry(MMDB)), "0 bytes"),
    "a huge file": (lambda: archive(entry(MMDB, bytes(2_000_000))), "2000000 bytes"),
    "a huge other file": (lambda: archive(entry("x", bytes(5_000_000)), entry(MMDB, CONTENT)), "more than 1500000"),
    "cut at a half": (lambda: WHOLE[: len(WHOLE) // 2], "cut or damaged"),
    "cut before the check sum": (lambda: WHOLE[:-9], "cut or damaged"),
    "a flipped byte": (lambda: WHOLE[:200] + bytes([WHOLE[200] ^ 255]) + WHOLE[201:], ""),
}


@pytest.mark.parametrize("how", BAD_ARCHIVES)
def test_an_archive_of_another_make_is_no_answer(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geo_downloads, "LARGEST_FILE", 1_500_000)
    assert unpacked(WHOLE) == CONTENT
    body, reason = BAD_ARCHIVES[how]
    with pytest.raises(Transient, match=f"cannot be unpacked: .*{reason}") as failure:
        unpacked(body())
    assert failure.value.status == 200
    assert failure.value.__context__ is None


@pytest.mark.parametrize(
    "name", [f"../../../../{MMDB}", "/tmp/GeoLite2-City.mmdb", "..mmdb", "a\nb.mmdb", "C:\\x.mmdb"]
)
def test_where_an_archive_wants_its_file_does_not_matter(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    assert unpacked(archive(entry("../x", b"x"), entry(name, CONTENT))) == CONTENT
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_sparse_file_is_not_taken_for_what_it_expands_to() -> None:
    member, content = entry(MMDB, CONTENT)
    member.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(10**12)}
    with pytest.raises(Transient):
        unpacked(archive((member, b"1\n0\n512\n".ljust(512, b"\0") + content)))


def test_a_bomb_is_cut_short_in_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geo_downloads, "LARGEST_FILE", 1 << 20)
    layer = gzip.compress(bytes(64 << 20), 1)
    taken = 0
    with pytest.raises(Transient, match="more than 1048576 bytes"):
        for chunk in DbIpLite("https://x").unpack(Response(200, layer)):
            taken += len(chunk)
    assert taken <= 2 << 20


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_no_archive_is_too_damaged(data: st.DataObject) -> None:
    small = gzip.decompress(archive(entry("x", b"x"), entry(MMDB, b"content" * 200), form=tarfile.GNU_FORMAT))
    damaged = bytearray(small)
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, 3000))] = data.draw(st.integers(0, 255))
    try:
        assert len(unpacked(bytes(damaged))) <= len(small)
    except Transient as failure:
        assert failure.__context__ is None


# --- DB-IP ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("today", "months"),
    [
        (date(2026, 11, 21), ("2026-11", "2026-10")),
        (date(2027, 1, 1), ("2027-01", "2026-12")),
        (date(2028, 3, 31), ("2028-03", "2028-02")),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_editions_of_this_month_and_the_one_before(today: date, months: tuple[str, str], kind: Kind) -> None:
    editions = DbIpLite.editions(kind, today)
    assert editions == tuple(f"dbip-{kind}-lite-{month}" for month in months)
    request = DbIpLite("https://download.db-ip.com/", None).download_request(editions[0])
    assert request.url == f"https://download.db-ip.com/free/dbip-{kind}-lite-{months[0]}.mmdb.gz"
    assert request.headers == {"user-agent": "cowrie-assets", "accept-encoding": "identity"}


def test_the_file_of_an_edition() -> None:
    client = DbIpLite("https://x")
    for body in (gzip.compress(CONTENT), gzip.compress(CONTENT[:99]) + gzip.compress(CONTENT[99:]), CONTENT):
        assert b"".join(client.unpack(Response(200, body))) == CONTENT


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, b"<html>", NotPublished),
        (403, b"", Refused),
        (429, b"", Limited),
        (500, b"", Transient),
        (302, b"", Transient),
        (200, b"<html>maintenance</html>", Transient),
        (200, gzip.compress(CONTENT)[:-20], Transient),
        (200, gzip.compress(CONTENT)[:500] + bytes(500), Transient),
    ],
)
def test_what_is_no_edition(status: int, body: bytes, kind: type[NoAnswer]) -> None:
    with pytest.raises(kind) as failure:
        list(DbIpLite("https://x").unpack(Response(status, body)))
    assert failure.value.status == status


# --- logs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message", "arguments"),
    [
        ("httpx", 'HTTP Request: %s %s "%s %d %s"', ("GET", STORE, "HTTP/1.1", 200, "OK")),
        (
            "httpcore.http11",
            "%s",
            (f"receive_response_headers.complete return_value=(b'HTTP/1.1', 302, [(b'Location', b'{STORE}')])",),
        ),
        ("httpcore.http11", "receive %r", ([(b"Location", b"/store/100%25?sig=MARKER%s")],)),
    ],
)
def test_a_signed_address_is_in_no_log(
    name: str, message: str, arguments: tuple[object, ...], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger(name).debug(message, *arguments)
    assert re.search(r"store(\.example)?/|return_value=.*…", caplog.text)
    assert "MARKER" not in caplog.text
