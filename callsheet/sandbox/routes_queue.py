"""fal's queue: submit, status, stream, result, cancel; and fal.run, which answers with the result."""

from __future__ import annotations

import json
import random
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import wraps
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from callsheet.errors import UsageError
from callsheet.sandbox.config import DIRECT_NAMES
from callsheet.sandbox.faults import marked
from callsheet.sandbox.file_store import Lifecycle
from callsheet.sandbox.platform_calls import iso
from callsheet.sandbox.queue import NoSlot
from callsheet.sandbox.served_endpoints import MAX_PROMPT, model_error
from callsheet.sandbox.services import (
    Declined,
    Services,
    base_url,
    json_of,
    key_of,
    services_of,
    unauthorized,
)
from callsheet.sandbox.store import LOW, NORMAL, Record, now
from callsheet.sandbox.webhooks import TRIES, checked_address

STREAM_BEAT_S = 0.5
"""A stream repeats the status at least this often."""

DIRECT_PREFIX = "/fal.run/"
"""Begins the path of a direct call where the sandbox is called by a name of its own."""

_NOT_FOUND = {"status": "NOT_FOUND"}
_Handler = Callable[[Request], Awaitable[Response]]


def routes() -> list[Route]:
    """The routes, most special first."""
    request = "/{owner}/{alias}/requests/{request_id}"
    return [
        Route(f"{request}/status", _with_record(_status), methods=["GET"]),
        Route(f"{request}/status/stream", _with_record(_stream), methods=["GET"]),
        Route(f"{request}/cancel", _with_record(_cancel), methods=["PUT"]),
        Route(f"{request}/response", _with_record(_result), methods=["GET"]),
        Route(request, _with_record(_result), methods=["GET"]),
        Route("/{owner}/{alias}/{path:path}", _submit, methods=["POST"]),
    ]


def _with_record(handler: Callable[[Request, Services, Record], Awaitable[Response]]) -> _Handler:
    """Check the key and find the request before the handler runs."""

    @wraps(handler)
    async def checked(request: Request) -> Response:
        app = f"{request.path_params['owner']}/{request.path_params['alias']}"
        if key_of(request) is None:
            raise unauthorized(app)
        services = services_of(request)
        record = services.queue.find(app, request.path_params["request_id"])
        if record is None:
            raise Declined(404, _NOT_FOUND)
        reply = await handler(request, services, record)
        reply.headers.setdefault("x-fal-request-id", record.id)
        return reply

    return checked


async def _submit(request: Request) -> Response:
    path, services = request.url.path, services_of(request)
    is_direct = path.startswith(DIRECT_PREFIX) or request.url.hostname in DIRECT_NAMES
    endpoint_id = path.removeprefix(DIRECT_PREFIX).strip("/")
    app = "/".join(endpoint_id.split("/")[:2])
    key = key_of(request)
    if key is None:
        raise unauthorized(app)
    endpoint = services.served.by_path.get(endpoint_id)
    if endpoint is None:
        raise Declined(404, {"detail": f"Application '{endpoint_id}' not found"})
    try:
        arguments = await _arguments(request)
        record = _record(request, endpoint.id, arguments)
    except (ValueError, UsageError) as error:
        detail = {"detail": f"Bad request: {error}", "error_type": "bad_request"}
        raise Declined(400, detail) from error
    record.app, record.direct = app, is_direct
    record.key_id = "admin" if key == services.config.key else "limited"
    longest = request.query_params.get("fal_max_queue_length", "")
    if re.fullmatch(r"[0-9]{1,9}", longest) and services.queue.length(endpoint.id) > int(longest):
        detail = {"detail": f"Queue is longer than {longest} requests", "error_type": "queue_length_exceeded"}
        raise Declined(429, detail)
    try:
        await services.queue.submit(record)
    except NoSlot:
        detail = model_error("Too many concurrent requests", "concurrent_requests_limit", ["body"])
        raise Declined(429, detail, {"x-fal-needs-retry": "1"}) from None
    headers = {"x-fal-request-id": record.id}
    if not is_direct:
        return JSONResponse(_accepted(services, record), headers=headers)
    # fal charges a direct call also where the caller has gone: nothing is cancelled.
    while record.status != "COMPLETED":
        await services.queue.wait_for_change(record, record.status, None)
    return JSONResponse(record.result, record.status_code, headers={**record.headers, **headers})


