"""The control API below `/__ctl`: what a test in another process does to the sandbox.

Lives here: the routes and their JSON. Not here: what they do (`Sandbox`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cowrie_assets.sandbox.rules import SERVICES

if TYPE_CHECKING:
    from cowrie_assets.sandbox.server import Sandbox

CONTROL = "/__ctl/"


def control(sandbox: Sandbox) -> Starlette:
    """`POST reset`, `POST limits`, `POST faults`, `POST dataset`, `POST clock`, `GET clock`,
    `GET ledger[?service=…]`, `GET health`."""

    async def reset(_: Request) -> Response:
        sandbox.reset()
        return JSONResponse({"ok": True})

    async def limits(request: Request) -> Response:
        return await _apply(request, sandbox.limits)

    async def faults(request: Request) -> Response:
        return await _apply(request, sandbox.faults)

    async def dataset(request: Request) -> Response:
        def replace(wanted: Mapping[str, Any]) -> None:
            if set(wanted) != {"service", "key", "answer"}:
                raise ValueError("service, key and answer are due")
            sandbox.dataset(wanted["service"], wanted["key"], wanted["answer"])

        return await _apply(request, replace)

    async def clock(request: Request) -> Response:
        def advance(wanted: Mapping[str, Any]) -> None:
            if set(wanted) != {"advance"}:
                raise ValueError("advance is due")
            sandbox.advance(wanted["advance"])

        if request.method == "POST":
            return await _apply(request, advance)
        time = sandbox.clock
        told = {"now": time.now().isoformat(), "wall": time.wall(), "monotonic": time.monotonic()}
        return JSONResponse({**told, "advanced": time.advanced})

    async def ledger(request: Request) -> Response:
        service = request.query_params.get("service")
        if service is None:
            return JSONResponse(sandbox.summary())
        if service not in SERVICES:
            return JSONResponse({"error": f"no such service: {service}"}, 404)
        return JSONResponse([arrival.to_json() for arrival in sandbox.ledger.arrivals(service)])

    async def health(_: Request) -> Response:
        return JSONResponse({"ok": True, "seed": sandbox.seed, **sandbox.environment()})

    return Starlette(
        routes=[
            Route(f"{CONTROL}reset", reset, methods=["POST"]),
            Route(f"{CONTROL}limits", limits, methods=["POST"]),
            Route(f"{CONTROL}faults", faults, methods=["POST"]),
            Route(f"{CONTROL}dataset", dataset, methods=["POST"]),
            Route(f"{CONTROL}clock", clock, methods=["GET", "POST"]),
            Route(f"{CONTROL}ledger", ledger),
            Route(f"{CONTROL}health", health),
        ]
    )


async def _apply(request: Request, change: Callable[[Mapping[str, Any]], None]) -> Response:
    try:
        wanted = json.loads(await request.body())
        if not isinstance(wanted, dict):
            raise ValueError("an object is due")  # noqa: TRY004
        change(wanted)
    except ValueError as error:
        return JSONResponse({"error": str(error)}, 400)
    return JSONResponse({"ok": True})
