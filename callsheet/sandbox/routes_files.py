"""Uploads and downloads: fal's storage and its content network, on one host."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from callsheet.sandbox.services import base_url, json_of, key_of, services_of, unauthorized

TOKEN_LIFE = timedelta(hours=1)
_OCTETS = "application/octet-stream"


def routes() -> list[Route]:
    """The routes of rest.fal.ai/storage and of the content network."""
    return [
        Route("/storage/auth/token", _token, methods=["POST"]),
        Route("/storage/upload/initiate", _initiate, methods=["POST"]),
        Route("/files/upload", _upload, methods=["POST"]),
        Route("/files/{name:path}", _put, methods=["PUT"]),
        Route("/files/{name:path}", _get, methods=["GET"]),
    ]


async def _token(request: Request) -> Response:
    if key_of(request) is None:
        return unauthorized("storage")
    document = {
        "token": _upload_token(request),
        "token_type": "Bearer",
        "base_url": base_url(request),
        "expires_at": (datetime.now(UTC) + TOKEN_LIFE).isoformat(),
    }
    return JSONResponse(document)


def _upload_token(request: Request) -> str:
    """Return the one token of this server; it does not contain the key."""
    return "upload-" + hashlib.sha256(services_of(request).config.key.encode()).hexdigest()[:32]


async def _upload(request: Request) -> Response:
    if request.headers.get("authorization") != f"Bearer {_upload_token(request)}":
        return unauthorized("storage")
    file_name = request.headers.get("x-fal-file-name", "file")
    content_type = _media_type(request.headers.get("content-type", _OCTETS))
    stored = services_of(request).state.add_bytes(await request.body(), file_name, content_type)
    return JSONResponse({"access_url": f"{base_url(request)}/files/{stored.name}"})


async def _initiate(request: Request) -> Response:
    if key_of(request) is None:
        return unauthorized("storage")
    try:
        wanted = await json_of(request)
        content_type = _media_type(str(wanted["content_type"]))
        name = services_of(request).state.reserve(str(wanted["file_name"]), content_type)
    except (ValueError, KeyError, TypeError):
        return JSONResponse({"detail": "file_name and content_type are needed"}, 422)
    url = f"{base_url(request)}/files/{name}"
    return JSONResponse({"upload_url": url, "file_url": url})


def _media_type(text: str) -> str:
    """Return a Content-Type that can be sent again as it is; anything else is plain bytes."""
    return (
        text if re.fullmatch(r"[\w.+-]{1,80}/[\w.+-]{1,80}(;[\x20-\x7e]{0,80})?", text, re.ASCII) else _OCTETS
    )


async def _put(request: Request) -> Response:
    body = await request.body()
    if not services_of(request).state.put(request.path_params["name"], body):
        return JSONResponse({"detail": "Not Found"}, 404)
    return Response(status_code=200)


async def _get(request: Request) -> Response:
    stored = services_of(request).state.file(request.path_params["name"])
    if stored is None or not stored.path.is_file():
        return JSONResponse({"detail": "Not Found"}, 404)
    # Starlette's FileResponse answers Range and HEAD, and sends Content-Length.
    return FileResponse(stored.path, media_type=stored.content_type, headers={"etag": stored.etag})