async def _arguments(request: Request) -> dict[str, Any]:
    """Return the body; wrong arguments are accepted. Raises Declined, and ValueError for what is no JSON."""
    arguments = await json_of(request)
    if not isinstance(arguments, dict):
        error = model_error("Input should be a valid dictionary", "model_attributes_type", ["body"])
        raise Declined(422, error, {"x-fal-billable-units": "0"})
    prompt = arguments.get("prompt")
    if isinstance(prompt, str) and len(prompt) > MAX_PROMPT:
        text = f"String should have at most {MAX_PROMPT} characters"
        raise Declined(422, model_error(text, "string_too_long", ["body", "prompt"]))
    return arguments


def _record(request: Request, endpoint_id: str, arguments: dict[str, Any]) -> Record:
    """Read headers and query. Raises ValueError and UsageError for one that is refused."""
    headers, moment = request.headers, now()
    priority = headers.get("x-fal-queue-priority", NORMAL).lower()
    if priority not in (NORMAL, LOW):
        raise ValueError(f"X-Fal-Queue-Priority is {priority!r}; it may be normal or low")
    text = headers.get("x-fal-request-timeout")
    timeout_s = None if text is None else float(text)
    if timeout_s is not None and not 0.1 < timeout_s < float("inf"):
        raise ValueError(f"X-Fal-Request-Timeout is {text}; it must be above 0.1 seconds")
    lifecycle = Lifecycle.of_header(headers.get("x-fal-object-lifecycle-preference"))
    webhook = request.query_params.get("fal_webhook", "")
    fault = request.scope.get("sandbox_fault") or marked(str(arguments.get("prompt", "")))
    return Record(
        id=str(uuid.uuid4()),
        endpoint=endpoint_id,
        arguments=arguments,
        base_url=base_url(request),
        submitted_at=moment,
        seed=random.randrange(2**31),  # noqa: S311 - a seed for pictures, as the model chooses one
        priority=priority,
        start_by=None if timeout_s is None else moment + timeout_s,
        keep_payloads=headers.get("x-fal-store-io", "1") != "0",
        webhook=checked_address(webhook) if webhook else "",
        webhook_left=TRIES if webhook else 0,
        lifecycle=lifecycle.model_dump() if lifecycle else None,
        fault=fault.model_dump() if fault else {},
    )


def _accepted(services: Services, record: Record) -> dict[str, Any]:
    return {
        "status": "IN_QUEUE",
        "request_id": record.id,
        "gateway_request_id": record.id,
        **record.urls,
        "queue_position": services.queue.position(record) if record.status == "IN_QUEUE" else 0,
    }


def _status_document(services: Services, record: Record, *, logs: bool) -> dict[str, Any]:
    document: dict[str, Any] = {"status": record.status, "request_id": record.id, **record.urls}
    if record.status == "IN_QUEUE":
        return {**document, "queue_position": services.queue.position(record)}
    document["logs"] = _logs(record) if logs else None
    if record.status == "COMPLETED":
        started = record.started_at or record.completed_at or 0.0
        document["metrics"] = {"inference_time": round((record.completed_at or 0.0) - started, 3)}
        if record.error is not None:
            document |= {"error": record.error, "error_type": record.error_type}
    return document


def _logs(record: Record) -> list[dict[str, str]]:
    """Return what a model writes: a line as it starts and one as it ends."""
    lines = [(record.started_at, f"Started {record.endpoint}"), (record.completed_at, "Finished")]
    return [
        {"message": text, "level": "INFO", "source": "USER", "timestamp": iso(moment)}
        for moment, text in lines
        if moment is not None
    ]


def _asks_for_logs(request: Request) -> bool:
    return request.query_params.get("logs", "0").lower() in ("1", "true")


async def _status(request: Request, services: Services, record: Record) -> Response:
    if record.is_gone(now()):
        raise Declined(404, _NOT_FOUND)
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


async def _result(_request: Request, _services: Services, record: Record) -> Response:
    if record.status != "COMPLETED":
        return JSONResponse({"detail": "Request is still in progress"}, 400)
    if record.is_gone(now()):
        raise Declined(404, _NOT_FOUND)
    return JSONResponse(record.result, record.status_code, headers=dict(record.headers))


async def _cancel(_request: Request, services: Services, record: Record) -> Response:
    if await services.queue.cancel(record):
        return JSONResponse({"status": "CANCELLATION_REQUESTED"}, 202)
    return JSONResponse({"status": "ALREADY_COMPLETED"}, 400)
