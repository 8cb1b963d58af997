"""fal's queue: submit, status, stream, result, cancel."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from functools import wraps
from typing import Any

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from callsheet.sandbox.endpoints import ENDPOINTS
from callsheet.sandbox.queue import SubmitOptions
from callsheet.sandbox.services import Services, base_url, json_of, key_of, services_of, unauthorized
from callsheet.sandbox.store import LOW, NORMAL, Record

STREAM_BEAT_S = 0.5
"""A stream repeats the status at least this often."""

STORED_FOR_S = 3600.0
"""With X-Fal-Store-IO: 0 the queue keeps a result for an hour (https://fal.ai/docs, queue result)."""

MAX_ECHO = 10_000
"""Bytes of a request whose wrong values a reply repeats."""

_NOT_FOUND = {"status": "NOT_FOUND"}
_Handler = Callable[[Request], Awaitable[Response]]


def routes() -> list[Route]:
    """The routes, most special first."""
    request = "/{owner}/{alias}/requests/{request_id}"
    return [
        Route(f"{request}/status/stream", _with_record(_stream), methods=["GET"]),
        Route(f"{request}/status", _with_record(_status), methods=["GET"]),
        Route(f"{request}/cancel", _with_record(_cancel), methods=["PUT"]),
        Route(f"{request}/response", _with_record(_result), methods=["GET"]),
        Route(request, _with_record(_result), methods=["GET"]),
        Route("/{owner}/{alias}/{path:path}", _submit, methods=["POST"]),
    ]


def _with_record(handler: Callable[[Request, Services, Record], Awaitable[Response]]) -> _Handler:
    """Check the key and find the request before the handler runs."""

    @wraps(handler)
    async def checked(request: Request) -> Response:
        owner, alias = request.path_params["owner"], request.path_params["alias"]
        if key_of(request) is None:
            return unauthorized(f"{owner}/{alias}")
        services = services_of(request)
        record = services.queue.find(owner, alias, request.path_params["request_id"])
        if record is None:
            return JSONResponse(_NOT_FOUND, 404)
        reply = await handler(request, services, record)
        reply.headers.setdefault("x-fal-request-id", record.id)
        return reply

    return checked


async def _submit(request: Request) -> Response:
    endpoint_id = request.url.path.strip("/")
    if key_of(request) is None:
        return unauthorized("/".join(endpoint_id.split("/")[:2]))
    endpoint = ENDPOINTS.get(endpoint_id)
    if endpoint is None:
        return JSONResponse({"detail": f"Application '{endpoint_id}' not found"}, 404)
    try:
        arguments = await json_of(request)
        options = _options(request)
    except ValueError as error:
        return JSONResponse({"detail": f"Bad request: {error}", "error_type": "bad_request"}, 400)
    services = services_of(request)
    longest = request.query_params.get("fal_max_queue_length", "")
    if re.fullmatch(r"[0-9]{1,9}", longest) and len(services.queue.waiting) > int(longest):
        detail = f"Queue is longer than {longest} requests"
        return JSONResponse({"detail": detail, "error_type": "queue_length_exceeded"}, 429)
    try:
        record = await services.queue.submit(endpoint, arguments, options)
    except ValidationError as error:
        return _unprocessable(error, echo=len(await request.body()) <= MAX_ECHO)
    return JSONResponse(_accepted(services, record), headers={"x-fal-request-id": record.id})


def _options(request: Request) -> SubmitOptions:
    """Read the headers. Raises ValueError for one that fal would refuse."""
    priority = request.headers.get("x-fal-queue-priority", NORMAL).lower()
    if priority not in (NORMAL, LOW):
        raise ValueError(f"X-Fal-Queue-Priority is {priority!r}; it may be normal or low")
    text = request.headers.get("x-fal-request-timeout")
    timeout_s = None if text is None else float(text)
    if timeout_s is not None and not 0.1 < timeout_s < float("inf"):
        raise ValueError(f"X-Fal-Request-Timeout is {text}; it must be above 0.1 seconds")
    return SubmitOptions(
        base_url(request), priority, timeout_s, request.headers.get("x-fal-store-io", "1") != "0"
    )


def _unprocessable(error: ValidationError, *, echo: bool) -> Response:
    """Return a 422 as fal sends it: pydantic's own list with `body` in front of each place.

    `echo` says whether to repeat the wrong values.
    """
    items = json.loads(error.json(include_input=echo))
    for item in items:
        item["loc"] = ["body", *item["loc"]]
        item.setdefault("input", None)
    return JSONResponse({"detail": items}, 422, headers={"x-fal-billable-units": "0"})


def _urls(record: Record) -> dict[str, str]:
    base = f"{record.base_url}/{record.owner}/{record.alias}/requests/{record.id}"
    return {"response_url": base, "status_url": f"{base}/status", "cancel_url": f"{base}/cancel"}


def _accepted(services: Services, record: Record) -> dict[str, Any]:
    return {
        "status": "IN_QUEUE",
        "request_id": record.id,
        "gateway_request_id": record.id,
        **_urls(record),
        "queue_position": services.queue.position(record) if record.status == "IN_QUEUE" else 0,
    }


def _status_document(services: Services, record: Record, *, logs: bool) -> dict[str, Any]:
    document: dict[str, Any] = {"status": record.status, "request_id": record.id, **_urls(record)}
    if record.status == "IN_QUEUE":
        return {**document, "queue_position": services.queue.position(record)}
    document["logs"] = _logs(services, record) if logs else None
    if record.status == "COMPLETED":
        started = record.started_at or record.completed_at or 0.0
        document["metrics"] = {"inference_time": round((record.completed_at or 0.0) - started, 3)}
        if record.error is not None:
            document |= {"error": record.error, "error_type": record.error_type}
    return document


def _logs(services: Services, record: Record) -> list[dict[str, str]]:
    """Return what a model writes while it works: a line for each fifth of the way."""
    start, end = record.started_at or 0.0, record.ready_at or 0.0
    share = 1.0 if record.completed_at else (services.clock() - start) / max(0.001, end - start)
    return [
        {
            "message": f"Rendering {record.width_px}x{record.height_px}: {percent} %",
            "level": "INFO",
            "source": "USER",
            "timestamp": datetime.fromtimestamp(start + (end - start) * percent / 100, UTC).isoformat(),
        }
        for percent in range(0, 101, 20)
        if end and percent <= share * 100
    ]


def _asks_for_logs(request: Request) -> bool:
    return request.query_params.get("logs", "0").lower() in ("1", "true")


async def _status(request: Request, services: Services, record: Record) -> Response:
    if _expired(services, record):
        return JSONResponse(_NOT_FOUND, 404)
    document = _status_document(services, record, logs=_asks_for_logs(request))
    return JSONResponse(document, 200 if record.status == "COMPLETED" else 202)


async def _stream(request: Request, services: Services, record: Record) -> Response:
    logs = _asks_for_logs(request)

    async def events() -> AsyncIterator[str]:
        while True:
            document = _status_document(services, record, logs=logs)
            yield f"data: {json.dumps(document)}\n\n"
            if document["status"] == "COMPLETED":
                return
            await services.queue.wait_for_change(record, document["status"], STREAM_BEAT_S)

    return StreamingResponse(events(), media_type="text/event-stream")


async def _result(_request: Request, services: Services, record: Record) -> Response:
    if record.status != "COMPLETED":
        return JSONResponse({"detail": "Request is still in progress"}, 400)
    if _expired(services, record):
        return JSONResponse(_NOT_FOUND, 404)
    return JSONResponse(record.result, record.status_code, headers=dict(record.headers))


async def _cancel(_request: Request, services: Services, record: Record) -> Response:
    if await services.queue.cancel(record):
        return JSONResponse({"status": "CANCELLATION_REQUESTED"}, 202)
    return JSONResponse({"status": "ALREADY_COMPLETED"}, 400)


def _expired(services: Services, record: Record) -> bool:
    done_at = record.completed_at
    return not record.keep_payloads and done_at is not None and services.clock() > done_at + STORED_FOR_S
