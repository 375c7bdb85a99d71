"""The web services over HTTP: each request judged, answered, perhaps spoilt, and written down.

Lives here: the ASGI application, and what each fault does to a reply. Not here: the services' rules (`vendors`), which
fault comes when (`faults`), the process (`server`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date

from starlette.types import Receive, Scope, Send

from cowrie_assets.sandbox.faults import Fault, Faults
from cowrie_assets.sandbox.limits import Judge, Ledger, Limits
from cowrie_assets.sandbox.vendors import Asked, DShield, Feeds, GreyNoise, Reply, Spur, URLhaus, Vendor, error_page


class WebServices:
    """The ASGI application. `reset` closes the connection of a request hard; the server knows how."""

    def __init__(
        self,
        *,
        seed: int,
        as_of: date,
        limits: Limits,
        faults: Faults,
        ledger: Ledger,
        reset: Callable[[Scope], None],
    ) -> None:
        self._limits = limits
        self._faults = faults
        self._ledger = ledger
        self._reset = reset
        self._vendors: dict[str, Vendor] = {}
        for vendor in (DShield, URLhaus, Spur, GreyNoise, Feeds):
            self._vendors[vendor.name] = vendor(seed, as_of, self._judge_of(vendor.name))

    def _judge_of(self, service: str) -> Callable[[], Judge]:
        return lambda: self._limits[service]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        service, _, rest = scope["path"].removeprefix("/").partition("/")
        vendor = self._vendors.get(service)
        if vendor is None:
            await _send(send, error_page(404))
            return
        asked = Asked(
            method=scope["method"],
            path=f"/{rest}",
            query=scope["query_string"].decode("latin-1"),
            headers={name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
            body=await _body(receive) if scope["method"] == "POST" else b"",
        )
        reply, fault = self._reply(vendor, asked)
        await _DELIVERIES.get(fault.kind if fault else "", _send_whole)(
            _Delivery(reply, fault, scope, receive, send, self._reset)
        )

    def _reply(self, vendor: Vendor, asked: Asked) -> tuple[Reply, Fault | None]:
        """Judge, answer, spoil; in the ledger before the first byte leaves."""
        key = vendor.key(asked)
        verdict = vendor.judge.judge()
        fault = None
        if verdict.refused:
            reply = vendor.refusal(verdict, asked)
        elif key is None:
            reply = error_page(404)
        elif objection := vendor.objection(asked):
            reply = objection
        else:
            fault = self._faults.next(vendor.name)
            reply = self._spoilt(vendor, key, asked, fault) if fault else vendor.answer(key, asked)
        self._ledger.record(
            vendor.name,
            asked.path if key is None else key,
            status=0 if fault and _is_silent(fault) else reply.status,
            user_agent=asked.user_agent,
            credential=bool(vendor.credential(asked)),
            verdict=verdict,
            fault=fault.kind if fault else None,
        )
        return reply, fault

    def _spoilt(self, vendor: Vendor, key: str, asked: Asked, fault: Fault) -> Reply:
        kind, options = fault.kind, fault.options
        if kind == "429":
            vendor.judge.open_box(options.get("penalty", vendor.judge.rule.penalty))
        if kind.isdigit():
            reply = error_page(int(kind))
            if options.get("retry_after") is not None:
                reply.headers["retry-after"] = str(options["retry_after"])
            return reply
        if kind == "wrong-address":
            return vendor.other_answer(key, asked)
        reply = vendor.answer(key, asked)
        if kind == "html":
            return error_page(200)
        if kind in _WHOLE_BODIES:
            return Reply(200, _WHOLE_BODIES[kind], reply.content_type)
        if kind == "cut":
            reply.body = reply.body[: int(options.get("bytes", len(reply.body) // 2))]
        return reply


_WHOLE_BODIES = {"empty": b"", "null": b"null", "list": b"[]"}


def _is_silent(fault: Fault) -> bool:
    return fault.kind == "hang" or (fault.kind == "reset" and fault.options.get("bytes") == 0)


async def _body(receive: Receive) -> bytes:
    parts = []
    while (message := await receive())["type"] == "http.request":
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            break
    return b"".join(parts)


async def _send_head(send: Send, reply: Reply) -> None:
    headers = [(name.encode(), value.encode("latin-1")) for name, value in reply.headers.items()]
    if reply.status != 304:
        headers += [(b"content-type", reply.content_type.encode()), (b"content-length", b"%d" % len(reply.body))]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})


async def _send(send: Send, reply: Reply) -> None:
    await _send_head(send, reply)
    await send({"type": "http.response.body", "body": reply.body})


@dataclass(frozen=True)
class _Delivery:
    """A reply on its way, with the fault that befalls it."""

    reply: Reply
    fault: Fault | None
    scope: Scope
    receive: Receive
    send: Send
    reset: Callable[[Scope], None]

    def option(self, name: str, default: float) -> float:
        value: float = self.fault.options.get(name, default) if self.fault else default
        return value


async def _send_whole(delivery: _Delivery) -> None:
    await _send(delivery.send, delivery.reply)


async def _hang(delivery: _Delivery) -> None:
    while (await delivery.receive())["type"] != "http.disconnect":
        pass


async def _send_and_reset(delivery: _Delivery) -> None:
    if count := int(delivery.option("bytes", 10)):
        await _send_head(delivery.send, delivery.reply)
        # One byte short of all at most: a whole answer would be no fault.
        part = delivery.reply.body[:count][: max(0, len(delivery.reply.body) - 1)]
        await delivery.send({"type": "http.response.body", "body": part, "more_body": True})
        await asyncio.sleep(0.02)
    delivery.reset(delivery.scope)
    await _hang(delivery)


async def _drip(delivery: _Delivery) -> None:
    body = delivery.reply.body
    step, delay = max(1, int(delivery.option("bytes", 1 + len(body) // 10))), delivery.option("delay", 0.1)
    await _send_head(delivery.send, delivery.reply)
    for at in range(0, len(body), step):
        await asyncio.sleep(delay)
        await delivery.send({"type": "http.response.body", "body": body[at : at + step], "more_body": True})
    await delivery.send({"type": "http.response.body"})


_DELIVERIES: dict[str, Callable[[_Delivery], Awaitable[None]]] = {
    "hang": _hang,
    "reset": _send_and_reset,
    "slow": _drip,
}
