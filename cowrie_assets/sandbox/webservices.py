"""The web services over HTTP: each request judged, answered, perhaps spoilt, and written down.

Lives here: the ASGI application, the order in which that happens. Not here: the services' rules (`vendors`,
`hashvendors`, `geovendors`), which fault comes when (`faults`), what it does (`spoiling`), the process (`server`).
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

from starlette.types import Receive, Scope, Send

from cowrie_assets.sandbox.faults import Fault, Faults
from cowrie_assets.sandbox.geovendors import DBIP, MaxMind, MaxMindStore
from cowrie_assets.sandbox.hashvendors import PwnedPasswords, VirusTotal
from cowrie_assets.sandbox.limits import Ledger, Verdict
from cowrie_assets.sandbox.spoiling import Delivery, deliver, is_silent, send_whole, spoil
from cowrie_assets.sandbox.vendor import Asked, Reply, Vendor, World, error_page
from cowrie_assets.sandbox.vendors import DShield, Feeds, GreyNoise, Spur, URLhaus

_VENDORS: tuple[type[Vendor], ...] = (
    DShield, URLhaus, Spur, GreyNoise, VirusTotal, PwnedPasswords, MaxMind, MaxMindStore, DBIP, Feeds,
)  # fmt: skip


class WebServices:
    """The ASGI application. `end` closes the connection of a request, hard if so wanted; the server knows how."""

    def __init__(
        self,
        world: World,
        *,
        faults: Faults,
        ledger: Ledger,
        end: Callable[[Scope, bool], None],
    ) -> None:
        self._world = world
        self._faults = faults
        self._ledger = ledger
        self._end = end
        self._vendors = {vendor.prefix or vendor.name: vendor(world) for vendor in _VENDORS}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        service, _, rest = scope["path"].removeprefix("/").partition("/")
        vendor = self._vendors.get(service)
        if vendor is None:
            await send_whole(send, error_page(404))
            return
        asked = Asked(
            method=scope["method"],
            path=f"/{rest}",
            query=scope["query_string"].decode("latin-1"),
            headers={name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
            body=await _body(receive) if scope["method"] == "POST" else b"",
        )
        reply, fault = self._reply(vendor, asked)
        if fault is None:
            await send_whole(send, reply)
        else:
            await deliver(Delivery(reply, fault, scope, receive, send, self._end))

    def _reply(self, vendor: Vendor, asked: Asked) -> tuple[Reply, Fault | None]:
        """Judge, answer, spoil; in the ledger before the first byte leaves."""
        key = vendor.key(asked)
        verdict = None
        if vendor.is_judged(key, asked):
            verdict = vendor.judge(asked).judge()
        fault = None
        if verdict is not None and verdict.refused:
            reply = vendor.refusal(verdict, asked)
        elif key is None:
            reply = error_page(404)
        elif objection := vendor.objection(asked):
            reply = objection
        else:
            fault = self._faults.next(vendor.name, lambda kind: vendor.suffers(kind, key))
            reply = self._sound(vendor, key, asked) if fault is None else self._spoilt(vendor, key, asked, fault)
        self._record(vendor, key, asked, reply, verdict, fault)
        return reply, fault

    def _sound(self, vendor: Vendor, key: str, asked: Asked) -> Reply:
        reply = vendor.answer(key, asked)
        vendor.settle(asked, reply)
        replaced = self._world.dataset.get(vendor.name, key)
        if replaced is None:
            return reply
        return Reply(
            replaced.status,
            replaced.body,
            replaced.content_type or reply.content_type,
            {**reply.headers, **replaced.headers},
        )

    def _spoilt(self, vendor: Vendor, key: str, asked: Asked, fault: Fault) -> Reply:
        return spoil(vendor, key, asked, fault, lambda: self._sound(vendor, key, asked))

    def _record(
        self, vendor: Vendor, key: str | None, asked: Asked, reply: Reply, verdict: Verdict | None, fault: Fault | None
    ) -> None:
        self._ledger.record(
            vendor.name,
            asked.path if key is None else key,
            status=0 if fault and is_silent(fault) else reply.status,
            user_agent=asked.user_agent,
            credential=bool(vendor.credential(asked)),
            verdict=verdict,
            fault=fault.kind if fault else None,
            keys=None if key is None else vendor.keys(key, asked),
            budget=vendor.budget(asked),
            body_sha256=sha256(asked.body).hexdigest() if asked.body else None,
        )


async def _body(receive: Receive) -> bytes:
    parts = []
    while (message := await receive())["type"] == "http.request":
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            break
    return b"".join(parts)
