"""What each fault does: to the body of a reply, and to the way on which it is sent.

Lives here: from a sound reply and a fault to bytes on the wire. Not here: which fault comes when (`faults`), faults
that only one service has (`Vendor.spoilt`), those of the whois server (`whois`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from starlette.types import Receive, Scope, Send

from cowrie_assets.sandbox.faults import Fault
from cowrie_assets.sandbox.vendor import Asked, Reply, Vendor, error_page

_HUGE = 60_000_000
_BLOCK = b"\n" * (1 << 20)
# What befalls a reply only while it is sent, or before it is made.
_ON_THE_WAY = frozenset({"hang", "refuse", "reset", "slow", "huge", "endless"})


def is_silent(fault: Fault) -> bool:
    """Whether not one byte leaves."""
    return fault.kind in ("hang", "refuse") or (fault.kind == "reset" and fault.options.get("bytes") == 0)


def spoil(vendor: Vendor, key: str, asked: Asked, fault: Fault, sound: Callable[[], Reply]) -> Reply:
    """The reply to a request that a fault befalls; `sound` makes the one that it would have been."""
    kind, options = fault.kind, fault.options
    if kind.isdigit():
        return _failure(vendor, asked, fault)
    if kind == "wrong-address":
        reply = vendor.other_answer(key, asked)
        vendor.settle(asked, reply)
        return reply
    reply = sound()
    if kind in _ON_THE_WAY:
        return reply
    if kind in _IN_THE_BODY:
        return _IN_THE_BODY[kind](reply, vendor, key, asked)
    if kind == "cut":
        return replace(reply, body=reply.body[: int(options.get("bytes", vendor.cut_length(reply.body)))])
    return vendor.spoilt(kind, options.get("how"), reply, key, asked)


def _failure(vendor: Vendor, asked: Asked, fault: Fault) -> Reply:
    options = fault.options
    if fault.kind == "429":
        judge = vendor.judge(asked)
        judge.open_box(options.get("penalty", judge.rule.penalty))
    reply = vendor.failure(int(fault.kind), options.get("code"))
    if options.get("retry_after") is not None:
        reply.headers["retry-after"] = str(options["retry_after"])
    return reply


def _wrong_type(reply: Reply, *_: object) -> Reply:
    is_text = reply.content_type.startswith("text/html")
    return replace(reply, content_type="application/json" if is_text else "text/html; charset=utf-8")


def _gzip_garbage(reply: Reply, *_: object) -> Reply:
    """Said to be packed, and begins like that."""
    garbage = b"\x1f\x8b\x08\x00" + bytes(byte ^ 0x5A for byte in reply.body)
    return replace(reply, body=garbage, headers={**reply.headers, "content-encoding": "gzip"})


def _with_bom(reply: Reply, *_: object) -> Reply:
    return replace(reply, body=b"\xef\xbb\xbf" + reply.body)


def _duplicate_keys(reply: Reply, vendor: Vendor, key: str, asked: Asked) -> Reply:
    """The members of another answer behind its own: whoever lets the last one win reads about something else."""
    other = vendor.other_answer(key, asked).body
    first, last = (body if _is_full_object(body) else b'{"status":"ok"}' for body in (reply.body, other))
    return replace(reply, body=first[:-1] + b"," + last[1:])


def _is_full_object(body: bytes) -> bool:
    try:
        value = json.loads(body)
    except ValueError:
        return False
    return isinstance(value, dict) and bool(value)


_IN_THE_BODY: dict[str, Callable[[Reply, Vendor, str, Asked], Reply]] = {
    "html": lambda *_: error_page(200),
    "empty": lambda reply, *_: Reply(200, b"", reply.content_type),
    "null": lambda reply, *_: Reply(200, b"null", reply.content_type),
    "list": lambda reply, *_: Reply(200, b"[]", reply.content_type),
    "wrong-type": _wrong_type,
    "gzip-garbage": _gzip_garbage,
    "bom": _with_bom,
    "duplicate-keys": _duplicate_keys,
}


@dataclass(frozen=True)
class Delivery:
    """A reply on its way, with the fault that befalls it. `end` closes the connection, hard if so wanted."""

    reply: Reply
    fault: Fault | None
    scope: Scope
    receive: Receive
    send: Send
    end: Callable[[Scope, bool], None]

    def option(self, name: str, default: float) -> float:
        value: float = self.fault.options.get(name, default) if self.fault else default
        return value

    async def send_part(self, part: bytes, more: bool = True) -> None:
        await self.send({"type": "http.response.body", "body": part, "more_body": more})


async def deliver(delivery: Delivery) -> None:
    """Send the reply in the way that the fault permits."""
    fault = delivery.fault
    await _DELIVERIES.get(fault.kind if fault else "", _whole)(delivery)


async def send_whole(send: Send, reply: Reply) -> None:
    await _send_head(send, reply)
    await send({"type": "http.response.body", "body": reply.body})


async def _send_head(send: Send, reply: Reply, length: int | None = -1) -> None:
    """`length` is that of the body by default; with None it is not told."""
    headers = [(name.encode(), value.encode("latin-1")) for name, value in reply.headers.items()]
    if reply.status != 304:
        headers.append((b"content-type", reply.content_type.encode()))
        if length is not None:
            headers.append((b"content-length", b"%d" % (len(reply.body) if length < 0 else length)))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})


async def _whole(delivery: Delivery) -> None:
    await send_whole(delivery.send, delivery.reply)


async def _hang(delivery: Delivery) -> None:
    while (await delivery.receive())["type"] != "http.disconnect":
        pass


async def _refuse(delivery: Delivery) -> None:
    delivery.end(delivery.scope, False)
    await _hang(delivery)


async def _reset(delivery: Delivery) -> None:
    if count := int(delivery.option("bytes", 10)):
        await _send_head(delivery.send, delivery.reply)
        # One byte short of all at most: a whole answer would be no fault.
        await delivery.send_part(delivery.reply.body[:count][: max(0, len(delivery.reply.body) - 1)])
        await asyncio.sleep(0.02)
    delivery.end(delivery.scope, True)
    await _hang(delivery)


async def _drip(delivery: Delivery) -> None:
    body = delivery.reply.body
    step, delay = max(1, int(delivery.option("bytes", 1 + len(body) // 10))), delivery.option("delay", 0.1)
    await _send_head(delivery.send, delivery.reply)
    for at in range(0, len(body), step):
        await asyncio.sleep(delay)
        await delivery.send_part(body[at : at + step])
    await delivery.send_part(b"", more=False)


async def _huge(delivery: Delivery) -> None:
    left = max(int(delivery.option("bytes", _HUGE)), len(delivery.reply.body))
    await _send_head(delivery.send, delivery.reply, left)
    gone = asyncio.ensure_future(_hang(delivery))
    part = delivery.reply.body
    while left and not gone.done():
        left -= len(part)
        await delivery.send_part(part, more=left > 0)
        part = _BLOCK[:left]
        await asyncio.sleep(0)
    gone.cancel()


async def _endless(delivery: Delivery) -> None:
    await _send_head(delivery.send, delivery.reply, None)
    await delivery.send_part(delivery.reply.body)
    gone = asyncio.ensure_future(_hang(delivery))
    part, delay = b"\n" * max(1, int(delivery.option("bytes", 1))), delivery.option("delay", 0.05)
    while not gone.done():
        await asyncio.sleep(delay)
        await delivery.send_part(part)


_DELIVERIES: dict[str, Callable[[Delivery], Awaitable[None]]] = {
    "hang": _hang,
    "refuse": _refuse,
    "reset": _reset,
    "slow": _drip,
    "huge": _huge,
    "endless": _endless,
}
