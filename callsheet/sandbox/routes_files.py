"""Uploads and downloads: fal's storage and its content network, on one host."""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from callsheet.sandbox.config import media_base
from callsheet.sandbox.file_store import Lifecycle
from callsheet.sandbox.services import (
    Declined,
    Services,
    base_url,
    json_of,
    key_of,
    services_of,
    unauthorized,
)
from callsheet.sandbox.store import now

TOKEN_LIFE = timedelta(hours=1)
_OCTETS = "application/octet-stream"


def routes() -> list[Route]:
    """The routes of rest.fal.ai/storage and of the content network."""
    return [
        Route("/storage/auth/token", _token, methods=["POST"]),
        Route("/storage/upload/initiate", _initiate, methods=["POST"]),
        Route("/storage/upload/initiate-multipart", _initiate, methods=["POST"]),
        Route("/files/upload", _upload, methods=["POST"]),
        Route("/files/upload/multipart", _upload_parts, methods=["POST"]),
        Route("/files/{name:path}/multipart/{upload_id}/complete", _complete, methods=["POST"]),
        Route("/files/{name:path}/multipart/{upload_id}/{number:int}", _put_part, methods=["PUT"]),
        Route("/files/{name:path}", _put, methods=["PUT"]),
        Route("/files/{name:path}", _get, methods=["GET"]),
    ]


def secret_of(services: Services, text: str) -> str:
    """Return what the sandbox's key signs: 32 hex digits that do not contain the key."""
    return hmac.new(services.config.key.encode(), text.encode(), hashlib.sha256).hexdigest()[:32]


def signed_url(services: Services, url: str, name: str, expires_at: int) -> str:
    """Return the address of a file with a signature that opens it until `expires_at` (Unix seconds)."""
    signature = secret_of(services, f"{name}|{expires_at}")
    query = urlencode({"expires": expires_at, "signature": signature})
    return urlsplit(url)._replace(query=query, fragment="").geturl()


def _address(request: Request, name: str) -> str:
    return f"{media_base(base_url(request))}/files/{name}"


async def _token(request: Request) -> Response:
    if key_of(request) is None:
        raise unauthorized("storage")
    document = {
        "token": _upload_token(request),
        "token_type": "Bearer",
        "base_url": media_base(base_url(request)),
        "expires_at": (datetime.now(UTC) + TOKEN_LIFE).isoformat(),
    }
    return JSONResponse(document)


def _upload_token(request: Request) -> str:
    return "upload-" + secret_of(services_of(request), "upload")


def _life(request: Request) -> Lifecycle | None:
    """Read the lifecycle of an upload; the older client names the header without `-Preference`."""
    name = "x-fal-object-lifecycle"
    return Lifecycle.of_header(request.headers.get(name) or request.headers.get(f"{name}-preference"))


async def _upload(request: Request) -> Response:
    """Store the body under a new name."""
    name = _reserved(request)
    services_of(request).files.put(name, await request.body())
    return JSONResponse({"access_url": _address(request, name)})


async def _upload_parts(request: Request) -> Response:
    """Begin an upload in parts as the Python client does."""
    name = _reserved(request)
    url = _address(request, name)
    return JSONResponse({"access_url": url, "uploadId": _upload_id(request, name)})


def _reserved(request: Request) -> str:
    """Give out the name of a file that a token's owner describes in headers. Raises Declined."""
    if request.headers.get("authorization") != f"Bearer {_upload_token(request)}":
        raise unauthorized("storage")
    content_type = _media_type(request.headers.get("content-type", _OCTETS))
    try:
        life = _life(request)
    except ValueError as error:
        raise Declined(422, {"detail": str(error)}) from error
    return services_of(request).files.reserve(
        request.headers.get("x-fal-file-name", "file"), content_type, life
    )


async def _initiate(request: Request) -> Response:
    """Give out the address of a PUT, or of the PUTs of an upload in parts, as the JavaScript client asks."""
    if key_of(request) is None:
        raise unauthorized("storage")
    try:
        wanted, life = await json_of(request), _life(request)
        content_type = _media_type(str(wanted["content_type"]))
        name = services_of(request).files.reserve(str(wanted["file_name"]), content_type, life)
    except (ValueError, KeyError, TypeError):
        return JSONResponse({"detail": "file_name and content_type are needed"}, 422)
    url = _address(request, name)
    is_whole = request.url.path.endswith("/initiate")
    target = url if is_whole else f"{url}/multipart/{_upload_id(request, name)}"
    return JSONResponse({"upload_url": target, "file_url": url})


def _upload_id(request: Request, name: str) -> str:
    return secret_of(services_of(request), f"parts|{name}")


def _media_type(text: str) -> str:
    """Return a Content-Type that can be sent again as it is; anything else is plain bytes."""
    return (
        text if re.fullmatch(r"[\w.+-]{1,80}/[\w.+-]{1,80}(;[\x20-\x7e]{0,80})?", text, re.ASCII) else _OCTETS
    )


async def _put(request: Request) -> Response:
    body = await request.body()
    if not services_of(request).files.put(request.path_params["name"], body):
        return JSONResponse({"detail": "Not Found"}, 404)
    return Response(status_code=200)


async def _put_part(request: Request) -> Response:
    """Store one part; the ETag is in the header, and in the body, where the JavaScript client reads it."""
    name, number = request.path_params["name"], request.path_params["number"]
    upload_id, body = request.path_params["upload_id"], await request.body()
    etag = None
    if upload_id == _upload_id(request, name) and 1 <= number <= 10_000:
        etag = services_of(request).files.put_part(name, upload_id, number, body)
    if etag is None:
        return JSONResponse({"detail": "Not Found"}, 404)
    return JSONResponse({"partNumber": number, "etag": etag}, headers={"etag": etag})


async def _complete(request: Request) -> Response:
    name, upload_id = request.path_params["name"], request.path_params["upload_id"]
    try:
        listed: Any = (await json_of(request))["parts"]
        parts = [(int(part["partNumber"]), str(part["etag"])) for part in listed]
    except (ValueError, KeyError, TypeError, OverflowError):
        return JSONResponse({"detail": "parts with partNumber and etag are needed"}, 422)
    is_known = upload_id == _upload_id(request, name)
    if not is_known or not services_of(request).files.join_parts(name, upload_id, parts):
        return JSONResponse({"detail": "The parts are not those that were uploaded"}, 400)
    return JSONResponse({"access_url": _address(request, name)})


async def _get(request: Request) -> Response:
    services = services_of(request)
    stored = services.files.file(request.path_params["name"])
    if stored is None or not stored.path.is_file():
        return JSONResponse({"detail": "Not Found"}, 404)
    if stored.access != "allow" and key_of(request) is None and not _is_signed(request, services):
        hidden = stored.access == "hide"
        return JSONResponse({"detail": "Not Found" if hidden else "Forbidden"}, 404 if hidden else 403)
    # Starlette's FileResponse answers Range and HEAD, and sends Content-Length.
    return FileResponse(stored.path, media_type=stored.content_type, headers={"etag": stored.etag})


def _is_signed(request: Request, services: Services) -> bool:
    expires, given = (request.query_params.get(name, "") for name in ("expires", "signature"))
    if not re.fullmatch(r"[0-9]{1,12}", expires) or now() > int(expires):
        return False
    wanted = secret_of(services, f"{request.path_params['name']}|{expires}")
    return hmac.compare_digest(given.encode(), wanted.encode())
