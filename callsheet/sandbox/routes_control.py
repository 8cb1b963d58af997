"""The sandbox's own routes: health, faults and the oracle. They ask for no key."""

from __future__ import annotations

import json
import os

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from callsheet.errors import UsageError
from callsheet.sandbox.faults import KINDS, Fault
from callsheet.sandbox.oracle import account_of
from callsheet.sandbox.room import room_of


def routes() -> list[Route]:
    """The routes."""
    return [
        Route("/_sandbox/health", _health, methods=["GET"]),
        Route("/_sandbox/ledger", _ledger, methods=["GET"]),
        Route("/_sandbox/faults", _show, methods=["GET"]),
        Route("/_sandbox/faults", _arm, methods=["POST"]),
        Route("/_sandbox/faults", _clear, methods=["DELETE"]),
        Route("/_sandbox/prices", _change_prices, methods=["POST"]),
    ]


async def _health(request: Request) -> Response:
    room = room_of(request)
    counts = {"in_queue": len(room.queue.waiting), "in_progress": len(room.queue.rendering)}
    return JSONResponse({"status": "ok", "pid": os.getpid(), "speed": room.config.speed, **counts})


async def _ledger(request: Request) -> Response:
    room = room_of(request)
    return JSONResponse(account_of(room.queue.records, room.faults))


async def _show(request: Request) -> Response:
    kinds = {name: {"route": kind.route, "meaning": kind.meaning} for name, kind in KINDS.items()}
    armed = [fault.describe() for fault in room_of(request).faults.armed]
    return JSONResponse({"kinds": kinds, "armed": armed})


async def _arm(request: Request) -> Response:
    """Arm one fault, or a list of them in order."""
    try:
        document = json.loads(await request.body())
        faults = [Fault.from_json(each) for each in (document if isinstance(document, list) else [document])]
    except (ValueError, TypeError, UsageError) as error:
        return JSONResponse({"detail": str(error)}, 422)
    for fault in faults:
        room_of(request).faults.arm(fault)
    return JSONResponse({"armed": len(faults)})


async def _clear(request: Request) -> Response:
    room_of(request).faults.clear()
    return JSONResponse({"armed": 0})


async def _change_prices(request: Request) -> Response:
    """Multiply published rates from now on, in the price list and in the bills: {endpoint id: "1.1"}."""
    try:
        room_of(request).prices.change(json.loads(await request.body()))
    except (ValueError, TypeError, AttributeError, ZeroDivisionError) as error:
        return JSONResponse({"detail": str(error)}, 422)
    return JSONResponse({"changed": True})
